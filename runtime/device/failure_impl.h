// What the files of failures share. Not for other files.
#pragma once
#include "device/failure.h"
#include "device/internal.h"

struct delayed; // failure_message.c: a message that waits

enum failure_phase {
    PHASE_ON,
    PHASE_EMPTY,  // batteryDrain: the device is off
    PHASE_BOOTED, // reboot: connecting; what it says follows when it is online
};

struct failure {
    struct failure *next;
    struct device *device;
    struct timer timer; // of the next phase, or of the end
    struct failure_spec spec;
    json_t *params; // what spec.params points to is held on to
    int64_t start_us;
    enum failure_phase phase;
    bool was_wanted;  // its connection, when it began, or somebody wants it since
    bool freeze_due;  // disconnect, halfOpen: from the end of the turn on
    uint64_t made_up; // staleToken
    struct rng rng;
    double level;             // batteryDrain: at the start
    struct buf broken;        // errorPayload: the message as it goes out
    struct delayed *first;    // slow: oldest first
    struct delayed **last;    // slow: where the next goes
    struct timer delay_timer; // slow: of the first
    unsigned n_delayed;
    size_t delayed_bytes;
    unsigned busy; // slow: it tells somebody; whoever ends it meanwhile leaves the memory to it
    bool over;
    struct adapter_conn *rival; // duplicateId
};

struct failure *failure_find(const struct device *d, enum failure_kind kind);
static inline struct loop *failure_loop(const struct failure *f)
{
    return f->device->group->fleet->config.env.loop;
}

// failure_message.c
int failure_break(struct failure *f, struct adapter_message *m, struct error *err);
int failure_delay(struct failure *f, const struct adapter_message *m, uint32_t token, struct error *err);
// What waits: sent now, or forgotten.
void failure_flush(struct failure *f);
void failure_forget(struct failure *f);
// failure.c
void failure_free(struct failure *f);
size_t failure_message_footprint(const struct failure *f);
