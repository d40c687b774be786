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
    assert_int_equal(launch_delay_us(&l, 1000000, 1000000), 0);
    assert_int_equal(launch_total_us(&l, 1000000), 0);
    l = parse("{}");
    assert_int_equal(l.strategy, LAUNCH_IMMEDIATE);
}

static void test_linear(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"linear\",\"rate\":200}");
    assert_int_equal(launch_delay_us(&l, 1000000, 0), 0);
    assert_int_equal(launch_delay_us(&l, 1000000, 1), 5000);
    assert_int_equal(launch_delay_us(&l, 1000000, 1000), 5000000);
    assert_int_equal(launch_total_us(&l, 1001), 5000000);
    assert_int_equal(launch_total_us(&l, 0), 0);
    l = parse("{\"rate\":3}"); // a rate alone is linear
    assert_int_equal(launch_delay_us(&l, 1000000, 1), 333333);
    assert_int_equal(launch_delay_us(&l, 1000000, 3000000), 1000000000000);
    l = parse("{\"strategy\":\"linear\",\"delayMs\":20}");
    assert_int_equal(launch_delay_us(&l, 1000000, 7), 140000);
    l = parse("{\"strategy\":\"linear\",\"delay\":1500}");
    assert_int_equal(launch_delay_us(&l, 1000000, 2), 3000);
    l = parse("{\"strategy\":\"linear\"}");
    assert_int_equal(launch_delay_us(&l, 1000000, 2), 2000000);
}

static void test_batch(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"batch\",\"batchSize\":10,\"delayMs\":500}");
    assert_int_equal(launch_delay_us(&l, 1000000, 9), 0);
    assert_int_equal(launch_delay_us(&l, 1000000, 10), 500000);
    assert_int_equal(launch_delay_us(&l, 1000000, 109), 5000000);
    l = parse("{\"strategy\":\"batch\"}");
    assert_int_equal(launch_delay_us(&l, 1000000, 99), 0);
    assert_int_equal(launch_delay_us(&l, 1000000, 100), 1000000);
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
                double got = (double)launch_delay_us(&l, 1000000, i);
                if (fabs(got - sum) > 1 + sum * 1e-9)
                    fail_msg("base %g cap %g place %u: %.0f, not %.0f", bases[b], caps[c], (unsigned)i, got, sum);
                sum += fmin(1000000 * pow(bases[b], (double)i), caps[c] * 1000);
            }
        }
    }
    struct launch l = parse("{\"strategy\":\"exponential\"}");
    assert_int_equal(launch_delay_us(&l, 1000000, 1), 1000000);
    assert_int_equal(launch_delay_us(&l, 1000000, 2), 2500000);
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
            int64_t at = launch_delay_us(&l, 1000000, i);
            assert_true(at >= last);
            last = at;
        }
        assert_true(launch_delay_us(&l, 1000000, UINT64_MAX) >= last); // no overflow
        assert_true(launch_delay_us(&l, 1000000, UINT64_MAX) <= INT64_MAX / 4);
    }
}

// All are up after `over`, and half of the time starts a quarter of them: the rate rises linearly.
static void test_ramp(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"ramp\",\"over\":10000000}");
    assert_int_equal(launch_delay_us(&l, 400, 399), 10000000);
    assert_int_equal(launch_delay_us(&l, 400, 99), 5000000);
    assert_int_equal(launch_total_us(&l, 400), 10000000);
    assert_int_equal(launch_delay_us(&l, 1, 0), 10000000);
    l = parse("{\"strategy\":\"ramp\",\"overMs\":2000}");
    assert_int_equal(launch_total_us(&l, 7), 2000000);
    int64_t last = 0, gap = 2000000;
    for (uint64_t i = 0; i < 1000; i++) {
        int64_t at = launch_delay_us(&l, 1000, i);
        assert_true(at - last <= gap + 2); // never slower
        gap = at - last;
        last = at;
    }
}

#define STAGES                                                                                                         \
    "{\"strategy\":\"stages\",\"stages\":[{\"durationMs\":1000,\"target\":100},{\"durationMs\":500,\"target\":100},"   \
    "{\"duration\":1000000,\"target\":30},{\"duration\":0,\"target\":70},{\"duration\":700000,\"target\":0}]}"

static void test_stages(void **state)
{
    (void)state;
    struct launch l = parse(STAGES);
    assert_int_equal(l.n_stages, 5);
    assert_int_equal(launch_peak(&l), 100);
    assert_int_equal(launch_total_us(&l, 100), 3200000);
    assert_int_equal(launch_up(&l, 0), 0);
    assert_int_equal(launch_up(&l, 500000), 50);
    assert_int_equal(launch_up(&l, 999999), 99);
    assert_int_equal(launch_up(&l, 1000000), 100);
    assert_int_equal(launch_up(&l, 1500000), 100);
    assert_int_equal(launch_up(&l, 2000000), 65);
    assert_int_equal(launch_up(&l, 2499999), 31);
    assert_int_equal(launch_up(&l, 2500000), 70); // a stage of no length is a step
    assert_int_equal(launch_up(&l, 3200000), 0);
    assert_int_equal(launch_up(&l, 1000000000), 0);
    assert_int_equal(launch_delay_us(&l, 100, 0), 10000);
    assert_int_equal(launch_delay_us(&l, 100, 99), 1000000);
    assert_true(launch_delay_us(&l, 100, 100) == INT64_MAX);
}

// Following the changes from one to the next gives the same numbers as asking at every moment.
static void test_stage_changes(void **state)
{
    (void)state;
    static const char *const specs[] = {STAGES,
                                        "{\"strategy\":\"stages\",\"stages\":[{\"duration\":0,\"target\":5},{"
                                        "\"duration\":333,\"target\":1},{\"duration\":"
                                        "77,\"target\":13},{\"duration\":1,\"target\":2}]}",
                                        "{\"strategy\":\"stages\",\"stages\":[{\"duration\":7,\"target\":3},{"
                                        "\"duration\":1000000,\"target\":1000000}]}"};
    for (unsigned s = 0; s < 3; s++) {
        struct launch l = parse(specs[s]);
        int64_t at = -1, end = launch_total_us(&l, 0);
        uint64_t up = 0;
        for (unsigned n = 0; n < 5000; n++) {
            int64_t next = launch_change_us(&l, up, up ? up - 1 : UINT64_MAX, at);
            if (next == INT64_MAX)
                break;
            assert_true(next > at && next <= end);
            if (next > at + 1)
                assert_int_equal(launch_up(&l, next - 1), up); // nothing happened in between
            assert_int_not_equal(launch_up(&l, next), up);
            up = launch_up(&l, next);
            at = next;
        }
        if (s < 2)
            assert_int_equal(up, launch_up(&l, end));
    }
}

// Gaps are exponential: mean and variance; two walkers over different places agree.
static void test_poisson(void **state)
{
    (void)state;
    struct launch l = parse("{\"strategy\":\"poisson\",\"rate\":50}");
    struct launch_arrivals every, some, other;
    launch_arrivals_create(&every, 7, "g", 0);
    launch_arrivals_create(&some, 7, "g", 0);
    launch_arrivals_create(&other, 8, "g", 0);
    double last = 0, sum = 0, squares = 0;
    unsigned same = 0;
    enum { N = 50000 };
    for (uint64_t i = 0; i < N; i++) {
        int64_t at = launch_arrival_us(&l, &every, i);
        double gap = (double)at - last;
        assert_true(gap >= 0);
        sum += gap;
        squares += gap * gap;
        last = (double)at;
        if (i % 3 == 1)
            assert_int_equal(launch_arrival_us(&l, &some, i), at);
        same += launch_arrival_us(&l, &other, i) == at;
    }
    double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
    assert_true(fabs(mean - 20000) < 300);
    assert_true(fabs(deviation - 20000) < 500);
    assert_int_equal(same, 0);
    assert_int_equal(launch_delay_us(&l, 100, 99), 2000000);
    assert_int_equal(launch_total_us(&l, 100), 2000000);
}

static void test_bad(void **state)
{
    (void)state;
    refuse("{\"strategy\":\"ramp\"}", "needs \"over\"");
    refuse("{\"strategy\":\"linear\",\"rate\":1,\"over\":5}", "\"over\" is for the strategy ramp");
    refuse("{\"strategy\":\"poisson\"}", "poisson needs \"rate\"");
    refuse("{\"strategy\":\"stages\"}", "needs \"stages\"");
    refuse("{\"strategy\":\"stages\",\"stages\":[]}", "needs \"stages\"");
    refuse("{\"strategy\":\"linear\",\"stages\":[]}", "for the strategy stages");
    refuse("{\"strategy\":\"stages\",\"stages\":[7]}", "stage 1: expected an object");
    refuse("{\"strategy\":\"stages\",\"stages\":[{\"target\":7}]}", "stage 1: how long it lasts is missing");
    refuse("{\"strategy\":\"stages\",\"stages\":[{\"duration\":7}]}", "stage 1: \"target\"");
    refuse("{\"strategy\":\"stages\",\"stages\":[{\"duration\":7,\"target\":1.5}]}", "stage 1: target must be");
    refuse("{\"strategy\":\"stages\",\"stages\":[{\"duration\":7,\"target\":0}]}", "no stage has a target above 0");
    refuse("{\"strategy\":\"stages\",\"stages\":[{\"duration\":7,\"taget\":1}]}", "did you mean \"target\"");
    refuse("[]", "expected an object");
    refuse("{\"strategy\":\"liner\"}", "did you mean \"linear\"?");
    refuse("{\"strategy\":\"x\"}", "valid: immediate, linear, batch, exponential");
    refuse("{\"strategy\":7}", "expected a string");
    refuse("{\"rat\":7}", "unknown key \"rat\", did you mean \"rate\"?");
    refuse("{\"strategy\":\"linear\",\"rate\":0}", "rate must be");
    refuse("{\"strategy\":\"linear\",\"rate\":-1}", "rate must be");
    refuse("{\"strategy\":\"linear\",\"rate\":\"fast\"}", "expected a number");
    refuse("{\"strategy\":\"linear\",\"rate\":1,\"delay\":5}", "not both");
    refuse("{\"strategy\":\"batch\",\"rate\":1}", "for the strategies linear and poisson");
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
        cmocka_unit_test(test_immediate),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_exponential),
        cmocka_unit_test(test_never_decreases),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_stage_changes),
        cmocka_unit_test(test_poisson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
