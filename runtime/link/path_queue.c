// Packets, and the queues of bandwidths: one for each fault that limits a direction, all connections of the device in
// it. Only the head of a queue has a time at which it leaves, so that a new rate is a matter of one number.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "link/path_impl.h"

#define POOL_MAX 4096u

struct path_packet *path_packet_take(struct path_env *env)
{
    struct path_packet *k = env->pool;
    if (k) {
        env->pool = k->next;
        env->n_pool--;
        memset(k, 0, sizeof *k);
    } else {
        k = calloc(1, sizeof *k);
    }
    if (k)
        k->pooled = true;
    return k;
}

struct path_packet *path_packet_new(size_t bytes)
{
    struct path_packet *k = malloc(sizeof *k + bytes);
    if (k)
        memset(k, 0, sizeof *k);
    return k;
}

void path_packet_free(struct path_env *env, struct path_packet *k)
{
    if (!k->pooled || env->n_pool >= POOL_MAX) {
        free(k);
        return;
    }
    k->next = env->pool;
    env->pool = k;
    env->n_pool++;
}

void packet_list_add(struct packet_list *list, struct path_packet *k)
{
    k->next = NULL;
    if (list->head)
        list->last->next = k;
    else
        list->head = k;
    list->last = k;
}

struct path_packet *packet_list_take(struct packet_list *list)
{
    struct path_packet *k = list->head;
    if (k)
        list->head = k->next;
    return k;
}

void packet_list_clear(struct path_env *env, struct packet_list *list)
{
    for (struct path_packet *k; (k = packet_list_take(list));)
        path_packet_free(env, k);
}

// --- one queue

static bool of_stream(const struct path_packet *k)
{
    return k->pooled;
}

static double limit_of(const struct fault_bandwidth *b)
{
    return b->queue_bytes ? b->queue_bytes : (double)b->queue_us * b->rate / 8e6;
}

// The head's turn has come.
static void serve(struct path_queue *q, const struct fault_bandwidth *b, int64_t now_us)
{
    const struct path_packet *k = q->list.head;
    if (!k) {
        q->leave_us = INT64_MAX;
        return;
    }
    double us_per_byte = 8e6 / b->rate, earliest = (double)now_us - b->burst_bytes * us_per_byte;
    q->free_us = (q->free_us > earliest ? q->free_us : earliest) + k->size * us_per_byte;
    q->rate = b->rate;
    int64_t leave_us = (int64_t)ceil(q->free_us);
    q->leave_us = leave_us > now_us ? leave_us : now_us;
}

static struct path_packet *leave(struct path *p, struct path_queue *q)
{
    struct path_packet *k = packet_list_take(&q->list);
    q->bytes -= k->size;
    p->n_queued--;
    return k;
}

static void onwards(struct path *p, struct path_packet *k, const struct path_fault *after, int64_t now_us, bool *full);

static void flush(struct path *p, struct path_fault *f, struct path_queue *q, int64_t now_us)
{
    q->leave_us = INT64_MAX;
    while (q->list.head)
        onwards(p, leave(p, q), f, now_us, NULL);
}

// false: dropped.
static bool join(struct path *p, struct path_fault *f, struct path_packet *k, const struct fault_bandwidth *b,
                 int64_t now_us)
{
    struct path_queue **q = &f->queue[k->direction];
    if (!*q) {
        *q = calloc(1, sizeof **q);
        if (*q)
            (*q)->leave_us = INT64_MAX;
    }
    bool full = *q && (*q)->bytes && (*q)->bytes + (double)k->size > limit_of(b) && b->full_drop;
    if (!*q || full)
        return false;
    bool first = !(*q)->list.head;
    packet_list_add(&(*q)->list, k);
    (*q)->bytes += k->size;
    p->n_queued++;
    if (first)
        serve(*q, b, now_us);
    return true;
}

static void forget(struct path *p, struct path_packet *k)
{
    if (of_stream(k))
        path_packet_free(p->env, k);
    else
        path_datagram_free(p, k);
}

static void arrive(struct path *p, struct path_packet *k, int64_t now_us)
{
    if (!k->flow) {
        forget(p, k);
    } else if (of_stream(k)) {
        path_stream_carry(k, now_us);
    } else {
        path_datagram_carry(p, k, now_us);
    }
}

static void drop(struct path *p, struct path_packet *k)
{
    p->env->totals.dropped[k->direction]++;
    p->env->totals.queue_full[k->direction]++;
    forget(p, k);
}

// To the first queue behind `after` (NULL: the first of all), or out.
static void onwards(struct path *p, struct path_packet *k, const struct path_fault *after, int64_t now_us, bool *full)
{
    struct fault_bandwidth b;
    for (struct path_fault *f = after ? after->next : p->faults; f; f = f->next) {
        if (!fault_bandwidth(&f->fault, k->direction, of_stream(k), now_us, &b))
            continue;
        if (join(p, f, k, &b, now_us))
            return;
        drop(p, k);
        if (full)
            *full = true;
        return;
    }
    arrive(p, k, now_us);
}

// --- all of a path

bool path_enter(struct path *p, struct path_packet *k, int64_t now_us)
{
    bool full = false;
    onwards(p, k, NULL, now_us, &full);
    return !full;
}

bool path_has_room(const struct path *p, enum path_direction direction, uint32_t size, int64_t now_us)
{
    struct fault_bandwidth b;
    for (const struct path_fault *f = p->faults; f; f = f->next) {
        const struct path_queue *q = f->queue[direction];
        if (q && q->bytes && fault_bandwidth(&f->fault, direction, true, now_us, &b) && !b.full_drop &&
            q->bytes + (double)size > limit_of(&b))
            return false;
    }
    return true;
}

int64_t path_queues_next(const struct path *p)
{
    int64_t next = INT64_MAX;
    if (!p->n_queued)
        return next;
    for (const struct path_fault *f = p->faults; f; f = f->next)
        for (int d = 0; d < 2; d++)
            if (f->queue[d] && f->queue[d]->leave_us < next)
                next = f->queue[d]->leave_us;
    return next;
}

// A queue serves streams and datagrams alike; what differs is only what happens at its limit.
static void run_one(struct path *p, struct path_fault *f, int d, int64_t now_us)
{
    struct path_queue *q = f->queue[d];
    struct fault_bandwidth b;
    while (q->leave_us <= now_us) {
        int64_t at_us = q->leave_us;
        struct path_packet *k = leave(p, q);
        if (q->list.head && fault_bandwidth(&f->fault, d, of_stream(q->list.head), at_us, &b))
            serve(q, &b, at_us);
        else
            q->leave_us = q->list.head ? at_us : INT64_MAX;
        onwards(p, k, f, at_us, NULL);
    }
}

void path_queues_run(struct path *p, int64_t now_us)
{
    bool let_go[2] = {false, false};
    for (struct path_fault *f = p->faults; f; f = f->next)
        for (int d = 0; d < 2; d++)
            if (f->queue[d] && f->queue[d]->leave_us <= now_us) {
                run_one(p, f, d, now_us);
                let_go[d] = true;
            }
    for (int d = 0; d < 2; d++)
        if (let_go[d])
            path_stream_room(p, d, now_us);
}

void path_queues_edge(struct path *p, int64_t now_us)
{
    struct fault_bandwidth b;
    for (struct path_fault *f = p->faults; f; f = f->next)
        for (int d = 0; d < 2; d++) {
            struct path_queue *q = f->queue[d];
            if (!q || !q->list.head)
                continue;
            if (!fault_bandwidth(&f->fault, d, of_stream(q->list.head), now_us, &b)) {
                flush(p, f, q, now_us);
                continue;
            }
            double left_us = q->free_us - (double)now_us;
            if (b.rate == q->rate || left_us <= 0)
                continue;
            q->free_us = (double)now_us + left_us * q->rate / b.rate;
            q->rate = b.rate;
            q->leave_us = (int64_t)ceil(q->free_us);
        }
    for (int d = 0; d < 2; d++)
        path_stream_room(p, d, now_us);
}

void path_queues_drain(struct path *p, struct path_fault *f, int64_t now_us)
{
    for (int d = 0; d < 2; d++)
        if (f->queue[d])
            flush(p, f, f->queue[d], now_us);
}

void path_queue_delete(struct path *p, struct path_queue *q)
{
    if (!q)
        return;
    for (struct path_packet *k; (k = packet_list_take(&q->list));) {
        p->n_queued--;
        forget(p, k);
    }
    free(q);
}

void path_queues_forget(struct path *p, const struct path_flow *flow)
{
    for (struct path_fault *f = p->faults; f; f = f->next)
        for (int d = 0; d < 2; d++)
            for (struct path_packet *k = f->queue[d] ? f->queue[d]->list.head : NULL; k; k = k->next)
                if (k->flow == flow)
                    k->flow = NULL;
}

bool path_queues_hold(const struct path *p, const struct path_flow *flow, enum path_direction direction, uint32_t seq)
{
    for (const struct path_fault *f = p->faults; f; f = f->next)
        for (const struct path_packet *k = f->queue[direction] ? f->queue[direction]->list.head : NULL; k; k = k->next)
            if (k->flow == flow && seq - k->seq < k->n)
                return true;
    return false;
}
