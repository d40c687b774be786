// What faults do, measured against what was configured: every comparison is printed. Seeds are fixed, so a bound of
// four standard errors either always holds or never.
#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "link/fault.h"
#include "link/fault_text.h"

#define PACKETS 200000
#define SEED 20240229u
#define SECOND 1000000
#define ERRORS 4.0 // standard errors

static void begin(struct fault *f, const char *text, uint64_t number, uint64_t seed, int64_t now)
{
    struct fault_spec *s = fault_of(text);
    fault_create(f, s, number, seed, now);
    fault_spec_release(s);
}

static void within(const char *what, double configured, double measured, double bound)
{
    print_message("  %-44s configured %12.6g  measured %12.6g  bound %.3g\n", what, configured, measured, bound);
    if (!(fabs(measured - configured) <= bound))
        fail_msg("%s: configured %g, measured %g, bound %g", what, configured, measured, bound);
}

struct row { // of numbers, as they come
    double n, sum, squares, products, first, last, min, max;
};

static void row_add(struct row *r, double x)
{
    r->min = !r->n || x < r->min ? x : r->min;
    r->max = !r->n || x > r->max ? x : r->max;
    if (r->n)
        r->products += r->last * x;
    else
        r->first = x;
    r->n++;
    r->sum += x;
    r->squares += x * x;
    r->last = x;
}

static double row_mean(const struct row *r)
{
    return r->sum / r->n;
}

static double row_sd(const struct row *r)
{
    return sqrt(r->squares / r->n - row_mean(r) * row_mean(r));
}

static double row_correlation(const struct row *r) // of neighbours
{
    double m = row_mean(r), sd = row_sd(r);
    return ((r->products - m * (2 * r->sum - r->first - r->last)) / (r->n - 1) + m * m) / (sd * sd);
}

// --- latency

static struct row latencies(const char *text)
{
    struct fault f;
    struct row r = {0};
    begin(&f, text, 1, SEED, 0);
    for (int i = 0; i < PACKETS; i++)
        row_add(&r, (double)fault_delay(&f, PATH_UP, i * 1000, NULL) / 1000);
    fault_destroy(&f);
    return r;
}

static void latency_has_the_distribution_that_was_asked_for(void **state)
{
    (void)state;
    double root = sqrt(PACKETS);
    struct row r = latencies("{'latency':'200ms'}");
    within("fixed latency, ms", 200, row_mean(&r), 0);
    within("fixed latency, sd", 0, row_sd(&r), 1e-4);
    r = latencies("{'latency':{'value':'200ms','jitter':'30ms'}}");
    within("normal, mean ms", 200, row_mean(&r), ERRORS * 30 / root);
    within("normal, sd ms", 30, row_sd(&r), ERRORS * 30 / root / M_SQRT2);
    within("normal, correlation", 0, row_correlation(&r), ERRORS / root);
    r = latencies("{'latency':{'value':'200ms','jitter':'30ms','distribution':'uniform'}}");
    within("uniform, mean ms", 200, row_mean(&r), ERRORS * 30 / sqrt(3) / root);
    within("uniform, sd ms (half width / sqrt 3)", 30 / sqrt(3), row_sd(&r), ERRORS * 30 / sqrt(3) / root);
    assert_true(r.min >= 170 && r.min < 170.1 && r.max <= 230 && r.max > 229.9);
    r = latencies("{'latency':{'value':'200ms','jitter':'30ms','distribution':'pareto'}}");
    within("pareto, mean ms", 200, row_mean(&r), ERRORS * 30 / root);
    within("pareto, sd ms (its error has no variance)", 30, row_sd(&r), 5);
    print_message("  pareto: least %.1f ms, most %.0f ms\n", r.min, r.max);
    assert_true(r.min >= 200 - 0.578 * 30 && r.min < 200 - 0.577 * 30);
    assert_true(r.max > 200 + 20 * 30); // heavy: of 200,000 normals none comes near 5 sd
}

static void correlation_changes_neither_mean_nor_spread(void **state)
{
    (void)state;
    static const struct {
        const char *distribution;
        double sd;
    } kinds[] = {{"normal", 30}, {"uniform", 17.3205}, {"pareto", 30}};
    static const double correlations[] = {0.25, 0.8};
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < 2; i++) {
            double c = correlations[i], stretch = sqrt((1 + c) / (1 - c)), root = sqrt(PACKETS);
            char text[160], what[80];
            snprintf(text, sizeof text, "{'latency':{'value':0.2,'jitter':0.03,'distribution':'%s','correlation':%g}}",
                     kinds[k].distribution, c);
            struct row r = latencies(text);
            snprintf(what, sizeof what, "%s, correlation %g: mean ms", kinds[k].distribution, c);
            within(what, 200, row_mean(&r), ERRORS * kinds[k].sd * stretch / root);
            snprintf(what, sizeof what, "%s, correlation %g: sd ms", kinds[k].distribution, c);
            within(what, kinds[k].sd, row_sd(&r), k == 2 ? 5 : ERRORS * kinds[k].sd * stretch / root);
            snprintf(what, sizeof what, "%s, correlation %g: correlation", kinds[k].distribution, c);
            // Of pareto a few delays of the tail decide: its fourth moment is infinite.
            within(what, c, row_correlation(&r), k == 2 ? 0.05 : ERRORS / root);
        }
    }
}

static void latency_is_clipped_at_zero_and_at_an_hour(void **state)
{
    (void)state;
    struct row r = latencies("{'latency':{'value':'10ms','jitter':'20ms'}}");
    // E max(0, X) of N(10, 20): 10 Phi(1/2) + 20 phi(1/2)
    double mean = 10 * 0.5 * erfc(-0.5 / M_SQRT2) + 20 * exp(-0.125) / sqrt(2 * M_PI);
    within("normal clipped at 0, mean ms", mean, row_mean(&r), ERRORS * 20 / sqrt(PACKETS));
    assert_true(r.min == 0);
    r = latencies("{'latency':{'value':'1h','jitter':'1h'}}");
    assert_true(r.max * 1000 == (double)FAULT_LATENCY_MAX_US);
}

static void up_and_down_have_latencies_of_their_own(void **state)
{
    (void)state;
    struct fault f;
    begin(&f, "{'latency':'100ms','down':{'latency':{'ramp':{'from':0,'to':1,'over':10}}}}", 1, SEED, 5 * SECOND);
    assert_int_equal(fault_delay(&f, PATH_UP, 10 * SECOND, NULL), 100000);
    assert_int_equal(fault_delay(&f, PATH_DOWN, 5 * SECOND, NULL), 0);
    assert_int_equal(fault_delay(&f, PATH_DOWN, 10 * SECOND, NULL), 500000);
    assert_int_equal(fault_mean_delay(&f, PATH_DOWN, 10 * SECOND), 500000);
    assert_int_equal(fault_delay(&f, PATH_DOWN, 60 * SECOND, NULL), SECOND);
    fault_destroy(&f);
}

// --- events: loss, duplicate, corrupt, reorder

enum event { LOSS, DUPLICATE, CORRUPT };

static struct row events(const char *text, enum event what, bool stream)
{
    struct fault f;
    struct row r = {0};
    begin(&f, text, 1, SEED, 0);
    for (int i = 0; i < PACKETS; i++) {
        struct fault_damage d;
        fault_damage(&f, PATH_DOWN, 100, stream, i, &d);
        row_add(&r, what == LOSS ? d.drop : what == DUPLICATE ? d.duplicate : d.corrupt);
    }
    fault_destroy(&f);
    return r;
}

static double binomial(double p, double n)
{
    return ERRORS * sqrt(p * (1 - p) / n);
}

static void events_happen_as_often_as_configured(void **state)
{
    (void)state;
    static const double shares[] = {0.001, 0.05, 0.5, 0.99};
    for (size_t i = 0; i < 4; i++) {
        char text[80];
        double p = shares[i];
        snprintf(text, sizeof text, "{'loss':%g,'duplicate':%g,'corrupt':%g}", p, p, p);
        struct row r = events(text, DUPLICATE, false);
        within("duplicate", p, row_mean(&r), binomial(p, PACKETS));
        r = events(text, CORRUPT, false);
        within("corrupt", p, row_mean(&r), binomial(p, PACKETS));
        snprintf(text, sizeof text, "{'loss':%g}", p);
        r = events(text, LOSS, true);
        within("loss", p, row_mean(&r), binomial(p, PACKETS));
        within("loss, correlation", 0, row_correlation(&r), ERRORS / sqrt(PACKETS));
    }
    struct row none = events("{'loss':0}", LOSS, false), all = events("{'loss':1}", LOSS, false);
    assert_true(none.sum == 0 && all.sum == PACKETS);
}

static void correlated_loss_keeps_its_rate(void **state)
{
    (void)state;
    static const double correlations[] = {0.25, 0.9};
    for (size_t i = 0; i < 2; i++) {
        char text[80];
        double p = 0.05, c = correlations[i], stretch = sqrt((1 + c) / (1 - c));
        snprintf(text, sizeof text, "{'loss':{'rate':%g,'correlation':%g}}", p, c);
        struct row r = events(text, LOSS, false);
        within("correlated loss", p, row_mean(&r), binomial(p, PACKETS) * stretch);
        within("correlated loss, correlation", c, row_correlation(&r), 0.025);
    }
}

struct bursts {
    double lost, n, length, singles;
};

static struct bursts bursts_of(const char *text)
{
    struct fault f;
    struct bursts b = {0};
    int run = 0;
    begin(&f, text, 1, SEED, 0);
    for (int i = 0; i < PACKETS; i++) {
        struct fault_damage d;
        fault_damage(&f, PATH_UP, 100, false, i, &d);
        b.lost += d.drop;
        run += d.drop;
        if (d.drop || !run)
            continue;
        b.n++;
        b.length += run;
        b.singles += run == 1;
        run = 0;
    }
    fault_destroy(&f);
    return b;
}

static void bursts_are_gilbert_elliott(void **state)
{
    (void)state;
    static const double ps[] = {0.01, 0.002, 0.3}, rs[] = {0.25, 0.05, 1};
    for (size_t i = 0; i < 3; i++) {
        char text[80];
        double p = ps[i], r = rs[i], share = p / (p + r);
        // The variance of a two-state chain is the binomial one times (1 + l)/(1 - l), l = 1 - p - r.
        double stretch = sqrt((2 - p - r) / (p + r));
        snprintf(text, sizeof text, "{'loss':{'burst':{'p':%g,'r':%g}}}", p, r);
        struct bursts b = bursts_of(text);
        within("burst loss", share, b.lost / PACKETS, binomial(share, PACKETS) * stretch);
        within("mean burst length (1/r)", 1 / r, b.length / b.n, ERRORS * sqrt(1 - r) / r / sqrt(b.n) + 1e-9);
        within("bursts of length 1 (r)", r, b.singles / b.n, binomial(r, b.n) + 1e-9);
    }
    double p = 0.05, r = 0.2, share = (p * 0.6 + r * 0.01) / (p + r);
    struct bursts b = bursts_of("{'loss':{'burst':{'p':0.05,'r':0.2,'good':0.01,'bad':0.6}}}");
    within("burst loss with good 1 % and bad 60 %", share, b.lost / PACKETS,
           binomial(share, PACKETS) * sqrt((2 - p - r) / (p + r)));
    // Begins in the bad state as often as it is in it.
    double bad = 0;
    for (uint64_t seed = 0; seed < 20000; seed++) {
        struct fault f;
        struct fault_damage d;
        begin(&f, "{'loss':{'burst':{'p':0.1,'r':0.3}}}", 1, seed, 0);
        fault_damage(&f, PATH_UP, 1, false, 0, &d);
        bad += d.drop;
        fault_destroy(&f);
    }
    within("first packet lost, p 0.1 r 0.3", 0.25, bad / 20000, binomial(0.25, 20000));
}

static void a_stream_has_no_broken_duplicate_or_early_segments(void **state)
{
    (void)state;
    struct row r = events("{'corrupt':'5%','duplicate':1}", LOSS, true);
    within("corrupt segments are lost", 0.05, row_mean(&r), binomial(0.05, PACKETS));
    r = events("{'corrupt':1,'duplicate':1}", CORRUPT, true);
    assert_true(r.sum == 0);
    r = events("{'corrupt':1,'duplicate':1}", DUPLICATE, true);
    assert_true(r.sum == 0);
    struct fault f;
    begin(&f, "{'latency':'1ms','reorder':1}", 1, SEED, 0);
    assert_int_equal(fault_delay(&f, PATH_UP, 0, NULL), 1000);
    fault_destroy(&f);
}

static void any_bit_may_flip_but_none_of_nothing(void **state)
{
    (void)state;
    struct fault f;
    struct fault_damage d;
    unsigned seen[24] = {0};
    begin(&f, "{'corrupt':1}", 1, SEED, 0);
    for (int i = 0; i < 24000; i++) {
        fault_damage(&f, PATH_UP, 3, false, i, &d);
        assert_true(d.corrupt && d.corrupt_bit < 24);
        seen[d.corrupt_bit]++;
    }
    for (int i = 0; i < 24; i++)
        assert_true(fabs(seen[i] - 1000.0) < ERRORS * sqrt(1000));
    fault_damage(&f, PATH_UP, 0, false, 1, &d);
    assert_false(d.corrupt || d.drop);
    fault_destroy(&f);
}

static void reordered_ones_jump(void **state)
{
    (void)state;
    struct fault f;
    double jumped = 0;
    bool jumps;
    begin(&f, "{'latency':'100ms','reorder':'25%'}", 1, SEED, 0);
    for (int i = 0; i < PACKETS; i++) {
        int64_t delay = fault_delay(&f, PATH_UP, i, &jumps);
        assert_int_equal(delay, jumps ? 0 : 100000);
        jumped += jumps;
    }
    within("reorder", 0.25, jumped / PACKETS, binomial(0.25, PACKETS));
    fault_destroy(&f);
    begin(&f, "{'latency':'100ms','reorder':{'rate':1,'gap':5}}", 1, SEED, 0);
    for (int i = 1; i <= 1000; i++) {
        fault_delay(&f, PATH_UP, i, &jumps);
        assert_int_equal(jumps, i % 5 == 0);
    }
    fault_destroy(&f);
}

// --- many devices

static void five_thousand_devices_differ_and_add_up(void **state)
{
    (void)state;
    enum { DEVICES = 5000, EACH = 100 };
    static struct fault f[DEVICES];
    double lost = 0, spread = 0, p = 0.05;
    struct row delays = {0};
    struct fault_spec *s = fault_of("{'loss':'5%','latency':{'value':'200ms','jitter':'50ms'}}");
    for (int i = 0; i < DEVICES; i++)
        fault_create(&f[i], s, 7, SEED + (uint64_t)i, 0);
    fault_spec_release(s);
    for (int i = 0; i < DEVICES; i++) {
        double mine = 0;
        for (int k = 0; k < EACH; k++) {
            struct fault_damage d;
            fault_damage(&f[i], PATH_UP, 100, false, k, &d);
            mine += d.drop;
            row_add(&delays, (double)fault_delay(&f[i], PATH_UP, k, NULL) / 1000);
        }
        lost += mine;
        spread += (mine - EACH * p) * (mine - EACH * p) / (EACH * p * (1 - p));
    }
    within("loss over 5,000 devices", p, lost / (DEVICES * EACH), binomial(p, DEVICES * EACH));
    within("spread between devices (chi square / n)", 1, spread / DEVICES, ERRORS * sqrt(2.0 / DEVICES));
    within("latency over 5,000 devices, ms", 200, row_mean(&delays), ERRORS * 50 / sqrt(DEVICES * EACH));
    within("neighbouring draws, correlation", 0, row_correlation(&delays), ERRORS / sqrt(DEVICES * EACH));
    for (int i = 0; i < DEVICES; i++)
        fault_destroy(&f[i]);
}

static uint64_t fate(const char *text, uint64_t number, uint64_t seed, int others)
{
    struct fault f;
    uint64_t h = 0;
    begin(&f, text, number, seed, 0);
    for (int i = 0; i < 500; i++) {
        struct fault_damage d;
        fault_damage(&f, PATH_UP, 50, false, i, &d);
        int64_t us = fault_delay(&f, PATH_UP, i, NULL);
        uint64_t x[3] = {(uint64_t)d.drop, (uint64_t)d.corrupt_bit, (uint64_t)us};
        h = hash_bytes(x, sizeof x, h);
        for (int k = 0; k < others; k++) { // traffic the other way, and connects
            fault_damage(&f, PATH_DOWN, 50, false, i, &d);
            fault_delay(&f, PATH_DOWN, i, NULL);
            fault_connect(&f, i, &us);
        }
    }
    fault_destroy(&f);
    return h;
}

static void the_same_seed_is_the_same_fate(void **state)
{
    (void)state;
    const char *text = "{'loss':{'burst':{'p':0.1,'r':0.5}},'corrupt':0.1,'latency':{'value':1,'jitter':0.2},"
                       "'connect':{'refuse':0.5}}";
    uint64_t h = fate(text, 1, SEED, 0);
    assert_true(h == fate(text, 1, SEED, 0));
    assert_true(h == fate(text, 1, SEED, 3));
    assert_false(h == fate(text, 2, SEED, 0));
    assert_false(h == fate(text, 1, SEED + 1, 0));
    struct fault f; // directions of one device do not go in step
    begin(&f, "{'latency':{'value':1,'jitter':0.2}}", 1, SEED, 0);
    int same = 0;
    for (int i = 0; i < 100; i++)
        same += fault_delay(&f, PATH_UP, i, NULL) == fault_delay(&f, PATH_DOWN, i, NULL);
    assert_true(same < 3);
    fault_destroy(&f);
    assert_true(sizeof(struct fault) <= 160);
    print_message("  a fault on a device: %zu bytes\n", sizeof(struct fault));
}

// --- time

static void during_opens_and_closes_on_the_dot(void **state)
{
    (void)state;
    struct fault f;
    struct path_peer peer = {.protocol = "mqtt"};
    int64_t t0 = 1234567;
    begin(&f, "{'partition':true,'during':{'on':'30s','every':'5m','offset':'10s'}}", 1, SEED, t0);
    int64_t open = t0 + 10 * SECOND;
    for (int round = 0; round < 3; round++, open += 300 * SECOND) {
        assert_false(fault_cuts(&f, PATH_UP, &peer, "mqtt", open - 1));
        assert_true(fault_cuts(&f, PATH_UP, &peer, "mqtt", open));
        assert_true(fault_cuts(&f, PATH_DOWN, &peer, "mqtt", open + 30 * SECOND - 1));
        assert_false(fault_cuts(&f, PATH_DOWN, &peer, "mqtt", open + 30 * SECOND));
        assert_int_equal(fault_next_edge(&f, open - 1), open);
        assert_int_equal(fault_next_edge(&f, open), open + 30 * SECOND);
        assert_int_equal(fault_next_edge(&f, open + 30 * SECOND), open + 300 * SECOND);
    }
    assert_int_equal(fault_next_edge(&f, t0), t0 + 10 * SECOND);
    fault_destroy(&f);
    begin(&f, "{'loss':1,'during':{'on':'5s','every':'5s','offset':'1s'}}", 1, SEED, 0);
    assert_false(fault_acts(&f, SECOND - 1));
    assert_true(fault_acts(&f, SECOND) && fault_acts(&f, 500 * SECOND));
    assert_int_equal(fault_next_edge(&f, 0), SECOND);
    assert_true(fault_next_edge(&f, SECOND) == INT64_MAX);
    fault_destroy(&f);
}

static void spread_windows_cover_time_evenly(void **state)
{
    (void)state;
    enum { DEVICES = 5000 };
    static struct fault f[DEVICES];
    struct fault_spec *s = fault_of("{'loss':1,'during':{'on':'30s','every':'5m','spread':true}}");
    for (int i = 0; i < DEVICES; i++)
        fault_create(&f[i], s, 1, (uint64_t)i, 0);
    for (int64_t t = 0; t <= 300; t += 100) {
        double open = 0;
        for (int i = 0; i < DEVICES; i++)
            open += fault_acts(&f[i], t * SECOND);
        within("devices cut off at a time, 30 s of 5 min", 0.1, open / DEVICES, binomial(0.1, DEVICES));
    }
    for (int i = 0; i < DEVICES; i++)
        fault_destroy(&f[i]);
    fault_spec_release(s);
}

// Between two edges nothing changes that they promise to tell.
static void between_edges_nothing_changes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{'bandwidth':1000,'during':{'on':0.7,'every':1.9,'offset':0.3,'spread':true}}",
        "{'bandwidth':1000,'trace':{'rows':[[0.5,null,null,2000],[0.75,0.1],[1.2,null,null,0],[3,null,null,7]],"
        "'repeat':true}}",
        "{'trace':{'rows':[[0.5,null,null,2000],[1.2,null,null,3000],[4,null,null,null]]},"
        "'during':{'on':2,'every':2.5}}",
        "{'down':{'bandwidth':5000},'reset':true,'during':{'on':'1ms','every':'3ms'}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct fault f;
        begin(&f, texts[i], 1, SEED, 1000);
        int64_t edge = 1000, changes = 0;
        double rate[2] = {-2, -2};
        for (int64_t t = 1000; t < 9 * SECOND; t += 50) {
            bool at_edge = t >= edge;
            double now[2] = {-1, -1};
            for (int d = 0; d < 2; d++) {
                struct fault_bandwidth b;
                if (fault_bandwidth(&f, d ? PATH_DOWN : PATH_UP, true, t, &b))
                    now[d] = b.rate;
                assert_true(now[d] == -1 || now[d] >= 1);
            }
            bool same = rate[0] == now[0] && rate[1] == now[1];
            if (!same && !at_edge)
                fail_msg("%s: changed at %ld without an edge", texts[i], (long)t);
            changes += !same;
            rate[0] = now[0], rate[1] = now[1];
            int64_t next = fault_next_edge(&f, t);
            assert_true(next > t);
            if (at_edge)
                edge = next;
            assert_true(edge == next); // asked at any time, it is the same one
        }
        assert_true(changes > 3);
        fault_destroy(&f);
    }
}

static void a_ramp_of_a_rate_is_told_in_steps(void **state)
{
    (void)state;
    struct fault f;
    unsigned steps = 0;
    begin(&f,
          "{'bandwidth':{'ramp':{'from':'1mbit','to':'100kbit','over':'64s'}},'loss':{'ramp':{'from':0,'to':1,"
          "'over':'1h'}}}",
          1, SEED, 77);
    for (int64_t t = 77; (t = fault_next_edge(&f, t)) != INT64_MAX; steps++)
        ;
    assert_int_equal(steps, 64); // loss is asked packet by packet: no edges
    fault_destroy(&f);
}

static void a_trace_replaces_values(void **state)
{
    (void)state;
    struct fault f;
    struct fault_bandwidth b;
    struct fault_damage d;
    begin(&f,
          "{'latency':'10ms','loss':0,'bandwidth':{'rate':1000,'queueTime':'2s'},"
          "'trace':{'rows':[[1,'100ms',1,'5kbit'],[2,null,null,null],[3,null,0.5,0]]}}",
          1, SEED, 0);
    assert_int_equal(fault_delay(&f, PATH_UP, 0, NULL), 10000);
    assert_int_equal(fault_delay(&f, PATH_UP, SECOND, NULL), 50000);
    assert_int_equal(fault_mean_delay(&f, PATH_UP, SECOND), 50000);
    assert_int_equal(fault_delay(&f, PATH_UP, 2 * SECOND, NULL), 10000);
    fault_damage(&f, PATH_UP, 1, false, 0, &d);
    assert_false(d.drop);
    fault_damage(&f, PATH_UP, 1, false, SECOND, &d);
    assert_true(d.drop);
    assert_true(fault_bandwidth(&f, PATH_UP, false, SECOND, &b));
    assert_true(b.rate == 5000 && b.queue_us == 2 * SECOND && b.queue_bytes == 0 && b.full_drop);
    assert_true(fault_bandwidth(&f, PATH_UP, true, 2 * SECOND, &b));
    assert_true(b.rate == 1000 && !b.full_drop);
    assert_true(fault_bandwidth(&f, PATH_UP, true, 3 * SECOND, &b) && b.rate == 1);
    fault_destroy(&f);
    begin(&f, "{'trace':{'rows':[[1,'100ms',null,'5kbit']]}}", 1, SEED, 0);
    assert_false(fault_bandwidth(&f, PATH_UP, true, 0, &b));
    assert_int_equal(fault_delay(&f, PATH_UP, 0, NULL), 0);
    assert_true(fault_bandwidth(&f, PATH_UP, true, SECOND, &b));
    assert_true(b.burst_bytes == 1600 && b.queue_bytes == 65536);
    fault_destroy(&f);
}

static unsigned resets(struct fault *f, int64_t from, int64_t to, int64_t step)
{
    unsigned n = 0;
    for (int64_t t = from; t < to; t += step)
        n += fault_reset_due(f, t);
    return n;
}

static void resets_come_when_they_are_due(void **state)
{
    (void)state;
    struct fault f;
    begin(&f, "{'reset':true}", 1, SEED, 500);
    assert_true(fault_reset_due(&f, 500));
    assert_int_equal(resets(&f, 500, 3600 * (int64_t)SECOND, SECOND), 0);
    assert_true(fault_next_edge(&f, 500) == INT64_MAX);
    fault_destroy(&f);

    begin(&f, "{'reset':{'every':'10s'}}", 1, SEED, 0);
    for (int64_t t = 0; t <= 100 * SECOND; t += 10 * SECOND) {
        assert_true(fault_reset_due(&f, t));
        assert_false(fault_reset_due(&f, t));
        assert_int_equal(fault_next_edge(&f, t), t + 10 * SECOND);
    }
    fault_destroy(&f);

    begin(&f, "{'reset':{'every':'10s','jitter':'5s'}}", 1, SEED, 0);
    double n = resets(&f, 0, 100000 * (int64_t)SECOND, 10000);
    within("resets, every 10 s + 0..5 s", 100000 / 12.5, n, 40);
    fault_destroy(&f);

    // At the beginning of each window, in it again, never outside.
    begin(&f, "{'reset':{'every':'10s'},'during':{'on':'25s','every':'60s','offset':'5s'}}", 1, SEED, 0);
    static const int due[] = {5, 15, 25, 65, 75, 85, 125};
    size_t k = 0;
    for (int t = 0; t <= 125; t++) {
        bool is = fault_reset_due(&f, (int64_t)t * SECOND);
        assert_int_equal(is, k < 7 && due[k] == t);
        k += is;
        if (t == 25)
            assert_int_equal(f.reset_us, 65 * SECOND); // 35 is outside: nothing to wake up for
    }
    fault_destroy(&f);
    begin(&f, "{'reset':{'every':'70s'},'during':{'on':'25s','every':'60s'}}", 1, SEED, 0);
    for (int t = 0; t <= 600; t++)
        assert_int_equal(fault_reset_due(&f, (int64_t)t * SECOND), t % 60 == 0);
    fault_destroy(&f);
    begin(&f, "{'reset':true,'during':{'on':'25s','every':'60s'}}", 1, SEED, 0);
    assert_int_equal(resets(&f, 0, 600 * SECOND, SECOND), 10);
    // A window that was slept through is not made up for outside of it.
    assert_false(fault_reset_due(&f, 630 * SECOND));
    assert_true(fault_reset_due(&f, 660 * SECOND));
    fault_destroy(&f);
}

static void retune(struct fault *f, const char *text, int64_t now)
{
    struct fault_spec *s = fault_of(text);
    fault_retune(f, s, now);
    fault_spec_release(s);
}

static void retuned_a_fault_keeps_what_makes_sense(void **state)
{
    (void)state;
    struct fault f;
    const char *cycle = "{'loss':1,'reset':{'every':'20s'},'during':{'on':'30s','every':'5m'}}";
    begin(&f, cycle, 1, SEED, 0);
    assert_true(fault_reset_due(&f, 0));
    retune(&f, "{'loss':0.5,'reset':{'every':'20s'},'during':{'on':'30s','every':'5m'}}", 7 * SECOND);
    assert_false(fault_reset_due(&f, 7 * SECOND)); // the row of resets goes on
    assert_int_equal(f.reset_us, 20 * SECOND);
    assert_true(fault_acts(&f, 30 * SECOND - 1)); // and so does the cycle
    assert_false(fault_acts(&f, 30 * SECOND));
    retune(&f, "{'loss':0.5,'during':{'on':'30s','every':'4m'}}", 20 * SECOND); // another: it begins anew
    assert_true(fault_acts(&f, 50 * SECOND - 1));
    assert_false(fault_acts(&f, 50 * SECOND));
    assert_true(f.reset_us == INT64_MAX);
    retune(&f, "{'latency':{'ramp':{'from':0,'to':1,'over':10}}}", 100 * SECOND); // values begin anew
    assert_int_equal(fault_delay(&f, PATH_UP, 105 * SECOND, NULL), SECOND / 2);
    retune(&f, "{'loss':{'burst':{'p':1,'r':0.0001}}}", 200 * SECOND);
    struct fault_damage d;
    fault_damage(&f, PATH_UP, 1, false, 200 * SECOND, &d);
    assert_true(d.drop); // its first state is drawn: 99.99 % bad
    retune(&f, "{'loss':{'burst':{'p':0,'r':0.0001}}}", 200 * SECOND);
    fault_damage(&f, PATH_UP, 1, false, 200 * SECOND, &d);
    assert_true(d.drop); // a burst goes on
    fault_destroy(&f);
}

// --- partitions

static struct path_peer peer_of(const char *protocol, const char *host, const char *ip, uint16_t port)
{
    struct path_peer p = {.protocol = protocol, .host = host};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&p.addr.addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p.addr.addr;
    if (ip && inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        p.addr.len = sizeof *v4;
    } else if (ip) {
        assert_int_equal(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        p.addr.len = sizeof *v6;
    }
    return p;
}

static void partitions_cut_whom_they_name(void **state)
{
    (void)state;
    static const struct {
        const char *partition; // in the fault
        const char *protocol, *host, *ip;
        uint16_t port;
        bool up, down, lookup; // cut?
    } cases[] = {
        {"true", "mqtt", "b", "10.1.2.3", 1883, true, true, true},
        {"{'direction':'up'}", "mqtt", "b", "10.1.2.3", 1883, true, false, true},
        {"{'direction':'down'}", "mqtt", "b", "10.1.2.3", 1883, false, true, false},
        {"{'hosts':'10.0.0.0/8'}", "mqtt", "b", "10.1.2.3", 1883, true, true, false},
        {"{'hosts':'10.0.0.0/8'}", "mqtt", "b", "11.1.2.3", 1883, false, false, false},
        {"{'hosts':'10.1.2.3'}", "mqtt", "b", "::ffff:10.1.2.3", 1883, true, true, false},
        {"{'hosts':'10.1.2.0/31'}", "mqtt", "b", "10.1.2.1", 1883, true, true, false},
        {"{'hosts':'10.1.2.0/31'}", "mqtt", "b", "10.1.2.2", 1883, false, false, false},
        {"{'hosts':'0.0.0.0/0'}", "mqtt", "b", "9.9.9.9", 1883, true, true, false},
        {"{'hosts':'0.0.0.0/0'}", "mqtt", "b", "fd00::1", 1883, false, false, false},
        {"{'hosts':'::/0'}", "mqtt", "b", "fd00::1", 1883, true, true, false},
        {"{'hosts':'fd00::/63'}", "mqtt", "b", "fd00:0:0:1::5", 1883, true, true, false},
        {"{'hosts':'fd00::/64'}", "mqtt", "b", "fd00:0:0:1::5", 1883, false, false, false},
        {"{'hosts':'10.1.2.3'}", "mqtt", "b", NULL, 0, false, false, false},
        {"{'hosts':'Broker.example'}", "mqtt", "broker.EXAMPLE.", "10.1.2.3", 1883, true, true, false},
        {"{'hosts':'broker.example'}", "mqtt", "broker.example.org", "10.1.2.3", 1883, false, false, false},
        {"{'hosts':'broker.example'}", "mqtt", NULL, "10.1.2.3", 1883, false, false, false},
        {"{'hosts':['a.b','10.1.2.3']}", "mqtt", "c", "10.1.2.3", 1883, true, true, false},
        {"{'ports':[1883,8883]}", "mqtt", "b", "10.1.2.3", 8883, true, true, false},
        {"{'ports':[1883,8883]}", "mqtt", "b", "10.1.2.3", 80, false, false, false},
        {"{'ports':53}", "mqtt", "b", "10.1.2.3", 1883, false, false, true},
        {"{'protocols':['coap','http']}", "coap", "b", "10.1.2.3", 5683, true, true, false},
        {"{'protocols':['coap','http']}", "mqtt", "b", "10.1.2.3", 1883, false, false, false},
        {"{'protocols':'dns'}", "mqtt", "b", "10.1.2.3", 1883, false, false, true},
        {"{'hosts':'10.1.2.3','ports':8883}", "mqtt", "b", "10.1.2.3", 1883, false, false, false},
        {"{'allow':{'protocols':['dns']}}", "mqtt", "b", "10.1.2.3", 1883, true, true, false},
        {"{'allow':{'hosts':'10.1.0.0/16'}}", "mqtt", "b", "10.1.2.3", 1883, false, false, true},
        {"{'allow':{'hosts':'10.1.0.0/16','ports':80}}", "mqtt", "b", "10.1.2.3", 1883, true, true, true},
        {"{'allow':[{'hosts':'10.1.0.0/16','ports':80},{'ports':1883}]}", "mqtt", "b", "10.1.2.3", 1883, false, false,
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[160];
        struct fault f;
        struct path_peer p = peer_of(cases[i].protocol, cases[i].host, cases[i].ip, cases[i].port);
        snprintf(text, sizeof text, "{'partition':%s}", cases[i].partition);
        begin(&f, text, 1, SEED, 0);
        if (fault_cuts(&f, PATH_UP, &p, p.protocol, 1) != cases[i].up ||
            fault_cuts(&f, PATH_DOWN, &p, p.protocol, 1) != cases[i].down ||
            fault_cuts(&f, PATH_UP, &p, "dns", 1) != cases[i].lookup)
            fail_msg("case %zu: %s against %s %s", i, cases[i].partition, p.protocol, cases[i].ip);
        fault_destroy(&f);
    }
    struct fault f;
    struct path_peer p = peer_of("mqtt", "b", "10.1.2.3", 1883);
    begin(&f, "{'loss':1}", 1, SEED, 0);
    assert_false(fault_cuts(&f, PATH_UP, &p, "mqtt", 1));
    fault_destroy(&f);
}

// --- connections

static void connects_fail_as_often_as_configured(void **state)
{
    (void)state;
    struct fault f;
    int64_t us;
    double refused = 0, silent = 0, lookups = 0, handshakes = 0;
    begin(&f,
          "{'connect':{'refuse':'20%','timeout':'10%','delay':'3s'},'dns':{'fail':'15%','delay':'1s'},"
          "'tls':{'fail':'40%'},'halfOpen':true,'slowClose':'2s','during':{'on':5,'every':10}}",
          1, SEED, 0);
    for (int i = 0; i < 50000; i++) {
        enum fault_answer a = fault_connect(&f, 0, &us);
        assert_int_equal(us, 3 * SECOND);
        refused += a == FAULT_ANSWER_REFUSED;
        silent += a == FAULT_ANSWER_NONE;
        lookups += fault_lookup(&f, 0, &us);
        assert_int_equal(us, SECOND);
        handshakes += fault_tls_fails(&f, 0);
    }
    within("connects refused", 0.2, refused / 50000, binomial(0.2, 50000));
    within("connects unanswered", 0.1, silent / 50000, binomial(0.1, 50000));
    within("lookups failed", 0.15, lookups / 50000, binomial(0.15, 50000));
    within("handshakes failed", 0.4, handshakes / 50000, binomial(0.4, 50000));
    assert_true(fault_half_open(&f, 0));
    assert_int_equal(fault_slow_close_us(&f, 0), 2 * SECOND);
    for (int i = 0; i < 100; i++) { // outside of its window it does nothing
        assert_int_equal(fault_connect(&f, 7 * SECOND, &us), FAULT_ANSWER_GOOD);
        assert_int_equal(us, 0);
        assert_false(fault_lookup(&f, 7 * SECOND, &us) || us);
        assert_false(fault_tls_fails(&f, 7 * SECOND));
    }
    assert_false(fault_half_open(&f, 7 * SECOND));
    assert_int_equal(fault_slow_close_us(&f, 7 * SECOND), 0);
    fault_destroy(&f);
}

static void closed_or_absent_it_touches_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{'tls':{'fail':1}}", // none of these types in it
        "{'loss':1,'corrupt':1,'duplicate':1,'latency':1,'reorder':1,'mtu':100,'bandwidth':1000,'partition':true,"
        "'reset':true,'during':{'on':1,'every':1,'offset':1}}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct fault f;
        struct fault_damage d;
        struct fault_bandwidth b;
        struct path_peer p = peer_of("mqtt", "b", "10.1.2.3", 1883);
        bool jumps = true;
        begin(&f, texts[i], 1, SEED, 0);
        fault_damage(&f, PATH_UP, 100, false, 0, &d);
        assert_false(d.drop || d.corrupt || d.duplicate);
        assert_int_equal(fault_delay(&f, PATH_UP, 0, &jumps), 0);
        assert_false(jumps);
        assert_int_equal(fault_mean_delay(&f, PATH_UP, 0), 0);
        assert_int_equal(fault_mtu(&f, PATH_UP, 0), 0);
        assert_false(fault_bandwidth(&f, PATH_UP, false, 0, &b));
        assert_false(fault_cuts(&f, PATH_UP, &p, "mqtt", 0));
        assert_false(fault_reset_due(&f, 0));
        assert_int_equal(i ? fault_mtu(&f, PATH_UP, SECOND) : 100, 100);
        fault_destroy(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latency_has_the_distribution_that_was_asked_for),
        cmocka_unit_test(correlation_changes_neither_mean_nor_spread),
        cmocka_unit_test(latency_is_clipped_at_zero_and_at_an_hour),
        cmocka_unit_test(up_and_down_have_latencies_of_their_own),
        cmocka_unit_test(events_happen_as_often_as_configured),
        cmocka_unit_test(correlated_loss_keeps_its_rate),
        cmocka_unit_test(bursts_are_gilbert_elliott),
        cmocka_unit_test(a_stream_has_no_broken_duplicate_or_early_segments),
        cmocka_unit_test(any_bit_may_flip_but_none_of_nothing),
        cmocka_unit_test(reordered_ones_jump),
        cmocka_unit_test(five_thousand_devices_differ_and_add_up),
        cmocka_unit_test(the_same_seed_is_the_same_fate),
        cmocka_unit_test(during_opens_and_closes_on_the_dot),
        cmocka_unit_test(spread_windows_cover_time_evenly),
        cmocka_unit_test(between_edges_nothing_changes),
        cmocka_unit_test(a_ramp_of_a_rate_is_told_in_steps),
        cmocka_unit_test(a_trace_replaces_values),
        cmocka_unit_test(resets_come_when_they_are_due),
        cmocka_unit_test(retuned_a_fault_keeps_what_makes_sense),
        cmocka_unit_test(partitions_cut_whom_they_name),
        cmocka_unit_test(connects_fail_as_often_as_configured),
        cmocka_unit_test(closed_or_absent_it_touches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
