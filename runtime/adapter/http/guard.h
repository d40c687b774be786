// What civetweb lets through and must not (request smuggling, unbounded bodies), and reading a body within limits.
#pragma once
#include <civetweb.h>
#include "core/buf.h"

// 0, or the status to refuse with and *why.
unsigned http_guard_check(const struct mg_request_info *info, uint64_t max_body, const char **why);
// The whole body, chunked or not. 0, or the status: 400 cut short, 408 too slow, 413 too large.
unsigned http_guard_read(struct mg_connection *conn, int64_t timeout_us, struct buf *body, const char **why);
const char *http_reason(unsigned status);
// Stops a civetweb that listens on host:port (an IP address). mg_stop alone takes up to two seconds: its thread looks
// at the order to stop when its poll for connections ends, so this makes some.
void http_guard_stop(struct mg_context *civetweb, const char *host, int port);
