// MQTT 3.1.1 control packets, bytes to structs and back. Pure functions: no state, no allocation, no sockets.
//
// Encoders write at p, where the matching _size function's bytes are free, and return the byte after the packet.
// Decoders take the body (what follows the fixed header), point into it, and say ERR_PROTOCOL with the section of the
// OASIS standard that was violated. Acknowledgements carry a reason, so that version 5 has its place.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/error.h"

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT
};
// "CONNACK"; "AUTH" for 15, which only version 5 has; "reserved" for 0.
const char *mqtt_type_name(unsigned type);

#define MQTT_MAX_REMAINING 268435455u // 2.2.3
#define MQTT_SUBSCRIBE_REFUSED 0x80u  // 3.9.3

struct mqtt_text {
    const char *data; // NULL: absent
    size_t len;
};

struct mqtt_connect {
    struct mqtt_text client_id, user, password, will_topic, will_payload;
    uint16_t keep_alive; // s
    uint8_t will_qos;
    bool will_retain;
    bool clean_session;
};

struct mqtt_publish {
    const char *topic;
    size_t topic_len;
    const uint8_t *payload;
    size_t payload_len;
    uint16_t packet_id; // QoS 0: none
    uint8_t qos;
    bool retain, dup;
};

struct mqtt_connack {
    bool session_present;
    uint8_t reason; // 0 accepted, 1..5: 3.2.2.3
};

struct mqtt_ack { // PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK
    uint16_t packet_id;
    uint8_t reason; // 0 in 3.1.1
};

struct mqtt_suback {
    uint16_t packet_id;
    const uint8_t *codes; // 0, 1, 2 or MQTT_SUBSCRIBE_REFUSED
    size_t n_codes;
};

// Bytes of a packet whose body has this length, header included; 0 when it is over MQTT_MAX_REMAINING.
size_t mqtt_packet_size(size_t remaining);
// Checks what 3.1 demands (text lengths, UTF-8, will and password rules) and returns the size; 0 and err when it fails.
size_t mqtt_connect_size(const struct mqtt_connect *c, struct error *err);
uint8_t *mqtt_connect_encode(uint8_t *p, const struct mqtt_connect *c);
size_t mqtt_publish_size(size_t topic_len, size_t payload_len, uint8_t qos);
uint8_t *mqtt_publish_encode(uint8_t *p, const struct mqtt_publish *m);
// SUBSCRIBE or UNSUBSCRIBE of one filter (qos counts for SUBSCRIBE only).
size_t mqtt_subscribe_size(enum mqtt_type type, size_t filter_len);
uint8_t *mqtt_subscribe_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, const char *filter,
                               size_t filter_len, uint8_t qos);
#define MQTT_ACK_SIZE 4u
uint8_t *mqtt_ack_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id);
#define MQTT_EMPTY_SIZE 2u
// PINGREQ, PINGRESP, DISCONNECT.
uint8_t *mqtt_empty_encode(uint8_t *p, enum mqtt_type type);

// Type and reserved flags of a fixed header's first byte (2.2.1, 2.2.2, 3.3.1).
int mqtt_first_byte_check(uint8_t first, struct error *err) WARN_UNUSED_RESULT;
int mqtt_connack_decode(const uint8_t *body, size_t n, struct mqtt_connack *out, struct error *err) WARN_UNUSED_RESULT;
int mqtt_publish_decode(uint8_t first, const uint8_t *body, size_t n, struct mqtt_publish *out,
                        struct error *err) WARN_UNUSED_RESULT;
int mqtt_ack_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_ack *out,
                    struct error *err) WARN_UNUSED_RESULT;
int mqtt_suback_decode(const uint8_t *body, size_t n, struct mqtt_suback *out, struct error *err) WARN_UNUSED_RESULT;
// PINGRESP: nothing may follow the header.
int mqtt_empty_decode(enum mqtt_type type, size_t n, struct error *err) WARN_UNUSED_RESULT;
// "not authorized" for CONNACK return code 5.
const char *mqtt_connack_text(uint8_t reason);
