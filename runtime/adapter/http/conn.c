// A device's life: online, offline, probing, frozen; and which of its requests start when.
#include "adapter/http/conn.h"
#include <stdlib.h>
#include <string.h>
#include "adapter/http/bridge.h"
#include "adapter/http/exchange.h"
#include "adapter/http/socket.h"
#include "adapter/http/tls.h"
#include "link/path.h"

void http_conn_due(struct adapter_conn *c)
{
    if (!c->due.next)
        http_list_append(&c->target->due, &c->due);
    http_target_wake(c->target);
}

// --- requests -------------------------------------------------------------------------------------------------------

static bool lane_free(const struct http_lane *lane)
{
    return lane->active < (lane->h2 ? HTTP_STREAMS : 1);
}

static struct http_exchange *next_startable(struct adapter_conn *c)
{
    for (struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        struct http_exchange *x = container_of(node, struct http_exchange, node);
        if (x->state == HTTP_QUEUED && (!x->lane || x->lane == &c->target->shared || lane_free(x->lane)))
            return x;
    }
    return NULL;
}

static void wait_for_target(struct adapter_conn *c)
{
    if (c->busy)
        return;
    c->busy = true;
    http_list_append(&c->target->waiting, &c->waiting);
    http_target_wake(c->target);
}

// Starts what may start; what needs a new connection gets in line for it. May delete c.
static void pump(struct adapter_conn *c)
{
    struct http_target *t = c->target;
    struct http_exchange *x;
    while (!c->frozen && (x = next_startable(c))) {
        if (x->foreign && !x->addr.len) {
            c->pump_due = true; // for the others: c may be gone after this
            http_conn_due(c);
            http_exchange_resolve(x);
            return;
        }
        if (x->lane && (x->lane == &t->shared || !x->lane->sockets)) {
            wait_for_target(c);
            return;
        }
        if (!http_exchange_start(x))
            return;
    }
}

void http_conn_start(struct adapter_conn *c)
{
    struct http_exchange *x = c->frozen ? NULL : next_startable(c);
    if (!x)
        return;
    c->pump_due = true;
    http_conn_due(c); // for what else it has
    if (x->foreign && !x->addr.len)
        http_exchange_resolve(x);
    else
        http_exchange_start(x);
}

void http_conn_unreachable(struct adapter_conn *c, const struct error *why)
{
    // One at a time: an owner may do anything when it is told.
    for (struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        struct http_exchange *x = container_of(node, struct http_exchange, node);
        if (x->state != HTTP_QUEUED || !x->lane)
            continue;
        rate_add(c->target->series.connect_errors, true);
        http_count_failure(c->target, why->code);
        http_exchange_fail(x, why);
        return;
    }
}

// --- events at the end of the turn
// ------------------------------------------------------------------------------------

static bool tell_cancelled(struct adapter_conn *c)
{
    struct error why;
    error_set(&why, ERR_CANCELLED, "the connection was closed");
    for (;;) {
        struct http_exchange *x = NULL;
        for (struct http_node *node = c->exchanges.next; node != &c->exchanges && !x; node = node->next) {
            x = container_of(node, struct http_exchange, node);
            x = x->state == HTTP_CANCELLED ? x : NULL;
        }
        if (!x)
            return true;
        struct http_target *t = c->target;
        t->working = c;
        http_exchange_fail(x, &why);
        if (t->working != c)
            return false;
        t->working = NULL;
    }
}

void http_conn_work(struct adapter_conn *c)
{
    static const struct error asked = {0};
    if (c->path_due) {
        c->path_due = false;
        http_sockets_follow(c);
    }
    if (!tell_cancelled(c))
        return;
    if (c->offline_due) {
        c->offline_due = false;
        if (c->state == HTTP_CLOSING)
            c->state = HTTP_OFFLINE;
        if (!HTTP_TELL(c, c->events->on_offline(c->owner, &asked, false)))
            return;
    }
    if (c->online_due) {
        c->online_due = false;
        c->state = HTTP_ONLINE;
        gauge_add(c->target->series.devices_online, 1);
        if (!HTTP_TELL(c, c->events->on_online(c->owner, false)))
            return;
    }
    if (c->subs_due) {
        c->subs_due = false;
        if (!http_subs_answer(c))
            return;
    }
    if (c->pump_due) {
        c->pump_due = false;
        pump(c);
    }
}

// --- online and offline
// -----------------------------------------------------------------------------------------------

static int probe(struct adapter_conn *c, struct error *err)
{
    const char *path = c->target->options.probe;
    struct http_exchange *x = http_exchange_new(c, HTTP_PROBE, err);
    if (!x)
        return -1;
    x->method = "GET";
    if (http_request_url(x, path, strlen(path), NULL, err) < 0) {
        http_exchange_drop(x);
        return -1;
    }
    http_exchange_queue(x);
    return 0;
}

static void on_probe_again(struct timer *timer, void *loop)
{
    struct adapter_conn *c = container_of(timer, struct adapter_conn, probe_timer);
    struct error why;
    (void)loop;
    if (probe(c, &why) < 0)
        http_conn_probed(c, &why);
}

void http_conn_probed(struct adapter_conn *c, const struct error *why)
{
    const struct http_retries *r = &c->target->options.retries;
    if (c->state != HTTP_PROBING)
        return;
    if (!why) {
        c->probe_failures = 0;
        c->online_due = true;
        http_conn_due(c);
        return;
    }
    double delay = (double)r->initial_us;
    for (unsigned i = 0; i < c->probe_failures && delay < (double)r->max_delay_us; i++)
        delay *= r->factor;
    if (delay > (double)r->max_delay_us)
        delay = (double)r->max_delay_us;
    if (r->jitter)
        delay *= 0.5 + rng_unit(&c->rng) / 2;
    c->probe_failures += c->probe_failures < UINT16_MAX;
    loop_timer_start(c->target->env.loop, &c->probe_timer, (int64_t)delay, on_probe_again);
    HTTP_TELL(c, c->events->on_offline(c->owner, why, true));
}

int http_conn_open(struct adapter_conn *c, struct error *err)
{
    if (c->state != HTTP_OFFLINE)
        return error_set(err, ERR_STATE, c->state == HTTP_ONLINE ? "already online" : "already connecting");
    http_auth_forget(c);
    c->own_tls = HTTP_CREDENTIAL_UNKNOWN;
    if (http_auth_begin(c, err) < 0)
        return -1;
    if (c->target->options.probe) {
        if (probe(c, err) < 0)
            return -1;
    } else {
        c->online_due = true;
        http_conn_due(c);
    }
    c->state = HTTP_PROBING;
    return 0;
}

static void cancel_exchanges(struct adapter_conn *c, bool told)
{
    for (struct http_node *node = c->exchanges.next, *next; node != &c->exchanges; node = next) {
        struct http_exchange *x = container_of(node, struct http_exchange, node);
        next = node->next;
        if (!told || x->kind == HTTP_POLL || x->kind == HTTP_PROBE)
            http_exchange_drop(x);
        else
            http_exchange_cancel(x);
    }
}

void http_conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    bool up = c->state == HTTP_ONLINE || c->state == HTTP_PROBING;
    if (c->state == HTTP_ONLINE)
        gauge_add(c->target->series.devices_online, -1);
    http_conn_freeze(c, false);
    c->online_due = false;
    loop_timer_stop(c->target->env.loop, &c->probe_timer);
    http_subs_stop(c, true);
    http_unserve_commands(c);
    if (mode == ADAPTER_ABRUPT)
        http_sockets_crash(c);
    cancel_exchanges(c, true);
    http_sockets_end(c, mode);
    http_auth_forget(c);
    if (up) {
        c->state = HTTP_CLOSING;
        c->offline_due = true;
    }
    http_conn_due(c);
}

void http_conn_freeze(struct adapter_conn *c, bool frozen)
{
    if (c->frozen == frozen || (frozen && c->state != HTTP_ONLINE))
        return;
    c->frozen = frozen;
    http_sockets_freeze(c, frozen);
    for (struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next)
        http_exchange_hold(container_of(node, struct http_exchange, node), frozen);
    http_subs_freeze(c, frozen);
    if (!frozen) {
        c->pump_due = true;
        http_conn_due(c);
    }
}

// What is open follows at the end of the turn: libcurl, which may be at work on one of its descriptors, is not then.
void http_conn_path(struct adapter_conn *c, struct path *path)
{
    if (path == c->path)
        return;
    c->target->n_paths += !c->path;
    path_release(c->path);
    c->path = path ? path_ref(path) : NULL;
    c->target->n_paths -= !c->path;
    c->path_due = true;
    http_conn_due(c);
}

struct adapter_conn *http_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err)
{
    struct http_target *t = (struct http_target *)target;
    struct adapter_conn *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    *c = (struct adapter_conn){.target = t, .events = events, .identity = identity, .owner = owner};
    c->lane.id = t->next_id++;
    http_list_create(&c->exchanges);
    rng_seed(&c->rng, seed);
    if (!(c->multi = http_multi_take(t, err))) {
        free(c);
        return NULL;
    }
    t->n_conns++;
    return c;
}

void http_conn_delete(struct adapter_conn *c)
{
    if (!c)
        return;
    struct http_target *t = c->target;
    if (t->telling == c)
        t->telling = NULL;
    if (t->working == c)
        t->working = NULL;
    if (c->state == HTTP_ONLINE)
        gauge_add(t->series.devices_online, -1);
    loop_timer_stop(t->env.loop, &c->probe_timer);
    http_subs_stop(c, true);
    http_unserve_all(c);
    http_sockets_crash(c);
    cancel_exchanges(c, false);
    http_sockets_end(c, ADAPTER_ABRUPT);
    http_list_remove(&c->due);
    http_list_remove(&c->waiting);
    http_multi_give(c->multi);
    http_auth_forget(c);
    http_tls_forget(c);
    t->n_paths -= c->path != NULL;
    path_release(c->path);
    t->n_conns--;
    free(c);
}

unsigned http_conn_pending(const struct adapter_conn *c)
{
    unsigned n = 0;
    for (const struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        const struct http_exchange *x = container_of(node, struct http_exchange, node);
        n += x->kind == HTTP_PUBLISH || x->kind == HTTP_REQUEST;
    }
    return n;
}

size_t http_conn_footprint(const struct adapter_conn *c)
{
    size_t n = sizeof *c + (c->authorization ? strlen(c->authorization) + 1 : 0) + transport_memory_footprint(&c->tls) +
               (c->holder ? sizeof *c->holder : 0);
    for (const struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        const struct http_exchange *x = container_of(node, struct http_exchange, node);
        n += sizeof *x + x->url.size + x->lines.size + x->body.size + x->nodes.size + x->head.size + x->reply.size;
    }
    for (const struct http_socket *s = c->sockets; s; s = s->next)
        n += sizeof *s + (s->bridge ? http_bridge_footprint(s->bridge) : 0);
    for (const struct http_sub *s = c->subs; s; s = s->next)
        n += sizeof *s + strlen(s->filter) + 1;
    for (const struct http_route *r = c->routes; r; r = r->next)
        n += sizeof *r + strlen(r->path) + 1;
    return n;
}
