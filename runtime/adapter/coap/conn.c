#include "adapter/coap/conn.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/coap/exchange.h"
#include "adapter/coap/route.h"
#include "adapter/coap/serve.h"
#include "core/units.h"

// libcoap's own: struct coap_session_t and what hangs off it, measured with malloc_usable_size.
#define SESSION_BYTES 1100u
#define SECURE_BYTES 22000u

static void on_timer(struct timer *timer, void *loop);

static void timer_in(struct coap_conn *c, int64_t us)
{
    loop_timer_start(c->target->env.loop, &c->timer, us, on_timer);
}

static void tell_offline(struct coap_conn *c, const struct error *why, bool will_retry)
{
    if (!(c->flags & COAP_DOOMED))
        c->events->on_offline(c->owner, why, will_retry);
}

struct adapter_conn *coap_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err)
{
    struct coap_target *t = (void *)target;
    struct coap_conn *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    c->target = t;
    c->events = events;
    c->identity = identity;
    c->owner = owner;
    rng_seed(&c->rng, seed);
    c->next_token = (uint16_t)rng_u64(&c->rng);
    t->n_conns++;
    return (struct adapter_conn *)(void *)c;
}

static void paced(struct coap_conn *c, bool failed)
{
    struct coap_target *t = c->target;
    if (!(c->flags & COAP_PACED))
        return;
    c->flags &= (uint8_t)~COAP_PACED;
    int64_t now = loop_fresh_us(t->env.loop);
    pacer_ended(&t->pacer, now, now - c->since_us, failed);
    coap_target_wake(t);
}

// The session is given up. Its last words (an observation's deregistration, close_notify) have been said before.
static void release_session(struct coap_conn *c)
{
    coap_session_t *session = c->session;
    coap_route_closed(c);
    if (!session)
        return;
    if (c->server)
        coap_server_session_gone(c);
    c->session = NULL;
    c->socket = NULL;
    coap_pipes_delete(c, false);
    coap_pool_release(c->pool, session);
    coap_pool_give(c->pool);
    c->pool = NULL;
    c->target->n_sessions--;
    coap_io_forget(c);
}

// Takes the connection out of whatever it is in; the state is the caller's to set. Counts, tells nobody.
static void detach(struct coap_conn *c)
{
    struct coap_target *t = c->target;
    switch ((enum coap_conn_state)c->state) {
    case COAP_WAITING:
        coap_list_remove(&t->waiting, c);
        break;
    case COAP_CONNECTING:
        paced(c, true);
        break;
    case COAP_ONLINE:
        gauge_add(t->series.devices_online, -1);
        break;
    case COAP_OFFLINE:
    case COAP_BACKOFF:
    case COAP_CLOSING:
        break;
    }
    loop_timer_stop(t->env.loop, &c->timer);
    release_session(c);
    free(c->lost);
    c->lost = NULL;
    c->flags &= (uint8_t) ~(COAP_FROZEN | COAP_PINGED | COAP_UP);
    c->has_last_mid = false;
}

static void conn_free(struct coap_conn *c)
{
    coap_target_undue(c->target, c);
    coap_exchanges_clear(c);
    coap_directory_delete(c);
    coap_server_delete(c);
    coap_secret_delete(c->secret);
    coap_route_delete(c);
    c->target->n_conns--;
    free(c);
}

void coap_conn_delete(struct adapter_conn *conn)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct error why;
    if (!c || c->flags & COAP_DOOMED)
        return;
    if (c->state == COAP_ONLINE)
        coap_count_reason(c->target, COAP_DISCONNECTS, ERR_NONE);
    c->flags |= COAP_DOOMED;
    error_clear(&why);
    why.code = ERR_CANCELLED;
    coap_exchanges_drop(c, &why, true); // counted, not told
    detach(c);
    c->state = COAP_OFFLINE;
    if (!c->depth)
        conn_free(c);
}

void coap_conn_leave(struct coap_conn *c)
{
    if (--c->depth == 0 && c->flags & COAP_DOOMED)
        conn_free(c);
}

int coap_conn_open(struct adapter_conn *conn, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    static const char *const doing[] = {
        NULL, "already connecting", "already connecting", "already connected", "already reconnecting", "still closing"};
    if (c->state != COAP_OFFLINE)
        return error_set(err, ERR_STATE, "%s", doing[c->state]);
    c->failures = 0;
    c->state = COAP_WAITING;
    c->due_us = loop_due_us(c->target->env.loop);
    coap_list_append(&c->target->waiting, c);
    coap_target_wake(c->target);
    return 0;
}

void coap_conn_unreachable(struct coap_conn *c, const struct error *why)
{
    coap_conn_enter(c);
    coap_conn_fail(c, why, why->code != ERR_INVALID);
    coap_conn_leave(c);
}

static void to_coap_address(const struct link_addr *from, coap_address_t *to)
{
    coap_address_init(to);
    memcpy(&to->addr, &from->addr, from->len < sizeof to->addr ? from->len : sizeof to->addr);
    to->size = from->len;
}

static int open_session(struct coap_conn *c, const struct link_addr *to, const struct link_addr *from,
                        struct error *err)
{
    struct coap_target *t = c->target;
    const struct coap_options *o = &t->options;
    coap_address_t remote, local;
    to_coap_address(to, &remote);
    if (from)
        to_coap_address(from, &local);
    if (coap_secure_session(c, &remote, from ? &local : NULL, err) < 0)
        return -1;
    t->n_sessions++;
    coap_session_set_app_data(c->session, c);
    c->pool->stale = true;
    coap_target_wake(t);
    if (coap_target_reliable(t))
        return 0;
    coap_session_set_ack_random_factor(
        c->session,
        (coap_fixed_point_t){(uint16_t)o->ack_random_factor, (uint16_t)(o->ack_random_factor * 1000) % 1000});
    coap_io_transmission(c->session, o->ack_timeout_us, (uint16_t)o->max_retransmit);
    // Exchanges count for themselves; room for pings, acknowledged notifications and separate responses beside them.
    coap_session_set_nstart(c->session, (uint16_t)(o->nstart + 8));
    coap_session_set_probing_rate(c->session, o->probing_rate);
    return 0;
}

// The next address of the target that takes it.
static int try_address(struct coap_conn *c, struct error *err)
{
    struct coap_target *t = c->target;
    int rc = -1;
    while (rc < 0 && c->tried < t->n_addrs) {
        struct link_totals totals = {0};
        if (c->tried)
            c->addr = (uint8_t)((c->addr + 1) % t->n_addrs);
        c->tried++;
        const struct link_addr *to = &t->addrs[c->addr];
        if (t->env.links)
            link_env_totals(t->env.links, &totals);
        error_clear(err);
        const struct link_addr *from = sources_next(t->sources, to, totals.open + t->n_sessions, err);
        if (!from && err->code)
            continue; // no source of that family
        rc = open_session(c, to, from, err);
        if (rc < 0 && from && sources_automatic(t->sources) && err->code == ERR_IO)
            rc = open_session(c, to, NULL, err); // not every loopback has all of 127.0.0.0/8
        if (rc < 0 && (err->code == ERR_LIMIT || err->code == ERR_INVALID))
            break;
    }
    return rc;
}

static void online(struct coap_conn *c)
{
    struct coap_target *t = c->target;
    int64_t now = loop_fresh_us(t->env.loop);
    series_connected(t->series.connect_latency, t->series.connect_latency_raw, t->series.connect_wait, c->due_us,
                     c->since_us, now);
    if (t->transport)
        trend_add(t->series.tls_latency, now - c->since_us);
    rate_add(t->series.connect_errors, false);
    counter_add(t->series.connects, 1);
    if (c->flags & COAP_WAS_ONLINE)
        counter_add(t->series.reconnects, 1);
    gauge_add(t->series.devices_online, 1);
    paced(c, false);
    t->preferred = c->addr;
    // A datagram socket is "connected" to anything: only an answer ends a row of failures.
    if (c->heard_us >= c->since_us)
        c->failures = 0;
    c->flags = (uint8_t)((c->flags | COAP_WAS_ONLINE) & ~COAP_UP);
    c->state = COAP_ONLINE;
    c->since_us = now;
    loop_timer_stop(t->env.loop, &c->timer);
    if (t->options.keep_alive_us)
        timer_in(c, t->options.keep_alive_us);
    struct error err;
    if (coap_server_open(c, &err) < 0) {
        coap_conn_fail(c, &err, true);
        return;
    }
    c->events->on_online(c->owner, false);
    if (c->state != COAP_ONLINE || c->flags & COAP_DOOMED)
        return;
    coap_directory_online(c);
    coap_exchanges_pump(c);
}

static int connect_now(struct coap_conn *c, struct error *err)
{
    struct coap_target *t = c->target;
    if (try_address(c, err) < 0)
        return -1;
    coap_route_opened(c);
    if (t->proto == COAP_PROTO_UDP && t->options.probe)
        return coap_ping(c, err);
    if (t->proto == COAP_PROTO_UDP)
        online(c);
    return 0;
}

static void on_gate(void *arg, const struct error *why)
{
    struct coap_conn *c = arg;
    struct error err;
    coap_conn_enter(c);
    coap_route_gate_done(c);
    if (why) {
        if (c->tried++)
            c->addr = (uint8_t)((c->addr + 1) % c->target->n_addrs);
        coap_conn_lose(c, why->code, why->text);
    } else if (connect_now(c, &err) < 0) {
        coap_conn_fail(c, &err, err.code != ERR_INVALID);
    }
    coap_conn_leave(c);
}

// The next address of the target, when the device's path lets it.
static int connect_next(struct coap_conn *c, struct error *err)
{
    return coap_route_gate(c, on_gate) ? 0 : connect_now(c, err);
}

void coap_conn_attempt(struct coap_conn *c)
{
    struct coap_target *t = c->target;
    struct error err;
    coap_conn_enter(c);
    coap_list_remove(&t->waiting, c);
    c->state = COAP_CONNECTING;
    c->addr = (uint8_t)t->preferred;
    c->tried = 0;
    c->since_us = loop_fresh_us(t->env.loop);
    pacer_started(&t->pacer, c->since_us);
    c->flags |= COAP_PACED;
    timer_in(c, t->options.connect_timeout_us);
    if (connect_next(c, &err) < 0)
        coap_conn_fail(c, &err, err.code != ERR_INVALID);
    coap_conn_leave(c);
}

void coap_conn_up(struct coap_conn *c)
{
    if (c->state != COAP_CONNECTING)
        return;
    c->flags |= COAP_UP;
    coap_target_due(c->target, c);
}

void coap_conn_lose(struct coap_conn *c, enum error_code code, const char *text)
{
    if (c->lost || (c->state != COAP_ONLINE && c->state != COAP_CONNECTING))
        return;
    if (!(c->lost = calloc(1, sizeof *c->lost)))
        return; // the deadline of whatever is under way will find it
    error_set(c->lost, code, "%s", text);
    coap_target_due(c->target, c);
}

void coap_conn_heard(struct coap_conn *c)
{
    c->heard_us = loop_fresh_us(c->target->env.loop);
    c->failures = 0;
    c->flags &= (uint8_t)~COAP_PINGED;
}

void coap_conn_work(struct coap_conn *c)
{
    struct error err;
    coap_conn_enter(c);
    coap_pipes_work(c);
    if (c->state == COAP_CLOSING) {
        c->state = COAP_OFFLINE;
        error_set(&err, ERR_CANCELLED, "the connection was closed by the device");
        coap_exchanges_drop(c, &err, true);
        error_clear(&err);
        tell_offline(c, &err, false);
    } else if (c->lost) {
        struct error why = *c->lost;
        // A host with several addresses may serve only one of them.
        if (c->state == COAP_CONNECTING && c->tried < c->target->n_addrs) {
            release_session(c);
            free(c->lost);
            c->lost = NULL;
            if (connect_next(c, &err) < 0)
                coap_conn_fail(c, &why, true);
        } else {
            coap_conn_fail(c, &why, why.code != ERR_INVALID);
        }
    } else if (c->flags & COAP_UP) {
        online(c);
    }
    if (c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED))
        coap_exchanges_work(c);
    if (!(c->flags & COAP_DOOMED))
        coap_server_work(c);
    coap_conn_leave(c);
}

// Exponential, capped; with full jitter, so that those cut off together do not return together.
static int64_t backoff_us(struct coap_conn *c)
{
    const struct coap_options *o = &c->target->options;
    double delay = (double)o->reconnect_initial_us;
    for (unsigned i = 1; i < c->failures && delay < (double)o->reconnect_max_us; i++)
        delay *= o->reconnect_factor;
    if (delay > (double)o->reconnect_max_us)
        delay = (double)o->reconnect_max_us;
    return (int64_t)(o->reconnect_jitter ? delay * rng_unit(&c->rng) : delay);
}

void coap_conn_fail(struct coap_conn *c, const struct error *why, bool may_retry)
{
    struct coap_target *t = c->target;
    const struct coap_options *o = &t->options;
    struct error told = *why;
    error_prefix(&told, "%s", t->shown);
    if (c->state == COAP_ONLINE) {
        coap_count_reason(t, COAP_DISCONNECTS, why->code);
    } else {
        rate_add(t->series.connect_errors, true);
        coap_count_reason(t, COAP_CONNECT_FAILURES, why->code);
    }
    if (c->failures < UINT16_MAX)
        c->failures++;
    coap_directory_offline(c);
    detach(c);
    bool retry = may_retry && o->reconnect && (!o->reconnect_attempts || c->failures < o->reconnect_attempts);
    c->state = retry ? COAP_BACKOFF : COAP_OFFLINE;
    if (retry)
        timer_in(c, backoff_us(c));
    else
        coap_server_close(c);
    coap_exchanges_drop(c, &told, !retry);
    tell_offline(c, &told, retry);
}

void coap_conn_close(struct adapter_conn *conn, enum adapter_close mode)
{
    struct coap_conn *c = coap_conn_of(conn);
    if (c->state == COAP_OFFLINE || c->state == COAP_CLOSING)
        return;
    if (c->state == COAP_ONLINE) {
        coap_count_reason(c->target, COAP_DISCONNECTS, ERR_NONE);
        if (mode == ADAPTER_GRACEFUL)
            coap_directory_leave(c);
    }
    coap_directory_offline(c);
    coap_server_close(c);
    detach(c);
    c->state = COAP_CLOSING;
    coap_target_due(c->target, c);
}

void coap_conn_freeze(struct adapter_conn *conn, bool frozen)
{
    struct coap_conn *c = coap_conn_of(conn);
    int64_t period = c->target->options.keep_alive_us;
    if (c->state != COAP_ONLINE || frozen == ((c->flags & COAP_FROZEN) != 0))
        return;
    c->flags = (uint8_t)(frozen ? c->flags | COAP_FROZEN : c->flags & ~COAP_FROZEN);
    coap_exchanges_freeze(c, frozen);
    coap_pipes_freeze(c, frozen);
    if (frozen)
        loop_timer_stop(c->target->env.loop, &c->timer);
    else if (period) // time stood still for it: the server gets another chance to answer
        timer_in(c, period);
    if (!frozen)
        coap_exchanges_pump(c);
}

static void keep_alive(struct coap_conn *c)
{
    struct coap_target *t = c->target;
    int64_t period = t->options.keep_alive_us, now = loop_now_us(t->env.loop);
    int64_t idle = now - (c->heard_us > c->since_us ? c->heard_us : c->since_us);
    struct error err;
    if (c->flags & COAP_PINGED) {
        error_set(&err, ERR_TIMEOUT, "nothing heard of the server since a ping half a keep-alive ago");
        coap_conn_fail(c, &err, true);
    } else if (idle < period) {
        timer_in(c, period - idle);
    } else if (coap_ping(c, &err) < 0) {
        error_prefix(&err, "keep-alive");
        coap_conn_fail(c, &err, true);
    } else {
        c->flags |= COAP_PINGED;
        timer_in(c, period / 2);
    }
}

static void explain_silence(const struct coap_conn *c, struct error *err)
{
    const struct coap_target *t = c->target;
    char limit[32];
    duration_format(t->options.connect_timeout_us, limit, sizeof limit);
    if (coap_route_gated(c))
        error_set(err, ERR_TIMEOUT, "no answer within %s (a fault of the network)", limit);
    else if (t->proto == COAP_PROTO_DTLS && c->heard_us >= c->since_us && c->pool->kind == POOL_PSK)
        // A server drops what it cannot decrypt without a word (RFC 6347, 4.1.2.7).
        error_set(err, ERR_TLS,
                  "the DTLS handshake did not end within %s although the server answers: is psk_key the "
                  "server's?",
                  limit);
    else
        error_set(err, ERR_TIMEOUT, "no %s within %s",
                  t->proto == COAP_PROTO_UDP    ? "answer to a ping"
                  : t->proto == COAP_PROTO_DTLS ? "DTLS handshake"
                  : t->proto == COAP_PROTO_TCP  ? "TCP connection with its CSM"
                                                : "TLS connection with its CSM",
                  limit);
}

static void on_timer(struct timer *timer, void *loop)
{
    struct coap_conn *c = container_of(timer, struct coap_conn, timer);
    struct coap_target *t = c->target;
    struct error err;
    (void)loop;
    coap_conn_enter(c);
    switch ((enum coap_conn_state)c->state) {
    case COAP_CONNECTING:
        if (c->flags & COAP_UP)
            break; // the hook of this turn knows
        explain_silence(c, &err);
        coap_conn_fail(c, &err, true);
        break;
    case COAP_ONLINE:
        keep_alive(c);
        break;
    case COAP_BACKOFF:
        c->state = COAP_WAITING;
        c->due_us = loop_due_us(t->env.loop);
        coap_list_append(&t->waiting, c);
        coap_target_wake(t);
        break;
    case COAP_OFFLINE:
    case COAP_WAITING:
    case COAP_CLOSING:
        break;
    }
    coap_conn_leave(c);
}

size_t coap_conn_footprint(const struct adapter_conn *conn)
{
    const struct coap_conn *c = (const void *)conn;
    size_t n = sizeof *c + coap_exchanges_footprint(c) + coap_server_footprint(c) + coap_pipes_footprint(c) +
               coap_route_footprint(c);
    if (c->session)
        n += SESSION_BYTES + (c->target->transport ? SECURE_BYTES : 0);
    if (c->secret)
        n += sizeof *c->secret + transport_memory_footprint(&c->secret->memory) +
             transport_memory_footprint(&c->secret->serving);
    return n;
}
