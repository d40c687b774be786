// A launch plan from JSON: as the plan of a run carries it, and as the published format writes it.
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/launch.h"
#include "device/plan_keys.h"

static const char *const strategy_names[] = {"immediate", "linear", "batch",   "exponential",
                                             "ramp",      "stages", "poisson", NULL};
static const char *const keys[] = {"strategy", "rate",    "delay",     "batch_size", "max_delay",    "base",   "over",
                                   "stages",   "delayMs", "batchSize", "maxDelayMs", "exponentBase", "overMs", NULL};
static const char *const stage_keys[] = {"duration", "target", "durationMs", NULL};

const char *launch_strategy_name(enum launch_strategy s)
{
    return (unsigned)s <= LAUNCH_POISSON ? strategy_names[s] : "unknown";
}

static int parse_rate(const json_t *spec, struct launch *l, struct error *err)
{
    bool given = json_object_get(spec, "rate") != NULL;
    if (!given && l->strategy == LAUNCH_POISSON)
        return error_set(err, ERR_INVALID, "launch: strategy poisson needs \"rate\", devices a second on average");
    if (!given)
        return 0;
    if (l->strategy != LAUNCH_LINEAR && l->strategy != LAUNCH_POISSON)
        return error_set(err, ERR_INVALID, "launch: \"rate\" is for the strategies linear and poisson, not %s",
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

static int parse_ramp(const json_t *spec, struct launch *l, struct error *err)
{
    bool given = json_object_get(spec, "over") || json_object_get(spec, "overMs");
    if (l->strategy != LAUNCH_RAMP)
        return given ? error_set(err, ERR_INVALID, "launch: \"over\" is for the strategy ramp, not %s",
                                 launch_strategy_name(l->strategy))
                     : 0;
    if (!given)
        return error_set(err, ERR_INVALID,
                         "launch: strategy ramp needs \"over\", the time until the last device "
                         "starts");
    return plan_duration("launch", spec, "over", "overMs", 0, &l->over_us, err);
}

static int parse_stage(const json_t *spec, unsigned number, struct launch_stage *out, struct error *err)
{
    char what[32];
    double target;
    snprintf(what, sizeof(what), "launch: stage %u", number);
    if (!json_is_object(spec))
        return error_set(err, ERR_INVALID, "%s: expected an object {\"duration\": …, \"target\": …}", what);
    if (plan_keys(what, spec, stage_keys, 2, err) ||
        plan_duration(what, spec, "duration", "durationMs", -1, &out->duration_us, err) ||
        plan_number(what, spec, "target", "target", -1, &target, err))
        return -1;
    if (out->duration_us < 0)
        return error_set(err, ERR_INVALID, "%s: how long it lasts is missing: \"duration\"", what);
    if (!json_object_get(spec, "target"))
        return error_set(err, ERR_INVALID, "%s: \"target\", the devices that are up at its end, is missing", what);
    if (!(target >= 0 && target <= 1e9) || target != floor(target))
        return error_set(err, ERR_INVALID, "%s: target must be a whole number of 0 or more, is %g", what, target);
    out->target = (uint64_t)target;
    return 0;
}

static int parse_stages(const json_t *spec, struct launch *l, struct error *err)
{
    const json_t *list = json_object_get(spec, "stages");
    if (l->strategy != LAUNCH_STAGES)
        return list ? error_set(err, ERR_INVALID, "launch: \"stages\" is for the strategy stages, not %s",
                                launch_strategy_name(l->strategy))
                    : 0;
    if (!json_is_array(list) || !json_array_size(list))
        return error_set(err, ERR_INVALID,
                         "launch: strategy stages needs \"stages\", a list of {\"duration\": …, "
                         "\"target\": …}");
    if (json_array_size(list) > LAUNCH_MAX_STAGES)
        return error_set(err, ERR_LIMIT, "launch: at most %d stages, there are %zu", LAUNCH_MAX_STAGES,
                         json_array_size(list));
    int64_t sum = 0;
    for (l->n_stages = 0; l->n_stages < json_array_size(list); l->n_stages++) {
        struct launch_stage *s = &l->stages[l->n_stages];
        if (parse_stage(json_array_get(list, l->n_stages), l->n_stages + 1, s, err))
            return -1;
        sum += s->duration_us;
        if (sum > PLAN_MAX_US)
            return error_set(err, ERR_INVALID, "launch: the stages last for too long");
    }
    return launch_peak(l) ? 0 : error_set(err, ERR_INVALID, "launch: no stage has a target above 0");
}

static int parse_rest(const json_t *spec, struct launch *l, struct error *err)
{
    double batch;
    if (plan_duration("launch", spec, "delay", "delayMs", l->delay_us, &l->delay_us, err) ||
        plan_duration("launch", spec, "max_delay", "maxDelayMs", l->max_delay_us, &l->max_delay_us, err) ||
        plan_number("launch", spec, "batch_size", "batchSize", 100, &batch, err) ||
        plan_number("launch", spec, "base", "exponentBase", 1.5, &l->base, err))
        return -1;
    if (!(batch >= 1 && batch <= 1e9) || batch != floor(batch))
        return error_set(err, ERR_INVALID, "launch: batch_size must be a whole number of 1 or more, is %g", batch);
    if (!(l->base >= 1 && l->base <= 1000))
        return error_set(err, ERR_INVALID, "launch: base must be between 1 and 1000, is %g", l->base);
    l->batch_size = (uint64_t)batch;
    return 0;
}

int launch_parse(const json_t *spec, struct launch *out, struct error *err)
{
    struct launch l = {
        .strategy = LAUNCH_IMMEDIATE, .delay_us = 1000000, .batch_size = 100, .max_delay_us = 60000000, .base = 1.5};
    if (!spec || json_is_null(spec)) {
        *out = l;
        return 0;
    }
    if (!json_is_object(spec))
        return error_set(err, ERR_INVALID,
                         "launch: expected an object such as {\"strategy\": \"linear\", \"rate\": 200}");
    // A rate alone says enough.
    int strategy = plan_choice("launch", spec, "strategy", json_object_get(spec, "rate") ? "linear" : "immediate",
                               strategy_names, err);
    if (strategy < 0)
        return -1;
    l.strategy = (enum launch_strategy)strategy;
    if (plan_keys("launch", spec, keys, 8, err) || parse_rate(spec, &l, err) || parse_ramp(spec, &l, err) ||
        parse_stages(spec, &l, err) || parse_rest(spec, &l, err))
        return -1;
    *out = l;
    return 0;
}
