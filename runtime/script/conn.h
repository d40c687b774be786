// Methods of a device and of a side connection: bound once for both, see port.h. Private to the files that bind them.
#pragma once
#include "script/port.h"

struct handle_conn {
    uint32_t tag;
    slot_id device;
    uint64_t number;
};

// conn_bind.c
void conn_bindings_open(lua_State *L, struct scenario *s);
int dev_open_bind(lua_State *L);
int connection_reader_bind(lua_State *L); // native.connection_reader(fn)
// message_bind.c
int port_publish_bind(lua_State *L);
int port_subscribe_bind(lua_State *L);
int port_unsubscribe_bind(lua_State *L);
int port_wait_bind(lua_State *L);
// Registers the function at `fn`; raises without changing anything at the cap.
struct handler *handler_add(lua_State *L, const struct port *p, int fn, enum handler_kind kind, const char *name,
                            size_t n);
// Subscribes h->name for the handler. Last statement of a binding.
int handler_subscribe(lua_State *L, struct scenario *s, const struct port *p, struct handler *h, struct task *t);
// Removes that handler, or all subscriptions of the connection to `filter`.
void handlers_remove(lua_State *L, const struct port *p, const struct handler *which, const char *filter);
// Renders a topic as the author writes it into `out`.
int port_topic(struct scenario *s, struct device *d, const char *topic, size_t n, struct buf *out, struct error *err);
// What a refused call returns: a mistake of the author raises (function: "publish"), the rest are values.
int port_refused(lua_State *L, const struct port *p, const char *function, const struct error *err);
// Renders a payload: strings as they are, tables as JSON into s->scratch, numbers and booleans as text, nil as nothing.
int port_payload(lua_State *L, struct scenario *s, int arg, const uint8_t **bytes, size_t *n, struct error *err);
// The table of properties at idx, { name = text or list of texts } or { { name, text }, … }, by name where it is no
// list. Raises. Pushes what must live as long as the list is used, at most PROPERTIES_MAX values.
unsigned bind_properties(lua_State *L, int idx, const char *what, struct adapter_property *list);
// Pushes { name = text, or a list of texts where a name comes more than once }. lower: names in lower case.
void properties_push(lua_State *L, const struct adapter_property *list, unsigned n, bool lower);
// request_bind.c
int port_request_bind(lua_State *L);
int port_get_bind(lua_State *L);
int port_post_bind(lua_State *L);
int port_put_bind(lua_State *L);
int port_patch_bind(lua_State *L);
int port_delete_bind(lua_State *L);
int port_fetch_bind(lua_State *L);
int port_observe_bind(lua_State *L);
void request_bindings_open(lua_State *L, struct scenario *s);
// serve_bind.c
int port_serve_bind(lua_State *L);
int port_notify_bind(lua_State *L);
int port_served_at_bind(lua_State *L);
int respond_bind(lua_State *L); // native.respond(port, ticket, status, body, headers)
// auth_bind.c
int auth_register(lua_State *L, const struct port *p, int fn);
