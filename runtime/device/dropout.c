#include "device/dropout.h"

#include <math.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/launch.h"
#include "device/plan_keys.h"

static const char *const strategy_names[] = {"immediate", "linear", "exponential", "random", NULL};
static const char *const mode_names[] = {"abrupt", "graceful", NULL};
static const char *const keys[] = {"strategy",     "count",
                                   "percentage",   "at",
                                   "delay",        "max_delay",
                                   "duration",     "base",
                                   "reconnect",    "reconnect_delay",
                                   "jitter",       "mode",
                                   "atMs",         "delayMs",
                                   "maxDelayMs",   "durationMs",
                                   "exponentBase", "reconnectDelayMs",
                                   "jitterMs",     NULL};

const char *dropout_strategy_name(enum dropout_strategy s)
{
    return (unsigned)s <= DROPOUT_RANDOM ? strategy_names[s] : "unknown";
}

// How many: one of the two ways to say it.
static int parse_size(const json_t *spec, struct dropout *d, struct error *err)
{
    double count;
    bool has_count = json_object_get(spec, "count"), has_percentage = json_object_get(spec, "percentage");
    if (has_count == has_percentage)
        return error_set(err, ERR_INVALID, "dropout: give either \"count\" (devices) or \"percentage\" (of the group)");
    if (plan_number("dropout", spec, "count", "count", 0, &count, err) ||
        plan_number("dropout", spec, "percentage", "percentage", 0, &d->percentage, err))
        return -1;
    if (has_count && (!(count >= 1 && count <= 1e9) || count != floor(count)))
        return error_set(err, ERR_INVALID, "dropout: count must be a whole number of 1 or more, is %g", count);
    if (has_percentage && !(d->percentage > 0 && d->percentage <= 100))
        return error_set(err, ERR_INVALID, "dropout: percentage must be above 0 and at most 100, is %g", d->percentage);
    d->count = has_count ? (uint64_t)count : 0;
    return 0;
}

static int parse_times(const json_t *spec, struct dropout *d, struct error *err)
{
    bool delay = json_object_get(spec, "delay") || json_object_get(spec, "delayMs");
    bool duration = json_object_get(spec, "duration") || json_object_get(spec, "durationMs");
    if (plan_duration("dropout", spec, "at", "atMs", 0, &d->at_us, err) ||
        plan_duration("dropout", spec, "delay", "delayMs", d->delay_us, &d->delay_us, err) ||
        plan_duration("dropout", spec, "max_delay", "maxDelayMs", d->max_delay_us, &d->max_delay_us, err) ||
        plan_duration("dropout", spec, "duration", "durationMs", d->duration_us, &d->duration_us, err) ||
        plan_duration("dropout", spec, "reconnect_delay", "reconnectDelayMs", 0, &d->reconnect_delay_us, err) ||
        plan_duration("dropout", spec, "jitter", "jitterMs", 0, &d->jitter_us, err) ||
        plan_number("dropout", spec, "base", "exponentBase", 1.5, &d->base, err))
        return -1;
    if (!(d->base >= 1 && d->base <= 1000))
        return error_set(err, ERR_INVALID, "dropout: base must be between 1 and 1000, is %g", d->base);
    d->timed = json_object_get(spec, "at") || json_object_get(spec, "atMs");
    if (d->strategy == DROPOUT_LINEAR && (delay || !duration))
        d->duration_us = 0; // the delay says it
    return 0;
}

int dropout_parse(const json_t *spec, struct dropout *out, struct error *err)
{
    struct dropout d = {.delay_us = 1000000, .max_delay_us = 60000000, .duration_us = 60000000, .base = 1.5};
    if (!json_is_object(spec))
        return error_set(err, ERR_INVALID,
                         "dropout: expected an object such as {\"strategy\": \"linear\", \"percentage\": 10}");
    int strategy = plan_choice("dropout", spec, "strategy", "immediate", strategy_names, err);
    int mode = strategy < 0 ? -1 : plan_choice("dropout", spec, "mode", "abrupt", mode_names, err);
    if (mode < 0 || plan_keys("dropout", spec, keys, 12, err))
        return -1;
    d.strategy = (enum dropout_strategy)strategy;
    d.graceful = mode == 1;
    if (json_get_bool(spec, "reconnect", false, &d.reconnect, err))
        return error_prefix(err, "dropout");
    if (parse_size(spec, &d, err) || parse_times(spec, &d, err))
        return -1;
    *out = d;
    return 0;
}

uint64_t dropout_count(const struct dropout *d, uint64_t count)
{
    double share = round((double)count * d->percentage / 100);
    uint64_t n = d->count ? d->count : (uint64_t)share;
    return n < count ? n : count;
}

int64_t dropout_delay_us(const struct dropout *d, uint64_t n, uint64_t rank, double draw)
{
    struct launch gaps = {
        .strategy = LAUNCH_LINEAR, .delay_us = d->delay_us, .max_delay_us = d->max_delay_us, .base = d->base};
    switch (d->strategy) {
    case DROPOUT_IMMEDIATE:
        break;
    case DROPOUT_LINEAR:
        if (d->duration_us)
            return (int64_t)((double)d->duration_us * (double)rank / (double)n);
        return launch_delay_us(&gaps, n, rank);
    case DROPOUT_EXPONENTIAL:
        gaps.strategy = LAUNCH_EXPONENTIAL;
        return launch_delay_us(&gaps, n, rank);
    case DROPOUT_RANDOM:
        return (int64_t)((double)d->duration_us * draw);
    }
    return 0;
}
