// Options of TLS, and the SSL_CTX made from them.
#include "link/openssl.h"
#include "link/tls_context.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "link/mint.h"
#include "link/tls.h"

#define ALPN_MAX 1024u
#define CA_FILES_MAX 4096u
// Of TLS 1.2, for connections that have a pre-shared key: nothing else would use it.
#define PSK_CIPHERS "kPSK:kECDHEPSK:kDHEPSK:!eNULL"
// Of TLS 1.3: the hash of a key given from outside is SHA-256 (RFC 8446, 4.2.11). A server that has a certificate too
// would choose a suite with another one and use the certificate.
#define PSK_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"

static int ssl_error(struct error *err, const char *what)
{
    char words[200];
    return error_set(err, ERR_TLS, "%s: %s", what, tls_words(words, sizeof words));
}

// --- CA certificates

static int add_trusted(X509_STORE *store, const char *text, size_t n, const char *what, struct error *err)
{
    STACK_OF(X509) *all = NULL;
    int count = tls_pem_certificates(text, n, what, &all, err);
    for (int i = 0; i < sk_X509_num(all); i++)
        (void)X509_STORE_add_cert(store, sk_X509_value(all, i)); // one that is there already is fine
    sk_X509_pop_free(all, X509_free);
    ERR_clear_error();
    return count;
}

// Every file with certificates in it; names need no hashes.
static int add_directory(X509_STORE *store, const char *path, struct error *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned files = 0;
    int found = 0;
    if (!dir)
        return error_set_errno(err, "tls.ca: %s", path);
    while ((entry = readdir(dir)) != NULL && files++ < CA_FILES_MAX) {
        char file[4096];
        struct buf text;
        struct stat st;
        if (path_join(path, entry->d_name, file, sizeof file) < 0 || stat(file, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        buf_create(&text, TLS_PEM_MAX);
        if (tls_pem_text(file, strlen(file), "tls.ca", TLS_PEM_MAX, &text, NULL) == 0) {
            int n = add_trusted(store, (const char *)text.data, text.len, file, NULL);
            found += n > 0 ? n : 0;
        }
        buf_destroy(&text);
    }
    closedir(dir);
    if (!found)
        return error_set(err, ERR_INVALID, "tls.ca: no file in the directory %s has a certificate (PEM) in it", path);
    return 0;
}

static int set_ca(struct tls_context *c, SSL_CTX *ctx, struct error *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    const json_t *option = json_object_get(c->options, "ca");
    const char *given = json_string_value(option);
    struct stat st;
    if (!c->verify)
        return 0;
    if (!option || json_is_null(option)) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1)
            return ssl_error(err, "tls.ca: the system's certificates cannot be read");
        return 0;
    }
    if (!given)
        return transport_expected("tls.ca", "the path of a PEM file or directory, or PEM text", option, err);
    size_t n = json_string_length(option);
    if (!tls_is_pem(given, n) && stat(given, &st) == 0 && S_ISDIR(st.st_mode))
        return add_directory(store, given, err);
    struct buf text;
    char shown[300];
    buf_create(&text, TLS_PEM_MAX);
    int rc = tls_pem_text(given, n, "tls.ca", TLS_PEM_MAX, &text, err);
    if (rc == 0) {
        tls_shown(given, n, "tls.ca", shown, sizeof shown);
        rc = add_trusted(store, (const char *)text.data, text.len, shown, err);
        if (rc == 0)
            rc = tls_no_certificate((const char *)text.data, text.len, shown, err);
    }
    buf_destroy(&text);
    return rc < 0 ? -1 : 0;
}

// --- versions, ciphers, ALPN

static int set_versions(const struct tls_context *c, SSL_CTX *ctx, struct error *err)
{
    static const char *const names[] = {"1.2", "1.3", NULL};
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const char *min, *max;
    if (json_get_str(c->options, "minVersion", "1.2", &min, err) < 0 ||
        json_get_str(c->options, "maxVersion", "1.3", &max, err) < 0)
        return error_prefix(err, "tls");
    int low = name_choose("tls.minVersion", min, names, err);
    int high = low < 0 ? -1 : name_choose("tls.maxVersion", max, names, err);
    if (high < 0)
        return -1;
    if (low > high)
        return error_set(err, ERR_INVALID, "tls.minVersion 1.3 is above tls.maxVersion 1.2");
    if (!SSL_CTX_set_min_proto_version(ctx, versions[low]) || !SSL_CTX_set_max_proto_version(ctx, versions[high]))
        return ssl_error(err, "tls.minVersion");
    return 0;
}

static int set_ciphers(struct tls_context *c, SSL_CTX *ctx, bool psk, struct error *err)
{
    const char *ciphers, *suites;
    if (json_get_str(c->options, "ciphers", NULL, &ciphers, err) < 0 ||
        json_get_str(c->options, "ciphersuites", NULL, &suites, err) < 0)
        return error_prefix(err, "tls");
    if (!ciphers && psk)
        ciphers = PSK_CIPHERS;
    if (!suites && psk)
        suites = PSK_SUITES;
    // OpenSSL takes a list as good when one name in it is known.
    if (ciphers && !SSL_CTX_set_cipher_list(ctx, ciphers)) {
        ERR_clear_error();
        return error_set(err, ERR_INVALID,
                         "tls.ciphers: no known cipher in \"%.200s\"; `openssl ciphers -s -tls1_2` lists them",
                         ciphers);
    }
    if (suites && !SSL_CTX_set_ciphersuites(ctx, suites)) {
        ERR_clear_error();
        return error_set(err, ERR_INVALID,
                         "tls.ciphersuites: no known one in \"%.200s\"; such as TLS_AES_128_GCM_SHA256", suites);
    }
    return 0;
}

static int add_alpn(struct buf *wire, const char *name, size_t n, struct error *err)
{
    if (!n || n > 255)
        return error_set(err, ERR_INVALID, "tls.alpn: a protocol's name has 1 to 255 bytes");
    if (buf_append_char(wire, (char)n) < 0 || buf_append(wire, name, n) < 0)
        return error_set(err, ERR_LIMIT, "tls.alpn: more than %u bytes", ALPN_MAX);
    return 0;
}

static int set_alpn(const struct tls_context *c, SSL_CTX *ctx, struct error *err)
{
    const json_t *option = json_object_get(c->options, "alpn");
    struct buf wire;
    int rc = 0;
    if (option && !json_is_null(option) && !json_is_array(option))
        return transport_expected("tls.alpn", "a list of protocol names", option, err);
    buf_create(&wire, ALPN_MAX);
    if (json_is_array(option)) {
        for (size_t i = 0; rc == 0 && i < json_array_size(option); i++) {
            const json_t *name = json_array_get(option, i);
            rc = json_is_string(name) ? add_alpn(&wire, json_string_value(name), json_string_length(name), err)
                                      : transport_expected("tls.alpn", "a list of protocol names", name, err);
        }
    } else {
        for (unsigned i = 0; rc == 0 && i < c->n_alpn; i++)
            rc = add_alpn(&wire, c->alpn[i], strlen(c->alpn[i]), err);
    }
    // This one returns 0 for success.
    if (rc == 0 && wire.len && SSL_CTX_set_alpn_protos(ctx, wire.data, wire.len) != 0)
        rc = ssl_error(err, "tls.alpn");
    buf_destroy(&wire);
    return rc;
}

static int set_verification(const struct tls_context *c, SSL_CTX *ctx, struct error *err)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    if (!c->verify) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        return 0;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_on_certificate);
    // What is in tls.ca is trusted, be it a root or not.
    if (!X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN))
        return ssl_error(err, "tls.ca");
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (c->name_is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, c->server_name)
                      : X509_VERIFY_PARAM_set1_host(param, c->server_name, 0))
        return 0;
    return ssl_error(err, "tls.serverName");
}

static SSL_CTX *make_ctx(struct tls_context *c, bool psk, struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        ssl_error(err, "OpenSSL cannot begin");
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx,
                                   c->resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    SSL_CTX_sess_set_new_cb(ctx, tls_on_session);
    if (psk)
        SSL_CTX_set_psk_client_callback(ctx, tls_on_psk);
    if (set_versions(c, ctx, err) == 0 && set_ciphers(c, ctx, psk, err) == 0 && set_alpn(c, ctx, err) == 0 &&
        set_verification(c, ctx, err) == 0 && set_ca(c, ctx, err) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

SSL_CTX *tls_context_psk(struct tls_context *c, struct error *err)
{
    if (!c->psk_ctx)
        c->psk_ctx = make_ctx(c, true, err);
    return c->psk_ctx;
}

static bool is_ip(const char *name)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static int from_options(struct tls_context *c, const struct transport_config *config, struct error *err)
{
    static const char *const keys[] = {"ca",      "verify",       "serverName", "alpn", "minVersion", "maxVersion",
                                       "ciphers", "ciphersuites", "resume",     "mint", NULL};
    const char *name;
    if (config->tls_options && !json_is_null(config->tls_options) && !json_is_object(config->tls_options))
        return transport_expected("tls", "an object", config->tls_options, err);
    if (transport_check_keys(config->tls_options, "tls.", keys, err) < 0)
        return -1;
    c->options = json_is_object(config->tls_options) ? json_deep_copy(config->tls_options) : json_object();
    if (json_get_bool(c->options, "verify", true, &c->verify, err) < 0 ||
        json_get_bool(c->options, "resume", true, &c->resume, err) < 0 ||
        json_get_str(c->options, "serverName", c->transport->host, &name, err) < 0)
        return error_prefix(err, "tls");
    if (!*name || strlen(name) > 253)
        return error_set(err, ERR_INVALID, "tls.serverName: expected a host name or an address of at most 253 bytes");
    c->server_name = strdup(name);
    if (!c->server_name)
        return error_set(err, ERR_NO_MEMORY, "no memory for TLS");
    c->name_is_ip = is_ip(name);
    for (const char *const *p = config->alpn; p && *p && c->n_alpn < TLS_ALPN_DEFAULTS; p++)
        if (!(c->alpn[c->n_alpn++] = strdup(*p)))
            return error_set(err, ERR_NO_MEMORY, "no memory for TLS");
    const json_t *mint = json_object_get(c->options, "mint");
    if (mint && !json_is_null(mint) && !(c->mint = mint_new(mint, err)))
        return -1;
    if (!(c->bio = tls_bio_method()))
        return error_set(err, ERR_NO_MEMORY, "no memory for TLS");
    return (c->ctx = make_ctx(c, false, err)) ? 0 : -1;
}

struct tls_context *tls_context_new(const struct transport *t, const struct transport_config *config, struct error *err)
{
    struct tls_context *c = calloc(1, sizeof *c);
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for TLS");
        return NULL;
    }
    c->transport = t;
    if (from_options(c, config, err) == 0)
        return c;
    tls_context_delete(c);
    return NULL;
}

void tls_context_delete(struct tls_context *c)
{
    if (!c)
        return;
    for (struct tls_cached *k = c->cache; k < c->cache + TLS_CACHE_MAX; k++)
        tls_pair_clear(&k->pair);
    SSL_CTX_free(c->ctx);
    SSL_CTX_free(c->psk_ctx);
    BIO_meth_free(c->bio);
    mint_delete(c->mint);
    for (unsigned i = 0; i < c->n_alpn; i++)
        free(c->alpn[i]);
    free(c->server_name);
    json_decref(c->options);
    free(c);
}
