// The experiments of a run as objects: those of the plan's timeline and those that are made while it goes on. The
// supervisor has their clock; shards are told when one begins and ends (engine/change.h), the broker and the functions
// of the scenario are handled here. In virtual time the shards follow the timeline by themselves (chaos/timeline.h).
//
// An entry, as it is listed: {"number": 1, 2, …, "name", "kind", "what": in words, "groups": [names] | null: all,
// "state": "scheduled" | "running" | "healed" | "stopped" (by hand) | "failed" (with "error"), "affected": devices, of
// the window that is on or was last; "began_us", "ended_us": of that window, null: not yet; "next_us": when the next
// one begins, null: none; "runs": windows so far}.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "engine/change.h"

struct experiments;

// Makes one, {…} of chaos/experiment.h; a `from_us` that is past or absent is now. Steals it. fn gets its entry: once
// it has begun when it begins now, else at once; never inside this call, also when the run ends. -1: err says what is
// wrong with it, or that the run is not on; fn is not called.
int run_experiment(struct run *run, json_t *stolen, run_change_fn *fn, void *arg, struct error *err) WARN_UNUSED_RESULT;
// Ends it for good: what it did is undone. fn gets its entry. ERR_NOT_FOUND; nothing happens to one that is over.
int run_experiment_stop(struct run *run, uint64_t number, run_change_fn *fn, void *arg,
                        struct error *err) WARN_UNUSED_RESULT;
// Another fault in place of that of a link or a partition, at once where it acts. fn gets its entry.
int run_experiment_retune(struct run *run, uint64_t number, const json_t *fault, run_change_fn *fn, void *arg,
                          struct error *err) WARN_UNUSED_RESULT;
// All of them, in order of their numbers: [entries]. Owned by the caller.
json_t *run_experiments(const struct run *run);

// --- for the supervisor -------------------------------------------------------------------------------------------
struct experiments *experiments_new(struct run *run);
void experiments_delete(struct experiments *x);
int experiments_plan(struct run *run, struct error *err) WARN_UNUSED_RESULT; // takes those of the plan
void experiments_before_go(struct run *run); // faults of the network from time 0 on: before a device connects
void experiments_go(struct run *run);        // time 0
bool experiments_is_op(const char *op); // of MSG_REQUEST: experiment, experiment_stop, experiment_retune, experiments
// Carries such a request out; fn as above. -1: err, fn is not called.
int experiments_request(struct run *run, const json_t *request, run_change_fn *fn, void *arg,
                        struct error *err) WARN_UNUSED_RESULT;
void experiments_look(struct run *run);                               // each few milliseconds: is the broker back?
void experiments_custom_done(struct run *run, const json_t *message); // MSG_CUSTOM_DONE
void experiments_director_lost(struct run *run);
void experiments_done(struct run *run, const json_t *affected); // virtual time: what a shard has counted
void experiments_stop(struct run *run);                         // the run stops: everything heals
// Names of those that act now, "rain, storm", as many as fit; valid until the next call.
const char *experiments_acting(const struct run *run);
// The marks of the summary: entries with "windows": [{"began_us", "ended_us", "affected"}], "omitted": windows that are
// not listed. NULL: no experiments, or no memory.
json_t *experiments_marks(struct run *run);
