// Generators made of others, or by others: objects, arrays, packed samples, expressions, hooks.
#include "gen_helper.h"

static void expect(const char *text, enum value_type type, const char *wanted)
{
    struct run r = run_new(text, type, 1);
    assert_true(gen_uses_scratch(r.spec));
    expect_text(run_next(&r), VALUE_JSON, wanted);
    run_end(&r);
}

static void test_object(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"sequence\",\"step\":0.5},"
                           "\"a \\\"b\\\"\":{\"type\":\"choice\",\"values\":[\"x\\ny\"]},"
                           "\"t\":{\"type\":\"constant\",\"value\":true},\"z\":{\"type\":\"constant\"},"
                           "\"list\":{\"type\":\"constant\",\"value\":[1,{}]}}}",
                           VALUE_JSON, 1);
    assert_int_equal(gen_state_count(r.spec), 5);
    for (int i = 0; i < 3; i++) {
        static const char *const n[] = {"0", "0.5", "1"};
        char wanted[200];
        snprintf(wanted, sizeof wanted, "{\"n\":%s,\"a \\\"b\\\"\":\"x\\ny\",\"t\":true,\"z\":null,\"list\":[1,{}]}",
                 n[i]);
        expect_text(run_next(&r), VALUE_JSON, wanted);
    }
    run_end(&r);
}

static void test_array(void **s)
{
    (void)s;
    expect("{\"type\":\"array\",\"length\":0,\"items\":{\"type\":\"constant\",\"value\":1}}", VALUE_JSON, "[]");
    expect("{\"type\":\"array\",\"length\":3,\"items\":{\"type\":\"constant\",\"value\":\"a\"}}", VALUE_NULL,
           "[\"a\",\"a\",\"a\"]");
    expect("{\"type\":\"array\",\"length\":2,\"items\":{\"type\":\"object\",\"properties\":{\"p\":{\"type\":\"array\","
           "\"length\":1,\"items\":{\"type\":\"constant\",\"value\":0.25}}}}}",
           VALUE_JSON, "[{\"p\":[0.25]},{\"p\":[0.25]}]");
    // Every element has a state of its own: three counters, not one that counts three times as fast.
    struct run r = run_new("{\"type\":\"array\",\"length\":3,\"items\":{\"type\":\"sequence\"}}", VALUE_JSON, 1);
    assert_int_equal(gen_state_count(r.spec), 3);
    expect_text(run_next(&r), VALUE_JSON, "[0,0,0]");
    expect_text(run_next(&r), VALUE_JSON, "[1,1,1]");
    run_end(&r);
    // What keeps nothing needs one for all; with an anomaly it does keep something.
    r = run_new("{\"type\":\"array\",\"length\":60000,\"items\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}",
                VALUE_JSON, 1);
    assert_int_equal(gen_state_count(r.spec), 1);
    run_end(&r);
    r = run_new("{\"type\":\"array\",\"length\":4,\"items\":{\"type\":\"uniform\",\"min\":0,\"max\":1,"
                "\"anomalies\":[{\"type\":\"stuck\",\"atMs\":5}]}}",
                VALUE_JSON, 1);
    assert_int_equal(gen_state_count(r.spec), 12);
    run_end(&r);
}

static void test_array_length(void **s)
{
    (void)s;
    enum { N = 20000 };
    int count[4] = {0};
    static const double fair[4] = {0.25, 0.25, 0.25, 0.25};
    struct run r = run_new(
        "{\"type\":\"array\",\"minLength\":2,\"maxLength\":5,\"items\":{\"type\":\"walk\",\"step\":1}}", VALUE_JSON, 5);
    assert_int_equal(gen_state_count(r.spec), 5);
    for (int i = 0; i < N; i++) {
        struct value v = run_next(&r);
        unsigned n = 1;
        for (size_t k = 0; k < v.str.n; k++)
            n += v.str.s[k] == ',';
        assert_in_range(n, 2, 5);
        count[n - 2]++;
    }
    assert_true(chi_square(count, fair, 4, N) < chi_limit(3));
    run_end(&r);
    expect("{\"type\":\"array\",\"maxLength\":0,\"items\":{\"type\":\"constant\"}}", VALUE_JSON, "[]");
}

// At the scratch's cap, and without one, the value is null; never half a text.
static void test_scratch_cap(void **s)
{
    (void)s;
    static const char text[] =
        "{\"type\":\"array\",\"length\":10,\"items\":{\"type\":\"constant\",\"value\":\"0123456789\"}}";
    struct run r = run_new(text, VALUE_JSON, 1);
    unsigned nulls = 0, full = 0;
    struct value v;
    gen_next(r.spec, r.states, &r.rng, &r.context, &v);
    assert_int_equal(v.type, VALUE_NULL);
    for (size_t cap = 0; cap < 1200; cap += 8) {
        struct scratch small;
        scratch_create(&small, cap);
        r.context.scratch = &small;
        gen_next(r.spec, r.states, &r.rng, &r.context, &v);
        if (v.type == VALUE_JSON)
            full += v.str.n == 131;
        else
            nulls++;
        scratch_destroy(&small);
    }
    assert_true(nulls > 50 && full == 150 - nulls);
    run_end(&r);
}

static void test_caps(void **s)
{
    (void)s;
    struct error err;
    char text[2000] = "", *at = text;
    assert_null(try_parse("{\"type\":\"array\",\"length\":5000,\"items\":{\"type\":\"sequence\"}}", VALUE_JSON, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    expect_says("states", &err, "length: more than 4096 states");
    assert_null(try_parse(
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"length\":4000,\"items\":"
        "{\"type\":\"sequence\"}},\"b\":{\"type\":\"array\",\"length\":97,\"items\":{\"type\":\"sequence\"}}}}",
        VALUE_JSON, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    for (unsigned i = 0; i < GEN_MAX_DEPTH + 1; i++)
        at += snprintf(at, 60, "{\"type\":\"array\",\"length\":1,\"items\":");
    at += snprintf(at, 60, "{\"type\":\"constant\"}");
    for (unsigned i = 0; i < GEN_MAX_DEPTH + 1; i++)
        *at++ = '}';
    *at = '\0';
    assert_null(try_parse(text, VALUE_JSON, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    expect_says("depth", &err, "items: |nested deeper than 8");
    json_t *list = json_array(), *g = json_pack("{s:s,s:o}", "type", "constant", "anomalies", list);
    for (unsigned i = 0; i <= GEN_MAX_ANOMALIES; i++)
        json_array_append_new(list, json_pack("{s:s,s:i}", "type", "dropout", "atMs", 1));
    assert_null(gen_parse(g, VALUE_NUMBER, NULL, &err));
    expect_says("anomalies", &err, "anomalies: at most 16, there are 17");
    json_decref(g);
    list = json_array();
    g = json_pack("{s:s,s:o,s:[]}", "type", "markov", "states", list, "transitions");
    for (unsigned i = 0; i <= GEN_MAX_MARKOV; i++)
        json_array_append_new(list, json_integer(i));
    assert_null(gen_parse(g, VALUE_NUMBER, NULL, &err));
    expect_says("markov", &err, "states: at most 256, there are 257");
    json_decref(g);
}

static struct gen_spec *parse_samples(const char *text, const struct gen_samples *samples, struct error *err)
{
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(object);
    error_clear(err);
    struct gen_spec *spec = gen_parse_samples(object, samples, NULL, err);
    json_decref(object);
    return spec;
}

static void expect_samples(const char *text, struct gen_samples samples, const char *bytes)
{
    struct error err;
    struct run r = run_of(parse_samples(text, &samples, &err), 1);
    struct value v = run_next(&r);
    assert_int_equal(v.type, VALUE_BINARY);
    assert_int_equal(v.str.n, samples.count * samples.bits / 8);
    assert_memory_equal(v.str.s, bytes, v.str.n);
    run_end(&r);
}

static void test_samples(void **s)
{
    (void)s;
    static const char count[] = "{\"type\":\"sequence\",\"start\":254,\"step\":1}";
    expect_samples(count, (struct gen_samples){.count = 4, .bits = 8}, "\xfe\xff\xff\xff"); // clamped
    expect_samples(count, (struct gen_samples){.count = 3, .bits = 16}, "\xfe\x00\xff\x00\x00\x01");
    expect_samples(count, (struct gen_samples){.count = 3, .bits = 16, .big_endian = true}, "\x00\xfe\x00\xff\x01\x00");
    expect_samples(count, (struct gen_samples){.count = 1, .bits = 32, .big_endian = true}, "\x00\x00\x00\xfe");
    static const char down[] = "{\"type\":\"sequence\",\"start\":1,\"step\":-1.5}"; // 1, -0.5, -2
    expect_samples(down, (struct gen_samples){.count = 3, .bits = 8}, "\x01\x00\x00");
    expect_samples(down, (struct gen_samples){.count = 3, .bits = 8, .signed_samples = true}, "\x01\x00\xfe");
    expect_samples(down, (struct gen_samples){.count = 3, .bits = 16, .signed_samples = true},
                   "\x01\x00\x00\x00\xfe\xff");
    static const char far[] = "{\"type\":\"sequence\",\"values\":[1e300,-1e300]}";
    expect_samples(far, (struct gen_samples){.count = 2, .bits = 8}, "\xff\x00");
    expect_samples(far, (struct gen_samples){.count = 2, .bits = 8, .signed_samples = true}, "\x7f\x80");
    expect_samples(far, (struct gen_samples){.count = 2, .bits = 16, .signed_samples = true}, "\xff\x7f\x00\x80");
    expect_samples(far, (struct gen_samples){.count = 2, .bits = 32}, "\xff\xff\xff\xff\x00\x00\x00\x00");
    expect_samples(far, (struct gen_samples){.count = 2, .bits = 32, .signed_samples = true, .big_endian = true},
                   "\x7f\xff\xff\xff\x80\x00\x00\x00");
    expect_samples("{\"type\":\"constant\",\"value\":2.5}", (struct gen_samples){.count = 2, .bits = 8}, "\x02\x02");
    expect_samples("{\"type\":\"choice\",\"values\":[null]}", (struct gen_samples){.count = 2, .bits = 8}, "\x00\x00");
    // Samples lie within the interval, not all at the message's time.
    expect_samples("{\"type\":\"step\",\"values\":[1,2,3,4],\"holdMs\":250}",
                   (struct gen_samples){.count = 4, .bits = 8, .interval_us = 1000000}, "\x01\x02\x03\x04");
    expect_samples("{\"type\":\"step\",\"values\":[1,2,3,4],\"holdMs\":250}",
                   (struct gen_samples){.count = 4, .bits = 8}, "\x01\x01\x01\x01");
    expect_samples("{\"type\":\"constant\",\"value\":9,\"anomalies\":[{\"type\":\"dropout\",\"atMs\":500}]}",
                   (struct gen_samples){.count = 4, .bits = 8, .interval_us = 1000000}, "\x09\x09\x00\x09");
}

static void test_samples_that_are_bytes(void **s)
{
    (void)s;
    struct error err;
    struct gen_samples two = {.count = 2, .bits = 8};
    struct run r = run_of(parse_samples("{\"type\":\"constant\",\"value\":\"abc\"}", &two, &err), 1);
    expect_text(run_next(&r), VALUE_BINARY, "abc");
    run_end(&r);
    assert_null(parse_samples("{\"type\":\"choice\",\"values\":[\"a\"]}", &two, &err));
    expect_says("choice", &err, "values[0]: expected a number");
    assert_null(parse_samples("{\"type\":\"constant\",\"value\":[]}", &two, &err));
    assert_null(parse_samples("7", &two, &err));
    assert_null(parse_samples("{\"type\":\"custom\",\"handler\":\"h\"}", &two, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_null(parse_samples("{\"type\":\"replay\",\"dataFile\":\"x.csv\"}", &two, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_null(parse_samples("{\"type\":\"replay\",\"dataFile\":\"x.csv\",\"period\":1}", &two, &err));
    expect_says("replay", &err, "unknown key \"period\"");
    assert_null(parse_samples("{\"type\":\"walk\",\"step\":1}", &(struct gen_samples){.count = 2, .bits = 12}, &err));
    expect_says("bits", &err, "sampleSize: expected 8, 16 or 32, got 12");
    assert_null(parse_samples("{\"type\":\"walk\",\"step\":1}", &(struct gen_samples){.count = 0, .bits = 8}, &err));
    expect_says("count", &err, "samples: expected a whole number from 1 to 65536, got 0");
    assert_null(
        parse_samples("{\"type\":\"walk\",\"step\":1}", &(struct gen_samples){.count = 65537, .bits = 8}, &err));
    r = run_of(parse_samples("{\"type\":\"walk\",\"step\":1}", &(struct gen_samples){.count = 65536, .bits = 32}, &err),
               1);
    assert_int_equal(gen_state_count(r.spec), 1);
    assert_int_equal(run_next(&r).str.n, 262144);
    run_end(&r);
}

static void test_correlated(void **s)
{
    (void)s;
    static const char *const names[] = {"t", "mode"};
    struct gen_env env = {.names = names, .n_names = 2};
    struct value values[2] = {{.type = VALUE_NUMBER, .number = 20}, {.type = VALUE_STRING, .str = {"eco", 3}}};
    struct error err;
    struct gen_spec *spec =
        try_parse_env("{\"type\":\"correlated\",\"expression\":\"t * 2 + 1\"}", VALUE_NUMBER, &env, &err);
    struct run r = run_of(spec, 1);
    assert_true(gen_uses_values(spec) && !gen_uses_scratch(spec) && !gen_uses_hook(spec));
    assert_int_equal(run_next(&r).type, VALUE_NULL); // nobody gave values
    r.context.values = values;
    near(run_number(&r), 41, 0);
    values[0].type = VALUE_NULL;
    assert_int_equal(run_next(&r).type, VALUE_NULL); // there is none yet
    values[0].type = VALUE_NUMBER;
    run_end(&r);
    r = run_of(try_parse_env("{\"type\":\"correlated\",\"expression\":\"t\",\"max\":19.6}", VALUE_INTEGER, &env, &err),
               1);
    r.context.values = values;
    assert_int_equal(run_next(&r).integer, 19);
    run_end(&r);
    r = run_of(try_parse_env("{\"type\":\"correlated\",\"expression\":\"mode\"}", VALUE_STRING, &env, &err), 1);
    r.context.values = values;
    expect_text(run_next(&r), VALUE_STRING, "eco");
    run_end(&r);
    r = run_of(try_parse_env("{\"type\":\"correlated\",\"expression\":\"mode\"}", VALUE_NUMBER, &env, &err), 1);
    r.context.values = values;
    assert_int_equal(run_next(&r).type, VALUE_NULL); // a text is no number
    run_end(&r);
    r = run_of(try_parse_env("{\"type\":\"correlated\",\"expression\":\"t > 19\"}", VALUE_BOOLEAN, &env, &err), 1);
    r.context.values = values;
    struct value v = run_next(&r);
    assert_true(v.type == VALUE_BOOLEAN && v.boolean);
    run_end(&r);
    assert_null(try_parse_env("{\"type\":\"correlated\",\"expression\":\"tt\"}", VALUE_NUMBER, &env, &err));
    expect_says("unknown name", &err, "expression: |tt");
}

static void test_correlated_noise(void **s)
{
    (void)s;
    static const char *const names[] = {"t"};
    static double samples[SAMPLES];
    struct gen_env env = {.names = names, .n_names = 1};
    struct value value = {.type = VALUE_INTEGER, .integer = 20};
    struct error err;
    struct run r = run_of(
        try_parse_env("{\"type\":\"correlated\",\"expression\":\"t / 2\",\"noise\":3}", VALUE_NUMBER, &env, &err),
        20260131);
    r.context.values = &value;
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (run_number(&r) - 10) / 3;
    near(moment_of(samples, SAMPLES, 2, 0), 1, 0.02);
    assert_true(kolmogorov_of(samples, SAMPLES, cdf_standard_normal) < KS_LIMIT);
    run_end(&r);
}

// A hook that gives what params.give names.
static int hook(void *arg, int number, const json_t *params, const struct gen_context *context, struct value *out)
{
    const char *give = json_string_value(json_object_get(params, "give"));
    assert_ptr_equal(arg, &hook);
    assert_int_equal(number, 7);
    assert_int_equal(context->index, 1);
    if (!give)
        return -1;
    *out = strcmp(give, "number") == 0    ? (struct value){.type = VALUE_NUMBER, .number = 2.5}
           : strcmp(give, "integer") == 0 ? (struct value){.type = VALUE_INTEGER, .integer = INT64_MAX}
           : strcmp(give, "true") == 0    ? (struct value){.type = VALUE_BOOLEAN, .boolean = true}
           : strcmp(give, "false") == 0   ? (struct value){.type = VALUE_BOOLEAN, .boolean = false}
           : strcmp(give, "json") == 0    ? (struct value){.type = VALUE_JSON, .str = {"[1]", 3}}
                                          : (struct value){.type = VALUE_STRING, .str = {"abc", 3}};
    return 0;
}

static int find_hook(void *arg, const char *handler, struct error *err)
{
    assert_ptr_equal(arg, &find_hook);
    return strcmp(handler, "mine") == 0 ? 7
                                        : error_set(err, ERR_INVALID, "no function \"%s\"; there is: mine", handler);
}

static struct value hooked(const char *give, enum value_type type, const struct gen_samples *samples)
{
    struct gen_env env = {.find_hook = find_hook, .find_hook_arg = &find_hook};
    struct error err;
    json_t *g = json_pack("{s:s,s:s,s:{s:s*}}", "type", "custom", "handler", "mine", "params", "give", give);
    struct gen_spec *spec = samples ? gen_parse_samples(g, samples, &env, &err) : gen_parse(g, type, &env, &err);
    json_decref(g);
    struct run r = run_of(spec, 1);
    assert_true(gen_uses_hook(spec) && gen_uses_scratch(spec));
    r.context.hook = hook;
    r.context.hook_arg = &hook;
    struct value v = run_next(&r);
    run_end(&r);
    return v;
}

static void test_custom(void **s)
{
    (void)s;
    static const struct {
        enum value_type type;
        const char *give;
        enum value_type got;
        double number;
    } cases[] = {
        {VALUE_NUMBER, "number", VALUE_NUMBER, 2.5}, {VALUE_NUMBER, "true", VALUE_NUMBER, 1},
        {VALUE_NUMBER, "text", VALUE_NULL, 0},       {VALUE_NUMBER, NULL, VALUE_NULL, 0},
        {VALUE_NUMBER, "json", VALUE_NULL, 0},       {VALUE_STRING, "number", VALUE_NUMERAL, 2.5},
        {VALUE_NULL, "number", VALUE_NUMBER, 2.5},   {VALUE_NULL, NULL, VALUE_NULL, 0},
        {VALUE_JSON, "number", VALUE_NULL, 0},       {VALUE_BINARY, "number", VALUE_NULL, 0},
        {VALUE_BOOLEAN, "text", VALUE_NULL, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value v = hooked(cases[i].give, cases[i].type, NULL);
        assert_int_equal(v.type, cases[i].got);
        if (v.type == VALUE_NUMBER || v.type == VALUE_NUMERAL)
            near(v.number, cases[i].number, 0);
    }
    assert_int_equal(hooked("number", VALUE_INTEGER, NULL).integer, 2);
    assert_true(hooked("integer", VALUE_INTEGER, NULL).integer == INT64_MAX); // exact
    struct value v = hooked("number", VALUE_BOOLEAN, NULL);
    assert_true(v.type == VALUE_BOOLEAN && v.boolean);
    expect_text(hooked("true", VALUE_STRING, NULL), VALUE_STRING, "true");
    expect_text(hooked("false", VALUE_STRING, NULL), VALUE_STRING, "false");
    expect_text(hooked("text", VALUE_STRING, NULL), VALUE_STRING, "abc");
    expect_text(hooked("json", VALUE_JSON, NULL), VALUE_JSON, "[1]");
    expect_text(hooked("text", VALUE_BINARY, NULL), VALUE_BINARY, "abc");
    expect_text(hooked("text", VALUE_NULL, &(struct gen_samples){.count = 9, .bits = 8}), VALUE_BINARY, "abc");
    struct gen_env env = {.find_hook = find_hook, .find_hook_arg = &find_hook};
    struct error err;
    assert_null(try_parse_env("{\"type\":\"custom\",\"handler\":\"other\"}", VALUE_NUMBER, &env, &err));
    expect_says("handler", &err, "handler: no function \"other\"; there is: mine");
    assert_null(try_parse("{\"type\":\"custom\",\"handler\":\"mine\"}", VALUE_NUMBER, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    struct run r = run_of(try_parse_env("{\"type\":\"custom\",\"handler\":\"mine\"}", VALUE_NUMBER, &env, &err), 1);
    assert_int_equal(run_next(&r).type, VALUE_NULL); // nobody runs hooks
    run_end(&r);
}

static void test_members_tell_what_the_whole_needs(void **s)
{
    (void)s;
    struct gen_env env = {.find_hook = find_hook, .find_hook_arg = &find_hook};
    struct error err;
    struct gen_spec *spec = try_parse_env(
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"length\":2,\"items\":"
        "{\"type\":\"custom\",\"handler\":\"mine\"}},\"b\":{\"type\":\"correlated\",\"expression\":\"1\"}}}",
        VALUE_JSON, &env, &err);
    assert_non_null(spec);
    assert_true(gen_uses_hook(spec) && gen_uses_values(spec) && gen_uses_scratch(spec));
    gen_delete(spec);
    spec = parse_ok("{\"type\":\"walk\",\"step\":1}", VALUE_NUMBER);
    assert_true(!gen_uses_hook(spec) && !gen_uses_values(spec) && !gen_uses_scratch(spec));
    assert_int_equal(gen_state_count(spec), 1);
    gen_delete(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_array_length),
        cmocka_unit_test(test_scratch_cap),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_samples_that_are_bytes),
        cmocka_unit_test(test_correlated),
        cmocka_unit_test(test_correlated_noise),
        cmocka_unit_test(test_custom),
        cmocka_unit_test(test_members_tell_what_the_whole_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
