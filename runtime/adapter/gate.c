#include "adapter/gate.h"

#include <stdlib.h>

struct gate {
    struct timer timer;
    struct loop *loop;
    void (*opened)(void *arg, const struct error *why);
    void *arg;
    struct error why; // code ERR_NONE: it may
};

static void on_time(struct timer *timer, void *loop)
{
    struct gate *g = container_of(timer, struct gate, timer);
    struct error why = g->why;
    (void)loop;
    g->opened(g->arg, why.code ? &why : NULL);
}

struct gate *gate_new(struct loop *loop, struct path_port *port, void (*opened)(void *arg, const struct error *why),
                      void *arg)
{
    struct gate *g = calloc(1, sizeof *g);
    int64_t delay_us;
    if (!g)
        return NULL;
    if (path_port_connect(port, &delay_us, &g->why) == 0)
        error_clear(&g->why);
    if (!g->why.code && delay_us <= 0) {
        free(g);
        return NULL;
    }
    g->loop = loop;
    g->opened = opened;
    g->arg = arg;
    if (g->why.code != ERR_TIMEOUT)
        loop_timer_start(loop, &g->timer, delay_us, on_time);
    return g;
}

static void deliver(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    (void)owner, (void)direction, (void)bytes, (void)n; // nothing was passed
}

static void cut(void *owner, const struct error *why)
{
    (void)owner, (void)why;
}

struct gate *gate_new_datagram(struct loop *loop, struct path *path, const struct path_peer *peer,
                               void (*opened)(void *arg, const struct error *why), void *arg)
{
    static const struct path_port_events none = {.deliver = deliver, .cut = cut};
    struct path_port *port = path_port_new(path, false, peer, &none, NULL, NULL);
    struct gate *g = port ? gate_new(loop, port, opened, arg) : NULL;
    path_port_delete(port);
    return g;
}

void gate_delete(struct gate *g)
{
    if (g)
        loop_timer_stop(g->loop, &g->timer);
    free(g);
}
