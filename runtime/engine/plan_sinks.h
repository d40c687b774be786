// The sinks of a plan: "sinks": [ {"type", "name" (default: the type, with a number from the second one on), "options":
// {…} | "target": text, "line"} ]. Not for other rooms but cli, which shows them.
#pragma once
#include <jansson.h>
#include "core/error.h"

struct plan;
struct plan_sink {
    const char *name, *type; // point into parsed
    json_t *parsed;          // of sink_parse, owned
    const struct sink_ops *ops;
};
int plan_parse_sinks(struct plan *p, struct error *err) WARN_UNUSED_RESULT;
void plan_release_sinks(struct plan *p);
// Further ones, "TYPE=TARGET", behind what the JSON of a plan names.
int plan_add_sinks(json_t *plan, const char *const *texts, unsigned n, struct error *err) WARN_UNUSED_RESULT;
