// The seam of streams: what libcoap reads from and writes to its TCP sockets passes through the functions that the
// linker puts in place of its own, below TLS where there is TLS. Here bytes are counted, frozen connections stand
// still, hooks are asked, and messages are judged in clear text (wire.h).
//
// libcoap never sees a partial write: what the kernel does not take is kept here, up to a cap (its own way loses bytes
// over TLS, and has no cap). coap_pipes_room says whether there is room for one more message.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "adapter/coap/exchange.h"
#include "adapter/coap/route.h"
#include "adapter/coap/seam.h"
#include "adapter/coap/serve.h"

#define OUT_MAX (2u << 20) // twice the largest message, so that one always fits when there is room
#define IN_MAX (1u << 20)

ssize_t __real_coap_socket_read(struct coap_socket_t *sock, uint8_t *data, size_t n);
ssize_t __wrap_coap_socket_read(struct coap_socket_t *sock, uint8_t *data, size_t n);
ssize_t __real_coap_socket_write(struct coap_socket_t *sock, const uint8_t *data, size_t n);
ssize_t __wrap_coap_socket_write(struct coap_socket_t *sock, const uint8_t *data, size_t n);
ssize_t __real_coap_tls_read(coap_session_t *session, uint8_t *data, size_t n);
ssize_t __wrap_coap_tls_read(coap_session_t *session, uint8_t *data, size_t n);

// --- life ---------------------------------------------------------------------------------------------------------

static struct coap_pipe *find(const struct coap_conn *c, const coap_session_t *session)
{
    struct coap_pipe *p = c ? c->pipes : NULL;
    while (p && p->session != session)
        p = p->next;
    return p;
}

// NULL: not one of ours, or no memory.
static struct coap_pipe *pipe_of(struct coap_socket_t *sock)
{
    struct coap_conn *c = sock->session ? coap_seam_conn(sock, sock->session) : NULL;
    struct coap_pipe *p = find(c, sock->session);
    if (!c || p)
        return p;
    if (!(p = calloc(1, sizeof *p)))
        return NULL;
    *p = (struct coap_pipe){.next = c->pipes,
                            .conn = c,
                            .socket = sock,
                            .session = sock->session,
                            .served = coap_session_get_type(sock->session) != COAP_SESSION_TYPE_CLIENT,
                            .stream.cap = coap_target_message_max(c->target)};
    buf_create(&p->in, IN_MAX);
    buf_create(&p->out, OUT_MAX);
    c->pipes = p;
    coap_route_pipe_begins(p);
    int one = 1; // libcoap leaves it out, and a second request would wait for the acknowledgement of the first
    (void)setsockopt(sock->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return p;
}

void coap_pipe_delete(struct coap_conn *c, const coap_session_t *session)
{
    struct coap_pipe **at = &c->pipes;
    while (*at && (*at)->session != session)
        at = &(*at)->next;
    struct coap_pipe *p = *at;
    if (!p)
        return;
    *at = p->next;
    coap_route_pipe_ends(p);
    buf_destroy(&p->in);
    buf_destroy(&p->out);
    free(p);
}

void coap_pipes_delete(struct coap_conn *c, bool served)
{
    for (struct coap_pipe *p = c->pipes, *next; p; p = next) {
        next = p->next;
        if (p->served == served)
            coap_pipe_delete(c, p->session);
    }
}

size_t coap_pipes_footprint(const struct coap_conn *c)
{
    size_t n = 0;
    for (const struct coap_pipe *p = c->pipes; p; p = p->next)
        n += sizeof *p + p->in.size + p->out.size;
    return n;
}

bool coap_pipe_room(const struct coap_conn *c, const coap_session_t *session)
{
    const struct coap_pipe *p = find(c, session);
    return !p || p->out.len + p->up <= OUT_MAX / 2;
}

// --- descriptors --------------------------------------------------------------------------------------------------

static void watch(struct coap_pipe *p)
{
    uint32_t in = p->full || p->ended ? 0 : (uint32_t)EPOLLIN, out = p->out.len ? (uint32_t)EPOLLOUT : 0;
    struct epoll_event event = {.events = p->parked ? 0 : in | out, .data.ptr = p->socket};
    int fd = coap_context_get_coap_fd(coap_session_get_context(p->session));
    bool out_of = !event.events; // errors are told of whatever is asked for
    if (p->socket->fd < 0 || (out_of && p->unwatched))
        return;
    (void)epoll_ctl(fd, out_of ? EPOLL_CTL_DEL : p->unwatched ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->socket->fd, &event);
    p->unwatched = out_of;
}

static void end(struct coap_pipe *p, const struct error *why)
{
    p->broken = true;
    if (!p->served)
        coap_conn_lose(p->conn, why->code, why->text);
}

// --- writing ------------------------------------------------------------------------------------------------------

static bool keep(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    struct error err;
    if (buf_append(&p->out, data, n) == 0)
        return true;
    error_set(&err, ERR_LIMIT, "the peer takes nothing: %u bytes wait to be sent", p->out.len);
    end(p, &err);
    return false;
}

// Bytes on their way to the kernel. False: the connection is at its end.
static bool put(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    if (p->parked || p->out.len)
        return keep(p, data, n);
    ssize_t sent = __real_coap_socket_write(p->socket, data, n);
    if (sent < 0 || sent == (ssize_t)n)
        return sent >= 0;
    // libcoap waits for writability before its next message; it need not.
    p->socket->flags &= (uint16_t)~COAP_SOCKET_WANT_WRITE;
    bool kept = keep(p, data + sent, n - (size_t)sent);
    watch(p);
    return kept;
}

// Through the device's path, or past it when nothing acts on it. False: the connection is at its end.
static bool send_on(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    if (!p->conn->route || coap_route_stream(p, PATH_UP, data, n))
        return put(p, data, n);
    p->up += (uint32_t)n;
    return true;
}

ssize_t __wrap_coap_socket_write(struct coap_socket_t *sock, const uint8_t *data, size_t n)
{
    struct coap_pipe *p = pipe_of(sock);
    if (!p)
        return __real_coap_socket_write(sock, data, n);
    struct coap_conn *c = p->conn;
    struct coap_piece piece = {.down = true, .served = p->served, .stream = true, .bytes = data, .n = n};
    counter_add(c->target->series.bytes_sent, n);
    return !coap_seam_asks(c, &piece) || send_on(p, data, n) ? (ssize_t)n : -1;
}

void coap_pipe_flush(struct coap_socket_t *sock)
{
    struct coap_pipe *p =
        sock->session && !sock->endpoint ? find(coap_seam_session(sock->session), sock->session) : NULL;
    if (!p || !p->out.len || p->parked)
        return;
    ssize_t sent = __real_coap_socket_write(sock, p->out.data, p->out.len);
    sock->flags &= (uint16_t)~COAP_SOCKET_WANT_WRITE;
    if (sent < 0) { // reading says why
        buf_destroy(&p->out);
        return;
    }
    buf_consume(&p->out, (uint32_t)sent);
    if (!p->out.len)
        buf_destroy(&p->out);
    watch(p);
}

// --- reading ------------------------------------------------------------------------------------------------------

static void on_message(void *arg, const struct coap_checked *m, const char *words)
{
    struct coap_pipe *p = arg;
    struct error err;
    if (p->served)
        return;
    if (m->option)
        coap_answer_refused(p->conn, m);
    if (m->code == COAP_SIGNALING_CODE_RELEASE)
        error_set(&err, ERR_CLOSED, "the server released the connection (7.04 Release)%s%s", words[0] ? ": " : "",
                  words);
    else if (m->code == COAP_SIGNALING_CODE_ABORT)
        error_set(&err, ERR_CLOSED, "the server aborted the connection (7.05 Abort)%s%s", words[0] ? ": " : "", words);
    else
        return;
    coap_conn_lose(p->conn, err.code, err.text);
}

// Clear text at data, behind what was held of a header. Returns how many bytes libcoap may read, -1: none any more.
static ssize_t judge(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    const struct coap_stream_events events = {on_message, p};
    struct error err;
    ptrdiff_t good = coap_stream_next(&p->stream, data, n, &events, &err);
    if (good >= 0)
        return good;
    struct coap_checked checked = {.why = err.text};
    coap_seam_malformed(p->conn, &checked);
    error_prefix(&err, "what came is no CoAP");
    end(p, &err);
    return -1;
}

// A server that speaks something else on a port for TLS: OpenSSL has no good words for it.
static ssize_t first_of_tls(struct coap_pipe *p, const uint8_t *data, ssize_t n)
{
    struct error err;
    bool first = !p->spoken;
    p->spoken = true;
    if (!first || p->served || p->conn->target->proto != COAP_PROTO_TLS || (data[0] >= 20 && data[0] <= 24))
        return n;
    transport_explain_answer(data, (size_t)n, &err);
    end(p, &err);
    return -1;
}

// Bytes have come from the network. False: the hook has kept them.
static bool arrived(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    struct coap_conn *c = p->conn;
    struct coap_piece piece = {.served = p->served, .stream = true, .bytes = data, .n = n};
    if (!p->served)
        coap_conn_heard(c);
    return coap_seam_asks(c, &piece);
}

// Into the device's path. The end follows the bytes as a byte of its own: a path knows no ends.
static bool held_up(struct coap_pipe *p, const uint8_t *data, size_t n)
{
    if (!p->conn->route || coap_route_stream(p, PATH_DOWN, data, n))
        return false;
    p->down += (uint32_t)n;
    return true;
}

static bool end_held_up(struct coap_pipe *p)
{
    static const uint8_t mark[1];
    if (!held_up(p, mark, sizeof mark))
        return false;
    p->ended = true;
    watch(p);
    return true;
}

// Raw bytes, as they come from the network. -1: the end, 0: nothing now.
static ssize_t take(struct coap_pipe *p, uint8_t *data, size_t n)
{
    struct coap_conn *c = p->conn;
    if (p->broken)
        return -1;
    if (p->in.len) {
        size_t some = p->in.len < n ? p->in.len : n;
        memcpy(data, p->in.data, some);
        buf_consume(&p->in, (uint32_t)some);
        if (!p->in.len)
            buf_destroy(&p->in);
        return (ssize_t)some;
    }
    if (p->parked)
        return 0;
    if (p->ended)
        return p->down ? 0 : -1;
    ssize_t got = __real_coap_socket_read(p->socket, data, n);
    if (got < 0 && end_held_up(p))
        return 0;
    if (got <= 0)
        return got;
    counter_add(c->target->series.bytes_received, (uint64_t)got);
    if (held_up(p, data, (size_t)got))
        return 0;
    return arrived(p, data, (size_t)got) ? first_of_tls(p, data, got) : 0;
}

ssize_t __wrap_coap_socket_read(struct coap_socket_t *sock, uint8_t *data, size_t n)
{
    struct coap_pipe *p = pipe_of(sock);
    if (!p)
        return __real_coap_socket_read(sock, data, n);
    size_t held = p->stream.n_held;
    bool plain = p->conn->target->proto == COAP_PROTO_TCP;
    if (!plain)
        return take(p, data, n);
    memcpy(data, p->stream.held, held);
    ssize_t got = take(p, data + held, n - held);
    return got > 0 ? judge(p, data, held + (size_t)got) : got;
}

ssize_t __wrap_coap_tls_read(coap_session_t *session, uint8_t *data, size_t n)
{
    struct coap_conn *c = coap_seam_session(session);
    struct coap_pipe *p = find(c, session);
    if (!p)
        return __real_coap_tls_read(session, data, n);
    size_t held = p->stream.n_held;
    memcpy(data, p->stream.held, held);
    ssize_t got = __real_coap_tls_read(session, data + held, n - held);
    p = find(c, session);
    if (got <= 0 || !p)
        return got;
    ssize_t good = judge(p, data, held + (size_t)got);
    // libcoap reads on when its buffer was full, and now it was not quite.
    if (good >= 0 && (size_t)got == n - held && p->stream.n_held) {
        p->more = true;
        coap_target_due(c->target, c);
    }
    return good;
}

void coap_pipes_work(struct coap_conn *c)
{
    for (struct coap_pipe *p = c->pipes; p;) {
        if (!p->more) {
            p = p->next;
            continue;
        }
        p->more = false;
        coap_pool_read(coap_pool_of(coap_session_get_context(p->session)), p->socket);
        p = c->pipes; // it may be gone
    }
}

// --- from outside -------------------------------------------------------------------------------------------------

void coap_pipes_freeze(struct coap_conn *c, bool frozen)
{
    for (struct coap_pipe *p = c->pipes; p; p = p->next) {
        if (p->parked == frozen)
            continue;
        p->parked = frozen;
        watch(p); // what waits to be sent goes out when it is writable
        p->more = !frozen && (p->in.len || p->ended);
        if (p->more)
            coap_target_due(c->target, c);
    }
}

// Has libcoap read what lies here, and come to the end.
static void feed(struct coap_pipe *p)
{
    struct coap_conn *c = p->conn;
    const coap_session_t *session = p->session;
    uint32_t before = UINT32_MAX;
    coap_conn_enter(c);
    while (p && !p->parked && p->in.len < before && (p->in.len || p->ended || p->broken)) {
        before = p->in.len;
        coap_pool_read(coap_pool_of(coap_session_get_context(session)), p->socket);
        p = find(c, session);
    }
    coap_conn_leave(c);
}

int coap_pipe_pass(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    struct coap_pipe *p = find(c, c->session);
    if (!p)
        return error_set(err, ERR_STATE, "nothing was sent on this connection yet");
    if (down)
        return send_on(p, bytes, n) ? 0 : error_set(err, ERR_CLOSED, "the connection is at its end");
    if (buf_append(&p->in, bytes, n))
        return error_set(err, ERR_LIMIT, "%u bytes wait to be read already", p->in.len);
    feed(p);
    return 0;
}

// --- from the path ------------------------------------------------------------------------------------------------

static void arrive(struct coap_pipe *p, const uint8_t *bytes, size_t n)
{
    struct error err;
    if (!arrived(p, bytes, n) || first_of_tls(p, bytes, (ssize_t)n) < 0 || buf_append(&p->in, bytes, n) == 0)
        return;
    error_set(&err, ERR_LIMIT, "%u bytes wait to be read already", p->in.len);
    end(p, &err);
}

void coap_pipe_deliver(struct coap_pipe *p, bool up, const uint8_t *bytes, size_t n)
{
    if (up) {
        p->up -= (uint32_t)n;
        if (p->socket->fd >= 0 && !p->broken)
            (void)put(p, bytes, n); // when it fails, reading says why
        return;
    }
    p->down -= (uint32_t)n;
    if (p->ended && !p->down)
        n--; // the mark
    if (n && !p->broken)
        arrive(p, bytes, n);
    feed(p);
}

void coap_pipe_cut(struct coap_pipe *p, const struct error *why)
{
    static const struct linger reset = {1, 0};
    if (p->socket->fd >= 0)
        (void)setsockopt(p->socket->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    p->up = p->down = 0;
    buf_destroy(&p->in);
    end(p, why);
    feed(p);
}

void coap_pipe_throttle(struct coap_pipe *p, bool stop)
{
    p->full = stop;
    watch(p);
}
