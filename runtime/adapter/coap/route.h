// A CoAP connection's way through its device's path (link/path.h). libcoap's sockets are its own, so each flow of bytes
// has a port of the path, into which the seams (io.c, pipe.c) put what they would hand on: the datagrams of the
// session, those of each client of what is served, and every pipe's stream. Between hook and socket: what a hook lets
// through goes into the path, and what the path brings is asked of the hook.
//
// A connection has none of this until a fault acts on its device. Ports follow the path of the device as soon as they
// hold nothing of an earlier one.
#pragma once
#include "adapter/coap/seam.h"
#include "link/path.h"

#define COAP_CALLERS_MAX 64u // clients of a device; then the one that was silent longest gives way

struct coap_way;

// adapter_ops
void coap_conn_path(struct adapter_conn *conn, struct path *path);

// The session's connect. false: it may go on at once; else `opened` follows, or nothing, and the deadline of the
// connection ends it.
bool coap_route_gate(struct coap_conn *c, void (*opened)(void *arg, const struct error *why));
void coap_route_gate_done(struct coap_conn *c);
bool coap_route_gated(const struct coap_conn *c); // it waits for that
// A session was opened at c->addr; it was given up; the endpoint closes.
void coap_route_opened(struct coap_conn *c);
void coap_route_closed(struct coap_conn *c);
void coap_route_serves_no_more(struct coap_conn *c);
void coap_route_delete(struct coap_conn *c);
size_t coap_route_footprint(const struct coap_conn *c);

// true: nothing acts on it, the caller moves it on by itself. Only of connections with a route.
bool coap_route_datagram(struct coap_conn *c, enum path_direction direction, const uint8_t *bytes, size_t n);
bool coap_route_stream(struct coap_pipe *p, enum path_direction direction, const uint8_t *bytes, size_t n);
// head: of the client.
bool coap_route_served(struct coap_conn *c, enum path_direction direction, struct coap_socket_t *sock,
                       const struct coap_packet_head *head, const uint8_t *bytes, size_t n);
// A pipe takes the session's port over, which knows the round trip of its connect; it goes.
void coap_route_pipe_begins(struct coap_pipe *p);
void coap_route_pipe_ends(struct coap_pipe *p);
