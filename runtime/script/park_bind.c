// What product Lua needs to write behaviours as libraries: a task that waits until another one of its device wakes it,
// and the questions "whose task is this" and "is this the handle of who runs".
#include "script/internal.h"

// Kept alive by the Lua function that parks: a local variable of it, and no tail call.
struct handle_parker {
    uint32_t tag;
    bool parked; // the task waits for this one
    slot_id task;
};

static void park_cancel(struct task *task, void *arg)
{
    struct scenario *s = arg;
    loop_timer_stop(s->config.loop, task_timer(task)); // the handle's id finds no task any more
}

static void park_timeout(struct timer *timer, void *arg)
{
    (void)arg;
    struct task *t = task_of_timer(timer);
    struct handle_parker *p = *task_local(t);
    struct error err = {0};
    error_set(&err, ERR_TIMEOUT, "nothing came in time");
    p->parked = false;
    task_wake_error(t, &err);
}

static struct handle_parker *check_parker(lua_State *L)
{
    struct handle_parker *p = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!p || p->tag != HANDLE_PARKER)
        luaL_error(L, "expected what native.parker returned");
    return p;
}

// native.parker() → a place for one task to wait at
int parker_bind(lua_State *L)
{
    struct handle_parker *p = lua_newuserdata(L, sizeof *p);
    *p = (struct handle_parker){.tag = HANDLE_PARKER};
    return 1;
}

// native.park(parker, name, microseconds?) → true | nil, message, code
int park_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct handle_parker *p = check_parker(L);
    double timeout_us = luaL_optnumber(L, 3, -1);
    struct task *t = task_current(s->tasks, L, luaL_checkstring(L, 2));
    p->parked = true;
    p->task = task_id(t);
    *task_local(t) = p;
    if (timeout_us >= 0)
        loop_timer_start(s->config.loop, task_timer(t), (int64_t)timeout_us, park_timeout);
    task_block(t, park_cancel, s);
    return task_yield(L);
}

// native.unpark(parker) → whether a task waited there
int unpark_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct handle_parker *p = check_parker(L);
    struct task *t = p->parked ? task_find(s->tasks, p->task) : NULL;
    p->parked = false;
    if (t) {
        loop_timer_stop(s->config.loop, task_timer(t));
        task_wake_true(t);
    }
    lua_pushboolean(L, t != NULL);
    return 1;
}

// native.task() → a number that no other task of this process has now | nil
int task_number_bind(lua_State *L)
{
    struct task *t = task_running(scenario_of(L)->tasks);
    if (!t)
        return 0;
    lua_pushnumber(L, (double)(task_id(t) & ((1ull << 53) - 1))); // slot and 21 bits of the generation
    return 1;
}

// native.acting(dev) → true when it is the handle of the device whose task this is | false, why not
int acting_bind(lua_State *L)
{
    const struct device *d = scenario_device(scenario_of(L));
    const struct handle_device *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    bool device = h && h->tag == HANDLE_DEVICE;
    lua_pushboolean(L, device && d && d->id == h->id);
    if (lua_toboolean(L, -1))
        return 1;
    if (!device)
        lua_pushfstring(L, "expected a device, got a %s", luaL_typename(L, 1));
    else
        lua_pushstring(L, d ? "this is the handle of another device; a device acts for itself only"
                            : "it works in the behaviour of a device, while the run is on");
    return 2;
}
