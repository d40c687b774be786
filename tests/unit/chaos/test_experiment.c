// Experiments as data: what is refused and with which words, when windows begin and end, what shards are told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "chaos/experiment.h"
#include "core/jsonx.h"

#define S 1000000ll
static const char *const groups[] = {"sensors", "gateways", "pumps", NULL};

static int parse(struct experiment *e, const char *text, struct error *err)
{
    struct error bad = {0};
    json_t *json = json_parse(text, strlen(text), "experiment", &bad);
    if (!json)
        fail_msg("%s: %s", text, bad.text);
    int rc = experiment_parse(e, json, groups, err);
    json_decref(json);
    return rc;
}

static void good(struct experiment *e, const char *text)
{
    struct error err = {0};
    if (parse(e, text, &err))
        fail_msg("%s: %s", text, err.text);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"[]", "expected an object"},
        {"{}", "kind \"\"; valid: link, partition"},
        {"{\"kind\":\"lnik\"}", "did you mean \"link\""},
        {"{\"kind\":\"link\"}", "fault: expected an object"},
        {"{\"kind\":\"link\",\"fault\":{\"latancy\":1}}", "latency"},
        {"{\"kind\":\"link\",\"fault\":{\"latency\":-1}}", "fault"},
        {"{\"kind\":\"partition\",\"fault\":{\"latency\":1}}", "expected {\"partition\""},
        {"{\"kind\":\"storm\",\"fault\":{}}", "a storm experiment: key \"fault\"; valid: name, kind"},
        {"{\"kind\":\"broker\",\"action\":\"kill\",\"group\":\"sensors\"}", "key \"group\""},
        {"{\"kind\":\"broker\",\"action\":\"reboot\"}", "valid: stop, kill, pause"},
        {"{\"kind\":\"broker\"}", "action"},
        {"{\"kind\":\"storm\",\"group\":\"sensor\"}", "did you mean \"sensors\""},
        {"{\"kind\":\"storm\",\"groups\":[]}", "expected names of groups"},
        {"{\"kind\":\"storm\",\"groups\":[1]}", "expected names of groups"},
        {"{\"kind\":\"storm\",\"groups\":\"sensors\"}", "expected names of groups"},
        {"{\"kind\":\"storm\",\"groups\":[\"pumps\",\"pumps\"]}", "twice"},
        {"{\"kind\":\"storm\",\"group\":\"pumps\",\"groups\":[\"pumps\"]}", "either group or groups"},
        {"{\"kind\":\"storm\",\"count\":1,\"percentage\":5}", "one of devices, count and percentage"},
        {"{\"kind\":\"storm\",\"count\":0}", "count: expected"},
        {"{\"kind\":\"storm\",\"percentage\":101}", "percentage: expected"},
        {"{\"kind\":\"storm\",\"devices\":[0]}", "devices: expected indices"},
        {"{\"kind\":\"disconnect\",\"dropout\":{\"count\":3},\"devices\":[4]}", "said twice"},
        {"{\"kind\":\"broker\",\"action\":\"stop\",\"devices\":[4]}", "key \"devices\""},
        {"{\"kind\":\"clock\",\"offset_us\":5,\"devices\":[0]}", "devices: expected indices"},
        {"{\"kind\":\"clock\"}", "needs an offset or a drift"},
        {"{\"kind\":\"clock\",\"drift\":-1}", "run backwards"},
        {"{\"kind\":\"clock\",\"drift\":\"fast\"}", "drift: expected"},
        {"{\"kind\":\"clock\",\"offset_us\":\"1s\"}", "offset_us: expected"},
        {"{\"kind\":\"custom\"}", "number of a function"},
        {"{\"kind\":\"custom\",\"custom\":-3}", "number of a function"},
        {"{\"kind\":\"disconnect\"}", "dropout: expected an object"},
        {"{\"kind\":\"disconnect\",\"dropout\":{\"strategy\":\"lienar\"}}", "strategy"},
        {"{\"kind\":\"disconnect\",\"dropout\":{\"count\":3},\"count\":4}", "said twice"},
        {"{\"kind\":\"disconnect\",\"dropout\":{\"count\":3,\"at\":5}}", "its window says when"},
        {"{\"kind\":\"storm\",\"from_us\":-1}", "from_us: expected microseconds"},
        {"{\"kind\":\"storm\",\"from_us\":\"30s\"}", "from_us: expected microseconds"},
        {"{\"kind\":\"storm\",\"from_us\":1e30}", "from_us: expected microseconds"},
        {"{\"kind\":\"storm\",\"from_us\":60000000,\"to_us\":30000000}", "ends before it starts: from 1m00s to 30.0 s"},
        {"{\"kind\":\"storm\",\"from_us\":5,\"to_us\":5}", "ends before it starts"},
        {"{\"kind\":\"clock\",\"drift\":1,\"every_us\":1000000}", "give it `to` as well"},
        {"{\"kind\":\"clock\",\"drift\":1,\"to_us\":2000000,\"every_us\":1000000}",
         "1.00 s is shorter than the window"},
        {"{\"kind\":\"clock\",\"drift\":1,\"to_us\":20,\"every_us\":1000}", "at least 100 ms"},
        {"{\"kind\":\"clock\",\"drift\":1,\"to_us\":20,\"every_us\":0}", "at least 100 ms"},
        {"{\"kind\":\"storm\",\"jitter_us\":-5}", "jitter_us"},
        {"{\"kind\":\"storm\",\"name\":\"\"}", "name: expected"},
        {"{\"kind\":\"storm\",\"name\":\"a,b\"}", "tag of metrics"},
        {"{\"kind\":\"storm\",\"name\":\" a\"}", "name: expected"},
        {"{\"kind\":\"link\",\"fault\":{\"latency\":1},\"profile\":\"lte\"}", "profile: expected an object"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct experiment e;
        struct error err = {0};
        if (parse(&e, cases[i].json, &err) == 0)
            fail_msg("%s was taken", cases[i].json);
        if (!strstr(err.text, cases[i].text))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].json, err.text, cases[i].text);
        assert_null(strstr(err.text, "fault: fault"));
        assert_null(e.json); // nothing is held
    }
    struct experiment e;
    struct error err = {0};
    assert_int_equal(parse(&e, "{\"kind\":\"storm\",\"group\":\"nobody\"}", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void defaults_and_names(void **state)
{
    (void)state;
    struct experiment e;
    struct error err;
    char text[200];
    good(&e, "{\"kind\":\"link\",\"fault\":{\"latency\":\"200ms\"},\"profile\":{\"name\":\"lte\",\"version\":2}}");
    assert_string_equal(e.name, "lte");
    assert_int_equal(e.from_us, 0);
    assert_true(e.to_us == EXPERIMENT_NEVER);
    assert_true(experiment_about(&e, "sensors") && experiment_about(&e, "pumps"));
    assert_non_null(strstr(experiment_describe(&e, text, sizeof(text)), "latency"));
    assert_int_equal(experiment_rename(&e, "lte-2", &err), 0);
    assert_string_equal(e.name, "lte-2");
    experiment_destroy(&e);

    good(&e, "{\"kind\":\"storm\",\"groups\":[\"pumps\"],\"jitter_us\":3000000,\"reconnect_delay_us\":1000000}");
    assert_string_equal(e.name, "storm");
    assert_false(experiment_about(&e, "sensors"));
    assert_true(experiment_about(&e, "pumps"));
    assert_int_equal(e.to_us, 4 * S); // over when the last one is back
    assert_true(e.dropout.reconnect);
    assert_true(e.dropout.percentage == 100);
    assert_string_equal(experiment_describe(&e, text, sizeof(text)),
                        "100 % of the devices are cut and come back within 3.00 s");
    experiment_destroy(&e);

    good(&e, "{\"kind\":\"storm\",\"devices\":[3,9]}");
    json_t *change = experiment_begin_change(&e, 7, 1, "sensors");
    assert_int_equal(json_array_size(json_object_get(change, "devices")), 2);
    json_decref(change);
    assert_string_equal(experiment_describe(&e, text, sizeof(text)), "2 devices are cut and come back all at once");
    experiment_destroy(&e);

    good(&e, "{\"kind\":\"storm\",\"from_us\":5000000}");
    change = experiment_begin_change(&e, 7, 1, "sensors");
    assert_null(json_object_get(change, "devices"));
    json_decref(change);
    assert_true(e.to_us > e.from_us);
    experiment_destroy(&e);

    good(&e, "{\"kind\":\"disconnect\",\"percentage\":10,\"dropout\":{\"strategy\":\"random\",\"duration\":5000000}}");
    assert_true(e.dropout.percentage == 10);
    assert_int_equal(e.dropout.strategy, DROPOUT_RANDOM);
    experiment_destroy(&e);
    good(&e, "{\"kind\":\"clock\",\"offset_us\":-5000000,\"drift\":0.01}");
    assert_non_null(strstr(experiment_describe(&e, text, sizeof(text)), "behind"));
    experiment_destroy(&e);
}

static void windows(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t now, begin, end; // begin -1: none any more
    } cases[] = {
        {"\"from_us\":30000000,\"to_us\":60000000", 0, 30 * S, 60 * S},
        {"\"from_us\":30000000,\"to_us\":60000000", 30 * S, 30 * S, 60 * S},
        {"\"from_us\":30000000,\"to_us\":60000000", 60 * S - 1, 30 * S, 60 * S},
        {"\"from_us\":30000000,\"to_us\":60000000", 60 * S, -1, 0},
        {"\"from_us\":30000000", 1000 * S, 30 * S, EXPERIMENT_NEVER},
        {"\"from_us\":30000000,\"to_us\":60000000,\"every_us\":300000000", 60 * S, 330 * S, 360 * S},
        {"\"from_us\":30000000,\"to_us\":60000000,\"every_us\":300000000", 329 * S, 330 * S, 360 * S},
        {"\"from_us\":30000000,\"to_us\":60000000,\"every_us\":300000000", 345 * S, 330 * S, 360 * S},
        {"\"from_us\":30000000,\"to_us\":60000000,\"every_us\":300000000", 360 * S, 630 * S, 660 * S},
        {"\"from_us\":0,\"to_us\":1000000,\"every_us\":1000000", 5 * S, 5 * S, 6 * S}, // one behind the other
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct experiment e;
        char text[200];
        int64_t begin, end;
        snprintf(text, sizeof(text), "{\"kind\":\"clock\",\"drift\":1,%s}", cases[i].json);
        good(&e, text);
        bool any = experiment_window(&e, cases[i].now, &begin, &end);
        assert_int_equal(any, cases[i].begin >= 0);
        if (any && (begin != cases[i].begin || end != cases[i].end))
            fail_msg("%s at %lld: %lld to %lld", cases[i].json, (long long)cases[i].now, (long long)begin,
                     (long long)end);
        experiment_destroy(&e);
    }
}

static void expect_json(json_t *have, const char *want)
{
    char *text = json_dumps(have, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(have);
    assert_non_null(text);
    assert_string_equal(text, want);
    free(text);
}

static void what_shards_are_told(void **state)
{
    (void)state;
    struct experiment e;
    struct error err;
    good(&e, "{\"kind\":\"link\",\"name\":\"slow\",\"groups\":[\"pumps\"],\"percentage\":5,\"fault\":{\"latency\":1}}");
    assert_false(experiment_by_group(&e));
    expect_json(experiment_begin_change(&e, 7, 1, NULL),
                "{\"experiment\":\"slow\",\"fault\":7,\"groups\":[\"pumps\"],\"op\":\"fault\",\"percentage\":5,"
                "\"spec\":{\"latency\":1}}");
    expect_json(experiment_end_change(&e, 7, 1, NULL), "{\"fault\":7,\"op\":\"heal\"}");
    json_t *other = json_pack("{s:i}", "latency", 2), *bad = json_pack("{s:i}", "latency", -2);
    assert_int_equal(experiment_retune(&e, bad, &err), -1);
    assert_int_equal(experiment_retune(&e, other, &err), 0);
    assert_string_equal(e.name, "slow");
    assert_string_equal(e.groups[0], "pumps");
    expect_json(experiment_begin_change(&e, 7, 1, NULL),
                "{\"experiment\":\"slow\",\"fault\":7,\"groups\":[\"pumps\"],\"op\":\"fault\",\"percentage\":5,"
                "\"spec\":{\"latency\":2}}");
    json_decref(other);
    json_decref(bad);
    experiment_destroy(&e);

    good(&e, "{\"kind\":\"storm\",\"count\":3,\"jitter_us\":9}");
    assert_true(experiment_by_group(&e));
    expect_json(experiment_begin_change(&e, 2, 3, "pumps"),
                "{\"dropout\":{\"count\":3,\"jitter\":9,\"reconnect\":true,\"reconnect_delay\":0},\"group\":\"pumps\","
                "\"key\":33554435,\"op\":\"dropout\"}");
    expect_json(experiment_end_change(&e, 2, 3, "pumps"), "{\"group\":\"pumps\",\"key\":33554435,\"op\":\"return\"}");
    assert_int_equal(experiment_retune(&e, e.json, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    experiment_destroy(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(defaults_and_names),
        cmocka_unit_test(windows),
        cmocka_unit_test(what_shards_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
