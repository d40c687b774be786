// TLS of one target: options, the SSL_CTX of each kind of credential, certificates that were parsed.
#pragma once
#include "link/openssl.h"
#include "link/transport_impl.h"

#define TLS_PEM_MAX (4u << 20)          // bytes of a CA file
#define TLS_CREDENTIAL_MAX (256u << 10) // bytes of a device's certificate with its chain, or of its key
#define TLS_CACHE_MAX 32u               // parsed pairs of certificate and key kept

#define TLS_ALPN_DEFAULTS 4u

struct mint;

struct tls_pair { // a certificate with its chain and key
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};
void tls_pair_clear(struct tls_pair *pair);

struct tls_cached {
    uint8_t digest[32]; // of certificate and key as they were given; files: of their contents
    uint64_t used;
    struct tls_pair pair;
};

struct tls_psk {
    unsigned identity_len, key_len;
    char identity[PSK_MAX_IDENTITY_LEN + 1];
    uint8_t key[PSK_MAX_PSK_LEN];
};

struct tls_context {
    const struct transport *transport;
    SSL_CTX *ctx, *psk_ctx; // psk_ctx: NULL until needed
    BIO_METHOD *bio;
    char *server_name; // for SNI and verification
    bool name_is_ip, verify, resume;
    unsigned n_alpn;
    char *alpn[TLS_ALPN_DEFAULTS + 1]; // when the options have none; NULL-terminated
    struct mint *mint;                 // NULL: none
    struct tls_cached cache[TLS_CACHE_MAX];
    uint64_t clock; // of the cache
    json_t *options;
};
struct tls_context *tls_context_new(const struct transport *t, const struct transport_config *config,
                                    struct error *err);
void tls_context_delete(struct tls_context *c);
// The SSL_CTX for connections with a pre-shared key: as the other, but TLS 1.2 offers PSK ciphers only.
SSL_CTX *tls_context_psk(struct tls_context *c, struct error *err);

// tls_credential.c: a new SSL with what the connection proves itself with. *psk is set when that is a key (freed with
// tls_psk_delete), else NULL.
SSL *tls_credential_ssl(struct tls_context *c, struct transport_memory *memory, void *owner, struct tls_psk **psk,
                        struct error *err);
void tls_psk_delete(struct tls_psk *psk);
// The certificate that memory has been keeping, for a server that wants it although there was a session to resume.
int tls_credential_kept(struct tls_context *c, SSL *ssl, const struct transport_memory *memory, struct error *err);
// Certificates out of PEM text, appended to *out (made when NULL). Returns how many; -1: broken PEM.
int tls_pem_certificates(const char *text, size_t n, const char *what, STACK_OF(X509) * *out, struct error *err);
EVP_PKEY *tls_pem_key(const char *text, size_t n, const char *what, struct error *err);
// PEM text as it is, or the contents of the file it names.
int tls_pem_text(const char *given, size_t n, const char *what, uint32_t max, struct buf *out, struct error *err);
bool tls_is_pem(const char *text, size_t n);
// For errors: `what`, and behind it the path if it was one that was given. Returns dst.
const char *tls_shown(const char *given, size_t n, const char *what, char *dst, size_t size);
// -1: err says that there is none, and what there is.
int tls_no_certificate(const char *text, size_t n, const char *shown, struct error *err);

// tls_explain.c: OpenSSL's errors in words a person can act on.
//
// OpenSSL's own words for the first of its errors; empties its queue. Returns dst.
const char *tls_words(char *dst, size_t size);
// A certificate of the server was not accepted (X509_V_ERR_*).
void tls_explain_certificate(const struct tls_context *c, int verify_error, X509 *cert, struct error *err);
// A handshake or a read failed; takes the first of OpenSSL's errors. in_handshake: not yet open.
void tls_explain_failure(bool in_handshake, bool psk, struct error *err);
// The first bytes of the server are not TLS.
void tls_explain_garbage(const uint8_t *bytes, size_t n, struct error *err);
