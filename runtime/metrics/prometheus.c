// Text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/): all samples of one family stand
// together, behind one TYPE line.
#include "metrics/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/tags.h"

static double scale_of(const struct metric *s)
{
    return s->unit == UNIT_TIME_US ? 1e-6 : 1;
}

// "iotix_", name, unit, suffix. A name that says its unit (bytes_sent) does not get it again.
static int put_name(struct buf *out, const struct metric *s, const char *suffix)
{
    const char *unit = s->unit == UNIT_TIME_US ? "seconds" : s->unit == UNIT_BYTES ? "bytes" : NULL;
    bool said = !unit || strstr(s->name, unit);
    return buf_append_str(out, "iotix_") || buf_append_str(out, s->name) || (!said && buf_append_char(out, '_')) ||
                   (!said && buf_append_str(out, unit)) || buf_append_str(out, suffix)
               ? -1
               : 0;
}

static int put_label_name(struct buf *out, const char *s, size_t n)
{
    if (s[0] >= '0' && s[0] <= '9' && buf_append_char(out, '_'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (buf_append_char(out, ok ? c : '_'))
            return -1;
    }
    return 0;
}

static int put_label_value(struct buf *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((s[i] == '\\' || s[i] == '"') && buf_append_char(out, '\\'))
            return -1;
        if (buf_append_char(out, s[i])) // a newline cannot be in a tag
            return -1;
    }
    return 0;
}

// {key="value",quantile="0.5"}; nothing when there is neither.
static int put_labels(struct buf *out, const char *tags, const char *quantile)
{
    const char *key, *value;
    size_t key_len, value_len;
    char before = '{';
    while ((tags = tags_next(tags, &key, &key_len, &value, &value_len))) {
        if (buf_append_char(out, before) || put_label_name(out, key, key_len) || buf_append_str(out, "=\"") ||
            put_label_value(out, value, value_len) || buf_append_char(out, '"'))
            return -1;
        before = ',';
    }
    if (quantile && buf_printf(out, "%cquantile=\"%s\"", before, quantile))
        return -1;
    return (quantile || before == ',') && buf_append_char(out, '}') ? -1 : 0;
}

static int put_number(struct buf *out, double v)
{
    if (isnan(v))
        return buf_append_str(out, "NaN");
    if (isinf(v))
        return buf_append_str(out, v > 0 ? "+Inf" : "-Inf");
    return buf_printf(out, "%.15g", v);
}

static int put_sample(struct buf *out, const struct metric *s, const char *suffix, const char *quantile, double v)
{
    return put_name(out, s, suffix) || put_labels(out, s->tags, quantile) || buf_append_char(out, ' ') ||
                   put_number(out, v) || buf_append_char(out, '\n')
               ? -1
               : 0;
}

static int put_type(struct buf *out, const struct metric *s, const char *suffix, const char *type)
{
    return buf_append_str(out, "# TYPE ") || put_name(out, s, suffix) || buf_printf(out, " %s\n", type) ? -1 : 0;
}

static int put_summary(struct buf *out, const struct metric *s)
{
    static const struct {
        const char *text;
        double percentile;
    } quantiles[] = {{"0.5", 50}, {"0.9", 90}, {"0.95", 95}, {"0.99", 99}, {"0.999", 99.9}};
    bool empty = hist_count(s->hist) == 0;
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double v = empty ? NAN : (double)hist_percentile(s->hist, quantiles[i].percentile) * scale_of(s);
        if (put_sample(out, s, "", quantiles[i].text, v))
            return -1;
    }
    return put_sample(out, s, "_sum", NULL, hist_sum(s->hist) * scale_of(s)) ||
                   put_sample(out, s, "_count", NULL, (double)hist_count(s->hist))
               ? -1
               : 0;
}

// What a series contributes to the family with this suffix.
static int put_series(struct buf *out, const struct metric *s, const char *suffix)
{
    switch (s->type) {
    case METRIC_COUNTER:
        return put_sample(out, s, suffix, NULL, (double)s->count * scale_of(s));
    case METRIC_GAUGE:
        return put_sample(out, s, suffix, NULL, s->value * scale_of(s));
    case METRIC_RATE:
        return put_sample(out, s, suffix, NULL, (double)(suffix[1] == 'h' ? s->hits : s->count));
    case METRIC_TREND:
        return put_summary(out, s);
    }
    return -1;
}

static int put_family(struct buf *out, const struct metric *const *group, unsigned n, const char *suffix,
                      const char *type)
{
    if (put_type(out, group[0], suffix, type))
        return -1;
    for (unsigned i = 0; i < n; i++)
        if (put_series(out, group[i], suffix))
            return -1;
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

// All series of one name.
static int put_group(struct buf *out, const struct metric *const *group, unsigned n)
{
    const struct metric *s = group[0];
    switch (s->type) {
    case METRIC_COUNTER:
        return put_family(out, group, n, ends_with(s->name, "_total") ? "" : "_total", "counter");
    case METRIC_GAUGE:
        return put_family(out, group, n, "", "gauge");
    case METRIC_RATE:
        return put_family(out, group, n, "_samples_total", "counter") ||
                       put_family(out, group, n, "_hits_total", "counter")
                   ? -1
                   : 0;
    case METRIC_TREND:
        return put_family(out, group, n, "", "summary");
    }
    return -1;
}

// Collects the series of one name, and writes them when the next name begins.
struct grouper {
    struct buf *out;
    const struct metric **group;
    unsigned n, size;
    bool failed;
};

static void flush(struct grouper *g)
{
    if (g->n && !g->failed)
        g->failed = put_group(g->out, g->group, g->n) != 0;
    g->n = 0;
}

static void take(void *arg, const struct metric *s)
{
    struct grouper *g = arg;
    if (g->n && strcmp(g->group[0]->name, s->name))
        flush(g);
    if (g->failed)
        return;
    if (g->n == g->size) {
        unsigned size = g->size ? g->size * 2 : 64;
        const struct metric **group = realloc(g->group, size * sizeof(const struct metric *));
        if (!group) {
            g->failed = true;
            return;
        }
        g->group = group;
        g->size = size;
    }
    g->group[g->n++] = s;
}

int metrics_prometheus(const struct metrics *m, struct buf *out)
{
    uint32_t before = out->len;
    struct grouper g = {.out = out};
    metrics_each(m, take, &g);
    flush(&g);
    free(g.group);
    if (g.failed)
        out->len = before;
    return g.failed ? -1 : 0;
}
