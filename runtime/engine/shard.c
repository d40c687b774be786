// A shard: the devices that are its own, in one process with one loop. It does what the supervisor says (ASSIGN →
// READY, GO, STOP → DONE) and reports each second; it decides nothing about the run.
#include "device/device.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/plugin.h"
#include "adapter/virtual/virtual.h"
#include "chaos/chaos.h"
#include "chaos/timeline.h"
#include "core/jsonx.h"
#include "device/impair.h"
#include "engine/apply.h"
#include "engine/capture.h"
#include "engine/child.h"
#include "engine/fault.h"
#include "engine/ledger.h"
#include "engine/load.h"
#include "engine/outline.h"
#include "engine/proxy_source.h"
#include "engine/sinks.h"
#include "link/resolve.h"

#define STATUS_US 250000
#define SNAPSHOT_US 1000000
#define DRAIN_LOOK_US 20000
#define DRAIN_VIRTUAL_US 60000000
#define DRAIN_LATE_US 300000 // after the deadline: connections that do not end are cut
#define BEAT_S 0.25          // a status in virtual time, of real time
#define SINKS_LOOK_S 0.01
#define STANDSTILL_S 10.0     // so long the virtual clock may stand still while devices are busy
#define STATUS_GROUPS_MAX 200 // more groups than this: status each second only

struct culprit {
    unsigned group;
    uint64_t index;
};

struct shard {
    struct child c;
    struct link_env *links;
    struct path_env *paths; // NULL: virtual time
    struct chaos *chaos;
    struct timeline *timeline; // virtual time
    struct resolver *resolver;
    struct proxy_source *proxies;
    struct sinks *sinks;
    struct sink_run about;             // for those of them that figures leave by
    int64_t stopped_us;                // loop time
    struct adapter_registry *adapters; // built in, of plugins and of the scenario
    struct plan *plan;
    struct fleet *fleet;
    const struct device_ops *ops; // of the scenario
    struct culprit *quarantine;
    size_t n_quarantine;
    struct timer tick, drain, warmup;
    int64_t snapshot_us; // when the last one went
    int64_t start_us;    // loop time that is 0 of the run
    int64_t drain_until_us;
    uint64_t undelivered;
    uint64_t lost_before; // by further connections of behaviours, before the stop
    struct load load;
    char run_id[32];
    struct ownership owner;
    uint16_t epoch; // how often this shard was restarted
    struct buf last_status;
    struct faults faults;
    bool going, stopping;
    // virtual time
    struct capture *capture;
    ev_timer beat;
    ev_timer sink_look; // until the sinks are drained
    double sinks_until; // ev_now
    unsigned beats, still_beats;
    int64_t beat_us; // loop time and turns at the last beat
    uint64_t beat_turns;
    bool done;
};

// --- faults

static void name_of(const struct device *device, char *dst, size_t size)
{
    struct buf name;
    buf_create(&name, 1024);
    if (device_name(device, &name))
        buf_clear(&name);
    snprintf(dst, size, "%s", buf_cstr(&name));
    buf_destroy(&name);
}

static json_t *fault_event(const struct shard *s, const struct fault *f, bool fail_run)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:b, s:I}", "kind", f->conn ? "conn" : "device", "reason",
                     json_text_of(f->reason), "device", json_text_of(f->device), "group", json_text_of(f->group),
                     "text", json_text_of(f->text), "count", (json_int_t)(f->count - f->sent), "fail_run", fail_run,
                     "t_us", (json_int_t)(loop_now_us(s->c.loop) - s->start_us));
}

static void report_fault(struct shard *s, struct device *device, bool conn, const char *reason, const char *text,
                         bool fail_run)
{
    bool fresh;
    struct fault *f = faults_add(&s->faults, conn, reason, 1, &fresh);
    if (fresh) {
        snprintf(f->text, sizeof(f->text), "%s", text);
        snprintf(f->group, sizeof(f->group), "%s", device->group->config.name);
        name_of(device, f->device, sizeof(f->device));
    }
    if (!fresh && !fail_run)
        return; // counted; goes with the next tick
    child_send(&s->c, MSG_EVENT, fault_event(s, f, fail_run));
    f->sent = f->count;
}

static void on_device_error(void *arg, struct device *device, const char *text, bool fail_run)
{
    struct shard *s = arg;
    char name[96], reason[64];
    fault_reason("script: ", text, reason, sizeof(reason));
    report_fault(s, device, false, reason, text, fail_run);
    name_of(device, name, sizeof(name));
    log_write(s->c.log, LOG_DEBUG, name, "failed: %s", text); // whoever runs the behaviour has logged its error
}

// The reason as the adapters tag their counters with it: an error code's name, connack-N for a broker's refusal, or the
// reason of a CONNACK or DISCONNECT of MQTT 5.
static void on_conn_error(void *arg, struct device *device, const struct error *why, bool was_online)
{
    struct shard *s = arg;
    const char *code = why->code == ERR_REFUSED ? strstr(why->text, "(return code ") : NULL;
    const char *reason5 = why->code == ERR_REFUSED || why->code == ERR_CLOSED ? strstr(why->text, "(reason 0x") : NULL;
    char reason[64];
    if (why->code == ERR_NONE || why->code == ERR_CANCELLED || s->stopping)
        return;
    if (code && !was_online)
        snprintf(reason, sizeof(reason), "connack-%.*s", (int)strspn(code + 13, "0123456789"), code + 13);
    else if (reason5 && strncmp(reason5, "(reason 0x00)", 13) != 0)
        snprintf(reason, sizeof(reason), "%s0x%.2s", was_online ? "disconnect-" : "connack-", reason5 + 10);
    else
        snprintf(reason, sizeof(reason), "%s%s", was_online ? "disconnect-" : "", error_code_name(why->code));
    report_fault(s, device, true, reason, why->text, false);
}

static void send_faults(struct shard *s)
{
    for (unsigned i = 0; i < s->faults.n; i++) {
        struct fault *f = &s->faults.list[i];
        if (f->count == f->sent)
            continue;
        child_send(&s->c, MSG_EVENT, fault_event(s, f, false));
        f->sent = f->count;
    }
}

// --- quarantine: devices that may not start

static int may_start(void *arg, struct device *device, struct error *err)
{
    struct shard *s = arg;
    for (size_t i = 0; i < s->n_quarantine; i++)
        if (s->quarantine[i].index == device->index && s->quarantine[i].group == device->group->config.number)
            return error_set(err, ERR_CANCELLED, "in quarantine: its code made two shards unresponsive");
    return 0;
}

static int read_quarantine(struct shard *s, const json_t *list, struct error *err)
{
    size_t n = json_array_size(list);
    if (!n)
        return 0;
    s->quarantine = calloc(n, sizeof(*s->quarantine));
    if (!s->quarantine)
        return error_set(err, ERR_NO_MEMORY, "no memory for a quarantine of %zu devices", n);
    for (size_t i = 0; i < n; i++) {
        int64_t group, index;
        const json_t *entry = json_array_get(list, i);
        if (json_get_int(entry, "group", 0, &group, err) || json_get_int(entry, "index", 0, &index, err))
            return -1;
        s->quarantine[i] = (struct culprit){(unsigned)group, (uint64_t)index};
    }
    s->n_quarantine = n;
    return 0;
}

// --- making the fleet

static const struct adapter_ops *find_virtual(const char *scheme_or_name)
{
    (void)scheme_or_name; // whatever a group would speak
    return &virtual_adapter;
}

static int virtual_refuses(const struct group_config *g, struct error *err)
{
    if (g->model && g->model->type == MODEL_PROXY)
        return error_set(err, ERR_UNSUPPORTED,
                         "its model %s is a proxy of a physical device, which is not there in virtual time: leave the "
                         "group out with --only, or run without --virtual",
                         g->model->id);
    if (g->proxies)
        return error_set(err, ERR_UNSUPPORTED,
                         "some of its devices are proxies of physical ones, which are not there in virtual time: leave "
                         "the group out with --only, or run without --virtual");
    return 0;
}

static int reach_physical(struct shard *s, const char *url, struct fleet_config *config, struct error *err)
{
    struct proxy_source_config c = {.loop = s->c.loop,
                                    .metrics = s->c.metrics,
                                    .log = s->c.log,
                                    .url = url ? url : "",
                                    .plan = s->plan,
                                    .links = s->links,
                                    .resolver = s->resolver};
    s->proxies = proxy_source_new(&c, err);
    config->proxy = proxy_source_ops();
    config->proxy_arg = s->proxies;
    config->proxy_url = url;
    return s->proxies ? 0 : -1;
}

static int find_adapters(struct shard *s, struct error *err)
{
    const struct run_config *run = s->c.start->run;
    s->adapters = adapter_registry_new(err);
    if (!s->adapters)
        return -1;
    for (unsigned i = 0; i < run->n_plugins; i++)
        if (plugin_load(run->plugins[i], s->adapters, err))
            return -1;
    const struct adapter_ops *const *own = run->ops->adapters ? run->ops->adapters(s->c.scenario) : NULL;
    for (; own && *own; own++)
        if (adapter_registry_add(s->adapters, *own, "the scenario", err))
            return error_prefix(err, "iotix.adapter \"%s\"", (*own)->name);
    return 0;
}

// Whose network is to be impaired must have one; only here are the models known, and the adapters.
static int check_experiment(const struct shard *s, const struct experiment *e, struct error *err)
{
    for (unsigned i = 0; i < fleet_group_count(s->fleet) && e->n_groups && experiment_on_network(e); i++) {
        const struct group *g = fleet_group(s->fleet, i);
        if (experiment_about(e, g->config.name) && group_check_network(g, err))
            return e->line > 0 ? error_prefix(err, "%s:%d: experiment \"%.100s\"", s->plan->file, e->line, e->name)
                               : error_prefix(err, "%s: experiment \"%.100s\"", s->plan->file, e->name);
    }
    return 0;
}

static int make_timeline(struct shard *s, struct error *err)
{
    chaos_attach(s->chaos, s->fleet);
    for (unsigned i = 0; i < s->plan->n_experiments; i++)
        if (check_experiment(s, &s->plan->experiments[i], err))
            return -1;
    if (s->capture)
        s->timeline = timeline_new(s->chaos, s->fleet, s->plan->experiments, s->plan->n_experiments, s->c.log, err);
    return s->capture && !s->timeline ? -1 : 0;
}

static int make_fleet(struct shard *s, const json_t *assign, struct error *err)
{
    int64_t seed, partition, partitions, shard, shards;
    const char *url;
    if (json_get_int(assign, "seed", 0, &seed, err) || json_get_int(assign, "partition", 0, &partition, err) ||
        json_get_int(assign, "partitions", 1, &partitions, err) || json_get_int(assign, "shard", 0, &shard, err) ||
        json_get_int(assign, "shards", 1, &shards, err) || json_get_str(assign, "broker", NULL, &url, err) ||
        read_quarantine(s, json_object_get(assign, "quarantine"), err))
        return -1;
    if (plan_load_models(s->plan, err) || (!s->capture && plan_take_secrets(s->plan, s->c.start->run->secrets, err)) ||
        find_adapters(s, err))
        return -1;
    s->owner = (struct ownership){(uint32_t)partition, (uint32_t)partitions, (uint32_t)shard, (uint32_t)shards};
    s->epoch = (uint16_t)json_integer_value(json_object_get(assign, "epoch"));
    struct fleet_config config = {
        .env = {.loop = s->c.loop,
                .links = s->links,
                .resolver = s->resolver,
                .metrics = s->c.metrics,
                .log = s->c.log,
                .script = s->c.scenario},
        .adapters = s->adapters,
        .ops = s->ops,
        .ops_arg = s->c.scenario,
        .may_start = s->n_quarantine ? may_start : NULL,
        .seed = (uint64_t)seed,
        .owner = s->owner,
        .on_device_error = on_device_error,
        .on_device_error_arg = s,
        .on_conn_error = on_conn_error,
        .model_env = &s->plan->model_env,
        .paths = s->paths,
        .on_made = chaos_device_made,
        .on_gone = chaos_device_gone,
        .on_made_arg = s->chaos,
        .tap = sinks_tap(s->sinks),
        .resumed = json_is_true(json_object_get(assign, "resumed")),
        .epoch = s->epoch,
    };
    if (s->capture) {
        config.env.capture = capture_hook(s->capture);
        config.find_adapter = find_virtual;
    } else if (reach_physical(s, url, &config, err)) {
        return -1;
    }
    char tags[LOAD_TAGS_MAX];
    if (load_create(&s->load, s->c.metrics, load_tags((unsigned)partition, (unsigned)partitions, (unsigned)shard, tags),
                    err))
        return -1;
    s->fleet = fleet_new(&config, err);
    for (unsigned i = 0; s->fleet && i < s->plan->n_groups; i++) {
        struct plan_group *g = &s->plan->groups[i];
        if (s->capture)
            g->config.url = url;
        if (s->capture && virtual_refuses(&g->config, err))
            return error_prefix(err, "group \"%s\"", g->config.name);
        if (!fleet_add_group(s->fleet, &g->config, err))
            return -1; // it says which group
    }
    return s->fleet && make_timeline(s, err) == 0
               ? s->c.start->run->ops->attach(s->c.scenario, s->fleet, s->plan->json, err)
               : -1;
}

static int make_chaos(struct shard *s, struct error *err)
{
    const struct chaos_config config = {.loop = s->c.loop, .paths = s->paths, .metrics = s->c.metrics};
    s->chaos = chaos_new(&config, err);
    return s->chaos ? 0 : -1;
}

static int make_parts(struct shard *s, struct error *err)
{
    struct metrics *m = s->c.metrics;
    const struct capture_start *capture = s->c.start->capture;
    if (capture) {
        s->capture = capture_new(capture, s->c.loop, err);
        return s->capture ? make_chaos(s, err) : -1;
    }
    s->links = link_env_new(s->c.loop, &(struct link_env_config){.io = s->c.start->run->io}, err);
    s->resolver = s->links ? resolver_new(s->c.loop, err) : NULL;
    s->paths = s->resolver ? path_env_new(s->c.loop, err) : NULL;
    struct metric *dns = s->paths ? metrics_series(m, "dns_latency", METRIC_TREND, UNIT_TIME_US, NULL, err) : NULL;
    if (!dns)
        return -1;
    resolver_measure(s->resolver, dns);
    return make_chaos(s, err);
}

// A server of virtual time that is never there.
static void sink_gave_up(void *arg, const struct error *why)
{
    struct shard *s = arg;
    capture_fail(s->capture, EXIT_OUTPUT, why);
}

static json_t *status_json(struct shard *s);

static json_t *tell_status(void *arg)
{
    return status_json(arg);
}

static void look_at_time(void *arg)
{
    struct shard *s = arg;
    int64_t now = loop_now_us(s->c.loop);
    s->about.elapsed_us = s->going ? now - s->start_us : 0;
    s->about.measured_us = s->going && s->stopped_us ? s->stopped_us - s->start_us : s->about.elapsed_us;
}

static int know_run(struct shard *s, const json_t *assign, struct error *err)
{
    json_t *outline = plan_outline(s->plan, err);
    if (outline && json_object_set(outline, "seed", json_object_get(assign, "seed")))
        return error_set(err, ERR_NO_MEMORY, "no memory for the outline of a plan");
    s->about = (struct sink_run){.partition = (unsigned)json_integer_value(json_object_get(assign, "partition")) + 1,
                                 .partitions = (unsigned)json_integer_value(json_object_get(assign, "partitions")),
                                 .outline = outline,
                                 .status = tell_status,
                                 .look = look_at_time,
                                 .arg = s};
    return outline ? 0 : -1;
}

static int open_sinks(struct shard *s, const json_t *assign, struct error *err)
{
    const struct run_config *run = s->c.start->run;
    const struct sinks_config config = {
        .loop = s->c.loop,
        .metrics = s->c.metrics,
        .log = s->c.log,
        .plan = s->plan,
        .secrets = run->secrets,
        .run_id = message_text(assign, "run"),
        .shard = (unsigned)json_integer_value(json_object_get(assign, "shard")),
        .shards = (unsigned)json_integer_value(json_object_get(assign, "shards")),
        .resumed = json_is_true(json_object_get(assign, "resumed")),
        .virtual_time = s->capture != NULL,
        .run = &s->about,
        .give_up = sink_gave_up,
        .arg = s,
    };
    snprintf(s->run_id, sizeof(s->run_id), "%s", config.run_id);
    if (run->check_only)
        return 0; // nothing is touched
    if (s->plan->n_sinks && know_run(s, assign, err))
        return -1;
    struct sinks_config own = config;
    own.run_id = s->run_id;
    s->sinks = sinks_open(&own, err);
    return s->sinks || !err->code ? 0 : -1;
}

static void assigned(struct shard *s, const json_t *assign)
{
    struct error err = {0};
    json_t *declared = child_load(&s->c, false);
    if (!declared) {
        s->c.status = 1;
        loop_stop(s->c.loop);
        return;
    }
    json_decref(declared); // the supervisor's copy, with its overrides, is the plan
    s->ops = s->c.start->run->ops->device_ops(s->c.scenario);
    s->plan = plan_parse(json_incref(json_object_get(assign, "plan")), &err);
    if (s->plan && make_parts(s, &err) == 0 && open_sinks(s, assign, &err)) {
        child_diagnose(&s->c, "IOTX092", EXIT_OUTPUT, err.text);
        s->c.status = 1;
        loop_stop(s->c.loop);
        return;
    }
    if (!s->plan || !s->chaos || make_fleet(s, assign, &err)) {
        child_diagnose(&s->c, "IOTX091", EXIT_SCENARIO, err.text);
        s->c.status = 1;
        loop_stop(s->c.loop);
        return;
    }
    s->c.start->heartbeat->phase = PHASE_RUN;
    child_send(&s->c, MSG_READY, json_object());
}

// --- reporting

static json_t *group_status(const struct group *g)
{
    json_t *state = json_array(), *conn = json_array();
    for (int i = 0; i < DEVICE_STATE_MAX; i++)
        json_array_append_new(state, json_integer((json_int_t)g->by_state[i]));
    for (int i = 0; i < CONN_STATE_MAX; i++)
        json_array_append_new(conn, json_integer((json_int_t)g->by_conn[i]));
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "state", state, "conn", conn, "owned",
                     (json_int_t)group_population(g), "started", (json_int_t)g->started, "ever_online",
                     (json_int_t)g->ever_online, "failed", (json_int_t)g->failed, "dropped", (json_int_t)g->dropped);
}

static json_t *status_json(struct shard *s)
{
    json_t *groups = json_array();
    bool launching = !s->going;
    for (unsigned i = 0; s->fleet && i < fleet_group_count(s->fleet); i++) {
        const struct group *g = fleet_group(s->fleet, i);
        launching |= group_launching(g);
        json_array_append_new(groups, group_status(g));
    }
    return json_pack("{s:o, s:b, s:I, s:I}", "groups", groups, "launching", launching && !s->stopping,
                     "longest_turn_us", (json_int_t)s->load.longest_turn_us, "elapsed_us",
                     (json_int_t)(s->going ? loop_now_us(s->c.loop) - s->start_us : 0));
}

// `always`: also when nothing has changed since the last one.
static void send_status(struct shard *s, bool always)
{
    json_t *status = status_json(s);
    struct buf text;
    struct error err;
    buf_create(&text, MESSAGE_MAX);
    if (status && json_write(status, &text, &err) == 0) {
        bool same = text.len == s->last_status.len && text.len && memcmp(text.data, s->last_status.data, text.len) == 0;
        if ((always || !same) && channel_send(s->c.channel, MSG_STATUS, text.data, text.len, &err) == 0) {
            buf_destroy(&s->last_status);
            s->last_status = text;
            buf_create(&text, MESSAGE_MAX);
        }
    }
    buf_destroy(&text);
    json_decref(status);
}

static void measure(struct shard *s)
{
    load_measure(&s->load, s->c.loop, s->c.metrics);
    fleet_report(s->fleet);
    chaos_report(s->chaos);
}

static void report(struct shard *s)
{
    measure(s);
    send_faults(s);
    send_status(s, true);
    child_send_snapshot(&s->c);
    s->snapshot_us = loop_now_us(s->c.loop);
}

static void tell_lost_files(const struct shard *s)
{
    for (const char *path; s->plan->datasets && (path = datasets_lost(s->plan->datasets));)
        log_write(s->c.log, LOG_WARN, NULL, "%s became shorter while it was in use: its values are null from now on",
                  path);
}

static void on_tick(struct timer *t, void *loop)
{
    (void)loop;
    struct shard *s = container_of(t, struct shard, tick);
    loop_timer_start(s->c.loop, &s->tick, STATUS_US, on_tick);
    if (loop_now_us(s->c.loop) - s->snapshot_us >= SNAPSHOT_US - STATUS_US / 2) {
        tell_lost_files(s);
        report(s);
        return;
    }
    measure(s);
    if (fleet_group_count(s->fleet) <= STATUS_GROUPS_MAX)
        send_status(s, false);
}

// --- warmup

// What a sink has accepted is delivered, spilled or dropped one day: its ledger has to add up over the whole run.
static bool no_statistic(const char *name)
{
    return strncmp(name, "sink_", 5) == 0;
}

// Figures that have begun anew go first: the supervisor forgets the others when it hears of it.
static void warmed_up(struct shard *s)
{
    measure(s);
    metrics_restart(s->c.metrics, no_statistic);
    child_send_snapshot(&s->c);
    child_send(&s->c, MSG_WARM, json_object());
}

static void on_warm(struct timer *t, void *loop)
{
    (void)loop;
    warmed_up(container_of(t, struct shard, warmup));
}

static void begin_warmup(struct shard *s, int64_t elapsed_us)
{
    if (!s->plan->warmup_us)
        return;
    if (elapsed_us >= s->plan->warmup_us)
        child_send(&s->c, MSG_WARM, json_object()); // in place of a lost shard
    else
        loop_timer_at(s->c.loop, &s->warmup, s->start_us + s->plan->warmup_us, on_warm);
}

// --- virtual time

static void begin_stop(struct shard *s, int64_t deadline_us);

static void on_virtual_end(void *arg)
{
    begin_stop(arg, DRAIN_VIRTUAL_US);
}

// Time does not pass: behaviours that wake each other for ever, each at once. In real time they would burn a core.
static void check_standstill(struct shard *s)
{
    int64_t now = loop_now_us(s->c.loop);
    struct loop_stats stats;
    struct error err;
    loop_stats(s->c.loop, &stats);
    s->still_beats = now == s->beat_us && !s->stopping && stats.turns - s->beat_turns > 1000 ? s->still_beats + 1 : 0;
    s->beat_us = now;
    s->beat_turns = stats.turns;
    if (s->still_beats < (unsigned)(STANDSTILL_S / BEAT_S))
        return;
    error_set(&err, ERR_STATE,
              "virtual time has stood still for %.0f s at %.3f s of the run: tasks of behaviours wake each other again "
              "and again without a sleep",
              STANDSTILL_S, (double)now * 1e-6);
    capture_fail(s->capture, EXIT_LUA_ERROR, &err);
    begin_stop(s, DRAIN_VIRTUAL_US); // the end that was set is never reached
}

static void on_beat(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    struct shard *s = container_of(w, struct shard, beat);
    if (s->done)
        return;
    check_standstill(s);
    if (++s->beats % 4 == 0) {
        report(s);
        return;
    }
    measure(s);
    if (fleet_group_count(s->fleet) <= STATUS_GROUPS_MAX)
        send_status(s, false);
}

static void go_virtual(struct shard *s)
{
    capture_begin(s->capture, on_virtual_end, s);
    loop_hold(s->c.loop, false);
    ev_timer_init(&s->beat, on_beat, BEAT_S, BEAT_S);
    ev_timer_start(loop_ev(s->c.loop), &s->beat);
    report(s);
}

// --- the life of the run

static void go(struct shard *s, const json_t *message)
{
    struct error err;
    int64_t elapsed;
    if (!s->fleet || s->going || json_get_int(message, "elapsed_us", 0, &elapsed, &err))
        return;
    s->going = true;
    s->start_us = loop_now_us(s->c.loop) - elapsed;
    loop_stats_reset(s->c.loop); // instantiating the devices was no turn of the run
    chaos_settle(s->chaos);      // what acts from the beginning came before GO
    const json_t *given = json_object_get(message, "setup");
    if (given && s->c.start->run->ops->given)
        s->c.start->run->ops->given(s->c.scenario, given);
    begin_warmup(s, elapsed);
    fleet_start(s->fleet, s->start_us);
    apply_log(&s->c, s->fleet, s->chaos, json_object_get(message, "changes"));
    if (s->timeline)
        timeline_start(s->timeline);
    if (s->capture)
        go_virtual(s);
    else
        on_tick(&s->tick, s->c.loop);
}

// Of the connections that behaviours opened; *lost: given up so far.
static uint64_t further_pending(const struct shard *s, uint64_t *lost)
{
    const struct scenario_ops *scenario = s->c.start->run->ops;
    *lost = 0;
    return scenario->pending ? scenario->pending(s->c.scenario, lost) : 0;
}

static uint64_t pending(const struct fleet *fleet)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < fleet_group_count(fleet); i++) {
        const struct group *g = fleet_group(fleet, i);
        for (uint64_t k = 0; g->devices && k < g->owned; k++)
            if (g->devices[k] && g->devices[k]->conn)
                n += g->adapter->pending(g->devices[k]->conn);
    }
    return n;
}

static json_t *captured(const struct shard *s)
{
    json_t *report = capture_report(s->capture);
    json_object_set_new(report, "experiments", timeline_affected(s->timeline));
    return report;
}

// What devices have said is where it belongs: the last that a shard does.
static void finish(struct shard *s)
{
    report(s);
    if (!s->capture)
        ledger_tell(&s->c, s->plan, s->fleet, &s->owner, s->epoch);
    s->done = true;
    child_done(&s->c, (int64_t)s->undelivered, s->capture ? captured(s) : NULL, sinks_report(s->sinks));
}

static void on_sink_look(struct ev_loop *ev, ev_timer *w, int events)
{
    struct shard *s = container_of(w, struct shard, sink_look);
    (void)events;
    if (!sinks_drain(s->sinks, ev_now(ev) >= s->sinks_until))
        return;
    ev_timer_stop(ev, w);
    finish(s);
}

// Servers take their time, which is real time, whatever time the devices had.
static void drain_sinks(struct shard *s)
{
    struct ev_loop *ev = loop_ev(s->c.loop);
    if (sinks_drain(s->sinks, ev_now(ev) >= s->sinks_until)) {
        finish(s);
        return;
    }
    if (s->capture)
        loop_hold(s->c.loop, true);
    ev_timer_init(&s->sink_look, on_sink_look, SINKS_LOOK_S, SINKS_LOOK_S);
    ev_timer_start(ev, &s->sink_look);
}

static void on_drain(struct timer *t, void *loop)
{
    (void)loop;
    struct shard *s = container_of(t, struct shard, drain);
    int64_t now = loop_now_us(s->c.loop);
    const struct scenario_ops *scenario = s->c.start->run->ops;
    bool idle = fleet_idle(s->fleet) && (!scenario->idle || scenario->idle(s->c.scenario));
    uint64_t lost, further = further_pending(s, &lost);
    if (!idle && now < s->drain_until_us)
        s->undelivered = pending(s->fleet) + further; // at the deadline the fleet lets go of what is left
    if (!idle && now < s->drain_until_us + DRAIN_LATE_US) {
        loop_timer_start(s->c.loop, &s->drain, DRAIN_LOOK_US, on_drain);
        return;
    }
    if (idle && now < s->drain_until_us)
        s->undelivered = 0;
    s->undelivered += lost - s->lost_before;
    drain_sinks(s);
}

static void begin_stop(struct shard *s, int64_t deadline_us)
{
    if (s->stopping)
        return;
    s->stopping = true;
    loop_timer_stop(s->c.loop, &s->warmup);
    s->stopped_us = loop_now_us(s->c.loop);
    s->c.start->heartbeat->phase = PHASE_DRAIN;
    if (!s->fleet || !s->going) {
        s->done = true;
        child_done(&s->c, 0, NULL, NULL);
        return;
    }
    timeline_stop(s->timeline);
    chaos_end(s->chaos); // what is still to be said goes out by a whole network
    if (s->capture)
        capture_end(s->capture);
    s->drain_until_us = loop_now_us(s->c.loop) + deadline_us;
    s->sinks_until = ev_now(loop_ev(s->c.loop)) + (double)s->plan->stop_timeout_us / 1e6;
    sinks_release(s->sinks);
    (void)further_pending(s, &s->lost_before);
    fleet_stop(s->fleet, s->drain_until_us);
    s->c.start->run->ops->stop(s->c.scenario);
    loop_timer_start(s->c.loop, &s->drain, 0, on_drain);
}

static void stop(struct shard *s, const json_t *message)
{
    struct error err;
    int64_t deadline;
    if (s->stopping || json_get_int(message, "deadline_us", 0, &deadline, &err))
        return;
    begin_stop(s, deadline);
}

static void on_message(struct child *c, enum message_type type, const json_t *message)
{
    struct shard *s = container_of(c, struct shard, c);
    if (type == MSG_ASSIGN && !s->plan)
        assigned(s, message);
    else if (type == MSG_GO)
        go(s, message);
    else if (type == MSG_STOP)
        stop(s, message);
    else if (type == MSG_CHANGE)
        apply_change(c, s->fleet, s->chaos, message);
    else if (type == MSG_OPEN && s->going && c->start->run->ops->opened)
        c->start->run->ops->opened(c->scenario, message);
}

int shard_main(void *child_start, int channel)
{
    struct error err = {0};
    struct shard *s = calloc(1, sizeof(*s));
    if (!s)
        return 70;
    s->c.on_message = on_message;
    buf_create(&s->last_status, MESSAGE_MAX);
    if (child_create(&s->c, child_start, channel, &err) || loop_run(s->c.loop, &err)) {
        log_write(s->c.log, LOG_ERROR, NULL, "%s", err.text);
        s->c.status = 1;
    }
    int status = s->c.status;
    loop_timer_stop(s->c.loop, &s->tick);
    loop_timer_stop(s->c.loop, &s->drain);
    if (ev_is_active(&s->beat))
        ev_timer_stop(loop_ev(s->c.loop), &s->beat);
    if (s->c.loop && ev_is_active(&s->sink_look))
        ev_timer_stop(loop_ev(s->c.loop), &s->sink_look);
    if (s->c.scenario && s->c.start->run->ops->detach)
        s->c.start->run->ops->detach(s->c.scenario);
    timeline_delete(s->timeline);
    chaos_delete(s->chaos);
    fleet_delete(s->fleet);
    sinks_delete(s->sinks);
    json_decref((json_t *)(uintptr_t)s->about.outline);
    adapter_registry_delete(s->adapters);
    proxy_source_delete(s->proxies);
    plan_delete(s->plan);
    resolver_delete(s->resolver);
    path_env_delete(s->paths);
    link_env_delete(s->links);
    capture_delete(s->capture);
    buf_destroy(&s->last_status);
    free(s->quarantine);
    child_destroy(&s->c);
    free(s);
    return status;
}
