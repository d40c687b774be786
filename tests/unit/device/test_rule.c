// Behaviors on a virtual clock: what fires when, and what it does.
#include "rule_helper.h"

#define MODEL(telemetry, rules) "{" HEAD ",\"telemetry\":[" telemetry "],\"behaviors\":[" rules "]}"

static void startup_and_connection_events(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        MODEL(
            "",
            RULE("up", "\"type\":\"startup\"", SAY("a/up", "\"${deviceId}\"")) "," RULE(
                "con", ON("connect"),
                SAY("a/con",
                    "\"x\"")) "," RULE("on", ON("online"),
                                       SAY("a/on",
                                           "\"x\"")) "," RULE("off", ON("disconnect"),
                                                              "\"type\":\"log\",\"message\":\"${deviceId} is gone\"")),
        NULL);
    expect_last(&w, "a/up", "g-1");
    assert_int_equal(said_on(&w, "a/con", NULL), 1);
    fake_offline(fake.conns, ERR_CLOSED, true);
    fake_online(fake.conns, false);
    assert_int_equal(said_on(&w, "a/up", NULL), 1); // once a start
    assert_int_equal(said_on(&w, "a/con", NULL), 2);
    assert_int_equal(said_on(&w, "a/on", NULL), 2);
    assert_non_null(strstr(w.logged, "g-1 is gone"));
    assert_int_equal(device_restart(w.d, NULL), 0);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop, 0);
    assert_int_equal(said_on(&w, "a/up", NULL), 2);
    assert_int_equal(count_of(&w, "behaviors_fired", "group:g"), said_on(&w, NULL, NULL) + 1);
    assert_int_equal(count_of(&w, "behavior_errors", "group:g"), 0);
    world_close(&w);
}

static void commands_set_state(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        "{" HEAD ",\"telemetry\":[" NUMBER("position", 0) "," NUMBER(
            "other",
            5) ",{\"name\":\"mode\",\"type\":\"string\","
               "\"generator\":{\"type\":\"constant\",\"value\":\"idle\"}}],\"commands\":[{\"name\":"
               "\"set\",\"parameters\":["
               "{\"name\":\"position\",\"type\":\"number\"},{\"name\":\"mode\",\"type\":\"string\"}]},{"
               "\"name\":\"free\"}],"
               "\"behaviors\":[" RULE(
                   "set", ON("command:set"),
                   "\"type\":\"setState\",\"state\":{\"position\":\"${position}\",\"mode\":\"to "
                   "${mode}\",\"other\":7}") "," RULE("free", ON("command:free"),
                                                      "\"type\":\"setState\",\"state\":{\"position\":"
                                                      "null}") "," RULE("eco", ON("command:set:mode=eco"),
                                                                        SAY("a/eco",
                                                                            "{\"p\":\"${"
                                                                            "position}\","
                                                                            "\"o\":\"${other}"
                                                                            "\"}")) "," RULE("exact",
                                                                                             ON("command:set:position="
                                                                                                "50"),
                                                                                             SAY("a/exact",
                                                                                                 "\"50\"")) "," RULE("c"
                                                                                                                     "h"
                                                                                                                     "a"
                                                                                                                     "n"
                                                                                                                     "g"
                                                                                                                     "e"
                                                                                                                     "d",
                                                                                                                     ON("stateChanged"),
                                                                                                                     SAY("a/changed",
                                                                                                                         "{\"position\":\"${position}\",\"mode\":\"${mode}\"}")) "]}",
        NULL);
    command(&w, "set", "{\"position\":42.5,\"mode\":\"eco\"}");
    expect_last(&w, "a/changed", "{\"position\":42.5,\"mode\":\"to eco\"}");
    expect_last(&w, "a/eco", "{\"p\":42.5,\"o\":7}");
    assert_int_equal(said_on(&w, "a/exact", NULL), 0);
    command(&w, "set", "{\"position\":50,\"mode\":\"x\"}");
    assert_int_equal(said_on(&w, "a/exact", NULL), 1);
    assert_int_equal(said_on(&w, "a/eco", NULL), 1);
    assert_int_equal(said_on(&w, "a/changed", NULL), 2);
    command(&w, "set", "{\"position\":50,\"mode\":\"x\"}"); // nothing changes
    assert_int_equal(said_on(&w, "a/changed", NULL), 2);
    command(&w, "set", "{\"mode\":\"y\"}"); // position was not given: it stays
    expect_last(&w, "a/changed", "{\"position\":50,\"mode\":\"to y\"}");
    command(&w, "unknown", NULL);
    run_until(w.loop, 2 * SECOND);
    const char *last = NULL;
    assert_true(said_on(&w, "g/g-1/telemetry", &last) >= 1);
    assert_non_null(strstr(last, "\"position\":50,\"other\":7,\"mode\":\"to y\""));
    command(&w, "free", NULL);
    run_until(w.loop, 4 * SECOND);
    said_on(&w, "g/g-1/telemetry", &last);
    assert_non_null(strstr(last, "\"position\":0,\"other\":7"));
    world_close(&w);
}

static void schedules(void **state)
{
    (void)state;
    struct world w; // the clock begins at 2023-11-14T22:13:20Z
    world_open(
        &w,
        MODEL("",
              RULE("minute", "\"type\":\"schedule\",\"schedule\":\"* * * * *\"", SAY("a/m", "\"x\"")) "," RULE(
                  "six", "\"type\":\"schedule\",\"schedule\":\"*/20 * * * * *\"",
                  SAY("a/s", "\"${timestamp}\"")) "," RULE("tokyo",
                                                           "\"type\":\"schedule\",\"schedule\":\"30 7 * * *\","
                                                           "\"timeZone\":\"Asia/Tokyo\"",
                                                           SAY("a/t", "\"x\"")) "," RULE("never",
                                                                                         "\"type\":\"schedule\","
                                                                                         "\"schedule\":\"0 0 29 2 *\"",
                                                                                         SAY("a/n", "\"x\""))),
        NULL);
    run_until(w.loop, 39 * SECOND);
    assert_int_equal(said_on(&w, "a/m", NULL), 0);
    assert_int_equal(said_on(&w, "a/s", NULL), 1); // 22:13:40
    run_until(w.loop, 41 * SECOND);
    assert_int_equal(said_on(&w, "a/m", NULL), 1); // 22:14:00
    assert_int_equal(said_on(&w, "a/s", NULL), 2);
    expect_last(&w, "a/s", "1700000040000");
    run_until(w.loop, 999 * SECOND); // 22:29:59
    assert_int_equal(said_on(&w, "a/t", NULL), 0);
    run_until(w.loop, 1002 * SECOND); // 22:30 UTC is 7:30 in Tokyo; the wait was longer than LONGEST_WAIT_US
    assert_int_equal(said_on(&w, "a/t", NULL), 1);
    assert_int_equal(said_on(&w, "a/m", NULL), 17);
    assert_int_equal(said_on(&w, "a/n", NULL), 0);
    device_stop(w.d, ADAPTER_GRACEFUL);
    run_until(w.loop, 2000 * SECOND);
    assert_int_equal(said_on(&w, "a/m", NULL), 17);
    world_close(&w);
}

// t counts 0, 1, 2, … a second.
static void conditions_fire_on_their_edge(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        MODEL(RAMP("t"),
              RULE("odd", WHEN("t % 4 >= 2"), SAY("a/odd", "\"${t}\"")) "," RULE(
                  "once", WHEN("t > 2"),
                  SAY("a/once",
                      "\"${t}\"")) "," RULE("hysteresis", WHEN("t % 10 > 2") ",\"reset\":\"t % 10 == 0\"",
                                            SAY("a/h", "\"${t}\"")) "," RULE("cool",
                                                                             WHEN("t % 2 == 0") ",\"cooldownMs\":5000",
                                                                             SAY("a/cool", "\"${t}\""))),
        NULL);
    run_until(w.loop, 21 * SECOND); // 0 … 20
    assert_int_equal(said_on(&w, "g/g-1/telemetry", NULL), 21);
    assert_int_equal(said_on(&w, "a/odd", NULL), 5); // 2, 6, 10, 14, 18
    expect_last(&w, "a/odd", "18");
    assert_int_equal(said_on(&w, "a/once", NULL), 1);
    expect_last(&w, "a/once", "3");
    assert_int_equal(said_on(&w, "a/h", NULL), 2); // 3 and 13
    expect_last(&w, "a/h", "13");
    assert_int_equal(said_on(&w, "a/cool", NULL), 4); // 0, 6, 12, 18
    expect_last(&w, "a/cool", "18");
    world_close(&w);
}

static void conditions_must_hold(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               MODEL(RAMP("t"), RULE("short", WHEN("t % 4 >= 2") ",\"forMs\":2500", SAY("a/short", "\"x\"")) "," RULE(
                                    "long", WHEN("t >= 3") ",\"forMs\":2500", SAY("a/long", "\"${t}\""))),
               NULL);
    run_until(w.loop, 12 * SECOND);
    assert_int_equal(said_on(&w, "a/short", NULL), 0); // true for 2 s at a time
    assert_int_equal(said_on(&w, "a/long", NULL), 1);
    int64_t third = 0, fired = 0;
    for (unsigned i = 0; i < w.n_said; i++) {
        if (!strcmp(w.said[i].topic, "a/long"))
            fired = w.said[i].at_us;
        else if (strstr(w.said[i].payload, "\"t\":3,"))
            third = w.said[i].at_us;
    }
    assert_in_range(fired - third, 2500000, 2502000); // between samples, to the tick
    expect_last(&w, "a/long", "5");
    world_close(&w);
}

static void chains_end(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        MODEL(
            NUMBER("n", 0),
            RULE("first", ON("start"), SAY("a/1", "\"x\"")) "," RULE("second", ON("behavior:first"), SAY("a/2", "\"x\"")) "," RULE(
                "third", ON("behavior:second"),
                SAY("a/3",
                    "\"x\"")) "," RULE("self", ON("behavior:self"),
                                       SAY("a/self",
                                           "\"x\"")) "," RULE("spark", ON("go"),
                                                              SAY("a/go",
                                                                  "\"x\"")) "," RULE("ping", ON("behavior:pong"),
                                                                                     SAY("a/ping",
                                                                                         "\"x\"")) "," RULE("pong",
                                                                                                            ON("behavio"
                                                                                                               "r:"
                                                                                                               "ping"),
                                                                                                            SAY("a/"
                                                                                                                "pong",
                                                                                                                "\"x"
                                                                                                                "\"")) "," RULE("begin",
                                                                                                                                ON("behavior:spark"),
                                                                                                                                "\"type\":\"log\"") "," RULE("pingpong",
                                                                                                                                                             ON("loop"),
                                                                                                                                                             "\"type\":\"log\"")),
        NULL);
    rules_event(w.d, "start", NULL);
    assert_int_equal(said_on(&w, "a/1", NULL) + said_on(&w, "a/2", NULL) + said_on(&w, "a/3", NULL), 3);
    assert_int_equal(count_of(&w, "behavior_errors", "group:g"), 0);
    rules_event(w.d, "behavior:self", NULL); // as if it had fired: for ever, were there no limit
    assert_int_equal(said_on(&w, "a/self", NULL), RULE_CASCADE);
    assert_int_equal(count_of(&w, "behavior_errors", "group:g"), 1);
    assert_non_null(strstr(w.logged, "behavior self: behaviors trigger each other more than 16 deep"));
    rules_event(w.d, "behavior:ping", NULL);
    assert_int_equal(said_on(&w, "a/ping", NULL) + said_on(&w, "a/pong", NULL), RULE_CASCADE);
    rules_event(w.d, "start", NULL); // and it goes on as before
    assert_int_equal(said_on(&w, "a/3", NULL), 2);
    world_close(&w);
}

static void state_loops_end(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               MODEL(NUMBER("n", 0), RULE("flip", WHEN("n == 1"), "\"type\":\"setState\",\"state\":{\"n\":2}") "," RULE(
                                         "flop", WHEN("n == 2"), "\"type\":\"setState\",\"state\":{\"n\":1}")),
               NULL);
    struct error err = {0};
    json_t *one = json_pack("{s:i}", "n", 1);
    assert_int_equal(device_set_state(w.d, one, &err), 0);
    json_decref(one);
    assert_true(count_of(&w, "behaviors_fired", "group:g") <= 40);
    json_t *bad = json_pack("{s:i}", "m", 1);
    assert_int_equal(device_set_state(w.d, bad, &err), -1);
    assert_non_null(strstr(err.text, "has no attribute \"m\""));
    json_decref(bad);
    bad = json_pack("{s:s}", "n", "text");
    assert_int_equal(device_set_state(w.d, bad, &err), -1);
    json_decref(bad);
    world_close(&w);
}

static void custom_actions(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               MODEL("", RULE("c", ON("command:x"), "\"type\":\"custom\",\"handler\":\"shake\",\"params\":{\"a\":1}")),
               NULL);
    command(&w, "x", "{\"p\":true}");
    assert_int_equal(w.customs, 1);
    assert_string_equal(w.model->hooks[w.hook], "shake");
    assert_string_equal(w.params, "{\"a\":1}");
    assert_string_equal(w.what, "{\"behavior\":\"c\",\"event\":\"command:x\",\"params\":{\"p\":true}}");
    w.refuse_custom = true;
    command(&w, "x", NULL);
    command(&w, "x", NULL);
    assert_string_equal(w.what, "{\"behavior\":\"c\",\"event\":\"command:x\"}");
    assert_int_equal(count_of(&w, "behavior_errors", "group:g"), 2);
    const char *first = strstr(w.logged, "no room for another task");
    assert_non_null(first);
    assert_null(strstr(first + 1, "no room for another task")); // said once a device
    world_close(&w);
}

static void connection_actions(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        MODEL(NUMBER("n", 0),
              RULE("nap", ON("nap"), "\"type\":\"disconnect\",\"duration\":5000") "," RULE(
                  "off", ON("off"),
                  "\"type\":\"disconnect\"") "," RULE("back", ON("back"),
                                                      "\"type\":\"reconnect\"") "," RULE("late", ON("disconnect"),
                                                                                         SAY("a/late", "\"x\""))),
        NULL);
    run_until(w.loop, 2 * SECOND);
    rules_event(w.d, "nap", NULL);
    run_until(w.loop, 3 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    assert_int_equal(said_on(&w, "a/late", NULL), 0);
    assert_non_null(strstr(w.logged, "behavior late: not connected"));
    unsigned before = w.n_said;
    run_until(w.loop, 6900000);
    assert_int_equal(w.n_said, before);
    run_until(w.loop, 9 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    assert_true(w.n_said > before);
    assert_int_equal(count_of(&w, "failures", "group:g,kind:disconnect"), 0); // it was meant
    rules_event(w.d, "off", NULL);
    run_until(w.loop, 100 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    rules_event(w.d, "back", NULL);
    run_until(w.loop, 101 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    unsigned opens = fake.opens;
    rules_event(w.d, "back", NULL); // while connected: anew
    run_until(w.loop, 102 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    assert_int_equal(fake.opens, opens + 1);
    world_close(&w);
}

static void memory(void **state)
{
    (void)state;
    struct world w;
    world_open(
        &w,
        MODEL(NUMBER("n", 0), RULE("a", WHEN("n > 5"), "\"type\":\"log\"") "," RULE("b", ON("x"), "\"type\":\"log\"")),
        NULL);
    print_message("rules: %zu bytes for 2, a failure %zu\n", rules_footprint(w.d), failures_footprint(w.d));
    assert_in_range(rules_footprint(w.d), 1, 96);
    struct error err;
    assert_int_equal(device_fail_inject(w.d, "slow", NULL, 0, &err), 0);
    assert_true(failures_footprint(w.d) > 0);
    world_close(&w);
    world_open(&w, "{" HEAD ",\"telemetry\":[" NUMBER("n", 0) "]}", NULL);
    assert_null(w.d->rules);
    assert_null(w.d->kept);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(startup_and_connection_events),
        cmocka_unit_test(commands_set_state),
        cmocka_unit_test(schedules),
        cmocka_unit_test(conditions_fire_on_their_edge),
        cmocka_unit_test(conditions_must_hold),
        cmocka_unit_test(chains_end),
        cmocka_unit_test(state_loops_end),
        cmocka_unit_test(custom_actions),
        cmocka_unit_test(connection_actions),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
