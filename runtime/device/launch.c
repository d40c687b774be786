// Launch plans as closed formulas: a shard can ask for any place without walking over the others.
#include "device/launch.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"

#define MS 1000
#define LAUNCH_MAX_US (INT64_MAX / 4) // far beyond any run, and safe to add to a time

static const char *const strategy_names[] = {"immediate", "linear", "batch", "exponential", NULL};
static const char *const keys[] = {"strategy", "rate",      "delay",      "batch_size",   "max_delay", "base",
                                   "delayMs",  "batchSize", "maxDelayMs", "exponentBase", NULL};

const char *launch_strategy_name(enum launch_strategy s)
{
    return (unsigned)s <= LAUNCH_EXPONENTIAL ? strategy_names[s] : "unknown";
}

static bool known(const char *key)
{
    for (unsigned i = 0; keys[i]; i++) {
        if (!strcmp(key, keys[i]))
            return true;
    }
    return false;
}

static int check_keys(const json_t *spec, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)spec, key, value)
    {
        if (known(key))
            continue;
        const char *near = suggest(key, keys);
        return error_set(err, ERR_INVALID,
                         "launch: unknown key \"%s\"%s%s%s; valid: strategy, rate, delay, batch_size, max_delay, base "
                         "(or delayMs, batchSize, maxDelayMs, exponentBase)",
                         key, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    return 0;
}

// One value under either of its two names.
static int get(const json_t *spec, const char *key, const char *published, double dflt, double *out, struct error *err)
{
    if (json_object_get(spec, key) && json_object_get(spec, published))
        return error_set(err, ERR_INVALID, "launch: \"%s\" and \"%s\" say the same: give one of them", key, published);
    const char *used = json_object_get(spec, published) ? published : key;
    if (json_get_num(spec, used, dflt, out, err))
        return error_prefix(err, "launch");
    return 0;
}

static int get_delay(const json_t *spec, const char *key, const char *published, double dflt_us, int64_t *out,
                     struct error *err)
{
    double v;
    bool ms = json_object_get(spec, published) != NULL;
    if (get(spec, key, published, dflt_us, &v, err))
        return -1;
    if (ms)
        v *= MS;
    if (!(v >= 0 && v <= (double)LAUNCH_MAX_US))
        return error_set(err, ERR_INVALID, "launch: %s must be a duration of 0 or more", ms ? published : key);
    *out = (int64_t)llround(v);
    return 0;
}

static int parse_strategy(const json_t *spec, enum launch_strategy *out, struct error *err)
{
    const char *name;
    if (json_get_str(spec, "strategy", NULL, &name, err))
        return error_prefix(err, "launch");
    if (!name) // a rate alone says enough
        name = json_object_get(spec, "rate") ? "linear" : "immediate";
    for (unsigned i = 0; strategy_names[i]; i++) {
        if (!strcmp(name, strategy_names[i])) {
            *out = (enum launch_strategy)i;
            return 0;
        }
    }
    const char *near = suggest(name, strategy_names);
    return error_set(err, ERR_INVALID,
                     "launch: unknown strategy \"%s\"%s%s%s; valid: immediate, linear, batch, exponential", name,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int parse_rate(const json_t *spec, struct launch *l, struct error *err)
{
    if (!json_object_get(spec, "rate"))
        return 0;
    if (l->strategy != LAUNCH_LINEAR)
        return error_set(err, ERR_INVALID, "launch: \"rate\" is for the strategy linear, not %s",
                         launch_strategy_name(l->strategy));
    if (json_object_get(spec, "delay") || json_object_get(spec, "delayMs"))
        return error_set(err, ERR_INVALID, "launch: give \"rate\" or a delay, not both");
    if (json_get_num(spec, "rate", 0, &l->rate, err))
        return error_prefix(err, "launch");
    if (!(l->rate >= 1e-6 && l->rate <= 1e9))
        return error_set(err, ERR_INVALID, "launch: rate must be between 0.000001 and 1e9 devices a second, is %g",
                         l->rate);
    return 0;
}

int launch_parse(const json_t *spec, struct launch *out, struct error *err)
{
    struct launch l = {.strategy = LAUNCH_IMMEDIATE,
                       .delay_us = 1000 * MS,
                       .batch_size = 100,
                       .max_delay_us = 60000 * (int64_t)MS,
                       .base = 1.5};
    double batch;
    if (!spec || json_is_null(spec)) {
        *out = l;
        return 0;
    }
    if (!json_is_object(spec))
        return error_set(err, ERR_INVALID,
                         "launch: expected an object such as {\"strategy\": \"linear\", \"rate\": 200}");
    if (check_keys(spec, err) || parse_strategy(spec, &l.strategy, err) || parse_rate(spec, &l, err) ||
        get_delay(spec, "delay", "delayMs", (double)l.delay_us, &l.delay_us, err) ||
        get_delay(spec, "max_delay", "maxDelayMs", (double)l.max_delay_us, &l.max_delay_us, err) ||
        get(spec, "batch_size", "batchSize", 100, &batch, err) || get(spec, "base", "exponentBase", 1.5, &l.base, err))
        return -1;
    if (!(batch >= 1 && batch <= 1e9) || batch != floor(batch))
        return error_set(err, ERR_INVALID, "launch: batch_size must be a whole number of 1 or more, is %g", batch);
    if (!(l.base >= 1 && l.base <= 1000))
        return error_set(err, ERR_INVALID, "launch: base must be between 1 and 1000, is %g", l.base);
    l.batch_size = (uint64_t)batch;
    *out = l;
    return 0;
}

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

int64_t launch_delay_us(const struct launch *l, uint64_t i)
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
    }
    return 0;
}

int64_t launch_total_us(const struct launch *l, uint64_t count)
{
    return count ? launch_delay_us(l, count - 1) : 0;
}
