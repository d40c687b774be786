// iotix._core.native: the functions that product Lua builds the public library from. Authors never see this module.
#include "script/adapter_lua.h"
#include "script/conn.h"
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "engine/threshold.h"
#include "script/link_bind.h"
#include "script/modules.h"
#include "script/syntax.h"

static int sleep_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    int64_t us = bind_duration(L, 1, "iotix.sleep");
    return task_sleep(L, task_current(s->tasks, L, "iotix.sleep"), us);
}

// native.sleep_until(elapsed seconds of the run, name)
static int sleep_until_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    int64_t at = bind_duration(L, 1, "run:at");
    struct task *t = task_current(s->tasks, L, "run:at");
    int64_t elapsed = s->env ? s->env->elapsed_us(s->env->arg) : 0;
    // A delay counts from the beginning of this turn, what has elapsed from now.
    int64_t into_turn = loop_fresh_us(s->config.loop) - loop_now_us(s->config.loop);
    return task_sleep(L, t, at > elapsed ? at - elapsed + into_turn : 0);
}

struct handle_task {
    uint32_t tag;
    slot_id id;
};

// iotix.spawn(fn, ...) → task handle
static int spawn_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct task *running = task_running(s->tasks);
    if (s->in_hook)
        return luaL_error(L,
                          "iotix.spawn does not work in the handler of a generator or an encoder: it answers at once");
    if (!running)
        return luaL_error(L, "iotix.spawn works while the run is on, not while the scenario is loaded");
    struct error err = {0};
    struct task *t = task_spawn(s->tasks, L, lua_gettop(L) - 1, task_owner(running), &err);
    if (!t)
        return bind_fail(L, &err);
    struct handle_task *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_task){HANDLE_TASK, task_id(t)};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->task_meta);
    lua_setmetatable(L, -2);
    return 1;
}

static struct task *handle_task(lua_State *L, struct scenario *s)
{
    struct handle_task *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!h || h->tag != HANDLE_TASK)
        luaL_error(L, "expected a task that iotix.spawn returned");
    return task_find(s->tasks, h->id);
}

static int task_cancel_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct task *t = handle_task(L, s), *running = task_running(s->tasks);
    if (t && running && task_owner(t) != task_owner(running))
        return luaL_error(L, "this is the task of another device");
    if (t)
        task_cancel(t);
    lua_pushboolean(L, t != NULL);
    return 1;
}

static int task_alive_bind(lua_State *L)
{
    lua_pushboolean(L, handle_task(L, scenario_of(L)) != NULL);
    return 1;
}

// native.running() → whether a task runs: false while the scenario is loaded
static int running_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    lua_pushboolean(L, s->in_hook || task_running(s->tasks));
    return 1;
}

static int now_bind(lua_State *L)
{
    lua_pushnumber(L, (double)scenario_wall_us(scenario_of(L)) / 1e6);
    return 1;
}

// native.log(level, text): with the device's name when a device runs
static int log_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    enum log_level level;
    const char *name = luaL_checkstring(L, 1), *text = luaL_checkstring(L, 2);
    if (log_level_parse(name, &level))
        return luaL_error(L, "unknown level \"%s\"; valid: error, warn, info, debug", name); // product Lua has checked
    scenario_log(s, scenario_behaviour(s), level, "%s", text);
    return 0;
}

static int push_value_of(lua_State *L, const char *const *pairs, unsigned n, const char *key)
{
    size_t len = strlen(key);
    for (unsigned i = n; i-- > 0;) // the last one wins
        if (strncmp(pairs[i], key, len) == 0 && pairs[i][len] == '=') {
            lua_pushstring(L, pairs[i] + len + 1);
            return 1;
        }
    return 0;
}

// native.env(name) → string | nil
static int env_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (push_value_of(L, s->config.env, s->config.n_env, name))
        return 1;
    lua_pushstring(L, getenv(name));
    return 1;
}

// native.params() → { name = text } as given with -p, in order in the list part as names
static int params_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    lua_newtable(L);
    for (unsigned i = 0; i < s->config.n_params; i++) {
        const char *p = s->config.params[i], *eq = strchr(p, '=');
        if (!eq)
            continue;
        lua_pushlstring(L, p, (size_t)(eq - p));
        lua_pushstring(L, eq + 1);
        lua_rawset(L, -3);
    }
    return 1;
}

static int args_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    lua_newtable(L);
    for (unsigned i = 0; i < s->config.n_args; i++) {
        lua_pushstring(L, s->config.args[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

// native.duration(value, bare) → microseconds | nil, message
static int duration_bind(lua_State *L)
{
    struct error err = {0};
    int64_t us;
    int rc = lua_type(L, 1) == LUA_TNUMBER ? duration_from_seconds(lua_tonumber(L, 1), &us, &err)
             : lua_type(L, 1) == LUA_TSTRING
                 ? duration_parse(strlen(lua_tostring(L, 1)) == lua_objlen(L, 1) ? lua_tostring(L, 1) : "",
                                  lua_toboolean(L, 2), &us, &err)
                 : error_set(&err, ERR_INVALID, "expected a duration such as \"5s\", got %s", luaL_typename(L, 1));
    if (rc)
        return bind_fail(L, &err);
    lua_pushnumber(L, (double)us);
    return 1;
}

// native.size("64KB") → bytes | nil, message
static int size_bind(lua_State *L)
{
    struct error err = {0};
    uint64_t bytes;
    if (size_parse(luaL_checkstring(L, 1), &bytes, &err))
        return bind_fail(L, &err);
    lua_pushnumber(L, (double)bytes);
    return 1;
}

// native.count("10k") → number | nil, message
static int count_bind(lua_State *L)
{
    struct error err = {0};
    uint64_t n;
    if (count_parse(luaL_checkstring(L, 1), &n, &err))
        return bind_fail(L, &err);
    lua_pushnumber(L, (double)n);
    return 1;
}

// native.suggest(word, {names}) → nearest | nil
static int suggest_bind(lua_State *L)
{
    const char *names[256];
    const char *word = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    unsigned n = 0;
    for (; n < 255; n++) {
        lua_rawgeti(L, 2, (int)n + 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            lua_pop(L, 1);
            break;
        }
        names[n] = lua_tostring(L, -1); // kept alive by the table
        lua_pop(L, 1);
    }
    names[n] = NULL;
    lua_pushstring(L, suggest(word, names));
    return 1;
}

// native.json(value) → text | nil, message
static int json_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct error err = {0};
    luaL_checkany(L, 1);
    buf_clear(&s->scratch);
    if (json_encode_value(L, 1, &s->scratch, &err))
        return bind_fail(L, &err);
    lua_pushlstring(L, (const char *)s->scratch.data, s->scratch.len);
    return 1;
}

// native.diagnostic(code, file, line, col, message, hint?)
static int diagnostic_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct diagnostic d = {.line = luaL_checkint(L, 3), .col = luaL_checkint(L, 4), .exit_code = 104};
    if (s->config.lenient) // the director has told, or it came on disk since
        return 0;
    snprintf(d.code, sizeof d.code, "%s", luaL_checkstring(L, 1));
    snprintf(d.file, sizeof d.file, "%s", luaL_checkstring(L, 2));
    snprintf(d.message, sizeof d.message, "%s", luaL_checkstring(L, 5));
    snprintf(d.hint, sizeof d.hint, "%s", luaL_optstring(L, 6, ""));
    s->n_diagnostics++;
    if (s->config.diagnostic)
        s->config.diagnostic(s->config.diagnostic_arg, &d);
    return 0;
}

// native.diagnostics() → how many were told
static int diagnostics_bind(lua_State *L)
{
    lua_pushinteger(L, (int)scenario_of(L)->n_diagnostics);
    return 1;
}

// native.position("path:line:column: message") → path, line, column, message; "", 0, 0, text when there is none
static int position_bind(lua_State *L)
{
    size_t path_len;
    int line, column;
    const char *text = luaL_checkstring(L, 1), *message = syntax_position(text, &path_len, &line, &column);
    lua_pushlstring(L, text, path_len);
    lua_pushinteger(L, line);
    lua_pushinteger(L, column);
    lua_pushstring(L, message);
    return 4;
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

// Without the lines of the product, and without the xpcall by which it called the author: they say nothing to an
// author.
static void push_author_frames(lua_State *L, const char *trace)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (const char *line = trace; line;) {
        const char *end = strchr(line + 1, '\n');
        bool bridge = begins(line, "\n\t[C]: in function 'xpcall'") && end && begins(end, "\n\tlua/iotix/");
        if (!bridge && !begins(line, "\n\tlua/iotix/"))
            luaL_addlstring(&b, line, end ? (size_t)(end - line) : strlen(line));
        line = end;
    }
    luaL_pushresult(&b);
}

// native.traceback(message) → message with traceback; other values stay as they are. For xpcall in product Lua.
static int traceback_bind(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        luaL_traceback(L, L, NULL, 1);
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_concat(L, 2);
        lua_pushvalue(L, 1);
        push_author_frames(L, lua_tostring(L, -2));
        lua_concat(L, 2);
    } else {
        lua_settop(L, 1);
    }
    return 1;
}

// native.caller_line(level) → line of the function at that level (1 = who calls this), 0 when it is not known
static int caller_line_bind(lua_State *L)
{
    lua_Debug ar;
    int line = 0;
    if (lua_getstack(L, luaL_checkint(L, 1), &ar) && lua_getinfo(L, "l", &ar) && ar.currentline > 0)
        line = ar.currentline;
    lua_pushinteger(L, line);
    return 1;
}

// native.threshold(selector, expr, check) → true | nil, message
static int threshold_bind(lua_State *L)
{
    struct threshold t;
    struct error err = {0};
    if (threshold_parse(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &t, &err) || threshold_check(&t, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

// native.command_error(): counts a command that could not be carried out
static int command_error_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = scenario_device(s);
    if (d)
        counter_add(s->groups[d->group->config.number].command_errors, 1);
    return 0;
}

// native.serve_error(): counts a request that could not be answered as its handler wished
static int serve_error_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = scenario_device(s);
    if (d)
        counter_add(s->groups[d->group->config.number].errors, 1);
    return 0;
}

// native.author_module(dir, name) → true, what the module of dir/NAME.lua returned | false, path: there is none
static int author_module_bind(lua_State *L)
{
    const char *dir = luaL_checkstring(L, 1), *name = luaL_checkstring(L, 2);
    bool found = modules_author_file(L, dir, name);
    lua_pushboolean(L, found);
    lua_insert(L, -2);
    return 2;
}

static int matches_bind(lua_State *L)
{
    lua_pushboolean(L, topic_matches(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
    return 1;
}

// native.message_meta(table): the metatable of message tables
static int message_meta_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, 1);
    s->message_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

// native.response_meta(table): the metatable of responses
static int response_meta_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, 1);
    s->response_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void task_meta_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {{"cancel", task_cancel_bind}, {"alive", task_alive_bind}, {NULL, NULL}};
    bind_metatable(L, s, NULL, methods);
    s->task_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}

// The opener finds its scenario in the registry, where scenario.c put it.
int native_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"sleep", sleep_bind},
                                         {"sleep_until", sleep_until_bind},
                                         {"spawn", spawn_bind},
                                         {"running", running_bind},
                                         {"now", now_bind},
                                         {"log", log_bind},
                                         {"env", env_bind},
                                         {"params", params_bind},
                                         {"args", args_bind},
                                         {"duration", duration_bind},
                                         {"size", size_bind},
                                         {"count", count_bind},
                                         {"suggest", suggest_bind},
                                         {"json", json_bind},
                                         {"diagnostic", diagnostic_bind},
                                         {"diagnostics", diagnostics_bind},
                                         {"behaviour_read", behaviour_read_bind},
                                         {"behaviour_compile", behaviour_compile_bind},
                                         {"change", change_bind},
                                         {"chaos_fault", chaos_fault_bind},
                                         {"chaos_profile", chaos_profile_bind},
                                         {"chaos_file", chaos_file_bind},
                                         {"chaos_profile_file", chaos_profile_file_bind},
                                         {"threshold", threshold_bind},
                                         {"gen", gen_bind_new},
                                         {"gen_copy", gen_bind_copy},
                                         {"metric", metric_bind},
                                         {"metrics", metrics_bind},
                                         {"parker", parker_bind},
                                         {"park", park_bind},
                                         {"unpark", unpark_bind},
                                         {"task", task_number_bind},
                                         {"acting", acting_bind},
                                         {"barrier", barrier_bind},
                                         {"position", position_bind},
                                         {"data", data_bind_open},
                                         {"gen_keys", gen_bind_keys},
                                         {"command_error", command_error_bind},
                                         {"command_answer", hook_answer_bind},
                                         {"hook_error", hook_error_bind},
                                         {"author_module", author_module_bind},
                                         {"topic_matches", matches_bind},
                                         {"message_meta", message_meta_bind},
                                         {"response_meta", response_meta_bind},
                                         {"connection_reader", connection_reader_bind},
                                         {"respond", respond_bind},
                                         {"serve_error", serve_error_bind},
                                         {"caller_line", caller_line_bind},
                                         {"traceback", traceback_bind},
                                         {NULL, NULL}};
    lua_getfield(L, LUA_REGISTRYINDEX, "iotix.scenario");
    struct scenario *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_newtable(L);
    bind_functions(L, s, functions);
    model_files_open(L, &s->models);
    test_bindings(L, s);
    act_bindings(L, s);
    link_bindings_open(L, s);
    adapter_bindings_open(L, s);
    task_meta_open(L, s);
    metrics_bindings_open(L, s);
    payload_bindings_open(L, s);
    lua_pushstring(L, s->config.path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, s->script_dir);
    lua_setfield(L, -2, "script_dir");
    lua_pushstring(L, s->config.sha256 ? s->config.sha256 : "");
    lua_setfield(L, -2, "sha256");
    lua_pushboolean(L, s->config.lenient);
    lua_setfield(L, -2, "lenient");
    return 1;
}
