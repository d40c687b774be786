// Experiments of whole runs against the embedded mosquitto: windows, marks, what a test asks for, the broker that goes
// and comes back, functions of the scenario, what cannot be, and shards that are lost meanwhile.
#include "engine/run_world.h"

#include "core/jsonx.h"

static const json_t *mark(const struct world *w, unsigned i)
{
    return json_array_get(w->result.experiments, i);
}

static json_int_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void expect_text(const json_t *o, const char *key, const char *want)
{
    const char *have = json_string_value(json_object_get(o, key));
    if (!have || strcmp(have, want) != 0)
        fail_msg("%s is %s, not %s", key, have ? have : "nothing", want);
}

static void expect_window(const json_t *m, unsigned i, int64_t from_us, int64_t to_us, uint64_t affected)
{
    const json_t *window = json_array_get(json_object_get(m, "windows"), i);
    assert_non_null(window);
    int64_t began = number_of(window, "began_us"), ended = number_of(window, "ended_us");
    if (began < from_us || began > from_us + 200000 || ended < to_us || ended > to_us + 300000)
        fail_msg("window %u from %lld to %lld", i, (long long)began, (long long)ended);
    assert_int_equal(number_of(window, "affected"), affected);
}

static uint64_t counter(const struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric m = {0};
    assert_int_equal(metric_selector_parse(name, &sel, NULL), 0);
    return metrics_select(w->result.metrics, &sel, &m) > 0 ? m.count : 0;
}

// ------------------------------------------------------------------------------------------------------------------

static void windows_come_and_go(void **state)
{
    (void)state;
    {
        struct world *w = make(2);
        run_text(w, 20, "",
                 DURATION(2600000) ",\"timeline\":["
                                   "{\"kind\":\"clock\",\"offset_us\":5000000,\"percentage\":50,\"from_us\":300000,"
                                   "\"to_us\":600000,\"every_us\":1000000,\"line\":7},"
                                   "{\"kind\":\"disconnect\",\"group\":\"g\",\"dropout\":{\"count\":5},"
                                   "\"from_us\":400000,\"to_us\":1000000},"
                                   "{\"kind\":\"storm\",\"from_us\":1500000,\"reconnect_delay_us\":300000},"
                                   "{\"kind\":\"clock\",\"drift\":0.1,\"from_us\":2000000},"
                                   "{\"kind\":\"storm\",\"from_us\":9000000}]");
        expect_exit(w, 0);
        assert_int_equal(json_array_size(w->result.experiments), 5);
        expect_text(mark(w, 0), "name", "clock");
        expect_text(mark(w, 0), "state", "healed");
        assert_int_equal(number_of(mark(w, 0), "runs"), 3);
        expect_window(mark(w, 0), 0, 300000, 600000, 10);
        expect_window(mark(w, 0), 1, 1300000, 1600000, 10);
        expect_window(mark(w, 0), 2, 2300000, 2600000, 10);
        expect_window(mark(w, 1), 0, 400000, 1000000, 5);
        expect_window(mark(w, 2), 0, 1500000, 1800000, 20);
        expect_text(mark(w, 3), "name", "clock-2");
        expect_window(mark(w, 3), 0, 2000000, 2600000, 20); // until the run ends
        expect_text(mark(w, 3), "state", "healed");
        expect_text(mark(w, 4), "state", "scheduled");
        assert_int_equal(number_of(mark(w, 4), "runs"), 0);
        assert_int_equal(counter(w, "dropouts"), 25); // 5 of the disconnect, 20 of the storm
        assert_int_equal(w->result.totals.connects, 45);
        expect_log(w, "experiment clock begins: clocks 5.00 s ahead, until 600 ms");
        expect_log(w, "experiment clock is over after");
        expect_log(w, "experiment storm acts on 20 devices");
        expect_log(w, "experiment storm-2 never begins");
        done(w);
    }
}

// Without a delay and jitter it takes no time, and is not passed over for that.
static void a_storm_in_a_moment(void **state)
{
    (void)state;
    struct world *w = make(1);
    run_text(w, 10, "",
             DURATION(1000000) ",\"timeline\":[{\"kind\":\"storm\",\"from_us\":300000,\"devices\":[1,2,3]}]");
    expect_exit(w, 0);
    assert_int_equal(number_of(mark(w, 0), "runs"), 1);
    assert_int_equal(counter(w, "dropouts"), 3);
    assert_int_equal(w->result.totals.connects, 13);
    done(w);
}

static void what_a_test_asks_for(void **state)
{
    (void)state;
    struct world *w = make(2);
    run_text(
        w, 10,
        "\"test\":\"ask\",\"asks\":["
        "{\"at_us\":100000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"clock\",\"name\":\"x\","
        "\"drift\":1}}},"
        "{\"at_us\":150000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"clock\",\"name\":\"x\","
        "\"drift\":1,\"from_us\":60000000}}},"
        "{\"at_us\":200000,\"change\":{\"op\":\"experiments\"}},"
        "{\"at_us\":300000,\"change\":{\"op\":\"experiment_stop\",\"number\":1}},"
        "{\"at_us\":350000,\"change\":{\"op\":\"experiment_stop\",\"number\":2}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment_stop\",\"number\":3}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment_stop\"}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"klock\"}}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment\"}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"storm\",\"group\":\"h\"}}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"clock\",\"drift\":1,"
        "\"devices\":[11]}}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"heal\",\"fault\":1}},"
        "{\"at_us\":400000,\"change\":{\"op\":\"experiment_retune\",\"number\":1,\"fault\":{\"latency\":1}}},"
        "{\"at_us\":500000,\"change\":{\"op\":\"experiment\",\"experiment\":{\"kind\":\"clock\",\"drift\":1,"
        "\"to_us\":100000}}},"
        "{\"at_us\":600000,\"change\":{\"op\":\"experiments\"}}]",
        ",\"has_test\":true");
    expect_exit(w, 0);
    expect_log(w, "answer 0: {\"number\":1,\"name\":\"x\",\"kind\":\"clock\"");
    expect_log(w, "\"state\":\"running\",\"affected\":10");
    expect_log(w, "answer 1: {\"number\":2,\"name\":\"x-2\"");
    expect_log(w, "answer 2: {\"experiments\":[{\"number\":1");
    expect_log(w, "answer 5: error not_found: there is no experiment 3; the run has 2");
    expect_log(w, "did you mean \"clock\"");
    expect_log(w, "answer 8: error invalid");
    expect_log(w, "answer 9: error not_found: there is no group");
    expect_log(w, "answer 10: error invalid: group g: devices: expected indices from 1 to 10");
    expect_log(w, "answer 11: error invalid: op: \"heal\" is a part of");
    expect_log(w, "answer 12: error state");
    expect_log(w, "answer 13: error invalid: its window ends before it starts");
    expect_text(mark(w, 0), "state", "stopped");
    expect_window(mark(w, 0), 0, 100000, 300000, 10);
    expect_text(mark(w, 1), "state", "stopped");
    assert_int_equal(number_of(mark(w, 1), "runs"), 0);
    assert_int_equal(json_array_size(w->result.experiments), 2);
    done(w);
}

static void the_broker_goes_and_comes_back(void **state)
{
    (void)state;
    static const char *const actions[] = {"stop", "kill", "pause"};
    for (unsigned i = 0; i < 3; i++) {
        struct world *w = make(1);
        char timeline[300];
        snprintf(timeline, sizeof(timeline),
                 ",\"duration\":2800000,\"timeline\":[{\"kind\":\"broker\",\"action\":\"%s\",\"from_us\":300000,"
                 "\"to_us\":600000}]",
                 actions[i]);
        run_text(w, 10, "", timeline);
        expect_exit(w, 0);
        expect_window(mark(w, 0), 0, 300000, 600000, 0);
        expect_text(mark(w, 0), "state", "healed");
        assert_int_equal(w->result.totals.ever_online, 10);
        if (i < 2) { // all of them lost it, and all of them came back, to the same port
            assert_true(w->result.totals.connects >= 20);
            expect_log(w, "the embedded broker is back");
        } else {
            assert_int_equal(w->result.totals.connects, 10); // connections live through a moment of silence
        }
        done(w);
    }
}

// The later window stands first in the timeline: what ends at the same time makes way for it.
static void one_pause_begins_where_another_ends(void **state)
{
    (void)state;
    struct world *w = make(1);
    run_text(w, 5, "",
             DURATION(1500000) ",\"timeline\":["
                               "{\"kind\":\"broker\",\"action\":\"pause\",\"from_us\":600000,\"to_us\":900000},"
                               "{\"kind\":\"broker\",\"action\":\"pause\",\"from_us\":300000,\"to_us\":600000}]");
    expect_exit(w, 0);
    for (unsigned i = 0; i < 2; i++) {
        expect_text(mark(w, i), "state", "healed");
        expect_window(mark(w, i), 0, i ? 300000 : 600000, i ? 600000 : 900000, 0);
    }
    done(w);
}

static void a_broker_that_is_down_when_the_run_ends(void **state)
{
    (void)state;
    static const char *const actions[] = {"kill", "pause"};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = make(1);
        char timeline[300];
        snprintf(timeline, sizeof(timeline),
                 ",\"duration\":1200000,\"timeline\":[{\"kind\":\"broker\",\"action\":\"%s\",\"from_us\":500000},"
                 "{\"kind\":\"broker\",\"action\":\"kill\",\"from_us\":800000,\"to_us\":900000}]",
                 actions[i]);
        run_text(w, 10, "", timeline);
        expect_exit(w, 110); // the second one found it down
        expect_text(mark(w, 0), "state", "healed");
        expect_text(mark(w, 1), "state", "failed");
        assert_non_null(strstr(json_string_value(json_object_get(mark(w, 1), "error")), "down or paused already"));
        assert_true(w->took_us < 6 * SECOND);
        done(w);
    }
}

static void functions_of_the_scenario(void **state)
{
    (void)state;
    static const struct {
        const char *x, *state, *log;
        int exit_code;
        int64_t to_us;
    } cases[] = {
        {"\"custom_us\":200000", "healed", "function 1 begins for 1", 0, 300000},    // it returns
        {"\"custom_us\":9000000", "healed", "function is cut off for 1", 0, 500000}, // its window ends
        {"\"custom_us\":100000,\"custom_error\":\"fleet.lua:3: oops\\nat\"", "failed", "fleet.lua:3: oops", 110,
         200000},
        {"\"custom_how\":\"crash\"", "failed", "was lost", 110, 100000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make(1);
        run_text(w, 3, cases[i].x,
                 DURATION(700000) ",\"timeline\":[{\"kind\":\"custom\",\"custom\":1,\"from_us\":100000,"
                                  "\"to_us\":500000}]");
        expect_exit(w, cases[i].exit_code);
        expect_text(mark(w, 0), "state", cases[i].state);
        expect_window(mark(w, 0), 0, 100000, cases[i].to_us, 0);
        expect_log(w, cases[i].log);
        done(w);
    }
    struct world *w = make(1);
    run_text(w, 3, "", DURATION(300000) ",\"timeline\":[{\"kind\":\"custom\",\"custom\":7}]");
    expect_exit(w, 110);
    expect_log(w, "there is no function 7");
    done(w);
}

static void networks(void **state)
{
    (void)state;
    struct world *w = make(2);
    run_text(w, 10,
             "\"qos\":1,\"interval_us\":50000,\"test\":\"ask\",\"asks\":[{\"at_us\":900000,\"change\":{\"op\":"
             "\"experiment_retune\",\"number\":1,\"fault\":{\"latency\":\"300ms\"}}}]",
             ",\"has_test\":true" DURATION(2500000) ",\"timeline\":[{\"kind\":\"link\",\"group\":\"g\",\"fault\":{"
                                                    "\"latency\":\"100ms\"},\"line\":4},{\"kind\":\"partition\","
                                                    "\"percentage\":50,\"fault\":{\"partition\":true},"
                                                    "\"from_us\":1500000,\"to_us\":1800000}]");
    if (!ADAPTER_HAS(adapter_find("mqtt"), conn_path)) { // said before anything connects
        expect_exit(w, 104);
        assert_non_null(strstr(w->result.reasons[0].text, "fleet.json:4: experiment \"link\""));
        assert_non_null(strstr(w->result.reasons[0].text, "lacks conn_path"));
        done(w);
        return;
    }
    expect_exit(w, 0);
    struct metric_selector sel;
    struct metric m = {.hist = hist_new()};
    assert_int_equal(metric_selector_parse("publish_latency", &sel, NULL), 0);
    assert_true(metrics_select(w->result.metrics, &sel, &m) > 0);
    printf("publish_latency of %llu: min %lld, p50 %lld, max %lld us\n", (unsigned long long)hist_count(m.hist),
           (long long)hist_min(m.hist), (long long)hist_percentile(m.hist, 50), (long long)hist_max(m.hist));
    // There and back; what is sent when they are healed, at the end, has to wait for what is under way only.
    assert_in_range(hist_percentile(m.hist, 50), 198000, 650000);
    assert_true(hist_max(m.hist) >= 598000);
    hist_clear(m.hist);
    assert_int_equal(metric_selector_parse("connect_latency", &sel, NULL), 0);
    assert_true(metrics_select(w->result.metrics, &sel, &m) > 0);
    assert_true(hist_min(m.hist) >= 398000); // no device connected before the fault of time 0: TCP and CONNECT
    hist_delete(m.hist);
    expect_window(mark(w, 0), 0, 0, 2500000, 10);
    expect_window(mark(w, 1), 0, 1500000, 1800000, 5);
    expect_log(w, "answer 0: {");
    done(w);
}

static void what_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *text;
        int code;
    } cases[] = {
        {",\"timeline\":[{\"kind\":\"storm\",\"group\":\"h\",\"line\":9}]",
         "fleet.json:9: experiment 1 of the timeline: there is no group", 104},
        {",\"timeline\":[{\"kind\":\"storm\",\"from_us\":5,\"to_us\":2,\"name\":\"s\"}]",
         "experiment \"s\": its window ends before", 104},
        {",\"timeline\":[{\"kind\":\"clock\",\"drift\":1,\"devices\":[99]}]", "indices from 1 to 5", 104},
        {",\"timeline\":7", "timeline: expected a list", 104},
        {",\"broker\":\"mqtt://127.0.0.1:1\",\"timeline\":[{\"kind\":\"broker\",\"action\":\"stop\"}]",
         "only a broker that the run started itself", 104},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make(1);
        char rest[400];
        snprintf(rest, sizeof(rest), ",\"duration\":500000%s", cases[i].rest);
        if (strstr(rest, "\"broker\":"))
            w->config.overrides = (struct plan_overrides){.broker = "mqtt://127.0.0.1:1", .broker_from = "flag"};
        char *at = strstr(rest, ",\"broker\":\"mqtt://127.0.0.1:1\"");
        if (at)
            memmove(at, at + 30, strlen(at + 30) + 1);
        run_text(w, 5, "", rest);
        expect_exit(w, cases[i].code);
        if (!w->result.n_reasons || !strstr(w->result.reasons[0].text, cases[i].text))
            fail_msg("%s: %s", cases[i].rest, w->result.n_reasons ? w->result.reasons[0].text : "nothing is wrong");
        done(w);
    }
}

static void a_lost_shard_is_told_again(void **state)
{
    (void)state;
    struct world *w = make(2);
    w->config.overrides.has_seed = true;
    w->config.overrides.seed = 7; // with which device 1 is not one of the two
    // It crashes its shard when one disconnect is over and another one goes on: who takes its place must not hold down
    // the devices of the first, and must bring back those of the second.
    run_text(w, 10,
             "\"how\":\"crash\",\"device\":1,\"after\":25,\"interval_us\":20000,\"test\":\"ask\",\"asks\":["
             "{\"at_us\":1200000,\"change\":{\"op\":\"status\",\"group\":\"g\"}},"
             "{\"at_us\":2000000,\"change\":{\"op\":\"status\",\"group\":\"g\"}}]",
             DURATION(2200000) ",\"has_test\":true,\"timeline\":["
                               "{\"kind\":\"disconnect\",\"dropout\":{},\"from_us\":200000,\"to_us\":300000},"
                               "{\"kind\":\"clock\",\"offset_us\":1000000,\"from_us\":100000},"
                               "{\"kind\":\"disconnect\",\"dropout\":{\"count\":2},\"from_us\":400000,"
                               "\"to_us\":1500000}]");
    expect_exit(w, 0);
    assert_int_equal(w->result.shards_restarted, 1);
    assert_null(strstr(w->log, "was not made again"));
    const char *first = strstr(w->log, "answer 0: "), *second = strstr(w->log, "answer 1: ");
    assert_non_null(first);
    assert_non_null(second);
    if (!strstr(first, "\"online\":8") || strstr(first, "\"online\":8") > second || !strstr(second, "\"online\":10"))
        fail_msg("%s", first);
    expect_text(mark(w, 2), "state", "healed");
    done(w);
}

static void interrupt(struct world *w)
{
    run_interrupt(w->run);
}

static void an_interrupted_run_heals(void **state)
{
    (void)state;
    struct world *w = make(2);
    w->act_phase = RUN_HOLD;
    w->act_after = 2;
    w->act = interrupt;
    run_text(w, 10, "",
             DURATION(30000000) ",\"timeline\":[{\"kind\":\"clock\",\"drift\":1},"
                                "{\"kind\":\"broker\",\"action\":\"pause\",\"from_us\":10000000}]");
    expect_exit(w, 105);
    expect_text(mark(w, 0), "state", "healed");
    assert_true(number_of(mark(w, 0), "ended_us") > 0);
    expect_text(mark(w, 1), "state", "scheduled");
    assert_true(w->took_us < 6 * SECOND);
    done(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_come_and_go),
        cmocka_unit_test(a_storm_in_a_moment),
        cmocka_unit_test(what_a_test_asks_for),
        cmocka_unit_test(the_broker_goes_and_comes_back),
        cmocka_unit_test(one_pause_begins_where_another_ends),
        cmocka_unit_test(a_broker_that_is_down_when_the_run_ends),
        cmocka_unit_test(functions_of_the_scenario),
        cmocka_unit_test(networks),
        cmocka_unit_test(what_cannot_be),
        cmocka_unit_test(a_lost_shard_is_told_again),
        cmocka_unit_test(an_interrupted_run_heals),
    };
    return cmocka_run_group_tests(tests, setup_world, NULL);
}
