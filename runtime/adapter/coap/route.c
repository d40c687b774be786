#include "adapter/coap/route.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/gate.h"

struct coap_caller { // a client of what is served over datagrams
    struct coap_caller *next;
    struct coap_way *way;
    struct coap_socket_t *socket; // the endpoint's
    struct coap_packet_head from; // the address it asked, too
};

struct coap_way { // one flow: the session's datagrams, a caller's, or a pipe's
    struct coap_conn *conn;
    struct coap_pipe *pipe;     // of a stream, once its first byte has come
    struct coap_caller *caller; // of datagrams that are served
    struct path_port *port;
    const struct path *path; // of the port, which holds it
    uint8_t addr;            // of the target; not of callers
};

struct coap_route {
    struct path *path;           // NULL: nothing acts on the device any more
    struct coap_way *way;        // of the session; over TCP until its pipe has it
    struct gate *gate;           // its connect is under way
    struct coap_caller *callers; // the one that was heard last is the first
};

// --- ports --------------------------------------------------------------------------------------------------------

static void way_delete(struct coap_way **at)
{
    if (!*at)
        return;
    path_port_delete((*at)->port);
    free(*at);
    *at = NULL;
}

static void deliver(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct coap_way *w = owner;
    struct coap_conn *c = w->conn;
    if (w->pipe)
        coap_pipe_deliver(w->pipe, direction == PATH_UP, bytes, n);
    else if (w->caller && direction == PATH_UP)
        coap_io_answer_departs(w->caller->socket, &w->caller->from, bytes, n);
    else if (w->caller)
        coap_io_question_arrives(c, w->caller->socket, &w->caller->from, bytes, n);
    else if (direction == PATH_DOWN)
        coap_io_arrive(c, bytes, n);
    else
        coap_io_depart(c, bytes, n);
}

static void cut(void *owner, const struct error *why)
{
    struct coap_way *w = owner;
    if (w->pipe)
        coap_pipe_cut(w->pipe, why);
    else
        coap_conn_lose(w->conn, why->code, why->text);
}

static void throttle(void *owner, enum path_direction direction, bool stop)
{
    struct coap_way *w = owner;
    if (w->pipe && direction == PATH_DOWN) // upwards coap_pipe_room counts what is held
        coap_pipe_throttle(w->pipe, stop);
}

// The way of a flow as it is to be now; NULL: none, or no memory: then it goes on without faults.
static struct coap_way *way_now(struct coap_conn *c, struct coap_way **at, bool stream, const struct path_peer *peer)
{
    static const struct path_port_events port_events = {.deliver = deliver, .cut = cut, .throttle = throttle};
    struct path *path = c->route->path;
    if (*at && (*at)->path != path && path_port_held((*at)->port) == 0)
        way_delete(at);
    if (*at || !path)
        return *at;
    struct coap_way *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->conn = c;
    w->path = path;
    if (!(w->port = path_port_new(path, stream, peer, &port_events, w, NULL))) {
        free(w);
        return NULL;
    }
    return *at = w;
}

static struct path_peer server_of(const struct coap_conn *c, unsigned addr)
{
    const struct coap_target *t = c->target;
    return (struct path_peer){
        .protocol = "coap", .host = t->url.host, .addr = t->addrs[addr], .tls = coap_target_secure(t)};
}

static struct path_peer client_of(const struct coap_conn *c, const coap_address_t *address)
{
    struct path_peer peer = {.protocol = "coap", .tls = coap_target_secure(c->target)};
    peer.addr.len = address->size < sizeof peer.addr.addr ? address->size : sizeof peer.addr.addr;
    memcpy(&peer.addr.addr, &address->addr,
           peer.addr.len < sizeof address->addr ? peer.addr.len : sizeof address->addr);
    return peer;
}

static bool pass(const struct coap_way *w, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    return !w || path_port_pass(w->port, direction, bytes, n);
}

// --- the session --------------------------------------------------------------------------------------------------

static struct coap_way *own_way(struct coap_conn *c, unsigned addr)
{
    const struct path_peer peer = server_of(c, addr);
    bool is_new = !c->route->way;
    struct coap_way *w = way_now(c, &c->route->way, coap_target_reliable(c->target), &peer);
    if (w && is_new)
        w->addr = (uint8_t)addr;
    return w;
}

bool coap_route_gate(struct coap_conn *c, void (*opened)(void *arg, const struct error *why))
{
    struct coap_route *r = c->route;
    const struct coap_target *t = c->target;
    if (!r || !r->path)
        return false;
    way_delete(&r->way);
    struct coap_way *w = own_way(c, c->tried ? (c->addr + 1u) % t->n_addrs : c->addr);
    r->gate = w ? gate_new(t->env.loop, w->port, opened, c) : NULL;
    return r->gate != NULL;
}

void coap_route_gate_done(struct coap_conn *c)
{
    gate_delete(c->route->gate);
    c->route->gate = NULL;
}

bool coap_route_gated(const struct coap_conn *c)
{
    return c->route && c->route->gate;
}

void coap_route_opened(struct coap_conn *c)
{
    if (c->route && c->route->way && c->route->way->addr != c->addr)
        way_delete(&c->route->way);
}

void coap_route_closed(struct coap_conn *c)
{
    if (!c->route)
        return;
    coap_route_gate_done(c);
    way_delete(&c->route->way);
}

bool coap_route_datagram(struct coap_conn *c, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    return pass(own_way(c, c->addr), direction, bytes, n);
}

// --- pipes --------------------------------------------------------------------------------------------------------

static struct coap_way *pipe_way(struct coap_pipe *p)
{
    struct coap_conn *c = p->conn;
    const struct path_peer peer =
        p->served ? client_of(c, coap_session_get_addr_remote(p->session)) : server_of(c, c->addr);
    struct coap_way *w = way_now(c, &p->way, true, &peer);
    if (w)
        w->pipe = p;
    return w;
}

bool coap_route_stream(struct coap_pipe *p, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    return pass(pipe_way(p), direction, bytes, n);
}

// The session's port knows the round trip of its connect.
void coap_route_pipe_begins(struct coap_pipe *p)
{
    struct coap_route *r = p->conn->route;
    if (r && !p->served && r->way) {
        p->way = r->way;
        p->way->pipe = p;
        r->way = NULL;
    }
}

void coap_route_pipe_ends(struct coap_pipe *p)
{
    way_delete(&p->way);
}

// --- clients of what is served ------------------------------------------------------------------------------------

static void caller_free(struct coap_caller *k)
{
    way_delete(&k->way);
    free(k);
}

static void drop_last_caller(struct coap_route *r)
{
    struct coap_caller **at = &r->callers;
    while ((*at)->next)
        at = &(*at)->next;
    caller_free(*at);
    *at = NULL;
}

// The caller at this address, in front of the others; made when there is none and a path. NULL: none.
static struct coap_caller *caller_of(struct coap_conn *c, const struct coap_packet_head *head)
{
    struct coap_route *r = c->route;
    unsigned n = 0;
    struct coap_caller **at = &r->callers, *k;
    for (; (k = *at) && !coap_address_equals(&k->from.addr_info.remote, &head->addr_info.remote); at = &k->next)
        n++;
    if (k) {
        *at = k->next;
    } else {
        if (!r->path || !(k = calloc(1, sizeof *k)))
            return NULL;
        if (n == COAP_CALLERS_MAX)
            drop_last_caller(r);
        k->from = *head;
    }
    k->next = r->callers;
    return r->callers = k;
}

bool coap_route_served(struct coap_conn *c, enum path_direction direction, struct coap_socket_t *sock,
                       const struct coap_packet_head *head, const uint8_t *bytes, size_t n)
{
    struct coap_caller *k = caller_of(c, head);
    if (!k)
        return true;
    const struct path_peer peer = client_of(c, &head->addr_info.remote);
    struct coap_way *w = way_now(c, &k->way, false, &peer);
    if (!w) {
        c->route->callers = k->next;
        caller_free(k);
        return true;
    }
    w->caller = k;
    k->socket = sock;
    if (direction == PATH_DOWN)
        k->from = *head;
    return path_port_pass(w->port, direction, bytes, n);
}

void coap_route_serves_no_more(struct coap_conn *c)
{
    while (c->route && c->route->callers) {
        struct coap_caller *k = c->route->callers;
        c->route->callers = k->next;
        caller_free(k);
    }
}

// --- the device's path --------------------------------------------------------------------------------------------

// Those that hold nothing leave an earlier path, and streams join the new one at once: they may be reset.
static void follow(struct coap_conn *c)
{
    struct coap_route *r = c->route;
    for (struct coap_pipe *p = c->pipes; p; p = p->next)
        (void)pipe_way(p);
    if (r->path)
        return;
    if (r->way && !r->gate && path_port_held(r->way->port) == 0)
        way_delete(&r->way);
    for (struct coap_caller **at = &r->callers, *k; (k = *at);) {
        if (k->way && path_port_held(k->way->port)) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        caller_free(k);
    }
}

void coap_conn_path(struct adapter_conn *conn, struct path *path)
{
    struct coap_conn *c = coap_conn_of(conn);
    if (c->flags & COAP_DOOMED || (!c->route && !path))
        return;
    if (!c->route && !(c->route = calloc(1, sizeof *c->route)))
        return; // it goes on without faults
    struct path *former = c->route->path;
    c->route->path = path ? path_ref(path) : NULL;
    path_release(former);
    follow(c);
}

void coap_route_delete(struct coap_conn *c)
{
    if (!c->route)
        return;
    coap_route_closed(c);
    coap_route_serves_no_more(c);
    path_release(c->route->path);
    free(c->route);
    c->route = NULL;
}

size_t coap_route_footprint(const struct coap_conn *c)
{
    const struct coap_route *r = c->route;
    size_t n = r ? sizeof *r + (r->way ? sizeof *r->way : 0) : 0;
    for (const struct coap_caller *k = r ? r->callers : NULL; k; k = k->next)
        n += sizeof *k + (k->way ? sizeof *k->way : 0);
    for (const struct coap_pipe *p = c->pipes; p; p = p->next)
        n += p->way ? sizeof *p->way : 0;
    return n;
}
