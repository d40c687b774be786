#include "engine/apply.h"

#include <stdlib.h>
#include <string.h>

#include "chaos/chaos.h"
#include "core/jsonx.h"
#include "device/change.h"

// One change on its way; a reload is as many jobs of the fleet as it has parts.
struct applying {
    struct child *c;
    json_t *number;
    json_t *answer;
    unsigned parts;
    struct error error;
};

static void tell(struct applying *a)
{
    json_t *m = json_pack("{s:O}", "number", a->number);
    if (a->error.code) {
        json_object_set_new(m, "error", json_text_of(a->error.text));
        json_object_set_new(m, "code", json_string(error_code_name(a->error.code)));
    } else if (a->answer) {
        json_object_set(m, "answer", a->answer);
    }
    child_send(a->c, MSG_CHANGED, m);
    json_decref(a->number);
    json_decref(a->answer);
    free(a);
}

static void part_done(void *arg, const json_t *answer, const struct error *err)
{
    struct applying *a = arg;
    if (err && !a->error.code)
        a->error = *err;
    if (answer && !a->answer) // a reload has counted its groups itself
        a->answer = json_deep_copy(answer);
    if (--a->parts == 0)
        tell(a);
}

// --- reload -------------------------------------------------------------------------------------------------------

static json_t *model_part(const json_t *entry)
{
    const json_t *model = json_object_get(entry, "model");
    if (!model)
        return NULL;
    return json_pack("{s:s, s:O, s:O, s:O}", "op", "model", "group", json_object_get(entry, "name"), "path",
                     json_object_get(model, "path"), "text", json_object_get(model, "text"));
}

static int load_behaviour(struct child *c, const json_t *entry, struct error *err)
{
    const json_t *behaviour = json_object_get(entry, "behaviour");
    const char *path, *text, *name;
    if (!behaviour)
        return 0;
    if (json_get_str(entry, "name", "", &name, err) || json_get_str(behaviour, "path", "", &path, err) ||
        json_get_str(behaviour, "text", "", &text, err))
        return -1;
    if (!c->start->run->ops->behaviour_load)
        return error_set(err, ERR_UNSUPPORTED, "%s: nobody runs behaviours here", path);
    return c->start->run->ops->behaviour_load(c->scenario, name, path, text, err);
}

// Everything is looked at before anything is changed: the models here, the behaviours by the director.
static int check_models(struct fleet *fleet, const json_t *groups, struct error *err)
{
    const json_t *entry;
    size_t i;
    int rc = 0;
    json_array_foreach(groups, i, entry)
    {
        json_t *part = rc ? NULL : model_part(entry);
        if (part)
            rc = fleet_change_check(fleet, part, err);
        json_decref(part);
    }
    return rc;
}

static int reload_group(struct applying *a, struct fleet *fleet, const json_t *entry, struct error *err)
{
    json_t *model = model_part(entry);
    int rc = 0;
    if (model) {
        a->parts++;
        rc = fleet_change(fleet, model, part_done, a, err);
        a->parts -= rc != 0;
        json_decref(model);
    }
    if (!rc && json_object_get(entry, "behaviour")) {
        json_t *renew = json_pack("{s:s, s:O}", "op", "renew", "group", json_object_get(entry, "name"));
        rc = load_behaviour(a->c, entry, err);
        a->parts += !rc;
        if (!rc && (rc = fleet_change(fleet, renew, part_done, a, err)))
            a->parts--;
        json_decref(renew);
    }
    return rc;
}

static uint64_t population(const struct fleet *fleet, const json_t *groups)
{
    uint64_t n = 0;
    const json_t *entry;
    size_t i;
    json_array_foreach(groups, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        for (unsigned k = 0; name && k < fleet_group_count(fleet); k++)
            if (strcmp(fleet_group(fleet, k)->config.name, name) == 0)
                n += group_population(fleet_group(fleet, k));
    }
    return n;
}

static void apply_reload(struct applying *a, struct fleet *fleet, const json_t *change)
{
    const json_t *groups = json_object_get(change, "groups"), *entry;
    size_t i;
    int rc = check_models(fleet, groups, &a->error);
    a->answer = json_pack("{s:I}", "affected", (json_int_t)population(fleet, groups));
    a->parts = 1; // this one
    json_array_foreach(groups, i, entry)
    {
        if (!rc)
            rc = reload_group(a, fleet, entry, &a->error);
    }
    part_done(a, NULL, NULL);
}

// ------------------------------------------------------------------------------------------------------------------

static bool is_reload(const json_t *change)
{
    const char *op = json_string_value(json_object_get(change, "op"));
    return op && strcmp(op, "reload") == 0;
}

static bool is_fault(const json_t *change)
{
    return chaos_is_op(json_string_value(json_object_get(change, "op")));
}

void apply_change(struct child *c, struct fleet *fleet, struct chaos *chaos, const json_t *change)
{
    struct applying *a = calloc(1, sizeof(*a));
    if (!a)
        return; // whoever asked runs into its deadline
    a->c = c;
    a->number = json_incref(json_object_get(change, "number"));
    if (!fleet) {
        error_set(&a->error, ERR_STATE, "the shard has no devices yet");
        tell(a);
    } else if (is_reload(change)) {
        apply_reload(a, fleet, change);
    } else if (is_fault(change)) {
        a->parts = 1;
        if (chaos_change(chaos, change, part_done, a, &a->error))
            tell(a);
    } else {
        a->parts = 1;
        if (fleet_change(fleet, (json_t *)(uintptr_t)change, part_done, a, &a->error))
            tell(a);
    }
}

static int again(struct child *c, struct fleet *fleet, struct chaos *chaos, const json_t *change, struct error *err)
{
    const json_t *entry;
    size_t i;
    if (is_fault(change))
        return chaos_change_now(chaos, change, err);
    if (!is_reload(change))
        return fleet_change_now(fleet, (json_t *)(uintptr_t)change, err);
    json_array_foreach(json_object_get(change, "groups"), i, entry)
    {
        json_t *model = model_part(entry);
        int rc = model ? fleet_change_now(fleet, model, err) : 0;
        json_decref(model);
        if (rc || load_behaviour(c, entry, err))
            return -1;
    }
    return 0;
}

void apply_log(struct child *c, struct fleet *fleet, struct chaos *chaos, const json_t *changes)
{
    const json_t *change;
    size_t i;
    json_array_foreach(changes, i, change)
    {
        struct error err = {0};
        if (again(c, fleet, chaos, change, &err))
            log_write(c->log, LOG_WARN, NULL, "a change of the run (%s of group %s) was not made again: %s",
                      json_string_value(json_object_get(change, "op")),
                      json_string_value(json_object_get(change, "group")), err.text);
    }
}
