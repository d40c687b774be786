// HTTP over a device's path: that nothing of a request or an answer is lost, that neither end is flooded, HTTP/2, TLS.
#include "adapter/http_path_site.h"

static void fill_pattern(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)('!' + (i * 7 + i / 251) % 90);
}

struct whole { // an answer as it came
    uint64_t hash;
    size_t n;
    unsigned status;
    enum error_code code;
    bool told;
};

static void whole_response(void *owner, uint32_t token, const struct adapter_response *r, const struct error *err)
{
    struct whole *a = ((struct device *)owner)->arg;
    (void)token;
    *a = (struct whole){.told = true, .code = err ? err->code : ERR_NONE};
    if (!r)
        return;
    a->n = r->payload_len;
    a->status = r->status;
    a->hash = hash_bytes(r->payload, r->payload_len, 0);
}

static void online_nothing(void *owner, bool session)
{
    (void)owner, (void)session;
}
static void offline_nothing(void *owner, const struct error *why, bool retry)
{
    (void)owner, (void)why, (void)retry;
}

static const struct adapter_events whole_events = {
    .on_online = online_nothing, .on_offline = offline_nothing, .on_response = whole_response};

#define BIG 900000u

// Up and down through losses, with the network gone for a while in the middle of each, and with the faults of both gone
// in the middle.
static void nothing_is_lost(void **state)
{
    struct site s;
    struct error err;
    struct whole a = {0};
    (void)state;
    site_echo(&s, "{\"maxResponse\":\"2MB\",\"maxRequest\":\"2MB\"}");
    OPS->conn_delete(s.d.conn);
    s.d.arg = &a;
    assert_non_null(s.d.conn = OPS->conn_new(s.w.target, &whole_events, &dev_identity, &s.d, 7, &err));
    char *body = malloc(BIG);
    fill_pattern(body, BIG);
    on_path(&s, "{'latency':'2ms','loss':'1%','bandwidth':{'rate':'30mbit','queue':32000}}");
    for (int down = 0; down < 4; down++) {
        struct adapter_request r = {.method = down & 1 ? "GET" : "PUT", .path = "/big", .path_len = 4};
        r.payload = down & 1 ? NULL : (const uint8_t *)body;
        r.payload_len = down & 1 ? 0 : BIG;
        a.told = false;
        assert_int_equal(OPS->request(s.d.conn, &r, 1, &err), 0);
        int64_t until = loop_fresh_us(s.w.loop) + 100000;
        while (loop_fresh_us(s.w.loop) < until)
            loop_turn(s.w.loop, 1000);
        assert_false(a.told);
        if (down == 3) {
            heal(&s);
        } else {
            apply(s.path, 2, "{'partition':true}");
            until = loop_fresh_us(s.w.loop) + 300000;
            while (loop_fresh_us(s.w.loop) < until)
                loop_turn(s.w.loop, 1000);
            assert_false(a.told);
            assert_true(path_remove(s.path, 2));
        }
        WAIT_FOR(&s.w, a.told, 20);
        assert_int_equal(a.code, ERR_NONE);
        assert_int_equal(a.status, down & 1 ? 200 : 204);
        if (down & 1) {
            assert_int_equal(a.n, BIG);
            assert_true(a.hash == hash_bytes(body, BIG, 0));
        }
    }
    assert_true(totals(&s).retransmitted[PATH_UP] && totals(&s).retransmitted[PATH_DOWN]);
    assert_true(gauge(&s.w, "connects") == 1);
    free(body);
    site_delete(&s);
}

// For a while: what is held for a connection, and that its request has not ended.
static void stays_small(struct site *s, const struct whole *a)
{
    int64_t until = loop_fresh_us(s->w.loop) + 200000;
    while (loop_fresh_us(s->w.loop) < until) {
        loop_turn(s->w.loop, 1000);
        // 512 KB and a piece are unsent at most, 512 KB not taken; buffers double.
        assert_true(http_bridge_footprint(s->d.conn->sockets->bridge) < 2600000);
        assert_true(http_bridge_unsent(s->d.conn->sockets->bridge) <= (512u << 10) + 16384);
        assert_int_equal(a->code, ERR_NONE);
    }
    assert_false(a->told && a->n);
}

static void back_pressure(void **state)
{
    struct site s;
    struct error err;
    struct whole a = {0};
    (void)state;
    // Down: a frozen device does not read, nor does its link; and little is held for libcurl when it is slow.
    site_echo(&s, "{\"maxResponse\":\"16MB\",\"maxRequest\":\"16MB\"}");
    OPS->conn_delete(s.d.conn);
    s.d.arg = &a;
    assert_non_null(s.d.conn = OPS->conn_new(s.w.target, &whole_events, &dev_identity, &s.d, 7, &err));
    assert_int_equal(OPS->conn_open(s.d.conn, &err), 0);
    SETTLE(&s.w);
    on_path(&s, "{'latency':'1ms'}");
    struct adapter_request r = {.method = "GET", .path = "/bytes/15000000", .path_len = 15};
    assert_int_equal(OPS->request(s.d.conn, &r, 1, &err), 0);
    WAIT(&s.w, totals(&s).held_bytes > 10000);
    struct http_socket *socket = s.d.conn->sockets;
    struct link_totals before, after;
    socket->frozen = true; // libcurl alone
    ev_io_stop(loop_ev(s.w.loop), &socket->io);
    stays_small(&s, &a);
    OPS->conn_freeze(s.d.conn, true);
    OPS->conn_freeze(s.d.conn, false);
    WAIT(&s.w, totals(&s).held_bytes > 10000);
    OPS->conn_freeze(s.d.conn, true);
    link_env_totals(s.w.env.links, &before);
    stays_small(&s, &a);
    link_env_totals(s.w.env.links, &after);
    assert_true(after.bytes_in == before.bytes_in);
    OPS->conn_freeze(s.d.conn, false);
    WAIT(&s.w, a.told);
    assert_int_equal(a.n, 15000000);
    site_delete(&s);

    // Up: a server that does not read.
    site_raw(&s, "{\"maxRequest\":\"16MB\"}");
    int small = 256 << 10;
    setsockopt(s.w.raw.io.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ev_io_stop(loop_ev(s.w.loop), &s.w.raw.io);
    on_path(&s, "{'latency':'1ms'}");
    char *body = malloc(12000000);
    fill_pattern(body, 12000000);
    r = (struct adapter_request){
        .method = "PUT", .path = "/", .path_len = 1, .payload = (uint8_t *)body, .payload_len = 12000000};
    assert_int_equal(OPS->request(s.d.conn, &r, 1, &err), 0);
    WAIT(&s.w, s.d.conn->sockets);
    WAIT(&s.w, http_bridge_footprint(s.d.conn->sockets->bridge) > 400000);
    a.told = false;
    stays_small(&s, &a);
    int fd = accept4(s.w.raw.io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    size_t total = 0;
    char *all = malloc(12100000);
    ssize_t n;
    WAIT_FOR(&s.w, (n = recv(fd, all + total, 12100000 - total, 0), total += n > 0 ? (size_t)n : 0, total > 12000000),
             20);
    assert_memory_equal(all + total - 12000000, body, 12000000);
    assert_int_equal(send(fd, OK_EMPTY, sizeof OK_EMPTY - 1, 0), sizeof OK_EMPTY - 1);
    WAIT(&s.w, s.d.n_answers == 1);
    assert_int_equal(s.d.answers[0].status, 200);
    close(fd);
    free(all);
    free(body);
    site_delete(&s);
}

// --- HTTP/2: a server that knows SETTINGS, HEADERS and DATA -------------------------------------------------------

static void h2_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const char *payload, size_t n)
{
    uint8_t frame[64] = {0, 0, (uint8_t)n, type, flags, 0, 0, (uint8_t)(stream >> 8), (uint8_t)stream};
    assert_true(n <= sizeof frame - 9);
    memcpy(frame + 9, payload, n);
    (void)!send(fd, frame, 9 + n, MSG_NOSIGNAL);
}

static void h2_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct peer *p = container_of(io, struct peer, io);
    (void)ev, (void)revents;
    ssize_t n = read(p->fd, p->in + p->n, sizeof p->in - p->n);
    if (n <= 0) {
        peer_close(p);
        return;
    }
    p->n += (size_t)n;
    size_t at = 0;
    if (!p->requests && p->n >= 24 && memcmp(p->in, "PRI", 3) == 0) {
        at = 24;
        h2_frame(p->fd, 4, 0, 0, "", 0);
    }
    while (p->n - at >= 9) {
        const uint8_t *f = (const uint8_t *)p->in + at;
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t stream = (uint32_t)f[7] << 8 | f[8];
        if (p->n - at < 9 + len)
            break;
        if (f[3] == 4 && !(f[4] & 1))
            h2_frame(p->fd, 4, 1, 0, "", 0);
        if (f[3] == 1) {
            p->requests++;
            p->raw->n_requests++;
            h2_frame(p->fd, 1, 4, stream, "\x88", 1); // :status 200
            h2_frame(p->fd, 0, 1, stream, "hi", 2);
        }
        at += 9 + len;
    }
    memmove(p->in, p->in + at, p->n - at);
    p->n -= at;
}

static void h2_accept(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *r = container_of(io, struct raw, io);
    raw_accept(ev, io, revents);
    struct peer *p = r->peers[r->n_peers - 1];
    ev_set_cb(&p->io, h2_io);
}

static void http2_shares_one_connection(void **state)
{
    struct site s;
    struct error err;
    (void)state;
    site_raw(&s, "{\"version\":\"2\"}");
    ev_set_cb(&s.w.raw.io, h2_accept);
    on_path(&s, "{'latency':'30ms'}");
    assert_true(timed_get(&s, "/", 200) >= 120000);
    int64_t begin = loop_fresh_us(s.w.loop);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, i, &err), 0);
    WAIT(&s.w, s.d.n_answers == 9);
    for (unsigned i = 0; i < 9; i++)
        if (strcmp(s.d.answers[i].body, "hi") != 0)
            fail_msg("%u: %s", i, s.d.answers[i].text);
    assert_true(loop_fresh_us(s.w.loop) - begin >= 60000);
    assert_int_equal(s.w.raw.n_peers, 1);
    // The connection goes with requests under way, and they share a new one.
    path_reset(s.path);
    SETTLE(&s.w);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(ask(&s.d, "GET", "/", NULL, NULL, i, &err), 0);
    WAIT(&s.w, s.d.n_answers == 13);
    for (unsigned i = 9; i < 13; i++)
        assert_int_equal(s.d.answers[i].status, 200);
    assert_int_equal(s.w.raw.n_peers, 2);
    site_delete(&s);
}

// --- TLS ----------------------------------------------------------------------------------------------------------

static char *write_temp(const char *text)
{
    char path[] = "/tmp/iotix-pem-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return strdup(path);
}

static void over_tls(void **state)
{
    struct cert ca = cert_make((struct cert_spec){.cn = "test CA", .ca = true});
    struct cert server = cert_make((struct cert_spec){.cn = "server", .san = "IP:127.0.0.1", .issuer = &ca});
    char *cert = write_temp(server.pem), *key = write_temp(server.key_pem), url[64];
    struct http_echo_config config = {
        .listen = "127.0.0.1:0", .tls_listen = "127.0.0.1:0", .tls_cert = cert, .tls_key = key, .threads = 30};
    struct world started = {.echo = 0};
    struct site s;
    struct error err;
    (void)state;
    echo_start(&started, &config);
    unlink(cert);
    unlink(key);
    free(cert);
    free(key);
    memset(&s, 0, sizeof s);
    world_create(&s.w);
    s.w.echo = started.echo;
    snprintf(url, sizeof url, "https://127.0.0.1:%d", started.echo_tls_port);
    json_t *options = json_pack("{s:{s:s}}", "tls", "ca", ca.pem);
    assert_non_null(s.w.target = OPS->target_new(&s.w.env, url, options, "g", &err));
    json_decref(options);
    site_path(&s);
    on_path(&s, "{'latency':'20ms'}");
    assert_true(timed_get(&s, "/echo", 200) >= 120000); // SYN, handshake of 1.3, request
    assert_true(mean(&s.w, "tcp_latency") >= 40000);
    assert_true(mean(&s.w, "tls_latency") >= 40000);
    assert_true(mean(&s.w, "tcp_latency") < mean(&s.w, "connect_latency"));
    assert_true(timed_get(&s, "/echo", 200) >= 40000);
    assert_true(gauge(&s.w, "connects") == 1);
    // The handshake fails; what stands does not.
    change(s.path, 1, "{'tls':{'fail':1}}");
    timed_get(&s, "/echo", 200);
    OPS->conn_delete(s.d.conn);
    device_create(&s.w, &s.d);
    OPS->conn_path(s.d.conn, s.path);
    const struct answer *a = get(&s.w, &s.d, "GET", "/echo", NULL, NULL);
    assert_int_equal(a->code, ERR_TLS);
    assert_non_null(strstr(a->text, "handshake"));
    assert_true(gauge(&s.w, "connect_failures{reason:tls}") == 1);
    heal(&s);
    timed_get(&s, "/echo", 200);
    // And one that stands is taken over with its session.
    assert_non_null(s.path = path_new(s.env, 8, &err));
    on_path(&s, "{'latency':'20ms','tls':{'fail':1}}");
    SETTLE(&s.w);
    assert_true(timed_get(&s, "/echo", 200) >= 40000);
    assert_true(gauge(&s.w, "connects") == 2);
    site_delete(&s);
    cert_free(&server);
    cert_free(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(http2_shares_one_connection),
        cmocka_unit_test(over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
