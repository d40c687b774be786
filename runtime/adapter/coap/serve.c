#include "adapter/coap/serve_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/endpoint.h"
#include "adapter/coap/log_bridge.h"
#include "adapter/coap/route.h"
#include "core/units.h"

// --- tickets ------------------------------------------------------------------------------------------------------

static void on_ticket_timer(struct timer *timer, void *loop)
{
    struct ticket *k = container_of(timer, struct ticket, timer);
    struct coap_conn *c = k->conn;
    (void)loop;
    coap_conn_enter(c);
    ticket_unanswered(k, COAP_RESPONSE_CODE(503));
    coap_conn_leave(c);
}

struct ticket *ticket_open(struct coap_conn *c, coap_session_t *session, struct error *err)
{
    struct coap_server *s = c->server;
    struct ticket *k = calloc(1, sizeof *k);
    k = k && (k->id = slots_add(s->tickets, k)) ? k : (free(k), NULL);
    if (!k) {
        error_set(err, ERR_LIMIT, "%u requests wait for their answers", COAP_SERVER_TICKETS);
        return NULL;
    }
    k->conn = c;
    k->session = coap_session_reference(session);
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (!s->open[i]) {
            s->open[i] = k;
            break;
        }
    loop_timer_start(c->target->env.loop, &k->timer, c->target->options.serve_timeout_us, on_ticket_timer);
    return k;
}

void ticket_close(struct coap_server *s, struct ticket *k)
{
    loop_timer_stop(s->conn->target->env.loop, &k->timer);
    (void)slots_remove(s->tickets, k->id);
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (s->open[i] == k)
            s->open[i] = NULL;
    if (k->observer && k->observer->ticket == k->id)
        k->observer->ticket = 0;
    coap_session_release(k->session);
    free(k);
}

// --- answers ------------------------------------------------------------------------------------------------------

// The status an owner gives, HTTP's too, as a code; 0: what the method asks for.
static int code_of(unsigned status, unsigned method, struct error *err)
{
    if (status == 0 || status == 200)
        status = method == COAP_METHOD_GET || method == COAP_METHOD_FETCH ? 205
                 : method == COAP_METHOD_DELETE                           ? 202
                                                                          : 204;
    unsigned class = status / 100, detail = status % 100;
    if (class < 2 || class > 5 || class == 3 || detail > 31)
        return error_set(err, ERR_INVALID, "%u is no status of a CoAP answer; such as 205 (2.05 Content), 204, 404",
                         status);
    return (int)(class << 5 | detail);
}

static void remember(struct ticket *k, unsigned code, const struct coap_fields *f, const uint8_t *payload, size_t n)
{
    if (!k->recent || coap_target_reliable(k->conn->target) || n > 1024)
        return;
    free(k->recent->answer);
    k->recent->answer = stored_new(code, f->at, f->n, payload, n);
}

// Observe and the kind of message of a notification.
static int notification_fields(struct ticket *k, unsigned code, struct coap_fields *f, struct error *err)
{
    struct observer *o = k->observer;
    if (!o || code >> 5 != 2)
        return 0;
    return coap_fields_add_uint(f, COAP_OPTION_OBSERVE, o->path->sequence & 0xffffff, err);
}

static bool notify_confirmed(struct ticket *k, unsigned code)
{
    struct observer *o = k->observer;
    if (!o)
        return k->con;
    if (o->path->confirmable || code >> 5 != 2)
        return true;
    return ++o->since_con >= CON_EVERY;
}

static coap_pdu_t *separate_pdu(struct ticket *k, bool con, struct error *err)
{
    coap_pdu_t *pdu = coap_pdu_init(con ? COAP_MESSAGE_CON : COAP_MESSAGE_NON, 0, coap_new_message_id(k->session),
                                    coap_session_max_pdu_size(k->session));
    if (pdu && coap_add_token(pdu, k->token_len, k->token))
        return pdu;
    if (pdu)
        coap_delete_pdu(pdu);
    error_set(err, ERR_NO_MEMORY, "no memory for a CoAP message");
    return NULL;
}

static int send_separate(struct ticket *k, unsigned code, struct coap_fields *f, const uint8_t *payload, size_t n,
                         struct error *err)
{
    struct coap_conn *c = k->conn;
    bool con = k->notification ? notify_confirmed(k, code) : k->con;
    if (!coap_pipe_room(c, k->session)) {
        return error_set(err, ERR_CLOSED, "the client takes nothing");
    }
    coap_pdu_t *pdu = separate_pdu(k, con, err);
    if (!pdu)
        return -1;
    if (body_answer(c, k->session, pdu, k->key, k->num, k->szx, code, f, payload, n, err) < 0) {
        coap_delete_pdu(pdu);
        return -1;
    }
    coap_mid_t mid = coap_send(k->session, pdu);
    if (mid == COAP_INVALID_MID)
        return error_set(err, ERR_CLOSED, "the client is gone");
    if (k->notification && k->observer) {
        k->observer->mid = mid;
        if (con) {
            k->observer->since_con = 0;
            k->observer->con_pending = !coap_target_reliable(c->target);
        }
    }
    return 0;
}

static int answer(struct ticket *k, unsigned code, struct coap_fields *f, const uint8_t *payload, size_t n,
                  struct error *err)
{
    struct coap_conn *c = k->conn;
    if (k->block1 && coap_fields_add_uint(f, COAP_OPTION_BLOCK1, k->block1_value, err))
        return -1;
    if (notification_fields(k, code, f, err))
        return -1;
    int rc = 0;
    if (k->response) {
        remember(k, code, f, payload, n);
        rc = body_answer(c, k->session, k->response, k->key, k->num, k->szx, code, f, payload, n, err);
    } else if (!(k->no_response >> ((code >> 5) - 1) & 1)) { // RFC 7967
        rc = send_separate(k, code, f, payload, n, err);
    }
    if (rc < 0 && err->code != ERR_CLOSED)
        return -1; // it may be answered with something smaller
    struct observer *o = k->observer;
    if (o)
        o->established = code >> 5 == 2;
    ticket_close(c->server, k);
    if (o && code >> 5 != 2)
        observer_drop(c->server, o); // RFC 7641, 4.2
    else if (o && o->dirty)
        coap_target_due(c->target, c);
    return rc < 0 ? error_set(err, ERR_NOT_FOUND, "the client is gone") : 0;
}

void ticket_unanswered(struct ticket *k, unsigned code)
{
    struct error err;
    coap_fields_clear(&k->conn->target->fields);
    struct coap_server *s = k->conn->server;
    slot_id id = k->id;
    if (answer(k, code, &k->conn->target->fields, NULL, 0, &err) < 0 && slots_get(s->tickets, id))
        ticket_close(s, k);
}

int coap_respond(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *r, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct error mine;
    struct ticket *k = c->server ? slots_get(c->server->tickets, ticket) : NULL;
    struct coap_fields *f = &c->target->fields;
    if (!err)
        err = &mine;
    if (!k)
        return error_set(err, ERR_NOT_FOUND,
                         "there is no such request any more: it was answered, timed out, or its "
                         "client is gone");
    if (r->payload_len > COAP_BODY_MAX)
        return error_set(err, ERR_LIMIT, "a CoAP answer carries at most %u bytes, not %zu", COAP_BODY_MAX,
                         r->payload_len);
    int code = code_of(r->status, k->code, err);
    if (code < 0)
        return -1;
    coap_fields_clear(f);
    if (coap_fields_add_headers(f, r->headers, r->n_headers, false, err) < 0)
        return -1;
    return answer(k, (unsigned)code, f, r->payload, r->payload_len, err);
}

// --- requests -----------------------------------------------------------------------------------------------------

static bool same_host(const coap_address_t *a, const struct link_addr *b)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&b->addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&b->addr;
    static const uint8_t any[16];
    if (b->addr.ss_family == AF_INET)
        return a->addr.sa.sa_family == AF_INET && a->addr.sin.sin_port == v4->sin_port &&
               (v4->sin_addr.s_addr == 0 || v4->sin_addr.s_addr == a->addr.sin.sin_addr.s_addr);
    return a->addr.sa.sa_family == AF_INET6 && a->addr.sin6.sin6_port == v6->sin6_port &&
           (memcmp(&v6->sin6_addr, any, 16) == 0 || memcmp(&v6->sin6_addr, &a->addr.sin6.sin6_addr, 16) == 0);
}

struct coap_conn *coap_server_conn(const coap_session_t *session)
{
    if (coap_session_get_type(session) == COAP_SESSION_TYPE_CLIENT)
        return coap_session_get_app_data(session);
    struct coap_pool *pool = coap_pool_of(coap_session_get_context(session));
    const coap_address_t *local = coap_session_get_addr_local(session);
    for (struct coap_server *s = pool ? pool->servers : NULL; s; s = s->next)
        if (same_host(local, &s->at))
            return s->conn;
    return NULL;
}

struct coap_conn *coap_server_of(struct coap_pool *pool, const void *endpoint)
{
    for (struct coap_server *s = pool->servers; s; s = s->next)
        if (s->endpoint == endpoint)
            return s->conn;
    return NULL;
}

struct served_path *served_find(struct coap_server *s, const char *path, size_t n)
{
    struct served_path *best = NULL;
    for (unsigned i = 0; i < s->n_paths; i++) {
        struct served_path *p = s->paths[i];
        size_t len = strlen(p->path);
        if (!p->subtree && len == n && memcmp(p->path, path, n) == 0)
            return p;
        bool below =
            p->subtree && n >= len && memcmp(p->path, path, len) == 0 && (!len || n == len || path[len] == '/');
        if (below && (!best || len > strlen(best->path)))
            best = p;
    }
    return best;
}

// "/a/b?x=1&y" of a message, percent-encoded where a segment would read as something else. path_len: without query.
static int path_of(const coap_pdu_t *pdu, struct buf *out, size_t *path_len)
{
    static const char digits[] = "0123456789ABCDEF";
    coap_opt_iterator_t at;
    coap_opt_t *o;
    bool query = false;
    buf_clear(out);
    coap_option_iterator_init(pdu, &at, COAP_OPT_ALL);
    while ((o = coap_option_next(&at))) {
        bool is_query = at.number == COAP_OPTION_URI_QUERY;
        if (at.number != COAP_OPTION_URI_PATH && !is_query)
            continue;
        if (is_query && !query && ((!out->len && buf_append_char(out, '/')) || (*path_len = out->len) == 0))
            return -1;
        if (buf_append_char(out, !is_query ? '/' : query ? '&' : '?'))
            return -1;
        query |= is_query;
        const uint8_t *bytes = coap_opt_value(o);
        for (size_t i = 0; i < coap_opt_length(o); i++) {
            uint8_t b = bytes[i];
            bool plain = b > ' ' && b != 0x7f && b != '%' && b != '#' && b != '?' && b != (is_query ? '&' : '/');
            char hex[3] = {'%', digits[b >> 4], digits[b & 15]};
            if (plain ? buf_append_char(out, (char)b) : buf_append(out, hex, 3))
                return -1;
        }
    }
    if (!out->len && buf_append_char(out, '/'))
        return -1;
    if (!query)
        *path_len = out->len;
    buf_cstr(out);
    return 0;
}

static bool read_option(const coap_pdu_t *pdu, coap_option_num_t number, uint32_t *value)
{
    coap_opt_iterator_t at;
    coap_opt_t *o = coap_check_option(pdu, number, &at);
    if (o)
        *value = coap_uint(coap_opt_value(o), coap_opt_length(o));
    return o != NULL;
}

static void fill_error(coap_pdu_t *response, unsigned status)
{
    coap_pdu_set_code(response, (coap_pdu_code_t)(status / 100 << 5 | status % 100));
}

// Whether the message was dealt with before; then it is answered as it was (RFC 7252, 4.5). Otherwise noted.
static bool duplicate(struct coap_conn *c, const coap_session_t *session, const coap_pdu_t *request,
                      coap_pdu_t *response, struct recent **noted)
{
    struct coap_server *s = c->server;
    int mid = coap_pdu_get_mid(request);
    int64_t now = loop_now_us(c->target->env.loop);
    if (coap_target_reliable(c->target))
        return false;
    for (unsigned i = 0; i < RECENT; i++) {
        struct recent *r = &s->recent[i];
        if (r->session != session || r->mid != mid || now - r->at_us > EXCHANGE_LIFETIME_US)
            continue;
        counter_add(c->target->series.duplicates, 1);
        if (r->answer) {
            struct error err;
            coap_pdu_set_code(response, (coap_pdu_code_t)r->answer->code);
            (void)coap_fill(response, r->answer->fields, r->answer->n_fields, r->answer->payload,
                            r->answer->payload_len, &err);
        }
        return true;
    }
    struct recent *r = &s->recent[s->next_recent++ % RECENT];
    free(r->answer);
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (s->open[i] && s->open[i]->recent == r)
            s->open[i]->recent = NULL;
    *r = (struct recent){.session = session, .mid = mid, .at_us = now};
    *noted = r;
    return false;
}

static void answer_discovery(struct coap_conn *c, struct ticket *k, const struct buf *path, size_t path_len)
{
    struct coap_fields *f = &c->target->fields;
    struct error err;
    struct buf links;
    bool filtered = path->len > path_len;
    buf_create(&links, 64u << 10);
    coap_fields_clear(f);
    int rc = coap_server_links(c, filtered ? (const char *)path->data + path_len + 1 : NULL,
                               filtered ? path->len - path_len - 1 : 0, &links);
    unsigned code = k->code != COAP_METHOD_GET ? 405 : rc < 0 ? 500 : 205;
    if (code == 205)
        (void)coap_fields_add_uint(f, COAP_OPTION_CONTENT_FORMAT, 40, NULL);
    else
        buf_clear(&links);
    if (answer(k, code / 100 << 5 | code % 100, f, links.data, links.len, &err) < 0)
        ticket_close(c->server, k);
    buf_destroy(&links);
}

static void ask_owner(struct coap_conn *c, struct ticket *k, const coap_pdu_t *request, const struct buf *path,
                      const uint8_t *payload, size_t n)
{
    struct adapter_property headers[COAP_FIELDS_MAX];
    struct adapter_request r = {.method = coap_method_name(k->code),
                                .path = (const char *)path->data,
                                .path_len = path->len,
                                .payload = payload,
                                .payload_len = n,
                                .headers = headers};
    slot_id id = k->id;
    r.n_headers = coap_read_headers(c->target, request, headers);
    c->events->on_request(c->owner, id, &r);
    k = c->server ? slots_get(c->server->tickets, id) : NULL;
    if (k)
        k->response = NULL; // an empty acknowledgement now, the answer later
}

// The request's body, whole. False: it is answered or to be continued.
static bool take_body(struct coap_conn *c, coap_session_t *session, const coap_pdu_t *request, coap_pdu_t *response,
                      struct ticket *k, const uint8_t **payload, size_t *n)
{
    uint32_t value;
    struct buf *whole = NULL;
    (void)coap_get_data(request, n, payload);
    if (!read_option(request, COAP_OPTION_BLOCK1, &value))
        return true;
    enum upload_result result =
        upload_add(c->server, session, k->key, value, *payload, *n, loop_now_us(c->target->env.loop), &whole);
    uint8_t bytes[4];
    size_t len = 0;
    k->block1 = result == UPLOAD_DONE;
    k->block1_value = value;
    switch (result) {
    case UPLOAD_DONE:
        *payload = whole->data;
        *n = whole->len;
        return true;
    case UPLOAD_CONTINUE:
        fill_error(response, 231);
        len = coap_encode_var_safe(bytes, sizeof bytes, value);
        (void)coap_add_option(response, COAP_OPTION_BLOCK1, len, bytes);
        return false;
    case UPLOAD_INCOMPLETE:
        fill_error(response, 408);
        return false;
    case UPLOAD_TOO_LARGE:
        fill_error(response, 413);
        len = coap_encode_var_safe(bytes, sizeof bytes, COAP_BODY_MAX);
        (void)coap_add_option(response, COAP_OPTION_SIZE1, len, bytes);
        return false;
    case UPLOAD_BAD:
        fill_error(response, 400);
        return false;
    }
    return false;
}

// Observe of a request. True: it asks for a registration that was made.
static struct observer *observation(struct coap_conn *c, coap_session_t *session, const coap_pdu_t *request,
                                    struct served_path *p, const char *asked)
{
    uint32_t action;
    unsigned code = coap_pdu_get_code(request);
    if ((code != COAP_METHOD_GET && code != COAP_METHOD_FETCH) || !read_option(request, COAP_OPTION_OBSERVE, &action))
        return NULL;
    if (action == 1)
        observer_remove_token(c->server, session, request);
    return action == 0 && p->observable ? observer_add(c->server, session, p, request, asked) : NULL;
}

static void serve_request(struct coap_conn *c, coap_session_t *session, const coap_pdu_t *request, coap_pdu_t *response)
{
    struct coap_server *s = c->server;
    struct buf *path = &c->target->body;
    struct recent *noted = NULL;
    const uint8_t *payload = NULL;
    size_t path_len, n = 0;
    uint32_t block2 = c->target->options.block_szx, no_response = 0;
    coap_bin_const_t token = coap_pdu_get_token(request);
    if (duplicate(c, session, request, response, &noted))
        return;
    counter_add(c->target->series.served, 1);
    if (path_of(request, path, &path_len) < 0 || token.length > 8) {
        fill_error(response, 400);
        return;
    }
    const char *plain = (const char *)path->data + 1;
    size_t plain_len = path_len ? path_len - 1 : 0;
    bool discovery = plain_len == 16 && memcmp(plain, ".well-known/core", 16) == 0;
    struct served_path *p = discovery ? NULL : served_find(s, plain, plain_len);
    bool has_block2 = read_option(request, COAP_OPTION_BLOCK2, &block2);
    (void)read_option(request, COAP_OPTION_NORESPONSE, &no_response);
    uint64_t key = hash_bytes(path->data, path->len, coap_pdu_get_code(request));
    unsigned szx = block2 & 7;
    if (has_block2 && szx == 7) {
        fill_error(response, 400);
        return;
    }
    if (szx > c->target->options.block_szx)
        szx = c->target->options.block_szx;
    if (has_block2 && block2 >> 4 && body_slice(s, key, block2 >> 4, block2 & 7, false, response))
        return;
    if (!discovery && (!p || !c->events->on_request)) {
        fill_error(response, 404);
        return;
    }
    struct ticket *k = ticket_open(c, session, NULL);
    if (!k) {
        fill_error(response, 503);
        return;
    }
    k->response = response;
    k->recent = noted;
    k->key = key;
    k->num = block2 >> 4;
    k->szx = (uint8_t)(k->num ? block2 & 7 : szx);
    k->code = (uint8_t)coap_pdu_get_code(request);
    k->con = coap_pdu_get_type(request) == COAP_MESSAGE_CON;
    k->no_response = (uint8_t)no_response;
    k->token_len = (uint8_t)token.length;
    memcpy(k->token, token.s, token.length);
    if (discovery) {
        answer_discovery(c, k, path, path_len);
        return;
    }
    if (!take_body(c, session, request, response, k, &payload, &n)) {
        ticket_close(s, k);
        return;
    }
    k->observer = observation(c, session, request, p, (const char *)path->data);
    ask_owner(c, k, request, path, payload, n);
}

void coap_on_server_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                            const coap_string_t *query, coap_pdu_t *response)
{
    struct coap_conn *c = coap_server_conn(session);
    (void)resource, (void)query;
    if (!c || !c->server || c->flags & COAP_DOOMED) {
        fill_error(response, 404);
        return;
    }
    coap_conn_enter(c);
    serve_request(c, session, request, response);
    coap_conn_leave(c);
}

// --- sessions of clients ------------------------------------------------------------------------------------------

static void forget_session(struct coap_server *s, const coap_session_t *session)
{
    observers_of_session(s, session);
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (s->open[i] && s->open[i]->session == session)
            ticket_close(s, s->open[i]);
    for (unsigned i = 0; i < RECENT; i++)
        if (s->recent[i].session == session) {
            free(s->recent[i].answer);
            s->recent[i] = (struct recent){0};
        }
    for (unsigned i = 0; i < COAP_SERVER_UPLOADS; i++)
        if (s->uploads[i].session == session)
            s->uploads[i].session = NULL;
}

static void add_client(struct coap_server *s, coap_session_t *session)
{
    if (s->n_clients == s->room_clients) {
        unsigned room = s->room_clients ? 2 * s->room_clients : 4;
        coap_session_t **more = realloc(s->clients, room * sizeof *more);
        if (!more)
            return;
        s->clients = more;
        s->room_clients = room;
    }
    s->clients[s->n_clients++] = session;
}

void coap_on_server_event(coap_session_t *session, coap_event_t event)
{
    struct coap_pool *pool = coap_pool_of(coap_session_get_context(session));
    struct coap_conn *c = coap_server_conn(session);
    bool gone = event == COAP_EVENT_SERVER_SESSION_DEL;
    if (pool && gone)
        coap_graves_forget(pool, session);
    if (!c || !c->server)
        return;
    if (event == COAP_EVENT_SERVER_SESSION_NEW)
        add_client(c->server, session);
    for (unsigned i = 0; gone && i < c->server->n_clients; i++)
        if (c->server->clients[i] == session)
            c->server->clients[i--] = c->server->clients[--c->server->n_clients];
    if (gone)
        coap_pipe_delete(c, session);
    if (gone || event == COAP_EVENT_DTLS_CLOSED || event == COAP_EVENT_DTLS_ERROR || event == COAP_EVENT_TCP_CLOSED ||
        event == COAP_EVENT_SESSION_CLOSED)
        forget_session(c->server, session);
}

void coap_server_session_gone(struct coap_conn *c)
{
    forget_session(c->server, c->session);
}

// --- the endpoint -------------------------------------------------------------------------------------------------

// "127.0.0.1:40123 UDP", "[::1]:40123 UDP": what libcoap shows of an endpoint is all it tells.
static int address_of(coap_endpoint_t *endpoint, struct link_addr *out, struct error *err)
{
    char text[96];
    int64_t port;
    snprintf(text, sizeof text, "%s", coap_endpoint_str(endpoint));
    text[strcspn(text, " ")] = '\0';
    char *colon = strrchr(text, ':'), *host = text;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
    memset(out, 0, sizeof *out);
    if (colon && int_parse(colon + 1, 0, 65535, &port, NULL) == 0) {
        *colon = '\0';
        if (host[0] == '[') {
            host++;
            host[strcspn(host, "]")] = '\0';
            out->len = sizeof *v6;
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1)
                return 0;
        }
        out->len = sizeof *v4;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
            return 0;
    }
    return error_set(err, ERR_INTERNAL, "libcoap shows its endpoint as \"%s\"", text);
}

int coap_server_open(struct coap_conn *c, struct error *err)
{
    struct coap_server *s = c->server;
    struct coap_target *t = c->target;
    coap_address_t at;
    char words[200];
    if (!s || s->endpoint)
        return 0;
    int kind = t->transport ? coap_secure_serves(c, err) : (int)POOL_PLAIN;
    if (kind < 0 || !(s->pool = coap_pool_take(t, (enum coap_pool_kind)kind, err)))
        return -1;
    if (t->transport)
        coap_secure_context(s->pool);
    coap_address_init(&at);
    memcpy(&at.addr, &t->options.listen.addr, t->options.listen.len);
    at.size = t->options.listen.len;
    coap_log_take(words, sizeof words);
    errno = 0;
    s->endpoint = coap_endpoint_open(s->pool->ctx, &at, t->proto);
    if (!s->endpoint) {
        int why = errno;
        coap_pool_give(s->pool);
        coap_log_take(words, sizeof words);
        errno = why;
        return error_set(err, why == EMFILE ? ERR_LIMIT : ERR_IO, "serve.listen: cannot listen there: %s", words);
    }
    s->next = s->pool->servers;
    s->pool->servers = s;
    s->pool->stale = true;
    return address_of(s->endpoint, &s->at, err);
}

void coap_server_close(struct coap_conn *c)
{
    struct coap_server *s = c->server;
    if (!s)
        return;
    while (s->observers)
        observer_drop(s, s->observers);
    for (unsigned i = 0; i < COAP_SERVER_TICKETS; i++)
        if (s->open[i])
            ticket_close(s, s->open[i]);
    for (unsigned i = 0; i < RECENT; i++) {
        free(s->recent[i].answer);
        s->recent[i] = (struct recent){0};
    }
    bodies_clear(s);
    coap_pipes_delete(c, true);
    coap_route_serves_no_more(c);
    if (!s->endpoint)
        return;
    struct coap_server **at = &s->pool->servers;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    coap_endpoint_bury(s->pool, s->endpoint, s->clients, s->n_clients);
    s->clients = NULL;
    s->n_clients = s->room_clients = 0;
    s->endpoint = NULL;
    s->pool = NULL;
}

void coap_server_work(struct coap_conn *c)
{
    if (c->server)
        observers_work(c);
}

int coap_served_at(struct coap_conn *c, struct buf *out, struct error *err)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct coap_server *s = c->server;
    if (!s || !s->endpoint)
        return error_set(err, ERR_STATE,
                         "nothing is served yet: the endpoint opens when the device is online and "
                         "serves a path");
    bool v6 = s->at.addr.ss_family == AF_INET6;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&s->at.addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&s->at.addr;
    inet_ntop(s->at.addr.ss_family, v6 ? (const void *)&in6->sin6_addr : (const void *)&v4->sin_addr, host,
              sizeof host);
    int rc = buf_printf(out, "%s://%s%s%s:%u", c->target->url.scheme, v6 ? "[" : "", host, v6 ? "]" : "",
                        ntohs(v6 ? in6->sin6_port : v4->sin_port));
    return rc ? error_set(err, ERR_LIMIT, "no room for the URL") : 0;
}

size_t coap_server_footprint(const struct coap_conn *c)
{
    const struct coap_server *s = c->server;
    if (!s)
        return 0;
    size_t n = sizeof *s + s->n_paths * sizeof(struct served_path) + s->n_observers * sizeof(struct observer);
    for (unsigned i = 0; i < COAP_SERVER_BODIES; i++)
        n += s->bodies[i].answer ? s->bodies[i].answer->payload_len : 0;
    for (unsigned i = 0; i < COAP_SERVER_UPLOADS; i++)
        n += s->uploads[i].bytes.size;
    return n;
}
