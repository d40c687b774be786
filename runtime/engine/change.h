// Changes of a run that is on, from the supervisor's side: what the test of a scenario asks for, what SIGHUP and
// --watch bring about, and what a control plane will offer. Nothing here knows Lua.
//
// A change is a JSON object: {"op": …, "group": NAME, …} of device/change.h (all ops but "model" and "renew"), or
//   {"op": "reload", "group": NAME | absent}   models and behaviour files as they are on disk now; what is broken is
//                                              refused, and the old goes on
// Every shard gets it and answers; the answers are added up. What was changed is kept, and a shard that is started in
// place of a lost one is told all of it again.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "core/error.h"

struct run;
struct changes;
struct slot;

// answer: {"affected": n}, "reload" with "groups": how many differ; "status": {"count", "created" …, "disconnected" …,
// "online", "connecting", "dropped", "started", "ever_online", "failed"}. Borrowed; NULL when it failed: err, and then
// nothing has changed unless the text says so.
typedef void run_change_fn(void *arg, const json_t *answer, const struct error *err);
// Steals the change. fn is called once, never inside this call, also when timeout_us passes or the run ends. -1: not
// possible (no such group, the run is not on …), fn is not called.
int run_change(struct run *run, json_t *stolen, int64_t timeout_us, run_change_fn *fn, void *arg,
               struct error *err) WARN_UNUSED_RESULT;
// Reloads everything and logs what came of it: what SIGHUP does.
void run_reload(struct run *run);

// --- for the supervisor -------------------------------------------------------------------------------------------
struct changes *changes_new(struct run *run);
void changes_delete(struct changes *c);
void changes_requested(struct run *run, const json_t *m);                   // MSG_REQUEST
void changes_reloaded(struct run *run, const json_t *m);                    // MSG_RELOADED
void changes_answered(struct run *run, struct slot *slot, const json_t *m); // MSG_CHANGED
void changes_lost(struct run *run, struct slot *slot);                      // its answers will not come
void changes_stop(struct run *run);                                         // the run ends: everything is answered
json_t *changes_log(struct run *run); // what a new shard has to make up for, owned by the caller
// Whether there is a file that can be reloaded.
bool changes_reloadable(const struct run *run);
// --watch: begins to look at the files of the plan.
int changes_watch(struct run *run, struct error *err) WARN_UNUSED_RESULT;
