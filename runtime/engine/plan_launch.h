// The part of a plan that says when devices come and go: launch and dropouts of a group. Private to the plan.
#pragma once
#include "engine/plan.h"

// "launch": {…}, "dropout": {…} or a list of them, into g->config. g->config.count is known.
int plan_parse_launch(struct plan_group *g, json_t *group, struct error *err) WARN_UNUSED_RESULT;
void plan_release_launch(struct plan *p);
// --scale: targets of stages, counts of dropouts and rates by the factor; delays between devices by its inverse.
int plan_scale_launch(json_t *group, const struct plan_group *g, double scale, struct error *err) WARN_UNUSED_RESULT;
// --devices: stages keep their shape.
int plan_fit_stages(json_t *group, const struct plan_group *g, uint64_t count, struct error *err) WARN_UNUSED_RESULT;
