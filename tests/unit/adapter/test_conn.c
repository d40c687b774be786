// The life of an MQTT connection against a scripted broker: connect, refusals, deadlines, keep-alive, reconnect,
// window.
#include "harness.h"

#define OPS (&mqtt_adapter)

static void connects_and_disconnects(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"keepAlive\":60}");
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    assert_int_equal(w.client.online, 0); // never inside the call
    assert_int_equal(OPS->conn_open(w.client.conn, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    WAIT(&w, w.client.online == 1);
    const uint8_t expected[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 5, 'd', 'e', 'v', '-', '1'};
    const struct packet *c = broker_got(&w.broker, MQTT_CONNECT, 0);
    assert_int_equal(c->n, sizeof expected);
    assert_memory_equal(c->body, expected, sizeof expected);
    assert_int_equal(metric(&w, "connects", "group:g").count, 1);
    assert_int_equal(metric(&w, "connect_latency", NULL).count, 1);
    assert_int_equal(metric(&w, "tcp_latency", NULL).count, 1);
    assert_int_equal((int)metric(&w, "devices_online", NULL).value, 1);
    assert_true(OPS->footprint(w.client.conn) <= 250);

    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    assert_int_equal(w.client.offline, 0); // not inside the call
    assert_int_equal(OPS->conn_open(w.client.conn, &err), -1);
    loop_turn(w.loop, 0);
    assert_int_equal(w.client.offline, 1);
    assert_int_equal(w.client.why.code, ERR_NONE);
    assert_int_equal(w.client.retries, 0);
    WAIT(&w, last_peer(&w)->closed);
    assert_int_equal(broker_count(&w.broker, MQTT_DISCONNECT), 1);
    assert_int_equal((int)metric(&w, "devices_online", NULL).value, 0);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL); // idempotent
    SETTLE(&w);
    assert_int_equal(w.client.offline, 1);
    client_connect(&w);
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT);
    WAIT(&w, last_peer(&w)->closed && w.client.offline == 2);
    assert_int_equal(broker_count(&w.broker, MQTT_DISCONNECT), 1);
    world_destroy(&w);
}

static void connect_carries_identity_and_will(void **state)
{
    (void)state;
    struct world w;
    world_create(&w, "{\"keepAlive\":0,\"willQos\":1,\"willRetain\":true,\"cleanSession\":false}");
    w.client.user = "u";
    w.client.password = "pw";
    w.client.will_topic = "a/will";
    w.client.will_payload = "gone";
    client_connect(&w);
    const uint8_t expected[] = {0,   4,   'M', 'Q', 'T', 'T', 4,   0xec, 0,   0,   0,   5,   'd',
                                'e', 'v', '-', '1', 0,   6,   'a', '/',  'w', 'i', 'l', 'l', 0,
                                4,   'g', 'o', 'n', 'e', 0,   1,   'u',  0,   2,   'p', 'w'};
    const struct packet *c = broker_got(&w.broker, MQTT_CONNECT, 0);
    assert_int_equal(c->n, sizeof expected);
    assert_memory_equal(c->body, expected, sizeof expected);
    world_destroy(&w);
}

static void a_bad_identity_is_not_retried(void **state)
{
    (void)state;
    static const struct {
        const char *id, *user, *password, *will_topic;
        int fails;
        const char *text;
    } cases[] = {{"x", NULL, NULL, NULL, 1, "identity template"},
                 {"", NULL, NULL, NULL, 0, "client id"},
                 {"x", NULL, "pw", NULL, 0, "user name"},
                 {"x", NULL, NULL, "a/#", 0, "wildcard"},
                 {"\xff", NULL, NULL, NULL, 0, "UTF-8"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct error err;
        world_create(&w, "{\"cleanSession\":false}");
        w.client.client_id = cases[i].id;
        w.client.user = cases[i].user;
        w.client.password = cases[i].password;
        w.client.will_topic = cases[i].will_topic;
        w.client.identity_fails = cases[i].fails;
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, w.client.offline == 1);
        assert_int_equal(w.client.retries, 0);
        assert_int_equal(w.client.why.code, ERR_INVALID);
        assert_non_null(strstr(w.client.why.text, cases[i].text));
        world_destroy(&w);
    }
}

static void every_refusal_is_told(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":false}");
    for (int code = 1; code <= 5; code++) {
        char tag[32];
        w.broker.connack = code;
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, w.client.offline == (unsigned)code);
        assert_int_equal(w.client.why.code, ERR_REFUSED);
        assert_non_null(strstr(w.client.why.text, mqtt_connack_text((uint8_t)code)));
        assert_int_equal(w.client.retries, 0);
        snprintf(tag, sizeof tag, "reason:connack-%d", code);
        assert_int_equal(metric(&w, "connect_failures", tag).count, 1);
    }
    assert_int_equal(w.client.online, 0);
    assert_int_equal(metric(&w, "connect_errors", NULL).hits, 5);
    assert_int_equal(metric(&w, "connect_errors", NULL).count, 5);
    world_destroy(&w);
}

// What the broker answers to CONNECT, and what the device must say about it.
static void bad_answers_to_connect(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, ERR_PROTOCOL, "2.2.2"}, // 'H' = PUBACK with flags 8
        {"\x00\x00", 2, ERR_PROTOCOL, "2.2.1"},
        {"\xf0\x00", 2, ERR_PROTOCOL, "2.2.1"},
        {"\x21\x02\x00\x00", 4, ERR_PROTOCOL, "2.2.2"},
        {"\x20\x03\x00\x00\x00", 5, ERR_PROTOCOL, "3.2.1"},
        {"\x20\x02\x02\x00", 4, ERR_PROTOCOL, "3.2.2.1"},
        {"\x20\x02\x00\x06", 4, ERR_PROTOCOL, "3.2.2.3"},
        {"\x20\x02\x01\x05", 4, ERR_PROTOCOL, "3.2.2-4"},
        {"\x20\x02\x01\x00", 4, ERR_PROTOCOL, "3.2.2-1"}, // session present after a clean session
        {"\xd0\x00", 2, ERR_PROTOCOL, "3.2.0-1"},
        {"\x20\x80\x80\x80\x80\x01", 6, ERR_PROTOCOL, "2.2.3"},
        {"\x30\xff\xff\xff\x7f", 5, ERR_LIMIT, "maxPacket"},
        {"\x20", 1, ERR_CLOSED, "closed"}, // mid-packet
        {"\x20\x02\x00", 3, ERR_CLOSED, "closed"},
        {"", 0, ERR_CLOSED, "closed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct error err;
        world_create(&w, "{\"reconnect\":false}");
        w.broker.connack = -1;
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 1);
        peer_write(last_peer(&w), cases[i].bytes, cases[i].n);
        if (cases[i].code == ERR_CLOSED)
            peer_close(last_peer(&w), false);
        WAIT(&w, w.client.offline == 1);
        if (w.client.why.code != cases[i].code || !strstr(w.client.why.text, cases[i].text))
            fail_msg("case %zu: %s", i, w.client.why.text);
        assert_int_equal(w.client.online, 0);
        world_destroy(&w);
    }
}

static void a_silent_broker_meets_the_deadline(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":false,\"connectTimeout\":\"60ms\"}");
    w.broker.connack = -1;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.why.text, "no CONNACK within 60"));
    assert_int_equal(metric(&w, "connect_failures", "reason:timeout").count, 1);
    world_destroy(&w);
}

static void refused_tcp_and_reset(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":false}");
    client_connect(&w);
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_CLOSED);
    assert_int_equal(metric(&w, "disconnects", "reason:closed").count, 1);
    broker_stop(&w.broker);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 2);
    assert_int_equal(w.client.why.code, ERR_REFUSED);
    assert_non_null(strstr(w.client.why.text, "mqtt://127.0.0.1:"));
    assert_int_equal(metric(&w, "connect_failures", "reason:refused").count, 1);
    world_destroy(&w);
}

static void reconnects_with_backoff(void **state)
{
    (void)state;
    struct world w;
    world_create(&w, "{\"reconnect\":{\"initial\":\"10ms\",\"max\":\"40ms\",\"jitter\":false}}");
    client_connect(&w);
    broker_stop(&w.broker);
    int64_t from = loop_fresh_us(w.loop);
    WAIT(&w, w.client.offline == 4); // lost, then refused after 10, 10, 20 ms
    assert_true(loop_fresh_us(w.loop) - from >= 40000);
    assert_int_equal(w.client.retries, 4);
    broker_start(&w.broker, w.loop);
    WAIT(&w, w.client.online == 2);
    assert_int_equal(metric(&w, "reconnects", NULL).count, 1);
    assert_int_equal((int)metric(&w, "devices_online", NULL).value, 1);
    world_destroy(&w);
}

static void attempts_are_limited(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":{\"initial\":\"1ms\",\"attempts\":3}}");
    broker_stop(&w.broker);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 3);
    SETTLE(&w);
    assert_int_equal(w.client.offline, 3);
    assert_int_equal(w.client.retries, 2);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0); // and the owner may begin anew
    WAIT(&w, w.client.offline == 6);
    world_destroy(&w);
}

static void close_while_connecting_or_waiting(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":{\"initial\":\"1h\",\"max\":\"1h\"}}");
    w.broker.connack = -1;
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    SETTLE(&w);
    assert_int_equal(w.client.offline, 0); // was offline
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL); // waiting
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 1);
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT); // handshake
    WAIT(&w, w.client.offline == 2);
    broker_stop(&w.broker);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 3);
    assert_int_equal(w.client.why.code, ERR_REFUSED);
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT); // backoff
    WAIT(&w, w.client.offline == 4);
    assert_int_equal(w.client.why.code, ERR_NONE);
    SETTLE(&w);
    assert_int_equal(w.client.offline, 4);
    world_destroy(&w);
}

static void ping_only_when_nothing_was_sent(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"keepAlive\":1,\"reconnect\":false}");
    client_connect(&w);
    int64_t from = loop_fresh_us(w.loop), next = from;
    while (loop_fresh_us(w.loop) < from + 1500000) {
        if (loop_fresh_us(w.loop) >= next) {
            assert_int_equal(client_publish(&w.client, "t", "x", 0, 0, &err), 0);
            next += 300000;
        }
        loop_turn(w.loop, 20000);
    }
    assert_int_equal(broker_count(&w.broker, MQTT_PINGREQ), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PINGREQ) == 1);
    assert_true(loop_fresh_us(w.loop) - (next - 300000) >= 890000);
    // Idle from here on: the next one is sent before the keep-alive has passed since the last (3.1.2-23).
    int64_t sent = ((struct mqtt_conn *)(void *)w.client.conn)->since_us;
    w.broker.no_pingresp = true; // half-open from here on: found within 1.5 keep-alives of the last answer
    WAIT(&w, broker_count(&w.broker, MQTT_PINGREQ) == 2);
    int64_t gap = ((struct mqtt_conn *)(void *)w.client.conn)->since_us - sent;
    assert_in_range(gap, 880000, 1000000);
    from = loop_fresh_us(w.loop);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.why.text, "PINGRESP"));
    assert_true(loop_fresh_us(w.loop) - from >= 400000);
    assert_int_equal(broker_count(&w.broker, MQTT_PINGREQ), 2);
    world_destroy(&w);
}

// The keep-alive runs from CONNECT, not from an answer that came late (3.1.2-23).
static void a_late_connack_does_not_delay_the_ping(void **state)
{
    (void)state;
    static const uint8_t connack[] = {0x20, 2, 0, 0};
    struct world w;
    struct error err;
    world_create(&w, "{\"keepAlive\":1,\"reconnect\":false}");
    w.broker.connack = -1;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 1);
    int64_t from = loop_fresh_us(w.loop);
    WAIT(&w, loop_fresh_us(w.loop) > from + 700000);
    peer_write(last_peer(&w), connack, sizeof connack);
    WAIT(&w, broker_count(&w.broker, MQTT_PINGREQ) == 1);
    assert_in_range(((struct mqtt_conn *)(void *)w.client.conn)->since_us - from, 800000, 1000000);
    world_destroy(&w);
}

static void the_connect_window_holds(void **state)
{
    (void)state;
    struct world w;
    struct client many[20];
    struct error err;
    world_create(&w, "{\"connectWindow\":3,\"reconnect\":false}");
    w.broker.connack = -1;
    for (int i = 0; i < 20; i++) {
        client_create(&w, &many[i], "many");
        assert_int_equal(OPS->conn_open(many[i].conn, &err), 0);
    }
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 3);
    SETTLE(&w);
    assert_int_equal(w.broker.n_peers, 3);
    OPS->conn_delete(many[1].conn);  // a place becomes free: by deletion while connecting,
    OPS->conn_delete(many[10].conn); // (this one only waited)
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 4);
    peer_close(&w.broker.peers[2], false); // by failure,
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 5);
    w.broker.connack = 0; // and by success
    peer_write(&w.broker.peers[0], "\x20\x02\x00\x00", 4);
    for (unsigned seen = 3; seen < 5; seen++)
        peer_write(&w.broker.peers[seen], "\x20\x02\x00\x00", 4);
    WAIT(&w, metric(&w, "devices_online", NULL).value == 17);
    assert_int_equal(w.broker.n_peers, 19);
    for (int i = 0; i < 20; i++)
        if (i != 1 && i != 10)
            OPS->conn_delete(many[i].conn);
    assert_int_equal((int)metric(&w, "devices_online", NULL).value, 0);
    world_destroy(&w);
}

static void delete_in_hook(struct client *cl, const char *event)
{
    (void)event;
    if (cl->conn)
        OPS->conn_delete(cl->conn);
    cl->conn = NULL;
}

// conn_delete inside each event: nothing comes after it and nothing is touched (the sanitizers watch).
static void deletion_inside_events(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct world w;
        struct error err;
        world_create(&w, NULL);
        struct client *cl = &w.client;
        if (kind > 0)
            client_connect(&w);
        cl->hook = delete_in_hook;
        switch (kind) {
        case 0: // online
            assert_int_equal(OPS->conn_open(cl->conn, &err), 0);
            break;
        case 1: // message, more bytes behind it and half a packet
            peer_publish(last_peer(&w), "t", "1", 2, 7, false);
            peer_publish(last_peer(&w), "t", "2", 1, 8, false);
            peer_write(last_peer(&w), "\x30\x50xx", 4);
            break;
        case 2: // done by PUBACK
            assert_int_equal(client_publish(cl, "t", "x", 1, 5, &err), 0);
            break;
        case 3: // done by the loss of the connection, two of them
            w.broker.no_suback = true;
            assert_int_equal(OPS->subscribe(cl->conn, "a", 0, 5, &err), 0);
            assert_int_equal(OPS->subscribe(cl->conn, "b", 0, 6, &err), 0);
            SETTLE(&w);
            peer_close(last_peer(&w), false);
            break;
        case 4: // offline asked for
            OPS->conn_close(cl->conn, ADAPTER_GRACEFUL);
            break;
        }
        WAIT(&w, !cl->conn);
        SETTLE(&w);
        assert_int_equal(cl->n_done + cl->n_messages, kind >= 1 && kind <= 3 ? 1 : 0);
        assert_int_equal(cl->offline, kind == 4);
        world_destroy(&w);
    }
}

static void reopen_in_hook(struct client *cl, const char *event)
{
    struct error err;
    if (strcmp(event, "offline") == 0 && cl->offline < 5)
        assert_int_equal(OPS->conn_open(cl->conn, &err), 0);
}

static void reopening_inside_on_offline(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, "{\"reconnect\":false}");
    broker_stop(&w.broker);
    w.client.hook = reopen_in_hook;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 5);
    world_destroy(&w);
}

static void a_name_is_resolved_and_every_address_tried(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    char url[64];
    world_create(&w, NULL);
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    snprintf(url, sizeof url, "localhost:%u", w.broker.port); // ::1 (refused) and 127.0.0.1, in whatever order
    w.target = OPS->target_new(&w.env, url, NULL, "g", &err);
    assert_non_null(w.target);
    client_create(&w, &w.client, "x");
    client_connect(&w);
    assert_int_equal(metric(&w, "connect_errors", NULL).hits, 0);
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    w.target = OPS->target_new(&w.env, "no-such-host.invalid:1883", NULL, "g", &err);
    client_create(&w, &w.client, "x");
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_RESOLVE);
    assert_int_equal(w.client.retries, 1);
    world_destroy(&w);
}

static void a_source_address_is_bound(void **state)
{
    (void)state;
    struct world w;
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    struct error err;
    world_create(&w, "{\"source\":\"127.0.0.77\",\"reconnect\":false}");
    client_connect(&w);
    assert_int_equal(getpeername(last_peer(&w)->fd, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(ntohl(addr.sin_addr.s_addr), 0x7f00004d);
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    w.target = make_target(&w, "{\"source\":[\"::1\",\"127.0.0.5\",\"127.0.0.6\"],\"reconnect\":false}"); // in turn
    client_create(&w, &w.client, "x");
    uint32_t last = 0;
    for (unsigned i = 0; i < 4; i++) {
        client_connect(&w);
        assert_int_equal(getpeername(last_peer(&w)->fd, (struct sockaddr *)&addr, &len), 0);
        uint32_t source = ntohl(addr.sin_addr.s_addr);
        assert_true(source == 0x7f000005 || source == 0x7f000006);
        assert_true(!i || source != last);
        last = source;
        OPS->conn_close(w.client.conn, ADAPTER_ABRUPT);
        WAIT(&w, w.client.offline == i + 1);
    }
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    w.target = make_target(&w, "{\"reconnect\":false}"); // many on loopback: spread
    sources_spread_above(((struct mqtt_target *)(void *)w.target)->sources, 1);
    struct client first;
    client_create(&w, &w.client, "x");
    client_connect(&w);
    assert_int_equal(getpeername(last_peer(&w)->fd, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(ntohl(addr.sin_addr.s_addr), 0x7f000001);
    first = w.client;
    client_create(&w, &w.client, "y");
    client_connect(&w);
    assert_int_equal(getpeername(last_peer(&w)->fd, (struct sockaddr *)&addr, &len), 0);
    assert_true(ntohl(addr.sin_addr.s_addr) >= 0x7f000002 && ntohl(addr.sin_addr.s_addr) <= 0x7f00001f);
    OPS->conn_delete(first.conn);
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    w.target = make_target(&w, "{\"source\":\"::1\"}");
    client_create(&w, &w.client, "x");
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_INVALID);
    assert_int_equal(w.client.retries, 0);
    world_destroy(&w);
}

static void bad_targets(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, NULL);
    static const struct {
        const char *url, *options;
        enum error_code code;
    } cases[] = {{"http://h", NULL, ERR_UNSUPPORTED},
                 {"mqtt://h/path", NULL, ERR_INVALID},
                 {"mqtts://h/path", NULL, ERR_INVALID},
                 {"mqtt://", NULL, ERR_INVALID},
                 {"mqtt://h:0", NULL, ERR_INVALID},
                 {"mqtt://h", "{\"tls\":{}}", ERR_INVALID},
                 {"ws://h", "{\"tls\":{}}", ERR_INVALID},
                 {"mqtts://h", "{\"websocket\":{}}", ERR_INVALID},
                 {"mqtts://h", "{\"tls\":{\"cA\":1}}", ERR_INVALID},
                 {"mqtt://h", "{\"source\":\"localhost\"}", ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *options = cases[i].options ? json_loads(cases[i].options, 0, NULL) : NULL;
        assert_null(OPS->target_new(&w.env, cases[i].url, options, "g", &err));
        if (err.code != cases[i].code)
            fail_msg("%s: %s", cases[i].url, err.text);
        json_decref(options);
    }
    assert_ptr_equal(adapter_find("wss"), OPS);
    assert_ptr_equal(adapter_find("mqtt"), OPS);
    assert_null(adapter_find("gopher"));
    assert_string_equal(adapter_names()[0], "mqtt");
    world_destroy(&w);
}

static void a_frozen_connection_is_half_open(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    struct adapter_message m = {
        .topic = "t", .topic_len = 1, .payload = (const uint8_t *)"p", .payload_len = 1, .qos = 1};
    world_create(&w, "{\"keepAlive\":1,\"reconnect\":{\"initial\":\"10ms\",\"jitter\":false}}");
    assert_true(ADAPTER_HAS(OPS, conn_freeze));
    OPS->conn_freeze(w.client.conn, true); // not open: nothing
    client_connect(&w);
    OPS->conn_freeze(w.client.conn, true);
    peer_publish(last_peer(&w), "x", "y", 0, 0, false);
    assert_int_equal(OPS->publish(w.client.conn, &m, 7, &err), 0);
    int64_t until = loop_fresh_us(w.loop) + 1700000; // beyond a keep-alive and a half
    WAIT(&w, loop_fresh_us(w.loop) > until);
    assert_int_equal(w.client.n_messages, 0);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 0);
    assert_int_equal(broker_count(&w.broker, MQTT_PINGREQ), 0);
    assert_int_equal(w.client.offline, 0);
    OPS->conn_freeze(w.client.conn, false);
    WAIT(&w, w.client.n_messages == 1 && w.client.n_done == 1 && broker_count(&w.broker, MQTT_PINGREQ));
    assert_int_equal(w.client.offline, 0);
    // The broker has given it up meanwhile: noticed when it thaws, and it comes back.
    OPS->conn_freeze(w.client.conn, true);
    peer_close(last_peer(&w), false);
    SETTLE(&w);
    assert_int_equal(w.client.offline, 0);
    OPS->conn_freeze(w.client.conn, false);
    WAIT(&w, w.client.offline == 1 && w.client.online == 2);
    OPS->conn_freeze(w.client.conn, true); // deleted frozen
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects_and_disconnects),
        cmocka_unit_test(connect_carries_identity_and_will),
        cmocka_unit_test(a_bad_identity_is_not_retried),
        cmocka_unit_test(every_refusal_is_told),
        cmocka_unit_test(bad_answers_to_connect),
        cmocka_unit_test(a_silent_broker_meets_the_deadline),
        cmocka_unit_test(refused_tcp_and_reset),
        cmocka_unit_test(reconnects_with_backoff),
        cmocka_unit_test(attempts_are_limited),
        cmocka_unit_test(close_while_connecting_or_waiting),
        cmocka_unit_test(ping_only_when_nothing_was_sent),
        cmocka_unit_test(a_late_connack_does_not_delay_the_ping),
        cmocka_unit_test(the_connect_window_holds),
        cmocka_unit_test(deletion_inside_events),
        cmocka_unit_test(reopening_inside_on_offline),
        cmocka_unit_test(a_name_is_resolved_and_every_address_tried),
        cmocka_unit_test(a_source_address_is_bound),
        cmocka_unit_test(a_frozen_connection_is_half_open),
        cmocka_unit_test(bad_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
