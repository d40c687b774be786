// A protocol plugin: the line protocol over TCP, or TLS (URL schemes line and lines).
//
// It shows the life of a connection: connect, shake hands, publish with and without acknowledgement, receive, lose the
// connection and make it anew. Build it with the Makefile or CMakeLists.txt beside it; docs/how-to/write-a-plugin.md
// walks through it.
#include <stdio.h>
#include <stdlib.h>

#include "line.h"

#define ACKS_MAX 64u   // publishes that wait for their acknowledgement
#define GRANTS_MAX 64u // subscriptions whose answer is told at the end of the turn

static const struct iotix_host *host; // the host's functions; the table outlives the plugin

struct adapter_target {
    const struct adapter_env *env;
    struct endpoint *endpoint;
    struct iotix_series *series;
    struct iotix_backoff backoff;
};

enum state { OFFLINE, CONNECTING, ONLINE, WAITING, CLOSING };

struct ack {
    uint32_t number, token;
    int64_t since_us, due_us; // when it began, and when it was meant to
};

struct adapter_conn {
    struct adapter_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct flow *flow;
    struct iotix_timer *timer; // until the next attempt
    struct iotix_timer *soon;  // what may not be told inside a call: it fires as soon as the loop turns
    struct buf in;             // a line that is not whole yet
    struct ack acks[ACKS_MAX];
    struct ack grants[GRANTS_MAX]; // number: the QoS
    unsigned n_acks, n_grants;
    unsigned depth; // of events: the owner may delete the connection inside one
    uint32_t next_number;
    uint64_t random;
    int64_t since_us, due_us;
    unsigned failures;
    enum state state;
    bool was_online, doomed;
};

// --- target

static const char *const own_options[] = {"reconnect", NULL};

static void target_delete(struct adapter_target *t)
{
    if (!t)
        return;
    host->endpoint_delete(t->endpoint);
    if (t->series)
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
    if (host->url_parse(url, 4000, &u, err) || host->options_check(options, own_options, true, err) ||
        host->option_backoff(options, &t->backoff, err) || !(t->series = host->series_new(env, "line", group, err))) {
        target_delete(t);
        return NULL;
    }
    struct iotix_endpoint config = {.size = sizeof config,
                                    .host = u.host,
                                    .port = u.port,
                                    .tls = strcmp(u.scheme, "lines") == 0,
                                    .paced = true,
                                    .handshake = true,
                                    .options = options,
                                    .series = t->series,
                                    .protocol = "line"};
    t->endpoint = host->endpoint_new(env, &config, err);
    if (!t->endpoint) {
        target_delete(t);
        return NULL;
    }
    return t;
}

// --- the life of a connection

static void conn_free(struct adapter_conn *c)
{
    host->timer_delete(c->timer);
    host->timer_delete(c->soon);
    host->flow_delete(c->flow);
    host->buf_destroy(&c->in);
    free(c);
}

static void enter(struct adapter_conn *c)
{
    c->depth++;
}

static void leave(struct adapter_conn *c)
{
    if (--c->depth == 0 && c->doomed)
        conn_free(c);
}

static void drop_acks(struct adapter_conn *c, const struct error *why)
{
    unsigned n = c->n_acks;
    c->n_acks = 0;
    for (unsigned i = 0; i < n; i++) {
        host->metric_hit(c->target->series->publish_errors, true);
        host->series_count(c->target->series, IOTIX_MESSAGE_DROPPED, why->code);
        if (!c->doomed && c->acks[i].token)
            c->events->on_done(c->owner, c->acks[i].token, -1, why);
    }
}

static void lost(struct adapter_conn *c, const struct error *why)
{
    struct iotix_series *s = c->target->series;
    bool online = c->state == ONLINE;
    if (online)
        host->metric_add(s->devices_online, -1);
    else
        host->metric_hit(s->connect_errors, true);
    host->series_count(s, online ? IOTIX_DISCONNECT : IOTIX_CONNECT_FAILURE, why->code);
    host->flow_close(c->flow, false);
    c->in.len = 0;
    c->failures = online ? 1 : c->failures + 1;
    int64_t delay_us = host->backoff_us(&c->target->backoff, c->failures, &c->random);
    c->state = delay_us < 0 ? OFFLINE : WAITING;
    if (delay_us >= 0)
        host->timer_start(c->timer, delay_us);
    drop_acks(c, why);
    if (!c->doomed)
        c->events->on_offline(c->owner, why, delay_us >= 0);
}

// When what is done now was meant to be done.
static int64_t due_us(const struct adapter_env *env)
{
    return IOTIX_HAS(host, due_us) ? host->due_us(env) : host->now_us(env);
}

static int attempt(struct adapter_conn *c, struct error *err)
{
    c->state = CONNECTING;
    c->due_us = due_us(c->target->env);
    c->since_us = host->now_us(c->target->env);
    return host->flow_open(c->flow, err); // waits for its turn
}

static void on_timer(void *arg)
{
    struct adapter_conn *c = arg;
    struct error err;
    enter(c);
    if (c->state == WAITING && attempt(c, &err))
        lost(c, &err);
    leave(c);
}

static void on_soon(void *arg)
{
    struct adapter_conn *c = arg;
    struct error why = {.code = ERR_NONE};
    enter(c);
    unsigned n = c->n_grants;
    c->n_grants = 0;
    for (unsigned i = 0; i < n && !c->doomed; i++)
        c->events->on_done(c->owner, c->grants[i].token, (int)c->grants[i].number, NULL);
    if (c->state == CLOSING) {
        c->state = OFFLINE;
        host->fail(&why, ERR_CANCELLED, "the connection was closed by the device");
        drop_acks(c, &why);
        why = (struct error){.code = ERR_NONE};
        if (!c->doomed)
            c->events->on_offline(c->owner, &why, false);
    }
    leave(c);
}

static void on_open(void *owner)
{
    struct adapter_conn *c = owner;
    struct error err;
    struct buf line;
    host->buf_create(&line, 4096);
    if (host->buf_append(&line, "HELLO ", 6) || c->identity->field(c->owner, FIELD_CLIENT_ID, &line, &err) ||
        host->buf_append(&line, "\n", 1))
        host->fail(&err, ERR_LIMIT, "the client id is too long");
    else if (host->flow_send(c->flow, line.data, line.len, &err) == 0)
        err.code = ERR_NONE;
    host->buf_destroy(&line);
    enter(c);
    if (err.code != ERR_NONE)
        lost(c, &err);
    leave(c);
}

static void online(struct adapter_conn *c)
{
    struct iotix_series *s = c->target->series;
    host->flow_ready(c->flow);
    host->metric_add(s->connects, 1);
    host->metric_hit(s->connect_errors, false);
    int64_t now_us = host->now_us(c->target->env);
    host->metric_sample(s->connect_latency, now_us - c->due_us);
    if (IOTIX_HAS(host, due_us)) {
        host->metric_sample(s->connect_latency_raw, now_us - c->since_us);
        host->metric_sample(s->connect_wait, c->since_us - c->due_us);
    }
    host->metric_add(s->devices_online, 1);
    if (c->was_online)
        host->metric_add(s->reconnects, 1);
    c->was_online = true;
    c->failures = 0;
    c->state = ONLINE;
    c->events->on_online(c->owner, false);
}

static void acknowledged(struct adapter_conn *c, uint32_t number)
{
    struct iotix_series *s = c->target->series;
    for (unsigned i = 0; i < c->n_acks; i++) {
        struct ack a = c->acks[i];
        if (a.number != number)
            continue;
        c->acks[i] = c->acks[--c->n_acks];
        host->metric_add(s->messages_acked, 1);
        host->metric_hit(s->publish_errors, false);
        host->metric_sample(s->publish_latency, host->now_us(c->target->env) - a.due_us);
        if (IOTIX_HAS(host, due_us))
            host->metric_sample(s->publish_latency_raw, host->now_us(c->target->env) - a.since_us);
        if (a.token)
            c->events->on_done(c->owner, a.token, -1, NULL);
        return;
    }
}

static void message(struct adapter_conn *c, const char *text, size_t n)
{
    const char *blank = memchr(text, ' ', n);
    size_t topic_len = blank ? (size_t)(blank - text) : n;
    struct adapter_message m = {.topic = text, .topic_len = topic_len};
    if (blank) {
        m.payload = (const uint8_t *)blank + 1;
        m.payload_len = n - topic_len - 1;
    }
    host->metric_add(c->target->series->messages_received, 1);
    c->events->on_message(c->owner, &m);
}

static void handle(struct adapter_conn *c, const char *line, size_t n)
{
    struct error err;
    char number[16] = "";
    if (c->state == CONNECTING && n == 2 && memcmp(line, "OK", 2) == 0) {
        online(c);
    } else if (c->state == CONNECTING && n > 3 && memcmp(line, "NO ", 3) == 0) {
        host->fail(&err, ERR_REFUSED, "refused: %.*s", (int)(n - 3), line + 3);
        lost(c, &err);
    } else if (c->state == ONLINE && n > 4 && n < 4 + sizeof number && memcmp(line, "ACK ", 4) == 0) {
        memcpy(number, line + 4, n - 4);
        acknowledged(c, (uint32_t)strtoul(number, NULL, 10));
    } else if (c->state == ONLINE && n > 4 && memcmp(line, "MSG ", 4) == 0) {
        message(c, line + 4, n - 4);
    } else {
        host->fail(&err, ERR_PROTOCOL, "a line that is none here: \"%.*s\"", (int)(n < 60 ? n : 60), line);
        lost(c, &err);
    }
}

static void on_data(void *owner, const uint8_t *bytes, size_t n)
{
    struct adapter_conn *c = owner;
    struct error err;
    uint32_t from = 0;
    host->metric_add(c->target->series->bytes_received, (double)n);
    enter(c);
    if (host->buf_append(&c->in, bytes, n)) {
        host->fail(&err, ERR_PROTOCOL, "a line of more than %u bytes", LINE_MAX_BYTES);
        lost(c, &err);
    }
    while (!c->doomed && (c->state == CONNECTING || c->state == ONLINE)) {
        const char *line = (const char *)c->in.data + from;
        const char *end = c->in.len > from ? memchr(line, '\n', c->in.len - from) : NULL;
        if (!end)
            break;
        from += (uint32_t)(end - line) + 1;
        handle(c, line, (size_t)(end - line));
    }
    if (c->in.len)
        host->buf_consume(&c->in, from);
    leave(c);
}

static void on_close(void *owner, const struct error *why)
{
    struct adapter_conn *c = owner;
    enter(c);
    lost(c, why);
    leave(c);
}

static const struct iotix_flow_events flow_events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

// --- what the host calls

static struct adapter_conn *conn_new(struct adapter_target *t, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    struct adapter_conn *c = calloc(1, sizeof *c);
    if (!c) {
        host->fail(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    c->target = t;
    c->events = events;
    c->identity = identity;
    c->owner = owner;
    c->random = seed;
    host->buf_create(&c->in, LINE_MAX_BYTES);
    c->timer = host->timer_new(t->env, on_timer, c);
    c->flow = host->flow_new(t->endpoint, &flow_events, c, identity, owner, err);
    c->soon = host->timer_new(t->env, on_soon, c);
    if (c->timer && c->soon && c->flow)
        return c;
    if (c->flow)
        host->fail(err, ERR_NO_MEMORY, "no memory for a timer");
    conn_free(c);
    return NULL;
}

static void conn_delete(struct adapter_conn *c)
{
    struct error why;
    if (!c || c->doomed)
        return;
    c->doomed = true;
    if (c->state == ONLINE) {
        host->metric_add(c->target->series->devices_online, -1);
        host->series_count(c->target->series, IOTIX_DISCONNECT, ERR_NONE);
    }
    host->fail(&why, ERR_CANCELLED, "the connection was deleted");
    drop_acks(c, &why);
    if (!c->depth)
        conn_free(c);
}

static int conn_open(struct adapter_conn *c, struct error *err)
{
    if (c->state != OFFLINE)
        return host->fail(err, ERR_STATE, "it is connecting or connected already");
    c->failures = 0;
    return attempt(c, err);
}

static void conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    if (c->state == OFFLINE || c->state == CLOSING)
        return;
    if (c->state == ONLINE) {
        host->metric_add(c->target->series->devices_online, -1);
        host->series_count(c->target->series, IOTIX_DISCONNECT, ERR_NONE);
    }
    host->flow_close(c->flow, mode == ADAPTER_GRACEFUL);
    c->in.len = 0;
    c->state = CLOSING;
    host->timer_stop(c->timer);
    host->timer_start(c->soon, 0); // the news comes from the loop
}

static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    char head[40];
    struct buf line;
    if (c->state != ONLINE)
        return host->fail(err, ERR_STATE, "not connected");
    if (m->meta)
        return host->fail(err, ERR_UNSUPPORTED, "the line protocol carries topic and payload only");
    if (!line_topic(m->topic, m->topic_len) || (m->payload_len && memchr(m->payload, '\n', m->payload_len)))
        return host->fail(err, ERR_INVALID, "the line protocol carries no blank in a topic and no line feed");
    if (m->qos && c->n_acks == ACKS_MAX)
        return host->fail(err, ERR_LIMIT, "%u messages wait for their acknowledgement", ACKS_MAX);
    uint32_t number = m->qos ? ++c->next_number : 0;
    int n = snprintf(head, sizeof head, m->qos ? "PUB%u " : "PUB ", number);
    host->buf_create(&line, LINE_MAX_BYTES);
    int rc = host->buf_append(&line, head, (size_t)n) || host->buf_append(&line, m->topic, m->topic_len) ||
                     host->buf_append(&line, " ", 1) || host->buf_append(&line, m->payload, m->payload_len) ||
                     host->buf_append(&line, "\n", 1)
                 ? host->fail(err, ERR_LIMIT, "a line holds at most %u bytes", LINE_MAX_BYTES)
                 : host->flow_send(c->flow, line.data, line.len, err);
    if (rc == 0) {
        host->metric_add(c->target->series->messages_sent, 1);
        host->metric_add(c->target->series->bytes_sent, line.len);
        if (m->qos)
            c->acks[c->n_acks++] = (struct ack){number, token, host->now_us(c->target->env), due_us(c->target->env)};
    }
    host->buf_destroy(&line);
    return rc;
}

// The server sends what it sends, so a subscription is granted as it is; but not inside the call.
static int subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    (void)filter;
    if (c->state != ONLINE)
        return host->fail(err, ERR_STATE, "not connected");
    if (token && c->n_grants == GRANTS_MAX)
        return host->fail(err, ERR_LIMIT, "%u subscriptions in a turn", GRANTS_MAX);
    if (token) {
        c->grants[c->n_grants++] = (struct ack){.number = (uint32_t)qos, .token = token};
        host->timer_start(c->soon, 0);
    }
    return 0;
}

static int unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    return subscribe(c, filter, 0, token, err);
}

static unsigned pending(const struct adapter_conn *c)
{
    return c->n_acks + (host->flow_unsent(c->flow) > 0);
}

static size_t footprint(const struct adapter_conn *c)
{
    return sizeof *c + c->in.size + host->flow_footprint(c->flow);
}

static void conn_freeze(struct adapter_conn *c, bool frozen)
{
    host->flow_pause(c->flow, frozen);
}

static void conn_path(struct adapter_conn *c, struct path *path)
{
    host->flow_path(c->flow, path);
}

const struct adapter_ops *iotix_adapter(const struct iotix_host *table)
{
    static const char *const schemes[] = {"line", "lines", NULL};
    static const struct adapter_ops ops = {.abi = ADAPTER_ABI,
                                           .size = sizeof ops,
                                           .name = "line",
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
                                           .conn_freeze = conn_freeze,
                                           .conn_path = conn_path};
    if (table->abi != ADAPTER_ABI || !IOTIX_HAS(table, flow_path))
        return NULL; // an older host: what is used here is not there
    host = table;
    return &ops;
}
