#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "link/fault_text.h"
#include "link/vary.h"

static struct vary vary_of(const char *text, enum vary_unit unit)
{
    struct error err = {0};
    struct vary v;
    char wrapped[256];
    snprintf(wrapped, sizeof wrapped, "[%s]", text);
    json_t *json = fault_json(wrapped);
    if (vary_parse("v", json_array_get(json, 0), unit, &v, &err))
        fail_msg("%s: %s", text, err.text);
    json_decref(json);
    return v;
}

static void a_constant_stays(void **state)
{
    (void)state;
    struct vary v = vary_of("'200ms'", VARY_DURATION);
    assert_true(vary_at(&v, -1) == 200000 && vary_at(&v, 0) == 200000 && vary_at(&v, INT64_MAX / 2) == 200000);
    assert_true(vary_next_us(&v, 5) == INT64_MAX);
    assert_true(vary_high(&v) == 200000);
}

static void a_ramp_goes_straight_and_then_stays(void **state)
{
    (void)state;
    struct vary up = vary_of("{'ramp':{'from':'10%','to':'50%','over':'10s'}}", VARY_SHARE);
    struct vary down = vary_of("{'ramp':{'from':'1mbit','to':'100kbit','over':'9s'}}", VARY_RATE);
    assert_true(fabs(vary_at(&up, -7) - 0.1) < 1e-12);
    assert_true(fabs(vary_at(&up, 2500000) - 0.2) < 1e-12);
    assert_true(vary_at(&up, 10000000) == 0.5 && vary_at(&up, INT64_MAX / 2) == 0.5);
    assert_true(fabs(vary_at(&down, 3000000) - 700000) < 1e-6);
    assert_true(vary_high(&up) == 0.5 && vary_high(&down) == 1e6);
}

static void a_sine_swings_around_its_mean(void **state)
{
    (void)state;
    struct vary v = vary_of("{'sine':{'mean':'200ms','amplitude':'100ms','period':'8s','phase':'25%'}}", VARY_DURATION);
    assert_true(fabs(vary_at(&v, 0) - 300000) < 1e-6); // a quarter of a turn on: the top
    assert_true(fabs(vary_at(&v, 2000000) - 200000) < 1e-6);
    assert_true(fabs(vary_at(&v, 4000000) - 100000) < 1e-6);
    assert_true(fabs(vary_at(&v, 8000000) - 300000) < 1e-6);
    double sum = 0;
    for (int64_t t = 0; t < 8000000; t += 1000)
        sum += vary_at(&v, t);
    assert_true(fabs(sum / 8000 - 200000) < 1);
    struct vary edge = vary_of("{'sine':{'mean':0.5,'amplitude':0.5,'period':1.7}}", VARY_SHARE);
    for (int64_t t = 0; t < 40000000; t += 997)
        assert_true(vary_at(&edge, t) >= 0 && vary_at(&edge, t) <= 1);
    assert_true(vary_high(&edge) == 1);
}

static void steps_come_64_times_and_not_faster_than_10_ms(void **state)
{
    (void)state;
    struct vary ramp = vary_of("{'ramp':{'from':1000,'to':2000,'over':'64s'}}", VARY_RATE);
    unsigned steps = 0;
    for (int64_t t = 0; (t = vary_next_us(&ramp, t)) != INT64_MAX; steps++)
        assert_true(t <= 64000000);
    assert_int_equal(steps, 64);
    struct vary quick = vary_of("{'ramp':{'from':1000,'to':2000,'over':'25ms'}}", VARY_RATE);
    assert_int_equal(vary_next_us(&quick, 0), 10000);
    assert_int_equal(vary_next_us(&quick, 20000), 25000); // its end is never missed
    struct vary sine = vary_of("{'sine':{'mean':1000,'amplitude':500,'period':'64s'}}", VARY_RATE);
    assert_int_equal(vary_next_us(&sine, 1000000000), 1001000000);
    assert_int_equal(vary_next_us(&sine, 1000300000), 1001000000); // whenever it is asked
}

static void halves_are_whole_microseconds(void **state)
{
    (void)state;
    struct vary v = vary_of("{'sine':{'mean':'3us','amplitude':'3us','period':'1s'}}", VARY_DURATION);
    vary_halve(&v);
    assert_true(v.a == 2 && v.b == 2);
    struct vary share = vary_of("'5%'", VARY_SHARE);
    vary_halve(&share);
    assert_true(share.a == 0.025);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_stays),
        cmocka_unit_test(a_ramp_goes_straight_and_then_stays),
        cmocka_unit_test(a_sine_swings_around_its_mean),
        cmocka_unit_test(steps_come_64_times_and_not_faster_than_10_ms),
        cmocka_unit_test(halves_are_whole_microseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
