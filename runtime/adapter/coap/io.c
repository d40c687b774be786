// The seam: every datagram of libcoap passes through the two functions that the linker puts in place of its own
// (--wrap, see runtime/cmake/dependencies.cmake). Here datagrams are counted, duplicates of a server's confirmable
// messages answered again (libcoap 4.3.1 drops them without the acknowledgement that RFC 7252, 4.2 asks for), frozen
// connections cut off, and hooks asked.
//
// libcoap hides the structs behind its sockets; the beginnings used here are those of 4.3.1 and used with no other
// version.
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "adapter/coap/conn.h"
#include "adapter/coap/serve.h"

#define KEPT_MAX 64u // datagrams that wait to be read again, of one connection

struct coap_kept {
    struct coap_kept *next;
    size_t n;
    uint8_t bytes[];
};

struct coap_socket_t { // 4.3.1, coap_io_internal.h
    int fd;
    uint16_t flags;
    coap_session_t *session;
    struct endpoint_head *endpoint;
};
struct endpoint_head { // 4.3.1, coap_session_internal.h
    void *next;
    coap_context_t *context;
};
struct packet_head { // 4.3.1, coap_io_internal.h
    coap_addr_tuple_t addr_info;
};
struct coap_queue_t;

ssize_t __real_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n);
ssize_t __wrap_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n);
ssize_t __real_coap_network_read(struct coap_socket_t *sock, struct packet_head *packet);
ssize_t __wrap_coap_network_read(struct coap_socket_t *sock, struct packet_head *packet);
coap_mid_t __real_coap_retransmit(coap_context_t *context, struct coap_queue_t *node);
coap_mid_t __wrap_coap_retransmit(coap_context_t *context, struct coap_queue_t *node);
void coap_packet_get_memmapped(struct packet_head *packet, uint8_t **bytes, size_t *n);

bool coap_io_known(void)
{
    return strcmp(LIBCOAP_PACKAGE_VERSION, "4.3.1") == 0;
}

static struct coap_pool *pool_of(const struct coap_socket_t *sock)
{
    return sock->endpoint ? coap_pool_of(sock->endpoint->context) : NULL;
}

// NULL: not one of ours (the echo server), or given up.
static struct coap_conn *conn_of(const struct coap_socket_t *sock, const coap_session_t *session)
{
    if (session && coap_session_get_type(session) == COAP_SESSION_TYPE_CLIENT) {
        struct coap_pool *pool = coap_pool_of(coap_session_get_context(session));
        struct coap_conn *c = coap_session_get_app_data(session);
        return !pool ? NULL : c ? c : pool->opening;
    }
    struct coap_pool *pool = pool_of(sock);
    return pool ? coap_server_of(pool, sock->endpoint) : NULL;
}

static bool asks(struct coap_conn *c, const struct coap_datagram *d)
{
    return !c->hook || c->hook->datagram(c->hook, d);
}

ssize_t __wrap_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n)
{
    struct coap_conn *c = coap_io_known() ? conn_of(sock, session) : NULL;
    if (!c)
        return __real_coap_network_send(sock, session, data, n);
    bool served = sock->endpoint != NULL;
    if (!served)
        c->socket = sock;
    counter_add(c->target->series.bytes_sent, n);
    struct coap_datagram d = {true, served, data, n};
    if (c->flags & COAP_FROZEN || !asks(c, &d))
        return (ssize_t)n;
    return __real_coap_network_send(sock, session, data, n);
}

// A datagram that was kept for coap_conn_pass in place of one from the socket.
static ssize_t read_kept(struct coap_conn *c, struct packet_head *packet)
{
    struct coap_kept *kept = c->kept;
    uint8_t *to;
    size_t unused;
    coap_packet_get_memmapped(packet, &to, &unused);
    c->kept = kept->next;
    memcpy(to, kept->bytes, kept->n);
    // `length` stands right before the payload.
    memcpy(to - sizeof(size_t), &kept->n, sizeof kept->n);
    ssize_t n = (ssize_t)kept->n;
    free(kept);
    return n;
}

enum { TYPE_CON, TYPE_NON, TYPE_ACK, TYPE_RST };

// Plain CoAP of a server: true when it is a confirmable message once more, which is acknowledged once more.
static bool again(struct coap_conn *c, struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *bytes,
                  size_t n)
{
    if (n < 4 || bytes[0] >> 6 != 1)
        return false;
    uint16_t mid = (uint16_t)(bytes[2] << 8 | bytes[3]);
    unsigned type = bytes[0] >> 4 & 3;
    bool answer = bytes[1] >> 5 >= 2;
    if (type == TYPE_CON && answer && c->has_last_mid && c->last_mid == mid) {
        const uint8_t ack[4] = {0x60, 0, bytes[2], bytes[3]};
        counter_add(c->target->series.duplicates, 1);
        (void)__wrap_coap_network_send(sock, session, ack, sizeof ack);
        return true;
    }
    if (type == TYPE_CON && answer) {
        c->last_mid = mid;
        c->has_last_mid = true;
    }
    return false;
}

static ssize_t read_session(struct coap_conn *c, struct coap_socket_t *sock, struct packet_head *packet)
{
    uint8_t *bytes;
    size_t unused;
    bool kept = c->kept != NULL;
    ssize_t n = kept ? read_kept(c, packet) : __real_coap_network_read(sock, packet);
    if (n == -2) {
        coap_conn_lose(c, ERR_REFUSED, "nobody listens there (ICMP: port or host unreachable)");
        return 0; // libcoap would go on sending
    }
    if (n <= 0)
        return n;
    coap_packet_get_memmapped(packet, &bytes, &unused);
    struct coap_datagram d = {false, false, bytes, (size_t)n};
    if (c->flags & COAP_FROZEN || (!kept && !asks(c, &d)))
        return 0;
    counter_add(c->target->series.bytes_received, (uint64_t)n);
    coap_conn_heard(c);
    return c->target->proto == COAP_PROTO_UDP && again(c, sock, sock->session, bytes, (size_t)n) ? 0 : n;
}

static ssize_t read_endpoint(struct coap_conn *c, struct coap_socket_t *sock, struct packet_head *packet)
{
    uint8_t *bytes;
    size_t unused;
    ssize_t n = __real_coap_network_read(sock, packet);
    if (n <= 0)
        return n;
    coap_packet_get_memmapped(packet, &bytes, &unused);
    struct coap_datagram d = {false, true, bytes, (size_t)n};
    if (c->flags & COAP_FROZEN || !asks(c, &d))
        return 0;
    counter_add(c->target->series.bytes_received, (uint64_t)n);
    unsigned type = bytes[0] >> 4 & 3;
    if (n >= 4 && bytes[0] >> 6 == 1 && type >= TYPE_ACK && c->target->proto == COAP_PROTO_UDP)
        coap_server_empty(c, &packet->addr_info.remote.addr.sa, (uint16_t)(bytes[2] << 8 | bytes[3]), type == TYPE_RST);
    return n;
}

ssize_t __wrap_coap_network_read(struct coap_socket_t *sock, struct packet_head *packet)
{
    struct coap_conn *c = coap_io_known() ? conn_of(sock, sock->session) : NULL;
    if (!c)
        return __real_coap_network_read(sock, packet);
    return sock->endpoint ? read_endpoint(c, sock, packet) : read_session(c, sock, packet);
}

coap_mid_t __wrap_coap_retransmit(coap_context_t *context, struct coap_queue_t *node)
{
    struct coap_pool *pool = coap_pool_of(context);
    coap_mid_t mid = __real_coap_retransmit(context, node);
    if (pool && mid != COAP_INVALID_MID) // else it was given up
        counter_add(pool->target->series.retransmissions, 1);
    return mid;
}

int coap_io_pass(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    if (!coap_io_known())
        return error_set(err, ERR_UNSUPPORTED, "libcoap %s is not the version whose inside is known (4.3.1)",
                         LIBCOAP_PACKAGE_VERSION);
    if (!c->session || !c->socket || coap_target_reliable(c->target))
        return error_set(err, ERR_STATE, "there is no datagram session");
    if (n == 0 || n > 1472)
        return error_set(err, ERR_LIMIT, "a CoAP datagram has 1 to 1472 bytes, not %zu", n);
    if (down)
        return __real_coap_network_send(c->socket, c->session, bytes, n) == (ssize_t)n
                   ? 0
                   : error_set_errno(err, "send of a datagram that was kept");
    struct coap_kept *kept = malloc(sizeof *kept + n), **end = &c->kept;
    if (!kept)
        return error_set(err, ERR_NO_MEMORY, "no memory for a datagram");
    *kept = (struct coap_kept){.n = n};
    memcpy(kept->bytes, bytes, n);
    unsigned waiting = 0;
    for (; *end; end = &(*end)->next)
        waiting++;
    if (waiting >= KEPT_MAX) {
        free(kept);
        return error_set(err, ERR_LIMIT, "%u datagrams wait to be read already", KEPT_MAX);
    }
    *end = kept;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c->socket};
    coap_io_do_epoll(c->pool->ctx, &event, 1); // reads it through the wrapped function
    return 0;
}

void coap_io_forget(struct coap_conn *c)
{
    while (c->kept) {
        struct coap_kept *kept = c->kept;
        c->kept = kept->next;
        free(kept);
    }
}
