// What thresholds against an earlier run find in its summary.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/jsonx.h"
#include "engine/baseline.h"

static const char summary_text[] =
    "{\"schema\":1,\"run\":{\"measuredS\":10.0},"
    "\"thresholds\":[{\"metric\":\"publish_latency{group:a}\",\"expression\":\"p42 < "
    "1s\",\"actual\":7.5,\"unit\":\"ms\"},"
    "{\"metric\":\"connect_latency\",\"expression\":\"p95 < 1s\",\"actual\":null,\"unit\":\"ms\"}],"
    "\"latency\":{\"publish_latency\":{\"count\":30,\"p50\":2.0,\"p95\":21.5,\"p99\":null}},"
    "\"metrics\":["
    "{\"name\":\"publish_latency\",\"tags\":{\"group\":\"a\"},\"type\":\"trend\",\"unit\":\"ms\",\"values\":"
    "{\"count\":10,\"min\":1.0,\"mean\":3.0,\"max\":9.0,\"p95\":8.0}},"
    "{\"name\":\"publish_latency\",\"tags\":{\"group\":\"b\"},\"type\":\"trend\",\"unit\":\"ms\",\"values\":"
    "{\"count\":20,\"min\":2.0,\"mean\":6.0,\"max\":30.0,\"p95\":25.0}},"
    "{\"name\":\"messages_sent\",\"tags\":{\"group\":\"a\"},\"type\":\"counter\",\"unit\":\"\",\"values\":{\"count\":"
    "400}},"
    "{\"name\":\"messages_sent\",\"tags\":{\"group\":\"b\"},\"type\":\"counter\",\"unit\":\"\",\"values\":{\"count\":"
    "100}},"
    "{\"name\":\"publish_errors\",\"tags\":{},\"type\":\"rate\",\"unit\":\"\",\"values\":{\"count\":500,\"hits\":5}},"
    "{\"name\":\"connect_errors\",\"tags\":{},\"type\":\"rate\",\"unit\":\"\",\"values\":{\"count\":0,\"hits\":0}},"
    "{\"name\":\"user_size\",\"tags\":{},\"type\":\"gauge\",\"unit\":\"bytes\",\"values\":{\"value\":77.0}},"
    "{\"name\":\"user_empty\",\"tags\":{},\"type\":\"trend\",\"unit\":\"ms\",\"values\":{\"count\":0,\"min\":null}}]}";

static json_t *summary(void)
{
    struct error err = {0};
    json_t *s = json_parse(summary_text, strlen(summary_text), "summary", &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static int look(const char *metric, const char *expr, double *out, enum metric_unit *unit, struct error *err)
{
    struct threshold t;
    if (threshold_parse(metric, expr, &t, err))
        fail_msg("%s", err->text);
    json_t *s = summary();
    int rc = baseline_value(s, &t, out, unit, err);
    json_decref(s);
    return rc;
}

static void figures_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *metric, *expr;
        double value;
        enum metric_unit unit;
    } cases[] = {
        {"publish_latency", "p95 < baseline", 21500, UNIT_TIME_US}, // of all series together
        {"publish_latency", "med < baseline", 2000, UNIT_TIME_US},
        {"publish_latency{group:b}", "p95 < baseline", 25000, UNIT_TIME_US}, // the only one of the group
        {"publish_latency{group:a}", "p42 < baseline", 7500, UNIT_TIME_US},  // a threshold of that run had it
        {"publish_latency", "avg < baseline", 5000, UNIT_TIME_US},
        {"publish_latency", "min < baseline", 1000, UNIT_TIME_US},
        {"publish_latency", "max < baseline", 30000, UNIT_TIME_US},
        {"publish_latency", "count > baseline", 30, UNIT_TIME_US},
        {"messages_sent", "rate > baseline", 50, UNIT_NONE},
        {"messages_sent{group:a}", "count > baseline", 400, UNIT_NONE},
        {"publish_errors", "rate < baseline", 0.01, UNIT_NONE},
        {"user_size", "value < baseline", 77, UNIT_BYTES},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double v = NAN;
        enum metric_unit unit;
        struct error err = {0};
        if (look(cases[i].metric, cases[i].expr, &v, &unit, &err))
            fail_msg("%s", err.text);
        if (fabs(v - cases[i].value) > 1e-6 || unit != cases[i].unit)
            fail_msg("%s %s: %g", cases[i].metric, cases[i].expr, v);
    }
}

static void what_is_not_there_is_said(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"e2e_latency", "p95 < baseline", "has no such metric"},
        {"messages_sent{group:c}", "count > baseline", "has no such metric"},
        {"publish_latency", "p97 < baseline", "keeps p50, p90, p95, p99 and p99.9 only"},
        {"publish_latency", "p99 < baseline", "keeps p50"}, // null
        {"user_empty", "avg < baseline", "has no samples"},
        {"connect_errors", "rate < baseline", "has no samples"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double v;
        enum metric_unit unit;
        struct error err = {0};
        assert_int_equal(look(cases[i][0], cases[i][1], &v, &unit, &err), -1);
        assert_int_equal(err.code, ERR_NOT_FOUND);
        if (!strstr(err.text, cases[i][2]))
            fail_msg("%s", err.text);
    }
}

static json_t *read_text(const char *text, struct error *err)
{
    char path[] = "/tmp/baseline-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    json_t *s = baseline_read(path, err);
    unlink(path);
    return s;
}

static void files_are_read(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *s = read_text(summary_text, &err);
    assert_non_null(s);
    json_decref(s);
    char wrapped[sizeof(summary_text) + 64];
    snprintf(wrapped, sizeof(wrapped), "{\"summary\":%s,\"history\":[]}", summary_text);
    s = read_text(wrapped, &err); // the data of a report
    assert_non_null(s);
    json_decref(s);
    static const char *const bad[][2] = {{"{\"schema\":1}", "is no summary of a run"},
                                         {"[]", "is no summary of a run"},
                                         {"{\"schema\":\"1\",\"latency\":{},\"metrics\":[]}", "is no summary"},
                                         {"{\"schema\":", "baseline-"},
                                         {"", "baseline-"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(read_text(bad[i][0], &err));
        if (!strstr(err.text, bad[i][1]))
            fail_msg("%s -> %s", bad[i][0], err.text);
    }
    assert_null(baseline_read("/nowhere/at/all.json", &err));
    assert_non_null(strstr(err.text, "/nowhere/at/all.json"));
}

static void plans_get_their_figures(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *plan = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "thresholds", "metric", "publish_latency", "expr",
                             "p95 < baseline + 10%", "metric", "messages_sent", "expr", "count > 5");
    json_t *s = summary();
    assert_int_equal(baseline_resolve(plan, NULL, &err), -1);
    assert_non_null(strstr(err.text, "give --baseline SUMMARY.json"));
    assert_int_equal(baseline_resolve(plan, s, &err), 0);
    const json_t *list = json_object_get(plan, "thresholds");
    assert_true(json_number_value(json_object_get(json_array_get(list, 0), "baseline")) == 21500);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "baseline_unit")), "time");
    assert_null(json_object_get(json_array_get(list, 1), "baseline"));
    assert_int_equal(baseline_resolve(plan, NULL, &err), 0); // they have what they need
    // publish_latency p95 is compared already; messages_sent rate and publish_errors are not; the others are not there.
    assert_int_equal(baseline_add_regressions(plan, s, 20, &err), 0);
    assert_int_equal(json_array_size(list), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "expr")), "rate >= baseline - 20%");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 3), "metric")), "publish_errors");
    json_object_set_new(s, "metrics", json_array());
    json_object_set_new(s, "latency", json_object());
    assert_int_equal(baseline_add_regressions(plan, s, 20, &err), -1);
    assert_non_null(strstr(err.text, "--max-regression"));
    json_decref(s);
    json_decref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_found),
        cmocka_unit_test(what_is_not_there_is_said),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(plans_get_their_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
