#include "adapter/http/socket.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adapter/http/exchange.h"

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct http_socket *s = container_of(io, struct http_socket, io);
    int events = (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)ev;
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
    bool shared = x->lane == &t->shared;
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

static int bind_source(int fd, struct http_target *t, const struct link_addr *to, struct link_addr *source,
                       struct error *err)
{
    struct link_totals totals = {0};
    if (t->env.links)
        link_env_totals(t->env.links, &totals);
    error_clear(err);
    const struct link_addr *from = sources_next(t->sources, to, totals.open + t->n_sockets, err);
    if (!from)
        return err->code ? -1 : 0;
    *source = *from;
    if (fd < 0)
        return 0;
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&from->addr, from->len) == 0 || sources_automatic(t->sources))
        return 0;
    return error_set_errno(err, "cannot bind the source address");
}

// A descriptor for a connection to `to`; *to becomes what to connect to.
static int open_for(struct http_target *t, struct link_addr *to, struct error *err)
{
    struct link_addr source = {.len = 0}, via = {.len = 0};
    const struct http_socket_hook *hook = t->socket_hook;
    if (hook && (bind_source(-1, t, to, &source, err) < 0 || hook->route(hook->arg, to, &source, &via, err) < 0))
        return -1;
    if (hook)
        *to = via;
    int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, "socket");
    if (hook || bind_source(fd, t, to, &source, err) == 0)
        return fd;
    close(fd);
    return -1;
}

curl_socket_t http_socket_open(void *clientp, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_exchange *x = clientp;
    struct http_target *t = x->conn->target;
    struct link_addr to = x->foreign ? x->addr : t->addrs[t->preferred % t->n_addrs];
    (void)purpose;
    x->connect_us = loop_fresh_us(t->env.loop);
    x->connected = false; // libcurl may connect again by itself
    http_socket_abandoned(x);
    int fd = open_for(t, &to, &x->err);
    if (fd >= 0 && !remember(t, fd, x)) {
        close(fd);
        fd = error_set(&x->err, ERR_NO_MEMORY, "no memory for a socket");
    }
    if (fd < 0)
        x->socket = NULL;
    address->family = to.addr.ss_family;
    address->addrlen = (unsigned)to.len;
    // libcurl's own struct has room for any address behind the one it declares (a union with sockaddr_storage).
    memcpy((char *)address + offsetof(struct curl_sockaddr, addr), &to.addr, to.len);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
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

static void end(struct http_socket *s, enum adapter_close mode)
{
    // A connect to nowhere is how Linux sends RST on a socket that somebody else will close.
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    if (mode == ADAPTER_GRACEFUL || connect(s->io.fd, &nowhere, sizeof nowhere) < 0)
        shutdown(s->io.fd, SHUT_RDWR);
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
    }
}
