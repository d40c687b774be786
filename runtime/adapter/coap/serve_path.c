// What a connection serves: its paths and their attributes.
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/serve_impl.h"
#include "core/units.h"

static void path_free(struct served_path *p)
{
    json_decref(p->attributes);
    free(p->path);
    free(p);
}

void coap_server_delete(struct coap_conn *c)
{
    struct coap_server *s = c->server;
    if (!s)
        return;
    coap_server_close(c);
    for (unsigned i = 0; i < s->n_paths; i++)
        path_free(s->paths[i]);
    slots_delete(s->tickets);
    free(s);
    c->server = NULL;
}

static int check_attributes(const json_t *attributes, struct served_path *p, struct error *err)
{
    static const char *const valid[] = {"observable", "confirmable", "rt", "if", "title", "ct", "sz", NULL};
    const char *key;
    json_t *v;
    if (!attributes || json_is_null(attributes))
        return 0;
    if (!json_is_object(attributes))
        return error_set(err, ERR_INVALID, "attributes of what is served: expected an object");
    json_object_foreach((json_t *)attributes, key, v)
    {
        int which = name_choose("unknown attribute", key, valid, err);
        if (which < 0)
            return -1;
        bool text = which >= 2 && which <= 4, number = which == 6;
        if (which < 2 && !json_is_boolean(v))
            return error_set(err, ERR_INVALID, "%s: expected true or false", key);
        if (text && (!json_is_string(v) || strpbrk(json_string_value(v), "\"\\\r\n")))
            return error_set(err, ERR_INVALID, "%s: expected a text without quotes and backslashes", key);
        if (which == 5 && !json_is_number(v) &&
            !(json_is_string(v) && coap_format_number(json_string_value(v), json_string_length(v)) >= 0))
            return error_set(err, ERR_INVALID, "ct: expected a number or a media type like \"application/json\"");
        if (number && !json_is_number(v))
            return error_set(err, ERR_INVALID, "%s: expected a number", key);
    }
    p->observable = json_is_true(json_object_get(attributes, "observable"));
    p->confirmable = json_is_true(json_object_get(attributes, "confirmable"));
    p->attributes = json_deep_copy(attributes);
    return 0;
}

static struct served_path *path_new(const char *path, const json_t *attributes, struct error *err)
{
    size_t n = strlen(path);
    struct served_path *p = NULL;
    if (n > 255 || strpbrk(path, "?# \"<>")) {
        error_set(err, ERR_INVALID, "a served path has at most 255 bytes and none of ? # \" < > or blanks: \"/%.80s\"",
                  path);
        return NULL;
    }
    p = calloc(1, sizeof *p);
    if (!p || !(p->path = strdup(path))) {
        free(p);
        error_set(err, ERR_NO_MEMORY, "no memory for a served path");
        return NULL;
    }
    if (n == 1 && path[0] == '*') {
        p->subtree = true;
        p->path[0] = '\0';
    } else if (n >= 2 && path[n - 1] == '*' && path[n - 2] == '/') {
        p->subtree = true;
        p->path[n - 2] = '\0';
    }
    if (check_attributes(attributes, p, err) == 0)
        return p;
    path_free(p);
    return NULL;
}

int coap_serve(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    if (path[0] == '/')
        path++;
    if (!c->server) {
        c->server = calloc(1, sizeof *c->server);
        if (!c->server || !(c->server->tickets = slots_new(COAP_SERVER_TICKETS))) {
            free(c->server);
            c->server = NULL;
            return error_set(err, ERR_NO_MEMORY, "no memory to serve with");
        }
        c->server->conn = c;
    }
    struct coap_server *s = c->server;
    struct served_path *p = path_new(path, attributes, err);
    if (!p)
        return -1;
    for (unsigned i = 0; i < s->n_paths; i++)
        if (strcmp(s->paths[i]->path, p->path) == 0 && s->paths[i]->subtree == p->subtree) {
            observers_of_path(s, s->paths[i], true);
            path_free(s->paths[i]);
            s->paths[i] = p;
            coap_directory_changed(c);
            return 0;
        }
    if (s->n_paths == COAP_SERVER_PATHS) {
        path_free(p);
        return error_set(err, ERR_LIMIT, "a connection serves at most %u paths; \"/a/*\" serves all below /a",
                         COAP_SERVER_PATHS);
    }
    if (c->state == COAP_ONLINE && coap_server_open(c, err) < 0) {
        path_free(p);
        return -1;
    }
    s->paths[s->n_paths++] = p;
    coap_directory_changed(c);
    return 0;
}

void coap_unserve(struct adapter_conn *conn, const char *path)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct coap_server *s = c->server;
    if (path[0] == '/')
        path++;
    size_t n = strlen(path);
    bool subtree = n && path[n - 1] == '*' && (n == 1 || path[n - 2] == '/');
    if (subtree)
        n -= n == 1 ? 1 : 2;
    for (unsigned i = 0; s && i < s->n_paths; i++) {
        struct served_path *p = s->paths[i];
        if (strlen(p->path) != n || memcmp(p->path, path, n) != 0 || p->subtree != subtree)
            continue;
        observers_of_path(s, p, true);
        path_free(p);
        s->paths[i] = s->paths[--s->n_paths];
        coap_directory_changed(c);
        return;
    }
}
