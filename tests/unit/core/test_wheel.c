// The wheel is compared with what its contract says about every single timer: never early, at most one tick late after
// a run at its time, each exactly once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/rng.h"
#include "core/wheel.h"

struct probe {
    struct timer timer; // first
    int fired;
    int64_t wanted_us;
    struct probe *other;
};

struct world {
    struct wheel *wheel;
    int64_t now_us;
    int order[64];
    int n;
    struct probe *first;
};

static void note(struct timer *t, void *arg)
{
    struct world *world = arg;
    struct probe *p = (struct probe *)t;
    assert_false(timer_pending(t));
    if (world->now_us < p->wanted_us)
        fail_msg("early: %lld before %lld", (long long)world->now_us, (long long)p->wanted_us);
    p->fired++;
    if (world->n < 64 && world->first)
        world->order[world->n++] = (int)(p - world->first);
}

static void create(struct world *world, int64_t now_us)
{
    memset(world, 0, sizeof(*world));
    world->now_us = now_us;
    world->wheel = wheel_new(now_us, world);
    assert_non_null(world->wheel);
}

static void start(struct world *world, struct probe *p, int64_t at_us)
{
    p->wanted_us = at_us;
    wheel_start(world->wheel, &p->timer, at_us, note);
}

static unsigned run(struct world *world, int64_t now_us)
{
    world->now_us = now_us;
    return wheel_run(world->wheel, now_us, 0);
}

static void never_early_and_within_a_tick(void **state)
{
    (void)state;
    static const int64_t delays[] = {
        0,        1,        999,      1000,        1001,        255000,        256000,        257000,
        65535000, 65536000, 65537000, 16777215000, 16777216000, 4294967295000, 4294967296000, 5000000000000};
    static const int64_t origins[] = {0, 1, 999, 255999, 256000, 65535999, 1234567890123};
    for (size_t o = 0; o < sizeof(origins) / sizeof(origins[0]); o++) {
        for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
            struct world world;
            struct probe p = {0};
            create(&world, origins[o]);
            int64_t at = origins[o] + delays[i], tick = (at + 999) / 1000 * 1000;
            start(&world, &p, at);
            assert_int_equal(wheel_count(world.wheel), 1);
            assert_true(wheel_next_us(world.wheel) <= tick);
            if (delays[i] > 1) {
                run(&world, at - 1);
                assert_int_equal(p.fired, 0);
            }
            run(&world, tick);
            assert_int_equal(p.fired, 1);
            assert_int_equal(wheel_count(world.wheel), 0);
            assert_true(wheel_next_us(world.wheel) == INT64_MAX);
            wheel_delete(world.wheel);
        }
    }
}

// Follows wheel_next_us as a virtual clock does: nothing may be due before it says so, and few stops may be in vain.
static void next_is_never_late(void **state)
{
    (void)state;
    struct world world;
    struct rng rng;
    rng_seed(&rng, 3);
    static struct probe probes[2000];
    memset(probes, 0, sizeof(probes));
    create(&world, 123456789);
    for (int i = 0; i < 2000; i++)
        start(&world, &probes[i], world.now_us + (int64_t)rng_below(&rng, 1ull << (10 + rng_below(&rng, 33))));
    int64_t last = 0;
    unsigned stops = 0;
    while (wheel_count(world.wheel)) {
        int64_t next = wheel_next_us(world.wheel);
        assert_true(next != INT64_MAX && next >= last);
        int64_t earliest = INT64_MAX;
        for (int i = 0; i < 2000; i++)
            if (timer_pending(&probes[i].timer) && probes[i].wanted_us < earliest)
                earliest = probes[i].wanted_us;
        assert_true(next <= (earliest + 999) / 1000 * 1000 || next <= world.now_us);
        last = next > world.now_us ? next : world.now_us;
        run(&world, last);
        stops++;
    }
    assert_in_range(stops, 1, 2000 * 4);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(probes[i].fired, 1);
    wheel_delete(world.wheel);
}

// 20,000 timers started, moved and stopped at random while time passes in steps from microseconds to hours.
static void random_life(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct probe *probes = calloc(N, sizeof(*probes));
    uint64_t pending = 0;
    struct world world;
    struct rng rng;
    rng_seed(&rng, 99);
    create(&world, 5);
    for (int step = 0; step < 600; step++) {
        for (int i = 0; i < 200; i++) {
            struct probe *p = &probes[rng_below(&rng, N)];
            if (rng_below(&rng, 4)) {
                pending += !timer_pending(&p->timer);
                start(&world, p, world.now_us + (int64_t)rng_below(&rng, 1ull << rng_below(&rng, 42)));
            } else {
                pending -= timer_pending(&p->timer);
                wheel_stop(world.wheel, &p->timer);
                assert_false(timer_pending(&p->timer));
            }
        }
        assert_int_equal(wheel_count(world.wheel), pending);
        pending -= run(&world, world.now_us + (int64_t)rng_below(&rng, 1ull << rng_below(&rng, 34)));
        assert_int_equal(wheel_count(world.wheel), pending);
        for (int i = 0; i < N; i++)
            if (timer_pending(&probes[i].timer) && probes[i].wanted_us <= world.now_us - 1000)
                fail_msg("timer %d should have fired at %lld, it is %lld", i, (long long)probes[i].wanted_us,
                         (long long)world.now_us);
    }
    wheel_delete(world.wheel);
    free(probes);
}

static void order_is_by_tick_then_by_start(void **state)
{
    (void)state;
    struct world world;
    struct probe p[6] = {0};
    create(&world, 0);
    world.first = p;
    start(&world, &p[0], 70000000); // comes down from level 1 and 2
    start(&world, &p[1], 3000);
    start(&world, &p[2], 70000000);
    start(&world, &p[3], 2000);
    start(&world, &p[4], 3000);
    start(&world, &p[5], 70000000);
    run(&world, 80000000);
    static const int expected[] = {3, 1, 4, 0, 2, 5};
    assert_int_equal(world.n, 6);
    assert_memory_equal(world.order, expected, sizeof(expected));
    wheel_delete(world.wheel);
}

static void budget_leaves_the_rest_due(void **state)
{
    (void)state;
    struct world world;
    struct probe p[10] = {0};
    create(&world, 0);
    world.first = p;
    for (int i = 0; i < 10; i++)
        start(&world, &p[i], 1000 * (1 + i / 5));
    world.now_us = 5000;
    assert_int_equal(wheel_run(world.wheel, 5000, 3), 3);
    assert_true(wheel_next_us(world.wheel) <= 5000);
    wheel_stop(world.wheel, &p[9].timer); // the last of what is left over
    wheel_stop(world.wheel, &p[4].timer);
    start(&world, &p[9], 5000); // and due again, behind the others
    assert_int_equal(wheel_run(world.wheel, 5000, 3), 3);
    assert_int_equal(wheel_run(world.wheel, 5000, 0), 3);
    static const int expected[] = {0, 1, 2, 3, 5, 6, 7, 8, 9};
    assert_int_equal(world.n, 9);
    assert_memory_equal(world.order, expected, sizeof(expected));
    assert_int_equal(wheel_late_max_us(world.wheel), 4000);
    wheel_late_reset(world.wheel);
    assert_int_equal(wheel_late_max_us(world.wheel), 0);
    wheel_delete(world.wheel);
}

static void restart_at_once(struct timer *t, void *arg)
{
    struct world *world = arg;
    ((struct probe *)t)->fired++;
    wheel_start(world->wheel, t, world->now_us - 10, restart_at_once);
}

static void what_a_callback_starts_as_due_waits_for_the_next_run(void **state)
{
    (void)state;
    struct world world;
    struct probe p = {0};
    create(&world, 0);
    wheel_start(world.wheel, &p.timer, 1000, restart_at_once);
    for (int i = 1; i <= 3; i++) {
        world.now_us = 2000;
        assert_int_equal(wheel_run(world.wheel, 2000, 0), 1);
        assert_int_equal(p.fired, i);
        assert_true(wheel_next_us(world.wheel) <= 2000);
    }
    wheel_delete(world.wheel);
}

static void stop_other(struct timer *t, void *arg)
{
    struct world *world = arg;
    struct probe *p = (struct probe *)t;
    p->fired++;
    wheel_stop(world->wheel, &p->other->timer);
}

static void a_callback_may_stop_one_that_is_due_as_well(void **state)
{
    (void)state;
    struct world world;
    struct probe p[3] = {0};
    create(&world, 0);
    p[0].other = &p[1];
    wheel_start(world.wheel, &p[0].timer, 1000, stop_other);
    start(&world, &p[1], 1000);
    start(&world, &p[2], 1000);
    assert_int_equal(run(&world, 1000), 2);
    assert_int_equal(p[1].fired, 0);
    assert_int_equal(p[2].fired, 1);
    p[0].other = &p[2];
    p[2].fired = 0;
    wheel_start(world.wheel, &p[0].timer, 2000, stop_other);
    start(&world, &p[2], 2000); // last of the batch
    assert_int_equal(run(&world, 2000), 1);
    start(&world, &p[1], 1000); // the emptied queue still takes
    assert_int_equal(run(&world, 2000), 1);
    assert_int_equal(p[2].fired, 0);
    assert_int_equal(p[1].fired, 1);
    assert_int_equal(wheel_count(world.wheel), 0);
    wheel_delete(world.wheel);
}

static void a_stopped_timer_wakes_nobody(void **state)
{
    (void)state;
    struct world world;
    struct probe near = {0}, far = {0};
    create(&world, 0);
    start(&world, &near, 5000);
    start(&world, &far, 10000);
    assert_int_equal(wheel_next_us(world.wheel), 5000);
    wheel_stop(world.wheel, &near.timer);
    assert_int_equal(wheel_next_us(world.wheel), 10000);
    near.wanted_us = 0;
    wheel_start_now(world.wheel, &near.timer, 0, note); // not at a tick: at once
    assert_true(wheel_next_us(world.wheel) <= 0);
    assert_int_equal(run(&world, 1), 1);
    wheel_delete(world.wheel);
}

static void extremes(void **state)
{
    (void)state;
    struct world world;
    struct probe p = {0};
    create(&world, 1000);
    wheel_stop(world.wheel, &p.timer); // never started
    start(&world, &p, INT64_MAX);
    run(&world, 1000000000000000);
    assert_int_equal(p.fired, 0);
    start(&world, &p, INT64_MIN);
    assert_int_equal(wheel_count(world.wheel), 1);
    run(&world, 0); // time does not go back
    assert_int_equal(p.fired, 1);
    wheel_delete(world.wheel);
    wheel_delete(NULL);
    assert_int_equal(sizeof(struct timer), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_early_and_within_a_tick),
        cmocka_unit_test(next_is_never_late),
        cmocka_unit_test(random_life),
        cmocka_unit_test(order_is_by_tick_then_by_start),
        cmocka_unit_test(budget_leaves_the_rest_due),
        cmocka_unit_test(what_a_callback_starts_as_due_waits_for_the_next_run),
        cmocka_unit_test(a_callback_may_stop_one_that_is_due_as_well),
        cmocka_unit_test(a_stopped_timer_wakes_nobody),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
