// A stream over a path: two senders, and what happens at its end. A link's (path_link.c) and a library's own socket
// (path_port.c) differ in their operations only. Private to the path.
#pragma once
#include "link/path_tcp.h"

struct path_connect;
struct path_orphan;
struct path_stream;

struct path_stream_ops {
    // Bytes that have come through; they are gone after the call. May end the stream.
    void (*deliver)(struct path_stream *s, enum path_direction direction, const uint8_t *bytes, size_t n);
    // All bytes and then the end have come through.
    void (*end)(struct path_stream *s, enum path_direction direction);
    // The connection is broken: reset, or nobody answers.
    void (*cut)(struct path_stream *s, const struct error *why);
    // That direction's sender has given up; NULL: cut.
    void (*gave_up)(struct path_stream *s, enum path_direction direction);
    // Enough is held, or it is wanted again.
    void (*throttle)(struct path_stream *s, enum path_direction direction, bool stop);
    // A timer of the stream's own, `other_us`, is due. May be NULL.
    void (*other)(struct path_stream *s, int64_t now_us);
    // How long sent bytes may stay without an answer (TCP_USER_TIMEOUT), INT64_MAX: as long as TCP says. May be NULL.
    int64_t (*patience_us)(const struct path_stream *s);
    // Nothing of that direction is to be handed on now: its time stands still. May be NULL.
    bool (*frozen)(const struct path_stream *s, enum path_direction direction);
};

struct path_stream {
    struct link_filter filter; // of a link's stream
    struct path_flow flow;
    const struct path_stream_ops *ops;
    struct path_tcp tcp[2];
    int64_t fin_at_us[2];         // slowClose: when FIN joins the bytes, INT64_MAX: no FIN
    int64_t other_us;             // of `ops->other`
    struct path_connect *connect; // being opened; NULL otherwise
    struct path_orphan *orphan;   // nobody owns the link any more
    struct error *why;            // how the socket ended, for the owner to hear of later
    bool ended;                   // a port's stream: deleted
    bool opened;                  // the socket is connected
    bool severed;                 // the server's end is gone, the device has not heard of it
    bool stopped[2];              // `throttle` has said so
    bool tls_fails, tls_failed;   // the handshake is to fail; the alert is on its way
    bool zombie;                  // an orphan whose end got lost
};

static inline struct path_stream *path_stream_of(const struct path_flow *flow)
{
    return container_of(flow, struct path_stream, flow);
}
// The path must be joined afterwards (path_flow_join). -1: no memory.
int path_stream_create(struct path_stream *s, const struct path_stream_ops *ops, const struct path_peer *peer,
                       struct error *err) WARN_UNUSED_RESULT;
// Leaves the path.
void path_stream_destroy(struct path_stream *s);
bool path_stream_alive(const struct path_stream *s);
// Whether bytes of that direction may go past the model: nothing acts and nothing is before them.
bool path_stream_clear(const struct path_stream *s, enum path_direction direction);
// -1: no memory, or the cap.
int path_stream_push(struct path_stream *s, enum path_direction direction, const uint8_t *bytes, size_t n,
                     struct error *err) WARN_UNUSED_RESULT;
void path_stream_push_end(struct path_stream *s, enum path_direction direction);
bool path_half_open(const struct path *p, int64_t now_us);

// --- path_connect.c: a connection comes about, or does not

enum path_connect_step { PATH_LOOKUP, PATH_SYN, PATH_DONE, PATH_FAILED };
struct path_dial { // the next step of a connect, and when
    enum path_connect_step step;
    uint8_t lookups, syns; // tried
    bool drawn;            // what `connect` says was asked
    bool refused, silent;  // it said
    int64_t more_us;       // connect.delay
    int64_t at_us, rtt_us; // when `step` is; the round trip of the handshake
    struct error err;      // PATH_FAILED
};
void path_dial_create(struct path_dial *d, const struct path_flow *flow, int64_t now_us);
// At at_us: does the step and sets the next.
void path_dial_run(struct path_dial *d, struct path_flow *flow);
bool path_tls_fails(struct path_flow *flow, int64_t now_us); // drawn, once a handshake

struct path_connect {
    struct path_dial dial;
    struct link_addr to, source;
    bool has_source;
};
