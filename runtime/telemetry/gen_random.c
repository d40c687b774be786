// Distributions with more arithmetic than fits on a line, and drawing by weight.
#include <math.h>
#include "telemetry/gen_spec.h"

// Small means: one uniform number is followed down the cumulative sum. The sum ends where its terms vanish, so that
// rounding cannot make it run on.
static double poisson_small(const struct gen_spec *spec, struct rng *rng)
{
    double term = spec->poisson.exp_minus_mean, u = rng_unit(rng);
    double k = 0;
    while (u >= term && term > 0) {
        u -= term;
        k++;
        term *= spec->mean / k;
    }
    return k;
}

// Larger ones: transformed rejection, PTRS of Hörmann, "The transformed rejection method for generating Poisson random
// variables", Insurance: Mathematics and Economics 12 (1993). About 1.2 rounds a value, whatever the mean.
static double poisson_large(const struct gen_spec *spec, struct rng *rng)
{
    double a = spec->poisson.a, b = spec->poisson.b;
    for (;;) {
        double u = rng_unit(rng) - 0.5, v = rng_unit(rng), us = 0.5 - fabs(u);
        double k = floor((2 * a / us + b) * u + spec->mean + 0.43);
        if (us >= 0.07 && v <= spec->poisson.v_r)
            return k;
        if (k < 0 || (us < 0.013 && v > us))
            continue;
        int sign;
        double accept = k * spec->poisson.log_mean - spec->mean - lgamma_r(k + 1, &sign);
        if (log(v) + spec->poisson.log_ia - log(a / (us * us) + b) <= accept)
            return k;
    }
}

double gen_poisson(const struct gen_spec *spec, struct rng *rng)
{
    return gen_clamp(spec, spec->mean < 10 ? poisson_small(spec, rng) : poisson_large(spec, rng));
}

double gen_weibull(const struct gen_spec *spec, struct rng *rng)
{
    return gen_clamp(spec, spec->start + spec->mean * pow(rng_exponential(rng), spec->exponent));
}

double gen_lognormal(const struct gen_spec *spec, struct rng *rng)
{
    return gen_clamp(spec, exp(spec->mean + spec->stddev * rng_normal(rng)));
}

unsigned gen_weighted(const double *cumulative, unsigned n, struct rng *rng)
{
    double u = rng_unit(rng);
    unsigned low = 0, high = n - 1; // first index whose sum lies above u; u is below 1, the sum of all
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (cumulative[middle] > u)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// The first value is the start; state->integer is where the chain stands.
unsigned gen_markov(const struct gen_spec *spec, struct gen_state *state, struct rng *rng)
{
    if (state->step > 0 || state->flags)
        state->integer = gen_weighted(spec->cumulative + (size_t)state->integer * spec->n, spec->n, rng);
    state->flags = 1; // step may wrap
    return (unsigned)state->integer;
}
