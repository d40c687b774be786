// What a run looks like, as pure functions from the run's data to text. display.c decides when and where.
#pragma once
#include "cli/option.h"
#include "cli/text.h"
#include "engine/run.h"

// ── header ──
struct header_info {
    const struct plan *plan;
    const struct preflight *preflight;
    const struct run_result *so_far; // run id, seed, broker URL
    const struct options *options;   // origins of overrides, outputs
};
int header_render(struct buf *out, const struct style *style, const struct header_info *info) WARN_UNUSED_RESULT;

// ── live block ──
// Nothing was acknowledged in the last 10 s.
static inline bool no_latency(const struct run_status *s)
{
    return s->p99_us < 0;
}

#define HISTORY 24 // samples of a sparkline, one a second
struct history {
    unsigned n;
    int64_t next_us;
    double devices[HISTORY], publish[HISTORY], latency[HISTORY];
};
// Adds a sample when a second has passed.
void history_add(struct history *h, const struct run_status *s);
#define BLOCK_LINES 7 // always; without thresholds the last one is empty
// widths: columns of each line, for repainting after the window changed.
int block_render(struct buf *out, const struct style *style, const struct run_status *s, const struct history *h,
                 unsigned widths[BLOCK_LINES]) WARN_UNUSED_RESULT;

// ── lines ── one line each, with its newline
int plain_render(struct buf *out, const struct run_status *s) WARN_UNUSED_RESULT;
int json_render(struct buf *out, const struct run_status *s) WARN_UNUSED_RESULT;
int flip_render(struct buf *out, const struct style *style, const struct run_status *s, unsigned threshold,
                bool json) WARN_UNUSED_RESULT;

// ── summary ──
struct summary_info {
    const struct run_result *result;
    bool full;
    int exit_code;            // what the process will return
    const char *const *wrote; // files; NULL ends
};
void summary_metrics(struct line *l, const struct run_result *r, bool full); // its own
void summary_sinks(struct line *l, const struct run_result *r);              // what became of their records
void summary_ledger(struct line *l, const struct run_result *r);             // what arrived of what devices sent
void summary_chaos(struct line *l, const struct run_result *r, bool full);   // its experiments
int summary_render(struct buf *out, const struct style *style, const struct summary_info *info) WARN_UNUSED_RESULT;
// The last line alone.
int verdict_render(struct buf *out, const struct style *style, const struct run_result *r,
                   int exit_code) WARN_UNUSED_RESULT;
// How many failed; of n_thresholds / n_checks.
unsigned thresholds_failed(const struct run_result *r);
unsigned checks_failed(const struct run_result *r);

// ── diagnostics ──
// `file:line:col: error CODE: message`, the source line with a caret, the hint. text: of the file, NULL: not at hand.
int diagnostic_render(struct buf *out, const struct style *style, const struct diagnostic *d, const char *text,
                      size_t n) WARN_UNUSED_RESULT;
json_t *diagnostics_json(const struct diagnostic *d, unsigned n);

// ── GitHub Actions ──
// `::error` workflow commands for diagnostics, failed thresholds and expectations.
int github_annotations(struct buf *out, const struct run_result *r) WARN_UNUSED_RESULT;
// Markdown for $GITHUB_STEP_SUMMARY.
int github_summary(struct buf *out, const struct run_result *r, int exit_code) WARN_UNUSED_RESULT;
