// What a scenario recorded itself, in the summary: a line a metric, all its series added up.
#include <stdio.h>
#include <string.h>

#include "cli/text.h"
#include "cli/view.h"
#include "core/units.h"

#define SHOWN 12 // compact form

struct own {
    unsigned n;
    char names[256][64];
};

static void collect(void *arg, const struct metric *m)
{
    struct own *own = arg; // in order of the names
    if (strncmp(m->name, "user_", 5) != 0 || own->n == sizeof(own->names) / sizeof(own->names[0]) ||
        (own->n && strcmp(own->names[own->n - 1], m->name) == 0))
        return;
    snprintf(own->names[own->n++], sizeof(own->names[0]), "%s", m->name);
}

static const char *value_text(enum metric_unit unit, double v, char *dst, size_t size)
{
    if (unit == UNIT_TIME_US && v >= 0 && v < 9e15)
        return duration_format((int64_t)(v + 0.5), dst, size);
    if (unit == UNIT_BYTES && v >= 0)
        return size_format(v, dst, size);
    if (v >= 0 && v < 0x1p53 && v == (double)(uint64_t)v)
        return count_format((uint64_t)v, dst, size);
    snprintf(dst, size, "%.6g", v);
    return dst;
}

static void trend_text(struct line *l, const struct metric *m)
{
    static const struct {
        const char *name;
        double p;
    } shown[] = {{"p50", 50}, {"p95", 95}, {"p99", 99}, {"max", 100}};
    char a[32];
    if (!hist_count(m->hist)) {
        line_put(l, DIM, "no samples");
        return;
    }
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        line_printf(l, PLAIN, "%s%s %s", i ? " · " : "", shown[i].name,
                    value_text(m->unit, (double)hist_percentile(m->hist, shown[i].p), a, sizeof(a)));
    line_printf(l, DIM, "   of %s", count_format(hist_count(m->hist), a, sizeof(a)));
}

static void one(struct line *l, const struct run_result *r, const char *name)
{
    char a[32], b[32];
    struct metric_selector sel = {.tags = ""};
    struct metric m = {.hist = hist_new()};
    snprintf(sel.name, sizeof(sel.name), "%s", name);
    if (!m.hist || metrics_select(r->metrics, &sel, &m) <= 0) {
        hist_delete(m.hist);
        return;
    }
    line_put(l, PLAIN, "    ");
    line_cell(l, PLAIN, name, 24, false);
    switch (m.type) {
    case METRIC_COUNTER:
        line_put(l, PLAIN, value_text(m.unit, (double)m.count, a, sizeof(a)));
        break;
    case METRIC_GAUGE:
        line_put(l, PLAIN, value_text(m.unit, m.value, a, sizeof(a)));
        break;
    case METRIC_RATE:
        if (m.count)
            line_printf(l, PLAIN, "%.4g %%", 100.0 * (double)m.hits / (double)m.count);
        line_printf(l, DIM, "%s%s of %s", m.count ? "   " : "", count_format(m.hits, a, sizeof(a)),
                    count_format(m.count, b, sizeof(b)));
        break;
    case METRIC_TREND:
        trend_text(l, &m);
        break;
    }
    line_end(l);
    hist_delete(m.hist);
}

void summary_metrics(struct line *l, const struct run_result *r, bool full)
{
    struct own own = {0};
    if (!r->metrics)
        return;
    metrics_each(r->metrics, collect, &own);
    unsigned shown = full || own.n <= SHOWN ? own.n : SHOWN;
    if (shown) {
        line_put(l, DIM, "  metrics of the scenario");
        line_end(l);
    }
    for (unsigned i = 0; i < shown; i++)
        one(l, r, own.names[i]);
    if (shown < own.n) {
        line_printf(l, DIM, "    and %u more (--summary full)", own.n - shown);
        line_end(l);
    }
}
