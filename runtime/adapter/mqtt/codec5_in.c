// MQTT 5: packets that a server sends.
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/codec_impl.h"
#include "adapter/mqtt/topic.h"

// Reason codes that a server may use in each packet: 3.2.2.2, 3.4.2.1, 3.6.2.1, 3.9.3, 3.11.3, 3.14.2.1, 3.15.2.1.
struct reasons {
    uint32_t below_32;  // bit by code
    uint64_t from_0x80; // bit by code - 0x80
};

#define LOW(code) (1u << (code))
#define HIGH(code) (1ull << ((code)-0x80))
#define PUBACK_REASONS                                                                                                 \
    {                                                                                                                  \
        LOW(0) | LOW(0x10), HIGH(0x80) | HIGH(0x83) | HIGH(0x87) | HIGH(0x90) | HIGH(0x91) | HIGH(0x97) | HIGH(0x99)   \
    }
#define PUBREL_REASONS                                                                                                 \
    {                                                                                                                  \
        LOW(0), HIGH(0x92)                                                                                             \
    }
static const struct reasons reasons[16] = {
    [MQTT_CONNACK] = {LOW(0), HIGH(0x80) | HIGH(0x81) | HIGH(0x82) | HIGH(0x83) | HIGH(0x84) | HIGH(0x85) | HIGH(0x86) |
                                  HIGH(0x87) | HIGH(0x88) | HIGH(0x89) | HIGH(0x8a) | HIGH(0x8c) | HIGH(0x90) |
                                  HIGH(0x95) | HIGH(0x97) | HIGH(0x99) | HIGH(0x9a) | HIGH(0x9b) | HIGH(0x9c) |
                                  HIGH(0x9d) | HIGH(0x9f)},
    [MQTT_PUBACK] = PUBACK_REASONS,
    [MQTT_PUBREC] = PUBACK_REASONS,
    [MQTT_PUBREL] = PUBREL_REASONS,
    [MQTT_PUBCOMP] = PUBREL_REASONS,
    [MQTT_SUBACK] = {LOW(0) | LOW(1) | LOW(2), HIGH(0x80) | HIGH(0x83) | HIGH(0x87) | HIGH(0x8f) | HIGH(0x91) |
                                                   HIGH(0x97) | HIGH(0x9e) | HIGH(0xa1) | HIGH(0xa2)},
    [MQTT_UNSUBACK] = {LOW(0) | LOW(0x11), HIGH(0x80) | HIGH(0x83) | HIGH(0x87) | HIGH(0x8f) | HIGH(0x91)},
    [MQTT_DISCONNECT] = {LOW(0), HIGH(0x80) | HIGH(0x81) | HIGH(0x82) | HIGH(0x83) | HIGH(0x87) | HIGH(0x89) |
                                     HIGH(0x8b) | HIGH(0x8d) | HIGH(0x8e) | HIGH(0x8f) | HIGH(0x90) | HIGH(0x93) |
                                     HIGH(0x94) | HIGH(0x95) | HIGH(0x96) | HIGH(0x97) | HIGH(0x98) | HIGH(0x99) |
                                     HIGH(0x9a) | HIGH(0x9b) | HIGH(0x9c) | HIGH(0x9d) | HIGH(0x9e) | HIGH(0x9f) |
                                     HIGH(0xa0) | HIGH(0xa1) | HIGH(0xa2)},
    [15] = {LOW(0) | LOW(0x18), 0},
};

// Above 0xa2 nothing is defined.
static const char *const reason_texts[0xa3] = {
    [0x00] = "success",
    [0x01] = "granted QoS 1",
    [0x02] = "granted QoS 2",
    [0x04] = "disconnect with will message",
    [0x10] = "no matching subscribers",
    [0x11] = "no subscription existed",
    [0x18] = "continue authentication",
    [0x19] = "re-authenticate",
    [0x80] = "unspecified error",
    [0x81] = "malformed packet",
    [0x82] = "protocol error",
    [0x83] = "implementation specific error",
    [0x84] = "unsupported protocol version",
    [0x85] = "client identifier not valid",
    [0x86] = "bad user name or password",
    [0x87] = "not authorized",
    [0x88] = "server unavailable",
    [0x89] = "server busy",
    [0x8a] = "banned",
    [0x8b] = "server shutting down",
    [0x8c] = "bad authentication method",
    [0x8d] = "keep alive timeout",
    [0x8e] = "session taken over",
    [0x8f] = "topic filter invalid",
    [0x90] = "topic name invalid",
    [0x91] = "packet identifier in use",
    [0x92] = "packet identifier not found",
    [0x93] = "receive maximum exceeded",
    [0x94] = "topic alias invalid",
    [0x95] = "packet too large",
    [0x96] = "message rate too high",
    [0x97] = "quota exceeded",
    [0x98] = "administrative action",
    [0x99] = "payload format invalid",
    [0x9a] = "retain not supported",
    [0x9b] = "QoS not supported",
    [0x9c] = "use another server",
    [0x9d] = "server moved",
    [0x9e] = "shared subscriptions not supported",
    [0x9f] = "connection rate exceeded",
    [0xa0] = "maximum connect time",
    [0xa1] = "subscription identifiers not supported",
    [0xa2] = "wildcard subscriptions not supported",
};

const char *mqtt5_reason_text(uint8_t reason)
{
    const char *text = reason < sizeof reason_texts / sizeof *reason_texts ? reason_texts[reason] : NULL;
    return text ? text : "unknown reason";
}

static int reason_check(enum mqtt_type type, uint8_t code, uint8_t *reason, struct error *err)
{
    const struct reasons *r = &reasons[type];
    if (code < 32 ? r->below_32 >> code & 1 : code >= 0x80 && code < 0xc0 && r->from_0x80 >> (code - 0x80) & 1)
        return 0;
    return violation(reason, MQTT5_PROTOCOL_ERROR, err, "%s of a server with the reason code 0x%02x (%s; MQTT 5, 2.4)",
                     mqtt_type_name(type), code, mqtt5_reason_text(code));
}

int mqtt5_header_check(uint8_t first, uint8_t *reason, struct error *err)
{
    unsigned type = first >> 4, flags = first & 15;
    if (type == 0)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "packet of the reserved type 0 (MQTT 5, 2.1.2)");
    if (type == MQTT_PUBLISH) {
        if ((flags & 6) == 6)
            return violation(reason, MQTT5_MALFORMED_PACKET, err, "PUBLISH with QoS 3 (MQTT 5, 3.3.1-4)");
        if (flags & 8 && !(flags & 6))
            return violation(reason, MQTT5_MALFORMED_PACKET, err,
                             "PUBLISH of QoS 0 marked as duplicate (MQTT 5, 3.3.1-2)");
        return 0;
    }
    unsigned expected = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 2 : 0;
    if (flags != expected)
        return violation(reason, MQTT5_MALFORMED_PACKET, err,
                         "%s with reserved flags 0x%x, must be 0x%x (MQTT 5, 2.1.3-1)", mqtt_type_name(type), flags,
                         expected);
    return 0;
}

int mqtt5_first_byte_check(uint8_t first, uint8_t *reason, struct error *err)
{
    if (mqtt5_header_check(first, reason, err) < 0)
        return -1;
    switch (first >> 4) {
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "the server sent a %s, which only clients send (MQTT 5, 2.1.2)", mqtt_type_name(first >> 4));
    }
    return 0;
}

// Nothing may follow the properties.
static int end_check(enum mqtt_type type, const uint8_t *at, const uint8_t *end, uint8_t *reason, struct error *err)
{
    if (at == end)
        return 0;
    return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s with %zu bytes behind its properties (MQTT 5, 3.%d.3)",
                     mqtt_type_name(type), (size_t)(end - at), (int)type);
}

static int connack_of_3_1_1(uint8_t code, uint8_t *reason, struct error *err)
{
    *reason = MQTT5_UNSUPPORTED_VERSION;
    return error_set(err, ERR_REFUSED,
                     "the server does not speak MQTT 5: it answered as of 3.1.1 with return code %u (%s); "
                     "use version \"3.1.1\"",
                     code, mqtt_connack_text(code));
}

int mqtt5_connack_decode(const uint8_t *body, size_t n, struct mqtt_connack *out, struct mqtt5_properties *properties,
                         uint8_t *reason, struct error *err)
{
    if (n == 2 && body[0] <= 1 && body[1] <= 5)
        return connack_of_3_1_1(body[1], reason, err);
    if (n < 3)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "CONNACK of %zu bytes, needs at least 3 (MQTT 5, 3.2.2)",
                         n);
    if (body[0] > 1)
        return violation(reason, MQTT5_MALFORMED_PACKET, err,
                         "CONNACK with reserved acknowledge flags 0x%02x (MQTT 5, 3.2.2-1)", body[0]);
    if (reason_check(MQTT_CONNACK, body[1], reason, err) < 0)
        return -1;
    if (body[0] && body[1])
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "CONNACK refuses (0x%02x) and says session present (MQTT 5, 3.2.2-6)", body[1]);
    out->session_present = body[0];
    out->reason = body[1];
    *properties = (struct mqtt5_properties){.user = properties->user,
                                            .receive_maximum = UINT16_MAX,
                                            .maximum_qos = 2,
                                            .retain_available = 1,
                                            .wildcard_available = 1,
                                            .subscription_id_available = 1,
                                            .shared_available = 1};
    const uint8_t *at = body + 2, *end = body + n;
    if (mqtt5_properties_decode(MQTT_CONNACK, false, &at, end, properties, reason, err) < 0)
        return -1;
    return end_check(MQTT_CONNACK, at, end, reason, err);
}

// Packet id 0 (2.2.1).
static int id_check(enum mqtt_type type, uint16_t packet_id, uint8_t *reason, struct error *err)
{
    if (packet_id)
        return 0;
    return violation(reason, MQTT5_PROTOCOL_ERROR, err, "%s with packet id 0 (MQTT 5, 2.2.1-%d)", mqtt_type_name(type),
                     type == MQTT_PUBLISH ? 4 : 5);
}

// Says what is wrong with the topic of a PUBLISH, if anything is.
__attribute__((noinline)) static int publish_topic_check(const struct mqtt_publish *m,
                                                         const struct mqtt5_properties *properties, uint8_t *reason,
                                                         struct error *err)
{
    struct error why;
    if (!m->topic_len) {
        if (mqtt5_has(properties, MQTT5_TOPIC_ALIAS))
            return 0;
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "PUBLISH without a topic and without a topic alias (MQTT 5, 3.3.2.1)");
    }
    if (mqtt_topic_check(m->topic, m->topic_len, &why) < 0)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "PUBLISH: %s (MQTT 5, 3.3.2.1)", why.text);
    return 0;
}

// Reads the properties of a PUBLISH; NULL: a violation. Apart, so that a PUBLISH without any pays nothing for it.
__attribute__((noinline)) static const uint8_t *behind_properties(const uint8_t *at, const uint8_t *end,
                                                                  struct mqtt5_properties *properties, uint8_t *reason,
                                                                  struct error *err)
{
    return mqtt5_properties_decode(MQTT_PUBLISH, false, &at, end, properties, reason, err) < 0 ? NULL : at;
}

int mqtt5_publish_decode(uint8_t first, const uint8_t *body, size_t n, struct mqtt_publish *out,
                         struct mqtt5_properties *properties, uint8_t *reason, struct error *err)
{
    const uint8_t *at = body, *end = body + n;
    out->qos = first >> 1 & 3;
    out->retain = first & 1;
    out->dup = first & 8;
    out->packet_id = 0;
    if (n < 2 || n - 2 < get_u16(at))
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "PUBLISH ends inside its topic (MQTT 5, 3.3.2.1)");
    out->topic = (const char *)at + 2;
    out->topic_len = get_u16(at);
    at += 2 + out->topic_len;
    if (out->qos) {
        if (end - at < 2)
            return violation(reason, MQTT5_MALFORMED_PACKET, err,
                             "PUBLISH of QoS %u without a packet id (MQTT 5, 3.3.2.2)", out->qos);
        out->packet_id = (uint16_t)get_u16(at);
        if (id_check(MQTT_PUBLISH, out->packet_id, reason, err) < 0)
            return -1;
        at += 2;
    }
    if (at < end && !*at) { // the common case
        at++;
        properties->present = 0;
        properties->n_user = properties->n_subscription_ids = 0;
    } else {
        at = behind_properties(at, end, properties, reason, err);
        if (!at)
            return -1;
    }
    out->payload = at;
    out->payload_len = (size_t)(end - at);
    if (out->topic_len && mqtt_topic_check(out->topic, out->topic_len, NULL) == 0) // no room for a text until needed
        return 0;
    return publish_topic_check(out, properties, reason, err);
}

int mqtt5_ack_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_ack *out,
                     struct mqtt5_properties *properties, uint8_t *reason, struct error *err)
{
    if (n < 2)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s of %zu bytes, needs at least 2 (MQTT 5, 3.%d.2)",
                         mqtt_type_name(type), n, (int)type);
    out->packet_id = (uint16_t)get_u16(body);
    out->reason = n > 2 ? body[2] : 0;
    properties->present = 0;
    properties->n_user = properties->n_subscription_ids = 0;
    if (id_check(type, out->packet_id, reason, err) < 0 || (n > 2 && reason_check(type, out->reason, reason, err) < 0))
        return -1;
    if (n < 4) // 3.4.2.2.1
        return 0;
    const uint8_t *at = body + 3, *end = body + n;
    if (mqtt5_properties_decode(type, false, &at, end, properties, reason, err) < 0)
        return -1;
    return end_check(type, at, end, reason, err);
}

int mqtt5_suback_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_suback *out,
                        struct mqtt5_properties *properties, uint8_t *reason, struct error *err)
{
    if (n < 4)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s of %zu bytes, needs at least 4 (MQTT 5, 3.%d.2)",
                         mqtt_type_name(type), n, (int)type);
    const uint8_t *at = body + 2, *end = body + n;
    out->packet_id = (uint16_t)get_u16(body);
    if (!out->packet_id)
        return violation(reason, MQTT5_PROTOCOL_ERROR, err, "%s with packet id 0 (MQTT 5, 2.2.1-6)",
                         mqtt_type_name(type));
    if (mqtt5_properties_decode(type, false, &at, end, properties, reason, err) < 0)
        return -1;
    out->codes = at;
    out->n_codes = (size_t)(end - at);
    if (!out->n_codes)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s without a reason code (MQTT 5, 3.%d.3)",
                         mqtt_type_name(type), (int)type);
    for (size_t i = 0; i < out->n_codes; i++)
        if (reason_check(type, out->codes[i], reason, err) < 0)
            return -1;
    return 0;
}

// What a server's DISCONNECT and AUTH must or must not have.
static int reason_properties_check(enum mqtt_type type, const struct mqtt5_properties *p, uint8_t *reason,
                                   struct error *err)
{
    if (type == MQTT_DISCONNECT && mqtt5_has(p, MQTT5_SESSION_EXPIRY))
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "DISCONNECT of a server with a session expiry interval (MQTT 5, 3.14.2-2)");
    if (type == MQTT_AUTH && !mqtt5_has(p, MQTT5_AUTH_METHOD))
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "AUTH without an authentication method (MQTT 5, 3.15.2.2.2)");
    return 0;
}

int mqtt5_reason_decode(enum mqtt_type type, const uint8_t *body, size_t n, uint8_t *code,
                        struct mqtt5_properties *properties, uint8_t *reason, struct error *err)
{
    *code = n ? body[0] : 0;
    properties->present = 0;
    properties->n_user = properties->n_subscription_ids = 0;
    if (!n)
        return 0;
    if (reason_check(type, *code, reason, err) < 0)
        return -1;
    if (n == 1 && type == MQTT_DISCONNECT) // 3.14.2.2.1
        return 0;
    const uint8_t *at = body + 1, *end = body + n;
    if (mqtt5_properties_decode(type, false, &at, end, properties, reason, err) < 0 ||
        end_check(type, at, end, reason, err) < 0)
        return -1;
    return reason_properties_check(type, properties, reason, err);
}
