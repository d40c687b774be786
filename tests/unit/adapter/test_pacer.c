// The pacer, against a simulated server: a queue of handshakes that are worked off at a given rate, so that latency
// grows with load. Time is counted here; nothing waits. PACER_TABLE=1 prints what docs/how-to/connect-pacing.md shows.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "adapter/pacer.h"
#include "core/jsonx.h"

#define QUEUE 400000

struct world {
    struct pacer pacer;
    int64_t now_us;
    double capacity; // handshakes a second
    double credit;
    int64_t base_us; // latency without a queue
    int64_t timeout_us;
    unsigned refuse_above; // length of its queue at which it refuses; 0: never
    bool dead;
    int64_t *began; // of those in the queue
    unsigned head, tail;
    uint64_t wanted; // devices that still want to connect
    // of the second that passes
    unsigned ended, failed, started;
    double latency_sum;
};

static void world_create(struct world *w, const char *options, double capacity, uint64_t wanted)
{
    struct pacer_config config;
    struct error err;
    json_t *json = json_parse(options, strlen(options), "options", &err);
    memset(w, 0, sizeof(*w));
    assert_non_null(json);
    assert_int_equal(pacer_config_parse(json, &config, &err), 0);
    json_decref(json);
    pacer_create(&w->pacer, &config, NULL);
    w->capacity = capacity;
    w->base_us = 5000;
    w->timeout_us = 10000000;
    w->now_us = 1000000;
    w->wanted = wanted;
    w->began = calloc(QUEUE, sizeof(*w->began));
}

static void world_destroy(struct world *w)
{
    free(w->began);
}

static void end(struct world *w, int64_t began_us, bool failed)
{
    pacer_ended(&w->pacer, w->now_us, w->now_us - began_us, failed);
    w->ended++;
    w->failed += failed;
    w->latency_sum += failed ? 0 : (double)(w->now_us - began_us);
    w->wanted += failed; // it comes again
}

static void serve(struct world *w)
{
    w->credit += w->dead ? 0 : w->capacity * 1e-3;
    while (w->head < w->tail) {
        int64_t began = w->began[w->head % QUEUE];
        if (w->now_us - began >= w->timeout_us) {
            w->head++;
            end(w, began, true);
        } else if (w->credit >= 1 && w->now_us - began >= w->base_us) {
            w->head++;
            w->credit -= 1;
            end(w, began, false);
        } else {
            break;
        }
    }
    if (w->credit > 1 + w->capacity * 1e-3)
        w->credit = 1 + w->capacity * 1e-3; // an idle server saves nothing up
}

static void start(struct world *w)
{
    int64_t retry;
    unsigned n = pacer_allows(&w->pacer, w->now_us, &retry);
    for (; n && w->wanted; n--) {
        w->wanted--;
        w->started++;
        pacer_started(&w->pacer, w->now_us);
        if (w->refuse_above && w->tail - w->head >= w->refuse_above)
            end(w, w->now_us - w->base_us, true);
        else
            w->began[w->tail++ % QUEUE] = w->now_us;
    }
}

struct second {
    double rate, started, done, latency_ms, failed;
};

static struct second run_second(struct world *w)
{
    w->ended = w->failed = w->started = 0;
    w->latency_sum = 0;
    for (unsigned ms = 0; ms < 1000; ms++) {
        w->now_us += 1000;
        serve(w);
        start(w);
    }
    unsigned done = w->ended - w->failed;
    struct second s = {.rate = w->pacer.rate,
                       .started = w->started,
                       .done = done,
                       .failed = w->failed,
                       .latency_ms = done ? w->latency_sum / done * 1e-3 : 0};
    if (getenv("PACER_TABLE"))
        printf("%4.0f s  rate %8.1f  started %6.0f  done %6.0f  failed %5.0f  latency %7.1f ms\n",
               (double)(w->now_us - 1000000) * 1e-6, s.rate, s.started, s.done, s.failed, s.latency_ms);
    return s;
}

#define WIDE "{\"connectWindow\":100000,\"connectPacing\":\"adaptive\"}"

static void title(const char *text)
{
    if (getenv("PACER_TABLE"))
        printf("\n%s\n", text);
}

// At any capacity: it gets there within 15 s, without more than a moment of long waits, and then stays.
static void it_settles_at_what_the_server_can_do(void **state)
{
    (void)state;
    double capacities[] = {20, 200, 2000, 15000};
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        char text[64];
        double done = 0, latency = 0, worst = 0;
        snprintf(text, sizeof(text), "capacity %.0f/s", capacities[i]);
        title(text);
        world_create(&w, WIDE, capacities[i], UINT64_MAX / 2);
        for (unsigned s = 0; s < 15; s++) {
            struct second sec = run_second(&w);
            worst = sec.latency_ms > worst ? sec.latency_ms : worst;
        }
        for (unsigned s = 0; s < 30; s++) {
            struct second sec = run_second(&w);
            done += sec.done / 30;
            latency += sec.latency_ms / 30;
            // At 20 a second five handshakes are 250 ms: it hunts.
            assert_true(sec.latency_ms < (capacities[i] < 100 ? 1500 : 400));
        }
        assert_true(done > (capacities[i] < 100 ? 0.8 : 0.95) * capacities[i]);
        assert_true(latency > 60 && latency < (capacities[i] < 100 ? 700 : 260));
        assert_true(worst < 5000); // 20/s is a fifth of the first rate
        world_destroy(&w);
    }
}

static void it_follows_a_server_that_becomes_slower_and_faster(void **state)
{
    struct world w;
    (void)state;
    title("2000/s, at 20 s 400/s, at 50 s 2000/s");
    world_create(&w, WIDE, 2000, UINT64_MAX / 2);
    for (unsigned s = 0; s < 20; s++)
        run_second(&w);
    w.capacity = 400;
    struct second sec = {0};
    for (unsigned s = 0; s < 30; s++)
        sec = run_second(&w);
    assert_true(sec.done > 300 && sec.latency_ms < 400);
    assert_int_equal(sec.failed, 0);
    w.capacity = 2000;
    for (unsigned s = 0; s < 15; s++)
        sec = run_second(&w);
    assert_true(sec.done > 1500 && sec.latency_ms < 500);
    world_destroy(&w);
}

static void failures_halve_the_rate_at_once_and_it_recovers(void **state)
{
    struct world w;
    (void)state;
    title("1000/s that refuses above 20 waiting; from 15 s it takes all");
    world_create(&w, WIDE, 1000, UINT64_MAX / 2);
    w.refuse_above = 20;
    double failed = 0, started = 0;
    for (unsigned s = 0; s < 15; s++) {
        struct second sec = run_second(&w);
        failed += s >= 5 ? sec.failed : 0;
        started += s >= 5 ? sec.started : 0;
    }
    assert_true(failed / started < 0.15);
    w.refuse_above = 0;
    struct second sec = {0};
    for (unsigned s = 0; s < 20; s++)
        sec = run_second(&w);
    assert_true(sec.done > 800);
    world_destroy(&w);
}

static void a_drop_is_one_halving_a_target_time(void **state)
{
    struct world w;
    int64_t retry;
    (void)state;
    world_create(&w, WIDE, 0, 0);
    w.pacer.rate = 1000;
    w.pacer.integral = log(1000);
    pacer_allows(&w.pacer, w.now_us, &retry);
    for (unsigned i = 0; i < 20; i++)
        pacer_started(&w.pacer, w.now_us);
    w.now_us += 100000;
    for (unsigned i = 0; i < 20; i++)
        pacer_ended(&w.pacer, w.now_us, 100000, i % 2 == 0); // the eighth closes the period
    assert_true(fabs(w.pacer.rate - 500) < 1);
    for (unsigned i = 0; i < 20; i++)
        pacer_started(&w.pacer, w.now_us);
    w.now_us += 100000; // what fails now was begun before the drop
    for (unsigned i = 0; i < 20; i++)
        pacer_ended(&w.pacer, w.now_us, 100000, true);
    assert_true(fabs(w.pacer.rate - 500) < 1);
    world_destroy(&w);
}

static void a_server_that_never_answers_ends_at_the_minimum(void **state)
{
    struct world w;
    (void)state;
    title("a server that never answers");
    world_create(&w, "{\"connectWindow\":100000,\"connectPacing\":{\"minRate\":5}}", 1000, UINT64_MAX / 2);
    w.dead = true;
    for (unsigned s = 0; s < 40; s++)
        run_second(&w);
    assert_true(w.pacer.rate < 5.01 && w.pacer.rate > 4.99);
    w.dead = false; // and comes back
    struct second sec = {0};
    for (unsigned s = 0; s < 30; s++)
        sec = run_second(&w);
    assert_true(sec.done > 500);
    world_destroy(&w);
}

// A minute in which hardly anybody wants to connect teaches nothing about what the server could do.
static void it_does_not_wind_up_while_nobody_waits(void **state)
{
    struct world w;
    (void)state;
    title("1000/s; from 10 s to 70 s two a second, then all");
    world_create(&w, WIDE, 1000, UINT64_MAX / 2);
    for (unsigned s = 0; s < 10; s++)
        run_second(&w);
    double before = w.pacer.rate;
    for (unsigned s = 0; s < 60; s++) {
        w.wanted = 2;
        run_second(&w);
    }
    assert_true(w.pacer.rate < 2 * before);
    w.wanted = UINT64_MAX / 2;
    double worst = 0;
    for (unsigned s = 0; s < 10; s++) {
        struct second sec = run_second(&w);
        worst = sec.latency_ms > worst ? sec.latency_ms : worst;
    }
    assert_true(worst < 1000);
    world_destroy(&w);
}

static void the_window_holds_whatever_the_rate(void **state)
{
    struct world w;
    int64_t retry;
    (void)state;
    title("window 64, 200/s");
    world_create(&w, "{\"connectPacing\":\"adaptive\"}", 200, UINT64_MAX / 2);
    for (unsigned s = 0; s < 15; s++) {
        run_second(&w);
        assert_true(w.pacer.under_way <= 64);
    }
    w.pacer.under_way = 64;
    assert_int_equal(pacer_allows(&w.pacer, w.now_us, &retry), 0);
    assert_int_equal(retry, -1);
    world_destroy(&w);
}

static void a_fixed_rate_is_kept_to_the_connect(void **state)
{
    struct world w;
    int64_t retry;
    (void)state;
    title("connectRate 50");
    world_create(&w, "{\"connectRate\":50}", 10000, UINT64_MAX / 2);
    double started = 0;
    for (unsigned s = 0; s < 20; s++)
        started += run_second(&w).started;
    assert_true(started >= 998 && started <= 1002);
    assert_int_equal(pacer_allows(&w.pacer, w.now_us + 100, &retry), 0);
    assert_true(retry > 0 && retry <= 20000);
    assert_int_equal(pacer_allows(&w.pacer, w.now_us + 100 + retry, &retry), 1);
    world_destroy(&w);
    // Adaptive under a limit stays below it.
    world_create(&w, "{\"connectWindow\":1000,\"connectRate\":50,\"connectPacing\":\"adaptive\"}", 10000,
                 UINT64_MAX / 2);
    for (unsigned s = 0; s < 10; s++)
        assert_true(run_second(&w).started <= 52);
    world_destroy(&w);
}

static void without_a_rate_only_the_window_counts(void **state)
{
    struct world w;
    int64_t retry;
    (void)state;
    world_create(&w, "{}", 0, 0);
    assert_int_equal(pacer_allows(&w.pacer, 0, &retry), 64);
    assert_int_equal(retry, -1);
    for (unsigned i = 0; i < 60; i++)
        pacer_started(&w.pacer, 0);
    assert_int_equal(pacer_allows(&w.pacer, 0, &retry), 4);
    pacer_ended(&w.pacer, 1, 1, true);
    assert_int_equal(pacer_allows(&w.pacer, 1, &retry), 5);
    world_destroy(&w);
}

static void refuses(const char *options, const char *part)
{
    struct pacer_config config;
    struct error err = {0};
    json_t *json = json_loads(options, 0, NULL);
    assert_non_null(json);
    assert_int_equal(pacer_config_parse(json, &config, &err), -1);
    if (!strstr(err.text, part))
        fail_msg("%s: \"%s\" lacks \"%s\"", options, err.text, part);
    json_decref(json);
}

static void bad_options_say_what_is_valid(void **state)
{
    (void)state;
    refuses("{\"connectWindow\":0}", "connectWindow: expected a number from 1");
    refuses("{\"connectWindow\":1.5}", "a whole number");
    refuses("{\"connectWindow\":\"many\"}", "connectWindow");
    refuses("{\"connectRate\":-1}", "connectRate: expected a number from 0");
    refuses("{\"connectPacing\":\"adaptiv\"}", "did you mean \"adaptive\"?");
    refuses("{\"connectPacing\":3}", "connectPacing: expected \"fixed\"");
    refuses("{\"connectPacing\":{\"targett\":1}}", "did you mean \"target\"?");
    refuses("{\"connectPacing\":{\"target\":\"soon\"}}", "connectPacing.target");
    refuses("{\"connectPacing\":{\"target\":\"2m\"}}", "1 ms to 60 s");
    refuses("{\"connectPacing\":{\"target\":true}}", "connectPacing.target: expected a duration");
    refuses("{\"connectPacing\":{\"maxFailures\":2}}", "maxFailures: expected a number from 0 to 1");
    refuses("{\"connectPacing\":{\"minRate\":0}}", "minRate");
}

static void options_are_read(void **state)
{
    struct pacer_config c;
    struct error err;
    (void)state;
    assert_int_equal(pacer_config_parse(NULL, &c, &err), 0);
    assert_int_equal(c.window, 64);
    assert_true(!c.adaptive && c.rate == 0 && c.target_us == 200000 && c.min_rate == 1 && c.max_failures == 0.1);
    json_t *json =
        json_loads("{\"connectWindow\":7,\"connectRate\":3,\"keepAlive\":1,\"connectPacing\":{\"target\":0.5,"
                   "\"minRate\":9,\"maxFailures\":0.3}}",
                   0, NULL);
    assert_int_equal(pacer_config_parse(json, &c, &err), 0);
    assert_true(c.window == 7 && c.rate == 3 && c.adaptive && c.target_us == 500000 && c.max_failures == 0.3);
    assert_true(c.min_rate == 3); // a minimum above the limit is the limit
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_settles_at_what_the_server_can_do),
        cmocka_unit_test(it_follows_a_server_that_becomes_slower_and_faster),
        cmocka_unit_test(failures_halve_the_rate_at_once_and_it_recovers),
        cmocka_unit_test(a_drop_is_one_halving_a_target_time),
        cmocka_unit_test(a_server_that_never_answers_ends_at_the_minimum),
        cmocka_unit_test(it_does_not_wind_up_while_nobody_waits),
        cmocka_unit_test(the_window_holds_whatever_the_rate),
        cmocka_unit_test(a_fixed_rate_is_kept_to_the_connect),
        cmocka_unit_test(without_a_rate_only_the_window_counts),
        cmocka_unit_test(bad_options_say_what_is_valid),
        cmocka_unit_test(options_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
