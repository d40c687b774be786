// dev:fail and dev:heal: the failures of device/failure.h, in the spelling of Lua: what is a number of milliseconds in
// a model (delayMs) is a duration here (delay = "2s").
#include <math.h>
#include <string.h>
#include "device/failure.h"
#include "script/internal.h"

struct failure_key {
    const char *lua, *json;
    bool duration;
};

static const struct failure_key failure_keys[] = {
    {"mode", "mode", false},
    {"delay", "delayMs", true},
    {"offset", "offsetMs", true},
    {"ppm", "ppm", false},
    {"boot", "bootMs", true},
    {"sequence", "sequence", false},
    {"attribute", "attribute", false},
    {"from", "from", false},
    {"per_second", "perSecond", false},
    {"reboot", "rebootMs", true},
    {"token", "token", false},
};

static const char *const keys_of[FAILURE_KIND_MAX][6] = {
    [FAILURE_DISCONNECT] = {"duration", "mode"},
    [FAILURE_ERROR_PAYLOAD] = {"duration", "mode"},
    [FAILURE_SLOW] = {"duration", "delay"},
    [FAILURE_CLOCK_DRIFT] = {"duration", "offset", "ppm"},
    [FAILURE_BATTERY_DRAIN] = {"duration", "attribute", "per_second", "from", "reboot"},
    [FAILURE_REBOOT] = {"duration", "boot", "sequence"},
    [FAILURE_STALE_TOKEN] = {"duration", "token"},
    [FAILURE_DUPLICATE_ID] = {"duration"},
};

// The duration at the top of the stack in milliseconds, rounded; a clock's offset may be negative, as a number of
// seconds.
static int64_t milliseconds(lua_State *L, const char *what)
{
    if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) < 0) {
        double ms = lua_tonumber(L, -1) * 1000;
        return ms > -9e15 ? (int64_t)floor(ms + 0.5) : INT64_MIN;
    }
    return (bind_duration(L, lua_gettop(L), what) + 500) / 1000;
}

// Pushes a table with the parameters as JSON has them; all that can raise is over before anything is allocated.
static void push_params(lua_State *L, int options)
{
    lua_newtable(L);
    int out = lua_gettop(L);
    for (unsigned i = 0; i < sizeof failure_keys / sizeof failure_keys[0]; i++) {
        const struct failure_key *key = &failure_keys[i];
        lua_getfield(L, options, key->lua);
        if (!lua_isnil(L, -1)) {
            char what[32];
            snprintf(what, sizeof what, "dev:fail: %s", key->lua);
            if (key->duration)
                lua_pushnumber(L, (double)milliseconds(L, what));
            else
                lua_pushvalue(L, -1);
            lua_setfield(L, out, key->json);
        }
        lua_pop(L, 1);
    }
}

static int failed(lua_State *L, const char *function, const struct error *err)
{
    return err->code == ERR_INVALID ? luaL_error(L, "%s: %s", function, err->text) : bind_fail(L, err);
}

// dev:fail(kind, { duration =, … }) → true | nil, message, code
int dev_fail_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = device_check(L, s);
    const char *const *names = failure_names();
    int kind = bind_option(L, 2, "dev:fail: kind", names, -1);
    int64_t duration_us = 0;
    json_t *params = NULL;
    struct error err = {0};
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        bind_check_keys(L, 3, "dev:fail", keys_of[kind]);
        duration_us = bind_opt_duration(L, 3, "duration", 0);
        push_params(L, 3);
        lua_pushnil(L);
        bool none = lua_next(L, -2) == 0; // Lua has one empty table: it would be a list
        lua_settop(L, none ? 3 : lua_gettop(L) - 2);
        params = none ? NULL : json_from_lua(L, lua_gettop(L), &err);
        if (!none && !params)
            return failed(L, "dev:fail", &err);
    }
    int rc = device_fail_inject(d, names[kind], params, duration_us, &err);
    json_decref(params);
    if (rc)
        return failed(L, "dev:fail", &err);
    lua_pushboolean(L, 1);
    return 1;
}

// dev:heal(kind?) → true
int dev_heal_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = device_check(L, s);
    const char *const *names = failure_names();
    struct error err = {0};
    const char *kind = lua_isnoneornil(L, 2) ? NULL : names[bind_option(L, 2, "dev:heal: kind", names, -1)];
    if (device_heal(d, kind, &err))
        return failed(L, "dev:heal", &err);
    lua_pushboolean(L, 1);
    return 1;
}
