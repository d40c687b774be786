// Lua's side: registering an adapter, and what its connections tell and ask.
#include <stdlib.h>
#include <string.h>

#include "adapter/flow.h"
#include "script/adapter_lua_impl.h"
#include "script/link_bind.h"

static struct lua_adapters *adapters_of(struct scenario *s)
{
    if (s->adapters)
        return s->adapters;
    struct lua_adapters *all = calloc(1, sizeof *all);
    if (all && !(all->conns = slots_new(1000000))) {
        free(all);
        all = NULL;
    }
    return s->adapters = all;
}

// native.adapter_new(name, {schemes}, default port or 0, run, spec) → true | nil, message
static int new_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_adapters *all = adapters_of(s);
    struct error err;
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    struct lua_adapter *a = all && all->n < LUA_ADAPTERS_MAX ? calloc(1, sizeof *a) : NULL;
    if (!a) {
        error_set(&err, ERR_LIMIT, "%u adapters are there already", LUA_ADAPTERS_MAX);
        return bind_fail(L, &err);
    }
    a->ops = adapter_lua_ops;
    a->scenario = s;
    snprintf(a->name, sizeof a->name, "%.15s", lua_tostring(L, 1));
    for (int i = 0; i < 4; i++) {
        lua_rawgeti(L, 2, i + 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            snprintf(a->schemes[i], sizeof a->schemes[i], "%.15s", lua_tostring(L, -1));
            a->scheme_list[i] = a->schemes[i];
        }
        lua_pop(L, 1);
    }
    a->ops.name = a->name;
    a->ops.schemes = a->scheme_list;
    a->default_port = (uint16_t)lua_tointeger(L, 3);
    const struct {
        const char *name;
        bool *has;
    } optional[] = {{"subscribe", &a->subscribes}, {"disconnect", &a->disconnects}, {"request", &a->requests},
                    {"observe", &a->observes},     {"serve", &a->serves},           {"unserve", &a->unserves},
                    {"notify", &a->notifies}};
    for (unsigned i = 0; i < sizeof optional / sizeof optional[0]; i++) {
        lua_getfield(L, 5, optional[i].name);
        *optional[i].has = lua_isfunction(L, -1);
        lua_pop(L, 1);
    }
    if (!a->requests && !a->observes) { // what it lacks is refused as with any other adapter
        a->ops.request = NULL;
        a->ops.request_cancel = NULL;
    }
    if (!a->serves) {
        a->ops.serve = NULL;
        a->ops.unserve = NULL;
        a->ops.respond = NULL;
        a->ops.served_at = NULL;
    }
    if (!a->notifies)
        a->ops.notify = NULL;
    if (adapter_check(&a->ops, &err)) {
        free(a);
        return bind_fail(L, &err);
    }
    lua_pushvalue(L, 4);
    a->run = guard_ref(L);
    lua_pushvalue(L, 5);
    a->spec = guard_ref(L);
    all->all[all->n] = a;
    all->ops[all->n++] = &a->ops;
    lua_pushboolean(L, 1);
    return 1;
}

struct lua_conn *lua_check_conn(lua_State *L, struct scenario *s)
{
    struct handle_adapter *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!h || h->tag != HANDLE_ADAPTER)
        luaL_error(L, "expected the connection of an adapter");
    struct lua_conn *c = s->adapters ? slots_get(s->adapters->conns, h->id) : NULL;
    struct task *t = task_running(s->tasks);
    if (c && (!t || task_owner(t) != &c->tasks))
        luaL_error(L, "this is another connection: an adapter's functions act for the one that they are given");
    return c;
}

int lua_conn_gone(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "the connection is gone");
    lua_pushstring(L, error_code_name(ERR_CANCELLED));
    return 3;
}

void lua_error_at(lua_State *L, int message, struct error *out)
{
    const char *text = lua_type(L, message) == LUA_TSTRING ? lua_tostring(L, message) : "it failed and did not say why";
    const char *code = lua_type(L, message + 1) == LUA_TSTRING ? lua_tostring(L, message + 1) : "";
    enum error_code found = ERR_REFUSED;
    for (int i = 1; i < ERR_CODE_MAX; i++)
        if (strcmp(error_code_name((enum error_code)i), code) == 0)
            found = (enum error_code)i;
    error_set(out, found, "%s", text);
}

static void set_str(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

// native.adapter_info(conn) → { scheme, host, port, path, user, password }, options
static int info_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    if (!c)
        return lua_conn_gone(L);
    const struct url *u = &c->target->url;
    lua_createtable(L, 0, 6);
    set_str(L, "scheme", u->scheme);
    set_str(L, "host", u->host);
    set_str(L, "path", u->path);
    set_str(L, "user", u->user);
    set_str(L, "password", u->password);
    lua_pushinteger(L, u->port);
    lua_setfield(L, -2, "port");
    const json_t *own = json_object_get(c->target->options, "options");
    if (json_is_object(own))
        json_to_lua(L, own);
    else
        lua_newtable(L);
    return 2;
}

// native.adapter_field(conn, name) → text | nil
static int field_bind(lua_State *L)
{
    static const char *const names[] = {"client_id", "username", "password", "will_topic",   "will_payload", "token",
                                        "tls_cert",  "tls_key",  "tls_name", "psk_identity", "psk_key",      NULL};
    struct scenario *s = scenario_of(L);
    struct lua_conn *c = lua_check_conn(L, s);
    int which = bind_option(L, 2, "conn:field", names, -1);
    struct error err;
    if (!c)
        return lua_conn_gone(L);
    buf_clear(&s->scratch);
    if (c->identity->field(c->owner, (enum adapter_field)which, &s->scratch, &err))
        return bind_fail(L, &err);
    if (!s->scratch.len)
        return 0;
    lua_pushlstring(L, (const char *)s->scratch.data, s->scratch.len);
    buf_clear(&s->scratch);
    return 1;
}

// native.adapter_online(conn, session_present) → whether it was connecting
static int online_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    bool connecting = c && c->state == LC_CONNECTING && !c->end;
    if (connecting)
        lua_conn_up(c, lua_toboolean(L, 2));
    lua_pushboolean(L, connecting);
    return 1;
}

// native.adapter_fail(conn, message, code): it did not come up, or is lost
static int fail_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    struct error why;
    if (!c)
        return 0;
    lua_error_at(L, 2, &why);
    error_prefix(&why, "%s:%u", c->target->url.host, (unsigned)c->target->url.port);
    lua_conn_ends(c, &why);
    return 0;
}

static int push_op(lua_State *L, struct lua_conn *c)
{
    static const char *const kinds[] = {"publish", "subscribe", "unsubscribe", "close",
                                        "request", "serve",     "unserve",     "notify"};
    struct lua_op *o = c->ops;
    if (o->kind == OP_REQUEST) { // is worked on by a task of its own, and answered when that knows
        int n = lua_push_request(L, c, o->bytes);
        lua_op_pop(c);
        return n;
    }
    o->taken = true;
    lua_pushstring(L, kinds[o->kind]);
    lua_pushlstring(L, o->bytes, o->topic_len);
    lua_pushlstring(L, o->bytes + o->topic_len + 1, o->payload_len);
    lua_pushinteger(L, o->qos);
    lua_pushboolean(L, o->retain);
    return 5;
}

static void fetch_cancel(struct task *task, void *arg)
{
    struct scenario *s = arg;
    struct lua_conn *c = slots_get(s->adapters->conns, (slot_id)(uintptr_t)*task_local(task));
    if (c)
        c->fetching = 0;
}

// native.adapter_next(conn) → kind, topic, payload, qos, retain | nothing: it was woken, ask again
static int next_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_conn *c = lua_check_conn(L, s);
    struct task *t = task_current(s->tasks, L, "adapter");
    if (!c)
        return lua_conn_gone(L);
    if (c->ops && !c->ops->taken)
        return push_op(L, c);
    c->fetching = task_id(t);
    *task_local(t) = (void *)(uintptr_t)c->id;
    task_block(t, fetch_cancel, s);
    return task_yield(L);
}

// native.adapter_done(conn, ok, message, code): of what adapter_next gave; ok: a number is a granted QoS
static int done_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    struct error why;
    bool ok = lua_toboolean(L, 2);
    if (!c)
        return 0;
    int granted = c->ops ? c->ops->qos : 0;
    if (lua_type(L, 2) == LUA_TNUMBER && lua_tointeger(L, 2) >= 0 && lua_tointeger(L, 2) <= 2)
        granted = (int)lua_tointeger(L, 2);
    if (!ok)
        lua_error_at(L, 3, &why);
    lua_op_done(c, granted, ok ? NULL : &why);
    return 0;
}

// native.adapter_message(conn, topic, payload, qos, retain) → true | nil, message, code
static int message_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    struct error err;
    size_t topic_len, n;
    const char *topic = luaL_checklstring(L, 2, &topic_len), *payload = luaL_optlstring(L, 3, "", &n);
    int qos = luaL_optint(L, 4, 0);
    if (!c)
        return lua_conn_gone(L);
    if (c->state != LC_ONLINE || c->end) {
        error_set(&err, ERR_STATE, "the connection is not online");
        return bind_fail(L, &err);
    }
    if (!topic_len || topic_len > 65535 || memchr(topic, 0, topic_len))
        return luaL_error(L, "conn:message: expected a topic of 1 to 65535 bytes without NUL");
    if (qos < 0 || qos > 2)
        return luaL_error(L, "conn:message: qos: expected 0, 1 or 2");
    struct lua_event *e = c->n_told < LUA_ADAPTER_MESSAGES_MAX && n <= LINK_BUFFER_MAX
                              ? lua_event_new(EV_MESSAGE, topic, topic_len, payload, n)
                              : NULL;
    if (!e) {
        error_set(&err, ERR_LIMIT, "more than %u messages in a turn, or one of more than %u bytes",
                  LUA_ADAPTER_MESSAGES_MAX, LINK_BUFFER_MAX);
        return bind_fail(L, &err);
    }
    e->qos = (uint8_t)qos;
    e->retain = lua_toboolean(L, 5);
    lua_conn_tell(c, e);
    lua_pushboolean(L, 1);
    return 1;
}

struct endpoint *adapter_lua_endpoint(lua_State *L, struct scenario *s, bool datagram, struct error *err)
{
    struct lua_conn *c = lua_check_conn(L, s);
    if (!c) {
        error_set(err, ERR_CANCELLED, "the connection is gone");
        return NULL;
    }
    struct adapter_target *t = c->target;
    struct endpoint **at = datagram ? &t->datagrams : &t->endpoint;
    if (*at)
        return *at;
    json_t *options = json_copy(t->options);
    if (datagram)
        json_object_del(options, "tls");
    struct iotix_endpoint config = {.size = sizeof config,
                                    .host = t->url.host,
                                    .port = t->url.port,
                                    .datagram = datagram,
                                    .options = options,
                                    .seed = s->seed,
                                    .series = t->series,
                                    .protocol = t->adapter->name};
    *at = endpoint_new(&t->env, &config, err);
    json_decref(options);
    return *at;
}

void adapter_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg functions[] = {{"adapter_new", new_bind},
                                         {"adapter_info", info_bind},
                                         {"adapter_field", field_bind},
                                         {"adapter_online", online_bind},
                                         {"adapter_fail", fail_bind},
                                         {"adapter_next", next_bind},
                                         {"adapter_done", done_bind},
                                         {"adapter_message", message_bind},
                                         {"adapter_work", lua_exchange_work_bind},
                                         {"adapter_answer", lua_exchange_answer_bind},
                                         {"adapter_refuse", lua_exchange_refuse_bind},
                                         {"adapter_ask", lua_exchange_ask_bind},
                                         {"adapter_serves", lua_serves_bind},
                                         {NULL, NULL}};
    bind_functions(L, s, functions);
}

// --- what the scenario calls

void adapter_lua_task_ended(struct scenario *s, struct task_owner *owner, struct task *task, enum task_result result,
                            const char *text)
{
    struct lua_conn *c = container_of(owner, struct lua_conn, tasks);
    struct error why;
    (void)s;
    if (c->doomed) {
        lua_conn_due(c);
        return;
    }
    bool main = c->main && task_id(task) == c->main;
    if (result == TASK_ERROR) {
        error_set(&why, ERR_INVALID, "%.*s", (int)strcspn(text, "\n"), text);
        lua_conn_ends(c, &why);
    } else if (main && result == TASK_DONE && c->state == LC_CLOSING) {
        error_clear(&why);
        lua_conn_ends(c, &why);
    }
}

struct rng *adapter_lua_rng(struct task_owner *owner)
{
    return &container_of(owner, struct lua_conn, tasks)->rng;
}

static const struct lua_conn *conn_of_tasks(const struct task_owner *owner)
{
    return (const struct lua_conn *)(const void *)((const char *)owner - offsetof(struct lua_conn, tasks));
}

int adapter_lua_field(const struct task_owner *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    const struct lua_conn *c = conn_of_tasks(owner);
    return c->identity->field(c->owner, field, out, err);
}

struct path *adapter_lua_path(const struct task_owner *owner)
{
    return conn_of_tasks(owner)->path;
}

const struct iotix_series *adapter_lua_series(const struct task_owner *owner)
{
    return conn_of_tasks(owner)->target->series;
}

const struct adapter_ops *const *scenario_adapters(struct scenario *s)
{
    return s->adapters ? s->adapters->ops : NULL;
}

void adapter_lua_delete(struct lua_adapters *all)
{
    for (unsigned i = 0; all && i < all->n; i++)
        free(all->all[i]);
    if (all)
        slots_delete(all->conns);
    free(all);
}
