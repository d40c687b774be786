// TLS connections that fail, and options that are wrong: each with a text that a person can act on.
#include "tls_world.h"

static void replace_leaf(struct world *w, struct cert_spec spec)
{
    cert_free(&w->leaf);
    w->leaf = cert_make(spec);
    world_server(w, 0);
}

static void bad_certificates(void **state)
{
    struct world *w = *state;
    world_transport(w, NULL, "localhost");
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &w->ca, .from_s = -7200, .to_s = -60});
    WORLD_FAILS(w, ERR_TLS, "the certificate \"CN=localhost\" of the server has expired: it was valid until 2");
    WORLD_WAIT(w, w->server.error || w->server.ended); // the server is told, too
    assert_int_equal(ERR_GET_REASON(w->server.error), SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED);
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &w->ca, .from_s = 7200});
    WORLD_FAILS(w, ERR_TLS, "is not valid yet: it begins at 2");
    replace_leaf(w, (struct cert_spec){.cn = "x", .san = "DNS:a.example,IP:10.0.0.9,IP:fd00::1", .issuer = &w->ca});
    WORLD_FAILS(w, ERR_TLS, "is for a.example, 10.0.0.9, fd00::1, not for localhost: connect to");
    replace_leaf(w, (struct cert_spec){.cn = "only.example", .issuer = &w->ca});
    WORLD_FAILS(w, ERR_TLS, "is for only.example, not for localhost");
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &w->ca, .eku = "clientAuth"});
    WORLD_FAILS(w, ERR_TLS, "not made for servers");
    replace_leaf(w, (struct cert_spec){.cn = "localhost"});
    WORLD_FAILS(w, ERR_TLS, "\"CN=localhost\" is self-signed and not trusted: give it in tls.ca");
    struct cert stranger = cert_make((struct cert_spec){.cn = "Strange CA", .ca = true});
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &stranger});
    WORLD_FAILS(w, ERR_TLS, "unknown CA \"CN=Strange CA\"");
    SSL_CTX_add1_chain_cert(w->server.ctx, stranger.x); // the server sends its own root, too
    WORLD_FAILS(w, ERR_TLS, "unknown CA \"CN=Strange CA\": give that one in tls.ca");
    // The same server, without verification and with the right CA.
    world_transport(w, "{'verify': false}", "localhost");
    world_open(w);
    world_close(w);
    transport_forget(&w->end.memory);
    json_t *o = json_object();
    json_object_set_new(o, "ca", json_string(stranger.pem));
    world_use(w, o);
    world_open(w);
    world_close(w);
    transport_forget(&w->end.memory);
    // No CA at all: the system's do not know it.
    world_use(w, NULL);
    WORLD_FAILS(w, ERR_TLS, "unknown CA");
    // A leaf that signs.
    struct cert middle = cert_make((struct cert_spec){.cn = "no CA", .issuer = &w->ca});
    world_transport(w, NULL, "localhost");
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &middle});
    SSL_CTX_add1_chain_cert(w->server.ctx, middle.x);
    WORLD_FAILS(w, ERR_TLS, "\"CN=no CA\", which signed the server's certificate, is no CA");
    cert_free(&stranger);
    cert_free(&middle);
}

static void names_and_trust(void **state)
{
    struct world *w = *state;
    world_server(w, 0);
    world_transport(w, NULL, "127.0.0.1");
    world_open(w);
    assert_null(SSL_get_servername(w->server.ssl, TLSEXT_NAMETYPE_host_name)); // an address is no SNI
    world_close(w);
    world_transport(w, NULL, "127.0.0.2");
    transport_forget(&w->end.memory);
    WORLD_FAILS(w, ERR_TLS, "is for localhost, broker.example, 127.0.0.1, not for 127.0.0.2");
    world_transport(w, "{'serverName': 'broker.example'}", "127.0.0.2");
    world_open(w);
    assert_string_equal(SSL_get_servername(w->server.ssl, TLSEXT_NAMETYPE_host_name), "broker.example");
    world_close(w);
    // A self-signed certificate is trusted when it is given itself; so is a CA between.
    transport_forget(&w->end.memory);
    replace_leaf(w, (struct cert_spec){.cn = "localhost"});
    json_t *o = json_object();
    json_object_set_new(o, "ca", json_string(w->leaf.pem));
    world_use(w, o);
    world_open(w);
    world_close(w);
    transport_forget(&w->end.memory);
    struct cert middle = cert_make((struct cert_spec){.cn = "Middle", .issuer = &w->ca, .ca = true});
    replace_leaf(w, (struct cert_spec){.cn = "localhost", .issuer = &middle});
    world_transport(w, NULL, "localhost");
    WORLD_FAILS(w, ERR_TLS, "unknown CA \"CN=Middle\"");
    o = json_object();
    json_object_set_new(o, "ca", json_string(middle.pem));
    world_use(w, o);
    world_open(w);
    cert_free(&middle);
}

static void servers_that_refuse_us(void **state)
{
    struct world *w = *state;
    struct cert stranger = cert_make((struct cert_spec){.cn = "device", .ca = true});
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        world_server(w, version);
        SSL_CTX_set_verify(w->server.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        world_transport(w, NULL, "localhost");
        WORLD_FAILS(w, ERR_TLS, "asks for a certificate of the device");
        w->cert = stranger.pem;
        w->key = stranger.key_pem;
        WORLD_FAILS(w, ERR_TLS, "does not accept the device's certificate");
        w->cert = w->key = NULL;
        server_destroy(&w->server);
    }
    cert_free(&stranger);
    world_server(w, TLS1_2_VERSION);
    world_transport(w, "{'minVersion': '1.3'}", "localhost");
    WORLD_FAILS(w, ERR_TLS, "no TLS version in common");
    SSL_CTX_set_cipher_list(w->server.ctx, "ECDHE-ECDSA-AES256-GCM-SHA384");
    world_transport(w, "{'maxVersion': '1.2', 'ciphers': 'ECDHE-ECDSA-AES128-GCM-SHA256'}", "localhost");
    WORLD_FAILS(w, ERR_TLS, "no cipher in common");
    w->psk_identity = "device-1"; // the server knows no PSK at all
    w->psk_key = "00112233";
    WORLD_FAILS(w, ERR_TLS, "TLS handshake: ");
}

static void what_is_no_tls(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "expected TLS, got plain HTTP (\"HTTP/1.1 400 Bad Request\")"},
        {"220 mail.example ESMTP\r\n", 24, "got the text \"220 mail.example ESMTP\""},
        {"\x20\x02\x00\x00", 4, "got a plain MQTT CONNACK"},
        {"\x00\x01\x02", 3, "(00 01 02 …)"},
        {"H", 1, "got the text \"H\""},
        {"\xff", 1, "(ff 00 00 …)"},
        // TLS at first sight only.
        {"\x16\x03\x03\xff\xff\x00\x00\x00", 8, "TLS handshake: "},
        {"\x16\x03\x03\x00\x04\x02\x00\x00\x00", 9, "TLS handshake: "},
        {"\x15\x03\x03\x00\x02\x02\x28", 7, "alert \"handshake failure\": no cipher in common"},
        {"\x15\x03\x03\x00\x02\x02\x70", 7, "alert \"unrecognized name\": it does not know the name"},
        {"\x15\x03\x03\x00\x02\x02\x46", 7, "no TLS version in common"},
        {"\x15\x03\x03\x00\x02\x02\x78", 7, "knows none of the protocols in tls.alpn"},
    };
    struct world *w = *state;
    world_transport(w, NULL, "localhost");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_begin(w);
        world_turn(w);
        assert_int_equal(send(w->server.fd, cases[i].bytes, cases[i].n, 0), (ssize_t)cases[i].n);
        WORLD_WAIT(w, w->end.closed);
        assert_int_equal(w->end.why.code, ERR_TLS);
        if (!strstr(w->end.why.text, cases[i].text))
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, w->end.why.text);
    }
    // Nothing but an end.
    world_begin(w);
    world_turn(w);
    server_hang_up(&w->server);
    WORLD_WAIT(w, w->end.closed);
    assert_non_null(strstr(w->end.why.text, "in the TLS handshake, without an answer: is this a TLS port?"));
    assert_int_equal(w->end.why.code, ERR_TLS);
    // Half a record, then the end.
    world_begin(w);
    world_turn(w);
    send(w->server.fd, "\x16\x03\x03\x00\x7a\x02", 6, 0);
    world_turn(w);
    server_hang_up(&w->server);
    WORLD_WAIT(w, w->end.closed);
    assert_non_null(strstr(w->end.why.text, "in the TLS handshake"));
    assert_null(strstr(w->end.why.text, "without an answer"));
}

// Bytes turned over in a record of an open connection.
static void a_damaged_record(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    world_open(w);
    assert_int_equal(send(w->server.fd,
                          "\x17\x03\x03\x00\x20"
                          "abcdefghijklmnopqrstuvwxyz012345",
                          37, 0),
                     37);
    WORLD_WAIT(w, w->end.closed);
    assert_int_equal(w->end.why.code, ERR_TLS);
    assert_int_equal(w->end.n, 0);
    assert_null(w->end.link.top);
}

static void credentials_that_are_none(void **state)
{
    struct world *w = *state;
    world_serve(w, 0);
    w->cert = "no/such/file.pem";
    w->key = w->leaf.key_pem;
    WORLD_FAILS(w, ERR_NOT_FOUND, "tls.cert: ");
    assert_non_null(strstr(w->end.why.text, "no/such/file.pem"));
    w->cert = "/";
    WORLD_FAILS(w, w->end.why.code, "tls.cert: ");
    w->cert = "a\nb";
    WORLD_FAILS(w, ERR_INVALID, "expected the path of a PEM file, or PEM text");
    w->cert = IOTIX_SOURCE_DIR "/README.md";
    WORLD_FAILS(w, ERR_INVALID, "is no PEM file");
    w->cert = w->leaf.key_pem;
    WORLD_FAILS(w, ERR_INVALID, "tls.cert: there is no certificate in it");
    w->cert = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    WORLD_FAILS(w, ERR_INVALID, "certificate 1 in it is broken");
    w->cert = w->leaf.pem;
    w->key = NULL;
    WORLD_FAILS(w, ERR_INVALID, "tls.cert is given without tls.key");
    w->key = w->ca.key_pem;
    WORLD_FAILS(w, ERR_INVALID, "the key does not belong to the certificate");
    w->key = w->leaf.pem;
    WORLD_FAILS(w, ERR_INVALID, "tls.key: there is no private key in it");
    w->key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    WORLD_FAILS(w, ERR_INVALID, "tls.key: the private key in it is broken");
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, w->leaf.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    char *locked = bio_text(bio);
    w->key = locked;
    WORLD_FAILS(w, ERR_INVALID, "the key is encrypted; decrypt it first");
    free(locked);
    w->cert = NULL;
    w->key = w->leaf.key_pem;
    WORLD_FAILS(w, ERR_INVALID, "tls.key is given without tls.cert");
    assert_null(w->end.link.top); // nothing stays behind
}

// What is said of a certificate and its key before anybody connects: which file, and what is wrong with it.
static void pairs_before_anybody_connects(void **state)
{
    struct world *w = *state;
    struct error err;
    char path[] = "/tmp/iotix-pair-XXXXXX", text[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, w->leaf.key_pem, strlen(w->leaf.key_pem)) > 0);
    close(fd);
    error_clear(&err);
    assert_int_equal(transport_check_pair(w->leaf.pem, w->leaf.key_pem, &err), 0);
    assert_int_equal(transport_check_pair(w->leaf.pem, path, &err), 0);
    const struct {
        const char *cert, *key;
        enum error_code code;
        const char *text;
    } cases[] = {{w->ca.pem, path, ERR_INVALID, "%s: the key does not belong to the certificate in tls.cert"},
                 {path, path, ERR_INVALID, "tls.cert: %s: there is no certificate in it, but a private key"},
                 {w->leaf.pem, w->leaf.pem, ERR_INVALID, "tls.key: there is no private key in it"},
                 {"/no/such.pem", path, ERR_NOT_FOUND, "tls.cert: cannot open /no/such.pem"},
                 {w->leaf.pem, "/tmp", ERR_INVALID, "/tmp"},
                 {w->leaf.pem, "", ERR_INVALID, "tls.key: expected the path of a PEM file"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = strstr(cases[i].text, "%s");
        int head = at ? (int)(at - cases[i].text) : 0;
        snprintf(text, sizeof text, "%.*s%s%s", head, cases[i].text, at ? path : "",
                 cases[i].text + (at ? head + 2 : 0));
        assert_int_equal(transport_check_pair(cases[i].cert, cases[i].key, &err), -1);
        if (err.code != cases[i].code || !strstr(err.text, text))
            fail_msg("expected \"%s\", got \"%s\" (%s)", text, err.text, error_code_name(err.code));
    }
    unlink(path);
}

static void options_that_are_wrong(void **state)
{
    static const struct {
        const char *options, *text;
    } cases[] = {
        {"{'cA': 'x'}", "option tls \"cA\"; valid: ca, verify, serverName, alpn"},
        {"{'ca': 'no/such.pem'}", "tls.ca: "},
        {"{'ca': 7}", "tls.ca: expected the path of a PEM file or directory, or PEM text, got a number"},
        {"{'ca': '/'}", "no file in the directory / has a certificate"},
        {"{'ca': ''}", "tls.ca: expected the path"},
        {"{'ca': '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n'}",
         "certificate 1 in it is broken"},
        {"{'ca': '-----BEGIN X-----\\nAAAA\\n-----END X-----\\n'}", "tls.ca: there is no certificate in it"},
        {"{'verify': 'no'}", "verify: expected"},
        {"{'serverName': ''}", "tls.serverName: expected a host name"},
        {"{'alpn': 'mqtt'}", "tls.alpn: expected a list of protocol names, got a text"},
        {"{'alpn': ['']}", "1 to 255 bytes"},
        {"{'alpn': [1]}", "got a number"},
        {"{'minVersion': '1.4'}", "tls.minVersion \"1.4\"; valid: 1.2, 1.3"},
        {"{'maxVersion': '1.1'}", "tls.maxVersion \"1.1\""},
        {"{'minVersion': '1.3', 'maxVersion': '1.2'}", "is above"},
        {"{'ciphers': 'NONSENSE'}", "tls.ciphers: no known cipher in \"NONSENSE\""},
        {"{'ciphersuites': 'NONSENSE'}", "tls.ciphersuites: no known one"},
        {"{'mint': true}", "tls.mint: expected an object"},
        {"{'mint': {}}", "tls.mint: ca is missing"},
        {"{'mint': {'ca': 'x'}}", "tls.mint: caKey is missing"},
        {"{'mint': {'ca': 'x', 'caKey': 'x', 'name': 'x'}}", "option tls.mint \"name\"; valid: ca, caKey"},
        {"{'mint': {'ca': 'no/such.pem', 'caKey': 'x'}}", "tls.mint.ca: "},
        {"{'mint': {'ca': 'x', 'caKey': 'x', 'days': 0}}", "tls.mint.days: expected 1 to 36500"},
        {"{'mint': {'ca': 'x', 'caKey': 'x', 'algorithm': 'DSA'}}", "tls.mint.algorithm \"DSA\"; valid: EC, RSA"},
        {"[]", "tls: expected an object, got a list"},
    };
    struct world *w = *state;
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s", cases[i].options);
        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        json_t *o = json_loads(text, 0, NULL);
        assert_non_null(o);
        assert_null(world_try(w, o, "localhost", &err));
        if (!strstr(err.text, cases[i].text))
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, err.text);
        assert_true(err.code == ERR_INVALID || err.code == ERR_NOT_FOUND);
    }
    // A mint whose parts do not fit.
    struct {
        const char *ca, *key, *subject, *text;
    } mints[] = {
        {w->leaf.pem, w->leaf.key_pem, "O=x", "tls.mint.ca: the certificate is no CA"},
        {w->ca.pem, w->leaf.key_pem, "O=x", "tls.mint.caKey: the key does not belong"},
        {w->ca.key_pem, w->ca.key_pem, "O=x", "tls.mint.ca: there is no certificate"},
        {w->ca.pem, w->ca.pem, "O=x", "tls.mint.caKey: there is no private key"},
        {w->ca.pem, w->ca.key_pem, "O", "tls.mint.subject: \"O\" is no part of a name"},
        {w->ca.pem, w->ca.key_pem, "XY=1", "\"XY\" is no part of a name"},
        {w->ca.pem, w->ca.key_pem, "O=a, CN=b", "CN is the name of each device"},
    };
    for (size_t i = 0; i < sizeof mints / sizeof *mints; i++) {
        json_t *o = json_pack("{s:{s:s,s:s,s:s}}", "mint", "ca", mints[i].ca, "caKey", mints[i].key, "subject",
                              mints[i].subject);
        assert_null(world_try(w, o, "localhost", &err));
        if (!strstr(err.text, mints[i].text))
            fail_msg("expected \"%s\" in \"%s\"", mints[i].text, err.text);
    }
    // Options of a layer that is not there.
    json_t *o = json_object();
    struct transport_config config = {.loop = w->loop, .host = "x", .port = 1, .tls_options = o};
    assert_null(transport_new(&config, &err));
    assert_non_null(strstr(err.text, "need a URL with TLS"));
    config.tls_options = NULL;
    config.ws_options = o;
    assert_null(transport_new(&config, &err));
    assert_non_null(strstr(err.text, "need a URL with WebSocket"));
    json_decref(o);
    // Neither layer: nothing is pushed.
    config.ws_options = NULL;
    struct transport *plain = transport_new(&config, NULL);
    assert_int_equal(transport_push(plain, &w->end.link, &w->end.memory, NULL, NULL), 0);
    assert_null(w->end.link.top);
    transport_delete(plain);
    transport_delete(NULL);
}

// A directory of certificates, as it is: no hashed names.
static void a_directory_of_certificates(void **state)
{
    struct world *w = *state;
    char dir[] = "/tmp/iotix-ca-XXXXXX", path[64];
    world_server(w, 0);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/readme.txt", dir);
    FILE *f = fopen(path, "w");
    fputs("nothing", f);
    fclose(f);
    struct error err;
    json_t *o = json_pack("{s:s}", "ca", dir);
    assert_null(world_try(w, json_incref(o), "localhost", &err));
    assert_non_null(strstr(err.text, "no file in the directory"));
    char pem[64];
    snprintf(pem, sizeof pem, "%s/ca.crt", dir);
    f = fopen(pem, "w");
    fputs(w->ca.pem, f);
    fclose(f);
    w->transport = world_try(w, o, "localhost", &err);
    world_open(w);
    unlink(path);
    unlink(pem);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_certificates, world_up, world_down),
        cmocka_unit_test_setup_teardown(names_and_trust, world_up, world_down),
        cmocka_unit_test_setup_teardown(servers_that_refuse_us, world_up, world_down),
        cmocka_unit_test_setup_teardown(what_is_no_tls, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_damaged_record, world_up, world_down),
        cmocka_unit_test_setup_teardown(credentials_that_are_none, world_up, world_down),
        cmocka_unit_test_setup_teardown(pairs_before_anybody_connects, world_up, world_down),
        cmocka_unit_test_setup_teardown(options_that_are_wrong, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_directory_of_certificates, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
