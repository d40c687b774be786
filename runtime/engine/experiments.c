// Everything here follows the run's time: one timer, armed for whatever begins or ends next. What an experiment does to
// devices travels as changes; what it does to the broker and to the scenario's functions is done here.
#include "engine/experiments.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "engine/broker.h"
#include "engine/plan_timeline.h"
#include "engine/supervisor.h"
#include "engine/virtual.h"

#define EXPERIMENTS_MAX 2000u // of a run; those that are over count
#define LATE_US 1000000
#define WINDOWS_KEPT 100u // marks of one
#define TELL_US 30000000  // how long shards may take to begin or end one

enum state { SCHEDULED, RUNNING, HEALED, STOPPED, FAILED };
static const char *const state_names[] = {"scheduled", "running", "healed", "stopped", "failed"};

struct window {
    int64_t began_us, ended_us; // -1: not yet
    uint64_t affected;
};

// Whoever asked for something and waits for the entry.
struct waiting {
    struct waiting *next;
    struct run *run;
    struct object *object;
    run_change_fn *fn;
    void *arg;
    struct timer timer; // so that it is never told inside its own call
    bool makes;         // asked for the experiment: is told why it failed
};

struct object {
    struct run *run;
    struct experiment spec;
    uint64_t number;
    enum state state;
    bool planned;        // of the plan: that it fails is the run's failure
    bool on;             // a window goes on
    bool broke;          // the broker is down or paused because of it
    int64_t end_us;      // of that window
    int64_t after_us;    // windows that began before are over
    unsigned unanswered; // changes that shards have not answered
    uint64_t runs;
    struct window last; // the window that is on, or was last
    struct window *windows;
    unsigned n_windows;
    uint64_t counted[WINDOWS_KEPT]; // virtual time: devices of each window, by the shards
    struct error error;
    struct waiting *waiting;
};

struct experiments {
    struct object **list;
    unsigned n;
    struct timer timer;
    bool stopped;
    struct object *mending; // the broker is being started again because of this one
    char acting[200];
};

static struct experiments *all(const struct run *run)
{
    return run->experiments;
}

// --- entries ------------------------------------------------------------------------------------------------------

static json_t *time_or_null(int64_t us)
{
    return us >= 0 && us != EXPERIMENT_NEVER ? json_integer(us) : json_null();
}

static int64_t next_us(const struct object *o)
{
    int64_t begin_us, end_us;
    if (o->state > RUNNING || !experiment_window(&o->spec, o->on ? o->end_us : o->after_us, &begin_us, &end_us))
        return EXPERIMENT_NEVER;
    return begin_us;
}

static json_t *groups_json(const struct experiment *e)
{
    json_t *list = e->n_groups ? json_array() : json_null();
    for (unsigned i = 0; i < e->n_groups; i++)
        json_array_append_new(list, json_text_of(e->groups[i]));
    return list;
}

static json_t *entry(const struct object *o)
{
    char what[200];
    json_t *json = json_pack(
        "{s:I, s:o, s:s, s:o, s:o, s:s, s:I, s:o, s:o, s:o, s:I}", "number", (json_int_t)o->number, "name",
        json_text_of(o->spec.name), "kind", experiment_kind_name(o->spec.kind), "what",
        json_text_of(experiment_describe(&o->spec, what, sizeof(what))), "groups", groups_json(&o->spec), "state",
        state_names[o->state], "affected", (json_int_t)o->last.affected, "began_us", time_or_null(o->last.began_us),
        "ended_us", time_or_null(o->last.ended_us), "next_us", time_or_null(next_us(o)), "runs", (json_int_t)o->runs);
    if (json && o->error.code)
        json_object_set_new(json, "error", json_text_of(o->error.text));
    return json;
}

json_t *run_experiments(const struct run *run)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < all(run)->n; i++)
        json_array_append_new(list, entry(all(run)->list[i]));
    return list;
}

const char *experiments_acting(const struct run *run)
{
    struct experiments *x = all(run);
    size_t used = 0;
    x->acting[0] = '\0';
    for (unsigned i = 0; i < x->n && used < sizeof(x->acting); i++)
        if (x->list[i]->on)
            used += (size_t)snprintf(x->acting + used, sizeof(x->acting) - used, "%s%s", used ? ", " : "",
                                     x->list[i]->spec.name);
    return x->acting;
}

static void settle_virtual(struct object *o);

json_t *experiments_marks(struct run *run)
{
    json_t *list = all(run)->n ? json_array() : NULL;
    for (unsigned i = 0; list && i < all(run)->n; i++) {
        struct object *o = all(run)->list[i];
        if (run->virtual_run && run->go_us && !o->runs)
            settle_virtual(o);
        json_t *mark = entry(o), *windows = json_array();
        for (unsigned k = 0; k < o->n_windows; k++)
            json_array_append_new(windows,
                                  json_pack("{s:o, s:o, s:I}", "began_us", time_or_null(o->windows[k].began_us),
                                            "ended_us", time_or_null(o->windows[k].ended_us), "affected",
                                            (json_int_t)o->windows[k].affected));
        json_object_set_new(mark, "windows", windows);
        json_object_set_new(mark, "omitted", json_integer((json_int_t)(o->runs - o->n_windows)));
        json_array_append_new(list, mark);
    }
    return list;
}

// --- who waits ----------------------------------------------------------------------------------------------------

static void unlink_waiting(struct waiting *w)
{
    struct waiting **at = &w->object->waiting;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    loop_timer_stop(w->run->loop, &w->timer);
}

static void told(struct timer *t, void *loop)
{
    (void)loop;
    struct waiting *w = container_of(t, struct waiting, timer);
    struct object *o = w->object;
    unlink_waiting(w);
    json_t *json = w->makes && o->state == FAILED ? NULL : entry(o);
    w->fn(w->arg, json, json ? NULL : &o->error);
    json_decref(json);
    free(w);
}

static int wait_for(struct object *o, bool makes, run_change_fn *fn, void *arg, struct error *err)
{
    struct waiting *w = calloc(1, sizeof(*w));
    if (!w)
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    *w = (struct waiting){.next = o->waiting, .run = o->run, .object = o, .makes = makes, .fn = fn, .arg = arg};
    o->waiting = w;
    return 0;
}

// Whatever they waited for is there: unless shards still owe an answer, or the broker is on its way.
static void tell_waiting(struct object *o)
{
    if (o->unanswered || all(o->run)->mending == o)
        return;
    for (struct waiting *w = o->waiting; w; w = w->next)
        loop_timer_start(o->run->loop, &w->timer, 0, told);
}

// --- marks --------------------------------------------------------------------------------------------------------

static void keep_window(struct object *o)
{
    struct window *more = o->n_windows < WINDOWS_KEPT ? realloc(o->windows, (o->n_windows + 1) * sizeof(*more)) : NULL;
    if (!more)
        return; // it counts as omitted
    o->windows = more;
    more[o->n_windows++] = o->last;
}

// The window that goes on is the last one kept, unless it was not kept.
static void update_window(struct object *o)
{
    if (o->n_windows == o->runs && o->n_windows)
        o->windows[o->n_windows - 1] = o->last;
}

static void fail(struct object *o, const struct error *why)
{
    if (o->state == FAILED)
        return;
    o->error = *why;
    log_write(o->run->log, LOG_ERROR, NULL, "experiment %s: %s", o->spec.name, why->text);
    if (o->planned)
        run_reason(o->run, EXIT_MARKED_FAILED, "experiment %.60s failed: %.160s", o->spec.name, why->text);
}

// --- to the shards ------------------------------------------------------------------------------------------------

static void end_window(struct object *o, enum state state);

static void say_affected(const struct object *o)
{
    bool any = o->last.affected > 0;
    log_write(o->run->log, any ? LOG_INFO : LOG_WARN, NULL, "experiment %s acts on %s%llu device%s", o->spec.name,
              any ? "" : "no device: ", (unsigned long long)o->last.affected, o->last.affected == 1 ? "" : "s");
}

// Answers take milliseconds: that one came in a later window than it was asked in is neither likely nor harmful.
static void begun(void *arg, const json_t *answer, const struct error *err)
{
    struct object *o = arg;
    o->unanswered--;
    if (err && err->code != ERR_CANCELLED && o->on) {
        fail(o, err);
        end_window(o, FAILED);
    } else if (answer) {
        o->last.affected += (uint64_t)json_integer_value(json_object_get(answer, "affected"));
        update_window(o);
        if (!o->unanswered && o->on)
            say_affected(o);
    }
    tell_waiting(o);
}

static void ended(void *arg, const json_t *answer, const struct error *err)
{
    struct object *o = arg;
    (void)answer;
    o->unanswered--;
    if (err && err->code != ERR_CANCELLED)
        log_write(o->run->log, LOG_ERROR, NULL, "experiment %s did not end everywhere: %s", o->spec.name, err->text);
    tell_waiting(o);
}

static void retuned(void *arg, const json_t *answer, const struct error *err)
{
    struct object *o = arg;
    (void)answer;
    o->unanswered--;
    if (err && err->code != ERR_CANCELLED && o->on)
        log_write(o->run->log, LOG_ERROR, NULL, "experiment %s was not changed everywhere: %s", o->spec.name,
                  err->text);
    tell_waiting(o);
}

static int tell_one(struct object *o, json_t *stolen, run_change_fn *fn, struct error *err)
{
    if (!stolen)
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    if (run_change(o->run, stolen, TELL_US, fn, o, err))
        return -1;
    o->unanswered++;
    return 0;
}

static int tell_shards(struct object *o, bool begin, struct error *err)
{
    const struct plan *p = o->run->plan;
    json_t *(*change)(const struct experiment *e, uint64_t number, uint64_t window, const char *group) =
        begin ? experiment_begin_change : experiment_end_change;
    run_change_fn *fn = begin ? begun : ended;
    int rc = 0;
    if (!experiment_by_group(&o->spec))
        return tell_one(o, change(&o->spec, o->number, o->runs, NULL), fn, err);
    for (unsigned i = 0; i < p->n_groups && (!begin || rc == 0); i++) {
        const char *group = p->groups[i].config.name;
        if (experiment_about(&o->spec, group) && tell_one(o, change(&o->spec, o->number, o->runs, group), fn, err))
            rc = -1;
    }
    return rc;
}

// --- broker and functions -----------------------------------------------------------------------------------------

static int begin_broker(struct object *o, struct error *err)
{
    struct broker *b = targets_the_broker(o->run->targets);
    if (!b)
        return error_set(err, ERR_STATE, "the run has no broker of its own");
    if (broker_break(b, o->spec.action, err))
        return -1;
    o->broke = true;
    return 0;
}

static void end_broker(struct object *o)
{
    struct error err;
    struct broker *b = targets_the_broker(o->run->targets);
    if (!o->broke)
        return;
    o->broke = false;
    if (broker_mend(b, &err) == 0)
        all(o->run)->mending = broker_broken(b) ? o : NULL;
    else
        fail(o, &err);
}

void experiments_look(struct run *run)
{
    struct object *o = all(run)->mending;
    struct error err;
    int rc = o ? broker_ready(targets_the_broker(run->targets), &err) : 0;
    if (!rc)
        return;
    all(run)->mending = NULL;
    if (rc < 0 && run->phase >= RUN_STOPPING) {
        log_write(run->log, LOG_DEBUG, NULL, "%s", err.text); // it was asked to end before it was back
    } else if (rc > 0) {
        log_write(run->log, LOG_INFO, NULL, "the embedded broker is back");
    } else {
        fail(o, &err);
        o->state = FAILED;
        run->targets_lost = true;
        run_reason(run, EXIT_UNREACHABLE, "%.250s", err.text);
    }
    tell_waiting(o);
}

static bool directed(const struct run *run)
{
    return run->director.state == SLOT_GOING;
}

static int begin_custom(struct object *o, struct error *err)
{
    if (!directed(o->run))
        return error_set(err, ERR_CLOSED, "the process that runs functions of the scenario is gone");
    slot_send(&o->run->director, MSG_CUSTOM,
              json_pack("{s:I, s:i}", "number", (json_int_t)o->number, "custom", (int)o->spec.custom));
    return 0;
}

static void end_custom(struct object *o)
{
    if (directed(o->run))
        slot_send(&o->run->director, MSG_CUSTOM, json_pack("{s:I}", "number", (json_int_t)o->number));
}

// --- a window -----------------------------------------------------------------------------------------------------

static void begin_window(struct object *o, int64_t end_us)
{
    struct error err = {0};
    char what[200], until[32], left[48] = "";
    o->on = true;
    o->state = RUNNING;
    o->end_us = end_us;
    o->runs++;
    o->last = (struct window){run_elapsed(o->run), -1, 0};
    keep_window(o);
    if (end_us != EXPERIMENT_NEVER)
        snprintf(left, sizeof(left), ", until %s", duration_format(end_us, until, sizeof(until)));
    log_write(o->run->log, LOG_INFO, NULL, "experiment %s begins: %s%s", o->spec.name,
              experiment_describe(&o->spec, what, sizeof(what)), left);
    int rc = o->spec.kind == EXPERIMENT_BROKER   ? begin_broker(o, &err)
             : o->spec.kind == EXPERIMENT_CUSTOM ? begin_custom(o, &err)
                                                 : tell_shards(o, true, &err);
    if (rc) {
        fail(o, &err);
        end_window(o, FAILED);
    }
    tell_waiting(o);
}

// state: what it is then; SCHEDULED where another window follows.
static void end_window(struct object *o, enum state state)
{
    struct error err = {0};
    char took[32];
    if (o->on) {
        o->on = false;
        o->last.ended_us = run_elapsed(o->run);
        update_window(o);
        o->after_us = o->end_us == EXPERIMENT_NEVER ? o->last.ended_us : o->end_us;
        if (o->spec.kind == EXPERIMENT_BROKER)
            end_broker(o);
        else if (o->spec.kind == EXPERIMENT_CUSTOM)
            end_custom(o);
        else if (!all(o->run)->stopped && tell_shards(o, false, &err) && err.code != ERR_CANCELLED)
            fail(o, &err);
        log_write(o->run->log, LOG_INFO, NULL, "experiment %s is over after %s", o->spec.name,
                  duration_format(o->last.ended_us - o->last.began_us, took, sizeof(took)));
    }
    o->state = o->error.code ? FAILED : state;
}

static enum state after(struct object *o)
{
    int64_t begin_us, end_us;
    return experiment_window(&o->spec, o->end_us, &begin_us, &end_us) && o->spec.every_us ? SCHEDULED : HEALED;
}

static void end_if_due(struct object *o, int64_t now_us)
{
    if (o->on && now_us >= o->end_us)
        end_window(o, after(o));
}

// Does what is due; when it is to be looked at again.
static int64_t look_at(struct object *o, int64_t now_us)
{
    int64_t begin_us, end_us;
    end_if_due(o, now_us);
    if (o->on)
        return o->end_us;
    if (o->state != SCHEDULED)
        return EXPERIMENT_NEVER;
    // A window that is shorter than this process was late (a storm's is as short as can be) is not passed over.
    int64_t late_us = o->spec.every_us ? 0 : LATE_US;
    int64_t from_us = now_us - late_us > o->after_us ? now_us - late_us : o->after_us;
    if (!experiment_window(&o->spec, from_us, &begin_us, &end_us)) {
        o->state = HEALED; // the run's time went past its window
        return EXPERIMENT_NEVER;
    }
    if (begin_us > now_us)
        return begin_us;
    begin_window(o, end_us);
    return o->on ? end_us : EXPERIMENT_NEVER;
}

static void due(struct timer *t, void *loop);

static void schedule(struct run *run)
{
    struct experiments *x = all(run);
    int64_t next = EXPERIMENT_NEVER, now_us = run_elapsed(run);
    // What ends makes way for what begins at the same time: the next pause of a broker, say.
    for (unsigned i = 0; i < x->n; i++)
        end_if_due(x->list[i], now_us);
    for (unsigned i = 0; i < x->n; i++) {
        int64_t at_us = look_at(x->list[i], now_us);
        next = at_us < next ? at_us : next;
    }
    if (next == EXPERIMENT_NEVER || x->stopped)
        loop_timer_stop(run->loop, &x->timer);
    else
        loop_timer_at(run->loop, &x->timer, run->go_us + next, due);
}

static void due(struct timer *t, void *loop)
{
    (void)loop;
    struct run *run = container_of(t, struct experiments, timer)->list[0]->run; // armed only when there is one
    schedule(run);
}

void experiments_before_go(struct run *run)
{
    for (unsigned i = 0; i < all(run)->n && !run->virtual_run; i++)
        if (experiment_on_network(&all(run)->list[i]->spec))
            look_at(all(run)->list[i], 0);
}

void experiments_go(struct run *run)
{
    char from[32];
    struct experiments *x = all(run);
    for (unsigned i = 0; i < x->n; i++) {
        const struct object *o = x->list[i];
        if (run->plan->duration_us && o->spec.from_us >= run->plan->duration_us)
            log_write(run->log, LOG_WARN, NULL,
                      "experiment %s never begins: its window opens at %s, when the run is over", o->spec.name,
                      duration_format(o->spec.from_us, from, sizeof(from)));
        if (run->virtual_run && o->spec.kind == EXPERIMENT_CUSTOM)
            log_write(run->log, LOG_WARN, NULL, "experiment %s is left out: functions do not run in virtual time",
                      o->spec.name);
    }
    if (!run->virtual_run && x->n)
        schedule(run);
}

void experiments_custom_done(struct run *run, const json_t *m)
{
    uint64_t number = (uint64_t)json_integer_value(json_object_get(m, "number"));
    const char *text = json_string_value(json_object_get(m, "error"));
    struct object *o = number >= 1 && number <= all(run)->n ? all(run)->list[number - 1] : NULL;
    struct error err;
    if (!o || !o->on || o->spec.kind != EXPERIMENT_CUSTOM)
        return;
    if (text) {
        error_set(&err, ERR_INVALID, "%.*s", (int)strcspn(text, "\n"), text);
        fail(o, &err);
    }
    end_window(o, after(o)); // it heals when it returns
    if (!all(run)->stopped)
        schedule(run);
}

void experiments_director_lost(struct run *run)
{
    struct error err;
    error_set(&err, ERR_CLOSED, "the process that runs functions of the scenario was lost");
    for (unsigned i = 0; i < all(run)->n; i++) {
        struct object *o = all(run)->list[i];
        if (!o->on || o->spec.kind != EXPERIMENT_CUSTOM)
            continue;
        fail(o, &err);
        end_window(o, FAILED);
    }
}

// --- virtual time: the shards had the clock -----------------------------------------------------------------------

void experiments_done(struct run *run, const json_t *affected)
{
    for (unsigned i = 0; i < all(run)->n; i++) {
        const json_t *windows = json_array_get(affected, i);
        for (unsigned k = 0; k < WINDOWS_KEPT; k++)
            all(run)->list[i]->counted[k] += (uint64_t)json_integer_value(json_array_get(windows, k));
    }
}

static void settle_virtual(struct object *o)
{
    int64_t now_us = run_elapsed(o->run), at_us = 0, begin_us, end_us;
    while (o->spec.kind != EXPERIMENT_CUSTOM && experiment_window(&o->spec, at_us, &begin_us, &end_us) &&
           begin_us < now_us) {
        o->last = (struct window){begin_us, end_us < now_us ? end_us : now_us,
                                  o->runs < WINDOWS_KEPT ? o->counted[o->runs] : 0};
        o->runs++;
        keep_window(o);
        o->state = HEALED;
        if (end_us >= now_us)
            break;
        at_us = end_us;
    }
}

// --- the end ------------------------------------------------------------------------------------------------------

void experiments_stop(struct run *run)
{
    struct experiments *x = all(run);
    if (!x || x->stopped)
        return;
    x->stopped = true;
    loop_timer_stop(run->loop, &x->timer);
    for (unsigned i = 0; i < x->n; i++) {
        struct object *o = x->list[i];
        if (o->on)
            end_window(o, HEALED);
        else if (o->state == SCHEDULED && o->runs)
            o->state = HEALED; // its next window is not of this run
        tell_waiting(o);
    }
}

static void free_object(struct object *o)
{
    while (o->waiting) {
        struct waiting *w = o->waiting;
        struct error err;
        unlink_waiting(w);
        error_set(&err, ERR_CANCELLED, "the run is over");
        w->fn(w->arg, NULL, &err);
        free(w);
    }
    experiment_destroy(&o->spec);
    free(o->windows);
    free(o);
}

void experiments_delete(struct experiments *x)
{
    if (!x)
        return;
    for (unsigned i = 0; i < x->n; i++)
        free_object(x->list[i]);
    free(x->list);
    free(x);
}

// --- making one ---------------------------------------------------------------------------------------------------

struct experiments *experiments_new(struct run *run)
{
    (void)run;
    return calloc(1, sizeof(struct experiments));
}

// Takes over what *spec holds, also on failure.
static struct object *add(struct run *run, struct experiment *spec, bool planned, struct error *err)
{
    struct experiments *x = all(run);
    struct object *o = NULL;
    if (x->n >= EXPERIMENTS_MAX)
        error_set(err, ERR_LIMIT, "the run has seen %u experiments, more are not possible", x->n);
    else if (!(o = calloc(1, sizeof(*o))))
        error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    struct object **more = o ? realloc(x->list, (x->n + 1) * sizeof(*more)) : NULL;
    if (!more) {
        if (o)
            error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
        free(o);
        experiment_destroy(spec);
        return NULL;
    }
    x->list = more;
    more[x->n++] = o;
    *o = (struct object){.run = run, .spec = *spec, .number = x->n, .planned = planned, .last = {-1, -1, 0}};
    return o;
}

static int make_unique(const struct run *run, struct experiment *e, struct error *err)
{
    char name[128], base[101];
    snprintf(base, sizeof(base), "%s", e->name);
    snprintf(name, sizeof(name), "%s", base);
    for (unsigned n = 2, i = 0; i < all(run)->n; i++)
        if (strcmp(all(run)->list[i]->spec.name, name) == 0) {
            snprintf(name, sizeof(name), "%s-%u", base, n++);
            i = UINT_MAX; // from the beginning
        }
    return strcmp(name, e->name) == 0 ? 0 : experiment_rename(e, name, err);
}

static int parse(const struct run *run, json_t *json, struct experiment *out, struct error *err)
{
    const char **groups = plan_group_names(run->plan);
    int rc = groups ? experiment_parse(out, json, groups, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    free(groups);
    return rc;
}

int experiments_plan(struct run *run, struct error *err)
{
    for (unsigned i = 0; i < run->plan->n_experiments; i++) {
        struct experiment e;
        if (parse(run, run->plan->experiments[i].json, &e, err) || !add(run, &e, true, err))
            return -1;
    }
    return 0;
}

static int may_change(const struct run *run, struct error *err)
{
    if (run->virtual_run)
        return error_set(err, ERR_UNSUPPORTED, "a run in virtual time cannot be changed");
    if (run->go_us && run->phase < RUN_STOPPING)
        return 0;
    return error_set(err, run->go_us ? ERR_CANCELLED : ERR_STATE, "the run is %s",
                     run->go_us ? "stopping" : "not on yet");
}

// A window that began in the past begins now.
static json_t *from_now(struct run *run, json_t *json)
{
    const json_t *given = json_object_get(json, "from_us");
    double from = json_number_value(given);
    bool valid = json_is_object(json) && (!given || json_is_null(given) || json_is_number(given));
    if (valid && from >= 0 && from < (double)run_elapsed(run) && !json_object_get(json, "every_us"))
        json_object_set_new(json, "from_us", json_integer(run_elapsed(run)));
    return json;
}

int run_experiment(struct run *run, json_t *stolen, run_change_fn *fn, void *arg, struct error *err)
{
    struct experiment e;
    if (may_change(run, err) || parse(run, from_now(run, stolen), &e, err)) {
        json_decref(stolen);
        return -1;
    }
    json_decref(stolen);
    if (e.kind == EXPERIMENT_CUSTOM && !directed(run))
        error_set(err, ERR_STATE, "no process runs functions of the scenario");
    else if (!plan_check_experiment(run->plan, &e, false, err) && !make_unique(run, &e, err)) {
        struct object *o = add(run, &e, false, err);
        if (!o)
            return -1;
        if (wait_for(o, true, fn, arg, err)) {
            o->state = STOPPED; // who asked is told that there is none
            return -1;
        }
        schedule(run);
        tell_waiting(o);
        return 0;
    }
    experiment_destroy(&e);
    return -1;
}

static struct object *find(const struct run *run, uint64_t number, struct error *err)
{
    if (number >= 1 && number <= all(run)->n)
        return all(run)->list[number - 1];
    error_set(err, ERR_NOT_FOUND, "there is no experiment %llu; the run has %u", (unsigned long long)number,
              all(run)->n);
    return NULL;
}

int run_experiment_stop(struct run *run, uint64_t number, run_change_fn *fn, void *arg, struct error *err)
{
    struct object *o = may_change(run, err) ? NULL : find(run, number, err);
    if (!o || wait_for(o, false, fn, arg, err))
        return -1;
    if (o->state == SCHEDULED || o->state == RUNNING) {
        end_window(o, STOPPED);
        schedule(run);
    }
    tell_waiting(o);
    return 0;
}

int run_experiment_retune(struct run *run, uint64_t number, const json_t *fault, run_change_fn *fn, void *arg,
                          struct error *err)
{
    struct object *o = may_change(run, err) ? NULL : find(run, number, err);
    if (!o)
        return -1;
    if (o->state > RUNNING)
        return error_set(err, ERR_STATE, "experiment %s is %s", o->spec.name, state_names[o->state]);
    if (experiment_retune(&o->spec, fault, err) || wait_for(o, false, fn, arg, err))
        return -1;
    if (o->on &&
        tell_one(o, json_pack("{s:s, s:I, s:O}", "op", "retune", "fault", (json_int_t)o->number, "spec", fault),
                 retuned, err)) {
        struct waiting *w = o->waiting;
        unlink_waiting(w);
        free(w);
        return -1;
    }
    tell_waiting(o);
    return 0;
}

// --- requests of the test -----------------------------------------------------------------------------------------

static const char *const ops[] = {"experiment", "experiment_stop", "experiment_retune", "experiments", NULL};

bool experiments_is_op(const char *op)
{
    for (unsigned i = 0; op && ops[i]; i++)
        if (strcmp(op, ops[i]) == 0)
            return true;
    return false;
}

int experiments_request(struct run *run, const json_t *m, run_change_fn *fn, void *arg, struct error *err)
{
    const char *op = json_string_value(json_object_get(m, "op"));
    int64_t number;
    if (strcmp(op, "experiments") == 0) {
        json_t *answer = json_pack("{s:o}", "experiments", run_experiments(run));
        fn(arg, answer, NULL);
        json_decref(answer);
        return 0;
    }
    if (strcmp(op, "experiment") == 0)
        return run_experiment(run, json_deep_copy(json_object_get(m, "experiment")), fn, arg, err);
    if (json_get_int(m, "number", 0, &number, err))
        return -1;
    if (strcmp(op, "experiment_stop") == 0)
        return run_experiment_stop(run, (uint64_t)number, fn, arg, err);
    return run_experiment_retune(run, (uint64_t)number, json_object_get(m, "fault"), fn, arg, err);
}
