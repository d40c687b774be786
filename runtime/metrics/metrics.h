// The registry of a process: named series with tags, snapshots that travel and merge, Prometheus text.
//
// A series is found once (metrics_*) and then updated through its pointer: no lookup, lock or allocation on the hot
// path (a trend may allocate a histogram chunk the first time a magnitude is seen).
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/due.h"
#include "metrics/hist.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_RATE, METRIC_TREND };
enum metric_unit { UNIT_NONE, UNIT_TIME_US, UNIT_BYTES };
enum gauge_merge { GAUGE_SUM, GAUGE_MAX }; // how gauges of several shards become one

struct metrics;
struct metric { // one series; read-only outside this room except through the inline updaters
    enum metric_type type;
    enum metric_unit unit;
    enum gauge_merge merge;
    const char *name;  // "publish_latency"
    const char *tags;  // canonical: "group:sensors,reason:timeout", keys sorted; "" for none
    uint64_t count;    // counter: the sum; rate: samples; trend: samples are in hist
    uint64_t hits;     // rate: how many were true
    double value;      // gauge
    struct hist *hist; // trend
};

// max_series caps cardinality: a new tag set beyond it lands in the series of that name tagged "overflow:true". Those
// exist beside the cap, at most as many again; past that a new name is ERR_LIMIT.
struct metrics *metrics_new(unsigned max_series);
void metrics_delete(struct metrics *m);
// Zeroes every series; pointers stay valid.
void metrics_clear(struct metrics *m);
// Finds or makes a series. tags: "key:value,key:value" or NULL. Names are [a-z][a-z0-9_]*, keys and values anything
// without , : { } = control characters, valid UTF-8, not empty; blanks around them are cut. At most 63 bytes of name,
// 16 tags, 512 bytes of tags. Type or unit unlike those of an existing series of that name: NULL and err.
struct metric *metrics_series(struct metrics *m, const char *name, enum metric_type type, enum metric_unit unit,
                              const char *tags, struct error *err);
struct metric *metrics_gauge(struct metrics *m, const char *name, enum gauge_merge merge, const char *tags,
                             struct error *err);

static inline void counter_add(struct metric *c, uint64_t n)
{
    c->count += n;
}
// Of what its owner counts elsewhere.
static inline void counter_set(struct metric *c, uint64_t n)
{
    c->count = n;
}
static inline void rate_set(struct metric *r, uint64_t hits, uint64_t samples)
{
    r->hits = hits;
    r->count = samples;
}
static inline void gauge_set(struct metric *g, double v)
{
    g->value = v;
}
static inline void gauge_add(struct metric *g, double v)
{
    g->value += v;
}
static inline void rate_add(struct metric *r, bool hit)
{
    r->count++;
    r->hits += hit;
}
static inline void trend_add(struct metric *t, int64_t v)
{
    hist_record(t->hist, v);
}
// Turns that were left out because one was held up: each as if its operation had taken us too, from when it was meant
// to begin. Those of one operation are at most 256 different values; more are gathered at the mean of their neighbours.
void trend_add_missed(struct metric *t, int64_t us, const struct lag *lag);
// An operation that took us: as it was into raw, and from when it was meant to begin into t.
static inline void trend_add_lagged(struct metric *t, struct metric *raw, int64_t us, const struct lag *lag)
{
    trend_add(raw, us);
    trend_add(t, us + lag->late_us);
    if (__builtin_expect(lag->missed != 0, 0))
        trend_add_missed(t, us, lag);
}

// What a registry could not keep as it came, so far: said in the summary, as figures are the worse for it.
struct metrics_losses {
    uint64_t saturated;  // samples of trends above an hour: counted as an hour
    uint64_t unrecorded; // samples for which there was no memory: not counted at all
    uint64_t overflowed; // sets of tags that share a series "overflow:true", each time one was asked for
};
// Whoever caps the tags of one name by itself says here that a set of them has gone to "overflow:true".
void metrics_note_overflow(struct metrics *m);
void metrics_losses(const struct metrics *m, struct metrics_losses *out);

// Snapshots: all series, cumulative since the start of this process.
int metrics_encode(const struct metrics *m, struct buf *out) WARN_UNUSED_RESULT;
// Adds a snapshot of another process to m (series are made as needed). Malformed bytes: -1, m unchanged. At most 65,536
// series. A series that does not fit m (another type, the cap): -1 with what came before it merged.
int metrics_merge(struct metrics *m, const uint8_t *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
// Adds another registry of this process.
int metrics_merge_from(struct metrics *m, const struct metrics *from, struct error *err) WARN_UNUSED_RESULT;

// Takes an earlier state of m from it: counts, shares and samples since then stay; gauges are as they are. A series
// that is less than it was (its process began anew) stays as it is.
void metrics_subtract(struct metrics *m, const struct metrics *earlier);
// Statistics begin anew: counters, rates and trends at zero, gauges as they are. keep (NULL: none) names the series
// that are no statistics.
void metrics_restart(struct metrics *m, bool (*keep)(const char *name));

// "name" or "name{key:value,key:value}": the sum of all series of that name whose tags include the selector's.
struct metric_selector {
    char name[64];
    char tags[192]; // canonical, "" matches all
};
int metric_selector_parse(const char *text, struct metric_selector *out, struct error *err) WARN_UNUSED_RESULT;
// An aggregate of the matching series into *out (out->hist made by the caller with hist_new for trends or NULL, then
// only counts are merged; it is cleared first). out->count is the number of samples of trends too. Returns how many
// series matched (0: no such data), -1 without memory.
int metrics_select(const struct metrics *m, const struct metric_selector *sel, struct metric *out);
// Every series, in order of name then tags.
void metrics_each(const struct metrics *m, void (*fn)(void *arg, const struct metric *s), void *arg);
// Prometheus exposition text 0.0.4: names prefixed "iotix_", with the unit (_seconds, _bytes) unless they say it;
// trends as summaries with _sum and _count, counters with _total, rates as two counters (_samples_total, _hits_total).
// Times are in seconds. Label values are escaped; what a label name may not hold becomes "_".
int metrics_prometheus(const struct metrics *m, struct buf *out) WARN_UNUSED_RESULT;
