// How a change travels: run_change → MSG_CHANGE to every shard that runs → MSG_CHANGED from each → the sum to whoever
// asked. A reload goes by the director first, which reads and checks the files (MSG_RELOAD → MSG_RELOADED), and then
// travels as a change with the texts in it.
#include "engine/change.h"

#include <stdlib.h>
#include <string.h>

#include "chaos/chaos.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "device/change.h"
#include "engine/experiments.h"
#include "engine/reload.h"
#include "engine/supervisor.h"

#define LOG_MAX 10000
#define PENDING_MAX 256
#define RELOAD_US 30000000

struct pending {
    struct pending *next;
    struct run *run;
    uint64_t number;
    json_t *change;
    run_change_fn *fn;
    void *arg;
    struct timer timer;
    bool *waits; // by shard
    unsigned n_waits;
    bool reading; // a reload that waits for the director
    bool logged;
    json_t *sum; // of the answers so far
    unsigned n_groups;
    struct error error;
};

struct changes {
    struct pending *pending;
    unsigned n_pending;
    uint64_t next_number;
    json_t *log;
    struct reload *reload; // --watch; NULL: off
};

struct changes *changes_new(struct run *run)
{
    struct changes *c = calloc(1, sizeof(*c));
    (void)run;
    if (c && !(c->log = json_array())) {
        free(c);
        return NULL;
    }
    return c;
}

static void free_pending(struct pending *p)
{
    loop_timer_stop(p->run->loop, &p->timer);
    json_decref(p->change);
    json_decref(p->sum);
    free(p->waits);
    free(p);
}

void changes_delete(struct changes *c)
{
    if (!c)
        return;
    reload_delete(c->reload);
    while (c->pending) {
        struct pending *p = c->pending;
        c->pending = p->next;
        free_pending(p);
    }
    json_decref(c->log);
    free(c);
}

// --- the end of one -----------------------------------------------------------------------------------------------

static json_t *status_answer(const struct pending *p)
{
    json_t *out = json_object();
    const json_t *state = json_object_get(p->sum, "state"), *conn = json_object_get(p->sum, "conn");
    static const char *const plain[] = {"dropped", "started", "ever_online", "failed", NULL};
    for (int i = 0; i < DEVICE_STATE_MAX; i++)
        json_object_set(out, device_state_name((enum device_state)i), json_array_get(state, (size_t)i));
    for (int i = 0; i < CONN_STATE_MAX; i++)
        json_object_set(out, conn_state_name((enum conn_state)i), json_array_get(conn, (size_t)i));
    for (unsigned i = 0; plain[i]; i++)
        json_object_set(out, plain[i], json_object_get(p->sum, plain[i]));
    json_object_set(out, "count", json_object_get(p->sum, "devices"));
    json_object_set(out, "online", json_array_get(conn, CONN_CONNECTED));
    return out;
}

static const char *op_of(const struct pending *p)
{
    const char *op = json_string_value(json_object_get(p->change, "op"));
    return op ? op : "";
}

static bool is_op(const struct pending *p, const char *op)
{
    return strcmp(op_of(p), op) == 0;
}

static void unlog(struct changes *c, const struct pending *p)
{
    for (size_t i = json_array_size(c->log); p->logged && i-- > 0;)
        if (json_array_get(c->log, i) == p->change)
            json_array_remove(c->log, i);
}

static struct plan_group *find_group(struct run *run, const char *name, unsigned *at)
{
    for (unsigned i = 0; name && i < run->plan->n_groups; i++)
        if (strcmp(run->plan->groups[i].config.name, name) == 0) {
            *at = i;
            return &run->plan->groups[i];
        }
    return NULL;
}

// What the supervisor knows of the groups follows.
static void follow(struct run *run, const struct pending *p)
{
    unsigned i;
    struct plan_group *g = find_group(run, json_string_value(json_object_get(p->change, "group")), &i);
    if (g && is_op(p, "scale"))
        g->config.count = (uint64_t)json_number_value(json_object_get(p->change, "count"));
    if (g && (is_op(p, "scale") || is_op(p, "remove")))
        run->groups[i].resized = true;
}

static void finish(struct pending *p)
{
    struct run *run = p->run;
    struct changes *c = run->changes;
    struct pending **at = &c->pending;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    c->n_pending--;
    if (p->error.code) {
        p->fn(p->arg, NULL, &p->error);
    } else {
        follow(run, p);
        json_t *answer = is_op(p, "status") ? status_answer(p) : json_incref(p->sum);
        if (is_op(p, "reload"))
            json_object_set_new(answer, "groups", json_integer(p->n_groups));
        p->fn(p->arg, answer, NULL);
        json_decref(answer);
    }
    free_pending(p);
}

static void timed_out(struct timer *t, void *loop)
{
    struct pending *p = container_of(t, struct pending, timer);
    (void)loop;
    if (!p->error.code && (p->n_waits || p->reading))
        error_set(&p->error, ERR_TIMEOUT, "not every shard answered in time; it may be in effect later");
    finish(p);
}

static void settle(struct pending *p)
{
    if (!p->n_waits && !p->reading)
        loop_timer_start(p->run->loop, &p->timer, 0, timed_out); // never inside the call that asked
}

// --- to the shards ------------------------------------------------------------------------------------------------

// A later change of the same thing makes an earlier one superfluous.
static bool replaces(const json_t *later, const json_t *earlier)
{
    static const char *const keys[] = {"op", "group", "attribute", NULL};
    const char *op = json_string_value(json_object_get(later, "op"));
    if (strcmp(op, "interval") != 0 && strcmp(op, "generator") != 0)
        return false;
    for (unsigned i = 0; keys[i]; i++) {
        const json_t *a = json_object_get(later, keys[i]), *b = json_object_get(earlier, keys[i]);
        if (a && b ? !json_equal(a, b) : a != b)
            return false;
    }
    return true;
}

// The end of an experiment: what began it needs no making up for any more.
static bool forgets(struct changes *c, const struct pending *p)
{
    const char *key = is_op(p, "heal") ? "fault" : is_op(p, "return") ? "key" : NULL;
    for (size_t i = json_array_size(c->log); key && i-- > 0;) {
        const json_t *earlier = json_array_get(c->log, i), *value = json_object_get(earlier, key);
        const json_t *group = json_object_get(p->change, "group");
        if (value && json_equal(value, json_object_get(p->change, key)) &&
            (!group || json_equal(group, json_object_get(earlier, "group"))))
            json_array_remove(c->log, i);
    }
    return key != NULL;
}

// A shard in a lost one's place begins with the fault as it is now.
static bool retunes(struct changes *c, const struct pending *p)
{
    bool is = is_op(p, "retune");
    for (size_t i = 0; is && i < json_array_size(c->log); i++) {
        const json_t *earlier = json_array_get(c->log, i), *number = json_object_get(earlier, "fault");
        json_t *copy = number && json_equal(number, json_object_get(p->change, "fault"))
                           ? json_copy((json_t *)(uintptr_t)earlier)
                           : NULL;
        if (copy) {
            json_object_set(copy, "spec", json_object_get(p->change, "spec"));
            json_object_set(copy, "at_us", json_object_get(p->change, "at_us"));
            json_array_set_new(c->log, i, copy);
        }
    }
    return is;
}

static int keep(struct changes *c, struct pending *p, struct error *err)
{
    // Those are over when they are done.
    if (is_op(p, "status") || is_op(p, "restart") || forgets(c, p) || retunes(c, p))
        return 0;
    for (size_t i = json_array_size(c->log); i-- > 0;)
        if (replaces(p->change, json_array_get(c->log, i)))
            json_array_remove(c->log, i);
    if (json_array_size(c->log) >= LOG_MAX)
        return error_set(err, ERR_LIMIT, "the run has seen %d changes, and a shard that is lost must be told them all",
                         LOG_MAX);
    if (json_array_append(c->log, p->change))
        return error_set(err, ERR_NO_MEMORY, "no memory for a change");
    p->logged = true;
    return 0;
}

static int send_out(struct pending *p, struct error *err)
{
    struct run *run = p->run;
    json_object_set_new(p->change, "number", json_integer((json_int_t)p->number));
    json_object_set_new(p->change, "at_us", json_integer(run_elapsed(run)));
    if (keep(run->changes, p, err))
        return -1;
    for (unsigned i = 0; i < run->n_shards; i++) {
        // Before the first GO shards are told at once; one in a lost one's place is told with GO.
        if (run->shards[i].state != (run->phase < RUN_RAMP ? SLOT_READY : SLOT_GOING))
            continue;
        p->waits[i] = true;
        p->n_waits++;
        slot_send(&run->shards[i], MSG_CHANGE, json_incref(p->change));
    }
    settle(p);
    return 0;
}

static void add_up(json_t *sum, const json_t *answer)
{
    const char *key;
    json_t *value, *element;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)answer, key, value)
    {
        json_t *have = json_object_get(sum, key);
        if (json_is_integer(value))
            json_object_set_new(sum, key, json_integer(json_integer_value(have) + json_integer_value(value)));
        if (!json_is_array(value))
            continue;
        if (!have && json_object_set_new(sum, key, have = json_array()))
            continue;
        json_array_foreach(value, i, element)
        {
            json_int_t n = json_integer_value(json_array_get(have, i)) + json_integer_value(element);
            if (i < json_array_size(have))
                json_array_set_new(have, i, json_integer(n));
            else
                json_array_append_new(have, json_integer(n));
        }
    }
}

static enum error_code code_of(const char *name)
{
    for (int i = 1; name && i < ERR_CODE_MAX; i++)
        if (strcmp(error_code_name((enum error_code)i), name) == 0)
            return (enum error_code)i;
    return ERR_INTERNAL;
}

static struct pending *find(const struct run *run, const json_t *m)
{
    struct pending *p = run->changes->pending;
    uint64_t number = (uint64_t)json_integer_value(json_object_get(m, "number"));
    while (p && p->number != number)
        p = p->next;
    return p;
}

static void take_error(struct pending *p, const json_t *m)
{
    const char *text = json_string_value(json_object_get(m, "error"));
    if (text && !p->error.code)
        error_set(&p->error, code_of(json_string_value(json_object_get(m, "code"))), "%s", text);
}

void changes_answered(struct run *run, struct slot *slot, const json_t *m)
{
    struct pending *p = find(run, m);
    if (!p || slot->number >= run->n_shards || !p->waits[slot->number])
        return;
    p->waits[slot->number] = false;
    p->n_waits--;
    take_error(p, m);
    if (p->error.code)
        unlog(run->changes, p);
    add_up(p->sum, json_object_get(m, "answer"));
    settle(p);
}

void changes_lost(struct run *run, struct slot *slot)
{
    for (struct pending *p = run->changes->pending; p; p = p->next) {
        if (slot->director && p->reading) {
            p->reading = false;
            error_set(&p->error, ERR_CLOSED, "the process that reads scenarios was lost");
            settle(p);
        } else if (slot_is_shard(slot) && p->waits[slot->number]) {
            p->waits[slot->number] = false;
            p->n_waits--;
            settle(p);
        }
    }
}

void changes_stop(struct run *run)
{
    if (run->changes)
        reload_delete(run->changes->reload);
    if (run->changes)
        run->changes->reload = NULL;
    for (struct pending *p = run->changes ? run->changes->pending : NULL; p; p = p->next) {
        if (!p->n_waits && !p->reading)
            continue;
        memset(p->waits, 0, run->n_shards * sizeof(*p->waits));
        p->n_waits = 0;
        p->reading = false;
        error_set(&p->error, ERR_CANCELLED, "the run is stopping");
        settle(p);
    }
}

json_t *changes_log(struct run *run)
{
    return json_deep_copy(run->changes->log);
}

// --- asking -------------------------------------------------------------------------------------------------------

static bool is_of_experiment(const json_t *change)
{
    return chaos_is_op(json_string_value(json_object_get(change, "op"))) || json_object_get(change, "key");
}

static int check_group(struct run *run, const json_t *change, struct error *err)
{
    unsigned i;
    const char *name = json_string_value(json_object_get(change, "group"));
    const char *op = json_string_value(json_object_get(change, "op"));
    if (!op)
        return error_set(err, ERR_INVALID, "op: expected what to do");
    if (is_of_experiment(change) && !name)
        return 0;
    if (strcmp(op, "model") == 0 || strcmp(op, "renew") == 0)
        return error_set(err, ERR_INVALID, "op: \"%s\" is a part of \"reload\"", op);
    if (strcmp(op, "reload") == 0 && !json_object_get(change, "group"))
        return 0;
    return find_group(run, name, &i) ? 0
                                     : error_set(err, ERR_NOT_FOUND, "there is no group \"%.100s\"", name ? name : "");
}

// More devices must fit the machine, as those did that the run began with.
static int check_room(struct run *run, const json_t *change, struct error *err)
{
    unsigned i;
    struct preflight fit;
    struct plan_group *g = find_group(run, json_string_value(json_object_get(change, "group")), &i);
    double n = json_number_value(json_object_get(change, "count"));
    const char *op = json_string_value(json_object_get(change, "op"));
    if (!g || strcmp(op, "scale") != 0 || !(n > (double)g->config.count && n <= 1e9))
        return 0;
    uint64_t before = g->config.count;
    g->config.count = (uint64_t)n;
    int rc = preflight_check(run->plan, run->n_shards, run->config->partition, run->config->partitions,
                             targets_has_broker(run->targets), &fit, err);
    g->config.count = before;
    return rc;
}

static int ask_director(struct pending *p, struct error *err)
{
    struct run *run = p->run;
    const json_t *group = json_object_get(p->change, "group");
    if (run->director.state == SLOT_NONE || run->director.state == SLOT_DONE)
        return error_set(err, ERR_STATE, "no model and no behaviour file is in use: there is nothing to reload");
    p->reading = true;
    slot_send(&run->director, MSG_RELOAD,
              json_pack("{s:I, s:O?}", "number", (json_int_t)p->number, "group", (json_t *)(uintptr_t)group));
    return 0;
}

void changes_reloaded(struct run *run, const json_t *m)
{
    struct pending *p = find(run, m);
    struct error err = {0};
    json_t *groups = json_object_get(m, "groups");
    if (!p || !p->reading)
        return;
    p->reading = false;
    take_error(p, m);
    p->n_groups = (unsigned)json_array_size(groups);
    if (!p->error.code && p->n_groups) {
        json_object_set(p->change, "groups", groups);
        if (send_out(p, &err))
            p->error = err;
    }
    if (p->error.code || !p->n_groups)
        settle(p);
}

int run_change(struct run *run, json_t *stolen, int64_t timeout_us, run_change_fn *fn, void *arg, struct error *err)
{
    struct changes *c = run->changes;
    struct pending *p = NULL;
    if (!run->go_us || run->phase >= RUN_STOPPING)
        error_set(err, run->go_us ? ERR_CANCELLED : ERR_STATE, "the run is %s", run->go_us ? "stopping" : "not on yet");
    else if (run->virtual_run)
        error_set(err, ERR_UNSUPPORTED, "a run in virtual time cannot be changed");
    else if (c->n_pending >= PENDING_MAX && !is_of_experiment(stolen))
        error_set(err, ERR_LIMIT, "%u changes are under way", c->n_pending);
    else if (!check_group(run, stolen, err) && !check_room(run, stolen, err))
        p = calloc(1, sizeof(*p));
    bool *waits = p ? calloc(run->n_shards + 1, sizeof(*waits)) : NULL;
    if (!waits) {
        if (p)
            error_set(err, ERR_NO_MEMORY, "no memory for a change");
        free(p);
        json_decref(stolen);
        return -1;
    }
    *p = (struct pending){.next = c->pending,
                          .run = run,
                          .number = ++c->next_number,
                          .change = stolen,
                          .fn = fn,
                          .arg = arg,
                          .waits = waits,
                          .sum = json_pack("{s:i}", "affected", 0)};
    loop_timer_start(run->loop, &p->timer, timeout_us, timed_out);
    int rc = is_op(p, "reload") ? ask_director(p, err) : send_out(p, err);
    if (rc) {
        free_pending(p);
        return -1;
    }
    c->pending = p;
    c->n_pending++;
    return 0;
}

// --- the test -----------------------------------------------------------------------------------------------------

struct request {
    struct run *run;
    json_t *id;
};

static void tell_test(void *arg, const json_t *answer, const struct error *err)
{
    struct request *r = arg;
    json_t *m = json_pack("{s:O, s:O?}", "id", r->id, "answer", (json_t *)(uintptr_t)answer);
    if (err) {
        json_object_set_new(m, "error", json_text_of(err->text));
        json_object_set_new(m, "code", json_string(error_code_name(err->code)));
    }
    slot_send(&r->run->director, MSG_ANSWER, m);
    json_decref(r->id);
    free(r);
}

void changes_requested(struct run *run, const json_t *m)
{
    struct error err = {0};
    int64_t timeout;
    struct request *r = calloc(1, sizeof(*r));
    if (!r)
        return;
    *r = (struct request){run, json_incref(json_object_get(m, "id"))};
    const json_t *change = json_object_get(m, "change");
    const char *op = json_string_value(json_object_get(change, "op"));
    int rc = json_get_int(m, "timeout_us", RELOAD_US, &timeout, &err);
    if (rc == 0 && !json_is_object(change))
        rc = error_set(&err, ERR_INVALID, "expected a change");
    else if (rc == 0 && experiments_is_op(op))
        rc = experiments_request(run, change, tell_test, r, &err);
    else if (rc == 0 && is_of_experiment(change))
        rc = error_set(&err, ERR_INVALID, "op: \"%.40s\" is a part of \"experiment\"", op);
    else if (rc == 0)
        rc = run_change(run, json_deep_copy(change), timeout, tell_test, r, &err);
    if (rc)
        tell_test(r, NULL, &err);
}

// --- reloading by hand --------------------------------------------------------------------------------------------

static void log_reload(void *arg, const json_t *answer, const struct error *err)
{
    struct run *run = arg;
    long long groups = json_integer_value(json_object_get(answer, "groups")); // 0 without an answer
    long long devices = json_integer_value(json_object_get(answer, "affected"));
    if (err)
        log_write(run->log, err->code == ERR_CANCELLED ? LOG_DEBUG : LOG_ERROR, NULL, "not reloaded: %s", err->text);
    else if (groups)
        log_write(run->log, LOG_INFO, NULL, "reloaded: %lld group%s, %lld device%s", groups, groups == 1 ? "" : "s",
                  devices, devices == 1 ? "" : "s");
    else
        log_write(run->log, LOG_INFO, NULL, "nothing to reload: no model and no behaviour file has changed");
}

void run_reload(struct run *run)
{
    struct error err = {0};
    if (run_change(run, json_pack("{s:s}", "op", "reload"), RELOAD_US, log_reload, run, &err))
        log_reload(run, NULL, &err);
}

bool changes_reloadable(const struct run *run)
{
    const json_t *groups = json_object_get(run->plan->json, "groups"), *group;
    size_t i;
    json_array_foreach(groups, i, group)
    {
        if (json_is_string(json_object_get(group, "model")) || json_is_string(json_object_get(group, "behaviour_path")))
            return !run->virtual_run;
    }
    return false;
}

static void on_watch(void *arg)
{
    run_reload(arg);
}

int changes_watch(struct run *run, struct error *err)
{
    if (!changes_reloadable(run))
        log_write(run->log, LOG_WARN, NULL, "--watch: the scenario uses no model and no behaviour file");
    run->changes->reload = reload_watch(run->loop, run->plan->json, run->log, on_watch, run, err);
    return run->changes->reload ? 0 : -1;
}
