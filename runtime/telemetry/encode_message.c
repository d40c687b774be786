// Whole messages: the values of a scope in the encoding that was compiled. A function that fails may leave a part
// behind; encoder_write cuts it off.
#include <math.h>
#include <string.h>
#include "telemetry/cbor.h"
#include "telemetry/encoder_impl.h"

// The number's text is made behind the message, where there is room, and taken back from there.
static int write_cbor_numeral(const struct encoder_slot *f, double number, struct buf *out)
{
    char text[64];
    uint32_t before = out->len;
    if (buf_append_number(out, number, f->precision))
        return -1;
    size_t n = out->len - before;
    out->len = before;
    if (n > sizeof(text))
        return -1;
    memcpy(text, out->data + before, n);
    return cbor_put_text(out, text, n);
}

static int write_cbor_value(const struct encoder_slot *f, const struct value *given, struct buf *out)
{
    uint8_t bytes[CBOR_HEAD_MAX];
    struct value v = encode_as(f->type, given);
    switch (v.type) {
    case VALUE_NUMBER:
        return buf_append(out, bytes, cbor_double(bytes, encode_round(v.number, f->precision)));
    case VALUE_INTEGER:
        return buf_append(out, bytes, cbor_int(bytes, v.integer));
    case VALUE_BOOLEAN:
        return cbor_put_head(out, CBOR_SIMPLE, v.boolean ? CBOR_TRUE : CBOR_FALSE);
    case VALUE_STRING:
        return cbor_put_text(out, v.str.s, v.str.n);
    case VALUE_BINARY:
        return cbor_put_bytes(out, v.str.s, v.str.n);
    case VALUE_JSON:
        return cbor_put_json(out, v.str.s, v.str.n);
    case VALUE_NUMERAL:
        return write_cbor_numeral(f, v.number, out);
    case VALUE_NULL:
        break;
    }
    return cbor_put_head(out, CBOR_SIMPLE, CBOR_NULL);
}

static int write_cbor(const struct encoder *e, const struct payload_scope *scope, struct buf *out)
{
    const uint8_t *literals = e->literals.data;
    if (buf_append(out, literals, e->head_len))
        return -1;
    for (unsigned i = 0; i < e->n; i++) {
        const struct encoder_slot *f = &e->fields[i];
        if (buf_append(out, literals + f->at, f->len) || write_cbor_value(f, &scope->values[i], out))
            return -1;
    }
    if (!e->timestamp)
        return 0;
    return buf_append(out, literals + e->time_at, e->time_len) || cbor_put_int(out, scope->wall_us / 1000) ? -1 : 0;
}

static int write_binary(const struct encoder *e, const struct payload_scope *scope, struct buf *out)
{
    uint64_t ms = scope->wall_us < 0 ? 0 : (uint64_t)scope->wall_us / 1000;
    if (e->timestamp && binary_put_uint(out, ms, 8, e->big_endian))
        return -1;
    for (unsigned i = 0; i < e->n; i++) {
        if (binary_put(out, e->fields[i].format, e->big_endian, &scope->values[i]))
            return -1;
    }
    return 0;
}

static int write_csv_value(const struct encoder *e, const struct encoder_slot *f, const struct value *given,
                           struct buf *out)
{
    struct value v = encode_as(f->type, given);
    switch (v.type) {
    case VALUE_NUMBER:
    case VALUE_NUMERAL:
        return isfinite(v.number) ? buf_append_number(out, v.number, f->precision) : 0;
    case VALUE_INTEGER:
        return buf_append_int(out, v.integer);
    case VALUE_BOOLEAN:
        return v.boolean ? buf_append(out, "true", 4) : buf_append(out, "false", 5);
    case VALUE_STRING:
    case VALUE_JSON:
        return csv_put_text(out, v.str.s, v.str.n, e->delimiter);
    case VALUE_BINARY:
        return buf_append_base64(out, v.str.s, v.str.n);
    case VALUE_NULL:
        break;
    }
    return 0;
}

static int write_csv(const struct encoder *e, const struct payload_scope *scope, struct buf *out)
{
    if (e->head_len && buf_append(out, e->literals.data, e->head_len))
        return -1;
    if (e->timestamp && buf_append_int(out, scope->wall_us / 1000))
        return -1;
    for (unsigned i = 0; i < e->n; i++) {
        if (((i || e->timestamp) && buf_append_char(out, e->delimiter)) ||
            write_csv_value(e, &e->fields[i], &scope->values[i], out))
            return -1;
    }
    return 0;
}

static int write_base64_string(struct buf *out, const struct value *v)
{
    return buf_append_char(out, '"') || buf_append_base64(out, v->str.s, v->str.n) || buf_append_char(out, '"') ? -1
                                                                                                                : 0;
}

static int write_influx_value(const struct encoder_slot *f, const struct value *v, struct buf *out)
{
    switch (v->type) {
    case VALUE_NUMBER:
        return buf_append_number(out, v->number, f->precision);
    case VALUE_INTEGER:
        return buf_append_int(out, v->integer) || buf_append_char(out, 'i') ? -1 : 0;
    case VALUE_BOOLEAN:
        return v->boolean ? buf_append(out, "true", 4) : buf_append(out, "false", 5);
    case VALUE_STRING:
    case VALUE_JSON:
        return influx_put_string(out, v->str.s, v->str.n);
    case VALUE_BINARY:
        return write_base64_string(out, v);
    case VALUE_NUMERAL:
        return buf_append_char(out, '"') || buf_append_number(out, v->number, f->precision) || buf_append_char(out, '"')
                   ? -1
                   : 0;
    case VALUE_NULL:
        break;
    }
    return -1;
}

static int write_influx_series(const struct encoder *e, const struct payload_scope *scope, struct buf *out)
{
    const uint8_t *literals = e->literals.data;
    uint32_t start = out->len;
    if (payload_render(e->measurement, scope, out) || influx_escape(out, start, INFLUX_MEASUREMENT) ||
        (out->len == start && buf_append(out, literals + e->model_at, e->model_len)))
        return -1;
    for (unsigned i = 0; i < e->n_tags; i++) {
        const struct encoder_tag *t = &e->tags[i];
        uint32_t before = out->len;
        if (buf_append(out, literals + t->at, t->len))
            return -1;
        uint32_t from = out->len;
        if (payload_render(t->value, scope, out) || influx_escape(out, from, INFLUX_KEY))
            return -1;
        if (out->len == from) // an empty tag cannot be written
            out->len = before;
    }
    return 0;
}

static int write_influx(const struct encoder *e, const struct payload_scope *scope, struct buf *out)
{
    uint32_t start = out->len;
    bool any = false;
    if (write_influx_series(e, scope, out))
        return -1;
    for (unsigned i = 0; i < e->n; i++) {
        const struct encoder_slot *f = &e->fields[i];
        struct value v = encode_as(f->type, &scope->values[i]);
        bool number = v.type == VALUE_NUMBER || v.type == VALUE_NUMERAL;
        if (v.type == VALUE_NULL || (number && !isfinite(v.number)))
            continue;
        if (buf_append_char(out, any ? ',' : ' ') || buf_append(out, e->literals.data + f->at, f->len) ||
            write_influx_value(f, &v, out))
            return -1;
        any = true;
    }
    if (!any) {
        out->len = start;
        return 0;
    }
    return buf_append_char(out, ' ') || influx_put_time(out, scope->wall_us, e->precision) ? -1 : 0;
}

int encoder_write(const struct encoder *e, const struct payload_scope *scope, unsigned seq, struct buf *out)
{
    uint32_t start = out->len;
    int rc = -1;
    switch (e->encoding) {
    case ENCODING_JSON:
        return payload_render(e->json, scope, out);
    case ENCODING_CBOR:
        rc = write_cbor(e, scope, out);
        break;
    case ENCODING_BINARY:
        rc = write_binary(e, scope, out);
        break;
    case ENCODING_CSV:
        rc = write_csv(e, scope, out);
        break;
    case ENCODING_INFLUX:
        rc = write_influx(e, scope, out);
        break;
    case ENCODING_SPARKPLUG:
        rc = sparkplug_put_data(out, e->metrics, e->n, scope->values, scope->wall_us, seq);
        break;
    }
    if (rc)
        out->len = start;
    return rc;
}
