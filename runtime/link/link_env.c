// The output of all links: a pool of buffers, a fixed list of links that have output (at most DIRTY_MAX, so the buffers
// in use stay in cache and few), and a hook at the end of the turn that gives it to the kernel, one call each or all in
// one (submit.h), and the buffers back to the pool. A link at rest therefore holds no buffer. A write that fails only
// marks the link, see link.c.
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "link/datagram.h"
#include "link/link_env.h"
#include "link/linger.h"

#define POOL_BUF_BYTES (16u << 10) // a larger buffer is freed instead of kept
#define FIRST_BYTES 1024u          // first allocation of a buffer
#define TOGETHER_MIN 8u     // links with output from which on LINK_IO_AUTO takes the ring: below, calls cost less
#define FRAMING_BYTES 4096u // beyond the cap, for what filters add: records, frames, alerts, pongs

_Static_assert(DIRTY_MAX <= SUBMIT_MAX, "one submission takes all links that wait");

const char *const link_io_names[] = {"auto", "epoll", "io_uring", NULL};

static int choose_io(struct link_env *env, enum link_io io, struct error *err)
{
    env->together_min = io == LINK_IO_URING ? 1 : TOGETHER_MIN;
    if (io == LINK_IO_EPOLL || (env->submit = submit_new(err)) || io == LINK_IO_AUTO)
        return 0;
    return -1;
}

enum link_io link_env_io(const struct link_env *env)
{
    return env->submit ? LINK_IO_URING : LINK_IO_EPOLL;
}

static void end_of_turn(struct loop_hook *hook, struct loop *loop)
{
    struct link_env *env = container_of(hook, struct link_env, hook);
    (void)loop;
    link_env_flush(env);
    filter_bury(&env->dead);
}

struct link_env *link_env_new(struct loop *loop, const struct link_env_config *config, struct error *err)
{
    struct link_env *env = calloc(1, sizeof *env);
    if (env) {
        env->read_size = config && config->read_buf_bytes ? config->read_buf_bytes : 64u << 10;
        env->read_buf = malloc(env->read_size);
        env->lingerers = lingerers_new(loop);
    }
    if (!env || !env->read_buf || !env->lingerers) {
        if (env) {
            lingerers_delete(env->lingerers);
            free(env->read_buf);
        }
        free(env);
        error_set(err, ERR_NO_MEMORY, "no memory for the links' buffers");
        return NULL;
    }
    if (choose_io(env, config ? config->io : LINK_IO_AUTO, err)) {
        lingerers_delete(env->lingerers);
        free(env->read_buf);
        free(env);
        return NULL;
    }
    env->max_out = config && config->max_out_bytes ? config->max_out_bytes : 1u << 20;
    env->max_framed = env->max_out + env->max_out / 16 + FRAMING_BYTES;
    if (config) {
        env->on_create = config->on_create;
        env->on_create_arg = config->on_create_arg;
    }
    env->loop = loop;
    env->ev = loop_ev(loop);
    buf_create(&env->scratch, env->max_out);
    env->hook.priority = 20;
    env->hook.fn = end_of_turn;
    loop_hook_add(loop, &env->hook);
    return env;
}

void link_env_delete(struct link_env *env)
{
    if (!env)
        return;
    filter_bury(&env->dead);
    datagram_env_delete(env->datagrams);
    lingerers_delete(env->lingerers);
    loop_hook_remove(env->loop, &env->hook);
    for (unsigned i = 0; i < env->n_pool; i++) {
        buf_destroy(env->pool[i]);
        free(env->pool[i]);
    }
    buf_destroy(&env->scratch);
    submit_delete(env->submit);
    free(env->read_buf);
    free(env);
}

void link_env_totals(const struct link_env *env, struct link_totals *out)
{
    *out = env->totals;
}

uint32_t link_env_max_out(const struct link_env *env)
{
    return env->max_out;
}

struct datagram_env *link_env_datagrams(struct link_env *env, struct error *err)
{
    if (!env->datagrams)
        env->datagrams = datagram_env_new(env->loop, NULL, err);
    return env->datagrams;
}

struct buf *link_out_take(struct link_env *env)
{
    if (env->n_pool)
        return env->pool[--env->n_pool];
    struct buf *b = malloc(sizeof *b);
    if (!b)
        return NULL;
    buf_create(b, env->max_framed);
    // Best effort: an empty buffer grows later all the same.
    (void)buf_reserve(b, FIRST_BYTES < env->max_out ? FIRST_BYTES : env->max_out);
    return b;
}

void link_out_release(struct link *link)
{
    struct link_env *env = link->env;
    struct buf *b = link->out;
    link->out = NULL;
    link->sent = 0;
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

void link_dirty_remove(struct link *link)
{
    struct link_env *env = link->env;
    if (!(link->flags & LINK_DIRTY))
        return;
    link->flags &= (uint8_t)~LINK_DIRTY;
    struct link *last = env->dirty[--env->n_dirty];
    env->dirty[link->dirty_slot] = last;
    last->dirty_slot = link->dirty_slot;
}

// What the kernel said to a send of all that waits: bytes, or -errno. False: ask again.
static bool written(struct link *link, ssize_t n)
{
    struct link_env *env = link->env;
    if (n == -EINTR)
        return false;
    if (n < 0 && n != -EAGAIN && n != -ENOBUFS) {
        link_fail_later(link, (int)-n);
        return true;
    }
    env->totals.writes++;
    if (n > 0) {
        env->totals.bytes_out += (uint64_t)n;
        link->sent += (uint32_t)n;
    }
    if (link->sent < link->out->len) {
        link->flags |= LINK_BLOCKED;
        link_watch(link, EV_READ | EV_WRITE);
    } else {
        link_out_release(link);
    }
    return true;
}

static bool may_write(const struct link *link)
{
    return link->out && link->sent < link->out->len && !(link->flags & (LINK_FAILED | LINK_PAUSED));
}

// Gives the kernel what it takes.
void link_write_out(struct link *link)
{
    ssize_t n;
    if (link->out && link->sent == link->out->len)
        link_out_release(link);
    if (!may_write(link))
        return;
    do {
        n = send(link->io.fd, link->out->data + link->sent, link->out->len - link->sent, MSG_NOSIGNAL);
    } while (!written(link, n < 0 ? -errno : n));
}

// All links that wait, in one call.
static void write_together(struct link_env *env)
{
    struct submit_send sends[DIRTY_MAX];
    struct link *links[DIRTY_MAX];
    struct error why;
    unsigned n = 0;
    while (env->n_dirty) {
        struct link *link = env->dirty[--env->n_dirty];
        link->flags &= (uint8_t)~LINK_DIRTY;
        if (!may_write(link)) {
            link_write_out(link);
            continue;
        }
        links[n] = link;
        sends[n++] = (struct submit_send){link->io.fd, link->out->data + link->sent, link->out->len - link->sent, 0};
    }
    if (submit_sends(env->submit, sends, n,
                     &why)) { // what is not out yet waits for the descriptor, as after a full buffer
        submit_delete(env->submit);
        env->submit = NULL;
    }
    for (unsigned i = 0; i < n; i++)
        if (!written(links[i], sends[i].result))
            link_write_out(links[i]);
}

void link_env_flush(struct link_env *env)
{
    if (env->submit && env->n_dirty >= env->together_min)
        write_together(env);
    while (env->n_dirty) {
        struct link *link = env->dirty[--env->n_dirty];
        link->flags &= (uint8_t)~LINK_DIRTY;
        link_write_out(link);
    }
}
