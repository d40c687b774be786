#include "link/linger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct lingerer {
    struct ev_io io;
    struct lingerers *all;
    struct lingerer *older, *newer;
    int64_t until_us;
};

struct lingerers {
    struct loop *loop;
    struct timer timer; // of the oldest
    struct lingerer *oldest, *newest;
    unsigned n;
};

struct lingerers *lingerers_new(struct loop *loop)
{
    struct lingerers *all = calloc(1, sizeof(*all));
    if (all)
        all->loop = loop;
    return all;
}

static void end(struct lingerer *l)
{
    struct lingerers *all = l->all;
    *(l->older ? &l->older->newer : &all->oldest) = l->newer;
    *(l->newer ? &l->newer->older : &all->newest) = l->older;
    all->n--;
    ev_io_stop(loop_ev(all->loop), &l->io);
    close(l->io.fd);
    free(l);
}

void lingerers_delete(struct lingerers *all)
{
    if (!all)
        return;
    loop_timer_stop(all->loop, &all->timer);
    while (all->oldest)
        end(all->oldest);
    free(all);
}

static void on_time(struct timer *t, void *loop)
{
    struct lingerers *all = container_of(t, struct lingerers, timer);
    while (all->oldest && all->oldest->until_us <= loop_now_us(loop))
        end(all->oldest);
    if (all->oldest)
        loop_timer_at(loop, t, all->oldest->until_us, on_time);
}

// A turn reads a bounded part of what a peer sends that does not stop.
static void on_readable(struct ev_loop *ev, struct ev_io *io, int events)
{
    (void)ev, (void)events;
    char bytes[4096];
    ssize_t n = 1;
    for (int i = 0; i < 16 && n > 0; i++)
        n = recv(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end(container_of(io, struct lingerer, io));
}

bool lingerers_take(struct lingerers *all, int fd)
{
    struct lingerer *l = all->n < LINGER_MAX ? calloc(1, sizeof(*l)) : NULL;
    if (!l || shutdown(fd, SHUT_WR)) {
        free(l);
        return false;
    }
    l->all = all;
    l->until_us = loop_now_us(all->loop) + LINGER_US;
    l->older = all->newest;
    *(l->older ? &l->older->newer : &all->oldest) = l;
    all->newest = l;
    if (all->n++ == 0)
        loop_timer_at(all->loop, &all->timer, l->until_us, on_time);
    ev_io_init(&l->io, on_readable, fd, EV_READ);
    ev_io_start(loop_ev(all->loop), &l->io);
    return true;
}
