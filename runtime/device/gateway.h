// Gateways: a device of type gateway holds one connection for the devices behind it, its *children*.
//
// A child is a whole device (values, behaviors, commands, failures) whose adapter is its gateway: what it publishes the
// gateway forwards at once, or collects into a batch; what is meant for it the gateway hands on. Children are no
// devices of the group: they are not launched, counted, selected or dropped out by themselves, but start and stop with
// their gateway, in the same process. A child costs sizeof(struct device) and 64 bytes for its link, beside its streams
// and latest values (device_footprint of the gateway has all of it); no message allocates once buffers have grown.
//
//   BASE/CHILD/commands/NAME, BASE/CHILD/command       a child's commands; BASE is the gateway's
//   BASE/command with {"target": CHILD, …}             the same
//   BASE/CHILD/response                                its answers; an unknown CHILD is answered on BASE/response
//
// forward: children are online while the gateway is. batch: from the gateway's first time online on until it stops;
// what they say meanwhile waits, at most GATEWAY_MAX_PENDING bytes, beyond which the oldest goes (gateway_dropped).
#pragma once
#include "device/device.h"

enum {
    MODEL_MAX_CHILD_KINDS = 256,     // entries of `children`
    MODEL_MAX_CHILDREN = 65536,      // of one gateway
    GATEWAY_MAX_PENDING = 256 << 10, // bytes of messages that wait to be sent as a batch, and of one batch
};

enum aggregation_mode { AGGREGATION_FORWARD, AGGREGATION_BATCH };

struct model_child { // one entry of `children`
    struct model *model;
    unsigned count;
    struct payload *id; // of a child
};

struct model_children {
    unsigned refs; // a model that takes another one's place may keep its children
    unsigned n_kinds, n;
    struct model_child *kinds;
    enum aggregation_mode mode;
    int64_t interval_us;
    unsigned max_messages;
    struct payload *topic; // of batches
};

// The models of a gateway's children, kind by kind; NULL beyond the last (and for what is no gateway). The hooks of
// each are resolved with the gateway's group, as its own are.
const struct model *model_child(const struct model *model, unsigned kind);
// Whether both have the same children, aggregated in the same way.
bool model_children_same(const struct model *a, const struct model *b);
// `to` gets the children that `from` has in place of its own.
void model_children_keep(const struct model *from, struct model *to);

// --- questions

unsigned gateway_children(const struct device *gateway); // 0: it is none, or was never started
// Number 1 … gateway_children; NULL: there is none. Good until the gateway's device is gone.
struct device *gateway_child(const struct device *gateway, unsigned number);
struct device *gateway_find(const struct device *gateway, const char *id, size_t n);
// The gateway of a child, NULL: it is no child. And its number there.
struct device *gateway_of(const struct device *child);
unsigned gateway_number(const struct device *child);

// --- for the rest of the room

// What the groups of gateways need. 0 when the model has no children.
int relay_new(struct group *g, struct error *err) WARN_UNUSED_RESULT;
void relay_delete(struct group *g); // its gateways are freed
void relay_report(struct group *g); // gauges
// The gateway's device is being started: so are its children.
int gateway_launch(struct device *d, struct error *err) WARN_UNUSED_RESULT;
void gateway_online(struct device *d);
void gateway_offline(struct device *d, bool will_retry);
// Whether the message was for a child (or for one that is not there), in which case it has been dealt with.
bool gateway_message(struct device *d, const struct adapter_message *m);
// It is stopping: what waits is sent if it can be, children stop.
void gateway_stop(struct device *d);
// Its children and all they have, at rest or not. Not from inside events.
void gateway_free(struct device *d);
size_t gateway_footprint(const struct device *d);
