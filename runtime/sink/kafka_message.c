// A message outside of librdkafka: u8 topic, u8 flags, u16 key, u16 group, u16 model, u16 mqtt (lengths), u32 payload,
// i64 time, then the bytes of each in that order; little endian. And what is in them.
#include <stdio.h>
#include <string.h>

#include "core/jsonx.h"
#include "sink/kafka.h"

#define HEAD 22u
#define PHYSICAL 1u
#define SNAPSHOT_MAX (8u << 20)

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

int kafka_pack(const struct kafka_message *m, struct buf *out)
{
    if (m->key_len > UINT16_MAX || m->group_len > UINT16_MAX || m->model_len > UINT16_MAX || m->mqtt_len > UINT16_MAX ||
        m->payload_len > KAFKA_MESSAGE_MAX)
        return -1;
    size_t n = HEAD + m->key_len + m->group_len + m->model_len + m->mqtt_len + m->payload_len;
    uint8_t *p = buf_reserve(out, (uint32_t)n);
    if (!p)
        return -1;
    p[0] = (uint8_t)m->topic;
    p[1] = m->physical ? PHYSICAL : 0;
    put(p + 2, m->key_len, 2);
    put(p + 4, m->group_len, 2);
    put(p + 6, m->model_len, 2);
    put(p + 8, m->mqtt_len, 2);
    put(p + 10, m->payload_len, 4);
    put(p + 14, (uint64_t)m->wall_us, 8);
    const struct {
        const void *bytes;
        size_t n;
    } parts[] = {{m->key, m->key_len},
                 {m->group, m->group_len},
                 {m->model, m->model_len},
                 {m->mqtt, m->mqtt_len},
                 {m->payload, m->payload_len}};
    p += HEAD;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); p += parts[i++].n)
        if (parts[i].n)
            memcpy(p, parts[i].bytes, parts[i].n);
    out->len += (uint32_t)n;
    return 0;
}

size_t kafka_unpack(const uint8_t *bytes, size_t n, struct kafka_message *m)
{
    if (n < HEAD || bytes[0] >= KAFKA_TOPICS || bytes[1] > PHYSICAL)
        return 0;
    *m = (struct kafka_message){.topic = (enum kafka_topic)bytes[0],
                                .physical = bytes[1] != 0,
                                .key_len = get(bytes + 2, 2),
                                .group_len = get(bytes + 4, 2),
                                .model_len = get(bytes + 6, 2),
                                .mqtt_len = get(bytes + 8, 2),
                                .payload_len = get(bytes + 10, 4),
                                .wall_us = (int64_t)get(bytes + 14, 8)};
    size_t whole = HEAD + m->key_len + m->group_len + m->model_len + m->mqtt_len + m->payload_len;
    if (whole > n || m->payload_len > KAFKA_MESSAGE_MAX)
        return 0;
    const uint8_t *p = bytes + HEAD;
    m->key = p;
    m->group = (const char *)(p += m->key_len);
    m->model = (const char *)(p += m->group_len);
    m->mqtt = (const char *)(p += m->model_len);
    m->payload = p + m->mqtt_len;
    return whole;
}

void kafka_of_record(const struct record *r, struct kafka_message *m)
{
    *m = (struct kafka_message){.topic = KAFKA_TELEMETRY,
                                .wall_us = r->wall_us,
                                .key = r->device,
                                .key_len = r->device_len,
                                .payload = r->payload,
                                .payload_len = r->payload_len,
                                .group = r->group_name,
                                .group_len = r->group_len,
                                .model = r->model,
                                .model_len = r->model_len,
                                .mqtt = r->topic,
                                .mqtt_len = r->topic_len,
                                .physical = r->physical};
}

static int member(struct buf *out, const char *name, const char *value)
{
    if (!*value)
        return 0;
    return buf_printf(out, ",\"%s\":", name) | buf_append_json_string(out, value, strlen(value));
}

int kafka_of_event(const struct sink_event *e, const char *run_id, struct buf *text, struct kafka_message *m)
{
    buf_clear(text);
    int rc = buf_printf(text, "{\"timeUs\":%lld", (long long)e->wall_us) | member(text, "run", run_id) |
             member(text, "kind", e->kind) | member(text, "device", e->device) | member(text, "group", e->group) |
             member(text, "model", e->model) | member(text, "protocol", e->protocol) |
             member(text, "detail", e->detail);
    if (e->latency_us >= 0)
        rc |= buf_printf(text, ",\"latencyUs\":%lld", (long long)e->latency_us);
    if (e->physical)
        rc |= buf_append_str(text, ",\"source\":\"physical\"");
    if (rc | buf_append_char(text, '}'))
        return -1;
    *m = (struct kafka_message){.topic = KAFKA_EVENTS,
                                .wall_us = e->wall_us,
                                .key = e->device,
                                .key_len = strlen(e->device),
                                .payload = text->data,
                                .payload_len = text->len,
                                .group = e->group,
                                .group_len = strlen(e->group),
                                .model = e->model,
                                .model_len = strlen(e->model),
                                .physical = e->physical};
    return 0;
}

static json_t *envelope(const struct kafka_figures *f)
{
    const struct sink_run *run = f->run;
    if (run && run->look)
        run->look(run->arg);
    json_t *o =
        json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I}", "schema", 1, "run", f->run_id,
                  "partition", (json_int_t)(run && run->partitions > 1 ? run->partition : 1), "partitions",
                  (json_int_t)(run && run->partitions > 1 ? run->partitions : 1), "shard", (json_int_t)f->shard,
                  "shards", (json_int_t)f->shards, "incarnation", (json_int_t)f->incarnation, "sequence",
                  (json_int_t)f->sequence, "final", f->final, "timeUs", (json_int_t)f->wall_us, "elapsedUs",
                  (json_int_t)(run ? run->elapsed_us : 0), "measuredUs", (json_int_t)(run ? run->measured_us : 0));
    if (o && run && run->outline)
        json_object_set(o, "plan", (json_t *)(uintptr_t)run->outline);
    if (o && run && run->status)
        json_object_set_new(o, "status", run->status(run->arg));
    return o;
}

int kafka_of_figures(const struct kafka_figures *f, const struct metrics *m, struct buf *text, struct buf *key,
                     struct kafka_message *out, struct error *err)
{
    struct buf snapshot;
    json_t *o = envelope(f);
    buf_create(&snapshot, SNAPSHOT_MAX);
    buf_clear(text);
    buf_clear(key);
    int rc = o ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a snapshot");
    if (rc == 0 && metrics_encode(m, &snapshot))
        rc = error_set(err, ERR_LIMIT, "a snapshot is more than %u MB", SNAPSHOT_MAX >> 20);
    if (rc == 0)
        rc = json_write(o, text, err);
    if (rc == 0) {
        text->len--; // the closing brace
        rc = buf_append_str(text, ",\"snapshot\":\"") | buf_append_base64(text, snapshot.data, snapshot.len) |
             buf_append_str(text, "\"}") |
             buf_printf(key, "%s/%lld/%u", f->run_id, (long long)json_integer_value(json_object_get(o, "partition")),
                        f->shard);
        if (rc)
            error_set(err, ERR_LIMIT, "a snapshot of %u bytes does not fit a message", snapshot.len);
    }
    *out = (struct kafka_message){.topic = KAFKA_METRICS,
                                  .wall_us = f->wall_us,
                                  .key = key->data,
                                  .key_len = key->len,
                                  .payload = text->data,
                                  .payload_len = text->len};
    buf_destroy(&snapshot);
    json_decref(o);
    return rc;
}
