#include <stdio.h>
#include <string.h>

#include "cli/view.h"
#include "core/units.h"
#include "core/zone.h"
#include "engine/plan_target.h"
#include "link/url.h"

// "   [flag -b]": an override is always shown with where it came from.
static void put_origin(struct line *l, const struct header_info *info, enum option_id id)
{
    const struct option_value *v = &info->options->of[id];
    if (v->layer != LAYER_DEFAULT)
        line_printf(l, YELLOW, "   [%s]", v->from);
}

static void label(struct line *l, const char *name)
{
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, name, 10, false);
}

static void first_line(struct line *l, const struct header_info *info)
{
    const char *file = info->plan->file ? info->plan->file : "";
    const char *sha = info->plan->sha256 ? info->plan->sha256 : "";
    line_printf(l, BOLD, "iotix-run %s", IOTIX_VERSION);
    line_put(l, PLAIN, "   scenario ");
    line_put(l, BOLD, strcmp(file, "-") == 0 ? "from stdin" : file);
    if (*sha)
        line_printf(l, DIM, " (sha256 %.8s…)", sha);
    line_end(l);
}

// "embedded mqtts://127.0.0.1:41234, http://127.0.0.1:40001"; their schemes alone before they listen.
static void embedded_targets(struct line *l, const struct plan *plan, unsigned embedded, bool behind_another)
{
    const json_t *urls = json_object_get(plan->json, "embedded_urls");
    bool first = true;
    for (unsigned i = 0; target_schemes[i]; i++) {
        const char *url = json_string_value(json_object_get(urls, target_schemes[i]));
        if (!(embedded & 1u << i))
            continue;
        line_printf(l, PLAIN, "%s%s",
                    !first           ? ", "
                    : behind_another ? ", and embedded "
                                     : "embedded ",
                    url ? url : target_schemes[i]);
        first = false;
    }
}

static void target_line(struct line *l, const struct header_info *info)
{
    if (info->so_far && info->so_far->virtual_time) {
        label(l, "target");
        line_put(l, PLAIN, "files, in virtual time: nothing connects to a network");
        line_end(l);
        return;
    }
    const char *target = plan_target(info->plan);
    unsigned embedded = plan_embedded(info->plan);
    char shown[600] = "";
    struct url url;
    if (info->so_far && info->so_far->broker_url[0])
        snprintf(shown, sizeof(shown), "%s", info->so_far->broker_url);
    else if (!url_embedded(target, NULL) && !url_parse(target, "mqtt", &url, NULL))
        url_display(&url, shown, sizeof(shown)); // never with a password
    label(l, "target");
    if (embedded == TARGET_MQTT && url_embedded(target, NULL)) {
        line_printf(l, PLAIN, "embedded broker%s%s", *shown ? " " : "", shown);
    } else {
        if (!url_embedded(target, NULL))
            line_put(l, PLAIN, *shown ? shown : "(not a URL)");
        embedded_targets(l, info->plan, embedded, !url_embedded(target, NULL));
    }
    put_origin(l, info, OPT_BROKER);
    line_end(l);
}

static void groups_line(struct line *l, const struct header_info *info)
{
    const struct plan *plan = info->plan;
    char count[32];
    unsigned shown = plan->n_groups < 6 ? plan->n_groups : 5;
    label(l, "groups");
    for (unsigned i = 0; i < shown; i++) {
        const struct group_config *g = &plan->groups[i].config;
        line_printf(l, PLAIN, "%s", i ? " · " : "");
        line_printf(l, PLAIN, "%s %s", g->name, count_format(g->count, count, sizeof(count)));
    }
    if (shown < plan->n_groups)
        line_printf(l, PLAIN, " · %u more groups", plan->n_groups - shown);
    line_printf(l, PLAIN, " · total %s devices", count_format(plan_devices(plan), count, sizeof(count)));
    put_origin(l, info, OPT_DEVICES);
    put_origin(l, info, OPT_SCALE);
    put_origin(l, info, OPT_ONLY);
    line_end(l);
}

static void shape_line(struct line *l, const struct header_info *info)
{
    const struct plan *plan = info->plan;
    char ramp_text[32], hold[32], total[32], grace[32];
    int64_t ramp = 0;
    for (unsigned i = 0; i < plan->n_groups; i++) {
        int64_t us = launch_total_us(&plan->groups[i].config.launch, plan->groups[i].config.count);
        ramp = us > ramp ? us : ramp;
    }
    ramp = (ramp + 999999) / 1000000 * 1000000;
    span_format(ramp, ramp_text, sizeof(ramp_text));
    span_format(plan->stop_timeout_us, grace, sizeof(grace));
    label(l, "shape");
    if (plan->duration_us == 0) {
        line_printf(l, PLAIN, "%s%s%suntil the test ends (+ up to %s to stop)", ramp ? "ramp " : "",
                    ramp ? ramp_text : "", ramp ? " → " : "", grace);
    } else {
        span_format(plan->duration_us, total, sizeof(total));
        if (plan->n_stages)
            line_put(l, PLAIN, "stages ");
        else if (ramp >= plan->duration_us)
            line_printf(l, YELLOW, "ramp of %s is cut off by the duration ", ramp_text);
        else if (ramp)
            line_printf(l, PLAIN, "ramp %s → hold %s ", ramp_text,
                        span_format(plan->duration_us - ramp, hold, sizeof(hold)));
        else
            line_printf(l, PLAIN, "hold %s ", total);
        line_printf(l, PLAIN, "(%s + up to %s to stop)", total, grace);
    }
    put_origin(l, info, OPT_DURATION);
    put_origin(l, info, OPT_RAMP);
    put_origin(l, info, OPT_STOP_TIMEOUT);
    line_end(l);
}

// Stages of the run by name, and what is left out of the statistics.
static void stages_line(struct line *l, const struct header_info *info)
{
    const struct plan *plan = info->plan;
    char text[32], devices[32];
    if (plan->n_stages)
        label(l, "stages");
    for (unsigned i = 0; i < plan->n_stages && i < 8; i++) {
        const struct plan_stage *s = &plan->stages[i];
        line_printf(l, PLAIN, "%s%s %s to %s", i ? " → " : "", s->name,
                    span_format(s->end_us - s->begin_us, text, sizeof(text)),
                    count_format(s->devices, devices, sizeof(devices)));
    }
    if (plan->n_stages > 8)
        line_printf(l, PLAIN, " → %u more", plan->n_stages - 8);
    if (plan->n_stages) {
        put_origin(l, info, OPT_STAGE);
        line_end(l);
    }
    if (plan->warmup_us) {
        label(l, "warmup");
        line_printf(l, PLAIN, "%s, left out of the statistics", span_format(plan->warmup_us, text, sizeof(text)));
        put_origin(l, info, OPT_WARMUP);
        line_end(l);
    }
}

static void baseline_line(struct line *l, const struct header_info *info)
{
    const char *path = option_text(info->options, OPT_BASELINE);
    const char *declared = json_string_value(json_object_get(info->plan->json, "baseline"));
    if (!path && !declared)
        return;
    label(l, "baseline");
    line_put(l, PLAIN, path ? path : declared);
    put_origin(l, info, OPT_BASELINE);
    line_end(l);
}

static void virtual_line(struct line *l, const struct header_info *info)
{
    const struct run_result *r = info->so_far;
    char from[TIME_TEXT_LEN], until[TIME_TEXT_LEN];
    if (!r || !r->virtual_time)
        return;
    time_text(r->virtual_from_us, from);
    time_text(r->virtual_from_us + info->plan->duration_us, until);
    label(l, "virtual");
    line_printf(l, PLAIN, "%.*s → %.*s", TIME_TEXT_LEN, from, TIME_TEXT_LEN, until);
    put_origin(l, info, OPT_FROM);
    put_origin(l, info, OPT_FOR);
    line_end(l);
    if (r->test_skipped) {
        label(l, "");
        line_put(l, YELLOW, "the test is not run: there is nothing to observe in virtual time");
        line_end(l);
    }
}

static void put_limit(struct line *l, const char *name, uint64_t needed, uint64_t available)
{
    char a[32], b[32];
    if (available == 0)
        return;
    bool ok = needed <= available;
    line_printf(l, ok ? PLAIN : RED, "%s %s of %s %s · ", name, count_format(needed, a, sizeof(a)),
                count_format(available, b, sizeof(b)), ok ? "ok" : "too few");
}

static void limits_line(struct line *l, const struct header_info *info)
{
    const struct preflight *p = info->preflight;
    const struct option_value *partition = &info->options->of[OPT_PARTITION];
    if (!p)
        return;
    label(l, "limits");
    put_limit(l, "fds", p->fds_needed, p->fds_limit);
    put_limit(l, "ports", p->ports_needed, p->ports_available);
    line_printf(l, PLAIN, "%u %s on %u %s", p->shards, p->shards == 1 ? "shard" : "shards", p->cores,
                p->cores == 1 ? "core" : "cores");
    put_origin(l, info, OPT_SHARDS);
    if (option_given(info->options, OPT_PARTITION)) {
        line_printf(l, PLAIN, " · part %u of %u", partition->part, partition->parts);
        put_origin(l, info, OPT_PARTITION);
    }
    line_end(l);
}

static void run_line(struct line *l, const struct header_info *info)
{
    if (!info->so_far)
        return;
    label(l, "run");
    line_printf(l, PLAIN, "%s · seed %llu", info->so_far->run_id, (unsigned long long)info->so_far->seed);
    put_origin(l, info, OPT_SEED);
    line_end(l);
}

static void output_line(struct line *l, const struct header_info *info)
{
    const char *json = option_text(info->options, OPT_SUMMARY_JSON), *log = option_text(info->options, OPT_LOG_FILE);
    const struct option_value *outs = &info->options->of[OPT_SINK];
    for (unsigned i = 0; i < outs->n; i++) {
        char shown[600];
        label(l, i ? "" : "sink");
        line_put(l, PLAIN, url_redact(outs->items[i], shown, sizeof(shown)));
        put_origin(l, info, OPT_SINK);
        line_end(l);
    }
    if (!json && !log)
        return;
    label(l, "output");
    if (json) {
        line_put(l, PLAIN, strcmp(json, "-") == 0 ? "summary JSON on stdout" : json);
        put_origin(l, info, OPT_SUMMARY_JSON);
    }
    if (log) {
        line_printf(l, PLAIN, "%slog %s", json ? " · " : "", log);
        put_origin(l, info, OPT_LOG_FILE);
    }
    line_end(l);
}

// Overrides that have no line of their own.
static void other_line(struct line *l, const struct header_info *info)
{
    static const enum option_id ids[] = {
        OPT_THRESHOLD, OPT_NO_THRESHOLDS, OPT_MAX_REGRESSION, OPT_ABORT_ON_FAIL, OPT_FAIL_ON_NO_DATA, OPT_PARAM,
        OPT_ENV,       OPT_JIT,           OPT_EXIT_ZERO,      OPT_MODEL_DIR,     OPT_PLUGIN};
    bool any = false;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const struct option_spec *spec = &option_specs[ids[i]];
        const struct option_value *v = &info->options->of[ids[i]];
        bool off = spec->type == TYPE_BOOL && !v->yes;
        if (v->layer == LAYER_DEFAULT || (off && ids[i] != OPT_FAIL_ON_NO_DATA))
            continue;
        for (unsigned k = 0; k < (v->n ? v->n : 1); k++) {
            // Parameters and environment may hold secrets: their names only.
            const char *text = off ? "false" : spec->type == TYPE_BOOL ? "" : v->items[k];
            size_t n = spec->type == TYPE_KEY_VALUE ? strcspn(text, "=") : strlen(text);
            label(l, any ? "" : "options");
            line_printf(l, PLAIN, "%s%s%.*s   ", spec->name, n ? " " : "", (int)n, text);
            line_printf(l, YELLOW, "[%s]", v->from);
            line_end(l);
            any = true;
        }
    }
}

int header_render(struct buf *out, const struct style *style, const struct header_info *info)
{
    struct line l;
    line_begin(&l, out, style);
    first_line(&l, info);
    target_line(&l, info);
    groups_line(&l, info);
    shape_line(&l, info);
    stages_line(&l, info);
    virtual_line(&l, info);
    limits_line(&l, info);
    run_line(&l, info);
    output_line(&l, info);
    baseline_line(&l, info);
    other_line(&l, info);
    return l.failed ? -1 : 0;
}
