// What the files of the seam (io.c: datagrams, pipe.c: streams) know of libcoap's inside. Nobody else includes it.
//
// libcoap hides the structs behind its sockets; the beginnings used here are those of 4.3.1 and used with no other
// version (coap_io_known).
#pragma once
#include "adapter/coap/conn.h"
#include "adapter/coap/wire.h"
#include "core/buf.h"

struct coap_route;
struct coap_way;

enum { COAP_TYPE_CON, COAP_TYPE_NON, COAP_TYPE_ACK, COAP_TYPE_RST };

struct coap_endpoint_head { // 4.3.1, coap_session_internal.h
    void *next;
    coap_context_t *context;
};
struct coap_socket_t { // 4.3.1, coap_io_internal.h
    int fd;
    uint16_t flags;
    coap_session_t *session;
    struct coap_endpoint_head *endpoint;
};
#define COAP_SOCKET_WANT_WRITE 0x0020u
struct coap_packet_head { // 4.3.1, coap_io_internal.h
    coap_addr_tuple_t addr_info;
    int ifindex;
};

// A connection over TCP or TLS: the device's own, or one of a client of what it serves. Exists from its first byte on.
struct coap_pipe {
    struct coap_pipe *next; // of the connection
    struct coap_conn *conn;
    struct coap_socket_t *socket;
    coap_session_t *session;
    struct coap_way *way; // through the device's path; NULL: nothing acts on it
    uint32_t up, down;    // bytes that the path holds; `down` with the mark of the end
    bool served, parked;  // parked: frozen
    bool unwatched;       // out of epoll
    bool full;            // the path holds enough: the socket is not read
    bool ended;           // the socket has come to its end, which is on its way through the path
    bool more;            // libcoap is to read once more: TLS has bytes that no descriptor tells of
    bool broken;          // no CoAP came: nothing is read any more
    bool spoken;          // its first bytes have come
    struct coap_stream stream;
    struct buf in;  // bytes of coap_conn_pass, to be read next
    struct buf out; // bytes that the kernel has not taken yet
};

// The connection whose session, or whose endpoint's socket, this is. NULL: not one of ours (the echo server), given up,
// or another libcoap.
struct coap_conn *coap_seam_session(const coap_session_t *session);
struct coap_conn *coap_seam_conn(const struct coap_socket_t *sock, const coap_session_t *session);
static inline bool coap_seam_asks(struct coap_conn *c, const struct coap_piece *piece)
{
    return !c->hook || c->hook->pass(c->hook, piece);
}

// What the path brings. io.c: a datagram of the session leaves, one of the endpoint; one arrives.
void coap_io_depart(struct coap_conn *c, const uint8_t *bytes, size_t n);
void coap_io_answer_departs(struct coap_socket_t *sock, const struct coap_packet_head *to, const uint8_t *bytes,
                            size_t n);
void coap_io_arrive(struct coap_conn *c, const uint8_t *bytes, size_t n);
void coap_io_question_arrives(struct coap_conn *c, struct coap_socket_t *sock, const struct coap_packet_head *from,
                              const uint8_t *bytes, size_t n);
// pipe.c: bytes of a stream; it is reset; what is held is enough, or no more.
void coap_pipe_deliver(struct coap_pipe *p, bool up, const uint8_t *bytes, size_t n);
void coap_pipe_cut(struct coap_pipe *p, const struct error *why);
void coap_pipe_throttle(struct coap_pipe *p, bool stop);

// Counts a message that is not to be read, and logs why.
void coap_seam_malformed(struct coap_conn *c, const struct coap_checked *checked);
