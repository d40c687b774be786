// What the links of a process share, for link.c and link_env.c.
#pragma once
#include "link/link_impl.h"
#include "link/submit.h"

#define DIRTY_MAX 256u
#define POOL_MAX 320u // buffers kept for reuse

struct link_env {
    struct loop *loop;
    struct ev_loop *ev;
    struct loop_hook hook;
    uint8_t *read_buf;
    uint32_t read_size;
    uint32_t max_out;
    uint32_t max_framed; // what max_out becomes once filters have put their headers around it
    struct link *dirty[DIRTY_MAX];
    unsigned n_dirty;
    struct buf *pool[POOL_MAX];
    unsigned n_pool;
    struct buf scratch;       // link_reserve under a filter
    struct link_filter *dead; // filters of closed links, destroyed at the end of the turn
    struct link_totals totals;
    void (*on_create)(void *arg, struct link *link);
    void *on_create_arg;
    struct lingerers *lingerers;
    struct datagram_env *datagrams; // NULL until asked for
    struct submit *submit;          // NULL: each link is written by a call of its own
    unsigned together_min;          // links with output from which on it is used
};

// A buffer for a link that has none; NULL without memory.
struct buf *link_out_take(struct link_env *env);
// Gives it back.
void link_out_release(struct link *link);
void link_dirty_remove(struct link *link);
// Gives the kernel what it takes.
void link_write_out(struct link *link);
// link.c: what epoll is to tell of the socket, EV_READ and EV_WRITE.
void link_watch(struct link *link, int events);
