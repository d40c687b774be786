// dev:open(connection): another connection of the same device, and the handle it returns. See port.h.
#include <string.h>
#include "script/behaviour.h"
#include "script/conn.h"
#include "script/side.h"

static const char *const fields[] = {"publish", "subscribe", "unsubscribe", "on",     "wait",     "request", "get",
                                     "post",    "put",       "patch",       "delete", "fetch",    "observe", "serve",
                                     "notify",  "served_at", "close",       "state",  "protocol", "url",     NULL};

int side_handle_push(lua_State *L, struct scenario *s, const struct side *side)
{
    struct handle_conn *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_conn){.tag = HANDLE_CONN, .device = side->behaviour->device->id, .number = side->number};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->conn_meta);
    lua_setmetatable(L, -2);
    return 1;
}

// --- opening --------------------------------------------------------------------------------------------------------

// native.connection_reader(fn): fn(connection) → target, credentials (JSON texts) | nil, what was expected
int connection_reader_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, 1);
    s->connection_reader = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

struct open_options {
    int64_t timeout_us;
    bool retry;
    int auth; // stack index, 0: none
};

static void open_options(lua_State *L, int table, struct open_options *o)
{
    static const char *const keys[] = {"timeout", "retry", "auth", NULL};
    *o = (struct open_options){.timeout_us = -1, .retry = true};
    if (lua_isnoneornil(L, table))
        return;
    luaL_checktype(L, table, LUA_TTABLE);
    bind_check_keys(L, table, "dev:open", keys);
    o->timeout_us = bind_opt_duration(L, table, "timeout", -1);
    o->retry = bind_opt_bool(L, table, "retry", true);
    lua_getfield(L, table, "auth");
    if (!lua_isnil(L, -1))
        luaL_checktype(L, -1, LUA_TFUNCTION);
    o->auth = lua_isnil(L, -1) ? 0 : lua_gettop(L);
}

// Leaves two texts on the stack, target and credentials.
static void read_connection(lua_State *L, struct scenario *s, int arg)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->connection_reader);
    lua_pushvalue(L, arg);
    lua_call(L, 1, 2);
    if (!lua_isstring(L, -2))
        luaL_error(L, "dev:open: expected %s, got %s", lua_tostring(L, -1), luaL_typename(L, arg));
}

static struct side *open_side(struct scenario *s, struct behaviour *b, const char *target, const char *identity,
                              struct error *err)
{
    const struct group *g = b->device->group;
    if (!s->side_cache) {
        error_set(err, ERR_CANCELLED, "the run is stopping");
        return NULL;
    }
    struct side_target *t = side_target_get(s, g, target, err);
    struct side_identity *i = t ? side_identity_get(s, g, identity, t->adapter, err) : NULL;
    if (t && i && side_check(g, t, i, err)) {
        side_identity_release(s, i);
        i = NULL;
    }
    if (t && !i)
        side_target_release(s, t);
    return i ? side_open(s, b, t, i, err) : NULL;
}

// dev:open(connection, { timeout=, retry=, auth= }) → conn | nil, message, code
int dev_open_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = device_check(L, s);
    struct behaviour *b = d->behaviour;
    struct open_options o;
    struct error err = {0};
    lua_settop(L, 3);
    open_options(L, 3, &o);
    read_connection(L, s, 2);
    int target = lua_gettop(L) - 1;
    struct task *t = task_current(s->tasks, L, "dev:open");
    if (fleet_env(s->fleet)->capture) {
        error_set(&err, ERR_UNSUPPORTED,
                  "dev:open needs a server, and in virtual time there is none: what a device publishes on its own "
                  "connection is all that is kept");
        return bind_fail(L, &err);
    }
    struct side *side = open_side(s, b, lua_tostring(L, target), lua_tostring(L, target + 1), &err);
    if (!side)
        return err.code == ERR_INVALID ? luaL_error(L, "dev:open: %s", err.text) : bind_fail(L, &err);
    struct port p = {.device = d, .behaviour = b, .side = side, .who = "conn"};
    if (o.auth)
        auth_register(L, &p, o.auth);
    side_handle_push(L, s, side);
    struct wait like = {.kind = WAIT_ONLINE, .retry = o.retry, .side = side, .message = guard_ref(L)};
    return wait_block(L, s, d, &like, o.timeout_us, t);
}

// --- the handle -----------------------------------------------------------------------------------------------------

static int conn_on(lua_State *L)
{
    static const char *const events[] = {"message", "connect", "disconnect", "auth", NULL};
    struct scenario *s = scenario_of(L);
    struct port p;
    PORT_OR_RETURN(L, s, &p);
    int event = bind_option(L, 2, "conn:on", events, -1);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (event == 3)
        return auth_register(L, &p, 3);
    handler_add(L, &p, 3, HANDLER_EVENT, events[event], strlen(events[event]));
    lua_pushboolean(L, 1);
    return 1;
}

// conn:close(mode?) → whether it was open
static int conn_close(lua_State *L)
{
    static const char *const modes[] = {"graceful", "abrupt", NULL};
    struct scenario *s = scenario_of(L);
    struct port p;
    bool closed;
    int mode = bind_option(L, 2, "conn:close", modes, 0);
    if (!port_check(L, s, &p, &closed)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (!p.side)
        return luaL_error(L, "expected what dev:open returned");
    side_close(p.side, mode == 1);
    lua_pushboolean(L, 1);
    return 1;
}

// Upvalue 2: the methods.
static int conn_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    if (!lua_isnil(L, -1))
        return 1;
    struct scenario *s = scenario_of(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
    const struct handle_conn *h = lua_touserdata(L, 1);
    const struct behaviour *b = scenario_behaviour(s);
    const struct side *side = b && b->device && b->device->id == h->device ? side_find(b, h->number) : NULL;
    if (strcmp(key, "state") == 0) {
        lua_pushstring(L, side ? conn_state_name((enum conn_state)side->state) : "closed");
    } else if (strcmp(key, "protocol") == 0 || strcmp(key, "url") == 0) {
        lua_pushstring(L, side ? key[0] == 'p' ? side->adapter->name : side->target->url : NULL);
    } else {
        return bind_no_field(L, "a connection", key, fields);
    }
    return 1;
}

static int conn_newindex(lua_State *L)
{
    return luaL_error(L, "a connection's fields cannot be set");
}

static int conn_tostring(lua_State *L)
{
    const struct handle_conn *h = lua_touserdata(L, 1);
    lua_pushfstring(L, "connection %d", (int)(h->number & INT32_MAX));
    return 1;
}

void conn_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {{"on", conn_on}, {"close", conn_close}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__newindex", conn_newindex}, {"__tostring", conn_tostring}, {NULL, NULL}};
    port_handle_meta(L, s, meta, methods, conn_index);
    s->conn_meta = guard_ref(L);
}
