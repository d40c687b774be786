// Messages of children on their way into batches. Not for other rooms.
//
//   [{"device": CHILD, "topic": TOPIC, "at": ms, "payload": …}, …]
//
// A payload that is JSON stands there as it is, a text as a string, other bytes as base64 with "encoding": "base64".
// What waits lies one behind the other in one buffer a gateway; the oldest makes room for the newest.
#pragma once
#include "core/buf.h"
#include "core/wheel.h"
#include "device/device.h"

struct batch_writer { // of a group
    struct buf element, message, topic;
    struct metric *sent, *dropped; // gateway_batches, gateway_dropped
};

struct batch { // of a gateway
    struct batch_writer *writer;
    struct device *gateway;
    struct timer timer; // from the first message that waits
    struct buf waiting; // u32 length, element, …
    uint32_t head;      // where the oldest begins
    unsigned n;         // elements that wait
};

void batch_writer_create(struct batch_writer *w);
void batch_writer_destroy(struct batch_writer *w);
void batch_create(struct batch *b, struct batch_writer *w, struct device *gateway);
void batch_destroy(struct batch *b);
// Takes a message; with maxMessages they go out at once if the gateway is online. -1: longer than a batch may be.
int batch_add(struct batch *b, struct device *child, const struct adapter_message *m,
              struct error *err) WARN_UNUSED_RESULT;
// Sends what waits, if the gateway is online.
void batch_flush(struct batch *b);
// The gateway stops: the same, and what is left is dropped.
void batch_end(struct batch *b);
