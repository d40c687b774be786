#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "metrics/metrics.h"

static struct metric *counter(struct metrics *m, const char *name, const char *tags)
{
    struct error err;
    struct metric *s = metrics_series(m, name, METRIC_COUNTER, UNIT_NONE, tags, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void a_series_is_found_again_whatever_the_order_of_its_tags(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(10000);
    struct metric *a = counter(m, "published", "group:b,reason:x y");
    assert_string_equal(a->tags, "group:b,reason:x y");
    assert_ptr_equal(counter(m, "published", " reason:x y , group : b "), a);
    struct metric *bare = counter(m, "published", NULL);
    assert_ptr_not_equal(bare, a);
    assert_ptr_equal(counter(m, "published", ""), bare);
    struct metric *many[5000];
    char tags[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(tags, sizeof(tags), "device:%d", i * 7919 % 5000);
        counter_add(many[i] = counter(m, "published", tags), 1);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(tags, sizeof(tags), "device:%d", i * 7919 % 5000);
        assert_ptr_equal(counter(m, "published", tags), many[i]);
        assert_int_equal(many[i]->count, 1);
        assert_string_equal(many[i]->tags, tags);
    }
    metrics_clear(m);
    assert_int_equal(many[7]->count, 0);
    metrics_delete(m);
    metrics_delete(NULL);
}

static void refuses(struct metrics *m, const char *name, const char *tags, enum error_code code)
{
    struct error err;
    if (metrics_series(m, name, METRIC_COUNTER, UNIT_NONE, tags, &err))
        fail_msg("%s{%s} was taken", name, tags ? tags : "");
    assert_int_equal(err.code, code);
}

static void names_tags_and_kinds_are_checked(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(100);
    struct error err;
    static const char *const names[] = {"", "A", "1a", "a-b", "a b", "_a", "a{", "\xc3\xa4"};
    static const char *const tags[] = {"x",   "x:",   ":y",    "x:y,",   ",x:y",  "x:y,x:z", "x:y:z",
                                       "x=y", "x:{}", "x:y\n", "x:\xff", "x:y,z", " : ",     "x:\xc3"};
    char longest[700];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        refuses(m, names[i], NULL, ERR_INVALID);
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        refuses(m, "ok", tags[i], ERR_INVALID);
    memset(longest, 'a', sizeof(longest));
    longest[64] = '\0';
    refuses(m, longest, NULL, ERR_INVALID);
    longest[63] = '\0';
    assert_non_null(counter(m, longest, NULL));
    memset(longest, 'a', sizeof(longest));
    longest[1] = ':';
    longest[513] = '\0';
    refuses(m, "ok", longest, ERR_LIMIT);
    longest[512] = '\0';
    assert_non_null(counter(m, "ok", longest));
    refuses(m, "ok", "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1,j:1,k:1,l:1,m:1,n:1,o:1,p:1,q:1", ERR_LIMIT);
    assert_null(metrics_series(m, "ok", METRIC_RATE, UNIT_NONE, "x:y", &err));
    assert_string_equal(err.text, "the metric ok is a counter (no unit), not a rate (no unit)");
    assert_null(metrics_series(m, "ok", METRIC_COUNTER, UNIT_BYTES, NULL, &err));
    struct metric *gauge = metrics_gauge(m, "up", GAUGE_MAX, NULL, &err);
    assert_non_null(gauge);
    assert_null(metrics_gauge(m, "up", GAUGE_SUM, NULL, &err));
    assert_ptr_equal(metrics_series(m, "up", METRIC_GAUGE, UNIT_NONE, NULL, &err), gauge);
    metrics_delete(m);
}

static void beyond_the_cap_tags_fall_together(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(3);
    struct error err;
    struct metric *first = counter(m, "a", "k:1");
    counter(m, "a", "k:2");
    counter(m, "b", NULL);
    struct metric *over = counter(m, "a", "k:3");
    assert_string_equal(over->tags, "overflow:true");
    assert_ptr_equal(counter(m, "a", "k:4"), over);
    assert_ptr_equal(counter(m, "a", "k:1"), first); // what is there stays
    assert_string_equal(counter(m, "c", NULL)->tags, "overflow:true");
    assert_string_equal(counter(m, "d", NULL)->tags, "overflow:true");
    refuses(m, "e", NULL, ERR_LIMIT);
    assert_ptr_equal(counter(m, "a", "k:5"), over);
    assert_null(metrics_series(m, "a", METRIC_RATE, UNIT_NONE, "k:6", &err));
    metrics_delete(m);
}

static void fill(struct metrics *m, unsigned shard)
{
    struct error err;
    counter_add(counter(m, "published", "group:s"), 10 + shard);
    counter_add(counter(m, "published", "group:a,kind:x"), 100);
    struct metric *rate = metrics_series(m, "delivered", METRIC_RATE, UNIT_NONE, NULL, &err);
    for (unsigned i = 0; i < 4; i++)
        rate_add(rate, i != shard);
    gauge_set(metrics_gauge(m, "online", GAUGE_SUM, NULL, &err), 5);
    gauge_set(metrics_gauge(m, "coldest", GAUGE_MAX, NULL, &err), -10.5 - shard);
    struct metric *trend = metrics_series(m, "latency", METRIC_TREND, UNIT_TIME_US, "group:s", &err);
    for (unsigned i = 0; i < 1000; i++)
        trend_add(trend, shard * 1000 + i);
    char tags[32];
    snprintf(tags, sizeof(tags), "shard:%u", shard);
    counter_add(counter(m, "own", tags), 1);
}

static void check_merged(const struct metrics *m)
{
    struct error err;
    struct metric_selector sel;
    struct metric out = {0};
    assert_int_equal(metric_selector_parse("published", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 2);
    assert_int_equal(out.count, 333);
    assert_int_equal(metric_selector_parse("published{kind:x}", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_int_equal(out.count, 300);
    assert_int_equal(metric_selector_parse("delivered", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_int_equal(out.count, 12);
    assert_int_equal(out.hits, 9);
    assert_int_equal(metric_selector_parse("online", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_true(out.value == 15);
    assert_int_equal(metric_selector_parse("coldest", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_true(out.value == -10.5);
    assert_int_equal(metric_selector_parse("own", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 3);
    assert_int_equal(out.count, 3);
    assert_int_equal(metric_selector_parse("latency{group:s}", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_int_equal(out.count, 3000);
    assert_null(out.hist);
    out.hist = hist_new();
    hist_record(out.hist, 1); // is cleared
    assert_int_equal(metrics_select(m, &sel, &out), 1);
    assert_int_equal(out.unit, UNIT_TIME_US);
    assert_int_equal(hist_count(out.hist), 3000);
    assert_int_equal(hist_percentile(out.hist, 50), 1499);
    assert_int_equal(metric_selector_parse("latency{group:none}", &sel, &err), 0);
    assert_int_equal(metrics_select(m, &sel, &out), 0);
    assert_int_equal(hist_count(out.hist), 0);
    assert_int_equal(out.count, 0);
    hist_delete(out.hist);
}

static void three_shards_merge_by_bytes_and_by_pointer(void **state)
{
    (void)state;
    struct metrics *by_bytes = metrics_new(100), *by_pointer = metrics_new(100);
    struct error err;
    struct buf b;
    buf_create(&b, 1 << 16);
    for (unsigned i = 0; i < 3; i++) {
        struct metrics *shard = metrics_new(100);
        fill(shard, i);
        buf_clear(&b);
        assert_int_equal(metrics_encode(shard, &b), 0);
        if (metrics_merge(by_bytes, b.data, b.len, &err) || metrics_merge_from(by_pointer, shard, &err))
            fail_msg("%s", err.text);
        metrics_delete(shard);
    }
    check_merged(by_bytes);
    check_merged(by_pointer);
    struct buf x, y;
    buf_create(&x, 1 << 16);
    buf_create(&y, 1 << 16);
    assert_int_equal(metrics_encode(by_bytes, &x), 0);
    assert_int_equal(metrics_encode(by_pointer, &y), 0);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    // Every cut is noticed and nothing of it is merged.
    for (uint32_t n = 0; n < x.len; n++) {
        assert_int_equal(metrics_merge(by_bytes, x.data, n, &err), -1);
        assert_int_equal(err.code, ERR_PROTOCOL);
    }
    assert_int_equal(buf_append_char(&x, 'x'), 0);
    assert_int_equal(metrics_merge(by_bytes, x.data, x.len, &err), -1);
    assert_non_null(strstr(err.text, "1 bytes too many"));
    x.data[0] = 2;
    assert_int_equal(metrics_merge(by_bytes, x.data, x.len, &err), -1);
    assert_non_null(strstr(err.text, "version"));
    buf_clear(&x);
    assert_int_equal(metrics_encode(by_bytes, &x), 0);
    assert_memory_equal(x.data, y.data, y.len);
    struct buf small;
    buf_create(&small, 64);
    assert_int_equal(metrics_encode(by_bytes, &small), -1);
    assert_int_equal(small.len, 0);
    buf_destroy(&small);
    // A snapshot of other kinds is refused.
    struct metrics *other = metrics_new(10);
    assert_non_null(metrics_series(other, "latency", METRIC_COUNTER, UNIT_NONE, NULL, &err));
    assert_int_equal(metrics_merge(other, y.data, y.len, &err), -1);
    assert_int_equal(metrics_merge_from(other, by_pointer, &err), -1);
    metrics_delete(other);
    buf_destroy(&x);
    buf_destroy(&y);
    buf_destroy(&b);
    metrics_delete(by_bytes);
    metrics_delete(by_pointer);
}

static void a_snapshot_keeps_to_the_cap_of_the_receiver(void **state)
{
    (void)state;
    struct metrics *from = metrics_new(100), *into = metrics_new(5);
    struct error err;
    struct buf b;
    char tags[16];
    buf_create(&b, 1 << 16);
    for (int i = 0; i < 50; i++) {
        snprintf(tags, sizeof(tags), "k:%d", i);
        counter_add(counter(from, "a", tags), 1);
    }
    assert_int_equal(metrics_encode(from, &b), 0);
    assert_int_equal(metrics_merge(into, b.data, b.len, &err), 0);
    struct metric_selector sel;
    struct metric out = {0};
    assert_int_equal(metric_selector_parse("a", &sel, &err), 0);
    assert_int_equal(metrics_select(into, &sel, &out), 6);
    assert_int_equal(out.count, 50); // nothing is lost
    assert_int_equal(metric_selector_parse("a{overflow:true}", &sel, &err), 0);
    assert_int_equal(metrics_select(into, &sel, &out), 1);
    assert_int_equal(out.count, 45);
    buf_destroy(&b);
    metrics_delete(from);
    metrics_delete(into);
}

static void selectors(void **state)
{
    (void)state;
    struct metric_selector sel;
    struct error err;
    assert_int_equal(metric_selector_parse("publish_latency { reason:b , group:a }", &sel, &err), 0);
    assert_string_equal(sel.name, "publish_latency");
    assert_string_equal(sel.tags, "group:a,reason:b");
    assert_int_equal(metric_selector_parse("a{}", &sel, &err), 0);
    assert_string_equal(sel.tags, "");
    static const char *const bad[] = {"",        "{a:b}", "a{",         "a{a:b", "a}",
                                      "a{a:b}x", "a{a}",  "a{a:b,a:c}", "A",     "a{a:b}}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (metric_selector_parse(bad[i], &sel, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
    char longest[400];
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "a{k:", 4);
    longest[398] = '}';
    longest[399] = '\0';
    assert_int_equal(metric_selector_parse(longest, &sel, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    // A tag matches as a whole, not as a part of one.
    struct metrics *m = metrics_new(10);
    struct metric out = {0};
    counter_add(counter(m, "a", "group:sensors,region:eu"), 1);
    static const struct {
        const char *text;
        int matches;
    } cases[] = {
        {"a", 1},           {"a{region:eu}", 1},    {"a{group:sensors}", 1},  {"a{group:sensor}", 0},
        {"a{region:e}", 0}, {"a{egion:eu}", 0},     {"a{group:sensors2}", 0}, {"a{region:eu,group:sensors}", 1},
        {"b", 0},           {"a{region:eu,x:y}", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(metric_selector_parse(cases[i].text, &sel, &err), 0);
        assert_int_equal(metrics_select(m, &sel, &out), cases[i].matches);
    }
    metrics_delete(m);
}

static void prometheus_text(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(20);
    struct error err;
    struct buf b;
    buf_create(&b, 4096);
    counter_add(counter(m, "published", "group:a\"b\\c,1-x:y"), 7);
    counter_add(counter(m, "published", NULL), 3);
    counter_add(metrics_series(m, "sent_bytes", METRIC_COUNTER, UNIT_BYTES, NULL, &err), 1000);
    gauge_set(metrics_gauge(m, "online", GAUGE_SUM, NULL, &err), 2.5);
    struct metric *rate = metrics_series(m, "ok", METRIC_RATE, UNIT_NONE, NULL, &err);
    rate_add(rate, true);
    rate_add(rate, false);
    struct metric *trend = metrics_series(m, "latency", METRIC_TREND, UNIT_TIME_US, "group:a", &err);
    trend_add(trend, 1000);
    trend_add(trend, 2000);
    metrics_series(m, "latency", METRIC_TREND, UNIT_TIME_US, NULL, &err);
    assert_int_equal(metrics_prometheus(m, &b), 0);
    assert_string_equal(buf_cstr(&b), "# TYPE iotix_latency_seconds summary\n"
                                      "iotix_latency_seconds{quantile=\"0.5\"} NaN\n"
                                      "iotix_latency_seconds{quantile=\"0.9\"} NaN\n"
                                      "iotix_latency_seconds{quantile=\"0.95\"} NaN\n"
                                      "iotix_latency_seconds{quantile=\"0.99\"} NaN\n"
                                      "iotix_latency_seconds{quantile=\"0.999\"} NaN\n"
                                      "iotix_latency_seconds_sum 0\n"
                                      "iotix_latency_seconds_count 0\n"
                                      "iotix_latency_seconds{group=\"a\",quantile=\"0.5\"} 0.001\n"
                                      "iotix_latency_seconds{group=\"a\",quantile=\"0.9\"} 0.002\n"
                                      "iotix_latency_seconds{group=\"a\",quantile=\"0.95\"} 0.002\n"
                                      "iotix_latency_seconds{group=\"a\",quantile=\"0.99\"} 0.002\n"
                                      "iotix_latency_seconds{group=\"a\",quantile=\"0.999\"} 0.002\n"
                                      "iotix_latency_seconds_sum{group=\"a\"} 0.003\n"
                                      "iotix_latency_seconds_count{group=\"a\"} 2\n"
                                      "# TYPE iotix_ok_samples_total counter\n"
                                      "iotix_ok_samples_total 2\n"
                                      "# TYPE iotix_ok_hits_total counter\n"
                                      "iotix_ok_hits_total 1\n"
                                      "# TYPE iotix_online gauge\n"
                                      "iotix_online 2.5\n"
                                      "# TYPE iotix_published_total counter\n"
                                      "iotix_published_total 3\n"
                                      "iotix_published_total{_1_x=\"y\",group=\"a\\\"b\\\\c\"} 7\n"
                                      "# TYPE iotix_sent_bytes_total counter\n"
                                      "iotix_sent_bytes_total 1000\n");
    struct buf small;
    buf_create(&small, 500);
    assert_int_equal(metrics_prometheus(m, &small), -1);
    assert_int_equal(small.len, 0);
    buf_destroy(&small);
    buf_destroy(&b);
    metrics_delete(m);
}

static void latencies_count_from_when_they_were_meant_to_begin(void **state)
{
    struct metrics *m = metrics_new(10);
    struct metric *t = metrics_series(m, "publish_latency", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    struct metric *raw = metrics_series(m, "publish_latency_raw", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    (void)state;
    trend_add_lagged(t, raw, 150, &(struct lag){0});
    assert_int_equal(hist_max(t->hist), 150);
    assert_int_equal(hist_max(raw->hist), 150);
    trend_add_lagged(t, raw, 150, &(struct lag){.late_us = 5000});
    assert_int_equal(hist_max(t->hist), 5150);
    assert_int_equal(hist_max(raw->hist), 150);
    metrics_clear(m);
    // Held up for 100 ms at every 10 ms: nine turns were left out, 95, 85 ... 15 ms late.
    trend_add_lagged(t, raw, 200, &(struct lag){.missed = 9, .interval_us = 10000, .backlog_us = 95000});
    assert_int_equal(hist_count(raw->hist), 1);
    assert_int_equal(hist_count(t->hist), 10);
    assert_int_equal(hist_min(t->hist), 200);
    assert_int_equal(hist_max(t->hist), 95200);
    assert_true(hist_sum(t->hist) == 10 * 200 + 9 * 55000);
    // Never below what it took, however the figures are.
    metrics_clear(m);
    trend_add_lagged(t, raw, 200, &(struct lag){.missed = 3, .interval_us = 10000, .backlog_us = 5000});
    assert_int_equal(hist_min(t->hist), 200);
    assert_int_equal(hist_count(t->hist), 4);
    // A million of them take 256 values at most, and sum up to the same.
    metrics_clear(m);
    trend_add_lagged(t, raw, 0, &(struct lag){.missed = 1000001, .interval_us = 1000, .backlog_us = 1000001000});
    assert_int_equal(hist_count(t->hist), 1000002);
    double mean = (1000001000.0 - 1000.0 * 1000000 / 2);
    assert_true(fabs(hist_sum(t->hist) / 1000001 - mean) < mean * 1e-5);
    metrics_delete(m);
}

static void losses_are_known(void **state)
{
    struct metrics *m = metrics_new(2);
    struct metrics_losses l;
    struct metric *t = metrics_series(m, "user_t", METRIC_TREND, UNIT_NONE, NULL, NULL);
    (void)state;
    trend_add(t, 1);
    metrics_losses(m, &l);
    assert_int_equal(l.saturated + l.unrecorded + l.overflowed, 0);
    trend_add(t, 3600000001);
    metrics_series(m, "user_c", METRIC_COUNTER, UNIT_NONE, "a:1", NULL);
    metrics_series(m, "user_c", METRIC_COUNTER, UNIT_NONE, "a:2", NULL); // the third series
    metrics_series(m, "user_c", METRIC_COUNTER, UNIT_NONE, "a:1", NULL); // has one
    metrics_note_overflow(m);
    metrics_losses(m, &l);
    assert_int_equal(l.saturated, 1);
    assert_int_equal(l.overflowed, 2);
    metrics_delete(m);
}

static bool keeps(const char *name)
{
    return strcmp(name, "user_kept") == 0;
}

static void statistics_begin_anew(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(100);
    struct metric *c = metrics_series(m, "user_c", METRIC_COUNTER, UNIT_NONE, NULL, NULL),
                  *kept = metrics_series(m, "user_kept", METRIC_COUNTER, UNIT_NONE, NULL, NULL),
                  *r = metrics_series(m, "user_r", METRIC_RATE, UNIT_NONE, NULL, NULL),
                  *g = metrics_series(m, "user_g", METRIC_GAUGE, UNIT_NONE, NULL, NULL),
                  *t = metrics_series(m, "user_t", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    counter_add(c, 5);
    counter_add(kept, 6);
    rate_add(r, true);
    g->value = 7;
    trend_add(t, 100);
    metrics_restart(m, keeps);
    assert_int_equal(c->count, 0);
    assert_int_equal(kept->count, 6);
    assert_int_equal(r->count + r->hits, 0);
    assert_true(g->value == 7);
    assert_int_equal(hist_count(t->hist), 0);
    counter_add(c, 1); // the series are the same
    trend_add(t, 300);
    assert_int_equal(c->count, 1);
    assert_true(hist_max(t->hist) >= 300);
    metrics_delete(m);
}

static void the_growth_since_an_earlier_state(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(100), *before = metrics_new(100);
    struct error err = {0};
    struct metric *c = metrics_series(m, "user_c", METRIC_COUNTER, UNIT_NONE, "a:1", NULL),
                  *less = metrics_series(m, "user_less", METRIC_COUNTER, UNIT_NONE, NULL, NULL),
                  *r = metrics_series(m, "user_r", METRIC_RATE, UNIT_NONE, NULL, NULL),
                  *t = metrics_series(m, "user_t", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    counter_add(c, 5);
    counter_add(less, 5);
    rate_add(r, true);
    trend_add(t, 100);
    assert_int_equal(metrics_merge_from(before, m, &err), 0);
    counter_add(c, 3);
    less->count = 2; // its process began anew
    rate_add(r, false);
    for (int i = 0; i < 10; i++)
        trend_add(t, 2000);
    counter_add(metrics_series(m, "user_new", METRIC_COUNTER, UNIT_NONE, NULL, NULL), 9);
    metrics_subtract(m, before);
    assert_int_equal(c->count, 3);
    assert_int_equal(less->count, 2);
    assert_int_equal(r->count, 1);
    assert_int_equal(r->hits, 0);
    assert_int_equal(hist_count(t->hist), 10);
    assert_true(hist_percentile(t->hist, 1) >= 1990); // the 100 is of before
    struct metric_selector s = {.name = "user_new"};
    struct metric out = {0};
    assert_true(metrics_select(m, &s, &out) > 0 && out.count == 9);
    metrics_delete(m);
    metrics_delete(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_is_found_again_whatever_the_order_of_its_tags),
        cmocka_unit_test(names_tags_and_kinds_are_checked),
        cmocka_unit_test(beyond_the_cap_tags_fall_together),
        cmocka_unit_test(three_shards_merge_by_bytes_and_by_pointer),
        cmocka_unit_test(a_snapshot_keeps_to_the_cap_of_the_receiver),
        cmocka_unit_test(selectors),
        cmocka_unit_test(latencies_count_from_when_they_were_meant_to_begin),
        cmocka_unit_test(losses_are_known),
        cmocka_unit_test(statistics_begin_anew),
        cmocka_unit_test(the_growth_since_an_earlier_state),
        cmocka_unit_test(prometheus_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
