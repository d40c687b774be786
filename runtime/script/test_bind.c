// What product Lua of the director uses: the observer (paho) behind blocking calls, the run's status, outcomes of
// expectations.
#include "script/internal.h"
#include <string.h>
#include "core/jsonx.h"

enum { QUEUE_MAX = 10000 };

struct arrived {
    struct arrived *next;
    int message; // registry reference
};

// A subscription of the observer with the messages that nobody has taken yet.
struct subscription {
    struct subscription *next;
    struct scenario *scenario;
    struct observer *observer;
    unsigned ticket;
    struct subscription *into; // whose queue its messages join, in the order they come; NULL: its own
    struct arrived *first, **last;
    unsigned queued;
    uint64_t seen, dropped;
    slot_id waiting; // task blocked in native.observe_next
};

struct handle_subscription {
    uint32_t tag;
    struct subscription *sub; // NULL when closed
};

static const struct test_env *env_of(lua_State *L, struct scenario *s)
{
    if (!s->env)
        luaL_error(L, "only the test function of a scenario can do this");
    return s->env;
}

static struct observer *observer_of(lua_State *L, struct scenario *s, int arg, struct error *err)
{
    return env_of(L, s)->observer(s->env->arg, lua_isnoneornil(L, arg) ? NULL : luaL_checkstring(L, arg), err);
}

// --- blocking on the observer: the callback finds the task by id, so that a cancelled task is simply not there
// -----------

struct pending {
    struct scenario *scenario;
    slot_id task;
};

static void on_done(void *arg, const struct error *why)
{
    struct pending *p = arg;
    struct task *t = task_find(p->scenario->tasks, p->task);
    free(p);
    if (!t)
        return;
    if (why)
        task_wake_error(t, why);
    else
        task_wake_true(t);
}

static struct pending *pending_new(lua_State *L, struct scenario *s, struct task *t)
{
    struct pending *p = malloc(sizeof *p);
    if (!p)
        luaL_error(L, "no memory to wait");
    *p = (struct pending){s, task_id(t)};
    return p;
}

static void cancel_nothing(struct task *task, void *arg)
{
    (void)task;
    (void)arg;
}

// native.observer_connect(timeout, url?) → true | nil, message, code
static int observer_connect_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    int64_t timeout = bind_duration(L, 1, "timeout");
    struct task *t = task_current(s->tasks, L, "the observer");
    struct error err = {0};
    struct observer *o = observer_of(L, s, 2, &err);
    if (!o)
        return bind_fail(L, &err);
    if (observer_connected(o)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    struct pending *p = pending_new(L, s, t);
    if (observer_connect(o, timeout, on_done, p, &err)) {
        free(p);
        return bind_fail(L, &err);
    }
    task_block(t, cancel_nothing, NULL);
    return task_yield(L);
}

// native.observer_publish(topic, payload, qos, retain, url?) → true | nil, message, code
static int observer_publish_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    size_t n;
    const char *topic = luaL_checkstring(L, 1);
    const char *payload = luaL_checklstring(L, 2, &n);
    int qos = luaL_checkint(L, 3);
    bool retain = lua_toboolean(L, 4);
    struct task *t = task_current(s->tasks, L, "publish");
    struct error err = {0};
    struct observer *o = observer_of(L, s, 5, &err);
    if (!o)
        return bind_fail(L, &err);
    struct pending *p = pending_new(L, s, t);
    if (observer_publish(o, topic, payload, n, qos, retain, on_done, p, &err)) {
        free(p);
        return bind_fail(L, &err);
    }
    task_block(t, cancel_nothing, NULL);
    return task_yield(L);
}

// --- subscriptions --------------------------------------------------------------------------------------------------

static int push_ref(lua_State *L, void *arg)
{
    int ref = (int)(intptr_t)arg;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

static void on_observed(void *arg, const struct observer_message *m)
{
    struct subscription *sub = arg;
    struct scenario *s = sub->scenario;
    lua_State *L = s->L;
    sub = sub->into ? sub->into : sub;
    sub->seen++;
    struct task *t = sub->waiting ? task_find(s->tasks, sub->waiting) : NULL;
    if (!t && sub->queued >= QUEUE_MAX) {
        sub->dropped++;
        return;
    }
    uint32_t former = guard_charge(s->guard, s->run_owner.account);
    behaviour_message_push(L, s, m->topic, strlen(m->topic), m->payload, m->payload_len, m->qos, m->retained);
    lua_pushnumber(L, (double)m->received_us / 1e6);
    lua_setfield(L, -2, "received");
    int ref = guard_ref(L);
    guard_charge(s->guard, former);
    if (t) {
        sub->waiting = 0;
        loop_timer_stop(s->config.loop, task_timer(t));
        if (!task_wake(t, push_ref, (void *)(intptr_t)ref))
            luaL_unref(L, LUA_REGISTRYINDEX, ref);
        return;
    }
    struct arrived *a = malloc(sizeof *a);
    if (!a) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        sub->dropped++;
        return;
    }
    *a = (struct arrived){NULL, ref};
    *sub->last = a;
    sub->last = &a->next;
    sub->queued++;
}

static void subscription_free(struct subscription *sub)
{
    struct scenario *s = sub->scenario;
    for (struct subscription **at = &s->subscriptions; *at; at = &(*at)->next)
        if (*at == sub) {
            *at = sub->next;
            break;
        }
    for (struct subscription *other = s->subscriptions; other; other = other->next)
        if (other->into == sub)
            other->into = NULL;
    observer_unsubscribe(sub->observer, sub->ticket);
    struct task *t = sub->waiting ? task_find(s->tasks, sub->waiting) : NULL;
    if (t) {
        struct error err = {0};
        error_set(&err, ERR_CANCELLED, "the subscription was closed");
        loop_timer_stop(s->config.loop, task_timer(t));
        task_wake_error(t, &err);
    }
    while (sub->first) {
        struct arrived *a = sub->first;
        sub->first = a->next;
        luaL_unref(s->L, LUA_REGISTRYINDEX, a->message);
        free(a);
    }
    free(sub);
}

// native.observe(filter, qos, url?, into?) → subscription, whose messages join those of `into` | nil, message, code
static int push_subscription(lua_State *L, void *arg)
{
    int ref = (int)(intptr_t)arg;
    return push_ref(L, (void *)(intptr_t)ref);
}

struct observe_pending {
    struct pending base;
    struct subscription *sub; // may be gone: looked for before it is used
    int handle;
};

// Nobody got the handle: nobody could close it.
static void subscription_drop(struct scenario *s, const struct subscription *which)
{
    for (struct subscription *sub = s->subscriptions; sub; sub = sub->next)
        if (sub == which) {
            subscription_free(sub);
            return;
        }
}

static void on_subscribed(void *arg, const struct error *why)
{
    struct observe_pending *p = arg;
    struct scenario *s = p->base.scenario;
    struct task *t = task_find(s->tasks, p->base.task);
    const struct subscription *sub = p->sub;
    int ref = p->handle;
    free(p);
    if (!why && t && task_wake(t, push_subscription, (void *)(intptr_t)ref))
        return;
    luaL_unref(s->L, LUA_REGISTRYINDEX, ref);
    subscription_drop(s, sub);
    if (why && t)
        task_wake_error(t, why);
}

static struct subscription *subscription_of(lua_State *L, int arg)
{
    struct handle_subscription *h = lua_type(L, arg) == LUA_TUSERDATA ? lua_touserdata(L, arg) : NULL;
    if (!h || h->tag != HANDLE_SUBSCRIPTION)
        luaL_error(L, "expected a subscription of the observer");
    if (!h->sub)
        luaL_error(L, "the subscription is closed");
    return h->sub;
}

static int observe_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct subscription *into = lua_isnoneornil(L, 4) ? NULL : subscription_of(L, 4);
    const char *filter = luaL_checkstring(L, 1);
    int qos = luaL_checkint(L, 2);
    struct task *t = task_current(s->tasks, L, "observe");
    struct error err = {0};
    struct observer *o = observer_of(L, s, 3, &err);
    if (!o)
        return bind_fail(L, &err);
    struct subscription *sub = calloc(1, sizeof *sub);
    struct observe_pending *p = malloc(sizeof *p);
    if (!sub || !p) {
        free(sub);
        free(p);
        return luaL_error(L, "no memory for a subscription");
    }
    struct handle_subscription *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_subscription){HANDLE_SUBSCRIPTION, sub};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->subscription_meta);
    lua_setmetatable(L, -2);
    sub->scenario = s;
    sub->observer = o;
    sub->into = into;
    sub->last = &sub->first;
    *p = (struct observe_pending){{s, task_id(t)}, sub, guard_ref(L)};
    sub->ticket = observer_subscribe(o, filter, qos, on_observed, sub, on_subscribed, p, &err);
    if (!sub->ticket) {
        luaL_unref(L, LUA_REGISTRYINDEX, p->handle);
        h->sub = NULL;
        free(p);
        free(sub);
        return bind_fail(L, &err);
    }
    sub->next = s->subscriptions;
    s->subscriptions = sub;
    task_block(t, cancel_nothing, NULL);
    return task_yield(L);
}

static void next_cancel(struct task *task, void *arg)
{
    struct scenario *s = arg;
    loop_timer_stop(s->config.loop, task_timer(task));
}

static void next_timeout(struct timer *timer, void *arg)
{
    (void)arg;
    struct task *t = task_of_timer(timer);
    struct subscription *sub = *task_local(t);
    struct error err = {0};
    sub->waiting = 0;
    error_set(&err, ERR_TIMEOUT, "nothing came in time");
    task_wake_error(t, &err);
}

// native.observe_next(subscription, timeout) → message | nil, message, code
static int observe_next_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct subscription *sub = subscription_of(L, 1);
    int64_t timeout = bind_duration(L, 2, "timeout");
    struct task *t = task_current(s->tasks, L, "observe");
    if (sub->first) {
        struct arrived *a = sub->first;
        sub->first = a->next;
        if (!sub->first)
            sub->last = &sub->first;
        sub->queued--;
        int ref = a->message;
        free(a);
        return push_ref(L, (void *)(intptr_t)ref);
    }
    if (sub->waiting && task_find(s->tasks, sub->waiting))
        return luaL_error(L, "another task already waits for this subscription");
    sub->waiting = task_id(t);
    *task_local(t) = sub;
    loop_timer_start(s->config.loop, task_timer(t), timeout, next_timeout);
    task_block(t, next_cancel, s);
    return task_yield(L);
}

// native.observe_close(subscription) → seen, dropped
static int observe_close_bind(lua_State *L)
{
    struct subscription *sub = subscription_of(L, 1);
    struct handle_subscription *h = lua_touserdata(L, 1);
    lua_pushnumber(L, (double)sub->seen);
    lua_pushnumber(L, (double)sub->dropped);
    h->sub = NULL;
    subscription_free(sub);
    return 2;
}

// --- the run --------------------------------------------------------------------------------------------------------

// native.in_test() → whether the test function, setup or teardown, or a task that one spawned, runs
static int in_test_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    lua_pushboolean(L, s->env && task_running(s->tasks));
    return 1;
}

static int status_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const json_t *status = env_of(L, s)->status(s->env->arg);
    if (status)
        json_to_lua(L, status);
    else
        lua_newtable(L);
    return 1;
}

static int elapsed_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    int64_t us = s->env ? s->env->elapsed_us(s->env->arg) : s->fleet ? fleet_elapsed_us(s->fleet) : 0;
    lua_pushnumber(L, (double)us / 1e6);
    return 1;
}

static int check_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct test_env *env = env_of(L, s);
    bool ok = lua_toboolean(L, 2);
    rate_add(s->checks, ok);
    s->check_failed |= !ok;
    env->check(env->arg, luaL_checkstring(L, 1), ok, luaL_optstring(L, 3, ""));
    return 0;
}

// native.test_over(code, error?): the outcome of the test function
static int test_over_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct test_env *env = env_of(L, s);
    int code = luaL_checkint(L, 1);
    if (!s->test_over) {
        s->test_over = true;
        env->done(env->arg, code, luaL_optstring(L, 2, NULL));
    }
    return 0;
}

void test_bindings(lua_State *L, struct scenario *s)
{
    static const luaL_Reg functions[] = {{"observer_connect", observer_connect_bind},
                                         {"observer_publish", observer_publish_bind},
                                         {"observe", observe_bind},
                                         {"observe_next", observe_next_bind},
                                         {"observe_close", observe_close_bind},
                                         {"in_test", in_test_bind},
                                         {"status", status_bind},
                                         {"elapsed", elapsed_bind},
                                         {"check", check_bind},
                                         {"test_over", test_over_bind},
                                         {NULL, NULL}};
    bind_functions(L, s, functions);
    lua_newtable(L);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    s->subscription_meta = guard_ref(L);
}

void test_close(struct scenario *s)
{
    while (s->subscriptions)
        subscription_free(s->subscriptions);
}
