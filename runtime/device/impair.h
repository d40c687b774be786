// What impairs a device from outside while it runs: faults of its network, which all of its connections pass through
// (link/path.h), and a clock that is off. Numbers identify them; they are those of the experiments of a run. Made with
// the first, gone with the last: a device that nothing impairs has one NULL pointer for it. They stay with the device
// through stops and restarts until they are ended or the device is removed.
#pragma once
#include "device/device.h"
#include "link/path.h"

// Whether the devices of a group have a network of their own that can be impaired: ERR_UNSUPPORTED for children of
// gateways (naming whose network it is), for adapters that cannot pass through a path, in virtual time.
int group_check_network(const struct group *g, struct error *err) WARN_UNUSED_RESULT;

// The spec is referenced. since_us: loop time at which the fault began in the run. ERR_STATE: that number acts already.
int device_fault(struct device *d, uint64_t number, struct fault_spec *spec, int64_t since_us,
                 struct error *err) WARN_UNUSED_RESULT;
// Another spec in its place: ERR_NOT_FOUND.
int device_fault_change(struct device *d, uint64_t number, struct fault_spec *spec,
                        struct error *err) WARN_UNUSED_RESULT;
bool device_fault_end(struct device *d, uint64_t number); // false: there is none of that number
// NULL: nothing acts on its network. For connections that are made beside its own (adapter_ops.conn_path).
struct path *device_path(const struct device *d);

// Its clock is off by offset_us and `drift` seconds a second from since_us (loop time) on. Several add up. ERR_STATE:
// that number acts already.
int device_skew(struct device *d, uint64_t number, int64_t offset_us, double drift, int64_t since_us,
                struct error *err) WARN_UNUSED_RESULT;
bool device_skew_end(struct device *d, uint64_t number); // false: there is none of that number

// --- for the rest of the room
int64_t impairment_clock_us(const struct device *d, int64_t now_us); // how far its clock is off; d->impairment not NULL
void impairment_attach(const struct device *d);                      // it has made a connection
void impairment_delete(struct device *d);                            // nothing is told or mended
size_t impairment_footprint(const struct device *d);
