// CoAP over a bad network: datagrams, streams, DTLS and TLS of libcoap through the device's path, and what a device
// serves.
#include <time.h>
#include "coap_harness.h"
#include "net.h"

#define FAST "\"reconnect\": {\"initial\": \"1ms\", \"max\": \"5ms\"}"
static const char *const schemes[] = {"coap", "coap+tcp", "coaps", "coaps+tcp"};

static bool reliable(unsigned scheme)
{
    return scheme & 1;
}

static void between(int64_t us, int64_t least_ms, int64_t most_ms)
{
    if (us < least_ms * NET_MS || us > most_ms * NET_MS)
        fail_msg("it took %.1f ms, expected %d to %d", (double)us / 1e3, (int)least_ms, (int)most_ms);
}

static void bad_end(struct world *w, struct net *net)
{
    client_destroy(&w->client);
    w->client.conn = NULL;
    net_destroy(net);
    world_destroy(w);
}

static int64_t timed_ask(struct world *w, const char *path)
{
    int64_t begun = loop_fresh_us(w->loop);
    struct record *r = ask(&w->client, "GET", path, NULL);
    if (r->failed)
        fail_msg("%s", r->text);
    assert_int_equal(r->status, 205);
    return loop_fresh_us(w->loop) - begun;
}

static void close_conn(struct world *w)
{
    unsigned before = w->client.offline;
    OPS->conn_close(w->client.conn, ADAPTER_GRACEFUL);
    WAIT(w, w->client.offline == before + 1);
}

static void every_round_trip_takes_its_time(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct net net;
        world_echo(&w, schemes[i], NULL);
        net_create(&net, w.loop);
        // It begins on an open connection.
        net_fault(&net, 1, "{'rtt':0.06}");
        OPS->conn_path(w.client.conn, net.path);
        int64_t us = timed_ask(&w, "/echo?a=1");
        between(us, 60, 115);
        between(timed_ask(&w, "/echo?a=2"), 60, 115);
        // And is there from the first packet of the next one on.
        close_conn(&w);
        int64_t begun = net_now(&net);
        client_connect(&w, &w.client);
        // UDP: nothing. TCP: SYN, and the server's CSM comes by itself. DTLS: cookie, then the handshake. TLS: SYN,
        // hellos.
        static const int least_ms[] = {0, 90, 120, 120};
        int64_t connect_us = net_now(&net) - begun;
        between(connect_us, least_ms[i], 2 * least_ms[i] + 60);
        print_message("%s, rtt 60 ms: request %.1f ms, connect %.1f ms\n", schemes[i], (double)us / 1e3,
                      (double)connect_us / 1e3);
        between(timed_ask(&w, "/echo?a=3"), 60, 115);
        // It ends.
        net_heal(&net, 1);
        OPS->conn_path(w.client.conn, NULL);
        between(timed_ask(&w, "/echo?a=4"), 0, 50);
        assert_int_equal(net_totals(&net).held_bytes, 0);
        bad_end(&w, &net);
    }
}

// The fault ends while a request is under way, and another one begins: the answer comes all the same, once.
static void what_is_under_way_outlives_the_fault(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct net net, other;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        net_create(&net, w.loop);
        net_create(&other, w.loop);
        net_fault(&net, 1, "{'latency':0.1}");
        OPS->conn_path(w.client.conn, net.path);
        assert_int_equal(ask_only(&w.client, "GET", "/echo?first", 1, &err), 0);
        net_run(&net, 20 * NET_MS);
        net_heal(&net, 1);
        OPS->conn_path(w.client.conn, NULL);
        net_run(&net, 20 * NET_MS);
        assert_int_equal(w.client.responses.n, 0);
        net_fault(&other, 1, "{'latency':0.03}");
        OPS->conn_path(w.client.conn, other.path);
        WAIT(&w, w.client.responses.n == 1);
        assert_string_equal((char *)w.client.responses.at[0].payload, "first");
        between(timed_ask(&w, "/echo?second"), 60, 115);
        assert_int_equal(w.client.responses.n, 2);
        assert_int_equal(w.client.offline, 0);
        client_destroy(&w.client);
        w.client.conn = NULL;
        net_destroy(&other);
        net_destroy(&net);
        world_destroy(&w);
    }
}

static void a_partition_is_survived(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct net net;
        struct error err;
        // 100 ms is less than libcoap likes: DTLS has timers of its own.
        world_echo(&w, schemes[i], reliable(i) ? NULL : "{\"ackTimeout\": \"100ms\", \"ackRandomFactor\": 1}");
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'partition':true}");
        OPS->conn_path(w.client.conn, net.path);
        assert_int_equal(ask_only(&w.client, "GET", "/echo?a=1", 1, &err), 0);
        assert_int_equal(publish(&w.client, "kept", "x", 1, 1, 2, &err), 0);
        net_run(&net, 150 * NET_MS);
        assert_int_equal(w.client.responses.n + w.client.done.n, 0);
        net_heal(&net, 1);
        OPS->conn_path(w.client.conn, NULL);
        WAIT(&w, w.client.responses.n == 1 && w.client.done.n == 1);
        assert_int_equal(w.client.responses.at[0].status, 205);
        assert_false(w.client.done.at[0].failed);
        assert_int_equal(w.client.offline, 0);
        uint64_t again = counter(&w, "coap_retransmissions");
        assert_true(reliable(i) ? again == 0 : again > 0);
        assert_true(net_totals(&net).dropped[PATH_UP] > 0);
        print_message("%s: %u retransmissions by CoAP, %u by TCP\n", schemes[i], (unsigned)again,
                      (unsigned)net_totals(&net).retransmitted[PATH_UP]);
        bad_end(&w, &net);
    }
}

// Bodies of many segments and datagrams: in order and whole, whatever is lost. Loss of datagrams is CoAP's to mend.
static void bodies_come_through_losses(void **state)
{
    static uint8_t body[100000];
    (void)state;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 7 + i / 1000);
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct net net;
        size_t n = reliable(i) ? sizeof body : 20000;
        world_echo(&w, schemes[i], reliable(i) ? NULL : "{\"ackTimeout\": \"50ms\", \"ackRandomFactor\": 1}");
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'rtt':0.004,'loss':0.05,'duplicate':0.1}");
        OPS->conn_path(w.client.conn, net.path);
        struct record *r = ask_bytes(&w.client, "PUT", "/stored", body, n, NULL);
        assert_int_equal(r->status, 201);
        r = ask(&w.client, "GET", "/stored", NULL);
        assert_int_equal(r->n, n);
        assert_memory_equal(r->payload, body, n);
        assert_int_equal(w.client.offline, 0);
        struct path_totals totals = net_totals(&net);
        assert_true(totals.dropped[PATH_UP] + totals.dropped[PATH_DOWN] > 0);
        bad_end(&w, &net);
    }
}

// A slow network holds a sender back, and a large answer is read as it comes.
static void a_narrow_stream_is_not_flooded(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 4; i += 2) {
        struct world w;
        struct net net;
        world_echo(&w, schemes[i], NULL);
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'latency':0.002,'bandwidth':'40mbit'}");
        OPS->conn_path(w.client.conn, net.path);
        struct record *r = ask(&w.client, "GET", "/large?size=1048576", NULL);
        assert_int_equal(r->n, 1048576);
        for (size_t k = 0; k < r->n; k += 997)
            assert_int_equal(r->payload[k], 'a' + k % 26);
        bad_end(&w, &net);
    }
}

static void a_reset_is_followed_by_a_reconnect(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 4; i += 2) {
        struct world w;
        struct net net;
        world_echo(&w, schemes[i], "{" FAST "}");
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'latency':0.001}");
        OPS->conn_path(w.client.conn, net.path);
        net_fault(&net, 2, "{'reset':true}");
        WAIT(&w, w.client.online == 2);
        assert_int_equal(w.client.offline, 1);
        assert_int_equal(w.client.why.code, ERR_CLOSED);
        assert_non_null(strstr(w.client.why.text, "a fault of the network (reset)"));
        timed_ask(&w, "/echo?a=1");
        bad_end(&w, &net);
    }
}

static void connects_fail_as_they_are_told_to(void **state)
{
    static const struct {
        const char *fault, *host;
        bool every; // also without a handshake
        enum error_code code;
    } all[] = {{"{'connect':{'refuse':1}}", "127.0.0.1", true, ERR_REFUSED},
               {"{'connect':{'timeout':1}}", "127.0.0.1", true, ERR_TIMEOUT},
               {"{'dns':{'fail':1}}", "localhost", true, ERR_RESOLVE},
               {"{'tls':{'fail':1}}", "127.0.0.1", false, ERR_TLS},
               {"{'partition':true}", "127.0.0.1", false, ERR_TIMEOUT}};
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            struct world w;
            struct net net;
            struct error err;
            char url[64];
            if ((i == 0 && !all[k].every) || (i == 1 && all[k].code == ERR_TLS))
                continue;
            world_echo(&w, schemes[i], NULL);
            net_create(&net, w.loop);
            client_destroy(&w.client);
            OPS->target_delete(w.target);
            w.client.offline = 0;
            snprintf(url, sizeof url, "%s://%s:%u", schemes[i], all[k].host, i < 2 ? w.port : w.secure_port);
            w.target = make_target(&w, url, "{\"reconnect\": false, \"connectTimeout\": \"120ms\"}");
            client_create(&w, &w.client);
            net_fault(&net, 1, all[k].fault);
            OPS->conn_path(w.client.conn, net.path);
            assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
            WAIT(&w, w.client.offline == 1);
            if (w.client.why.code != all[k].code)
                fail_msg("%s, %s: %s", schemes[i], all[k].fault, w.client.why.text);
            net_heal(&net, 1);
            OPS->conn_path(w.client.conn, NULL);
            client_connect(&w, &w.client);
            timed_ask(&w, "/echo?a=1");
            bad_end(&w, &net);
        }
}

static void connections_may_go_at_any_moment(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        for (int when = 0; when < 4; when++) {
            struct world w;
            struct net net;
            struct error err;
            world_echo(&w, schemes[i], NULL);
            net_create(&net, w.loop);
            net_fault(&net, 1, "{'rtt':0.03}");
            OPS->conn_path(w.client.conn, net.path);
            if (when < 2) { // while it connects
                close_conn(&w);
                assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
                net_run(&net, when == 0 ? 3 * NET_MS : 45 * NET_MS);
            } else { // while bytes are held, on one of their ways
                assert_int_equal(ask_only(&w.client, "GET", "/echo?a", 1, &err), 0);
                net_run(&net, when == 2 ? 3 * NET_MS : 20 * NET_MS);
            }
            client_destroy(&w.client);
            w.client.conn = NULL;
            OPS->target_delete(w.target);
            w.target = NULL;
            net_run(&net, 40 * NET_MS);
            assert_int_equal(net_totals(&net).held_bytes, 0);
            net_destroy(&net);
            world_destroy(&w);
        }
}

static void path_off(struct client *cl, const struct record *r)
{
    (void)r;
    OPS->conn_path(cl->conn, NULL);
}

static void delete_it(struct client *cl, const struct record *r)
{
    (void)r;
    OPS->conn_delete(cl->conn);
    cl->conn = NULL;
}

// From inside what the path itself has brought.
static void paths_and_connections_go_in_events(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct net net;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'rtt':0.02}");
        OPS->conn_path(w.client.conn, net.path);
        w.client.on_response = path_off;
        timed_ask(&w, "/echo?a=1");
        between(timed_ask(&w, "/echo?a=1"), 0, 50);
        OPS->conn_path(w.client.conn, net.path);
        w.client.on_response = delete_it;
        assert_int_equal(ask_only(&w.client, "GET", "/echo?a", 77, &err), 0);
        WAIT(&w, !w.client.conn);
        net_run(&net, 30 * NET_MS);
        records_clear(&w.client.responses);
        net_destroy(&net);
        world_destroy(&w);
    }
}

// A frozen device takes nothing of what arrives meanwhile; what it sent before goes on.
static void a_frozen_device_has_its_path(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct net net;
        struct error err;
        world_echo(&w, schemes[i], reliable(i) ? NULL : "{\"ackTimeout\": \"100ms\", \"ackRandomFactor\": 1}");
        net_create(&net, w.loop);
        net_fault(&net, 1, "{'rtt':0.04}");
        OPS->conn_path(w.client.conn, net.path);
        assert_int_equal(ask_only(&w.client, "GET", "/echo?a", 1, &err), 0);
        net_run(&net, 5 * NET_MS);
        OPS->conn_freeze(w.client.conn, true);
        net_run(&net, 80 * NET_MS);
        assert_int_equal(w.client.responses.n, 0);
        OPS->conn_freeze(w.client.conn, false);
        WAIT(&w, w.client.responses.n == 1);
        assert_int_equal(w.client.responses.at[0].status, 205);
        bad_end(&w, &net);
    }
}

// ---- the end of a stream

struct raw { // a stream server of one connection
    struct world *w;
    ev_io listening, io;
    int fd, client;
    size_t n;
    bool ended, reset;
};

static void raw_bytes(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *s = container_of(io, struct raw, io);
    uint8_t bytes[4096];
    (void)revents;
    ssize_t n = recv(s->client, bytes, sizeof bytes, 0);
    s->n += n > 0 ? (size_t)n : 0;
    if (n > 0)
        return;
    s->ended = true;
    s->reset = n < 0;
    ev_io_stop(ev, io);
}

static void raw_accept(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *s = container_of(io, struct raw, listening);
    (void)revents;
    s->client = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ev_io_init(&s->io, raw_bytes, s->client, EV_READ);
    ev_io_start(ev, &s->io);
    assert_int_equal(send(s->client, "\x00\xe1", 2, MSG_NOSIGNAL), 2); // its CSM
}

static void raw_create(struct raw *s, struct world *w, const char *options)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    char url[64];
    world_create(w);
    memset(s, 0, sizeof *s);
    s->w = w;
    s->client = -1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    ev_io_init(&s->listening, raw_accept, s->fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &s->listening);
    snprintf(url, sizeof url, "coap+tcp://127.0.0.1:%u", ntohs(at.sin_port));
    w->client.fields[FIELD_CLIENT_ID] = "dev-1";
    w->target = make_target(w, url, options);
    client_create(w, &w->client);
    client_connect(w, &w->client);
}

static void raw_destroy(struct raw *s, struct net *net)
{
    ev_io_stop(loop_ev(s->w->loop), &s->listening);
    ev_io_stop(loop_ev(s->w->loop), &s->io);
    if (s->client >= 0)
        close(s->client);
    close(s->fd);
    bad_end(s->w, net);
}

// The server's end is behind its last bytes, and a partition keeps both from the device.
static void an_end_takes_its_time(void **state)
{
    struct world w;
    struct net net;
    struct raw s;
    (void)state;
    raw_create(&s, &w, "{\"reconnect\": false}");
    net_create(&net, w.loop);
    net_fault(&net, 1, "{'latency':0.05}");
    OPS->conn_path(w.client.conn, net.path);
    assert_int_equal(send(s.client, "\x00\xe4", 2, MSG_NOSIGNAL), 2); // 7.04 Release
    ev_io_stop(loop_ev(w.loop), &s.io);
    close(s.client);
    s.client = -1;
    int64_t begun = net_now(&net);
    WAIT(&w, w.client.offline == 1);
    between(net_now(&net) - begun, 49, 90);
    assert_non_null(strstr(w.client.why.text, "7.04")); // not "closed"
    client_connect(&w, &w.client);
    net_fault(&net, 2, "{'partition':true}");
    ev_io_stop(loop_ev(w.loop), &s.io);
    close(s.client);
    s.client = -1;
    net_run(&net, 150 * NET_MS);
    assert_int_equal(w.client.offline, 1);
    int64_t cpu = (int64_t)clock();
    net_run(&net, 100 * NET_MS);
    assert_true((int64_t)clock() - cpu < CLOCKS_PER_SEC / 20); // it is not asked again and again
    net_heal(&net, 2);
    WAIT(&w, w.client.offline == 2);
    assert_int_equal(w.client.why.code, ERR_CLOSED);
    raw_destroy(&s, &net);
}

static void a_reset_reaches_the_server(void **state)
{
    struct world w;
    struct net net;
    struct raw s;
    (void)state;
    raw_create(&s, &w, "{\"reconnect\": false}");
    net_create(&net, w.loop);
    net_fault(&net, 1, "{'latency':0.001}");
    OPS->conn_path(w.client.conn, net.path);
    net_fault(&net, 2, "{'reset':true}");
    WAIT(&w, w.client.offline == 1 && s.ended);
    assert_true(s.reset);
    raw_destroy(&s, &net);
}

// A server that is not read is held back by TCP, not by memory.
static void what_comes_is_held_within_bounds(void **state)
{
    struct world w;
    struct net net;
    struct raw s;
    (void)state;
    raw_create(&s, &w, NULL);
    net_create(&net, w.loop);
    net_fault(&net, 1, "{'partition':{'direction':'down'}}");
    OPS->conn_path(w.client.conn, net.path);
    size_t sent = 0;
    for (int64_t until = net_now(&net) + 300 * NET_MS; net_now(&net) < until;) {
        static uint8_t pings[64 << 10]; // empty messages
        ssize_t n = send(s.client, pings, sizeof pings, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        loop_turn(w.loop, 1000);
    }
    assert_true(net_totals(&net).held_bytes >= 256 << 10);
    assert_true(net_totals(&net).held_bytes <= (256 << 10) + 65536);
    assert_true(sent > 256 << 10); // the kernel's buffers are full as well
    assert_int_equal(w.client.offline, 0);
    raw_destroy(&s, &net);
}

// ---- what a device serves

struct pair {
    struct world w; // its client is the device that serves
    struct client asker;
    struct adapter_target *target;
    struct net net; // of the device
};

static void reply(struct client *cl, const struct record *r)
{
    struct error err;
    struct adapter_response answer = {
        .status = 205, .payload = (const uint8_t *)r->text, .payload_len = strlen(r->text)};
    (void)!OPS->respond(cl->conn, r->ticket, &answer, &err);
}

static void pair_create(struct pair *p, const char *scheme, const char *options)
{
    char url[80];
    struct buf out;
    struct error err;
    memset(p, 0, sizeof *p);
    world_echo(&p->w, scheme, NULL);
    net_create(&p->net, p->w.loop);
    p->w.client.on_request = reply;
    assert_int_equal(OPS->serve(p->w.client.conn, "/temp", NULL, &err), 0);
    buf_create(&out, 200);
    assert_int_equal(OPS->served_at(p->w.client.conn, &out, &err), 0);
    snprintf(url, sizeof url, "%s", buf_cstr(&out));
    buf_destroy(&out);
    p->target = make_target(&p->w, url, options);
    p->asker.world = &p->w;
    memcpy(p->asker.fields, p->w.client.fields, sizeof p->asker.fields);
    assert_non_null(p->asker.conn = OPS->conn_new(p->target, &events, &identity, &p->asker, 5, &err));
    client_connect(&p->w, &p->asker);
}

static void pair_destroy(struct pair *p)
{
    client_destroy(&p->asker);
    OPS->target_delete(p->target);
    bad_end(&p->w, &p->net);
}

static void what_is_served_is_behind_the_path(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        pair_create(&p, schemes[i], reliable(i) ? NULL : "{\"ackTimeout\": \"100ms\", \"ackRandomFactor\": 1}");
        assert_int_equal(ask(&p.asker, "GET", "/temp", NULL)->status, 205);
        net_fault(&p.net, 1, "{'rtt':0.05}");
        OPS->conn_path(p.w.client.conn, p.net.path);
        int64_t begun = net_now(&p.net);
        assert_string_equal((char *)ask(&p.asker, "GET", "/temp?b", NULL)->payload, "GET /temp?b");
        int64_t us = net_now(&p.net) - begun;
        print_message("%s served, rtt 50 ms: %.1f ms\n", schemes[i], (double)us / 1e3);
        between(us, 50, 95);
        net_fault(&p.net, 2, "{'partition':true}");
        unsigned asked = p.w.client.requests.n;
        assert_int_equal(ask_with(&p.asker, "GET", "/temp?c", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        net_run(&p.net, 150 * NET_MS);
        assert_int_equal(p.w.client.requests.n, asked);
        net_heal(&p.net, 2);
        WAIT(&p.w, p.asker.responses.n == 3);
        assert_string_equal((char *)p.asker.responses.at[2].payload, "GET /temp?c");
        assert_int_equal(p.w.client.requests.n, asked + 1);
        // Healed while the answer is under way.
        assert_int_equal(ask_with(&p.asker, "GET", "/temp?d", NULL, 0, NULL, 0, NULL, 2, &err), 0);
        WAIT(&p.w, p.w.client.requests.n == asked + 2);
        net_heal(&p.net, 1);
        OPS->conn_path(p.w.client.conn, NULL);
        WAIT(&p.w, p.asker.responses.n == 4);
        begun = net_now(&p.net);
        ask(&p.asker, "GET", "/temp?e", NULL);
        between(net_now(&p.net) - begun, 0, 45);
        assert_int_equal(net_totals(&p.net).held_bytes, 0);
        pair_destroy(&p);
    }
}

static void clients_of_a_device_come_and_go(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        pair_create(&p, schemes[i], NULL);
        net_fault(&p.net, 1, "{'rtt':0.02}");
        OPS->conn_path(p.w.client.conn, p.net.path);
        // A new one shakes hands through the path of the device, and leaves with a request under way.
        OPS->conn_close(p.asker.conn, ADAPTER_GRACEFUL);
        WAIT(&p.w, p.asker.offline == 1);
        client_connect(&p.w, &p.asker);
        assert_int_equal(ask(&p.asker, "GET", "/temp", NULL)->status, 205);
        assert_int_equal(ask_with(&p.asker, "GET", "/temp?x", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        net_run(&p.net, 3 * NET_MS);
        OPS->conn_close(p.asker.conn, ADAPTER_ABRUPT);
        net_run(&p.net, 15 * NET_MS);
        // The device stops serving with answers under way.
        client_connect(&p.w, &p.asker);
        assert_int_equal(ask_with(&p.asker, "GET", "/temp?y", NULL, 0, NULL, 0, NULL, 2, &err), 0);
        unsigned asked = p.w.client.requests.n;
        WAIT(&p.w, p.w.client.requests.n > asked);
        OPS->conn_close(p.w.client.conn, ADAPTER_GRACEFUL);
        net_run(&p.net, 40 * NET_MS);
        pair_destroy(&p);
    }
}

// More clients than are kept apart: the one that was silent longest gives way.
static void many_clients_ask(void **state)
{
    struct pair p;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fds[80];
    char host[32];
    unsigned port, answered = 0;
    struct buf out;
    struct error err;
    (void)state;
    pair_create(&p, "coap", NULL);
    buf_create(&out, 100);
    assert_int_equal(OPS->served_at(p.w.client.conn, &out, &err), 0);
    assert_int_equal(sscanf(buf_cstr(&out), "coap://%31[0-9.]:%u", host, &port), 2);
    buf_destroy(&out);
    to.sin_port = htons((uint16_t)port);
    net_fault(&p.net, 1, "{'latency':0.02}");
    OPS->conn_path(p.w.client.conn, p.net.path);
    for (unsigned i = 0; i < 80; i++) {
        uint8_t get[] = {0x40, 1, 0x12, (uint8_t)i, 0xb4, 't', 'e', 'm', 'p'};
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&to, sizeof to), 0);
        assert_int_equal(send(fds[i], get, sizeof get, 0), sizeof get);
        loop_turn(p.w.loop, 0);
    }
    net_run(&p.net, 120 * NET_MS);
    for (unsigned i = 0; i < 80; i++) {
        uint8_t bytes[64];
        ssize_t n = recv(fds[i], bytes, sizeof bytes, 0);
        answered += n > 4 && bytes[0] == 0x60 && bytes[1] == 0x45 && bytes[3] == i;
        close(fds[i]);
    }
    print_message("%u of 80 clients were answered\n", answered);
    assert_in_range(answered, 64, 80);
    pair_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_round_trip_takes_its_time),
        cmocka_unit_test(what_is_under_way_outlives_the_fault),
        cmocka_unit_test(a_partition_is_survived),
        cmocka_unit_test(bodies_come_through_losses),
        cmocka_unit_test(a_narrow_stream_is_not_flooded),
        cmocka_unit_test(a_reset_is_followed_by_a_reconnect),
        cmocka_unit_test(connects_fail_as_they_are_told_to),
        cmocka_unit_test(connections_may_go_at_any_moment),
        cmocka_unit_test(paths_and_connections_go_in_events),
        cmocka_unit_test(a_frozen_device_has_its_path),
        cmocka_unit_test(an_end_takes_its_time),
        cmocka_unit_test(a_reset_reaches_the_server),
        cmocka_unit_test(what_comes_is_held_within_bounds),
        cmocka_unit_test(what_is_served_is_behind_the_path),
        cmocka_unit_test(clients_of_a_device_come_and_go),
        cmocka_unit_test(many_clients_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
