// Sequences, lists, conversions to the declared type, and every bad field.
#include "gen_helper.h"

static void expect_numbers(const char *text, const double *wanted, int n)
{
    struct run r = run_new(text, VALUE_NUMBER, 1);
    for (int i = 0; i < n; i++) {
        double got = run_number(&r);
        if (fabs(got - wanted[i]) > 1e-9)
            fail_msg("%s: value %d is %.17g, expected %g", text, i, got, wanted[i]);
    }
    gen_delete(r.spec);
}
#define EXPECT(text, ...)                                                                                              \
    expect_numbers(text, (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void test_sequence(void **s)
{
    (void)s;
    EXPECT("{\"type\":\"sequence\"}", 0, 1, 2, 3);
    EXPECT("{\"type\":\"sequence\",\"start\":5,\"step\":-2}", 5, 3, 1, -1);
    EXPECT("{\"type\":\"sequence\",\"start\":1,\"max\":3}", 1, 2, 3, 3, 3);
    EXPECT("{\"type\":\"sequence\",\"step\":2,\"max\":3}", 0, 2, 3, 3);
    EXPECT("{\"type\":\"sequence\",\"start\":2,\"step\":-1,\"min\":0}", 2, 1, 0, 0);
    EXPECT("{\"type\":\"sequence\",\"start\":1,\"max\":3,\"wrap\":true}", 1, 2, 3, 1, 2, 3, 1);
    EXPECT("{\"type\":\"sequence\",\"start\":2,\"min\":0,\"max\":3,\"wrap\":true}", 2, 3, 0, 1, 2, 3, 0);
    EXPECT("{\"type\":\"sequence\",\"start\":1,\"step\":-1,\"min\":0,\"max\":2,\"wrap\":true}", 1, 0, 2, 1, 0, 2);
    EXPECT("{\"type\":\"sequence\",\"start\":0,\"step\":10,\"min\":0,\"max\":5,\"wrap\":true}", 0, 0, 0);
    EXPECT("{\"type\":\"sequence\",\"step\":0.1,\"max\":0.3,\"wrap\":true}", 0, 0.1, 0.2, 0.3, 0, 0.1); // 3 * 0.1 > 0.3
    EXPECT("{\"type\":\"sequence\",\"wrap\":true}", 0, 1, 2); // nothing to wrap at
    EXPECT("{\"type\":\"sequence\",\"start\":0,\"min\":10,\"max\":12}", 10, 11, 12, 12);
    EXPECT("{\"type\":\"sequence\",\"step\":0,\"start\":4}", 4, 4, 4);
    EXPECT("{\"type\":\"sequence\",\"values\":[3,1,2]}", 3, 1, 2, 3, 1);
    EXPECT("{\"type\":\"sequence\",\"values\":[3,1,2],\"wrap\":false}", 3, 1, 2, 2, 2);
}

static void test_sequence_does_not_drift(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"sequence\",\"start\":100,\"step\":-0.1,\"min\":0}", VALUE_NUMBER, 1);
    for (int i = 0; i <= 1000; i++)
        assert_true(fabs(run_number(&r) - (100 - i / 10.0)) < 1e-10);
    for (int i = 0; i < 10; i++)
        assert_true(run_number(&r) == 0);
    gen_delete(r.spec);
}

static void test_integer_rounds_half_to_even_and_saturates(void **s)
{
    (void)s;
    static const int64_t wanted[] = {0, 0, 1, 2, 2, 2, 3, 4, 4};
    struct run r = run_new("{\"type\":\"sequence\",\"step\":0.5}", VALUE_INTEGER, 1);
    for (int i = 0; i < 9; i++)
        assert_int_equal(run_next(&r).integer, wanted[i]);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"sequence\",\"start\":9e18,\"step\":1e19}", VALUE_INTEGER, 1);
    assert_int_equal(run_next(&r).integer, 9000000000000000000);
    assert_true(run_next(&r).integer == INT64_MAX);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"sequence\",\"start\":0,\"step\":-1e19}", VALUE_INTEGER, 1);
    run_next(&r);
    assert_true(run_next(&r).integer == INT64_MIN);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"normal\",\"mean\":0,\"stddev\":100,\"min\":-1.5,\"max\":1.5}", VALUE_INTEGER, 1);
    for (int i = 0; i < 1000; i++)
        assert_in_range((uint64_t)(run_next(&r).integer + 1), 0, 2); // rounding never leaves the bounds
    gen_delete(r.spec);
    r = run_new("{\"type\":\"uniform\",\"min\":-9223372036854775808,\"max\":9223372036854774784}", VALUE_INTEGER, 1);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(run_next(&r).type, VALUE_INTEGER);
    gen_delete(r.spec);
}

static void expect_text(struct value v, enum value_type type, const char *text)
{
    assert_int_equal(v.type, type);
    assert_int_equal(v.str.n, strlen(text));
    assert_memory_equal(v.str.s, text, v.str.n);
}

static void test_values_in_the_declared_type(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"constant\",\"value\":true}", VALUE_BOOLEAN, 1);
    struct value v = run_next(&r);
    assert_true(v.type == VALUE_BOOLEAN && v.boolean);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"sequence\",\"values\":[0.5,0.49]}", VALUE_BOOLEAN, 1);
    assert_true(run_next(&r).boolean);
    assert_false(run_next(&r).boolean);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"constant\",\"value\":2.5}", VALUE_INTEGER, 1);
    assert_int_equal(run_next(&r).integer, 2);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"sequence\",\"values\":[\"a\",21.5,0.1,false,null,\"\"]}", VALUE_STRING, 1);
    expect_text(run_next(&r), VALUE_STRING, "a");
    expect_text(run_next(&r), VALUE_STRING, "21.5");
    expect_text(run_next(&r), VALUE_STRING, "0.1");
    expect_text(run_next(&r), VALUE_STRING, "false");
    assert_int_equal(run_next(&r).type, VALUE_NULL);
    expect_text(run_next(&r), VALUE_STRING, "");
    gen_delete(r.spec);
    r = run_new("{\"type\":\"constant\",\"value\":{\"a\":[1,2.5]}}", VALUE_JSON, 1);
    expect_text(run_next(&r), VALUE_JSON, "{\"a\":[1,2.5]}");
    gen_delete(r.spec);
    r = run_new("{\"type\":\"constant\",\"value\":\"xyz\"}", VALUE_BINARY, 1);
    expect_text(run_next(&r), VALUE_BINARY, "xyz");
    gen_delete(r.spec);
    r = run_new("{\"type\":\"constant\"}", VALUE_NUMBER, 1);
    assert_int_equal(run_next(&r).type, VALUE_NULL);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"uniform\",\"min\":0,\"max\":1}", VALUE_STRING, 1);
    assert_int_equal(run_next(&r).type, VALUE_NUMERAL);
    gen_delete(r.spec);
}

static void test_undeclared_type_keeps_what_is_written(void **s)
{
    (void)s;
    static const enum value_type types[] = {VALUE_INTEGER, VALUE_NUMBER, VALUE_STRING,
                                            VALUE_BOOLEAN, VALUE_NULL,   VALUE_JSON};
    struct run r = run_new("{\"type\":\"sequence\",\"values\":[1,1.5,\"x\",true,null,{}]}", VALUE_NULL, 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal(run_next(&r).type, types[i]);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"uniform\",\"min\":0,\"max\":1}", VALUE_NULL, 1);
    assert_int_equal(run_next(&r).type, VALUE_NUMBER);
    gen_delete(r.spec);
}

static void test_same_seed_same_values(void **s)
{
    (void)s;
    struct run a = run_new("{\"type\":\"walk\",\"step\":1}", VALUE_NUMBER, 5),
               b = run_new("{\"type\":\"walk\",\"step\":1}", VALUE_NUMBER, 5);
    for (int i = 0; i < 100; i++)
        assert_true(run_number(&a) == run_number(&b));
    gen_delete(a.spec);
    gen_delete(b.spec);
}

static void test_every_name_is_parsed(void **s)
{
    (void)s;
    unsigned n = 0;
    for (const char *const *name = gen_type_names(); *name; name++, n++) {
        char text[200];
        struct error err;
        snprintf(text, sizeof text, "{\"type\":\"%s\"}", *name);
        struct gen_spec *spec = try_parse(text, VALUE_NUMBER, &err);
        assert_null(strstr(err.text, "unknown generator"));
        gen_delete(spec);
    }
    assert_int_equal(n, 8);
    gen_delete(NULL);
}

// Everything that is wrong says which field, and what is valid.
static const struct {
    const char *text;
    enum value_type type;
    const char *says; // parts of the message, separated by |
} bad[] = {
    {"5", VALUE_NUMBER, "expected an object|a number"},
    {"{}", VALUE_NUMBER, "type: missing|uniform, normal, exponential, walk, sequence, constant, choice, random"},
    {"{\"type\":3}", VALUE_NUMBER, "type: expected a string|got a number"},
    {"{\"type\":\"unifrom\"}", VALUE_NUMBER,
     "type: unknown generator \"unifrom\"|valid: uniform|did you mean \"uniform\"?"},
    {"{\"type\":\"replay\"}", VALUE_NUMBER, "type:|\"replay\"|uniform"},
    {"{\"type\":\"custom\"}", VALUE_NUMBER, "type:|\"custom\"|uniform"},
    {"{\"type\":\"uniform\",\"min\":0,\"max\":1,\"maxx\":2}", VALUE_NUMBER,
     "unknown key \"maxx\"|valid: type, min, max|did you mean \"max\"?"},
    {"{\"type\":\"walk\",\"step\":1,\"wrap\":true}", VALUE_NUMBER,
     "unknown key \"wrap\"|valid: type, start, step, min, max"},
    {"{\"type\":\"random\",\"distrbution\":\"normal\"}", VALUE_NUMBER, "unknown key|did you mean \"distribution\"?"},
    {"{\"type\":\"uniform\",\"max\":1}", VALUE_NUMBER, "min: missing|uniform"},
    {"{\"type\":\"uniform\",\"min\":1}", VALUE_NUMBER, "max: missing"},
    {"{\"type\":\"uniform\",\"min\":\"1\",\"max\":2}", VALUE_NUMBER, "min: expected a number, got a string"},
    {"{\"type\":\"uniform\",\"min\":1,\"max\":[]}", VALUE_NUMBER, "max: expected a number, got an array"},
    {"{\"type\":\"uniform\",\"min\":3,\"max\":2}", VALUE_NUMBER, "min: must be at most max (2), is 3"},
    {"{\"type\":\"uniform\",\"min\":-1.7e308,\"max\":1.7e308}", VALUE_NUMBER, "max: the range|too large"},
    {"{\"type\":\"uniform\",\"min\":0.2,\"max\":0.8}", VALUE_INTEGER, "min: no whole number lies between"},
    {"{\"type\":\"uniform\",\"min\":0,\"max\":1e19}", VALUE_INTEGER, "max: whole numbers lie within 64 bits"},
    {"{\"type\":\"uniform\",\"min\":0,\"max\":1}", VALUE_JSON, "type:|uniform|object or array|constant, choice"},
    {"{\"type\":\"sequence\"}", VALUE_BINARY, "type:|sequence|binary|with values"},
    {"{\"type\":\"normal\",\"stddev\":1}", VALUE_NUMBER, "mean: missing"},
    {"{\"type\":\"normal\",\"mean\":1}", VALUE_NUMBER, "stddev: missing"},
    {"{\"type\":\"normal\",\"mean\":1,\"stddev\":-1}", VALUE_NUMBER, "stddev: must be at least 0, is -1"},
    {"{\"type\":\"normal\",\"mean\":1,\"stddev\":1,\"min\":2,\"max\":1}", VALUE_NUMBER, "min: must be at most"},
    {"{\"type\":\"exponential\"}", VALUE_NUMBER, "rate: missing|mean"},
    {"{\"type\":\"exponential\",\"rate\":1,\"mean\":1}", VALUE_NUMBER, "rate: give either rate or mean"},
    {"{\"type\":\"exponential\",\"rate\":0}", VALUE_NUMBER, "rate: must be above 0"},
    {"{\"type\":\"exponential\",\"rate\":1e-320}", VALUE_NUMBER, "rate:|too small"},
    {"{\"type\":\"exponential\",\"mean\":-1}", VALUE_NUMBER, "mean: must be above 0"},
    {"{\"type\":\"walk\"}", VALUE_NUMBER, "step: missing"},
    {"{\"type\":\"walk\",\"step\":0}", VALUE_NUMBER, "step: must be above 0, is 0"},
    {"{\"type\":\"walk\",\"step\":1,\"start\":5,\"min\":6,\"max\":7}", VALUE_NUMBER,
     "start: must lie between min 6 and max 7, is 5"},
    {"{\"type\":\"sequence\",\"wrap\":1}", VALUE_NUMBER, "wrap: expected true or false, got a number"},
    {"{\"type\":\"sequence\",\"step\":null}", VALUE_NUMBER, "step: expected a number, got null"},
    {"{\"type\":\"sequence\",\"values\":[1],\"step\":2}", VALUE_NUMBER,
     "unknown key \"step\"|valid: type, values, wrap"},
    {"{\"type\":\"sequence\",\"values\":[]}", VALUE_NUMBER, "values: must not be empty"},
    {"{\"type\":\"choice\"}", VALUE_NUMBER, "values: missing|choice"},
    {"{\"type\":\"choice\",\"values\":{}}", VALUE_NUMBER, "values: expected an array, got an object"},
    {"{\"type\":\"choice\",\"values\":[1,\"x\"]}", VALUE_NUMBER, "values[1]: expected a number|got a string"},
    {"{\"type\":\"choice\",\"values\":[1,true]}", VALUE_INTEGER, "values[1]: expected a whole number|got a boolean"},
    {"{\"type\":\"choice\",\"values\":[1e300]}", VALUE_INTEGER,
     "values[0]: expected a whole number of at most 64 bits"},
    {"{\"type\":\"choice\",\"values\":[\"x\"]}", VALUE_BOOLEAN, "values[0]: expected true or false"},
    {"{\"type\":\"choice\",\"values\":[[]]}", VALUE_STRING, "values[0]: expected a string|got an array"},
    {"{\"type\":\"choice\",\"values\":[1]}", VALUE_BINARY, "values[0]: expected a string|binary"},
    {"{\"type\":\"choice\",\"values\":[1]}", VALUE_JSON, "values[0]: expected an object or an array"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1]}", VALUE_NUMBER,
     "weights: expected one weight a value, 2, got 1"},
    {"{\"type\":\"choice\",\"values\":[1],\"weights\":3}", VALUE_NUMBER, "weights: expected an array"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1,-1]}", VALUE_NUMBER,
     "weights[1]: must be at least 0, is -1"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1,\"a\"]}", VALUE_NUMBER, "weights[1]: expected a number"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[0,0]}", VALUE_NUMBER, "weights: their sum must be above 0"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1e308,1e308]}", VALUE_NUMBER, "weights: their sum"},
    {"{\"type\":\"constant\",\"value\":\"x\"}", VALUE_NUMBER, "value: expected a number|got a string"},
    {"{\"type\":\"random\",\"distribution\":\"gauss\"}", VALUE_NUMBER,
     "distribution: unknown \"gauss\"|uniform, normal, exponential"},
    {"{\"type\":\"random\",\"distribution\":1}", VALUE_NUMBER, "distribution: expected a string"},
    {"{\"type\":\"random\",\"min\":5,\"max\":1}", VALUE_NUMBER, "min: must be at most"},
    {"{\"type\":\"random\",\"distribution\":\"normal\",\"stddev\":-2}", VALUE_NUMBER, "stddev: must be"},
    {"{\"type\":\"random\",\"distribution\":\"exponential\",\"rate\":-2}", VALUE_NUMBER, "rate: must be above 0"},
};

static void test_bad_fields(void **s)
{
    (void)s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err;
        char says[256];
        struct gen_spec *spec = try_parse(bad[i].text, bad[i].type, &err);
        if (spec)
            fail_msg("taken: %s", bad[i].text);
        snprintf(says, sizeof says, "%s", bad[i].says);
        for (char *rest = NULL, *part = strtok_r(says, "|", &rest); part; part = strtok_r(NULL, "|", &rest))
            if (!strstr(err.text, part))
                fail_msg("%s\n  said: %s\n  without: %s", bad[i].text, err.text, part);
        assert_int_equal(err.code, strstr(bad[i].text, "replay") || strstr(bad[i].text, "custom") ? ERR_UNSUPPORTED
                                                                                                  : ERR_INVALID);
        assert_null(try_parse(bad[i].text, bad[i].type, &(struct error){0}));
    }
    assert_null(gen_parse(NULL, VALUE_NUMBER, NULL)); // nobody asked why
}

static void test_caps(void **s)
{
    (void)s;
    struct error err = {0};
    json_t *values = json_array(), *g = json_pack("{s:s}", "type", "choice");
    for (unsigned i = 0; i < GEN_MAX_VALUES; i++)
        json_array_append_new(values, json_integer(i));
    json_object_set_new(g, "values", values);
    struct gen_spec *spec = gen_parse(g, VALUE_NUMBER, &err);
    assert_non_null(spec);
    gen_delete(spec);
    json_array_append_new(values, json_integer(1));
    assert_null(gen_parse(g, VALUE_NUMBER, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "values: at most 65536"));
    json_decref(g);

    char *text = malloc(GEN_MAX_TEXT + 2);
    memset(text, 'x', GEN_MAX_TEXT + 1);
    text[GEN_MAX_TEXT + 1] = '\0';
    error_clear(&err);
    g = json_pack("{s:s,s:[s]}", "type", "choice", "values", text);
    assert_null(gen_parse(g, VALUE_STRING, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_decref(g);
    text[GEN_MAX_TEXT] = '\0';
    g = json_pack("{s:s,s:[s]}", "type", "choice", "values", text);
    spec = gen_parse(g, VALUE_STRING, &err);
    assert_non_null(spec);
    gen_delete(spec);
    json_decref(g);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_sequence_does_not_drift),
        cmocka_unit_test(test_integer_rounds_half_to_even_and_saturates),
        cmocka_unit_test(test_values_in_the_declared_type),
        cmocka_unit_test(test_undeclared_type_keeps_what_is_written),
        cmocka_unit_test(test_same_seed_same_values),
        cmocka_unit_test(test_every_name_is_parsed),
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
