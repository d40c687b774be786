// Setup and teardown of a scenario: each a task of the director's own, with tasks it spawns, and bounded by the
// supervisor. Whatever of its tasks is left when the function returns is cancelled: nothing of the one reaches into the
// run, nothing of the other beyond it. What setup returned is kept as JSON in every process; who asks gets a copy of
// the part it names, so that ten thousand devices do not hold ten thousand copies of the whole.
#include "script/internal.h"

static void act_over(struct scenario *s, int code, const char *text, json_t *stolen)
{
    if (s->act_over) {
        json_decref(stolen);
        return;
    }
    s->act_over = true;
    s->env->act_done(s->env->arg, code, text, stolen);
}

int scenario_act_start(struct scenario *s, const struct test_env *env, bool teardown, struct error *err)
{
    lua_State *L = s->L;
    if (!s->env && scenario_direct(s, env, err))
        return -1;
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->loaded);
    lua_getfield(L, top + 1, "act_runner");
    lua_pushstring(L, teardown ? "teardown" : "setup");
    s->act_task = task_spawn(s->tasks, L, 1, &s->run_owner, err);
    lua_settop(L, top);
    s->acting = s->act_task != NULL;
    s->act_over = s->check_failed = false;
    return s->acting ? 0 : -1;
}

bool scenario_act_ended(struct scenario *s, struct task *task, enum task_result result, const char *text)
{
    if (!s->acting)
        return false;
    bool main = task == s->act_task;
    if (main)
        s->act_task = NULL;
    if (result == TASK_ERROR)
        act_over(s, s->check_failed ? 110 : 107, text, NULL); // what it spawned fails it too
    else if (main && !s->act_over)
        act_over(s, 107, "it ended without an outcome", NULL);
    if (!main)
        return true;
    s->acting = false;
    s->check_failed = false;
    bool tested = s->test_over;
    s->test_over = true; // what is cancelled now is no end of a test
    task_cancel_all(s->tasks, &s->run_owner);
    test_close(s);
    s->test_over = tested;
    return true;
}

void scenario_given(struct scenario *s, const json_t *data)
{
    json_decref(s->given);
    s->given = json_deep_copy(data);
}

// native.act_over(code, error?, data?): the outcome of setup or teardown
static int act_over_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    int code = luaL_checkint(L, 1);
    const char *text = luaL_optstring(L, 2, NULL);
    struct error err = {0};
    json_t *data = NULL;
    if (!s->acting)
        return luaL_error(L, "neither setup nor teardown runs");
    if (code == 0 && !lua_isnoneornil(L, 3)) {
        data = json_from_lua(L, 3, &err);
        if (data && json_dumpb(data, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > SETUP_DATA_MAX) {
            json_decref(data);
            data = NULL;
            error_set(&err, ERR_LIMIT, "it is more than %u KB of JSON", SETUP_DATA_MAX >> 10);
        }
        if (!data) {
            error_prefix(&err, "what it returned cannot be given to the devices");
            act_over(s, 107, err.text, NULL);
            return 0;
        }
    }
    act_over(s, code, text, data);
    return 0;
}

// native.acting_run() → whether setup or teardown runs
static int acting_run_bind(lua_State *L)
{
    lua_pushboolean(L, scenario_of(L)->acting);
    return 1;
}

// iotix.setup_data(key…) → that part of what setup returned, a copy; nil: there is none
static int setup_data_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const json_t *v = s->given;
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        if (lua_type(L, i) == LUA_TNUMBER) {
            lua_Number at = lua_tonumber(L, i);
            v = at >= 1 ? json_array_get(v, (size_t)at - 1) : NULL;
        } else if (lua_type(L, i) == LUA_TSTRING) {
            v = json_object_get(v, lua_tostring(L, i));
        } else {
            return luaL_error(L, "iotix.setup_data: expected keys and indices of what setup returned, got a %s",
                              luaL_typename(L, i));
        }
    }
    if (v)
        json_to_lua(L, v);
    else
        lua_pushnil(L);
    return 1;
}

void act_bindings(lua_State *L, struct scenario *s)
{
    static const luaL_Reg functions[] = {
        {"act_over", act_over_bind}, {"acting_run", acting_run_bind}, {"setup_data", setup_data_bind}, {NULL, NULL}};
    bind_functions(L, s, functions);
}
