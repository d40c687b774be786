// A queue of jobs, each of them one change worked off device by device, so that a fault on ten thousand devices does
// not hold up the rest. A fault acts from the moment its job begins: devices made from then on get it by themselves,
// the job brings it to those that are there.
#include "chaos/chaos.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "chaos/tally.h"
#include "device/device.h"
#include "device/impair.h"
#include "device/selection.h"
#include "link/path.h"
#include "metrics/metrics.h"

enum { A_TURN = 256, LOOKS_A_TURN = 4096, JOBS_MAX = 2000 };

enum chaos_op { OP_FAULT, OP_RETUNE, OP_CLOCK, OP_HEAL };
static const char *const op_names[] = {"fault", "retune", "clock", "heal", NULL};

struct target { // a group that a fault acts on
    struct group *group;
    struct selection selection;
    uint64_t devices; // that have it
    struct metric *gauge;
};

struct acting {
    struct acting *next;
    uint64_t number;
    struct fault_spec *spec; // NULL: a clock
    int64_t offset_us;
    int64_t since_us; // loop time at which it began in the run, or was last retuned
    double drift;
    bool ending; // a job takes it from its devices: new ones do not get it
    unsigned n_targets;
    struct target targets[];
};

struct job {
    struct job *next;
    enum chaos_op op;
    uint64_t number;
    struct acting *fresh;    // OP_FAULT, OP_CLOCK: not acting yet
    struct fault_spec *spec; // OP_RETUNE
    int64_t since_us;        // of that
    struct acting *acting;   // once begun; NULL: none of that number
    unsigned target;         // where it is
    uint64_t local;
    uint64_t affected;
    bool begun, undoing; // undoing: what had begun ends again, for error
    struct error error;
    chaos_done_fn *fn;
    void *arg;
};

struct chaos {
    struct chaos_config config;
    struct fleet *fleet;
    struct acting *acting;
    struct job *jobs, **last;
    unsigned n_jobs, n_acting;
    struct timer timer;
    struct chaos_tally *tally; // NULL: nothing has acted yet
    bool ended;
};

bool chaos_is_op(const char *op)
{
    for (unsigned i = 0; op && op_names[i]; i++)
        if (strcmp(op, op_names[i]) == 0)
            return true;
    return false;
}

struct chaos *chaos_new(const struct chaos_config *config, struct error *err)
{
    struct chaos *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for faults");
        return NULL;
    }
    c->config = *config;
    c->last = &c->jobs;
    return c;
}

void chaos_attach(struct chaos *c, struct fleet *fleet)
{
    c->fleet = fleet;
}

unsigned chaos_acting(const struct chaos *c)
{
    return c->n_acting;
}

// --- one device ---------------------------------------------------------------------------------------------------

static int begin_on(const struct acting *a, struct device *d, struct error *err)
{
    return a->spec ? device_fault(d, a->number, a->spec, a->since_us, err)
                   : device_skew(d, a->number, a->offset_us, a->drift, a->since_us, err);
}

static bool end_on(const struct acting *a, struct device *d)
{
    return a->spec ? device_fault_end(d, a->number) : device_skew_end(d, a->number);
}

static void show(struct target *t)
{
    if (t->gauge)
        gauge_set(t->gauge, (double)t->devices);
}

static struct target *target_of(struct acting *a, const struct group *g)
{
    for (unsigned i = 0; i < a->n_targets; i++)
        if (a->targets[i].group == g)
            return &a->targets[i];
    return NULL;
}

void chaos_device_made(void *chaos, struct device *d, uint64_t count)
{
    struct chaos *c = chaos;
    for (struct acting *a = c->acting; a; a = a->next) {
        struct target *t = a->ending ? NULL : target_of(a, d->group);
        if (!t || !selection_takes(&t->selection, d->group, d->index, count) || begin_on(a, d, NULL))
            continue;
        t->devices++;
        show(t);
    }
}

void chaos_device_gone(void *chaos, struct device *d)
{
    struct chaos *c = chaos;
    for (struct acting *a = c->acting; a; a = a->next) {
        struct target *t = target_of(a, d->group);
        if (!t || !end_on(a, d))
            continue;
        t->devices--;
        show(t);
    }
}

// --- what acts ----------------------------------------------------------------------------------------------------

static struct acting *find(const struct chaos *c, uint64_t number)
{
    struct acting *a = c->acting;
    while (a && a->number != number)
        a = a->next;
    return a;
}

static void free_acting(struct acting *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->n_targets; i++)
        selection_destroy(&a->targets[i].selection);
    fault_spec_release(a->spec);
    free(a);
}

static void unlink_acting(struct chaos *c, struct acting *a)
{
    struct acting **at = &c->acting;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    c->n_acting--;
    free_acting(a);
}

static struct group *find_group(const struct chaos *c, const char *name, struct error *err)
{
    for (unsigned i = 0; name && i < fleet_group_count(c->fleet); i++)
        if (strcmp(fleet_group(c->fleet, i)->config.name, name) == 0)
            return fleet_group(c->fleet, i);
    error_set(err, ERR_NOT_FOUND, "there is no group \"%.100s\"", name ? name : "");
    return NULL;
}

// faults_active{experiment,group}; without room for another series it goes uncounted.
static struct metric *gauge_of(const struct chaos *c, const char *experiment, const char *group)
{
    struct buf tags;
    struct metric *m = NULL;
    if (!c->config.metrics)
        return NULL;
    buf_create(&tags, 512);
    if (buf_printf(&tags, "experiment:%s,group:%s", experiment, group) == 0)
        m = metrics_gauge(c->config.metrics, "faults_active", GAUGE_SUM, buf_cstr(&tags), NULL);
    buf_destroy(&tags);
    return m;
}

static int add_target(const struct chaos *c, struct acting *a, struct group *g, const json_t *change, struct error *err)
{
    const char *experiment;
    struct target *t = &a->targets[a->n_targets];
    if (json_get_str(change, "experiment", "fault", &experiment, err))
        return -1;
    if (selection_check(change, g->config.count, err) || selection_create(&t->selection, g, change, err))
        return error_prefix(err, "group %s", g->config.name);
    t->group = g;
    t->gauge = gauge_of(c, experiment, g->config.name);
    a->n_targets++;
    return 0;
}

static int take_named(struct chaos *c, struct acting *a, const json_t *change, const json_t *list, struct error *err)
{
    size_t n = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *name = list ? json_array_get(list, i) : json_object_get(change, "group");
        struct group *g = find_group(c, json_string_value(name), err);
        if (!g || (a->spec && group_check_network(g, err)) || add_target(c, a, g, change, err))
            return -1;
    }
    return 0;
}

static int take_all(struct chaos *c, struct acting *a, const json_t *change, struct error *err)
{
    struct error why = {0};
    for (unsigned i = 0; i < fleet_group_count(c->fleet); i++) {
        struct group *g = fleet_group(c->fleet, i);
        if (a->spec && group_check_network(g, &why))
            continue; // its devices have none
        if (add_target(c, a, g, change, err))
            return -1;
    }
    if (a->n_targets)
        return 0;
    *err = why;
    return -1;
}

// "at_us" in loop time; without one: now.
static int since_of(const struct chaos *c, const json_t *change, int64_t *since_us, struct error *err)
{
    int64_t at_us, now_us = fleet_elapsed_us(c->fleet);
    if (json_get_int(change, "at_us", now_us, &at_us, err))
        return -1;
    *since_us = loop_now_us(c->config.loop) - now_us + at_us;
    return 0;
}

static struct acting *read_acting(struct chaos *c, enum chaos_op op, uint64_t number, const json_t *change,
                                  struct error *err)
{
    const json_t *list = json_object_get(change, "groups");
    size_t room = list ? json_array_size(list) : fleet_group_count(c->fleet);
    struct acting *a = calloc(1, sizeof(*a) + (room + 1) * sizeof(a->targets[0]));
    int rc = a ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a fault");
    if (a)
        a->number = number;
    if (a && op == OP_FAULT) {
        a->spec = fault_spec_parse(json_object_get(change, "spec"), err);
        rc = a->spec ? 0 : -1;
    } else if (a) {
        rc = json_get_int(change, "offset_us", 0, &a->offset_us, err) ||
             json_get_num(change, "drift", 0, &a->drift, err);
    }
    if (!rc)
        rc = since_of(c, change, &a->since_us, err);
    if (!rc)
        rc = list || json_object_get(change, "group") ? take_named(c, a, change, list, err)
                                                      : take_all(c, a, change, err);
    if (!rc)
        return a;
    free_acting(a);
    return NULL;
}

// --- a job --------------------------------------------------------------------------------------------------------

static void free_job(struct job *job)
{
    free_acting(job->fresh);
    fault_spec_release(job->spec);
    free(job);
}

static struct job *read_job(struct chaos *c, const json_t *change, struct error *err)
{
    const char *op;
    int64_t number;
    int i;
    if (json_get_str(change, "op", "", &op, err) || (i = name_choose("op", op, op_names, err)) < 0 ||
        json_get_int(change, "fault", -1, &number, err))
        return NULL;
    if (number < 0) {
        error_set(err, ERR_INVALID, "fault: expected its number");
        return NULL;
    }
    struct job *job = calloc(1, sizeof(*job));
    if (!job) {
        error_set(err, ERR_NO_MEMORY, "no memory for a fault");
        return NULL;
    }
    job->op = (enum chaos_op)i;
    job->number = (uint64_t)number;
    bool good = true;
    if (job->op == OP_FAULT || job->op == OP_CLOCK)
        good = (job->fresh = read_acting(c, job->op, job->number, change, err)) != NULL;
    else if (job->op == OP_RETUNE)
        good = (job->spec = fault_spec_parse(json_object_get(change, "spec"), err)) != NULL &&
               since_of(c, change, &job->since_us, err) == 0;
    if (good)
        return job;
    free_job(job);
    return NULL;
}

static int begin_job(struct chaos *c, struct job *job, struct error *err)
{
    struct acting *a = job->acting = find(c, job->number);
    if (job->fresh) {
        if (a)
            return error_set(err, ERR_STATE, "fault %llu acts already", (unsigned long long)job->number);
        if (!c->tally && c->config.paths)
            c->tally = chaos_tally_new(c->config.metrics, c->config.paths);
        a = job->acting = job->fresh;
        job->fresh = NULL;
        a->next = c->acting;
        c->acting = a;
        c->n_acting++;
    } else if (job->op == OP_RETUNE) {
        if (!a || !a->spec)
            return error_set(err, ERR_NOT_FOUND, "no fault %llu acts on a network", (unsigned long long)job->number);
        fault_spec_release(a->spec);
        a->spec = fault_spec_ref(job->spec);
        a->since_us = job->since_us;
    } else if (a) {
        a->ending = true;
    }
    return 0;
}

// True when it did something to the device.
static bool act(struct job *job, struct target *t, struct device *d)
{
    struct acting *a = job->acting;
    bool done = false;
    if (job->op == OP_HEAL || job->undoing) {
        done = end_on(a, d);
        t->devices -= done;
    } else if (job->op == OP_RETUNE) {
        done = device_fault_change(d, a->number, a->spec, NULL) == 0;
    } else if (selection_has(&t->selection, d->index)) {
        struct error err = {0};
        done = begin_on(a, d, &err) == 0;
        t->devices += done;
        if (!done && err.code != ERR_STATE) { // ERR_STATE: it was made meanwhile, and has it
            job->error = err;
            job->undoing = a->ending = true;
            job->target = 0;
            job->local = UINT64_MAX; // 0 at the next step
        }
    }
    job->affected += done;
    return done;
}

// true: more to do, in the next turn. UINT_MAX: no bounds.
static bool step(struct job *job, unsigned *acts, unsigned *looks)
{
    struct acting *a = job->acting;
    while (a && job->target < a->n_targets) {
        struct target *t = &a->targets[job->target];
        struct group *g = t->group;
        for (; job->target < a->n_targets && t == &a->targets[job->target] && job->local < g->owned; job->local++) {
            if (!*acts || !*looks)
                return true;
            struct device *d = g->devices[job->local];
            *looks -= *looks != UINT_MAX;
            if (d && act(job, t, d))
                *acts -= *acts != UINT_MAX;
        }
        show(t);
        if (t == &a->targets[job->target] && job->local >= g->owned) {
            job->target++;
            job->local = 0;
        }
    }
    return false;
}

static void answer(struct job *job)
{
    json_t *text = job->error.code ? NULL : json_pack("{s:I}", "affected", (json_int_t)job->affected);
    struct error none;
    if (!text && !job->error.code)
        error_set(&job->error, ERR_NO_MEMORY, "no memory for an answer");
    none = job->error;
    if (job->fn)
        job->fn(job->arg, text, text ? NULL : &none);
    json_decref(text);
}

// true: it is not done yet.
static bool run_job(struct chaos *c, struct job *job, unsigned *acts, unsigned *looks)
{
    if (!job->begun && begin_job(c, job, &job->error))
        return false;
    job->begun = true;
    if (step(job, acts, looks))
        return true;
    if (job->acting && (job->op == OP_HEAL || job->undoing))
        unlink_acting(c, job->acting);
    return false;
}

// true: there is more to do, in the next turn.
static bool run_jobs(struct chaos *c, unsigned acts, unsigned looks)
{
    while (c->jobs) {
        struct job *job = c->jobs;
        if (run_job(c, job, &acts, &looks))
            return true;
        c->jobs = job->next;
        if (!c->jobs)
            c->last = &c->jobs;
        c->n_jobs--;
        answer(job);
        free_job(job);
    }
    return false;
}

static void work(struct timer *t, void *arg)
{
    struct chaos *c = container_of(t, struct chaos, timer);
    struct loop *loop = arg;
    bool all = loop_simulating(loop); // an instant of virtual time is done as a whole
    if (run_jobs(c, all ? UINT_MAX : A_TURN, all ? UINT_MAX : LOOKS_A_TURN))
        loop_timer_start(loop, t, 0, work);
}

void chaos_settle(struct chaos *c)
{
    loop_timer_stop(c->config.loop, &c->timer);
    run_jobs(c, UINT_MAX, UINT_MAX);
}

int chaos_change(struct chaos *c, const json_t *change, chaos_done_fn *fn, void *arg, struct error *err)
{
    if (c->ended)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    if (c->n_jobs >= JOBS_MAX)
        return error_set(err, ERR_LIMIT, "%u faults wait already", c->n_jobs);
    struct job *job = read_job(c, change, err);
    if (!job)
        return -1;
    job->fn = fn;
    job->arg = arg;
    bool idle = !c->jobs;
    *c->last = job;
    c->last = &job->next;
    c->n_jobs++;
    if (idle)
        loop_timer_start(c->config.loop, &c->timer, 0, work);
    return 0;
}

int chaos_change_now(struct chaos *c, const json_t *change, struct error *err)
{
    unsigned acts = UINT_MAX, looks = UINT_MAX;
    if (c->ended)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    struct job *job = read_job(c, change, err);
    if (!job)
        return -1;
    run_job(c, job, &acts, &looks);
    int rc = job->error.code ? -1 : 0;
    if (rc)
        *err = job->error;
    free_job(job);
    return rc;
}

// --- the end ------------------------------------------------------------------------------------------------------

static void cancel_jobs(struct chaos *c)
{
    loop_timer_stop(c->config.loop, &c->timer);
    while (c->jobs) {
        struct job *job = c->jobs;
        c->jobs = job->next;
        error_set(&job->error, ERR_CANCELLED, "the run is stopping");
        answer(job);
        free_job(job);
    }
    c->last = &c->jobs;
    c->n_jobs = 0;
}

void chaos_end(struct chaos *c)
{
    unsigned acts = UINT_MAX, looks = UINT_MAX;
    c->ended = true;
    cancel_jobs(c);
    while (c->acting) {
        struct job heal = {.op = OP_HEAL, .number = c->acting->number};
        run_job(c, &heal, &acts, &looks);
    }
}

void chaos_report(struct chaos *c)
{
    if (c->tally)
        chaos_tally_report(c->tally);
}

void chaos_delete(struct chaos *c)
{
    if (!c)
        return;
    c->ended = true;
    cancel_jobs(c);
    while (c->acting)
        unlink_acting(c, c->acting);
    chaos_tally_delete(c->tally);
    free(c);
}
