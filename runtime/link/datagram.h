// UDP sockets on the loop. What is sent in a turn goes out at its end (hook priority 20), up to 32 datagrams a system
// call (sendmmsg); what has come is read 16 at a time (recvmmsg). Between the owner and the socket there may be
// filters, as on a stream's link: they see whole datagrams, and may hold, drop, duplicate or reorder them.
//
// No callback runs inside datagram_open or datagram_send: errors are told from the loop. An ICMP error (nobody listens
// there: ERR_REFUSED) is told and leaves the socket as it is.
#pragma once
#include "link/link.h"

struct datagram;
struct datagram_env; // what the datagram sockets of a process share: read buffer, pool of output buffers, counters

#define DATAGRAM_MAX 65507u // payload of the largest datagram of IPv4

struct datagram_env_config {
    uint32_t max_out_bytes; // a socket's unsent bytes, headers of the queue included; 0 = 256 KB
    // Called by datagram_open for every socket: the place to push filters. May be NULL.
    void (*on_create)(void *arg, struct datagram *d);
    void *on_create_arg;
};
struct datagram_env *datagram_env_new(struct loop *loop, const struct datagram_env_config *config, struct error *err);
void datagram_env_delete(struct datagram_env *env); // every socket must be closed before; NULL: nothing

struct datagram_totals {
    uint64_t sent, received, bytes_out, bytes_in;
    uint64_t send_calls, receive_calls; // system calls that moved something
    uint64_t dropped;                   // the kernel refused them (too large for the path, no route), not the cap
    uint64_t errors;                    // ICMP errors and the like
    uint64_t open;                      // sockets there are now
};
void datagram_env_totals(const struct datagram_env *env, struct datagram_totals *out);

// Callbacks may send, and close the socket; they may not free it.
struct datagram_events {
    void (*on_datagram)(struct datagram *d, const uint8_t *bytes, size_t n, const struct link_addr *from);
    void (*on_error)(struct datagram *d, const struct error *why);
};

struct datagram_filter;
struct datagram_filter_type {
    const char *name;
    // One datagram from above (to NULL: the connected peer) or below; pass on with datagram_filter_down/up, now, later,
    // twice or not at all. -1: err, the sender is told.
    int (*down)(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *to,
                struct error *err);
    void (*up)(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *from);
    void (*destroy)(
        struct datagram_filter *f); // at the end of the turn in which the socket closed; f->datagram is NULL
};
struct datagram_filter { // embed as the first member
    const struct datagram_filter_type *type;
    struct datagram *datagram;
    struct datagram_filter *above, *below;
};
// On top of the stack; the socket owns it from here.
void datagram_filter_push(struct datagram *d, struct datagram_filter *f);
// At the bottom, at any moment.
void datagram_filter_push_below(struct datagram *d, struct datagram_filter *f);
// Takes it out; not from inside its down or up. Does not destroy it.
void datagram_filter_remove(struct datagram_filter *f);
int datagram_filter_down(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *to,
                         struct error *err) WARN_UNUSED_RESULT;
void datagram_filter_up(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *from);

// Embed it.
struct datagram {
    ev_io io;
    struct datagram_env *env;
    const struct datagram_events *events;
    struct datagram_filter *top;
    struct buf *out; // from the pool while datagrams wait
    struct datagram *next_dirty, *prev_dirty;
    int sys_errno; // to be told from the loop, 0: nothing
    bool dirty, blocked, paused, connected;
};

void datagram_create(struct datagram *d, struct datagram_env *env, const struct datagram_events *events);
// local: address to bind (port 0: any); NULL: any. peer: who datagrams go to and come from; NULL: anybody, then every
// send names its receiver. ERR_STATE: open already.
int datagram_open(struct datagram *d, const struct link_addr *local, const struct link_addr *peer,
                  struct error *err) WARN_UNUSED_RESULT;
bool datagram_is_open(const struct datagram *d);
// The local address, after datagram_open.
int datagram_local(const struct datagram *d, struct link_addr *out, struct error *err) WARN_UNUSED_RESULT;
// Queues one datagram for the end of the turn; n may be 0. ERR_LIMIT: larger than DATAGRAM_MAX, or the cap (nothing was
// taken); ERR_STATE: not open; ERR_INVALID: no receiver.
int datagram_send(struct datagram *d, const void *bytes, size_t n, const struct link_addr *to,
                  struct error *err) WARN_UNUSED_RESULT;
// Paused, it neither reads nor writes.
void datagram_pause(struct datagram *d, bool paused);
size_t datagram_unsent(const struct datagram *d); // bytes of payload
size_t datagram_footprint(const struct datagram *d);
// flush: what is queued is written first, as far as the kernel takes it at once. Idempotent.
void datagram_close(struct datagram *d, bool flush);
