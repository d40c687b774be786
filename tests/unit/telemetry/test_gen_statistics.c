// The distributions, at a fixed seed: moments, and Kolmogorov-Smirnov against the distribution function.
#include "gen_helper.h"

static double samples[SAMPLES];

static void draw(const char *text)
{
    struct run r = run_new(text, VALUE_NUMBER, 20260131);
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = run_number(&r);
    assert_int_equal(r.state.step, SAMPLES);
    gen_delete(r.spec);
}

static double moment(int k, double about)
{
    return moment_of(samples, SAMPLES, k, about);
}

static double kolmogorov(double (*cdf)(double))
{
    return kolmogorov_of(samples, SAMPLES, cdf);
}

static double cdf_uniform(double x)
{
    return (x + 5) / 15;
}
static double cdf_normal(double x)
{
    return 0.5 * erfc(-(x - 45) / 8 / sqrt(2));
}
static double cdf_exponential(double x)
{
    return 1 - exp(-4 * (x - 2));
}
static double cdf_exponential_mean(double x)
{
    return 1 - exp(-x / 3);
}
static double cdf_step(double x)
{
    return (x + 0.5) / 1.0;
}

static double cdf_lognormal(double x)
{
    return cdf_standard_normal((log(x) - 1) / 0.5);
}
static double cdf_lognormal_mean(double x) // mean 20, stddev 5
{
    double variance = log(1 + 1.0 / 16);
    return cdf_standard_normal((log(x) - (log(20) - variance / 2)) / sqrt(variance));
}
static double cdf_weibull(double x)
{
    return 1 - exp(-pow((x - 2) / 10, 1.5));
}
static double cdf_weibull_steep(double x)
{
    return 1 - exp(-sqrt(x / 3));
}

static void test_uniform(void **s)
{
    (void)s;
    draw("{\"type\":\"uniform\",\"min\":-5,\"max\":10}");
    near(moment(1, 0), 2.5, 0.04);
    near(moment(2, 2.5), 225.0 / 12, 0.15);
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= -5 && samples[i] <= 10);
    assert_true(kolmogorov(cdf_uniform) < KS_LIMIT);
}

static void test_normal(void **s)
{
    (void)s;
    draw("{\"type\":\"normal\",\"mean\":45,\"stddev\":8}");
    near(moment(1, 0), 45, 0.08);
    near(sqrt(moment(2, 45)), 8, 0.06);
    near(moment(3, 45) / 512, 0, 0.03);
    near(moment(4, 45) / 4096, 3, 0.1);
    assert_true(kolmogorov(cdf_normal) < KS_LIMIT);
}

static void test_normal_is_clamped(void **s)
{
    (void)s;
    draw("{\"type\":\"normal\",\"mean\":0,\"stddev\":1,\"min\":-1,\"max\":2}");
    int low = 0, high = 0;
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(samples[i] >= -1 && samples[i] <= 2);
        low += samples[i] == -1;
        high += samples[i] == 2;
    }
    near((double)low / SAMPLES, 0.15866, 0.004); // what lies beyond is gathered at the bound
    near((double)high / SAMPLES, 0.02275, 0.002);
}

static void test_exponential(void **s)
{
    (void)s;
    draw("{\"type\":\"exponential\",\"rate\":4,\"min\":2}");
    near(moment(1, 0), 2.25, 0.003);
    near(moment(2, 2.25), 1.0 / 16, 0.002);
    assert_true(kolmogorov(cdf_exponential) < KS_LIMIT);
    draw("{\"type\":\"exponential\",\"mean\":3}");
    near(moment(1, 0), 3, 0.04);
    assert_true(kolmogorov(cdf_exponential_mean) < KS_LIMIT);
    draw("{\"type\":\"exponential\",\"mean\":3,\"max\":5}");
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 0 && samples[i] <= 5);
}

static void test_lognormal(void **s)
{
    (void)s;
    draw("{\"type\":\"lognormal\",\"mu\":1,\"sigma\":0.5}");
    near(moment(1, 0), exp(1.125), 0.02);
    near(moment(2, exp(1.125)), (exp(0.25) - 1) * exp(2.25), 0.1);
    assert_true(kolmogorov(cdf_lognormal) < KS_LIMIT);
    draw("{\"type\":\"lognormal\",\"mean\":20,\"stddev\":5}"); // of the values themselves
    near(moment(1, 0), 20, 0.06);
    near(sqrt(moment(2, 20)), 5, 0.08);
    assert_true(kolmogorov(cdf_lognormal_mean) < KS_LIMIT);
    draw("{\"type\":\"lognormal\",\"mean\":20,\"stddev\":5,\"min\":15,\"max\":25}");
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 15 && samples[i] <= 25);
}

static void test_weibull(void **s)
{
    (void)s;
    draw("{\"type\":\"weibull\",\"shape\":1.5,\"scale\":10,\"min\":2}"); // min is added
    double mean = 10 * tgamma(1 + 1 / 1.5), square = 100 * tgamma(1 + 2 / 1.5);
    near(moment(1, 0), 2 + mean, 0.06);
    near(moment(2, 2 + mean), square - mean * mean, 0.6);
    assert_true(kolmogorov(cdf_weibull) < KS_LIMIT);
    draw("{\"type\":\"weibull\",\"shape\":0.5,\"scale\":3}");
    near(moment(1, 0), 6, 0.2);
    assert_true(kolmogorov(cdf_weibull_steep) < KS_LIMIT);
    draw("{\"type\":\"weibull\",\"shape\":0.5,\"scale\":3,\"max\":4}");
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 0 && samples[i] <= 4);
}

// Chi-square of a million values from low to high, each tail one cell: so many, since the rejection of the larger means
// would show a wrong constant in the fourth digit only.
static void check_poisson(const char *text, double mean, int low, int high)
{
    enum { N = 1000000 };
    int count[400] = {0}, cells = high - low + 1, sign;
    double probability[400] = {0}, inner = 0, below = 0, sum = 0, squares = 0;
    struct run r = run_new(text, VALUE_NUMBER, 20260131);
    for (int i = 0; i < N; i++) {
        double x = run_number(&r);
        assert_true(x >= 0 && floor(x) == x);
        sum += x - mean;
        squares += (x - mean) * (x - mean);
        count[(int)fmin(fmax(x, low), high) - low]++;
    }
    gen_delete(r.spec);
    near(sum / N, 0, 3 * sqrt(mean / N));
    near(squares / N / mean, 1, 0.01);
    for (int k = 0; k < high; k++) {
        double p = exp(k * log(mean) - mean - lgamma_r(k + 1, &sign));
        if (k <= low)
            below += p;
        else
            inner += probability[k - low] = p;
    }
    probability[0] = below;
    probability[cells - 1] = 1 - below - inner;
    double chi = chi_square(count, probability, cells, N);
    if (!(chi < chi_limit(cells - 1)))
        fail_msg("%s: chi-square %g over %g", text, chi, chi_limit(cells - 1));
}

static void test_poisson(void **s)
{
    (void)s;
    check_poisson("{\"type\":\"poisson\",\"mean\":0.3}", 0.3, 0, 4);
    check_poisson("{\"type\":\"poisson\",\"mean\":3.5}", 3.5, 0, 12);
    check_poisson("{\"type\":\"poisson\",\"mean\":9.99}", 9.99, 1, 23); // the last of the one method
    check_poisson("{\"type\":\"poisson\",\"mean\":10}", 10, 1, 23);     // and the first of the other
    check_poisson("{\"type\":\"poisson\",\"mean\":200}", 200, 160, 245);
    draw("{\"type\":\"poisson\",\"mean\":1000000000}");
    near(moment(1, 0), 1e9, 4 * sqrt(1e9 / SAMPLES));
    near(moment(2, 1e9) / 1e9, 1, 0.02);
    draw("{\"type\":\"poisson\",\"mean\":3,\"min\":2,\"max\":4}");
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 2 && samples[i] <= 4);
}

static void test_published_random(void **s)
{
    (void)s;
    draw("{\"type\":\"random\",\"min\":-5,\"max\":10}");
    assert_true(kolmogorov(cdf_uniform) < KS_LIMIT);
    draw("{\"type\":\"random\",\"distribution\":\"normal\",\"mean\":45,\"stddev\":8}");
    assert_true(kolmogorov(cdf_normal) < KS_LIMIT); // no bound was written, so none clamps
    draw("{\"type\":\"random\",\"distribution\":\"normal\"}");
    near(moment(1, 0), 50, 0.2);
    near(sqrt(moment(2, 50)), 100.0 / 6, 0.15);
    draw("{\"type\":\"random\"}");
    near(moment(1, 0), 50, 0.4);
    near(moment(2, 50), 10000.0 / 12, 8);
    draw("{\"type\":\"random\",\"distribution\":\"exponential\",\"rate\":0.3333333333333333}");
    assert_true(kolmogorov(cdf_exponential_mean) < KS_LIMIT);
    draw("{\"type\":\"random\",\"distribution\":\"exponential\",\"rate\":1,\"min\":1,\"max\":2}"); // clamped, not moved
    int low = 0;
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(samples[i] >= 1 && samples[i] <= 2);
        low += samples[i] == 1;
    }
    near((double)low / SAMPLES, 1 - exp(-1), 0.006);
}

static void test_walk(void **s)
{
    (void)s;
    draw("{\"type\":\"walk\",\"step\":0.5}"); // unbounded: each step can be seen
    assert_true(samples[0] == 0);
    for (int i = 0; i < SAMPLES - 1; i++)
        samples[i] = samples[i + 1] - samples[i];
    samples[SAMPLES - 1] = samples[0];
    near(moment(1, 0), 0, 0.004);
    near(moment(2, 0), 1.0 / 12, 0.001);
    assert_true(kolmogorov(cdf_step) < KS_LIMIT);
}

static void test_walk_stays_within_its_bounds(void **s)
{
    (void)s;
    draw("{\"type\":\"walk\",\"start\":21,\"step\":0.5,\"min\":15,\"max\":30}");
    assert_true(samples[0] == 21);
    double low = 30, high = 15;
    for (int i = 0; i < SAMPLES; i++) {
        low = fmin(low, samples[i]);
        high = fmax(high, samples[i]);
        if (i)
            assert_true(fabs(samples[i] - samples[i - 1]) <= 0.5 + 1e-12);
    }
    assert_true(low >= 15 && high <= 30);
    assert_true(low < 15.5 && high > 29.5); // it goes everywhere
    near(moment(1, 0), 22.5, 1);            // and is not caught at a bound
    draw(
        "{\"type\":\"walk\",\"step\":1000,\"min\":0,\"max\":1}"); // a step far beyond the range is reflected many times
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 0 && samples[i] <= 1);
    near(moment(1, 0), 0.5, 0.01);
    draw("{\"type\":\"walk\",\"step\":1,\"min\":3}"); // one bound only
    for (int i = 0; i < SAMPLES; i++)
        assert_true(samples[i] >= 3);
    assert_true(samples[0] == 3);
    draw("{\"type\":\"walk\",\"step\":1,\"max\":-3}");
    int at_bound = 0;
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(samples[i] <= -3);
        at_bound += samples[i] == -3;
    }
    assert_int_equal(at_bound, 1); // reflected, not stuck
    draw("{\"type\":\"walk\",\"step\":1,\"min\":3,\"max\":3}");
    assert_true(samples[SAMPLES - 1] == 3);
}

static void test_uniform_integers(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"uniform\",\"min\":-2,\"max\":3}", VALUE_INTEGER, 7);
    int count[6] = {0};
    double chi = 0;
    for (int i = 0; i < SAMPLES; i++) {
        struct value v = run_next(&r);
        assert_int_equal(v.type, VALUE_INTEGER);
        assert_in_range((uint64_t)(v.integer + 2), 0, 5);
        count[v.integer + 2]++;
    }
    for (int i = 0; i < 6; i++)
        chi += pow(count[i] - SAMPLES / 6.0, 2) / (SAMPLES / 6.0);
    assert_true(chi < 15.09); // 5 degrees of freedom, 1 %
    gen_delete(r.spec);
}

static void test_choice_weights(void **s)
{
    (void)s;
    static const double weights[] = {0, 1, 2, 0, 7, 0};
    struct run r =
        run_new("{\"type\":\"choice\",\"values\":[0,1,2,3,4,5],\"weights\":[0,1,2,0,7,0]}", VALUE_INTEGER, 11);
    int count[6] = {0};
    double chi = 0;
    for (int i = 0; i < SAMPLES; i++)
        count[run_next(&r).integer]++;
    for (int i = 0; i < 6; i++) {
        double wanted = SAMPLES * weights[i] / 10;
        if (wanted > 0)
            chi += pow(count[i] - wanted, 2) / wanted;
        else
            assert_int_equal(count[i], 0);
    }
    assert_true(chi < 9.21); // 2 degrees of freedom, 1 %
    gen_delete(r.spec);

    r = run_new("{\"type\":\"choice\",\"values\":[0,1,2,3]}", VALUE_INTEGER, 12);
    memset(count, 0, sizeof count);
    chi = 0;
    for (int i = 0; i < SAMPLES; i++)
        count[run_next(&r).integer]++;
    for (int i = 0; i < 4; i++)
        chi += pow(count[i] - SAMPLES / 4.0, 2) / (SAMPLES / 4.0);
    assert_true(chi < 11.34); // 3 degrees of freedom
    gen_delete(r.spec);
}

static void test_boolean_of_numbers(void **s)
{
    (void)s;
    struct run r = run_new("{\"type\":\"random\"}", VALUE_BOOLEAN, 3);
    int yes = 0;
    for (int i = 0; i < SAMPLES; i++) {
        struct value v = run_next(&r);
        assert_int_equal(v.type, VALUE_BOOLEAN);
        yes += v.boolean;
    }
    near((double)yes / SAMPLES, 0.5, 0.006);
    gen_delete(r.spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_normal_is_clamped),
        cmocka_unit_test(test_exponential),
        cmocka_unit_test(test_lognormal),
        cmocka_unit_test(test_weibull),
        cmocka_unit_test(test_poisson),
        cmocka_unit_test(test_published_random),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_walk_stays_within_its_bounds),
        cmocka_unit_test(test_uniform_integers),
        cmocka_unit_test(test_choice_weights),
        cmocka_unit_test(test_boolean_of_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
