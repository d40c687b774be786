// The supervisor: phases of a run.
//
//   loading   the director loads the scenario and says what it declares
//   starting  overrides, preflight, the embedded broker, N shards make their devices
//   setup     the scenario's setup function, if it has one
//   ramp      GO: devices are launched and connect
//   hold      all are launched, none is connecting for the first time
//   stopping  STOP: devices drain, then whoever is left is killed; then the broker ends
//   teardown  the scenario's teardown function, when all shards are gone
//   ended
//
// Everything here is a reaction to a message, a timer or a signal; nothing blocks. Before GO there is nothing to drain:
// stopping then means killing. A run of duration D is over at most stop_timeout + 2 s later: STOP at D, children are
// killed after stop_timeout + 1 s, the broker half a second after its TERM.
#include "engine/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/acts.h"
#include "engine/barriers.h"
#include "engine/digest.h"
#include "engine/ledger.h"
#include "engine/plugin_check.h"
#include "engine/sink_result.h"
#include "engine/supervisor.h"
#include "engine/virtual.h"

#define TARGETS_END_US 500000
#define REAP_US 400000 // after the kill: a process that cannot even be killed is not waited for

const char *run_phase_name(enum run_phase p)
{
    static const char *const names[] = {"loading", "starting", "setup",    "ramp",
                                        "hold",    "stopping", "teardown", "ended"};
    return (unsigned)p <= RUN_ENDED ? names[p] : "?";
}

int64_t run_elapsed(const struct run *run)
{
    if (!run->go_us)
        return 0;
    if (run->virtual_run)
        return virtual_elapsed(run);
    int64_t us = (run->end_us && run->phase == RUN_ENDED ? run->end_us : loop_now_us(run->loop)) - run->go_us;
    return us > 0 ? us : 0; // go_us was fresh: the time of its turn lies before it
}

struct loop *run_loop(struct run *run)
{
    return run->loop;
}

void run_enter(struct run *run, enum run_phase phase)
{
    run->phase = phase;
    run->phase_us = loop_now_us(run->loop);
    log_write(run->log, LOG_DEBUG, NULL, "phase %s", run_phase_name(phase));
    tally_view(run);
}

// --- ending

static void end_now(struct run *run)
{
    if (run->over)
        return;
    run->over = true;
    run->end_us = loop_now_us(run->loop);
    loop_stop(run->loop);
}

static void each_slot(struct run *run, void (*fn)(struct run *run, struct slot *slot))
{
    struct slot *slot;
    for (unsigned i = 0; (slot = run_slot(run, i)); i++)
        if (slot->state != SLOT_NONE)
            fn(run, slot);
}

static void stop_slot(struct run *run, struct slot *slot)
{
    if (slot->state < SLOT_DONE && !slot->ledger && !(slot->director && acts_keep_director(run)))
        slot_send(slot, MSG_STOP, json_pack("{s:I}", "deadline_us", (json_int_t)run->plan->stop_timeout_us));
}

static void kill_slot(struct run *run, struct slot *slot)
{
    if ((slot->director && acts_busy(run)) || (slot->ledger && ledger_kept(run)))
        return;
    slot_kill(slot, "did not drain within %.3g s and was killed",
              (double)(run->plan ? run->plan->stop_timeout_us + run->limits.grace_us : 0) * 1e-6);
}

void run_stop(struct run *run)
{
    if (run->phase >= RUN_STOPPING)
        return;
    int64_t now = loop_now_us(run->loop);
    run->stop_us = now;
    run->kill_us = run->go_us ? now + run->plan->stop_timeout_us + run->limits.grace_us : now;
    if (run->go_us && run->plan->has_test && !run->test_done && run->director.state != SLOT_NONE &&
        !run->result->interrupted && !run->result->n_reasons)
        finding_unfinished(run);
    run_enter(run, RUN_STOPPING);
    acts_stop(run);
    experiments_stop(run);
    changes_stop(run);
    each_slot(run, run->go_us ? stop_slot : kill_slot);
}

void run_interrupt(struct run *run)
{
    if (run->phase >= RUN_STOPPING) {
        if (!run->over && !run->result->interrupted)
            run_reason(run, EXIT_INTERRUPTED, "stopped by a signal while stopping");
        run->result->interrupted = true;
        return;
    }
    run->result->interrupted = true;
    run_reason(run, EXIT_INTERRUPTED, "stopped by a signal in phase %s", run_phase_name(run->phase));
    if (run->go_us)
        log_write(run->log, LOG_WARN, NULL,
                  "stopping: %llu devices disconnecting, up to %.3g s. Ctrl-C again to quit now.",
                  (unsigned long long)run->view.totals.online, (double)run->plan->stop_timeout_us * 1e-6);
    run_stop(run);
}

void run_fail_machine(struct run *run, const struct error *err)
{
    if (!run->failed_early)
        run->machine = *err;
    run->failed_early = true;
    run_stop(run);
}

static void watch(struct timer *t, void *loop);

static void watch_end(struct run *run)
{
    int64_t now = loop_now_us(run->loop);
    struct slot *slot;
    bool alive = false;
    if (now >= run->kill_us)
        each_slot(run, kill_slot);
    for (unsigned i = 0; (slot = run_slot(run, i)); i++)
        alive |= slot->state != SLOT_NONE;
    ledger_look(run);
    if (acts_teardown(run) || ledger_kept(run) || (alive && now < run->kill_us + REAP_US))
        return;
    if (virtual_finish(run)) {
        loop_timer_start(run->loop, &run->watch, 0, watch);
        return;
    }
    if (run->targets && run->end_us == 0) {
        targets_terminate(run->targets);
        run->end_us = now + TARGETS_END_US; // until end_now says when it was
    }
    if (!run->targets || targets_gone(run->targets) || now >= run->end_us)
        end_now(run);
}

// --- running

static void tell_go(struct run *run, struct slot *slot)
{
    if (slot->state != SLOT_READY)
        return;
    slot->state = SLOT_GOING;
    slot_send(slot, MSG_GO,
              json_pack("{s:I, s:o, s:o*}", "elapsed_us", (json_int_t)run_elapsed(run), "changes",
                        run->phase < RUN_RAMP ? json_array() : changes_log(run), // it was told what there is
                        "setup", acts_data(run)));
}

void run_go(struct run *run)
{
    run->go_us = loop_fresh_us(run->loop);
    run->result->started_wall_us = loop_wall_us(run->loop);
    run->warm = !run->plan->warmup_us;
    experiments_before_go(run);
    each_slot(run, tell_go);
    run_enter(run, RUN_RAMP);
    experiments_go(run);
}

static void all_ready(struct run *run)
{
    for (unsigned i = 0; i < run->n_shards; i++)
        if (run->shards[i].state != SLOT_READY)
            return;
    if ((run->plan->directs && run->director.state != SLOT_READY) || ledger_awaited(run))
        return;
    if (run->plan->has_setup)
        acts_setup(run);
    else
        run_go(run);
}

static void slot_ready(struct run *run, struct slot *slot)
{
    slot->state = SLOT_READY;
    if (run->config->check_only)
        run_stop(run);
    else if (run->go_us && run->phase < RUN_STOPPING)
        tell_go(run, slot);
    else if (run->phase == RUN_STARTING && run->n_shards)
        all_ready(run);
}

// Statistics begin when the last shard has begun anew: one that is started again in a lost one's place says it too.
static void look_at_warmth(struct run *run)
{
    bool warm = !run->warm && run->phase < RUN_STOPPING;
    for (unsigned i = 0; i < run->n_shards; i++)
        warm &= run->shards[i].warm;
    if (warm)
        tally_restart(run);
}

static void on_test_done(struct run *run, const json_t *m)
{
    int code = (int)json_integer_value(json_object_get(m, "code"));
    const char *text = message_text(m, "error");
    run->test_done = true;
    if (code)
        run_reason(run, code, "%s%.*s", code == EXIT_LUA_ERROR ? "error in the test: " : "", (int)strcspn(text, "\n"),
                   *text                  ? text
                   : code == EXIT_ABORTED ? "the test aborted the run"
                                          : "the test failed");
    if (code == EXIT_LUA_ERROR)
        log_write(run->log, LOG_ERROR, "test", "%s", text);
    // A test that broke or gave up ends the run; one that found something lets it go on to its duration.
    if (code == EXIT_LUA_ERROR || code == EXIT_ABORTED || !run->plan->duration_us)
        run_stop(run);
}

void run_message(struct run *run, struct slot *slot, enum message_type type, const json_t *m)
{
    enum log_level level = LOG_INFO;
    if (type == MSG_PLAN || type == MSG_READY) {
        slot->pong_us = loop_now_us(run->loop); // from here on it answers
        slot->pong_cpu_us = process_cpu_us(&slot->process);
        slot->pong_turn = slot->heartbeat->turn;
    }
    if (type == MSG_LOG) {
        const json_t *line = json_object_get(m, "line");
        if (json_is_string(line) && log_level_parse(message_text(m, "level"), &level) == 0)
            log_raw(run->log, level, json_string_value(line), json_string_length(line));
    } else if (type == MSG_DIAGNOSTIC) {
        finding_diagnostic(run, slot, m);
    } else if (type == MSG_PLAN && slot->director && slot->state == SLOT_STARTING && run->phase == RUN_LOADING) {
        start_plan(run, m);
    } else if (type == MSG_READY && slot->state < SLOT_READY) {
        slot_ready(run, slot);
    } else if (type == MSG_LEDGER && slot->ledger) {
        ledger_told(run, m);
    } else if (type == MSG_STATUS && slot_is_shard(slot)) {
        tally_status(slot, m);
    } else if (type == MSG_EVENT && slot_is_shard(slot)) {
        tally_event(run, slot, m);
    } else if (type == MSG_CHECK && slot->director && run->plan) {
        finding_check(run, m);
    } else if (type == MSG_TEST_DONE && slot->director && run->plan && !run->test_done) {
        on_test_done(run, m);
    } else if (type == MSG_ACT_DONE && slot->director && run->plan) {
        acts_done(run, m);
    } else if (type == MSG_BARRIER && slot_is_shard(slot)) {
        barriers_told(run, slot, m);
    } else if (type == MSG_WARM && slot_is_shard(slot)) {
        slot->warm = true;
        look_at_warmth(run);
    } else if (type == MSG_REQUEST && slot->director && run->plan) {
        changes_requested(run, m);
    } else if (type == MSG_RELOADED && slot->director) {
        changes_reloaded(run, m);
    } else if (type == MSG_CHANGED && slot_is_shard(slot)) {
        changes_answered(run, slot, m);
    } else if (type == MSG_CUSTOM_DONE && slot->director) {
        experiments_custom_done(run, m);
    } else if (type == MSG_DONE) {
        slot->state = SLOT_DONE;
        experiments_done(run, json_object_get(json_object_get(m, "captured"), "experiments"));
        sink_result_shard(run, json_object_get(m, "sinks"));
        if (run->virtual_run && run->go_us && slot_is_shard(slot))
            virtual_done(run, slot, json_object_get(m, "captured"));
        json_int_t left = json_integer_value(json_object_get(m, "undelivered"));
        if (left > 0)
            log_write(run->log, LOG_WARN, NULL, "shard %u: %lld messages were not delivered before the end",
                      slot->number, (long long)left);
    }
}

// --- a lost child

static void director_lost(struct run *run, struct slot *slot, const char *name)
{
    if (run->go_us)
        log_write(run->log, LOG_ERROR, NULL, "%s %s", name, slot->why);
    experiments_director_lost(run);
    if (acts_lost(run, name, slot->why))
        return;
    if (run->plan && (run->test_done || !run->plan->has_test))
        return;
    if (run->phase >= RUN_STOPPING && (!run->plan || slot->killed))
        return;
    if (!run->plan) {
        if (!run->result->n_diagnostics) {
            char text[600];
            snprintf(text, sizeof(text), "%s %s", name, slot->why);
            finding_say(run, "IOTX082", EXIT_LUA_ERROR, text);
        }
    } else if (run->plan->has_test && !run->test_done) {
        run_reason(run, EXIT_LUA_ERROR, "%s %.200s", name, slot->why);
    }
    run_stop(run);
}

static bool may_restart(struct run *run, struct slot *slot)
{
    int64_t now = loop_now_us(run->loop), *oldest = &slot->restarts[slot->n_restarts % RESTARTS_MAX];
    if (slot->n_restarts >= RESTARTS_MAX && now - *oldest < RESTART_WINDOW_US)
        return false;
    *oldest = now;
    slot->n_restarts++;
    return true;
}

static void shard_lost(struct run *run, struct slot *slot, const char *name)
{
    struct error err;
    bool had_said = run->result->n_diagnostics > 0 && !run->go_us;
    if (had_said || (!run->go_us && run->phase >= RUN_STOPPING)) { // it said why, or was killed with the rest
        run_stop(run);
        return;
    }
    run->result->shards_lost++;
    log_write(run->log, LOG_ERROR, NULL, "%s %s", name, slot->why);
    if (!run->go_us || run->phase >= RUN_STOPPING || !run->plan->restart_lost_shard ||
        run->virtual_run) { // its file could not be taken up again
        run_reason(run, EXIT_SHARD_LOST, "%s %.200s", name, slot->why);
        run_stop(run);
    } else if (!may_restart(run, slot)) {
        run_reason(run, EXIT_SHARD_LOST, "%s was lost more than %d times within a minute; at last it %.150s", name,
                   RESTARTS_MAX, slot->why);
        run_stop(run);
    } else if (slot_start(slot, &err)) {
        run_reason(run, EXIT_SHARD_LOST, "%s was lost and could not be restarted: %.150s", name, err.text);
        run_stop(run);
    } else {
        run->result->shards_restarted++;
        slot_send(slot, MSG_ASSIGN, start_assignment(run, slot->number));
        log_write(run->log, LOG_WARN, NULL, "%s is restarted with its devices", name);
    }
}

void run_slot_lost(struct run *run, struct slot *slot)
{
    char name[32];
    slot_name(slot, name, sizeof(name));
    changes_lost(run, slot);
    barriers_lost(run, slot);
    slot->warm = false;
    tally_lost(slot);
    slot->state = SLOT_NONE;
    if (slot->ledger)
        ledger_lost(run, slot, name);
    else if (slot->director)
        director_lost(run, slot, name);
    else
        shard_lost(run, slot, name);
}

// --- timers

static void look_at_slots(struct run *run)
{
    struct slot *slot;
    for (unsigned i = 0; (slot = run_slot(run, i)); i++) {
        if (slot->state == SLOT_NONE)
            continue;
        watch_slot(slot);
        slot_reap(slot);
    }
}

static void look_at_targets(struct run *run)
{
    struct error err;
    if (run->targets_pending && run->phase == RUN_STARTING) {
        int rc = targets_ready(run->targets, &err);
        run->targets_pending = rc == 0;
        if (rc > 0)
            start_targets_up(run);
        else if (rc < 0)
            run_fail_machine(run, &err);
    } else if (run->targets && !run->targets_pending && !run->targets_lost && run->phase < RUN_STOPPING &&
               targets_check(run->targets, &err)) {
        run->targets_lost = true;
        log_write(run->log, LOG_ERROR, NULL, "%s", err.text);
        run_reason(run, EXIT_UNREACHABLE, "%.250s", err.text);
    }
}

static void watch(struct timer *t, void *loop)
{
    (void)loop;
    struct run *run = container_of(t, struct run, watch);
    loop_timer_start(run->loop, t, run->targets_pending ? WATCH_US / 5 : WATCH_US, watch);
    look_at_slots(run);
    look_at_targets(run);
    experiments_look(run);
    acts_look(run);
    if (run->phase >= RUN_STOPPING)
        watch_end(run);
    else if (run->go_us && run->plan->duration_us && !run->virtual_run && run_elapsed(run) >= run->plan->duration_us)
        run_stop(run);
}

static void watch_ramp(struct run *run)
{
    for (unsigned i = 0; i < run->n_shards; i++) {
        const struct slot *s = &run->shards[i];
        if (!s->has_status || s->launching)
            return;
        for (unsigned g = 0; g < run->plan->n_groups; g++)
            if (s->groups[g].conn[CONN_CONNECTING])
                return;
    }
    run_enter(run, RUN_HOLD);
}

static void status_due(struct timer *t, void *loop)
{
    (void)loop;
    struct run *run = container_of(t, struct run, status);
    loop_timer_start(run->loop, t, STATUS_US, status_due);
    tally_view(run);
    if (run->phase == RUN_RAMP)
        watch_ramp(run);
    if (run->go_us && run->plan->directs && run->director.state == SLOT_GOING)
        slot_send(&run->director, MSG_STATUS_DOWN, tally_down(run));
}

static void second_passed(struct timer *t, void *loop)
{
    (void)loop;
    struct run *run = container_of(t, struct run, second);
    struct slot *slot;
    loop_timer_start(run->loop, t, SECOND_US, second_passed);
    run->seconds++;
    run->hold_seconds += run->phase == RUN_HOLD;
    for (unsigned i = 0; (slot = run_slot(run, i)); i++)
        watch_ping(slot);
    tally_second(run);
    if (run->go_us && run->phase < RUN_STOPPING)
        verdict_thresholds(run, false);
}

// --- the whole

int run_id_check(const char *id, struct error *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(id);
    if (n && n < sizeof(((struct run_result *)0)->run_id) && strspn(id, first) == n && !strchr("._-", id[0]))
        return 0;
    return error_set(
        err, ERR_INVALID,
        "\"%.60s\" cannot name a run: expected 1 to 31 letters, digits, . _ and -, a letter or digit first", id);
}

// Sortable by time: 48 bits of milliseconds and 30 random ones, in Crockford's base 32 (as a ULID begins).
static void make_id(struct run *run)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t ms = (uint64_t)loop_wall_us(run->loop) / 1000, noise = 0;
    if (getrandom(&noise, sizeof(noise), 0) < 0)
        noise = (uint64_t)loop_fresh_us(run->loop);
    for (int i = 9; i >= 0; i--, ms >>= 5)
        run->result->run_id[i] = digits[ms & 31];
    for (int i = 15; i >= 10; i--, noise >>= 5)
        run->result->run_id[i] = digits[noise & 31];
}

static int64_t either(int64_t value, int64_t dflt)
{
    return value > 0 ? value : dflt;
}

static int create(struct run *run, const struct run_config *config, struct run_result *out, struct error *err)
{
    static const struct run_limits defaults;
    const struct run_limits *l = config->limits ? config->limits : &defaults;
    struct clock clock;
    clock_create_real(&clock);
    run->config = config;
    run->result = out;
    run->log = config->log;
    run->limits =
        (struct run_limits){either(l->slice_cpu_us, 250000), either(l->load_cpu_us, 10000000),
                            either(l->ready_us, 60000000), either(l->ping_us, 10000000), either(l->grace_us, 1000000)};
    run->loop = loop_new(&clock, err);
    run->folded = metrics_new(50000);
    run->merged = metrics_new(50000);
    if (!run->loop)
        return -1;
    run->signals = signals_new(run);
    run->changes = changes_new(run);
    run->experiments = experiments_new(run);
    run->acts = acts_new();
    run->barriers = barriers_new();
    if (!run->acts || !run->barriers || !run->folded || !run->merged || !run->signals || !run->changes ||
        !run->experiments)
        return error_set(err, ERR_NO_MEMORY, "no memory for a run");
    sha256_hex(config->scenario_text, config->scenario_text_len, run->sha256);
    if (config->run_id)
        snprintf(out->run_id, sizeof(out->run_id), "%s", config->run_id);
    else
        make_id(run);
    out->started_wall_us = loop_wall_us(run->loop);
    out->partition = config->partition;
    out->partitions = config->partitions;
    run->view.p50_us = run->view.p95_us = run->view.p99_us = run->view.max_us = -1;
    run->director = (struct slot){.run = run, .director = true, .process = {.channel = -1, .output = -1}};
    run->ledger = (struct slot){.run = run, .ledger = true, .process = {.channel = -1, .output = -1}};
    buf_create(&run->director.snapshot, MESSAGE_MAX);
    buf_create(&run->ledger.snapshot, MESSAGE_MAX);
    return 0;
}

static void destroy(struct run *run)
{
    struct slot *slot;
    experiments_delete(run->experiments); // whoever waits for one is told, through the slots
    for (unsigned i = 0; run->loop && (slot = run_slot(run, i)); i++)
        slot_free(slot);
    targets_stop(run->targets);
    virtual_delete(run->virtual_run);
    changes_delete(run->changes);
    acts_delete(run->acts);
    barriers_delete(run->barriers);
    stages_delete(run->stages);
    for (unsigned i = 0; i <= WINDOW; i++)
        hist_delete(run->window[i]);
    metrics_delete(run->folded);
    signals_delete(run->signals);
    loop_delete(run->loop);
    free(run->shards);
    free(run->strikes);
    free(run);
}

static void bad_plugin(void *arg, const struct diagnostic *d)
{
    finding_keep(arg, d);
}

int run_execute(const struct run_config *config, struct run **running, struct run_result *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    struct run *run = calloc(1, sizeof(*run));
    if (!run)
        return error_set(err, ERR_NO_MEMORY, "no memory for a run");
    bool made = create(run, config, out, err) == 0, plugins = made && plugins_work(config, bad_plugin, run);
    if (!made || (plugins && slot_start(&run->director, err))) {
        out->metrics = run->merged;
        destroy(run);
        return -1;
    }
    if (!plugins) {
        verdict_end(run);
        run_enter(run, RUN_ENDED);
        destroy(run);
        return 0;
    }
    if (running)
        *running = run;
    loop_timer_start(run->loop, &run->watch, WATCH_US / 10, watch);
    loop_timer_start(run->loop, &run->status, STATUS_US, status_due);
    loop_timer_start(run->loop, &run->second, SECOND_US, second_passed);
    run->cpu_at_us = loop_now_us(run->loop);
    tally_view(run);
    int rc = loop_run(run->loop, err);
    verdict_end(run);
    run_enter(run, RUN_ENDED);
    if (rc == 0 && run->failed_early && !out->interrupted) {
        *err = run->machine;
        rc = -1;
    }
    if (running)
        *running = NULL;
    destroy(run);
    return rc;
}
