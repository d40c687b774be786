#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"
#include "core/units.h"
#include "link/path.h"

#define KEEP_ALIVE_MARGIN_US 1000000
#define REDIRECTS_MAX 5u                         // in a row
#define REDIRECT_CALM_US (60 * (int64_t)1000000) // online so long: the row has ended

static void on_timer(struct timer *timer, void *loop);
static void on_open(struct link *link);
static void on_data(struct link *link, const uint8_t *bytes, size_t n);
static void on_drain(struct link *link);
static void on_close(struct link *link, const struct error *why);

static const struct link_events link_events = {on_open, on_data, on_drain, on_close};

static void timer_in(struct mqtt_conn *c, int64_t us)
{
    loop_timer_start(c->target->env.loop, &c->timer, us, on_timer);
}

static void timer_off(struct mqtt_conn *c)
{
    loop_timer_stop(c->target->env.loop, &c->timer);
}

static void tell_done(struct mqtt_conn *c, uint32_t token, const struct error *why)
{
    if (token && !(c->flags & MQTT_DOOMED) && c->events->on_done)
        c->events->on_done(c->owner, token, -1, why);
}

static void tell_offline(struct mqtt_conn *c, const struct error *why, bool will_retry)
{
    if (!(c->flags & MQTT_DOOMED))
        c->events->on_offline(c->owner, why, will_retry);
}

// Requests have no life beyond their connection.
static void drop_requests(struct mqtt_conn *c, const struct error *why)
{
    for (struct mqtt_request *r; (r = mqtt_session_answer(&c->session, 0, 0));) {
        if (!r->again && !r->own)
            tell_done(c, r->token, why);
        free(r);
    }
    mqtt_session_trim(&c->session);
}

void mqtt_conn_told(struct mqtt_conn *c, struct mqtt_out *o, const struct error *why)
{
    uint32_t token = o->token;
    bool exchange = o->exchange;
    free(o);
    mqtt_session_trim(&c->session);
    if (!exchange)
        tell_done(c, token, why);
    else if (why)
        mqtt_exchange_unsent(c, token, why);
}

void mqtt_conn_lost(struct mqtt_conn *c, struct mqtt_out *o, const struct error *why)
{
    mqtt_count_reason(c->target, MQTT_MESSAGES_DROPPED, why->code);
    rate_add(c->target->series.publish_errors, true);
    mqtt_conn_told(c, o, why);
}

static void drop_messages(struct mqtt_conn *c, const struct error *why)
{
    for (struct mqtt_out *o; (o = mqtt_session_pop(&c->session));) {
        mqtt_conn_lost(c, o, why);
    }
}

struct adapter_conn *mqtt_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err)
{
    struct mqtt_target *t = (void *)target;
    struct mqtt_conn *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    link_create(&c->link, t->env.links, &link_events);
    c->target = t;
    c->events = events;
    c->identity = identity;
    c->owner = owner;
    if ((t->origin.transport || t->options.version == 5) && !mqtt_extra_get(c, err)) {
        free(c);
        return NULL;
    }
    rng_seed(&c->rng, seed);
    t->n_conns++;
    return (struct adapter_conn *)(void *)c;
}

// Takes the connection out of whatever it is in; the state is the caller's to set. Counts, tells nobody. failed: for
// the pacer.
static void detach(struct mqtt_conn *c, enum link_close_mode mode, bool failed)
{
    struct mqtt_target *t = c->target;
    int64_t now;
    switch ((enum mqtt_conn_state)c->state) {
    case MQTT_WAITING:
        mqtt_list_remove(&mqtt_conn_site(c)->waiting, c);
        break;
    case MQTT_CLOSING:
        mqtt_list_remove(&t->closing, c);
        break;
    case MQTT_CONNECTING:
    case MQTT_HANDSHAKE:
        now = loop_fresh_us(t->env.loop);
        pacer_ended(&t->pacer, now, now - c->since_us, failed);
        mqtt_target_wake(t);
        break;
    case MQTT_ONLINE:
        gauge_add(t->series.devices_online, -1);
        break;
    case MQTT_OFFLINE:
    case MQTT_BACKOFF:
        break;
    }
    timer_off(c);
    link_close(&c->link, mode);
    mqtt_parser_reset(&c->parser);
    mqtt_extra_reset(c);
    c->flags &= (uint8_t) ~(MQTT_PING_SENT | MQTT_LIMITED | MQTT_ALIASES | MQTT_NARROW);
}

static void forget_dropped(struct mqtt_conn *c)
{
    struct mqtt_out **at = &c->target->dropped;
    while (*at) {
        struct mqtt_out *o = *at;
        if (o->conn == c) {
            *at = o->next;
            free(o);
        } else {
            at = &o->next;
        }
    }
    c->target->dropped_end = at;
}

static void conn_free(struct mqtt_conn *c)
{
    mqtt_session_destroy(&c->session);
    mqtt_extra_delete(c->extra);
    path_release(c->path);
    c->target->n_conns--;
    free(c);
}

void mqtt_conn_delete(struct adapter_conn *conn)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    struct error why;
    if (!c || c->flags & MQTT_DOOMED)
        return;
    if (c->state == MQTT_ONLINE)
        mqtt_count_reason(c->target, MQTT_DISCONNECTS, ERR_NONE);
    detach(c, LINK_ABORT, false);
    c->state = MQTT_OFFLINE;
    c->flags |= MQTT_DOOMED;
    error_clear(&why);
    why.code = ERR_CANCELLED;
    drop_messages(c, &why); // counted, not told
    mqtt_exchanges_end(c, &why);
    if (c->flags & MQTT_DROPPED)
        forget_dropped(c);
    if (!c->depth)
        conn_free(c);
}

void mqtt_conn_leave(struct mqtt_conn *c)
{
    if (--c->depth == 0 && c->flags & MQTT_DOOMED)
        conn_free(c);
}

static void wait_for_turn(struct mqtt_conn *c)
{
    c->state = MQTT_WAITING;
    c->since_us = loop_due_us(c->target->env.loop);
    mqtt_list_append(&mqtt_conn_site(c)->waiting, c);
    mqtt_target_wake(c->target);
}

int mqtt_conn_open(struct adapter_conn *conn, struct error *err)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    static const char *const doing[] = {NULL,
                                        "already connecting",
                                        "already connecting",
                                        "already connecting",
                                        "already connected",
                                        "already reconnecting",
                                        "still closing"};
    if (c->state != MQTT_OFFLINE)
        return error_set(err, ERR_STATE, "%s", doing[c->state]);
    c->failures = 0;
    if (c->extra) {
        c->extra->resume = false;
        c->extra->redirects = 0;
        if (!c->extra->moved)
            c->extra->site = NULL;
    }
    wait_for_turn(c);
    return 0;
}

static int attach_path(struct mqtt_conn *c, struct error *err)
{
    const struct mqtt_site *site = mqtt_conn_site(c);
    const struct path_peer peer = {
        .protocol = "mqtt", .host = site->host, .addr = site->addrs[c->addr], .tls = c->target->tls};
    return path_attach_link(c->path, &c->link, &peer, err);
}

void mqtt_conn_path(struct adapter_conn *conn, struct path *path)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    struct path *former = c->path;
    c->path = path && !(c->flags & MQTT_DOOMED) ? path_ref(path) : NULL;
    path_release(former);
    // Without memory it goes on without faults until it connects anew.
    if (c->path && c->link.state != LINK_CLOSED)
        (void)!attach_path(c, NULL);
}

static int open_link(struct mqtt_conn *c, struct mqtt_site *site, const struct link_addr *to,
                     const struct link_addr *source, struct error *err)
{
    error_clear(err);
    if (site->transport && transport_push(site->transport, &c->link, &c->extra->memory, c, err) < 0)
        return -1;
    // Without memory it connects without faults, which is better than not at all.
    if (c->path)
        (void)!attach_path(c, NULL);
    return link_open(&c->link, to, source, err);
}

// Opens the link to the next address of the site that takes it.
static int try_address(struct mqtt_conn *c, struct error *err)
{
    struct mqtt_target *t = c->target;
    struct mqtt_site *site = mqtt_conn_site(c);
    int rc = -1;
    while (rc < 0 && c->tried < site->n_addrs) {
        if (c->tried)
            c->addr = (uint8_t)((c->addr + 1) % site->n_addrs);
        c->tried++;
        struct link_totals totals;
        const struct link_addr *to = &site->addrs[c->addr];
        link_env_totals(t->env.links, &totals);
        error_clear(err);
        const struct link_addr *source = sources_next(t->sources, to, totals.open, err);
        if (!source && err->code)
            continue; // none of that family
        rc = open_link(c, site, to, source, err);
        if (rc < 0 && source && sources_automatic(t->sources) && err->code != ERR_LIMIT)
            rc = open_link(c, site, to, NULL, err); // not every loopback has all of 127.0.0.0/8
        if (rc < 0 && err->code == ERR_LIMIT)
            break;
    }
    return rc;
}

void mqtt_conn_attempt(struct mqtt_conn *c)
{
    struct error err;
    mqtt_conn_enter(c);
    mqtt_list_remove(&mqtt_conn_site(c)->waiting, c);
    c->state = MQTT_CONNECTING;
    c->due_us = c->since_us;
    c->addr = (uint8_t)mqtt_conn_site(c)->preferred;
    c->tried = 0;
    c->since_us = loop_fresh_us(c->target->env.loop);
    pacer_started(&c->target->pacer, c->since_us);
    timer_in(c, c->target->options.connect_timeout_us);
    if (try_address(c, &err) < 0) // ERR_INVALID: no source of that family, a credential that is none
        mqtt_conn_fail(c, &err, err.code != ERR_INVALID);
    mqtt_conn_leave(c);
}

int mqtt_conn_attach(struct mqtt_conn *c, int fd, struct error *err)
{
    if (c->state != MQTT_OFFLINE)
        return error_set(err, ERR_STATE, "the connection is in use");
    if (link_adopt(&c->link, fd, err) < 0)
        return -1;
    c->state = MQTT_CONNECTING;
    c->due_us = 0;
    c->since_us = c->link.opened_us;
    pacer_started(&c->target->pacer, c->since_us);
    timer_in(c, c->target->options.connect_timeout_us);
    return 0;
}

void mqtt_conn_unreachable(struct mqtt_conn *c, const struct error *why)
{
    mqtt_conn_enter(c);
    mqtt_conn_fail(c, why, why->code != ERR_INVALID);
    mqtt_conn_leave(c);
}

// Exponential, capped; with full jitter, so that those cut off together do not return together.
static int64_t backoff_us(struct mqtt_conn *c)
{
    const struct mqtt_options *o = &c->target->options;
    double delay = (double)o->reconnect_initial_us;
    for (unsigned i = 1; i < c->failures && delay < (double)o->reconnect_max_us; i++)
        delay *= o->reconnect_factor;
    if (delay > (double)o->reconnect_max_us)
        delay = (double)o->reconnect_max_us;
    return (int64_t)(o->reconnect_jitter ? delay * rng_unit(&c->rng) : delay);
}

// reason: the server's, 0: none.
static void count_failure(struct mqtt_conn *c, const struct error *why, uint8_t reason)
{
    struct mqtt_target *t = c->target;
    if (c->state == MQTT_ONLINE) {
        if (reason)
            mqtt_count_disconnect(t, reason);
        else
            mqtt_count_reason(t, MQTT_DISCONNECTS, why->code);
        return;
    }
    rate_add(t->series.connect_errors, true);
    if (reason)
        mqtt_count_connack(t, reason);
    else
        mqtt_count_reason(t, MQTT_CONNECT_FAILURES, why->code);
    if (c->failures < UINT16_MAX)
        c->failures++;
    if (c->extra && c->extra->site) { // the server it was sent to does not take it: back to the one of the URL
        c->extra->site = NULL;
        c->extra->moved = false;
        c->extra->redirects = 0;
    }
}

static void ended(struct mqtt_conn *c, const struct error *told, bool retry)
{
    mqtt_session_rewind(&c->session);
    drop_requests(c, told);
    mqtt_exchanges_end(c, told);
    if (!retry && c->target->options.clean_session) {
        drop_messages(c, told);
        mqtt_session_destroy(&c->session);
    }
    tell_offline(c, told, retry);
}

static void fail(struct mqtt_conn *c, const struct error *why, bool may_retry, uint8_t reason,
                 enum link_close_mode mode)
{
    const struct mqtt_options *o = &c->target->options;
    struct error told = *why;
    error_prefix(&told, "%s", c->target->shown);
    detach(c, mode, true); // first: the site may change
    count_failure(c, why, reason);
    bool retry = may_retry && o->reconnect && (!o->reconnect_attempts || c->failures < o->reconnect_attempts);
    c->state = retry ? MQTT_BACKOFF : MQTT_OFFLINE;
    if (retry)
        timer_in(c, backoff_us(c));
    ended(c, &told, retry);
}

void mqtt_conn_fail(struct mqtt_conn *c, const struct error *why, bool may_retry)
{
    fail(c, why, may_retry, 0, LINK_ABORT);
}

void mqtt_conn_refused(struct mqtt_conn *c, const struct error *why, uint8_t reason)
{
    fail(c, why, true, reason, LINK_ABORT);
}

static uint8_t reason_of(const struct mqtt_conn *c, const struct error *why)
{
    if (c->extra->reason)
        return c->extra->reason;
    switch (why->code) {
    case ERR_PROTOCOL:
        return 0x82;
    case ERR_LIMIT:
        return 0x95;
    default:
        return 0x83; // implementation specific error
    }
}

void mqtt_conn_violated(struct mqtt_conn *c, const struct error *why)
{
    bool said = mqtt_conn_is5(c) && mqtt_send_reason(c, MQTT_DISCONNECT, reason_of(c, why), NULL, NULL) == 0;
    fail(c, why, true, 0, said ? LINK_FLUSH : LINK_ABORT);
}

void mqtt_conn_redirect(struct mqtt_conn *c, struct mqtt_site *site, const struct error *why, uint8_t reason)
{
    struct mqtt_target *t = c->target;
    struct mqtt_extra *x = c->extra;
    struct error told = *why;
    bool was_online = c->state == MQTT_ONLINE;
    if (was_online && loop_now_us(t->env.loop) - x->online_us > REDIRECT_CALM_US)
        x->redirects = 0;
    if (x->redirects == REDIRECTS_MAX) {
        error_prefix(&told, "redirected %u times in a row", REDIRECTS_MAX);
        x->site = NULL;
        x->moved = false;
        x->redirects = 0;
        fail(c, &told, true, reason, LINK_FLUSH);
        return;
    }
    error_prefix(&told, "%s", t->shown);
    if (was_online)
        mqtt_count_disconnect(t, reason);
    counter_add(t->series.redirects, 1);
    detach(c, LINK_FLUSH, false);
    x->site = site == &t->origin ? NULL : site;
    x->moved = reason == 0x9d;
    x->redirects++;
    wait_for_turn(c);
    ended(c, &told, true);
}

void mqtt_conn_close(struct adapter_conn *conn, enum adapter_close mode)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    if (c->state == MQTT_OFFLINE || c->state == MQTT_CLOSING)
        return;
    if (c->state == MQTT_ONLINE) {
        mqtt_count_reason(c->target, MQTT_DISCONNECTS, ERR_NONE);
        if (mode == ADAPTER_GRACEFUL)
            (void)mqtt_send_empty(c, MQTT_DISCONNECT, NULL); // output full: the FIN alone will have to do
    }
    detach(c, mode == ADAPTER_GRACEFUL ? LINK_FLUSH : LINK_ABORT, false);
    c->state = MQTT_CLOSING;
    mqtt_list_append(&c->target->closing, c);
    mqtt_target_wake(c->target);
}

int mqtt_conn_renew(struct adapter_conn *conn, struct error *err)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    struct error why = {0};
    if (c->state != MQTT_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    mqtt_conn_enter(c);
    mqtt_count_reason(c->target, MQTT_DISCONNECTS, ERR_NONE);
    (void)mqtt_send_empty(c, MQTT_DISCONNECT, NULL); // output full: the FIN alone will have to do
    detach(c, LINK_FLUSH, false);
    wait_for_turn(c);
    ended(c, &why, true);
    mqtt_conn_leave(c);
    return 0;
}

void mqtt_conn_freeze(struct adapter_conn *conn, bool frozen)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    int64_t period = mqtt_conn_keep_alive(c) * (int64_t)1000000;
    if (c->state != MQTT_ONLINE)
        return;
    link_pause(&c->link, frozen);
    if (frozen)
        timer_off(c);
    else if (period) // time stood still for it: the peer gets another chance to answer
        timer_in(c, c->flags & MQTT_PING_SENT ? period / 2 : period);
}

void mqtt_conn_closed(struct mqtt_conn *c)
{
    struct error why;
    error_set(&why, ERR_CANCELLED, "the connection was closed by the device");
    mqtt_conn_enter(c);
    mqtt_list_remove(&c->target->closing, c);
    c->state = MQTT_OFFLINE;
    mqtt_session_rewind(&c->session);
    drop_requests(c, &why);
    mqtt_exchanges_end(c, &why);
    if (c->target->options.clean_session) {
        drop_messages(c, &why);
        mqtt_session_destroy(&c->session);
    }
    error_clear(&why);
    tell_offline(c, &why, false);
    mqtt_conn_leave(c);
}

void mqtt_conn_dropped(struct mqtt_conn *c, struct mqtt_out *out)
{
    struct error why;
    if (out->expired)
        error_set(&why, ERR_TIMEOUT, "dropped: its expiry of %u s passed before it could be sent", out->expiry_s);
    else
        error_set(&why, ERR_LIMIT, "dropped: the queue was full and a newer message took its place");
    mqtt_conn_enter(c);
    mqtt_conn_told(c, out, &why);
    mqtt_conn_leave(c);
}

// The longest that nothing is sent: before the keep-alive is over, whatever delays the timer (MQTT 3.1.2.10).
static int64_t silence_us(const struct mqtt_conn *c)
{
    int64_t period = mqtt_conn_keep_alive(c) * (int64_t)1000000;
    return period - (period > KEEP_ALIVE_MARGIN_US * 10 ? KEEP_ALIVE_MARGIN_US : period / 10);
}

static void keep_alive(struct mqtt_conn *c)
{
    int64_t period = silence_us(c);
    int64_t idle = loop_now_us(c->target->env.loop) - c->since_us;
    struct error err;
    if (c->flags & MQTT_PING_SENT) {
        error_set(&err, ERR_TIMEOUT, "no PINGRESP within half a keep-alive of %u s (MQTT 3.1.2.10)",
                  mqtt_conn_keep_alive(c));
        mqtt_conn_fail(c, &err, true);
    } else if (idle < period) {
        timer_in(c, period - idle);
    } else if (mqtt_send_empty(c, MQTT_PINGREQ, &err) < 0) {
        error_prefix(&err, "keep-alive");
        mqtt_conn_fail(c, &err, true);
    } else {
        c->flags |= MQTT_PING_SENT;
        timer_in(c, mqtt_conn_keep_alive(c) * (int64_t)500000);
    }
}

void mqtt_conn_pong(struct mqtt_conn *c)
{
    if (!(c->flags & MQTT_PING_SENT))
        return;
    c->flags &= (uint8_t)~MQTT_PING_SENT;
    timer_in(c, silence_us(c) - (loop_now_us(c->target->env.loop) - c->since_us));
}

// What a deadline that has passed waited for.
static const char *awaited(const struct mqtt_conn *c)
{
    const struct mqtt_target *t = c->target;
    if (c->state == MQTT_HANDSHAKE)
        return "CONNACK";
    return t->websocket ? t->tls ? "connection (TCP, TLS, WebSocket)" : "connection (TCP, WebSocket)"
           : t->tls     ? "connection (TCP, TLS)"
                        : "TCP connection";
}

static void on_timer(struct timer *timer, void *loop)
{
    struct mqtt_conn *c = container_of(timer, struct mqtt_conn, timer);
    struct error err;
    char limit[32];
    (void)loop;
    mqtt_conn_enter(c);
    switch ((enum mqtt_conn_state)c->state) {
    case MQTT_CONNECTING:
    case MQTT_HANDSHAKE:
        error_set(&err, ERR_TIMEOUT, "no %s within %s", awaited(c),
                  duration_format(c->target->options.connect_timeout_us, limit, sizeof limit));
        mqtt_conn_fail(c, &err, true);
        break;
    case MQTT_ONLINE:
        keep_alive(c);
        break;
    case MQTT_BACKOFF:
        wait_for_turn(c);
        break;
    case MQTT_OFFLINE:
    case MQTT_WAITING:
    case MQTT_CLOSING:
        break;
    }
    mqtt_conn_leave(c);
}

static void on_open(struct link *link)
{
    struct mqtt_conn *c = container_of(link, struct mqtt_conn, link);
    struct mqtt_target *t = c->target;
    struct error err;
    mqtt_conn_enter(c);
    trend_add(t->series.tcp_latency, link->opened_us - c->since_us);
    mqtt_conn_site(c)->preferred = c->addr;
    c->state = MQTT_HANDSHAKE;
    if (c->extra)
        c->extra->up_us = loop_fresh_us(t->env.loop);
    if (t->options.keep_alive)
        link_dead_after(link, t->options.keep_alive * (int64_t)1500000);
    if (mqtt_send_connect(c, &err) < 0 && mqtt_conn_up(c))
        mqtt_conn_fail(c, &err, false); // what the author gave cannot be sent: not better next time
    mqtt_conn_leave(c);
}

static void count_online(struct mqtt_conn *c, int64_t now)
{
    struct mqtt_series *s = &c->target->series;
    series_connected(s->connect_latency, s->connect_latency_raw, s->connect_wait, c->due_us, c->since_us, now);
    trend_add(s->connack_latency, now - (c->extra ? c->extra->up_us : c->link.opened_us));
    rate_add(s->connect_errors, false);
    counter_add(s->connects, 1);
    if (c->flags & MQTT_WAS_ONLINE)
        counter_add(s->reconnects, 1);
    gauge_add(s->devices_online, 1);
}

void mqtt_conn_online(struct mqtt_conn *c, bool session_present)
{
    struct mqtt_target *t = c->target;
    struct error err;
    int64_t now = loop_fresh_us(t->env.loop);
    count_online(c, now);
    pacer_ended(&t->pacer, now, now - c->since_us, false);
    mqtt_target_wake(t);
    c->flags |= MQTT_WAS_ONLINE;
    c->failures = 0;
    c->state = MQTT_ONLINE;
    c->since_us = c->extra ? c->extra->up_us : c->link.opened_us; // of CONNECT: what was last sent (3.1.2.10)
    if (c->extra)
        c->extra->online_us = now;
    timer_off(c);
    if (mqtt_conn_keep_alive(c))
        timer_in(c, silence_us(c) - (now - c->since_us));
    if (mqtt_conn_keep_alive(c) != t->options.keep_alive) // the server's: on_open knew only ours
        link_dead_after(&c->link, mqtt_conn_keep_alive(c) * (int64_t)1500000);
    if (!session_present) {
        mqtt_session_renew(&c->session);
        if (mqtt_send_subscriptions(c, &err) < 0) {
            mqtt_conn_fail(c, &err, true);
            return;
        }
    }
    if (mqtt_conn_is5(c)) {
        c->extra->resume = c->target->options.session_expiry > 0;
        mqtt_drop_untakable(c);
        if (!mqtt_conn_up(c))
            return;
    }
    mqtt_send_waiting(c);
    c->events->on_online(c->owner, session_present);
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct mqtt_conn *c = container_of(link, struct mqtt_conn, link);
    mqtt_conn_enter(c);
    mqtt_incoming(c, bytes, n);
    mqtt_conn_leave(c);
}

static void on_drain(struct link *link)
{
    struct mqtt_conn *c = container_of(link, struct mqtt_conn, link);
    if (c->state == MQTT_ONLINE)
        mqtt_send_waiting(c);
}

static void on_close(struct link *link, const struct error *why)
{
    struct mqtt_conn *c = container_of(link, struct mqtt_conn, link);
    struct error err;
    mqtt_conn_enter(c);
    // A host with several addresses may serve only one of them.
    if (c->state != MQTT_CONNECTING || c->tried >= mqtt_conn_site(c)->n_addrs || try_address(c, &err) < 0)
        mqtt_conn_fail(c, why, true);
    mqtt_conn_leave(c);
}
