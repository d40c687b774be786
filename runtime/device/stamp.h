// Stamps: what a group's messages carry so that whoever receives one knows which it is and when it was sent: the run,
// the sender (group and device), a number of its own and the time. As text "RUN.GROUP.DEVICE.SEQUENCE.TIME", all
// hexadecimal; TIME is when it was meant to be sent, in microseconds since 1970 by the sender's clock, and RUN tells
// runs apart on one broker.
//
// A sequence counts the messages that its device has sent, from 1, over reconnects and restarts; above its low 32 bits
// stands the epoch: how many processes held the device before, each of which counts from 1. A device that receives a
// stamped message measures e2e_latency; who accounts for what is lost or comes twice (delivery.h) reads the same stamp.
#pragma once
#include <jansson.h>
#include "adapter/adapter.h"

enum stamp_place {
    STAMP_NONE,
    STAMP_PROPERTY, // a user property of MQTT 5, a header field of HTTP: "iotix-stamp"
    STAMP_PAYLOAD,  // a member of a JSON object: the last one
    STAMP_TOPIC     // one more level at the end of the topic
};
#define STAMP_KEY_MAX 32u
struct stamp_rule { // of a group
    enum stamp_place place;
    char key[STAMP_KEY_MAX + 1]; // STAMP_PAYLOAD: the member's name
};
// "property" | "topic" | { "payload": KEY } | null: none. ERR_INVALID: anything else.
int stamp_rule_parse(const json_t *json, struct stamp_rule *out, struct error *err) WARN_UNUSED_RESULT;

struct stamp {
    uint32_t run;
    uint32_t group;  // number of the sender's
    uint64_t device; // its index, 1-based
    uint64_t sequence;
    int64_t time_us; // since 1970
};
#define STAMP_TEXT_MAX 80u
// Returns its length.
unsigned stamp_write(const struct stamp *s, char out[STAMP_TEXT_MAX]);
// false: the bytes are no stamp.
bool stamp_read(const char *text, size_t n, struct stamp *out);
// The stamp of a message that came, where this rule puts it. false: it has none.
bool stamp_find(const struct stamp_rule *rule, const struct adapter_message *m, struct stamp *out);

// What a run with this seed writes as `run`.
uint32_t stamp_run(uint64_t seed);
static inline uint32_t stamp_epoch(const struct stamp *s)
{
    return (uint32_t)(s->sequence >> 32);
}
static inline uint32_t stamp_number(const struct stamp *s)
{
    return (uint32_t)s->sequence;
}

// --- for the device room
struct device;
struct fleet;
struct stamps; // of a fleet; NULL: no group stamps
// After the groups were added, before the first device starts; clock: the loop's. -1: err.
int stamps_begin(struct fleet *fleet, struct error *err) WARN_UNUSED_RESULT;
void stamps_delete(struct stamps *all);
// How many messages each device of a group sent with a stamp, by its local number: *counts has as many as is returned.
uint64_t stamps_sent(const struct stamps *all, unsigned group, const uint32_t **counts);
// Publishes through the device's adapter, stamped where its group says so. What cannot be stamped (a payload that is no
// JSON object, a message above the cap of 1 MB) goes out as it is and is counted.
int stamp_publish(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err);
// A message came.
void stamp_received(struct device *d, const struct adapter_message *m);
