// The sinks of a shard: opened before its devices are made, fed by a tap, drained when the devices are gone. In virtual
// time those that are files are the supervisor's business (virtual.h), and the clock waits for the others. Not for
// other rooms.
#pragma once
#include <jansson.h>
#include "device/tap.h"
#include "engine/plan.h"
#include "sink/sink.h"

struct sinks_config {
    struct loop *loop;
    struct metrics *metrics;
    struct log *log;
    const struct plan *plan;
    const struct secrets *secrets;
    const char *run_id;
    unsigned shard, shards;
    bool resumed, virtual_time;
    const struct sink_run *run; // borrowed, for as long as the sinks live; NULL: not told
    // Virtual time: a server was waited for too long, and nothing was ever delivered.
    void (*give_up)(void *arg, const struct error *why);
    void *arg;
};
struct sinks;
// NULL with err->code ERR_NONE: the plan has none that are of use here. NULL: one of them cannot be opened.
struct sinks *sinks_open(const struct sinks_config *config, struct error *err);
void sinks_delete(struct sinks *s);
const struct device_tap *sinks_tap(const struct sinks *s); // NULL for NULL
// Virtual time does not wait any more.
void sinks_release(struct sinks *s);
// Nothing new comes; true: everything is where it belongs. late: see sink_ops.drain. True for NULL.
bool sinks_drain(struct sinks *s, bool late);
// [{"name", "trouble", "left"}]; NULL for NULL.
json_t *sinks_report(const struct sinks *s);
