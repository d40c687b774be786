// Observers of what a device serves (RFC 7641, section 4).
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/serve_impl.h"

static struct observer *find(struct coap_server *s, const coap_session_t *session, coap_bin_const_t token)
{
    for (struct observer *o = s->observers; o; o = o->next)
        if (o->session == session && o->token_len == token.length && memcmp(o->token, token.s, token.length) == 0)
            return o;
    return NULL;
}

struct observer *observer_add(struct coap_server *s, coap_session_t *session, struct served_path *path,
                              const coap_pdu_t *request, const char *asked)
{
    coap_bin_const_t token = coap_pdu_get_token(request);
    struct observer *o = find(s, session, token);
    if (o) { // once more: the same (4.1)
        o->path = path;
        return o;
    }
    if (s->n_observers >= COAP_SERVER_OBSERVERS || token.length > sizeof o->token || !(o = calloc(1, sizeof *o)))
        return NULL; // an answer without Observe
    if (!(o->asked = strdup(asked))) {
        free(o);
        return NULL;
    }
    o->session = coap_session_reference(session);
    o->path = path;
    o->code = (uint8_t)coap_pdu_get_code(request);
    o->token_len = (uint8_t)token.length;
    memcpy(o->token, token.s, token.length);
    o->szx = (uint8_t)s->conn->target->options.block_szx;
    o->mid = COAP_INVALID_MID;
    o->next = s->observers;
    s->observers = o;
    s->n_observers++;
    return o;
}

void observer_drop(struct coap_server *s, struct observer *o)
{
    struct observer **at = &s->observers;
    while (*at && *at != o)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = o->next;
    s->n_observers--;
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (s->open[i] && s->open[i]->observer == o)
            s->open[i]->observer = NULL;
    coap_session_release(o->session);
    free(o->asked);
    free(o);
}

void observers_of_session(struct coap_server *s, const coap_session_t *session)
{
    for (struct observer *o = s->observers, *next; o; o = next) {
        next = o->next;
        if (o->session == session)
            observer_drop(s, o);
    }
}

void observer_remove_token(struct coap_server *s, const coap_session_t *session, const coap_pdu_t *request)
{
    struct observer *o = find(s, session, coap_pdu_get_token(request));
    if (o)
        observer_drop(s, o);
}

void observers_of_path(struct coap_server *s, const struct served_path *path, bool drop)
{
    for (struct observer *o = s->observers, *next; o; o = next) {
        next = o->next;
        if (o->path != path)
            continue;
        if (drop)
            observer_drop(s, o);
        else
            o->dirty = true;
    }
}

// The owner is asked for the present state; its answer is the notification.
static void notify_one(struct coap_conn *c, struct observer *o)
{
    struct ticket *k = ticket_open(c, o->session, NULL);
    if (!k)
        return; // stays dirty
    o->dirty = false;
    o->ticket = k->id;
    k->observer = o;
    k->notification = true;
    k->code = o->code;
    k->szx = o->szx;
    k->token_len = o->token_len;
    memcpy(k->token, o->token, o->token_len);
    k->key = hash_bytes(o->asked, strlen(o->asked), 0);
    slot_id id = k->id;
    struct adapter_request request = {
        .method = coap_method_name(o->code), .path = o->asked, .path_len = strlen(o->asked)};
    c->events->on_request(c->owner, id, &request);
}

void observers_work(struct coap_conn *c)
{
    struct coap_server *s = c->server;
    if (!s || !s->endpoint || c->flags & COAP_FROZEN || !c->events->on_request)
        return;
    for (struct observer *o = s->observers, *next; o; o = next) {
        next = o->next;
        if (o->gone)
            observer_drop(s, o);
    }
    for (unsigned n = s->n_observers; n; n--) {
        struct observer *o = s->observers;
        for (; o; o = o->next) {
            // One at a time: what changes meanwhile goes out as the newest state (4.5.2).
            if (o->dirty && !o->con_pending && !o->ticket && o->established)
                break;
        }
        if (!o)
            return;
        notify_one(c, o);
        if (c->flags & COAP_DOOMED || !c->server)
            return;
    }
}

int coap_notify(struct adapter_conn *conn, const char *path, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct coap_server *s = c->server;
    if (path[0] == '/')
        path++;
    size_t n = strcspn(path, "?");
    struct served_path *p = s ? served_find(s, path, n) : NULL;
    if (!p)
        return error_set(err, ERR_NOT_FOUND, "\"/%.80s\" is not served", path);
    if (!p->observable)
        return error_set(err, ERR_INVALID, "\"/%.80s\" is served without observable = true", path);
    p->sequence++;
    for (struct observer *o = s->observers; o; o = o->next)
        // Below a subtree each observer has a path of its own.
        if (o->path == p &&
            (!p->subtree || (strncmp(o->asked + 1, path, n) == 0 && (!o->asked[n + 1] || o->asked[n + 1] == '?'))))
            o->dirty = true;
    coap_target_due(c->target, c);
    return 0;
}

void coap_server_empty(struct coap_conn *c, const struct sockaddr *from, uint16_t mid, bool reset)
{
    struct coap_server *s = c->server;
    for (struct observer *o = s ? s->observers : NULL; o; o = o->next) {
        const coap_address_t *peer = coap_session_get_addr_remote(o->session);
        bool same =
            peer->addr.sa.sa_family == from->sa_family &&
            (from->sa_family == AF_INET
                 ? memcmp(&peer->addr.sin.sin_addr, &((const struct sockaddr_in *)from)->sin_addr, 4) == 0 &&
                       peer->addr.sin.sin_port == ((const struct sockaddr_in *)from)->sin_port
                 : memcmp(&peer->addr.sin6.sin6_addr, &((const struct sockaddr_in6 *)from)->sin6_addr, 16) == 0 &&
                       peer->addr.sin6.sin6_port == ((const struct sockaddr_in6 *)from)->sin6_port);
        if (!same || o->mid != mid)
            continue;
        o->con_pending = false;
        if (reset) { // no longer interested (RFC 7641, 3.6), be it a CON or a NON
            counter_add(c->target->series.resets, 1);
            observer_drop(s, o);
        } else if (o->dirty) {
            coap_target_due(c->target, c);
        }
        return;
    }
}

void coap_on_server_nack(coap_session_t *session, const coap_pdu_t *sent, coap_nack_reason_t reason)
{
    struct coap_conn *c = coap_server_conn(session);
    struct coap_server *s = c ? c->server : NULL;
    struct observer *o = s ? find(s, session, coap_pdu_get_token(sent)) : NULL;
    if (!o)
        return;
    counter_add(reason == COAP_NACK_RST ? c->target->series.resets : c->target->series.timeouts, 1);
    o->gone = true; // not now: libcoap is in the middle of the session
    coap_target_due(c->target, c);
}
