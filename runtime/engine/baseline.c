// A summary holds what it was made from no longer as histograms but as figures: sums and shares can be added up over
// series, percentiles cannot. So a percentile comes from the place where the earlier run had worked it out for exactly
// this selection: a threshold of its own, the latency of all series of a name, or the only series that matches.
#include "engine/baseline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/jsonx.h"

#define SUMMARY_BYTES_MAX (256u << 20)
#define ERROR_RATE_SLACK "0.001" // of --max-regression: a tenth of a percentage point

json_t *baseline_read(const char *path, struct error *err)
{
    struct buf text;
    buf_create(&text, SUMMARY_BYTES_MAX);
    json_t *file = file_read(path, SUMMARY_BYTES_MAX, &text, err) == 0
                       ? json_parse((const char *)text.data, text.len, path, err)
                       : NULL;
    buf_destroy(&text);
    if (!file)
        return NULL;
    json_t *inner = json_object_get(file, "summary"), *summary = json_incref(inner ? inner : file);
    json_decref(file);
    if (json_is_integer(json_object_get(summary, "schema")) && json_is_object(json_object_get(summary, "latency")) &&
        json_is_array(json_object_get(summary, "metrics")))
        return summary;
    json_decref(summary);
    error_set(err, ERR_INVALID, "%s is no summary of a run: expected what --summary-json writes", path);
    return NULL;
}

static double factor_of(const json_t *o)
{
    const char *unit = json_string_value(json_object_get(o, "unit"));
    return unit && strcmp(unit, "ms") == 0 ? 1e3 : 1;
}

static enum metric_unit unit_of(const json_t *o)
{
    const char *unit = json_string_value(json_object_get(o, "unit"));
    return !unit                        ? UNIT_NONE
           : strcmp(unit, "ms") == 0    ? UNIT_TIME_US
           : strcmp(unit, "bytes") == 0 ? UNIT_BYTES
                                        : UNIT_NONE;
}

static int absent(const struct threshold *t, const char *why, struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "threshold \"%s\" on %s%s%s%s: the baseline %s", t->text, t->selector.name,
                     *t->selector.tags ? "{" : "", t->selector.tags, *t->selector.tags ? "}" : "", why);
}

// --- a threshold of that run on the same

static bool same_figure(const struct threshold *a, const struct threshold *b)
{
    return strcmp(a->selector.name, b->selector.name) == 0 && strcmp(a->selector.tags, b->selector.tags) == 0 &&
           a->agg == b->agg && (a->agg != AGG_PERCENTILE || a->percentile == b->percentile);
}

static bool of_threshold(const json_t *summary, const struct threshold *t, double *out, enum metric_unit *unit)
{
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(summary, "thresholds"), i, one)
    {
        struct threshold other;
        const char *metric = json_string_value(json_object_get(one, "metric"));
        const char *expr = json_string_value(json_object_get(one, "expression"));
        const json_t *actual = json_object_get(one, "actual");
        if (!metric || !expr || !json_is_number(actual) || threshold_parse(metric, expr, &other, NULL) ||
            !same_figure(t, &other))
            continue;
        *out = json_number_value(actual) * factor_of(one);
        *unit = unit_of(one);
        return true;
    }
    return false;
}

// --- its series

static bool tags_match(const json_t *tags, const char *selector)
{
    for (const char *p = selector; *p; p += strcspn(p, ","), p += *p == ',') {
        char pair[256];
        snprintf(pair, sizeof(pair), "%.*s", (int)strcspn(p, ","), p);
        char *colon = strchr(pair, ':');
        if (!colon)
            return false;
        *colon = '\0';
        const char *value = json_string_value(json_object_get(tags, pair));
        if (!value || strcmp(value, colon + 1) != 0)
            return false;
    }
    return true;
}

static const char *figure_key(const struct threshold *t)
{
    static const struct {
        double p;
        const char *key;
    } percentiles[] = {{50, "p50"}, {90, "p90"}, {95, "p95"}, {99, "p99"}, {99.9, "p999"}};
    double p = t->agg == AGG_MED ? 50 : t->percentile;
    switch (t->agg) {
    case AGG_AVG:
        return "mean";
    case AGG_MIN:
        return "min";
    case AGG_MAX:
        return "max";
    case AGG_COUNT:
        return "count";
    default:
        for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
            if (percentiles[i].p == p)
                return percentiles[i].key;
        return NULL;
    }
}

struct found {
    const json_t *last; // series
    unsigned n;
    double count, hits, sum, min, max;
};

static void take_series(struct found *f, const json_t *series)
{
    const json_t *values = json_object_get(series, "values");
    double min = json_number_value(json_object_get(values, "min")),
           max = json_number_value(json_object_get(values, "max"));
    double n = json_number_value(json_object_get(values, "count"));
    f->last = series;
    f->hits += json_number_value(json_object_get(values, "hits"));
    f->sum +=
        n * json_number_value(json_object_get(values, "mean")) + json_number_value(json_object_get(values, "value"));
    if (n > 0 && (f->count == 0 || min < f->min))
        f->min = min;
    if (n > 0 && (f->count == 0 || max > f->max))
        f->max = max;
    f->count += n;
    f->n++;
}

static int of_trend(const json_t *summary, const struct threshold *t, const struct found *f, double *out,
                    struct error *err)
{
    if (t->agg == AGG_COUNT) {
        *out = f->count;
        return 0;
    }
    if (f->count == 0)
        return absent(t, "has no samples of it", err);
    if (t->agg == AGG_AVG || t->agg == AGG_MIN || t->agg == AGG_MAX) {
        *out = t->agg == AGG_AVG ? f->sum / f->count : t->agg == AGG_MIN ? f->min : f->max;
    } else {
        const json_t *all =
            *t->selector.tags ? NULL : json_object_get(json_object_get(summary, "latency"), t->selector.name);
        const json_t *values = all ? all : f->n == 1 ? json_object_get(f->last, "values") : NULL;
        const char *key = figure_key(t);
        const json_t *v = values && key ? json_object_get(values, key) : NULL;
        if (!values)
            return absent(t,
                          "has several series of it, whose percentiles cannot be put together; give the run it comes "
                          "from a threshold on the same",
                          err);
        if (!json_is_number(v))
            return absent(t, "keeps p50, p90, p95, p99 and p99.9 only, and percentiles of its own thresholds", err);
        *out = json_number_value(v);
    }
    *out *= factor_of(f->last);
    return 0;
}

static int of_series(const json_t *summary, const struct threshold *t, double *out, enum metric_unit *unit,
                     struct error *err)
{
    struct found f = {0};
    const json_t *series;
    size_t i;
    json_array_foreach(json_object_get(summary, "metrics"), i, series)
    {
        const char *name = json_string_value(json_object_get(series, "name"));
        if (name && strcmp(name, t->selector.name) == 0 &&
            tags_match(json_object_get(series, "tags"), t->selector.tags))
            take_series(&f, series);
    }
    if (!f.n)
        return absent(t, "has no such metric", err);
    const char *type = json_string_value(json_object_get(f.last, "type"));
    double measured = json_number_value(json_object_get(json_object_get(summary, "run"), "measuredS"));
    *unit = unit_of(f.last);
    if (type && strcmp(type, "trend") == 0)
        return of_trend(summary, t, &f, out, err);
    if (type && strcmp(type, "gauge") == 0) {
        *out = f.sum;
    } else if (t->agg == AGG_COUNT) {
        *out = f.count;
    } else if (type && strcmp(type, "rate") == 0) {
        if (f.count == 0)
            return absent(t, "has no samples of it", err);
        *out = f.hits / f.count;
    } else {
        if (!(measured > 0))
            return absent(t, "measured nothing", err);
        *out = f.count / measured;
    }
    return 0;
}

int baseline_value(const json_t *summary, const struct threshold *t, double *out, enum metric_unit *unit,
                   struct error *err)
{
    *unit = UNIT_NONE;
    if (of_threshold(summary, t, out, unit))
        return 0;
    if (of_series(summary, t, out, unit, err))
        return -1;
    return isfinite(*out) ? 0 : absent(t, "has no number for it", err);
}

// --- plans

static int resolve_one(json_t *one, const json_t *summary, struct error *err)
{
    static const char *const units[] = {[UNIT_NONE] = "", [UNIT_TIME_US] = "time", [UNIT_BYTES] = "bytes"};
    const char *metric = json_string_value(json_object_get(one, "metric"));
    const char *expr = json_string_value(json_object_get(one, "expr"));
    struct threshold t;
    enum metric_unit unit;
    double value;
    if (!metric || !expr || !strstr(expr, "baseline") || threshold_parse(metric, expr, &t, NULL) || !t.base)
        return 0; // what is wrong with it is said where the plan is parsed
    if (json_object_get(one, "baseline"))
        return 0; // by who measured it
    if (!summary)
        return error_set(err, ERR_INVALID,
                         "threshold \"%s\" on %s: there is no baseline to compare with: give --baseline SUMMARY.json, "
                         "the scenario a key baseline, or --no-thresholds",
                         expr, metric);
    if (baseline_value(summary, &t, &value, &unit, err))
        return -1;
    return json_object_set_new(one, "baseline", json_real(value)) |
                   json_object_set_new(one, "baseline_unit", json_string(units[unit]))
               ? error_set(err, ERR_NO_MEMORY, "no memory for a baseline")
               : 0;
}

int baseline_resolve(json_t *plan, const json_t *summary, struct error *err)
{
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(plan, "thresholds"), i, one)
    {
        if (resolve_one(one, summary, err))
            return -1;
    }
    return 0;
}

static bool compared(const json_t *list, const struct threshold *t)
{
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        struct threshold other;
        const char *metric = json_string_value(json_object_get(one, "metric"));
        const char *expr = json_string_value(json_object_get(one, "expr"));
        if (metric && expr && threshold_parse(metric, expr, &other, NULL) == 0 && other.base && same_figure(t, &other))
            return true;
    }
    return false;
}

int baseline_add_regressions(json_t *plan, const json_t *summary, double percent, struct error *err)
{
    static const struct {
        const char *metric, *figure;
        char how; // 'u': may rise by the percentage, 'd': fall by it, 'e': rise by the slack
    } table[] = {{"connect_latency", "p95", 'u'}, {"publish_latency", "p95", 'u'}, {"request_latency", "p95", 'u'},
                 {"e2e_latency", "p95", 'u'},     {"command_latency", "p95", 'u'}, {"messages_sent", "rate", 'd'},
                 {"requests", "rate", 'd'},       {"connect_errors", "rate", 'e'}, {"publish_errors", "rate", 'e'},
                 {"request_errors", "rate", 'e'}};
    json_t *list = json_object_get(plan, "thresholds");
    unsigned n = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct threshold t;
        enum metric_unit unit;
        double value;
        char expr[64];
        if (table[i].how == 'e')
            snprintf(expr, sizeof(expr), "%s <= baseline + %s", table[i].figure, ERROR_RATE_SLACK);
        else
            snprintf(expr, sizeof(expr), "%s %s baseline %c %.6g%%", table[i].figure,
                     table[i].how == 'u' ? "<=" : ">=", table[i].how == 'u' ? '+' : '-', percent);
        if (threshold_parse(table[i].metric, expr, &t, err))
            return -1;
        if (baseline_value(summary, &t, &value, &unit, NULL) || (value == 0 && table[i].how != 'e'))
            continue;
        n++;
        if (compared(list, &t))
            continue;
        if (!json_is_array(list)) {
            list = json_array();
            json_object_set_new(plan, "thresholds", list);
        }
        if (!list || json_array_append_new(list, json_pack("{s:s, s:s}", "metric", table[i].metric, "expr", expr)))
            return error_set(err, ERR_NO_MEMORY, "no memory for a threshold");
    }
    return n ? 0
             : error_set(err, ERR_INVALID,
                         "--max-regression: the baseline has no latency, no rate and no share of errors to compare "
                         "with");
}
