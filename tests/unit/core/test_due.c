// Intended time: what the loop says of a timer that comes late, of what was told, and of everything else.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/loop.h"

struct seen {
    struct timer timer;
    int64_t due_us, now_us;
    struct lag lag;
    unsigned n;
};

static void look(struct timer *t, void *arg)
{
    struct loop *loop = arg;
    struct seen *s = container_of(t, struct seen, timer);
    s->due_us = loop_due_us(loop);
    s->now_us = loop_now_us(loop);
    loop_lag(loop, s->now_us, &s->lag);
    s->n++;
}

static struct loop *make(void)
{
    struct clock clock;
    struct error err;
    clock_create_virtual(&clock, 0);
    clock_advance(&clock, 1000000);
    struct loop *loop = loop_new(&clock, &err);
    assert_non_null(loop);
    return loop;
}

static void advance(struct loop *loop, int64_t us)
{
    clock_advance((struct clock *)(uintptr_t)loop_clock(loop), clock_now_us(loop_clock(loop)) + us);
}

static void a_timer_that_comes_late_says_by_how_much(void **state)
{
    struct loop *loop = make();
    struct seen s = {0};
    (void)state;
    loop_timer_start(loop, &s.timer, 5000, look);
    advance(loop, 55000); // as if a callback had run for so long
    loop_turn(loop, 0);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.due_us, 1005000);
    assert_int_equal(s.lag.late_us, 50000);
    assert_int_equal(s.lag.missed, 0);
    assert_int_equal(loop_due_us(loop), loop_now_us(loop)); // outside nothing is late
    loop_lag(loop, loop_now_us(loop), &s.lag);
    assert_int_equal(s.lag.late_us, 0);
    loop_delete(loop);
}

static void within_the_resolution_of_timers_nothing_is_late(void **state)
{
    struct loop *loop = make();
    struct seen s = {0};
    (void)state;
    loop_timer_start(loop, &s.timer, 4300, look); // its tick is at 5 ms
    advance(loop, 5000 + LAG_RESOLUTION_US);
    loop_turn(loop, 0);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.due_us, 1005000);
    assert_int_equal(s.lag.late_us, 0);
    loop_timer_start(loop, &s.timer, 4300, look);
    advance(loop, 5000 + LAG_RESOLUTION_US + 1000);
    loop_turn(loop, 0);
    assert_int_equal(s.n, 2);
    assert_true(s.lag.late_us > LAG_RESOLUTION_US);
    loop_delete(loop);
}

static void what_is_told_comes_first_until_it_is_taken_back(void **state)
{
    struct loop *loop = make();
    struct lag lag;
    (void)state;
    int64_t now = loop_now_us(loop);
    loop_due_set(loop, &(struct due){.at_us = now - 30000, .missed = 4, .interval_us = 5000, .backlog_us = 25000});
    assert_int_equal(loop_due_us(loop), now - 30000);
    loop_lag(loop, now, &lag);
    assert_int_equal(lag.late_us, 30000);
    assert_int_equal(lag.missed, 4);
    assert_int_equal(lag.interval_us, 5000);
    assert_int_equal(lag.backlog_us, 25000);
    loop_due_set(loop, NULL);
    assert_int_equal(loop_due_us(loop), now);
    // Later than now: not late.
    loop_due_set(loop, &(struct due){.at_us = now + 30000});
    loop_lag(loop, now, &lag);
    assert_int_equal(lag.late_us, 0);
    loop_due_set(loop, NULL);
    assert_int_equal(lag_us(-1), 0);
    assert_int_equal(lag_us(INT64_MAX), UINT32_MAX);
    loop_delete(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_that_comes_late_says_by_how_much),
        cmocka_unit_test(within_the_resolution_of_timers_nothing_is_late),
        cmocka_unit_test(what_is_told_comes_first_until_it_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
