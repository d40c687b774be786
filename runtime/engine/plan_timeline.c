#include "engine/plan_timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "device/selection.h"
#include "engine/plan_target.h"

#define EXPERIMENTS_MAX 1000u

const char **plan_group_names(const struct plan *p)
{
    const char **names = calloc(p->n_groups + 1, sizeof(*names));
    for (unsigned i = 0; names && i < p->n_groups; i++)
        names[i] = p->groups[i].config.name;
    return names;
}

static int prefix_place(const struct plan *p, int line, unsigned i, const char *name, struct error *err)
{
    if (name)
        error_prefix(err, "experiment \"%.100s\"", name);
    else
        error_prefix(err, "experiment %u of the timeline", i + 1);
    return line > 0 ? error_prefix(err, "%s:%d", p->file, line) : error_prefix(err, "%s", p->file);
}

static bool taken(const struct plan *p, const char *name)
{
    for (unsigned i = 0; i < p->n_experiments; i++)
        if (strcmp(p->experiments[i].name, name) == 0)
            return true;
    return false;
}

// "link", "link-2", "link-3": what is written into the JSON stays, whatever --only takes out later.
static int make_unique(const struct plan *p, struct experiment *e, json_t *list, unsigned i, struct error *err)
{
    char name[128];
    snprintf(name, sizeof(name), "%s", e->name);
    for (unsigned n = 2; taken(p, name); n++)
        snprintf(name, sizeof(name), "%.100s-%u", e->name, n);
    if (experiment_rename(e, name, err))
        return -1;
    return json_array_set(list, i, e->json) ? error_set(err, ERR_NO_MEMORY, "no memory for a timeline") : 0;
}

// Indices of devices and the like, in each of its groups.
static int check_selection(const struct plan *p, const struct experiment *e, struct error *err)
{
    for (unsigned i = 0; i < p->n_groups; i++)
        if (experiment_about(e, p->groups[i].config.name) && selection_check(e->json, p->groups[i].config.count, err))
            return error_prefix(err, "group %s", p->groups[i].config.name);
    return 0;
}

static int parse_one(struct plan *p, json_t *list, unsigned i, const char *const *groups, struct error *err)
{
    json_t *json = json_array_get(list, i);
    json_int_t line = json_integer_value(json_object_get(json, "line"));
    struct experiment *e = &p->experiments[p->n_experiments];
    if (experiment_parse(e, json, groups, err))
        return prefix_place(p, line > 0 && line < INT32_MAX ? (int)line : 0, i,
                            json_string_value(json_object_get(json, "name")), err);
    if (make_unique(p, e, list, i, err) || check_selection(p, e, err)) {
        prefix_place(p, e->line, i, e->name, err);
        experiment_destroy(e);
        return -1;
    }
    p->directs |= e->kind == EXPERIMENT_CUSTOM;
    p->n_experiments++;
    return 0;
}

int plan_parse_timeline(struct plan *p, struct error *err)
{
    json_t *list = json_object_get(p->json, "timeline");
    size_t n = json_array_size(list);
    if (!list || json_is_null(list) || (json_is_object(list) && !json_object_size(list))) // Lua has one empty table
        return 0;
    if (!json_is_array(list))
        return error_set(err, ERR_INVALID, "%s: timeline: expected a list of experiments", p->file);
    if (n > EXPERIMENTS_MAX)
        return error_set(err, ERR_LIMIT, "%s: timeline: %zu experiments, at most %u are possible", p->file, n,
                         EXPERIMENTS_MAX);
    const char **groups = plan_group_names(p);
    p->experiments = calloc(n + 1, sizeof(*p->experiments));
    int rc = groups && p->experiments ? 0 : error_set(err, ERR_NO_MEMORY, "%s: no memory for a timeline", p->file);
    for (unsigned i = 0; i < n && rc == 0; i++)
        rc = parse_one(p, list, i, groups, err);
    free(groups);
    return rc;
}

void plan_release_timeline(struct plan *p)
{
    for (unsigned i = 0; i < p->n_experiments; i++)
        experiment_destroy(&p->experiments[i]);
    free(p->experiments);
    p->experiments = NULL;
    p->n_experiments = 0;
}

void plan_only_timeline(const struct plan *p, json_t *json, bool (*kept)(const void *arg, const char *group),
                        const void *arg)
{
    json_t *list = json_object_get(json, "timeline");
    for (unsigned i = p->n_experiments; i-- > 0;) {
        const struct experiment *e = &p->experiments[i];
        json_t *entry = json_array_get(list, i), *groups = json_object_get(entry, "groups");
        unsigned left = 0;
        for (unsigned g = e->n_groups; g-- > 0;) {
            bool stays = kept(arg, e->groups[g]);
            left += stays;
            if (!stays && groups)
                json_array_remove(groups, g);
        }
        if (e->n_groups && !left)
            json_array_remove(list, i);
    }
}

// ------------------------------------------------------------------------------------------------------------------

int plan_check_experiment(const struct plan *p, const struct experiment *e, bool virtual_time, struct error *err)
{
    if (check_selection(p, e, err))
        return -1;
    if (virtual_time && (experiment_on_network(e) || e->kind == EXPERIMENT_BROKER))
        return error_set(err, ERR_INVALID,
                         "a %s experiment needs a network, and there is none in virtual time: leave it out "
                         "(disconnect, storm and clock are possible), or run without --virtual",
                         experiment_kind_name(e->kind));
    if (e->kind == EXPERIMENT_BROKER && !(plan_embedded(p) & TARGET_BROKER))
        return error_set(err, ERR_INVALID,
                         "only a broker that the run started itself can be stopped, killed or paused: use broker = "
                         "\"embedded\", or cut the devices off with a partition");
    return 0;
}

int plan_check_timeline(const struct plan *p, bool virtual_time, struct error *err)
{
    for (unsigned i = 0; i < p->n_experiments; i++)
        if (plan_check_experiment(p, &p->experiments[i], virtual_time, err))
            return prefix_place(p, p->experiments[i].line, i, p->experiments[i].name, err);
    return 0;
}
