// The supervisor's side of a run in virtual time: does the plan fit it, the files, how far the shards are, the merge of
// what they wrote. Not for other rooms.
#pragma once
#include "engine/capture.h"
#include "engine/supervisor.h"

struct virtual_run;

// A plan with overrides: no network target, a duration. Takes the test away and lets thresholds without data pass. -1:
// ERR_INVALID, why not and what to do instead.
int virtual_begin(struct run *run, struct error *err) WARN_UNUSED_RESULT;
// Opens the outputs (what is there is overwritten) and, for several shards, a temporary file a shard beside each.
int virtual_open(struct run *run, unsigned shards, struct error *err) WARN_UNUSED_RESULT;
// One of its outputs is read by somebody as it is written.
bool virtual_streams(const struct run *run);
// What a shard is started with; NULL in real time.
const struct capture_start *virtual_start(const struct run *run, unsigned shard);
// How far the slowest shard is.
int64_t virtual_elapsed(const struct run *run);
// The report of a shard that is done. Stops the run when it failed, or was the last.
void virtual_done(struct run *run, struct slot *slot, const json_t *captured);
// Once all shards have ended: puts their files together, a piece a call. True: there is more to do.
bool virtual_finish(struct run *run);
// Into the result.
void virtual_result(struct run *run);
void virtual_delete(struct virtual_run *v);
