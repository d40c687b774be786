#include "script/strlib.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "script/pattern.h"

int strlib_is_readonly(lua_State *L, int idx)
{
    if (!lua_getmetatable(L, idx))
        return 0;
    lua_pushliteral(L, "__metatable");
    lua_rawget(L, -2);
    int yes = lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    lua_pop(L, 2);
    return yes;
}

// --- string
// -------------------------------------------------------------------------------------------------------------

// Calls the original (upvalue 1) with all arguments.
static int original(lua_State *L)
{
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int string_rep(lua_State *L)
{
    size_t n, sep = 0;
    luaL_checklstring(L, 1, &n);
    lua_Number times = luaL_checknumber(L, 2);
    if (!lua_isnoneornil(L, 3))
        luaL_checklstring(L, 3, &sep);
    if (!(times >= 1) || n + sep == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (times * (lua_Number)(n + sep) > STRLIB_RESULT_MAX)
        return luaL_error(L, "string.rep: the result would be longer than 1 MB");
    return original(L);
}

// The length of what %s makes of an argument; __tostring runs here, so that its result can be measured.
static size_t shown_length(lua_State *L, int arg)
{
    if (lua_type(L, arg) == LUA_TSTRING)
        return lua_objlen(L, arg);
    if (lua_type(L, arg) < LUA_TTABLE || lua_type(L, arg) == LUA_TFUNCTION || !luaL_callmeta(L, arg, "__tostring"))
        return 32;
    lua_replace(L, arg);
    return lua_type(L, arg) == LUA_TSTRING ? lua_objlen(L, arg) : 32;
}

static int string_format(lua_State *L)
{
    size_t total;
    luaL_checklstring(L, 1, &total);
    if (total > 8192)
        return luaL_argerror(L, 1, "format longer than 8 KB");
    int n = lua_gettop(L);
    for (int i = 2; i <= n; i++) {
        total += shown_length(L, i);
        if (total > STRLIB_RESULT_MAX)
            return luaL_error(L, "string.format: the result would be longer than 1 MB");
    }
    return original(L);
}

// Copies a field of the table at the top of the stack from the original library below it.
static void copy(lua_State *L, const char *name)
{
    lua_getfield(L, -2, name);
    lua_setfield(L, -2, name);
}

static void wrap(lua_State *L, const char *name, lua_CFunction f)
{
    lua_getfield(L, -2, name);
    lua_pushcclosure(L, f, 1);
    lua_setfield(L, -2, name);
}

static void put(lua_State *L, const char *name, lua_CFunction f)
{
    lua_pushcfunction(L, f);
    lua_setfield(L, -2, name);
}

void strlib_push_string(lua_State *L)
{
    static const char *const bounded[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper"};
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++)
        copy(L, bounded[i]);
    wrap(L, "rep", string_rep);
    wrap(L, "format", string_format);
    put(L, "find", pattern_find);
    put(L, "match", pattern_match);
    put(L, "gmatch", pattern_gmatch);
    put(L, "gsub", pattern_gsub);
    lua_remove(L, -2);
}

// --- table
// --------------------------------------------------------------------------------------------------------------

static int check_length(lua_State *L, const char *name)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (strlib_is_readonly(L, 1))
        return luaL_error(L, "table.%s: the table is read-only", name);
    size_t n = lua_objlen(L, 1);
    if (n > STRLIB_TABLE_MAX)
        return luaL_error(L, "table.%s: the table has more than %d elements", name, STRLIB_TABLE_MAX);
    return (int)n;
}

static int table_insert(lua_State *L)
{
    int n = check_length(L, "insert");
    int top = lua_gettop(L);
    if (top == 2) {
        lua_rawseti(L, 1, n + 1);
        return 0;
    }
    if (top != 3)
        return luaL_error(L, "wrong number of arguments to 'insert'");
    lua_Integer at = luaL_checkinteger(L, 2);
    luaL_argcheck(L, at >= 1 && at <= INT32_MAX, 2, "position out of bounds");
    for (int i = n; i >= at; i--) {
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, 1, i + 1);
    }
    lua_rawseti(L, 1, (int)at);
    return 0;
}

static int table_remove(lua_State *L)
{
    int n = check_length(L, "remove");
    lua_Integer at = luaL_optinteger(L, 2, n);
    if (at < 1 || at > n)
        return 0;
    lua_rawgeti(L, 1, (int)at);
    for (int i = (int)at; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        lua_rawseti(L, 1, i);
    }
    lua_pushnil(L);
    lua_rawseti(L, 1, n);
    return 1;
}

static int table_sort(lua_State *L)
{
    check_length(L, "sort");
    return original(L);
}

static int table_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t sep = 0;
    if (!lua_isnoneornil(L, 2))
        luaL_checklstring(L, 2, &sep);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer to = lua_isnoneornil(L, 4) ? (lua_Integer)lua_objlen(L, 1) : luaL_checkinteger(L, 4);
    size_t total = 0;
    // What is not a string or a number ends the original with an error at that place, so looking further is not needed.
    for (lua_Integer i = from; i <= to && i > INT32_MIN && i < INT32_MAX; i++) {
        lua_rawgeti(L, 1, (int)i);
        int type = lua_type(L, -1);
        total += type == LUA_TSTRING ? lua_objlen(L, -1) + sep : sep + 24;
        lua_pop(L, 1);
        if (type != LUA_TSTRING && type != LUA_TNUMBER)
            break;
        if (total > STRLIB_RESULT_MAX + sep)
            return luaL_error(L, "table.concat: the result would be longer than 1 MB");
    }
    return original(L);
}

void strlib_push_table(lua_State *L)
{
    lua_getglobal(L, LUA_TABLIBNAME);
    lua_newtable(L);
    copy(L, "maxn");
    wrap(L, "sort", table_sort);
    wrap(L, "concat", table_concat);
    put(L, "insert", table_insert);
    put(L, "remove", table_remove);
    lua_remove(L, -2);
}
