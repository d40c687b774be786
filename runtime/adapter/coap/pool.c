// libcoap's contexts in the loop.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "adapter/coap/conn.h"
#include "adapter/coap/exchange.h"
#include "adapter/coap/log_bridge.h"
#include "adapter/coap/serve.h"

#define EVENTS_A_TURN 256

static const char pool_mark[] = "pool";

// libcoap's own, not in its public headers: what waits for acknowledgements holds references on its session.
void coap_cancel_session_messages(coap_context_t *context, coap_session_t *session, coap_nack_reason_t reason);

struct coap_endpoint_grave {
    struct coap_endpoint_grave *next;
    struct coap_pool *pool;
    coap_endpoint_t *endpoint;
    coap_session_t **clients;
    unsigned n_clients;
};

struct coap_pool *coap_pool_of(const coap_context_t *ctx)
{
    struct coap_pool *pool = coap_get_app_data(ctx);
    return pool && pool->mark == pool_mark ? pool : NULL;
}

static void on_log(coap_log_t level, const char *text)
{
    coap_log_line(level, text);
}

static int on_event(coap_session_t *session, const coap_event_t event)
{
    char words[200], text[320];
    if (coap_session_get_type(session) != COAP_SESSION_TYPE_CLIENT) {
        coap_on_server_event(session, event);
        return 0;
    }
    struct coap_conn *c = coap_session_get_app_data(session);
    if (!c)
        return 0;
    switch (event) {
    case COAP_EVENT_TCP_CONNECTED:
        trend_add(c->target->series.tcp_latency, loop_fresh_us(c->target->env.loop) - c->since_us);
        break;
    case COAP_EVENT_DTLS_CONNECTED:
        if (c->target->proto == COAP_PROTO_DTLS)
            coap_conn_up(c);
        break;
    case COAP_EVENT_SESSION_CONNECTED: // TCP: its CSM has come
        coap_conn_up(c);
        break;
    case COAP_EVENT_DTLS_ERROR:
        coap_log_take(words, sizeof words);
        snprintf(text, sizeof text, "the %s failed: %s",
                 c->state == COAP_CONNECTING ? "(D)TLS handshake" : "(D)TLS connection",
                 words[0] ? words : "the server's answer was not accepted, or it refused ours");
        coap_conn_lose(c, ERR_TLS, text);
        break;
    case COAP_EVENT_DTLS_CLOSED:
        coap_conn_lose(c, ERR_CLOSED, "closed by the server (close_notify)");
        break;
    case COAP_EVENT_TCP_FAILED:
        coap_conn_lose(c, ERR_REFUSED, "the TCP connection failed");
        break;
    case COAP_EVENT_TCP_CLOSED:
    case COAP_EVENT_SESSION_CLOSED:
        coap_conn_lose(c, ERR_CLOSED, "closed by the server");
        break;
    case COAP_EVENT_SESSION_FAILED:
        coap_conn_lose(c, ERR_CLOSED, "closed by the server before its CSM (RFC 8323, 5.3)");
        break;
    default:
        break;
    }
    return 0;
}

// What waits for an acknowledgement holds the session: it would be sent again for a minute and a half.
static void give_up(struct coap_pool *pool, coap_session_t *session)
{
    coap_cancel_session_messages(pool->ctx, session, COAP_NACK_NOT_DELIVERABLE);
    coap_session_release(session);
}

// libcoap keeps pointers to sessions while it goes through its events: none is freed meanwhile.
static void run(struct coap_pool *pool, struct epoll_event *events, size_t n)
{
    pool->running++;
    coap_io_do_epoll(pool->ctx, events, n); // looks at timeouts as well
    if (--pool->running)
        return;
    for (unsigned i = 0; i < pool->n_released; i++)
        give_up(pool, pool->released[i]);
    pool->n_released = 0;
}

void coap_pool_read(struct coap_pool *pool, struct coap_socket_t *sock)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = sock};
    run(pool, &event, 1);
}

void coap_pool_release(struct coap_pool *pool, coap_session_t *session)
{
    coap_session_set_app_data(session, NULL);
    if (!pool->running) {
        give_up(pool, session);
        return;
    }
    if (pool->n_released == pool->room_released) {
        unsigned room = pool->room_released ? 2 * pool->room_released : 16;
        coap_session_t **more = realloc(pool->released, room * sizeof(coap_session_t *));
        if (!more)
            return; // it is freed with its context
        pool->released = more;
        pool->room_released = room;
    }
    pool->released[pool->n_released++] = session;
}

static void on_ready(struct ev_loop *ev, ev_io *io, int revents)
{
    struct coap_pool *pool = container_of(io, struct coap_pool, io);
    struct epoll_event events[EVENTS_A_TURN];
    (void)ev, (void)revents;
    int n = epoll_wait(io->fd, events, EVENTS_A_TURN, 0);
    for (int i = 0; i < n; i++)
        if (events[i].events & EPOLLOUT && events[i].data.ptr)
            coap_pipe_flush(events[i].data.ptr);
    if (n > 0)
        run(pool, events, (size_t)n);
}

static void on_any_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                           const coap_string_t *query, coap_pdu_t *response)
{
    coap_on_server_request(resource, session, request, query, response);
}

// One resource for everything: who serves what is the connections' affair.
static int add_resources(coap_context_t *ctx)
{
    static const coap_request_t methods[] = {COAP_REQUEST_GET,    COAP_REQUEST_POST,  COAP_REQUEST_PUT,
                                             COAP_REQUEST_DELETE, COAP_REQUEST_FETCH, COAP_REQUEST_PATCH,
                                             COAP_REQUEST_IPATCH};
    static const uint8_t name[] = ".well-known/core";
    coap_str_const_t path = {sizeof name - 1, name};
    coap_resource_t *known = coap_resource_init(&path, 0);
    coap_resource_t *unknown = coap_resource_unknown_init(on_any_request);
    if (!known || !unknown)
        return -1;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        coap_register_request_handler(known, methods[i], on_any_request);
        coap_register_request_handler(unknown, methods[i], on_any_request);
    }
    coap_add_resource(ctx, known);
    coap_add_resource(ctx, unknown);
    return 0;
}

static struct coap_pool *pool_new(struct coap_target *t, enum coap_pool_kind kind, struct error *err)
{
    struct coap_pool *pool = calloc(1, sizeof *pool);
    coap_set_log_handler(on_log);
    coap_set_log_level(coap_log_verbose() ? LOG_DEBUG : LOG_WARNING);
    if (pool)
        pool->ctx = coap_new_context(NULL);
    if (!pool || !pool->ctx || add_resources(pool->ctx) < 0) {
        if (pool && pool->ctx)
            coap_free_context(pool->ctx);
        free(pool);
        error_set(err, errno == EMFILE || errno == ENFILE ? ERR_LIMIT : ERR_NO_MEMORY,
                  "libcoap makes no context (memory or file descriptors)");
        return NULL;
    }
    pool->mark = pool_mark;
    pool->target = t;
    pool->kind = (uint8_t)kind;
    coap_set_app_data(pool->ctx, pool);
    coap_context_set_block_mode(pool->ctx, 0); // blocks are answer.c's and serve.c's
    coap_context_set_max_idle_sessions(pool->ctx, 64);
    coap_context_set_session_timeout(pool->ctx, 300);
    coap_context_set_csm_max_message_size(pool->ctx, coap_target_message_max(t));
    coap_context_set_csm_timeout(pool->ctx, (unsigned)(t->options.connect_timeout_us / 1000000) + 1);
    coap_register_response_handler(pool->ctx, coap_on_response);
    coap_register_nack_handler(pool->ctx, coap_on_nack);
    coap_register_pong_handler(pool->ctx, coap_on_pong);
    coap_register_event_handler(pool->ctx, on_event);
    ev_io_init(&pool->io, on_ready, coap_context_get_coap_fd(pool->ctx), EV_READ);
    ev_io_start(loop_ev(t->env.loop), &pool->io);
    pool->next = t->pools;
    t->pools = pool;
    return pool;
}

struct coap_pool *coap_pool_take(struct coap_target *t, enum coap_pool_kind kind, struct error *err)
{
    struct coap_pool *pool = t->pools;
    while (pool && (pool->kind != kind || pool->n_sessions >= COAP_POOL_SESSIONS))
        pool = pool->next;
    if (!pool && !(pool = pool_new(t, kind, err)))
        return NULL;
    pool->n_sessions++;
    return pool;
}

void coap_pool_give(struct coap_pool *pool)
{
    pool->n_sessions--;
}

void coap_pools_delete(struct coap_target *t)
{
    while (t->pools) {
        struct coap_pool *pool = t->pools;
        t->pools = pool->next;
        ev_io_stop(loop_ev(t->env.loop), &pool->io);
        coap_free_context(pool->ctx);
        free(pool->released);
        free(pool);
    }
}

void coap_pools_refresh(struct coap_target *t)
{
    for (struct coap_pool *pool = t->pools; pool; pool = pool->next)
        if (pool->stale) {
            coap_tick_t now;
            pool->stale = false;
            coap_ticks(&now);
            coap_io_prepare_epoll(pool->ctx, now);
        }
}

void coap_endpoint_bury(struct coap_pool *pool, coap_endpoint_t *endpoint, coap_session_t **clients, unsigned n_clients)
{
    struct coap_endpoint_grave *grave = calloc(1, sizeof *grave);
    if (!grave) { // it is freed with its context
        free(clients);
        return;
    }
    *grave = (struct coap_endpoint_grave){pool->target->graves, pool, endpoint, clients, n_clients};
    pool->target->graves = grave;
    coap_target_wake(pool->target);
}

void coap_graves_forget(struct coap_pool *pool, const coap_session_t *session)
{
    for (struct coap_endpoint_grave *g = pool->target->graves; g; g = g->next)
        for (unsigned i = 0; i < g->n_clients; i++)
            if (g->clients[i] == session)
                g->clients[i] = NULL;
}

void coap_graves_clear(struct coap_target *t)
{
    while (t->graves) {
        struct coap_endpoint_grave *grave = t->graves;
        t->graves = grave->next;
        for (unsigned i = 0; i < grave->n_clients; i++)
            if (grave->clients[i])
                coap_cancel_session_messages(grave->pool->ctx, grave->clients[i], COAP_NACK_NOT_DELIVERABLE);
        coap_free_endpoint(grave->endpoint);
        coap_pool_give(grave->pool);
        free(grave->clients);
        free(grave);
    }
}
