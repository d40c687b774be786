// A sink: where a shard's telemetry, events and figures go beside the servers that its devices speak to: Kafka,
// InfluxDB, files. Each is bounded, and every record that it accepts ends in exactly one counted state (ledger.h):
//
//     accepted = delivered + spilled + dropped (with a reason) + in memory          at all times
//
// All of it runs on the loop's thread and never waits. A sink may have threads of its own (librdkafka) that are asked
// through descriptors. Timers of a sink are libev's own (ev_timer on loop_ev): the clock of the loop may be virtual,
// and a server lives in real time.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "metrics/metrics.h"
#include "sink/record.h"

struct loop;
struct log;

#define SINKS_MAX 8 // of one run

// What the figures of a shard are of, for whoever puts those of several runners together (engine/collect.h). The shard
// keeps it up to date.
struct sink_run {
    unsigned partition, partitions;  // 1-based; 0/0: the whole run
    int64_t elapsed_us, measured_us; // since the run began, and until it stopped; both now
    const json_t *outline;           // its plan as far as a verdict needs it; without secrets
    json_t *(*status)(void *arg);    // of the shard's groups, as it tells its supervisor: new
    void (*look)(void *arg);         // brings the above up to date
    void *arg;
};

struct sink_env {
    struct loop *loop;
    struct metrics *metrics;
    struct log *log;
    const char *run_id;         // borrowed, for as long as the sink lives
    const struct sink_run *run; // NULL: not told
    unsigned shard, shards;     // its own number, from 0, names its files and clients; how many there are
    bool resumed;               // in place of a shard that was lost: what it left on disk is ours
    // A password that an option refers to by name. NULL: ERR_NOT_FOUND, err says where it was looked for. Borrowed.
    const char *(*secret)(void *arg, const char *name, struct error *err);
    void *secret_arg;
};

// Something that happened to a device. Texts are NUL-terminated and never NULL.
struct sink_event {
    int64_t wall_us;
    const char *kind; // "online", "offline", "error", "started", "stopped", "dropout", "fault", "command"
    const char *group, *device, *model, *protocol; // "" where there is none
    const char *detail;                            // for people; may be ""
    int64_t latency_us;                            // of a connect, else -1
    bool physical;                                 // a proxy of a physical device
};

struct sink;
struct sink_ops {
    const char *name; // "kafka": the type in a scenario, and in --sink TYPE=TARGET
    bool file;        // writes files: in virtual time the supervisor does it, in order
    // What a scenario or --sink says, checked and completed with defaults: a new object, or NULL: err (unknown keys
    // name the valid ones). No network. target: the text behind --sink TYPE=, NULL for an options table.
    json_t *(*parse)(const char *target, const json_t *options, struct error *err);
    // A host that is not reached is no error: records wait, and it is tried again. A directory that cannot be written
    // is one. options: what parse has returned, borrowed for the call.
    struct sink *(*open)(const struct sink_env *env, const char *name, const json_t *options, struct error *err);
    // Accepted, skipped (it has no form for it) or dropped with a reason: all counted. May be NULL: no use for these.
    void (*telemetry)(struct sink *s, const struct record *record);
    void (*event)(struct sink *s, const struct sink_event *event);
    // The shard's registry, each `statsInterval` (5 s) and at the end. final: the last one.
    void (*figures)(struct sink *s, const struct metrics *m, int64_t wall_us, bool final);
    // How full its memory is, in percent. Virtual time waits while it is above one half.
    unsigned (*load)(const struct sink *s);
    // Its policy is to refuse what comes (`full: "block"`) and there is no room, in memory or on disk: publishers are
    // told so before they publish. NULL: never.
    bool (*full)(const struct sink *s);
    // Nothing new comes. Whether nothing is in memory; asked again and again until it is. late: the deadline has
    // passed: what is left is spilled, or else dropped{reason:deadline}, and the answer is true.
    bool (*drain)(struct sink *s, bool late);
    // What is wrong now, or was last: one line without secrets, "" when nothing ever was. May be NULL.
    const char *(*trouble)(const struct sink *s);
    // Where what was spilled and not delivered lies, "" when nothing does. May be NULL.
    const char *(*left)(const struct sink *s);
    void (*close)(struct sink *s); // what is still in memory is dropped{reason:closed}
};

const struct sink_ops *sink_find(const char *type); // NULL: not one of sink_types
const char *const *sink_types(void);                // NULL-terminated

// An entry of a plan's "sinks", {"type", "name" (default: the type), "options" or "target"}, checked: a new
// {"type", "name", "options": as parse of its type has made them}. NULL: err.
json_t *sink_parse(const json_t *entry, struct error *err);
// "TYPE=TARGET" of a command line as an entry. influx=FILE is the type line-protocol. NULL: no such type, no target.
json_t *sink_entry(const char *text, struct error *err);
// What an output that is written by the supervisor in virtual time is called there, "ndjson", and its path; NULL: the
// sink (as sink_parse has made it) is no file.
const char *sink_file_path(const json_t *parsed, enum record_format *format);
