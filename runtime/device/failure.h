// Failures: what goes wrong with a device for a while. One of each kind at a time; several kinds at once.
//
//   disconnect    the connection goes: mode clean, abrupt, or halfOpen (the socket stays, nobody reads or writes)
//   errorPayload  what the model publishes is broken: mode truncated, types, empty, garbage, or any (drawn each time)
//   slow          what it publishes goes out delayMs later, in order
//   clockDrift    its clock is off by offsetMs and goes wrong by ppm (parts per million) from then on
//   batteryDrain  an attribute falls by perSecond from `from` (its latest value, or 100); at 0 the device is off, and
//   with
//                 rebootMs it is back that much later with a fresh battery
//   reboot        gone abruptly, back after bootMs: values from their beginning, then each payload of `sequence` on the
//                 topic "boot", then telemetry
//   staleToken    it reconnects with a password that is not valid (any more): `token`, or one that is made up
//   duplicateId   another client takes its client id
//
// With a duration a failure is over by itself: what was broken is mended, a device that is offline because of it
// connects. Behaviors hear "failure:KIND" and "recovered:KIND". Counted in failures{group,kind}.
#pragma once
#include "device/device.h"

enum failure_kind {
    FAILURE_DISCONNECT,
    FAILURE_ERROR_PAYLOAD,
    FAILURE_SLOW,
    FAILURE_CLOCK_DRIFT,
    FAILURE_BATTERY_DRAIN,
    FAILURE_REBOOT,
    FAILURE_STALE_TOKEN,
    FAILURE_DUPLICATE_ID,
    FAILURE_KIND_MAX
};
// "disconnect", "errorPayload", …, NULL: all kinds.
const char *const *failure_names(void);

enum failure_mode { // disconnect: the first three; errorPayload: the others
    MODE_CLEAN,
    MODE_ABRUPT,
    MODE_HALF_OPEN,
    MODE_ANY,
    MODE_TRUNCATED,
    MODE_TYPES,
    MODE_EMPTY,
    MODE_GARBAGE,
};

// A kind with its parameters, compiled.
struct failure_spec {
    enum failure_kind kind;
    enum failure_mode mode;
    int64_t duration_us;  // 0: it stays
    int64_t delay_us;     // slow; reboot: bootMs; batteryDrain: rebootMs, -1: it stays off
    int64_t offset_us;    // clockDrift
    double rate;          // clockDrift: ppm; batteryDrain: per second
    double from;          // batteryDrain, NAN: the latest value
    unsigned slot;        // batteryDrain
    bool action;          // the action disconnect of a behavior: not counted as a failure
    const json_t *params; // token, sequence; borrowed: device_fail_spec holds on to it
};

enum { FAILURE_MAX_DELAYED = 1024, FAILURE_MAX_DELAYED_BYTES = 1 << 20, FAILURE_MAX_BOOT = 64 };

// params: object or NULL. -1: unknown kind or parameter (names the valid ones), wrong type or range, an attribute that
// the model (which may be NULL) does not have. err has no place in front.
int failure_parse(const char *kind, const json_t *params, int64_t duration_us, const struct model *model,
                  struct failure_spec *out, struct error *err) WARN_UNUSED_RESULT;
// Begins. The same kind anew: the old one is replaced. -1: not possible for this device (it is not running, staleToken
// without a password).
int device_fail_spec(struct device *d, const struct failure_spec *spec, struct error *err) WARN_UNUSED_RESULT;
// Whether one of that kind goes on.
bool device_failing(const struct device *d, enum failure_kind kind);

// --- for the rest of the room; all of them are for devices that have failures

// -1: something that goes on keeps the device from connecting.
int failure_forbids(const struct device *d, struct error *err);
// What a message becomes on its way out. 0: publish *m, which may have changed (its payload then lives until the next
// call); 1: taken, nothing more to do; -1: err. made: by the model, not by a script.
int failure_publish(struct device *d, struct adapter_message *m, uint32_t token, bool made, struct error *err);
// How far the device's clock is off.
int64_t failure_clock_us(const struct device *d, int64_t now_us);
// Puts the value in place that a failure dictates. false: none does.
bool failure_value(struct device *d, unsigned slot, enum value_type type, struct value *v);
// A password that is not valid, appended; 1: no such failure.
int failure_password(const struct device *d, struct buf *out, struct error *err);
// The end of a turn.
void failure_settle(struct device *d);
// The connection is there: what a boot says.
void failure_online(struct device *d);
// Somebody wanted the device to connect and a failure that goes on forbade it: it connects when that is over.
void failures_want(struct device *d);
// Whether the device is offline because of a failure that ends by itself: then it does not end in error.
bool failure_expected(const struct device *d);
// The device has another model: what refers to an attribute ends.
void failure_model_changed(struct device *d);
// The device stops: all of them end, nothing is mended but a connection that was frozen.
void failures_drop(struct device *d);
// Connections of other clients (duplicateId) that are over, freed at the end of the turn: not from inside events.
void failures_reap(struct fleet *fleet);
size_t failures_footprint(const struct device *d);
