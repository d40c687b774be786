// Streams over a path, in virtual time: the TCP model against Mathis and against the rate of a bandwidth, timeouts,
// connects, resets, and what goes from inside a callback. The numbers are printed.
#include "path_world.h"

struct stream {
    struct world *w;
    struct path *path;
    struct path_port *port;
    struct timer timer;
    uint64_t sent[2], arrived[2];
    unsigned cuts;
    enum error_code why;
    bool stopped[2];
    int64_t arrived_us;
    enum path_direction direction; // of the bulk
    uint32_t backlog;              // kept up by the timer
};

// What a stream carries: at each place the bytes that belong there, compared as a whole.
#define PERIOD 65521u
static uint8_t stuff[PERIOD + 65536u];

static const uint8_t *stuff_at(uint64_t at, enum path_direction direction)
{
    if (!stuff[PERIOD]) {
        struct rng rng;
        rng_seed(&rng, 8);
        for (size_t i = 0; i < PERIOD; i++)
            stuff[i] = (uint8_t)(rng_u64(&rng) | 1);
        for (size_t i = PERIOD; i < sizeof stuff; i++)
            stuff[i] = stuff[i - PERIOD];
    }
    return stuff + (at + (direction == PATH_UP ? 0 : 1000)) % PERIOD;
}

static void on_bytes(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct stream *s = owner;
    if (memcmp(bytes, stuff_at(s->arrived[direction], direction), n) != 0)
        fail_msg("bytes from %llu on are wrong", (unsigned long long)s->arrived[direction]);
    s->arrived[direction] += n;
    s->arrived_us = world_now(s->w);
}

static void on_stream_cut(void *owner, const struct error *why)
{
    struct stream *s = owner;
    s->cuts++;
    s->why = why->code;
}

static void on_throttle(void *owner, enum path_direction direction, bool stop)
{
    struct stream *s = owner;
    assert_true(s->stopped[direction] != stop);
    s->stopped[direction] = stop;
}

static const struct path_port_events streams = {.deliver = on_bytes, .cut = on_stream_cut, .throttle = on_throttle};

static void stream_create(struct stream *s, struct world *w, uint64_t seed, const char *fault)
{
    memset(s, 0, sizeof *s);
    s->w = w;
    s->path = path_new(w->env, seed, NULL);
    if (fault)
        apply(s->path, 1, fault);
    s->port = path_port_new(s->path, true, &world_peer, &streams, s, NULL);
    assert_non_null(s->port);
}

static void stream_destroy(struct stream *s)
{
    loop_timer_stop(s->w->loop, &s->timer);
    path_port_delete(s->port);
    path_release(s->path);
}

static void write_bytes(struct stream *s, enum path_direction direction, size_t n)
{
    const uint8_t *bytes = stuff_at(s->sent[direction], direction);
    assert_true(n <= 65536);
    s->sent[direction] += n;
    if (path_port_pass(s->port, direction, bytes, n))
        on_bytes(s, direction, bytes, n);
}

static void top_up(struct timer *t, void *loop)
{
    struct stream *s = container_of(t, struct stream, timer);
    while (path_port_held(s->port) + 65536 <= s->backlog)
        write_bytes(s, s->direction, 65536);
    loop_timer_start(loop, t, 10 * MS, top_up);
}

static void bulk(struct stream *s, enum path_direction direction, uint32_t backlog)
{
    s->direction = direction;
    s->backlog = backlog;
    loop_timer_start(s->w->loop, &s->timer, 0, top_up);
}

static void goodput_is_that_of_mathis(void **state)
{
    (void)state;
    static const struct {
        double p;
        int rtt_ms;
    } cases[] = {{0.0005, 50}, {0.001, 100}, {0.002, 200}, {0.005, 50}, {0.01, 100}, {0.01, 300}, {0.02, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct stream s;
        char fault[128];
        snprintf(fault, sizeof fault, "{'rtt': '%dms', 'up': {'loss': %g}}", cases[i].rtt_ms, cases[i].p);
        world_create(&w);
        stream_create(&s, &w, 42, fault);
        bulk(&s, PATH_UP, 2u << 20);
        // Until there were about 400 losses, so that the mean is one.
        int64_t us = (int64_t)(400 / cases[i].p / (1.2247 / sqrt(cases[i].p)) * cases[i].rtt_ms * 1000);
        world_run(&w, 10 * SECOND);
        uint64_t before = s.arrived[PATH_UP];
        world_run(&w, us);
        double goodput = (double)(s.arrived[PATH_UP] - before) / ((double)us / 1e6);
        double mathis = 1460 / (cases[i].rtt_ms / 1000.) * sqrt(1.5) / sqrt(cases[i].p);
        struct path_totals totals = world_totals(&w);
        printf(
            "# RTT %d ms, loss %g: goodput %.0f byte/s, Mathis %.0f, ratio %.2f (%.0f s, %llu lost, %llu timeouts)\n",
            cases[i].rtt_ms, cases[i].p, goodput, mathis, goodput / mathis, (double)us / 1e6,
            (unsigned long long)totals.dropped[PATH_UP], (unsigned long long)totals.timeouts[PATH_UP]);
        assert_true(goodput > 0.75 * mathis && goodput < 1.25 * mathis);
        assert_true(totals.retransmitted[PATH_UP] >= totals.dropped[PATH_UP] * 9 / 10);
        stream_destroy(&s);
        world_destroy(&w);
    }
}

static void throughput_is_that_of_the_bandwidth(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        double rate;
    } cases[] = {
        {"{'bandwidth': '500kbit', 'latency': '100ms'}", 500e3},
        {"{'bandwidth': '20kbit', 'latency': '1s'}", 20e3},
        {"{'bandwidth': '10mbit', 'rtt': '50ms'}", 10e6},
        {"{'bandwidth': {'rate': '1mbit', 'full': 'drop', 'queue': 30000}, 'latency': '20ms'}", 1e6},
        {"{'bandwidth': {'rate': '1mbit', 'burst': 20000, 'queueTime': '100ms'}, 'latency': '20ms'}", 1e6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int d = 0; d < 2; d++) {
            struct world w;
            struct stream s;
            world_create(&w);
            stream_create(&s, &w, 3, cases[i].fault);
            bulk(&s, d, 1u << 20);
            world_run(&w, 20 * SECOND);
            uint64_t before = s.arrived[d];
            world_run(&w, 100 * SECOND);
            // With headers, as the wire carries them.
            double rate = (double)(s.arrived[d] - before) * 8 / 100 * 1500 / 1460;
            printf("# %s, %s: %.0f bit/s with headers, %.1f %% of the rate\n", cases[i].fault, d ? "down" : "up", rate,
                   rate / cases[i].rate * 100);
            assert_true(rate > 0.9 * cases[i].rate && rate < 1.01 * cases[i].rate);
            stream_destroy(&s);
            world_destroy(&w);
        }
}

static void segments_obey_the_mtu(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    // 100 bytes of payload in 140: the rate shows what a segment carries.
    stream_create(&s, &w, 1, "{'mtu': 140, 'bandwidth': '1mbit'}");
    bulk(&s, PATH_UP, 512u << 10);
    world_run(&w, 20 * SECOND);
    double rate = (double)s.arrived[PATH_UP] * 8 / 20;
    printf("# mtu 140 at 1 mbit/s: %.0f bit/s of payload, expected %.0f\n", rate, 1e6 * 100 / 140);
    assert_true(fabs(rate - 1e6 * 100 / 140) < 0.03e6);
    stream_destroy(&s);
    world_destroy(&w);
}

// --- streams under changes

static void latency_of_a_stream(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'up': {'latency': '300ms'}, 'down': {'latency': '700ms'}}");
    for (int d = 0; d < 2; d++) {
        int64_t from_us = world_now(&w), want_us = d ? 700 * MS : 300 * MS;
        write_bytes(&s, d, 10);
        assert_int_equal(s.arrived[d], 0);
        world_run(&w, 2 * SECOND);
        assert_int_equal(s.arrived[d], 10);
        assert_true(s.arrived_us - from_us >= want_us && s.arrived_us - from_us <= want_us + 2 * MS);
    }
    assert_int_equal(world_totals(&w).retransmitted[0] + world_totals(&w).retransmitted[1], 0);
    // The latency ends: what is under way still takes its time, and nothing overtakes it.
    int64_t from_us = world_now(&w);
    write_bytes(&s, PATH_DOWN, 10);
    world_run(&w, 100 * MS);
    assert_true(path_remove(s.path, 1));
    assert_false(path_remove(s.path, 1));
    write_bytes(&s, PATH_DOWN, 10);
    WORLD_WAIT(&w, s.arrived[1] == 30, SECOND);
    assert_true(s.arrived_us - from_us >= 700 * MS);
    // With nothing held, bytes are not touched.
    uint64_t arrived = s.arrived[PATH_UP];
    write_bytes(&s, PATH_UP, 10);
    assert_int_equal(s.arrived[PATH_UP], arrived + 10);
    stream_destroy(&s);
    world_destroy(&w);
}

// One small message, lost: it comes with the retransmission, 200 ms and a round trip later at the earliest.
static void a_lost_message_comes_with_the_timeout(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'rtt': '100ms'}");
    for (int i = 0; i < 20; i++) { // the round trip becomes known
        write_bytes(&s, PATH_UP, 10);
        world_run(&w, 300 * MS);
    }
    apply(s.path, 2, "{'partition': true}");
    int64_t from_us = world_now(&w);
    write_bytes(&s, PATH_UP, 10);
    world_run(&w, 50 * MS);
    assert_true(path_remove(s.path, 2));
    uint64_t want = s.sent[PATH_UP];
    WORLD_WAIT(&w, s.arrived[PATH_UP] == want, 5 * SECOND);
    double took_ms = (double)(s.arrived_us - from_us) / 1000;
    printf("# a message lost in a partition of 50 ms, RTT 100 ms: arrives after %.0f ms (RTO 300 + 50)\n", took_ms);
    assert_true(took_ms >= 345 && took_ms <= 365);
    assert_int_equal(world_totals(&w).timeouts[PATH_UP], 1);
    // A long one: it comes with the next of the retransmissions that double their distance.
    apply(s.path, 2, "{'partition': {'direction': 'up'}}");
    from_us = world_now(&w);
    write_bytes(&s, PATH_UP, 10);
    write_bytes(&s, PATH_DOWN, 10); // the other direction passes
    world_run(&w, 10 * SECOND);
    assert_int_equal(s.arrived[PATH_UP], want);
    assert_int_equal(s.arrived[PATH_DOWN], 10);
    assert_true(path_remove(s.path, 2));
    WORLD_WAIT(&w, s.arrived[PATH_UP] == want + 10, 30 * SECOND);
    took_ms = (double)(s.arrived_us - from_us) / 1000;
    // Retransmissions after 0.3, 0.9, 2.1, 4.5, 9.3 and 18.9 s.
    printf("# healed after 10 s: arrives after %.0f ms (18.9 s and 50 ms)\n", took_ms);
    assert_true(took_ms > 18500 && took_ms < 19500);
    stream_destroy(&s);
    world_destroy(&w);
}

static void tcp_gives_up(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'partition': true}");
    write_bytes(&s, PATH_UP, 10);
    world_run(&w, 900 * SECOND);
    assert_int_equal(s.cuts, 0);
    world_run(&w, 200 * SECOND);
    assert_int_equal(s.cuts, 1);
    assert_int_equal(s.why, ERR_TIMEOUT);
    stream_destroy(&s);
    world_destroy(&w);
}

static void a_full_stream_asks_for_no_more(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'partition': true}");
    while (!s.stopped[PATH_DOWN]) {
        write_bytes(&s, PATH_DOWN, 10000);
        assert_true(s.sent[PATH_DOWN] < 400000);
    }
    assert_true(path_port_held(s.port) >= 256 * 1024);
    assert_true(path_remove(s.path, 1));
    WORLD_WAIT(&w, s.arrived[PATH_DOWN] == s.sent[PATH_DOWN], 60 * SECOND);
    assert_false(s.stopped[PATH_DOWN]);
    stream_destroy(&s);
    world_destroy(&w);
}

// --- connections of ports, faults by number, memory

static void connects_of_ports(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *host;
        enum error_code code; // ERR_NONE: it comes about
        int64_t least_us, most_us;
    } cases[] = {
        {"{'rtt': '300ms'}", NULL, ERR_NONE, 300 * MS, 300 * MS},
        {"{'rtt': '300ms'}", "example.org", ERR_NONE, 600 * MS, 600 * MS},
        {"{'rtt': '300ms'}", "192.0.2.1", ERR_NONE, 300 * MS, 300 * MS},
        {"{'rtt': '300ms'}", "2001:db8::1", ERR_NONE, 300 * MS, 300 * MS},
        {"{'connect': {'refuse': 1}, 'rtt': '100ms'}", NULL, ERR_REFUSED, 100 * MS, 100 * MS},
        {"{'connect': {'delay': '2s'}, 'rtt': '100ms'}", NULL, ERR_NONE, 2100 * MS, 2100 * MS},
        {"{'connect': {'timeout': 1}}", NULL, ERR_TIMEOUT, 0, 0},
        {"{'partition': true}", NULL, ERR_TIMEOUT, 0, 0},
        {"{'dns': {'fail': 1, 'delay': '1s'}}", "example.org", ERR_RESOLVE, SECOND, SECOND},
        {"{'dns': {'fail': 1}}", "192.0.2.1", ERR_NONE, 0, 0},
        {"{'partition': {'protocols': ['dns']}}", "example.org", ERR_RESOLVE, 10 * SECOND, 10 * SECOND},
        {"{'partition': {'allow': {'protocols': ['dns']}}}", "example.org", ERR_TIMEOUT, 0, 0},
        {"{'tls': {'fail': 1}}", NULL, ERR_TLS, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct stream s;
        struct error err;
        int64_t delay_us = -1;
        world_create(&w);
        memset(&s, 0, sizeof s);
        s.w = &w;
        s.path = path_new(w.env, 9, NULL);
        apply(s.path, 1, cases[i].fault);
        struct path_peer peer = {.protocol = "http", .host = cases[i].host, .tls = true};
        s.port = path_port_new(s.path, true, &peer, &streams, &s, NULL);
        int rc = path_port_connect(s.port, &delay_us, &err);
        if (rc != (cases[i].code == ERR_NONE ? 0 : -1) || (rc < 0 && err.code != cases[i].code) ||
            delay_us < cases[i].least_us || delay_us > cases[i].most_us)
            fail_msg("%s %s: %d %s after %lld us", cases[i].fault, cases[i].host ? cases[i].host : "", rc,
                     rc < 0 ? error_code_name(err.code) : "", (long long)delay_us);
        stream_destroy(&s);
        world_destroy(&w);
    }
}

static void syns_are_lost_as_linux_resends_them(void **state)
{
    (void)state;
    struct world w;
    unsigned n = 2000, by_wait[4] = {0};
    world_create(&w);
    for (unsigned i = 0; i < n; i++) {
        struct stream s;
        int64_t delay_us;
        struct error err;
        stream_create(&s, &w, i, "{'up': {'loss': '30%'}, 'rtt': '100ms'}");
        if (path_port_connect(s.port, &delay_us, &err) == 0)
            for (unsigned k = 0; k < 4; k++)
                by_wait[k] += delay_us == 100 * MS + ((1 << k) - 1) * SECOND;
        stream_destroy(&s);
    }
    printf("# SYN loss 30 %%: connected at once %u, after 1 s %u, 3 s %u, 7 s %u of %u\n", by_wait[0], by_wait[1],
           by_wait[2], by_wait[3], n);
    assert_true(abs((int)by_wait[0] - 1400) < 82 && abs((int)by_wait[1] - 420) < 75);
    assert_true(by_wait[2] > 80 && by_wait[3] > 15);
    world_destroy(&w);
}

static void faults_have_numbers(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w);
    struct path *p = path_new(w.env, 1, NULL);
    struct fault_spec *spec = spec_of("{'latency': 1}");
    assert_int_equal(path_apply(p, 7, spec, &err), 0);
    assert_int_equal(path_apply(p, 7, spec, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(path_change(p, 8, spec, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(path_faults(p), 1);
    assert_int_equal(path_reset(p), 0);
    assert_true(path_remove(p, 7));
    assert_int_equal(path_faults(p), 0);
    fault_spec_release(spec);
    path_release(p);
    path_release(NULL);
    path_port_delete(NULL);
    world_destroy(&w);
}

static void resets_come_from_the_loop_and_again(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'latency': '10ms'}");
    write_bytes(&s, PATH_UP, 100);
    assert_int_equal(path_reset(s.path), 1);
    assert_int_equal(s.cuts, 0);
    world_run(&w, 10 * MS);
    assert_int_equal(s.cuts, 1);
    assert_int_equal(s.why, ERR_CLOSED);
    assert_int_equal(world_totals(&w).resets, 1);
    stream_destroy(&s);
    // A fault: at its beginning, and every 5 s.
    struct stream t;
    stream_create(&t, &w, 1, "{'reset': {'every': '5s'}}");
    world_run(&w, SECOND);
    assert_int_equal(t.cuts, 1);
    stream_destroy(&t);
    stream_create(&t, &w, 1, NULL);
    apply(t.path, 3, "{'reset': true}");
    world_run(&w, SECOND);
    assert_int_equal(t.cuts, 1);
    stream_destroy(&t);
    world_destroy(&w);
}

// A queue that holds its sender back bounds what others wait in it, and serves those who wait in turn.
static void a_full_queue_holds_senders_back(void **state)
{
    (void)state;
    struct world w;
    struct stream s, other, small;
    world_create(&w);
    stream_create(&s, &w, 1, "{'bandwidth': {'rate': '500kbit', 'queue': 20000}}");
    memset(&other, 0, sizeof other);
    memset(&small, 0, sizeof small);
    other.w = small.w = &w;
    other.path = path_ref(s.path);
    small.path = path_ref(s.path);
    other.port = path_port_new(s.path, true, &world_peer, &streams, &other, NULL);
    small.port = path_port_new(s.path, true, &world_peer, &streams, &small, NULL);
    bulk(&s, PATH_UP, 512u << 10);
    bulk(&other, PATH_UP, 512u << 10);
    world_run(&w, 30 * SECOND);
    uint64_t from[2] = {s.arrived[PATH_UP], other.arrived[PATH_UP]};
    int64_t longest_us = 0;
    for (int i = 0; i < 100; i++) {
        int64_t from_us = world_now(&w);
        write_bytes(&small, PATH_UP, 50);
        uint64_t want = small.sent[PATH_UP];
        WORLD_WAIT(&w, small.arrived[PATH_UP] == want, 10 * SECOND);
        if (small.arrived_us - from_us > longest_us)
            longest_us = small.arrived_us - from_us;
    }
    double share = (double)(s.arrived[PATH_UP] - from[0]) /
                   (double)(s.arrived[PATH_UP] - from[0] + other.arrived[PATH_UP] - from[1]);
    printf("# queue of 20000 bytes at 500 kbit/s (320 ms): a message waits %.0f ms at most; shares %.2f and %.2f\n",
           (double)longest_us / 1000, share, 1 - share);
    assert_true(longest_us > 250 * MS && longest_us < 450 * MS);
    assert_true(share > 0.4 && share < 0.6);
    assert_int_equal(world_totals(&w).dropped[PATH_UP], 0);
    stream_destroy(&small);
    stream_destroy(&other);
    stream_destroy(&s);
    world_destroy(&w);
}

static void a_path_at_rest_is_small(void **state)
{
    (void)state;
    struct world w;
    struct stream s;
    world_create(&w);
    stream_create(&s, &w, 1, "{'latency': '200ms', 'loss': '5%', 'bandwidth': '500kbit'}");
    for (int i = 0; i < 20; i++) {
        write_bytes(&s, PATH_UP, 500);
        write_bytes(&s, PATH_DOWN, 500);
    }
    world_run(&w, 60 * SECOND);
    assert_int_equal(s.arrived[0] + s.arrived[1], 20000);
    printf("# a path at rest with one fault and one stream: %zu bytes\n", path_footprint(s.path));
    assert_true(path_footprint(s.path) <= 1024 + 2 * 64); // and the two queues of its bandwidth
    stream_destroy(&s);
    stream_create(&s, &w, 1, "{'latency': '200ms'}");
    write_bytes(&s, PATH_UP, 500);
    world_run(&w, SECOND);
    printf("# the same without bandwidth: %zu bytes\n", path_footprint(s.path));
    assert_true(path_footprint(s.path) <= 1024);
    stream_destroy(&s);
    world_destroy(&w);
}

// --- deleting and changing from inside

static void on_cut(void *owner, const struct error *why)
{
    (void)owner, (void)why;
}

struct inside {
    struct path_port *port, *other;
    struct path *path;
    unsigned calls;
};

static void delete_all(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct inside *i = owner;
    (void)direction, (void)bytes, (void)n;
    i->calls++;
    path_port_delete(i->port);
    path_port_delete(i->other);
    i->port = i->other = NULL;
    path_remove(i->path, 1);
    path_release(i->path);
    i->path = NULL;
}

static void everything_goes_inside_a_callback(void **state)
{
    (void)state;
    static const struct path_port_events events = {.deliver = delete_all, .cut = on_cut};
    for (int stream = 0; stream < 2; stream++)
        for (int bandwidth = 0; bandwidth < 2; bandwidth++) {
            struct world w;
            uint8_t bytes[5000] = {0};
            world_create(&w);
            struct inside i = {.path = path_new(w.env, 1, NULL)};
            apply(i.path, 1, bandwidth ? "{'bandwidth': '100kbit'}" : "{'latency': '20ms'}");
            i.port = path_port_new(i.path, stream, &world_peer, &events, &i, NULL);
            i.other = path_port_new(i.path, !stream, &world_peer, &events, &i, NULL);
            assert_false(path_port_pass(i.port, PATH_UP, bytes, 1000));
            assert_false(path_port_pass(i.port, PATH_DOWN, bytes, 1000));
            assert_false(path_port_pass(i.other, PATH_UP, bytes, 1000));
            world_run(&w, SECOND);
            assert_int_equal(i.calls, 1);
            assert_null(i.path);
            world_destroy(&w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodput_is_that_of_mathis),
        cmocka_unit_test(throughput_is_that_of_the_bandwidth),
        cmocka_unit_test(segments_obey_the_mtu),
        cmocka_unit_test(latency_of_a_stream),
        cmocka_unit_test(a_lost_message_comes_with_the_timeout),
        cmocka_unit_test(tcp_gives_up),
        cmocka_unit_test(a_full_stream_asks_for_no_more),
        cmocka_unit_test(connects_of_ports),
        cmocka_unit_test(syns_are_lost_as_linux_resends_them),
        cmocka_unit_test(faults_have_numbers),
        cmocka_unit_test(resets_come_from_the_loop_and_again),
        cmocka_unit_test(a_full_queue_holds_senders_back),
        cmocka_unit_test(a_path_at_rest_is_small),
        cmocka_unit_test(everything_goes_inside_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
