// The HTTP client of a device against the echo server: requests, publishing, retries, redirects, credentials.
#include "adapter/http_harness.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void every_method_and_its_body(void **state)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    device_open(w, d);
    for (unsigned i = 0; i < 6; i++) {
        char expected[40];
        const struct answer *a = get(w, d, methods[i], "/x?y=1", i == 1 || i == 2 || i == 3 ? "{\"v\":1}" : NULL, NULL);
        assert_int_equal(a->status, 200);
        snprintf(expected, sizeof expected, "\"method\":\"%s\"", methods[i]);
        assert_non_null(strstr(a->body, expected));
        assert_non_null(strstr(a->body, "\"path\":\"/echo/x\",\"query\":\"y=1\""));
        assert_non_null(strstr(a->headers, "content-type: application/json\n"));
        assert_int_equal(a->attempts, 1);
        bool has_body = i == 1 || i == 2 || i == 3;
        assert_true(!!strstr(a->body, "\"body\":\"{\\\"v\\\":1}\"") == has_body);
        assert_true(!!strstr(a->body, "\"content-type\":\"application/json\"") == has_body);
        assert_null(strstr(a->body, "urlencoded"));
    }
    const struct answer *a = get(w, d, "HEAD", "/x", NULL, NULL);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->n, 0);
    // All of it went over one connection.
    assert_true(gauge(w, "connects") == 1);
    assert_true(gauge(w, "requests") == 7);
    assert_true(gauge(w, "responses{status:2xx}") == 7);
    assert_true(gauge(w, "http_connections") == 1);
    assert_true(gauge(w, "bytes_sent") > 300 && gauge(w, "bytes_received") > 1000);
}

static void queries_headers_and_content_types(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    device_open(w, d);
    const struct answer *a = get(w, d, "GET", "/", NULL, "{\"query\":{\"a\":\"b c&d\",\"n\":[1,2.5],\"t\":true}}");
    assert_non_null(strstr(a->body, "\"query\":\"a=b%20c%26d&n=1&n=2.5&t=true\""));
    assert_non_null(strstr(a->body, "\"x-fleet\":\"north\""));
    assert_non_null(strstr(a->body, "\"user-agent\":\"meter/2\""));
    struct adapter_property h[] = {{"X-Fleet", 7, "south", 5}, {"Content-Type", 12, "text/csv", 8}};
    struct adapter_request r = {.method = "post",
                                .path = "",
                                .payload = (const uint8_t *)"1,2",
                                .payload_len = 3,
                                .headers = h,
                                .n_headers = 2};
    assert_int_equal(OPS->request(d->conn, &r, 9, &err), 0);
    WAIT(w, d->n_answers == 2);
    assert_non_null(strstr(d->answers[1].body, "\"x-fleet\":\"south\""));
    assert_null(strstr(d->answers[1].body, "north"));
    assert_non_null(strstr(d->answers[1].body, "\"content-type\":\"text/csv\""));
    assert_non_null(strstr(d->answers[1].body, "\"method\":\"POST\""));
}

static void refuses_what_cannot_be_sent(void **state)
{
    struct fixture *f = *state;
    struct device *d = &f->d;
    struct error err;
    char large[202];
    memset(large, 'x', 201);
    large[201] = '\0';
    const struct {
        const char *method, *path, *body, *options, *text;
    } bad[] = {
        {"GETT", "/", NULL, NULL, "did you mean \"GET\""},
        {"GET", "/a b", NULL, NULL, "percent-encoded"},
        {"GET", "/a\r\nX: y", NULL, NULL, "percent-encoded"},
        {"GET", "http://example.com/", NULL, NULL, "allowAbsolute"},
        {"HEAD", "/", "x", NULL, "no body"},
        {"GET", "/", NULL, "{\"qery\":{}}", "did you mean \"query\""},
        {"GET", "/", NULL, "{\"query\":{\"a\":{}}}", "query.a"},
        {"GET", "/", NULL, "{\"redirects\":51}", "0 to 50"},
        {"GET", "/", NULL, "{\"retries\":{\"max\":21}}", "0 to 20"},
        {"POST", "/", NULL, "{\"form\":[]}", "1 to 64"},
        {"POST", "/", NULL, "{\"form\":[{\"name\":\"a\"}]}", "one of value, file and data"},
        {"POST", "/", NULL, "{\"form\":[{\"name\":\"a\",\"file\":\"/nonexistent/x\"}]}", "/nonexistent/x"},
        {"POST", "/", NULL, "{\"form\":[{\"name\":\"a\",\"data\":\"***\"}]}", "Base64"},
        {"POST", "/", large, NULL, "maxRequest"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error_clear(&err);
        assert_int_equal(ask(d, bad[i].method, bad[i].path, bad[i].body, bad[i].options, 1, &err), -1);
        if (!strstr(err.text, bad[i].text))
            fail_msg("%zu: %s", i, err.text);
    }
    struct adapter_property evil[] = {{"X", 1, "a\r\nY: b", 7}}, ours[] = {{"content-length", 14, "5", 1}};
    struct adapter_request r = {.method = "GET", .path = "/", .path_len = 1, .headers = evil, .n_headers = 1};
    assert_int_equal(OPS->request(d->conn, &r, 1, &err), -1);
    r.headers = ours;
    assert_int_equal(OPS->request(d->conn, &r, 1, &err), -1);
    // The queue has an end, and nothing of what was refused is left in it.
    assert_int_equal(OPS->pending(d->conn), 0);
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 1, &err), 0);
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 2, &err), 0);
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 3, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    struct adapter_message m = {.topic = "t", .topic_len = 1};
    assert_int_equal(OPS->publish(d->conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
}

static void a_form_is_multipart(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    char path[] = "/tmp/iotix-http-XXXXXX", options[512];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "firmware", 8) == 8);
    close(fd);
    world_echo(&w, "/echo", NULL);
    device_online(&w, &d);
    snprintf(
        options, sizeof options,
        "{\"form\":[{\"name\":\"a\\\"b\",\"value\":\"v1\"},{\"name\":\"f\",\"file\":\"%s\",\"filename\":\"fw.bin\"},"
        "{\"name\":\"d\",\"data\":\"aGVsbG8=\",\"type\":\"text/plain\"}]}",
        path);
    const struct answer *a = get(&w, &d, "POST", "/up", NULL, options);
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "multipart/form-data; boundary=iotix-"));
    assert_non_null(strstr(a->body, "name=\\\"a%22b\\\"\\r\\n\\r\\nv1\\r\\n"));
    assert_non_null(strstr(a->body, "name=\\\"f\\\"; filename=\\\"fw.bin\\\"\\r\\nContent-Type: "
                                    "application/octet-stream\\r\\n\\r\\nfirmware\\r\\n"));
    assert_non_null(strstr(a->body, "Content-Type: text/plain\\r\\n\\r\\nhello\\r\\n"));
    unlink(path);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void publishes_by_quality_of_service(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    device_open(w, d);
    struct adapter_message m = {
        .topic = "plant 1/temp", .topic_len = 12, .payload = (const uint8_t *)"{\"t\":21}", .payload_len = 8};
    assert_int_equal(OPS->publish(d->conn, &m, 5, &err), 0); // QoS 0: never told
    m.qos = 1;
    assert_int_equal(OPS->publish(d->conn, &m, 6, &err), 0);
    assert_int_equal(OPS->pending(d->conn), 2);
    assert_int_equal(d->n_done, 0);
    WAIT(w, d->n_done == 1 && OPS->pending(d->conn) == 0);
    assert_int_equal(d->done[0].token, 6);
    assert_int_equal(d->done[0].code, ERR_NONE);
    assert_true(gauge(w, "messages_sent") == 2 && gauge(w, "messages_acked") == 2);
    const struct answer *a = get(w, d, "GET", "/plant%201/temp", NULL, NULL);
    assert_string_equal(a->body, "{\"t\":21}");
    struct adapter_meta meta = {.response_topic = "r", .response_topic_len = 1};
    m.meta = &meta;
    assert_int_equal(OPS->publish(d->conn, &m, 6, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static void a_refused_publish_says_why(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.answer = "HTTP/1.1 413 No\r\nContent-Length: 7\r\n\r\ntoo big";
    device_open(w, d);
    struct adapter_message m = {
        .topic = "/t", .topic_len = 2, .payload = (const uint8_t *)"x", .payload_len = 1, .qos = 1};
    assert_int_equal(OPS->publish(d->conn, &m, 6, &err), 0);
    WAIT(w, d->n_done == 1);
    assert_int_equal(d->done[0].code, ERR_REFUSED);
    assert_string_equal(d->done[0].text, "HTTP status 413: too big");
    assert_non_null(strstr(w->raw.last, "POST /t HTTP/1.1\r\n"));
    assert_non_null(strstr(w->raw.last, "Content-Type: application/octet-stream\r\n"));
    assert_true(gauge(w, "publish_errors") == 1);
}

// 503 twice, then 200.
static void flaky(struct peer *p, const char *head)
{
    (void)head;
    peer_say(p, p->raw->n_requests < 3 ? "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
                                       : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void limited(struct peer *p, const char *head)
{
    (void)head;
    peer_say(p, p->raw->n_requests < 2 ? "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
                                       : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void retries_with_backoff(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.on_request = flaky;
    device_open(w, d);
    const struct answer *a = get(w, d, "POST", "/", "again", NULL);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->attempts, 3);
    assert_non_null(strstr(w->raw.last, "\r\n\r\nagain"));
    assert_true(gauge(w, "http_retries") == 2);
    // The server's wish for later is kept.
    w->raw.on_request = limited;
    w->raw.n_requests = 0;
    int64_t before = loop_fresh_us(w->loop);
    a = get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(a->status, 200);
    assert_true(loop_fresh_us(w->loop) - before >= 1000000);
    // What cannot come in time is not waited for: the answer that there was is told.
    w->raw.n_requests = 0;
    struct adapter_request r = {.method = "GET", .path = "/", .path_len = 1, .timeout_us = 500000};
    assert_int_equal(OPS->request(d->conn, &r, 1, &err), 0);
    before = loop_fresh_us(w->loop);
    WAIT(w, d->n_answers == 3);
    assert_int_equal(d->answers[2].status, 429);
    assert_true(loop_fresh_us(w->loop) - before < 400000);
    // Per request: none.
    w->raw.on_request = flaky;
    w->raw.n_requests = 0;
    a = get(w, d, "GET", "/", NULL, "{\"retries\":0}");
    assert_int_equal(a->status, 503);
    assert_int_equal(a->attempts, 1);
}

static void follows_redirects_within_a_cap(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    device_open(w, d);
    const struct answer *a = get(w, d, "POST", "/redirect/3", "x", NULL);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "arrived\n");
    assert_int_equal(a->attempts, 4);
    a = get(w, d, "GET", "/redirect/4", NULL, NULL);
    assert_int_equal(a->code, ERR_LIMIT);
    assert_non_null(strstr(a->text, "more than 3 redirects"));
    a = get(w, d, "GET", "/redirect/1", NULL, "{\"redirects\":0}");
    assert_int_equal(a->status, 302);
    assert_non_null(strstr(a->headers, "location: /redirect/0\n"));
    a = get(w, d, "GET", "/redirect/4", NULL, "{\"redirects\":4}");
    assert_int_equal(a->status, 200);
    assert_true(gauge(w, "connects") == 1);
}

static char elsewhere[128];
static void redirecting(struct peer *p, const char *head)
{
    char text[256];
    (void)head;
    int n = snprintf(text, sizeof text, "HTTP/1.1 307 There\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", elsewhere);
    peer_send(p, text, (size_t)n);
}

static void keeps_secrets_from_another_origin(void **state)
{
    struct world w;
    struct device d = {.client_id = "a", .token = "s3cret"};
    (void)state;
    struct world other = {.echo = 0};
    echo_start(&other, NULL);
    world_raw(&w, "{\"headers\":{\"X-Key\":\"k\"}}");
    w.raw.on_request = redirecting;
    snprintf(elsewhere, sizeof elsewhere, "http://localhost:%d/echo", other.echo_port);
    device_online(&w, &d);
    const struct answer *a = get(&w, &d, "POST", "/", "kept", NULL);
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(w.raw.last, "Authorization: Bearer s3cret\r\n"));
    assert_null(strstr(a->body, "s3cret"));
    assert_null(strstr(a->body, "x-key"));
    assert_non_null(strstr(a->body, "\"method\":\"POST\""));
    assert_non_null(strstr(a->body, "\"body\":\"kept\""));
    // Nor what the request itself has.
    struct adapter_property own[] = {
        {"Authorization", 13, "Custom abc", 10}, {"Cookie", 6, "k=abc", 5}, {"X-Kept", 6, "y", 1}};
    struct adapter_request r = {.method = "GET", .path = "/", .path_len = 1, .headers = own, .n_headers = 3};
    struct error err;
    assert_int_equal(OPS->request(d.conn, &r, 55, &err), 0);
    WAIT(&w, d.n_answers == 2);
    assert_non_null(strstr(w.raw.last, "Authorization: Custom abc\r\n"));
    assert_null(strstr(d.answers[1].body, "abc"));
    assert_non_null(strstr(d.answers[1].body, "\"x-kept\":\"y\""));
    // Only to http and https.
    snprintf(elsewhere, sizeof elsewhere, "file:///etc/passwd");
    a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_PROTOCOL);
    snprintf(elsewhere, sizeof elsewhere, "http://127.0.0.1:1/");
    a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_REFUSED);
    // In a circle.
    snprintf(elsewhere, sizeof elsewhere, "/");
    a = get(&w, &d, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_LIMIT);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
    other.loop = NULL;
    echo_stop(&other);
}

static void wants_a_fresh_token(struct peer *p, const char *head)
{
    peer_say(p, strstr(head, "Bearer old\r\n") ? "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n" : OK_EMPTY);
}

static void asks_for_a_fresh_token_once(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.on_request = wants_a_fresh_token;
    device_open(w, d);
    const struct answer *a = get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(a->status, 401); // the token is the same when it is asked for again
    assert_int_equal(a->attempts, 1);
    assert_int_equal(d->asked[FIELD_TOKEN], 2);
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 1, &err), 0);
    SETTLE(w);
    d->token = "new";
    a = get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->attempts, 2);
    unsigned asked = d->asked[FIELD_TOKEN];
    a = get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(a->attempts, 1);
    assert_int_equal(d->asked[FIELD_TOKEN], asked); // and kept
    a = get(w, d, "GET", "/", NULL, "{\"auth\":false}");
    assert_null(strstr(w->raw.last, "Authorization"));
    assert_true(gauge(w, "credential_refreshes") >= 2);
}

static void a_token_about_to_end_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    // {"alg":"none"}.{"iat":1000,"exp":2000}
    w->raw.answer = OK_EMPTY;
    device_open(w, d);
    get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(d->asked[FIELD_TOKEN], 1);
    get(w, d, "GET", "/", NULL, NULL);
    assert_int_equal(d->asked[FIELD_TOKEN], 2);
}

static void basic_credentials(void **state)
{
    struct world w;
    struct device d = {.client_id = "a", .username = "us\xc3\xa9r", .password = "pa:ss"}, e = {.username = "a:b"},
                  f = {.token = "fail"};
    struct error err;
    char url[64];
    (void)state;
    world_raw(&w, NULL);
    w.raw.answer = OK_EMPTY;
    device_online(&w, &d);
    get(&w, &d, "GET", "/", NULL, NULL);
    assert_non_null(strstr(w.raw.last, "Authorization: Basic dXPDqXI6cGE6c3M=\r\n"));
    device_create(&w, &e);
    assert_int_equal(get(&w, &e, "GET", "/", NULL, NULL)->code, ERR_INVALID);
    device_create(&w, &f);
    assert_int_equal(get(&w, &f, "GET", "/", NULL, NULL)->code, ERR_INVALID);
    assert_int_equal(ask(&f, "GET", "/", NULL, NULL, 3, &err), 0);
    OPS->conn_delete(f.conn);
    OPS->conn_delete(e.conn);
    OPS->conn_delete(d.conn);
    OPS->target_delete(w.target);
    snprintf(url, sizeof url, "http://joe:p%%40ss@127.0.0.1:%u/base", w.raw.port);
    world_target(&w, url, NULL);
    struct device g = {.client_id = "g"};
    device_create(&w, &g);
    get(&w, &g, "GET", "x", NULL, NULL);
    assert_non_null(strstr(w.raw.last, "GET /base/x HTTP/1.1\r\n"));
    assert_non_null(strstr(w.raw.last, "Authorization: Basic am9lOnBAc3M=\r\n"));
    OPS->conn_delete(g.conn);
    world_destroy(&w);
}

static void answers_may_be_compressed_or_chunked(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    device_open(w, d);
    const struct answer *a = get(w, d, "GET", "/gzip", NULL, NULL);
    assert_string_equal(a->body, "compressed by the server\n");
    assert_non_null(strstr(a->headers, "content-encoding: gzip\n"));
    a = get(w, d, "GET", "/chunked/3", NULL, NULL);
    assert_string_equal(a->body, "chunk 0\nchunk 1\nchunk 2\n");
    a = get(w, d, "GET", "/bytes/500000", NULL, NULL);
    assert_int_equal(a->n, 500000);
    a = get(w, d, "GET", "/bytes/2000000", NULL, NULL);
    assert_int_equal(a->code, ERR_LIMIT);
    assert_non_null(strstr(a->text, "maxResponse"));
    a = get(w, d, "GET", "/status/418", NULL, NULL);
    assert_int_equal(a->status, 418);
    assert_true(gauge(w, "request_errors") == 5);
}

static void every_device_has_its_own_connection(void **state)
{
    struct world w;
    struct device d[20];
    (void)state;
    memset(d, 0, sizeof d);
    world_raw(&w, NULL);
    w.raw.answer = OK_EMPTY;
    for (unsigned i = 0; i < 20; i++)
        device_create(&w, &d[i]);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 20; i++)
            get(&w, &d[i], "GET", "/", NULL, NULL);
    assert_int_equal(w.raw.n_peers, 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(w.raw.peers[i]->requests, 3);
    assert_true(gauge(&w, "http_connections") == 20);
    // A device that is closed ends its own connection and nobody else's.
    OPS->conn_close(d[0].conn, ADAPTER_GRACEFUL);
    OPS->conn_close(d[1].conn, ADAPTER_ABRUPT);
    WAIT(&w, raw_open(&w.raw) == 18);
    for (unsigned i = 0; i < 20; i++)
        OPS->conn_delete(d[i].conn);
    WAIT(&w, raw_open(&w.raw) == 0);
    world_destroy(&w);
}

static void a_pool_is_shared(void **state)
{
    struct world w;
    struct device d[20];
    (void)state;
    memset(d, 0, sizeof d);
    world_echo(&w, "", "{\"maxConnections\":3}");
    for (unsigned i = 0; i < 20; i++)
        device_create(&w, &d[i]);
    for (unsigned round = 0; round < 3; round++) {
        struct error err;
        for (unsigned i = 0; i < 20; i++)
            assert_int_equal(ask(&d[i], "GET", "/delay/5", NULL, NULL, 1, &err), 0);
        for (unsigned i = 0; i < 20; i++)
            WAIT(&w, d[i].n_answers == round + 1);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(d[i].answers[2].status, 200);
    assert_true(gauge(&w, "connects") == 3);
    for (unsigned i = 0; i < 20; i++)
        OPS->conn_delete(d[i].conn);
    world_destroy(&w);
}

static void requests_of_a_device_keep_their_order(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    // works without being online
    assert_int_equal(ask(d, "GET", "/delay/50", NULL, NULL, 1, &err), 0);
    assert_int_equal(ask(d, "GET", "/status/204", NULL, NULL, 2, &err), 0);
    assert_int_equal(ask(d, "GET", "/status/201", NULL, NULL, 3, &err), 0);
    assert_int_equal(ask(d, "GET", "/status/202", NULL, NULL, 4, &err), 0);
    OPS->request_cancel(d->conn, 3);
    WAIT(w, d->n_answers == 3);
    assert_int_equal(d->answers[0].token, 1);
    assert_int_equal(d->answers[1].token, 2);
    assert_int_equal(d->answers[2].token, 4);
    assert_true(gauge(w, "connects") == 1);
}

static void closing_cancels_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.silent = true;
    device_open(w, d);
    struct adapter_message m = {.topic = "t", .topic_len = 1, .qos = 1};
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 1, &err), 0);
    assert_int_equal(OPS->publish(d->conn, &m, 2, &err), 0);
    WAIT(w, w->raw.n_requests == 1);
    OPS->conn_close(d->conn, ADAPTER_GRACEFUL);
    assert_int_equal(d->n_answers + d->n_done + d->offline, 0);
    WAIT(w, d->offline == 1);
    assert_int_equal(d->answers[0].code, ERR_CANCELLED);
    assert_int_equal(d->done[0].code, ERR_CANCELLED);
    assert_int_equal(d->why.code, ERR_NONE);
    WAIT(w, raw_open(&w->raw) == 0);
    // And again.
    assert_int_equal(OPS->conn_open(d->conn, &err), 0);
    assert_int_equal(OPS->conn_open(d->conn, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    WAIT(w, d->online == 2);
}

static void delete_inside(struct device *d, const char *event)
{
    if (strcmp(event, d->arg) == 0 && d->conn) {
        OPS->conn_delete(d->conn);
        d->conn = NULL;
    }
}

static void an_owner_may_delete_inside_every_event(void **state)
{
    static const char *const events[] = {"online", "response", "done", "offline", "message"};
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct world w;
        struct device d = {.client_id = "a", .hook = delete_inside, .arg = (void *)events[i]};
        struct error err;
        world_raw(&w, NULL);
        w.raw.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        device_create(&w, &d);
        assert_int_equal(OPS->conn_open(d.conn, &err), 0);
        WAIT(&w, d.online == 1);
        struct adapter_message m = {.topic = "t", .topic_len = 1, .qos = 1};
        if (d.conn) {
            assert_int_equal(OPS->subscribe(d.conn, "cmd", 1, 0, &err), 0);
            assert_int_equal(ask(&d, "GET", "/", NULL, NULL, 1, &err), 0);
            assert_int_equal(OPS->publish(d.conn, &m, 2, &err), 0);
            WAIT(&w, !d.conn || (d.n_answers && d.n_done));
        }
        if (d.conn) {
            ask(&d, "GET", "/", NULL, NULL, 3, &err);
            OPS->conn_close(d.conn, ADAPTER_GRACEFUL);
            WAIT(&w, d.offline == 1);
            SETTLE(&w);
        }
        OPS->conn_delete(d.conn);
        SETTLE(&w);
        world_destroy(&w);
    }
}

static void a_probe_decides_whether_it_is_online(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.on_request = flaky;
    assert_int_equal(OPS->conn_open(d->conn, &err), 0);
    WAIT(w, d->online == 1);
    assert_int_equal(d->offline, 2);
    assert_int_equal(d->retries, 2);
    assert_int_equal(d->why.code, ERR_REFUSED);
    assert_non_null(strstr(w->raw.last, "GET /health HTTP/1.1\r\n"));
}

static void a_frozen_device_stands_still(void **state)
{
    struct fixture *f = *state;
    struct world *w = &f->w;
    struct device *d = &f->d;
    struct error err;
    w->raw.silent = true;
    device_open(w, d);
    struct adapter_request r = {.method = "GET", .path = "/", .path_len = 1, .timeout_us = 200000};
    assert_int_equal(OPS->request(d->conn, &r, 1, &err), 0);
    WAIT(w, w->raw.n_requests == 1);
    OPS->conn_freeze(d->conn, true);
    peer_say(w->raw.peers[0], OK_EMPTY);
    assert_int_equal(ask(d, "GET", "/", NULL, NULL, 2, &err), 0);
    int64_t until = loop_fresh_us(w->loop) + 400000;
    while (loop_fresh_us(w->loop) < until)
        loop_turn(w->loop, 10000);
    assert_int_equal(d->n_answers, 0);
    OPS->conn_freeze(d->conn, false);
    WAIT(w, d->n_answers == 1);
    assert_int_equal(d->answers[0].status, 200);
    WAIT(w, w->raw.n_requests == 2);
}

static void names_are_resolved_by_our_resolver(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"}, e = {.client_id = "b"};
    char url[64];
    (void)state;
    world_create(&w);
    raw_start(&w);
    w.raw.answer = OK_EMPTY;
    snprintf(url, sizeof url, "http://localhost:%u", w.raw.port);
    world_target(&w, url, "{\"source\":\"127.0.0.9\"}");
    device_create(&w, &d);
    assert_int_equal(get(&w, &d, "GET", "/", NULL, NULL)->status, 200);
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    assert_int_equal(getpeername(w.raw.peers[0]->fd, (struct sockaddr *)&from, &len), 0);
    assert_int_equal(ntohl(from.sin_addr.s_addr), 0x7f000009);
    assert_non_null(strstr(w.raw.last, "Host: localhost:"));
    OPS->conn_delete(d.conn);
    OPS->target_delete(w.target);
    world_target(&w, "http://no-such-host.invalid", NULL);
    device_create(&w, &e);
    const struct answer *a = get(&w, &e, "GET", "/", NULL, NULL);
    assert_int_equal(a->code, ERR_RESOLVE);
    OPS->conn_delete(e.conn);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_http(every_method_and_its_body, "/echo", NULL, NULL),
        cmocka_unit_test_http(queries_headers_and_content_types, "/echo",
                              "{\"headers\":{\"X-Fleet\":\"north\",\"User-Agent\":\"meter/2\"}}", NULL),
        cmocka_unit_test_http(refuses_what_cannot_be_sent, NULL, "{\"maxRequest\":200,\"queue\":2}", NULL),
        cmocka_unit_test(a_form_is_multipart),
        cmocka_unit_test_http(publishes_by_quality_of_service, "/in", "{\"publish\":{\"method\":\"PUT\"}}", NULL),
        cmocka_unit_test_http(a_refused_publish_says_why, NULL, NULL, NULL),
        cmocka_unit_test_http(retries_with_backoff, NULL, "{\"retries\":{\"max\":3,\"initial\":\"10ms\"}}", NULL),
        cmocka_unit_test_http(follows_redirects_within_a_cap, "", "{\"redirects\":3}", NULL),
        cmocka_unit_test(keeps_secrets_from_another_origin),
        cmocka_unit_test_http(asks_for_a_fresh_token_once, NULL, NULL, "old"),
        cmocka_unit_test_http(a_token_about_to_end_is_replaced, NULL, NULL,
                              "eyJhbGciOiJub25lIn0.eyJpYXQiOjEwMDAsImV4cCI6MjAwMH0.x"),
        cmocka_unit_test(basic_credentials),
        cmocka_unit_test_http(answers_may_be_compressed_or_chunked, "", NULL, NULL),
        cmocka_unit_test(every_device_has_its_own_connection),
        cmocka_unit_test(a_pool_is_shared),
        cmocka_unit_test_http(requests_of_a_device_keep_their_order, "", NULL, NULL),
        cmocka_unit_test_http(closing_cancels_what_is_under_way, NULL, NULL, NULL),
        cmocka_unit_test(an_owner_may_delete_inside_every_event),
        cmocka_unit_test_http(a_probe_decides_whether_it_is_online, NULL,
                              "{\"probe\":\"/health\",\"retries\":{\"initial\":\"10ms\"}}", NULL),
        cmocka_unit_test_http(a_frozen_device_stands_still, NULL, NULL, NULL),
        cmocka_unit_test(names_are_resolved_by_our_resolver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
