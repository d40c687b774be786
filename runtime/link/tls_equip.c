// TLS for a library that brings a handshake of its own (libcoap's DTLS and TLS): its SSL is set up as ours would be.
#include "link/openssl.h"
#include "link/tls_context.h"

static int copy_credential(SSL *to, SSL *from, struct error *err)
{
    char words[200];
    STACK_OF(X509) *chain = NULL;
    X509 *cert = SSL_get_certificate(from);
    if (!cert)
        return 0;
    (void)SSL_get0_chain_certs(from, &chain);
    if (SSL_use_cert_and_key(to, cert, SSL_get_privatekey(from), chain, 1) == 1)
        return 0;
    return error_set(err, ERR_TLS, "the device's certificate cannot be used: %s", tls_words(words, sizeof words));
}

static int copy_rules(SSL *to, SSL *from, const struct tls_context *c, struct error *err)
{
    char words[200];
    const char *ciphers = json_string_value(json_object_get(c->options, "ciphers"));
    if (X509_VERIFY_PARAM_set1(SSL_get0_param(to), SSL_get0_param(from)) == 1 &&
        SSL_set1_verify_cert_store(to, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(from))) == 1 &&
        (!ciphers || SSL_set_cipher_list(to, ciphers) == 1) &&
        (c->name_is_ip || SSL_set_tlsext_host_name(to, c->server_name) == 1))
        return 0;
    return error_set(err, ERR_TLS, "TLS cannot be set up: %s", tls_words(words, sizeof words));
}

int transport_equip(struct transport *t, struct ssl_st *ssl, struct transport_memory *memory, void *owner,
                    int (*on_certificate)(int ok, struct x509_store_ctx_st *store), struct error *err)
{
    struct tls_psk *psk;
    SSL *model = tls_credential_ssl(t->tls, memory, owner, &psk, err);
    if (!model)
        return -1;
    int rc = psk ? 0 : copy_credential(ssl, model, err);
    if (rc == 0 && !psk)
        rc = copy_rules(ssl, model, t->tls, err);
    int mode = SSL_get_verify_mode(model);
    if (!psk)
        SSL_set_verify(ssl, mode, mode == SSL_VERIFY_NONE ? NULL : on_certificate);
    SSL_free(model);
    tls_psk_delete(psk);
    return rc;
}

int transport_equip_server(struct transport *t, struct ssl_st *ssl, struct transport_memory *memory, void *owner,
                           struct error *err)
{
    const struct tls_context *c = t->tls;
    const char *ciphers = json_string_value(json_object_get(c->options, "ciphers"));
    bool ask = c->verify && json_object_get(c->options, "ca");
    struct tls_psk *psk;
    char words[200];
    SSL *model = tls_credential_ssl(t->tls, memory, owner, &psk, err);
    if (!model)
        return -1;
    int rc = copy_credential(ssl, model, err);
    if (rc == 0 && !SSL_get_certificate(ssl))
        rc = error_set(err, ERR_INVALID, "there is no certificate to serve with");
    if (rc == 0 && ((ask && SSL_set1_verify_cert_store(ssl, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(model))) != 1) ||
                    (ciphers && SSL_set_cipher_list(ssl, ciphers) != 1)))
        rc = error_set(err, ERR_TLS, "TLS cannot be set up: %s", tls_words(words, sizeof words));
    SSL_set_verify(ssl, ask ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
    SSL_free(model);
    tls_psk_delete(psk);
    return rc;
}

void transport_explain_answer(const uint8_t *bytes, size_t n, struct error *err)
{
    tls_explain_garbage(bytes, n, err);
}

void transport_explain(const struct transport *t, int verify_error, struct x509_st *cert, struct error *err)
{
    tls_explain_certificate(t->tls, verify_error, cert, err);
}
