// Properties (2.2.2): one table says of each what it is, where it lies in the struct and which packets may have it.
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/codec_impl.h"
#include "adapter/mqtt/topic.h"

enum kind { UNKNOWN, FLAG, U16, U32, TEXT, TOPIC, BINARY, SUBSCRIPTION, USER };

struct definition {
    const char *name, *section;
    uint32_t packets; // bit 1 << type; bit 0: a will
    uint16_t at;      // of its field
    uint8_t kind;
    uint8_t zero; // reason code when the value is 0; 0: it may be
};

#define IN(type) (1u << MQTT_##type)
#define WILL 1u
#define ACKS (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define AT(field) offsetof(struct mqtt5_properties, field)
static const struct definition definitions[] = {
    [MQTT5_PAYLOAD_FORMAT] = {"payload format indicator", "3.3.2.3.2", IN(PUBLISH) | WILL, AT(payload_format), FLAG, 0},
    [MQTT5_MESSAGE_EXPIRY] = {"message expiry interval", "3.3.2.3.3", IN(PUBLISH) | WILL, AT(message_expiry), U32, 0},
    [MQTT5_CONTENT_TYPE] = {"content type", "3.3.2.3.9", IN(PUBLISH) | WILL, AT(content_type), TEXT, 0},
    [MQTT5_RESPONSE_TOPIC] = {"response topic", "3.3.2.3.5", IN(PUBLISH) | WILL, AT(response_topic), TOPIC, 0},
    [MQTT5_CORRELATION_DATA] = {"correlation data", "3.3.2.3.6", IN(PUBLISH) | WILL, AT(correlation_data), BINARY, 0},
    [MQTT5_SUBSCRIPTION_ID] = {"subscription identifier", "3.3.2.3.8", IN(PUBLISH) | IN(SUBSCRIBE),
                               AT(subscription_ids), SUBSCRIPTION, MQTT5_PROTOCOL_ERROR},
    [MQTT5_SESSION_EXPIRY] = {"session expiry interval", "3.1.2.11.2", IN(CONNECT) | IN(CONNACK) | IN(DISCONNECT),
                              AT(session_expiry), U32, 0},
    [MQTT5_ASSIGNED_CLIENT_ID] = {"assigned client identifier", "3.2.2.3.7", IN(CONNACK), AT(assigned_client_id), TEXT,
                                  0},
    [MQTT5_SERVER_KEEP_ALIVE] = {"server keep alive", "3.2.2.3.14", IN(CONNACK), AT(server_keep_alive), U16, 0},
    [MQTT5_AUTH_METHOD] = {"authentication method", "3.1.2.11.9", IN(CONNECT) | IN(CONNACK) | IN(AUTH), AT(auth_method),
                           TEXT, 0},
    [MQTT5_AUTH_DATA] = {"authentication data", "3.1.2.11.10", IN(CONNECT) | IN(CONNACK) | IN(AUTH), AT(auth_data),
                         BINARY, 0},
    [MQTT5_REQUEST_PROBLEM_INFO] = {"request problem information", "3.1.2.11.7", IN(CONNECT), AT(request_problem_info),
                                    FLAG, 0},
    [MQTT5_WILL_DELAY] = {"will delay interval", "3.1.3.2.2", WILL, AT(will_delay), U32, 0},
    [MQTT5_REQUEST_RESPONSE_INFO] = {"request response information", "3.1.2.11.6", IN(CONNECT),
                                     AT(request_response_info), FLAG, 0},
    [MQTT5_RESPONSE_INFO] = {"response information", "3.2.2.3.15", IN(CONNACK), AT(response_info), TEXT, 0},
    [MQTT5_SERVER_REFERENCE] = {"server reference", "3.2.2.3.16", IN(CONNACK) | IN(DISCONNECT), AT(server_reference),
                                TEXT, 0},
    [MQTT5_REASON_STRING] = {"reason string", "3.2.2.3.9", IN(CONNACK) | ACKS | IN(DISCONNECT) | IN(AUTH),
                             AT(reason_string), TEXT, 0},
    [MQTT5_RECEIVE_MAXIMUM] = {"receive maximum", "3.2.2.3.3", IN(CONNECT) | IN(CONNACK), AT(receive_maximum), U16,
                               MQTT5_PROTOCOL_ERROR},
    [MQTT5_TOPIC_ALIAS_MAXIMUM] = {"topic alias maximum", "3.2.2.3.8", IN(CONNECT) | IN(CONNACK),
                                   AT(topic_alias_maximum), U16, 0},
    [MQTT5_TOPIC_ALIAS] = {"topic alias", "3.3.2.3.4", IN(PUBLISH), AT(topic_alias), U16, MQTT5_TOPIC_ALIAS_INVALID},
    [MQTT5_MAXIMUM_QOS] = {"maximum QoS", "3.2.2.3.4", IN(CONNACK), AT(maximum_qos), FLAG, 0},
    [MQTT5_RETAIN_AVAILABLE] = {"retain available", "3.2.2.3.5", IN(CONNACK), AT(retain_available), FLAG, 0},
    [MQTT5_USER_PROPERTY] = {"user property", "3.3.2.3.7",
                             IN(CONNECT) | IN(CONNACK) | IN(PUBLISH) | WILL | ACKS | IN(SUBSCRIBE) | IN(UNSUBSCRIBE) |
                                 IN(DISCONNECT) | IN(AUTH),
                             AT(user), USER, 0},
    [MQTT5_MAXIMUM_PACKET_SIZE] = {"maximum packet size", "3.2.2.3.6", IN(CONNECT) | IN(CONNACK),
                                   AT(maximum_packet_size), U32, MQTT5_PROTOCOL_ERROR},
    [MQTT5_WILDCARD_AVAILABLE] = {"wildcard subscription available", "3.2.2.3.11", IN(CONNACK), AT(wildcard_available),
                                  FLAG, 0},
    [MQTT5_SUBSCRIPTION_ID_AVAILABLE] = {"subscription identifiers available", "3.2.2.3.12", IN(CONNACK),
                                         AT(subscription_id_available), FLAG, 0},
    [MQTT5_SHARED_AVAILABLE] = {"shared subscription available", "3.2.2.3.13", IN(CONNACK), AT(shared_available), FLAG,
                                0},
};
#define N_DEFINITIONS (sizeof definitions / sizeof *definitions)

static const void *field(const struct mqtt5_properties *p, const struct definition *d)
{
    return (const char *)p + d->at;
}

static void *field_of(struct mqtt5_properties *p, const struct definition *d)
{
    return (char *)p + d->at;
}

// The lowest property of a set that is known, and its definition; false: there is none. Takes it out.
static bool next(uint64_t *set, unsigned *id, const struct definition **d)
{
    while (*set) {
        *id = (unsigned)__builtin_ctzll(*set);
        *set &= *set - 1;
        if (*id < N_DEFINITIONS && definitions[*id].kind != UNKNOWN) {
            *d = &definitions[*id];
            return true;
        }
    }
    return false;
}

static unsigned subscription_count(const struct mqtt5_properties *p)
{
    return p->n_subscription_ids < ADAPTER_SUBSCRIPTION_IDS ? p->n_subscription_ids : ADAPTER_SUBSCRIPTION_IDS;
}

static size_t user_length(const struct mqtt5_properties *p)
{
    size_t n = 0;
    for (unsigned i = 0; i < p->n_user; i++)
        n += 1 + 2 + p->user[i].name_len + 2 + p->user[i].value_len;
    return n;
}

size_t mqtt5_properties_length(const struct mqtt5_properties *p)
{
    size_t n = 0;
    unsigned id;
    const struct definition *d;
    for (uint64_t set = p ? p->present : 0; next(&set, &id, &d);) {
        switch (d->kind) {
        case FLAG:
            n += 2;
            break;
        case U16:
            n += 3;
            break;
        case U32:
            n += 5;
            break;
        case SUBSCRIPTION:
            for (unsigned i = 0; i < subscription_count(p); i++)
                n += 1 + varint_size(p->subscription_ids[i]);
            break;
        case USER:
            n += user_length(p);
            break;
        default:
            n += 3 + ((const struct mqtt_text *)field(p, d))->len;
        }
    }
    return n;
}

static int check_bytes(const char *what, const char *section, const char *s, size_t n, bool utf8, struct error *err)
{
    if (n > UINT16_MAX)
        return error_set(err, ERR_INVALID, "the %s has %zu bytes, at most 65535 are possible (MQTT 5, %s)", what, n,
                         section);
    if (utf8 && n && !mqtt_utf8_valid(s, n))
        return error_set(err, ERR_INVALID, "the %s is not valid UTF-8 without NUL (MQTT 5, 1.5.4)", what);
    return 0;
}

int mqtt5_text_check(const char *what, const struct mqtt_text *t, bool utf8, struct error *err)
{
    return check_bytes(what, utf8 ? "1.5.4" : "1.5.6", t->data, t->len, utf8, err);
}

// Lists and integers: what the standard forbids the sender.
static int check_value(const struct mqtt5_properties *p, const struct definition *d, struct error *err)
{
    const void *at = field(p, d);
    uint32_t value = 1;
    switch (d->kind) {
    case FLAG:
        if (*(const uint8_t *)at > 1)
            return error_set(err, ERR_INVALID, "the %s is %u, must be 0 or 1 (MQTT 5, %s)", d->name,
                             *(const uint8_t *)at, d->section);
        break;
    case U16:
        value = *(const uint16_t *)at;
        break;
    case U32:
        value = *(const uint32_t *)at;
        break;
    case SUBSCRIPTION:
        for (unsigned i = 0; i < subscription_count(p); i++)
            if (!p->subscription_ids[i] || p->subscription_ids[i] > MQTT_MAX_REMAINING)
                return error_set(err, ERR_INVALID, "the %s is %u, must be 1 to 268435455 (MQTT 5, 3.8.2.1.2)", d->name,
                                 p->subscription_ids[i]);
        break;
    case USER:
        for (unsigned i = 0; i < p->n_user; i++)
            if (check_bytes("name of a user property", d->section, p->user[i].name, p->user[i].name_len, true, err) <
                    0 ||
                check_bytes("value of a user property", d->section, p->user[i].value, p->user[i].value_len, true, err) <
                    0)
                return -1;
        break;
    }
    return value || !d->zero
               ? 0
               : error_set(err, ERR_INVALID, "the %s is 0, must be at least 1 (MQTT 5, %s)", d->name, d->section);
}

static int check(const struct mqtt5_properties *p, struct error *err)
{
    unsigned id;
    const struct definition *d;
    for (uint64_t set = p->present; next(&set, &id, &d);) {
        const struct mqtt_text *t = field(p, d);
        if (d->kind == TEXT || d->kind == BINARY) {
            if (check_bytes(d->name, d->section, t->data, t->len, d->kind == TEXT, err) < 0)
                return -1;
        } else if (d->kind == TOPIC) {
            if (mqtt_topic_check(t->data, t->len, err) < 0)
                return error_prefix(err, "%s", d->name);
        } else if (check_value(p, d, err) < 0) {
            return -1;
        }
    }
    return 0;
}

size_t mqtt5_properties_size(const struct mqtt5_properties *p, struct error *err)
{
    if (!p || !p->present)
        return 1;
    if (check(p, err) < 0)
        return 0;
    size_t n = mqtt5_properties_length(p);
    if (n > MQTT_MAX_REMAINING) {
        error_set(err, ERR_INVALID, "the properties have %zu bytes, at most 268435455 are possible (MQTT 5, 2.2.2.1)",
                  n);
        return 0;
    }
    return varint_size(n) + n;
}

static uint8_t *put_property(uint8_t *to, unsigned id, const struct definition *d, const struct mqtt5_properties *p)
{
    const void *at = field(p, d);
    const struct mqtt_text *text = at;
    switch (d->kind) {
    case SUBSCRIPTION:
        for (unsigned i = 0; i < subscription_count(p); i++) {
            *to++ = (uint8_t)id;
            to = put_varint(to, p->subscription_ids[i]);
        }
        return to;
    case USER:
        for (unsigned i = 0; i < p->n_user; i++) {
            *to++ = (uint8_t)id;
            to = put_text(to, p->user[i].name, p->user[i].name_len);
            to = put_text(to, p->user[i].value, p->user[i].value_len);
        }
        return to;
    }
    *to++ = (uint8_t)id;
    switch (d->kind) {
    case FLAG:
        *to++ = *(const uint8_t *)at;
        return to;
    case U16:
        return put_u16(to, *(const uint16_t *)at);
    case U32:
        return put_u32(to, *(const uint32_t *)at);
    }
    return put_text(to, text->data, text->len);
}

uint8_t *mqtt5_properties_encode(uint8_t *to, const struct mqtt5_properties *p)
{
    if (!p || !p->present) {
        *to++ = 0;
        return to;
    }
    unsigned id;
    const struct definition *d;
    to = put_varint(to, mqtt5_properties_length(p));
    for (uint64_t set = p->present; next(&set, &id, &d);)
        to = put_property(to, id, d, p);
    return to;
}

// What is read: the rest of the properties of one packet.
struct reader {
    const uint8_t *at, *end;
    const char *packet;
    uint8_t *reason;
    struct error *err;
};

static int cut(struct reader *r, const char *name)
{
    return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err,
                     "%s: the %s reaches behind the properties (MQTT 5, 2.2.2.1)", r->packet, name);
}

static int read_bytes(struct reader *r, const char *name, bool utf8, struct mqtt_text *out)
{
    size_t left = (size_t)(r->end - r->at);
    if (left < 2 || left - 2 < get_u16(r->at))
        return cut(r, name);
    out->len = get_u16(r->at);
    out->data = (const char *)r->at + 2;
    r->at += 2 + out->len;
    if (utf8 && out->len && !mqtt_utf8_valid(out->data, out->len))
        return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err,
                         "%s: the %s is not valid UTF-8 without NUL (MQTT 5, 1.5.4)", r->packet, name);
    return 0;
}

static int read_user(struct reader *r, struct mqtt5_properties *out)
{
    struct mqtt_text name, value;
    if (read_bytes(r, "name of a user property", true, &name) < 0 ||
        read_bytes(r, "value of a user property", true, &value) < 0)
        return -1;
    if (!out->user)
        return 0;
    if (out->n_user == MQTT5_USER_MAX) {
        *r->reason = MQTT5_PACKET_TOO_LARGE;
        return error_set(r->err, ERR_LIMIT, "%s with more than %u user properties", r->packet, MQTT5_USER_MAX);
    }
    out->user[out->n_user++] =
        (struct adapter_property){.name = name.data, .name_len = name.len, .value = value.data, .value_len = value.len};
    return 0;
}

static int read_subscription(struct reader *r, struct mqtt5_properties *out)
{
    uint32_t v;
    const char *wrong = get_varint(&r->at, r->end, &v);
    if (wrong)
        return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err, "%s: a subscription identifier %s (MQTT 5, 1.5.5)",
                         r->packet, wrong);
    if (!v)
        return violation(r->reason, MQTT5_PROTOCOL_ERROR, r->err,
                         "%s with the subscription identifier 0 (MQTT 5, 3.3.2.3.8)", r->packet);
    if (out->n_subscription_ids < ADAPTER_SUBSCRIPTION_IDS)
        out->subscription_ids[out->n_subscription_ids++] = v;
    return 0;
}

static int read_integer(struct reader *r, const struct definition *d, void *to)
{
    size_t n = d->kind == FLAG ? 1 : d->kind == U16 ? 2 : 4;
    if ((size_t)(r->end - r->at) < n)
        return cut(r, d->name);
    uint32_t v = n == 1 ? *r->at : n == 2 ? get_u16(r->at) : get_u32(r->at);
    r->at += n;
    if (n == 1 && v > 1)
        return violation(r->reason, MQTT5_PROTOCOL_ERROR, r->err, "%s: the %s is %u, must be 0 or 1 (MQTT 5, %s)",
                         r->packet, d->name, v, d->section);
    if (!v && d->zero)
        return violation(r->reason, d->zero, r->err, "%s: the %s is 0 (MQTT 5, %s)", r->packet, d->name, d->section);
    if (n == 1)
        *(uint8_t *)to = (uint8_t)v;
    else if (n == 2)
        *(uint16_t *)to = (uint16_t)v;
    else
        *(uint32_t *)to = v;
    return 0;
}

static int read_value(struct reader *r, const struct definition *d, struct mqtt5_properties *out)
{
    struct error why;
    struct mqtt_text *text = field_of(out, d);
    switch (d->kind) {
    case SUBSCRIPTION:
        return read_subscription(r, out);
    case USER:
        return read_user(r, out);
    case TEXT:
    case BINARY:
        return read_bytes(r, d->name, d->kind == TEXT, text);
    case TOPIC:
        if (read_bytes(r, d->name, true, text) < 0)
            return -1;
        if (mqtt_topic_check(text->data, text->len, &why) < 0)
            return violation(r->reason, MQTT5_PROTOCOL_ERROR, r->err, "%s: %s: %s (MQTT 5, 3.3.2-14)", r->packet,
                             d->name, why.text);
        return 0;
    }
    return read_integer(r, d, field_of(out, d));
}

static int read_property(struct reader *r, enum mqtt_type packet, uint32_t where, struct mqtt5_properties *out)
{
    uint32_t id;
    const char *wrong = get_varint(&r->at, r->end, &id);
    if (wrong)
        return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err, "%s: a property identifier %s (MQTT 5, 1.5.5)",
                         r->packet, wrong);
    const struct definition *d = &definitions[id < N_DEFINITIONS ? id : 0];
    if (d->kind == UNKNOWN)
        return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err, "%s with the unknown property %u (MQTT 5, 2.2.2.2)",
                         r->packet, id);
    if (!(d->packets & where))
        return violation(r->reason, MQTT5_MALFORMED_PACKET, r->err,
                         "%s must not have the property %s (MQTT 5, 2.2.2.2)", r->packet, d->name);
    bool many = d->kind == USER || (d->kind == SUBSCRIPTION && packet == MQTT_PUBLISH);
    if (mqtt5_has(out, (enum mqtt5_property)id) && !many)
        return violation(r->reason, MQTT5_PROTOCOL_ERROR, r->err, "%s has the property %s twice (MQTT 5, %s)",
                         r->packet, d->name, d->section);
    mqtt5_set(out, (enum mqtt5_property)id);
    return read_value(r, d, out);
}

int mqtt5_properties_decode(enum mqtt_type packet, bool will, const uint8_t **at, const uint8_t *end,
                            struct mqtt5_properties *out, uint8_t *reason, struct error *err)
{
    struct reader r = {
        .at = *at, .end = end, .packet = will ? "will" : mqtt_type_name(packet), .reason = reason, .err = err};
    uint32_t n;
    out->present = 0;
    out->n_user = out->n_subscription_ids = 0;
    const char *wrong = get_varint(&r.at, end, &n);
    if (wrong)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s: the length of its properties %s (MQTT 5, 2.2.2.1)",
                         r.packet, wrong);
    if ((size_t)(end - r.at) < n)
        return violation(reason, MQTT5_MALFORMED_PACKET, err, "%s ends inside its properties (MQTT 5, 2.2.2.1)",
                         r.packet);
    r.end = r.at + n;
    while (r.at < r.end)
        if (read_property(&r, packet, will ? WILL : 1u << packet, out) < 0)
            return -1;
    if (mqtt5_has(out, MQTT5_AUTH_DATA) && !mqtt5_has(out, MQTT5_AUTH_METHOD))
        return violation(reason, MQTT5_PROTOCOL_ERROR, err,
                         "%s with authentication data but no authentication method (MQTT 5, 3.1.2.11.10)", r.packet);
    *at = r.at;
    return 0;
}
