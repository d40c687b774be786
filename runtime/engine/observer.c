// The loop's side of the observer: who asked for what, and who gets which message. See observer_lane.c for paho's side.
//
// A request lives until its done was called AND paho has let go of it. done is always called from the loop: by the
// answer, or by the request's timer, which is the deadline and also carries an outcome that is known at once out of the
// call.
#include "engine/observer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "adapter/mqtt/topic.h"
#include "adapter/topic.h"
#include "engine/observer_lane.h"
#include "engine/observer_tls.h"

#define BATCH 1000u // messages handed out in one turn: the loop has other work

// --- requests

static struct request *request_new(struct observer *o, enum request_kind kind, int64_t timeout_us,
                                   observer_done_fn *done, void *arg, struct error *err);

static void request_free(struct request *r)
{
    *r->prev = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->shared->n_requests--;
    free(r);
}

// Calls done, once. The request is gone afterwards unless paho still has it. false: the observer was deleted inside
// done.
static bool request_report(struct request *r, const struct error *outcome)
{
    struct observer *o = r->observer;
    loop_timer_stop(o->loop, &r->timer);
    if (r->reported)
        return true;
    r->reported = true;
    if (o->connecting == r)
        o->connecting = NULL;
    if (r->subscription) {
        r->subscription->request = NULL;
        r->subscription = NULL;
    }
    struct error copy = *outcome;
    observer_done_fn *done = r->done;
    void *arg = r->arg;
    if (!r->with_paho)
        request_free(r);
    if (!done)
        return true;
    bool gone = false, *outer = o->gone;
    o->gone = &gone;
    done(arg, copy.code == ERR_NONE ? NULL : &copy);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    o->gone = outer;
    return true;
}

static void on_request_timer(struct timer *t, void *arg)
{
    (void)arg;
    struct request *r = container_of(t, struct request, timer);
    struct observer *o = r->observer;
    struct error outcome = r->outcome;
    if (!r->settled && r->kind == REQUEST_CONNECT) {
        o->stale_attempt = true; // paho cannot call an attempt off
        error_set(&outcome, ERR_TIMEOUT, "%s did not answer in time", o->display);
    } else if (!r->settled) {
        error_set(&outcome, ERR_TIMEOUT, "%s did not acknowledge the %s in time", o->display,
                  r->kind == REQUEST_SUBSCRIBE ? "subscription" : "message");
    }
    request_report(r, &outcome);
}

// The outcome is known, done comes from the loop.
static void request_settle(struct request *r, const struct error *outcome)
{
    r->settled = true;
    r->outcome = *outcome;
    loop_timer_start(r->observer->loop, &r->timer, 0, on_request_timer);
}

static struct request *request_new(struct observer *o, enum request_kind kind, int64_t timeout_us,
                                   observer_done_fn *done, void *arg, struct error *err)
{
    struct shared *s = o->shared;
    if (s->n_requests >= REQUESTS_MAX) {
        error_set(err, ERR_LIMIT, "observer: %u requests wait for %s already", REQUESTS_MAX, o->display);
        return NULL;
    }
    struct request *r = calloc(1, sizeof(*r));
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "observer: no memory");
        return NULL;
    }
    r->shared = s;
    r->observer = o;
    r->kind = kind;
    r->done = done;
    r->arg = arg;
    r->next = s->requests;
    r->prev = &s->requests;
    if (r->next)
        r->next->prev = &r->next;
    s->requests = r;
    s->n_requests++;
    loop_timer_start(o->loop, &r->timer, timeout_us, on_request_timer);
    return r;
}

// paho has answered and let go. false: the observer was deleted.
static bool request_answered(struct request *r, int result)
{
    struct observer *o = r->observer;
    struct error outcome = {0};
    r->with_paho = false;
    if (r->reported) {
        request_free(r);
        return true;
    }
    if (result == 0)
        return request_report(r, &outcome);
    if (r->kind == REQUEST_SUBSCRIBE && result < 0)
        return true; // lost with the connection: it is asked for again after the reconnect, within the deadline
    if (r->kind == REQUEST_SUBSCRIBE)
        error_set(&outcome, ERR_REFUSED, "%s refused the subscription", o->display);
    else
        error_set(&outcome, ERR_CLOSED, "the connection to %s was lost before the message was acknowledged",
                  o->display);
    return request_report(r, &outcome);
}

// --- lanes, seen from here

// What paho was given before a loss it may or may not answer (1.3.12 can forget a command that is added while it cleans
// up): the one who waits is moved to a fresh request, the old one only waits for paho to let go of it.
static bool renew_request(struct subscription *s)
{
    struct request *old = s->request;
    struct observer *o = old->observer;
    int64_t left = old->timer.at_us - loop_now_us(o->loop);
    struct request *fresh = request_new(o, REQUEST_SUBSCRIBE, left > 0 ? left : 0, old->done, old->arg, NULL);
    if (!fresh)
        return false; // its deadline still answers
    fresh->subscription = s;
    s->request = fresh;
    loop_timer_stop(o->loop, &old->timer);
    old->reported = true;
    old->subscription = NULL;
    return true;
}

void observer_on_lane_up(struct lane *lane)
{
    struct observer *o = lane->observer;
    for (struct subscription *s = lane->subscriptions; s; s = s->next) {
        if (s->request && s->request->with_paho && !renew_request(s))
            continue;
        (void)lane_subscribe(lane, s, NULL); // fails only when the connection is lost again: then it comes again
    }
    if (lane != o->shared->lanes[0])
        return;
    o->stale_attempt = false;
    if (o->connecting) {
        struct error fine = {0};
        request_settle(o->connecting, &fine);
    }
}

// Publishes under way are lost with a clean session. An acknowledgement that came before the loss still counts: it is
// taken before the timer fires.
void observer_on_lane_lost(struct lane *lane)
{
    struct observer *o = lane->observer;
    if (lane != o->shared->lanes[0])
        return;
    struct error lost;
    error_set(&lost, ERR_CLOSED, "the connection to %s was lost before the message was acknowledged", o->display);
    for (struct request *r = o->shared->requests; r; r = r->next)
        if (r->kind == REQUEST_PUBLISH && !r->reported && !r->settled)
            request_settle(r, &lost);
}

void observer_on_lane_failed(struct lane *lane, const struct error *why)
{
    struct observer *o = lane->observer;
    if (lane != o->shared->lanes[0])
        return;
    if (o->stale_attempt && o->connecting) {
        o->stale_attempt = false; // it was not this one's attempt
        lane_start(lane);
        return;
    }
    o->stale_attempt = false;
    if (o->connecting)
        request_settle(o->connecting, why);
}

// --- what comes from paho's threads

// Takes what was reported about one lane.
static void take_lane_events(struct lane *lane)
{
    struct shared *s = lane->shared;
    char text[sizeof(lane->answer_text)];
    pthread_mutex_lock(&s->lock);
    bool answered = lane->answered, lost = lane->lost;
    int answer = lane->answer;
    memcpy(text, lane->answer_text, sizeof(text));
    lane->answered = lane->lost = false;
    pthread_mutex_unlock(&s->lock);
    if (answered)
        lane_handle_answer(lane, answer, text);
    if (lost)
        lane_handle_loss(lane);
}

static bool take_answers(struct observer *o)
{
    struct shared *s = o->shared;
    for (;;) { // one at a time: done may delete the observer, and what is left must still be in the list then
        pthread_mutex_lock(&s->lock);
        struct request *r = s->answered;
        int result = 0;
        if (r) {
            s->answered = r->next_answered;
            result = r->result;
        }
        pthread_mutex_unlock(&s->lock);
        if (!r)
            return true;
        if (!request_answered(r, result))
            return false;
    }
}

static struct message_node *take_message(struct shared *s)
{
    pthread_mutex_lock(&s->lock);
    struct message_node *node = s->head;
    if (node) {
        s->head = node->next;
        if (!s->head)
            s->tail = &s->head;
        s->count--;
        s->bytes -= strlen(node->m.topic) + node->m.payload_len;
    }
    pthread_mutex_unlock(&s->lock);
    return node;
}

// Hands one message to the subscriptions of its lane. They may unsubscribe anything inside, themselves included.
static void dispatch(struct observer *o, const struct message_node *node, const bool *gone)
{
    unsigned last = 0; // tickets ascend along the list: the place survives changes to it
    for (bool more = true; more && !*gone;) {
        more = false;
        for (struct subscription *s = node->lane->subscriptions; s; s = s->next)
            if (s->ticket > last && s->first_seq <= node->seq && topic_matches(s->filter, node->m.topic)) {
                last = s->ticket;
                more = true;
                s->fn(s->arg, &node->m);
                break;
            }
    }
    (void)o;
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
    (void)revents;
    struct observer *o = w->data;
    struct shared *s = o->shared;
    for (unsigned i = 0; i < s->n_lanes; i++)
        take_lane_events(s->lanes[i]);
    if (!take_answers(o))
        return;
    bool gone = false;
    o->gone = &gone;
    unsigned n = 0;
    struct message_node *node;
    while (n < BATCH && !gone && (node = take_message(s))) {
        dispatch(o, node, &gone);
        free(node);
        n++;
    }
    if (gone)
        return;
    o->gone = NULL;
    if (n == BATCH)
        ev_async_send(ev, w); // more may wait, and only the first of a queue sends
}

// --- life

static int observer_setup(struct observer *o, const char *url, const json_t *tls, struct error *err)
{
    if (url_parse(url, "mqtt", &o->url, err) != 0)
        return -1;
    bool secure = strcmp(o->url.scheme, "mqtts") == 0;
    if (!secure && strcmp(o->url.scheme, "mqtt") != 0)
        return error_set(err, ERR_UNSUPPORTED, "observer: scheme \"%s\" cannot be observed; valid: mqtt, mqtts",
                         o->url.scheme);
    if (secure && !(o->tls = observer_tls_new(tls, o->url.host, err)))
        return -1;
    url_display(&o->url, o->display, sizeof(o->display));
    if (getrandom(&o->client_number, sizeof(o->client_number), 0) != sizeof(o->client_number))
        return error_set_errno(err, "observer: getrandom");
    o->resolver = resolver_new(o->loop, err);
    if (!o->resolver)
        return -1;
    return lane_add(o, err) ? 0 : -1;
}

struct observer *observer_new(struct loop *loop, const char *url, struct error *err)
{
    return observer_new_tls(loop, url, NULL, err);
}

struct observer *observer_new_tls(struct loop *loop, const char *url, const json_t *tls, struct error *err)
{
    struct observer *o = calloc(1, sizeof(*o));
    struct shared *s = calloc(1, sizeof(*s));
    if (!o || !s) {
        free(o);
        free(s);
        error_set(err, ERR_NO_MEMORY, "observer: no memory");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->refs = 1;
    s->ev = loop_ev(loop);
    s->wake = &o->wake;
    s->tail = &s->head;
    s->max_count = MESSAGES_MAX;
    s->max_bytes = MESSAGE_BYTES_MAX;
    o->loop = loop;
    o->shared = s;
    o->connect_timeout_us = 5000000;
    ev_async_init(&o->wake, on_wake);
    o->wake.data = o;
    ev_async_start(loop_ev(loop), &o->wake);
    if (observer_setup(o, url, tls, err) == 0)
        return o;
    observer_delete(o);
    return NULL;
}

void observer_delete(struct observer *o)
{
    if (!o)
        return;
    if (o->gone)
        *o->gone = true;
    for (struct request *r = o->shared->requests; r; r = r->next)
        loop_timer_stop(o->loop, &r->timer);
    lanes_stop(o);
    resolver_delete(o->resolver);
    ev_async_stop(loop_ev(o->loop), &o->wake);
    shared_close(o->shared);
    observer_tls_delete(o->tls); // paho has copies; an attempt that is still under way finds no file, which is fine
    free(o);
}

void observer_limit(struct observer *o, unsigned max_messages, size_t max_bytes)
{
    pthread_mutex_lock(&o->shared->lock);
    o->shared->max_count = max_messages;
    o->shared->max_bytes = max_bytes;
    pthread_mutex_unlock(&o->shared->lock);
}

int observer_connect(struct observer *o, int64_t timeout_us, observer_done_fn *done, void *arg, struct error *err)
{
    struct shared *s = o->shared;
    if (timeout_us <= 0)
        return error_set(err, ERR_INVALID, "observer: expected a timeout above 0");
    if (o->connecting)
        return error_set(err, ERR_STATE, "observer: a connect to %s is under way already", o->display);
    struct request *r = request_new(o, REQUEST_CONNECT, timeout_us, done, arg, err);
    if (!r)
        return -1;
    o->connecting = r;
    o->connect_timeout_us = timeout_us;
    o->started = true;
    if (s->lanes[0]->state == LANE_UP) {
        struct error fine = {0};
        request_settle(r, &fine);
        return 0;
    }
    for (unsigned i = 0; i < s->n_lanes; i++)
        lane_start(s->lanes[i]);
    return 0;
}

bool observer_connected(const struct observer *o)
{
    return o->shared->lanes[0]->state == LANE_UP;
}

uint64_t observer_dropped(const struct observer *o)
{
    pthread_mutex_lock(&o->shared->lock);
    uint64_t n = o->shared->dropped;
    pthread_mutex_unlock(&o->shared->lock);
    return n;
}

// --- subscriptions

static bool lane_is_free(const struct lane *lane, const char *filter)
{
    for (const struct subscription *s = lane->subscriptions; s; s = s->next)
        if (topic_filters_overlap(s->filter, filter))
            return false;
    return true;
}

// How many subscriptions of the lane overlap with the filter, and how many of those are the very same filter.
static bool only_twins_overlap(const struct lane *lane, const char *filter)
{
    for (const struct subscription *s = lane->subscriptions; s; s = s->next)
        if (topic_filters_overlap(s->filter, filter) && strcmp(s->filter, filter) != 0)
            return false;
    return true;
}

static struct lane *choose_lane(struct observer *o, const char *filter, struct error *err)
{
    struct shared *s = o->shared;
    for (unsigned i = 0; i < s->n_lanes; i++)
        if (lane_is_free(s->lanes[i], filter))
            return s->lanes[i];
    if (s->n_lanes < LANES_MAX) {
        struct lane *lane = lane_add(o, err);
        if (lane) {
            lane->wanted = true;
            if (o->started)
                lane_start(lane);
        }
        return lane;
    }
    for (unsigned i = 0; i < s->n_lanes; i++)
        if (only_twins_overlap(s->lanes[i], filter))
            return s->lanes[i];
    error_set(err, ERR_LIMIT, "observer: more than %u subscriptions overlap with \"%.200s\"; unsubscribe some first",
              LANES_MAX, filter);
    return NULL;
}

unsigned observer_subscribe(struct observer *o, const char *filter, int qos, observer_message_fn *fn, void *arg,
                            observer_done_fn *done, void *done_arg, struct error *err)
{
    size_t n = strlen(filter);
    if (qos < 0 || qos > 2) {
        error_set(err, ERR_INVALID, "observer: expected QoS 0, 1 or 2, got %d", qos);
        return 0;
    }
    if (mqtt_filter_check(filter, n, err) != 0)
        return 0;
    struct lane *lane = choose_lane(o, filter, err);
    struct subscription *s = lane ? calloc(1, sizeof(*s) + n + 1) : NULL;
    if (!s) {
        if (lane)
            error_set(err, ERR_NO_MEMORY, "observer: no memory");
        return 0;
    }
    s->request = request_new(o, REQUEST_SUBSCRIBE, ACK_TIMEOUT_US, done, done_arg, err);
    if (!s->request) {
        free(s);
        return 0;
    }
    s->request->subscription = s;
    s->lane = lane;
    s->ticket = ++o->next_ticket;
    s->qos = qos;
    s->fn = fn;
    s->arg = arg;
    memcpy(s->filter, filter, n + 1);
    pthread_mutex_lock(&o->shared->lock);
    s->first_seq = o->shared->next_seq;
    pthread_mutex_unlock(&o->shared->lock);
    struct subscription **end = &lane->subscriptions;
    while (*end)
        end = &(*end)->next;
    *end = s;
    if (lane->state == LANE_UP)
        (void)lane_subscribe(lane, s, NULL); // lost this moment: the reconnect brings it
    return s->ticket;
}

void observer_unsubscribe(struct observer *o, unsigned ticket)
{
    for (unsigned i = 0; i < o->shared->n_lanes; i++) {
        struct lane *lane = o->shared->lanes[i];
        for (struct subscription **at = &lane->subscriptions; *at; at = &(*at)->next) {
            struct subscription *s = *at;
            if (s->ticket != ticket)
                continue;
            *at = s->next;
            if (s->request) {
                struct error cancelled;
                error_set(&cancelled, ERR_CANCELLED, "unsubscribed before the server had answered");
                s->request->subscription = NULL;
                request_settle(s->request, &cancelled);
            }
            bool twin = false;
            for (const struct subscription *other = lane->subscriptions; other; other = other->next)
                twin |= strcmp(other->filter, s->filter) == 0;
            if (!twin && lane->state == LANE_UP)
                lane_unsubscribe(lane, s->filter);
            free(s);
            return;
        }
    }
}

int observer_publish(struct observer *o, const char *topic, const void *payload, size_t n, int qos, bool retain,
                     observer_done_fn *done, void *done_arg, struct error *err)
{
    struct lane *lane = o->shared->lanes[0];
    if (qos < 0 || qos > 2)
        return error_set(err, ERR_INVALID, "observer: expected QoS 0, 1 or 2, got %d", qos);
    if (n > 268000000) // 2.2.3: the remaining length has 28 bits
        return error_set(err, ERR_LIMIT, "observer: a payload of %zu bytes is more than MQTT can carry", n);
    if (mqtt_topic_check(topic, strlen(topic), err) != 0)
        return -1;
    if (lane->state != LANE_UP)
        return error_set(err, ERR_STATE, "publish: not connected to %s", o->display);
    struct request *r = NULL;
    if (done && !(r = request_new(o, REQUEST_PUBLISH, ACK_TIMEOUT_US, done, done_arg, err)))
        return -1;
    if (lane_publish(lane, topic, payload, n, qos, retain, r, err) == 0)
        return 0;
    if (r) {
        loop_timer_stop(o->loop, &r->timer);
        request_free(r);
    }
    return -1;
}
