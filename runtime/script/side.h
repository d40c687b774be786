// Side connections: their life. See port.h.
#pragma once
#include "script/behaviour.h"
#include "script/side_target.h"

// Makes and opens one for the behaviour; target and identity are taken over, also on failure. NULL: err.
struct side *side_open(struct scenario *s, struct behaviour *b, struct side_target *target,
                       struct side_identity *identity, struct error *err);
struct side *side_find(const struct behaviour *b, uint64_t number);
void sides_path(struct behaviour *b, struct path *path); // device_ops.path
// Whether all of them are gone: what the end of a run waits for.
bool sides_idle(const struct scenario *s);
// See scenario_ops.
uint64_t sides_pending(const struct scenario *s, uint64_t *lost);
int sides_start(struct scenario *s, struct error *err); // a shard is attached
void sides_stop(struct scenario *s);                    // all of them, at once, and their targets; none from then on
