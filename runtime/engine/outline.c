#include "engine/outline.h"

#include <string.h>

#include "link/url.h"

// A group that has a model has it by name only: whether it publishes by itself is of interest to a verdict.
static json_t *group_outline(const json_t *group, json_t *models)
{
    const char *model = json_string_value(json_object_get(group, "model"));
    json_t *o = json_pack("{s:O, s:O, s:b}", "name", json_object_get(group, "name"), "count",
                          json_object_get(group, "count"), "behaviour", 1);
    if (o && model) {
        const char *name = strrchr(model, '/');
        name = name ? name + 1 : model;
        json_object_set_new(o, "model", json_string(name));
        json_object_set_new(models, name, json_object());
    }
    return o;
}

json_t *plan_outline(const struct plan *plan, struct error *err)
{
    static const char *const same[] = {"name",    "file",     "sha256",      "duration", "seed",  "thresholds",
                                       "metrics", "has_test", "connections", "warmup",   "stages"};
    json_t *o = json_object(), *groups = json_array(), *models = json_object(), *group;
    size_t i;
    for (i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        json_t *v = json_object_get(plan->json, same[i]);
        if (v)
            json_object_set(o, same[i], v);
    }
    json_array_foreach(json_object_get(plan->json, "groups"), i, group)
    {
        json_array_append_new(groups, group_outline(group, models));
    }
    struct url url;
    char shown[600];
    const char *target = plan_target(plan);
    if (target && url_parse(target, "mqtt", &url, NULL) == 0)
        json_object_set_new(o, "target", json_string(url_display(&url, shown, sizeof(shown))));
    size_t n = json_array_size(groups);
    json_object_set_new(o, "models", models);
    if (o && json_object_set_new(o, "groups", groups) == 0 && n == plan->n_groups)
        return o;
    json_decref(o);
    error_set(err, ERR_NO_MEMORY, "no memory for the outline of a plan");
    return NULL;
}
