// One group's view of one broker: options, addresses, metric series, and who may connect when.
//
// At most `connectWindow` handshakes (TCP connect to CONNACK) are under way; the other connections wait in order.
// Starting them, and telling owners about what they asked for themselves (conn_close), is done by a hook at the end of
// the turn, so that no event is delivered inside a call of the owner.
#pragma once
#include "adapter/adapter.h"
#include "adapter/mqtt/options.h"
#include "link/url.h"

struct mqtt_conn;

struct mqtt_list { // of connections, linked through next and prev
    struct mqtt_conn *head, *tail;
    unsigned n;
};

// Series of a target, tags "group:NAME,protocol:mqtt".
struct mqtt_series {
    struct metric *connects;          // counter: CONNACKs that accepted
    struct metric *connect_errors;    // rate: attempts that failed
    struct metric *connect_latency;   // trend: connect() to CONNACK
    struct metric *tcp_latency;       // trend: connect() to TCP established
    struct metric *reconnects;        // counter: connects of a connection that was online before
    struct metric *devices_online;    // gauge
    struct metric *messages_sent;     // counter: PUBLISH packets handed to the link for the first time
    struct metric *messages_resent;   // counter: and again after a reconnect
    struct metric *messages_acked;    // counter: PUBACK, PUBCOMP
    struct metric *messages_received; // counter: delivered to the owner
    struct metric *publish_errors;    // rate: refused or lost
    struct metric *publish_latency;   // trend: accepted publish to PUBACK or PUBCOMP
    struct metric *subscribe_latency; // trend: subscribe to SUBACK
    struct metric *bytes_sent;        // counter: MQTT bytes handed to the link (all packets, headers included)
    struct metric *bytes_received;    // counter: MQTT bytes from the link
    struct metric *acks_unknown;      // counter: acknowledgements of packet ids that are not in flight
    // With a reason tag, made when first needed.
    struct metric *connect_failures[ERR_CODE_MAX]; // reason: name of the error code
    struct metric *connack[6];                     // connect_failures, reason: connack-1 ... connack-5
    struct metric *disconnects[ERR_CODE_MAX];      // reason: name of the error code; "none": asked for
    struct metric *messages_dropped[ERR_CODE_MAX]; // accepted and lost; limit: drop_oldest, closed, cancelled
};

#define MQTT_MAX_ADDRS 8u

struct mqtt_target {
    struct adapter_env env;
    struct mqtt_options options;
    struct url url;
    char shown[600]; // the URL without credentials
    char tags[160];
    struct loop_hook hook;
    struct mqtt_list waiting; // state MQTT_WAITING, first come first served
    struct mqtt_list closing; // state MQTT_CLOSING: on_offline is due
    unsigned connecting;      // handshakes under way
    unsigned n_conns;
    enum { MQTT_UNRESOLVED, MQTT_RESOLVING, MQTT_RESOLVED } resolve;
    uint64_t ticket; // RESOLVING
    struct link_addr addrs[MQTT_MAX_ADDRS];
    unsigned n_addrs;
    unsigned preferred;       // the address that answered last
    unsigned next_source;     // whose turn it is
    uint64_t spread_above;    // sockets of this process above which loopback connections spread over 127.0.0.x
    struct buf identity;      // scratch for the strings of a CONNECT
    struct mqtt_out *dropped; // pushed out of queues, on_done is due
    struct mqtt_out **dropped_end;
    struct mqtt_series series;
};

struct mqtt_target *mqtt_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                    const char *group, struct error *err);
void mqtt_target_delete(struct mqtt_target *t);
// There is work for the hook.
void mqtt_target_wake(struct mqtt_target *t);
void mqtt_list_append(struct mqtt_list *list, struct mqtt_conn *c);
void mqtt_list_remove(struct mqtt_list *list, struct mqtt_conn *c);

// Counters with a reason.
enum mqtt_reasoned { MQTT_CONNECT_FAILURES, MQTT_DISCONNECTS, MQTT_MESSAGES_DROPPED };
void mqtt_count_reason(struct mqtt_target *t, enum mqtt_reasoned what, enum error_code reason);
void mqtt_count_connack(struct mqtt_target *t, unsigned return_code);
