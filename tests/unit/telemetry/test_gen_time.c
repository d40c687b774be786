// Functions of the time, the mean-reverting process and chains of states: exact where they are exact, by their
// statistics where they are random.
#include "gen_helper.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define MONDAY (1769990400 * SECOND) // 2026-02-02 00:00 UTC

static double samples[SAMPLES];

static double at(const char *text, int64_t time_us)
{
    struct run r = run_new(text, VALUE_NUMBER, 1);
    double x = run_at(&r, time_us);
    gen_delete(r.spec);
    return x;
}

static void test_sine(void **s)
{
    (void)s;
    static const char text[] = "{\"type\":\"sine\",\"mean\":20,\"amplitude\":5,\"periodMs\":4000}";
    near(at(text, 0), 20, 1e-9);
    near(at(text, SECOND), 25, 1e-9);
    near(at(text, SECOND / 3), 20 + 5 * sin(M_PI / 6), 1e-5);
    near(at(text, 2 * SECOND), 20, 1e-9);
    near(at(text, 3 * SECOND), 15, 1e-9);
    near(at(text, INT64_C(4000000000001) * SECOND), 25, 1e-9); // 126,000 years do not blur it
    near(at(text, -SECOND), 15, 1e-9);
    near(at("{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":4000,\"phase\":0.25}", 0), 5, 1e-9);
    near(at("{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":4000,\"phase\":1}", SECOND), 5, 1e-9);
    near(at("{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":4000,\"max\":3}", SECOND), 3, 0);
    near(at("{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":4000,\"min\":-3}", 3 * SECOND), -3, 0);
    near(at("{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":0.5}", 125), 5, 1e-9); // half a millisecond
}

static void test_sine_noise(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"sine\",\"mean\":1,\"amplitude\":5,\"periodMs\":60000,\"noise\":0.5}",
                           VALUE_NUMBER, 20260131);
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (run_at(&r, i * SECOND) - 1 - 5 * sin(2 * M_PI * (i % 60) / 60.0)) / 0.5;
    near(moment_of(samples, SAMPLES, 1, 0), 0, 0.01);
    near(moment_of(samples, SAMPLES, 2, 0), 1, 0.02);
    assert_true(kolmogorov_of(samples, SAMPLES, cdf_standard_normal) < KS_LIMIT);
    gen_delete(r.spec);
}

static void test_square_saw_triangle_step(void **s)
{
    (void)s;
    static const char square[] = "{\"type\":\"square\",\"low\":1,\"high\":3,\"periodMs\":1000,\"duty\":0.25}";
    near(at(square, 0), 3, 0);
    near(at(square, SECOND / 4 - 1), 3, 0);
    near(at(square, SECOND / 4), 1, 0);
    near(at(square, SECOND - 1), 1, 0);
    near(at(square, SECOND), 3, 0);
    near(at("{\"type\":\"square\",\"low\":1,\"high\":3,\"periodMs\":1000,\"phase\":0.5}", 0), 1, 0);
    near(at("{\"type\":\"square\",\"low\":1,\"high\":3,\"periodMs\":1000,\"duty\":0}", 0), 1, 0);
    near(at("{\"type\":\"square\",\"low\":1,\"high\":3,\"periodMs\":1000,\"duty\":1}", SECOND - 1), 3, 0);
    static const char saw[] = "{\"type\":\"saw\",\"min\":10,\"max\":20,\"periodMs\":1000}";
    near(at(saw, 0), 10, 0);
    near(at(saw, SECOND / 2), 15, 1e-9);
    near(at(saw, SECOND - 1), 20, 1e-4);
    near(at(saw, SECOND), 10, 0);
    near(at("{\"type\":\"saw\",\"min\":10,\"max\":20,\"periodMs\":1000,\"falling\":true}", SECOND / 4), 17.5, 1e-9);
    near(at("{\"type\":\"saw\",\"min\":10,\"max\":20,\"periodMs\":1000,\"phase\":0.75}", SECOND / 2), 12.5, 1e-9);
    static const char triangle[] = "{\"type\":\"triangle\",\"min\":10,\"max\":20,\"periodMs\":1000}";
    near(at(triangle, 0), 10, 0);
    near(at(triangle, SECOND / 4), 15, 1e-9);
    near(at(triangle, SECOND / 2), 20, 1e-9);
    near(at(triangle, SECOND * 3 / 4), 15, 1e-9);
    static const char step[] = "{\"type\":\"step\",\"values\":[5,6,7],\"holdMs\":100}";
    static const int wanted[] = {5, 6, 7, 5};
    for (int i = 0; i < 4; i++) {
        near(at(step, i * SECOND / 10), wanted[i], 0);
        near(at(step, (i + 1) * SECOND / 10 - 1), wanted[i], 0);
    }
    near(at(step, -1), 7, 0);
    struct run r = run_new("{\"type\":\"step\",\"values\":[\"on\",null],\"holdMs\":100}", VALUE_STRING, 1);
    expect_text(run_next(&r), VALUE_STRING, "on");
    r.context.time_us = SECOND / 10;
    assert_int_equal(run_next(&r).type, VALUE_NULL);
    gen_delete(r.spec);
}

static double season(const char *text, int64_t wall_us)
{
    struct run r = run_new(text, VALUE_NUMBER, 1);
    r.context.wall_us = wall_us;
    double x = run_number(&r);
    gen_delete(r.spec);
    return x;
}

static void test_seasonal(void **s)
{
    (void)s;
    static const char daily[] = "{\"type\":\"seasonal\",\"base\":10,\"daily\":{\"amplitude\":4,\"peakHour\":14}}";
    near(season(daily, MONDAY + 14 * HOUR), 14, 1e-9);
    near(season(daily, MONDAY + 2 * HOUR), 6, 1e-9);
    near(season(daily, MONDAY + 20 * HOUR), 10, 1e-9);
    near(season(daily, MONDAY + 38 * HOUR), 14, 1e-9); // every day
    near(season(daily, 2 * HOUR), 6, 1e-9);
    near(season(daily, -10 * HOUR), 14, 1e-9); // 1969
    near(season("{\"type\":\"seasonal\",\"base\":10,\"daily\":{\"amplitude\":4}}", MONDAY + 12 * HOUR), 14, 1e-9);
    static const char offset[] =
        "{\"type\":\"seasonal\",\"base\":10,\"daily\":{\"amplitude\":4,\"peakHour\":14},\"utcOffsetMinutes\":90}";
    near(season(offset, MONDAY + 12 * HOUR + HOUR / 2), 14, 1e-9);
    static const char weekly[] = "{\"type\":\"seasonal\",\"base\":10,\"weekly\":[1,2,3,4,5,6,7]}";
    for (int day = 0; day < 14; day++) {
        near(season(weekly, MONDAY + day * 24 * HOUR), 10 * (day % 7 + 1), 1e-9);
        near(season(weekly, MONDAY + (day + 1) * 24 * HOUR - 1), 10 * (day % 7 + 1), 1e-9);
    }
    near(season(weekly, 0), 40, 1e-9); // 1970-01-01 was a Thursday
    // Both: the factor is of the whole, and the day begins where the device is.
    near(season("{\"type\":\"seasonal\",\"base\":10,\"daily\":{\"amplitude\":4,\"peakHour\":0},"
                "\"weekly\":[1,2,3,4,5,6,7],\"utcOffsetMinutes\":-60}",
                MONDAY),
         7 * (10 + 4 * cos(2 * M_PI / 24)), 1e-9);
    near(season("{\"type\":\"seasonal\",\"base\":10,\"max\":3}", MONDAY), 3, 0);
    struct run r = run_new("{\"type\":\"seasonal\",\"base\":10,\"noise\":2}", VALUE_NUMBER, 20260131);
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (run_number(&r) - 10) / 2;
    assert_true(kolmogorov_of(samples, SAMPLES, cdf_standard_normal) < KS_LIMIT);
    gen_delete(r.spec);
}

#define OU "{\"type\":\"ou\",\"mean\":10,\"reversion\":0.5,\"volatility\":2"

static void test_ou_is_stationary(void **s)
{
    (void)s;
    struct run r = run_new(OU "}", VALUE_NUMBER, 20260131);
    double correlation = 0;
    assert_true(run_at(&r, 0) == 10); // begins at the mean
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = run_at(&r, (i + 100) * SECOND / 2);
    // Values half a second apart hang together: about SAMPLES * (1 - e) / (1 + e) = 12,400 of them are independent.
    near(moment_of(samples, SAMPLES, 1, 0), 10, 4 * 2 / sqrt(12400));
    near(moment_of(samples, SAMPLES, 2, 10), 4, 0.2); // volatility² / (2 * reversion)
    for (int i = 1; i < SAMPLES; i++)
        correlation += (samples[i] - 10) * (samples[i - 1] - 10);
    near(correlation / SAMPLES / moment_of(samples, SAMPLES, 2, 10), exp(-0.25), 0.01);
    gen_delete(r.spec);
}

// What is new in every value is normal with the variance of the time that really passed, however irregular it is.
static void test_ou_is_exact_over_any_time(void **s)
{
    (void)s;
    struct run r = run_new(OU ",\"start\":30}", VALUE_NUMBER, 20260131);
    struct rng gaps;
    rng_seed(&gaps, 9);
    double last = run_at(&r, 5 * SECOND); // wherever its time begins
    assert_true(last == 30);
    for (int i = 0; i < SAMPLES; i++) {
        int64_t gap_us = 1 + (int64_t)(pow(rng_unit(&gaps), 8) * 20e6); // microseconds to twenty seconds
        double x = run_at(&r, r.context.time_us + gap_us), left = exp(-0.5 * (double)gap_us * 1e-6);
        samples[i] = (x - 10 - (last - 10) * left) / sqrt(-4 * expm1(-(double)gap_us * 1e-6));
        last = x;
    }
    near(moment_of(samples, SAMPLES, 1, 0), 0, 0.01);
    near(moment_of(samples, SAMPLES, 2, 0), 1, 0.02);
    assert_true(kolmogorov_of(samples, SAMPLES, cdf_standard_normal) < KS_LIMIT);
    gen_delete(r.spec);
}

static void test_ou_bounds_and_time(void **s)
{
    (void)s;
    struct run r = run_new(OU ",\"min\":9,\"max\":11}", VALUE_NUMBER, 3);
    int at_bound = 0;
    for (int i = 0; i < 10000; i++) {
        double x = run_at(&r, i * SECOND);
        assert_true(x >= 9 && x <= 11);
        at_bound += x <= 9 || x >= 11;
    }
    assert_true(at_bound < 3); // reflected, not stuck
    double x = run_number(&r);
    assert_true(run_number(&r) == x); // no time has passed
    assert_true(run_at(&r, 5 * SECOND) == x);
    assert_true(run_at(&r, INT64_C(1000000) * HOUR) >= 9); // 114 years
    gen_delete(r.spec);
    r = run_new("{\"type\":\"ou\",\"mean\":0,\"start\":8,\"reversion\":0.6931471805599453,\"volatility\":0}",
                VALUE_NUMBER, 1);
    near(run_at(&r, 0), 8, 0);
    near(run_at(&r, SECOND), 4, 1e-9); // half of it a second
    near(run_at(&r, 3 * SECOND), 1, 1e-9);
    gen_delete(r.spec);
}

static void test_markov(void **s)
{
    (void)s;
    static const double rows[3][3] = {{0.7, 0.25, 0.05}, {0.5, 0, 0.5}, {0.1, 0, 0.9}};
    int count[3][3] = {{0}}, visits[3] = {0};
    struct run r = run_new("{\"type\":\"markov\",\"states\":[0,1,2],\"start\":1,"
                           "\"transitions\":[[0.7,0.25,0.05],[0.5,0,0.5],[0.1,0,0.9]]}",
                           VALUE_INTEGER, 20260131);
    int64_t last = run_next(&r).integer;
    assert_int_equal(last, 1);
    for (int i = 0; i < SAMPLES; i++) {
        int64_t x = run_next(&r).integer;
        count[last][x]++;
        visits[x]++;
        last = x;
    }
    assert_int_equal(r.state.step, SAMPLES + 1);
    for (int i = 0; i < 3; i++) {
        double row[3], cells = 0;
        int seen[3], n = count[i][0] + count[i][1] + count[i][2];
        for (int k = 0; k < 3; k++) {
            if (rows[i][k] > 0)
                row[(int)cells] = rows[i][k], seen[(int)cells++] = count[i][k];
            else
                assert_int_equal(count[i][k], 0);
        }
        assert_true(chi_square(seen, row, (int)cells, n) < (cells > 2 ? 9.21 : 6.63)); // 2 and 1 degrees of freedom
    }
    // Stationary: p0 (0.3, 0.25 of it to state 1) solves p = p T: p1 = p0 / 4, 0.3 p0 = 0.5 p1 + 0.1 p2.
    double p0 = 1 / (1 + 0.25 + 1.75);
    near((double)visits[0] / SAMPLES, p0, 0.01);
    near((double)visits[1] / SAMPLES, p0 / 4, 0.005);
    near((double)visits[2] / SAMPLES, p0 * 1.75, 0.01);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"markov\",\"states\":[\"idle\",\"busy\"],\"transitions\":[[0,1],[1,0]]}", VALUE_STRING, 1);
    for (int i = 0; i < 10; i++)
        expect_text(run_next(&r), VALUE_STRING, i % 2 ? "busy" : "idle");
    gen_delete(r.spec);
}

static void test_types_of_numbers(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"saw\",\"min\":0,\"max\":10,\"periodMs\":1000}", VALUE_INTEGER, 1);
    r.context.time_us = 260000;
    struct value v = run_next(&r);
    assert_true(v.type == VALUE_INTEGER && v.integer == 3);
    gen_delete(r.spec);
    r = run_new("{\"type\":\"square\",\"low\":0,\"high\":1,\"periodMs\":1000}", VALUE_BOOLEAN, 1);
    v = run_next(&r);
    assert_true(v.type == VALUE_BOOLEAN && v.boolean);
    gen_delete(r.spec);
    r = run_new(OU "}", VALUE_STRING, 1);
    v = run_next(&r);
    assert_true(v.type == VALUE_NUMERAL && v.number == 10);
    gen_delete(r.spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sine),
        cmocka_unit_test(test_sine_noise),
        cmocka_unit_test(test_square_saw_triangle_step),
        cmocka_unit_test(test_seasonal),
        cmocka_unit_test(test_ou_is_stationary),
        cmocka_unit_test(test_ou_is_exact_over_any_time),
        cmocka_unit_test(test_ou_bounds_and_time),
        cmocka_unit_test(test_markov),
        cmocka_unit_test(test_types_of_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
