// What the MQTT codec costs, version 5 beside 3.1.1, and packets for a codec that others wrote
// (tests/integration/mqtt_packet_spec.lua).
//
//   bench_mqtt_codec                          ns a packet encoded and decoded, as a table
//   bench_mqtt_codec --encode VERSION N SEED  N random packets of a client as "HEX JSON", VERSION 4 or 5
//   bench_mqtt_codec --decode VERSION         packets of a server from standard input, as HEX, to JSON
//
// JSON: names of npm's mqtt-packet; binary data as hex digits, flags of properties as 0 and 1, user properties as
// { name = [values] }.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/parser.h"
#include "core/rng.h"

#define AT(field) offsetof(struct mqtt5_properties, field)
// In the order of mqtt5_property; kind: 1, 2, 4 an integer of so many bytes, t text, b binary, v subscription
// identifiers, u user properties.
static const struct {
    enum mqtt5_property id;
    char kind;
    const char *name;
    size_t at;
} table[] = {{MQTT5_PAYLOAD_FORMAT, 1, "payloadFormatIndicator", AT(payload_format)},
             {MQTT5_MESSAGE_EXPIRY, 4, "messageExpiryInterval", AT(message_expiry)},
             {MQTT5_CONTENT_TYPE, 't', "contentType", AT(content_type)},
             {MQTT5_RESPONSE_TOPIC, 't', "responseTopic", AT(response_topic)},
             {MQTT5_CORRELATION_DATA, 'b', "correlationData", AT(correlation_data)},
             {MQTT5_SUBSCRIPTION_ID, 'v', "subscriptionIdentifier", 0},
             {MQTT5_SESSION_EXPIRY, 4, "sessionExpiryInterval", AT(session_expiry)},
             {MQTT5_ASSIGNED_CLIENT_ID, 't', "assignedClientIdentifier", AT(assigned_client_id)},
             {MQTT5_SERVER_KEEP_ALIVE, 2, "serverKeepAlive", AT(server_keep_alive)},
             {MQTT5_AUTH_METHOD, 't', "authenticationMethod", AT(auth_method)},
             {MQTT5_AUTH_DATA, 'b', "authenticationData", AT(auth_data)},
             {MQTT5_REQUEST_PROBLEM_INFO, 1, "requestProblemInformation", AT(request_problem_info)},
             {MQTT5_WILL_DELAY, 4, "willDelayInterval", AT(will_delay)},
             {MQTT5_REQUEST_RESPONSE_INFO, 1, "requestResponseInformation", AT(request_response_info)},
             {MQTT5_RESPONSE_INFO, 't', "responseInformation", AT(response_info)},
             {MQTT5_SERVER_REFERENCE, 't', "serverReference", AT(server_reference)},
             {MQTT5_REASON_STRING, 't', "reasonString", AT(reason_string)},
             {MQTT5_RECEIVE_MAXIMUM, 2, "receiveMaximum", AT(receive_maximum)},
             {MQTT5_TOPIC_ALIAS_MAXIMUM, 2, "topicAliasMaximum", AT(topic_alias_maximum)},
             {MQTT5_TOPIC_ALIAS, 2, "topicAlias", AT(topic_alias)},
             {MQTT5_MAXIMUM_QOS, 1, "maximumQoS", AT(maximum_qos)},
             {MQTT5_RETAIN_AVAILABLE, 1, "retainAvailable", AT(retain_available)},
             {MQTT5_USER_PROPERTY, 'u', "userProperties", 0},
             {MQTT5_MAXIMUM_PACKET_SIZE, 4, "maximumPacketSize", AT(maximum_packet_size)},
             {MQTT5_WILDCARD_AVAILABLE, 1, "wildcardSubscriptionAvailable", AT(wildcard_available)},
             {MQTT5_SUBSCRIPTION_ID_AVAILABLE, 1, "subscriptionIdentifiersAvailable", AT(subscription_id_available)},
             {MQTT5_SHARED_AVAILABLE, 1, "sharedSubscriptionAvailable", AT(shared_available)}};
enum { N_TABLE = sizeof table / sizeof *table, POOL = 1 << 20 };

static char *hex_of(const void *bytes, size_t n)
{
    char *text = malloc(2 * n + 1);
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
    text[2 * n] = 0;
    return text;
}

static json_t *json_hex(const void *bytes, size_t n)
{
    char *text = hex_of(bytes, n);
    json_t *v = json_string(text);
    free(text);
    return v;
}

static json_t *json_text(struct mqtt_text t)
{
    return json_stringn(t.len ? t.data : "", t.len);
}

static json_t *user_json(const struct mqtt5_properties *p)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < p->n_user; i++) {
        char name[65536];
        memcpy(name, p->user[i].name, p->user[i].name_len);
        name[p->user[i].name_len] = 0;
        json_t *list = json_object_get(all, name);
        if (!list)
            json_object_set_new(all, name, list = json_array());
        json_array_append_new(list, json_stringn(p->user[i].value, p->user[i].value_len));
    }
    return all;
}

static void add_properties(json_t *to, const struct mqtt5_properties *p)
{
    if (!p || !p->present)
        return;
    json_t *all = json_object();
    for (int i = 0; i < N_TABLE; i++) {
        const char *at = (const char *)p + table[i].at;
        json_t *v = NULL;
        if (!mqtt5_has(p, table[i].id))
            continue;
        switch (table[i].kind) {
        case 1:
            v = json_integer(*(const uint8_t *)at);
            break;
        case 2:
            v = json_integer(*(const uint16_t *)(const void *)at);
            break;
        case 4:
            v = json_integer(*(const uint32_t *)(const void *)at);
            break;
        case 't':
            v = json_text(*(const struct mqtt_text *)(const void *)at);
            break;
        case 'b': {
            const struct mqtt_text *t = (const void *)at;
            v = json_hex(t->data, t->len);
            break;
        }
        case 'v':
            v = json_array();
            for (unsigned k = 0; k < p->n_subscription_ids; k++)
                json_array_append_new(v, json_integer(p->subscription_ids[k]));
            break;
        case 'u':
            v = user_json(p);
        }
        json_object_set_new(all, table[i].name, v);
    }
    json_object_set_new(to, "properties", all);
}

// Random packets.
struct maker {
    struct rng rng;
    int version;
    char pool[POOL]; // texts of one packet
    size_t used;
    struct adapter_property user[2][8];
};

static bool maybe(struct maker *m, unsigned one_in)
{
    return rng_below(&m->rng, one_in) == 0;
}

// Lengths around the borders of the length fields come often enough.
static size_t some_length(struct maker *m, size_t min)
{
    static const size_t borders[] = {0, 1, 126, 127, 128, 129, 16380, 16384, 20000};
    size_t n = maybe(m, 12) ? borders[rng_below(&m->rng, sizeof borders / sizeof *borders)] : rng_below(&m->rng, 24);
    return n < min ? min : n;
}

// UTF-8 of one to four bytes a character, without NUL and surrogates, and as topics need it without wildcards.
static struct mqtt_text some_text(struct maker *m, size_t min)
{
    size_t n = some_length(m, min);
    struct mqtt_text t = {m->pool + m->used, 0};
    char *p = m->pool + m->used;
    while (t.len < n) {
        uint32_t c;
        do
            c = (uint32_t)rng_below(&m->rng, maybe(m, 4) ? 0x110000 : 0x80);
        while (!c || c == '+' || c == '#' || (c >= 0xd800 && c < 0xe000));
        size_t bytes = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = bytes; i-- > 1; c >>= 6)
            p[t.len + i] = (char)(0x80 | (c & 0x3f));
        p[t.len] = (char)(lead[bytes] | c);
        t.len += bytes;
    }
    m->used += t.len;
    return t;
}

static struct mqtt_text some_bytes(struct maker *m)
{
    struct mqtt_text t = {m->pool + m->used, some_length(m, 0)};
    for (size_t i = 0; i < t.len; i++)
        m->pool[m->used++] = (char)rng_u64(&m->rng);
    return t;
}

static void some_users(struct maker *m, struct mqtt5_properties *p, struct adapter_property *user)
{
    p->user = user;
    p->n_user = 1 + (unsigned)rng_below(&m->rng, 8);
    for (unsigned i = 0; i < p->n_user; i++) {
        struct mqtt_text name = i && maybe(m, 3) ? (struct mqtt_text){user[0].name, user[0].name_len} : some_text(m, 1);
        struct mqtt_text value = some_text(m, 1);
        user[i] = (struct adapter_property){name.data, name.len, value.data, value.len};
    }
}

static void set_property(struct maker *m, struct mqtt5_properties *p, int i, struct adapter_property *user)
{
    char *at = (char *)p + table[i].at;
    mqtt5_set(p, table[i].id);
    switch (table[i].kind) {
    case 1:
        *(uint8_t *)at = (uint8_t)rng_below(&m->rng, 2);
        break;
    case 2:
        *(uint16_t *)(void *)at = (uint16_t)(1 + rng_below(&m->rng, UINT16_MAX));
        break;
    case 4:
        *(uint32_t *)(void *)at = (uint32_t)(1 + rng_below(&m->rng, UINT32_MAX));
        break;
    case 't':
        *(struct mqtt_text *)(void *)at = some_text(m, 1);
        break;
    case 'b':
        *(struct mqtt_text *)(void *)at = some_bytes(m);
        break;
    case 'v':
        p->n_subscription_ids = 1;
        p->subscription_ids[0] = 1 + (uint32_t)rng_below(&m->rng, maybe(m, 2) ? 300 : MQTT_MAX_REMAINING);
        break;
    case 'u':
        some_users(m, p, user);
    }
}

// Some of those that a client may send in a packet; ids end with 0.
static struct mqtt5_properties some_properties(struct maker *m, const uint8_t *ids, bool will)
{
    struct mqtt5_properties p = {.present = 0};
    bool any = m->version == 5 && !maybe(m, 4);
    for (; any && *ids; ids++)
        for (int i = 0; i < N_TABLE; i++)
            if (table[i].id == *ids && maybe(m, 2) && (*ids != MQTT5_AUTH_DATA || mqtt5_has(&p, MQTT5_AUTH_METHOD)))
                set_property(m, &p, i, m->user[will]);
    return p;
}

static json_t *packet_json(enum mqtt_type type)
{
    static const char *const names[] = {"",        "connect",  "connack",    "publish", "puback",      "pubrec",
                                        "pubrel",  "pubcomp",  "subscribe",  "suback",  "unsubscribe", "unsuback",
                                        "pingreq", "pingresp", "disconnect", "auth"};
    return json_pack("{s:s}", "cmd", names[type]);
}

static void set(json_t *v, const char *key, json_t *value)
{
    json_object_set_new(v, key, value);
}

static uint8_t *make_connect(struct maker *m, json_t *j, size_t *n)
{
    static const uint8_t ids[] = {17, 33, 39, 34, 25, 23, 38, 21, 22, 0}, will_ids[] = {24, 1, 2, 3, 8, 9, 38, 0};
    struct mqtt_connect c = {.clean_session = maybe(m, 2), .keep_alive = (uint16_t)rng_u64(&m->rng)};
    c.client_id = some_text(m, m->version == 4);
    if (maybe(m, 2))
        c.user = some_text(m, 0);
    if (maybe(m, 2) && (m->version == 5 || c.user.data))
        c.password = some_bytes(m);
    struct mqtt5_properties p = some_properties(m, ids, false), w = {.present = 0};
    if (maybe(m, 2)) {
        c.will_topic = some_text(m, 1);
        c.will_payload = some_bytes(m);
        c.will_qos = (uint8_t)rng_below(&m->rng, 3);
        c.will_retain = maybe(m, 2);
        w = some_properties(m, will_ids, true);
        json_t *will = json_pack("{s:i, s:b}", "qos", c.will_qos, "retain", c.will_retain);
        set(will, "topic", json_text(c.will_topic));
        set(will, "payload", json_hex(c.will_payload.data, c.will_payload.len));
        add_properties(will, &w);
        set(j, "will", will);
    }
    set(j, "version", json_integer(m->version));
    set(j, "clean", json_boolean(c.clean_session));
    set(j, "keepalive", json_integer(c.keep_alive));
    set(j, "clientId", json_text(c.client_id));
    if (c.user.data)
        set(j, "username", json_text(c.user));
    if (c.password.data)
        set(j, "password", json_hex(c.password.data, c.password.len));
    add_properties(j, &p);
    *n = m->version == 5 ? mqtt5_connect_size(&c, &p, &w, NULL) : mqtt_connect_size(&c, NULL);
    uint8_t *b = malloc(*n + 1);
    uint8_t *end = m->version == 5 ? mqtt5_connect_encode(b, &c, &p, &w) : mqtt_connect_encode(b, &c);
    return (size_t)(end - b) == *n ? b : NULL;
}

static void publish_json(json_t *j, const struct mqtt_publish *m, const struct mqtt5_properties *p)
{
    set(j, "topic", json_stringn(m->topic, m->topic_len));
    set(j, "payload", json_hex(m->payload, m->payload_len));
    set(j, "qos", json_integer(m->qos));
    set(j, "retain", json_boolean(m->retain));
    set(j, "dup", json_boolean(m->dup));
    if (m->qos)
        set(j, "messageId", json_integer(m->packet_id));
    add_properties(j, p);
}

static uint8_t *make_publish(struct maker *m, json_t *j, size_t *n)
{
    static const uint8_t ids[] = {1, 2, 3, 8, 9, 35, 38, 0};
    struct mqtt5_properties p = some_properties(m, ids, false);
    struct mqtt_text topic = some_text(m, mqtt5_has(&p, MQTT5_TOPIC_ALIAS) ? 0 : 1), payload = some_bytes(m);
    struct mqtt_publish pub = {.topic = topic.data,
                               .topic_len = topic.len,
                               .payload = (const uint8_t *)payload.data,
                               .payload_len = payload.len,
                               .qos = (uint8_t)rng_below(&m->rng, 3),
                               .retain = maybe(m, 2),
                               .packet_id = (uint16_t)(1 + rng_below(&m->rng, UINT16_MAX))};
    pub.dup = pub.qos && maybe(m, 2);
    publish_json(j, &pub, &p);
    *n = m->version == 5 ? mqtt5_publish_size(&pub, &p, NULL)
                         : mqtt_publish_size(pub.topic_len, pub.payload_len, pub.qos);
    uint8_t *b = malloc(*n + 1);
    uint8_t *end = m->version == 5 ? mqtt5_publish_encode(b, &pub, &p) : mqtt_publish_encode(b, &pub);
    return (size_t)(end - b) == *n ? b : NULL;
}

static uint8_t *make_subscribe(struct maker *m, enum mqtt_type type, json_t *j, size_t *n)
{
    static const uint8_t ids[] = {11, 38, 0};
    struct mqtt5_properties p = some_properties(m, type == MQTT_SUBSCRIBE ? ids : ids + 1, false);
    struct mqtt_text filter = some_text(m, 1);
    uint16_t id = (uint16_t)(1 + rng_below(&m->rng, UINT16_MAX));
    struct mqtt5_subscribe_options o = {.qos = (uint8_t)rng_below(&m->rng, 3)};
    if (m->version == 5) {
        o.retain_handling = (uint8_t)rng_below(&m->rng, 3);
        o.no_local = maybe(m, 2);
        o.retain_as_published = maybe(m, 2);
    }
    set(j, "messageId", json_integer(id));
    if (type == MQTT_UNSUBSCRIBE) {
        json_t *list = json_array();
        json_array_append_new(list, json_text(filter));
        set(j, "unsubscriptions", list);
    } else {
        json_t *one = json_pack("{s:i}", "qos", o.qos);
        set(one, "topic", json_text(filter));
        if (m->version == 5) {
            set(one, "nl", json_boolean(o.no_local));
            set(one, "rap", json_boolean(o.retain_as_published));
            set(one, "rh", json_integer(o.retain_handling));
        }
        set(j, "subscriptions", json_pack("[o]", one));
    }
    add_properties(j, &p);
    *n = m->version == 5 ? mqtt5_subscribe_size(type, filter.len, &p, NULL) : mqtt_subscribe_size(type, filter.len);
    uint8_t *b = malloc(*n + 1);
    uint8_t *end = m->version == 5 ? mqtt5_subscribe_encode(b, type, id, filter.data, filter.len, &o, &p)
                                   : mqtt_subscribe_encode(b, type, id, filter.data, filter.len, o.qos);
    return (size_t)(end - b) == *n ? b : NULL;
}

static uint8_t *make_ack(struct maker *m, enum mqtt_type type, json_t *j, size_t *n)
{
    static const uint8_t ids[] = {31, 38, 0}, one[] = {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
                         two[] = {0, 0x92};
    struct mqtt5_properties p = some_properties(m, ids, false);
    uint16_t id = (uint16_t)(1 + rng_below(&m->rng, UINT16_MAX));
    uint8_t code = type >= MQTT_PUBREL ? two[rng_below(&m->rng, 2)] : one[rng_below(&m->rng, sizeof one)];
    set(j, "messageId", json_integer(id));
    if (m->version == 5)
        set(j, "code", json_integer(code));
    add_properties(j, &p);
    *n = m->version == 5 ? mqtt5_ack_size(code, &p, NULL) : MQTT_ACK_SIZE;
    uint8_t *b = malloc(*n + 1);
    uint8_t *end = m->version == 5 ? mqtt5_ack_encode(b, type, id, code, &p) : mqtt_ack_encode(b, type, id);
    return (size_t)(end - b) == *n ? b : NULL;
}

static uint8_t *make_reason(struct maker *m, enum mqtt_type type, json_t *j, size_t *n)
{
    static const uint8_t of_disconnect[] = {17, 31, 38, 0}, of_auth[] = {22, 31, 38, 0},
                         disconnect[] = {0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99},
                         auth[] = {0x18, 0x19};
    struct mqtt5_properties p = some_properties(m, type == MQTT_AUTH ? of_auth : of_disconnect, false);
    uint8_t code = type == MQTT_AUTH ? auth[rng_below(&m->rng, 2)] : disconnect[rng_below(&m->rng, sizeof disconnect)];
    if (type == MQTT_AUTH) {
        p.auth_method = some_text(m, 1);
        mqtt5_set(&p, MQTT5_AUTH_METHOD);
    }
    if (m->version == 5)
        set(j, "code", json_integer(code));
    add_properties(j, &p);
    *n = m->version == 5 ? mqtt5_reason_size(code, &p, NULL) : MQTT_EMPTY_SIZE;
    uint8_t *b = malloc(*n + 1);
    uint8_t *end = m->version == 5 ? mqtt5_reason_encode(b, type, code, &p) : mqtt_empty_encode(b, type);
    return (size_t)(end - b) == *n ? b : NULL;
}

static uint8_t *make_packet(struct maker *m, enum mqtt_type type, json_t *j, size_t *n)
{
    switch ((unsigned)type) {
    case MQTT_CONNECT:
        return make_connect(m, j, n);
    case MQTT_PUBLISH:
        return make_publish(m, j, n);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return make_subscribe(m, type, j, n);
    case MQTT_PINGREQ: {
        uint8_t *b = malloc(*n = MQTT_EMPTY_SIZE);
        mqtt_empty_encode(b, type);
        return b;
    }
    case MQTT_DISCONNECT:
    case 15:
        return make_reason(m, type, j, n);
    }
    return make_ack(m, type, j, n);
}

static int run_encode(int version, int64_t packets, uint64_t seed)
{
    static const uint8_t types[] = {
        MQTT_CONNECT, MQTT_PUBLISH,   MQTT_PUBLISH,     MQTT_PUBLISH, MQTT_PUBACK,     MQTT_PUBREC, MQTT_PUBREL,
        MQTT_PUBCOMP, MQTT_SUBSCRIBE, MQTT_UNSUBSCRIBE, MQTT_PINGREQ, MQTT_DISCONNECT, 15};
    static struct maker m;
    rng_seed(&m.rng, seed);
    m.version = version;
    for (int64_t i = 0; i < packets; i++) {
        enum mqtt_type type = types[(size_t)i % (sizeof types - (version == 5 ? 0 : 1))];
        size_t n = 0;
        m.used = 0;
        json_t *j = packet_json(type);
        uint8_t *b = make_packet(&m, type, j, &n);
        if (!b || !n) {
            fprintf(stderr, "bench_mqtt_codec: the size of a %s was wrong\n", mqtt_type_name(type));
            return 1;
        }
        char *hex = hex_of(b, n), *text = json_dumps(j, JSON_COMPACT);
        printf("%s %s\n", hex, text);
        free(hex);
        free(text);
        free(b);
        json_decref(j);
    }
    return 0;
}

// Packets of a server.
static int acks_json(int version, enum mqtt_type type, const uint8_t *body, size_t n, json_t *j,
                     struct mqtt5_properties *p, uint8_t *reason, struct error *err)
{
    struct mqtt_ack ack = {.packet_id = 0};
    struct mqtt_suback sub = {.n_codes = 0};
    bool many = type == MQTT_SUBACK || (type == MQTT_UNSUBACK && version == 5);
    int rc = many ? (version == 5 ? mqtt5_suback_decode(type, body, n, &sub, p, reason, err)
                                  : mqtt_suback_decode(body, n, &sub, err))
                  : (version == 5 ? mqtt5_ack_decode(type, body, n, &ack, p, reason, err)
                                  : mqtt_ack_decode(type, body, n, &ack, err));
    if (rc < 0)
        return -1;
    set(j, "messageId", json_integer(many ? sub.packet_id : ack.packet_id));
    if (!many && version == 5)
        set(j, "code", json_integer(ack.reason));
    json_t *codes = many ? json_array() : NULL;
    for (size_t i = 0; i < sub.n_codes; i++)
        json_array_append_new(codes, json_integer(sub.codes[i]));
    if (codes)
        set(j, "granted", codes);
    return 0;
}

struct input {
    int version;
    json_t *out;
    uint8_t reason;
};

static int on_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    static struct adapter_property user[MQTT5_USER_MAX];
    struct input *in = arg;
    struct mqtt5_properties p = {.user = user};
    enum mqtt_type type = first >> 4;
    json_t *j = in->out = packet_json(type);
    struct mqtt_connack connack = {.reason = 0};
    struct mqtt_publish publish = {.topic = NULL};
    uint8_t code = 0;
    int rc;
    switch ((unsigned)type) {
    case MQTT_CONNACK:
        rc = in->version == 5 ? mqtt5_connack_decode(body, n, &connack, &p, &in->reason, err)
                              : mqtt_connack_decode(body, n, &connack, err);
        if (rc == 0) {
            set(j, "sessionPresent", json_boolean(connack.session_present));
            set(j, "code", json_integer(connack.reason));
        }
        break;
    case MQTT_PUBLISH:
        rc = in->version == 5 ? mqtt5_publish_decode(first, body, n, &publish, &p, &in->reason, err)
                              : mqtt_publish_decode(first, body, n, &publish, err);
        if (rc == 0)
            publish_json(j, &publish, NULL);
        break;
    case MQTT_PINGRESP:
        rc = mqtt_empty_decode(type, n, err);
        break;
    case MQTT_DISCONNECT:
    case 15:
        rc = mqtt5_reason_decode(type, body, n, &code, &p, &in->reason, err);
        if (rc == 0)
            set(j, "code", json_integer(code));
        break;
    default:
        rc = acks_json(in->version, type, body, n, j, &p, &in->reason, err);
    }
    if (rc == 0)
        add_properties(j, &p);
    return rc;
}

static int run_decode(int version)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 1) {
        size_t n = strcspn(line, "\n") / 2;
        uint8_t *bytes = malloc(n + 1);
        for (size_t i = 0; i < n; i++) {
            char pair[3] = {line[2 * i], line[2 * i + 1], 0};
            bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
        }
        struct mqtt_parser parser = {NULL};
        struct input in = {.version = version};
        struct error err = {.code = ERR_NONE};
        int rc = version == 5 ? mqtt5_parser_feed(&parser, bytes, n, 1u << 24, on_packet, &in, &in.reason, &err)
                              : mqtt_parser_feed(&parser, bytes, n, 1u << 24, on_packet, &in, &err);
        if (rc < 0 || !in.out) {
            json_decref(in.out);
            in.out = json_pack("{s:s, s:i}", "error", rc < 0 ? err.text : "half a packet", "reason", in.reason);
        }
        char *text = json_dumps(in.out, JSON_COMPACT);
        puts(text);
        free(text);
        free(bytes);
        json_decref(in.out);
        mqtt_parser_reset(&parser);
    }
    free(line);
    return 0;
}

// What it costs.
static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

// ns to encode and decode a PUBLISH of a 30-byte topic and 200 bytes, the packet id changing.
static double measure(int version, const struct mqtt5_properties *with, int rounds)
{
    static uint8_t bytes[1024], payload[200];
    struct mqtt_publish m = {.topic = "devices/sensor-12345/telemetry",
                             .topic_len = 30,
                             .payload = payload,
                             .payload_len = sizeof payload,
                             .qos = 1},
                        got;
    static struct adapter_property user[MQTT5_USER_MAX];
    struct mqtt5_properties p = {.user = user};
    uint8_t reason;
    size_t sum = 0;
    double started = now_ns();
    for (int i = 0; i < rounds; i++) {
        m.packet_id = (uint16_t)(i | 1);
        size_t n =
            version == 5 ? mqtt5_publish_size(&m, with, NULL) : mqtt_publish_size(m.topic_len, m.payload_len, m.qos);
        uint8_t *end = version == 5 ? mqtt5_publish_encode(bytes, &m, with) : mqtt_publish_encode(bytes, &m);
        int rc = version == 5 ? mqtt5_publish_decode(bytes[0], bytes + 3, n - 3, &got, &p, &reason, NULL)
                              : mqtt_publish_decode(bytes[0], bytes + 3, n - 3, &got, NULL);
        if (rc < 0)
            exit(1);
        sum += (size_t)(end - bytes) + got.packet_id;
    }
    double ns = (now_ns() - started) / rounds;
    return sum ? ns : 0;
}

static int run_bench(void)
{
    struct adapter_property user[] = {{"trace", 5, "0af7651916cd43dd", 16}};
    struct mqtt5_properties with = {
        .content_type = {"application/json", 16}, .message_expiry = 60, .user = user, .n_user = 1};
    mqtt5_set(&with, MQTT5_CONTENT_TYPE);
    mqtt5_set(&with, MQTT5_MESSAGE_EXPIRY);
    mqtt5_set(&with, MQTT5_USER_PROPERTY);
    double best[3] = {1e9, 1e9, 1e9};
    for (int round = 0; round < 15; round++) { // in turn, so that a drift of the machine's speed does not count
        double ns[3] = {measure(4, NULL, 300000), measure(5, NULL, 300000), measure(5, &with, 100000)};
        for (int i = 0; i < 3; i++)
            if (ns[i] < best[i])
                best[i] = ns[i];
    }
    printf("| PUBLISH, encoded and decoded | ns | of 3.1.1 |\n|---|---|---|\n");
    static const char *const names[] = {"3.1.1", "5, no properties", "5, content type, expiry, one user property"};
    for (int i = 0; i < 3; i++)
        printf("| %s | %.1f | %.2f |\n", names[i], best[i], best[i] / best[0]);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return run_bench();
    int version = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 0;
    if (version == 4 || version == 5) {
        if (argc == 5 && !strcmp(argv[1], "--encode"))
            return run_encode(version, strtoll(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
        if (argc == 3 && !strcmp(argv[1], "--decode"))
            return run_decode(version);
    }
    fprintf(stderr, "usage: bench_mqtt_codec [--encode 4|5 N SEED | --decode 4|5]\n");
    return 2;
}
