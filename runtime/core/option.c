#include "core/option.h"
#include <math.h>
#include <stdio.h>
#include "core/units.h"

int option_expected(const char *label, const char *what, const json_t *v, struct error *err)
{
    static const char *const names[] = {"an object", "a list", "a string", "an integer",
                                        "a number",  "true",   "false",    "null"};
    if (!v)
        return error_set(err, ERR_INVALID, "%s: expected %s, got nothing", label, what);
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

int option_share(const char *label, const json_t *v, double min, double max, double *out, struct error *err)
{
    char what[96];
    double share = json_number_value(v);
    bool ok = json_is_number(v) || (json_is_string(v) && share_parse(json_string_value(v), &share, NULL) == 0);
    if (ok && share >= min && share <= max) {
        *out = share;
        return 0;
    }
    snprintf(what, sizeof what, "a share like \"5%%\" or 0.05 from %g %% to %g %%", min * 100, max * 100);
    return option_expected(label, what, v, err);
}

int option_rate(const char *label, const json_t *v, double min, double max, double *out, struct error *err)
{
    char what[128], low[32], high[32];
    double rate = json_number_value(v);
    if (json_is_string(v) && rate_parse(json_string_value(v), &rate, err))
        return error_prefix(err, "%s", label);
    if ((json_is_string(v) || json_is_number(v)) && rate >= min && rate <= max) {
        *out = rate;
        return 0;
    }
    snprintf(what, sizeof what, "a rate like \"500kbit\" (or a number of bits a second) from %s to %s",
             rate_format(min, low, sizeof low), rate_format(max, high, sizeof high));
    return option_expected(label, what, v, err);
}

int option_choice(const char *label, const json_t *v, const char *const *names, struct error *err)
{
    char list[256];
    if (!json_is_string(v))
        return option_expected(label, names_join(names, list, sizeof list), v, err);
    int i = name_choose("unknown value", json_string_value(v), names, err);
    return i < 0 ? error_prefix(err, "%s", label) : i;
}

int option_object(const char *label, const json_t *v, const char *expected, const char *const *names, struct error *err)
{
    const char *key;
    json_t *member;
    if (!json_is_object(v))
        return option_expected(label, expected, v, err);
    // json_object_foreach takes no const
    json_object_foreach((json_t *)v, key, member)
    {
        if (name_choose("unknown key", key, names, err) < 0)
            return error_prefix(err, "%s", label);
    }
    return 0;
}
