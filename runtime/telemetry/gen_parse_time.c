// Waves and seasons.
#include <math.h>
#include "telemetry/gen_parse.h"

const char *const gen_daily_keys[] = {"amplitude", "peakHour", NULL};

static int read_wave(struct gen_parse *p, enum gen_kind kind)
{
    struct gen_wave *w = &p->spec->wave;
    p->spec->kind = kind;
    p->spec->memoryless = true;
    if (gen_need_period(p, "periodMs", &w->period_us) < 0 || gen_read_within(p, "phase", 0, 1, &w->phase) < 0)
        return -1;
    if (w->phase >= 1)
        w->phase = 0;
    return 0;
}

int gen_parse_sine(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    if (read_wave(p, GEN_SINE) < 0 || gen_read_number(p, "mean", &spec->mean) < 0 ||
        gen_need_number(p, "amplitude", &spec->wave.amplitude) < 0 ||
        gen_read_not_negative(p, "noise", &spec->wave.noise) < 0)
        return -1;
    return gen_read_bounds(p);
}

int gen_parse_square(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    spec->wave.duty = 0.5;
    if (read_wave(p, GEN_SQUARE) < 0 || gen_need_number(p, "low", &spec->min) < 0 ||
        gen_need_number(p, "high", &spec->max) < 0)
        return -1;
    return gen_read_within(p, "duty", 0, 1, &spec->wave.duty) < 0 ? -1 : 0; // low may lie above high
}

int gen_parse_saw(struct gen_parse *p)
{
    if (read_wave(p, GEN_SAW) < 0 || gen_read_bool(p, "falling", &p->spec->wave.falling) < 0)
        return -1;
    return gen_both_bounds(p);
}

int gen_parse_triangle(struct gen_parse *p)
{
    return read_wave(p, GEN_TRIANGLE) < 0 ? -1 : gen_both_bounds(p);
}

static int parse_daily(struct gen_parse *p, const json_t *daily)
{
    struct gen_seasonal *s = &p->spec->seasonal;
    struct gen_parse inner = *p;
    inner.object = daily;
    if (!json_is_object(daily))
        return error_set(p->err, ERR_INVALID, "daily: expected an object with amplitude and peakHour, got %s",
                         gen_kind_of(daily));
    if (gen_check_keys(daily, gen_daily_keys, NULL, p->err) < 0 ||
        gen_need_number(&inner, "amplitude", &s->amplitude) < 0 ||
        gen_read_within(&inner, "peakHour", 0, 24, &s->peak_hour) < 0)
        return error_prefix(p->err, "daily");
    return 0;
}

static int parse_weekly(struct gen_parse *p, const json_t *weekly)
{
    if (!json_is_array(weekly) || json_array_size(weekly) != 7)
        return error_set(p->err, ERR_INVALID, "weekly: expected an array of 7 factors, Monday first, got %s%s",
                         gen_kind_of(weekly), json_is_array(weekly) ? " of another length" : "");
    for (unsigned i = 0; i < 7; i++) {
        const json_t *v = json_array_get(weekly, i);
        if (!json_is_number(v) || !isfinite(json_number_value(v)))
            return error_set(p->err, ERR_INVALID, "weekly[%u]: expected a number, got %s", i, gen_kind_of(v));
        p->spec->seasonal.weekly[i] = json_number_value(v);
    }
    return 0;
}

int gen_parse_seasonal(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    struct gen_seasonal *s = &spec->seasonal;
    const json_t *daily = json_object_get(p->object, "daily"), *weekly = json_object_get(p->object, "weekly");
    double minutes = 0;
    spec->kind = GEN_SEASONAL;
    spec->memoryless = true;
    s->peak_hour = 12;
    for (unsigned i = 0; i < 7; i++)
        s->weekly[i] = 1;
    if (gen_need_number(p, "base", &spec->mean) < 0 || gen_read_not_negative(p, "noise", &s->noise) < 0 ||
        gen_read_within(p, "utcOffsetMinutes", -1440, 1440, &minutes) < 0)
        return -1;
    s->offset_us = llrint(minutes * 60e6);
    if ((daily && parse_daily(p, daily) < 0) || (weekly && parse_weekly(p, weekly) < 0))
        return -1;
    return gen_read_bounds(p);
}
