// libFuzzer: what a server of MQTT 5 sends. Whatever a decoder accepts can be encoded, and decodes to the same again;
// the parser finds the same packets and the same violation, however the stream is cut.
//
// Input: byte 0: 0x00-0x3f a stream, fed whole and in pieces of that many + 1 bytes; 0x40-0x7f one packet, its first
// byte and its body; 0x80-0xff properties of the packet of type (byte & 15), 0xc0 and above: of a will.
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

struct decoded {
    union {
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_suback suback;
        uint8_t code;
    };
    struct mqtt5_properties properties;
    struct adapter_property user[MQTT5_USER_MAX];
};

static int decode(uint8_t first, const uint8_t *body, size_t n, struct decoded *d, uint8_t *reason, struct error *err)
{
    enum mqtt_type type = first >> 4;
    d->properties.user = d->user;
    if (mqtt5_first_byte_check(first, reason, err) < 0)
        return -1;
    switch ((unsigned)type) {
    case MQTT_CONNACK:
        return mqtt5_connack_decode(body, n, &d->connack, &d->properties, reason, err);
    case MQTT_PUBLISH:
        return mqtt5_publish_decode(first, body, n, &d->publish, &d->properties, reason, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt5_suback_decode(type, body, n, &d->suback, &d->properties, reason, err);
    case MQTT_DISCONNECT:
    case 15:
        return mqtt5_reason_decode(type, body, n, &d->code, &d->properties, reason, err);
    case MQTT_PINGRESP:
        *reason = MQTT5_MALFORMED_PACKET;
        d->properties.present = d->properties.n_user = d->properties.n_subscription_ids = 0;
        return mqtt_empty_decode(type, n, err);
    }
    return mqtt5_ack_decode(type, body, n, &d->ack, &d->properties, reason, err);
}

static uint8_t *grown(size_t n)
{
    CHECK(n);
    return malloc(n);
}

// The packet anew, in memory of its exact size; what a client has no encoder for is put together here.
static uint8_t *encode(uint8_t first, const struct decoded *d, size_t *n)
{
    enum mqtt_type type = first >> 4;
    struct error err;
    uint8_t *p, *end;
    size_t properties = mqtt5_properties_size(&d->properties, &err);
    CHECK(properties);
    switch ((unsigned)type) {
    case MQTT_CONNACK:
        p = grown(4 + properties);
        p[2] = d->connack.session_present;
        p[3] = d->connack.reason;
        end = mqtt5_properties_encode(p + 4, &d->properties);
        CHECK(end == p + 4 + properties);
        break;
    case MQTT_PUBLISH:
        *n = mqtt5_publish_size(&d->publish, &d->properties, &err);
        p = grown(*n);
        end = mqtt5_publish_encode(p, &d->publish, &d->properties);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        p = grown(4 + properties + d->suback.n_codes);
        p[2] = (uint8_t)(d->suback.packet_id >> 8);
        p[3] = (uint8_t)d->suback.packet_id;
        end = mqtt5_properties_encode(p + 4, &d->properties);
        memcpy(end, d->suback.codes, d->suback.n_codes);
        end += d->suback.n_codes;
        break;
    case MQTT_DISCONNECT:
    case 15:
        *n = mqtt5_reason_size(d->code, &d->properties, &err);
        p = grown(*n);
        end = mqtt5_reason_encode(p, type, d->code, &d->properties);
        break;
    case MQTT_PINGRESP:
        p = grown(MQTT_EMPTY_SIZE);
        end = mqtt_empty_encode(p, type);
        break;
    default:
        *n = mqtt5_ack_size(d->ack.reason, &d->properties, &err);
        p = grown(*n);
        end = mqtt5_ack_encode(p, type, d->ack.packet_id, d->ack.reason, &d->properties);
    }
    if (type == MQTT_CONNACK || type == MQTT_SUBACK || type == MQTT_UNSUBACK || type == MQTT_PINGRESP)
        *n = (size_t)(end - p);
    CHECK((size_t)(end - p) == *n); // the size was right
    return p;
}

static size_t header_length(enum mqtt_type type, const uint8_t *p)
{
    size_t n = 2;
    if (type == MQTT_CONNACK || type == MQTT_SUBACK || type == MQTT_UNSUBACK)
        return 2; // put together above
    while (p[n - 1] & 128)
        n++;
    return n;
}

// Returns the reason code of a violation, 0 when the packet was accepted.
static uint8_t round_trip(uint8_t first, const uint8_t *body, size_t n)
{
    static struct decoded d, again;
    enum mqtt_type type = first >> 4;
    struct error err = {.code = ERR_NONE};
    uint8_t reason = 0;
    size_t n1, n2;
    if (decode(first, body, n, &d, &reason, &err) < 0) {
        CHECK(reason >= 0x80 && err.code != ERR_NONE && err.text[0]);
        return reason;
    }
    CHECK(d.properties.n_user <= MQTT5_USER_MAX && d.properties.n_subscription_ids <= ADAPTER_SUBSCRIPTION_IDS);
    uint8_t *one = encode(first, &d, &n1);
    size_t header = header_length(type, one);
    if (type == MQTT_CONNACK || type == MQTT_PUBLISH || type == MQTT_SUBACK) // the others have shorter forms
        CHECK(n1 - header == n || d.properties.n_subscription_ids == ADAPTER_SUBSCRIPTION_IDS);
    if (type == MQTT_PUBLISH)
        CHECK(one[0] == first);
    CHECK(decode(first, one + header, n1 - header, &again, &reason, &err) == 0);
    CHECK(again.properties.present == d.properties.present && again.properties.n_user == d.properties.n_user);
    uint8_t *two = encode(first, &again, &n2);
    CHECK(n1 == n2 && memcmp(one, two, n1) == 0);
    free(one);
    free(two);
    return 0;
}

static void properties(enum mqtt_type type, bool will, const uint8_t *p, size_t n)
{
    static struct adapter_property user[MQTT5_USER_MAX];
    struct mqtt5_properties list = {.user = user}, again = {.user = user};
    struct error err = {.code = ERR_NONE};
    uint8_t reason = 0;
    const uint8_t *at = p, *end = p + n;
    if (mqtt5_properties_decode(type, will, &at, end, &list, &reason, &err) < 0) {
        CHECK(reason >= 0x80 && err.code != ERR_NONE);
        return;
    }
    CHECK(at > p && at <= end);
    size_t size = mqtt5_properties_size(&list, &err);
    CHECK(size == (size_t)(at - p) || list.n_subscription_ids == ADAPTER_SUBSCRIPTION_IDS);
    uint8_t *one = grown(size), *two = grown(size);
    CHECK(mqtt5_properties_encode(one, &list) == one + size);
    at = one;
    CHECK(mqtt5_properties_decode(type, will, &at, one + size, &again, &reason, &err) == 0 && at == one + size);
    CHECK(mqtt5_properties_encode(two, &again) == two + size && memcmp(one, two, size) == 0);
    free(one);
    free(two);
}

struct stream {
    uint64_t hash; // of what came, packet by packet
    uint8_t reason;
};

static int on_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct stream *s = arg;
    s->hash = (s->hash ^ first ^ n << 8) * 1099511628211u;
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ body[i]) * 1099511628211u;
    s->reason = round_trip(first, body, n);
    return s->reason ? error_set(err, ERR_PROTOCOL, "violation") : 0;
}

static int feed(const uint8_t *p, size_t n, size_t piece, struct stream *s)
{
    struct mqtt_parser parser = {NULL};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i += piece) {
        size_t take = piece < n - i ? piece : n - i;
        uint8_t *bytes = malloc(take); // its own memory: a read beyond it shows
        struct error err;
        memcpy(bytes, p + i, take);
        rc = mqtt5_parser_feed(&parser, bytes, take, 4096, on_packet, s, &s->reason, &err);
        free(bytes);
    }
    CHECK(rc == 0 || s->reason >= 0x80);
    mqtt_parser_reset(&parser);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t mode = *data++;
    size--;
    if (mode < 0x40) {
        struct stream whole = {.hash = 1}, pieces = {.hash = 1};
        int rc = feed(data, size, size, &whole);
        CHECK(feed(data, size, (size_t)mode + 1, &pieces) == rc);
        CHECK(whole.hash == pieces.hash && whole.reason == pieces.reason);
        return 0;
    }
    uint8_t *copy = malloc(size);
    memcpy(copy, data, size);
    if (mode < 0x80)
        round_trip(copy[0], copy + 1, size - 1);
    else
        properties(mode >= 0xc0 ? MQTT_CONNECT : (enum mqtt_type)(mode & 15), mode >= 0xc0, copy, size);
    free(copy);
    return 0;
}
