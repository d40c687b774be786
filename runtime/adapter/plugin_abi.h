// What a plugin includes, and all that it may use of iotix: the contract of an adapter (adapter.h) and the table of the
// host's functions. A plugin exports one symbol, iotix_adapter, and needs none of the executable's.
// docs/how-to/write-a-plugin.md shows how, docs/reference/plugin-abi.md says what stays the same.
//
// Compile with the flags of `pkg-config --cflags iotix-plugin` (they define IOTIX_PLUGIN). core/buf.h and core/error.h
// are for their structs: the functions that they declare are reached through the table.
#pragma once
#include "adapter/adapter.h"

struct metric;
struct endpoint; // one server as one group sees it: addresses, TLS, source addresses, who may connect when
struct flow;     // one connection to it, TCP (with TLS) or UDP
struct iotix_timer;

enum iotix_log_level { IOTIX_LOG_ERROR, IOTIX_LOG_WARN, IOTIX_LOG_INFO, IOTIX_LOG_DEBUG };
enum iotix_metric { IOTIX_COUNTER, IOTIX_GAUGE, IOTIX_RATE, IOTIX_TREND };
enum iotix_unit { IOTIX_UNIT_NONE, IOTIX_UNIT_TIME_US, IOTIX_UNIT_BYTES };

struct iotix_url {
    char scheme[16]; // lower case
    char host[256];  // without brackets
    uint16_t port;
    char path[256]; // "" or "/…"
    char user[256];
    char password[256];
};

// Zeroed is the default.
struct iotix_endpoint {
    uint32_t size; // sizeof(struct iotix_endpoint)
    const char *host;
    uint16_t port;
    bool datagram;  // UDP: every flow_send is a datagram, every on_data one
    bool tls;       // the URL's scheme says so; TCP only
    bool paced;     // connects wait for their turn (options connectWindow, connectRate, connectPacing)
    bool handshake; // the protocol shakes hands too: an attempt lasts until flow_ready
    // The target's options: tls, source, connectTimeout and, when paced, the three above are read. May be NULL.
    const json_t *options;
    const char *const *alpn;           // NULL-terminated, may be NULL
    uint64_t seed;                     // where in a range of source addresses to begin
    const struct iotix_series *series; // where connects are measured; may be NULL
    const char *protocol;              // the adapter's name, which lives as long as the plugin: what partitions call it
};

// Events are told from the loop, never inside a call, and none after flow_delete.
struct iotix_flow_events {
    void (*on_open)(void *owner);
    void (*on_data)(void *owner, const uint8_t *bytes, size_t n);
    void (*on_drain)(void *owner);                          // what waited is written; may be NULL
    void (*on_close)(void *owner, const struct error *why); // it ended or never came up; not for flow_close
    void (*on_error)(void *owner, const struct error *why); // UDP: an ICMP error, the flow stays; may be NULL
};

// The series that every adapter has, with the tags group and protocol; see docs/reference/metrics.md. Times are
// microseconds. An adapter updates those that it has: the others cost nothing.
struct iotix_series {
    struct metric *connects;           // counter: connections that came online
    struct metric *connect_errors;     // rate: attempts that failed
    struct metric *connect_latency;    // trend: attempt to online
    struct metric *tcp_latency;        // trend, by the host: attempt to TCP established
    struct metric *tls_latency;        // trend, by the host
    struct metric *tls_resumed;        // counter, by the host
    struct metric *tls_full;           // counter, by the host
    struct metric *connect_rate_limit; // gauge, by the host
    struct metric *reconnects;         // counter: connects of a connection that was online before
    struct metric *devices_online;     // gauge
    struct metric *messages_sent, *messages_acked, *messages_received; // counters
    struct metric *publish_errors;                                     // rate: refused or lost
    struct metric *publish_latency;                                    // trend: publish to its acknowledgement
    struct metric *bytes_sent, *bytes_received;                        // counters, of the protocol
    struct metric *requests;                                           // counter
    struct metric *request_errors;                                     // rate
    struct metric *request_latency;                                    // trend
    // With IOTIX_HAS(host, due_us). The three above count from when an operation was meant to begin, these from when it
    // began; connect_wait is what lies between for a connect.
    struct metric *connect_latency_raw, *connect_wait, *publish_latency_raw, *request_latency_raw; // trends
};
// When to connect again: option `reconnect`, false or { initial, max, factor, jitter, attempts }.
struct iotix_backoff {
    bool enabled, jitter; // jitter: each delay is a random part of what it could be
    int64_t initial_us, max_us;
    double factor;
    uint32_t attempts; // failures in a row after which it gives up; 0: never
};

enum iotix_reason { IOTIX_CONNECT_FAILURE, IOTIX_DISCONNECT, IOTIX_MESSAGE_DROPPED };

// The host. Every function runs on the loop's thread and returns at once. Members are only ever added at the end: a
// plugin that can do without a newer one asks IOTIX_HAS.
struct iotix_host {
    uint32_t abi;        // ADAPTER_ABI of the host
    uint32_t size;       // sizeof(struct iotix_host) of the host
    const char *version; // of iotix: "0.1.0"

    // --- errors: fills err (may be NULL) and returns -1, so that `return host->fail(err, …)` reads well
    int (*fail)(struct error *err, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
    int (*fail_prefix)(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3); // "prefix: " in front

    // --- buffers (struct buf of core/buf.h); appending fails at the buffer's cap: -1, contents unchanged
    void (*buf_create)(struct buf *b, uint32_t cap);
    void (*buf_destroy)(struct buf *b);
    int (*buf_append)(struct buf *b, const void *bytes, size_t n);
    void (*buf_consume)(struct buf *b, uint32_t n); // drops n bytes from the front

    // --- log. device may be NULL.
    void (*log)(const struct adapter_env *env, enum iotix_log_level level, const char *device, const char *fmt, ...)
        PRINTF_LIKE(4, 5);

    // --- time, microseconds
    int64_t (*now_us)(const struct adapter_env *env);  // monotonic, read freshly
    int64_t (*wall_us)(const struct adapter_env *env); // since 1970 UTC
    // One shot; timer_start again moves it. NULL without memory.
    struct iotix_timer *(*timer_new)(const struct adapter_env *env, void (*fn)(void *arg), void *arg);
    void (*timer_start)(struct iotix_timer *timer, int64_t delay_us); // <= 0: as soon as the loop turns, never inside
    void (*timer_stop)(struct iotix_timer *timer);
    void (*timer_delete)(struct iotix_timer *timer); // NULL: nothing

    // --- random numbers: 8 bytes of state, begun with the seed that conn_new got
    uint64_t (*random)(uint64_t *state);
    double (*random_unit)(uint64_t *state); // [0,1)

    // --- options: each reads one key, dflt when it is absent or null; a wrong type is an error that names it
    // Unknown keys are errors naming the valid ones: `own`, and those of endpoints when `endpoint`.
    int (*options_check)(const json_t *options, const char *const *own, bool endpoint, struct error *err);
    int (*option_str)(const json_t *options, const char *key, const char *dflt, const char **out, struct error *err);
    int (*option_int)(const json_t *options, const char *key, int64_t dflt, int64_t *out, struct error *err);
    int (*option_bool)(const json_t *options, const char *key, bool dflt, bool *out, struct error *err);
    // "1.5s", or a number of seconds
    int (*option_duration)(const json_t *options, const char *key, int64_t dflt_us, int64_t *out_us, struct error *err);
    // "reconnect", by default 1s doubling up to 60s with jitter
    int (*option_backoff)(const json_t *options, struct iotix_backoff *out, struct error *err);
    // The delay after so many failures in a row (1: the first); -1: no more. random: state of `random`.
    int64_t (*backoff_us)(const struct iotix_backoff *b, unsigned failures, uint64_t *random);
    // default_port 0: the URL must say one
    int (*url_parse)(const char *text, uint16_t default_port, struct iotix_url *out, struct error *err);

    // --- metrics. The series of a target; NULL: the group's name is too long, no memory.
    struct iotix_series *(*series_new)(const struct adapter_env *env, const char *protocol, const char *group,
                                       struct error *err);
    void (*series_delete)(struct iotix_series *series);
    // connect_failures, disconnects, messages_dropped, by reason
    void (*series_count)(struct iotix_series *series, enum iotix_reason what, enum error_code reason);
    // A series of the plugin's own. tags: "key:value,…"
    struct metric *(*metric)(const struct adapter_env *env, const char *name, enum iotix_metric type,
                             enum iotix_unit unit, const char *tags, struct error *err);
    void (*metric_add)(struct metric *m, double v);     // counter (whole, not below 0), gauge: adds
    void (*metric_set)(struct metric *m, double v);     // gauge
    void (*metric_hit)(struct metric *m, bool hit);     // rate
    void (*metric_sample)(struct metric *m, int64_t v); // trend

    // --- sockets
    struct endpoint *(*endpoint_new)(const struct adapter_env *env, const struct iotix_endpoint *config,
                                     struct error *err);
    void (*endpoint_delete)(struct endpoint *e); // every flow must be deleted before
    // events must outlive the flow; owner is what they get. identity and identity_owner: those of conn_new, whom TLS
    // asks for certificate and key; may be NULL.
    struct flow *(*flow_new)(struct endpoint *e, const struct iotix_flow_events *events, void *owner,
                             const struct adapter_identity *identity, void *identity_owner, struct error *err);
    void (*flow_delete)(struct flow *f);                 // closes abruptly; NULL: nothing
    int (*flow_open)(struct flow *f, struct error *err); // on_open or on_close follows; again after it has closed
    void (*flow_ready)(struct flow *f);                  // the protocol's handshake succeeded
    bool (*flow_is_open)(const struct flow *f);
    int (*flow_send)(struct flow *f, const void *bytes, size_t n, struct error *err); // ERR_STATE, ERR_LIMIT
    void (*flow_close)(struct flow *f, bool flush);  // flush: write, then FIN; else RST
    void (*flow_pause)(struct flow *f, bool paused); // neither reads nor writes
    size_t (*flow_unsent)(const struct flow *f);     // bytes
    size_t (*flow_footprint)(const struct flow *f);  // bytes of memory
    // What adapter_ops.conn_path says of the connection that the flow is of: from here on faults of the device's
    // network act on it. Whatever state it is in; NULL: no more.
    void (*flow_path)(struct flow *f, struct path *path);

    // When what the plugin is asked for now was meant to begin, as now_us counts: before now when the host is late with
    // it. Asked for inside publish, request and conn_open, it is where publish_latency, request_latency and
    // connect_latency begin.
    int64_t (*due_us)(const struct adapter_env *env);
};
#define IOTIX_HAS(host, member) ((host)->size >= offsetof(struct iotix_host, member) + sizeof((host)->member))

// The one symbol of a plugin. Called once in a probing process and once in every shard, before any other function. The
// table outlives the plugin. NULL: it cannot work with this host; it may say why with host->log (env NULL).
#ifdef __cplusplus
extern "C"
#endif
    __attribute__((visibility("default"))) const struct adapter_ops *
    iotix_adapter(const struct iotix_host *host);
