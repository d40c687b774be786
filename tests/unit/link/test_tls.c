// TLS connections that work: data, records in pieces, resumption, client certificates, keys, ends.
#include "tls_world.h"

static void echo(struct world *w, size_t n)
{
    uint8_t *sent = malloc(n);
    for (size_t i = 0; i < n; i++)
        sent[i] = (uint8_t)(i * 7 + i / 256);
    w->server.n_got = w->end.n = 0;
    assert_int_equal(link_send(&w->end.link, sent, n, NULL), 0);
    WORLD_WAIT(w, w->server.n_got == n);
    assert_memory_equal(w->server.got, sent, n);
    assert_int_equal(SSL_write(w->server.ssl, sent, (int)n), (int)n);
    WORLD_WAIT(w, w->end.n == n);
    assert_memory_equal(w->end.in, sent, n);
    free(sent);
}

static void opens_and_carries_data(void **state)
{
    struct world *w = *state;
    const unsigned char *protocol;
    unsigned n;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        world_server(w, version);
        world_transport(w, "{'alpn': ['h2', 'mqtt']}", "localhost");
        world_open(w);
        assert_int_equal(SSL_version(w->server.ssl), version);
        assert_string_equal(SSL_get_servername(w->server.ssl, TLSEXT_NAMETYPE_host_name), "localhost");
        SSL_get0_alpn_selected(w->server.ssl, &protocol, &n);
        assert_int_equal(n, 4);
        assert_memory_equal(protocol, "mqtt", 4);
        echo(w, 5);
        echo(w, 100000);
        assert_true(transport_footprint(&w->end.link) > 0);
        assert_int_equal(transport_footprint(&w->end.link), link_footprint(&w->end.link));
        world_close(w);
        transport_forget(&w->end.memory);
        server_destroy(&w->server);
    }
    assert_int_equal(w->full->count, 2);
    assert_int_equal(w->resumed->count, 0);
    assert_int_equal(hist_count(w->latency->hist), 2);
}

static void default_alpn_is_the_callers(void **state)
{
    struct world *w = *state;
    static const char *const alpn[] = {"mqtt", NULL};
    const unsigned char *protocol;
    unsigned n;
    world_server(w, 0);
    json_t *o = world_options(w, NULL);
    struct transport_config config = {
        .loop = w->loop, .tls = true, .host = "localhost", .port = 1, .alpn = alpn, .tls_options = o};
    w->transport = transport_new(&config, NULL); // without metrics and credentials, too
    json_decref(o);
    world_open(w);
    SSL_get0_alpn_selected(w->server.ssl, &protocol, &n);
    assert_int_equal(n, 4);
}

static void every_byte_alone(void **state)
{
    struct world *w = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        world_serve(w, version);
        w->server.pace = 1;
        world_open(w);
        echo(w, 300);
        w->server.pace = 4097;
        echo(w, 70000);
        world_close(w);
        transport_forget(&w->end.memory);
        server_destroy(&w->server);
    }
}

static void many_records_in_a_read(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    world_open(w);
    for (int i = 0; i < 200; i++)
        assert_int_equal(SSL_write(w->server.ssl, "abcde", 5), 5);
    WORLD_WAIT(w, w->end.n == 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(w->end.in[i], "abcde"[i % 5]);
}

static void resumes(void **state)
{
    struct world *w = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        world_serve(w, version);
        w->full->count = w->resumed->count = 0;
        for (unsigned i = 0; i < 3; i++) {
            world_open(w);
            echo(w, 10); // tickets of TLS 1.3 come behind the handshake
            assert_int_equal(w->resumed->count, i);
            assert_int_equal(w->full->count, 1);
            assert_non_null(w->end.memory.session);
            assert_true(transport_memory_footprint(&w->end.memory) > 500);
            world_close(w); // an abrupt end leaves the session good
        }
        world_transport(w, "{'resume': false}", "localhost");
        transport_forget(&w->end.memory);
        assert_int_equal(transport_memory_footprint(&w->end.memory), 0);
        for (unsigned i = 0; i < 2; i++) {
            world_open(w);
            echo(w, 10);
            assert_null(w->end.memory.session);
            world_close(w);
        }
        assert_int_equal(w->resumed->count, 2);
        server_destroy(&w->server);
    }
}

// A server that has forgotten the ticket: a full handshake, no failure.
static void a_forgotten_session_is_no_failure(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    world_open(w);
    echo(w, 10);
    world_close(w);
    world_server(w, 0); // with other ticket keys
    world_open(w);
    assert_int_equal(w->full->count, 2);
    assert_int_equal(w->resumed->count, 0);
}

static void closing_sends_what_is_queued_and_close_notify(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    world_open(w);
    assert_int_equal(link_send(&w->end.link, "DISCONNECT", 10, NULL), 0);
    link_close(&w->end.link, LINK_FLUSH);
    WORLD_WAIT(w, w->server.ended);
    assert_int_equal(w->server.n_got, 10);
    assert_true(SSL_get_shutdown(w->server.ssl) & SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(w->end.closed, 0);
    // An abrupt end is silent.
    world_open(w);
    link_close(&w->end.link, LINK_ABORT);
    WORLD_WAIT(w, w->server.ended);
    assert_false(SSL_get_shutdown(w->server.ssl) & SSL_RECEIVED_SHUTDOWN);
    // In the middle of the handshake there is nothing to notify.
    w->server.mute = true;
    world_begin(w);
    world_turn(w);
    assert_int_equal(w->end.link.state, LINK_CONNECTING);
    link_close(&w->end.link, LINK_FLUSH);
    WORLD_WAIT(w, w->server.ended);
    assert_int_equal(w->end.closed, 0);
}

static void ends_are_told_apart(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    world_open(w);
    SSL_write(w->server.ssl, "last", 4);
    SSL_shutdown(w->server.ssl);
    WORLD_WAIT(w, w->end.closed);
    assert_int_equal(w->end.why.code, ERR_CLOSED);
    assert_string_equal(w->end.why.text, "closed by the peer (TLS close_notify)");
    assert_int_equal(w->end.n, 4);
    WORLD_WAIT(w, w->server.ended);
    assert_true(SSL_get_shutdown(w->server.ssl) & SSL_RECEIVED_SHUTDOWN); // answered
    world_open(w);
    server_turn(&w->server);
    server_hang_up(&w->server);
    WORLD_WAIT(w, w->end.closed);
    assert_int_equal(w->end.why.code, ERR_CLOSED);
    assert_non_null(strstr(w->end.why.text, "no TLS close_notify came before"));
}

static void stalls_until_the_owner_gives_up(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    w->server.mute = true;
    world_begin(w);
    for (int i = 0; i < 20; i++)
        world_turn(w);
    assert_int_equal(w->end.link.state, LINK_CONNECTING);
    assert_int_equal(w->end.opened + w->end.closed, 0);
    assert_int_equal(link_send(&w->end.link, "x", 1, NULL), -1); // not open yet
    world_close(w);
    w->server.mute = false;
    world_open(w); // the link is as good as new
}

static void key_updates_and_renegotiation(void **state)
{
    struct world *w = *state;
    world_serve(w, TLS1_3_VERSION);
    world_open(w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(w->server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        echo(w, 1000);
    }
    assert_int_equal(SSL_get_key_update_type(w->server.ssl), SSL_KEY_UPDATE_NONE);
    world_close(w);
    world_server(w, TLS1_2_VERSION);
    world_open(w);
    echo(w, 10);
    SSL_renegotiate(w->server.ssl);
    SSL_do_handshake(w->server.ssl);
    // The server takes a no_renegotiation as the end, or goes on; no handshake happens either way.
    for (int i = 0; i < 20; i++)
        world_turn(w);
    assert_int_equal(ERR_GET_REASON(w->server.error), SSL_R_NO_RENEGOTIATION);
    assert_int_equal(w->full->count, 2);
}

static void the_cap_holds(void **state)
{
    struct world *w = *state;
    struct error err;
    uint8_t piece[7777], *p;
    world_serve(w, 0);
    world_open(w);
    int small = 4096;
    setsockopt(w->end.link.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    size_t n = 0;
    do {
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = (uint8_t)((n + i) % 251);
        if (link_send(&w->end.link, piece, sizeof piece, &err) < 0)
            break;
        n += sizeof piece;
        loop_turn(w->loop, 0);
    } while (n < 3000000);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(n > 280000 && n < 1000000);
    assert_true(link_unsent(&w->end.link) <= 300000 + 300000 / 16 + 4096);
    assert_null(link_reserve(&w->end.link, 7777, &err));
    // Nothing of what was refused is on the way, and the stream is whole.
    WORLD_WAIT(w, w->server.n_got == n);
    for (size_t i = 0; i < n; i++)
        if (w->server.got[i] != (uint8_t)(i % 251))
            fail_msg("byte %zu", i);
    // One tiny record for each byte is mostly overhead, and counts.
    while (link_send(&w->end.link, "x", 1, &err) == 0)
        assert_true(link_unsent(&w->end.link) <= 300000 + 22 + 16);
    assert_int_equal(err.code, ERR_LIMIT);
    p = link_reserve(&w->end.link, 1, NULL);
    assert_null(p);
    world_turn(w);
    assert_int_equal(w->end.closed, 0);
}

static void close_it(struct tls_end *e)
{
    link_close(&e->link, LINK_ABORT);
}

static void send_and_close_it(struct tls_end *e)
{
    assert_int_equal(link_send(&e->link, "bye", 3, NULL), 0);
    link_close(&e->link, LINK_FLUSH);
}

static void the_owner_closes_inside_events(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    w->end.hook = close_it;
    world_begin(w);
    WORLD_WAIT(w, w->end.opened);
    world_turn(w);
    assert_int_equal(w->end.link.state, LINK_CLOSED);
    w->end.hook = send_and_close_it;
    world_begin(w);
    WORLD_WAIT(w, w->server.ended);
    assert_int_equal(w->server.n_got, 3);
    w->end.hook = NULL;
    world_open(w);
    w->end.hook = close_it;
    for (int i = 0; i < 3; i++)
        SSL_write(w->server.ssl, "abc", 3);
    WORLD_WAIT(w, w->server.ended);
    assert_int_equal(w->end.n, 3); // nothing after the close
    w->end.hook = NULL;
    // Pushed and never opened.
    assert_int_equal(transport_push(w->transport, &w->end.link, &w->end.memory, w, NULL), 0);
    link_close(&w->end.link, LINK_ABORT);
    assert_null(w->end.link.top);
    world_open(w);
    // The transport goes before its last connection has: it waits for it.
    transport_delete(w->transport);
    w->transport = NULL;
    echo(w, 100);
}

// --- proving who we are

static int accept_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok, (void)ctx;
    return 1;
}

static void want_client_certificate(struct world *w, bool check)
{
    X509_STORE_add_cert(SSL_CTX_get_cert_store(w->server.ctx), w->ca.x);
    SSL_CTX_set_verify(w->server.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, check ? NULL : accept_any);
}

static void peer_name(struct world *w, char *dst, size_t size)
{
    X509 *x = SSL_get1_peer_certificate(w->server.ssl);
    assert_non_null(x);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, dst, (int)size);
    X509_free(x);
}

static char *temp_file(const char *text)
{
    char *path = strdup("/tmp/iotix-tls-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void client_certificates(void **state)
{
    struct world *w = *state;
    char name[64];
    struct cert device = cert_make((struct cert_spec){.cn = "device-7", .issuer = &w->ca});
    struct cert other = cert_make((struct cert_spec){.cn = "device-8", .issuer = &w->ca});
    world_server(w, 0);
    want_client_certificate(w, true);
    world_transport(w, NULL, "localhost");
    // As text.
    w->cert = device.pem;
    w->key = device.key_pem;
    for (int i = 0; i < 2; i++) {
        world_open(w);
        peer_name(w, name, sizeof name);
        assert_string_equal(name, "device-7");
        echo(w, 10);
        world_close(w);
        transport_forget(&w->end.memory);
    }
    // As files; one that is replaced is noticed.
    char *cert = temp_file(device.pem), *key = temp_file(device.key_pem);
    w->cert = cert;
    w->key = key;
    world_open(w);
    world_close(w);
    transport_forget(&w->end.memory);
    FILE *f = fopen(cert, "w");
    fputs(other.pem, f);
    fclose(f);
    WORLD_FAILS(w, ERR_INVALID, "the key does not belong to the certificate");
    f = fopen(key, "w");
    fputs(other.key_pem, f);
    fclose(f);
    world_open(w);
    peer_name(w, name, sizeof name);
    assert_string_equal(name, "device-8");
    world_close(w);
    transport_forget(&w->end.memory);
    // Both in one.
    char both[8192];
    snprintf(both, sizeof both, "%s%s", device.key_pem, device.pem);
    w->cert = both;
    w->key = NULL;
    world_open(w);
    peer_name(w, name, sizeof name);
    assert_string_equal(name, "device-7");
    unlink(cert);
    unlink(key);
    free(cert);
    free(key);
    cert_free(&device);
    cert_free(&other);
}

// More certificates than are kept parsed, several times round.
static void a_certificate_for_each_device(void **state)
{
    struct world *w = *state;
    struct cert devices[40];
    char name[64], want[64];
    world_server(w, 0);
    want_client_certificate(w, true);
    world_transport(w, "{'resume': false}", "localhost");
    for (int i = 0; i < 40; i++) {
        snprintf(want, sizeof want, "device-%d", i);
        devices[i] = cert_make((struct cert_spec){.cn = want, .issuer = &w->ca});
    }
    for (int i = 0; i < 80; i++) {
        w->cert = devices[i % 40].pem;
        w->key = devices[i % 40].key_pem;
        world_open(w);
        snprintf(want, sizeof want, "device-%d", i % 40);
        peer_name(w, name, sizeof name);
        assert_string_equal(name, want);
        world_close(w);
    }
    for (int i = 0; i < 40; i++)
        cert_free(&devices[i]);
}

static void minted_certificates(void **state)
{
    struct world *w = *state;
    char name[64];
    for (int i = 0; i < 2; i++) {
        world_server(w, 0);
        want_client_certificate(w, true);
        json_t *o = world_mint_options(w, i ? "{'resume': false, 'mint': {'algorithm': 'RSA'}}"
                                            : "{'resume': false, 'mint': {'subject': 'O=Example, OU=Sensors'}}");
        world_use(w, o);
        w->name = "sensor-00042";
        world_open(w);
        X509 *first = SSL_get1_peer_certificate(w->server.ssl);
        peer_name(w, name, sizeof name);
        assert_string_equal(name, "sensor-00042");
        X509_NAME_get_text_by_NID(X509_get_subject_name(first), NID_organizationName, name, sizeof name);
        assert_string_equal(name, i ? "iotix" : "Example");
        assert_true(transport_memory_footprint(&w->end.memory) < 1200);
        world_close(w);
        world_open(w); // the same certificate at the next connection
        X509 *second = SSL_get1_peer_certificate(w->server.ssl);
        assert_int_equal(X509_cmp(first, second), 0);
        world_close(w);
        w->name = "sensor-00043"; // another name, another certificate
        world_open(w);
        peer_name(w, name, sizeof name);
        assert_string_equal(name, "sensor-00043");
        X509 *third = SSL_get1_peer_certificate(w->server.ssl);
        assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(first), X509_get0_serialNumber(third)), 0);
        X509_free(third);
        X509_free(first);
        X509_free(second);
        world_close(w);
        transport_forget(&w->end.memory);
        w->name = NULL;
        WORLD_FAILS(w, ERR_INVALID, "has no name");
        w->name = "0123456789012345678901234567890123456789012345678901234567890123x";
        WORLD_FAILS(w, ERR_INVALID, "1 to 64 bytes");
        server_destroy(&w->server);
    }
}

// To be resumed, a connection does not load its minted certificate; a server that has forgotten the session gets it.
static void minted_and_resumed(void **state)
{
    struct world *w = *state;
    world_server(w, 0);
    want_client_certificate(w, true);
    json_t *o = world_mint_options(w, "{'mint': {}}");
    world_use(w, o);
    w->name = "sensor-1";
    world_open(w);
    echo(w, 10);
    X509 *first = SSL_get1_peer_certificate(w->server.ssl);
    world_close(w);
    world_open(w);
    assert_int_equal(w->resumed->count, 1);
    world_close(w);
    world_server(w, 0);
    want_client_certificate(w, true);
    world_open(w);
    assert_int_equal(w->full->count, 2);
    X509 *again = SSL_get1_peer_certificate(w->server.ssl);
    assert_int_equal(X509_cmp(first, again), 0);
    X509_free(first);
    X509_free(again);
}

static unsigned server_psk(SSL *ssl, const char *identity, unsigned char *psk, unsigned max)
{
    (void)ssl, (void)max;
    if (strcmp(identity, "device-1") != 0)
        return 0;
    memcpy(psk, "0123456789abcdef", 16);
    return 16;
}

static void pre_shared_keys(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 4; i++) {
        // A server that has a certificate, too, uses the key all the same.
        server_create(&w->server, i < 2 ? NULL : &w->leaf, i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION);
        SSL_CTX_set_options(w->server.ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_CTX_set_psk_server_callback(w->server.ctx, server_psk);
        world_transport(w, NULL, "localhost");
        w->psk_identity = "device-1";
        w->psk_key = "30313233343536373839616263646566";
        world_open(w);
        echo(w, 100);
        if (i % 2) // that is how OpenSSL shows it in TLS 1.3
            assert_true(SSL_session_reused(w->server.ssl));
        else
            assert_string_equal(SSL_get_psk_identity(w->server.ssl), "device-1");
        world_close(w);
        world_open(w);
        echo(w, 100);
        world_close(w);
        transport_forget(&w->end.memory);
        w->psk_key = "30313233343536373839616263646567"; // the last bit
        WORLD_FAILS(w, ERR_TLS, "pre-shared key");
        w->psk_key = "30313233343536373839616263646566";
        w->psk_identity = "device-2";
        if (i == 3) { // this one goes on with its certificate, which is good
            world_open(w);
            assert_false(SSL_session_reused(w->server.ssl));
            world_close(w);
            transport_forget(&w->end.memory);
        } else {
            WORLD_FAILS(w, ERR_TLS, "pre-shared key");
        }
        server_destroy(&w->server);
    }
    w->psk_key = "abc";
    WORLD_FAILS(w, ERR_INVALID, "two for each byte");
    w->psk_key = "3x";
    WORLD_FAILS(w, ERR_INVALID, "character 2 is none");
    w->psk_key = NULL;
    WORLD_FAILS(w, ERR_INVALID, "key is missing");
    w->psk_key = "00";
    w->psk_identity = NULL;
    WORLD_FAILS(w, ERR_INVALID, "identity is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_and_carries_data, world_up, world_down),
        cmocka_unit_test_setup_teardown(default_alpn_is_the_callers, world_up, world_down),
        cmocka_unit_test_setup_teardown(every_byte_alone, world_up, world_down),
        cmocka_unit_test_setup_teardown(many_records_in_a_read, world_up, world_down),
        cmocka_unit_test_setup_teardown(resumes, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_forgotten_session_is_no_failure, world_up, world_down),
        cmocka_unit_test_setup_teardown(closing_sends_what_is_queued_and_close_notify, world_up, world_down),
        cmocka_unit_test_setup_teardown(ends_are_told_apart, world_up, world_down),
        cmocka_unit_test_setup_teardown(stalls_until_the_owner_gives_up, world_up, world_down),
        cmocka_unit_test_setup_teardown(key_updates_and_renegotiation, world_up, world_down),
        cmocka_unit_test_setup_teardown(the_cap_holds, world_up, world_down),
        cmocka_unit_test_setup_teardown(the_owner_closes_inside_events, world_up, world_down),
        cmocka_unit_test_setup_teardown(client_certificates, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_certificate_for_each_device, world_up, world_down),
        cmocka_unit_test_setup_teardown(minted_certificates, world_up, world_down),
        cmocka_unit_test_setup_teardown(minted_and_resumed, world_up, world_down),
        cmocka_unit_test_setup_teardown(pre_shared_keys, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
