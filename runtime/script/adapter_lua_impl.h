// What the two halves of adapter_lua share: adapter_lua.c (ops of the host) and adapter_bind.c (functions of Lua).
#pragma once
#include <lua.h>
#include "adapter/backoff.h"
#include "adapter/pacer.h"
#include "core/slots.h"
#include "link/url.h"
#include "script/adapter_lua.h"
#include "script/internal.h"

struct lua_adapter {
    struct adapter_ops ops;
    struct scenario *scenario;
    char name[16];
    char schemes[4][16];
    const char *scheme_list[5];
    uint16_t default_port;
    // It has such a function.
    bool subscribes, disconnects, requests, observes, serves, unserves, notifies;
    int run, spec; // registry references: product function(handle, spec); what it gets
};

struct lua_adapters {
    struct lua_adapter *all[LUA_ADAPTERS_MAX];
    const struct adapter_ops *ops[LUA_ADAPTERS_MAX + 1];
    unsigned n;
    struct slots *conns;
};

enum lua_conn_state { LC_OFFLINE, LC_WAITING, LC_CONNECTING, LC_ONLINE, LC_BACKOFF, LC_CLOSING };

// What the device wants of its connection, oldest first. The first one is being done until adapter_done.
enum lua_op_kind { OP_PUBLISH, OP_SUBSCRIBE, OP_UNSUBSCRIBE, OP_CLOSE, OP_REQUEST, OP_SERVE, OP_UNSERVE, OP_NOTIFY };
struct lua_op {
    struct lua_op *next;
    int64_t since_us; // when it was asked for, lag later than it was meant to be
    struct lag lag;
    uint32_t token;
    uint32_t topic_len, payload_len;
    uint8_t kind, qos;
    bool retain, taken;
    char bytes[]; // topic, filter, path or number of the exchange, NUL, payload
};

// What the device is to be told at the end of the turn.
enum lua_event_kind { EV_ONLINE, EV_DONE, EV_MESSAGE, EV_RESPONSE, EV_REQUEST };
struct lua_event {
    struct lua_event *next;
    struct lua_packet *packet; // owned; EV_RESPONSE that did not fail, EV_REQUEST
    union {
        uint64_t ticket;    // EV_REQUEST
        int64_t latency_us; // EV_RESPONSE
    };
    unsigned status;
    uint32_t token;
    int16_t granted;
    uint8_t kind, qos;
    bool retain, session, failed, more;
    enum error_code code; // failed; bytes is the text
    uint32_t topic_len, payload_len;
    char bytes[];
};

struct lua_packet { // of an exchange
    const char *method, *path, *payload;
    size_t path_len, payload_len, size;
    unsigned n_headers;
    struct adapter_property headers[];
};

struct lua_served { // told again at a reconnect
    struct lua_served *next;
    json_t *attributes; // NULL: none
    char path[];
};

struct lua_exchange; // adapter_lua_exchange.c

struct lua_filter { // renewed at a reconnect
    struct lua_filter *next;
    uint8_t qos;
    char filter[];
};

struct lua_conn {
    struct task_owner tasks; // kind OWNER_ADAPTER
    struct adapter_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct path *path;            // of the device; NULL: nothing acts on its network
    struct lua_conn *prev, *next; // of the target's list that it is in
    struct timer timer;
    struct rng rng;
    slot_id id, main, fetching; // main: the task that runs it; fetching: it is blocked in adapter_next
    int64_t due_us, since_us;   // of the attempt: when it was meant to begin, and did
    struct lua_op *ops, **ops_end;
    struct lua_event *told, **told_end;
    struct lua_filter *filters;
    struct lua_exchange *exchanges;
    struct lua_served *served;
    char *at;          // where it serves; NULL: not known
    struct error *end; // it ends at the end of this turn
    uint32_t n_ops, op_bytes, n_told, n_filters, n_exchanges, failures;
    uint8_t state;
    bool due, doomed, was_online, under_way;
};

struct lua_conn_list {
    struct lua_conn *head, *tail;
    unsigned n;
};

struct adapter_target {
    struct adapter_env env;
    struct lua_adapter *adapter;
    struct url url;
    json_t *options; // owned
    struct iotix_series *series;
    struct metric *served; // counter: requests_served
    uint64_t exchanges;    // number of the last one
    struct iotix_backoff backoff;
    struct pacer pacer;
    struct endpoint *endpoint, *datagrams; // for conn:dial, made when first needed
    int64_t connect_timeout_us;
    struct loop_hook hook;
    struct timer timer;
    struct lua_conn_list waiting;
    struct lua_conn **due; // something is to be told
    unsigned n_due, due_size;
};

struct handle_adapter {
    uint32_t tag; // HANDLE_ADAPTER
    slot_id id;
};

// adapter_lua.c
extern const struct adapter_ops adapter_lua_ops;             // without name and schemes
void lua_conn_due(struct lua_conn *c);                       // the hook looks at it
void lua_conn_tell(struct lua_conn *c, struct lua_event *e); // owned from here
struct lua_event *lua_event_new(enum lua_event_kind kind, const char *topic, size_t topic_len, const void *payload,
                                size_t payload_len);
void lua_conn_up(struct lua_conn *c, bool session_present);
void lua_conn_ends(struct lua_conn *c, const struct error *why); // at the end of the turn; the first reason holds
void lua_op_done(struct lua_conn *c, int granted, const struct error *why); // the first one; NULL: it went well
int lua_op_add(struct lua_conn *c, enum lua_op_kind kind, const char *topic, size_t topic_len,
               const struct adapter_message *m, uint32_t token, struct error *err);
void lua_op_pop(struct lua_conn *c); // the first one, whatever became of it

// adapter_bind.c
// The connection at argument 1, when one of its own tasks runs; NULL: it is gone. Raises for what is none.
struct lua_conn *lua_check_conn(lua_State *L, struct scenario *s);
int lua_conn_gone(lua_State *L); // pushes nil, message, code
// Message and code at two places of the stack → an error.
void lua_error_at(lua_State *L, int message, struct error *out);

// adapter_lua_exchange.c; functions of struct adapter_ops
int lua_request(struct adapter_conn *conn, const struct adapter_request *r, uint32_t token, struct error *err);
void lua_request_cancel(struct adapter_conn *conn, uint32_t token);
int lua_serve(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err);
void lua_unserve(struct adapter_conn *conn, const char *path);
int lua_respond(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *r, struct error *err);
int lua_notify(struct adapter_conn *conn, const char *path, struct error *err);
int lua_served_at(struct adapter_conn *conn, struct buf *out, struct error *err);
void lua_requests_drop(struct lua_conn *c, const struct error *why); // requests of the device fail
void lua_served_drop(struct lua_conn *c);
int lua_op_serve(struct lua_conn *c, const struct lua_served *s, struct error *err);
// A request of the device for its adapter: "request" or "observe", number, table; returns how many it pushed, 0: it is
// not wanted any more.
int lua_push_request(lua_State *L, struct lua_conn *c, const char *number);
// One block, to be freed; NULL: no memory. method NULL: none.
struct lua_packet *lua_packet_new(const char *method, const char *path, size_t path_len, const void *payload,
                                  size_t payload_len, const struct adapter_property *headers, unsigned n_headers);
int lua_exchange_work_bind(lua_State *L);
int lua_exchange_answer_bind(lua_State *L);
int lua_exchange_refuse_bind(lua_State *L);
int lua_exchange_ask_bind(lua_State *L);
int lua_serves_bind(lua_State *L);
