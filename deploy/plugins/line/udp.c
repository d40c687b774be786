// A protocol plugin without connections: the line protocol over UDP (URL scheme line+udp). A datagram is a line. What
// is sent is not acknowledged, so QoS 1 and 2 are refused; a device is online as soon as its socket is there.
#include <stdio.h>
#include <stdlib.h>

#include "line.h"

static const struct iotix_host *host;

struct adapter_target {
    const struct adapter_env *env;
    struct endpoint *endpoint;
    struct iotix_series *series;
};

enum state { OFFLINE, OPENING, ONLINE, CLOSING };

struct adapter_conn {
    struct adapter_target *target;
    const struct adapter_events *events;
    void *owner;
    struct flow *flow;
    struct iotix_timer *soon; // tells the end of a close, which may not come inside the call
    enum state state;
};

static void target_delete(struct adapter_target *t)
{
    if (!t)
        return;
    host->endpoint_delete(t->endpoint);
    host->series_delete(t->series);
    free(t);
}

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    struct iotix_url u;
    struct adapter_target *t = calloc(1, sizeof *t);
    if (!t) {
        host->fail(err, ERR_NO_MEMORY, "no memory for a target");
        return NULL;
    }
    t->env = env;
    if (host->url_parse(url, 4000, &u, err) == 0 && host->options_check(options, NULL, true, err) == 0 &&
        (t->series = host->series_new(env, "line-udp", group, err))) {
        struct iotix_endpoint config = {.size = sizeof config,
                                        .host = u.host,
                                        .port = u.port,
                                        .datagram = true,
                                        .paced = true,
                                        .options = options,
                                        .series = t->series,
                                        .protocol = "line-udp"};
        t->endpoint = host->endpoint_new(env, &config, err);
    }
    if (t->endpoint)
        return t;
    target_delete(t);
    return NULL;
}

static void offline(struct adapter_conn *c, const struct error *why)
{
    if (c->state == ONLINE)
        host->metric_add(c->target->series->devices_online, -1);
    host->flow_close(c->flow, why->code == ERR_NONE);
    c->state = OFFLINE;
    c->events->on_offline(c->owner, why, false);
}

static void on_open(void *owner)
{
    struct adapter_conn *c = owner;
    host->metric_add(c->target->series->connects, 1);
    host->metric_hit(c->target->series->connect_errors, false);
    host->metric_add(c->target->series->devices_online, 1);
    c->state = ONLINE;
    c->events->on_online(c->owner, false);
}

static void on_data(void *owner, const uint8_t *bytes, size_t n)
{
    struct adapter_conn *c = owner;
    const char *line = (const char *)bytes;
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    if (n < 5 || memcmp(line, "MSG ", 4) != 0)
        return; // not for us: a datagram can come from anywhere
    const char *topic = line + 4, *blank = memchr(topic, ' ', n - 4);
    struct adapter_message m = {.topic = topic, .topic_len = blank ? (size_t)(blank - topic) : n - 4};
    if (blank) {
        m.payload = (const uint8_t *)blank + 1;
        m.payload_len = (size_t)(line + n - blank) - 1;
    }
    host->metric_add(c->target->series->messages_received, 1);
    c->events->on_message(c->owner, &m);
}

static void on_close(void *owner, const struct error *why)
{
    struct adapter_conn *c = owner;
    host->metric_hit(c->target->series->connect_errors, true);
    host->series_count(c->target->series, IOTIX_CONNECT_FAILURE, why->code);
    offline(c, why);
}

// Nobody listens there: the datagram is lost, as it would be on the way.
static void on_error(void *owner, const struct error *why)
{
    struct adapter_conn *c = owner;
    host->metric_hit(c->target->series->publish_errors, true);
    host->series_count(c->target->series, IOTIX_MESSAGE_DROPPED, why->code);
}

static const struct iotix_flow_events flow_events = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close, .on_error = on_error};

static void on_soon(void *arg)
{
    struct error none = {.code = ERR_NONE};
    offline(arg, &none);
}

static struct adapter_conn *conn_new(struct adapter_target *t, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    struct adapter_conn *c = calloc(1, sizeof *c);
    (void)seed;
    if (!c) {
        host->fail(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    c->target = t;
    c->events = events;
    c->owner = owner;
    c->soon = host->timer_new(t->env, on_soon, c);
    c->flow = c->soon ? host->flow_new(t->endpoint, &flow_events, c, identity, owner, err) : NULL;
    if (c->flow)
        return c;
    if (!c->soon)
        host->fail(err, ERR_NO_MEMORY, "no memory for a timer");
    host->timer_delete(c->soon);
    free(c);
    return NULL;
}

static void conn_delete(struct adapter_conn *c)
{
    if (!c)
        return;
    if (c->state == ONLINE)
        host->metric_add(c->target->series->devices_online, -1);
    host->flow_delete(c->flow);
    host->timer_delete(c->soon);
    free(c); // nothing above looks at it after an event
}

static int conn_open(struct adapter_conn *c, struct error *err)
{
    if (c->state != OFFLINE)
        return host->fail(err, ERR_STATE, "it is open already");
    c->state = OPENING;
    return host->flow_open(c->flow, err);
}

static void conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    if (c->state == OFFLINE || c->state == CLOSING)
        return;
    if (c->state == ONLINE)
        host->metric_add(c->target->series->devices_online, -1);
    host->flow_close(c->flow, mode == ADAPTER_GRACEFUL);
    c->state = CLOSING;
    host->timer_start(c->soon, 0);
}

static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct buf line;
    (void)token; // QoS 0 has no acknowledgement
    if (c->state != ONLINE)
        return host->fail(err, ERR_STATE, "not connected");
    if (m->qos || m->meta)
        return host->fail(err, ERR_UNSUPPORTED, "the line protocol over UDP has QoS 0 and plain messages only");
    if (!line_topic(m->topic, m->topic_len))
        return host->fail(err, ERR_INVALID, "the line protocol carries no blank in a topic");
    host->buf_create(&line, 65507); // the largest datagram
    int rc = host->buf_append(&line, "PUB ", 4) || host->buf_append(&line, m->topic, m->topic_len) ||
                     host->buf_append(&line, " ", 1) || host->buf_append(&line, m->payload, m->payload_len)
                 ? host->fail(err, ERR_LIMIT, "a datagram holds at most 65507 bytes")
                 : host->flow_send(c->flow, line.data, line.len, err);
    if (rc == 0) {
        host->metric_add(c->target->series->messages_sent, 1);
        host->metric_hit(c->target->series->publish_errors, false);
        host->metric_add(c->target->series->bytes_sent, line.len);
    }
    host->buf_destroy(&line);
    return rc;
}

static int subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    (void)c, (void)qos, (void)token;
    return host->fail(err, ERR_UNSUPPORTED, "%s: the line protocol over UDP has no subscriptions", filter);
}

static int unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    return subscribe(c, filter, 0, token, err);
}

static unsigned pending(const struct adapter_conn *c)
{
    return host->flow_unsent(c->flow) > 0;
}

static size_t footprint(const struct adapter_conn *c)
{
    return sizeof *c + host->flow_footprint(c->flow);
}

static void conn_path(struct adapter_conn *c, struct path *path)
{
    host->flow_path(c->flow, path);
}

const struct adapter_ops *iotix_adapter(const struct iotix_host *table)
{
    static const char *const schemes[] = {"line+udp", NULL};
    static const struct adapter_ops ops = {.abi = ADAPTER_ABI,
                                           .size = sizeof ops,
                                           .name = "line-udp",
                                           .schemes = schemes,
                                           .target_new = target_new,
                                           .target_delete = target_delete,
                                           .conn_new = conn_new,
                                           .conn_delete = conn_delete,
                                           .conn_open = conn_open,
                                           .conn_close = conn_close,
                                           .publish = publish,
                                           .subscribe = subscribe,
                                           .unsubscribe = unsubscribe,
                                           .pending = pending,
                                           .footprint = footprint,
                                           .conn_path = conn_path};
    if (table->abi != ADAPTER_ABI || !IOTIX_HAS(table, flow_path))
        return NULL;
    host = table;
    return &ops;
}
