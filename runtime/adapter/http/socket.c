#include "adapter/http/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adapter/http/bridge.h"
#include "adapter/http/exchange.h"
#include "core/log.h"
#include "link/path.h"

#define QUIET_READ 16384 // libcurl reads at least so much at an event, if it is there

static void end(struct http_socket *s, enum adapter_close mode);

// What libcurl swallows without a word (empty frames of DATA, PING, extensions of chunks) would keep it at work until
// the deadline of the request. False: it was too much, and the connection has ended.
static bool is_bearable(struct http_socket *s)
{
    struct http_lane *lane = s->lane ? s->lane : s->conn ? &s->conn->lane : NULL;
    int waits = 0;
    if (!lane || lane->heard != s->heard || s->frozen) {
        s->heard = lane ? lane->heard : 0;
        s->quiet_bytes = 0;
        return true;
    }
    if (ioctl(s->io.fd, FIONREAD, &waits) == 0 && waits > 0)
        s->quiet_bytes += waits < QUIET_READ ? (uint32_t)waits : QUIET_READ;
    if (s->quiet_bytes <= HTTP_QUIET_BYTES)
        return true;
    // Of others that share a pool, and among several connections, nobody knows whose it is: to them it has closed.
    for (struct http_node *n = s->conn ? s->conn->exchanges.next : NULL; n && n != &s->conn->exchanges; n = n->next) {
        struct http_exchange *x = container_of(n, struct http_exchange, node);
        if (x->easy && x->lane == s->lane && !x->err.code && (!s->lane || s->lane->sockets == 1))
            error_set(&x->err, ERR_LIMIT, "the server has sent %u bytes that are neither headers nor a body",
                      HTTP_QUIET_BYTES);
    }
    end(s, ADAPTER_ABRUPT);
    return false;
}

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct http_socket *s = container_of(io, struct http_socket, io);
    int events = (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)ev;
    if (revents & EV_READ && !is_bearable(s))
        events |= CURL_CSELECT_ERR;
    http_multi_run(s->multi, io->fd, events);
}

static void watch(struct http_socket *s)
{
    struct ev_loop *ev = loop_ev(s->target->env.loop);
    int wanted = s->frozen ? 0 : s->wanted;
    if (ev_is_active(&s->io) && (s->io.events & (EV_READ | EV_WRITE)) == wanted)
        return;
    ev_io_stop(ev, &s->io);
    ev_io_set(&s->io, s->io.fd, wanted);
    if (wanted)
        ev_io_start(ev, &s->io);
}

static struct http_socket *find(struct http_target *t, curl_socket_t fd)
{
    return fd >= 0 && (unsigned)fd < t->n_sockets_max ? t->sockets[fd] : NULL;
}

static struct http_socket *remember(struct http_target *t, int fd, struct http_exchange *x)
{
    if ((unsigned)fd >= t->n_sockets_max) {
        unsigned n = (unsigned)fd + 1 > 2 * t->n_sockets_max ? (unsigned)fd + 64 : 2 * t->n_sockets_max;
        struct http_socket **grown = realloc(t->sockets, n * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + t->n_sockets_max, 0, (n - t->n_sockets_max) * sizeof *grown);
        t->sockets = grown;
        t->n_sockets_max = n;
    }
    struct http_socket *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    struct adapter_conn *c = x->conn;
    bool shared = x->lane == &t->shared && !c->path;
    *s = (struct http_socket){.target = t, .multi = c->multi, .lane = x->lane, .conn = shared ? NULL : c};
    ev_io_init(&s->io, on_io, fd, 0);
    if (!shared) {
        s->next = c->sockets;
        s->prev = &c->sockets;
        if (s->next)
            s->next->prev = &s->next;
        c->sockets = s;
    }
    if (s->lane)
        s->lane->sockets++;
    t->sockets[fd] = s;
    s->opener = x;
    x->socket = x->opened = s;
    t->n_sockets++;
    gauge_add(t->series.http_connections, 1);
    return s;
}

static void leave_conn(struct http_socket *s)
{
    if (s->prev) {
        *s->prev = s->next;
        if (s->next)
            s->next->prev = s->prev;
        s->prev = NULL;
    }
    if (s->lane)
        s->lane->sockets--;
    s->conn = NULL;
    s->lane = NULL;
}

static void forget(struct http_socket *s)
{
    struct http_target *t = s->target;
    ev_io_stop(loop_ev(t->env.loop), &s->io);
    http_bridge_delete(s->bridge, s->crashes ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
    leave_conn(s);
    if (s->opener) {
        if (s->opener->socket == s)
            s->opener->socket = NULL;
        s->opener->opened = NULL;
    }
    t->sockets[s->io.fd] = NULL;
    t->n_sockets--;
    gauge_add(t->series.http_connections, -1);
    free(s);
}

static int bind_source(int fd, struct http_target *t, const struct link_addr *to, struct link_addr *source,
                       struct error *err)
{
    struct link_totals totals = {0};
    if (t->env.links)
        link_env_totals(t->env.links, &totals);
    error_clear(err);
    const struct link_addr *from = sources_next(t->sources, to, totals.open + t->n_sockets - t->n_bridges, err);
    if (!from)
        return err->code ? -1 : 0;
    *source = *from;
    if (fd < 0) // a link will bind
        return 0;
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&from->addr, from->len) == 0 || sources_automatic(t->sources))
        return 0;
    return error_set_errno(err, "cannot bind the source address");
}

// A descriptor for a connection to `to`.
static int open_direct(struct http_exchange *x, const struct link_addr *to, struct error *err)
{
    struct http_target *t = x->conn->target;
    struct link_addr source = {.len = 0};
    int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, "socket");
    if (bind_source(fd, t, to, &source, err) == 0) {
        if (remember(t, fd, x))
            return fd;
        error_set(err, ERR_NO_MEMORY, "no memory for a socket");
    }
    close(fd);
    return -1;
}

// *url: what dest->host points into.
static int destination_of(struct http_exchange *x, struct http_destination *dest, struct url *url, struct error *err)
{
    struct http_target *t = x->conn->target;
    *dest = (struct http_destination){.host = t->url.host, .tls = t->tls};
    if (!x->foreign) {
        dest->to = t->addrs[t->preferred % t->n_addrs];
        return 0;
    }
    if (http_exchange_origin(x, url, err) < 0)
        return -1;
    dest->host = url->host;
    dest->tls = strcmp(url->scheme, "https") == 0;
    dest->to = x->addr;
    return 0;
}

// The same over the path of its device; *to becomes what libcurl is to connect to.
static int open_on_path(struct http_exchange *x, struct link_addr *to, struct error *err)
{
    struct http_target *t = x->conn->target;
    struct http_destination dest;
    struct url url = {.port = 0};
    int fd;
    if (destination_of(x, &dest, &url, err) < 0 || bind_source(-1, t, &dest.to, &dest.source, err) < 0)
        return -1;
    struct http_bridge *b = http_bridge_new(t, &fd, to, err);
    if (!b)
        return -1;
    struct http_socket *s = remember(t, fd, x);
    if (!s)
        error_set(err, ERR_NO_MEMORY, "no memory for a socket");
    else if (http_bridge_dial(b, s, x->conn->path, &dest, err) == 0)
        return fd;
    else
        forget(s);
    http_bridge_delete(b, ADAPTER_ABRUPT);
    close(fd);
    return -1;
}

curl_socket_t http_socket_open(void *clientp, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_exchange *x = clientp;
    struct http_target *t = x->conn->target;
    struct link_addr to = x->foreign ? x->addr : t->addrs[t->preferred % t->n_addrs];
    bool on_path = x->conn->path && t->env.links;
    (void)purpose;
    if (x->over_open) {
        x->reopen = true;
        return CURL_SOCKET_BAD;
    }
    x->connect_us = loop_fresh_us(t->env.loop);
    x->connected = false; // libcurl may connect again by itself
    http_socket_abandoned(x);
    int fd = on_path ? open_on_path(x, &to, &x->err) : open_direct(x, &to, &x->err);
    if (fd < 0)
        x->socket = NULL;
    address->family = to.addr.ss_family;
    address->addrlen = (unsigned)to.len;
    // libcurl's own struct has room for any address behind the one it declares (a union with sockaddr_storage).
    memcpy((char *)address + offsetof(struct curl_sockaddr, addr), &to.addr, to.len);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

int http_socket_close(void *clientp, curl_socket_t fd)
{
    struct http_socket *s = find(clientp, fd);
    if (s)
        forget(s);
    return close(fd);
}

void http_socket_abandoned(struct http_exchange *x)
{
    if (x->opened)
        forget(x->opened);
}

int http_socket_watch(CURL *easy, curl_socket_t fd, int what, void *userp, void *socketp)
{
    struct http_multi *m = userp;
    struct http_socket *s = socketp ? socketp : find(m->target, fd);
    (void)easy;
    if (!s)
        return 0; // closed already
    if (!socketp && what != CURL_POLL_REMOVE)
        curl_multi_assign(m->curl, fd, s);
    s->wanted = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
    watch(s);
    return 0;
}

void http_socket_replace(struct http_socket *s, int fd)
{
    ev_io_stop(loop_ev(s->target->env.loop), &s->io);
    (void)dup3(fd, s->io.fd, O_CLOEXEC); // both are open: it does not fail
    close(fd);
    watch(s);
}

static void end(struct http_socket *s, enum adapter_close mode)
{
    if (s->bridge) {
        http_bridge_delete(s->bridge, mode);
        shutdown(s->io.fd, SHUT_RDWR);
        return;
    }
    // A connect to nowhere is how Linux sends RST on a socket that somebody else will close.
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    if (mode == ADAPTER_GRACEFUL || connect(s->io.fd, &nowhere, sizeof nowhere) < 0)
        shutdown(s->io.fd, SHUT_RDWR);
}

void http_sockets_crash(struct adapter_conn *c)
{
    const struct linger rst = {.l_onoff = 1, .l_linger = 0};
    for (struct http_socket *s = c->sockets; s; s = s->next) {
        s->crashes = true;
        if (!s->bridge)
            setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    }
}

void http_sockets_end(struct adapter_conn *c, enum adapter_close mode)
{
    while (c->sockets) {
        struct http_socket *s = c->sockets;
        s->frozen = false;
        end(s, mode);
        leave_conn(s);
    }
}

void http_lane_end(struct adapter_conn *c, struct http_lane *lane)
{
    for (struct http_socket *s = c->sockets, *next; s; s = next) {
        next = s->next;
        if (s->lane != lane)
            continue;
        s->frozen = false;
        end(s, ADAPTER_GRACEFUL);
        leave_conn(s);
    }
}

void http_sockets_freeze(struct adapter_conn *c, bool frozen)
{
    for (struct http_socket *s = c->sockets; s; s = s->next) {
        s->frozen = frozen;
        watch(s);
        if (s->bridge)
            http_bridge_freeze(s->bridge, frozen);
    }
}

// --- the device's path --------------------------------------------------------------------------------------------

static void put_on_path(struct http_socket *s, struct path *p)
{
    struct http_target *t = s->target;
    struct http_exchange *x = s->opener;
    struct http_destination dest = {.host = s->lane ? t->url.host : NULL, .tls = t->tls};
    struct url url = {.port = 0};
    struct error err;
    if ((!x || (destination_of(x, &dest, &url, &err) == 0 && bind_source(-1, t, &dest.to, &dest.source, &err) == 0)) &&
        http_bridge_take(s, p, &dest, &err) == 0)
        return;
    int64_t now = loop_now_us(t->env.loop);
    if (now - t->path_complained_us >= HTTP_COMPLAIN_US) {
        t->path_complained_us = now;
        log_write(t->env.log, LOG_WARN, NULL, "an open connection to %s goes on without the faults of its network: %s",
                  t->origin, err.text);
    }
}

static bool uses_pool(const struct adapter_conn *c)
{
    for (const struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        const struct http_exchange *x = container_of(node, struct http_exchange, node);
        if (x->easy && x->lane == &c->target->shared)
            return true;
    }
    return false;
}

void http_sockets_follow(struct adapter_conn *c)
{
    struct http_lane *pool = &c->target->shared;
    http_multi_resize(c->multi);
    bool busy = c->path || c->own_tls == HTTP_CREDENTIAL_KNOWN || uses_pool(c);
    for (struct http_socket *s = c->sockets, *next; s; s = next) {
        next = s->next;
        if (c->path) {
            put_on_path(s, c->path);
        } else if (s->lane == pool && !busy) {
            end(s, ADAPTER_GRACEFUL);
            leave_conn(s);
        }
    }
}
