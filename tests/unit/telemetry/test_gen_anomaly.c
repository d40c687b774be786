// Anomalies: what they do to a value, and when.
#include "gen_helper.h"

#define SECOND INT64_C(1000000)
#define ON(base, anomalies) "{" base ",\"anomalies\":[" anomalies "]}"
#define FIVE "\"type\":\"constant\",\"value\":5"

// Values a second apart, from 0 on; null as NAN.
static void expect_values(const char *text, const double *wanted, int n)
{
    struct run r = run_new(text, VALUE_NUMBER, 1);
    for (int i = 0; i < n; i++) {
        r.context.time_us = i * SECOND;
        struct value v = run_next(&r);
        if (v.type != (isnan(wanted[i]) ? VALUE_NULL : VALUE_NUMBER))
            fail_msg("%s: value %d has type %d", text, i, v.type);
        if (v.type == VALUE_NUMBER && fabs(v.number - wanted[i]) > 1e-9)
            fail_msg("%s: value %d is %g, expected %g", text, i, v.number, wanted[i]);
    }
    run_end(&r);
}
#define EXPECT(text, ...)                                                                                              \
    expect_values(text, (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void test_timeline(void **s)
{
    (void)s;
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"atMs\":2000}"), 5, 5, 7, 5, 5);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"atMs\":0}"), 7, 5, 5);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"atMs\":1500}"), 5, 5, 7, 5); // the next sample shows it
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"atMs\":1500,\"durationMs\":200}"), 5, 5, 7, 5);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"atMs\":1000,\"durationMs\":2000}"), 5, 7, 7, 5, 5);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"everyMs\":2000}"), 5, 5, 7, 5, 7, 5, 7);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"everyMs\":3000,\"durationMs\":2000}"), 5, 5, 5, 7, 7, 5, 7,
           7, 5);
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":2,\"everyMs\":100}"), 5, 7, 7, 7); // more often than samples
    EXPECT(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":-0.5,\"relative\":true,\"atMs\":1000}"), 5, 2.5, 5);
}

static void test_kinds(void **s)
{
    (void)s;
    EXPECT(ON(FIVE, "{\"type\":\"dropout\",\"atMs\":1000,\"durationMs\":2000}"), 5, NAN, NAN, 5);
    EXPECT(ON(FIVE, "{\"type\":\"drift\",\"perSecond\":0.5,\"atMs\":0}"), 5, 5.5, 6, 6.5); // without an end
    EXPECT(ON(FIVE, "{\"type\":\"drift\",\"perSecond\":1,\"everyMs\":2000,\"durationMs\":2000}"), 5, 5, 5, 6, 5, 6);
    EXPECT(ON(FIVE, "{\"type\":\"drift\",\"perSecond\":-1,\"atMs\":1500,\"durationMs\":2000}"), 5, 5, 4.5, 3.5, 5, 5);
    // The generator goes on beneath, and is where it would have been.
    EXPECT(ON("\"type\":\"sequence\"", "{\"type\":\"stuck\",\"atMs\":2000,\"durationMs\":3000}"), 0, 1, 2, 2, 2, 5, 6);
    EXPECT(ON("\"type\":\"sequence\"", "{\"type\":\"stuck\",\"everyMs\":2000,\"durationMs\":2000}"), 0, 1, 2, 2, 4, 4,
           6, 6);
    // In the order that they are written in: a stuck sensor with a spike on it, a stuck spike.
    EXPECT(ON("\"type\":\"sequence\"", "{\"type\":\"stuck\",\"atMs\":1000,\"durationMs\":3000},"
                                       "{\"type\":\"spike\",\"magnitude\":10,\"atMs\":2000}"),
           0, 1, 11, 1, 4);
    EXPECT(ON("\"type\":\"sequence\"", "{\"type\":\"spike\",\"magnitude\":10,\"atMs\":1000},"
                                       "{\"type\":\"stuck\",\"atMs\":1000,\"durationMs\":2000}"),
           0, 11, 11, 3);
    EXPECT(ON("\"type\":\"sequence\",\"max\":2", "{\"type\":\"spike\",\"magnitude\":10,\"atMs\":2000}"), 0, 1, 12, 2);
    EXPECT(ON("\"type\":\"sequence\",\"values\":[1,null]", "{\"type\":\"spike\",\"magnitude\":10,\"everyMs\":1000}"), 1,
           NAN, 11);
    EXPECT(ON("\"type\":\"sequence\",\"values\":[1,null]", "{\"type\":\"stuck\",\"atMs\":1000,\"durationMs\":2000}"), 1,
           NAN, NAN, NAN, 1); // the value 3 is null by itself
    EXPECT(ON(FIVE, ""), 5, 5);
}

static void test_integers(void **s)
{
    (void)s;
    struct run r = run_new(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":0.7,\"everyMs\":1000}"), VALUE_INTEGER, 1);
    r.context.time_us = SECOND;
    struct value v = run_next(&r);
    assert_true(v.type == VALUE_INTEGER && v.integer == 6);
    run_end(&r);
    r = run_new(ON(FIVE, "{\"type\":\"spike\",\"magnitude\":1e300,\"atMs\":0}"), VALUE_INTEGER, 1);
    assert_true(run_next(&r).integer == INT64_MAX);
    run_end(&r);
    r = run_new(ON("\"type\":\"uniform\",\"min\":1,\"max\":1", "{\"type\":\"spike\",\"magnitude\":1,\"atMs\":0}"),
                VALUE_STRING, 1);
    v = run_next(&r);
    assert_true(v.type == VALUE_NUMERAL && v.number == 2);
    run_end(&r);
}

// What is held is the value, of whatever type.
static void test_stuck_of_every_type(void **s)
{
    (void)s;
    static const char *const values[] = {"\"a\"", "true", "7", "2.5", "{\"x\":1}", "null"};
    static const enum value_type types[] = {VALUE_STRING, VALUE_BOOLEAN, VALUE_INTEGER,
                                            VALUE_NUMBER, VALUE_JSON,    VALUE_NULL};
    for (int i = 0; i < 6; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 ON("\"type\":\"sequence\",\"values\":[%s,\"other\"]",
                    "{\"type\":\"stuck\",\"atMs\":0,\"durationMs\":9000}"),
                 values[i]);
        struct run r = run_new(text, VALUE_NULL, 1);
        assert_int_equal(gen_state_count(r.spec), 3);
        assert_int_equal(run_next(&r).type, types[i]);
        r.context.time_us = SECOND;
        struct value again = run_next(&r);
        assert_int_equal(again.type, types[i]);
        if (types[i] == VALUE_STRING || types[i] == VALUE_JSON)
            expect_text(again, types[i], types[i] == VALUE_JSON ? values[i] : "a");
        else if (types[i] == VALUE_NUMBER)
            near(again.number, 2.5, 0);
        else if (types[i] != VALUE_NULL)
            assert_int_equal(types[i] == VALUE_BOOLEAN ? again.boolean : again.integer,
                             types[i] == VALUE_BOOLEAN ? 1 : 7);
        run_end(&r);
    }
}

// States are carried over to the specification of a model that is loaded anew: nothing in them points into the old one.
static void test_stuck_outlives_its_specification(void **s)
{
    (void)s;
    static const char text[] = ON("\"type\":\"sequence\",\"values\":[\"a\",\"b\",\"c\"]",
                                  "{\"type\":\"stuck\",\"atMs\":1000,\"durationMs\":9000}");
    struct run r = run_new(text, VALUE_STRING, 1);
    run_next(&r);
    r.context.time_us = SECOND;
    expect_text(run_next(&r), VALUE_STRING, "b");
    struct gen_spec *again = parse_ok(text, VALUE_STRING);
    gen_delete(r.spec);
    r.spec = again;
    r.context.time_us = 2 * SECOND;
    expect_text(run_next(&r), VALUE_STRING, "b");
    run_end(&r);
    struct gen_env env = {.names = NULL};
    struct error err;
    assert_null(try_parse_env(ON("\"type\":\"correlated\",\"expression\":\"'x'\"", "{\"type\":\"stuck\",\"atMs\":1}"),
                              VALUE_STRING, &env, &err));
    expect_says("correlated", &err, "anomalies[0]: type: a text that is made anew");
    gen_delete(
        parse_ok(ON("\"type\":\"correlated\",\"expression\":\"1\"", "{\"type\":\"stuck\",\"atMs\":1}"), VALUE_NUMBER));
}

static void test_probability(void **s)
{
    (void)s;
    struct run r = run_new(ON(FIVE, "{\"type\":\"dropout\",\"probability\":0.02}"), VALUE_NUMBER, 20260131);
    int out = 0, pairs = 0, last = 0;
    for (int i = 0; i < SAMPLES; i++) {
        r.context.time_us = i * SECOND;
        int now = run_next(&r).type == VALUE_NULL;
        out += now;
        pairs += now && last;
        last = now;
    }
    near(out, 2000, 4 * sqrt(2000 * 0.98));
    near(pairs, 40, 4 * sqrt(40)); // one does not bring the next
    run_end(&r);
    // Lasting: runs of five; a new one can only begin when the last has ended.
    r = run_new(ON(FIVE, "{\"type\":\"dropout\",\"probability\":0.01,\"durationMs\":5000}"), VALUE_NUMBER, 20260131);
    int length = 0, runs = 0;
    for (int i = 0; i < SAMPLES; i++) {
        r.context.time_us = i * SECOND;
        if (run_next(&r).type == VALUE_NULL) {
            length++;
        } else if (length) {
            assert_int_equal(length % 5, 0);
            runs += length / 5;
            length = 0;
        }
    }
    near(runs, SAMPLES / (100 + 4.0), 4 * sqrt(SAMPLES / 104.0));
    run_end(&r);
    EXPECT(ON(FIVE, "{\"type\":\"dropout\",\"probability\":0}"), 5, 5, 5);
    EXPECT(ON(FIVE, "{\"type\":\"dropout\",\"probability\":1}"), NAN, NAN, NAN);
}

static void test_noise(void **s)
{
    (void)s;
    static double samples[SAMPLES];
    struct run r = run_new(ON(FIVE, "{\"type\":\"noise\",\"stddev\":2,\"probability\":1}"), VALUE_NUMBER, 20260131);
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (run_number(&r) - 5) / 2;
    near(moment_of(samples, SAMPLES, 1, 0), 0, 0.01);
    near(moment_of(samples, SAMPLES, 2, 0), 1, 0.02);
    assert_true(kolmogorov_of(samples, SAMPLES, cdf_standard_normal) < KS_LIMIT);
    run_end(&r);
}

static void test_object_drops_out(void **s)
{
    (void)s;
    struct run r = run_new(ON("\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"sequence\",\"anomalies\":"
                              "[{\"type\":\"stuck\",\"atMs\":0,\"durationMs\":1500}]},\"b\":{\"type\":\"sequence\"}}",
                              "{\"type\":\"dropout\",\"atMs\":2000}"),
                           VALUE_JSON, 1);
    assert_int_equal(gen_state_count(r.spec), 5);
    static const char *const wanted[] = {"{\"a\":0,\"b\":0}", "{\"a\":0,\"b\":1}", NULL, "{\"a\":3,\"b\":3}"};
    for (int i = 0; i < 4; i++) {
        r.context.time_us = i * SECOND;
        struct value v = run_next(&r);
        if (wanted[i])
            expect_text(v, VALUE_JSON, wanted[i]);
        else
            assert_int_equal(v.type, VALUE_NULL);
    }
    run_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_stuck_of_every_type),
        cmocka_unit_test(test_stuck_outlives_its_specification),
        cmocka_unit_test(test_probability),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_object_drops_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
