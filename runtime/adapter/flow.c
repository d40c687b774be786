// Flows wait in a list of their endpoint; a hook at the end of the turn (15: behind the Lua tasks, before the links
// write) starts them and frees those that were deleted, so that a flow may be deleted inside its own events.
#include "adapter/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/gate.h"
#include "adapter/pacer.h"
#include "core/units.h"
#include "link/datagram.h"
#include "link/path.h"
#include "link/source.h"
#include "link/transport.h"

#define ADDRS_MAX 8u

const char *const endpoint_keys[] = {"tls",           "source", "connectTimeout", "connectWindow", "connectRate",
                                     "connectPacing", NULL};

enum flow_state { FLOW_CLOSED, FLOW_WAITING, FLOW_CONNECTING, FLOW_HANDSHAKE, FLOW_OPEN };

struct flow_list {
    struct flow *head, *tail;
    unsigned n;
};

struct endpoint {
    struct adapter_env env;
    struct loop_hook hook;
    struct timer timer; // the pacer wants to be asked again
    struct flow_list waiting;
    struct flow *dead, *buried; // deleted in this turn; in the one before: their filters are gone
    unsigned n_flows;
    char host[256];
    char shown[300];
    const char *protocol; // what partitions call it
    uint16_t port;
    bool datagram, paced, handshake, resolved, resolving;
    uint64_t ticket;
    struct link_addr addrs[ADDRS_MAX];
    unsigned n_addrs, preferred;
    int64_t timeout_us;
    struct transport *transport; // NULL: plain
    struct sources *sources;
    struct pacer pacer;
    struct metric *tcp_latency;
};

struct flow {
    union {
        struct link link;
        struct datagram datagram;
    };
    struct endpoint *endpoint;
    const struct iotix_flow_events *events;
    void *owner;
    const struct adapter_identity *identity;
    void *identity_owner;
    struct flow *prev, *next; // waiting, or (next) dead
    struct timer timer;
    struct transport_memory memory;
    struct path *path; // of its device; NULL: nothing acts on its network
    struct gate *gate; // CONNECTING, of a datagram socket: the path's lookup is under way
    int64_t since_us;
    uint8_t state, addr, tried;
    bool under_way; // counted by the pacer
    bool doomed;
};

static void list_append(struct flow_list *list, struct flow *f)
{
    f->next = NULL;
    f->prev = list->tail;
    if (list->tail)
        list->tail->next = f;
    else
        list->head = f;
    list->tail = f;
    list->n++;
}

static void list_remove(struct flow_list *list, struct flow *f)
{
    if (f->prev)
        f->prev->next = f->next;
    else
        list->head = f->next;
    if (f->next)
        f->next->prev = f->prev;
    else
        list->tail = f->prev;
    f->next = f->prev = NULL;
    list->n--;
}

// --- the end of an attempt, of a flow

static void attempt_over(struct flow *f, bool failed)
{
    struct endpoint *e = f->endpoint;
    loop_timer_stop(e->env.loop, &f->timer);
    if (!f->under_way)
        return;
    f->under_way = false;
    if (e->paced) {
        int64_t now = loop_fresh_us(e->env.loop);
        pacer_ended(&e->pacer, now, now - f->since_us, failed);
    }
    if (e->waiting.n)
        loop_again(e->env.loop);
}

static void stop_resolving(struct endpoint *e)
{
    if (e->resolving && e->ticket)
        resolver_cancel(e->env.resolver, e->ticket);
    e->resolving = false;
    e->ticket = 0;
}

static void leave(struct flow *f, bool flush, bool failed)
{
    struct endpoint *e = f->endpoint;
    if (f->state == FLOW_WAITING) {
        list_remove(&e->waiting, f);
        if (!e->waiting.n)
            stop_resolving(e);
    }
    attempt_over(f, failed);
    gate_delete(f->gate);
    f->gate = NULL;
    f->state = FLOW_CLOSED;
    if (e->datagram)
        datagram_close(&f->datagram, flush);
    else
        link_close(&f->link, flush ? LINK_FLUSH : LINK_ABORT);
}

static void fail(struct flow *f, const struct error *why)
{
    struct error told = *why;
    error_prefix(&told, "%s", f->endpoint->shown);
    leave(f, false, true);
    f->events->on_close(f->owner, &told);
}

static void free_flows(struct flow *f)
{
    while (f) {
        struct flow *next = f->next;
        transport_forget(&f->memory);
        free(f);
        f = next;
    }
}

// What a closed link leaves is cleared away at the end of the turn, behind this.
static void bury(struct endpoint *e)
{
    free_flows(e->buried);
    e->buried = e->dead;
    e->dead = NULL;
}

// --- events of the socket

static void up(struct flow *f)
{
    struct endpoint *e = f->endpoint;
    e->preferred = f->addr;
    if (e->handshake) {
        f->state = FLOW_HANDSHAKE;
    } else {
        attempt_over(f, false);
        f->state = FLOW_OPEN;
    }
    f->events->on_open(f->owner);
}

static void on_open(struct link *link)
{
    struct flow *f = container_of(link, struct flow, link);
    struct endpoint *e = f->endpoint;
    if (e->tcp_latency)
        trend_add(e->tcp_latency, link->opened_us - f->since_us);
    up(f);
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct flow *f = container_of(link, struct flow, link);
    f->events->on_data(f->owner, bytes, n);
}

static void on_drain(struct link *link)
{
    struct flow *f = container_of(link, struct flow, link);
    if (f->events->on_drain)
        f->events->on_drain(f->owner);
}

static int try_address(struct flow *f, struct error *err);

static void on_close(struct link *link, const struct error *why)
{
    struct flow *f = container_of(link, struct flow, link);
    struct error err;
    // A host with several addresses may serve at one of them only.
    if (f->state == FLOW_CONNECTING && f->tried < f->endpoint->n_addrs && try_address(f, &err) == 0)
        return;
    fail(f, why);
}

static void on_datagram(struct datagram *d, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    struct flow *f = container_of(d, struct flow, datagram);
    (void)from;
    f->events->on_data(f->owner, bytes, n);
}

static void on_error(struct datagram *d, const struct error *why)
{
    struct flow *f = container_of(d, struct flow, datagram);
    struct error told = *why;
    error_prefix(&told, "%s", f->endpoint->shown);
    if (f->events->on_error)
        f->events->on_error(f->owner, &told);
}

static const struct link_events link_events = {on_open, on_data, on_drain, on_close};
static const struct datagram_events datagram_events = {on_datagram, on_error};

// --- the device's path

static struct path_peer peer_of(const struct flow *f)
{
    const struct endpoint *e = f->endpoint;
    return (struct path_peer){
        .protocol = e->protocol, .host = e->host, .addr = e->addrs[f->addr], .tls = e->transport != NULL};
}

// Without memory it goes on without faults, which is better than not at all.
static void attach_path(struct flow *f)
{
    const struct path_peer peer = peer_of(f);
    if (f->endpoint->datagram)
        (void)!path_attach_datagram(f->path, &f->datagram, &peer, NULL);
    else
        (void)!path_attach_link(f->path, &f->link, &peer, NULL);
}

void flow_path(struct flow *f, struct path *path)
{
    struct path *former = f->path;
    f->path = path && !f->doomed ? path_ref(path) : NULL;
    path_release(former);
    if (!f->path)
        return;
    if (f->endpoint->datagram ? datagram_is_open(&f->datagram) : f->link.state != LINK_CLOSED)
        attach_path(f);
}

// --- connecting

static int open_at(struct flow *f, const struct link_addr *to, const struct link_addr *source, struct error *err)
{
    struct endpoint *e = f->endpoint;
    if (e->datagram) {
        int rc = datagram_open(&f->datagram, source, to, err);
        if (rc == 0 && f->path)
            attach_path(f);
        return rc;
    }
    if (e->transport && transport_push(e->transport, &f->link, &f->memory, f, err))
        return -1;
    if (f->path)
        attach_path(f);
    return link_open(&f->link, to, source, err);
}

static int try_address(struct flow *f, struct error *err)
{
    struct endpoint *e = f->endpoint;
    int rc = -1;
    while (rc < 0 && f->tried < e->n_addrs) {
        struct link_totals totals;
        const struct link_addr *to;
        if (f->tried)
            f->addr = (uint8_t)((f->addr + 1) % e->n_addrs);
        f->tried++;
        to = &e->addrs[f->addr];
        link_env_totals(e->env.links, &totals);
        error_clear(err);
        const struct link_addr *source = sources_next(e->sources, to, totals.open, err);
        if (!source && err->code != ERR_NONE)
            continue;
        rc = open_at(f, to, source, err);
        if (rc < 0 && source && sources_automatic(e->sources) && err->code != ERR_LIMIT)
            rc = open_at(f, to, NULL, err); // not every loopback has all of 127.0.0.0/8
        if (rc < 0 && err->code == ERR_LIMIT)
            break;
    }
    return rc;
}

static void on_timeout(struct timer *timer, void *loop)
{
    struct flow *f = container_of(timer, struct flow, timer);
    struct error why;
    char limit[32];
    (void)loop;
    error_set(&why, ERR_TIMEOUT, "no %s within %s",
              f->state == FLOW_HANDSHAKE ? "answer to the handshake" : "connection",
              duration_format(f->endpoint->timeout_us, limit, sizeof limit));
    fail(f, &why);
}

static void connect_now(struct flow *f)
{
    struct error err = {0};
    if (try_address(f, &err) < 0)
        fail(f, &err);
    else if (f->endpoint->datagram)
        up(f);
}

static void on_gate(void *arg, const struct error *why)
{
    struct flow *f = arg;
    gate_delete(f->gate);
    f->gate = NULL;
    if (why)
        fail(f, why);
    else
        connect_now(f);
}

static void start(struct flow *f)
{
    struct endpoint *e = f->endpoint;
    list_remove(&e->waiting, f);
    f->state = FLOW_CONNECTING;
    f->since_us = loop_fresh_us(e->env.loop);
    f->addr = (uint8_t)e->preferred;
    f->tried = 0;
    f->under_way = true;
    if (e->paced)
        pacer_started(&e->pacer, f->since_us);
    loop_timer_start(e->env.loop, &f->timer, e->timeout_us, on_timeout);
    if (e->datagram && f->path) {
        const struct path_peer peer = peer_of(f);
        f->gate = gate_new_datagram(e->env.loop, f->path, &peer, on_gate, f);
    }
    if (!f->gate)
        connect_now(f);
}

static void on_resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct endpoint *e = arg;
    e->resolving = false;
    e->ticket = 0;
    e->n_addrs = n < ADDRS_MAX ? n : ADDRS_MAX;
    e->preferred = 0;
    e->resolved = n > 0;
    if (n) {
        memcpy(e->addrs, addrs, e->n_addrs * sizeof *addrs);
        loop_again(e->env.loop);
        return;
    }
    struct error why = *err;
    for (unsigned left = e->waiting.n; left && e->waiting.head; left--)
        fail(e->waiting.head, &why);
}

static void on_retry(struct timer *timer, void *loop)
{
    (void)timer;
    loop_again(loop);
}

static void work(struct loop_hook *hook, struct loop *loop)
{
    struct endpoint *e = container_of(hook, struct endpoint, hook);
    int64_t retry_us = -1;
    bury(e);
    if (e->waiting.n && !e->resolved && !e->resolving) {
        e->resolving = true;
        uint64_t ticket = resolver_lookup(e->env.resolver, e->host, e->port, on_resolved, e);
        if (e->resolving)
            e->ticket = ticket;
    }
    // Bounded by what was there at its begin: an owner may open again from on_close for ever.
    for (unsigned n = e->waiting.n; n && e->waiting.head && e->resolved; n--) {
        if (e->paced && pacer_allows(&e->pacer, loop_now_us(loop), &retry_us) == 0) {
            if (retry_us >= 0)
                loop_timer_start(loop, &e->timer, retry_us, on_retry);
            return;
        }
        start(e->waiting.head);
    }
    if (e->buried || (e->waiting.n && e->resolved))
        loop_again(loop);
}

// --- endpoint

int endpoint_check_keys(const json_t *options, const char *const *own, struct error *err)
{
    const char *valid[64];
    unsigned n = 0;
    for (; own && own[n] && n < 48; n++)
        valid[n] = own[n];
    for (unsigned i = 0; endpoint_keys[i]; i++)
        valid[n++] = endpoint_keys[i];
    valid[n] = NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)options, key, value)
    {
        unsigned i = 0;
        while (valid[i] && strcmp(valid[i], key))
            i++;
        if (!valid[i])
            return error_unknown(err, "unknown option", key, valid);
    }
    return 0;
}

static int read_timeout(const json_t *options, int64_t *out, struct error *err)
{
    const json_t *v = json_object_get(options, "connectTimeout");
    int rc = 0;
    *out = FLOW_CONNECT_TIMEOUT_US;
    if (json_is_number(v))
        rc = duration_from_seconds(json_number_value(v), out, err);
    else if (json_is_string(v))
        rc = duration_parse(json_string_value(v), true, out, err);
    else if (v && !json_is_null(v))
        rc = error_set(err, ERR_INVALID, "expected a duration such as \"10s\"");
    if (!rc && *out <= 0)
        rc = error_set(err, ERR_INVALID, "expected more than 0");
    return rc ? error_prefix(err, "connectTimeout") : 0;
}

static int credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    static const enum adapter_field fields[] = {[TRANSPORT_CERT] = FIELD_TLS_CERT,
                                                [TRANSPORT_KEY] = FIELD_TLS_KEY,
                                                [TRANSPORT_NAME] = FIELD_TLS_NAME,
                                                [TRANSPORT_PSK_IDENTITY] = FIELD_PSK_IDENTITY,
                                                [TRANSPORT_PSK_KEY] = FIELD_PSK_KEY};
    struct flow *f = owner;
    return f->identity ? f->identity->field(f->identity_owner, fields[what], out, err) : 0;
}

static int make_parts(struct endpoint *e, const struct iotix_endpoint *c, struct error *err)
{
    const json_t *options = c->options;
    if (options && !json_is_object(options))
        return error_set(err, ERR_INVALID, "the options must be an object");
    if (read_timeout(options, &e->timeout_us, err))
        return -1;
    if (c->paced) {
        struct pacer_config p;
        if (pacer_config_parse(options, &p, err))
            return -1;
        pacer_create(&e->pacer, &p, c->series ? c->series->connect_rate_limit : NULL);
    }
    e->sources = sources_new(json_object_get(options, "source"), c->seed, err);
    if (!e->sources)
        return -1;
    const json_t *tls = json_object_get(options, "tls");
    if (!c->tls && (!tls || json_is_null(tls) || json_is_false(tls)))
        return 0;
    if (c->datagram)
        return error_set(err, ERR_UNSUPPORTED, "tls: datagrams have none here");
    struct transport_config t = {.loop = e->env.loop,
                                 .tls = true,
                                 .host = e->host,
                                 .port = e->port,
                                 .alpn = c->alpn,
                                 .tls_options = json_is_object(tls) ? tls : NULL,
                                 .credential = credential};
    if (c->series) {
        t.tls_latency = c->series->tls_latency;
        t.tls_resumed = c->series->tls_resumed;
        t.tls_full = c->series->tls_full;
    }
    e->transport = transport_new(&t, err);
    return e->transport ? 0 : -1;
}

struct endpoint *endpoint_new(const struct adapter_env *env, const struct iotix_endpoint *given, struct error *err)
{
    struct iotix_endpoint all = {0}, *config = &all;
    memcpy(&all, given, given->size < sizeof all ? given->size : sizeof all); // a plugin may know fewer members
    if (!env->links || !env->resolver) {
        error_set(err, ERR_UNSUPPORTED, "there is no network in virtual time");
        return NULL;
    }
    if (!config->host || !*config->host || strlen(config->host) >= sizeof((struct endpoint *)0)->host ||
        !config->port) {
        error_set(err, ERR_INVALID, "expected a host and a port from 1 to 65535");
        return NULL;
    }
    struct endpoint *e = calloc(1, sizeof *e);
    if (!e) {
        error_set(err, ERR_NO_MEMORY, "no memory for an endpoint");
        return NULL;
    }
    e->env = *env;
    e->port = config->port;
    e->protocol = config->protocol ? config->protocol : "link";
    e->datagram = config->datagram;
    e->paced = config->paced;
    e->handshake = config->handshake;
    e->tcp_latency = config->series ? config->series->tcp_latency : NULL;
    snprintf(e->host, sizeof e->host, "%s", config->host);
    bool v6 = strchr(e->host, ':') != NULL;
    snprintf(e->shown, sizeof e->shown, "%s%s%s:%u", v6 ? "[" : "", e->host, v6 ? "]" : "", (unsigned)e->port);
    e->hook.priority = 15;
    e->hook.fn = work;
    loop_hook_add(env->loop, &e->hook);
    if (make_parts(e, config, err) == 0)
        return e;
    endpoint_delete(e);
    return NULL;
}

void endpoint_delete(struct endpoint *e)
{
    if (!e)
        return;
    stop_resolving(e);
    loop_hook_remove(e->env.loop, &e->hook);
    loop_timer_stop(e->env.loop, &e->timer);
    free_flows(e->dead);
    free_flows(e->buried);
    transport_delete(e->transport);
    sources_delete(e->sources);
    free(e);
}

// --- flow

struct flow *flow_new(struct endpoint *e, const struct iotix_flow_events *events, void *owner,
                      const struct adapter_identity *identity, void *identity_owner, struct error *err)
{
    struct datagram_env *datagrams = NULL;
    if (e->datagram && !(datagrams = link_env_datagrams(e->env.links, err)))
        return NULL;
    struct flow *f = calloc(1, sizeof *f);
    if (!f) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    if (e->datagram)
        datagram_create(&f->datagram, datagrams, &datagram_events);
    else
        link_create(&f->link, e->env.links, &link_events);
    f->endpoint = e;
    f->events = events;
    f->identity = identity;
    f->identity_owner = identity_owner;
    f->owner = owner;
    e->n_flows++;
    return f;
}

void flow_delete(struct flow *f)
{
    if (!f || f->doomed)
        return;
    leave(f, false, false);
    path_release(f->path);
    f->path = NULL;
    f->doomed = true;
    f->endpoint->n_flows--;
    f->prev = NULL;
    f->next = f->endpoint->dead;
    f->endpoint->dead = f;
    loop_again(f->endpoint->env.loop);
}

int flow_open(struct flow *f, struct error *err)
{
    if (f->state != FLOW_CLOSED || f->doomed)
        return error_set(err, ERR_STATE, "it is %s already", f->state == FLOW_OPEN ? "open" : "being opened");
    f->state = FLOW_WAITING;
    list_append(&f->endpoint->waiting, f);
    loop_again(f->endpoint->env.loop);
    return 0;
}

void flow_ready(struct flow *f)
{
    if (f->state != FLOW_HANDSHAKE)
        return;
    attempt_over(f, false);
    f->state = FLOW_OPEN;
}

bool flow_is_open(const struct flow *f)
{
    return f->state == FLOW_OPEN || f->state == FLOW_HANDSHAKE;
}

int flow_send(struct flow *f, const void *bytes, size_t n, struct error *err)
{
    if (!flow_is_open(f))
        return error_set(err, ERR_STATE, "it is not open");
    if (f->endpoint->datagram)
        return datagram_send(&f->datagram, bytes, n, NULL, err);
    return link_send(&f->link, bytes, n, err);
}

void flow_close(struct flow *f, bool flush)
{
    if (f->state != FLOW_CLOSED)
        leave(f, flush && flow_is_open(f), false);
}

void flow_pause(struct flow *f, bool paused)
{
    if (!flow_is_open(f))
        return;
    if (f->endpoint->datagram)
        datagram_pause(&f->datagram, paused);
    else
        link_pause(&f->link, paused);
}

void flow_hold(struct flow *f, bool hold)
{
    if (flow_is_open(f) && !f->endpoint->datagram)
        link_hold(&f->link, hold);
}

size_t flow_unsent(const struct flow *f)
{
    return f->endpoint->datagram ? datagram_unsent(&f->datagram) : link_unsent(&f->link);
}

size_t flow_footprint(const struct flow *f)
{
    size_t n = sizeof *f + transport_memory_footprint(&f->memory);
    if (f->endpoint->datagram)
        return n + datagram_footprint(&f->datagram);
    return n + link_footprint(&f->link); // its filters included
}
