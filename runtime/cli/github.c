// GitHub Actions: annotations and the page of the job. Only when GITHUB_ACTIONS=true.
// Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
#include <stdio.h>
#include <string.h>

#include "cli/view.h"
#include "core/units.h"

#define ANNOTATIONS_MAX 10 // GitHub shows ten errors a step

// The data of a workflow command; a property (title=…) must also escape ':' and ','.
static int escape(struct buf *out, const char *s, bool property)
{
    int rc = 0;
    for (; *s && !rc; s++) {
        if (*s == '%')
            rc = buf_append_str(out, "%25");
        else if (*s == '\r')
            rc = buf_append_str(out, "%0D");
        else if (*s == '\n')
            rc = buf_append_str(out, "%0A");
        else if (property && *s == ':')
            rc = buf_append_str(out, "%3A");
        else if (property && *s == ',')
            rc = buf_append_str(out, "%2C");
        else if ((unsigned char)*s >= 0x20 && *s != 0x7f)
            rc = buf_append_char(out, *s);
    }
    return rc;
}

static int annotation(struct buf *out, const char *file, int line, int col, const char *title, const char *text)
{
    int rc = buf_append_str(out, "::error ");
    if (file && *file && strcmp(file, "-") != 0) {
        rc |= buf_append_str(out, "file=");
        rc |= escape(out, file, true);
        if (line > 0)
            rc |= buf_printf(out, ",line=%d", line);
        if (line > 0 && col > 0)
            rc |= buf_printf(out, ",col=%d", col);
        rc |= buf_append_str(out, ",");
    }
    rc |= buf_append_str(out, "title=");
    rc |= escape(out, title, true);
    rc |= buf_append_str(out, "::");
    rc |= escape(out, text, false);
    rc |= buf_append_str(out, "\n");
    return rc ? -1 : 0;
}

static void threshold_name(const struct threshold *t, char *dst, size_t size)
{
    snprintf(dst, size, "%s%s%s%s %s", t->selector.name, *t->selector.tags ? "{" : "", t->selector.tags,
             *t->selector.tags ? "}" : "", t->text);
}

int github_annotations(struct buf *out, const struct run_result *r)
{
    int rc = 0;
    unsigned n = 0;
    const char *file = r->plan ? r->plan->file : NULL;
    char name[400], text[600];
    for (unsigned i = 0; i < r->n_diagnostics && n < ANNOTATIONS_MAX; i++, n++) {
        const struct diagnostic *d = &r->diagnostics[i];
        rc |= annotation(out, d->file, d->line, d->col, d->code[0] ? d->code : "iotix", d->message);
    }
    for (unsigned i = 0; r->plan && i < r->n_thresholds && i < r->plan->n_thresholds && n < ANNOTATIONS_MAX; i++) {
        if (!r->thresholds[i].failed)
            continue;
        threshold_name(&r->plan->thresholds[i], name, sizeof(name));
        snprintf(text, sizeof(text), "%s: actual %s", name, r->thresholds[i].actual_text);
        rc |= annotation(out, file, r->plan->thresholds[i].line, 0, "threshold failed", text);
        n++;
    }
    for (unsigned i = 0; i < r->n_checks && n < ANNOTATIONS_MAX; i++) {
        if (r->checks[i].ok)
            continue;
        snprintf(text, sizeof(text), "%.200s: %.380s", r->checks[i].name, r->checks[i].detail);
        rc |= annotation(out, file, 0, 0, "expectation failed", text);
        n++;
    }
    // A run that failed for another reason.
    if (n == 0 && r->exit_code != 0 && r->n_reasons)
        rc |= annotation(out, file, 0, 0, "iotix-run failed", r->reasons[0].text);
    return rc ? -1 : 0;
}

// Markdown, with HTML and table syntax of names made harmless.
static int cell(struct buf *out, const char *s)
{
    int rc = 0;
    for (; *s && !rc; s++) {
        if (*s == '<')
            rc = buf_append_str(out, "&lt;");
        else if (*s == '&')
            rc = buf_append_str(out, "&amp;");
        else if (strchr("|`*_[]\\!#~@", *s))
            rc = buf_printf(out, "&#%d;", *s);
        else
            rc = buf_append_char(out, (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s);
    }
    return rc;
}

static int threshold_table(struct buf *out, const struct run_result *r)
{
    char name[400];
    int rc = 0;
    if (!r->plan || r->n_thresholds == 0)
        return 0;
    rc |= buf_append_str(out, "| | threshold | actual | limit |\n|---|---|---:|---|\n");
    for (unsigned i = 0; i < r->n_thresholds && i < r->plan->n_thresholds; i++) {
        threshold_name(&r->plan->thresholds[i], name, sizeof(name));
        rc |= buf_append_str(out, r->thresholds[i].failed ? "| ❌ | " : "| ✅ | ");
        rc |= cell(out, name);
        rc |= buf_append_str(out, " | ");
        rc |= cell(out, r->thresholds[i].actual_text);
        rc |= buf_append_str(out, " | ");
        rc |= cell(out, r->thresholds[i].limit_text);
        rc |= buf_append_str(out, " |\n");
    }
    rc |= buf_append_str(out, "\n");
    return rc;
}

static int check_list(struct buf *out, const struct run_result *r)
{
    int rc = 0;
    for (unsigned i = 0; i < r->n_checks && i < 100; i++) {
        rc |= buf_append_str(out, r->checks[i].ok ? "- ✅ " : "- ❌ ");
        rc |= cell(out, r->checks[i].name);
        if (!r->checks[i].ok) {
            rc |= buf_append_str(out, ": ");
            rc |= cell(out, r->checks[i].detail);
        }
        rc |= buf_append_str(out, "\n");
    }
    return rc | (r->n_checks ? buf_append_str(out, "\n") : 0);
}

int github_summary(struct buf *out, const struct run_result *r, int exit_code)
{
    char a[32], b[32], c[32];
    int rc = buf_append_str(out, "### iotix-run ");
    rc |= cell(out, r->plan && r->plan->name ? r->plan->name : "");
    rc |= buf_printf(out, ": %s (exit %d)\n\n",
                     r->exit_code == 0                  ? "PASS"
                     : r->exit_code == EXIT_INTERRUPTED ? "STOPPED"
                                                        : "FAIL",
                     exit_code);
    for (unsigned i = 0; i < r->n_reasons; i++) {
        rc |= buf_append_str(out, "- ");
        rc |= cell(out, r->reasons[i].text);
        rc |= buf_append_str(out, "\n");
    }
    rc |= buf_append_str(out, r->n_reasons ? "\n" : "");
    rc |= threshold_table(out, r);
    rc |= check_list(out, r);
    if (r->plan)
        rc |= buf_printf(out, "%s devices · %s messages published · %s · seed %llu\n",
                         count_format(r->totals.started, a, sizeof(a)), count_format(r->totals.sent, b, sizeof(b)),
                         duration_format(r->elapsed_us, c, sizeof(c)), (unsigned long long)r->seed);
    return rc ? -1 : 0;
}
