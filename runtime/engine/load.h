// What a shard costs itself: how late its loop is, its CPU, and what its metrics could not keep. Figures of a run are
// only as good as these (verdict.c judges them).
#pragma once
#include "core/loop.h"
#include "metrics/metrics.h"

struct load { // embed it
    struct metric *turn, *lag, *cpu, *saturated, *lost, *overflow;
    int64_t longest_turn_us; // so far
    int64_t cpu_us, cpu_at_us;
};
// Of a partition of a run (0-based) the number of a shard is not its name.
#define LOAD_TAGS_MAX 40u
const char *load_tags(unsigned partition, unsigned partitions, unsigned shard, char out[LOAD_TAGS_MAX]);
// tags: of what is of one shard. -1: err.
int load_create(struct load *l, struct metrics *m, const char *tags, struct error *err) WARN_UNUSED_RESULT;
// Every 250 ms; begins the loop's figures anew. The CPU is taken once a second.
void load_measure(struct load *l, struct loop *loop, const struct metrics *m);
