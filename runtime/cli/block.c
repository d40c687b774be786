// The live block: seven lines of fixed order, so that the eye finds a number where it was a quarter of a second ago.
#include <stdio.h>
#include <string.h>

#include "cli/view.h"
#include "core/units.h"

#define SPARK_MIN_WIDTH 72 // narrower windows give the columns to the numbers

void history_add(struct history *h, const struct run_status *s)
{
    if (s->elapsed_us < h->next_us)
        return;
    h->next_us = s->elapsed_us + 1000000;
    if (h->n == HISTORY) {
        size_t bytes = (HISTORY - 1) * sizeof(h->devices[0]);
        memmove(h->devices, h->devices + 1, bytes);
        memmove(h->publish, h->publish + 1, bytes);
        memmove(h->latency, h->latency + 1, bytes);
        h->n--;
    }
    h->devices[h->n] = (double)s->totals.online;
    h->publish[h->n] = s->sent_per_s;
    h->latency[h->n] = no_latency(s) ? -1 : (double)s->p99_us;
    h->n++;
}

struct block {
    struct line l;
    struct style clipped; // one column less than the window: no terminal wraps then
    unsigned *widths;
    unsigned n;
};

static void end(struct block *b)
{
    b->widths[b->n++] = b->l.col;
    line_end(&b->l);
}

static void spark(struct block *b, const double *samples, unsigned n, double max)
{
    unsigned width = b->clipped.width;
    char text[3 * HISTORY + 1];
    if (width < SPARK_MIN_WIDTH || b->l.col + HISTORY + 1 > width)
        return;
    line_pad(&b->l, width - HISTORY);
    line_put(&b->l, CYAN, sparkline(samples, n, max, text, sizeof(text)));
}

static void label(struct block *b, const char *name)
{
    line_put(&b->l, PLAIN, " ");
    line_cell(&b->l, DIM, name, 10, false);
}

// What goes wrong on purpose now, as far as there is room for it; the keys give way.
static void acting(struct block *b, const char *names)
{
    static const char before[] = "   chaos ";
    unsigned used = b->l.col + (unsigned)sizeof(before) - 1, n = text_width(&b->clipped, names);
    if (used + 4 > b->clipped.width)
        return;
    line_put(&b->l, DIM, before);
    line_cell(&b->l, YELLOW, names, n < b->clipped.width - used ? n : b->clipped.width - used, false);
}

static void phase_line(struct block *b, const struct run_status *s)
{
    char name[16], now[32], total[32], bar[3 * 20 + 1];
    unsigned i = 0;
    for (const char *at = run_phase_name(s->phase); *at && i + 1 < sizeof(name); at++)
        name[i++] = *at >= 'a' && *at <= 'z' ? (char)(*at - 32) : *at;
    name[i] = '\0';
    const char *keys = s->phase >= RUN_STOPPING ? "Ctrl-C quits now" : "Ctrl-C stops gracefully";
    clock_format(s->elapsed_us, now, sizeof(now));
    line_printf(&b->l, BOLD, " %s ", name);
    if (s->stage)
        line_printf(&b->l, CYAN, "%.24s ", s->stage);
    if (s->duration_us > 0) {
        double ratio = (double)s->elapsed_us / (double)s->duration_us;
        line_printf(&b->l, PLAIN, "%s / %s  ", now, clock_format(s->duration_us, total, sizeof(total)));
        line_put(&b->l, CYAN, progress_bar(ratio, 20, bar, sizeof(bar)));
        line_printf(&b->l, PLAIN, "  %.0f%%", ratio >= 1 ? 100 : ratio * 100);
    } else {
        line_put(&b->l, PLAIN, now);
    }
    if (s->acting && *s->acting)
        acting(b, s->acting);
    unsigned n = (unsigned)strlen(keys);
    if (b->l.col + 2 + n <= b->clipped.width) {
        line_pad(&b->l, b->clipped.width - n);
        line_put(&b->l, DIM, keys);
    }
    end(b);
}

static void devices_line(struct block *b, const struct run_status *s, const struct history *h)
{
    char text[32];
    const struct run_totals *t = &s->totals;
    label(b, "devices");
    line_printf(&b->l, PLAIN, "%s up", count_format(t->online, text, sizeof(text)));
    if (t->connecting)
        line_printf(&b->l, PLAIN, " · %s connecting", count_format(t->connecting, text, sizeof(text)));
    if (t->started < t->devices)
        line_printf(&b->l, PLAIN, " · %s to start", count_format(t->devices - t->started, text, sizeof(text)));
    if (t->failed)
        line_printf(&b->l, RED, " · %s failed", count_format(t->failed, text, sizeof(text)));
    spark(b, h->devices, h->n, (double)t->devices);
    end(b);
}

static void publish_line(struct block *b, const struct run_status *s, const struct history *h)
{
    char rate[32], bytes[32], received[32];
    label(b, "publish");
    line_printf(&b->l, PLAIN, "%s msg/s  %s/s", count_format((uint64_t)(s->sent_per_s + 0.5), rate, sizeof(rate)),
                size_format(s->bytes_per_s, bytes, sizeof(bytes)));
    if (s->totals.received)
        line_printf(&b->l, PLAIN, "  %s in/s",
                    count_format((uint64_t)(s->received_per_s + 0.5), received, sizeof(received)));
    spark(b, h->publish, h->n, 0);
    end(b);
}

static void latency_line(struct block *b, const struct run_status *s, const struct history *h)
{
    char p50[32], p95[32], p99[32], max[32];
    label(b, "latency");
    if (no_latency(s))
        line_put(&b->l, DIM, "no acknowledged publish in the last 10 s");
    else
        line_printf(&b->l, PLAIN, "p50 %s  p95 %s  p99 %s  max %s", latency_short(s->p50_us, p50, sizeof(p50)),
                    latency_short(s->p95_us, p95, sizeof(p95)), latency_short(s->p99_us, p99, sizeof(p99)),
                    latency_short(s->max_us, max, sizeof(max)));
    spark(b, h->latency, h->n, 0);
    end(b);
}

struct reasons {
    unsigned n;
    struct {
        char name[48];
        uint64_t count;
    } of[16];
};

// Counters that are tagged with a reason, summed over groups.
static void collect_reason(void *arg, const struct metric *m)
{
    struct reasons *r = arg;
    const char *tag = m->tags;
    while (tag && strncmp(tag, "reason:", 7) != 0) {
        tag = strchr(tag, ',');
        tag = tag ? tag + 1 : NULL;
    }
    if (m->type != METRIC_COUNTER || m->count == 0 || !tag)
        return;
    size_t n = strcspn(tag + 7, ",");
    unsigned i = 0;
    while (i < r->n && (strlen(r->of[i].name) != n || strncmp(r->of[i].name, tag + 7, n)))
        i++;
    if (i == sizeof(r->of) / sizeof(r->of[0]) || n >= sizeof(r->of[0].name))
        return;
    if (i == r->n) {
        r->n++;
        snprintf(r->of[i].name, sizeof(r->of[i].name), "%.*s", (int)n, tag + 7);
        r->of[i].count = 0;
    }
    r->of[i].count += m->count;
}

static void errors_line(struct block *b, const struct run_status *s)
{
    char count[32];
    uint64_t tries = s->totals.sent + s->totals.connects + s->totals.errors;
    label(b, "errors");
    if (s->totals.errors == 0) {
        line_put(&b->l, PLAIN, "none");
        end(b);
        return;
    }
    line_printf(&b->l, RED, "%s", count_format(s->totals.errors, count, sizeof(count)));
    line_printf(&b->l, PLAIN, " (%.2g%%) ", tries ? 100.0 * (double)s->totals.errors / (double)tries : 0.0);
    struct reasons r = {0};
    if (s->metrics)
        metrics_each(s->metrics, collect_reason, &r);
    for (unsigned shown = 0; shown < 3 && shown < r.n; shown++) {
        unsigned best = shown;
        for (unsigned i = shown + 1; i < r.n; i++)
            if (r.of[i].count > r.of[best].count)
                best = i;
        line_printf(&b->l, PLAIN, "%s%s %s", shown ? " · " : " ", r.of[best].name,
                    count_format(r.of[best].count, count, sizeof(count)));
        r.of[best] = r.of[shown];
    }
    end(b);
}

static void generator_line(struct block *b, const struct run_status *s)
{
    char rss[32];
    label(b, "generator");
    line_printf(&b->l, PLAIN, "cpu %.0f%%  ", s->cpu * 100);
    line_printf(&b->l, s->late_ticks > 0.05 ? YELLOW : PLAIN, "late ticks %.1f%%", s->late_ticks * 100);
    line_printf(&b->l, PLAIN, "  rss %s", size_format((double)s->rss_bytes, rss, sizeof(rss)));
    end(b);
}

// Failing ones first: the line may be too narrow for all.
static void thresholds_line(struct block *b, const struct run_status *s)
{
    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < s->n_thresholds; i++) {
            const struct threshold *t = &s->thresholds[i];
            const struct threshold_result *r = &s->threshold_results[i];
            enum threshold_state state = r->state;
            bool bad = state == THRESHOLD_FAIL;
            if (bad != (pass == 0))
                continue;
            line_put(&b->l, PLAIN, b->l.col ? "   " : " ");
            line_put(&b->l,
                     bad                       ? RED
                     : state == THRESHOLD_PASS ? GREEN
                                               : YELLOW,
                     bad                       ? "✗"
                     : state == THRESHOLD_PASS ? "✓"
                                               : "?");
            line_printf(&b->l, PLAIN, " %s%s%s%s %s", t->selector.name, *t->selector.tags ? "{" : "", t->selector.tags,
                        *t->selector.tags ? "}" : "", t->text);
            if (bad)
                line_printf(&b->l, RED, " (%s)", r->actual_text);
        }
    end(b);
}

int block_render(struct buf *out, const struct style *style, const struct run_status *s, const struct history *h,
                 unsigned widths[BLOCK_LINES])
{
    struct block b = {.clipped = *style, .widths = widths};
    b.clipped.width = style->width > 1 ? style->width - 1 : 80;
    line_begin(&b.l, out, &b.clipped);
    phase_line(&b, s);
    devices_line(&b, s, h);
    publish_line(&b, s, h);
    latency_line(&b, s, h);
    errors_line(&b, s);
    generator_line(&b, s);
    thresholds_line(&b, s);
    return b.l.failed ? -1 : 0;
}
