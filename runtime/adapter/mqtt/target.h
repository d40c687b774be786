// One group's view of one broker: options, servers, metric series, and who may connect when.
//
// The pacer says how many handshakes (TCP connect to CONNACK) may be under way; the other connections wait in order.
// Starting them, and telling owners about what they asked for themselves (conn_close), is done by a hook at the end of
// the turn, so that no event is delivered inside a call of the owner.
#pragma once
#include "adapter/adapter.h"
#include "adapter/mqtt/options.h"
#include "adapter/mqtt/site.h"
#include "adapter/pacer.h"
#include "adapter/series.h"
#include "link/source.h"
#include "link/url.h"

struct mqtt_conn;
struct mqtt_share;

// Series of a target, tags "group:NAME,protocol:mqtt".
struct mqtt_series {
    struct metric *connects;       // counter: CONNACKs that accepted
    struct metric *connect_errors; // rate: attempts that failed
    // Trends: connect() to CONNACK; before it, since it was meant to begin; both together.
    struct metric *connect_latency_raw, *connect_wait, *connect_latency;
    struct metric *tcp_latency;       // trend: connect() to TCP established
    struct metric *connack_latency;   // trend: transport up to CONNACK
    struct metric *reconnects;        // counter: connects of a connection that was online before
    struct metric *devices_online;    // gauge
    struct metric *messages_sent;     // counter: PUBLISH packets handed to the link for the first time
    struct metric *messages_resent;   // counter: and again after a reconnect
    struct metric *messages_acked;    // counter: PUBACK, PUBCOMP
    struct metric *messages_received; // counter: delivered to the owner
    struct metric *publish_errors;    // rate: refused or lost
    // Trends: accepted publish to PUBACK or PUBCOMP; since it was meant to be published.
    struct metric *publish_latency_raw, *publish_latency;
    struct metric *subscribe_latency;  // trend: subscribe to SUBACK
    struct metric *bytes_sent;         // counter: MQTT bytes handed to the link (all packets, headers included)
    struct metric *bytes_received;     // counter: MQTT bytes from the link
    struct metric *acks_unknown;       // counter: acknowledgements of packet ids that are not in flight
    struct metric *connect_rate_limit; // gauge: what the pacer allows a second; 0: no limit
    // With TLS only, else NULL: see link/transport.h.
    struct metric *tls_latency, *tls_resumed, *tls_full;
    // With version 5 only, else NULL.
    struct metric *requests;                              // counter
    struct metric *request_errors;                        // rate: no answer
    struct metric *request_latency_raw, *request_latency; // trends: request to its response, as above
    struct metric *responses_unknown;                     // counter: responses that nobody waited for any more
    struct metric *redirects;                             // counter: redirections that were followed
    // With a reason tag, made when first needed.
    // reason: name of the error code. disconnects, "none": asked for. messages_dropped: accepted and lost; limit:
    // drop_oldest, closed, cancelled.
    struct series_reasons by_code;
    struct metric *connack[6];    // connect_failures, reason: connack-1 ... connack-5
    struct mqtt_reasons *reasons; // those of version 5; NULL until there is one
};
// connect_failures{reason:connack-0x87}, disconnects{reason:0x8b}; 0xff: a reason the standard does not know.
struct mqtt_reasons {
    struct metric *connack[256], *disconnect[256];
};

struct mqtt_target {
    struct adapter_env env;
    struct mqtt_options options;
    struct url url;
    bool tls, websocket;
    char shown[600]; // the URL without credentials
    char tags[SERIES_TAGS_MAX];
    struct loop_hook hook;
    struct mqtt_list closing; // state MQTT_CLOSING: on_offline is due
    struct pacer pacer;
    struct timer pace; // the pacer is to be asked again
    unsigned n_conns;
    struct mqtt_site origin;        // the URL's server
    struct mqtt_site *redirections; // other servers
    unsigned n_redirections;
    struct sources *sources;
    struct buf scratch;       // for the strings of a CONNECT and of other packets
    struct mqtt_out *dropped; // pushed out of queues, on_done is due
    struct mqtt_out **dropped_end;
    struct mqtt_share *shares; // shared subscriptions of its connections
    struct mqtt_series series;
};

// adapter_ops
struct adapter_target *mqtt_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err);
void mqtt_target_delete(struct adapter_target *target);
// There may be work for the hook.
void mqtt_target_wake(struct mqtt_target *t);

// series.c
int mqtt_series_create(struct mqtt_target *t, struct error *err) WARN_UNUSED_RESULT;
void mqtt_series_destroy(struct mqtt_target *t);
// Counters with a reason.
enum mqtt_reasoned {
    MQTT_CONNECT_FAILURES = IOTIX_CONNECT_FAILURE,
    MQTT_DISCONNECTS = IOTIX_DISCONNECT,
    MQTT_MESSAGES_DROPPED = IOTIX_MESSAGE_DROPPED
};
void mqtt_count_reason(struct mqtt_target *t, enum mqtt_reasoned what, enum error_code reason);
// Of a CONNACK that refused; of a DISCONNECT of the server (MQTT 5).
void mqtt_count_connack(struct mqtt_target *t, uint8_t return_code);
void mqtt_count_disconnect(struct mqtt_target *t, uint8_t reason);
