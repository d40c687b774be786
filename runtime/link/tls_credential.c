// What a connection proves itself with: certificate and key (given, or minted), or a pre-shared key.
//
// Parsing PEM costs as much as half a handshake, and most groups have one certificate for all: pairs are kept parsed,
// found by the SHA-256 of what was given. A file is read each time, so that one that was replaced is noticed.
#include <stdlib.h>
#include <string.h>
#include "core/file.h"
#include "link/mint.h"
#include "link/openssl.h"
#include "link/tls.h"

void tls_pair_clear(struct tls_pair *pair)
{
    X509_free(pair->cert);
    sk_X509_pop_free(pair->chain, X509_free);
    EVP_PKEY_free(pair->key);
    memset(pair, 0, sizeof *pair);
}

// --- PEM

bool tls_is_pem(const char *text, size_t n)
{
    return memmem(text, n, "-----BEGIN ", 11) != NULL;
}

int tls_pem_text(const char *given, size_t n, const char *what, uint32_t max, struct buf *out, struct error *err)
{
    char path[4096];
    struct error why;
    if (tls_is_pem(given, n)) {
        if (buf_append(out, given, n) < 0)
            return error_set(err, ERR_LIMIT, "%s: more than %u bytes", what, max);
        return 0;
    }
    if (!n || n >= sizeof path || memchr(given, '\n', n) || memchr(given, '\0', n))
        return error_set(err, ERR_INVALID, "%s: expected the path of a PEM file, or PEM text (-----BEGIN …)", what);
    memcpy(path, given, n);
    path[n] = '\0';
    if (file_read(path, max, out, &why) < 0) {
        error_set(err, why.code, "%s: %s", what, why.text);
        return -1;
    }
    if (!tls_is_pem((const char *)out->data, out->len))
        return error_set(err, ERR_INVALID, "%s: %s is no PEM file (no -----BEGIN in it)", what, path);
    return 0;
}

const char *tls_shown(const char *given, size_t n, const char *what, char *dst, size_t size)
{
    if (tls_is_pem(given, n))
        snprintf(dst, size, "%s", what);
    else
        snprintf(dst, size, "%s: %.*s", what, (int)(n < size ? n : size), given);
    return dst;
}

int tls_no_certificate(const char *text, size_t n, const char *shown, struct error *err)
{
    const char *key = memmem(text, n, "PRIVATE KEY-----", 16) ? ", but a private key" : "";
    return error_set(err, ERR_INVALID, "%s: there is no certificate in it%s", shown, key);
}

int tls_pem_certificates(const char *text, size_t n, const char *what, STACK_OF(X509) * *out, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    char words[200];
    int count = 0;
    X509 *x;
    if (!*out)
        *out = sk_X509_new_null();
    ERR_clear_error();
    while (bio && *out && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (!sk_X509_push(*out, x)) {
            X509_free(x);
            break;
        }
        count++;
    }
    BIO_free(bio);
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return count;
    }
    return error_set(err, ERR_INVALID, "%s: certificate %d in it is broken: %s", what, count + 1,
                     tls_words(words, sizeof words));
}

// Called for an encrypted key: says so instead of asking at a terminal.
static int no_passphrase(char *to, int size, int writing, void *asked)
{
    (void)to, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

EVP_PKEY *tls_pem_key(const char *text, size_t n, const char *what, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    bool encrypted = false;
    char words[200];
    ERR_clear_error();
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted) : NULL;
    BIO_free(bio);
    if (key)
        return key;
    if (encrypted)
        error_set(err, ERR_INVALID, "%s: the key is encrypted; decrypt it first: openssl pkey -in KEY -out PLAIN",
                  what);
    else if (!memmem(text, n, "PRIVATE KEY-----", 16))
        error_set(err, ERR_INVALID, "%s: there is no private key in it", what);
    else
        error_set(err, ERR_INVALID, "%s: the private key in it is broken: %s", what, tls_words(words, sizeof words));
    ERR_clear_error();
    return NULL;
}

// --- given certificates

struct given { // a certificate or key as it was given
    struct buf text;
    const char *what; // the option
    char shown[300];  // for errors: the same, and the path if it is one
};

static void given_create(struct given *g, const char *what)
{
    buf_create(&g->text, TLS_CREDENTIAL_MAX);
    g->what = what;
    g->shown[0] = '\0';
}

static void given_destroy(struct given *g)
{
    OPENSSL_cleanse(g->text.data, g->text.size); // a certificate's file may hold the key too
    buf_destroy(&g->text);
}

static int given_read(struct given *g, const char *text, size_t n, struct error *err)
{
    tls_shown(text, n, g->what, g->shown, sizeof g->shown);
    return tls_pem_text(text, n, g->what, TLS_CREDENTIAL_MAX, &g->text, err);
}

static int parse_pair(const struct given *cert, const struct given *key, struct tls_pair *pair, struct error *err)
{
    char words[200];
    const char *text = (const char *)cert->text.data;
    memset(pair, 0, sizeof *pair);
    int n = tls_pem_certificates(text, cert->text.len, cert->shown, &pair->chain, err);
    if (n == 0)
        tls_no_certificate(text, cert->text.len, cert->shown, err);
    else if (n > 0)
        pair->key = tls_pem_key((const char *)key->text.data, key->text.len, key->shown, err);
    if (pair->key) {
        pair->cert = sk_X509_shift(pair->chain);
        if (X509_check_private_key(pair->cert, pair->key))
            return 0;
        error_set(err, ERR_INVALID, "%s: the key does not belong to the certificate in %s (%s)", key->shown,
                  cert->shown, tls_words(words, sizeof words));
    }
    tls_pair_clear(pair);
    return -1;
}

int transport_check_pair(const char *cert, const char *key, struct error *err)
{
    struct given both[2];
    struct tls_pair pair;
    given_create(&both[0], "tls.cert");
    given_create(&both[1], "tls.key");
    int rc = given_read(&both[0], cert, strlen(cert), err) || given_read(&both[1], key, strlen(key), err) ||
                     parse_pair(&both[0], &both[1], &pair, err)
                 ? -1
                 : 0;
    if (rc == 0)
        tls_pair_clear(&pair);
    given_destroy(&both[0]);
    given_destroy(&both[1]);
    return rc;
}

static void digest_of(const struct buf *cert, const struct buf *key, uint8_t out[32])
{
    uint8_t both[64];
    (void)EVP_Digest(cert->data, cert->len, both, NULL, EVP_sha256(), NULL);
    (void)EVP_Digest(key->data, key->len, both + 32, NULL, EVP_sha256(), NULL);
    (void)EVP_Digest(both, sizeof both, out, NULL, EVP_sha256(), NULL);
}

static const struct tls_pair *find_pair(struct tls_context *c, const struct given *cert, const struct given *key,
                                        struct error *err)
{
    uint8_t digest[32];
    struct tls_cached *oldest = &c->cache[0];
    struct tls_pair parsed;
    digest_of(&cert->text, &key->text, digest);
    for (struct tls_cached *k = c->cache; k < c->cache + TLS_CACHE_MAX; k++) {
        if (k->used && memcmp(k->digest, digest, sizeof digest) == 0) {
            k->used = ++c->clock;
            return &k->pair;
        }
        if (k->used < oldest->used)
            oldest = k;
    }
    if (parse_pair(cert, key, &parsed, err) < 0)
        return NULL;
    tls_pair_clear(&oldest->pair);
    oldest->pair = parsed;
    oldest->used = ++c->clock;
    memcpy(oldest->digest, digest, sizeof digest);
    return &oldest->pair;
}

static int use_pair(SSL *ssl, const struct tls_pair *pair, struct error *err)
{
    char words[200];
    if (SSL_use_cert_and_key(ssl, pair->cert, pair->key, pair->chain, 1) == 1)
        return 0;
    return error_set(err, ERR_TLS, "the device's certificate cannot be used: %s", tls_words(words, sizeof words));
}

// The text of a credential, a file's contents included. Nothing appended: it has none.
static int ask(struct tls_context *c, void *owner, enum transport_credential what, struct given *out, struct error *err)
{
    struct buf given;
    buf_create(&given, TLS_CREDENTIAL_MAX);
    int rc = c->transport->credential ? c->transport->credential(owner, what, &given, err) : 0;
    if (rc == 0 && given.len)
        rc = given_read(out, (const char *)given.data, given.len, err);
    OPENSSL_cleanse(given.data, given.size);
    buf_destroy(&given);
    return rc;
}

static int use_given(struct tls_context *c, SSL *ssl, void *owner, struct error *err)
{
    struct given cert, key;
    const struct tls_pair *pair;
    given_create(&cert, "tls.cert");
    given_create(&key, "tls.key");
    int rc = ask(c, owner, TRANSPORT_CERT, &cert, err);
    if (rc == 0)
        rc = ask(c, owner, TRANSPORT_KEY, &key, err);
    if (rc == 0 && key.text.len && !cert.text.len)
        rc = error_set(err, ERR_INVALID, "tls.key is given without tls.cert");
    if (rc == 0 && cert.text.len && !key.text.len && !memmem(cert.text.data, cert.text.len, "PRIVATE KEY-----", 16))
        rc = error_set(err, ERR_INVALID, "tls.cert is given without tls.key, and there is no key in it");
    if (rc == 0 && cert.text.len)
        rc = (pair = find_pair(c, &cert, key.text.len ? &key : &cert, err)) ? use_pair(ssl, pair, err) : -1;
    given_destroy(&key);
    given_destroy(&cert);
    return rc;
}

// --- minted ones

int tls_credential_kept(struct tls_context *c, SSL *ssl, const struct transport_memory *memory, struct error *err)
{
    struct tls_pair pair;
    if (mint_again(c->mint, memory->minted, &pair, err) < 0)
        return -1;
    int rc = use_pair(ssl, &pair, err);
    tls_pair_clear(&pair);
    return rc;
}

static int use_fresh(struct tls_context *c, SSL *ssl, struct transport_memory *memory, const struct buf *name,
                     int64_t now, struct error *err)
{
    struct tls_pair pair;
    struct minted *fresh;
    if (mint_make(c->mint, (const char *)name->data, name->len, now, &pair, &fresh, err) < 0)
        return -1;
    free(memory->minted);
    memory->minted = fresh;
    int rc = use_pair(ssl, &pair, err);
    tls_pair_clear(&pair);
    return rc;
}

static int use_minted(struct tls_context *c, SSL *ssl, struct transport_memory *memory, void *owner, struct error *err)
{
    struct buf name;
    int64_t now = loop_wall_us(c->transport->loop);
    buf_create(&name, 1024);
    int rc = c->transport->credential ? c->transport->credential(owner, TRANSPORT_NAME, &name, err) : 0;
    if (rc == 0 && !name.len)
        rc = error_set(err, ERR_INVALID, "tls.mint: the device has no name for its certificate (tls.mint.name)");
    if (rc == 0 && !minted_fits(memory->minted, (const char *)name.data, name.len, now))
        rc = use_fresh(c, ssl, memory, &name, now, err);
    else if (rc == 0 && memory->session) // to be resumed: most likely nobody asks for the certificate
        SSL_set_cert_cb(ssl, tls_on_certificate_wanted, NULL);
    else if (rc == 0)
        rc = tls_credential_kept(c, ssl, memory, err);
    buf_destroy(&name);
    return rc;
}

// --- pre-shared keys

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int psk_fill(struct tls_psk *psk, const struct buf *identity, const struct buf *key, struct error *err)
{
    if (!identity->len || !key->len)
        return error_set(err, ERR_INVALID, "tls.psk: %s is missing", identity->len ? "key" : "identity");
    if (identity->len > PSK_MAX_IDENTITY_LEN - 1 || memchr(identity->data, '\0', identity->len))
        return error_set(err, ERR_INVALID, "tls.psk.identity: expected at most %d bytes, none of them 0, got %u",
                         PSK_MAX_IDENTITY_LEN - 1, identity->len);
    if (key->len % 2 || key->len / 2 > PSK_MAX_PSK_LEN)
        return error_set(err, ERR_INVALID,
                         "tls.psk.key: expected hex digits, two for each byte, at most %d bytes; got %u digits",
                         PSK_MAX_PSK_LEN, key->len);
    for (uint32_t i = 0; i < key->len; i += 2) {
        int high = hex_digit(key->data[i]), low = hex_digit(key->data[i + 1]);
        if (high < 0 || low < 0)
            return error_set(err, ERR_INVALID, "tls.psk.key: expected hex digits, character %u is none",
                             i + (high < 0 ? 1 : 2));
        psk->key[i / 2] = (uint8_t)(high * 16 + low);
    }
    memcpy(psk->identity, identity->data, identity->len);
    psk->identity_len = identity->len;
    psk->key_len = key->len / 2;
    return 0;
}

static int ask_psk(struct tls_context *c, void *owner, struct tls_psk **out, struct error *err)
{
    struct buf identity, key;
    buf_create(&identity, 4096);
    buf_create(&key, 4096);
    int rc = c->transport->credential(owner, TRANSPORT_PSK_IDENTITY, &identity, err);
    if (rc == 0)
        rc = c->transport->credential(owner, TRANSPORT_PSK_KEY, &key, err);
    if (rc == 0 && (identity.len || key.len)) {
        struct tls_psk *psk = calloc(1, sizeof *psk);
        rc = psk ? psk_fill(psk, &identity, &key, err) : error_set(err, ERR_NO_MEMORY, "no memory for a key");
        if (rc == 0)
            *out = psk;
        else
            tls_psk_delete(psk);
    }
    OPENSSL_cleanse(key.data, key.size);
    buf_destroy(&identity);
    buf_destroy(&key);
    return rc;
}

void tls_psk_delete(struct tls_psk *psk)
{
    if (psk)
        OPENSSL_cleanse(psk, sizeof *psk);
    free(psk);
}

SSL *tls_credential_ssl(struct tls_context *c, struct transport_memory *memory, void *owner, struct tls_psk **psk,
                        struct error *err)
{
    SSL_CTX *ctx = c->ctx;
    *psk = NULL;
    if (c->transport->credential && ask_psk(c, owner, psk, err) < 0)
        return NULL;
    if (*psk && !(ctx = tls_context_psk(c, err)))
        return NULL;
    SSL *ssl = SSL_new(ctx);
    char words[200];
    if (!ssl) {
        error_set(err, ERR_TLS, "cannot begin TLS: %s", tls_words(words, sizeof words));
        return NULL;
    }
    if ((c->mint ? use_minted(c, ssl, memory, owner, err) : use_given(c, ssl, owner, err)) == 0)
        return ssl;
    SSL_free(ssl);
    return NULL;
}
