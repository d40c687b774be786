// Running a generator: no failure, no allocation but from the context's scratch. The spec is shared and never written.
#include <math.h>
#include <string.h>
#include "telemetry/gen_spec.h"
#include "telemetry/path.h"
#include "telemetry/replay.h"

enum { FLAG_STARTED = 1, FLAG_WRAPPED = 2 };

int64_t gen_to_integer(double x)
{
    if (x >= 0x1p63)
        return INT64_MAX;
    if (x <= -0x1p63)
        return INT64_MIN;
    return llrint(x);
}

void gen_finish(const struct gen_spec *spec, double x, struct value *out)
{
    switch (spec->type) {
    case VALUE_INTEGER:
        out->type = VALUE_INTEGER;
        out->integer = gen_to_integer(x);
        return;
    case VALUE_BOOLEAN:
        out->type = VALUE_BOOLEAN;
        out->boolean = x >= 0.5;
        return;
    case VALUE_STRING:
        out->type = VALUE_NUMERAL;
        break;
    default:
        out->type = VALUE_NUMBER;
    }
    out->number = x;
}

double gen_clamp(const struct gen_spec *spec, double x)
{
    if (x < spec->min)
        return spec->min;
    return x > spec->max ? spec->max : x;
}

// Folds x back between the bounds as a ray between two mirrors; one mirror when only one bound is there.
double gen_reflect(const struct gen_spec *spec, double x)
{
    double low = spec->min, high = spec->max, range = high - low;
    if (x >= low && x <= high)
        return x;
    if (!isfinite(range))
        return x < low ? low + (low - x) : high - (x - high);
    if (range <= 0)
        return low;
    double phase = fmod(x - low, 2 * range);
    if (phase < 0)
        phase += 2 * range;
    return gen_clamp(spec, phase <= range ? low + phase : high - (phase - range));
}

static double walk(const struct gen_spec *spec, struct gen_state *state, struct rng *rng)
{
    if (state->flags & FLAG_STARTED)
        state->number = gen_reflect(spec, state->number + spec->step * (2 * rng_unit(rng) - 1));
    state->flags |= FLAG_STARTED;
    return state->number;
}

// Counted, not summed up: the thousandth value of step 0.1 carries one rounding and not a thousand.
static double sequence(const struct gen_spec *spec, struct gen_state *state)
{
    double opposite = spec->step > 0 ? spec->min : spec->max;
    double base = (state->flags & FLAG_WRAPPED) && isfinite(opposite) ? opposite : spec->start;
    double x = base + spec->step * (double)state->integer;
    double slack = fabs(spec->step) * 1e-9;
    if ((x <= spec->max + slack && x >= spec->min - slack) || spec->direction == GEN_PINGPONG) {
        if (state->integer < INT64_MAX)
            state->integer++;
        return spec->direction == GEN_PINGPONG ? gen_reflect(spec, x) : gen_clamp(spec, x);
    }
    if (!spec->wrap)
        return gen_clamp(spec, x); // stays at the bound; the count stays too
    state->flags |= FLAG_WRAPPED;
    state->integer = 1;
    return gen_clamp(spec, isfinite(opposite) ? opposite : spec->start);
}

static unsigned list_index(const struct gen_spec *spec, struct gen_state *state)
{
    bool pingpong = spec->direction == GEN_PINGPONG;
    unsigned i = (unsigned)state->integer, n = spec->n;
    unsigned length = pingpong && n > 1 ? 2 * n - 2 : n;
    if (i + 1 < length)
        state->integer++;
    else if (spec->wrap || pingpong)
        state->integer = 0;
    if (spec->direction == GEN_DOWN)
        return n - 1 - i;
    return i < n ? i : length - i;
}

void gen_init(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context)
{
    memset(state, 0, spec->n_states * sizeof *state);
    switch (spec->kind) {
    case GEN_WALK:
        state->number = spec->start;
        break;
    case GEN_MARKOV:
        state->integer = (int64_t)spec->start;
        break;
    case GEN_REPLAY:
        replay_init(spec->replay, state, rng, context);
        break;
    case GEN_GPS:
        route_init(spec->path, state, rng, context);
        break;
    default:
        break;
    }
    for (unsigned i = 0; i < spec->n_members; i++) {
        const struct gen_member *m = &spec->members[i];
        unsigned times = spec->kind == GEN_ARRAY && m->stride ? spec->array.high : 1;
        for (unsigned k = 0; k < times; k++)
            gen_init(m->spec, state + m->state + (size_t)k * m->stride, rng, context);
    }
}

// Those whose value is no number of their own arithmetic.
__attribute__((noinline)) static void other(const struct gen_spec *spec, struct gen_state *state, struct rng *rng,
                                            const struct gen_context *context, struct value *out)
{
    switch (spec->kind) {
    case GEN_CORRELATED:
        gen_correlated(spec, rng, context, out);
        break;
    case GEN_CUSTOM:
        gen_custom(spec, context, out);
        break;
    case GEN_REPLAY:
        replay_next(spec->replay, state, context, out);
        break;
    case GEN_GPS:
        route_next(spec->path, state, rng, context, out);
        break;
    case GEN_OBJECT:
        gen_object(spec, state, rng, context, out);
        break;
    case GEN_ARRAY:
        gen_array(spec, state, rng, context, out);
        break;
    default:
        gen_samples(spec, state, rng, context, out);
    }
}

static void plain(const struct gen_spec *spec, struct gen_state *state, struct rng *rng,
                  const struct gen_context *context, struct value *out)
{
    double x = 0;
    switch (spec->kind) {
    case GEN_UNIFORM:
        x = gen_clamp(spec, spec->min + (spec->max - spec->min) * rng_unit(rng));
        break;
    case GEN_UNIFORM_INTEGER:
        out->type = VALUE_INTEGER;
        out->integer = (int64_t)((uint64_t)spec->whole.low +
                                 (spec->whole.count ? rng_below(rng, spec->whole.count) : rng_u64(rng)));
        state->step++;
        return;
    case GEN_NORMAL:
        x = gen_clamp(spec, spec->mean + spec->stddev * rng_normal(rng));
        break;
    case GEN_EXPONENTIAL:
        x = gen_clamp(spec, spec->start + spec->mean * rng_exponential(rng));
        break;
    case GEN_LOGNORMAL:
        x = gen_lognormal(spec, rng);
        break;
    case GEN_POISSON:
        x = gen_poisson(spec, rng);
        break;
    case GEN_WEIBULL:
        x = gen_weibull(spec, rng);
        break;
    case GEN_WALK:
        x = walk(spec, state, rng);
        break;
    case GEN_OU:
        gen_finish(spec, gen_ou(spec, state, rng, context), out);
        return; // step is its own
    case GEN_SINE:
    case GEN_SQUARE:
    case GEN_SAW:
    case GEN_TRIANGLE:
        x = gen_wave(spec, rng, context);
        break;
    case GEN_SEASONAL:
        x = gen_seasonal(spec, rng, context);
        break;
    case GEN_SEQUENCE:
        x = sequence(spec, state);
        break;
    case GEN_STEP:
        *out = spec->values[gen_step_index(spec, context)];
        state->step++;
        return;
    case GEN_LIST:
        *out = spec->values[list_index(spec, state)];
        state->step++;
        return;
    case GEN_CHOICE:
        *out = spec->values[rng_below(rng, spec->n)];
        state->step++;
        return;
    case GEN_CHOICE_WEIGHTED:
        *out = spec->values[gen_weighted(spec->cumulative, spec->n, rng)];
        state->step++;
        return;
    case GEN_MARKOV:
        *out = spec->values[gen_markov(spec, state, rng)];
        state->step++;
        return;
    case GEN_CONSTANT:
        *out = spec->values[0];
        state->step++;
        return;
    default:
        other(spec, state, rng, context, out);
        return;
    }
    state->step++;
    gen_finish(spec, x, out);
}

void gen_next(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context,
              struct value *out)
{
    if (spec->n_anomalies) {
        plain(spec, state, rng, context, out);
        gen_distort(spec, state, rng, context, out);
        return;
    }
    plain(spec, state, rng, context, out); // a tail call: nothing is kept for afterwards
}

unsigned gen_state_count(const struct gen_spec *spec)
{
    return spec->n_states;
}

bool gen_uses_values(const struct gen_spec *spec)
{
    return spec->uses_values;
}

bool gen_uses_hook(const struct gen_spec *spec)
{
    return spec->uses_hook;
}

bool gen_uses_scratch(const struct gen_spec *spec)
{
    return spec->uses_scratch;
}
