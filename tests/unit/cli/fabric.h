// Runs that never happened: plans, statuses and results as the engine would hand them out, and a stand-in for the
// engine.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/command.h"
#include "cli/view.h"
#include "core/file.h"
#include "core/jsonx.h"

static const char fabric_plan_text[] =
    "{\"name\":\"fleet\",\"file\":\"fleet.lua\",\"sha256\":\"3f9ab2c4d5e6f708\",\"duration\":370000000,"
    "\"broker\":\"mqtts://alice:s3cret@broker.test:8883\",\"stop_timeout\":30000000,\"has_test\":true,"
    "\"params\":{\"rate\":{\"type\":\"integer\",\"value\":5,\"default\":5,\"help\":\"Messages a second of a device\"},"
    "\"api_token\":{\"type\":\"string\",\"value\":\"hunter2\",\"default\":\"\",\"help\":\"Key of the API\"}},"
    "\"groups\":["
    "{\"name\":\"sensors\",\"number\":0,\"line\":12,\"count\":9000,\"behaviour\":true,\"launch\":{\"strategy\":"
    "\"linear\",\"rate\":150},"
    "\"id\":\"${groupId}-${index}\",\"topics\":\"${groupId}/"
    "${deviceId}\",\"password\":\"pw\",\"qos\":1,\"on_error\":\"stop\",\"max_restarts\":10,\"memory\":1048576},"
    "{\"name\":\"gateways\",\"number\":1,\"line\":30,\"count\":1000,\"behaviour\":true,\"launch\":{\"strategy\":"
    "\"immediate\"},"
    "\"id\":\"${groupId}-${index}\",\"topics\":\"${groupId}/"
    "${deviceId}\",\"qos\":1,\"on_error\":\"stop\",\"max_restarts\":10,\"memory\":1048576}],"
    "\"models\":{},\"thresholds\":["
    "{\"metric\":\"publish_latency\",\"expr\":\"p99 < 50ms\",\"line\":40},"
    "{\"metric\":\"connect_errors\",\"expr\":\"rate < 0.1%\",\"line\":41},"
    "{\"metric\":\"connect_latency{group:sensors}\",\"expr\":\"p95 < 200ms\",\"line\":42}]}";

static inline struct plan *fabric_plan(const char *text)
{
    struct error err;
    json_t *json = json_parse(text, strlen(text), "plan", &err);
    if (!json)
        fail_msg("%s", err.text);
    struct plan *plan = plan_parse(json, &err);
    if (!plan)
        fail_msg("%s", err.text);
    return plan;
}

static inline struct metrics *fabric_metrics(void)
{
    struct error err;
    struct metrics *m = metrics_new(100);
    assert_non_null(m);
    struct metric *publish = metrics_series(m, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:sensors", &err);
    struct metric *connect = metrics_series(m, "connect_latency", METRIC_TREND, UNIT_TIME_US, "group:sensors", &err);
    struct metric *command = metrics_series(m, "user_command_time", METRIC_TREND, UNIT_TIME_US, NULL, &err);
    struct metric *refused =
        metrics_series(m, "connect_failures", METRIC_COUNTER, UNIT_NONE, "group:sensors,reason:connack-5", &err);
    struct metric *late =
        metrics_series(m, "connect_failures", METRIC_COUNTER, UNIT_NONE, "group:gateways,reason:timeout", &err);
    struct metric *more =
        metrics_series(m, "connect_failures", METRIC_COUNTER, UNIT_NONE, "group:gateways,reason:connack-5", &err);
    assert_non_null(publish);
    assert_non_null(connect);
    assert_non_null(command);
    assert_non_null(refused);
    assert_non_null(late);
    assert_non_null(more);
    for (int i = 1; i <= 1000; i++) {
        trend_add(publish, i * 20);
        trend_add(connect, i * 310);
        trend_add(command, i * 1000);
    }
    trend_add(publish, 212000);
    counter_add(refused, 30);
    counter_add(more, 1);
    counter_add(late, 6);
    return m;
}

static inline void fabric_preflight(struct preflight *p)
{
    *p = (struct preflight){.devices = 10000,
                            .shards = 1,
                            .fds_needed = 10064,
                            .fds_limit = 65536,
                            .ports_needed = 10000,
                            .ports_available = 28232,
                            .memory_needed = 40000000,
                            .memory_available = 4000000000u,
                            .cores = 4};
}

struct fabric_status {
    struct run_status status;
    struct threshold_result results[3];
    struct plan *plan;
    struct metrics *metrics;
};

static inline void fabric_status_create(struct fabric_status *f)
{
    memset(f, 0, sizeof(*f));
    f->plan = fabric_plan(fabric_plan_text);
    f->metrics = fabric_metrics();
    f->results[0] =
        (struct threshold_result){.state = THRESHOLD_PASS, .actual_text = "21.4 ms", .limit_text = "< 50 ms"};
    f->results[1] = (struct threshold_result){
        .state = THRESHOLD_FAIL, .failed = true, .actual_text = "0.31 %", .limit_text = "< 0.1 %"};
    f->results[2] = (struct threshold_result){
        .state = THRESHOLD_NO_DATA, .failed = true, .actual_text = "no data", .limit_text = "< 200 ms"};
    f->status = (struct run_status){
        .phase = RUN_HOLD,
        .elapsed_us = 134000000,
        .duration_us = 300000000,
        .phase_since_us = 60000000,
        .totals = {.devices = 10000,
                   .started = 10000,
                   .online = 9987,
                   .connecting = 11,
                   .ever_online = 9998,
                   .failed = 2,
                   .sent = 6000000,
                   .acked = 6000000,
                   .received = 12,
                   .bytes_out = 1600000000,
                   .errors = 37,
                   .connects = 10040},
        .sent_per_s = 48912,
        .received_per_s = 3,
        .bytes_per_s = 12.1 * 1024 * 1024,
        .metrics = f->metrics,
        .p50_us = 3100,
        .p95_us = 9800,
        .p99_us = 21000,
        .max_us = 212000,
        .latency_count = 480000,
        .cpu = 0.61,
        .late_ticks = 0.002,
        .rss_bytes = 412ull << 20,
        .n_thresholds = 3,
        .thresholds = f->plan->thresholds,
        .threshold_results = f->results,
    };
}

static inline void fabric_status_destroy(struct fabric_status *f)
{
    plan_delete(f->plan);
    metrics_delete(f->metrics);
}

// A finished run, all of it on the heap, as run_result_destroy expects.
static inline void fabric_result(struct run_result *r)
{
    memset(r, 0, sizeof(*r));
    r->exit_code = EXIT_THRESHOLDS;
    r->n_reasons = 1;
    r->reasons[0].code = EXIT_THRESHOLDS;
    snprintf(r->reasons[0].text, sizeof(r->reasons[0].text), "2 of 3 thresholds failed");
    r->plan = fabric_plan(fabric_plan_text);
    fabric_preflight(&r->preflight);
    snprintf(r->run_id, sizeof(r->run_id), "01J9ZQ3K");
    r->seed = 42;
    snprintf(r->broker_url, sizeof(r->broker_url), "mqtts://broker.test:8883");
    r->elapsed_us = 371200000;
    r->measured_us = 370000000;
    r->totals = (struct run_totals){.devices = 10000,
                                    .started = 10000,
                                    .ever_online = 9987,
                                    .failed = 2,
                                    .sent = 17412338,
                                    .acked = 17412301,
                                    .received = 220,
                                    .dropped = 37,
                                    .bytes_out = 4724464025u,
                                    .bytes_in = 69649204,
                                    .errors = 37,
                                    .reconnects = 2};
    r->n_groups = 2;
    r->groups = calloc(2, sizeof(*r->groups));
    r->groups[0] = (struct run_group_status){.name = r->plan->groups[0].config.name,
                                             .count = 9000,
                                             .started = 9000,
                                             .online = 8990,
                                             .running = 8990,
                                             .error = 2};
    r->groups[1] = (struct run_group_status){
        .name = r->plan->groups[1].config.name, .count = 1000, .started = 1000, .online = 997, .running = 1000};
    r->metrics = fabric_metrics();
    r->n_thresholds = 3;
    r->thresholds = calloc(3, sizeof(*r->thresholds));
    r->thresholds[0] =
        (struct threshold_result){.state = THRESHOLD_PASS, .actual_text = "21.4 ms", .limit_text = "< 50 ms"};
    r->thresholds[1] = (struct threshold_result){
        .state = THRESHOLD_FAIL, .failed = true, .actual_text = "0.31 %", .limit_text = "< 0.1 %"};
    r->thresholds[2] = (struct threshold_result){
        .state = THRESHOLD_NO_DATA, .failed = true, .actual_text = "no data", .limit_text = "< 200 ms"};
    r->n_checks = 2;
    r->checks = calloc(2, sizeof(*r->checks));
    r->checks[0] = (struct run_check){.ok = true, .t_us = 61000000};
    snprintf(r->checks[0].name, sizeof(r->checks[0].name), "message on actuators/+/state within 5 s");
    r->checks[1] = (struct run_check){.ok = true, .t_us = 62000000};
    snprintf(r->checks[1].name, sizeof(r->checks[1].name), "online at least 990");
    r->n_errors = 2;
    r->errors = calloc(2, sizeof(*r->errors));
    r->errors[0] = (struct run_error_group){.reason = "connack-5",
                                            .text = "broker.test refused: not authorized",
                                            .count = 31,
                                            .first_us = 41000000,
                                            .device = "sensors-00412"};
    r->errors[1] = (struct run_error_group){
        .reason = "timeout", .text = "timeout", .count = 6, .first_us = 130000000, .device = "gateways-17"};
    r->cpu_avg = 0.61;
    r->cpu_max = 0.78;
    r->late_ticks = 0.002;
    r->trustworthy = true;
    r->longest_turn_us = 3200;
    r->shards = 1;
}

static inline void fabric_pass(struct run_result *r)
{
    r->exit_code = 0;
    r->n_reasons = 0;
    for (unsigned i = 0; i < r->n_thresholds; i++) {
        r->thresholds[i].state = THRESHOLD_PASS;
        r->thresholds[i].failed = false;
    }
    snprintf(r->thresholds[1].actual_text, sizeof(r->thresholds[1].actual_text), "0.02 %%");
    snprintf(r->thresholds[2].actual_text, sizeof(r->thresholds[2].actual_text), "88.0 ms");
}

static const struct style fabric_wide = {.utf8 = true, .color = false, .width = 0};
static const struct style fabric_80 = {.utf8 = true, .color = false, .width = 80};

// Compares with tests/unit/cli/golden/NAME; IOTIX_UPDATE_GOLDEN=1 writes it instead.
static inline void golden(const char *name, struct buf *actual)
{
    char path[512];
    struct error err;
    struct buf want;
    snprintf(path, sizeof(path), IOTIX_SOURCE_DIR "/tests/unit/cli/golden/%s", name);
    if (getenv("IOTIX_UPDATE_GOLDEN")) {
        if (file_write_atomic(path, actual->data, actual->len, &err))
            fail_msg("%s", err.text);
        return;
    }
    buf_create(&want, 1u << 20);
    if (file_read(path, 1u << 19, &want, &err))
        fail_msg("%s", err.text);
    assert_string_equal(buf_cstr(actual), buf_cstr(&want));
    buf_destroy(&want);
}

// No line wider than `width`, nothing that a terminal acts on but newlines.
static inline void assert_tame(struct buf *b, unsigned width)
{
    static const struct style utf8 = {.utf8 = true};
    char *text = strdup(buf_cstr(b));
    assert_non_null(text);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        for (char *c = line; *c; c++)
            assert_false((unsigned char)*c < 0x20 || *c == 0x7f);
        if (width && text_width(&utf8, line) > width)
            fail_msg("%u columns: %s", text_width(&utf8, line), line);
    }
    free(text);
}
