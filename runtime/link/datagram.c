// The queue of a socket is a buffer of records: a header, the receiver's address unless the socket is connected, the
// bytes. Sockets with output are linked in a list, so that a socket at rest holds nothing.
#include "link/datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEND_BATCH 32u
#define READ_BATCH 16u
#define READ_ROUNDS 4u // batches of one socket in a turn
#define READ_BYTES 65536u
#define POOL_MAX 64u
#define POOL_BUF_BYTES (16u << 10) // a larger buffer is freed instead of kept

struct record {
    uint32_t n;       // payload
    uint32_t to_size; // 0 or sizeof(struct link_addr)
};

struct datagram_env {
    struct loop *loop;
    struct loop_hook hook;
    uint32_t max_out;
    struct datagram *dirty;
    struct datagram_filter *dead;
    struct buf *pool[POOL_MAX];
    unsigned n_pool;
    uint8_t *read_buf; // READ_BATCH * READ_BYTES, made at the first datagram
    struct datagram_totals totals;
    void (*on_create)(void *arg, struct datagram *d);
    void *on_create_arg;
};

static void write_out(struct datagram *d);

static void dirty_add(struct datagram *d)
{
    if (d->dirty)
        return;
    d->dirty = true;
    d->prev_dirty = NULL;
    d->next_dirty = d->env->dirty;
    if (d->next_dirty)
        d->next_dirty->prev_dirty = d;
    d->env->dirty = d;
}

static void dirty_remove(struct datagram *d)
{
    if (!d->dirty)
        return;
    d->dirty = false;
    if (d->prev_dirty)
        d->prev_dirty->next_dirty = d->next_dirty;
    else
        d->env->dirty = d->next_dirty;
    if (d->next_dirty)
        d->next_dirty->prev_dirty = d->prev_dirty;
}

static void bury(struct datagram_env *env)
{
    while (env->dead) {
        struct datagram_filter *f = env->dead;
        env->dead = f->above;
        f->type->destroy(f);
    }
}

static void end_of_turn(struct loop_hook *hook, struct loop *loop)
{
    struct datagram_env *env = container_of(hook, struct datagram_env, hook);
    (void)loop;
    while (env->dirty) {
        struct datagram *d = env->dirty;
        dirty_remove(d);
        write_out(d);
    }
    bury(env);
}

struct datagram_env *datagram_env_new(struct loop *loop, const struct datagram_env_config *config, struct error *err)
{
    struct datagram_env *env = calloc(1, sizeof *env);
    if (!env) {
        error_set(err, ERR_NO_MEMORY, "no memory for datagram sockets");
        return NULL;
    }
    env->loop = loop;
    env->max_out = config && config->max_out_bytes ? config->max_out_bytes : 256u << 10;
    if (config) {
        env->on_create = config->on_create;
        env->on_create_arg = config->on_create_arg;
    }
    env->hook.priority = 20;
    env->hook.fn = end_of_turn;
    loop_hook_add(loop, &env->hook);
    return env;
}

void datagram_env_delete(struct datagram_env *env)
{
    if (!env)
        return;
    bury(env);
    loop_hook_remove(env->loop, &env->hook);
    for (unsigned i = 0; i < env->n_pool; i++) {
        buf_destroy(env->pool[i]);
        free(env->pool[i]);
    }
    free(env->read_buf);
    free(env);
}

void datagram_env_totals(const struct datagram_env *env, struct datagram_totals *out)
{
    *out = env->totals;
}

static struct buf *pool_take(struct datagram_env *env)
{
    if (env->n_pool)
        return env->pool[--env->n_pool];
    struct buf *b = malloc(sizeof *b);
    if (b)
        buf_create(b, env->max_out);
    return b;
}

static void out_release(struct datagram *d)
{
    struct datagram_env *env = d->env;
    struct buf *b = d->out;
    d->out = NULL;
    if (!b)
        return;
    if (b->size <= POOL_BUF_BYTES && env->n_pool < POOL_MAX) {
        buf_clear(b);
        env->pool[env->n_pool++] = b;
        return;
    }
    buf_destroy(b);
    free(b);
}

static void watch(struct datagram *d, int events)
{
    struct ev_loop *ev = loop_ev(d->env->loop);
    int fd = d->io.fd;
    if (d->io.events == events && ev_is_active(&d->io))
        return;
    ev_io_stop(ev, &d->io);
    ev_io_set(&d->io, fd, events);
    ev_io_start(ev, &d->io);
}

// To be told from the loop.
static void fail_later(struct datagram *d, int sys)
{
    d->sys_errno = sys;
    ev_feed_event(loop_ev(d->env->loop), &d->io, EV_READ);
    loop_again(d->env->loop);
}

// --- sending

struct batch {
    struct mmsghdr headers[SEND_BATCH];
    struct iovec parts[SEND_BATCH];
    struct link_addr to[SEND_BATCH];
    uint32_t ends[SEND_BATCH]; // where in the queue the record ends
};

static unsigned fill(const struct buf *out, uint32_t at, struct batch *b)
{
    unsigned n = 0;
    memset(b->headers, 0, sizeof b->headers);
    for (; at < out->len && n < SEND_BATCH; n++) {
        struct record r;
        struct msghdr *h = &b->headers[n].msg_hdr;
        memcpy(&r, out->data + at, sizeof r);
        at += (uint32_t)sizeof r;
        if (r.to_size) {
            memcpy(&b->to[n], out->data + at, r.to_size);
            h->msg_name = &b->to[n].addr;
            h->msg_namelen = b->to[n].len;
        }
        at += r.to_size;
        b->parts[n] = (struct iovec){out->data + at, r.n};
        h->msg_iov = &b->parts[n];
        h->msg_iovlen = 1;
        at += r.n;
        b->ends[n] = at;
    }
    return n;
}

// What came back for an earlier datagram (ICMP) is told instead of sending; the next call sends.
static bool is_old_news(int sys)
{
    return sys == ECONNREFUSED || sys == EHOSTUNREACH || sys == ENETUNREACH || sys == EHOSTDOWN || sys == ENOPROTOOPT;
}

static void write_out(struct datagram *d)
{
    struct datagram_env *env = d->env;
    struct batch b;
    uint32_t done = 0;
    bool told = false;
    if (!d->out || d->paused || d->io.fd < 0)
        return;
    while (done < d->out->len) {
        unsigned n = fill(d->out, done, &b);
        int sent = sendmmsg(d->io.fd, b.headers, n, MSG_NOSIGNAL);
        if (sent > 0) {
            env->totals.send_calls++;
            env->totals.sent += (unsigned)sent;
            for (int i = 0; i < sent; i++)
                env->totals.bytes_out += b.parts[i].iov_len;
            done = b.ends[sent - 1];
            told = false;
            continue;
        }
        int sys = errno;
        if (sys == EINTR)
            continue;
        if (sys == EAGAIN || sys == EWOULDBLOCK || sys == ENOBUFS) {
            buf_consume(d->out, done);
            d->blocked = true;
            watch(d, EV_READ | EV_WRITE);
            return;
        }
        env->totals.errors++;
        fail_later(d, sys);
        if (is_old_news(sys) && !told) {
            told = true;
            continue;
        }
        env->totals.dropped++;
        done = b.ends[0];
        told = false;
    }
    out_release(d);
}

static int send_socket(struct datagram *d, const void *bytes, size_t n, const struct link_addr *to, struct error *err)
{
    if (d->io.fd < 0)
        return error_set(err, ERR_STATE, "the socket is not open");
    if (!d->connected && !to)
        return error_set(err, ERR_INVALID, "the socket has no peer: say who the datagram is for");
    if (n > DATAGRAM_MAX)
        return error_set(err, ERR_LIMIT, "a datagram holds at most %u bytes, got %zu", DATAGRAM_MAX, n);
    struct record r = {(uint32_t)n, !d->connected ? (uint32_t)sizeof *to : 0};
    uint32_t need = (uint32_t)sizeof r + r.to_size + r.n;
    if (d->out && !d->blocked && d->out->len + need > d->env->max_out) {
        dirty_remove(d);
        write_out(d);
    }
    if (!d->out && !(d->out = pool_take(d->env)))
        return error_set(err, ERR_NO_MEMORY, "no memory for output");
    uint8_t *p = d->out->len + need <= d->env->max_out ? buf_reserve(d->out, need) : NULL;
    if (!p) {
        bool cap = d->out->len + need > d->env->max_out;
        uint32_t waiting = d->out->len;
        if (!waiting)
            out_release(d);
        return cap ? error_set(err, ERR_LIMIT, "%u bytes wait to be sent and %u more are over the cap of %u", waiting,
                               need, d->env->max_out)
                   : error_set(err, ERR_NO_MEMORY, "no memory for output");
    }
    memcpy(p, &r, sizeof r);
    p += sizeof r;
    if (r.to_size)
        memcpy(p, to, sizeof *to);
    if (n)
        memcpy(p + r.to_size, bytes, n);
    d->out->len += need;
    if (!d->blocked && !d->paused)
        dirty_add(d);
    return 0;
}

int datagram_send(struct datagram *d, const void *bytes, size_t n, const struct link_addr *to, struct error *err)
{
    if (d->io.fd < 0)
        return error_set(err, ERR_STATE, "the socket is not open");
    return d->top ? d->top->type->down(d->top, bytes, n, to, err) : send_socket(d, bytes, n, to, err);
}

// --- receiving

static bool tell_error(struct datagram *d, int sys)
{
    struct error why;
    errno = sys;
    error_set_errno(&why, "datagram");
    d->events->on_error(d, &why);
    return d->io.fd >= 0;
}

static void deliver(struct datagram *d, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    d->env->totals.received++;
    d->env->totals.bytes_in += n;
    if (!d->top) {
        d->events->on_datagram(d, bytes, n, from);
        return;
    }
    struct datagram_filter *f = d->top;
    while (f->below)
        f = f->below;
    f->type->up(f, bytes, n, from);
}

// One batch. False: there is nothing more, or the socket was closed.
static bool read_batch(struct datagram *d)
{
    struct datagram_env *env = d->env;
    struct mmsghdr headers[READ_BATCH];
    struct iovec parts[READ_BATCH];
    struct link_addr from[READ_BATCH];
    memset(headers, 0, sizeof headers);
    for (unsigned i = 0; i < READ_BATCH; i++) {
        parts[i] = (struct iovec){env->read_buf + i * READ_BYTES, READ_BYTES};
        headers[i].msg_hdr = (struct msghdr){
            .msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &from[i].addr, .msg_namelen = sizeof from[i].addr};
    }
    int n = recvmmsg(d->io.fd, headers, READ_BATCH, 0, NULL);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (n < 0) {
        env->totals.errors++;
        return tell_error(d, errno);
    }
    env->totals.receive_calls++;
    int fd = d->io.fd;
    for (int i = 0; i < n; i++) {
        from[i].len = headers[i].msg_hdr.msg_namelen;
        deliver(d, parts[i].iov_base, headers[i].msg_len, &from[i]);
        if (d->io.fd != fd)
            return false;
    }
    return n == (int)READ_BATCH;
}

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct datagram *d = container_of(io, struct datagram, io);
    struct datagram_env *env = d->env;
    (void)ev;
    if (revents & EV_WRITE && d->blocked) {
        d->blocked = false;
        write_out(d);
        if (!d->blocked)
            watch(d, EV_READ);
    }
    if (d->sys_errno) {
        int sys = d->sys_errno;
        d->sys_errno = 0;
        if (!tell_error(d, sys))
            return;
    }
    if (!(revents & EV_READ) || d->paused)
        return;
    if (!env->read_buf && !(env->read_buf = malloc((size_t)READ_BATCH * READ_BYTES)))
        return; // the datagrams wait in the kernel
    for (unsigned i = 0; i < READ_ROUNDS && read_batch(d); i++) {
    }
}

// --- the socket

void datagram_create(struct datagram *d, struct datagram_env *env, const struct datagram_events *events)
{
    memset(d, 0, sizeof *d);
    d->env = env;
    d->events = events;
    ev_init(&d->io, on_io);
    d->io.fd = -1;
}

static int prepare(int fd, const struct link_addr *local, const struct link_addr *peer, struct error *err)
{
    if (local && bind(fd, (const struct sockaddr *)&local->addr, local->len) < 0)
        return error_set_errno(err, "bind to the source address");
    if (peer && connect(fd, (const struct sockaddr *)&peer->addr, peer->len) < 0)
        return error_set_errno(err, "connect");
    return 0;
}

int datagram_open(struct datagram *d, const struct link_addr *local, const struct link_addr *peer, struct error *err)
{
    if (d->io.fd >= 0)
        return error_set(err, ERR_STATE, "the socket is already open");
    if (local && peer && local->addr.ss_family != peer->addr.ss_family)
        return error_set(err, ERR_INVALID, "the source address and the target are not of one family (IPv4, IPv6)");
    int family = peer ? peer->addr.ss_family : local ? local->addr.ss_family : AF_INET;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, "socket");
    if (prepare(fd, local, peer, err) < 0) {
        close(fd);
        return -1;
    }
    d->connected = peer != NULL;
    d->sys_errno = 0;
    d->blocked = d->paused = d->dirty = false;
    d->env->totals.open++;
    ev_io_set(&d->io, fd, EV_READ);
    ev_io_start(loop_ev(d->env->loop), &d->io);
    if (d->env->on_create)
        d->env->on_create(d->env->on_create_arg, d);
    return 0;
}

bool datagram_is_open(const struct datagram *d)
{
    return d->io.fd >= 0;
}

int datagram_local(const struct datagram *d, struct link_addr *out, struct error *err)
{
    out->len = sizeof out->addr;
    if (d->io.fd < 0)
        return error_set(err, ERR_STATE, "the socket is not open");
    if (getsockname(d->io.fd, (struct sockaddr *)&out->addr, &out->len) < 0)
        return error_set_errno(err, "getsockname");
    return 0;
}

void datagram_pause(struct datagram *d, bool paused)
{
    if (d->io.fd < 0 || d->paused == paused)
        return;
    d->paused = paused;
    if (paused) {
        dirty_remove(d);
        ev_io_stop(loop_ev(d->env->loop), &d->io);
        return;
    }
    if (d->out && !d->blocked)
        dirty_add(d);
    loop_again(d->env->loop);
    watch(d, d->blocked ? EV_READ | EV_WRITE : EV_READ);
}

size_t datagram_unsent(const struct datagram *d)
{
    size_t n = 0;
    for (uint32_t at = 0; d->out && at < d->out->len;) {
        struct record r;
        memcpy(&r, d->out->data + at, sizeof r);
        n += r.n;
        at += (uint32_t)sizeof r + r.to_size + r.n;
    }
    return n;
}

size_t datagram_footprint(const struct datagram *d)
{
    return d->out ? sizeof *d->out + d->out->size : 0;
}

void datagram_close(struct datagram *d, bool flush)
{
    if (d->io.fd < 0)
        return;
    dirty_remove(d);
    if (flush)
        write_out(d);
    ev_io_stop(loop_ev(d->env->loop), &d->io); // what was fed is taken back too
    out_release(d);
    close(d->io.fd);
    d->io.fd = -1;
    d->env->totals.open--;
    while (d->top) {
        struct datagram_filter *f = d->top;
        d->top = f->below;
        f->datagram = NULL;
        f->below = NULL;
        f->above = d->env->dead;
        d->env->dead = f;
    }
    if (d->env->dead)
        loop_again(d->env->loop);
}

// --- filters

void datagram_filter_push(struct datagram *d, struct datagram_filter *f)
{
    f->datagram = d;
    f->above = NULL;
    f->below = d->top;
    if (d->top)
        d->top->above = f;
    d->top = f;
}

void datagram_filter_push_below(struct datagram *d, struct datagram_filter *f)
{
    struct datagram_filter *above = d->top;
    while (above && above->below)
        above = above->below;
    if (!above) {
        datagram_filter_push(d, f);
        return;
    }
    f->datagram = d;
    f->above = above;
    f->below = NULL;
    above->below = f;
}

void datagram_filter_remove(struct datagram_filter *f)
{
    if (!f->datagram)
        return;
    *(f->above ? &f->above->below : &f->datagram->top) = f->below;
    if (f->below)
        f->below->above = f->above;
    f->datagram = NULL;
    f->above = f->below = NULL;
}

int datagram_filter_down(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *to,
                         struct error *err)
{
    if (!f->datagram)
        return error_set(err, ERR_CLOSED, "the socket is gone");
    return f->below ? f->below->type->down(f->below, bytes, n, to, err) : send_socket(f->datagram, bytes, n, to, err);
}

void datagram_filter_up(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    if (!f->datagram)
        return;
    if (f->above)
        f->above->type->up(f->above, bytes, n, from);
    else
        f->datagram->events->on_datagram(f->datagram, bytes, n, from);
}
