// Commands of a model: parameters, handlers, answers, and everything that is wrong with them.
#include "fake.h"

#define HEAD "{\"id\":\"v\",\"name\":\"V\",\"type\":\"actuator\",\"protocol\":\"mqtt\","
#define TELEMETRY                                                                                                      \
    "\"telemetry\":[{\"name\":\"position\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\"}},"               \
    "{\"name\":\"pressure\",\"type\":\"number\",\"precision\":1,\"generator\":{\"type\":\"sequence\"}}],"
#define MODEL(commands) HEAD TELEMETRY "\"commands\":[" commands "]}"
#define COMMAND(rest) MODEL("{\"name\":\"set\"," rest "}")

static void refuse(const char *text, const char *what)
{
    struct error err = {0};
    struct model *m = model_parse(text, strlen(text), "test.json", NULL, &err);
    if (m)
        fail_msg("accepted: %s", text);
    if (!strstr(err.text, what) || strncmp(err.text, "test.json: /commands", 20))
        fail_msg("%s\nexpected \"%s\"\ngot      \"%s\"", text, what, err.text);
}

static void test_parameters(void **state)
{
    (void)state;
    struct model *m =
        model_of(COMMAND("\"handler\":\"valve.set\",\"timeoutMs\":250,\"parameters\":["
                         "{\"name\":\"position\",\"type\":\"integer\",\"required\":true,\"min\":0,\"max\":100},"
                         "{\"name\":\"mode\",\"type\":\"string\",\"values\":[\"fast\",\"slow\"]},{\"name\":\"any\"},"
                         "{\"name\":\"o\",\"type\":\"object\"},{\"name\":\"b\",\"type\":\"boolean\"},{\"name\":\"n\","
                         "\"type\":\"number\"}]"));
    const struct model_command *c = &m->commands[0];
    assert_int_equal(c->n_parameters, 6);
    assert_int_equal(c->timeout_us, 250000);
    assert_int_equal(c->hook, 0);
    assert_string_equal(m->hooks[0], "valve.set");
    assert_null(c->response);
    assert_null(c->response_topic);
    const struct model_parameter *p = c->parameters;
    assert_true(p[0].required && p[0].has_min && p[0].has_max && p[0].min == 0 && p[0].max == 100);
    assert_int_equal(json_array_size(p[1].values), 2);
    static const enum value_type types[] = {VALUE_INTEGER, VALUE_STRING,  VALUE_NULL,
                                            VALUE_JSON,    VALUE_BOOLEAN, VALUE_NUMBER};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(p[i].type, types[i]);
    assert_false(m->keeps_values);
    model_delete(m);
    m = model_of(COMMAND("\"parameters\":[]"));
    assert_int_equal(m->commands[0].timeout_us, 10000000);
    assert_int_equal(m->commands[0].hook, -1);
    model_delete(m);
}

static void test_fits(void **state)
{
    (void)state;
    static const struct {
        enum value_type type;
        const char *json;
        bool fits;
    } cases[] = {
        {VALUE_INTEGER, "3", true},      {VALUE_INTEGER, "3.0", true},   {VALUE_INTEGER, "-3e2", true},
        {VALUE_INTEGER, "3.5", false},   {VALUE_INTEGER, "1e17", false}, // no double of that size is one whole number
        {VALUE_INTEGER, "\"3\"", false}, {VALUE_NUMBER, "3", true},      {VALUE_NUMBER, "3.5", true},
        {VALUE_NUMBER, "true", false},   {VALUE_BOOLEAN, "true", true},  {VALUE_BOOLEAN, "1", false},
        {VALUE_STRING, "\"\"", true},    {VALUE_STRING, "1", false},     {VALUE_JSON, "{}", true},
        {VALUE_JSON, "[]", false},       {VALUE_NULL, "[1]", true},      {VALUE_NULL, "null", false}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *v = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        struct model_parameter p = {.type = cases[i].type};
        if (model_parameter_fits(&p, v) != cases[i].fits)
            fail_msg("%s: %s", model_parameter_type(&p), cases[i].json);
        json_decref(v);
    }
}

static void expect_text(const struct payload *p, const struct value *values, const char *expected)
{
    struct buf out;
    struct payload_scope scope = {
        .device_id = "v-1", .group_id = "v", .index = 1, .wall_us = 1700000000123000, .values = values};
    buf_create(&out, 4096);
    assert_int_equal(payload_render(p, &scope, &out), 0);
    assert_string_equal(buf_cstr(&out), expected);
    buf_destroy(&out);
}

// A text in a template that is one placeholder is the value itself, with its type.
static void test_response(void **state)
{
    (void)state;
    struct model *m = model_of(COMMAND(
        "\"parameters\":[{\"name\":\"position\",\"type\":\"integer\"},{\"name\":\"who\",\"type\":\"string\"}],"
        "\"response\":{\"topic\":\"v/${deviceId}/${who}/done\",\"template\":{\"ok\":true,\"at\":\"${position}\","
        "\"text\":\"at ${position} for ${who}\",\"who\":\"{who}\",\"id\":\"${id}\",\"list\":[\"${command}\",1.5,null],"
        "\"ts\":\"${timestamp}\",\"plain\":\"{nope}\",\"p\":\"${pressure}\",\"r\":\"${result}\"}}"));
    const struct model_command *c = &m->commands[0];
    assert_int_equal(c->n_response_names, 2 + 2 + 3);
    assert_true(m->keeps_values); // the pressure is an attribute's
    struct value v[] = {{.type = VALUE_INTEGER, .integer = 42},  {.type = VALUE_STRING, .str = {"a\"b", 3}},
                        {.type = VALUE_INTEGER, .integer = 7}, // hidden by the parameter of the same name
                        {.type = VALUE_NUMBER, .number = 2.56},  {.type = VALUE_STRING, .str = {"set", 3}},
                        {.type = VALUE_JSON, .str = {"[1]", 3}}, {.type = VALUE_NULL}};
    expect_text(c->response, v,
                "{\"ok\":true,\"at\":42,\"text\":\"at 42 for a\\\"b\",\"who\":\"a\\\"b\",\"id\":[1],"
                "\"list\":[\"set\",1.5,null],\"ts\":1700000000123,\"plain\":\"{nope}\",\"p\":2.6,\"r\":null}");
    expect_text(c->response_topic, v, "v/v-1/a\"b/done");
    model_delete(m);
    m = model_of(COMMAND("\"response\":{\"template\":\"done ${command} by ${deviceId}\"}"));
    v[2] = (struct value){.type = VALUE_STRING, .str = {"set", 3}};
    expect_text(m->commands[0].response, v, "done set by v-1");
    assert_false(m->keeps_values);
    model_delete(m);
    // A text that is JSON is written as JSON.
    m = model_of(COMMAND("\"response\":{\"template\":\"{\\\"c\\\": ${command}}\"}"));
    expect_text(m->commands[0].response, v, "{\"c\": \"set\"}");
    model_delete(m);
}

static void test_bad(void **state)
{
    (void)state;
    refuse(MODEL("1"), "/commands/0: expected an object");
    refuse(MODEL("{}"), "/commands/0: \"name\" is missing");
    refuse(MODEL("{\"name\":\"a\"},{\"name\":\"a\"}"), "/commands/1/name: there are two commands named a");
    refuse(COMMAND("\"topic\":1"), "/commands/0: topic: expected a string");
    refuse(COMMAND("\"topic\":\"a/${nope}\""), "/commands/0/topic: unknown placeholder ${nope}");
    refuse(COMMAND("\"handler\":5"), "/commands/0: handler: expected a string");
    refuse(COMMAND("\"handler\":\"pkg.mod:Class\""), "looks like Python; write \"module.function\"");
    refuse(COMMAND("\"handler\":\"a b\""), "is no name of a function");
    refuse(COMMAND("\"timeoutMs\":0"), "/commands/0/timeoutMs: must be 1..86400000, is 0");
    refuse(COMMAND("\"timeoutMs\":\"x\""), "timeoutMs: expected");
    refuse(COMMAND("\"parameters\":{}"), "/commands/0/parameters: expected an array");
    refuse(COMMAND("\"parameters\":[1]"), "/commands/0/parameters/0: expected an object");
    refuse(COMMAND("\"parameters\":[{}]"), "/commands/0/parameters/0: \"name\" is missing");
#define P(rest) COMMAND("\"parameters\":[{\"name\":\"p\"," rest "}]")
    refuse(P("\"type\":\"float\""),
           "/commands/0/parameters/0/type: unknown value \"float\"; valid: number, integer, boolean, string, object");
    refuse(P("\"required\":1"), "required: expected a boolean");
    refuse(P("\"type\":\"number\",\"min\":\"x\""), "min: expected a number");
    refuse(P("\"type\":\"number\",\"min\":2,\"max\":1"), "min 2 is above max 1");
    refuse(P("\"type\":\"string\",\"min\":2"), "min and max are for number and integer, \"p\" is string");
    refuse(P("\"min\":2"), "min and max are for number and integer, \"p\" is of no type");
    refuse(P("\"type\":\"string\",\"values\":[]"), "/parameters/0/values: expected a list");
    refuse(P("\"type\":\"string\",\"values\":5"), "/parameters/0/values: expected a list");
    refuse(P("\"type\":\"integer\",\"values\":[1,\"x\"]"), "/parameters/0/values/1: expected integer");
    refuse(COMMAND("\"parameters\":[{\"name\":\"p\"},{\"name\":\"p\"}]"), "there are two parameters named p");
    refuse(COMMAND("\"response\":5"), "/commands/0/response: expected an object");
    refuse(COMMAND("\"response\":{\"topic\":5}"), "/commands/0/response: topic: expected a string");
    refuse(COMMAND("\"response\":{\"topic\":\"a/#\"}"),
           "/commands/0/response/topic: \"a/#\" is no topic to publish to");
    refuse(COMMAND("\"response\":{\"template\":5}"), "/commands/0/response/template: expected a text or an object");
    refuse(COMMAND("\"response\":{\"template\":{\"a\":\"${posiion}\"}}"),
           "/commands/0/response/template: unknown placeholder ${posiion}; valid: position, pressure, command, id, "
           "result");
}

static void test_too_many(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 1 << 20);
    assert_int_equal(buf_append_str(&b, HEAD "\"commands\":[{\"name\":\"a\",\"parameters\":["), 0);
    for (int i = 0; i <= COMMAND_MAX_PARAMETERS; i++)
        assert_int_equal(buf_printf(&b, "%s{\"name\":\"p%d\"}", i ? "," : "", i), 0);
    assert_int_equal(buf_append_str(&b, "]}]}"), 0);
    refuse(buf_cstr(&b), "/commands/0/parameters: at most 64 parameters, there are 65");
    buf_clear(&b);
    assert_int_equal(buf_append_str(&b, HEAD "\"commands\":["), 0);
    for (int i = 0; i <= MODEL_MAX_COMMANDS; i++)
        assert_int_equal(buf_printf(&b, "%s{\"name\":\"c%d\"}", i ? "," : "", i), 0);
    assert_int_equal(buf_append_str(&b, "]}"), 0);
    refuse(buf_cstr(&b), "/commands: at most 256 entries, there are 257");
    buf_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parameters), cmocka_unit_test(test_fits),
                                       cmocka_unit_test(test_response), cmocka_unit_test(test_bad),
                                       cmocka_unit_test(test_too_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
