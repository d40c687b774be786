#include "adapter/coap/options.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "adapter/coap/format.h"
#include "core/option.h"
#include "core/units.h"
#include "link/url.h"

#define SECOND_US ((int64_t)1000000)
#define DAY_US (86400 * SECOND_US)

typedef int option_fn(const char *key, const json_t *v, struct coap_options *o, struct error *err);
struct option {
    const char *key;
    option_fn *parse;
};

// --- values -------------------------------------------------------------------------------------------------------

static int get_text(const char *key, const json_t *v, char *out, size_t size, struct error *err)
{
    char what[64];
    if (json_is_string(v) && json_string_length(v) > 0 && json_string_length(v) < size &&
        strlen(json_string_value(v)) == json_string_length(v)) {
        memcpy(out, json_string_value(v), json_string_length(v) + 1);
        return 0;
    }
    snprintf(what, sizeof what, "a text of 1 to %zu bytes", size - 1);
    return option_expected(key, what, v, err);
}

// --- tables -------------------------------------------------------------------------------------------------------

#define NAMES_MAX 40
#define LABEL "coap option "

static int parse_table(const char *prefix, const json_t *obj, const struct option *table, struct coap_options *o,
                       struct error *err)
{
    const char *names[NAMES_MAX], *key;
    json_t *v;
    unsigned n = 0;
    for (const struct option *t = table; t->key; t++)
        names[n++] = t->key;
    names[n] = NULL;
    json_object_foreach((json_t *)obj, key, v)
    {
        char full[64], what[64];
        const struct option *t = table;
        while (t->key && strcmp(t->key, key) != 0)
            t++;
        snprintf(what, sizeof what, "unknown coap option %s%s", prefix[0] ? "of " : "", prefix);
        if (!t->key)
            return error_unknown(err, what, key, names);
        snprintf(full, sizeof full, LABEL "%s%s%s", prefix, prefix[0] ? "." : "", key);
        if (t->parse && t->parse(full, v, o, err) < 0)
            return -1;
    }
    return 0;
}

static int sub_table(const char *key, const json_t *v, const struct option *table, struct coap_options *o,
                     struct error *err)
{
    return json_is_object(v) ? parse_table(key + strlen(LABEL), v, table, o, err)
                             : option_expected(key, "an object", v, err);
}

// --- one function an option ---------------------------------------------------------------------------------------

#define DURATION(name, member, min, max)                                                                               \
    static int name(const char *key, const json_t *v, struct coap_options *o, struct error *err)                       \
    {                                                                                                                  \
        return option_duration(key, v, min, max, &o->member, err);                                                     \
    }
#define COUNT(name, member, min, max)                                                                                  \
    static int name(const char *key, const json_t *v, struct coap_options *o, struct error *err)                       \
    {                                                                                                                  \
        return option_count(key, v, min, max, &o->member, err);                                                        \
    }
#define BOOL(name, member)                                                                                             \
    static int name(const char *key, const json_t *v, struct coap_options *o, struct error *err)                       \
    {                                                                                                                  \
        return option_bool(key, v, &o->member, err);                                                                   \
    }
#define NUMBER(name, member, min, max)                                                                                 \
    static int name(const char *key, const json_t *v, struct coap_options *o, struct error *err)                       \
    {                                                                                                                  \
        return option_number(key, v, min, max, &o->member, err);                                                       \
    }

DURATION(opt_timeout, timeout_us, 1000, DAY_US)
DURATION(opt_connect_timeout, connect_timeout_us, 1000, 3600 * SECOND_US)
DURATION(opt_serve_timeout, serve_timeout_us, 1000, DAY_US)
DURATION(opt_ack_timeout, ack_timeout_us, 50000, 3600 * SECOND_US) // libcoap counts in 1/64 s
DURATION(opt_initial, reconnect_initial_us, 1000, DAY_US)
DURATION(opt_max, reconnect_max_us, 1000, DAY_US)
NUMBER(opt_factor, reconnect_factor, 1, 100)
BOOL(opt_jitter, reconnect_jitter)
COUNT(opt_attempts, reconnect_attempts, 0, 65535)
NUMBER(opt_ack_random_factor, ack_random_factor, 1, 10)
COUNT(opt_max_retransmit, max_retransmit, 0, 20)
COUNT(opt_nstart, nstart, 1, 1000)
COUNT(opt_probing_rate, probing_rate, 1, 1000000)
COUNT(opt_queue_max, queue_max, 1, 100000)
BOOL(opt_confirmable, confirmable)
BOOL(opt_probe, probe)

static int opt_reregister(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    if (json_is_boolean(v))
        return option_bool(key, v, &o->reregister, err);
    o->reregister = true;
    return option_duration(key, v, 1000, DAY_US, &o->grace_us, err);
}

static int opt_keep_alive(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    if (json_is_number(v) && json_number_value(v) == 0) {
        o->keep_alive_us = 0;
        return 0;
    }
    return option_duration(key, v, SECOND_US, DAY_US, &o->keep_alive_us, err);
}

static int opt_block_size(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    double d = json_number_value(v);
    for (uint32_t szx = 0; szx <= 6; szx++)
        if (json_is_number(v) && d == (16u << szx)) {
            o->block_szx = szx;
            return 0;
        }
    return option_expected(key, "16, 32, 64, 128, 256, 512 or 1024", v, err);
}

static int opt_max_response(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    return option_size(key, v, 1, 64u << 20, &o->max_response, err);
}

static int opt_method(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    int code = json_is_string(v) ? coap_method_code(json_string_value(v)) : 0;
    if (code <= 0 || code == COAP_METHOD_OBSERVE)
        return option_expected(key, "\"POST\", \"PUT\", \"PATCH\", \"iPATCH\", \"FETCH\", \"GET\" or \"DELETE\"", v,
                               err);
    o->publish_code = (uint8_t)code;
    return 0;
}

static int opt_content_format(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    double d = json_number_value(v);
    if (json_is_number(v) && d >= 0 && d <= 65535 && d == floor(d)) {
        o->publish_format = (int)d;
        return 0;
    }
    int format = json_is_string(v) ? coap_format_number(json_string_value(v), json_string_length(v)) : -1;
    if (format < 0)
        return option_expected(key, "a number from 0 to 65535, or a media type like \"application/json\"", v, err);
    o->publish_format = format;
    return 0;
}

static int opt_reconnect(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    static const struct option table[] = {{"initial", opt_initial}, {"max", opt_max},           {"factor", opt_factor},
                                          {"jitter", opt_jitter},   {"attempts", opt_attempts}, {NULL, NULL}};
    if (json_is_boolean(v))
        return option_bool(key, v, &o->reconnect, err);
    if (!json_is_object(v))
        return option_expected(key, "true, false or an object", v, err);
    o->reconnect = true;
    if (parse_table(key + strlen(LABEL), v, table, o, err) < 0)
        return -1;
    if (o->reconnect_max_us >= o->reconnect_initial_us)
        return 0;
    // Only one of them given: the other follows.
    if (json_object_get(v, "initial") && json_object_get(v, "max"))
        return error_set(err, ERR_INVALID, "coap option reconnect: max is shorter than initial");
    if (json_object_get(v, "max"))
        o->reconnect_initial_us = o->reconnect_max_us;
    else
        o->reconnect_max_us = o->reconnect_initial_us;
    return 0;
}

static int opt_publish(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    static const struct option table[] = {{"method", opt_method}, {"contentFormat", opt_content_format}, {NULL, NULL}};
    return sub_table(key, v, table, o, err);
}

static int opt_observe(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    static const struct option table[] = {{"reregister", opt_reregister}, {NULL, NULL}};
    return sub_table(key, v, table, o, err);
}

// "ADDRESS:PORT", IPv6 in brackets; names are not resolved: it is an address of this machine.
static int parse_listen(const char *text, struct link_addr *out)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || int_parse(colon + 1, 0, 65535, &port, NULL))
        return -1;
    size_t n = (size_t)(colon - text);
    bool brackets = n > 2 && text[0] == '[' && text[n - 1] == ']';
    if (brackets)
        text++, n -= 2;
    if (!n || n >= sizeof host)
        return -1;
    memcpy(host, text, n);
    host[n] = '\0';
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
    memset(out, 0, sizeof *out);
    if (!brackets && inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        out->len = sizeof *v4;
        return 0;
    }
    if (!brackets || inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
        return -1;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    out->len = sizeof *v6;
    return 0;
}

static int opt_listen(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    if (json_is_string(v) && !parse_listen(json_string_value(v), &o->listen))
        return 0;
    return option_expected(key, "an address of this machine and a port, like \"127.0.0.1:0\" (0: any free port)", v,
                           err);
}

static int opt_serve(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    static const struct option table[] = {{"listen", opt_listen}, {"timeout", opt_serve_timeout}, {NULL, NULL}};
    return sub_table(key, v, table, o, err);
}

static int opt_directory_url(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    struct coap_directory_options *d = &o->directory;
    struct url url;
    if (!json_is_string(v))
        return option_expected(key, "a path like \"/rd\", or a URL of the target's host", v, err);
    const char *text = json_string_value(v);
    if (text[0] == '/')
        return get_text(key, v, d->path, sizeof d->path, err);
    if (url_parse(text, "coap", &url, err) < 0)
        return error_prefix(err, "%s", key);
    d->port = url.port;
    snprintf(d->host, sizeof d->host, "%s", url.host);
    d->discover = !url.path[0] || !strcmp(url.path, "/");
    snprintf(d->path, sizeof d->path, "%s", d->discover ? "" : url.path);
    return 0;
}

static int opt_directory_endpoint(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    if (get_text(key, v, o->directory.endpoint, sizeof o->directory.endpoint, err) < 0)
        return -1;
    const char *hole = strstr(o->directory.endpoint, "${");
    if (hole && (strncmp(hole, COAP_DIRECTORY_HOLE, strlen(COAP_DIRECTORY_HOLE)) != 0 || strstr(hole + 2, "${")))
        return option_expected(key, "a text with at most one ${deviceId} in it", v, err);
    return 0;
}

static int opt_directory_sector(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    return get_text(key, v, o->directory.sector, sizeof o->directory.sector, err);
}

static int opt_directory_lifetime(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    int64_t us; // RFC 9176, 5.3: 1 to 4294967295 s; a day is what a refresh ought to take at most here
    if (option_duration(key, v, SECOND_US, 49 * DAY_US, &us, err) < 0)
        return -1;
    o->directory.lifetime_s = (uint32_t)(us / SECOND_US);
    return 0;
}

static int opt_directory(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    static const struct option table[] = {{"url", opt_directory_url},
                                          {"endpoint", opt_directory_endpoint},
                                          {"lifetime", opt_directory_lifetime},
                                          {"sector", opt_directory_sector},
                                          {NULL, NULL}};
    o->directory.discover = true; // unless the URL says where
    if (json_is_object(v) && json_object_get(v, "url") && json_is_string(json_object_get(v, "url")) &&
        json_string_value(json_object_get(v, "url"))[0] == '/')
        o->directory.discover = false;
    return sub_table(key, v, table, o, err);
}

static int opt_source(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    (void)key, (void)err; // sources_new checks it
    o->source = v;
    return 0;
}

static int opt_tls(const char *key, const json_t *v, struct coap_options *o, struct error *err)
{
    (void)key, (void)err; // transport_new checks it
    o->tls = v;
    o->mint = json_is_object(json_object_get(v, "mint"));
    return 0;
}

static int refuse_on_streams(const json_t *options, struct error *err)
{
    static const char *const keys[] = {"ackTimeout", "ackRandomFactor", "maxRetransmit", "probingRate", "probe"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(options, keys[i]))
            return error_set(err, ERR_INVALID,
                             "coap option %s: means nothing over TCP, which does its own (RFC 8323, 2.1)", keys[i]);
    return 0;
}

int coap_options_parse(const json_t *options, bool reliable, struct coap_options *o, struct error *err)
{
    // Those without a function are pacer_config_parse's.
    static const struct option table[] = {{"timeout", opt_timeout},
                                          {"connectTimeout", opt_connect_timeout},
                                          {"connectWindow", NULL},
                                          {"connectRate", NULL},
                                          {"connectPacing", NULL},
                                          {"reconnect", opt_reconnect},
                                          {"source", opt_source},
                                          {"tls", opt_tls},
                                          {"confirmable", opt_confirmable},
                                          {"ackTimeout", opt_ack_timeout},
                                          {"ackRandomFactor", opt_ack_random_factor},
                                          {"maxRetransmit", opt_max_retransmit},
                                          {"nstart", opt_nstart},
                                          {"probingRate", opt_probing_rate},
                                          {"blockSize", opt_block_size},
                                          {"maxResponse", opt_max_response},
                                          {"probe", opt_probe},
                                          {"keepAlive", opt_keep_alive},
                                          {"queueMax", opt_queue_max},
                                          {"publish", opt_publish},
                                          {"observe", opt_observe},
                                          {"serve", opt_serve},
                                          {"resourceDirectory", opt_directory},
                                          {NULL, NULL}};
    *o = (struct coap_options){
        .connect_timeout_us = 10 * SECOND_US,
        .timeout_us = 30 * SECOND_US,
        .serve_timeout_us = 30 * SECOND_US,
        .reconnect = true,
        .reconnect_jitter = true,
        .reconnect_initial_us = SECOND_US,
        .reconnect_max_us = 60 * SECOND_US,
        .reconnect_factor = 2,
        .ack_timeout_us = 2 * SECOND_US,
        .ack_random_factor = 1.5,
        .max_retransmit = 4,
        .nstart = 1,
        .probing_rate = 1,
        .confirmable = true,
        .block_szx = 6,
        .max_response = COAP_BODY_MAX,
        .queue_max = 100,
        .publish_code = COAP_METHOD_POST,
        .publish_format = -1,
        .reregister = true,
        .grace_us = -1,
        .directory.lifetime_s = 86400,
    };
    (void)parse_listen("127.0.0.1:0", &o->listen);
    if (options && !json_is_null(options) && !json_is_object(options))
        return option_expected("coap options", "an object", options, err);
    if (json_is_object(options)) {
        if (parse_table("", options, table, o, err) < 0)
            return -1;
        if (reliable && refuse_on_streams(options, err) < 0)
            return -1;
    }
    return pacer_config_parse(options, &o->pacer, err);
}
