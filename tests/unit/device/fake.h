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
    int unused;
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
};

static struct fake fake; // the adapter interface has no place for a test's own

static struct adapter_target *fake_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                              const char *group, struct error *err)
{
    (void)env, (void)url, (void)group;
    if (json_object_get(options, "bad")) {
        error_set(err, ERR_INVALID, "unknown option \"bad\"");
        return NULL;
    }
    fake.n_targets++;
    return calloc(1, sizeof(struct adapter_target));
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
    (void)t;
    if (fake.refuse_new) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    struct adapter_conn *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    *c = (struct adapter_conn){.events = events, .identity = identity, .owner = owner, .seed = seed};
    c->next = fake.conns;
    c->prev = &fake.conns;
    if (c->next)
        c->next->prev = &c->next;
    fake.conns = c;
    fake.n_conns++;
    return c;
}

static void fake_conn_delete(struct adapter_conn *c)
{
    assert_false(c->in_event);
    assert_false(c->frozen);
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

static int fake_publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    (void)token;
    if (c->state != FAKE_ON)
        return error_set(err, ERR_STATE, "not connected");
    if (fake.bad_topic)
        return error_set(err, ERR_INVALID, "bad topic");
    fake.published++;
    c->pending = fake.new_pending;
    if (fake.on_publish)
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
    return sizeof(*c);
}

static void fake_conn_freeze(struct adapter_conn *c, bool frozen)
{
    assert_false(c->in_event && frozen);
    c->frozen = frozen;
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
};
static const struct adapter_ops fake_old_ops = {
    .abi = ADAPTER_ABI + 1, .size = sizeof(struct adapter_ops), .name = "old"};
static const char *const fake_names[] = {"fake", "mqtt", NULL};

static inline const struct adapter_ops *fake_find(const char *name)
{
    if (!strcmp(name, "old"))
        return &fake_old_ops;
    return !strcmp(name, "fake") || !strcmp(name, "mqtt") ? &fake_ops : NULL;
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
