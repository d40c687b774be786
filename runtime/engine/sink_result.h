// What became of the records of a run's sinks: the ledger that its shards' metrics make. Not for other rooms; the
// result is engine/run.h's.
#pragma once
#include <jansson.h>

struct run;
// A shard is done: sinks_report of it.
void sink_result_shard(struct run *run, const json_t *report);
// Into the result, with warnings of what was lost, and a reason where a sink never delivered anything.
void sink_result(struct run *run);
