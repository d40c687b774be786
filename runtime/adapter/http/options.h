// The options of an HTTP target: iotix.http{...} or the connection of a device model, as a JSON object.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "adapter/adapter.h"
#include "adapter/pacer.h"

enum http_version { HTTP_VERSION_AUTO, HTTP_VERSION_1_1, HTTP_VERSION_2 };
enum http_auth { HTTP_AUTH_DEFAULT, HTTP_AUTH_NONE, HTTP_AUTH_BASIC, HTTP_AUTH_BEARER };

struct http_retries {
    uint32_t max; // tries after the first one
    int64_t initial_us, max_delay_us;
    double factor;
    bool jitter;           // uniform in [delay/2, delay)
    bool network;          // also when there was no answer
    uint64_t statuses[10]; // bit s of word s/64: status s
};

#define HTTP_HEADERS_MAX 64u // of a target, of a request
#define HTTP_METHOD_MAX 8u

struct http_options {
    enum http_version version;
    enum http_auth auth;
    struct adapter_property headers[HTTP_HEADERS_MAX]; // point into `json`
    unsigned n_headers;
    int64_t timeout_us, connect_timeout_us, stall_us, keep_alive_us, serve_timeout_us;
    struct http_retries retries;
    uint32_t redirects;
    uint32_t max_connections; // 0: one for each device
    uint32_t max_response, max_request;
    uint32_t queue; // requests of a device that wait or run
    bool compression, allow_absolute;
    const char *publish_method, *publish_content_type; // NULL: by looking at the payload
    bool serve;                                        // commands.mode
    const char *commands_path, *listen, *probe;        // NULL: none
    int64_t poll_interval_us, poll_wait_us;
    struct pacer_config pacer;
    const json_t *source, *tls; // NULL: none
    json_t *json;               // what the pointers above point into; owned
};

// Keys, all optional (durations: a string with a unit, or a number of seconds; sizes: "256KB" or a number of bytes):
//   version "auto" | "1.1" | "2"     headers { NAME: value }       auth "none" | "basic" | "bearer" (default: what the
//   timeout "30s" (of a request,     connectTimeout "10s"          device has)
//   retries and redirects included)  stallTimeout 0 (off)          keepAlive "60s": idle connections live that long
//   redirects 5 (0..50)              compression true              maxConnections 0: one for each device
//   maxResponse "1MB"                maxRequest "16MB"             queue 100 requests of a device
//   allowAbsolute false: requests and redirects may leave the target's origin only by redirect
//   retries N | { max = 0 (..20), initial = "500ms", maxDelay = "30s", factor = 2, jitter = true,
//                 on = [408, 429, 500, 502, 503, 504, "network"] }
//   publish { method = "POST", contentType }     probe "/health": online after its 2xx
//   commands { mode = "poll" | "serve", path, interval = "1s", wait = "30s", listen = "127.0.0.1:0" }
//   serveTimeout "10s": how long a client of serve() waits for respond()
//   source (link/source.h)   connectWindow, connectRate, connectPacing (adapter/pacer.h)
//   tls { ca, verify, serverName, minVersion, maxVersion, ciphers, ciphersuites, resume, mint }
int http_options_parse(const json_t *options, struct http_options *out, struct error *err) WARN_UNUSED_RESULT;
void http_options_destroy(struct http_options *o);
// `retries` of a request in place of its target's: *out holds those and is changed.
int http_retries_parse(const json_t *v, struct http_retries *out, struct error *err) WARN_UNUSED_RESULT;
static inline bool http_retries_status(const struct http_retries *r, unsigned status)
{
    return status < 600 && r->statuses[status / 64] >> status % 64 & 1;
}
// GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS: its static text; NULL: err names them.
const char *http_method(const char *name, struct error *err);
// Whether a header may be sent as it is: a token, and a value without CR, LF, NUL.
int http_header_check(const char *name, size_t name_len, const char *value, size_t value_len, struct error *err);
