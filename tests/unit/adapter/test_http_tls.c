// HTTPS: verification, certificates of devices, resumption; against the TLS front of the echo server.
#define world tls_world // of its certificates only
#define world_create tls_world_create
#define world_destroy tls_world_destroy
#include "link/tls_world.h"
#undef world
#undef world_create
#undef world_destroy
#include <malloc.h>
#include "adapter/http_harness.h"

static struct cert ca, other_ca, good, wrong, expired, device_a, device_b, stranger;

static int make_certs(void **state)
{
    (void)state;
    ca = cert_make((struct cert_spec){.cn = "test CA", .ca = true});
    other_ca = cert_make((struct cert_spec){.cn = "other CA", .ca = true});
    good = cert_make((struct cert_spec){.cn = "server", .san = "IP:127.0.0.1,DNS:gateway.example", .issuer = &ca});
    wrong = cert_make((struct cert_spec){.cn = "server", .san = "DNS:elsewhere.example", .issuer = &ca});
    expired = cert_make(
        (struct cert_spec){.cn = "server", .san = "IP:127.0.0.1", .issuer = &ca, .from_s = -7200, .to_s = -3600});
    device_a = cert_make((struct cert_spec){.cn = "device-a", .issuer = &ca});
    device_b = cert_make((struct cert_spec){.cn = "device-b", .issuer = &ca});
    stranger = cert_make((struct cert_spec){.cn = "stranger", .issuer = &other_ca});
    return 0;
}

static int free_certs(void **state)
{
    struct cert *all[] = {&ca, &other_ca, &good, &wrong, &expired, &device_a, &device_b, &stranger};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cert_free(all[i]);
    return 0;
}

static char *write_temp(const char *text)
{
    char path[] = "/tmp/iotix-pem-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return strdup(path);
}

// An echo server with this certificate, and a target of https://127.0.0.1.
static void world_tls(struct world *w, const struct cert *server, const struct cert *client_ca, json_t *tls,
                      const char *more)
{
    char *cert = write_temp(server->pem), *key = write_temp(server->key_pem);
    char *clients = client_ca ? write_temp(client_ca->pem) : NULL, url[64];
    struct http_echo_config config = {.listen = "127.0.0.1:0",
                                      .tls_listen = "127.0.0.1:0",
                                      .tls_cert = cert,
                                      .tls_key = key,
                                      .tls_client_ca = clients,
                                      .threads = 300};
    struct world started = {.echo = 0};
    struct error err;
    echo_start(&started, &config);
    char *const files[] = {cert, key, clients};
    for (unsigned i = 0; i < 3; i++) {
        if (files[i])
            unlink(files[i]);
        free(files[i]);
    }
    world_create(w);
    w->echo = started.echo;
    w->echo_tls_port = started.echo_tls_port;
    snprintf(url, sizeof url, "https://127.0.0.1:%d", w->echo_tls_port);
    json_t *options = more ? json_loads(more, 0, NULL) : json_object();
    json_object_set_new(options, "tls", tls);
    w->target = OPS->target_new(&w->env, url, options, "g", &err);
    if (!w->target)
        fail_msg("%s", err.text);
    json_decref(options);
}

static json_t *trusting(const struct cert *c)
{
    return json_pack("{s:s}", "ca", c->pem);
}

static void a_known_server(void **state)
{
    struct world w;
    struct device d = {.client_id = "a", .token = "t"};
    (void)state;
    world_tls(&w, &good, NULL, trusting(&ca), NULL);
    device_online(&w, &d);
    for (unsigned i = 0; i < 3; i++) {
        const struct answer *a = get(&w, &d, "PUT", "/echo", "x", NULL);
        if (a->code)
            fail_msg("%s", a->text);
        assert_int_equal(a->status, 200);
        assert_non_null(strstr(a->body, "Bearer t"));
    }
    assert_true(gauge(&w, "connects") == 1);
    assert_true(gauge(&w, "tls_full") == 1);
    assert_true(gauge(&w, "tls_latency") == 1);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void servers_that_are_not_trusted(void **state)
{
    const struct {
        const struct cert *server, *trusted;
        const char *text;
    } cases[] = {{&good, &other_ca, "ca"}, {&wrong, &ca, "elsewhere.example"}, {&expired, &ca, "expired"}};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        struct device d = {.client_id = "a"};
        world_tls(&w, cases[i].server, NULL, trusting(cases[i].trusted), NULL);
        device_online(&w, &d);
        const struct answer *a = get(&w, &d, "GET", "/echo", NULL, "{\"retries\":2}");
        assert_int_equal(a->code, ERR_TLS);
        if (!strstr(a->text, cases[i].text))
            fail_msg("%u: %s", i, a->text);
        assert_true(gauge(&w, "connect_failures{reason:tls}") == 1); // not retried: it would be the same
        OPS->conn_delete(d.conn);
        world_destroy(&w);
    }
    struct world w;
    struct device d = {.client_id = "a"};
    world_tls(&w, &expired, NULL, json_pack("{s:b}", "verify", 0), NULL);
    device_online(&w, &d);
    assert_int_equal(get(&w, &d, "GET", "/echo", NULL, NULL)->status, 200);
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void a_server_by_another_name(void **state)
{
    struct world w;
    struct device d = {.client_id = "a"};
    char host[64];
    (void)state;
    json_t *tls = trusting(&ca);
    json_object_set_new(tls, "serverName", json_string("gateway.example"));
    world_tls(&w, &good, NULL, tls, NULL);
    device_online(&w, &d);
    const struct answer *a = get(&w, &d, "GET", "/echo", NULL, NULL);
    if (a->code)
        fail_msg("%s", a->text);
    snprintf(host, sizeof host, "\"host\":\"127.0.0.1:%d\"", w.echo_tls_port);
    assert_non_null(strstr(a->body, host));
    OPS->conn_delete(d.conn);
    world_destroy(&w);
}

static void devices_prove_themselves(void **state)
{
    struct world w;
    struct device a = {.client_id = "a", .cert = device_a.pem, .key = device_a.key_pem},
                  b = {.client_id = "b", .cert = device_b.pem, .key = device_b.key_pem},
                  s = {.client_id = "s", .cert = stranger.pem, .key = stranger.key_pem}, none = {.client_id = "n"},
                  mixed = {.client_id = "m", .cert = device_a.pem, .key = device_b.key_pem},
                  broken = {.client_id = "x", .cert = "/nonexistent.pem", .key = "/nonexistent.key"};
    (void)state;
    for (unsigned pool = 0; pool < 2; pool++) {
        world_tls(&w, &good, &ca, trusting(&ca), pool ? "{\"maxConnections\":4}" : NULL);
        struct device *all[] = {&a, &b, &s, &none, &mixed, &broken};
        for (unsigned i = 0; i < 6; i++) {
            device_create(&w, all[i]);
            const struct answer *r = get(&w, all[i], "GET", "/echo", NULL, NULL);
            if (i < 2 ? r->status != 200 : r->code == ERR_NONE)
                fail_msg("%u: %u %s", i, r->status, r->text);
        }
        assert_true(gauge(&w, "connects") >= 2); // nobody used another one's
        // The server saw both.
        assert_int_equal(get(&w, &a, "GET", "/echo", NULL, NULL)->status, 200);
        for (unsigned i = 0; i < 6; i++)
            OPS->conn_delete(all[i]->conn);
        world_destroy(&w);
    }
}

static void sessions_are_resumed(void **state)
{
    static const char *const versions[] = {"1.2", "1.3"};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct device d[3] = {{.client_id = "a"}, {.client_id = "b"}, {.client_id = "c"}};
        json_t *tls = trusting(&ca);
        json_object_set_new(tls, i ? "minVersion" : "maxVersion", json_string(versions[i]));
        world_tls(&w, &good, NULL, tls, NULL);
        for (unsigned k = 0; k < 3; k++) {
            struct error err;
            device_online(&w, &d[k]);
            for (unsigned round = 0; round < 3; round++) {
                assert_int_equal(get(&w, &d[k], "GET", "/echo", NULL, NULL)->status, 200);
                OPS->conn_close(d[k].conn, ADAPTER_GRACEFUL);
                WAIT(&w, d[k].offline == round + 1);
                assert_int_equal(OPS->conn_open(d[k].conn, &err), 0);
                WAIT(&w, d[k].online == round + 2);
            }
        }
        if (gauge(&w, "tls_full") != 3 || gauge(&w, "tls_resumed") != 6)
            fail_msg("TLS %s: %g full, %g resumed", versions[i], gauge(&w, "tls_full"), gauge(&w, "tls_resumed"));
        assert_true(gauge(&w, "reconnects") == 6);
        for (unsigned k = 0; k < 3; k++)
            OPS->conn_delete(d[k].conn);
        world_destroy(&w);
    }
}

// User-space bytes of a device whose connection is idle: ours, libcurl's and OpenSSL's.
static void what_an_idle_device_holds(void **state)
{
    enum { WARM = 10, DEVICES = 150 };
    static struct device d[WARM + DEVICES];
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        struct world w;
        size_t before = 0;
        json_t *tls = trusting(&ca);
        json_object_set_new(tls, "maxVersion", json_string(version == 2 ? "1.2" : "1.3"));
        world_tls(&w, &good, NULL, tls, NULL);
        for (unsigned i = 0; i < WARM + DEVICES; i++) {
            if (i == WARM)
                before = mallinfo2().uordblks;
            d[i] = (struct device){.client_id = "a"};
            device_create(&w, &d[i]);
            assert_int_equal(get(&w, &d[i], "GET", "/echo", NULL, NULL)->status, 200);
        }
        size_t each = (mallinfo2().uordblks - before) / DEVICES;
        print_message("an idle HTTPS device, TLS 1.%u: %zu bytes\n", version, each);
#ifndef IOTIX_ASAN // whose allocator mallinfo does not know
        assert_in_range(each, 1000, 40000);
#endif
        for (unsigned i = 0; i < WARM + DEVICES; i++)
            OPS->conn_delete(d[i].conn);
        world_destroy(&w);
    }
}

static void bad_options(void **state)
{
    static const struct {
        const char *url, *options, *text;
    } bad[] = {
        {"http://h", "{\"tls\":{}}", "https"},
        {"https://h", "{\"tls\":{\"ca\":\"/nonexistent.pem\"}}", "/nonexistent.pem"},
        {"https://h", "{\"tls\":{\"caa\":\"x\"}}", "valid"},
        {"https://h", "{\"tls\":{\"alpn\":[\"h2\"]}}", "version"},
        {"https://h", "{\"tls\":{\"minVersion\":\"1.1\"}}", "1.2"},
        {"http://h", "{\"timeuot\":1}", "did you mean \"timeout\""},
        {"http://h", "{\"timeout\":\"5\"}", NULL},
        {"http://h", "{\"timeout\":-1}", "from"},
        {"http://h", "{\"version\":\"3\"}", "auto, 1.1, 2"},
        {"http://h", "{\"redirects\":51}", "0 to 50"},
        {"http://h", "{\"headers\":{\"a b\":\"c\"}}", "RFC 9110"},
        {"http://h", "{\"headers\":{\"a\":\"c\\r\\nd\"}}", "control"},
        {"http://h", "{\"headers\":{\"Connection\":\"close\"}}", "iotix itself"},
        {"http://h", "{\"retries\":{\"on\":[200]}}", "400 to 599"},
        {"http://h", "{\"retries\":{\"maxx\":1}}", "did you mean \"max\""},
        {"http://h", "{\"publish\":{\"method\":\"GET\"}}", "POST"},
        {"http://h", "{\"commands\":{\"mode\":\"push\"}}", "poll, serve"},
        {"http://h", "{\"commands\":1}", "an object"},
        {"http://h", "{\"auth\":\"digest\"}", "bearer"},
        {"http://h", "{\"probe\":\"x\"}", "begins with /"},
        {"http://h", "{\"source\":\"300.1.1.1\"}", "300.1.1.1"},
        {"http://h", "{\"connectWindow\":0}", "connectWindow"},
        {"http://h", "{\"maxResponse\":\"2GB\"}", "size"},
        {"http://h/a?b", NULL, "no query"},
        {"mqtt://h", NULL, "expected http"},
        {"http://u:secret@h:99999", NULL, NULL},
    };
    struct world w;
    (void)state;
    world_create(&w);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err;
        json_t *o = bad[i].options ? json_loads(bad[i].options, 0, NULL) : NULL;
        error_clear(&err);
        struct adapter_target *t = OPS->target_new(&w.env, bad[i].url, o, "g", &err);
        json_decref(o);
        if (!bad[i].text && t) {
            OPS->target_delete(t);
            continue;
        }
        if (t || !err.text[0] || (bad[i].text && !strstr(err.text, bad[i].text)))
            fail_msg("%zu: %s", i, t ? "accepted" : err.text);
        assert_null(strstr(err.text, "secret"));
    }
    world_destroy(&w);
}

// Known before anybody connects: what the option auth asks for and nobody has, and what libcurl cannot.
static void what_devices_need(void **state)
{
    const uint32_t user = 1u << FIELD_USERNAME, token = 1u << FIELD_TOKEN, psk = 1u << FIELD_PSK_IDENTITY;
    const struct {
        const char *url, *auth;
        uint32_t fields;
        const char *text; // NULL: nothing stands against it
    } cases[] = {{"http://h", NULL, 0, NULL},
                 {"http://h", "none", 0, NULL},
                 {"http://h", "bearer", token, NULL},
                 {"http://h", "bearer", user, "auth is \"bearer\" and its devices have no token"},
                 {"http://h", "basic", user, NULL},
                 {"http://u:p@h", "basic", 0, NULL},
                 {"http://h", "basic", token, "auth is \"basic\" and its devices have no username"},
                 {"https://h", NULL, psk, "HTTP has no pre-shared keys"}};
    struct world w;
    (void)state;
    world_create(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        json_t *o = cases[i].auth ? json_pack("{s:s}", "auth", cases[i].auth) : NULL;
        struct adapter_target *t = OPS->target_new(&w.env, cases[i].url, o, "g", &err);
        json_decref(o);
        assert_non_null(t);
        int rc = OPS->target_check(t, cases[i].fields, &err);
        if (rc != (cases[i].text ? -1 : 0) || (cases[i].text && !strstr(err.text, cases[i].text)))
            fail_msg("case %zu: %d \"%s\"", i, rc, err.text);
        OPS->target_delete(t);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_server),
        cmocka_unit_test(servers_that_are_not_trusted),
        cmocka_unit_test(a_server_by_another_name),
        cmocka_unit_test(devices_prove_themselves),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(what_an_idle_device_holds),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(what_devices_need),
    };
    return cmocka_run_group_tests(tests, make_certs, free_certs);
}
