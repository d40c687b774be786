// What a connection has beyond 3.1.1 over plain TCP: TLS sessions, what the server of version 5 said, aliases, requests
// and responses, shared subscriptions. Allocated for those that need it.
#pragma once
#include "adapter/mqtt/alias.h"
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/site.h"
#include "core/wheel.h"
#include "link/transport.h"

struct mqtt_conn;
struct mqtt_exchange;
struct mqtt_member;

enum { // struct mqtt_extra.can: what the server has (3.2.2.3)
    MQTT_CAN_RETAIN = 1,
    MQTT_CAN_WILDCARD = 2,
    MQTT_CAN_SUBSCRIPTION_ID = 4,
    MQTT_CAN_SHARED = 8
};
enum mqtt_auth_state { MQTT_AUTH_NONE, MQTT_AUTH_CONNECT, MQTT_AUTH_AGAIN };
enum mqtt_response_state { MQTT_RESPONSE_NONE, MQTT_RESPONSE_ASKED, MQTT_RESPONSE_READY };

struct mqtt_extra {
    struct transport_memory memory; // TLS: the session to resume, the minted certificate
    struct mqtt_site *site;         // where it was redirected to; NULL: the target's own
    bool moved;                     // for good (0x9d)
    bool resume;                    // the next CONNECT goes on with the session: Clean Start was for the first only
    uint8_t redirects;              // followed in a row
    int64_t up_us, online_us;       // since when the transport is up, the connection online
    // Of this connection, from CONNACK.
    uint32_t max_packet; // of the server
    uint32_t window;     // in-flight messages: the smaller one of both sides
    uint16_t keep_alive; // s
    uint16_t alias_max;
    uint8_t max_qos;
    uint8_t can; // MQTT_CAN_...
    bool clean;  // Clean Start was set
    // Of this connection.
    uint8_t reason;       // of the violation under way, for the DISCONNECT; 0: by the error's code
    uint8_t auth;         // enum mqtt_auth_state
    uint8_t response;     // enum mqtt_response_state
    uint16_t receiving;   // QoS 2 messages of the server without PUBREL
    char *response_topic; // own, NULL until first used; its length:
    size_t response_topic_len;
    struct mqtt_text response_info; // of CONNACK, owned
    struct mqtt_aliases_in *aliases_in;
    struct mqtt_aliases_out *aliases_out;
    struct mqtt_exchange *exchanges; // requests that wait for their responses
    unsigned n_exchanges;
    // For the life of the connection object.
    uint32_t nonce, last_exchange;   // correlation data: of this object, of the last request
    char *client_id;                 // assigned by the server
    struct mqtt_member *memberships; // in shared subscriptions
};

// The extra of a connection, made when it has none yet. NULL: no memory.
struct mqtt_extra *mqtt_extra_get(struct mqtt_conn *c, struct error *err);
// A connection begins, or has ended: what held for it is forgotten.
void mqtt_extra_reset(struct mqtt_conn *c);
void mqtt_extra_delete(struct mqtt_extra *x);
size_t mqtt_extra_footprint(const struct mqtt_extra *x);
