// A device's path to the network: the faults that act on it now, and what they hold. Every connection of the device
// passes its bytes through it: streams as a TCP sender would bring them through such a network (path_stream),
// datagrams one by one. A device without faults has no path, and its links never hear of one.
//
// Order in which faults act, whatever the order they came in:
//   partition, mtu, corrupt, loss, duplicate → bandwidth (a queue a direction, shared by all connections of the device)
//   → latency and reorder.
// Several faults of one type: losses are independent draws, latencies add up, each bandwidth is a queue of its own in
// the order they were applied, partitions cut what any of them cuts.
//
// Changes act on what passes from then on; what is in the queue of a bandwidth goes on at the new rate. What is under
// way when a latency ends still takes its time, and on a stream nothing overtakes it. When the last fault is gone and
// nothing is held any more, the filters take themselves off: the next path is attached anew.
#pragma once
#include "core/loop.h"
#include "core/rng.h"
#include "link/datagram.h"
#include "link/fault_spec.h"
#include "link/link.h"

struct path;
struct path_env; // what the paths of a process share: the loop, counters

enum path_direction { PATH_UP, PATH_DOWN }; // from the device to the server; from the server to the device

struct path_env *path_env_new(struct loop *loop, struct error *err);
// After the device's connections, before their link_env: closed connections whose end is under way are closed at once.
// Filters that the link_env still has to bury may hold paths till then. NULL: nothing.
void path_env_delete(struct path_env *env);
struct path_totals {                                                // all counts since the beginning; bytes held: now
    uint64_t dropped[2], duplicated[2], reordered[2], corrupted[2]; // datagrams, segments of streams
    uint64_t retransmitted[2]; // segments of streams: by fast retransmit or timeout
    uint64_t timeouts[2];      // retransmission timeouts of streams
    uint64_t queue_full[2];    // of `dropped`: no place in a bandwidth's queue
    uint64_t held_bytes, paths;
    uint64_t dns_failed, connects_refused, connects_timed_out, tls_failed, resets;
};
void path_env_totals(const struct path_env *env, struct path_totals *out);

// seed: the device's. Counted: its device and each connection that uses it hold it.
struct path *path_new(struct path_env *env, uint64_t seed, struct error *err);
struct path *path_ref(struct path *p);
void path_release(struct path *p);
// Adds a fault under a number that identifies it; ERR_STATE: that number acts already. The spec is referenced.
int path_apply(struct path *p, uint64_t number, struct fault_spec *spec, struct error *err) WARN_UNUSED_RESULT;
// The same of a fault that acts elsewhere since then (loop time): ramps, traces and windows of `during` stand where
// they would if it had begun here then, too.
int path_apply_since(struct path *p, uint64_t number, struct fault_spec *spec, int64_t since_us,
                     struct error *err) WARN_UNUSED_RESULT;
// In place of the spec it had; state that still makes sense (a bucket's level, a burst) is kept. ERR_NOT_FOUND.
int path_change(struct path *p, uint64_t number, struct fault_spec *spec, struct error *err) WARN_UNUSED_RESULT;
// false: there is none. Partitioned streams resend when a TCP sender would next.
bool path_remove(struct path *p, uint64_t number);
unsigned path_faults(const struct path *p);
// RST on all connections, now; their owners are told ERR_CLOSED from the loop. How many there were.
unsigned path_reset(struct path *p);
size_t path_footprint(const struct path *p);

// Who is at the other end, for partitions and for what depends on the protocol. Copied.
struct path_peer {
    const char *protocol; // the adapter's name; must outlive the path (adapters' names do)
    const char *host;     // as in the URL, may be NULL; copied
    struct link_addr addr;
    bool tls;
};

// A stream: before link_open, or on an open link at any moment (bytes may be on their way). Puts a filter below all
// others; a second call does nothing, and a stream that only brings what an earlier path of the device left goes on
// here. Like all filters it goes with the connection, also when link_open fails. With one there, link_open lets the
// path decide when and whether the connection comes about (dns, connect, SYN delayed and lost: one round trip and
// retries after 1, 3, 7 s …); the link is LINK_CONNECTING meanwhile. link_close lets go of the link at once; the path
// brings what was sent and FIN (or RST) in its own time, for at most 1,024 connections of a process at once.
int path_attach_link(struct path *p, struct link *link, const struct path_peer *peer,
                     struct error *err) WARN_UNUSED_RESULT;
// A datagram socket, at any moment, also before datagram_open. Below all other filters. What is under way when the
// socket closes is lost, and so is what arrives at one that is paused.
int path_attach_datagram(struct path *p, struct datagram *d, const struct path_peer *peer,
                         struct error *err) WARN_UNUSED_RESULT;

// For libraries whose sockets are their own (libcoap): one flow of datagrams, or one stream of bytes.
struct path_port;
struct path_port_events {
    // Goes on in that direction, from the loop, never inside path_port_pass; of a stream: in order. May delete the
    // port.
    void (*deliver)(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n);
    // Reset by a fault. Streams: also when the path gives up. May delete the port.
    void (*cut)(void *owner, const struct error *why);
    // A stream holds `held` bytes of the direction and wants no more for now, or wants more again. May be NULL.
    void (*throttle)(void *owner, enum path_direction direction, bool stop);
};
struct path_port *path_port_new(struct path *p, bool stream, const struct path_peer *peer,
                                const struct path_port_events *events, void *owner, struct error *err);
void path_port_delete(struct path_port *port); // what it holds is lost; NULL: nothing
// A stream of a port has no end in the model: before the owner acts upon the end of its socket it waits until
// path_port_held is 0, or loses what is held.
// true: nothing acts on it: the caller moves the bytes on by itself, now. false: taken (copied, held or dropped). No
// memory: dropped and counted.
bool path_port_pass(struct path_port *port, enum path_direction direction, const uint8_t *bytes,
                    size_t n) WARN_UNUSED_RESULT;
size_t path_port_held(const struct path_port *port);
// Whether a connect (or a lookup; datagrams have no handshake) may go on: 0 after *delay_us (0: at once); -1: it fails
// after *delay_us with err (ERR_RESOLVE, ERR_REFUSED, ERR_TLS, ERR_TIMEOUT: then the delay is 0 and the owner lets its
// own deadline run out).
int path_port_connect(struct path_port *port, int64_t *delay_us, struct error *err) WARN_UNUSED_RESULT;
