// The protocol interface: what a device asks of a protocol. Also the plugin ABI: the first members of adapter_ops say
// which version and size it was built with.
//
// All of it runs on the loop's thread. Nothing blocks. A connection belongs to its owner (a device), which frees it
// with conn_delete; events are never delivered after that, nor from inside publish/subscribe/open calls.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/rng.h"
#include "link/link.h"
#include "link/resolve.h"
#include "metrics/metrics.h"

#define ADAPTER_ABI 1

struct adapter_target; // one group's view of one server: parsed options, addresses, metric series. Opaque, the
                       // adapter's own
struct adapter_conn;   // one connection. Opaque

struct adapter_message {
    const char *topic; // MQTT topic name, CoAP/HTTP path; not NUL-terminated
    size_t topic_len;
    const uint8_t *payload;
    size_t payload_len;
    uint8_t qos;
    bool retain;
    bool duplicate;
};

// What the owner of a connection is told.
struct adapter_events {
    void (*on_online)(void *owner, bool session_present);
    // why->code ERR_NONE: asked for by conn_close. will_retry: the adapter reconnects by itself. Also told for every
    // attempt that fails, the first one included, so on_offline may follow on_offline.
    void (*on_offline)(void *owner, const struct error *why, bool will_retry);
    // Pointers are valid during the call only.
    void (*on_message)(void *owner, const struct adapter_message *message);
    // A publish with a token was acknowledged (QoS 0: never called), a subscribe or unsubscribe answered. err NULL:
    // done; ERR_REFUSED: the server said no; ERR_LIMIT: dropped for a newer message (drop_oldest); any other code: it
    // will never be known (ERR_CANCELLED: conn_close; else why the connection ended). granted_qos for subscribes, else
    // -1.
    void (*on_done)(void *owner, uint32_t token, int granted_qos, const struct error *err);
};

// Strings of a connection's identity are asked for when needed (at connect), not kept: a million client ids cost
// nothing.
enum adapter_field { FIELD_CLIENT_ID, FIELD_USERNAME, FIELD_PASSWORD, FIELD_WILL_TOPIC, FIELD_WILL_PAYLOAD };
struct adapter_identity {
    // Appends the field's bytes for this owner. Nothing appended = absent. -1 is an error of the run's author.
    int (*field)(void *owner, enum adapter_field field, struct buf *out, struct error *err);
};

// What every adapter of a process gets.
struct adapter_env {
    struct loop *loop;
    struct link_env *links;
    struct resolver *resolver;
    struct metrics *metrics;
    struct log *log;
    const struct adapter_capture *capture; // NULL but in virtual time
};

// Virtual time: who takes what the devices publish (see virtual/virtual.h).
struct adapter_capture {
    // owner: of the connection. Pointers are valid during the call only. -1: not taken; publish fails with err.
    int (*publish)(void *arg, void *owner, const struct adapter_message *message, struct error *err);
    void *arg;
};

enum adapter_close { ADAPTER_GRACEFUL, ADAPTER_ABRUPT }; // DISCONNECT then FIN; RST without a word

struct adapter_ops {
    uint32_t abi;               // ADAPTER_ABI
    uint32_t size;              // sizeof(struct adapter_ops)
    const char *name;           // "mqtt"
    const char *const *schemes; // URL schemes it serves, NULL-terminated

    // options: the validated table of iotix.mqtt{...} or of a model's connection, see the adapter's own header; unknown
    // keys are errors naming the valid ones. group: tag of its metric series. url: "mqtt://host:port".
    struct adapter_target *(*target_new)(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err);
    void (*target_delete)(struct adapter_target *target);

    struct adapter_conn *(*conn_new)(struct adapter_target *target, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err);
    void (*conn_delete)(struct adapter_conn *conn); // closes abruptly if open; no events
    // Starts connecting; on_online or on_offline follows. ERR_STATE when already connecting or online.
    int (*conn_open)(struct adapter_conn *conn, struct error *err);
    // Stops reconnecting and closes. on_offline with ERR_NONE follows (at the end of the turn, not inside the call) if
    // it was connected, connecting or about to reconnect. Nothing is waited for: drain with pending() before.
    void (*conn_close)(struct adapter_conn *conn, enum adapter_close mode);

    // 0: accepted: it will end as acknowledged, dropped with a counted reason, or in memory. token 0: no on_done
    // wanted. -1: not accepted; ERR_STATE not connected (with an acknowledgement asked for, QoS 1 and 2, it is accepted
    // while connecting and reconnecting too and waits in the queue), ERR_LIMIT queue or output full, ERR_INVALID bad
    // topic.
    int (*publish)(struct adapter_conn *conn, const struct adapter_message *message, uint32_t token, struct error *err);
    int (*subscribe)(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err);
    int (*unsubscribe)(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err);
    // Messages accepted and not yet written or acknowledged: what a drain waits for.
    unsigned (*pending)(const struct adapter_conn *conn);
    // Bytes of user-space memory this connection holds, for the memory report.
    size_t (*footprint)(const struct adapter_conn *conn);
    // From here on an adapter may lack what its size does not reach, or leave it NULL.
    //
    // Frozen, an open connection neither reads nor writes, keeps no time, and its socket stays: what the peer of a
    // half-open connection sees. A connection that is not open is not frozen; a new one never is.
    void (*conn_freeze)(struct adapter_conn *conn, bool frozen);
};
#define ADAPTER_MIN_SIZE offsetof(struct adapter_ops, conn_freeze)
static inline bool adapter_has_freeze(const struct adapter_ops *ops)
{
    return ops->size >= offsetof(struct adapter_ops, conn_freeze) + sizeof(ops->conn_freeze) && ops->conn_freeze;
}

// Built-in adapter for a URL scheme or protocol name; NULL when there is none. adapter_names: NULL-terminated.
const struct adapter_ops *adapter_find(const char *scheme_or_name);
const char *const *adapter_names(void);
