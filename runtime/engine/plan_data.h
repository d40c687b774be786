// What plan.c asks of plan_data.c. Not for others.
#pragma once
#include "engine/plan.h"

// The "data" of a group's JSON, if there is any.
int plan_parse_data(struct plan_group *g, const json_t *group, struct error *err);
// Opens the files of all groups, and makes plan->datasets.
int plan_open_data(struct plan *plan, struct error *err);
// After the models have been deleted: their replays have files in plan->datasets too.
void plan_release_data(struct plan *plan);
