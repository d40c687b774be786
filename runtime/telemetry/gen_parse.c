// From a `generator` object to a gen_spec. Each type lists its keys; what it does not list is an error that names the
// valid ones, so that a typo never turns into a default. random, sequence, constant, replay and custom take each
// other's keys, because the published format let them (its schema was flat), and its files must load unchanged.
#include <math.h>
#include <stdlib.h>
#include "core/units.h"
#include "telemetry/expr.h"
#include "telemetry/gen_parse.h"
#include "telemetry/path.h"
#include "telemetry/replay.h"

enum makes {
    NUMBERS, // not for binary, object and array
    VALUES,  // any, as they are written or as the attribute's type asks
    SCALARS, // any but binary, object and array
    OBJECTS, // for object and array only
};

struct kind {
    const char *name;
    int (*parse)(struct gen_parse *p);
    enum makes makes;
    bool flat; // takes the keys of the published format, whatever its type
    const char *const *keys;
};

// clang-format off
#define KEYS(...) (const char *const[]){"type", __VA_ARGS__, "anomalies", NULL}
static const struct kind kinds[] = {
    {"uniform", gen_parse_uniform, NUMBERS, false, KEYS("min", "max")},
    {"normal", gen_parse_normal, NUMBERS, false, KEYS("mean", "stddev", "min", "max")},
    {"exponential", gen_parse_exponential, NUMBERS, false, KEYS("rate", "mean", "min", "max")},
    {"lognormal", gen_parse_lognormal, NUMBERS, false, KEYS("mu", "sigma", "mean", "stddev", "min", "max")},
    {"poisson", gen_parse_poisson, NUMBERS, false, KEYS("mean", "min", "max")},
    {"weibull", gen_parse_weibull, NUMBERS, false, KEYS("shape", "scale", "min", "max")},
    {"walk", gen_parse_walk, NUMBERS, false, KEYS("start", "step", "min", "max")},
    {"ou", gen_parse_ou, NUMBERS, false, KEYS("mean", "reversion", "volatility", "start", "min", "max")},
    {"sine", gen_parse_sine, NUMBERS, false, KEYS("mean", "amplitude", "periodMs", "phase", "noise", "min", "max")},
    {"seasonal", gen_parse_seasonal, NUMBERS, false,
     KEYS("base", "daily", "weekly", "noise", "utcOffsetMinutes", "min", "max")},
    {"square", gen_parse_square, NUMBERS, false, KEYS("low", "high", "periodMs", "duty", "phase")},
    {"saw", gen_parse_saw, NUMBERS, false, KEYS("min", "max", "periodMs", "phase", "falling")},
    {"triangle", gen_parse_triangle, NUMBERS, false, KEYS("min", "max", "periodMs", "phase")},
    {"step", gen_parse_step, VALUES, false, KEYS("values", "holdMs")},
    {"sequence", gen_parse_sequence, VALUES, true,
     KEYS("start", "step", "min", "max", "wrap", "direction", "values")},
    {"constant", gen_parse_constant, VALUES, true, KEYS("value")},
    {"choice", gen_parse_choice, VALUES, false, KEYS("values", "weights")},
    {"markov", gen_parse_markov, VALUES, false, KEYS("states", "transitions", "start")},
    {"random", gen_parse_random, NUMBERS, true, KEYS("distribution", "min", "max", "mean", "stddev", "rate")},
    {"correlated", gen_parse_correlated, SCALARS, false, KEYS("expression", "noise", "min", "max")},
    {"gps", gen_parse_gps, OBJECTS, false,
     KEYS("route", "routeFile", "speedKmh", "loop", "noiseMeters", "offset")},
    {"replay", gen_parse_replay, VALUES, true,
     KEYS("dataFile", "loopReplay", "column", "timeColumn", "timing", "speed", "offset", "format", "chunk")},
    {"custom", gen_parse_custom, VALUES, true, KEYS("handler", "params")},
    {"object", gen_parse_object, OBJECTS, false, KEYS("properties")},
    {"array", gen_parse_array, OBJECTS, false, KEYS("items", "length", "minLength", "maxLength")},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static const char *const type_names[] = {
    "uniform", "normal", "exponential", "lognormal", "poisson", "weibull", "walk", "ou", "sine", "seasonal", "square",
    "saw", "triangle", "step", "sequence", "constant", "choice", "markov", "random", "correlated", "gps", "replay",
    "custom", "object", "array", NULL};
_Static_assert(sizeof type_names / sizeof type_names[0] == N_KINDS + 1, "one name a kind");

static const char *const flat_keys[] = {
    "min", "max", "distribution", "mean", "stddev", "rate", "start", "step", "wrap", "value", "dataFile", "loopReplay",
    "handler", "params", NULL};
// clang-format on

const char *const *gen_type_names(void)
{
    return type_names;
}

static const struct kind *kind_named(const char *name)
{
    for (unsigned i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

const char *const *gen_type_keys(const char *type)
{
    const struct kind *kind = kind_named(type);
    if (kind)
        return kind->keys;
    if (strcmp(type, "anomaly") == 0)
        return gen_anomaly_keys;
    return strcmp(type, "daily") == 0 ? gen_daily_keys : NULL;
}

static const struct kind *find_kind(const json_t *object, struct error *err)
{
    const json_t *type = json_object_get(object, "type");
    char list[384];
    if (!json_is_string(type)) {
        names_join(type_names, list, sizeof list);
        if (type)
            error_set(err, ERR_INVALID, "type: expected a string (%s), got %s", list, gen_kind_of(type));
        else
            error_set(err, ERR_INVALID, "type: missing; valid: %s", list);
        return NULL;
    }
    const struct kind *kind = kind_named(json_string_value(type));
    if (!kind)
        error_unknown(err, "type: unknown generator", json_string_value(type), type_names);
    return kind;
}

static int check_type(const struct gen_parse *p, enum makes makes)
{
    enum value_type type = p->spec->type;
    bool structured = type == VALUE_BINARY || type == VALUE_JSON;
    if ((makes == NUMBERS || makes == SCALARS) && structured)
        return error_set(p->err, ERR_INVALID,
                         "type: a generator of type %s makes numbers; an attribute of type %s needs constant, choice, "
                         "step, markov, replay, custom%s or sequence with values",
                         p->type_name, type == VALUE_BINARY ? "binary" : "object or array",
                         type == VALUE_BINARY ? "" : ", object, array, gps");
    if (makes == OBJECTS && type != VALUE_JSON && type != VALUE_NULL)
        return error_set(p->err, ERR_INVALID,
                         "type: a generator of type %s is for an attribute of type object or array", p->type_name);
    return 0;
}

static bool is_numeric(const struct gen_spec *spec, enum makes makes)
{
    return spec->type == VALUE_NUMBER || spec->type == VALUE_INTEGER ||
           (makes == NUMBERS && spec->type == VALUE_STRING) || (makes != OBJECTS && spec->type == VALUE_NULL);
}

static int parse_kind(struct gen_parse *p, const struct kind *kind)
{
    enum makes makes = kind->makes;
    if (kind->parse == gen_parse_sequence && !json_object_get(p->object, "values"))
        makes = NUMBERS;
    // A sequence may list values, which the published one did not.
    if (gen_check_keys(p->object, kind->keys, kind->flat ? flat_keys : NULL, p->err) < 0 || check_type(p, makes) < 0 ||
        kind->parse(p) < 0)
        return -1;
    return gen_parse_anomalies(p, is_numeric(p->spec, makes));
}

static struct gen_spec *spec_new(enum value_type type, struct error *err)
{
    struct gen_spec *spec = calloc(1, sizeof *spec);
    if (!spec) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    spec->type = type;
    spec->n_states = 1;
    spec->min = -INFINITY;
    spec->max = INFINITY;
    return spec;
}

static struct gen_spec *parse(const json_t *generator, enum value_type type, const struct gen_env *env, unsigned depth,
                              struct error *err)
{
    if (!json_is_object(generator)) {
        error_set(err, ERR_INVALID,
                  "expected an object such as {\"type\": \"uniform\", \"min\": 0, \"max\": 1}, got %s",
                  gen_kind_of(generator));
        return NULL;
    }
    if (depth > GEN_MAX_DEPTH) {
        error_set(err, ERR_LIMIT, "objects and arrays are nested deeper than %u", GEN_MAX_DEPTH);
        return NULL;
    }
    const struct kind *kind = find_kind(generator, err);
    struct gen_spec *spec = kind ? spec_new(type, err) : NULL;
    if (!spec)
        return NULL;
    struct gen_parse p = {generator, kind->name, spec, env, depth, err};
    if (parse_kind(&p, kind) == 0)
        return spec;
    gen_delete(spec);
    return NULL;
}

struct gen_spec *gen_parse_inner(const struct gen_parse *outer, const json_t *generator, enum value_type type,
                                 const char *attribute)
{
    struct gen_env env = *outer->env;
    env.attribute = attribute;
    return parse(generator, type, &env, outer->depth + 1, outer->err);
}

struct gen_spec *gen_parse(const json_t *generator, enum value_type type, const struct gen_env *env, struct error *err)
{
    static const struct gen_env empty = {.names = NULL};
    return parse(generator, type, env ? env : &empty, 0, err);
}

static int check_samples(const struct gen_samples *s, struct error *err)
{
    if (s->bits != 8 && s->bits != 16 && s->bits != 32)
        return error_set(err, ERR_INVALID, "sampleSize: expected 8, 16 or 32, got %u", s->bits);
    if (s->count < 1 || s->count > GEN_MAX_SAMPLES)
        return error_set(err, ERR_INVALID, "samples: expected a whole number from 1 to %u, got %u", GEN_MAX_SAMPLES,
                         s->count);
    return 0;
}

// Whether the generator gives the bytes of the whole, not samples.
static bool gives_bytes(const json_t *generator, const char *type)
{
    if (strcmp(type, "constant") == 0)
        return !json_is_number(json_object_get(generator, "value"));
    return strcmp(type, "custom") == 0 || strcmp(type, "replay") == 0;
}

static struct gen_spec *parse_replay_samples(const json_t *generator, const struct gen_samples *samples,
                                             const struct gen_env *env, struct error *err)
{
    struct gen_spec *spec = spec_new(VALUE_BINARY, err);
    if (!spec)
        return NULL;
    struct gen_parse p = {generator, "replay", spec, env, 0, err};
    spec->kind = GEN_REPLAY;
    spec->uses_scratch = true;
    if (gen_check_keys(generator, gen_type_keys("replay"), flat_keys, err) == 0 &&
        (spec->replay = replay_new(generator, VALUE_BINARY, samples, env->attribute, env, err)) &&
        gen_parse_anomalies(&p, false) == 0)
        return spec;
    gen_delete(spec);
    return NULL;
}

struct gen_spec *gen_parse_samples(const json_t *generator, const struct gen_samples *samples,
                                   const struct gen_env *env, struct error *err)
{
    static const struct gen_env empty = {.names = NULL};
    const char *type = json_string_value(json_object_get(generator, "type"));
    env = env ? env : &empty;
    if (check_samples(samples, err) < 0)
        return NULL;
    if (type && strcmp(type, "replay") == 0)
        return parse_replay_samples(generator, samples, env, err);
    if (type && gives_bytes(generator, type))
        return parse(generator, VALUE_BINARY, env, 0, err);
    struct gen_spec *each = parse(generator, VALUE_NUMBER, env, 0, err);
    struct gen_spec *spec = each ? spec_new(VALUE_BINARY, err) : NULL;
    if (spec)
        spec->members = calloc(1, sizeof *spec->members);
    if (!spec || !spec->members) {
        gen_delete(each);
        gen_delete(spec);
        if (each)
            error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    spec->kind = GEN_SAMPLES;
    spec->members->spec = each;
    spec->n_members = 1;
    spec->n_states = each->n_states;
    spec->samples = *samples;
    spec->uses_scratch = true;
    spec->uses_values = each->uses_values;
    spec->uses_hook = each->uses_hook;
    return spec;
}

void gen_delete(struct gen_spec *spec)
{
    if (!spec)
        return;
    for (unsigned i = 0; spec->texts && i < spec->n; i++)
        free(spec->texts[i]);
    for (unsigned i = 0; i < spec->n_members; i++) {
        gen_delete(spec->members[i].spec);
        free(spec->members[i].key);
    }
    free(spec->texts);
    free(spec->values);
    free(spec->cumulative);
    free(spec->anomalies);
    free(spec->members);
    expr_delete(spec->expr);
    json_decref(spec->params);
    replay_delete(spec->replay);
    route_delete(spec->path);
    free(spec);
}
