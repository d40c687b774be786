// libcurl brings its own handshake; what is verified and with what a device proves itself comes from a transport of the
// link room, so that the options and errors of all protocols are the same. Its rules are put on the SSL when its
// handshake begins (the info callback): libcurl shows an SSL_CTX for each connection, never the SSL.
//
// A session to resume is kept by the device: libcurl's own cache holds eight for all devices.
#include "link/openssl.h"
#include "adapter/http/tls.h"
#include "adapter/http/socket.h"
#include <stdlib.h>
#include <string.h>

static int credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    static const enum adapter_field fields[] = {
        [TRANSPORT_CERT] = FIELD_TLS_CERT, [TRANSPORT_KEY] = FIELD_TLS_KEY, [TRANSPORT_NAME] = FIELD_TLS_NAME};
    const struct adapter_conn *c = owner;
    // libcurl has no pre-shared keys; one of the device's other connections stands for nothing here, least of all for
    // the server's certificate.
    if (what == TRANSPORT_PSK_IDENTITY || what == TRANSPORT_PSK_KEY)
        return 0;
    return c->identity && c->identity->field ? c->identity->field(c->owner, fields[what], out, err) : 0;
}

int http_tls_create(struct http_target *t, struct error *err)
{
    const json_t *options = t->options.tls;
    if (json_object_get(options, "alpn"))
        return error_set(err, ERR_INVALID, "tls.alpn: an HTTP target has the option `version` for that");
    struct transport_config config = {.loop = t->env.loop,
                                      .tls = true,
                                      .host = t->url.host,
                                      .port = t->url.port,
                                      .tls_options = options,
                                      .credential = credential};
    t->transport = transport_new(&config, err);
    return t->transport ? 0 : -1;
}

static struct http_tls_holder *holder_of(const SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static int on_certificate(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct http_tls_holder *h = holder_of(ssl);
    if (!ok && h->exchange && !h->exchange->err.code)
        transport_explain(h->conn->target->transport, X509_STORE_CTX_get_error(store),
                          X509_STORE_CTX_get_current_cert(store), &h->exchange->err);
    return ok;
}

// The head of the first record that a server sends says whether it speaks TLS at all. OpenSSL shows it before it looks.
static void on_record(int writing, int version, int type, const void *bytes, size_t n, SSL *ssl, void *arg)
{
    struct http_tls_holder *h = arg;
    const uint8_t *head = bytes;
    (void)version;
    if (writing || type != SSL3_RT_HEADER)
        return;
    SSL_set_msg_callback(ssl, NULL);
    if (n && head[0] != SSL3_RT_ALERT && head[0] != SSL3_RT_HANDSHAKE && h->exchange && !h->exchange->err.code)
        transport_explain_answer(head, n, &h->exchange->err);
}

static void begin(SSL *ssl, struct http_tls_holder *h)
{
    struct adapter_conn *c = h->conn;
    SSL_set_msg_callback(ssl, on_record);
    SSL_set_msg_callback_arg(ssl, h);
    if (transport_equip(c->target->transport, ssl, &c->tls, c, on_certificate, &h->exchange->err) < 0) {
        // No protocol version is both: the handshake ends before it sent anything.
        SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
        SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
        return;
    }
    if (h->session)
        SSL_set_session(ssl, h->session);
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct http_tls_holder *h = holder_of(ssl);
    const int fatal = SSL3_AL_FATAL << 8;
    // TLS 1.3 servers look at the device's certificate when its handshake is over: then the alert comes in its place.
    if (h->exchange && (where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value & fatal) && !h->exchange->err.code)
        transport_explain_alert(value, &h->exchange->err);
    if (!h->exchange || h->exchange->connected) // messages behind the handshake have a begin and an end too
        return;
    if (where & SSL_CB_HANDSHAKE_START && h->state == HTTP_TLS_NEW) {
        h->state = HTTP_TLS_BEGUN;
        if (h->exchange->socket)
            h->exchange->socket->ssl = (SSL *)ssl;
        h->exchange->socket = NULL;
        begin((SSL *)ssl, h);
    } else if (where & SSL_CB_HANDSHAKE_DONE && h->state == HTTP_TLS_BEGUN) {
        const struct http_series *s = &h->conn->target->series;
        h->state = HTTP_TLS_DONE;
        counter_add(SSL_session_reused(ssl) ? s->tls_resumed : s->tls_full, 1);
    }
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct http_tls_holder *h = holder_of(ssl);
    if (!h->conn || !h->conn->target->resume)
        return 0;
    SSL_SESSION_free(h->session);
    h->session = SSL_SESSION_dup(session); // a connection that ends badly spoils its own for resumption
    return 0;
}

static CURLcode on_context(CURL *easy, void *ssl_ctx, void *arg)
{
    struct http_exchange *x = arg;
    struct adapter_conn *c = x->conn;
    SSL_CTX *ctx = ssl_ctx;
    (void)easy;
    if (!c->holder && !(c->holder = calloc(1, sizeof *c->holder)))
        return CURLE_OUT_OF_MEMORY;
    c->holder->conn = c;
    c->holder->exchange = x;
    c->holder->state = HTTP_TLS_NEW;
    SSL_CTX_set_app_data(ctx, c->holder);
    SSL_CTX_set_info_callback(ctx, on_info);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET); // libcurl sets it
    return CURLE_OK;
}

void http_tls_easy(struct http_target *t, CURL *easy)
{
    const json_t *o = t->options.tls;
    const char *ciphers = json_string_value(json_object_get(o, "ciphers"));
    const char *suites = json_string_value(json_object_get(o, "ciphersuites"));
    const char *min = json_string_value(json_object_get(o, "minVersion"));
    const char *max = json_string_value(json_object_get(o, "maxVersion"));
    long versions = (min && strcmp(min, "1.3") == 0 ? (long)CURL_SSLVERSION_TLSv1_3 : (long)CURL_SSLVERSION_TLSv1_2) |
                    (max && strcmp(max, "1.2") == 0 ? (long)CURL_SSLVERSION_MAX_TLSv1_2 : 0L);
    const json_t *resume = json_object_get(o, "resume");
    t->resume = !resume || json_is_true(resume);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, versions);
    if (ciphers)
        curl_easy_setopt(easy, CURLOPT_SSL_CIPHER_LIST, ciphers);
    if (suites)
        curl_easy_setopt(easy, CURLOPT_TLS13_CIPHERS, suites);
    // The transport's rules verify chain and name in the handshake itself.
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
}

void http_tls_trim(struct adapter_conn *c, const struct http_lane *lane)
{
    for (struct http_socket *s = c->sockets; s; s = s->next)
        if (s->ssl && s->lane == lane && !SSL_has_pending(s->ssl))
            SSL_free_buffers(s->ssl);
}

void http_tls_exchange_gone(struct http_exchange *x)
{
    struct http_tls_holder *h = x->conn->holder;
    if (h && h->exchange == x)
        h->exchange = NULL;
}

// Whether the device proves itself with something of its own, so that its connections are nobody else's.
bool http_tls_own(struct adapter_conn *c, struct error *err)
{
    struct buf out;
    if (c->own_tls != HTTP_CREDENTIAL_UNKNOWN)
        return c->own_tls == HTTP_CREDENTIAL_KNOWN;
    buf_create(&out, 1u << 20);
    (void)credential(c, TRANSPORT_CERT, &out, err);
    bool own = out.len || json_object_get(c->target->options.tls, "mint");
    c->own_tls = own ? HTTP_CREDENTIAL_KNOWN : HTTP_CREDENTIAL_NONE;
    buf_destroy(&out);
    return own;
}

void http_tls_forget(struct adapter_conn *c)
{
    transport_forget(&c->tls);
    if (!c->holder)
        return;
    SSL_SESSION_free(c->holder->session);
    // libcurl may still have a connection that points here: it goes with the target.
    *c->holder = (struct http_tls_holder){.next = c->target->holders};
    c->target->holders = c->holder;
    c->holder = NULL;
}

void http_tls_destroy(struct http_target *t)
{
    for (struct http_tls_holder *h = t->holders, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    transport_delete(t->transport);
}
