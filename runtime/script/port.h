// A connection of a device as Lua sees it: the device's own (dev:publish) or one that dev:open made (conn:publish).
// What both can do is written once, on a port; the difference is whom it calls: the device room, or an adapter.
//
// A side connection belongs to the behaviour that opened it. Handles hold its number, never a pointer. It is closed
// when its author says so, when its server ends it for good and when the behaviour ends; from then on nobody finds it,
// and the scenario's hook brings it to its end: what is under way is acknowledged for up to SIDE_DRAIN_US, then it is
// closed and freed. Nothing is closed or freed inside an event of its adapter.
//
// Targets and credentials of side connections are shared: a thousand devices that were told the same URL by a server,
// each with a password of its own, have one target.
#pragma once
#include "script/internal.h"

enum {
    SIDES_MAX = 16,          // open side connections of a device
    SIDES_ALL_MAX = 32,      // with those that are still closing
    SIDE_TARGETS_MAX = 1024, // targets, and sets of credentials, that are kept while nobody uses them
    SIDE_TARGETS_ALL = 8192, // with those in use: then dev:open is refused
    SIDE_DRAIN_US = 2000000,
    SIDE_END_US = 5000000, // behind the drain: then it is cut off
    PROPERTIES_MAX = 64,   // user properties, header fields
    PROPERTIES_BYTES = 65535,
    PATH_MAX_BYTES = 8192, // of a request or of what is served
};

struct side_target;
struct side_identity;

struct side {
    struct side *next;                   // of its behaviour; closing: of the scenario
    struct side *open_next, **open_prev; // of all that are open
    struct behaviour *behaviour;         // NULL: that has ended
    struct scenario *scenario;
    uint64_t number; // of the process, never used again
    const struct adapter_ops *adapter;
    struct side_target *target;
    struct side_identity *identity;
    struct adapter_conn *conn;
    struct timer renewal; // of a password that expires
    int64_t deadline_us;  // closing: of the drain, then of the end
    unsigned client;      // which connection of its device and adapter this is, from 1 on
    uint8_t state;        // enum conn_state
    bool closing;         // in the scenario's list, no longer in its behaviour's
    bool asked, abrupt;   // closing: conn_close was called; without a drain
};

struct port {
    struct device *device;
    struct behaviour *behaviour;
    struct side *side; // NULL: the device's own connection
    const char *who;   // "dev", "conn"
};

// --- port.c
// The connection of argument 1, whose own device's task must run; raises otherwise. One that is closed: side is set to
// NULL, *closed to true and what the method returns has been pushed (nil, text, "closed").
bool port_check(lua_State *L, struct scenario *s, struct port *p, bool *closed);
#define PORT_OR_RETURN(L, s, p)                                                                                        \
    do {                                                                                                               \
        bool port_closed = false;                                                                                      \
        if (!port_check(L, s, p, &port_closed))                                                                        \
            return 3;                                                                                                  \
    } while (0)
// Pushes the metatable of a handle: the methods that all connections have, its own, and its metamethods. index finds
// fields that are no method; upvalue 1 is the scenario, 2 the table of methods.
void port_handle_meta(lua_State *L, struct scenario *s, const luaL_Reg *meta, const luaL_Reg *methods,
                      lua_CFunction index);
const struct adapter_ops *port_adapter(const struct port *p);
int port_publish(const struct port *p, const struct adapter_message *m, uint32_t token, struct error *err);
int port_subscribe(const struct port *p, const struct adapter_subscription *sub, uint32_t token, struct error *err);
int port_unsubscribe(const struct port *p, const char *filter, uint32_t token, struct error *err);
int port_request(const struct port *p, const struct adapter_request *request, uint32_t token, struct error *err);
void port_request_cancel(struct behaviour *b, struct side *side, uint32_t token);
int port_serve(const struct port *p, const char *path, const json_t *attributes, struct error *err);
void port_unserve(struct behaviour *b, struct side *side, const char *path);
int port_notify(const struct port *p, const char *path, struct error *err);
int port_respond(const struct port *p, uint64_t ticket, const struct adapter_response *response, struct error *err);
int port_served_at(const struct port *p, struct buf *out, struct error *err);
