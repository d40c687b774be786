#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/rng.h"
#include "metrics/hist.h"

#define TOP 3600000000

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t sample(struct rng *rng)
{
    return (int64_t)pow(10, rng_unit(rng) * 9.5); // all magnitudes alike
}

static const double percentiles[] = {0, 0.001, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999, 100};

static void percentiles_agree_with_a_million_sorted_samples(void **state)
{
    (void)state;
    enum { N = 1000000 };
    int64_t *samples = malloc(N * sizeof(*samples));
    struct hist *h = hist_new();
    struct rng rng;
    unsigned __int128 sum = 0;
    rng_seed(&rng, 1);
    for (int i = 0; i < N; i++) {
        samples[i] = sample(&rng);
        sum += (uint64_t)samples[i];
        hist_record(h, samples[i]);
    }
    qsort(samples, N, sizeof(*samples), by_value);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        int64_t rank = (int64_t)ceil(percentiles[i] * N / 100 - 1e-6);
        int64_t exact = samples[rank < 1 ? 0 : rank - 1], got = hist_percentile(h, percentiles[i]);
        if (got < exact || (double)(got - exact) > 0.001 * (double)exact)
            fail_msg("p%g is %lld, got %lld", percentiles[i], (long long)exact, (long long)got);
    }
    assert_int_equal(hist_count(h), N);
    assert_int_equal(hist_min(h), samples[0]);
    assert_int_equal(hist_max(h), samples[N - 1]);
    assert_true(hist_mean(h) == (double)sum / N);
    assert_true(hist_sum(h) == (double)sum);
    hist_delete(h);
    free(samples);
}

static int64_t lognormal(struct rng *rng)
{
    return (int64_t)exp(8 + 1.5 * rng_normal(rng)); // milliseconds, with a long tail
}
static int64_t bimodal(struct rng *rng)
{
    return (int64_t)(rng_unit(rng) < 0.97 ? 180 + 40 * rng_unit(rng) : 900000 + 200000 * rng_unit(rng));
}
static int64_t constant(struct rng *rng)
{
    (void)rng;
    return 123457;
}
static int64_t uniform(struct rng *rng)
{
    return (int64_t)(10000000 * rng_unit(rng));
}

// A million values of shapes that latencies have, as one histogram and as three merged, beside the sorted samples.
static void every_shape_is_within_a_thousandth(void **state)
{
    static const struct {
        const char *name;
        int64_t (*draw)(struct rng *rng);
    } shapes[] = {{"lognormal", lognormal}, {"bimodal", bimodal}, {"constant", constant}, {"uniform", uniform}};
    enum { N = 1000000 };
    int64_t *samples = malloc(N * sizeof(*samples));
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct hist *all = hist_new(), *part[3] = {hist_new(), hist_new(), hist_new()};
        struct rng rng;
        double worst = 0;
        rng_seed(&rng, 7 + s);
        for (int i = 0; i < N; i++) {
            samples[i] = shapes[s].draw(&rng);
            hist_record(all, samples[i]);
            hist_record(part[i % 3], samples[i]);
        }
        qsort(samples, N, sizeof(*samples), by_value);
        assert_int_equal(hist_merge(part[0], part[1]), 0);
        assert_int_equal(hist_merge(part[0], part[2]), 0);
        for (int k = 0; k <= 10000; k++) {
            double p = k / 100.0;
            int64_t got = hist_percentile(all, p), truth = samples[k ? k * (N / 10000) - 1 : 0];
            double error = truth ? fabs((double)(got - truth)) / (double)truth : (double)got;
            worst = error > worst ? error : worst;
            assert_int_equal(hist_percentile(part[0], p), got);
        }
        print_message("  %-10s worst error of 10,001 percentiles %.4f %%\n", shapes[s].name, 100 * worst);
        assert_true(worst < 0.001);
        assert_int_equal(hist_count(part[0]), N);
        assert_int_equal(hist_min(part[0]), samples[0]);
        assert_int_equal(hist_max(part[0]), samples[N - 1]);
        assert_true(hist_sum(part[0]) == hist_sum(all));
        hist_delete(all);
        for (int i = 0; i < 3; i++)
            hist_delete(part[i]);
    }
    free(samples);
}

static void small_values_are_exact_and_ranks_are_ceilings(void **state)
{
    (void)state;
    struct hist *h = hist_new();
    for (int i = 1; i <= 1000; i++)
        hist_record(h, i);
    assert_int_equal(hist_percentile(h, 50), 500);
    assert_int_equal(hist_percentile(h, 50.01), 501);
    assert_int_equal(hist_percentile(h, 99.9), 999);
    assert_int_equal(hist_percentile(h, 100), 1000);
    assert_int_equal(hist_percentile(h, 0), 1);
    assert_int_equal(hist_percentile(h, -5), 1);
    assert_int_equal(hist_percentile(h, 500), 1000);
    assert_int_equal(hist_percentile(h, NAN), 1);
    for (int i = 1001; i <= 2000; i++)
        hist_record_n(h, i, 2);
    assert_int_equal(hist_percentile(h, 1.1), 33); // 1.1 * 3000 / 100 is 33.000000000000007 in binary
    hist_delete(h);
}

static void edges(void **state)
{
    (void)state;
    struct hist *h = hist_new();
    assert_int_equal(hist_count(h), 0);
    assert_int_equal(hist_min(h), 0);
    assert_int_equal(hist_max(h), 0);
    assert_int_equal(hist_percentile(h, 99), 0);
    assert_true(hist_mean(h) == 0);
    hist_record(h, -5);
    hist_record(h, INT64_MIN);
    assert_int_equal(hist_max(h), 0);
    assert_int_equal(hist_saturated(h), 0);
    hist_record(h, TOP);
    assert_int_equal(hist_saturated(h), 0);
    hist_record_n(h, TOP + 1, 3);
    hist_record(h, INT64_MAX);
    hist_record_n(h, 77, 0);
    assert_int_equal(hist_saturated(h), 4);
    assert_int_equal(hist_count(h), 7);
    assert_int_equal(hist_max(h), TOP);
    assert_int_equal(hist_percentile(h, 100), TOP);
    hist_clear(h);
    assert_int_equal(hist_count(h), 0);
    assert_int_equal(hist_saturated(h), 0);
    hist_record_n(h, 5, 2);
    assert_int_equal(hist_min(h), 5);
    assert_int_equal(hist_percentile(h, 50), 5);
    hist_delete(h);
    hist_delete(NULL);
}

struct walk {
    int64_t last_high;
    uint64_t total;
};

static void check_bucket(void *arg, int64_t low, int64_t high, uint64_t count)
{
    struct walk *walk = arg;
    assert_true(low > walk->last_high && high >= low && count > 0);
    assert_true((double)(high - low) <= 0.001 * (double)low || high == low);
    walk->last_high = high;
    walk->total += count;
}

static void buckets_are_ascending_disjoint_and_narrow(void **state)
{
    (void)state;
    struct hist *h = hist_new();
    for (int shift = 0; shift < 32; shift++)
        for (int64_t delta = -2; delta <= 2; delta++)
            hist_record(h, ((int64_t)1 << shift) + delta);
    struct walk walk = {-1, 0};
    hist_each(h, check_bucket, &walk);
    assert_int_equal(walk.total, hist_count(h));
    hist_delete(h);
}

static void assert_same(const struct hist *a, const struct hist *b)
{
    struct buf x, y;
    buf_create(&x, 1 << 20);
    buf_create(&y, 1 << 20);
    assert_int_equal(hist_encode(a, &x), 0);
    assert_int_equal(hist_encode(b, &y), 0);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_destroy(&x);
    buf_destroy(&y);
}

static void three_shards_merged_are_one(void **state)
{
    (void)state;
    struct hist *one = hist_new(), *merged = hist_new(), *shards[3];
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 3; i++)
        shards[i] = hist_new();
    for (int i = 0; i < 100000; i++) {
        int64_t v = sample(&rng) - 1;
        hist_record(one, v);
        hist_record(shards[rng_below(&rng, 3)], v);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(hist_merge(merged, shards[i]), 0);
    assert_same(one, merged);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        assert_int_equal(hist_percentile(one, percentiles[i]), hist_percentile(merged, percentiles[i]));
    struct hist *empty = hist_new();
    assert_int_equal(hist_merge(merged, empty), 0);
    assert_same(one, merged);
    assert_int_equal(hist_merge(empty, one), 0);
    assert_same(one, empty);
    for (int i = 0; i < 3; i++)
        hist_delete(shards[i]);
    hist_delete(empty);
    hist_delete(one);
    hist_delete(merged);
}

static void subtraction_leaves_the_interval(void **state)
{
    (void)state;
    struct hist *total = hist_new(), *earlier = hist_new(), *interval = hist_new();
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 1000; i++)
        hist_record(total, sample(&rng));
    assert_int_equal(hist_merge(earlier, total), 0);
    for (int i = 0; i < 1000; i++) {
        int64_t v = 5000 + (int64_t)rng_below(&rng, 5000);
        hist_record(total, v);
        hist_record(interval, v);
    }
    hist_record(total, INT64_MAX);
    hist_record(interval, INT64_MAX);
    assert_int_equal(hist_subtract(total, earlier), 0);
    assert_int_equal(hist_count(total), 1001);
    assert_int_equal(hist_saturated(total), 1);
    assert_true(hist_mean(total) == hist_mean(interval));
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        assert_int_equal(hist_percentile(total, percentiles[i]), hist_percentile(interval, percentiles[i]));
    assert_true(hist_min(total) <= hist_min(interval) && hist_min(total) * 1.001 >= (double)hist_min(interval));
    // What is no earlier state is refused and changes nothing.
    struct hist *before = hist_new(), *other = hist_new();
    assert_int_equal(hist_merge(before, total), 0);
    hist_record(other, 3);
    assert_int_equal(hist_subtract(total, other), -1);
    assert_same(total, before);
    assert_int_equal(hist_subtract(total, before), 0);
    assert_int_equal(hist_count(total), 0);
    assert_int_equal(hist_max(total), 0);
    hist_record(total, 42);
    assert_int_equal(hist_min(total), 42);
    hist_delete(before);
    hist_delete(other);
    hist_delete(total);
    hist_delete(earlier);
    hist_delete(interval);
}

static void bytes_round_trip_and_every_cut_is_noticed(void **state)
{
    (void)state;
    struct hist *h = hist_new(), *back = hist_new();
    struct rng rng;
    struct buf b;
    rng_seed(&rng, 4);
    buf_create(&b, 1 << 20);
    assert_int_equal(hist_encode(h, &b), 0);
    assert_int_equal(b.len, 1); // an idle series is a byte
    assert_int_equal(hist_decode_merge(back, b.data, b.len), 1);
    assert_int_equal(hist_decode_merge(back, b.data, 0), -1);
    buf_clear(&b);
    for (int i = 0; i < 500; i++)
        hist_record_n(h, sample(&rng), 1 + rng_below(&rng, 1000));
    hist_record_n(h, TOP, (uint64_t)1 << 40); // a sum beyond 64 bits
    assert_int_equal(hist_encode(h, &b), 0);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(hist_decode_merge(back, b.data, n), -1);
    assert_int_equal(hist_count(back), 0);
    assert_int_equal(buf_append_str(&b, "next"), 0);
    assert_int_equal(hist_decode_merge(back, b.data, b.len), b.len - 4);
    assert_same(h, back);
    struct buf small;
    buf_create(&small, 100);
    assert_int_equal(buf_append_str(&small, "x"), 0);
    assert_int_equal(hist_encode(h, &small), -1);
    assert_int_equal(small.len, 1);
    buf_destroy(&small);
    // Damaged bytes are refused or give a histogram that is sound; they never do harm.
    for (int i = 0; i < 20000; i++) {
        uint8_t saved[3];
        size_t at = rng_below(&rng, b.len - 3);
        memcpy(saved, b.data + at, 3);
        for (int j = 0; j < 3; j++)
            if (rng_below(&rng, 2))
                b.data[at + (size_t)j] = (uint8_t)rng_u64(&rng);
        hist_clear(back);
        if (hist_decode_merge(back, b.data, b.len) >= 0) {
            struct walk walk = {-1, 0};
            hist_each(back, check_bucket, &walk);
            assert_true(walk.total == hist_count(back));
        } else {
            assert_int_equal(hist_count(back), 0);
        }
        memcpy(b.data + at, saved, 3);
    }
    buf_destroy(&b);
    hist_delete(h);
    hist_delete(back);
}

static void lies_in_the_bytes_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[32];
        size_t n;
    } bad[] = {
        {{1, 5, 5, 5, 0, 0, 6, 1}, 8},                // min 5, but the sample is 6
        {{1, 6, 7, 6, 0, 0, 6, 1}, 8},                // max 7
        {{1, 7, 6, 6, 0, 0, 6, 1}, 8},                // min above max
        {{1, 6, 6, 5, 0, 0, 6, 1}, 8},                // sum too small
        {{1, 6, 6, 7, 0, 0, 6, 1}, 8},                // sum too large
        {{1, 6, 6, 6, 1, 0, 6, 1}, 8},                // sum far too large
        {{1, 6, 6, 6, 0, 2, 6, 1}, 8},                // more saturated than samples
        {{1, 6, 6, 0, 0, 0, 6, 0}, 8},                // an empty bucket
        {{2, 6, 6, 6, 0, 0, 6, 1}, 8},                // a bucket is missing
        {{0xff, 0xff, 0xff, 0x7f, 6, 6, 6, 0, 0}, 9}, // too many buckets
    };
    struct hist *h = hist_new();
    static const uint8_t good[] = {1, 6, 6, 6, 0, 0, 6, 1};
    assert_int_equal(hist_decode_merge(h, good, sizeof(good)), sizeof(good));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (hist_decode_merge(h, bad[i].bytes, bad[i].n) != -1)
            fail_msg("case %zu was taken", i);
    assert_int_equal(hist_count(h), 1);
    hist_record_n(h, 6, UINT64_MAX - 1);
    assert_int_equal(hist_decode_merge(h, good, sizeof(good)), -1); // would overflow
    assert_true(hist_count(h) == UINT64_MAX);
    hist_delete(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_agree_with_a_million_sorted_samples),
        cmocka_unit_test(every_shape_is_within_a_thousandth),
        cmocka_unit_test(small_values_are_exact_and_ranks_are_ceilings),
        cmocka_unit_test(edges),
        cmocka_unit_test(buckets_are_ascending_disjoint_and_narrow),
        cmocka_unit_test(three_shards_merged_are_one),
        cmocka_unit_test(subtraction_leaves_the_interval),
        cmocka_unit_test(bytes_round_trip_and_every_cut_is_noticed),
        cmocka_unit_test(lies_in_the_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
