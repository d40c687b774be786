// Written for the hot path of virtual time: a line is built with a handful of memcpys into a buffer that is large
// enough beforehand.
#include "sink/record.h"

#include <string.h>

#include "core/zone.h"
#include "sink/json_scan.h"

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
// https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/

// Names: backslash in front of what has a meaning. A line break or a backslash at the end has no form at all.
static int put_escaped(struct buf *out, const char *s, size_t n, const char *special)
{
    uint8_t *to = n < RECORD_LINE_MAX ? buf_reserve(out, 2 * (uint32_t)n + 1) : NULL;
    if (!to)
        return -1;
    uint8_t *from = to;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        if (c < 0x20)
            c = '_';
        else if (strchr(special, c))
            *to++ = '\\';
        *to++ = c;
    }
    if (n && s[n - 1] == '\\')
        to[-1] = '_';
    out->len += (uint32_t)(to - from);
    return 0;
}

static unsigned hex(const uint8_t *s)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (s[i] <= '9' ? (unsigned)(s[i] - '0') : (unsigned)((s[i] | 0x20) - 'a' + 10));
    return v;
}

// One character of a JSON string at s (n bytes left) as UTF-8 into text; returns the bytes it took.
static size_t unescape(const uint8_t *s, size_t n, char text[5])
{
    static const char names[] = "bfnrt", meant[] = "\b\f\n\r\t";
    text[1] = 0;
    text[0] = (char)s[0];
    if (s[0] != '\\')
        return 1;
    const char *named = strchr(names, s[1]);
    text[0] = named && s[1] ? meant[named - names] : (char)s[1];
    if (s[1] != 'u')
        return 2;
    uint32_t c = hex(s + 2);
    size_t took = 6;
    if (c >= 0xd800 && c < 0xdc00 && n >= 12 && s[6] == '\\' && s[7] == 'u' && hex(s + 8) >= 0xdc00 &&
        hex(s + 8) < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (hex(s + 8) - 0xdc00);
        took = 12;
    } else if (c == 0 || (c >= 0xd800 && c < 0xe000)) {
        c = 0xfffd;
    }
    unsigned len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (unsigned i = len; i-- > 1; c >>= 6)
        text[i] = (char)(0x80 | (c & 0x3f));
    text[0] = (char)(lead[len] | c);
    text[len] = 0;
    return took;
}

// A JSON string (without its quotes): decoded into `text`.
static int decode(const uint8_t *s, size_t n, struct buf *text)
{
    buf_clear(text);
    for (size_t i = 0; i < n;) {
        char c[5];
        i += unescape(s + i, n - i, c);
        if (put(text, c))
            return -1;
    }
    return 0;
}

static int put_influx_string(struct buf *out, const struct buf *text)
{
    if (buf_append_char(out, '"'))
        return -1;
    for (uint32_t i = 0; i < text->len; i++) {
        char c = (char)text->data[i];
        if (((c == '"' || c == '\\') && buf_append_char(out, '\\')) || buf_append_char(out, c))
            return -1;
    }
    return buf_append_char(out, '"');
}

static bool says_the_time(const struct json_member *m, const struct record *r)
{
    char text[24];
    struct buf b = {.data = (uint8_t *)text, .size = sizeof(text), .cap = sizeof(text)};
    return m->key_len == 9 && memcmp(m->key, "timestamp", 9) == 0 && !buf_append_int(&b, r->wall_us / 1000) &&
           m->value_len == b.len && memcmp(m->value, text, b.len) == 0;
}

// 1: a field was appended, 0: it is none.
static int put_member(struct buf *out, const struct json_member *m, bool first, struct buf *text)
{
    uint8_t c = m->value[0];
    if (c == '{' || c == '[' || c == 'n' || !m->key_len)
        return 0;
    if ((!first && buf_append_char(out, ',')) || decode(m->key, m->key_len, text) ||
        put_escaped(out, (const char *)text->data, text->len, ",= ") || buf_append_char(out, '='))
        return -1;
    if (c != '"') // every number is a float: an attribute must not change its type from value to value
        return buf_append(out, m->value, m->value_len) ? -1 : 1;
    return decode(m->value + 1, m->value_len - 2, text) || put_influx_string(out, text) ? -1 : 1;
}

static int put_fields(const struct record *r, struct buf *out)
{
    struct json_member m;
    struct buf text;
    int any = 0;
    buf_create(&text, RECORD_LINE_MAX);
    for (size_t at = 0; any >= 0 && json_members(r->payload, r->payload_len, &at, &m);) {
        int rc = says_the_time(&m, r) ? 0 : put_member(out, &m, !any, &text);
        any = rc < 0 ? -1 : any | rc;
    }
    buf_destroy(&text);
    return any;
}

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
    if (put_escaped(out, r->group_name, r->group_len, ", ") || put(out, ",device=") ||
        put_escaped(out, r->device, r->device_len, ",= ") || buf_append_char(out, ' '))
        return -1;
    int any = put_fields(r, out);
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
