#include "sink/line.h"

#include <string.h>

#include "sink/json_scan.h"
#include "sink/record.h"

int line_name(struct buf *out, const char *s, size_t n, const char *special)
{
    uint8_t *to = n < RECORD_LINE_MAX ? buf_reserve(out, 2 * (uint32_t)n + 1) : NULL;
    if (!to)
        return -1;
    uint8_t *from = to;
    const bool equals = strchr(special, '=') != NULL;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        if (c < 0x20 || c == 0x7f)
            c = '_';
        else if (c == ',' || c == ' ' || (c == '=' && equals))
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
        if (buf_append_str(text, c))
            return -1;
    }
    return 0;
}

int line_text(struct buf *out, const char *s, size_t n)
{
    uint8_t *to = n < RECORD_LINE_MAX ? buf_reserve(out, 2 * (uint32_t)n + 2) : NULL;
    if (!to)
        return -1;
    uint8_t *from = to;
    *to++ = '"';
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\')
            *to++ = '\\';
        *to++ = s[i] == '\n' || s[i] == '\r' || !s[i] ? ' ' : (uint8_t)s[i];
    }
    *to++ = '"';
    out->len += (uint32_t)(to - from);
    return 0;
}

static bool says_the_time(const struct json_member *m, int64_t at_ms, int64_t within_ms)
{
    int64_t ms = 0;
    if (m->key_len != 9 || memcmp(m->key, "timestamp", 9) != 0 || m->value_len > 18)
        return false;
    for (size_t i = 0; i < m->value_len; i++) {
        if (m->value[i] < '0' || m->value[i] > '9')
            return false;
        ms = ms * 10 + (m->value[i] - '0');
    }
    return ms - at_ms <= within_ms && at_ms - ms <= within_ms;
}

// A string of JSON as it is meant: itself where it has no escapes, as mostly, else decoded into text. NULL: no memory.
static const char *meaning(const uint8_t *s, size_t n, size_t *len, struct buf *text)
{
    *len = n;
    if (!memchr(s, '\\', n))
        return (const char *)s;
    if (decode(s, n, text))
        return NULL;
    *len = text->len;
    return text->len ? (const char *)text->data : "";
}

// InfluxDB has a time of its own, and no field may have its name.
static int put_key(struct buf *out, const char *key, size_t n)
{
    bool reserved = n == 4 && memcmp(key, "time", 4) == 0;
    return line_name(out, key, n, LINE_TAG) || (reserved && buf_append_char(out, '_')) || buf_append_char(out, '=') ? -1
                                                                                                                    : 0;
}

// 1: a field was appended, 0: it is none.
static int put_member(struct buf *out, const struct json_member *m, bool first, struct buf *text)
{
    uint8_t c = m->value[0];
    size_t n;
    if (c == '{' || c == '[' || c == 'n' || !m->key_len)
        return 0;
    const char *s = meaning(m->key, m->key_len, &n, text);
    if (!s || (!first && buf_append_char(out, ',')) || put_key(out, s, n))
        return -1;
    if (c != '"')
        return buf_append(out, m->value, m->value_len) ? -1 : 1;
    s = meaning(m->value + 1, m->value_len - 2, &n, text);
    return !s || line_text(out, s, n) ? -1 : 1;
}

int line_tag(struct buf *out, const char *key, const char *value, size_t n)
{
    if (!n)
        return 0;
    return buf_append_char(out, ',') || line_name(out, key, strlen(key), LINE_TAG) || buf_append_char(out, '=') ||
                   line_name(out, value, n, LINE_TAG)
               ? -1
               : 0;
}

int line_fields(struct buf *out, const uint8_t *json, size_t n, int64_t at_ms, int64_t within_ms)
{
    struct json_member m;
    struct buf text;
    int any = 0;
    buf_create(&text, RECORD_LINE_MAX);
    for (size_t at = 0; any >= 0 && json_members(json, n, &at, &m);) {
        int rc = says_the_time(&m, at_ms, within_ms) ? 0 : put_member(out, &m, !any, &text);
        any = rc < 0 ? -1 : any | rc;
    }
    buf_destroy(&text);
    return any;
}
