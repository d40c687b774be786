// Behaviors in a model: what is taken, and what is refused, where, and with which words.
#include "rule_helper.h"

#define WITH(rules)                                                                                                    \
    "{" HEAD ",\"telemetry\":[" NUMBER("n", 0) ",{\"name\":\"mode\",\"type\":\"string\",\"generator\":{\"type\":"      \
                                               "\"constant\",\"value\":\"\"}}],\"commands\":[{\"name\":\"set\","       \
                                               "\"parameters\":[{\"name\":\"level\",\"type\":\"number\"}]}],"          \
                                               "\"behaviors\":[" rules "]}"
#define SET(state) "\"type\":\"setState\",\"state\":{" state "}"
#define LOG "\"type\":\"log\""
#define FAIL(more) "\"type\":\"fail\",\"failure\":" more

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *model, *says;
    } table[] = {
        {WITH("5"), "/behaviors/0: expected an object"},
        {WITH("{\"name\":\"a\"}"), "/behaviors/0: \"trigger\" is missing"},
        {WITH("{\"trigger\":{},\"action\":{}}"), "/behaviors/0: \"name\" is missing"},
        {WITH("{\"name\":\"a\",\"trigger\":5,\"action\":{}}"), "/behaviors/0/trigger: expected an object"},
        {WITH("{\"name\":\"a\",\"trigger\":{\"type\":\"startup\"}}"), "/behaviors/0: \"action\" is missing"},
        {WITH("{\"name\":\"a\",\"enabled\":\"no\"}"), "/behaviors/0: enabled"},
        {WITH(RULE("a", "\"type\":\"start\"", LOG)),
         "/behaviors/0/trigger/type: unknown value \"start\"; valid: event"},
        {WITH(RULE("a", "\"event\":\"x\"", LOG)), "/behaviors/0/trigger: \"type\" is missing"},
        {WITH(RULE("a", "\"type\":\"event\"", LOG)), "/behaviors/0/trigger: \"event\" is missing"},
        {WITH(RULE("a", ON("command:"), LOG)), "/behaviors/0/trigger/event: expected command:NAME"},
        {WITH(RULE("a", ON("command:set:level"), LOG)), "expected PARAM=VALUE"},
        {WITH(RULE("a", ON("command:set:=5"), LOG)), "expected PARAM=VALUE"},
        {WITH(RULE("a", ON("command:set:lvl=5"), LOG)), "the command set has no parameter \"lvl\""},
        {WITH(RULE("a", ON("behavior:b"), LOG)), "there is no behavior named \"b\""},
        {WITH(RULE("a", ON("failure:fire"), LOG)), "unknown value \"fire\"; valid: disconnect, errorPayload"},
        {WITH(RULE("a", "\"type\":\"schedule\"", LOG)), "\"schedule\" is missing"},
        {WITH(RULE("a", "\"type\":\"schedule\",\"schedule\":\"0 25 * * *\"", LOG)),
         "/behaviors/0/trigger/schedule: hour: 25 is not in 0..23"},
        {WITH(RULE("a", "\"type\":\"schedule\",\"schedule\":\"@daily\",\"timeZone\":\"../x\"", LOG)),
         "/behaviors/0/trigger/timeZone: \"../x\" is not a time zone"},
        {WITH(RULE("a", WHEN("n >"), LOG)), "/behaviors/0/trigger/condition: 1:4: the expression ends here"},
        {WITH(RULE("a", WHEN("m > 1"), LOG)), "1:1: unknown name \"m\"; valid here: n, mode"},
        {WITH(RULE("a", WHEN("n > 1") ",\"reset\":\"n <\"", LOG)), "/behaviors/0/trigger/reset: 1:4"},
        {WITH(RULE("a", "\"type\":\"condition\"", LOG)), "/behaviors/0/trigger: \"condition\" is missing"},
        {WITH(RULE("a", WHEN("n > 1") ",\"forMs\":-1", LOG)), "/behaviors/0/trigger/forMs: must be 0 to"},
        {WITH(RULE("a", "\"type\":\"startup\",\"cooldownMs\":\"1s\"", LOG)), "/behaviors/0/trigger: cooldownMs"},
        {WITH(RULE("a", ON("x"), "\"type\":\"shout\"")), "/behaviors/0/action/type: unknown value \"shout\""},
        {WITH(RULE("a", ON("x"), SAY("a/#", "\"x\""))), "/behaviors/0/action/topic: \"a/#\" is no topic"},
        {WITH(RULE("a", ON("x"), SAY("a/${x}", "\"x\""))), "/behaviors/0/action/topic"},
        {WITH(RULE("a", ON("x"), SAY("a", "\"${level}\""))), "/behaviors/0/action/payload"}, // not its command
        {WITH(RULE("a", ON("x"), LOG ",\"message\":\"${nn}\"")), "/behaviors/0/action/message"},
        {WITH(RULE("a", ON("x"), "\"type\":\"setState\"")), "/behaviors/0: \"state\" is missing"},
        {WITH(RULE("a", ON("x"), SET(""))), "/behaviors/0/action/state: expected 1 to 256 attributes, there are 0"},
        {WITH(RULE("a", ON("x"), SET("\"m\":1"))), "/behaviors/0/action/state/m: unknown value \"m\"; valid: n, mode"},
        {WITH(RULE("a", ON("x"), SET("\"n\":\"high\""))), "/behaviors/0/action/state/n"},
        {WITH(RULE("a", ON("x"), SET("\"mode\":\"${nope}\""))), "/behaviors/0/action/state/mode"},
        {WITH(RULE("a", ON("x"), "\"type\":\"custom\"")), "/behaviors/0/action: \"handler\" is missing"},
        {WITH(RULE("a", ON("x"), "\"type\":\"custom\",\"handler\":\"pkg.mod:Class\"")), "looks like Python"},
        {WITH(RULE("a", ON("x"), "\"type\":\"fail\"")), "/behaviors/0/action: \"failure\" is missing"},
        {WITH(RULE("a", ON("x"), FAIL("\"slwo\""))), "/behaviors/0/action: unknown failure \"slwo\""},
        {WITH(RULE("a", ON("x"), FAIL("\"slow\",\"params\":{\"delay\":1}"))), "did you mean \"delayMs\"?"},
        {WITH(RULE("a", ON("x"), FAIL("\"slow\",\"duration\":-1"))), "/behaviors/0/action/duration"},
        {WITH(RULE("a", ON("x"), FAIL("\"batteryDrain\",\"params\":{\"attribute\":\"mode\",\"perSecond\":1}"))),
         "mode is no number"},
        {WITH(RULE("a", ON("x"), "\"type\":\"disconnect\",\"params\":{\"mode\":\"rude\"}")), "unknown mode \"rude\""},
        {"{" HEAD ",\"connection\":{\"topicPattern\":\"a/${attribute}\"},\"telemetry\":[" NUMBER(
             "n", 0) "],\"behaviors\":[" RULE("a", ON("x"), "\"type\":\"publish\"") "]}",
         "\"topic\" is missing, and that of the model is one for each attribute"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err = {0};
        if (model_parse(table[i].model, strlen(table[i].model), "test.json", NULL, &err))
            fail_msg("taken: %s", table[i].model);
        if (!strstr(err.text, table[i].says) || strncmp(err.text, "test.json: ", 11))
            fail_msg("%s\n  says \"%s\", not \"%s\"", table[i].model, err.text, table[i].says);
    }
}

static void taken(void **state)
{
    (void)state;
    struct model *m = model_of(WITH(RULE(
        "a", ON("command:set:level=3"),
        SET("\"n\":\"${level}\",\"mode\":null")) ",{\"name\":\"off\",\"enabled\":"
                                                 "false}," RULE("b", WHEN("n > 1") ",\"forMs\":5,\"cooldownMs\":7", FAIL("\"reboot\",\"duration\":2000")) "," RULE(
                                                     "c", "\"type\":\"schedule\",\"schedule\":\"@daily\"",
                                                     "\"type\":\"publish\"") "," RULE("d", ON("command:undeclared"),
                                                                                      "\"type\":\"custom\",\"handler\":"
                                                                                      "\"f\"") "," RULE("e",
                                                                                                        ON("own.event"),
                                                                                                        "\"type\":"
                                                                                                        "\"disconnect\""
                                                                                                        ","
                                                                                                        "\"duration\":"
                                                                                                        "9")));
    assert_int_equal(m->n_behaviors, 5); // without the one that is off
    assert_true(m->keeps_values && m->has_conditions);
    const struct model_behavior *b = m->behaviors;
    assert_int_equal(b[0].event.name.n, strlen("command:set"));
    assert_int_equal(b[0].event.parameter.n, 5);
    assert_ptr_equal(b[0].command, &m->commands[0]);
    assert_string_equal(b[0].states[0].parameter, "level");
    assert_true(json_is_null(b[0].states[1].value));
    assert_int_equal(b[0].timer, -1);
    assert_int_equal(b[1].timer, 0);
    assert_int_equal(b[1].cooldown, 0);
    assert_int_equal(b[1].cooldown_us, 7000);
    assert_int_equal(b[1].failure.delay_us, 2000000); // its duration, where no bootMs is given
    assert_int_equal(b[2].timer, 1);
    assert_int_equal(b[2].cooldown, -1);
    struct buf out;
    struct payload_scope scope = {.device_id = "d", .group_id = "g", .wall_us = 5000};
    buf_create(&out, 1000);
    assert_int_equal(payload_render(b[2].payload, &scope, &out), 0);
    assert_string_equal(buf_cstr(&out), "{\"behavior\":\"c\",\"timestamp\":5}");
    buf_clear(&out);
    assert_int_equal(payload_render(b[2].topic, &scope, &out), 0);
    assert_string_equal(buf_cstr(&out), "g/d/telemetry");
    buf_destroy(&out);
    assert_string_equal(m->hooks[b[3].hook], "f");
    assert_true(b[4].failure.action);
    model_delete(m);
}

static void at_most(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf b;
    buf_create(&b, 1 << 20);
    assert_int_equal(buf_append_str(&b, "{" HEAD ",\"behaviors\":["), 0);
    for (int i = 0; i <= MODEL_MAX_BEHAVIORS; i++)
        assert_int_equal(buf_printf(&b, "%s%s", i ? "," : "", RULE("a", ON("x"), LOG)), 0);
    assert_int_equal(buf_append_str(&b, "]}"), 0);
    assert_null(model_parse(buf_cstr(&b), b.len, "test.json", NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "/behaviors: at most 256"));
    buf_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused), cmocka_unit_test(taken), cmocka_unit_test(at_most)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
