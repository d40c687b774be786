// MQTT 5 against a scripted broker: CONNECT and its answers, limits of the server, violations, redirection,
// authentication.
#include "harness.h"

#define OPS (&mqtt_adapter)
#define V5(more) "{\"version\":5" more "}"

static void world5(struct world *w, const char *options, const char *connack, size_t n)
{
    world_create(w, options);
    w->broker.is5 = true;
    w->broker.connack_properties = connack;
    w->broker.connack_properties_len = (uint8_t)n;
}

static void connect_is_of_version_5(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(",\"maxPacket\":1000"), NULL, 0);
    client_connect(&w);
    const uint8_t expected[] = {0, 4, 'M', 'Q',  'T', 'T', 5,   2,   0,   60,  5,  39,
                                0, 0, 3,   0xe8, 0,   5,   'd', 'e', 'v', '-', '1'};
    const struct packet *c = broker_got(&w.broker, MQTT_CONNECT, 0);
    assert_int_equal(c->n, sizeof expected);
    assert_memory_equal(c->body, expected, sizeof expected);
    assert_int_equal(metric(&w, "connack_latency", NULL).count, 1);
    assert_true(OPS->footprint(w.client.conn) <= 512);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&w, last_peer(&w)->closed);
    assert_int_equal(broker_count(&w.broker, MQTT_DISCONNECT), 1);
    assert_int_equal(broker_got(&w.broker, MQTT_DISCONNECT, 0)->reason, 0);
    world_destroy(&w);
}

static void will_and_session_properties(void **state)
{
    (void)state;
    struct world w;
    world5(
        &w,
        V5(",\"cleanSession\":false,\"sessionExpiry\":\"10s\",\"keepAlive\":0,\"maxPacket\":1000,\"receiveMaximum\":9,"
           "\"topicAliasMaximum\":3,\"userProperties\":{\"k\":[\"v\",\"w\"]},\"willDelay\":5,\"willExpiry\":6,"
           "\"willContentType\":\"ct\",\"willQos\":1"),
        NULL, 0);
    w.client.will_topic = "w";
    w.client.will_payload = "gone";
    client_connect(&w);
    const uint8_t expected[] = {0, 4,  'M', 'Q', 'T', 'T', 5, 0x0c, 0,  0, 30, 17,  0, 0, 0,   10, 33, 0, 9, 34,  0,
                                3, 38, 0,   1,   'k', 0,   1, 'v',  38, 0, 1,  'k', 0, 1, 'w', 39, 0,  0, 3, 0xe8};
    const struct packet *c = broker_got(&w.broker, MQTT_CONNECT, 0);
    assert_memory_equal(c->body, expected, 10);
    assert_int_equal(c->body[10], 30);
    // Order is the encoder's: all of them are there.
    uint8_t seen[64] = {0};
    for (size_t at = 11; at < 41;) {
        uint8_t id = c->body[at];
        seen[id]++;
        at += id == 17 || id == 39 ? 5 : id == 33 || id == 34 ? 3 : 7;
    }
    assert_true(seen[17] == 1 && seen[39] == 1 && seen[33] == 1 && seen[34] == 1 && seen[38] == 2);
    const uint8_t *will = c->body + 41 + 7; // client id "dev-1"
    assert_int_equal(will[0], 15);          // delay, expiry, content type
    assert_non_null(memmem(will + 1, 15, "\x18\0\0\0\x05", 5));
    assert_non_null(memmem(will + 1, 15, "\x02\0\0\0\x06", 5));
    assert_non_null(memmem(will + 1, 15,
                           "\x03\0\x02"
                           "ct",
                           5));
    assert_memory_equal(will + 16, "\0\1w\0\4gone", 9);
    world_destroy(&w);
}

static void refusals_say_reason_and_text(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(",\"reconnect\":false"),
           "\x1f\0\x07"
           "no thx!",
           10);
    w.broker.connack = 0x87;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_REFUSED);
    assert_non_null(strstr(w.client.why.text, "not authorized (reason 0x87): no thx!"));
    assert_int_equal(metric(&w, "connect_failures", "reason:connack-0x87").count, 1);
    w.broker.connack_properties_len = 0;
    w.broker.connack = 0x99;
    for (unsigned i = 2; i < 4; i++) {
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, w.client.offline == i);
    }
    assert_int_equal(metric(&w, "connect_failures", "reason:connack-0x99").count, 2);
    world_destroy(&w);
}

static void the_server_says_why_it_disconnects(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(",\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"), NULL, 0);
    client_connect(&w);
    peer_write(last_peer(&w),
               "\xe0\x09\x8b\x07\x1f\0\x04"
               "down",
               11);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_CLOSED);
    assert_non_null(strstr(w.client.why.text, "server shutting down (reason 0x8b): down"));
    assert_int_equal(metric(&w, "disconnects", "reason:0x8b").count, 1);
    WAIT(&w, w.client.online == 2);
    assert_int_equal(broker_count(&w.broker, MQTT_DISCONNECT), 0); // a client does not answer one
    world_destroy(&w);
}

// Each: what the broker sends once the connection is up, the reason of the DISCONNECT that answers it.
static void violations_are_answered_with_their_reason(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        uint8_t reason;
        const char *text;
    } cases[] = {
        {"\x00\x00", 2, 0x81, "2.1"},                  // type 0
        {"\x10\x00", 2, 0x82, "CONNECT"},              // only clients
        {"\x20\x03\x00\x00\x00", 5, 0x82, "only one"}, // second CONNACK
        {"\x36\x04\x00\x01"
         "AB",
         6, 0x81, "QoS"}, // QoS 3
        {"\x38\x04\x00\x01"
         "A\x00",
         6, 0x81, "duplicate"},                                         // DUP of QoS 0
        {"\x30\x03\x00\x00\x00", 5, 0x82, "without a topic"},           // no topic, no alias
        {"\x30\x06\x00\x00\x03\x23\x00\x01", 8, 0x94, "topicAliasMax"}, // alias though none is allowed
        {"\x30\x05\x00\x01"
         "#\x00"
         "x",
         7, 0x81, "wildcard"}, // topic name invalid
        {"\x32\x06\x00\x01"
         "a\x00\x00\x00",
         8, 0x82, "packet id"},                      // packet id 0
        {"\x40\x02\x00\x00", 4, 0x82, "packet id"},  //
        {"\x40\x03\x00\x01\x01", 5, 0x82, "reason"}, // no such reason of PUBACK
        {"\x61\x02\x00\x01", 4, 0x81, "flags"},      // PUBREL needs flags 2
        {"\x82\x06\x00\x01\x00\x00\x01"
         "a\x00",
         8, 0x82, "SUBSCRIBE"}, // only clients
        {"\xa2\x06\x00\x01\x00\x00\x01"
         "a",
         8, 0x82, "UNSUBSCRIBE"},              //
        {"\xc0\x00", 2, 0x82, "PINGREQ"},      //
        {"\xd0\x01\x00", 3, 0x81, "PINGRESP"}, //
        {"\xf0\x00", 2, 0x82, "AUTH"},         // no authentication under way
        {"\xf0\x06\x18\x04\x15\x00\x01"
         "m",
         8, 0x82, "AUTH"},                                             //
        {"\xe0\x07\x00\x05\x11\x00\x00\x00\x01", 9, 0x82, "3.14.2-2"}, // session expiry of a server
        {"\xe0\x02\x00\x05", 4, 0x81, "properties"},                   // cut properties
        {"\x30\x80\x00", 3, 0x81, "1.5.5"},                            // not the shortest length
        {"\x30\xff\xff\xff\xff\x01", 6, 0x81, "length"},               //
        {"\x30\xff\xff\xff\x7f", 5, 0x95, "maxPacket"},                // too large
        {"\x30\x08\x00\x01"
         "a\x04\x01\x00\x01\x00",
         10, 0x82, "twice"}, // a property twice
        {"\x30\x06\x00\x01"
         "a\x02\x7f\x00",
         8, 0x81, "propert"}, // no such property
        {"\x30\x09\x00\x01"
         "a\x05\x11\x00\x00\x00\x01",
         11, 0x81, "session expiry"},                 // of another packet
        {"\x90\x05\x00\x01\x00\x00\x00", 7, 0, NULL}, // SUBACK nobody waits for: counted
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world5(&w, V5(",\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"), NULL, 0);
        client_connect(&w);
        peer_write(&w.broker.peers[0], cases[i].bytes, cases[i].n);
        if (!cases[i].text) {
            SETTLE(&w);
            assert_int_equal(w.client.offline, 0);
            assert_int_equal(metric(&w, "acks_unknown", NULL).count, 1);
            world_destroy(&w);
            continue;
        }
        WAIT(&w, w.client.offline >= 1 && w.broker.peers[0].closed);
        const struct packet *d = broker_got(&w.broker, MQTT_DISCONNECT, 0);
        if (!d || d->reason != cases[i].reason || !strstr(w.client.why.text, cases[i].text))
            fail_msg("case %zu: DISCONNECT 0x%02x, %s", i, d ? d->reason : 0, w.client.why.text);
        WAIT(&w, w.client.online == 2);
        world_destroy(&w);
    }
}

static void limits_of_the_server(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    // maximum QoS 1, no retain, packets up to 64 bytes, no wildcards, no subscription ids, no shared subscriptions
    world5(&w, V5(), "\x24\x01\x25\x00\x27\0\0\0\x40\x28\x00\x29\x00\x2a\x00", 15);
    struct adapter_message m = {.topic = "t", .topic_len = 1, .payload = (const uint8_t *)"x", .payload_len = 1};
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    m.qos = 2;
    assert_int_equal(OPS->publish(w.client.conn, &m, 1, &err), 0); // nothing is known yet
    m.qos = 1;
    m.retain = true;
    assert_int_equal(OPS->publish(w.client.conn, &m, 2, &err), 0);
    m.retain = false;
    assert_int_equal(OPS->publish(w.client.conn, &m, 3, &err), 0);
    WAIT(&w, w.client.n_done == 3 && w.client.online == 1);
    assert_int_equal(w.client.done[0].code, ERR_UNSUPPORTED);
    assert_int_equal(w.client.done[1].code, ERR_UNSUPPORTED);
    assert_int_equal(w.client.done[2].code, ERR_NONE);
    assert_int_equal(metric(&w, "messages_dropped", "reason:unsupported").count, 2);
    m.qos = 2;
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "at most QoS 1"));
    m.qos = 0;
    m.retain = true;
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    m.retain = false;
    m.payload = (const uint8_t *)"0123456789012345678901234567890123456789012345678901234567890123";
    m.payload_len = 58; // 64 bytes in all
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), 0);
    m.payload_len = 59;
    assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    static const struct adapter_subscription wanted[] = {
        {.filter = "a/+"}, {.filter = "#"}, {.filter = "$share/g/a"}, {.filter = "a", .identifier = 5}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(OPS->subscribe_with(w.client.conn, &wanted[i], 9, &err), -1);
        assert_int_equal(err.code, ERR_UNSUPPORTED);
    }
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 1, 9, &err), 0);
    WAIT(&w, w.client.n_done == 4);
    world_destroy(&w);
}

static void the_receive_maximum_holds_both_ways(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(",\"inflight\":10,\"receiveMaximum\":2,\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"),
           "\x21\0\x03", 3);
    w.broker.no_puback = true;
    client_connect(&w);
    for (unsigned i = 1; i <= 8; i++)
        assert_int_equal(client_publish(&w.client, "t", "x", 1, i, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3);
    SETTLE(&w);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 3);
    assert_int_equal(client_publish(&w.client, "q0", "x", 0, 0, &err), 0); // what needs no quota does not wait for it
    assert_int_equal(OPS->subscribe(w.client.conn, "s", 0, 99, &err), 0);
    peer_publish5(last_peer(&w), "in", "x", 1, 1, NULL);
    WAIT(&w, w.client.n_done == 1 && w.client.n_messages == 1 && broker_count(&w.broker, MQTT_PUBACK) == 1);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 3)->topic, "q0");
    w.broker.no_puback = false;
    for (unsigned i = 0; i < 3; i++)
        peer_ack5(last_peer(&w), MQTT_PUBACK, broker_got(&w.broker, MQTT_PUBLISH, i)->id, 0);
    WAIT(&w, w.client.n_done == 9);
    // The server may have two QoS 2 messages without PUBREL on their way.
    peer_publish5(last_peer(&w), "a", "1", 2, 1, NULL);
    peer_publish5(last_peer(&w), "a", "2", 2, 2, NULL);
    WAIT(&w, w.client.n_messages == 3);
    peer_ack5(last_peer(&w), MQTT_PUBREL, 1, 0);
    peer_publish5(last_peer(&w), "a", "3", 2, 3, NULL);
    WAIT(&w, w.client.n_messages == 4);
    assert_int_equal(w.client.offline, 0);
    peer_publish5(last_peer(&w), "a", "4", 2, 4, NULL);
    WAIT(&w, w.client.offline == 1);
    WAIT(&w, broker_count(&w.broker, MQTT_DISCONNECT) == 1);
    assert_int_equal(broker_got(&w.broker, MQTT_DISCONNECT, 0)->reason, 0x93);
    assert_int_equal(w.client.n_messages, 4);
    WAIT(&w, w.client.online == 2);
    peer_ack5(last_peer(&w), MQTT_PUBREL, 77, 0); // an id of another life
    WAIT(&w, broker_count(&w.broker, MQTT_PUBCOMP) == 2);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBCOMP, 1)->reason, 0x92);
    world_destroy(&w);
}

static void keep_alive_and_client_id_of_the_server(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(",\"keepAlive\":3600,\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"),
           "\x13\0\x01\x12\0\x03srv", 9);
    w.client.client_id = NULL; // the server is to assign one
    client_connect(&w);
    assert_memory_equal(broker_got(&w.broker, MQTT_CONNECT, 0)->body + 16, "\0\0", 2);
    WAIT(&w, broker_count(&w.broker, MQTT_PINGREQ) >= 1); // after one second, not an hour
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.online == 2);
    assert_memory_equal(broker_got(&w.broker, MQTT_CONNECT, 1)->body + 16, "\0\3srv", 5);
    world_destroy(&w);
}

static void clean_start_is_for_the_first_connection(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(",\"sessionExpiry\":60,\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"), NULL, 0);
    client_connect(&w);
    w.broker.session_present = true;
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.online == 2);
    assert_true(w.client.session_present);
    assert_int_equal(broker_got(&w.broker, MQTT_CONNECT, 0)->body[7], 2);
    assert_int_equal(broker_got(&w.broker, MQTT_CONNECT, 1)->body[7], 0); // it wants its session
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&w, w.client.offline == 2);
    // Clean again; a session all the same is a violation.
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 3);
    assert_int_equal(w.client.why.code, ERR_PROTOCOL);
    assert_non_null(strstr(w.client.why.text, "3.1.2-4"));
    world_destroy(&w);
}

// --- redirection

static void redirect_to(struct broker *b, char *text, size_t size, uint16_t port)
{
    int n = snprintf(text + 3, size - 3, "nowhere:0 127.0.0.1:%u", port); // the first cannot be read
    text[0] = 0x1c;
    text[1] = 0;
    text[2] = (char)n;
    b->connack_properties = text;
    b->connack_properties_len = (uint8_t)(n + 3);
}

static void follows_a_redirection(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    char reference[80];
    static struct broker other;
    world5(&w, V5(",\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"), NULL, 0);
    other = (struct broker){.is5 = true};
    broker_start(&other, w.loop);
    redirect_to(&w.broker, reference, sizeof reference, other.port);
    w.broker.connack = 0x9c;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.online == 1);
    assert_int_equal(other.n_peers, 1);
    assert_int_equal(w.client.offline, 1);
    assert_int_equal(w.client.retries, 1);
    assert_non_null(strstr(w.client.why.text, "use another server (reason 0x9c)"));
    assert_int_equal(metric(&w, "redirects", NULL).count, 1);
    assert_int_equal(metric(&w, "connect_errors", NULL).hits, 0);
    // Lost there: tried there again; gone there: back to the first, which takes it now.
    w.broker.connack = 0;
    w.broker.connack_properties_len = 0;
    peer_close(&other.peers[0], true);
    WAIT(&w, w.client.online == 2);
    assert_int_equal(other.n_peers, 2);
    broker_stop(&other);
    WAIT(&w, w.client.online == 3);
    assert_int_equal(w.broker.n_peers, 2);
    world_destroy(&w);
}

static void redirections_end(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    char reference[80];
    world5(&w, V5(",\"reconnect\":{\"initial\":\"1ms\",\"attempts\":1}"), NULL, 0);
    redirect_to(&w.broker, reference, sizeof reference, w.broker.port); // to itself
    w.broker.connack = 0x9d;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 6);
    assert_int_equal(w.client.retries, 5);
    assert_non_null(strstr(w.client.why.text, "redirected 5 times in a row"));
    assert_int_equal(broker_count(&w.broker, MQTT_CONNECT), 6);
    world_destroy(&w);

    world5(&w, V5(",\"followRedirect\":false,\"reconnect\":false"), reference, 3u + (uint8_t)reference[2]);
    w.broker.connack = 0x9c;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.retries, 0);
    assert_non_null(strstr(w.client.why.text, "server reference \"nowhere:0 127.0.0.1"));
    w.broker.connack_properties = "\x1c\0\x04"
                                  "::::";
    w.broker.connack_properties_len = 7;
    OPS->conn_delete(w.client.conn);
    OPS->target_delete(w.target);
    w.target = make_target(&w, V5(",\"reconnect\":false"));
    client_create(&w, &w.client, "x");
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_non_null(strstr(w.client.why.text, "which is no HOST:PORT"));
    world_destroy(&w);
}

static void a_server_that_leaves_sends_its_clients_on(void **state)
{
    (void)state;
    struct world w;
    static struct broker other;
    char packet[64];
    world5(&w, V5(), NULL, 0);
    other = (struct broker){.is5 = true};
    broker_start(&other, w.loop);
    client_connect(&w);
    int n = snprintf(packet + 7, sizeof packet - 7, "127.0.0.1:%u", other.port);
    memcpy(packet, (char[]){(char)0xe0, (char)(n + 5), (char)0x9d, (char)(n + 3), 0x1c, 0, (char)n}, 7);
    peer_write(last_peer(&w), packet, (size_t)n + 7);
    WAIT(&w, w.client.online == 2);
    assert_int_equal(other.n_peers, 1);
    assert_int_equal(metric(&w, "disconnects", "reason:0x9d").count, 1);
    OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&w, w.client.offline == 2);
    client_connect(&w); // for good: it goes there again
    assert_int_equal(other.n_peers, 2);
    OPS->conn_delete(w.client.conn);
    w.client.conn = NULL;
    SETTLE(&w);
    broker_stop(&other);
    world_destroy(&w);
}

// --- enhanced authentication

static void authenticates_in_steps(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(",\"authMethod\":\"M\""), "\x15\0\1M\x16\0\4last", 11);
    w.client.auth_reply = "answer";
    w.broker.connack = -1;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 1);
    const struct packet *c = broker_got(&w.broker, MQTT_CONNECT, 0);
    assert_non_null(memmem(c->body, c->n, "\x15\0\1M", 4));
    assert_non_null(memmem(c->body, c->n, "\x16\0\6answer", 9));
    assert_string_equal(w.client.auth_asked, "(begin)");
    peer_write(last_peer(&w), "\xf0\x0b\x18\x09\x15\0\1M\x16\0\2q1", 13);
    WAIT(&w, broker_count(&w.broker, MQTT_AUTH) == 1);
    assert_string_equal(w.client.auth_asked, "q1");
    const struct packet *a = broker_got(&w.broker, MQTT_AUTH, 0);
    assert_int_equal(a->reason, 0x18);
    assert_non_null(memmem(a->body, a->n, "\x16\0\6answer", 9));
    peer_write(last_peer(&w), "\x20\x0e\0\0\x0b\x15\0\1M\x16\0\4last", 16);
    WAIT(&w, w.client.online == 1);
    assert_string_equal(w.client.auth_asked, "last");

    // Anew, on the open connection.
    const struct adapter_request again = {.method = "AUTH"};
    assert_int_equal(OPS->request(w.client.conn, &again, 7, &err), 0);
    assert_int_equal(OPS->request(w.client.conn, &again, 8, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    WAIT(&w, broker_count(&w.broker, MQTT_AUTH) == 2);
    assert_int_equal(broker_got(&w.broker, MQTT_AUTH, 1)->reason, 0x19);
    peer_write(last_peer(&w), "\xf0\x0b\x18\x09\x15\0\1M\x16\0\2q2", 13);
    WAIT(&w, broker_count(&w.broker, MQTT_AUTH) == 3);
    peer_write(last_peer(&w), "\xf0\x06\x00\x04\x15\0\1M", 8);
    WAIT(&w, w.client.n_answers == 1);
    assert_int_equal(w.client.answers[0].token, 7);
    assert_int_equal(w.client.answers[0].status, 200);
    // The server gives up during the next: whoever waits is told.
    assert_int_equal(OPS->request(w.client.conn, &again, 9, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_AUTH) == 4);
    peer_write(last_peer(&w), "\xe0\x01\x87", 3);
    WAIT(&w, w.client.n_answers == 2);
    assert_int_equal(w.client.answers[1].token, 9);
    assert_int_equal(w.client.answers[1].why.code, ERR_CLOSED);
    world_destroy(&w);
}

static void authentication_that_fails(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        uint8_t reason;
        const char *text;
    } cases[] = {
        {"\xf0\x06\x18\x04\x15\0\1X", 8, 0x82, "method"},           // another method
        {"\xf0\x06\x00\x04\x15\0\1M", 8, 0x82, "no place"},         // success before CONNACK
        {"\x20\x03\0\0\0", 5, 0x82, "4.12.0-5"},                    // CONNACK without the method
        {"\xf0\x0b\x18\x09\x15\0\1M\x16\0\2q1", 13, 0x87, "prove"}, // the owner says no
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct error err;
        world5(&w, V5(",\"authMethod\":\"M\",\"reconnect\":false"), NULL, 0);
        w.broker.connack = -1;
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == 1);
        w.client.auth_fails = true;
        peer_write(last_peer(&w), cases[i].bytes, cases[i].n);
        WAIT(&w, w.client.offline == 1 && last_peer(&w)->closed);
        const struct packet *d = broker_got(&w.broker, MQTT_DISCONNECT, 0);
        if (!d || d->reason != cases[i].reason || !strstr(w.client.why.text, cases[i].text))
            fail_msg("case %zu: 0x%02x %s", i, d ? d->reason : 0, w.client.why.text);
        world_destroy(&w);
    }
    // The first step already.
    struct world w;
    struct error err;
    world5(&w, V5(",\"authMethod\":\"M\""), NULL, 0);
    w.client.auth_fails = true;
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.retries, 0);
    assert_int_equal(broker_count(&w.broker, MQTT_CONNECT), 0);
    const struct adapter_request again = {.method = "AUTH"};
    assert_int_equal(OPS->request(w.client.conn, &again, 7, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    world_destroy(&w);
}

static void close_in_auth(struct client *cl, const char *event)
{
    if (strcmp(event, "auth") == 0 && cl->conn && cl->n_auth == 2)
        OPS->conn_close(cl->conn, ADAPTER_ABRUPT);
    if (strcmp(event, "auth") == 0 && cl->conn && cl->n_auth == 4) {
        OPS->conn_delete(cl->conn);
        cl->conn = NULL;
    }
}

static void owners_may_close_and_delete_while_authenticating(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(",\"authMethod\":\"M\""), NULL, 0);
    w.broker.connack = -1;
    w.client.hook = close_in_auth;
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_CONNECT) == i);
        peer_write(last_peer(&w), "\xf0\x0b\x18\x09\x15\0\1M\x16\0\2q1", 13);
        WAIT(&w, i == 1 ? w.client.offline == 1 : !w.client.conn);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_is_of_version_5),
        cmocka_unit_test(will_and_session_properties),
        cmocka_unit_test(refusals_say_reason_and_text),
        cmocka_unit_test(the_server_says_why_it_disconnects),
        cmocka_unit_test(violations_are_answered_with_their_reason),
        cmocka_unit_test(limits_of_the_server),
        cmocka_unit_test(the_receive_maximum_holds_both_ways),
        cmocka_unit_test(keep_alive_and_client_id_of_the_server),
        cmocka_unit_test(clean_start_is_for_the_first_connection),
        cmocka_unit_test(follows_a_redirection),
        cmocka_unit_test(redirections_end),
        cmocka_unit_test(a_server_that_leaves_sends_its_clients_on),
        cmocka_unit_test(authenticates_in_steps),
        cmocka_unit_test(authentication_that_fails),
        cmocka_unit_test(owners_may_close_and_delete_while_authenticating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
