#include "adapter/http/endpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "adapter/http/exchange.h"
#include "adapter/http/guard.h"
#include "core/slots.h"
#include "core/units.h"

#define TICKETS_MAX 1024u
#define ROUTES_MAX 64u
#define NAME_MAX_BYTES 512u

struct ticket {
    struct http_incoming *in;
    struct adapter_conn *conn;
    slot_id id;
    struct ticket *next, **prev;
};

struct http_endpoints {
    struct http_target *target;
    struct http_server *server;
    struct slots *tickets;
    struct ticket *first;
    struct adapter_conn **table; // by name, power of two
    unsigned size, n;
};

// --- devices by name
// --------------------------------------------------------------------------------------------------

static struct adapter_conn **bucket(struct http_endpoints *e, const char *name, size_t n)
{
    return &e->table[hash_bytes(name, n, 0) & (e->size - 1)];
}

static struct adapter_conn *find(struct http_endpoints *e, const char *name, size_t n)
{
    for (struct adapter_conn *c = *bucket(e, name, n); c; c = c->next_served)
        if (strlen(c->served_name) == n && memcmp(c->served_name, name, n) == 0)
            return c;
    return NULL;
}

static int grow(struct http_endpoints *e)
{
    struct adapter_conn **old = e->table;
    unsigned old_size = e->size;
    struct adapter_conn **table = calloc(2 * (size_t)old_size, sizeof *table);
    if (!table)
        return -1;
    e->table = table;
    e->size = 2 * old_size;
    for (unsigned i = 0; i < old_size; i++)
        for (struct adapter_conn *c = old[i], *next; c; c = next) {
            struct adapter_conn **at = bucket(e, c->served_name, strlen(c->served_name));
            next = c->next_served;
            c->next_served = *at;
            *at = c;
        }
    free(old);
    return 0;
}

int http_device_name(struct adapter_conn *c, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    struct buf id;
    int rc = 0;
    buf_create(&id, NAME_MAX_BYTES);
    if (c->identity && c->identity->field && c->identity->field(c->owner, FIELD_CLIENT_ID, &id, NULL) < 0)
        rc = -1;
    for (uint32_t i = 0; i < id.len && rc == 0; i++) {
        unsigned char b = id.data[i];
        bool plain = (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') ||
                     (b && strchr("-._~:@", b) && !(b == '.' && id.len <= 2));
        char code[3] = {'%', hex[b >> 4], hex[b & 15]};
        rc = buf_append(out, plain ? (const char *)&b : code, plain ? 1 : 3);
    }
    buf_destroy(&id);
    return rc;
}

static int register_device(struct http_endpoints *e, struct adapter_conn *c, struct error *err)
{
    struct buf name;
    if (c->served_name)
        return 0;
    buf_create(&name, 4 * NAME_MAX_BYTES);
    int rc = http_device_name(c, &name);
    if (rc == 0 && !name.len) // a device without a client id
        rc = buf_printf(&name, "device-%u", c->lane.id);
    if (rc < 0 || !(c->served_name = strdup(buf_cstr(&name)))) {
        buf_destroy(&name);
        return error_set(err, ERR_NO_MEMORY, "no memory for the name of an endpoint");
    }
    buf_destroy(&name);
    size_t n = strlen(c->served_name);
    if (find(e, c->served_name, n)) {
        error_set(err, ERR_STATE, "another device of this name serves already: %.200s", c->served_name);
        free(c->served_name);
        c->served_name = NULL;
        return -1;
    }
    if (e->n >= e->size && grow(e) < 0) {
        free(c->served_name);
        c->served_name = NULL;
        return error_set(err, ERR_NO_MEMORY, "no memory for an endpoint");
    }
    struct adapter_conn **at = bucket(e, c->served_name, n);
    c->next_served = *at;
    *at = c;
    e->n++;
    return 0;
}

static void unregister_device(struct http_endpoints *e, struct adapter_conn *c)
{
    if (!c->served_name)
        return;
    struct adapter_conn **at = bucket(e, c->served_name, strlen(c->served_name));
    while (*at != c)
        at = &(*at)->next_served;
    *at = c->next_served;
    e->n--;
    free(c->served_name);
    c->served_name = NULL;
}

// --- requests
// ---------------------------------------------------------------------------------------------------------

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};

static unsigned method_bit(const char *name)
{
    for (unsigned i = 0; methods[i]; i++)
        if (strcmp(methods[i], name) == 0)
            return 1u << i;
    return 0;
}

// The longest route that is the path or a parent of it.
static struct http_route *route_of(struct adapter_conn *c, const char *path, size_t n)
{
    struct http_route *best = NULL;
    size_t best_len = 0;
    for (struct http_route *r = c->routes; r; r = r->next) {
        size_t len = strlen(r->path);
        bool root = len == 1;
        bool fits =
            len <= n && memcmp(r->path, path, len) == 0 && (len == n || root || (!r->command && path[len] == '/'));
        if (fits && (!best || len > best_len)) {
            best = r;
            best_len = len;
        }
    }
    return best;
}

static void ticket_free(struct ticket *t)
{
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    free(t);
}

// Clients that waited too long are gone; their owners may never answer.
static void sweep(struct http_endpoints *e)
{
    for (struct ticket *t = e->first, *next; t; t = next) {
        next = t->next;
        if (!http_incoming_gone(t->in))
            continue;
        struct http_incoming *in = t->in;
        slots_remove(e->tickets, t->id);
        ticket_free(t);
        http_server_refuse(in, 503, "");
    }
}

static void ask_owner(struct http_endpoints *e, struct adapter_conn *c, struct http_incoming *in, const char *path)
{
    struct ticket *t = calloc(1, sizeof *t);
    if (slots_count(e->tickets) == TICKETS_MAX)
        sweep(e);
    slot_id id = t ? slots_add(e->tickets, t) : 0;
    if (!id || !c->events->on_request) {
        if (id)
            slots_remove(e->tickets, id);
        free(t);
        http_server_refuse(in, 503, "the device is busy\n");
        return;
    }
    *t = (struct ticket){.in = in, .conn = c, .id = id, .next = e->first, .prev = &e->first};
    if (t->next)
        t->next->prev = &t->next;
    e->first = t;
    const struct buf *body = http_incoming_body(in);
    struct adapter_request r = {.method = http_incoming_method(in),
                                .path = path,
                                .path_len = strlen(path),
                                .payload = body->data,
                                .payload_len = body->len};
    r.headers = http_incoming_headers(in, &r.n_headers);
    HTTP_TELL(c, c->events->on_request(c->owner, id, &r));
}

static void command(struct adapter_conn *c, const struct http_route *r, struct http_incoming *in)
{
    const struct buf *body = http_incoming_body(in);
    char topic[1100];
    // The owner may unsubscribe when it is told: the text must not go with the route.
    snprintf(topic, sizeof topic, "%s", r->path + 1);
    if (c->command_slash)
        snprintf(topic, sizeof topic, "%s", r->path);
    struct adapter_message m = {
        .topic = topic, .topic_len = strlen(topic), .payload = body->data, .payload_len = body->len};
    struct adapter_response accepted = {.status = 202};
    counter_add(c->target->series.messages_received, 1);
    HTTP_TELL(c, c->events->on_message(c->owner, &m));
    http_server_respond(in, &accepted);
}

static void on_request(void *arg, struct http_incoming *in)
{
    struct http_endpoints *e = arg;
    const char *path = http_incoming_path(in);
    size_t name = path[0] == '/' ? strcspn(path + 1, "/?") : 0;
    struct adapter_conn *c = name ? find(e, path + 1, name) : NULL;
    const char *below = path + 1 + name;
    if (!c) {
        http_server_refuse(in, 404, "no such device\n");
        return;
    }
    if (c->frozen || c->state == HTTP_CLOSING) {
        http_server_refuse(in, 503, "the device does not answer\n");
        return;
    }
    size_t n = strcspn(below, "?");
    const struct http_route *r = n ? route_of(c, below, n) : route_of(c, "/", 1);
    unsigned bit = method_bit(http_incoming_method(in));
    if (!r)
        http_server_refuse(in, 404, "the device serves no such path\n");
    else if (!(r->methods & bit))
        http_server_refuse(in, 405, "the device does not serve this method\n");
    else if (r->command)
        command(c, r, in);
    else
        ask_owner(e, c, in, n ? below : "/");
}

int http_respond(struct adapter_conn *c, uint64_t id, const struct adapter_response *response, struct error *err)
{
    struct http_endpoints *e = c->target->endpoints;
    struct ticket *t = e ? slots_get(e->tickets, id) : NULL;
    if (!t || t->conn != c)
        return error_set(err, ERR_NOT_FOUND, "that request is answered already, or its client is gone");
    struct adapter_response r = *response;
    if (r.status < 200 || r.status > 599)
        return error_set(err, ERR_INVALID, "a status of %u: expected 200 to 599", r.status);
    for (unsigned i = 0; i < r.n_headers; i++)
        if (http_header_check(r.headers[i].name, r.headers[i].name_len, r.headers[i].value, r.headers[i].value_len,
                              err) < 0)
            return -1;
    slots_remove(e->tickets, id);
    struct http_incoming *in = t->in;
    ticket_free(t);
    return http_server_respond(in, &r) ? 0 : error_set(err, ERR_NOT_FOUND, "the client of that request is gone");
}

// --- serving
// ------------------------------------------------------------------------------------------------------------

static struct http_endpoints *endpoints(struct http_target *t, struct error *err)
{
    struct http_endpoints *e = t->endpoints;
    if (e)
        return e;
    if (!(e = calloc(1, sizeof *e)) || !(e->table = calloc(64, sizeof *e->table)) ||
        !(e->tickets = slots_new(TICKETS_MAX))) {
        error_set(err, ERR_NO_MEMORY, "no memory for endpoints");
        goto fail;
    }
    e->target = t;
    e->size = 64;
    struct http_server_config config = {.loop = t->env.loop,
                                        .listen = t->options.listen,
                                        .max_body = t->options.max_response,
                                        .timeout_us = t->options.serve_timeout_us,
                                        .on_request = on_request,
                                        .arg = e};
    if (!(e->server = http_server_new(&config, err)))
        goto fail;
    t->endpoints = e;
    return e;
fail:
    http_endpoints_delete(e);
    return NULL;
}

void http_endpoints_delete(struct http_endpoints *e)
{
    if (!e)
        return;
    while (e->first) {
        struct http_incoming *in = e->first->in;
        ticket_free(e->first);
        http_server_refuse(in, 503, "the device is being stopped\n");
    }
    http_server_delete(e->server);
    slots_delete(e->tickets);
    free(e->table);
    free(e);
}

static int add_route(struct adapter_conn *c, const char *path, bool is_command, unsigned bits, struct error *err)
{
    struct http_endpoints *e = endpoints(c->target, err);
    unsigned n = 0;
    if (!e || register_device(e, c, err) < 0)
        return -1;
    size_t len = strlen(path);
    for (struct http_route *r = c->routes; r; r = r->next, n++)
        if (strcmp(r->path + (path[0] != '/'), path) == 0) {
            r->methods = (uint16_t)bits; // served again with other methods
            return 0;
        }
    if (n >= ROUTES_MAX)
        return error_set(err, ERR_LIMIT, "more than %u paths of a device", ROUTES_MAX);
    struct http_route *r = calloc(1, sizeof *r + len + 2);
    if (!r)
        return error_set(err, ERR_NO_MEMORY, "no memory for a path");
    snprintf(r->path, len + 2, path[0] == '/' ? "%s" : "/%s", path);
    r->command = is_command;
    r->methods = (uint16_t)bits;
    r->next = c->routes;
    c->routes = r;
    return 0;
}

int http_serve(struct adapter_conn *c, const char *path, const json_t *attributes, struct error *err)
{
    static const char *const valid[] = {"methods", NULL};
    unsigned bits = 0;
    const char *key;
    json_t *v;
    if (path[0] != '/' || strlen(path) > 1024 || strpbrk(path, "?# "))
        return error_set(err, ERR_INVALID, "\"%.100s\": expected a path that begins with /, without query", path);
    json_object_foreach((json_t *)attributes, key, v)
    {
        if (name_choose("unknown attribute of a served path", key, valid, err) < 0)
            return -1;
        for (size_t i = 0; i < json_array_size(v); i++) {
            const char *s = json_string_value(json_array_get(v, i));
            const char *m = s ? http_method(s, err) : NULL;
            if (!m)
                return s ? -1 : error_set(err, ERR_INVALID, "methods: expected a list of texts");
            bits |= method_bit(m);
        }
        if (!bits)
            return error_set(err, ERR_INVALID, "methods: expected a list such as [\"GET\", \"POST\"]");
    }
    return add_route(c, path, false, bits ? bits : ~0u, err);
}

int http_serve_commands(struct adapter_conn *c, const char *filter, struct error *err)
{
    c->command_slash = filter[0] == '/';
    return add_route(c, filter, true, method_bit("POST") | method_bit("PUT"), err);
}

static void leave_if_unused(struct adapter_conn *c)
{
    if (!c->routes && c->target->endpoints)
        unregister_device(c->target->endpoints, c);
}

void http_unserve(struct adapter_conn *c, const char *path)
{
    for (struct http_route **at = &c->routes; *at; at = &(*at)->next)
        if (strcmp((*at)->path + (path[0] != '/'), path) == 0) {
            struct http_route *r = *at;
            *at = r->next;
            free(r);
            break;
        }
    leave_if_unused(c);
}

void http_unserve_commands(struct adapter_conn *c)
{
    for (struct http_route **at = &c->routes; *at;) {
        struct http_route *r = *at;
        if (!r->command) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        free(r);
    }
    leave_if_unused(c);
}

void http_unserve_all(struct adapter_conn *c)
{
    struct http_endpoints *e = c->target->endpoints;
    while (c->routes) {
        struct http_route *r = c->routes;
        c->routes = r->next;
        free(r);
    }
    if (!e)
        return;
    unregister_device(e, c);
    for (struct ticket *t = e->first, *next; t; t = next) {
        next = t->next;
        if (t->conn != c)
            continue;
        struct http_incoming *in = t->in;
        slots_remove(e->tickets, t->id);
        ticket_free(t);
        http_server_refuse(in, 503, "the device is being stopped\n");
    }
}

int http_served_at(struct adapter_conn *c, struct buf *out, struct error *err)
{
    struct http_endpoints *e = endpoints(c->target, err);
    if (!e || register_device(e, c, err) < 0)
        return -1;
    return buf_printf(out, "%s/%s", http_server_url(e->server), c->served_name) < 0
               ? error_set(err, ERR_LIMIT, "no room for the URL")
               : 0;
}
