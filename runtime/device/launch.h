// When each device of a group starts: pure functions of the launch configuration and the device's place in the group.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "core/error.h"
#include "core/rng.h"

enum launch_strategy {
    LAUNCH_IMMEDIATE,
    LAUNCH_LINEAR,
    LAUNCH_BATCH,
    LAUNCH_EXPONENTIAL,
    LAUNCH_RAMP,
    LAUNCH_STAGES,
    LAUNCH_POISSON
};

enum { LAUNCH_MAX_STAGES = 32 };
struct launch_stage {
    int64_t duration_us;
    uint64_t target; // devices that are up at its end; in between the number changes linearly
};

struct launch {
    enum launch_strategy strategy;
    int64_t delay_us; // linear: between devices; batch: between batches; exponential: first delay
    double rate;      // linear, poisson: devices a second; linear: 0 = by delay
    uint64_t batch_size;
    int64_t max_delay_us; // exponential: cap of one delay
    double base;          // exponential
    int64_t over_us;      // ramp: when the last one starts
    unsigned n_stages;
    struct launch_stage stages[LAUNCH_MAX_STAGES];
};

// {"strategy":…, "rate":n | "delay":us, "batch_size":n, "max_delay":us, "base":x, "over":us, "stages":[{"duration":us,
// "target":n}]} as the plan carries it, or the published format's camelCase (delayMs, batchSize, maxDelayMs,
// exponentBase; overMs, durationMs). Unknown keys: error naming the valid ones. NULL: immediate. Defaults: delay 1 s,
// batches of 100, cap 60 s, base 1.5; ramp, stages and poisson have none for what they are about. rate is for linear
// and poisson, and excludes delay.
int launch_parse(const json_t *spec, struct launch *out, struct error *err) WARN_UNUSED_RESULT;
// Delay of the device at 0-based place `i` of `count` from the start of the run. Non-decreasing in i, so that one timer
// a group serves all.
//   linear       i / rate or i × delay; the first at 0, as with batch and exponential
//   batch        (i / batch_size) × delay
//   exponential  as published: delay_k = min(delay × base^k, max), and the start is the sum of delay_0 … delay_(i-1)
//   ramp         over × √((i + 1) / count): the rate rises linearly from 0, the last one starts at `over`
//   stages       the first time that more than i devices are to be up, INT64_MAX: never
//   poisson      the mean of what launch_arrival_us draws
int64_t launch_delay_us(const struct launch *l, uint64_t count, uint64_t i);
// When the last of `count` starts; stages: when the last stage ends; poisson: on average.
int64_t launch_total_us(const struct launch *l, uint64_t count);
const char *launch_strategy_name(enum launch_strategy s);
// Stages: the largest target.
uint64_t launch_peak(const struct launch *l);

// Stages, which may also fall: how many places are up at a time; the highest ones go first.
uint64_t launch_up(const struct launch *l, int64_t at_us);
// The first time behind after_us at which the place `rising` comes up or the place `falling` goes down (UINT64_MAX:
// there is none such). INT64_MAX: never.
int64_t launch_change_us(const struct launch *l, uint64_t rising, uint64_t falling, int64_t after_us);

// Poisson arrivals: the i-th is the sum of i + 1 exponential gaps, drawn one after another, so every process walks over
// all places: 15 ns each, spread over the launch.
struct launch_arrivals {
    struct rng rng;
    uint64_t n;   // drawn so far
    double at_us; // of the last one
};
void launch_arrivals_create(struct launch_arrivals *a, uint64_t seed, const char *group, uint64_t salt);
// Places must not fall from call to call.
int64_t launch_arrival_us(const struct launch *l, struct launch_arrivals *a, uint64_t i);
