// Changes of a run in a shard: MSG_CHANGE → MSG_CHANGED. Not for other rooms.
#pragma once
#include <jansson.h>
#include "engine/child.h"

struct chaos;
struct fleet;
// Carries it out and answers, at once or when the last device has been told.
void apply_change(struct child *c, struct fleet *fleet, struct chaos *chaos, const json_t *change);
// What the run has seen before this shard took a lost one's place: right behind fleet_start.
void apply_log(struct child *c, struct fleet *fleet, struct chaos *chaos, const json_t *changes);
