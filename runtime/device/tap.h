// A tap: whoever listens to all devices of a process: sinks, a recorder. There is at most one (struct fleet_config);
// without it nothing costs more than a look at a pointer.
//
// Functions may be NULL. They are called on the loop, in the middle of what the device does: nothing in them may call a
// device_* function but questions (device_name, device_wall_us, …), or block.
#pragma once
#include "device/device.h"

struct device_tap {
    void *arg;
    // Before a publish: -1 refuses it, err says why (ERR_LIMIT); whoever publishes is told.
    int (*refuse)(void *arg, const struct device *device, struct error *err);
    // The adapter has accepted a publish, or keeps it until it is connected: as the device said it, without a stamp.
    // forwarded: a gateway says what one of its children said before, under the child's name (or several of them as
    // one message).
    void (*sent)(void *arg, const struct device *device, const struct adapter_message *message, bool forwarded);
    // A message came for the device: commands too.
    void (*received)(void *arg, const struct device *device, const struct adapter_message *message);
    // kind: "started", "stopped", "error" (detail: why), "online" (latency_us: since it began to connect, or lost its
    // connection), "offline" (detail: why, "" when it was asked for), "dropout", "fault" (detail: its kind), "command"
    // (detail: its name). latency_us: -1 where there is none.
    void (*event)(void *arg, const struct device *device, const char *kind, const char *detail, int64_t latency_us);
};

// --- for the device room
// Publishes, stamped where the group says so.
int tap_publish(struct device *d, const struct adapter_message *m, uint32_t token,
                struct error *err) WARN_UNUSED_RESULT;
// device_publish of a gateway, for its children.
int tap_forward(struct device *gateway, const struct adapter_message *m, struct error *err) WARN_UNUSED_RESULT;
void tap_received(const struct device *d, const struct adapter_message *m);
void tap_event(const struct device *d, const char *kind, const char *detail, int64_t latency_us);
