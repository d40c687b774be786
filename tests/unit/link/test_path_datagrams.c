// What a path does to datagrams against what was configured, in virtual time: latency, jitter, loss, bursts, rate,
// partition edges, at 1 and at 5,000 devices. The numbers are printed.
#include "path_world.h"

struct message {
    int64_t sent_us;
    uint32_t number;
    uint32_t pad;
};

// A device that sends numbered datagrams and looks at how they arrive.
struct device {
    struct world *w;
    struct path *path;
    struct path_port *port;
    uint32_t sent, arrived, expected, out_of_order, damaged;
    int64_t last_us, first_us;
    double sum_us, squares_us;
    int64_t least_us, most_us;
    uint32_t *lost_runs; // how long each row of lost ones was; NULL: not kept
    uint32_t n_runs;
};

static void measure(struct device *d, const struct message *m)
{
    int64_t took_us = world_now(d->w) - m->sent_us;
    d->sum_us += (double)took_us;
    d->squares_us += (double)took_us * (double)took_us;
    if (took_us < d->least_us)
        d->least_us = took_us;
    if (took_us > d->most_us)
        d->most_us = took_us;
    if (!d->arrived)
        d->first_us = world_now(d->w);
    d->last_us = world_now(d->w);
    d->arrived++;
    if (m->number < d->expected)
        d->out_of_order++;
    if (d->lost_runs && m->number > d->expected)
        d->lost_runs[d->n_runs++] = m->number - d->expected;
    if (m->number >= d->expected)
        d->expected = m->number + 1;
}

static void on_datagram(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct device *d = owner;
    struct message m;
    (void)direction;
    assert_true(n >= sizeof m);
    memcpy(&m, bytes, sizeof m);
    if (m.pad) { // a flipped bit may be anywhere
        d->damaged++;
        d->arrived++;
        return;
    }
    measure(d, &m);
}

static void on_cut(void *owner, const struct error *why)
{
    (void)owner, (void)why;
}

static const struct path_port_events datagrams = {.deliver = on_datagram, .cut = on_cut};

static void device_create(struct device *d, struct world *w, uint64_t seed, const char *fault)
{
    memset(d, 0, sizeof *d);
    d->w = w;
    d->least_us = INT64_MAX;
    d->path = path_new(w->env, seed, NULL);
    assert_non_null(d->path);
    if (fault)
        apply(d->path, 1, fault);
    d->port = path_port_new(d->path, false, &world_peer, &datagrams, d, NULL);
    assert_non_null(d->port);
}

static void device_destroy(struct device *d)
{
    path_port_delete(d->port);
    path_release(d->path);
    free(d->lost_runs);
}

static void send_one(struct device *d, enum path_direction direction, size_t n)
{
    uint8_t bytes[2048] = {0};
    struct message m = {.sent_us = world_now(d->w), .number = d->sent++};
    memcpy(bytes, &m, sizeof m);
    if (path_port_pass(d->port, direction, bytes, n))
        on_datagram(d, direction, bytes, n);
}

static double mean_of(const struct device *d, uint32_t n)
{
    double sum = 0;
    uint64_t arrived = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += d[i].sum_us;
        arrived += d[i].arrived;
    }
    return sum / (double)arrived;
}

static double deviation_of(const struct device *d, uint32_t n)
{
    double sum = 0, squares = 0, arrived = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += d[i].sum_us;
        squares += d[i].squares_us;
        arrived += d[i].arrived;
    }
    return sqrt(squares / arrived - (sum / arrived) * (sum / arrived));
}

// n devices send `each` datagrams of 100 bytes, one every 10 ms, under one fault.
static struct device *fleet(struct world *w, uint32_t n, uint32_t each, const char *fault)
{
    struct device *d = calloc(n, sizeof *d);
    world_create(w);
    for (uint32_t i = 0; i < n; i++)
        device_create(&d[i], w, 1000 + i, fault);
    for (uint32_t k = 0; k < each; k++) {
        for (uint32_t i = 0; i < n; i++)
            send_one(&d[i], PATH_UP, 100);
        world_run(w, 10 * MS);
    }
    world_run(w, 60 * SECOND);
    return d;
}

static void fleet_end(struct world *w, struct device *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        device_destroy(&d[i]);
    free(d);
    world_destroy(w);
}

static const struct {
    uint32_t devices, each;
} sizes[] = {{1, 20000}, {5000, 20}};

static void latency_and_jitter(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        double mean_ms, deviation_ms;
    } cases[] = {
        {"{'latency': '200ms'}", 200, 0},
        {"{'rtt': '0.3'}", 150, 0},
        {"{'latency': {'value': '200ms', 'jitter': '20ms', 'distribution': 'normal'}}", 200, 20},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct world w;
            struct device *d = fleet(&w, sizes[s].devices, sizes[s].each, cases[i].fault);
            double mean_ms = mean_of(d, sizes[s].devices) / 1000, sd_ms = deviation_of(d, sizes[s].devices) / 1000;
            printf("# %u device(s), %s: mean %.2f ms (configured %.0f), deviation %.2f ms (configured %.0f)\n",
                   sizes[s].devices, cases[i].fault, mean_ms, cases[i].mean_ms, sd_ms, cases[i].deviation_ms);
            // A tick of the loop is 1 ms: never early, up to one late.
            assert_true(mean_ms >= cases[i].mean_ms - 0.5 && mean_ms <= cases[i].mean_ms + 1.5);
            assert_true(fabs(sd_ms - cases[i].deviation_ms) <= cases[i].deviation_ms * 0.03 + 0.5);
            if (cases[i].deviation_ms == 0)
                assert_true((double)d->least_us >= cases[i].mean_ms * 1000);
            fleet_end(&w, d, sizes[s].devices);
        }
}

static void loss_within_binomial_bounds(void **state)
{
    (void)state;
    static const double shares[] = {0.001, 0.01, 0.05, 0.3};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            struct world w;
            char fault[64];
            snprintf(fault, sizeof fault, "{'loss': %g, 'latency': '50ms'}", shares[i]);
            struct device *d = fleet(&w, sizes[s].devices, sizes[s].each, fault);
            double n = sizes[s].devices * (double)sizes[s].each, arrived = 0;
            for (uint32_t k = 0; k < sizes[s].devices; k++)
                arrived += d[k].arrived;
            double lost = n - arrived, sigma = sqrt(n * shares[i] * (1 - shares[i]));
            printf("# %u device(s), loss %g: %.0f of %.0f lost (%.4f), expected %.0f ± %.0f (4 sigma)\n",
                   sizes[s].devices, shares[i], lost, n, lost / n, n * shares[i], 4 * sigma);
            assert_true(fabs(lost - n * shares[i]) <= 4 * sigma);
            assert_int_equal(world_totals(&w).dropped[PATH_UP], (uint64_t)lost);
            fleet_end(&w, d, sizes[s].devices);
        }
}

static void bursts_are_as_long_as_configured(void **state)
{
    (void)state;
    static const struct {
        double p, r;
    } cases[] = {{0.01, 0.25}, {0.02, 0.5}, {0.005, 0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct device d;
        char fault[128];
        const uint32_t each = 200000;
        snprintf(fault, sizeof fault, "{'loss': {'burst': {'p': %g, 'r': %g}}}", cases[i].p, cases[i].r);
        world_create(&w);
        device_create(&d, &w, 7, fault);
        d.lost_runs = calloc(each, sizeof *d.lost_runs);
        for (uint32_t k = 0; k < each; k++) {
            send_one(&d, PATH_UP, 100);
            if (k % 100 == 99)
                world_run(&w, MS);
        }
        world_run(&w, SECOND);
        double lost = each - (double)d.arrived, mean = lost / d.n_runs;
        double share = cases[i].p / (cases[i].p + cases[i].r);
        // The length of a burst is geometric: its deviation is sqrt(1-r)/r.
        double bound = 4 * sqrt(1 - cases[i].r) / cases[i].r / sqrt(d.n_runs);
        printf("# burst p %g r %g: %u bursts, mean length %.3f (configured %.3f ± %.3f), loss %.4f (configured %.4f)\n",
               cases[i].p, cases[i].r, d.n_runs, mean, 1 / cases[i].r, bound, lost / each, share);
        assert_true(fabs(mean - 1 / cases[i].r) <= bound);
        assert_true(fabs(lost / each - share) <= 0.1 * share);
        device_destroy(&d);
        world_destroy(&w);
    }
}

// Datagrams: what comes too fast is dropped; what passes has the rate.
static void bandwidth_of_datagrams_at_1_and_5000(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 5000};
    for (size_t c = 0; c < 2; c++) {
        struct world w;
        uint32_t n = counts[c], each = 400;
        struct device *d = calloc(n, sizeof *d);
        world_create(&w);
        for (uint32_t i = 0; i < n; i++)
            device_create(&d[i], &w, i, "{'bandwidth': {'rate': '64kbit', 'queue': 2000}}");
        // 128 bytes with headers, every 8 ms: twice the rate.
        for (uint32_t k = 0; k < each / (n > 1 ? 10 : 1); k++) {
            for (uint32_t i = 0; i < n; i++)
                send_one(&d[i], PATH_UP, 100);
            world_run(&w, 8 * MS);
        }
        world_run(&w, SECOND);
        double bits = 0, seconds = 0;
        for (uint32_t i = 0; i < n; i++) {
            bits += (d[i].arrived - 1) * 128. * 8;
            seconds += (double)(d[i].last_us - d[i].first_us) / 1e6;
        }
        printf("# %u device(s), 64 kbit/s, offered twice as much: %.1f kbit/s pass while any do\n", n,
               bits / seconds / 1000);
        assert_true(bits / seconds > 63e3 && bits / seconds < 65e3);
        assert_true(n > 1 || world_totals(&w).queue_full[PATH_UP] > each / 4);
        for (uint32_t i = 0; i < n; i++)
            device_destroy(&d[i]);
        free(d);
        world_destroy(&w);
    }
}

static void partition_edges(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 5000};
    for (size_t c = 0; c < 2; c++) {
        struct world w;
        uint32_t n = counts[c], late = 0, early = 0;
        struct device *d = calloc(n, sizeof *d);
        world_create(&w);
        for (uint32_t i = 0; i < n; i++)
            device_create(&d[i], &w, i, "{'partition': true, 'during': {'on': '3s', 'every': '10s', 'offset': '2s'}}");
        // From 2 s to 5 s nothing passes.
        for (int ms = 0; ms < 12000; ms += 100) {
            for (uint32_t i = 0; i < n; i++) {
                send_one(&d[i], ms % 200 ? PATH_UP : PATH_DOWN, 50);
            }
            world_run(&w, 100 * MS);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t through = (uint32_t)(ms / 100 + 1);
                if (ms >= 2000)
                    through = ms < 5000 ? 20 : through - 30;
                early += d[i].arrived < through;
                late += d[i].arrived > through;
            }
        }
        printf("# %u device(s), partition from 2 s to 5 s: %u datagrams too few, %u too many, at any 100 ms\n", n,
               early, late);
        assert_int_equal(early, 0);
        assert_int_equal(late, 0);
        for (uint32_t i = 0; i < n; i++)
            device_destroy(&d[i]);
        free(d);
        world_destroy(&w);
    }
}

static void duplicates_reorders_corrupts(void **state)
{
    (void)state;
    struct world w;
    struct device *d = fleet(&w, 1, 20000, "{'duplicate': '10%', 'latency': '5ms'}");
    printf("# duplicate 10 %%: %u of 20000 twice\n", d->arrived - 20000);
    assert_true(abs((int)d->arrived - 22000) < 4 * 43);
    assert_int_equal(world_totals(&w).duplicated[PATH_UP], d->arrived - 20000);
    fleet_end(&w, d, 1);

    d = fleet(&w, 1, 20000, "{'reorder': '5%', 'latency': '25ms'}");
    printf("# reorder 5 %%: %llu jumped the queue, %u arrived behind a later one\n",
           (unsigned long long)world_totals(&w).reordered[PATH_UP], d->out_of_order);
    assert_int_equal(d->arrived, 20000);
    assert_true(llabs((long long)world_totals(&w).reordered[PATH_UP] - 1000) < 4 * 31);
    assert_true(d->out_of_order > 1000);
    fleet_end(&w, d, 1);

    d = fleet(&w, 1, 20000, "{'latency': {'value': '50ms', 'jitter': '20ms'}}");
    assert_int_equal(d->arrived, 20000);
    assert_true(d->out_of_order > 100); // jitter wider than the gap makes datagrams overtake
    fleet_end(&w, d, 1);
}

static unsigned bits_of_difference;
static void on_corrupt(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    unsigned *damaged = owner;
    bits_of_difference = 0;
    (void)direction;
    for (size_t i = 0; i < n; i++)
        bits_of_difference += (unsigned)__builtin_popcount(bytes[i] ^ 0x5a);
    assert_true(bits_of_difference <= 1);
    *damaged += bits_of_difference;
}

static void one_bit_is_flipped(void **state)
{
    (void)state;
    static const struct path_port_events events = {.deliver = on_corrupt, .cut = on_cut};
    struct world w;
    unsigned damaged = 0;
    uint8_t bytes[200];
    memset(bytes, 0x5a, sizeof bytes);
    world_create(&w);
    struct path *p = path_new(w.env, 5, NULL);
    apply(p, 1, "{'corrupt': '20%'}");
    struct path_port *port = path_port_new(p, false, &world_peer, &events, &damaged, NULL);
    for (int i = 0; i < 5000; i++) {
        assert_false(path_port_pass(port, PATH_DOWN, bytes, sizeof bytes));
        if (i % 50 == 49)
            world_run(&w, MS);
    }
    world_run(&w, SECOND);
    assert_false(path_port_pass(port, PATH_DOWN, bytes, 0)); // an empty one has no bit
    world_run(&w, SECOND);
    printf("# corrupt 20 %%: %u of 5000\n", damaged);
    assert_true(abs((int)damaged - 1000) < 4 * 29);
    assert_int_equal(world_totals(&w).corrupted[PATH_DOWN], damaged);
    path_port_delete(port);
    path_release(p);
    world_destroy(&w);
}

static void mtu_and_the_cap(void **state)
{
    (void)state;
    struct world w;
    struct device d;
    world_create(&w);
    device_create(&d, &w, 1, "{'mtu': 576}");
    send_one(&d, PATH_UP, 576 - 28);
    send_one(&d, PATH_UP, 576 - 27);
    world_run(&w, SECOND);
    assert_int_equal(d.arrived, 1);
    assert_int_equal(world_totals(&w).dropped[PATH_UP], 1);
    // At the cap of what a path holds, datagrams are dropped and counted.
    change(d.path, 1, "{'latency': '60s'}");
    uint32_t before = d.sent;
    for (int i = 0; i < 1000; i++)
        send_one(&d, PATH_UP, 1000);
    uint64_t dropped = world_totals(&w).dropped[PATH_UP] - 1;
    printf("# 1000 datagrams of 1000 bytes held for 60 s: %llu dropped at the cap, footprint %zu\n",
           (unsigned long long)dropped, path_footprint(d.path));
    assert_int_equal(dropped, 1000 - (256 * 1024) / 1064);
    assert_true(path_port_held(d.port) <= 256 * 1024);
    world_run(&w, 61 * SECOND);
    assert_int_equal(d.arrived, 1 + (d.sent - before) - dropped);
    assert_int_equal(path_port_held(d.port), 0);
    device_destroy(&d);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latency_and_jitter),
        cmocka_unit_test(loss_within_binomial_bounds),
        cmocka_unit_test(bursts_are_as_long_as_configured),
        cmocka_unit_test(bandwidth_of_datagrams_at_1_and_5000),
        cmocka_unit_test(partition_edges),
        cmocka_unit_test(duplicates_reorders_corrupts),
        cmocka_unit_test(one_bit_is_flipped),
        cmocka_unit_test(mtu_and_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
