// Requests of a device and their answers, on the session of its connection: one at a time as far as nstart says,
// bodies in blocks (RFC 7959), observations (RFC 7641).
//
// An exchange lives until its answer, its deadline or the end of the connection. Publishes (CON) and subscriptions
// outlive the connection: they wait for the next one. Every block is an exchange of its own to libcoap, with a token of
// its own; an observation keeps the token of its registration for notifications.
#pragma once
#include "adapter/coap/conn.h"

enum coap_kind {
    EXCHANGE_PUBLISH,   // ends in on_done
    EXCHANGE_REQUEST,   // ends in on_response
    EXCHANGE_OBSERVE,   // on_response, many
    EXCHANGE_SUBSCRIBE, // on_done, then on_message, many
    EXCHANGE_CANCEL,    // nobody waits for it
    EXCHANGE_DIRECTORY, // of directory.c
};

enum coap_exchange_state {
    EXCHANGE_QUEUED,    // waits for its turn or for the connection
    EXCHANGE_SENT,      // an answer is due
    EXCHANGE_OBSERVING, // notifications are
    EXCHANGE_FAILED,    // noted inside libcoap, to be ended by the hook
};

struct coap_exchange {
    struct coap_exchange *next, *prev;
    struct coap_conn *conn;
    struct timer timer; // deadline; OBSERVING: when the registration is to be renewed
    int64_t begun_us;   // accepted
    struct lag lag;     // until then
    int64_t sent_us;    // the message that waits for its answer
    int64_t timeout_us;
    uint32_t token;    // the owner's
    uint32_t observed; // token of the registration as sent, 0: none
    uint32_t wire;     // token of the message under way
    int mid;           // of the message under way
    uint8_t kind, state, code;
    uint8_t szx;        // block size of both directions
    bool con, flying;   // flying: counted in conn->n_flying
    bool renewing;      // a registration is sent again, notifications have come before
    bool notifying;     // what is being received began with Observe
    bool told;          // SUBSCRIBE: its on_done
    uint8_t failure;    // FAILED: enum error_code
    uint16_t refused;   // FAILED, not read: the option at fault, 0: none
    const char *unread; // why an answer was not read, static; NULL: there was none
    uint8_t restarts;   // of a body that changed under way
    unsigned attempts;
    // The request: n_fields times struct coap_field (bytes point behind them), then the body.
    struct coap_field *fields;
    unsigned n_fields;
    const uint8_t *body;
    uint32_t body_len, body_sent; // body_sent: acknowledged with 2.31
    const char *filter;           // SUBSCRIBE: stands behind the body
    // The answer.
    struct buf *in; // body in blocks, NULL: none yet
    uint8_t etag[8], etag_len;
    bool seen; // a notification has come: sequence and time of the newest
    uint32_t sequence;
    int64_t sequence_us;
    uint32_t max_age;
};

struct coap_request { // to be made an exchange; options stand in target->fields
    enum coap_kind kind;
    int code;
    bool con;
    uint32_t token;
    int szx; // -1: the target's
    int64_t timeout_us;
    const uint8_t *body;
    size_t body_len;
    const char *filter;
};
// Accepts it; sent now or when its turn comes. NULL: ERR_LIMIT the cap, ERR_NO_MEMORY.
struct coap_exchange *coap_exchange_new(struct coap_conn *c, const struct coap_request *request, struct error *err);
void coap_exchange_delete(struct coap_exchange *x);
// Sends what may be sent.
void coap_exchanges_pump(struct coap_conn *c);
// The connection has ended: requests and observations end with why; publishes and subscriptions wait, or end as well
// (all, when there will be no other).
void coap_exchanges_drop(struct coap_conn *c, const struct error *why, bool all);
void coap_exchanges_clear(struct coap_conn *c); // tells nobody
void coap_exchanges_work(struct coap_conn *c);  // those that were noted as failed
void coap_exchanges_freeze(struct coap_conn *c, bool frozen);
size_t coap_exchanges_footprint(const struct coap_conn *c);
int coap_ping(struct coap_conn *c, struct error *err);

// adapter_ops
int coap_publish(struct adapter_conn *conn, const struct adapter_message *m, uint32_t token, struct error *err);
int coap_subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err);
int coap_unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err);
int coap_ask(struct adapter_conn *conn, const struct adapter_request *request, uint32_t token, struct error *err);
void coap_ask_cancel(struct adapter_conn *conn, uint32_t token);

// exchange.c, for answer.c
int coap_exchange_send(struct coap_exchange *x, struct error *err);        // the message that is due, now
void coap_exchange_landed(struct coap_exchange *x);                        // nothing is under way for it any more
void coap_exchange_fail(struct coap_exchange *x, const struct error *why); // tells and deletes it
void coap_exchange_observe(struct coap_exchange *x);                       // notifications are awaited
uint32_t coap_new_token(struct coap_conn *c);
// Puts options (sorted) and a payload in a message. -1: they do not fit in a datagram.
int coap_fill(coap_pdu_t *pdu, const struct coap_field *fields, unsigned n, const void *payload, size_t payload_len,
              struct error *err);

// answer.c: from inside libcoap.
//
// An answer came whose options do not let it be read: the request of its token fails.
void coap_answer_refused(struct coap_conn *c, const struct coap_checked *checked);
void coap_on_pong(coap_session_t *session, const coap_pdu_t *received, const coap_mid_t mid);
coap_response_t coap_on_response(coap_session_t *session, const coap_pdu_t *sent, const coap_pdu_t *received,
                                 const coap_mid_t mid);
void coap_on_nack(coap_session_t *session, const coap_pdu_t *sent, const coap_nack_reason_t reason,
                  const coap_mid_t mid);
// The options of a message as properties, which point into target->text. Returns how many.
unsigned coap_read_headers(struct coap_target *t, const coap_pdu_t *pdu, struct adapter_property out[COAP_FIELDS_MAX]);
static inline unsigned coap_status(unsigned pdu_code)
{
    return (pdu_code >> 5) * 100 + (pdu_code & 31);
}

// directory.c
void coap_directory_online(struct coap_conn *c);
void coap_directory_changed(struct coap_conn *c); // of what is served
void coap_directory_offline(struct coap_conn *c);
void coap_directory_leave(struct coap_conn *c); // a graceful close
void coap_directory_answer(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n);
void coap_directory_failed(struct coap_exchange *x, const struct error *why);
void coap_directory_delete(struct coap_conn *c);
