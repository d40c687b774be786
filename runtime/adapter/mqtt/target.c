#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/target.h"

#define IDENTITY_MAX (5u * 65536u)
// A connect becomes slow when half of the ports of one source address are in use (28,000 by default, and other shards
// take theirs): 5 times as much CPU above 12,000 connections.
#define SPREAD_ABOVE 4096u

void mqtt_list_append(struct mqtt_list *list, struct mqtt_conn *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
    list->n++;
}

void mqtt_list_remove(struct mqtt_list *list, struct mqtt_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        list->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
    c->next = c->prev = NULL;
    list->n--;
}

static int make_series(struct mqtt_target *t, struct error *err)
{
    struct mqtt_series *s = &t->series;
    const struct {
        struct metric **at;
        const char *name;
        enum metric_type type;
        enum metric_unit unit;
    } all[] = {{&s->connects, "connects", METRIC_COUNTER, UNIT_NONE},
               {&s->connect_errors, "connect_errors", METRIC_RATE, UNIT_NONE},
               {&s->connect_latency, "connect_latency", METRIC_TREND, UNIT_TIME_US},
               {&s->tcp_latency, "tcp_latency", METRIC_TREND, UNIT_TIME_US},
               {&s->reconnects, "reconnects", METRIC_COUNTER, UNIT_NONE},
               {&s->messages_sent, "messages_sent", METRIC_COUNTER, UNIT_NONE},
               {&s->messages_resent, "messages_resent", METRIC_COUNTER, UNIT_NONE},
               {&s->messages_acked, "messages_acked", METRIC_COUNTER, UNIT_NONE},
               {&s->messages_received, "messages_received", METRIC_COUNTER, UNIT_NONE},
               {&s->publish_errors, "publish_errors", METRIC_RATE, UNIT_NONE},
               {&s->publish_latency, "publish_latency", METRIC_TREND, UNIT_TIME_US},
               {&s->subscribe_latency, "subscribe_latency", METRIC_TREND, UNIT_TIME_US},
               {&s->bytes_sent, "bytes_sent", METRIC_COUNTER, UNIT_BYTES},
               {&s->bytes_received, "bytes_received", METRIC_COUNTER, UNIT_BYTES},
               {&s->acks_unknown, "acks_unknown", METRIC_COUNTER, UNIT_NONE}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(*all[i].at = metrics_series(t->env.metrics, all[i].name, all[i].type, all[i].unit, t->tags, err)))
            return -1;
    s->devices_online = metrics_gauge(t->env.metrics, "devices_online", GAUGE_SUM, t->tags, err);
    return s->devices_online ? 0 : -1;
}

static void count_tagged(struct mqtt_target *t, struct metric **series, const char *name, const char *reason)
{
    char tags[sizeof t->tags + 64];
    if (!*series) {
        snprintf(tags, sizeof tags, "%s,reason:%s", t->tags, reason);
        *series = metrics_series(t->env.metrics, name, METRIC_COUNTER, UNIT_NONE, tags, NULL);
    }
    if (*series)
        counter_add(*series, 1);
}

void mqtt_count_reason(struct mqtt_target *t, enum mqtt_reasoned what, enum error_code reason)
{
    static const char *const names[] = {"connect_failures", "disconnects", "messages_dropped"};
    struct mqtt_series *s = &t->series;
    struct metric **tables[] = {s->connect_failures, s->disconnects, s->messages_dropped};
    count_tagged(t, &tables[what][reason], names[what], error_code_name(reason));
}

void mqtt_count_connack(struct mqtt_target *t, unsigned return_code)
{
    char reason[24];
    snprintf(reason, sizeof reason, "connack-%u", return_code);
    count_tagged(t, &t->series.connack[return_code], "connect_failures", reason);
}

static void fail_waiting(struct mqtt_target *t, const struct error *why)
{
    for (unsigned n = t->waiting.n; n && t->waiting.head; n--)
        mqtt_conn_unreachable(t->waiting.head, why);
}

static bool has_source_for(const struct mqtt_target *t, const struct link_addr *to)
{
    bool found = !t->options.n_sources;
    for (unsigned i = 0; i < t->options.n_sources; i++)
        found |= t->options.sources[i].addr.ss_family == to->addr.ss_family;
    return found;
}

static void resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct mqtt_target *t = arg;
    t->ticket = 0;
    t->n_addrs = 0;
    for (unsigned i = 0; i < n && t->n_addrs < MQTT_MAX_ADDRS; i++)
        if (has_source_for(t, &addrs[i]))
            t->addrs[t->n_addrs++] = addrs[i];
    t->resolve = t->n_addrs ? MQTT_RESOLVED : MQTT_UNRESOLVED;
    t->preferred = 0;
    if (t->n_addrs) {
        mqtt_target_wake(t);
        return;
    }
    struct error why;
    if (n)
        error_set(&why, ERR_INVALID, "%s has no address of the family of `source`", t->url.host);
    else
        why = *err;
    fail_waiting(t, &why);
}

static void report_dropped(struct mqtt_target *t)
{
    while (t->dropped) {
        struct mqtt_out *o = t->dropped;
        t->dropped = o->next;
        if (!t->dropped)
            t->dropped_end = &t->dropped;
        mqtt_conn_dropped(o->conn, o);
    }
}

// End of the turn. Bounded by what was there at its begin: an owner may open again from on_offline for ever.
static void work(struct loop_hook *hook, struct loop *loop)
{
    struct mqtt_target *t = container_of(hook, struct mqtt_target, hook);
    (void)loop;
    if (!t->closing.n && !t->waiting.n && !t->dropped)
        return;
    report_dropped(t);
    for (unsigned n = t->closing.n; n && t->closing.head; n--)
        mqtt_conn_closed(t->closing.head);
    if (t->waiting.n && t->resolve == MQTT_UNRESOLVED) {
        t->resolve = MQTT_RESOLVING;
        uint64_t ticket = resolver_lookup(t->env.resolver, t->url.host, t->url.port, resolved, t);
        if (t->resolve == MQTT_RESOLVING)
            t->ticket = ticket;
    }
    for (unsigned n = t->waiting.n; n && t->waiting.head && t->resolve == MQTT_RESOLVED; n--) {
        if (t->connecting >= t->options.connect_window)
            return;
        mqtt_conn_attempt(t->waiting.head);
    }
    mqtt_target_wake(t);
}

void mqtt_target_wake(struct mqtt_target *t)
{
    bool startable = t->waiting.n && t->resolve != MQTT_RESOLVING && t->connecting < t->options.connect_window;
    if (t->closing.n || t->dropped || startable)
        loop_again(t->env.loop);
}

struct mqtt_target *mqtt_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                    const char *group, struct error *err)
{
    struct mqtt_target *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for an MQTT target");
        return NULL;
    }
    t->env = *env;
    if (mqtt_options_parse(options, &t->options, err) < 0 || url_parse(url, "mqtt", &t->url, err) < 0)
        goto fail;
    if (strcmp(t->url.scheme, "mqtt") != 0) {
        error_set(err, ERR_UNSUPPORTED, "%s: the scheme %s is not there yet, use mqtt://", url, t->url.scheme);
        goto fail;
    }
    if (t->url.path[0] && strcmp(t->url.path, "/") != 0) {
        error_set(err, ERR_INVALID, "an MQTT URL has no path: expected mqtt://host:port, got path \"%s\"", t->url.path);
        goto fail;
    }
    url_display(&t->url, t->shown, sizeof t->shown);
    int n = snprintf(t->tags, sizeof t->tags, "group:%s,protocol:mqtt", group);
    if (n < 0 || (size_t)n >= sizeof t->tags) {
        error_set(err, ERR_INVALID, "the group name \"%.40s...\" is too long", group);
        goto fail;
    }
    if (make_series(t, err) < 0)
        goto fail;
    buf_create(&t->identity, IDENTITY_MAX);
    t->dropped_end = &t->dropped;
    t->spread_above = SPREAD_ABOVE;
    t->hook.priority = 15; // after the Lua tasks (10), before the links write (20)
    t->hook.fn = work;
    loop_hook_add(env->loop, &t->hook);
    return t;
fail:
    free(t);
    return NULL;
}

void mqtt_target_delete(struct mqtt_target *t)
{
    if (!t)
        return;
    if (t->resolve == MQTT_RESOLVING)
        resolver_cancel(t->env.resolver, t->ticket);
    loop_hook_remove(t->env.loop, &t->hook);
    buf_destroy(&t->identity);
    free(t);
}
