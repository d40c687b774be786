// The director: the process that loads the scenario to say what it declares, and later runs its `test` with the
// observers. It has no devices, so that a test never waits behind them, and a test that hangs never holds them up.
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "engine/child.h"
#include "engine/observer_tls.h"

#define OBSERVERS_MAX 16
#define SNAPSHOT_US 1000000

struct request { // of the test, that has not been answered
    struct request *next;
    uint64_t id;
    test_change_fn *fn;
    void *arg;
};

struct director {
    struct child c;
    struct request *requests;
    uint64_t next_request;
    char *broker;      // the run's URL
    struct plan *plan; // with the supervisor's overrides
    uint64_t seed;
    json_t *status; // latest STATUS_DOWN
    struct {
        char *url;
        struct observer *observer;
    } observers[OBSERVERS_MAX];
    unsigned n_observers;
    int64_t start_us; // of the run; before that of its setup, 0: of neither
    struct timer tick;
    bool testing, told;
};

static int64_t test_elapsed(void *arg)
{
    struct director *d = arg;
    return loop_fresh_us(d->c.loop) - d->start_us;
}

static const json_t *test_status(void *arg)
{
    struct director *d = arg;
    return d->status;
}

static struct observer *test_observer(void *arg, const char *url, struct error *err)
{
    struct director *d = arg;
    if (!url) {
        if (plan_target_clear(d->plan, err))
            return NULL;
        url = d->broker;
    }
    for (unsigned i = 0; i < d->n_observers; i++)
        if (strcmp(d->observers[i].url, url) == 0)
            return d->observers[i].observer;
    if (d->n_observers == OBSERVERS_MAX) {
        error_set(err, ERR_LIMIT, "a test observes at most %d brokers", OBSERVERS_MAX);
        return NULL;
    }
    char *copy = strdup(url);
    json_t *tls = d->plan ? observer_tls_settings(d->plan, url) : NULL;
    struct observer *o = copy ? observer_new_tls(d->c.loop, url, tls, err) : NULL;
    json_decref(tls);
    if (!o) {
        if (!copy)
            error_set(err, ERR_NO_MEMORY, "no memory for an observer");
        free(copy);
        return NULL;
    }
    d->observers[d->n_observers].url = copy;
    d->observers[d->n_observers++].observer = o;
    return o;
}

static void test_check(void *arg, const char *name, bool ok, const char *detail)
{
    struct director *d = arg;
    child_send(&d->c, MSG_CHECK,
               json_pack("{s:o, s:b, s:o, s:I}", "name", json_text_of(name), "ok", ok, "detail", json_text_of(detail),
                         "t_us", (json_int_t)(d->testing ? test_elapsed(d) : 0)));
}

static void test_done(void *arg, int code, const char *error)
{
    struct director *d = arg;
    if (d->told)
        return;
    d->told = true;
    child_send_snapshot(&d->c);
    child_send(&d->c, MSG_TEST_DONE,
               json_pack("{s:b, s:o, s:i}", "ok", code == 0, "error", json_text_of(error), "code", code));
}

// --- changes of the run

static struct request *take_request(struct director *d, uint64_t id)
{
    struct request **at = &d->requests;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    struct request *r = *at;
    if (!r)
        return NULL;
    *at = r->next;
    return r;
}

static void answered(struct director *d, const json_t *m)
{
    struct request *r = take_request(d, (uint64_t)json_integer_value(json_object_get(m, "id")));
    const char *text = json_string_value(json_object_get(m, "error"));
    const char *code = json_string_value(json_object_get(m, "code"));
    struct error err;
    if (!r)
        return;
    if (text) {
        enum error_code number = ERR_INTERNAL;
        for (int i = 1; code && i < ERR_CODE_MAX; i++)
            if (strcmp(code, error_code_name((enum error_code)i)) == 0)
                number = (enum error_code)i;
        error_set(&err, number, "%s", text);
    }
    r->fn(r->arg, text ? NULL : json_object_get(m, "answer"), text ? &err : NULL);
    free(r);
}

// The supervisor bounds how many wait at once.
static void test_change(void *arg, json_t *stolen, int64_t timeout_us, test_change_fn *fn, void *fn_arg)
{
    struct director *d = arg;
    struct request *r = calloc(1, sizeof(*r));
    if (!r) {
        json_decref(stolen);
        return; // the run is out of memory: the test ends with its deadline
    }
    *r = (struct request){d->requests, ++d->next_request, fn, fn_arg};
    d->requests = r;
    child_send(
        &d->c, MSG_REQUEST,
        json_pack("{s:I, s:o, s:I}", "id", (json_int_t)r->id, "change", stolen, "timeout_us", (json_int_t)timeout_us));
}

static void reload(struct director *d, const json_t *m)
{
    const struct scenario_ops *ops = d->c.start->run->ops;
    struct error err = {0};
    json_t *groups = NULL, *answer = json_pack("{s:O}", "number", json_object_get(m, "number"));
    if (!ops->reload)
        error_set(&err, ERR_UNSUPPORTED, "nothing can be reloaded here");
    else
        groups = ops->reload(d->c.scenario, json_string_value(json_object_get(m, "group")), &err);
    if (groups) {
        json_object_set_new(answer, "groups", groups);
    } else {
        json_object_set_new(answer, "error", json_text_of(err.text));
        json_object_set_new(answer, "code", json_string(error_code_name(err.code)));
    }
    child_send(&d->c, MSG_RELOADED, answer);
}

static void on_tick(struct timer *t, void *loop)
{
    (void)loop;
    struct director *d = container_of(t, struct director, tick);
    child_send_snapshot(&d->c);
    loop_timer_start(d->c.loop, &d->tick, SNAPSHOT_US, on_tick);
}

static void custom_done(void *arg, uint64_t number, const char *error);
static void act_done(void *arg, int code, const char *error, json_t *stolen);

static struct test_env test_env_of(struct director *d)
{
    return (struct test_env){
        .arg = d,
        .seed = d->seed,
        .elapsed_us = test_elapsed,
        .status = test_status,
        .observer = test_observer,
        .check = test_check,
        .done = test_done,
        .change = test_change,
        .custom_done = custom_done,
        .act_done = act_done,
    };
}

static void go(struct director *d, const json_t *message)
{
    struct error err = {0};
    int64_t elapsed;
    if (d->testing || json_get_int(message, "elapsed_us", 0, &elapsed, &err))
        return;
    d->testing = true;
    d->start_us = loop_now_us(d->c.loop) - elapsed;
    d->c.start->heartbeat->phase = PHASE_RUN;
    const struct test_env env = test_env_of(d);
    const struct scenario_ops *ops = d->c.start->run->ops;
    loop_timer_start(d->c.loop, &d->tick, SNAPSHOT_US, on_tick);
    if (ops->given && json_object_get(message, "setup"))
        ops->given(d->c.scenario, json_object_get(message, "setup"));
    if ((ops->direct && ops->direct(d->c.scenario, &env, &err)) ||
        (d->plan->has_test && ops->test_start(d->c.scenario, &env, &err)))
        test_done(d, EXIT_LUA_ERROR, err.text);
}

// --- functions of the timeline

static void custom_done(void *arg, uint64_t number, const char *error)
{
    struct director *d = arg;
    json_t *m = json_pack("{s:I}", "number", (json_int_t)number);
    if (error)
        json_object_set_new(m, "error", json_text_of(error));
    child_send(&d->c, MSG_CUSTOM_DONE, m);
}

static void custom(struct director *d, const json_t *m)
{
    const struct scenario_ops *ops = d->c.start->run->ops;
    const json_t *function = json_object_get(m, "custom");
    uint64_t number = (uint64_t)json_integer_value(json_object_get(m, "number"));
    struct error err = {0};
    if (!function) {
        if (ops->custom_stop)
            ops->custom_stop(d->c.scenario, number);
        return;
    }
    if (!ops->custom_start)
        error_set(&err, ERR_UNSUPPORTED, "nobody runs functions of the timeline here");
    else if (ops->custom_start(d->c.scenario, (unsigned)json_integer_value(function), number, &err) == 0)
        return;
    custom_done(d, number, err.text);
}

// --- setup and teardown

static void act_done(void *arg, int code, const char *error, json_t *stolen)
{
    struct director *d = arg;
    json_t *m = json_pack("{s:i, s:o}", "code", code, "error", json_text_of(error ? error : ""));
    if (stolen)
        json_object_set_new(m, "data", stolen);
    child_send_snapshot(&d->c);
    child_send(&d->c, MSG_ACT_DONE, m);
}

static void act(struct director *d, const json_t *m)
{
    const struct scenario_ops *ops = d->c.start->run->ops;
    struct error err = {0};
    if (!d->plan)
        return;
    if (!d->start_us)
        d->start_us = loop_now_us(d->c.loop);
    d->c.start->heartbeat->phase = PHASE_RUN;
    const struct test_env env = test_env_of(d);
    if (!ops->act_start)
        error_set(&err, ERR_UNSUPPORTED, "nobody runs setup and teardown here");
    else if (ops->act_start(d->c.scenario, &env, strcmp(message_text(m, "act"), "teardown") == 0, &err) == 0)
        return;
    act_done(d, EXIT_LUA_ERROR, err.text, NULL);
}

static void assigned(struct director *d, const json_t *message)
{
    struct error err;
    int64_t seed;
    const char *url;
    if (d->broker || json_get_int(message, "seed", 0, &seed, &err) || json_get_str(message, "broker", "", &url, &err))
        return;
    d->seed = (uint64_t)seed;
    d->broker = strdup(url);
    d->plan = plan_parse(json_incref(json_object_get(message, "plan")), &err);
    if (!d->plan) {
        child_diagnose(&d->c, "IOTX091", EXIT_SCENARIO, err.text);
        d->c.status = 1;
        loop_stop(d->c.loop);
        return;
    }
    child_send(&d->c, MSG_READY, json_object());
}

static void on_message(struct child *c, enum message_type type, const json_t *message)
{
    struct director *d = container_of(c, struct director, c);
    if (type == MSG_ASSIGN) {
        assigned(d, message);
    } else if (type == MSG_GO) {
        go(d, message);
    } else if (type == MSG_STATUS_DOWN) {
        json_decref(d->status);
        d->status = json_incref((json_t *)(uintptr_t)message); // borrowed and kept: only the reference count changes
    } else if (type == MSG_ANSWER) {
        answered(d, message);
    } else if (type == MSG_RELOAD) {
        reload(d, message);
    } else if (type == MSG_CUSTOM && d->testing) {
        custom(d, message);
    } else if (type == MSG_ACT) {
        act(d, message);
    } else if (type == MSG_REST) {
        d->told = true;
        c->start->run->ops->stop(c->scenario);
    } else if (type == MSG_STOP) {
        d->told = true; // what a cancelled test says is no verdict
        c->start->heartbeat->phase = PHASE_DRAIN;
        c->start->run->ops->stop(c->scenario);
        child_done(c, 0, NULL, NULL);
    }
}

int director_main(void *child_start, int channel)
{
    struct error err = {0};
    struct director *d = calloc(1, sizeof(*d));
    if (!d)
        return 70;
    d->c.on_message = on_message;
    d->status = json_pack("{s:{}, s:i}", "groups", "elapsed_us", 0);
    if (child_create(&d->c, child_start, channel, &err) == 0) {
        json_t *plan = child_load(&d->c, true);
        if (plan) {
            child_send(&d->c, MSG_PLAN, plan);
            if (loop_run(d->c.loop, &err))
                d->c.status = 1;
        } else {
            d->c.status = 1;
        }
    } else {
        d->c.status = 1;
    }
    int status = d->c.status;
    loop_timer_stop(d->c.loop, &d->tick);
    struct error gone;
    error_set(&gone, ERR_CANCELLED, "the run is over");
    while (d->requests) {
        struct request *r = take_request(d, d->requests->id);
        r->fn(r->arg, NULL, &gone);
        free(r);
    }
    if (d->c.scenario) // before the observers it uses
        d->c.start->run->ops->close(d->c.scenario);
    d->c.scenario = NULL;
    for (unsigned i = 0; i < d->n_observers; i++) {
        observer_delete(d->observers[i].observer);
        free(d->observers[i].url);
    }
    free(d->broker);
    plan_delete(d->plan);
    json_decref(d->status);
    child_destroy(&d->c);
    free(d);
    return status;
}
