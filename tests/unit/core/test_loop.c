#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/loop.h"

struct world {
    struct loop *loop;
    char trace[64];
    struct timer timer, second;
    int64_t wanted_us;
    unsigned count;
    int fds[2];
    struct ev_io io;
};

static struct world w;

static void trace(char c)
{
    size_t n = strlen(w.trace);
    if (n + 1 < sizeof(w.trace))
        w.trace[n] = c;
}

static void create(bool is_virtual)
{
    struct clock clock;
    struct error err;
    memset(&w, 0, sizeof(w));
    if (is_virtual)
        clock_create_virtual(&clock, 1700000000000000);
    else
        clock_create_real(&clock);
    w.loop = loop_new(&clock, &err);
    assert_non_null(w.loop);
}

static void destroy(void)
{
    loop_delete(w.loop);
    w.loop = NULL;
}

static void stop_fn(struct timer *t, void *arg)
{
    assert_ptr_equal(arg, w.loop);
    assert_true(loop_now_us(w.loop) >= t->at_us);
    trace('t');
    loop_stop(w.loop);
}

static void real_timers_fire_in_time_order(void **state)
{
    (void)state;
    struct error err;
    create(false);
    int64_t before = loop_fresh_us(w.loop);
    loop_timer_start(w.loop, &w.timer, 5000, stop_fn);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_true(loop_fresh_us(w.loop) - before >= 5000);
    assert_string_equal(w.trace, "t");
    struct loop_stats stats;
    loop_stats(w.loop, &stats);
    // One turn waits, one more at most for what libev rounds; a loop that spins would need thousands.
    assert_in_range(stats.turns, 1, 4);
    assert_true(stats.timer_late_max_us >= 0);
    loop_stats_reset(w.loop);
    loop_stats(w.loop, &stats);
    assert_int_equal(stats.longest_turn_us, 0);
    assert_int_equal(stats.timer_late_max_us, 0);
    loop_timer_start(w.loop, &w.timer, -5, stop_fn);
    loop_timer_start(w.loop, &w.second, INT64_MAX, stop_fn);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_true(timer_pending(&w.second));
    loop_timer_stop(w.loop, &w.second);
    assert_false(timer_pending(&w.second));
    destroy();
}

struct traced_hook {
    struct loop_hook hook;
    char name;
    struct traced_hook *remove;
    bool again;
};

static void hook_fn(struct loop_hook *hook, struct loop *loop)
{
    struct traced_hook *h = container_of(hook, struct traced_hook, hook);
    trace(h->name);
    if (h->remove)
        loop_hook_remove(loop, &h->remove->hook);
    h->remove = NULL;
    if (h->again)
        loop_again(loop);
}

static void io_fn(struct ev_loop *ev, ev_io *watcher, int events)
{
    (void)ev, (void)events;
    struct world *world = container_of(watcher, struct world, io);
    char c;
    assert_int_equal(read(world->fds[0], &c, 1), 1);
    trace('i');
}

static void watch_pipe(void)
{
    assert_int_equal(pipe2(w.fds, O_NONBLOCK | O_CLOEXEC), 0);
    ev_io_init(&w.io, io_fn, w.fds[0], EV_READ);
    ev_io_start(loop_ev(w.loop), &w.io);
}

static void close_pipe(void)
{
    ev_io_stop(loop_ev(w.loop), &w.io);
    close(w.fds[0]);
    close(w.fds[1]);
}

static void note_fn(struct timer *t, void *arg)
{
    (void)t, (void)arg;
    trace('t');
}

static void a_turn_is_descriptors_then_timers_then_hooks(void **state)
{
    (void)state;
    create(false);
    watch_pipe();
    struct traced_hook a = {.hook = {.priority = 10, .fn = hook_fn}, .name = 'a'};
    struct traced_hook b = {.hook = {.priority = 20, .fn = hook_fn}, .name = 'b'};
    struct traced_hook c = {.hook = {.priority = 20, .fn = hook_fn}, .name = 'c'};
    loop_hook_add(w.loop, &b.hook);
    loop_hook_add(w.loop, &c.hook);
    loop_hook_add(w.loop, &a.hook);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    loop_timer_start(w.loop, &w.timer, 0, note_fn);
    loop_turn(w.loop, 0);
    assert_string_equal(w.trace, "itabc");
    a.remove = &b; // the next one
    loop_turn(w.loop, 0);
    assert_string_equal(w.trace, "itabcac");
    c.remove = &c; // itself
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    assert_string_equal(w.trace, "itabcacaca");
    loop_hook_remove(w.loop, &b.hook); // not there
    close_pipe();
    destroy();
}

static void again_means_no_wait(void **state)
{
    (void)state;
    create(false);
    struct traced_hook a = {.hook = {.priority = 10, .fn = hook_fn}, .name = 'a', .again = true};
    loop_hook_add(w.loop, &a.hook);
    int64_t before = loop_fresh_us(w.loop);
    loop_again(w.loop);
    for (int i = 0; i < 10; i++)
        loop_turn(w.loop, 3600000000);
    assert_true(loop_fresh_us(w.loop) - before < 3600000000);
    a.again = false;
    loop_turn(w.loop, 3600000000);
    before = loop_fresh_us(w.loop);
    loop_turn(w.loop, 2000); // waits, but not longer than told
    assert_true(loop_fresh_us(w.loop) - before >= 1000);
    destroy();
}

static void count_fn(struct timer *t, void *arg)
{
    (void)t, (void)arg;
    w.count++;
}

static void a_flood_of_timers_is_spread_over_turns_without_waiting(void **state)
{
    (void)state;
    enum { N = 3000 };
    static struct timer timers[N];
    create(false);
    for (int i = 0; i < N; i++)
        loop_timer_start(w.loop, &timers[i], 0, count_fn);
    unsigned turns = 0;
    while (w.count < N && turns < 100) {
        unsigned before = w.count;
        loop_turn(w.loop, 3600000000);
        turns++;
        assert_in_range(w.count - before, 0, 512);
    }
    assert_int_equal(w.count, N);
    assert_in_range(turns, 6, 8);
    destroy();
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void survives_signals(void **state)
{
    (void)state;
    struct error err;
    struct sigaction action = {.sa_handler = on_alarm}, old; // no SA_RESTART: epoll_wait returns EINTR
    sigaction(SIGALRM, &action, &old);
    struct itimerval every = {{0, 700}, {0, 700}}, none = {{0, 0}, {0, 0}};
    create(false);
    int64_t before = loop_fresh_us(w.loop);
    loop_timer_start(w.loop, &w.timer, 20000, stop_fn);
    setitimer(ITIMER_REAL, &every, NULL);
    int rc = loop_run(w.loop, &err);
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(rc, 0);
    assert_true(loop_fresh_us(w.loop) - before >= 20000);
    destroy();
}

static void daily_fn(struct timer *t, void *arg)
{
    assert_true(loop_now_us(arg) >= t->at_us && loop_now_us(arg) < t->at_us + 1000);
    if (++w.count < 1000)
        loop_timer_at(arg, t, t->at_us + 86400000000, daily_fn);
}

static void a_virtual_clock_jumps_and_ends_when_nothing_is_left(void **state)
{
    (void)state;
    struct error err;
    create(true);
    loop_timer_start(w.loop, &w.timer, 86400000000, daily_fn);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_int_equal(w.count, 1000);
    assert_int_equal(loop_now_us(w.loop), 1000 * 86400000000);
    assert_int_equal(loop_wall_us(w.loop), 1700000000000000 + 1000 * 86400000000);
    assert_int_equal(loop_run(w.loop, &err), 0); // nothing to do: returns
    destroy();
}

static void a_virtual_clock_does_not_jump_over_ready_descriptors_or_pending_work(void **state)
{
    (void)state;
    struct error err;
    create(true);
    watch_pipe();
    struct traced_hook a = {.hook = {.priority = 10, .fn = hook_fn}, .name = 'h', .again = true};
    loop_hook_add(w.loop, &a.hook);
    loop_timer_start(w.loop, &w.timer, 1000000, note_fn);
    assert_int_equal(write(w.fds[1], "xx", 2), 2);
    loop_turn(w.loop, INT64_MAX);
    loop_turn(w.loop, INT64_MAX);
    loop_turn(w.loop, INT64_MAX);
    assert_string_equal(w.trace, "ihihh");
    assert_int_equal(loop_now_us(w.loop), 0);
    a.again = false;
    loop_turn(w.loop, INT64_MAX); // the hook had asked for this one
    loop_turn(w.loop, 400000);    // no further than told
    assert_int_equal(loop_now_us(w.loop), 400000);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_non_null(strchr(w.trace, 't'));
    assert_in_range(loop_now_us(w.loop), 1000000, 1000999);
    int64_t now = loop_now_us(w.loop);
    loop_turn(w.loop, 5000); // a drain with a deadline gets there
    assert_int_equal(loop_now_us(w.loop), now + 5000);
    close_pipe();
    destroy();
}

static void nested_fn(struct timer *t, void *arg)
{
    struct error err;
    (void)t;
    assert_int_equal(loop_run(arg, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    loop_stop(arg);
}

static void loop_run_is_not_nested_and_an_early_stop_counts(void **state)
{
    (void)state;
    struct error err;
    create(false);
    loop_timer_start(w.loop, &w.timer, 0, nested_fn);
    assert_int_equal(loop_run(w.loop, &err), 0);
    loop_stop(w.loop);
    assert_int_equal(loop_run(w.loop, &err), 0);
    destroy();
    loop_delete(NULL);
}

// epoll's shortest wait is a millisecond. A loaded machine may make any turn that long, but not every third one.
static void a_turn_of_no_wait_does_not_sleep(void **state)
{
    (void)state;
    unsigned slow = 0;
    for (int i = 0; i < 300; i++) { // the first turns of a loop, where the time of the last turn is that of its making
        create(false);
        loop_timer_start(w.loop, &w.timer, 3600000000, stop_fn);
        int64_t from = loop_fresh_us(w.loop);
        loop_turn(w.loop, 0);
        slow += loop_fresh_us(w.loop) - from > 950;
        loop_timer_stop(w.loop, &w.timer);
        destroy();
    }
    assert_in_range(slow, 0, 100);
}

// --- a run in virtual time

struct many {
    struct timer timer;
    int64_t fired_us;
};

static void many_fn(struct timer *t, void *loop)
{
    container_of(t, struct many, timer)->fired_us = loop_now_us(loop);
    w.count++;
}

static void end_fn(void *arg)
{
    assert_ptr_equal(arg, &w);
    w.wanted_us = loop_now_us(w.loop);
    trace('e');
    loop_stop(w.loop);
}

static void simulating_an_instant_is_done_in_one_turn(void **state)
{
    static struct many all[2000];
    (void)state;
    create(true);
    loop_simulate(w.loop, 1000000);
    assert_true(loop_simulating(w.loop));
    memset(all, 0, sizeof(all));
    for (int i = 0; i < 2000; i++)
        loop_timer_at(w.loop, &all[i].timer, 5000, many_fn);
    loop_turn(w.loop, 10000); // the first looks at descriptors too
    if (!w.count)
        loop_turn(w.loop, 10000);
    assert_int_equal(w.count, 2000);
    assert_int_equal(all[1999].fired_us, 5000);
    destroy();
    create(false);
    loop_simulate(w.loop, 1000000);
    assert_false(loop_simulating(w.loop));
    destroy();
}

static void again_fn(struct timer *t, void *loop)
{
    w.count++;
    loop_timer_start(loop, t, 0, again_fn);
}

static void simulating_a_delay_of_nothing_is_a_tick(void **state)
{
    (void)state;
    create(true);
    loop_simulate(w.loop, 1000000);
    loop_timer_start(w.loop, &w.timer, 0, again_fn);
    loop_virtual_end(w.loop, 100000, end_fn, &w);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_int_equal(w.wanted_us, 100000);
    assert_in_range(w.count, 99, 100);
    loop_timer_stop(w.loop, &w.timer);
    destroy();
}

static void the_virtual_end_comes_before_the_timers_of_its_time(void **state)
{
    (void)state;
    create(true);
    loop_timer_at(w.loop, &w.timer, 7000, stop_fn);
    loop_virtual_end(w.loop, 7000, end_fn, &w);
    loop_turn(w.loop, INT64_MAX);
    assert_string_equal(w.trace, "et");
    destroy();
    create(true); // and when nothing else is left
    loop_virtual_end(w.loop, 123456789, end_fn, &w);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_int_equal(w.wanted_us, 123456789);
    destroy();
    create(true); // between two ticks
    loop_timer_at(w.loop, &w.timer, 2000000, stop_fn);
    loop_virtual_end(w.loop, 1500300, end_fn, &w);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_int_equal(w.wanted_us, 1500300);
    assert_string_equal(w.trace, "e");
    loop_timer_stop(w.loop, &w.timer);
    destroy();
}

static void end_now_fn(struct timer *t, void *loop)
{
    (void)t;
    trace('t');
    loop_virtual_end(loop, loop_now_us(loop), end_fn, &w);
    loop_timer_start(loop, &w.second, 1000000, stop_fn);
}

static void an_end_that_is_set_for_now_comes_at_once(void **state)
{
    (void)state;
    create(true);
    loop_simulate(w.loop, 1000000);
    loop_timer_at(w.loop, &w.timer, 3000, end_now_fn);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_string_equal(w.trace, "te");
    assert_int_equal(w.wanted_us, 3000);
    loop_timer_stop(w.loop, &w.second);
    destroy();
}

static void release_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)timer, (void)events;
    trace('r');
    assert_int_equal(loop_now_us(w.loop), 0);
    loop_hold(w.loop, false);
}

static void held_the_clock_stands_still_and_real_events_are_waited_for(void **state)
{
    (void)state;
    ev_timer real;
    create(true);
    loop_simulate(w.loop, 1000000);
    loop_hold(w.loop, true);
    ev_timer_init(&real, release_cb, 0.02, 0.);
    ev_timer_start(loop_ev(w.loop), &real);
    loop_timer_at(w.loop, &w.timer, 5000, stop_fn);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_string_equal(w.trace, "rt");
    destroy();
    create(true); // nothing to do is no end while it is held
    loop_hold(w.loop, true);
    ev_timer_init(&real, release_cb, 0.02, 0.);
    ev_timer_start(loop_ev(w.loop), &real);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_string_equal(w.trace, "r");
    destroy();
}

static void stop_io(struct ev_loop *ev, ev_io *io, int events)
{
    (void)events;
    ev_io_stop(ev, io);
    loop_stop(w.loop);
}

static void simulating_descriptors_are_seen_though_time_runs(void **state)
{
    (void)state;
    create(true);
    loop_simulate(w.loop, 1000); // of real time
    assert_int_equal(pipe2(w.fds, O_CLOEXEC), 0);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    loop_turn(w.loop, 0);
    loop_timer_start(w.loop, &w.timer, 1000, again_fn);
    ev_io_init(&w.io, stop_io, w.fds[0], EV_READ);
    ev_io_start(loop_ev(w.loop), &w.io);
    assert_int_equal(loop_run(w.loop, NULL), 0);
    assert_true(w.count > 10); // many virtual ticks in a millisecond
    loop_timer_stop(w.loop, &w.timer);
    close(w.fds[0]);
    close(w.fds[1]);
    destroy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_timers_fire_in_time_order),
        cmocka_unit_test(a_turn_is_descriptors_then_timers_then_hooks),
        cmocka_unit_test(again_means_no_wait),
        cmocka_unit_test(a_turn_of_no_wait_does_not_sleep),
        cmocka_unit_test(a_flood_of_timers_is_spread_over_turns_without_waiting),
        cmocka_unit_test(survives_signals),
        cmocka_unit_test(a_virtual_clock_jumps_and_ends_when_nothing_is_left),
        cmocka_unit_test(a_virtual_clock_does_not_jump_over_ready_descriptors_or_pending_work),
        cmocka_unit_test(simulating_an_instant_is_done_in_one_turn),
        cmocka_unit_test(simulating_a_delay_of_nothing_is_a_tick),
        cmocka_unit_test(the_virtual_end_comes_before_the_timers_of_its_time),
        cmocka_unit_test(an_end_that_is_set_for_now_comes_at_once),
        cmocka_unit_test(held_the_clock_stands_still_and_real_events_are_waited_for),
        cmocka_unit_test(simulating_descriptors_are_seen_though_time_runs),
        cmocka_unit_test(loop_run_is_not_nested_and_an_early_stop_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
