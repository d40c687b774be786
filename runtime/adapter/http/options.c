#include "adapter/http/options.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "core/option.h"
#include "core/units.h"

#define S ((int64_t)1000000)
#define DAY (86400 * S)

typedef int option_fn(const char *key, const json_t *v, struct http_options *o, struct error *err);
struct option {
    const char *key;
    option_fn *parse;
};

static int get_text(const char *key, const json_t *v, const char **out, struct error *err)
{
    const char *s = json_string_value(v);
    if (!s || !*s || strlen(s) != json_string_length(v))
        return option_expected(key, "a text", v, err);
    *out = s;
    return 0;
}

static int get_word(const char *key, const json_t *v, const char *const *words, int *out, struct error *err)
{
    char what[160];
    const char *s = json_string_value(v);
    for (int i = 0; s && words[i]; i++)
        if (strcmp(words[i], s) == 0) {
            *out = i;
            return 0;
        }
    char list[128];
    snprintf(what, sizeof what, "one of %s", names_join(words, list, sizeof list));
    return option_expected(key, what, v, err);
}

static int parse_table(const char *prefix, const json_t *obj, const struct option *table, struct http_options *o,
                       struct error *err)
{
    const char *key;
    json_t *v;
    char full[64];
    if (!json_is_object(obj)) {
        snprintf(full, sizeof full, "http option %.*s", (int)(strlen(prefix) - 1), prefix);
        return option_expected(full, "an object", obj, err);
    }
    json_object_foreach((json_t *)obj, key, v)
    {
        const struct option *t = table;
        while (t->key && strcmp(t->key, key) != 0)
            t++;
        if (!t->key) {
            const char *names[40];
            unsigned n = 0;
            for (t = table; t->key; t++)
                names[n++] = t->key;
            names[n] = NULL;
            snprintf(full, sizeof full, "unknown http option %s", prefix);
            return error_unknown(err, full, key, names);
        }
        snprintf(full, sizeof full, "http option %s%s", prefix, key);
        if (t->parse(full, v, o, err) < 0)
            return -1;
    }
    return 0;
}

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};

const char *http_method(const char *name, struct error *err)
{
    for (int i = 0; methods[i]; i++)
        if (strcasecmp(methods[i], name) == 0)
            return methods[i];
    error_unknown(err, "unknown HTTP method", name, methods);
    return NULL;
}

int http_header_check(const char *name, size_t name_len, const char *value, size_t value_len, struct error *err)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection", NULL};
    for (size_t i = 0; i < name_len; i++)
        if (!isalnum((unsigned char)name[i]) && (!name[i] || !strchr("!#$%&'*+-.^_`|~", name[i])))
            name_len = 0;
    if (!name_len)
        return error_set(err, ERR_INVALID, "a header's name has letters, digits and !#$%%&'*+-.^_`|~ only (RFC 9110)");
    for (int i = 0; ours[i]; i++)
        if (name_len == strlen(ours[i]) && strncasecmp(ours[i], name, name_len) == 0)
            return error_set(err, ERR_INVALID, "the header %s is set by iotix itself", ours[i]);
    for (size_t i = 0; i < value_len; i++)
        if ((unsigned char)value[i] < 0x20 ? value[i] != '\t' : value[i] == 0x7f)
            return error_set(err, ERR_INVALID, "the header %.*s has a control character in its value",
                             (int)(name_len < 64 ? name_len : 64), name);
    return 0;
}

static int opt_version(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const char *const words[] = {"auto", "1.1", "2", NULL};
    int i = 0;
    double d = json_number_value(v);
    if (json_is_number(v) && (d == 1.1 || d == 2))
        i = d == 2 ? 2 : 1;
    else if (get_word(key, v, words, &i, err) < 0)
        return -1;
    o->version = (enum http_version)i;
    return 0;
}

static int opt_auth(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const char *const words[] = {"none", "basic", "bearer", NULL};
    int i;
    if (get_word(key, v, words, &i, err) < 0)
        return -1;
    o->auth = (enum http_auth)(i + 1);
    return 0;
}

static int opt_headers(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    const char *name;
    json_t *value;
    if (!json_is_object(v))
        return option_expected(key, "an object of names and texts", v, err);
    json_object_foreach((json_t *)v, name, value)
    {
        if (!json_is_string(value))
            return option_expected(key, "texts as values", value, err);
        if (o->n_headers == HTTP_HEADERS_MAX)
            return error_set(err, ERR_INVALID, "%s: at most %u headers", key, HTTP_HEADERS_MAX);
        struct adapter_property *h = &o->headers[o->n_headers++];
        *h = (struct adapter_property){name, strlen(name), json_string_value(value), json_string_length(value)};
        if (http_header_check(h->name, h->name_len, h->value, h->value_len, err) < 0)
            return error_prefix(err, "%s", key);
    }
    return 0;
}

#define DURATION(fn, member, min, max)                                                                                 \
    static int fn(const char *key, const json_t *v, struct http_options *o, struct error *err)                         \
    {                                                                                                                  \
        return option_duration(key, v, min, max, &o->member, err);                                                     \
    }
#define COUNT(fn, member, min, max)                                                                                    \
    static int fn(const char *key, const json_t *v, struct http_options *o, struct error *err)                         \
    {                                                                                                                  \
        return option_count(key, v, min, max, &o->member, err);                                                        \
    }
#define SIZE(fn, member, min, max)                                                                                     \
    static int fn(const char *key, const json_t *v, struct http_options *o, struct error *err)                         \
    {                                                                                                                  \
        return option_size(key, v, min, max, &o->member, err);                                                         \
    }
#define BOOL(fn, member)                                                                                               \
    static int fn(const char *key, const json_t *v, struct http_options *o, struct error *err)                         \
    {                                                                                                                  \
        return option_bool(key, v, &o->member, err);                                                                   \
    }
#define TEXT(fn, member)                                                                                               \
    static int fn(const char *key, const json_t *v, struct http_options *o, struct error *err)                         \
    {                                                                                                                  \
        return get_text(key, v, &o->member, err);                                                                      \
    }
DURATION(opt_timeout, timeout_us, 1000, DAY)
DURATION(opt_connect_timeout, connect_timeout_us, 1000, 3600 * S)
DURATION(opt_stall_timeout, stall_us, 0, DAY)
DURATION(opt_keep_alive, keep_alive_us, 0, DAY)
DURATION(opt_serve_timeout, serve_timeout_us, 1000, 600 * S)
COUNT(opt_redirects, redirects, 0, 50)
COUNT(opt_max_connections, max_connections, 0, 100000)
COUNT(opt_queue, queue, 1, 100000)
SIZE(opt_max_response, max_response, 1, 1u << 30)
SIZE(opt_max_request, max_request, 1, 1u << 30)
BOOL(opt_compression, compression)
BOOL(opt_allow_absolute, allow_absolute)
COUNT(opt_retries_max, retries.max, 0, 20)
DURATION(opt_retries_initial, retries.initial_us, 1000, DAY)
DURATION(opt_retries_max_delay, retries.max_delay_us, 1000, DAY)
BOOL(opt_retries_jitter, retries.jitter)
TEXT(opt_content_type, publish_content_type)
TEXT(opt_listen, listen)
DURATION(opt_interval, poll_interval_us, 0, DAY)
DURATION(opt_wait, poll_wait_us, 1000, DAY)

static int get_path(const char *key, const json_t *v, const char **out, struct error *err)
{
    return json_is_string(v) && json_string_value(v)[0] == '/'
               ? get_text(key, v, out, err)
               : option_expected(key, "a path that begins with /", v, err);
}

static int opt_probe(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    return get_path(key, v, &o->probe, err);
}

static int opt_commands_path(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    return get_path(key, v, &o->commands_path, err);
}

static int opt_factor(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 1 && d <= 100))
        return option_expected(key, "a number from 1 to 100", v, err);
    o->retries.factor = d;
    return 0;
}

static int opt_on(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    struct http_retries *r = &o->retries;
    static const char what[] = "a list of statuses from 400 to 599 and \"network\"";
    if (!json_is_array(v))
        return option_expected(key, what, v, err);
    r->network = false;
    memset(r->statuses, 0, sizeof r->statuses);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        double d = json_number_value(item);
        if (json_is_string(item) && strcmp(json_string_value(item), "network") == 0)
            r->network = true;
        else if (json_is_number(item) && d >= 400 && d <= 599 && d == floor(d))
            r->statuses[(unsigned)d / 64] |= (uint64_t)1 << (unsigned)d % 64;
        else
            return option_expected(key, what, item, err);
    }
    return 0;
}

static int opt_retries(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const struct option table[] = {{"max", opt_retries_max},
                                          {"initial", opt_retries_initial},
                                          {"maxDelay", opt_retries_max_delay},
                                          {"factor", opt_factor},
                                          {"jitter", opt_retries_jitter},
                                          {"on", opt_on},
                                          {NULL, NULL}};
    return json_is_number(v) ? opt_retries_max(key, v, o, err) : parse_table("retries.", v, table, o, err);
}

int http_retries_parse(const json_t *v, struct http_retries *out, struct error *err)
{
    struct http_options o = {.retries = *out};
    if (opt_retries("retries", v, &o, err) < 0)
        return -1;
    *out = o.retries;
    return 0;
}

static int opt_method(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    if (!json_is_string(v))
        return option_expected(key, "\"POST\", \"PUT\" or \"PATCH\"", v, err);
    const char *m = http_method(json_string_value(v), NULL);
    if (!m || m[0] != 'P')
        return option_expected(key, "\"POST\", \"PUT\" or \"PATCH\"", v, err);
    o->publish_method = m;
    return 0;
}

static int opt_publish(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const struct option table[] = {{"method", opt_method}, {"contentType", opt_content_type}, {NULL, NULL}};
    (void)key;
    if (parse_table("publish.", v, table, o, err) < 0)
        return -1;
    const char *type = o->publish_content_type;
    return type ? http_header_check("Content-Type", 12, type, strlen(type), err) : 0;
}

static int opt_mode(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const char *const words[] = {"poll", "serve", NULL};
    int i;
    if (get_word(key, v, words, &i, err) < 0)
        return -1;
    o->serve = i == 1;
    return 0;
}

static int opt_commands(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    static const struct option table[] = {{"mode", opt_mode}, {"path", opt_commands_path}, {"interval", opt_interval},
                                          {"wait", opt_wait}, {"listen", opt_listen},      {NULL, NULL}};
    (void)key;
    return parse_table("commands.", v, table, o, err);
}

static int opt_source(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    (void)key, (void)err;
    o->source = v;
    return 0;
}

static int opt_tls(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    if (!json_is_object(v))
        return option_expected(key, "an object", v, err);
    o->tls = v;
    return 0;
}

static int opt_pacer(const char *key, const json_t *v, struct http_options *o, struct error *err)
{
    (void)key, (void)v, (void)o, (void)err; // pacer_config_parse reads it
    return 0;
}

static const struct option top[] = {{"version", opt_version},
                                    {"headers", opt_headers},
                                    {"auth", opt_auth},
                                    {"timeout", opt_timeout},
                                    {"connectTimeout", opt_connect_timeout},
                                    {"stallTimeout", opt_stall_timeout},
                                    {"keepAlive", opt_keep_alive},
                                    {"redirects", opt_redirects},
                                    {"compression", opt_compression},
                                    {"maxConnections", opt_max_connections},
                                    {"maxResponse", opt_max_response},
                                    {"maxRequest", opt_max_request},
                                    {"queue", opt_queue},
                                    {"allowAbsolute", opt_allow_absolute},
                                    {"retries", opt_retries},
                                    {"publish", opt_publish},
                                    {"probe", opt_probe},
                                    {"commands", opt_commands},
                                    {"serveTimeout", opt_serve_timeout},
                                    {"source", opt_source},
                                    {"connectWindow", opt_pacer},
                                    {"connectRate", opt_pacer},
                                    {"connectPacing", opt_pacer},
                                    {"tls", opt_tls},
                                    {NULL, NULL}};

static const struct http_options defaults = {
    .timeout_us = 30 * S,
    .connect_timeout_us = 10 * S,
    .keep_alive_us = 60 * S,
    .serve_timeout_us = 10 * S,
    .retries = {.initial_us = S / 2, .max_delay_us = 30 * S, .factor = 2, .jitter = true, .network = true},
    .redirects = 5,
    .max_response = 1u << 20,
    .max_request = 16u << 20,
    .queue = 100,
    .compression = true,
    .publish_method = "POST",
    .listen = "127.0.0.1:0",
    .poll_interval_us = S,
    .poll_wait_us = 30 * S,
};

int http_options_parse(const json_t *options, struct http_options *o, struct error *err)
{
    static const unsigned retried[] = {408, 429, 500, 502, 503, 504};
    *o = defaults;
    for (size_t i = 0; i < sizeof retried / sizeof *retried; i++)
        o->retries.statuses[retried[i] / 64] |= (uint64_t)1 << retried[i] % 64;
    if (options && !json_is_null(options)) {
        if (!json_is_object(options))
            return error_set(err, ERR_INVALID, "http options: expected an object");
        if (!(o->json = json_deep_copy(options)))
            return error_set(err, ERR_NO_MEMORY, "no memory for options");
        if (parse_table("", o->json, top, o, err) < 0)
            goto fail;
        if (o->retries.max_delay_us < o->retries.initial_us)
            o->retries.max_delay_us = o->retries.initial_us;
    }
    if (pacer_config_parse(o->json, &o->pacer, err) == 0)
        return 0;
fail:
    http_options_destroy(o);
    return -1;
}

void http_options_destroy(struct http_options *o)
{
    json_decref(o->json);
    o->json = NULL;
}
