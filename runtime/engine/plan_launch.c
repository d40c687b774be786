#include "engine/plan_launch.h"

#include <math.h>
#include <stdlib.h>

#define DROPOUTS_MAX 100

// --- reading

static int check_stages(const struct plan_group *g, struct error *err)
{
    const struct launch *l = &g->config.launch;
    if (l->strategy != LAUNCH_STAGES || launch_peak(l) <= g->config.count)
        return 0;
    return error_set(err, ERR_INVALID,
                     "launch: a stage wants %llu devices, the group has %llu: raise count, or leave it out and the "
                     "largest target is it",
                     (unsigned long long)launch_peak(l), (unsigned long long)g->config.count);
}

static int parse_dropouts(struct plan_group *g, const json_t *list, size_t n, struct error *err)
{
    if (n > DROPOUTS_MAX)
        return error_set(err, ERR_LIMIT, "dropout: at most %d a group, there are %zu", DROPOUTS_MAX, n);
    struct dropout *dropouts = calloc(n, sizeof(*dropouts));
    if (!dropouts)
        return error_set(err, ERR_NO_MEMORY, "dropout: no memory");
    g->config.dropouts = dropouts;
    g->config.n_dropouts = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        if (dropout_parse(json_is_array(list) ? json_array_get(list, i) : list, &dropouts[i], err))
            return n > 1 ? error_prefix(err, "%zu", i + 1) : -1;
    }
    return 0;
}

int plan_parse_launch(struct plan_group *g, json_t *group, struct error *err)
{
    const json_t *launch = json_object_get(group, "launch"), *dropout = json_object_get(group, "dropout");
    if (json_is_array(launch) && !json_array_size(launch)) // Lua has one empty table
        launch = NULL;
    if (launch_parse(launch, &g->config.launch, err) || check_stages(g, err))
        return -1;
    size_t n = json_is_array(dropout) ? json_array_size(dropout) : dropout && !json_is_null(dropout) ? 1 : 0;
    return n ? parse_dropouts(g, dropout, n, err) : 0;
}

void plan_release_launch(struct plan *p)
{
    for (unsigned i = 0; p->groups && i < p->n_groups; i++)
        free((struct dropout *)(uintptr_t)p->groups[i].config.dropouts);
}

// --- overrides

static int put(json_t *spec, const char *key, const char *published, json_t *value, struct error *err)
{
    json_object_del(spec, published);
    return json_object_set_new(spec, key, value) ? error_set(err, ERR_NO_MEMORY, "launch: no memory") : 0;
}

static json_t *copy_member(json_t *group, const char *key, struct error *err)
{
    json_t *copy = json_deep_copy(json_object_get(group, key));
    if (copy && json_object_set_new(group, key, copy) == 0)
        return copy;
    error_set(err, ERR_NO_MEMORY, "%s: no memory", key);
    return NULL;
}

static int scale_stages(json_t *spec, double scale, uint64_t count, struct error *err)
{
    json_t *list = json_object_get(spec, "stages"), *stage;
    size_t i;
    json_array_foreach(list, i, stage)
    {
        double target = round(json_number_value(json_object_get(stage, "target")) * scale);
        if (target > (double)count)
            target = (double)count;
        if (json_object_set_new(stage, "target", json_integer((json_int_t)target)))
            return error_set(err, ERR_NO_MEMORY, "launch: no memory");
    }
    // Rounded to nothing it would be no plan at all.
    if (count && json_array_size(list) && scale < 1) {
        double peak = 0;
        json_array_foreach(list, i, stage)
        {
            peak = fmax(peak, json_number_value(json_object_get(stage, "target")));
        }
        if (peak < 1)
            json_object_set_new(json_array_get(list, 0), "target", json_integer(1));
    }
    return 0;
}

static int scale_dropout(json_t *spec, const struct dropout *d, double scale, struct error *err)
{
    if (d->count) {
        double count = round((double)d->count * scale);
        if (json_object_set_new(spec, "count", json_integer(count < 1 ? 1 : (json_int_t)fmin(count, 1e9))))
            return error_set(err, ERR_NO_MEMORY, "dropout: no memory");
    }
    if (d->strategy == DROPOUT_LINEAR && !d->duration_us)
        return put(spec, "delay", "delayMs", json_integer((json_int_t)llround((double)d->delay_us / scale)), err);
    return 0;
}

static int scale_dropouts(json_t *group, const struct plan_group *g, double scale, struct error *err)
{
    json_t *spec = g->config.n_dropouts ? copy_member(group, "dropout", err) : NULL;
    if (g->config.n_dropouts && !spec)
        return -1;
    for (unsigned i = 0; i < g->config.n_dropouts; i++) {
        if (scale_dropout(json_is_array(spec) ? json_array_get(spec, i) : spec, &g->config.dropouts[i], scale, err))
            return -1;
    }
    return 0;
}

int plan_scale_launch(json_t *group, const struct plan_group *g, double scale, struct error *err)
{
    const struct launch *l = &g->config.launch;
    uint64_t count = (uint64_t)json_integer_value(json_object_get(group, "count"));
    bool rate = (l->strategy == LAUNCH_LINEAR || l->strategy == LAUNCH_POISSON) && l->rate > 0;
    if (scale_dropouts(group, g, scale, err))
        return -1;
    if (l->strategy != LAUNCH_LINEAR && l->strategy != LAUNCH_POISSON && l->strategy != LAUNCH_STAGES)
        return 0;
    json_t *spec = copy_member(group, "launch", err);
    if (!spec)
        return -1;
    if (l->strategy == LAUNCH_STAGES)
        return scale_stages(spec, scale, count, err);
    if (rate)
        return put(spec, "rate", "rate", json_real(l->rate * scale), err);
    return put(spec, "delay", "delayMs", json_integer((json_int_t)llround((double)l->delay_us / scale)), err);
}

int plan_fit_stages(json_t *group, const struct plan_group *g, uint64_t count, struct error *err)
{
    if (g->config.launch.strategy != LAUNCH_STAGES)
        return 0;
    json_t *spec = copy_member(group, "launch", err);
    return spec ? scale_stages(spec, (double)count / (double)g->config.count, count, err) : -1;
}
