// Every way in which a child of a run can go wrong, and the run goes on (or ends) as it should.
#include "engine/run_world.h"

// --- children that go wrong

static void a_lost_shard_comes_back(void **state)
{
    (void)state;
    static const struct {
        const char *how, *text;
    } cases[] = {
        {"stuck", "stuck in device g-2"},
        {"mute", "did not answer"},
        {"asleep", "did not answer"},
        {"crash", "signal 11"},
        {"exit", "out of memory"},
        {"garbage", "broke the protocol"},
        {"badjson", "a message that cannot be read"},
        {"badsnapshot", "a snapshot that cannot be read"},
        {"badstatus", "does not fit the plan"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct world *w = make(3);
        char x[128];
        snprintf(x, sizeof(x), "\"how\":\"%s\",\"device\":2,\"messages\":60", cases[i].how);
        run_text(w, 9, x, DURATION(3000000));
        expect_exit(w, 0);
        expect_log(w, cases[i].text);
        expect_log(w, "shard 1 is restarted");
        assert_int_equal(w->result.shards_lost, 1);
        assert_int_equal(w->result.shards_restarted, 1);
        // The other six devices were not disturbed, the three that came back sent all of theirs.
        assert_in_range(w->result.totals.sent, 9 * 60, 9 * 60 + 3 * 60);
        assert_int_equal(w->result.totals.ever_online, 9);
        done(w);
    }
}

static void what_a_lost_shard_had_done_still_counts(void **state)
{
    (void)state;
    struct world *w = make(1);
    run_text(w, 3, "\"how\":\"crash\",\"device\":2,\"after\":75,\"messages\":76", DURATION(4500000));
    expect_exit(w, 0);
    // The second incarnation sends 3 x 76; the first reported once a second, and crashed after a second and a half.
    assert_in_range(w->result.totals.sent, 3 * 76 + 3 * 15, 6 * 76);
    assert_in_range(w->result.totals.connects, 6, 6);
    done(w);
}

static void a_device_that_does_it_twice_is_quarantined(void **state)
{
    (void)state;
    struct world *w = make(2);
    run_text(w, 6, "\"how\":\"stuck\",\"device\":3,\"times\":9,\"messages\":40", DURATION(4000000));
    expect_exit(w, 0);
    assert_int_equal(w->result.shards_lost, 2);
    expect_log(w, "g-3");
    expect_log(w, "is in quarantine");
    expect_log(w, "fleet.lua:42");
    assert_int_equal(w->result.totals.failed, 1);
    bool found = false;
    for (unsigned i = 0; i < w->result.n_errors; i++)
        found |= strcmp(w->result.errors[i].reason, "stuck: g-3") == 0 && w->result.errors[i].count == 2;
    assert_true(found);
    done(w);
}

static void too_many_losses_end_the_run(void **state)
{
    (void)state;
    struct world *w = make(2);
    run_text(w, 6, "\"how\":\"crash\",\"device\":3,\"times\":99,\"after\":0", DURATION(60000000));
    expect_exit(w, 120);
    assert_int_equal(w->result.shards_lost, 6);
    assert_int_equal(w->result.shards_restarted, 5);
    assert_true(w->took_us < 30 * SECOND);
    done(w);
}

static void policy_fail_ends_the_run(void **state)
{
    (void)state;
    struct world *w = make(2);
    run_text(w, 6, "\"how\":\"crash\",\"device\":3", DURATION(30000000) ",\"on_shard_lost\":\"fail\"");
    expect_exit(w, 120);
    assert_int_equal(w->result.shards_restarted, 0);
    assert_true(w->took_us < 10 * SECOND);
    assert_true(w->result.totals.sent > 0); // the last snapshot of the lost, the final one of the other
    done(w);
}

static void kill_a_child(struct world *w)
{
    pid_t pids[16];
    (void)w;
    unsigned n = children(getpid(), pids, 16, false);
    assert_true(n >= 3);
    unsigned first = n - 3; // the director, which may not have ended yet, was started before the shards
    kill(pids[first + (unsigned)rand() % 3], SIGKILL);
}

static void any_child_may_be_killed_at_random(void **state)
{
    (void)state;
    srand((unsigned)getpid());
    for (int i = 0; i < 4; i++) {
        struct world *w = make(3);
        w->act_phase = i < 2 ? RUN_HOLD : RUN_RAMP;
        w->act = kill_a_child;
        run_text(w, 9, "\"messages\":50", DURATION(2500000));
        expect_exit(w, 0);
        assert_int_equal(w->result.shards_lost, 1);
        assert_true(w->result.totals.sent >= 9 * 50 - 3 * 50);
        done(w);
    }
}

static void a_child_that_ignores_stop_is_killed_in_time(void **state)
{
    (void)state;
    static const char *const how[] = {"\"stop\":\"asleep\"", "\"stop\":\"mute\"",
                                      "\"test_stop\":\"asleep\",\"test\":\"never\""};
    for (int i = 0; i < 3; i++) {
        struct world *w = make(2);
        struct run_limits patient = short_limits;
        patient.ping_us = 60 * SECOND; // or the watchdog is first
        w->config.limits = &patient;
        run_text(w, 4, how[i], i == 2 ? ",\"has_test\":true" DURATION(500000) : DURATION(500000));
        expect_exit(w, i == 2 ? 110 : 120);
        expect_log(w, i == 2 ? "the test process" : "shard 0");
        assert_in_range(w->result.elapsed_us, 500000, 500000 + 1000000 + 2 * SECOND);
        done(w);
    }
}

static void a_device_that_must_not_fail_fails_the_run(void **state)
{
    (void)state;
    struct world *w = make(1);
    run_text(w, 4, "\"how\":\"fail\",\"device\":2", DURATION(1000000));
    expect_exit(w, 0);
    assert_int_equal(w->result.totals.failed, 1);
    assert_int_equal(w->result.n_errors, 1);
    assert_string_equal(w->result.errors[0].reason, "script: fleet.lua:7: boom");
    assert_string_equal(w->result.errors[0].device, "g-2");
    done(w);
}

static void output_of_a_child_becomes_log_lines(void **state)
{
    (void)state;
    struct world *w = make(1);
    run_text(w, 4, "\"how\":\"print\",\"device\":2", DURATION(600000));
    expect_exit(w, 0);
    expect_log(w, "shard 0: a line on stdout");
    done(w);
#ifdef IOTIX_ASAN
    w = make(1);
    run_text(w, 4, "\"how\":\"leak\",\"device\":2", DURATION(600000));
    expect_log(w, "memory leaks");
    done(w);
#endif
}

static void kill_broker(struct world *w)
{
    pid_t pid;
    (void)w;
    assert_int_equal(children(getpid(), &pid, 1, true), 1);
    kill(pid, SIGKILL);
}

static void a_broker_that_dies_is_said_at_once(void **state)
{
    (void)state;
    struct world *w = make(1);
    w->act_phase = RUN_HOLD;
    w->act = kill_broker;
    run_text(w, 4, "", DURATION(1500000));
    expect_exit(w, 111);
    expect_log(w, "the embedded broker was killed by signal 9");
    assert_true(w->result.n_errors > 0);
    done(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_shard_comes_back),
        cmocka_unit_test(what_a_lost_shard_had_done_still_counts),
        cmocka_unit_test(a_device_that_does_it_twice_is_quarantined),
        cmocka_unit_test(too_many_losses_end_the_run),
        cmocka_unit_test(policy_fail_ends_the_run),
        cmocka_unit_test(any_child_may_be_killed_at_random),
        cmocka_unit_test(a_child_that_ignores_stop_is_killed_in_time),
        cmocka_unit_test(a_device_that_must_not_fail_fails_the_run),
        cmocka_unit_test(output_of_a_child_becomes_log_lines),
        cmocka_unit_test(a_broker_that_dies_is_said_at_once),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup_world, NULL);
}
