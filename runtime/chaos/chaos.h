// The faults that act on the devices of one process. What is asked for comes as JSON, the same to every process of the
// run; each answers for its own devices, and all of them mean the same ones (device/selection.h):
//
//   {"op": "fault", "fault": n, "experiment": NAME, "group": NAME | "groups": [NAME …] | neither: all, SELECTION,
//    "spec": {link/fault_spec.h}, "at_us": since when}                 begins, on the network of the devices
//   {"op": "retune", "fault": n, "spec": {…}, "at_us"}                 another spec in its place
//   {"op": "clock", "fault": n, "experiment", …, SELECTION, "offset_us", "drift", "at_us": since when}
//   {"op": "heal", "fault": n}                                         ends; nothing happens if it does not act
//
// "at_us" is a time of the run, default now: a device that comes later, or a process in place of a lost one, has the
// ramps, traces and windows of a fault where all others have them.
//
// Where all groups are meant, those whose devices have no network of their own are left out. Devices that are made
// while a fault acts and that fall into its selection get it; those that are removed let go of it. Metrics, from the
// first fault on: faults_active{experiment,group} (devices), link_* (docs/reference/chaos.md).
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"
#include "core/log.h"

struct chaos;
struct device;
struct fleet;
struct loop;
struct metrics;
struct path_env;

struct chaos_config {
    struct loop *loop;
    struct path_env *paths; // NULL: there is no network (virtual time)
    struct metrics *metrics;
};
struct chaos *chaos_new(const struct chaos_config *config, struct error *err);
// The fleet whose config has chaos_device_made and chaos_device_gone; set before it starts.
void chaos_attach(struct chaos *c, struct fleet *fleet);
void chaos_delete(struct chaos *c); // before its fleet; NULL: nothing. Devices keep what they have

bool chaos_is_op(const char *op); // one of the four
// answer: {"affected": devices}; NULL: err, and then the fault acts nowhere.
typedef void chaos_done_fn(void *arg, const json_t *answer, const struct error *err);
// Carried out in order, a bounded number of devices a turn. fn is called when it is done, never inside this call; NULL:
// nobody is told. -1: it is not possible (the error says what is wrong), fn is not called. change is borrowed.
int chaos_change(struct chaos *c, const json_t *change, chaos_done_fn *fn, void *arg,
                 struct error *err) WARN_UNUSED_RESULT;
// The same at once: in place of a process that was lost, before its devices start.
int chaos_change_now(struct chaos *c, const json_t *change, struct error *err) WARN_UNUSED_RESULT;
// What waits is carried out now, and its fn called: what acts from the run's beginning does so before a device starts.
void chaos_settle(struct chaos *c);
// Everything heals now, and nothing begins any more: the run is stopping. What waits is answered ERR_CANCELLED.
void chaos_end(struct chaos *c);
unsigned chaos_acting(const struct chaos *c); // faults
void chaos_report(struct chaos *c);           // figures into the metrics, before a snapshot

// fleet_config.on_made and on_gone, with the chaos as arg.
void chaos_device_made(void *chaos, struct device *device, uint64_t count);
void chaos_device_gone(void *chaos, struct device *device);
