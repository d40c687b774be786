// Dropouts: some devices of a group lose their connection, all at once or over time, and may come back. Pure functions
// of the configuration and a device's place in the dropout's own seeded order (choice.h).
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

enum dropout_strategy { DROPOUT_IMMEDIATE, DROPOUT_LINEAR, DROPOUT_EXPONENTIAL, DROPOUT_RANDOM };

struct dropout {
    enum dropout_strategy strategy;
    uint64_t count;    // devices, 0: by percentage
    double percentage; // of the group, 0..100
    bool timed;        // at_us was given: declared in a scenario
    int64_t at_us;     // when it begins, from the start of the run
    int64_t delay_us;  // linear: between two; exponential: the first gap
    int64_t max_delay_us;
    int64_t duration_us; // random: all within this time; linear: spread over it in place of delay_us when not 0
    double base;         // exponential
    bool reconnect;
    int64_t reconnect_delay_us; // from a device's dropping out to its coming back
    int64_t jitter_us;          // and up to this much later, seeded
    bool graceful;              // says goodbye; otherwise the connection is cut and a will is published
};

// {"strategy", "count" | "percentage", "at", "delay", "max_delay", "duration", "base", "reconnect", "reconnect_delay",
// "jitter", "mode": "abrupt" | "graceful"} with microseconds, or the published format's camelCase (delayMs, durationMs,
// exponentBase, reconnectDelayMs; atMs, maxDelayMs, jitterMs). Defaults: immediate, abrupt, delay 1 s, cap of a gap
// 60 s, duration 60 s, base 1.5, no reconnect. Neither count nor percentage, or both, and unknown keys are errors.
int dropout_parse(const json_t *spec, struct dropout *out, struct error *err) WARN_UNUSED_RESULT;
// How many of a group of `count` devices.
uint64_t dropout_count(const struct dropout *d, uint64_t count);
// When the device of that rank (< n, of n that drop out) does, from the dropout's beginning. draw: a number of the
// device's own in [0,1).
int64_t dropout_delay_us(const struct dropout *d, uint64_t n, uint64_t rank, double draw);
const char *dropout_strategy_name(enum dropout_strategy s);
