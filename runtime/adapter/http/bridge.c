#include "adapter/http/bridge.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "adapter/http/exchange.h"
#include "core/log.h"
#include "link/path.h"

#define CHUNK 16384u
#define UP_MAX (512u << 10)   // unsent: libcurl's end is not read; above the receiver's window of a path
#define DOWN_MAX (512u << 10) // libcurl has not taken; the link is held from the first byte, so a path's 256 KB fit
#define LOOK_AGAIN_US 10000

enum state {
    DIALLING, // libcurl has the placeholder
    JOINING,  // the stream is there, the link is not up yet
    CARRYING,
    ENDED, // the server's end is gone; libcurl has not taken all of it
    DONE,  // libcurl knows
};

struct http_bridge {
    struct link link; // to the server
    ev_io io;         // our end of the stream, or of the placeholder; fd -1: closed
    struct timer timer;
    struct http_target *target;
    struct http_socket *socket;
    struct buf down; // what libcurl's end did not take
    uint8_t state;
    bool reset, frozen, sated; // sated: UP_MAX is reached
};

static struct http_bridge *bridge_of(struct link *link)
{
    return container_of(link, struct http_bridge, link);
}

// --- our end of the stream

static void watch(struct http_bridge *b)
{
    struct ev_loop *ev = loop_ev(b->target->env.loop);
    int wanted = (b->state == CARRYING && !b->sated ? EV_READ : 0) | (b->down.len ? EV_WRITE : 0);
    int fd = b->io.fd;
    if (fd < 0 || b->frozen || b->state == DIALLING)
        wanted = 0;
    if (ev_is_active(&b->io) && (b->io.events & (EV_READ | EV_WRITE)) == wanted)
        return;
    ev_io_stop(ev, &b->io);
    if (!wanted)
        return;
    ev_io_set(&b->io, fd, wanted);
    ev_io_start(ev, &b->io);
}

static void drop_end(struct http_bridge *b)
{
    if (b->io.fd < 0)
        return;
    ev_io_stop(loop_ev(b->target->env.loop), &b->io);
    close(b->io.fd);
    b->io.fd = -1;
}

// libcurl reads what there is, then the end. A stream whose one end goes with unread bytes ends at the other one with
// ECONNRESET.
static void tell_end(struct http_bridge *b)
{
    uint8_t bytes[CHUNK];
    b->state = DONE;
    if (b->reset)
        (void)!send(b->socket->io.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        while (recv(b->io.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            ;
    buf_destroy(&b->down);
    drop_end(b);
}

static void ended(struct http_bridge *b, bool reset)
{
    b->state = ENDED;
    b->reset = reset;
    if (b->down.len)
        watch(b);
    else
        tell_end(b);
}

// --- up -----------------------------------------------------------------------------------------------------------

static uint32_t up_max(const struct http_bridge *b)
{
    uint32_t half = link_env_max_out(b->link.env) / 2;
    return half < UP_MAX ? half : UP_MAX;
}

static void on_look_again(struct timer *timer, void *loop);

// What a path holds falls to 0 only when the last of it has been acknowledged: waiting for that (on_drain) alone would
// leave the path idle for a round trip each time.
static bool sated(struct http_bridge *b)
{
    size_t unsent = link_unsent(&b->link), max = up_max(b);
    b->sated = unsent >= (b->sated ? max - max / 4 : max);
    if (b->sated)
        loop_timer_start(b->target->env.loop, &b->timer, LOOK_AGAIN_US, on_look_again);
    return b->sated;
}

static void on_look_again(struct timer *timer, void *loop)
{
    struct http_bridge *b = container_of(timer, struct http_bridge, timer);
    (void)loop;
    if (b->state == CARRYING && !sated(b))
        watch(b);
}

// One piece of what libcurl has written. False: there is no more for now, or never again (not CARRYING).
static bool pull(struct http_bridge *b)
{
    uint8_t bytes[CHUNK];
    struct error err;
    ssize_t n = recv(b->io.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0 && link_send(&b->link, bytes, (size_t)n, &err) == 0)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    // libcurl has closed its end; or there is no memory: a gap would be worse than an end.
    link_close(&b->link, n > 0 ? LINK_ABORT : LINK_FLUSH);
    ended(b, n > 0);
    return false;
}

static void up(struct http_bridge *b)
{
    while (b->state == CARRYING && !sated(b) && pull(b))
        ;
    watch(b);
}

static void on_drain(struct link *link)
{
    struct http_bridge *b = bridge_of(link);
    if (!b->sated)
        return;
    b->sated = false;
    loop_timer_stop(b->target->env.loop, &b->timer);
    watch(b);
}

// --- down ---------------------------------------------------------------------------------------------------------

static void flush(struct http_bridge *b)
{
    while (b->down.len) {
        ssize_t n = send(b->io.fd, b->down.data, b->down.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        buf_consume(&b->down, n < 0 ? b->down.len : (uint32_t)n); // n < 0: libcurl reads no more
    }
    buf_destroy(&b->down);
    if (b->state == ENDED)
        tell_end(b);
    else
        link_hold(&b->link, false);
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct http_bridge *b = bridge_of(link);
    ssize_t taken = 0;
    if (!b->down.len) {
        taken = send(b->io.fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken == (ssize_t)n || (taken < 0 && errno != EAGAIN))
            return;
        taken = taken < 0 ? 0 : taken;
    }
    if (buf_append(&b->down, bytes + taken, n - (size_t)taken) < 0) {
        link_close(link, LINK_ABORT);
        ended(b, true);
        return;
    }
    link_hold(link, true);
    watch(b);
}

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct http_bridge *b = container_of(io, struct http_bridge, io);
    (void)ev;
    if (revents & EV_WRITE && b->down.len)
        flush(b);
    if (revents & EV_READ && b->state == CARRYING)
        up(b);
    else
        watch(b);
}

// --- beginning and end --------------------------------------------------------------------------------------------

// libcurl 7.88 takes a connection whose peer has no name for one that is still being looked up, and would not use it
// again. A name of the file system it must be: an abstract one begins with NUL. Nothing of it stays.
static bool name_end(int fd)
{
    static const char *const dirs[] = {"/dev/shm", "/tmp"}; // the former is there in containers without a disk, too
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct timespec now;
    for (unsigned i = 0; i < 4; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        snprintf(un.sun_path, sizeof un.sun_path, "%s/iotix-%lx-%x-%lx", dirs[i % 2], (long)getpid(), (unsigned)fd,
                 now.tv_sec * 1000000000 + now.tv_nsec);
        if (bind(fd, (struct sockaddr *)&un, sizeof un) == 0) {
            unlink(un.sun_path);
            return true;
        }
    }
    return false;
}

static int stream(struct http_target *t, int ends[2], struct error *err)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, "a stream between libcurl and its device's network");
    if (!name_end(ends[0]) && !t->nameless) {
        t->nameless = true;
        log_write(
            t->env.log, LOG_WARN, NULL,
            "%s: neither /dev/shm nor /tmp can be written to: devices whose network is impaired make a connection "
            "for each request",
            t->origin);
    }
    return 0;
}

// The connect has failed: libcurl looks at its descriptor, and http_explain at why.
static void fail(struct http_bridge *b, const struct error *why)
{
    struct http_exchange *x = b->socket->opener;
    if (x && !x->err.code)
        x->err = *why;
    b->state = DONE;
    shutdown(b->socket->io.fd, SHUT_RDWR);
    drop_end(b);
}

static void on_open(struct link *link)
{
    struct http_bridge *b = bridge_of(link);
    struct error err;
    int ends[2];
    if (b->state == DIALLING) {
        drop_end(b);
        if (stream(b->target, ends, &err) < 0) {
            link_close(link, LINK_FLUSH);
            fail(b, &err);
            return;
        }
        b->io.fd = ends[0];
        http_socket_replace(b->socket, ends[1]);
    }
    b->state = CARRYING;
    link_pause(link, b->frozen);
    watch(b);
}

static void on_close(struct link *link, const struct error *why)
{
    struct http_bridge *b = bridge_of(link);
    if (b->state == DIALLING)
        fail(b, why);
    else
        ended(b, link_was_reset(link));
}

static const struct link_events events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};

// A pair of datagram sockets: connected, but with its buffer full and nobody who reads, so never writable; connecting
// it to its other end again changes nothing.
static int placeholder(int ends[2], struct link_addr *via, struct error *err)
{
    static const uint8_t filler[2048];
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int small = 1;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, "a place to wait for the connection");
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small); // the kernel's least, some 4 KB
    while (send(ends[1], filler, sizeof filler, MSG_NOSIGNAL) > 0)
        ;
    struct pollfd writable = {.fd = ends[1], .events = POLLOUT};
    *via = (struct link_addr){.len = sizeof via->addr};
    // Without a path it gets a name of the kernel's choice.
    if (bind(ends[0], (struct sockaddr *)&any, sizeof any.sun_family) == 0 &&
        getsockname(ends[0], (struct sockaddr *)&via->addr, &via->len) == 0 && poll(&writable, 1, 0) == 0)
        return 0;
    error_set(err, ERR_UNSUPPORTED,
              "this kernel has no sockets that wait: the network of an HTTP device cannot be "
              "impaired on it");
    close(ends[0]);
    close(ends[1]);
    return -1;
}

static struct http_bridge *make(struct http_target *t, struct error *err)
{
    struct http_bridge *b = calloc(1, sizeof *b);
    if (!b) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection over a path");
        return NULL;
    }
    b->target = t;
    link_create(&b->link, t->env.links, &events);
    buf_create(&b->down, DOWN_MAX);
    ev_init(&b->io, on_io);
    b->io.fd = -1;
    t->n_bridges++;
    return b;
}

struct http_bridge *http_bridge_new(struct http_target *t, int *fd, struct link_addr *via, struct error *err)
{
    int ends[2];
    struct http_bridge *b = make(t, err);
    if (!b)
        return NULL;
    if (placeholder(ends, via, err) < 0) {
        http_bridge_delete(b, ADAPTER_ABRUPT);
        return NULL;
    }
    b->io.fd = ends[0];
    *fd = ends[1];
    return b;
}

int http_bridge_dial(struct http_bridge *b, struct http_socket *s, struct path *p, const struct http_destination *dest,
                     struct error *err)
{
    const struct path_peer peer = {.protocol = "http", .host = dest->host, .addr = dest->to, .tls = dest->tls};
    if (path_attach_link(p, &b->link, &peer, err) < 0 ||
        link_open(&b->link, &dest->to, dest->source.len ? &dest->source : NULL, err) < 0)
        return -1;
    b->socket = s;
    s->bridge = b;
    return 0;
}

void http_bridge_delete(struct http_bridge *b, enum adapter_close mode)
{
    if (!b)
        return;
    loop_timer_stop(b->target->env.loop, &b->timer);
    while (mode == ADAPTER_GRACEFUL && b->state == CARRYING && pull(b))
        ;
    link_close(&b->link, mode == ADAPTER_GRACEFUL ? LINK_FLUSH : LINK_ABORT);
    drop_end(b);
    buf_destroy(&b->down);
    b->target->n_bridges--;
    if (b->socket)
        b->socket->bridge = NULL;
    free(b);
}

// --- connections that are there already ---------------------------------------------------------------------------

// Its connect is under way: it is made anew, over the path.
static int take_connecting(struct http_socket *s, struct path *p, const struct http_destination *dest,
                           struct error *err)
{
    struct link_addr via;
    int fd;
    struct http_bridge *b = http_bridge_new(s->target, &fd, &via, err);
    if (!b)
        return -1;
    if (http_bridge_dial(b, s, p, dest, err) < 0) {
        close(fd);
        http_bridge_delete(b, ADAPTER_ABRUPT);
        return -1;
    }
    http_socket_replace(s, fd);
    return 0;
}

// Of a connection that is there. fd: to the server, -1: there is none yet.
static struct path_peer peer_of(const struct http_socket *s, int fd, const struct http_destination *dest)
{
    // Only a handshake that is still under way can fail.
    struct path_peer peer = {.protocol = "http", .host = dest->host, .tls = dest->tls && s->opener};
    peer.addr.len = sizeof peer.addr.addr;
    if (getpeername(fd, (struct sockaddr *)&peer.addr.addr, &peer.addr.len) < 0)
        peer.addr = dest->to;
    return peer;
}

static int take_open(struct http_socket *s, struct path *p, const struct http_destination *dest, struct error *err)
{
    const struct path_peer peer = peer_of(s, s->io.fd, dest);
    int ends[2] = {-1, -1}, fd = -1;
    struct http_bridge *b = make(s->target, err);
    if (!b)
        return -1;
    if (stream(s->target, ends, err) == 0 && (fd = fcntl(s->io.fd, F_DUPFD_CLOEXEC, 0)) < 0)
        error_set_errno(err, "a connection that is to pass through its device's network");
    if (fd >= 0 && path_attach_link(p, &b->link, &peer, err) == 0 && link_adopt(&b->link, fd, err) == 0) {
        b->io.fd = ends[0];
        b->state = JOINING;
        b->frozen = s->frozen;
        b->socket = s;
        s->bridge = b;
        http_socket_replace(s, ends[1]);
        return 0;
    }
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    if (fd >= 0)
        close(fd);
    http_bridge_delete(b, ADAPTER_ABRUPT);
    return -1;
}

int http_bridge_take(struct http_socket *s, struct path *p, const struct http_destination *dest, struct error *err)
{
    struct tcp_info info = {.tcpi_state = TCP_CLOSE};
    socklen_t len = sizeof info;
    if (s->bridge) {
        const struct path_peer peer = peer_of(s, s->bridge->link.io.fd, dest);
        return s->bridge->state < ENDED ? path_attach_link(p, &s->bridge->link, &peer, err) : 0;
    }
    if (getsockopt(s->io.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return error_set_errno(err, "a connection that is to pass through its device's network");
    if (info.tcpi_state == TCP_SYN_SENT)
        return s->opener ? take_connecting(s, p, dest, err) : 0;
    if (info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_CLOSE_WAIT)
        return take_open(s, p, dest, err);
    return 0; // it has ended
}

void http_bridge_freeze(struct http_bridge *b, bool frozen)
{
    b->frozen = frozen;
    link_pause(&b->link, frozen);
    watch(b);
}

size_t http_bridge_footprint(const struct http_bridge *b)
{
    return sizeof *b + link_footprint(&b->link) + b->down.size;
}

size_t http_bridge_unsent(const struct http_bridge *b)
{
    return link_unsent(&b->link);
}
