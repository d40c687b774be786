// What an experiment says: to the shards, and to people.
#include <stdio.h>
#include <string.h>

#include "chaos/experiment.h"
#include "core/units.h"

// --- changes ------------------------------------------------------------------------------------------------------

static int copy_members(const struct experiment *e, json_t *to, const char *const *names)
{
    int rc = 0;
    for (; *names && !rc; names++) {
        json_t *v = json_object_get(e->json, *names);
        rc = v ? json_object_set(to, *names, v) : 0;
    }
    return rc;
}

static json_t *whole(json_t *change, int rc)
{
    if (change && rc == 0)
        return change;
    json_decref(change);
    return NULL;
}

// The same devices whatever the number of shards, others at each window.
static json_int_t dropout_key(uint64_t number, uint64_t window)
{
    return (json_int_t)((number & 0xffffff) << 24 | (window & 0xffffff));
}

json_t *experiment_begin_change(const struct experiment *e, uint64_t number, uint64_t window, const char *group)
{
    static const char *const whom[] = {"group", "groups", "devices", "count", "percentage", NULL};
    if (experiment_by_group(e))
        return json_pack("{s:s, s:s, s:O, s:I, s:O*}", "op", "dropout", "group", group, "dropout", e->dropout_json,
                         "key", dropout_key(number, window), "devices", json_object_get(e->json, "devices"));
    bool network = experiment_on_network(e);
    json_t *change = json_pack("{s:s, s:I, s:s}", "op", network ? "fault" : "clock", "fault", (json_int_t)number,
                               "experiment", e->name);
    int rc = change ? copy_members(e, change, whom) : -1;
    if (rc == 0 && !network) // as read: they may have come as 5e6
        rc = json_object_set_new(change, "offset_us", json_integer(e->offset_us)) |
             json_object_set_new(change, "drift", json_real(e->drift));
    if (rc == 0 && network)
        rc = json_object_set(change, "spec", json_object_get(e->json, "fault"));
    return whole(change, rc);
}

json_t *experiment_end_change(const struct experiment *e, uint64_t number, uint64_t window, const char *group)
{
    if (experiment_by_group(e))
        return json_pack("{s:s, s:s, s:I}", "op", "return", "group", group, "key", dropout_key(number, window));
    return json_pack("{s:s, s:I}", "op", "heal", "fault", (json_int_t)number);
}

// --- words --------------------------------------------------------------------------------------------------------

static void describe_dropout(const struct experiment *e, char *dst, size_t size)
{
    const struct dropout *d = &e->dropout;
    char who[48], jitter[32];
    size_t listed = json_array_size(json_object_get(e->json, "devices"));
    if (listed)
        snprintf(who, sizeof(who), "%zu device%s", listed, listed == 1 ? "" : "s");
    else if (d->count)
        snprintf(who, sizeof(who), "%llu devices", (unsigned long long)d->count);
    else
        snprintf(who, sizeof(who), "%.3g %% of the devices", d->percentage);
    duration_format(d->jitter_us, jitter, sizeof(jitter));
    if (e->kind == EXPERIMENT_STORM)
        snprintf(dst, size, "%s are cut and come back %s%s", who, d->jitter_us ? "within " : "all at once",
                 d->jitter_us ? jitter : "");
    else
        snprintf(dst, size, "%s drop out, %s", who, dropout_strategy_name(d->strategy));
}

static void describe_clock(const struct experiment *e, char *dst, size_t size)
{
    char offset[32];
    duration_format(e->offset_us < 0 ? -e->offset_us : e->offset_us, offset, sizeof(offset));
    if (e->drift == 0)
        snprintf(dst, size, "clocks %s %s", offset, e->offset_us < 0 ? "behind" : "ahead");
    else if (!e->offset_us)
        snprintf(dst, size, "clocks drift by %.4g s a second", e->drift);
    else
        snprintf(dst, size, "clocks %s %s, drifting by %.4g s a second", offset, e->offset_us < 0 ? "behind" : "ahead",
                 e->drift);
}

char *experiment_describe(const struct experiment *e, char *dst, size_t size)
{
    static const char *const broker[] = {"the broker is stopped", "the broker is killed", "the broker is paused"};
    switch (e->kind) {
    case EXPERIMENT_LINK:
    case EXPERIMENT_PARTITION:
        return fault_spec_describe(e->fault, dst, size);
    case EXPERIMENT_DISCONNECT:
    case EXPERIMENT_STORM:
        describe_dropout(e, dst, size);
        break;
    case EXPERIMENT_BROKER:
        snprintf(dst, size, "%s", broker[e->action]);
        break;
    case EXPERIMENT_CLOCK:
        describe_clock(e, dst, size);
        break;
    default:
        snprintf(dst, size, "a function of the scenario");
    }
    return dst;
}
