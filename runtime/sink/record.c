// Written for the hot path of virtual time: a line is built with a handful of memcpys into a buffer that is large
// enough beforehand.
#include "sink/record.h"

#include <string.h>

#include "core/zone.h"
#include "sink/json_scan.h"
#include "sink/line.h"

const char *record_format_name(enum record_format f)
{
    static const char *const names[] = {"ndjson", "csv", "influx"};
    return (unsigned)f < RECORD_FORMAT_MAX ? names[f] : "?";
}

const char *record_header(enum record_format f)
{
    return f == RECORD_CSV ? "time,group,device,topic,payload\n" : "";
}

// --- pieces -------------------------------------------------------------------------------------------------------

static int put(struct buf *out, const char *s)
{
    return buf_append(out, s, strlen(s));
}

static bool is_text(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = s[i] < 0x80 ? 1 : utf8_length(s + i, n - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

static bool is_json(const struct record *r, bool *has_newline)
{
    bool container = r->payload_len && (r->payload[0] == '{' || r->payload[0] == '[');
    return (container || !r->binary) && json_scan(r->payload, r->payload_len, has_newline);
}

// --- NDJSON -------------------------------------------------------------------------------------------------------

// A JSON string of what seldom needs an escape.
static int put_name(struct buf *out, const char *s, size_t n)
{
    bool plain = true;
    for (size_t i = 0; i < n && plain; i++)
        plain = s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] != 0x7f;
    if (!plain)
        return buf_append_json_string(out, s, n);
    uint8_t *to = n < RECORD_LINE_MAX ? buf_reserve(out, (uint32_t)n + 2) : NULL;
    if (!to)
        return -1;
    to[0] = '"';
    memcpy(to + 1, s, n);
    to[n + 1] = '"';
    out->len += (uint32_t)n + 2;
    return 0;
}

static int put_json(struct buf *out, const struct record *r, bool has_newline)
{
    uint32_t from = out->len;
    if (put(out, ",\"payload\":") || buf_append(out, r->payload, r->payload_len))
        return -1;
    for (uint32_t i = from; has_newline && i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
    return 0;
}

static int put_payload(struct buf *out, const struct record *r)
{
    bool has_newline;
    if (is_json(r, &has_newline))
        return put_json(out, r, has_newline);
    if (!r->binary && is_text(r->payload, r->payload_len))
        return put(out, ",\"payload\":") || buf_append_json_string(out, (const char *)r->payload, r->payload_len);
    return put(out, ",\"payloadBase64\":\"") || buf_append_base64(out, r->payload, r->payload_len) || put(out, "\"");
}

static int write_ndjson(const struct record *r, struct buf *out)
{
    char time[TIME_TEXT_LEN];
    time_text(r->wall_us, time);
    return put(out, "{\"time\":\"") || buf_append(out, time, sizeof(time)) || put(out, "\",\"group\":") ||
                   put_name(out, r->group_name, r->group_len) || put(out, ",\"device\":") ||
                   put_name(out, r->device, r->device_len) || put(out, ",\"topic\":") ||
                   put_name(out, r->topic, r->topic_len) || put_payload(out, r) || put(out, "}\n")
               ? -1
               : 1;
}

// --- CSV ----------------------------------------------------------------------------------------------------------

static int put_field(struct buf *out, const void *bytes, size_t n)
{
    const char *s = bytes;
    bool quoted = n && (s[0] == ' ' || s[n - 1] == ' ');
    for (size_t i = 0; i < n && !quoted; i++)
        quoted = s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r';
    if (!quoted)
        return buf_append(out, s, n);
    uint8_t *to = n < RECORD_LINE_MAX ? buf_reserve(out, 2 * (uint32_t)n + 2) : NULL;
    if (!to)
        return -1;
    uint8_t *from = to;
    *to++ = '"';
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"')
            *to++ = '"';
        *to++ = (uint8_t)s[i];
    }
    *to++ = '"';
    out->len += (uint32_t)(to - from);
    return 0;
}

static int write_csv(const struct record *r, struct buf *out)
{
    char time[TIME_TEXT_LEN];
    time_text(r->wall_us, time);
    if (buf_append(out, time, sizeof(time)) || buf_append_char(out, ',') ||
        put_field(out, r->group_name, r->group_len) || buf_append_char(out, ',') ||
        put_field(out, r->device, r->device_len) || buf_append_char(out, ',') ||
        put_field(out, r->topic, r->topic_len) || buf_append_char(out, ','))
        return -1;
    bool newline, text = r->binary ? is_json(r, &newline) : is_text(r->payload, r->payload_len);
    if (text ? put_field(out, r->payload, r->payload_len) : buf_append_base64(out, r->payload, r->payload_len))
        return -1;
    return buf_append_char(out, '\n') ? -1 : 1;
}

// --- InfluxDB line protocol ---------------------------------------------------------------------------------------

static int write_influx(const struct record *r, struct buf *out)
{
    bool newline;
    if (r->influx) {
        if (!r->payload_len)
            return 0;
        return buf_append(out, r->payload, r->payload_len) ||
                       (r->payload[r->payload_len - 1] != '\n' && buf_append_char(out, '\n'))
                   ? -1
                   : 1;
    }
    if (!json_scan(r->payload, r->payload_len, &newline))
        return 0;
    if (line_name(out, r->group_name, r->group_len, LINE_MEASUREMENT) || put(out, ",device=") ||
        line_name(out, r->device, r->device_len, LINE_TAG) || buf_append_char(out, ' '))
        return -1;
    int any = line_fields(out, r->payload, r->payload_len, r->wall_us / 1000, 0);
    if (any <= 0)
        return any;
    return buf_append_char(out, ' ') || buf_append_int(out, r->wall_us * 1000) || buf_append_char(out, '\n') ? -1 : 1;
}

int record_write(enum record_format f, const struct record *r, struct buf *out)
{
    uint32_t before = out->len;
    int rc = f == RECORD_NDJSON ? write_ndjson(r, out) : f == RECORD_CSV ? write_csv(r, out) : write_influx(r, out);
    if (rc <= 0)
        out->len = before;
    return rc;
}
