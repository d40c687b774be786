// Raw binary: numbers of a fixed width, one after the other.
#include <float.h>
#include <math.h>
#include <string.h>
#include "telemetry/encode.h"

static const struct {
    uint8_t size;
    bool is_signed;
} formats[] = {[BINARY_U8] = {1, false},  [BINARY_I8] = {1, true},  [BINARY_U16] = {2, false}, [BINARY_I16] = {2, true},
               [BINARY_U32] = {4, false}, [BINARY_I32] = {4, true}, [BINARY_U64] = {8, false}, [BINARY_I64] = {8, true},
               [BINARY_F32] = {4, true},  [BINARY_F64] = {8, true}, [BINARY_BOOL] = {1, false}};

const char *const *binary_format_names(void)
{
    static const char *const names[] = {"u8",  "i8",  "u16", "i16", "u32",  "i32",
                                        "u64", "i64", "f32", "f64", "bool", NULL};
    return names;
}

int binary_put_uint(struct buf *out, uint64_t v, unsigned n, bool big_endian)
{
    uint8_t *to = buf_reserve(out, n);
    if (!to)
        return -1;
    for (unsigned i = 0; i < n; i++, v >>= 8)
        to[big_endian ? n - 1 - i : i] = (uint8_t)v;
    out->len += n;
    return 0;
}

// A whole number of so many bytes, clamped; the result is what its bytes are.
static uint64_t clamp_integer(int64_t v, unsigned size, bool is_signed)
{
    if (!is_signed) {
        uint64_t most = size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
        return v < 0 ? 0 : (uint64_t)v > most ? most : (uint64_t)v;
    }
    int64_t most = size == 8 ? INT64_MAX : (1ll << (8 * size - 1)) - 1;
    return (uint64_t)(v > most ? most : v < -most - 1 ? -most - 1 : v);
}

static uint64_t clamp_number(double v, unsigned size, bool is_signed)
{
    if (isnan(v))
        return 0;
    double rounded = rint(v); // half to even
    if (!is_signed && size == 8 && rounded >= 0x1p63)
        return rounded >= 0x1p64 ? UINT64_MAX : (uint64_t)rounded;
    int64_t whole = rounded >= 0x1p63 ? INT64_MAX : rounded < -0x1p63 ? INT64_MIN : (int64_t)rounded;
    return clamp_integer(whole, size, is_signed);
}

static uint64_t real_bits(double v, unsigned size)
{
    uint64_t bits;
    uint32_t single;
    if (size == 8) {
        memcpy(&bits, &v, sizeof(bits));
        return bits;
    }
    if (isfinite(v) && fabs(v) > FLT_MAX)
        v = v < 0 ? -FLT_MAX : FLT_MAX;
    float f = (float)v;
    memcpy(&single, &f, sizeof(single));
    return single;
}

// At most 65,535 bytes, not ending within a character.
static size_t cut_text(const char *s, size_t n)
{
    if (n <= UINT16_MAX)
        return n;
    n = UINT16_MAX;
    size_t back = n;
    while (back > n - 4 && ((unsigned char)s[back] & 0xc0) == 0x80)
        back--;
    return ((unsigned char)s[back] & 0xc0) == 0x80 ? n : back;
}

static int put_text(struct buf *out, bool big_endian, const struct value *v)
{
    uint32_t before = out->len;
    if (binary_put_uint(out, 0, 2, big_endian))
        return -1;
    uint32_t start = out->len;
    int rc = 0;
    if (v->type == VALUE_STRING || v->type == VALUE_BINARY)
        rc = buf_append(out, v->str.s, cut_text(v->str.s, v->str.n));
    else if (v->type == VALUE_JSON) // half a JSON text is none
        rc = v->str.n > UINT16_MAX ? 0 : buf_append(out, v->str.s, v->str.n);
    else if (v->type == VALUE_NUMERAL || v->type == VALUE_NUMBER)
        rc = buf_append_number(out, v->number, -1);
    else if (v->type == VALUE_INTEGER)
        rc = buf_append_int(out, v->integer);
    else if (v->type == VALUE_BOOLEAN)
        rc = buf_append_str(out, v->boolean ? "true" : "false");
    size_t n = out->len - start;
    out->len = before;
    if (rc || binary_put_uint(out, n, 2, big_endian))
        return -1;
    out->len += (uint32_t)n;
    return 0;
}

int binary_put(struct buf *out, enum binary_format format, bool big_endian, const struct value *v)
{
    if (format == BINARY_TEXT)
        return put_text(out, big_endian, v);
    bool text = v->type == VALUE_STRING || v->type == VALUE_BINARY || v->type == VALUE_JSON;
    if (format == BINARY_BYTES)
        return text ? buf_append(out, v->str.s, v->str.n) : 0;
    unsigned size = formats[format].size;
    struct value number = {.type = VALUE_NULL};
    if (!text && v->type != VALUE_NULL)
        number = v->type == VALUE_INTEGER && format < BINARY_F32 ? *v : encode_as(VALUE_NUMBER, v);
    uint64_t bits = 0;
    if (number.type == VALUE_INTEGER)
        bits = clamp_integer(number.integer, size, formats[format].is_signed);
    else if (number.type == VALUE_NUMBER && format == BINARY_BOOL)
        bits = number.number != 0 && !isnan(number.number);
    else if (number.type == VALUE_NUMBER && format >= BINARY_F32)
        bits = real_bits(number.number, size);
    else if (number.type == VALUE_NUMBER)
        bits = clamp_number(number.number, size, formats[format].is_signed);
    return binary_put_uint(out, bits, size, big_endian);
}
