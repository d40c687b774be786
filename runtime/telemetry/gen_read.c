// Fields of a generator object, and the errors they can have.
#include <math.h>
#include <stdlib.h>
#include "core/units.h"
#include "telemetry/gen_parse.h"

#define MAX_MS (100 * 365.25 * 86400e3) // a hundred years, as everywhere

const char *gen_kind_of(const json_t *v)
{
    if (!v)
        return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static bool listed(const char *word, const char *const *list)
{
    while (list && *list && strcmp(*list, word) != 0)
        list++;
    return list && *list;
}

int gen_check_keys(const json_t *object, const char *const *keys, const char *const *also, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (!listed(key, keys) && !listed(key, also))
            return error_unknown(err, "unknown key", key, keys);
    }
    return 0;
}

int gen_read_number(const struct gen_parse *p, const char *key, double *out)
{
    const json_t *v = json_object_get(p->object, key);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return error_set(p->err, ERR_INVALID, "%s: expected a number, got %s", key, gen_kind_of(v));
    double x = json_number_value(v);
    if (!isfinite(x))
        return error_set(p->err, ERR_INVALID, "%s: expected a finite number", key);
    *out = x;
    return 1;
}

int gen_need_number(const struct gen_parse *p, const char *key, double *out)
{
    int got = gen_read_number(p, key, out);
    if (got == 0)
        return error_set(p->err, ERR_INVALID, "%s: missing; a generator of type %s needs a number here", key,
                         p->type_name);
    return got < 0 ? -1 : 0;
}

int gen_need_positive(const struct gen_parse *p, const char *key, double *out)
{
    if (gen_need_number(p, key, out) < 0)
        return -1;
    return *out > 0 ? 0 : error_set(p->err, ERR_INVALID, "%s: must be above 0, is %g", key, *out);
}

int gen_read_not_negative(const struct gen_parse *p, const char *key, double *out)
{
    int got = gen_read_number(p, key, out);
    if (got > 0 && *out < 0)
        return error_set(p->err, ERR_INVALID, "%s: must be at least 0, is %g", key, *out);
    return got;
}

int gen_read_within(const struct gen_parse *p, const char *key, double low, double high, double *out)
{
    int got = gen_read_number(p, key, out);
    if (got > 0 && !(*out >= low && *out <= high))
        return error_set(p->err, ERR_INVALID, "%s: must lie between %g and %g, is %g", key, low, high, *out);
    return got;
}

int gen_read_count(const struct gen_parse *p, const char *key, unsigned low, unsigned high, unsigned *out)
{
    double x = 0;
    int got = gen_read_number(p, key, &x);
    if (got <= 0)
        return got;
    if (!(x >= low && x <= high) || floor(x) < x)
        return error_set(p->err, ERR_INVALID, "%s: expected a whole number from %u to %u, got %g", key, low, high, x);
    *out = (unsigned)x;
    return 1;
}

int gen_read_bool(const struct gen_parse *p, const char *key, bool *out)
{
    const json_t *v = json_object_get(p->object, key);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return error_set(p->err, ERR_INVALID, "%s: expected true or false, got %s", key, gen_kind_of(v));
    *out = json_is_true(v);
    return 1;
}

int gen_read_ms(const struct gen_parse *p, const char *key, int64_t *out_us)
{
    double ms = 0;
    int got = gen_read_within(p, key, 0, MAX_MS, &ms);
    if (got > 0)
        *out_us = llrint(ms * 1000);
    return got;
}

int gen_need_period(const struct gen_parse *p, const char *key, int64_t *out_us)
{
    int got = gen_read_ms(p, key, out_us);
    if (got == 0)
        return error_set(p->err, ERR_INVALID, "%s: missing; a generator of type %s needs milliseconds here", key,
                         p->type_name);
    if (got > 0 && *out_us <= 0)
        return error_set(p->err, ERR_INVALID, "%s: must be above 0 milliseconds", key);
    return got < 0 ? -1 : 0;
}

int gen_read_word(const struct gen_parse *p, const char *key, const char *const *words, unsigned *out)
{
    const json_t *v = json_object_get(p->object, key);
    char list[200], what[80];
    if (!v)
        return 0;
    if (!json_is_string(v))
        return error_set(p->err, ERR_INVALID, "%s: expected a string (%s), got %s", key,
                         names_join(words, list, sizeof list), gen_kind_of(v));
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(words[i], json_string_value(v)) == 0) {
            *out = i;
            return 1;
        }
    }
    snprintf(what, sizeof what, "%s: unknown", key);
    return error_unknown(p->err, what, json_string_value(v), words);
}

int gen_read_bounds(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    if (gen_read_number(p, "min", &spec->min) < 0 || gen_read_number(p, "max", &spec->max) < 0)
        return -1;
    if (spec->min > spec->max)
        return error_set(p->err, ERR_INVALID, "min: must be at most max (%g), is %g", spec->max, spec->min);
    if (spec->type != VALUE_INTEGER)
        return 0;
    double low = ceil(spec->min), high = floor(spec->max);
    if (low > high)
        return error_set(p->err, ERR_INVALID,
                         "min: no whole number lies between min %g and max %g, and the type is integer", spec->min,
                         spec->max);
    spec->min = low;
    spec->max = high;
    return 0;
}

int gen_both_bounds(struct gen_parse *p)
{
    double ignored;
    if (gen_need_number(p, "min", &ignored) < 0 || gen_need_number(p, "max", &ignored) < 0 || gen_read_bounds(p) < 0)
        return -1;
    if (!isfinite(p->spec->max - p->spec->min))
        return error_set(p->err, ERR_INVALID, "max: the range from min %g to max %g is too large", p->spec->min,
                         p->spec->max);
    return 0;
}
