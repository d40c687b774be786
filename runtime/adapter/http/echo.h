// The HTTP server of `http = "embedded"` and of the tests: civetweb on a loopback port, in a process of its own.
//
//   any /echo…             200, JSON { method, path, query, headers { lower-case name: value }, body }
//   any /status/NNN        that status                         any /delay/MS      200 after so long (60 s at most)
//   GET /redirect/N        302 N times, then 200               GET /chunked/N     N chunks of a line each
//   GET /gzip              gzip, when the client takes it      GET /bytes/N       N bytes (16 MB at most)
//   GET /poll/NAME         a long poll: 200 with the next message that was POSTed there, or 204 after `Prefer: wait=S`
//                          (30 s at most); POST /poll/NAME puts one in
//   PUT, POST, PATCH other is remembered, 204; GET gives the latest, DELETE forgets it; else 404.
//   GET /                  { requests, connections, stored }
//
// At most 4,096 remembered bodies and 64 MB in all (507 beyond), 1 MB a body, 1,000 messages a poll queue.
//
// civetweb has one thread for each connection: above three quarters of `threads` connections it answers with
// `Connection: close`, so that all come to their turn. TLS is a relay in front of it (a thread for each connection).
#pragma once
#include "core/error.h"

struct http_echo_config {
    const char *listen;     // "127.0.0.1:0"
    const char *tls_listen; // NULL: no TLS
    const char *tls_cert;   // PEM files
    const char *tls_key;
    const char *tls_client_ca; // NULL: clients need no certificate
    unsigned threads;          // 0: 256
};
// Serves until SIGTERM or SIGINT (which it takes; other threads must not exist yet). When it listens, writes a line
// {"http":PORT,"https":PORT} to ready_fd (0: no TLS) and closes it. 0: ended as asked; -1: could not begin.
int http_echo_run(const struct http_echo_config *config, int ready_fd, struct error *err);
