// What the paths of a process have counted, as metrics. Not for other rooms.
#pragma once
#include "link/path.h"
#include "metrics/metrics.h"

struct chaos_tally;
// NULL: no registry, or no memory: nothing is counted.
struct chaos_tally *chaos_tally_new(struct metrics *metrics, const struct path_env *paths);
void chaos_tally_delete(struct chaos_tally *t);
void chaos_tally_report(struct chaos_tally *t); // what has come since the last time
