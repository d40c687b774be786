#include "link/vary.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/option.h"
#include "core/units.h"

#define TURN 6.283185307179586 // 2 pi
#define OVER_MIN_US 1000
#define OVER_MAX_US (INT64_C(366) * 86400 * 1000000)
#define STEPS 64
#define STEP_MIN_US 10000

static int number(const char *label, const json_t *v, enum vary_unit unit, double *out, struct error *err)
{
    int64_t us = 0;
    switch (unit) {
    case VARY_DURATION:
        if (option_duration(label, v, 0, VARY_DURATION_MAX_US, &us, err))
            return -1;
        *out = (double)us;
        return 0;
    case VARY_SHARE:
        return option_share(label, v, 0, 1, out, err);
    case VARY_RATE:
        return option_rate(label, v, VARY_RATE_MIN, VARY_RATE_MAX, out, err);
    }
    return error_set(err, ERR_INTERNAL, "%s: no such unit", label);
}

static int member(const char *label, const json_t *v, const char *key, enum vary_unit unit, double *out,
                  struct error *err)
{
    char inner[128];
    const json_t *m = json_object_get(v, key);
    snprintf(inner, sizeof inner, "%.90s.%.20s", label, key);
    if (!m)
        return error_set(err, ERR_INVALID, "%s is missing", inner);
    return number(inner, m, unit, out, err);
}

static int period(const char *label, const json_t *v, const char *key, int64_t *out, struct error *err)
{
    char inner[128];
    const json_t *m = json_object_get(v, key);
    snprintf(inner, sizeof inner, "%.90s.%.20s", label, key);
    if (!m)
        return error_set(err, ERR_INVALID, "%s is missing", inner);
    return option_duration(inner, m, OVER_MIN_US, OVER_MAX_US, out, err);
}

static int parse_ramp(const char *label, const json_t *v, struct vary *out, struct error *err)
{
    static const char *const keys[] = {"from", "to", "over", NULL};
    enum vary_unit unit = (enum vary_unit)out->unit;
    out->shape = VARY_RAMP;
    return option_object(label, v, "{from, to, over}", keys, err) || member(label, v, "from", unit, &out->a, err) ||
                   member(label, v, "to", unit, &out->b, err) || period(label, v, "over", &out->over_us, err)
               ? -1
               : 0;
}

// What the highest and lowest point of a unit may be.
static void bounds(enum vary_unit unit, double *low, double *high)
{
    *low = unit == VARY_RATE ? VARY_RATE_MIN : 0;
    *high = unit == VARY_RATE ? VARY_RATE_MAX : unit == VARY_SHARE ? 1 : (double)VARY_DURATION_MAX_US;
}

static char *number_format(enum vary_unit unit, double v, char *dst, size_t size)
{
    switch (unit) {
    case VARY_DURATION:
        return duration_format(llround(v), dst, size);
    case VARY_SHARE:
        snprintf(dst, size, "%.4g %%", v * 100);
        return dst;
    case VARY_RATE:
        return rate_format(v, dst, size);
    }
    return dst;
}

static int parse_sine(const char *label, const json_t *v, struct vary *out, struct error *err)
{
    static const char *const keys[] = {"mean", "amplitude", "period", "phase", NULL};
    enum vary_unit unit = (enum vary_unit)out->unit;
    const json_t *phase = json_object_get(v, "phase");
    char inner[128], least[32], most[32];
    double low, high;
    out->shape = VARY_SINE;
    snprintf(inner, sizeof inner, "%.90s.phase", label);
    if (option_object(label, v, "{mean, amplitude, period, phase}", keys, err) ||
        member(label, v, "mean", unit, &out->a, err) || member(label, v, "amplitude", unit, &out->b, err) ||
        period(label, v, "period", &out->over_us, err) || (phase && option_share(inner, phase, 0, 1, &out->phase, err)))
        return -1;
    bounds(unit, &low, &high);
    if (out->a - out->b >= low && out->a + out->b <= high)
        return 0;
    return error_set(err, ERR_INVALID, "%s: mean and amplitude must stay between %s and %s, the swing goes beyond",
                     label, number_format(unit, low, least, sizeof least),
                     number_format(unit, high, most, sizeof most));
}

bool vary_is_shape(const json_t *v)
{
    return json_object_get(v, "ramp") || json_object_get(v, "sine");
}

int vary_parse(const char *label, const json_t *v, enum vary_unit unit, struct vary *out, struct error *err)
{
    static const char *const shapes[] = {"ramp", "sine", NULL};
    char inner[128];
    memset(out, 0, sizeof *out);
    out->unit = (uint8_t)unit;
    if (!json_is_object(v))
        return number(label, v, unit, &out->a, err);
    if (option_object(label, v, "{ramp} or {sine}", shapes, err))
        return -1;
    if (json_object_size(v) != 1)
        return error_set(err, ERR_INVALID, "%s: expected either \"ramp\" or \"sine\"", label);
    const json_t *ramp = json_object_get(v, "ramp");
    snprintf(inner, sizeof inner, "%.90s.%s", label, ramp ? "ramp" : "sine");
    return ramp ? parse_ramp(inner, ramp, out, err) : parse_sine(inner, json_object_get(v, "sine"), out, err);
}

static json_t *number_json(const struct vary *v, double x)
{
    return json_num(v->unit == VARY_DURATION ? x / 1e6 : x);
}

json_t *vary_json(const struct vary *v)
{
    json_t *over = json_num((double)v->over_us / 1e6);
    json_t *out = NULL;
    if (v->shape == VARY_CONSTANT)
        out = number_json(v, v->a);
    else if (v->shape == VARY_RAMP)
        out = json_pack("{s:{s:o, s:o, s:O}}", "ramp", "from", number_json(v, v->a), "to", number_json(v, v->b), "over",
                        over);
    else
        out = json_pack("{s:{s:o, s:o, s:O, s:o}}", "sine", "mean", number_json(v, v->a), "amplitude",
                        number_json(v, v->b), "period", over, "phase", json_num(v->phase));
    json_decref(over);
    return out;
}

void vary_halve(struct vary *v)
{
    v->a = v->unit == VARY_DURATION ? round(v->a / 2) : v->a / 2;
    v->b = v->unit == VARY_DURATION ? round(v->b / 2) : v->b / 2;
}

double vary_high(const struct vary *v)
{
    return v->shape == VARY_CONSTANT ? v->a : v->shape == VARY_RAMP ? fmax(v->a, v->b) : v->a + v->b;
}

char *vary_format(const struct vary *v, char *dst, size_t size)
{
    char a[40], b[40], over[40];
    enum vary_unit unit = (enum vary_unit)v->unit;
    number_format(unit, v->a, a, sizeof a);
    number_format(unit, v->b, b, sizeof b);
    duration_format(v->over_us, over, sizeof over);
    if (v->shape == VARY_CONSTANT)
        snprintf(dst, size, "%s", a);
    else if (v->shape == VARY_RAMP)
        snprintf(dst, size, "from %s to %s in %s", a, b, over);
    else
        snprintf(dst, size, "%s +- %s every %s", a, b, over);
    return dst;
}

double vary_moving(const struct vary *v, int64_t t_us)
{
    double t = t_us > 0 ? (double)t_us : 0;
    double over = (double)v->over_us;
    double low, high;
    if (v->shape == VARY_RAMP)
        return t >= over ? v->b : v->a + (v->b - v->a) * (t / over);
    bounds((enum vary_unit)v->unit, &low, &high); // rounding must not leave what was checked
    return fmin(fmax(v->a + v->b * sin(TURN * (fmod(t, over) / over + v->phase)), low), high);
}

int64_t vary_next_us(const struct vary *v, int64_t t_us)
{
    int64_t t = t_us > 0 ? t_us : 0;
    if (v->shape == VARY_CONSTANT || (v->shape == VARY_RAMP && t >= v->over_us))
        return INT64_MAX;
    int64_t step = v->over_us / STEPS > STEP_MIN_US ? v->over_us / STEPS : STEP_MIN_US;
    int64_t next = (t / step + 1) * step;
    return v->shape == VARY_RAMP && next > v->over_us ? v->over_us : next;
}
