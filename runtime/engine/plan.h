// A plan: what a scenario declares, as plain data. The script room makes it as JSON from the Lua tables (that JSON is
// the contract below); every process parses the same JSON. Overrides of the command line are applied to it once, by the
// supervisor.
//
// JSON of a plan (durations in integer microseconds, keys snake_case; the script room has validated types and unknown
// keys with file:line; plan_parse still checks everything it uses):
//   { "name": str, "file": path, "sha256": hex, "duration": us | null,
//     "broker": url | "embedded" | null (embedded): of groups that name none of their own and whose model speaks mqtt
//     (or have none),
//     "http", "coap": url | "embedded" | null: the same for models of these protocols (null: embedded),
//     "adapter": {adapter options of groups that speak mqtt}, "http_adapter", "coap_adapter": {the same for these},
//     "connections": number of those that the file makes and no group has for its own (behaviours may open them),
//     "embedded": [ schemes ] of all URLs with the host `embedded` in the scenario, side connections included (mqtt
//     mqtts ws wss http https coap coaps coap+tcp coaps+tcp); those of groups and of the three above may be left out,
//     "seed": int | null, "stop_timeout": us, "on_shard_lost": "restart" | "fail", "has_test": bool,
//     "has_setup", "has_teardown": bool, "setup_timeout", "teardown_timeout": us, "warmup": us | null,
//     "stages": [ {"name", "duration": us, "devices": int} ] as in plan_stages.h, "baseline": path | null,
//     "options": { "shards": int, ... run options a scenario may preset, see run.h },
//     "params": { NAME: {"type":..., "value":..., "default":..., "help":...} },
//     "groups": [ { "name", "line": int, "count": int, "model": path | null, "behaviour": bool, "behaviour_path",
//     "behaviour_text": of a behaviour in a file of its own | null, "launch": {...}, "dropout": {...} | [...],
//     "broker": url | null, "model_broker": url | null,
//                   "adapter": {options of the adapter that the group's URL selects, over the scenario's for the same
//                   protocol},
//                   "credentials": as in device/credentials.h | null (username and password may stand there or here),
//                   "id": pattern, "client_id": pattern|null, "topics": pattern,
//                   "username","password", "will": {"topic","payload","qos","retain"} | null, "qos": 0..2, "on_error":
//                   "stop|restart|fail", "max_restarts": int, "memory": bytes, "tags": {..},
//                   "proxies": bindings as in device/proxy.h | null, "stamp": as in device/stamp.h | null,
//                   "data": {"path", "rows": int, "format", "delimiter", "header": bool | null, "numbers": bool} | null
//                   } ],
//     "models": { path: {"text": the JSON text, merged, "id", "version", "credential": passwordRef | null} },
//     "timeline": [ experiments as in chaos/experiment.h ], "sinks": [ as in plan_sinks.h ],
//     "ledger": as in plan_ledger.h | null,
//     "thresholds": [ { "metric": selector, "expr": "p95 < 200ms", "abort": bool, "delay_abort": us, "no_data":
//     "fail"|"pass" | null, "line": int, "baseline": the figure of the run it is compared with, in the base unit,
//     "baseline_unit": ""|"time"|"bytes" (both are put there by the supervisor) } ],
//     "metrics": [ {"name", "type", "unit": ""|"time"|"bytes"} ]: the scenario's own }
//
// A URL may be "embedded" (the protocol's plain scheme) or have the host `embedded` ("wss://embedded",
// "https://embedded/path"): a target that the run starts. What a shard is sent has them resolved (plan_resolve): group
// URLs as they are dialled, tls.ca where none is given, and, for side connections made later,
//     "embedded_urls": { SCHEME: "mqtts://127.0.0.1:41234", … }, "embedded_ca": PEM text.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "core/error.h"
#include "chaos/experiment.h"
#include "device/device.h"
#include "engine/plan_ledger.h"
#include "engine/plan_sinks.h"
#include "engine/plan_stages.h"
#include "engine/secrets.h"
#include "engine/threshold.h"
#include "telemetry/dataset.h"

struct plan_group {
    struct group_config config; // strings point into plan->json; model is set by plan_load_models in shards
    const char *model_path;     // NULL: none
    bool own_url;               // it names its own broker; otherwise the model's, or the run's
    bool model_url;             // config.url is the model's: nobody else named one
    // config.url is never NULL; of an embedded target it has the host `embedded`, until the plan says where it listens
    uint64_t declared;     // count as declared, before overrides
    uint64_t memory_bytes; // cap of a device's Lua memory
    int line;
    const char *data_path; // rows of its devices; NULL: none
    struct dataset_options data_options;
    uint64_t data_rows;   // when the scenario was loaded
    struct dataset *data; // open, once plan_load_models was called
};

struct plan {
    json_t *json; // owned
    const char *name, *file, *sha256;
    int64_t duration_us;     // 0: until the test ends
    const char *broker;      // URL or "embedded"
    bool names_broker;       // the scenario, or the command line, says so
    const char *http, *coap; // the same for models of these protocols; NULL: embedded, or the model's own
    unsigned embedded;       // "embedded": a mask of plan_target.h
    unsigned connections;    // "connections": what behaviours may open beside their devices' own
    bool has_seed;
    uint64_t seed;
    int64_t stop_timeout_us; // drain, default 30 s
    bool restart_lost_shard;
    bool has_test, has_setup, has_teardown;
    int64_t setup_timeout_us, teardown_timeout_us;
    int64_t warmup_us; // of GO on, left out of all statistics
    unsigned n_stages;
    struct plan_stage stages[PLAN_STAGES_MAX]; // named times of the run, one behind the other
    unsigned n_groups;
    struct plan_group *groups;
    unsigned n_thresholds;
    struct threshold *thresholds;
    unsigned n_experiments;
    struct experiment *experiments; // of the timeline
    unsigned n_sinks;
    struct plan_sink *sinks;
    struct plan_ledger ledger;
    bool directs; // the director is needed while the run is on: a test, functions of the timeline
    unsigned n_models;
    struct model **models;
    struct datasets *datasets;  // of groups' data and models' replays, once plan_load_models was called
    struct model_env model_env; // for models that are parsed later; points into the plan
    const char *model_dirs[1];
    char model_dir[1024];
};
// json is stolen (owned by the plan, also on failure). No groups, duplicate group names, neither duration nor test:
// errors.
struct plan *plan_parse(json_t *json, struct error *err);
void plan_delete(struct plan *plan);
uint64_t plan_devices(const struct plan *plan);
// The target of the run, where its test looks: the scenario's broker or "embedded"; where nobody speaks to that, the
// broker of the groups; without one, the first group's URL.
const char *plan_target(const struct plan *plan);
// A test that names no broker would have to guess which of several it looks at: ERR_INVALID, says between which.
int plan_target_clear(const struct plan *plan, struct error *err) WARN_UNUSED_RESULT;
// What the run must start for it: a mask of plan_target.h, 0: nothing.
unsigned plan_embedded(const struct plan *plan);
// What is said to shards: where embedded targets listen. urls: stolen. ca: PEM text, NULL: none of them speaks TLS. The
// plan itself keeps its symbolic URLs; what is parsed from its JSON has them resolved.
int plan_resolve(struct plan *plan, json_t *urls, const char *ca, struct error *err) WARN_UNUSED_RESULT;
// Opens the groups' data files, parses the embedded models and points the groups to them (shards only).
int plan_load_models(struct plan *plan, struct error *err) WARN_UNUSED_RESULT;

// Gives every group whose model refers to a password, and that has none of its own, the secret (shards, after
// plan_load_models). Strings point into `secrets`.
int plan_take_secrets(struct plan *plan, const struct secrets *secrets, struct error *err) WARN_UNUSED_RESULT;
// Whether that will do: every such secret is there. From the plan's JSON alone (supervisor).
int plan_check_secrets(const struct plan *plan, const struct secrets *secrets, struct error *err) WARN_UNUSED_RESULT;

// Whether every group with a data file has a row for each of its devices. After the overrides.
int plan_check_data(const struct plan *plan, struct error *err) WARN_UNUSED_RESULT;

// What the command line (or environment, or configuration) changes. origin strings are for the header: "flag -n".
struct plan_overrides {
    bool has_devices;
    uint64_t devices;
    const char *devices_from;
    double scale;
    const char *scale_from; // 0: none
    const char *const *only;
    unsigned n_only; // group names; empty: all
    int64_t duration_us;
    const char *duration_from; // 0: none
    const char *broker;
    const char *broker_from;
    bool has_seed;
    uint64_t seed;
    const char *seed_from;
    int64_t stop_timeout_us;
    const char *stop_timeout_from;
    const char *const *stages; // "30s:100" or "peak=30s:100": in place of all launch plans
    unsigned n_stages;
    int64_t ramp_us; // 0: none; every group starts evenly over this time
    int64_t warmup_us;
};
// --devices with several groups left is an error naming file:line and what to use instead; --only of an unknown group
// lists the valid ones; scale rounds to the nearest, at least 1; rates of linear launches scale too. The plan's json is
// kept in step.
int plan_override(struct plan *plan, const struct plan_overrides *o, struct error *err) WARN_UNUSED_RESULT;
