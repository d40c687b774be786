#include "engine/load.h"

#include <stdio.h>

#define CPU_EVERY_US 900000

const char *load_tags(unsigned partition, unsigned partitions, unsigned shard, char out[LOAD_TAGS_MAX])
{
    if (partitions > 1)
        snprintf(out, LOAD_TAGS_MAX, "shard:%u-%u", partition + 1, shard);
    else
        snprintf(out, LOAD_TAGS_MAX, "shard:%u", shard);
    return out;
}

int load_create(struct load *l, struct metrics *m, const char *tags, struct error *err)
{
    *l = (struct load){.cpu_us = clock_process_cpu_us()};
    // No two shards share a gauge of CPU, so its sum is its value.
    l->turn = metrics_series(m, "loop_turn", METRIC_TREND, UNIT_TIME_US, NULL, err);
    l->lag = l->turn ? metrics_series(m, "loop_lag", METRIC_TREND, UNIT_TIME_US, tags, err) : NULL;
    l->cpu = l->lag ? metrics_gauge(m, "shard_cpu", GAUGE_MAX, tags, err) : NULL;
    l->saturated = l->cpu ? metrics_series(m, "samples_saturated", METRIC_COUNTER, UNIT_NONE, NULL, err) : NULL;
    l->lost = l->saturated ? metrics_series(m, "samples_lost", METRIC_COUNTER, UNIT_NONE, NULL, err) : NULL;
    l->overflow = l->lost ? metrics_series(m, "series_overflow", METRIC_COUNTER, UNIT_NONE, NULL, err) : NULL;
    return l->overflow ? 0 : -1;
}

void load_measure(struct load *l, struct loop *loop, const struct metrics *m)
{
    struct clock steady; // CPU is real, whatever the loop's time is
    struct loop_stats stats;
    struct metrics_losses losses;
    loop_stats(loop, &stats);
    loop_stats_reset(loop);
    trend_add(l->turn, stats.longest_turn_us);
    trend_add(l->lag, stats.timer_late_max_us);
    if (stats.longest_turn_us > l->longest_turn_us)
        l->longest_turn_us = stats.longest_turn_us;
    clock_create_real(&steady);
    int64_t now_us = clock_now_us(&steady), cpu_us = clock_process_cpu_us();
    if (now_us - l->cpu_at_us < CPU_EVERY_US)
        return;
    if (l->cpu_at_us)
        gauge_set(l->cpu, (double)(cpu_us - l->cpu_us) / (double)(now_us - l->cpu_at_us));
    l->cpu_us = cpu_us;
    l->cpu_at_us = now_us;
    metrics_losses(m, &losses);
    l->saturated->count = losses.saturated;
    l->lost->count = losses.unrecorded;
    l->overflow->count = losses.overflowed;
}
