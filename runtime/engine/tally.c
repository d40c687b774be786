// Figures: what the children report, summed. Snapshots are cumulative since the start of an incarnation, so the truth
// at any time is the sum of the last ones of the living and of everything folded from the lost.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/jsonx.h"
#include "engine/supervisor.h"

#define SERIES_MAX 50000
#define BUSY 0.95

int tally_begin(struct run *run, struct error *err)
{
    unsigned n = run->plan->n_groups;
    struct ownership part = {run->config->partition ? run->config->partition - 1 : 0,
                             run->config->partitions ? run->config->partitions : 1, 0, 1};
    run->groups = calloc(n, sizeof(*run->groups));
    run->thresholds = calloc(run->plan->n_thresholds + 1, sizeof(*run->thresholds));
    *err = (struct error){0};
    run->stages = stages_new(run->plan, err);
    if (err->code)
        return -1;
    if (!run->groups || !run->thresholds)
        return error_set(err, ERR_NO_MEMORY, "no memory for the figures of %u groups", n);
    for (unsigned i = 0; i < n; i++) {
        run->groups[i].name = run->plan->groups[i].config.name;
        run->groups[i].count = ownership_count(&part, run->plan->groups[i].config.count);
    }
    for (unsigned i = 0; i < run->plan->n_thresholds; i++)
        threshold_no_data(&run->plan->thresholds[i], &run->thresholds[i]);
    return 0;
}

void tally_snapshot(struct slot *slot, const uint8_t *bytes, size_t n)
{
    struct error err;
    struct metrics *trial = metrics_new(SERIES_MAX); // what is kept can be merged
    int bad = trial ? metrics_merge(trial, bytes, n, &err) : 0;
    metrics_delete(trial);
    if (bad) {
        slot_kill(slot, "sent a snapshot that cannot be read: %s", err.text);
        return;
    }
    buf_clear(&slot->snapshot);
    if (buf_append(&slot->snapshot, bytes, n))
        slot_kill(slot, "sent a snapshot of %zu bytes for which there is no memory", n);
}

static bool read_counts(const json_t *array, uint64_t *out, size_t n)
{
    if (json_array_size(array) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return false;
        out[i] = (uint64_t)json_integer_value(v);
    }
    return true;
}

static bool read_group(const json_t *json, struct group_numbers *g)
{
    struct error err;
    int64_t owned, started, ever, failed, dropped;
    if (!read_counts(json_object_get(json, "state"), g->state, DEVICE_STATE_MAX) ||
        !read_counts(json_object_get(json, "conn"), g->conn, CONN_STATE_MAX) ||
        json_get_int(json, "owned", 0, &owned, &err) || json_get_int(json, "started", 0, &started, &err) ||
        json_get_int(json, "ever_online", 0, &ever, &err) || json_get_int(json, "failed", 0, &failed, &err) ||
        json_get_int(json, "dropped", 0, &dropped, &err))
        return false;
    g->owned = (uint64_t)owned;
    g->started = (uint64_t)started;
    g->ever_online = (uint64_t)ever;
    g->failed = (uint64_t)failed;
    g->dropped = (uint64_t)dropped;
    return true;
}

void tally_status(struct slot *slot, const json_t *status)
{
    struct run *run = slot->run;
    struct error err;
    const json_t *groups = json_object_get(status, "groups");
    int64_t longest;
    bool good = slot->groups && json_array_size(groups) == run->plan->n_groups;
    for (unsigned i = 0; good && i < run->plan->n_groups; i++)
        good = read_group(json_array_get(groups, i), &slot->groups[i]);
    if (!good || json_get_bool(status, "launching", false, &slot->launching, &err) ||
        json_get_int(status, "longest_turn_us", 0, &longest, &err)) {
        slot_kill(slot, "sent a status that does not fit the plan");
        return;
    }
    int64_t elapsed;
    if (run->virtual_run && json_get_int(status, "elapsed_us", 0, &elapsed, &err) == 0 && elapsed > slot->elapsed_us)
        slot->elapsed_us = elapsed;
    slot->has_status = true;
    if (longest > slot->longest_turn_us)
        slot->longest_turn_us = longest;
}

void tally_event(struct run *run, struct slot *slot, const json_t *event)
{
    (void)slot;
    bool fresh;
    json_int_t count = json_integer_value(json_object_get(event, "count"));
    bool conn = strcmp(message_text(event, "kind"), "conn") == 0;
    struct fault *f =
        faults_add(&run->faults, conn, message_text(event, "reason"), count > 0 ? (uint64_t)count : 0, &fresh);
    if (fresh) {
        snprintf(f->text, sizeof(f->text), "%.*s", (int)strcspn(message_text(event, "text"), "\n"),
                 message_text(event, "text"));
        snprintf(f->device, sizeof(f->device), "%s", message_text(event, "device"));
        f->first_us = json_integer_value(json_object_get(event, "t_us"));
    }
    if (json_is_true(json_object_get(event, "fail_run"))) {
        run_reason(run, EXIT_LUA_ERROR, "device %s failed and its group says on_error = \"fail\": %.*s",
                   message_text(event, "device"), (int)strcspn(message_text(event, "text"), "\n"),
                   message_text(event, "text"));
        run_stop(run);
    }
}

static void fold(struct run *run, struct metrics *into, const struct slot *slot)
{
    struct error err;
    char name[32];
    if (slot->snapshot.len && metrics_merge(into, slot->snapshot.data, slot->snapshot.len, &err))
        log_write(run->log, LOG_ERROR, NULL, "a snapshot of %s is damaged, its figures are incomplete: %s",
                  slot_name(slot, name, sizeof(name)), err.text);
}

// Gauges say how things are now: a lost incarnation has none.
static void forget_gauge(void *arg, const struct metric *m)
{
    (void)arg;
    if (m->type == METRIC_GAUGE)
        ((struct metric *)(uintptr_t)m)->value = 0;
}

void tally_lost(struct slot *slot)
{
    struct run *run = slot->run;
    fold(run, run->folded, slot);
    metrics_each(run->folded, forget_gauge, NULL);
    buf_clear(&slot->snapshot);
    slot->cpu_before_us += slot->cpu_us;
    slot->cpu_us = 0;
    for (unsigned i = 0; slot->groups && i < run->plan->n_groups; i++) {
        struct group_numbers *g = &slot->groups[i];
        if (g->ever_online > g->ever_before)
            g->ever_before = g->ever_online;
        *g = (struct group_numbers){.owned = g->owned, .ever_before = g->ever_before};
    }
}

void tally_merge(struct run *run)
{
    struct error err;
    struct slot *slot;
    struct metrics *merged = metrics_new(SERIES_MAX);
    if (!merged || metrics_merge_from(merged, run->folded, &err)) {
        metrics_delete(merged);
        log_write(run->log, LOG_ERROR, NULL, "no memory to merge the metrics");
        return;
    }
    for (unsigned i = 0; (slot = run_slot(run, i)); i++)
        fold(run, merged, slot);
    metrics_delete(run->merged);
    run->merged = merged;
}

uint64_t tally_counter(const struct run *run, const char *selector)
{
    struct metric_selector sel;
    struct metric out = {0};
    struct error err;
    if (metric_selector_parse(selector, &sel, &err) || metrics_select(run->merged, &sel, &out) <= 0)
        return 0;
    return out.type == METRIC_RATE ? out.hits : out.count;
}

void tally_groups(struct run *run)
{
    struct run_totals *t = &run->view.totals;
    t->devices = t->started = t->online = t->connecting = t->ever_online = t->failed = 0;
    for (unsigned i = 0; run->groups && i < run->plan->n_groups; i++) {
        struct run_group_status *g = &run->groups[i];
        g->online = g->connecting = g->running = g->error = g->started = g->dropped = 0;
        if (g->resized)
            g->count = 0;
        for (unsigned k = 0; k < run->n_shards; k++) {
            const struct group_numbers *n = &run->shards[k].groups[i];
            g->online += n->conn[CONN_CONNECTED];
            g->connecting += n->conn[CONN_CONNECTING] + n->conn[CONN_RECONNECTING];
            g->running += n->state[DEVICE_RUNNING];
            g->error += n->state[DEVICE_ERROR];
            g->started += n->started;
            g->dropped += n->dropped;
            if (g->resized)
                g->count += n->owned;
            t->ever_online += n->ever_online > n->ever_before ? n->ever_online : n->ever_before;
            t->failed += n->failed;
        }
        t->devices += g->count;
        t->started += g->started;
        t->online += g->online;
        t->connecting += g->connecting;
    }
}

static void totals(struct run *run)
{
    struct run_totals *t = &run->view.totals;
    t->sent = tally_counter(run, "messages_sent");
    t->acked = tally_counter(run, "messages_acked");
    t->received = tally_counter(run, "messages_received");
    t->dropped = tally_counter(run, "messages_dropped");
    t->bytes_out = tally_counter(run, "bytes_sent");
    t->bytes_in = tally_counter(run, "bytes_received");
    t->connects = tally_counter(run, "connects");
    t->connect_failures = tally_counter(run, "connect_failures");
    t->reconnects = tally_counter(run, "reconnects");
    t->errors = t->connect_failures + t->dropped + tally_counter(run, "script_errors");
}

// The last ten seconds: what is counted now less what was counted then.
static void slide_window(struct run *run)
{
    struct metric_selector latency = {.name = "publish_latency"}, late = {.name = "tick_late"};
    struct run_status *v = &run->view;
    struct metric ticks = {0}, all = {.hist = hist_new()};
    unsigned at = run->n_window % (WINDOW + 1), old = run->n_window < WINDOW ? 0 : (run->n_window + 1) % (WINDOW + 1);
    v->p50_us = v->p95_us = v->p99_us = v->max_us = -1;
    v->latency_count = 0;
    if (!all.hist)
        return;
    metrics_select(run->merged, &latency, &all);
    metrics_select(run->merged, &late, &ticks);
    run->late[at].late = ticks.hits;
    run->late[at].ticks = ticks.count;
    uint64_t seen = ticks.count - (run->n_window ? run->late[old].ticks : 0);
    uint64_t hits = ticks.hits - (run->n_window ? run->late[old].late : 0);
    v->late_ticks = seen && hits <= seen ? (double)hits / (double)seen : 0;
    struct hist *recent = hist_new();
    if (recent && hist_merge(recent, all.hist) == 0 &&
        (!run->n_window || !run->window[old] || hist_subtract(recent, run->window[old]) == 0) && hist_count(recent)) {
        v->latency_count = hist_count(recent);
        v->p50_us = hist_percentile(recent, 50);
        v->p95_us = hist_percentile(recent, 95);
        v->p99_us = hist_percentile(recent, 99);
        v->max_us = hist_max(recent);
    }
    hist_delete(recent);
    hist_delete(run->window[at]);
    run->window[at] = all.hist;
    run->n_window++;
}

static void measure_cpu(struct run *run)
{
    struct slot *slot;
    int64_t now = loop_fresh_us(run->loop), self = clock_process_cpu_us(), used = self - run->self_cpu_us;
    double wall = (double)(now - run->cpu_at_us);
    run->view.rss_bytes = process_rss(getpid());
    for (unsigned i = 0; (slot = run_slot(run, i)); i++) {
        int64_t cpu_us = process_cpu_us(&slot->process);
        if (cpu_us < 0)
            continue;
        slot->cpu = wall > 0 ? (double)(cpu_us - slot->cpu_us) / wall : 0;
        used += cpu_us - slot->cpu_us;
        slot->cpu_us = cpu_us;
        run->view.rss_bytes += process_rss(slot->process.pid);
        if (run->phase == RUN_HOLD && slot->cpu > BUSY && slot_is_shard(slot))
            slot->busy_seconds++;
    }
    unsigned cores = run->result->preflight.cores ? run->result->preflight.cores : 1;
    unsigned usable = run->n_shards && run->n_shards < cores ? run->n_shards : cores;
    run->self_cpu_us = self;
    run->cpu_at_us = now;
    if (wall <= 0)
        return;
    run->view.cpu = (double)used / wall / usable;
    if (run->phase != RUN_RAMP && run->phase != RUN_HOLD)
        return;
    run->cpu_sum += run->view.cpu;
    run->cpu_n++;
    if (run->view.cpu > run->cpu_max)
        run->cpu_max = run->view.cpu;
}

// Figures that began anew in between have grown from zero.
static double growth(uint64_t before, uint64_t now)
{
    return (double)(now >= before ? now - before : now);
}

void tally_second(struct run *run)
{
    struct run_totals before = run->view.totals;
    int64_t since = run->cpu_at_us;
    tally_merge(run);
    totals(run);
    slide_window(run);
    measure_cpu(run);
    double s = (double)(run->cpu_at_us - since) * 1e-6;
    if (s > 0) {
        run->view.sent_per_s = growth(before.sent, run->view.totals.sent) / s;
        run->view.received_per_s = growth(before.received, run->view.totals.received) / s;
        run->view.bytes_per_s = growth(before.bytes_out, run->view.totals.bytes_out) / s;
    }
}

// Shards begin anew within a few milliseconds of each other, and each tells it with figures that have: whatever else is
// there is of the warmup.
void tally_restart(struct run *run)
{
    run->warm = true;
    metrics_restart(run->folded, NULL);
    for (unsigned i = 0; i <= WINDOW; i++) {
        hist_delete(run->window[i]);
        run->window[i] = NULL;
        run->late[i].late = run->late[i].ticks = 0;
    }
    run->n_window = 0;
    run->view.totals.sent = run->view.totals.received = run->view.totals.bytes_out = 0;
    stages_restart(run->stages, run_elapsed(run));
    log_write(run->log, LOG_INFO, NULL, "the warmup is over: statistics begin");
}

int64_t tally_measured(const struct run *run, int64_t elapsed_us)
{
    int64_t warmup = run->plan ? run->plan->warmup_us : 0;
    return elapsed_us > warmup ? elapsed_us - warmup : 0;
}

void tally_end(struct run *run)
{
    tally_merge(run);
    totals(run);
    tally_groups(run);
}

void tally_view(struct run *run)
{
    struct run_status *v = &run->view;
    v->phase = run->phase;
    v->elapsed_us = run_elapsed(run);
    v->virtual_time = run->virtual_run != NULL;
    v->real_us = run->go_us ? loop_now_us(run->loop) - run->go_us : 0;
    v->duration_us = run->plan ? run->plan->duration_us : 0;
    v->phase_since_us = run->go_us && !run->virtual_run ? run->phase_us - run->go_us : 0;
    int stage = run->go_us && run->phase < RUN_STOPPING ? plan_stage_at(run->plan, v->elapsed_us) : -1;
    v->stage = stage < 0 ? NULL : run->plan->stages[stage].name;
    v->metrics = run->merged;
    v->n_groups = run->groups ? run->plan->n_groups : 0;
    v->groups = run->groups;
    v->n_thresholds = run->thresholds ? run->plan->n_thresholds : 0;
    v->thresholds = run->plan ? run->plan->thresholds : NULL;
    v->threshold_results = run->thresholds;
    v->acting = run->experiments ? experiments_acting(run) : NULL;
    tally_groups(run);
    if (run->config->on_status)
        run->config->on_status(run->config->view_arg, v);
}

json_t *tally_down(struct run *run)
{
    json_t *groups = json_object();
    for (unsigned i = 0; i < run->plan->n_groups; i++) {
        const struct run_group_status *g = &run->groups[i];
        uint64_t sum[DEVICE_STATE_MAX] = {0}, failed = 0, ever = 0;
        for (unsigned k = 0; k < run->n_shards; k++) {
            const struct group_numbers *n = &run->shards[k].groups[i];
            for (int s = 0; s < DEVICE_STATE_MAX; s++)
                sum[s] += n->state[s];
            failed += n->failed;
            ever += n->ever_online;
        }
        json_t *one =
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)g->count, "online",
                      (json_int_t)g->online, "connecting", (json_int_t)g->connecting, "started", (json_int_t)g->started,
                      "failed", (json_int_t)failed, "ever_online", (json_int_t)ever, "dropped", (json_int_t)g->dropped);
        for (int s = 0; s < DEVICE_STATE_MAX; s++)
            json_object_set_new(one, device_state_name((enum device_state)s), json_integer((json_int_t)sum[s]));
        json_object_set_new(groups, g->name, one);
    }
    return json_pack("{s:o, s:I}", "groups", groups, "elapsed_us", (json_int_t)run_elapsed(run));
}
