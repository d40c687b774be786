// Links: non-blocking TCP sockets on the loop, what they send collected per turn.
//
// A link that has output sits in a fixed list of its env (at most DIRTY_MAX, so the buffers in use stay in cache and
// few); a hook at the end of the turn writes each with one system call and gives its buffer back to the pool. A link at
// rest therefore holds no buffer. A write that fails only marks the link: the owner may be in the middle of a publish,
// so the news is fed to the loop as an event of the descriptor and delivered from there, after what the peer still
// sent.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "link/link_env.h"
#include "link/linger.h"

#define LAST_READS 64u // reads after a failed write, to deliver what the peer had sent
void link_watch(struct link *link, int events)
{
    if (link->flags & LINK_HELD || link->satiated)
        events &= ~EV_READ;
    if (link->io.events == events && ev_is_active(&link->io))
        return;
    int fd = link->io.fd;
    ev_io_stop(link->env->ev, &link->io);
    if (!events)
        return;
    ev_io_set(&link->io, fd, events);
    ev_io_start(link->env->ev, &link->io);
}

void link_fail_later(struct link *link, int sys_errno)
{
    if (link->flags & LINK_FAILED)
        return;
    link->flags |= LINK_FAILED;
    link->sys_errno = (int16_t)sys_errno;
    ev_feed_event(link->env->ev, &link->io, EV_READ);
    loop_again(link->env->loop);
}

// Lets go of the descriptor and everything that hangs on it. linger: it is closed when the peer has ended too.
static void socket_leave(struct link *link, bool linger)
{
    if (link->io.fd < 0)
        return;
    ev_io_stop(link->env->ev, &link->io);
    link_dirty_remove(link);
    link_out_release(link);
    if (!linger || !lingerers_take(link->env->lingerers, link->io.fd))
        close(link->io.fd);
    link->io.fd = -1;
    link->flags = 0;
    link->env->totals.open--;
}

static void socket_release(struct link *link)
{
    socket_leave(link, false);
}

// A filter ends the link: what it still had to say (an alert, a close frame) is sent before the FIN.
static void socket_finish(struct link *link)
{
    if ((link->flags & (LINK_SOCKET | LINK_FAILED | LINK_PAUSED)) == LINK_SOCKET) {
        filter_stack_finish(link);
        if (filter_stack_leave(link, true))
            return;
        link_dirty_remove(link);
        link_write_out(link);
        socket_leave(link, !link->out);
        return;
    }
    socket_release(link);
}

void link_up(struct link *link)
{
    if (link->state != LINK_CONNECTING)
        return;
    link->state = LINK_OPEN;
    link->events->on_open(link);
}

void link_ended(struct link *link, const struct error *why)
{
    socket_finish(link); // a filter may end the link while the socket is fine
    link->state = LINK_CLOSED;
    filter_stack_unhook(link, &link->env->dead);
    link->events->on_close(link, why);
}

void link_end(struct link *link, const struct error *why)
{
    bool was_up = link->state == LINK_OPEN, reset = link->flags & LINK_RESET;
    socket_release(link);
    link->flags = (uint8_t)((was_up ? LINK_WAS_UP : 0) | (reset ? LINK_RESET : 0));
    link->state = LINK_CLOSING;
    if (link->top)
        filter_stack_closed(link, why);
    else
        link_ended(link, why);
}

// The result of connect().
static void established(struct link *link)
{
    struct error why;
    int sys = 0;
    socklen_t len = sizeof sys;
    // A descriptor that is no socket (link_adopt in a test harness) has no pending error.
    if (getsockopt(link->io.fd, SOL_SOCKET, SO_ERROR, &sys, &len) == 0 && sys) {
        errno = sys;
        error_set_errno(&why, "connect");
        link_end(link, &why);
        return;
    }
    link->flags |= LINK_SOCKET;
    link->opened_us = loop_fresh_us(link->env->loop);
    link_watch(link, EV_READ);
    if (link->top)
        filter_stack_opened(link);
    else
        link_up(link);
}

static void report_failure(struct link *link)
{
    struct error why;
    if (link->sys_errno) {
        link->flags |= LINK_RESET;
        errno = link->sys_errno;
        error_set_errno(&why, "write");
        if (why.code == ERR_IO)
            why.code = ERR_CLOSED;
    } else {
        error_set(&why, ERR_IO, "a filter of the link failed");
    }
    link_end(link, &why);
}

// One read, or after a failed write as many as it takes to reach the end.
static void read_in(struct link *link)
{
    struct link_env *env = link->env;
    struct error why;
    for (unsigned i = 0; i < LAST_READS; i++) {
        bool failed = link->flags & LINK_FAILED;
        ssize_t n = read(link->io.fd, env->read_buf, env->read_size);
        if (n > 0) {
            env->totals.reads++;
            env->totals.bytes_in += (uint64_t)n;
            if (link->top)
                filter_stack_up(link, env->read_buf, (size_t)n);
            else
                link->events->on_data(link, env->read_buf, (size_t)n);
            if (!failed || !(link->flags & LINK_SOCKET))
                return;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (failed)
            break;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n == 0) {
            error_set(&why, ERR_CLOSED, "closed by the peer");
        } else {
            link->flags |= LINK_RESET;
            error_set_errno(&why, "read");
            if (why.code == ERR_IO)
                why.code = ERR_CLOSED;
        }
        link_end(link, &why);
        return;
    }
    if (link->flags & LINK_FAILED)
        report_failure(link);
}

void link_drained(struct link *link)
{
    if (link->state == LINK_OPEN && !(link->flags & LINK_BLOCKED) && link->events->on_drain)
        link->events->on_drain(link);
}

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct link *link = container_of(io, struct link, io);
    (void)ev;
    if (io->fd < 0) { // severed, and a filter above failed
        if (link->flags & LINK_FAILED)
            report_failure(link);
        return;
    }
    if (!(link->flags & LINK_SOCKET)) {
        established(link);
        return;
    }
    if (revents & EV_WRITE && link->flags & LINK_BLOCKED && !(link->flags & LINK_FAILED)) {
        link->flags &= (uint8_t)~LINK_BLOCKED;
        link_write_out(link);
        if (!(link->flags & (LINK_BLOCKED | LINK_FAILED))) {
            link_watch(link, EV_READ);
            link_drained(link);
        }
    }
    if (link->flags & LINK_SOCKET && (revents & EV_READ || link->flags & LINK_FAILED))
        read_in(link);
}

void link_create(struct link *link, struct link_env *env, const struct link_events *events)
{
    memset(link, 0, sizeof *link);
    link->env = env;
    link->events = events;
    ev_init(&link->io, on_io);
    link->io.fd = -1;
}

static void start(struct link *link, int fd)
{
    struct link_env *env = link->env;
    link->flags = 0;
    link->satiated = false;
    link->sys_errno = 0;
    link->state = LINK_CONNECTING;
    env->totals.open++;
    ev_io_set(&link->io, fd, EV_WRITE);
    ev_io_start(env->ev, &link->io);
    if (env->on_create) {
        struct link_filter *pushed = filter_stack_lift(link);
        env->on_create(env->on_create_arg, link);
        filter_stack_lower(link, pushed);
    }
}

// Nothing came of it: the filters that were pushed for this connection go.
static int not_opened(struct link *link)
{
    filter_stack_unhook(link, &link->env->dead);
    return -1;
}

static int bind_source(int fd, const struct link_addr *to, const struct link_addr *source, struct error *err)
{
    if (source->addr.ss_family != to->addr.ss_family)
        return error_set(err, ERR_INVALID, "the source address and the target are not of one family (IPv4, IPv6)");
    int one = 1;
    // Where the kernel lacks the option below, bind() picks the port: this lets it take one that waits in TIME_WAIT.
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    // The kernel then picks the port at connect(), where the whole 4-tuple counts: more than 64k connections an
    // address.
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&source->addr, source->len) < 0)
        return error_set_errno(err, "bind to the source address");
    return 0;
}

static int connect_socket(struct link *link, const struct link_addr *to, const struct link_addr *source,
                          struct error *err)
{
    int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, "socket");
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (source && bind_source(fd, to, source, err) < 0) {
        close(fd);
        return -1;
    }
    link->opened_us = loop_fresh_us(link->env->loop);
    if (connect(fd, (const struct sockaddr *)&to->addr, to->len) < 0 && errno != EINPROGRESS && errno != EINTR) {
        int sys = errno;
        close(fd);
        errno = sys;
        if (sys == EADDRNOTAVAIL)
            error_set(err, ERR_IO,
                      "connect: no local port is left towards this target; "
                      "option `source` spreads the connections over more addresses");
        else
            error_set_errno(err, "connect");
        return -1;
    }
    start(link, fd);
    return 0;
}

int link_open(struct link *link, const struct link_addr *to, const struct link_addr *source, struct error *err)
{
    if (link->state != LINK_CLOSED)
        return error_set(err, ERR_STATE, "the link is already open");
    if (link->top && filter_stack_opening(link, to, source)) {
        link->opened_us = loop_fresh_us(link->env->loop);
        link->flags = 0;
        link->sys_errno = 0;
        link->state = LINK_CONNECTING;
        return 0;
    }
    return connect_socket(link, to, source, err) < 0 ? not_opened(link) : 0;
}

int link_connect(struct link *link, const struct link_addr *to, const struct link_addr *source, struct error *err)
{
    int64_t asked_us = link->opened_us;
    if (connect_socket(link, to, source, err) < 0)
        return -1;
    link->opened_us = asked_us;
    return 0;
}

int link_adopt(struct link *link, int fd, struct error *err)
{
    if (link->state != LINK_CLOSED)
        return error_set(err, ERR_STATE, "the link is already open");
    link->opened_us = loop_fresh_us(link->env->loop);
    start(link, fd);
    return 0;
}

void link_dead_after(struct link *link, int64_t us)
{
    unsigned ms = us / 1000 > INT32_MAX ? INT32_MAX : (unsigned)(us / 1000);
    if (link->flags & LINK_SOCKET)
        (void)setsockopt(link->io.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

void link_pause(struct link *link, bool paused)
{
    if (!(link->flags & LINK_SOCKET) || paused == ((link->flags & LINK_PAUSED) != 0))
        return;
    if (paused) {
        link->flags |= LINK_PAUSED;
        ev_io_stop(link->env->ev, &link->io);
        return;
    }
    link->flags &= (uint8_t)~LINK_PAUSED;
    if (link->out && !(link->flags & LINK_DIRTY))
        link->flags |= LINK_BLOCKED;
    link_watch(link, link->flags & LINK_BLOCKED ? EV_READ | EV_WRITE : EV_READ);
    filter_stack_resumed(link);
}

void link_hold_input(struct link *link, bool hold)
{
    if (!(link->flags & LINK_SOCKET) || hold == ((link->flags & LINK_HELD) != 0))
        return;
    link->flags = (uint8_t)(hold ? link->flags | LINK_HELD : link->flags & ~LINK_HELD);
    if (!(link->flags & LINK_PAUSED))
        link_watch(link, link->flags & LINK_BLOCKED ? EV_READ | EV_WRITE : EV_READ);
}

void link_hold(struct link *link, bool hold)
{
    // Severed, it is open without a socket.
    if ((!(link->flags & LINK_SOCKET) && link->state != LINK_OPEN) || hold == link->satiated)
        return;
    link->satiated = hold;
    if ((link->flags & (LINK_SOCKET | LINK_PAUSED)) == LINK_SOCKET)
        link_watch(link, link->flags & LINK_BLOCKED ? EV_READ | EV_WRITE : EV_READ);
    filter_stack_resumed(link);
}

void link_severed(struct link *link)
{
    link->state = link->flags & LINK_WAS_UP ? LINK_OPEN : LINK_CONNECTING;
}

static void reset_on_close(int fd)
{
    struct linger rst = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
}

void link_reset(struct link *link)
{
    if (link->flags & LINK_SOCKET)
        reset_on_close(link->io.fd);
    socket_release(link);
    link->flags |= LINK_RESET;
}

bool link_was_reset(const struct link *link)
{
    return link->flags & LINK_RESET;
}

void link_inherit(struct link *heir, struct link *link, const struct link_events *events)
{
    struct ev_loop *ev = link->env->ev;
    int fd = link->io.fd;
    bool dirty = link->flags & LINK_DIRTY, blocked = link->flags & LINK_BLOCKED;
    link_dirty_remove(link);
    ev_io_stop(ev, &link->io);
    link_create(heir, link->env, events);
    heir->out = link->out;
    heir->sent = link->sent;
    heir->opened_us = link->opened_us;
    heir->state = LINK_OPEN;
    heir->flags = (uint8_t)(LINK_SOCKET | (blocked ? LINK_BLOCKED : 0));
    link->out = NULL;
    link->sent = 0;
    link->io.fd = -1;
    link->flags = 0;
    ev_io_set(&heir->io, fd, blocked ? EV_READ | EV_WRITE : EV_READ);
    ev_io_start(ev, &heir->io);
    if (dirty)
        link_socket_commit(heir, 0);
}

// At the cap the kernel is asked first. Returns what waits in the link's own buffer then.
static size_t make_room(struct link *link, size_t n, size_t cap)
{
    size_t unsent = link->out ? link->out->len - link->sent : 0;
    if (unsent + n <= cap || !unsent || link->flags & LINK_BLOCKED)
        return unsent;
    link_dirty_remove(link);
    link_write_out(link);
    return link->out ? link->out->len - link->sent : 0;
}

uint8_t *link_socket_reserve(struct link *link, size_t n, struct error *err)
{
    struct link_env *env = link->env;
    uint32_t cap = link->top ? env->max_framed : env->max_out;
    if ((link->flags & (LINK_SOCKET | LINK_FAILED)) != LINK_SOCKET) {
        error_set(err, ERR_STATE, "the link is not open");
        return NULL;
    }
    size_t unsent = make_room(link, n, cap);
    if (unsent + n > cap) {
        error_set(err, ERR_LIMIT, "%zu bytes wait to be sent and %zu more are over the cap of %u", unsent, n, cap);
        return NULL;
    }
    if (!link->out && !(link->out = link_out_take(env))) {
        error_set(err, ERR_NO_MEMORY, "no memory for output");
        return NULL;
    }
    if (link->sent && link->out->size - link->out->len < n) {
        buf_consume(link->out, link->sent);
        link->sent = 0;
    }
    uint8_t *p = buf_reserve(link->out, (uint32_t)n);
    if (!p)
        error_set(err, ERR_NO_MEMORY, "no memory for output");
    return p;
}

void link_socket_commit(struct link *link, size_t n)
{
    struct link_env *env = link->env;
    link->out->len += (uint32_t)n;
    if (link->flags & (LINK_DIRTY | LINK_BLOCKED | LINK_FAILED))
        return;
    if (env->n_dirty == DIRTY_MAX)
        link_env_flush(env);
    link->flags |= LINK_DIRTY;
    link->dirty_slot = (uint16_t)env->n_dirty;
    env->dirty[env->n_dirty++] = link;
}

uint8_t *link_reserve(struct link *link, size_t n, struct error *err)
{
    if (link->state != LINK_OPEN) {
        error_set(err, ERR_STATE, "the link is not open");
        return NULL;
    }
    if (!link->top)
        return link_socket_reserve(link, n, err);
    struct link_env *env = link->env;
    make_room(link, n, env->max_out);
    if (link->flags & LINK_FAILED || link_unsent(link) + n > env->max_out) {
        error_set(err, link->flags & LINK_FAILED ? ERR_STATE : ERR_LIMIT, "%zu bytes wait to be sent, the cap is %u",
                  link_unsent(link), env->max_out);
        return NULL;
    }
    buf_clear(&env->scratch);
    uint8_t *p = buf_reserve(&env->scratch, (uint32_t)n);
    if (!p)
        error_set(err, ERR_NO_MEMORY, "no memory for output");
    return p;
}

void link_commit(struct link *link, size_t n)
{
    if (!link->top)
        link_socket_commit(link, n);
    else if (link->top->type->down(link->top, link->env->scratch.data, n, NULL) < 0)
        link_fail_later(link, 0);
}

int link_send(struct link *link, const void *bytes, size_t n, struct error *err)
{
    uint8_t *p = link_reserve(link, n, err);
    if (!p)
        return -1;
    if (!link->top) {
        memcpy(p, bytes, n);
        link_socket_commit(link, n);
        return 0;
    }
    if (link->top->type->down(link->top, bytes, n, err) < 0) {
        link_fail_later(link, 0);
        return -1;
    }
    return 0;
}

size_t link_unsent(const struct link *link)
{
    size_t n = link->out ? link->out->len - link->sent : 0;
    return link->top ? n + filter_stack_held(link) : n;
}

size_t link_footprint(const struct link *link)
{
    return (link->out ? sizeof *link->out + link->out->size : 0) + link_filters_footprint(link);
}

// In good order: last words, FIN, and what the peer still says is read.
static bool close_flushing(struct link *link)
{
    if (!(link->flags & LINK_FAILED))
        filter_stack_finish(link);
    if (!(link->flags & LINK_FAILED) && filter_stack_leave(link, true))
        return false;
    link_dirty_remove(link);
    link_write_out(link);
    // Bytes left unread would turn the FIN into an RST, and the peer might lose our last packet.
    for (unsigned i = 0; i < LAST_READS; i++)
        if (recv(link->io.fd, link->env->read_buf, link->env->read_size, MSG_DONTWAIT | MSG_TRUNC) <= 0)
            break;
    return !link_unsent(link); // and what comes from now on likewise: see linger.h
}

void link_close(struct link *link, enum link_close_mode mode)
{
    bool linger = false;
    if (link->state == LINK_CLOSED) {
        filter_stack_unhook(link, &link->env->dead); // pushed for a connection that was never opened
        return;
    }
    if (link->flags & LINK_SOCKET) {
        if (mode == LINK_FLUSH)
            linger = close_flushing(link);
        else if (link->flags & LINK_FAILED || !filter_stack_leave(link, false))
            reset_on_close(link->io.fd);
    }
    socket_leave(link, linger);
    link->state = LINK_CLOSED;
    filter_stack_unhook(link, &link->env->dead);
}
