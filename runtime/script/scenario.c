// A scenario in one process: the Lua state with its guard and sandbox, loading the file into a plan, behaviours in a
// shard, the test in the director.
#include "script/scenario.h"
#include <luajit.h>
#include <stdlib.h>
#include <string.h>
#include "core/file.h"
#include "device/gateway.h"
#include "script/adapter_lua.h"
#include "script/conn.h"
#include "script/link_bind.h"
#include "script/side.h"
#include "script/syntax.h"

static int run_name(const struct task_owner *owner, struct buf *out)
{
    (void)owner;
    return buf_append_str(out, "test");
}

// --- callbacks of the sandbox and the scheduler
// -----------------------------------------------------------------------

static struct rng *sandbox_rng(void *arg)
{
    return scenario_rng(arg);
}
static int64_t sandbox_wall(void *arg)
{
    return scenario_wall_us(arg);
}

static void sandbox_print(void *arg, const char *line, size_t n)
{
    struct scenario *s = arg;
    scenario_log(s, scenario_behaviour(s), LOG_INFO, "%.*s", (int)n, line);
}

static void test_ended(struct scenario *s, enum task_result result, const char *text)
{
    if (s->test_over)
        return;
    s->test_over = true;
    if (result == TASK_CANCELLED)
        s->env->done(s->env->arg, 0, NULL);
    else
        s->env->done(s->env->arg, s->check_failed ? 110 : 107, text ? text : "the test ended without an outcome");
}

static void device_task_ended(struct scenario *s, struct behaviour *b, struct task *task, enum task_result result,
                              const char *text)
{
    bool hook = hook_task_ended(b, task, result, text);
    struct device *d = b->device;
    if (!d) { // stopped from inside its own task
        if (b->owner.n_tasks == 0) {
            hook_tasks_free(b);
            guard_account_free(s->guard, b->owner.account);
            free(b);
        }
        return;
    }
    if (result == TASK_ERROR) {
        struct scenario_group *g = &s->groups[d->group->config.number];
        counter_add(g->errors, 1);
        if (!hook)
            device_finished(d, text);
    } else {
        behaviour_look(s, b);
    }
}

static void task_ended(void *arg, struct task_owner *owner, struct task *task, enum task_result result,
                       const char *text, bool killed)
{
    struct scenario *s = arg;
    if (killed)
        counter_add(s->kills, 1);
    if (owner->kind == OWNER_ADAPTER) {
        adapter_lua_task_ended(s, owner, task, result, text);
        return;
    }
    if (owner->kind == OWNER_CUSTOM) {
        custom_task_ended(s, owner, task, result, text);
        return;
    }
    if (owner == &s->run_owner && result == TASK_ERROR)
        counter_add(s->script_errors, 1);
    if (owner == &s->run_owner && scenario_act_ended(s, task, result, text))
        return;
    bool main = task == s->test_task;
    if (main)
        s->test_task = NULL;
    if (owner != &s->run_owner)
        device_task_ended(s, container_of(owner, struct behaviour, owner), task, result, text);
    else if (main || result == TASK_ERROR)
        test_ended(s, result, text); // what the test spawned fails the test
}

// Hook of the loop, behind the scheduler's: the scheduler counts, the registry follows.
static void count_overruns(struct loop_hook *hook, struct loop *loop)
{
    (void)loop;
    struct scenario *s = container_of(hook, struct scenario, overrun_hook);
    struct tasks_stats stats;
    tasks_stats(s->tasks, &stats);
    if (stats.overruns != s->overruns->count)
        counter_add(s->overruns, stats.overruns - s->overruns->count);
}

// --- opening
// ----------------------------------------------------------------------------------------------------------

static void scenario_close(struct scenario *s);

static int open_state(struct scenario *s, struct error *err)
{
    struct guard_config g = {.heartbeat = s->config.heartbeat};
    s->guard = guard_new(&g, s->config.jit, err);
    if (!s->guard)
        return -1;
    s->L = guard_state(s->guard);
    struct tasks_config t = {
        .loop = s->config.loop, .guard = s->guard, .log = s->config.log, .events = {task_ended, s}};
    s->tasks = tasks_new(s->L, &t, err);
    if (!s->tasks)
        return -1;
    s->overrun_hook = (struct loop_hook){.priority = 20, .fn = count_overruns};
    loop_hook_add(s->config.loop, &s->overrun_hook);
    lua_State *L = s->L;
    lua_pushlightuserdata(L, s);
    lua_setfield(L, LUA_REGISTRYINDEX, "iotix.scenario");
    lua_newtable(L);
    s->message_meta = luaL_ref(L, LUA_REGISTRYINDEX); // replaced by product Lua
    struct sandbox_config sandbox = {
        .rng = sandbox_rng, .print = sandbox_print, .wall_us = sandbox_wall, .arg = s, .script_dir = s->script_dir};
    if (sandbox_open(L, &sandbox, err))
        return -1;
    lua_newtable(L);
    s->response_meta = luaL_ref(L, LUA_REGISTRYINDEX); // the same
    device_bindings_open(L, s);
    conn_bindings_open(L, s);
    request_bindings_open(L, s);
    gen_bindings_open(L, s);
    hook_bindings_open(L, s);
    return sandbox_preload(L, "iotix._core.native", native_open, err);
}

static int open_metrics(struct scenario *s, struct error *err)
{
    struct metrics *m = s->config.metrics;
    s->script_errors = metrics_series(m, "script_errors", METRIC_COUNTER, UNIT_NONE, NULL, err);
    s->overruns = metrics_series(m, "slice_overruns", METRIC_COUNTER, UNIT_NONE, NULL, err);
    s->kills = metrics_series(m, "tasks_killed", METRIC_COUNTER, UNIT_NONE, NULL, err);
    s->checks = metrics_series(m, "checks", METRIC_RATE, UNIT_NONE, NULL, err);
    return s->script_errors && s->overruns && s->kills && s->checks ? 0 : -1;
}

static struct scenario *scenario_open(const struct scenario_config *config, struct error *err)
{
    struct scenario *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a scenario");
        return NULL;
    }
    s->config = *config;
    s->test = s->loaded = s->command_runner = s->test_runner = LUA_NOREF;
    s->message_runner = s->serve_runner = s->connection_reader = LUA_NOREF;
    s->run_owner.name = run_name;
    buf_create(&s->scratch, 1u << 20);
    scratch_create(&s->texts, 1u << 20);
    buf_create(&s->topic, 65536); // the longest topic and a NUL
    buf_create(&s->reply, 65536);
    rng_seed(&s->run_rng, 1);
    bool from_file = config->path && strcmp(config->path, "-") != 0;
    if (path_dirname(from_file ? config->path : ".", s->script_dir, sizeof s->script_dir)) {
        error_set(err, ERR_INVALID, "the path of the scenario is too long");
        goto fail;
    }
    if (!from_file)
        snprintf(s->script_dir, sizeof s->script_dir, ".");
    memcpy(s->models.near, s->script_dir, sizeof s->models.near);
    s->models.dirs = config->model_dirs;
    s->models.n_dirs = config->n_model_dirs;
    if (open_metrics(s, err) || open_state(s, err))
        goto fail;
    s->run_owner.account = guard_account_new(s->guard, 64u << 20);
    return s;
fail:
    scenario_close(s);
    return NULL;
}

static void scenario_stop(struct scenario *s)
{
    if (!s->test_over && s->tasks) {
        struct tasks_stats stats;
        tasks_stats(s->tasks, &stats);
        log_write(s->config.log, LOG_DEBUG, NULL,
                  "lua: %llu KB in %llu tasks, %llu resumes, %llu slice overruns, longest slice %lld us",
                  (unsigned long long)guard_state_bytes(s->guard) / 1024, (unsigned long long)stats.live,
                  (unsigned long long)stats.resumes, (unsigned long long)stats.overruns,
                  (long long)stats.longest_slice_us);
    }
    s->test_over = true;
    s->acting = false;
    if (s->tasks)
        task_cancel_all(s->tasks, &s->run_owner);
    customs_close(s);
    test_close(s);
}

static void scenario_close(struct scenario *s)
{
    if (!s)
        return;
    if (s->tasks) {
        scenario_stop(s);
        sides_stop(s);
        loop_hook_remove(s->config.loop, &s->overrun_hook);
    }
    tasks_delete(s->tasks);
    barriers_close(s);
    links_delete(s->links);
    adapter_lua_delete(s->adapters);
    guard_delete(s->guard);
    user_metrics_free(s);
    for (unsigned i = 0; i < s->n_gens; i++)
        gen_delete(s->gens[i]);
    free(s->gens);
    for (unsigned i = 0; i < s->n_groups; i++)
        hook_group_free(&s->groups[i]);
    free(s->groups);
    buf_destroy(&s->scratch);
    scratch_destroy(&s->texts);
    buf_destroy(&s->topic);
    buf_destroy(&s->reply);
    json_decref(s->plan);
    json_decref(s->given);
    free(s);
}

// --- loading
// ----------------------------------------------------------------------------------------------------------

// A tail call (`return iotix.scenario { … }`) leaves no frame to take the line from: it is where the text says so.
static int line_of_text(const struct scenario *s, const char *what)
{
    const char *at = memmem(s->config.text, s->config.text_len, what, strlen(what));
    int line = at ? 1 : 0;
    for (const char *p = s->config.text; at && p < at; p++)
        line += *p == '\n';
    return line;
}

// "path:12: message" or "path:12:5: message" → file, line, column, message; otherwise the scenario's path and line 0.
static void diagnose(struct scenario *s, const char *code, const char *text, int exit_code, const char *hint)
{
    struct diagnostic d = {.exit_code = exit_code};
    snprintf(d.code, sizeof d.code, "%s", code);
    snprintf(d.hint, sizeof d.hint, "%s", hint);
    snprintf(d.file, sizeof d.file, "%s", s->config.path);
    size_t path_len;
    const char *message = syntax_position(text, &path_len, &d.line, &d.col);
    if (path_len)
        snprintf(d.file, sizeof d.file, "%.*s", (int)path_len, text);
    if (!d.line && strncmp(message, "iotix.", 6) == 0) {
        char function[40];
        snprintf(function, sizeof function, "%.*s", (int)strspn(message, "abcdefghijklmnopqrstuvwxyz."), message);
        d.line = line_of_text(s, function);
    }
    snprintf(d.message, sizeof d.message, "%s", message);
    s->n_diagnostics++;
    if (s->config.diagnostic)
        s->config.diagnostic(s->config.diagnostic_arg, &d);
}

static int traceback(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

// Protected: upvalues none; arguments: the compiled chunk → plan text, scenario table
static int run_chunk(lua_State *L)
{
    struct error err = {0};
    lua_call(L, 0, 1);
    if (sandbox_require(L, "iotix._core.plan", &err))
        return luaL_error(L, "%s", err.text);
    lua_insert(L, -2);
    lua_call(L, 1, 2); // plan(scenario) → plan table, functions
    return 2;
}

// Product errors carry the author's line; an error without position or with a traceback is an uncaught Lua error.
static void load_failed(struct scenario *s, lua_State *L)
{
    if (s->n_diagnostics)
        return; // told already, with more detail
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "the scenario raised something that is not text";
    const char *code = "IOTX002";
    char first[1200];
    snprintf(first, sizeof first, "%s", text);
    char *trace = strstr(first, "\nstack traceback:");
    if (trace)
        *trace = '\0';
    size_t path_len;
    int line, column;
    syntax_position(first, &path_len, &line, &column);
    if (column) // only the compiler tells columns: a file that was required
        code = "IOTX001";
    else if (strstr(first, "iotix."))
        code = "IOTX010";
    diagnose(s, code, first, strcmp(code, "IOTX002") == 0 ? 107 : 104, "");
    if (strcmp(code, "IOTX002") == 0)
        log_write(s->config.log, LOG_DEBUG, NULL, "%s", text);
}

static json_t *scenario_load(struct scenario *s)
{
    lua_State *L = s->L;
    struct error err = {0};
    char chunk[1100];
    int top = lua_gettop(L);
    snprintf(chunk, sizeof chunk, "@%s", strcmp(s->config.path, "-") ? s->config.path : "stdin");
    lua_pushcfunction(L, traceback);
    if (sandbox_compile(L, s->config.text, s->config.text_len, chunk, &err)) {
        diagnose(s, "IOTX001", err.text, 104, "");
        lua_settop(L, top);
        return NULL;
    }
    lua_pushcfunction(L, run_chunk);
    lua_insert(L, -2);
    guard_enter_load(s->guard, L);
    int rc = lua_pcall(L, 1, 2, top + 1);
    int64_t cpu_us = 0;
    guard_leave(s->guard, &cpu_us);
    json_t *plan = NULL;
    if (rc) {
        load_failed(s, L);
    } else if (s->n_diagnostics == 0) {
        plan = json_from_lua(L, -2, &err);
        if (plan)
            s->loaded = luaL_ref(L, LUA_REGISTRYINDEX);
        else
            diagnose(s, "IOTX002", err.text, 104, "");
    }
    lua_settop(L, top);
    return plan;
}

// --- shard and director
// -----------------------------------------------------------------------------------------------

static int field_ref(lua_State *L, int table, const char *key)
{
    lua_getfield(L, table, key);
    return lua_isnil(L, -1) ? (lua_pop(L, 1), LUA_NOREF) : luaL_ref(L, LUA_REGISTRYINDEX);
}

// Groups keep the number of their place in the file when --only leaves others out.
static unsigned group_number(const json_t *group)
{
    return (unsigned)json_integer_value(json_object_get(group, "number"));
}

static int attach_group(struct scenario *s, const json_t *group, int behaviours, struct error *err)
{
    lua_State *L = s->L;
    struct scenario_group *g = &s->groups[group_number(group)];
    const char *name = json_string_value(json_object_get(group, "name"));
    char tags[160];
    g->memory = (uint64_t)json_integer_value(json_object_get(group, "memory"));
    g->data_numbers = json_is_true(json_object_get(json_object_get(group, "data"), "numbers"));
    lua_getfield(L, behaviours, name);
    g->behaviour = lua_isfunction(L, -1) ? luaL_ref(L, LUA_REGISTRYINDEX) : (lua_pop(L, 1), LUA_NOREF);
    snprintf(tags, sizeof tags, "group:%s", name);
    struct metrics *m = s->config.metrics;
    g->commands = metrics_series(m, "commands_received", METRIC_COUNTER, UNIT_NONE, tags, err);
    g->command_errors = metrics_series(m, "command_errors", METRIC_COUNTER, UNIT_NONE, tags, err);
    g->errors = metrics_series(m, "script_errors", METRIC_COUNTER, UNIT_NONE, tags, err);
    return g->commands && g->command_errors && g->errors ? 0 : -1;
}

// A behaviour in a file of its own comes as text.
static int attach_file(struct scenario *s, const json_t *group, struct error *err)
{
    const char *path = json_string_value(json_object_get(group, "behaviour_path"));
    const char *text = json_string_value(json_object_get(group, "behaviour_text"));
    return path && text ? behaviour_set(s, group_number(group), path, text, err) : 0;
}

// What side connections that are made later need of the plan.
static int keep_plan(struct scenario *s, const json_t *plan)
{
    static const char *const keys[] = {"broker", "http", "coap", "embedded_urls", "embedded_ca", NULL};
    s->plan = json_object();
    int rc = s->plan ? 0 : -1;
    for (unsigned i = 0; !rc && keys[i]; i++) {
        json_t *v = json_object_get(plan, keys[i]);
        if (v && !json_is_null(v))
            rc = json_object_set(s->plan, keys[i], v);
    }
    return rc;
}

static int scenario_attach(struct scenario *s, struct fleet *fleet, const json_t *plan, struct error *err)
{
    lua_State *L = s->L;
    const json_t *groups = json_object_get(plan, "groups"), *group;
    size_t i;
    s->fleet = fleet;
    s->seed = fleet_seed(fleet);
    rng_seed(&s->run_rng, s->seed);
    json_array_foreach(groups, i, group) if (group_number(group) >= s->n_groups) s->n_groups = group_number(group) + 1;
    s->groups = calloc(s->n_groups, sizeof *s->groups);
    if (!s->groups)
        return error_set(err, ERR_NO_MEMORY, "no memory for groups");
    if (keep_plan(s, plan) || sides_start(s, err))
        return error_set(err, ERR_NO_MEMORY, "no memory for connections");
    int top = lua_gettop(L), rc = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->loaded);
    s->command_runner = field_ref(L, top + 1, "command_runner");
    s->command_task = field_ref(L, top + 1, "command_task");
    s->custom_task = field_ref(L, top + 1, "custom_task");
    s->hook_resolver = field_ref(L, top + 1, "hook_resolver");
    s->message_runner = field_ref(L, top + 1, "message_runner");
    s->serve_runner = field_ref(L, top + 1, "serve_runner");
    lua_getfield(L, top + 1, "behaviours");
    json_array_foreach(groups, i, group) rc |= attach_group(s, group, top + 2, err);
    json_array_foreach(groups, i, group) rc |= attach_file(s, group, err);
    for (unsigned k = 0; k < fleet_group_count(fleet) && !rc; k++) {
        struct group *g = fleet_group(fleet, k);
        const struct model *m = g->config.model;
        if (m && m->n_hooks)
            rc = script_hook_resolve(s, g, m, err);
        for (unsigned kind = 0; !rc && (m = model_child(g->config.model, kind)); kind++)
            rc = m->n_hooks ? script_hook_resolve(s, g, m, err) : 0;
    }
    lua_settop(L, top);
    // Loading is over: what it left behind is collected once, so that the run starts from a small heap.
    lua_gc(L, LUA_GCCOLLECT, 0);
    return rc ? -1 : 0;
}

static int scenario_test_start(struct scenario *s, const struct test_env *env, struct error *err)
{
    lua_State *L = s->L;
    if (scenario_direct(s, env, err))
        return -1;
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->loaded);
    lua_getfield(L, top + 1, "test_runner");
    s->test_task = task_spawn(s->tasks, L, 0, &s->run_owner, err);
    lua_settop(L, top);
    return s->test_task ? 0 : -1;
}

static const struct device_ops *scenario_device_ops(struct scenario *s)
{
    (void)s;
    return &script_device_ops;
}

const struct scenario_ops *script_scenario_ops(void)
{
    static const struct scenario_ops ops = {
        .open = scenario_open,
        .load = scenario_load,
        .adapters = scenario_adapters,
        .device_ops = scenario_device_ops,
        .attach = scenario_attach,
        .test_start = scenario_test_start,
        .direct = scenario_direct,
        .custom_start = scenario_custom_start,
        .custom_stop = scenario_custom_stop,
        .act_start = scenario_act_start,
        .given = scenario_given,
        .opened = scenario_opened,
        .reload = scenario_reload,
        .behaviour_load = scenario_behaviour_load,
        .stop = scenario_stop,
        .idle = sides_idle,
        .pending = sides_pending,
        .detach = sides_stop,
        .close = scenario_close,
    };
    return &ops;
}

const char *script_lua_version(void)
{
    return &LUAJIT_VERSION[sizeof("LuaJIT ") - 1];
}
