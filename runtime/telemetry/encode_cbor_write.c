// Items in their shortest form. Numbers are written into room that was reserved before, so that a message costs one
// check of the buffer a field.
#include <float.h>
#include <math.h>
#include <string.h>
#include "telemetry/cbor.h"
#include "telemetry/encode.h"

static unsigned put_big_endian(uint8_t *to, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> 8 * (n - 1 - i));
    return n;
}

unsigned cbor_head(uint8_t *to, enum cbor_major major, uint64_t v)
{
    uint8_t top = (uint8_t)(major << 5);
    if (v < 24) {
        to[0] = (uint8_t)(top | v);
        return 1;
    }
    unsigned log = v <= UINT8_MAX ? 0 : v <= UINT16_MAX ? 1 : v <= UINT32_MAX ? 2 : 3;
    to[0] = (uint8_t)(top | (24 + log));
    return 1 + put_big_endian(to + 1, v, 1u << log);
}

unsigned cbor_int(uint8_t *to, int64_t v)
{
    return v < 0 ? cbor_head(to, CBOR_NINT, ~(uint64_t)v) : cbor_head(to, CBOR_UINT, (uint64_t)v);
}

// A finite single as a half, if that is exact.
static bool half_of(float f, uint16_t *half)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000, mantissa = bits & 0x7fffff;
    int exponent = (int)(bits >> 23 & 0xff) - 127;
    if ((bits & 0x7fffffff) == 0) {
        *half = (uint16_t)sign;
        return true;
    }
    if (exponent >= -14 && exponent <= 15 && !(mantissa & 0x1fff)) {
        *half = (uint16_t)(sign | (uint32_t)(exponent + 15) << 10 | mantissa >> 13);
        return true;
    }
    if (exponent < -24 || exponent > -15)
        return false;
    unsigned shift = (unsigned)(-1 - exponent); // 14..23: a subnormal half counts in units of 2^-24
    mantissa |= 0x800000;
    *half = (uint16_t)(sign | mantissa >> shift);
    return !(mantissa & ((1u << shift) - 1));
}

unsigned cbor_double(uint8_t *to, double v)
{
    uint64_t bits;
    uint16_t half;
    bool special = !isfinite(v);
    if (special || fabs(v) <= FLT_MAX) {
        float f = special ? 0 : (float)v;
        if (special)
            half = isnan(v) ? 0x7e00 : v < 0 ? 0xfc00 : 0x7c00;
        if (special || ((double)f == v && half_of(f, &half))) {
            to[0] = 0xf9;
            return 1 + put_big_endian(to + 1, half, 2);
        }
        if ((double)f == v) {
            uint32_t single;
            memcpy(&single, &f, sizeof(single));
            to[0] = 0xfa;
            return 1 + put_big_endian(to + 1, single, 4);
        }
    }
    memcpy(&bits, &v, sizeof(bits));
    to[0] = 0xfb;
    return 1 + put_big_endian(to + 1, bits, 8);
}

int cbor_put_head(struct buf *out, enum cbor_major major, uint64_t v)
{
    uint8_t bytes[CBOR_HEAD_MAX];
    return buf_append(out, bytes, cbor_head(bytes, major, v));
}

int cbor_put_int(struct buf *out, int64_t v)
{
    uint8_t bytes[CBOR_HEAD_MAX];
    return buf_append(out, bytes, cbor_int(bytes, v));
}

int cbor_put_double(struct buf *out, double v)
{
    uint8_t bytes[CBOR_HEAD_MAX];
    return buf_append(out, bytes, cbor_double(bytes, v));
}

int cbor_put_bytes(struct buf *out, const void *bytes, size_t n)
{
    uint32_t before = out->len;
    if (cbor_put_head(out, CBOR_BYTES, n) || buf_append(out, bytes, n)) {
        out->len = before;
        return -1;
    }
    return 0;
}

int cbor_put_text(struct buf *out, const char *s, size_t n)
{
    uint32_t before = out->len;
    size_t clean = encode_clean_length(s, n);
    if (cbor_put_head(out, CBOR_TEXT, clean) || encode_put_clean(out, s, n, clean)) {
        out->len = before;
        return -1;
    }
    return 0;
}

// --- from JSON ----------------------------------------------------------------------------------------------------
// What is in a container is counted while it is written: its head gets one byte first, and room is made when that
// turns out to be too little.

struct json_walk {
    const char *at, *end;
    struct buf *out;
    bool full; // the buffer, as opposed to a text that is no JSON
};

static int walk_value(struct json_walk *w, unsigned depth);

static void skip_space(struct json_walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\t' || *w->at == '\r'))
        w->at++;
}

static bool take(struct json_walk *w, char c)
{
    skip_space(w);
    if (w->at == w->end || *w->at != c)
        return false;
    w->at++;
    return true;
}

static int walk_full(struct json_walk *w)
{
    w->full = true;
    return -1;
}

// One byte for a head that is written by end_head.
static int begin_head(struct json_walk *w, uint32_t *at)
{
    *at = w->out->len;
    return buf_append_char(w->out, 0) ? walk_full(w) : 0;
}

static int end_head(struct json_walk *w, uint32_t at, enum cbor_major major, uint64_t n)
{
    uint8_t bytes[CBOR_HEAD_MAX];
    unsigned k = cbor_head(bytes, major, n);
    if (!buf_reserve(w->out, k))
        return walk_full(w);
    uint8_t *to = w->out->data + at;
    memmove(to + k, to + 1, w->out->len - at - 1);
    memcpy(to, bytes, k);
    w->out->len += k - 1;
    return 0;
}

static int hex_digits(struct json_walk *w, uint32_t *out)
{
    *out = 0;
    if (w->end - w->at < 4)
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        char c = *w->at++;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return -1;
        *out = *out << 4 | digit;
    }
    return 0;
}

static unsigned put_utf8(char *to, uint32_t c)
{
    unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (unsigned i = n; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(lead[n] | c);
    return n;
}

// What stands behind a backslash; returns its length in UTF-8, 0 when it is no escape.
static unsigned unescape(struct json_walk *w, char *to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint32_t c, low;
    if (w->at == w->end)
        return 0;
    char name = *w->at++;
    const char *known = name ? strchr(names, name) : NULL;
    if (known) {
        to[0] = values[known - names];
        return 1;
    }
    if (name != 'u' || hex_digits(w, &c))
        return 0;
    if (c >= 0xd800 && c < 0xdc00 && w->end - w->at >= 6 && w->at[0] == '\\' && w->at[1] == 'u') {
        const char *before = w->at;
        w->at += 2;
        if (hex_digits(w, &low))
            return 0;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            w->at = before;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd; // half a pair
    return put_utf8(to, c);
}

// Behind the opening quote. Texts without escapes, nearly all, go over in one piece.
static int walk_string(struct json_walk *w)
{
    const char *s = w->at;
    uint32_t at;
    char utf8[4];
    while (w->at < w->end && *w->at != '"' && *w->at != '\\')
        w->at++;
    if (w->at == w->end)
        return -1;
    if (*w->at == '"')
        return cbor_put_text(w->out, s, (size_t)(w->at++ - s)) ? walk_full(w) : 0;
    if (begin_head(w, &at))
        return -1;
    for (;;) {
        size_t n = (size_t)(w->at - s);
        if (encode_put_clean(w->out, s, n, encode_clean_length(s, n)))
            return walk_full(w);
        if (w->at == w->end)
            return -1;
        if (*w->at++ == '"')
            return end_head(w, at, CBOR_TEXT, w->out->len - at - 1);
        unsigned k = unescape(w, utf8);
        if (!k)
            return -1;
        if (buf_append(w->out, utf8, k))
            return walk_full(w);
        s = w->at;
        while (w->at < w->end && *w->at != '"' && *w->at != '\\')
            w->at++;
    }
}

static int walk_number(struct json_walk *w)
{
    const char *s = w->at;
    bool negative = *s == '-', whole = true;
    uint64_t v = 0;
    w->at += negative;
    if (w->at == w->end || *w->at < '0' || *w->at > '9')
        return -1;
    for (; w->at < w->end && strchr("0123456789.eE+-", *w->at) && *w->at; w->at++) {
        unsigned digit = (unsigned)(*w->at - '0');
        whole = whole && digit < 10 && v <= (UINT64_MAX - digit) / 10;
        v = whole ? v * 10 + digit : 0;
    }
    if (whole && negative && !v)
        whole = false; // -0
    if (whole)
        return cbor_put_head(w->out, negative ? CBOR_NINT : CBOR_UINT, negative ? v - 1 : v) ? walk_full(w) : 0;
    double number;
    if (!encode_text_number(s, (size_t)(w->at - s), &number))
        return -1;
    return cbor_put_double(w->out, number) ? walk_full(w) : 0;
}

static int walk_word(struct json_walk *w)
{
    static const struct {
        const char *word;
        unsigned simple;
    } words[] = {{"null", CBOR_NULL}, {"true", CBOR_TRUE}, {"false", CBOR_FALSE}};
    for (unsigned i = 0; i < 3; i++) {
        size_t n = strlen(words[i].word);
        if ((size_t)(w->end - w->at) >= n && memcmp(w->at, words[i].word, n) == 0) {
            w->at += n;
            return cbor_put_head(w->out, CBOR_SIMPLE, words[i].simple) ? walk_full(w) : 0;
        }
    }
    return -1;
}

// Behind the opening bracket.
static int walk_members(struct json_walk *w, unsigned depth, bool map)
{
    char close = map ? '}' : ']';
    uint32_t at;
    uint64_t n = 0;
    if (begin_head(w, &at))
        return -1;
    for (bool done = take(w, close); !done; n++) {
        if (map && (!take(w, '"') || walk_string(w) || !take(w, ':')))
            return -1;
        if (walk_value(w, depth + 1))
            return -1;
        done = take(w, close);
        if (!done && !take(w, ','))
            return -1;
    }
    return end_head(w, at, map ? CBOR_MAP : CBOR_ARRAY, n);
}

static int walk_value(struct json_walk *w, unsigned depth)
{
    if (depth > CBOR_MAX_DEPTH)
        return -1;
    if (take(w, '"'))
        return walk_string(w);
    if (take(w, '{'))
        return walk_members(w, depth, true);
    if (take(w, '['))
        return walk_members(w, depth, false);
    if (w->at == w->end)
        return -1;
    return *w->at == '-' || (*w->at >= '0' && *w->at <= '9') ? walk_number(w) : walk_word(w);
}

int cbor_put_json(struct buf *out, const char *text, size_t n)
{
    uint32_t before = out->len;
    struct json_walk w = {.at = text, .end = text + n, .out = out};
    if (walk_value(&w, 0) == 0) {
        skip_space(&w);
        if (w.at == w.end)
            return 0;
    }
    out->len = before;
    return w.full ? -1 : cbor_put_head(out, CBOR_SIMPLE, CBOR_NULL);
}
