// What the generator tests share.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "telemetry/gen.h"

#define SAMPLES 100000

static inline struct gen_spec *try_parse(const char *text, enum value_type type, struct error *err)
{
    json_error_t problem;
    json_t *object = json_loads(text, JSON_DECODE_ANY, &problem);
    assert_non_null(object);
    error_clear(err);
    struct gen_spec *spec = gen_parse(object, type, err);
    json_decref(object);
    return spec;
}

static inline struct gen_spec *parse_ok(const char *text, enum value_type type)
{
    struct error err;
    struct gen_spec *spec = try_parse(text, type, &err);
    if (!spec)
        fail_msg("%s: %s", text, err.text);
    return spec;
}

// A generator that runs: spec, state and rng.
struct run {
    struct gen_spec *spec;
    struct gen_state state;
    struct rng rng;
};

static inline struct run run_new(const char *text, enum value_type type, uint64_t seed)
{
    struct run r = {.spec = parse_ok(text, type)};
    rng_seed(&r.rng, seed);
    gen_init(r.spec, &r.state, &r.rng);
    return r;
}

static inline struct value run_next(struct run *r)
{
    struct value v;
    gen_next(r->spec, &r->state, &r->rng, 0, &v);
    return v;
}

static inline double run_number(struct run *r)
{
    struct value v = run_next(r);
    assert_int_equal(v.type, VALUE_NUMBER);
    return v.number;
}
