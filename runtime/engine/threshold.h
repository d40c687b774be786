// Thresholds as data: selector, aggregate, comparison, limit. Grammar: agg op value[unit]
//   agg: avg min max med pNN pNN.N count rate value      op: < <= > >= == !=
//   trend: avg min max med pNN count   counter: count rate (per second of measured time)   rate: rate (0..1) count
//   gauge: value     unit: us ms s m h for times (needed for a trend of time), % for rates, k m for counts, KB MB GB
//   for bytes
#pragma once
#include <jansson.h>
#include "metrics/metrics.h"

enum threshold_agg { AGG_AVG, AGG_MIN, AGG_MAX, AGG_MED, AGG_PERCENTILE, AGG_COUNT, AGG_RATE, AGG_VALUE };
enum threshold_op { OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE };

struct threshold {
    struct metric_selector selector;
    char text[96]; // "p95 < 200ms" as written
    enum threshold_agg agg;
    double percentile;
    enum threshold_op op;
    double limit;          // in the metric's base unit: microseconds, bytes, ratio, count
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

enum threshold_state { THRESHOLD_PASS, THRESHOLD_FAIL, THRESHOLD_NO_DATA };
struct threshold_result {
    enum threshold_state state;
    bool failed;          // counts as a failure (no data counts unless no_data_passes)
    double actual;        // base unit
    char actual_text[48]; // "21.4 ms", "0.31 %", "no data"
    char limit_text[48];  // "< 50 ms"
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
