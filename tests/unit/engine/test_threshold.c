#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/file.h"
#include "engine/threshold.h"

static struct threshold parse(const char *selector, const char *expr)
{
    struct threshold t;
    struct error err = {0};
    if (threshold_parse(selector, expr, &t, &err) != 0)
        fail_msg("%s: %s: %s", selector, expr, err.text);
    return t;
}

static void test_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *expr;
        enum threshold_agg agg;
        double percentile;
        enum threshold_op op;
        double limit;
        enum metric_unit unit;
        bool percent;
    } good[] = {
        {"p95 < 200ms", AGG_PERCENTILE, 95, OP_LT, 200e3, UNIT_TIME_US, false},
        {"p95<200ms", AGG_PERCENTILE, 95, OP_LT, 200e3, UNIT_TIME_US, false},
        {"  p99.9  <=  1.5 s  ", AGG_PERCENTILE, 99.9, OP_LE, 1.5e6, UNIT_TIME_US, false},
        {"p0 >= 3us", AGG_PERCENTILE, 0, OP_GE, 3, UNIT_TIME_US, false},
        {"p100 < 2h", AGG_PERCENTILE, 100, OP_LT, 7200e6, UNIT_TIME_US, false},
        {"avg < 2m", AGG_AVG, 0, OP_LT, 120e6, UNIT_TIME_US, false}, // minutes
        {"count > 2m", AGG_COUNT, 0, OP_GT, 2e6, UNIT_NONE, false},  // million
        {"count > 10k", AGG_COUNT, 0, OP_GT, 10e3, UNIT_NONE, false},
        {"count == 0", AGG_COUNT, 0, OP_EQ, 0, UNIT_NONE, false},
        {"min != 5", AGG_MIN, 0, OP_NE, 5, UNIT_NONE, false},
        {"max < 10KB", AGG_MAX, 0, OP_LT, 10240, UNIT_BYTES, false},
        {"med < 7", AGG_MED, 0, OP_LT, 7, UNIT_NONE, false},
        {"rate < 0.1%", AGG_RATE, 0, OP_LT, 0.001, UNIT_NONE, true},
        {"rate < 0.01", AGG_RATE, 0, OP_LT, 0.01, UNIT_NONE, false},
        {"rate > 1MB", AGG_RATE, 0, OP_GT, 1048576, UNIT_BYTES, false},
        {"value >= -3.5", AGG_VALUE, 0, OP_GE, -3.5, UNIT_NONE, false},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct threshold t = parse("user_x", good[i].expr);
        assert_int_equal(t.agg, good[i].agg);
        assert_int_equal(t.op, good[i].op);
        assert_int_equal(t.unit, good[i].unit);
        assert_int_equal(t.percent, good[i].percent);
        assert_true(t.limit == good[i].limit);
        if (t.agg == AGG_PERCENTILE)
            assert_true(t.percentile == good[i].percentile);
    }
    struct threshold t = parse("publish_latency{group:sensors}", " p95 < 200ms ");
    assert_string_equal(t.text, "p95 < 200ms");
    assert_string_equal(t.selector.name, "publish_latency");
    assert_string_equal(t.selector.tags, "group:sensors");
}

static void test_errors_show_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *expr, *shown, *valid;
    } bad[] = {
        {"", "\"^\"", "avg, min, max, med, pNN, count, rate, value"},
        {"p95", "\"p95^\"", "< <= > >= == !="},
        {"p95 200ms", "\"p95 ^200ms\"", "< <= > >= == !="},
        {"p95 =< 3", "\"p95 ^=< 3\"", "< <= > >= == !="},
        {"p95 <", "\"p95 <^\"", "a decimal number"},
        {"p95 < ms", "\"p95 < ^ms\"", "a decimal number"},
        {"p95 < .5s", "\"p95 < ^.5s\"", "a decimal number"},
        {"p95 < 200parsecs", "\"p95 < 200^parsecs\"", "us ms s m h"},
        {"p95 < 200 ms 3", "\"p95 < 200 ms ^3\"", "nothing"},
        {"p95 < 1e9", "\"p95 < 1^e9\"", "us ms s m h"},
        {"p101 < 1s", "\"^p101 < 1s\"", "p0 to p100"},
        {"mean < 1s", "\"^mean < 1s\"", "avg, min"},
        {"P95 < 1s", "\"^P95 < 1s\"", "avg, min"},
        {"count < 5ms", "\"count < 5^ms\"", "k m"},
        {"count < 5%", "\"count < 5^%\"", "k m"},
        {"rate < 5s", "\"rate < 5^s\"", "%, k m"},
        {"p95 < 200ms and p99 < 1s", "\"p95 < 200ms ^and p99 < 1s\"", "nothing"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct threshold t;
        struct error err = {0};
        assert_int_equal(threshold_parse("user_x", bad[i].expr, &t, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.text, bad[i].shown) || !strstr(err.text, bad[i].valid))
            fail_msg("%s -> %s", bad[i].expr, err.text);
    }
    char longer[200];
    memset(longer, ' ', sizeof(longer));
    memcpy(longer, "p95 <", 5);
    memcpy(longer + 190, "200ms", 6);
    struct threshold t;
    struct error err = {0};
    assert_int_equal(threshold_parse("user_x", longer, &t, &err), -1);
    assert_non_null(strstr(err.text, "longer than 95"));
    assert_int_equal(threshold_parse("user_x{", "count > 1", &t, &err), -1);
    assert_int_equal(threshold_parse("", "count > 1", &t, &err), -1);
}

static void check_fails(const char *selector, const char *expr, const char *expected)
{
    struct threshold t = parse(selector, expr);
    struct error err = {0};
    assert_int_equal(threshold_check(&t, &err), -1);
    if (!strstr(err.text, expected))
        fail_msg("%s: %s -> %s", selector, expr, err.text);
}

static void test_against_a_baseline(void **state)
{
    (void)state;
    static const struct {
        const char *expr;
        enum threshold_base base;
        double delta, baseline, limit;
    } good[] = {
        {"p95 < baseline", BASE_TIMES, 1, 5000, 5000},
        {"p95 < baseline + 10%", BASE_SHARE, 0.1, 5000, 5500},
        {"p95<baseline+10%", BASE_SHARE, 0.1, 5000, 5500},
        {"rate > baseline - 25 %", BASE_SHARE, -0.25, 80, 60},
        {"p95 <= baseline + 5ms", BASE_PLUS, 5000, 5000, 10000},
        {"p95 <= baseline - 1.5ms", BASE_PLUS, -1500, 5000, 3500},
        {"p95 < baseline * 1.1", BASE_TIMES, 1.1, 5000, 5500},
        {"value > baseline - 10%", BASE_SHARE, -0.1, -100, -110}, // what is below zero too
        {"count >= baseline - 2k", BASE_PLUS, -2000, 5000, 3000},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct threshold t = parse("user_x", good[i].expr);
        assert_int_equal(t.base, good[i].base);
        assert_true(fabs(t.delta - good[i].delta) < 1e-9);
        assert_false(t.resolved);
        threshold_resolve(&t, good[i].baseline, UNIT_TIME_US);
        assert_true(t.resolved && fabs(t.limit - good[i].limit) < 1e-6);
    }
    static const char *const bad[][2] = {{"p95 < baseline 10%", "\"p95 < baseline ^10%\""},
                                         {"p95 < baseline + ", "expected a number"},
                                         {"p95 < baseline + 10 parsecs", "unknown unit"},
                                         {"p95 < baseline * 0", "a factor above 0"},
                                         {"p95 < baseline * 10%", "nothing"},
                                         {"p95 < baseline / 2", "unexpected text"},
                                         {"p95 < baseline + 10% + 5ms", "nothing"},
                                         {"p95 < baselin", "baseline + 10%"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct threshold t;
        struct error err = {0};
        assert_int_equal(threshold_parse("user_x", bad[i][0], &t, &err), -1);
        if (!strstr(err.text, bad[i][1]))
            fail_msg("%s -> %s", bad[i][0], err.text);
    }
    check_fails("publish_latency", "p95 < baseline + 5", "write the limit with a unit");
    check_fails("messages_sent", "p95 < baseline", "valid for it: count, rate");
    struct threshold t = parse("publish_latency", "p95 < baseline + 10%");
    struct error err = {0};
    struct threshold_result r;
    assert_int_equal(threshold_check(&t, &err), 0);
    struct metrics *m = metrics_new(100);
    trend_add(metrics_series(m, "publish_latency", METRIC_TREND, UNIT_TIME_US, NULL, &err), 5400);
    assert_int_equal(threshold_evaluate(&t, m, 1000000, &r, &err), -1); // nobody has said what it had
    assert_non_null(strstr(err.text, "--baseline"));
    threshold_no_data(&t, &r);
    assert_string_equal(r.limit_text, "< baseline + 10%");
    threshold_resolve(&t, 5000, UNIT_TIME_US);
    assert_int_equal(threshold_evaluate(&t, m, 1000000, &r, &err), 0);
    assert_int_equal(r.state, THRESHOLD_PASS);
    assert_string_equal(r.limit_text, "< 5.5 ms (baseline 5.0 ms + 10%)");
    threshold_resolve(&t, 4800, UNIT_TIME_US);
    assert_int_equal(threshold_evaluate(&t, m, 1000000, &r, &err), 0);
    assert_int_equal(r.state, THRESHOLD_FAIL);
    metrics_delete(m);
}

static void test_what_can_still_come(void **state)
{
    (void)state;
    struct threshold grows = parse("messages_sent", "count > 10"), falls = parse("messages_sent", "count < 10"),
                     rate = parse("messages_sent", "rate > 10");
    assert_true(threshold_pending(&grows));
    assert_false(threshold_pending(&falls));
    assert_true(threshold_pending(&rate)); // devices are still starting
    struct threshold errors = parse("connect_errors", "rate == 0"), latency = parse("publish_latency", "p95 > 1ms");
    assert_false(threshold_pending(&errors));
    assert_false(threshold_pending(&latency));
}

// The stage is a time of the run, not a tag of a series: the rest of the selector still selects.
static void test_a_stage_selects_no_series(void **state)
{
    (void)state;
    static const char *const selectors[] = {"messages_sent{stage:peak}", "messages_sent{group:a,stage:peak}",
                                            "messages_sent{stage:peak,group:a}"};
    struct metrics *m = metrics_new(100);
    struct error err = {0};
    counter_add(metrics_series(m, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:a", &err), 3);
    counter_add(metrics_series(m, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:b", &err), 4);
    for (int i = 0; i < 3; i++) {
        struct threshold t = parse(selectors[i], "count > 0");
        struct threshold_result r = {.broken_us = 7, .broken_since_us = 8};
        snprintf(t.stage, sizeof(t.stage), "peak");
        assert_int_equal(threshold_evaluate(&t, m, 1000000, &r, &err), 0);
        assert_true(r.actual == (i ? 3 : 7));
        assert_int_equal(r.broken_us, 7); // is kept by who looks again and again
        assert_int_equal(r.broken_since_us, 8);
    }
    metrics_delete(m);
}

static void test_check(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"publish_latency", "p95 < 200ms"}, {"publish_latency", "count > 100"}, {"publish_latency", "min >= 0"},
        {"connect_errors", "rate < 1%"},    {"connect_errors", "count > 3"},    {"messages_sent", "count > 10k"},
        {"messages_sent", "rate > 50"},     {"bytes_sent", "rate < 10MB"},      {"bytes_sent", "count < 1000"},
        {"devices_online", "value >= 990"}, {"user_anything", "p95 < 3"}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct threshold t = parse(good[i][0], good[i][1]);
        struct error err = {0};
        if (threshold_check(&t, &err) != 0)
            fail_msg("%s", err.text);
    }
    check_fails("publish_latancy", "p95 < 1s", "did you mean \"publish_latency\"?");
    check_fails("no_such_thing_at_all", "p95 < 1s", "there is no such metric");
    check_fails("publish_latency", "rate < 1", "is a trend; valid for it: avg, min, max, med, pNN, count");
    check_fails("publish_latency", "p95 < 200", "write the limit with a unit: us ms s m h");
    check_fails("publish_latency", "p95 < 2KB", "write the limit with a unit: us ms s m h");
    check_fails("messages_sent", "p95 < 3", "is a counter; valid for it: count, rate");
    check_fails("messages_sent", "rate < 5%", "% is for rates");
    check_fails("messages_sent", "count < 5KB", "is not in bytes");
    check_fails("devices_online", "count > 3", "is a gauge; valid for it: value");
    check_fails("connect_errors", "rate < 5", "between 0 and 1");
    check_fails("connect_errors", "rate < 101%", "between 0 and 1");
    check_fails("connect_errors", "avg < 0.5", "is a rate; valid for it: rate, count");
}

static void test_known_metrics_are_well_formed(void **state)
{
    (void)state;
    for (const struct metric_known *k = metrics_known; k->name; k++) {
        struct metric_selector s;
        struct error err = {0};
        assert_int_equal(metric_selector_parse(k->name, &s, &err), 0);
        assert_non_null(k->help);
        assert_true(strncmp(k->name, "user_", 5) != 0);
        for (const struct metric_known *other = k + 1; other->name; other++)
            assert_string_not_equal(k->name, other->name);
    }
}

static void test_known_metrics_are_documented(void **state)
{
    (void)state;
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_RATE] = "rate", [METRIC_TREND] = "trend"};
    static const char *const units[] = {[UNIT_NONE] = "", [UNIT_TIME_US] = "time", [UNIT_BYTES] = "bytes"};
    struct buf page;
    struct error err = {0};
    buf_create(&page, 1u << 20);
    if (file_read(IOTIX_SOURCE_DIR "/docs/reference/metrics.md", (1u << 20) - 1, &page, &err) != 0)
        fail_msg("%s", err.text);
    for (const struct metric_known *k = metrics_known; k->name; k++) {
        char row[300];
        snprintf(row, sizeof(row), "\n| `%s` | %s | %s | %s |\n", k->name, types[k->type], units[k->unit], k->help);
        if (!strstr(buf_cstr(&page), row))
            fail_msg("docs/reference/metrics.md lacks:%s", row);
    }
    buf_destroy(&page);
}

static void test_nothing_measured_yet(void **state)
{
    (void)state;
    struct threshold t;
    struct threshold_result r;
    struct error err;
    memset(&r, 0xff, sizeof(r));
    assert_int_equal(threshold_parse("publish_latency", "p95 < 200ms", &t, &err), 0);
    threshold_no_data(&t, &r);
    assert_int_equal(r.state, THRESHOLD_NO_DATA);
    assert_true(r.failed);
    assert_string_equal(r.actual_text, "no data");
    assert_string_equal(r.limit_text, "< 200 ms");
    t.no_data_passes = true;
    threshold_no_data(&t, &r);
    assert_false(r.failed);
}

struct fixture {
    struct metrics *m;
    struct metric *fast, *slow, *sent, *bytes, *errors;
};

static void fixture_make(struct fixture *f)
{
    struct error err = {0};
    f->m = metrics_new(100);
    f->fast = metrics_series(f->m, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:fast", &err);
    f->slow = metrics_series(f->m, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:slow", &err);
    f->sent = metrics_series(f->m, "messages_sent", METRIC_COUNTER, UNIT_NONE, NULL, &err);
    f->bytes = metrics_series(f->m, "bytes_sent", METRIC_COUNTER, UNIT_BYTES, NULL, &err);
    f->errors = metrics_series(f->m, "connect_errors", METRIC_RATE, UNIT_NONE, NULL, &err);
    assert_non_null(f->fast && f->slow && f->sent && f->bytes ? f->errors : NULL);
    struct metric *online = metrics_gauge(f->m, "devices_online", GAUGE_SUM, NULL, &err);
    gauge_set(online, 990);
    for (int i = 1; i <= 100; i++)
        trend_add(f->fast, i * 1000);
    for (int i = 1; i <= 100; i++)
        trend_add(f->slow, 1000000 + i * 1000);
    counter_add(f->sent, 48812);
    counter_add(f->bytes, 5 << 20);
    for (int i = 0; i < 10000; i++)
        rate_add(f->errors, i < 31);
}

static struct threshold_result evaluate(const struct fixture *f, const char *selector, const char *expr)
{
    struct threshold t = parse(selector, expr);
    struct threshold_result r;
    struct error err = {0};
    if (threshold_evaluate(&t, f->m, 2000000, &r, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(r.failed, r.state == THRESHOLD_FAIL || (r.state == THRESHOLD_NO_DATA && !t.no_data_passes));
    return r;
}

static void expect(const struct fixture *f, const char *selector, const char *expr, enum threshold_state state,
                   const char *actual, const char *limit)
{
    struct threshold_result r = evaluate(f, selector, expr);
    if (r.state != state || strcmp(r.actual_text, actual) != 0 || strcmp(r.limit_text, limit) != 0)
        fail_msg("%s: %s -> state %d, \"%s\", \"%s\"", selector, expr, r.state, r.actual_text, r.limit_text);
}

static void test_evaluate(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f);
    expect(&f, "publish_latency{group:fast}", "p50 < 51ms", THRESHOLD_PASS, "50.0 ms", "< 51.0 ms");
    expect(&f, "publish_latency{group:fast}", "max <= 100ms", THRESHOLD_PASS, "100 ms", "<= 100 ms");
    expect(&f, "publish_latency{group:fast}", "max < 100ms", THRESHOLD_FAIL, "100 ms", "< 100 ms");
    expect(&f, "publish_latency{group:fast}", "min >= 1ms", THRESHOLD_PASS, "1.0 ms", ">= 1.0 ms");
    expect(&f, "publish_latency{group:fast}", "avg > 50ms", THRESHOLD_PASS, "50.5 ms", "> 50.0 ms");
    expect(&f, "publish_latency", "p95 < 200ms", THRESHOLD_FAIL, "1.09 s", "< 200 ms");
    expect(&f, "publish_latency", "count == 200", THRESHOLD_PASS, "200", "== 200");
    expect(&f, "messages_sent", "count > 10k", THRESHOLD_PASS, "48,812", "> 10,000");
    expect(&f, "messages_sent", "rate >= 24406", THRESHOLD_PASS, "24,406/s", ">= 24,406/s");
    expect(&f, "messages_sent", "count != 48812", THRESHOLD_FAIL, "48,812", "!= 48,812");
    expect(&f, "connect_errors", "rate < 0.1%", THRESHOLD_FAIL, "0.31 %", "< 0.10 %");
    expect(&f, "connect_errors", "rate < 0.01", THRESHOLD_PASS, "0.31 %", "< 1.00 %");
    expect(&f, "connect_errors", "count == 10k", THRESHOLD_PASS, "10,000", "== 10,000");
    expect(&f, "devices_online", "value >= 990", THRESHOLD_PASS, "990", ">= 990");
    struct threshold_result r = evaluate(&f, "bytes_sent", "rate > 2MB");
    assert_int_equal(r.state, THRESHOLD_PASS);
    assert_true(r.actual == 2.5 * 1048576);
    assert_non_null(strstr(r.actual_text, "MB/s"));
    metrics_delete(f.m);
}

static void test_no_data_fails_unless_it_may_pass(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f);
    expect(&f, "subscribe_latency", "p95 < 200ms", THRESHOLD_NO_DATA, "no data", "< 200 ms");
    expect(&f, "publish_latency{group:typo}", "p95 < 200ms", THRESHOLD_NO_DATA, "no data", "< 200 ms");
    expect(&f, "publish_errors", "rate < 1%", THRESHOLD_NO_DATA, "no data", "< 1.00 %");
    expect(&f, "user_never", "count == 0", THRESHOLD_NO_DATA, "no data", "== 0");
    // A counter of the product's own comes into being with its first event: not there is zero.
    expect(&f, "connect_failures", "count == 0", THRESHOLD_PASS, "0", "== 0");
    expect(&f, "script_errors", "count > 0", THRESHOLD_FAIL, "0", "> 0");
    struct error err = {0};
    assert_non_null(metrics_series(f.m, "tcp_latency", METRIC_TREND, UNIT_TIME_US, NULL, &err));
    expect(&f, "tcp_latency", "p95 < 1s", THRESHOLD_NO_DATA, "no data", "< 1.00 s"); // there, but empty

    struct threshold t = parse("subscribe_latency", "p95 < 200ms");
    struct threshold_result r;
    t.no_data_passes = true;
    assert_int_equal(threshold_evaluate(&t, f.m, 1000000, &r, &err), 0);
    assert_int_equal(r.state, THRESHOLD_NO_DATA);
    assert_false(r.failed);
    t = parse("messages_sent", "rate > 1");
    assert_int_equal(threshold_evaluate(&t, f.m, 0, &r, &err), 0); // nothing measured yet
    assert_int_equal(r.state, THRESHOLD_NO_DATA);
    metrics_delete(f.m);
}

static void test_evaluate_refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f);
    struct error err = {0};
    struct metric *mine = metrics_series(f.m, "user_size", METRIC_TREND, UNIT_BYTES, NULL, &err);
    trend_add(mine, 100);
    struct threshold_result r;
    struct threshold t = parse("user_size", "rate < 5");
    assert_int_equal(threshold_evaluate(&t, f.m, 1000000, &r, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    t = parse("user_size", "p95 < 5ms");
    assert_int_equal(threshold_evaluate(&t, f.m, 1000000, &r, &err), -1);
    assert_non_null(strstr(err.text, "is not a time"));
    t = parse("user_size", "p95 < 1KB");
    assert_int_equal(threshold_evaluate(&t, f.m, 1000000, &r, &err), 0);
    assert_int_equal(r.state, THRESHOLD_PASS);
    metrics_delete(f.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_errors_show_the_place),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_against_a_baseline),
        cmocka_unit_test(test_what_can_still_come),
        cmocka_unit_test(test_a_stage_selects_no_series),
        cmocka_unit_test(test_known_metrics_are_well_formed),
        cmocka_unit_test(test_known_metrics_are_documented),
        cmocka_unit_test(test_nothing_measured_yet),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_no_data_fails_unless_it_may_pass),
        cmocka_unit_test(test_evaluate_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
