// The TLS layer of one connection, as a filter.
#pragma once
#include "link/transport_impl.h"

// A filter that does the handshake when what is below it is open. NULL: err, of credentials.
struct link_filter *tls_filter_new(struct transport *t, struct transport_memory *memory, void *owner,
                                   struct error *err);

// What the SSL_CTX of a transport calls; the SSL's BIO leads to its filter.
BIO_METHOD *tls_bio_method(void);
int tls_on_session(SSL *ssl, SSL_SESSION *session);
int tls_on_certificate_wanted(SSL *ssl, void *arg);
int tls_on_certificate(int ok, X509_STORE_CTX *store);
unsigned tls_on_psk(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                    unsigned max_key);
