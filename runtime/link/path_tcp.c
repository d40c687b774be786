#include "link/path_tcp.h"

#include <stdlib.h>
#include <string.h>

#define MSS 1460u
#define MSS_MIN 28u        // of the smallest mtu
#define INITIAL_WINDOW 10u // RFC 6928
#define WINDOW_MAX PATH_STREAM_CAP
#define UNDER_WAY_MAX 8192u  // packets; beyond: waits as for a closed window
#define SPANS_MAX 1024u      // beyond: a segment ahead of a gap is lost
#define RTO_FLOOR_US 200000  // TCP_RTO_MIN
#define RTO_MAX_US 120000000 // TCP_RTO_MAX
#define RTO_FIRST_US 200000  // before any measurement: the connection was there before the path was
#define DUP_ACKS 3
#define FIRST_SEQ 0xffff0000u // wraps soon, so that wrapping is never rare

static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void path_tcp_create(struct path_tcp *t, enum path_direction direction)
{
    memset(t, 0, sizeof *t);
    buf_create(&t->data, PATH_STREAM_CAP);
    t->direction = (uint8_t)direction;
    t->rcv = t->una = t->nxt = t->top = t->end = FIRST_SEQ;
    t->recover = FIRST_SEQ - 1;
    t->cwnd = INITIAL_WINDOW * MSS;
    t->ssthresh = WINDOW_MAX;
    t->rto_at_us = t->stuck_us = INT64_MAX;
}

void path_tcp_drop(struct path_tcp *t, struct path_flow *flow)
{
    struct path *p = flow->path;
    for (struct path_packet *k; (k = packet_list_take(&t->wire)) || (k = packet_list_take(&t->acks));) {
        t->under_way--; // those in queues come by later
        path_packet_free(p->env, k);
    }
    p->env->totals.held_bytes -= path_tcp_held(t);
    buf_destroy(&t->data);
    t->skip = 0;
    t->rcv = t->una = t->nxt = t->top = t->end;
    t->n_spans = 0;
    t->rto_at_us = t->stuck_us = INT64_MAX;
    t->pending = t->stalled = t->recovering = false;
}

void path_tcp_destroy(struct path_tcp *t, struct path_flow *flow)
{
    path_tcp_drop(t, flow);
    free(t->spans);
    t->spans = NULL;
}

static void compact(struct path_tcp *t)
{
    buf_consume(&t->data, t->skip);
    t->skip = 0;
}

int path_tcp_push(struct path_tcp *t, const uint8_t *bytes, size_t n, int64_t now_us)
{
    // Moved when at least as much has gone as is moved: a byte is moved once at most.
    if (t->skip && t->skip >= path_tcp_held(t))
        compact(t);
    if (buf_append(&t->data, bytes, n) < 0) {
        if (!t->skip)
            return -1;
        compact(t);
        if (buf_append(&t->data, bytes, n) < 0)
            return -1;
    }
    t->end += (uint32_t)n;
    t->pending = true;
    t->pushed_us = now_us;
    return 0;
}

void path_tcp_push_fin(struct path_tcp *t, int64_t now_us)
{
    if (t->fin)
        return;
    t->fin = true;
    t->end++;
    t->pending = true;
    t->pushed_us = now_us;
}

uint32_t path_tcp_take(struct path_tcp *t, uint8_t *to, uint32_t n)
{
    n = least(least(n, PATH_SCRATCH), path_tcp_held(t));
    if (n)
        memcpy(to, t->data.data + t->skip, n);
    t->skip += n;
    if (t->skip == t->data.len) {
        buf_destroy(&t->data);
        t->skip = 0;
    }
    return n;
}

size_t path_tcp_footprint(const struct path_tcp *t)
{
    return t->data.size + t->spans_size * sizeof *t->spans + t->under_way * sizeof(struct path_packet);
}

// --- timeouts

void path_tcp_sample(struct path_tcp *t, int64_t rtt_us)
{
    uint32_t rtt = rtt_us < 1 ? 1 : rtt_us > INT32_MAX ? INT32_MAX : (uint32_t)rtt_us;
    if (!t->srtt_us) {
        t->srtt_us = rtt;
        t->rttvar_us = rtt / 2;
        return;
    }
    uint32_t off = rtt > t->srtt_us ? rtt - t->srtt_us : t->srtt_us - rtt;
    t->rttvar_us = (uint32_t)(((uint64_t)t->rttvar_us * 3 + off) / 4);
    t->srtt_us = (uint32_t)(((uint64_t)t->srtt_us * 7 + rtt) / 8);
}

static int64_t rto_us(const struct path_tcp *t)
{
    int64_t spread_us = (int64_t)t->rttvar_us * 4;
    int64_t rto = t->srtt_us + (spread_us > RTO_FLOOR_US ? spread_us : RTO_FLOOR_US);
    if (!t->srtt_us)
        rto = RTO_FIRST_US + t->base_rtt_us;
    // 2^10 times the smallest is over the cap.
    rto <<= t->backoff < 10 ? t->backoff : 10;
    return rto < RTO_MAX_US ? rto : RTO_MAX_US;
}

// --- sending

static uint32_t mss_of(const struct path_tcp *t, const struct path *p, int64_t now_us)
{
    uint32_t mtu = path_mtu(p, t->direction, now_us);
    if (!mtu || mtu >= MSS + PATH_IP_TCP)
        return MSS;
    return mtu < MSS_MIN + PATH_IP_TCP ? MSS_MIN : mtu - PATH_IP_TCP;
}

// One segment, lost or on its way. No memory is one more way to be lost.
static void transmit(struct path_tcp *t, struct path_flow *flow, uint32_t seq, uint32_t n, int64_t now_us)
{
    struct path *p = flow->path;
    struct path_fate fate;
    t->sent_us = now_us;
    if (before(seq, t->top))
        p->env->totals.retransmitted[t->direction]++;
    path_judge(flow, t->direction, n, PATH_IP_TCP, now_us, &fate);
    if (fate.drop)
        return;
    struct path_packet *k = path_packet_take(p->env);
    if (!k)
        return;
    k->flow = flow;
    k->direction = t->direction;
    k->seq = seq;
    k->n = n;
    k->size = n + PATH_IP_TCP;
    k->sent_us = now_us;
    k->delay_us = (uint32_t)path_draw_delay(p, t->direction, now_us, NULL);
    t->under_way++;
    if (!path_enter(p, k, now_us))
        t->under_way--;
}

void path_tcp_carry(struct path_tcp *t, struct path_packet *k, int64_t now_us)
{
    k->at_us = now_us + k->delay_us;
    if (k->at_us < t->last_at_us)
        k->at_us = t->last_at_us;
    t->last_at_us = k->at_us;
    packet_list_add(&t->wire, k);
}

static void retransmit_first(struct path_tcp *t, struct path_flow *flow, int64_t now_us)
{
    uint32_t n = least(mss_of(t, flow->path, now_us), t->top - t->una);
    if (n)
        transmit(t, flow, t->una, n, now_us);
}

static uint32_t window_of(const struct path_tcp *t, uint32_t mss)
{
    uint32_t window = t->cwnd;
    if (!t->recovering && t->dup && t->dup < DUP_ACKS) // RFC 3042
        window += t->dup * mss;
    return window;
}

// RFC 5681, 4.1: what was learnt before a pause is old.
static void after_a_pause(struct path_tcp *t, int64_t now_us)
{
    if (t->una == t->top && now_us - t->sent_us > rto_us(t) && t->cwnd > INITIAL_WINDOW * MSS)
        t->cwnd = INITIAL_WINDOW * MSS;
}

bool path_tcp_pump(struct path_tcp *t, struct path_flow *flow, int64_t now_us, unsigned sends)
{
    struct path *p = flow->path;
    uint32_t mss = mss_of(t, p, now_us), window = window_of(t, mss);
    unsigned sent = 0;
    t->pending = t->stalled = false;
    after_a_pause(t, now_us);
    for (; before(t->nxt, t->end); sent++) {
        uint32_t flight = t->nxt - t->una, n = least(mss, t->end - t->nxt);
        if (before(t->nxt, t->top))
            n = least(n, t->top - t->nxt);
        if ((flight && flight + n > window) || t->under_way >= UNDER_WAY_MAX)
            break;
        if ((sends && sent == sends) || !path_has_room(p, t->direction, n + PATH_IP_TCP, now_us)) {
            t->stalled = true;
            break;
        }
        uint32_t seq = t->nxt;
        t->nxt += n;
        transmit(t, flow, seq, n, now_us);
        if (before(t->top, t->nxt))
            t->top = t->nxt;
        if (t->rto_at_us == INT64_MAX)
            t->rto_at_us = now_us + rto_us(t);
    }
    return sent > 0;
}

// --- receiving

static void send_ack(struct path_tcp *t, struct path_flow *flow, const struct path_packet *segment, int64_t now_us)
{
    struct path *p = flow->path;
    enum path_direction back = t->direction == PATH_UP ? PATH_DOWN : PATH_UP;
    if (path_cuts(flow, back, flow->peer.protocol, now_us))
        return;
    struct path_packet *k = path_packet_take(p->env);
    if (!k)
        return;
    k->at_us = now_us + path_mean_delay(p, back, now_us) + t->base_rtt_us;
    if (k->at_us < t->last_ack_us)
        k->at_us = t->last_ack_us;
    t->last_ack_us = k->at_us;
    k->seq = t->rcv;
    k->sent_us = segment->sent_us;
    t->under_way++;
    packet_list_add(&t->acks, k);
}

// Remembers [from, to), which lies ahead of a gap.
static void add_span(struct path_tcp *t, uint32_t from, uint32_t to)
{
    unsigned i = 0, j;
    while (i < t->n_spans && before(t->spans[i].to, from))
        i++;
    // All from i to j touch it.
    for (j = i; j < t->n_spans && !before(to, t->spans[j].from); j++) {
        if (before(t->spans[j].from, from))
            from = t->spans[j].from;
        if (before(to, t->spans[j].to))
            to = t->spans[j].to;
    }
    if (i == j) {
        if (t->n_spans == t->spans_size) {
            unsigned size = t->spans_size ? t->spans_size * 2u : 4u;
            struct path_span *grown = size <= SPANS_MAX ? realloc(t->spans, size * sizeof *grown) : NULL;
            if (!grown)
                return;
            t->spans = grown;
            t->spans_size = (uint16_t)size;
        }
        memmove(t->spans + i + 1, t->spans + i, (t->n_spans - i) * sizeof *t->spans);
        t->n_spans++;
    } else {
        memmove(t->spans + i + 1, t->spans + j, (t->n_spans - j) * sizeof *t->spans);
        t->n_spans = (uint16_t)(t->n_spans - (j - i) + 1);
    }
    t->spans[i] = (struct path_span){from, to};
}

static void join_spans(struct path_tcp *t)
{
    unsigned n = 0;
    while (n < t->n_spans && !before(t->rcv, t->spans[n].from)) {
        if (before(t->rcv, t->spans[n].to))
            t->rcv = t->spans[n].to;
        n++;
    }
    t->n_spans = (uint16_t)(t->n_spans - n);
    memmove(t->spans, t->spans + n, t->n_spans * sizeof *t->spans);
    if (!t->n_spans && t->spans) {
        free(t->spans);
        t->spans = NULL;
        t->spans_size = 0;
    }
}

// A segment arrives. How many bytes are now in order.
static uint32_t receive(struct path_tcp *t, struct path_flow *flow, const struct path_packet *k, int64_t now_us,
                        bool *fin)
{
    uint32_t was = t->rcv, to = k->seq + k->n;
    if (before(t->rcv, k->seq)) {
        add_span(t, k->seq, to);
    } else if (before(t->rcv, to)) {
        t->rcv = to;
        if (t->n_spans)
            join_spans(t);
    }
    send_ack(t, flow, k, now_us);
    uint32_t n = t->rcv - was;
    if (n && t->fin && t->rcv == t->end) {
        *fin = t->fin_arrived = true;
        n--;
    }
    return n;
}

// --- acknowledgements

static void lost(struct path_tcp *t, uint32_t mss)
{
    uint32_t flight = t->nxt - t->una;
    t->ssthresh = flight / 2 > 2 * mss ? flight / 2 : 2 * mss;
    t->recover = t->top;
    t->grown = 0;
}

// RFC 5681, 3.1, by the bytes that were acknowledged (3465).
static void grow(struct path_tcp *t, uint32_t acked, uint32_t mss)
{
    if (t->cwnd >= WINDOW_MAX)
        return;
    if (t->cwnd < t->ssthresh) {
        t->cwnd += least(acked, mss);
        return;
    }
    t->grown += acked;
    if (t->grown >= t->cwnd) {
        t->grown -= t->cwnd;
        t->cwnd += mss;
    }
}

static void acknowledged(struct path_tcp *t, struct path_flow *flow, const struct path_packet *k, int64_t now_us)
{
    uint32_t mss = mss_of(t, flow->path, now_us), acked = k->seq - t->una;
    // Only a window that was full says something about the network (RFC 7661).
    bool full = t->nxt - t->una + mss > t->cwnd || before(t->nxt, t->top);
    path_tcp_sample(t, now_us - k->sent_us);
    t->backoff = 0;
    t->stuck_us = INT64_MAX;
    t->una = k->seq;
    if (before(t->nxt, t->una))
        t->nxt = t->una;
    if (!t->recovering) {
        t->dup = 0;
        if (full)
            grow(t, acked, mss);
    } else if (!before(t->una, t->recover)) {
        uint32_t flight = t->nxt - t->una + mss;
        t->recovering = false;
        t->dup = 0;
        t->cwnd = flight < t->ssthresh ? (flight > 2 * mss ? flight : 2 * mss) : t->ssthresh;
    } else { // RFC 6582: the next hole
        t->cwnd = t->cwnd > acked ? t->cwnd - acked : 0;
        t->cwnd = t->cwnd + (acked >= mss ? mss : 0) > mss ? t->cwnd + (acked >= mss ? mss : 0) : mss;
        retransmit_first(t, flow, now_us);
    }
    t->rto_at_us = t->una == t->top ? INT64_MAX : now_us + rto_us(t);
}

static void acknowledged_again(struct path_tcp *t, struct path_flow *flow, int64_t now_us)
{
    uint32_t mss = mss_of(t, flow->path, now_us);
    if (t->recovering) {
        t->cwnd += mss;
        return;
    }
    if (t->dup < UINT8_MAX)
        t->dup++;
    if (t->dup != DUP_ACKS || before(t->una, t->recover))
        return;
    lost(t, mss);
    t->recovering = true;
    t->cwnd = t->ssthresh + DUP_ACKS * mss;
    retransmit_first(t, flow, now_us);
    t->rto_at_us = now_us + rto_us(t);
}

// The oldest segment, or an ACK for it, will still arrive: F-RTO (RFC 5682) finds that out, so nothing is resent.
static bool spurious(const struct path_tcp *t, const struct path_flow *flow)
{
    for (const struct path_packet *k = t->acks.head; k; k = k->next)
        if (before(t->una, k->seq))
            return true;
    if (before(t->una, t->rcv)) // it has arrived, and its ACK was lost
        return false;
    for (const struct path_packet *k = t->wire.head; k; k = k->next)
        if (t->una - k->seq < k->n)
            return true;
    return path_queues_hold(flow->path, flow, t->direction, t->una);
}

static void timeout(struct path_tcp *t, struct path_flow *flow, int64_t now_us)
{
    uint32_t mss = mss_of(t, flow->path, now_us);
    if (t->stuck_us == INT64_MAX)
        t->stuck_us = now_us;
    if (t->backoff < UINT8_MAX)
        t->backoff++;
    t->rto_at_us = now_us + rto_us(t);
    if (spurious(t, flow))
        return;
    flow->path->env->totals.timeouts[t->direction]++;
    if (t->cwnd > mss) // not again for the same segment
        lost(t, mss);
    t->recovering = false;
    t->dup = 0;
    t->recover = t->top;
    t->cwnd = mss;
    t->nxt = t->una;
    // Sent whatever the queues say: this is the one segment that all waits for.
    uint32_t n = least(mss, t->top - t->una);
    t->nxt += n;
    transmit(t, flow, t->una, n, now_us);
}

// --- the clock

int64_t path_tcp_next(const struct path_tcp *t)
{
    int64_t next = t->rto_at_us;
    if (t->pending && t->pushed_us < next)
        next = t->pushed_us;
    if (t->wire.head && t->wire.head->at_us < next)
        next = t->wire.head->at_us;
    if (t->acks.head && t->acks.head->at_us < next)
        next = t->acks.head->at_us;
    return next;
}

uint32_t path_tcp_run(struct path_tcp *t, struct path_flow *flow, int64_t now_us, bool deaf, bool *fin)
{
    struct path_env *env = flow->path->env;
    struct path_packet *k;
    uint32_t arrived = 0;
    *fin = false;
    if (t->wire.head && t->wire.head->at_us <= now_us) {
        k = packet_list_take(&t->wire);
        t->under_way--;
        arrived = deaf ? 0 : receive(t, flow, k, now_us, fin);
        path_packet_free(env, k);
    } else if (t->acks.head && t->acks.head->at_us <= now_us) {
        k = packet_list_take(&t->acks);
        t->under_way--;
        if (before(t->una, k->seq))
            acknowledged(t, flow, k, now_us);
        else if (k->seq == t->una && before(t->una, t->top))
            acknowledged_again(t, flow, now_us);
        path_packet_free(env, k);
        path_tcp_pump(t, flow, now_us, 0);
    } else if (t->rto_at_us <= now_us) {
        timeout(t, flow, now_us);
    } else {
        path_tcp_pump(t, flow, now_us > t->pushed_us ? now_us : t->pushed_us, 0);
    }
    return arrived;
}
