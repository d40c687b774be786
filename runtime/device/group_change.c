// Changes of running groups: a queue of jobs, each worked off a few hundred devices a turn, so that stopping ten
// thousand devices does not hold up the rest.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "device/change.h"
#include "device/internal.h"
#include "device/selection.h"

enum { JOBS_MAX = 1024, CHANGES_A_TURN = 256, WAIT_US = 5000, COUNT_MAX = 1000000000 };

struct change_job;
struct change_op {
    const char *name;
    const char *const *keys; // besides those that every change has
    int (*check)(struct group *g, const json_t *change, struct error *err);
    // One of the two: devices one by one (whether it is about this one now; then the act), or the group as a whole.
    bool (*about)(const struct device *d);
    void (*act)(struct device *d, const json_t *change);
    int (*whole)(struct change_job *job, struct error *err); // 1: not yet done, call again
};

struct change_job {
    struct change_job *next;
    struct group *group;
    const struct change_op *op;
    json_t *change;
    group_change_fn *fn;
    void *arg;
    bool begun;
    slot_id *ids; // of the devices it is about
    uint64_t n, next_device, affected;
    json_t *answer; // status
};

// --- which devices ------------------------------------------------------------------------------------------------

static int choose(struct change_job *job, struct error *err)
{
    const struct group *g = job->group;
    struct selection selection;
    if (selection_create(&selection, g, job->change, err))
        return -1;
    job->ids = malloc((g->owned ? g->owned : 1) * sizeof(*job->ids));
    for (uint64_t i = 0; job->ids && i < g->owned; i++) {
        const struct device *d = g->devices[i];
        if (d && !(d->flags & FLAG_DESTROY) && d->index <= g->config.count && selection_has(&selection, d->index) &&
            job->op->about(d))
            job->ids[job->n++] = d->id;
    }
    selection_destroy(&selection);
    return job->ids
               ? 0
               : error_set(err, ERR_NO_MEMORY, "no memory for a change of %llu devices", (unsigned long long)g->owned);
}

static int check_selection(struct group *g, const json_t *change, struct error *err)
{
    return selection_check(change, g->config.count, err);
}

// --- device by device ---------------------------------------------------------------------------------------------

static bool runs(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

static bool may_stop(const struct device *d)
{
    return runs(d) || d->state == DEVICE_CREATED || d->retry;
}

static bool may_start(const struct device *d)
{
    return d->state == DEVICE_CREATED || d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR;
}

static bool was_started(const struct device *d)
{
    return d->state != DEVICE_CREATED;
}

static bool there(const struct device *d)
{
    (void)d;
    return true;
}

static void stop(struct device *d, const json_t *change)
{
    const char *mode = json_string_value(json_object_get(change, "mode"));
    device_undrop(d);
    device_stop(d, mode && !strcmp(mode, "abrupt") ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
}

static void start(struct device *d, const json_t *change)
{
    (void)change;
    device_undrop(d);
    (void)!device_restart(d, NULL); // ERR_CANCELLED: the run ends
}

static void destroy(struct device *d, const json_t *change)
{
    (void)change;
    device_destroy(d);
}

static void renew(struct device *d, const json_t *change)
{
    (void)change;
    device_renew(d);
}

static int check_stop(struct group *g, const json_t *change, struct error *err)
{
    const char *mode;
    if (json_get_str(change, "mode", "graceful", &mode, err))
        return -1;
    if (strcmp(mode, "graceful") != 0 && strcmp(mode, "abrupt") != 0)
        return error_set(err, ERR_INVALID, "mode: \"%.40s\" is none of graceful, abrupt", mode);
    return selection_check(change, g->config.count, err);
}

// --- the group as a whole -----------------------------------------------------------------------------------------

static bool has_index(const struct group *g)
{
    const char *id = g->config.id_pattern;
    return !id || g->ids_from_data || strstr(id, "{index}");
}

static int check_scale(struct group *g, const json_t *change, struct error *err)
{
    const json_t *count = json_object_get(change, "count");
    double n = json_number_value(count);
    if (!json_is_number(count) || n < 1 || n > COUNT_MAX || n != floor(n))
        return error_set(err, ERR_INVALID, "count: expected a whole number of devices, 1 or more");
    if (n > 1 && !has_index(g))
        return error_set(err, ERR_INVALID, "id \"%s\" must contain ${index}: several devices would have the same id",
                         g->config.id_pattern);
    if (n > (double)g->config.count && group_check_data(g, (uint64_t)n, err))
        return -1;
    if (g->config.launch.strategy == LAUNCH_STAGES && group_launching(g))
        return error_set(err, ERR_STATE, "its launch stages say how many devices are up until the last one is over");
    return 0;
}

static void shrink(struct change_job *job, uint64_t count)
{
    struct group *g = job->group;
    uint64_t keep = ownership_count(&g->fleet->config.owner, count);
    g->config.count = count;
    for (uint64_t i = g->owned; i-- > keep;) {
        struct device *d = g->devices[i];
        if (!d || d->flags & FLAG_DESTROY)
            continue;
        job->affected++;
        device_destroy(d);
    }
    while (g->owned > keep && !g->devices[g->owned - 1])
        g->owned--;
    if (g->launch_next > g->owned)
        g->launch_next = g->owned;
}

static int grow(struct change_job *job, uint64_t count, struct error *err)
{
    struct group *g = job->group;
    uint64_t before = g->config.count, owned = g->owned;
    int64_t at_us = json_integer_value(json_object_get(job->change, "at_us"));
    if (group_make_devices(g, count, err))
        return -1;
    g->config.count = count;
    job->affected += g->owned - owned;
    return group_launch_more(g, before, count - before, at_us, err);
}

// Those that are going leave their places first: a group that is made smaller and larger again gets new devices there.
static int scale(struct change_job *job, struct error *err)
{
    struct group *g = job->group;
    uint64_t count = (uint64_t)json_number_value(json_object_get(job->change, "count"));
    if (count < g->config.count)
        shrink(job, count);
    if (g->owned > ownership_count(&g->fleet->config.owner, g->config.count))
        return 1;
    return count > g->config.count ? grow(job, count, err) : 0;
}

static int check_dropout(struct group *g, const json_t *change, struct error *err)
{
    struct dropout spec;
    const json_t *devices = json_object_get(change, "devices");
    json_t *selection = devices ? json_pack("{s:O}", "devices", devices) : NULL;
    int rc = selection ? selection_check(selection, g->config.count, err) : 0;
    json_decref(selection);
    return rc ? -1 : dropout_parse(json_object_get(change, "dropout"), &spec, err);
}

#define KEYED (UINT64_C(1) << 62) // dropouts with a key, apart from those that have a number

static int drop(struct change_job *job, struct error *err)
{
    struct dropout spec;
    int64_t at_us = json_integer_value(json_object_get(job->change, "at_us"));
    uint64_t number = (uint64_t)json_integer_value(json_object_get(job->change, "number"));
    const json_t *key = json_object_get(job->change, "key");
    if (dropout_parse(json_object_get(job->change, "dropout"), &spec, err))
        return -1;
    number += job->group->config.n_dropouts; // the declared ones are the first
    return group_dropout(job->group, &spec, job->change, key ? KEYED | (uint64_t)json_integer_value(key) : number, key,
                         spec.timed && spec.at_us > at_us ? spec.at_us : at_us, &job->affected, err);
}

static int check_return(struct group *g, const json_t *change, struct error *err)
{
    (void)g;
    return json_is_integer(json_object_get(change, "key")) ? 0 : error_set(err, ERR_INVALID, "key: expected a number");
}

static int bring_back(struct change_job *job, struct error *err)
{
    uint64_t key = (uint64_t)json_integer_value(json_object_get(job->change, "key"));
    return group_dropout_end(job->group, KEYED | key, &job->affected, err);
}

// --- the model ----------------------------------------------------------------------------------------------------

static int no_model(const struct group *g, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "group %s has no model with telemetry: its behaviour makes its messages",
                     g->config.name);
}

static int check_attribute(const struct group *g, const char *name, struct error *err)
{
    const struct model *m = g->config.model;
    const char *names[257] = {0};
    struct buf list;
    if (model_slot(m, name) >= 0)
        return 0;
    buf_create(&list, 400);
    for (unsigned i = 0; i < m->n_attributes && i < 256; i++) {
        names[i] = m->names[i];
        if (buf_printf(&list, "%s%s", i ? ", " : "", names[i]))
            break;
    }
    const char *near = suggest(name, names);
    error_set(err, ERR_NOT_FOUND, "its model %s has no attribute \"%.64s\"%s%s%s; it has: %s", m->id, name,
              near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", buf_cstr(&list));
    buf_destroy(&list);
    return -1;
}

static struct model *parse(const struct group *g, json_t *document, struct error *err)
{
    return model_parse_json(document, g->config.model->path, g->fleet->config.model_env, err);
}

// The document of the group's model with the change made in it.
static json_t *edited(const struct group *g, const json_t *change)
{
    json_t *document = json_deep_copy(g->config.model->source);
    const char *name = json_string_value(json_object_get(change, "attribute"));
    json_t *list = json_object_get(document, "telemetry"), *entry;
    json_t *interval = json_object_get(change, "interval_ms"), *generator = json_object_get(change, "generator");
    size_t i;
    int failed = 0;
    json_array_foreach(list, i, entry)
    {
        const char *own = json_string_value(json_object_get(entry, "name"));
        if (name && (!own || strcmp(own, name) != 0))
            continue;
        if (interval)
            failed |= json_object_set(entry, "intervalMs", interval);
        if (generator)
            failed |= json_object_set_new(entry, "generator", json_deep_copy(generator));
    }
    if (!failed)
        return document;
    json_decref(document);
    return NULL;
}

// Whatever is wrong with it is found before anything is changed.
static struct model *edited_model(const struct group *g, const json_t *change, struct error *err)
{
    json_t *document = edited(g, change);
    struct model *m = document ? parse(g, document, err) : NULL;
    if (!document)
        error_set(err, ERR_NO_MEMORY, "out of memory");
    json_decref(document);
    return m;
}

static int check_telemetry(struct group *g, const json_t *change, struct error *err)
{
    const char *name;
    if (!g->config.model || !g->config.model->n_attributes)
        return no_model(g, err);
    if (json_is_null(json_object_get(change, "attribute")))
        return 0;
    return json_get_str(change, "attribute", NULL, &name, err) || (name && check_attribute(g, name, err)) ? -1 : 0;
}

static int check_interval(struct group *g, const json_t *change, struct error *err)
{
    if (check_telemetry(g, change, err))
        return -1;
    if (!json_is_integer(json_object_get(change, "interval_ms")))
        return error_set(err, ERR_INVALID, "interval_ms: expected a whole number of milliseconds");
    struct model *m = edited_model(g, change, err);
    model_delete(m);
    return m ? 0 : -1;
}

static int check_generator(struct group *g, const json_t *change, struct error *err)
{
    if (check_telemetry(g, change, err))
        return -1;
    if (!json_is_string(json_object_get(change, "attribute")))
        return error_set(err, ERR_INVALID, "attribute: expected the name of an attribute");
    if (!json_is_object(json_object_get(change, "generator")))
        return error_set(err, ERR_INVALID,
                         "generator: expected an object such as {\"type\": \"constant\", \"value\": 1}");
    struct model *m = edited_model(g, change, err);
    model_delete(m);
    return m ? 0 : -1;
}

static struct model *model_of_text(const struct group *g, const json_t *change, struct error *err)
{
    const char *text, *path;
    if (!g->config.model) {
        error_set(err, ERR_UNSUPPORTED, "group %s has no model", g->config.name);
        return NULL;
    }
    if (json_get_str(change, "text", NULL, &text, err) ||
        json_get_str(change, "path", g->config.model->path, &path, err))
        return NULL;
    if (!text) {
        error_set(err, ERR_INVALID, "text: expected the model's text");
        return NULL;
    }
    return model_parse(text, strlen(text), path, g->fleet->config.model_env, err);
}

static int check_model(struct group *g, const json_t *change, struct error *err)
{
    struct model *m = model_of_text(g, change, err);
    model_delete(m);
    return m ? 0 : -1;
}

static int edit(struct change_job *job, struct error *err)
{
    struct model *m = edited_model(job->group, job->change, err);
    if (!m || group_set_model(job->group, m, err))
        return -1;
    job->affected = group_population(job->group);
    return 0;
}

static int set_model(struct change_job *job, struct error *err)
{
    struct model *m = model_of_text(job->group, job->change, err);
    if (!m || group_set_model(job->group, m, err))
        return -1;
    job->affected = group_population(job->group);
    return 0;
}

// --- status -------------------------------------------------------------------------------------------------------

static json_t *numbers(const uint64_t *of, unsigned n)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, json_integer((json_int_t)of[i]));
    return list;
}

static int status(struct change_job *job, struct error *err)
{
    const struct group *g = job->group;
    job->answer = json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "state", numbers(g->by_state, DEVICE_STATE_MAX),
                            "conn", numbers(g->by_conn, CONN_STATE_MAX), "dropped", (json_int_t)g->dropped, "started",
                            (json_int_t)g->started, "ever_online", (json_int_t)g->ever_online, "failed",
                            (json_int_t)g->failed, "devices", (json_int_t)group_population(g));
    return job->answer ? 0 : error_set(err, ERR_NO_MEMORY, "out of memory");
}

static int check_nothing(struct group *g, const json_t *change, struct error *err)
{
    (void)g, (void)change, (void)err;
    return 0;
}

// --- the queue ----------------------------------------------------------------------------------------------------

static const char *const stop_keys[] = {"devices", "count", "percentage", "mode", NULL};
static const char *const selection_keys[] = {"devices", "count", "percentage", NULL};
static const char *const scale_keys[] = {"count", NULL};
static const char *const dropout_keys[] = {"dropout", "key", "devices", NULL};
static const char *const return_keys[] = {"key", NULL};
static const char *const interval_keys[] = {"attribute", "interval_ms", NULL};
static const char *const generator_keys[] = {"attribute", "generator", NULL};
static const char *const model_keys[] = {"path", "text", NULL};
static const char *const no_keys[] = {NULL};

static const struct change_op change_ops[] = {
    {"stop", stop_keys, check_stop, may_stop, stop, NULL},
    {"start", selection_keys, check_selection, may_start, start, NULL},
    {"restart", selection_keys, check_selection, was_started, start, NULL},
    {"remove", selection_keys, check_selection, there, destroy, NULL},
    {"renew", no_keys, check_nothing, runs, renew, NULL},
    {"scale", scale_keys, check_scale, NULL, NULL, scale},
    {"dropout", dropout_keys, check_dropout, NULL, NULL, drop},
    {"return", return_keys, check_return, NULL, NULL, bring_back},
    {"interval", interval_keys, check_interval, NULL, NULL, edit},
    {"generator", generator_keys, check_generator, NULL, NULL, edit},
    {"model", model_keys, check_model, NULL, NULL, set_model},
    {"status", no_keys, check_nothing, NULL, NULL, status},
};
enum { N_OPS = sizeof(change_ops) / sizeof(change_ops[0]) };

const char *const *change_op_names(void)
{
    static const char *const names[] = {"stop",   "start",    "restart",   "remove", "renew",  "scale", "dropout",
                                        "return", "interval", "generator", "model",  "status", NULL};
    _Static_assert(sizeof(names) / sizeof(names[0]) == N_OPS + 1, "one name an op");
    return names;
}

static const struct change_op *find_op(const char *name, struct error *err)
{
    for (unsigned i = 0; name && i < N_OPS; i++) {
        if (!strcmp(change_ops[i].name, name))
            return &change_ops[i];
    }
    const char *near = name ? suggest(name, change_op_names()) : NULL;
    error_set(err, ERR_INVALID,
              "op: \"%.40s\" is unknown%s%s%s; valid: stop, start, restart, remove, renew, scale, dropout, return, "
              "interval, generator, model, status",
              name ? name : "", near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

static struct group *find_group(const struct fleet *fleet, const char *name, struct error *err)
{
    for (unsigned i = 0; name && i < fleet->n_groups; i++) {
        if (!strcmp(fleet->groups[i]->config.name, name))
            return fleet->groups[i];
    }
    error_set(err, ERR_NOT_FOUND, "there is no group \"%.100s\"", name ? name : "");
    return NULL;
}

static bool among(const char *word, const char *const *names)
{
    for (; *names; names++) {
        if (!strcmp(word, *names))
            return true;
    }
    return false;
}

static int check_keys(const struct change_op *op, const json_t *change, struct error *err)
{
    static const char *const every[] = {"op", "group", "at_us", "number", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)change, key, value)
    {
        if (among(key, every) || among(key, op->keys))
            continue;
        struct buf list;
        buf_create(&list, 200);
        for (unsigned i = 0; op->keys[i]; i++)
            (void)!buf_printf(&list, "%s%s", i ? ", " : "", op->keys[i]);
        error_set(err, ERR_INVALID, "%s: unknown key \"%.64s\"; valid: %s", op->name, key,
                  list.len ? buf_cstr(&list) : "none");
        buf_destroy(&list);
        return -1;
    }
    return 0;
}

static struct change_job *job_new(struct fleet *fleet, json_t *change, struct error *err)
{
    const struct change_op *op = find_op(json_string_value(json_object_get(change, "op")), err);
    struct group *g = op ? find_group(fleet, json_string_value(json_object_get(change, "group")), err) : NULL;
    if (!g || check_keys(op, change, err) || op->check(g, change, err))
        return NULL;
    struct change_job *job = calloc(1, sizeof(*job));
    if (!job) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    job->group = g;
    job->op = op;
    job->change = json_incref(change);
    return job;
}

static void job_delete(struct change_job *job)
{
    json_decref(job->change);
    json_decref(job->answer);
    free(job->ids);
    free(job);
}

// 0: done, 1: more to do, -1: err. *budget: devices that may still be told in this turn.
static int job_step(struct change_job *job, uint64_t *budget, struct error *err)
{
    if (job->op->whole)
        return job->op->whole(job, err);
    if (!job->begun && choose(job, err))
        return -1;
    job->begun = true;
    for (; job->next_device < job->n && *budget; job->next_device++, --*budget) {
        struct device *d = fleet_find(job->group->fleet, job->ids[job->next_device]);
        if (!d || d->flags & FLAG_DESTROY)
            continue;
        job->affected++;
        job->op->act(d, job->change);
    }
    return job->next_device < job->n;
}

static void answer(struct change_job *job, const struct error *err)
{
    json_t *text = err ? NULL : json_incref(job->answer);
    if (!text && !err)
        text = json_pack("{s:I}", "affected", (json_int_t)job->affected);
    if (job->fn)
        job->fn(job->arg, text, err);
    json_decref(text);
}

static void work(struct timer *t, void *arg)
{
    struct fleet *fleet = container_of(t, struct fleet, job_timer);
    struct loop *loop = arg;
    uint64_t budget = fleet_a_turn(fleet, CHANGES_A_TURN);
    while (fleet->jobs) {
        struct change_job *job = fleet->jobs;
        struct error err = {0};
        int rc = job_step(job, &budget, &err);
        if (rc > 0) { // a device that goes, or the next turn's budget
            loop_timer_start(loop, t, job->op->whole ? WAIT_US : 0, work);
            return;
        }
        fleet->jobs = job->next;
        answer(job, rc ? &err : NULL);
        job_delete(job);
    }
}

int fleet_change(struct fleet *fleet, json_t *change, group_change_fn *fn, void *arg, struct error *err)
{
    struct change_job **at = &fleet->jobs;
    unsigned n = 0;
    if (fleet->stopping)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    for (; *at; at = &(*at)->next)
        n++;
    if (n >= JOBS_MAX)
        return error_set(err, ERR_LIMIT, "%u changes wait already", n);
    struct change_job *job = job_new(fleet, change, err);
    if (!job)
        return -1;
    job->fn = fn;
    job->arg = arg;
    *at = job;
    if (!n)
        loop_timer_start(fleet->config.env.loop, &fleet->job_timer, 0, work);
    return 0;
}

int fleet_change_check(struct fleet *fleet, json_t *change, struct error *err)
{
    struct change_job *job = job_new(fleet, change, err);
    if (!job)
        return -1;
    job_delete(job);
    return 0;
}

int fleet_change_now(struct fleet *fleet, json_t *change, struct error *err)
{
    struct change_job *job = job_new(fleet, change, err);
    uint64_t all = UINT64_MAX;
    if (!job)
        return -1;
    int rc = job_step(job, &all, err);
    job_delete(job);
    if (rc > 0) // devices that go leave at the end of the turn
        return fleet_change(fleet, change, NULL, NULL, err);
    return rc;
}

void changes_cancel(struct fleet *fleet)
{
    struct error err;
    error_set(&err, ERR_CANCELLED, "the run is stopping");
    loop_timer_stop(fleet->config.env.loop, &fleet->job_timer);
    while (fleet->jobs) {
        struct change_job *job = fleet->jobs;
        fleet->jobs = job->next;
        answer(job, &err);
        job_delete(job);
    }
}
