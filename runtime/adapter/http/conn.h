// A device's HTTP "connection": its requests under way, its credentials, what it polls and what it serves.
#pragma once
#include "adapter/http/target.h"
#include "core/rng.h"

enum http_conn_state { HTTP_OFFLINE, HTTP_PROBING, HTTP_ONLINE, HTTP_CLOSING };
enum http_credential { HTTP_CREDENTIAL_UNKNOWN, HTTP_CREDENTIAL_NONE, HTTP_CREDENTIAL_KNOWN };

struct http_sub { // a subscription
    struct http_sub *next;
    struct adapter_conn *conn;
    struct http_exchange *exchange; // poll under way
    struct timer timer;             // until the next poll
    int64_t started_us;
    struct http_lane lane;
    uint32_t token; // of the subscribe that is still to be answered
    uint16_t failures;
    bool answered, polls;
    char filter[];
};

struct http_route { // a path that this device serves
    struct http_route *next;
    bool command;     // POSTs of it are messages with topic `path` (without its slash)
    uint16_t methods; // bit of the place in http_route_methods
    char path[];      // "/a/b"
};

struct adapter_conn {
    struct http_node due, waiting; // in the target's lists
    struct http_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct http_multi *multi;
    struct http_node exchanges; // queued, running, cancelled; in order of asking
    struct http_lane lane;
    struct http_socket *sockets;
    struct path *path; // NULL: nothing acts on its network
    struct http_sub *subs;
    struct http_route *routes;
    struct adapter_conn *next_served; // in the table of the server
    char *served_name;                // percent-encoded DEVICE; NULL: not served
    char *authorization;              // "Authorization: …"; NULL: none or not asked yet
    int64_t refresh_us;               // wall time at which a token is asked for anew; 0: never
    struct transport_memory tls;
    struct http_tls_holder *holder; // https
    struct timer probe_timer;
    struct rng rng;
    uint16_t n_exchanges, probe_failures;
    uint8_t state, credential, own_tls; // own_tls: enum http_credential, of the certificate
    uint32_t unsub_token;               // of an unsubscribe that is still to be answered
    bool command_slash;                 // filters of commands begin with a slash
    bool frozen, offline_due, online_due, subs_due, pump_due, path_due, busy; // busy: in `waiting`
};

// conn.c
void http_conn_due(struct adapter_conn *c);
// What is due at the end of the turn: events, then requests. May delete c.
void http_conn_work(struct adapter_conn *c);
// The device came to the head of `waiting` and may connect.
void http_conn_start(struct adapter_conn *c);
// The server's name cannot be resolved: what waits fails.
void http_conn_unreachable(struct adapter_conn *c, const struct error *why);
struct adapter_conn *http_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err);
void http_conn_delete(struct adapter_conn *c);
int http_conn_open(struct adapter_conn *c, struct error *err);
void http_conn_close(struct adapter_conn *c, enum adapter_close mode);
void http_conn_freeze(struct adapter_conn *c, bool frozen);
void http_conn_path(struct adapter_conn *c, struct path *path);
void http_conn_probed(struct adapter_conn *c, const struct error *why);
unsigned http_conn_pending(const struct adapter_conn *c);
size_t http_conn_footprint(const struct adapter_conn *c);
// Tells an owner: returns false when the connection was deleted inside.
#define HTTP_TELL(c, call)                                                                                             \
    ({                                                                                                                 \
        struct http_target *tell_target_ = (c)->target;                                                                \
        tell_target_->telling = (c);                                                                                   \
        call;                                                                                                          \
        bool alive_ = tell_target_->telling != NULL;                                                                   \
        tell_target_->telling = NULL;                                                                                  \
        alive_;                                                                                                        \
    })

// auth.c: whether devices with these fields (bits 1u << FIELD_…) have what the option auth asks for.
int http_auth_check(const struct http_target *t, uint32_t fields, struct error *err);
// When a device goes online: -1: it has not.
int http_auth_begin(struct adapter_conn *c, struct error *err);
// The Authorization line of the device, asked for when it is not known or has become old. force: anew.
// Returns it (NULL: none), *failed set with err when it cannot be made.
const char *http_auth_line(struct adapter_conn *c, bool force, bool *failed, struct error *err);
void http_auth_forget(struct adapter_conn *c);

// poll.c: subscriptions
int http_subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err);
int http_unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err);
// Tells granted subscriptions. False: c was deleted inside.
bool http_subs_answer(struct adapter_conn *c);
// Stops polling; with `forget`, the subscriptions end.
void http_subs_stop(struct adapter_conn *c, bool forget);
void http_subs_freeze(struct adapter_conn *c, bool frozen);
void http_polled(struct http_sub *sub, struct http_exchange *x);

// endpoint.c: what a device serves
// DEVICE, percent-encoded, appended.
int http_device_name(struct adapter_conn *c, struct buf *out);
int http_serve(struct adapter_conn *c, const char *path, const json_t *attributes, struct error *err);
int http_serve_commands(struct adapter_conn *c, const char *filter, struct error *err);
void http_unserve(struct adapter_conn *c, const char *path);
void http_unserve_commands(struct adapter_conn *c);
void http_unserve_all(struct adapter_conn *c);
int http_respond(struct adapter_conn *c, uint64_t ticket, const struct adapter_response *response, struct error *err);
int http_served_at(struct adapter_conn *c, struct buf *out, struct error *err);
