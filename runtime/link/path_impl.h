// What the files of a path share. Nobody else includes it.
//
//   path.c           the device's path: faults, the clock of its events, what happens to one packet
//   path_queue.c     packets and the queues of bandwidths
//   path_tcp.c       one direction of a stream: a TCP sender and its receiver
//   path_stream.c    a stream: two of those, its end, its life
//   path_link.c      a stream as the lowest filter of a link
//   path_connect.c   lookups and SYNs
//   path_datagram.c  datagrams under way, and the filter of a socket
//   path_port.c      both for sockets that are a library's own
//
// Everything that will happen on a path has a time: a packet leaves a queue or arrives, a timer of a sender runs out.
// path_run does what is due in the order of those times, each at its own time (`now_us`, which lags behind the loop's
// by a tick at most), so that the ticks of the wheel do not show in what is modelled.
#pragma once
#include "link/fault.h"
#include "link/path.h"

#define PATH_HELD_MAX (256u << 10) // bytes of datagrams a path holds, with 64 for each; beyond: dropped
#define PATH_DATAGRAM_COST 64u
#define PATH_STREAM_HELD (256u << 10)    // bytes held down at which a stream stops reading; goes on at half of it
#define PATH_STREAM_CAP (16u << 20)      // no stream ever holds more in a direction
#define PATH_IP_TCP 40u                  // headers of a segment, for mtu and bandwidth
#define PATH_IP_UDP 28u                  // headers of a datagram
#define PATH_ORPHANS_MAX 1024u           // closed connections whose end is still under way
#define PATH_GIVE_UP_US 924600000        // tcp_retries2 = 15: a connection without an answer ends
#define PATH_ORPHAN_GIVE_UP_US 100000000 // the same once nobody owns it any more (tcp_orphan_retries)
#define PATH_SCRATCH (64u << 10)

struct path_flow;

// A segment, an ACK or a datagram under way. Segments and ACKs hold no bytes.
struct path_packet {
    struct path_packet *next;
    struct path_flow *flow; // NULL: it went while this was under way
    int64_t at_us;          // when it arrives, once it is out of the queues
    int64_t sent_us;
    uint32_t delay_us; // latency drawn for it
    uint32_t seq;      // segment: of its first byte; ACK: what is expected next. Datagrams: order of arrival, ties
    uint32_t n;        // payload
    uint32_t size;     // with headers
    uint8_t direction;
    bool jumps;    // ahead of those held for their latency
    bool has_addr; // datagrams: a struct link_addr lies before the bytes
    bool pooled;
    uint8_t bytes[];
};
struct packet_list {
    struct path_packet *head, *last;
};

struct path_env {
    struct loop *loop;
    struct path_totals totals;
    struct path_packet *pool; // segments and ACKs for reuse
    unsigned n_pool;
    struct path_orphan *orphans;
    unsigned n_orphans;
    uint8_t *scratch; // PATH_SCRATCH: bytes that are being handed on
    bool deleted;     // it goes with its last path
};

// The queue of one bandwidth in one direction; made when first needed.
struct path_queue {
    struct packet_list list;
    uint32_t bytes;
    double free_us;   // when what it has let through would have passed at its rate (GCRA)
    double rate;      // bit/s at which the head is served
    int64_t leave_us; // of the head, INT64_MAX: none
};
struct path_fault {
    struct path_fault *next;
    struct path_queue *queue[2];
    struct fault fault;
};

// One connection's (or socket's) share in a path; first member of streams, sockets and ports.
struct path_flow {
    struct path *path;
    struct path_flow *next, **prev;
    struct path_peer peer; // host is the flow's own
    bool stream;
    bool link; // a link's or a datagram socket's: takes itself off when there is no fault any more. Else a port's
};

struct path {
    struct path_env *env;
    unsigned refs, n_faults, n_flows;
    uint64_t seed;
    struct timer timer;
    int64_t now_us;
    int64_t edge_us;           // the next change of a fault by time alone
    struct path_fault *faults; // in the order in which they came
    struct path_flow *flows, **flows_end;
    struct path_packet **heap; // datagrams under way, the next to arrive first
    uint32_t n_heap, heap_size, order;
    uint32_t held;                // bytes of datagrams, queues included, with their cost
    uint32_t n_queued;            // packets in queues
    bool running;                 // inside path_run: what it walks over stays
    struct path_port *dead_ports; // deleted meanwhile
    bool reset_pending;           // path_reset from the loop
};

// --- path.c

// No fault acts at this moment, and none will before something is told.
bool path_is_quiet(const struct path *p);
// Runs the path in the next turn.
void path_kick(struct path *p);
void path_flow_join(struct path *p, struct path_flow *flow);
void path_flow_leave(struct path_flow *flow);
void path_flow_last(struct path_flow *flow); // to the end of the row
int path_flow_create(struct path_flow *flow, const struct path_peer *peer, struct error *err) WARN_UNUSED_RESULT;
void path_flow_destroy(struct path_flow *flow);

struct path_fate {
    bool drop;
    uint8_t copies; // beside itself
    uint8_t n_bits;
    uint32_t bits[4]; // to be flipped
};
// Partition, mtu, corruption, loss, duplication: what becomes of a packet of n bytes with headers of `headers`. Counts
// it.
void path_judge(struct path_flow *flow, enum path_direction direction, size_t n, uint32_t headers, int64_t now_us,
                struct path_fate *fate);
bool path_cuts(const struct path_flow *flow, enum path_direction direction, const char *protocol, int64_t now_us);
// Latency, drawn; *jumps may be NULL.
int64_t path_draw_delay(struct path *p, enum path_direction direction, int64_t now_us, bool *jumps);
// How long a packet takes now in the mean: latency and what waits in the queues.
int64_t path_mean_delay(const struct path *p, enum path_direction direction, int64_t now_us);
// A packet without payload that the model does not follow on its way (SYN, RST, a lookup): -1: lost; else how long it
// takes.
int64_t path_probe(struct path_flow *flow, enum path_direction direction, const char *protocol, int64_t now_us);
uint32_t path_mtu(const struct path *p, enum path_direction direction, int64_t now_us); // 0: none

// --- path_queue.c

struct path_packet *path_packet_take(struct path_env *env); // without bytes; NULL: no memory
struct path_packet *path_packet_new(size_t bytes);
void path_packet_free(struct path_env *env, struct path_packet *k);
void packet_list_add(struct packet_list *list, struct path_packet *k);
struct path_packet *packet_list_take(struct packet_list *list); // NULL: empty
void packet_list_clear(struct path_env *env, struct packet_list *list);
// Sends a packet through the queues of all bandwidths and on. True, or dropped and freed: a queue is full.
bool path_enter(struct path *p, struct path_packet *k, int64_t now_us);
// Whether a segment of that size finds room in all queues that do not drop.
bool path_has_room(const struct path *p, enum path_direction direction, uint32_t size, int64_t now_us);
int64_t path_queues_next(const struct path *p);
void path_queues_run(struct path *p, int64_t now_us);  // lets go what leaves by now
void path_queues_edge(struct path *p, int64_t now_us); // rates may have changed
// The fault goes: what its queues hold goes on.
void path_queues_drain(struct path *p, struct path_fault *f, int64_t now_us);
void path_queues_forget(struct path *p, const struct path_flow *flow);
bool path_queues_hold(const struct path *p, const struct path_flow *flow, enum path_direction direction, uint32_t seq);
void path_queue_delete(struct path *p, struct path_queue *q);

// --- path_stream.c and path_datagram.c, called by path.c and path_queue.c

int64_t path_flow_next(const struct path_flow *flow);
void path_stream_run(struct path_flow *flow, int64_t now_us);
void path_stream_room(struct path *p, enum path_direction direction, int64_t now_us); // a queue has let something go
void path_stream_carry(struct path_packet *k, int64_t now_us);                        // it is out of the queues
void path_stream_reset(struct path_flow *flow);
bool path_stream_retire(struct path_flow *flow); // takes itself off when it holds nothing
size_t path_stream_footprint(const struct path_flow *flow);
int64_t path_datagrams_next(const struct path *p);
void path_datagrams_run(struct path *p, int64_t now_us);                         // the earliest arrives
void path_datagram_carry(struct path *p, struct path_packet *k, int64_t now_us); // no memory: dropped
void path_datagram_free(struct path *p, struct path_packet *k);                  // and what it was counted as held
void path_datagrams_forget(struct path *p, const struct path_flow *flow);
void path_datagrams_clear(struct path *p);
bool path_datagram_retire(struct path_flow *flow);
// Takes n bytes in; true: nothing acts, the caller sends them on.
bool path_datagram_pass(struct path_flow *flow, enum path_direction direction, const uint8_t *bytes, size_t n,
                        const struct link_addr *addr);
void path_port_deliver(struct path_flow *flow, enum path_direction direction, const uint8_t *bytes, size_t n);
void path_port_sweep(struct path *p);

// --- path_link.c

void path_orphans_clear(struct path_env *env);
