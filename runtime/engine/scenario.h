// What the engine asks of a scenario. The script room implements it; the cli registers it. The engine knows no Lua.
#pragma once
#include <jansson.h>
#include "core/log.h"
#include "device/device.h"
#include "engine/observer.h"

struct scenario; // the script room's own
struct heartbeat;

// One thing that is wrong with a scenario, in the form `file:line:col: error CODE: message` + hint.
struct diagnostic {
    char code[16]; // "IOTX001"
    char file[256];
    int line, col; // 0: unknown
    char message[1024];
    char hint[256]; // "" when none
    int exit_code;  // 104 invalid, 107 uncaught Lua error
};
typedef void diagnostic_fn(void *arg, const struct diagnostic *d);

struct scenario_config {
    const char *path; // the file, or "-" with text
    const char *text;
    size_t text_len;    // contents, read by the supervisor (so that all processes see the same bytes)
    const char *sha256; // of the text, hex
    const char *const *model_dirs;
    unsigned n_model_dirs; // searched after the scenario's own directory
    const char *const *params;
    unsigned n_params; // "key=value"
    const char *const *env;
    unsigned n_env; // "KEY=VALUE" overrides of iotix.env; then the process environment
    const char *const *args;
    unsigned n_args; // behind "--": iotix.args
    bool jit;
    bool director; // runs `test`, has no devices
    // A shard: models and behaviours come with the plan, checked by the director. What their files have become since is
    // no error.
    bool lenient;
    struct loop *loop;
    struct log *log;
    struct metrics *metrics;
    struct heartbeat *heartbeat; // may be NULL
    diagnostic_fn *diagnostic;   // told every error of loading
    void *diagnostic_arg;
    // A shard: how many of its devices wait at a barrier (MSG_BARRIER, see barriers.h). Steals. NULL: no barriers here.
    void (*barrier)(void *arg, json_t *stolen);
    void *barrier_arg;
};

// The answer to a change (engine/change.h): borrowed; NULL: err.
typedef void test_change_fn(void *arg, const json_t *answer, const struct error *err);

// What a running test asks of the engine (director only).
struct test_env {
    void *arg;
    uint64_t seed;
    int64_t (*elapsed_us)(void *arg); // since GO
    // Latest status of all shards, at most ~250 ms old: {"groups":{name:{...}}}. Borrowed.
    const json_t *(*status)(void *arg);
    struct observer *(*observer)(void *arg, const char *url,
                                 struct error *err); // url NULL: the run's broker; one per URL
    void (*check)(void *arg, const char *name, bool ok, const char *detail);
    void (*done)(void *arg, int code,
                 const char *error); // 0 | 107 uncaught error | 108 iotix.abort | 110 run:fail or failed expectations
    // Asks for a change of the run, {"op", "group", …}: see engine/change.h. Steals it. fn is called once, never inside
    // the call.
    void (*change)(void *arg, json_t *stolen, int64_t timeout_us, test_change_fn *fn, void *fn_arg);
    // The function of an experiment that custom_start began has returned (error NULL) or raised. Once for each; not for
    // one that custom_stop ended.
    void (*custom_done)(void *arg, uint64_t number, const char *error);
    // The function that act_start began is over: 0 | 107 | 108 | 110 as of `done`. stolen: what it returned, NULL:
    // nothing. Once; not for one that `stop` ended.
    void (*act_done)(void *arg, int code, const char *error, json_t *stolen);
};

#define SETUP_DATA_MAX (1u << 20) // bytes of JSON that setup may return

struct scenario_ops {
    // The Lua state, loaded with nothing yet. NULL: err.
    struct scenario *(*open)(const struct scenario_config *config, struct error *err);
    // Runs the file (bounded), returns the plan (owned by the caller) or NULL after telling diagnostics.
    json_t *(*load)(struct scenario *s);
    // Shard: the adapters that the loaded scenario declares, NULL-terminated, until close; adapter_env.script must be
    // the scenario where they are used. May be NULL.
    const struct adapter_ops *const *(*adapters)(struct scenario *s);
    // Shard: the behaviours as device_ops, for fleet_config. Group numbers are those of the plan's JSON before
    // overrides: "number" of each group.
    const struct device_ops *(*device_ops)(struct scenario *s); // arg of the ops is s itself
    // Shard: called once between fleet_new/add_group and fleet_start.
    int (*attach)(struct scenario *s, struct fleet *fleet, const json_t *plan, struct error *err);
    // Director: starts the test function in its own task; the outcome comes through env->done (never inside the call).
    int (*test_start)(struct scenario *s, const struct test_env *env, struct error *err);
    // Director, all three may be NULL: experiments of the timeline that are functions ("custom"). direct: what they may
    // ask of the engine, at GO and before test_start, also where there is no test; copied. custom_start: the function
    // of that number ("custom" of the plan's JSON) starts in a task of its own for experiment `number`;
    // env->custom_done tells its end, never inside the call. custom_stop: its window is over: the task is cancelled, if
    // it still runs.
    int (*direct)(struct scenario *s, const struct test_env *env, struct error *err);
    int (*custom_start)(struct scenario *s, unsigned function, uint64_t number, struct error *err);
    void (*custom_stop)(struct scenario *s, uint64_t number);
    // Director, may be NULL: setup (before GO and `direct`) or teardown (behind `stop`, when all devices are gone)
    // starts in a task of its own; env->act_done tells its end, never inside the call. Its expectations are checks.
    int (*act_start)(struct scenario *s, const struct test_env *env, bool teardown, struct error *err);
    // Director and shards, may be NULL: what setup returned, before anything of the run runs.
    void (*given)(struct scenario *s, const json_t *data);
    // Shard, may be NULL: how a barrier stands (MSG_OPEN).
    void (*opened)(struct scenario *s, const json_t *message);
    // Director: reads the models and behaviour files of a group (NULL: of all) again and checks them. [{"name",
    // "model":{"path","text"}, "behaviour":{"path","text"}}] of what is another text than before; owned by the caller.
    // NULL: something is wrong with one: diagnostics are told, err is the first of them. May be NULL.
    json_t *(*reload)(struct scenario *s, const char *group, struct error *err);
    // Shard: from now on devices of the group start with the function that this text (of a behaviour file) returns.
    // May be NULL.
    int (*behaviour_load)(struct scenario *s, const char *group, const char *path, const char *text, struct error *err);
    // Cancels what runs (test and all tasks).
    void (*stop)(struct scenario *s);
    // Shard, both may be NULL. Whether no connection that a behaviour opened beside its device's own is still being
    // closed; and their end, with all that uses the links: before the fleet and the links are deleted.
    bool (*idle)(const struct scenario *s);
    // Shard, may be NULL: messages of those connections that wait for their acknowledgement; *lost: how many were given
    // up with their connection so far.
    uint64_t (*pending)(const struct scenario *s, uint64_t *lost);
    void (*detach)(struct scenario *s);
    void (*close)(struct scenario *s);
};
