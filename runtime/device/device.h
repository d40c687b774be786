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
#include "device/dropout.h"
#include "device/launch.h"
#include "device/model.h"
#include "device/stamp.h"

struct device;
struct device_command; // command.h
struct command_run;    // command.c
struct command_metrics;
struct dataset;
struct fleet;
struct rules;   // rule.h
struct failure; // failure.h
struct gateway; // gateway.h
struct relay;
struct credentials; // credentials.h
struct renewal;     // exchange.c
struct proxy;       // proxy.h
struct proxies;
struct proxy_ops;
struct impairment; // impair.h
struct path;       // link/path.h
struct path_env;
struct device_tap; // tap.h

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
    const char *secret;                    // password as it stands, where `password` is NULL: no pattern. May be NULL
    const json_t *credentials;             // what else a device proves itself with, see credentials.h; NULL: nothing
    const char *will_topic, *will_payload; // patterns, may be NULL
    int qos;                               // default for publishes of this group
    enum on_error on_error;
    unsigned max_restarts;          // of one device, ON_ERROR_RESTART
    const struct dataset *data;     // one row a device: ${data.COLUMN} in the patterns; outlives the group. NULL: none
    const json_t *proxies;          // which devices are proxies, and of what (proxy.h); NULL: as the model says
    const struct dropout *dropouts; // declared ones, copied
    unsigned n_dropouts;
    struct stamp_rule stamp; // what its messages carry, see stamp.h
    // The run accounts for what arrives of it: what it publishes must match one of these filters, which outlive it.
    bool in_ledger;
    const char *const *ledger_filters;
    unsigned n_ledger_filters;
};

struct device_block;  // group.c: what devices[] points into
struct launch_wave;   // group_launch.c
struct group_dropout; // group_dropout.c

struct send_queue { // send_queue.c
    struct metric *sum, *max;
    uint64_t next;       // local number of the next device to look at
    uint64_t seen, most; // of those before it
};

struct group {
    struct group_config config;
    struct fleet *fleet;
    const struct adapter_ops *adapter;
    struct adapter_target *target;
    struct payload *id_template, *client_id_template, *base_template;
    struct payload *username_template, *password_template, *will_topic_template, *will_payload_template;
    struct credentials *credentials; // NULL: none
    bool ids_from_data;              // and from nothing else that differs
    bool polls_commands;             // HTTP with commands.mode "poll": one path for all of them
    // launch
    struct timer launch_timer;
    uint64_t launch_next;      // local number of the next device to start; stages: how many the plan has up
    struct launch_wave *waves; // places whose launch is not over, oldest first
    int64_t launch_end_us;     // when that of the last wave is over, from the start of the run
    uint64_t owned;            // length of devices[]
    struct device **devices;   // by local number; NULL: removed
    struct device_block *blocks;
    struct group_dropout *dropouts; // not over yet
    uint64_t dropped;               // devices that a dropout took offline and that are not back
    struct model *own_model;        // config.model, once a change gave the group a model of its own
    struct retired_model *retired;  // earlier ones, while something under way may still look at them
    uint64_t by_state[DEVICE_STATE_MAX];
    uint64_t by_conn[CONN_STATE_MAX];
    // Devices that were started and that ended in error, of those that are there; that were ever online, of all.
    uint64_t started, failed, ever_online;
    struct relay *relay;                           // of gateways with children, else NULL
    const struct group *behind;                    // of children: the group of their gateways; else NULL
    struct proxies *proxies;                       // NULL: none of its devices is a proxy
    struct rule_metrics *rule_metrics;             // rule.c, NULL: nothing counted yet
    struct metric *generated;                      // samples generated
    struct metric *late_ticks;                     // tick_late: see late_ticks_count
    struct metric *state_gauges[DEVICE_STATE_MAX]; // devices{group,state}
    struct command_metrics *command_metrics;       // NULL until a command arrives
    struct metric *credential_refreshes;           // NULL until the first one
    struct metric *conn_gauges[CONN_STATE_MAX];    // connections{group,state}
    struct metric *dropouts_counter;               // dropouts{group}
    struct send_queue send_queue;
    unsigned place; // in fleet->groups, once stamps are in use
};

// The latest value of an attribute; where `fixed` (setState) it takes the place of what the generator makes.
struct kept {
    struct value value;
    char *text; // owned copy of value.str, or NULL
    bool fixed;
};

struct device_stream { // one timer a stream of a model-driven device
    struct timer timer;
    struct device *device;
    const struct model_stream *stream;
    struct rng rng; // own generator: values do not depend on how streams interleave
    int64_t next_us;
    uint64_t sent;             // messages made so far
    int64_t first_us;          // loop time that the first one belongs to
    struct gen_state states[]; // n_states
};

struct device_retry; // the timer of a device that waits to be restarted after an error; device.c

struct device {
    slot_id id;
    uint64_t index; // 1-based, in the whole run
    struct group *group;
    struct adapter_conn *conn;      // NULL until first wanted
    void *behaviour;                // owned by device_ops
    struct device_stream **streams; // n of the model, NULL when telemetry was never on
    struct kept *kept;              // latest values by slot, NULL unless the model keeps them
    struct rules *rules;            // of the model's behaviors, NULL: none
    struct failure *failures;       // those that go on now, NULL: none
    struct command_run *commands;   // under way, NULL: none
    struct rng rng;                 // of the behaviour
    struct device *deferred;        // next in the fleet's end-of-turn list
    struct device_retry *retry;     // NULL unless it waits to be restarted
    struct gateway *gateway;        // with children: since it was first started
    struct proxy *proxy;            // while it is started
    struct renewal *renewal;        // of a credential that expires, while connected; NULL: none
    struct impairment *impairment;  // of its network and its clock, from outside; NULL: none
    uint8_t state;                  // enum device_state
    uint8_t conn_state;             // enum conn_state
    uint8_t ever_online;
    uint8_t close_mode;      // enum adapter_close, of a close that waits for the end of the turn
    uint16_t starts;         // how often it was started; seeds its values anew at each
    uint8_t sparkplug_seq;   // of the next message
    uint8_t sparkplug_birth; // bdSeq of this connection
    uint32_t flags;          // of internal.h
    uint32_t restarts;       // after errors
    uint32_t next_token;
    uint32_t connecting; // loop time / 16 us since which it is about to be online: of use to a tap, below 19 hours
};

// What a behaviour must do. Every function may be NULL only if no group has a behaviour. For each start that returned 0
// stop is called exactly once, also after device_finished; nothing else is called after it until the next start. All of
// them may call any device_* function. online is told again after every reconnect. Before the first one of a connection
// the model's commands are subscribed: their topics or BASE/commands/NAME, and BASE/command. message is told of a
// command too, after it went to hook_command or was answered.
// A device without a behaviour whose `behaviour` pointer a hook has set is told online, offline, message and done too.
struct device_ops {
    // The device was launched (or restarted). -1: the device goes to error.
    int (*start)(void *arg, struct device *device, struct error *err);
    // The device is stopping or gone: cancel its tasks. The connection is closed by the fleet afterwards.
    void (*stop)(void *arg, struct device *device);
    void (*online)(void *arg, struct device *device, bool session_present);
    void (*offline)(void *arg, struct device *device, const struct error *why, bool will_retry);
    void (*message)(void *arg, struct device *device, const struct adapter_message *message);
    void (*done)(void *arg, struct device *device, uint32_t token, int granted_qos, const struct error *err);

    // Hooks: what a model leaves to Lua, by the numbers of model->hooks, for devices with a behaviour and without. All
    // may be NULL when no model has hooks. The implementer makes what it needs for a device at its first hook and frees
    // it in `release`, which is called for a device without a behaviour whose `behaviour` pointer is set when it stops,
    // and cancels the tasks of its hooks. No hook is called for a device that is neither starting nor running.
    //
    // At once and bounded; nothing in it may block. -1: it raised or ran too long: err. Texts of *out:
    // context->scratch.
    int (*hook_generate)(void *arg, struct device *device, int hook, const json_t *params,
                         const struct gen_context *context, struct value *out, struct error *err);
    // Appends the message of one stream; scope->values by position of stream->attributes.
    int (*hook_encode)(void *arg, struct device *device, int hook, const struct model_stream *stream,
                       const struct payload_scope *scope, struct buf *out, struct error *err);
    // Carries a command out in a task of its own, which may block, and ends with device_answer (command.h). hook -1:
    // the behaviour's own handler. -1: nobody takes it (err ERR_NOT_FOUND), or the task could not be made.
    int (*hook_command)(void *arg, struct device *device, int hook, const struct device_command *command,
                        struct error *err);
    // An action of a model in a task of its own. what: name of the behavior and its params, as an object.
    int (*hook_custom)(void *arg, struct device *device, int hook, const json_t *params, const json_t *what,
                       struct error *err);
    void (*release)(void *arg, struct device *device);
    // A command was not answered in time: its handler's task is to end. The behaviour's own handler may go on.
    void (*hook_cancel)(void *arg, struct device *device, uint32_t command);
    // What follows is for devices with a behaviour, and for those whose `behaviour` pointer a hook has set. Each may be
    // NULL.
    //
    // The answer to a device_request, or a notification: as adapter_events.on_response.
    void (*response)(void *arg, struct device *device, uint32_t token, const struct adapter_response *response,
                     const struct error *err);
    // A client asks a path of device_serve (those of the model's commands never come here): as
    // adapter_events.on_request. To be answered with device_respond; one that nobody takes is answered 404 by a return
    // of -1 (err->text is its body).
    int (*request)(void *arg, struct device *device, uint64_t ticket, const struct adapter_request *request,
                   struct error *err);
    // Enhanced authentication: as adapter_events.on_auth. At once; nothing in it may block. ERR_NOT_FOUND: the
    // behaviour has none.
    int (*auth)(void *arg, struct device *device, const uint8_t *data, size_t n, struct buf *reply, struct error *err);
    // The hooks of a model that the group is about to use, before it does and before its first device starts. -1: one
    // of them is not to be found; the group keeps the model it has.
    int (*hook_resolve)(void *arg, struct group *group, const struct model *model, struct error *err);
    // Faults begin to act on the device's network: every connection that its behaviour has made beside its own is to
    // pass through this path (adapter_ops.conn_path), and new ones, as long as device_path (impair.h) says so. NULL:
    // nothing acts any more.
    void (*path)(void *arg, struct device *device, struct path *path);
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
    // Whether a device may start at all; -1: it goes to error. Arg: on_device_error_arg. May be NULL.
    int (*may_start)(void *arg, struct device *device, struct error *err);
    // A device failed (behaviour error, or its group says fail): for the report. May be NULL.
    void (*on_device_error)(void *arg, struct device *device, const char *text, bool fail_run);
    void *on_device_error_arg;
    // A connection attempt failed (was_online false) or a connection was lost, not by this side's wish. Same arg. May
    // be NULL.
    void (*on_conn_error)(void *arg, struct device *device, const struct error *why, bool was_online);
    // The adapters there are; NULL: the built-in ones. Outlives the fleet.
    const struct adapter_registry *adapters;
    // In their place: virtual time, tests.
    const struct adapter_ops *(*find_adapter)(const char *scheme_or_name);
    const char *const *adapter_names;  // NULL-terminated, for error texts
    const struct model_env *model_env; // for models that a change brings; may be NULL
    // How physical devices are reached, and the broker that a proxy without one of its own means; ops NULL: groups with
    // proxies are refused.
    const struct proxy_ops *proxy;
    void *proxy_arg;
    const char *proxy_url;
    // What faults of devices' networks need (link/path.h); NULL: none are possible. Outlives the fleet.
    struct path_env *paths;
    // A device was made, at the beginning or since: before anything else happens to it. `count`: devices that its group
    // has from then on. May be NULL.
    void (*on_made)(void *arg, struct device *device, uint64_t count);
    void (*on_gone)(void *arg, struct device *device); // one leaves its group: its last moment. Same arg
    void *on_made_arg;
    // Who listens to all devices; NULL: nobody. Outlives the fleet.
    const struct device_tap *tap;
    // In place of a process that was lost: dropouts that began before fleet_start keep their devices from starting.
    bool resumed;
    uint16_t epoch; // how many processes held these devices before: of stamps, see stamp.h
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
// Whether its launch plan is not over: a device is still to be started, or a stage has not ended.
bool group_launching(const struct group *group);
// Devices that are there in this process: owned less those that were removed.
uint64_t group_population(const struct group *group);
// True when no device is active or waits to be started, now or (before fleet_stop) later.
bool fleet_idle(const struct fleet *fleet);
// How many messages of each device of a group went out with a stamp, by local number: stamps_sent.
uint64_t fleet_sent(const struct fleet *fleet, unsigned group, const uint32_t **counts);
struct loop *fleet_loop(const struct fleet *fleet);
uint64_t fleet_seed(const struct fleet *fleet);
// For connections that are no device's own (script room): what adapters get, and the adapter of a URL's scheme; NULL:
// err names those there are, or says that it was built for another ABI.
const struct adapter_env *fleet_env(const struct fleet *fleet);
const struct adapter_ops *fleet_adapter(const struct fleet *fleet, const char *scheme, struct error *err);
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
// Wall time as the device's clock shows it.
int64_t device_wall_us(const struct device *device);
// Publishes what the model makes, as the model's streams do: QoS of the model, failures that go on applied. -1: only
// what will never get better (ERR_INVALID, a bad topic); a full queue or a lost connection is counted by the adapter.
int device_emit(struct device *device, const char *topic, size_t topic_len, const void *payload, size_t n,
                struct error *err) WARN_UNUSED_RESULT;
int device_emit_with(struct device *device, const char *topic, size_t topic_len, const void *payload, size_t n,
                     const struct adapter_meta *meta, struct error *err) WARN_UNUSED_RESULT;
// The latest value of an attribute, VALUE_NULL when there is none (or the model keeps none).
void device_value(const struct device *device, unsigned slot, struct value *out);
// Fixes an attribute to a JSON value (converted to its type), or with NULL or null lets its generator go on. The model
// must keep values. -1: the value does not fit the type.
int device_fix(struct device *device, unsigned slot, const json_t *value, struct error *err) WARN_UNUSED_RESULT;
// Several attributes at once, as setState of a model's behavior: behaviors hear "stateChanged", conditions are looked
// at. state: object of names and values; an unknown name is an error.
int device_set_state(struct device *device, const json_t *state, struct error *err) WARN_UNUSED_RESULT;
// Makes a failure begin (kinds and params: failure.h). duration_us 0: it stays until healed. -1: unknown kind or
// parameter, not possible for this device.
int device_fail_inject(struct device *device, const char *kind, const json_t *params, int64_t duration_us,
                       struct error *err) WARN_UNUSED_RESULT;
// Ends a failure (NULL: all) now, as if its duration were over. Nothing to end is fine; -1: an unknown kind.
int device_heal(struct device *device, const char *kind, struct error *err);
// Opens the connection (makes it first). ERR_STATE when already open or opening, or when the device is not started;
// ERR_CANCELLED when the fleet is stopping. While a close is under way, or from inside an event of the same connection,
// it opens at the end of the turn: what fails then comes as ops.offline.
int device_connect(struct device *device, struct error *err) WARN_UNUSED_RESULT;
// From inside an event of the same connection it is closed at the end of the turn, so that what answers the event still
// goes out; for everybody else it is closing at once.
void device_disconnect(struct device *device, enum adapter_close mode);
// Connected, and not closing.
bool device_online(const struct device *device);
// Neither connected nor about to be: device_connect is what it needs.
bool device_idle(const struct device *device);
// A new connection has been asked for and waits for the former one to end, or for the end of the turn: an offline that
// comes now is the former one's.
bool device_opening(const struct device *device);
// token: 0 or a token from device_token; see adapter_ops.
int device_publish(struct device *device, const struct adapter_message *m, uint32_t token,
                   struct error *err) WARN_UNUSED_RESULT;
int device_subscribe(struct device *device, const char *filter, int qos, uint32_t token,
                     struct error *err) WARN_UNUSED_RESULT;
int device_unsubscribe(struct device *device, const char *filter, uint32_t token, struct error *err) WARN_UNUSED_RESULT;
uint32_t device_token(struct device *device); // never 0
// What follows is as the adapter's function of that name. ERR_UNSUPPORTED says which adapter has none; ERR_STATE: not
// connected. Nothing is ever delivered inside a call.
int device_subscribe_with(struct device *device, const struct adapter_subscription *s, uint32_t token,
                          struct error *err) WARN_UNUSED_RESULT;
int device_request(struct device *device, const struct adapter_request *request, uint32_t token,
                   struct error *err) WARN_UNUSED_RESULT;
// Nothing more comes for that token; one that is over, or a device without a connection, is fine.
void device_request_cancel(struct device *device, uint32_t token);
// Works whether connected or not, for a device that is starting or running (else ERR_STATE); ends when it stops. A path
// that the model's commands are served at is refused (ERR_INVALID).
int device_serve(struct device *device, const char *path, const json_t *attributes,
                 struct error *err) WARN_UNUSED_RESULT;
void device_unserve(struct device *device, const char *path);
int device_notify(struct device *device, const char *path, struct error *err) WARN_UNUSED_RESULT;
int device_respond(struct device *device, uint64_t ticket, const struct adapter_response *response,
                   struct error *err) WARN_UNUSED_RESULT;
int device_served_at(struct device *device, struct buf *out, struct error *err) WARN_UNUSED_RESULT;
// What the adapter of a connection asks of this device, by the group's patterns: for a side connection, whose own
// credentials (credentials.h) come first. The group's will and Sparkplug's death certificate are not for side
// connections: do not ask for them there.
int device_field(struct device *device, enum adapter_field field, struct buf *out,
                 struct error *err) WARN_UNUSED_RESULT;
// The fields that its devices have, as far as the group says: bit 1u << FIELD_…. A field of a data file may still be
// empty for one of them.
uint32_t group_fields(const struct group *g);
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
// Stops it gracefully if need be and takes it out of its group at the end of the turn in which it is stopped: its id is
// no longer found, its place in group->devices is NULL. Safe at any moment; the pointer is good until the turn ends.
void device_destroy(struct device *device);
// Ends the tasks of its behaviour and begins the behaviour anew at the end of the turn, on the connection it has. A
// no-op for a device without a behaviour that runs.
void device_renew(struct device *device);
// Bytes of user-space memory, connection included, Lua excluded.
size_t device_footprint(const struct device *device);
