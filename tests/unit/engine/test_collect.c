// Figures of several runners as one run: what is merged, what is missing, and what is not to be believed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collect.h"

struct figures { // of a shard
    int partition, partitions, shard, shards, incarnation, sequence;
    bool final;
    uint64_t sent, errors, latency_us; // latency: one sample of it for each sent
    double online, skew_us;            // skew: of one message that came before it was sent; 0: none did
    const char *sha, *run;
};

static json_t *status_of(void)
{
    return json_pack("{s:[{s:[i,i,i,i,i,i], s:[i,i,i,i], s:i, s:i, s:i, s:i, s:i}], s:b, s:i, s:i}", "groups", "state",
                     0, 0, 0, 0, 10, 0, "conn", 0, 0, 0, 0, "owned", 10, "started", 10, "ever_online", 10, "failed", 0,
                     "dropped", 0, "launching", 0, "longest_turn_us", 1000, "elapsed_us", 5000000);
}

static json_t *plan_of(const struct figures *f)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:{}, s:[{s:s, s:i, s:b}], s:[{s:s, s:s}, {s:s, s:s}]}", "name",
                     "fleet", "file", "fleet.lua", "sha256", f->sha ? f->sha : "abc", "duration", 5000000, "seed", 7,
                     "models", "groups", "name", "g", "count", 40, "behaviour", 1, "thresholds", "metric",
                     "publish_latency", "expr", "p95 < 200ms", "metric", "messages_sent", "expr", "count == 300");
}

static void fill(struct metrics *m, const struct figures *f)
{
    counter_add(metrics_series(m, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:g", NULL), f->sent);
    counter_add(metrics_series(m, "connects", METRIC_COUNTER, UNIT_NONE, "group:g", NULL), 10);
    metrics_gauge(m, "devices_online", GAUGE_SUM, NULL, NULL)->value = f->online;
    counter_add(metrics_series(m, "e2e_early", METRIC_COUNTER, UNIT_NONE, NULL, NULL), f->skew_us > 0);
    metrics_gauge(m, "e2e_skew", GAUGE_MAX, NULL, NULL)->value = f->skew_us;
    struct metric *t = metrics_series(m, "publish_latency", METRIC_TREND, UNIT_TIME_US, "group:g", NULL);
    for (uint64_t i = 0; i < f->sent; i++)
        trend_add(t, (int64_t)(f->latency_us + i * 10));
}

// A message as a runner sends it; free it.
static char *message_of(const struct figures *f)
{
    struct metrics *m = metrics_new(100);
    struct buf bytes, base64;
    buf_create(&bytes, 1u << 20);
    buf_create(&base64, 1u << 20);
    fill(m, f);
    assert_int_equal(metrics_encode(m, &bytes), 0);
    assert_int_equal(buf_append_base64(&base64, bytes.data, bytes.len), 0);
    json_t *o =
        json_pack("{s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:I, s:i, s:i, s:o, s:o, s:s%}", "schema", 1, "run",
                  f->run ? f->run : "R", "partition", f->partition, "partitions", f->partitions, "shard", f->shard,
                  "shards", f->shards, "incarnation", f->incarnation, "sequence", f->sequence, "final", f->final,
                  "timeUs", (json_int_t)1700000000000000, "elapsedUs", 5100000, "measuredUs", 5000000, "plan",
                  plan_of(f), "status", status_of(), "snapshot", base64.data, (size_t)base64.len);
    assert_non_null(o);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    buf_destroy(&bytes);
    buf_destroy(&base64);
    metrics_delete(m);
    return text;
}

static int give(struct collect *c, struct figures f)
{
    struct error err = {0};
    f.shards = f.shards ? f.shards : 1;
    char *text = message_of(&f);
    int rc = collect_take(c, text, strlen(text), &err);
    if (rc < 0)
        print_message("%s\n", err.text);
    free(text);
    return rc;
}

static struct collect *collecting(const struct collect_config *config)
{
    struct error err;
    struct collect *c = collect_new(config, &err);
    assert_non_null(c);
    return c;
}

static uint64_t counted(const struct run_result *r, const char *name)
{
    struct metric_selector sel = {.tags = ""};
    struct metric m = {0};
    snprintf(sel.name, sizeof(sel.name), "%s", name);
    metrics_select(r->metrics, &sel, &m);
    return m.type == METRIC_GAUGE ? (uint64_t)m.value : m.count;
}

static bool has_reason(const struct run_result *r, int code, const char *text)
{
    for (unsigned i = 0; i < r->n_reasons; i++)
        if (r->reasons[i].code == code && strstr(r->reasons[i].text, text))
            return true;
    for (unsigned i = 0; i < r->n_reasons; i++)
        print_message("%d %s\n", r->reasons[i].code, r->reasons[i].text);
    return false;
}

static void finish(struct collect *c, struct run_result *r)
{
    struct error err;
    assert_int_equal(collect_finish(c, false, r, &err), 0);
    collect_delete(c);
}

static const struct collect_config plain = {.run_id = "R"};

static void two_runners_are_one_run(void **state)
{
    (void)state;
    struct run_result r;
    struct error err;
    struct collect *c = collecting(&plain);
    assert_int_equal(give(c, (struct figures){.partition = 1,
                                              .partitions = 2,
                                              .shards = 2,
                                              .sequence = 1,
                                              .incarnation = 1,
                                              .sent = 20,
                                              .latency_us = 1000}),
                     1);
    assert_int_equal(give(c, (struct figures){.partition = 1,
                                              .partitions = 2,
                                              .shards = 2,
                                              .sequence = 9,
                                              .incarnation = 1,
                                              .sent = 100,
                                              .latency_us = 1000,
                                              .final = true}),
                     1);
    assert_false(collect_complete(c)); // its second shard, and the other
    assert_int_equal(give(c, (struct figures){.partition = 1,
                                              .partitions = 2,
                                              .shard = 1,
                                              .shards = 2,
                                              .sequence = 9,
                                              .incarnation = 1,
                                              .sent = 80,
                                              .latency_us = 3000,
                                              .skew_us = 2500,
                                              .final = true}),
                     1);
    assert_false(collect_complete(c));
    assert_int_equal(give(c, (struct figures){.partition = 2,
                                              .partitions = 2,
                                              .sequence = 7,
                                              .incarnation = 1,
                                              .sent = 120,
                                              .latency_us = 5000,
                                              .skew_us = 900,
                                              .final = true}),
                     1);
    assert_true(collect_complete(c));
    finish(c, &r);
    assert_int_equal(r.exit_code, 0);
    assert_int_equal(counted(&r, "messages_sent"), 300);
    assert_int_equal(r.totals.sent, 300);
    assert_int_equal(r.totals.ever_online, 30);
    assert_int_equal(r.n_thresholds, 2);
    assert_int_equal(r.measured_us, 5000000);
    assert_int_equal(r.shards, 3);
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.n_warnings, 1);
    assert_non_null(strstr(r.warnings[0], "2 messages came before they were sent"));
    assert_non_null(strstr(r.warnings[0], "differ by at least 2.5 ms"));
    // The histogram is that of all samples.
    struct metrics *whole = metrics_new(100);
    fill(whole, &(struct figures){.sent = 100, .latency_us = 1000});
    fill(whole, &(struct figures){.sent = 80, .latency_us = 3000});
    fill(whole, &(struct figures){.sent = 120, .latency_us = 5000});
    struct threshold t;
    struct threshold_result expected;
    assert_int_equal(threshold_parse("publish_latency", "p95 < 200ms", &t, &err), 0);
    assert_int_equal(threshold_evaluate(&t, whole, 5000000, &expected, &err), 0);
    assert_true(r.thresholds[0].actual == expected.actual);
    json_t *summary = run_result_json(&r, &err);
    assert_string_equal(json_string_value(json_object_get(json_object_get(summary, "run"), "id")), "R");
    json_decref(summary);
    metrics_delete(whole);
    run_result_destroy(&r);
}

static void a_failed_threshold_decides(void **state)
{
    (void)state;
    struct run_result r;
    const char *more[] = {"publish_latency: max < 1ms"};
    const struct collect_config config = {.run_id = "R", .extra_thresholds = more, .n_extra_thresholds = 1};
    struct collect *c = collecting(&config);
    give(c, (struct figures){.partition = 1,
                             .partitions = 1,
                             .sequence = 1,
                             .incarnation = 1,
                             .sent = 300,
                             .latency_us = 1000,
                             .final = true});
    finish(c, &r);
    assert_int_equal(r.exit_code, EXIT_THRESHOLDS);
    assert_int_equal(r.n_thresholds, 3);
    run_result_destroy(&r);
    const struct collect_config none = {.run_id = "R", .no_thresholds = true};
    c = collecting(&none);
    give(c,
         (struct figures){.partition = 1, .partitions = 1, .sequence = 1, .incarnation = 1, .sent = 5, .final = true});
    finish(c, &r);
    assert_int_equal(r.exit_code, 0);
    run_result_destroy(&r);
}

static void a_restarted_shard_is_counted_whole(void **state)
{
    (void)state;
    struct run_result r;
    struct collect *c = collecting(&plain);
    give(c, (struct figures){
                .partition = 1, .partitions = 1, .sequence = 3, .incarnation = 100, .sent = 120, .online = 10});
    assert_int_equal(
        give(c,
             (struct figures){
                 .partition = 1, .partitions = 1, .sequence = 1, .incarnation = 200, .sent = 100, .online = 9}),
        1);
    assert_int_equal(
        give(c, (struct figures){.partition = 1, .partitions = 1, .sequence = 1, .incarnation = 200, .sent = 100}),
        0); // again
    give(c, (struct figures){.partition = 1,
                             .partitions = 1,
                             .sequence = 2,
                             .incarnation = 200,
                             .sent = 180,
                             .online = 8,
                             .final = true});
    assert_true(collect_complete(c));
    finish(c, &r);
    assert_int_equal(counted(&r, "messages_sent"), 300);
    assert_int_equal(counted(&r, "devices_online"), 8);
    assert_int_equal(r.exit_code, 0);
    run_result_destroy(&r);
}

static void who_is_missing_is_named(void **state)
{
    (void)state;
    struct run_result r;
    struct collect_progress p;
    struct collect *c = collecting(&plain);
    give(c, (struct figures){
                .partition = 1, .partitions = 3, .sequence = 1, .incarnation = 1, .sent = 300, .final = true});
    give(c, (struct figures){
                .partition = 2, .partitions = 3, .shards = 2, .sequence = 1, .incarnation = 1, .final = true});
    collect_look(c, &p);
    assert_true(p.expected == 3 && p.heard == 2 && p.finished == 1);
    finish(c, &r);
    assert_int_equal(r.exit_code, EXIT_SHARD_LOST);
    assert_true(has_reason(&r, EXIT_SHARD_LOST,
                           "2 of 3 runners have not sent their final figures: 2 (1 of 2 shards), 3 (never heard)"));
    run_result_destroy(&r);
}

static void what_does_not_fit_together_is_said(void **state)
{
    (void)state;
    struct run_result r;
    struct collect_config config = {.run_id = "R", .expect = 3};
    struct collect *c = collecting(&config);
    give(c, (struct figures){
                .partition = 1, .partitions = 2, .sequence = 1, .incarnation = 5, .sent = 300, .final = true});
    assert_int_equal(give(c, (struct figures){.partition = 2,
                                              .partitions = 2,
                                              .sequence = 1,
                                              .incarnation = 5,
                                              .sent = 9,
                                              .final = true,
                                              .sha = "other"}),
                     0);
    assert_int_equal(give(c, (struct figures){.partition = 2,
                                              .partitions = 2,
                                              .sequence = 1,
                                              .incarnation = 5,
                                              .sent = 9,
                                              .final = true,
                                              .run = "Q"}),
                     0);
    assert_int_equal(
        give(c, (struct figures){.partition = 1, .partitions = 2, .sequence = 8, .incarnation = 4, .sent = 9}), 0);
    finish(c, &r);
    assert_int_equal(counted(&r, "messages_sent"), 300);
    assert_true(has_reason(&r, EXIT_SCENARIO, "runner 2 runs another scenario"));
    assert_true(has_reason(&r, EXIT_USAGE, "3 runners are expected, and they say that they are 2"));
    assert_true(has_reason(&r, EXIT_USAGE, "two runners at once say that they are part 1 of run R"));
    assert_true(has_reason(&r, EXIT_SHARD_LOST, "3 (never heard)"));
    run_result_destroy(&r);
}

static void damaged(struct collect *c, const char *text)
{
    struct error err = {0};
    if (collect_take(c, text, strlen(text), &err) >= 0 || !err.text[0])
        fail_msg("taken: %.200s", text);
}

static void what_is_malformed_changes_nothing(void **state)
{
    (void)state;
    struct run_result r;
    struct error err;
    struct collect *c = collecting(&plain);
    damaged(c, "");
    damaged(c, "{");
    damaged(c, "[]");
    damaged(c, "{\"run\":\"R\"}");
    damaged(c, "{\"run\":\"R\",\"schema\":2}");
    char *good = message_of(&(struct figures){
        .partition = 1, .partitions = 1, .shards = 1, .sequence = 1, .incarnation = 1, .sent = 300, .final = true});
    static const char *const changes[][2] = {{"\"partition\":1", "\"partition\":9"},
                                             {"\"shards\":1", "\"shards\":0"},
                                             {"\"measuredUs\":5000000", "\"measuredUs\":-1"},
                                             {"\"snapshot\":\"", "\"snapshot\":\"!!!!"},
                                             {"\"snapshot\":\"", "\"snapshot\":\"AAAA"},
                                             {"\"plan\":{", "\"plan\":null,\"plam\":{"},
                                             {"\"status\":{", "\"status\":[],\"statue\":{"},
                                             {"\"groups\":[{\"name\"", "\"groups\":[],\"grups\":[{\"name\""}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        char *at = strstr(good, changes[i][0]), *bad = calloc(1, strlen(good) + 64);
        assert_non_null(at);
        snprintf(bad, strlen(good) + 64, "%.*s%s%s", (int)(at - good), good, changes[i][1], at + strlen(changes[i][0]));
        damaged(c, bad);
        free(bad);
    }
    for (size_t n = strlen(good); n-- > 0;) // cut short
        assert_int_equal(collect_take(c, good, n, &err), -1);
    assert_int_equal(collect_finish(c, false, &r, &err), -1);
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_int_equal(collect_take(c, good, strlen(good), &err), 1);
    free(good);
    finish(c, &r);
    assert_int_equal(r.exit_code, 0);
    run_result_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_runners_are_one_run),
        cmocka_unit_test(a_failed_threshold_decides),
        cmocka_unit_test(a_restarted_shard_is_counted_whole),
        cmocka_unit_test(who_is_missing_is_named),
        cmocka_unit_test(what_does_not_fit_together_is_said),
        cmocka_unit_test(what_is_malformed_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
