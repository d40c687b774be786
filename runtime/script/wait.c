// Waits: tasks that are blocked on a connection of their device.
#include "script/behaviour.h"
#include <stdlib.h>
#include <string.h>

void wait_free(struct wait *w)
{
    struct wait **at = &w->behaviour->waits;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    luaL_unref(w->scenario->L, LUA_REGISTRYINDEX, w->message);
    free(w->failure);
    free(w);
}

void wait_note(struct wait *w, const struct error *why)
{
    if (why->code == ERR_NONE)
        return;
    free(w->failure);
    w->failure = strdup(why->text);
}

static int push_message(lua_State *L, void *arg)
{
    int ref = (int)(intptr_t)arg;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

void wait_end(struct wait *w)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    if (t)
        loop_timer_stop(w->scenario->config.loop, task_timer(t));
    wait_free(w);
}

void wait_answer_ok(struct wait *w)
{
    struct scenario *s = w->scenario;
    struct task *t = task_find(s->tasks, w->task);
    int value = w->message; // what dev:open returns
    w->message = LUA_NOREF;
    wait_end(w);
    if (value == LUA_NOREF) {
        if (t)
            task_wake_true(t);
    } else if (!t || !task_wake(t, push_message, (void *)(intptr_t)value)) {
        luaL_unref(s->L, LUA_REGISTRYINDEX, value);
    }
}

void wait_answer_error(struct wait *w, const struct error *why)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    wait_end(w);
    if (t)
        task_wake_error(t, why);
}

// ref: registry reference of a message, owned by the wake.
void wait_answer_value(struct wait *w, int ref)
{
    struct scenario *s = w->scenario;
    struct task *t = task_find(s->tasks, w->task);
    wait_end(w);
    if (!t || !task_wake(t, push_message, (void *)(intptr_t)ref))
        luaL_unref(s->L, LUA_REGISTRYINDEX, ref);
}

static int push_granted(lua_State *L, void *arg)
{
    lua_pushboolean(L, 1);
    lua_pushinteger(L, (int)(intptr_t)arg);
    return 2;
}

void wait_answer_granted(struct wait *w, int granted_qos)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    wait_end(w);
    if (t)
        task_wake(t, push_granted, (void *)(intptr_t)granted_qos);
}

// What nobody will wait for any more is given up: a request, a connection that is being opened.
static void abandon(const struct wait *w)
{
    if (w->kind == WAIT_RESPONSE)
        port_request_cancel(w->behaviour, w->side, w->token);
    else if (w->kind == WAIT_ONLINE && w->side)
        side_close(w->side, true);
}

static void wait_cancel(struct task *task, void *arg)
{
    struct wait *w = arg;
    loop_timer_stop(w->scenario->config.loop, task_timer(task));
    struct wait was = *w;
    wait_free(w);
    abandon(&was);
}

static void wait_timeout(struct timer *timer, void *arg)
{
    (void)arg;
    struct task *t = task_of_timer(timer);
    struct wait *w = *task_local(t), was = *w;
    struct error err = {0};
    error_set(&err, ERR_TIMEOUT, "%s%s%s", w->kind == WAIT_ONLINE ? "not connected in time" : "nothing came in time",
              w->failure ? "; the last attempt: " : "", w->failure ? w->failure : "");
    wait_free(w);
    task_wake_error(t, &err);
    abandon(&was);
    if (was.kind == WAIT_ONLINE && !was.side)
        device_disconnect(was.behaviour->device, ADAPTER_ABRUPT);
}

int wait_block(lua_State *L, struct scenario *s, struct device *d, const struct wait *like, int64_t timeout_us,
               struct task *task)
{
    struct wait *w = d->behaviour ? malloc(sizeof *w) : NULL;
    if (!w) {
        if (like->message)
            luaL_unref(L, LUA_REGISTRYINDEX, like->message);
        // what it waits for has stopped the device
        return luaL_error(L, d->behaviour ? "no memory to wait" : "the device is gone: it was stopped");
    }
    *w = *like;
    w->behaviour = d->behaviour;
    w->scenario = s;
    w->task = task_id(task);
    if (!w->message)
        w->message = LUA_NOREF;
    w->next = w->behaviour->waits;
    w->behaviour->waits = w;
    *task_local(task) = w;
    if (timeout_us >= 0)
        loop_timer_start(s->config.loop, task_timer(task), timeout_us, wait_timeout);
    task_block(task, wait_cancel, w);
    if (w->kind == WAIT_DONE || w->kind == WAIT_RESPONSE)
        task_awaits_answer(task);
    return task_yield(L);
}
