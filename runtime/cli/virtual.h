// The options of virtual time, --virtual, --from, --for, and of where messages go: --sink.
#pragma once
#include "cli/launch.h"

// Checks them and fills l->config.virtual_time. EXIT_USAGE after complaining, or 0.
int virtual_resolve(struct session *s, struct launch_plan *l) WARN_UNUSED_RESULT;
// Into l->config once it has been cleared.
void virtual_configure(const struct session *s, struct launch_plan *l);
