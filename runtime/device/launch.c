// Launch plans as closed formulas: a shard can ask for any place without walking over the others. (Poisson arrivals are
// the exception: see launch.h.) Stages are computed in whole numbers, so that the number of devices at a time and the
// time at which it changes always agree.
#include "device/launch.h"

#include <math.h>
#include <stdbool.h>

#define LAUNCH_MAX_US (INT64_MAX / 4) // far beyond any run, and safe to add to a time

static int64_t clamp_us(double us)
{
    return us < (double)LAUNCH_MAX_US ? (int64_t)us : LAUNCH_MAX_US;
}

// delay × (1 + base + base² …) until one delay reaches the cap, from there on the cap each.
static int64_t exponential_us(const struct launch *l, uint64_t i)
{
    double delay = (double)l->delay_us, cap = (double)l->max_delay_us;
    if (delay >= cap)
        return clamp_us(cap * (double)i);
    if (delay <= 0)
        return 0;
    if (l->base <= 1)
        return clamp_us(delay * (double)i);
    // The first k with delay × base^k >= cap. The rounding of log may be one off; either side gives the cap there.
    double grow = ceil(log(cap / delay) / log(l->base));
    double k = fmin(grow, (double)i);
    double sum = delay * (pow(l->base, k) - 1) / (l->base - 1);
    return clamp_us(sum + ((double)i - k) * cap);
}

static int64_t ramp_us(const struct launch *l, uint64_t count, uint64_t i)
{
    if (i + 1 >= count)
        return l->over_us;
    return clamp_us((double)l->over_us * sqrt((double)(i + 1) / (double)count));
}

int64_t launch_delay_us(const struct launch *l, uint64_t count, uint64_t i)
{
    switch (l->strategy) {
    case LAUNCH_IMMEDIATE:
        break;
    case LAUNCH_LINEAR:
        return l->rate > 0 ? clamp_us((double)i * 1e6 / l->rate) : clamp_us((double)i * (double)l->delay_us);
    case LAUNCH_BATCH:
        return clamp_us((double)(i / (l->batch_size ? l->batch_size : 1)) * (double)l->delay_us);
    case LAUNCH_EXPONENTIAL:
        return exponential_us(l, i);
    case LAUNCH_RAMP:
        return ramp_us(l, count, i);
    case LAUNCH_STAGES:
        return launch_change_us(l, i, UINT64_MAX, -1);
    case LAUNCH_POISSON:
        return clamp_us((double)(i + 1) * 1e6 / l->rate);
    }
    return 0;
}

int64_t launch_total_us(const struct launch *l, uint64_t count)
{
    int64_t sum = 0;
    if (l->strategy != LAUNCH_STAGES)
        return count ? launch_delay_us(l, count, count - 1) : 0;
    for (unsigned i = 0; i < l->n_stages; i++)
        sum += l->stages[i].duration_us;
    return sum;
}

// --- stages -------------------------------------------------------------------------------------------------------

uint64_t launch_peak(const struct launch *l)
{
    uint64_t peak = 0;
    for (unsigned i = 0; i < l->n_stages; i++)
        peak = l->stages[i].target > peak ? l->stages[i].target : peak;
    return peak;
}

// a × b / c without overflow, up: rounded up.
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c, bool up)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)((product + (up ? c - 1 : 0)) / c);
}

uint64_t launch_up(const struct launch *l, int64_t at_us)
{
    uint64_t from = 0;
    int64_t start = 0;
    for (unsigned i = 0; i < l->n_stages; i++) {
        const struct launch_stage *s = &l->stages[i];
        if (at_us < start + s->duration_us) {
            uint64_t past = at_us > start ? (uint64_t)(at_us - start) : 0, of = (uint64_t)s->duration_us;
            return s->target >= from ? from + scale(s->target - from, past, of, false)
                                     : from - scale(from - s->target, past, of, false);
        }
        start += s->duration_us;
        from = s->target;
    }
    return from;
}

// Within one stage, from `from` places at its start: when `place` changes, -1 when it does not.
static int64_t change_in(const struct launch_stage *s, uint64_t from, uint64_t rising, uint64_t falling)
{
    uint64_t of = (uint64_t)s->duration_us;
    if (s->target > from && rising < s->target)
        return rising < from ? 0 : (int64_t)scale(rising + 1 - from, of, s->target - from, true);
    if (s->target < from && falling != UINT64_MAX && falling >= s->target)
        return falling >= from ? 0 : (int64_t)scale(from - falling, of, from - s->target, true);
    return -1;
}

int64_t launch_change_us(const struct launch *l, uint64_t rising, uint64_t falling, int64_t after_us)
{
    uint64_t from = 0;
    int64_t start = 0;
    for (unsigned i = 0; i < l->n_stages; i++) {
        const struct launch_stage *s = &l->stages[i];
        int64_t at = change_in(s, from, rising, falling);
        if (at >= 0 && start + at > after_us)
            return start + at;
        start += s->duration_us;
        from = s->target;
    }
    return INT64_MAX;
}

// --- Poisson ------------------------------------------------------------------------------------------------------

void launch_arrivals_create(struct launch_arrivals *a, uint64_t seed, const char *group, uint64_t salt)
{
    rng_seed_device(&a->rng, seed, group, salt, 2);
    a->n = 0;
    a->at_us = 0;
}

int64_t launch_arrival_us(const struct launch *l, struct launch_arrivals *a, uint64_t i)
{
    for (; a->n <= i; a->n++)
        a->at_us += rng_exponential(&a->rng) * 1e6 / l->rate;
    return clamp_us(a->at_us);
}
