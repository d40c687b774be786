// The machine form of a run's result: "schema": 1, described by models/schema/summary.schema.json and
// docs/reference/summary.md. Times are milliseconds where the name or unit says so and seconds where it ends in S; a
// number that does not exist is null. What comes from outside (names, error texts) may hold bytes that are no UTF-8;
// they become U+FFFD, the summary stays valid.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/jsonx.h"
#include "engine/run.h"

#define SUMMARY_SCHEMA 1
#define NAMES_MAX 256u

// --- values

static json_t *text(const char *s)
{
    return json_text_of(s);
}

static json_t *text_or_null(const char *s)
{
    return s ? text(s) : json_null();
}

static json_t *count(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *ms(double us)
{
    return number(us / 1e3);
}

static json_t *seconds(int64_t us)
{
    return number((double)us / 1e6);
}

// Adds a value that may be NULL for want of memory. 0 or -1; the value is stolen either way.
static int put(json_t *obj, const char *key, json_t *stolen)
{
    return stolen ? json_object_set_new(obj, key, stolen) : -1;
}

static int add(json_t *array, json_t *stolen)
{
    return stolen ? json_array_append_new(array, stolen) : -1;
}

// Drops an object that could not be filled, so that a function can end with `return whole(obj, rc)`.
static json_t *whole(json_t *obj, int rc)
{
    if (obj && rc == 0)
        return obj;
    json_decref(obj);
    return NULL;
}

// RFC 3339, UTC, milliseconds; NULL for a run that has not begun.
static json_t *timestamp(int64_t wall_us)
{
    if (wall_us <= 0)
        return json_null();
    time_t s = (time_t)(wall_us / 1000000);
    struct tm tm;
    char date[32], whole_text[48];
    if (!gmtime_r(&s, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return json_null();
    snprintf(whole_text, sizeof(whole_text), "%s.%03dZ", date, (int)(wall_us / 1000 % 1000));
    return json_string(whole_text);
}

// --- head

static json_t *tool_json(void)
{
    json_t *o = json_object();
    return whole(o, o ? put(o, "name", json_string("iotix")) | put(o, "version", json_string(IOTIX_VERSION)) : -1);
}

static json_t *outputs_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_outputs && rc == 0; i++) {
        json_t *o = json_object();
        rc = o ? put(o, "format", json_string(r->outputs[i].format)) | put(o, "file", text(r->outputs[i].path)) |
                     put(o, "records", count(r->outputs[i].records)) | put(o, "skipped", count(r->outputs[i].skipped)) |
                     put(o, "bytes", count(r->outputs[i].bytes)) |
                     put(o, "complete", json_boolean(r->outputs[i].complete))
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

static json_t *virtual_json(const struct run_result *r)
{
    json_t *o = json_object();
    int rc = o ? put(o, "from", timestamp(r->virtual_from_us)) | put(o, "reachedS", seconds(r->virtual_us)) |
                     put(o, "testSkipped", json_boolean(r->test_skipped)) | put(o, "outputs", outputs_json(r))
               : -1;
    return whole(o, rc);
}

static json_t *stages_json(const struct plan *p)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; p && i < p->n_stages && rc == 0; i++) {
        const struct plan_stage *s = &p->stages[i];
        json_t *o = json_object();
        rc = o ? put(o, "name", text(s->name)) | put(o, "fromS", seconds(s->begin_us)) |
                     put(o, "toS", seconds(s->end_us)) | put(o, "devices", count(s->devices))
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

static json_t *run_json(const struct run_result *r)
{
    const struct plan *p = r->plan;
    char seed[24];
    snprintf(seed, sizeof(seed), "%llu",
             (unsigned long long)r->seed); // 64 bits: more than a JSON reader's number holds
    json_t *o = json_object(), *partition = json_null();
    if (r->partitions > 1)
        partition = json_pack("{s:I, s:I}", "index", (json_int_t)r->partition, "of", (json_int_t)r->partitions);
    if (!o || !partition) {
        json_decref(partition);
        return whole(o, -1);
    }
    int rc = put(o, "id", text(r->run_id)) | put(o, "scenario", text_or_null(p ? p->name : NULL)) |
             put(o, "file", text_or_null(p ? p->file : NULL)) | put(o, "sha256", text_or_null(p ? p->sha256 : NULL)) |
             put(o, "seed", json_string(seed)) | put(o, "broker", *r->broker_url ? text(r->broker_url) : json_null()) |
             put(o, "partition", partition) | put(o, "started", timestamp(r->started_wall_us)) |
             put(o, "durationS", p && p->duration_us > 0 ? seconds(p->duration_us) : json_null()) |
             put(o, "elapsedS", seconds(r->elapsed_us)) | put(o, "measuredS", seconds(r->measured_us)) |
             put(o, "warmupS", seconds(r->warmup_us)) | put(o, "stages", stages_json(p)) |
             put(o, "interrupted", json_boolean(r->interrupted)) | put(o, "aborted", json_boolean(r->aborted)) |
             put(o, "virtual", r->virtual_time ? virtual_json(r) : json_null());
    return whole(o, rc);
}

static json_t *verdict_json(const struct run_result *r)
{
    json_t *o = json_object(), *reasons = json_array();
    int rc = o && reasons ? 0 : -1;
    for (unsigned i = 0; i < r->n_reasons && rc == 0; i++) {
        json_t *reason = json_object();
        rc = reason
                 ? put(reason, "code", json_integer(r->reasons[i].code)) | put(reason, "text", text(r->reasons[i].text))
                 : -1;
        rc |= add(reasons, whole(reason, rc));
    }
    if (rc != 0) {
        json_decref(reasons);
        return whole(o, -1);
    }
    rc = put(o, "pass", json_boolean(r->exit_code == EXIT_PASS)) | put(o, "exitCode", json_integer(r->exit_code)) |
         put(o, "reasons", reasons);
    return whole(o, rc);
}

// --- thresholds and checks

static json_t *selector_text(const struct metric_selector *s)
{
    char name[sizeof(s->name) + sizeof(s->tags) + 4];
    snprintf(name, sizeof(name), *s->tags ? "%s{%s}" : "%s", s->name, s->tags);
    return text(name);
}

// Numbers as people write them: times in milliseconds, the rest in its base unit.
static json_t *threshold_json(const struct threshold *t, const struct threshold_result *result)
{
    static const char *const states[] = {"pass", "fail", "noData"};
    bool time = t->unit == UNIT_TIME_US;
    double factor = time ? 1e-3 : 1;
    json_t *o = json_object();
    if (!o)
        return NULL;
    int rc = put(o, "metric", selector_text(&t->selector)) | put(o, "expression", text(t->text)) |
             put(o, "state", json_string(states[result->state])) | put(o, "pass", json_boolean(!result->failed)) |
             put(o, "actual", result->state == THRESHOLD_NO_DATA ? json_null() : number(result->actual * factor)) |
             put(o, "limit", number(t->limit * factor)) |
             put(o, "unit",
                 json_string(time                    ? "ms"
                             : t->unit == UNIT_BYTES ? "bytes"
                                                     : "")) |
             put(o, "actualText", text(result->actual_text)) | put(o, "limitText", text(result->limit_text)) |
             put(o, "abort", json_boolean(t->abort)) |
             put(o, "noData", json_string(t->no_data_passes ? "pass" : "fail")) |
             put(o, "line", t->line > 0 ? json_integer(t->line) : json_null()) |
             put(o, "baseline", t->resolved ? number(t->baseline * factor) : json_null()) |
             put(o, "firstBrokenS", result->broken_us >= 0 ? seconds(result->broken_us) : json_null()) |
             put(o, "brokenSinceS", result->broken_since_us >= 0 ? seconds(result->broken_since_us) : json_null());
    return whole(o, rc);
}

static json_t *thresholds_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; r->plan && i < r->n_thresholds && i < r->plan->n_thresholds && rc == 0; i++)
        rc = add(list, threshold_json(&r->plan->thresholds[i], &r->thresholds[i]));
    return whole(list, rc);
}

static json_t *checks_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_checks && rc == 0; i++) {
        const struct run_check *c = &r->checks[i];
        json_t *o = json_object();
        rc = o ? put(o, "name", text(c->name)) | put(o, "pass", json_boolean(c->ok)) |
                     put(o, "detail", text(c->detail)) | put(o, "atS", seconds(c->t_us))
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

// --- numbers

static json_t *totals_json(const struct run_totals *t, int64_t measured_us)
{
    double s = (double)measured_us / 1e6;
    json_t *o = json_object(), *devices = json_object(), *messages = json_object(), *connections = json_object(),
           *bytes = json_object();
    int rc = o && devices && messages && connections && bytes ? 0 : -1;
    if (rc == 0)
        rc = put(devices, "planned", count(t->devices)) | put(devices, "started", count(t->started)) |
             put(devices, "online", count(t->online)) | put(devices, "everOnline", count(t->ever_online)) |
             put(devices, "failed", count(t->failed)) | put(connections, "connects", count(t->connects)) |
             put(connections, "failures", count(t->connect_failures)) |
             put(connections, "reconnects", count(t->reconnects)) | put(messages, "sent", count(t->sent)) |
             put(messages, "acked", count(t->acked)) | put(messages, "received", count(t->received)) |
             put(messages, "dropped", count(t->dropped)) |
             put(messages, "sentPerS", s > 0 ? number((double)t->sent / s) : json_null()) |
             put(messages, "receivedPerS", s > 0 ? number((double)t->received / s) : json_null()) |
             put(bytes, "out", count(t->bytes_out)) | put(bytes, "in", count(t->bytes_in));
    if (rc != 0) {
        json_decref(devices);
        json_decref(messages);
        json_decref(connections);
        json_decref(bytes);
        return whole(o, -1);
    }
    rc = put(o, "devices", devices) | put(o, "connections", connections) | put(o, "messages", messages) |
         put(o, "bytes", bytes) | put(o, "errors", count(t->errors));
    return whole(o, rc);
}

static json_t *groups_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_groups && rc == 0; i++) {
        const struct run_group_status *g = &r->groups[i];
        json_t *o = json_object();
        rc = o ? put(o, "name", text(g->name)) | put(o, "count", count(g->count)) |
                     put(o, "started", count(g->started)) | put(o, "online", count(g->online)) |
                     put(o, "connecting", count(g->connecting)) | put(o, "running", count(g->running)) |
                     put(o, "error", count(g->error))
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

// Figures of a histogram into `o`; factor turns its values into the unit of the summary.
static int put_histogram(json_t *o, const struct hist *h, double factor)
{
    static const struct {
        const char *name;
        double p;
    } percentiles[] = {{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p999", 99.9}};
    bool any = h && hist_count(h) > 0;
    int rc = put(o, "count", count(h ? hist_count(h) : 0)) |
             put(o, "min", any ? number((double)hist_min(h) * factor) : json_null()) |
             put(o, "mean", any ? number(hist_mean(h) * factor) : json_null());
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        rc |= put(o, percentiles[i].name,
                  any ? number((double)hist_percentile(h, percentiles[i].p) * factor) : json_null());
    return rc | put(o, "max", any ? number((double)hist_max(h) * factor) : json_null());
}

struct latency_names {
    const char *names[NAMES_MAX];
    unsigned n;
};

static void collect_latency(void *arg, const struct metric *s)
{
    struct latency_names *l = arg;
    if (s->type != METRIC_TREND || s->unit != UNIT_TIME_US || l->n == NAMES_MAX)
        return;
    if (l->n > 0 && strcmp(l->names[l->n - 1], s->name) == 0) // series come in order of their names
        return;
    l->names[l->n++] = s->name;
}

// All series of a name as one, in milliseconds.
static json_t *latency_json(const struct metrics *m)
{
    struct latency_names names = {.n = 0};
    json_t *all = json_object();
    if (m)
        metrics_each(m, collect_latency, &names);
    int rc = all ? 0 : -1;
    for (unsigned i = 0; i < names.n && rc == 0; i++) {
        struct metric_selector sel = {.tags = ""};
        snprintf(sel.name, sizeof(sel.name), "%s", names.names[i]);
        struct metric sum = {.hist = hist_new()};
        json_t *o = sum.hist && metrics_select(m, &sel, &sum) >= 0 ? json_object() : NULL;
        rc = o ? put_histogram(o, sum.hist, 1e-3) : -1;
        rc |= put(all, names.names[i], whole(o, rc));
        hist_delete(sum.hist);
    }
    return whole(all, rc);
}

// "group:sensors,reason:timeout" → {"group": "sensors", "reason": "timeout"}
static json_t *tags_json(const char *tags)
{
    json_t *o = json_object();
    int rc = o ? 0 : -1;
    char pair[256];
    for (const char *p = tags; *p && rc == 0; p += strcspn(p, ","), p += *p == ',') {
        snprintf(pair, sizeof(pair), "%.*s", (int)strcspn(p, ","), p);
        char *colon = strchr(pair, ':');
        if (!colon)
            continue;
        *colon = '\0';
        json_t *value = text(colon + 1);
        if (value && json_object_set(o, pair, value) != 0) { // a key that is no UTF-8
            json_decref(value);
            continue;
        }
        rc = value ? 0 : -1;
        json_decref(value);
    }
    return whole(o, rc);
}

struct series_list {
    json_t *array;
    int rc;
};

static void collect_series(void *arg, const struct metric *s)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_RATE] = "rate", [METRIC_TREND] = "trend"};
    struct series_list *list = arg;
    bool time = s->unit == UNIT_TIME_US;
    json_t *o = json_object(), *values = json_object();
    int rc = o && values ? 0 : -1;
    if (rc == 0 && s->type == METRIC_TREND)
        rc = put_histogram(values, s->hist, time ? 1e-3 : 1);
    else if (rc == 0 && s->type == METRIC_GAUGE)
        rc = put(values, "value", number(s->value));
    else if (rc == 0)
        rc = put(values, "count", count(s->count));
    if (rc == 0 && s->type == METRIC_RATE)
        rc = put(values, "hits", count(s->hits)) |
             put(values, "rate", s->count > 0 ? number((double)s->hits / (double)s->count) : json_null());
    values = whole(values, rc);
    if (rc == 0)
        rc = put(o, "name", text(s->name)) | put(o, "tags", tags_json(s->tags)) |
             put(o, "type", json_string(types[s->type])) |
             put(o, "unit",
                 json_string(time                    ? "ms"
                             : s->unit == UNIT_BYTES ? "bytes"
                                                     : ""));
    rc |= o ? put(o, "values", values) : -1;
    list->rc |= rc;
    list->rc |= add(list->array, whole(o, rc));
}

static json_t *metrics_json(const struct metrics *m)
{
    struct series_list list = {.array = json_array()};
    if (list.array && m)
        metrics_each(m, collect_series, &list);
    return whole(list.array, list.rc);
}

// --- experiments

static json_t *seconds_or_null(const json_t *o, const char *key)
{
    const json_t *us = json_object_get(o, key);
    return json_is_integer(us) ? seconds(json_integer_value(us)) : json_null();
}

static json_t *window_json(const json_t *w)
{
    json_t *o = json_object();
    int rc = o ? put(o, "fromS", seconds_or_null(w, "began_us")) | put(o, "toS", seconds_or_null(w, "ended_us")) |
                     put(o, "affected", json_incref(json_object_get(w, "affected")))
               : -1;
    return whole(o, rc);
}

static json_t *experiment_json(const json_t *mark)
{
    static const char *const same[] = {"number", "name", "kind", "what", "groups", "state", "runs", "affected"};
    json_t *o = json_object(), *windows = json_array(), *window, *error = json_object_get(mark, "error");
    int rc = o && windows ? 0 : -1;
    size_t i;
    for (i = 0; i < sizeof(same) / sizeof(same[0]) && rc == 0; i++)
        rc = put(o, same[i], json_incref(json_object_get(mark, same[i])));
    json_array_foreach(json_object_get(mark, "windows"), i, window)
    {
        if (rc == 0)
            rc = add(windows, window_json(window));
    }
    if (rc != 0) {
        json_decref(windows);
        return whole(o, -1);
    }
    rc = put(o, "error", error ? json_incref(error) : json_null()) | put(o, "windows", windows) |
         put(o, "windowsOmitted", json_incref(json_object_get(mark, "omitted")));
    return whole(o, rc);
}

static json_t *chaos_json(const struct run_result *r)
{
    json_t *list = json_array(), *mark;
    int rc = list ? 0 : -1;
    size_t i;
    json_array_foreach(r->experiments, i, mark)
    {
        if (rc == 0)
            rc = add(list, experiment_json(mark));
    }
    return whole(list, rc);
}

// --- sinks

static json_t *sink_json(const struct run_sink *s)
{
    json_t *o = json_object(), *dropped = json_object();
    int rc = o && dropped ? 0 : -1;
    for (unsigned i = 0; i < s->n_reasons && rc == 0; i++)
        rc = put(dropped, s->reasons[i].reason, count(s->reasons[i].n));
    if (rc != 0) {
        json_decref(dropped);
        return whole(o, -1);
    }
    rc = put(o, "name", text(s->name)) | put(o, "type", text(s->type)) | put(o, "accepted", count(s->accepted)) |
         put(o, "delivered", count(s->delivered)) | put(o, "spilled", count(s->spilled)) | put(o, "dropped", dropped) |
         put(o, "memory", json_integer(0)) | put(o, "skipped", count(s->skipped)) |
         put(o, "refused", count(s->refused)) | put(o, "trouble", *s->trouble ? text(s->trouble) : json_null()) |
         put(o, "left", *s->left ? text(s->left) : json_null());
    return whole(o, rc);
}

static json_t *sinks_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_sinks && rc == 0; i++)
        rc = add(list, sink_json(&r->sinks[i]));
    return whole(list, rc);
}

// --- errors, generator, diagnostics

static json_t *errors_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_errors && rc == 0; i++) {
        const struct run_error_group *e = &r->errors[i];
        json_t *o = json_object();
        rc = o ? put(o, "reason", text(e->reason)) | put(o, "text", text(e->text)) | put(o, "count", count(e->count)) |
                     put(o, "firstS", seconds(e->first_us)) |
                     put(o, "device", *e->device ? text(e->device) : json_null())
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

static json_t *warnings_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_warnings && rc == 0; i++)
        rc = add(list, text(r->warnings[i]));
    return whole(list, rc);
}

static json_t *generator_json(const struct run_result *r)
{
    json_t *o = json_object();
    if (!o)
        return NULL;
    int rc = put(o, "cpuAvg", number(r->cpu_avg)) | put(o, "cpuMax", number(r->cpu_max)) |
             put(o, "lateTicks", number(r->late_ticks)) | put(o, "longestTurnMs", ms((double)r->longest_turn_us)) |
             put(o, "trustworthy", json_boolean(r->trustworthy)) |
             put(o, "why", *r->untrustworthy_why ? text(r->untrustworthy_why) : json_null()) |
             put(o, "warnings", warnings_json(r)) | put(o, "shards", json_integer(r->shards)) |
             put(o, "shardsLost", json_integer(r->shards_lost)) |
             put(o, "shardsRestarted", json_integer(r->shards_restarted)) |
             put(o, "cores", json_integer(r->preflight.cores));
    return whole(o, rc);
}

static json_t *diagnostics_json(const struct run_result *r)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; i < r->n_diagnostics && rc == 0; i++) {
        const struct diagnostic *d = &r->diagnostics[i];
        json_t *o = json_object();
        rc = o ? put(o, "code", text(d->code)) | put(o, "file", text(d->file)) |
                     put(o, "line", d->line > 0 ? json_integer(d->line) : json_null()) |
                     put(o, "column", d->col > 0 ? json_integer(d->col) : json_null()) |
                     put(o, "message", text(d->message)) | put(o, "hint", *d->hint ? text(d->hint) : json_null())
               : -1;
        rc |= add(list, whole(o, rc));
    }
    return whole(list, rc);
}

json_t *run_result_json(const struct run_result *r, struct error *err)
{
    json_t *o = json_object();
    int rc = o ? put(o, "schema", json_integer(SUMMARY_SCHEMA)) | put(o, "tool", tool_json()) |
                     put(o, "run", run_json(r)) | put(o, "verdict", verdict_json(r)) |
                     put(o, "thresholds", thresholds_json(r)) | put(o, "checks", checks_json(r)) |
                     put(o, "totals", totals_json(&r->totals, r->measured_us)) | put(o, "groups", groups_json(r)) |
                     put(o, "latency", latency_json(r->metrics)) | put(o, "metrics", metrics_json(r->metrics)) |
                     put(o, "chaos", chaos_json(r)) | put(o, "sinks", sinks_json(r)) |
                     put(o, "ledger", r->ledger ? json_incref(r->ledger) : json_null()) |
                     put(o, "errors", errors_json(r)) | put(o, "generator", generator_json(r)) |
                     put(o, "diagnostics", diagnostics_json(r))
               : -1;
    o = whole(o, rc);
    if (!o)
        error_set(err, ERR_NO_MEMORY, "summary: no memory");
    return o;
}

void run_result_destroy(struct run_result *r)
{
    if (!r)
        return;
    plan_delete(r->plan);
    metrics_delete(r->metrics);
    json_decref(r->experiments);
    json_decref(r->ledger);
    free(r->groups);
    free(r->thresholds);
    free(r->checks);
    free(r->errors);
    free(r->diagnostics);
    free(r->sinks);
    for (unsigned i = 0; i < r->n_outputs; i++)
        free(r->outputs[i].path);
    memset(r, 0, sizeof(*r));
}
