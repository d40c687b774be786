// From figures to a verdict. Every reason that applies is kept; the worst decides the exit code:
// 107 Lua error, 104 scenario, 106 bind, 120 shard lost, 109 output, 100 setup timed out, 111 unreachable, 105
// interrupted, 112 overloaded, 110 marked failed, 108 aborted, 99 thresholds, 101 teardown timed out.
//
// Not trustworthy (112): more than 5% of the telemetry timers fired late (of at least 100), or a shard used more than
// 95% of a core in most seconds of the hold (at least 3) while its loop took turns of more than 100 ms, or its timers
// were late by more than 100 ms in more than a fifth of all quarter seconds (at least 20): then latencies are our own.
// Nor is a run that lost samples for want of memory.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/units.h"
#include "engine/load.h"
#include "engine/sink_result.h"
#include "engine/supervisor.h"
#include "engine/virtual.h"

#ifdef IOTIX_ASAN
#define LATE_MAX 0.5 // a sanitizer build is slow by design; its figures are nobody's
#else
#define LATE_MAX 0.05
#endif
#define LATE_TICKS 100
#define LONG_TURN_US 100000
#define HOLD_SECONDS 3
#define LAG_SAMPLES 20
#define LAG_PERCENTILE 80
#ifdef IOTIX_ASAN
#define LAG_MAX_US 1000000
#else
#define LAG_MAX_US 100000
#endif

void run_reason(struct run *run, int code, const char *fmt, ...)
{
    struct run_result *r = run->result;
    char text[sizeof(r->reasons[0].text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (unsigned i = 0; i < r->n_reasons; i++)
        if (r->reasons[i].code == code && strcmp(r->reasons[i].text, text) == 0)
            return;
    if (r->n_reasons == sizeof(r->reasons) / sizeof(*r->reasons))
        return;
    r->reasons[r->n_reasons].code = code;
    memcpy(r->reasons[r->n_reasons++].text, text, sizeof(text));
}

static int rank(int code)
{
    static const int order[] = {EXIT_USAGE,       EXIT_LUA_ERROR,       EXIT_SCENARIO,      EXIT_BIND,
                                EXIT_SHARD_LOST,  EXIT_OUTPUT,          EXIT_SETUP_TIMEOUT, EXIT_UNREACHABLE,
                                EXIT_INTERRUPTED, EXIT_OVERLOADED,      EXIT_MARKED_FAILED, EXIT_ABORTED,
                                EXIT_THRESHOLDS,  EXIT_TEARDOWN_TIMEOUT};
    int n = (int)(sizeof(order) / sizeof(*order));
    for (int i = 0; i < n; i++)
        if (order[i] == code)
            return i;
    return n;
}

static void sort_reasons(struct run_result *r)
{
    for (unsigned i = 1; i < r->n_reasons; i++) // insertion: stable, at most 16
        for (unsigned k = i; k > 0 && rank(r->reasons[k].code) < rank(r->reasons[k - 1].code); k--) {
            __typeof__(r->reasons[0]) swap = r->reasons[k];
            r->reasons[k] = r->reasons[k - 1];
            r->reasons[k - 1] = swap;
        }
    r->exit_code = r->n_reasons ? r->reasons[0].code : EXIT_PASS;
}

static void abort_if(struct run *run, const struct threshold *t, const struct threshold_result *now)
{
    if (!t->abort || now->state != THRESHOLD_FAIL || run_elapsed(run) < t->delay_abort_us || run->phase >= RUN_STOPPING)
        return;
    run->result->aborted = true;
    run_reason(run, EXIT_THRESHOLDS, "stopped early: %s%s%s%s %s, got %s", t->selector.name,
               *t->selector.tags ? "{" : "", t->selector.tags, *t->selector.tags ? "}" : "", t->text, now->actual_text);
    run_stop(run);
}

// Over the figures of the whole run, or of the stage that it names.
static int evaluate(struct run *run, const struct threshold *t, bool final, struct threshold_result *now,
                    struct error *err)
{
    int64_t measured = final ? run->result->measured_us : tally_measured(run, run_elapsed(run));
    const struct metrics *figures = run->warm ? run->merged : NULL; // nothing of the warmup counts
    if (figures && *t->stage)
        figures = run->virtual_run ? NULL : stages_of(run->stages, t, &measured); // its figures come by the wall
    if (!figures) {
        int64_t broken = now->broken_us, since = now->broken_since_us;
        threshold_no_data(t, now);
        now->broken_us = broken;
        now->broken_since_us = since;
        return 0;
    }
    return threshold_evaluate(t, figures, measured, now, err);
}

static void note_broken(struct run *run, struct threshold_result *now)
{
    if (now->state != THRESHOLD_FAIL) {
        now->broken_since_us = -1;
        return;
    }
    int64_t at = run_elapsed(run);
    if (now->broken_us < 0)
        now->broken_us = at;
    if (now->broken_since_us < 0)
        now->broken_since_us = at;
}

void verdict_thresholds(struct run *run, bool final)
{
    if (!final && !run->warm)
        return;
    stages_look(run->stages, run->merged, final ? run->result->elapsed_us : run_elapsed(run));
    bool flipped = false;
    unsigned failed = 0, n = run->plan && run->thresholds ? run->plan->n_thresholds : 0;
    for (unsigned i = 0; i < n; i++) {
        const struct threshold *t = &run->plan->thresholds[i];
        struct threshold_result now = run->thresholds[i];
        struct error err;
        if (evaluate(run, t, final, &now, &err)) {
            if (final)
                run_reason(run, EXIT_SCENARIO, "threshold on %s: %s", t->selector.name, err.text);
            now.failed = true;
            now.state = THRESHOLD_NO_DATA;
        }
        note_broken(run, &now);
        flipped |= now.state != run->thresholds[i].state;
        run->thresholds[i] = now;
        failed += now.failed;
        if (!final)
            abort_if(run, t, &now);
    }
    if (final && failed)
        run_reason(run, EXIT_THRESHOLDS, "%u of %u thresholds failed", failed, n);
    if (flipped && !final)
        tally_view(run);
}

static bool cut_short(const struct run_result *r)
{
    for (unsigned i = 0; i < r->n_reasons; i++)
        if (r->reasons[i].code == EXIT_ABORTED || r->reasons[i].code == EXIT_LUA_ERROR ||
            r->reasons[i].code == EXIT_SHARD_LOST)
            return true;
    return r->interrupted;
}

static bool has_model(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_groups; i++)
        if (plan->groups[i].model_path)
            return true;
    return false;
}

static void judge_reach(struct run *run)
{
    const struct run_totals *t = &run->view.totals;
    if (!run->go_us || !t->devices || run->result->interrupted)
        return;
    bool ran_out = !cut_short(run->result);
    if (!t->ever_online && (ran_out || t->connect_failures))
        run_reason(run, EXIT_UNREACHABLE, "not one of %llu devices ever connected to %s",
                   (unsigned long long)t->devices, run->result->broker_url);
    else if (!t->sent && ran_out && !tally_counter(run, "requests") && !tally_counter(run, "requests_served") &&
             (has_model(run->plan) || !t->received)) // devices that only listen may be quiet
        run_reason(run, EXIT_UNREACHABLE, "nothing was published%s",
                   run->plan->warmup_us && run->warm ? " behind the warmup" : "");
}

// Whether the author has said how much may fail.
static bool failures_judged(const struct plan *p)
{
    for (unsigned i = 0; i < p->n_thresholds; i++) {
        const char *name = p->thresholds[i].selector.name;
        if (strcmp(name, "publish_errors") == 0 || strcmp(name, "request_errors") == 0)
            return true;
    }
    return p->has_test;
}

// Devices that connect and whose every message and request is refused have not tested what they were to test. Who
// expects that says so: with a threshold on publish_errors or request_errors, or in a test.
static void judge_work(struct run *run)
{
    struct metric_selector publishes = {.name = "publish_errors"}, requests = {.name = "request_errors"};
    struct metric p = {0}, r = {0};
    metrics_select(run->merged, &publishes, &p);
    metrics_select(run->merged, &requests, &r);
    uint64_t done = p.count + r.count;
    if (!run->go_us || run->virtual_run || !done || p.hits + r.hits < done || cut_short(run->result) ||
        run->view.totals.received || failures_judged(run->plan))
        return;
    run_reason(run, EXIT_UNREACHABLE, "all of %llu publishes and requests failed", (unsigned long long)done);
}

__attribute__((format(printf, 2, 3))) static void distrust(struct run_result *r, const char *fmt, ...)
{
    va_list args;
    if (r->untrustworthy_why[0])
        return; // the first reason is enough
    va_start(args, fmt);
    vsnprintf(r->untrustworthy_why, sizeof(r->untrustworthy_why), fmt, args);
    va_end(args);
}

// "shard:1-2" → "shard 1-2"
static const char *shard_text(const char *tags, char dst[LOAD_TAGS_MAX])
{
    snprintf(dst, LOAD_TAGS_MAX, "%s", tags);
    char *colon = strchr(dst, ':');
    if (colon)
        *colon = ' ';
    return dst;
}

// loop_lag is of one shard each: "shard:2", of a part of a run "shard:1-2".
static void find_lag(void *arg, const struct metric *m)
{
    struct run *run = arg;
    char late[32];
    if (strcmp(m->name, "loop_lag") != 0 || hist_count(m->hist) < LAG_SAMPLES)
        return;
    int64_t us = hist_percentile(m->hist, LAG_PERCENTILE);
    if (us > LAG_MAX_US)
        distrust(run->result, "the timers of %s came %s late or more in a fifth of the time: use more shards or cores",
                 shard_text(m->tags, (char[LOAD_TAGS_MAX]){0}), duration_format(us, late, sizeof(late)));
}

static void judge_lag(struct run *run)
{
    metrics_each(run->merged, find_lag, run);
}

void run_warning(struct run_result *r, const char *fmt, ...)
{
    va_list args;
    if (r->n_warnings == RUN_WARNINGS_MAX)
        return;
    va_start(args, fmt);
    vsnprintf(r->warnings[r->n_warnings++], sizeof(r->warnings[0]), fmt, args);
    va_end(args);
}

static void find_overflow(void *arg, const struct metric *m)
{
    struct run_result *r = arg;
    if (strcmp(m->tags, "overflow:true") == 0)
        run_warning(r, "%s has more sets of tags than are kept apart: the rest is in %s{overflow:true}", m->name,
                    m->name);
}

// What makes figures coarser than they look, but not wrong.
static void warn_of_losses(struct run *run)
{
    uint64_t saturated = tally_counter(run, "samples_saturated");
    if (saturated)
        run_warning(run->result, "%llu samples were above an hour: they count as an hour",
                    (unsigned long long)saturated);
    metrics_each(run->merged, find_overflow, run->result);
}

// A message that came before it was sent: by so much, at least, the clocks of two hosts differ.
static void warn_of_clocks(struct run *run)
{
    struct metric_selector sel = {.name = "e2e_skew"};
    struct metric skew = {0};
    uint64_t early = tally_counter(run, "e2e_early");
    char text[40];
    if (!early || metrics_select(run->merged, &sel, &skew) <= 0)
        return;
    duration_format((int64_t)skew.value, text, sizeof(text));
    run_warning(run->result,
                "%llu messages came before they were sent: the clocks of their hosts differ by at least %s, and "
                "e2e_latency is off by as much",
                (unsigned long long)early, text);
}

static void judge_trust(struct run *run)
{
    struct run_result *r = run->result;
    struct metric_selector late = {.name = "tick_late"};
    struct metric ticks = {0};
    metrics_select(run->merged, &late, &ticks);
    r->late_ticks = ticks.count ? (double)ticks.hits / (double)ticks.count : 0;
    r->trustworthy = true;
    if (run->virtual_run)
        return; // nothing is measured in real time
    if (ticks.count >= LATE_TICKS && r->late_ticks > LATE_MAX)
        distrust(r, "%.1f %% of the telemetry timers fired late (limit %.0f %%)", 100 * r->late_ticks, 100 * LATE_MAX);
    for (unsigned i = 0; i < run->n_shards; i++) {
        const struct slot *s = &run->shards[i];
        if (run->hold_seconds >= HOLD_SECONDS && s->busy_seconds * 2 > run->hold_seconds &&
            s->longest_turn_us > LONG_TURN_US)
            distrust(
                r, "shard %u had no CPU left in %u of %u seconds and a loop turn of %lld ms: use more shards or cores",
                i, s->busy_seconds, run->hold_seconds, (long long)(s->longest_turn_us / 1000));
    }
    judge_lag(run);
    uint64_t lost = tally_counter(run, "samples_lost");
    if (lost)
        distrust(r, "there was no memory for %llu samples: the percentiles lack them", (unsigned long long)lost);
    if (!r->untrustworthy_why[0])
        return;
    r->trustworthy = false;
    run_reason(run, EXIT_OVERLOADED, "the generator was overloaded: %s", r->untrustworthy_why);
}

// --- errors: the counters say how many, the first occurrences came as events

struct collect {
    struct run *run;
    struct faults all;
};

static void add_counted(struct collect *c, const char *prefix, const struct metric *m)
{
    char reason[64];
    const char *tag = strstr(m->tags, "reason:");
    bool fresh;
    if (!tag || !m->count)
        return;
    tag += strlen("reason:");
    int n = (int)strcspn(tag, ",");
    if ((n == 4 && strncmp(tag, "none", 4) == 0) || (*prefix == 'd' && n == 9 && strncmp(tag, "cancelled", 9) == 0))
        return; // asked for
    snprintf(reason, sizeof(reason), "%s%.*s", prefix, n, tag);
    struct fault *f = faults_add(&c->all, true, reason, m->count, &fresh);
    if (!fresh)
        return;
    for (unsigned i = 0; i < c->run->faults.n; i++) {
        const struct fault *first = &c->run->faults.list[i];
        if (!first->conn || strcmp(first->reason, reason) != 0)
            continue;
        memcpy(f->text, first->text, sizeof(f->text));
        memcpy(f->device, first->device, sizeof(f->device));
        f->first_us = first->first_us;
    }
}

static void collect_counter(void *arg, const struct metric *m)
{
    struct collect *c = arg;
    if (strcmp(m->name, "connect_failures") == 0)
        add_counted(c, "", m);
    else if (strcmp(m->name, "disconnects") == 0)
        add_counted(c, "disconnect-", m);
    else if (strcmp(m->name, "messages_dropped") == 0)
        add_counted(c, "dropped-", m);
}

static int by_count(const void *a, const void *b)
{
    const struct run_error_group *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->reason, y->reason);
}

static void collect_errors(struct run *run)
{
    struct run_result *r = run->result;
    struct collect *c = calloc(1, sizeof(*c));
    r->errors = calloc(2 * FAULTS_MAX, sizeof(*r->errors));
    if (!c || !r->errors) {
        free(c);
        return;
    }
    c->run = run;
    if (run->merged)
        metrics_each(run->merged, collect_counter, c);
    for (unsigned i = 0; i < c->all.n + run->faults.n; i++) {
        const struct fault *f = i < c->all.n ? &c->all.list[i] : &run->faults.list[i - c->all.n];
        if (i >= c->all.n && f->conn)
            continue; // counted above
        struct run_error_group *e = &r->errors[r->n_errors++];
        memcpy(e->reason, f->reason, sizeof(e->reason));
        memcpy(e->text, f->text, sizeof(e->text));
        memcpy(e->device, f->device, sizeof(e->device));
        e->count = f->count;
        e->first_us = f->first_us;
    }
    qsort(r->errors, r->n_errors, sizeof(*r->errors), by_count);
    free(c);
}

void verdict_end(struct run *run)
{
    struct run_result *r = run->result;
    tally_end(run);
    experiments_stop(run); // where it never came to a stop of its own
    r->experiments = experiments_marks(run);
    if (run->go_us) {
        r->elapsed_us = run->end_us - run->go_us;
        r->measured_us = tally_measured(run, (run->stop_us ? run->stop_us : run->end_us) - run->go_us);
        r->warmup_us = run->plan->warmup_us;
        virtual_result(run);
        verdict_thresholds(run, true);
        judge_reach(run);
        judge_work(run);
        judge_trust(run);
        warn_of_losses(run);
        warn_of_clocks(run);
        if (!run->warm)
            run_warning(r, "the run ended before its warmup was over: its figures are those of the warmup");
        sink_result(run);
        if (run->checks_failed)
            run_reason(run, EXIT_MARKED_FAILED, "%llu of the test's expectations failed",
                       (unsigned long long)run->checks_failed);
    } else {
        r->trustworthy = true;
    }
    for (unsigned i = 0; i < run->n_shards; i++)
        if (run->shards[i].longest_turn_us > r->longest_turn_us)
            r->longest_turn_us = run->shards[i].longest_turn_us;
    collect_errors(run);
    sort_reasons(r);
    r->totals = run->view.totals;
    r->cpu_avg = run->cpu_n ? run->cpu_sum / run->cpu_n : 0;
    r->cpu_max = run->cpu_max;
    r->shards = run->n_shards;
    r->plan = run->plan;
    r->groups = run->groups;
    r->n_groups = run->groups ? run->plan->n_groups : 0;
    r->thresholds = run->thresholds;
    r->n_thresholds = run->thresholds ? run->plan->n_thresholds : 0;
    r->metrics = run->merged;
}
