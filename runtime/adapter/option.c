#include "adapter/option.h"
#include <math.h>
#include <stdio.h>
#include "core/units.h"

int option_expected(const char *label, const char *what, const json_t *v, struct error *err)
{
    static const char *const names[] = {"an object", "a list", "a string", "an integer",
                                        "a number",  "true",   "false",    "null"};
    if (json_is_string(v))
        return error_set(err, ERR_INVALID, "%s: expected %s, got \"%.100s\"", label, what, json_string_value(v));
    if (json_is_number(v))
        return error_set(err, ERR_INVALID, "%s: expected %s, got %.14g", label, what, json_number_value(v));
    return error_set(err, ERR_INVALID, "%s: expected %s, got %s", label, what, names[json_typeof(v)]);
}

int option_bool(const char *label, const json_t *v, bool *out, struct error *err)
{
    if (!json_is_boolean(v))
        return option_expected(label, "true or false", v, err);
    *out = json_is_true(v);
    return 0;
}

int option_count(const char *label, const json_t *v, uint32_t min, uint32_t max, uint32_t *out, struct error *err)
{
    char what[64];
    double d = json_number_value(v);
    if (json_is_number(v) && d >= min && d <= max && d == floor(d)) {
        *out = (uint32_t)d;
        return 0;
    }
    snprintf(what, sizeof what, "a whole number from %u to %u", min, max);
    return option_expected(label, what, v, err);
}

int option_number(const char *label, const json_t *v, double min, double max, double *out, struct error *err)
{
    char what[64];
    double d = json_number_value(v);
    if (json_is_number(v) && d >= min && d <= max) {
        *out = d;
        return 0;
    }
    snprintf(what, sizeof what, "a number from %g to %g", min, max);
    return option_expected(label, what, v, err);
}

int option_duration(const char *label, const json_t *v, int64_t min_us, int64_t max_us, int64_t *out, struct error *err)
{
    char what[160], low[32], high[32];
    int64_t us = 0;
    int rc = -1;
    if (json_is_string(v))
        rc = duration_parse(json_string_value(v), true, &us, NULL);
    else if (json_is_number(v))
        rc = duration_from_seconds(json_number_value(v), &us, NULL);
    if (rc == 0 && us >= min_us && us <= max_us) {
        *out = us;
        return 0;
    }
    snprintf(what, sizeof what, "a duration like \"10s\" (or a number of seconds) from %s to %s",
             duration_format(min_us, low, sizeof low), duration_format(max_us, high, sizeof high));
    return option_expected(label, what, v, err);
}

int option_size(const char *label, const json_t *v, uint32_t min, uint32_t max, uint32_t *out, struct error *err)
{
    char what[96];
    double d = json_number_value(v);
    uint64_t n = 0;
    bool ok = json_is_string(v) && size_parse(json_string_value(v), &n, NULL) == 0;
    if (json_is_number(v) && d >= 0 && d <= UINT32_MAX && d == floor(d)) {
        n = (uint64_t)d;
        ok = true;
    }
    if (ok && n >= min && n <= max) {
        *out = (uint32_t)n;
        return 0;
    }
    snprintf(what, sizeof what, "a size like \"256KB\" (or a number of bytes) from %u to %u", min, max);
    return option_expected(label, what, v, err);
}
