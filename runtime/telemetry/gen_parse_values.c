// Generators that give listed values: constant, choice, sequence, step, markov. The values are converted to the
// attribute's type once, here.
#include <math.h>
#include <stdlib.h>
#include "telemetry/gen_parse.h"

#define ONLY UINT32_MAX // instead of an index: the value of a key

static int expected(const struct gen_parse *p, const char *key, unsigned i, const char *what, const json_t *got)
{
    if (i == ONLY)
        return error_set(p->err, ERR_INVALID, "%s: expected %s, got %s", key, what, gen_kind_of(got));
    return error_set(p->err, ERR_INVALID, "%s[%u]: expected %s, got %s", key, i, what, gen_kind_of(got));
}

static int keep_text(struct gen_parse *p, unsigned slot, char *text, size_t *total)
{
    struct value *out = &p->spec->values[slot];
    if (!text)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    p->spec->texts[slot] = text;
    out->str.s = text;
    out->str.n = strlen(text);
    *total += out->str.n;
    if (*total > GEN_MAX_TEXT)
        return error_set(p->err, ERR_LIMIT, "values: more than %u bytes of text in one generator", GEN_MAX_TEXT);
    return 0;
}

static char *json_dump(const json_t *v)
{
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
}

static enum value_type own_type(const json_t *v)
{
    if (json_is_string(v))
        return VALUE_STRING;
    if (json_is_boolean(v))
        return VALUE_BOOLEAN;
    if (json_is_integer(v))
        return VALUE_INTEGER;
    return json_is_real(v) ? VALUE_NUMBER : VALUE_JSON;
}

// values[slot] = v in the declared type. i: its index for messages, or ONLY.
static int convert(struct gen_parse *p, const char *key, unsigned i, const json_t *v, unsigned slot, size_t *total)
{
    struct value *out = &p->spec->values[slot];
    enum value_type type = p->spec->type == VALUE_NULL ? own_type(v) : p->spec->type;
    out->type = json_is_null(v) ? VALUE_NULL : type;
    if (json_is_null(v))
        return 0;
    switch (type) {
    case VALUE_NUMBER:
        if (!json_is_number(v))
            return expected(p, key, i, "a number (the attribute's type is number)", v);
        out->number = json_number_value(v);
        return 0;
    case VALUE_INTEGER:
        if (!json_is_number(v))
            return expected(p, key, i, "a whole number (the attribute's type is integer)", v);
        if (json_is_real(v) && !(fabs(json_real_value(v)) < 0x1p63))
            return expected(p, key, i, "a whole number of at most 64 bits", v);
        out->integer = json_is_integer(v) ? json_integer_value(v) : llrint(json_real_value(v));
        return 0;
    case VALUE_BOOLEAN:
        if (!json_is_boolean(v) && !json_is_number(v))
            return expected(p, key, i, "true or false (the attribute's type is boolean)", v);
        out->boolean = json_is_number(v) ? json_number_value(v) >= 0.5 : json_is_true(v);
        return 0;
    case VALUE_STRING:
        if (json_is_object(v) || json_is_array(v))
            return expected(p, key, i, "a string (the attribute's type is string)", v);
        return keep_text(p, slot, json_is_string(v) ? strdup(json_string_value(v)) : json_dump(v), total);
    case VALUE_BINARY:
        if (!json_is_string(v))
            return expected(p, key, i, "a string whose bytes are the value (the attribute's type is binary)", v);
        return keep_text(p, slot, strdup(json_string_value(v)), total);
    default:
        if (!json_is_object(v) && !json_is_array(v))
            return expected(p, key, i, "an object or an array (as the attribute's type)", v);
        return keep_text(p, slot, json_dump(v), total);
    }
}

static int allocate_values(struct gen_parse *p, size_t n)
{
    p->spec->values = calloc(n, sizeof *p->spec->values);
    p->spec->texts = calloc(n, sizeof *p->spec->texts);
    p->spec->n = (unsigned)n;
    if (!p->spec->values || !p->spec->texts)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    return 0;
}

int gen_read_value(struct gen_parse *p, const char *key)
{
    const json_t *v = json_object_get(p->object, key);
    size_t total = 0;
    if (allocate_values(p, 1) < 0)
        return -1;
    return v ? convert(p, key, ONLY, v, 0, &total) : 0; // calloc made it VALUE_NULL
}

int gen_read_values(struct gen_parse *p, const char *key)
{
    const json_t *list = json_object_get(p->object, key), *v;
    if (!list)
        return error_set(p->err, ERR_INVALID, "%s: missing; a generator of type %s needs a list of values", key,
                         p->type_name);
    if (!json_is_array(list))
        return error_set(p->err, ERR_INVALID, "%s: expected an array, got %s", key, gen_kind_of(list));
    size_t n = json_array_size(list), total = 0;
    if (n == 0)
        return error_set(p->err, ERR_INVALID, "%s: must not be empty", key);
    if (n > GEN_MAX_VALUES)
        return error_set(p->err, ERR_LIMIT, "%s: at most %u elements, there are %zu", key, GEN_MAX_VALUES, n);
    if (allocate_values(p, n) < 0)
        return -1;
    for (unsigned i = 0; i < n; i++) {
        v = json_array_get(list, i);
        if (convert(p, key, i, v, i, &total) < 0)
            return -1;
    }
    return 0;
}

// The bare numbers of a row into cumulative, as their running sum.
static int sum_up(const struct gen_parse *p, const json_t *weights, const char *what, double *cumulative,
                  unsigned *last)
{
    double sum = 0;
    for (unsigned i = 0; i < p->spec->n; i++) {
        const json_t *v = json_array_get(weights, i);
        if (!json_is_number(v))
            return expected(p, what, i, "a number", v);
        double w = json_number_value(v);
        if (!(w >= 0) || !isfinite(w))
            return error_set(p->err, ERR_INVALID, "%s[%u]: must be at least 0, is %g", what, i, w);
        if (w > 0)
            *last = i;
        cumulative[i] = sum += w;
    }
    if (!(sum > 0) || !isfinite(sum))
        return error_set(p->err, ERR_INVALID, "%s: their sum must be above 0 and finite, is %g", what, sum);
    return 0;
}

int gen_read_weights(struct gen_parse *p, const json_t *weights, const char *what, double sum_of, double *cumulative)
{
    unsigned n = p->spec->n, last = 0;
    if (!json_is_array(weights))
        return error_set(p->err, ERR_INVALID, "%s: expected an array, got %s", what, gen_kind_of(weights));
    if (json_array_size(weights) != n)
        return error_set(p->err, ERR_INVALID, "%s: expected one number a value, %u, got %zu", what, n,
                         json_array_size(weights));
    if (sum_up(p, weights, what, cumulative, &last) < 0)
        return -1;
    double sum = cumulative[n - 1];
    if (sum_of > 0 && fabs(sum - sum_of) > 1e-6)
        return error_set(p->err, ERR_INVALID, "%s: the probabilities of a row must sum up to %g, they are %.9g", what,
                         sum_of, sum);
    for (unsigned i = 0; i < n; i++)
        cumulative[i] = i < last ? cumulative[i] / sum : 1; // what has no weight behind the last is never reached
    return 0;
}

int gen_parse_constant(struct gen_parse *p)
{
    p->spec->kind = GEN_CONSTANT;
    p->spec->memoryless = true;
    return gen_read_value(p, "value");
}

int gen_parse_choice(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *weights = json_object_get(p->object, "weights");
    spec->kind = weights ? GEN_CHOICE_WEIGHTED : GEN_CHOICE;
    spec->memoryless = true;
    if (gen_read_values(p, "values") < 0)
        return -1;
    if (!weights)
        return 0;
    spec->cumulative = calloc(spec->n, sizeof *spec->cumulative);
    if (!spec->cumulative)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    return gen_read_weights(p, weights, "weights", 0, spec->cumulative);
}

int gen_parse_step(struct gen_parse *p)
{
    p->spec->kind = GEN_STEP;
    p->spec->memoryless = true;
    return gen_need_period(p, "holdMs", &p->spec->hold_us) < 0 ? -1 : gen_read_values(p, "values");
}

int gen_parse_markov(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *rows = json_object_get(p->object, "transitions");
    unsigned start = 0;
    char what[40];
    spec->kind = GEN_MARKOV;
    if (gen_read_values(p, "states") < 0)
        return -1;
    if (spec->n > GEN_MAX_MARKOV)
        return error_set(p->err, ERR_LIMIT, "states: at most %u, there are %u", GEN_MAX_MARKOV, spec->n);
    if (gen_read_count(p, "start", 0, spec->n - 1, &start) < 0)
        return -1;
    spec->start = start;
    if (!rows)
        return error_set(
            p->err, ERR_INVALID,
            "transitions: missing; a generator of type markov needs a row of probabilities for each state");
    if (!json_is_array(rows) || json_array_size(rows) != spec->n)
        return error_set(p->err, ERR_INVALID, "transitions: expected an array of %u rows, one a state, got %s%zu",
                         spec->n, json_is_array(rows) ? "" : gen_kind_of(rows),
                         json_is_array(rows) ? json_array_size(rows) : 0);
    spec->cumulative = calloc((size_t)spec->n * spec->n, sizeof *spec->cumulative);
    if (!spec->cumulative)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < spec->n; i++) {
        snprintf(what, sizeof what, "transitions[%u]", i);
        if (gen_read_weights(p, json_array_get(rows, i), what, 1, spec->cumulative + (size_t)i * spec->n) < 0)
            return -1;
    }
    return 0;
}

static int parse_list(struct gen_parse *p)
{
    static const char *const keys[] = {"type", "values", "wrap", "direction", "anomalies", NULL};
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_LIST;
    spec->wrap = true;
    if (gen_check_keys(p->object, keys, NULL, p->err) < 0 || gen_read_bool(p, "wrap", &spec->wrap) < 0)
        return -1;
    return gen_read_values(p, "values");
}

// pingpong turns round where it must, so it needs both bounds and cannot wrap.
static int parse_pingpong(struct gen_parse *p, bool has_start)
{
    struct gen_spec *spec = p->spec;
    if (json_object_get(p->object, "wrap"))
        return error_set(p->err, ERR_INVALID,
                         "wrap: direction pingpong turns round at the ends; leave one of them out");
    if (spec->kind == GEN_LIST)
        return 0;
    if (gen_both_bounds(p) < 0)
        return -1;
    if (!has_start)
        spec->start = spec->min;
    return 0;
}

int gen_parse_sequence(struct gen_parse *p)
{
    static const char *const directions[] = {"up", "down", "pingpong", NULL};
    struct gen_spec *spec = p->spec;
    unsigned direction = GEN_UP;
    if (gen_read_word(p, "direction", directions, &direction) < 0)
        return -1;
    spec->direction = (enum gen_direction)direction;
    if (json_object_get(p->object, "values"))
        return parse_list(p) < 0 || (direction == GEN_PINGPONG && parse_pingpong(p, true) < 0) ? -1 : 0;
    spec->kind = GEN_SEQUENCE;
    spec->step = 1;
    int has_start = gen_read_number(p, "start", &spec->start);
    if (has_start < 0 || gen_read_number(p, "step", &spec->step) < 0 || gen_read_bool(p, "wrap", &spec->wrap) < 0 ||
        gen_read_bounds(p) < 0)
        return -1;
    if (direction == GEN_PINGPONG && parse_pingpong(p, has_start) < 0)
        return -1;
    if (direction == GEN_DOWN) {
        spec->step = -spec->step;
        if (!has_start && isfinite(spec->max))
            spec->start = spec->max;
    }
    // The published format does not ask start to lie within the bounds; we go to the nearer one.
    spec->start = fmin(fmax(spec->start, spec->min), spec->max);
    return 0;
}
