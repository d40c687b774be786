// One run: the supervisor's whole job, from the scenario's text to a result. It never runs an author's Lua: a child
// process (the director) loads the scenario, reports the plan and later runs its test; N forked shards hold the
// devices.
#pragma once
#include <stdio.h>
#include "core/log.h"
#include "engine/plan.h"
#include "engine/preflight.h"
#include "engine/scenario.h"
#include "link/link.h"
#include "sink/output.h"

enum run_phase { RUN_LOADING, RUN_STARTING, RUN_SETUP, RUN_RAMP, RUN_HOLD, RUN_STOPPING, RUN_TEARDOWN, RUN_ENDED };
// "loading" "starting" "setup" "ramp" "hold" "stopping" "teardown" "ended"
const char *run_phase_name(enum run_phase p);

// Exit codes, docs/reference/exit-codes.md.
enum run_exit {
    EXIT_PASS = 0,
    EXIT_USAGE = 2,
    EXIT_THRESHOLDS = 99,
    EXIT_SETUP_TIMEOUT = 100,
    EXIT_TEARDOWN_TIMEOUT = 101,
    EXIT_SCENARIO = 104,
    EXIT_INTERRUPTED = 105,
    EXIT_BIND = 106,
    EXIT_LUA_ERROR = 107,
    EXIT_ABORTED = 108,
    EXIT_OUTPUT = 109, // an output that was asked for could not be written
    EXIT_MARKED_FAILED = 110,
    EXIT_UNREACHABLE = 111,
    EXIT_OVERLOADED = 112,
    EXIT_SHARD_LOST = 120
};

struct run_totals { // cumulative over all shards, lost incarnations included
    uint64_t devices, started, online, connecting, ever_online, failed;
    uint64_t sent, acked, received, dropped, bytes_out, bytes_in, errors, connects, connect_failures, reconnects;
};
struct run_group_status {
    const char *name;
    uint64_t count, online, connecting, running, error, started, dropped;
    bool resized; // count is what the shards say, since devices came or went
};

// A look at the run, for the live block; valid during the callback.
struct run_status {
    enum run_phase phase;
    int64_t elapsed_us, duration_us; // since GO; duration 0: until the test ends
    int64_t phase_since_us;          // elapsed at which the phase began
    const char *stage;               // of the scenario's stages; NULL: none now
    int64_t real_us;                 // since GO by the wall: another than elapsed_us in virtual time
    bool virtual_time;
    struct run_totals totals;
    double sent_per_s, received_per_s, bytes_per_s; // over the last second
    const struct metrics *metrics;                  // merged, cumulative
    int64_t p50_us, p95_us, p99_us, max_us;         // publish_latency over the last 10 s; -1: no data
    uint64_t latency_count;
    double cpu;         // of all processes of the run but the broker; 1 = all cores it can use (shards or cores)
    double late_ticks;  // ratio over the last 10 s
    uint64_t rss_bytes; // supervisor + shards + director
    unsigned n_groups;
    const struct run_group_status *groups;
    unsigned n_thresholds;
    const struct threshold *thresholds;
    const struct threshold_result *threshold_results;
    const char *acting; // names of the experiments that act now: "rain, storm"; NULL or "": none
};

struct run_error_group { // errors grouped by reason
    char reason[64];     // "connack-5", "timeout", "script: …first line"
    char text[256];      // the first one
    uint64_t count;
    int64_t first_us; // elapsed
    char device[96];  // example
};
struct run_check {
    char name[256];
    bool ok;
    char detail[512];
    int64_t t_us;
};

#define RUN_WARNINGS_MAX 8
struct run_result {
    int exit_code;
    unsigned n_reasons;
    struct {
        int code;
        char text[256];
    } reasons[16];     // all that apply, worst first
    struct plan *plan; // overridden; NULL when loading failed
    struct preflight preflight;
    char run_id[32]; // 8+ sortable characters
    uint64_t seed;
    char broker_url[600];                             // what was used, without credentials
    int64_t started_wall_us, elapsed_us, measured_us; // measured: without the warmup
    int64_t warmup_us;
    struct run_totals totals;
    unsigned n_groups;
    struct run_group_status *groups;
    struct metrics *metrics;
    json_t *experiments; // experiments_marks; NULL: there were none
    json_t *ledger;      // as of MSG_LEDGER; NULL: there was none, or it was lost
    unsigned n_thresholds;
    struct threshold_result *thresholds;
    unsigned n_checks;
    struct run_check *checks;
    unsigned n_errors;
    struct run_error_group *errors;
    unsigned n_diagnostics;
    struct diagnostic *diagnostics;
    double cpu_avg, cpu_max, late_ticks;
    bool trustworthy;
    char untrustworthy_why[160];
    unsigned n_warnings; // what makes figures coarser than they look
    char warnings[RUN_WARNINGS_MAX][200];
    int64_t longest_turn_us;
    unsigned shards, shards_lost, shards_restarted;
    unsigned partition, partitions; // as configured: 1-based; 0/0: whole
    bool interrupted, aborted;
    // A run in virtual time: measured_us is virtual time as well, elapsed_us is not.
    bool virtual_time, test_skipped;
    int64_t virtual_from_us, virtual_us; // wall time at which it began; how far it came
    unsigned n_outputs;
    struct run_output {
        const char *format;
        char *path;                       // "-": stdout; owned
        uint64_t records, skipped, bytes; // skipped: the format has no line for them
        bool complete;
    } outputs[OUTPUTS_MAX];
    unsigned n_sinks;
    struct run_sink { // accepted = delivered + spilled + dropped
        char name[64], type[32];
        uint64_t accepted, delivered, spilled, dropped;
        uint64_t skipped; // messages that it has no form for
        uint64_t refused; // messages that were not published because it was full
        unsigned n_reasons;
        struct {
            char reason[24];
            uint64_t n;
        } reasons[16];     // of what was dropped
        char trouble[500]; // the last one, ""
        char left[300];    // where what was spilled lies, ""
    } * sinks;
};
void run_result_destroy(struct run_result *r);
// The versioned machine form ("schema": 1); see docs/reference/summary.md. Never NULL but without memory.
json_t *run_result_json(const struct run_result *r, struct error *err);

// How long the supervisor waits before it kills a child. 0: the default. For tests.
struct run_limits {
    int64_t slice_cpu_us; // CPU of one slice of author code: 250 ms
    int64_t load_cpu_us;  // CPU of loading the scenario: 10 s (the guard's own limit is 5 s)
    int64_t ready_us;     // wall time to load and to make the devices: 60 s + 1 s for each 5,000 devices
    int64_t ping_us;      // wall time without an answer: 10 s
    int64_t grace_us;     // after stop_timeout: 1 s
};

// Whether it can name a run: 1 to 31 letters, digits, . _ and -, the first a letter or digit.
int run_id_check(const char *id, struct error *err) WARN_UNUSED_RESULT;

struct secrets;

// A run in virtual time: no device connects to a network, what they publish goes into sinks.
struct run_virtual {
    bool on;
    bool has_from;
    int64_t from_us; // wall time at which it begins; without has_from: now less the duration
};

struct run_config {
    const char *scenario_path;
    const char *scenario_text;
    size_t scenario_text_len;
    struct plan_overrides overrides;
    unsigned shards;                // 0: choose
    unsigned partition, partitions; // 1-based partition of partitions; 0/0: whole
    const char *run_id;             // as run_id_check wants it; NULL: one is made
    const char *const *model_dirs;
    unsigned n_model_dirs;
    const char *const *plugins; // shared objects (adapter/plugin.h)
    unsigned n_plugins;
    const char *const *params;
    unsigned n_params;
    const char *const *env;
    unsigned n_env;
    const char *const *args;
    unsigned n_args;
    const struct secrets *secrets; // for passwordRef of models; NULL: the environment alone
    enum link_io io;               // of the devices' connections; LINK_IO_URING: error where there is none
    bool jit;
    bool check_only; // load, check, preflight; run nothing
    const char *const *extra_thresholds;
    unsigned n_extra_thresholds; // "metric: expr"
    bool no_thresholds;
    bool abort_on_fail;    // all thresholds, but those that only have to grow
    bool no_data_passes;   // of thresholds that do not say themselves
    const char *baseline;  // a summary that thresholds are compared with; NULL: the scenario's, if it names one
    double max_regression; // percent; 0: none
    // Reads a baseline; NULL: baseline_read.
    json_t *(*read_baseline)(const char *path, struct error *err);
    const char *const *sinks; // "TYPE=TARGET", beside the scenario's
    unsigned n_sinks;
    struct run_virtual virtual_time;
    bool watch; // reload models and behaviour files when they change on disk
    struct log *log;
    const struct scenario_ops *ops;
    const struct run_limits *limits; // NULL: defaults
    // View, all may be NULL.
    void (*on_header)(void *arg, const struct plan *plan, const struct preflight *p, const struct run_result *so_far);
    void (*on_status)(void *arg, const struct run_status *status); // 4 Hz, and at every change of phase or threshold
    void (*on_check)(void *arg, const struct run_check *check);
    void *view_arg;
};
struct run; // opaque
// Runs to the end. 0: `out` is filled (whatever the verdict); -1: nothing could be run for a reason of the machine (it
// does not fit, no mosquitto, no memory), err says it and `out` is filled as far as it goes. Blocks; on_* callbacks
// come from inside. The calling process must have no other threads. While it runs it handles SIGINT and SIGTERM (first:
// drain, exit 105; second: everything is killed and the process ends with 105 at once), SIGUSR1 (on_status now),
// SIGQUIT (state into the log), and ignores SIGPIPE and SIGXFSZ; what was there before is restored.
int run_execute(const struct run_config *config, struct run **running, struct run_result *out,
                struct error *err) WARN_UNUSED_RESULT;
// As the first signal does: drains (exit 105); more calls do nothing. From callbacks and timers of run_loop.
void run_interrupt(struct run *run);
struct loop *run_loop(struct run *run);
