#include "engine/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"

#define STAGE_DEVICES_MAX 10000000

// --- reading

// It stands in selectors, in lines of progress and in files.
static bool is_name(const char *name)
{
    static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return name && *name && strlen(name) < sizeof(((struct threshold *)0)->stage) && !name[strspn(name, valid)];
}

static int fill_stage(struct plan_stage *s, const json_t *json, struct error *err)
{
    int64_t duration, devices;
    if (!json_is_object(json) || json_get_str(json, "name", NULL, &s->name, err) ||
        json_get_int(json, "duration", 0, &duration, err) || json_get_int(json, "devices", -1, &devices, err))
        return json_is_object(json) ? -1 : error_set(err, ERR_INVALID, "expected an object");
    if (!is_name(s->name))
        return error_set(err, ERR_INVALID, "\"%s\": expected a name of letters, digits, - _ . (at most %zu)",
                         s->name ? s->name : "", sizeof(((struct threshold *)0)->stage) - 1);
    if (duration <= 0 || duration > INT64_MAX / 64)
        return error_set(err, ERR_INVALID, "\"%s\": expected a duration above 0", s->name);
    if (devices < 0 || devices > STAGE_DEVICES_MAX)
        return error_set(err, ERR_INVALID, "\"%s\": devices: expected a whole number from 0 to %d", s->name,
                         STAGE_DEVICES_MAX);
    s->end_us = duration; // from its begin; the caller knows that
    s->devices = (uint64_t)devices;
    return 0;
}

int plan_parse_stages(struct plan *p, struct error *err)
{
    const json_t *list = json_object_get(p->json, "stages");
    size_t n = json_array_size(list);
    int64_t at = 0;
    if (list && !json_is_null(list) && !json_is_array(list) && json_object_size(list))
        return error_set(err, ERR_INVALID, "stages: expected a list");
    if (n > PLAN_STAGES_MAX)
        return error_set(err, ERR_LIMIT, "stages: at most %u, there are %zu", PLAN_STAGES_MAX, n);
    for (p->n_stages = 0; p->n_stages < n; p->n_stages++) {
        struct plan_stage *s = &p->stages[p->n_stages];
        if (fill_stage(s, json_array_get(list, p->n_stages), err))
            return error_prefix(err, "stage %u", p->n_stages + 1);
        for (unsigned i = 0; i < p->n_stages; i++)
            if (strcmp(p->stages[i].name, s->name) == 0)
                return error_set(err, ERR_INVALID, "stage %u: a stage before it is named \"%s\" too", p->n_stages + 1,
                                 s->name);
        s->begin_us = at;
        at = s->end_us += at;
    }
    if (n && !p->duration_us && !p->has_test)
        p->duration_us = at;
    return 0;
}

int plan_stage_at(const struct plan *p, int64_t elapsed_us)
{
    for (unsigned i = 0; i < p->n_stages; i++)
        if (elapsed_us < p->stages[i].end_us)
            return (int)i;
    return -1;
}

int plan_threshold_stage(const struct plan *p, struct threshold *t, struct error *err)
{
    const char *at = t->selector.tags, *names[PLAN_STAGES_MAX + 1] = {0};
    while (*at && strncmp(at, "stage:", 6) != 0)
        at += strcspn(at, ","), at += *at == ',';
    if (!p->n_stages || !*at)
        return 0;
    at += 6;
    snprintf(t->stage, sizeof(t->stage), "%.*s", (int)strcspn(at, ","), at);
    for (unsigned i = 0; i < p->n_stages; i++) {
        names[i] = p->stages[i].name;
        if (strcmp(names[i], t->stage) == 0)
            return 0;
    }
    return name_choose("the threshold's stage", t->stage, names, err) >= 0 ? 0 : -1;
}

// --- launch plans

static bool spreads(const json_t *group, bool all)
{
    const json_t *launch = json_object_get(group, "launch"), *proxies = json_object_get(group, "proxies");
    const char *strategy = json_string_value(json_object_get(launch, "strategy"));
    if (proxies && !json_is_null(proxies))
        return false; // as many as there are physical ones
    return all || !launch || json_is_null(launch) || (!json_object_get(launch, "rate") && !strategy) ||
           (strategy && strcmp(strategy, "immediate") == 0);
}

// The devices of a stage that are a group's, of groups in order: before and up to it have these shares.
static json_int_t portion(json_int_t devices, double before, double upto)
{
    return (json_int_t)(llround((double)devices * upto) - llround((double)devices * before));
}

static int give_launch(json_t *group, const json_t *stages, double before, double upto)
{
    json_t *list = json_array();
    json_int_t peak = 0, most = 0;
    const json_t *stage;
    size_t i, highest = 0;
    json_array_foreach(stages, i, stage)
    {
        json_int_t devices = json_integer_value(json_object_get(stage, "devices")), n = portion(devices, before, upto);
        json_array_append_new(list,
                              json_pack("{s:O, s:I}", "duration", json_object_get(stage, "duration"), "target", n));
        peak = n > peak ? n : peak;
        highest = devices > most ? i : highest;
        most = devices > most ? devices : most;
    }
    if (!peak && json_object_set_new(json_array_get(list, highest), "target", json_integer(peak = 1)))
        return -1; // a small group beside a large one
    return json_object_set_new(group, "count", json_integer(peak)) |
           json_object_set_new(group, "launch", json_pack("{s:s, s:o}", "strategy", "stages", "stages", list));
}

int plan_spread_stages(json_t *plan, bool all, struct error *err)
{
    const json_t *stages = json_object_get(plan, "stages"), *stage;
    json_t *groups = json_object_get(plan, "groups"), *group;
    double total = 0, before = 0;
    bool any = false;
    size_t i;
    if (!json_array_size(stages))
        return 0;
    json_array_foreach(stages, i, stage)
    {
        any |= json_integer_value(json_object_get(stage, "devices")) > 0;
        if (!json_is_integer(json_object_get(stage, "duration")))
            return 0; // said where it is parsed
    }
    if (!any)
        return error_set(err, ERR_INVALID, "stages: no stage has devices");
    json_array_foreach(groups, i, group)
    {
        total += spreads(group, all) ? json_number_value(json_object_get(group, "count")) : 0;
    }
    if (!(total > 0))
        return error_set(err, ERR_INVALID,
                         "stages: every group has a launch plan of its own: leave `launch` out where stages are to say "
                         "how many devices there are");
    json_array_foreach(groups, i, group)
    {
        double upto = before + json_number_value(json_object_get(group, "count")) / total;
        if (!spreads(group, all))
            continue;
        if (give_launch(group, stages, before, upto))
            return error_set(err, ERR_NO_MEMORY, "stages: no memory");
        before = upto;
    }
    return 0;
}

// --- the command line

// "30s:100", "peak=30s:100"
static json_t *read_stage(const char *text, unsigned number, struct error *err)
{
    char name[64], duration[64];
    int64_t us;
    uint64_t devices;
    const char *equals = strchr(text, '='), *at = equals ? equals + 1 : text, *colon = strchr(at, ':');
    snprintf(name, sizeof(name), "stage-%u", number);
    if (equals)
        snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    if (!colon || equals == text || (equals && equals - text >= (ptrdiff_t)sizeof(name)) ||
        colon - at >= (ptrdiff_t)sizeof(duration)) {
        error_set(err, ERR_INVALID,
                  "--stage \"%s\": expected DURATION:DEVICES or NAME=DURATION:DEVICES, such as 30s:100 or peak=5m:10k",
                  text);
        return NULL;
    }
    snprintf(duration, sizeof(duration), "%.*s", (int)(colon - at), at);
    if (duration_parse(duration, false, &us, err) || count_parse(colon + 1, &devices, err)) {
        error_prefix(err, "--stage \"%s\"", text);
        return NULL;
    }
    if (us <= 0) {
        error_set(err, ERR_INVALID, "--stage \"%s\": expected a duration above 0", text);
        return NULL;
    }
    json_t *stage = json_pack("{s:o, s:I, s:I}", "name", json_text_of(name), "duration", (json_int_t)us, "devices",
                              (json_int_t)devices);
    if (!stage)
        error_set(err, ERR_NO_MEMORY, "--stage: no memory");
    return stage;
}

static int take_stages(json_t *plan, const struct plan_overrides *o, struct error *err)
{
    json_t *list = json_array();
    if (json_object_set_new(plan, "stages", list))
        return error_set(err, ERR_NO_MEMORY, "--stage: no memory");
    for (unsigned i = 0; i < o->n_stages; i++) {
        json_t *stage = read_stage(o->stages[i], i + 1, err);
        if (!stage || json_array_append_new(list, stage))
            return -1;
    }
    if (!o->duration_us) // they are as long as the run
        json_object_set_new(plan, "duration", json_null());
    return plan_spread_stages(plan, true, err) ? error_prefix(err, "--stage") : 0;
}

static int take_ramp(json_t *plan, const struct plan_overrides *o, struct error *err)
{
    json_t *group;
    size_t i;
    json_array_foreach(json_object_get(plan, "groups"), i, group)
    {
        double count = json_number_value(json_object_get(group, "count"));
        json_t *launch = json_pack("{s:s, s:f}", "strategy", "linear", "rate", count / ((double)o->ramp_us / 1e6));
        if (json_object_set_new(group, "launch", launch))
            return error_set(err, ERR_NO_MEMORY, "--ramp: no memory");
    }
    return 0;
}

int plan_override_stages(json_t *plan, const struct plan_overrides *o, struct error *err)
{
    if (o->n_stages && take_stages(plan, o, err))
        return -1;
    if (o->ramp_us && take_ramp(plan, o, err))
        return -1;
    if (o->warmup_us && json_object_set_new(plan, "warmup", json_integer(o->warmup_us)))
        return error_set(err, ERR_NO_MEMORY, "--warmup: no memory");
    return 0;
}
