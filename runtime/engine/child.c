// A child that can no longer talk to its supervisor has no reason to live: it leaves at once.
#include "engine/child.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/jsonx.h"
#include "engine/capture.h"

#define LOG_WAITING_MAX (4u << 20) // beyond it log lines are dropped and counted: they must never close the channel
#define SERIES_MAX 20000
#define DRAIN_US 2000000
#define EXIT_ORPHAN 125
#define EXIT_CHANNEL 71

void child_send(struct child *c, enum message_type type, json_t *stolen)
{
    struct error err;
    if (channel_send_json(c->channel, type, stolen, &err) && err.code != ERR_CLOSED)
        _exit(EXIT_CHANNEL);
}

static void send_line(struct child *c, enum log_level level, const char *line, size_t n)
{
    child_send(c, MSG_LOG, json_pack("{s:s, s:o}", "level", log_level_name(level), "line", json_text(line, n)));
}

static void on_log(void *arg, enum log_level level, const char *line, size_t n)
{
    struct child *c = arg;
    if (channel_waiting(c->channel) > LOG_WAITING_MAX) {
        c->lines_lost++;
        return;
    }
    if (c->lines_lost) {
        uint64_t lost = c->lines_lost;
        c->lines_lost = 0;
        log_write(c->log, LOG_WARN, NULL, "%llu log lines were dropped: they came faster than they could be written",
                  (unsigned long long)lost);
    }
    send_line(c, level, line, n);
}

static void on_message(void *arg, enum message_type type, const uint8_t *payload, size_t n)
{
    struct child *c = arg;
    struct error err;
    if (type == MSG_SENT) {
        if (c->on_bytes)
            c->on_bytes(c, payload, n);
        return;
    }
    json_t *message = n ? json_parse((const char *)payload, n, "message", &err) : NULL;
    if (n && !message) {
        log_write(c->log, LOG_ERROR, NULL, "a message of the supervisor cannot be read: %s", err.text);
        _exit(EXIT_CHANNEL);
    }
    if (type == MSG_PING)
        child_send(c, MSG_PONG,
                   json_pack("{s:O?, s:I}", "n", json_object_get(message, "n"), "turn",
                             (json_int_t)c->start->heartbeat->turn));
    else
        c->on_message(c, type, message);
    json_decref(message);
}

static void on_closed(void *arg, const struct error *why)
{
    (void)arg, (void)why;
    _exit(EXIT_ORPHAN);
}

static void count_turn(struct loop_hook *hook, struct loop *loop)
{
    (void)loop;
    struct child *c = container_of(hook, struct child, hook);
    c->start->heartbeat->turn++;
}

int child_create(struct child *c, const struct child_start *start, int channel, struct error *err)
{
    static const struct channel_events events = {on_message, on_closed};
    struct clock clock;
    if (start->capture)
        clock_create_virtual(&clock, start->capture->from_us);
    else
        clock_create_real(&clock);
    c->start = start;
    prctl(PR_SET_NAME, start->name);
    c->loop = loop_new(&clock, err);
    if (c->loop && start->capture) { // until GO time stands still
        loop_simulate(c->loop, VIRTUAL_POLL_US);
        loop_hold(c->loop, true);
    }
    c->channel = c->loop ? channel_new(c->loop, channel, &events, c, err) : NULL;
    if (!c->channel)
        return -1;
    struct log_config log = log_settings(start->run->log);
    log.sink = on_log;
    log.sink_arg = c;
    c->log = log_new(&log);
    c->metrics = metrics_new(SERIES_MAX);
    if (!c->log || !c->metrics)
        return error_set(err, ERR_NO_MEMORY, "no memory for a child process");
    c->hook = (struct loop_hook){.priority = 30, .fn = count_turn};
    loop_hook_add(c->loop, &c->hook);
    return 0;
}

void child_destroy(struct child *c)
{
    if (c->scenario)
        c->start->run->ops->close(c->scenario);
    metrics_delete(c->metrics);
    if (c->channel && channel_drain(c->channel, DRAIN_US))
        c->status = c->status ? c->status : EXIT_CHANNEL;
    channel_delete(c->channel);
    log_delete(c->log);
    loop_delete(c->loop);
}

static void on_diagnostic(void *arg, const struct diagnostic *d)
{
    child_send(arg, MSG_DIAGNOSTIC,
               json_pack("{s:o, s:o, s:i, s:i, s:o, s:o, s:i}", "code", json_text_of(d->code), "file",
                         json_text_of(d->file), "line", d->line, "col", d->col, "message", json_text_of(d->message),
                         "hint", json_text_of(d->hint), "error_code", d->exit_code));
}

void child_diagnose(struct child *c, const char *code, int exit_code, const char *text)
{
    struct diagnostic d = {.exit_code = exit_code};
    snprintf(d.code, sizeof(d.code), "%s", code);
    snprintf(d.file, sizeof(d.file), "%s", c->start->run->scenario_path);
    snprintf(d.message, sizeof(d.message), "%s", text);
    on_diagnostic(c, &d);
}

static void tell_barrier(void *arg, json_t *stolen)
{
    child_send(arg, MSG_BARRIER, stolen);
}

json_t *child_load(struct child *c, bool director)
{
    const struct run_config *run = c->start->run;
    struct error err = {0};
    struct scenario_config config = {
        .path = run->scenario_path,
        .text = run->scenario_text,
        .text_len = run->scenario_text_len,
        .sha256 = c->start->sha256,
        .model_dirs = run->model_dirs,
        .n_model_dirs = run->n_model_dirs,
        .params = run->params,
        .n_params = run->n_params,
        .env = run->env,
        .n_env = run->n_env,
        .args = run->args,
        .n_args = run->n_args,
        .jit = run->jit,
        .director = director,
        .lenient = !director,
        .loop = c->loop,
        .log = c->log,
        .metrics = c->metrics,
        .heartbeat = c->start->heartbeat,
        .diagnostic = on_diagnostic,
        .diagnostic_arg = c,
        .barrier = director || c->start->capture ? NULL : tell_barrier, // in virtual time shards do not wait for others
        .barrier_arg = c,
    };
    c->scenario = run->ops->open(&config, &err);
    if (!c->scenario) {
        child_diagnose(c, "IOTX090", EXIT_SCENARIO, err.text);
        return NULL;
    }
    c->start->heartbeat->phase = PHASE_LOAD;
    json_t *plan = run->ops->load(c->scenario);
    c->start->heartbeat->phase = PHASE_BOOT;
    return plan;
}

void child_send_snapshot(struct child *c)
{
    struct buf bytes;
    struct error err;
    buf_create(&bytes, MESSAGE_MAX);
    if (metrics_encode(c->metrics, &bytes))
        log_write(c->log, LOG_ERROR, NULL, "the metrics do not fit in a snapshot of %u MB", MESSAGE_MAX >> 20);
    else if (channel_send(c->channel, MSG_SNAPSHOT, bytes.data, bytes.len, &err) && err.code != ERR_CLOSED)
        _exit(EXIT_CHANNEL);
    buf_destroy(&bytes);
}

void child_done(struct child *c, int64_t undelivered, json_t *captured, json_t *sinks)
{
    child_send_snapshot(c);
    child_send(
        c, MSG_DONE,
        json_pack("{s:I, s:o*, s:o*}", "undelivered", (json_int_t)undelivered, "captured", captured, "sinks", sinks));
    loop_stop(c->loop);
}
