// A struct run without processes: its slots are the shards of all runners, filled from messages. A snapshot is
// cumulative since the start of its process, so the last one of each counts; a shard that was restarted is told by its
// incarnation, and the figures of the lost one are folded, as a supervisor does it.
#include "engine/collect.h"

#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "engine/supervisor.h"
#include "link/openssl.h"

#define PARTS_MAX 10000u // shards of all runners
#define SERIES_MAX 50000

struct part { // a shard of a runner; beside its slot
    unsigned partition, shard, shards;
    uint64_t incarnation, sequence;
    bool final;
    int64_t elapsed_us, measured_us, began_wall_us;
};

struct collect {
    const struct collect_config *config;
    struct run_config run_config;
    struct run_result result;
    struct run run;
    struct part *parts;  // as run.shards
    unsigned partitions; // as the runners say
    unsigned strangers;  // messages of runners of another plan
    unsigned stranger;   // the partition of one
    bool seeds_differ;
    unsigned twice; // a partition that two runners say they are
    uint8_t *bytes; // of a snapshot
    size_t bytes_size;
};

struct collect *collect_new(const struct collect_config *config, struct error *err)
{
    struct collect *c = calloc(1, sizeof(*c));
    struct clock clock;
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory to collect figures");
        return NULL;
    }
    clock_create_real(&clock);
    c->config = config;
    c->run_config = (struct run_config){.extra_thresholds = config->extra_thresholds,
                                        .n_extra_thresholds = config->n_extra_thresholds,
                                        .no_thresholds = config->no_thresholds,
                                        .log = config->log};
    c->run.config = &c->run_config;
    c->run.result = &c->result;
    c->run.log = config->log;
    c->run.warm = true; // runners have left their warmups out
    c->run.loop = loop_new(&clock, err);
    c->run.folded = metrics_new(SERIES_MAX);
    c->run.merged = metrics_new(SERIES_MAX);
    c->run.experiments = experiments_new(&c->run);
    c->run.director = (struct slot){.run = &c->run, .director = true};
    if (c->run.loop && c->run.folded && c->run.merged && c->run.experiments)
        return c;
    if (c->run.loop)
        error_set(err, ERR_NO_MEMORY, "no memory to collect figures");
    collect_delete(c);
    return NULL;
}

void collect_delete(struct collect *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->run.n_shards; i++) {
        buf_destroy(&c->run.shards[i].snapshot);
        free(c->run.shards[i].groups);
    }
    if (c->run.experiments)
        experiments_delete(c->run.experiments);
    free(c->run.shards);
    free(c->parts);
    free(c->bytes);
    free(c->run.groups);
    free(c->run.thresholds);
    stages_delete(c->run.stages);
    plan_delete(c->run.plan);
    metrics_delete(c->run.folded);
    metrics_delete(c->run.merged);
    loop_delete(c->run.loop);
    free(c);
}

// --- the plan -----------------------------------------------------------------------------------------------------

// What was measured in a stage only the runners know: here are their figures of the whole run.
static void drop_stages(const struct collect *c, json_t *plan)
{
    json_t *list = json_object_get(plan, "thresholds");
    if (!json_array_size(json_object_get(plan, "stages")))
        return;
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *metric = json_string_value(json_object_get(json_array_get(list, i), "metric"));
        if (!metric || (!strstr(metric, "{stage:") && !strstr(metric, ",stage:")))
            continue;
        log_write(c->config->log, LOG_WARN, NULL, "the threshold on %s is left to the runners: it is of one stage",
                  metric);
        json_array_remove(list, i);
    }
}

static int take_plan(struct collect *c, const json_t *outline, struct error *err)
{
    json_t *json = json_deep_copy(outline);
    if (!json)
        return error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    drop_stages(c, json);
    if (start_edit_thresholds(&c->run_config, json, err)) {
        json_decref(json);
        return -1;
    }
    c->run.plan = plan_parse(json, err);
    if (!c->run.plan)
        return error_prefix(err, "the plan that runners have sent");
    const char *shown = json_string_value(json_object_get(outline, "target"));
    snprintf(c->result.broker_url, sizeof(c->result.broker_url), "%s", shown ? shown : "");
    return tally_begin(&c->run, err);
}

// Figures of different scenarios have nothing to say together. The parser has added members to our groups.
static bool is_of_plan(const struct collect *c, const json_t *outline)
{
    static const char *const same[] = {"name", "count"};
    const json_t *ours = c->run.plan->json, *our_groups = json_object_get(ours, "groups"),
                 *groups = json_object_get(outline, "groups");
    bool yes = json_equal(json_object_get(outline, "sha256"), json_object_get(ours, "sha256")) &&
               json_array_size(groups) == json_array_size(our_groups);
    for (size_t i = 0; yes && i < json_array_size(groups); i++)
        for (size_t k = 0; k < sizeof(same) / sizeof(same[0]); k++)
            yes &= json_equal(json_object_get(json_array_get(groups, i), same[k]),
                              json_object_get(json_array_get(our_groups, i), same[k]));
    return yes;
}

// --- messages -----------------------------------------------------------------------------------------------------

struct envelope {
    int64_t partition, partitions, shard, shards, incarnation, sequence, time_us, elapsed_us, measured_us;
    bool final;
    const json_t *plan, *status;
};

static int in_range(int64_t v, int64_t min, int64_t max, const char *what, struct error *err)
{
    return v >= min && v <= max ? 0 : error_set(err, ERR_PROTOCOL, "%s is %lld", what, (long long)v);
}

static int read_envelope(const json_t *json, struct envelope *e, struct error *err)
{
    int64_t schema;
    if (json_get_int(json, "schema", 0, &schema, err) || json_get_int(json, "partition", 0, &e->partition, err) ||
        json_get_int(json, "partitions", 0, &e->partitions, err) || json_get_int(json, "shard", -1, &e->shard, err) ||
        json_get_int(json, "shards", 0, &e->shards, err) ||
        json_get_int(json, "incarnation", 0, &e->incarnation, err) ||
        json_get_int(json, "sequence", 0, &e->sequence, err) || json_get_int(json, "timeUs", 0, &e->time_us, err) ||
        json_get_int(json, "elapsedUs", 0, &e->elapsed_us, err) ||
        json_get_int(json, "measuredUs", 0, &e->measured_us, err) ||
        json_get_bool(json, "final", false, &e->final, err))
        return -1;
    e->plan = json_object_get(json, "plan");
    e->status = json_object_get(json, "status");
    if (schema != 1)
        return error_set(err, ERR_PROTOCOL, "figures of schema %lld, expected 1: runners of another version?",
                         (long long)schema);
    if (in_range(e->partitions, 1, PARTS_MAX, "partitions", err) ||
        in_range(e->partition, 1, e->partitions, "partition", err) ||
        in_range(e->shards, 1, PARTS_MAX, "shards", err) || in_range(e->shard, 0, e->shards - 1, "shard", err) ||
        in_range(e->incarnation, 0, INT64_MAX, "incarnation", err) ||
        in_range(e->sequence, 0, INT64_MAX, "sequence", err) ||
        in_range(e->elapsed_us, 0, INT64_MAX / 4, "elapsedUs", err) ||
        in_range(e->measured_us, 0, INT64_MAX / 4, "measuredUs", err))
        return -1;
    return json_is_object(e->plan) && json_is_object(e->status)
               ? 0
               : error_set(err, ERR_PROTOCOL, "figures without a plan or a status");
}

// The snapshot's bytes into c->bytes; looked at, so that the supervisor's code will take them.
static int read_snapshot(struct collect *c, const json_t *json, size_t *n, struct error *err)
{
    const json_t *text = json_object_get(json, "snapshot");
    size_t len = json_string_length(text);
    if (!len || len % 4)
        return error_set(err, ERR_PROTOCOL, "figures without a snapshot");
    if (len > c->bytes_size) {
        uint8_t *bytes = realloc(c->bytes, len);
        if (!bytes)
            return error_set(err, ERR_NO_MEMORY, "no memory for a snapshot");
        c->bytes = bytes;
        c->bytes_size = len;
    }
    const char *base64 = json_string_value(text);
    int got = EVP_DecodeBlock(c->bytes, (const unsigned char *)base64, (int)len);
    if (got < 0)
        return error_set(err, ERR_PROTOCOL, "a snapshot that is no base64");
    *n = (size_t)got - (base64[len - 1] == '=') - (base64[len - 2] == '=');
    struct metrics *trial = metrics_new(SERIES_MAX);
    int rc = trial ? metrics_merge(trial, c->bytes, *n, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    metrics_delete(trial);
    return rc;
}

static unsigned find_part(const struct collect *c, const struct envelope *e)
{
    unsigned i = 0;
    while (i < c->run.n_shards && (c->parts[i].partition != e->partition || c->parts[i].shard != e->shard))
        i++;
    return i;
}

static int add_part(struct collect *c, const struct envelope *e, struct error *err)
{
    unsigned n = c->run.n_shards;
    if (n == PARTS_MAX)
        return error_set(err, ERR_LIMIT, "figures of more than %u shards", PARTS_MAX);
    struct slot *slots = realloc(c->run.shards, (n + 1) * sizeof(*slots));
    if (slots)
        c->run.shards = slots;
    struct part *parts = slots ? realloc(c->parts, (n + 1) * sizeof(*parts)) : NULL;
    if (parts)
        c->parts = parts;
    struct group_numbers *groups = parts ? calloc(c->run.plan->n_groups, sizeof(*groups)) : NULL;
    if (!groups)
        return error_set(err, ERR_NO_MEMORY, "no memory for the figures of %u shards", n + 1);
    slots[n] = (struct slot){.run = &c->run, .number = n, .groups = groups};
    buf_create(&slots[n].snapshot, MESSAGE_MAX);
    parts[n] = (struct part){
        .partition = (unsigned)e->partition, .shard = (unsigned)e->shard, .incarnation = (uint64_t)e->incarnation};
    c->run.n_shards++;
    return 0;
}

static void keep(struct collect *c, unsigned i, const struct envelope *e, size_t n)
{
    struct part *p = &c->parts[i];
    struct slot *slot = &c->run.shards[i];
    if ((uint64_t)e->incarnation > p->incarnation)
        tally_lost(slot); // another process has taken its place
    tally_snapshot(slot, c->bytes, n);
    tally_status(slot, e->status);
    p->shards = (unsigned)e->shards;
    p->incarnation = (uint64_t)e->incarnation;
    p->sequence = (uint64_t)e->sequence;
    p->final = e->final;
    p->elapsed_us = e->elapsed_us;
    p->measured_us = e->measured_us;
    p->began_wall_us = e->time_us - e->elapsed_us;
}

static int take(struct collect *c, const json_t *json, struct error *err)
{
    struct envelope e;
    size_t n = 0;
    if (read_envelope(json, &e, err) || read_snapshot(c, json, &n, err) || (!c->run.plan && take_plan(c, e.plan, err)))
        return -1;
    if (!c->partitions)
        c->partitions = (unsigned)e.partitions;
    if (!is_of_plan(c, e.plan) || c->partitions != (unsigned)e.partitions) {
        c->strangers++;
        c->stranger = (unsigned)e.partition;
        return 0;
    }
    c->seeds_differ |= !json_equal(json_object_get(e.plan, "seed"), json_object_get(c->run.plan->json, "seed"));
    unsigned i = find_part(c, &e);
    if (i == c->run.n_shards && add_part(c, &e, err))
        return -1;
    if ((uint64_t)e.incarnation < c->parts[i].incarnation) {
        c->twice = (unsigned)e.partition; // its successor has spoken: both are alive
        return 0;
    }
    if ((uint64_t)e.incarnation == c->parts[i].incarnation && (uint64_t)e.sequence <= c->parts[i].sequence)
        return 0; // it came twice
    keep(c, i, &e, n);
    return 1;
}

int collect_take(struct collect *c, const void *bytes, size_t n, struct error *err)
{
    json_t *json = json_parse(bytes, n, "figures", err);
    const char *run;
    if (!json)
        return -1;
    int rc = json_is_object(json) ? json_get_str(json, "run", "", &run, err)
                                  : error_set(err, ERR_PROTOCOL, "figures that are no object");
    if (rc == 0 && strcmp(run, c->config->run_id) == 0)
        rc = take(c, json, err);
    json_decref(json);
    return rc;
}

// --- what is there ------------------------------------------------------------------------------------------------

static unsigned expected(const struct collect *c)
{
    return c->config->expect ? c->config->expect : c->partitions;
}

// Its shards: how many have spoken, and how many for the last time.
static unsigned count_shards(const struct collect *c, unsigned partition, unsigned *final)
{
    unsigned n = 0;
    *final = 0;
    for (unsigned i = 0; i < c->run.n_shards; i++) {
        n += c->parts[i].partition == partition;
        *final += c->parts[i].partition == partition && c->parts[i].final;
    }
    return n;
}

static unsigned shards_of(const struct collect *c, unsigned partition)
{
    for (unsigned i = 0; i < c->run.n_shards; i++)
        if (c->parts[i].partition == partition)
            return c->parts[i].shards;
    return 0;
}

void collect_look(const struct collect *c, struct collect_progress *out)
{
    unsigned final;
    *out = (struct collect_progress){.expected = expected(c), .trouble = ""};
    for (unsigned p = 1; p <= c->partitions; p++) {
        unsigned n = count_shards(c, p, &final);
        out->heard += n > 0;
        out->finished += n > 0 && final == shards_of(c, p);
    }
}

bool collect_complete(const struct collect *c)
{
    struct collect_progress p;
    collect_look(c, &p);
    return p.expected && p.finished >= p.expected;
}

// --- the end ------------------------------------------------------------------------------------------------------

// "1 of 3 runners have not sent their final figures: 2 (shards 0 of 2), 3 (never heard)".
static void name_missing(struct collect *c)
{
    char names[200] = "";
    unsigned missing = 0, final, all = expected(c) > c->partitions ? expected(c) : c->partitions;
    for (unsigned p = 1; p <= all; p++) {
        unsigned n = count_shards(c, p, &final);
        size_t used = strlen(names);
        if (n && final == shards_of(c, p))
            continue;
        missing++;
        if (used > sizeof(names) - 60)
            continue;
        if (n)
            snprintf(names + used, sizeof(names) - used, "%s%u (%u of %u shards)", used ? ", " : "", p, final,
                     shards_of(c, p));
        else
            snprintf(names + used, sizeof(names) - used, "%s%u (never heard)", used ? ", " : "", p);
    }
    if (missing && !collect_complete(c))
        run_reason(&c->run, EXIT_SHARD_LOST, "%u of %u runners have not sent their final figures: %s", missing, all,
                   names);
}

static void say_what_is_wrong(struct collect *c)
{
    name_missing(c);
    if (c->config->expect && c->config->expect != c->partitions)
        run_reason(&c->run, EXIT_USAGE, "%u runners are expected, and they say that they are %u", c->config->expect,
                   c->partitions);
    if (c->strangers)
        run_reason(
            &c->run, EXIT_SCENARIO,
            "runner %u runs another scenario, with other counts, or in other parts than the rest: it is left out",
            c->stranger);
    if (c->twice)
        run_reason(&c->run, EXIT_USAGE,
                   "two runners at once say that they are part %u of run %s: give each its own --partition", c->twice,
                   c->config->run_id);
}

int collect_finish(struct collect *c, bool interrupted, struct run_result *out, struct error *err)
{
    struct run *run = &c->run;
    if (!run->n_shards)
        return error_set(err, ERR_TIMEOUT, "no runner of run %s has sent figures", c->config->run_id);
    run->phase = RUN_ENDED;
    run->go_us = 1;
    c->result.started_wall_us = c->parts[0].began_wall_us;
    for (unsigned i = 0; i < run->n_shards; i++) {
        const struct part *p = &c->parts[i];
        run->end_us = p->elapsed_us + 1 > run->end_us ? p->elapsed_us + 1 : run->end_us;
        run->stop_us = p->measured_us + 1 > run->stop_us ? p->measured_us + 1 : run->stop_us;
        if (p->began_wall_us < c->result.started_wall_us)
            c->result.started_wall_us = p->began_wall_us;
    }
    snprintf(c->result.run_id, sizeof(c->result.run_id), "%s", c->config->run_id);
    c->result.seed = run->plan->has_seed ? run->plan->seed : 0;
    if (interrupted) {
        c->result.interrupted = true;
        run_reason(run, EXIT_INTERRUPTED, "stopped by a signal before all runners had sent their final figures");
    }
    if (c->seeds_differ)
        run_warning(&c->result, "the runners had seeds of their own: give them the same --seed");
    say_what_is_wrong(c);
    verdict_end(run);
    *out = c->result; // what it points to is the result's from here on
    run->plan = NULL;
    run->groups = NULL;
    run->thresholds = NULL;
    run->merged = NULL;
    return 0;
}
