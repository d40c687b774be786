#include "adapter/mqtt/codec_impl.h"
#include "adapter/mqtt/topic.h"

static const char *const type_names[16] = {"reserved", "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
                                           "PUBREL",   "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
                                           "PINGREQ",  "PINGRESP", "DISCONNECT", "AUTH"};

const char *mqtt_type_name(unsigned type)
{
    return type_names[type & 15];
}

size_t mqtt_packet_size(size_t remaining)
{
    if (remaining > MQTT_MAX_REMAINING)
        return 0;
    return 1 + varint_size(remaining) + remaining;
}

static size_t connect_remaining(const struct mqtt_connect *c)
{
    size_t n = 10 + 2 + c->client_id.len;
    if (c->will_topic.data)
        n += 2 + c->will_topic.len + 2 + c->will_payload.len;
    if (c->user.data)
        n += 2 + c->user.len;
    if (c->password.data)
        n += 2 + c->password.len;
    return n;
}

static int check_text(const char *what, const struct mqtt_text *t, bool utf8, struct error *err)
{
    if (t->len > UINT16_MAX)
        return error_set(err, ERR_INVALID, "the %s has %zu bytes, at most 65535 are possible (MQTT 1.5.3)", what,
                         t->len);
    if (utf8 && t->len && !mqtt_utf8_valid(t->data, t->len))
        return error_set(err, ERR_INVALID, "the %s is not valid UTF-8 without NUL (MQTT 1.5.3)", what);
    return 0;
}

size_t mqtt_connect_size(const struct mqtt_connect *c, struct error *err)
{
    if (check_text("client id", &c->client_id, true, err) < 0 || check_text("user name", &c->user, true, err) < 0 ||
        check_text("password", &c->password, false, err) < 0 ||
        check_text("will payload", &c->will_payload, false, err) < 0)
        return 0;
    if (!c->client_id.len && !c->clean_session) {
        error_set(err, ERR_INVALID, "a persistent session needs a client id (MQTT 3.1.3-7)");
        return 0;
    }
    if (c->password.data && !c->user.data) {
        error_set(err, ERR_INVALID, "a password needs a user name (MQTT 3.1.2-22)");
        return 0;
    }
    if (c->will_payload.data && !c->will_topic.data) {
        error_set(err, ERR_INVALID, "a will needs a topic (MQTT 3.1.2.5)");
        return 0;
    }
    if (c->will_topic.data && mqtt_topic_check(c->will_topic.data, c->will_topic.len, err) < 0) {
        error_prefix(err, "will");
        return 0;
    }
    return mqtt_packet_size(connect_remaining(c));
}

uint8_t *mqtt_connect_encode(uint8_t *p, const struct mqtt_connect *c)
{
    unsigned flags = c->clean_session ? 2 : 0;
    if (c->will_topic.data)
        flags |= 4u | (unsigned)c->will_qos << 3 | (c->will_retain ? 32u : 0);
    flags |= (c->user.data ? 128u : 0) | (c->password.data ? 64u : 0);
    p = put_header(p, MQTT_CONNECT, 0, connect_remaining(c));
    p = put_text(p, "MQTT", 4);
    *p++ = 4; // protocol level of 3.1.1
    *p++ = (uint8_t)flags;
    p = put_u16(p, c->keep_alive);
    p = put_text(p, c->client_id.data, c->client_id.len);
    if (c->will_topic.data) {
        p = put_text(p, c->will_topic.data, c->will_topic.len);
        p = put_text(p, c->will_payload.data, c->will_payload.len);
    }
    if (c->user.data)
        p = put_text(p, c->user.data, c->user.len);
    if (c->password.data)
        p = put_text(p, c->password.data, c->password.len);
    return p;
}

size_t mqtt_publish_size(size_t topic_len, size_t payload_len, uint8_t qos)
{
    return payload_len > MQTT_MAX_REMAINING ? 0 : mqtt_packet_size(2 + topic_len + (qos ? 2 : 0) + payload_len);
}

uint8_t *mqtt_publish_encode(uint8_t *p, const struct mqtt_publish *m)
{
    size_t remaining = 2 + m->topic_len + (m->qos ? 2 : 0) + m->payload_len;
    p = put_header(p, MQTT_PUBLISH, publish_flags(m), remaining);
    p = put_text(p, m->topic, m->topic_len);
    if (m->qos)
        p = put_u16(p, m->packet_id);
    if (m->payload_len)
        memcpy(p, m->payload, m->payload_len);
    return p + m->payload_len;
}

size_t mqtt_subscribe_size(enum mqtt_type type, size_t filter_len)
{
    return mqtt_packet_size(2 + 2 + filter_len + (type == MQTT_SUBSCRIBE ? 1 : 0));
}

uint8_t *mqtt_subscribe_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id, const char *filter,
                               size_t filter_len, uint8_t qos)
{
    p = put_header(p, type, 2, 2 + 2 + filter_len + (type == MQTT_SUBSCRIBE ? 1 : 0));
    p = put_u16(p, packet_id);
    p = put_text(p, filter, filter_len);
    if (type == MQTT_SUBSCRIBE)
        *p++ = qos;
    return p;
}

uint8_t *mqtt_ack_encode(uint8_t *p, enum mqtt_type type, uint16_t packet_id)
{
    p = put_header(p, type, type == MQTT_PUBREL ? 2 : 0, 2);
    return put_u16(p, packet_id);
}

uint8_t *mqtt_empty_encode(uint8_t *p, enum mqtt_type type)
{
    return put_header(p, type, 0, 0);
}

int mqtt_first_byte_check(uint8_t first, struct error *err)
{
    unsigned type = first >> 4, flags = first & 15;
    if (type == 0 || type == 15)
        return error_set(err, ERR_PROTOCOL, "packet of the reserved type %u (MQTT 2.2.1)", type);
    if (type == MQTT_PUBLISH) {
        if ((flags & 6) == 6)
            return error_set(err, ERR_PROTOCOL, "PUBLISH with QoS 3 (MQTT 3.3.1-4)");
        if (flags & 8 && !(flags & 6))
            return error_set(err, ERR_PROTOCOL, "PUBLISH of QoS 0 marked as duplicate (MQTT 3.3.1-2)");
        return 0;
    }
    unsigned expected = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 2 : 0;
    if (flags != expected)
        return error_set(err, ERR_PROTOCOL, "%s with reserved flags 0x%x, must be 0x%x (MQTT 2.2.2-1)",
                         mqtt_type_name(type), flags, expected);
    return 0;
}

int mqtt_connack_decode(const uint8_t *body, size_t n, struct mqtt_connack *out, struct error *err)
{
    if (n != 2)
        return error_set(err, ERR_PROTOCOL, "CONNACK of %zu bytes, must be 2 (MQTT 3.2.1)", n);
    if (body[0] > 1)
        return error_set(err, ERR_PROTOCOL, "CONNACK with reserved acknowledge flags 0x%02x (MQTT 3.2.2.1)", body[0]);
    if (body[1] > 5)
        return error_set(err, ERR_PROTOCOL, "CONNACK with the reserved return code %u (MQTT 3.2.2.3)", body[1]);
    if (body[0] && body[1])
        return error_set(err, ERR_PROTOCOL, "CONNACK refuses (%u) and says session present (MQTT 3.2.2-4)", body[1]);
    out->session_present = body[0];
    out->reason = body[1];
    return 0;
}

int mqtt_publish_decode(uint8_t first, const uint8_t *body, size_t n, struct mqtt_publish *out, struct error *err)
{
    out->qos = first >> 1 & 3;
    out->retain = first & 1;
    out->dup = first & 8;
    out->packet_id = 0;
    if (n < 2 || n - 2 < get_u16(body))
        return error_set(err, ERR_PROTOCOL, "PUBLISH ends inside its topic (MQTT 3.3.2.1)");
    out->topic = (const char *)body + 2;
    out->topic_len = get_u16(body);
    body += 2 + out->topic_len;
    n -= 2 + out->topic_len;
    struct error why;
    if (mqtt_topic_check(out->topic, out->topic_len, &why) < 0)
        return error_set(err, ERR_PROTOCOL, "PUBLISH: %s (MQTT 3.3.2.1)", why.text);
    if (out->qos) {
        if (n < 2)
            return error_set(err, ERR_PROTOCOL, "PUBLISH of QoS %u without a packet id (MQTT 3.3.2.2)", out->qos);
        out->packet_id = (uint16_t)get_u16(body);
        if (!out->packet_id)
            return error_set(err, ERR_PROTOCOL, "PUBLISH with packet id 0 (MQTT 2.3.1-1)");
        body += 2;
        n -= 2;
    }
    out->payload = body;
    out->payload_len = n;
    return 0;
}

int mqtt_ack_decode(enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_ack *out, struct error *err)
{
    if (n != 2)
        return error_set(err, ERR_PROTOCOL, "%s of %zu bytes, must be 2 (MQTT 3.%d.1)", mqtt_type_name(type), n,
                         (int)type);
    out->packet_id = (uint16_t)get_u16(body);
    out->reason = 0;
    if (!out->packet_id)
        return error_set(err, ERR_PROTOCOL, "%s with packet id 0 (MQTT 2.3.1-1)", mqtt_type_name(type));
    return 0;
}

int mqtt_suback_decode(const uint8_t *body, size_t n, struct mqtt_suback *out, struct error *err)
{
    if (n < 3)
        return error_set(err, ERR_PROTOCOL, "SUBACK of %zu bytes, needs at least 3 (MQTT 3.9.3)", n);
    out->packet_id = (uint16_t)get_u16(body);
    out->codes = body + 2;
    out->n_codes = n - 2;
    if (!out->packet_id)
        return error_set(err, ERR_PROTOCOL, "SUBACK with packet id 0 (MQTT 2.3.1-1)");
    for (size_t i = 0; i < out->n_codes; i++)
        if (out->codes[i] > 2 && out->codes[i] != MQTT_SUBSCRIBE_REFUSED)
            return error_set(err, ERR_PROTOCOL, "SUBACK with the reserved return code 0x%02x (MQTT 3.9.3-2)",
                             out->codes[i]);
    return 0;
}

int mqtt_empty_decode(enum mqtt_type type, size_t n, struct error *err)
{
    if (n)
        return error_set(err, ERR_PROTOCOL, "%s of %zu bytes, must be empty (MQTT 3.%d.1)", mqtt_type_name(type), n,
                         (int)type);
    return 0;
}

const char *mqtt_connack_text(uint8_t reason)
{
    static const char *const texts[] = {"accepted",           "unacceptable protocol version", "client id rejected",
                                        "server unavailable", "bad user name or password",     "not authorized"};
    return reason < sizeof texts / sizeof *texts ? texts[reason] : "reserved return code";
}
