#include "sink/json_scan.h"

#include <string.h>

#include "core/buf.h"

struct scan {
    const uint8_t *p, *end;
    bool newline;
};

static void space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
        s->newline |= *s->p == '\n' || *s->p == '\r';
        s->p++;
    }
}

static bool is_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool digits(struct scan *s)
{
    const uint8_t *from = s->p;
    while (is_digit(s))
        s->p++;
    return s->p > from;
}

static bool number(struct scan *s)
{
    if (s->p < s->end && *s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!digits(s))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!digits(s))
            return false;
    }
    return true;
}

static bool escape(struct scan *s)
{
    if (++s->p == s->end)
        return false;
    uint8_t c = *s->p++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c);
    for (int i = 0; i < 4; i++, s->p++) {
        uint8_t low = s->p < s->end ? *s->p | 0x20 : 0;
        if (!is_digit(s) && !(low >= 'a' && low <= 'f'))
            return false;
    }
    return true;
}

// p is at the opening quote.
static bool string(struct scan *s)
{
    s->p++;
    while (s->p < s->end) {
        uint8_t c = *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c == '\\') {
            if (!escape(s))
                return false;
        } else if (c < 0x20) {
            return false;
        } else if (c < 0x80) {
            s->p++;
        } else {
            size_t len = utf8_length(s->p, (size_t)(s->end - s->p));
            if (!len)
                return false;
            s->p += len;
        }
    }
    return false;
}

static bool word(struct scan *s, const char *text, size_t n)
{
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool scalar(struct scan *s)
{
    switch (*s->p) {
    case '"':
        return string(s);
    case 't':
        return word(s, "true", 4);
    case 'f':
        return word(s, "false", 5);
    case 'n':
        return word(s, "null", 4);
    default:
        return number(s);
    }
}

// "key": up to the value.
static bool key(struct scan *s)
{
    space(s);
    if (s->p == s->end || *s->p != '"' || !string(s))
        return false;
    space(s);
    if (s->p == s->end || *s->p != ':')
        return false;
    s->p++;
    return true;
}

// One value. Containers are a stack of bits: 1 for an object.
static bool value(struct scan *s)
{
    uint64_t objects = 0;
    unsigned depth = 0;
    for (;;) {
        space(s);
        if (s->p == s->end)
            return false;
        bool object = *s->p == '{', opens = object || *s->p == '[';
        if (opens) {
            if (depth == JSON_SCAN_DEPTH)
                return false;
            s->p++;
            objects = objects << 1 | object;
            depth++;
            space(s);
            bool empty = s->p < s->end && *s->p == (object ? '}' : ']');
            if (!empty) {
                if (object && !key(s))
                    return false;
                continue;
            }
        } else if (!scalar(s)) {
            return false;
        }
        // A value is complete, or an empty container about to be closed.
        for (bool more = false; !more;) {
            if (!depth)
                return true;
            space(s);
            if (s->p == s->end)
                return false;
            uint8_t c = *s->p++;
            if (c == ',') {
                if (objects & 1 && !key(s))
                    return false;
                more = true;
            } else if (c == (objects & 1 ? '}' : ']')) {
                objects >>= 1;
                depth--;
            } else {
                return false;
            }
        }
    }
}

bool json_scan(const void *text, size_t n, bool *has_newline)
{
    struct scan s = {.p = text, .end = (const uint8_t *)text + n};
    bool whole = value(&s);
    space(&s);
    *has_newline = s.newline;
    return whole && s.p == s.end;
}

bool json_members(const uint8_t *text, size_t n, size_t *at, struct json_member *out)
{
    struct scan s = {.p = text + *at, .end = text + n};
    space(&s);
    if (s.p == s.end || *s.p != (*at ? ',' : '{'))
        return false;
    s.p++;
    space(&s);
    if (s.p == s.end || *s.p != '"')
        return false; // {}
    out->key = s.p + 1;
    if (!string(&s))
        return false;
    out->key_len = (size_t)(s.p - 1 - out->key);
    space(&s);
    s.p++; // the colon
    space(&s);
    out->value = s.p;
    if (s.p >= s.end || !value(&s))
        return false;
    out->value_len = (size_t)(s.p - out->value);
    *at = (size_t)(s.p - text);
    return true;
}
