// What a device serves: paths on an endpoint of its own and on its session, asked of its owner through on_request,
// answered with respond() at once (piggybacked) or later (separate response), observed, in blocks, discovered.
#pragma once
#include "adapter/coap/conn.h"

struct coap_server;

#define COAP_SERVER_PATHS 64u
#define COAP_SERVER_TICKETS 64u   // requests without answer; then 5.03
#define COAP_SERVER_OBSERVERS 64u // of one connection; then answers are without Observe (RFC 7641, 4.1)
#define COAP_SERVER_UPLOADS 4u    // bodies that come in blocks; the oldest goes
#define COAP_SERVER_BODIES 4u     // large answers kept for their next blocks

int coap_serve(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err);
void coap_unserve(struct adapter_conn *conn, const char *path);
int coap_respond(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *response,
                 struct error *err);
int coap_notify(struct adapter_conn *conn, const char *path, struct error *err);
int coap_served_at(struct coap_conn *c, struct buf *out, struct error *err);
// The endpoint closes with the connection and opens with it (at an address that has port 0: a new one).
int coap_server_open(struct coap_conn *c, struct error *err);
void coap_server_close(struct coap_conn *c);        // clients are forgotten; what is served stays
void coap_server_session_gone(struct coap_conn *c); // the connection's own session is about to be released
void coap_server_work(struct coap_conn *c);         // of the target's hook
void coap_server_delete(struct coap_conn *c);
size_t coap_server_footprint(const struct coap_conn *c);
// Link format (RFC 6690) of what is served, appended. query: of a filter "rt=x", NULL: all.
int coap_server_links(struct coap_conn *c, const char *query, size_t n, struct buf *out);

// From inside libcoap.
void coap_on_server_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                            const coap_string_t *query, coap_pdu_t *response);
void coap_on_server_nack(coap_session_t *session, const coap_pdu_t *sent, coap_nack_reason_t reason);
void coap_on_server_event(coap_session_t *session, coap_event_t event);
struct coap_conn *coap_server_conn(const coap_session_t *session); // who serves on this session; NULL: nobody
// io.c: the connection whose endpoint this is; an acknowledgement or reset of a client has come.
struct coap_conn *coap_server_of(struct coap_pool *pool, const void *endpoint);
void coap_server_empty(struct coap_conn *c, const struct sockaddr *from, uint16_t mid, bool reset);
