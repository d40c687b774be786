// Built up, never subtracted from: LuaJIT's libraries are opened one by one into the state's own globals, which no
// author code ever sees; what is on the lists below is copied from there, or replaced.
//
//   author's _G    empty, read-only → base → "unknown global" error
//   product's env  empty, read-only → product base (as base, with the product's require and raw access) → the same
//   error
//
// Host rule: nothing here calls a metamethod of an author's value outside a guarded slice.
#include "script/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/buf.h"
#include "core/clock.h"
#include "core/units.h"
#include "script/modules.h"
#include "script/strlib.h"
#include "script/syntax.h"
#include "script/task.h"

#define MAX_PRINT 4096
#define MAX_LOAD 65536
#define MAX_COMPILE (4 << 20)
#define MAX_NAMES 96

extern int luaopen_cjson_safe(lua_State *L);

struct sandbox {
    struct sandbox_config config;
    int author_env; // registry references
};

static const char sandbox_key[] = "iotix.sandbox";

static struct sandbox *sandbox_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, sandbox_key);
    struct sandbox *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return s;
}

static struct sandbox *upvalue_sandbox(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

// --- strict globals, read-only tables
// -----------------------------------------------------------------------------------

// What an author may look for and why it is not here.
static const char *removed_hint(const char *name)
{
    static const char *const removed[] = {"io",      "debug",          "package", "ffi",      "jit",
                                          "dofile",  "loadfile",       "module",  "newproxy", "getfenv",
                                          "setfenv", "collectgarbage", "gcinfo",  NULL};
    for (const char *const *r = removed; *r; r++) {
        if (strcmp(*r, name) == 0)
            return " (it is not available to scenarios)";
    }
    return NULL;
}

// __index of a base: an undeclared global was read.
static int unknown_global(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tostring(L, 2);
    const char *hint = removed_hint(name);
    if (hint)
        return luaL_error(L, "unknown global '%s'%s", name, hint);
    const char *names[MAX_NAMES + 1];
    size_t n = 0;
    lua_pushnil(L);
    while (n < MAX_NAMES && lua_next(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING)
            names[n++] = lua_tostring(L, -2);
        lua_pop(L, 1);
    }
    names[n] = NULL;
    const char *near = suggest(name, names);
    if (near)
        return luaL_error(L, "unknown global '%s' (did you mean '%s'?)", name, near);
    return luaL_error(L, "unknown global '%s'", name);
}

static int assign_global(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    return luaL_error(L, "assignment to global '%s'; write: local %s = ...", name, name);
}

static int assign_readonly(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "attempt to change '%s' of a read-only table", lua_tostring(L, 2));
    return luaL_error(L, "attempt to change a read-only table");
}

// Pushes an empty table that reads from the table at the top of the stack (popped) and refuses writing through
// `assign`.
static void proxy(lua_State *L, lua_CFunction assign)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, assign);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

void sandbox_readonly(lua_State *L)
{
    luaL_checkstack(L, 4, "too many nested values");
    proxy(L, assign_readonly);
}

// --- base functions
// -----------------------------------------------------------------------------------------------------

static int base_print(lua_State *L)
{
    struct sandbox *s = upvalue_sandbox(L);
    int n = lua_gettop(L);
    char line[MAX_PRINT];
    size_t used = 0;
    for (int i = 1; i <= n && used < sizeof(line); i++) {
        if (i > 1)
            line[used++] = '\t';
        lua_pushvalue(L, lua_upvalueindex(2)); // tostring
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (!text)
            return luaL_error(L, "'tostring' must return a string to 'print'");
        if (len > sizeof(line) - used)
            len = sizeof(line) - used;
        memcpy(line + used, text, len);
        used += len;
        lua_pop(L, 1);
    }
    if (s->config.print)
        s->config.print(s->config.arg, line, used);
    return 0;
}

// load(text [, name [, mode [, env]]]) and loadstring(text [, name]): text only.
static int base_load(lua_State *L)
{
    struct sandbox *s = upvalue_sandbox(L);
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "load takes a string, not a %s", luaL_typename(L, 1));
    size_t n;
    const char *text = lua_tolstring(L, 1, &n);
    const char *name = luaL_optstring(L, 2, "=(load)");
    bool own_env = lua_gettop(L) >= 4 && !lua_isnil(L, 4);
    if (own_env)
        luaL_checktype(L, 4, LUA_TTABLE);
    lua_pushnil(L);
    if (n > MAX_LOAD)
        lua_pushliteral(L, "text longer than 64 KB");
    else if (n && text[0] == '\x1b')
        lua_pushliteral(L, "bytecode is refused; load takes the text of a chunk");
    else if (luaL_loadbufferx(L, text, n, name, "t") == 0) {
        if (own_env)
            lua_pushvalue(L, 4);
        else
            lua_rawgeti(L, LUA_REGISTRYINDEX, s->author_env);
        lua_setfenv(L, -2);
        return 1;
    }
    return 2;
}

static int base_setmetatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        lua_rawget(L, 2);
        if (!lua_isnil(L, -1))
            return luaL_error(L, "setmetatable: __gc is not available");
        lua_pop(L, 1);
    }
    if (luaL_getmetafield(L, 1, "__metatable"))
        return luaL_error(L, "cannot change a protected metatable");
    lua_setmetatable(L, 1);
    return 1;
}

static int base_getmetatable(lua_State *L)
{
    luaL_checkany(L, 1);
    if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) {
        lua_pushnil(L);
        return 1;
    }
    luaL_getmetafield(L, 1, "__metatable");
    return 1;
}

static int base_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    if (strlib_is_readonly(L, 1))
        return luaL_error(L, "rawset: the table is read-only");
    lua_rawset(L, 1);
    return 1;
}

// --- coroutine
// ----------------------------------------------------------------------------------------------------------

static bool in_own_task(lua_State *L)
{
    const struct tasks *ts = tasks_of(L);
    return ts && task_is_own(ts, L);
}

// A task's own coroutine is nobody's to resume: it looks like a main program, as in Lua 5.1.
static int co_running(lua_State *L)
{
    if (in_own_task(L) || lua_pushthread(L))
        lua_pushnil(L);
    return 1;
}

static int co_yield (lua_State *L)
{
    if (in_own_task(L))
        return luaL_error(L,
                          "coroutine.yield waits for nothing here, outside a coroutine of your own; use iotix.sleep");
    return lua_yield(L, lua_gettop(L));
}

// --- math, os, bit
// ------------------------------------------------------------------------------------------------------

static int math_random(lua_State *L)
{
    struct sandbox *s = upvalue_sandbox(L);
    struct rng *rng = s->config.rng(s->config.arg);
    int n = lua_gettop(L);
    if (n == 0) {
        lua_pushnumber(L, rng_unit(rng));
        return 1;
    }
    lua_Number low = n > 1 ? floor(luaL_checknumber(L, 1)) : 1;
    lua_Number high = floor(luaL_checknumber(L, n > 1 ? 2 : 1));
    luaL_argcheck(L, low <= high, n > 1 ? 2 : 1, "interval is empty");
    luaL_argcheck(L, high - low<9007199254740992.0, n> 1 ? 2 : 1, "interval is too large");
    lua_pushnumber(L, low + (lua_Number)rng_below(rng, (uint64_t)(high - low) + 1));
    return 1;
}

static int math_randomseed(lua_State *L)
{
    struct sandbox *s = upvalue_sandbox(L);
    lua_Number seed = luaL_checknumber(L, 1);
    rng_seed(s->config.rng(s->config.arg), hash_bytes(&seed, sizeof(seed), 0));
    return 0;
}

static lua_Number wall_seconds(const struct sandbox *s)
{
    int64_t us = s->config.wall_us(s->config.arg);
    return (lua_Number)(us >= 0 ? us / 1000000 : (us - 999999) / 1000000);
}

// The originals (upvalue 2) do the calendar; the present time comes from the host.
static int os_time(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushnumber(L, wall_seconds(upvalue_sandbox(L)));
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int os_date(lua_State *L)
{
    size_t n;
    luaL_optlstring(L, 1, "%c", &n);
    if (n > 256)
        return luaL_argerror(L, 1, "format longer than 256 bytes");
    lua_Number t = lua_isnoneornil(L, 2) ? wall_seconds(upvalue_sandbox(L)) : luaL_checknumber(L, 2);
    luaL_argcheck(L, fabs(t) < 1e15, 2, "time out of range"); // NaN too
    lua_pushvalue(L, lua_upvalueindex(2));
    if (lua_isnoneornil(L, 1))
        lua_pushliteral(L, "%c");
    else
        lua_pushvalue(L, 1);
    lua_pushnumber(L, floor(t));
    lua_call(L, 2, 1);
    return 1;
}

static int os_clock(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_thread_cpu_us() / 1e6);
    return 1;
}

static int bit_tohex(lua_State *L)
{
    if (!lua_isnoneornil(L, 2)) {
        int n = luaL_checkint(L, 2);
        luaL_argcheck(L, n >= -16 && n <= 16, 2, "number of digits out of range");
    }
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

// --- building
// -----------------------------------------------------------------------------------------------------------

static void open_lib(lua_State *L, const char *name, lua_CFunction open)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

// A closure over the sandbox, and over the original function `library.name` when asked for, into the table at the top.
static void put(lua_State *L, struct sandbox *s, const char *name, lua_CFunction f, const char *library)
{
    lua_pushlightuserdata(L, s);
    int n = 1;
    if (library) {
        lua_getglobal(L, library);
        if (lua_istable(L, -1)) {
            lua_getfield(L, -1, name);
            lua_remove(L, -2);
        }
        n++;
    }
    lua_pushcclosure(L, f, n);
    lua_setfield(L, -2, name);
}

// Copies the named fields of the global table `library` ("_G" for the base library) into the table at the top.
static void copy_fields(lua_State *L, const char *library, const char *const *names)
{
    lua_getglobal(L, library);
    for (; *names; names++) {
        lua_getfield(L, -1, *names);
        lua_setfield(L, -3, *names);
    }
    lua_pop(L, 1);
}

static void put_coroutine(lua_State *L, struct sandbox *s)
{
    static const char *const names[] = {"create", "resume", "status", "wrap", "isyieldable", NULL};
    lua_newtable(L);
    copy_fields(L, LUA_COLIBNAME, names);
    put(L, s, "running", co_running, NULL);
    put(L, s, "yield", co_yield, NULL);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_COLIBNAME);
}

static void put_math(lua_State *L, struct sandbox *s)
{
    static const char *const names[] = {"abs",   "acos", "asin",  "atan", "atan2", "ceil", "cos",   "cosh",
                                        "deg",   "exp",  "floor", "fmod", "frexp", "huge", "ldexp", "log",
                                        "log10", "max",  "min",   "modf", "pi",    "pow",  "rad",   "sin",
                                        "sinh",  "sqrt", "tan",   "tanh", NULL};
    lua_newtable(L);
    copy_fields(L, LUA_MATHLIBNAME, names);
    put(L, s, "random", math_random, NULL);
    put(L, s, "randomseed", math_randomseed, NULL);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_MATHLIBNAME);
}

static void put_bit(lua_State *L)
{
    static const char *const names[] = {"arshift", "band", "bnot", "bor",    "bswap", "bxor",
                                        "lshift",  "rol",  "ror",  "rshift", "tobit", NULL};
    lua_newtable(L);
    copy_fields(L, LUA_BITLIBNAME, names);
    lua_getglobal(L, LUA_BITLIBNAME);
    lua_getfield(L, -1, "tohex");
    lua_pushcclosure(L, bit_tohex, 1);
    lua_setfield(L, -3, "tohex");
    lua_pop(L, 1);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_BITLIBNAME);
}

static void put_os(lua_State *L, struct sandbox *s)
{
    static const char *const names[] = {"difftime", NULL};
    lua_newtable(L);
    copy_fields(L, LUA_OSLIBNAME, names);
    put(L, s, "time", os_time, LUA_OSLIBNAME);
    put(L, s, "date", os_date, LUA_OSLIBNAME);
    put(L, s, "clock", os_clock, NULL);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_OSLIBNAME);
}

// The string table serves s:method() directly; authors hold a read-only view of it and cannot reach the metatable.
static void put_string(lua_State *L)
{
    strlib_push_string(L);
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_STRLIBNAME);
    strlib_push_table(L);
    sandbox_readonly(L);
    lua_setfield(L, -2, LUA_TABLIBNAME);
}

// Pushes the table of everything an author can name.
static void push_base(lua_State *L, struct sandbox *s)
{
    static const char *const names[] = {"_VERSION", "assert",   "error",  "ipairs", "next",     "pairs",
                                        "pcall",    "rawequal", "rawget", "select", "tonumber", "tostring",
                                        "type",     "unpack",   "xpcall", NULL};
    lua_newtable(L);
    copy_fields(L, "_G", names);
    lua_pushlightuserdata(L, s);
    lua_getglobal(L, "tostring");
    lua_pushcclosure(L, base_print, 2);
    lua_setfield(L, -2, "print");
    put(L, s, "load", base_load, NULL);
    put(L, s, "loadstring", base_load, NULL);
    put(L, s, "setmetatable", base_setmetatable, NULL);
    put(L, s, "getmetatable", base_getmetatable, NULL);
    put(L, s, "rawset", base_rawset, NULL);
    put_coroutine(L, s);
    put_math(L, s);
    put_bit(L);
    put_os(L, s);
    put_string(L);
}

// Turns the base at the top of the stack into an environment: base falls back to an error, and _G is the environment.
static void push_env(lua_State *L)
{
    int base = lua_gettop(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, unknown_global);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, base);
    lua_pushvalue(L, base);
    proxy(L, assign_global);
    lua_pushvalue(L, -1);
    lua_setfield(L, base, "_G");
    lua_remove(L, base);
}

// cjson for product modules, with limits against depth and sparse arrays ([1e9]=1 must not become a billion nulls).
static int open_json(lua_State *L)
{
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_call(L, 0, 1);
    static const struct {
        const char *name;
        int n, a, b, c;
    } settings[] = {
        {"encode_max_depth", 1, 64, 0, 0}, {"decode_max_depth", 1, 64, 0, 0}, {"encode_sparse_array", 3, 1, 2, 16}};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        lua_getfield(L, -1, settings[i].name);
        if (settings[i].n == 3) {
            lua_pushboolean(L, settings[i].a);
            lua_pushinteger(L, settings[i].b);
            lua_pushinteger(L, settings[i].c);
        } else {
            lua_pushinteger(L, settings[i].a);
        }
        lua_call(L, settings[i].n, 0);
    }
    return 1;
}

static int build(lua_State *L)
{
    const struct sandbox_config *config = lua_touserdata(L, 1);
    open_lib(L, "", luaopen_base);
    open_lib(L, LUA_TABLIBNAME, luaopen_table);
    open_lib(L, LUA_STRLIBNAME, luaopen_string);
    open_lib(L, LUA_MATHLIBNAME, luaopen_math);
    open_lib(L, LUA_BITLIBNAME, luaopen_bit);
    open_lib(L, LUA_OSLIBNAME, luaopen_os);
    struct sandbox *s = lua_newuserdata(L, sizeof(*s));
    s->config = *config;
    lua_setfield(L, LUA_REGISTRYINDEX, sandbox_key);
    modules_open(L);
    modules_preload(L, "cjson.safe", open_json);
    // product
    push_base(L, s);
    static const char *const raw[] = {"rawset", "getmetatable", NULL};
    copy_fields(L, "_G", raw);
    modules_push_product(L);
    lua_setfield(L, -2, "require");
    push_env(L);
    modules_set_env(L);
    // author
    push_base(L, s);
    int base = lua_gettop(L);
    lua_pushvalue(L, base);
    push_env(L);
    lua_pushvalue(L, -1);
    s->author_env = luaL_ref(L, LUA_REGISTRYINDEX);
    modules_push_author(L, s->config.script_dir, lua_gettop(L));
    lua_setfield(L, base, "require");
    s->config.script_dir = NULL; // the caller's string, copied by now
    lua_settop(L, 0);
    return 0;
}

int sandbox_open(lua_State *L, const struct sandbox_config *config, struct error *err)
{
    if (lua_cpcall(L, build, (void *)config) == 0)
        return 0;
    error_set(err, ERR_INTERNAL, "cannot build the sandbox: %s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return -1;
}

struct preload {
    const char *name;
    lua_CFunction open;
};

static int preload(lua_State *L)
{
    const struct preload *p = lua_touserdata(L, 1);
    modules_preload(L, p->name, p->open);
    return 0;
}

int sandbox_preload(lua_State *L, const char *name, lua_CFunction open, struct error *err)
{
    struct preload p = {name, open};
    if (lua_cpcall(L, preload, &p) == 0)
        return 0;
    error_set(err, ERR_INTERNAL, "cannot preload %s: %s", name, lua_tostring(L, -1));
    lua_pop(L, 1);
    return -1;
}

int sandbox_compile(lua_State *L, const char *text, size_t n, const char *name, struct error *err)
{
    const char *shown = name[0] == '@' || name[0] == '=' ? name + 1 : name;
    if (n > MAX_COMPILE)
        return error_set(err, ERR_INVALID, "%s: longer than 4 MB", shown);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3; // some editors' byte order mark
        n -= 3;
    }
    if (n && text[0] == '\x1b')
        return error_set(err, ERR_INVALID, "%s: is bytecode; a scenario is Lua text", shown);
    if (!lua_checkstack(L, 4))
        return error_set(err, ERR_LIMIT, "%s: the Lua stack is full", shown);
    if (luaL_loadbufferx(L, text, n, name, "t")) {
        const char *why = lua_tostring(L, -1);
        size_t path_len;
        int line, column = why ? syntax_column(L, text, n, name, why) : 0, none;
        const char *rest = why ? syntax_position(why, &path_len, &line, &none) : NULL;
        if (column)
            error_set(err, ERR_INVALID, "%.*s:%d:%d: %s", (int)path_len, why, line, column, rest);
        else
            error_set(err, ERR_INVALID, "%s", why ? why : "does not compile");
        lua_pop(L, 1);
        return -1;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->author_env);
    lua_setfenv(L, -2);
    return 0;
}

int sandbox_require(lua_State *L, const char *module, struct error *err)
{
    if (!lua_checkstack(L, 4))
        return error_set(err, ERR_LIMIT, "the Lua stack is full");
    modules_push_product(L);
    lua_pushstring(L, module);
    if (lua_pcall(L, 1, 1, 0) == 0)
        return 0;
    const char *why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error object is not a string";
    error_set(err, ERR_INTERNAL, "%s", why);
    lua_pop(L, 1);
    return -1;
}
