// Anomalies: what is wrong with a sensor, on top of what it would have measured. The generator beneath goes on as if
// nothing were, so that afterwards the values are where they would have been.
//
// States of an anomaly: when it began (integer) and whether it has (flags); a stuck one keeps the value in a second:
// its type in flags, a text as its number in the list of values. States hold no pointers: they are carried over when a
// model is loaded anew with the same generator.
#include <math.h>
#include "telemetry/gen_spec.h"

enum { BEGAN = 1 };

// Whether it acts on this sample. It begins with the first sample at or after its time and ends when its duration has
// passed since that time; a duration between two samples still shows once.
static bool acts(const struct gen_anomaly *a, struct gen_state *state, struct rng *rng, int64_t now_us, bool *begins)
{
    bool going = (state->flags & BEGAN) && now_us - state->integer < a->duration_us;
    int64_t since_us = now_us;
    *begins = false;
    switch (a->when) {
    case ANOMALY_PROBABILITY:
        if (going)
            return true;
        if (rng_unit(rng) >= a->probability)
            return false;
        break;
    case ANOMALY_AT:
        if ((state->flags & BEGAN) || now_us < a->time_us)
            return going;
        since_us = a->time_us;
        break;
    case ANOMALY_EVERY:
        since_us = now_us / a->time_us * a->time_us;
        if (since_us <= state->integer) // 0 before the first
            return going;
        break;
    }
    state->integer = since_us;
    state->flags = BEGAN;
    *begins = true;
    return true;
}

static void add(struct value *v, double amount, bool relative)
{
    if (v->type == VALUE_INTEGER)
        v->integer = gen_to_integer((double)v->integer + (relative ? amount * (double)v->integer : amount));
    else if (v->type == VALUE_NUMBER || v->type == VALUE_NUMERAL)
        v->number += relative ? amount * v->number : amount;
}

static bool is_text(enum value_type type)
{
    return type == VALUE_STRING || type == VALUE_BINARY || type == VALUE_JSON;
}

static void hold(const struct gen_spec *spec, struct gen_state *kept, const struct value *v)
{
    kept->flags = v->type;
    if (is_text(v->type)) {
        kept->step = 0; // gen_parse_anomalies saw to it that a text is one of the list
        while (kept->step + 1 < spec->n && spec->values[kept->step].str.s != v->str.s)
            kept->step++;
    } else if (v->type == VALUE_BOOLEAN) {
        kept->integer = v->boolean;
    } else if (v->type == VALUE_INTEGER) {
        kept->integer = v->integer;
    } else {
        kept->number = v->number;
    }
}

static void release(const struct gen_spec *spec, const struct gen_state *kept, struct value *v)
{
    enum value_type type = (enum value_type)kept->flags;
    if (is_text(type)) {
        *v = spec->values[kept->step];
        return;
    }
    v->type = type;
    if (type == VALUE_BOOLEAN)
        v->boolean = kept->integer != 0;
    else if (type == VALUE_INTEGER)
        v->integer = kept->integer;
    else
        v->number = kept->number;
}

void gen_distort(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                 const struct gen_context *context, struct value *out)
{
    for (unsigned i = 0; i < spec->n_anomalies; i++) {
        const struct gen_anomaly *a = &spec->anomalies[i];
        struct gen_state *state = states + a->state;
        bool begins;
        if (!acts(a, state, rng, context->time_us, &begins))
            continue;
        switch (a->kind) {
        case ANOMALY_SPIKE:
            add(out, a->amount, a->relative);
            break;
        case ANOMALY_DRIFT:
            add(out, a->amount * (double)(context->time_us - state->integer) * 1e-6, false);
            break;
        case ANOMALY_NOISE:
            add(out, a->amount * rng_normal(rng), false);
            break;
        case ANOMALY_DROPOUT:
            out->type = VALUE_NULL;
            break;
        case ANOMALY_STUCK:
            if (begins)
                hold(spec, state + 1, out);
            else
                release(spec, state + 1, out);
            break;
        }
    }
}
