// One simulated device's MQTT connection: a state machine on a link, one timer, a session.
//
//   OFFLINE ──open──▶ WAITING ──window──▶ CONNECTING ──TCP──▶ HANDSHAKE ──CONNACK──▶ ONLINE
//      ▲                 ▲                    └───────┬───────────┘                    │
//      │                 └──────── timer ── BACKOFF ◀─┴──────── connection lost ───────┘
//      └── CLOSING ◀── conn_close in any state (on_offline at the end of the turn)
//
// The timer means, by state: CONNECTING, HANDSHAKE deadline of the whole handshake; ONLINE keep-alive; BACKOFF next
// attempt. Owners may do anything inside an event, conn_delete included: `depth` counts the calls that are on the
// stack, and the memory goes when the last one returns.
#pragma once
#include "adapter/adapter.h"
#include "adapter/mqtt/extra.h"
#include "adapter/mqtt/parser.h"
#include "adapter/mqtt/session.h"
#include "adapter/mqtt/target.h"

enum mqtt_conn_state {
    MQTT_OFFLINE,
    MQTT_WAITING,
    MQTT_CONNECTING,
    MQTT_HANDSHAKE,
    MQTT_ONLINE,
    MQTT_BACKOFF,
    MQTT_CLOSING
};

enum { // struct mqtt_conn.flags
    MQTT_WAS_ONLINE = 1,
    MQTT_PING_SENT = 2, // PINGRESP is due
    MQTT_DOOMED = 4,    // deleted while one of its events runs
    MQTT_DROPPED = 8,   // the target's list `dropped` holds messages of it
    // Whether `extra` has to be looked at: with thousands of connections that is a cache miss for each message.
    MQTT_LIMITED = 16, // the server takes less than everything
    MQTT_ALIASES = 32, // it allows topic aliases
    MQTT_NARROW = 64,  // its window or keep-alive is not the options'
    MQTT_WATCHED = 128 // messages may be responses or those of a shared subscription
};

struct mqtt_conn {
    struct link link;
    struct timer timer;
    struct mqtt_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct mqtt_conn *next; // WAITING, CLOSING: in a list of the site, of the target
    union {
        struct mqtt_conn *prev; // the same
        int64_t due_us;         // CONNECTING, HANDSHAKE: when the attempt was meant to begin; 0: as it did
    };
    struct mqtt_extra *extra; // NULL: 3.1.1 over plain TCP
    struct path *path;        // of the device, a reference; NULL: nothing acts on its network
    struct mqtt_session session;
    struct mqtt_parser parser;
    struct rng rng;    // backoff
    int64_t since_us;  // WAITING: when to connect; CONNECTING, HANDSHAKE: when connect() was called; ONLINE: when bytes
                       // were last sent
    uint16_t failures; // consecutive failed attempts
    uint8_t state, flags;
    uint8_t depth;       // events and callbacks on the stack
    uint8_t addr, tried; // CONNECTING: index of the site's address; how many were tried
};

// The connection behind its name in the adapter interface. conn may be NULL.
static inline struct mqtt_conn *mqtt_conn_of(struct adapter_conn *conn)
{
    return (struct mqtt_conn *)(void *)conn;
}

// conn.c: life and death; the first of them are adapter_ops.
struct adapter_conn *mqtt_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err);
void mqtt_conn_delete(struct adapter_conn *conn);
int mqtt_conn_open(struct adapter_conn *conn, struct error *err);
void mqtt_conn_close(struct adapter_conn *conn, enum adapter_close mode);
void mqtt_conn_freeze(struct adapter_conn *conn, bool frozen);
int mqtt_conn_renew(struct adapter_conn *conn, struct error *err);
void mqtt_conn_path(struct adapter_conn *conn, struct path *path);
// Starts the handshake on a connected stream descriptor, without resolver and window (test harnesses, fuzzing).
int mqtt_conn_attach(struct mqtt_conn *c, int fd, struct error *err);
// The target's hook: the connection at the head of `waiting` starts; cannot start; the one at the head of `closing` is
// told.
void mqtt_conn_attempt(struct mqtt_conn *c);
void mqtt_conn_unreachable(struct mqtt_conn *c, const struct error *why);
void mqtt_conn_closed(struct mqtt_conn *c);
// A message was pushed out of the queue; frees it.
void mqtt_conn_dropped(struct mqtt_conn *c, struct mqtt_out *out);
// A message has ended: told, freed. why NULL: well. The caller is inside mqtt_conn_enter.
void mqtt_conn_told(struct mqtt_conn *c, struct mqtt_out *o, const struct error *why);
// It will never be acknowledged: counted too.
void mqtt_conn_lost(struct mqtt_conn *c, struct mqtt_out *o, const struct error *why);
// The attempt or the connection has failed: closes, tells, and reconnects if it may. The caller is inside
// mqtt_conn_enter.
void mqtt_conn_fail(struct mqtt_conn *c, const struct error *why, bool may_retry);
// The same with the server's reason: of a CONNACK that refused, of a DISCONNECT.
void mqtt_conn_refused(struct mqtt_conn *c, const struct error *why, uint8_t reason);
// The peer did what the protocol forbids: version 5 says so in a DISCONNECT before it fails.
void mqtt_conn_violated(struct mqtt_conn *c, const struct error *why);
// The server wants it to go elsewhere (version 5): closes, tells, and connects there at once.
void mqtt_conn_redirect(struct mqtt_conn *c, struct mqtt_site *site, const struct error *why, uint8_t reason);
// CONNACK accepted.
void mqtt_conn_online(struct mqtt_conn *c, bool session_present);
void mqtt_conn_pong(struct mqtt_conn *c);
static inline void mqtt_conn_enter(struct mqtt_conn *c)
{
    c->depth++;
}
// May free c.
void mqtt_conn_leave(struct mqtt_conn *c);
static inline bool mqtt_conn_is5(const struct mqtt_conn *c)
{
    return c->target->options.version == 5;
}
static inline struct mqtt_site *mqtt_conn_site(struct mqtt_conn *c)
{
    return c->extra && c->extra->site ? c->extra->site : &c->target->origin;
}
// In-flight messages there may be; seconds of keep-alive.
static inline uint32_t mqtt_conn_window(const struct mqtt_conn *c)
{
    return c->flags & MQTT_NARROW ? c->extra->window : c->target->options.queue.window;
}
static inline uint16_t mqtt_conn_keep_alive(const struct mqtt_conn *c)
{
    return c->flags & MQTT_NARROW ? c->extra->keep_alive : c->target->options.keep_alive;
}
static inline bool mqtt_conn_up(const struct mqtt_conn *c)
{
    return (c->state == MQTT_ONLINE || c->state == MQTT_HANDSHAKE) && !(c->flags & MQTT_DOOMED);
}

// incoming.c: what the broker sends.
void mqtt_incoming(struct mqtt_conn *c, const uint8_t *bytes, size_t n);

// outgoing.c: what goes to the broker.
int mqtt_publish(struct adapter_conn *conn, const struct adapter_message *m, uint32_t token, struct error *err);
// The same with what version 5 has beside it (more: may be NULL).
int mqtt_publish_with(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt_more *more, uint32_t token,
                      struct error *err);
int mqtt_request(struct mqtt_conn *c, enum mqtt_type type, const struct adapter_subscription *s, uint32_t token,
                 struct error *err);
// Subscribes to the connection's own response topic.
int mqtt_send_own_subscription(struct mqtt_conn *c, const char *filter, size_t len, struct error *err);
unsigned mqtt_pending(const struct adapter_conn *conn);
// Sends what waits, as far as window and link allow.
void mqtt_send_waiting(struct mqtt_conn *c);
// Subscribes anew to all that is remembered. -1: err.
int mqtt_send_subscriptions(struct mqtt_conn *c, struct error *err);
int mqtt_send_connect(struct mqtt_conn *c, struct error *err);
// An acknowledgement; reason: 0 but with version 5. PINGREQ or DISCONNECT (packet_id unused).
int mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason, struct error *err);
int mqtt_send_empty(struct mqtt_conn *c, enum mqtt_type type, struct error *err);
// DISCONNECT or AUTH of version 5. properties may be NULL.
int mqtt_send_reason(struct mqtt_conn *c, enum mqtt_type type, uint8_t reason,
                     const struct mqtt5_properties *properties, struct error *err);
// Bytes were encoded into the link's output: counts them.
void mqtt_sent(struct mqtt_conn *c, size_t n);

// publish5.c: PUBLISH of version 5.
// The properties of a message; those of a 3.1.1 connection: -1, ERR_UNSUPPORTED.
int mqtt_meta_properties(const struct adapter_meta *meta, struct mqtt5_properties *out, struct error *err);
int mqtt_meta_unsupported(const struct adapter_meta *meta, struct error *err);
// What the server does not take is refused here already. size: of the packet.
int mqtt_server_takes(const struct mqtt_conn *c, uint8_t qos, bool retain, size_t size, struct error *err);
// Encodes a PUBLISH into the output. alias: a topic alias is wished for.
int mqtt_send_publish5(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                       bool alias, struct error *err);
bool mqtt_send_out5(struct mqtt_conn *c, const struct mqtt_out *o);
// What is left of a message expiry; 1 when nothing is, for what has to be sent all the same: brokers take 0 for
// "never".
uint32_t mqtt_expiry_left(uint32_t expiry_s, int64_t waited_us);
// Messages of the queue that this server does not take are told and dropped. The caller is inside mqtt_conn_enter.
void mqtt_drop_untakable(struct mqtt_conn *c);

// incoming5.c: what only version 5 has.
int mqtt_connack5(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err);
int mqtt_disconnect5(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err);
// Alias to topic and back, quota of received messages. *p is made whole. -1: a violation.
int mqtt_publish5_arrived(struct mqtt_conn *c, struct mqtt_publish *p, const struct mqtt5_properties *with,
                          struct error *err);
void mqtt_meta_of(const struct mqtt5_properties *with, struct adapter_meta *out);
// ": TEXT" of a reason string, cut and cleaned, or "".
const char *mqtt_reason_string(const struct mqtt5_properties *with, char *out, size_t size);
