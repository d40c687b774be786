// A device's link: one stream socket under an adapter, with a stack of filters between them.
//
// Output is collected and written once per loop turn (hook priority 20), or earlier when 256 links wait. Input is read
// into one buffer shared by all links of the process and handed up as it came; what the adapter does not take it must
// keep. A link with no filter costs nothing for having the stack: the socket is the bottom and the calls go to it
// directly. No callback ever runs inside link_open, link_send or link_commit: a write that fails is reported from the
// loop.
#pragma once
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "core/buf.h"
#include "core/loop.h"

struct link;
struct link_env; // what the links of a process share: loop, read buffer, pool of output buffers, counters

// How what the links have to send at the end of a turn goes to the kernel: a send() each, or all in one call through
// io_uring, which costs less CPU from some dozens on. Reading and waiting are epoll's either way, and so is all that
// can be seen from outside.
enum link_io { LINK_IO_AUTO, LINK_IO_EPOLL, LINK_IO_URING }; // auto: io_uring where the kernel lets us
extern const char *const link_io_names[];                    // "auto", "epoll", "io_uring", NULL

struct link_env_config {
    enum link_io io;         // LINK_IO_URING: link_env_new fails with ERR_UNSUPPORTED where it is not to be had
    uint32_t max_out_bytes;  // a link's unsent bytes; beyond: link_send fails with ERR_LIMIT. 0 = 1 MB
    uint32_t read_buf_bytes; // 0 = 64 KB
    // Called by link_open and link_adopt for every connection before it is up: the place to push filters (they die with
    // each connection). May be NULL.
    void (*on_create)(void *arg, struct link *link);
    void *on_create_arg;
};
struct link_env *link_env_new(struct loop *loop, const struct link_env_config *config, struct error *err);
void link_env_delete(struct link_env *env);           // every link must be closed before
enum link_io link_env_io(const struct link_env *env); // the one in use: never LINK_IO_AUTO

struct link_totals {
    uint64_t bytes_in, bytes_out, writes, reads; // writes: sends, also those that went together
    uint64_t open;                               // sockets there are now, connecting ones included
};
void link_env_totals(const struct link_env *env, struct link_totals *out);
// The cap of a link's unsent bytes: a packet larger than this can never be sent.
uint32_t link_env_max_out(const struct link_env *env);
// The datagram sockets beside them (datagram.h), made when first asked for; the link_env's. NULL without memory.
struct datagram_env;
struct datagram_env *link_env_datagrams(struct link_env *env, struct error *err);

// What the adapter gets told. Callbacks may call link_close and link_send; the link is not freed inside.
struct link_events {
    void (*on_open)(struct link *link);
    void (*on_data)(struct link *link, const uint8_t *bytes, size_t n);
    // The unsent bytes fell to zero after a partial write, or a path has passed on all that it held.
    void (*on_drain)(struct link *link);
    // The connection ended: peer closed, error, refused. Not called for link_close by the owner. The link is closed.
    void (*on_close)(struct link *link, const struct error *why);
};

// A filter sees bytes on their way down and up and may hold, delay, cut or drop them. It looks the same from above as
// the socket. Filters are there for faults (room chaos), TLS and WebSocket (transport.h).
struct link_filter;
struct link_addr;
struct link_filter_type {
    const char *name;
    // Bytes from above; pass on with link_filter_down (now or later). -1: err, the link closes with on_close.
    int (*down)(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err);
    // Bytes from below; pass on with link_filter_up.
    void (*up)(struct link_filter *f, const uint8_t *bytes, size_t n);
    // The layer below is open; call link_filter_opened when this one is. NULL: passed on at once.
    void (*opened)(struct link_filter *f);
    // The layer below has ended; pass on with link_filter_closed, now or when the bytes held are up. NULL: at once.
    void (*closed)(struct link_filter *f, const struct error *why);
    // Bytes from above that it holds: they count as unsent. NULL: none ever.
    size_t (*held)(const struct link_filter *f);
    // This end closes in good order: the last thing to be said on this layer (close_notify, a close frame) goes down,
    // once. Asked from the top of the stack to its bottom, of filters that have failed or are not up yet too. NULL:
    // nothing.
    void (*finish)(struct link_filter *f);
    // User-space bytes of the filter, those it holds included. NULL: what `held` says.
    size_t (*footprint)(const struct link_filter *f);
    // The link was paused or held and may not be any more. NULL: nothing.
    void (*resumed)(struct link_filter *f);
    // The two below are asked of the lowest filter only; a device's path (path.h) has them. NULL: no.
    // link_open was called: true: the filter calls link_connect when the time has come, or link_filter_closed.
    bool (*opening)(struct link_filter *f, const struct link_addr *to, const struct link_addr *source);
    // This end lets go of its socket, in good order (FIN) or not (RST), and all filters had their last words: true: the
    // filter has taken the socket over (link_inherit) and itself off the link.
    bool (*leave)(struct link_filter *f, bool flush);
    // Frees it; timers of its own are stopped here. Runs at the end of the turn in which the link closed, f->link is
    // NULL.
    void (*destroy)(struct link_filter *f);
};
struct link_filter { // embed as the first member
    const struct link_filter_type *type;
    struct link *link;                 // NULL once the link has closed: what is passed on from then on goes nowhere
    struct link_filter *above, *below; // NULL: the adapter, the socket
};
// Puts f on top of the stack (before link_open, in on_create, or while open for filters that need no handshake). Those
// pushed before link_open lie above those of on_create; when it returns -1 they are gone. The link owns it from here.
void link_filter_push(struct link *link, struct link_filter *f);
// At the bottom, at any moment.
void link_filter_push_below(struct link *link, struct link_filter *f);
// Takes it out; bytes it holds must have been passed on by its type before. Does not destroy it.
void link_filter_remove(struct link_filter *f);
// -1: ERR_CLOSED the link is gone, ERR_LIMIT the cap (a sixteenth and 4 KB above max_out_bytes, for what filters put
// around the adapter's bytes); nothing was taken.
int link_filter_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
void link_filter_up(struct link_filter *f, const uint8_t *bytes, size_t n);
void link_filter_opened(struct link_filter *f);
// Also for a filter that gives up while the socket is fine: what it sent down last is still written.
void link_filter_closed(struct link_filter *f, const struct error *why);
// Of all filters of a link.
size_t link_filters_footprint(const struct link *link);
// The reference filter: hands everything through. Used by tests and to measure what a layer costs.
struct link_filter *link_filter_pass_new(void);

struct link_addr {
    struct sockaddr_storage addr;
    socklen_t len;
};

// Embed it in the connection. 104 bytes.
struct link {
    ev_io io;
    struct link_env *env;
    const struct link_events *events;
    struct link_filter *top; // NULL: no filter
    struct buf *out;         // from the pool while bytes wait, else NULL
    int64_t opened_us;       // when connect() was called; when open, when TCP was established
    uint32_t sent;           // bytes of out already given to the kernel
    int16_t sys_errno;       // of the write that failed, 0: a filter failed
    uint16_t dirty_slot;     // place in the env's list of links with output
    uint8_t state;           // enum link_state
    uint8_t flags;           // private
    bool satiated;           // private: link_hold
};
enum link_state {
    LINK_CLOSED,
    LINK_CONNECTING, // TCP or the handshake of a filter
    LINK_OPEN,
    LINK_CLOSING // the socket has ended, a filter still holds bytes or the news of it
};

void link_create(struct link *link, struct link_env *env, const struct link_events *events);
// Starts a TCP connection (TCP_NODELAY, non-blocking, close-on-exec). source may be NULL; it is bound with
// IP_BIND_ADDRESS_NO_PORT. The result comes as on_open or on_close; -1 for what fails at once (no descriptor, bad
// address): then no callback comes. No connect timeout of its own: the adapter has the deadline for the whole
// handshake.
int link_open(struct link *link, const struct link_addr *to, const struct link_addr *source,
              struct error *err) WARN_UNUSED_RESULT;
// Takes over a connected, non-blocking stream descriptor; on_open follows from the loop as after link_open. -1: the
// descriptor stays the caller's.
int link_adopt(struct link *link, int fd, struct error *err) WARN_UNUSED_RESULT;
// TCP gives up when sent bytes stay unacknowledged this long (TCP_USER_TIMEOUT): finds a dead peer while sending. For
// an established link; best effort, not every stream has it.
void link_dead_after(struct link *link, int64_t us);
// Paused, an open link neither reads nor writes; what is sent is queued up to the cap. A link that closes is not paused
// any more.
void link_pause(struct link *link, bool paused);
// Its owner has enough: an open link does not read, so that TCP stalls its peer, and goes on writing.
void link_hold(struct link *link, bool hold);
// Queues bytes for the end of this turn. -1: not open, over max_out_bytes (nothing was queued), or a filter failed (the
// link closes). At the cap the link first tries to write.
int link_send(struct link *link, const void *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
// Room to encode in place: n bytes at the end of the output, or NULL as link_send would fail. link_commit says how many
// were written and must follow before anything else happens to any link. Under a filter it is a scratch buffer which
// link_commit hands to the filter.
uint8_t *link_reserve(struct link *link, size_t n, struct error *err);
void link_commit(struct link *link, size_t n);
// Bytes not yet given to the kernel, those that filters hold included.
size_t link_unsent(const struct link *link);
// User-space memory of the link beyond struct link.
size_t link_footprint(const struct link *link);
// LINK_FLUSH: write what is queued, then FIN (the link object may be freed at once: what cannot be written now is lost,
// and so is what filters hold, but for a path, which brings it and the end in its own time). LINK_ABORT: RST, nothing
// is written. No callback comes after it; filters are destroyed. Idempotent.
enum link_close_mode { LINK_FLUSH, LINK_ABORT };
void link_close(struct link *link, enum link_close_mode mode);
// In on_close, and in `closed` of a filter: it ended by RST (of the peer or of a fault) or an error of the socket, not
// by FIN.
bool link_was_reset(const struct link *link);
// Writes out all links that wait, now.
void link_env_flush(struct link_env *env);
