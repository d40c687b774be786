// A group names a server itself, or its model does, or it takes the scenario's for the protocol it speaks. Embedded
// targets keep their symbolic URLs in the supervisor; a shard's copy of the plan says where they listen, and resolves.
#include "engine/plan_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "link/url.h"

#define HOST "embedded"

const char *const target_schemes[] = {"mqtt", "mqtts", "ws",       "wss",       "http", "https",
                                      "coap", "coaps", "coap+tcp", "coaps+tcp", NULL};

// --- URLs

static size_t scheme_length(const char *url)
{
    const char *sep = strstr(url, "://");
    return sep ? (size_t)(sep - url) : 0;
}

static unsigned scheme_bit(const char *url, size_t n)
{
    for (unsigned i = 0; target_schemes[i]; i++)
        if (strlen(target_schemes[i]) == n && strncasecmp(target_schemes[i], url, n) == 0)
            return 1u << i;
    return 0;
}

const char *url_protocol(const char *url, char *dst, size_t size)
{
    size_t n = scheme_length(url);
    unsigned bit = n ? scheme_bit(url, n) : TARGET_MQTT;
    if (bit & TARGET_BROKER)
        return "mqtt";
    if (bit & TARGET_ANY_HTTP)
        return "http";
    if (bit & TARGET_ANY_COAP)
        return "coap";
    snprintf(dst, size, "%.*s", (int)n, url);
    return dst;
}

// What stands behind the host `embedded`, NULL: it is another host. *host: where it begins.
static const char *behind_host(const char *url, const char **host)
{
    size_t n = scheme_length(url);
    const char *p = n ? url + n + 3 : url, *end = p + strcspn(p, "/?#"), *at = NULL;
    for (const char *q = p; q < end; q++)
        at = *q == '@' ? q : at;
    *host = at ? at + 1 : p;
    return (size_t)(end - *host) == strlen(HOST) && strncasecmp(*host, HOST, strlen(HOST)) == 0 ? end : NULL;
}

unsigned url_embedded(const char *url, bool *unknown)
{
    const char *host;
    size_t n = scheme_length(url);
    if (unknown)
        *unknown = false;
    if (!behind_host(url, &host))
        return 0;
    unsigned bit = n ? scheme_bit(url, n) : TARGET_MQTT;
    if (!bit && unknown)
        *unknown = true;
    return bit;
}

int plan_check_url(const char *url, struct error *err)
{
    struct url parsed;
    bool unknown;
    const char *host;
    if (strcmp(url, HOST) == 0)
        return 0;
    if (!*url)
        return error_set(err, ERR_INVALID, "expected a URL such as mqtt://host:1883, or \"embedded\"");
    url_embedded(url, &unknown);
    if (unknown) {
        snprintf(parsed.scheme, sizeof(parsed.scheme), "%.*s", (int)scheme_length(url), url);
        return error_unknown(err, "nothing embedded speaks", parsed.scheme, target_schemes);
    }
    if (url_parse(url, "mqtt", &parsed, err) != 0)
        return -1;
    if (strcasecmp(parsed.host, HOST) == 0 && !behind_host(url, &host))
        return error_set(err, ERR_INVALID, "the port of an embedded target is chosen by the run: leave :%u out",
                         parsed.port);
    return 0;
}

// --- the scenario's

static int get_text(const json_t *obj, const char *key, const char **out, struct error *err)
{
    *out = NULL;
    return json_is_null(json_object_get(obj, key)) ? 0 : json_get_str(obj, key, NULL, out, err);
}

static int get_target(const struct plan *p, const char *key, const char **out, struct error *err)
{
    if (get_text(p->json, key, out, err))
        return -1;
    return *out && plan_check_url(*out, err) ? error_prefix(err, "%s", key) : 0;
}

static int protocol_is(const char *key, const char *url, struct error *err)
{
    char other[16];
    if (!url || strcmp(url, HOST) == 0 || strcmp(url_protocol(url, other, sizeof(other)), key) == 0)
        return 0;
    return error_set(err, ERR_INVALID, "%s: expected a URL such as %s://host or \"embedded\", got one of scheme %.*s",
                     key, key, (int)scheme_length(url), url);
}

int plan_parse_targets(struct plan *p, struct error *err)
{
    const json_t *list = json_object_get(p->json, "embedded");
    if (get_target(p, "http", &p->http, err) || get_target(p, "coap", &p->coap, err) ||
        protocol_is("http", p->http, err) || protocol_is("coap", p->coap, err))
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *scheme = json_string_value(json_array_get(list, i));
        unsigned bit = scheme ? scheme_bit(scheme, strlen(scheme)) : 0;
        if (!bit)
            return error_unknown(err, "nothing embedded speaks", scheme ? scheme : "(no text)", target_schemes);
        p->embedded |= bit;
    }
    return 0;
}

// --- a group's

// Of its model, as the model's text says; "mqtt" without one.
static const char *model_protocol(const struct plan *p, const struct plan_group *g)
{
    json_t *entry = g->model_path ? json_object_get(json_object_get(p->json, "models"), g->model_path) : NULL;
    const char *text = json_string_value(json_object_get(entry, "text"));
    if (!entry)
        return "mqtt";
    if (json_object_get(entry, "n_commands"))
        return json_string_value(json_object_get(entry, "protocol"));
    json_t *model = text ? json_loads(text, 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(model, "protocol"));
    // What is wrong with a text is said by whoever parses it.
    size_t n = json_array_size(json_object_get(model, "commands"));
    int rc = json_object_set_new(entry, "protocol", json_text_of(said ? said : "mqtt")) ||
             json_object_set_new(entry, "n_commands", json_integer((json_int_t)n));
    json_decref(model);
    return rc ? "mqtt" : json_string_value(json_object_get(entry, "protocol"));
}

bool plan_group_serves(const struct plan *p, const struct plan_group *g)
{
    char other[16];
    const json_t *entry = g->model_path ? json_object_get(json_object_get(p->json, "models"), g->model_path) : NULL;
    return json_integer_value(json_object_get(entry, "n_commands")) > 0 &&
           strcmp(url_protocol(g->config.url, other, sizeof(other)), "coap") == 0;
}

static int set_member(json_t *obj, const char *key, json_t *stolen, struct error *err)
{
    if (json_object_set_new(obj, key, stolen) == 0)
        return 0;
    return error_set(err, ERR_NO_MEMORY, "%s: no memory", key);
}

// "embedded" gets the scheme of the protocol, and `url` a home in the group's json.
static int keep_url(struct plan_group *g, json_t *json, const char *url, const char *protocol, struct error *err)
{
    char text[64];
    if (strcmp(url, HOST) == 0) {
        snprintf(text, sizeof(text), "%.32s://" HOST, protocol);
        url = text;
    }
    bool unknown;
    url_embedded(url, &unknown);
    if (unknown)
        return error_set(err, ERR_INVALID, "nothing embedded speaks %s: give the group a broker", protocol);
    if (set_member(json, "url", json_text_of(url), err))
        return -1;
    g->config.url = json_string_value(json_object_get(json, "url"));
    return 0;
}

// A TLS connection to an embedded target trusts the run's own CA without being told.
static int trust(const struct plan *p, json_t *options, struct error *err)
{
    const json_t *ca = json_object_get(p->json, "embedded_ca");
    json_t *tls = json_object_get(options, "tls");
    if (!json_is_string(ca) || (tls && !json_is_object(tls)))
        return 0;
    tls = tls ? json_copy(tls) : json_object();
    if (!json_object_get(tls, "ca") && set_member(tls, "ca", json_incref((json_t *)(uintptr_t)ca), err)) {
        json_decref(tls);
        return -1;
    }
    return set_member(options, "tls", tls, err);
}

// Where an embedded target listens, if the plan says so.
static int resolve(const struct plan *p, struct plan_group *g, json_t *json, json_t *options, struct error *err)
{
    const char *url = g->config.url, *host, *rest = behind_host(url, &host);
    unsigned bit = url_embedded(url, NULL), i = 0;
    const json_t *urls = json_object_get(p->json, "embedded_urls");
    struct buf text;
    if (!bit || !urls)
        return 0;
    while (!(bit & 1u << i))
        i++;
    const char *base = json_string_value(json_object_get(urls, target_schemes[i]));
    if (!base)
        return error_set(err, ERR_INTERNAL, "%s: no such target was started", url);
    size_t n = scheme_length(url), k = scheme_length(base);
    buf_create(&text, 4096);
    int rc = buf_printf(&text, "%.*s://", (int)k, base);
    rc = rc || (n && buf_append(&text, url + n + 3, (size_t)(host - url) - n - 3)) ||
         buf_append_str(&text, base + k + 3) || buf_append_str(&text, rest);
    rc = rc ? error_set(err, ERR_LIMIT, "%s: too long", url)
            : set_member(json, "url", json_text_of(buf_cstr(&text)), err);
    buf_destroy(&text);
    g->config.url = json_string_value(json_object_get(json, "url"));
    return rc || (bit & TARGET_TLS && trust(p, options, err)) ? -1 : 0;
}

// The options of the adapter: the group's own over the scenario's for the same protocol, and what MQTT wants to know of
// the will besides topic and payload.
static int merge_options(const struct plan *p, json_t *group, const char *protocol, const json_t *will, json_t **out,
                         struct error *err)
{
    const char *key = strcmp(protocol, "http") == 0   ? "http_adapter"
                      : strcmp(protocol, "coap") == 0 ? "coap_adapter"
                      : strcmp(protocol, "mqtt") == 0 ? "adapter"
                                                      : NULL;
    const json_t *common = key ? json_object_get(p->json, key) : NULL, *own = json_object_get(group, "adapter");
    const json_t *both[] = {common, own};
    for (int i = 0; i < 2; i++) // Lua has one empty table
        if (both[i] && !json_is_null(both[i]) && !json_is_object(both[i]) &&
            !(json_is_array(both[i]) && json_array_size(both[i]) == 0))
            return error_set(err, ERR_INVALID, "%s: expected an object", i ? "adapter" : key);
    json_t *merged = json_is_object(common) ? json_copy((json_t *)(uintptr_t)common) : json_object();
    if (!merged || (json_is_object(own) && json_object_update(merged, (json_t *)(uintptr_t)own) != 0)) {
        json_decref(merged);
        return error_set(err, ERR_NO_MEMORY, "adapter: no memory");
    }
    if (set_member(group, "adapter", merged, err) != 0)
        return -1;
    *out = merged;
    json_t *qos = json_object_get(will, "qos"), *retain = json_object_get(will, "retain");
    if (qos && !json_is_null(qos) && set_member(merged, "willQos", json_incref(qos), err) != 0)
        return -1;
    return retain && !json_is_null(retain) ? set_member(merged, "willRetain", json_incref(retain), err) : 0;
}

static int choose_url(struct plan *p, struct plan_group *g, json_t *json, struct error *err)
{
    const char *own, *of_model, *protocol = model_protocol(p, g), *target = p->broker;
    if (get_text(json, "broker", &own, err) || get_text(json, "model_broker", &of_model, err))
        return -1;
    g->own_url = own != NULL;
    if (own)
        return plan_check_url(own, err) ? error_prefix(err, "broker") : keep_url(g, json, own, protocol, err);
    if (strcmp(protocol, "mqtt") != 0)
        target = strcmp(protocol, "http") == 0 ? p->http : strcmp(protocol, "coap") == 0 ? p->coap : NULL;
    if (target && strcmp(target, HOST) != 0)
        return keep_url(g, json, target, protocol, err);
    if (of_model) {
        if (plan_check_url(of_model, err))
            return error_prefix(err, "model %s: connection", g->model_path);
        g->model_url = true;
        return keep_url(g, json, of_model, protocol, err);
    }
    return keep_url(g, json, HOST, protocol, err);
}

int plan_parse_url(struct plan *p, struct plan_group *g, json_t *json, const json_t *will, struct error *err)
{
    char other[16];
    json_t *options = NULL;
    if (choose_url(p, g, json, err) ||
        merge_options(p, json, url_protocol(g->config.url, other, sizeof(other)), will, &options, err))
        return -1;
    if (resolve(p, g, json, options, err))
        return -1;
    g->config.options = json_object_size(options) ? options : NULL;
    return 0;
}

// --- what is to be started

static bool speaks_mqtt(const struct plan_group *g)
{
    char other[16];
    return strcmp(url_protocol(g->config.url, other, sizeof(other)), "mqtt") == 0;
}

// Whether somebody speaks to the scenario's own broker: groups, or a test that observes the one the scenario names.
static bool uses_broker(const struct plan *p)
{
    bool any_mqtt = false;
    for (unsigned i = 0; i < p->n_groups; i++) {
        const struct plan_group *g = &p->groups[i];
        any_mqtt |= speaks_mqtt(g);
        if (speaks_mqtt(g) && !g->own_url && !g->model_url)
            return true;
    }
    return p->directs && any_mqtt && p->names_broker;
}

unsigned plan_embedded(const struct plan *p)
{
    unsigned mask = p->embedded;
    for (unsigned i = 0; i < p->n_groups; i++)
        mask |= url_embedded(p->groups[i].config.url, NULL);
    if (uses_broker(p))
        mask |= url_embedded(p->broker, NULL);
    return mask;
}

// Of the run's own broker, also where the plan says where it listens: all of its listeners are one broker.
static bool is_own_broker(const struct plan *p, const char *url)
{
    const json_t *urls = json_object_get(p->json, "embedded_urls");
    for (unsigned i = 0; target_schemes[i]; i++) {
        const char *at = json_string_value(json_object_get(urls, target_schemes[i]));
        if (at && TARGET_BROKER & 1u << i && strncmp(url, at, strlen(at)) == 0)
            return true;
    }
    return (url_embedded(url, NULL) & TARGET_BROKER) != 0;
}

static bool same_broker(const struct plan *p, const char *a, const char *b)
{
    return strcmp(a, b) == 0 || (is_own_broker(p, a) && is_own_broker(p, b));
}

// The first two different brokers that groups name: how many there are, at most 2.
static unsigned groups_brokers(const struct plan *p, const char *found[2])
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n_groups && n < 2; i++)
        if (speaks_mqtt(&p->groups[i]) && (n == 0 || !same_broker(p, found[0], p->groups[i].config.url)))
            found[n++] = p->groups[i].config.url;
    return n;
}

const char *plan_target(const struct plan *p)
{
    const char *found[2];
    if (uses_broker(p))
        return p->broker;
    if (p->directs && groups_brokers(p, found))
        return found[0];
    return p->directs && p->embedded & TARGET_BROKER ? p->broker : p->groups[0].config.url;
}

int plan_target_clear(const struct plan *p, struct error *err)
{
    const char *found[2];
    char a[160], b[160];
    if (uses_broker(p) || groups_brokers(p, found) < 2)
        return 0;
    return error_set(err, ERR_INVALID,
                     "the groups speak to several brokers (%s, %s …): say with `broker` which one is meant, here or in "
                     "iotix.scenario",
                     url_redact(found[0], a, sizeof(a)), url_redact(found[1], b, sizeof(b)));
}

int plan_resolve(struct plan *p, json_t *urls, const char *ca, struct error *err)
{
    if (set_member(p->json, "embedded_urls", urls, err))
        return -1;
    return ca ? set_member(p->json, "embedded_ca", json_text_of(ca), err) : 0;
}
