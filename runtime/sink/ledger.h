// What became of the records of a sink. The metrics, all tagged sink:NAME, that say so to the supervisor:
//
//     sink_accepted, sink_delivered, sink_spilled, sink_unspilled, sink_dropped{reason:…}, sink_skipped,
//     sink_refused      counters
//     sink_memory, sink_memory_bytes      gauges
//
// On disk is what was spilled less what was unspilled: delivered, or dropped, from there. skipped: never accepted, the
// sink has no form for it. refused: messages that were not published because a sink with `full: "block"` had no room.
//
// As memory is what is left of the others, it always balances; a lost process takes its gauges along, and what is then
// missing from the sum was in its memory: the supervisor counts it as dropped{reason:lost}.
#pragma once
#include "metrics/metrics.h"

#define LEDGER_REASONS 16u

struct ledger {
    struct metrics *metrics;
    char name[64];
    struct metric *accepted, *delivered, *spilled, *unspilled, *skipped, *refused, *memory, *memory_bytes;
    struct {
        const char *reason;
        struct metric *counter;
    } dropped[LEDGER_REASONS];
};
// name: of the sink, at most 63 characters. -1: the registry has no room.
int ledger_create(struct ledger *l, struct metrics *m, const char *name, struct error *err) WARN_UNUSED_RESULT;
// From memory. reason: a static string: "full", "disk_full", "deadline", "closed", "refused" (by the server),
// "too_large", "no_memory", "io", "damaged" (on disk).
void ledger_drop(struct ledger *l, const char *reason, uint64_t n);
uint64_t ledger_dropped(const struct ledger *l);

static inline void ledger_accept(struct ledger *l, uint64_t n) // into memory
{
    counter_add(l->accepted, n);
    gauge_add(l->memory, (double)n);
}
static inline void ledger_deliver(struct ledger *l, uint64_t n) // from memory
{
    counter_add(l->delivered, n);
    gauge_add(l->memory, -(double)n);
}
static inline void ledger_spill(struct ledger *l, uint64_t n) // from memory to disk
{
    counter_add(l->spilled, n);
    gauge_add(l->memory, -(double)n);
}
static inline void ledger_unspill(struct ledger *l, uint64_t n) // from disk to memory; what is read ahead stays on disk
{
    counter_add(l->unspilled, n);
    gauge_add(l->memory, (double)n);
}
