// The metric series of targets: what is made, what is counted by tag, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "adapter/series.h"

#define TAGS "group:g,protocol:p"

static uint64_t count_of(const struct metrics *m, const char *selector)
{
    struct metric_selector sel;
    struct metric out = {0};
    assert_int_equal(metric_selector_parse(selector, &sel, NULL), 0);
    metrics_select(m, &sel, &out);
    return out.count;
}

static void tags_hold_group_and_protocol(void **state)
{
    char tags[SERIES_TAGS_MAX], group[SERIES_TAGS_MAX];
    struct error err;
    (void)state;
    assert_int_equal(series_tags(tags, "mqtt", "sensors", &err), 0);
    assert_string_equal(tags, "group:sensors,protocol:mqtt");
    // The longest name that fits, and one more.
    size_t most = SERIES_TAGS_MAX - sizeof "group:,protocol:mqtt";
    memset(group, 'g', sizeof group);
    group[most] = '\0';
    assert_int_equal(series_tags(tags, "mqtt", group, &err), 0);
    assert_string_equal(tags + strlen(tags) - 5, ":mqtt");
    group[most] = 'g';
    group[most + 1] = '\0';
    assert_int_equal(series_tags(tags, "mqtt", group, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.text, "too long"));
}

static void names_are_of_one_kind(void **state)
{
    struct metrics *m = metrics_new(100);
    struct metric *sent, *errors, *latency, *online, *bytes;
    const struct series_wish all[] = {{"messages_sent", &sent},
                                      {"publish_errors", &errors},
                                      {"publish_latency", &latency},
                                      {"devices_online", &online},
                                      {"bytes_sent", &bytes}};
    struct error err;
    (void)state;
    assert_int_equal(series_make(m, TAGS, all, 5, &err), 0);
    assert_int_equal(sent->type, METRIC_COUNTER);
    assert_int_equal(sent->unit, UNIT_NONE);
    assert_string_equal(sent->tags, TAGS);
    assert_int_equal(errors->type, METRIC_RATE);
    assert_int_equal(latency->type, METRIC_TREND);
    assert_int_equal(latency->unit, UNIT_TIME_US);
    assert_int_equal(online->type, METRIC_GAUGE);
    assert_int_equal(online->merge, GAUGE_SUM);
    assert_int_equal(bytes->unit, UNIT_BYTES);
    metrics_delete(m);
}

static void what_cannot_be_made_is_an_error(void **state)
{
    struct metrics *m = metrics_new(100);
    struct metric *at = NULL;
    struct error err;
    (void)state;
    const struct series_wish unknown = {"messages_snet", &at}, taken = {"connects", &at};
    assert_int_equal(series_make(m, TAGS, &unknown, 1, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "messages_snet"));
    assert_non_null(metrics_series(m, "connects", METRIC_TREND, UNIT_BYTES, "x:y", NULL));
    assert_int_equal(series_make(m, TAGS, &taken, 1, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(at);
    metrics_delete(m);
}

static void reasons_are_counted_apart(void **state)
{
    struct metrics *m = metrics_new(100);
    struct series_reasons reasons = {0};
    struct metric *status = NULL;
    (void)state;
    series_count_reason(m, TAGS, &reasons, IOTIX_CONNECT_FAILURE, ERR_TIMEOUT);
    series_count_reason(m, TAGS, &reasons, IOTIX_CONNECT_FAILURE, ERR_TIMEOUT);
    series_count_reason(m, TAGS, &reasons, IOTIX_DISCONNECT, ERR_NONE);
    series_count_reason(m, TAGS, &reasons, IOTIX_MESSAGE_DROPPED, ERR_LIMIT);
    series_count_tagged(m, TAGS, &status, "responses", "status", "2xx");
    series_count_tagged(m, TAGS, &status, "responses", "status", "2xx");
    assert_int_equal(count_of(m, "connect_failures{group:g,protocol:p,reason:timeout}"), 2);
    assert_int_equal(count_of(m, "connect_failures"), 2);
    assert_int_equal(count_of(m, "disconnects{reason:none}"), 1);
    assert_int_equal(count_of(m, "messages_dropped{reason:limit}"), 1);
    assert_int_equal(count_of(m, "responses{status:2xx}"), 2);
    metrics_delete(m);
}

static void a_set_for_plugins_counts_only_reasons_that_are_some(void **state)
{
    struct metrics *m = metrics_new(100);
    const struct adapter_env env = {.metrics = m};
    struct error err;
    (void)state;
    struct iotix_series *s = series_new(&env, "line", "g", &err);
    assert_non_null(s);
    assert_int_equal(s->request_latency->type, METRIC_TREND);
    counter_add(s->connects, 3);
    assert_int_equal(count_of(m, "connects{protocol:line}"), 3);
    series_count(s, IOTIX_DISCONNECT, ERR_CLOSED);
    series_count(s, IOTIX_DISCONNECT, ERR_CODE_MAX);
    series_count(s, (enum iotix_reason)(IOTIX_MESSAGE_DROPPED + 1), ERR_CLOSED);
    assert_int_equal(count_of(m, "disconnects"), 1);
    series_delete(s);
    series_delete(NULL);
    metrics_delete(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_hold_group_and_protocol),
        cmocka_unit_test(names_are_of_one_kind),
        cmocka_unit_test(what_cannot_be_made_is_an_error),
        cmocka_unit_test(reasons_are_counted_apart),
        cmocka_unit_test(a_set_for_plugins_counts_only_reasons_that_are_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
