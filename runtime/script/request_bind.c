// Requests of a connection: dev:request{…}, dev:get(path, …) … and dev:observe(path, fn). The task waits; what comes
// back is a table, whatever its status. See adapter.h (request) for what each protocol makes of it.
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "script/behaviour.h"
#include "script/conn.h"

enum protocol { PROTOCOL_MQTT, PROTOCOL_HTTP, PROTOCOL_COAP, PROTOCOL_OTHER };

static enum protocol protocol_of(const struct port *p)
{
    const char *name = port_adapter(p)->name;
    return !strcmp(name, "mqtt")   ? PROTOCOL_MQTT
           : !strcmp(name, "http") ? PROTOCOL_HTTP
           : !strcmp(name, "coap") ? PROTOCOL_COAP
                                   : PROTOCOL_OTHER;
}

// --- options that are an adapter's own ------------------------------------------------------------------------------

static const struct own_option {
    enum protocol protocol;
    const char *lua, *json;
} own_options[] = {
    {PROTOCOL_HTTP, "query", "query"},
    {PROTOCOL_HTTP, "form", "form"},
    {PROTOCOL_HTTP, "redirects", "redirects"},
    {PROTOCOL_HTTP, "retries", "retries"},
    {PROTOCOL_HTTP, "auth", "auth"},
    {PROTOCOL_COAP, "confirmable", "confirmable"},
    {PROTOCOL_COAP, "block_size", "blockSize"},
    {PROTOCOL_MQTT, "qos", "qos"},
    {PROTOCOL_MQTT, "content_type", "contentType"},
    {PROTOCOL_MQTT, "expiry", "expiry"},
};
enum { N_OWN = sizeof own_options / sizeof own_options[0] };

static void check_keys(lua_State *L, int table, const struct port *p, const char *function, const char *const *common)
{
    const char *keys[24];
    char where[24];
    unsigned n = 0;
    enum protocol protocol = protocol_of(p);
    for (; common[n]; n++)
        keys[n] = common[n];
    for (unsigned i = 0; i < N_OWN; i++)
        if (own_options[i].protocol == protocol)
            keys[n++] = own_options[i].lua;
    if (protocol == PROTOCOL_OTHER)
        keys[n++] = "options";
    keys[n] = NULL;
    snprintf(where, sizeof where, "%s:%s", p->who, function);
    bind_check_keys(L, table, where, keys);
}

// A copy of the table at the top of the stack in its place: keys in the adapter's spelling.
static void respell(lua_State *L, const char *from, const char *to)
{
    int given = lua_gettop(L);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, given);) {
        bool renamed = lua_type(L, -2) == LUA_TSTRING && !strcmp(lua_tostring(L, -2), from);
        if (renamed) {
            lua_setfield(L, given + 1, to);
            continue;
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, given + 1);
    }
    lua_replace(L, given);
}

// One part of a form, at the top of the stack: bytes travel as base64, a file lies beside the scenario.
static void form_part(lua_State *L, struct scenario *s, const char *who)
{
    int part = lua_gettop(L);
    size_t n;
    if (!lua_istable(L, part))
        luaL_error(L, "%s:request: form: expected a list of { name =, value = | file = | data = }, got %s", who,
                   luaL_typename(L, part));
    respell(L, "", ""); // a copy: the author's stays as it is
    lua_getfield(L, part, "data");
    if (lua_type(L, -1) == LUA_TSTRING) {
        const char *bytes = lua_tolstring(L, -1, &n);
        buf_clear(&s->scratch);
        if (buf_append_base64(&s->scratch, bytes, n))
            luaL_error(L, "%s:request: form: data is larger than 768 KB; send a file", who);
        lua_pushlstring(L, (const char *)s->scratch.data, s->scratch.len);
        buf_clear(&s->scratch);
        lua_setfield(L, part, "data");
    }
    lua_getfield(L, part, "file");
    if (lua_type(L, -1) == LUA_TSTRING && lua_tostring(L, -1)[0] != '/') {
        lua_pushfstring(L, "%s/%s", s->script_dir, lua_tostring(L, -1));
        lua_setfield(L, part, "file");
    }
    lua_settop(L, part);
}

static void form_list(lua_State *L, struct scenario *s, const char *who)
{
    int list = lua_gettop(L);
    if (!lua_istable(L, list))
        luaL_error(L, "%s:request: form: expected a list of { name =, value = | file = | data = }, got %s", who,
                   luaL_typename(L, list));
    lua_newtable(L);
    for (int i = 1; i <= (int)lua_objlen(L, list); i++) {
        lua_rawgeti(L, list, i);
        form_part(L, s, who);
        lua_rawseti(L, list + 1, i);
    }
    lua_replace(L, list);
}

// The duration at the top of the stack in its place, rounded up.
static void whole_seconds(lua_State *L)
{
    int64_t us = bind_duration(L, lua_gettop(L), "expiry");
    lua_pushnumber(L, (double)((us + 999999) / 1000000));
    lua_replace(L, -2);
}

// Pushes the table of the adapter's own options, nil when there are none.
static void push_own(lua_State *L, struct scenario *s, int table, const struct port *p)
{
    enum protocol protocol = protocol_of(p);
    lua_pushnil(L);
    int own = lua_gettop(L);
    if (protocol == PROTOCOL_OTHER) {
        lua_getfield(L, table, "options");
        lua_replace(L, own);
        return;
    }
    for (unsigned i = 0; i < N_OWN; i++) {
        const struct own_option *o = &own_options[i];
        if (o->protocol != protocol)
            continue;
        lua_getfield(L, table, o->lua);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            continue;
        }
        if (!strcmp(o->lua, "form"))
            form_list(L, s, p->who);
        else if (!strcmp(o->lua, "retries") && lua_istable(L, -1))
            respell(L, "max_delay", "maxDelay");
        else if (!strcmp(o->lua, "expiry"))
            whole_seconds(L);
        if (lua_isnil(L, own)) {
            lua_newtable(L);
            lua_replace(L, own);
        }
        lua_setfield(L, own, o->json);
    }
}

// --- a request ------------------------------------------------------------------------------------------------------

struct asked {
    struct adapter_request request;
    struct adapter_property headers[PROPERTIES_MAX + 1];
    int own; // stack index of the adapter's options, nil: none
};

static bool has_header(const struct asked *a, const char *name)
{
    for (unsigned i = 0; i < a->request.n_headers; i++)
        if (a->headers[i].name_len == strlen(name) && !strncasecmp(a->headers[i].name, name, strlen(name)))
            return true;
    return false;
}

// What the body is, in the protocol's words: as the author says it, and of a table JSON.
static void content_type(lua_State *L, const struct port *p, struct asked *a, int table, bool json)
{
    static const char *const names[] = {[PROTOCOL_HTTP] = "Content-Type", [PROTOCOL_COAP] = "Content-Format"};
    enum protocol protocol = protocol_of(p);
    const char *value = json ? "application/json" : NULL;
    if (table) {
        lua_getfield(L, table, "content_type");
        if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "content_type: expected a string, got %s", luaL_typename(L, -1));
        if (!lua_isnil(L, -1))
            value = lua_tostring(L, -1);
        lua_pop(L, 1); // the table keeps it
    }
    if (protocol > PROTOCOL_COAP || !names[protocol] || !value || has_header(a, names[protocol]))
        return;
    a->headers[a->request.n_headers++] = (struct adapter_property){
        .name = names[protocol], .name_len = strlen(names[protocol]), .value = value, .value_len = strlen(value)};
}

// The path, "/" in front of it where it lacks one, into s->topic.
static void take_path(lua_State *L, struct scenario *s, const struct port *p, const char *function, const char *path,
                      size_t n, struct asked *a)
{
    struct error err = {0};
    if (protocol_of(p) == PROTOCOL_MQTT) {
        if (port_topic(s, p->device, path, n, &s->topic, &err))
            luaL_error(L, "%s:%s: %s", p->who, function, err.text);
    } else {
        bool absolute = n && (path[0] == '/' || memmem(path, n < 32 ? n : 32, "://", 3));
        buf_clear(&s->topic);
        if (n > PATH_MAX_BYTES || memchr(path, '\0', n))
            luaL_error(L, "%s:%s: a path has at most %d bytes and no NUL", p->who, function, PATH_MAX_BYTES);
        if ((!absolute && buf_append_char(&s->topic, '/')) || buf_append(&s->topic, path, n))
            luaL_error(L, "%s:%s: no memory for the path", p->who, function);
    }
    a->request.path = buf_cstr(&s->topic);
    a->request.path_len = s->topic.len;
}

// Options at `table` (0: none) beside method, path and payload.
static void take_options(lua_State *L, struct scenario *s, const struct port *p, int table, bool json, struct asked *a)
{
    a->request.headers = a->headers;
    lua_pushnil(L);
    a->own = lua_gettop(L);
    if (table) {
        a->request.timeout_us = bind_opt_duration(L, table, "timeout", 0);
        push_own(L, s, table, p);
        lua_replace(L, a->own);
        lua_getfield(L, table, protocol_of(p) == PROTOCOL_MQTT ? "user" : "headers");
        if (!lua_isnil(L, -1)) // what it pushes stays
            a->request.n_headers =
                bind_properties(L, lua_gettop(L), protocol_of(p) == PROTOCOL_MQTT ? "user" : "headers", a->headers);
    }
    content_type(L, p, a, table, json);
}

static bool is_virtual(const struct scenario *s)
{
    return fleet_env(s->fleet)->capture != NULL;
}

static int no_requests(lua_State *L, const char *what)
{
    struct error err = {0};
    error_set(&err, ERR_UNSUPPORTED, "%s need a server, and in virtual time there is none", what);
    return bind_fail(L, &err);
}

// Asks. -1: err.
static int ask(lua_State *L, const struct port *p, struct asked *a, uint32_t token, struct error *err)
{
    json_t *own = NULL;
    if (!lua_isnil(L, a->own) && !(own = json_from_lua(L, a->own, err)))
        return -1;
    a->request.options = own; // from here on nothing may raise
    int rc = port_request(p, &a->request, token, err);
    json_decref(own);
    return rc;
}

// The answer that the task waits for.
static int ask_and_wait(lua_State *L, struct scenario *s, const struct port *p, struct asked *a, const char *function,
                        struct task *t)
{
    struct error err = {0};
    struct wait like = {.kind = WAIT_RESPONSE,
                        .token = device_token(p->device),
                        .is_message = protocol_of(p) == PROTOCOL_MQTT,
                        .side = p->side};
    if (ask(L, p, a, like.token, &err))
        return port_refused(L, p, function, &err);
    return wait_block(L, s, p->device, &like, -1, t);
}

static const char *field_text(lua_State *L, int table, const char *key, const char *where, size_t *n)
{
    lua_getfield(L, table, key);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s: %s: expected a string, got %s", where, key, luaL_typename(L, -1));
    const char *text = lua_tolstring(L, -1, n);
    lua_pop(L, 1); // the table keeps it
    return text;
}

static const char *const request_keys[] = {"method", "path", "payload", "headers", "timeout", "content_type", NULL};
static const char *const message_keys[] = {"method", "topic", "payload", "user", "timeout", NULL};

// dev:request{ method=, path=, payload=, headers=, timeout=, … } → response | nil, message, code
int port_request_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    struct asked a;
    size_t n;
    PORT_OR_RETURN(L, s, &p);
    if (is_virtual(s))
        return no_requests(L, "requests");
    bool message = protocol_of(&p) == PROTOCOL_MQTT;
    a.request = (struct adapter_request){0};
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    check_keys(L, 2, &p, "request", message ? message_keys : request_keys);
    struct task *t = task_current(s->tasks, L, "request");
    const char *path = field_text(L, 2, message ? "topic" : "path", "request", &n);
    size_t method_len;
    const char *method = field_text(L, 2, "method", "request", &method_len);
    bool auth = message && method && !strcmp(method, "AUTH"); // authenticates anew: there is no topic
    if (!path && !auth)
        return luaL_error(L, "%s:request: %s is missing", p.who, message ? "topic" : "path");
    if (path)
        take_path(L, s, &p, "request", path, n, &a);
    lua_getfield(L, 2, "payload");
    int payload = lua_gettop(L);
    a.request.method = method ? method : message ? "PUBLISH" : lua_isnil(L, payload) ? "GET" : "POST";
    take_options(L, s, &p, 2, lua_istable(L, payload), &a);
    struct error err = {0};
    if (port_payload(L, s, payload, &a.request.payload, &a.request.payload_len, &err))
        return port_refused(L, &p, "request", &err);
    return ask_and_wait(L, s, &p, &a, "request", t);
}

// dev:get(path, options), dev:post(path, payload, options)
static int short_request(lua_State *L, const char *method, const char *function, bool has_payload)
{
    static const char *const keys[] = {"headers", "timeout", "content_type", NULL};
    struct scenario *s = scenario_of(L);
    struct port p;
    struct asked a;
    size_t n;
    PORT_OR_RETURN(L, s, &p);
    if (is_virtual(s))
        return no_requests(L, "requests");
    const char *path = luaL_checklstring(L, 2, &n);
    int options = has_payload ? 4 : 3, table = 0;
    lua_settop(L, options);
    if (protocol_of(&p) == PROTOCOL_MQTT)
        return luaL_error(L, "%s:%s: it is for HTTP and CoAP; over MQTT 5: %s:request{ topic =, payload = }", p.who,
                          function, p.who);
    if (!lua_isnil(L, options)) {
        luaL_checktype(L, options, LUA_TTABLE);
        check_keys(L, options, &p, function, keys);
        table = options;
    }
    struct task *t = task_current(s->tasks, L, function);
    a.request = (struct adapter_request){.method = method};
    take_path(L, s, &p, function, path, n, &a);
    take_options(L, s, &p, table, has_payload && lua_istable(L, 3), &a);
    struct error err = {0};
    if (has_payload && port_payload(L, s, 3, &a.request.payload, &a.request.payload_len, &err))
        return port_refused(L, &p, function, &err);
    return ask_and_wait(L, s, &p, &a, function, t);
}

int port_get_bind(lua_State *L)
{
    return short_request(L, "GET", "get", false);
}

int port_post_bind(lua_State *L)
{
    return short_request(L, "POST", "post", true);
}

int port_put_bind(lua_State *L)
{
    return short_request(L, "PUT", "put", true);
}

int port_patch_bind(lua_State *L)
{
    return short_request(L, "PATCH", "patch", true);
}

int port_delete_bind(lua_State *L)
{
    return short_request(L, "DELETE", "delete", false);
}

int port_fetch_bind(lua_State *L)
{
    return short_request(L, "FETCH", "fetch", true);
}

// --- observations ---------------------------------------------------------------------------------------------------

struct handle_observation {
    uint32_t tag;
    uint32_t token;
    slot_id device;
};

static struct handler *find_observation(struct behaviour *b, uint32_t token)
{
    for (struct handler *h = b->handlers; h; h = h->next)
        if (h->kind == HANDLER_OBSERVATION && h->token == token)
            return h;
    return NULL;
}

static void unlink_handler(lua_State *L, struct behaviour *b, struct handler *which)
{
    struct handler **at = &b->handlers;
    while (*at != which)
        at = &(*at)->next;
    *at = which->next;
    handler_free(L, which);
}

// dev:observe(path, options?, fn) → observation | nil, message, code
int port_observe_bind(lua_State *L)
{
    static const char *const keys[] = {"headers", "timeout", NULL};
    struct scenario *s = scenario_of(L);
    struct port p;
    struct asked a;
    size_t n;
    PORT_OR_RETURN(L, s, &p);
    if (is_virtual(s))
        return no_requests(L, "observations");
    const char *path = luaL_checklstring(L, 2, &n);
    bool options = lua_istable(L, 3);
    int fn = options ? 4 : 3;
    lua_settop(L, fn);
    if (!lua_isfunction(L, fn))
        return luaL_error(L, "%s:observe: expected a function, got %s", p.who, luaL_typename(L, fn));
    if (options)
        check_keys(L, 3, &p, "observe", keys);
    a.request = (struct adapter_request){.method = "OBSERVE"};
    take_path(L, s, &p, "observe", path, n, &a);
    take_options(L, s, &p, options ? 3 : 0, false, &a);
    struct handle_observation *handle = lua_newuserdata(L, sizeof *handle);
    *handle =
        (struct handle_observation){.tag = HANDLE_OBSERVATION, .token = device_token(p.device), .device = p.device->id};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->observation_meta);
    lua_setmetatable(L, -2);
    struct handler *h = handler_add(L, &p, fn, HANDLER_OBSERVATION, a.request.path, a.request.path_len);
    h->token = handle->token;
    struct error err = {0};
    if (!ask(L, &p, &a, handle->token, &err))
        return 1;
    handlers_remove(L, &p, h, NULL);
    return port_refused(L, &p, "observe", &err);
}

static const struct handle_observation *check_observation(lua_State *L)
{
    const struct handle_observation *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!h || h->tag != HANDLE_OBSERVATION)
        luaL_error(L, "expected what observe returned");
    return h;
}

static struct handler *observation_of(lua_State *L, struct behaviour **b)
{
    const struct handle_observation *o = check_observation(L);
    *b = scenario_behaviour(scenario_of(L));
    if (!*b || !(*b)->device || (*b)->device->id != o->device)
        luaL_error(L, "this is an observation of another device");
    return find_observation(*b, o->token);
}

// observation:cancel() → whether it went on
static int observation_cancel(lua_State *L)
{
    struct behaviour *b;
    struct handler *h = observation_of(L, &b);
    lua_pushboolean(L, h != NULL);
    if (!h)
        return 1;
    port_request_cancel(b, h->side, h->token);
    unlink_handler(L, b, h);
    return 1;
}

static int observation_active(lua_State *L)
{
    struct behaviour *b;
    lua_pushboolean(L, observation_of(L, &b) != NULL);
    return 1;
}

void request_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {{"cancel", observation_cancel}, {"active", observation_active}, {NULL, NULL}};
    bind_metatable(L, s, NULL, methods);
    s->observation_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}

// --- answers --------------------------------------------------------------------------------------------------------

static bool is_coap(const struct behaviour *b, const struct side *side)
{
    return !strcmp((side ? side->adapter : b->device->group->adapter)->name, "coap");
}

// { status, ok, body, headers, latency, attempts } with a method json(); of MQTT the message's user properties are the
// headers, and `payload` is there as in other messages.
static void push_response(struct scenario *s, const struct behaviour *b, const struct side *side,
                          const struct adapter_response *r, bool is_message)
{
    lua_State *L = s->L;
    lua_createtable(L, 0, 7);
    if (!is_message) {
        lua_pushnumber(L, r->status);
        lua_setfield(L, -2, "status");
    }
    lua_pushboolean(L, is_message || (r->status >= 200 && r->status < 300));
    lua_setfield(L, -2, "ok");
    lua_pushlstring(L, r->payload ? (const char *)r->payload : "", r->payload_len);
    if (is_message) {
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "payload");
    }
    lua_setfield(L, -2, "body");
    properties_push(L, r->headers, r->n_headers, !is_message);
    if (is_message) { // no user property, but the message's own
        lua_getfield(L, -1, "content-type");
        lua_setfield(L, -3, "content_type");
        lua_pushnil(L);
        lua_setfield(L, -2, "content-type");
    }
    lua_setfield(L, -2, is_message ? "user" : "headers");
    lua_pushnumber(L, (double)r->latency_us / 1e6);
    lua_setfield(L, -2, "latency");
    lua_pushnumber(L, r->attempts);
    lua_setfield(L, -2, "attempts");
    if (is_coap(b, side)) {
        char code[16];
        snprintf(code, sizeof code, "%u.%02u", r->status / 100, r->status % 100);
        lua_pushstring(L, code);
        lua_setfield(L, -2, "code");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->response_meta);
    lua_setmetatable(L, -2);
}

// fn(response) or, when it is over, fn(nil, message, code)
static void observed(struct scenario *s, struct behaviour *b, struct handler *h, const struct adapter_response *r,
                     const struct error *why)
{
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
    if (r)
        push_response(s, b, h->side, r, false);
    else
        bind_fail(L, why);
    handler_task(s, b, h, r ? 1 : 3);
    if (r && r->more)
        return;
    unlink_handler(L, b, h);
}

void behaviour_response(struct scenario *s, struct behaviour *b, struct side *side, uint32_t token,
                        const struct adapter_response *response, const struct error *why)
{
    uint32_t former = guard_charge(s->guard, b->owner.account);
    struct wait *w = b->waits;
    while (w && (w->kind != WAIT_RESPONSE || w->token != token))
        w = w->next;
    struct handler *h = w ? NULL : find_observation(b, token);
    if (h) {
        observed(s, b, h, response, why);
    } else if (w && why) {
        wait_answer_error(w, why);
    } else if (w) {
        push_response(s, b, side, response, w->is_message);
        wait_answer_value(w, guard_ref(s->L));
    }
    guard_charge(s->guard, former);
}
