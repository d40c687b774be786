// What was measured in one stage of a run: the difference between the figures at its end, or now, and those at its
// begin. Only for stages that a threshold speaks of. Figures come each second, so a stage is told to about that.
#pragma once
#include "engine/plan.h"

struct stages;
// NULL and err untouched: no threshold names a stage.
struct stages *stages_new(const struct plan *plan, struct error *err);
void stages_delete(struct stages *s);
// All figures so far, each second of the run and at its end.
void stages_look(struct stages *s, const struct metrics *now, int64_t elapsed_us);
// The figures begin anew: the warmup is over.
void stages_restart(struct stages *s, int64_t elapsed_us);
// Figures of the stage that the threshold names and how long they were measured; NULL: it has not begun, or there is no
// memory. Valid until the next look.
const struct metrics *stages_of(const struct stages *s, const struct threshold *t, int64_t *measured_us);
