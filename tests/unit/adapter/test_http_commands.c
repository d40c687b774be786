// Commands by long poll and by webhook, and what a device serves.
#include "adapter/http_harness.h"

// A client of the served endpoint that runs on the same loop: sends bytes, collects what comes back.
struct caller {
    ev_io io;
    int fd;
    char out[4096];
    size_t n;
    bool closed;
};

static void caller_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct caller *c = container_of(io, struct caller, io);
    (void)revents;
    ssize_t n = read(c->fd, c->out + c->n, sizeof c->out - 1 - c->n);
    if (n <= 0) {
        c->closed = true;
        ev_io_stop(ev, io);
        close(c->fd);
        return;
    }
    c->n += (size_t)n;
    c->out[c->n] = '\0';
}

static void call(struct world *w, struct caller *c, unsigned port, const char *bytes)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(send(c->fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
    ev_io_init(&c->io, caller_io, c->fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &c->io);
}

static void caller_end(struct world *w, struct caller *c)
{
    if (c->closed)
        return;
    ev_io_stop(loop_ev(w->loop), &c->io);
    close(c->fd);
    c->closed = true;
}

static unsigned served_port(struct device *d)
{
    struct buf url;
    struct error err;
    unsigned port = 0;
    buf_create(&url, 500);
    assert_int_equal(OPS->served_at(d->conn, &url, &err), 0);
    assert_int_equal(sscanf(buf_cstr(&url), "http://127.0.0.1:%u/", &port), 1);
    const char *name = strrchr(buf_cstr(&url), '/') + 1;
    assert_string_equal(name, d->client_id);
    buf_destroy(&url);
    return port;
}

static void commands_by_long_poll(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"}, server = {.client_id = "s"};
    struct error err;
    (void)state;
    world_echo(&w, "/poll", NULL);
    device_online(&w, &d);
    device_create(&w, &server);
    assert_int_equal(OPS->subscribe(d.conn, "d1/command", 1, 77, &err), 0);
    assert_int_equal(d.n_done, 0);
    WAIT(&w, d.n_done == 1);
    assert_int_equal(d.done[0].token, 77);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(get(&w, &server, "POST", "/d1/command", "{\"do\":1}", NULL)->status, 204);
    WAIT(&w, d.n_messages == 3);
    assert_string_equal(d.messages[2].topic, "d1/command");
    assert_string_equal(d.messages[2].payload, "{\"do\":1}");
    // Telemetry does not wait for the poll.
    assert_int_equal(get(&w, &d, "POST", "/d2", "x", NULL)->status, 204);
    assert_int_equal(OPS->unsubscribe(d.conn, "d1/command", 78, &err), 0);
    WAIT(&w, d.n_done == 2);
    assert_int_equal(OPS->subscribe(d.conn, "d1/+", 1, 79, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    OPS->conn_delete(server.conn);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void nothing_yet(struct peer *p, const char *head)
{
    (void)head;
    peer_say(p,
             p->raw->n_requests == 2 ? "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n" : "HTTP/1.1 204 Nothing\r\n\r\n");
}

static void a_server_without_patience_is_not_flooded(void **state)
{
    struct world w;
    struct device d = {.client_id = "a b"};
    struct error err;
    (void)state;
    world_raw(&w, "{\"commands\":{\"path\":\"/c/{clientId}\",\"interval\":\"100ms\",\"wait\":\"5s\"}}");
    w.raw.on_request = nothing_yet;
    device_online(&w, &d);
    assert_int_equal(OPS->subscribe(d.conn, "one", 1, 1, &err), 0);
    assert_int_equal(OPS->subscribe(d.conn, "two/+", 1, 2, &err), 0); // shares the path
    int64_t until = loop_fresh_us(w.loop) + 900000;
    while (loop_fresh_us(w.loop) < until)
        loop_turn(w.loop, 10000);
    assert_int_equal(d.n_done, 2);
    assert_int_equal(w.raw.n_peers, 1);
    // Two within 100 ms, then a backoff of half a second to a second.
    assert_in_range(w.raw.n_requests, 2, 5);
    assert_non_null(strstr(w.raw.last, "GET /c/a%20b HTTP/1.1\r\n"));
    assert_non_null(strstr(w.raw.last, "Prefer: wait=5\r\n"));
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void commands_by_webhook(void **state)
{
    struct world w;
    struct device d = {.client_id = "dev-9"};
    struct error err;
    struct caller c;
    (void)state;
    world_raw(&w, "{\"commands\":{\"mode\":\"serve\"}}");
    device_online(&w, &d);
    assert_int_equal(OPS->subscribe(d.conn, "dev-9/command", 1, 1, &err), 0);
    WAIT(&w, d.n_done == 1);
    unsigned port = served_port(&d);
    call(&w, &c, port, "POST /dev-9/dev-9/command HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nboot");
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 202 "));
    assert_int_equal(d.n_messages, 1);
    assert_string_equal(d.messages[0].topic, "dev-9/command");
    assert_string_equal(d.messages[0].payload, "boot");
    call(&w, &c, port, "GET /dev-9/dev-9/command HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 405 "));
    OPS->conn_close(d.conn, ADAPTER_GRACEFUL);
    WAIT(&w, d.offline == 1);
    call(&w, &c, port, "POST /dev-9/dev-9/command HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 404 "));
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void answer_it(struct device *d, const char *event)
{
    struct error err;
    struct adapter_property h = {"X-Unit", 6, "C", 1};
    struct adapter_response r = {
        .status = 200, .payload = (const uint8_t *)"21.5", .payload_len = 4, .headers = &h, .n_headers = 1};
    if (strcmp(event, "request") == 0)
        assert_int_equal(OPS->respond(d->conn, d->requests[(d->n_requests - 1) % RECORDS].ticket, &r, &err), 0);
}

static void a_device_serves_paths(void **state)
{
    struct world w;
    struct device d = {.client_id = "dev-9", .hook = answer_it}, other = {.client_id = "dev-9"};
    struct error err;
    struct caller c;
    (void)state;
    world_raw(&w, "{\"serveTimeout\":\"200ms\"}");
    device_create(&w, &d);
    json_t *methods = json_pack("{s:[s,s]}", "methods", "GET", "PUT");
    assert_int_equal(OPS->serve(d.conn, "/temp", methods, &err), 0);
    json_decref(methods);
    unsigned port = served_port(&d);
    call(&w, &c, port, "GET /dev-9/temp/now?u=C HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(c.out, "X-Unit: C\r\n"));
    assert_non_null(strstr(c.out, "\r\n\r\n21.5"));
    assert_string_equal(d.requests[0].path, "/temp/now?u=C");
    call(&w, &c, port,
         "PUT /dev-9/temp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    WAIT(&w, c.closed);
    assert_string_equal(d.requests[1].body, "abc");
    assert_string_equal(d.requests[1].method, "PUT");
    static const char *const refused[][2] = {
        {"POST /dev-9/temp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "},
        {"GET /dev-9/tempo HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /dev-8/temp HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        // What civetweb lets through.
        {"GET /dev-9/temp HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"PUT /dev-9/temp HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 "},
        {"PUT /dev-9/temp HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 400 "},
        {"PUT /dev-9/temp HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 413 "},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        call(&w, &c, port, refused[i][0]);
        WAIT(&w, c.closed || strstr(c.out, "\r\n\r\n")); // civetweb waits for what was announced before it closes
        caller_end(&w, &c);
        if (!strstr(c.out, refused[i][1]))
            fail_msg("%zu: %s", i, c.out);
    }
    assert_int_equal(d.n_requests, 2);
    // Nobody answers: 503, and the late answer finds no client.
    d.hook = NULL;
    call(&w, &c, port, "GET /dev-9/temp HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 503 "));
    struct adapter_response r = {.status = 200};
    assert_int_equal(OPS->respond(d.conn, d.requests[2].ticket, &r, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(OPS->respond(d.conn, d.requests[2].ticket, &r, &err), -1);
    // Two devices of one name.
    device_create(&w, &other);
    assert_int_equal(OPS->serve(other.conn, "/x", NULL, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(OPS->serve(d.conn, "temp", NULL, &err), -1);
    // Deleted while somebody waits: 503 at once.
    call(&w, &c, port, "GET /dev-9/temp HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, d.n_requests == 4);
    OPS->conn_delete(d.conn);
    WAIT(&w, c.closed);
    assert_non_null(strstr(c.out, "HTTP/1.1 503 "));
    assert_int_equal(OPS->serve(other.conn, "/x", NULL, &err), 0);
    OPS->conn_delete(other.conn);
    world_destroy(&w);
}

static void many_clients_at_once(void **state)
{
    enum { CALLERS = 60 };
    struct world w;
    struct device d = {.client_id = "dev-9", .hook = answer_it};
    struct error err;
    static struct caller c[CALLERS];
    (void)state;
    world_raw(&w, NULL);
    device_create(&w, &d);
    assert_int_equal(OPS->serve(d.conn, "/", NULL, &err), 0);
    unsigned port = served_port(&d);
    for (unsigned i = 0; i < CALLERS; i++)
        call(&w, &c[i], port, "GET /dev-9/any HTTP/1.1\r\nHost: x\r\n\r\n");
    for (unsigned i = 0; i < CALLERS; i++) {
        WAIT(&w, c[i].closed);
        assert_non_null(strstr(c[i].out, "HTTP/1.1 200 "));
    }
    assert_int_equal(d.n_requests, CALLERS);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_by_long_poll), cmocka_unit_test(a_server_without_patience_is_not_flooded),
        cmocka_unit_test(commands_by_webhook),   cmocka_unit_test(a_device_serves_paths),
        cmocka_unit_test(many_clients_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
