// CoAP over DTLS and TLS: certificates of both sides, minted ones, pre-shared keys, and what goes wrong with them.
#include "../link/cert.h"
#include "coap_harness.h"

struct pki {
    struct cert ca, other_ca, server, expired, elsewhere, device;
    char dir[64], ca_path[96], cert_path[96], key_path[96], expired_path[96], expired_key[96], elsewhere_path[96],
        elsewhere_key[96];
};

static void put(const char *dir, const char *name, const char *text, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void pki_create(struct pki *p)
{
    memset(p, 0, sizeof *p);
    p->ca = cert_make((struct cert_spec){.cn = "test CA", .ca = true});
    p->other_ca = cert_make((struct cert_spec){.cn = "another CA", .ca = true});
    p->server = cert_make((struct cert_spec){.cn = "server", .san = "IP:127.0.0.1,DNS:coap.test", .issuer = &p->ca});
    p->expired = cert_make(
        (struct cert_spec){.cn = "server", .san = "IP:127.0.0.1", .issuer = &p->ca, .from_s = -7200, .to_s = -3600});
    p->elsewhere = cert_make((struct cert_spec){.cn = "server", .san = "IP:127.9.9.9", .issuer = &p->ca});
    p->device = cert_make((struct cert_spec){.cn = "dev-1", .issuer = &p->ca});
    snprintf(p->dir, sizeof p->dir, "/tmp/iotix-coap-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    char unused[96];
    put(p->dir, "ca.pem", p->ca.pem, p->ca_path, sizeof p->ca_path);
    put(p->dir, "server.pem", p->server.pem, p->cert_path, sizeof p->cert_path);
    put(p->dir, "server.key", p->server.key_pem, p->key_path, sizeof p->key_path);
    put(p->dir, "expired.pem", p->expired.pem, p->expired_path, sizeof p->expired_path);
    put(p->dir, "expired.key", p->expired.key_pem, p->expired_key, sizeof p->expired_key);
    put(p->dir, "elsewhere.pem", p->elsewhere.pem, p->elsewhere_path, sizeof p->elsewhere_path);
    put(p->dir, "elsewhere.key", p->elsewhere.key_pem, p->elsewhere_key, sizeof p->elsewhere_key);
    put(p->dir, "ca.key", p->ca.key_pem, unused, sizeof unused);
}

static void pki_destroy(struct pki *p)
{
    static const char *const names[] = {"ca.pem",      "server.pem",    "server.key",    "expired.pem",
                                        "expired.key", "elsewhere.pem", "elsewhere.key", "ca.key"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", p->dir, names[i]);
        unlink(path);
    }
    rmdir(p->dir);
    struct cert *all[] = {&p->ca, &p->other_ca, &p->server, &p->expired, &p->elsewhere, &p->device};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cert_free(all[i]);
}

static const char *const schemes[] = {"coaps", "coaps+tcp"};

// A target for a server with this certificate; options may name the CA as %s.
static void secure_world(struct world *w, const char *scheme, struct coap_echo_config config, const char *options,
                         const char *ca)
{
    char url[64], text[400];
    world_create(w);
    config.secure = true;
    echo_start(w, config);
    snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme, w->secure_port);
    snprintf(text, sizeof text, options, ca);
    w->client.fields[FIELD_CLIENT_ID] = "dev-1";
    w->target = make_target(w, url, text);
    client_create(w, &w->client);
}

static void fails(struct world *w, enum error_code code, const char *word)
{
    struct error err;
    assert_int_equal(OPS->conn_open(w->client.conn, &err), 0);
    WAIT(w, w->client.offline == 1);
    if (w->client.why.code != code || !strstr(w->client.why.text, word))
        print_message("%s: %s\n", error_code_name(w->client.why.code), w->client.why.text);
    assert_int_equal(w->client.why.code, code);
    assert_non_null(strstr(w->client.why.text, word));
}

static void certificates_of_both_sides_are_checked(void **state)
{
    struct pki *p = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct coap_echo_config config = {.cert = p->cert_path, .key = p->key_path, .ca = p->ca_path};
        secure_world(&w, schemes[i], config, "{\"tls\": {\"ca\": \"%s\"}}", p->ca_path);
        w.client.fields[FIELD_TLS_CERT] = p->device.pem;
        w.client.fields[FIELD_TLS_KEY] = p->device.key_pem;
        client_connect(&w, &w.client);
        assert_int_equal(ask(&w.client, "GET", "/large?size=5000", NULL)->n, 5000);
        OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
        WAIT(&w, w.client.offline == 1);
        client_connect(&w, &w.client);
        world_destroy(&w);
    }
}

static void certificates_are_minted(void **state)
{
    struct pki *p = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        char options[400];
        struct coap_echo_config config = {.cert = p->cert_path, .key = p->key_path, .ca = p->ca_path};
        snprintf(options, sizeof options,
                 "{\"tls\": {\"ca\": \"%%s\", \"mint\": {\"ca\": \"%s\", \"caKey\": \"%s/ca.key\"}}}", p->ca_path,
                 p->dir);
        secure_world(&w, schemes[i], config, options, p->ca_path);
        w.client.fields[FIELD_TLS_NAME] = "dev-1";
        client_connect(&w, &w.client);
        assert_int_equal(ask(&w.client, "GET", "/echo", NULL)->status, 205);
        world_destroy(&w);
    }
}

// ---- what a device serves

static void answer_request(struct client *cl, const struct record *r)
{
    struct error err;
    struct adapter_response response = {.status = 205, .payload = (const uint8_t *)"served", .payload_len = 6};
    assert_int_equal(OPS->respond(cl->conn, r->ticket, &response, &err), 0);
}

// Another device that asks the one of w, with this certificate. True: it was answered.
static bool asks_with(struct world *w, const char *options, const struct cert *cert)
{
    struct client asker = {0};
    struct adapter_target *first = w->target;
    struct error err;
    struct buf at;
    buf_create(&at, 200);
    assert_int_equal(OPS->served_at(w->client.conn, &at, &err), 0);
    w->target = make_target(w, buf_cstr(&at), options);
    buf_destroy(&at);
    client_create(w, &asker);
    asker.fields[FIELD_TLS_CERT] = cert ? cert->pem : NULL;
    asker.fields[FIELD_TLS_KEY] = cert ? cert->key_pem : NULL;
    assert_int_equal(OPS->conn_open(asker.conn, &err), 0);
    WAIT(w, asker.online || asker.offline);
    bool answered = asker.online;
    if (answered) { // TLS 1.3 tells of a refused certificate only now
        assert_int_equal(ask_only(&asker, "GET", "/x", 1, &err), 0);
        WAIT(w, asker.responses.n == 1);
        answered = !asker.responses.at[0].failed;
        assert_true(!answered || strcmp((char *)asker.responses.at[0].payload, "served") == 0);
    } else {
        assert_true(asker.why.code == ERR_TLS || asker.why.code == ERR_CLOSED);
    }
    client_destroy(&asker);
    OPS->target_delete(w->target);
    w->target = first;
    return answered;
}

static void a_device_serves_with_its_certificate(void **state)
{
    struct pki *p = *state;
    struct error err;
    struct cert stranger = cert_make((struct cert_spec){.cn = "stranger", .issuer = &p->other_ca});
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct coap_echo_config config = {.cert = p->cert_path, .key = p->key_path};
        char options[200];
        snprintf(options, sizeof options, "{\"tls\": {\"ca\": \"%s\"}, \"reconnect\": false}", p->ca_path);
        for (int ca = 0; ca < 2; ca++) {
            secure_world(&w, schemes[i], config, ca ? options : "{\"tls\": {\"verify\": false}}", "");
            w.client.fields[FIELD_TLS_CERT] = p->server.pem;
            w.client.fields[FIELD_TLS_KEY] = p->server.key_pem;
            w.client.on_request = answer_request;
            client_connect(&w, &w.client);
            assert_int_equal(OPS->serve(w.client.conn, "/x", NULL, &err), 0);
            assert_true(asks_with(&w, options, &p->device));
            // A CA in its options: clients have to show a certificate of it. Without one nobody is asked.
            assert_true(asks_with(&w, options, NULL) == !ca);
            assert_true(asks_with(&w, options, &stranger) == !ca);
            assert_true(asks_with(&w, options, &p->device));
            assert_true(w.client.online == 1 && w.client.offline == 0);
            world_destroy(&w);
        }
        secure_world(&w, schemes[i], config, options, "");
        client_connect(&w, &w.client); // the server asks for no certificate
        assert_int_equal(OPS->serve(w.client.conn, "/x", NULL, &err), -1);
        assert_non_null(strstr(err.text, "needs a certificate of the device"));
        world_destroy(&w);
    }
    cert_free(&stranger);
}

static void a_device_serves_with_a_minted_certificate(void **state)
{
    struct pki *p = *state;
    struct error err;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct coap_echo_config config = {.cert = p->cert_path, .key = p->key_path};
        char options[400];
        snprintf(options, sizeof options,
                 "{\"tls\": {\"ca\": \"%%s\", \"mint\": {\"ca\": \"%s\", \"caKey\": \"%s/ca.key\"}}}", p->ca_path,
                 p->dir);
        secure_world(&w, schemes[i], config, options, p->ca_path);
        w.client.fields[FIELD_TLS_NAME] = "dev-1";
        w.client.on_request = answer_request;
        client_connect(&w, &w.client);
        assert_int_equal(OPS->serve(w.client.conn, "/x", NULL, &err), 0);
        snprintf(options, sizeof options,
                 "{\"tls\": {\"ca\": \"%s\", \"serverName\": \"dev-1\"}, \"reconnect\": false}", p->ca_path);
        assert_true(asks_with(&w, options, &p->device));
        world_destroy(&w);
    }
}

static void bad_certificates_are_refused_with_a_reason(void **state)
{
    struct pki *p = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct coap_echo_config good = {.cert = p->cert_path, .key = p->key_path};
        struct coap_echo_config expired = {.cert = p->expired_path, .key = p->expired_key};
        struct coap_echo_config elsewhere = {.cert = p->elsewhere_path, .key = p->elsewhere_key};
        static const char options[] = "{\"tls\": {\"ca\": \"%s\"}, \"reconnect\": false}";
        secure_world(&w, schemes[i], good, options, p->expired_path); // knows another
        fails(&w, ERR_TLS, "tls.ca");
        world_destroy(&w);
        secure_world(&w, schemes[i], expired, options, p->ca_path);
        fails(&w, ERR_TLS, "expired");
        world_destroy(&w);
        secure_world(&w, schemes[i], elsewhere, options, p->ca_path);
        fails(&w, ERR_TLS, "127.9.9.9");
        world_destroy(&w);
        secure_world(&w, schemes[i], elsewhere, "{\"tls\": {\"verify\": false}}", "");
        client_connect(&w, &w.client);
        world_destroy(&w);
        secure_world(&w, schemes[i], good, "{\"tls\": {\"ca\": \"%s\", \"serverName\": \"coap.test\"}}", p->ca_path);
        client_connect(&w, &w.client);
        world_destroy(&w);
        secure_world(&w, schemes[i], good, options, p->ca_path); // a key that is not the certificate's
        w.client.fields[FIELD_TLS_CERT] = p->device.pem;
        w.client.fields[FIELD_TLS_KEY] = p->ca.key_pem;
        fails(&w, ERR_INVALID, "does not belong");
        assert_false(w.client.retry);
        world_destroy(&w);
    }
}

static void pre_shared_keys_must_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *identity, *key, *word;
        enum error_code code;
    } bad[] = {{"dev-1", "00112233", "handshake", ERR_TLS},
               {"dev-1", "xyz", "hex digits", ERR_INVALID},
               {"dev-1", NULL, "both psk_identity and psk_key", ERR_INVALID},
               {NULL, "0011", "both psk_identity and psk_key", ERR_INVALID}};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < sizeof bad / sizeof *bad; k++) {
            struct world w;
            secure_world(&w, schemes[i], (struct coap_echo_config){.psk_key = "secret"},
                         "{\"reconnect\": false, \"connectTimeout\": \"400ms\"}%s", "");
            w.client.fields[FIELD_PSK_IDENTITY] = bad[k].identity;
            w.client.fields[FIELD_PSK_KEY] = bad[k].key;
            fails(&w, bad[k].code, bad[k].word);
            world_destroy(&w);
        }
}

static void a_server_that_stalls_in_the_handshake_is_given_up(void **state)
{
    struct world w;
    char url[64];
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof at;
        int fd = socket(AF_INET, i ? SOCK_STREAM : SOCK_DGRAM, 0);
        world_create(&w);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
        if (i)
            assert_int_equal(listen(fd, 5), 0);
        getsockname(fd, (struct sockaddr *)&at, &len);
        snprintf(url, sizeof url, "%s://127.0.0.1:%u", schemes[i], ntohs(at.sin_port));
        w.target = make_target(&w, url, "{\"reconnect\": false, \"connectTimeout\": \"200ms\"}");
        client_create(&w, &w.client);
        fails(&w, ERR_TIMEOUT, "within 200 ms");
        world_destroy(&w);
        close(fd);
    }
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct pki));
    pki_create(*state);
    return 0;
}

static int teardown(void **state)
{
    pki_destroy(*state);
    free(*state);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_of_both_sides_are_checked),
        cmocka_unit_test(certificates_are_minted),
        cmocka_unit_test(a_device_serves_with_its_certificate),
        cmocka_unit_test(a_device_serves_with_a_minted_certificate),
        cmocka_unit_test(bad_certificates_are_refused_with_a_reason),
        cmocka_unit_test(pre_shared_keys_must_be_right),
        cmocka_unit_test(a_server_that_stalls_in_the_handshake_is_given_up),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup, teardown);
}
