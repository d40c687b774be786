// What the files of this room share. Not for other rooms.
#pragma once
#include "device/device.h"
#include "device/tap.h"

enum {
    FLEET_STARTS_A_TURN = 64,   // launches and restarts together
    FLEET_STOPS_A_TURN = 256,   // devices told to stop, or closed, in a drain
    FLEET_SETTLES_A_TURN = 512, // end-of-turn work
    DRAIN_POLL_US = 10000,      // how often a drain looks at pending()
    DRAIN_GRACE_US = 1000000,   // behind the deadline: then connections are cut off
    FLEET_MAX_TEXT = 64 << 10,  // a rendered id or topic
    FLEET_MAX_PAYLOAD = 1 << 20,
};

enum device_flag {
    FLAG_BEHAVIOUR = 1 << 0,      // ops.start returned 0 (or runs), ops.stop not yet called
    FLAG_IN_START = 1 << 1,       // inside ops.start
    FLAG_STOP_BEHAVIOUR = 1 << 2, // was stopped inside ops.start: ops.stop is due when it returns
    FLAG_TELEMETRY = 1 << 3,      // streams are wanted whenever online
    FLAG_IN_EVENT = 1 << 4,       // inside an event of its connection
    FLAG_CLOSING = 1 << 5,        // conn_close was called, on_offline has not come
    FLAG_OPEN = 1 << 6,           // open the connection when the turn ends
    FLAG_OPEN_GIVEN_UP = 1 << 7,  // the same, but disconnected before: only tell that it is offline
    FLAG_RESTART = 1 << 8,        // start anew once stopped
    FLAG_DEFERRED = 1 << 9,       // in the fleet's end-of-turn list
    FLAG_FAILED = 1 << 10,        // counted in group->failed
    FLAG_SUBSCRIBED = 1 << 12,    // the model's commands, on this connection
    FLAG_COUNTED = 1 << 11,       // counted in group->started
    FLAG_DESTROY = 1 << 16,       // leaves its group once stopped
    FLAG_DROPPED = 1 << 17,       // counted in group->dropped
    FLAG_PLAN_DOWN = 1 << 18,     // stopped by a falling stage of the launch plan
    FLAG_RENEW = 1 << 19,         // its behaviour begins anew when the turn ends
    FLAG_CLOSE_DUE = 1 << 20,     // closing, and conn_close is called when the turn ends, with close_mode
};

struct fleet {
    struct fleet_config config;
    struct slots *slots;
    struct group **groups;
    unsigned n_groups;
    struct loop_hook hook; // settles deferred devices
    struct device *deferred_first, *deferred_last;
    struct failure *rivals; // over, and still with their connections: failures_reap
    unsigned starts_left;   // of FLEET_STARTS_A_TURN
    uint64_t retries;       // devices that wait for a restart
    bool started, stopping;
    bool forwarding; // a gateway publishes for its children: see tap_forward
    bool sampling;   // a message is being made, in scratch: nothing else may be that needs it
    int64_t start_us, deadline_us;
    struct timer drain_timer;
    struct change_job *jobs; // group_change.c: asked for and not carried out, in order
    struct timer job_timer;
    unsigned drain_group; // cursor of the first pass of a drain
    uint64_t drain_local;
    // Scratch of one render; nothing in it outlives a call.
    struct buf id, topic, payload;
    struct buf gateway_id; // of the device whose id is in `id`, if it is a child
    struct value *values;  // of the model with the most attributes in one stream
    unsigned n_values;
    struct value *latest; // a device's latest values by slot, for expressions
    unsigned n_latest;
    struct scratch texts;  // of the values of one message
    struct metric nowhere; // series when there is no registry
    struct stamps *stamps; // NULL: no group stamps its messages
};

// fleet.c
// How many of what is spread over turns may be done in this one: n, and all of it in virtual time, where an instant is
// done as a whole (loop_simulate).
unsigned fleet_a_turn(const struct fleet *fleet, unsigned n);
void fleet_defer(struct fleet *fleet, struct device *d);
// group_data.c: whether there is a row for each of `count` devices, and an id of its own.
int group_check_data(struct group *group, uint64_t count, struct error *err);
// group.c
void group_delete(struct group *group);
int group_reserve_values(struct fleet *fleet, const struct model *m, struct error *err);
// Makes the devices whose place is below `count` and that devices[] has no room for yet.
int group_make_devices(struct group *group, uint64_t count, struct error *err);
void group_forget(struct group *group, struct device *d); // destroyed: nothing of it may be used any more
// send_queue.c
void send_queue_look(struct group *group);
// group_launch.c
void group_launch(struct group *group); // the fleet has started
void group_launch_stop(struct group *group);
bool group_launched(const struct group *group); // no device is still to be started
// Places first … first + count - 1 are launched by the group's plan from at_us on (of the run), behind those that are.
int group_launch_more(struct group *group, uint64_t first, uint64_t count, int64_t at_us, struct error *err);
// group_dropout.c
// devices: an object whose "devices" lists those it is about, in their order; without one, or NULL: those that the
// dropout's number and the group's name draw. number: of the dropout in the run. kept: until group_dropout_end. *n: how
// many will drop out here.
int group_dropout(struct group *group, const struct dropout *spec, const json_t *devices, uint64_t number, bool kept,
                  int64_t at_us, uint64_t *n, struct error *err);
// Ends it: nobody else drops out, and who is down because of it comes back, as many a turn as may start. *n: how many.
int group_dropout_end(struct group *group, uint64_t number, uint64_t *n, struct error *err);
void group_dropouts_start(struct group *group); // the fleet has started
void group_dropouts_stop(struct group *group);
void group_dropouts_delete(struct group *group);
void device_undrop(struct device *d); // back, or gone for another reason
// group_model.c
int group_set_model(struct group *group, struct model *stolen, struct error *err);
void group_models_delete(struct group *group);
// group_change.c
void changes_cancel(struct fleet *fleet); // those that wait are answered: the run is stopping
// device.c
void device_set_conn(struct device *d, enum conn_state to);
void device_launch(struct device *d); // created, stopped or error → starting
void device_settle(struct device *d); // end of turn
void device_begin_drain(struct device *d);
void device_cut(struct device *d); // stopping → stopped without waiting for the adapter
void device_fail(struct device *d, const char *text);
void device_silence(struct device *d);    // ops.stop if due, streams stop
void device_free_parts(struct device *d); // connection, streams, retry; not from inside events
void device_cancel_retry(struct device *d);
extern const struct adapter_events device_events;
// Whether there is a connection that takes something, or may while it reconnects.
int device_usable(const struct device *d, struct error *err);
int device_make_conn(struct device *d, struct error *err);
int device_transmit(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err);
// Inside a hook of a generator or an encoder, of any device: -1.
int device_busy(const struct device *d, struct error *err);
// exchange.c
void device_refuse(struct device *d, uint64_t ticket, unsigned status, const char *text); // answers a request
// As device_serve, for the device room itself.
int device_serve_path(struct device *d, const char *path, const json_t *attributes, struct error *err);
void exchange_response(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err);
void exchange_request(void *owner, uint64_t ticket, const struct adapter_request *request);
int exchange_auth(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err);
void renewal_begin(struct device *d); // online
void renewal_end(struct device *d);
size_t renewal_footprint(const struct device *d);
// rule.c
void rules_group_free(struct group *g);
// stream.c
int device_keep_values(struct device *d, struct error *err); // from now on, if the model has it so
int streams_new(struct device *d, struct error *err);
void streams_start(struct device *d);
void streams_stop(struct device *d);
void stream_arm(struct device_stream *s); // its timer, at next_us
size_t streams_footprint(const struct device *d);
void streams_free(struct device *d);
// sparkplug.c; nothing happens unless the model is a Sparkplug node
void sparkplug_online(struct device *d);
void sparkplug_born(struct device *d);  // a birth certificate
void sparkplug_leave(struct device *d); // before a clean DISCONNECT: the death certificate
bool sparkplug_message(struct device *d, const struct adapter_message *m); // whether it was a command of the host
// command.c
void commands_group_free(struct group *g);
size_t commands_footprint(const struct device *d);
// identity.c
// The topics of a device hang below it: the group's pattern rendered; of a child its gateway's and the child's id.
int device_base(const struct device *d, struct buf *out, struct error *err);
// Random numbers of a device: the same in every run of that seed, on any number of shards.
void device_seed(const struct device *d, uint32_t salt, struct rng *out);
// What placeholders of a template of this device stand for. The id lies in fleet->id: one scope at a time.
int device_scope(const struct device *d, const struct value *values, struct payload_scope *out, struct error *err);
int device_render(const struct device *d, const struct payload *p, const struct value *values, struct buf *out,
                  struct error *err);
extern const struct adapter_identity device_identity;
