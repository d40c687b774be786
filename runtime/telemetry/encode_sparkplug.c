// Sparkplug B payloads (Eclipse Sparkplug 3.0, section 6.4; protobuf, proto2). A metric is a message within the
// message: its length is computed before it is written.
//
//   Payload  1 timestamp  2 metrics  3 seq
//   Metric   1 name  2 alias  3 timestamp  4 datatype  7 is_null  10 int  11 long  12 float  13 double  14 boolean
//            15 string  16 bytes
#include <float.h>
#include <math.h>
#include <string.h>
#include "telemetry/encode.h"
#include "telemetry/encoder.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum { VALUE_AT_MOST = 12, SCALARS_AT_MOST = 48 }; // bytes: of a scalar with its key; of all scalars of a metric

static unsigned varint_length(uint64_t v)
{
    unsigned n = 1;
    while (v >>= 7)
        n++;
    return n;
}

static uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static uint8_t *put_key(uint8_t *to, unsigned field, enum wire wire)
{
    return put_varint(to, field << 3 | wire);
}

static uint8_t *put_number(uint8_t *to, unsigned field, uint64_t v)
{
    return put_varint(put_key(to, field, WIRE_VARINT), v);
}

static uint8_t *put_fixed(uint8_t *to, unsigned field, enum wire wire, uint64_t bits)
{
    to = put_key(to, field, wire);
    for (unsigned i = 0; i < (wire == WIRE_64 ? 8 : 4); i++, bits >>= 8)
        *to++ = (uint8_t)bits;
    return to;
}

enum sparkplug_type sparkplug_type_of(enum value_type declared)
{
    switch (declared) {
    case VALUE_INTEGER:
        return SPARKPLUG_INT64;
    case VALUE_BOOLEAN:
        return SPARKPLUG_BOOLEAN;
    case VALUE_NUMBER:
    case VALUE_NULL:
        return SPARKPLUG_DOUBLE;
    case VALUE_BINARY:
        return SPARKPLUG_BYTES;
    default:
        return SPARKPLUG_STRING;
    }
}

// --- values -------------------------------------------------------------------------------------------------------

// Whole numbers: those up to 32 bits in int_value, as what their bits are without a sign.
static uint8_t *put_integer(uint8_t *to, enum sparkplug_type type, const struct value *v)
{
    static const struct {
        double low, high; // [low, high)
    } ranges[] = {[SPARKPLUG_INT8] = {-0x1p7, 0x1p7},    [SPARKPLUG_INT16] = {-0x1p15, 0x1p15},
                  [SPARKPLUG_INT32] = {-0x1p31, 0x1p31}, [SPARKPLUG_INT64] = {-0x1p63, 0x1p63},
                  [SPARKPLUG_UINT8] = {0, 0x1p8},        [SPARKPLUG_UINT16] = {0, 0x1p16},
                  [SPARKPLUG_UINT32] = {0, 0x1p32},      [SPARKPLUG_UINT64] = {0, 0x1p64},
                  [SPARKPLUG_DATETIME] = {0, 0x1p64}};
    bool wide = type == SPARKPLUG_INT64 || type == SPARKPLUG_UINT64 || type == SPARKPLUG_DATETIME;
    struct value number = encode_as(VALUE_NUMBER, v);
    uint64_t bits;
    if (number.type != VALUE_NUMBER)
        return NULL;
    if (v->type == VALUE_INTEGER && wide) { // not by way of a double: all 64 bits count
        if (v->integer < 0 && type != SPARKPLUG_INT64)
            return NULL;
        bits = (uint64_t)v->integer;
    } else {
        double rounded = rint(number.number);
        if (!(rounded >= ranges[type].low && rounded < ranges[type].high))
            return NULL;
        bits = rounded < 0 ? (uint64_t)(int64_t)rounded : (uint64_t)rounded;
    }
    return wide ? put_number(to, 11, bits) : put_number(to, 10, (uint32_t)bits);
}

// The value with its key, NULL when the type cannot hold it. Texts and bytes are not written here.
static uint8_t *put_scalar(uint8_t *to, enum sparkplug_type type, const struct value *v)
{
    struct value number = encode_as(VALUE_NUMBER, v);
    uint64_t bits = 0;
    if (v->type == VALUE_NULL)
        return NULL;
    if (type != SPARKPLUG_FLOAT && type != SPARKPLUG_DOUBLE && type != SPARKPLUG_BOOLEAN)
        return put_integer(to, type, v);
    if (number.type != VALUE_NUMBER || isnan(number.number))
        return NULL;
    if (type == SPARKPLUG_BOOLEAN)
        return put_number(to, 14, number.number != 0);
    if (type == SPARKPLUG_FLOAT && isfinite(number.number) && fabs(number.number) > FLT_MAX)
        return NULL;
    float f = type == SPARKPLUG_FLOAT ? (float)number.number : 0;
    memcpy(&bits, type == SPARKPLUG_FLOAT ? (void *)&f : (void *)&number.number, type == SPARKPLUG_FLOAT ? 4 : 8);
    return type == SPARKPLUG_FLOAT ? put_fixed(to, 12, WIRE_32, bits) : put_fixed(to, 13, WIRE_64, bits);
}

static bool is_text(enum sparkplug_type type)
{
    return type == SPARKPLUG_STRING || type == SPARKPLUG_TEXT || type == SPARKPLUG_UUID;
}

bool sparkplug_fits(enum sparkplug_type type, const struct value *v)
{
    uint8_t scalar[SCALARS_AT_MOST];
    return v->type == VALUE_NULL || is_text(type) || type == SPARKPLUG_BYTES || put_scalar(scalar, type, v);
}

// --- metrics ------------------------------------------------------------------------------------------------------

// The bytes of a value that is a text or bytes.
struct content {
    const char *s;
    size_t n, clean; // clean: its length in the message
    char number[48];
};

// Numbers as texts are made where the message is going to be, and taken back from there.
static int number_text(struct buf *out, const struct sparkplug_metric *m, struct content *content)
{
    const struct value *v = &m->value;
    uint32_t before = out->len;
    int rc = v->type == VALUE_INTEGER   ? buf_append_int(out, v->integer)
             : v->type == VALUE_BOOLEAN ? buf_append_str(out, v->boolean ? "true" : "false")
                                        : buf_append_number(out, v->number, m->precision);
    size_t n = out->len - before;
    out->len = before;
    if (rc || n > sizeof(content->number))
        return -1;
    memcpy(content->number, out->data + before, n);
    content->s = content->number;
    content->n = content->clean = n;
    return 0;
}

// -1: the buffer is full; content->s stays NULL when the value is null.
static int content_of(struct buf *out, const struct sparkplug_metric *m, struct content *content)
{
    const struct value *v = &m->value;
    bool bytes = v->type == VALUE_STRING || v->type == VALUE_BINARY || v->type == VALUE_JSON;
    bool number = v->type == VALUE_NUMBER || v->type == VALUE_NUMERAL;
    content->s = NULL;
    content->n = content->clean = 0;
    if (bytes) {
        content->s = v->str.n ? v->str.s : "";
        content->n = v->str.n;
        content->clean = m->type == SPARKPLUG_BYTES ? v->str.n : encode_clean_length(v->str.s, v->str.n);
        return 0;
    }
    if (m->type == SPARKPLUG_BYTES || v->type == VALUE_NULL || (number && !isfinite(v->number)))
        return 0;
    return number_text(out, m, content);
}

static uint8_t *put_metadata(uint8_t *to, const struct sparkplug_metric *m)
{
    if (m->has_alias)
        to = put_number(to, 2, m->alias);
    if (m->has_timestamp)
        to = put_number(to, 3, m->timestamp);
    return m->declared ? put_number(to, 4, m->type) : to;
}

// A length-delimited field.
static int put_bytes(struct buf *out, unsigned field, const char *s, size_t n, size_t clean)
{
    uint8_t *to = buf_reserve(out, VALUE_AT_MOST);
    if (!to)
        return -1;
    out->len += (uint32_t)(put_varint(put_key(to, field, WIRE_BYTES), clean) - to);
    return encode_put_clean(out, s, n, clean);
}

static size_t bytes_length(unsigned field, size_t n)
{
    return varint_length(field << 3) + varint_length(n) + n;
}

int sparkplug_put_metric(struct buf *out, const struct sparkplug_metric *m)
{
    uint8_t scalars[SCALARS_AT_MOST], *to = put_metadata(scalars, m);
    bool text = is_text(m->type) || m->type == SPARKPLUG_BYTES;
    unsigned field = m->type == SPARKPLUG_BYTES ? 16 : 15;
    struct content content = {.s = NULL};
    if (text && content_of(out, m, &content))
        return -1;
    if (!content.s) {
        uint8_t *end = text ? NULL : put_scalar(to, m->type, &m->value);
        to = end ? end : put_number(to, 7, 1);
    }
    size_t n_scalars = (size_t)(to - scalars), name = m->name ? encode_clean_length(m->name, m->name_len) : 0;
    size_t total =
        n_scalars + (m->name ? bytes_length(1, name) : 0) + (content.s ? bytes_length(field, content.clean) : 0);
    uint8_t *head = total > UINT32_MAX / 2 ? NULL : buf_reserve(out, VALUE_AT_MOST);
    if (!head)
        return -1;
    out->len += (uint32_t)(put_varint(put_key(head, 2, WIRE_BYTES), total) - head);
    if ((m->name && put_bytes(out, 1, m->name, m->name_len, name)) || buf_append(out, scalars, n_scalars))
        return -1;
    return content.s ? put_bytes(out, field, content.s, content.n, content.clean) : 0;
}

static int put_top(struct buf *out, unsigned field, uint64_t v)
{
    uint8_t *to = buf_reserve(out, VALUE_AT_MOST);
    if (!to)
        return -1;
    out->len += (uint32_t)(put_number(to, field, v) - to);
    return 0;
}

int sparkplug_put_timestamp(struct buf *out, uint64_t ms)
{
    return put_top(out, 1, ms);
}

int sparkplug_put_seq(struct buf *out, unsigned seq)
{
    return put_top(out, 3, seq & 255);
}

int sparkplug_put_bd_seq(struct buf *out, uint64_t bd_seq, uint64_t ms)
{
    const struct sparkplug_metric m = {.name = "bdSeq",
                                       .name_len = 5,
                                       .has_timestamp = true,
                                       .timestamp = ms,
                                       .type = SPARKPLUG_INT64,
                                       .declared = true,
                                       .value = {.type = VALUE_INTEGER, .integer = (int64_t)bd_seq}};
    return sparkplug_put_metric(out, &m);
}

int sparkplug_put_rebirth(struct buf *out, uint64_t ms)
{
    static const char name[] = "Node Control/Rebirth";
    const struct sparkplug_metric m = {.name = name,
                                       .name_len = sizeof(name) - 1,
                                       .has_timestamp = true,
                                       .timestamp = ms,
                                       .type = SPARKPLUG_BOOLEAN,
                                       .declared = true,
                                       .value = {.type = VALUE_BOOLEAN, .boolean = false}};
    return sparkplug_put_metric(out, &m);
}

// --- messages of models -------------------------------------------------------------------------------------------

static uint64_t milliseconds(int64_t wall_us)
{
    return wall_us < 0 ? 0 : (uint64_t)wall_us / 1000;
}

static int put_field(struct buf *out, const struct encoder_field *f, const struct value *v, uint64_t ms, bool birth)
{
    struct sparkplug_metric m = {.name = birth ? f->name : NULL,
                                 .name_len = birth ? strlen(f->name) : 0,
                                 .has_alias = true,
                                 .has_timestamp = true,
                                 .alias = f->alias,
                                 .timestamp = ms,
                                 .type = sparkplug_type_of(f->type),
                                 .declared = birth,
                                 .precision = f->precision,
                                 .value = *v};
    if (v->type == VALUE_NUMBER && f->type == VALUE_NUMBER)
        m.value.number = encode_round(v->number, f->precision);
    return sparkplug_put_metric(out, &m);
}

int sparkplug_put_data(struct buf *out, const struct encoder_field *fields, unsigned n, const struct value *values,
                       int64_t wall_us, unsigned seq)
{
    uint64_t ms = milliseconds(wall_us);
    if (sparkplug_put_timestamp(out, ms))
        return -1;
    for (unsigned i = 0; i < n; i++) {
        if (put_field(out, &fields[i], &values[i], ms, false))
            return -1;
    }
    return sparkplug_put_seq(out, seq);
}

static int put_birth(struct buf *out, const struct encoder_field *fields, unsigned n, const struct value *values,
                     uint64_t ms, uint64_t bd_seq)
{
    if (sparkplug_put_timestamp(out, ms) || sparkplug_put_bd_seq(out, bd_seq, ms) || sparkplug_put_rebirth(out, ms))
        return -1;
    for (unsigned i = 0; i < n; i++) {
        if (put_field(out, &fields[i], &values[i], ms, true))
            return -1;
    }
    return sparkplug_put_seq(out, 0);
}

int sparkplug_birth(const struct encoder_field *fields, unsigned n, const struct value *values, int64_t wall_us,
                    uint64_t bd_seq, struct buf *out)
{
    uint32_t before = out->len;
    if (put_birth(out, fields, n, values, milliseconds(wall_us), bd_seq) == 0)
        return 0;
    out->len = before;
    return -1;
}

int sparkplug_death(uint64_t bd_seq, int64_t wall_us, struct buf *out)
{
    uint32_t before = out->len;
    uint64_t ms = milliseconds(wall_us);
    if (sparkplug_put_timestamp(out, ms) == 0 && sparkplug_put_bd_seq(out, bd_seq, ms) == 0)
        return 0;
    out->len = before;
    return -1;
}
