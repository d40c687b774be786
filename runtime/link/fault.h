// One fault acting on one device: the state that a fault_spec needs beside it (correlation, a burst, its draws)
// and what it does to one packet, one connect, one close. No clock, no loop, no bytes: the path asks, with the
// monotonic time of its loop, and does what is answered. Several faults of a path are asked one after the other; path.h
// has the order.
//
// Every draw comes from generators seeded with the device's seed and the fault's number, one for each direction and one
// for connections: the same traffic meets the same fate from run to run, and traffic one way does not change the other.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/rng.h"
#include "link/fault_spec.h"
#include "link/path.h"

struct fault_side { // state of one direction
    struct rng rng;
    float z;        // latency: the last standard normal of the correlated row
    uint16_t since; // reorder: packets since the last that jumped the queue
    uint8_t last;   // outcomes of the last packet, for correlation: a bit a type
    uint8_t bad;    // Gilbert–Elliott: in the bad state
};

struct fault { // embed it, or one allocation each; 88 bytes
    struct fault_spec *spec;
    uint64_t number;
    int64_t began_us;       // values and traces run from here: the beginning or the last retune
    int64_t gate_from_us;   // `during`: closed before
    int64_t gate_origin_us; // `during`: a window began here
    int64_t reset_us;       // the next RST, INT64_MAX: none
    struct rng rng;         // dns, connect, tls, reset
    struct fault_side side[2];
};

// References the spec. seed: the device's; two faults of one device differ by their numbers.
void fault_create(struct fault *f, struct fault_spec *spec, uint64_t number, uint64_t seed, int64_t now_us);
void fault_destroy(struct fault *f); // releases the spec
// Another spec in its place: values and traces begin anew; correlation, a burst, the generators go on, and so do the
// cycle of `during` and the row of resets where these stay as they were.
void fault_retune(struct fault *f, struct fault_spec *spec, int64_t now_us);
// Whether it acts now: `during` is open. All functions below answer "nothing" while it does not.
bool fault_acts(const struct fault *f, int64_t now_us);
// When something changes by time alone, later than now: `during` opens or closes, the next reset, a step of a trace
// that has rates, every 1/64 of a rate's ramp or swing (10 ms apart at least). INT64_MAX: never. What waits for
// bandwidth or behind a partition is to be looked at again then; when nothing is held, only reset_us is worth waking up
// for.
int64_t fault_next_edge(const struct fault *f, int64_t now_us);

// --- a packet: a datagram, or a segment of a stream ---------------------------------------------------------------

// Whether it is cut off from this peer in this direction. protocol: that of the packet, "dns" for a lookup, else the
// peer's. A lookup goes to port 53 of some resolver, whatever the peer: lists of hosts do not mean it. An address not
// known (len 0) matches no address of a list.
bool fault_cuts(const struct fault *f, enum path_direction direction, const struct path_peer *peer,
                const char *protocol, int64_t now_us);
// Bytes of the largest packet; 0: as large as it likes.
uint32_t fault_mtu(const struct fault *f, enum path_direction direction, int64_t now_us);

struct fault_damage {
    bool drop;            // lost (of a stream also: corrupted, since the checksum gives it away)
    bool corrupt;         // datagrams: flip the bit `corrupt_bit`
    bool duplicate;       // datagrams: one more of it
    uint32_t corrupt_bit; // 0 .. 8n-1; of byte bit/8
};
// Corruption, loss and duplication of a packet of n bytes; one call a packet and fault: correlation and bursts advance.
// An empty datagram cannot be corrupted.
void fault_damage(struct fault *f, enum path_direction direction, size_t n, bool stream, int64_t now_us,
                  struct fault_damage *out);

struct fault_bandwidth {
    double rate;          // bit/s, > 0
    uint32_t burst_bytes; // may pass at once after a pause
    uint32_t queue_bytes; // limit of the queue, 0: queue_us says it
    int64_t queue_us;     // as the time that it would take to drain
    bool full_drop;       // at the limit: lost; otherwise the sender is held back
};
// false: no limit now, *out untouched.
bool fault_bandwidth(const struct fault *f, enum path_direction direction, bool stream, int64_t now_us,
                     struct fault_bandwidth *out);

// Latency of one packet in us, drawn; 0..FAULT_LATENCY_MAX_US. *jumps (may be NULL: of a stream, where nothing
// overtakes): reorder: it goes at once, ahead of those held for their latency; then the answer is 0, and no other
// fault's latency holds it.
int64_t fault_delay(struct fault *f, enum path_direction direction, int64_t now_us, bool *jumps);
// What fault_delay is in the mean now, without drawing.
int64_t fault_mean_delay(const struct fault *f, enum path_direction direction, int64_t now_us);
#define FAULT_LATENCY_MAX_US INT64_C(3600000000) // the tail of a distribution is clipped here

// --- a connection -------------------------------------------------------------------------------------------------

// A lookup of a name: true when it fails; *delay_us is how long it takes more either way. One draw a call.
bool fault_lookup(struct fault *f, int64_t now_us, int64_t *delay_us);
enum fault_answer { FAULT_ANSWER_GOOD, FAULT_ANSWER_REFUSED, FAULT_ANSWER_NONE };
// A connect: *delay_us is how long the answer takes more (beyond the round trip). NONE: none ever comes.
enum fault_answer fault_connect(struct fault *f, int64_t now_us, int64_t *delay_us);
bool fault_tls_fails(struct fault *f, int64_t now_us); // drawn, one call a handshake
bool fault_half_open(const struct fault *f, int64_t now_us);
int64_t fault_slow_close_us(const struct fault *f, int64_t now_us); // 0: none
// Whether all connections of the device are to be reset now; true once for each time that it is due.
bool fault_reset_due(struct fault *f, int64_t now_us);
