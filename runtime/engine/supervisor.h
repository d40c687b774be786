// What the files of the supervisor share: run.c (phases), start.c, finding.c, slot.c (children), watchdog.c, tally.c
// (figures), verdict.c, signals.c. Not for other rooms.
#pragma once
#include <ev.h>

#include "engine/change.h"
#include "engine/experiments.h"
#include "engine/fault.h"
#include "engine/heartbeat.h"
#include "engine/message.h"
#include "engine/process.h"
#include "engine/stages.h"
#include "engine/run.h"
#include "engine/child.h"
#include "engine/targets.h"

#define WATCH_US 50000
#define STATUS_US 250000
#define SECOND_US 1000000
#define CHECKS_MAX 1000
#define DIAGNOSTICS_MAX 100
#define WINDOW 10 // seconds of the moving figures
#define RESTARTS_MAX 5
#define RESTART_WINDOW_US 60000000
#define OUTPUT_LINE 1024

enum slot_state { SLOT_NONE, SLOT_STARTING, SLOT_LOADED, SLOT_READY, SLOT_GOING, SLOT_DONE };

struct group_numbers {
    uint64_t owned, state[DEVICE_STATE_MAX], conn[CONN_STATE_MAX], started, ever_online, failed, dropped;
    uint64_t ever_before; // ever_online of lost incarnations
};

// One child: the director or a shard, through all its incarnations.
struct slot {
    struct run *run;
    bool director, ledger; // neither: a shard
    unsigned number;
    enum slot_state state;
    struct child_start start;
    struct process process;
    struct channel *channel; // NULL: closed
    struct heartbeat *heartbeat;
    ev_io output; // what the child writes to stdout and stderr
    char line[OUTPUT_LINE];
    size_t line_len;
    char why[480]; // why it was killed, "" when it was not
    bool killed;
    // watchdog
    int64_t started_us, load_cpu_us, closed_us;
    uint64_t slice;
    int64_t slice_seen_us; // CPU time at the first look at it
    unsigned strikes;
    int64_t pong_us, pong_cpu_us;
    uint64_t pong_turn;
    int64_t restarts[RESTARTS_MAX]; // when
    unsigned n_restarts;
    // figures
    struct buf snapshot;          // last one of this incarnation
    struct group_numbers *groups; // of the plan
    bool launching, has_status;
    bool warm;             // its warmup is over
    int64_t cpu_us;        // at the last second, of this incarnation
    int64_t cpu_before_us; // of lost incarnations
    double cpu;            // share of one core in the last second
    unsigned busy_seconds; // of the hold, over 95%
    int64_t longest_turn_us;
    int64_t elapsed_us; // virtual time
};

struct strike {
    unsigned group;
    uint64_t index;
    unsigned count;
};

struct run {
    const struct run_config *config;
    struct run_limits limits;
    struct run_result *result;
    struct loop *loop;
    struct log *log;
    char sha256[65];
    enum run_phase phase;
    struct plan *plan;
    struct targets *targets; // NULL: none embedded
    bool targets_pending, targets_lost;
    const char *url; // of the run, with credentials
    struct slot director, *shards, ledger;
    int64_t ledger_until_us; // when it is killed at the latest; 0: it was not told to end
    unsigned n_shards;
    struct timer watch, status, second;
    int64_t go_us, phase_us;          // loop times
    int64_t stop_us, kill_us, end_us; // stop began; children are killed; at the latest it is over
    bool warm;                        // the warmup is over, or there was none
    struct acts *acts;                // setup and teardown
    struct barriers *barriers;
    struct stages *stages; // NULL: no threshold names one
    bool test_done, over;
    bool failed_early; // a reason of the machine: run_execute returns -1 with `machine`
    struct error machine;
    struct strike *strikes;
    unsigned n_strikes;
    // figures
    struct metrics *folded; // of lost incarnations
    struct metrics *merged; // folded + live, each second
    struct faults faults;
    struct run_group_status *groups;
    struct threshold_result *thresholds;
    struct hist *window[WINDOW + 1]; // publish_latency, cumulative, one a second
    struct {
        uint64_t late, ticks;
    } late[WINDOW + 1];
    unsigned n_window, seconds, hold_seconds;
    struct run_status view;
    uint64_t checks_failed;
    int64_t self_cpu_us, cpu_at_us;
    double cpu_sum, cpu_max;
    unsigned cpu_n;
    struct signals *signals;
    struct changes *changes;
    struct experiments *experiments;
    struct virtual_run *virtual_run; // NULL: real time
};

static inline bool slot_is_shard(const struct slot *slot)
{
    return !slot->director && !slot->ledger;
}

// run.c
void run_reason(struct run *run, int code, const char *fmt, ...)
    PRINTF_LIKE(3, 4); // one that applies; duplicates are dropped
void run_warning(struct run_result *r, const char *fmt, ...)
    PRINTF_LIKE(2, 3);          // what makes figures coarser, or a sink incomplete; at most RUN_WARNINGS_MAX
void run_stop(struct run *run); // drains, or ends at once before GO
void run_fail_machine(struct run *run, const struct error *err);
void run_message(struct run *run, struct slot *slot, enum message_type type, const json_t *message);
void run_slot_lost(struct run *run, struct slot *slot);
int64_t run_elapsed(const struct run *run); // since GO, 0 before
void run_go(struct run *run);               // all are ready, and the setup is done
void run_enter(struct run *run, enum run_phase phase);

// start.c
void start_plan(struct run *run, const json_t *message); // the director has loaded the scenario; fails or starts shards
void start_targets_up(struct run *run);                  // the embedded targets listen: their shards may start
// Thresholds of the command line, and figures of the baseline, into the JSON of a plan.
int start_edit_thresholds(const struct run_config *c, json_t *plan, struct error *err) WARN_UNUSED_RESULT;
json_t *start_assignment(struct run *run, unsigned shard); // what a shard, or the director as 0, is told to be

// finding.c
void finding_keep(struct run *run, const struct diagnostic *d); // a reason too; at most DIAGNOSTICS_MAX are kept
// The same of the scenario as a whole. code: "IOTX080".
void finding_say(struct run *run, const char *code, int exit_code, const char *text);
void finding_diagnostic(struct run *run, const struct slot *slot, const json_t *message);
void finding_check(struct run *run, const json_t *message); // of the test
void finding_unfinished(struct run *run);                   // the test is cut off by the end of the run

// slot.c
int slot_start(struct slot *slot, struct error *err) WARN_UNUSED_RESULT;
void slot_send(struct slot *slot, enum message_type type, json_t *stolen);
void slot_kill(struct slot *slot, const char *fmt, ...) PRINTF_LIKE(2, 3);
void slot_reap(struct slot *slot); // notices the end of its process
void slot_free(struct slot *slot);
const char *slot_name(const struct slot *slot, char *dst, size_t size); // "shard 2", "the test process"

// watchdog.c
void watch_slot(struct slot *slot);
void watch_ping(struct slot *slot); // each second
json_t *watch_quarantine(const struct run *run);
struct slot *run_slot(struct run *run, unsigned i); // the director, the shards, the ledger; NULL behind the last

// tally.c
int tally_begin(struct run *run, struct error *err) WARN_UNUSED_RESULT; // the plan is known
void tally_snapshot(struct slot *slot, const uint8_t *bytes, size_t n);
void tally_status(struct slot *slot, const json_t *status);
void tally_event(struct run *run, struct slot *slot, const json_t *event);
void tally_lost(struct slot *slot); // folds what is known of this incarnation
void tally_merge(struct run *run);
void tally_second(struct run *run);
void tally_groups(struct run *run);
void tally_view(struct run *run);    // calls on_status
json_t *tally_down(struct run *run); // for the director
uint64_t tally_counter(const struct run *run, const char *selector);
void tally_end(struct run *run);
void tally_restart(struct run *run);                               // the warmup is over: figures begin anew
int64_t tally_measured(const struct run *run, int64_t elapsed_us); // without the warmup

// verdict.c
void verdict_thresholds(struct run *run, bool final);
void verdict_end(struct run *run); // everything into run->result

// signals.c
struct signals *signals_new(struct run *run);
void signals_delete(struct signals *s);
void signals_pid(struct signals *s, pid_t old, pid_t new); // who is killed at the second signal; 0: none
