#include "core/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64u // what most MQTT headers and small payloads need

void buf_create(struct buf *b, uint32_t cap)
{
    b->data = NULL;
    b->len = 0;
    b->size = 0;
    b->cap = cap;
}

void buf_destroy(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = 0;
    b->size = 0;
}

uint8_t *buf_reserve_slow(struct buf *b, uint32_t n)
{
    uint64_t need = (uint64_t)b->len + n;
    if (need > b->cap)
        return NULL;
    if (b->data && need <= b->size)
        return b->data + b->len;
    uint64_t size = b->size ? (uint64_t)b->size * 2 : FIRST_SIZE;
    while (size < need)
        size *= 2;
    if (size > b->cap)
        size = b->cap;
    uint8_t *data = realloc(b->data, (size_t)size);
    if (!data)
        return NULL;
    b->data = data;
    b->size = (uint32_t)size;
    return data + b->len;
}

int buf_append(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    if (n > UINT32_MAX)
        return -1;
    uint8_t *at = buf_reserve(b, (uint32_t)n);
    if (!at)
        return -1;
    memcpy(at, bytes, n);
    b->len += (uint32_t)n;
    return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_append_char(struct buf *b, char c)
{
    uint8_t *at = buf_reserve(b, 1);
    if (!at)
        return -1;
    *at = (uint8_t)c;
    b->len++;
    return 0;
}

int buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->data ? b->size - b->len : 0;
    int n = vsnprintf(room ? (char *)b->data + b->len : NULL, room, fmt, args);
    int rc = n < 0 ? -1 : 0;
    if (!rc && (size_t)n >= room) {
        // Did not fit with its NUL. At the cap there may be room for the text but not for the NUL: format apart.
        char *text = NULL;
        rc = vasprintf(&text, fmt, again) < 0 ? -1 : buf_append(b, text, (size_t)n);
        free(text);
    } else if (!rc) {
        b->len += (uint32_t)n;
    }
    va_end(again);
    return rc;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = buf_vprintf(b, fmt, args);
    va_end(args);
    return rc;
}

// Two digits a division: half the divisions of the plain loop, which is what a payload's number costs.
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                  "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

// Writes v so that it ends before `end`; returns where it begins.
static char *digits_backwards(char *end, uint64_t v)
{
    while (v >= 100) {
        const char *pair = &digit_pairs[2 * (v % 100)];
        v /= 100;
        *--end = pair[1];
        *--end = pair[0];
    }
    if (v >= 10) {
        *--end = digit_pairs[2 * v + 1];
        *--end = digit_pairs[2 * v];
    } else {
        *--end = (char)('0' + v);
    }
    return end;
}

int buf_append_int(struct buf *b, int64_t v)
{
    char text[24], *end = text + sizeof(text);
    char *at = digits_backwards(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0)
        *--at = '-';
    return buf_append(b, at, (size_t)(end - at));
}

// Beyond the exact integers of a double, and tiny numbers.
static int append_general(struct buf *b, double v)
{
    char text[40];
    int n = snprintf(text, sizeof(text), "%.14g", v);
    if (n <= 0 || (size_t)n >= sizeof(text))
        return -1;
    for (int i = 0; i < n; i++)
        if (!strchr("0123456789+-eE", text[i]))
            text[i] = '.'; // a locale's decimal comma
    return buf_append(b, text, (size_t)n);
}

int buf_append_number(struct buf *b, double v, int decimals)
{
    static const uint32_t pow10[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    if (!isfinite(v))
        return buf_append(b, "null", 4);
    bool automatic = decimals < 0;
    if (automatic)
        decimals = 6;
    else if (decimals > 9)
        decimals = 9;
    double magnitude = fabs(v);
    if (magnitude > 0x1p53)
        return append_general(b, v);
    // Integer and fraction apart: the subtraction is exact, so only the fraction is ever rounded.
    uint64_t whole = (uint64_t)magnitude;
    double scaled = (magnitude - (double)whole) * pow10[decimals];
    uint32_t frac = (uint32_t)scaled;
    if (scaled - frac >= 0.5)
        frac++;
    if (frac == pow10[decimals]) {
        whole++;
        frac = 0;
    }
    if (whole == 0 && frac == 0) {
        if (automatic && magnitude > 0)
            return append_general(b, v);
        return buf_append_char(b, '0');
    }
    char text[32], *end = text + sizeof(text), *at = end;
    if (frac) {
        while (frac % 10 == 0) {
            frac /= 10;
            decimals--;
        }
        at = digits_backwards(end, frac);
        while (end - at < decimals)
            *--at = '0';
        *--at = '.';
    }
    at = digits_backwards(at, whole);
    if (v < 0)
        *--at = '-';
    return buf_append(b, at, (size_t)(end - at));
}

size_t utf8_length(const void *p, size_t n)
{
    const uint8_t *s = p;
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
        return 0;
    // Only the second byte has a range of its own (RFC 3629, section 4).
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static int append_escape(struct buf *b, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    switch (c) {
    case '"':
    case '\\':
        text[1] = (char)c;
        return buf_append(b, text, 2);
    case '\b':
        return buf_append(b, "\\b", 2);
    case '\f':
        return buf_append(b, "\\f", 2);
    case '\n':
        return buf_append(b, "\\n", 2);
    case '\r':
        return buf_append(b, "\\r", 2);
    case '\t':
        return buf_append(b, "\\t", 2);
    default:
        return buf_append(b, text, 6);
    }
}

// Bytes from s that need no escape and are well-formed UTF-8.
static size_t plain_run(const uint8_t *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] != '"' && s[i] != '\\' && s[i] >= 0x20) {
        size_t len = s[i] < 0x80 ? 1 : utf8_length(s + i, n - i);
        if (len == 0)
            break;
        i += len;
    }
    return i;
}

static int append_json_body(struct buf *b, const uint8_t *s, size_t n)
{
    while (n > 0) {
        size_t run = plain_run(s, n);
        if (buf_append(b, s, run))
            return -1;
        s += run;
        n -= run;
        if (n == 0)
            break;
        int rc = *s >= 0x80 ? buf_append(b, "\xef\xbf\xbd", 3) : append_escape(b, *s);
        if (rc)
            return -1;
        s++;
        n--;
    }
    return 0;
}

int buf_append_json_string(struct buf *b, const char *s, size_t n)
{
    uint32_t before = b->len;
    if (buf_append_char(b, '"') || append_json_body(b, (const uint8_t *)s, n) || buf_append_char(b, '"')) {
        b->len = before;
        return -1;
    }
    return 0;
}

int buf_append_base64(struct buf *b, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = bytes;
    if (n > b->cap)
        return -1;
    uint8_t *to = buf_reserve(b, (uint32_t)((n + 2) / 3 * 4));
    if (!to)
        return -1;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        *to++ = (uint8_t)digits[bits >> 18];
        *to++ = (uint8_t)digits[bits >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)digits[bits >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)digits[bits & 63] : '=';
    }
    b->len += (uint32_t)((n + 2) / 3 * 4);
    return 0;
}

int buf_append_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    return buf_append(b, bytes, n);
}

size_t varint_read(const uint8_t *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n && i < 10; i++) {
        if (i == 9 && p[i] > 1)
            return 0; // more than 64 bits
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *out = v;
            return i + 1;
        }
    }
    return 0;
}

void buf_consume(struct buf *b, uint32_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    b->len -= n;
    memmove(b->data, b->data + n, b->len);
}

const char *buf_cstr(struct buf *b)
{
    uint8_t *at = buf_reserve(b, 1);
    if (!at)
        return "";
    *at = '\0';
    return (const char *)b->data;
}
