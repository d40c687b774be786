// Requests of a device that its adapter answers, and requests of others that the device answers.
//
// Both are exchanges of a connection with a number of their own. A request of the device waits in the queue of
// operations like a publish, in order, and then runs in a task of its own, so that a slow answer holds nothing up. A
// request of others is asked by a task of the adapter, which waits for what the device responds. Whatever happens to
// the connection, each of them ends once.
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "script/adapter_lua_impl.h"
#include "script/conn.h"
#include "script/link_bind.h"

enum exchange_kind { EXCHANGE_REQUEST, EXCHANGE_OBSERVE, EXCHANGE_ASK };
struct lua_exchange {
    struct lua_exchange *next; // of the connection
    struct lua_conn *conn;
    struct lua_packet *packet; // REQUEST, OBSERVE: what is asked; ASK: what was answered
    json_t *options;           // REQUEST, OBSERVE
    struct timer timer;        // REQUEST, OBSERVE: until the first answer
    struct error *why;         // ASK: there is no answer
    int64_t since_us, timeout_us;
    struct lag lag;
    uint64_t number;
    slot_id task; // that works on it, or (ASK) waits for it
    uint32_t token;
    unsigned status;
    uint8_t kind;
    bool answered; // OBSERVE: a first time
};

// --- packets

struct lua_packet *lua_packet_new(const char *method, const char *path, size_t path_len, const void *payload,
                                  size_t payload_len, const struct adapter_property *headers, unsigned n_headers)
{
    size_t method_len = method ? strlen(method) : 0, size = method_len + 1 + path_len + 1 + payload_len + 1;
    for (unsigned i = 0; i < n_headers; i++)
        size += headers[i].name_len + headers[i].value_len;
    struct lua_packet *p = calloc(1, sizeof *p + n_headers * sizeof p->headers[0] + size);
    if (!p)
        return NULL;
    char *at = (char *)&p->headers[n_headers];
    p->method = memcpy(at, method ? method : "", method_len + 1);
    at += method_len + 1;
    p->path = at;
    p->path_len = path_len;
    if (path_len)
        memcpy(at, path, path_len);
    at += path_len + 1;
    p->payload = at;
    p->payload_len = payload_len;
    if (payload_len)
        memcpy(at, payload, payload_len);
    at += payload_len + 1;
    p->n_headers = n_headers;
    for (unsigned i = 0; i < n_headers; i++) {
        struct adapter_property *h = &p->headers[i];
        *h = headers[i];
        h->name = memcpy(at, headers[i].name, h->name_len);
        at += h->name_len;
        h->value = memcpy(at, headers[i].value, h->value_len);
        at += h->value_len;
    }
    p->size = size;
    return p;
}

// --- exchanges

static struct lua_exchange *exchange_new(struct lua_conn *c, enum exchange_kind kind, struct error *err)
{
    struct lua_exchange *x = c->n_exchanges < LUA_ADAPTER_EXCHANGES_MAX ? calloc(1, sizeof *x) : NULL;
    if (!x) {
        error_set(err, ERR_LIMIT, "%u requests of this connection are not answered yet", c->n_exchanges);
        return NULL;
    }
    x->conn = c;
    x->kind = (uint8_t)kind;
    x->number = ++c->target->exchanges;
    x->since_us = loop_fresh_us(c->target->env.loop);
    x->next = c->exchanges;
    c->exchanges = x;
    c->n_exchanges++;
    return x;
}

static void exchange_unlink(struct lua_exchange *x)
{
    struct lua_exchange **at = &x->conn->exchanges;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->conn->n_exchanges--;
}

static void exchange_free(struct lua_exchange *x)
{
    free(x->packet);
    free(x->why);
    json_decref(x->options);
    free(x);
}

static struct lua_exchange *exchange_find(const struct lua_conn *c, uint64_t number)
{
    struct lua_exchange *x = c->exchanges;
    while (x && x->number != number)
        x = x->next;
    return x;
}

// --- requests of the device

// What its owner hears. answer: taken; NULL: why. more: others will follow.
static void tell_response(struct lua_exchange *x, struct lua_packet *answer, unsigned status, bool more,
                          const struct error *why)
{
    struct lua_conn *c = x->conn;
    struct iotix_series *s = c->target->series;
    int64_t took_us = loop_fresh_us(c->target->env.loop) - x->since_us;
    struct lua_event *e = lua_event_new(EV_RESPONSE, NULL, 0, why ? why->text : NULL, why ? strlen(why->text) : 0);
    if (!x->answered) {
        rate_add(s->request_errors, why != NULL);
        if (!why)
            trend_add_lagged(s->request_latency, s->request_latency_raw, took_us, &x->lag);
    }
    x->answered = true;
    if (!e) {
        free(answer);
        return;
    }
    e->token = x->token;
    e->packet = answer;
    e->status = status;
    e->more = more;
    e->latency_us = took_us;
    e->failed = why != NULL;
    e->code = why ? why->code : ERR_NONE;
    lua_conn_tell(c, e);
}

// It is over; who works on it still has nothing more to do.
static void request_over(struct lua_exchange *x, bool cancel)
{
    struct lua_conn *c = x->conn;
    struct scenario *s = c->target->adapter->scenario;
    struct task *t = cancel && x->task ? task_find(s->tasks, x->task) : NULL;
    loop_timer_stop(c->target->env.loop, &x->timer);
    exchange_unlink(x);
    exchange_free(x);
    if (t)
        task_cancel(t);
}

static void on_timeout(struct timer *timer, void *loop)
{
    struct lua_exchange *x = container_of(timer, struct lua_exchange, timer);
    struct error why;
    char text[32];
    error_set(&why, ERR_TIMEOUT, "%s:%u: no answer to %s within %s", x->conn->target->url.host,
              (unsigned)x->conn->target->url.port, x->packet->method,
              duration_format(x->timeout_us, text, sizeof text));
    (void)loop;
    tell_response(x, NULL, 0, false, &why);
    request_over(x, true);
}

int lua_request(struct adapter_conn *conn, const struct adapter_request *r, uint32_t token, struct error *err)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    bool observe = strcmp(r->method, "OBSERVE") == 0;
    int64_t timeout_us = r->timeout_us > 0 ? r->timeout_us : LUA_ADAPTER_REQUEST_US;
    if (c->state != LC_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    if (observe && !c->target->adapter->observes)
        return error_set(err, ERR_UNSUPPORTED, "the %s adapter has no observations", c->target->adapter->name);
    if (!observe && !c->target->adapter->requests)
        return error_set(err, ERR_UNSUPPORTED, "the %s adapter has no requests but observations",
                         c->target->adapter->name);
    struct lua_packet *p =
        lua_packet_new(r->method, r->path, r->path_len, r->payload, r->payload_len, r->headers, r->n_headers);
    if (!p || p->size > LUA_ADAPTER_QUEUE_BYTES) {
        free(p);
        return error_set(err, ERR_LIMIT, "a request has at most %u bytes", LUA_ADAPTER_QUEUE_BYTES);
    }
    struct lua_exchange *x = exchange_new(c, observe ? EXCHANGE_OBSERVE : EXCHANGE_REQUEST, err);
    if (!x) {
        free(p);
        return -1;
    }
    x->packet = p;
    x->token = token;
    x->timeout_us = timeout_us;
    x->options = r->options ? json_deep_copy(r->options) : NULL;
    loop_lag(c->target->env.loop, x->since_us, &x->lag);
    if (lua_op_add(c, OP_REQUEST, (const char *)&x->number, sizeof x->number, NULL, 0, err)) {
        exchange_unlink(x);
        exchange_free(x);
        return -1;
    }
    counter_add(c->target->series->requests, 1);
    loop_timer_start(c->target->env.loop, &x->timer, timeout_us, on_timeout);
    return 0;
}

void lua_request_cancel(struct adapter_conn *conn, uint32_t token)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    for (struct lua_exchange *x = c->exchanges; x; x = x->next)
        if (x->kind != EXCHANGE_ASK && x->token == token) {
            request_over(x, true);
            break;
        }
    for (struct lua_event *e = c->told; e; e = e->next) // what has not been told yet is not, either
        if (e->kind == EV_RESPONSE && e->token == token)
            e->token = 0;
}

void lua_requests_drop(struct lua_conn *c, const struct error *why)
{
    for (struct lua_exchange *x = c->exchanges, *next; x; x = next) {
        next = x->next;
        if (x->kind == EXCHANGE_ASK) // ends with its task
            continue;
        tell_response(x, NULL, 0, false, why);
        request_over(x, false); // its task ends with the connection
    }
}

int lua_push_request(lua_State *L, struct lua_conn *c, const char *number)
{
    uint64_t n;
    memcpy(&n, number, sizeof n);
    struct lua_exchange *x = exchange_find(c, n);
    if (!x)
        return 0; // cancelled, or too late
    struct lua_packet *p = x->packet;
    lua_pushstring(L, x->kind == EXCHANGE_OBSERVE ? "observe" : "request");
    lua_pushnumber(L, (double)n);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, p->method);
    lua_setfield(L, -2, "method");
    lua_pushlstring(L, p->path, p->path_len);
    lua_setfield(L, -2, "path");
    lua_pushlstring(L, p->payload, p->payload_len);
    lua_setfield(L, -2, "payload");
    properties_push(L, p->headers, p->n_headers, false);
    lua_setfield(L, -2, "headers");
    if (x->options)
        json_to_lua(L, x->options);
    else
        lua_newtable(L);
    lua_getfield(L, -1, "options"); // dev:request{ options = … }
    if (lua_istable(L, -1))
        lua_replace(L, -2);
    else
        lua_pop(L, 1);
    lua_setfield(L, -2, "options");
    return 3;
}

// The response at status, body, headers (idx and behind it). Raises; NULL: no memory.
static struct lua_packet *check_response(lua_State *L, int idx, const char *what, unsigned *status)
{
    struct adapter_property headers[PROPERTIES_MAX];
    size_t n;
    lua_settop(L, idx + 2);
    *status = (unsigned)luaL_checkint(L, idx);
    const char *body = luaL_optlstring(L, idx + 1, "", &n);
    if (n > LINK_BUFFER_MAX)
        luaL_error(L, "%s: body: at most %d bytes", what, LINK_BUFFER_MAX);
    unsigned count = lua_isnil(L, idx + 2) ? 0 : bind_properties(L, idx + 2, what, headers);
    return lua_packet_new(NULL, NULL, 0, body, n, headers, count);
}

// native.adapter_work(conn, number): this task works on a request. → whether it is still wanted
int lua_exchange_work_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_conn *c = lua_check_conn(L, s);
    struct lua_exchange *x = c ? exchange_find(c, (uint64_t)luaL_checknumber(L, 2)) : NULL;
    if (x)
        x->task = task_id(task_running(s->tasks));
    lua_pushboolean(L, x != NULL);
    return 1;
}

// native.adapter_answer(conn, number, more, status, body, headers) → whether it was still wanted
int lua_exchange_answer_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    struct lua_exchange *x = c ? exchange_find(c, (uint64_t)luaL_checknumber(L, 2)) : NULL;
    bool more = lua_toboolean(L, 3);
    unsigned status;
    struct error err;
    struct lua_packet *p = check_response(L, 4, "response: headers", &status);
    lua_pushboolean(L, x != NULL);
    if (!x || !p || c->n_told >= LUA_ADAPTER_MESSAGES_MAX) {
        free(p);
        if (x) {
            error_set(&err, ERR_LIMIT, "more than %u answers in a turn", LUA_ADAPTER_MESSAGES_MAX);
            tell_response(x, NULL, 0, false, &err);
            x->task = 0;
            request_over(x, false);
            lua_pushboolean(L, 0);
        }
        return 1;
    }
    tell_response(x, p, status, more, NULL);
    if (more)
        loop_timer_stop(c->target->env.loop, &x->timer);
    else
        request_over(x, false);
    return 1;
}

// native.adapter_refuse(conn, number, message, code): there is no answer
int lua_exchange_refuse_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    struct lua_exchange *x = c ? exchange_find(c, (uint64_t)luaL_checknumber(L, 2)) : NULL;
    struct error why;
    if (!x)
        return 0;
    lua_error_at(L, 3, &why);
    tell_response(x, NULL, 0, false, &why);
    request_over(x, false);
    return 0;
}

// --- requests of others

// Right before its task runs.
static int push_answer(lua_State *L, void *arg)
{
    struct lua_exchange *x = arg;
    int n = 3;
    if (x->why) {
        n = bind_fail(L, x->why);
    } else {
        lua_pushnumber(L, x->status);
        lua_pushlstring(L, x->packet->payload, x->packet->payload_len);
        properties_push(L, x->packet->headers, x->packet->n_headers, false);
    }
    exchange_free(x);
    return n;
}

static void ask_over(struct lua_exchange *x, struct task *t)
{
    loop_timer_stop(x->conn->target->env.loop, task_timer(t));
    exchange_unlink(x);
    task_wake(t, push_answer, x);
}

static void ask_cancel(struct task *task, void *arg)
{
    struct lua_exchange *x = *task_local(task);
    (void)arg;
    loop_timer_stop(x->conn->target->env.loop, task_timer(task));
    exchange_unlink(x);
    exchange_free(x);
}

static void ask_timeout(struct timer *timer, void *loop)
{
    struct task *t = task_of_timer(timer);
    struct lua_exchange *x = *task_local(t);
    char text[32];
    (void)loop;
    if (!(x->why = malloc(sizeof *x->why)))
        return; // the connection's end ends it
    error_set(x->why, ERR_TIMEOUT, "the device did not answer within %s",
              duration_format(x->timeout_us, text, sizeof text));
    ask_over(x, t);
}

// native.adapter_ask(conn, timeout in us, method, path, payload, headers) → status, body, headers | nil, message, code
int lua_exchange_ask_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_conn *c = lua_check_conn(L, s);
    struct adapter_property headers[PROPERTIES_MAX];
    struct error err;
    size_t path_len, n;
    double timeout_us = luaL_checknumber(L, 2);
    const char *method = luaL_checkstring(L, 3), *path = luaL_checklstring(L, 4, &path_len),
               *payload = luaL_optlstring(L, 5, "", &n);
    lua_settop(L, 6);
    unsigned count = lua_isnil(L, 6) ? 0 : bind_properties(L, 6, "conn:ask: headers", headers);
    struct task *t = task_current(s->tasks, L, "conn:ask");
    if (!c)
        return lua_conn_gone(L);
    if (n > LINK_BUFFER_MAX)
        return luaL_error(L, "conn:ask: payload: at most %d bytes", LINK_BUFFER_MAX);
    if (c->state != LC_ONLINE || c->end) {
        error_set(&err, ERR_STATE, "the connection is not online");
        return bind_fail(L, &err);
    }
    struct lua_packet *p =
        c->events->on_request ? lua_packet_new(method, path, path_len, payload, n, headers, count) : NULL;
    struct lua_event *e = p ? lua_event_new(EV_REQUEST, NULL, 0, NULL, 0) : NULL;
    struct lua_exchange *x = e ? exchange_new(c, EXCHANGE_ASK, &err) : NULL;
    if (!x) {
        if (!e)
            error_set(&err, ERR_UNSUPPORTED, "nobody answers requests here");
        free(e);
        free(p);
        return bind_fail(L, &err);
    }
    e->packet = p;
    e->ticket = x->number;
    x->task = task_id(t);
    x->timeout_us = (int64_t)timeout_us;
    *task_local(t) = x;
    loop_timer_start(c->target->env.loop, task_timer(t), (int64_t)timeout_us, ask_timeout);
    lua_conn_tell(c, e);
    task_block(t, ask_cancel, s);
    return task_yield(L);
}

int lua_respond(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *r, struct error *err)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    struct lua_exchange *x = exchange_find(c, ticket);
    struct task *t = x && x->kind == EXCHANGE_ASK ? task_find(c->target->adapter->scenario->tasks, x->task) : NULL;
    if (!t)
        return error_set(err, ERR_NOT_FOUND, "the client is gone");
    if (r->payload_len > LINK_BUFFER_MAX)
        return error_set(err, ERR_LIMIT, "a response has at most %u bytes", LINK_BUFFER_MAX);
    x->packet = lua_packet_new(NULL, NULL, 0, r->payload, r->payload_len, r->headers, r->n_headers);
    if (!x->packet)
        return error_set(err, ERR_NO_MEMORY, "no memory for a response");
    x->status = r->status;
    counter_add(c->target->served, 1);
    ask_over(x, t);
    return 0;
}

// --- what is served

int lua_serve(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    size_t n = strlen(path);
    unsigned count = 0;
    struct lua_served **at = &c->served;
    for (; *at && strcmp((*at)->path, path) != 0; at = &(*at)->next)
        count++;
    if (!*at && (count >= LUA_ADAPTER_SERVED_MAX || !(*at = calloc(1, sizeof **at + n + 1))))
        return error_set(err, ERR_LIMIT, "%u paths are served already", count);
    memcpy((*at)->path, path, n + 1);
    json_decref((*at)->attributes);
    (*at)->attributes = attributes ? json_deep_copy(attributes) : NULL;
    return c->state == LC_ONLINE ? lua_op_serve(c, *at, err) : 0;
}

int lua_op_serve(struct lua_conn *c, const struct lua_served *s, struct error *err)
{
    char *text = s->attributes ? json_dumps(s->attributes, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct adapter_message m = {.payload = (const uint8_t *)text, .payload_len = text ? strlen(text) : 0};
    int rc = lua_op_add(c, OP_SERVE, s->path, strlen(s->path), &m, 0, err);
    free(text);
    return rc;
}

static void served_free(struct lua_served *s)
{
    json_decref(s->attributes);
    free(s);
}

void lua_unserve(struct adapter_conn *conn, const char *path)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    struct error err;
    for (struct lua_served **at = &c->served; *at; at = &(*at)->next)
        if (strcmp((*at)->path, path) == 0) {
            struct lua_served *s = *at;
            *at = s->next;
            served_free(s);
            break;
        }
    if (c->state == LC_ONLINE && c->target->adapter->unserves &&
        lua_op_add(c, OP_UNSERVE, path, strlen(path), NULL, 0, &err))
        return; // the queue is full: its requests are refused by the device
}

int lua_notify(struct adapter_conn *conn, const char *path, struct error *err)
{
    struct lua_conn *c = (struct lua_conn *)(void *)conn;
    return c->state == LC_ONLINE ? lua_op_add(c, OP_NOTIFY, path, strlen(path), NULL, 0, err)
                                 : error_set(err, ERR_STATE, "not connected");
}

int lua_served_at(struct adapter_conn *conn, struct buf *out, struct error *err)
{
    const struct lua_conn *c = (const struct lua_conn *)(const void *)conn;
    if (!c->at || c->state != LC_ONLINE)
        return error_set(err, ERR_STATE, "the %s adapter has not said where it serves", c->target->adapter->name);
    return buf_append_str(out, c->at) ? error_set(err, ERR_LIMIT, "where it serves is too long") : 0;
}

// native.adapter_serves(conn, url): where others reach what is served
int lua_serves_bind(lua_State *L)
{
    struct lua_conn *c = lua_check_conn(L, scenario_of(L));
    const char *url = luaL_checkstring(L, 2);
    if (!c)
        return 0;
    free(c->at);
    c->at = strdup(url);
    return 0;
}

void lua_served_drop(struct lua_conn *c)
{
    while (c->served) {
        struct lua_served *s = c->served;
        c->served = s->next;
        served_free(s);
    }
    free(c->at);
    c->at = NULL;
}
