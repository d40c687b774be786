// Reading a `generator` object: what the gen_parse_*.c share. Private to the room. Every function returns 0 or -1 with
// err naming the field, what is wrong and what is valid; those that read an optional key return 1 when it is there.
#pragma once
#include <string.h>
#include "telemetry/gen_spec.h"

struct gen_parse {
    const json_t *object;
    const char *type_name; // "uniform" ...
    struct gen_spec *spec;
    const struct gen_env *env; // never NULL
    unsigned depth;            // generators around this one
    struct error *err;
};

// gen_parse.c: a generator within another. samples NULL: a plain one.
struct gen_spec *gen_parse_inner(const struct gen_parse *outer, const json_t *generator, enum value_type type,
                                 const char *attribute);

// gen_read.c
const char *gen_kind_of(const json_t *v); // "a string"
// also: further keys that are taken, but not told; may be NULL.
int gen_check_keys(const json_t *object, const char *const *keys, const char *const *also, struct error *err);
int gen_read_number(const struct gen_parse *p, const char *key, double *out);
int gen_need_number(const struct gen_parse *p, const char *key, double *out);
int gen_need_positive(const struct gen_parse *p, const char *key, double *out);
int gen_read_not_negative(const struct gen_parse *p, const char *key, double *out);
// A number in [low,high].
int gen_read_within(const struct gen_parse *p, const char *key, double low, double high, double *out);
// A whole number in [low,high].
int gen_read_count(const struct gen_parse *p, const char *key, unsigned low, unsigned high, unsigned *out);
int gen_read_bool(const struct gen_parse *p, const char *key, bool *out);
// Milliseconds as microseconds: a fraction is rounded to one.
int gen_read_ms(const struct gen_parse *p, const char *key, int64_t *out_us);
int gen_need_period(const struct gen_parse *p, const char *key, int64_t *out_us); // > 0
// The number of the word in words; out stays when the key is missing.
int gen_read_word(const struct gen_parse *p, const char *key, const char *const *words, unsigned *out);
// min and max where they are, their order, and for whole numbers moved to whole numbers.
int gen_read_bounds(struct gen_parse *p);
int gen_both_bounds(struct gen_parse *p); // as above, and both must be there and their distance finite
// The list at `key` as values in the declared type.
int gen_read_values(struct gen_parse *p, const char *key);
// The only value, spec->values[0]; null without the key.
int gen_read_value(struct gen_parse *p, const char *key);
// n numbers >= 0 summed up to 1 into cumulative. what: "weights" or "transitions[3]".
int gen_read_weights(struct gen_parse *p, const json_t *weights, const char *what, double sum_of, double *cumulative);

// One function a type, in gen_parse_*.c
int gen_parse_uniform(struct gen_parse *p);
int gen_parse_normal(struct gen_parse *p);
int gen_parse_exponential(struct gen_parse *p);
int gen_parse_lognormal(struct gen_parse *p);
int gen_parse_poisson(struct gen_parse *p);
int gen_parse_weibull(struct gen_parse *p);
int gen_parse_random(struct gen_parse *p);
int gen_parse_walk(struct gen_parse *p);
int gen_parse_ou(struct gen_parse *p);
int gen_parse_sine(struct gen_parse *p);
int gen_parse_seasonal(struct gen_parse *p);
int gen_parse_square(struct gen_parse *p);
int gen_parse_saw(struct gen_parse *p);
int gen_parse_triangle(struct gen_parse *p);
int gen_parse_step(struct gen_parse *p);
int gen_parse_sequence(struct gen_parse *p);
int gen_parse_constant(struct gen_parse *p);
int gen_parse_choice(struct gen_parse *p);
int gen_parse_markov(struct gen_parse *p);
int gen_parse_correlated(struct gen_parse *p);
int gen_parse_custom(struct gen_parse *p);
int gen_parse_replay(struct gen_parse *p);
int gen_parse_gps(struct gen_parse *p);
int gen_parse_object(struct gen_parse *p);
int gen_parse_array(struct gen_parse *p);
// The anomalies of any type; numeric: the generator makes numbers.
int gen_parse_anomalies(struct gen_parse *p, bool numeric);
extern const char *const gen_anomaly_keys[];
extern const char *const gen_daily_keys[];
