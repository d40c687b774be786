// MQTT 5 control packets, beside codec.h for 3.1.1: bytes to structs and back. Pure functions, no allocation. Sections
// are those of the OASIS standard mqtt-v5.0. The fixed header, packet ids and UTF-8 rules are shared with codec.h.
//
// Properties are decoded into a struct that points into the packet; user properties into an array the caller owns. A
// property that a packet may not have, one that comes twice, and a value out of range are ERR_PROTOCOL with the section
// and *reason (0x81 malformed packet, 0x82 protocol error …), which is what the DISCONNECT to the server carries. Every
// decoder sets *reason when it fails, and only then.
#pragma once
#include "adapter/adapter.h"
#include "adapter/mqtt/codec.h"

#define MQTT5_USER_MAX 64u // user properties of one incoming packet; more: ERR_LIMIT, reason 0x95

// Reason codes that this side finds or acts upon (2.4).
enum mqtt5_reason {
    MQTT5_SUCCESS = 0x00,
    MQTT5_DISCONNECT_WITH_WILL = 0x04,
    MQTT5_CONTINUE_AUTH = 0x18,
    MQTT5_REAUTHENTICATE = 0x19,
    MQTT5_FAILURE = 0x80, // from here on: the other side refuses
    MQTT5_MALFORMED_PACKET = 0x81,
    MQTT5_PROTOCOL_ERROR = 0x82,
    MQTT5_UNSUPPORTED_VERSION = 0x84,
    MQTT5_PACKET_ID_NOT_FOUND = 0x92,
    MQTT5_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    MQTT5_TOPIC_ALIAS_INVALID = 0x94,
    MQTT5_PACKET_TOO_LARGE = 0x95,
    MQTT5_USE_ANOTHER_SERVER = 0x9c,
    MQTT5_SERVER_MOVED = 0x9d
};

// Which are present: bit (1ull << identifier), identifiers up to 42 (2.2.2.2).
enum mqtt5_property {
    MQTT5_PAYLOAD_FORMAT = 1,
    MQTT5_MESSAGE_EXPIRY = 2,
    MQTT5_CONTENT_TYPE = 3,
    MQTT5_RESPONSE_TOPIC = 8,
    MQTT5_CORRELATION_DATA = 9,
    MQTT5_SUBSCRIPTION_ID = 11,
    MQTT5_SESSION_EXPIRY = 17,
    MQTT5_ASSIGNED_CLIENT_ID = 18,
    MQTT5_SERVER_KEEP_ALIVE = 19,
    MQTT5_AUTH_METHOD = 21,
    MQTT5_AUTH_DATA = 22,
    MQTT5_REQUEST_PROBLEM_INFO = 23,
    MQTT5_WILL_DELAY = 24,
    MQTT5_REQUEST_RESPONSE_INFO = 25,
    MQTT5_RESPONSE_INFO = 26,
    MQTT5_SERVER_REFERENCE = 28,
    MQTT5_REASON_STRING = 31,
    MQTT5_RECEIVE_MAXIMUM = 33,
    MQTT5_TOPIC_ALIAS_MAXIMUM = 34,
    MQTT5_TOPIC_ALIAS = 35,
    MQTT5_MAXIMUM_QOS = 36,
    MQTT5_RETAIN_AVAILABLE = 37,
    MQTT5_USER_PROPERTY = 38,
    MQTT5_MAXIMUM_PACKET_SIZE = 39,
    MQTT5_WILDCARD_AVAILABLE = 40,
    MQTT5_SUBSCRIPTION_ID_AVAILABLE = 41,
    MQTT5_SHARED_AVAILABLE = 42
};
// A field whose bit is not set has no meaning, and no decoder touches it (that of CONNACK fills in what absence means).
struct mqtt5_properties {
    uint64_t present; // bits by identifier; those of the two lists too
    uint8_t payload_format, request_problem_info, request_response_info, maximum_qos, retain_available,
        wildcard_available, subscription_id_available, shared_available;
    uint16_t server_keep_alive, receive_maximum, topic_alias_maximum, topic_alias;
    uint32_t message_expiry, session_expiry, will_delay, maximum_packet_size;
    uint32_t subscription_ids[ADAPTER_SUBSCRIPTION_IDS]; // a PUBLISH may have several; those beyond are left out
    unsigned n_subscription_ids;
    struct mqtt_text content_type, response_topic, correlation_data, assigned_client_id, auth_method, auth_data,
        response_info, server_reference, reason_string;
    struct adapter_property *user; // the caller's array of MQTT5_USER_MAX when decoding; borrowed when encoding
    unsigned n_user;
};
static inline bool mqtt5_has(const struct mqtt5_properties *p, enum mqtt5_property id)
{
    return p->present >> id & 1;
}
static inline void mqtt5_set(struct mqtt5_properties *p, enum mqtt5_property id)
{
    p->present |= 1ull << id;
}

// Size of the encoded properties, their length field included; 0 and err (ERR_INVALID) when they cannot be sent: texts
// too long or not UTF-8, values that the standard forbids. Whether the packet may have them is not looked at: that is
// the caller's. Encoding presupposes a size that was not 0, here and below.
size_t mqtt5_properties_size(const struct mqtt5_properties *p, struct error *err);
uint8_t *mqtt5_properties_encode(uint8_t *to, const struct mqtt5_properties *p);
// will: those of a will (3.1.3.2), else of `packet`. Advances *at. out->user is set by the caller and may be NULL: user
// properties are checked, then skipped.
int mqtt5_properties_decode(enum mqtt_type packet, bool will, const uint8_t **at, const uint8_t *end,
                            struct mqtt5_properties *out, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;

#define MQTT_AUTH ((enum mqtt_type)15)

// CONNECT: c as of 3.1.1 (clean_session is Clean Start; without a client id the server gives one; a password needs no
// user name). properties and will may be NULL: none.
size_t mqtt5_connect_size(const struct mqtt_connect *c, const struct mqtt5_properties *properties,
                          const struct mqtt5_properties *will, struct error *err);
uint8_t *mqtt5_connect_encode(uint8_t *p, const struct mqtt_connect *c, const struct mqtt5_properties *properties,
                              const struct mqtt5_properties *will);
// PUBLISH; a topic of length 0 needs a topic alias, any other is the caller's to check (topic.h). properties NULL: none
// (one byte). 0 and err: as above, or over MQTT_MAX_REMAINING.
size_t mqtt5_publish_size_slow(const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                               struct error *err);
static inline size_t mqtt5_publish_size(const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                                        struct error *err)
{
    size_t size = properties || !m->topic_len ? 0 : mqtt_publish_size(m->topic_len + 1, m->payload_len, m->qos);
    return size ? size : mqtt5_publish_size_slow(m, properties, err);
}
// As mqtt_publish_encode: the payload is copied. m->payload NULL: returns where the caller writes m->payload_len bytes.
uint8_t *mqtt5_publish_encode(uint8_t *p, const struct mqtt_publish *m, const struct mqtt5_properties *properties);
struct mqtt5_subscribe_options {
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published;
};
// The filter and its options are the caller's to check (topic.h, share.h).
size_t mqtt5_subscribe_size(enum mqtt_type type, size_t filter_len, const struct mqtt5_properties *properties,
                            struct error *err);
uint8_t *mqtt5_subscribe_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, const char *filter,
                                size_t filter_len, const struct mqtt5_subscribe_options *options,
                                const struct mqtt5_properties *properties);
// PUBACK … PUBCOMP: 4 bytes when reason is 0 and there are no properties.
size_t mqtt5_ack_size(uint8_t reason, const struct mqtt5_properties *properties, struct error *err);
uint8_t *mqtt5_ack_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, uint8_t reason,
                          const struct mqtt5_properties *properties);
// DISCONNECT and AUTH.
size_t mqtt5_reason_size(uint8_t reason, const struct mqtt5_properties *properties, struct error *err);
uint8_t *mqtt5_reason_encode(uint8_t *p, enum mqtt_type type, uint8_t reason,
                             const struct mqtt5_properties *properties);

// Type and reserved flags of a fixed header's first byte, whoever sent it.
int mqtt5_header_check(uint8_t first, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// The same, and whether a server may send this type at all.
int mqtt5_first_byte_check(uint8_t first, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// What absence means is filled in (3.2.2.3): receive maximum 65535, maximum QoS 2, everything available, no topic
// aliases; maximum packet size 0 (no limit), texts NULL. A server that answers as of 3.1.1: ERR_REFUSED, says so.
int mqtt5_connack_decode(const uint8_t *body, size_t n, struct mqtt_connack *out, struct mqtt5_properties *properties,
                         uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// topic_len 0 with an alias is not an error here.
int mqtt5_publish_decode(uint8_t first, const uint8_t *body, size_t n, struct mqtt_publish *out,
                         struct mqtt5_properties *properties, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
int mqtt5_ack_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_ack *out,
                     struct mqtt5_properties *properties, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// SUBACK and UNSUBACK.
int mqtt5_suback_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_suback *out,
                        struct mqtt5_properties *properties, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// DISCONNECT (3.14) and AUTH (3.15) of a server: its reason in *code. An AUTH without a body has no properties, not
// even its method.
int mqtt5_reason_decode(enum mqtt_type type, const uint8_t *body, size_t n, uint8_t *code,
                        struct mqtt5_properties *properties, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// "quota exceeded" for 0x97; "unknown reason" (2.4).
const char *mqtt5_reason_text(uint8_t reason);
