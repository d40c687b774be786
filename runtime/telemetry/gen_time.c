// Functions of the time: waves, seasons, steps, and the mean-reverting process, which looks at how much of it passed.
#include <math.h>
#include "telemetry/gen_spec.h"

#define DAY_US (86400 * INT64_C(1000000))

// x modulo m, never negative.
static int64_t modulo(int64_t x, int64_t m)
{
    int64_t r = x % m;
    return r < 0 ? r + m : r;
}

// Which part of its period has passed, [0,1). Reduced in whole numbers: the thousandth day is as exact as the first.
static double cycle(const struct gen_wave *w, int64_t time_us)
{
    double part = (double)modulo(time_us, w->period_us) / (double)w->period_us + w->phase;
    return part >= 1 ? part - 1 : part;
}

double gen_wave(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context)
{
    const struct gen_wave *w = &spec->wave;
    double part = cycle(w, context->time_us), range = spec->max - spec->min, x;
    switch (spec->kind) {
    case GEN_SQUARE:
        return part < w->duty ? spec->max : spec->min;
    case GEN_SAW:
        return spec->min + range * (w->falling ? 1 - part : part);
    case GEN_TRIANGLE:
        return spec->min + range * (part < 0.5 ? 2 * part : 2 - 2 * part);
    default:
        x = spec->mean + w->amplitude * sin(2 * M_PI * part);
        if (w->noise > 0)
            x += w->noise * rng_normal(rng);
        return gen_clamp(spec, x);
    }
}

double gen_seasonal(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context)
{
    const struct gen_seasonal *s = &spec->seasonal;
    int64_t local_us = context->wall_us + s->offset_us;
    int64_t in_day_us = modulo(local_us, DAY_US);
    int64_t day = (local_us - in_day_us) / DAY_US;
    double hour = (double)in_day_us / 3.6e9;
    double x = spec->mean + s->amplitude * cos(2 * M_PI * (hour - s->peak_hour) / 24);
    x *= s->weekly[modulo(day + 3, 7)]; // day 0, 1970-01-01, was a Thursday
    if (s->noise > 0)
        x += s->noise * rng_normal(rng);
    return gen_clamp(spec, x);
}

unsigned gen_step_index(const struct gen_spec *spec, const struct gen_context *context)
{
    int64_t hold = spec->hold_us, in_step_us = modulo(context->time_us, hold);
    return (unsigned)modulo((context->time_us - in_step_us) / hold, spec->n);
}

// The time of the last value in step and flags, 0: there was none; moved by one, since the first is at 0.
static int64_t last_time(const struct gen_state *state)
{
    return (int64_t)((uint64_t)state->flags << 32 | state->step) - 1;
}

static void keep_time(struct gen_state *state, int64_t time_us)
{
    uint64_t bits = (uint64_t)time_us + 1;
    state->flags = (uint32_t)(bits >> 32);
    state->step = (uint32_t)bits;
}

// Ornstein-Uhlenbeck over the time that passed, exact for any length of it: Gillespie, "Exact numerical simulation of
// the Ornstein-Uhlenbeck process and its integral", Physical Review E 54 (1996). expm1, since a short time would cancel
// out. Time that stands still or goes back leaves the value.
double gen_ou(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context)
{
    int64_t last_us = last_time(state);
    if (last_us < 0) {
        state->number = spec->start;
    } else if (context->time_us > last_us) {
        double passed = (double)(context->time_us - last_us) * 1e-6;
        double forgotten = -expm1(-spec->ou.reversion * passed); // 1 - e^-rt
        double variance = forgotten * (2 - forgotten) / (2 * spec->ou.reversion);
        double x = state->number + (spec->mean - state->number) * forgotten;
        state->number = gen_reflect(spec, x + spec->ou.volatility * sqrt(variance) * rng_normal(rng));
    }
    if (context->time_us > last_us)
        keep_time(state, context->time_us);
    return state->number;
}
