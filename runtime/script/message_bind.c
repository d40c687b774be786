// Messages of a connection: publish, subscribe, unsubscribe and wait, of a device (dev:) and of a side connection
// (conn:).
#include <string.h>
#include "device/gateway.h"
#include "script/behaviour.h"
#include "script/conn.h"

#define TOPIC_MAX 65535 // MQTT's, section 1.5.3

int port_topic(struct scenario *s, struct device *d, const char *topic, size_t n, struct buf *out, struct error *err)
{
    (void)s;
    buf_clear(out);
    if (n == 0 || memchr(topic, '\0', n))
        return error_set(err, ERR_INVALID, n ? "a topic holds no NUL" : "the topic is empty");
    if (device_topic(d, topic, n, out) == 0 && out->len <= TOPIC_MAX)
        return 0;
    return error_set(err, ERR_LIMIT, "the topic is longer than %d bytes", TOPIC_MAX);
}

int port_refused(lua_State *L, const struct port *p, const char *function, const struct error *err)
{
    return err->code == ERR_INVALID ? luaL_error(L, "%s:%s: %s", p->who, function, err->text) : bind_fail(L, err);
}

int port_payload(lua_State *L, struct scenario *s, int arg, const uint8_t **bytes, size_t *n, struct error *err)
{
    if (lua_type(L, arg) == LUA_TSTRING) {
        *bytes = (const uint8_t *)lua_tolstring(L, arg, n);
        return 0;
    }
    buf_clear(&s->scratch);
    int rc = lua_isnoneornil(L, arg) ? 0 : json_encode_value(L, arg, &s->scratch, err);
    *bytes = s->scratch.data;
    *n = s->scratch.len;
    return rc;
}

// --- publish --------------------------------------------------------------------------------------------------------

// The device itself, a child of its own (a gateway speaks for its children), or a side connection.
static bool check_speaker(lua_State *L, struct scenario *s, struct port *p, bool *closed)
{
    *closed = false;
    const struct handle_device *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    struct behaviour *b = scenario_behaviour(s);
    if (!h || h->tag != HANDLE_DEVICE || !b || !b->device || b->device->id == h->id || !gateway_children(b->device))
        return port_check(L, s, p, closed);
    struct device *d = fleet_find(s->fleet, h->id);
    if (!d || gateway_of(d) != b->device)
        return port_check(L, s, p, closed);
    *p = (struct port){.device = d, .behaviour = b, .who = "dev"};
    return true;
}

// A text option; NULL when there is none. The table keeps it.
static const char *opt_text(lua_State *L, int table, const char *key, size_t *n)
{
    *n = 0;
    lua_getfield(L, table, key);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s: expected a string, got %s", key, luaL_typename(L, -1));
    const char *text = lua_tolstring(L, -1, n);
    lua_pop(L, 1);
    return text;
}

static bool has_field(lua_State *L, int table, const char *key)
{
    lua_getfield(L, table, key);
    bool there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return there;
}

// What MQTT 5 adds; false: nothing of it is there. `user` must live as long as meta.
static bool opt_meta(lua_State *L, struct scenario *s, const struct port *p, int table, struct adapter_meta *m,
                     struct adapter_property *user)
{
    static const char *const keys[] = {"user",   "content_type", "response_topic", "correlation",
                                       "expiry", "alias",        "payload_text",   NULL};
    unsigned present = 0;
    for (unsigned i = 0; keys[i]; i++)
        present |= (unsigned)has_field(L, table, keys[i]) << i;
    if (!present)
        return false;
    size_t n;
    struct error err = {0};
    const char *reply = opt_text(L, table, "response_topic", &n);
    if (reply) {
        if (port_topic(s, p->device, reply, n, &s->reply, &err))
            luaL_error(L, "%s:publish: response_topic: %s", p->who, err.text);
        m->response_topic = (const char *)s->reply.data;
        m->response_topic_len = s->reply.len;
    }
    m->content_type = opt_text(L, table, "content_type", &m->content_type_len);
    m->correlation = (const uint8_t *)opt_text(L, table, "correlation", &m->correlation_len);
    m->alias = bind_opt_bool(L, table, "alias", false);
    m->payload_text = bind_opt_bool(L, table, "payload_text", false);
    if (has_field(L, table, "expiry")) {
        int64_t us = bind_opt_duration(L, table, "expiry", 0);
        if (us > (int64_t)UINT32_MAX * 1000000)
            luaL_error(L, "%s:publish: expiry: at most 136 years", p->who);
        m->has_expiry = true;
        m->expiry_s = (uint32_t)((us + 999999) / 1000000);
    }
    lua_getfield(L, table, "user");
    if (!lua_isnil(L, -1)) {
        m->n_user = bind_properties(L, lua_gettop(L), "user", user); // what it pushed stays
        m->user = user;
    }
    return true;
}

struct publish {
    struct adapter_message m;
    struct adapter_meta meta;
    struct adapter_property user[PROPERTIES_MAX];
    struct task *wait_for;
};

static void publish_options(lua_State *L, struct scenario *s, const struct port *p, struct publish *out)
{
    static const char *const keys[] = {"qos",          "retain",         "wait",        "user",
                                       "content_type", "response_topic", "correlation", "expiry",
                                       "alias",        "payload_text",   NULL};
    struct adapter_message *m = &out->m;
    char where[16];
    luaL_checktype(L, 4, LUA_TTABLE);
    snprintf(where, sizeof where, "%s:publish", p->who);
    bind_check_keys(L, 4, where, keys);
    m->qos = (uint8_t)bind_opt_int(L, 4, "qos", 0, 2, m->qos);
    m->retain = bind_opt_bool(L, 4, "retain", false);
    if (bind_opt_bool(L, 4, "wait", false) && m->qos > 0)
        out->wait_for = task_current(s->tasks, L, "publish with wait = true");
    if (out->wait_for && p->device->behaviour != p->behaviour)
        luaL_error(L, "dev:publish: a child hands its messages to its gateway: there is nothing to wait for");
    out->meta = (struct adapter_meta){0};
    if (opt_meta(L, s, p, 4, &out->meta, out->user))
        m->meta = &out->meta;
}

// dev:publish(topic, payload, { qos=, retain=, wait=, … }) → true | nil, message, code
int port_publish_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    struct publish out; // not cleared: 2 KB of properties that are hardly ever used
    bool closed;
    if (!check_speaker(L, s, &p, &closed))
        return 3;
    size_t topic_len;
    const char *topic = luaL_checklstring(L, 2, &topic_len);
    struct error err = {0};
    lua_settop(L, 4);
    out.m = (struct adapter_message){.qos = (uint8_t)p.device->group->config.qos};
    out.wait_for = NULL;
    if (!lua_isnil(L, 4))
        publish_options(L, s, &p, &out);
    struct adapter_message *m = &out.m;
    if (port_payload(L, s, 3, &m->payload, &m->payload_len, &err) ||
        port_topic(s, p.device, topic, topic_len, &s->topic, &err))
        return port_refused(L, &p, "publish", &err);
    m->topic = (const char *)s->topic.data;
    m->topic_len = s->topic.len;
    uint32_t token = out.wait_for ? device_token(p.device) : 0;
    if (port_publish(&p, m, token, &err))
        return port_refused(L, &p, "publish", &err);
    if (out.wait_for) {
        struct wait like = {.kind = WAIT_DONE, .token = token, .side = p.side};
        return wait_block(L, s, p.device, &like, -1, out.wait_for);
    }
    lua_pushboolean(L, 1);
    return 1;
}

// --- handlers -------------------------------------------------------------------------------------------------------

struct handler *handler_add(lua_State *L, const struct port *p, int fn, enum handler_kind kind, const char *name,
                            size_t n)
{
    struct handler **at = &p->behaviour->handlers; // in order of registration
    unsigned others = 0;
    for (; *at; at = &(*at)->next)
        others++;
    if (others >= HANDLERS_MAX)
        luaL_error(L, "a device has at most %d handlers; register them once, outside of loops", HANDLERS_MAX);
    struct handler *h = calloc(1, sizeof *h + n + 1);
    if (!h) {
        luaL_error(L, "no memory for a handler");
        return NULL;
    }
    memcpy(h->name, name, n);
    h->kind = (uint8_t)kind;
    h->side = p->side;
    lua_pushvalue(L, fn);
    h->function = guard_ref(L);
    *at = h;
    return h;
}

void handlers_remove(lua_State *L, const struct port *p, const struct handler *which, const char *filter)
{
    for (struct handler **at = &p->behaviour->handlers; *at;) {
        struct handler *h = *at;
        bool meant = filter && h->side == p->side && h->kind == HANDLER_SUBSCRIPTION && strcmp(h->name, filter) == 0;
        if (h != which && !meant) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        handler_free(L, h);
    }
}

// --- subscriptions --------------------------------------------------------------------------------------------------

static int subscribe(lua_State *L, struct scenario *s, const struct port *p, struct handler *h,
                     const struct adapter_subscription *sub, struct task *t)
{
    struct error err = {0};
    uint32_t token = device_token(p->device);
    if (h)
        h->token = token;
    if (port_subscribe(p, sub, token, &err)) {
        if (h && h->command && err.code == ERR_STATE) { // ops_online makes up for it
            h->token = 0;
            h->later = true;
            lua_pushboolean(L, 1);
            return 1;
        }
        if (h)
            handlers_remove(L, p, h, NULL);
        return port_refused(L, p, "subscribe", &err);
    }
    bool answers = p->side ? p->side->state == CONN_CONNECTED : p->device->conn_state == CONN_CONNECTED;
    if (answers) {
        struct wait like = {.kind = WAIT_DONE, .token = token, .granted = true, .side = p->side};
        return wait_block(L, s, p->device, &like, -1, t);
    }
    lua_pushboolean(L, 1);
    return 1;
}

int handler_subscribe(lua_State *L, struct scenario *s, const struct port *p, struct handler *h, struct task *t)
{
    struct adapter_subscription sub = {.filter = h->name, .qos = h->qos};
    return subscribe(L, s, p, h, &sub, t);
}

static void subscribe_options(lua_State *L, const struct port *p, struct adapter_subscription *sub)
{
    static const char *const keys[] = {"qos", "no_local", "retain_as_published", "retain_handling", "identifier", NULL};
    char where[16];
    snprintf(where, sizeof where, "%s:subscribe", p->who);
    bind_check_keys(L, 3, where, keys);
    sub->qos = bind_opt_int(L, 3, "qos", 0, 2, sub->qos);
    sub->no_local = bind_opt_bool(L, 3, "no_local", false);
    sub->retain_as_published = bind_opt_bool(L, 3, "retain_as_published", false);
    sub->retain_handling = (uint8_t)bind_opt_int(L, 3, "retain_handling", 0, 2, 0);
    sub->identifier = (uint32_t)bind_opt_int(L, 3, "identifier", 1, 268435455, 0);
}

// "$share/GROUP/FILTER": what messages are compared with is the filter.
static const char *plain_filter(const char *filter)
{
    const char *slash = strncmp(filter, "$share/", 7) ? NULL : strchr(filter + 7, '/');
    return slash ? slash + 1 : filter;
}

// dev:subscribe(filter, { qos=, … }, fn?) → true, granted qos | nil, message, code
int port_subscribe_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    PORT_OR_RETURN(L, s, &p);
    size_t n;
    const char *filter = luaL_checklstring(L, 2, &n);
    int fn = lua_isfunction(L, 3) ? 3 : 4;
    struct adapter_subscription sub = {.qos = p.device->group->config.qos};
    if (lua_istable(L, 3))
        subscribe_options(L, &p, &sub);
    else if (!lua_isnoneornil(L, 3) && fn != 3)
        return luaL_error(L, "%s:subscribe: expected a table of options or a function, got %s", p.who,
                          luaL_typename(L, 3));
    if (!lua_isnoneornil(L, fn) && !lua_isfunction(L, fn))
        return luaL_error(L, "%s:subscribe: expected a function, got %s", p.who, luaL_typename(L, fn));
    struct task *t = task_current(s->tasks, L, "subscribe");
    struct error err = {0};
    if (port_topic(s, p.device, filter, n, &s->topic, &err))
        return port_refused(L, &p, "subscribe", &err);
    struct handler *h = NULL;
    sub.filter = buf_cstr(&s->topic);
    if (lua_isfunction(L, fn)) {
        h = handler_add(L, &p, fn, HANDLER_SUBSCRIPTION, sub.filter, s->topic.len);
        h->qos = (uint8_t)sub.qos;
        h->no_local = sub.no_local;
        h->retain_as_published = sub.retain_as_published;
        h->retain_handling = sub.retain_handling;
        h->identifier = sub.identifier;
        h->plain = (uint16_t)(plain_filter(h->name) - h->name);
    }
    return subscribe(L, s, &p, h, &sub, t);
}

// dev:unsubscribe(filter) → true | nil, message, code
int port_unsubscribe_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    PORT_OR_RETURN(L, s, &p);
    size_t n;
    const char *filter = luaL_checklstring(L, 2, &n);
    struct task *t = task_current(s->tasks, L, "unsubscribe");
    struct error err = {0};
    if (port_topic(s, p.device, filter, n, &s->topic, &err))
        return port_refused(L, &p, "unsubscribe", &err);
    const char *name = buf_cstr(&s->topic);
    handlers_remove(L, &p, NULL, name);
    uint32_t token = device_token(p.device);
    if (port_unsubscribe(&p, name, token, &err))
        return port_refused(L, &p, "unsubscribe", &err);
    if (p.side ? p.side->state != CONN_CONNECTED : p.device->conn_state != CONN_CONNECTED) {
        lua_pushboolean(L, 1);
        return 1;
    }
    struct wait like = {.kind = WAIT_DONE, .token = token, .side = p.side};
    return wait_block(L, s, p.device, &like, -1, t);
}

// dev:wait(event, timeout?) → true or the message | nil, message, code
int port_wait_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct port p;
    PORT_OR_RETURN(L, s, &p);
    static const char *const events[] = {"message", "connect", "disconnect", NULL};
    char where[16];
    snprintf(where, sizeof where, "%s:wait", p.who);
    int event = bind_option(L, 2, where, events, -1);
    int64_t timeout = lua_isnoneornil(L, 3) ? -1 : bind_duration(L, 3, "wait: timeout");
    struct task *t = task_current(s->tasks, L, "wait");
    struct wait like = {.kind = event == 0 ? WAIT_MESSAGE : WAIT_EVENT, .side = p.side};
    memcpy(like.event, events[event], strlen(events[event]) + 1);
    return wait_block(L, s, p.device, &like, timeout, t);
}

// --- what comes in --------------------------------------------------------------------------------------------------

static void set_text(lua_State *L, const char *key, const void *text, size_t n)
{
    if (!text)
        return;
    lua_pushlstring(L, text, n);
    lua_setfield(L, -2, key);
}

static void push_meta(lua_State *L, const struct adapter_meta *m)
{
    set_text(L, "content_type", m->content_type, m->content_type_len);
    set_text(L, "response_topic", m->response_topic_len ? m->response_topic : NULL, m->response_topic_len);
    set_text(L, "correlation", m->correlation, m->correlation_len);
    if (m->n_user) {
        properties_push(L, m->user, m->n_user, false);
        lua_setfield(L, -2, "user");
    }
    if (m->has_expiry) {
        lua_pushnumber(L, m->expiry_s);
        lua_setfield(L, -2, "expiry");
    }
    if (m->payload_text) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "payload_text");
    }
    if (!m->n_subscription_ids)
        return;
    lua_createtable(L, (int)m->n_subscription_ids, 0);
    for (unsigned i = 0; i < m->n_subscription_ids; i++) {
        lua_pushnumber(L, m->subscription_ids[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "subscription_ids");
}

void message_push(lua_State *L, struct scenario *s, const struct adapter_message *m)
{
    behaviour_message_push(L, s, m->topic, m->topic_len, m->payload, m->payload_len, m->qos, m->retain);
    if (m->meta)
        push_meta(L, m->meta);
}
