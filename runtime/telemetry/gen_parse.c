// From a `generator` object to a gen_spec. Each type lists its keys; what it does not list is an error that names the
// valid ones, so that a typo never turns into a default. random, sequence and constant share one list, because the
// published format let them (its schema was flat), and its files must load unchanged.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/buf.h"
#include "core/units.h"
#include "telemetry/gen_spec.h"

struct parse {
    const json_t *object;
    const char *type_name; // "uniform" ...
    struct gen_spec *spec;
    struct error *err;
};

struct kind {
    const char *name;
    const char *const *keys; // what it takes, for the check and for messages
    int (*parse)(struct parse *p);
    bool makes_numbers; // only numbers: not for binary, object and array
};

static int parse_uniform(struct parse *p);
static int parse_normal(struct parse *p);
static int parse_exponential(struct parse *p);
static int parse_walk(struct parse *p);
static int parse_sequence(struct parse *p);
static int parse_constant(struct parse *p);
static int parse_choice(struct parse *p);
static int parse_random(struct parse *p);

static const char *const keys_uniform[] = {"type", "min", "max", NULL};
static const char *const keys_normal[] = {"type", "mean", "stddev", "min", "max", NULL};
static const char *const keys_exponential[] = {"type", "rate", "mean", "min", "max", NULL};
static const char *const keys_walk[] = {"type", "start", "step", "min", "max", NULL};
static const char *const keys_choice[] = {"type", "values", "weights", NULL};
static const char *const keys_sequence[] = {"type",     "start",      "step",         "min",    "max",    "wrap",
                                            "values",   "value",      "distribution", "mean",   "stddev", "rate",
                                            "dataFile", "loopReplay", "handler",      "params", NULL};
static const char *const keys_published[] = {
    "type", "min",  "max",   "distribution", "mean",       "stddev",  "rate",   "start",
    "step", "wrap", "value", "dataFile",     "loopReplay", "handler", "params", NULL};

static const struct kind kinds[] = {
    {"uniform", keys_uniform, parse_uniform, true},
    {"normal", keys_normal, parse_normal, true},
    {"exponential", keys_exponential, parse_exponential, true},
    {"walk", keys_walk, parse_walk, true},
    {"sequence", keys_sequence, parse_sequence, false},
    {"constant", keys_published, parse_constant, false},
    {"choice", keys_choice, parse_choice, false},
    {"random", keys_published, parse_random, true},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static const char *const type_names[] = {"uniform",  "normal", "exponential", "walk", "sequence",
                                         "constant", "choice", "random",      NULL};
_Static_assert(sizeof type_names / sizeof type_names[0] == N_KINDS + 1, "one name a kind");

const char *const *gen_type_names(void)
{
    return type_names;
}

static const char *kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

// "a, b, c" of a NULL-terminated list, cut when it does not fit.
static const char *join(const char *const *names, char *dst, size_t size)
{
    size_t used = 0;
    dst[0] = '\0';
    for (; *names; names++) {
        size_t n = strlen(*names), separator = used ? 2 : 0;
        if (used + separator + n + 1 > size)
            break;
        memcpy(dst + used, ", ", separator);
        memcpy(dst + used + separator, *names, n + 1);
        used += separator + n;
    }
    return dst;
}

// `X; valid: a, b; did you mean "b"?` as an error.
static int error_unknown(struct error *err, const char *what, const char *word, const char *const *valid)
{
    char list[256];
    const char *near = suggest(word, valid);
    if (near)
        return error_set(err, ERR_INVALID, "%s \"%.64s\"; valid: %s; did you mean \"%s\"?", what, word,
                         join(valid, list, sizeof list), near);
    return error_set(err, ERR_INVALID, "%s \"%.64s\"; valid: %s", what, word, join(valid, list, sizeof list));
}

static int check_keys(const struct parse *p, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)p->object, key, value)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return error_unknown(p->err, "unknown key", key, keys);
    }
    return 0;
}

// Reads a number. Returns 1 when it is there, 0 when not (out unchanged), -1 on a wrong type.
static int optional_number(const struct parse *p, const char *key, double *out)
{
    const json_t *v = json_object_get(p->object, key);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return error_set(p->err, ERR_INVALID, "%s: expected a number, got %s", key, kind_of(v));
    double x = json_number_value(v);
    if (!isfinite(x))
        return error_set(p->err, ERR_INVALID, "%s: expected a finite number", key);
    *out = x;
    return 1;
}

static int required_number(const struct parse *p, const char *key, double *out)
{
    int got = optional_number(p, key, out);
    if (got == 0)
        return error_set(p->err, ERR_INVALID, "%s: missing; a generator of type %s needs a number here", key,
                         p->type_name);
    return got < 0 ? -1 : 0;
}

static int optional_bool(const struct parse *p, const char *key, bool *out)
{
    const json_t *v = json_object_get(p->object, key);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return error_set(p->err, ERR_INVALID, "%s: expected true or false, got %s", key, kind_of(v));
    *out = json_is_true(v);
    return 0;
}

// Reads min and max where they are, checks their order, and for whole numbers moves them to whole numbers.
static int read_bounds(struct parse *p)
{
    struct gen_spec *spec = p->spec;
    if (optional_number(p, "min", &spec->min) < 0 || optional_number(p, "max", &spec->max) < 0)
        return -1;
    if (spec->min > spec->max)
        return error_set(p->err, ERR_INVALID, "min: must be at most max (%g), is %g", spec->max, spec->min);
    if (spec->type != VALUE_INTEGER)
        return 0;
    double low = ceil(spec->min), high = floor(spec->max);
    if (low > high)
        return error_set(p->err, ERR_INVALID,
                         "min: no whole number lies between min %g and max %g, and the type is integer", spec->min,
                         spec->max);
    spec->min = low;
    spec->max = high;
    return 0;
}

static int check_stddev(const struct parse *p)
{
    if (p->spec->stddev < 0)
        return error_set(p->err, ERR_INVALID, "stddev: must be at least 0, is %g", p->spec->stddev);
    return 0;
}

// Bounds are set; chooses the kind.
static int finish_uniform(struct parse *p)
{
    struct gen_spec *spec = p->spec;
    if (!isfinite(spec->max - spec->min))
        return error_set(p->err, ERR_INVALID, "max: the range from min %g to max %g is too large", spec->min,
                         spec->max);
    spec->kind = GEN_UNIFORM;
    if (spec->type != VALUE_INTEGER)
        return 0;
    if (spec->min < -0x1p63 || spec->max >= 0x1p63)
        return error_set(p->err, ERR_INVALID, "max: whole numbers lie within 64 bits, the bounds are %g and %g",
                         spec->min, spec->max);
    spec->kind = GEN_UNIFORM_INTEGER;
    spec->ilow = (int64_t)spec->min;
    spec->icount = (uint64_t)(int64_t)spec->max - (uint64_t)spec->ilow + 1; // 0: all 2^64
    return 0;
}

static int parse_uniform(struct parse *p)
{
    double ignored;
    if (required_number(p, "min", &ignored) < 0 || required_number(p, "max", &ignored) < 0 || read_bounds(p) < 0)
        return -1;
    return finish_uniform(p);
}

static int parse_normal(struct parse *p)
{
    p->spec->kind = GEN_NORMAL;
    if (required_number(p, "mean", &p->spec->mean) < 0 || required_number(p, "stddev", &p->spec->stddev) < 0)
        return -1;
    return check_stddev(p) < 0 ? -1 : read_bounds(p);
}

// rate or mean, whichever is there, as spec->mean. Returns 1 when one was there, 0 when none.
static int read_rate(struct parse *p, bool both_allowed)
{
    double rate = 0;
    int has_mean = optional_number(p, "mean", &p->spec->mean);
    int has_rate = optional_number(p, "rate", &rate);
    if (has_mean < 0 || has_rate < 0)
        return -1;
    if (has_mean && has_rate && !both_allowed)
        return error_set(p->err, ERR_INVALID, "rate: give either rate or mean (which is 1/rate), not both");
    if (has_rate && !(rate > 0))
        return error_set(p->err, ERR_INVALID, "rate: must be above 0, is %g", rate);
    if (has_mean && !has_rate && !(p->spec->mean > 0))
        return error_set(p->err, ERR_INVALID, "mean: must be above 0 for an exponential distribution, is %g",
                         p->spec->mean);
    if (has_rate)
        p->spec->mean = 1 / rate;
    if (!isfinite(p->spec->mean))
        return error_set(p->err, ERR_INVALID, "rate: %g is too small", rate);
    return has_rate || has_mean;
}

static int parse_exponential(struct parse *p)
{
    p->spec->kind = GEN_EXPONENTIAL;
    int got = read_rate(p, false);
    if (got < 0 || read_bounds(p) < 0)
        return -1;
    if (got == 0)
        return error_set(p->err, ERR_INVALID,
                         "rate: missing; a generator of type exponential needs rate, or mean which is 1/rate");
    p->spec->start = isfinite(p->spec->min) ? p->spec->min : 0;
    return 0;
}

static int parse_walk(struct parse *p)
{
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_WALK;
    if (required_number(p, "step", &spec->step) < 0 || read_bounds(p) < 0)
        return -1;
    if (!(spec->step > 0))
        return error_set(p->err, ERR_INVALID, "step: must be above 0, is %g", spec->step);
    int has_start = optional_number(p, "start", &spec->start);
    if (has_start < 0)
        return -1;
    if (has_start && (spec->start < spec->min || spec->start > spec->max))
        return error_set(p->err, ERR_INVALID, "start: must lie between min %g and max %g, is %g", spec->min, spec->max,
                         spec->start);
    if (has_start)
        return 0;
    if (isfinite(spec->min) && isfinite(spec->max))
        spec->start = spec->min + (spec->max - spec->min) / 2;
    else if (isfinite(spec->min) || isfinite(spec->max))
        spec->start = isfinite(spec->min) ? spec->min : spec->max;
    return 0;
}

static int expected(const struct parse *p, const char *key, unsigned i, const char *what, const json_t *got)
{
    if (i == UINT32_MAX)
        return error_set(p->err, ERR_INVALID, "%s: expected %s, got %s", key, what, kind_of(got));
    return error_set(p->err, ERR_INVALID, "%s[%u]: expected %s, got %s", key, i, what, kind_of(got));
}

static int keep_text(struct parse *p, unsigned slot, char *text, size_t *total)
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

static char *json_text(const json_t *v)
{
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
}

// values[slot] = v in the declared type. i: its index for messages, UINT32_MAX for the only one.
static int convert(struct parse *p, const char *key, unsigned i, const json_t *v, unsigned slot, size_t *total)
{
    struct value *out = &p->spec->values[slot];
    enum value_type type = p->spec->type;
    if (type == VALUE_NULL) // undeclared: its own type
        type = json_is_string(v)    ? VALUE_STRING
               : json_is_boolean(v) ? VALUE_BOOLEAN
               : json_is_integer(v) ? VALUE_INTEGER
               : json_is_real(v)    ? VALUE_NUMBER
                                    : VALUE_JSON;
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
        return keep_text(p, slot, json_is_string(v) ? strdup(json_string_value(v)) : json_text(v), total);
    case VALUE_BINARY:
        if (!json_is_string(v))
            return expected(p, key, i, "a string whose bytes are the value (the attribute's type is binary)", v);
        return keep_text(p, slot, strdup(json_string_value(v)), total);
    default:
        if (!json_is_object(v) && !json_is_array(v))
            return expected(p, key, i, "an object or an array (as the attribute's type)", v);
        return keep_text(p, slot, json_text(v), total);
    }
}

static int allocate_values(struct parse *p, size_t n)
{
    p->spec->values = calloc(n, sizeof *p->spec->values);
    p->spec->texts = calloc(n, sizeof *p->spec->texts);
    p->spec->n = (unsigned)n;
    if (!p->spec->values || !p->spec->texts)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    return 0;
}

static int read_values(struct parse *p)
{
    const json_t *list = json_object_get(p->object, "values"), *v;
    if (!list)
        return error_set(p->err, ERR_INVALID, "values: missing; a generator of type %s needs a list of values",
                         p->type_name);
    if (!json_is_array(list))
        return error_set(p->err, ERR_INVALID, "values: expected an array, got %s", kind_of(list));
    size_t n = json_array_size(list), i, total = 0;
    if (n == 0)
        return error_set(p->err, ERR_INVALID, "values: must not be empty");
    if (n > GEN_MAX_VALUES)
        return error_set(p->err, ERR_LIMIT, "values: at most %u elements, there are %zu", GEN_MAX_VALUES, n);
    if (allocate_values(p, n) < 0)
        return -1;
    json_array_foreach((json_t *)list, i,
                       v) if (convert(p, "values", (unsigned)i, v, (unsigned)i, &total) < 0) return -1;
    return 0;
}

static int parse_sequence(struct parse *p)
{
    struct gen_spec *spec = p->spec;
    if (json_object_get(p->object, "values")) {
        static const char *const keys_list[] = {"type", "values", "wrap", NULL};
        spec->kind = GEN_LIST;
        spec->wrap = true;
        return check_keys(p, keys_list) < 0 || optional_bool(p, "wrap", &spec->wrap) < 0 ? -1 : read_values(p);
    }
    spec->kind = GEN_SEQUENCE;
    spec->step = 1;
    if (optional_number(p, "start", &spec->start) < 0 || optional_number(p, "step", &spec->step) < 0 ||
        optional_bool(p, "wrap", &spec->wrap) < 0 || read_bounds(p) < 0)
        return -1;
    // The published format does not ask start to lie within the bounds; we go to the nearer one.
    spec->start = fmin(fmax(spec->start, spec->min), spec->max);
    return 0;
}

static int parse_constant(struct parse *p)
{
    const json_t *v = json_object_get(p->object, "value");
    size_t total = 0;
    p->spec->kind = GEN_CONSTANT;
    if (allocate_values(p, 1) < 0)
        return -1;
    return v ? convert(p, "value", UINT32_MAX, v, 0, &total) : 0; // calloc made it VALUE_NULL
}

static int read_weights(struct parse *p, const json_t *weights)
{
    struct gen_spec *spec = p->spec;
    size_t i;
    const json_t *v;
    if (!json_is_array(weights))
        return error_set(p->err, ERR_INVALID, "weights: expected an array, got %s", kind_of(weights));
    if (json_array_size(weights) != spec->n)
        return error_set(p->err, ERR_INVALID, "weights: expected one weight a value, %u, got %zu", spec->n,
                         json_array_size(weights));
    spec->cumulative = calloc(spec->n, sizeof *spec->cumulative);
    if (!spec->cumulative)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    double sum = 0;
    json_array_foreach((json_t *)weights, i, v)
    {
        if (!json_is_number(v))
            return expected(p, "weights", (unsigned)i, "a number", v);
        double w = json_number_value(v);
        if (!(w >= 0) || !isfinite(w))
            return error_set(p->err, ERR_INVALID, "weights[%zu]: must be at least 0, is %g", i, w);
        if (w > 0)
            spec->last = (unsigned)i;
        spec->cumulative[i] = sum += w;
    }
    if (!(sum > 0) || !isfinite(sum))
        return error_set(p->err, ERR_INVALID, "weights: their sum must be above 0 and finite, is %g", sum);
    return 0;
}

static int parse_choice(struct parse *p)
{
    const json_t *weights = json_object_get(p->object, "weights");
    if (read_values(p) < 0)
        return -1;
    p->spec->kind = weights ? GEN_CHOICE_WEIGHTED : GEN_CHOICE;
    return weights ? read_weights(p, weights) : 0;
}

static int random_normal(struct parse *p, double low, double high)
{
    struct gen_spec *spec = p->spec;
    spec->kind = GEN_NORMAL;
    spec->mean = low + (high - low) / 2;
    spec->stddev = (high - low) / 6;
    if (optional_number(p, "mean", &spec->mean) < 0 || optional_number(p, "stddev", &spec->stddev) < 0)
        return -1;
    return check_stddev(p);
}

// random: defaults as the published format has them.
static int parse_random(struct parse *p)
{
    static const char *const distributions[] = {"uniform", "normal", "exponential", NULL};
    struct gen_spec *spec = p->spec;
    const json_t *v = json_object_get(p->object, "distribution");
    if (v && !json_is_string(v))
        return error_set(p->err, ERR_INVALID, "distribution: expected a string (uniform, normal, exponential), got %s",
                         kind_of(v));
    const char *name = v ? json_string_value(v) : "uniform";
    if (read_bounds(p) < 0)
        return -1;
    double low = isfinite(spec->min) ? spec->min : fmin(0, spec->max);
    double high = isfinite(spec->max) ? spec->max : fmax(spec->type == VALUE_BOOLEAN ? 1 : 100, spec->min);
    if (strcmp(name, "uniform") == 0) {
        spec->min = low;
        spec->max = high;
        return finish_uniform(p);
    }
    if (strcmp(name, "normal") == 0)
        return random_normal(p, low, high);
    if (strcmp(name, "exponential") != 0)
        return error_unknown(p->err, "distribution: unknown", name, distributions);
    spec->kind = GEN_EXPONENTIAL;
    spec->mean = 1;
    return read_rate(p, true) < 0 ? -1 : 0;
}

static const struct kind *find_kind(const json_t *object, struct error *err)
{
    const json_t *type = json_object_get(object, "type");
    char list[256];
    if (!type) {
        error_set(err, ERR_INVALID, "type: missing; valid: %s", join(type_names, list, sizeof list));
        return NULL;
    }
    if (!json_is_string(type)) {
        error_set(err, ERR_INVALID, "type: expected a string (%s), got %s", join(type_names, list, sizeof list),
                  kind_of(type));
        return NULL;
    }
    const char *name = json_string_value(type);
    for (unsigned i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    if (strcmp(name, "replay") == 0 || strcmp(name, "custom") == 0)
        error_set(err, ERR_UNSUPPORTED, "type: this version cannot run a \"%s\" generator; it can run: %s", name,
                  join(type_names, list, sizeof list));
    else
        error_unknown(err, "type: unknown generator", name, type_names);
    return NULL;
}

static bool takes_numbers(enum value_type type)
{
    return type != VALUE_BINARY && type != VALUE_JSON;
}

struct gen_spec *gen_parse(const json_t *generator, enum value_type type, struct error *err)
{
    if (!json_is_object(generator)) {
        error_set(err, ERR_INVALID,
                  "expected an object such as {\"type\": \"uniform\", \"min\": 0, \"max\": 1}, got %s",
                  generator ? kind_of(generator) : "nothing");
        return NULL;
    }
    const struct kind *kind = find_kind(generator, err);
    if (!kind)
        return NULL;
    struct gen_spec *spec = calloc(1, sizeof *spec);
    if (!spec) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    spec->type = type;
    spec->min = -INFINITY;
    spec->max = INFINITY;
    struct parse p = {generator, kind->name, spec, err};
    bool numbers = kind->makes_numbers || (kind->parse == parse_sequence && !json_object_get(generator, "values"));
    int rc = check_keys(&p, kind->keys);
    if (rc == 0 && numbers && !takes_numbers(type))
        rc = error_set(
            err, ERR_INVALID,
            "type: a generator of type %s makes numbers; an attribute of type %s needs constant, choice, or sequence "
            "with values",
            kind->name, type == VALUE_BINARY ? "binary" : "object or array");
    if (rc == 0)
        rc = kind->parse(&p);
    if (rc == 0)
        return spec;
    gen_delete(spec);
    return NULL;
}

void gen_delete(struct gen_spec *spec)
{
    if (!spec)
        return;
    for (unsigned i = 0; spec->texts && i < spec->n; i++)
        free(spec->texts[i]);
    free(spec->texts);
    free(spec->values);
    free(spec->cumulative);
    free(spec);
}
