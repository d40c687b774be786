// Stages of a plan: named times of a run, one behind the other from GO on, each with the number of devices that are up
// at its end. They are the launch plan of all groups that have none of their own (strategy "stages" of
// device/launch.h), and the times that a threshold's tag "stage" speaks of.
//   "stages": [ {"name", "duration": us, "devices": int} ]
// Private to the plan but for struct plan_stage and plan_stage_at.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "core/error.h"

#define PLAN_STAGES_MAX 32u // as many as a launch plan has

struct plan;
struct plan_overrides;
struct threshold;
struct plan_stage {
    const char *name;         // points into the plan's JSON
    int64_t begin_us, end_us; // elapsed
    uint64_t devices;         // at its end, as declared: a scale changes the groups, not this
};
// Fills p->stages; the plan's duration, where it has none and no test, is their sum.
int plan_parse_stages(struct plan *p, struct error *err) WARN_UNUSED_RESULT;
// The number of the stage at that time; -1: there are none, or they are over.
int plan_stage_at(const struct plan *p, int64_t elapsed_us);
// The stage that the threshold's selector names, into t->stage. Nothing where the plan has no stages.
int plan_threshold_stage(const struct plan *p, struct threshold *t, struct error *err) WARN_UNUSED_RESULT;
// Turns "stages" of a plan's JSON into the launch plans and counts of its groups, in proportion to their counts: of
// those that start all at once, or, with `all`, of every one.
int plan_spread_stages(json_t *plan, bool all, struct error *err) WARN_UNUSED_RESULT;
// --stage, --ramp and --warmup into a plan's JSON, behind what changes the counts.
int plan_override_stages(json_t *plan, const struct plan_overrides *o, struct error *err) WARN_UNUSED_RESULT;
