// One direction of a stream over a path: a TCP sender, the network between, and its receiver, in one object. Bytes are
// held until they have arrived in order; segments and ACKs under way are packets without bytes.
//
// Reno with NewReno's recovery (RFC 5681, 6582), limited transmit (3042), timeouts (6298, with the floor of Linux), an
// initial window of ten segments (6928). What is left out is written in docs/internals/link.md.
#pragma once
#include "link/path_impl.h"

struct path_span {
    uint32_t from, to; // sequence numbers
};

struct path_tcp {
    struct buf data; // what has not arrived in order, behind `skip` bytes that have
    uint32_t skip;
    uint32_t rcv;                    // receiver: the next byte expected
    uint32_t una, nxt;               // sender: oldest byte without ACK, next to send (after a timeout behind `top`)
    uint32_t top, end;               // sent up to here; what there is ends here, with 1 for FIN
    uint32_t recover;                // top when the last loss was found
    uint32_t cwnd, ssthresh, grown;  // bytes; `grown`: acknowledged since cwnd last grew by a segment
    uint32_t srtt_us, rttvar_us;     // 0: no measurement yet
    uint32_t base_rtt_us;            // of the real network below
    struct packet_list wire, acks;   // under way, in the order in which they arrive
    int64_t last_at_us, last_ack_us; // nothing overtakes: the latest arrival so far
    int64_t rto_at_us;               // INT64_MAX: off
    int64_t stuck_us;                // since when there was no ACK for what was resent, INT64_MAX: it goes well
    int64_t pushed_us;               // when bytes came last
    int64_t sent_us;                 // when something was sent last
    struct path_span *spans;         // received ahead of a gap, ascending, apart
    uint16_t n_spans, spans_size;
    uint16_t under_way; // packets of this direction, in queues and on the wire, and their ACKs
    uint8_t direction;  // enum path_direction
    uint8_t backoff, dup;
    bool recovering, fin, fin_arrived, stalled, pending;
};

struct path_stream;

void path_tcp_create(struct path_tcp *t, enum path_direction direction);
void path_tcp_destroy(struct path_tcp *t, struct path_flow *flow);
// 0; -1: no memory, or PATH_STREAM_CAP.
int path_tcp_push(struct path_tcp *t, const uint8_t *bytes, size_t n, int64_t now_us) WARN_UNUSED_RESULT;
void path_tcp_push_fin(struct path_tcp *t, int64_t now_us);
// Gives up all that has not arrived.
void path_tcp_drop(struct path_tcp *t, struct path_flow *flow);
// A handshake measured the round trip.
void path_tcp_sample(struct path_tcp *t, int64_t rtt_us);
// Bytes that have not arrived.
static inline uint32_t path_tcp_held(const struct path_tcp *t)
{
    return t->data.len - t->skip;
}
// Something has not arrived, FIN included.
static inline bool path_tcp_busy(const struct path_tcp *t)
{
    return t->rcv != t->end;
}
int64_t path_tcp_next(const struct path_tcp *t);
// It is out of the queues: arrives after its latency.
void path_tcp_carry(struct path_tcp *t, struct path_packet *k, int64_t now_us);
// Sends what the windows allow, `sends` segments at most (0: all); whether anything was sent.
bool path_tcp_pump(struct path_tcp *t, struct path_flow *flow, int64_t now_us, unsigned sends);
// What is due. Returns how many bytes, and *fin, have now arrived in order: they are in path_tcp_take. deaf: nobody is
// there to receive: segments arrive and nothing answers.
uint32_t path_tcp_run(struct path_tcp *t, struct path_flow *flow, int64_t now_us, bool deaf, bool *fin);
// Up to PATH_SCRATCH of the bytes that path_tcp_run has said have arrived, into `to`.
uint32_t path_tcp_take(struct path_tcp *t, uint8_t *to, uint32_t n);
size_t path_tcp_footprint(const struct path_tcp *t);
