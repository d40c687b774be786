// Datagrams under way: one heap for all sockets of the device, by the time at which they arrive, since jitter makes
// them overtake one another. And the lowest filter of a datagram socket.
#include <stdlib.h>
#include <string.h>
#include "link/path_impl.h"

struct path_datagram {
    struct datagram_filter filter;
    struct path_flow flow;
};

// --- the heap

static bool sooner(const struct path_packet *a, const struct path_packet *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : (int32_t)(a->seq - b->seq) < 0;
}

static void sift_up(struct path *p, uint32_t i)
{
    struct path_packet *k = p->heap[i];
    for (uint32_t up; i && sooner(k, p->heap[up = (i - 1) / 2]); i = up)
        p->heap[i] = p->heap[up];
    p->heap[i] = k;
}

static void sift_down(struct path *p, uint32_t i)
{
    struct path_packet *k = p->heap[i];
    for (uint32_t child; (child = 2 * i + 1) < p->n_heap; i = child) {
        if (child + 1 < p->n_heap && sooner(p->heap[child + 1], p->heap[child]))
            child++;
        if (!sooner(p->heap[child], k))
            break;
        p->heap[i] = p->heap[child];
    }
    p->heap[i] = k;
}

void path_datagram_free(struct path *p, struct path_packet *k)
{
    p->held -= k->n + PATH_DATAGRAM_COST;
    p->env->totals.held_bytes -= k->n;
    path_packet_free(p->env, k);
}

void path_datagram_carry(struct path *p, struct path_packet *k, int64_t now_us)
{
    if (p->n_heap == p->heap_size) {
        uint32_t size = p->heap_size ? p->heap_size * 2 : 8;
        struct path_packet **grown = realloc(p->heap, size * sizeof(struct path_packet *));
        if (!grown) {
            p->env->totals.dropped[k->direction]++;
            path_datagram_free(p, k);
            return;
        }
        p->heap = grown;
        p->heap_size = size;
    }
    k->at_us = now_us + k->delay_us;
    k->seq = p->order++;
    p->heap[p->n_heap++] = k;
    sift_up(p, p->n_heap - 1);
}

int64_t path_datagrams_next(const struct path *p)
{
    return p->n_heap ? p->heap[0]->at_us : INT64_MAX;
}

void path_datagrams_forget(struct path *p, const struct path_flow *flow)
{
    for (uint32_t i = 0; i < p->n_heap; i++)
        if (p->heap[i]->flow == flow)
            p->heap[i]->flow = NULL;
}

void path_datagrams_clear(struct path *p)
{
    while (p->n_heap)
        path_datagram_free(p, p->heap[--p->n_heap]);
    free(p->heap);
    p->heap = NULL;
    p->heap_size = 0;
}

// --- coming in and going on

static void flip(struct path_packet *k, uint8_t *payload, const struct path_fate *fate)
{
    for (unsigned i = 0; i < fate->n_bits; i++)
        if (fate->bits[i] / 8 < k->n)
            payload[fate->bits[i] / 8] ^= (uint8_t)(1u << fate->bits[i] % 8);
}

static void enter_one(struct path_flow *flow, enum path_direction direction, const uint8_t *bytes, size_t n,
                      const struct link_addr *addr, const struct path_fate *fate, int64_t now_us)
{
    struct path *p = flow->path;
    size_t before = addr ? sizeof *addr : 0;
    struct path_packet *k = p->held + n + PATH_DATAGRAM_COST <= PATH_HELD_MAX ? path_packet_new(before + n) : NULL;
    if (!k) {
        p->env->totals.dropped[direction]++;
        return;
    }
    k->flow = flow;
    k->direction = (uint8_t)direction;
    k->n = (uint32_t)n;
    k->size = (uint32_t)n + PATH_IP_UDP;
    k->has_addr = addr != NULL;
    k->sent_us = now_us;
    if (addr)
        memcpy(k->bytes, addr, sizeof *addr);
    if (n)
        memcpy(k->bytes + before, bytes, n);
    flip(k, k->bytes + before, fate);
    k->delay_us = (uint32_t)path_draw_delay(p, direction, now_us, &k->jumps);
    p->held += k->n + PATH_DATAGRAM_COST;
    p->env->totals.held_bytes += n;
    path_enter(p, k, now_us);
}

bool path_datagram_pass(struct path_flow *flow, enum path_direction direction, const uint8_t *bytes, size_t n,
                        const struct link_addr *addr)
{
    struct path *p = flow->path;
    struct path_fate fate;
    int64_t now_us = loop_now_us(p->env->loop);
    if (path_is_quiet(p))
        return true;
    path_judge(flow, direction, n, PATH_IP_UDP, now_us, &fate);
    if (fate.drop)
        return false;
    for (unsigned i = 0; i <= fate.copies; i++)
        enter_one(flow, direction, bytes, n, addr, &fate, now_us);
    path_kick(p);
    return false;
}

static void deliver_socket(struct path_flow *flow, const struct path_packet *k, const uint8_t *payload,
                           const struct link_addr *addr)
{
    struct datagram_filter *f = &container_of(flow, struct path_datagram, flow)->filter;
    bool gone = !f->datagram || (k->direction == PATH_DOWN && f->datagram->paused);
    if (!gone && k->direction == PATH_DOWN)
        datagram_filter_up(f, payload, k->n, addr);
    else if (!gone)
        gone = datagram_filter_down(f, payload, k->n, addr, NULL) < 0;
    if (gone)
        flow->path->env->totals.dropped[k->direction]++;
}

void path_datagrams_run(struct path *p, int64_t now_us)
{
    struct path_packet *k = p->heap[0];
    struct link_addr addr;
    (void)now_us;
    p->heap[0] = p->heap[--p->n_heap];
    if (p->n_heap)
        sift_down(p, 0);
    if (k->has_addr)
        memcpy(&addr, k->bytes, sizeof addr);
    const uint8_t *payload = k->bytes + (k->has_addr ? sizeof addr : 0);
    if (k->flow && k->flow->link)
        deliver_socket(k->flow, k, payload, k->has_addr ? &addr : NULL);
    else if (k->flow)
        path_port_deliver(k->flow, k->direction, payload, k->n);
    path_datagram_free(p, k);
}

// --- a socket's filter

static int filter_down(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *to,
                       struct error *err)
{
    struct path_flow *flow = &container_of(f, struct path_datagram, filter)->flow;
    if (n > DATAGRAM_MAX)
        return error_set(err, ERR_LIMIT, "a datagram holds at most %u bytes, got %zu", DATAGRAM_MAX, n);
    return path_datagram_pass(flow, PATH_UP, bytes, n, to) ? datagram_filter_down(f, bytes, n, to, err) : 0;
}

static void filter_up(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    struct path_flow *flow = &container_of(f, struct path_datagram, filter)->flow;
    if (path_datagram_pass(flow, PATH_DOWN, bytes, n, from))
        datagram_filter_up(f, bytes, n, from);
}

static void filter_destroy(struct datagram_filter *f)
{
    struct path_datagram *d = container_of(f, struct path_datagram, filter);
    path_flow_leave(&d->flow);
    path_flow_destroy(&d->flow);
    free(d);
}

static const struct datagram_filter_type path_type = {
    .name = "path",
    .down = filter_down,
    .up = filter_up,
    .destroy = filter_destroy,
};

bool path_datagram_retire(struct path_flow *flow)
{
    struct datagram_filter *f = &container_of(flow, struct path_datagram, flow)->filter;
    for (uint32_t i = 0; i < flow->path->n_heap; i++)
        if (flow->path->heap[i]->flow == flow)
            return false;
    if (!f->datagram)
        return false;
    datagram_filter_remove(f);
    filter_destroy(f);
    return true;
}

int path_attach_datagram(struct path *p, struct datagram *d, const struct path_peer *peer, struct error *err)
{
    for (const struct datagram_filter *f = d->top; f; f = f->below)
        if (f->type == &path_type && container_of(f, struct path_datagram, filter)->flow.path == p)
            return 0;
    struct path_datagram *own = calloc(1, sizeof *own);
    if (!own)
        return error_set(err, ERR_NO_MEMORY, "no memory for a socket's path");
    if (path_flow_create(&own->flow, peer, err) < 0) {
        free(own);
        return -1;
    }
    own->filter.type = &path_type;
    own->flow.link = true;
    datagram_filter_push_below(d, &own->filter);
    path_flow_join(p, &own->flow);
    return 0;
}
