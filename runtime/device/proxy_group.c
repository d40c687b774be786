// Which devices of a group are proxies, and of what.
#include "device/proxy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/topic.h"
#include "core/jsonx.h"
#include "core/units.h"
#include "device/internal.h"
#include "device/plan_keys.h"

#define SILENT_US 60000000

enum { LIST_MAX = 100000 };

static const char *const names[] = {"proxyIndex"};

// --- one binding --------------------------------------------------------------------------------------------------

struct reader {
    const json_t *spec;
    const char *where; // "proxies[2]: ", "" for a model's
    struct error *err;
};

static int bad(const struct reader *r)
{
    return r->where[0] ? error_prefix(r->err, "%s", r->where) : -1;
}

static int check_keys(const struct reader *r, bool of_model, bool counted)
{
    // Those of models, then of entries too, then of an entry with a count.
    static const char *const all[] = {"topic",  "broker",        "commands",     "qos", "url",   "path", "listen",
                                      "source", "silentAfterMs", "silent_after", "id",  "count", NULL};
    const char *keys[sizeof(all) / sizeof(all[0])] = {0};
    if (!json_is_object(r->spec))
        return error_set(r->err, ERR_INVALID, "expected an object such as {\"topic\": \"plant/1/#\"}");
    const char *key;
    json_t *value;
    memcpy(keys, all, (of_model ? 9 : counted ? 12 : 11) * sizeof(all[0]));
    json_object_foreach((json_t *)(uintptr_t)r->spec, key, value)
    {
        unsigned i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (keys[i])
            continue;
        const char *near = suggest(key, keys);
        return error_set(r->err, ERR_INVALID,
                         "unknown key \"%.60s\"; valid: topic, broker, commands, qos, url, path, listen, %s%s%s%s", key,
                         of_model ? "silentAfterMs, source" : "id, silent_after, source",
                         near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    return 0;
}

static const char *const vias[] = {"mqtt", "coap", "http", NULL};

// Where from, and that nothing is said of another.
static int read_source(const struct reader *r, enum proxy_via *via)
{
    static const struct {
        const char *key;
        enum proxy_via via;
    } own[] = {{"topic", PROXY_MQTT}, {"broker", PROXY_MQTT}, {"commands", PROXY_MQTT}, {"qos", PROXY_MQTT},
               {"url", PROXY_COAP},   {"path", PROXY_HTTP},   {"listen", PROXY_HTTP}};
    const char *source;
    if (json_get_str(r->spec, "source", "mqtt", &source, r->err))
        return -1;
    int i = name_choose("source", strcmp(source, "webhook") ? source : "http", vias, r->err);
    if (i < 0)
        return -1;
    *via = (enum proxy_via)i;
    for (unsigned k = 0; k < sizeof(own) / sizeof(own[0]); k++) {
        if (own[k].via != *via && json_object_get(r->spec, own[k].key))
            return error_set(r->err, ERR_INVALID, "%s: only with source \"%s\", and source is \"%s\"", own[k].key,
                             vias[own[k].via], vias[*via]);
    }
    return 0;
}

static int check_broker(const struct reader *r, const char *broker)
{
    const char *scheme_end = broker ? strstr(broker, "://") : NULL;
    if (broker && !*broker)
        return error_set(r->err, ERR_INVALID, "broker: expected a URL such as mqtt://host:1883");
    if (!scheme_end || !strncmp(broker, "mqtt://", 7) || !strncmp(broker, "mqtts://", 8))
        return 0;
    return error_set(r->err, ERR_UNSUPPORTED, "broker: the scheme \"%.*s\" cannot be observed; valid: mqtt, mqtts",
                     (int)(scheme_end - broker < 30 ? scheme_end - broker : 30), broker);
}

static struct payload *compile(const struct reader *r, const char *key, const char *pattern, const struct dataset *data)
{
    struct payload *p = payload_compile_data(pattern, names, NULL, 1, false, data, r->err);
    if (!p)
        error_prefix(r->err, "%s", key);
    return p;
}

// MQTT: what the physical device publishes to, and where it takes commands.
static int check_topics(const struct reader *r, const char *topic, const char *commands)
{
    if (!topic)
        return error_set(r->err, ERR_INVALID,
                         "topic is missing: what the physical device publishes to, such as \"plant/1/#\"");
    if (!strncmp(topic, "$share/", 7))
        return error_set(r->err, ERR_INVALID, "topic: a shared subscription would hear only some of the messages");
    if (mqtt_filter_check(topic, strlen(topic), r->err))
        return error_prefix(r->err, "topic");
    if (commands && mqtt_topic_check(commands, strlen(commands), r->err))
        return error_prefix(r->err, "commands");
    return 0;
}

static int check_url(const struct reader *r, const char *url)
{
    static const char *const schemes[] = {"coap://", "coaps://", "coap+tcp://", "coaps+tcp://"};
    if (!url)
        return error_set(r->err, ERR_INVALID,
                         "url is missing: the resource that is observed, such as \"coap://press-1.plant/temperature\"");
    for (unsigned i = 0; i < 4; i++) {
        size_t n = strlen(schemes[i]);
        if (!strncmp(url, schemes[i], n) && url[n])
            return 0;
    }
    return error_set(r->err, ERR_INVALID,
                     "url: expected a URL of scheme coap, coaps, coap+tcp or coaps+tcp, got \"%.100s\"", url);
}

static int check_path(const struct reader *r, const char *path)
{
    if (path[0] == '/' && strlen(path) <= 1000 && !strpbrk(path, "?# "))
        return 0;
    return error_set(r->err, ERR_INVALID,
                     "path: expected one that begins with / and has no ?, # or space, got \"%.100s\"", path);
}

static int check_listen(const struct reader *r, const char *listen)
{
    const char *colon = strrchr(listen, ':');
    if (colon && colon > listen && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
        !strchr(listen, '/'))
        return 0;
    return error_set(r->err, ERR_INVALID,
                     "listen: expected an address and a port such as \"127.0.0.1:8080\", got \"%.100s\"", listen);
}

static const char *main_key(enum proxy_via via)
{
    return via == PROXY_MQTT ? "topic" : via == PROXY_COAP ? "url" : "path";
}

static int compile_patterns(const struct reader *r, const struct dataset *data, struct binding *out)
{
    const char *what, *commands, *id, *key = main_key(out->via);
    if (json_get_str(r->spec, key, out->via == PROXY_HTTP ? "/" : NULL, &what, r->err) ||
        json_get_str(r->spec, "commands", NULL, &commands, r->err) || json_get_str(r->spec, "id", NULL, &id, r->err))
        return -1;
    if (out->via == PROXY_MQTT   ? check_topics(r, what, commands)
        : out->via == PROXY_COAP ? check_url(r, what)
                                 : check_path(r, what))
        return -1;
    if (id && (!*id || strpbrk(id, "/+#") || strstr(id, "{deviceId}")))
        return error_set(r->err, ERR_INVALID, "id: expected a name without / + # and ${deviceId}");
    out->filter = compile(r, key, what, data);
    out->commands = out->filter && commands ? compile(r, "commands", commands, data) : NULL;
    out->id = out->filter && id ? compile(r, "id", id, data) : NULL;
    return !out->filter || !out->commands != !commands || !out->id != !id ? -1 : 0;
}

static void binding_destroy(struct binding *b)
{
    payload_delete(b->filter);
    payload_delete(b->commands);
    payload_delete(b->id);
    free(b->url);
}

// On failure what was made is in *out too.
static int binding_read(const struct reader *r, const struct dataset *data, struct binding *out)
{
    const char *broker, *listen;
    int64_t qos;
    if (read_source(r, &out->via) || json_get_str(r->spec, "broker", NULL, &broker, r->err) ||
        check_broker(r, broker) || json_get_str(r->spec, "listen", "127.0.0.1:0", &listen, r->err) ||
        check_listen(r, listen) || json_get_int(r->spec, "qos", 0, &qos, r->err) ||
        plan_duration("proxy", r->spec, "silent_after", "silentAfterMs", SILENT_US, &out->silent_us, r->err))
        return -1;
    if (qos < 0 || qos > 2)
        return error_set(r->err, ERR_INVALID, "qos: must be 0, 1 or 2, is %lld", (long long)qos);
    if (out->silent_us < 1000)
        return error_set(r->err, ERR_INVALID, "silentAfterMs: must be at least 1");
    out->qos = (int)qos;
    const char *url = out->via == PROXY_HTTP ? listen : broker;
    if (url && !(out->url = strdup(url)))
        return error_set(r->err, ERR_NO_MEMORY, "out of memory");
    return compile_patterns(r, data, out);
}

int proxy_check(const json_t *proxy, struct error *err)
{
    struct reader r = {proxy, "", err};
    struct binding b = {0};
    int rc = check_keys(&r, true, false) || binding_read(&r, NULL, &b) ? -1 : 0;
    binding_destroy(&b);
    return rc;
}

// --- a list of them -----------------------------------------------------------------------------------------------

// What every id would be, where it does not depend on the device: no two devices may share it.
static int check_id(const struct reader *r, const json_t *list, size_t i)
{
    const char *id = json_string_value(json_object_get(r->spec, "id"));
    if (!id || strchr(id, '{'))
        return 0;
    for (size_t k = 0; k < i; k++) {
        const char *other = json_string_value(json_object_get(json_array_get(list, k), "id"));
        if (other && !strcmp(other, id))
            return error_set(r->err, ERR_INVALID, "id: \"%.60s\" is that of proxies[%zu] already", id, k + 1);
    }
    return 0;
}

static int read_entry(struct proxies *p, const json_t *list, size_t i, const struct dataset *data, struct error *err)
{
    char where[40];
    snprintf(where, sizeof(where), "proxies[%zu]", i + 1);
    struct reader r = {json_array_get(list, i), where, err};
    if (check_keys(&r, false, false) || check_id(&r, list, i) || binding_read(&r, data, &p->list[i]))
        return bad(&r);
    return 0;
}

static int read_counted(struct proxies *p, const json_t *spec, const struct dataset *data, struct error *err)
{
    struct reader r = {spec, "proxies", err};
    int64_t n;
    if (check_keys(&r, false, true) || json_get_int(spec, "count", 0, &n, err))
        return bad(&r);
    const char *id = json_string_value(json_object_get(spec, "id"));
    if (n < 1)
        error_set(err, ERR_INVALID, "count: expected how many devices of the group are proxies");
    else if (id && n > 1 && !strstr(id, "{index}") && !strstr(id, "{proxyIndex}") && !strstr(id, "{data."))
        error_set(err, ERR_INVALID, "id \"%.60s\" must contain ${proxyIndex}: %lld devices would have the same id", id,
                  (long long)n);
    else if (!binding_read(&r, data, &p->list[0]))
        p->n = (uint64_t)n;
    p->shared = true;
    return p->n ? 0 : bad(&r);
}

static int read_list(struct proxies *p, const json_t *proxies, uint64_t count, const struct dataset *data,
                     struct error *err)
{
    size_t n = json_is_array(proxies) ? json_array_size(proxies) : 1;
    if (!json_is_array(proxies) && !json_is_object(proxies))
        return error_set(err, ERR_INVALID, "proxies: expected a list of bindings, or one with a count");
    if (!n || n > LIST_MAX)
        return error_set(err, n ? ERR_LIMIT : ERR_INVALID, "proxies: expected 1 to %d bindings, got %zu", LIST_MAX, n);
    p->list = calloc(n, sizeof(*p->list));
    if (!p->list)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    p->n_list = (unsigned)n;
    if (json_is_object(proxies) && read_counted(p, proxies, data, err))
        return -1;
    for (size_t i = 0; json_is_array(proxies) && i < n; i++) {
        if (read_entry(p, proxies, i, data, err))
            return -1;
    }
    p->n = p->shared ? p->n : n;
    if (p->n > count)
        return error_set(err, ERR_INVALID, "proxies: %llu of them, and the group has only %llu devices",
                         (unsigned long long)p->n, (unsigned long long)count);
    p->from = count - p->n;
    return 0;
}

static void free_bindings(struct proxies *p)
{
    binding_destroy(&p->model);
    for (unsigned i = 0; i < p->n_list; i++)
        binding_destroy(&p->list[i]);
    free(p->list);
}

int proxies_check(const json_t *proxies, uint64_t count, struct error *err)
{
    struct proxies p = {0};
    const struct dataset *data = NULL; // ${data.…} is looked at when the file is open
    int rc = read_list(&p, proxies, count, data, err);
    free_bindings(&p);
    return rc;
}

// --- the group ----------------------------------------------------------------------------------------------------

static const struct model *model_of(const struct group *g)
{
    return g->config.model;
}

static int read_model(struct proxies *p, const struct group *g, struct error *err)
{
    const struct model *m = model_of(g);
    struct reader r = {m ? m->proxy : NULL, "", err};
    p->all = m && m->type == MODEL_PROXY;
    if (!r.spec)
        return 0;
    return binding_read(&r, NULL, &p->model) ? error_prefix(err, "%s: /proxy", m->path) : 0;
}

static int check_whole(const struct proxies *p, const struct group *g, struct error *err)
{
    if (!g->fleet->config.proxy)
        return error_set(err, ERR_UNSUPPORTED, "physical devices cannot be reached from here");
    if (!p->all || p->model.filter || p->n >= g->config.count)
        return 0;
    if (!p->n)
        return error_set(err, ERR_INVALID,
                         "nothing says which physical devices its model %s stands for: give the model a \"proxy\" "
                         "with their topic, or the group proxies = { … }",
                         model_of(g)->id);
    return error_set(err, ERR_INVALID, "its model %s is a proxy: proxies must be for all of its %llu devices",
                     model_of(g)->id, (unsigned long long)g->config.count);
}

// A topic for each attribute is none for a message of whatever is in it.
static int compile_topic(struct proxies *p, const struct group *g, struct error *err)
{
    const struct model *m = model_of(g);
    if (!m || m->sparkplug || strstr(m->topic_pattern, "{attribute}"))
        return 0;
    p->topic = payload_compile(m->topic_pattern, m->names, NULL, 0, false, err);
    return p->topic ? 0 : error_prefix(err, "%s: /connection/topicPattern", m->path);
}

static struct metric *series(const struct group *g, const char *name, enum metric_type type, const char *more,
                             struct error *err)
{
    struct metrics *metrics = g->fleet->config.env.metrics;
    struct buf tags;
    struct metric *m = NULL;
    if (!metrics)
        return type == METRIC_TREND ? NULL : &g->fleet->nowhere;
    buf_create(&tags, 1024);
    if (buf_printf(&tags, "group:%s%s", g->config.name, more))
        error_set(err, ERR_LIMIT, "the name is too long");
    else if (type == METRIC_GAUGE)
        m = metrics_gauge(metrics, name, GAUGE_SUM, buf_cstr(&tags), err);
    else
        m = metrics_series(metrics, name, type, type == METRIC_TREND ? UNIT_TIME_US : UNIT_NONE, buf_cstr(&tags), err);
    buf_destroy(&tags);
    return m;
}

static int find_series(struct proxies *p, const struct group *g, struct error *err)
{
    p->proxied = series(g, "messages_proxied", METRIC_COUNTER, ",source:physical", err);
    p->dropped = p->proxied ? series(g, "proxy_dropped", METRIC_COUNTER, "", err) : NULL;
    p->commands = p->dropped ? series(g, "proxy_commands", METRIC_COUNTER, "", err) : NULL;
    p->silent = p->commands ? series(g, "proxies_silent", METRIC_GAUGE, "", err) : NULL;
    p->physical = p->silent ? series(g, "devices_by_source", METRIC_GAUGE, ",source:physical", err) : NULL;
    p->simulated = p->physical ? series(g, "devices_by_source", METRIC_GAUGE, ",source:simulated", err) : NULL;
    p->latency = p->simulated ? series(g, "proxy_latency", METRIC_TREND, "", err) : NULL;
    return p->simulated && (p->latency || !g->fleet->config.env.metrics) ? 0 : -1;
}

int proxies_new(struct group *g, const json_t *proxies, struct error *err)
{
    const struct model *m = model_of(g);
    if (!proxies && !(m && m->type == MODEL_PROXY))
        return 0;
    if (m && m->type == MODEL_GATEWAY)
        return error_set(err, ERR_UNSUPPORTED, "proxies: its model %s is a gateway; give proxies a group of their own",
                         m->id);
    struct proxies *p = g->proxies = calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    if (read_model(p, g, err) || (proxies && read_list(p, proxies, g->config.count, g->config.data, err)) ||
        check_whole(p, g, err) || compile_topic(p, g, err))
        return -1;
    return find_series(p, g, err);
}

void proxies_delete(struct group *g)
{
    struct proxies *p = g->proxies;
    g->proxies = NULL;
    if (!p)
        return;
    free_bindings(p);
    payload_delete(p->topic);
    free(p);
}

// --- which one ----------------------------------------------------------------------------------------------------

static bool listed(const struct proxies *p, const struct device *d)
{
    uint64_t place = d->index - 1;
    return p->n && place >= p->from && (place - p->from < p->n || (p->shared && p->all));
}

bool device_is_proxy(const struct device *d)
{
    const struct proxies *p = d->group->proxies;
    return p && (p->all || listed(p, d));
}

const struct binding *binding_of(const struct device *d)
{
    const struct proxies *p = d->group->proxies;
    if (p && listed(p, d))
        return &p->list[p->shared ? 0 : d->index - 1 - p->from];
    return p && p->all && p->model.filter ? &p->model : NULL;
}

struct value proxy_number(const struct device *d, const struct binding *b)
{
    const struct proxies *p = d->group->proxies;
    return (struct value){.type = VALUE_INTEGER, .integer = (int64_t)(b == &p->model ? d->index : d->index - p->from)};
}

int proxy_name(const struct device *d, struct buf *out)
{
    const struct binding *b = binding_of(d);
    if (!b || !b->id)
        return 1;
    struct value number = proxy_number(d, b);
    struct payload_scope scope = {.group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = loop_wall_us(d->group->fleet->config.env.loop),
                                  .values = &number,
                                  .data = d->group->config.data};
    return payload_render(b->id, &scope, out);
}

int proxy_qos(const struct group *g)
{
    return g->config.model ? g->config.model->qos : g->config.qos;
}

bool proxy_same_broker(const struct group *g, const struct binding *b)
{
    const char *from = b->url ? b->url : g->fleet->config.proxy_url;
    return !from || !strcmp(from, g->config.url);
}
