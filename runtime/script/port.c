// What a connection of a device can do: on its own through the device room, on a side connection through its adapter.
#include "script/port.h"
#include <string.h>
#include "script/conn.h"
#include "script/side.h"

static bool is_handle(lua_State *L, int arg, uint32_t tag)
{
    const uint32_t *h = lua_type(L, arg) == LUA_TUSERDATA ? lua_touserdata(L, arg) : NULL;
    return h && *h == tag;
}

bool port_check(lua_State *L, struct scenario *s, struct port *p, bool *closed)
{
    *closed = false;
    if (!is_handle(L, 1, HANDLE_CONN)) {
        *p = (struct port){.device = device_check(L, s), .who = "dev"};
        p->behaviour = p->device->behaviour;
        return true;
    }
    const struct handle_conn *h = lua_touserdata(L, 1);
    struct behaviour *b = scenario_behaviour(s);
    if (!b || !b->device)
        luaL_error(L, "a connection is used in the behaviour of its device, while the run is on");
    else if (b->device->id != h->device)
        luaL_error(L, "this is a connection of another device; a device acts for itself only");
    struct side *side = side_find(b, h->number);
    if (!side) {
        struct error err = {0};
        error_set(&err, ERR_CLOSED, "the connection is closed");
        *closed = true;
        bind_fail(L, &err);
        return false;
    }
    *p = (struct port){.device = b->device, .behaviour = b, .side = side, .who = "conn"};
    return true;
}

void port_handle_meta(lua_State *L, struct scenario *s, const luaL_Reg *meta, const luaL_Reg *methods,
                      lua_CFunction index)
{
    static const luaL_Reg shared[] = {{"publish", port_publish_bind},
                                      {"subscribe", port_subscribe_bind},
                                      {"unsubscribe", port_unsubscribe_bind},
                                      {"wait", port_wait_bind},
                                      {"request", port_request_bind},
                                      {"get", port_get_bind},
                                      {"post", port_post_bind},
                                      {"put", port_put_bind},
                                      {"patch", port_patch_bind},
                                      {"delete", port_delete_bind},
                                      {"fetch", port_fetch_bind},
                                      {"observe", port_observe_bind},
                                      {"serve", port_serve_bind},
                                      {"notify", port_notify_bind},
                                      {"served_at", port_served_at_bind},
                                      {NULL, NULL}};
    bind_metatable(L, s, meta, NULL);
    lua_pushlightuserdata(L, s);
    lua_newtable(L);
    bind_functions(L, s, shared);
    bind_functions(L, s, methods);
    lua_pushcclosure(L, index, 2);
    lua_setfield(L, -2, "__index");
}

const struct adapter_ops *port_adapter(const struct port *p)
{
    return p->side ? p->side->adapter : p->device->group->adapter;
}

static int lacks(const struct side *side, const char *what, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "the %s adapter has no %s", side->adapter->name, what);
}

int port_publish(const struct port *p, const struct adapter_message *m, uint32_t token, struct error *err)
{
    return p->side ? p->side->adapter->publish(p->side->conn, m, token, err) : device_publish(p->device, m, token, err);
}

int port_subscribe(const struct port *p, const struct adapter_subscription *sub, uint32_t token, struct error *err)
{
    bool plain = !sub->no_local && !sub->retain_as_published && !sub->retain_handling && !sub->identifier;
    if (!p->side)
        return plain ? device_subscribe(p->device, sub->filter, sub->qos, token, err)
                     : device_subscribe_with(p->device, sub, token, err);
    const struct adapter_ops *adapter = p->side->adapter;
    if (plain)
        return adapter->subscribe(p->side->conn, sub->filter, sub->qos, token, err);
    return ADAPTER_HAS(adapter, subscribe_with) ? adapter->subscribe_with(p->side->conn, sub, token, err)
                                                : lacks(p->side, "subscription options", err);
}

int port_unsubscribe(const struct port *p, const char *filter, uint32_t token, struct error *err)
{
    return p->side ? p->side->adapter->unsubscribe(p->side->conn, filter, token, err)
                   : device_unsubscribe(p->device, filter, token, err);
}

int port_request(const struct port *p, const struct adapter_request *request, uint32_t token, struct error *err)
{
    if (!p->side)
        return device_request(p->device, request, token, err);
    return ADAPTER_HAS(p->side->adapter, request) ? p->side->adapter->request(p->side->conn, request, token, err)
                                                  : lacks(p->side, "requests", err);
}

void port_request_cancel(struct behaviour *b, struct side *side, uint32_t token)
{
    if (side && ADAPTER_HAS(side->adapter, request_cancel))
        side->adapter->request_cancel(side->conn, token);
    else if (!side && b->device)
        device_request_cancel(b->device, token);
}

int port_serve(const struct port *p, const char *path, const json_t *attributes, struct error *err)
{
    if (!p->side)
        return device_serve(p->device, path, attributes, err);
    return ADAPTER_HAS(p->side->adapter, serve) ? p->side->adapter->serve(p->side->conn, path, attributes, err)
                                                : lacks(p->side, "serve", err);
}

void port_unserve(struct behaviour *b, struct side *side, const char *path)
{
    if (side && ADAPTER_HAS(side->adapter, unserve))
        side->adapter->unserve(side->conn, path);
    else if (!side && b->device)
        device_unserve(b->device, path);
}

int port_notify(const struct port *p, const char *path, struct error *err)
{
    if (!p->side)
        return device_notify(p->device, path, err);
    return ADAPTER_HAS(p->side->adapter, notify) ? p->side->adapter->notify(p->side->conn, path, err)
                                                 : lacks(p->side, "notifications of what it serves", err);
}

int port_respond(const struct port *p, uint64_t ticket, const struct adapter_response *response, struct error *err)
{
    if (!p->side)
        return device_respond(p->device, ticket, response, err);
    return ADAPTER_HAS(p->side->adapter, respond) ? p->side->adapter->respond(p->side->conn, ticket, response, err)
                                                  : lacks(p->side, "serve", err);
}

int port_served_at(const struct port *p, struct buf *out, struct error *err)
{
    if (!p->side)
        return device_served_at(p->device, out, err);
    return ADAPTER_HAS(p->side->adapter, served_at) ? p->side->adapter->served_at(p->side->conn, out, err)
                                                    : lacks(p->side, "serve", err);
}
