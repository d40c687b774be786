// The device's path: which faults act, what they do to one packet, and the clock of everything that is under way.
//
// One timer of the loop serves a whole path. It stands at the earliest of all that will happen (path_impl.h); input
// from outside only notes what has come and asks for a run in the same or the next turn, so nothing is ever handed on
// inside a call of the owner's.
#include <stdlib.h>
#include <string.h>
#include "link/path_impl.h"

#define RUN_BUDGET 4096u // events a run; the rest follows in the next turn

struct path_env *path_env_new(struct loop *loop, struct error *err)
{
    struct path_env *env = calloc(1, sizeof *env);
    if (env)
        env->scratch = malloc(PATH_SCRATCH);
    if (!env || !env->scratch) {
        free(env);
        error_set(err, ERR_NO_MEMORY, "no memory for paths");
        return NULL;
    }
    env->loop = loop;
    return env;
}

static void env_free(struct path_env *env)
{
    for (struct path_packet *k; (k = env->pool);) {
        env->pool = k->next;
        free(k);
    }
    free(env->scratch);
    free(env);
}

void path_env_delete(struct path_env *env)
{
    if (!env)
        return;
    path_orphans_clear(env);
    env->deleted = true;
    if (!env->totals.paths)
        env_free(env);
}

void path_env_totals(const struct path_env *env, struct path_totals *out)
{
    *out = env->totals;
}

// --- flows

int path_flow_create(struct path_flow *flow, const struct path_peer *peer, struct error *err)
{
    flow->peer = *peer;
    if (peer->host && !(flow->peer.host = strdup(peer->host)))
        return error_set(err, ERR_NO_MEMORY, "no memory for a connection's path");
    return 0;
}

void path_flow_destroy(struct path_flow *flow)
{
    free((char *)flow->peer.host);
}

static void set_edge(struct path *p, int64_t now_us)
{
    p->edge_us = INT64_MAX;
    for (const struct path_fault *f = p->faults; f; f = f->next) {
        int64_t at_us = fault_next_edge(&f->fault, now_us);
        if (at_us < p->edge_us)
            p->edge_us = at_us;
    }
}

// What depends on time alone has changed, or a fault has come or gone.
static void edge(struct path *p, int64_t now_us)
{
    for (struct path_fault *f = p->faults; f; f = f->next)
        if (fault_reset_due(&f->fault, now_us))
            p->reset_pending = true;
    if (p->n_queued)
        path_queues_edge(p, now_us);
    else
        for (int d = 0; d < 2; d++)
            path_stream_room(p, d, now_us);
    set_edge(p, now_us);
}

static void unlist(struct path *p, struct path_flow *flow)
{
    *flow->prev = flow->next;
    if (flow->next)
        flow->next->prev = flow->prev;
    else
        p->flows_end = flow->prev;
}

static void list_last(struct path *p, struct path_flow *flow)
{
    flow->next = NULL;
    flow->prev = p->flows_end;
    *p->flows_end = flow;
    p->flows_end = &flow->next;
}

void path_flow_last(struct path_flow *flow)
{
    unlist(flow->path, flow);
    list_last(flow->path, flow);
}

void path_flow_join(struct path *p, struct path_flow *flow)
{
    int64_t now_us = loop_now_us(p->env->loop);
    if (!p->n_flows && p->edge_us < now_us) { // resets that were due while there was nothing to reset
        edge(p, now_us);
        p->reset_pending = false;
    }
    flow->path = path_ref(p);
    list_last(p, flow);
    p->n_flows++;
    path_kick(p);
}

void path_flow_leave(struct path_flow *flow)
{
    struct path *p = flow->path;
    unlist(p, flow);
    p->n_flows--;
    path_queues_forget(p, flow);
    path_datagrams_forget(p, flow);
    flow->path = NULL;
    path_release(p);
}

// --- one packet

bool path_is_quiet(const struct path *p)
{
    int64_t now_us = loop_now_us(p->env->loop);
    for (const struct path_fault *f = p->faults; f; f = f->next)
        if (fault_acts(&f->fault, now_us))
            return false;
    return true;
}

bool path_cuts(const struct path_flow *flow, enum path_direction direction, const char *protocol, int64_t now_us)
{
    for (const struct path_fault *f = flow->path->faults; f; f = f->next)
        if (fault_cuts(&f->fault, direction, &flow->peer, protocol, now_us))
            return true;
    return false;
}

uint32_t path_mtu(const struct path *p, enum path_direction direction, int64_t now_us)
{
    uint32_t least = 0;
    for (const struct path_fault *f = p->faults; f; f = f->next) {
        uint32_t mtu = fault_mtu(&f->fault, direction, now_us);
        if (mtu && (!least || mtu < least))
            least = mtu;
    }
    return least;
}

// Several bits of a packet may be hit, each by a fault of its own.
static void add_damage(struct path_fate *fate, const struct fault_damage *damage)
{
    if (damage->corrupt && fate->n_bits < sizeof fate->bits / sizeof *fate->bits)
        fate->bits[fate->n_bits++] = damage->corrupt_bit;
    fate->drop |= damage->drop;
    fate->copies = (uint8_t)(fate->copies + damage->duplicate);
}

void path_judge(struct path_flow *flow, enum path_direction direction, size_t n, uint32_t headers, int64_t now_us,
                struct path_fate *fate)
{
    struct path *p = flow->path;
    struct path_totals *totals = &p->env->totals;
    struct fault_damage damage;
    uint32_t mtu = flow->stream ? 0 : path_mtu(p, direction, now_us);
    memset(fate, 0, sizeof *fate);
    fate->drop = path_cuts(flow, direction, flow->peer.protocol, now_us) || (mtu && n + headers > mtu);
    // Every fault sees every packet that gets this far: their bursts do not depend on one another.
    for (struct path_fault *f = fate->drop ? NULL : p->faults; f; f = f->next) {
        fault_damage(&f->fault, direction, n, flow->stream, now_us, &damage);
        add_damage(fate, &damage);
    }
    if (fate->drop) {
        totals->dropped[direction]++;
        return;
    }
    totals->corrupted[direction] += fate->n_bits > 0;
    totals->duplicated[direction] += fate->copies;
}

int64_t path_draw_delay(struct path *p, enum path_direction direction, int64_t now_us, bool *jumps)
{
    int64_t sum = 0;
    bool any = false;
    for (struct path_fault *f = p->faults; f; f = f->next) {
        bool jump = false;
        sum += fault_delay(&f->fault, direction, now_us, jumps ? &jump : NULL);
        any |= jump;
    }
    if (any) {
        *jumps = true;
        p->env->totals.reordered[direction]++;
        return 0;
    }
    return sum < FAULT_LATENCY_MAX_US ? sum : FAULT_LATENCY_MAX_US;
}

int64_t path_mean_delay(const struct path *p, enum path_direction direction, int64_t now_us)
{
    struct fault_bandwidth b;
    int64_t sum = 0;
    for (const struct path_fault *f = p->faults; f; f = f->next) {
        const struct path_queue *q = f->queue[direction];
        sum += fault_mean_delay(&f->fault, direction, now_us);
        if (!q || !q->bytes || !fault_bandwidth(&f->fault, direction, true, now_us, &b))
            continue;
        // The head has a time; the rest goes at the rate of now.
        int64_t head_us = q->leave_us > now_us && q->leave_us != INT64_MAX ? q->leave_us - now_us : 0;
        sum += head_us + (int64_t)((q->bytes - q->list.head->size) * 8e6 / b.rate);
    }
    return sum < FAULT_LATENCY_MAX_US ? sum : FAULT_LATENCY_MAX_US;
}

int64_t path_probe(struct path_flow *flow, enum path_direction direction, const char *protocol, int64_t now_us)
{
    struct path *p = flow->path;
    struct fault_damage damage;
    bool drop = path_cuts(flow, direction, protocol, now_us);
    for (struct path_fault *f = drop ? NULL : p->faults; f; f = f->next) {
        fault_damage(&f->fault, direction, PATH_IP_TCP, true, now_us, &damage);
        drop |= damage.drop;
    }
    if (drop) {
        p->env->totals.dropped[direction]++;
        return -1;
    }
    int64_t latency_us = path_draw_delay(p, direction, now_us, NULL), queued_us = path_mean_delay(p, direction, now_us);
    for (const struct path_fault *f = p->faults; f; f = f->next)
        queued_us -= fault_mean_delay(&f->fault, direction, now_us);
    return latency_us + (queued_us > 0 ? queued_us : 0);
}

// --- the clock of a path

static int64_t next_event(const struct path *p)
{
    if (p->reset_pending)
        return p->now_us;
    int64_t next = path_queues_next(p), at_us = path_datagrams_next(p);
    if (at_us < next)
        next = at_us;
    if (p->n_flows && p->edge_us < next)
        next = p->edge_us;
    for (const struct path_flow *flow = p->flows; flow; flow = flow->next)
        if ((at_us = path_flow_next(flow)) < next)
            next = at_us;
    return next;
}

static void reset_all(struct path *p)
{
    p->reset_pending = false;
    // An owner may do anything when it is told; what is new since then is at the end of the list.
    unsigned n = p->n_flows;
    for (struct path_flow *flow = p->flows, *next; flow && n; flow = next, n--) {
        next = flow->next;
        if (flow->stream)
            path_stream_reset(flow);
    }
}

// One event, the earliest, at p->now_us. An edge comes first: what happens at its time meets the new state.
static void step(struct path *p)
{
    struct path_flow *first = NULL;
    int64_t first_us = INT64_MAX;
    if (p->reset_pending) {
        reset_all(p);
        return;
    }
    if (p->n_flows && p->edge_us <= p->now_us) {
        edge(p, p->now_us);
        return;
    }
    for (struct path_flow *flow = p->flows; flow; flow = flow->next) {
        int64_t at_us = path_flow_next(flow);
        if (at_us < first_us) {
            first = flow;
            first_us = at_us;
        }
    }
    int64_t queues_us = path_queues_next(p), datagrams_us = path_datagrams_next(p);
    if (queues_us <= first_us && queues_us <= datagrams_us)
        path_queues_run(p, p->now_us);
    else if (datagrams_us <= first_us)
        path_datagrams_run(p, p->now_us);
    else
        path_stream_run(first, p->now_us);
}

// Nothing acts any more: filters without anything under way go.
static void retire(struct path *p)
{
    for (struct path_flow *flow = p->flows, *next; flow; flow = next) {
        next = flow->next;
        if (!flow->link)
            continue;
        if (flow->stream)
            path_stream_retire(flow);
        else
            path_datagram_retire(flow);
    }
}

static void on_time(struct timer *t, void *loop);

static void rearm(struct path *p)
{
    struct loop *loop = p->env->loop;
    int64_t at_us = next_event(p);
    if (at_us == INT64_MAX)
        loop_timer_stop(loop, &p->timer);
    else if (at_us <= loop_now_us(loop))
        loop_timer_start(loop, &p->timer, 0, on_time);
    else
        loop_timer_at(loop, &p->timer, at_us, on_time);
}

static void on_time(struct timer *t, void *loop)
{
    struct path *p = path_ref(container_of(t, struct path, timer));
    int64_t now_us = loop_now_us(loop);
    unsigned budget = RUN_BUDGET;
    p->running = true;
    for (int64_t at_us; budget && (at_us = next_event(p)) <= now_us; budget--) {
        if (at_us > p->now_us)
            p->now_us = at_us;
        step(p);
    }
    if (budget && now_us > p->now_us)
        p->now_us = now_us;
    p->running = false;
    if (p->dead_ports)
        path_port_sweep(p);
    if (!p->n_faults)
        retire(p);
    if (p->refs > 1)
        rearm(p);
    path_release(p);
}

void path_kick(struct path *p)
{
    if (p->running) // which looks again when it is done
        return;
    loop_timer_start(p->env->loop, &p->timer, 0, on_time);
}

// --- the device's side

struct path *path_new(struct path_env *env, uint64_t seed, struct error *err)
{
    struct path *p = calloc(1, sizeof *p);
    if (!p) {
        error_set(err, ERR_NO_MEMORY, "no memory for a device's path");
        return NULL;
    }
    p->env = env;
    p->refs = 1;
    p->seed = seed;
    p->flows_end = &p->flows;
    p->edge_us = INT64_MAX;
    p->now_us = loop_now_us(env->loop);
    env->totals.paths++;
    return p;
}

struct path *path_ref(struct path *p)
{
    p->refs++;
    return p;
}

static void fault_free(struct path *p, struct path_fault *f)
{
    for (int d = 0; d < 2; d++)
        path_queue_delete(p, f->queue[d]);
    fault_destroy(&f->fault);
    free(f);
}

void path_release(struct path *p)
{
    if (!p || --p->refs)
        return;
    loop_timer_stop(p->env->loop, &p->timer);
    while (p->faults) {
        struct path_fault *f = p->faults;
        p->faults = f->next;
        fault_free(p, f);
    }
    path_datagrams_clear(p);
    struct path_env *env = p->env;
    free(p);
    if (!--env->totals.paths && env->deleted)
        env_free(env);
}

static struct path_fault **find(struct path *p, uint64_t number)
{
    struct path_fault **at = &p->faults;
    while (*at && (*at)->fault.number != number)
        at = &(*at)->next;
    return at;
}

// A fault came, changed or went. What it means for bytes under way is for the next run.
static void changed(struct path *p, int64_t now_us)
{
    set_edge(p, now_us);
    // A change is an edge: a reset that is due at once, a queue that goes on faster.
    p->edge_us = now_us;
    path_kick(p);
}

int path_apply(struct path *p, uint64_t number, struct fault_spec *spec, struct error *err)
{
    return path_apply_since(p, number, spec, loop_now_us(p->env->loop), err);
}

int path_apply_since(struct path *p, uint64_t number, struct fault_spec *spec, int64_t since_us, struct error *err)
{
    int64_t now_us = loop_now_us(p->env->loop);
    struct path_fault **at = find(p, number);
    if (*at)
        return error_set(err, ERR_STATE, "fault %llu acts on the device already", (unsigned long long)number);
    struct path_fault *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, ERR_NO_MEMORY, "no memory for a fault");
    fault_create(&f->fault, spec, number, p->seed, since_us < now_us ? since_us : now_us);
    *at = f;
    p->n_faults++;
    changed(p, now_us);
    return 0;
}

int path_change(struct path *p, uint64_t number, struct fault_spec *spec, struct error *err)
{
    int64_t now_us = loop_now_us(p->env->loop);
    struct path_fault *f = *find(p, number);
    if (!f)
        return error_set(err, ERR_NOT_FOUND, "no fault %llu acts on the device", (unsigned long long)number);
    fault_retune(&f->fault, spec, now_us);
    changed(p, now_us);
    return 0;
}

bool path_remove(struct path *p, uint64_t number)
{
    int64_t now_us = loop_now_us(p->env->loop);
    struct path_fault **at = find(p, number), *f = *at;
    if (!f)
        return false;
    path_queues_drain(p, f, now_us);
    *at = f->next;
    p->n_faults--;
    fault_free(p, f);
    changed(p, now_us);
    return true;
}

unsigned path_faults(const struct path *p)
{
    return p->n_faults;
}

unsigned path_reset(struct path *p)
{
    unsigned n = 0;
    for (const struct path_flow *flow = p->flows; flow; flow = flow->next)
        n += flow->stream;
    if (n) {
        p->reset_pending = true;
        path_kick(p);
    }
    return n;
}

size_t path_footprint(const struct path *p)
{
    size_t n = sizeof *p + p->heap_size * sizeof *p->heap + p->held;
    for (const struct path_fault *f = p->faults; f; f = f->next)
        n += sizeof *f + (f->queue[0] ? sizeof *f->queue[0] : 0) + (f->queue[1] ? sizeof *f->queue[1] : 0);
    for (const struct path_flow *flow = p->flows; flow; flow = flow->next)
        if (flow->stream)
            n += path_stream_footprint(flow);
    return n;
}
