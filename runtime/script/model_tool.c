// Models without a scenario: a Lua state of its own, with the guard's bounds, in which only product Lua runs.
#include "script/model_tool.h"
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "script/guard.h"
#include "script/model_files.h"
#include "script/sandbox.h"

struct model_tool {
    struct guard *guard;
    struct model_files files;
    char **dirs;
    struct rng rng; // of math.random, which nothing here calls
    int module;     // registry reference of iotix._core.model_tool
};

// --- the native module of this state: what model*.lua need, and no more -------------------------------------------

static int native_module(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "iotix.model_tool");
    struct model_tool *tool = lua_touserdata(L, -1);
    lua_newtable(L);
    model_files_open(L, &tool->files);
    return 1;
}

static struct rng *tool_rng(void *arg)
{
    return &((struct model_tool *)arg)->rng;
}

static void tool_print(void *arg, const char *line, size_t n)
{
    (void)arg, (void)line, (void)n;
}

static int64_t tool_wall(void *arg)
{
    (void)arg;
    return 0;
}

// --- opening ------------------------------------------------------------------------------------------------------

static void tool_close(struct model_tool *tool)
{
    if (!tool)
        return;
    guard_delete(tool->guard);
    for (unsigned i = 0; tool->dirs && i < tool->files.n_dirs; i++)
        free(tool->dirs[i]);
    free(tool->dirs);
    free(tool);
}

static int copy_dirs(struct model_tool *tool, const struct model_tool_config *config, struct error *err)
{
    memcpy(tool->files.near, ".", 2);
    if (!config->n_dirs)
        return 0;
    tool->dirs = calloc(config->n_dirs, sizeof(*tool->dirs));
    if (!tool->dirs)
        return error_set(err, ERR_NO_MEMORY, "no memory for a model tool");
    tool->files.dirs = (const char *const *)tool->dirs;
    for (unsigned i = 0; i < config->n_dirs; i++) {
        tool->dirs[i] = strdup(config->dirs[i]);
        if (!tool->dirs[i])
            return error_set(err, ERR_NO_MEMORY, "no memory for a model tool");
        tool->files.n_dirs++;
    }
    return 0;
}

static int open_state(struct model_tool *tool, struct error *err)
{
    struct guard_config guard = {0};
    tool->guard = guard_new(&guard, false, err);
    if (!tool->guard)
        return -1;
    lua_State *L = guard_state(tool->guard);
    lua_pushlightuserdata(L, tool);
    lua_setfield(L, LUA_REGISTRYINDEX, "iotix.model_tool");
    struct sandbox_config sandbox = {.rng = tool_rng, .print = tool_print, .wall_us = tool_wall, .arg = tool};
    if (sandbox_open(L, &sandbox, err) || sandbox_preload(L, "iotix._core.native", native_module, err) ||
        sandbox_require(L, "iotix._core.model_tool", err))
        return -1;
    tool->module = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static struct model_tool *tool_open(const struct model_tool_config *config, struct error *err)
{
    struct model_tool *tool = calloc(1, sizeof(*tool));
    if (!tool) {
        error_set(err, ERR_NO_MEMORY, "no memory for a model tool");
        return NULL;
    }
    rng_seed(&tool->rng, 1);
    if (copy_dirs(tool, config, err) == 0 && open_state(tool, err) == 0)
        return tool;
    tool_close(tool);
    return NULL;
}

// --- calling ------------------------------------------------------------------------------------------------------

struct call {
    const char *function, *name, *text;
    size_t n;
    int module;
};

// Protected: the function of the module with name and text → two texts, or nil and what is wrong and its code.
static int call_protected(lua_State *L)
{
    const struct call *c = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->module);
    lua_getfield(L, -1, c->function);
    int n = 0;
    if (c->name) {
        lua_pushstring(L, c->name);
        n++;
    }
    if (c->text) {
        lua_pushlstring(L, c->text, c->n);
        n++;
    }
    lua_call(L, n, 3);
    return 3;
}

// Leaves three values on the stack, or fails with the stack as it was.
static int call(struct model_tool *tool, struct call *c, struct error *err)
{
    lua_State *L = guard_state(tool->guard);
    int top = lua_gettop(L);
    c->module = tool->module;
    lua_pushcfunction(L, call_protected);
    lua_pushlightuserdata(L, c);
    guard_enter_load(tool->guard, L);
    int rc = lua_pcall(L, 1, 3, 0);
    guard_leave(tool->guard, NULL);
    if (rc) {
        const char *text = lua_tostring(L, -1);
        error_set(err, ERR_LIMIT, "%s%s%s", c->name ? c->name : "models", ": ", text ? text : "could not be checked");
        lua_settop(L, top);
        return -1;
    }
    return 0;
}

static enum error_code code_named(const char *name)
{
    for (int code = 0; name && code < ERR_CODE_MAX; code++)
        if (strcmp(error_code_name((enum error_code)code), name) == 0)
            return (enum error_code)code;
    return ERR_INVALID;
}

static json_t *json_at(lua_State *L, int idx, struct error *err)
{
    size_t n;
    const char *text = lua_tolstring(L, idx, &n);
    return text ? json_parse(text, n, "model", err) : NULL;
}

static json_t *tool_check(struct model_tool *tool, const char *name, const char *text, size_t n, json_t **document,
                          struct error *err)
{
    lua_State *L = guard_state(tool->guard);
    int top = lua_gettop(L);
    struct call c = {.function = "check", .name = name, .text = text, .n = n};
    json_t *problems = NULL;
    if (document)
        *document = NULL;
    if (text && n > MODEL_FILE_MAX) {
        error_set(err, ERR_LIMIT, "%s: a model has at most %u bytes, this one has %zu", name, MODEL_FILE_MAX, n);
        return NULL;
    }
    if (call(tool, &c, err))
        return NULL;
    if (lua_isnil(L, top + 1)) {
        const char *why = lua_tostring(L, top + 2);
        error_set(err, code_named(lua_tostring(L, top + 3)), "%s", why ? why : "could not be checked");
    } else {
        problems = json_at(L, top + 1, err);
        if (problems && document && lua_isstring(L, top + 2)) {
            *document = json_at(L, top + 2, err);
            if (!*document) {
                json_decref(problems);
                problems = NULL;
            }
        }
    }
    lua_settop(L, top);
    return problems;
}

static json_t *tool_list(struct model_tool *tool, struct error *err)
{
    lua_State *L = guard_state(tool->guard);
    int top = lua_gettop(L);
    struct call c = {.function = "list"};
    if (call(tool, &c, err))
        return NULL;
    json_t *list = json_at(L, top + 1, err);
    lua_settop(L, top);
    return list;
}

const struct model_tool_ops *script_model_tool_ops(void)
{
    static const struct model_tool_ops ops = {
        .open = tool_open, .check = tool_check, .list = tool_list, .close = tool_close};
    return &ops;
}
