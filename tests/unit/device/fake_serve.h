// The fake adapter with what an adapter may have beside messages: requests, serving, notifications, renewal. Its scheme
// is "serve"; that of one without any of it is "bare".
#pragma once
#include "fake.h"

struct served {
    char paths[16][64]; // served now
    unsigned n_paths;
    uint64_t ticket; // of the last response
    unsigned status, n_responses, n_notified, n_renewed, n_requests, n_cancelled;
    char body[512], path[128], type[64];
    uint32_t token;
    bool refuse;
};
static struct served served;

static int fs_request(struct adapter_conn *c, const struct adapter_request *r, uint32_t token, struct error *err)
{
    (void)c;
    if (served.refuse)
        return error_set(err, ERR_LIMIT, "too many requests");
    snprintf(served.path, sizeof(served.path), "%s %.*s", r->method, (int)r->path_len, r->path);
    served.token = token;
    served.n_requests++;
    return 0;
}

static void fs_request_cancel(struct adapter_conn *c, uint32_t token)
{
    (void)c, (void)token;
    served.n_cancelled++;
}

static int fs_serve(struct adapter_conn *c, const char *path, const json_t *attributes, struct error *err)
{
    (void)c, (void)attributes;
    if (path[0] != '/')
        return error_set(err, ERR_INVALID, "a path begins with /");
    assert_true(served.n_paths < 16);
    snprintf(served.paths[served.n_paths++], 64, "%s", path);
    return 0;
}

static void fs_unserve(struct adapter_conn *c, const char *path)
{
    (void)c;
    for (unsigned i = 0; i < served.n_paths; i++)
        if (!strcmp(served.paths[i], path))
            memcpy(served.paths[i], served.paths[--served.n_paths], 64);
}

static int fs_respond(struct adapter_conn *c, uint64_t ticket, const struct adapter_response *r, struct error *err)
{
    (void)c;
    if (ticket == 999)
        return error_set(err, ERR_NOT_FOUND, "the client is gone");
    served.ticket = ticket;
    served.status = r->status;
    served.n_responses++;
    snprintf(served.body, sizeof(served.body), "%.*s", (int)r->payload_len, (const char *)r->payload);
    snprintf(served.type, sizeof(served.type), "%s", r->n_headers ? r->headers[0].value : "");
    return 0;
}

static int fs_notify(struct adapter_conn *c, const char *path, struct error *err)
{
    (void)c, (void)path, (void)err;
    served.n_notified++;
    return 0;
}

static int fs_served_at(struct adapter_conn *c, struct buf *out, struct error *err)
{
    (void)c, (void)err;
    return buf_append_str(out, "fake://here");
}

static int fs_renew(struct adapter_conn *c, struct error *err)
{
    assert_false(c->in_event);
    if (c->state != FAKE_ON)
        return error_set(err, ERR_STATE, "not online");
    served.n_renewed++;
    fake_offline(c, ERR_NONE, true); // inside the call
    return 0;
}

static struct adapter_ops fs_ops, fs_bare_ops;
static const char *const fs_schemes[] = {"serve", NULL};

static inline const struct adapter_ops *fs_find(const char *name)
{
    if (!strcmp(name, "bare")) { // with nothing but what an adapter must have
        fs_bare_ops = fake_ops;
        fs_bare_ops.name = "bare";
        fs_bare_ops.size = ADAPTER_MIN_SIZE;
        return &fs_bare_ops;
    }
    if (strcmp(name, "serve"))
        return fake_find(name);
    fs_ops = fake_ops;
    fs_ops.name = "serve";
    fs_ops.schemes = fs_schemes;
    fs_ops.request = fs_request;
    fs_ops.request_cancel = fs_request_cancel;
    fs_ops.serve = fs_serve;
    fs_ops.unserve = fs_unserve;
    fs_ops.respond = fs_respond;
    fs_ops.notify = fs_notify;
    fs_ops.served_at = fs_served_at;
    fs_ops.conn_renew = fs_renew;
    return &fs_ops;
}

static inline struct fleet_config fs_fleet_config(void)
{
    memset(&served, 0, sizeof(served));
    struct fleet_config c = fake_fleet_config();
    c.find_adapter = fs_find;
    return c;
}

static inline bool fs_serves(const char *path)
{
    for (unsigned i = 0; i < served.n_paths; i++)
        if (!strcmp(served.paths[i], path))
            return true;
    return false;
}

// A client asks.
static inline void fs_ask(struct adapter_conn *c, uint64_t ticket, const char *method, const char *path,
                          const char *body)
{
    struct adapter_request r = {.method = method,
                                .path = path,
                                .path_len = strlen(path),
                                .payload = (const uint8_t *)body,
                                .payload_len = strlen(body)};
    c->in_event = true;
    c->events->on_request(c->owner, ticket, &r);
    c->in_event = false;
}
