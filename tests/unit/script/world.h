// What the tests of this room share: a loop, a guarded state with its sandbox and scheduler, and a record of what
// ended.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/buf.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/rng.h"
#include "script/guard.h"
#include "script/sandbox.h"
#include "script/task.h"

struct world {
    struct clock clock;
    struct loop *loop;
    struct guard *guard;
    lua_State *L;
    struct tasks *tasks;
    struct rng rng;
    unsigned done, errors, cancelled, killed;
    char text[8192];    // of the latest error
    char printed[8192]; // by print, lines joined by newlines
    struct error err;
};

static struct rng *world_rng(void *arg)
{
    return &((struct world *)arg)->rng;
}

static int64_t world_wall(void *arg)
{
    (void)arg;
    return INT64_C(1700000000123456);
}

static void world_print(void *arg, const char *line, size_t n)
{
    struct world *w = arg;
    size_t used = strlen(w->printed);
    snprintf(w->printed + used, sizeof(w->printed) - used, "%.*s\n", (int)n, line);
}

static void world_ended(void *arg, struct task_owner *owner, struct task *task, enum task_result result,
                        const char *text, bool killed)
{
    struct world *w = arg;
    (void)owner;
    assert_non_null(task);
    w->done += result == TASK_DONE;
    w->cancelled += result == TASK_CANCELLED;
    if (result == TASK_ERROR) {
        assert_non_null(text);
        w->errors++;
        w->killed += killed;
        snprintf(w->text, sizeof(w->text), "%s", text);
    }
}

static inline void world_open_with(struct world *w, const struct guard_config *guard, const char *dir,
                                   const struct tasks_config *tasks)
{
    memset(w, 0, sizeof(*w));
    clock_create_real(&w->clock);
    w->loop = loop_new(&w->clock, &w->err);
    assert_non_null(w->loop);
    w->guard = guard_new(guard, false, &w->err);
    if (!w->guard)
        fail_msg("%s", w->err.text);
    w->L = guard_state(w->guard);
    rng_seed(&w->rng, 7);
    struct sandbox_config sc = {world_rng, world_print, world_wall, w, dir};
    if (sandbox_open(w->L, &sc, &w->err))
        fail_msg("%s", w->err.text);
    struct tasks_config tc = tasks ? *tasks : (struct tasks_config){0};
    tc.loop = w->loop;
    tc.guard = w->guard;
    tc.events.ended = world_ended;
    tc.events.arg = w;
    w->tasks = tasks_new(w->L, &tc, &w->err);
    assert_non_null(w->tasks);
}

static inline void world_open(struct world *w)
{
    struct guard_config guard = {0};
    world_open_with(w, &guard, NULL, NULL);
}

static inline void world_close(struct world *w)
{
    assert_int_equal(lua_gettop(w->L), 0);
    tasks_delete(w->tasks);
    guard_delete(w->guard);
    loop_delete(w->loop);
}

// Turns the loop until `cond` holds or `ms` of wall time have passed.
#define WORLD_UNTIL(w, cond, ms)                                                                                       \
    do {                                                                                                               \
        int64_t deadline = clock_now_us(&(w)->clock) + (int64_t)(ms)*1000;                                             \
        while (!(cond) && clock_now_us(&(w)->clock) < deadline)                                                        \
            loop_turn((w)->loop, 2000);                                                                                \
    } while (0)

static inline int world_sleep(lua_State *L)
{
    struct tasks *ts = tasks_of(L);
    double s = luaL_checknumber(L, 1);
    return task_sleep(L, task_current(ts, L, "iotix.sleep"), (int64_t)(s * 1e6));
}

static inline int world_spawn(lua_State *L)
{
    struct tasks *ts = tasks_of(L);
    struct error err = {0};
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    struct task *t = task_spawn(ts, L, 0, task_owner(task_running(ts)), &err);
    if (!t)
        return luaL_error(L, "%s", err.text);
    lua_pushnumber(L, (lua_Number)slot_index(task_id(t)));
    return 1;
}

// CPU of the thread, microseconds.
static inline int world_cpu(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_thread_cpu_us());
    return 1;
}

// Pushes the table that author code gets as its argument.
static inline void world_push_dev(struct world *w, const luaL_Reg *more)
{
    static const luaL_Reg base[] = {{"sleep", world_sleep}, {"spawn", world_spawn}, {"cpu", world_cpu}, {NULL, NULL}};
    lua_newtable(w->L);
    for (const luaL_Reg *r = base; r->name; r++) {
        lua_pushcfunction(w->L, r->func);
        lua_setfield(w->L, -2, r->name);
    }
    for (const luaL_Reg *r = more; r && r->name; r++) {
        lua_pushcfunction(w->L, r->func);
        lua_setfield(w->L, -2, r->name);
    }
    sandbox_readonly(w->L);
}

// Compiles author code and spawns it as a task of the owner, with the dev table as its argument.
static inline struct task *world_run(struct world *w, struct task_owner *owner, const char *code, const luaL_Reg *more)
{
    if (!owner->account)
        owner->account = guard_account_new(w->guard, 0);
    if (sandbox_compile(w->L, code, strlen(code), "@test.lua", &w->err))
        fail_msg("%s", w->err.text);
    world_push_dev(w, more);
    struct task *t = task_spawn(w->tasks, w->L, 1, owner, &w->err);
    if (!t)
        fail_msg("%s", w->err.text);
    return t;
}
