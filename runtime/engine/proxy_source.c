#include "engine/proxy_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/rng.h"
#include "core/slots.h"
#include "engine/observer.h"
#include "engine/observer_tls.h"
#include "engine/proxy_endpoint.h"
#include "link/url.h"

#define CONNECT_US 5000000
#define RETRY_MIN_US 500000
#define RETRY_MAX_US 5000000
#define LOOK_US 1000000 // how often a connection and the observer's queue are looked at

enum { BROKERS_MAX = 64, BUCKETS = 1024, LISTENERS_MAX = 1000000 };

struct listener {
    struct listener *next;
    struct tap *tap;                 // NULL: the device is at no broker, but here:
    struct proxy_endpoint *endpoint; // then it is in `attached`
    struct listener **prev;          // only there
    proxy_message_fn *fn;            // NULL: gone, while its tap hands a message out
    void *ctx;
};

struct tap {          // one filter at one broker
    struct tap *next; // in its bucket
    struct broker *broker;
    unsigned ticket; // of the observer
    int qos;
    unsigned busy; // messages being handed out
    struct listener *listeners, **last;
    char filter[];
};

struct broker {
    struct broker *next;
    struct proxy_source *source;
    struct observer *observer;
    struct timer timer; // the next attempt, or the next look
    int64_t retry_us;
    bool connected, was_connected, complained;
    uint64_t dropped; // as of the last look
    struct metric *errors;
    char display[200];
    char url[];
};

struct proxy_source {
    struct proxy_source_config config;
    char *url;
    struct broker *brokers;
    struct slots *listeners;
    struct proxy_endpoints *endpoints; // NULL until one is needed
    struct listener *attached;
    struct tap *buckets[BUCKETS];
};

// --- brokers

static void failed(struct broker *b, uint64_t n, const char *what)
{
    counter_add(b->errors, n);
    if (b->complained)
        return;
    b->complained = true;
    log_write(b->source->config.log, LOG_WARN, NULL,
              "physical devices at %s: %s (tried again; counted in proxy_source_errors)", b->display, what);
}

static void on_timer(struct timer *t, void *arg);

static void later(struct broker *b, int64_t us)
{
    loop_timer_start(b->source->config.loop, &b->timer, us, on_timer);
}

static void on_connected(void *arg, const struct error *err)
{
    struct broker *b = arg;
    if (err) {
        failed(b, 1, err->text);
        later(b, b->retry_us);
        b->retry_us = b->retry_us * 2 < RETRY_MAX_US ? b->retry_us * 2 : RETRY_MAX_US;
        return;
    }
    if (b->complained)
        log_write(b->source->config.log, LOG_INFO, NULL, "physical devices at %s: connected", b->display);
    b->connected = b->was_connected = true;
    b->complained = false;
    later(b, LOOK_US);
}

static void attempt(struct broker *b)
{
    struct error err;
    if (observer_connect(b->observer, CONNECT_US, on_connected, b, &err) == 0)
        return;
    failed(b, 1, err.text);
    later(b, b->retry_us);
}

// The observer takes a lost connection up again by itself.
static void look(struct broker *b)
{
    bool connected = observer_connected(b->observer);
    uint64_t dropped = observer_dropped(b->observer);
    if (b->was_connected && !connected)
        failed(b, 1, "the connection was lost");
    if (!b->was_connected && connected && b->complained) {
        log_write(b->source->config.log, LOG_INFO, NULL, "physical devices at %s: connected again", b->display);
        b->complained = false;
    }
    if (dropped > b->dropped)
        failed(b, dropped - b->dropped, "messages came faster than they could be passed on");
    b->was_connected = connected;
    b->dropped = dropped;
    later(b, LOOK_US);
}

static void on_timer(struct timer *t, void *arg)
{
    struct broker *b = container_of(t, struct broker, timer);
    (void)arg;
    if (b->connected)
        look(b);
    else
        attempt(b);
}

static struct metric *errors_of(struct proxy_source *s, const struct broker *b, struct error *err)
{
    char tags[300];
    size_t used = (size_t)snprintf(tags, sizeof(tags), "broker:");
    for (const char *p = b->display; *p && used < sizeof(tags) - 1; p++) // a tag has none of , : { } =
        tags[used++] = strchr(",:{}=", *p) ? '_' : *p;
    tags[used] = '\0';
    return metrics_series(s->config.metrics, "proxy_source_errors", METRIC_COUNTER, UNIT_NONE, tags, err);
}

static int broker_setup(struct proxy_source *s, struct broker *b, struct error *err)
{
    struct url url;
    if (url_parse(b->url, "mqtt", &url, err))
        return -1;
    url_display(&url, b->display, sizeof(b->display));
    const char *host = strstr(b->display, "://");
    if (host)
        memmove(b->display, host + 3, strlen(host + 3) + 1);
    b->errors = errors_of(s, b, err);
    json_t *tls = s->config.plan ? observer_tls_settings(s->config.plan, b->url) : NULL;
    b->observer = b->errors ? observer_new_tls(s->config.loop, b->url, tls, err) : NULL;
    json_decref(tls);
    return b->observer ? 0 : -1;
}

static struct broker *broker_of(struct proxy_source *s, const char *url, struct error *err)
{
    unsigned n = 0;
    url = url ? url : s->url;
    for (struct broker *b = s->brokers; b; b = b->next, n++) {
        if (!strcmp(b->url, url))
            return b;
    }
    if (n == BROKERS_MAX) {
        error_set(err, ERR_LIMIT, "physical devices at more than %d brokers", BROKERS_MAX);
        return NULL;
    }
    size_t len = strlen(url) + 1;
    struct broker *b = calloc(1, sizeof(*b) + len);
    if (!b) {
        error_set(err, ERR_NO_MEMORY, "no memory for the broker of physical devices");
        return NULL;
    }
    memcpy(b->url, url, len);
    b->source = s;
    b->retry_us = RETRY_MIN_US;
    if (broker_setup(s, b, err)) {
        free(b);
        return NULL;
    }
    b->next = s->brokers;
    s->brokers = b;
    attempt(b);
    return b;
}

// --- filters

static struct tap **bucket_of(struct proxy_source *s, const struct broker *b, const char *filter)
{
    uint64_t seed = (uint64_t)(uintptr_t)b;
    return &s->buckets[hash_bytes(filter, strlen(filter), seed) % BUCKETS];
}

static void remove_tap(struct proxy_source *s, struct tap *t)
{
    struct tap **at = bucket_of(s, t->broker, t->filter);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    observer_unsubscribe(t->broker->observer, t->ticket);
    free(t);
}

// Removes those that are gone; the tap too when it was the last.
static void sweep(struct proxy_source *s, struct tap *t)
{
    struct listener **at = &t->listeners;
    if (t->busy)
        return;
    while (*at) {
        struct listener *l = *at;
        if (l->fn) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free(l);
    }
    t->last = at;
    if (!t->listeners)
        remove_tap(s, t);
}

static void on_message(void *arg, const struct observer_message *m)
{
    struct tap *t = arg;
    t->busy++;
    struct listener **end = t->last; // whoever comes meanwhile did not hear it
    for (struct listener **at = &t->listeners; at != end; at = &(*at)->next) {
        if ((*at)->fn)
            (*at)->fn((*at)->ctx, m->topic, m->payload, m->payload_len, m->received_us);
    }
    t->busy--;
    sweep(t->broker->source, t);
}

static void on_subscribed(void *arg, const struct error *err)
{
    struct broker *b = arg;
    // Not connected yet, or not any more: the observer subscribes at the next connection, and that is told elsewhere.
    if (err && err->code != ERR_TIMEOUT && err->code != ERR_CANCELLED)
        failed(b, 1, err->text);
}

static struct tap *tap_of(struct proxy_source *s, struct broker *b, const char *filter, int qos, struct error *err)
{
    struct tap **bucket = bucket_of(s, b, filter);
    for (struct tap *t = *bucket; t; t = t->next) {
        if (t->broker == b && t->qos == qos && !strcmp(t->filter, filter))
            return t;
    }
    size_t n = strlen(filter) + 1;
    struct tap *t = calloc(1, sizeof(*t) + n);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a subscription");
        return NULL;
    }
    memcpy(t->filter, filter, n);
    t->broker = b;
    t->qos = qos;
    t->last = &t->listeners;
    t->ticket = observer_subscribe(b->observer, filter, qos, on_message, t, on_subscribed, b, err);
    if (!t->ticket) {
        free(t);
        return NULL;
    }
    t->next = *bucket;
    *bucket = t;
    return t;
}

// --- the operations

static uint64_t subscribe(void *arg, const char *url, const char *filter, int qos, proxy_message_fn *fn, void *ctx,
                          struct error *err)
{
    struct proxy_source *s = arg;
    struct broker *b = broker_of(s, url, err);
    struct tap *t = b ? tap_of(s, b, filter, qos, err) : NULL;
    struct listener *l = t ? calloc(1, sizeof(*l)) : NULL;
    slot_id id = l ? slots_add(s->listeners, l) : 0;
    if (!id) {
        if (t)
            error_set(err, ERR_NO_MEMORY, "no memory for another physical device");
        free(l);
        if (t)
            sweep(s, t);
        return 0;
    }
    *l = (struct listener){.tap = t, .fn = fn, .ctx = ctx};
    *t->last = l;
    t->last = &l->next;
    return id;
}

static void unsubscribe(void *arg, uint64_t ticket)
{
    struct proxy_source *s = arg;
    struct listener *l = slots_remove(s->listeners, ticket);
    if (!l)
        return;
    if (l->endpoint) {
        proxy_endpoint_delete(l->endpoint);
        *l->prev = l->next;
        if (l->next)
            l->next->prev = l->prev;
        free(l);
        return;
    }
    l->fn = NULL;
    sweep(s, l->tap);
}

static struct proxy_endpoints *endpoints_of(struct proxy_source *s, struct error *err)
{
    const struct proxy_endpoints_config config = {.loop = s->config.loop,
                                                  .links = s->config.links,
                                                  .resolver = s->config.resolver,
                                                  .metrics = s->config.metrics,
                                                  .log = s->config.log};
    if (!s->endpoints)
        s->endpoints = proxy_endpoints_new(&config, err);
    return s->endpoints;
}

static uint64_t attach(void *arg, const struct proxy_place *place, proxy_message_fn *fn, void *ctx, struct error *err)
{
    struct proxy_source *s = arg;
    struct proxy_endpoints *all = endpoints_of(s, err);
    struct proxy_endpoint *e = all ? proxy_endpoint_new(all, place, fn, ctx, err) : NULL;
    struct listener *l = e ? calloc(1, sizeof(*l)) : NULL;
    slot_id id = l ? slots_add(s->listeners, l) : 0;
    if (id) {
        *l = (struct listener){.endpoint = e, .next = s->attached, .prev = &s->attached};
        if (l->next)
            l->next->prev = &l->next;
        s->attached = l;
        return id;
    }
    if (e) {
        proxy_endpoint_delete(e);
        error_set(err, ERR_NO_MEMORY, "no memory for another physical device");
    }
    free(l);
    return 0;
}

static int publish(void *arg, const char *url, const char *topic, const void *payload, size_t n, int qos,
                   struct error *err)
{
    struct broker *b = broker_of(arg, url, err);
    return b ? observer_publish(b->observer, topic, payload, n, qos, false, NULL, NULL, err) : -1;
}

const struct proxy_ops *proxy_source_ops(void)
{
    static const struct proxy_ops ops = {
        .subscribe = subscribe, .unsubscribe = unsubscribe, .publish = publish, .attach = attach};
    return &ops;
}

// --- life

struct proxy_source *proxy_source_new(const struct proxy_source_config *config, struct error *err)
{
    struct proxy_source *s = calloc(1, sizeof(*s));
    if (s) {
        s->config = *config;
        s->url = strdup(config->url);
        s->listeners = slots_new(LISTENERS_MAX);
    }
    if (s && s->url && s->listeners)
        return s;
    proxy_source_delete(s);
    error_set(err, ERR_NO_MEMORY, "no memory for physical devices");
    return NULL;
}

void proxy_source_delete(struct proxy_source *s)
{
    if (!s)
        return;
    while (s->brokers) {
        struct broker *b = s->brokers;
        s->brokers = b->next;
        loop_timer_stop(s->config.loop, &b->timer);
        observer_delete(b->observer);
        free(b);
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (s->buckets[i]) {
            struct tap *t = s->buckets[i];
            s->buckets[i] = t->next;
            while (t->listeners) {
                struct listener *l = t->listeners;
                t->listeners = l->next;
                free(l);
            }
            free(t);
        }
    }
    proxy_endpoints_delete(s->endpoints);
    while (s->attached) {
        struct listener *l = s->attached;
        s->attached = l->next;
        free(l);
    }
    slots_delete(s->listeners);
    free(s->url);
    free(s);
}
