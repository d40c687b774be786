// One group's view of one CoAP server: options, addresses, metric series, who may connect when, and the libcoap
// contexts its sessions live in.
//
// A context is driven by one ev_io on its epoll descriptor (libcoap keeps a timerfd in there for its own timeouts) and
// looks at all of its sessions whenever something is ready, so it has at most COAP_POOL_SESSIONS of them. Starting
// connections, freeing sessions and telling owners about what libcoap found inside a call of theirs is done by a hook
// at the end of the turn: no event is delivered inside a call of the owner, and no session freed under libcoap.
#pragma once
#include <coap3/coap.h>
#include "adapter/adapter.h"
#include "adapter/coap/format.h"
#include "adapter/coap/options.h"
#include "adapter/pacer.h"
#include "adapter/series.h"
#include "link/source.h"
#include "link/url.h"

#define COAP_POOL_SESSIONS 200u
#define COAP_MAX_ADDRS 8u

struct coap_conn;
struct coap_socket_t; // libcoap's
struct transport;

struct coap_list { // of connections, linked through next and prev
    struct coap_conn *head, *tail;
    unsigned n;
};

// A context of libcoap has one kind of credential, and cannot be both sides of a pre-shared key.
enum coap_pool_kind { POOL_PLAIN, POOL_CERT, POOL_PSK, POOL_PSK_SERVER, POOL_CERT_SERVER };
struct coap_pool {
    const char *mark; // of pool.c: other contexts of the process (echo.c) have other data
    struct coap_pool *next;
    struct coap_target *target;
    coap_context_t *ctx;
    ev_io io;
    struct coap_server *servers; // with an endpoint in this context
    struct coap_conn *opening;   // whose session is being made: libcoap has no other way to know it yet
    unsigned n_sessions;
    coap_session_t **released; // while libcoap runs: to be freed when it has returned
    unsigned n_released, room_released, running;
    uint8_t kind;
    bool keyed; // POOL_PSK_SERVER, POOL_CERT_SERVER: set up
    bool stale; // its next timeout is to be looked for
};

// Series of a target, tags "group:NAME,protocol:coap".
struct coap_series {
    struct metric *connects, *connect_errors, *connect_latency, *reconnects, *devices_online, *connect_rate_limit;
    struct metric *tcp_latency, *tls_latency;
    struct metric *connect_latency_raw, *connect_wait, *publish_latency_raw, *request_latency_raw;
    struct metric *messages_sent, *messages_acked, *messages_received, *publish_errors, *publish_latency;
    struct metric *subscribe_latency;           // observation asked for to its first answer
    struct metric *bytes_sent, *bytes_received; // datagrams; over TCP bytes, TLS included
    struct metric *requests, *request_errors, *request_latency;
    struct metric *retransmissions, *timeouts, *resets, *duplicates, *malformed; // coap_*
    struct metric *served;                                                       // requests of clients to devices
    struct metric *responses[8]; // by class of the code: 2 is status:2xx
    struct series_reasons reasons;
};

struct coap_target {
    struct adapter_env env;
    struct coap_options options;
    struct url url;
    coap_proto_t proto;
    char shown[600]; // the URL without credentials
    char tags[SERIES_TAGS_MAX];
    struct transport *transport; // NULL: not coaps
    struct sources *sources;
    struct pacer pacer;
    struct timer pacing; // when the pacer is to be asked again
    struct loop_hook hook;
    struct coap_pool *pools;
    struct coap_list waiting; // state COAP_WAITING, first come first served
    struct {                  // something to do in the hook; linked through next_due
        struct coap_conn *head, *tail;
    } due;
    struct coap_endpoint_grave *graves; // endpoints to be freed when libcoap is not on the stack
    unsigned n_conns, n_sessions;
    enum { COAP_UNRESOLVED, COAP_RESOLVING, COAP_RESOLVED } resolve;
    uint64_t ticket; // RESOLVING
    struct link_addr addrs[COAP_MAX_ADDRS];
    unsigned n_addrs, preferred;
    struct coap_fields fields; // scratch of one message
    struct buf text, body;     // scratch: identities and properties; a response being put together
    struct coap_series series;
};

// adapter_ops
struct adapter_target *coap_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err);
void coap_target_delete(struct adapter_target *target);
static inline bool coap_target_reliable(const struct coap_target *t)
{
    return t->proto == COAP_PROTO_TCP || t->proto == COAP_PROTO_TLS;
}
static inline bool coap_target_secure(const struct coap_target *t)
{
    return t->proto == COAP_PROTO_DTLS || t->proto == COAP_PROTO_TLS;
}
// Bytes of a message over TCP, as our CSM says (RFC 8323, 5.3.1): a body and what stands around it.
static inline uint32_t coap_target_message_max(const struct coap_target *t)
{
    return (t->options.max_response > COAP_BODY_MAX ? t->options.max_response : COAP_BODY_MAX) + 4096;
}
// There is work for the hook.
void coap_target_wake(struct coap_target *t);
// c wants the hook to look at it at the end of this turn. Idempotent.
void coap_target_due(struct coap_target *t, struct coap_conn *c);
void coap_target_undue(struct coap_target *t, struct coap_conn *c);
void coap_list_append(struct coap_list *list, struct coap_conn *c);
void coap_list_remove(struct coap_list *list, struct coap_conn *c);

enum coap_reasoned {
    COAP_CONNECT_FAILURES = IOTIX_CONNECT_FAILURE,
    COAP_DISCONNECTS = IOTIX_DISCONNECT,
    COAP_MESSAGES_DROPPED = IOTIX_MESSAGE_DROPPED
};
void coap_count_reason(struct coap_target *t, enum coap_reasoned what, enum error_code reason);
void coap_count_response(struct coap_target *t, unsigned code); // of a PDU

// pool.c
//
// The pool whose context this is; NULL: not one of ours.
struct coap_pool *coap_pool_of(const coap_context_t *ctx);
// A pool with room for one more session or endpoint. NULL: err.
struct coap_pool *coap_pool_take(struct coap_target *t, enum coap_pool_kind kind, struct error *err);
void coap_pool_give(struct coap_pool *pool);
// Gives a session up: now, or when libcoap has returned.
void coap_pool_release(struct coap_pool *pool, coap_session_t *session);
// Has libcoap read from a socket as if it were readable.
void coap_pool_read(struct coap_pool *pool, struct coap_socket_t *sock);
void coap_pools_delete(struct coap_target *t);
// Looks for the next timeouts of the pools in which sessions were made.
void coap_pools_refresh(struct coap_target *t);
void coap_graves_clear(struct coap_target *t);
// Frees the endpoint at the end of the turn, with what is under way to its clients (a list that is handed over), and
// gives its place in the pool back.
void coap_endpoint_bury(struct coap_pool *pool, coap_endpoint_t *endpoint, coap_session_t **clients,
                        unsigned n_clients);
void coap_graves_forget(struct coap_pool *pool, const coap_session_t *session); // a client is gone
