#include "chaos/timeline.h"

#include <stdlib.h>

#include "device/change.h"
#include "device/device.h"

enum { WINDOWS_KEPT = 100 };

struct entry {
    struct timeline *timeline;
    const struct experiment *experiment;
    struct timer timer;
    uint64_t number, window; // the window that is on, or was last
    int64_t end_us;          // of the window that is on
    bool on;
    uint64_t affected[WINDOWS_KEPT]; // by window
};

struct timeline {
    struct chaos *chaos;
    struct fleet *fleet;
    struct log *log;
    bool stopped;
    unsigned n;
    struct entry entries[];
};

static bool follows(const struct experiment *e)
{
    return experiment_by_group(e) || e->kind == EXPERIMENT_CLOCK;
}

struct timeline *timeline_new(struct chaos *chaos, struct fleet *fleet, const struct experiment *experiments,
                              unsigned n, struct log *log, struct error *err)
{
    struct timeline *t = calloc(1, sizeof(*t) + n * sizeof(t->entries[0]));
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a timeline");
        return NULL;
    }
    t->chaos = chaos;
    t->fleet = fleet;
    t->log = log;
    t->n = n;
    for (unsigned i = 0; i < n; i++)
        t->entries[i] = (struct entry){.timeline = t, .experiment = &experiments[i], .number = i + 1};
    return t;
}

static void begun(void *arg, const json_t *answer, const struct error *err)
{
    struct entry *e = arg;
    uint64_t window = e->window - 1; // an answer comes in the instant behind the question
    if (answer && window < WINDOWS_KEPT)
        e->affected[window] += (uint64_t)json_integer_value(json_object_get(answer, "affected"));
    else if (!answer && err->code != ERR_CANCELLED)
        log_write(e->timeline->log, LOG_ERROR, NULL, "experiment %s did not begin: %s", e->experiment->name, err->text);
}

static void ended(void *arg, const json_t *answer, const struct error *err)
{
    struct entry *e = arg;
    if (!answer && err->code != ERR_CANCELLED)
        log_write(e->timeline->log, LOG_ERROR, NULL, "experiment %s did not end: %s", e->experiment->name, err->text);
}

static void tell(struct entry *e, json_t *stolen, bool begin)
{
    struct error err;
    struct timeline *t = e->timeline;
    void (*fn)(void *arg, const json_t *answer, const struct error *err) = begin ? begun : ended;
    int rc = -1;
    if (!stolen)
        error_set(&err, ERR_NO_MEMORY, "no memory");
    else if (experiment_by_group(e->experiment))
        rc = fleet_change(t->fleet, stolen, fn, e, &err);
    else
        rc = chaos_change(t->chaos, stolen, fn, e, &err);
    if (rc)
        fn(e, NULL, &err);
    json_decref(stolen);
}

static void say(struct entry *e, bool begin)
{
    const struct experiment *x = e->experiment;
    json_t *(*change)(const struct experiment *e, uint64_t number, uint64_t window, const char *group) =
        begin ? experiment_begin_change : experiment_end_change;
    if (!experiment_by_group(x)) {
        json_t *c = change(x, e->number, e->window, NULL);
        if (c && begin)
            json_object_set_new(c, "at_us", json_integer(fleet_elapsed_us(e->timeline->fleet)));
        tell(e, c, begin);
        return;
    }
    for (unsigned i = 0; i < fleet_group_count(e->timeline->fleet); i++) {
        const char *name = fleet_group(e->timeline->fleet, i)->config.name;
        json_t *c = experiment_about(x, name) ? change(x, e->number, e->window, name) : NULL;
        if (c && begin)
            json_object_set_new(c, "at_us", json_integer(fleet_elapsed_us(e->timeline->fleet)));
        if (c)
            tell(e, c, begin);
    }
}

static void due(struct timer *timer, void *loop);

static void arm(struct entry *e, int64_t run_us)
{
    struct loop *loop = fleet_loop(e->timeline->fleet);
    int64_t start_us = loop_now_us(loop) - fleet_elapsed_us(e->timeline->fleet);
    loop_timer_at(loop, &e->timer, start_us + run_us, due);
}

static void due(struct timer *timer, void *loop)
{
    (void)loop;
    struct entry *e = container_of(timer, struct entry, timer);
    int64_t now_us = fleet_elapsed_us(e->timeline->fleet), begin_us, end_us;
    if (e->timeline->stopped)
        return;
    if (e->on && now_us >= e->end_us) {
        e->on = false;
        say(e, false);
    }
    if (e->on || !experiment_window(e->experiment, now_us, &begin_us, &end_us))
        return;
    if (begin_us > now_us) {
        arm(e, begin_us);
        return;
    }
    e->on = true;
    e->window++;
    e->end_us = end_us;
    say(e, true);
    if (end_us != EXPERIMENT_NEVER)
        arm(e, end_us);
}

void timeline_start(struct timeline *t)
{
    int64_t begin_us, end_us;
    for (unsigned i = 0; i < t->n; i++)
        if (follows(t->entries[i].experiment) && experiment_window(t->entries[i].experiment, 0, &begin_us, &end_us))
            arm(&t->entries[i], begin_us);
}

void timeline_stop(struct timeline *t)
{
    if (!t)
        return;
    t->stopped = true;
    for (unsigned i = 0; i < t->n; i++)
        loop_timer_stop(fleet_loop(t->fleet), &t->entries[i].timer);
}

json_t *timeline_affected(const struct timeline *t)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < t->n; i++) {
        json_t *windows = json_array();
        for (unsigned k = 0; k < WINDOWS_KEPT && k < t->entries[i].window; k++)
            json_array_append_new(windows, json_integer((json_int_t)t->entries[i].affected[k]));
        json_array_append_new(list, windows);
    }
    return list;
}

void timeline_delete(struct timeline *t)
{
    timeline_stop(t);
    free(t);
}
