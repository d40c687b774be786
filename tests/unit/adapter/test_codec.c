// Control packets against bytes written by hand from the standard, round trips, topics, and the parser under every
// split.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/codec.h"
#include "adapter/mqtt/parser.h"
#include "adapter/mqtt/topic.h"
#include "core/rng.h"

static void encodes_as_the_standard_says(void **state)
{
    (void)state;
    uint8_t b[64];
    static const uint8_t publish[] = {0x3b, 8, 0, 3, 'a', '/', 'b', 0, 10, 'x'};
    struct mqtt_publish m = {.topic = "a/b",
                             .topic_len = 3,
                             .payload = (const uint8_t *)"x",
                             .payload_len = 1,
                             .packet_id = 10,
                             .qos = 1,
                             .retain = true,
                             .dup = true};
    assert_int_equal(mqtt_publish_size(3, 1, 1), sizeof publish);
    assert_int_equal(mqtt_publish_encode(b, &m) - b, sizeof publish);
    assert_memory_equal(b, publish, sizeof publish);

    static const uint8_t subscribe[] = {0x82, 8, 0, 7, 0, 3, 'a', '/', '#', 2};
    assert_int_equal(mqtt_subscribe_size(MQTT_SUBSCRIBE, 3), sizeof subscribe);
    assert_int_equal(mqtt_subscribe_encode(b, MQTT_SUBSCRIBE, 7, "a/#", 3, 2) - b, sizeof subscribe);
    assert_memory_equal(b, subscribe, sizeof subscribe);
    static const uint8_t unsubscribe[] = {0xa2, 7, 1, 0, 0, 3, 'a', '/', '#'};
    assert_int_equal(mqtt_subscribe_size(MQTT_UNSUBSCRIBE, 3), sizeof unsubscribe);
    assert_int_equal(mqtt_subscribe_encode(b, MQTT_UNSUBSCRIBE, 256, "a/#", 3, 0) - b, sizeof unsubscribe);
    assert_memory_equal(b, unsubscribe, sizeof unsubscribe);

    static const struct {
        enum mqtt_type type;
        uint8_t bytes[4];
    } acks[] = {{MQTT_PUBACK, {0x40, 2, 0x12, 0x34}},
                {MQTT_PUBREC, {0x50, 2, 0x12, 0x34}},
                {MQTT_PUBREL, {0x62, 2, 0x12, 0x34}},
                {MQTT_PUBCOMP, {0x70, 2, 0x12, 0x34}}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(mqtt_ack_encode(b, acks[i].type, 0x1234) - b, 4);
        assert_memory_equal(b, acks[i].bytes, 4);
    }
    mqtt_empty_encode(b, MQTT_PINGREQ);
    assert_memory_equal(b, "\xc0\x00", 2);
    mqtt_empty_encode(b, MQTT_DISCONNECT);
    assert_memory_equal(b, "\xe0\x00", 2);

    struct mqtt_connect c = {
        .client_id = {"c", 1}, .will_topic = {"w", 1}, .will_qos = 2, .clean_session = true, .keep_alive = 258};
    static const uint8_t connect[] = {0x10, 18, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x16, 1, 2, 0, 1, 'c', 0, 1, 'w', 0, 0};
    assert_int_equal(mqtt_connect_size(&c, NULL), sizeof connect); // a will without payload is an empty one
    assert_int_equal(mqtt_connect_encode(b, &c) - b, sizeof connect);
    assert_memory_equal(b, connect, sizeof connect);
}

static int keep_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_publish *m = arg;
    return mqtt_publish_decode(first, body, n, m, err);
}

// Every length class of the remaining length, at its borders.
static void publish_round_trips_at_every_length_border(void **state)
{
    (void)state;
    static const size_t remaining[] = {3, 127, 128, 16383, 16384, 2097151, 2097152, 5000000};
    uint8_t *payload = malloc(5000000), *bytes = malloc(5000010);
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < 5000000; i++)
        payload[i] = (uint8_t)rng_u64(&rng);
    for (size_t i = 0; i < sizeof remaining / sizeof *remaining; i++) {
        struct mqtt_publish m = {.topic = "t", .topic_len = 1, .payload = payload, .payload_len = remaining[i] - 3},
                            got;
        struct mqtt_parser parser = {NULL};
        struct error err;
        size_t size = mqtt_publish_size(1, m.payload_len, 0);
        assert_int_equal(size, mqtt_packet_size(remaining[i]));
        assert_int_equal(mqtt_publish_encode(bytes, &m) - bytes, size);
        assert_int_equal(mqtt_parser_feed(&parser, bytes, size, 6000000, keep_packet, &got, &err), 0);
        assert_null(parser.partial); // whole packets are not copied
        assert_ptr_equal(got.topic, bytes + size - m.payload_len - 1);
        assert_int_equal(got.payload_len, m.payload_len);
        assert_memory_equal(got.payload, payload, m.payload_len);
        assert_int_equal(mqtt_parser_feed(&parser, bytes, size, (uint32_t)size - 1, keep_packet, &got, &err), -1);
        assert_int_equal(err.code, ERR_LIMIT);
    }
    assert_int_equal(mqtt_packet_size(MQTT_MAX_REMAINING), (size_t)MQTT_MAX_REMAINING + 5);
    assert_int_equal(mqtt_packet_size((size_t)MQTT_MAX_REMAINING + 1), 0);
    assert_int_equal(mqtt_publish_size(65535, SIZE_MAX - 10, 1), 0);
    free(payload);
    free(bytes);
}

// A stream of every packet type, and what its packets are.
struct sequence {
    uint8_t bytes[2048];
    size_t n;
    uint8_t first[64];
    size_t body[64]; // offset
    size_t len[64];
    unsigned packets;
    unsigned seen;
};

static void put(struct sequence *s, const uint8_t *end, size_t header)
{
    size_t from = s->n;
    s->n = (size_t)(end - s->bytes);
    s->first[s->packets] = s->bytes[from];
    s->body[s->packets] = from + header;
    s->len[s->packets++] = s->n - from - header;
}

static int check_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct sequence *s = arg;
    (void)err;
    assert_true(s->seen < s->packets);
    assert_int_equal(first, s->first[s->seen]);
    assert_int_equal(n, s->len[s->seen]);
    assert_memory_equal(body, s->bytes + s->body[s->seen], n);
    s->seen++;
    return 0;
}

static void fill(struct sequence *s)
{
    static const uint8_t long_payload[200] = {1, 2, 3};
    struct mqtt_publish m = {.topic = "a/b", .topic_len = 3, .payload = long_payload};
    struct mqtt_connect c = {.client_id = {"id", 2}, .clean_session = true};
    memset(s, 0, sizeof *s);
    put(s, mqtt_connect_encode(s->bytes, &c), 2);
    for (uint8_t qos = 0; qos < 3; qos++) {
        m.qos = qos;
        m.packet_id = 77;
        m.payload_len = qos == 1 ? 200 : qos;
        put(s, mqtt_publish_encode(s->bytes + s->n, &m), qos == 1 ? 3 : 2);
    }
    for (unsigned type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++)
        put(s, mqtt_ack_encode(s->bytes + s->n, (enum mqtt_type)type, (uint16_t)type), 2);
    put(s, mqtt_subscribe_encode(s->bytes + s->n, MQTT_SUBSCRIBE, 5, "x", 1, 1), 2);
    put(s, mqtt_subscribe_encode(s->bytes + s->n, MQTT_UNSUBSCRIBE, 6, "x", 1, 0), 2);
    for (unsigned type = MQTT_PINGREQ; type <= MQTT_DISCONNECT; type++)
        put(s, mqtt_empty_encode(s->bytes + s->n, (enum mqtt_type)type), 2);
}

static void feed(struct sequence *s, struct mqtt_parser *p, size_t from, size_t to)
{
    // Its own memory, so that a read beyond the piece shows.
    uint8_t *piece = malloc(to - from + (to == from));
    memcpy(piece, s->bytes + from, to - from);
    assert_int_equal(mqtt_parser_feed(p, piece, to - from, 4096, check_packet, s, NULL), 0);
    free(piece);
}

static void survives_every_split(void **state)
{
    (void)state;
    struct sequence s;
    struct mqtt_parser p = {NULL};
    fill(&s);
    for (size_t a = 0; a <= s.n; a++) // every way to cut in three
        for (size_t b = a; b <= s.n; b++) {
            s.seen = 0;
            feed(&s, &p, 0, a);
            feed(&s, &p, a, b);
            feed(&s, &p, b, s.n);
            assert_int_equal(s.seen, s.packets);
            assert_null(p.partial);
        }
    for (size_t step = 1; step < 9; step++) { // small steps
        s.seen = 0;
        for (size_t i = 0; i < s.n; i += step)
            feed(&s, &p, i, i + step < s.n ? i + step : s.n);
        assert_int_equal(s.seen, s.packets);
        assert_null(p.partial);
    }
}

static int count_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    (void)first, (void)body, (void)n, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

// A violation is found at the same byte, whether it comes whole or byte by byte.
static void malformed_headers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, fails_at;
        const char *text;
    } cases[] = {{"\x00", 1, 1, "2.2.1"},
                 {"\xf0", 1, 1, "2.2.1"},
                 {"\x36", 1, 1, "3.3.1-4"},
                 {"\x41", 1, 1, "2.2.2-1"},
                 {"\x60", 1, 1, "2.2.2-1"},
                 {"\x80", 1, 1, "2.2.2-1"},
                 {"\x38", 1, 1, "3.3.1-2"},
                 {"\xd0\x00\xd1", 3, 3, "2.2.2-1"},
                 {"\x30\x80\x80\x80\x80\x01", 6, 5, "2.2.3"},
                 {"\x30\xff\xff\xff\x80", 5, 5, "2.2.3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mqtt_parser p = {NULL};
        struct error err;
        unsigned n = 0;
        assert_int_equal(
            mqtt_parser_feed(&p, (const uint8_t *)cases[i].bytes, cases[i].n, 1u << 28, count_packet, &n, &err), -1);
        assert_int_equal(err.code, ERR_PROTOCOL);
        assert_non_null(strstr(err.text, cases[i].text));
        mqtt_parser_reset(&p);
        for (size_t k = 0; k < cases[i].fails_at; k++)
            assert_int_equal(
                mqtt_parser_feed(&p, (const uint8_t *)cases[i].bytes + k, 1, 1u << 28, count_packet, &n, &err),
                k + 1 == cases[i].fails_at ? -1 : 0);
        mqtt_parser_reset(&p);
    }
    // 3.1.1 does not demand the shortest form of the remaining length: two bytes for zero are a PINGRESP.
    struct mqtt_parser p = {NULL};
    unsigned n = 0;
    assert_int_equal(mqtt_parser_feed(&p, (const uint8_t *)"\xd0\x80\x00", 3, 100, count_packet, &n, NULL), 0);
    assert_int_equal(n, 1);
}

// An announced length costs nothing until the bytes come.
static void a_large_announcement_allocates_little(void **state)
{
    (void)state;
    struct mqtt_parser p = {NULL};
    unsigned n = 0;
    assert_int_equal(
        mqtt_parser_feed(&p, (const uint8_t *)"\x30\xff\xff\xff\x7fx", 6, UINT32_MAX - 8, count_packet, &n, NULL), 0);
    assert_true(mqtt_parser_footprint(&p) < 1024);
    mqtt_parser_reset(&p);
    assert_int_equal(mqtt_parser_footprint(&p), 0);
}

static int stop_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    (void)first, (void)body, (void)n, (void)err;
    mqtt_parser_reset(arg); // as a closing connection does
    return 1;
}

static void stopping_inside_a_packet(void **state)
{
    (void)state;
    struct mqtt_parser p = {NULL};
    assert_int_equal(mqtt_parser_feed(&p, (const uint8_t *)"\xd0", 1, 100, stop_packet, &p, NULL), 0);
    assert_int_equal(mqtt_parser_feed(&p, (const uint8_t *)"\x00\xd0\x00\xd0", 4, 100, stop_packet, &p, NULL), 1);
    assert_null(p.partial);
}

static void topics_and_filters(void **state)
{
    (void)state;
    static const char *const good_topics[] = {
        "a", "/", "a//b", "$SYS/x", " ", "sensor\xc3\xa9/\xf0\x9f\x8c\xa1", "\xee\x80\x80"};
    static const char *const bad_utf8[] = {"\x80",
                                           "\xc0\x80",
                                           "\xc1\xbf",
                                           "\xc3",
                                           "\xe0\x9f\xbf",
                                           "\xed\xa0\x80",
                                           "\xed\xbf\xbf",
                                           "\xf0\x8f\xbf\xbf",
                                           "\xf4\x90\x80\x80",
                                           "\xf5\x80\x80\x80",
                                           "\xff",
                                           "\xe2\x82",
                                           "a\xc3(b"};
    static const char *const good_filters[] = {"#", "+", "/", "a/#", "+/+", "/+", "a/+/b/#", "$share/g/t", "+/a"};
    static const char *const bad_filters[] = {"", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "##", "++"};
    for (size_t i = 0; i < sizeof good_topics / sizeof *good_topics; i++)
        assert_int_equal(mqtt_topic_check(good_topics[i], strlen(good_topics[i]), NULL), 0);
    for (size_t i = 0; i < sizeof bad_utf8 / sizeof *bad_utf8; i++) {
        assert_int_equal(mqtt_topic_check(bad_utf8[i], strlen(bad_utf8[i]), NULL), -1);
        assert_int_equal(mqtt_filter_check(bad_utf8[i], strlen(bad_utf8[i]), NULL), -1);
        assert_false(mqtt_utf8_valid(bad_utf8[i], strlen(bad_utf8[i])));
    }
    for (size_t i = 0; i < sizeof good_filters / sizeof *good_filters; i++)
        assert_int_equal(mqtt_filter_check(good_filters[i], strlen(good_filters[i]), NULL), 0);
    for (size_t i = 0; i < sizeof bad_filters / sizeof *bad_filters; i++)
        assert_int_equal(mqtt_filter_check(bad_filters[i], strlen(bad_filters[i]), NULL), -1);
    assert_int_equal(mqtt_topic_check("", 0, NULL), -1);
    assert_int_equal(mqtt_topic_check("a\0b", 3, NULL), -1);
    assert_int_equal(mqtt_topic_check("a/+", 3, NULL), -1);
    char *longest = malloc(65536);
    memset(longest, 'a', 65536);
    assert_int_equal(mqtt_topic_check(longest, 65535, NULL), 0);
    assert_int_equal(mqtt_topic_check(longest, 65536, NULL), -1);
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_as_the_standard_says),
        cmocka_unit_test(publish_round_trips_at_every_length_border),
        cmocka_unit_test(survives_every_split),
        cmocka_unit_test(malformed_headers),
        cmocka_unit_test(a_large_announcement_allocates_little),
        cmocka_unit_test(stopping_inside_a_packet),
        cmocka_unit_test(topics_and_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
