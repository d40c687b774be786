// A device's bad network for tests of adapters: faults from JSON with single quotes.
#pragma once
#include "link/path.h"

#define NET_MS ((int64_t)1000)

struct net {
    struct loop *loop;
    struct path_env *env;
    struct path *path;
};

static inline void net_create(struct net *n, struct loop *loop)
{
    struct error err;
    n->loop = loop;
    assert_non_null(n->env = path_env_new(loop, &err));
    assert_non_null(n->path = path_new(n->env, 4711, &err));
}

// After what used it, before its links' environment.
static inline void net_destroy(struct net *n)
{
    path_release(n->path);
    path_env_delete(n->env);
}

static inline void net_fault(struct net *n, uint64_t number, const char *text)
{
    char json[512];
    struct error err;
    size_t i = 0;
    for (; text[i] && i < sizeof json - 1; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    json[i] = '\0';
    json_t *value = json_loads(json, 0, NULL);
    struct fault_spec *spec = value ? fault_spec_parse(value, &err) : NULL;
    if (!spec)
        fail_msg("%s: %s", json, value ? err.text : "no JSON");
    json_decref(value);
    assert_int_equal(path_apply(n->path, number, spec, &err), 0);
    fault_spec_release(spec);
}

static inline void net_heal(struct net *n, uint64_t number)
{
    assert_true(path_remove(n->path, number));
}

static inline struct path_totals net_totals(const struct net *n)
{
    struct path_totals totals;
    path_env_totals(n->env, &totals);
    return totals;
}

static inline int64_t net_now(const struct net *n)
{
    return loop_fresh_us(n->loop);
}

// For that long, whatever happens.
static inline void net_run(const struct net *n, int64_t us)
{
    int64_t until = net_now(n) + us;
    while (net_now(n) < until)
        loop_turn(n->loop, until - net_now(n));
}
