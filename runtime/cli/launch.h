// From options to a struct run_config, and loading a scenario to learn what it presets.
#pragma once
#include "cli/command.h"
#include "core/buf.h"

#define SCENARIO_MAX_BYTES (16u << 20)

struct launch_plan {
    struct run_config config;           // strings point into the session's options and `text`
    struct buf text;                    // the scenario
    int64_t from_us;                    // virtual time
    struct output outputs[OUTPUTS_MAX]; // those of --sink that are files
    unsigned n_outputs;
    struct secrets *secrets; // of --secrets
};
// Reads the scenario (a file, "-": stdin). EXIT code on failure after complaining, 0 otherwise.
int launch_read(struct session *s, struct launch_plan *l) WARN_UNUSED_RESULT;
void launch_destroy(struct launch_plan *l);
// Fills config from the options of at least `min_layer`.
void launch_configure(struct session *s, struct launch_plan *l, int min_layer);
// Applies what the loaded plan presets over configuration files: its `options` table, and its own duration, seed,
// broker and stop_timeout over those of files. plan_json: as declared. Sets *changed when a value of the engine is
// affected.
int launch_presets(struct options *o, const json_t *plan_json, bool *changed, struct error *err) WARN_UNUSED_RESULT;
// One load (config.check_only). What the scenario logs while loading comes out only when loading fails: a run loads it
// again.
int launch_load(struct session *s, struct launch_plan *l, struct run_result *out, struct error *err) WARN_UNUSED_RESULT;
// Load, presets, and when they matter load again; out is what check and inspect show. 0, or the exit code after telling
// everything that is wrong (json: diagnostics as an array on stdout).
int launch_resolve(struct session *s, struct launch_plan *l, struct run_result *out, bool json) WARN_UNUSED_RESULT;
// Diagnostics and reasons of a failed load on stderr (or as JSON on stdout). Returns the exit code.
int launch_report(struct session *s, const struct launch_plan *l, const struct run_result *r, int rc,
                  const struct error *err, bool json);
// A JSON value (stolen) on stdout, indented.
int launch_print_json(const struct session *s, json_t *v) WARN_UNUSED_RESULT;
int launch_execute(const struct session *s, const struct run_config *config, struct run_result *out,
                   struct error *err) WARN_UNUSED_RESULT;
// What the options say that is logged.
enum log_level launch_log_level(const struct options *o);
