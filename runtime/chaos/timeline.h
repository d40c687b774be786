// Experiments of a run in virtual time: every process follows them by its own clock, which no supervisor could keep up
// with. Disconnects, storms and clocks; the others need a network or a test and are left out.
#pragma once
#include <jansson.h>
#include "chaos/chaos.h"
#include "chaos/experiment.h"
#include "core/log.h"

struct timeline;
// The experiments are borrowed: number i + 1 is the i-th. NULL: err.
struct timeline *timeline_new(struct chaos *chaos, struct fleet *fleet, const struct experiment *experiments,
                              unsigned n, struct log *log, struct error *err);
void timeline_delete(struct timeline *t); // before chaos and fleet; NULL: nothing
void timeline_start(struct timeline *t);  // the fleet has started
void timeline_stop(struct timeline *t);   // nothing begins or ends any more
// Of each experiment the devices told at each window so far, at most 100: [[n, …], …]. Owned by the caller.
json_t *timeline_affected(const struct timeline *t);
