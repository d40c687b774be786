// A fake adapter on a virtual clock: connections do what the test says, and complain about what an owner must not do
// (open or delete inside the connection's own event, close twice, use after delete).
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/device.h"

enum fake_state { FAKE_OFF, FAKE_CONNECTING, FAKE_ON, FAKE_RETRYING };

struct adapter_target {
    char url[256];
};

// A request that was asked, or what a path is served for: answered or asked by the test (fake_respond, fake_ask).
struct fake_request {
    struct fake_request *next;
    struct adapter_conn *conn;
    uint32_t token;
    char method[16], path[256], payload[256], headers[512], options[512];
    int64_t timeout_us;
};

struct adapter_conn {
    struct adapter_conn *next, **prev;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    uint64_t seed;
    enum fake_state state;
    bool closing, in_event, frozen;
    enum adapter_close how;
    unsigned pending;
    struct adapter_target *target;
    char served[12][64];
    unsigned notified;
};

typedef void fake_publish_fn(void *arg, struct device *d, const struct adapter_message *m);

struct fake {
    struct loop *loop;
    struct loop_hook hook; // as an adapter's: answers in the turn of the call, after Lua and before the fleet
    struct adapter_conn *conns;
    unsigned n_conns, n_targets, opens, closes, abrupt_deletes, subscribes;
    bool auto_online, refuse_open, refuse_new, bad_topic;
    const char *bad_filter; // refused are filters that hold it
    unsigned new_pending;   // pending of every connection from its first publish on
    char last_filter[256];
    uint64_t published;
    fake_publish_fn *on_publish;
    void *on_publish_arg;
    struct fake_request *requests; // asked and not answered, latest first
    unsigned n_requests, n_cancelled;
    char last_options[1024], last_meta[512]; // of a target; of a publish or a subscription
    unsigned answered;                       // status of the last respond(), its body and headers
    char answer[512], answer_headers[256];
};

static struct fake fake; // the adapter interface has no place for a test's own

static struct adapter_target *fake_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                              const char *group, struct error *err)
{
    (void)env, (void)group;
    if (json_object_get(options, "bad")) {
        error_set(err, ERR_INVALID, "unknown option \"bad\"");
        return NULL;
    }
    struct adapter_target *t = calloc(1, sizeof(*t));
    char *text = options ? json_dumps(options, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    assert_non_null(t);
    fake.n_targets++;
    snprintf(t->url, sizeof(t->url), "%s", url);
    snprintf(fake.last_options, sizeof(fake.last_options), "%s", text ? text : "");
    free(text);
    return t;
}

static void fake_target_delete(struct adapter_target *t)
{
    fake.n_targets--;
    free(t);
}

static struct adapter_conn *fake_conn_new(struct adapter_target *t, const struct adapter_events *events,
                                          const struct adapter_identity *identity, void *owner, uint64_t seed,
                                          struct error *err)
{
    if (fake.refuse_new) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    struct adapter_conn *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    *c = (struct adapter_conn){.events = events, .identity = identity, .owner = owner, .seed = seed, .target = t};
    c->next = fake.conns;
    c->prev = &fake.conns;
    if (c->next)
        c->next->prev = &c->next;
    fake.conns = c;
    fake.n_conns++;
    return c;
}

static void fake_forget_requests(const struct adapter_conn *c, uint32_t token)
{
    for (struct fake_request **at = &fake.requests; *at;) {
        struct fake_request *r = *at;
        if (r->conn != c || (token && r->token != token)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        free(r);
    }
}

static void fake_conn_delete(struct adapter_conn *c)
{
    assert_false(c->in_event);
    assert_false(c->frozen);
    fake_forget_requests(c, 0);
    if (c->state != FAKE_OFF)
        fake.abrupt_deletes++;
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    fake.n_conns--;
    free(c);
}

static int fake_conn_open(struct adapter_conn *c, struct error *err)
{
    assert_false(c->in_event);
    if (c->state != FAKE_OFF)
        return error_set(err, ERR_STATE, "already open");
    if (fake.refuse_open)
        return error_set(err, ERR_LIMIT, "no descriptor left");
    c->state = FAKE_CONNECTING;
    fake.opens++;
    loop_again(fake.loop);
    return 0;
}

static void fake_conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    assert_false(c->closing);
    assert_int_not_equal(c->state, FAKE_OFF);
    c->closing = true;
    c->how = mode;
    loop_again(fake.loop);
    fake.closes++;
}

// Side connections of the script room have an owner that is no device: their targets are "side://…".
static bool fake_is_side(const struct adapter_conn *c)
{
    return !strncmp(c->target->url, "side", 4) || !strncmp(c->target->url, "http", 4) ||
           !strncmp(c->target->url, "coap", 4);
}

static void fake_properties(char *dst, size_t size, const struct adapter_property *p, unsigned n)
{
    size_t used = 0;
    dst[0] = '\0';
    for (unsigned i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(dst + used, size - used, "%s%.*s=%.*s", i ? ";" : "", (int)p[i].name_len, p[i].name,
                                 (int)p[i].value_len, p[i].value);
}

static void fake_keep_meta(const struct adapter_meta *m)
{
    char user[256];
    fake.last_meta[0] = '\0';
    if (!m)
        return;
    fake_properties(user, sizeof(user), m->user, m->n_user);
    snprintf(fake.last_meta, sizeof(fake.last_meta),
             "type=%.*s reply=%.*s correlation=%.*s expiry=%d:%u alias=%d text=%d %s", (int)m->content_type_len,
             m->content_type ? m->content_type : "", (int)m->response_topic_len,
             m->response_topic ? m->response_topic : "", (int)m->correlation_len,
             m->correlation ? (const char *)m->correlation : "", m->has_expiry, m->expiry_s, m->alias, m->payload_text,
             user);
}

static int fake_publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    (void)token;
    if (c->state != FAKE_ON)
        return error_set(err, ERR_STATE, "not connected");
    if (fake.bad_topic)
        return error_set(err, ERR_INVALID, "bad topic");
    fake.published++;
    c->pending = fake.new_pending;
    fake_keep_meta(m->meta);
    if (fake.on_publish && !fake_is_side(c))
        fake.on_publish(fake.on_publish_arg, c->owner, m);
    return 0;
}

static int fake_subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    (void)c, (void)qos, (void)token;
    if (fake.bad_filter && strstr(filter, fake.bad_filter))
        return error_set(err, ERR_INVALID, "bad filter");
    fake.subscribes++;
    snprintf(fake.last_filter, sizeof(fake.last_filter), "%s", filter);
    return 0;
}

static int fake_unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    (void)c, (void)filter, (void)token, (void)err;
    return 0;
}

static unsigned fake_pending(const struct adapter_conn *c)
{
    return c->pending;
}

static size_t fake_footprint(const struct adapter_conn *c)
{
    (void)c;
    return offsetof(struct adapter_conn, served); // what is kept for the tests is none of its
}

static void fake_conn_freeze(struct adapter_conn *c, bool frozen)
{
    assert_false(c->in_event && frozen);
    c->frozen = frozen;
}

static int fake_subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err);

static int fake_subscribe_with(struct adapter_conn *c, const struct adapter_subscription *sub, uint32_t token,
                               struct error *err)
{
    if (fake_subscribe(c, sub->filter, sub->qos, token, err))
        return -1;
    snprintf(fake.last_meta, sizeof(fake.last_meta), "no_local=%d as_published=%d handling=%d id=%u", sub->no_local,
             sub->retain_as_published, sub->retain_handling, sub->identifier);
    return 0;
}

static int fake_request(struct adapter_conn *c, const struct adapter_request *request, uint32_t token,
                        struct error *err)
{
    if (c->state != FAKE_ON)
        return error_set(err, ERR_STATE, "not connected");
    if (json_object_get(request->options, "bad"))
        return error_set(err, ERR_INVALID, "unknown option \"bad\"");
    struct fake_request *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->conn = c;
    r->token = token;
    r->timeout_us = request->timeout_us;
    snprintf(r->method, sizeof(r->method), "%s", request->method);
    snprintf(r->path, sizeof(r->path), "%.*s", (int)request->path_len, request->path);
    snprintf(r->payload, sizeof(r->payload), "%.*s", (int)request->payload_len,
             request->payload ? (const char *)request->payload : "");
    fake_properties(r->headers, sizeof(r->headers), request->headers, request->n_headers);
    char *text = request->options ? json_dumps(request->options, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    snprintf(r->options, sizeof(r->options), "%s", text ? text : "");
    free(text);
    r->next = fake.requests;
    fake.requests = r;
    fake.n_requests++;
    return 0;
}

static void fake_request_cancel(struct adapter_conn *c, uint32_t token)
{
    fake.n_cancelled++;
    fake_forget_requests(c, token);
}

static int fake_serve(struct adapter_conn *c, const char *path, const json_t *attributes, struct error *err)
{
    if (json_object_get(attributes, "rt") && !strcmp(json_string_value(json_object_get(attributes, "rt")), "bad"))
        return error_set(err, ERR_INVALID, "bad attribute");
    for (unsigned i = 0; i < 12; i++)
        if (!c->served[i][0]) {
            snprintf(c->served[i], sizeof(c->served[i]), "%s", path);
            return 0;
        }
    return error_set(err, ERR_LIMIT, "no more paths");
}

static void fake_unserve(struct adapter_conn *c, const char *path)
{
    for (unsigned i = 0; i < 12; i++)
        if (!strcmp(c->served[i], path))
            c->served[i][0] = '\0';
}

static int fake_respond(struct adapter_conn *c, uint64_t ticket, const struct adapter_response *r, struct error *err)
{
    (void)c;
    if (ticket == 404)
        return error_set(err, ERR_NOT_FOUND, "the client is gone");
    fake.answered = r->status;
    snprintf(fake.answer, sizeof(fake.answer), "%.*s", (int)r->payload_len, r->payload ? (const char *)r->payload : "");
    fake_properties(fake.answer_headers, sizeof(fake.answer_headers), r->headers, r->n_headers);
    return 0;
}

static int fake_notify(struct adapter_conn *c, const char *path, struct error *err)
{
    (void)path, (void)err;
    c->notified++;
    return 0;
}

static int fake_served_at(struct adapter_conn *c, struct buf *out, struct error *err)
{
    (void)c;
    return buf_append_str(out, "fake://served") ? error_set(err, ERR_LIMIT, "too long") : 0;
}

static const char *const fake_schemes[] = {"fake", NULL};
static const struct adapter_ops fake_ops = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "fake",
    .schemes = fake_schemes,
    .target_new = fake_target_new,
    .target_delete = fake_target_delete,
    .conn_new = fake_conn_new,
    .conn_delete = fake_conn_delete,
    .conn_open = fake_conn_open,
    .conn_close = fake_conn_close,
    .publish = fake_publish,
    .subscribe = fake_subscribe,
    .unsubscribe = fake_unsubscribe,
    .pending = fake_pending,
    .footprint = fake_footprint,
    .conn_freeze = fake_conn_freeze,
    .subscribe_with = fake_subscribe_with,
    .request = fake_request,
    .request_cancel = fake_request_cancel,
    .serve = fake_serve,
    .unserve = fake_unserve,
    .respond = fake_respond,
    .notify = fake_notify,
    .served_at = fake_served_at,
};
// The same under the names of the real ones, which what goes to them depends on.
static inline struct adapter_ops fake_as(const char *name)
{
    struct adapter_ops ops = fake_ops;
    ops.name = name;
    return ops;
}
static const struct adapter_ops fake_old_ops = {
    .abi = ADAPTER_ABI + 1, .size = sizeof(struct adapter_ops), .name = "old"};
static const char *const fake_names[] = {"fake", "mqtt", NULL};

static inline const struct adapter_ops *fake_find(const char *name)
{
    if (!strcmp(name, "old"))
        return &fake_old_ops;
    return !strcmp(name, "fake") || !strcmp(name, "mqtt") ? &fake_ops : NULL;
}

// For side connections: http, coap and side (as mqtt) beside those.
static inline const struct adapter_ops *fake_find_more(const char *name)
{
    static struct adapter_ops fake_http_ops, fake_coap_ops, fake_mqtt_ops;
    static const char *const more[] = {"http", "https", "coap", "coaps", "side", NULL};
    struct adapter_ops *const ops[] = {&fake_http_ops, &fake_http_ops, &fake_coap_ops, &fake_coap_ops, &fake_mqtt_ops};
    fake_http_ops = fake_as("http");
    fake_coap_ops = fake_as("coap");
    fake_mqtt_ops = fake_as("mqtt");
    for (unsigned i = 0; more[i]; i++)
        if (!strcmp(more[i], name))
            return ops[i];
    return fake_find(name);
}

// --- what the world does ------------------------------------------------------------------------------------------

static inline void fake_online(struct adapter_conn *c, bool session_present)
{
    c->state = FAKE_ON;
    c->in_event = true;
    c->events->on_online(c->owner, session_present);
    c->in_event = false;
}

static inline void fake_offline(struct adapter_conn *c, enum error_code code, bool will_retry)
{
    struct error why = {0};
    if (code)
        error_set(&why, code, "the peer went away");
    c->state = will_retry ? FAKE_RETRYING : FAKE_OFF;
    c->frozen = false;
    c->in_event = true;
    c->events->on_offline(c->owner, &why, will_retry);
    c->in_event = false;
}

static inline void fake_message(struct adapter_conn *c, const char *topic)
{
    struct adapter_message m = {
        .topic = topic, .topic_len = strlen(topic), .payload = (const uint8_t *)"{}", .payload_len = 2};
    c->in_event = true;
    c->events->on_message(c->owner, &m);
    c->in_event = false;
}

static inline void fake_done(struct adapter_conn *c, uint32_t token)
{
    c->in_event = true;
    c->events->on_done(c->owner, token, 0, NULL);
    c->in_event = false;
}

// Answers the latest request; NULL body: it fails with code `status`.
static inline void fake_answer(unsigned status, const char *body, bool more)
{
    struct fake_request *r = fake.requests;
    struct error why = {0};
    assert_non_null(r);
    struct adapter_conn *c = r->conn;
    uint32_t token = r->token;
    static const struct adapter_property headers[] = {{"X-One", 5, "1", 1}, {"x-two", 5, "a", 1}, {"X-Two", 5, "b", 1}};
    struct adapter_response response = {.status = status,
                                        .payload = (const uint8_t *)body,
                                        .payload_len = body ? strlen(body) : 0,
                                        .headers = headers,
                                        .n_headers = 3,
                                        .latency_us = 12500,
                                        .attempts = 2,
                                        .more = more};
    if (!more)
        fake_forget_requests(c, token);
    if (!body)
        error_set(&why, (enum error_code)status, "no answer");
    c->in_event = true;
    c->events->on_response(c->owner, token, body ? &response : NULL, body ? NULL : &why);
    c->in_event = false;
}

static inline void fake_ask(struct adapter_conn *c, uint64_t ticket, const char *method, const char *path,
                            const char *payload)
{
    static const struct adapter_property headers[] = {{"Accept", 6, "x", 1}};
    struct adapter_request r = {.method = method,
                                .path = path,
                                .path_len = strlen(path),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload),
                                .headers = headers,
                                .n_headers = 1};
    c->in_event = true;
    c->events->on_request(c->owner, ticket, &r);
    c->in_event = false;
}

// The newest connection to a URL that holds this text.
static inline struct adapter_conn *fake_to(const char *url)
{
    struct adapter_conn *c = fake.conns;
    while (c && !strstr(c->target->url, url))
        c = c->next;
    return c;
}

static void fake_hook(struct loop_hook *hook, struct loop *loop)
{
    (void)hook, (void)loop;
    struct adapter_conn *next;
    for (struct adapter_conn *c = fake.conns; c; c = next) {
        next = c->next; // an event deletes nothing
        if (c->closing) {
            c->closing = false;
            fake_offline(c, ERR_NONE, false);
        } else if (fake.auto_online && c->state == FAKE_CONNECTING) {
            fake_online(c, false);
        }
    }
}

static inline struct loop *fake_setup(void)
{
    struct clock clock;
    struct error err = {0};
    memset(&fake, 0, sizeof(fake));
    clock_create_virtual(&clock, 1700000000000000);
    fake.loop = loop_new(&clock, &err);
    assert_non_null(fake.loop);
    fake.hook = (struct loop_hook){.priority = 20, .fn = fake_hook};
    loop_hook_add(fake.loop, &fake.hook);
    return fake.loop;
}

static inline void fake_teardown(void)
{
    assert_int_equal(fake.n_conns, 0);
    assert_int_equal(fake.n_targets, 0);
    loop_delete(fake.loop);
}

// Turns until loop time `until_us`, and that turn's hooks.
static inline void run_until(struct loop *loop, int64_t until_us)
{
    do
        loop_turn(loop, until_us - loop_now_us(loop));
    while (loop_now_us(loop) < until_us);
    loop_turn(loop, 0);
}

// --- fleets -------------------------------------------------------------------------------------------------------

static inline struct fleet_config fake_fleet_config(void)
{
    return (struct fleet_config){.env = {.loop = fake.loop},
                                 .seed = 42,
                                 .owner = {0, 1, 0, 1},
                                 .find_adapter = fake_find,
                                 .adapter_names = fake_names};
}

static inline struct group_config fake_group_config(const char *name, uint64_t count, const struct model *model)
{
    return (struct group_config){
        .name = name, .count = count, .model = model, .url = "fake://nowhere", .behaviour = !model};
}

static inline struct model *model_of(const char *text)
{
    struct error err = {0};
    struct model *m = model_parse(text, strlen(text), "test.json", NULL, &err);
    if (!m)
        fail_msg("%s", err.text);
    return m;
}

#define SENSOR_HEAD "\"id\":\"s\",\"name\":\"S\",\"type\":\"sensor\",\"protocol\":\"mqtt\""
#define SENSOR                                                                                                         \
    "{" SENSOR_HEAD ",\"telemetry\":["                                                                                 \
    "{\"name\":\"t\",\"type\":\"number\",\"precision\":2,\"generator\":{\"type\":\"uniform\",\"min\":0,\"max\":10}},"  \
    "{\"name\":\"h\",\"type\":\"integer\",\"generator\":{\"type\":\"uniform\",\"min\":0,\"max\":1000}},"               \
    "{\"name\":\"ok\",\"type\":\"boolean\",\"generator\":{\"type\":\"constant\",\"value\":true}}]}"
