// What the test of a scenario does to its groups while they run: one blocking call that asks the engine for a change.
#include <stdlib.h>
#include "core/jsonx.h"
#include "script/internal.h"

struct asked {
    struct scenario *scenario;
    slot_id task;
    uint64_t custom; // whose function asks to begin an experiment, 0: none
};

// json_to_lua of what a shard counted: small, and true exhaustion of memory does not raise (heap.h).
static int push_answer(lua_State *L, void *arg)
{
    json_t *answer = arg;
    json_to_lua(L, answer);
    json_decref(answer);
    return 1;
}

static void on_changed(void *arg, const json_t *answer, const struct error *err)
{
    struct asked *a = arg;
    struct task *t = task_find(a->scenario->tasks, a->task);
    if (a->custom && !err)
        custom_began(a->scenario, a->custom, answer);
    free(a);
    if (!t)
        return; // cancelled meanwhile
    json_t *copy = err ? NULL : json_deep_copy(answer);
    if (copy) {
        if (!task_wake(t, push_answer, copy))
            json_decref(copy);
        return;
    }
    struct error failed;
    error_set(&failed, ERR_NO_MEMORY, "no memory for an answer");
    task_wake_error(t, err ? err : &failed);
}

static void cancel_nothing(struct task *task, void *arg)
{
    (void)task;
    (void)arg;
}

// native.change({ op =, group =, … }, timeout) → answer | nil, message, code
int change_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct error err = {0};
    if (!s->env || !s->env->change)
        return luaL_error(L, "only the test function of a running scenario can do this");
    int64_t timeout = bind_duration(L, 2, "timeout");
    struct task *t = task_current(s->tasks, L, "a change of a group");
    json_t *change = json_from_lua(L, 1, &err);
    if (!change)
        return bind_fail(L, &err);
    struct asked *a = malloc(sizeof *a);
    if (!a) {
        json_decref(change);
        return luaL_error(L, "no memory to wait");
    }
    *a = (struct asked){s, task_id(t), custom_asking(s, t, change)};
    s->env->change(s->env->arg, change, timeout, on_changed, a);
    task_block(t, cancel_nothing, NULL);
    return task_yield(L);
}
