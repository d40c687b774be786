// Generators made of others: objects, arrays and packed samples; and values that somebody else makes (an expression, a
// hook), which are made to fit the attribute's type.
//
// Text is written in two passes: the values first, then, with room for the longest that they can be, their JSON. So
// nothing is allocated but from the scratch, and when that is full the value is null.
#include <math.h>
#include <string.h>
#include "core/buf.h"
#include "telemetry/expr.h"
#include "telemetry/gen_spec.h"

#define NUMBER_ROOM 32u // the longest number that buf_append_number writes has 26 characters

static double number_of(const struct value *v)
{
    return v->type == VALUE_INTEGER ? (double)v->integer : v->type == VALUE_BOOLEAN ? v->boolean : v->number;
}

static bool is_number(const struct value *v)
{
    return v->type == VALUE_NUMBER || v->type == VALUE_INTEGER || v->type == VALUE_BOOLEAN || v->type == VALUE_NUMERAL;
}

static bool is_text(const struct value *v)
{
    return v->type == VALUE_STRING || v->type == VALUE_BINARY || v->type == VALUE_JSON;
}

void gen_coerce(enum value_type type, struct value *v)
{
    bool fits = false;
    double x;
    switch (type) {
    case VALUE_NULL:
        return;
    case VALUE_NUMBER:
    case VALUE_INTEGER:
    case VALUE_BOOLEAN:
        if (v->type == type || !is_number(v)) {
            fits = v->type == type;
            break;
        }
        x = number_of(v);
        gen_finish(&(struct gen_spec){.type = type}, x, v);
        return;
    case VALUE_STRING:
        if (v->type == VALUE_BOOLEAN)
            v->str.s = v->boolean ? "true" : "false", v->str.n = v->str.s[0] == 't' ? 4 : 5, v->type = VALUE_STRING;
        else if (is_number(v))
            v->number = number_of(v), v->type = VALUE_NUMERAL;
        else if (is_text(v))
            v->type = VALUE_STRING;
        return;
    case VALUE_BINARY:
        fits = v->type == VALUE_STRING || v->type == VALUE_BINARY;
        break;
    default:
        fits = v->type == type;
    }
    v->type = fits ? type : VALUE_NULL;
}

void gen_correlated(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context, struct value *out)
{
    out->type = VALUE_NULL;
    if (!context->values)
        return;
    expr_eval(spec->expr, context->values, out);
    if (out->type != VALUE_NUMBER && out->type != VALUE_INTEGER) {
        gen_coerce(spec->type, out);
        return;
    }
    double x = number_of(out);
    if (spec->stddev > 0)
        x += spec->stddev * rng_normal(rng);
    gen_finish(spec, gen_clamp(spec, x), out);
}

void gen_custom(const struct gen_spec *spec, const struct gen_context *context, struct value *out)
{
    out->type = VALUE_NULL;
    if (!context->hook || context->hook(context->hook_arg, spec->hook, spec->params, context, out) < 0)
        out->type = VALUE_NULL;
    else
        gen_coerce(spec->type, out);
}

static size_t room_for(const struct value *v)
{
    if (v->type == VALUE_STRING || v->type == VALUE_BINARY)
        return v->str.n > SIZE_MAX / 8 ? SIZE_MAX / 8 : 6 * v->str.n + 2; // \u001f
    return v->type == VALUE_JSON ? v->str.n : NUMBER_ROOM;
}

static int write_value(const struct value *v, struct buf *out)
{
    switch (v->type) {
    case VALUE_NUMBER:
    case VALUE_NUMERAL:
        return buf_append_number(out, v->number, -1);
    case VALUE_INTEGER:
        return buf_append_int(out, v->integer);
    case VALUE_BOOLEAN:
        return buf_append_str(out, v->boolean ? "true" : "false");
    case VALUE_STRING:
    case VALUE_BINARY:
        return buf_append_json_string(out, v->str.s, v->str.n);
    case VALUE_JSON:
        return buf_append(out, v->str.s, v->str.n);
    default:
        return buf_append(out, "null", 4);
    }
}

// The JSON text of n values; with the keys of the members, or none: an array.
static void write_text(const struct gen_member *keys, const struct value *values, unsigned n, struct scratch *scratch,
                       struct value *out)
{
    size_t room = 2;
    for (unsigned i = 0; i < n; i++)
        room += 1 + (keys ? keys[i].n_key : 0) + room_for(&values[i]);
    struct buf text = {.data = room <= UINT32_MAX ? scratch_alloc(scratch, room) : NULL};
    if (!text.data)
        return;
    text.size = text.cap = (uint32_t)room; // never grows: it is the scratch's memory
    int rc = buf_append_char(&text, keys ? '{' : '[');
    for (unsigned i = 0; rc == 0 && i < n; i++) {
        rc = i ? buf_append_char(&text, ',') : 0;
        if (rc == 0 && keys)
            rc = buf_append(&text, keys[i].key, keys[i].n_key);
        if (rc == 0)
            rc = write_value(&values[i], &text);
    }
    if (rc || buf_append_char(&text, keys ? '}' : ']'))
        return;
    out->type = VALUE_JSON;
    out->str.s = (const char *)text.data;
    out->str.n = text.len;
}

void gen_object(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                const struct gen_context *context, struct value *out)
{
    out->type = VALUE_NULL;
    unsigned n = spec->n_members;
    struct value *values = context->scratch ? scratch_alloc(context->scratch, (n + 1) * sizeof *values) : NULL;
    if (!values)
        return;
    for (unsigned i = 0; i < n; i++)
        gen_next(spec->members[i].spec, states + spec->members[i].state, rng, context, &values[i]);
    write_text(spec->members, values, n, context->scratch, out);
}

void gen_array(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
               const struct gen_context *context, struct value *out)
{
    out->type = VALUE_NULL;
    const struct gen_member *m = spec->members;
    unsigned n = spec->array.low;
    if (spec->array.high > n)
        n += (unsigned)rng_below(rng, spec->array.high - n + 1);
    struct value *values = context->scratch ? scratch_alloc(context->scratch, ((size_t)n + 1) * sizeof *values) : NULL;
    if (!values)
        return;
    for (unsigned i = 0; i < n; i++)
        gen_next(m->spec, states + m->state + (size_t)i * m->stride, rng, context, &values[i]);
    write_text(NULL, values, n, context->scratch, out);
}

// x as the bits of a sample.
static uint32_t quantise(const struct gen_samples *s, double x)
{
    double low = s->signed_samples ? -ldexp(1, (int)s->bits - 1) : 0;
    double high = low + ldexp(1, (int)s->bits) - 1;
    if (!(x > low)) // NaN too, though nothing makes one
        x = x <= low ? low : 0;
    return (uint32_t)llrint(x > high ? high : x);
}

static uint8_t *put_sample(const struct gen_samples *s, uint32_t bits, uint8_t *at)
{
    unsigned n = s->bits / 8;
    for (unsigned i = 0; i < n; i++)
        at[i] = (uint8_t)(bits >> 8 * (s->big_endian ? n - 1 - i : i));
    return at + n;
}

void gen_samples(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                 const struct gen_context *context, struct value *out)
{
    out->type = VALUE_NULL;
    const struct gen_samples *s = &spec->samples;
    struct gen_context moved = *context;
    size_t n = (size_t)s->count * (s->bits / 8);
    uint8_t *bytes = context->scratch ? scratch_alloc(context->scratch, n) : NULL, *at = bytes;
    if (!bytes)
        return;
    for (unsigned i = 0; i < s->count; i++) {
        int64_t later_us = s->interval_us * (int64_t)i / (int64_t)s->count;
        struct value v;
        moved.time_us = context->time_us + later_us;
        moved.wall_us = context->wall_us + later_us;
        gen_next(spec->members[0].spec, states, rng, &moved, &v);
        at = put_sample(s, quantise(s, is_number(&v) ? number_of(&v) : 0), at);
    }
    out->type = VALUE_BINARY;
    out->str.s = (const char *)bytes;
    out->str.n = n;
}
