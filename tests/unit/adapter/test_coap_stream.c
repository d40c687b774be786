// CoAP over TCP and TLS through the seam (pipe.c): what a server of bare bytes may do to a device, and what a hook or a
// frozen device does to the stream.
#include "coap_harness.h"

struct raw { // a stream server on the loop, of one connection at a time
    struct world *w;
    ev_io listening, io;
    int fd, client;
    uint8_t got[1 << 16];
    size_t n;
    size_t total;
    bool deaf;            // reads nothing
    const char *greeting; // instead of a CSM
    size_t greeting_n;
    unsigned accepted;
    bool closed;
};

static const uint8_t csm[] = {0x00, 0xe1};

static void raw_send(struct raw *s, const void *bytes, size_t n)
{
    assert_int_equal(send(s->client, bytes, n, MSG_NOSIGNAL), n);
}

static void raw_hang_up(struct raw *s)
{
    if (s->client < 0)
        return;
    ev_io_stop(loop_ev(s->w->loop), &s->io);
    close(s->client);
    s->client = -1;
}

static void on_bytes(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *s = container_of(io, struct raw, io);
    (void)ev, (void)revents;
    if (s->n > sizeof s->got / 2)
        s->n = 0;
    ssize_t n = recv(s->client, s->got + s->n, sizeof s->got - s->n, 0);
    if (n <= 0) {
        s->closed = true;
        raw_hang_up(s);
        return;
    }
    s->n += (size_t)n;
    s->total += (size_t)n;
}

static void on_connection(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *s = container_of(io, struct raw, listening);
    (void)revents;
    raw_hang_up(s);
    s->client = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK);
    assert_true(s->client >= 0);
    int one = 1;
    (void)!setsockopt(s->client, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    s->accepted++;
    s->n = 0;
    ev_io_init(&s->io, on_bytes, s->client, EV_READ);
    if (!s->deaf)
        ev_io_start(ev, &s->io);
    if (s->greeting)
        raw_send(s, s->greeting, s->greeting_n);
    else
        raw_send(s, csm, sizeof csm);
}

static void raw_world(struct world *w, struct raw *s, const char *options)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    char url[64];
    world_create(w);
    s->w = w;
    s->client = -1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    ev_io_init(&s->listening, on_connection, s->fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &s->listening);
    snprintf(url, sizeof url, "coap+tcp://127.0.0.1:%u", ntohs(at.sin_port));
    w->client.fields[FIELD_CLIENT_ID] = "dev-1";
    w->target = make_target(w, url, options);
    client_create(w, &w->client);
}

static void raw_end(struct world *w, struct raw *s)
{
    raw_hang_up(s);
    ev_io_stop(loop_ev(w->loop), &s->listening);
    close(s->fd);
    world_destroy(w);
}

// Waits for a request (behind our CSM), and gives its token.
static const uint8_t *request(struct world *w, struct raw *s, size_t from)
{
    WAIT(w, s->n >= from + 6);
    const uint8_t *b = s->got + from;
    size_t header = b[0] >> 4 < 13 ? 2 : 3;
    assert_int_equal(b[0] & 15, 4);
    WAIT(w, s->n >= from + header + 4);
    return b + header;
}

static int get(struct world *w, uint32_t token)
{
    struct error err;
    return ask_with(&w->client, "GET", "/a", NULL, 0, NULL, 0, NULL, token, &err);
}

// Length of our CSM, the first message of a connection.
static size_t our_csm(struct world *w, struct raw *s)
{
    WAIT(w, s->n >= 2);
    size_t n = 2 + (size_t)(s->got[0] >> 4);
    WAIT(w, s->n >= n);
    assert_int_equal(s->got[1], 0xe1);
    return n;
}

static size_t answer(uint8_t *b, const uint8_t *token, const char *payload, size_t n)
{
    size_t body = n + 1, at = 0;
    if (body < 13) {
        b[at++] = (uint8_t)(body << 4 | 4);
    } else if (body < 269) {
        b[at++] = 0xd4;
        b[at++] = (uint8_t)(body - 13);
    } else {
        b[at++] = 0xe4;
        b[at++] = (uint8_t)((body - 269) >> 8);
        b[at++] = (uint8_t)(body - 269);
    }
    b[at++] = 0x45;
    memcpy(b + at, token, 4);
    at += 4;
    b[at++] = 0xff;
    memcpy(b + at, payload, n);
    return at + n;
}

static void an_answer_may_come_byte_by_byte(void **state)
{
    static const size_t sizes[] = {5, 200, 700};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        struct raw s = {0};
        char payload[700];
        uint8_t b[720];
        raw_world(&w, &s, NULL);
        client_connect(&w, &w.client);
        memset(payload, 'p', sizeof payload);
        assert_int_equal(get(&w, 1), 0);
        size_t n = answer(b, request(&w, &s, our_csm(&w, &s)), payload, sizes[i]);
        for (size_t k = 0; k < n; k++) {
            raw_send(&s, b + k, 1);
            loop_turn(w.loop, 1000);
        }
        WAIT(&w, w.client.responses.n == 1);
        assert_int_equal(w.client.responses.at[0].status, 205);
        assert_int_equal(w.client.responses.at[0].n, sizes[i]);
        assert_memory_equal(w.client.responses.at[0].payload, payload, sizes[i]);
        assert_int_equal(counter(&w, "bytes_received"), n + sizeof csm);
        assert_int_equal(counter(&w, "bytes_sent"), s.total);
        raw_end(&w, &s);
    }
}

static void what_is_no_coap_ends_the_connection(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
        enum error_code code;
        bool greeting;
    } all[] = {{"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "first message", ERR_PROTOCOL, true},
               {"\x00\x45", 2, "not a CSM", ERR_PROTOCOL, true},
               {"\x10\xe1\x10", 3, "critical option 1", ERR_PROTOCOL, true},
               {"\xf0\x7f\xff\xff\xff\x45", 6, "larger than the", ERR_PROTOCOL, false},
               {"\x0f\x45", 2, "token of 15", ERR_PROTOCOL, false},
               {"\x20\x45\xf1\x00", 4, "option that is none", ERR_PROTOCOL, false},
               {"\x00\xe4", 2, "7.04 Release", ERR_CLOSED, false},
               {"\x80\xe5\xff"
                "too bad",
                10, "7.05 Abort): too bad", ERR_CLOSED, false}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct world w;
        struct raw s = {.greeting = all[i].greeting ? all[i].bytes : NULL, .greeting_n = all[i].n};
        struct error err;
        raw_world(&w, &s, "{\"reconnect\": false, \"connectTimeout\": \"3s\"}");
        if (all[i].greeting) {
            assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
        } else {
            client_connect(&w, &w.client);
            assert_int_equal(get(&w, 1), 0);
            raw_send(&s, all[i].bytes, all[i].n);
        }
        WAIT(&w, w.client.offline == 1);
        if (!strstr(w.client.why.text, all[i].word))
            print_message("%zu: %s\n", i, w.client.why.text);
        assert_non_null(strstr(w.client.why.text, all[i].word));
        assert_int_equal(w.client.why.code, all[i].code);
        assert_int_equal(w.client.responses.n, all[i].greeting ? 0 : 1);
        assert_int_equal(counter(&w, "coap_malformed"), all[i].code == ERR_PROTOCOL);
        WAIT(&w, s.closed || s.client < 0);
        raw_end(&w, &s);
    }
}

static void half_a_message_and_the_end(void **state)
{
    struct world w;
    struct raw s = {0};
    (void)state;
    raw_world(&w, &s, "{\"reconnect\": {\"initial\": \"1ms\", \"max\": \"1ms\"}}");
    client_connect(&w, &w.client);
    assert_int_equal(get(&w, 1), 0);
    (void)request(&w, &s, our_csm(&w, &s));
    raw_send(&s, "\xd4\x40\x45", 3);
    SETTLE(&w);
    raw_hang_up(&s);
    WAIT(&w, w.client.offline == 1 && w.client.online == 2);
    assert_int_equal(w.client.why.code, ERR_CLOSED);
    assert_int_equal(w.client.responses.at[0].code, ERR_CLOSED);
    raw_end(&w, &s);
}

static void an_answer_with_a_bad_option_fails_its_request_alone(void **state)
{
    struct world w;
    struct raw s = {0};
    uint8_t b[64] = {0x44, 0x45};
    (void)state;
    raw_world(&w, &s, NULL);
    client_connect(&w, &w.client);
    assert_int_equal(get(&w, 1), 0);
    size_t from = our_csm(&w, &s);
    memcpy(b + 2, request(&w, &s, from), 4);
    memcpy(b + 6, "\xe1\x26\x02x", 4); // 9999
    size_t before = s.n;
    raw_send(&s, b, 10);
    WAIT(&w, w.client.responses.n == 1);
    assert_int_equal(w.client.responses.at[0].code, ERR_PROTOCOL);
    assert_non_null(strstr(w.client.responses.at[0].text, "option 9999 is critical"));
    assert_int_equal(w.client.offline, 0);
    // The next one is served. (libcoap says an empty message to the refused one.)
    assert_int_equal(get(&w, 2), 0);
    WAIT(&w, s.n > before + 2);
    size_t at = before + (s.got[before + 1] == 0 ? 2 : 0);
    raw_send(&s, b, answer(b, request(&w, &s, at), "hi", 2));
    WAIT(&w, w.client.responses.n == 2);
    assert_string_equal((char *)w.client.responses.at[1].payload, "hi");
    raw_end(&w, &s);
}

// ---- a server that does not read

static void a_server_that_takes_nothing_is_a_limit(void **state)
{
    struct world w;
    struct raw s = {.deaf = true};
    struct error err;
    static const char payload[1000];
    size_t sent = 0;
    (void)state;
    raw_world(&w, &s, NULL);
    client_connect(&w, &w.client);
    // What both kernels hold, then 1 MB here.
    while (sent < 100000 && publish(&w.client, "t", payload, sizeof payload, 0, 0, &err) == 0)
        sent++;
    assert_true(sent > 1000 && sent < 100000);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "takes nothing"));
    assert_int_equal(w.client.offline, 0);
    assert_true(OPS->footprint(w.client.conn) > 1000000);
    ev_io_start(loop_ev(w.loop), &s.io);
    WAIT(&w, s.total >= counter(&w, "bytes_sent"));
    assert_int_equal(s.total, counter(&w, "bytes_sent"));
    assert_int_equal(publish(&w.client, "t", payload, sizeof payload, 0, 0, &err), 0);
    WAIT(&w, s.total >= counter(&w, "bytes_sent"));
    assert_true(OPS->footprint(w.client.conn) < 20000);
    raw_end(&w, &s);
}

// ---- the seam

struct delay {
    struct coap_hook hook;
    bool all; // of both directions
    uint8_t kept[2][4096];
    size_t n[2];
    unsigned asked;
};

static bool keep(struct coap_hook *hook, const struct coap_piece *piece)
{
    struct delay *d = container_of(hook, struct delay, hook);
    assert_true(piece->stream);
    d->asked++;
    if (!d->all)
        return true;
    assert_true(d->n[piece->down] + piece->n <= sizeof d->kept[0]);
    memcpy(d->kept[piece->down] + d->n[piece->down], piece->bytes, piece->n);
    d->n[piece->down] += piece->n;
    return false;
}

// Hands on what was kept of one direction, in pieces.
static void hand_on(struct world *w, struct delay *d, bool down)
{
    struct error err;
    size_t n = d->n[down];
    d->n[down] = 0;
    uint8_t copy[4096];
    memcpy(copy, d->kept[down], n);
    for (size_t at = 0; at < n; at += 7)
        assert_int_equal(coap_conn_pass(w->client.conn, down, copy + at, n - at < 7 ? n - at : 7, &err), 0);
}

static void a_hook_delays_a_stream(void **state)
{
    static const char *const schemes[] = {"coap+tcp", "coaps+tcp"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct error err;
        struct delay d = {.hook.pass = keep};
        world_echo(&w, schemes[i], NULL);
        assert_int_equal(coap_conn_hook(w.client.conn, &d.hook, &err), 0);
        assert_int_equal(ask(&w.client, "GET", "/echo?passes", NULL)->status, 205);
        assert_true(d.asked >= 2);
        d.all = true;
        for (uint32_t k = 1; k <= 3; k++)
            assert_int_equal(
                ask_with(&w.client, "PUT", "/echo", "0123456789", 10, NULL, 0, "{\"confirmable\": false}", k, &err), 0);
        unsigned before = w.client.responses.n;
        SETTLE(&w);
        assert_int_equal(w.client.responses.n, before);
        hand_on(&w, &d, true);
        WAIT(&w, d.n[false] > 0);
        SETTLE(&w);
        assert_int_equal(w.client.responses.n, before);
        WAIT(&w, (hand_on(&w, &d, false), w.client.responses.n == before + 3));
        for (uint32_t k = 0; k < 3; k++) { // a stream: in order
            assert_int_equal(w.client.responses.at[before + k].token, k + 1);
            assert_int_equal(w.client.responses.at[before + k].status, 204);
        }
        assert_int_equal(coap_conn_pass(w.client.conn, false, d.kept[0], 0, &err), -1);
        assert_int_equal(coap_conn_hook(w.client.conn, NULL, &err), 0);
        assert_int_equal(ask(&w.client, "GET", "/echo", NULL)->status, 205);
        world_destroy(&w);
    }
}

static void a_frozen_stream_stands_still(void **state)
{
    static const char *const schemes[] = {"coap+tcp", "coaps+tcp"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        assert_int_equal(ask_with(&w.client, "GET", "/slow?ms=30", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        OPS->conn_freeze(w.client.conn, true);
        uint64_t received = counter(&w, "bytes_received");
        assert_int_equal(ask_with(&w.client, "GET", "/echo", NULL, 0, NULL, 0, NULL, 2, &err), 0);
        int64_t until = loop_fresh_us(w.loop) + 100000;
        unsigned turns = 0;
        while (loop_fresh_us(w.loop) < until) {
            loop_turn(w.loop, 20000);
            turns++;
        }
        assert_true(turns < 40); // its descriptor does not keep the loop busy
        assert_int_equal(w.client.responses.n, 0);
        assert_int_equal(counter(&w, "bytes_received"), received);
        OPS->conn_freeze(w.client.conn, false);
        WAIT(&w, w.client.responses.n == 2);
        assert_int_equal(w.client.offline, 0);
        assert_int_equal(w.client.responses.at[0].status, 205);
        assert_int_equal(w.client.responses.at[1].status, 205);
        // Frozen and deleted.
        OPS->conn_freeze(w.client.conn, true);
        world_destroy(&w);
    }
}

static void what_a_device_serves_stands_still_too(void **state)
{
    struct world w;
    struct error err;
    struct client other = {0};
    char url[128];
    struct buf at;
    (void)state;
    world_echo(&w, "coap+tcp", NULL);
    assert_int_equal(OPS->serve(w.client.conn, "/x", NULL, &err), 0);
    buf_create(&at, 200);
    assert_int_equal(OPS->served_at(w.client.conn, &at, &err), 0);
    snprintf(url, sizeof url, "%s", buf_cstr(&at));
    buf_destroy(&at);
    struct adapter_target *t = make_target(&w, url, NULL), *first = w.target;
    w.target = t;
    client_create(&w, &other);
    client_connect(&w, &other);
    OPS->conn_freeze(w.client.conn, true);
    assert_int_equal(ask_with(&other, "GET", "/x", NULL, 0, NULL, 0, NULL, 1, &err), 0);
    SETTLE(&w);
    assert_int_equal(w.client.requests.n, 0);
    OPS->conn_freeze(w.client.conn, false);
    WAIT(&w, w.client.requests.n == 1);
    struct adapter_response r = {.status = 205, .payload = (const uint8_t *)"y", .payload_len = 1};
    assert_int_equal(OPS->respond(w.client.conn, w.client.requests.at[0].ticket, &r, &err), 0);
    WAIT(&w, other.responses.n == 1);
    assert_string_equal((char *)other.responses.at[0].payload, "y");
    client_destroy(&other);
    OPS->target_delete(t);
    w.target = first;
    world_destroy(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_may_come_byte_by_byte),
        cmocka_unit_test(what_is_no_coap_ends_the_connection),
        cmocka_unit_test(half_a_message_and_the_end),
        cmocka_unit_test(an_answer_with_a_bad_option_fails_its_request_alone),
        cmocka_unit_test(a_server_that_takes_nothing_is_a_limit),
        cmocka_unit_test(a_hook_delays_a_stream),
        cmocka_unit_test(a_frozen_stream_stands_still),
        cmocka_unit_test(what_a_device_serves_stands_still_too),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
