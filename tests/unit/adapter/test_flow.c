// Messages in both directions: QoS flows with lost acknowledgements, sessions, queue, window, subscriptions.
#include "harness.h"

#define OPS (&mqtt_adapter)
#define FAST "\"reconnect\":{\"initial\":\"1ms\",\"max\":\"5ms\"}"

static void qos_0_1_2_out(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, NULL);
    assert_int_equal(client_publish(&w.client, "t", "x", 0, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    client_connect(&w);
    assert_int_equal(client_publish(&w.client, "t/0", "zero", 0, 1, &err), 0);
    assert_int_equal(client_publish(&w.client, "t/1", "one", 1, 2, &err), 0);
    assert_int_equal(client_publish(&w.client, "t/2", "", 2, 3, &err), 0);
    assert_int_equal(OPS->pending(w.client.conn), 3); // two in flight, and bytes to write
    WAIT(&w, w.client.n_done == 2);
    assert_int_equal(w.client.done[0].token, 2);
    assert_int_equal(w.client.done[1].token, 3);
    assert_int_equal(w.client.done[1].code, ERR_NONE);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->payload, "zero");
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->first, 0x32);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 2)->first, 0x34);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBREL, 0)->id, broker_got(&w.broker, MQTT_PUBLISH, 2)->id);
    assert_int_equal(OPS->pending(w.client.conn), 0);
    assert_true(OPS->footprint(w.client.conn) <= 250); // the session is gone again
    assert_int_equal(metric(&w, "messages_sent", NULL).count, 3);
    assert_int_equal(metric(&w, "messages_acked", NULL).count, 2);
    assert_int_equal(metric(&w, "publish_latency", NULL).count, 2);
    assert_int_equal(metric(&w, "publish_errors", NULL).count, 5);
    assert_int_equal(metric(&w, "publish_errors", NULL).hits, 2);
    struct link_totals totals;
    link_env_totals(w.env.links, &totals);
    assert_int_equal(metric(&w, "bytes_sent", NULL).count, totals.bytes_out);
    assert_int_equal(metric(&w, "bytes_received", NULL).count, totals.bytes_in);
    world_destroy(&w);
}

static void bad_publishes(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    struct adapter_message m = {.topic = "a\0b", .topic_len = 3};
    world_create(&w, NULL);
    client_connect(&w);
    static const char *const topics[] = {"", "a/+", "#", "\xc3", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        assert_int_equal(client_publish(&w.client, topics[i], "x", 0, 0, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    m = (struct adapter_message){.topic = "t", .topic_len = 1, .qos = 3};
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    char *big = calloc(1, 70000);
    memset(big, 'a', 69999);
    m = (struct adapter_message){.topic = big, .topic_len = 65536};
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    m = (struct adapter_message){
        .topic = "t", .topic_len = 1, .payload = (uint8_t *)big, .payload_len = 2 << 20, .qos = 1};
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1); // over the cap before a byte is read
    assert_int_equal(err.code, ERR_LIMIT);
    free(big);
    assert_int_equal(OPS->pending(w.client.conn), 0);
    world_destroy(&w);
}

static void receives_every_qos(void **state)
{
    (void)state;
    struct world w;
    world_create(&w, NULL);
    client_connect(&w);
    struct peer *p = last_peer(&w);
    peer_publish(p, "a", "0", 0, 0, false);
    peer_publish(p, "b", "1", 1, 10, false);
    peer_publish(p, "c", "2", 2, 11, false);
    peer_publish(p, "c", "2", 2, 11, true); // sent again: answered, not delivered
    peer_publish(p, "b", "1", 1, 10, true); // QoS 1 may come twice
    WAIT(&w, broker_count(&w.broker, MQTT_PUBREC) == 2 && broker_count(&w.broker, MQTT_PUBACK) == 2);
    assert_int_equal(w.client.n_messages, 4);
    assert_string_equal(w.client.messages[2].payload, "2");
    assert_true(w.client.messages[3].duplicate);
    peer_ack(p, MQTT_PUBREL, 11);
    peer_ack(p, MQTT_PUBREL, 11); // lost PUBCOMP: asked again
    WAIT(&w, broker_count(&w.broker, MQTT_PUBCOMP) == 2);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBCOMP, 1)->id, 11);
    peer_publish(p, "c", "3", 2, 11, false); // the id is free again
    WAIT(&w, w.client.n_messages == 5);
    assert_int_equal(metric(&w, "messages_received", NULL).count, 5);
    world_destroy(&w);
}

// The broker takes the message and dies before it acknowledges; what comes after the reconnect depends on the session.
static void lost_acks(void **state)
{
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        struct world w;
        struct error err;
        world_create(&w, persistent ? "{\"cleanSession\":false," FAST "}" : "{" FAST "}");
        client_connect(&w);
        w.broker.no_puback = w.broker.no_pubcomp = true;
        assert_int_equal(client_publish(&w.client, "one", "1", 1, 1, &err), 0);
        assert_int_equal(client_publish(&w.client, "two", "2", 2, 2, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_PUBREL) == 1); // QoS 2 is half way
        w.broker.no_pubrec = true;
        assert_int_equal(client_publish(&w.client, "two", "3", 2, 3, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3);
        uint16_t first_id = broker_got(&w.broker, MQTT_PUBLISH, 0)->id;
        w.broker.session_present = persistent;
        w.broker.n_packets = 0;
        w.broker.no_puback = w.broker.no_pubrec = w.broker.no_pubcomp = false;
        peer_close(last_peer(&w), true);
        WAIT(&w, w.client.n_done == 3);
        assert_int_equal(w.client.online, 2);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(w.client.done[i].code, ERR_NONE);
        assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), persistent ? 2 : 3);
        const struct packet *one = broker_got(&w.broker, MQTT_PUBLISH, 0);
        assert_string_equal(one->payload, "1");
        assert_int_equal(one->first, persistent ? 0x3a : 0x32); // DUP only where the broker knows it
        assert_int_equal(one->id, first_id);
        assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, persistent ? 1 : 2)->payload, "3");
        assert_int_equal(broker_count(&w.broker, MQTT_PUBREL), 2); // one of them without its PUBLISH if persistent
        assert_int_equal(metric(&w, "messages_sent", NULL).count, 3);
        assert_int_equal(metric(&w, "messages_resent", NULL).count, persistent ? 2 : 3);
        assert_int_equal(OPS->pending(w.client.conn), 0);
        world_destroy(&w);
    }
}

static void a_persistent_session_survives_close(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"cleanSession\":false,\"reconnect\":false}");
    client_connect(&w);
    w.broker.no_puback = true;
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 9, &err), 0);
    peer_publish(last_peer(&w), "in", "y", 2, 5, false);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1 && w.client.n_messages == 1);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.n_done, 0);
    assert_int_equal(OPS->pending(w.client.conn), 1);
    w.broker.session_present = true;
    w.broker.no_puback = false;
    client_connect(&w);
    assert_true(w.client.session_present);
    WAIT(&w, w.client.n_done == 1);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->first, 0x3a);
    peer_publish(last_peer(&w), "in", "y", 2, 5, true); // known from the last connection
    WAIT(&w, broker_count(&w.broker, MQTT_PUBREC) == 2);
    assert_int_equal(w.client.n_messages, 1);
    world_destroy(&w);
}

static void a_clean_session_ends_with_close(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{" FAST ",\"inflight\":1}");
    client_connect(&w);
    w.broker.no_puback = w.broker.no_suback = true;
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 1, &err), 0);
    assert_int_equal(client_publish(&w.client, "t", "y", 1, 2, &err), 0);
    assert_int_equal(OPS->subscribe(w.client.conn, "s", 1, 3, &err), 0);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    assert_int_equal(client_publish(&w.client, "t", "z", 1, 4, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.n_done, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w.client.done[i].code, ERR_CANCELLED);
    assert_int_equal(OPS->pending(w.client.conn), 0);
    assert_int_equal(metric(&w, "messages_dropped", "reason:cancelled").count, 2);
    world_destroy(&w);
}

static void messages_wait_while_reconnecting(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{" FAST "}");
    client_connect(&w);
    uint16_t port = w.broker.port;
    broker_stop(&w.broker);
    WAIT(&w, w.client.offline >= 2);
    assert_int_equal(client_publish(&w.client, "t", "kept", 1, 1, &err), 0);
    assert_int_equal(client_publish(&w.client, "t", "not kept", 0, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    w.broker.port = port;
    broker_start(&w.broker, w.loop);
    WAIT(&w, w.client.n_done == 1);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->payload, "kept");
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->first, 0x32);
    world_destroy(&w);
}

static void giving_up_drops_with_a_reason(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":false}");
    client_connect(&w);
    w.broker.no_puback = true;
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 1, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1);
    peer_close(last_peer(&w), false);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.n_done, 1);
    assert_int_equal(w.client.done[0].code, ERR_CLOSED);
    assert_int_equal(metric(&w, "messages_dropped", "reason:closed").count, 1);
    assert_int_equal(metric(&w, "publish_errors", NULL).hits, 1);
    world_destroy(&w);
}

static void the_window_and_a_full_queue(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        struct world w;
        struct error err;
        char text[8];
        world_create(&w, drop ? "{\"inflight\":2,\"queue\":{\"max\":3,\"full\":\"drop_oldest\"}}"
                              : "{\"inflight\":2,\"queue\":{\"max\":3,\"full\":\"reject\"}}");
        client_connect(&w);
        w.broker.no_puback = true;
        for (unsigned i = 1; i <= 5; i++) { // two in flight, three in the queue
            snprintf(text, sizeof text, "%u", i);
            assert_int_equal(client_publish(&w.client, "t", text, 1, i, &err), 0);
        }
        if (drop) {
            assert_int_equal(client_publish(&w.client, "t", "6", 1, 6, &err), 0);
            assert_int_equal(w.client.n_done, 0); // not inside publish
            WAIT(&w, w.client.n_done == 1);
            assert_int_equal(w.client.done[0].token, 3); // the oldest that was never sent
            assert_int_equal(w.client.done[0].code, ERR_LIMIT);
            assert_int_equal(metric(&w, "messages_dropped", "reason:limit").count, 1);
            assert_int_equal(client_publish(&w.client, "t", "7", 1, 7, &err), 0); // deleted below before it is told
        } else {
            assert_int_equal(client_publish(&w.client, "t", "6", 1, 6, &err), -1);
            assert_int_equal(err.code, ERR_LIMIT);
            assert_non_null(strstr(err.text, "queue is full"));
        }
        if (!drop) {
            WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 2);
            SETTLE(&w);
            assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 2); // the window holds
            peer_ack(last_peer(&w), MQTT_PUBACK, broker_got(&w.broker, MQTT_PUBLISH, 0)->id);
            WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3);
            w.broker.no_puback = false;
            peer_ack(last_peer(&w), MQTT_PUBACK, broker_got(&w.broker, MQTT_PUBLISH, 1)->id);
            peer_ack(last_peer(&w), MQTT_PUBACK, broker_got(&w.broker, MQTT_PUBLISH, 2)->id);
            WAIT(&w, w.client.n_done == 5);
            for (unsigned i = 0; i < 5; i++)
                assert_int_equal(w.client.done[i].token, i + 1);
        }
        world_destroy(&w);
    }
}

static void the_queue_is_capped_in_bytes(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"inflight\":1,\"queue\":{\"bytes\":20,\"full\":\"drop_oldest\"}}");
    client_connect(&w);
    w.broker.no_puback = true;
    assert_int_equal(client_publish(&w.client, "t", "in flight, does not count", 1, 1, &err), 0);
    assert_int_equal(client_publish(&w.client, "t", "123456789", 1, 2, &err), 0);
    assert_int_equal(client_publish(&w.client, "t", "123456789", 1, 3, &err), 0);
    assert_int_equal(client_publish(&w.client, "t", "0123456789012345678", 1, 4, &err), 0); // 20: pushes out both
    WAIT(&w, w.client.n_done == 2);
    assert_int_equal(client_publish(&w.client, "t", "01234567890123456789", 1, 5, &err), -1); // 21: never
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(OPS->pending(w.client.conn), 2);
    world_destroy(&w);
}

static void subscriptions(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{" FAST "}");
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 0, 1, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    client_connect(&w);
    static const char *const bad[] = {"", "a/#/b", "a+", "#a", "a/b#", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(OPS->subscribe(w.client.conn, bad[i], 0, 1, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 3, 1, &err), -1);
    w.broker.suback = 1;
    assert_int_equal(OPS->subscribe(w.client.conn, "a/+/#", 2, 1, &err), 0);
    assert_int_equal(OPS->subscribe(w.client.conn, "b", 1, 2, &err), 0);
    WAIT(&w, w.client.n_done == 2);
    assert_int_equal(w.client.done[0].qos, 1); // what was granted
    w.broker.suback = 0x80;
    assert_int_equal(OPS->subscribe(w.client.conn, "refused", 1, 3, &err), 0);
    WAIT(&w, w.client.n_done == 3);
    assert_int_equal(w.client.done[2].code, ERR_REFUSED);
    assert_int_equal(OPS->unsubscribe(w.client.conn, "b", 4, &err), 0);
    WAIT(&w, w.client.n_done == 4);
    assert_int_equal(w.client.done[3].code, ERR_NONE);
    assert_int_equal(metric(&w, "subscribe_latency", NULL).count, 3);
    // A reconnect without session: what is held is subscribed anew, and the owner is not told.
    w.broker.suback = 1;
    w.broker.n_packets = 0;
    peer_close(last_peer(&w), false);
    WAIT(&w, w.client.online == 2 && broker_count(&w.broker, MQTT_SUBSCRIBE) == 1);
    assert_string_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 0)->topic, "a/+/#");
    assert_int_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 0)->body[9], 2);
    SETTLE(&w);
    assert_int_equal(w.client.n_done, 4);
    // Lost with the connection: told.
    w.broker.no_suback = true;
    assert_int_equal(OPS->subscribe(w.client.conn, "c", 1, 5, &err), 0);
    SETTLE(&w);
    peer_close(last_peer(&w), false);
    WAIT(&w, w.client.n_done == 5);
    assert_int_equal(w.client.done[4].code, ERR_CLOSED);
    WAIT(&w, w.client.online == 3);
    for (unsigned i = 0; i < MQTT_MAX_REQUESTS - 1; i++) // one place is taken by the renewal of a/+/#
        assert_int_equal(OPS->subscribe(w.client.conn, "d", 1, 6, &err), 0);
    assert_int_equal(OPS->subscribe(w.client.conn, "d", 1, 6, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    world_destroy(&w);
}

// What an established connection must not swallow.
static void malformed_while_online(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {
        {"\x20\x02\x00\x00", 4, "3.2"},               // CONNACK twice
        {"\x36\x05\x00\x01t\x00\x01", 7, "3.3.1-4"},  // QoS 3
        {"\x38\x03\x00\x01t", 5, "3.3.1-2"},          // DUP with QoS 0
        {"\x30\x02\x00\x00", 4, "4.7.3"},             // empty topic
        {"\x30\x03\x00\x05t", 5, "3.3.2.1"},          // topic beyond the packet
        {"\x30\x01\x00", 3, "3.3.2.1"},               // not even a length
        {"\x30\x04\x00\x02\xc3\x28", 6, "1.5.3"},     // bad UTF-8
        {"\x30\x04\x00\x02\x61\x00", 6, "1.5.3"},     // NUL
        {"\x30\x05\x00\x03\xed\xa0\x80", 7, "1.5.3"}, // surrogate
        {"\x30\x05\x00\x03\x61/+", 7, "3.3.2-2"},     // wildcard
        {"\x32\x05\x00\x01t\x00\x00", 7, "2.3.1-1"},  // packet id 0
        {"\x32\x04\x00\x01t\x00", 6, "3.3.2.2"},      // half a packet id
        {"\x40\x02\x00\x00", 4, "2.3.1-1"},           // PUBACK 0
        {"\x40\x03\x00\x01\x00", 5, "3.4.1"},         // PUBACK too long
        {"\x50\x01\x00", 3, "3.5.1"},                 // PUBREC too short
        {"\x60\x02\x00\x01", 4, "2.2.2"},             // PUBREL without its flags
        {"\x62\x02\x00\x00", 4, "2.3.1-1"},           // PUBREL 0
        {"\x90\x02\x00\x01", 4, "3.9.3"},             // SUBACK without codes
        {"\x90\x03\x00\x00\x00", 5, "2.3.1-1"},       // SUBACK 0
        {"\x90\x03\x00\x01\x03", 5, "3.9.3-2"},       // SUBACK reserved code
        {"\x90\x04\x00\x01\x00\x00", 6, "3.9.3-1"},   // SUBACK with two codes for one filter
        {"\xb0\x02\x00\x00", 4, "2.3.1-1"},           // UNSUBACK 0
        {"\xd0\x01\x00", 3, "3.13.1"},                // PINGRESP with a body
        {"\xc0\x00", 2, "2.2.1"},                     // PINGREQ from a server
        {"\x10\x00", 2, "2.2.1"},                     // CONNECT
        {"\x82\x00", 2, "2.2.1"},                     // SUBSCRIBE
        {"\xe0\x00", 2, "2.2.1"},                     // DISCONNECT
        {"\x30\xff\xff\xff\xff\x01", 6, "2.2.3"},     // remaining length of five bytes
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct error err;
        world_create(&w, "{\"reconnect\":false}");
        client_connect(&w);
        w.broker.no_suback = true;
        assert_int_equal(OPS->subscribe(w.client.conn, "s", 0, 1, &err), 0); // packet id 1
        WAIT(&w, broker_count(&w.broker, MQTT_SUBSCRIBE) == 1);
        peer_write(last_peer(&w), cases[i].bytes, cases[i].n);
        WAIT(&w, w.client.offline == 1);
        if (w.client.why.code != ERR_PROTOCOL || !strstr(w.client.why.text, cases[i].text))
            fail_msg("case %zu: %s", i, w.client.why.text);
        assert_int_equal(w.client.n_messages, 0);
        assert_int_equal(w.client.n_done, 1);
        WAIT(&w, last_peer(&w)->closed);
        assert_int_equal(metric(&w, "disconnects", "reason:protocol").count, 1);
        world_destroy(&w);
    }
}

static void unknown_acks_are_counted_and_ignored(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, NULL);
    client_connect(&w);
    w.broker.no_puback = w.broker.no_pubrec = true;
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 1, &err), 0); // id 1
    assert_int_equal(client_publish(&w.client, "t", "x", 2, 2, &err), 0); // id 2
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 2);
    struct peer *p = last_peer(&w);
    peer_ack(p, MQTT_PUBACK, 99);
    peer_ack(p, MQTT_UNSUBACK, 9);
    peer_write(p, "\x90\x03\x00\x09\x00", 5);
    peer_write(p, "\xd0\x00", 2); // PINGRESP nobody asked for
    WAIT(&w, metric(&w, "acks_unknown", NULL).count == 3);
    assert_int_equal(w.client.offline, 0);
    assert_int_equal(w.client.n_done, 0);
    peer_ack(p, MQTT_PUBACK, 1);
    peer_ack(p, MQTT_PUBREC, 2);
    peer_ack(p, MQTT_PUBREC, 2); // twice: PUBREL twice
    WAIT(&w, w.client.n_done == 2);
    world_destroy(&w);
}

// A message that gets the acknowledgement of another QoS would wait for ever: it ends, and so does the connection.
static void acks_of_another_qos_are_violations(void **state)
{
    (void)state;
    static const struct {
        uint8_t qos;
        enum mqtt_type ack;
        const char *text;
    } cases[] = {{2, MQTT_PUBACK, "answered PUBACK to a message of QoS 2 (MQTT 4.3.3): it seems to have QoS 1 at most"},
                 {1, MQTT_PUBREC, "answered PUBREC to a message of QoS 1 (MQTT 4.3.2)"},
                 {2, MQTT_PUBCOMP, "answered PUBCOMP to a message of QoS 2 before its PUBREL"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int version = 4; version <= 5; version++) {
            struct world w;
            struct error err;
            world_create(&w, version == 5 ? "{\"version\":5,\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}}"
                                          : "{\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}}");
            w.broker.is5 = version == 5;
            client_connect(&w);
            w.broker.no_puback = w.broker.no_pubrec = true;
            assert_int_equal(client_publish(&w.client, "t", "x", cases[i].qos, 7, &err), 0);
            WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1);
            peer_ack(last_peer(&w), cases[i].ack, broker_got(&w.broker, MQTT_PUBLISH, 0)->id);
            WAIT(&w, w.client.online == 2);
            assert_int_equal(w.client.n_done, 1);
            assert_int_equal(w.client.done[0].token, 7);
            assert_int_equal(w.client.done[0].code, ERR_PROTOCOL);
            assert_non_null(strstr(w.client.done_text, cases[i].text));
            assert_non_null(strstr(w.client.why.text, cases[i].text));
            assert_int_equal(broker_count(&w.broker, MQTT_DISCONNECT), version == 5);
            SETTLE(&w);
            assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 1); // not again
            assert_int_equal(OPS->pending(w.client.conn), 0);
            assert_int_equal(metric(&w, "messages_dropped", "reason:protocol").count, 1);
            assert_int_equal(metric(&w, "disconnects", "reason:protocol").count, 1);
            world_destroy(&w);
        }
    }
}

static void packets_over_the_cap(void **state)
{
    (void)state;
    struct world w;
    char text[100];
    world_create(&w, "{\"maxPacket\":128,\"reconnect\":false}");
    client_connect(&w);
    memset(text, 'x', sizeof text);
    text[99] = '\0';
    peer_publish(last_peer(&w), "1234567890123456789012345", text, 0, 0, false); // 126 and the header: fits
    WAIT(&w, w.client.n_messages == 1);
    peer_publish(last_peer(&w), "12345678901234567890123456", text, 0, 0, false); // one more
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_LIMIT);
    world_destroy(&w);
}

// A broker that takes nothing: output grows to the cap, then QoS 0 is refused and acknowledgements end the connection.
static void a_deaf_broker(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    static char payload[60000];
    memset(payload, 'x', sizeof payload - 1);
    world_create(&w, "{\"reconnect\":false}");
    client_connect(&w);
    w.broker.deaf = true;
    unsigned taken = 0;
    int rc = 0;
    error_clear(&err);
    for (; taken < 5000 && rc == 0; taken++) {
        rc = client_publish(&w.client, "t", payload, 0, 0, &err);
        loop_turn(w.loop, 0);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(link_unsent(&((struct mqtt_conn *)(void *)w.client.conn)->link) <= 1 << 20);
    assert_true(OPS->pending(w.client.conn) > 0);
    assert_int_equal(w.client.offline, 0);
    assert_int_equal(client_publish(&w.client, "t", payload, 1, 1, &err), 0); // waits in the queue
    // It listens again: everything arrives, in order.
    struct peer *p = last_peer(&w);
    w.broker.deaf = false;
    ev_io_start(loop_ev(w.loop), &p->io);
    WAIT(&w, w.client.n_done == 1);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), taken - 1 + 1);
    world_destroy(&w);
}

static void pings_fail_when_nothing_can_be_written(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    static char payload[60000];
    memset(payload, 'x', sizeof payload - 1);
    world_create(&w, "{\"reconnect\":false,\"keepAlive\":1}");
    client_connect(&w);
    w.broker.deaf = true;
    while (client_publish(&w.client, "t", payload, 0, 0, &err) == 0)
        loop_turn(w.loop, 0);
    WAIT(&w, w.client.offline == 1);
    world_destroy(&w);
}

// A filter that cuts the stream into random pieces, both ways, and hands some of them on later.
struct cut_filter {
    struct link_filter f;
    struct rng rng;
    struct buf held;
    struct timer timer;
    struct loop *loop;
};

static void cut_later(struct timer *timer, void *loop)
{
    struct cut_filter *c = container_of(timer, struct cut_filter, timer);
    (void)loop;
    size_t n = c->held.len;
    assert_int_equal(link_filter_down(&c->f, c->held.data, n, NULL), 0);
    buf_clear(&c->held);
}

static int cut_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    struct cut_filter *c = container_of(f, struct cut_filter, f);
    assert_int_equal(buf_append(&c->held, bytes, n), 0);
    uint32_t now = (uint32_t)rng_below(&c->rng, c->held.len + 1);
    if (now && link_filter_down(f, c->held.data, now, err) < 0)
        return -1;
    buf_consume(&c->held, now);
    if (c->held.len)
        loop_timer_start(c->loop, &c->timer, 1000, cut_later);
    return 0;
}

static void cut_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    struct cut_filter *c = container_of(f, struct cut_filter, f);
    while (n) {
        size_t k = 1 + (size_t)rng_below(&c->rng, n < 7 ? n : 7);
        uint8_t piece[8]; // its own memory: an overrun shows
        memcpy(piece, bytes, k);
        link_filter_up(f, piece, k);
        bytes += k;
        n -= k;
    }
}

static size_t cut_held(const struct link_filter *f)
{
    return container_of(f, struct cut_filter, f)->held.len;
}

static void cut_destroy(struct link_filter *f)
{
    struct cut_filter *c = container_of(f, struct cut_filter, f);
    assert_null(f->link);
    loop_timer_stop(c->loop, &c->timer);
    buf_destroy(&c->held);
    free(c);
}

static const struct link_filter_type cut_type = {
    .name = "cut", .down = cut_down, .up = cut_up, .held = cut_held, .destroy = cut_destroy};

static void push_cut(void *arg, struct link *link)
{
    struct cut_filter *c = calloc(1, sizeof *c);
    c->f.type = &cut_type;
    c->loop = ((struct world *)arg)->loop;
    rng_seed(&c->rng, 7);
    buf_create(&c->held, 1 << 20);
    link_filter_push(link, link_filter_pass_new());
    link_filter_push(link, &c->f);
    link_filter_push(link, link_filter_pass_new());
}

static void a_cutting_filter_keeps_the_stream(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    struct link_env_config links = {.on_create = push_cut, .on_create_arg = &w};
    world_loop(&w, &links);
    broker_start(&w.broker, w.loop);
    w.target = make_target(&w, "{\"queue\":{\"max\":1000}," FAST "}");
    client_create(&w, &w.client, "cut");
    client_connect(&w);
    for (unsigned i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %u", i);
        assert_int_equal(client_publish(&w.client, "up", text, (uint8_t)(i % 3), i + 1, &err), 0);
        peer_publish(last_peer(&w), "down", text, (uint8_t)(i % 3), (uint16_t)(i + 1), false);
    }
    WAIT(&w, w.client.n_done == 66 && w.client.n_messages == 100);
    WAIT(&w, OPS->pending(w.client.conn) == 0);
    for (unsigned i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %u", i);
        assert_string_equal(w.client.messages[i].payload, text);
    }
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 100);
    assert_int_equal(w.client.offline, 0);
    peer_close(last_peer(&w), true); // filters die with the connection, new ones come with the next
    WAIT(&w, w.client.online == 2);
    assert_int_equal(client_publish(&w.client, "up", "again", 2, 1000, &err), 0);
    WAIT(&w, w.client.n_done == 67);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qos_0_1_2_out),
        cmocka_unit_test(bad_publishes),
        cmocka_unit_test(receives_every_qos),
        cmocka_unit_test(lost_acks),
        cmocka_unit_test(a_persistent_session_survives_close),
        cmocka_unit_test(a_clean_session_ends_with_close),
        cmocka_unit_test(messages_wait_while_reconnecting),
        cmocka_unit_test(giving_up_drops_with_a_reason),
        cmocka_unit_test(the_window_and_a_full_queue),
        cmocka_unit_test(the_queue_is_capped_in_bytes),
        cmocka_unit_test(subscriptions),
        cmocka_unit_test(malformed_while_online),
        cmocka_unit_test(unknown_acks_are_counted_and_ignored),
        cmocka_unit_test(acks_of_another_qos_are_violations),
        cmocka_unit_test(packets_over_the_cap),
        cmocka_unit_test(a_deaf_broker),
        cmocka_unit_test(pings_fail_when_nothing_can_be_written),
        cmocka_unit_test(a_cutting_filter_keeps_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
