// A growing byte buffer with a mandatory cap. At the cap an append fails and leaves the contents as they were.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdarg.h>
#include <stddef.h>
#include "core/error.h"

struct buf {
    uint8_t *data; // NULL until the first append
    uint32_t len;  // bytes used
    uint32_t size; // bytes allocated
    uint32_t cap;  // bytes it may ever hold
};

// Makes an empty buffer that allocates nothing until used. cap in bytes, > 0.
void buf_create(struct buf *b, uint32_t cap);
// Frees the bytes; the buffer is empty and usable again.
void buf_destroy(struct buf *b);
// Length to 0, keeps the allocation.
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}

// Makes room for n more bytes and returns where they start (b->data + b->len), or NULL at the cap or without
// memory. Does not change len: the caller adds what it wrote.
uint8_t *buf_reserve_slow(struct buf *b, uint32_t n);
static inline uint8_t *buf_reserve(struct buf *b, uint32_t n)
{
    if (b->size - b->len >= n && b->data)
        return b->data + b->len;
    return buf_reserve_slow(b, n);
}

// All appenders: 0, or -1 at the cap or without memory with the contents unchanged.
int buf_append(struct buf *b, const void *bytes, size_t n) WARN_UNUSED_RESULT;
int buf_append_str(struct buf *b, const char *s) WARN_UNUSED_RESULT;
int buf_append_char(struct buf *b, char c) WARN_UNUSED_RESULT;
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3) WARN_UNUSED_RESULT;
int buf_vprintf(struct buf *b, const char *fmt, va_list args) WARN_UNUSED_RESULT;
// Decimal integer.
int buf_append_int(struct buf *b, int64_t v) WARN_UNUSED_RESULT;
// A JSON number that reads well: integers without a point; otherwise at most `decimals` digits (0..9) after the point,
// rounded half away from zero, trailing zeros cut, no "-0". decimals < 0 is automatic: at most 6, and a non-zero that
// would print as 0 becomes %.14g. So do magnitudes beyond 2^53. NaN and infinities become null. Locale-free, no
// snprintf on the common path (this is the hot path of every payload).
int buf_append_number(struct buf *b, double v, int decimals) WARN_UNUSED_RESULT;
// "…" with JSON escapes. Invalid UTF-8 bytes become U+FFFD, so that the result is always valid JSON.
int buf_append_json_string(struct buf *b, const char *s, size_t n) WARN_UNUSED_RESULT;
// Base64 (RFC 4648, with padding).
int buf_append_base64(struct buf *b, const void *bytes, size_t n) WARN_UNUSED_RESULT;
// Unsigned LEB128 varint (used by the binary snapshots), and its reader: returns bytes consumed, 0 if malformed.
int buf_append_varint(struct buf *b, uint64_t v) WARN_UNUSED_RESULT;
size_t varint_read(const uint8_t *p, size_t n, uint64_t *out);
// Length of the well-formed UTF-8 sequence at p (RFC 3629: no overlong forms, surrogates or > U+10FFFF), 0 if there is
// none. n > 0.
size_t utf8_length(const void *p, size_t n);
// Drops n (<= len) bytes from the front.
void buf_consume(struct buf *b, uint32_t n);
// NUL-terminates without counting it in len; returns data as a C string ("" when it cannot grow: keep one byte of the
// cap for the NUL).
const char *buf_cstr(struct buf *b);
