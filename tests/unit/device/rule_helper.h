// A fleet of one device on the fake adapter, whose messages are kept: for behaviors and failures.
#pragma once
#include "core/log.h"
#include "device/failure.h"
#include "device/rule.h"
#include "fake.h"

#define SECOND INT64_C(1000000)

struct said {
    int64_t at_us;
    char topic[80];
    char payload[400];
    size_t payload_len;
};

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct group *group;
    struct device *d;
    struct model *model;
    struct metrics *metrics;
    struct log *log;
    struct said said[400];
    unsigned n_said;
    char logged[4000];
    // custom
    int hook;
    unsigned customs;
    char params[200], what[400];
    bool refuse_custom;
    unsigned errors;
    char error[300];
};

static inline void keep_message(void *arg, struct device *d, const struct adapter_message *m)
{
    struct world *w = arg;
    (void)d;
    assert_true(w->n_said < sizeof(w->said) / sizeof(w->said[0]));
    struct said *s = &w->said[w->n_said++];
    s->at_us = loop_now_us(w->loop);
    snprintf(s->topic, sizeof(s->topic), "%.*s", (int)m->topic_len, m->topic);
    snprintf(s->payload, sizeof(s->payload), "%.*s", (int)m->payload_len, (const char *)m->payload);
    s->payload_len = m->payload_len;
}

static inline void keep_log(void *arg, enum log_level level, const char *line, size_t n)
{
    struct world *w = arg;
    (void)level;
    size_t used = strlen(w->logged);
    if (used + n < sizeof(w->logged))
        snprintf(w->logged + used, sizeof(w->logged) - used, "%.*s", (int)n, line);
}

static inline int keep_custom(void *arg, struct device *d, int hook, const json_t *params, const json_t *what,
                              struct error *err)
{
    struct world *w = arg;
    (void)d;
    w->customs++;
    w->hook = hook;
    char *text = params ? json_dumps(params, JSON_COMPACT) : strdup("none");
    snprintf(w->params, sizeof(w->params), "%s", text);
    free(text);
    text = json_dumps(what, JSON_COMPACT);
    snprintf(w->what, sizeof(w->what), "%s", text);
    free(text);
    return w->refuse_custom ? error_set(err, ERR_LIMIT, "no room for another task") : 0;
}

static inline void keep_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    struct world *w = arg;
    (void)d, (void)fail_run;
    w->errors++;
    snprintf(w->error, sizeof(w->error), "%s", text);
}

static const struct device_ops custom_ops = {.hook_custom = keep_custom};

// config: NULL, or what the group is to have beside the model.
static inline void world_open(struct world *w, const char *model, const struct group_config *config)
{
    struct error err = {0};
    memset(w, 0, sizeof(*w));
    w->loop = fake_setup();
    fake.auto_online = true;
    fake.on_publish = keep_message;
    fake.on_publish_arg = w;
    w->metrics = metrics_new(1000);
    struct log_config log = {.fd = -1, .level = LOG_DEBUG, .sink = keep_log, .sink_arg = w};
    w->log = log_new(&log);
    struct fleet_config fc = fake_fleet_config();
    fc.env.metrics = w->metrics;
    fc.env.log = w->log;
    fc.ops = &custom_ops;
    fc.ops_arg = w;
    fc.on_device_error = keep_error;
    fc.on_device_error_arg = w;
    w->fleet = fleet_new(&fc, &err);
    assert_non_null(w->fleet);
    w->model = model_of(model);
    struct group_config gc = config ? *config : fake_group_config("g", 1, NULL);
    gc.behaviour = false;
    gc.model = w->model;
    w->group = fleet_add_group(w->fleet, &gc, &err);
    if (!w->group)
        fail_msg("%s", err.text);
    w->d = w->group->devices[0];
    fleet_start(w->fleet, 0);
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
}

static inline void world_close(struct world *w)
{
    fleet_delete(w->fleet);
    model_delete(w->model);
    metrics_delete(w->metrics);
    log_delete(w->log);
    fake_teardown();
}

static inline uint64_t count_of(struct world *w, const char *name, const char *tags)
{
    struct metric *m = metrics_series(w->metrics, name, METRIC_COUNTER, UNIT_NONE, tags, NULL);
    assert_non_null(m);
    return m->count;
}

// How often a topic (all: NULL) was published to; the last payload of it.
static inline unsigned said_on(const struct world *w, const char *topic, const char **last)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->n_said; i++) {
        if (topic && strcmp(w->said[i].topic, topic))
            continue;
        n++;
        if (last)
            *last = w->said[i].payload;
    }
    return n;
}

static inline void expect_last(const struct world *w, const char *topic, const char *payload)
{
    const char *last = "nothing";
    said_on(w, topic, &last);
    if (strcmp(last, payload))
        fail_msg("on %s: %s, not %s", topic, last, payload);
}

static inline void command(struct world *w, const char *name, const char *params)
{
    json_t *v = params ? json_loads(params, 0, NULL) : NULL;
    char event[100];
    snprintf(event, sizeof(event), "command:%s", name);
    rules_event(w->d, event, v);
    json_decref(v);
}

#define HEAD "\"id\":\"s\",\"name\":\"S\",\"type\":\"actuator\",\"protocol\":\"mqtt\""
#define NUMBER(name, value)                                                                                            \
    "{\"name\":\"" name "\",\"type\":\"number\",\"generator\":{\"type\":\"constant\",\"value\":" #value "}}"
#define RAMP(name)                                                                                                     \
    "{\"name\":\"" name "\",\"type\":\"number\",\"generator\":{\"type\":\"sequence\",\"start\":0,\"step\":1}}"
#define RULE(name, trigger, action) "{\"name\":\"" name "\",\"trigger\":{" trigger "},\"action\":{" action "}}"
#define ON(event) "\"type\":\"event\",\"event\":\"" event "\""
#define WHEN(condition) "\"type\":\"condition\",\"condition\":\"" condition "\""
#define SAY(topic, payload) "\"type\":\"publish\",\"topic\":\"" topic "\",\"payload\":" payload
