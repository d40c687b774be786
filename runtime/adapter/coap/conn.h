// One simulated device's CoAP connection: a session of libcoap, exchanges on it, and what the device serves.
//
//   OFFLINE ──open──▶ WAITING ──window──▶ CONNECTING ──▶ ONLINE      UDP without probe: no CONNECTING
//      ▲                 ▲                    └────┬────────┘
//      │                 └── timer ── BACKOFF ◀────┘ failed, lost
//      └── CLOSING ◀── conn_close in any state (on_offline at the end of the turn)
//
// The timer means, by state: CONNECTING deadline of the handshake; ONLINE keep-alive; BACKOFF next attempt. libcoap
// tells of errors from deep inside its own calls: they are noted (coap_conn_lose) and handled by the target's hook.
// `depth` counts the calls of ours that are on the stack; the memory goes when the last one returns.
#pragma once
#include "adapter/coap/coap.h"
#include "adapter/coap/target.h"
#include "link/transport.h"

struct coap_exchange;
struct coap_server;
struct coap_directory;
struct coap_pipe;
struct coap_checked;
struct coap_socket_t;
struct coap_route;
struct coap_arrival;

enum coap_conn_state { COAP_OFFLINE, COAP_WAITING, COAP_CONNECTING, COAP_ONLINE, COAP_BACKOFF, COAP_CLOSING };

enum { // struct coap_conn.flags
    COAP_WAS_ONLINE = 1,
    COAP_DOOMED = 2, // deleted while one of its events runs
    COAP_DUE = 4,    // in the target's list
    COAP_FROZEN = 8,
    COAP_PINGED = 16, // the answer to a keep-alive ping is due
    COAP_PACED = 32,  // counted by the pacer
    COAP_UP = 64,     // CONNECTING: the handshake is done, noted inside libcoap
};

struct coap_exchanges {
    struct coap_exchange *head, *tail;
    unsigned n;
};

// What is known of a TLS or DTLS connection and not of others.
struct coap_secret {
    struct transport_memory memory;
    struct transport_memory serving; // of the side on which it serves
    coap_bin_const_t served;         // key of what it serves; its bytes stand in `key`
    uint8_t key[64];
    char identity[129];
};

struct coap_conn {
    struct timer timer;
    struct coap_target *target;
    const struct adapter_events *events;
    const struct adapter_identity *identity;
    void *owner;
    struct coap_conn *next, *prev; // WAITING: in the target's list
    struct coap_conn *next_due;
    coap_session_t *session;
    struct coap_pool *pool;          // of the session
    struct coap_socket_t *socket;    // of the session, once something was sent (io.c)
    struct coap_exchanges exchanges; // oldest first: waiting, under way, observing
    unsigned n_flying;               // confirmable exchanges under way: nstart at most
    unsigned n_pending;              // publishes that are not acknowledged
    struct coap_server *server;      // NULL: serves nothing
    struct coap_directory *directory;
    struct coap_secret *secret;
    struct coap_hook *hook;
    struct coap_kept *kept;       // datagrams to be read next
    struct coap_route *route;     // through the device's path (route.h); NULL: nothing has acted on it yet
    struct coap_arrival *arrival; // of a client, to be read next
    struct coap_pipe *pipes;      // over TCP: its own, and those of clients of what it serves
    struct error *lost;           // noted, to be handled by the hook
    struct rng rng;
    int64_t due_us;   // when this attempt was meant to begin
    int64_t since_us; // CONNECTING: when it began; ONLINE: when it became so
    int64_t heard_us; // last sign of the server
    int ping_mid;     // of the ping whose answer is due
    uint16_t failures;
    uint16_t next_token; // of publishes that expect nothing
    uint16_t last_mid;   // of the last CON of the server
    bool has_last_mid;
    uint8_t state, flags, depth;
    uint8_t addr, tried;
};

// The connection behind its name in the adapter interface. conn may be NULL.
static inline struct coap_conn *coap_conn_of(struct adapter_conn *conn)
{
    return (struct coap_conn *)(void *)conn;
}

// adapter_ops
struct adapter_conn *coap_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                   const struct adapter_identity *identity, void *owner, uint64_t seed,
                                   struct error *err);
void coap_conn_delete(struct adapter_conn *conn);
int coap_conn_open(struct adapter_conn *conn, struct error *err);
void coap_conn_close(struct adapter_conn *conn, enum adapter_close mode);
void coap_conn_freeze(struct adapter_conn *conn, bool frozen);
size_t coap_conn_footprint(const struct adapter_conn *conn);

// For target, pool and exchange: brackets around everything that may call the owner.
static inline void coap_conn_enter(struct coap_conn *c)
{
    c->depth++;
}
void coap_conn_leave(struct coap_conn *c);
void coap_conn_attempt(struct coap_conn *c);                              // its turn in the connect window
void coap_conn_unreachable(struct coap_conn *c, const struct error *why); // no address
void coap_conn_work(struct coap_conn *c);                                 // of the target's hook
void coap_conn_fail(struct coap_conn *c, const struct error *why, bool may_retry);
// From inside libcoap: the session is up; it is lost.
void coap_conn_up(struct coap_conn *c);
void coap_conn_lose(struct coap_conn *c, enum error_code code, const char *text);
// Bytes of the server have come.
void coap_conn_heard(struct coap_conn *c);

// secure.c: what a connection proves itself with.
int coap_secure_session(struct coap_conn *c, const coap_address_t *to, const coap_address_t *from, struct error *err);
void coap_secret_delete(struct coap_secret *secret);
// What is served over DTLS or TLS takes the device's own pre-shared key, or its certificate: which kind of context that
// asks for, with what is needed set up; -1: it has neither. The key for a client that names this identity, NULL:
// another one.
int coap_secure_serves(struct coap_conn *c, struct error *err);
void coap_secure_context(struct coap_pool *pool); // of that kind
const coap_bin_const_t *coap_secure_served_key(struct coap_conn *c, coap_bin_const_t *identity);
int coap_transport_credential(void *owner, enum transport_credential what, struct buf *out, struct error *err);

// io.c
bool coap_io_known(void); // whether this libcoap's inside is known
int coap_io_pass(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err);
void coap_io_forget(struct coap_conn *c);
// Transmission parameters (RFC 7252, 4.8) that libcoap refuses: less than 1 s (in steps of 1/64 s), no retransmission.
void coap_io_transmission(coap_session_t *session, int64_t ack_timeout_us, uint16_t max_retransmit);

// pipe.c
//
// A session has ended; all of those that are (not) of clients have.
void coap_pipe_delete(struct coap_conn *c, const coap_session_t *session);
void coap_pipes_delete(struct coap_conn *c, bool served);
size_t coap_pipes_footprint(const struct coap_conn *c);
// Whether one more message may be sent: what the peer does not take waits here, 1 MB of it. Datagrams: always.
bool coap_pipe_room(const struct coap_conn *c, const coap_session_t *session);
void coap_pipes_freeze(struct coap_conn *c, bool frozen);
void coap_pipes_work(struct coap_conn *c); // of the target's hook
int coap_pipe_pass(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err);
// A socket can be written to.
void coap_pipe_flush(struct coap_socket_t *sock);
