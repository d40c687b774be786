// A port for datagrams is found by a socket of our own that does not share, and which lets libcoap's share once it has
// it; then it goes.
#include "adapter/coap/endpoint.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

// A bound socket, its address in *at; -1: errno.
static int reserve(coap_address_t *at)
{
    int on = 1;
    int fd = socket(at->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    at->size = sizeof at->addr;
    if (bind(fd, &at->addr.sa, at->addr.sa.sa_family == AF_INET6 ? sizeof at->addr.sin6 : sizeof at->addr.sin) ||
        getsockname(fd, &at->addr.sa, &at->size) || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

coap_endpoint_t *coap_endpoint_open(coap_context_t *context, const coap_address_t *at, coap_proto_t proto)
{
    coap_address_t where = *at;
    int fd = -1;
    if (coap_address_get_port(at) == 0 && (proto == COAP_PROTO_UDP || proto == COAP_PROTO_DTLS) &&
        (fd = reserve(&where)) < 0)
        return NULL;
    coap_endpoint_t *endpoint = coap_new_endpoint(context, &where, proto);
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return endpoint;
}
