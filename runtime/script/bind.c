// What every binding needs: its scenario, argument checks that name the author's line, errors of the world as values.
#include "script/internal.h"
#include <math.h>
#include <string.h>
#include "core/units.h"

struct scenario *scenario_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

void bind_functions(lua_State *L, struct scenario *s, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_pushlightuserdata(L, s);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -2, functions->name);
    }
}

void bind_metatable(lua_State *L, struct scenario *s, const luaL_Reg *meta, const luaL_Reg *methods)
{
    lua_newtable(L);
    if (meta)
        bind_functions(L, s, meta);
    if (methods) {
        lua_newtable(L);
        bind_functions(L, s, methods);
        lua_setfield(L, -2, "__index");
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

int bind_no_field(lua_State *L, const char *whose, const char *key, const char *const *fields)
{
    const char *near = suggest(key, fields);
    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (unsigned i = 0; fields[i]; i++) {
        luaL_addstring(&list, i ? ", " : "");
        luaL_addstring(&list, fields[i]);
    }
    luaL_pushresult(&list);
    return luaL_error(L, "%s has no \"%s\"; it has: %s%s%s%s", whose, key, lua_tostring(L, -1),
                      near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int64_t duration_at(lua_State *L, int idx, const char *what)
{
    struct error err = {0};
    int64_t us = 0;
    if (lua_type(L, idx) == LUA_TNUMBER) {
        if (duration_from_seconds(lua_tonumber(L, idx), &us, &err))
            luaL_error(L, "%s: %s", what, err.text);
    } else if (lua_type(L, idx) == LUA_TSTRING) {
        size_t n;
        const char *text = lua_tolstring(L, idx, &n);
        if (strlen(text) != n)
            luaL_error(L, "%s: a duration holds no NUL", what);
        if (duration_parse(text, true, &us, &err))
            luaL_error(L, "%s: %s", what, err.text);
    } else {
        luaL_error(L, "%s: expected a duration such as \"500ms\", \"5s\" or \"2m\" (or a number of seconds), got %s",
                   what, luaL_typename(L, idx));
    }
    return us;
}

int64_t bind_duration(lua_State *L, int arg, const char *what)
{
    return duration_at(L, arg, what);
}

int64_t bind_opt_duration(lua_State *L, int table, const char *key, int64_t dflt)
{
    lua_getfield(L, table, key);
    int64_t us = lua_isnil(L, -1) ? dflt : duration_at(L, lua_gettop(L), key);
    lua_pop(L, 1);
    return us;
}

bool bind_opt_bool(lua_State *L, int table, const char *key, bool dflt)
{
    lua_getfield(L, table, key);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        luaL_error(L, "%s: expected true or false, got %s", key, luaL_typename(L, -1));
    bool v = lua_isnil(L, -1) ? dflt : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

int bind_opt_int(lua_State *L, int table, const char *key, int min, int max, int dflt)
{
    lua_getfield(L, table, key);
    double v = dflt;
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            luaL_error(L, "%s: expected a number, got %s", key, luaL_typename(L, -1));
        v = lua_tonumber(L, -1);
        if (!(v >= min && v <= max) || v != floor(v))
            luaL_error(L, "%s: expected a whole number from %d to %d", key, min, max);
    }
    lua_pop(L, 1);
    return (int)v;
}

// "a, b, c"
static void push_list(lua_State *L, const char *const *names)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (unsigned i = 0; names[i]; i++) {
        luaL_addstring(&b, i ? ", " : "");
        luaL_addstring(&b, names[i]);
    }
    luaL_pushresult(&b);
}

void bind_check_keys(lua_State *L, int arg, const char *function, const char *const *valid)
{
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(list item)";
        unsigned i = 0;
        while (valid[i] && strcmp(valid[i], key))
            i++;
        if (valid[i])
            continue;
        const char *near = suggest(key, valid);
        push_list(L, valid);
        luaL_error(L, "%s: unknown key \"%s\"; valid: %s%s%s%s", function, key, lua_tostring(L, -1),
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
}

int bind_option(lua_State *L, int arg, const char *what, const char *const *valid, int dflt)
{
    if (dflt >= 0 && lua_isnoneornil(L, arg))
        return dflt;
    const char *word = lua_type(L, arg) == LUA_TSTRING ? lua_tostring(L, arg) : NULL;
    for (int i = 0; word && valid[i]; i++)
        if (strcmp(valid[i], word) == 0)
            return i;
    push_list(L, valid);
    const char *near = word ? suggest(word, valid) : NULL;
    return luaL_error(L, "%s: expected one of %s, got %s%s%s%s%s%s", what, lua_tostring(L, -1), word ? "\"" : "",
                      word ? word : luaL_typename(L, arg), word ? "\"" : "", near ? "; did you mean \"" : "",
                      near ? near : "", near ? "\"?" : "");
}

int bind_fail(lua_State *L, const struct error *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->text);
    lua_pushstring(L, error_code_name(err->code));
    return 3;
}
