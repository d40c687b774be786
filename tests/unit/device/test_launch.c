// Launch strategies against their formulas, and what the parser takes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/launch.h"

static struct launch parse(const char *text)
{
    struct error err = {0};
    struct launch l = {0};
    json_t *spec = json_parse(text, strlen(text), "test", &err);
    if (!spec || launch_parse(spec, &l, &err))
        fail_msg("%s: %s", text, err.text);
    json_decref(spec);
    return l;
}

static void refuse(const char *text, const char *part)
{
    struct error err = {0};
    struct launch l;
    json_t *spec = json_parse(text, strlen(text), "test", &err);
    assert_non_null(spec);
    assert_int_equal(launch_parse(spec, &l, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.text, part))
        fail_msg("%s: \"%s\" does not contain \"%s\"", text, err.text, part);
    json_decref(spec);
}

static void test_immediate(void **state)
{
    (void)state;
    struct launch l;
    assert_int_equal(launch_parse(NULL, &l, NULL), 0);
    assert_int_equal(l.strategy, LAUNCH_IMMEDIATE);
    assert_int_equal(launch_delay_us(&l, 1000000), 0);
    assert_int_equal(launch_total_us(&l, 1000000), 0);
    l = parse("{}");
    assert_int_equal(l.strategy, LAUNCH_IMMEDIATE);
}

static void test_linear(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"linear\",\"rate\":200}");
    assert_int_equal(launch_delay_us(&l, 0), 0);
    assert_int_equal(launch_delay_us(&l, 1), 5000);
    assert_int_equal(launch_delay_us(&l, 1000), 5000000);
    assert_int_equal(launch_total_us(&l, 1001), 5000000);
    assert_int_equal(launch_total_us(&l, 0), 0);
    l = parse("{\"rate\":3}"); // a rate alone is linear
    assert_int_equal(launch_delay_us(&l, 1), 333333);
    assert_int_equal(launch_delay_us(&l, 3000000), 1000000000000);
    l = parse("{\"strategy\":\"linear\",\"delayMs\":20}");
    assert_int_equal(launch_delay_us(&l, 7), 140000);
    l = parse("{\"strategy\":\"linear\",\"delay\":1500}");
    assert_int_equal(launch_delay_us(&l, 2), 3000);
    l = parse("{\"strategy\":\"linear\"}");
    assert_int_equal(launch_delay_us(&l, 2), 2000000);
}

static void test_batch(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"batch\",\"batchSize\":10,\"delayMs\":500}");
    assert_int_equal(launch_delay_us(&l, 9), 0);
    assert_int_equal(launch_delay_us(&l, 10), 500000);
    assert_int_equal(launch_delay_us(&l, 109), 5000000);
    l = parse("{\"strategy\":\"batch\"}");
    assert_int_equal(launch_delay_us(&l, 99), 0);
    assert_int_equal(launch_delay_us(&l, 100), 1000000);
}

// The formula of the format, summed one by one.
static void test_exponential(void **state)
{
    (void)state;
    static const double bases[] = {1, 1.01, 1.5, 2, 10};
    static const double caps[] = {500, 1000, 60000};
    for (unsigned b = 0; b < 5; b++) {
        for (unsigned c = 0; c < 3; c++) {
            struct launch l = {.strategy = LAUNCH_EXPONENTIAL,
                               .delay_us = 1000000,
                               .max_delay_us = (int64_t)(caps[c] * 1000),
                               .base = bases[b]};
            double sum = 0;
            for (uint64_t i = 0; i < 2000; i++) {
                double got = (double)launch_delay_us(&l, i);
                if (fabs(got - sum) > 1 + sum * 1e-9)
                    fail_msg("base %g cap %g place %u: %.0f, not %.0f", bases[b], caps[c], (unsigned)i, got, sum);
                sum += fmin(1000000 * pow(bases[b], (double)i), caps[c] * 1000);
            }
        }
    }
    struct launch l = parse("{\"strategy\":\"exponential\"}");
    assert_int_equal(launch_delay_us(&l, 1), 1000000);
    assert_int_equal(launch_delay_us(&l, 2), 2500000);
}

static void test_never_decreases(void **state)
{
    (void)state;
    const char *specs[] = {"{\"rate\":7.3}", "{\"strategy\":\"batch\",\"batch_size\":3,\"delay\":17}",
                           "{\"strategy\":\"exponential\",\"delay\":7,\"base\":1.0001,\"max_delay\":900}",
                           "{\"strategy\":\"exponential\",\"delay\":0}"};
    for (unsigned s = 0; s < 4; s++) {
        struct launch l = parse(specs[s]);
        int64_t last = 0;
        for (uint64_t i = 0; i < 100000; i++) {
            int64_t at = launch_delay_us(&l, i);
            assert_true(at >= last);
            last = at;
        }
        assert_true(launch_delay_us(&l, UINT64_MAX) >= last); // no overflow
        assert_true(launch_delay_us(&l, UINT64_MAX) <= INT64_MAX / 4);
    }
}

static void test_bad(void **state)
{
    (void)state;
    refuse("[]", "expected an object");
    refuse("{\"strategy\":\"liner\"}", "did you mean \"linear\"?");
    refuse("{\"strategy\":\"x\"}", "valid: immediate, linear, batch, exponential");
    refuse("{\"strategy\":7}", "expected a string");
    refuse("{\"rat\":7}", "unknown key \"rat\", did you mean \"rate\"?");
    refuse("{\"strategy\":\"linear\",\"rate\":0}", "rate must be");
    refuse("{\"strategy\":\"linear\",\"rate\":-1}", "rate must be");
    refuse("{\"strategy\":\"linear\",\"rate\":\"fast\"}", "expected a number");
    refuse("{\"strategy\":\"linear\",\"rate\":1,\"delay\":5}", "not both");
    refuse("{\"strategy\":\"batch\",\"rate\":1}", "for the strategy linear");
    refuse("{\"strategy\":\"linear\",\"delay\":1,\"delayMs\":5}", "say the same");
    refuse("{\"strategy\":\"linear\",\"delay\":-1}", "0 or more");
    refuse("{\"strategy\":\"batch\",\"batch_size\":0}", "batch_size");
    refuse("{\"strategy\":\"batch\",\"batch_size\":1.5}", "batch_size");
    refuse("{\"strategy\":\"exponential\",\"base\":0.5}", "base must be");
    refuse("{\"strategy\":\"exponential\",\"delayMs\":1e300}", "delayMs must be");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_immediate),   cmocka_unit_test(test_linear),          cmocka_unit_test(test_batch),
        cmocka_unit_test(test_exponential), cmocka_unit_test(test_never_decreases), cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
