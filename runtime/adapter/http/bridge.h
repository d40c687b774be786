// A connection of libcurl that passes through its device's path (link/path.h).
//
// libcurl owns its sockets, so a link between them and the network needs a local stream: libcurl's descriptor is one
// end of it, the other one is here, and bytes are carried between that and a link to the server. While the link
// connects, libcurl waits at a placeholder: a socket that is never writable, which is what it takes for a connect under
// way. When the link is open the stream takes the descriptor's place (dup3), and libcurl goes on; so DNS, refusals,
// timeouts and SYNs that a fault delays or loses are those of a connect. In the same way a connection that is open when
// the first fault comes is put on the path as it stands, with what it has sent and received.
//
// Nothing here calls libcurl: it is told by its descriptor, from the loop.
#pragma once
#include "adapter/http/socket.h"

struct http_bridge;

struct http_destination {        // of a connect
    struct link_addr to, source; // source.len 0: none
    const char *host;            // of the URL
    bool tls;
};

// A placeholder to return to libcurl, which is to connect it to *via; *fd is the caller's. -1: err.
struct http_bridge *http_bridge_new(struct http_target *t, int *fd, struct link_addr *via, struct error *err);
// Connects over p in the name of the socket whose descriptor the placeholder is. It is the socket's own from here; on
// failure it stays the caller's.
int http_bridge_dial(struct http_bridge *b, struct http_socket *s, struct path *p, const struct http_destination *dest,
                     struct error *err) WARN_UNUSED_RESULT;
// Puts an open connection, or one that is being made, on the path; one that is on a path goes over to this one. dest:
// where to, if it has yet to be connected. -1: it stays as it is. Not from inside a call of libcurl.
int http_bridge_take(struct http_socket *s, struct path *p, const struct http_destination *dest,
                     struct error *err) WARN_UNUSED_RESULT;
// What libcurl has written goes to the server, then FIN; or RST. NULL: nothing.
void http_bridge_delete(struct http_bridge *b, enum adapter_close mode);
void http_bridge_freeze(struct http_bridge *b, bool frozen);
size_t http_bridge_footprint(const struct http_bridge *b);
// Bytes up that the server's end has not taken.
size_t http_bridge_unsent(const struct http_bridge *b);
