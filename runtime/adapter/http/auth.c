// A device's credentials: asked for when the first request needs them, kept as a header line, asked for anew after 401
// and when a JSON Web Token has lived for most of its time.
#include "link/openssl.h"
#include <stdlib.h>
#include <string.h>
#include "adapter/http/conn.h"
#include "core/jsonx.h"

#define FIELD_BYTES (32u << 10)
#define REFRESH 0.8 // of a token's life

void http_auth_forget(struct adapter_conn *c)
{
    if (c->authorization)
        OPENSSL_cleanse(c->authorization, strlen(c->authorization));
    free(c->authorization);
    c->authorization = NULL;
    c->credential = HTTP_CREDENTIAL_UNKNOWN;
}

// When to ask for a new one: a JWT says when it was made and when it ends (RFC 7519). 0: not known.
static int64_t refresh_at_us(const char *token, int64_t wall_us)
{
    const char *dot = strchr(token, '.'), *end = dot ? strchr(dot + 1, '.') : NULL;
    size_t n = end ? (size_t)(end - dot - 1) : 0;
    char text[4096];
    unsigned char json[3072];
    if (!n || n + 4 > sizeof text)
        return 0;
    for (size_t i = 0; i < n; i++)
        text[i] = dot[1 + i] == '-' ? '+' : dot[1 + i] == '_' ? '/' : dot[1 + i];
    size_t padding = (4 - n % 4) % 4;
    memset(text + n, '=', padding);
    int got = EVP_DecodeBlock(json, (const unsigned char *)text, (int)(n + padding));
    if (got < (int)padding)
        return 0;
    json_t *claims = json_parse((const char *)json, (size_t)got - padding, "token", NULL);
    double exp = json_number_value(json_object_get(claims, "exp"));
    double iat = json_number_value(json_object_get(claims, "iat"));
    json_decref(claims);
    if (!(exp > 0 && exp < 1e12))
        return 0;
    double begin = iat > 0 && iat < exp ? iat : (double)wall_us / 1e6;
    return (int64_t)((begin + (exp - begin) * REFRESH) * 1e6);
}

static int ask(struct adapter_conn *c, enum adapter_field field, struct buf *out, struct error *err)
{
    buf_clear(out);
    return c->identity && c->identity->field ? c->identity->field(c->owner, field, out, err) : 0;
}

static int ask_bearer(struct adapter_conn *c, struct buf *line, struct buf *field, struct error *err)
{
    if (ask(c, FIELD_TOKEN, field, err) < 0)
        return -1;
    if (!field->len)
        return 0;
    for (uint32_t i = 0; i < field->len; i++)
        if (field->data[i] <= 0x20 || field->data[i] >= 0x7f)
            return error_set(err, ERR_INVALID, "a bearer token has printable characters only, without blanks");
    c->refresh_us = refresh_at_us(buf_cstr(field), loop_wall_us(c->target->env.loop));
    return buf_append_str(line, "Authorization: Bearer ") < 0 || buf_append(line, field->data, field->len) < 0
               ? error_set(err, ERR_LIMIT, "the bearer token is too long")
               : 0;
}

static int ask_basic(struct adapter_conn *c, struct buf *line, struct buf *field, struct error *err)
{
    const struct url *url = &c->target->url;
    struct buf pair;
    int rc = -1;
    buf_create(&pair, 2 * FIELD_BYTES);
    if (ask(c, FIELD_USERNAME, field, err) < 0)
        goto done;
    bool own = field->len != 0;
    if (own ? memchr(field->data, ':', field->len) != NULL : strchr(url->user, ':') != NULL) {
        error_set(err, ERR_INVALID, "the user name of basic authentication has no colon (RFC 7617)");
        goto done;
    }
    rc = 0;
    if (!own && !url->user[0])
        goto done;
    rc = own ? buf_append(&pair, field->data, field->len) : buf_append_str(&pair, url->user);
    rc |= buf_append_char(&pair, ':');
    if (own && ask(c, FIELD_PASSWORD, field, err) < 0) {
        rc = -1;
        goto done;
    }
    rc |= own ? buf_append(&pair, field->data, field->len) : buf_append_str(&pair, url->password);
    rc |= buf_append_str(line, "Authorization: Basic ");
    rc |= buf_append_base64(line, pair.data, pair.len);
    if (rc < 0)
        error_set(err, ERR_LIMIT, "user name and password are too long");
done:
    buf_destroy(&pair);
    return rc;
}

int http_auth_check(const struct http_target *t, uint32_t fields, struct error *err)
{
    if (t->options.auth == HTTP_AUTH_BEARER && !(fields & 1u << FIELD_TOKEN))
        return error_set(err, ERR_INVALID,
                         "auth is \"bearer\" and its devices have no token: give token or jwt, or leave auth out");
    if (t->options.auth == HTTP_AUTH_BASIC && !(fields & 1u << FIELD_USERNAME) && !t->url.user[0])
        return error_set(
            err, ERR_INVALID,
            "auth is \"basic\" and its devices have no username: give username and password, or leave auth "
            "out");
    return 0;
}

int http_auth_begin(struct adapter_conn *c, struct error *err)
{
    bool failed = false;
    if (c->target->options.auth == HTTP_AUTH_BEARER || c->target->options.auth == HTTP_AUTH_BASIC)
        (void)http_auth_line(c, false, &failed, err);
    return failed ? -1 : 0;
}

const char *http_auth_line(struct adapter_conn *c, bool force, bool *failed, struct error *err)
{
    enum http_auth kind = c->target->options.auth;
    struct buf line, field;
    bool old = c->refresh_us && c->authorization && loop_wall_us(c->target->env.loop) >= c->refresh_us;
    *failed = false;
    if (c->credential != HTTP_CREDENTIAL_UNKNOWN && !force && !old)
        return c->authorization;
    bool known = c->authorization != NULL;
    http_auth_forget(c);
    c->refresh_us = 0;
    buf_create(&line, 3 * FIELD_BYTES);
    buf_create(&field, FIELD_BYTES);
    int rc = kind == HTTP_AUTH_BASIC || kind == HTTP_AUTH_NONE ? 0 : ask_bearer(c, &line, &field, err);
    if (rc == 0 && !line.len && (kind == HTTP_AUTH_BASIC || kind == HTTP_AUTH_DEFAULT))
        rc = ask_basic(c, &line, &field, err);
    if (rc == 0 && !line.len && (kind == HTTP_AUTH_BASIC || kind == HTTP_AUTH_BEARER))
        rc = error_set(err, ERR_INVALID, "auth is \"%s\" and this device has no %s",
                       kind == HTTP_AUTH_BASIC ? "basic" : "bearer", kind == HTTP_AUTH_BASIC ? "username" : "token");
    if (rc == 0 && line.len && !(c->authorization = strdup(buf_cstr(&line))))
        rc = error_set(err, ERR_NO_MEMORY, "no memory for credentials");
    if (rc == 0) {
        c->credential = line.len ? HTTP_CREDENTIAL_KNOWN : HTTP_CREDENTIAL_NONE;
        if (known)
            counter_add(c->target->series.credential_refreshes, 1);
    }
    if (line.data)
        OPENSSL_cleanse(line.data, line.size);
    if (field.data)
        OPENSSL_cleanse(field.data, field.size);
    buf_destroy(&line);
    buf_destroy(&field);
    *failed = rc < 0;
    return c->authorization;
}
