// Private to codec*.c and parser.c: integers and texts of MQTT, both versions.
#pragma once
#include <string.h>
#include "adapter/mqtt/codec5.h"

// 2.2.3, and 1.5.5 of version 5. v <= MQTT_MAX_REMAINING.
static inline size_t varint_size(size_t v)
{
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

static inline uint8_t *put_varint(uint8_t *p, size_t v)
{
    do {
        *p++ = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
        v >>= 7;
    } while (v);
    return p;
}

static inline uint8_t *put_header(uint8_t *p, unsigned type, unsigned flags, size_t remaining)
{
    *p++ = (uint8_t)(type << 4 | flags);
    return put_varint(p, remaining);
}

static inline uint8_t *put_u16(uint8_t *p, size_t v)
{
    *p++ = (uint8_t)(v >> 8);
    *p++ = (uint8_t)v;
    return p;
}

static inline uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    return put_u16(put_u16(p, v >> 16), v);
}

// A text or binary data: its length, then its bytes.
static inline uint8_t *put_text(uint8_t *p, const char *s, size_t n)
{
    p = put_u16(p, n);
    if (n)
        memcpy(p, s, n);
    return p + n;
}

static inline unsigned get_u16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

// Flags of a PUBLISH's first byte.
static inline unsigned publish_flags(const struct mqtt_publish *m)
{
    return (m->dup ? 8u : 0) | (unsigned)m->qos << 1 | (m->retain ? 1u : 0);
}

// Version 5: a variable byte integer from *at, which advances. Returns NULL, or what is wrong with it (1.5.5).
static inline const char *get_varint(const uint8_t **at, const uint8_t *end, uint32_t *out)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (*at == end)
            return "is cut";
        uint8_t b = *(*at)++;
        v |= (uint32_t)(b & 127) << (7 * i);
        if (b & 128)
            continue;
        if (i && !b)
            return "is longer than needed";
        *out = v;
        return NULL;
    }
    return "is longer than 4 bytes";
}

// Version 5: a violation by the server; the code is for the DISCONNECT.
#define violation(reason, code, err, ...) (*(reason) = (code), error_set((err), ERR_PROTOCOL, __VA_ARGS__))

// Bytes of the properties without their length field; no checks. p NULL: 0.
size_t mqtt5_properties_length(const struct mqtt5_properties *p);
// Length and, for a text, UTF-8 of what is to be sent. -1: ERR_INVALID.
int mqtt5_text_check(const char *what, const struct mqtt_text *t, bool utf8, struct error *err);
