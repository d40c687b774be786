// Commands: subscriptions as long polls, or as paths of the device's own endpoint.
//
// A poll is a GET that the server answers when it has something: 200 with a body is a message, 204, 304 and a timeout
// mean "nothing yet". With a message the next poll follows at once; without one not before `interval` has passed since
// the last began, so that a server that answers at once is not flooded; after errors with backoff.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/http/exchange.h"
#include "adapter/http/socket.h"
#include "core/log.h"

#define SUBS_MAX 64u
#define FILTER_MAX 1024u
#define PATH_BYTES 4096u
#define ERROR_DELAY_US 1000000
#define ERROR_DELAY_MAX_US 60000000

static void poll_now(struct http_sub *sub);

static void on_again(struct timer *timer, void *loop)
{
    (void)loop;
    poll_now(container_of(timer, struct http_sub, timer));
}

static void poll_after(struct http_sub *sub, int64_t delay_us)
{
    loop_timer_start(sub->conn->target->env.loop, &sub->timer, delay_us, on_again);
}

static void back_off(struct http_sub *sub)
{
    double delay = ERROR_DELAY_US;
    for (unsigned i = 0; i < sub->failures && delay < ERROR_DELAY_MAX_US; i++)
        delay *= 2;
    if (delay > ERROR_DELAY_MAX_US)
        delay = ERROR_DELAY_MAX_US;
    sub->failures += sub->failures < UINT16_MAX;
    poll_after(sub, (int64_t)(delay * (0.5 + rng_unit(&sub->conn->rng) / 2)));
}

static int build(struct http_sub *sub, struct http_exchange *x)
{
    const struct http_options *o = &sub->conn->target->options;
    const char *path = o->commands_path ? o->commands_path : sub->filter;
    struct buf name;
    int rc = 0;
    buf_create(&name, PATH_BYTES);
    for (const char *at = path; *at && rc == 0;) {
        if (strncmp(at, "{clientId}", 10) == 0 && o->commands_path) {
            rc = http_device_name(sub->conn, &name);
            at += 10;
        } else {
            rc = buf_append_char(&name, *at++);
        }
    }
    if (rc == 0)
        rc = http_request_url(x, (const char *)name.data, name.len, NULL, &x->err);
    buf_destroy(&name);
    return rc;
}

static void poll_now(struct http_sub *sub)
{
    struct adapter_conn *c = sub->conn;
    struct http_target *t = c->target;
    struct error err;
    char prefer[40];
    struct http_exchange *x = http_exchange_new(c, HTTP_POLL, &err);
    if (!x) {
        back_off(sub);
        return;
    }
    int64_t wait_s = t->options.poll_wait_us / 1000000;
    int n = snprintf(prefer, sizeof prefer, "wait=%lld", (long long)(wait_s ? wait_s : 1));
    x->method = "GET";
    x->lane = &sub->lane;
    x->sub = sub;
    x->follow = x->redirects > 0;
    // The server's clock may be a little slow: the wait is its own, not ours to cut.
    x->deadline_us = x->asked_us + t->options.poll_wait_us + t->options.timeout_us;
    sub->started_us = x->asked_us;
    if (build(sub, x) < 0 || http_request_header(x, "Prefer", 6, prefer, (size_t)n, &err) < 0) {
        x->sub = NULL;
        http_exchange_drop(x);
        back_off(sub);
        return;
    }
    sub->exchange = x;
    http_exchange_queue(x);
}

// Once when it begins, and not from each of thousands of devices whose server has gone.
static void complain(const struct http_sub *sub, const struct http_exchange *x)
{
    struct http_target *t = sub->conn->target;
    int64_t now = loop_now_us(t->env.loop);
    enum log_level level = sub->failures || now - t->complained_us < HTTP_COMPLAIN_US ? LOG_DEBUG : LOG_WARN;
    if (level == LOG_WARN)
        t->complained_us = now;
    if (x->err.code)
        log_write(t->env.log, level, NULL, "commands of %s: %s", t->origin, x->err.text);
    else
        log_write(t->env.log, level, NULL, "commands of %s: HTTP status %u", t->origin, x->status);
}

void http_polled(struct http_sub *sub, struct http_exchange *x)
{
    struct adapter_conn *c = sub->conn;
    struct http_target *t = c->target;
    const char *topic = http_exchange_find(x, "x-topic");
    sub->exchange = NULL;
    if (x->err.code ? x->err.code != ERR_TIMEOUT : x->status != 304 && (x->status < 200 || x->status > 299)) {
        complain(sub, x);
        back_off(sub);
        return;
    }
    sub->failures = 0;
    bool message = !x->err.code && x->status == 200 && x->reply.len;
    int64_t due = sub->started_us + t->options.poll_interval_us - loop_now_us(t->env.loop);
    poll_after(sub, message || due < 0 ? 0 : due); // the owner may unsubscribe when it is told: armed before
    if (!message)
        return;
    char filter[FILTER_MAX + 1]; // the owner may unsubscribe when it is told
    snprintf(filter, sizeof filter, "%s", sub->filter);
    if (!topic || !*topic)
        topic = filter;
    struct adapter_message m = {
        .topic = topic, .topic_len = strlen(topic), .payload = x->reply.data, .payload_len = x->reply.len};
    const char *type = http_exchange_find(x, "content-type");
    struct adapter_meta meta = {.content_type = type, .content_type_len = type ? strlen(type) : 0};
    m.meta = type ? &meta : NULL;
    counter_add(t->series.messages_received, 1);
    HTTP_TELL(c, c->events->on_message(c->owner, &m));
}

// --- subscriptions --------------------------------------------------------------------------------------------------

static void sub_delete(struct http_sub *sub)
{
    loop_timer_stop(sub->conn->target->env.loop, &sub->timer);
    if (sub->exchange)
        http_exchange_drop(sub->exchange);
    http_lane_end(sub->conn, &sub->lane);
    free(sub);
}

static bool polls_already(const struct adapter_conn *c)
{
    for (const struct http_sub *s = c->subs; s; s = s->next)
        if (s->polls)
            return true;
    return false;
}

int http_subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    struct http_target *t = c->target;
    const struct http_options *o = &t->options;
    unsigned n = 0;
    (void)qos;
    if (c->state != HTTP_ONLINE && c->state != HTTP_PROBING)
        return error_set(err, ERR_STATE, "not connected");
    size_t len = strlen(filter);
    if (!len || len > FILTER_MAX)
        return error_set(err, ERR_INVALID, "expected a path of 1 to 1024 bytes to take commands from");
    if (strpbrk(filter, "+#") && !(o->commands_path && !o->serve))
        return error_set(err, ERR_UNSUPPORTED, "HTTP has no wildcards: %.200s%s", filter,
                         o->serve ? "" : " (commands.path polls one path for all)");
    for (const struct http_sub *s = c->subs; s; s = s->next, n++)
        if (strcmp(s->filter, filter) == 0)
            return token ? error_set(err, ERR_STATE, "%.200s is subscribed already", filter) : 0;
    if (n >= SUBS_MAX)
        return error_set(err, ERR_LIMIT, "more than %u subscriptions of a device", SUBS_MAX);
    if (o->serve && http_serve_commands(c, filter, err) < 0)
        return -1;
    struct http_sub *sub = calloc(1, sizeof *sub + len + 1);
    if (!sub)
        return error_set(err, ERR_NO_MEMORY, "no memory for a subscription");
    memcpy(sub->filter, filter, len + 1);
    sub->conn = c;
    sub->token = token;
    sub->polls = !o->serve && !(o->commands_path && polls_already(c));
    sub->lane.id = t->next_id++;
    struct http_sub **end = &c->subs;
    while (*end)
        end = &(*end)->next;
    *end = sub;
    c->subs_due = true;
    http_conn_due(c);
    return 0;
}

bool http_subs_answer(struct adapter_conn *c)
{
    for (bool more = true; more;) {
        more = false;
        for (struct http_sub *s = c->subs; s; s = s->next) {
            if (s->answered)
                continue;
            s->answered = more = true;
            if (s->polls)
                poll_now(s);
            if (s->token && !HTTP_TELL(c, c->events->on_done(c->owner, s->token, 0, NULL)))
                return false;
            break; // the list may have changed
        }
    }
    uint32_t token = c->unsub_token;
    c->unsub_token = 0;
    return !token || HTTP_TELL(c, c->events->on_done(c->owner, token, -1, NULL));
}

int http_unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    if (c->state != HTTP_ONLINE && c->state != HTTP_PROBING)
        return error_set(err, ERR_STATE, "not connected");
    if (token && c->unsub_token)
        return error_set(err, ERR_LIMIT, "another unsubscribe is still to be answered");
    for (struct http_sub **at = &c->subs; *at; at = &(*at)->next) {
        struct http_sub *sub = *at;
        if (strcmp(sub->filter, filter) != 0)
            continue;
        bool polled = sub->polls && c->target->options.commands_path;
        *at = sub->next;
        if (c->target->options.serve)
            http_unserve(c, filter);
        sub_delete(sub);
        if (polled && c->subs) { // the path that all share goes on for the next
            c->subs->polls = true;
            if (c->subs->answered)
                poll_now(c->subs);
        }
        break;
    }
    c->unsub_token = token;
    c->subs_due = true;
    http_conn_due(c);
    return 0;
}

void http_subs_stop(struct adapter_conn *c, bool forget)
{
    while (c->subs && forget) {
        struct http_sub *sub = c->subs;
        c->subs = sub->next;
        sub_delete(sub);
    }
}

void http_subs_freeze(struct adapter_conn *c, bool frozen)
{
    struct loop *loop = c->target->env.loop;
    for (struct http_sub *s = c->subs; s; s = s->next) {
        if (frozen)
            loop_timer_stop(loop, &s->timer);
        else if (s->polls && s->answered && !s->exchange)
            poll_after(s, 0);
    }
}
