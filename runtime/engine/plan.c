// The plan: JSON in, plain structs out, and the overrides of a run applied to it.
//
// The JSON is the truth and the structs are a view of it: strings point into it. An override edits a copy of the JSON
// and parses that copy again, so that what a shard is sent, what is shown and what is run cannot drift apart, and a
// refused override leaves the plan as it was.
#include "engine/plan.h"
#include "engine/plan_data.h"
#include "engine/plan_launch.h"
#include "engine/plan_target.h"
#include "engine/plan_timeline.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "device/proxy.h"

#define GROUPS_MAX 10000u
#define THRESHOLDS_MAX 1000u
#define DEVICES_MAX 1000000000u // of a group: more is a slip of the keyboard
#define DEFAULT_STOP_TIMEOUT_US 30000000
#define DEFAULT_SETUP_TIMEOUT_US 60000000
#define DEFAULT_MEMORY (1u << 20)
#define DEFAULT_RESTARTS 3

// --- small readers

// As json_get_str, and JSON null is "absent".
static int get_text(const json_t *obj, const char *key, const char *dflt, const char **out, struct error *err)
{
    if (json_is_null(json_object_get(obj, key))) {
        *out = dflt;
        return 0;
    }
    return json_get_str(obj, key, dflt, out, err);
}

static int get_range(const json_t *obj, const char *key, int64_t dflt, int64_t min, int64_t max, int64_t *out,
                     struct error *err)
{
    if (json_is_null(json_object_get(obj, key))) {
        *out = dflt;
        return 0;
    }
    if (json_get_int(obj, key, dflt, out, err) != 0)
        return -1;
    if (*out < min || *out > max)
        return error_set(err, ERR_INVALID, "%s: expected an integer from %lld to %lld, got %lld", key, (long long)min,
                         (long long)max, (long long)*out);
    return 0;
}

// Index of the member's string among `names`.
static int get_choice(const json_t *obj, const char *key, const char *const *names, int dflt, int *out,
                      struct error *err)
{
    const char *text;
    if (get_text(obj, key, NULL, &text, err) != 0)
        return -1;
    *out = dflt;
    if (!text)
        return 0;
    char valid[128] = "";
    size_t used = 0;
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return 0;
        }
        used += (size_t)snprintf(valid + used, sizeof(valid) - used, "%s\"%s\"", i ? ", " : "", names[i]);
    }
    return error_set(err, ERR_INVALID, "%s: \"%s\" is none of %s", key, text, valid);
}

// The member as object or array; absent and null are NULL, and so is an empty one of the other kind: Lua has one empty
// table.
static int get_container(const json_t *obj, const char *key, json_type type, json_t **out, struct error *err)
{
    json_t *v = json_object_get(obj, key);
    *out = NULL;
    if (!v || json_is_null(v))
        return 0;
    if (json_typeof(v) == type)
        *out = v;
    else if (!(json_is_array(v) && json_array_size(v) == 0) && !(json_is_object(v) && json_object_size(v) == 0))
        return error_set(err, ERR_INVALID, "%s: expected an %s", key, type == JSON_OBJECT ? "object" : "array");
    return 0;
}

static int set_member(json_t *obj, const char *key, json_t *stolen, struct error *err)
{
    if (json_object_set_new(obj, key, stolen) == 0)
        return 0;
    return error_set(err, ERR_NO_MEMORY, "%s: no memory", key);
}

// --- groups

// A group's name becomes a tag of its metrics and a part of ids and topics.
static int check_group_name(const char *name, struct error *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > 100)
        return error_set(err, ERR_INVALID, "a group's name has 1 to 100 characters, not %zu", n);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr(",:{}=/+#$", *p))
            return error_set(err, ERR_INVALID,
                             "group name \"%s\": spaces, control characters and , : { } = / + # $ are not allowed",
                             name);
    return 0;
}

static int fill_will(json_t *group, struct group_config *c, json_t **out, struct error *err)
{
    json_t *will;
    if (get_container(group, "will", JSON_OBJECT, &will, err) != 0)
        return -1;
    *out = will;
    if (will) {
        int64_t qos;
        bool retain;
        if (get_text(will, "topic", NULL, &c->will_topic, err) != 0 ||
            get_text(will, "payload", "", &c->will_payload, err) != 0 ||
            get_range(will, "qos", 0, 0, 2, &qos, err) != 0 || json_get_bool(will, "retain", false, &retain, err) != 0)
            return error_prefix(err, "will");
        if (!c->will_topic || !*c->will_topic)
            return error_set(err, ERR_INVALID, "will: expected a topic");
    }
    return 0;
}

static int fill_identity(const json_t *group, struct group_config *c, struct error *err)
{
    static const char *const on_error[] = {"stop", "restart", "fail", NULL};
    int64_t restarts;
    int policy;
    if (get_text(group, "id", "${groupId}-${index}", &c->id_pattern, err) != 0 ||
        get_text(group, "client_id", NULL, &c->client_id_pattern, err) != 0 ||
        get_text(group, "topics", "${groupId}/${deviceId}", &c->topic_base, err) != 0 ||
        get_text(group, "username", NULL, &c->username, err) != 0 ||
        get_text(group, "password", NULL, &c->password, err) != 0 ||
        get_choice(group, "on_error", on_error, ON_ERROR_STOP, &policy, err) != 0 ||
        get_range(group, "max_restarts", DEFAULT_RESTARTS, 0, 1000000, &restarts, err) != 0)
        return -1;
    c->on_error = (enum on_error)policy;
    c->max_restarts = (unsigned)restarts;
    return 0;
}

static int fill_group(struct plan *p, struct plan_group *g, json_t *json, unsigned place, struct error *err)
{
    struct group_config *c = &g->config;
    int64_t count, declared, number, memory, line, qos;
    json_t *will;
    if (get_range(json, "line", 0, 0, INT32_MAX, &line, err) != 0)
        return -1;
    g->line = (int)line;
    if (get_text(json, "name", NULL, &c->name, err) != 0)
        return -1;
    if (!c->name)
        return error_set(err, ERR_INVALID, "group %u: expected a name", place + 1);
    if (check_group_name(c->name, err) != 0)
        return -1;
    if (!json_object_get(json, "count"))
        return error_set(err, ERR_INVALID, "count: expected how many devices");
    if (get_range(json, "count", 0, 1, DEVICES_MAX, &count, err) != 0 ||
        get_range(json, "declared", count, 1, DEVICES_MAX, &declared, err) != 0 ||
        get_range(json, "number", place, 0, INT32_MAX, &number, err) != 0 ||
        get_range(json, "memory", DEFAULT_MEMORY, 1024, (int64_t)1 << 40, &memory, err) != 0 ||
        get_range(json, "qos", 0, 0, 2, &qos, err) != 0 || get_text(json, "model", NULL, &g->model_path, err) != 0 ||
        json_get_bool(json, "behaviour", false, &c->behaviour, err) != 0)
        return -1;
    c->count = (uint64_t)count;
    if (plan_parse_launch(g, json, err) != 0 || fill_identity(json, c, err) != 0 ||
        fill_will(json, c, &will, err) != 0 || plan_parse_data(g, json, err) != 0)
        return -1;
    c->proxies = json_object_get(json, "proxies");
    if (stamp_rule_parse(json_object_get(json, "stamp"), &c->stamp, err) != 0)
        return -1;
    if (json_is_null(c->proxies))
        c->proxies = NULL;
    // ${data.…} is looked at when the file is open.
    if (c->proxies && !g->data_path && proxies_check(c->proxies, c->count, err) != 0)
        return -1;
    if (!g->model_path && !c->behaviour && !c->proxies)
        return error_set(err, ERR_INVALID, "neither a model nor a behaviour: its devices would have nothing to do");
    if (g->model_path && !json_is_object(json_object_get(json_object_get(p->json, "models"), g->model_path)))
        return error_set(err, ERR_INVALID, "model \"%s\" is not among the plan's models", g->model_path);
    // Written back, so that they outlive --only and overridden counts in every process that parses this JSON.
    if (set_member(json, "declared", json_integer(declared), err) != 0 ||
        set_member(json, "number", json_integer(number), err) != 0)
        return -1;
    if (plan_parse_url(p, g, json, will, err) != 0)
        return -1;
    c->credentials = json_object_get(json, "credentials");
    if (json_is_null(c->credentials))
        c->credentials = NULL;
    c->number = (unsigned)number;
    c->qos = (int)qos;
    g->declared = (uint64_t)declared;
    g->memory_bytes = (uint64_t)memory;
    return 0;
}

// "fleet.lua:12: " in front of what is wrong with a thing of the scenario.
static int prefix_place(const struct plan *p, int line, const char *what, const char *name, struct error *err)
{
    if (name)
        error_prefix(err, "%s \"%.100s\"", what, name);
    return line > 0 ? error_prefix(err, "%s:%d", p->file, line) : error_prefix(err, "%s", p->file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct plan_group *const *)a)->config.name,
                  (*(const struct plan_group *const *)b)->config.name);
}

static int check_unique(const struct plan *p, struct error *err)
{
    const struct plan_group **sorted = malloc(p->n_groups * sizeof(*sorted));
    if (!sorted)
        return error_set(err, ERR_NO_MEMORY, "groups: no memory");
    for (unsigned i = 0; i < p->n_groups; i++)
        sorted[i] = &p->groups[i];
    qsort(sorted, p->n_groups, sizeof(*sorted), by_name);
    int rc = 0;
    for (unsigned i = 1; i < p->n_groups && rc == 0; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0) {
            const struct plan_group *a = sorted[i - 1], *b = sorted[i];
            error_set(err, ERR_INVALID, "two groups are named \"%s\" (lines %d and %d)", a->config.name,
                      a->line < b->line ? a->line : b->line, a->line < b->line ? b->line : a->line);
            rc = prefix_place(p, a->line < b->line ? b->line : a->line, "group", NULL, err);
        }
    free(sorted);
    return rc;
}

static int fill_groups(struct plan *p, struct error *err)
{
    json_t *groups;
    if (get_container(p->json, "groups", JSON_ARRAY, &groups, err) != 0)
        return error_prefix(err, "%s", p->file);
    size_t n = json_array_size(groups);
    if (n == 0)
        return error_set(err, ERR_INVALID,
                         "%s: the scenario has no groups; groups = { iotix.group{...} } names at least one", p->file);
    if (n > GROUPS_MAX)
        return error_set(err, ERR_LIMIT, "%s: %zu groups, at most %u are possible", p->file, n, GROUPS_MAX);
    p->groups = calloc(n, sizeof(*p->groups));
    if (!p->groups)
        return error_set(err, ERR_NO_MEMORY, "%s: no memory for %zu groups", p->file, n);
    for (; p->n_groups < n; p->n_groups++) {
        struct plan_group *g = &p->groups[p->n_groups];
        json_t *json = json_array_get(groups, p->n_groups);
        if (!json_is_object(json))
            return error_set(err, ERR_INVALID, "%s: group %u: expected an object", p->file, p->n_groups + 1);
        if (fill_group(p, g, json, p->n_groups, err) != 0)
            return prefix_place(p, g->line, "group", g->config.name, err);
    }
    return check_unique(p, err);
}

// --- thresholds

// The value of a tag in canonical tags ("group:sensors,reason:timeout"); false when the tag is not there.
static bool tag_value(const char *tags, const char *key, char *out, size_t size)
{
    size_t k = strlen(key);
    for (const char *p = tags; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, key, k) == 0 && p[k] == ':') {
            snprintf(out, size, "%.*s", (int)strcspn(p + k + 1, ","), p + k + 1);
            return true;
        }
    return false;
}

static const struct plan_group *find_group(const struct plan *p, const char *name)
{
    for (unsigned i = 0; i < p->n_groups; i++)
        if (strcmp(p->groups[i].config.name, name) == 0)
            return &p->groups[i];
    return NULL;
}

// "sensors, gateways, …": as many as fit.
static const char *list_groups(const struct plan *p, char *dst, size_t size)
{
    size_t used = 0;
    dst[0] = '\0';
    for (unsigned i = 0; i < p->n_groups; i++) {
        const char *name = p->groups[i].config.name;
        if (used + strlen(name) + 8 > size) {
            snprintf(dst + used, size - used, ", ...");
            break;
        }
        used += (size_t)snprintf(dst + used, size - used, "%s%s", i ? ", " : "", name);
    }
    return dst;
}

static const char *suggest_group(const struct plan *p, const char *name)
{
    const char **names = calloc(p->n_groups + 1, sizeof(*names));
    if (!names)
        return NULL;
    for (unsigned i = 0; i < p->n_groups; i++)
        names[i] = p->groups[i].config.name;
    const char *near = suggest(name, names);
    free(names);
    return near;
}

static int fill_threshold(const struct plan *p, struct threshold *t, const json_t *json, struct error *err)
{
    static const char *const no_data[] = {"fail", "pass", NULL}, *const units[] = {"", "time", "bytes", NULL};
    const char *metric, *expr;
    int64_t line, delay;
    int policy, unit;
    bool aborts;
    double baseline;
    if (get_text(json, "metric", NULL, &metric, err) != 0 || get_text(json, "expr", NULL, &expr, err) != 0 ||
        get_range(json, "line", 0, 0, INT32_MAX, &line, err) != 0 ||
        json_get_bool(json, "abort", false, &aborts, err) != 0 ||
        get_range(json, "delay_abort", 0, 0, INT64_MAX / 4, &delay, err) != 0 ||
        get_choice(json, "no_data", no_data, 0, &policy, err) != 0 ||
        get_choice(json, "baseline_unit", units, 0, &unit, err) != 0 ||
        json_get_num(json, "baseline", 0, &baseline, err) != 0)
        return -1;
    if (!metric || !expr)
        return error_set(err, ERR_INVALID, "expected a metric and an expression such as \"p95 < 200ms\"");
    if (threshold_parse(metric, expr, t, err) != 0 || threshold_check(t, err) != 0 ||
        threshold_check_user(t, json_object_get(p->json, "metrics"), err) != 0)
        return -1;
    char group[sizeof(t->selector.tags)];
    if (tag_value(t->selector.tags, "group", group, sizeof(group)) && !find_group(p, group)) {
        char valid[200];
        const char *near = suggest_group(p, group);
        return error_set(err, ERR_INVALID, "threshold on \"%s\": there is no group \"%s\"%s%s%s; the groups are %s",
                         metric, group, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                         list_groups(p, valid, sizeof(valid)));
    }
    if (json_object_get(json, "baseline"))
        threshold_resolve(t, baseline, (enum metric_unit)unit);
    if (plan_threshold_stage(p, t, err) != 0)
        return -1;
    t->abort = aborts;
    t->delay_abort_us = delay;
    t->no_data_passes = policy == 1;
    t->line = (int)line;
    return 0;
}

static int fill_thresholds(struct plan *p, struct error *err)
{
    json_t *list;
    if (get_container(p->json, "thresholds", JSON_ARRAY, &list, err) != 0)
        return error_prefix(err, "%s", p->file);
    size_t n = json_array_size(list);
    if (n == 0)
        return 0;
    if (n > THRESHOLDS_MAX)
        return error_set(err, ERR_LIMIT, "%s: %zu thresholds, at most %u are possible", p->file, n, THRESHOLDS_MAX);
    p->thresholds = calloc(n, sizeof(*p->thresholds));
    if (!p->thresholds)
        return error_set(err, ERR_NO_MEMORY, "%s: no memory for %zu thresholds", p->file, n);
    for (; p->n_thresholds < n; p->n_thresholds++) {
        const json_t *json = json_array_get(list, p->n_thresholds);
        if (!json_is_object(json))
            return error_set(err, ERR_INVALID, "%s: threshold %u: expected an object", p->file, p->n_thresholds + 1);
        if (fill_threshold(p, &p->thresholds[p->n_thresholds], json, err) != 0) {
            const json_t *line = json_object_get(json, "line");
            return prefix_place(p, json_is_integer(line) ? (int)json_integer_value(line) : 0, "threshold", NULL, err);
        }
    }
    return 0;
}

// --- the whole

static int fill_head(struct plan *p, struct error *err)
{
    static const char *const on_lost[] = {"restart", "fail", NULL};
    const json_t *json = p->json;
    json_t *models;
    int64_t seed = 0, connections;
    int policy;
    p->file = "scenario";
    if (get_text(json, "file", "scenario", &p->file, err) != 0)
        return -1;
    if (get_text(json, "name", NULL, &p->name, err) != 0 || get_text(json, "sha256", "", &p->sha256, err) != 0 ||
        get_text(json, "broker", "embedded", &p->broker, err) != 0 ||
        get_range(json, "duration", 0, 0, INT64_MAX / 4, &p->duration_us, err) != 0 ||
        get_range(json, "seed", 0, INT64_MIN, INT64_MAX, &seed, err) != 0 ||
        get_range(json, "stop_timeout", DEFAULT_STOP_TIMEOUT_US, 0, INT64_MAX / 4, &p->stop_timeout_us, err) != 0 ||
        get_range(json, "connections", 0, 0, 1000000, &connections, err) != 0 ||
        get_choice(json, "on_shard_lost", on_lost, 0, &policy, err) != 0 ||
        json_get_bool(json, "has_test", false, &p->has_test, err) != 0 ||
        json_get_bool(json, "has_setup", false, &p->has_setup, err) != 0 ||
        json_get_bool(json, "has_teardown", false, &p->has_teardown, err) != 0 ||
        get_range(json, "setup_timeout", DEFAULT_SETUP_TIMEOUT_US, 1, INT64_MAX / 4, &p->setup_timeout_us, err) != 0 ||
        get_range(json, "teardown_timeout", DEFAULT_SETUP_TIMEOUT_US, 1, INT64_MAX / 4, &p->teardown_timeout_us, err) !=
            0 ||
        get_range(json, "warmup", 0, 0, INT64_MAX / 4, &p->warmup_us, err) != 0 ||
        get_container(json, "models", JSON_OBJECT, &models, err) != 0 || plan_parse_stages(p, err) != 0)
        return error_prefix(err, "%s", p->file);
    p->names_broker = json_is_string(json_object_get(json, "broker"));
    p->has_seed = json_is_number(json_object_get(json, "seed"));
    p->seed = (uint64_t)seed;
    p->connections = (unsigned)connections;
    p->restart_lost_shard = policy == 0;
    if (!p->name || !*p->name)
        return error_set(err, ERR_INVALID, "%s: name: expected the scenario's name", p->file);
    if (plan_check_url(p->broker, err) != 0)
        return error_prefix(err, "%s: broker", p->file);
    return plan_parse_targets(p, err) == 0 ? 0 : error_prefix(err, "%s", p->file);
}

static int fill(struct plan *p, struct error *err)
{
    if (!json_is_object(p->json))
        return error_set(err, ERR_INVALID, "plan: expected a JSON object");
    if (fill_head(p, err) != 0 || fill_groups(p, err) != 0 || fill_thresholds(p, err) != 0 ||
        plan_parse_timeline(p, err) != 0 || plan_parse_sinks(p, err) != 0 || plan_parse_ledger(p, err) != 0)
        return -1;
    p->directs |= p->has_test || p->has_setup || p->has_teardown;
    if (p->warmup_us && p->duration_us && p->warmup_us >= p->duration_us)
        return error_set(err, ERR_INVALID, "%s: the warmup takes all of the duration: nothing would be measured",
                         p->file);
    if (p->duration_us == 0 && !p->has_test)
        return error_set(
            err, ERR_INVALID,
            "%s: the scenario has neither a duration nor a test: it would never end; give it duration = \"30s\"",
            p->file);
    return 0;
}

// Frees what hangs off the plan; the plan itself stays.
static void release(struct plan *p)
{
    for (unsigned i = 0; i < p->n_models; i++)
        model_delete(p->models[i]);
    free(p->models);
    plan_release_data(p);
    plan_release_launch(p);
    plan_release_timeline(p);
    plan_release_sinks(p);
    plan_release_ledger(p);
    free(p->thresholds);
    free(p->groups);
    json_decref(p->json);
}

struct plan *plan_parse(json_t *json, struct error *err)
{
    struct plan *p = json ? calloc(1, sizeof(*p)) : NULL;
    if (!p) {
        error_set(err, ERR_NO_MEMORY, "plan: no memory");
        json_decref(json);
        return NULL;
    }
    p->json = json;
    if (fill(p, err) == 0)
        return p;
    plan_delete(p);
    return NULL;
}

void plan_delete(struct plan *plan)
{
    if (!plan)
        return;
    release(plan);
    free(plan);
}

uint64_t plan_devices(const struct plan *plan)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < plan->n_groups; i++)
        sum += plan->groups[i].config.count;
    return sum;
}

// --- models

static struct model *load_model(const struct plan *p, const char *path, struct error *err)
{
    const char *text;
    const json_t *entry = json_object_get(json_object_get(p->json, "models"), path);
    if (get_text(entry, "text", NULL, &text, err) != 0) {
        error_prefix(err, "models: %s", path);
        return NULL;
    }
    if (!text) {
        error_set(err, ERR_INVALID, "models: %s: expected the model's text", path);
        return NULL;
    }
    return model_parse(text, strlen(text), path, &p->model_env, err);
}

// Data files of models lie beside the model or the scenario.
static void set_model_env(struct plan *p)
{
    p->model_dirs[0] = p->model_dir;
    p->model_env = (struct model_env){.datasets = p->datasets, .dirs = p->model_dirs};
    p->model_env.n_dirs = path_dirname(p->file, p->model_dir, sizeof(p->model_dir)) == 0;
}

int plan_load_models(struct plan *plan, struct error *err)
{
    if (plan->models)
        return 0;
    if (plan_open_data(plan, err) != 0)
        return -1;
    set_model_env(plan);
    plan->models = calloc(plan->n_groups, sizeof(struct model *));
    if (!plan->models)
        return error_set(err, ERR_NO_MEMORY, "models: no memory");
    json_t *groups = json_object_get(plan->json, "groups");
    for (unsigned i = 0; i < plan->n_groups; i++) {
        struct plan_group *g = &plan->groups[i];
        if (!g->model_path)
            continue;
        for (unsigned j = 0; j < i && !g->config.model; j++) // groups that share a model share its struct
            if (plan->groups[j].model_path && strcmp(plan->groups[j].model_path, g->model_path) == 0)
                g->config.model = plan->groups[j].config.model;
        if (!g->config.model) {
            struct model *m = load_model(plan, g->model_path, err);
            if (!m)
                return prefix_place(plan, g->line, "group", g->config.name, err);
            plan->models[plan->n_models++] = m;
            g->config.model = m;
        }
        if (!json_is_number(json_object_get(json_array_get(groups, i), "qos")))
            g->config.qos = g->config.model->qos;
    }
    return 0;
}

// --- secrets

static int secret_of(const struct plan *p, const struct plan_group *g, const char *name, const struct secrets *secrets,
                     const char **out, struct error *err)
{
    *out = NULL;
    if (!name || g->config.password)
        return 0;
    *out = secrets_find(secrets, name, err);
    if (*out)
        return 0;
    error_prefix(err, "%s: /connection/passwordRef", g->model_path);
    return prefix_place(p, g->line, "group", g->config.name, err);
}

int plan_take_secrets(struct plan *plan, const struct secrets *secrets, struct error *err)
{
    for (unsigned i = 0; i < plan->n_groups; i++) {
        struct plan_group *g = &plan->groups[i];
        if (g->config.model && secret_of(plan, g, g->config.model->password_ref, secrets, &g->config.secret, err))
            return -1;
    }
    return 0;
}

int plan_check_secrets(const struct plan *plan, const struct secrets *secrets, struct error *err)
{
    const json_t *models = json_object_get(plan->json, "models");
    for (unsigned i = 0; i < plan->n_groups; i++) {
        const struct plan_group *g = &plan->groups[i];
        const json_t *model = g->model_path ? json_object_get(models, g->model_path) : NULL;
        const char *secret, *name = json_string_value(json_object_get(model, "credential"));
        if (secret_of(plan, g, name, secrets, &secret, err))
            return -1;
    }
    return 0;
}

// --- overrides

// "--devices 500" or, when it did not come as a flag, "--devices 500 (from IOTIX_DEVICES)".
static const char *option_text(char *dst, size_t size, const char *option, const char *value, const char *from)
{
    bool flag = !from || strncmp(from, "flag", 4) == 0;
    snprintf(dst, size, "%s %s%s%s%s", option, value, flag ? "" : " (from ", flag ? "" : from, flag ? "" : ")");
    return dst;
}

static bool is_kept(const struct plan_overrides *o, const char *name)
{
    for (unsigned i = 0; i < o->n_only; i++)
        if (strcmp(o->only[i], name) == 0)
            return true;
    return o->n_only == 0;
}

static bool keeps(const void *overrides, const char *name)
{
    return is_kept(overrides, name);
}

static int apply_only(const struct plan *p, json_t *json, const struct plan_overrides *o, struct error *err)
{
    char valid[200];
    for (unsigned i = 0; i < o->n_only; i++)
        if (!find_group(p, o->only[i])) {
            const char *near = suggest_group(p, o->only[i]);
            return error_set(err, ERR_INVALID, "--only %s: %s has no such group%s%s%s; its groups are %s", o->only[i],
                             p->file, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                             list_groups(p, valid, sizeof(valid)));
        }
    json_t *groups = json_object_get(json, "groups");
    for (size_t i = json_array_size(groups); i-- > 0;)
        if (!is_kept(o, p->groups[i].config.name))
            json_array_remove(groups, i);
    plan_only_timeline(p, json, keeps, o);
    // A threshold on a group that does not run could only report "no data".
    json_t *thresholds = json_object_get(json, "thresholds");
    for (size_t i = p->n_thresholds; i-- > 0;) {
        char group[sizeof(p->thresholds[i].selector.tags)];
        if (tag_value(p->thresholds[i].selector.tags, "group", group, sizeof(group)) && !is_kept(o, group))
            json_array_remove(thresholds, i);
    }
    return 0;
}

static int apply_devices(const struct plan *p, json_t *json, const struct plan_overrides *o, struct error *err)
{
    char value[24], text[128];
    json_t *groups = json_object_get(json, "groups");
    size_t n = json_array_size(groups);
    snprintf(value, sizeof(value), "%llu", (unsigned long long)o->devices);
    option_text(text, sizeof(text), "--devices", value, o->devices_from);
    if (o->devices == 0 || o->devices > DEVICES_MAX)
        return error_set(err, ERR_INVALID, "%s: expected 1 to %u devices", text, DEVICES_MAX);
    if (n > 1) {
        uint64_t total = 0;
        for (size_t i = 0; i < n; i++)
            total += (uint64_t)json_integer_value(json_object_get(json_array_get(groups, i), "count"));
        const json_t *first = json_array_get(groups, 0);
        long long line = json_integer_value(json_object_get(first, "line"));
        char place[24] = "";
        if (line > 0)
            snprintf(place, sizeof(place), ":%lld", line);
        return error_set(err, ERR_INVALID, "%s: %s%s defines %zu groups; use --scale %.2g or --only %s --devices %s",
                         text, p->file, place, n, (double)o->devices / (double)total,
                         json_string_value(json_object_get(first, "name")), value);
    }
    json_t *group = json_array_get(groups, 0);
    const struct plan_group *g = find_group(p, json_string_value(json_object_get(group, "name")));
    if (set_member(group, "count", json_integer((json_int_t)o->devices), err) != 0)
        return -1;
    return plan_fit_stages(group, g, o->devices, err);
}

static int apply_scale(const struct plan *p, json_t *json, const struct plan_overrides *o, struct error *err)
{
    char value[24], text[128];
    snprintf(value, sizeof(value), "%g", o->scale);
    option_text(text, sizeof(text), "--scale", value, o->scale_from);
    if (!(o->scale > 0) || !isfinite(o->scale))
        return error_set(err, ERR_INVALID, "%s: expected a factor above 0, such as 0.5", text);
    if (o->has_devices)
        return error_set(err, ERR_INVALID, "%s: --devices %llu sets the count already; give one of the two", text,
                         (unsigned long long)o->devices);
    json_t *groups = json_object_get(json, "groups");
    for (size_t i = 0; i < json_array_size(groups); i++) {
        json_t *json_group = json_array_get(groups, i);
        const struct plan_group *g = find_group(p, json_string_value(json_object_get(json_group, "name")));
        double count = round((double)g->config.count * o->scale);
        if (count > DEVICES_MAX)
            return error_set(err, ERR_INVALID, "%s: group \"%s\" would have %.0f devices, at most %u are possible",
                             text, g->config.name, count, DEVICES_MAX);
        if (set_member(json_group, "count", json_integer(count < 1 ? 1 : (json_int_t)count), err) != 0 ||
            plan_scale_launch(json_group, g, o->scale, err) != 0)
            return -1;
    }
    return 0;
}

// Which of the scenario's targets a URL of the command line takes the place of, by its protocol.
static const char *target_key(const char *url)
{
    char other[16];
    const char *protocol = url_protocol(url, other, sizeof(other));
    return strcmp(protocol, "http") == 0 ? "http" : strcmp(protocol, "coap") == 0 ? "coap" : "broker";
}

static int apply_target(const struct plan *p, json_t *json, const char *url, const char *from, struct error *err)
{
    if (plan_check_url(url, err) != 0)
        return error_prefix(err, "--broker");
    const char *key = target_key(url);
    const struct plan_group *own = NULL;
    unsigned n = 0, n_own = 0;
    for (unsigned i = 0; i < p->n_groups; i++) {
        const struct plan_group *g = &p->groups[i];
        const json_t *groups = json_object_get(json, "groups");
        bool kept = false; // by --only
        for (size_t k = 0; k < json_array_size(groups) && !kept; k++)
            kept = strcmp(json_string_value(json_object_get(json_array_get(groups, k), "name")), g->config.name) == 0;
        if (!kept || (!g->own_url && strcmp(target_key(g->config.url), key) != 0))
            continue;
        n++;
        n_own += g->own_url;
        own = g->own_url && !own ? g : own;
    }
    if (n == 0)
        return error_set(err, ERR_INVALID, "--broker (%s) has no effect: no group of %s speaks %s",
                         from ? from : "flag", p->file, strcmp(key, "broker") == 0 ? "mqtt" : key);
    if (n_own == n)
        return error_set(
            err, ERR_INVALID, "--broker (%s) has no effect: %s:%d: group \"%s\"%s names a broker of its own",
            from ? from : "flag", p->file, own->line, own->config.name, n > 1 ? ", like every other," : "");
    return set_member(json, key, json_string(url), err);
}

static int apply(const struct plan *p, json_t *json, const struct plan_overrides *o, struct error *err)
{
    if (apply_only(p, json, o, err) != 0)
        return -1;
    if (o->scale != 0 && apply_scale(p, json, o, err) != 0)
        return -1;
    if (o->has_devices && apply_devices(p, json, o, err) != 0)
        return -1;
    if (o->broker && apply_target(p, json, o->broker, o->broker_from, err) != 0)
        return -1;
    if (o->duration_us != 0) {
        if (o->duration_us < 0)
            return error_set(err, ERR_INVALID, "--duration: expected a duration above 0");
        if (set_member(json, "duration", json_integer(o->duration_us), err) != 0)
            return -1;
    }
    if (o->has_seed && set_member(json, "seed", json_integer((json_int_t)o->seed), err) != 0)
        return -1;
    if (o->stop_timeout_us != 0 || o->stop_timeout_from) {
        if (o->stop_timeout_us < 0)
            return error_set(err, ERR_INVALID, "--stop-timeout: expected a duration of 0 or more");
        if (set_member(json, "stop_timeout", json_integer(o->stop_timeout_us), err) != 0)
            return -1;
    }
    return plan_override_stages(json, o, err);
}

int plan_override(struct plan *plan, const struct plan_overrides *o, struct error *err)
{
    json_t *json = json_deep_copy(plan->json);
    if (!json)
        return error_set(err, ERR_NO_MEMORY, "plan: no memory");
    if (apply(plan, json, o, err) != 0) {
        json_decref(json);
        return -1;
    }
    struct plan *fresh = plan_parse(json, err);
    if (!fresh)
        return -1;
    bool had_models = plan->models != NULL;
    release(plan);
    *plan = *fresh;
    free(fresh);
    return had_models ? plan_load_models(plan, err) : 0;
}
