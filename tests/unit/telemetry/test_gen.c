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

static void test_directions(void **s)
{
    (void)s;
    EXPECT("{\"type\":\"sequence\",\"direction\":\"up\",\"max\":2}", 0, 1, 2, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"down\",\"start\":2,\"min\":0}", 2, 1, 0, 0);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"down\",\"min\":0,\"max\":2,\"wrap\":true}", 2, 1, 0, 2, 1, 0, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"min\":1,\"max\":3}", 1, 2, 3, 2, 1, 2, 3, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"start\":2,\"min\":1,\"max\":3}", 2, 3, 2, 1, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"min\":0,\"max\":3,\"step\":2}", 0, 2, 2, 0, 2, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"min\":3,\"max\":3}", 3, 3, 3);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"down\",\"values\":[3,1,2]}", 2, 1, 3, 2, 1);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"down\",\"values\":[3,1,2],\"wrap\":false}", 2, 1, 3, 3);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"values\":[3,1,2]}", 3, 1, 2, 1, 3, 1, 2);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"values\":[3,1]}", 3, 1, 3, 1);
    EXPECT("{\"type\":\"sequence\",\"direction\":\"pingpong\",\"values\":[3]}", 3, 3, 3);
}

static void test_every_name_is_parsed(void **s)
{
    (void)s;
    for (const char *const *name = gen_type_names(); *name; name++) {
        char text[200];
        struct error err;
        snprintf(text, sizeof text, "{\"type\":\"%s\"}", *name);
        struct gen_spec *spec = try_parse(text, VALUE_NUMBER, &err);
        assert_null(strstr(err.text, "unknown generator"));
        gen_delete(spec);
        const char *const *keys = gen_type_keys(*name);
        assert_string_equal(keys[0], "type");
        while (keys[1])
            keys++;
        assert_string_equal(keys[0], "anomalies");
    }
    assert_null(gen_type_keys("nothing"));
    assert_non_null(gen_type_keys("anomaly"));
    assert_non_null(gen_type_keys("daily"));
    gen_delete(NULL);
}

// The published schema was flat: its generators may carry keys of each other, and of nobody else.
static void test_published_generators_take_each_others_keys(void **s)
{
    (void)s;
    static const char *const types[] = {"random", "sequence", "constant", NULL};
    struct error err;
    char text[300];
    for (unsigned i = 0; types[i]; i++) {
        snprintf(text, sizeof text,
                 "{\"type\":\"%s\",\"min\":0,\"max\":9,\"distribution\":\"uniform\",\"mean\":5,\"stddev\":1,"
                 "\"rate\":1,\"start\":1,\"step\":1,\"wrap\":true,\"value\":1,\"dataFile\":\"x\","
                 "\"loopReplay\":true,\"handler\":\"h\",\"params\":{}}",
                 types[i]);
        gen_delete(parse_ok(text, VALUE_NUMBER));
        snprintf(text, sizeof text, "{\"type\":\"%s\",\"periodMs\":5}", types[i]);
        assert_null(try_parse(text, VALUE_NUMBER, &err));
        expect_says(text, &err, "unknown key \"periodMs\"");
    }
}

// Everything that is wrong says which field, and what is valid.
static const struct {
    const char *text;
    enum value_type type;
    const char *says; // parts of the message, separated by |
} bad[] = {
    {"5", VALUE_NUMBER, "expected an object|a number"},
    {"{}", VALUE_NUMBER,
     "type: missing|uniform, normal, exponential, |walk, ou, |sequence, constant, choice, |object, array"},
    {"{\"type\":3}", VALUE_NUMBER, "type: expected a string|got a number"},
    {"{\"type\":\"unifrom\"}", VALUE_NUMBER,
     "type: unknown generator \"unifrom\"|valid: uniform|did you mean \"uniform\"?"},
    {"{\"type\":\"custom\"}", VALUE_NUMBER, "handler: expected the name of a Lua function|got nothing"},
    {"{\"type\":\"custom\",\"handler\":3}", VALUE_NUMBER, "handler: expected the name of a Lua function|got a number"},
    {"{\"type\":\"custom\",\"handler\":\"h\",\"params\":[]}", VALUE_NUMBER, "params: expected an object, got an array"},
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
     "unknown key \"step\"|valid: type, values, wrap, direction"},
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
     "weights: expected one number a value, 2, got 1"},
    {"{\"type\":\"choice\",\"values\":[1],\"weights\":3}", VALUE_NUMBER, "weights: expected an array"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1,-1]}", VALUE_NUMBER,
     "weights[1]: must be at least 0, is -1"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1,\"a\"]}", VALUE_NUMBER, "weights[1]: expected a number"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[0,0]}", VALUE_NUMBER, "weights: their sum must be above 0"},
    {"{\"type\":\"choice\",\"values\":[1,2],\"weights\":[1e308,1e308]}", VALUE_NUMBER, "weights: their sum"},
    {"{\"type\":\"sequence\",\"direction\":\"sideways\"}", VALUE_NUMBER,
     "direction: unknown \"sideways\"|valid: up, down, pingpong"},
    {"{\"type\":\"sequence\",\"direction\":1}", VALUE_NUMBER, "direction: expected a string (up, down, pingpong)"},
    {"{\"type\":\"sequence\",\"direction\":\"pingpong\",\"min\":1}", VALUE_NUMBER, "max: missing"},
    {"{\"type\":\"sequence\",\"direction\":\"pingpong\",\"min\":1,\"max\":2,\"wrap\":true}", VALUE_NUMBER,
     "wrap: direction pingpong turns round"},
    {"{\"type\":\"lognormal\"}", VALUE_NUMBER, "mu: |either mu and sigma|or mean and stddev"},
    {"{\"type\":\"lognormal\",\"mu\":1,\"sigma\":1,\"mean\":1}", VALUE_NUMBER, "not both"},
    {"{\"type\":\"lognormal\",\"mu\":1}", VALUE_NUMBER, "sigma: missing"},
    {"{\"type\":\"lognormal\",\"mu\":1,\"sigma\":-1}", VALUE_NUMBER, "sigma: must be at least 0, is -1"},
    {"{\"type\":\"lognormal\",\"mean\":0,\"stddev\":1}", VALUE_NUMBER, "mean: must be above 0, is 0"},
    {"{\"type\":\"lognormal\",\"mean\":1,\"stddev\":-1}", VALUE_NUMBER, "stddev: must be at least 0"},
    {"{\"type\":\"lognormal\",\"mu\":1,\"sigma\":100}", VALUE_NUMBER, "mu: with this sigma|too large"},
    {"{\"type\":\"poisson\"}", VALUE_NUMBER, "mean: missing"},
    {"{\"type\":\"poisson\",\"mean\":0}", VALUE_NUMBER, "mean: must be above 0"},
    {"{\"type\":\"poisson\",\"mean\":1e12}", VALUE_NUMBER, "mean: at most 1e+09|normal with stddev 1e+06"},
    {"{\"type\":\"weibull\",\"scale\":1}", VALUE_NUMBER, "shape: missing"},
    {"{\"type\":\"weibull\",\"shape\":1,\"scale\":0}", VALUE_NUMBER, "scale: must be above 0"},
    {"{\"type\":\"weibull\",\"shape\":0.001,\"scale\":1}", VALUE_NUMBER, "shape: must be at least 0.01"},
    {"{\"type\":\"ou\",\"reversion\":1,\"volatility\":1}", VALUE_NUMBER, "mean: missing"},
    {"{\"type\":\"ou\",\"mean\":1,\"reversion\":0,\"volatility\":1}", VALUE_NUMBER, "reversion: must be above 0"},
    {"{\"type\":\"ou\",\"mean\":1,\"reversion\":1,\"volatility\":-1}", VALUE_NUMBER, "volatility: must be at least 0"},
    {"{\"type\":\"ou\",\"mean\":9,\"reversion\":1,\"volatility\":1,\"max\":5}", VALUE_NUMBER, "mean: must lie between"},
    {"{\"type\":\"ou\",\"mean\":4,\"start\":6,\"reversion\":1,\"volatility\":1,\"max\":5}", VALUE_NUMBER,
     "start: must lie between"},
    {"{\"type\":\"sine\",\"amplitude\":1}", VALUE_NUMBER, "periodMs: missing|milliseconds"},
    {"{\"type\":\"sine\",\"amplitude\":1,\"periodMs\":0}", VALUE_NUMBER, "periodMs: must be above 0"},
    {"{\"type\":\"sine\",\"amplitude\":1,\"periodMs\":-5}", VALUE_NUMBER, "periodMs: must lie between 0 and"},
    {"{\"type\":\"sine\",\"amplitude\":1,\"periodMs\":1e300}", VALUE_NUMBER, "periodMs: must lie between 0 and"},
    {"{\"type\":\"sine\",\"periodMs\":1}", VALUE_NUMBER, "amplitude: missing"},
    {"{\"type\":\"sine\",\"amplitude\":1,\"periodMs\":1,\"phase\":2}", VALUE_NUMBER,
     "phase: must lie between 0 and 1, is 2"},
    {"{\"type\":\"sine\",\"amplitude\":1,\"periodMs\":1,\"noise\":-1}", VALUE_NUMBER, "noise: must be at least 0"},
    {"{\"type\":\"square\",\"low\":1,\"periodMs\":1}", VALUE_NUMBER, "high: missing"},
    {"{\"type\":\"square\",\"low\":1,\"high\":2,\"periodMs\":1,\"duty\":1.5}", VALUE_NUMBER,
     "duty: must lie between 0 and 1"},
    {"{\"type\":\"saw\",\"min\":1,\"periodMs\":1}", VALUE_NUMBER, "max: missing"},
    {"{\"type\":\"saw\",\"min\":1,\"max\":2,\"periodMs\":1,\"falling\":1}", VALUE_NUMBER,
     "falling: expected true or false"},
    {"{\"type\":\"triangle\",\"min\":3,\"max\":2,\"periodMs\":1}", VALUE_NUMBER, "min: must be at most max"},
    {"{\"type\":\"step\",\"values\":[1]}", VALUE_NUMBER, "holdMs: missing"},
    {"{\"type\":\"step\",\"holdMs\":5}", VALUE_NUMBER, "values: missing"},
    {"{\"type\":\"seasonal\"}", VALUE_NUMBER, "base: missing"},
    {"{\"type\":\"seasonal\",\"base\":1,\"daily\":1}", VALUE_NUMBER, "daily: expected an object|got a number"},
    {"{\"type\":\"seasonal\",\"base\":1,\"daily\":{\"peak\":1}}", VALUE_NUMBER,
     "daily: unknown key \"peak\"|amplitude, peakHour"},
    {"{\"type\":\"seasonal\",\"base\":1,\"daily\":{\"peakHour\":1}}", VALUE_NUMBER, "daily: amplitude: missing"},
    {"{\"type\":\"seasonal\",\"base\":1,\"daily\":{\"amplitude\":1,\"peakHour\":25}}", VALUE_NUMBER,
     "daily: peakHour: must lie between 0 and 24"},
    {"{\"type\":\"seasonal\",\"base\":1,\"weekly\":[1,2]}", VALUE_NUMBER,
     "weekly: expected an array of 7 factors|of another length"},
    {"{\"type\":\"seasonal\",\"base\":1,\"weekly\":[1,1,1,1,1,1,\"x\"]}", VALUE_NUMBER,
     "weekly[6]: expected a number, got a string"},
    {"{\"type\":\"seasonal\",\"base\":1,\"utcOffsetMinutes\":5000}", VALUE_NUMBER,
     "utcOffsetMinutes: must lie between"},
    {"{\"type\":\"markov\"}", VALUE_NUMBER, "states: missing"},
    {"{\"type\":\"markov\",\"states\":[1,2]}", VALUE_NUMBER, "transitions: missing"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":{}}", VALUE_NUMBER,
     "transitions: expected an array of 2 rows|an object"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[1,0]]}", VALUE_NUMBER,
     "transitions: expected an array of 2 rows"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[1,0],[1]]}", VALUE_NUMBER,
     "transitions[1]: expected one number a value, 2, got 1"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[1,0],3]}", VALUE_NUMBER,
     "transitions[1]: expected an array"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[0.5,0.5],[0.5,0.4]]}", VALUE_NUMBER,
     "transitions[1]: the probabilities of a row must sum up to 1, they are 0.9"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[1.5,-0.5],[0,1]]}", VALUE_NUMBER,
     "transitions[0][1]: must be at least 0"},
    {"{\"type\":\"markov\",\"states\":[1,2],\"transitions\":[[1,0],[1,0]],\"start\":2}", VALUE_NUMBER,
     "start: expected a whole number from 0 to 1, got 2"},
    {"{\"type\":\"correlated\"}", VALUE_NUMBER, "expression: expected a text|got nothing"},
    {"{\"type\":\"correlated\",\"expression\":\"1 +\"}", VALUE_NUMBER, "expression: "},
    {"{\"type\":\"correlated\",\"expression\":\"1\"}", VALUE_JSON, "type: a generator of type correlated"},
    {"{\"type\":\"object\"}", VALUE_JSON, "properties: expected an object|got nothing"},
    {"{\"type\":\"object\",\"properties\":{}}", VALUE_JSON, "properties: |an empty one"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"walk\"}}}", VALUE_JSON, "properties.a: step: missing"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"constant\"}}}", VALUE_NUMBER,
     "type: a generator of type object is for an attribute of type object or array"},
    {"{\"type\":\"array\",\"length\":1}", VALUE_JSON, "items: missing"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"constant\"}}", VALUE_JSON, "length: "},
    {"{\"type\":\"array\",\"items\":{\"type\":\"constant\"},\"length\":1,\"maxLength\":2}", VALUE_JSON, "length: "},
    {"{\"type\":\"array\",\"items\":{\"type\":\"constant\"},\"length\":1.5}", VALUE_JSON,
     "length: expected a whole number|got 1.5"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"constant\"},\"minLength\":3,\"maxLength\":2}", VALUE_JSON,
     "minLength: must be at most maxLength (2), is 3"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"nothing\"},\"length\":1}", VALUE_JSON,
     "items: type: unknown generator"},
    {"{\"type\":\"array\",\"items\":[],\"length\":1}", VALUE_JSON, "items: expected an object"},
    {"{\"type\":\"constant\",\"anomalies\":{}}", VALUE_NUMBER, "anomalies: expected an array, got an object"},
    {"{\"type\":\"constant\",\"anomalies\":[1]}", VALUE_NUMBER, "anomalies[0]: expected an object|got a number"},
    {"{\"type\":\"constant\",\"anomalies\":[{}]}", VALUE_NUMBER, "anomalies[0]: type: missing; valid: spike, drift"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"spik\"}]}", VALUE_NUMBER,
     "anomalies[0]: type: unknown \"spik\"|did you mean \"spike\"?"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"stuck\",\"prob\":1}]}", VALUE_NUMBER,
     "anomalies[0]: unknown key \"prob\""},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"stuck\"}]}", VALUE_NUMBER,
     "probability: missing; say when the stuck comes"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"stuck\",\"atMs\":1,\"everyMs\":1}]}", VALUE_NUMBER,
     "give one of probability, atMs and everyMs"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"stuck\",\"everyMs\":0}]}", VALUE_NUMBER,
     "everyMs: must be above 0"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"stuck\",\"probability\":2}]}", VALUE_NUMBER,
     "probability: must lie between 0 and 1"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"spike\",\"atMs\":1}]}", VALUE_NUMBER, "magnitude: missing"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"spike\",\"atMs\":1,\"magnitude\":1,\"stddev\":1}]}",
     VALUE_NUMBER, "stddev: an anomaly of type spike has none"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"noise\",\"stddev\":-1,\"atMs\":1}]}", VALUE_NUMBER,
     "stddev: must be at least 0"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"drift\",\"perSecond\":1,\"everyMs\":1}]}", VALUE_NUMBER,
     "durationMs: missing; only a drift with atMs"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"dropout\",\"atMs\":1,\"relative\":true}]}", VALUE_NUMBER,
     "relative: only"},
    {"{\"type\":\"constant\",\"anomalies\":[{\"type\":\"drift\",\"perSecond\":1,\"atMs\":1}]}", VALUE_STRING,
     "drift changes numbers|valid here: stuck, dropout"},
    {"{\"type\":\"random\",\"anomalies\":[{\"type\":\"noise\",\"stddev\":1,\"atMs\":1}]}", VALUE_BOOLEAN,
     "noise changes numbers"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"constant\"}},\"anomalies\":[{\"type\":\"stuck\",\"atMs\":"
     "1}]}",
     VALUE_JSON, "anomalies[0]: type: a text that is made anew|member"},
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
        struct gen_spec *spec = try_parse(bad[i].text, bad[i].type, &err);
        if (spec)
            fail_msg("taken: %s", bad[i].text);
        expect_says(bad[i].text, &err, bad[i].says);
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(try_parse(bad[i].text, bad[i].type, &(struct error){0}));
    }
    assert_null(gen_parse(NULL, VALUE_NUMBER, NULL, NULL)); // nobody asked why
}

static void test_caps(void **s)
{
    (void)s;
    struct error err = {0};
    json_t *values = json_array(), *g = json_pack("{s:s}", "type", "choice");
    for (unsigned i = 0; i < GEN_MAX_VALUES; i++)
        json_array_append_new(values, json_integer(i));
    json_object_set_new(g, "values", values);
    struct gen_spec *spec = gen_parse(g, VALUE_NUMBER, NULL, &err);
    assert_non_null(spec);
    gen_delete(spec);
    json_array_append_new(values, json_integer(1));
    assert_null(gen_parse(g, VALUE_NUMBER, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "values: at most 65536"));
    json_decref(g);

    char *text = malloc(GEN_MAX_TEXT + 2);
    memset(text, 'x', GEN_MAX_TEXT + 1);
    text[GEN_MAX_TEXT + 1] = '\0';
    error_clear(&err);
    g = json_pack("{s:s,s:[s]}", "type", "choice", "values", text);
    assert_null(gen_parse(g, VALUE_STRING, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_decref(g);
    text[GEN_MAX_TEXT] = '\0';
    g = json_pack("{s:s,s:[s]}", "type", "choice", "values", text);
    spec = gen_parse(g, VALUE_STRING, NULL, &err);
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
        cmocka_unit_test(test_directions),
        cmocka_unit_test(test_every_name_is_parsed),
        cmocka_unit_test(test_published_generators_take_each_others_keys),
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
