// The delivery ledger of a plan: "ledger": {"groups": [names], absent: all; "late": us, "topics": [filters], absent: by
// the groups' own; "username", "password": text} | null. Not for other rooms.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

#define LEDGER_LATE_US 5000000
#define LEDGER_FILTERS_MAX 64u

struct plan;
struct plan_ledger {
    bool on; // false: none, or --only has left none of its groups
    int64_t late_us;
    const char *username, *password; // of the subscriber; NULL: what the groups use
    char **filters;                  // what it subscribes to; no two overlap. Owned
    unsigned n_filters;
};
// After the groups. Their configs say what they must know of it.
int plan_parse_ledger(struct plan *p, struct error *err) WARN_UNUSED_RESULT;
void plan_release_ledger(struct plan *p);
