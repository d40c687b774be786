// Running a generator: no allocation, no failure, nothing but arithmetic. The spec is shared and never written.
#include <math.h>
#include "telemetry/gen_spec.h"

enum { FLAG_STARTED = 1, FLAG_WRAPPED = 2 };

// Half to even, saturated: a conversion out of range would be undefined.
static int64_t to_integer(double x)
{
    if (x >= 0x1p63)
        return INT64_MAX;
    if (x <= -0x1p63)
        return INT64_MIN;
    return llrint(x);
}

static void finish(const struct gen_spec *spec, double x, struct value *out)
{
    switch (spec->type) {
    case VALUE_INTEGER:
        out->type = VALUE_INTEGER;
        out->integer = to_integer(x);
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

static double clamp(const struct gen_spec *spec, double x)
{
    if (x < spec->min)
        return spec->min;
    return x > spec->max ? spec->max : x;
}

// Folds x back between the bounds as a ray between two mirrors; one mirror when only one bound is there.
static double reflect(const struct gen_spec *spec, double x)
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
    return clamp(spec, phase <= range ? low + phase : high - (phase - range));
}

static double walk(const struct gen_spec *spec, struct gen_state *state, struct rng *rng)
{
    if (state->flags & FLAG_STARTED)
        state->number = reflect(spec, state->number + spec->step * (2 * rng_unit(rng) - 1));
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
    if (x <= spec->max + slack && x >= spec->min - slack) {
        if (state->integer < INT64_MAX)
            state->integer++;
        return clamp(spec, x);
    }
    if (!spec->wrap)
        return clamp(spec, x); // stays at the bound; the count stays too
    state->flags |= FLAG_WRAPPED;
    state->integer = 1;
    return clamp(spec, isfinite(opposite) ? opposite : spec->start);
}

static unsigned list_index(const struct gen_spec *spec, struct gen_state *state)
{
    unsigned i = (unsigned)state->integer;
    if (i + 1 < spec->n)
        state->integer++;
    else if (spec->wrap)
        state->integer = 0;
    return i;
}

static unsigned weighted_index(const struct gen_spec *spec, struct rng *rng)
{
    double u = rng_unit(rng) * spec->cumulative[spec->n - 1];
    unsigned low = 0, high = spec->last; // first index whose sum lies above u
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (spec->cumulative[middle] > u)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void gen_init(const struct gen_spec *spec, struct gen_state *state, struct rng *rng)
{
    (void)rng; // no generator starts at a random place
    *state = (struct gen_state){.step = 0};
    if (spec->kind == GEN_WALK)
        state->number = spec->start;
}

void gen_next(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, int64_t wall_us, struct value *out)
{
    (void)wall_us;
    double x = 0;
    switch (spec->kind) {
    case GEN_UNIFORM:
        x = clamp(spec, spec->min + (spec->max - spec->min) * rng_unit(rng));
        break;
    case GEN_UNIFORM_INTEGER:
        out->type = VALUE_INTEGER;
        out->integer = (int64_t)((uint64_t)spec->ilow + (spec->icount ? rng_below(rng, spec->icount) : rng_u64(rng)));
        state->step++;
        return;
    case GEN_NORMAL:
        x = clamp(spec, spec->mean + spec->stddev * rng_normal(rng));
        break;
    case GEN_EXPONENTIAL:
        x = clamp(spec, spec->start + spec->mean * rng_exponential(rng));
        break;
    case GEN_WALK:
        x = walk(spec, state, rng);
        break;
    case GEN_SEQUENCE:
        x = sequence(spec, state);
        break;
    case GEN_LIST:
        *out = spec->values[list_index(spec, state)];
        state->step++;
        return;
    case GEN_CHOICE:
        *out = spec->values[rng_below(rng, spec->n)];
        state->step++;
        return;
    case GEN_CHOICE_WEIGHTED:
        *out = spec->values[weighted_index(spec, rng)];
        state->step++;
        return;
    case GEN_CONSTANT:
        *out = spec->values[0];
        state->step++;
        return;
    }
    state->step++;
    finish(spec, x, out);
}
