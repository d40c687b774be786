// The protocol interface: what a device asks of a protocol. Also the plugin ABI: the first members of adapter_ops say
// which version and size it was built with. Installed; plugins include it through plugin_abi.h, which says what a
// plugin may call, and docs/reference/plugin-abi.md what may change.
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
#ifndef IOTIX_PLUGIN // a plugin holds pointers to what these declare and looks into none of it
#include "core/rng.h"
#include "link/link.h"
#include "link/resolve.h"
#include "metrics/metrics.h"
#endif

#define ADAPTER_ABI 1

struct adapter_target; // one group's view of one server: parsed options, addresses, metric series. Opaque, the
                       // adapter's own
struct adapter_conn;   // one connection. Opaque
struct path;           // link/path.h

// A user property of MQTT 5, a header field of HTTP, an option of CoAP by its name. Texts are not NUL-terminated.
struct adapter_property {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

// What a message carries beside topic and payload; NULL or 0 is absent. Only MQTT 5 has all of it; an adapter that
// cannot carry what is set refuses the message with ERR_UNSUPPORTED and names it.
#define ADAPTER_SUBSCRIPTION_IDS 8u
struct adapter_meta {
    const char *content_type;
    size_t content_type_len;
    const char *response_topic;
    size_t response_topic_len;
    const uint8_t *correlation;
    size_t correlation_len;
    const struct adapter_property *user; // in order; names may repeat
    unsigned n_user;
    bool has_expiry, payload_text; // payload_text: payload format indicator 1, UTF-8
    uint32_t expiry_s;             // message expiry interval
    bool alias; // outgoing: use a topic alias for this topic, as far as the server allows; otherwise plainly
    unsigned n_subscription_ids; // incoming
    uint32_t subscription_ids[ADAPTER_SUBSCRIPTION_IDS];
};

struct adapter_message {
    const char *topic; // MQTT topic name, CoAP/HTTP path; not NUL-terminated
    size_t topic_len;
    const uint8_t *payload;
    size_t payload_len;
    uint8_t qos;
    bool retain;
    bool duplicate;
    const struct adapter_meta *meta; // NULL: none
};

struct adapter_subscription {
    const char *filter; // "$share/GROUP/FILTER" where the server has shared subscriptions
    int qos;
    // MQTT 5, 3.8.3.1
    bool no_local, retain_as_published;
    uint8_t retain_handling; // 0 retained messages come, 1 only for a new subscription, 2 never
    uint32_t identifier;     // 1..268435455; 0: none
};

// Request and response: HTTP, CoAP, and MQTT 5 through response topics.
struct adapter_request {
    const char *method; // "GET", "POST", "PUT", "PATCH", "DELETE", "FETCH", "iPATCH", "HEAD", "OPTIONS", "OBSERVE"
    const char *path;   // below the target's own path: "/a/b?x=1"; an absolute URL where the adapter says so
    size_t path_len;
    const uint8_t *payload;
    size_t payload_len;
    const struct adapter_property *headers;
    unsigned n_headers;
    int64_t timeout_us;    // 0: the target's own
    const json_t *options; // the adapter's own, see its header; NULL: none. Valid during the call
};
struct adapter_response {
    unsigned status; // HTTP's; CoAP's as class * 100 + detail: 205
    const uint8_t *payload;
    size_t payload_len;
    const struct adapter_property *headers;
    unsigned n_headers;
    int64_t latency_us; // of the whole exchange, retries included
    unsigned attempts;  // 1: the first one did
    bool more;          // a notification: others will follow under the same token
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
    // What follows may be NULL: its owner never uses what they answer.
    //
    // The answer to a request, or a notification (response->more), pointers valid during the call only. err: there is
    // no answer and none will follow; response is NULL. A status of 4xx or 5xx is an answer, not an error.
    void (*on_response)(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err);
    // A client asks one of the paths that conn serve()s. Answered with respond(ticket), at once or later; the adapter
    // answers 5.03/503 by itself when that takes longer than the target's serveTimeout. path as it came, query
    // included.
    void (*on_request)(void *owner, uint64_t ticket, const struct adapter_request *request);
    // Enhanced authentication of MQTT 5 (4.12): the server's data (NULL at the beginning) to the next data of this
    // side, appended to *reply. -1: it fails and the connection is given up.
    int (*on_auth)(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err);
};

// Strings of a connection's identity are asked for when needed (at connect), not kept: a million client ids cost
// nothing.
enum adapter_field {
    FIELD_CLIENT_ID,
    FIELD_USERNAME,
    FIELD_PASSWORD, // a signed token too (FIELD_TOKEN of MQTT)
    FIELD_WILL_TOPIC,
    FIELD_WILL_PAYLOAD,
    FIELD_TOKEN,        // bearer token of HTTP and CoAP
    FIELD_TLS_CERT,     // PEM text, or the path of a PEM file
    FIELD_TLS_KEY,      // the same
    FIELD_TLS_NAME,     // common name of a certificate to be minted
    FIELD_PSK_IDENTITY, // text
    FIELD_PSK_KEY,      // hex digits
    FIELD_MAX
};
struct adapter_identity {
    // Appends the field's bytes for this owner. Nothing appended = absent. -1 is an error of the run's author.
    int (*field)(void *owner, enum adapter_field field, struct buf *out, struct error *err);
};

// What every adapter of a process gets. It outlives the targets made with it. A plugin hands it on to the host's
// functions.
#ifdef IOTIX_PLUGIN
struct adapter_env;
#else
struct adapter_env {
    struct loop *loop;
    struct link_env *links;
    struct resolver *resolver;
    struct metrics *metrics;
    struct log *log;
    const struct adapter_capture *capture; // NULL but in virtual time
    void *script; // the scenario whose adapters in Lua are in use (script/adapter_lua.h); NULL: none
};
#endif

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
    // As subscribe, with what MQTT 5 has beside the QoS. ERR_UNSUPPORTED names what the protocol's version lacks.
    int (*subscribe_with)(struct adapter_conn *conn, const struct adapter_subscription *subscription, uint32_t token,
                          struct error *err);
    // Asks; on_response follows with this token, once, or (method OBSERVE) until request_cancel or the end of the
    // connection. Nothing is queued while offline: ERR_STATE. Protocols without a connection connect when asked.
    int (*request)(struct adapter_conn *conn, const struct adapter_request *request, uint32_t token, struct error *err);
    // Nothing more comes for this token. An observation is deregistered.
    void (*request_cancel)(struct adapter_conn *conn, uint32_t token);
    // This device answers requests for a path ("/temp") from now on, through on_request. attributes: for discovery and
    // observation, see the adapter's header; NULL: none. Works in any state of the connection.
    int (*serve)(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err);
    void (*unserve)(struct adapter_conn *conn, const char *path);
    // headers of the response as for requests. ERR_NOT_FOUND: the ticket's client is gone.
    int (*respond)(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *response,
                   struct error *err);
    // A served path has changed: its observers are told (each through an on_request of method GET).
    int (*notify)(struct adapter_conn *conn, const char *path, struct error *err);
    // Where others reach what this connection serves: "coap://127.0.0.1:40123", "http://…/DEVICE". Appended.
    int (*served_at)(struct adapter_conn *conn, struct buf *out, struct error *err);
    // Closes gracefully and connects anew at once, with credentials asked for again; subscriptions and what is queued
    // stay, as with any reconnect: on_offline (ERR_NONE, will_retry) inside the call, then on_online. ERR_STATE: not
    // online. Not from inside an event.
    int (*conn_renew)(struct adapter_conn *conn, struct error *err);
    // What stands against devices of this target that have these fields (bit 1u << FIELD_…) of an identity, as far as
    // it is known before any of them connects: credentials that the options ask for and nobody has, or that the
    // protocol cannot use. -1: it does, and err says what to do.
    int (*target_check)(const struct adapter_target *target, uint32_t fields, struct error *err);
    // The network between this connection's device and its servers (link/path.h), shared with the device's other
    // connections: all links of the connection pass through it, those that are open and those to come. NULL: those to
    // come do not, and open ones pass until nothing of the path acts any more. The connection holds a reference for as
    // long as it needs it. In any state of the connection, from any callback. A device whose adapter lacks this cannot
    // suffer faults of its network.
    void (*conn_path)(struct adapter_conn *conn, struct path *path);
};
#define ADAPTER_MIN_SIZE offsetof(struct adapter_ops, conn_freeze)
// Whether an adapter has one of the functions behind ADAPTER_MIN_SIZE: ADAPTER_HAS(ops, request).
#define ADAPTER_HAS(ops, member)                                                                                       \
    ((ops)->size >= offsetof(struct adapter_ops, member) + sizeof((ops)->member) && (ops)->member != NULL)

#ifndef IOTIX_PLUGIN
// The adapters of a process: the built-in ones and what was added: plugins and adapters written in Lua.
struct adapter_registry;
struct adapter_registry *adapter_registry_new(struct error *err);
void adapter_registry_delete(struct adapter_registry *r);
// ops must live as long as the registry. from: who brings it, for error texts (a path). ERR_UNSUPPORTED: another ABI,
// or smaller than ADAPTER_MIN_SIZE; ERR_INVALID: no name, a name or scheme that is none (lower case letters, digits,
// + - .; at most 15), a function missing, or its name or one of its schemes is taken: then it says by whom.
int adapter_registry_add(struct adapter_registry *r, const struct adapter_ops *ops, const char *from,
                         struct error *err) WARN_UNUSED_RESULT;
// By URL scheme or protocol name; NULL when there is none. r NULL: built-in ones only.
const struct adapter_ops *adapter_registry_find(const struct adapter_registry *r, const char *scheme_or_name);
// Their names, NULL-terminated; valid until the next add.
const char *const *adapter_registry_names(const struct adapter_registry *r);
// The same of the built-in ones.
const struct adapter_ops *adapter_find(const char *scheme_or_name);
const char *const *adapter_names(void);
// What adapter_registry_add checks of one by itself.
int adapter_check(const struct adapter_ops *ops, struct error *err) WARN_UNUSED_RESULT;
#endif
