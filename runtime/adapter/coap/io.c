// The seam of datagrams: every one of libcoap's passes through the functions that the linker puts in place of its own
// (--wrap, see runtime/cmake/dependencies.cmake). Here they are counted and judged (wire.h), duplicates of a server's
// confirmable messages answered again (libcoap 4.3.1 drops them without the acknowledgement that RFC 7252, 4.2 asks
// for), frozen connections cut off, and hooks asked. Streams: pipe.c.
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "adapter/coap/exchange.h"
#include "adapter/coap/log_bridge.h"
#include "adapter/coap/route.h"
#include "adapter/coap/seam.h"
#include "adapter/coap/serve.h"

#define KEPT_MAX 64u // datagrams that wait to be read again, of one connection

struct coap_kept {
    struct coap_kept *next;
    size_t n;
    bool asked; // the hook has let it through
    uint8_t bytes[];
};

struct coap_arrival { // a datagram of a client that the path has brought
    const struct coap_packet_head *from;
    const uint8_t *bytes;
    size_t n;
};
struct coap_queue_t;

ssize_t __real_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n);
ssize_t __wrap_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n);
ssize_t __real_coap_network_read(struct coap_socket_t *sock, struct coap_packet_head *packet);
ssize_t __wrap_coap_network_read(struct coap_socket_t *sock, struct coap_packet_head *packet);
coap_mid_t __real_coap_retransmit(coap_context_t *context, struct coap_queue_t *node);
coap_mid_t __wrap_coap_retransmit(coap_context_t *context, struct coap_queue_t *node);
int __real_coap_handle_dgram(coap_context_t *ctx, coap_session_t *session, uint8_t *bytes, size_t n);
int __wrap_coap_handle_dgram(coap_context_t *ctx, coap_session_t *session, uint8_t *bytes, size_t n);
void coap_packet_get_memmapped(struct coap_packet_head *packet, uint8_t **bytes, size_t *n);

bool coap_io_known(void)
{
    return strcmp(LIBCOAP_PACKAGE_VERSION, "4.3.1") == 0;
}

struct coap_conn *coap_seam_session(const coap_session_t *session)
{
    struct coap_pool *pool = coap_io_known() ? coap_pool_of(coap_session_get_context(session)) : NULL;
    if (!pool)
        return NULL;
    if (coap_session_get_type(session) != COAP_SESSION_TYPE_CLIENT)
        return coap_server_conn(session);
    struct coap_conn *c = coap_session_get_app_data(session);
    return c ? c : pool->opening;
}

struct coap_conn *coap_seam_conn(const struct coap_socket_t *sock, const coap_session_t *session)
{
    if (!sock->endpoint)
        return session ? coap_seam_session(session) : NULL;
    struct coap_pool *pool = coap_io_known() ? coap_pool_of(sock->endpoint->context) : NULL;
    return pool ? coap_server_of(pool, sock->endpoint) : NULL;
}

void coap_seam_malformed(struct coap_conn *c, const struct coap_checked *checked)
{
    counter_add(c->target->series.malformed, 1);
    coap_log_malformed(checked->why, checked->option);
}

static bool answer_goes_on(struct coap_conn *c, struct coap_socket_t *sock, const coap_session_t *session,
                           const uint8_t *data, size_t n)
{
    const struct coap_packet_head to = {
        .addr_info = {.remote = *coap_session_get_addr_remote(session), .local = *coap_session_get_addr_local(session)},
        .ifindex = coap_session_get_ifindex(session)};
    return coap_route_served(c, PATH_UP, sock, &to, data, n);
}

ssize_t __wrap_coap_network_send(struct coap_socket_t *sock, const coap_session_t *session, const uint8_t *data,
                                 size_t n)
{
    struct coap_conn *c = coap_seam_conn(sock, session);
    if (!c)
        return __real_coap_network_send(sock, session, data, n);
    bool served = sock->endpoint != NULL;
    if (!served)
        c->socket = sock;
    counter_add(c->target->series.bytes_sent, n);
    struct coap_piece d = {.down = true, .served = served, .bytes = data, .n = n};
    if (c->flags & COAP_FROZEN || !coap_seam_asks(c, &d))
        return (ssize_t)n;
    if (c->route && !(served ? answer_goes_on(c, sock, session, data, n) : coap_route_datagram(c, PATH_UP, data, n)))
        return (ssize_t)n;
    return __real_coap_network_send(sock, session, data, n);
}

// `length` of a packet stands right before its payload.
static void set_length(struct coap_packet_head *packet, size_t n)
{
    uint8_t *to;
    size_t unused;
    coap_packet_get_memmapped(packet, &to, &unused);
    memcpy(to - sizeof n, &n, sizeof n);
}

static ssize_t put_in(struct coap_packet_head *packet, const uint8_t *bytes, size_t n)
{
    uint8_t *to;
    size_t unused;
    coap_packet_get_memmapped(packet, &to, &unused);
    memcpy(to, bytes, n);
    set_length(packet, n);
    return (ssize_t)n;
}

// A datagram that was kept in place of one from the socket.
static ssize_t read_kept(struct coap_conn *c, struct coap_packet_head *packet)
{
    struct coap_kept *kept = c->kept;
    c->kept = kept->next;
    ssize_t n = put_in(packet, kept->bytes, kept->n);
    free(kept);
    return n;
}

// --- what the messages are ----------------------------------------------------------------------------------------

static void send_empty(coap_session_t *session, coap_pdu_type_t type, uint16_t mid)
{
    coap_pdu_t *pdu = coap_pdu_init(type, 0, mid, 0);
    if (pdu)
        (void)coap_send(session, pdu);
}

// A message of a server in clear text. False: nothing of it is to be read. *n becomes its length.
static bool judge_answer(struct coap_conn *c, coap_session_t *session, uint8_t *bytes, size_t *n)
{
    struct coap_checked checked;
    enum coap_verdict verdict = coap_wire_datagram(bytes, n, &checked);
    if (verdict == COAP_IGNORED) {
        coap_seam_malformed(c, &checked);
        return false;
    }
    coap_conn_heard(c);
    unsigned type = bytes[0] >> 4 & 3;
    bool answer = checked.code >> 5 >= 2;
    if (type == COAP_TYPE_CON && answer && c->has_last_mid && c->last_mid == checked.mid) {
        counter_add(c->target->series.duplicates, 1);
        send_empty(session, verdict == COAP_REJECTED ? COAP_MESSAGE_RST : COAP_MESSAGE_ACK, checked.mid);
        return false;
    }
    if (type == COAP_TYPE_CON && answer) {
        c->last_mid = checked.mid;
        c->has_last_mid = true;
    }
    if (verdict == COAP_GOOD)
        return true;
    coap_seam_malformed(c, &checked);
    if (verdict == COAP_REJECTED) {
        send_empty(session, COAP_MESSAGE_RST, checked.mid);
        return false;
    }
    coap_answer_refused(c, &checked);
    bytes[0] = 0x60; // what it acknowledges is not sent again
    bytes[1] = 0;
    *n = 4;
    return true;
}

// A message of a client in clear text.
static bool judge_request(struct coap_conn *c, const struct sockaddr *from, uint8_t *bytes, size_t *n, bool *reject)
{
    struct coap_checked checked;
    enum coap_verdict verdict = coap_wire_datagram(bytes, n, &checked);
    if (verdict != COAP_GOOD) {
        coap_seam_malformed(c, &checked);
        *reject = verdict == COAP_REJECTED;
        return false;
    }
    unsigned type = bytes[0] >> 4 & 3;
    if (type >= COAP_TYPE_ACK)
        coap_server_empty(c, from, checked.mid, type == COAP_TYPE_RST);
    return true;
}

// --- reading ------------------------------------------------------------------------------------------------------

static ssize_t read_session(struct coap_conn *c, struct coap_socket_t *sock, struct coap_packet_head *packet)
{
    uint8_t *bytes;
    size_t length;
    bool kept = c->kept != NULL, asked = kept && c->kept->asked;
    ssize_t n = kept ? read_kept(c, packet) : __real_coap_network_read(sock, packet);
    if (n == -2) {
        coap_conn_lose(c, ERR_REFUSED, "nobody listens there (ICMP: port or host unreachable)");
        return 0; // libcoap would go on sending
    }
    if (n <= 0)
        return n;
    coap_packet_get_memmapped(packet, &bytes, &length);
    length = (size_t)n;
    if (!kept && c->route && !coap_route_datagram(c, PATH_DOWN, bytes, length))
        return 0;
    struct coap_piece d = {.bytes = bytes, .n = length};
    if (c->flags & COAP_FROZEN || (!asked && !coap_seam_asks(c, &d)))
        return 0;
    counter_add(c->target->series.bytes_received, length);
    if (c->target->proto != COAP_PROTO_UDP) {
        coap_conn_heard(c);
        return n;
    }
    if (!judge_answer(c, sock->session, bytes, &length))
        return 0;
    set_length(packet, length);
    return (ssize_t)length;
}

static ssize_t read_endpoint(struct coap_conn *c, struct coap_socket_t *sock, struct coap_packet_head *packet)
{
    uint8_t *bytes;
    size_t length;
    bool reject = false;
    struct coap_arrival *arrival = c->arrival;
    ssize_t n = arrival ? put_in(packet, arrival->bytes, arrival->n) : __real_coap_network_read(sock, packet);
    if (n <= 0)
        return n;
    c->arrival = NULL;
    if (arrival)
        *packet = *arrival->from;
    coap_packet_get_memmapped(packet, &bytes, &length);
    length = (size_t)n;
    if (!arrival && c->route && !coap_route_served(c, PATH_DOWN, sock, packet, bytes, length))
        return 0;
    struct coap_piece d = {.served = true, .bytes = bytes, .n = length};
    if (c->flags & COAP_FROZEN || !coap_seam_asks(c, &d))
        return 0;
    counter_add(c->target->series.bytes_received, length);
    if (c->target->proto != COAP_PROTO_UDP)
        return n;
    const coap_address_t *from = &packet->addr_info.remote;
    if (judge_request(c, &from->addr.sa, bytes, &length, &reject)) {
        set_length(packet, length);
        return (ssize_t)length;
    }
    if (reject) { // there is no session, and none is made for this
        const uint8_t reset[4] = {0x70, 0, bytes[2], bytes[3]};
        counter_add(c->target->series.bytes_sent, sizeof reset);
        if (!c->route || coap_route_served(c, PATH_UP, sock, packet, reset, sizeof reset))
            (void)!sendto(sock->fd, reset, sizeof reset, 0, &from->addr.sa, from->size);
    }
    return 0;
}

ssize_t __wrap_coap_network_read(struct coap_socket_t *sock, struct coap_packet_head *packet)
{
    struct coap_conn *c = coap_seam_conn(sock, sock->session);
    if (!c)
        return __real_coap_network_read(sock, packet);
    return sock->endpoint ? read_endpoint(c, sock, packet) : read_session(c, sock, packet);
}

// What DTLS has decrypted. Over UDP libcoap does not come here.
int __wrap_coap_handle_dgram(coap_context_t *ctx, coap_session_t *session, uint8_t *bytes, size_t n)
{
    bool client = coap_session_get_type(session) == COAP_SESSION_TYPE_CLIENT, reject = false;
    struct coap_conn *c = coap_seam_session(session);
    if (!c)
        return __real_coap_handle_dgram(ctx, session, bytes, n);
    if (client ? judge_answer(c, session, bytes, &n)
               : judge_request(c, &coap_session_get_addr_remote(session)->addr.sa, bytes, &n, &reject))
        return __real_coap_handle_dgram(ctx, session, bytes, n);
    if (reject)
        send_empty(session, COAP_MESSAGE_RST, (uint16_t)(bytes[2] << 8 | bytes[3]));
    return 0;
}

coap_mid_t __wrap_coap_retransmit(coap_context_t *context, struct coap_queue_t *node)
{
    struct coap_pool *pool = coap_pool_of(context);
    coap_mid_t mid = __real_coap_retransmit(context, node);
    if (pool && mid != COAP_INVALID_MID) // else it was given up
        counter_add(pool->target->series.retransmissions, 1);
    return mid;
}

// --- what was kept ------------------------------------------------------------------------------------------------

// In place of what the socket has.
static int read_next(struct coap_conn *c, const uint8_t *bytes, size_t n, bool asked, struct error *err)
{
    struct coap_kept *kept = malloc(sizeof *kept + n), **end = &c->kept;
    if (!kept)
        return error_set(err, ERR_NO_MEMORY, "no memory for a datagram");
    *kept = (struct coap_kept){.n = n, .asked = asked};
    memcpy(kept->bytes, bytes, n);
    unsigned waiting = 0;
    for (; *end; end = &(*end)->next)
        waiting++;
    if (waiting >= KEPT_MAX) {
        free(kept);
        return error_set(err, ERR_LIMIT, "%u datagrams wait to be read already", KEPT_MAX);
    }
    *end = kept;
    coap_pool_read(c->pool, c->socket); // through the wrapped function
    return 0;
}

static int pass_datagram(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    if (!c->socket)
        return error_set(err, ERR_STATE, "nothing was sent on this session yet");
    if (n > 1472)
        return error_set(err, ERR_LIMIT, "a CoAP datagram has 1 to 1472 bytes, not %zu", n);
    if (down && c->route && !coap_route_datagram(c, PATH_UP, bytes, n))
        return 0;
    if (down)
        return __real_coap_network_send(c->socket, c->session, bytes, n) == (ssize_t)n
                   ? 0
                   : error_set_errno(err, "send of a datagram that was kept");
    return read_next(c, bytes, n, true, err);
}

void coap_io_depart(struct coap_conn *c, const uint8_t *bytes, size_t n)
{
    if (c->session && c->socket) // an ICMP error is told when it is read
        (void)__real_coap_network_send(c->socket, c->session, bytes, n);
}

// From the address at which the client asked, as libcoap does it; its session may be gone by now.
void coap_io_answer_departs(struct coap_socket_t *sock, const struct coap_packet_head *to, const uint8_t *bytes,
                            size_t n)
{
    const struct sockaddr_in6 *local6 = &to->addr_info.local.addr.sin6;
    const struct sockaddr_in *local4 = &to->addr_info.local.addr.sin;
    struct in_pktinfo info4 = {.ipi_ifindex = 0};
    struct in6_pktinfo info6 = {.ipi6_addr = local6->sin6_addr, .ipi6_ifindex = (unsigned)to->ifindex};
    union {
        struct cmsghdr align;
        uint8_t room[CMSG_SPACE(sizeof info6)];
    } control;
    coap_address_t remote = to->addr_info.remote;
    struct iovec iov = {(uint8_t *)(uintptr_t)bytes, n};
    struct msghdr m = {.msg_name = &remote.addr, .msg_namelen = remote.size, .msg_iov = &iov, .msg_iovlen = 1};
    bool v6 = to->addr_info.local.addr.sa.sa_family == AF_INET6;
    bool mapped = v6 && IN6_IS_ADDR_V4MAPPED(&local6->sin6_addr);
    if (mapped)
        memcpy(&info4.ipi_spec_dst, local6->sin6_addr.s6_addr + 12, sizeof info4.ipi_spec_dst);
    else
        info4.ipi_spec_dst = local4->sin_addr;
    size_t size = v6 && !mapped ? sizeof info6 : sizeof info4;
    memset(&control, 0, sizeof control);
    m.msg_control = &control;
    m.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *head = CMSG_FIRSTHDR(&m);
    head->cmsg_level = v6 && !mapped ? IPPROTO_IPV6 : IPPROTO_IP;
    head->cmsg_type = v6 && !mapped ? IPV6_PKTINFO : IP_PKTINFO;
    head->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(head), v6 && !mapped ? (const void *)&info6 : &info4, size);
    (void)!sendmsg(sock->fd, &m, 0);
}

void coap_io_arrive(struct coap_conn *c, const uint8_t *bytes, size_t n)
{
    if (!c->session || !c->socket || c->flags & COAP_FROZEN)
        return; // nobody is there to read it
    coap_conn_enter(c);
    (void)!read_next(c, bytes, n, false, NULL);
    coap_conn_leave(c);
}

void coap_io_question_arrives(struct coap_conn *c, struct coap_socket_t *sock, const struct coap_packet_head *from,
                              const uint8_t *bytes, size_t n)
{
    struct coap_arrival arrival = {from, bytes, n};
    coap_conn_enter(c);
    c->arrival = &arrival;
    coap_pool_read(coap_pool_of(sock->endpoint->context), sock);
    c->arrival = NULL;
    coap_conn_leave(c);
}

int coap_io_pass(struct coap_conn *c, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    if (!coap_io_known())
        return error_set(err, ERR_UNSUPPORTED, "libcoap %s is not the version whose inside is known (4.3.1)",
                         LIBCOAP_PACKAGE_VERSION);
    if (!c->session)
        return error_set(err, ERR_STATE, "there is no session");
    if (n == 0)
        return error_set(err, ERR_INVALID, "nothing to be passed on");
    return coap_target_reliable(c->target) ? coap_pipe_pass(c, down, bytes, n, err)
                                           : pass_datagram(c, down, bytes, n, err);
}

void coap_io_forget(struct coap_conn *c)
{
    while (c->kept) {
        struct coap_kept *kept = c->kept;
        c->kept = kept->next;
        free(kept);
    }
}

// --- transmission parameters --------------------------------------------------------------------------------------

// libcoap refuses an ACK_TIMEOUT below 1 s and a MAX_RETRANSMIT of 0 at the door, and counts with them well. Where they
// stand is found out with its own getters: the place whose change they tell of.
static bool poke(coap_session_t *session, const void *old, const void *value, size_t n,
                 bool (*is)(const coap_session_t *session, const void *value))
{
    uint8_t *at = (uint8_t *)session;
    size_t size = malloc_usable_size(session);
    for (size_t i = 0; i + n <= size; i += 2) {
        if (memcmp(at + i, old, n) != 0)
            continue;
        memcpy(at + i, value, n);
        if (is(session, value))
            return true;
        memcpy(at + i, old, n);
    }
    return false;
}

static bool is_timeout(const coap_session_t *session, const void *value)
{
    coap_fixed_point_t now = coap_session_get_ack_timeout(session);
    return memcmp(&now, value, sizeof now) == 0;
}

static bool is_retransmit(const coap_session_t *session, const void *value)
{
    uint16_t now = coap_session_get_max_retransmit(session);
    return memcmp(&now, value, sizeof now) == 0;
}

void coap_io_transmission(coap_session_t *session, int64_t ack_timeout_us, uint16_t max_retransmit)
{
    // Values nothing else in the session has, so that hardly anything is tried in vain.
    const coap_fixed_point_t odd_timeout = {4711, 815};
    const uint16_t odd_retransmit = 0x5ca1;
    coap_fixed_point_t timeout = {(uint16_t)(ack_timeout_us / 1000000), (uint16_t)(ack_timeout_us / 1000 % 1000)};
    coap_session_set_ack_timeout(session, timeout.integer_part ? timeout : odd_timeout);
    coap_session_set_max_retransmit(session, max_retransmit ? max_retransmit : odd_retransmit);
    if (!timeout.integer_part && !poke(session, &odd_timeout, &timeout, sizeof timeout, is_timeout))
        coap_session_set_ack_timeout(session, (coap_fixed_point_t){1, 0});
    if (!max_retransmit && !poke(session, &odd_retransmit, &max_retransmit, sizeof max_retransmit, is_retransmit))
        coap_session_set_max_retransmit(session, 1);
}
