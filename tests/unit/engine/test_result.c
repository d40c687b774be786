#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/file.h"
#include "core/jsonx.h"
#include "engine/run.h"

static const char plan_text[] = "{\"name\":\"fleet\",\"file\":\"fleet.lua\",\"sha256\":\"3f9a\",\"duration\":60000000,"
                                "\"groups\":[{\"name\":\"sensors\",\"count\":900,\"behaviour\":true}],"
                                "\"thresholds\":[{\"metric\":\"publish_latency{group:sensors}\",\"expr\":\"p95 < "
                                "200ms\",\"line\":40,\"abort\":true},"
                                "{\"metric\":\"connect_errors\",\"expr\":\"rate < 0.1%\"},"
                                "{\"metric\":\"subscribe_latency\",\"expr\":\"p95 < 200ms\",\"no_data\":\"pass\"}]}";

static void fill_metrics(struct run_result *r)
{
    struct error err = {0};
    r->metrics = metrics_new(100);
    struct metric *a = metrics_series(r->metrics, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:sensors", &err);
    struct metric *b = metrics_series(r->metrics, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:other", &err);
    struct metric *sent = metrics_series(r->metrics, "bytes_sent", METRIC_COUNTER, UNIT_BYTES, NULL, &err);
    struct metric *errors = metrics_series(r->metrics, "connect_errors", METRIC_RATE, UNIT_NONE, NULL, &err);
    assert_non_null(metrics_series(r->metrics, "tcp_latency", METRIC_TREND, UNIT_TIME_US, NULL, &err)); // empty
    struct metric *gauge = metrics_gauge(r->metrics, "devices_online", GAUGE_SUM, NULL, &err);
    for (int i = 1; i <= 50; i++) {
        trend_add(a, i * 1000);
        trend_add(b, (50 + i) * 1000);
    }
    counter_add(sent, 12345);
    for (int i = 0; i < 100; i++)
        rate_add(errors, i == 0);
    gauge_set(gauge, NAN); // must become null, not a broken document
}

static void fill(struct run_result *r)
{
    struct error err = {0};
    memset(r, 0, sizeof(*r));
    r->plan = plan_parse(json_parse(plan_text, strlen(plan_text), "test", &err), &err);
    assert_non_null(r->plan);
    fill_metrics(r);
    r->exit_code = EXIT_THRESHOLDS;
    r->n_reasons = 1;
    r->reasons[0].code = EXIT_THRESHOLDS;
    memcpy(r->reasons[0].text, "1 of 3 thresholds failed", 25);
    memcpy(r->run_id, "01J9ZQ3K", 9);
    r->seed = UINT64_MAX;
    memcpy(r->broker_url, "mqtt://127.0.0.1:1883", 22);
    r->started_wall_us = INT64_C(1795439069123456);
    r->elapsed_us = 61500000;
    r->measured_us = 60000000;
    r->partition = 2;
    r->partitions = 3;
    r->totals = (struct run_totals){.devices = 900,
                                    .started = 900,
                                    .online = 890,
                                    .ever_online = 899,
                                    .failed = 1,
                                    .sent = 600000,
                                    .acked = 599990,
                                    .received = 120,
                                    .dropped = 10,
                                    .bytes_out = 1u << 30,
                                    .bytes_in = 4096,
                                    .errors = 3,
                                    .connects = 910,
                                    .connect_failures = 2,
                                    .reconnects = 11};
    r->n_groups = 1;
    r->groups = calloc(1, sizeof(*r->groups));
    r->groups[0] = (struct run_group_status){.name = r->plan->groups[0].config.name,
                                             .count = 900,
                                             .online = 890,
                                             .connecting = 1,
                                             .running = 899,
                                             .error = 1,
                                             .started = 900};
    r->n_thresholds = 3;
    r->thresholds = calloc(3, sizeof(*r->thresholds));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(
            threshold_evaluate(&r->plan->thresholds[i], r->metrics, r->measured_us, &r->thresholds[i], &err), 0);
    r->n_checks = 1;
    r->checks = calloc(1, sizeof(*r->checks));
    r->checks[0].ok = true;
    r->checks[0].t_us = 1500000;
    snprintf(r->checks[0].name, sizeof(r->checks[0].name), "alarm arrives");
    r->n_errors = 1;
    r->errors = calloc(1, sizeof(*r->errors));
    r->errors[0].count = 31;
    r->errors[0].first_us = 41000000;
    snprintf(r->errors[0].reason, sizeof(r->errors[0].reason), "connack-5");
    snprintf(r->errors[0].text, sizeof(r->errors[0].text), "bytes \xff\xfe that are no UTF-8 \x1b[31m");
    snprintf(r->errors[0].device, sizeof(r->errors[0].device), "sensors-412");
    r->n_diagnostics = 1;
    r->diagnostics = calloc(1, sizeof(*r->diagnostics));
    r->diagnostics[0] =
        (struct diagnostic){.code = "IOTX012", .file = "fleet.lua", .line = 3, .message = "m", .exit_code = 104};
    r->cpu_avg = 0.61;
    r->cpu_max = 0.78;
    r->late_ticks = 0.002;
    r->trustworthy = true;
    r->longest_turn_us = 4200;
    r->shards = 3;
    r->shards_lost = r->shards_restarted = 1;
    r->preflight.cores = 2;
}

static void fill_virtual(struct run_result *r)
{
    r->virtual_time = r->test_skipped = true;
    r->virtual_from_us = 1767225600000000;
    r->virtual_us = 3600000000;
    r->n_outputs = 2;
    r->outputs[0] = (struct run_output){
        .format = "ndjson", .path = strdup("week.ndjson"), .records = 100, .bytes = 20000, .complete = true};
    r->outputs[1] = (struct run_output){.format = "influx", .path = strdup("-"), .records = 60, .skipped = 40};
}

static json_t *at(json_t *root, const char *path)
{
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", path);
    json_t *v = root;
    for (char *save = NULL, *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save))
        v = json_is_array(v) ? json_array_get(v, strtoul(part, NULL, 10)) : json_object_get(v, part);
    if (!v)
        fail_msg("no %s", path);
    return v;
}

static void is_number(json_t *root, const char *path, double expected)
{
    double v = json_number_value(at(root, path));
    if (!json_is_number(at(root, path)) || fabs(v - expected) > fabs(expected) * 0.002)
        fail_msg("%s: %g, expected %g", path, v, expected);
}

static void is_text(json_t *root, const char *path, const char *expected)
{
    json_t *v = at(root, path);
    if (!json_is_string(v) || strcmp(json_string_value(v), expected) != 0)
        fail_msg("%s: \"%s\", expected \"%s\"", path, json_string_value(v), expected);
}

static void test_virtual_time(void **state)
{
    (void)state;
    struct run_result r;
    struct error err = {0};
    fill(&r);
    json_t *s = run_result_json(&r, &err);
    assert_true(json_is_null(at(s, "run/virtual")));
    json_decref(s);
    fill_virtual(&r);
    s = run_result_json(&r, &err);
    is_text(s, "run/virtual/from", "2026-01-01T00:00:00.000Z");
    is_number(s, "run/virtual/reachedS", 3600);
    assert_true(json_is_true(at(s, "run/virtual/testSkipped")));
    is_text(s, "run/virtual/outputs/0/file", "week.ndjson");
    assert_true(json_is_true(at(s, "run/virtual/outputs/0/complete")));
    is_text(s, "run/virtual/outputs/1/format", "influx");
    is_number(s, "run/virtual/outputs/1/skipped", 40);
    assert_false(json_is_true(at(s, "run/virtual/outputs/1/complete")));
    json_decref(s);
    run_result_destroy(&r);
}

static void test_everything_is_there(void **state)
{
    (void)state;
    struct run_result r;
    fill(&r);
    struct error err = {0};
    json_t *s = run_result_json(&r, &err);
    assert_non_null(s);
    is_number(s, "schema", 1);
    is_text(s, "tool/name", "iotix");
    is_text(s, "tool/version", IOTIX_VERSION);
    is_text(s, "run/id", "01J9ZQ3K");
    is_text(s, "run/scenario", "fleet");
    is_text(s, "run/sha256", "3f9a");
    is_text(s, "run/seed", "18446744073709551615");
    is_text(s, "run/started", "2026-11-23T13:04:29.123Z");
    is_text(s, "run/broker", "mqtt://127.0.0.1:1883");
    is_number(s, "run/partition/index", 2);
    is_number(s, "run/partition/of", 3);
    is_number(s, "run/durationS", 60);
    is_number(s, "run/elapsedS", 61.5);
    is_number(s, "run/measuredS", 60);
    assert_true(json_is_false(at(s, "verdict/pass")));
    is_number(s, "verdict/exitCode", 99);
    is_number(s, "verdict/reasons/0/code", 99);
    is_text(s, "verdict/reasons/0/text", "1 of 3 thresholds failed");
    assert_int_equal(json_array_size(at(s, "thresholds")), 3);
    is_text(s, "thresholds/0/metric", "publish_latency{group:sensors}");
    is_text(s, "thresholds/0/expression", "p95 < 200ms");
    is_text(s, "thresholds/0/state", "pass");
    is_number(s, "thresholds/0/actual", 48);
    is_number(s, "thresholds/0/limit", 200);
    is_text(s, "thresholds/0/unit", "ms");
    is_text(s, "thresholds/0/limitText", "< 200 ms");
    is_number(s, "thresholds/0/line", 40);
    assert_true(json_is_true(at(s, "thresholds/0/abort")));
    is_text(s, "thresholds/1/state", "fail");
    is_number(s, "thresholds/1/actual", 0.01);
    is_number(s, "thresholds/1/limit", 0.001);
    assert_true(json_is_false(at(s, "thresholds/1/pass")));
    assert_true(json_is_null(at(s, "thresholds/1/line")));
    is_text(s, "thresholds/2/state", "noData");
    assert_true(json_is_null(at(s, "thresholds/2/actual")));
    assert_true(json_is_true(at(s, "thresholds/2/pass")));
    is_text(s, "thresholds/2/noData", "pass");
    is_text(s, "checks/0/name", "alarm arrives");
    is_number(s, "checks/0/atS", 1.5);
    is_number(s, "totals/devices/everOnline", 899);
    is_number(s, "totals/messages/sentPerS", 10000);
    is_number(s, "totals/messages/acked", 599990);
    is_number(s, "totals/bytes/out", 1u << 30);
    is_number(s, "totals/connections/reconnects", 11);
    is_text(s, "groups/0/name", "sensors");
    is_number(s, "groups/0/running", 899);
    is_number(s, "latency/publish_latency/count", 100); // both groups as one
    is_number(s, "latency/publish_latency/min", 1);
    is_number(s, "latency/publish_latency/mean", 50.5);
    is_number(s, "latency/publish_latency/p50", 50);
    is_number(s, "latency/publish_latency/p99", 99);
    is_number(s, "latency/publish_latency/p999", 100);
    is_number(s, "latency/publish_latency/max", 100);
    is_number(s, "latency/tcp_latency/count", 0);
    assert_true(json_is_null(at(s, "latency/tcp_latency/p50")));
    is_text(s, "errors/0/reason", "connack-5");
    is_text(s, "errors/0/text", "bytes \xef\xbf\xbd\xef\xbf\xbd that are no UTF-8 \x1b[31m");
    is_number(s, "errors/0/firstS", 41);
    is_number(s, "generator/cpuAvg", 0.61);
    is_number(s, "generator/longestTurnMs", 4.2);
    is_number(s, "generator/shardsLost", 1);
    assert_true(json_is_null(at(s, "generator/why")));
    is_text(s, "diagnostics/0/code", "IOTX012");
    assert_true(json_is_null(at(s, "diagnostics/0/column")));
    json_decref(s);
    run_result_destroy(&r);
}

static json_t *series(json_t *summary, const char *name, const char *group)
{
    size_t i;
    json_t *m;
    json_array_foreach(at(summary, "metrics"), i, m)
    {
        const char *tag = json_string_value(json_object_get(json_object_get(m, "tags"), "group"));
        if (strcmp(json_string_value(json_object_get(m, "name")), name) == 0 &&
            (!group || (tag && strcmp(tag, group) == 0)))
            return m;
    }
    fail_msg("no series %s", name);
    return NULL;
}

static void test_series(void **state)
{
    (void)state;
    struct run_result r;
    fill(&r);
    struct error err = {0};
    json_t *s = run_result_json(&r, &err);
    assert_int_equal(json_array_size(at(s, "metrics")), 6);
    json_t *m = series(s, "publish_latency", "other");
    is_text(m, "type", "trend");
    is_text(m, "unit", "ms");
    is_number(m, "values/min", 51);
    is_number(m, "values/p50", 75);
    m = series(s, "bytes_sent", NULL);
    is_text(m, "type", "counter");
    is_text(m, "unit", "bytes");
    is_number(m, "values/count", 12345);
    m = series(s, "connect_errors", NULL);
    is_text(m, "type", "rate");
    is_number(m, "values/count", 100);
    is_number(m, "values/hits", 1);
    is_number(m, "values/rate", 0.01);
    m = series(s, "devices_online", NULL);
    is_text(m, "type", "gauge");
    assert_true(json_is_null(at(m, "values/value"))); // NaN
    json_decref(s);
    run_result_destroy(&r);
}

// A run that never came to be: no plan, no metrics.
static void test_empty_result(void **state)
{
    (void)state;
    struct run_result r;
    memset(&r, 0, sizeof(r));
    r.exit_code = EXIT_SCENARIO;
    struct error err = {0};
    json_t *s = run_result_json(&r, &err);
    assert_non_null(s);
    assert_true(json_is_null(at(s, "run/scenario")));
    assert_true(json_is_null(at(s, "run/started")));
    assert_true(json_is_null(at(s, "run/partition")));
    assert_true(json_is_null(at(s, "totals/messages/sentPerS")));
    is_number(s, "verdict/exitCode", 104);
    assert_int_equal(json_array_size(at(s, "metrics")), 0);
    json_decref(s);
    run_result_destroy(&r);
    run_result_destroy(NULL);
}

// The part of JSON Schema that the summary's schema uses, enough to hold document and schema together in this test; the
// whole validator runs over a real summary in tests/spec/summary_spec.lua.
static bool is_type(const json_t *v, const char *type)
{
    if (strcmp(type, "number") == 0)
        return json_is_number(v);
    if (strcmp(type, "integer") == 0)
        return json_is_integer(v);
    if (strcmp(type, "string") == 0)
        return json_is_string(v);
    if (strcmp(type, "boolean") == 0)
        return json_is_boolean(v);
    if (strcmp(type, "null") == 0)
        return json_is_null(v);
    if (strcmp(type, "array") == 0)
        return json_is_array(v);
    return strcmp(type, "object") == 0 && json_is_object(v);
}

static bool has_type(const json_t *v, const json_t *types)
{
    size_t i;
    json_t *t;
    if (json_is_string(types))
        return is_type(v, json_string_value(types));
    json_array_foreach(types, i, t) if (is_type(v, json_string_value(t))) return true;
    return false;
}

static void validate(const json_t *v, const json_t *schema, const json_t *root, const char *path)
{
    const char *key;
    json_t *item, *part;
    size_t i;
    char below[256];
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref) {
        schema = json_object_get(json_object_get(root, "definitions"), ref + strlen("#/definitions/"));
        assert_non_null(schema);
    }
    const json_t *types = json_object_get(schema, "type"), *values = json_object_get(schema, "enum");
    if (types && !has_type(v, types))
        fail_msg("%s: wrong type", path);
    if (values) {
        bool found = false;
        json_array_foreach(values, i, item) found |= json_equal(item, v);
        if (!found)
            fail_msg("%s: not in enum", path);
    }
    json_t *constant = json_object_get(schema, "const");
    if (constant && !json_equal(constant, v))
        fail_msg("%s: not the constant", path);
    json_t *properties = json_object_get(schema, "properties"),
           *others = json_object_get(schema, "additionalProperties");
    json_array_foreach(json_object_get(schema, "required"), i,
                       item) if (json_is_object(v) && !json_object_get(v, json_string_value(item)))
        fail_msg("%s: lacks %s", path, json_string_value(item));
    json_object_foreach((json_t *)v, key, part)
    {
        json_t *sub = json_object_get(properties, key);
        snprintf(below, sizeof(below), "%s/%s", path, key);
        if (!sub && properties && !json_is_object(others)) // open to readers, but what we write must be in it
            fail_msg("%s: not in the schema", below);
        if (sub || json_is_object(others))
            validate(part, sub ? sub : others, root, below);
    }
    json_array_foreach(v, i, part)
    {
        snprintf(below, sizeof(below), "%s/%zu", path, i);
        validate(part, json_object_get(schema, "items"), root, below);
    }
}

// Every property has a description, and its row in the reference page says the same.
static void documented(const json_t *schema, const char *path, const char *page)
{
    const char *key;
    json_t *sub;
    char below[200], row[300];
    json_object_foreach(json_object_get(schema, "properties"), key, sub)
    {
        const json_t *items = json_object_get(sub, "items");
        const char *text = json_string_value(json_object_get(sub, "description"));
        snprintf(below, sizeof(below), "%s%s%s", path, key, items ? "[]" : "");
        if (!text)
            fail_msg("%s has no description", below);
        snprintf(row, sizeof(row), "\n| `%s` | ", below);
        const char *found = strstr(page, row), *end = found ? strchr(found + 1, '\n') : NULL;
        const char *said = found ? strstr(found, text) : NULL;
        if (!said || said > end)
            fail_msg("docs/reference/summary.md: no row for %s with \"%s\"", below, text);
        snprintf(row, sizeof(row), "%s.", below);
        documented(sub, row, page);
        documented(items, row, page);
    }
}

static const char *read_source(const char *path, struct buf *text)
{
    struct error err = {0};
    buf_create(text, 1u << 20);
    if (file_read(path, (1u << 20) - 1, text, &err) != 0)
        fail_msg("%s", err.text);
    return buf_cstr(text);
}

static void test_schema(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf text, page;
    read_source(IOTIX_SOURCE_DIR "/models/schema/summary.schema.json", &text);
    json_t *schema = json_parse((const char *)text.data, text.len, "summary.schema.json", &err);
    if (!schema)
        fail_msg("%s", err.text);
    struct run_result full, empty;
    fill(&full);
    memset(&empty, 0, sizeof(empty));
    json_t *a = run_result_json(&full, &err), *b = run_result_json(&empty, &err);
    validate(a, schema, schema, "");
    validate(b, schema, schema, "");
    documented(schema, "", read_source(IOTIX_SOURCE_DIR "/docs/reference/summary.md", &page));
    json_decref(a);
    json_decref(b);
    json_decref(schema);
    buf_destroy(&text);
    buf_destroy(&page);
    run_result_destroy(&full);
    run_result_destroy(&empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_there), cmocka_unit_test(test_virtual_time), cmocka_unit_test(test_series),
        cmocka_unit_test(test_empty_result),        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
