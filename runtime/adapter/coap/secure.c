// What a connection proves itself with: nothing, a pre-shared key, or a certificate.
#include "link/openssl.h"

#include <coap3/coap.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/conn.h"
#include "adapter/coap/exchange.h"
#include "adapter/coap/log_bridge.h"
#include "adapter/coap/serve.h"

#define PSK_MAX 64u // bytes of a key; identities have 128

int coap_transport_credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    static const enum adapter_field fields[] = {[TRANSPORT_CERT] = FIELD_TLS_CERT,
                                                [TRANSPORT_KEY] = FIELD_TLS_KEY,
                                                [TRANSPORT_NAME] = FIELD_TLS_NAME,
                                                [TRANSPORT_PSK_IDENTITY] = FIELD_PSK_IDENTITY,
                                                [TRANSPORT_PSK_KEY] = FIELD_PSK_KEY};
    struct coap_conn *c = owner;
    return c->identity->field(c->owner, fields[what], out, err);
}

static int hex(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int read_key(const struct buf *text, uint8_t *key, size_t *n, struct error *err)
{
    if (text->len == 0 || text->len % 2 || text->len / 2 > PSK_MAX)
        return error_set(err, ERR_INVALID, "psk_key: expected 2 to %u hex digits in pairs, got %u characters",
                         2 * PSK_MAX, text->len);
    for (uint32_t i = 0; i < text->len; i += 2) {
        int high = hex((char)text->data[i]), low = hex((char)text->data[i + 1]);
        if (high < 0 || low < 0)
            return error_set(err, ERR_INVALID, "psk_key: expected hex digits");
        key[i / 2] = (uint8_t)(high << 4 | low);
    }
    *n = text->len / 2;
    return 0;
}

struct psk {
    uint8_t identity[129], key[PSK_MAX];
    size_t identity_len, key_len; // identity_len 0: there is none
};

static int ask_psk(struct coap_conn *c, struct psk *psk, struct error *err)
{
    struct buf *text = &c->target->text;
    buf_clear(text);
    if (c->identity->field(c->owner, FIELD_PSK_IDENTITY, text, err) < 0)
        return -1;
    psk->identity_len = text->len;
    if (text->len > 128)
        return error_set(err, ERR_INVALID, "psk_identity: at most 128 bytes, got %u", text->len);
    memcpy(psk->identity, text->data ? text->data : (const uint8_t *)"", text->len);
    buf_clear(text);
    if (c->identity->field(c->owner, FIELD_PSK_KEY, text, err) < 0)
        return -1;
    if (!text->len && !psk->identity_len)
        return 0;
    if (!psk->identity_len || !text->len)
        return error_set(err, ERR_INVALID, "a pre-shared key needs both psk_identity and psk_key");
    int rc = read_key(text, psk->key, &psk->key_len, err);
    memset(text->data, 0, text->len);
    return rc;
}

// The connection whose session's handshake this is. NULL: not one of ours.
static struct coap_conn *conn_of(const SSL *ssl)
{
    coap_session_t *session = SSL_get_app_data(ssl);
    struct coap_pool *pool = session ? coap_pool_of(coap_session_get_context(session)) : NULL;
    struct coap_conn *c = session ? coap_session_get_app_data(session) : NULL;
    return !pool ? NULL : c ? c : pool->opening;
}

static int on_certificate(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct coap_conn *c = conn_of(ssl);
    struct error err;
    if (ok || !c)
        return ok;
    transport_explain(c->target->transport, X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_current_cert(store),
                      &err);
    coap_conn_lose(c, err.code, err.text);
    return 0;
}

// In place of OpenSSL's, for libcoap, which has no other place to set up a client's SSL (the linker sees to it).
int __real_SSL_connect(SSL *ssl);
int __wrap_SSL_connect(SSL *ssl);
int __wrap_SSL_connect(SSL *ssl)
{
    struct coap_conn *c = SSL_in_before(ssl) ? conn_of(ssl) : NULL;
    struct error err;
    if (!c || !c->target->transport || c->pool->kind != POOL_CERT)
        return __real_SSL_connect(ssl);
    if (!c->secret && !(c->secret = calloc(1, sizeof *c->secret)))
        return 0;
    if (transport_equip(c->target->transport, ssl, &c->secret->memory, c, on_certificate, &err) == 0)
        return __real_SSL_connect(ssl);
    coap_conn_lose(c, err.code, err.text);
    return 0;
}

static coap_session_t *open_psk(struct coap_conn *c, const struct psk *psk, const coap_address_t *to,
                                const coap_address_t *from)
{
    struct coap_target *t = c->target;
    coap_dtls_cpsk_t setup = {
        .version = COAP_DTLS_CPSK_SETUP_VERSION,
        .psk_info = {.identity = {psk->identity_len, psk->identity}, .key = {psk->key_len, psk->key}}};
    return coap_new_client_session_psk2(c->pool->ctx, from, to, t->proto, &setup);
}

int coap_secure_session(struct coap_conn *c, const coap_address_t *to, const coap_address_t *from, struct error *err)
{
    struct coap_target *t = c->target;
    struct psk psk = {.identity_len = 0};
    // What is checked, and with what, is set up at SSL_connect.
    coap_dtls_pki_t pki = {
        .version = COAP_DTLS_PKI_SETUP_VERSION, .verify_peer_cert = 1, .pki_key.key_type = COAP_PKI_KEY_PEM};
    char words[200];
    if (t->transport && ask_psk(c, &psk, err) < 0)
        return -1;
    enum coap_pool_kind kind = !t->transport ? POOL_PLAIN : psk.identity_len ? POOL_PSK : POOL_CERT;
    if (!(c->pool = coap_pool_take(t, kind, err)))
        return -1;
    coap_log_take(words, sizeof words);
    c->pool->opening = c;
    if (kind == POOL_PLAIN) {
        c->session = coap_new_client_session(c->pool->ctx, from, to, t->proto);
    } else if (kind == POOL_PSK) {
        c->session = open_psk(c, &psk, to, from);
    } else {
        c->session = coap_new_client_session_pki(c->pool->ctx, from, to, t->proto, &pki);
    }
    c->pool->opening = NULL;
    memset(psk.key, 0, sizeof psk.key);
    if (c->session)
        return 0;
    coap_pipes_delete(c, false);
    coap_pool_give(c->pool);
    c->pool = NULL;
    if (c->lost) { // said by `equip`
        *err = *c->lost;
        free(c->lost);
        c->lost = NULL;
        return -1;
    }
    coap_log_take(words, sizeof words);
    return error_set(err, strstr(words, "Too many open files") ? ERR_LIMIT : ERR_IO, "no session: %s",
                     words[0] ? words : "libcoap does not say why");
}

static bool has_certificate(struct coap_conn *c)
{
    struct buf *text = &c->target->text;
    struct error err;
    buf_clear(text);
    return c->target->options.mint || (c->identity->field(c->owner, FIELD_TLS_CERT, text, &err) == 0 && text->len > 0);
}

int coap_secure_serves(struct coap_conn *c, struct error *err)
{
    struct psk psk = {.identity_len = 0};
    if (ask_psk(c, &psk, err) < 0)
        return -1;
    if (!psk.identity_len && !has_certificate(c))
        return error_set(
            err, ERR_UNSUPPORTED,
            "what is served over %s needs a certificate of the device (tls.cert and tls.key, or tls.mint), "
            "or its pre-shared key (tls.psk)",
            c->target->url.scheme);
    if (!c->secret && !(c->secret = calloc(1, sizeof *c->secret)))
        return error_set(err, ERR_NO_MEMORY, "no memory for a key");
    if (!psk.identity_len)
        return POOL_CERT_SERVER;
    struct coap_secret *s = c->secret;
    memcpy(s->key, psk.key, psk.key_len);
    memcpy(s->identity, psk.identity, psk.identity_len);
    s->identity[psk.identity_len] = '\0';
    s->served = (coap_bin_const_t){psk.key_len, s->key};
    memset(psk.key, 0, sizeof psk.key);
    return POOL_PSK_SERVER;
}

static const coap_bin_const_t *psk_of(coap_bin_const_t *identity, coap_session_t *session, void *arg)
{
    (void)arg;
    struct coap_conn *c = coap_server_conn(session);
    return c ? coap_secure_served_key(c, identity) : NULL;
}

void coap_secure_context(struct coap_pool *pool)
{
    static const uint8_t hint[] = "";
    coap_dtls_spsk_t psk = {.version = COAP_DTLS_SPSK_SETUP_VERSION,
                            .validate_id_call_back = psk_of,
                            .psk_info = {.hint = {0, hint}, .key = {1, hint}}};
    // Certificates are set up at SSL_accept.
    coap_dtls_pki_t pki = {
        .version = COAP_DTLS_PKI_SETUP_VERSION, .verify_peer_cert = 1, .pki_key.key_type = COAP_PKI_KEY_PEM};
    if (pool->keyed)
        return;
    pool->keyed = true;
    if (pool->kind == POOL_PSK_SERVER)
        coap_context_set_psk2(pool->ctx, &psk);
    else
        coap_context_set_pki(pool->ctx, &pki);
}

// libcoap's own would put the certificate of its context in place of the device's.
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)ssl, (void)alert, (void)arg;
    return SSL_CLIENT_HELLO_SUCCESS;
}

int __real_SSL_accept(SSL *ssl);
int __wrap_SSL_accept(SSL *ssl);
int __wrap_SSL_accept(SSL *ssl)
{
    coap_session_t *session = SSL_get_app_data(ssl);
    struct coap_pool *pool = session ? coap_pool_of(coap_session_get_context(session)) : NULL;
    struct coap_conn *c = pool && pool->kind == POOL_CERT_SERVER ? coap_server_conn(session) : NULL;
    struct error err;
    if (!c || !c->secret)
        return __real_SSL_accept(ssl);
    SSL_CTX_set_client_hello_cb(SSL_get_SSL_CTX(ssl), on_client_hello, NULL);
    if (transport_equip_server(c->target->transport, ssl, &c->secret->serving, c, &err) == 0)
        return __real_SSL_accept(ssl);
    coap_log_malformed(err.text, 0);
    return 0;
}

const coap_bin_const_t *coap_secure_served_key(struct coap_conn *c, coap_bin_const_t *identity)
{
    struct coap_secret *s = c->secret;
    bool same = s && s->served.length && identity->length == strlen(s->identity) &&
                memcmp(identity->s, s->identity, identity->length) == 0;
    return same ? &s->served : NULL;
}

void coap_secret_delete(struct coap_secret *secret)
{
    if (!secret)
        return;
    transport_forget(&secret->memory);
    transport_forget(&secret->serving);
    free(secret);
}
