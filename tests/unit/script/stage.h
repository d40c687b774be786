// A scenario on a stage: its text is loaded as in a shard, its devices run on the fake adapter and a virtual clock,
// what it logs, publishes and gets wrong is kept.
#pragma once
#include "device/fake.h"
#include "core/log.h"
#include "metrics/metrics.h"
#include "script/internal.h"
#include "script/scenario.h"

struct stage {
    const struct scenario_ops *ops;
    struct scenario *scenario;
    struct metrics *metrics;
    struct log *log;
    struct fleet *fleet;
    json_t *plan;
    char lines[65536]; // of the log
    size_t n_lines, lines_len;
    struct diagnostic diagnostics[8];
    unsigned n_diagnostics;
    char published[16384]; // "topic payload\n", what does not fit is only counted
    size_t published_len;
    unsigned device_errors, fail_runs;
    struct error err;
    // as the director
    int done_code;
    char done_error[2048];
    unsigned n_done, n_checks, n_failed;
    json_t *status;
    const char *params[4];
    unsigned n_params;
    const char *path;        // of the scenario, NULL: test.lua
    struct model *models[4]; // of the groups, by their place
};

static void stage_line(void *arg, enum log_level level, const char *line, size_t n)
{
    struct stage *st = arg;
    (void)level;
    st->n_lines++;
    if (st->lines_len + n >= sizeof(st->lines))
        return;
    memcpy(st->lines + st->lines_len, line, n);
    st->lines_len += n;
    st->lines[st->lines_len] = '\0';
}

static void stage_diagnostic(void *arg, const struct diagnostic *d)
{
    struct stage *st = arg;
    if (st->n_diagnostics < 8)
        st->diagnostics[st->n_diagnostics++] = *d;
}

static void stage_published(void *arg, struct device *d, const struct adapter_message *m)
{
    struct stage *st = arg;
    (void)d;
    size_t room = sizeof(st->published) - st->published_len;
    int n = snprintf(st->published + st->published_len, room, "%.*s %.*s\n", (int)m->topic_len, m->topic,
                     (int)m->payload_len, m->payload ? (const char *)m->payload : "");
    if (n > 0 && (size_t)n < room)
        st->published_len += (size_t)n;
    else
        st->published[st->published_len] = '\0';
}

static void stage_device_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    struct stage *st = arg;
    (void)d, (void)text;
    st->device_errors++;
    st->fail_runs += fail_run;
}

// Loads the text; st->plan is NULL when it is no good.
static inline void stage_load(struct stage *st, const char *text)
{
    struct log_config log = {.fd = 2, .level = LOG_INFO, .sink = stage_line, .sink_arg = st};
    fake_setup();
    fake.auto_online = true;
    fake.on_publish = stage_published;
    fake.on_publish_arg = st;
    st->ops = script_scenario_ops();
    st->metrics = metrics_new(1000);
    st->log = log_new(&log);
    struct scenario_config config = {.path = st->path ? st->path : "test.lua",
                                     .text = text,
                                     .text_len = strlen(text),
                                     .params = st->params,
                                     .n_params = st->n_params,
                                     .loop = fake.loop,
                                     .log = st->log,
                                     .metrics = st->metrics,
                                     .diagnostic = stage_diagnostic,
                                     .diagnostic_arg = st};
    st->scenario = st->ops->open(&config, &st->err);
    if (!st->scenario)
        fail_msg("%s", st->err.text);
    st->plan = st->ops->load(st->scenario);
}

static inline struct stage *stage_new(void)
{
    struct stage *st = calloc(1, sizeof(*st));
    assert_non_null(st);
    return st;
}

static inline const struct model *stage_model(struct stage *st, const json_t *g, size_t place)
{
    const char *path = json_string_value(json_object_get(g, "model"));
    if (!path)
        return NULL;
    const json_t *entry = json_object_get(json_object_get(st->plan, "models"), path);
    const char *text = json_string_value(json_object_get(entry, "text"));
    assert_true(text && place < 4);
    st->models[place] = model_parse(text, strlen(text), path, NULL, &st->err);
    if (!st->models[place])
        fail_msg("%s", st->err.text);
    return st->models[place];
}

// What the engine makes of a group's target: URLs of http and coap as they are, anything else is the fake's.
static inline const char *stage_url(const json_t *g)
{
    const char *url = json_string_value(json_object_get(g, "broker"));
    return url && (!strncmp(url, "http", 4) || !strncmp(url, "coap", 4)) ? url : "fake://nowhere";
}

static inline void stage_add_group(struct stage *st, const json_t *g)
{
    static const char *const policies[] = {"stop", "restart", "fail"};
    const char *policy = json_string_value(json_object_get(g, "on_error"));
    struct group_config gc = {.name = json_string_value(json_object_get(g, "name")),
                              .number = (unsigned)json_integer_value(json_object_get(g, "number")),
                              .count = (uint64_t)json_integer_value(json_object_get(g, "count")),
                              .behaviour = json_is_true(json_object_get(g, "behaviour")),
                              .url = stage_url(g),
                              .qos = (int)json_integer_value(json_object_get(g, "qos")),
                              .max_restarts = (unsigned)json_integer_value(json_object_get(g, "max_restarts"))};
    gc.model = stage_model(st, g, gc.number);
    gc.username = json_string_value(json_object_get(g, "username"));
    gc.password = json_string_value(json_object_get(g, "password"));
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(policy, policies[i]) == 0)
            gc.on_error = (enum on_error)i;
    if (!fleet_add_group(st->fleet, &gc, &st->err))
        fail_msg("%s", st->err.text);
}

// Loads a text that must be good and starts its devices.
static inline void stage_start(struct stage *st, const char *text)
{
    stage_load(st, text);
    if (!st->plan)
        fail_msg("line %d: %s", st->diagnostics[0].line, st->diagnostics[0].message);
    struct fleet_config fc = fake_fleet_config();
    fc.find_adapter = fake_find_more;
    fc.env.metrics = st->metrics;
    fc.ops = st->ops->device_ops(st->scenario);
    fc.ops_arg = st->scenario;
    fc.on_device_error = stage_device_error;
    fc.on_device_error_arg = st;
    st->fleet = fleet_new(&fc, &st->err);
    assert_non_null(st->fleet);
    json_t *groups = json_object_get(st->plan, "groups"), *g;
    size_t i;
    json_array_foreach(groups, i, g)
    {
        json_object_set_new(g, "number", json_integer((json_int_t)i));
        stage_add_group(st, g);
    }
    assert_int_equal(st->ops->attach(st->scenario, st->fleet, st->plan, &st->err), 0);
    fleet_start(st->fleet, loop_now_us(fake.loop));
}

static inline struct stage *stage_open(const char *text)
{
    struct stage *st = stage_new();
    stage_start(st, text);
    return st;
}

// The behaviour of one group "g" of `count` devices.
static inline struct stage *stage_behaviour(const char *body, unsigned count, const char *more)
{
    char *text = NULL;
    assert_true(
        asprintf(
            &text,
            "local iotix = require 'iotix'\nlocal shared = {}\n"
            "return iotix.scenario { name = 't', duration = '1h', groups = { iotix.group { name = 'g', count = %u, %s"
            "behaviour = function(dev)\n%s\nend } } }\n",
            count, more, body) > 0);
    struct stage *st = stage_open(text);
    free(text);
    return st;
}

static inline void stage_run(struct stage *st, double seconds)
{
    (void)st;
    run_until(fake.loop, loop_now_us(fake.loop) + (int64_t)(seconds * 1e6));
}

static inline struct device *stage_device(const struct stage *st, unsigned index)
{
    return fleet_group(st->fleet, 0)->devices[index - 1];
}

static inline void stage_says(const struct stage *st, const char *text)
{
    if (!strstr(st->lines, text))
        fail_msg("expected \"%s\" in the log:\n%s", text, st->lines);
}

static inline void stage_silent(const struct stage *st, const char *text)
{
    if (strstr(st->lines, text))
        fail_msg("did not expect \"%s\" in the log:\n%s", text, st->lines);
}

static inline unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

// No task, no wait and no connection may be left.
static inline void stage_close(struct stage *st)
{
    fleet_delete(st->fleet);
    if (st->scenario) {
        st->ops->stop(st->scenario);
        for (int i = 0; i < 3; i++)
            loop_turn(fake.loop, 0);
        struct tasks_stats stats;
        tasks_stats(st->scenario->tasks, &stats);
        assert_int_equal(stats.live, 0);
        assert_int_equal(lua_gettop(st->scenario->L), 0);
        st->ops->close(st->scenario);
    }
    for (unsigned i = 0; i < 4; i++)
        model_delete(st->models[i]);
    json_decref(st->plan);
    json_decref(st->status);
    log_delete(st->log);
    metrics_delete(st->metrics);
    fake_teardown();
    free(st);
}

// --- as the director ----------------------------------------------------------------------------------------------

static int64_t stage_elapsed(void *arg)
{
    (void)arg;
    return loop_now_us(fake.loop);
}

static const json_t *stage_status(void *arg)
{
    return ((struct stage *)arg)->status;
}

static struct observer *stage_observer(void *arg, const char *url, struct error *err)
{
    (void)arg, (void)url;
    error_set(err, ERR_REFUSED, "there is no broker");
    return NULL;
}

static void stage_check(void *arg, const char *name, bool ok, const char *detail)
{
    struct stage *st = arg;
    assert_non_null(name);
    assert_non_null(detail);
    st->n_checks++;
    st->n_failed += !ok;
}

static void stage_done(void *arg, int code, const char *error)
{
    struct stage *st = arg;
    st->n_done++;
    st->done_code = code;
    snprintf(st->done_error, sizeof(st->done_error), "%s", error ? error : "");
}

// Runs the test function for `seconds` of virtual time.
static inline struct stage *stage_test(const char *body, double seconds)
{
    char *text = NULL;
    struct stage *st = stage_new();
    assert_true(asprintf(&text,
                         "local iotix = require 'iotix'\n"
                         "return iotix.scenario { name = 't', groups = { iotix.group { name = 'g', count = 3, "
                         "behaviour = function() end } },"
                         " test = function(run)\n%s\nend }\n",
                         body) > 0);
    stage_load(st, text);
    free(text);
    if (!st->plan)
        fail_msg("line %d: %s", st->diagnostics[0].line, st->diagnostics[0].message);
    st->status = json_pack("{s:{s:{s:i,s:i}}}", "groups", "g", "count", 3, "online", 2);
    struct test_env env = {.arg = st,
                           .seed = 1,
                           .elapsed_us = stage_elapsed,
                           .status = stage_status,
                           .observer = stage_observer,
                           .check = stage_check,
                           .done = stage_done};
    assert_int_equal(st->ops->test_start(st->scenario, &env, &st->err), 0);
    stage_run(st, seconds);
    return st;
}
