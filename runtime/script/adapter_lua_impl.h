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
    bool subscribes, disconnects; // it has such a function
    int run, spec;                // registry references: product function(handle, spec); what it gets
};

struct lua_adapters {
    struct lua_adapter *all[LUA_ADAPTERS_MAX];
    const struct adapter_ops *ops[LUA_ADAPTERS_MAX + 1];
    unsigned n;
    struct slots *conns;
};

enum lua_conn_state { LC_OFFLINE, LC_WAITING, LC_CONNECTING, LC_ONLINE, LC_BACKOFF, LC_CLOSING };

// What the device wants of its connection, oldest first. The first one is being done until adapter_done.
enum lua_op_kind { OP_PUBLISH, OP_SUBSCRIBE, OP_UNSUBSCRIBE, OP_CLOSE };
struct lua_op {
    struct lua_op *next;
    int64_t since_us;
    uint32_t token;
    uint32_t topic_len, payload_len;
    uint8_t kind, qos;
    bool retain, taken;
    char bytes[]; // topic or filter, NUL, payload
};

// What the device is to be told at the end of the turn.
enum lua_event_kind { EV_ONLINE, EV_DONE, EV_MESSAGE };
struct lua_event {
    struct lua_event *next;
    uint32_t token;
    int16_t granted;
    uint8_t kind, qos;
    bool retain, session, failed;
    enum error_code code; // failed; bytes is the text
    uint32_t topic_len, payload_len;
    char bytes[];
};

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
    int64_t since_us;
    struct lua_op *ops, **ops_end;
    struct lua_event *told, **told_end;
    struct lua_filter *filters;
    struct error *end; // it ends at the end of this turn
    uint32_t n_ops, op_bytes, n_told, n_filters, failures;
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
void lua_conn_tell(struct lua_conn *c, struct lua_event *e); // owned from here
struct lua_event *lua_event_new(enum lua_event_kind kind, const char *topic, size_t topic_len, const void *payload,
                                size_t payload_len);
void lua_conn_up(struct lua_conn *c, bool session_present);
void lua_conn_ends(struct lua_conn *c, const struct error *why); // at the end of the turn; the first reason holds
void lua_op_done(struct lua_conn *c, int granted, const struct error *why); // the first one; NULL: it went well
