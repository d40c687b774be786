// What a target's connections have between socket and adapter. The filters of a connection count on it, so it lives
// until its owner and the last of them are gone.
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "link/mint.h"
#include "link/openssl.h"
#include "link/tls.h"
#include "link/tls_context.h"
#include "link/websocket.h"

int transport_expected(const char *key, const char *what, const json_t *got, struct error *err)
{
    static const char *const kinds[] = {"an object", "a list", "a text", "a number",
                                        "a number",  "true",   "false",  "null"};
    return error_set(err, ERR_INVALID, "%s: expected %s, got %s", key, what, got ? kinds[json_typeof(got)] : "nothing");
}

int transport_check_keys(const json_t *options, const char *prefix, const char *const *valid, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)options, key, value)
    {
        bool known = false;
        for (const char *const *v = valid; *v; v++)
            known |= strcmp(key, *v) == 0;
        if (!known) {
            char what[64];
            snprintf(what, sizeof what, "option %s", prefix);
            what[strlen(what) - 1] = '\0'; // its dot
            return error_unknown(err, what, key, valid);
        }
    }
    return 0;
}

struct transport *transport_ref(struct transport *t)
{
    t->refs++;
    return t;
}

void transport_delete(struct transport *t)
{
    if (!t || --t->refs)
        return;
    tls_context_delete(t->tls);
    websocket_delete(t->ws);
    free(t->plain_in);
    free(t->masked_out);
    free(t->host);
    free(t);
}

static int set_up(struct transport *t, const struct transport_config *config, struct error *err)
{
    t->refs = 1;
    t->loop = config->loop;
    t->port = config->port;
    t->credential = config->credential;
    t->tls_latency = config->tls_latency;
    t->tls_resumed = config->tls_resumed;
    t->tls_full = config->tls_full;
    t->host = strdup(config->host ? config->host : "");
    t->plain_in = config->tls ? malloc(SCRATCH_BYTES) : NULL;
    t->masked_out = config->websocket ? malloc(SCRATCH_BYTES) : NULL;
    if (!t->host || (config->tls && !t->plain_in) || (config->websocket && !t->masked_out))
        return error_set(err, ERR_NO_MEMORY, "no memory for a transport");
    // Options of a layer that is not there are a mistake, not decoration.
    if (!config->tls && config->tls_options && !json_is_null(config->tls_options))
        return error_set(err, ERR_INVALID, "options `tls` need a URL with TLS (mqtts, wss …)");
    if (!config->websocket && config->ws_options && !json_is_null(config->ws_options))
        return error_set(err, ERR_INVALID, "options `websocket` need a URL with WebSocket (ws, wss)");
    if (config->tls && !(t->tls = tls_context_new(t, config, err)))
        return -1;
    if (config->websocket && !(t->ws = websocket_new(t, config, err)))
        return -1;
    return 0;
}

struct transport *transport_new(const struct transport_config *config, struct error *err)
{
    struct transport *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a transport");
        return NULL;
    }
    if (set_up(t, config, err) == 0)
        return t;
    transport_delete(t);
    return NULL;
}

int transport_push(struct transport *t, struct link *link, struct transport_memory *memory, void *owner,
                   struct error *err)
{
    struct link_filter *tls = NULL, *ws = NULL;
    if (t->tls && !(tls = tls_filter_new(t, memory, owner, err)))
        return -1;
    if (t->ws && !(ws = websocket_filter_new(t, err))) {
        if (tls)
            tls->type->destroy(tls);
        return -1;
    }
    if (tls)
        link_filter_push(link, tls);
    if (ws)
        link_filter_push(link, ws);
    return 0;
}

void transport_forget(struct transport_memory *memory)
{
    SSL_SESSION_free(memory->session);
    free(memory->minted);
    *memory = (struct transport_memory){0};
}

size_t transport_memory_footprint(const struct transport_memory *memory)
{
    size_t n = minted_footprint(memory->minted);
    // Its encoding is most of what the session holds; the object around it is about 1 KB.
    if (memory->session)
        n += 1024 + (size_t)i2d_SSL_SESSION(memory->session, NULL);
    return n;
}

size_t transport_footprint(const struct link *link)
{
    return link_filters_footprint(link);
}
