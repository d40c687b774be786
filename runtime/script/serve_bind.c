// A device that answers requests: dev:serve(path, fn), dev:notify(path), dev:served_at(). Each request is a task of its
// own, run by product Lua (_core/serve.lua), which turns what fn returns into a response.
#include <string.h>
#include "script/behaviour.h"
#include "script/conn.h"

// Attributes of what is served, in Lua's words and the adapters' (coap.h, http.h).
static const char *const attribute_keys[] = {"observable", "confirmable", "rt",      "interface", "title",
                                             "ct",         "sz",          "methods", NULL};

// Pushes the attributes as the adapter has them.
static void push_attributes(lua_State *L, const struct port *p, int table)
{
    char where[16];
    snprintf(where, sizeof where, "%s:serve", p->who);
    bind_check_keys(L, table, where, attribute_keys);
    lua_newtable(L);
    int out = lua_gettop(L);
    for (unsigned i = 0; attribute_keys[i]; i++) {
        const char *key = attribute_keys[i];
        lua_getfield(L, table, key);
        lua_setfield(L, out, strcmp(key, "interface") ? key : "if"); // a word of Lua
    }
}

static struct handler *find_served(struct behaviour *b, const struct side *side, const char *path)
{
    for (struct handler *h = b->handlers; h; h = h->next)
        if (h->kind == HANDLER_SERVED && h->side == side && !strcmp(h->name, path))
            return h;
    return NULL;
}

// dev:serve(path, options?, fn) → true | nil, message, code; a nil function ends it
int port_serve_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    size_t n;
    PORT_OR_RETURN(L, s, &p);
    const char *path = luaL_checklstring(L, 2, &n);
    bool options = lua_istable(L, 3);
    int fn = options ? 4 : 3;
    lua_settop(L, fn);
    if (n < 1 || path[0] != '/' || n > PATH_MAX_BYTES || strlen(path) != n || strpbrk(path, "?#"))
        return luaL_error(L, "%s:serve: expected a path such as \"/temperature\", without a query", p.who);
    if (!lua_isnil(L, fn) && !lua_isfunction(L, fn))
        return luaL_error(L, "%s:serve: expected a function, got %s", p.who, luaL_typename(L, fn));
    struct error err = {0};
    struct handler *known = find_served(p.behaviour, p.side, path);
    if (lua_isnil(L, fn)) {
        if (!known)
            return luaL_error(L, "%s:serve: expected a function, got nil, and %s is not served", p.who, path);
        port_unserve(p.behaviour, p.side, path);
        handlers_remove(L, &p, known, NULL);
        lua_pushboolean(L, 1);
        return 1;
    }
    if (fleet_env(s->fleet)->capture) {
        error_set(&err, ERR_UNSUPPORTED, "nobody asks a device anything in virtual time");
        return bind_fail(L, &err);
    }
    json_t *attributes = NULL;
    if (options) {
        push_attributes(L, &p, 3);
        lua_replace(L, 3);
    }
    if (known) { // the newer one takes its place
        port_unserve(p.behaviour, p.side, path);
        handlers_remove(L, &p, known, NULL);
    }
    struct handler *h = handler_add(L, &p, fn, HANDLER_SERVED, path, n);
    int rc = 0;
    if (options && !(attributes = json_from_lua(L, 3, &err)))
        rc = -1;
    if (!rc)
        rc = port_serve(&p, path, attributes, &err);
    json_decref(attributes);
    if (rc) {
        handlers_remove(L, &p, h, NULL);
        return port_refused(L, &p, "serve", &err);
    }
    lua_pushboolean(L, 1);
    return 1;
}

// dev:notify(path) → true | nil, message, code
int port_notify_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    struct error err = {0};
    PORT_OR_RETURN(L, s, &p);
    const char *path = luaL_checkstring(L, 2);
    if (!find_served(p.behaviour, p.side, path))
        return luaL_error(L, "%s:notify: %s is not served; call %s:serve first", p.who, path, p.who);
    if (port_notify(&p, path, &err))
        return port_refused(L, &p, "notify", &err);
    lua_pushboolean(L, 1);
    return 1;
}

// dev:served_at() → url | nil, message, code
int port_served_at_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    struct error err = {0};
    PORT_OR_RETURN(L, s, &p);
    buf_clear(&s->topic);
    if (port_served_at(&p, &s->topic, &err))
        return port_refused(L, &p, "served_at", &err);
    lua_pushlstring(L, (const char *)s->topic.data, s->topic.len);
    return 1;
}

// --- what comes in --------------------------------------------------------------------------------------------------

// How many bytes of the path the served name covers; 0: it does not. "/a/*" and, where the adapter passes it on, "/a"
// cover what lies below.
static size_t covers(const char *name, const char *path, size_t n)
{
    size_t len = strlen(name);
    if (len >= 2 && !strcmp(name + len - 2, "/*"))
        len -= 2;
    return n >= len && !memcmp(name, path, len) && (n == len || path[len] == '/' || (len && name[len - 1] == '/'))
               ? len + 1
               : 0;
}

static const struct handler *served(const struct behaviour *b, const struct side *side, const char *path, size_t n)
{
    const struct handler *best = NULL;
    size_t most = 0;
    for (const struct handler *h = b->handlers; h; h = h->next) {
        size_t c = h->kind == HANDLER_SERVED && h->side == side ? covers(h->name, path, n) : 0;
        if (c > most) {
            best = h;
            most = c;
        }
    }
    return best;
}

static void set_bytes(lua_State *L, const char *key, const void *bytes, size_t n)
{
    lua_pushlstring(L, bytes ? bytes : "", n);
    lua_setfield(L, -2, key);
}

static void push_request(struct scenario *s, const struct adapter_request *r, size_t path_len)
{
    lua_State *L = s->L;
    lua_createtable(L, 0, 5);
    set_bytes(L, "method", r->method, strlen(r->method));
    set_bytes(L, "path", r->path, path_len);
    set_bytes(L, "query", r->path + path_len + (path_len < r->path_len),
              r->path_len - path_len - (path_len < r->path_len));
    set_bytes(L, "payload", r->payload, r->payload_len);
    properties_push(L, r->headers, r->n_headers, true);
    lua_setfield(L, -2, "headers");
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->message_meta);
    lua_setmetatable(L, -2);
}

int behaviour_request(struct scenario *s, struct behaviour *b, struct side *side, uint64_t ticket,
                      const struct adapter_request *request, struct error *err)
{
    lua_State *L = s->L;
    const char *query = memchr(request->path, '?', request->path_len);
    size_t n = query ? (size_t)(query - request->path) : request->path_len;
    const struct handler *h = served(b, side, request->path, n);
    if (!h)
        return error_set(err, ERR_NOT_FOUND, "nothing is served at %.*s", (int)(n < 200 ? n : 200), request->path);
    uint32_t former = guard_charge(s->guard, b->owner.account);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->serve_runner);
    port_handle_push(s, b, side);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
    push_request(s, request, n);
    lua_pushlstring(L, (const char *)&ticket, sizeof ticket); // a number would lose bits
    struct task *t = task_spawn(s->tasks, L, 4, &b->owner, err);
    guard_charge(s->guard, former);
    if (!t)
        counter_add(s->groups[b->device->group->config.number].errors, 1);
    return t ? 0 : -1;
}

// The status of an answer that its author gave none, in the protocol's words.
static unsigned usual_status(const struct port *p, const char *method)
{
    if (strcmp(port_adapter(p)->name, "coap"))
        return 200;
    return !strcmp(method, "GET") || !strcmp(method, "FETCH") ? 205 : !strcmp(method, "DELETE") ? 202 : 204;
}

// native.respond(port, ticket, method, status or nil, body, headers or nil, content type or nil)
// → true | nil, message, code
int respond_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    struct adapter_property headers[PROPERTIES_MAX + 1];
    struct error err = {0};
    uint64_t ticket;
    size_t n;
    PORT_OR_RETURN(L, s, &p);
    const char *bytes = luaL_checklstring(L, 2, &n), *method = luaL_checkstring(L, 3);
    if (n != sizeof ticket)
        return luaL_error(L, "expected a ticket");
    memcpy(&ticket, bytes, sizeof ticket);
    lua_settop(L, 7);
    struct adapter_response r = {.headers = headers};
    r.status = lua_isnil(L, 4) ? usual_status(&p, method) : (unsigned)luaL_checkint(L, 4);
    if (!lua_isnil(L, 6))
        r.n_headers = bind_properties(L, 6, "serve: headers", headers);
    const char *type = lua_tostring(L, 7),
               *name = strcmp(port_adapter(&p)->name, "coap") ? "Content-Type" : "Content-Format";
    if (type)
        headers[r.n_headers++] = (struct adapter_property){name, strlen(name), type, strlen(type)};
    if (port_payload(L, s, 5, &r.payload, &r.payload_len, &err) || port_respond(&p, ticket, &r, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}
