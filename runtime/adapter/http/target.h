// One group's view of one HTTP server: options, addresses, metric series, libcurl's handles, and who may connect when.
//
// Nothing is told to an owner inside its call: what is due lies in `due`, and a hook at the end of the turn tells it
// and starts requests. Connections without a socket wait in `waiting` for address and pacer, first come first served.
#pragma once
#include <curl/curl.h>
#include "adapter/adapter.h"
#include "adapter/curl_loop.h"
#include "adapter/http/options.h"
#include "adapter/pacer.h"
#include "adapter/series.h"
#include "core/loop.h"
#include "link/source.h"
#include "link/transport.h"
#include "link/url.h"

#define HTTP_MAX_ADDRS 8u
#define HTTP_CONNS_OF_MULTI 1000u // libcurl looks at all idle connections of a multi once a second
#define HTTP_STREAMS 100u         // requests at once on a connection of HTTP/2
#define HTTP_SPARE_EASIES 64u
#define HTTP_SPARE_EXCHANGES 64u
#define HTTP_QUIET_BYTES (1u << 20) // that a connection brings without a piece of an answer
#define HTTP_COMPLAIN_US 10000000   // between two lines in the log about the same

struct adapter_conn;
struct http_exchange;
struct http_endpoints;
struct http_socket;
struct http_tls_holder;

struct http_node { // of a circular list; the head is one too
    struct http_node *next, *prev;
};
void http_list_create(struct http_node *head);
void http_list_append(struct http_node *head, struct http_node *node);
void http_list_remove(struct http_node *node); // no-op when it is in no list
static inline bool http_list_empty(const struct http_node *head)
{
    return head->next == head;
}

// A connection to the target's origin: what requests of one device share.
struct http_lane {
    uint32_t id;      // of the made-up address
    uint32_t heard;   // pieces of headers and bodies that came
    uint16_t sockets; // open, connecting ones included
    uint16_t active;  // exchanges with libcurl
    bool h2;          // the server answered in HTTP/2: requests need not wait for each other
    bool used;        // there was a connection before
};

struct http_series { // tags "group:NAME,protocol:http"; see docs/reference/http.md
    struct metric *connects, *connect_errors, *connect_latency, *tcp_latency, *tls_latency, *tls_resumed, *tls_full;
    struct metric *connect_latency_raw, *connect_wait, *publish_latency_raw, *request_latency_raw;
    struct metric *reconnects, *devices_online, *messages_sent, *messages_acked, *messages_received, *publish_errors;
    struct metric *publish_latency, *bytes_sent, *bytes_received, *requests, *request_errors, *request_latency;
    struct metric *http_retries, *http_connections, *credential_refreshes, *connect_rate_limit;
    struct metric *responses[6]; // by class, tag status:2xx; made when first needed
    struct series_reasons reasons;
    struct metric *request_failures[ERR_CODE_MAX]; // tag reason; made when first needed
};

struct http_multi {
    struct http_target *target;
    struct http_multi *next;
    struct curl_loop on_loop;
    CURLM *curl; // of on_loop
    unsigned n_conns;
    bool dirty; // handles were added in this turn
};

struct http_target {
    struct adapter_env env;
    struct http_options options;
    struct url url;
    bool tls;
    char origin[300];    // "https://host:port", the port only when it is not the scheme's
    char url_host[300];  // in URLs given to libcurl: serverName when there is one, IPv6 in brackets
    char host_line[320]; // "Host: …" when url_host is not the host; else ""
    char base[256];      // path of the URL without a slash at its end
    char tags[SERIES_TAGS_MAX];
    struct sources *sources;
    struct transport *transport;     // https: credentials and CAs
    struct http_tls_holder *holders; // of deleted devices
    bool resume, nameless;           // nameless: it was said that connections over paths are not kept
    struct pacer pacer;
    struct timer pacer_timer, resolve_timer;
    struct loop_hook hook;
    struct http_node due, waiting;
    struct http_multi *multis;
    CURL *easies[HTTP_SPARE_EASIES];
    unsigned n_easies;
    struct http_exchange *spare;
    unsigned n_spare;
    struct http_socket **sockets;                 // by descriptor
    unsigned n_sockets_max, n_sockets, n_bridges; // n_bridges: each has a link, too
    unsigned active, n_conns, n_paths;            // n_paths: of the conns have a path
    uint32_t next_id;
    int64_t complained_us;      // of polls that fail, in the log
    int64_t path_complained_us; // of connections that could not be put on a path
    struct http_lane shared;    // maxConnections: of all devices
    enum { HTTP_UNRESOLVED, HTTP_RESOLVING, HTTP_RESOLVED } resolve;
    uint64_t ticket;
    struct link_addr addrs[HTTP_MAX_ADDRS];
    unsigned n_addrs, preferred;
    struct adapter_conn *telling;              // whose event is on the stack; NULL: none, or it was deleted inside
    struct adapter_conn *working;              // the same, around several events
    struct http_endpoints *endpoints;          // NULL: nothing is served yet
    struct curl_slist *headers, *header_nodes; // of the target
    char *header_text;
    struct http_series series;
};

struct adapter_target *http_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err);
void http_target_delete(struct adapter_target *target);
void http_target_wake(struct http_target *t);
// The multi handle with room for one more connection; NULL without memory.
struct http_multi *http_multi_take(struct http_target *t, struct error *err);
// A pool keeps as many connections as it is to share, and one for each device with a path.
void http_multi_resize(struct http_multi *m);
void http_multi_give(struct http_multi *m);
// Runs what libcurl has to do now and hands finished transfers on.
void http_multi_run(struct http_multi *m, curl_socket_t fd, int events);
// An easy handle with all that is the same for every request of the target; NULL without memory.
CURL *http_easy_take(struct http_target *t);
void http_easy_give(struct http_target *t, CURL *easy);
void http_count_failure(struct http_target *t, enum error_code reason);
// A request of the author's that got no answer.
void http_count_unanswered(struct http_target *t, enum error_code reason);
void http_count_status(struct http_target *t, unsigned status);
// exchange.c
void http_exchange_free_spares(struct http_target *t);
int http_series_make(struct http_target *t, struct error *err);
