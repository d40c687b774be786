// Timers are libev's: servers live in real time.
#include "engine/sinks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/log.h"
#include "device/proxy.h"
#include "engine/record_maker.h"
#include "engine/secrets.h"
#include "sink/ledger.h"
#include "sink/sink.h"

#define LOOK_S 0.25 // how often figures may be due
#define STATS_US 5000000
#define WAIT_LOOK_S 0.002 // while the virtual clock waits
#define WAIT_FROM 50u     // percent of a sink's memory
#define WAIT_UNTIL 25u
#define WAIT_SAY_S 10.0
#define WAIT_MAX_S 60.0 // for a server that never took anything

struct one {
    const struct plan_sink *plan;
    const struct sink_ops *ops;
    struct sink *sink;
    struct metric *refused, *delivered;
    double stats_s, due; // ev_now
};

struct sinks {
    struct sinks_config config;
    struct device_tap tap;
    struct record_maker maker;
    struct one all[SINKS_MAX];
    unsigned n;
    ev_timer look, wait;
    double waiting_since, said_at;
    bool waiting, released, drained;
};

// --- what devices do ----------------------------------------------------------------------------------------------

static void wait_for(struct sinks *s)
{
    struct ev_loop *ev = loop_ev(s->config.loop);
    for (unsigned i = 0; i < s->n; i++) {
        if (!s->all[i].ops->load || s->all[i].ops->load(s->all[i].sink) < WAIT_FROM)
            continue;
        s->waiting = true;
        s->waiting_since = s->said_at = ev_now(ev);
        loop_hold(s->config.loop, true);
        ev_timer_start(ev, &s->wait);
        return;
    }
}

static void sent(void *arg, const struct device *d, const struct adapter_message *m, bool forwarded)
{
    struct sinks *s = arg;
    struct record r;
    if (forwarded || s->drained || record_make(&s->maker, d, m, loop_wall_us(s->config.loop), &r, NULL))
        return;
    for (unsigned i = 0; i < s->n; i++)
        if (s->all[i].ops->telemetry)
            s->all[i].ops->telemetry(s->all[i].sink, &r);
    if (s->config.virtual_time && !s->waiting && !s->released)
        wait_for(s);
}

static void event(void *arg, const struct device *d, const char *kind, const char *detail, int64_t latency_us)
{
    struct sinks *s = arg;
    struct buf *name = &s->maker.name;
    buf_clear(name);
    if (s->drained || device_name(d, name))
        return;
    const struct model *model = d->group->config.model;
    const struct sink_event e = {.wall_us = loop_wall_us(s->config.loop),
                                 .kind = kind,
                                 .group = d->group->config.name,
                                 .device = buf_cstr(name),
                                 .model = model && model->id ? model->id : "",
                                 .protocol = d->group->adapter ? d->group->adapter->name : "",
                                 .detail = detail,
                                 .latency_us = latency_us,
                                 .physical = d->proxy != NULL};
    for (unsigned i = 0; i < s->n; i++)
        if (s->all[i].ops->event)
            s->all[i].ops->event(s->all[i].sink, &e);
}

static int refuse(void *arg, const struct device *d, struct error *err)
{
    struct sinks *s = arg;
    (void)d;
    for (unsigned i = 0; i < s->n; i++) {
        struct one *o = &s->all[i];
        if (!o->ops->full || !o->ops->full(o->sink))
            continue;
        counter_add(o->refused, 1);
        return error_set(err, ERR_LIMIT, "sink %s is full, and its policy is to block", o->plan->name);
    }
    return 0;
}

// --- time ---------------------------------------------------------------------------------------------------------

static void on_look(struct ev_loop *ev, ev_timer *w, int events)
{
    struct sinks *s = container_of(w, struct sinks, look);
    (void)events;
    for (unsigned i = 0; i < s->n; i++) {
        struct one *o = &s->all[i];
        if (!o->ops->figures || ev_now(ev) < o->due)
            continue;
        o->due = ev_now(ev) + o->stats_s;
        o->ops->figures(o->sink, s->config.metrics, loop_wall_us(s->config.loop), false);
    }
}

static void go_on(struct sinks *s)
{
    ev_timer_stop(loop_ev(s->config.loop), &s->wait);
    if (s->waiting)
        loop_hold(s->config.loop, false);
    s->waiting = false;
}

static void on_wait(struct ev_loop *ev, ev_timer *w, int events)
{
    struct sinks *s = container_of(w, struct sinks, wait);
    const struct one *slow = NULL;
    struct error err;
    (void)events;
    for (unsigned i = 0; i < s->n && !slow; i++)
        if (s->all[i].ops->load && s->all[i].ops->load(s->all[i].sink) > WAIT_UNTIL)
            slow = &s->all[i];
    if (!slow) {
        go_on(s);
        return;
    }
    const char *why = slow->ops->trouble ? slow->ops->trouble(slow->sink) : "";
    if (ev_now(ev) - s->said_at > WAIT_SAY_S) {
        s->said_at = ev_now(ev);
        log_write(s->config.log, LOG_WARN, NULL, "virtual time waits for sink %s%s%s", slow->plan->name,
                  *why ? ": " : "", why);
    }
    if (ev_now(ev) - s->waiting_since < WAIT_MAX_S || slow->delivered->count)
        return;
    go_on(s);
    s->released = true;
    error_set(&err, ERR_TIMEOUT, "sink %s took nothing for %.0f s%s%.200s", slow->plan->name, WAIT_MAX_S,
              *why ? ": " : "", why);
    s->config.give_up(s->config.arg, &err);
}

void sinks_release(struct sinks *s)
{
    if (!s)
        return;
    s->released = true;
    go_on(s);
}

// --- from opening to closing --------------------------------------------------------------------------------------

static const char *find_secret(void *arg, const char *name, struct error *err)
{
    return secrets_find(arg, name, err);
}

static int count_for(struct sinks *s, struct one *o, struct error *err)
{
    char tags[80];
    snprintf(tags, sizeof(tags), "sink:%.63s", o->plan->name);
    o->refused = metrics_series(s->config.metrics, "sink_refused", METRIC_COUNTER, UNIT_NONE, tags, err);
    o->delivered =
        o->refused ? metrics_series(s->config.metrics, "sink_delivered", METRIC_COUNTER, UNIT_NONE, tags, err) : NULL;
    return o->delivered ? 0 : -1;
}

static int open_one(struct sinks *s, const struct plan_sink *p, struct error *err)
{
    const struct sinks_config *c = &s->config;
    struct one *o = &s->all[s->n];
    const struct sink_env env = {.loop = c->loop,
                                 .metrics = c->metrics,
                                 .log = c->log,
                                 .run_id = c->run_id,
                                 .run = c->run,
                                 .shard = c->shard,
                                 .shards = c->shards,
                                 .resumed = c->resumed,
                                 .secret = find_secret,
                                 .secret_arg = (void *)(uintptr_t)c->secrets};
    const json_t *options = json_object_get(p->parsed, "options");
    const json_t *stats = json_object_get(options, "statsInterval");
    o->plan = p;
    o->ops = p->ops;
    o->stats_s = (double)(json_is_integer(stats) ? json_integer_value(stats) : STATS_US) / 1e6;
    o->due = ev_now(loop_ev(c->loop)) + o->stats_s;
    if (count_for(s, o, err) || !(o->sink = p->ops->open(&env, p->name, options, err)))
        return -1;
    s->n++;
    return 0;
}

static bool wanted(const struct plan_sink *p, bool virtual_time)
{
    return !(virtual_time && p->ops->file);
}

struct sinks *sinks_open(const struct sinks_config *config, struct error *err)
{
    unsigned n = 0;
    for (unsigned i = 0; i < config->plan->n_sinks; i++)
        n += wanted(&config->plan->sinks[i], config->virtual_time);
    error_clear(err);
    struct sinks *s = n ? calloc(1, sizeof(*s)) : NULL;
    if (!s) {
        if (n)
            error_set(err, ERR_NO_MEMORY, "no memory for sinks");
        return NULL;
    }
    s->config = *config;
    record_maker_create(&s->maker);
    s->tap =
        (struct device_tap){.arg = s, .refuse = config->virtual_time ? NULL : refuse, .sent = sent, .event = event};
    ev_timer_init(&s->look, on_look, LOOK_S, LOOK_S);
    ev_timer_init(&s->wait, on_wait, WAIT_LOOK_S, WAIT_LOOK_S);
    for (unsigned i = 0; i < config->plan->n_sinks; i++) {
        if (wanted(&config->plan->sinks[i], config->virtual_time) && open_one(s, &config->plan->sinks[i], err)) {
            sinks_delete(s);
            return NULL;
        }
    }
    if (!config->virtual_time)
        ev_timer_start(loop_ev(config->loop), &s->look);
    return s;
}

void sinks_delete(struct sinks *s)
{
    if (!s)
        return;
    ev_timer_stop(loop_ev(s->config.loop), &s->look);
    ev_timer_stop(loop_ev(s->config.loop), &s->wait);
    for (unsigned i = 0; i < s->n; i++)
        s->all[i].ops->close(s->all[i].sink);
    record_maker_destroy(&s->maker);
    free(s);
}

const struct device_tap *sinks_tap(const struct sinks *s)
{
    return s ? &s->tap : NULL;
}

bool sinks_drain(struct sinks *s, bool late)
{
    bool done = true;
    if (!s)
        return true;
    if (!s->drained) {
        s->drained = true;
        ev_timer_stop(loop_ev(s->config.loop), &s->look);
        for (unsigned i = 0; i < s->n; i++)
            if (s->all[i].ops->figures)
                s->all[i].ops->figures(s->all[i].sink, s->config.metrics, loop_wall_us(s->config.loop), true);
    }
    for (unsigned i = 0; i < s->n; i++)
        done &= s->all[i].ops->drain(s->all[i].sink, late);
    return done;
}

json_t *sinks_report(const struct sinks *s)
{
    json_t *list = s ? json_array() : NULL;
    for (unsigned i = 0; list && i < s->n; i++) {
        const struct one *o = &s->all[i];
        const char *trouble = o->ops->trouble ? o->ops->trouble(o->sink) : "";
        const char *left = o->ops->left ? o->ops->left(o->sink) : "";
        json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "name", o->plan->name, "trouble",
                                              json_text_of(trouble), "left", json_text_of(left)));
    }
    return list;
}
