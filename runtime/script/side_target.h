// What side connections share: targets by group, URL and options, and credentials by group and text. Made when first
// used, kept for the next device, gone with the scenario (or, past SIDE_TARGETS_MAX, when nobody uses them).
#pragma once
#include "device/credentials.h"
#include "script/port.h"

struct side_shared { // embedded in both, first
    struct side_shared *next;
    char *key;
    unsigned users;
};

struct side_target {
    struct side_shared shared;
    const struct adapter_ops *adapter;
    struct adapter_target *target;
    char *url;                // as it is dialled
    struct metric *refreshes; // credential_refreshes; may be NULL
};

struct side_identity {
    struct side_shared shared;
    struct credentials *own;  // NULL: the device's
    struct credentials *will; // topic and payload as its username and password: patterns of a device; NULL: none
};

// Both take a reference. target: { "protocol", "url": null: the scenario's, "options" } as JSON text; identity:
// { credentials …, "will": { "topic", "payload" } } or "null". NULL: err.
struct side_target *side_target_get(struct scenario *s, const struct group *g, const char *text, struct error *err);
struct side_identity *side_identity_get(struct scenario *s, const struct group *g, const char *text,
                                        const struct adapter_ops *adapter, struct error *err);
// Whether the protocol can do with what such a connection of the group's devices proves itself with.
int side_check(const struct group *g, const struct side_target *t, const struct side_identity *i, struct error *err);
void side_target_release(struct scenario *s, struct side_target *t);
void side_identity_release(struct scenario *s, struct side_identity *i);
// Frees those that nobody uses, when there are too many. Not in the turn in which a connection of theirs was freed.
void side_cache_trim(struct scenario *s);
bool side_cache_new(struct scenario *s);
void side_cache_delete(struct scenario *s); // no connection is left
