// Errors grouped by reason, bounded: a shard counts here what happens to its devices and ships first occurrences and
// counts; the supervisor sums what comes.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULTS_MAX 64 // reasons; what comes later is counted as "other"

struct fault {
    bool conn;       // a connection's, else a device's
    char reason[64]; // "timeout", "script: fleet.lua:12: …"
    char text[256];  // the first one
    char device[96]; // whose
    char group[128];
    uint64_t count, sent; // sent: of it already reported upwards
    int64_t first_us;     // elapsed
};
struct faults {
    unsigned n;
    struct fault list[FAULTS_MAX];
};
// Counts; *fresh: it is the first of its reason and the caller fills the rest.
struct fault *faults_add(struct faults *f, bool conn, const char *reason, uint64_t count, bool *fresh);
// prefix + first line of the text, cut at a whole UTF-8 character.
void fault_reason(const char *prefix, const char *text, char *dst, size_t size);
