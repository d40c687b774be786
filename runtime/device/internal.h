// What the files of this room share. Not for other rooms.
#pragma once
#include "device/device.h"

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
};

struct fleet {
    struct fleet_config config;
    struct slots *slots;
    struct group **groups;
    unsigned n_groups;
    struct loop_hook hook; // settles deferred devices
    struct device *deferred_first, *deferred_last;
    unsigned starts_left; // of FLEET_STARTS_A_TURN
    uint64_t retries;     // devices that wait for a restart
    bool started, stopping;
    int64_t start_us, deadline_us;
    struct timer drain_timer;
    unsigned drain_group; // cursor of the first pass of a drain
    uint64_t drain_local;
    // Scratch of one render; nothing in it outlives a call.
    struct buf id, topic, payload;
    struct value *values; // of the model with the most attributes in one stream
    unsigned n_values;
    struct metric nowhere; // series when there is no registry
};

// fleet.c
void fleet_defer(struct fleet *fleet, struct device *d);
// group.c
void group_delete(struct group *group);
void group_launch(struct group *group); // arms the launch timer
bool group_launched(const struct group *group);
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
// stream.c
int streams_new(struct device *d, struct error *err);
void streams_start(struct device *d);
void streams_stop(struct device *d);
size_t streams_footprint(const struct device *d);
// identity.c
int device_render(const struct device *d, const struct payload *p, const struct value *values, struct buf *out,
                  struct error *err);
extern const struct adapter_identity device_identity;
