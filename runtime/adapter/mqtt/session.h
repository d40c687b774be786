// A client's session state (MQTT 3.1.1 and 5 sections 4.1 and 4.4): messages of QoS 1 and 2 on their way out, requests
// that wait for SUBACK or UNSUBACK, subscriptions, packet ids of received QoS 2 messages. No sockets, no callbacks; the
// time is an argument.
//
// Outgoing messages are one list in the order of publishing, cut by a cursor: before it what was sent on this
// connection, behind it what is still to be sent. Those that have a packet id (sent once, on this connection or an
// earlier one) are always in front of those that never were. A lost connection puts the cursor back to the front; so
// resending, the in-flight window and the queue are one mechanism. All of it is allocated on first use and freed when
// empty: 16 bytes at rest.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adapter/mqtt/codec5.h"
#include "core/due.h"
#include "core/error.h"

struct mqtt_out { // a message on its way out; bytes: topic, encoded properties (none: nothing), payload
    struct mqtt_out *next;
    union {
        int64_t accepted_us; // when it was accepted
        void *conn;          // once it was dropped: whose it was
    };
    struct lag lag; // until it was accepted
    uint32_t token;
    uint32_t payload_len;
    uint32_t properties_len; // with their length field; 0: none
    uint32_t expiry_s;       // with `expires`: message expiry interval (MQTT 5, 3.3.2.3.3), from accepted_us
    uint16_t topic_len;
    uint16_t packet_id; // 0: never sent
    uint8_t qos;
    bool retain;
    bool resend;   // the broker's session may have it: DUP
    bool was_sent; // at least once, on any connection
    bool released; // QoS 2: PUBREC came, PUBREL is due or was sent
    bool alias;    // a topic alias is wished for
    bool exchange; // a request: token is its number (exchange.h)
    bool expires;
    bool expired; // once it was dropped: because of that
    uint8_t bytes[];
};

struct mqtt_sub_options {
    struct mqtt5_subscribe_options options;
    uint32_t identifier; // 0: none
};

struct mqtt_request { // a SUBSCRIBE or UNSUBSCRIBE that waits for its answer
    struct mqtt_request *next;
    int64_t started_us;
    uint32_t token;
    uint16_t packet_id;
    uint16_t filter_len;
    uint8_t type; // MQTT_SUBSCRIBE, MQTT_UNSUBSCRIBE
    bool again;   // subscribing anew after a clean reconnect: nobody waits for it
    bool own;     // the connection's own response topic: not the owner's, not remembered
    struct mqtt_sub_options with;
    char filter[];
};

struct mqtt_sub { // a subscription the broker granted
    struct mqtt_sub *next;
    uint16_t filter_len;
    struct mqtt_sub_options with; // as asked for
    char filter[];
};

// Caps of what one session holds beside the queue (which has its own).
#define MQTT_MAX_REQUESTS 100u
#define MQTT_MAX_SUBS 1000u
#define MQTT_MAX_SUB_BYTES 65536u // of all remembered filters: they must fit into the output at once

struct mqtt_state {
    struct mqtt_out *head, **tail, **cursor; // cursor: address of the pointer to the first one to be sent
    uint32_t n_sent;                         // in front of the cursor
    uint32_t n_ids;                          // with a packet id
    uint32_t n_out;                          // all
    uint32_t queued_bytes;                   // of those without a packet id
    struct mqtt_request *requests, **requests_tail;
    uint32_t n_requests;
    struct mqtt_sub *subs;
    uint32_t n_subs, sub_bytes;
    uint16_t *received; // ascending
    uint32_t n_received, received_size;
    size_t bytes; // allocated by this session
};

struct mqtt_session {
    struct mqtt_state *state; // NULL: empty
    uint16_t last_id;
};

struct mqtt_queue_limits {
    uint32_t max_messages;
    uint32_t max_bytes; // topic + payload
    uint32_t window;    // in-flight messages
    bool drop_oldest;
};

void mqtt_session_destroy(struct mqtt_session *s);
// Frees the state if there is nothing in it.
void mqtt_session_trim(struct mqtt_session *s);

// What a message of version 5 has beside its topic and payload.
struct mqtt_more {
    const struct mqtt5_properties *properties; // copied; no topic alias among them. NULL: none
    bool alias;                                // a topic alias is wished for
    bool exchange;                             // the token is the number of a request (exchange.h)
};
// Appends a message. more: may be NULL. sendable: it would go out at once if the window and the queue in front of it
// are open, then the limits of the queue do not count. Where there is no room, messages that have expired make some,
// and under drop_oldest the oldest that were never sent; they are returned through *dropped, also on failure (linked,
// the expired first; the caller frees them). -1: ERR_LIMIT or ERR_NO_MEMORY.
int mqtt_session_queue(struct mqtt_session *s, const struct mqtt_queue_limits *limits, const struct mqtt_publish *m,
                       const struct mqtt_more *more, uint32_t token, int64_t now_us, bool sendable,
                       struct mqtt_out **dropped, struct error *err) WARN_UNUSED_RESULT;
// The message that mqtt_session_queue appended last.
static inline struct mqtt_out *mqtt_session_last(const struct mqtt_session *s)
{
    return (struct mqtt_out *)(void *)((char *)s->state->tail - offsetof(struct mqtt_out, next));
}
// The next message to send, with a packet id; NULL: none, or the window is full.
struct mqtt_out *mqtt_session_next(struct mqtt_session *s, uint32_t window);
// Has it waited for longer than it may? What the broker's session may have (MQTT 5, 4.3.3 and 4.4) does not expire.
static inline bool mqtt_out_expired(const struct mqtt_out *o, int64_t now_us)
{
    return o->expires && !o->resend && now_us > o->accepted_us &&
           now_us - o->accepted_us >= o->expiry_s * (int64_t)1000000;
}
// Takes out the one of mqtt_session_next instead of sending it.
struct mqtt_out *mqtt_session_skip(struct mqtt_session *s);
// The one of mqtt_session_next was sent.
void mqtt_session_sent(struct mqtt_session *s);
// The connection is lost: all is to be sent again, as far as the broker may know of it.
void mqtt_session_rewind(struct mqtt_session *s);
// Takes out the first message, of those that the broker has not yet received, that fn says cannot be sent; NULL: none.
struct mqtt_out *mqtt_session_reject(struct mqtt_session *s, bool (*fn)(void *arg, const struct mqtt_out *out),
                                     void *arg);
// The broker has no session: what was sent before is sent as new, received QoS 2 ids are forgotten.
void mqtt_session_renew(struct mqtt_session *s);

enum mqtt_acked { MQTT_ACK_UNKNOWN, MQTT_ACK_RELEASE, MQTT_ACK_DONE, MQTT_ACK_WRONG };
// PUBACK, PUBREC, PUBCOMP. DONE: *out was taken out, the caller frees it. RELEASE: answer with PUBREL. WRONG: as DONE,
// but it is not the answer that the message's QoS asks for at this point (4.3.2, 4.3.3). failed: the reason is an
// error: a PUBREC ends the message then (MQTT 5 4.3.3).
enum mqtt_acked mqtt_session_ack(struct mqtt_session *s, enum mqtt_type type, uint16_t packet_id, bool failed,
                                 struct mqtt_out **out);
// Takes out the oldest message of all, or NULL.
struct mqtt_out *mqtt_session_pop(struct mqtt_session *s);
uint32_t mqtt_session_count(const struct mqtt_session *s);

// A new request with its packet id, appended; the caller keeps to MQTT_MAX_REQUESTS. NULL: no memory.
struct mqtt_request *mqtt_session_request(struct mqtt_session *s, enum mqtt_type type, const char *filter, size_t len,
                                          const struct mqtt_sub_options *with, struct error *err);
// Takes out the request of that type and id, or the oldest with id 0; NULL: none.
struct mqtt_request *mqtt_session_answer(struct mqtt_session *s, enum mqtt_type type, uint16_t packet_id);
// Takes out a request that could not be sent.
void mqtt_session_forget(struct mqtt_session *s, struct mqtt_request *r);

// Remembers (or changes) and forgets a subscription. -1: ERR_LIMIT, no memory.
int mqtt_session_subscribed(struct mqtt_session *s, const char *filter, size_t len, const struct mqtt_sub_options *with,
                            struct error *err);
void mqtt_session_unsubscribed(struct mqtt_session *s, const char *filter, size_t len);
// May another filter of this length be remembered?
bool mqtt_session_sub_room(const struct mqtt_session *s, const char *filter, size_t len);

// A QoS 2 message came: 1 new, 0 known, -1 no memory.
int mqtt_session_received(struct mqtt_session *s, uint16_t packet_id);
// PUBREL came. false: no such id.
bool mqtt_session_released(struct mqtt_session *s, uint16_t packet_id);

size_t mqtt_session_footprint(const struct mqtt_session *s);
