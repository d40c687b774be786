// The start of a run: from what the scenario declares, overrides and preflight to shards that make their devices.
#include "engine/supervisor.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/file.h"
#include "engine/baseline.h"
#include "engine/ledger.h"
#include "engine/plan_target.h"
#include "engine/plan_timeline.h"
#include "engine/virtual.h"
#include "link/url.h"

// "publish_latency{group:sensors}: p95 < 200ms": the colon behind the braces.
static int extra_threshold(json_t *list, const char *text, struct error *err)
{
    const char *p = text + strcspn(text, "{:");
    if (*p == '{')
        p += strcspn(p, "}");
    p += strcspn(p, ":");
    if (*p != ':')
        return error_set(
            err, ERR_INVALID,
            "--threshold '%s': expected METRIC: AGGREGATE OP LIMIT, such as 'publish_latency: p95 < 200ms'", text);
    size_t end = (size_t)(p - text), start = strspn(text, " ");
    while (end > start && text[end - 1] == ' ')
        end--;
    p += 1 + strspn(p + 1, " ");
    return json_array_append_new(list, json_pack("{s:s%, s:s}", "metric", text + start, end - start, "expr", p))
               ? error_set(err, ERR_INVALID, "--threshold: the text is not UTF-8")
               : 0;
}

static int add_thresholds(const struct run_config *c, json_t *plan, struct error *err)
{
    json_t *list = json_object_get(plan, "thresholds");
    if (c->no_thresholds && list)
        json_array_clear(list);
    if (!c->n_extra_thresholds)
        return 0;
    if (!json_is_array(list)) {
        list = json_array();
        if (json_object_set_new(plan, "thresholds", list))
            return error_set(err, ERR_NO_MEMORY, "no memory for a threshold");
    }
    for (unsigned i = 0; i < c->n_extra_thresholds; i++)
        if (extra_threshold(list, c->extra_thresholds[i], err))
            return -1;
    return 0;
}

// Of the command line as it is, of a scenario beside it. NULL with err untouched: there is none.
static json_t *read_baseline(const struct run_config *c, const json_t *plan, struct error *err)
{
    const char *path = c->baseline, *named = json_string_value(json_object_get(plan, "baseline"));
    char dir[1024], joined[2048];
    if (!path && (!named || c->no_thresholds))
        return NULL;
    if (!path && c->scenario_path && strcmp(c->scenario_path, "-") != 0) {
        if (path_dirname(c->scenario_path, dir, sizeof(dir)) || path_join(dir, named, joined, sizeof(joined))) {
            error_set(err, ERR_INVALID, "baseline: the path is too long");
            return NULL;
        }
        path = joined;
    }
    json_t *summary = (c->read_baseline ? c->read_baseline : baseline_read)(path ? path : named, err);
    if (!summary)
        error_prefix(err, "%s", c->baseline ? "--baseline" : "baseline");
    return summary;
}

static int compare_thresholds(const struct run_config *c, json_t *plan, struct error *err)
{
    *err = (struct error){0};
    json_t *summary = read_baseline(c, plan, err);
    int rc = err->code ? -1 : 0;
    if (rc == 0 && c->max_regression > 0 && !c->check_only)
        rc = summary
                 ? baseline_add_regressions(plan, summary, c->max_regression, err)
                 : error_set(err, ERR_INVALID,
                             "--max-regression: there is no baseline to compare with: give --baseline SUMMARY.json");
    if (rc == 0 && (summary || !c->check_only)) // whether there is one now, a check does not care
        rc = baseline_resolve(plan, summary, err);
    json_decref(summary);
    return rc;
}

// What the command line says of all thresholds that do not say it themselves.
static void apply_policies(const struct run_config *c, json_t *plan)
{
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(plan, "thresholds"), i, one)
    {
        const char *metric = json_string_value(json_object_get(one, "metric"));
        const char *expr = json_string_value(json_object_get(one, "expr"));
        struct threshold t;
        if (c->no_data_passes && !json_is_string(json_object_get(one, "no_data")))
            json_object_set_new(one, "no_data", json_string("pass"));
        if (c->abort_on_fail && metric && expr && threshold_parse(metric, expr, &t, NULL) == 0 &&
            !threshold_pending(&t))
            json_object_set_new(one, "abort", json_true());
    }
}

int start_edit_thresholds(const struct run_config *c, json_t *plan, struct error *err)
{
    if (add_thresholds(c, plan, err) || compare_thresholds(c, plan, err))
        return -1;
    apply_policies(c, plan);
    return 0;
}

// What was wrong with what the user asked for, not with the scenario.
static void usage(struct run *run, const struct error *err)
{
    finding_say(run, "IOTX080", EXIT_USAGE, err->text);
    run_stop(run);
}

static void choose_seed(struct run *run)
{
    uint64_t seed = run->plan->seed;
    if (!run->plan->has_seed && getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
        seed &= ((uint64_t)1 << 53) - 1; // every JSON reader keeps it exactly
    run->result->seed = seed;
}

static void show_url(struct run *run, const char *shown)
{
    struct url url;
    struct error err;
    if (url_parse(shown, "mqtt", &url, &err) == 0)
        url_display(&url, run->result->broker_url, sizeof(run->result->broker_url));
}

json_t *start_assignment(struct run *run, unsigned shard)
{
    unsigned partitions = run->config->partitions ? run->config->partitions : 1;
    unsigned partition = run->config->partition ? run->config->partition - 1 : 0;
    bool check = run->config->check_only; // then it is the last of so many that it owns no device
    return json_pack("{s:O, s:s, s:I, s:s, s:i, s:i, s:i, s:i, s:b, s:i, s:o}", "plan", run->plan->json, "run",
                     run->result->run_id, "seed", (json_int_t)run->result->seed, "broker", run->url, "partition",
                     (int)partition, "partitions", (int)partitions, "shard", check ? INT_MAX - 1 : (int)shard, "shards",
                     check ? INT_MAX : (int)run->n_shards, "resumed", run->go_us != 0, "epoch",
                     run->shards && shard < run->n_shards ? (int)run->shards[shard].n_restarts : 0, "quarantine",
                     watch_quarantine(run));
}

static int start_shards(struct run *run, unsigned n, struct error *err)
{
    run->shards = calloc(n, sizeof(*run->shards));
    if (!run->shards)
        return error_set(err, ERR_NO_MEMORY, "no memory for %u shards", n);
    for (unsigned i = 0; i < n; i++) {
        struct slot *slot = &run->shards[i];
        slot->run = run;
        slot->number = i;
        slot->process.channel = slot->process.output = -1;
        buf_create(&slot->snapshot, MESSAGE_MAX);
        slot->groups = calloc(run->plan->n_groups, sizeof(*slot->groups));
        if (!slot->groups)
            return error_set(err, ERR_NO_MEMORY, "no memory for a shard");
        run->n_shards = i + 1;
    }
    for (unsigned i = 0; i < n; i++) {
        if (slot_start(&run->shards[i], err))
            return -1;
        slot_send(&run->shards[i], MSG_ASSIGN, start_assignment(run, i));
    }
    return 0;
}

// url: where an observer looks; shown: what the header says.
static void targets_known(struct run *run, const char *url, const char *shown)
{
    struct error err;
    run->url = url;
    if (!run->virtual_run)
        show_url(run, shown);
    if (run->config->on_header)
        run->config->on_header(run->config->view_arg, run->plan, &run->result->preflight, run->result);
    if (run->plan->directs)
        slot_send(&run->director, MSG_ASSIGN, start_assignment(run, 0));
    if (run->virtual_run && virtual_open(run, run->result->preflight.shards, &err)) {
        run_reason(run, EXIT_OUTPUT, "%.250s", err.text);
        log_write(run->log, LOG_ERROR, NULL, "%s", err.text);
        run_stop(run);
    } else if (start_shards(run, run->result->preflight.shards, &err) || ledger_start(run, &err)) {
        run_fail_machine(run, &err);
    }
}

void start_targets_up(struct run *run)
{
    struct error err;
    if (plan_resolve(run->plan, targets_urls(run->targets), targets_ca(run->targets), &err)) {
        run_fail_machine(run, &err);
        return;
    }
    const char *target = plan_target(run->plan), *shown = target;
    unsigned bit = url_embedded(target, NULL);
    for (unsigned i = 0; target_schemes[i]; i++)
        if (bit == 1u << i)
            shown = json_string_value(
                json_object_get(json_object_get(run->plan->json, "embedded_urls"), target_schemes[i]));
    // An observer speaks plain MQTT to a broker of the run's own, whatever its devices speak.
    targets_known(run, bit & TARGET_BROKER ? targets_broker(run->targets) : shown, shown);
}

// What only a shard finds out, options of adapters and credentials above all, is asked of one that owns no device.
static void check_in_shard(struct run *run)
{
    struct error err;
    run->url = plan_target(run->plan);
    run_enter(run, RUN_STARTING);
    if (start_shards(run, 1, &err))
        run_fail_machine(run, &err);
}

static void prepare(struct run *run)
{
    struct error err;
    const struct run_config *c = run->config;
    bool virtual_time = run->virtual_run != NULL;
    unsigned embedded = virtual_time ? 0 : plan_embedded(run->plan);
    choose_seed(run);
    if (virtual_time ? preflight_virtual(run->plan, c->shards, c->partition, c->partitions, virtual_streams(run),
                                         &run->result->preflight, &err)
                     : preflight_check(run->plan, c->shards, c->partition, c->partitions,
                                       (embedded & TARGET_BROKER) != 0, &run->result->preflight, &err)) {
        if (err.code == ERR_INVALID)
            usage(run, &err);
        else
            run_fail_machine(run, &err);
        return;
    }
    char warning[300];
    if (preflight_warning(&run->result->preflight, warning, sizeof(warning)))
        log_write(run->log, LOG_WARN, NULL, "%s", warning);
    if (c->check_only) {
        if (virtual_time)
            run_stop(run);
        else
            check_in_shard(run);
        return;
    }
    if (tally_begin(run, &err) || experiments_plan(run, &err)) {
        run_fail_machine(run, &err);
        return;
    }
    run_enter(run, RUN_STARTING);
    if (c->watch && !virtual_time && changes_watch(run, &err)) {
        run_fail_machine(run, &err);
        return;
    }
    if (!run->plan->directs && !changes_reloadable(run)) // otherwise it stays, to read files again
        slot_send(&run->director, MSG_STOP, json_pack("{s:i}", "deadline_us", 0));
    if (!embedded) {
        const char *target = virtual_time ? "virtual://" : plan_target(run->plan);
        targets_known(run, target, target);
        return;
    }
    run->targets = targets_begin(embedded, loop_wall_us(run->loop), &err);
    run->targets_pending = run->targets != NULL;
    if (!run->targets)
        run_fail_machine(run, &err);
}

void start_plan(struct run *run, const json_t *message)
{
    struct error err = {0};
    json_t *json = json_deep_copy(message);
    run->director.state = SLOT_LOADED;
    if (!json || start_edit_thresholds(run->config, json, &err) ||
        (!run->config->overrides.n_stages && plan_spread_stages(json, false, &err)) ||
        plan_add_sinks(json, run->config->sinks, run->config->n_sinks, &err)) {
        json_decref(json);
        usage(run, &err);
        return;
    }
    run->plan = plan_parse(json, &err);
    if (!run->plan) {
        finding_say(run, "IOTX081", EXIT_SCENARIO, err.text);
        run_stop(run);
    } else if (plan_override(run->plan, &run->config->overrides, &err) ||
               (run->config->virtual_time.on && virtual_begin(run, &err))) {
        usage(run, &err);
    } else if (plan_check_data(run->plan, &err) || plan_check_timeline(run->plan, run->config->virtual_time.on, &err)) {
        finding_say(run, "IOTX081", EXIT_SCENARIO, err.text);
        run_stop(run);
    } else if (!run->virtual_run && plan_check_secrets(run->plan, run->config->secrets, &err)) {
        usage(run, &err);
    } else {
        prepare(run);
    }
}
