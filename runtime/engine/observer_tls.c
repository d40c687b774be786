#include "engine/observer_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "link/openssl.h"

#include "core/clock.h"
#include "core/jsonx.h"
#include "link/mint.h"
#include "link/url.h"

#define ALPN_MAX 256u
#define FILES 3u
#define MINTED_NAME "iotix-observer"

struct observer_tls {
    char *ca, *ca_directory, *cert, *key, *ciphers;
    bool verify, only_1_2;
    char alpn[ALPN_MAX]; // wire format: each name with its length in front
    unsigned alpn_len;
    char *psk_identity; // NULL: none
    uint8_t psk_key[PSK_MAX_PSK_LEN];
    unsigned psk_len;
    int files[FILES]; // PEM texts in memory: paho takes paths only
    unsigned n_files;
};

// PEM text as a file in memory.
static int keep_text(struct observer_tls *t, const char *text, size_t n, const char *key, char **out, struct error *err)
{
    char path[40];
    int fd = memfd_create("pem", MFD_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, "observer: tls.%s", key);
    t->files[t->n_files++] = fd;
    if (pwrite(fd, text, n, 0) != (ssize_t)n)
        return error_set_errno(err, "observer: tls.%s", key);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    *out = strdup(path);
    return *out ? 0 : error_set(err, ERR_NO_MEMORY, "observer: no memory");
}

// The path under which paho finds what is given as PEM text or as a path.
static int keep_file(struct observer_tls *t, const json_t *settings, const char *key, char **out, struct error *err)
{
    const char *given;
    if (json_get_str(settings, key, NULL, &given, err))
        return error_prefix(err, "observer: tls");
    if (!given)
        return 0;
    if (!strstr(given, "-----BEGIN ")) {
        if (access(given, R_OK))
            return error_set_errno(err, "observer: tls.%s: %s", key, given);
        *out = strdup(given);
        return *out ? 0 : error_set(err, ERR_NO_MEMORY, "observer: no memory");
    }
    return keep_text(t, given, strlen(given), key, out, err);
}

// Both as PEM: 0, or -1 when memory is out.
static int write_pair(BIO *cert, BIO *key, const struct tls_pair *pair)
{
    bool ok = cert && key && PEM_write_bio_X509(cert, pair->cert) == 1 &&
              PEM_write_bio_PrivateKey(key, pair->key, NULL, NULL, 0, NULL, NULL) == 1;
    for (int i = 0; ok && i < sk_X509_num(pair->chain); i++)
        ok = PEM_write_bio_X509(cert, sk_X509_value(pair->chain, i)) == 1;
    return ok ? 0 : -1;
}

// A certificate of its own from the CA that the devices' come from.
static int use_minted(struct observer_tls *t, const json_t *options, struct error *err)
{
    struct mint *mint = mint_new(options, err);
    struct minted *kept = NULL;
    struct tls_pair pair = {0};
    struct clock clock;
    char *text;
    clock_create_real(&clock);
    int rc = mint ? mint_make(mint, MINTED_NAME, strlen(MINTED_NAME), clock_wall_us(&clock), &pair, &kept, err) : -1;
    if (rc == 0) {
        BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
        rc = write_pair(cert, key, &pair);
        if (rc)
            error_set(err, ERR_NO_MEMORY, "no memory for a certificate");
        if (rc == 0) {
            long n = BIO_get_mem_data(cert, &text);
            rc = keep_text(t, text, (size_t)n, "mint", &t->cert, err);
        }
        if (rc == 0) {
            long n = BIO_get_mem_data(key, &text);
            rc = keep_text(t, text, (size_t)n, "mint", &t->key, err);
        }
        BIO_free(cert);
        BIO_free(key);
    }
    tls_pair_clear(&pair);
    free(kept);
    mint_delete(mint);
    return rc ? error_prefix(err, "observer") : 0;
}

static int read_psk(struct observer_tls *t, const json_t *settings, struct error *err)
{
    const char *identity, *key;
    size_t n = 0;
    if (json_get_str(settings, "psk_identity", NULL, &identity, err) ||
        json_get_str(settings, "psk_key", NULL, &key, err))
        return error_prefix(err, "observer: tls");
    if (!identity || !key)
        return 0;
    if (strstr(identity, "${") || strstr(key, "${"))
        return error_set(err, ERR_UNSUPPORTED,
                         "observer: tls.psk differs from device to device, and the observer is none: let a group with "
                         "an identity and key of its own speak to this broker too");
    if (strlen(identity) > PSK_MAX_IDENTITY_LEN ||
        OPENSSL_hexstr2buf_ex(t->psk_key, sizeof(t->psk_key), &n, key, '\0') != 1)
        return error_set(err, ERR_INVALID,
                         "observer: tls.psk: expected an identity of at most %d bytes, a key in hex digits",
                         PSK_MAX_IDENTITY_LEN);
    t->psk_len = (unsigned)n;
    t->psk_identity = strdup(identity);
    return t->psk_identity ? 0 : error_set(err, ERR_NO_MEMORY, "observer: no memory");
}

static unsigned int on_psk(const char *hint, char *identity, unsigned int identity_size, unsigned char *key,
                           unsigned int key_size, void *arg)
{
    const struct observer_tls *t = arg;
    (void)hint;
    if (strlen(t->psk_identity) >= identity_size || t->psk_len > key_size)
        return 0;
    snprintf(identity, identity_size, "%s", t->psk_identity);
    memcpy(key, t->psk_key, t->psk_len);
    return t->psk_len;
}

static int read_alpn(struct observer_tls *t, const json_t *list, struct error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        size_t n = json_string_length(name);
        if (!n || n > 255 || t->alpn_len + n + 1 >= ALPN_MAX)
            return error_set(err, ERR_INVALID, "observer: tls.alpn: expected names of 1 to 255 bytes, %u together",
                             ALPN_MAX);
        t->alpn[t->alpn_len++] = (char)n;
        memcpy(t->alpn + t->alpn_len, json_string_value(name), n);
        t->alpn_len += (unsigned)n;
    }
    return 0;
}

static int read_settings(struct observer_tls *t, const json_t *s, const char *host, struct error *err)
{
    const char *name, *max, *ciphers;
    struct stat st;
    t->verify = !json_is_false(json_object_get(s, "verify"));
    if (json_get_str(s, "serverName", host, &name, err) || json_get_str(s, "maxVersion", "1.3", &max, err) ||
        json_get_str(s, "ciphers", NULL, &ciphers, err))
        return error_prefix(err, "observer: tls");
    if (t->verify && strcasecmp(name, host) != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "observer: tls.server_name \"%.100s\" is not the host of the URL, which is what the observer "
                         "verifies: give it that URL (`broker` of iotix.expect.message), or the certificate that name",
                         name);
    if (read_psk(t, s, err))
        return -1;
    t->only_1_2 = strcmp(max, "1.2") == 0;
    if (ciphers && !(t->ciphers = strdup(ciphers)))
        return error_set(err, ERR_NO_MEMORY, "observer: no memory");
    if (read_alpn(t, json_object_get(s, "alpn"), err) || (t->verify && keep_file(t, s, "ca", &t->ca, err)) ||
        keep_file(t, s, "cert", &t->cert, err) || keep_file(t, s, "key", &t->key, err))
        return -1;
    const json_t *mint = json_object_get(s, "mint");
    if (json_is_object(mint) && !t->cert && use_minted(t, mint, err))
        return -1;
    if (t->ca && stat(t->ca, &st) == 0 && S_ISDIR(st.st_mode)) {
        t->ca_directory = t->ca;
        t->ca = NULL;
    }
    return 0;
}

struct observer_tls *observer_tls_new(const json_t *settings, const char *host, struct error *err)
{
    struct observer_tls *t = calloc(1, sizeof(*t));
    json_t *none = settings ? NULL : json_object();
    if (!t || (!settings && !none))
        error_set(err, ERR_NO_MEMORY, "observer: no memory");
    else if (read_settings(t, settings ? settings : none, host, err)) {
        observer_tls_delete(t);
        t = NULL;
    }
    json_decref(none);
    return t;
}

void observer_tls_delete(struct observer_tls *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < t->n_files; i++)
        close(t->files[i]);
    free(t->ca);
    free(t->ca_directory);
    free(t->cert);
    free(t->key);
    free(t->ciphers);
    free(t->psk_identity);
    OPENSSL_cleanse(t->psk_key, sizeof(t->psk_key));
    free(t);
}

void observer_tls_options(const struct observer_tls *t, MQTTAsync_SSLOptions *out)
{
    *out = (MQTTAsync_SSLOptions)MQTTAsync_SSLOptions_initializer;
    out->trustStore = t->ca;
    out->CApath = t->ca_directory;
    out->disableDefaultTrustStore = t->ca || t->ca_directory;
    out->keyStore = t->cert;
    out->privateKey = t->key;
    out->enabledCipherSuites = t->ciphers;
    out->sslVersion = t->only_1_2 ? MQTT_SSL_VERSION_TLS_1_2 : MQTT_SSL_VERSION_DEFAULT;
    out->enableServerCertAuth = t->verify;
    out->verify = t->verify; // of the host's name
    out->protos = t->alpn_len ? (const unsigned char *)t->alpn : NULL;
    out->protos_len = t->alpn_len;
    if (t->psk_identity) {
        out->ssl_psk_cb = on_psk;
        out->ssl_psk_context = (void *)(uintptr_t)t; // read only
        out->enableServerCertAuth = out->verify = 0; // the key is the proof
        out->disableDefaultTrustStore = 1;
        if (!t->ciphers)
            out->enabledCipherSuites = "PSK"; // of TLS 1.2; without a certificate there are no others
    }
}

// --- from the plan

static bool same_server(const char *a, const char *b)
{
    struct url x, y;
    return a && b && !url_parse(a, "mqtt", &x, NULL) && !url_parse(b, "mqtt", &y, NULL) && x.port == y.port &&
           !strcmp(x.scheme, y.scheme) && !strcasecmp(x.host, y.host);
}

static int add_credential(json_t *settings, const json_t *credentials, const char *from, const char *to)
{
    json_t *text = json_object_get(credentials, from);
    if (!json_is_string(text) || strstr(json_string_value(text), "${"))
        return 0;
    return json_object_set(settings, to, text);
}

json_t *observer_tls_settings(const struct plan *plan, const char *url)
{
    for (unsigned i = 0; i < plan->n_groups; i++) {
        const struct group_config *g = &plan->groups[i].config;
        if (!same_server(g->url, url))
            continue;
        json_t *tls = json_object_get(g->options, "tls");
        json_t *settings = json_is_object(tls) ? json_copy(tls) : json_object();
        const json_t *psk = json_object_get(g->credentials, "psk_key");
        if (!settings ||
            (!add_credential(settings, g->credentials, "tls_cert", "cert") &&
             !add_credential(settings, g->credentials, "tls_key", "key") &&
             (!psk || (!json_object_set(settings, "psk_identity", json_object_get(g->credentials, "psk_identity")) &&
                       !json_object_set(settings, "psk_key", (json_t *)(uintptr_t)psk)))))
            return settings;
        json_decref(settings);
        return NULL;
    }
    return NULL;
}
