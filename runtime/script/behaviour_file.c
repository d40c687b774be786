// Behaviours in files of their own: behaviour = "valve.lua", a file beside the scenario that returns a function. The
// director reads it; its text travels with the plan, so that every process runs the same one, and a shard that takes a
// lost one's place does not depend on what lies on disk by then. Reloading sends another text the same way.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "script/internal.h"
#include "script/modules.h"

// native.behaviour_read(name) → path, text | nil, message
int behaviour_read_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    char path[PATH_MAX];
    if (n < 5 || n > 255 || strlen(name) != n || strcmp(name + n - 4, ".lua") != 0 || name[0] == '/' ||
        strstr(name, "..")) {
        lua_pushnil(L);
        lua_pushfstring(L, "expected a function, or a file beside the scenario such as \"valve.lua\", got \"%s\"",
                        strlen(name) == n ? name : "");
        return 2;
    }
    const char *dir = strcmp(s->script_dir, ".") == 0 ? "" : s->script_dir;
    snprintf(path, sizeof path, "%s%s%s", dir, *dir ? "/" : "", name);
    lua_pushstring(L, path);
    if (modules_read(L, s->script_dir, name) == 0)
        return 2;
    int why = errno;
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path,
                    why == EXDEV || why == ELOOP ? "it leads out of the scenario's directory" : strerror(why));
    return 2;
}

// Pushes the function that the text returns. -1: err, with "path:line: message", and nothing is pushed.
static int push_function(lua_State *L, const char *path, const char *text, size_t n, struct error *err)
{
    char chunk[PATH_MAX + 1];
    snprintf(chunk, sizeof chunk, "@%s", path);
    if (sandbox_compile(L, text, n, chunk, err))
        return -1;
    if (lua_pcall(L, 0, 1, 0)) {
        const char *message = lua_tostring(L, -1);
        error_set(err, ERR_INVALID, "%s", message ? message : "it raised something that is not text");
    } else if (!lua_isfunction(L, -1)) {
        error_set(err, ERR_INVALID, "%s:1: a behaviour file ends with: return function(dev) … end (it returned %s%s)",
                  path, lua_isnil(L, -1) ? "nothing" : "a ", lua_isnil(L, -1) ? "" : luaL_typename(L, -1));
    } else {
        return 0;
    }
    lua_pop(L, 1);
    return -1;
}

// native.behaviour_compile(path, text) → function | nil, message. While loading, or inside scenario_reload: the caller
// bounds it.
int behaviour_compile_bind(lua_State *L)
{
    size_t n;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &n);
    struct error err = {0};
    if (push_function(L, path, text, n, &err) == 0)
        return 1;
    scenario_of(L)->file_error = err;
    lua_pushnil(L);
    lua_pushstring(L, err.text);
    return 2;
}

int behaviour_set(struct scenario *s, unsigned group, const char *path, const char *text, struct error *err)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    guard_enter_load(s->guard, L);
    int rc = push_function(L, path, text, strlen(text), err);
    guard_leave(s->guard, NULL);
    if (rc == 0) {
        luaL_unref(L, LUA_REGISTRYINDEX, s->groups[group].behaviour);
        s->groups[group].behaviour = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_settop(L, top);
    return rc;
}

int scenario_behaviour_load(struct scenario *s, const char *group, const char *path, const char *text,
                            struct error *err)
{
    for (unsigned i = 0; i < fleet_group_count(s->fleet); i++) {
        const struct group_config *c = &fleet_group(s->fleet, i)->config;
        if (strcmp(c->name, group) == 0)
            return behaviour_set(s, c->number, path, text, err);
    }
    return error_set(err, ERR_NOT_FOUND, "there is no group \"%.100s\"", group);
}

// --- director -----------------------------------------------------------------------------------------------------

// A file that ran into the limit: who compiled it was stopped right after it, and only the file's error says where.
static int reload_failed(struct scenario *s, lua_State *L, struct error *err)
{
    const char *text = s->file_error.code ? s->file_error.text : lua_tostring(L, -1);
    log_write(s->config.log, LOG_ERROR, NULL, "%s", text ? text : "reloading failed");
    return error_set(err, ERR_INVALID, "%s", text ? text : "reloading failed");
}

// What the product's function returns: list | nil, the first problem.
json_t *scenario_reload(struct scenario *s, const char *group, struct error *err)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    json_t *list = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->loaded);
    lua_getfield(L, top + 1, "reload");
    lua_pushstring(L, group);
    error_clear(&s->file_error);
    guard_enter_load(s->guard, L);
    int rc = lua_pcall(L, 1, 2, 0);
    guard_leave(s->guard, NULL);
    if (rc) {
        reload_failed(s, L, err);
    } else if (lua_isnil(L, -2)) {
        error_set(err, ERR_INVALID, "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "it is not valid");
    } else if (lua_objlen(L, -2) == 0) {
        list = json_array(); // Lua has one empty table
    } else {
        list = json_from_lua(L, -2, err);
    }
    lua_settop(L, top);
    return list;
}
