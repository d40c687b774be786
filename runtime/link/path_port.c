// Flows of libraries whose sockets are their own.
#include <stdlib.h>
#include "link/path_stream.h"

struct port_stream {
    struct path_stream stream;
    struct path_port *port;
};
struct path_port {
    const struct path_port_events *events;
    void *owner;
    struct port_stream *stream; // NULL: datagrams
    struct path_flow flow;      // of datagrams
    struct path_port *next_dead;
    bool dead;
};

static struct path_port *port_of(const struct path_stream *s)
{
    return container_of(s, struct port_stream, stream)->port;
}

static struct path_flow *flow_of(const struct path_port *port)
{
    return port->stream ? &port->stream->stream.flow : (struct path_flow *)&port->flow;
}

static void deliver(struct path_stream *s, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct path_port *port = port_of(s);
    port->events->deliver(port->owner, direction, bytes, n);
}

static void end(struct path_stream *s, enum path_direction direction)
{
    (void)s, (void)direction; // the library's own sockets end by themselves
}

static void cut(struct path_stream *s, const struct error *why)
{
    struct path_port *port = port_of(s);
    for (int d = 0; d < 2; d++)
        path_tcp_drop(&s->tcp[d], &s->flow);
    s->opened = false; // once
    port->events->cut(port->owner, why);
}

static void throttle(struct path_stream *s, enum path_direction direction, bool stop)
{
    struct path_port *port = port_of(s);
    if (port->events->throttle)
        port->events->throttle(port->owner, direction, stop);
}

// Bytes were refused: the stream would have a hole.
static void other(struct path_stream *s, int64_t now_us)
{
    struct error why;
    (void)now_us;
    s->other_us = INT64_MAX;
    error_set(&why, ERR_NO_MEMORY, "no memory for what the device's path holds up");
    s->ops->cut(s, &why);
}

static const struct path_stream_ops port_ops = {
    .deliver = deliver,
    .end = end,
    .cut = cut,
    .throttle = throttle,
    .other = other,
};

static void port_free(struct path_port *port)
{
    if (port->stream) {
        path_stream_destroy(&port->stream->stream);
        free(port->stream);
    } else {
        path_flow_leave(&port->flow);
        path_flow_destroy(&port->flow);
    }
    free(port);
}

struct path_port *path_port_new(struct path *p, bool stream, const struct path_peer *peer,
                                const struct path_port_events *events, void *owner, struct error *err)
{
    struct path_port *port = calloc(1, sizeof *port);
    if (port && stream && !(port->stream = calloc(1, sizeof *port->stream))) {
        free(port);
        port = NULL;
    }
    if (!port) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection's path");
        return NULL;
    }
    port->events = events;
    port->owner = owner;
    int rc = stream ? path_stream_create(&port->stream->stream, &port_ops, peer, err)
                    : path_flow_create(&port->flow, peer, err);
    if (rc < 0) {
        free(port->stream);
        free(port);
        return NULL;
    }
    if (stream) {
        port->stream->port = port;
        port->stream->stream.opened = true;
    }
    path_flow_join(p, flow_of(port));
    return port;
}

void path_port_delete(struct path_port *port)
{
    if (!port || port->dead)
        return;
    struct path *p = flow_of(port)->path;
    port->dead = true;
    if (port->stream)
        port->stream->stream.ended = true;
    if (p->running) {
        port->next_dead = p->dead_ports;
        p->dead_ports = port;
    } else {
        port_free(port);
    }
}

void path_port_sweep(struct path *p)
{
    for (struct path_port *port; (port = p->dead_ports);) {
        p->dead_ports = port->next_dead;
        port_free(port);
    }
}

void path_port_deliver(struct path_flow *flow, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct path_port *port = container_of(flow, struct path_port, flow);
    if (!port->dead)
        port->events->deliver(port->owner, direction, bytes, n);
}

bool path_port_pass(struct path_port *port, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    if (!port->stream)
        return path_datagram_pass(&port->flow, direction, bytes, n, NULL);
    struct path_stream *s = &port->stream->stream;
    if (!n || path_stream_clear(s, direction))
        return true;
    if (s->other_us == INT64_MAX && path_stream_push(s, direction, bytes, n, NULL) < 0) {
        s->flow.path->env->totals.dropped[direction]++;
        s->other_us = loop_now_us(s->flow.path->env->loop);
        path_kick(s->flow.path);
    }
    return false;
}

size_t path_port_held(const struct path_port *port)
{
    if (port->stream)
        return path_tcp_held(&port->stream->stream.tcp[0]) + path_tcp_held(&port->stream->stream.tcp[1]);
    size_t n = 0;
    const struct path *p = port->flow.path;
    for (uint32_t i = 0; i < p->n_heap; i++)
        n += p->heap[i]->flow == &port->flow ? p->heap[i]->n : 0;
    for (const struct path_fault *f = p->n_queued ? p->faults : NULL; f; f = f->next)
        for (int d = 0; d < 2; d++)
            for (const struct path_packet *k = f->queue[d] ? f->queue[d]->list.head : NULL; k; k = k->next)
                n += k->flow == &port->flow ? k->n : 0;
    return n;
}

int path_port_connect(struct path_port *port, int64_t *delay_us, struct error *err)
{
    struct path_flow *flow = flow_of(port);
    int64_t now_us = loop_now_us(flow->path->env->loop);
    struct path_dial dial;
    *delay_us = 0;
    if (path_is_quiet(flow->path))
        return 0;
    path_dial_create(&dial, flow, now_us);
    while (dial.step == PATH_LOOKUP || dial.step == PATH_SYN)
        path_dial_run(&dial, flow);
    bool fails = dial.step == PATH_FAILED;
    if (!fails && path_tls_fails(flow, dial.at_us)) {
        fails = true;
        flow->path->env->totals.tls_failed++;
        dial.at_us += dial.rtt_us;
        error_set(&dial.err, ERR_TLS, "the server ended the TLS handshake: handshake_failure (a fault of the network)");
    }
    if (fails && dial.err.code == ERR_TIMEOUT)
        dial.at_us = now_us;
    *delay_us = dial.at_us - now_us;
    if (fails) {
        if (err)
            *err = dial.err;
        return -1;
    }
    for (int d = 0; port->stream && d < 2; d++)
        path_tcp_sample(&port->stream->stream.tcp[d], dial.rtt_us);
    return 0;
}
