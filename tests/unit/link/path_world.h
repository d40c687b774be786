// What the tests of paths share: a loop in virtual time, faults from JSON with single quotes, and ports that measure.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/rng.h"
#include "link/path.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)

struct world {
    struct clock clock;
    struct loop *loop;
    struct path_env *env;
};

static inline void world_create(struct world *w)
{
    memset(w, 0, sizeof *w);
    clock_create_virtual(&w->clock, 0);
    w->loop = loop_new(&w->clock, NULL);
    assert_non_null(w->loop);
    w->env = path_env_new(w->loop, NULL);
    assert_non_null(w->env);
}

static inline int64_t world_now(const struct world *w)
{
    return loop_now_us(w->loop);
}

static inline struct path_totals world_totals(const struct world *w)
{
    struct path_totals totals;
    path_env_totals(w->env, &totals);
    return totals;
}

// The paths must be gone, and nothing may be held any more.
static inline void world_destroy(struct world *w)
{
    struct path_totals totals = world_totals(w);
    assert_int_equal(totals.paths, 0);
    assert_int_equal(totals.held_bytes, 0);
    path_env_delete(w->env);
    loop_delete(w->loop);
}

// Runs for that long, whatever happens.
static inline void world_run(struct world *w, int64_t us)
{
    int64_t until = world_now(w) + us;
    while (world_now(w) < until)
        loop_turn(w->loop, until - world_now(w));
}

#define WORLD_WAIT(w, cond, us)                                                                                        \
    do {                                                                                                               \
        int64_t until_ = world_now(w) + (us);                                                                          \
        while (!(cond) && world_now(w) < until_)                                                                       \
            loop_turn((w)->loop, 10 * MS);                                                                             \
        assert_true(cond);                                                                                             \
    } while (0)

static inline struct fault_spec *spec_of(const char *text)
{
    char json[1024];
    struct error err;
    size_t n = strlen(text);
    assert_true(n < sizeof json);
    for (size_t i = 0; i <= n; i++)
        json[i] = text[i];
    for (size_t i = 0; i < n; i++)
        if (json[i] == '\'')
            json[i] = '"';
    json_t *value = json_loads(json, 0, NULL);
    assert_non_null(value);
    struct fault_spec *spec = fault_spec_parse(value, &err);
    if (!spec)
        print_error("%s: %s\n", json, err.text);
    assert_non_null(spec);
    json_decref(value);
    return spec;
}

static inline void apply(struct path *p, uint64_t number, const char *json)
{
    struct fault_spec *spec = spec_of(json);
    assert_int_equal(path_apply(p, number, spec, NULL), 0);
    fault_spec_release(spec);
}

static inline void change(struct path *p, uint64_t number, const char *json)
{
    struct fault_spec *spec = spec_of(json);
    assert_int_equal(path_change(p, number, spec, NULL), 0);
    fault_spec_release(spec);
}

static const struct path_peer world_peer = {.protocol = "mqtt"};
