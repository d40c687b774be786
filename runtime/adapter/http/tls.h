// What a transport of the link room gives libcurl's connections.
#pragma once
#include "adapter/http/exchange.h"

struct ssl_session_st;

// What the SSL_CTX of a connection points to; it outlives its device because libcurl closes connections when it likes.
struct http_tls_holder {
    struct adapter_conn *conn;      // NULL: deleted
    struct http_exchange *exchange; // whose handshake it is; NULL: over
    struct ssl_session_st *session; // to resume
    struct http_tls_holder *next;   // of the target's, when the device is gone
    enum { HTTP_TLS_NEW, HTTP_TLS_BEGUN, HTTP_TLS_DONE } state;
};

int http_tls_create(struct http_target *t, struct error *err);
void http_tls_destroy(struct http_target *t);
void http_tls_easy(struct http_target *t, CURL *easy);
bool http_tls_own(struct adapter_conn *c, struct error *err);
// Gives back the buffers that TLS 1.3 keeps since its tickets came (16 KB a connection).
void http_tls_trim(struct adapter_conn *c, const struct http_lane *lane);
void http_tls_exchange_gone(struct http_exchange *x);
void http_tls_forget(struct adapter_conn *c);
