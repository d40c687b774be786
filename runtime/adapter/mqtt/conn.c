#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "core/units.h"

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
        if (!r->again)
            tell_done(c, r->token, why);
        free(r);
    }
    mqtt_session_trim(&c->session);
}

static void drop_messages(struct mqtt_conn *c, const struct error *why)
{
    for (struct mqtt_out *o; (o = mqtt_session_pop(&c->session));) {
        mqtt_count_reason(c->target, MQTT_MESSAGES_DROPPED, why->code);
        rate_add(c->target->series.publish_errors, true);
        tell_done(c, o->token, why);
        free(o);
    }
}

struct mqtt_conn *mqtt_conn_new(struct mqtt_target *target, const struct adapter_events *events,
                                const struct adapter_identity *identity, void *owner, uint64_t seed, struct error *err)
{
    struct mqtt_conn *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    link_create(&c->link, target->env.links, &link_events);
    c->target = target;
    c->events = events;
    c->identity = identity;
    c->owner = owner;
    rng_seed(&c->rng, seed);
    target->n_conns++;
    return c;
}

// Takes the connection out of whatever it is in; the state is the caller's to set. Counts, tells nobody.
static void detach(struct mqtt_conn *c, enum link_close_mode mode)
{
    struct mqtt_target *t = c->target;
    switch ((enum mqtt_conn_state)c->state) {
    case MQTT_WAITING:
        mqtt_list_remove(&t->waiting, c);
        break;
    case MQTT_CLOSING:
        mqtt_list_remove(&t->closing, c);
        break;
    case MQTT_CONNECTING:
    case MQTT_HANDSHAKE:
        t->connecting--;
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
    c->flags &= (uint8_t)~MQTT_PING_SENT;
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
    c->target->n_conns--;
    free(c);
}

void mqtt_conn_delete(struct mqtt_conn *c)
{
    struct error why;
    if (!c || c->flags & MQTT_DOOMED)
        return;
    if (c->state == MQTT_ONLINE)
        mqtt_count_reason(c->target, MQTT_DISCONNECTS, ERR_NONE);
    detach(c, LINK_ABORT);
    c->state = MQTT_OFFLINE;
    c->flags |= MQTT_DOOMED;
    error_clear(&why);
    why.code = ERR_CANCELLED;
    drop_messages(c, &why); // counted, not told
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

int mqtt_conn_open(struct mqtt_conn *c, struct error *err)
{
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
    c->state = MQTT_WAITING;
    mqtt_list_append(&c->target->waiting, c);
    mqtt_target_wake(c->target);
    return 0;
}

// The address to bind: those of the author in turn; for a loopback target with many connections one of 127.0.0.2 to
// .31; NULL: the kernel's choice.
static const struct link_addr *pick_source(struct mqtt_target *t, const struct link_addr *to, struct link_addr *spread)
{
    const struct mqtt_options *o = &t->options;
    for (unsigned i = 0; i < o->n_sources; i++) {
        const struct link_addr *source = &o->sources[t->next_source++ % o->n_sources];
        if (source->addr.ss_family == to->addr.ss_family)
            return source;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&to->addr;
    struct link_totals totals;
    link_env_totals(t->env.links, &totals);
    if (totals.open < t->spread_above || to->addr.ss_family != AF_INET || ntohl(in->sin_addr.s_addr) >> 24 != 127)
        return NULL;
    *spread = *to;
    struct sockaddr_in *from = (struct sockaddr_in *)&spread->addr;
    from->sin_port = 0;
    from->sin_addr.s_addr = htonl(0x7f000002u + t->next_source++ % 30u);
    return spread;
}

// Opens the link to the next address of the target that takes it.
static int try_address(struct mqtt_conn *c, struct error *err)
{
    struct mqtt_target *t = c->target;
    int rc = -1;
    while (rc < 0 && c->tried < t->n_addrs) {
        if (c->tried)
            c->addr = (uint8_t)((c->addr + 1) % t->n_addrs);
        c->tried++;
        struct link_addr spread;
        const struct link_addr *to = &t->addrs[c->addr], *source = pick_source(t, to, &spread);
        error_clear(err);
        rc = link_open(&c->link, to, source, err);
        if (rc < 0 && source == &spread && err->code != ERR_LIMIT) {
            error_clear(err);
            rc = link_open(&c->link, to, NULL, err); // not every loopback has all of 127.0.0.0/8
        }
        if (rc < 0 && err->code == ERR_LIMIT)
            break;
    }
    return rc;
}

void mqtt_conn_attempt(struct mqtt_conn *c)
{
    struct error err;
    mqtt_conn_enter(c);
    mqtt_list_remove(&c->target->waiting, c);
    c->state = MQTT_CONNECTING;
    c->target->connecting++;
    c->addr = (uint8_t)c->target->preferred;
    c->tried = 0;
    c->since_us = loop_fresh_us(c->target->env.loop);
    timer_in(c, c->target->options.connect_timeout_us);
    if (try_address(c, &err) < 0)
        mqtt_conn_fail(c, &err, true, 0);
    mqtt_conn_leave(c);
}

int mqtt_conn_attach(struct mqtt_conn *c, int fd, struct error *err)
{
    if (c->state != MQTT_OFFLINE)
        return error_set(err, ERR_STATE, "the connection is in use");
    if (link_adopt(&c->link, fd, err) < 0)
        return -1;
    c->state = MQTT_CONNECTING;
    c->target->connecting++;
    c->since_us = c->link.opened_us;
    timer_in(c, c->target->options.connect_timeout_us);
    return 0;
}

void mqtt_conn_unreachable(struct mqtt_conn *c, const struct error *why)
{
    mqtt_conn_enter(c);
    mqtt_conn_fail(c, why, why->code != ERR_INVALID, 0);
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

static void count_failure(struct mqtt_conn *c, const struct error *why, unsigned return_code)
{
    struct mqtt_target *t = c->target;
    if (c->state == MQTT_ONLINE) {
        mqtt_count_reason(t, MQTT_DISCONNECTS, why->code);
        return;
    }
    rate_add(t->series.connect_errors, true);
    if (return_code)
        mqtt_count_connack(t, return_code);
    else
        mqtt_count_reason(t, MQTT_CONNECT_FAILURES, why->code);
    if (c->failures < UINT16_MAX)
        c->failures++;
}

void mqtt_conn_fail(struct mqtt_conn *c, const struct error *why, bool may_retry, unsigned return_code)
{
    const struct mqtt_options *o = &c->target->options;
    struct error told = *why;
    error_prefix(&told, "%s", c->target->shown);
    count_failure(c, why, return_code);
    detach(c, LINK_ABORT);
    bool retry = may_retry && o->reconnect && (!o->reconnect_attempts || c->failures < o->reconnect_attempts);
    c->state = retry ? MQTT_BACKOFF : MQTT_OFFLINE;
    if (retry)
        timer_in(c, backoff_us(c));
    mqtt_session_rewind(&c->session);
    drop_requests(c, &told);
    if (!retry && o->clean_session) {
        drop_messages(c, &told);
        mqtt_session_destroy(&c->session);
    }
    tell_offline(c, &told, retry);
}

void mqtt_conn_close(struct mqtt_conn *c, enum adapter_close mode)
{
    if (c->state == MQTT_OFFLINE || c->state == MQTT_CLOSING)
        return;
    if (c->state == MQTT_ONLINE) {
        mqtt_count_reason(c->target, MQTT_DISCONNECTS, ERR_NONE);
        if (mode == ADAPTER_GRACEFUL)
            (void)mqtt_send_empty(c, MQTT_DISCONNECT, NULL); // output full: the FIN alone will have to do
    }
    detach(c, mode == ADAPTER_GRACEFUL ? LINK_FLUSH : LINK_ABORT);
    c->state = MQTT_CLOSING;
    mqtt_list_append(&c->target->closing, c);
    mqtt_target_wake(c->target);
}

void mqtt_conn_freeze(struct mqtt_conn *c, bool frozen)
{
    int64_t period = c->target->options.keep_alive * (int64_t)1000000;
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
    error_set(&why, ERR_LIMIT, "dropped: the queue was full and a newer message took its place");
    mqtt_conn_enter(c);
    tell_done(c, out->token, &why);
    free(out);
    mqtt_conn_leave(c);
}

static void keep_alive(struct mqtt_conn *c)
{
    int64_t period = c->target->options.keep_alive * (int64_t)1000000;
    int64_t idle = loop_now_us(c->target->env.loop) - c->since_us;
    struct error err;
    if (c->flags & MQTT_PING_SENT) {
        error_set(&err, ERR_TIMEOUT, "no PINGRESP within half a keep-alive of %u s (MQTT 3.1.2.10)",
                  c->target->options.keep_alive);
        mqtt_conn_fail(c, &err, true, 0);
    } else if (idle < period) {
        timer_in(c, period - idle);
    } else if (mqtt_send_empty(c, MQTT_PINGREQ, &err) < 0) {
        error_prefix(&err, "keep-alive");
        mqtt_conn_fail(c, &err, true, 0);
    } else {
        c->flags |= MQTT_PING_SENT;
        timer_in(c, period / 2);
    }
}

void mqtt_conn_pong(struct mqtt_conn *c)
{
    if (!(c->flags & MQTT_PING_SENT))
        return;
    c->flags &= (uint8_t)~MQTT_PING_SENT;
    timer_in(c, c->target->options.keep_alive * (int64_t)1000000);
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
        error_set(&err, ERR_TIMEOUT, "no %s within %s", c->state == MQTT_CONNECTING ? "TCP connection" : "CONNACK",
                  duration_format(c->target->options.connect_timeout_us, limit, sizeof limit));
        mqtt_conn_fail(c, &err, true, 0);
        break;
    case MQTT_ONLINE:
        keep_alive(c);
        break;
    case MQTT_BACKOFF:
        c->state = MQTT_WAITING;
        mqtt_list_append(&c->target->waiting, c);
        mqtt_target_wake(c->target);
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
    t->preferred = c->addr;
    c->state = MQTT_HANDSHAKE;
    if (t->options.keep_alive)
        link_dead_after(link, t->options.keep_alive * (int64_t)1500000);
    if (mqtt_send_connect(c, &err) < 0)
        mqtt_conn_fail(c, &err, false, 0); // what the author gave cannot be sent: not better next time
    mqtt_conn_leave(c);
}

void mqtt_conn_online(struct mqtt_conn *c, bool session_present)
{
    struct mqtt_target *t = c->target;
    struct error err;
    int64_t now = loop_fresh_us(t->env.loop);
    trend_add(t->series.connect_latency, now - c->since_us);
    rate_add(t->series.connect_errors, false);
    counter_add(t->series.connects, 1);
    if (c->flags & MQTT_WAS_ONLINE)
        counter_add(t->series.reconnects, 1);
    gauge_add(t->series.devices_online, 1);
    t->connecting--;
    mqtt_target_wake(t);
    c->flags |= MQTT_WAS_ONLINE;
    c->failures = 0;
    c->state = MQTT_ONLINE;
    c->since_us = now;
    timer_off(c);
    if (t->options.keep_alive)
        timer_in(c, t->options.keep_alive * (int64_t)1000000);
    if (!session_present) {
        mqtt_session_renew(&c->session);
        if (mqtt_send_subscriptions(c, &err) < 0) {
            mqtt_conn_fail(c, &err, true, 0);
            return;
        }
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
    if (c->state != MQTT_CONNECTING || c->tried >= c->target->n_addrs || try_address(c, &err) < 0)
        mqtt_conn_fail(c, why, true, 0);
    mqtt_conn_leave(c);
}
