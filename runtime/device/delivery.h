// Accounts of delivery: of each device's numbered messages (stamp.h), which arrived, which are missing, which came
// twice or after later ones. 24 bytes a device, whatever it sends.
//
// sent = received + lost + unknown, at any time. A number above all before says how many were sent; what it passes over
// is lost until it comes after all. It is unknown in place of lost when nobody was listening meanwhile
// (delivery_interrupted). Of the latest 64 messages of a device it is known which came; of older ones only how many
// did: one that comes so late is taken for one of those that are missing, if any are, and for a double otherwise.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

#define DELIVERY_WINDOW 64u
#define DELIVERY_DEVICES_MAX 50000000u // of a group

struct delivery_counts {
    uint64_t sent; // as far as it is known
    uint64_t received, lost, unknown, duplicated, reordered, late;
};

struct delivery; // of one group
struct delivery *delivery_new(struct error *err);
void delivery_delete(struct delivery *d);

// Message `number` (from 1) of a device (0-based) in an epoch came; late: after its time. An epoch is one life of the
// process that holds the device: a higher one begins at 1 again, and what came last of the one before cannot be known.
// -1: no such device (ERR_LIMIT), number 0 (ERR_INVALID) or no memory; nothing has changed then.
int delivery_received(struct delivery *d, uint64_t device, uint32_t epoch, uint32_t number, bool late,
                      struct error *err) WARN_UNUSED_RESULT;
// From here on nobody listens, or has begun to listen anew: what is found missing of numbers behind those that came so
// far is unknown.
void delivery_interrupted(struct delivery *d);
// How many messages a device sent in an epoch: those above all that came are missing. Fewer than came: no change.
int delivery_sent(struct delivery *d, uint64_t device, uint32_t epoch, uint32_t numbers,
                  struct error *err) WARN_UNUSED_RESULT;
const struct delivery_counts *delivery_counts(const struct delivery *d);

struct delivery_example {
    uint64_t device; // 0-based
    uint32_t lost;
};
// The devices that lost most, worst first; returns how many there are, at most n.
unsigned delivery_examples(const struct delivery *d, struct delivery_example *out, unsigned n);
