// The figures of an earlier run, from its summary: what thresholds against a baseline ("p95 < baseline + 10%") are
// resolved with, and the thresholds of --max-regression.
#pragma once
#include <jansson.h>
#include "engine/threshold.h"

// The summary of a run: a file that --summary-json wrote, or an object that has it as its member "summary". Owned by
// the caller; NULL: err says what the file is instead.
json_t *baseline_read(const char *path, struct error *err);
// The figure that the threshold's metric and aggregate had, in the base unit. ERR_NOT_FOUND: the summary has none, and
// why. Percentiles are those that a summary keeps (p50 p90 p95 p99 p99.9), or that a threshold of that run had.
int baseline_value(const json_t *summary, const struct threshold *t, double *out, enum metric_unit *unit,
                   struct error *err) WARN_UNUSED_RESULT;
// Gives every threshold of a plan's JSON that stands against a baseline its figure. summary NULL: there is none, which
// is an error as soon as one is needed.
int baseline_resolve(json_t *plan, const json_t *summary, struct error *err) WARN_UNUSED_RESULT;
// Adds the thresholds of --max-regression: latencies (p95) at most `percent` above, rates of messages and requests at
// most that much below, and shares of errors at most 0.1 percentage points above what they were, each where the
// summary has it and the plan no threshold against the baseline of its own. Nothing to compare at all: -1.
int baseline_add_regressions(json_t *plan, const json_t *summary, double percent, struct error *err) WARN_UNUSED_RESULT;
