// MQTT 5: packets that a client sends.
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/codec_impl.h"
#include "adapter/mqtt/topic.h"

// Bytes of properties and their length field.
static size_t with_length(const struct mqtt5_properties *p)
{
    size_t n = mqtt5_properties_length(p);
    return varint_size(n) + n;
}

static size_t too_large(enum mqtt_type type, size_t n, struct error *err)
{
    error_set(err, ERR_INVALID, "%s of %zu bytes, at most 268435455 are possible (MQTT 5, 2.1.4)", mqtt_type_name(type),
              n);
    return 0;
}

// The size of a packet, or 0 with err when it is over the limit.
static size_t packet_size(enum mqtt_type type, size_t remaining, struct error *err)
{
    size_t size = mqtt_packet_size(remaining);
    return size ? size : too_large(type, remaining, err);
}

static size_t connect_remaining(const struct mqtt_connect *c, const struct mqtt5_properties *properties,
                                const struct mqtt5_properties *will)
{
    size_t n = 10 + with_length(properties) + 2 + c->client_id.len;
    if (c->will_topic.data)
        n += with_length(will) + 2 + c->will_topic.len + 2 + c->will_payload.len;
    if (c->user.data)
        n += 2 + c->user.len;
    if (c->password.data)
        n += 2 + c->password.len;
    return n;
}

static int will_check(const struct mqtt_connect *c, const struct mqtt5_properties *will, struct error *err)
{
    if (!c->will_topic.data) {
        if (c->will_payload.data || (will && will->present))
            return error_set(err, ERR_INVALID, "a will needs a topic (MQTT 5, 3.1.2-9)");
        return 0;
    }
    if (c->will_qos > 2)
        return error_set(err, ERR_INVALID, "a will with QoS %u, must be 0, 1 or 2 (MQTT 5, 3.1.2-12)", c->will_qos);
    if (mqtt_topic_check(c->will_topic.data, c->will_topic.len, err) < 0 || !mqtt5_properties_size(will, err))
        return error_prefix(err, "will");
    return mqtt5_text_check("will payload", &c->will_payload, false, err);
}

size_t mqtt5_connect_size(const struct mqtt_connect *c, const struct mqtt5_properties *properties,
                          const struct mqtt5_properties *will, struct error *err)
{
    if (mqtt5_text_check("client id", &c->client_id, true, err) < 0 ||
        mqtt5_text_check("user name", &c->user, true, err) < 0 ||
        mqtt5_text_check("password", &c->password, false, err) < 0 || will_check(c, will, err) < 0 ||
        !mqtt5_properties_size(properties, err))
        return 0;
    if (properties && mqtt5_has(properties, MQTT5_AUTH_DATA) && !mqtt5_has(properties, MQTT5_AUTH_METHOD)) {
        error_set(err, ERR_INVALID, "authentication data needs an authentication method (MQTT 5, 3.1.2.11.10)");
        return 0;
    }
    return packet_size(MQTT_CONNECT, connect_remaining(c, properties, will), err);
}

uint8_t *mqtt5_connect_encode(uint8_t *p, const struct mqtt_connect *c, const struct mqtt5_properties *properties,
                              const struct mqtt5_properties *will)
{
    unsigned flags = c->clean_session ? 2 : 0;
    if (c->will_topic.data)
        flags |= 4u | (unsigned)c->will_qos << 3 | (c->will_retain ? 32u : 0);
    flags |= (c->user.data ? 128u : 0) | (c->password.data ? 64u : 0);
    p = put_header(p, MQTT_CONNECT, 0, connect_remaining(c, properties, will));
    p = put_text(p, "MQTT", 4);
    *p++ = 5; // protocol version
    *p++ = (uint8_t)flags;
    p = put_u16(p, c->keep_alive);
    p = mqtt5_properties_encode(p, properties);
    p = put_text(p, c->client_id.data, c->client_id.len);
    if (c->will_topic.data) {
        p = mqtt5_properties_encode(p, will);
        p = put_text(p, c->will_topic.data, c->will_topic.len);
        p = put_text(p, c->will_payload.data, c->will_payload.len);
    }
    if (c->user.data)
        p = put_text(p, c->user.data, c->user.len);
    if (c->password.data)
        p = put_text(p, c->password.data, c->password.len);
    return p;
}

size_t mqtt5_publish_size_slow(const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                               struct error *err)
{
    size_t n = properties ? mqtt5_properties_size(properties, err) : 1;
    if (!n)
        return 0;
    if (!m->topic_len && !(properties && mqtt5_has(properties, MQTT5_TOPIC_ALIAS))) {
        error_set(err, ERR_INVALID, "a message without a topic needs a topic alias (MQTT 5, 3.3.2.1)");
        return 0;
    }
    size_t size = m->payload_len > MQTT_MAX_REMAINING // the sum must not wrap
                      ? 0
                      : mqtt_packet_size(2 + m->topic_len + (m->qos ? 2 : 0) + n + m->payload_len);
    return size ? size : too_large(MQTT_PUBLISH, m->payload_len, err);
}

// Up to the properties, which take n bytes with their length field.
static inline uint8_t *put_publish(uint8_t *p, const struct mqtt_publish *m, size_t n)
{
    p = put_header(p, MQTT_PUBLISH, publish_flags(m), 2 + m->topic_len + (m->qos ? 2 : 0) + n + m->payload_len);
    p = put_text(p, m->topic, m->topic_len);
    return m->qos ? put_u16(p, m->packet_id) : p;
}

static inline uint8_t *put_payload(uint8_t *p, const struct mqtt_publish *m)
{
    if (!m->payload || !m->payload_len)
        return p;
    memcpy(p, m->payload, m->payload_len);
    return p + m->payload_len;
}

// Apart, so that a PUBLISH without properties pays nothing for it.
__attribute__((noinline)) static uint8_t *encode_with(uint8_t *p, const struct mqtt_publish *m,
                                                      const struct mqtt5_properties *properties)
{
    p = put_publish(p, m, with_length(properties));
    return put_payload(mqtt5_properties_encode(p, properties), m);
}

uint8_t *mqtt5_publish_encode(uint8_t *p, const struct mqtt_publish *m, const struct mqtt5_properties *properties)
{
    if (properties && properties->present)
        return encode_with(p, m, properties);
    p = put_publish(p, m, 1);
    *p++ = 0;
    return put_payload(p, m);
}

size_t mqtt5_subscribe_size(enum mqtt_type type, size_t filter_len, const struct mqtt5_properties *properties,
                            struct error *err)
{
    size_t n = mqtt5_properties_size(properties, err);
    if (!n)
        return 0;
    return packet_size(type, 2 + n + 2 + filter_len + (type == MQTT_SUBSCRIBE ? 1 : 0), err);
}

uint8_t *mqtt5_subscribe_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, const char *filter,
                                size_t filter_len, const struct mqtt5_subscribe_options *options,
                                const struct mqtt5_properties *properties)
{
    p = put_header(p, type, 2, 2 + with_length(properties) + 2 + filter_len + (type == MQTT_SUBSCRIBE ? 1 : 0));
    p = put_u16(p, packet_id);
    p = mqtt5_properties_encode(p, properties);
    p = put_text(p, filter, filter_len);
    if (type == MQTT_SUBSCRIBE)
        *p++ = (uint8_t)(options->qos | (options->no_local ? 4u : 0) | (options->retain_as_published ? 8u : 0) |
                         (unsigned)options->retain_handling << 4);
    return p;
}

static size_t ack_remaining(uint8_t reason, const struct mqtt5_properties *properties)
{
    size_t n = mqtt5_properties_length(properties);
    return n ? 3 + varint_size(n) + n : reason ? 3 : 2; // 3.4.2.1, 3.4.2.2.1
}

size_t mqtt5_ack_size(uint8_t reason, const struct mqtt5_properties *properties, struct error *err)
{
    if (!mqtt5_properties_size(properties, err))
        return 0;
    return packet_size(MQTT_PUBACK, ack_remaining(reason, properties), err);
}

uint8_t *mqtt5_ack_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, uint8_t reason,
                          const struct mqtt5_properties *properties)
{
    size_t remaining = ack_remaining(reason, properties);
    p = put_header(p, type, type == MQTT_PUBREL ? 2 : 0, remaining);
    p = put_u16(p, packet_id);
    if (remaining > 2)
        *p++ = reason;
    return remaining > 3 ? mqtt5_properties_encode(p, properties) : p;
}

static size_t reason_remaining(uint8_t reason, const struct mqtt5_properties *properties)
{
    size_t n = mqtt5_properties_length(properties);
    return n || reason ? 1 + varint_size(n) + n : 0; // 3.14.2.1, 3.15.2.1
}

size_t mqtt5_reason_size(uint8_t reason, const struct mqtt5_properties *properties, struct error *err)
{
    if (!mqtt5_properties_size(properties, err))
        return 0;
    return packet_size(MQTT_DISCONNECT, reason_remaining(reason, properties), err);
}

uint8_t *mqtt5_reason_encode(uint8_t *p, enum mqtt_type type, uint8_t reason, const struct mqtt5_properties *properties)
{
    size_t remaining = reason_remaining(reason, properties);
    p = put_header(p, type, 0, remaining);
    if (!remaining)
        return p;
    *p++ = reason;
    return mqtt5_properties_encode(p, properties);
}
