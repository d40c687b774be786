// HDR histogram: 3 significant decimal digits from 1 to 3,600,000,000 (1 us to 1 h in microseconds), integer counts.
// Relative error of any percentile is at most 0.1%. Counts are allocated in chunks on first use, so an idle series is
// small; record is a few nanoseconds; merge is exact (percentiles of the merge equal those of one histogram that saw
// all). After Gil Tene's HdrHistogram (layout of buckets and sub-buckets); own implementation.
#pragma once
#include <stdint.h>
#include "core/buf.h"

struct hist;
struct hist *hist_new(void);
void hist_delete(struct hist *h);
void hist_clear(struct hist *h); // keeps the memory
// Values below 0 count as 0, above the maximum as the maximum (and in `saturated`). Without memory for a
// chunk the sample is not recorded at all.
void hist_record(struct hist *h, int64_t value);
void hist_record_n(struct hist *h, int64_t value, uint64_t n);
uint64_t hist_count(const struct hist *h);
int64_t hist_min(const struct hist *h); // 0 when empty; exact
int64_t hist_max(const struct hist *h); // exact
double hist_mean(const struct hist *h); // exact (sum kept apart); 0 when empty
double hist_sum(const struct hist *h);
uint64_t hist_saturated(const struct hist *h);
uint64_t hist_unrecorded(const struct hist *h); // samples lost for want of memory; of this process: does not travel
// p in [0,100]: the highest value of the bucket that holds the ceil(p/100*count)-th smallest sample, but not
// above hist_max; 0 when empty.
int64_t hist_percentile(const struct hist *h, double p);
int hist_merge(struct hist *into, const struct hist *from) WARN_UNUSED_RESULT; // -1: no memory, `into` unchanged
// into -= from, where `from` is an earlier state of `into` (min/max become bucket bounds). -1 with `into` unchanged
// when it is not.
int hist_subtract(struct hist *into, const struct hist *from) WARN_UNUSED_RESULT;
// Compact bytes (varints, runs of zero). decode merges into h and returns the bytes consumed, or -1 with h
// unchanged if they are malformed (or there is no memory).
int hist_encode(const struct hist *h, struct buf *out) WARN_UNUSED_RESULT;
int64_t hist_decode_merge(struct hist *h, const uint8_t *p, size_t n);
// Visits non-empty buckets ascending (lowest and highest value equivalent, count).
void hist_each(const struct hist *h, void (*fn)(void *arg, int64_t low, int64_t high, uint64_t count), void *arg);
