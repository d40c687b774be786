// Thresholds as data: selector, aggregate, comparison, limit. Grammar: agg op value[unit]
//   agg: avg min max med pNN pNN.N count rate value      op: < <= > >= == !=
//   trend: avg min max med pNN count   counter: count rate (per second of measured time)   rate: rate (0..1) count
// The value may stand against that of an earlier run: baseline [+|- value[unit] | +|- N% | * factor].
//   gauge: value     unit: us ms s m h for times (needed for a trend of time), % for rates, k m for counts, KB MB GB
//   for bytes
#pragma once
#include <jansson.h>
#include "metrics/metrics.h"

enum threshold_agg { AGG_AVG, AGG_MIN, AGG_MAX, AGG_MED, AGG_PERCENTILE, AGG_COUNT, AGG_RATE, AGG_VALUE };
enum threshold_op { OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE };
// What the limit is made of: a number, or what the baseline had plus delta, plus delta × itself, or times delta.
enum threshold_base { BASE_NONE, BASE_PLUS, BASE_SHARE, BASE_TIMES };

struct threshold {
    struct metric_selector selector;
    char text[96]; // "p95 < 200ms" as written
    enum threshold_agg agg;
    double percentile;
    enum threshold_op op;
    double limit; // in the metric's base unit: microseconds, bytes, ratio, count; 0 until it is resolved
    enum threshold_base base;
    double delta;          // of base: in the base unit, a ratio (0.1: + 10 %) or a factor
    bool resolved;         // base: the baseline's figure is known
    double baseline;       // that figure, in the base unit
    char stage[64];        // of the run's stages, "" for all of it: the selector's tag "stage", which no series has
    enum metric_unit unit; // of the limit as written: UNIT_TIME_US when it had a time unit
    bool percent;
    bool abort;
    int64_t delay_abort_us;
    bool no_data_passes;
    int line;
};
// Fills selector and expression parts. Errors show the text with a caret under the place and list what is valid there.
int threshold_parse(const char *selector, const char *expr, struct threshold *out,
                    struct error *err) WARN_UNUSED_RESULT;

// Of a threshold against a baseline: the figure that it had, in the base unit. Nothing for others.
void threshold_resolve(struct threshold *t, double baseline, enum metric_unit unit);
// Type and unit of a metric of the product; false: it is none.
bool threshold_metric(const char *name, enum metric_type *type, enum metric_unit *unit);
// A figure of this threshold in words: "21.4 ms", "0.31 %", "48,812 /s".
void threshold_text(const struct threshold *t, enum metric_type type, enum metric_unit unit, double v, char *dst,
                    size_t size);
// Whether a running value can still get there: a count, a rate or a gauge that has to grow. Then failing now says
// nothing yet.
bool threshold_pending(const struct threshold *t);

enum threshold_state { THRESHOLD_PASS, THRESHOLD_FAIL, THRESHOLD_NO_DATA };
struct threshold_result {
    enum threshold_state state;
    bool failed;          // counts as a failure (no data counts unless no_data_passes)
    double actual;        // base unit
    char actual_text[48]; // "21.4 ms", "0.31 %", "no data"
    char limit_text[80];  // "< 50 ms", "< 23.6 ms (baseline 21.4 ms + 10%)"
    // Elapsed time of the run at which it first failed, and since when it has; -1: never, it does not. Kept by who
    // evaluates again and again; threshold_evaluate does not touch them.
    int64_t broken_us, broken_since_us;
};
// What stands there before the first evaluation.
void threshold_no_data(const struct threshold *t, struct threshold_result *out);
// An aggregate that the metric's type does not have is an ERR_INVALID (also found by --check for known metrics).
int threshold_evaluate(const struct threshold *t, const struct metrics *m, int64_t measured_us,
                       struct threshold_result *out, struct error *err) WARN_UNUSED_RESULT;
// Name, type and unit of all metrics the product itself makes, NULL name at the end: for --check and the docs.
struct metric_known {
    const char *name;
    enum metric_type type;
    enum metric_unit unit;
    const char *help;
};
extern const struct metric_known metrics_known[];
// Checks metric name (with suggestion) and that the aggregate fits its type. User metrics ("user_" prefix) pass.
int threshold_check(const struct threshold *t, struct error *err) WARN_UNUSED_RESULT;
// The same for the scenario's own metrics, as its plan declares them: [ { "name", "type", "unit" } ]. One that is not
// among them passes (a plugin may have it), unless it is nearly one of them. Nothing for others; declared may be NULL.
int threshold_check_user(const struct threshold *t, const json_t *declared, struct error *err) WARN_UNUSED_RESULT;
