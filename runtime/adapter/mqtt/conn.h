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
};

struct mqtt_conn {
    struct link link;
    struct timer timer;
    struct mqtt_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct mqtt_conn *next, *prev; // WAITING, CLOSING: in the target's list
    struct mqtt_session session;
    struct mqtt_parser parser;
    struct rng rng;    // backoff
    int64_t since_us;  // CONNECTING, HANDSHAKE: when connect() was called; ONLINE: when bytes were last sent
    uint16_t failures; // consecutive failed attempts
    uint8_t state, flags;
    uint8_t depth;       // events and callbacks on the stack
    uint8_t addr, tried; // CONNECTING: index of the target's address; how many were tried
};

// conn.c: life and death.
struct mqtt_conn *mqtt_conn_new(struct mqtt_target *target, const struct adapter_events *events,
                                const struct adapter_identity *identity, void *owner, uint64_t seed, struct error *err);
void mqtt_conn_delete(struct mqtt_conn *c);
int mqtt_conn_open(struct mqtt_conn *c, struct error *err);
void mqtt_conn_close(struct mqtt_conn *c, enum adapter_close mode);
// See adapter_ops.
void mqtt_conn_freeze(struct mqtt_conn *c, bool frozen);
// Starts the handshake on a connected stream descriptor, without resolver and window (test harnesses, fuzzing).
int mqtt_conn_attach(struct mqtt_conn *c, int fd, struct error *err);
// The target's hook: the connection at the head of `waiting` starts; cannot start; the one at the head of `closing` is
// told.
void mqtt_conn_attempt(struct mqtt_conn *c);
void mqtt_conn_unreachable(struct mqtt_conn *c, const struct error *why);
void mqtt_conn_closed(struct mqtt_conn *c);
// A message was pushed out of the queue; frees it.
void mqtt_conn_dropped(struct mqtt_conn *c, struct mqtt_out *out);
// The attempt or the connection has failed: closes, tells, and reconnects if it may. return_code: of a CONNACK that
// refused, else 0. The caller is inside mqtt_conn_enter.
void mqtt_conn_fail(struct mqtt_conn *c, const struct error *why, bool may_retry, unsigned return_code);
// CONNACK accepted.
void mqtt_conn_online(struct mqtt_conn *c, bool session_present);
void mqtt_conn_pong(struct mqtt_conn *c);
static inline void mqtt_conn_enter(struct mqtt_conn *c)
{
    c->depth++;
}
// May free c.
void mqtt_conn_leave(struct mqtt_conn *c);
static inline bool mqtt_conn_up(const struct mqtt_conn *c)
{
    return (c->state == MQTT_ONLINE || c->state == MQTT_HANDSHAKE) && !(c->flags & MQTT_DOOMED);
}

// incoming.c: what the broker sends.
void mqtt_incoming(struct mqtt_conn *c, const uint8_t *bytes, size_t n);

// outgoing.c: what goes to the broker.
int mqtt_publish(struct mqtt_conn *c, const struct adapter_message *m, uint32_t token, struct error *err);
int mqtt_request(struct mqtt_conn *c, enum mqtt_type type, const char *filter, int qos, uint32_t token,
                 struct error *err);
unsigned mqtt_pending(const struct mqtt_conn *c);
// Sends what waits, as far as window and link allow.
void mqtt_send_waiting(struct mqtt_conn *c);
// Subscribes anew to all that is remembered. -1: err.
int mqtt_send_subscriptions(struct mqtt_conn *c, struct error *err);
int mqtt_send_connect(struct mqtt_conn *c, struct error *err);
// An acknowledgement; PINGREQ or DISCONNECT (packet_id unused).
int mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, struct error *err);
int mqtt_send_empty(struct mqtt_conn *c, enum mqtt_type type, struct error *err);
