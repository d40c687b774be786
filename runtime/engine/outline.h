// The outline of a plan: what a verdict needs of it, and nothing else: names, counts, thresholds. No URLs, passwords,
// models' texts or parameters, so it may leave the machine (sinks, collect.h).
#pragma once
#include <jansson.h>
#include "engine/plan.h"

// New; itself a plan for plan_parse. NULL: no memory.
json_t *plan_outline(const struct plan *plan, struct error *err);
