// A connection is 24 bytes. What is due to its owner lies in a queue of its target, oldest first: all of it takes the
// same time, so the queue is in order by itself, and one timer a target is enough.
#include "adapter/virtual/virtual.h"

#include <stdio.h>
#include <stdlib.h>

#include "adapter/mqtt/topic.h"
#include "adapter/series.h"
#include "core/loop.h"

enum state { OFFLINE, OPENING, ONLINE, CLOSING };
enum kind { EVENT_ONLINE, EVENT_OFFLINE, EVENT_DONE };

struct event {
    struct event *next;
    struct adapter_conn *conn; // NULL: deleted meanwhile
    int64_t due_us;
    uint32_t token;
    int16_t granted_qos;
    uint8_t kind;
};

struct adapter_conn {
    struct adapter_target *target;
    void *owner;
    uint32_t waiting; // events of it in the target's queue
    uint8_t state;
};

struct adapter_target {
    struct adapter_env env;
    const struct adapter_events *events; // the same for all connections
    struct event *first, **last;
    struct event *spare;
    struct timer timer; // only makes the clock stop where the first event is due
    struct loop_hook hook;
    struct metric *connects, *messages_sent, *messages_acked, *bytes_sent, *publish_errors;
    struct metric nowhere; // without a registry
};

static int64_t now_us(const struct adapter_target *t)
{
    return loop_now_us(t->env.loop);
}

// --- the queue ----------------------------------------------------------------------------------------------------

static void on_due(struct timer *timer, void *loop)
{
    (void)timer, (void)loop; // the hook of this turn does it
}

static int post(struct adapter_conn *c, enum kind kind, uint32_t token, int granted_qos, struct error *err)
{
    struct adapter_target *t = c->target;
    struct event *e = t->spare;
    if (e)
        t->spare = e->next;
    else if (!(e = malloc(sizeof(*e))))
        return error_set(err, ERR_NO_MEMORY, "no memory for an event");
    *e = (struct event){.conn = c,
                        .due_us = now_us(t) + VIRTUAL_REPLY_US,
                        .token = token,
                        .granted_qos = (int16_t)granted_qos,
                        .kind = (uint8_t)kind};
    if (!t->first)
        loop_timer_at(t->env.loop, &t->timer, e->due_us, on_due);
    *t->last = e;
    t->last = &e->next;
    c->waiting++;
    return 0;
}

static void tell(struct adapter_target *t, struct adapter_conn *c, const struct event *e)
{
    static const struct error asked = {0};
    if (e->kind == EVENT_ONLINE && c->state == OPENING) {
        c->state = ONLINE;
        counter_add(t->connects, 1);
        t->events->on_online(c->owner, false);
    } else if (e->kind == EVENT_OFFLINE && c->state == CLOSING) {
        c->state = OFFLINE;
        t->events->on_offline(c->owner, &asked, false);
    } else if (e->kind == EVENT_DONE) {
        t->events->on_done(c->owner, e->token, e->granted_qos, NULL);
    }
}

static void deliver(struct loop_hook *hook, struct loop *loop)
{
    struct adapter_target *t = container_of(hook, struct adapter_target, hook);
    if (!t->first || t->first->due_us > loop_now_us(loop))
        return;
    int64_t now = loop_now_us(loop);
    while (t->first && t->first->due_us <= now) {
        struct event e = *t->first, *used = t->first;
        t->first = used->next;
        if (!t->first)
            t->last = &t->first;
        used->next = t->spare;
        t->spare = used;
        if (!e.conn)
            continue;
        e.conn->waiting--;
        tell(t, e.conn, &e); // may delete the connection
    }
    if (t->first)
        loop_timer_at(loop, &t->timer, t->first->due_us, on_due);
    loop_again(loop); // whoever was told may have work in this very instant
}

static void forget(struct adapter_conn *c)
{
    for (struct event *e = c->target->first; e && c->waiting; e = e->next)
        if (e->conn == c) {
            e->conn = NULL;
            c->waiting--;
        }
}

// --- targets ------------------------------------------------------------------------------------------------------

static int make_series(struct adapter_target *t, const char *group, struct error *err)
{
    const struct series_wish all[] = {{"connects", &t->connects},
                                      {"messages_sent", &t->messages_sent},
                                      {"messages_acked", &t->messages_acked},
                                      {"bytes_sent", &t->bytes_sent},
                                      {"publish_errors", &t->publish_errors}};
    const size_t n = sizeof(all) / sizeof(all[0]);
    char tags[SERIES_TAGS_MAX];
    if (t->env.metrics)
        return series_tags(tags, "virtual", group, err) < 0 ? -1 : series_make(t->env.metrics, tags, all, n, err);
    for (size_t i = 0; i < n; i++)
        *all[i].at = &t->nowhere;
    return 0;
}

static void target_delete(struct adapter_target *t)
{
    if (!t)
        return;
    loop_hook_remove(t->env.loop, &t->hook);
    loop_timer_stop(t->env.loop, &t->timer);
    *t->last = t->spare; // both lists as one
    for (struct event *e = t->first, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    free(t);
}

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    (void)url, (void)options;
    if (!env->capture) {
        error_set(err, ERR_UNSUPPORTED, "the adapter of virtual time has nobody who takes what is published");
        return NULL;
    }
    struct adapter_target *t = calloc(1, sizeof(*t));
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a target");
        return NULL;
    }
    t->env = *env;
    t->last = &t->first;
    t->hook = (struct loop_hook){.priority = 20, .fn = deliver};
    loop_hook_add(env->loop, &t->hook);
    if (make_series(t, group, err) == 0)
        return t;
    target_delete(t);
    return NULL;
}

// --- connections --------------------------------------------------------------------------------------------------

static struct adapter_conn *conn_new(struct adapter_target *target, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    (void)identity, (void)seed;
    if (target->events && target->events != events) {
        error_set(err, ERR_UNSUPPORTED, "all connections of a virtual target have the same owner's events");
        return NULL;
    }
    struct adapter_conn *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    target->events = events;
    c->target = target;
    c->owner = owner;
    return c;
}

static void conn_delete(struct adapter_conn *c)
{
    if (!c)
        return;
    forget(c);
    free(c);
}

static int conn_open(struct adapter_conn *c, struct error *err)
{
    if (c->state != OFFLINE)
        return error_set(err, ERR_STATE, "the connection is open already");
    if (post(c, EVENT_ONLINE, 0, -1, err))
        return -1;
    c->state = OPENING;
    return 0;
}

static void conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    (void)mode;
    if (c->state != OPENING && c->state != ONLINE)
        return;
    c->state = CLOSING;
    if (post(c, EVENT_OFFLINE, 0, -1, NULL))
        c->state = OFFLINE; // without memory for the event: a drain cuts it off
}

static int has_room(const struct adapter_conn *c, struct error *err)
{
    return c->waiting < VIRTUAL_WAITING_MAX
               ? 0
               : error_set(err, ERR_LIMIT, "%d answers are awaited already", VIRTUAL_WAITING_MAX);
}

static int take(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    bool usable = c->state == ONLINE || (c->state == OPENING && m->qos > 0);
    if (!usable)
        return error_set(err, ERR_STATE, "not connected");
    if (mqtt_topic_check(m->topic, m->topic_len, err))
        return -1;
    const struct adapter_capture *capture = c->target->env.capture;
    if (token && m->qos && has_room(c, err))
        return -1;
    if (capture->publish(capture->arg, c->owner, m, err))
        return -1;
    return token && m->qos ? post(c, EVENT_DONE, token, -1, err) : 0;
}

static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct adapter_target *t = c->target;
    int failed = take(c, m, token, err);
    rate_add(t->publish_errors, failed);
    if (failed)
        return -1;
    counter_add(t->messages_sent, 1);
    counter_add(t->bytes_sent, m->topic_len + m->payload_len);
    if (m->qos)
        counter_add(t->messages_acked, 1);
    return 0;
}

static int request(struct adapter_conn *c, const char *filter, int granted_qos, uint32_t token, struct error *err)
{
    if (c->state != ONLINE && c->state != OPENING)
        return error_set(err, ERR_STATE, "not connected");
    size_t n = 0;
    while (filter[n])
        n++;
    if (mqtt_filter_check(filter, n, err))
        return -1;
    if (!token)
        return 0;
    return has_room(c, err) ? -1 : post(c, EVENT_DONE, token, granted_qos, err);
}

static int subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    return request(c, filter, qos, token, err);
}

static int unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    return request(c, filter, -1, token, err);
}

static unsigned pending(const struct adapter_conn *c)
{
    (void)c;
    return 0; // what was accepted has been handed over
}

static size_t footprint(const struct adapter_conn *c)
{
    return sizeof(*c) + c->waiting * sizeof(struct event);
}

static const char *const schemes[] = {"virtual", NULL};

const struct adapter_ops virtual_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "virtual",
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
};
