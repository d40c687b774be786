// Distributions, walks and the mean-reverting process.
#include <math.h>
#include "telemetry/gen_parse.h"

#define POISSON_MAX 1e9 // beyond, the arithmetic of the rejection has too few digits

// Bounds are set; chooses the kind.
static int finish_uniform(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    spec->memoryless = true;
    if (!isfinite(spec->max - spec->min))
        return error_set(p->err, ERR_INVALID, "max: the range from min %g to max %g is too large", spec->min,
                         spec->max);
    spec->kind = GEN_UNIFORM;
    if (spec->type != VALUE_INTEGER)
        return 0;
    if (spec->min < -0x1p63 || spec->max >= 0x1p63)
        return error_set(p->err, ERR_INVALID, "max: whole numbers lie within 64 bits, the bounds are %g and %g",
                         spec->min, spec->max);
    spec->kind = GEN_UNIFORM_INTEGER;
    spec->whole.low = (int64_t)spec->min;
    spec->whole.count = (uint64_t)(int64_t)spec->max - (uint64_t)spec->whole.low + 1; // 0: all 2^64
    return 0;
}

int gen_parse_uniform(struct gen_parse *p)
{
    return gen_both_bounds(p) < 0 ? -1 : finish_uniform(p);
}

static int check_stddev(const struct gen_parse *p)
{
    if (p->spec->stddev < 0)
        return error_set(p->err, ERR_INVALID, "stddev: must be at least 0, is %g", p->spec->stddev);
    return 0;
}

int gen_parse_normal(struct gen_parse *p)
{
    p->spec->kind = GEN_NORMAL;
    p->spec->memoryless = true;
    if (gen_need_number(p, "mean", &p->spec->mean) < 0 || gen_need_number(p, "stddev", &p->spec->stddev) < 0)
        return -1;
    return check_stddev(p) < 0 ? -1 : gen_read_bounds(p);
}

// rate or mean, whichever is there, as spec->mean. Returns 1 when one was there, 0 when none.
static int read_rate(struct gen_parse *p, bool both_allowed)
{
    double rate = 0;
    int has_mean = gen_read_number(p, "mean", &p->spec->mean);
    int has_rate = gen_read_number(p, "rate", &rate);
    if (has_mean < 0 || has_rate < 0)
        return -1;
    if (has_mean && has_rate && !both_allowed)
        return error_set(p->err, ERR_INVALID, "rate: give either rate or mean (which is 1/rate), not both");
    if (has_rate && !(rate > 0))
        return error_set(p->err, ERR_INVALID, "rate: must be above 0, is %g", rate);
    if (has_mean && !has_rate && !(p->spec->mean > 0))
        return error_set(p->err, ERR_INVALID, "mean: must be above 0 for an exponential distribution, is %g",
                         p->spec->mean);
    if (has_rate)
        p->spec->mean = 1 / rate;
    if (!isfinite(p->spec->mean))
        return error_set(p->err, ERR_INVALID, "rate: %g is too small", rate);
    return has_rate || has_mean;
}

int gen_parse_exponential(struct gen_parse *p)
{
    p->spec->kind = GEN_EXPONENTIAL;
    p->spec->memoryless = true;
    int got = read_rate(p, false);
    if (got < 0 || gen_read_bounds(p) < 0)
        return -1;
    if (got == 0)
        return error_set(p->err, ERR_INVALID,
                         "rate: missing; a generator of type exponential needs rate, or mean which is 1/rate");
    p->spec->start = isfinite(p->spec->min) ? p->spec->min : 0;
    return 0;
}

// mu and sigma are those of the logarithm; mean and stddev those of the values themselves.
int gen_parse_lognormal(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *o = p->object;
    spec->kind = GEN_LOGNORMAL;
    spec->memoryless = true;
    bool by_log = json_object_get(o, "mu") || json_object_get(o, "sigma");
    bool by_value = json_object_get(o, "mean") || json_object_get(o, "stddev");
    if (by_log == by_value)
        return error_set(p->err, ERR_INVALID,
                         "mu: a generator of type lognormal needs either mu and sigma (of the logarithm) or mean and "
                         "stddev (of the values)%s",
                         by_log ? ", not both" : "");
    if (by_log) {
        if (gen_need_number(p, "mu", &spec->mean) < 0 || gen_need_number(p, "sigma", &spec->stddev) < 0)
            return -1;
        if (spec->stddev < 0)
            return error_set(p->err, ERR_INVALID, "sigma: must be at least 0, is %g", spec->stddev);
    } else {
        double mean;
        if (gen_need_positive(p, "mean", &mean) < 0 || gen_need_number(p, "stddev", &spec->stddev) < 0 ||
            check_stddev(p) < 0)
            return -1;
        double variance = log1p(spec->stddev / mean * (spec->stddev / mean));
        spec->mean = log(mean) - variance / 2;
        spec->stddev = sqrt(variance);
    }
    if (!(spec->mean + 8 * spec->stddev < 700)) // e^709 is the last that is finite
        return error_set(p->err, ERR_INVALID, "%s: with this %s values would be too large for a number",
                         by_log ? "mu" : "stddev", by_log ? "sigma" : "mean");
    return gen_read_bounds(p);
}

int gen_parse_poisson(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_POISSON;
    spec->memoryless = true;
    if (gen_need_positive(p, "mean", &spec->mean) < 0 || gen_read_bounds(p) < 0)
        return -1;
    if (spec->mean > POISSON_MAX)
        return error_set(p->err, ERR_INVALID, "mean: at most %g, is %g; so large a mean is normal with stddev %.4g",
                         POISSON_MAX, spec->mean, sqrt(spec->mean));
    double b = 0.931 + 2.53 * sqrt(spec->mean);
    spec->poisson.exp_minus_mean = exp(-spec->mean);
    spec->poisson.log_mean = log(spec->mean);
    spec->poisson.b = b;
    spec->poisson.a = -0.059 + 0.02483 * b;
    spec->poisson.v_r = 0.9277 - 3.6224 / (b - 2);
    spec->poisson.log_ia = log(1.1239 + 1.1328 / (b - 3.4));
    return 0;
}

int gen_parse_weibull(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    double shape;
    spec->kind = GEN_WEIBULL;
    spec->memoryless = true;
    if (gen_need_positive(p, "shape", &shape) < 0 || gen_need_positive(p, "scale", &spec->mean) < 0 ||
        gen_read_bounds(p) < 0)
        return -1;
    if (shape < 0.01)
        return error_set(p->err, ERR_INVALID, "shape: must be at least 0.01, is %g", shape);
    spec->exponent = 1 / shape;
    spec->start = isfinite(spec->min) ? spec->min : 0;
    return 0;
}

static int random_normal(struct gen_parse *p, double low, double high)
{
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_NORMAL;
    spec->mean = low + (high - low) / 2;
    spec->stddev = (high - low) / 6;
    if (gen_read_number(p, "mean", &spec->mean) < 0 || gen_read_number(p, "stddev", &spec->stddev) < 0)
        return -1;
    return check_stddev(p);
}

// random: defaults as the published format has them. A bound that is not written does not clamp.
int gen_parse_random(struct gen_parse *p)
{
    static const char *const distributions[] = {"uniform", "normal", "exponential", NULL};
    struct gen_spec *spec = p->spec;
    unsigned distribution = 0;
    spec->memoryless = true;
    if (gen_read_word(p, "distribution", distributions, &distribution) < 0 || gen_read_bounds(p) < 0)
        return -1;
    double low = isfinite(spec->min) ? spec->min : fmin(0, spec->max);
    double high = isfinite(spec->max) ? spec->max : fmax(spec->type == VALUE_BOOLEAN ? 1 : 100, spec->min);
    if (distribution == 0) {
        spec->min = low;
        spec->max = high;
        return finish_uniform(p);
    }
    if (distribution == 1)
        return random_normal(p, low, high);
    spec->kind = GEN_EXPONENTIAL;
    spec->mean = 1;
    return read_rate(p, true) < 0 ? -1 : 0;
}

// start, or dflt; within the bounds.
static int read_start(struct gen_parse *p, double dflt)
{
    struct gen_spec *spec = p->spec;
    int has_start = gen_read_number(p, "start", &spec->start);
    if (has_start < 0)
        return -1;
    if (!has_start)
        spec->start = dflt;
    else if (spec->start < spec->min || spec->start > spec->max)
        return error_set(p->err, ERR_INVALID, "start: must lie between min %g and max %g, is %g", spec->min, spec->max,
                         spec->start);
    return 0;
}

int gen_parse_walk(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    double start = 0;
    spec->kind = GEN_WALK;
    if (gen_need_number(p, "step", &spec->step) < 0 || gen_read_bounds(p) < 0)
        return -1;
    if (!(spec->step > 0))
        return error_set(p->err, ERR_INVALID, "step: must be above 0, is %g", spec->step);
    if (isfinite(spec->min) && isfinite(spec->max))
        start = spec->min + (spec->max - spec->min) / 2;
    else if (isfinite(spec->min) || isfinite(spec->max))
        start = isfinite(spec->min) ? spec->min : spec->max;
    return read_start(p, start);
}

int gen_parse_ou(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_OU;
    if (gen_need_number(p, "mean", &spec->mean) < 0 || gen_need_positive(p, "reversion", &spec->ou.reversion) < 0 ||
        gen_need_number(p, "volatility", &spec->ou.volatility) < 0 || gen_read_bounds(p) < 0)
        return -1;
    if (spec->ou.volatility < 0)
        return error_set(p->err, ERR_INVALID, "volatility: must be at least 0, is %g", spec->ou.volatility);
    if (spec->mean < spec->min || spec->mean > spec->max)
        return error_set(p->err, ERR_INVALID, "mean: must lie between min %g and max %g, is %g", spec->min, spec->max,
                         spec->mean);
    return read_start(p, spec->mean);
}
