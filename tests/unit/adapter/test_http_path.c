// HTTP over a device's path: what a fault does to connects, to connections and to those that stand, and that nothing is
// left.
#include "adapter/http_path_site.h"

static void latency_is_that_of_the_path(void **state)
{
    struct site s;
    (void)state;
    site_raw(&s, NULL);
    on_path(&s, "{'latency':'40ms'}");
    assert_true(timed_get(&s, "/", 200) >= 160000); // SYN, request
    assert_true(mean(&s.w, "connect_latency") >= 80000);
    assert_true(mean(&s.w, "tcp_latency") >= 80000);
    for (int i = 0; i < 3; i++)
        assert_true(timed_get(&s, "/", 200) >= 80000);
    assert_int_equal(s.w.raw.n_peers, 1); // one connection for all
    assert_true(gauge(&s.w, "connects") == 1);
    assert_true(gauge(&s.w, "http_connections") == 1);
    assert_true(OPS->footprint(s.d.conn) > http_bridge_footprint(s.d.conn->sockets->bridge));
    site_delete(&s);
}

static void an_open_connection_is_taken_over(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    timed_get(&s, "/", 200);
    on_path(&s, "{'latency':'40ms'}");
    SETTLE(&s.w);
    for (int i = 0; i < 2; i++)
        assert_true(timed_get(&s, "/", 200) >= 80000);
    assert_int_equal(s.w.raw.n_peers, 1);
    heal(&s);
    WAIT(&s.w, totals(&s).paths == 0); // the bridge stands, the path does not
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 9, &err), 0);
    WAIT(&s.w, s.d.n_answers == 4);
    assert_int_equal(s.w.raw.n_peers, 1);
    assert_non_null(s.d.conn->sockets->bridge);
    // And on another path.
    assert_non_null(s.path = path_new(s.env, 8, &err));
    on_path(&s, "{'latency':'40ms'}");
    SETTLE(&s.w);
    assert_true(timed_get(&s, "/", 200) >= 80000);
    assert_int_equal(s.w.raw.n_peers, 1);
    // Which knows who is at the other end.
    char fault[64];
    snprintf(fault, sizeof fault, "{'partition':{'ports':[%u]}}", s.w.raw.port);
    apply(s.path, 2, fault);
    int64_t until = loop_fresh_us(s.w.loop) + 200000;
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 10, &err), 0);
    while (loop_fresh_us(s.w.loop) < until)
        loop_turn(s.w.loop, 1000);
    assert_int_equal(s.w.raw.n_requests, 5);
    assert_int_equal(s.d.n_answers, 5);
    assert_true(path_remove(s.path, 2));
    WAIT(&s.w, s.d.n_answers == 6);
    assert_int_equal(s.d.answers[5].status, 200);
    site_delete(&s);
}

static void say_half(struct peer *p, const char *head)
{
    (void)head;
    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
}

static void taken_over_in_the_middle_of_an_answer(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    s.w.raw.on_request = say_half;
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
    WAIT(&s.w, s.w.raw.n_requests == 1);
    for (int i = 0; i < 2; i++) { // once with bytes that libcurl has, once with bytes on their way
        on_path(&s, "{'latency':'30ms'}");
        SETTLE(&s.w);
        peer_say(s.w.raw.peers[0], i ? "ld" : "wor");
        if (!i) {
            heal(&s);
            s.path = path_new(s.env, 8, &err);
        }
    }
    WAIT(&s.w, s.d.n_answers == 1);
    assert_string_equal(s.d.answers[0].body, "helloworld");
    assert_int_equal(s.w.raw.n_peers, 1);
    site_delete(&s);
}

// A server whose queue of connects is full: SYNs get no answer.
static void taken_over_while_it_connects(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct site s;
    struct error err;
    char url[64];
    int full[4];
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 0) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    for (int i = 0; i < 4; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(full[i], (struct sockaddr *)&at, sizeof at);
    }
    memset(&s, 0, sizeof s);
    world_create(&s.w);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(at.sin_port));
    world_target(&s.w, url, NULL);
    site_path(&s);
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
    SETTLE(&s.w);
    assert_non_null(s.d.conn->sockets);
    on_path(&s, "{'connect':{'refuse':1,'delay':'20ms'}}");
    WAIT(&s.w, s.d.n_answers == 1);
    assert_int_equal(s.d.answers[0].code, ERR_REFUSED);
    assert_non_null(strstr(s.d.answers[0].text, "a fault of the network"));
    site_delete(&s);
    for (int i = 0; i < 4; i++)
        close(full[i]);
    close(fd);
}

static void a_reset_ends_the_request(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, "{\"retries\":{\"max\":2,\"initial\":\"10ms\"}}");
    on_path(&s, "{'latency':'5ms'}");
    timed_get(&s, "/", 200);
    s.w.raw.silent = true;
    assert_int_equal(ask(&s.d, "GET", "/", NULL, "{\"retries\":0}", 1, &err), 0);
    WAIT(&s.w, s.w.raw.n_requests == 2);
    assert_int_equal(path_reset(s.path), 1);
    // A kept connection that ends at its next use is nobody's fault: the request goes out again on a new one.
    WAIT(&s.w, s.w.raw.n_requests == 3);
    assert_int_equal(s.w.raw.n_peers, 2);
    WAIT(&s.w, raw_open(&s.w.raw) == 1); // the server was told
    assert_int_equal(path_reset(s.path), 1);
    WAIT(&s.w, s.d.n_answers == 2);
    assert_int_equal(s.d.answers[1].code, ERR_CLOSED);
    assert_non_null(strstr(s.d.answers[1].text, "reset"));
    s.w.raw.silent = false;
    timed_get(&s, "/", 200);
    // In the middle of an answer.
    s.w.raw.on_request = say_half;
    assert_int_equal(ask(&s.d, "GET", "/", NULL, "{\"retries\":0}", 2, &err), 0);
    unsigned before = s.w.raw.n_requests;
    WAIT(&s.w, s.w.raw.n_requests == before + 1);
    int64_t until = loop_fresh_us(s.w.loop) + 50000;
    while (loop_fresh_us(s.w.loop) < until)
        loop_turn(s.w.loop, 1000);
    path_reset(s.path);
    WAIT(&s.w, s.d.n_answers == 4);
    assert_int_equal(s.d.answers[3].code, ERR_CLOSED);
    assert_true(totals(&s).resets >= 3);
    // While nothing goes on: the next request connects anew, without a word.
    s.w.raw.on_request = NULL;
    timed_get(&s, "/", 200);
    path_reset(s.path);
    SETTLE(&s.w);
    unsigned peers = s.w.raw.n_peers;
    timed_get(&s, "/", 200);
    assert_int_equal(s.w.raw.n_peers, peers + 1);
    site_delete(&s);
}

static void connects_fail_as_they_should(void **state)
{
    static const struct {
        const char *fault, *options, *text, *metric;
        enum error_code code;
    } cases[] = {
        {"{'dns':{'fail':1}}", NULL, "cannot resolve localhost", "connect_failures{reason:resolve}", ERR_RESOLVE},
        {"{'connect':{'refuse':1}}", NULL, "refused", "connect_failures{reason:refused}", ERR_REFUSED},
        {"{'connect':{'timeout':1}}", "{\"connectTimeout\":\"150ms\"}", "not connected",
         "connect_failures{reason:timeout}", ERR_TIMEOUT},
        {"{'partition':{'ports':[1]}}", NULL, NULL, NULL, ERR_NONE},
        {"{'partition':{'hosts':['localhost']}}", "{\"connectTimeout\":\"150ms\"}", "not connected",
         "connect_failures{reason:timeout}", ERR_TIMEOUT},
        {"{'partition':{'protocols':['http']}}", "{\"timeout\":\"150ms\"}", "not connected",
         "connect_failures{reason:timeout}", ERR_TIMEOUT},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site s;
        char url[64];
        memset(&s, 0, sizeof s);
        world_create(&s.w);
        raw_start(&s.w);
        s.w.raw.answer = OK_HI;
        snprintf(url, sizeof url, "http://localhost:%u", s.w.raw.port);
        world_target(&s.w, url, cases[i].options);
        site_path(&s);
        on_path(&s, cases[i].fault);
        const struct answer *a = get(&s.w, &s.d, "GET", "/", NULL, NULL);
        if (a->code != cases[i].code || (cases[i].text && !strstr(a->text, cases[i].text)))
            fail_msg("%s: %s %s", cases[i].fault, error_code_name(a->code), a->text);
        if (cases[i].code) {
            assert_true(gauge(&s.w, cases[i].metric) == 1);
            assert_int_equal(s.w.raw.n_peers, 0);
            if (i < 2)
                assert_non_null(strstr(a->text, url)); // it says whom
            heal(&s);
            timed_get(&s, "/", 200);
            assert_null(s.d.conn->sockets->bridge);
        }
        site_delete(&s);
    }
    // A server that refuses by itself, at the other end of a path.
    struct site s;
    site_raw(&s, NULL);
    on_path(&s, "{'latency':'5ms'}");
    raw_stop(&s.w.raw);
    s.w.raw.port = 0;
    assert_int_equal(get(&s.w, &s.d, "GET", "/", NULL, NULL)->code, ERR_REFUSED);
    site_delete(&s);
}

static void a_connect_that_is_lost_comes_later(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    on_path(&s, "{'partition':true}");
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
    SETTLE(&s.w);
    change(s.path, 1, "{'latency':'5ms'}"); // the SYN is sent again after a second
    int64_t begin = loop_fresh_us(s.w.loop);
    WAIT(&s.w, s.d.n_answers == 1);
    assert_int_equal(s.d.answers[0].status, 200);
    assert_true(loop_fresh_us(s.w.loop) - begin >= 800000);
    site_delete(&s);
}

static void faults_that_end_in_flight(void **state)
{
    (void)state;
    for (int stage = 0; stage < 3; stage++) { // SYN under way, request under way, answer under way
        struct site s;
        struct error err;
        site_raw(&s, NULL);
        if (stage)
            timed_get(&s, "/", 200);
        on_path(&s, "{'latency':'60ms'}");
        SETTLE(&s.w);
        unsigned requests = s.w.raw.n_requests, answers = s.d.n_answers;
        assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
        SETTLE(&s.w);
        if (stage == 2)
            WAIT(&s.w, s.w.raw.n_requests == requests + 1);
        heal(&s);
        WAIT(&s.w, s.d.n_answers == answers + 1);
        assert_int_equal(s.d.answers[answers].status, 200);
        WAIT(&s.w, totals(&s).paths == 0);
        assert_int_equal(totals(&s).held_bytes, 0);
        timed_get(&s, "/", 200);
        assert_int_equal(s.w.raw.n_peers, 1);
        site_delete(&s);
    }
}

static void deleted_in_flight(void **state)
{
    (void)state;
    for (int stage = 0; stage < 6; stage++) {
        struct site s;
        struct error err;
        site_raw(&s, NULL);
        s.w.raw.on_request = stage == 3 ? say_half : NULL;
        s.w.raw.silent = stage == 2;
        if (stage == 4) // taken over, and gone before the end of the turn
            timed_get(&s, "/", 200);
        on_path(&s, "{'latency':'20ms'}");
        if (stage != 4) {
            assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
            SETTLE(&s.w); // stage 0: the SYN is under way
        }
        if (stage == 1)
            WAIT(&s.w, s.w.raw.n_peers == 1);
        if (stage == 2 || stage == 3)
            WAIT(&s.w, s.w.raw.n_requests == 1);
        if (stage == 5) { // idle
            WAIT(&s.w, s.d.n_answers == 1);
            OPS->conn_close(s.d.conn, ADAPTER_GRACEFUL);
        }
        OPS->conn_delete(s.d.conn);
        s.d.conn = NULL;
        unsigned peers = s.w.raw.n_peers;
        WAIT(&s.w, !raw_open(&s.w.raw)); // the server hears of it
        s.w.raw.on_request = NULL;
        s.w.raw.silent = false;
        device_create(&s.w, &s.d);
        SETTLE(&s.w);
        timed_get(&s, "/", 200); // libcurl looks at what it has
        assert_true(s.w.raw.n_peers <= peers + 1);
        site_delete(&s);
    }
}

static void what_a_device_wrote_goes_before_its_end(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    for (int abrupt = 0; abrupt < 2; abrupt++) {
        site_raw(&s, NULL);
        s.w.raw.silent = true;
        on_path(&s, "{'latency':'20ms'}");
        device_open(&s.w, &s.d);
        assert_int_equal(ask(&s.d, "POST", "/", "the last word", NULL, 1, &err), 0);
        WAIT(&s.w, s.w.raw.n_peers == 1);
        WAIT(&s.w, totals(&s).held_bytes > 0); // the request is under way
        ev_io_stop(loop_ev(s.w.loop), &s.w.raw.peers[0]->io);
        if (abrupt)
            WAIT(&s.w, totals(&s).held_bytes == 0);
        OPS->conn_close(s.d.conn, abrupt ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
        int fd = s.w.raw.peers[0]->fd;
        ssize_t n = 0, total = 0;
        int code = EAGAIN;
        char text[1024];
        fcntl(fd, F_SETFL, O_NONBLOCK);
        for (int64_t until = loop_fresh_us(s.w.loop) + 5000000; code == EAGAIN && loop_fresh_us(s.w.loop) < until;) {
            loop_turn(s.w.loop, 1000);
            while ((n = recv(fd, text + total, sizeof text - (size_t)total, 0)) > 0)
                total += n;
            code = n < 0 ? errno : 0;
        }
        assert_int_equal(code, abrupt ? ECONNRESET : 0);
        if (!abrupt)
            assert_non_null(memmem(text, (size_t)total, "the last word", 13));
        site_delete(&s);
    }
}

// What libcurl has written and nobody has looked at yet.
static void written_in_the_last_moment(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    on_path(&s, "{'latency':'5ms'}");
    device_open(&s.w, &s.d);
    timed_get(&s, "/", 200);
    assert_int_equal(ask(&s.d, "POST", "/", "the last word", NULL, 1, &err), 0);
    loop_turn(s.w.loop, 0);
    OPS->conn_close(s.d.conn, ADAPTER_GRACEFUL);
    WAIT(&s.w, s.w.raw.n_requests == 2);
    assert_non_null(strstr(s.w.raw.last, "the last word"));
    WAIT(&s.w, !raw_open(&s.w.raw));
    site_delete(&s);
}

static void until_the_server_closes(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    s.w.raw.answer = "HTTP/1.1 200 OK\r\n\r\nall that there is";
    s.w.raw.close = true;
    on_path(&s, "{'latency':'5ms'}");
    const struct answer *a = get(&s.w, &s.d, "GET", "/", NULL, NULL);
    assert_string_equal(a->body, "all that there is");
    // RST in the middle.
    s.w.raw.close = false;
    s.w.raw.on_request = say_half;
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
    WAIT(&s.w, s.w.raw.n_requests == 2);
    struct linger rst = {.l_onoff = 1};
    struct peer *p = s.w.raw.peers[1];
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    peer_close(p);
    WAIT(&s.w, s.d.n_answers == 2);
    assert_int_equal(s.d.answers[1].code, ERR_CLOSED);
    assert_non_null(strstr(s.d.answers[1].text, "reset"));
    // FIN in the middle.
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 2, &err), 0);
    WAIT(&s.w, s.w.raw.n_requests == 3);
    peer_close(s.w.raw.peers[2]);
    WAIT(&s.w, s.d.n_answers == 3);
    assert_int_equal(s.d.answers[2].code, ERR_CLOSED);
    assert_null(strstr(s.d.answers[2].text, "reset"));
    site_delete(&s);
}

static void a_frozen_device_on_a_path(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, NULL);
    s.w.raw.silent = true;
    device_open(&s.w, &s.d);
    on_path(&s, "{'latency':'5ms'}");
    assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, 1, &err), 0);
    WAIT(&s.w, s.w.raw.n_requests == 1);
    OPS->conn_freeze(s.d.conn, true);
    peer_say(s.w.raw.peers[0], OK_HI);
    for (int i = 0; i < 20; i++)
        loop_turn(s.w.loop, 5000);
    assert_int_equal(s.d.n_answers, 0);
    OPS->conn_freeze(s.d.conn, false);
    WAIT(&s.w, s.d.n_answers == 1);
    assert_int_equal(s.d.answers[0].status, 200);
    site_delete(&s);
}

static void a_pool_is_left_and_joined_again(void **state)
{
    struct site s;
    struct device other = {.client_id = "b"};
    (void)state;
    site_raw(&s, "{\"maxConnections\":1}");
    device_create(&s.w, &other);
    timed_get(&s, "/", 200);
    get(&s.w, &other, "GET", "/", NULL, NULL);
    assert_int_equal(s.w.raw.n_peers, 1);
    on_path(&s, "{'latency':'40ms'}");
    SETTLE(&s.w);
    assert_true(timed_get(&s, "/", 200) >= 80000);
    assert_int_equal(s.w.raw.n_peers, 2); // its own
    assert_int_equal(get(&s.w, &other, "GET", "/", NULL, NULL)->status, 200);
    assert_int_equal(s.w.raw.n_peers, 2);
    assert_int_equal(s.w.raw.peers[0]->requests, 3);
    heal(&s);
    WAIT(&s.w, raw_open(&s.w.raw) == 1);
    timed_get(&s, "/", 200);
    assert_int_equal(s.w.raw.n_peers, 2);
    assert_int_equal(s.w.raw.peers[0]->requests, 4);
    OPS->conn_delete(other.conn);
    site_delete(&s);
}

// --- what is missing ----------------------------------------------------------------------------------------------

static void without_descriptors(void **state)
{
    struct site s;
    struct rlimit was, none;
    (void)state;
    site_raw(&s, NULL);
    timed_get(&s, "/", 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 3; // every number below is taken
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    on_path(&s, "{'latency':'20ms'}");
    SETTLE(&s.w);
    assert_null(s.d.conn->sockets->bridge); // it goes on as it was
    assert_int_equal(get(&s.w, &s.d, "GET", "/", NULL, NULL)->status, 200);
    peer_close(s.w.raw.peers[0]);
    const struct answer *a = get(&s.w, &s.d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_LIMIT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(get(&s.w, &s.d, "GET", "/", NULL, NULL)->status, 200);
    assert_non_null(s.d.conn->sockets->bridge);
    site_delete(&s);
}

static void no_descriptor_is_left(void **state)
{
    struct site s;
    (void)state;
    site_raw(&s, "{\"keepAlive\":0}");
    on_path(&s, "{'latency':'1ms'}");
    timed_get(&s, "/", 200);
    WAIT(&s.w, !raw_open(&s.w.raw));
    unsigned before = open_files();
    for (int i = 0; i < 10; i++)
        timed_get(&s, "/", 200);
    WAIT(&s.w, !raw_open(&s.w.raw));
    WAIT(&s.w, open_files() <= before);
    assert_int_equal(s.w.raw.n_peers, 11);
    assert_int_equal(((struct http_target *)s.w.target)->n_bridges, 0);
    site_delete(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latency_is_that_of_the_path),
        cmocka_unit_test(an_open_connection_is_taken_over),
        cmocka_unit_test(taken_over_in_the_middle_of_an_answer),
        cmocka_unit_test(taken_over_while_it_connects),
        cmocka_unit_test(a_reset_ends_the_request),
        cmocka_unit_test(connects_fail_as_they_should),
        cmocka_unit_test(a_connect_that_is_lost_comes_later),
        cmocka_unit_test(faults_that_end_in_flight),
        cmocka_unit_test(deleted_in_flight),
        cmocka_unit_test(what_a_device_wrote_goes_before_its_end),
        cmocka_unit_test(written_in_the_last_moment),
        cmocka_unit_test(until_the_server_closes),
        cmocka_unit_test(a_frozen_device_on_a_path),
        cmocka_unit_test(a_pool_is_left_and_joined_again),
        cmocka_unit_test(without_descriptors),
        cmocka_unit_test(no_descriptor_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
