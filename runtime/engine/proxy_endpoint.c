#include "engine/proxy_endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/adapter.h"
#include "core/rng.h"
#include "link/url.h"

#define RETRY_MIN_US 500000
#define RETRY_MAX_US 5000000

enum { COAP_MAX = 4096, HTTP_MAX = 16, SERIES_MAX = 500, OBSERVATION = 1 };

struct station { // an adapter's target: a CoAP server, or an address at which webhooks listen
    struct station *next;
    enum proxy_via via;
    struct adapter_target *target;
    struct metric *errors;
    char key[];
};

struct proxy_endpoint {
    struct proxy_endpoint *next, **prev;
    struct proxy_endpoints *all;
    struct station *station;
    const struct adapter_ops *ops;
    struct adapter_conn *conn;
    proxy_message_fn *fn;
    void *ctx;
    struct timer retry;
    int64_t retry_us;
    bool complained;
    bool *gone; // set when it is deleted inside fn
    char *name, *path;
};

struct proxy_endpoints {
    struct proxy_endpoints_config config;
    struct metrics *unused; // what the adapters count
    struct station *stations;
    unsigned n_coap, n_http;
    struct proxy_endpoint *first;
};

// --- stations

static const struct adapter_ops *ops_of(enum proxy_via via)
{
    return adapter_find(via == PROXY_COAP ? "coap" : "http");
}

static struct metric *errors_of(struct proxy_endpoints *all, const char *key, struct error *err)
{
    char tags[400];
    size_t used = (size_t)snprintf(tags, sizeof(tags), "broker:");
    const char *host = strstr(key, "://");
    for (const char *p = host ? host + 3 : key; *p && used < sizeof(tags) - 1; p++) // a tag has none of , : { } =
        tags[used++] = strchr(",:{}=", *p) ? '_' : *p;
    tags[used] = '\0';
    return metrics_series(all->config.metrics, "proxy_source_errors", METRIC_COUNTER, UNIT_NONE, tags, err);
}

static struct adapter_target *target_of(struct proxy_endpoints *all, const struct station *s, struct error *err)
{
    const struct adapter_env env = {.loop = all->config.loop,
                                    .links = all->config.links,
                                    .resolver = all->config.resolver,
                                    .metrics = all->unused,
                                    .log = all->config.log};
    if (s->via == PROXY_COAP)
        return ops_of(s->via)->target_new(&env, s->key, NULL, "physical", err);
    json_t *options = json_pack("{s:{s:s}}", "commands", "listen", s->key);
    if (!options) {
        error_set(err, ERR_NO_MEMORY, "no memory for a webhook");
        return NULL;
    }
    // It serves only: where it would connect to does not matter.
    struct adapter_target *target = ops_of(s->via)->target_new(&env, "http://127.0.0.1:9", options, "physical", err);
    json_decref(options);
    return target;
}

// key: "coap://host:port", or where webhooks listen.
static struct station *station_of(struct proxy_endpoints *all, enum proxy_via via, const char *key, struct error *err)
{
    unsigned *n = via == PROXY_COAP ? &all->n_coap : &all->n_http;
    for (struct station *s = all->stations; s; s = s->next)
        if (s->via == via && !strcmp(s->key, key))
            return s;
    if (*n == (via == PROXY_COAP ? COAP_MAX : HTTP_MAX)) {
        error_set(err, ERR_LIMIT,
                  via == PROXY_COAP ? "physical devices at more than %d CoAP servers"
                                    : "webhooks at more than %d addresses",
                  via == PROXY_COAP ? COAP_MAX : HTTP_MAX);
        return NULL;
    }
    size_t len = strlen(key) + 1;
    struct station *s = calloc(1, sizeof(*s) + len);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a physical device");
        return NULL;
    }
    memcpy(s->key, key, len);
    s->via = via;
    s->errors = errors_of(all, key, err);
    s->target = s->errors ? target_of(all, s, err) : NULL;
    if (!s->target) {
        free(s);
        return NULL;
    }
    s->next = all->stations;
    all->stations = s;
    (*n)++;
    return s;
}

// --- observing

static void on_retry(struct timer *t, void *loop);

// What has gone wrong is counted, said once, and tried again.
static void failed(struct proxy_endpoint *e, const char *what)
{
    counter_add(e->station->errors, 1);
    if (!e->complained)
        log_write(e->all->config.log, LOG_WARN, NULL,
                  "physical device %s at %s%s: %s (tried again; counted in proxy_source_errors)", e->name,
                  e->station->key, e->path, what);
    e->complained = true;
    loop_timer_start(e->all->config.loop, &e->retry, e->retry_us, on_retry);
    e->retry_us = e->retry_us * 2 < RETRY_MAX_US ? e->retry_us * 2 : RETRY_MAX_US;
}

static void observe(struct proxy_endpoint *e)
{
    struct error err = {0};
    const struct adapter_request r = {.method = "OBSERVE", .path = e->path, .path_len = strlen(e->path)};
    e->ops->request_cancel(e->conn, OBSERVATION);
    if (e->ops->request(e->conn, &r, OBSERVATION, &err))
        failed(e, err.text);
}

static void on_online(void *owner, bool session_present)
{
    struct proxy_endpoint *e = owner;
    (void)session_present;
    loop_timer_stop(e->all->config.loop, &e->retry);
    observe(e);
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct proxy_endpoint *e = owner;
    failed(e, why->code ? why->text : "the connection was closed");
    if (will_retry)
        loop_timer_stop(e->all->config.loop, &e->retry);
}

static void on_retry(struct timer *t, void *loop)
{
    struct proxy_endpoint *e = container_of(t, struct proxy_endpoint, retry);
    struct error err = {0};
    (void)loop;
    if (e->ops->conn_open(e->conn, &err) == 0)
        return;
    if (err.code == ERR_STATE) // it is open
        observe(e);
    else
        failed(e, err.text);
}

static void on_response(void *owner, uint32_t token, const struct adapter_response *r, const struct error *err)
{
    struct proxy_endpoint *e = owner;
    struct loop *loop = e->all->config.loop;
    char text[80];
    (void)token;
    if (err) {
        failed(e, err->text);
        return;
    }
    if (r->status < 200 || r->status > 299) {
        snprintf(text, sizeof(text), "it answered %u.%02u", r->status / 100, r->status % 100);
        failed(e, text);
        return;
    }
    if (!r->more) {
        failed(e, "the resource cannot be observed and is polled");
    } else if (e->complained) {
        log_write(e->all->config.log, LOG_INFO, NULL, "physical device %s at %s%s: observed again", e->name,
                  e->station->key, e->path);
        e->complained = false;
    }
    if (r->more)
        e->retry_us = RETRY_MIN_US;
    e->fn(e->ctx, "", r->payload, r->payload_len, loop_now_us(loop)); // e may be gone
}

// --- webhooks

static void answer(struct proxy_endpoint *e, uint64_t ticket, unsigned status, const char *text)
{
    const struct adapter_response r = {.status = status, .payload = (const uint8_t *)text, .payload_len = strlen(text)};
    (void)e->ops->respond(e->conn, ticket, &r, NULL); // the client may be gone
}

static void on_request(void *owner, uint64_t ticket, const struct adapter_request *r)
{
    struct proxy_endpoint *e = owner;
    char topic[1024];
    size_t n = 0, skip = strcmp(e->path, "/") ? strlen(e->path) : 0;
    while (n < r->path_len && r->path[n] != '?')
        n++;
    n = n > skip ? n - skip : 0;
    if (n && r->path[skip + n - 1] == '/')
        n--;
    int len = snprintf(topic, sizeof(topic), "%.*s", (int)n, n ? r->path + skip : "");
    if (len < 0 || (size_t)len != n || n >= sizeof(topic) || strpbrk(topic, "+#")) {
        answer(e, ticket, 400, "the path is no topic\n");
        return;
    }
    bool gone = false;
    e->gone = &gone;
    bool taken = e->fn(e->ctx, topic, r->payload, r->payload_len, loop_now_us(e->all->config.loop));
    if (gone)
        return; // the adapter has answered
    e->gone = NULL;
    answer(e, ticket, taken ? 204 : 503, taken ? "" : "the device is offline\n");
}

static void on_message(void *owner, const struct adapter_message *m)
{
    (void)owner, (void)m; // it subscribes to nothing
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    (void)owner, (void)token, (void)granted_qos, (void)err; // nor publishes
}

static int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    const struct proxy_endpoint *e = owner;
    if (what != FIELD_CLIENT_ID || buf_append_str(out, e->name) == 0)
        return 0;
    return error_set(err, ERR_LIMIT, "the name is too long");
}

static int serve(struct proxy_endpoint *e, struct error *err)
{
    struct buf url;
    json_t *attributes = json_pack("{s:[s]}", "methods", "POST");
    if (!attributes)
        return error_set(err, ERR_NO_MEMORY, "no memory for a webhook");
    buf_create(&url, 4096);
    int rc = e->ops->serve(e->conn, e->path, attributes, err) || e->ops->served_at(e->conn, &url, err);
    if (!rc)
        log_write(e->all->config.log, LOG_INFO, NULL, "physical device %s: its webhook is %s%s", e->name,
                  buf_cstr(&url), e->path);
    buf_destroy(&url);
    json_decref(attributes);
    return rc ? -1 : 0;
}

// --- life

static const struct adapter_events events = {.on_online = on_online,
                                             .on_offline = on_offline,
                                             .on_message = on_message,
                                             .on_done = on_done,
                                             .on_response = on_response,
                                             .on_request = on_request};
static const struct adapter_identity identity = {.field = field};

static int open_endpoint(struct proxy_endpoint *e, const struct proxy_place *place, struct error *err)
{
    char key[300];
    struct url url;
    if (place->via == PROXY_HTTP) {
        e->path = strdup(place->path);
        snprintf(key, sizeof(key), "%s", place->listen);
    } else {
        // The path is longer than a target's may be, and has its query.
        const char *host = strstr(place->url, "://");
        size_t n = host ? (size_t)(host - place->url) + 3 + strcspn(host + 3, "/?") : 0;
        e->path = strdup(place->url[n] ? place->url + n : "/");
        if (!host || n >= sizeof(key))
            return error_set(err, ERR_INVALID, "\"%.100s\": expected a URL such as coap://host/path", place->url);
        snprintf(key, sizeof(key), "%.*s", (int)n, place->url);
        if (url_parse(key, "coap", &url, err))
            return -1;
        url_display(&url, key, sizeof(key));
    }
    e->name = strdup(place->name);
    if (!e->path || !e->name)
        return error_set(err, ERR_NO_MEMORY, "no memory for a physical device");
    e->ops = ops_of(place->via);
    e->station = station_of(e->all, place->via, key, err);
    if (!e->station)
        return -1;
    e->conn = e->ops->conn_new(e->station->target, &events, &identity, e,
                               hash_bytes(place->name, strlen(place->name), 0), err);
    if (!e->conn)
        return -1;
    return place->via == PROXY_HTTP ? serve(e, err) : e->ops->conn_open(e->conn, err);
}

struct proxy_endpoint *proxy_endpoint_new(struct proxy_endpoints *all, const struct proxy_place *place,
                                          proxy_message_fn *fn, void *ctx, struct error *err)
{
    struct proxy_endpoint *e = calloc(1, sizeof(*e));
    if (!e) {
        error_set(err, ERR_NO_MEMORY, "no memory for a physical device");
        return NULL;
    }
    *e = (struct proxy_endpoint){.all = all, .fn = fn, .ctx = ctx, .retry_us = RETRY_MIN_US, .next = all->first};
    e->prev = &all->first;
    if (e->next)
        e->next->prev = &e->next;
    all->first = e;
    if (open_endpoint(e, place, err) == 0)
        return e;
    proxy_endpoint_delete(e);
    return NULL;
}

void proxy_endpoint_delete(struct proxy_endpoint *e)
{
    if (e->gone)
        *e->gone = true;
    loop_timer_stop(e->all->config.loop, &e->retry);
    if (e->conn)
        e->ops->conn_delete(e->conn);
    *e->prev = e->next;
    if (e->next)
        e->next->prev = e->prev;
    free(e->name);
    free(e->path);
    free(e);
}

struct proxy_endpoints *proxy_endpoints_new(const struct proxy_endpoints_config *config, struct error *err)
{
    struct proxy_endpoints *all = calloc(1, sizeof(*all));
    struct metrics *unused = metrics_new(SERIES_MAX);
    if (!all || !unused) {
        free(all);
        metrics_delete(unused);
        error_set(err, ERR_NO_MEMORY, "no memory for physical devices");
        return NULL;
    }
    all->config = *config;
    all->unused = unused;
    return all;
}

void proxy_endpoints_delete(struct proxy_endpoints *all)
{
    if (!all)
        return;
    while (all->first)
        proxy_endpoint_delete(all->first);
    while (all->stations) {
        struct station *s = all->stations;
        all->stations = s->next;
        ops_of(s->via)->target_delete(s->target);
        free(s);
    }
    metrics_delete(all->unused);
    free(all);
}
