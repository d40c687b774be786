// A snapshot is what a shard sends to the supervisor. Bytes: version 1; varint number of series; for each: name and
// tags (varint length, bytes), one byte each of type, unit and merge, then by type
//   counter  varint count            gauge  8 bytes, IEEE 754, little-endian
//   rate     varint count, hits      trend  varint length, bytes of hist_encode
// in the order of metrics_each. Everything is checked: the bytes may come from another machine.
#include "metrics/metrics.h"

#include <stdio.h>
#include <string.h>

#include "metrics/tags.h"

#define VERSION 1
#define SERIES_MAX 65536 // a snapshot of a few bytes a series must not take gigabytes to read

struct encoder {
    struct buf *out;
    uint64_t count;
    bool failed;
};

static void count_series(void *arg, const struct metric *s)
{
    (void)s;
    ((struct encoder *)arg)->count++;
}

static int put_string(struct buf *out, const char *s)
{
    size_t n = strlen(s);
    return buf_append_varint(out, n) || buf_append(out, s, n) ? -1 : 0;
}

static int put_double(struct buf *out, double v)
{
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, &v, sizeof(bits));
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(bits >> (8 * i));
    return buf_append(out, bytes, sizeof(bytes));
}

// The length stands in front and is not known before: encode, then push the bytes back by the length's own.
static int put_hist(struct buf *out, const struct hist *h)
{
    uint32_t start = out->len;
    if (hist_encode(h, out))
        return -1;
    uint32_t n = out->len - start;
    if (buf_append_varint(out, n))
        return -1;
    uint8_t length[10];
    uint32_t length_size = out->len - start - n;
    memcpy(length, out->data + start + n, length_size);
    memmove(out->data + start + length_size, out->data + start, n);
    memcpy(out->data + start, length, length_size);
    return 0;
}

static int put_series(struct buf *out, const struct metric *s)
{
    uint8_t kind[] = {(uint8_t)s->type, (uint8_t)s->unit, (uint8_t)s->merge};
    if (put_string(out, s->name) || put_string(out, s->tags) || buf_append(out, kind, sizeof(kind)))
        return -1;
    switch (s->type) {
    case METRIC_COUNTER:
        return buf_append_varint(out, s->count);
    case METRIC_GAUGE:
        return put_double(out, s->value);
    case METRIC_RATE:
        return buf_append_varint(out, s->count) || buf_append_varint(out, s->hits) ? -1 : 0;
    case METRIC_TREND:
        return put_hist(out, s->hist);
    }
    return -1;
}

static void encode_one(void *arg, const struct metric *s)
{
    struct encoder *e = arg;
    if (!e->failed)
        e->failed = put_series(e->out, s) != 0;
}

int metrics_encode(const struct metrics *m, struct buf *out)
{
    uint32_t before = out->len;
    struct encoder e = {.out = out};
    metrics_each(m, count_series, &e);
    e.failed = buf_append_char(out, VERSION) || buf_append_varint(out, e.count);
    metrics_each(m, encode_one, &e);
    if (e.failed)
        out->len = before;
    return e.failed ? -1 : 0;
}

struct reader {
    const uint8_t *at;
    size_t left;
};

static int get_varint(struct reader *r, uint64_t *out)
{
    size_t n = varint_read(r->at, r->left, out);
    r->at += n;
    r->left -= n;
    return n ? 0 : -1;
}

static const uint8_t *get_bytes(struct reader *r, uint64_t n)
{
    if (n > r->left)
        return NULL;
    const uint8_t *at = r->at;
    r->at += n;
    r->left -= n;
    return at;
}

static int get_string(struct reader *r, char *dst, size_t size)
{
    uint64_t n;
    const uint8_t *bytes;
    if (get_varint(r, &n) || n >= size || !(bytes = get_bytes(r, n)) || memchr(bytes, 0, n))
        return -1;
    memcpy(dst, bytes, n);
    dst[n] = '\0';
    return 0;
}

static int get_double(struct reader *r, double *out)
{
    const uint8_t *bytes = get_bytes(r, 8);
    uint64_t bits = 0;
    for (unsigned i = 0; bytes && i < 8; i++)
        bits |= (uint64_t)bytes[i] << (8 * i);
    memcpy(out, &bits, sizeof(bits));
    return bytes ? 0 : -1;
}

static int get_value(struct reader *r, struct metric *s)
{
    uint64_t n;
    const uint8_t *bytes;
    switch (s->type) {
    case METRIC_COUNTER:
        return get_varint(r, &s->count);
    case METRIC_GAUGE:
        return get_double(r, &s->value);
    case METRIC_RATE:
        return get_varint(r, &s->count) || get_varint(r, &s->hits) || s->hits > s->count ? -1 : 0;
    case METRIC_TREND:
        if (get_varint(r, &n) || !(bytes = get_bytes(r, n)))
            return -1;
        return hist_decode_merge(s->hist, bytes, n) == (int64_t)n ? 0 : -1;
    }
    return -1;
}

static struct metric *malformed(struct error *err, const char *what)
{
    error_set(err, ERR_PROTOCOL, "malformed metric snapshot: %s", what);
    return NULL;
}

static struct metric *get_series(struct reader *r, struct metrics *into, struct error *err)
{
    char name[METRIC_NAME_MAX + 1], tags[METRIC_TAGS_MAX + 1];
    const uint8_t *kind;
    if (get_string(r, name, sizeof(name)) || get_string(r, tags, sizeof(tags)) || !(kind = get_bytes(r, 3)))
        return malformed(err, "cut, or a name is too long");
    if (kind[0] > METRIC_TREND || kind[1] > UNIT_BYTES || kind[2] > GAUGE_MAX)
        return malformed(err, "unknown type, unit or merge");
    bool maximum = kind[2] == GAUGE_MAX;
    if (maximum && (kind[0] != METRIC_GAUGE || kind[1] != UNIT_NONE))
        return malformed(err, "only a gauge without a unit is merged as a maximum");
    struct metric *s = maximum ? metrics_gauge(into, name, GAUGE_MAX, tags, err)
                               : metrics_series(into, name, kind[0], kind[1], tags, err);
    if (!s)
        return NULL;
    return get_value(r, s) ? malformed(err, "a value") : s;
}

// Reads all series into an empty registry. They come in the order of metrics_each, so each one is new.
static int get_all(struct reader *r, uint64_t count, struct metrics *into, struct error *err)
{
    char last[METRIC_NAME_MAX + METRIC_TAGS_MAX + 2] = "", key[sizeof(last)];
    for (uint64_t i = 0; i < count; i++) {
        const struct metric *s = get_series(r, into, err);
        if (!s)
            return -1;
        int n = snprintf(key, sizeof(key), "%s\001%s", s->name, s->tags); // \001: below all that they may hold
        if (n < 0 || strcmp(last, key) >= 0)
            return error_set(err, ERR_PROTOCOL, "malformed metric snapshot: %s is out of order", s->name);
        memcpy(last, key, (size_t)n + 1);
    }
    if (r->left)
        return error_set(err, ERR_PROTOCOL, "malformed metric snapshot: %zu bytes too many", r->left);
    return 0;
}

int metrics_merge(struct metrics *m, const uint8_t *bytes, size_t n, struct error *err)
{
    struct reader r = {bytes, n};
    uint64_t count;
    const uint8_t *version = get_bytes(&r, 1);
    if (!version || *version != VERSION)
        return error_set(err, ERR_PROTOCOL, "malformed metric snapshot: expected version %d", VERSION);
    if (get_varint(&r, &count) || count > r.left || count > SERIES_MAX)
        return error_set(err, ERR_PROTOCOL, "malformed metric snapshot: number of series");
    struct metrics *apart = metrics_new(SERIES_MAX);
    if (!apart)
        return error_set(err, ERR_NO_MEMORY, "no memory to read a metric snapshot");
    int rc = get_all(&r, count, apart, err) || metrics_merge_from(m, apart, err) ? -1 : 0;
    metrics_delete(apart);
    return rc;
}
