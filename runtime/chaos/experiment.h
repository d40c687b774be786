// An experiment: something that goes wrong for a while, on some devices, in a window of the run's time that may come
// again. Data and pure functions; who has which clock and which devices carries it out: the supervisor and, for the
// devices, the shards (chaos.h).
//
//   {"name": default: of the profile, else the kind; "kind", "group": NAME | "groups": [NAME …] | neither: all,
//    SELECTION (device/selection.h), "from_us": default 0, "to_us": absent: until the run ends, "every_us": the window
//    begins again so much later, and again, "line": of the scenario, and by kind:
//    link        "fault": {link/fault_spec.h}, "profile": {"name", "version"}: where it is from, for marks
//    partition   the same; the fault has a `partition`
//    disconnect  "dropout": {device/dropout.h, without "at"}; how many: there, or as SELECTION
//    storm       "jitter_us", "reconnect_delay_us": default 0: those selected are cut at `from` and come back; without
//                to_us it is over when the last is back
//    broker      "action": "stop" | "kill" | "pause"; at the end it is started again, or goes on
//    clock       "offset_us", "drift": seconds a second
//    custom      "custom": number of a function of the scenario}
//
// All times are of the run, in microseconds. broker and custom have neither groups nor SELECTION.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"
#include "device/dropout.h"
#include "link/fault_spec.h"

#define EXPERIMENT_NEVER INT64_MAX
#define EXPERIMENT_EVERY_MIN_US 100000 // windows that come faster are a fault's own `during`

enum experiment_kind {
    EXPERIMENT_LINK,
    EXPERIMENT_PARTITION,
    EXPERIMENT_DISCONNECT,
    EXPERIMENT_STORM,
    EXPERIMENT_BROKER,
    EXPERIMENT_CLOCK,
    EXPERIMENT_CUSTOM,
    EXPERIMENT_KIND_MAX
};
const char *experiment_kind_name(enum experiment_kind kind); // "link", …

enum broker_action { BROKER_STOP, BROKER_KILL, BROKER_PAUSE };

struct experiment {
    json_t *json;     // held; what is const char * here lies in it
    const char *name; // as given; else experiment_parse leaves the default one
    enum experiment_kind kind;
    const char **groups; // NULL: all
    unsigned n_groups;
    int64_t from_us, to_us;   // of the first window; EXPERIMENT_NEVER: until the run ends
    int64_t every_us;         // 0: once
    int line;                 // 0: unknown
    struct fault_spec *fault; // link, partition; else NULL
    struct dropout dropout;   // disconnect, storm
    json_t *dropout_json;     // of the same, as dropout_parse reads it; else NULL
    enum broker_action action;
    int64_t offset_us; // clock
    double drift;
    unsigned custom;
};
// groups: the names there are, NULL-terminated. ERR_INVALID, and ERR_NOT_FOUND for a group that does not exist: the
// text says what was expected. The JSON is referenced, not changed.
int experiment_parse(struct experiment *e, json_t *json, const char *const *groups,
                     struct error *err) WARN_UNUSED_RESULT;
void experiment_destroy(struct experiment *e);
// Gives it another fault (link, partition): ERR_STATE for other kinds. Changes a copy of the JSON.
int experiment_retune(struct experiment *e, const json_t *fault, struct error *err) WARN_UNUSED_RESULT;
// Gives it another name. -1: no memory.
int experiment_rename(struct experiment *e, const char *name, struct error *err) WARN_UNUSED_RESULT;
// Whether it is about that group.
bool experiment_about(const struct experiment *e, const char *group);
// Whether it acts on devices at all, and whether on their network.
bool experiment_on_devices(const struct experiment *e);
bool experiment_on_network(const struct experiment *e);

// The window that goes on at now_us, or the next one: [*begin_us, *end_us), *end_us EXPERIMENT_NEVER: until the run
// ends. false: there is none any more.
bool experiment_window(const struct experiment *e, int64_t now_us, int64_t *begin_us, int64_t *end_us);

// What the shards are told when a window begins and when it ends (engine/message.h: MSG_CHANGE); NULL: without memory.
// Dropouts are told group by group (group: its name); everything else at once (group NULL). number: of the experiment
// in the run; window: 1, 2, …
bool experiment_by_group(const struct experiment *e);
json_t *experiment_begin_change(const struct experiment *e, uint64_t number, uint64_t window, const char *group);
json_t *experiment_end_change(const struct experiment *e, uint64_t number, uint64_t window, const char *group);

// "latency 200 ms, loss 5 %", "60 % drop out", "the broker is killed": for logs and marks. Returns dst.
char *experiment_describe(const struct experiment *e, char *dst, size_t size);
