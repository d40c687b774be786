#include "link/path_stream.h"

#include <stdlib.h>
#include <string.h>

int path_stream_create(struct path_stream *s, const struct path_stream_ops *ops, const struct path_peer *peer,
                       struct error *err)
{
    s->ops = ops;
    s->flow.stream = true;
    s->fin_at_us[0] = s->fin_at_us[1] = s->other_us = INT64_MAX;
    path_tcp_create(&s->tcp[PATH_UP], PATH_UP);
    path_tcp_create(&s->tcp[PATH_DOWN], PATH_DOWN);
    return path_flow_create(&s->flow, peer, err);
}

void path_stream_destroy(struct path_stream *s)
{
    for (int d = 0; d < 2; d++)
        path_tcp_destroy(&s->tcp[d], &s->flow);
    path_flow_leave(&s->flow);
    path_flow_destroy(&s->flow);
    free(s->connect);
    free(s->why);
}

bool path_stream_alive(const struct path_stream *s)
{
    return s->flow.link ? s->filter.link != NULL : !s->ended;
}

bool path_half_open(const struct path *p, int64_t now_us)
{
    for (const struct path_fault *f = p->faults; f; f = f->next)
        if (fault_half_open(&f->fault, now_us))
            return true;
    return false;
}

bool path_stream_clear(const struct path_stream *s, enum path_direction direction)
{
    return !path_tcp_busy(&s->tcp[direction]) && s->fin_at_us[direction] == INT64_MAX && path_is_quiet(s->flow.path);
}

static void throttle(struct path_stream *s, enum path_direction direction)
{
    uint32_t held = path_tcp_held(&s->tcp[direction]);
    bool stop = s->stopped[direction] ? held > PATH_STREAM_HELD / 2 : held >= PATH_STREAM_HELD;
    if (stop == s->stopped[direction])
        return;
    s->stopped[direction] = stop;
    s->ops->throttle(s, direction, stop);
}

int path_stream_push(struct path_stream *s, enum path_direction direction, const uint8_t *bytes, size_t n,
                     struct error *err)
{
    struct path_tcp *t = &s->tcp[direction];
    int64_t now_us = loop_now_us(s->flow.path->env->loop);
    if (path_tcp_push(t, bytes, n, now_us) < 0) {
        bool cap = path_tcp_held(t) + n > PATH_STREAM_CAP;
        return error_set(err, cap ? ERR_LIMIT : ERR_NO_MEMORY, "no %s for %zu bytes that the device's path holds up",
                         cap ? "room" : "memory", path_tcp_held(t) + n);
    }
    s->flow.path->env->totals.held_bytes += n;
    throttle(s, direction);
    path_kick(s->flow.path);
    return 0;
}

void path_stream_push_end(struct path_stream *s, enum path_direction direction)
{
    struct path *p = s->flow.path;
    int64_t now_us = loop_now_us(p->env->loop), slow_us = 0;
    for (const struct path_fault *f = p->faults; f; f = f->next)
        slow_us += fault_slow_close_us(&f->fault, now_us);
    s->fin_at_us[direction] = now_us + slow_us;
    path_kick(p);
}

// --- the clock

static int64_t earliest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool frozen(const struct path_stream *s, enum path_direction direction)
{
    return s->ops->frozen && s->ops->frozen(s, direction);
}

static int64_t next_of(const struct path_stream *s, enum path_direction direction)
{
    return frozen(s, direction) ? INT64_MAX : earliest(path_tcp_next(&s->tcp[direction]), s->fin_at_us[direction]);
}

int64_t path_flow_next(const struct path_flow *flow)
{
    if (!flow->stream)
        return INT64_MAX;
    const struct path_stream *s = path_stream_of(flow);
    if (!path_stream_alive(s))
        return INT64_MAX;
    int64_t next = earliest(next_of(s, PATH_UP), next_of(s, PATH_DOWN));
    return frozen(s, PATH_UP) ? next : earliest(next, s->other_us);
}

static void hand_on(struct path_stream *s, enum path_direction direction, uint32_t n, bool fin)
{
    struct path_env *env = s->flow.path->env;
    while (n) {
        uint32_t k = path_tcp_take(&s->tcp[direction], env->scratch, n);
        if (!k)
            return; // dropped by the owner meanwhile
        n -= k;
        env->totals.held_bytes -= k;
        s->ops->deliver(s, direction, env->scratch, k);
        if (!path_stream_alive(s))
            return;
    }
    throttle(s, direction);
    if (fin && path_stream_alive(s))
        s->ops->end(s, direction);
}

static void give_up_if_due(struct path_stream *s, enum path_direction direction, int64_t now_us)
{
    struct error why;
    int64_t limit_us = s->orphan ? PATH_ORPHAN_GIVE_UP_US : PATH_GIVE_UP_US;
    if (s->ops->patience_us && direction == PATH_UP)
        limit_us = earliest(limit_us, s->ops->patience_us(s));
    struct path_tcp *t = &s->tcp[direction];
    if (now_us - t->stuck_us < limit_us) {
        // The last timeout is not behind the limit (tcp_clamp_rto_to_user_timeout).
        t->rto_at_us = earliest(t->rto_at_us, t->stuck_us + limit_us);
        return;
    }
    if (s->ops->gave_up) {
        s->ops->gave_up(s, direction);
        return;
    }
    error_set(&why, ERR_TIMEOUT, "the network brought no answer for so long that TCP gave up");
    s->ops->cut(s, &why);
}

static void run_tcp(struct path_stream *s, enum path_direction direction, int64_t now_us)
{
    struct path_tcp *t = &s->tcp[direction];
    bool fin, deaf = direction == PATH_UP && s->severed && path_half_open(s->flow.path, now_us);
    uint32_t n = path_tcp_run(t, &s->flow, now_us, deaf, &fin);
    if (n || fin)
        hand_on(s, direction, n, fin);
    else if (t->stuck_us != INT64_MAX)
        give_up_if_due(s, direction, now_us);
}

void path_stream_run(struct path_flow *flow, int64_t now_us)
{
    struct path_stream *s = path_stream_of(flow);
    int64_t up_us = next_of(s, PATH_UP), down_us = next_of(s, PATH_DOWN);
    enum path_direction direction = up_us <= down_us ? PATH_UP : PATH_DOWN;
    if (s->other_us <= now_us && !frozen(s, PATH_UP)) {
        s->ops->other(s, now_us);
    } else if (s->fin_at_us[direction] <= now_us) {
        s->fin_at_us[direction] = INT64_MAX;
        path_tcp_push_fin(&s->tcp[direction], now_us);
    } else {
        run_tcp(s, direction, now_us);
    }
}

void path_stream_carry(struct path_packet *k, int64_t now_us)
{
    path_tcp_carry(&path_stream_of(k->flow)->tcp[k->direction], k, now_us);
}

// One segment of each stream that waits, in turn: one that was served goes to the end of the row.
void path_stream_room(struct path *p, enum path_direction direction, int64_t now_us)
{
    for (bool sent = true; sent;) {
        unsigned n = p->n_flows;
        sent = false;
        for (struct path_flow *flow = p->flows, *next; flow && n; flow = next, n--) {
            next = flow->next;
            if (!flow->stream || !path_stream_of(flow)->tcp[direction].stalled)
                continue;
            if (!path_tcp_pump(&path_stream_of(flow)->tcp[direction], flow, now_us, 1))
                continue;
            sent = true;
            path_flow_last(flow);
        }
    }
}

void path_stream_reset(struct path_flow *flow)
{
    struct path_stream *s = path_stream_of(flow);
    struct error why;
    if (!path_stream_alive(s) || !s->opened)
        return;
    flow->path->env->totals.resets++;
    error_set(&why, ERR_CLOSED, "reset: a fault of the network (reset)");
    s->ops->cut(s, &why);
}

size_t path_stream_footprint(const struct path_flow *flow)
{
    const struct path_stream *s = path_stream_of(flow);
    return sizeof *s + path_tcp_footprint(&s->tcp[0]) + path_tcp_footprint(&s->tcp[1]) +
           (s->connect ? sizeof *s->connect : 0) + (s->why ? sizeof *s->why : 0) +
           (flow->peer.host ? strlen(flow->peer.host) + 1 : 0);
}
