// The server of what devices serve: one civetweb for a target, in threads of its own, made when the first path is
// served. A thread reads a whole request, puts it into a queue, and waits for the answer with a deadline; the loop
// takes requests out when an eventfd says so. Threads touch nothing of the loop's but that queue.
//
// Limits: 16 threads, a body of max_body, 8 KB of headers, 5 s for the headers and 10 s for the body, 1,024 requests
// in the queue (503 beyond). civetweb is lax where it must not be, so this refuses itself: both or two
// Content-Lengths, a length beside a transfer coding, HTTP/1.1 without Host, more headers than it keeps. No file, form,
// CGI or directory of civetweb's is ever used.
#pragma once
#include "adapter/adapter.h"
#include "core/loop.h"

struct http_server;
struct http_incoming; // a request that waits for its answer

struct http_server_config {
    struct loop *loop;
    const char *listen; // "127.0.0.1:0"
    uint32_t max_body;
    int64_t timeout_us; // for an answer
    // On the loop. Answer with http_server_respond, now or later, once.
    void (*on_request)(void *arg, struct http_incoming *in);
    void *arg;
};
struct http_server *http_server_new(const struct http_server_config *config, struct error *err);
// Waiting clients get 503.
void http_server_delete(struct http_server *s);
// "http://127.0.0.1:40123"
const char *http_server_url(const struct http_server *s);

const char *http_incoming_method(const struct http_incoming *in);
const char *http_incoming_path(const struct http_incoming *in); // with its query
const struct buf *http_incoming_body(const struct http_incoming *in);
const struct adapter_property *http_incoming_headers(const struct http_incoming *in, unsigned *n);
// Nobody waits for its answer any more.
bool http_incoming_gone(const struct http_incoming *in);
// Gives the request back. False: its client is gone (or waited too long).
bool http_server_respond(struct http_incoming *in, const struct adapter_response *response);
// The same with a status and a short text.
bool http_server_refuse(struct http_incoming *in, unsigned status, const char *text);
