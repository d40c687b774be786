// Enhanced authentication of MQTT 5: dev:on("auth", fn) answers the server's data at once, as the hook of a generator
// does, so nothing in it may block.
#include <string.h>
#include "script/behaviour.h"
#include "script/conn.h"

enum { AUTH_DATA_MAX = 65535 }; // MQTT 5, 1.5.6

int auth_register(lua_State *L, const struct port *p, int fn)
{
    for (struct handler *h = p->behaviour->handlers; h; h = h->next)
        if (h->side == p->side && h->kind == HANDLER_EVENT && !strcmp(h->name, "auth")) {
            handlers_remove(L, p, h, NULL); // only one answers: the latest
            break;
        }
    handler_add(L, p, fn, HANDLER_EVENT, "auth", 4);
    lua_pushboolean(L, 1);
    return 1;
}

static const struct handler *find_handler(const struct behaviour *b, const struct side *side)
{
    for (const struct handler *h = b->handlers; h; h = h->next)
        if (h->side == side && h->kind == HANDLER_EVENT && !strcmp(h->name, "auth"))
            return h;
    return NULL;
}

// fn(data) under the guard. 0: two results are on the stack above `top`.
static int call(struct scenario *s, struct behaviour *b, const struct handler *h, const uint8_t *data, size_t n,
                int top, struct error *err)
{
    lua_State *L = s->L;
    const struct task_owner *owner = &b->owner;
    uint32_t former = guard_charge(s->guard, owner->account);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->traceback);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
    if (data)
        lua_pushlstring(L, (const char *)data, n);
    else
        lua_pushnil(L);
    guard_charge(s->guard, former);
    s->in_hook = b;
    tasks_forbid(s->tasks, "the handler of \"auth\" answers at once");
    guard_enter_call(s->guard, L, owner->account, owner->device, owner->group);
    int rc = lua_pcall(L, 1, 2, top + 1);
    enum guard_verdict verdict = guard_leave(s->guard, NULL);
    s->in_hook = NULL;
    tasks_forbid(s->tasks, NULL);
    if (verdict >= GUARD_KILL_CPU) {
        counter_add(s->kills, 1);
        return error_set(err, ERR_INVALID, "the handler of \"auth\": %s", guard_reason(s->guard));
    }
    const char *text = rc && lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "raised something that is not text";
    return rc ? error_set(err, ERR_INVALID, "the handler of \"auth\": %.*s", (int)strcspn(text, "\n"), text) : 0;
}

static int take_reply(lua_State *L, struct buf *reply, struct error *err)
{
    size_t n;
    if (lua_type(L, -2) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -2, &n);
        return n <= AUTH_DATA_MAX && !buf_append(reply, text, n)
                   ? 0
                   : error_set(err, ERR_LIMIT, "the handler of \"auth\" returned more than %d bytes", AUTH_DATA_MAX);
    }
    if (!lua_toboolean(L, -2) && lua_type(L, -1) == LUA_TSTRING)
        return error_set(err, ERR_REFUSED, "%s", lua_tostring(L, -1));
    return lua_isnil(L, -2) ? 0
                            : error_set(err, ERR_INVALID,
                                        "the handler of \"auth\" returned a %s; expected a string, or nil and why not",
                                        luaL_typename(L, -2));
}

int behaviour_auth(struct scenario *s, struct behaviour *b, struct side *side, const uint8_t *data, size_t n,
                   struct buf *reply, struct error *err)
{
    lua_State *L = s->L;
    const struct handler *h = find_handler(b, side);
    int top = lua_gettop(L);
    if (!h)
        return error_set(err, ERR_NOT_FOUND,
                         "auth_method is set, but nobody answers: the behaviour needs dev:on(\"auth\", fn)");
    if (s->in_hook || task_running(s->tasks))
        return error_set(err, ERR_STATE, "the handler of \"auth\" was asked while other Lua of this shard runs");
    struct device *d = b->device;
    slot_id id = d->id;
    struct scenario_group *g = &s->groups[d->group->config.number];
    int rc = call(s, b, h, data, n, top, err);
    if (d != fleet_find(s->fleet, id) || d->behaviour != b) { // what it called has ended the device
        lua_settop(L, top);
        return error_set(err, ERR_CANCELLED, "the device was stopped");
    }
    if (!rc)
        rc = take_reply(L, reply, err);
    lua_settop(L, top);
    if (rc) {
        counter_add(g->errors, 1);
        scenario_log(s, b, LOG_ERROR, "%s", err->text);
    }
    return rc;
}
