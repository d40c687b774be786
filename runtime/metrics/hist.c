// Layout: values below 2048 have a bucket each. Above, every power of two is cut into 1024 buckets, so a bucket is
// never wider than 1/1024 of its values. Bucket of v: shift = position of the highest bit - 10 (0 below 2048), sub = v
// >> shift (1024..2047), index = shift * 1024 + sub; indices are contiguous. Counters lie in chunks of 256 (2 KB) made
// on first use: a latency that stays within a factor of two takes at most 5 of them.
#include "metrics/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 3600000000ll
#define SUB_HALF 1024u
#define CHUNK 256u
#define INDEX_COUNT (21u * SUB_HALF + 2048u) // 3.6e9 has its highest bit at 31: shift 21
#define CHUNKS (INDEX_COUNT / CHUNK)

struct hist {
    uint64_t count;
    unsigned __int128 sum; // 64 bits hold only 5e9 samples of an hour
    int64_t min, max;      // exact; meaningless when empty
    uint64_t saturated, unrecorded;
    uint64_t *chunks[CHUNKS];
};

struct hist *hist_new(void)
{
    return calloc(1, sizeof(struct hist));
}

void hist_delete(struct hist *h)
{
    if (!h)
        return;
    for (unsigned i = 0; i < CHUNKS; i++)
        free(h->chunks[i]);
    free(h);
}

void hist_clear(struct hist *h)
{
    for (unsigned i = 0; i < CHUNKS; i++)
        if (h->chunks[i])
            memset(h->chunks[i], 0, CHUNK * sizeof(uint64_t));
    h->count = 0;
    h->sum = 0;
    h->min = h->max = 0;
    h->saturated = 0;
}

static inline unsigned index_of(int64_t v)
{
    unsigned shift = v < 2048 ? 0 : 53u - (unsigned)__builtin_clzll((uint64_t)v);
    return shift * SUB_HALF + (unsigned)(v >> shift);
}

static int64_t index_low(unsigned index)
{
    if (index < 2 * SUB_HALF)
        return index;
    unsigned shift = index / SUB_HALF - 1;
    return (int64_t)(index - shift * SUB_HALF) << shift;
}

static int64_t index_high(unsigned index)
{
    unsigned shift = index < 2 * SUB_HALF ? 0 : index / SUB_HALF - 1;
    return index_low(index) + ((int64_t)1 << shift) - 1;
}

static uint64_t *need_chunk(struct hist *h, unsigned i)
{
    if (!h->chunks[i])
        h->chunks[i] = calloc(CHUNK, sizeof(uint64_t));
    return h->chunks[i];
}

void hist_record_n(struct hist *h, int64_t value, uint64_t n)
{
    if (n == 0)
        return;
    bool over = value > VALUE_MAX;
    int64_t v = over ? VALUE_MAX : value < 0 ? 0 : value;
    unsigned index = index_of(v);
    uint64_t *chunk = h->chunks[index / CHUNK];
    if (__builtin_expect(!chunk, 0)) {
        chunk = need_chunk(h, index / CHUNK);
        if (!chunk) {
            h->unrecorded += n;
            return;
        }
    }
    chunk[index % CHUNK] += n;
    if (h->count == 0 || v < h->min)
        h->min = v;
    if (h->count == 0 || v > h->max)
        h->max = v;
    h->count += n;
    h->sum += (unsigned __int128)(uint64_t)v * n;
    if (over)
        h->saturated += n;
}

void hist_record(struct hist *h, int64_t value)
{
    hist_record_n(h, value, 1);
}

uint64_t hist_count(const struct hist *h)
{
    return h->count;
}

int64_t hist_min(const struct hist *h)
{
    return h->count ? h->min : 0;
}

int64_t hist_max(const struct hist *h)
{
    return h->count ? h->max : 0;
}

double hist_sum(const struct hist *h)
{
    return (double)h->sum;
}

double hist_mean(const struct hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

uint64_t hist_saturated(const struct hist *h)
{
    return h->saturated;
}

uint64_t hist_unrecorded(const struct hist *h)
{
    return h->unrecorded;
}

// The rank ceil(p/100*count), 1..count.
static uint64_t rank_of(uint64_t count, double p)
{
    if (!(p > 0))
        return 1;
    if (p >= 100)
        return count;
    double exact = p * (double)count / 100;
    // 99.9 is not a binary fraction: without this 99.9% of 1000 could become rank 1000.
    uint64_t rank = (uint64_t)ceil(exact - exact * 1e-14);
    return rank < 1 ? 1 : rank > count ? count : rank;
}

int64_t hist_percentile(const struct hist *h, double p)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = rank_of(h->count, p), seen = 0;
    for (unsigned i = 0; i < CHUNKS; i++) {
        const uint64_t *chunk = h->chunks[i];
        if (!chunk)
            continue;
        for (unsigned j = 0; j < CHUNK; j++) {
            seen += chunk[j];
            if (seen < rank)
                continue;
            int64_t high = index_high(i * CHUNK + j);
            return high < h->max ? high : h->max;
        }
    }
    return h->max;
}

// Totals of one histogram (or of encoded bytes) added to another; its buckets are added apart.
struct totals {
    uint64_t count;
    unsigned __int128 sum;
    int64_t min, max;
    uint64_t saturated;
};

static void add_totals(struct hist *h, const struct totals *t)
{
    if (t->count == 0)
        return;
    if (h->count == 0 || t->min < h->min)
        h->min = t->min;
    if (h->count == 0 || t->max > h->max)
        h->max = t->max;
    h->count += t->count;
    h->sum += t->sum;
    h->saturated += t->saturated;
}

static bool fits(const struct hist *h, uint64_t count)
{
    uint64_t total;
    return !__builtin_add_overflow(h->count, count, &total);
}

int hist_merge(struct hist *into, const struct hist *from)
{
    if (!fits(into, from->count))
        return -1;
    for (unsigned i = 0; i < CHUNKS; i++)
        if (from->chunks[i] && !need_chunk(into, i))
            return -1;
    struct totals totals = {from->count, from->sum, from->min, from->max, from->saturated};
    for (unsigned i = 0; i < CHUNKS; i++)
        for (unsigned j = 0; from->chunks[i] && j < CHUNK; j++)
            into->chunks[i][j] += from->chunks[i][j];
    add_totals(into, &totals);
    return 0;
}

static bool is_earlier_state(const struct hist *later, const struct hist *earlier)
{
    if (earlier->count > later->count || earlier->sum > later->sum || earlier->saturated > later->saturated)
        return false;
    for (unsigned i = 0; i < CHUNKS; i++)
        for (unsigned j = 0; earlier->chunks[i] && j < CHUNK; j++)
            if (earlier->chunks[i][j] > (later->chunks[i] ? later->chunks[i][j] : 0))
                return false;
    return true;
}

int hist_subtract(struct hist *into, const struct hist *from)
{
    if (!is_earlier_state(into, from))
        return -1;
    int64_t lowest = -1, highest = 0;
    for (unsigned i = 0; i < CHUNKS; i++) {
        for (unsigned j = 0; into->chunks[i] && j < CHUNK; j++) {
            into->chunks[i][j] -= from->chunks[i] ? from->chunks[i][j] : 0;
            if (into->chunks[i][j] == 0)
                continue;
            if (lowest < 0)
                lowest = index_low(i * CHUNK + j);
            highest = index_high(i * CHUNK + j);
        }
    }
    into->count -= from->count;
    into->sum -= from->sum;
    into->saturated -= from->saturated;
    // What lies in the interval also lies within the extremes of the whole.
    into->min = lowest > into->min ? lowest : into->min;
    into->max = highest < into->max ? highest : into->max;
    return 0;
}

void hist_each(const struct hist *h, void (*fn)(void *arg, int64_t low, int64_t high, uint64_t count), void *arg)
{
    for (unsigned i = 0; i < CHUNKS; i++)
        for (unsigned j = 0; h->chunks[i] && j < CHUNK; j++)
            if (h->chunks[i][j])
                fn(arg, index_low(i * CHUNK + j), index_high(i * CHUNK + j), h->chunks[i][j]);
}

// Bytes: varints. Number of non-empty buckets; if that is not 0: min, max, sum (low and high 64 bits), saturated, and
// for each non-empty bucket the number of empty ones before it and its count.
static int encode_buckets(const struct hist *h, struct buf *out)
{
    uint64_t gap = 0;
    for (unsigned i = 0; i < CHUNKS; i++) {
        if (!h->chunks[i]) {
            gap += CHUNK;
            continue;
        }
        for (unsigned j = 0; j < CHUNK; j++) {
            uint64_t n = h->chunks[i][j];
            if (n == 0) {
                gap++;
                continue;
            }
            if (buf_append_varint(out, gap) || buf_append_varint(out, n))
                return -1;
            gap = 0;
        }
    }
    return 0;
}

int hist_encode(const struct hist *h, struct buf *out)
{
    uint32_t before = out->len;
    uint64_t used = 0;
    for (unsigned i = 0; i < CHUNKS; i++)
        for (unsigned j = 0; h->chunks[i] && j < CHUNK; j++)
            used += h->chunks[i][j] != 0;
    int rc = buf_append_varint(out, used);
    if (!rc && used)
        rc = buf_append_varint(out, (uint64_t)h->min) || buf_append_varint(out, (uint64_t)h->max) ||
             buf_append_varint(out, (uint64_t)h->sum) || buf_append_varint(out, (uint64_t)(h->sum >> 64)) ||
             buf_append_varint(out, h->saturated) || encode_buckets(h, out);
    if (rc) {
        out->len = before;
        return -1;
    }
    return 0;
}

struct reader {
    const uint8_t *at;
    size_t left;
};

static int read_varint(struct reader *r, uint64_t *out)
{
    size_t n = varint_read(r->at, r->left, out);
    r->at += n;
    r->left -= n;
    return n ? 0 : -1;
}

static int read_totals(struct reader *r, struct totals *t)
{
    uint64_t min, max, low, high, saturated;
    if (read_varint(r, &min) || read_varint(r, &max) || read_varint(r, &low) || read_varint(r, &high) ||
        read_varint(r, &saturated))
        return -1;
    if (min > max || max > VALUE_MAX)
        return -1;
    t->min = (int64_t)min;
    t->max = (int64_t)max;
    t->sum = (unsigned __int128)high << 64 | low;
    t->saturated = saturated;
    return 0;
}

// One pass over the buckets: checks them against the totals when `into` is NULL, adds them otherwise.
static int read_buckets(struct reader *r, uint64_t used, struct totals *t, struct hist *into)
{
    uint64_t index = 0, count = 0;
    unsigned __int128 least = 0, most = 0;
    for (uint64_t i = 0; i < used; i++, index++) {
        uint64_t gap, n;
        if (read_varint(r, &gap) || read_varint(r, &n))
            return -1;
        if (n == 0 || gap >= INDEX_COUNT || (index += gap) >= INDEX_COUNT || __builtin_add_overflow(count, n, &count))
            return -1;
        unsigned at = (unsigned)index;
        if ((i == 0 && at != index_of(t->min)) || (i == used - 1 && at != index_of(t->max)))
            return -1;
        least += (unsigned __int128)(uint64_t)index_low(at) * n;
        most += (unsigned __int128)(uint64_t)index_high(at) * n;
        if (into) {
            uint64_t *chunk = need_chunk(into, at / CHUNK);
            if (!chunk)
                return -1;
            chunk[at % CHUNK] += n;
        }
    }
    t->count = count;
    return t->sum < least || t->sum > most || t->saturated > count ? -1 : 0;
}

int64_t hist_decode_merge(struct hist *h, const uint8_t *p, size_t n)
{
    struct reader r = {p, n};
    uint64_t used;
    if (read_varint(&r, &used) || used > INDEX_COUNT)
        return -1;
    if (used == 0)
        return r.at - p;
    struct totals totals;
    if (read_totals(&r, &totals))
        return -1;
    struct reader buckets = r;
    if (read_buckets(&r, used, &totals, NULL) || !fits(h, totals.count))
        return -1;
    // Collected apart first, so that running out of memory half-way leaves h as it was.
    struct hist *apart = hist_new();
    int rc = apart ? read_buckets(&buckets, used, &totals, apart) : -1;
    if (!rc) {
        add_totals(apart, &totals);
        rc = hist_merge(h, apart);
    }
    hist_delete(apart);
    return rc ? -1 : r.at - p;
}
