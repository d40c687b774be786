// Measurements as docs/reference/sinks.md lists them.
//
// A point is known by its measurement, its tags and its time: the nanoseconds, which our clock does not have, count the
// points of one microsecond, so that none takes another one's place.
#include <stdio.h>
#include <string.h>

#include "core/jsonx.h"
#include "sink/influx.h"
#include "sink/json_scan.h"
#include "sink/line.h"

#define CLOSE_MS 1000 // a "timestamp" of the payload so close to the record's own says nothing new

int influx_lines_create(struct influx_lines *l, const char *measurement, const json_t *tags, const char *run_id,
                        unsigned shard, struct error *err)
{
    const char *key;
    json_t *value;
    memset(l, 0, sizeof(*l));
    l->measurement = measurement;
    l->shard = shard;
    snprintf(l->run_id, sizeof(l->run_id), "%s", run_id);
    l->instant_us = INT64_MIN;
    buf_create(&l->tags, 64u << 10);
    json_object_foreach((json_t *)(uintptr_t)tags, key, value)
    {
        if (line_tag(&l->tags, key, json_string_value(value), json_string_length(value)))
            return error_set(err, ERR_LIMIT, "its tags take more than 64 KB");
    }
    return 0;
}

void influx_lines_destroy(struct influx_lines *l)
{
    buf_destroy(&l->tags);
}

static int put(struct buf *out, const char *s)
{
    return buf_append_str(out, s);
}

static int put_tag(struct buf *out, const char *key, const char *value)
{
    return line_tag(out, key, value, strlen(value));
}

static int64_t time_ns(struct influx_lines *l, int64_t wall_us)
{
    l->in_instant = wall_us == l->instant_us ? (l->in_instant + 1) % 1000 : 0;
    l->instant_us = wall_us;
    return wall_us * 1000 + l->in_instant;
}

static int end_line(struct influx_lines *l, int64_t wall_us, struct buf *out)
{
    return buf_append_char(out, ' ') || buf_append_int(out, time_ns(l, wall_us)) || buf_append_char(out, '\n') ? -1 : 1;
}

static int whole(struct buf *out, uint32_t before, int rc)
{
    if (rc <= 0)
        out->len = before;
    return rc;
}

// "source" and the like, in the order of the alphabet, as InfluxDB wants it for speed.
static int put_device(const struct influx_lines *l, struct buf *out, const char *device, size_t device_len,
                      const char *extra_key, const char *extra, const char *group, size_t group_len, const char *model,
                      size_t model_len)
{
    return line_tag(out, "device_id", device, device_len) || (extra_key && put_tag(out, extra_key, extra)) ||
                   line_tag(out, "group_id", group, group_len) || line_tag(out, "model_id", model, model_len) ||
                   (l->tags.len && buf_append(out, l->tags.data, l->tags.len))
               ? -1
               : 0;
}

// Lines of a payload that is line protocol: as they are, each on a line of its own.
static int put_lines(const struct record *r, struct buf *out, uint32_t *n)
{
    const uint8_t *p = r->payload, *end = p + r->payload_len;
    while (p < end) {
        const uint8_t *stop = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((stop ? stop : end) - p);
        if (len && *p != '#' && (++*n, buf_append(out, p, len) || buf_append_char(out, '\n')))
            return -1;
        p += len + 1;
    }
    return *n > 0;
}

static int put_values(const struct record *r, struct buf *out)
{
    const uint8_t *p = r->payload;
    size_t n = r->payload_len;
    bool newline;
    while (n && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++, n--;
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\n' || p[n - 1] == '\r'))
        n--;
    if (!n || (r->binary && *p != '{') || !json_scan(p, n, &newline))
        return 0;
    if (*p == '{')
        return line_fields(out, p, n, r->wall_us / 1000, CLOSE_MS);
    if (*p == '[' || *p == 'n' || *p == '"')
        return 0;
    return put(out, "value=") || buf_append(out, p, n) ? -1 : 1;
}

int influx_write_telemetry(struct influx_lines *l, const struct record *r, struct buf *out, uint32_t *n)
{
    uint32_t before = out->len;
    *n = 0;
    if (r->influx)
        return whole(out, before, put_lines(r, out, n));
    *n = 1;
    if (line_name(out, l->measurement, strlen(l->measurement), LINE_MEASUREMENT) ||
        put_device(l, out, r->device, r->device_len, NULL, NULL, r->group_name, r->group_len, r->model, r->model_len) ||
        put(out, r->physical ? ",source=physical " : ",source=simulated "))
        return whole(out, before, -1);
    int rc = put_values(r, out);
    return whole(out, before, rc > 0 ? end_line(l, r->wall_us, out) : rc);
}

int influx_write_event(struct influx_lines *l, const struct sink_event *e, struct buf *out)
{
    uint32_t before = out->len;
    if (put(out, "device_events") ||
        put_device(l, out, e->device, strlen(e->device), "event_type", e->kind, e->group, strlen(e->group), e->model,
                   strlen(e->model)) ||
        put(out, " count=1i,detail=") || line_text(out, e->detail, strlen(e->detail)))
        return whole(out, before, -1);
    return whole(out, before, end_line(l, e->wall_us, out));
}

int influx_write_connection(struct influx_lines *l, const struct sink_event *e, struct buf *out)
{
    uint32_t before = out->len;
    bool online = strcmp(e->kind, "online") == 0;
    if (!online && strcmp(e->kind, "offline") != 0)
        return 0;
    if (put(out, "connections") || put_tag(out, "device_id", e->device) || put_tag(out, "group_id", e->group) ||
        put_tag(out, "protocol", e->protocol) || (l->tags.len && buf_append(out, l->tags.data, l->tags.len)) ||
        put(out, online ? " connected=true" : " connected=false"))
        return whole(out, before, -1);
    if (online && e->latency_us >= 0 &&
        (put(out, ",latency_ms=") || buf_append_number(out, (double)e->latency_us / 1e3, 3)))
        return whole(out, before, -1);
    return whole(out, before, end_line(l, e->wall_us, out));
}

struct running {
    double devices;
    unsigned groups;
};

static void count_running(void *arg, const struct metric *m)
{
    struct running *r = arg;
    if (strcmp(m->name, "devices") != 0 || !strstr(m->tags, "state:running") || m->value <= 0)
        return;
    r->devices += m->value;
    r->groups++;
}

static uint64_t sum_of(const struct metrics *m, const char *name)
{
    struct metric_selector sel = {.tags = ""};
    struct metric sum = {0};
    snprintf(sel.name, sizeof(sel.name), "%s", name);
    return metrics_select(m, &sel, &sum) > 0 ? sum.count : 0;
}

int influx_write_figures(struct influx_lines *l, const struct metrics *m, int64_t wall_us, struct buf *out)
{
    uint32_t before = out->len;
    struct running r = {0};
    char shard[16];
    metrics_each(m, count_running, &r);
    snprintf(shard, sizeof(shard), "%u", l->shard);
    if (put(out, "engine_stats") || put_tag(out, "run_id", l->run_id) || put_tag(out, "shard", shard) ||
        (l->tags.len && buf_append(out, l->tags.data, l->tags.len)) ||
        buf_printf(out, " active_devices=%.0fi,active_groups=%ui,total_bytes=%llui,total_messages=%llui", r.devices,
                   r.groups, (unsigned long long)sum_of(m, "bytes_sent"),
                   (unsigned long long)sum_of(m, "messages_sent")))
        return whole(out, before, -1);
    return whole(out, before, end_line(l, wall_us, out));
}
