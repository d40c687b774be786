#include "adapter/backoff.h"

#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"

static int read_delay(const json_t *o, const char *key, int64_t *out, struct error *err)
{
    const json_t *v = json_object_get(o, key);
    int rc = 0;
    if (json_is_number(v))
        rc = duration_from_seconds(json_number_value(v), out, err);
    else if (json_is_string(v))
        rc = duration_parse(json_string_value(v), true, out, err);
    else if (v)
        rc = error_set(err, ERR_INVALID, "expected a duration such as \"1s\"");
    if (!rc && *out <= 0)
        rc = error_set(err, ERR_INVALID, "expected more than 0");
    return rc ? error_prefix(err, "reconnect: %s", key) : 0;
}

int backoff_parse(const json_t *options, struct iotix_backoff *out, struct error *err)
{
    static const char *const keys[] = {"initial", "max", "factor", "jitter", "attempts", NULL};
    const json_t *o = json_object_get(options, "reconnect");
    const char *key;
    json_t *value;
    int64_t attempts = 0;
    *out =
        (struct iotix_backoff){.enabled = true, .jitter = true, .initial_us = 1000000, .max_us = 60000000, .factor = 2};
    if (!o || json_is_null(o) || json_is_true(o))
        return 0;
    if (json_is_false(o)) {
        out->enabled = false;
        return 0;
    }
    if (!json_is_object(o))
        return error_set(err, ERR_INVALID,
                         "reconnect: expected true, false or { initial, max, factor, jitter, attempts }");
    json_object_foreach((json_t *)o, key, value)
    {
        unsigned i = 0;
        while (keys[i] && strcmp(keys[i], key))
            i++;
        if (!keys[i])
            return error_unknown(err, "reconnect: unknown key", key, keys);
    }
    if (read_delay(o, "initial", &out->initial_us, err) || read_delay(o, "max", &out->max_us, err))
        return -1;
    if (json_get_num(o, "factor", 2, &out->factor, err) || json_get_bool(o, "jitter", true, &out->jitter, err) ||
        json_get_int(o, "attempts", 0, &attempts, err))
        return error_prefix(err, "reconnect");
    if (!(out->factor >= 1 && out->factor <= 100))
        return error_set(err, ERR_INVALID, "reconnect: factor: expected 1 to 100, got %g", out->factor);
    if (attempts < 0 || attempts > 1000000)
        return error_set(err, ERR_INVALID, "reconnect: attempts: expected 0 to 1000000, got %lld", (long long)attempts);
    out->attempts = (uint32_t)attempts;
    return 0;
}

int64_t backoff_us(const struct iotix_backoff *b, unsigned failures, uint64_t *random)
{
    if (!b->enabled || (b->attempts && failures >= b->attempts))
        return -1;
    double delay = (double)b->initial_us;
    for (unsigned i = 1; i < failures && delay < (double)b->max_us; i++)
        delay *= b->factor;
    if (delay > (double)b->max_us)
        delay = (double)b->max_us;
    struct rng r = {*random};
    if (b->jitter)
        delay *= rng_unit(&r);
    *random = r.state;
    return (int64_t)delay;
}
