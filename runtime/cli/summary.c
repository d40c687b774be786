// The end of a run on stdout: what failed first, the verdict last, where the eye and the tail of a CI log land.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/view.h"
#include "core/units.h"

#define PASSED_CHECKS_SHOWN 10 // compact form; failed ones are always shown

unsigned thresholds_failed(const struct run_result *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n_thresholds; i++)
        n += r->thresholds[i].failed;
    return n;
}

unsigned checks_failed(const struct run_result *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n_checks; i++)
        n += !r->checks[i].ok;
    return n;
}

static void threshold_row(struct line *l, const struct threshold *t, const struct threshold_result *r,
                          unsigned name_width)
{
    char name[300], agg[32];
    snprintf(name, sizeof(name), "%s%s%s%s", t->selector.name, *t->selector.tags ? "{" : "", t->selector.tags,
             *t->selector.tags ? "}" : "");
    snprintf(agg, sizeof(agg), "%.*s", (int)strcspn(t->text, " <>=!"), t->text);
    bool no_data = r->state == THRESHOLD_NO_DATA;
    enum tint tint = no_data ? (r->failed ? RED : YELLOW) : r->state == THRESHOLD_FAIL ? RED : GREEN;
    line_put(l, PLAIN, "  ");
    line_put(l, tint, no_data ? "?" : r->state == THRESHOLD_FAIL ? "✗" : "✓");
    line_put(l, PLAIN, " ");
    line_cell(l, PLAIN, name, name_width, false);
    line_put(l, PLAIN, " ");
    line_cell(l, PLAIN, agg, 6, false);
    line_cell(l, r->failed ? RED : PLAIN, r->actual_text, 14, true);
    line_put(l, PLAIN, "    ");
    line_put(l, PLAIN, r->limit_text);
    if (no_data)
        line_put(l, DIM, r->failed ? "   counts as a failure" : "   counts as passed");
    line_end(l);
}

static void thresholds(struct line *l, const struct run_result *r, unsigned columns)
{
    unsigned n = r->plan ? r->plan->n_thresholds : 0, width = 20;
    if (n > r->n_thresholds)
        n = r->n_thresholds;
    if (n == 0)
        return;
    for (unsigned i = 0; i < n; i++) {
        const struct metric_selector *s = &r->plan->thresholds[i].selector;
        unsigned w = text_width(l->style, s->name) + (*s->tags ? text_width(l->style, s->tags) + 2 : 0);
        width = w > width ? w : width;
    }
    width = width > 48 ? 48 : width;
    // Leave room for the columns behind the name.
    if (columns && width + 42 > columns)
        width = columns > 62 ? columns - 42 : 20;
    line_put(l, PLAIN, "  ");
    line_cell(l, BOLD, "THRESHOLDS", width + 9, false);
    line_cell(l, DIM, "actual", 14, true);
    line_put(l, DIM, "    limit");
    line_end(l);
    for (unsigned i = 0; i < n; i++)
        threshold_row(l, &r->plan->thresholds[i], &r->thresholds[i], width);
    line_end(l);
}

static void expectations(struct line *l, const struct run_result *r, bool full)
{
    unsigned passed = 0;
    char at[32];
    if (r->n_checks == 0)
        return;
    line_put(l, BOLD, "  EXPECTATIONS");
    line_end(l);
    for (unsigned i = 0; i < r->n_checks; i++) {
        const struct run_check *c = &r->checks[i];
        if (c->ok && !full && ++passed > PASSED_CHECKS_SHOWN)
            continue;
        line_put(l, PLAIN, "  ");
        line_put(l, c->ok ? GREEN : RED, c->ok ? "✓" : "✗");
        line_printf(l, PLAIN, " %s", c->name);
        line_printf(l, DIM, "   at %s", clock_format(c->t_us, at, sizeof(at)));
        line_end(l);
        if (!c->ok && c->detail[0]) {
            line_printf(l, RED, "      %s", c->detail);
            line_end(l);
        }
    }
    if (passed > PASSED_CHECKS_SHOWN) {
        line_printf(l, DIM, "    and %u more that passed", passed - PASSED_CHECKS_SHOWN);
        line_end(l);
    }
    line_end(l);
}

static void label(struct line *l, const char *name)
{
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, name, 12, false);
}

// " · 31 refused", only when there is something to say.
static void more(struct line *l, enum tint tint, uint64_t n, const char *what)
{
    char text[32];
    if (n)
        line_printf(l, tint, " · %s %s", count_format(n, text, sizeof(text)), what);
}

// --- what adapters counted

static uint64_t sum_of(const struct run_result *r, const char *selector, uint64_t *hits)
{
    struct metric_selector sel;
    struct metric m = {0};
    if (metric_selector_parse(selector, &sel, NULL) || metrics_select(r->metrics, &sel, &m) <= 0)
        return 0;
    if (hits)
        *hits = m.hits;
    return m.count;
}

// Nobody published or received anything, and something else was done instead.
static bool silent(const struct run_result *r)
{
    const struct run_totals *t = &r->totals;
    return !t->sent && !t->received && !t->dropped && sum_of(r, "requests", NULL);
}

static void transferred(struct line *l, const struct run_result *r, const char *before)
{
    char a[32];
    line_printf(l, PLAIN, "%s%s out", before, size_format((double)r->totals.bytes_out, a, sizeof(a)));
    line_printf(l, PLAIN, " · %s in", size_format((double)r->totals.bytes_in, a, sizeof(a)));
    line_end(l);
}

static void messages(struct line *l, const struct run_result *r, double seconds)
{
    char a[32];
    const struct run_totals *t = &r->totals;
    line_printf(l, PLAIN, "%s published", count_format(t->sent, a, sizeof(a)));
    more(l, PLAIN, t->acked, "acked");
    more(l, PLAIN, t->received, "received");
    more(l, RED, t->dropped, "dropped");
    line_end(l);
    label(l, "");
    line_printf(l, PLAIN, "%s msg/s",
                count_format(seconds > 0 ? (uint64_t)((double)t->sent / seconds + 0.5) : 0, a, sizeof(a)));
    transferred(l, r, " · ");
}

static void requests(struct line *l, const struct run_result *r, double seconds)
{
    static const char *const classes[] = {"2xx", "3xx", "4xx", "5xx"};
    static const struct {
        const char *metric, *what;
    } troubles[] = {{"http_retries", "retries"},       {"coap_retransmissions", "retransmissions"},
                    {"coap_timeouts", "timeouts"},     {"coap_resets", "resets"},
                    {"coap_duplicates", "duplicates"}, {"coap_malformed", "malformed"}};
    char a[32], selector[64];
    uint64_t n = sum_of(r, "requests", NULL), failed = 0;
    if (!n)
        return;
    sum_of(r, "request_errors", &failed);
    label(l, "requests");
    line_printf(l, PLAIN, "%s sent", count_format(n, a, sizeof(a)));
    line_printf(l, PLAIN, " · %.*f/s", seconds > 0 && (double)n / seconds < 10 ? 1 : 0,
                seconds > 0 ? (double)n / seconds : 0.0);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(selector, sizeof(selector), "responses{status:%s}", classes[i]);
        uint64_t of_class = sum_of(r, selector, NULL);
        if (of_class)
            line_printf(l, i < 2 ? PLAIN : RED, " · %s %s", classes[i], count_format(of_class, a, sizeof(a)));
    }
    more(l, RED, failed, "failed");
    line_end(l);
    bool any = false;
    for (unsigned i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        uint64_t count = sum_of(r, troubles[i].metric, NULL);
        if (!count)
            continue;
        if (!any)
            label(l, "");
        line_printf(l, YELLOW, "%s%s %s", any ? " · " : "", count_format(count, a, sizeof(a)), troubles[i].what);
        any = true;
    }
    if (any)
        line_end(l);
}

static double gauge_of(const struct run_result *r, const char *name, const char *tags)
{
    struct metric_selector sel = {.tags = ""};
    struct metric m = {0};
    snprintf(sel.name, sizeof(sel.name), "%s", name);
    snprintf(sel.tags, sizeof(sel.tags), "%s", tags);
    return strlen(tags) < sizeof(sel.tags) && metrics_select(r->metrics, &sel, &m) > 0 ? m.value : 0;
}

struct share_lines {
    struct line *l;
    const struct run_result *r;
    unsigned n;
};

// "a:x,b:y" → x of a.
static void tag_of(const char *tags, const char *key, char *dst, size_t size)
{
    size_t k = strlen(key);
    dst[0] = 0;
    for (const char *p = tags; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, key, k) == 0 && p[k] == ':')
            snprintf(dst, size, "%.*s", (int)strcspn(p + k + 1, ","), p + k + 1);
}

// How evenly the members of a shared subscription were served: Jain's index, 1 is all alike, 1/members is all for one.
static void share(void *arg, const struct metric *m)
{
    struct share_lines *s = arg;
    char group[128], filter[256], members[32], got[32];
    if (strcmp(m->name, "share_members") != 0 || m->value < 1)
        return;
    double messages_got = gauge_of(s->r, "share_messages", m->tags);
    double squared = gauge_of(s->r, "share_messages_squared", m->tags);
    tag_of(m->tags, "group", group, sizeof(group));
    tag_of(m->tags, "filter", filter, sizeof(filter));
    label(s->l, s->n++ ? "" : "shared");
    line_printf(s->l, PLAIN, "%s %s: %s members, %s messages", group, filter,
                count_format((uint64_t)m->value, members, sizeof(members)),
                count_format((uint64_t)messages_got, got, sizeof(got)));
    if (squared > 0) {
        double fairness = messages_got * messages_got / (m->value * squared);
        line_printf(s->l, fairness < 0.8 ? YELLOW : PLAIN, " · fairness %.2f", fairness);
    }
    line_end(s->l);
}

static void shares(struct line *l, const struct run_result *r)
{
    struct share_lines s = {.l = l, .r = r};
    metrics_each(r->metrics, share, &s);
}

static void totals(struct line *l, const struct run_result *r)
{
    char a[32], b[32];
    const struct run_totals *t = &r->totals;
    double seconds = (double)(r->measured_us > 0 ? r->measured_us : r->elapsed_us) / 1e6;
    line_put(l, PLAIN, "  ");
    line_cell(l, BOLD, "TOTALS", 12, false);
    if (r->virtual_time) {
        line_printf(l, PLAIN, "%s of virtual time", duration_format(r->measured_us, a, sizeof(a)));
        line_printf(l, PLAIN, " in %s", duration_format(r->elapsed_us, b, sizeof(b)));
    } else {
        line_printf(l, PLAIN, "%s measured", duration_format(r->measured_us, a, sizeof(a)));
    }
    if (r->plan)
        line_printf(l, PLAIN, " · %u %s", r->shards, r->shards == 1 ? "shard" : "shards");
    more(l, RED, r->shards_lost, "lost");
    more(l, YELLOW, r->shards_restarted, "restarted");
    line_end(l);
    label(l, "devices");
    line_printf(l, PLAIN, "%s of %s started", count_format(t->started, a, sizeof(a)),
                count_format(t->devices, b, sizeof(b)));
    line_printf(l, PLAIN, " · %s connected", count_format(t->ever_online, a, sizeof(a)));
    more(l, RED, t->failed, "failed");
    more(l, PLAIN, t->reconnects, t->reconnects == 1 ? "reconnect" : "reconnects");
    line_end(l);
    if (!silent(r)) {
        label(l, "messages");
        messages(l, r, seconds);
    }
    requests(l, r, seconds);
    if (silent(r)) {
        label(l, "");
        transferred(l, r, "");
    }
    shares(l, r);
}

// The head of the table, above the first row.
static void latency_head(struct line *l, unsigned width, bool *has_head)
{
    static const char *const heads[] = {"p50", "p95", "p99", "p99.9", "max"};
    if (*has_head)
        return;
    *has_head = true;
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, "latency", width + 2, false);
    for (unsigned i = 0; i < 5; i++)
        line_cell(l, DIM, heads[i], 10, true);
    line_end(l);
}

static void latency_row(struct line *l, const struct metrics *metrics, const char *metric, const char *name,
                        unsigned width, bool *has_head)
{
    static const double percentiles[] = {50, 95, 99, 99.9};
    char text[32];
    struct metric_selector sel = {.tags = ""};
    struct metric m = {.hist = hist_new()};
    snprintf(sel.name, sizeof(sel.name), "%s", metric);
    if (m.hist && metrics_select(metrics, &sel, &m) > 0 && m.type == METRIC_TREND && hist_count(m.hist) > 0) {
        latency_head(l, width, has_head);
        line_put(l, PLAIN, "    ");
        line_cell(l, PLAIN, name, width, false);
        for (unsigned i = 0; i < 4; i++)
            line_cell(l, PLAIN, duration_format(hist_percentile(m.hist, percentiles[i]), text, sizeof(text)), 10, true);
        line_cell(l, PLAIN, duration_format(hist_max(m.hist), text, sizeof(text)), 10, true);
        line_end(l);
    }
    hist_delete(m.hist);
}

struct names {
    unsigned n;
    char of[32][64];
};

// Trends of time that have samples and are no row of their own yet.
static void collect_trend(void *arg, const struct metric *m)
{
    static const char *const own[] = {"connect_latency", "publish_latency", "subscribe_latency",
                                      "request_latency", "loop_turn",       "tcp_latency",
                                      "tls_latency",     "connack_latency", "loop_lag"};
    struct names *names = arg;
    if (m->type != METRIC_TREND || m->unit != UNIT_TIME_US || hist_count(m->hist) == 0 || names->n == 32)
        return;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (strcmp(own[i], m->name) == 0)
            return;
    if (strncmp(m->name, "user_", 5) == 0)
        return; // summary_metrics
    for (unsigned i = 0; i < names->n; i++)
        if (strcmp(names->of[i], m->name) == 0)
            return;
    snprintf(names->of[names->n++], sizeof(names->of[0]), "%s", m->name);
}

static void latencies(struct line *l, const struct run_result *r, bool full)
{
    bool has_head = false;
    if (!r->metrics)
        return;
    unsigned width = full ? 24 : 10; // full: names of the scenario's own metrics
    latency_row(l, r->metrics, "connect_latency", "connect", width, &has_head);
    if (full || sum_of(r, "tls_latency", NULL)) { // whose part of connecting is what
        latency_row(l, r->metrics, "tcp_latency", " tcp", width, &has_head);
        latency_row(l, r->metrics, "tls_latency", " tls", width, &has_head);
        latency_row(l, r->metrics, "connack_latency", " connack", width, &has_head);
    }
    latency_row(l, r->metrics, "subscribe_latency", "subscribe", width, &has_head);
    latency_row(l, r->metrics, "publish_latency", "publish", width, &has_head);
    latency_row(l, r->metrics, "request_latency", "request", width, &has_head);
    if (!full)
        return;
    struct names names = {0};
    metrics_each(r->metrics, collect_trend, &names);
    for (unsigned i = 0; i < names.n; i++)
        latency_row(l, r->metrics, names.of[i], names.of[i], width, &has_head);
}

static void errors(struct line *l, const struct run_result *r, bool full)
{
    unsigned shown = full || r->n_errors <= 8 ? r->n_errors : 8;
    char count[32], at[32];
    for (unsigned i = 0; i < shown; i++) {
        const struct run_error_group *e = &r->errors[i];
        label(l, i ? "" : "errors");
        line_printf(l, RED, "%s %s", count_format(e->count, count, sizeof(count)), e->reason);
        if (e->text[0] || e->device[0]) // else it was counted, and nobody said when
            line_printf(l, PLAIN, "   first at %s", clock_format(e->first_us, at, sizeof(at)));
        if (e->device[0])
            line_printf(l, PLAIN, ", device %s", e->device);
        line_end(l);
        if (e->text[0] && strcmp(e->text, e->reason) != 0) {
            label(l, "");
            line_printf(l, DIM, "  %s", e->text);
            line_end(l);
        }
    }
    if (shown < r->n_errors) {
        label(l, "");
        line_printf(l, DIM, "and %u more kinds (--summary full)", r->n_errors - shown);
        line_end(l);
    }
}

static void generator(struct line *l, const struct run_result *r, bool full)
{
    char turn[32];
    label(l, "generator");
    line_printf(l, PLAIN, "cpu %.0f%% avg, %.0f%% max · late ticks %.1f%% · ", r->cpu_avg * 100, r->cpu_max * 100,
                r->late_ticks * 100);
    if (full && r->longest_turn_us > 0)
        line_printf(l, PLAIN, "longest turn %s · ", duration_format(r->longest_turn_us, turn, sizeof(turn)));
    line_put(l, r->trustworthy ? PLAIN : RED, r->trustworthy ? "trustworthy: yes" : "trustworthy: NO");
    line_end(l);
    if (!r->trustworthy && r->untrustworthy_why[0]) {
        label(l, "");
        line_put(l, RED, r->untrustworthy_why);
        line_end(l);
    }
    for (unsigned i = 0; i < r->n_warnings; i++) {
        label(l, i ? "" : "warning");
        line_put(l, YELLOW, r->warnings[i]);
        line_end(l);
    }
    label(l, "seed");
    line_printf(l, PLAIN, "%llu", (unsigned long long)r->seed);
    line_printf(l, DIM, "   (the same values again: --seed %llu)", (unsigned long long)r->seed);
    line_end(l);
}

static void outputs(struct line *l, const struct run_result *r)
{
    char count[32], bytes[32];
    for (unsigned i = 0; i < r->n_outputs; i++) {
        const struct run_output *o = &r->outputs[i];
        label(l, o->format);
        line_printf(l, PLAIN, "%s %s, ", count_format(o->records, count, sizeof(count)),
                    o->records == 1 ? "record" : "records");
        line_printf(l, PLAIN, "%s in %s", size_format((double)o->bytes, bytes, sizeof(bytes)),
                    strcmp(o->path, "-") == 0 ? "stdout" : o->path);
        more(l, YELLOW, o->skipped, "messages have no line in this format");
        if (!o->complete)
            line_put(l, RED, " · incomplete");
        line_end(l);
    }
    if (r->test_skipped) {
        label(l, "test");
        line_put(l, YELLOW, "not run: there is nothing to observe in virtual time");
        line_end(l);
    }
}

static void groups(struct line *l, const struct run_result *r)
{
    static const char *const heads[] = {"devices", "started", "online", "running", "error"};
    char text[32];
    if (r->n_groups == 0)
        return;
    line_end(l);
    line_put(l, PLAIN, "  ");
    line_cell(l, BOLD, "GROUPS", 24, false);
    for (unsigned i = 0; i < 5; i++)
        line_cell(l, DIM, heads[i], 10, true);
    line_end(l);
    for (unsigned i = 0; i < r->n_groups; i++) {
        const struct run_group_status *g = &r->groups[i];
        const uint64_t values[] = {g->count, g->started, g->online, g->running, g->error};
        line_put(l, PLAIN, "  ");
        line_cell(l, PLAIN, g->name ? g->name : "", 24, false);
        for (unsigned k = 0; k < 5; k++)
            line_cell(l, PLAIN, count_format(values[k], text, sizeof(text)), 10, true);
        line_end(l);
    }
}

static void wrote(struct line *l, const char *const *files)
{
    line_end(l);
    if (!files || !files[0])
        return;
    line_put(l, PLAIN, "  wrote ");
    for (unsigned i = 0; files[i]; i++) {
        line_put(l, PLAIN, i ? ", " : "");
        line_put(l, PLAIN, files[i]);
    }
    line_end(l);
}

static void counted(struct line *l, unsigned done, unsigned n, const char *what, const char *how, bool *any)
{
    if (n == 0)
        return;
    line_printf(l, PLAIN, "%s%u of %u %s%s%s", *any ? ", " : "", done, n, what, n == 1 ? "" : "s", how);
    *any = true;
}

// What the verdict is about: thresholds and expectations where they decide, the engine's reason otherwise.
static void verdict_text(struct line *l, const struct run_result *r, bool failed)
{
    unsigned bad_thresholds = thresholds_failed(r), bad_checks = checks_failed(r);
    bool any = false;
    if (!failed) {
        counted(l, r->n_thresholds, r->n_thresholds, "threshold", "", &any);
        counted(l, r->n_checks, r->n_checks, "expectation", "", &any);
        if (!any)
            line_put(l, PLAIN, "no thresholds, no expectations");
    } else if ((r->exit_code == EXIT_THRESHOLDS && bad_thresholds) ||
               (r->exit_code == EXIT_MARKED_FAILED && bad_checks)) {
        if (bad_thresholds)
            counted(l, bad_thresholds, r->n_thresholds, "threshold", " failed", &any);
        if (bad_checks)
            counted(l, bad_checks, r->n_checks, "expectation", " failed", &any);
    } else {
        line_put(l, PLAIN, r->n_reasons ? r->reasons[0].text : "see above");
        if (r->n_reasons > 1)
            line_printf(l, PLAIN, " (and %u more %s)", r->n_reasons - 1, r->n_reasons == 2 ? "reason" : "reasons");
    }
}

int verdict_render(struct buf *out, const struct style *style, const struct run_result *r, int exit_code)
{
    struct line l;
    struct style flow = *style;
    flow.width = 0; // wrapped by the terminal, never cut: the exit code is at its end
    line_begin(&l, out, &flow);
    bool failed = r->exit_code != 0;
    line_put(&l, PLAIN, "  ");
    if (r->exit_code == EXIT_INTERRUPTED)
        line_put(&l, YELLOW, "STOPPED");
    else
        line_put(&l, failed ? RED : GREEN, failed ? "FAIL" : "PASS");
    line_put(&l, PLAIN, "  ");
    char code[80];
    if (exit_code == r->exit_code)
        snprintf(code, sizeof(code), "   (exit %d)", exit_code);
    else if (exit_code == EXIT_OUTPUT)
        snprintf(code, sizeof(code), "   but an output could not be written   (exit %d)", exit_code);
    else
        snprintf(code, sizeof(code), "   (exit %d by --exit-zero, verdict %d)", exit_code, r->exit_code);
    verdict_text(&l, r, failed);
    line_put(&l, PLAIN, code);
    line_end(&l);
    return l.failed ? -1 : 0;
}

static void other_reasons(struct line *l, const struct run_result *r)
{
    for (unsigned i = 0; i < r->n_reasons && r->n_reasons > 1; i++) {
        label(l, i ? "" : "reasons");
        line_printf(l, RED, "%d  %s", r->reasons[i].code, r->reasons[i].text);
        line_end(l);
    }
}

int summary_render(struct buf *out, const struct style *style, const struct summary_info *info)
{
    struct line l;
    const struct run_result *r = info->result;
    struct style flow = *style;
    flow.width = 0; // a result is never cut: long lines wrap
    line_begin(&l, out, &flow);
    if (r->plan && r->metrics) {
        line_end(&l);
        thresholds(&l, r, style->width);
        expectations(&l, r, info->full);
        totals(&l, r);
        outputs(&l, r);
        summary_sinks(&l, r);
        summary_ledger(&l, r);
        latencies(&l, r, info->full);
        summary_metrics(&l, r, info->full);
        summary_chaos(&l, r, info->full);
        errors(&l, r, info->full);
        generator(&l, r, info->full);
        other_reasons(&l, r);
        if (info->full)
            groups(&l, r);
        wrote(&l, info->wrote);
    }
    if (l.failed)
        return -1;
    return verdict_render(out, style, r, info->exit_code);
}
