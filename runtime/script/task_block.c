// Blocking and waking: what the functions that wait use.
#include "script/task_impl.h"
#include <stdlib.h>

struct task *task_current(struct tasks *ts, lua_State *L, const char *name)
{
    struct task *t = ts->running;
    if (!t)
        luaL_error(L, "%s cannot block here: %s", name,
                   ts->why_not ? ts->why_not
                               : "nothing runs while a scenario is loaded; call it in a behaviour or test");
    else if (t->co != L)
        luaL_error(L, "%s cannot block inside a coroutine of your own; use iotix.spawn", name);
    else if (!lua_isyieldable(L))
        luaL_error(L,
                   "%s cannot block here, inside a callback of sort or gsub, a metamethod or a module that is loaded",
                   name);
    return t;
}

void tasks_forbid(struct tasks *ts, const char *why)
{
    ts->why_not = why;
}

struct task *task_running(struct tasks *ts)
{
    return ts->running;
}

bool task_is_own(const struct tasks *ts, const lua_State *L)
{
    return ts->running && ts->running->co == L;
}

struct tasks *tasks_of(lua_State *L)
{
    return guard_tasks(guard_of(L));
}

void task_block(struct task *t, void (*cancel)(struct task *task, void *arg), void *arg)
{
    t->state = ST_BLOCKED;
    t->cancel = cancel;
    t->arg = arg;
    t->woken = false;
    t->pauses++;
}

void task_awaits_answer(struct task *t)
{
    t->pauses--;
}

uint32_t task_pauses(const struct task *t)
{
    return t->pauses;
}

int task_yield(lua_State *L)
{
    return lua_yield(L, 0);
}

struct timer *task_timer(struct task *t)
{
    return &t->timer;
}

void **task_local(struct task *t)
{
    return &t->local;
}

struct task *task_of_timer(struct timer *timer)
{
    return container_of(timer, struct task, timer);
}

bool task_wake(struct task *t, int (*push)(lua_State *L, void *arg), void *arg)
{
    if (t->state != ST_BLOCKED || t->woken)
        return false;
    t->push = push;
    t->arg = arg;
    if (t == t->tasks->running) {
        // Answered before the blocking function got to its yield: queued when it has.
        t->woken = true;
        t->state = ST_RUNNING;
        return true;
    }
    task_make_ready(t->tasks, t);
    return true;
}

static int push_true(lua_State *L, void *arg)
{
    (void)arg;
    lua_pushboolean(L, 1);
    return 1;
}

bool task_wake_true(struct task *t)
{
    return task_wake(t, push_true, NULL);
}

static int push_error(lua_State *L, void *arg)
{
    struct error *err = arg;
    lua_pushnil(L);
    lua_pushstring(L, err->text);
    lua_pushstring(L, error_code_name(err->code));
    free(err);
    return 3;
}

bool task_wake_error(struct task *t, const struct error *err)
{
    if (t->state != ST_BLOCKED)
        return false;
    struct error *copy = malloc(sizeof(*copy));
    if (!copy)
        return task_wake(t, NULL, NULL);
    *copy = *err;
    return task_wake(t, push_error, copy);
}

static void on_sleep_over(struct timer *timer, void *arg)
{
    (void)arg;
    task_wake_true(task_of_timer(timer));
}

int task_sleep(lua_State *L, struct task *t, int64_t delay_us)
{
    loop_timer_start(t->tasks->config.loop, &t->timer, delay_us < 0 ? 0 : delay_us, on_sleep_over);
    task_block(t, NULL, NULL); // whoever takes it apart stops the timer
    return task_yield(L);
}
