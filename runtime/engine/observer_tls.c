#include "engine/observer_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/jsonx.h"
#include "link/url.h"

#define ALPN_MAX 256u
#define FILES 3u

struct observer_tls {
    char *ca, *ca_directory, *cert, *key, *ciphers;
    bool verify, only_1_2;
    char alpn[ALPN_MAX]; // wire format: each name with its length in front
    unsigned alpn_len;
    int files[FILES]; // PEM texts in memory: paho takes paths only
    unsigned n_files;
};

// The path under which paho finds what is given as PEM text or as a path.
static int keep_file(struct observer_tls *t, const json_t *settings, const char *key, char **out, struct error *err)
{
    const char *given;
    char path[40];
    if (json_get_str(settings, key, NULL, &given, err))
        return error_prefix(err, "observer: tls");
    if (!given)
        return 0;
    if (!strstr(given, "-----BEGIN ")) {
        if (access(given, R_OK))
            return error_set_errno(err, "observer: tls.%s: %s", key, given);
        *out = strdup(given);
    } else {
        size_t n = strlen(given);
        int fd = memfd_create("pem", MFD_CLOEXEC);
        if (fd < 0)
            return error_set_errno(err, "observer: tls.%s", key);
        t->files[t->n_files++] = fd;
        if (pwrite(fd, given, n, 0) != (ssize_t)n)
            return error_set_errno(err, "observer: tls.%s", key);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        *out = strdup(path);
    }
    return *out ? 0 : error_set(err, ERR_NO_MEMORY, "observer: no memory");
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
    t->only_1_2 = strcmp(max, "1.2") == 0;
    if (ciphers && !(t->ciphers = strdup(ciphers)))
        return error_set(err, ERR_NO_MEMORY, "observer: no memory");
    if (read_alpn(t, json_object_get(s, "alpn"), err) || (t->verify && keep_file(t, s, "ca", &t->ca, err)) ||
        keep_file(t, s, "cert", &t->cert, err) || keep_file(t, s, "key", &t->key, err))
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
        if (!settings || (!add_credential(settings, g->credentials, "tls_cert", "cert") &&
                          !add_credential(settings, g->credentials, "tls_key", "key")))
            return settings;
        json_decref(settings);
        return NULL;
    }
    return NULL;
}
