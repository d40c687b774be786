// MQTT 5: packets against bytes written by hand from the standard, every property in every packet that may have it and
// in none that may not, and every malformed or forbidden thing once, with its reason code.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/parser.h"
#include "adapter/mqtt/topic.h"

#define TEXT(s) ((struct mqtt_text){(s), sizeof(s) - 1})

// What a server sent, of any type.
struct packet {
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_suback suback;
    uint8_t code; // of DISCONNECT and AUTH
    struct mqtt5_properties properties;
    struct adapter_property user[MQTT5_USER_MAX];
};

// Decodes a body in memory of its own size: a read beyond it shows under the sanitizer.
static int decode(uint8_t first, const uint8_t *bytes, size_t n, struct packet *out, uint8_t *reason, struct error *err)
{
    static uint8_t *body; // lives until the next call: what was decoded points into it
    free(body);
    body = malloc(n ? n : 1);
    memcpy(body, bytes, n);
    out->properties.user = out->user;
    if (!bytes || mqtt5_first_byte_check(first, reason, err) < 0)
        return -1;
    enum mqtt_type type = first >> 4;
    switch ((unsigned)type) {
    case MQTT_CONNACK:
        return mqtt5_connack_decode(body, n, &out->connack, &out->properties, reason, err);
    case MQTT_PUBLISH:
        return mqtt5_publish_decode(first, body, n, &out->publish, &out->properties, reason, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt5_suback_decode(type, body, n, &out->suback, &out->properties, reason, err);
    case MQTT_DISCONNECT:
    case 15:
        return mqtt5_reason_decode(type, body, n, &out->code, &out->properties, reason, err);
    case MQTT_PINGRESP:
        *reason = 0x81;
        return mqtt_empty_decode(type, n, err);
    }
    return mqtt5_ack_decode(type, body, n, &out->ack, &out->properties, reason, err);
}

// "20 000a" to bytes.
static size_t unhex(const char *hex, uint8_t *out, size_t size)
{
    size_t n = 0;
    for (const char *p = hex; *p;) {
        if (*p == ' ') {
            p++;
            continue;
        }
        char pair[3] = {p[0], p[1], 0};
        assert_true(n < size);
        out[n++] = (uint8_t)strtoul(pair, NULL, 16);
        p += 2;
    }
    return n;
}

static int decode_hex(const char *hex, struct packet *out, uint8_t *reason, struct error *err)
{
    uint8_t bytes[512];
    size_t n = unhex(hex, bytes, sizeof bytes);
    return decode(bytes[0], bytes + 1, n - 1, out, reason, err);
}

static void expect_bytes(const uint8_t *got, const uint8_t *end, size_t size, const char *hex)
{
    uint8_t bytes[512];
    size_t n = unhex(hex, bytes, sizeof bytes);
    assert_int_equal(end - got, n);
    assert_int_equal(size, n);
    assert_memory_equal(got, bytes, n);
}

static void connect_as_the_standard_says(void **state)
{
    (void)state;
    uint8_t b[256];
    struct error err;
    struct mqtt_connect plain = {.client_id = {"", 0}, .keep_alive = 10};
    // 3.1: no properties is a length of 0 (2.2.2-1); without client id and without clean start, which 3.1.1 refuses
    expect_bytes(b, mqtt5_connect_encode(b, &plain, NULL, NULL), mqtt5_connect_size(&plain, NULL, NULL, &err),
                 "10 0d 0004 4d515454 05 00 000a 00 0000");
    struct adapter_property user[] = {{"a", 1, "b", 1}, {"a", 1, "", 0}};
    struct mqtt5_properties properties = {.session_expiry = 10,
                                          .receive_maximum = 20,
                                          .maximum_packet_size = 65536,
                                          .topic_alias_maximum = 7,
                                          .request_response_info = 1,
                                          .request_problem_info = 0,
                                          .auth_method = TEXT("M"),
                                          .auth_data = TEXT("\0\1"),
                                          .user = user,
                                          .n_user = 2};
    static const enum mqtt5_property ids[] = {
        MQTT5_SESSION_EXPIRY,       MQTT5_RECEIVE_MAXIMUM, MQTT5_MAXIMUM_PACKET_SIZE,
        MQTT5_TOPIC_ALIAS_MAXIMUM,  MQTT5_AUTH_METHOD,     MQTT5_REQUEST_RESPONSE_INFO,
        MQTT5_REQUEST_PROBLEM_INFO, MQTT5_AUTH_DATA,       MQTT5_USER_PROPERTY};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        mqtt5_set(&properties, ids[i]);
    struct mqtt5_properties will = {.will_delay = 5, .payload_format = 1, .content_type = TEXT("t")};
    mqtt5_set(&will, MQTT5_WILL_DELAY);
    mqtt5_set(&will, MQTT5_PAYLOAD_FORMAT);
    mqtt5_set(&will, MQTT5_CONTENT_TYPE);
    struct mqtt_connect c = {.client_id = TEXT("id"),
                             .user = TEXT("u"),
                             .password = TEXT("p"),
                             .will_topic = TEXT("w"),
                             .will_payload = TEXT("!"),
                             .keep_alive = 0x1234,
                             .will_qos = 2,
                             .will_retain = true,
                             .clean_session = true};
    expect_bytes(b, mqtt5_connect_encode(b, &c, &properties, &will), mqtt5_connect_size(&c, &properties, &will, &err),
                 "10 51 0004 4d515454 05 f6 1234 2a 11 0000000a 15 0001 4d 16 0002 0001 17 00 19 01 21 0014 22 0007"
                 "26 0001 61 0001 62 26 0001 61 0000 27 00010000"
                 "0002 6964 0b 01 01 03 0001 74 18 00000005 0001 77 0001 21 0001 75 0001 70");
    // A password without a user name (3.1.2-18, not 3.1.1's 3.1.2-22).
    struct mqtt_connect password = {.client_id = TEXT("i"), .password = TEXT("p"), .clean_session = true};
    expect_bytes(b, mqtt5_connect_encode(b, &password, NULL, NULL), mqtt5_connect_size(&password, NULL, NULL, &err),
                 "10 11 0004 4d515454 05 42 0000 00 0001 69 0001 70");
}

static void others_as_the_standard_says(void **state)
{
    (void)state;
    uint8_t b[128];
    struct error err;
    struct mqtt_publish m = {
        .topic = "a/b", .topic_len = 3, .payload = (const uint8_t *)"xy", .payload_len = 2, .packet_id = 10, .qos = 1};
    expect_bytes(b, mqtt5_publish_encode(b, &m, NULL), mqtt5_publish_size(&m, NULL, &err),
                 "32 0a 0003 612f62 000a 00 7879");
    struct mqtt5_properties p = {.topic_alias = 3};
    mqtt5_set(&p, MQTT5_TOPIC_ALIAS);
    m.topic_len = m.qos = 0;
    m.retain = true;
    expect_bytes(b, mqtt5_publish_encode(b, &m, &p), mqtt5_publish_size(&m, &p, &err), "31 08 0000 03 230003 7879");
    m.payload = NULL; // the caller writes it
    assert_int_equal(mqtt5_publish_encode(b, &m, &p) - b, 8);

    struct mqtt5_subscribe_options options = {
        .qos = 1, .retain_handling = 2, .no_local = true, .retain_as_published = true};
    struct mqtt5_properties id = {.subscription_ids = {128}, .n_subscription_ids = 1};
    mqtt5_set(&id, MQTT5_SUBSCRIPTION_ID);
    expect_bytes(b, mqtt5_subscribe_encode(b, MQTT_SUBSCRIBE, 7, "a/#", 3, &options, &id),
                 mqtt5_subscribe_size(MQTT_SUBSCRIBE, 3, &id, &err), "82 0c 0007 03 0b8001 0003 612f23 2d");
    expect_bytes(b, mqtt5_subscribe_encode(b, MQTT_UNSUBSCRIBE, 256, "a", 1, NULL, NULL),
                 mqtt5_subscribe_size(MQTT_UNSUBSCRIBE, 1, NULL, &err), "a2 06 0100 00 0001 61");

    struct mqtt5_properties why = {.reason_string = TEXT("no")};
    mqtt5_set(&why, MQTT5_REASON_STRING);
    expect_bytes(b, mqtt5_ack_encode(b, MQTT_PUBACK, 0x1234, 0, NULL), mqtt5_ack_size(0, NULL, &err), "40 02 1234");
    expect_bytes(b, mqtt5_ack_encode(b, MQTT_PUBREC, 1, 0x97, NULL), mqtt5_ack_size(0x97, NULL, &err), "50 03 0001 97");
    expect_bytes(b, mqtt5_ack_encode(b, MQTT_PUBREL, 1, 0, &why), mqtt5_ack_size(0, &why, &err),
                 "62 09 0001 00 05 1f 0002 6e6f");
    expect_bytes(b, mqtt5_ack_encode(b, MQTT_PUBCOMP, 1, 0x92, NULL), mqtt5_ack_size(0x92, NULL, &err),
                 "70 03 0001 92");
    expect_bytes(b, mqtt5_reason_encode(b, MQTT_DISCONNECT, 0, NULL), mqtt5_reason_size(0, NULL, &err), "e0 00");
    expect_bytes(b, mqtt5_reason_encode(b, MQTT_DISCONNECT, 4, NULL), mqtt5_reason_size(4, NULL, &err), "e0 02 04 00");
    struct mqtt5_properties expiry = {.session_expiry = 1};
    mqtt5_set(&expiry, MQTT5_SESSION_EXPIRY);
    expect_bytes(b, mqtt5_reason_encode(b, MQTT_DISCONNECT, 0, &expiry), mqtt5_reason_size(0, &expiry, &err),
                 "e0 07 00 05 11 00000001");
    struct mqtt5_properties method = {.auth_method = TEXT("M")};
    mqtt5_set(&method, MQTT5_AUTH_METHOD);
    expect_bytes(b, mqtt5_reason_encode(b, MQTT_AUTH, 0x18, &method), mqtt5_reason_size(0x18, &method, &err),
                 "f0 06 18 04 15 0001 4d");
}

static void what_servers_send(void **state)
{
    (void)state;
    static struct packet p;
    uint8_t reason;
    struct error err;
    assert_int_equal(decode_hex("20 00 00 00", &p, &reason, &err), 0);
    assert_false(p.connack.session_present);
    assert_int_equal(p.properties.present, 0); // what absence means
    assert_int_equal(p.properties.receive_maximum, 65535);
    assert_int_equal(p.properties.maximum_qos, 2);
    assert_int_equal(p.properties.topic_alias_maximum, 0);
    assert_int_equal(p.properties.maximum_packet_size, 0);
    assert_true(p.properties.retain_available && p.properties.wildcard_available && p.properties.shared_available &&
                p.properties.subscription_id_available);
    assert_null(p.properties.assigned_client_id.data);
    assert_int_equal(decode_hex("20 01 00 3d 11 ffffffff 21 0001 24 01 25 00 27 00000100 12 0002 6964 22 0005"
                                "1f 0001 72 26 0001 6b 0001 76 28 00 29 00 2a 00 13 003c 1a 0001 69 1c 0001 73"
                                "15 0001 4d 16 0001 64",
                                &p, &reason, &err),
                     0);
    assert_true(p.connack.session_present);
    assert_int_equal(p.properties.session_expiry, UINT32_MAX);
    assert_int_equal(p.properties.receive_maximum, 1);
    assert_int_equal(p.properties.maximum_qos, 1);
    assert_int_equal(p.properties.retain_available, 0);
    assert_int_equal(p.properties.maximum_packet_size, 256);
    assert_memory_equal(p.properties.assigned_client_id.data, "id", 2);
    assert_int_equal(p.properties.topic_alias_maximum, 5);
    assert_int_equal(p.properties.n_user, 1);
    assert_memory_equal(p.user[0].value, "v", 1);
    assert_int_equal(p.properties.wildcard_available | p.properties.subscription_id_available, 0);
    assert_int_equal(p.properties.server_keep_alive, 60);
    assert_memory_equal(p.properties.auth_data.data, "d", 1);
    assert_int_equal(decode_hex("20 00 9c 05 1c 0002 6134", &p, &reason, &err), 0);
    assert_int_equal(p.connack.reason, MQTT5_USE_ANOTHER_SERVER);
    assert_int_equal(p.properties.server_reference.len, 2);
    assert_int_equal(p.properties.receive_maximum, 65535); // not that of before

    assert_int_equal(decode_hex("3b 0001 61 0009 04 0b01 0b02 7879", &p, &reason, &err), 0);
    assert_int_equal(p.publish.packet_id, 9);
    assert_int_equal(p.publish.payload_len, 2);
    assert_true(p.publish.retain && p.publish.dup);
    assert_int_equal(p.properties.n_subscription_ids, 2);
    assert_int_equal(p.properties.subscription_ids[1], 2);
    assert_int_equal(decode_hex("30 0000 03 230001 78", &p, &reason, &err), 0); // topic by its alias
    assert_int_equal(p.publish.topic_len, 0);
    assert_int_equal(p.properties.topic_alias, 1);
    assert_int_equal(decode_hex("30 0003 efbbbf 00", &p, &reason, &err), 0); // 1.5.4-3: U+FEFF stays
    assert_int_equal(p.publish.topic_len, 3);
    assert_memory_equal(p.publish.topic, "\xef\xbb\xbf", 3);

    assert_int_equal(decode_hex("40 0001", &p, &reason, &err), 0);
    assert_int_equal(p.ack.reason, 0);
    assert_int_equal(p.properties.present, 0);
    assert_int_equal(decode_hex("50 0001 97", &p, &reason, &err), 0);
    assert_int_equal(p.ack.reason, 0x97);
    assert_int_equal(decode_hex("62 0001 92 04 1f 0001 78", &p, &reason, &err), 0);
    assert_int_equal(p.properties.reason_string.len, 1);
    assert_int_equal(decode_hex("90 0001 00 02 01 87", &p, &reason, &err), 0);
    assert_int_equal(p.suback.n_codes, 3);
    assert_int_equal(decode_hex("b0 0001 00 11", &p, &reason, &err), 0);
    assert_int_equal(p.suback.codes[0], 0x11);
    assert_int_equal(decode_hex("e0", &p, &reason, &err), 0);
    assert_int_equal(decode_hex("e0 8b", &p, &reason, &err), 0); // 3.14.2.2.1: no property length
    assert_int_equal(p.code, 0x8b);
    assert_int_equal(decode_hex("e0 9d 04 1c 0001 78", &p, &reason, &err), 0);
    assert_int_equal(decode_hex("f0 18 08 15 0001 4d 16 0001 00", &p, &reason, &err), 0);
    assert_int_equal(p.properties.auth_data.len, 1);
    assert_int_equal(decode_hex("f0", &p, &reason, &err), 0); // 3.15.2.1
    assert_int_equal(decode_hex("d0", &p, &reason, &err), 0);
}

// A server of 3.1.1 answers a CONNECT of version 5 with its own CONNACK.
static void a_server_of_3_1_1_is_named(void **state)
{
    (void)state;
    static struct packet p;
    uint8_t reason = 0;
    struct error err;
    assert_int_equal(decode_hex("20 00 01", &p, &reason, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_int_equal(reason, MQTT5_UNSUPPORTED_VERSION);
    assert_non_null(strstr(err.text, "does not speak MQTT 5"));
    assert_non_null(strstr(err.text, "unacceptable protocol version"));
}

// Everything malformed or forbidden once: first byte, then the body.
static const struct {
    const char *hex;
    uint8_t reason;
    const char *text;
} bad[] = {
    // Fixed headers.
    {"00", 0x81, "2.1.2"},
    {"21 00 00 00", 0x81, "2.1.3-1"},
    {"41 0001", 0x81, "2.1.3-1"},
    {"60 0001", 0x81, "0x2"},
    {"f1 18", 0x81, "AUTH with reserved flags"},
    {"e1", 0x81, "2.1.3-1"},
    {"36 0001 61 0001 00", 0x81, "3.3.1-4"},
    {"38 0001 61 00", 0x81, "3.3.1-2"},
    {"10", 0x82, "only clients send"},
    {"82", 0x82, "only clients send"},
    {"a2", 0x82, "only clients send"},
    {"c0", 0x82, "only clients send"},
    {"d0 00", 0x81, "must be empty"},
    // CONNACK.
    {"20", 0x81, "at least 3"},
    {"20 00", 0x81, "at least 3"},
    {"20 00 06", 0x81, "at least 3"}, // no return code of 3.1.1
    {"20 02 00 00", 0x81, "3.2.2-1"},
    {"20 80 00 00", 0x81, "3.2.2-1"},
    {"20 00 01 00", 0x82, "reason code 0x01"}, // that of 3.1.1
    {"20 00 8b 00", 0x82, "server shutting down"},
    {"20 00 ff 00", 0x82, "unknown reason"},
    {"20 01 87 00", 0x82, "3.2.2-6"},
    {"20 00 00 00 00", 0x81, "1 bytes behind"},
    {"20 00 00 06 21 0001 21 0001", 0x82, "receive maximum twice"},
    {"20 00 00 03 21 0000", 0x82, "receive maximum is 0"},
    {"20 00 00 05 27 00000000", 0x82, "maximum packet size is 0"},
    {"20 00 00 02 24 02", 0x82, "maximum QoS is 2"},
    {"20 00 00 02 25 02", 0x82, "retain available is 2"},
    {"20 00 00 02 28 02", 0x82, "wildcard subscription available is 2"},
    {"20 00 00 02 29 ff", 0x82, "subscription identifiers available"},
    {"20 00 00 02 2a 03", 0x82, "shared subscription available"},
    {"20 00 00 04 12 0001 00", 0x81, "1.5.4"},           // U+0000
    {"20 00 00 06 12 0003 eda080", 0x81, "1.5.4"},       // a surrogate
    {"20 00 00 05 1f 0002 c080", 0x81, "reason string"}, // an overlong form
    {"20 00 00 04 16 0001 00", 0x82, "no authentication method"},
    {"20 00 00 02 17 01", 0x81, "must not have the property request problem information"},
    {"20 00 00 02 13 00", 0x81, "server keep alive reaches behind"},
    {"20 00 00 03 11 0000", 0x81, "reaches behind"},
    {"20 00 00 01 24", 0x81, "reaches behind"},
    // The length of the properties and their identifiers.
    {"20 00 00 01", 0x81, "ends inside its properties"},
    {"20 00 00 80", 0x81, "is cut"},
    {"20 00 00 8000", 0x81, "longer than needed"},
    {"20 00 00 80808000", 0x81, "longer than needed"},
    {"20 00 00 8080808001", 0x81, "longer than 4 bytes"},
    {"20 00 00 ffffff7f", 0x81, "ends inside its properties"},
    {"20 00 00 01 00", 0x81, "unknown property 0"},
    {"20 00 00 02 04 00", 0x81, "unknown property 4"},
    {"20 00 00 02 2b 00", 0x81, "unknown property 43"},
    {"20 00 00 03 ff01 00", 0x81, "unknown property 255"},
    {"20 00 00 03 a400 00", 0x81, "longer than needed"}, // 36 in two bytes
    {"20 00 00 01 a4", 0x81, "identifier is cut"},
    // PUBLISH.
    {"30", 0x81, "inside its topic"},
    {"30 00", 0x81, "inside its topic"},
    {"30 0002 61", 0x81, "inside its topic"},
    {"30 0001 61", 0x81, "is cut"}, // no properties
    {"32 0001 61", 0x81, "without a packet id"},
    {"32 0001 61 00", 0x81, "without a packet id"},
    {"32 0001 61 0000 00", 0x82, "packet id 0"},
    {"30 0000 00", 0x82, "without a topic alias"},
    {"30 0001 2b 00", 0x81, "wildcard"},
    {"30 0003 612f23 00", 0x81, "wildcard"},
    {"30 0001 00 00", 0x81, "NUL"},
    {"30 0003 eda080 00", 0x81, "UTF-8"},
    {"30 0004 f4908080 00", 0x81, "UTF-8"},
    {"30 0001 61 03 23 0000", 0x94, "topic alias is 0"},
    {"30 0001 61 06 23 0001 23 0001", 0x82, "topic alias twice"},
    {"30 0001 61 02 0b 00", 0x82, "subscription identifier 0"},
    {"30 0001 61 03 0b 8000", 0x81, "longer than needed"},
    {"30 0001 61 06 0b 8080808001", 0x81, "longer than 4"},
    {"30 0001 61 02 0b 80", 0x81, "is cut"},
    {"30 0001 61 02 01 02", 0x82, "payload format indicator is 2"},
    {"30 0001 61 04 01 00 01 01", 0x82, "payload format indicator twice"},
    {"30 0001 61 0a 02 00000001 02 00000001", 0x82, "message expiry interval twice"},
    {"30 0001 61 04 08 0001 23", 0x82, "3.3.2-14"},
    {"30 0001 61 03 08 0000", 0x82, "response topic"},
    {"30 0001 61 08 08 0001 61 08 0001 61", 0x82, "response topic twice"},
    {"30 0001 61 06 09 0000 09 0000", 0x82, "correlation data twice"},
    {"30 0001 61 06 03 0000 03 0000", 0x82, "content type twice"},
    {"30 0001 61 05 03 0002 c328", 0x81, "content type"},
    {"30 0001 61 06 26 0001 00 0000", 0x81, "name of a user property"},
    {"30 0001 61 06 26 0000 0001 80", 0x81, "value of a user property"},
    {"30 0001 61 04 26 0001 61", 0x81, "value of a user property reaches behind"},
    {"30 0001 61 05 11 00000000", 0x81, "must not have the property session expiry"},
    {"30 0001 61 05 18 00000000", 0x81, "must not have the property will delay"},
    {"30 0001 61 04 1f 0001 61", 0x81, "must not have the property reason string"},
    // Acknowledgements.
    {"40", 0x81, "at least 2"},
    {"40 01", 0x81, "at least 2"},
    {"40 0000", 0x82, "packet id 0"},
    {"40 0001 92", 0x82, "reason code 0x92"}, // one of PUBREL
    {"50 0001 01", 0x82, "reason code 0x01"},
    {"62 0001 10", 0x82, "no matching subscribers"},
    {"70 0001 97", 0x82, "quota exceeded"},
    {"40 0001 00 00 00", 0x81, "behind its properties"},
    {"40 0001 00 04 03 0001 61", 0x81, "must not have the property content type"},
    {"40 0001 00 06 1f 0000 1f 0000", 0x82, "reason string twice"},
    {"40 0001 00 05", 0x81, "ends inside"},
    // SUBACK, UNSUBACK.
    {"90 0001 00", 0x81, "at least 4"},
    {"90 0000 00 00", 0x82, "packet id 0"},
    {"90 0001 03 1f 0000", 0x81, "without a reason code"},
    {"90 0001 00 03", 0x82, "reason code 0x03"},
    {"90 0001 00 00 11", 0x82, "no subscription existed"},
    {"b0 0001 00 01", 0x82, "granted QoS 1"},
    {"90 0001 02 0b 01 00", 0x81, "must not have the property subscription identifier"},
    // DISCONNECT, AUTH.
    {"e0 04", 0x82, "disconnect with will message"},
    {"e0 01 00", 0x82, "reason code 0x01"},
    {"e0 00 05 11 00000001", 0x82, "3.14.2-2"},
    {"e0 00 03 15 0000", 0x81, "must not have the property authentication method"},
    {"e0 00 00 00", 0x81, "behind its properties"},
    {"f0 19 04 15 0001 4d", 0x82, "re-authenticate"},
    {"f0 00 00", 0x82, "AUTH without an authentication method"},
    {"f0 18", 0x81, "is cut"},
    {"f0 18 04 16 0001 64", 0x82, "no authentication method"},
    {"f0 18 08 15 0001 4d 15 0001 4d", 0x82, "authentication method twice"},
};

static void everything_forbidden_once(void **state)
{
    (void)state;
    static struct packet p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {.code = ERR_NONE};
        uint8_t reason = 0;
        int rc = decode_hex(bad[i].hex, &p, &reason, &err);
        if (rc != -1 || reason != bad[i].reason || err.code != ERR_PROTOCOL || !strstr(err.text, bad[i].text))
            fail_msg("%s: rc %d, reason 0x%02x (expected 0x%02x), %s: %s", bad[i].hex, rc, reason, bad[i].reason,
                     error_code_name(err.code), err.text);
    }
}

// Every property alone, twice, and cut, in every packet and in a will.
static void every_property_in_every_packet(void **state)
{
    (void)state;
    enum { F = 1, N2 = 2, N4 = 4, T, B, V, U };
    static const struct {
        uint8_t id, kind;
        const char *packets; // letters: c CONNECT, C CONNACK, p PUBLISH, a acks, s SUBSCRIBE, S SUBACK and UNSUBACK,
                             // u UNSUBSCRIBE, d DISCONNECT, A AUTH, w will
    } table[] = {{1, F, "pw"},    {2, N4, "pw"}, {3, T, "pw"},  {8, T, "pw"},   {9, B, "pw"},          {11, V, "ps"},
                 {17, N4, "cCd"}, {18, T, "C"},  {19, N2, "C"}, {21, T, "cCA"}, {22, B, "cCA"},        {23, F, "c"},
                 {24, N4, "w"},   {25, F, "c"},  {26, T, "C"},  {28, T, "Cd"},  {31, T, "CaSdA"},      {33, N2, "cC"},
                 {34, N2, "cC"},  {35, N2, "p"}, {36, F, "C"},  {37, F, "C"},   {38, U, "cCpasSudAw"}, {39, N4, "cC"},
                 {40, F, "C"},    {41, F, "C"},  {42, F, "C"}};
    static const struct {
        enum mqtt_type type;
        char letter;
    } packets[] = {{MQTT_CONNECT, 'c'}, {MQTT_CONNACK, 'C'},  {MQTT_PUBLISH, 'p'},     {MQTT_PUBACK, 'a'},
                   {MQTT_PUBREC, 'a'},  {MQTT_PUBREL, 'a'},   {MQTT_PUBCOMP, 'a'},     {MQTT_SUBSCRIBE, 's'},
                   {MQTT_SUBACK, 'S'},  {MQTT_UNSUBACK, 'S'}, {MQTT_UNSUBSCRIBE, 'u'}, {MQTT_DISCONNECT, 'd'},
                   {MQTT_AUTH, 'A'},    {MQTT_CONNECT, 'w'},  {MQTT_PINGREQ, '-'},     {MQTT_PINGRESP, '-'}};
    static struct adapter_property user[MQTT5_USER_MAX];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t one[8] = {table[i].id};
        static const uint8_t size[] = {[F] = 2, [N2] = 3, [N4] = 5, [T] = 4, [B] = 4, [V] = 3, [U] = 7};
        static const char *const values[] = {[F] = "\1",     [N2] = "\1\2",    [N4] = "\1\2\3\4", [T] = "\0\1x",
                                             [B] = "\0\1\0", [V] = "\xff\x7f", [U] = "\0\1n\0\1v"};
        size_t n = size[table[i].kind];
        memcpy(one + 1, values[table[i].kind], n - 1);
        // 22 is forbidden without 21.
        static const uint8_t method[] = {21, 0, 1, 'M'};
        for (size_t k = 0; k < sizeof packets / sizeof *packets; k++) {
            uint8_t bytes[32];
            size_t extra = table[i].id == 22 ? sizeof method : 0;
            bytes[0] = (uint8_t)(n + extra);
            memcpy(bytes + 1, method, extra);
            memcpy(bytes + 1 + extra, one, n);
            const uint8_t *at = bytes, *end = bytes + 1 + n + extra;
            bool may = strchr(table[i].packets, packets[k].letter), will = packets[k].letter == 'w';
            struct mqtt5_properties p = {.user = user};
            uint8_t reason = 0;
            struct error err;
            int rc = mqtt5_properties_decode(packets[k].type, will, &at, end, &p, &reason, &err);
            if ((rc == 0) != may)
                fail_msg("property %u in %s%s: %d %s", table[i].id, mqtt_type_name(packets[k].type),
                         will ? " (will)" : "", rc, rc ? err.text : "");
            if (!may) {
                assert_int_equal(reason, MQTT5_MALFORMED_PACKET);
                continue;
            }
            assert_ptr_equal(at, end);
            assert_true(mqtt5_has(&p, (enum mqtt5_property)table[i].id));
            uint8_t again[32];
            assert_int_equal(mqtt5_properties_size(&p, &err), (size_t)(end - bytes));
            assert_int_equal(mqtt5_properties_encode(again, &p) - again, end - bytes);
            assert_memory_equal(again, bytes, (size_t)(end - bytes));
            // twice
            bytes[0] = (uint8_t)(2 * n + extra);
            memcpy(bytes + 1 + extra + n, one, n);
            at = bytes;
            rc = mqtt5_properties_decode(packets[k].type, will, &at, bytes + 1 + extra + 2 * n, &p, &reason, &err);
            bool many = table[i].kind == U || (table[i].kind == V && packets[k].type == MQTT_PUBLISH);
            assert_int_equal(rc, many ? 0 : -1);
            assert_true(many || reason == MQTT5_PROTOCOL_ERROR);
            // cut
            for (size_t cut = 1; cut < n; cut++) {
                bytes[0] = (uint8_t)(cut + extra);
                at = bytes;
                reason = 0;
                assert_int_equal(
                    mqtt5_properties_decode(packets[k].type, will, &at, bytes + 1 + extra + cut, &p, &reason, &err),
                    -1);
                assert_int_equal(reason, MQTT5_MALFORMED_PACKET);
            }
        }
    }
}

// A packet that ends early is malformed at every byte, unless what is left is a shorter packet.
static void truncated_at_every_byte(void **state)
{
    (void)state;
    static const struct {
        const char *hex, *whole; // sizes that are packets, as letters: size 1 is 'b'
    } packets[] = {{"20 00 87 0a 21 0001 12 0002 6964 24 01", ""},
                   {"34 0003 612f62 0009 0b 01 01 23 0001 03 0001 74 0b05", ""},
                   {"40 0001 87 0b 1f 0001 78 26 0001 6b 0001 76", "cd"},
                   {"90 0001 04 1f 0001 78 01", ""},
                   {"b0 0001 07 26 0001 6b 0001 76 11", ""},
                   {"e0 9d 0b 1c 0001 78 26 0001 6b 0001 76", "ab"},
                   {"f0 18 08 15 0001 4d 16 0001 00", "a"}};
    static struct packet p;
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        uint8_t bytes[64];
        size_t n = unhex(packets[i].hex, bytes, sizeof bytes) - 1;
        for (size_t cut = 0; cut <= n; cut++) {
            uint8_t reason = 0;
            struct error err = {.code = ERR_NONE};
            bool whole = cut == n || strchr(packets[i].whole, (int)('a' + cut));
            int rc = decode(bytes[0], bytes + 1, cut, &p, &reason, &err);
            if ((rc == 0) != whole)
                fail_msg("%s cut at %zu: %d %s", packets[i].hex, cut, rc, err.text);
            assert_true(whole || reason == MQTT5_MALFORMED_PACKET);
        }
    }
}

static void caps_of_lists(void **state)
{
    (void)state;
    uint8_t bytes[2 + 5 * (MQTT5_USER_MAX + 1)], reason = 0;
    static struct adapter_property user[MQTT5_USER_MAX];
    struct mqtt5_properties p = {.user = user};
    struct error err;
    for (unsigned n = MQTT5_USER_MAX; n <= MQTT5_USER_MAX + 1; n++) {
        size_t length = 5 * n;
        bytes[0] = (uint8_t)(length | 0x80);
        bytes[1] = (uint8_t)(length >> 7);
        for (unsigned i = 0; i < n; i++)
            memcpy(bytes + 2 + (size_t)5 * i, "\x26\0\0\0\0", 5);
        const uint8_t *at = bytes;
        int rc = mqtt5_properties_decode(MQTT_PUBLISH, false, &at, bytes + 2 + length, &p, &reason, &err);
        assert_int_equal(rc, n == MQTT5_USER_MAX ? 0 : -1);
        assert_int_equal(p.n_user, MQTT5_USER_MAX);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(reason, MQTT5_PACKET_TOO_LARGE);
    p.user = NULL; // nobody wants them: no cap, and nothing is kept
    const uint8_t *at = bytes;
    assert_int_equal(mqtt5_properties_decode(MQTT_PUBLISH, false, &at, bytes + sizeof bytes, &p, &reason, &err), 0);
    assert_int_equal(p.n_user, 0);
    assert_true(mqtt5_has(&p, MQTT5_USER_PROPERTY));
    bytes[0] = 2 * (ADAPTER_SUBSCRIPTION_IDS + 1);
    for (unsigned i = 0; i <= ADAPTER_SUBSCRIPTION_IDS; i++) {
        bytes[1 + 2 * i] = 11;
        bytes[2 + 2 * i] = (uint8_t)(i + 1);
    }
    at = bytes;
    assert_int_equal(mqtt5_properties_decode(MQTT_PUBLISH, false, &at, bytes + 1 + bytes[0], &p, &reason, &err), 0);
    assert_int_equal(p.n_subscription_ids, ADAPTER_SUBSCRIPTION_IDS);
    assert_int_equal(p.subscription_ids[ADAPTER_SUBSCRIPTION_IDS - 1], ADAPTER_SUBSCRIPTION_IDS);
}

static void refuses_size(const struct mqtt5_properties *p, enum mqtt5_property id, const char *text)
{
    struct error err = {.code = ERR_NONE};
    struct mqtt5_properties copy = *p;
    mqtt5_set(&copy, id);
    assert_int_equal(mqtt5_properties_size(&copy, &err), 0);
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.text, text))
        fail_msg("%s is not in: %s", text, err.text);
}

// What a client must not send has no size.
static void what_cannot_be_sent(void **state)
{
    (void)state;
    char *large = malloc(65536);
    memset(large, 'a', 65536);
    struct mqtt_text too_long = {large, 65536};
    refuses_size(&(struct mqtt5_properties){.content_type = too_long}, MQTT5_CONTENT_TYPE, "65536 bytes");
    refuses_size(&(struct mqtt5_properties){.content_type = TEXT("\xed\xa0\x80")}, MQTT5_CONTENT_TYPE, "UTF-8");
    refuses_size(&(struct mqtt5_properties){.content_type = TEXT("a\0b")}, MQTT5_CONTENT_TYPE, "without NUL");
    refuses_size(&(struct mqtt5_properties){.correlation_data = too_long}, MQTT5_CORRELATION_DATA, "correlation data");
    refuses_size(&(struct mqtt5_properties){.response_topic = TEXT("a/+")}, MQTT5_RESPONSE_TOPIC, "wildcard");
    refuses_size(&(struct mqtt5_properties){.response_topic = TEXT("")}, MQTT5_RESPONSE_TOPIC, "empty");
    refuses_size(&(struct mqtt5_properties){.topic_alias = 0}, MQTT5_TOPIC_ALIAS, "topic alias is 0");
    refuses_size(&(struct mqtt5_properties){.receive_maximum = 0}, MQTT5_RECEIVE_MAXIMUM, "receive maximum is 0");
    refuses_size(&(struct mqtt5_properties){.maximum_packet_size = 0}, MQTT5_MAXIMUM_PACKET_SIZE, "packet size is 0");
    refuses_size(&(struct mqtt5_properties){.payload_format = 2}, MQTT5_PAYLOAD_FORMAT, "must be 0 or 1");
    struct mqtt5_properties ids = {.subscription_ids = {5, 0}, .n_subscription_ids = 2};
    refuses_size(&ids, MQTT5_SUBSCRIPTION_ID, "must be 1 to 268435455");
    ids.subscription_ids[1] = 268435456;
    refuses_size(&ids, MQTT5_SUBSCRIPTION_ID, "268435456");
    struct adapter_property name = {large, 65536, "", 0}, value = {"n", 1, "\xff", 1};
    refuses_size(&(struct mqtt5_properties){.user = &name, .n_user = 1}, MQTT5_USER_PROPERTY, "name of a user");
    refuses_size(&(struct mqtt5_properties){.user = &value, .n_user = 1}, MQTT5_USER_PROPERTY, "value of a user");
    struct adapter_property *many = calloc(5000, sizeof *many);
    for (int i = 0; i < 5000; i++)
        many[i] = (struct adapter_property){"n", 1, large, 65535};
    refuses_size(&(struct mqtt5_properties){.user = many, .n_user = 5000}, MQTT5_USER_PROPERTY, "at most 268435455");
    free(many);

    struct error err;
    struct mqtt_publish m = {.topic = "", .payload_len = 1};
    assert_int_equal(mqtt5_publish_size(&m, NULL, &err), 0);
    assert_non_null(strstr(err.text, "topic alias"));
    m.topic_len = 1;
    m.payload_len = MQTT_MAX_REMAINING;
    assert_int_equal(mqtt5_publish_size(&m, NULL, &err), 0);
    m.payload_len = SIZE_MAX;
    assert_int_equal(mqtt5_publish_size(&m, NULL, &err), 0);
    m.payload_len = MQTT_MAX_REMAINING - 4;
    assert_int_equal(mqtt5_publish_size(&m, NULL, &err), MQTT_MAX_REMAINING + 5u);
    free(large);
}

static void connects_that_cannot_be_sent(void **state)
{
    (void)state;
    char large[65536];
    memset(large, 'a', sizeof large);
    struct mqtt5_properties data = {.auth_data = TEXT("x")}, delay = {.will_delay = 1}, bad_will = {.topic_alias = 0};
    mqtt5_set(&data, MQTT5_AUTH_DATA);
    mqtt5_set(&delay, MQTT5_WILL_DELAY);
    mqtt5_set(&bad_will, MQTT5_TOPIC_ALIAS);
    const struct {
        struct mqtt_connect c;
        const struct mqtt5_properties *properties, *will;
        const char *text;
    } cases[] = {
        {{.client_id = {large, 65536}}, NULL, NULL, "client id has 65536"},
        {{.client_id = TEXT("\xc0\x80")}, NULL, NULL, "client id is not valid UTF-8"},
        {{.user = TEXT("\0")}, NULL, NULL, "user name is not valid"},
        {{.password = {large, 65536}}, NULL, NULL, "password has"},
        {{.will_payload = TEXT("x")}, NULL, NULL, "a will needs a topic"},
        {{.client_id = TEXT("i")}, NULL, &delay, "a will needs a topic"},
        {{.will_topic = TEXT("a/#")}, NULL, NULL, "will: the topic"},
        {{.will_topic = TEXT("")}, NULL, NULL, "will: the topic is empty"},
        {{.will_topic = TEXT("a"), .will_qos = 3}, NULL, NULL, "QoS 3"},
        {{.will_topic = TEXT("a"), .will_payload = {large, 65536}}, NULL, NULL, "will payload"},
        {{.will_topic = TEXT("a")}, NULL, &bad_will, "will: the topic alias is 0"},
        {{.client_id = TEXT("i")}, &data, NULL, "needs an authentication method"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {.code = ERR_NONE};
        assert_int_equal(mqtt5_connect_size(&cases[i].c, cases[i].properties, cases[i].will, &err), 0);
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.text, cases[i].text))
            fail_msg("%s is not in: %s", cases[i].text, err.text);
    }
}

static int count_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    (void)first, (void)body, (void)n, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

// Whole and byte by byte: the violation is found at the same byte with the same reason.
static void the_parser_of_version_5(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        size_t fails_at;
        uint8_t reason;
        const char *text;
    } cases[] = {{"00", 1, 0x81, "2.1.2"},
                 {"36", 1, 0x81, "3.3.1-4"},
                 {"f8", 1, 0x81, "2.1.3-1"},
                 {"d08000", 3, 0x81, "1.5.5-1"},
                 {"d080808000", 5, 0x81, "1.5.5-1"},
                 {"308080808001", 5, 0x81, "1.5.5"},
                 {"30ffffff7f", 5, 0x95, "maxPacket"},
                 {"d000e1", 3, 0x81, "2.1.3-1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mqtt_parser p = {NULL};
        struct error err;
        unsigned n = 0;
        uint8_t bytes[16], reason = 0;
        size_t size = unhex(cases[i].hex, bytes, sizeof bytes);
        assert_int_equal(mqtt5_parser_feed(&p, bytes, size, 1u << 20, count_packet, &n, &reason, &err), -1);
        assert_int_equal(reason, cases[i].reason);
        assert_non_null(strstr(err.text, cases[i].text));
        mqtt_parser_reset(&p);
        reason = 0;
        for (size_t k = 0; k < cases[i].fails_at; k++)
            assert_int_equal(mqtt5_parser_feed(&p, bytes + k, 1, 1u << 20, count_packet, &n, &reason, &err),
                             k + 1 == cases[i].fails_at ? -1 : 0);
        assert_int_equal(reason, cases[i].reason);
        mqtt_parser_reset(&p);
    }
    struct mqtt_parser p = {NULL};
    unsigned n = 0;
    uint8_t reason = 0;
    assert_int_equal(
        mqtt5_parser_feed(&p, (const uint8_t *)"\xf0\0\x20\3\0\0\0\x30", 8, 100, count_packet, &n, &reason, NULL),
        0); // AUTH is a packet
    assert_int_equal(n, 2);
    assert_int_equal(reason, 0);
    mqtt_parser_reset(&p);
}

// All 256, of each packet that has one: those of its table in the standard, and no other.
static void every_reason_code_of_every_packet(void **state)
{
    (void)state;
    static const struct {
        uint8_t first;
        const char *codes;
    } packets[] = {
        {0x20, "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"},
        {0x40, "00 10 80 83 87 90 91 97 99"},
        {0x50, "00 10 80 83 87 90 91 97 99"},
        {0x62, "00 92"},
        {0x70, "00 92"},
        {0x90, "00 01 02 80 83 87 8f 91 97 9e a1 a2"},
        {0xb0, "00 11 80 83 87 8f 91"},
        {0xe0, "00 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2"},
        {0xf0, "00 18"},
    };
    static struct packet p;
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        uint8_t valid[32];
        size_t n_valid = unhex(packets[i].codes, valid, sizeof valid);
        for (unsigned code = 0; code < 256; code++) {
            const uint8_t c = (uint8_t)code;
            const uint8_t connack[] = {0, c, 0}, ack[] = {0, 1, c}, suback[] = {0, 1, 0, c}, disconnect[] = {c},
                          auth[] = {c, 4, 21, 0, 1, 'M'};
            uint8_t first = packets[i].first, reason = 0;
            struct error err;
            int rc = first == 0x20   ? decode(first, connack, sizeof connack, &p, &reason, &err)
                     : first == 0xe0 ? decode(first, disconnect, sizeof disconnect, &p, &reason, &err)
                     : first == 0xf0 ? decode(first, auth, sizeof auth, &p, &reason, &err)
                     : first < 0x80  ? decode(first, ack, sizeof ack, &p, &reason, &err)
                                     : decode(first, suback, sizeof suback, &p, &reason, &err);
            if ((rc == 0) != (memchr(valid, c, n_valid) != NULL))
                fail_msg("%s with 0x%02x: %d", mqtt_type_name(first >> 4), code, rc);
            assert_true(rc == 0 || reason == MQTT5_PROTOCOL_ERROR);
        }
    }
}

// Long texts are looked at eight bytes at a time.
static void a_bad_byte_is_found_anywhere(void **state)
{
    (void)state;
    char text[40];
    for (size_t n = 1; n < sizeof text; n++)
        for (size_t i = 0; i < n; i++) {
            memset(text, 0x7f, sizeof text);
            text[0] = 1;
            assert_true(mqtt_utf8_valid(text, n));
            static const char wrong[] = {0, (char)0x80, (char)0xff, (char)0xc3};
            for (size_t k = 0; k < sizeof wrong; k++) {
                text[i] = wrong[k];
                assert_false(mqtt_utf8_valid(text, n));
            }
        }
}

static void texts_of_reasons(void **state)
{
    (void)state;
    assert_string_equal(mqtt5_reason_text(0x97), "quota exceeded");
    assert_string_equal(mqtt5_reason_text(0xa2), "wildcard subscriptions not supported");
    assert_string_equal(mqtt5_reason_text(0xa3), "unknown reason");
    assert_string_equal(mqtt5_reason_text(0x03), "unknown reason");
    assert_string_equal(mqtt_type_name(15), "AUTH");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_as_the_standard_says),
        cmocka_unit_test(others_as_the_standard_says),
        cmocka_unit_test(what_servers_send),
        cmocka_unit_test(a_server_of_3_1_1_is_named),
        cmocka_unit_test(everything_forbidden_once),
        cmocka_unit_test(every_property_in_every_packet),
        cmocka_unit_test(truncated_at_every_byte),
        cmocka_unit_test(caps_of_lists),
        cmocka_unit_test(what_cannot_be_sent),
        cmocka_unit_test(connects_that_cannot_be_sent),
        cmocka_unit_test(the_parser_of_version_5),
        cmocka_unit_test(every_reason_code_of_every_packet),
        cmocka_unit_test(a_bad_byte_is_found_anywhere),
        cmocka_unit_test(texts_of_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
