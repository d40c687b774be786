// Session state without sockets: a random walk against a simple model, packet ids, and the options of a target.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/options.h"
#include "adapter/mqtt/session.h"
#include "core/rng.h"

static const struct mqtt_sub_options with = {.options = {.qos = 1}};

static struct mqtt_publish message(uint8_t qos)
{
    return (struct mqtt_publish){
        .topic = "t", .topic_len = 1, .payload = (const uint8_t *)"x", .payload_len = 1, .qos = qos};
}

// Everything accepted ends exactly once: acknowledged or dropped; the window and the queue hold at every step; resends
// come in the order of publishing.
static void a_random_walk(void **state)
{
    (void)state;
    for (int drop_oldest = 0; drop_oldest < 2; drop_oldest++) {
        const struct mqtt_queue_limits limits = {
            .max_messages = 7, .max_bytes = 1000, .window = 5, .drop_oldest = drop_oldest};
        struct mqtt_session s = {NULL, 65530}; // ids wrap soon
        struct rng rng;
        bool online = true;
        uint32_t accepted = 0, ended = 0, refused = 0, last_sent = 0;
        uint16_t sent_ids[64];
        uint8_t sent_qos[64];
        unsigned n_sent = 0;
        static uint8_t seen[200001];
        memset(seen, 0, sizeof seen);
        rng_seed(&rng, 99 + (uint64_t)drop_oldest);
        for (int step = 0; step < 200000; step++) {
            struct mqtt_out *out, *victims;
            switch (rng_below(&rng, 8)) {
            case 0:
            case 1:
            case 2: {
                struct mqtt_publish m = message((uint8_t)(1 + rng_below(&rng, 2)));
                if (mqtt_session_queue(&s, &limits, &m, NULL, accepted + 1, 0, online, &victims, NULL) < 0) {
                    refused++;
                    assert_false(drop_oldest);
                    break;
                }
                accepted++;
                while (victims) {
                    struct mqtt_out *next = victims->next;
                    assert_int_equal(seen[victims->token]++, 0);
                    assert_false(victims->was_sent);
                    ended++;
                    free(victims);
                    victims = next;
                }
                break;
            }
            case 3:
            case 4: // send
                while (online && (out = mqtt_session_next(&s, limits.window))) {
                    assert_true(out->packet_id);
                    assert_true(out->token > last_sent);
                    last_sent = out->token;
                    for (unsigned i = 0; i < n_sent; i++)
                        assert_true(sent_ids[i] != out->packet_id);
                    sent_qos[n_sent] = out->qos;
                    sent_ids[n_sent++] = out->packet_id;
                    mqtt_session_sent(&s);
                    assert_true(n_sent <= limits.window);
                }
                break;
            case 5:
            case 6: // an acknowledgement, of any of those sent
                if (n_sent) {
                    unsigned i = (unsigned)rng_below(&rng, n_sent);
                    if (rng_below(&rng, 20) == 0) { // that of the other QoS
                        enum mqtt_type wrong = sent_qos[i] == 1 ? MQTT_PUBREC : MQTT_PUBACK;
                        assert_int_equal(mqtt_session_ack(&s, wrong, sent_ids[i], false, &out), MQTT_ACK_WRONG);
                    } else if (sent_qos[i] == 1) {
                        assert_int_equal(mqtt_session_ack(&s, MQTT_PUBACK, sent_ids[i], false, &out), MQTT_ACK_DONE);
                    } else {
                        assert_int_equal(mqtt_session_ack(&s, MQTT_PUBREC, sent_ids[i], false, &out), MQTT_ACK_RELEASE);
                        if (rng_below(&rng, 2))
                            break;
                        assert_int_equal(mqtt_session_ack(&s, MQTT_PUBCOMP, sent_ids[i], false, &out), MQTT_ACK_DONE);
                    }
                    assert_int_equal(seen[out->token]++, 0);
                    ended++;
                    free(out);
                    sent_qos[i] = sent_qos[--n_sent];
                    sent_ids[i] = sent_ids[n_sent];
                    mqtt_session_trim(&s);
                }
                break;
            case 7: // connection lost, and found
                if (rng_below(&rng, 4))
                    break;
                online = !online;
                mqtt_session_rewind(&s);
                n_sent = 0;
                last_sent = 0;
                if (online && rng_below(&rng, 2))
                    mqtt_session_renew(&s);
                break;
            }
            if (s.state) {
                assert_true(s.state->n_out - s.state->n_ids <= limits.max_messages + 1);
                assert_int_equal(accepted - ended, s.state->n_out);
            } else {
                assert_int_equal(accepted, ended);
            }
        }
        for (struct mqtt_out *out; (out = mqtt_session_pop(&s)); free(out), ended++)
            assert_int_equal(seen[out->token]++, 0);
        assert_int_equal(accepted, ended);
        assert_true(accepted > 10000 && (drop_oldest || refused > 100));
        mqtt_session_trim(&s);
        assert_null(s.state);
    }
}

static int queue_expiring(struct mqtt_session *s, const struct mqtt_queue_limits *limits, uint32_t expiry_s,
                          uint32_t token, int64_t now_s, struct mqtt_out **victims)
{
    struct mqtt_publish m = message(1);
    struct mqtt5_properties p = {.message_expiry = expiry_s};
    const struct mqtt_more more = {.properties = expiry_s ? &p : NULL};
    mqtt5_set(&p, MQTT5_MESSAGE_EXPIRY);
    return mqtt_session_queue(s, limits, &m, &more, token, now_s * 1000000, false, victims, NULL);
}

static void the_expired_make_room_first(void **state)
{
    (void)state;
    for (int drop_oldest = 0; drop_oldest < 2; drop_oldest++) {
        const struct mqtt_queue_limits limits = {
            .max_messages = 3, .max_bytes = 1000, .window = 5, .drop_oldest = drop_oldest};
        struct mqtt_session s = {NULL, 0};
        struct mqtt_out *victims;
        assert_int_equal(queue_expiring(&s, &limits, 0, 1, 0, &victims), 0);
        assert_int_equal(queue_expiring(&s, &limits, 2, 2, 0, &victims), 0);
        assert_int_equal(queue_expiring(&s, &limits, 2, 3, 1, &victims), 0);
        assert_null(victims);
        if (!drop_oldest) {
            assert_int_equal(queue_expiring(&s, &limits, 9, 4, 1, &victims), -1);
            assert_null(victims);
        }
        assert_int_equal(queue_expiring(&s, &limits, 9, 4, 2, &victims), 0); // the second has expired, the third not
        assert_int_equal(victims->token, 2);
        assert_true(victims->expired);
        assert_null(victims->next);
        free(victims);
        assert_int_equal(mqtt_session_count(&s), 3);
        for (uint32_t token = 1; token < 5; token += token == 1 ? 2 : 1) {
            struct mqtt_out *o = mqtt_session_next(&s, 5);
            assert_int_equal(o->token, token);
            assert_int_equal(mqtt_out_expired(o, 20000000), token != 1);
            if (token == 3)
                free(mqtt_session_skip(&s));
            else
                mqtt_session_sent(&s);
        }
        mqtt_session_rewind(&s); // what the broker may have does not expire, what it has lost does
        assert_false(mqtt_out_expired(s.state->head->next, 20000000));
        mqtt_session_renew(&s);
        assert_true(mqtt_out_expired(s.state->head->next, 20000000));
        assert_int_equal(mqtt_session_count(&s), 2);
        mqtt_session_destroy(&s);
    }
}

static void packet_ids_are_unique_and_never_zero(void **state)
{
    (void)state;
    const struct mqtt_queue_limits limits = {.max_messages = 20000, .max_bytes = 1 << 20, .window = 10000};
    struct mqtt_session s = {NULL, 60000};
    static uint8_t used[65536];
    struct mqtt_out *out, *victims;
    memset(used, 0, sizeof used);
    for (int i = 0; i < 10000; i++) {
        struct mqtt_publish m = message(1);
        assert_int_equal(mqtt_session_queue(&s, &limits, &m, NULL, 0, 0, true, &victims, NULL), 0);
        if (i % 10 == 0) { // ids of requests come from the same space
            struct mqtt_request *r = mqtt_session_request(&s, MQTT_SUBSCRIBE, "f", 1, &with, NULL);
            assert_int_equal(used[r->packet_id]++, 0);
        }
        out = mqtt_session_next(&s, limits.window);
        mqtt_session_sent(&s);
        assert_int_equal(used[out->packet_id]++, 0);
    }
    assert_int_equal(used[0], 0);
    assert_null(mqtt_session_next(&s, limits.window));
    mqtt_session_destroy(&s);
}

// One message is never acknowledged while the ids go round.
static void an_id_in_flight_is_not_taken_again(void **state)
{
    (void)state;
    const struct mqtt_queue_limits limits = {.max_messages = 10, .max_bytes = 1000, .window = 10};
    struct mqtt_session s = {NULL, 65000};
    struct mqtt_out *out, *victims;
    uint16_t held = 0;
    for (int i = 0; i < 140000; i++) {
        struct mqtt_publish m = message(1);
        assert_int_equal(mqtt_session_queue(&s, &limits, &m, NULL, 0, 0, true, &victims, NULL), 0);
        out = mqtt_session_next(&s, limits.window);
        mqtt_session_sent(&s);
        assert_int_not_equal(out->packet_id, held);
        if (!held)
            held = out->packet_id;
        else if (mqtt_session_ack(&s, MQTT_PUBACK, out->packet_id, false, &out) == MQTT_ACK_DONE)
            free(out);
    }
    mqtt_session_destroy(&s);
}

static void received_ids(void **state)
{
    (void)state;
    struct mqtt_session s = {NULL, 0};
    for (unsigned i = 1; i <= 65535; i += 7)
        assert_int_equal(mqtt_session_received(&s, (uint16_t)(i * 40503u)), 1);
    for (unsigned i = 1; i <= 65535; i += 7)
        assert_int_equal(mqtt_session_received(&s, (uint16_t)(i * 40503u)), 0);
    for (unsigned i = 1; i <= 65535; i += 7)
        mqtt_session_released(&s, (uint16_t)(i * 40503u));
    mqtt_session_released(&s, 5);
    assert_null(s.state);
}

static void subscriptions_are_capped(void **state)
{
    (void)state;
    struct mqtt_session s = {NULL, 0};
    char filter[16];
    static char big[MQTT_MAX_SUB_BYTES];
    memset(big, 'a', sizeof big);
    for (unsigned i = 0; i < MQTT_MAX_SUBS; i++) {
        snprintf(filter, sizeof filter, "f%u", i);
        assert_int_equal(mqtt_session_subscribed(&s, filter, strlen(filter), &with, NULL), 0);
    }
    assert_int_equal(mqtt_session_subscribed(&s, "one more", 8, &with, NULL), -1);
    assert_int_equal(mqtt_session_subscribed(&s, "f5", 2, &with, NULL), 0); // known
    for (unsigned i = 0; i < MQTT_MAX_SUBS; i++) {
        snprintf(filter, sizeof filter, "f%u", i);
        mqtt_session_unsubscribed(&s, filter, strlen(filter));
    }
    assert_null(s.state);
    assert_true(mqtt_session_sub_room(&s, big, 65535));
    assert_int_equal(mqtt_session_subscribed(&s, big, 65535, &with, NULL), 0);
    assert_false(mqtt_session_sub_room(&s, "ab", 2));
    mqtt_session_destroy(&s);
}

static int parse(const char *json, struct mqtt_options *o, struct error *err)
{
    json_t *v = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(v);
    error_clear(err);
    int rc = mqtt_options_parse(v, o, err);
    json_decref(v);
    return rc;
}

static void options_and_their_defaults(void **state)
{
    (void)state;
    struct mqtt_options o;
    struct error err;
    assert_int_equal(mqtt_options_parse(NULL, &o, &err), 0);
    mqtt_options_destroy(&o);
    assert_int_equal(o.keep_alive, 60);
    assert_true(o.clean_session && o.reconnect && o.reconnect_jitter && !o.queue.drop_oldest && o.version == 4);
    assert_int_equal(o.connect_timeout_us, 10000000);
    assert_int_equal(o.reconnect_initial_us, 1000000);
    assert_int_equal(o.reconnect_max_us, 60000000);
    assert_int_equal(o.queue.window, 20);
    assert_int_equal(o.queue.max_messages, 100);
    assert_int_equal(o.queue.max_bytes, 256 << 10);
    assert_int_equal(o.pacer.window, 64);
    assert_int_equal(o.max_packet, 1 << 20);
    const char *all =
        "{\"version\":4,\"keepAlive\":\"2m\",\"cleanSession\":false,\"connectTimeout\":1.5,"
        "\"reconnect\":{\"initial\":\"5ms\",\"max\":\"1m\",\"factor\":1.5,\"jitter\":false,\"attempts\":4},"
        "\"inflight\":3.0,\"queue\":{\"max\":5,\"bytes\":\"1KB\",\"full\":\"drop_oldest\"},\"connectWindow\":9,"
        "\"source\":\"::1\",\"willQos\":2,\"willRetain\":true,\"maxPacket\":\"2KB\"}";
    assert_int_equal(parse(all, &o, &err), 0);
    assert_int_equal(o.keep_alive, 120);
    assert_int_equal(o.connect_timeout_us, 1500000);
    assert_int_equal(o.reconnect_initial_us, 5000);
    assert_int_equal(o.reconnect_attempts, 4);
    assert_false(o.reconnect_jitter);
    assert_int_equal(o.queue.window, 3);
    assert_int_equal(o.queue.max_bytes, 1024);
    assert_true(o.queue.drop_oldest && o.will_retain);
    assert_int_equal(o.will_qos, 2);
    assert_int_equal(o.max_packet, 2048);
    mqtt_options_destroy(&o);
    assert_int_equal(parse("{\"reconnect\":{\"initial\":\"90s\"}}", &o, &err), 0); // the default max follows
    assert_int_equal(o.reconnect_max_us, 90000000);
    mqtt_options_destroy(&o);
}

static void options_of_version_5(void **state)
{
    (void)state;
    struct mqtt_options o;
    struct error err;
    assert_int_equal(parse("{\"version\":\"5\"}", &o, &err), 0);
    assert_true(o.version == 5 && o.session_expiry == 0 && o.receive_maximum == 65535 && o.follow_redirect);
    assert_true(o.connect5.present == 1ull << MQTT5_MAXIMUM_PACKET_SIZE && !o.will5.present && !o.topic_aliases);
    mqtt_options_destroy(&o);
    assert_int_equal(parse("{\"version\":5,\"cleanSession\":false}", &o, &err), 0); // as in 3.1.1
    assert_true(o.session_expiry == MQTT_NEVER && o.connect5.session_expiry == UINT32_MAX);
    mqtt_options_destroy(&o);
    const char *all =
        "{\"version\":5,\"cleanSession\":false,\"sessionExpiry\":0,\"receiveMaximum\":7,"
        "\"topicAliasMaximum\":5,\"topicAliases\":true,\"requestResponseInfo\":true,"
        "\"requestProblemInfo\":false,\"followRedirect\":false,\"authMethod\":\"M\","
        "\"userProperties\":{\"a\":\"1\",\"b\":[\"2\",\"3\"]},\"responseTopic\":\"r\",\"willDelay\":\"1m\","
        "\"willExpiry\":0,\"willContentType\":\"t\",\"willResponseTopic\":\"x/y\",\"willCorrelation\":\"c\","
        "\"willUserProperties\":{\"w\":\"v\"},\"timeout\":\"3s\"}";
    assert_int_equal(parse(all, &o, &err), 0);
    assert_int_equal(o.session_expiry, 0);
    assert_false(mqtt5_has(&o.connect5, MQTT5_SESSION_EXPIRY));
    assert_int_equal(o.connect5.receive_maximum, 7);
    assert_int_equal(o.connect5.topic_alias_maximum, 5);
    assert_true(o.topic_aliases && !o.follow_redirect && o.connect5.request_response_info);
    assert_true(mqtt5_has(&o.connect5, MQTT5_REQUEST_PROBLEM_INFO) && !o.connect5.request_problem_info);
    assert_string_equal(o.auth_method, "M");
    assert_string_equal(o.response_topic, "r");
    assert_int_equal(o.connect5.n_user, 3);
    assert_memory_equal(o.connect5.user[2].name, "b", 1);
    assert_memory_equal(o.connect5.user[2].value, "3", 1);
    assert_int_equal(o.will5.will_delay, 60);
    assert_true(mqtt5_has(&o.will5, MQTT5_MESSAGE_EXPIRY) && o.will5.n_user == 1);
    assert_int_equal(o.timeout_us, 3000000);
    mqtt_options_destroy(&o);
}

static void bad_options_name_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"[]", "expected an object"},
        {"{\"keepalive\":1}", "did you mean \"keepAlive\""},
        {"{\"zzz\":1}", "valid: version, keepAlive, cleanSession"},
        {"{\"keep_alive\":1}", "unknown mqtt option"},
        {"{\"version\":6}", "got 6"},
        {"{\"version\":\"3.1\"}", "3.1.1"},
        {"{\"keepAlive\":-1}", "keepAlive: expected a duration"},
        {"{\"keepAlive\":65536}", "keepAlive: expected a duration"},
        {"{\"keepAlive\":1.5}", "whole seconds"},
        {"{\"keepAlive\":true}", "got true"},
        {"{\"cleanSession\":1}", "cleanSession: expected true or false, got 1"},
        {"{\"connectTimeout\":\"10\xc3\xa9\"}", "connectTimeout: expected a duration"},
        {"{\"connectTimeout\":0}", "connectTimeout"},
        {"{\"reconnect\":\"yes\"}", "true, false or an object, got \"yes\""},
        {"{\"reconnect\":{\"factor\":0.5}}", "reconnect.factor: expected a number from 1 to 100"},
        {"{\"reconnect\":{\"inital\":1}}", "\"reconnect.inital\", did you mean \"initial\""},
        {"{\"reconnect\":{\"initial\":\"2s\",\"max\":\"1s\"}}", "max is shorter"},
        {"{\"reconnect\":{\"attempts\":1.5}}", "reconnect.attempts"},
        {"{\"inflight\":0}", "inflight: expected a whole number from 1 to 10000, got 0"},
        {"{\"inflight\":10001}", "inflight"},
        {"{\"queue\":5}", "queue: expected an object"},
        {"{\"queue\":{\"full\":\"block\"}}", "\"reject\" or \"drop_oldest\", got \"block\""},
        {"{\"queue\":{\"bytes\":\"lots\"}}", "queue.bytes: expected a size"},
        {"{\"queue\":{\"max\":-1}}", "queue.max"},
        {"{\"connectWindow\":0}", "connectWindow"},
        {"{\"connectPacing\":\"slow\"}", "connectPacing"},
        {"{\"timeout\":0}", "timeout: expected a duration"},
        {"{\"sessionExpiry\":5}", "sessionExpiry: only MQTT 5 has it, add version = \"5\""},
        {"{\"willDelay\":5,\"version\":4}", "willDelay: only MQTT 5 has it"},
        {"{\"version\":5,\"sessionExpiry\":1.5}", "whole seconds like"},
        {"{\"version\":5,\"sessionExpiry\":\"ever\"}", "or \"never\", got \"ever\""},
        {"{\"version\":5,\"sesionExpiry\":1}", "did you mean \"sessionExpiry\""},
        {"{\"version\":5,\"receiveMaximum\":0}", "receiveMaximum: expected a whole number from 1 to 65535, got 0"},
        {"{\"version\":5,\"receiveMaximum\":65536}", "receiveMaximum"},
        {"{\"version\":5,\"topicAliasMaximum\":65536}", "topicAliasMaximum"},
        {"{\"version\":5,\"topicAliases\":1}", "topicAliases: expected true or false"},
        {"{\"version\":5,\"userProperties\":[]}", "userProperties: expected an object of texts"},
        {"{\"version\":5,\"userProperties\":{\"a\":1}}", "the value of \"a\" must be a text or a list of texts"},
        {"{\"version\":5,\"userProperties\":{\"a\":[\"x\",2]}}", "the value of \"a\""},
        {"{\"version\":5,\"authMethod\":\"a\\u0000b\"}", "authMethod: holds a NUL"},
        {"{\"version\":5,\"responseTopic\":\"a/#\"}", "responseTopic: the topic \"a/#\" holds a wildcard"},
        {"{\"version\":5,\"willDelay\":\"1.5s\"}", "willDelay: expected whole seconds"},
        {"{\"version\":5,\"willResponseTopic\":\"\"}", "willResponseTopic: the topic is empty"},
        {"{\"version\":5,\"willContentType\":7}", "willContentType: expected a text, got 7"},
        {"{\"version\":5,\"requestProblemInfo\":0}", "requestProblemInfo"},
        {"{\"version\":5,\"followRedirect\":\"no\"}", "followRedirect"},
        {"{\"willQos\":3}", "willQos: expected a whole number from 0 to 2"},
        {"{\"maxPacket\":1}", "maxPacket: expected a size"},
    };
    struct mqtt_options o;
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(cases[i].json, &o, &err), -1);
        if (!strstr(err.text, cases[i].text))
            fail_msg("%s: %s", cases[i].json, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_walk),
        cmocka_unit_test(the_expired_make_room_first),
        cmocka_unit_test(packet_ids_are_unique_and_never_zero),
        cmocka_unit_test(an_id_in_flight_is_not_taken_again),
        cmocka_unit_test(received_ids),
        cmocka_unit_test(subscriptions_are_capped),
        cmocka_unit_test(options_and_their_defaults),
        cmocka_unit_test(options_of_version_5),
        cmocka_unit_test(bad_options_name_what_was_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
