// How much devices have to say that has not got out: a look at a part of a group's devices each time, so that a shard
// of thousands does not stop for all of them at once. The gauges are those of the last time all had been looked at.
#include "device/internal.h"

#define LOOKS 512 // devices each time: at 250 ms all of 16,384 in 8 s

static void gauges(struct group *g)
{
    gauge_set(g->send_queue.sum, (double)g->send_queue.seen);
    gauge_set(g->send_queue.max, (double)g->send_queue.most);
    g->send_queue.seen = g->send_queue.most = 0;
}

void send_queue_look(struct group *g)
{
    struct send_queue *q = &g->send_queue;
    for (unsigned left = LOOKS; left; left--) {
        if (q->next >= g->owned) {
            q->next = 0;
            gauges(g);
            return;
        }
        const struct device *d = g->devices[q->next++];
        if (!d || !d->conn)
            continue;
        unsigned n = g->adapter->pending(d->conn);
        q->seen += n;
        if (n > q->most)
            q->most = n;
    }
}
