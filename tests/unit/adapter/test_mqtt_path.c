// MQTT over a bad network: connections through the device's path, from the first SYN to the last byte.
#include "harness.h"
#include "net.h"

#define OPS (&mqtt_adapter)
#define FAST "\"reconnect\":{\"initial\":\"1ms\",\"max\":\"5ms\"}"
#define RTT "{'rtt':0.08}"

struct bad {
    struct world w;
    struct net net;
};

static void bad_create(struct bad *b, const char *options)
{
    world_create(&b->w, options);
    net_create(&b->net, b->w.loop);
}

static void bad_destroy(struct bad *b)
{
    OPS->conn_delete(b->w.client.conn);
    b->w.client.conn = NULL;
    net_destroy(&b->net);
    world_destroy(&b->w);
}

static void use_url(struct bad *b, const char *url_format, const char *options)
{
    char url[64];
    struct error err;
    json_t *o = json_loads(options, 0, NULL);
    snprintf(url, sizeof url, url_format, b->w.broker.port);
    OPS->conn_delete(b->w.client.conn);
    OPS->target_delete(b->w.target);
    assert_non_null(b->w.target = OPS->target_new(&b->w.env, url, o, "g", &err));
    json_decref(o);
    client_create(&b->w, &b->w.client, "dev-1");
}

static int64_t open_and_wait(struct bad *b)
{
    int64_t begun = net_now(&b->net);
    client_connect(&b->w);
    return net_now(&b->net) - begun;
}

static int64_t publish_and_wait(struct bad *b)
{
    struct error err;
    unsigned before = b->w.client.n_done;
    int64_t begun = net_now(&b->net);
    assert_int_equal(client_publish(&b->w.client, "t", "x", 1, 7, &err), 0);
    WAIT(&b->w, b->w.client.n_done == before + 1);
    assert_int_equal(b->w.client.done[before].code, ERR_NONE);
    return net_now(&b->net) - begun;
}

static void between(int64_t us, int64_t least_ms, int64_t most_ms)
{
    if (us < least_ms * NET_MS || us > most_ms * NET_MS)
        fail_msg("it took %.1f ms, expected %d to %d", (double)us / 1e3, (int)least_ms, (int)most_ms);
}

static void every_round_trip_takes_its_time(void **state)
{
    struct bad b;
    (void)state;
    bad_create(&b, NULL);
    net_fault(&b.net, 1, RTT);
    OPS->conn_path(b.w.client.conn, b.net.path);
    int64_t connect_us = open_and_wait(&b); // SYN, then CONNECT
    int64_t publish_us = publish_and_wait(&b);
    print_message("rtt 80 ms: connect %.1f ms, publish %.1f ms\n", (double)connect_us / 1e3, (double)publish_us / 1e3);
    between(connect_us, 160, 260);
    between(publish_us, 80, 130);
    peer_publish(last_peer(&b.w), "d", "down", 0, 0, false);
    int64_t begun = net_now(&b.net);
    WAIT(&b.w, b.w.client.n_messages == 1);
    between(net_now(&b.net) - begun, 39, 90); // one way
    net_heal(&b.net, 1);
    OPS->conn_path(b.w.client.conn, NULL);
    SETTLE(&b.w);
    between(publish_and_wait(&b), 0, 40);
    assert_null(mqtt_conn_of(b.w.client.conn)->link.top);
    assert_true(OPS->footprint(b.w.client.conn) <= 250); // nothing of it is left
    bad_destroy(&b);
}

// The fault begins on a connection that is online, and ends while a publish is under way.
static void what_is_under_way_outlives_the_fault(void **state)
{
    struct bad b;
    struct error err;
    (void)state;
    bad_create(&b, NULL);
    open_and_wait(&b);
    net_fault(&b.net, 1, "{'latency':0.15}");
    OPS->conn_path(b.w.client.conn, b.net.path);
    OPS->conn_path(b.w.client.conn, b.net.path); // once is enough
    assert_int_equal(client_publish(&b.w.client, "t", "first", 1, 1, &err), 0);
    net_run(&b.net, 20 * NET_MS);
    net_heal(&b.net, 1);
    OPS->conn_path(b.w.client.conn, NULL);
    OPS->conn_path(b.w.client.conn, NULL);
    assert_int_equal(client_publish(&b.w.client, "t", "second", 1, 2, &err), 0);
    SETTLE(&b.w);
    assert_int_equal(broker_count(&b.w.broker, MQTT_PUBLISH), 0);
    // Another fault begins while the bytes of the first are held: they go on through the new path.
    struct net other;
    net_create(&other, b.w.loop);
    net_fault(&other, 1, "{'latency':0.03}");
    OPS->conn_path(b.w.client.conn, other.path);
    WAIT(&b.w, b.w.client.n_done == 2);
    assert_string_equal(broker_got(&b.w.broker, MQTT_PUBLISH, 0)->payload, "first");
    assert_string_equal(broker_got(&b.w.broker, MQTT_PUBLISH, 1)->payload, "second");
    assert_int_equal(b.w.client.offline, 0);
    between(publish_and_wait(&b), 60, 120);
    OPS->conn_delete(b.w.client.conn);
    b.w.client.conn = NULL;
    net_destroy(&other);
    net_destroy(&b.net);
    world_destroy(&b.w);
}

static void a_partition_loses_nothing(void **state)
{
    struct bad b;
    struct error err;
    char payload[8];
    (void)state;
    bad_create(&b, "{\"inflight\":40}");
    net_fault(&b.net, 1, "{'rtt':0.002}");
    OPS->conn_path(b.w.client.conn, b.net.path);
    open_and_wait(&b);
    net_fault(&b.net, 3, "{'partition':true}");
    for (uint32_t i = 1; i <= 30; i++) {
        snprintf(payload, sizeof payload, "%u", i);
        assert_int_equal(client_publish(&b.w.client, "t", payload, 1, i, &err), 0);
    }
    peer_publish(last_peer(&b.w), "d", "while", 0, 0, false);
    net_run(&b.net, 150 * NET_MS);
    assert_int_equal(broker_count(&b.w.broker, MQTT_PUBLISH), 0);
    assert_int_equal(b.w.client.n_messages, 0);
    net_heal(&b.net, 3);
    WAIT(&b.w, b.w.client.n_done == 30 && b.w.client.n_messages == 1);
    assert_int_equal(broker_count(&b.w.broker, MQTT_PUBLISH), 30); // each once
    for (uint32_t i = 0; i < 30; i++) {
        snprintf(payload, sizeof payload, "%u", i + 1);
        assert_string_equal(broker_got(&b.w.broker, MQTT_PUBLISH, i)->payload, payload);
        assert_int_equal(broker_got(&b.w.broker, MQTT_PUBLISH, i)->first & 8, 0); // not sent again by MQTT
    }
    assert_int_equal(b.w.client.offline, 0);
    assert_int_equal(metric(&b.w, "messages_resent", NULL).count, 0);
    assert_true(net_totals(&b.net).retransmitted[PATH_UP] > 0);
    // Only what a partition names is cut off: of MQTT, of this port, of this host.
    static const char *const names[] = {"{'partition':{'protocols':['coap']}}", "{'partition':{'ports':[1]}}",
                                        "{'partition':{'hosts':['10.0.0.0/8']}}"};
    for (uint64_t i = 0; i < 3; i++)
        net_fault(&b.net, 10 + i, names[i]);
    publish_and_wait(&b);
    net_fault(&b.net, 20, "{'partition':{'protocols':['mqtt'],'hosts':['127.0.0.1']}}");
    assert_int_equal(client_publish(&b.w.client, "t", "cut", 1, 99, &err), 0);
    net_run(&b.net, 60 * NET_MS);
    assert_int_equal(broker_count(&b.w.broker, MQTT_PUBLISH), 31);
    bad_destroy(&b); // with bytes held
}

static struct net *of_the_hook;

static void reset_when_done(struct client *cl, const char *event)
{
    if (strcmp(event, "done") != 0)
        return;
    net_fault(of_the_hook, 1, "{'reset':true}");
    OPS->conn_path(cl->conn, of_the_hook->path);
    assert_int_equal(cl->offline, 0); // not inside the call
    cl->hook = NULL;
}

static void a_reset_is_followed_by_a_reconnect(void **state)
{
    struct bad b;
    (void)state;
    bad_create(&b, "{" FAST "}");
    open_and_wait(&b);
    of_the_hook = &b.net;
    b.w.client.hook = reset_when_done;
    publish_and_wait(&b);
    WAIT(&b.w, b.w.client.online == 2);
    assert_int_equal(b.w.client.offline, 1);
    assert_int_equal(b.w.client.why.code, ERR_CLOSED);
    assert_non_null(strstr(b.w.client.why.text, "a fault of the network (reset)"));
    assert_true(b.w.broker.peers[0].closed);
    publish_and_wait(&b);
    bad_destroy(&b);
}

static void connects_fail_as_they_are_told_to(void **state)
{
    static const struct {
        const char *fault, *url, *options;
        enum error_code code;
        const char *text;
    } all[] = {
        {"{'connect':{'refuse':1}}", "mqtt://127.0.0.1:%u", "{\"reconnect\":false}", ERR_REFUSED, "refused"},
        {"{'connect':{'timeout':1}}", "mqtt://127.0.0.1:%u", "{\"reconnect\":false,\"connectTimeout\":\"150ms\"}",
         ERR_TIMEOUT, "no TCP connection within 150 ms"},
        {"{'partition':true}", "mqtt://127.0.0.1:%u", "{\"reconnect\":false,\"connectTimeout\":\"150ms\"}", ERR_TIMEOUT,
         "no TCP connection"},
        {"{'dns':{'fail':1}}", "mqtt://localhost:%u", "{\"reconnect\":false}", ERR_RESOLVE, "cannot resolve localhost"},
        {"{'tls':{'fail':1}}", "mqtts://127.0.0.1:%u", "{\"reconnect\":false}", ERR_TLS, "handshake"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct bad b;
        struct error err;
        bad_create(&b, NULL);
        use_url(&b, all[i].url, all[i].options);
        net_fault(&b.net, 1, all[i].fault);
        net_fault(&b.net, 2, "{'rtt':0.02}");
        OPS->conn_path(b.w.client.conn, b.net.path);
        assert_int_equal(OPS->conn_open(b.w.client.conn, &err), 0);
        WAIT(&b.w, b.w.client.offline == 1);
        if (b.w.client.why.code != all[i].code || !strstr(b.w.client.why.text, all[i].text))
            fail_msg("%s: %s", all[i].fault, b.w.client.why.text);
        assert_int_equal(broker_count(&b.w.broker, MQTT_CONNECT), 0);
        if (i != 4) { // without the fault it does come up
            net_heal(&b.net, 1);
            open_and_wait(&b);
        }
        bad_destroy(&b);
    }
}

// localhost may be ::1 as well, where nobody listens: every further address passes the path, too.
static void every_address_is_tried_over_the_path(void **state)
{
    struct bad b;
    (void)state;
    bad_create(&b, NULL);
    use_url(&b, "mqtt://localhost:%u", "{}");
    net_fault(&b.net, 1, RTT);
    OPS->conn_path(b.w.client.conn, b.net.path);
    int64_t took_us = open_and_wait(&b);
    unsigned n = ((struct mqtt_target *)(void *)b.w.target)->origin.n_addrs;
    print_message("%u addresses, rtt 80 ms: %.1f ms\n", n, (double)took_us / 1e3);
    between(took_us, 240, 340 + 240 * (n - 1)); // lookup, SYN, CONNECT
    bad_destroy(&b);
}

static void in_events(struct client *cl, const char *event)
{
    if (strcmp(event, "online") == 0)
        OPS->conn_path(cl->conn, of_the_hook->path);
    else if (strcmp(event, "done") == 0)
        OPS->conn_path(cl->conn, NULL);
}

static void paths_come_and_go_in_events_and_states(void **state)
{
    struct bad b;
    struct error err;
    (void)state;
    bad_create(&b, "{" FAST "}");
    of_the_hook = &b.net;
    net_fault(&b.net, 1, "{'rtt':0.03}");
    b.w.client.hook = in_events;
    open_and_wait(&b);
    between(publish_and_wait(&b), 30, 90);
    OPS->conn_close(b.w.client.conn, ADAPTER_GRACEFUL);
    OPS->conn_path(b.w.client.conn, b.net.path); // closing
    WAIT(&b.w, b.w.client.offline == 1);
    OPS->conn_path(b.w.client.conn, NULL);
    OPS->conn_path(b.w.client.conn, b.net.path); // offline
    assert_int_equal(OPS->conn_open(b.w.client.conn, &err), 0);
    OPS->conn_path(b.w.client.conn, NULL);
    OPS->conn_path(b.w.client.conn, b.net.path); // waiting
    loop_turn(b.w.loop, 0);
    loop_turn(b.w.loop, 0);
    OPS->conn_path(b.w.client.conn, NULL); // connecting
    WAIT(&b.w, b.w.client.online == 2);
    // A graceful close has its last words brought, whoever frees the connection.
    unsigned before = broker_count(&b.w.broker, MQTT_DISCONNECT);
    OPS->conn_close(b.w.client.conn, ADAPTER_GRACEFUL);
    OPS->conn_delete(b.w.client.conn);
    b.w.client.conn = NULL;
    WAIT(&b.w, broker_count(&b.w.broker, MQTT_DISCONNECT) == before + 1 && last_peer(&b.w)->closed);
    net_destroy(&b.net);
    world_destroy(&b.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_round_trip_takes_its_time),
        cmocka_unit_test(what_is_under_way_outlives_the_fault),
        cmocka_unit_test(a_partition_loses_nothing),
        cmocka_unit_test(a_reset_is_followed_by_a_reconnect),
        cmocka_unit_test(connects_fail_as_they_are_told_to),
        cmocka_unit_test(every_address_is_tried_over_the_path),
        cmocka_unit_test(paths_come_and_go_in_events_and_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
