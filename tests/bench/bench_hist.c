// What recording a value costs, in nanoseconds of CPU: into a histogram, and a latency into its two (from when it was
// meant to begin, and raw), beside the floor: a counter of an array in the same order. The best of seven rounds. The
// product's limit is 20 ns a value. Prints a table; no test asserts a time.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "core/rng.h"
#include "metrics/metrics.h"

enum { ROUNDS = 7, VALUES = 1 << 20, COUNTERS = 1 << 15 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct bench {
    int64_t *values;
    uint64_t counters[COUNTERS];
    struct metric *t, *raw;
    struct lag lag;
};

static void run_floor(struct bench *b)
{
    for (int i = 0; i < VALUES; i++)
        b->counters[b->values[i] & (COUNTERS - 1)]++;
}
static void run_hist(struct bench *b)
{
    for (int i = 0; i < VALUES; i++)
        trend_add(b->raw, b->values[i]);
}
static void run_lagged(struct bench *b)
{
    for (int i = 0; i < VALUES; i++)
        trend_add_lagged(b->t, b->raw, b->values[i], &b->lag);
}

static double best(struct bench *b, void (*run)(struct bench *b))
{
    double least = 1e18;
    for (int i = 0; i < ROUNDS; i++) {
        double from = now_ns();
        run(b);
        double ns = (now_ns() - from) / VALUES;
        least = ns < least ? ns : least;
    }
    return least;
}

int main(void)
{
    static const char *const names[] = {"constant", "lognormal, 1 ms to 1 s", "uniform, 0 to 10 s", "all magnitudes"};
    struct bench *b = calloc(1, sizeof *b);
    struct metrics *m = metrics_new(10);
    b->values = malloc(VALUES * sizeof *b->values);
    b->t = metrics_series(m, "a", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    b->raw = metrics_series(m, "b", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    b->lag.late_us = 3000;
    printf("| values | floor ns | record ns | latency and raw ns |\n|---|---|---|---|\n");
    for (int k = 0; k < 4; k++) {
        struct rng rng;
        rng_seed(&rng, 1);
        for (int i = 0; i < VALUES; i++)
            b->values[i] = k == 0   ? 1234
                           : k == 1 ? (int64_t)exp(10 + 1.2 * rng_normal(&rng))
                           : k == 2 ? (int64_t)(1e7 * rng_unit(&rng))
                                    : (int64_t)pow(10, 9.5 * rng_unit(&rng));
        double floor = best(b, run_floor), record = best(b, run_hist), both = best(b, run_lagged);
        printf("| %s | %.1f | %.1f | %.1f |\n", names[k], floor, record, both);
    }
    metrics_delete(m);
    free(b->values);
    free(b);
    return 0;
}
