// What can be done to a group while it runs. A change is a JSON object; every process that holds devices of the group
// gets the same one, and each decides for itself which of its own it is about: whatever the number of shards, the same
// devices are meant.
//
//   {"op": "stop", SELECTION, "mode": "graceful" | "abrupt"}    those that run, or wait to be started
//   {"op": "start", SELECTION}       those that do not: not launched yet, stopped, or in error
//   {"op": "restart", SELECTION}     all that were started before
//   {"op": "remove", SELECTION}      stopped and forgotten
//   {"op": "scale", "count": n}      devices 1 … n are there afterwards: new ones come by the group's launch plan
//   (after
//                                    stages: at once), the highest ones go
//   {"op": "dropout", "dropout": {…}, "key": n, "devices": [1-based indices]}   see dropout.h; of the devices listed,
//   if there is a list; with a key it can be ended:
//   {"op": "return", "key": n}       nobody else drops out by it, and who is down because of it comes back
//   {"op": "interval", "attribute": name | null, "interval_ms": n}       of one attribute of the model, or of all
//   {"op": "generator", "attribute": name, "generator": {…}}
//   {"op": "model", "path": str, "text": JSON text}             the model as it is now
//   {"op": "renew"}                  behaviours begin anew, on the connections they have
//   {"op": "status"}                 changes nothing
//
// "group" names the group, "at_us" is the time of the run, "number" the change's place among all of the run.
// SELECTION is one of "devices": [1-based indices], "count": n, "percentage": p; none: all. Count and percentage take
// devices in the group's seeded order (choice.h), whatever state they are in; it is the same for every change, so that
// {"op": "start", "count": 10} takes back {"op": "stop", "count": 10}.
//
// The answer: {"affected": devices that were told}, for status {"state": [by device_state], "conn": [by conn_state],
// "dropped", "started", "ever_online", "failed", "devices"}.
#pragma once
#include "device/device.h"

// answer: borrowed; NULL when it failed: err.
typedef void group_change_fn(void *arg, const json_t *answer, const struct error *err);
// Carried out in order, a bounded number of devices a turn; fn is called when it is done, never inside this call. -1:
// it cannot be: no such group or op, or something wrong in it (the error names what is valid). change is borrowed.
int fleet_change(struct fleet *fleet, json_t *change, group_change_fn *fn, void *arg,
                 struct error *err) WARN_UNUSED_RESULT;
// The same at once and without bounds: right behind fleet_start, in place of a process that was lost.
int fleet_change_now(struct fleet *fleet, json_t *change, struct error *err) WARN_UNUSED_RESULT;
// Whether fleet_change would take it.
int fleet_change_check(struct fleet *fleet, json_t *change, struct error *err) WARN_UNUSED_RESULT;
// The names of all ops, NULL-terminated.
const char *const *change_op_names(void);
