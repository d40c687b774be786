// Servers that lie, stall, flood and cut.
#include "adapter/http_harness.h"

static const struct answer *attack(struct world *w, struct device *d, const char *bytes, size_t n, bool closes)
{
    w->raw.answer = bytes;
    w->raw.answer_len = n;
    w->raw.close = closes;
    return get(w, d, "GET", "/", NULL, NULL);
}

static void answers_that_break_the_rules(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    (void)state;
    world_raw(&w, "{\"timeout\":\"300ms\",\"maxResponse\":1000}");
    device_online(&w, &d);
    static const struct {
        const char *bytes;
        bool closes;
        int code, other; // either; ERR_NONE: an answer
    } cases[] = {
        {"", true, ERR_CLOSED, 0},
        {"nonsense\r\n\r\n", true, ERR_PROTOCOL, 0},
        {"HTTP/9.9 200 OK\r\n\r\n", true, ERR_PROTOCOL, 0},
        {"HTTP/1.1 2x0 OK\r\n\r\n", true, ERR_PROTOCOL, ERR_CLOSED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", true, ERR_CLOSED, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", false, ERR_TIMEOUT, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", true, ERR_PROTOCOL, ERR_NONE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx", true, ERR_NONE, ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true, ERR_PROTOCOL, ERR_CLOSED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", true, ERR_PROTOCOL, ERR_CLOSED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", true, ERR_CLOSED, ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", true, ERR_PROTOCOL, ERR_CLOSED},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", true, ERR_PROTOCOL, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", false, ERR_TIMEOUT, 0},
        {"HTTP/1.1 200", true, ERR_NONE, ERR_CLOSED}, // an unfinished status line
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false, ERR_TIMEOUT, ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false,
         ERR_NONE, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct answer *a = attack(&w, &d, cases[i].bytes, strlen(cases[i].bytes), cases[i].closes);
        if ((int)a->code != cases[i].code && (int)a->code != cases[i].other)
            fail_msg("%zu: %s %u %s", i, error_code_name(a->code), a->status, a->text);
        if (a->code && !a->text[0])
            fail_msg("%zu: no text", i);
        assert_null(strstr(a->body, "evil"));
    }
    // It still works.
    const char *good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const struct answer *a = attack(&w, &d, good, strlen(good), false);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "ok");
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void endless_headers_and_bodies_end(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    (void)state;
    size_t n = 300000;
    char *flood = malloc(n + 100);
    world_raw(&w, "{\"timeout\":\"3s\",\"maxResponse\":1000}");
    device_online(&w, &d);
    // One header line without an end.
    size_t k = (size_t)snprintf(flood, n + 100, "HTTP/1.1 200 OK\r\nX: ");
    memset(flood + k, 'y', n - k);
    const struct answer *a = attack(&w, &d, flood, n, false);
    assert_true(a->code == ERR_LIMIT || a->code == ERR_NO_MEMORY || a->code == ERR_PROTOCOL || a->code == ERR_CLOSED);
    // Many of them.
    k = (size_t)snprintf(flood, n + 100, "HTTP/1.1 200 OK\r\n");
    while (k + 20 < n)
        k += (size_t)snprintf(flood + k, n + 100 - k, "X-%05zu: y\r\n", k % 99999);
    a = attack(&w, &d, flood, k, false);
    assert_int_equal(a->code, ERR_LIMIT);
    assert_non_null(strstr(a->text, "headers"));
    // A flood of 1xx.
    for (k = 0; k + 40 < n;)
        k += (size_t)snprintf(flood + k, n + 100 - k, "HTTP/1.1 103 Early Hints\r\n\r\n");
    a = attack(&w, &d, flood, k, false);
    assert_int_equal(a->code, ERR_LIMIT);
    // More than maxResponse, with and without a length.
    k = (size_t)snprintf(flood, n + 100, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    memset(flood + k, 'y', 200000);
    a = attack(&w, &d, flood, k + 200000, false);
    assert_int_equal(a->code, ERR_LIMIT);
    assert_non_null(strstr(a->text, "maxResponse"));
    k = (size_t)snprintf(flood, n + 100, "HTTP/1.1 200 OK\r\n\r\n");
    memset(flood + k, 'y', 200000);
    a = attack(&w, &d, flood, k + 200000, true);
    assert_int_equal(a->code, ERR_LIMIT);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
    free(flood);
}

static struct peer *dripping;
static void drip(struct timer *timer, void *loop)
{
    if (dripping && dripping->fd >= 0)
        peer_say(dripping, "y");
    loop_timer_start(loop, timer, 20000, drip);
}

static void starts_to_drip(struct peer *p, const char *head)
{
    (void)head;
    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    dripping = p;
}

static void a_dripping_body_meets_the_deadline(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    struct timer timer = {0};
    (void)state;
    world_raw(&w, "{\"timeout\":\"300ms\"}");
    w.raw.on_request = starts_to_drip;
    device_online(&w, &d);
    loop_timer_start(w.loop, &timer, 0, drip);
    const struct answer *a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_TIMEOUT);
    assert_string_equal(a->text, "the answer was not complete within 300 ms");
    dripping = NULL;
    w.raw.on_request = NULL;
    w.raw.silent = true;
    a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_string_equal(a->text, "no answer within 300 ms");
    loop_timer_stop(w.loop, &timer);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void a_stalled_answer_ends_early(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    (void)state;
    world_raw(&w, "{\"stallTimeout\":\"1s\"}");
    w.raw.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    device_online(&w, &d);
    int64_t before = loop_fresh_us(w.loop);
    const struct answer *a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_TIMEOUT);
    assert_true(loop_fresh_us(w.loop) - before < 8000000);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void a_connection_that_was_closed_meanwhile(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    (void)state;
    world_raw(&w, NULL);
    device_online(&w, &d);
    w.raw.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(get(&w, &d, "POST", "/", "x", NULL)->status, 200);
        peer_close(w.raw.peers[w.raw.n_peers - 1]);
    }
    assert_int_equal(w.raw.n_peers, 5);
    assert_true(gauge(&w, "reconnects") == 4);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void nobody_listens(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    char url[64];
    (void)state;
    world_create(&w);
    raw_start(&w);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", w.raw.port);
    world_target(&w, url, "{\"retries\":{\"max\":2,\"initial\":\"10ms\"}}");
    ev_io_stop(loop_ev(w.loop), &w.raw.io);
    close(w.raw.io.fd);
    w.raw.port = 0;
    device_online(&w, &d);
    const struct answer *a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_REFUSED);
    assert_true(gauge(&w, "connect_errors") == 3);
    assert_true(gauge(&w, "http_retries") == 2);
    assert_true(gauge(&w, "connect_failures{reason:refused}") == 3);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

// What a fuzzer would send, for a bounded number of rounds: pieces of answers, cut, doubled and with bytes changed.
static struct rng chaos;
static void random_answer(struct peer *p, const char *head)
{
    static const char *const pieces[] = {"HTTP/1.1 200 OK\r\n",
                                         "HTTP/1.1 204 No\r\n",
                                         "HTTP/1.0 301 M\r\n",
                                         "HTTP/1.1 100 Continue\r\n\r\n",
                                         "HTTP/2 200\r\n",
                                         "Content-Length: 5\r\n",
                                         "Content-Length: 3\r\n",
                                         "Transfer-Encoding: chunked\r\n",
                                         "Connection: close\r\n",
                                         "Content-Encoding: gzip\r\n",
                                         "Location: /again\r\n",
                                         "Location: http://127.0.0.1:1/\r\n",
                                         "Retry-After: 9999999999\r\n",
                                         " folded\r\n",
                                         "\r\n",
                                         "\r\n",
                                         "hello",
                                         "5\r\nhello\r\n0\r\n\r\n",
                                         "ff\r\n",
                                         "\0\0\0",
                                         ": nameless\r\n"};
    char bytes[1024];
    size_t n = 0;
    (void)head;
    if (rng_below(&chaos, 4))
        n = (size_t)snprintf(bytes, sizeof bytes, "HTTP/1.1 200 OK\r\n");
    for (uint64_t k = rng_below(&chaos, 10); k; k--) {
        const char *s = pieces[rng_below(&chaos, sizeof pieces / sizeof *pieces)];
        size_t len = *s ? strlen(s) : 3;
        memcpy(bytes + n, s, len);
        n += len;
    }
    for (uint64_t k = rng_below(&chaos, 3); k && n; k--)
        bytes[rng_below(&chaos, n)] = (char)rng_u64(&chaos);
    peer_send(p, bytes, n);
    if (rng_below(&chaos, 3))
        peer_close(p);
}

// libcurl closes the socket of a connect that is given up by itself: it must not be counted, watched or ended after
// that.
static void a_connect_that_is_given_up(void **state)
{
    struct world w;
    struct error err;
    char url[64];
    (void)state;
    world_create(&w);
    raw_start(&w);
    w.raw.silent = true;
    snprintf(url, sizeof url, "https://127.0.0.1:%u", w.raw.port);
    world_target(&w, url, "{\"timeout\":\"5s\",\"tls\":{\"verify\":false}}");
    for (unsigned i = 0; i < 3; i++) {
        struct device d = {.client_id = "a"};
        device_create(&w, &d);
        assert_int_equal(ask(&d, "GET", "/", NULL, NULL, 1, &err), 0);
        WAIT(&w, gauge(&w, "http_connections") == 1); // TCP is under way
        if (i == 2)
            WAIT(&w, w.raw.n_peers && w.raw.peers[w.raw.n_peers - 1]->n); // TLS is
        OPS->conn_delete(d.conn);
        assert_true(gauge(&w, "http_connections") == 0);
    }
    world_destroy(&w);
}

static void random_servers(void **state)
{
    struct world w;
    struct device d[4];
    struct error err;
    (void)state;
    memset(d, 0, sizeof d);
    rng_seed(&chaos, 1);
    for (unsigned round = 0; round < 12; round++) { // each with 4 devices of at most 64 connections
        world_raw(&w, "{\"timeout\":\"60ms\",\"retries\":{\"max\":1,\"initial\":\"1ms\"},\"maxResponse\":4096}");
        w.raw.on_request = random_answer;
        for (unsigned i = 0; i < 4; i++) {
            d[i] = (struct device){.client_id = "a"};
            device_create(&w, &d[i]);
        }
        for (unsigned k = 0; k < 6 && w.raw.n_peers < 20; k++) {
            unsigned before[4];
            for (unsigned i = 0; i < 4; i++) {
                before[i] = d[i].n_answers;
                assert_int_equal(ask(&d[i], k % 2 ? "GET" : "PUT", "/", k % 2 ? NULL : "b", NULL, k, &err), 0);
            }
            for (unsigned i = 0; i < 4; i++)
                WAIT(&w, d[i].n_answers == before[i] + 1);
        }
        for (unsigned i = 0; i < 4; i++)
            OPS->conn_delete(d[i].conn);
        world_destroy(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_that_break_the_rules),
        cmocka_unit_test(endless_headers_and_bodies_end),
        cmocka_unit_test(a_dripping_body_meets_the_deadline),
        cmocka_unit_test(a_stalled_answer_ends_early),
        cmocka_unit_test(a_connection_that_was_closed_meanwhile),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_connect_that_is_given_up),
        cmocka_unit_test(random_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
