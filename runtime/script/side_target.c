#include "script/side_target.h"
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/rng.h"

enum { BUCKETS = 1024 };

struct table {
    struct side_shared *buckets[BUCKETS];
    unsigned n, unused;
};

struct side_cache {
    struct table targets, identities;
};

bool side_cache_new(struct scenario *s)
{
    s->side_cache = calloc(1, sizeof *s->side_cache);
    return s->side_cache != NULL;
}

static struct side_shared **place(struct table *t, const char *key)
{
    return &t->buckets[hash_bytes(key, strlen(key), 1) % BUCKETS];
}

static struct side_shared *take(struct table *t, const char *key)
{
    for (struct side_shared *e = *place(t, key); e; e = e->next)
        if (!strcmp(e->key, key)) {
            t->unused -= !e->users++;
            return e;
        }
    return NULL;
}

// The key is taken over.
static void add(struct table *t, struct side_shared *e, char *key)
{
    struct side_shared **at = place(t, key);
    *e = (struct side_shared){.next = *at, .key = key, .users = 1};
    *at = e;
    t->n++;
}

static void release(struct table *t, struct side_shared *e)
{
    t->unused += !--e->users;
}

static char *key_of(const struct group *g, const char *text, struct error *err)
{
    char *key = NULL;
    if (asprintf(&key, "%u %s", g->config.number, text) >= 0)
        return key;
    error_set(err, ERR_NO_MEMORY, "no memory for a connection");
    return NULL;
}

static void target_free(struct side_shared *e)
{
    struct side_target *t = container_of(e, struct side_target, shared);
    if (t->target)
        t->adapter->target_delete(t->target);
    free(t->url);
    free(t);
}

static void identity_free(struct side_shared *e)
{
    struct side_identity *i = container_of(e, struct side_identity, shared);
    credentials_delete(i->own);
    credentials_delete(i->will);
    free(i);
}

static void sweep(struct table *t, void (*entry_free)(struct side_shared *e), bool all)
{
    for (unsigned b = 0; b < BUCKETS && (all || t->unused); b++)
        for (struct side_shared **at = &t->buckets[b]; *at;) {
            struct side_shared *e = *at;
            if (e->users && !all) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            explicit_bzero(e->key, strlen(e->key)); // of an identity it has the password
            free(e->key);
            entry_free(e);
            t->n--;
        }
    t->unused = 0;
}

void side_cache_trim(struct scenario *s)
{
    if (s->side_cache->targets.unused > SIDE_TARGETS_MAX)
        sweep(&s->side_cache->targets, target_free, false);
    if (s->side_cache->identities.unused > SIDE_TARGETS_MAX)
        sweep(&s->side_cache->identities, identity_free, false);
}

void side_cache_delete(struct scenario *s)
{
    if (!s->side_cache)
        return;
    sweep(&s->side_cache->targets, target_free, true);
    sweep(&s->side_cache->identities, identity_free, true);
    free(s->side_cache);
    s->side_cache = NULL;
}

// --- targets --------------------------------------------------------------------------------------------------------

static const char *embedded_url(struct scenario *s, const char *scheme, struct error *err)
{
    const char *url = json_string_value(json_object_get(json_object_get(s->plan, "embedded_urls"), scheme));
    if (!url)
        error_set(err, ERR_NOT_FOUND,
                  "the run has no embedded %s target: only what the scenario file itself mentions is started; make the "
                  "connection outside of the behaviour",
                  scheme);
    return url;
}

// "wss" of "wss://host"; the protocol where there is no scheme. Where behind "://embedded" the URL goes on, or NULL: it
// goes elsewhere.
static const char *look_at_url(const char *url, const char *protocol, char scheme[32])
{
    static const char host[] = "://embedded";
    const char *sep = strstr(url, "://");
    snprintf(scheme, 32, "%.*s", sep ? (int)(sep - url) : 31, sep ? url : protocol);
    if (!sep || strncmp(sep, host, sizeof host - 1))
        return NULL;
    const char *rest = sep + sizeof host - 1;
    return !*rest || *rest == '/' || *rest == '?' ? rest : NULL;
}

// What is dialled: the scenario's target where the connection names none, and the run's own for the host `embedded`.
static char *resolve_url(struct scenario *s, const char *protocol, const char *url, bool *embedded, struct error *err)
{
    char plain[48], scheme[32], *out = NULL;
    snprintf(plain, sizeof plain, "%.30s://embedded", protocol);
    if (!url)
        url = json_string_value(json_object_get(s->plan, strcmp(protocol, "mqtt") ? protocol : "broker"));
    if (!url || !strcmp(url, "embedded"))
        url = plain;
    const char *rest = look_at_url(url, protocol, scheme);
    *embedded = rest != NULL;
    const char *base = rest ? embedded_url(s, scheme, err) : url;
    if (!base)
        return NULL;
    if (asprintf(&out, "%s%s", base, rest ? rest : "") >= 0)
        return out;
    error_set(err, ERR_NO_MEMORY, "no memory for a URL");
    return NULL;
}

// The run's CA where an embedded target speaks TLS and nobody says whom to trust; a shard's share of a connect rate.
static int complete_options(struct scenario *s, const struct group *g, bool embedded, json_t *options)
{
    const json_t *ca = json_object_get(s->plan, "embedded_ca");
    uint64_t of = g->config.count, n = g->owned;
    double rate = json_number_value(json_object_get(options, "connectRate"));
    if (rate > 0 && n && n < of &&
        json_object_set_new(options, "connectRate", json_real(rate * (double)n / (double)of)))
        return -1;
    if (!embedded || !ca)
        return 0;
    json_t *tls = json_object_get(options, "tls");
    if (tls)
        return json_object_get(tls, "ca") ? 0 : json_object_set(tls, "ca", (json_t *)ca);
    return json_object_set_new(options, "tls", json_pack("{s:O}", "ca", ca));
}

static bool speaks_tls(const char *url)
{
    static const char *const schemes[] = {"mqtts:", "wss:", "https:", "coaps:", "coaps+tcp:"};
    for (unsigned i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (!strncmp(url, schemes[i], strlen(schemes[i])))
            return true;
    return false;
}

static int fill_target(struct scenario *s, const struct group *g, const json_t *doc, struct side_target *t,
                       struct error *err)
{
    const char *protocol = json_string_value(json_object_get(doc, "protocol"));
    const char *url = json_string_value(json_object_get(doc, "url"));
    json_t *options = json_object_get(doc, "options");
    bool embedded = false;
    char scheme[32];
    t->url = resolve_url(s, protocol, url, &embedded, err);
    if (!t->url)
        return -1;
    look_at_url(t->url, protocol, scheme);
    t->adapter = fleet_adapter(s->fleet, scheme, err);
    if (!t->adapter)
        return -1;
    if (complete_options(s, g, embedded && speaks_tls(t->url), options))
        return error_set(err, ERR_NO_MEMORY, "no memory for a connection");
    t->target = t->adapter->target_new(fleet_env(s->fleet), t->url, options, g->config.name, err);
    return t->target ? 0 : -1;
}

struct side_target *side_target_get(struct scenario *s, const struct group *g, const char *text, struct error *err)
{
    char *key = key_of(g, text, err);
    struct side_shared *known = key ? take(&s->side_cache->targets, key) : NULL;
    if (!key || known) {
        free(key);
        return known ? container_of(known, struct side_target, shared) : NULL;
    }
    struct side_target *t = NULL;
    json_t *doc = NULL;
    if (s->side_cache->targets.n >= SIDE_TARGETS_ALL)
        error_set(err, ERR_LIMIT, "a shard has at most %d targets of dev:open at a time", SIDE_TARGETS_ALL);
    else
        doc = json_parse(text, strlen(text), "connection", err);
    if (doc && !(t = calloc(1, sizeof *t)))
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
    if (t && fill_target(s, g, doc, t, err)) {
        target_free(&t->shared);
        t = NULL;
    }
    json_decref(doc);
    if (t)
        add(&s->side_cache->targets, &t->shared, key);
    else
        free(key);
    return t;
}

void side_target_release(struct scenario *s, struct side_target *t)
{
    if (t)
        release(&s->side_cache->targets, &t->shared);
}

// --- credentials ----------------------------------------------------------------------------------------------------

static int fill_identity(const struct group *g, json_t *doc, const struct adapter_ops *adapter, struct side_identity *i,
                         struct error *err)
{
    const json_t *will = json_object_get(doc, "will");
    if (json_is_object(will)) {
        json_t *as = json_pack("{s:O, s:O}", "username", json_object_get(will, "topic"), "password",
                               json_object_get(will, "payload"));
        i->will = credentials_new(as, g->config.data, false, err);
        json_decref(as);
        if (!i->will)
            return error_prefix(err, "will");
    }
    json_object_del(doc, "will");
    if (!json_object_size(doc))
        return 0;
    i->own = credentials_new(doc, g->config.data, strcmp(adapter->name, "mqtt") != 0, err);
    return i->own || err->code == ERR_NONE ? 0 : -1;
}

struct side_identity *side_identity_get(struct scenario *s, const struct group *g, const char *text,
                                        const struct adapter_ops *adapter, struct error *err)
{
    char *key = key_of(g, text, err);
    struct side_shared *known = key ? take(&s->side_cache->identities, key) : NULL;
    if (!key || known) {
        free(key);
        return known ? container_of(known, struct side_identity, shared) : NULL;
    }
    struct side_identity *i = calloc(1, sizeof *i);
    json_t *doc = i ? json_parse(text, strlen(text), "credentials", err) : NULL;
    if (!i)
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
    if (i && (!doc || fill_identity(g, doc, adapter, i, err))) {
        identity_free(&i->shared);
        i = NULL;
    }
    json_decref(doc);
    if (i)
        add(&s->side_cache->identities, &i->shared, key);
    else
        free(key);
    return i;
}

int side_check(const struct group *g, const struct side_target *t, const struct side_identity *i, struct error *err)
{
    if (!ADAPTER_HAS(t->adapter, target_check))
        return 0;
    // The pre-shared key of the device's own connection is not meant for every other protocol that it speaks.
    const uint32_t psk = 1u << FIELD_PSK_IDENTITY | 1u << FIELD_PSK_KEY;
    return t->adapter->target_check(t->target, i->own ? credentials_mask(i->own) : group_fields(g) & ~psk, err);
}

void side_identity_release(struct scenario *s, struct side_identity *i)
{
    if (i)
        release(&s->side_cache->identities, &i->shared);
}
