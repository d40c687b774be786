// Where behaviors, failures, commands, dropouts and models meet: what one does while another is under way.
#include "device/change.h"
#include "device/command.h"
#include "device/internal.h"
#include "rule_helper.h"

#define COMMANDS "\"commands\":[{\"name\":\"off\"},{\"name\":\"set\"}]"
#define MODEL(telemetry, rules) "{" HEAD ",\"telemetry\":[" telemetry "]," COMMANDS ",\"behaviors\":[" rules "]}"
#define TEXT(name, value)                                                                                              \
    "{\"name\":\"" name "\",\"type\":\"string\",\"generator\":{\"type\":\"constant\",\"value\":\"" value "\"}}"
#define ACKED "{\"ok\":true,\"command\":\"off\"}"

static void order(struct world *w, const char *topic)
{
    struct adapter_conn *c = w->d->conn;
    struct adapter_message m = {.topic = topic, .topic_len = strlen(topic)};
    c->in_event = true;
    c->events->on_message(c->owner, &m);
    c->in_event = false;
}

static void inject(struct world *w, const char *kind, const char *params, int64_t duration_us)
{
    struct error err = {0};
    json_t *v = json_loads(params, 0, NULL);
    if (device_fail_inject(w->d, kind, v, duration_us, &err))
        fail_msg("%s", err.text);
    json_decref(v);
}

static int64_t in(const struct world *w, double seconds)
{
    return loop_now_us(w->loop) + (int64_t)(seconds * (double)SECOND);
}

static void change(struct world *w, const char *text)
{
    struct error err = {0};
    json_t *c = json_loads(text, 0, NULL);
    assert_non_null(c);
    json_object_set_new(c, "group", json_string("g"));
    json_object_set_new(c, "at_us", json_integer(loop_now_us(w->loop)));
    json_object_set_new(c, "number", json_integer(0));
    if (fleet_change(w->fleet, c, NULL, NULL, &err))
        fail_msg("%s", err.text);
    json_decref(c);
}

// A command that disconnects is acknowledged first, however it disconnects.
static void test_acknowledged(void **state)
{
    static const char *const actions[] = {
        "\"type\":\"disconnect\"",
        "\"type\":\"reconnect\"",
        "\"type\":\"fail\",\"failure\":\"reboot\"",
        "\"type\":\"fail\",\"failure\":\"disconnect\",\"params\":{\"mode\":\"abrupt\"}",
        "\"type\":\"fail\",\"failure\":\"disconnect\",\"params\":{\"mode\":\"halfOpen\"}",
        "\"type\":\"fail\",\"failure\":\"staleToken\""};
    (void)state;
    for (unsigned i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        struct world w;
        char model[2000];
        struct group_config gc = fake_group_config("g", 1, NULL);
        gc.secret = "s";
        snprintf(model, sizeof(model), MODEL(NUMBER("t", 1), RULE("off", ON("command:off"), "%s")), actions[i]);
        world_open(&w, model, &gc);
        unsigned closes = fake.closes;
        order(&w, "g/g-1/commands/off");
        assert_int_equal(count_of(&w, "command_errors", "group:g,reason:unsent"), 0);
        expect_last(&w, "g/g-1/response", ACKED);
        assert_int_equal(fake.closes, closes); // not yet
        assert_false(w.d->conn->frozen);
        loop_turn(w.loop, 0);
        if (i == 4)
            assert_true(w.d->conn->frozen);
        else
            assert_int_equal(fake.closes, closes + 1);
        world_close(&w);
    }
}

// From inside the event on it is closing: it can be told to open again at once, and nothing is closed twice.
static void test_close_due(void **state)
{
    struct world w;
    (void)state;
    world_open(&w,
               MODEL(NUMBER("t", 1), RULE("a", ON("command:off"), "\"type\":\"reconnect\"") "," RULE(
                                         "b", ON("behavior:a"), "\"type\":\"disconnect\"")),
               NULL);
    order(&w, "g/g-1/commands/off");
    assert_false(device_online(w.d));
    assert_true(w.d->flags & FLAG_CLOSE_DUE);
    device_disconnect(w.d, ADAPTER_ABRUPT);
    assert_int_equal(device_connect(w.d, NULL), 0);
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    assert_int_equal(fake.closes, 1);
    assert_true(device_online(w.d));
    // The peer was faster: there is nothing left to close.
    order(&w, "g/g-1/commands/off");
    fake_offline(w.d->conn, ERR_NONE, false);
    assert_int_equal(w.d->flags & (FLAG_CLOSING | FLAG_CLOSE_DUE), 0);
    loop_turn(w.loop, 0);
    assert_int_equal(fake.closes, 1);
    world_close(&w);
}

// Asked for, given up and asked for again within one event.
static void test_asked_again(void **state)
{
    struct world w;
    (void)state;
    world_open(&w,
               MODEL(NUMBER("t", 1),
                     RULE("back", ON("disconnect"), "\"type\":\"reconnect\"") "," RULE(
                         "no", ON("behavior:back"), "\"type\":\"disconnect\"") "," RULE("yes", ON("behavior:no"),
                                                                                        "\"type\":\"reconnect\"")),
               NULL);
    fake_offline(w.d->conn, ERR_NONE, false);
    for (int i = 0; i < 4; i++)
        loop_turn(w.loop, 0);
    assert_true(device_online(w.d));
    assert_int_equal(count_of(&w, "behavior_errors", "group:g"), 0);
    world_close(&w);
}

// What setState reads is what was there before it, for texts too; their memory is let go of only afterwards.
static void test_exchange(void **state)
{
    struct world w;
    struct value a, b;
    (void)state;
    world_open(
        &w,
        MODEL(TEXT("a", "apple") "," TEXT("b", "bread"),
              RULE("swap", ON("command:set"), "\"type\":\"setState\",\"state\":{\"a\":\"${b}\",\"b\":\"${a}\"}")),
        NULL);
    run_until(w.loop, in(&w, 10));
    for (int i = 0; i < 3; i++) {
        command(&w, "set", NULL);
        device_value(w.d, 0, &a);
        device_value(w.d, 1, &b);
        assert_string_equal(a.str.s, i % 2 ? "apple" : "bread");
        assert_string_equal(b.str.s, i % 2 ? "bread" : "apple");
    }
    world_close(&w);
}

// A failure that begins while another keeps the device off, and ends after it.
static void test_overlap(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, MODEL(NUMBER("t", 1), RULE("x", ON("x"), SAY("x", "\"x\""))), NULL);
    inject(&w, "reboot", "{\"bootMs\":10000}", 0);
    run_until(w.loop, in(&w, 5));
    inject(&w, "disconnect", "{}", 10 * SECOND);
    run_until(w.loop, in(&w, 6)); // it has booted
    assert_false(device_online(w.d));
    run_until(w.loop, in(&w, 5));
    assert_true(device_online(w.d));
    assert_false(device_failing(w.d, FAILURE_REBOOT));
    // One that was closing when it began is not connected by being mended.
    device_disconnect(w.d, ADAPTER_GRACEFUL);
    inject(&w, "disconnect", "{}", 1 * SECOND);
    run_until(w.loop, in(&w, 3));
    assert_null(w.d->failures);
    assert_false(device_online(w.d));
    world_close(&w);
}

// A dropout brings its devices back while a failure keeps one off: it is back when that is over.
static void test_dropout_over_failure(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, MODEL(NUMBER("t", 1), RULE("x", ON("x"), SAY("x", "\"x\""))), NULL);
    change(&w, "{\"op\":\"dropout\",\"dropout\":{\"percentage\":100,\"reconnect\":true,\"reconnect_delay\":5000000}}");
    run_until(w.loop, in(&w, 2));
    assert_false(device_online(w.d));
    inject(&w, "disconnect", "{}", 6 * SECOND);
    run_until(w.loop, in(&w, 4));
    assert_int_equal(w.group->dropped, 0);
    assert_false(device_online(w.d));
    run_until(w.loop, in(&w, 3));
    assert_true(device_online(w.d));
    // The other way round: what is down stays down when the failure is over.
    change(&w, "{\"op\":\"dropout\",\"dropout\":{\"percentage\":100,\"reconnect\":true,\"reconnect_delay\":5000000}}");
    run_until(w.loop, in(&w, 1));
    inject(&w, "disconnect", "{}", 1 * SECOND);
    run_until(w.loop, in(&w, 2));
    assert_false(device_online(w.d));
    run_until(w.loop, in(&w, 4));
    assert_true(device_online(w.d));
    world_close(&w);
}

// In virtual time an instant is done as a whole, however many devices it is about.
static void test_whole_instants(void **state)
{
    enum { MANY = 1000 };
    struct world w;
    struct group_config gc = fake_group_config("g", MANY, NULL);
    (void)state;
    world_open(&w, MODEL(NUMBER("t", 1), RULE("x", ON("x"), SAY("x", "\"x\""))), &gc);
    fake.on_publish = NULL;
    loop_simulate(w.loop, 0);
    run_until(w.loop, in(&w, 10));
    assert_int_equal(w.group->by_conn[CONN_CONNECTED], MANY);
    change(&w, "{\"op\":\"dropout\",\"dropout\":{\"percentage\":100,\"reconnect\":false}}");
    for (int i = 0; i < 6 && !w.group->dropped; i++)
        loop_turn(w.loop, SECOND);
    assert_int_equal(w.group->dropped, MANY);
    change(&w, "{\"op\":\"stop\"}");
    int64_t at_us = 0;
    for (int i = 0; i < 6 && w.group->by_state[DEVICE_RUNNING] == MANY; i++)
        loop_turn(w.loop, SECOND);
    at_us = loop_now_us(w.loop);
    assert_int_equal(w.group->by_state[DEVICE_RUNNING], 0);
    assert_true(at_us > 0);
    world_close(&w);
}

// --- handlers that ask for too much -------------------------------------------------------------------------------

static unsigned refused;

static int meddle(void *arg, struct device *d, int hook, const json_t *params, const struct gen_context *context,
                  struct value *out, struct error *err)
{
    (void)arg, (void)hook, (void)params, (void)context, (void)err;
    struct error why = {0};
    json_t *boot = json_pack("{s:i}", "bootMs", 0), *set = json_pack("{s:s}", "a", "fig");
    refused += device_fail_inject(d, "reboot", boot, 0, &why) && why.code == ERR_STATE;
    refused += device_heal(d, NULL, &why) && why.code == ERR_STATE;
    refused += device_set_state(d, set, &why) && why.code == ERR_STATE;
    json_decref(boot);
    json_decref(set);
    *out = (struct value){.type = VALUE_NUMBER, .number = 3};
    return 0;
}

static int resolve(void *arg, struct group *group, const struct model *model, struct error *err)
{
    (void)arg, (void)group, (void)model, (void)err;
    return 0;
}

static void test_meddling_handler(void **state)
{
    static const struct device_ops meddling = {.hook_generate = meddle, .hook_resolve = resolve};
    struct world w;
    (void)state;
    refused = 0;
    world_open(&w, MODEL(NUMBER("t", 1), RULE("x", ON("x"), SAY("x", "\"x\""))), NULL);
    struct fleet_config *config = &w.fleet->config;
    config->ops = &meddling;
    json_t *c =
        json_pack("{s:s, s:s, s:s}", "op", "model", "group", "g", "text",
                  MODEL(TEXT("a", "x") ",{\"name\":\"h\",\"type\":\"number\",\"generator\":{\"type\":\"custom\","
                                       "\"handler\":\"h\"}}",
                        RULE("x", ON("x"), SAY("x", "\"x\""))));
    struct error err = {0};
    if (fleet_change(w.fleet, c, NULL, NULL, &err))
        fail_msg("%s", err.text);
    json_decref(c);
    run_until(w.loop, in(&w, 30));
    assert_true(refused >= 3);
    assert_int_equal(refused % 3, 0);
    assert_null(w.d->failures);
    world_close(&w);
}

// What waits to settle when everything is cut off belongs to groups that go one after the other.
static void test_cut_off_unsettled(void **state)
{
    struct world w;
    struct error err = {0};
    (void)state;
    world_open(&w, MODEL(NUMBER("t", 1), RULE("x", ON("x"), SAY("x", "\"x\""))), NULL);
    fleet_delete(w.fleet);
    struct fleet_config fc = fake_fleet_config();
    w.fleet = fleet_new(&fc, &err);
    struct model *gateway = model_of("{\"id\":\"gw\",\"name\":\"G\",\"type\":\"gateway\",\"protocol\":\"mqtt\","
                                     "\"children\":[{\"model\":{" SENSOR_HEAD "},\"count\":2}]}");
    struct group_config first = fake_group_config("first", 2, w.model), second = fake_group_config("gw", 2, gateway);
    first.behaviour = second.behaviour = false;
    assert_non_null(fleet_add_group(w.fleet, &first, &err));
    if (!fleet_add_group(w.fleet, &second, &err))
        fail_msg("%s", err.text);
    fleet_start(w.fleet, loop_now_us(w.loop));
    run_until(w.loop, in(&w, 1));
    for (unsigned g = 0; g < 2; g++)
        device_fail(fleet_group(w.fleet, g)->devices[0], "boom"); // settles at the end of the turn
    fleet_delete(w.fleet);
    w.fleet = NULL;
    model_delete(gateway);
    model_delete(w.model);
    metrics_delete(w.metrics);
    log_delete(w.log);
    fake_teardown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledged),      cmocka_unit_test(test_close_due),
        cmocka_unit_test(test_asked_again),       cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_overlap),           cmocka_unit_test(test_dropout_over_failure),
        cmocka_unit_test(test_whole_instants),    cmocka_unit_test(test_meddling_handler),
        cmocka_unit_test(test_cut_off_unsettled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
