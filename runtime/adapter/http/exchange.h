// One request of a device and its answer: attempts, redirects, a fresh token after 401, the deadline for all of it.
//
//   QUEUED ──▶ RESOLVING (another origin) ──▶ ACTIVE (with libcurl) ──▶ told
//      ▲                                        │
//      └──────────── BACKOFF ◀──────────────────┘
#pragma once
#include <curl/curl.h>
#include "adapter/http/conn.h"

enum http_kind { HTTP_REQUEST, HTTP_PUBLISH, HTTP_POLL, HTTP_PROBE };
enum http_exchange_state { HTTP_QUEUED, HTTP_RESOLVE, HTTP_ACTIVE, HTTP_BACKOFF, HTTP_CANCELLED };

#define HTTP_RESPONSE_HEADERS 128u
#define HTTP_RESPONSE_HEAD (64u << 10) // bytes of all header lines, those of 1xx answers included

struct http_exchange {
    struct http_node node; // in conn->exchanges
    struct adapter_conn *conn;
    struct http_lane *lane;     // NULL: another origin
    CURL *easy;                 // ACTIVE
    struct http_socket *socket; // opened for it, until its handshake begins; NULL: none
    struct http_socket *opened; // opened for it, until it stands (http_exchange_ready)
    struct timer timer;         // deadline, or end of the backoff
    const char *method;         // static
    struct http_sub *sub;       // POLL
    struct http_exchange *next_spare;
    struct http_retries retries;
    uint32_t token;
    uint8_t kind, state, qos;
    unsigned n_header_lines, attempts, redirects, tries; // redirects: left; tries: retries so far
    bool no_auth, foreign, auth_fresh, paced, connected, body_begun, http_version_2, follow, late;
    bool over_open, reopen; // see set_version
    int64_t asked_us, deadline_us, retry_us, connect_us;
    struct lag lag;        // until asked_us
    uint64_t ticket;       // RESOLVE
    struct link_addr addr; // foreign: of the origin
    unsigned n_tried;      // of its addresses
    bool more_addrs;
    struct buf url, lines, auth, body, nodes; // the request: lines are NUL-terminated header lines
    struct buf head, reply;                   // the answer: head is name NUL value NUL ...
    unsigned n_headers;
    size_t head_bytes;
    unsigned status;
    struct curl_slist connect_to;
    char connect_text[48];
    char curl_error[CURL_ERROR_SIZE];
    struct error err; // set by a callback of libcurl; ERR_NONE: none
};

// NULL: ERR_LIMIT, ERR_NO_MEMORY.
struct http_exchange *http_exchange_new(struct adapter_conn *c, enum http_kind kind, struct error *err);
// Takes it out of libcurl and of its connection; nothing is told.
void http_exchange_drop(struct http_exchange *x);
// The same, but it stays in its connection's list as HTTP_CANCELLED, to be told at the end of the turn.
void http_exchange_cancel(struct http_exchange *x);
// Appends it to its connection's queue; it starts at the end of the turn.
void http_exchange_queue(struct http_exchange *x);
// Gives it to libcurl. False: it could not be, and has been told.
bool http_exchange_start(struct http_exchange *x);
// libcurl is done with it.
void http_exchange_ended(struct http_exchange *x, CURLcode rc);
// There is no answer and will be none. May delete the connection.
void http_exchange_fail(struct http_exchange *x, const struct error *why);
// Callbacks of libcurl: a header line (CURLOPT_HEADERFUNCTION); connected and about to ask (CURLOPT_PREREQFUNCTION).
size_t http_exchange_header(char *line, size_t size, size_t n, void *arg);
int http_exchange_ready(void *arg, char *remote, char *local, int remote_port, int local_port);
// A header of the answer by its lower-case name; NULL: it has none.
const char *http_exchange_find(const struct http_exchange *x, const char *name);
// Looks the host of a URL of another origin up, then queues the exchange again. It is in its connection's list.
void http_exchange_resolve(struct http_exchange *x);
// A piece of its answer has come.
static inline void http_exchange_heard(struct http_exchange *x)
{
    (x->lane ? x->lane : &x->conn->lane)->heard++;
}
// The origin of its URL.
int http_exchange_origin(struct http_exchange *x, struct url *out, struct error *err) WARN_UNUSED_RESULT;
// Freezing: no time passes.
void http_exchange_hold(struct http_exchange *x, bool held);

// request.c: the bytes of a request. path: below the target's, or an absolute URL.
int http_request_url(struct http_exchange *x, const char *path, size_t n, const json_t *query, struct error *err);
int http_request_header(struct http_exchange *x, const char *name, size_t name_len, const char *value, size_t value_len,
                        struct error *err);
// Body and Content-Type. type NULL: unless a header has it, by looking at the bytes.
int http_request_body(struct http_exchange *x, const void *bytes, size_t n, const char *type, size_t type_len,
                      struct error *err);
int http_request_form(struct http_exchange *x, const json_t *form, struct error *err);
int http_request(struct adapter_conn *c, const struct adapter_request *request, uint32_t token, struct error *err);
void http_request_cancel(struct adapter_conn *c, uint32_t token);
int http_publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err);
// The chain of header lines for libcurl.
struct curl_slist *http_request_chain(struct http_exchange *x, struct error *err);

// failure.c: what a code of libcurl means for this exchange.
void http_explain(const struct http_exchange *x, CURLcode rc, struct error *err);
