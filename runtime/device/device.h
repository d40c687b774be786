// A virtual device, its lifecycle, its group, and the fleet: all devices of one shard.
//
// The device room knows no Lua. What it asks of a behaviour is `struct device_ops`; the script room implements it.
// A group with a model and no behaviour is driven here: connect, then one timer a stream. A group with a behaviour
// leaves connecting and publishing to it (and to device_telemetry for the model's streams).
#pragma once
#include "adapter/adapter.h"
#include "core/loop.h"
#include "core/rng.h"
#include "core/slots.h"
#include "device/launch.h"
#include "device/model.h"

struct device;
struct fleet;

// created → starting → running → stopping → stopped; any → error; stopped/error → starting (restart). Beside these,
// created → stopped (stopped before it was launched) and starting → stopping (stopped before it was online).
// A device driven by its model is running from the first time it is online, one with a behaviour from ops.start on.
enum device_state {
    DEVICE_CREATED,
    DEVICE_STARTING,
    DEVICE_RUNNING,
    DEVICE_STOPPING,
    DEVICE_STOPPED,
    DEVICE_ERROR,
    DEVICE_STATE_MAX
};
enum conn_state { CONN_DISCONNECTED, CONN_CONNECTING, CONN_CONNECTED, CONN_RECONNECTING, CONN_STATE_MAX };
const char *device_state_name(enum device_state s);
const char *conn_state_name(enum conn_state s);
// The legal transitions, as a table (tested entry by entry).
bool device_may(enum device_state from, enum device_state to);

enum on_error { ON_ERROR_STOP, ON_ERROR_RESTART, ON_ERROR_FAIL };

struct group_config {
    const char *name;
    unsigned number;           // place in the scenario
    uint64_t count;            // of the whole run, all shards
    const struct model *model; // may be NULL
    bool behaviour;            // device_ops.start is asked to run one
    struct launch launch;
    const char *url;               // target, resolved: "mqtt://127.0.0.1:1883"
    const json_t *options;         // of the adapter, may be NULL
    const char *id_pattern;        // "${groupId}-${index}"
    const char *client_id_pattern; // NULL: the model's or "${deviceId}"
    const char *topic_base;        // "${groupId}/${deviceId}"; a topic without "/" hangs below it
    const char *username;          // patterns, may be NULL
    const char *password;
    const char *will_topic, *will_payload; // patterns, may be NULL
    int qos;                               // default for publishes of this group
    enum on_error on_error;
    unsigned max_restarts; // of one device, ON_ERROR_RESTART
};

struct group {
    struct group_config config;
    struct fleet *fleet;
    const struct adapter_ops *adapter;
    struct adapter_target *target;
    struct payload *id_template, *client_id_template, *base_template;
    struct payload *username_template, *password_template, *will_topic_template, *will_payload_template;
    // launch
    struct timer launch_timer;
    uint64_t launch_next;    // 0-based place of the next device of this shard to start
    uint64_t owned;          // devices of this shard
    struct device **devices; // by local number
    uint64_t by_state[DEVICE_STATE_MAX];
    uint64_t by_conn[CONN_STATE_MAX];
    uint64_t started, ever_online, failed; // devices that were started, were online at least once, ended in error
    struct metric *generated;              // samples generated
    struct metric *late_ticks;             // tick_late: see late_ticks_count
    struct metric *state_gauges[DEVICE_STATE_MAX]; // devices{group,state}
    struct metric *conn_gauges[CONN_STATE_MAX];    // connections{group,state}
    struct device *block;                          // what devices[] points into
};

struct device_stream { // one timer a stream of a model-driven device
    struct timer timer;
    struct device *device;
    const struct model_stream *stream;
    struct rng rng; // own generator: values do not depend on how streams interleave
    int64_t next_us;
    uint64_t sent;             // messages made so far
    struct gen_state states[]; // n_attributes
};

struct device_retry; // the timer of a device that waits to be restarted after an error; device.c

struct device {
    slot_id id;
    uint64_t index; // 1-based, in the whole run
    struct group *group;
    struct adapter_conn *conn;      // NULL until first wanted
    void *behaviour;                // owned by device_ops
    struct device_stream **streams; // n of the model, NULL when telemetry was never on
    struct rng rng;                 // of the behaviour
    struct device *deferred;        // next in the fleet's end-of-turn list
    struct device_retry *retry;     // NULL unless it waits to be restarted
    uint8_t state;                  // enum device_state
    uint8_t conn_state;             // enum conn_state
    uint8_t ever_online;
    uint16_t flags;    // of device.c
    uint16_t starts;   // how often it was started; seeds its values anew at each
    uint32_t restarts; // after errors
    uint32_t next_token;
    uint32_t overruns; // kept by the guard
};

// What a behaviour must do. Every function may be NULL only if no group has a behaviour. For each start that returned 0
// stop is called exactly once, also after device_finished; nothing else is called after it until the next start. All of
// them may call any device_* function. online is told again after every reconnect. Before the first one of a connection
// the model's commands are subscribed: their topics, or BASE/commands/NAME.
struct device_ops {
    // The device was launched (or restarted). -1: the device goes to error.
    int (*start)(void *arg, struct device *device, struct error *err);
    // The device is stopping or gone: cancel its tasks. The connection is closed by the fleet afterwards.
    void (*stop)(void *arg, struct device *device);
    void (*online)(void *arg, struct device *device, bool session_present);
    void (*offline)(void *arg, struct device *device, const struct error *why, bool will_retry);
    void (*message)(void *arg, struct device *device, const struct adapter_message *message);
    void (*done)(void *arg, struct device *device, uint32_t token, int granted_qos, const struct error *err);
};

// Which devices of a group belong to this process: those whose 0-based place p has p % partitions == partition and
// (p / partitions) % shards == shard.
struct ownership {
    uint32_t partition, partitions, shard, shards;
};
uint64_t ownership_count(const struct ownership *o, uint64_t count);
uint64_t ownership_place(const struct ownership *o, uint64_t local); // local number → 0-based place

struct fleet_config {
    struct adapter_env env;
    const struct device_ops *ops;
    void *ops_arg;
    uint64_t seed;
    struct ownership owner;
    // A device failed (behaviour error, or its group says fail): for the report. May be NULL.
    void (*on_device_error)(void *arg, struct device *device, const char *text, bool fail_run);
    void *on_device_error_arg;
    // A connection attempt failed (was_online false) or a connection was lost, not by this side's wish. Same arg. May
    // be NULL.
    void (*on_conn_error)(void *arg, struct device *device, const struct error *why, bool was_online);
    // Where adapters come from; NULL: adapter_find and adapter_names. For plugins and tests.
    const struct adapter_ops *(*find_adapter)(const char *scheme_or_name);
    const char *const *adapter_names; // NULL-terminated, for error texts
};
struct fleet *fleet_new(const struct fleet_config *config, struct error *err);
// Stops everything abruptly and frees it.
void fleet_delete(struct fleet *fleet);
// Strings of the config are copied. NULL: bad URL, unknown scheme (names the valid ones), bad pattern or options.
struct group *fleet_add_group(struct fleet *fleet, const struct group_config *config, struct error *err);
// Begins launching all groups; start_us: loop time that counts as 0 of the run (may be past after a shard's restart:
// overdue devices then start at once, at most 64 a turn).
void fleet_start(struct fleet *fleet, int64_t start_us);
// Microseconds since time 0 of the run; 0 before fleet_start.
int64_t fleet_elapsed_us(const struct fleet *fleet);
// No new work: launches end, behaviours are stopped, telemetry ends. Connections stay until drained (adapter pending()
// == 0) or deadline_us (loop time), then disconnect gracefully. At most 256 devices a turn, so that a large fleet does
// not stall the loop. Called again it moves the deadline. What is not gone a second after the deadline is cut off.
void fleet_stop(struct fleet *fleet, int64_t deadline_us);
// True when no device is active or waits to be started, now or (before fleet_stop) later.
bool fleet_idle(const struct fleet *fleet);
struct loop *fleet_loop(const struct fleet *fleet);
uint64_t fleet_seed(const struct fleet *fleet);
struct device *fleet_find(const struct fleet *fleet, slot_id id);
unsigned fleet_group_count(const struct fleet *fleet);
struct group *fleet_group(const struct fleet *fleet, unsigned i);
// Publishes the gauges devices{group,state} and connections{group,state} into the metrics (called before a snapshot).
void fleet_report(struct fleet *fleet);

// "sensors-17": appended. Rendered when needed, never kept.
int device_name(const struct device *device, struct buf *out) WARN_UNUSED_RESULT;
// A topic as the author writes it: without "/" → base + "/" + topic; a leading "/" is cut and the rest taken as it is;
// otherwise as it is. ${…} of the scope are not expanded here.
int device_topic(const struct device *device, const char *topic, size_t n, struct buf *out) WARN_UNUSED_RESULT;
// Opens the connection (makes it first). ERR_STATE when already open or opening, or when the device is not started;
// ERR_CANCELLED when the fleet is stopping. While a close is under way, or from inside an event of the same connection,
// it opens at the end of the turn: what fails then comes as ops.offline.
int device_connect(struct device *device, struct error *err) WARN_UNUSED_RESULT;
void device_disconnect(struct device *device, enum adapter_close mode);
// token: 0 or a token from device_token; see adapter_ops.
int device_publish(struct device *device, const struct adapter_message *m, uint32_t token,
                   struct error *err) WARN_UNUSED_RESULT;
int device_subscribe(struct device *device, const char *filter, int qos, uint32_t token,
                     struct error *err) WARN_UNUSED_RESULT;
int device_unsubscribe(struct device *device, const char *filter, uint32_t token, struct error *err) WARN_UNUSED_RESULT;
uint32_t device_token(struct device *device); // never 0
// One tick of telemetry, of a model or a behaviour, that came late_us behind its time (late: by more than 10 ms and
// more than 10 % of the interval), and `skipped` ticks before it that never came: all late. Into group->late_ticks.
void late_ticks_count(struct metric *late_ticks, int64_t interval_us, int64_t late_us, uint64_t skipped);
// Turns the model's streams on or off; they send only while the device is online, starting at a seeded random phase
// within the interval at each connect. -1: the group has no model with telemetry (ERR_UNSUPPORTED), the device is not
// started.
int device_telemetry(struct device *device, bool on, struct error *err) WARN_UNUSED_RESULT;
// The behaviour ended by itself (error_text NULL: the device stops gracefully) or with an error, to which the group's
// on_error applies. Not from inside ops.start. A no-op when the device is stopping or gone.
void device_finished(struct device *device, const char *error_text);
// For the author and for faults. Safe at any moment: memory goes at the end of the turn. Stopping a device that was
// never launched keeps it from being launched; stopping one that waits for a restart leaves it in error.
void device_stop(struct device *device, enum adapter_close mode);
// Stops it if need be and starts it anew (new connection, values from their beginning) at the end of a turn.
// ERR_CANCELLED when the fleet is stopping.
int device_restart(struct device *device, struct error *err) WARN_UNUSED_RESULT;
// Bytes of user-space memory, connection included, Lua excluded.
size_t device_footprint(const struct device *device);
