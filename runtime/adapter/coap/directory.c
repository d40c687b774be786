// Link format of what a device serves (RFC 6690), and its registration with a resource directory (RFC 9176): found
// through /.well-known/core when no path is given, registered when the device is online and serves something, updated
// when that changes, refreshed before its lifetime ends, removed at a graceful close.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/serve_impl.h"

#define LINKS_MAX (64u << 10)

enum { DIRECTORY_IDLE, DIRECTORY_FINDING, DIRECTORY_REGISTERING, DIRECTORY_REGISTERED, DIRECTORY_REFRESHING };

struct coap_directory {
    struct coap_conn *conn;
    struct timer timer; // refresh, or the next try
    char path[256];     // where to register
    char location[512]; // of the registration
    unsigned failures;
    uint8_t state;
    bool changed; // since the registration under way began
};

static void on_timer(struct timer *timer, void *loop);

// --- links --------------------------------------------------------------------------------------------------------

// Whether one of the words of an attribute is, or with "*" begins with, what is asked for (RFC 6690, 4.1).
static bool word_matches(const char *words, const char *asked, size_t n)
{
    bool prefix = n && asked[n - 1] == '*';
    if (prefix)
        n--;
    while (*words) {
        size_t len = strcspn(words, " ");
        if ((prefix ? len >= n : len == n) && strncmp(words, asked, n) == 0)
            return true;
        words += len;
        words += strspn(words, " ");
    }
    return false;
}

static bool link_matches(const struct served_path *p, const char *query, size_t n)
{
    char href[260];
    const char *equals = n ? memchr(query, '=', n) : NULL;
    if (!n)
        return true;
    size_t key_len = equals ? (size_t)(equals - query) : n;
    const char *value = equals ? equals + 1 : "";
    size_t value_len = equals ? n - key_len - 1 : 0;
    if (key_len == 4 && memcmp(query, "href", 4) == 0) {
        snprintf(href, sizeof href, "/%s", p->path);
        return word_matches(href, value, value_len);
    }
    char key[16] = "", number[32];
    snprintf(key, sizeof key, "%.*s", (int)(key_len > 15 ? 15 : key_len), query);
    if (strcmp(key, "obs") == 0)
        return p->observable;
    const json_t *v = json_object_get(p->attributes, key);
    if (!v)
        return false;
    if (json_is_string(v) && strcmp(key, "ct") != 0)
        return word_matches(json_string_value(v), value, value_len);
    int format =
        json_is_string(v) ? coap_format_number(json_string_value(v), json_string_length(v)) : (int)json_number_value(v);
    snprintf(number, sizeof number, "%d", format);
    return word_matches(number, value, value_len);
}

static int append_link(const struct served_path *p, struct buf *out)
{
    static const char *const texts[] = {"rt", "if", "title"};
    int rc = buf_printf(out, "%s</%s>", out->len ? "," : "", p->path);
    for (size_t i = 0; i < 3 && !rc; i++) {
        const char *v = json_string_value(json_object_get(p->attributes, texts[i]));
        rc = v ? buf_printf(out, ";%s=\"%s\"", texts[i], v) : 0;
    }
    const json_t *ct = json_object_get(p->attributes, "ct"), *sz = json_object_get(p->attributes, "sz");
    if (ct && !rc)
        rc = buf_printf(out, ";ct=%d",
                        json_is_string(ct) ? coap_format_number(json_string_value(ct), json_string_length(ct))
                                           : (int)json_number_value(ct));
    if (sz && !rc)
        rc = buf_printf(out, ";sz=%.0f", json_number_value(sz));
    return !rc && p->observable ? buf_append_str(out, ";obs") : rc;
}

int coap_server_links(struct coap_conn *c, const char *query, size_t n, struct buf *out)
{
    const struct coap_server *s = c->server;
    for (unsigned i = 0; s && i < s->n_paths; i++)
        if (link_matches(s->paths[i], query, n) && append_link(s->paths[i], out))
            return -1;
    return 0;
}

// --- messages to the directory ------------------------------------------------------------------------------------

static bool wanted(const struct coap_conn *c)
{
    const struct coap_directory_options *o = &c->target->options.directory;
    return (o->path[0] || o->discover) && c->server && c->server->n_paths;
}

// path: from the root of the server, not below the target's own.
static int ask(struct coap_conn *c, int code, const char *path, const uint8_t *body, size_t n)
{
    struct coap_fields *f = &c->target->fields;
    struct coap_request r = {
        .kind = EXCHANGE_DIRECTORY, .code = code, .con = true, .szx = -1, .body = body, .body_len = n};
    coap_fields_clear(f);
    if (coap_fields_add_path(f, "", path, strlen(path), NULL) < 0 ||
        (n && coap_fields_add_uint(f, COAP_OPTION_CONTENT_FORMAT, 40, NULL) < 0))
        return -1;
    if (!coap_exchange_new(c, &r, NULL))
        return -1;
    coap_exchanges_pump(c);
    return 0;
}

static void try_later(struct coap_directory *d)
{
    int64_t after = (int64_t)1000000 << (d->failures < 6 ? d->failures : 6);
    d->state = DIRECTORY_IDLE;
    d->failures++;
    loop_timer_start(d->conn->target->env.loop, &d->timer, (int64_t)((double)after * (0.5 + rng_unit(&d->conn->rng))),
                     on_timer);
}

// A query's value: everything that would end it is percent-encoded.
static int append_value(struct buf *out, const char *name, const uint8_t *value, size_t n)
{
    int rc = buf_printf(out, "&%s=", name);
    for (size_t i = 0; i < n && !rc; i++)
        rc = strchr("&%#?+ ", value[i]) || value[i] < ' ' ? buf_printf(out, "%%%02X", value[i])
                                                          : buf_append_char(out, (char)value[i]);
    return rc;
}

// The name to register by: `endpoint` with the client id in place of ${deviceId}, or the client id alone.
static int append_name(struct coap_conn *c, struct buf *out)
{
    const char *pattern = c->target->options.directory.endpoint;
    const char *hole = strstr(pattern, COAP_DIRECTORY_HOLE);
    size_t before = hole ? (size_t)(hole - pattern) : strlen(pattern);
    if (buf_append(out, pattern, before))
        return -1;
    if ((hole || !pattern[0]) && c->identity->field(c->owner, FIELD_CLIENT_ID, out, NULL))
        return -1;
    return hole ? buf_append_str(out, hole + strlen(COAP_DIRECTORY_HOLE)) : 0;
}

static int registration_path(struct coap_directory *d, struct buf *out)
{
    struct coap_conn *c = d->conn;
    const struct coap_directory_options *o = &c->target->options.directory;
    struct buf *name = &c->target->text;
    struct buf base;
    buf_clear(name);
    if (append_name(c, name) || !name->len)
        return -1;
    buf_create(&base, 128);
    int rc = buf_printf(out, "%s?lt=%u", d->path, o->lifetime_s);
    rc = rc ? rc : append_value(out, "ep", name->data, name->len > 63 ? 63 : name->len); // RFC 9176, 5
    if (o->sector[0] && !rc)
        rc = append_value(out, "d", (const uint8_t *)o->sector, strlen(o->sector));
    if (!rc && coap_served_at(c, &base, NULL) == 0)
        rc = append_value(out, "base", base.data, base.len);
    buf_destroy(&base);
    return rc ? rc : buf_cstr(out) ? 0 : -1;
}

static void go_on(struct coap_directory *d)
{
    struct coap_conn *c = d->conn;
    const struct coap_directory_options *o = &c->target->options.directory;
    int rc;
    if (c->state != COAP_ONLINE || !wanted(c))
        return;
    if (!d->path[0] && o->path[0])
        snprintf(d->path, sizeof d->path, "%s", o->path);
    if (!d->path[0]) {
        d->state = DIRECTORY_FINDING;
        rc = ask(c, COAP_METHOD_GET, "/.well-known/core?rt=core.rd", NULL, 0);
    } else {
        struct buf path, links;
        buf_create(&path, 4096);
        buf_create(&links, LINKS_MAX);
        d->state = DIRECTORY_REGISTERING;
        d->changed = false;
        rc = registration_path(d, &path) || coap_server_links(c, NULL, 0, &links) ||
             ask(c, COAP_METHOD_POST, (const char *)path.data, links.data, links.len);
        buf_destroy(&path);
        buf_destroy(&links);
    }
    if (rc)
        try_later(d);
}

static void on_timer(struct timer *timer, void *loop)
{
    struct coap_directory *d = container_of(timer, struct coap_directory, timer);
    struct coap_conn *c = d->conn;
    (void)loop;
    coap_conn_enter(c);
    if (d->state == DIRECTORY_REGISTERED && c->state == COAP_ONLINE) {
        d->state = DIRECTORY_REFRESHING; // RFC 9176, 5.3.1: an empty POST keeps what is registered
        if (ask(c, COAP_METHOD_POST, d->location, NULL, 0))
            try_later(d);
    } else {
        go_on(d);
    }
    coap_conn_leave(c);
}

void coap_directory_online(struct coap_conn *c)
{
    if (!wanted(c) || (!c->directory && !(c->directory = calloc(1, sizeof *c->directory))))
        return;
    c->directory->conn = c;
    c->directory->failures = 0;
    go_on(c->directory);
}

void coap_directory_changed(struct coap_conn *c)
{
    struct coap_directory *d = c->directory;
    if (!d) {
        if (c->state == COAP_ONLINE)
            coap_directory_online(c);
    } else if (d->state == DIRECTORY_FINDING || d->state == DIRECTORY_REGISTERING) {
        d->changed = true;
    } else {
        loop_timer_start(c->target->env.loop, &d->timer, 0, on_timer); // several changes are one registration
        d->state = DIRECTORY_IDLE;
    }
}

void coap_directory_offline(struct coap_conn *c)
{
    if (!c->directory)
        return;
    loop_timer_stop(c->target->env.loop, &c->directory->timer);
    c->directory->state = DIRECTORY_IDLE;
    c->directory->location[0] = '\0';
}

// The last word of a graceful close: nobody waits for an answer.
void coap_directory_leave(struct coap_conn *c)
{
    struct coap_directory *d = c->directory;
    if (d && d->location[0])
        (void)ask(c, COAP_METHOD_DELETE, d->location, NULL, 0);
}

void coap_directory_delete(struct coap_conn *c)
{
    if (!c->directory)
        return;
    loop_timer_stop(c->target->env.loop, &c->directory->timer);
    free(c->directory);
    c->directory = NULL;
}

// --- its answers --------------------------------------------------------------------------------------------------

// "</rd>;rt=\"core.rd\",…": the first link's target.
static bool found_path(const uint8_t *body, size_t n, char *out, size_t size)
{
    const uint8_t *open = n ? memchr(body, '<', n) : NULL;
    const uint8_t *close = open ? memchr(open, '>', n - (size_t)(open - body)) : NULL;
    if (!close || close - open < 2 || (size_t)(close - open) > size || open[1] != '/')
        return false;
    memcpy(out, open + 1, (size_t)(close - open - 1));
    out[close - open - 1] = '\0';
    return true;
}

static bool location_of(const coap_pdu_t *pdu, char *out, size_t size)
{
    coap_opt_iterator_t at;
    coap_opt_t *o;
    size_t used = 0;
    coap_option_iterator_init(pdu, &at, COAP_OPT_ALL);
    while ((o = coap_option_next(&at))) {
        if (at.number != COAP_OPTION_LOCATION_PATH)
            continue;
        int n = snprintf(out + used, size - used, "/%.*s", (int)coap_opt_length(o), (const char *)coap_opt_value(o));
        if (n < 0 || (size_t)n >= size - used)
            return false;
        used += (size_t)n;
    }
    return used > 0;
}

void coap_directory_answer(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n)
{
    struct coap_conn *c = x->conn;
    struct coap_directory *d = c->directory;
    unsigned code = coap_pdu_get_code(pdu);
    bool good = code >> 5 == 2;
    coap_exchange_delete(x);
    if (!d)
        return;
    if (good && d->state == DIRECTORY_FINDING && found_path(body, n, d->path, sizeof d->path)) {
        go_on(d);
    } else if (good && d->state == DIRECTORY_REGISTERING &&
               (location_of(pdu, d->location, sizeof d->location) || d->location[0])) {
        d->state = DIRECTORY_REGISTERED;
    } else if (good && d->state == DIRECTORY_REFRESHING) {
        d->state = DIRECTORY_REGISTERED;
    } else if (d->state == DIRECTORY_REFRESHING && code == COAP_RESPONSE_CODE(404)) {
        go_on(d); // it has forgotten us
    } else {
        try_later(d);
    }
    if (d->state != DIRECTORY_REGISTERED)
        return;
    d->failures = 0;
    int64_t lifetime = (int64_t)c->target->options.directory.lifetime_s * 1000000;
    loop_timer_start(c->target->env.loop, &d->timer, d->changed ? 0 : lifetime / 4 * 3, on_timer);
    if (d->changed)
        d->state = DIRECTORY_IDLE;
}

void coap_directory_failed(struct coap_exchange *x, const struct error *why)
{
    struct coap_directory *d = x->conn->directory;
    (void)why;
    if (d && x->conn->state == COAP_ONLINE)
        try_later(d);
}
