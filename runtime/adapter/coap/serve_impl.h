// What the files of the server share. Nobody else includes it.
#pragma once
#include "adapter/coap/exchange.h"
#include "adapter/coap/serve.h"
#include "core/slots.h"

#define EXCHANGE_LIFETIME_US (247 * (int64_t)1000000) // RFC 7252, 4.8.2
#define RECENT 16u                                    // messages of which duplicates are known
#define CON_EVERY 5u                                  // notifications (RFC 7641, 4.5: at least one a day)

struct served_path {
    char *path; // without "/" in front
    bool subtree, observable, confirmable;
    json_t *attributes;
    uint32_t sequence; // of Observe, 24 bits count
};

// A message's options and payload in one piece of memory.
struct stored {
    unsigned n_fields, code;
    struct coap_field *fields;
    const uint8_t *payload;
    size_t payload_len;
};
struct stored *stored_new(unsigned code, const struct coap_field *fields, unsigned n, const uint8_t *payload,
                          size_t payload_len);

struct recent { // a message that was dealt with
    const coap_session_t *session;
    struct stored *answer; // NULL: an empty acknowledgement, or nothing
    int64_t at_us;
    int mid;
};

struct body { // a large answer, for those who fetch its blocks
    struct stored *answer;
    uint64_t key;
    int64_t at_us;
};

struct upload { // a body that comes in blocks
    const coap_session_t *session;
    uint64_t key;
    struct buf bytes;
    int64_t at_us;
};

struct observer {
    struct observer *next;
    coap_session_t *session; // a reference
    struct served_path *path;
    char *asked; // path and query as they came
    uint64_t ticket;
    int mid;
    unsigned since_con;
    uint8_t token[8], token_len, code, szx;
    bool dirty, con_pending;
    bool established; // its first answer was given
    bool gone;        // noted inside libcoap, dropped by the hook
};

struct ticket { // a request of a client, or a notification that is being made
    struct coap_conn *conn;
    coap_session_t *session; // a reference
    coap_pdu_t *response;    // while the request's handler runs: filled in at once
    struct observer *observer;
    struct recent *recent;
    struct timer timer;
    slot_id id;
    uint64_t key; // of stored bodies
    uint32_t num; // block asked for
    uint8_t szx, code, no_response, token[8], token_len;
    bool con, notification, block1;
    uint32_t block1_value;
};

struct coap_server {
    struct coap_server *next; // in the pool
    struct coap_conn *conn;
    struct coap_pool *pool;
    coap_endpoint_t *endpoint;
    struct link_addr at;      // where it listens
    coap_session_t **clients; // sessions of the endpoint
    unsigned n_clients, room_clients;
    struct served_path *paths[COAP_SERVER_PATHS];
    unsigned n_paths;
    struct slots *tickets;
    struct ticket *open[COAP_SERVER_TICKETS];
    struct observer *observers;
    unsigned n_observers;
    struct recent recent[RECENT];
    unsigned next_recent;
    struct body bodies[COAP_SERVER_BODIES];
    struct upload uploads[COAP_SERVER_UPLOADS];
};

struct served_path *served_find(struct coap_server *s, const char *path, size_t n); // without query
void ticket_close(struct coap_server *s, struct ticket *k);
struct ticket *ticket_open(struct coap_conn *c, coap_session_t *session, struct error *err);
void ticket_unanswered(struct ticket *k, unsigned code); // answered by the adapter itself

// observe.c
struct observer *observer_add(struct coap_server *s, coap_session_t *session, struct served_path *path,
                              const coap_pdu_t *request, const char *asked);
void observer_drop(struct coap_server *s, struct observer *o);
void observers_of_session(struct coap_server *s, const coap_session_t *session); // are dropped
void observer_remove_token(struct coap_server *s, const coap_session_t *session, const coap_pdu_t *request);
void observers_work(struct coap_conn *c);
void observers_of_path(struct coap_server *s, const struct served_path *path, bool drop); // or mark

// serve_body.c
//
// Looks for the next block of an answer that was given before. False: there is none.
bool body_slice(struct coap_server *s, uint64_t key, uint32_t num, unsigned szx, bool reliable, coap_pdu_t *pdu);
// Puts an answer in pdu: whole, or its block num with the rest kept. -1: err, nothing was put.
int body_answer(struct coap_conn *c, const coap_session_t *session, coap_pdu_t *pdu, uint64_t key, uint32_t num,
                unsigned szx, unsigned code, struct coap_fields *f, const uint8_t *payload, size_t n,
                struct error *err);
enum upload_result { UPLOAD_DONE, UPLOAD_CONTINUE, UPLOAD_INCOMPLETE, UPLOAD_TOO_LARGE, UPLOAD_BAD };
enum upload_result upload_add(struct coap_server *s, const coap_session_t *session, uint64_t key, uint32_t value,
                              const uint8_t *bytes, size_t n, int64_t now_us, struct buf **whole);
void bodies_clear(struct coap_server *s);
