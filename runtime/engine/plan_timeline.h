// The timeline of a plan: its experiments. What plan.c and the start of a run ask; not for others.
#pragma once
#include "engine/plan.h"

// "timeline" of the plan's JSON, if there is any, once the groups are known. Names are made unique, also in the JSON.
int plan_parse_timeline(struct plan *plan, struct error *err);
void plan_release_timeline(struct plan *plan);
// Takes out of `json`, a copy of the plan's, what is about groups that are left out. kept: whether a group stays.
void plan_only_timeline(const struct plan *plan, json_t *json, bool (*kept)(const void *arg, const char *group),
                        const void *arg);
// Whether this run can do it: after the overrides. -1: ERR_INVALID, with file:line.
int plan_check_timeline(const struct plan *plan, bool virtual_time, struct error *err) WARN_UNUSED_RESULT;
// The same of one experiment, without a place in front.
int plan_check_experiment(const struct plan *plan, const struct experiment *e, bool virtual_time,
                          struct error *err) WARN_UNUSED_RESULT;
// The names of all groups, NULL-terminated: to be freed. NULL: no memory.
const char **plan_group_names(const struct plan *plan);
