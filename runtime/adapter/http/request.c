// The bytes of a request: URL, header lines, body.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "link/openssl.h"
#include "adapter/http/exchange.h"
#include "core/file.h"
#include "core/units.h"

#define FORM_PARTS 64u
#define EXPECT_BYTES (1u << 20) // libcurl would ask for 100 Continue first, and wait a second for it

static int no_room(const struct buf *b, const char *what, struct error *err)
{
    return error_set(err, ERR_LIMIT, "%s is larger than %u bytes", what, b->cap);
}

// --- the URL --------------------------------------------------------------------------------------------------------

static int check_url(const char *s, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= 0x20 || s[i] == 0x7f || s[i] == '#')
            return error_set(err, ERR_INVALID,
                             "the path \"%.*s\" has a blank, a control character or #: write it percent-encoded "
                             "(%%20), or use `query`",
                             (int)(n < 80 ? n : 80), s);
    return 0;
}

static int append_encoded(struct buf *b, const char *s, size_t n, const char *kept)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     (c && strchr("-._~", c)) || (c && strchr(kept, c));
        char code[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (buf_append(b, plain ? (const char *)&c : code, plain ? 1 : 3) < 0)
            return -1;
    }
    return 0;
}

static int append_pair(struct http_exchange *x, const char *key, const json_t *v, bool *first, struct error *err)
{
    char text[40];
    const char *s = json_string_value(v);
    size_t n = s ? json_string_length(v) : 0;
    if (json_is_boolean(v))
        s = json_is_true(v) ? "true" : "false";
    else if (json_is_number(v)) {
        double d = json_number_value(v);
        if (d == (double)(int64_t)d)
            snprintf(text, sizeof text, "%lld", (long long)d);
        else
            snprintf(text, sizeof text, "%.14g", d);
        s = text;
    }
    if (!s)
        return error_set(err, ERR_INVALID, "query.%s: expected a text, a number, true, false or a list of them", key);
    if (!json_is_string(v))
        n = strlen(s);
    if (buf_append_char(&x->url, *first ? '?' : '&') < 0 || append_encoded(&x->url, key, strlen(key), "") < 0 ||
        buf_append_char(&x->url, '=') < 0 || append_encoded(&x->url, s, n, "") < 0)
        return no_room(&x->url, "the URL", err);
    *first = false;
    return 0;
}

static int append_query(struct http_exchange *x, const json_t *query, struct error *err)
{
    bool first = !memchr(x->url.data, '?', x->url.len);
    const char *key;
    json_t *v;
    if (!json_is_object(query))
        return error_set(err, ERR_INVALID, "query: expected an object");
    json_object_foreach((json_t *)query, key, v)
    {
        size_t n = json_is_array(v) ? json_array_size(v) : 1;
        for (size_t i = 0; i < n; i++)
            if (append_pair(x, key, json_is_array(v) ? json_array_get(v, i) : v, &first, err) < 0)
                return -1;
    }
    return 0;
}

int http_request_url(struct http_exchange *x, const char *path, size_t n, const json_t *query, struct error *err)
{
    const struct http_target *t = x->conn->target;
    size_t m = strlen(t->origin);
    bool absolute = (n > 7 && strncasecmp(path, "http://", 7) == 0) || (n > 8 && strncasecmp(path, "https://", 8) == 0);
    if (check_url(path, n, err) < 0)
        return -1;
    bool same = absolute && n >= m && strncmp(path, t->origin, m) == 0 && (n == m || strchr("/?", path[m]));
    if (absolute && !same && !t->options.allow_absolute)
        return error_set(err, ERR_INVALID, "%.*s is not on %s: expected a path (or the option allowAbsolute)",
                         (int)(n < 120 ? n : 120), path, t->origin);
    int rc;
    if (absolute && !same) {
        x->foreign = true;
        x->lane = NULL;
        rc = buf_append(&x->url, path, n);
    } else {
        if (same) {
            path += m;
            n -= m;
        }
        rc = buf_append_str(&x->url, t->url_host);
        rc |= same ? 0 : buf_append_str(&x->url, t->base);
        rc |= n && (path[0] == '/' || path[0] == '?') ? 0 : buf_append_char(&x->url, '/');
        rc |= buf_append(&x->url, path, n);
    }
    if (rc < 0 || x->url.len + 1 >= x->url.cap)
        return no_room(&x->url, "the URL", err);
    return query ? append_query(x, query, err) : 0;
}

// --- headers --------------------------------------------------------------------------------------------------------

int http_request_header(struct http_exchange *x, const char *name, size_t name_len, const char *value, size_t value_len,
                        struct error *err)
{
    if (http_header_check(name, name_len, value, value_len, err) < 0)
        return -1;
    if (x->n_header_lines >= HTTP_HEADERS_MAX)
        return error_set(err, ERR_LIMIT, "more than %u headers", HTTP_HEADERS_MAX);
    // "Name;" is how libcurl is told to send an empty one
    if (buf_append(&x->lines, name, name_len) < 0 || buf_append_str(&x->lines, value_len ? ": " : ";") < 0 ||
        buf_append(&x->lines, value, value_len) < 0 || buf_append_char(&x->lines, '\0') < 0)
        return no_room(&x->lines, "the sum of the headers", err);
    x->n_header_lines++;
    return 0;
}

static bool names(const char *line, const char *name, size_t n)
{
    return strncasecmp(line, name, n) == 0 && (line[n] == ':' || line[n] == ';');
}

static bool has_line(const struct http_exchange *x, const char *name, size_t n)
{
    const char *at = (const char *)x->lines.data;
    for (unsigned i = 0; i < x->n_header_lines; i++, at += strlen(at) + 1)
        if (names(at, name, n))
            return true;
    return false;
}

static bool add_node(struct http_exchange *x, const char *line)
{
    struct curl_slist node = {.data = (char *)line};
    return buf_append(&x->nodes, &node, sizeof node) == 0;
}

// A header of the target that the request has itself is left out.
static bool add_target(struct http_exchange *x, const struct curl_slist *line)
{
    size_t n = strcspn(line->data, ":;");
    return has_line(x, line->data, n) || add_node(x, line->data);
}

struct curl_slist *http_request_chain(struct http_exchange *x, struct error *err)
{
    struct http_target *t = x->conn->target;
    const char *at = (const char *)x->lines.data;
    bool ok = true;
    buf_clear(&x->nodes);
    for (unsigned i = 0; i < x->n_header_lines; i++, at += strlen(at) + 1)
        // What is secret does not leave the origin.
        if (!x->foreign || (!names(at, "Authorization", 13) && !names(at, "Cookie", 6)))
            ok &= add_node(x, at);
    if (x->auth.len && !has_line(x, "Authorization", 13))
        ok &= add_node(x, (const char *)x->auth.data);
    if (x->body.len > EXPECT_BYTES)
        ok &= add_node(x, "Expect:");
    if (!x->body.len && x->method[0] == 'P' && !has_line(x, "Content-Type", 12))
        ok &= add_node(x, "Content-Type:");
    for (struct curl_slist *line = t->headers; line && !x->foreign; line = line->next)
        ok &= add_target(x, line);
    if (x->foreign)
        ok &= add_node(x, "User-Agent: iotix/" IOTIX_VERSION);
    if (!ok) {
        error_set(err, ERR_NO_MEMORY, "no memory for headers");
        return NULL;
    }
    struct curl_slist *nodes = (struct curl_slist *)(void *)x->nodes.data;
    size_t n = x->nodes.len / sizeof *nodes;
    for (size_t i = 0; i + 1 < n; i++)
        nodes[i].next = &nodes[i + 1];
    return nodes;
}

// --- the body -------------------------------------------------------------------------------------------------------

static const char *guess_type(const uint8_t *p, size_t n)
{
    while (n && (p[n - 1] == '\n' || p[n - 1] == ' '))
        n--;
    bool json = n >= 2 && ((p[0] == '{' && p[n - 1] == '}') || (p[0] == '[' && p[n - 1] == ']'));
    return json ? "application/json" : "application/octet-stream";
}

int http_request_body(struct http_exchange *x, const void *bytes, size_t n, const char *type, size_t type_len,
                      struct error *err)
{
    if (!n)
        return 0;
    if (x->method[0] == 'H')
        return error_set(err, ERR_INVALID, "a HEAD request has no body");
    if (buf_append(&x->body, bytes, n) < 0)
        return error_set(err, ERR_LIMIT, "a body of %zu bytes is more than maxRequest (%u)", n, x->body.cap);
    if (!type) {
        if (has_line(x, "Content-Type", 12))
            return 0;
        type = guess_type(bytes, n);
        type_len = strlen(type);
    }
    return http_request_header(x, "Content-Type", 12, type, type_len, err);
}

// The text of a member that must be one; quotes and line ends as browsers write them.
static int quoted(struct http_exchange *x, const char *what, const char *s, struct error *err)
{
    for (; *s; s++) {
        const char *code = *s == '"' ? "%22" : *s == '\r' ? "%0D" : *s == '\n' ? "%0A" : NULL;
        if ((code ? buf_append_str(&x->body, code) : buf_append_char(&x->body, *s)) < 0)
            return no_room(&x->body, what, err);
    }
    return 0;
}

static int append_base64(struct http_exchange *x, const json_t *data, struct error *err)
{
    size_t n = json_string_length(data);
    uint8_t *to = buf_reserve(&x->body, (uint32_t)n / 4 * 3 + 3);
    if (!to)
        return no_room(&x->body, "the form", err);
    int got = n % 4 ? -1 : EVP_DecodeBlock(to, (const unsigned char *)json_string_value(data), (int)n);
    if (got < 0)
        return error_set(err, ERR_INVALID, "form: data is not Base64");
    const char *s = json_string_value(data);
    got -= n && s[n - 1] == '=' ? 1 + (s[n - 2] == '=') : 0;
    x->body.len += (uint32_t)got;
    return 0;
}

static int part(struct http_exchange *x, const json_t *item, const char *boundary, struct error *err)
{
    static const char *const valid[] = {"name", "value", "file", "data", "filename", "type", NULL};
    const char *key, *texts[6] = {NULL};
    json_t *v;
    if (!json_is_object(item))
        return error_set(err, ERR_INVALID, "form: expected a list of { name, value | file | data, filename, type }");
    json_object_foreach((json_t *)item, key, v)
    {
        int i = name_choose("unknown key of a form's part", key, valid, err);
        if (i < 0)
            return -1;
        if (!(texts[i] = json_string_value(v)))
            return error_set(err, ERR_INVALID, "form: expected a text for %s", key);
    }
    const char *name = texts[0], *file = texts[2], *filename = texts[4], *type = texts[5];
    if (!name || !texts[1] + !file + !texts[3] != 2)
        return error_set(err, ERR_INVALID, "form: a part has a name and one of value, file and data");
    if (!filename && file)
        filename = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    if (!type && (file || texts[3]))
        type = "application/octet-stream";
    if (type && http_header_check("Content-Type", 12, type, strlen(type), err) < 0)
        return -1;
    struct buf *b = &x->body;
    int rc = buf_printf(b, "--%s\r\nContent-Disposition: form-data; name=\"", boundary);
    if (rc < 0 || quoted(x, "the form", name, err) < 0 || buf_append_char(b, '"') < 0)
        return rc < 0 ? no_room(b, "the form", err) : -1;
    if (filename && (buf_append_str(b, "; filename=\"") < 0 || quoted(x, "the form", filename, err) < 0 ||
                     buf_append_char(b, '"') < 0))
        return no_room(b, "the form", err);
    rc = type ? buf_printf(b, "\r\nContent-Type: %s\r\n\r\n", type) : buf_append_str(b, "\r\n\r\n");
    if (rc < 0)
        return no_room(b, "the form", err);
    if (file && file_read(file, b->cap, b, err) < 0)
        return -1;
    if (texts[3] && append_base64(x, json_object_get(item, "data"), err) < 0)
        return -1;
    if (texts[1]) {
        const json_t *value = json_object_get(item, "value");
        if (buf_append(b, json_string_value(value), json_string_length(value)) < 0)
            return no_room(b, "the form", err);
    }
    return buf_append_str(b, "\r\n") < 0 ? no_room(b, "the form", err) : 0;
}

int http_request_form(struct http_exchange *x, const json_t *form, struct error *err)
{
    char boundary[48], type[96];
    if (!json_is_array(form) || !json_array_size(form) || json_array_size(form) > FORM_PARTS)
        return error_set(err, ERR_INVALID, "form: expected a list of 1 to %u parts", FORM_PARTS);
    if (x->body.len || has_line(x, "Content-Type", 12))
        return error_set(err, ERR_INVALID, "form: such a request has no payload and no content type of its own");
    snprintf(boundary, sizeof boundary, "iotix-%016llx%08llx", (unsigned long long)rng_u64(&x->conn->rng),
             (unsigned long long)(rng_u64(&x->conn->rng) >> 32));
    for (size_t i = 0; i < json_array_size(form); i++)
        if (part(x, json_array_get(form, i), boundary, err) < 0)
            return -1;
    if (buf_printf(&x->body, "--%s--\r\n", boundary) < 0)
        return no_room(&x->body, "the form", err);
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
    return http_request_header(x, "Content-Type", 12, type, strlen(type), err);
}

// --- what an owner asks for
// -------------------------------------------------------------------------------------------

static int set_options(struct http_exchange *x, const json_t *options, const json_t **query, const json_t **form,
                       struct error *err)
{
    static const char *const valid[] = {"query", "form", "redirects", "retries", "auth", NULL};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)options, key, v)
    {
        double d = json_number_value(v);
        switch (name_choose("unknown option of an HTTP request", key, valid, err)) {
        case 0:
            *query = v;
            break;
        case 1:
            *form = v;
            break;
        case 2:
            if (!json_is_number(v) || !(d >= 0 && d <= 50) || d != (double)(unsigned)d)
                return error_set(err, ERR_INVALID, "redirects: expected a whole number from 0 to 50");
            x->redirects = (unsigned)d;
            x->follow = d > 0;
            break;
        case 3:
            if (http_retries_parse(v, &x->retries, err) < 0)
                return -1;
            break;
        case 4:
            if (!json_is_boolean(v))
                return error_set(err, ERR_INVALID, "auth: expected true or false");
            x->no_auth = json_is_false(v);
            break;
        default:
            return -1;
        }
    }
    return 0;
}

static int build(struct http_exchange *x, const struct adapter_request *r, struct error *err)
{
    const json_t *query = NULL, *form = NULL;
    if (!(x->method = http_method(r->method ? r->method : "GET", err)))
        return -1;
    x->follow = x->redirects > 0;
    if (r->options && set_options(x, r->options, &query, &form, err) < 0)
        return -1;
    if (http_request_url(x, r->path, r->path_len, query, err) < 0)
        return -1;
    for (unsigned i = 0; i < r->n_headers; i++) {
        const struct adapter_property *h = &r->headers[i];
        if (http_request_header(x, h->name, h->name_len, h->value, h->value_len, err) < 0)
            return -1;
    }
    if (http_request_body(x, r->payload, r->payload_len, NULL, 0, err) < 0)
        return -1;
    return form ? http_request_form(x, form, err) : 0;
}

int http_request(struct adapter_conn *c, const struct adapter_request *r, uint32_t token, struct error *err)
{
    struct http_target *t = c->target;
    if (!c->events->on_response)
        return error_set(err, ERR_UNSUPPORTED, "nobody takes the answers of this connection");
    if (c->state == HTTP_CLOSING)
        return error_set(err, ERR_STATE, "the connection is being closed");
    struct http_exchange *x = http_exchange_new(c, HTTP_REQUEST, err);
    if (!x)
        return -1;
    x->token = token;
    if (r->timeout_us > 0)
        x->deadline_us = x->asked_us + r->timeout_us;
    if (build(x, r, err) < 0) {
        http_exchange_drop(x);
        return -1;
    }
    counter_add(t->series.requests, 1);
    http_exchange_queue(x);
    return 0;
}

void http_request_cancel(struct adapter_conn *c, uint32_t token)
{
    for (struct http_node *node = c->exchanges.next; node != &c->exchanges; node = node->next) {
        struct http_exchange *x = container_of(node, struct http_exchange, node);
        if (x->kind == HTTP_REQUEST && x->token == token) {
            http_exchange_drop(x);
            c->pump_due = true;
            http_conn_due(c);
            return;
        }
    }
}

static int publish_url(struct http_exchange *x, const char *topic, size_t n, struct error *err)
{
    const struct http_target *t = x->conn->target;
    bool slash = n && topic[0] == '/';
    if (!n || memchr(topic, '\0', n))
        return error_set(err, ERR_INVALID, n ? "a topic with NUL" : "an empty topic");
    if (buf_append_str(&x->url, t->url_host) < 0 || buf_append_str(&x->url, t->base) < 0 ||
        (!slash && buf_append_char(&x->url, '/') < 0) || append_encoded(&x->url, topic, n, "/:@!$&'()*+,;=") < 0 ||
        x->url.len + 1 >= x->url.cap)
        return no_room(&x->url, "the URL of the topic", err);
    return 0;
}

static int publish_meta(struct http_exchange *x, const struct adapter_meta *meta, struct error *err)
{
    const char *lacking = meta->response_topic ? "a response topic"
                          : meta->correlation  ? "correlation data"
                          : meta->has_expiry   ? "an expiry"
                                               : NULL;
    if (lacking)
        return error_set(err, ERR_UNSUPPORTED, "a message over HTTP cannot have %s", lacking);
    for (unsigned i = 0; i < meta->n_user; i++) {
        const struct adapter_property *h = &meta->user[i];
        if (http_request_header(x, h->name, h->name_len, h->value, h->value_len, err) < 0)
            return -1;
    }
    return 0;
}

int http_publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct http_target *t = c->target;
    struct http_exchange *x = NULL;
    bool taken = m->qos && c->state == HTTP_PROBING;
    if (c->state != HTTP_ONLINE && !taken)
        error_set(err, ERR_STATE, "not connected");
    else
        x = http_exchange_new(c, HTTP_PUBLISH, err);
    if (x) {
        const char *type = m->meta && m->meta->content_type ? m->meta->content_type : t->options.publish_content_type;
        size_t type_len = m->meta && m->meta->content_type ? m->meta->content_type_len : type ? strlen(type) : 0;
        x->token = token;
        x->qos = m->qos;
        x->method = t->options.publish_method;
        x->follow = x->redirects > 0;
        if (publish_url(x, m->topic, m->topic_len, err) == 0 && (!m->meta || publish_meta(x, m->meta, err) == 0) &&
            http_request_body(x, m->payload, m->payload_len, type, type_len, err) == 0) {
            http_exchange_queue(x);
            return 0;
        }
        http_exchange_drop(x);
    }
    rate_add(t->series.publish_errors, true);
    return -1;
}
