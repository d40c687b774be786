// A text without "${" is a constant and is not compiled: a PEM of 2 KB would be copied in pieces for nothing, and a key
// that is the same for all is parsed once.
#include "device/credentials.h"

#include <stdlib.h>
#include <string.h>
#include "adapter/jwt.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "device/internal.h"
#include "link/transport.h"

#define TTL_US ((int64_t)3600 * 1000000)
#define TTL_MIN_US ((int64_t)5 * 1000000)
#define TTL_MAX_US ((int64_t)10 * 365 * 86400 * 1000000)
#define REFRESH 0.8
#define CLAIMS_MAX (16u << 10)
#define KEY_MAX (64u << 10)

struct pattern {
    struct payload *template; // NULL: none, or constant
    char *constant;
};

struct token {
    struct pattern key, key_id;
    struct payload *claims;
    struct jwt_key *parsed; // NULL: the key differs from device to device
    char algorithm[8];
    int64_t ttl_us;
    double refresh;
};

struct credentials {
    struct pattern fields[FIELD_MAX];
    struct token *token;
    enum adapter_field token_field; // FIELD_PASSWORD or FIELD_TOKEN
};

static const struct {
    const char *name;
    enum adapter_field field;
    bool secret;
} fields[] = {
    {"client_id", FIELD_CLIENT_ID, false}, {"username", FIELD_USERNAME, false},
    {"password", FIELD_PASSWORD, true},    {"token", FIELD_TOKEN, true},
    {"tls_cert", FIELD_TLS_CERT, false},   {"tls_key", FIELD_TLS_KEY, true},
    {"tls_name", FIELD_TLS_NAME, false},   {"psk_identity", FIELD_PSK_IDENTITY, false},
    {"psk_key", FIELD_PSK_KEY, true},
};

enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

// --- patterns

static void forget(struct pattern *p)
{
    payload_delete(p->template);
    if (p->constant)
        explicit_bzero(p->constant, strlen(p->constant));
    free(p->constant);
    *p = (struct pattern){0};
}

static bool is_set(const struct pattern *p)
{
    return p->template || p->constant;
}

static int compile(struct pattern *p, const char *name, const char *text, bool secret, const struct dataset *data,
                   struct error *err)
{
    if (!strstr(text, "${")) {
        p->constant = strdup(text);
        return p->constant ? 0 : error_set(err, ERR_NO_MEMORY, "out of memory");
    }
    p->template = payload_compile_data(text, NULL, NULL, 0, false, data, err);
    if (p->template)
        return 0;
    return secret || strlen(text) > 200 ? error_prefix(err, "%s", name) : error_prefix(err, "%s \"%s\"", name, text);
}

static int render(const struct pattern *p, const struct device *d, struct buf *out, struct error *err)
{
    if (p->template)
        return device_render(d, p->template, NULL, out, err);
    if (p->constant && buf_append_str(out, p->constant))
        return error_set(err, ERR_LIMIT, "a credential takes more than %u bytes", out->cap);
    return 0;
}

// --- tokens

static int token_pattern(const json_t *json, const char *key, bool wanted, struct pattern *out,
                         const struct dataset *data, struct error *err)
{
    const char *text = NULL;
    if (json_is_null(json_object_get(json, key)))
        return 0;
    if (json_get_str(json, key, NULL, &text, err))
        return -1;
    if (wanted && (!text || !text[0]))
        return error_set(err, ERR_INVALID,
                         "expected a \"%s\": the secret of HS256, or a private key as PEM text or the path of a PEM "
                         "file",
                         key);
    return text ? compile(out, key, text, wanted, data, err) : 0;
}

static int token_claims(struct token *t, const json_t *json, const struct dataset *data, struct error *err)
{
    const json_t *claims = json_object_get(json, "claims");
    struct buf text;
    if (claims && !json_is_null(claims) && !json_is_object(claims) &&
        !(json_is_array(claims) && json_array_size(claims) == 0)) // Lua has one empty table
        return error_set(err, ERR_INVALID, "claims: expected an object such as { sub = \"${deviceId}\" }");
    buf_create(&text, CLAIMS_MAX);
    int rc = json_is_object(claims)        ? json_write(claims, &text, err)
             : buf_append_str(&text, "{}") ? error_set(err, ERR_NO_MEMORY, "out of memory")
                                           : 0;
    if (!rc) {
        t->claims = payload_compile_data(buf_cstr(&text), NULL, NULL, 0, true, data, err);
        rc = t->claims ? 0 : -1;
    }
    buf_destroy(&text);
    return rc ? error_prefix(err, "claims") : 0;
}

static int token_numbers(struct token *t, const json_t *json, struct error *err)
{
    static const char *const algorithms[] = {"HS256", "RS256", "ES256", NULL};
    const char *algorithm;
    if (json_get_str(json, "algorithm", "HS256", &algorithm, err))
        return -1;
    int which = name_choose("algorithm", algorithm, algorithms, err);
    if (which < 0 || json_get_int(json, "ttl", TTL_US, &t->ttl_us, err) ||
        json_get_num(json, "refresh", REFRESH, &t->refresh, err))
        return -1;
    memcpy(t->algorithm, algorithms[which], sizeof("HS256"));
    if (t->ttl_us < TTL_MIN_US || t->ttl_us > TTL_MAX_US)
        return error_set(err, ERR_INVALID, "ttl: expected 5 seconds to 10 years, got %.3f s", (double)t->ttl_us * 1e-6);
    if (!(t->refresh >= 0 && t->refresh <= 1))
        return error_set(err, ERR_INVALID, "refresh: expected a share of the ttl from 0 (never) to 1, got %g",
                         t->refresh);
    return 0;
}

static int token_fill(struct token *t, const json_t *json, const struct dataset *data, struct error *err)
{
    static const char *const valid[] = {"algorithm", "key", "key_id", "claims", "ttl", "refresh", "as", NULL};
    const char *key;
    json_t *v;
    if (!json_is_object(json))
        return error_set(err, ERR_INVALID, "expected an object such as { algorithm = \"ES256\", key = \"key.pem\" }");
    json_object_foreach((json_t *)(uintptr_t)json, key, v)
    {
        if (name_choose("unknown key", key, valid, err) < 0)
            return -1;
    }
    if (token_numbers(t, json, err) || token_pattern(json, "key", true, &t->key, data, err) ||
        token_pattern(json, "key_id", false, &t->key_id, data, err) || token_claims(t, json, data, err))
        return -1;
    if (!is_set(&t->key))
        return error_set(err, ERR_INVALID, "it has no key");
    if (t->key.constant && !(t->parsed = jwt_key_new(t->algorithm, t->key.constant, err)))
        return error_prefix(err, "key");
    return 0;
}

static void token_delete(struct token *t)
{
    if (!t)
        return;
    forget(&t->key);
    forget(&t->key_id);
    payload_delete(t->claims);
    jwt_key_delete(t->parsed);
    free(t);
}

static int take_token(struct credentials *c, const json_t *json, const struct dataset *data, bool token_by_default,
                      struct error *err)
{
    static const char *const places[] = {"password", "token", NULL};
    const char *as;
    c->token = calloc(1, sizeof(*c->token));
    if (!c->token)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    if (token_fill(c->token, json, data, err) ||
        json_get_str(json, "as", token_by_default ? "token" : "password", &as, err))
        return -1;
    int place = name_choose("as", as, places, err);
    c->token_field = place == 1 ? FIELD_TOKEN : FIELD_PASSWORD;
    if (place >= 0 && is_set(&c->fields[c->token_field]))
        return error_set(err, ERR_INVALID, "it takes the place of the %s: give one of the two", places[place]);
    return place < 0 ? -1 : 0;
}

// The device's own key, as its row or its name says.
static struct jwt_key *own_key(const struct token *t, const struct device *d, struct error *err)
{
    struct buf text;
    struct jwt_key *key = NULL;
    buf_create(&text, KEY_MAX);
    if (!render(&t->key, d, &text, err))
        key = jwt_key_new(t->algorithm, buf_cstr(&text), err);
    if (text.data)
        explicit_bzero(text.data, text.size);
    buf_destroy(&text);
    return key;
}

static int sign(const struct token *t, const struct device *d, struct buf *out, struct error *err)
{
    struct buf claims, key_id;
    json_t *json = NULL;
    struct jwt_key *own = NULL;
    int rc = -1;
    buf_create(&claims, CLAIMS_MAX * 4);
    buf_create(&key_id, 4096);
    if (device_render(d, t->claims, NULL, &claims, err) || (is_set(&t->key_id) && render(&t->key_id, d, &key_id, err)))
        goto done;
    json = json_parse((const char *)claims.data, claims.len, "claims", err);
    if (!json || (!t->parsed && !(own = own_key(t, d, err))))
        goto done;
    rc = jwt_sign(t->parsed ? t->parsed : own, key_id.len ? buf_cstr(&key_id) : NULL, json, device_wall_us(d) / 1000000,
                  t->ttl_us / 1000000, out, err);
done:
    jwt_key_delete(own);
    json_decref(json);
    buf_destroy(&claims);
    buf_destroy(&key_id);
    return rc ? error_prefix(err, "jwt") : 0;
}

// --- all of them

static int take_fields(struct credentials *c, const json_t *json, const struct dataset *data, struct error *err)
{
    for (unsigned i = 0; i < N_FIELDS; i++) {
        const char *text = NULL;
        if (json_is_null(json_object_get(json, fields[i].name)))
            continue;
        if (json_get_str(json, fields[i].name, NULL, &text, err) ||
            (text && compile(&c->fields[fields[i].field], fields[i].name, text, fields[i].secret, data, err)))
            return -1;
    }
    return 0;
}

static int check_keys(const json_t *json, struct error *err)
{
    const char *valid[N_FIELDS + 2], *key;
    json_t *v;
    if (!json_is_object(json))
        return error_set(err, ERR_INVALID, "expected an object");
    for (unsigned i = 0; i < N_FIELDS; i++)
        valid[i] = fields[i].name;
    valid[N_FIELDS] = "jwt";
    valid[N_FIELDS + 1] = NULL;
    json_object_foreach((json_t *)(uintptr_t)json, key, v)
    {
        if (name_choose("unknown key", key, valid, err) < 0)
            return -1;
    }
    return 0;
}

// What is only good in pairs. A certificate and key that are the same for all are read: nobody can connect with a bad
// one.
static int check_pairs(const struct credentials *c, struct error *err)
{
    static const struct {
        enum adapter_field a, b;
        const char *name, *other;
    } pairs[] = {{FIELD_TLS_KEY, FIELD_TLS_CERT, "tls_key", "tls_cert"},
                 {FIELD_TLS_CERT, FIELD_TLS_KEY, "tls_cert", "tls_key"},
                 {FIELD_PSK_KEY, FIELD_PSK_IDENTITY, "psk_key", "psk_identity"},
                 {FIELD_PSK_IDENTITY, FIELD_PSK_KEY, "psk_identity", "psk_key"}};
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (is_set(&c->fields[pairs[i].a]) && !is_set(&c->fields[pairs[i].b]))
            return error_set(err, ERR_INVALID, "%s without %s", pairs[i].name, pairs[i].other);
    }
    const struct pattern *cert = &c->fields[FIELD_TLS_CERT], *key = &c->fields[FIELD_TLS_KEY];
    return cert->constant && key->constant ? transport_check_pair(cert->constant, key->constant, err) : 0;
}

struct credentials *credentials_new(const json_t *json, const struct dataset *data, bool token_by_default,
                                    struct error *err)
{
    error_clear(err);
    if (!json || json_is_null(json))
        return NULL;
    struct credentials *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    const json_t *jwt = json_object_get(json, "jwt");
    int rc = check_keys(json, err) || take_fields(c, json, data, err) || check_pairs(c, err) ? -1 : 0;
    if (!rc && jwt && !json_is_null(jwt) && take_token(c, jwt, data, token_by_default, err))
        rc = error_prefix(err, "jwt");
    if (!rc)
        return c;
    credentials_delete(c);
    return NULL;
}

void credentials_delete(struct credentials *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < FIELD_MAX; i++)
        forget(&c->fields[i]);
    token_delete(c->token);
    free(c);
}

bool credentials_have(const struct credentials *c, enum adapter_field field)
{
    return c && (is_set(&c->fields[field]) || (c->token && c->token_field == field));
}

uint32_t credentials_mask(const struct credentials *c)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < FIELD_MAX; i++)
        mask |= credentials_have(c, (enum adapter_field)i) ? 1u << i : 0;
    return mask;
}

int credentials_field(const struct credentials *c, const struct device *d, enum adapter_field field, struct buf *out,
                      struct error *err)
{
    if (!c)
        return 0;
    return c->token && c->token_field == field ? sign(c->token, d, out, err) : render(&c->fields[field], d, out, err);
}

int64_t credentials_renew_us(const struct credentials *c)
{
    if (!c || !c->token || c->token_field != FIELD_PASSWORD)
        return 0;
    return (int64_t)((double)c->token->ttl_us * c->token->refresh);
}
