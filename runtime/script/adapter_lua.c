// The host's side: targets, connections, who may connect when, and events, which are told by a hook behind the Lua
// tasks (12), so that none is delivered inside a call and no Lua runs inside an event.
#include <stdlib.h>
#include <string.h>

#include "adapter/flow.h"
#include "adapter/plugin.h"
#include "adapter/series.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "link/path.h"
#include "script/adapter_lua_impl.h"
#include "script/heap.h"
#include "script/link_bind.h"

#define ADAPTER_OF(t) ((t)->adapter->scenario)

static struct lua_conn *conn_of(struct adapter_conn *conn)
{
    return (struct lua_conn *)(void *)conn;
}

static void list_append(struct lua_conn_list *list, struct lua_conn *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
    list->n++;
}

static void list_remove(struct lua_conn_list *list, struct lua_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        list->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
    c->next = c->prev = NULL;
    list->n--;
}

// --- events

void lua_conn_due(struct lua_conn *c)
{
    struct adapter_target *t = c->target;
    if (c->due)
        return;
    if (t->n_due == t->due_size) {
        unsigned size = t->due_size ? t->due_size * 2 : 64;
        struct lua_conn **more = realloc(t->due, size * sizeof(struct lua_conn *));
        if (!more)
            heap_die("no memory for the events of an adapter");
        t->due = more;
        t->due_size = size;
    }
    c->due = true;
    t->due[t->n_due++] = c;
    loop_again(t->env.loop);
}

struct lua_event *lua_event_new(enum lua_event_kind kind, const char *topic, size_t topic_len, const void *payload,
                                size_t payload_len)
{
    struct lua_event *e = calloc(1, sizeof *e + topic_len + payload_len + 2);
    if (!e)
        return NULL;
    e->kind = (uint8_t)kind;
    e->topic_len = (uint32_t)topic_len;
    e->payload_len = (uint32_t)payload_len;
    if (topic_len)
        memcpy(e->bytes, topic, topic_len);
    if (payload_len)
        memcpy(e->bytes + topic_len + 1, payload, payload_len);
    return e;
}

void lua_conn_tell(struct lua_conn *c, struct lua_event *e)
{
    e->next = NULL;
    *c->told_end = e;
    c->told_end = &e->next;
    c->n_told++;
    lua_conn_due(c);
}

void lua_conn_ends(struct lua_conn *c, const struct error *why)
{
    if (c->end || c->state < LC_CONNECTING || c->state == LC_BACKOFF)
        return;
    c->end = malloc(sizeof *c->end);
    if (!c->end)
        heap_die("no memory for an error");
    *c->end = *why;
    lua_conn_due(c);
}

static void drop_events(struct lua_conn *c)
{
    while (c->told) {
        struct lua_event *e = c->told;
        c->told = e->next;
        free(e->packet);
        free(e);
    }
    c->told_end = &c->told;
    c->n_told = 0;
}

// --- operations

void lua_op_pop(struct lua_conn *c)
{
    struct lua_op *o = c->ops;
    c->ops = o->next;
    if (!c->ops)
        c->ops_end = &c->ops;
    c->n_ops--;
    c->op_bytes -= o->topic_len + o->payload_len;
    free(o);
}

static void tell_done(struct lua_conn *c, uint32_t token, int granted, const struct error *why)
{
    struct lua_event *e =
        token ? lua_event_new(EV_DONE, NULL, 0, why ? why->text : NULL, why ? strlen(why->text) : 0) : NULL;
    if (!e)
        return;
    e->token = token;
    e->granted = (int16_t)granted;
    e->failed = why != NULL;
    e->code = why ? why->code : ERR_NONE;
    lua_conn_tell(c, e);
}

void lua_op_done(struct lua_conn *c, int granted, const struct error *why)
{
    struct lua_op *o = c->ops;
    struct iotix_series *series = c->target->series;
    if (!o || !o->taken)
        return;
    if (o->kind == OP_PUBLISH) {
        rate_add(series->publish_errors, why != NULL);
        if (!why)
            counter_add(series->messages_sent, 1);
        if (!why && o->qos) {
            counter_add(series->messages_acked, 1);
            trend_add_lagged(series->publish_latency, series->publish_latency_raw,
                             loop_fresh_us(c->target->env.loop) - o->since_us, &o->lag);
        }
    }
    if (o->kind >= OP_SERVE && why)
        log_write(c->target->env.log, LOG_WARN, NULL, "adapter %s: %s of %s: %s", c->target->adapter->name,
                  o->kind == OP_SERVE     ? "serve"
                  : o->kind == OP_UNSERVE ? "unserve"
                                          : "notify",
                  o->bytes, why->text);
    if (o->kind != OP_PUBLISH || o->qos)
        tell_done(c, o->token, o->kind == OP_SUBSCRIBE && !why ? granted : -1, why);
    lua_op_pop(c);
}

// all: the connection ends for good; else those that can wait for the next one stay.
static void drop_ops(struct lua_conn *c, const struct error *why, bool all)
{
    struct lua_op *keep = NULL, **end = &keep;
    lua_requests_drop(c, why);
    while (c->ops) {
        struct lua_op *o = c->ops;
        if (!all && o->kind == OP_PUBLISH && o->qos) {
            o->taken = false;
            c->ops = o->next;
            o->next = NULL;
            *end = o;
            end = &o->next;
            continue;
        }
        if (o->kind == OP_PUBLISH) {
            rate_add(c->target->series->publish_errors, true);
            series_count(c->target->series, IOTIX_MESSAGE_DROPPED, why->code);
        }
        if (o->kind != OP_PUBLISH || o->qos)
            tell_done(c, o->token, -1, why);
        lua_op_pop(c);
    }
    c->ops = keep;
    c->ops_end = keep ? end : &c->ops;
}

static void wake_fetcher(struct lua_conn *c)
{
    struct task *t = c->fetching ? task_find(ADAPTER_OF(c->target)->tasks, c->fetching) : NULL;
    c->fetching = 0;
    if (t)
        task_wake(t, NULL, NULL);
}

int lua_op_add(struct lua_conn *c, enum lua_op_kind kind, const char *topic, size_t topic_len,
               const struct adapter_message *m, uint32_t token, struct error *err)
{
    size_t payload_len = m ? m->payload_len : 0, n = topic_len + payload_len;
    if (kind != OP_CLOSE && (c->n_ops >= LUA_ADAPTER_QUEUE_MAX || c->op_bytes + n > LUA_ADAPTER_QUEUE_BYTES))
        return error_set(err, ERR_LIMIT, "the queue is full: %u requests with %u bytes wait", c->n_ops, c->op_bytes);
    struct lua_op *o = calloc(1, sizeof *o + n + 2);
    if (!o)
        return error_set(err, ERR_NO_MEMORY, "no memory for a request");
    o->kind = (uint8_t)kind;
    o->token = token;
    o->since_us = loop_fresh_us(c->target->env.loop);
    loop_lag(c->target->env.loop, o->since_us, &o->lag);
    o->topic_len = (uint32_t)topic_len;
    o->payload_len = (uint32_t)payload_len;
    if (topic_len)
        memcpy(o->bytes, topic, topic_len);
    if (payload_len)
        memcpy(o->bytes + topic_len + 1, m->payload, payload_len);
    if (m) {
        o->qos = m->qos;
        o->retain = m->retain;
    }
    *c->ops_end = o;
    c->ops_end = &o->next;
    c->n_ops++;
    c->op_bytes += (uint32_t)n;
    if (c->state >= LC_ONLINE)
        wake_fetcher(c);
    return 0;
}

// --- the life of a connection

static void attempt_over(struct lua_conn *c, bool failed)
{
    struct adapter_target *t = c->target;
    int64_t now = loop_fresh_us(t->env.loop);
    if (!c->under_way)
        return;
    c->under_way = false;
    pacer_ended(&t->pacer, now, now - c->since_us, failed);
    if (t->waiting.n)
        loop_again(t->env.loop);
}

// Out of whatever it is in. Its tasks and links end.
static void detach(struct lua_conn *c, bool flush, bool failed)
{
    struct adapter_target *t = c->target;
    struct scenario *s = ADAPTER_OF(t);
    if (c->state == LC_WAITING)
        list_remove(&t->waiting, c);
    if (c->state == LC_ONLINE)
        gauge_add(t->series->devices_online, -1);
    attempt_over(c, failed);
    loop_timer_stop(t->env.loop, &c->timer);
    c->state = LC_OFFLINE;
    c->main = c->fetching = 0;
    task_cancel_all(s->tasks, &c->tasks);
    links_owner_ended(&c->tasks, flush);
    free(c->end);
    c->end = NULL;
}

static void on_timer(struct timer *timer, void *loop);

static void wait_turn(struct lua_conn *c)
{
    c->state = LC_WAITING;
    c->due_us = loop_due_us(c->target->env.loop);
    list_append(&c->target->waiting, c);
    loop_again(c->target->env.loop);
}

static void tell_offline(struct lua_conn *c, const struct error *why, bool will_retry)
{
    if (!c->doomed)
        c->events->on_offline(c->owner, why, will_retry);
}

static void deliver_exchange(struct lua_conn *c, const struct lua_event *e)
{
    const struct lua_packet *p = e->packet;
    struct error why;
    if (e->kind == EV_REQUEST) {
        struct adapter_request r = {.method = p->method,
                                    .path = p->path,
                                    .path_len = p->path_len,
                                    .payload = (const uint8_t *)p->payload,
                                    .payload_len = p->payload_len,
                                    .headers = p->headers,
                                    .n_headers = p->n_headers};
        c->events->on_request(c->owner, e->ticket, &r);
    } else if (e->token && c->events->on_response && e->failed) {
        error_set(&why, e->code, "%s", e->bytes + 1);
        c->events->on_response(c->owner, e->token, NULL, &why);
    } else if (e->token && c->events->on_response) {
        struct adapter_response r = {.status = e->status,
                                     .payload = (const uint8_t *)p->payload,
                                     .payload_len = p->payload_len,
                                     .headers = p->headers,
                                     .n_headers = p->n_headers,
                                     .latency_us = e->latency_us,
                                     .attempts = 1,
                                     .more = e->more};
        c->events->on_response(c->owner, e->token, &r, NULL);
    }
}

static void deliver(struct lua_conn *c)
{
    struct adapter_target *t = c->target;
    while (c->told && !c->doomed) {
        struct lua_event *e = c->told;
        c->told = e->next;
        if (!c->told)
            c->told_end = &c->told;
        c->n_told--;
        if (e->kind == EV_ONLINE) {
            c->events->on_online(c->owner, e->session);
        } else if (e->kind == EV_MESSAGE) {
            struct adapter_message m = {.topic = e->bytes,
                                        .topic_len = e->topic_len,
                                        .payload = (const uint8_t *)e->bytes + e->topic_len + 1,
                                        .payload_len = e->payload_len,
                                        .qos = e->qos,
                                        .retain = e->retain};
            counter_add(t->series->messages_received, 1);
            c->events->on_message(c->owner, &m);
        } else if (e->kind >= EV_RESPONSE) {
            deliver_exchange(c, e);
        } else if (c->events->on_done) {
            struct error why;
            if (e->failed)
                error_set(&why, e->code, "%s", e->bytes + 1);
            c->events->on_done(c->owner, e->token, e->granted, e->failed ? &why : NULL);
        }
        free(e->packet);
        free(e);
    }
}

// It failed, was lost, or (LC_CLOSING) was closed as asked for.
static void finish(struct lua_conn *c)
{
    struct adapter_target *t = c->target;
    struct error why = *c->end;
    bool closing = c->state == LC_CLOSING, online = c->state == LC_ONLINE;
    if (!closing && !online)
        rate_add(t->series->connect_errors, true);
    if (!closing)
        series_count(t->series, online ? IOTIX_DISCONNECT : IOTIX_CONNECT_FAILURE, why.code);
    c->failures = online ? 1 : c->failures + 1;
    detach(c, closing && why.code == ERR_NONE, !closing);
    int64_t delay_us = closing ? -1 : backoff_us(&t->backoff, c->failures, &c->rng.state);
    struct error told = why;
    if (closing)
        error_set(&told, ERR_CANCELLED, "the connection was closed by the device");
    drop_ops(c, &told, delay_us < 0);
    while (delay_us < 0 && c->filters) {
        struct lua_filter *f = c->filters;
        c->filters = f->next;
        c->n_filters--;
        free(f);
    }
    if (delay_us >= 0) {
        c->state = LC_BACKOFF;
        loop_timer_start(t->env.loop, &c->timer, delay_us, on_timer);
    }
    deliver(c); // what was dropped
    if (closing)
        error_clear(&why);
    tell_offline(c, &why, delay_us >= 0);
}

void lua_conn_up(struct lua_conn *c, bool session_present)
{
    struct adapter_target *t = c->target;
    struct lua_event *e = lua_event_new(EV_ONLINE, NULL, 0, NULL, 0);
    if (!e)
        heap_die("no memory for an event");
    attempt_over(c, false);
    loop_timer_stop(t->env.loop, &c->timer);
    counter_add(t->series->connects, 1);
    rate_add(t->series->connect_errors, false);
    series_connected(t->series->connect_latency, t->series->connect_latency_raw, t->series->connect_wait, c->due_us,
                     c->since_us, loop_fresh_us(t->env.loop));
    gauge_add(t->series->devices_online, 1);
    if (c->was_online)
        counter_add(t->series->reconnects, 1);
    c->state = LC_ONLINE;
    for (struct lua_filter *f = session_present || !c->was_online ? NULL : c->filters; f; f = f->next) {
        struct adapter_message m = {.qos = f->qos};
        (void)lua_op_add(c, OP_SUBSCRIBE, f->filter, strlen(f->filter), &m, 0, NULL); // at the cap: as it was
    }
    for (const struct lua_served *f = c->served; f; f = f->next)
        (void)lua_op_serve(c, f, NULL); // at the cap: not told to this server
    c->was_online = true;
    c->failures = 0;
    e->session = session_present;
    lua_conn_tell(c, e);
}

static int spawn_main(struct lua_conn *c, struct error *err)
{
    struct scenario *s = ADAPTER_OF(c->target);
    lua_State *L = s->L;
    uint32_t former = guard_charge(s->guard, c->tasks.account);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->target->adapter->run);
    struct handle_adapter *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_adapter){HANDLE_ADAPTER, c->id};
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->target->adapter->spec);
    struct task *t = task_spawn(s->tasks, L, 2, &c->tasks, err);
    guard_charge(s->guard, former);
    c->main = t ? task_id(t) : 0;
    return t ? 0 : -1;
}

static void attempt(struct lua_conn *c)
{
    struct adapter_target *t = c->target;
    struct error err;
    list_remove(&t->waiting, c);
    c->state = LC_CONNECTING;
    c->since_us = loop_fresh_us(t->env.loop);
    c->under_way = true;
    pacer_started(&t->pacer, c->since_us);
    loop_timer_start(t->env.loop, &c->timer, t->connect_timeout_us, on_timer);
    if (spawn_main(c, &err))
        lua_conn_ends(c, &err);
}

static void on_timer(struct timer *timer, void *loop)
{
    struct lua_conn *c = container_of(timer, struct lua_conn, timer);
    struct error why;
    char limit[32];
    (void)loop;
    if (c->state == LC_BACKOFF) {
        wait_turn(c);
        return;
    }
    error_set(&why, ERR_TIMEOUT, "%s:%u: %s within %s", c->target->url.host, (unsigned)c->target->url.port,
              c->state == LC_CLOSING ? "disconnect did not end" : "connect did not end",
              duration_format(c->state == LC_CLOSING ? LUA_ADAPTER_CLOSE_US : c->target->connect_timeout_us, limit,
                              sizeof limit));
    lua_conn_ends(c, &why);
}

static void conn_free(struct lua_conn *c)
{
    struct scenario *s = ADAPTER_OF(c->target);
    guard_account_free(s->guard, c->tasks.account);
    free(c);
}

static void on_retry(struct timer *timer, void *loop)
{
    (void)timer;
    loop_again(loop);
}

static void work(struct loop_hook *hook, struct loop *loop)
{
    struct adapter_target *t = container_of(hook, struct adapter_target, hook);
    int64_t retry_us = -1;
    for (unsigned n = t->n_due, i = 0; i < n; i++) {
        struct lua_conn *c = t->due[i];
        c->due = false;
        deliver(c);
        if (c->end && !c->doomed)
            finish(c);
        if (c->doomed && !c->due && !c->tasks.n_tasks)
            conn_free(c);
        if (i + 1 == n) { // what came meanwhile is for the next turn
            t->n_due -= n;
            memmove(t->due, t->due + n, t->n_due * sizeof(struct lua_conn *));
        }
    }
    for (unsigned n = t->waiting.n; n && t->waiting.head; n--) {
        if (pacer_allows(&t->pacer, loop_now_us(loop), &retry_us) == 0) {
            if (retry_us >= 0)
                loop_timer_start(loop, &t->timer, retry_us, on_retry);
            break; // else the end of an attempt asks again
        }
        attempt(t->waiting.head);
    }
    if (t->n_due)
        loop_again(loop);
}

// --- what the host calls

static struct lua_adapter *adapter_for(const struct lua_adapters *all, const char *scheme)
{
    for (unsigned i = 0; all && i < all->n; i++)
        for (const char *const *word = all->all[i]->scheme_list; *word; word++)
            if (strcmp(*word, scheme) == 0)
                return all->all[i];
    return NULL;
}

static const char *const target_keys[] = {"reconnect", "options", NULL};

static int target_options(struct adapter_target *t, struct error *err)
{
    struct pacer_config pacer;
    const json_t *own = json_object_get(t->options, "options");
    int64_t us = FLOW_CONNECT_TIMEOUT_US;
    if (endpoint_check_keys(t->options, target_keys, err) || backoff_parse(t->options, &t->backoff, err) ||
        pacer_config_parse(t->options, &pacer, err) ||
        plugin_host()->option_duration(t->options, "connectTimeout", us, &us, err))
        return -1;
    if (us <= 0)
        return error_set(err, ERR_INVALID, "connectTimeout: expected more than 0");
    if (own && !json_is_object(own) && !json_is_null(own))
        return error_set(err, ERR_INVALID, "options: expected a table of the adapter's own options");
    t->connect_timeout_us = us;
    pacer_create(&t->pacer, &pacer, t->series->connect_rate_limit);
    return 0;
}

static void target_delete(struct adapter_target *t)
{
    if (!t)
        return;
    if (t->hook.fn)
        loop_hook_remove(t->env.loop, &t->hook);
    loop_timer_stop(t->env.loop, &t->timer);
    for (unsigned i = 0; i < t->n_due; i++)
        if (t->due[i]->doomed)
            conn_free(t->due[i]);
    free(t->due);
    endpoint_delete(t->endpoint);
    endpoint_delete(t->datagrams);
    series_delete(t->series);
    json_decref(t->options);
    free(t);
}

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    struct scenario *s = env->script;
    struct url parsed;
    char scheme[32];
    snprintf(scheme, sizeof scheme, "%.*s", (int)strcspn(url, ":"), url);
    struct lua_adapter *a = s ? adapter_for(s->adapters, scheme) : NULL;
    if (!a) {
        error_set(err, ERR_INTERNAL, "no adapter in Lua serves %s", scheme);
        return NULL;
    }
    if (url_parse_port(url, a->name, a->default_port, &parsed, err))
        return NULL;
    struct adapter_target *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a target");
        return NULL;
    }
    t->env = *env;
    t->adapter = a;
    t->url = parsed;
    t->options = options ? json_deep_copy(options) : json_object();
    t->series = t->options ? series_new(env, a->name, group, err) : NULL;
    const struct series_wish served = {"requests_served", &t->served};
    char tags[SERIES_TAGS_MAX];
    if (!t->series || target_options(t, err) || series_tags(tags, a->name, group, err) ||
        (a->serves && series_make(env->metrics, tags, &served, 1, err))) {
        target_delete(t);
        return NULL;
    }
    t->hook.priority = 12;
    t->hook.fn = work;
    loop_hook_add(env->loop, &t->hook);
    return t;
}

static int tasks_name(const struct task_owner *owner, struct buf *out)
{
    return adapter_lua_field(owner, FIELD_CLIENT_ID, out, NULL);
}

static struct adapter_conn *conn_new(struct adapter_target *t, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    struct scenario *s = ADAPTER_OF(t);
    struct lua_conn *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    c->target = t;
    c->events = events;
    c->identity = identity;
    c->owner = owner;
    c->ops_end = &c->ops;
    c->told_end = &c->told;
    rng_seed(&c->rng, seed);
    c->tasks.kind = OWNER_ADAPTER;
    c->tasks.name = tasks_name;
    c->tasks.account = guard_account_new(s->guard, 0);
    c->id = c->tasks.account ? slots_add(s->adapters->conns, c) : 0;
    if (c->id)
        return (struct adapter_conn *)(void *)c;
    error_set(err, ERR_LIMIT, "no memory account is left for a connection");
    guard_account_free(s->guard, c->tasks.account);
    free(c);
    return NULL;
}

static void conn_delete(struct adapter_conn *conn)
{
    struct lua_conn *c = conn_of(conn);
    struct error why;
    if (!c || c->doomed)
        return;
    error_set(&why, ERR_CANCELLED, "the connection was deleted");
    if (c->state == LC_ONLINE)
        series_count(c->target->series, IOTIX_DISCONNECT, ERR_NONE);
    detach(c, false, false);
    c->doomed = true;
    path_release(c->path);
    c->path = NULL;
    drop_ops(c, &why, true);
    drop_events(c);
    lua_served_drop(c);
    while (c->filters) {
        struct lua_filter *f = c->filters;
        c->filters = f->next;
        free(f);
    }
    slots_remove(ADAPTER_OF(c->target)->adapters->conns, c->id);
    lua_conn_due(c); // freed by the hook: it may be at work on it
}

static int conn_open(struct adapter_conn *conn, struct error *err)
{
    static const char *const doing[] = {"", "connecting", "connecting", "connected", "reconnecting", "closing"};
    struct lua_conn *c = conn_of(conn);
    if (c->state != LC_OFFLINE)
        return error_set(err, ERR_STATE, "it is %s already", doing[c->state]);
    c->failures = 0;
    wait_turn(c);
    return 0;
}

static void conn_close(struct adapter_conn *conn, enum adapter_close mode)
{
    struct lua_conn *c = conn_of(conn);
    struct error none, why;
    if (c->state == LC_OFFLINE || c->state == LC_CLOSING)
        return;
    bool online = c->state == LC_ONLINE;
    error_clear(&none);
    error_set(&why, ERR_CANCELLED, "the connection was closed by the device");
    if (c->state == LC_WAITING)
        list_remove(&c->target->waiting, c);
    attempt_over(c, false);
    if (online) {
        series_count(c->target->series, IOTIX_DISCONNECT, ERR_NONE);
        gauge_add(c->target->series->devices_online, -1);
    }
    loop_timer_stop(c->target->env.loop, &c->timer);
    free(c->end);
    c->end = NULL;
    c->state = LC_CLOSING;
    drop_ops(c, &why, true);
    if (online && mode == ADAPTER_GRACEFUL && c->target->adapter->disconnects &&
        lua_op_add(c, OP_CLOSE, NULL, 0, NULL, 0, NULL) == 0)
        loop_timer_start(c->target->env.loop, &c->timer, LUA_ADAPTER_CLOSE_US, on_timer);
    else if (mode == ADAPTER_GRACEFUL)
        lua_conn_ends(c, &none);
    else
        lua_conn_ends(c, &why); // nothing is written any more
}

static int publish(struct adapter_conn *conn, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct lua_conn *c = conn_of(conn);
    bool coming = c->state == LC_WAITING || c->state == LC_CONNECTING || c->state == LC_BACKOFF;
    if (c->state != LC_ONLINE && !(m->qos && coming))
        return error_set(err, ERR_STATE, "not connected");
    if (m->meta)
        return error_set(err, ERR_UNSUPPORTED, "the adapter %s carries topic, payload, qos and retain only",
                         c->target->adapter->name);
    return lua_op_add(c, OP_PUBLISH, m->topic, m->topic_len, m, token, err);
}

static int subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err)
{
    struct lua_conn *c = conn_of(conn);
    struct adapter_message m = {.qos = (uint8_t)qos};
    size_t n = strlen(filter);
    if (c->state != LC_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    struct lua_filter **at = &c->filters;
    while (*at && strcmp((*at)->filter, filter) != 0)
        at = &(*at)->next;
    if (!*at) {
        struct lua_filter *f = c->n_filters < 1000 ? calloc(1, sizeof *f + n + 1) : NULL;
        if (!f)
            return error_set(err, ERR_LIMIT, "1000 subscriptions are there already");
        memcpy(f->filter, filter, n);
        f->qos = (uint8_t)qos;
        *at = f;
        c->n_filters++;
    }
    if (c->target->adapter->subscribes)
        return lua_op_add(c, OP_SUBSCRIBE, filter, n, &m, token, err);
    tell_done(c, token, qos, NULL); // the server sends what it sends
    return 0;
}

static int unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err)
{
    struct lua_conn *c = conn_of(conn);
    if (c->state != LC_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    for (struct lua_filter **at = &c->filters; *at; at = &(*at)->next)
        if (strcmp((*at)->filter, filter) == 0) {
            struct lua_filter *f = *at;
            *at = f->next;
            c->n_filters--;
            free(f);
            break;
        }
    if (c->target->adapter->subscribes)
        return lua_op_add(c, OP_UNSUBSCRIBE, filter, strlen(filter), NULL, token, err);
    tell_done(c, token, -1, NULL);
    return 0;
}

static unsigned pending(const struct adapter_conn *conn)
{
    const struct lua_conn *c = (const struct lua_conn *)(const void *)conn;
    unsigned n = 0;
    for (const struct lua_op *o = c->ops; o; o = o->next)
        n += o->kind == OP_PUBLISH;
    return n;
}

static size_t footprint(const struct adapter_conn *conn)
{
    const struct lua_conn *c = (const struct lua_conn *)(const void *)conn;
    return sizeof *c + c->op_bytes + c->n_ops * sizeof(struct lua_op) + c->n_told * sizeof(struct lua_event);
}

static void conn_freeze(struct adapter_conn *conn, bool frozen)
{
    struct lua_conn *c = conn_of(conn);
    if (c->state == LC_ONLINE)
        links_owner_pause(&c->tasks, frozen);
}

static void conn_path(struct adapter_conn *conn, struct path *path)
{
    struct lua_conn *c = conn_of(conn);
    struct path *former = c->path;
    c->path = path && !c->doomed ? path_ref(path) : NULL;
    path_release(former);
    links_owner_path(&c->tasks, c->path);
}

const struct adapter_ops adapter_lua_ops = {
    .abi = ADAPTER_ABI,
    .size = sizeof adapter_lua_ops,
    .target_new = target_new,
    .target_delete = target_delete,
    .conn_new = conn_new,
    .conn_delete = conn_delete,
    .conn_open = conn_open,
    .conn_close = conn_close,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .pending = pending,
    .footprint = footprint,
    .conn_freeze = conn_freeze,
    .conn_path = conn_path,
    .request = lua_request,
    .request_cancel = lua_request_cancel,
    .serve = lua_serve,
    .unserve = lua_unserve,
    .respond = lua_respond,
    .notify = lua_notify,
    .served_at = lua_served_at,
};
