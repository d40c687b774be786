// The delivery ledger: a process of its own with one subscriber at each broker of the groups in it. It accounts for
// what arrives of every device's numbered messages (device/stamp.h, device/delivery.h). It is ready when its
// subscriptions are acknowledged, and no device is told to go before; it ends when all shards have said what each of
// their devices sent and everything has arrived, or `late` has passed. Not for other rooms.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

struct child;
struct fleet;
struct ownership;
struct run;
struct slot;
struct plan;

int ledger_main(void *child_start, int channel);

// The shard says what its devices in the ledger sent. MSG_SENT, one a group: u32 group, epoch, shard, shards, then a
// u32 for each device by its local number, all little endian.
void ledger_tell(struct child *shard, const struct plan *plan, const struct fleet *fleet, const struct ownership *owner,
                 uint32_t epoch);

// ledger_slot.c: the supervisor's side. A run without a ledger has a slot that is SLOT_NONE.
int ledger_start(struct run *run, struct error *err) WARN_UNUSED_RESULT;
bool ledger_awaited(const struct run *run); // it is not ready: nobody may go
void ledger_sent(struct slot *shard, const uint8_t *bytes, size_t n);
void ledger_told(struct run *run, const json_t *account); // MSG_LEDGER
void ledger_look(struct run *run);                        // while the run stops
bool ledger_kept(const struct run *run);                  // it may not be killed yet
void ledger_lost(struct run *run, struct slot *slot, const char *name);
