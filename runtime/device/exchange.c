// What a device does on its connection beside messages: requests, serving, subscriptions of MQTT 5, and the renewal of
// a connection whose credential is about to expire.
#include <stdlib.h>
#include <string.h>
#include "device/command.h"
#include "device/credentials.h"
#include "device/internal.h"

#define RENEWAL_SPREAD 0.05   // of the time until it is due, to both sides
#define RENEWAL_LOOK_US 50000 // how often a renewal that is due looks whether everything is acknowledged
#define RENEWAL_PATIENCE_US 2000000

static const struct device_ops *ops(const struct device *d)
{
    return d->group->fleet->config.ops;
}

static void *ops_arg(const struct device *d)
{
    return d->group->fleet->config.ops_arg;
}

// Whoever acts for the device: its behaviour, or what a hook of its model has made.
static bool has_ear(const struct device *d)
{
    return ops(d) && (d->flags & FLAG_BEHAVIOUR || d->behaviour);
}

static int lacks(const struct device *d, const char *what, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "the %s adapter has no %s", d->group->adapter->name, what);
}

static bool active(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

// --- what a behaviour asks for

int device_subscribe_with(struct device *d, const struct adapter_subscription *s, uint32_t token, struct error *err)
{
    const struct adapter_ops *adapter = d->group->adapter;
    bool plain = !s->no_local && !s->retain_as_published && !s->retain_handling && !s->identifier;
    if (device_usable(d, err))
        return -1;
    if (ADAPTER_HAS(adapter, subscribe_with))
        return adapter->subscribe_with(d->conn, s, token, err);
    return plain ? adapter->subscribe(d->conn, s->filter, s->qos, token, err) : lacks(d, "subscription options", err);
}

int device_request(struct device *d, const struct adapter_request *request, uint32_t token, struct error *err)
{
    const struct adapter_ops *adapter = d->group->adapter;
    if (!ADAPTER_HAS(adapter, request))
        return lacks(d, "requests", err);
    return device_usable(d, err) ? -1 : adapter->request(d->conn, request, token, err);
}

void device_request_cancel(struct device *d, uint32_t token)
{
    if (d->conn && ADAPTER_HAS(d->group->adapter, request_cancel))
        d->group->adapter->request_cancel(d->conn, token);
}

int device_serve_path(struct device *d, const char *path, const json_t *attributes, struct error *err)
{
    if (!ADAPTER_HAS(d->group->adapter, serve))
        return lacks(d, "serve", err);
    if (!active(d))
        return error_set(err, ERR_STATE, "the device is %s", device_state_name((enum device_state)d->state));
    return device_make_conn(d, err) ? -1 : d->group->adapter->serve(d->conn, path, attributes, err);
}

int device_serve(struct device *d, const char *path, const json_t *attributes, struct error *err)
{
    if (commands_serve_at(d, path, strlen(path)))
        return error_set(err, ERR_INVALID, "%s is served for the commands of its model", path);
    return device_serve_path(d, path, attributes, err);
}

void device_unserve(struct device *d, const char *path)
{
    if (d->conn && ADAPTER_HAS(d->group->adapter, unserve) && !commands_serve_at(d, path, strlen(path)))
        d->group->adapter->unserve(d->conn, path);
}

int device_notify(struct device *d, const char *path, struct error *err)
{
    if (!ADAPTER_HAS(d->group->adapter, notify))
        return lacks(d, "notifications of what it serves", err);
    return d->conn ? d->group->adapter->notify(d->conn, path, err)
                   : error_set(err, ERR_STATE, "the device serves nothing");
}

int device_respond(struct device *d, uint64_t ticket, const struct adapter_response *response, struct error *err)
{
    if (!ADAPTER_HAS(d->group->adapter, respond))
        return lacks(d, "serve", err);
    return d->conn ? d->group->adapter->respond(d->conn, ticket, response, err)
                   : error_set(err, ERR_NOT_FOUND, "the client is gone");
}

int device_served_at(struct device *d, struct buf *out, struct error *err)
{
    if (!ADAPTER_HAS(d->group->adapter, served_at))
        return lacks(d, "serve", err);
    return d->conn ? d->group->adapter->served_at(d->conn, out, err)
                   : error_set(err, ERR_STATE, "the device serves nothing");
}

// --- what the adapter tells

static bool enter(struct device *d)
{
    bool inside = (d->flags & FLAG_IN_EVENT) != 0;
    d->flags |= FLAG_IN_EVENT;
    return inside;
}

static void leave(struct device *d, bool inside)
{
    if (!inside)
        d->flags &= ~(unsigned)FLAG_IN_EVENT;
}

void exchange_response(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err)
{
    struct device *d = owner;
    bool inside = enter(d);
    if (has_ear(d) && ops(d)->response)
        ops(d)->response(ops_arg(d), d, token, response, err);
    leave(d, inside);
}

void device_refuse(struct device *d, uint64_t ticket, unsigned status, const char *text)
{
    struct adapter_response r = {.status = status, .payload = (const uint8_t *)text, .payload_len = strlen(text)};
    struct error err;
    if (device_respond(d, ticket, &r, &err))
        return; // the client is gone: nobody misses it
}

void exchange_request(void *owner, uint64_t ticket, const struct adapter_request *request)
{
    struct device *d = owner;
    struct error err = {0};
    bool inside = enter(d);
    if (!active(d)) {
        error_set(&err, ERR_STATE, "the device is %s", device_state_name((enum device_state)d->state));
        device_refuse(d, ticket, 503, err.text);
    } else if (!commands_request(d, ticket, request)) {
        error_set(&err, ERR_NOT_FOUND, "nobody serves %.*s here",
                  (int)(request->path_len < 200 ? request->path_len : 200), request->path);
        if (!has_ear(d) || !ops(d)->request || ops(d)->request(ops_arg(d), d, ticket, request, &err))
            device_refuse(d, ticket, err.code == ERR_LIMIT ? 503 : 404, err.text);
    }
    leave(d, inside);
}

int exchange_auth(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct device *d = owner;
    bool inside = enter(d);
    int rc = has_ear(d) && ops(d)->auth
                 ? ops(d)->auth(ops_arg(d), d, data, n, reply, err)
                 : error_set(err, ERR_NOT_FOUND,
                             "authMethod is set, but nobody answers: the behaviour needs dev:on(\"auth\", fn)");
    leave(d, inside);
    return rc;
}

// --- renewal of credentials

struct renewal {
    struct timer timer;
    struct device *device;
    int64_t patience_us; // loop time at which it no longer waits for acknowledgements
};

static struct loop *loop_of(const struct device *d)
{
    return d->group->fleet->config.env.loop;
}

static void count_renewal(struct group *g)
{
    struct metrics *metrics = g->fleet->config.env.metrics;
    struct error err;
    struct buf tags;
    if (!metrics)
        return;
    buf_create(&tags, 1024);
    if (!g->credential_refreshes && !buf_printf(&tags, "group:%s,protocol:%s", g->config.name, g->adapter->name))
        g->credential_refreshes =
            metrics_series(metrics, "credential_refreshes", METRIC_COUNTER, UNIT_NONE, buf_cstr(&tags), &err);
    buf_destroy(&tags);
    if (g->credential_refreshes)
        counter_add(g->credential_refreshes, 1);
}

static void renewal_due(struct timer *t, void *loop)
{
    struct renewal *r = container_of(t, struct renewal, timer);
    struct device *d = r->device;
    struct error err;
    int64_t now = loop_now_us(loop);
    if (!active(d) || !device_online(d))
        return; // what comes online next begins anew
    if (!r->patience_us)
        r->patience_us = now + RENEWAL_PATIENCE_US;
    if (d->group->adapter->pending(d->conn) && now < r->patience_us) {
        loop_timer_start(loop, t, RENEWAL_LOOK_US, renewal_due);
        return;
    }
    if (!d->group->adapter->conn_renew(d->conn, &err))
        count_renewal(d->group);
}

void renewal_begin(struct device *d)
{
    int64_t after_us = credentials_renew_us(d->group->credentials);
    struct rng rng;
    if (!after_us || !ADAPTER_HAS(d->group->adapter, conn_renew))
        return;
    if (!d->renewal && !(d->renewal = calloc(1, sizeof(*d->renewal))))
        return; // without memory the broker will end it, and the adapter comes back with a new one
    d->renewal->device = d;
    d->renewal->patience_us = 0;
    rng_seed(&rng, hash_bytes(&d->id, sizeof(d->id), (uint64_t)loop_now_us(loop_of(d))));
    double spread = 1 + RENEWAL_SPREAD * (2 * rng_unit(&rng) - 1);
    loop_timer_start(loop_of(d), &d->renewal->timer, (int64_t)((double)after_us * spread), renewal_due);
}

void renewal_end(struct device *d)
{
    if (!d->renewal)
        return;
    loop_timer_stop(loop_of(d), &d->renewal->timer);
    free(d->renewal);
    d->renewal = NULL;
}

size_t renewal_footprint(const struct device *d)
{
    return d->renewal ? sizeof(*d->renewal) : 0;
}
