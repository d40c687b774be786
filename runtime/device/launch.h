// When each device of a group starts: pure functions of the launch configuration and the device's place in the group.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "core/error.h"

enum launch_strategy { LAUNCH_IMMEDIATE, LAUNCH_LINEAR, LAUNCH_BATCH, LAUNCH_EXPONENTIAL };

struct launch {
    enum launch_strategy strategy;
    int64_t delay_us; // linear: between devices; batch: between batches; exponential: first delay
    double rate;      // linear: devices a second (alternative to delay_us), 0 = by delay
    uint64_t batch_size;
    int64_t max_delay_us; // exponential: cap of one delay
    double base;          // exponential
};

// {"strategy":…, "rate":n | "delay":us, "batch_size":n, "max_delay":us, "base":x} as the plan carries it, or the
// published format's camelCase (delayMs, batchSize, maxDelayMs, exponentBase). Unknown keys: error naming the valid
// ones. NULL: immediate. Defaults: delay 1 s, batches of 100, cap 60 s, base 1.5. rate is for linear, and excludes
// delay.
int launch_parse(const json_t *spec, struct launch *out, struct error *err) WARN_UNUSED_RESULT;
// Delay of the device at 0-based place `i` from the start of the run. Non-decreasing in i, so that one timer a group
// serves all; the first starts at 0. linear: i / rate or i × delay; batch: (i / batch_size) × delay; exponential as
// published: delay_k = min(delay × base^k, max), and the start is the sum of delay_0 … delay_(i-1).
int64_t launch_delay_us(const struct launch *l, uint64_t i);
// When the last of `count` starts.
int64_t launch_total_us(const struct launch *l, uint64_t count);
const char *launch_strategy_name(enum launch_strategy s);
