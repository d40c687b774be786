// A shard: the devices that are its own, in one process with one loop. It does what the supervisor says (ASSIGN →
// READY, GO, STOP → DONE) and reports each second; it decides nothing about the run.
#include "device/device.h"

#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "engine/child.h"
#include "engine/fault.h"
#include "link/resolve.h"

#define STATUS_US 250000
#define SNAPSHOT_US 1000000
#define DRAIN_LOOK_US 20000
#define DRAIN_LATE_US 300000  // after the deadline: connections that do not end are cut
#define STATUS_GROUPS_MAX 200 // more groups than this: status each second only

struct culprit {
    unsigned group;
    uint64_t index;
};

struct shard {
    struct child c;
    struct link_env *links;
    struct resolver *resolver;
    struct plan *plan;
    struct fleet *fleet;
    const struct device_ops *ops; // of the scenario
    struct culprit *quarantine;
    size_t n_quarantine;
    struct timer tick, drain;
    int64_t snapshot_us; // when the last one went
    int64_t start_us;    // loop time that is 0 of the run
    int64_t drain_until_us;
    uint64_t undelivered;
    int64_t longest_turn_us;
    struct metric *loop_turn;
    struct buf last_status;
    struct faults faults;
    bool going, stopping;
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

// The reason as the adapters tag their counters with it: an error code's name, or connack-N for a broker's refusal.
static void on_conn_error(void *arg, struct device *device, const struct error *why, bool was_online)
{
    struct shard *s = arg;
    const char *code = why->code == ERR_REFUSED ? strstr(why->text, "(return code ") : NULL;
    char reason[64];
    if (why->code == ERR_NONE || why->code == ERR_CANCELLED || s->stopping)
        return;
    if (code && !was_online)
        snprintf(reason, sizeof(reason), "connack-%.*s", (int)strspn(code + 13, "0123456789"), code + 13);
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

// --- quarantine: the scenario's device_ops with a guard in front of start

static int quarantine_start(void *arg, struct device *device, struct error *err)
{
    struct shard *s = arg;
    for (size_t i = 0; i < s->n_quarantine; i++)
        if (s->quarantine[i].index == device->index && s->quarantine[i].group == device->group->config.number)
            return error_set(err, ERR_CANCELLED, "in quarantine: its code made two shards unresponsive");
    return s->ops->start(s->c.scenario, device, err);
}

static void quarantine_stop(void *arg, struct device *device)
{
    struct shard *s = arg;
    s->ops->stop(s->c.scenario, device);
}

static void quarantine_online(void *arg, struct device *device, bool session_present)
{
    struct shard *s = arg;
    s->ops->online(s->c.scenario, device, session_present);
}

static void quarantine_offline(void *arg, struct device *device, const struct error *why, bool will_retry)
{
    struct shard *s = arg;
    s->ops->offline(s->c.scenario, device, why, will_retry);
}

static void quarantine_message(void *arg, struct device *device, const struct adapter_message *message)
{
    struct shard *s = arg;
    s->ops->message(s->c.scenario, device, message);
}

static void quarantine_done(void *arg, struct device *device, uint32_t token, int granted_qos, const struct error *err)
{
    struct shard *s = arg;
    s->ops->done(s->c.scenario, device, token, granted_qos, err);
}

static const struct device_ops quarantine_ops = {
    .start = quarantine_start,
    .stop = quarantine_stop,
    .online = quarantine_online,
    .offline = quarantine_offline,
    .message = quarantine_message,
    .done = quarantine_done,
};

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

static int make_fleet(struct shard *s, const json_t *assign, struct error *err)
{
    int64_t seed, partition, partitions, shard, shards;
    const char *url;
    if (json_get_int(assign, "seed", 0, &seed, err) || json_get_int(assign, "partition", 0, &partition, err) ||
        json_get_int(assign, "partitions", 1, &partitions, err) || json_get_int(assign, "shard", 0, &shard, err) ||
        json_get_int(assign, "shards", 1, &shards, err) || json_get_str(assign, "broker", NULL, &url, err) ||
        read_quarantine(s, json_object_get(assign, "quarantine"), err))
        return -1;
    s->plan = plan_parse(json_incref(json_object_get(assign, "plan")), err);
    if (!s->plan || plan_load_models(s->plan, err))
        return -1;
    struct fleet_config config = {
        .env =
            {.loop = s->c.loop, .links = s->links, .resolver = s->resolver, .metrics = s->c.metrics, .log = s->c.log},
        .ops = s->n_quarantine ? &quarantine_ops : s->ops,
        .ops_arg = s->n_quarantine ? (void *)s : (void *)s->c.scenario,
        .seed = (uint64_t)seed,
        .owner = {(uint32_t)partition, (uint32_t)partitions, (uint32_t)shard, (uint32_t)shards},
        .on_device_error = on_device_error,
        .on_device_error_arg = s,
        .on_conn_error = on_conn_error,
    };
    s->fleet = fleet_new(&config, err);
    for (unsigned i = 0; s->fleet && i < s->plan->n_groups; i++) {
        struct plan_group *g = &s->plan->groups[i];
        if (!g->own_url)
            g->config.url = url;
        if (!fleet_add_group(s->fleet, &g->config, err))
            return error_prefix(err, "group \"%s\"", g->config.name);
    }
    return s->fleet ? s->c.start->run->ops->attach(s->c.scenario, s->fleet, s->plan->json, err) : -1;
}

static int make_parts(struct shard *s, struct error *err)
{
    struct metrics *m = s->c.metrics;
    s->links = link_env_new(s->c.loop, &(struct link_env_config){0}, err);
    s->resolver = s->links ? resolver_new(s->c.loop, err) : NULL;
    s->loop_turn = s->resolver ? metrics_series(m, "loop_turn", METRIC_TREND, UNIT_TIME_US, NULL, err) : NULL;
    return s->loop_turn ? 0 : -1;
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
    if (make_parts(s, &err) || make_fleet(s, assign, &err)) {
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
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "state", state, "conn", conn, "owned", (json_int_t)g->owned,
                     "started", (json_int_t)g->started, "ever_online", (json_int_t)g->ever_online, "failed",
                     (json_int_t)g->failed);
}

// `always`: also when nothing has changed since the last one.
static void send_status(struct shard *s, bool always)
{
    json_t *groups = json_array();
    bool launching = !s->going;
    for (unsigned i = 0; i < fleet_group_count(s->fleet); i++) {
        const struct group *g = fleet_group(s->fleet, i);
        launching |= g->launch_next < g->owned;
        json_array_append_new(groups, group_status(g));
    }
    json_t *status = json_pack("{s:o, s:b, s:I}", "groups", groups, "launching", launching && !s->stopping,
                               "longest_turn_us", (json_int_t)s->longest_turn_us);
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
    struct loop_stats stats;
    loop_stats(s->c.loop, &stats);
    loop_stats_reset(s->c.loop);
    trend_add(s->loop_turn, stats.longest_turn_us);
    if (stats.longest_turn_us > s->longest_turn_us)
        s->longest_turn_us = stats.longest_turn_us;
    fleet_report(s->fleet);
}

static void report(struct shard *s)
{
    measure(s);
    send_faults(s);
    send_status(s, true);
    child_send_snapshot(&s->c);
    s->snapshot_us = loop_now_us(s->c.loop);
}

static void on_tick(struct timer *t, void *loop)
{
    (void)loop;
    struct shard *s = container_of(t, struct shard, tick);
    loop_timer_start(s->c.loop, &s->tick, STATUS_US, on_tick);
    if (loop_now_us(s->c.loop) - s->snapshot_us >= SNAPSHOT_US - STATUS_US / 2) {
        report(s);
        return;
    }
    measure(s);
    if (fleet_group_count(s->fleet) <= STATUS_GROUPS_MAX)
        send_status(s, false);
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
    fleet_start(s->fleet, s->start_us);
    on_tick(&s->tick, s->c.loop);
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

static void on_drain(struct timer *t, void *loop)
{
    (void)loop;
    struct shard *s = container_of(t, struct shard, drain);
    int64_t now = loop_now_us(s->c.loop);
    bool idle = fleet_idle(s->fleet);
    if (!idle && now < s->drain_until_us)
        s->undelivered = pending(s->fleet); // at the deadline the fleet lets go of what is left
    if (!idle && now < s->drain_until_us + DRAIN_LATE_US) {
        loop_timer_start(s->c.loop, &s->drain, DRAIN_LOOK_US, on_drain);
        return;
    }
    report(s);
    child_done(&s->c, idle && now < s->drain_until_us ? 0 : (int64_t)s->undelivered);
}

static void stop(struct shard *s, const json_t *message)
{
    struct error err;
    int64_t deadline;
    if (s->stopping || json_get_int(message, "deadline_us", 0, &deadline, &err))
        return;
    s->stopping = true;
    s->c.start->heartbeat->phase = PHASE_DRAIN;
    if (!s->fleet || !s->going) {
        child_done(&s->c, 0);
        return;
    }
    s->drain_until_us = loop_now_us(s->c.loop) + deadline;
    fleet_stop(s->fleet, s->drain_until_us);
    s->c.start->run->ops->stop(s->c.scenario);
    loop_timer_start(s->c.loop, &s->drain, 0, on_drain);
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
    fleet_delete(s->fleet);
    plan_delete(s->plan);
    resolver_delete(s->resolver);
    link_env_delete(s->links);
    buf_destroy(&s->last_status);
    free(s->quarantine);
    child_destroy(&s->c);
    free(s);
    return status;
}
