// Generators that others have a part in: members, expressions, hooks, files; and anomalies.
#include <math.h>
#include <stdlib.h>
#include "core/buf.h"
#include "telemetry/expr.h"
#include "telemetry/gen_parse.h"
#include "telemetry/path.h"
#include "telemetry/replay.h"

int gen_parse_correlated(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *text = json_object_get(p->object, "expression");
    spec->kind = GEN_CORRELATED;
    spec->uses_values = true;
    spec->memoryless = true;
    if (!json_is_string(text))
        return error_set(p->err, ERR_INVALID,
                         "expression: expected a text over the other attributes such as \"20 + 0.5 * temperature\", "
                         "got %s",
                         gen_kind_of(text));
    if (gen_read_not_negative(p, "noise", &spec->stddev) < 0 || gen_read_bounds(p) < 0)
        return -1;
    spec->expr = expr_compile(json_string_value(text), p->env->names, p->env->n_names, p->err);
    return spec->expr ? 0 : error_prefix(p->err, "expression");
}

int gen_parse_custom(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *handler = json_object_get(p->object, "handler"), *params = json_object_get(p->object, "params");
    spec->kind = GEN_CUSTOM;
    spec->uses_hook = spec->uses_scratch = true;
    spec->memoryless = true;
    if (!json_is_string(handler))
        return error_set(p->err, ERR_INVALID,
                         "handler: expected the name of a Lua function (\"NAME\" in the group's handlers, or "
                         "\"module.function\"), got %s",
                         gen_kind_of(handler));
    if (params && !json_is_object(params))
        return error_set(p->err, ERR_INVALID, "params: expected an object, got %s", gen_kind_of(params));
    if (!p->env->find_hook)
        return error_set(p->err, ERR_UNSUPPORTED,
                         "type: a custom generator needs a scenario that gives the Lua function \"%.64s\"",
                         json_string_value(handler));
    if (params && !(spec->params = json_deep_copy(params)))
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    spec->hook = p->env->find_hook(p->env->find_hook_arg, json_string_value(handler), p->err);
    return spec->hook < 0 ? error_prefix(p->err, "handler") : 0;
}

int gen_parse_replay(struct gen_parse *p)
{
    p->spec->kind = GEN_REPLAY;
    p->spec->replay = replay_new(p->object, p->spec->type, NULL, p->env->attribute, p->env, p->err);
    if (!p->spec->replay)
        return -1;
    // Numbers come without a text.
    enum value_type type = p->spec->type;
    p->spec->uses_scratch = type != VALUE_NUMBER && type != VALUE_INTEGER && type != VALUE_BOOLEAN;
    return 0;
}

int gen_parse_gps(struct gen_parse *p)
{
    p->spec->kind = GEN_GPS;
    p->spec->uses_scratch = true;
    p->spec->path = route_new(p->object, p->spec->type, NULL, p->env->attribute, p->env, p->err);
    return p->spec->path ? 0 : -1;
}

// What the whole needs because a member does.
static void inherit(struct gen_spec *spec, const struct gen_spec *member)
{
    spec->uses_values |= member->uses_values;
    spec->uses_hook |= member->uses_hook;
    spec->uses_scratch = true;
}

static int too_many_states(struct gen_parse *p, const char *key)
{
    return error_set(p->err, ERR_LIMIT, "%s: more than %u states (16 bytes each) in one attribute of a device", key,
                     GEN_MAX_STATES);
}

static int add_member(struct gen_parse *p, const char *name, const json_t *generator)
{
    struct gen_spec *spec = p->spec;
    struct gen_member *m = &spec->members[spec->n_members];
    struct buf key;
    m->spec = gen_parse_inner(p, generator, VALUE_NULL, name);
    if (!m->spec)
        return error_prefix(p->err, "properties.%.64s", name);
    spec->n_members++;
    m->state = spec->n_states;
    spec->n_states += m->spec->n_states;
    if (spec->n_states > GEN_MAX_STATES)
        return too_many_states(p, "properties");
    inherit(spec, m->spec);
    buf_create(&key, GEN_MAX_TEXT);
    if (buf_append_json_string(&key, name, strlen(name)) || buf_append_char(&key, ':')) {
        buf_destroy(&key);
        return error_set(p->err, ERR_LIMIT, "properties: a name is longer than %u bytes", GEN_MAX_TEXT);
    }
    m->key = (char *)key.data;
    m->n_key = key.len;
    return 0;
}

int gen_parse_object(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *properties = json_object_get(p->object, "properties");
    const char *name;
    json_t *generator;
    spec->kind = GEN_OBJECT;
    spec->uses_scratch = true;
    if (!json_is_object(properties) || json_object_size(properties) == 0)
        return error_set(p->err, ERR_INVALID, "properties: expected an object {name: generator, …} with a name, got %s",
                         json_is_object(properties) ? "an empty one" : gen_kind_of(properties));
    if (json_object_size(properties) > GEN_MAX_STATES)
        return too_many_states(p, "properties");
    spec->members = calloc(json_object_size(properties), sizeof *spec->members);
    if (!spec->members)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    spec->n_states = 0;
    json_object_foreach((json_t *)properties, name, generator)
    {
        if (add_member(p, name, generator) < 0)
            return -1;
    }
    return 0;
}

static int read_length(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    unsigned *low = &spec->array.low, *high = &spec->array.high;
    int has_length = gen_read_count(p, "length", 0, GEN_MAX_VALUES, low);
    int has_low = gen_read_count(p, "minLength", 0, GEN_MAX_VALUES, low);
    int has_high = gen_read_count(p, "maxLength", 0, GEN_MAX_VALUES, high);
    if (has_length < 0 || has_low < 0 || has_high < 0)
        return -1;
    if (has_length + has_high != 1 || (has_length && has_low))
        return error_set(p->err, ERR_INVALID,
                         "length: a generator of type array needs length, or maxLength with minLength (default 0)");
    if (has_length)
        *high = *low;
    if (*low > *high)
        return error_set(p->err, ERR_INVALID, "minLength: must be at most maxLength (%u), is %u", *high, *low);
    return 0;
}

int gen_parse_array(struct gen_parse *p)
{
    struct gen_spec *spec = p->spec;
    const json_t *items = json_object_get(p->object, "items");
    spec->kind = GEN_ARRAY;
    if (read_length(p) < 0)
        return -1;
    if (!items)
        return error_set(p->err, ERR_INVALID,
                         "items: missing; a generator of type array needs the generator of its elements here");
    spec->members = calloc(1, sizeof *spec->members);
    if (!spec->members)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    spec->members->spec = gen_parse_inner(p, items, VALUE_NULL, p->env->attribute);
    if (!spec->members->spec)
        return error_prefix(p->err, "items");
    spec->n_members = 1;
    inherit(spec, spec->members->spec);
    // Every element goes its own way, unless it has no way to go.
    unsigned each = spec->members->spec->n_states;
    bool shared = spec->members->spec->memoryless && spec->members->spec->n_anomalies == 0;
    spec->members->stride = shared ? 0 : each;
    uint64_t all = shared ? each : (uint64_t)each * spec->array.high;
    if (all > GEN_MAX_STATES)
        return too_many_states(p, "length");
    spec->n_states = all ? (unsigned)all : 1;
    return 0;
}

const char *const gen_anomaly_keys[] = {"type",        "magnitude", "relative", "perSecond",  "stddev",
                                        "probability", "atMs",      "everyMs",  "durationMs", NULL};

// The key that says how much.
static const struct {
    const char *name, *amount;
    bool numbers; // changes numbers only
} anomaly_kinds[] = {
    [ANOMALY_SPIKE] = {"spike", "magnitude", true}, [ANOMALY_DRIFT] = {"drift", "perSecond", true},
    [ANOMALY_STUCK] = {"stuck", NULL, false},       [ANOMALY_DROPOUT] = {"dropout", NULL, false},
    [ANOMALY_NOISE] = {"noise", "stddev", true},
};
static const char *const anomaly_names[] = {"spike", "drift", "stuck", "dropout", "noise", NULL};

static int parse_when(struct gen_parse *p, struct gen_anomaly *a)
{
    int probability = gen_read_within(p, "probability", 0, 1, &a->probability);
    int at = gen_read_ms(p, "atMs", &a->time_us), every = at ? 0 : gen_read_ms(p, "everyMs", &a->time_us);
    if (probability < 0 || at < 0 || every < 0)
        return -1;
    if (at && json_object_get(p->object, "everyMs"))
        every = 1;
    if (probability + at + every > 1)
        return error_set(p->err, ERR_INVALID, "probability: give one of probability, atMs and everyMs");
    if (probability + at + every == 0)
        return error_set(p->err, ERR_INVALID,
                         "probability: missing; say when the %s comes: probability, atMs or everyMs",
                         anomaly_kinds[a->kind].name);
    if (every && a->time_us <= 0)
        return error_set(p->err, ERR_INVALID, "everyMs: must be above 0 milliseconds");
    a->when = probability ? ANOMALY_PROBABILITY : at ? ANOMALY_AT : ANOMALY_EVERY;
    int duration = gen_read_ms(p, "durationMs", &a->duration_us);
    if (duration < 0)
        return -1;
    // A drift of one sample is none: it goes on for ever once it has begun, or says how long.
    if (a->kind == ANOMALY_DRIFT && !duration && !at)
        return error_set(p->err, ERR_INVALID, "durationMs: missing; only a drift with atMs goes on without an end");
    if (a->kind == ANOMALY_DRIFT && !duration)
        a->duration_us = INT64_MAX;
    return 0;
}

// A key of another kind would have no effect: said, not swallowed.
static int check_amounts(struct gen_parse *p, const struct gen_anomaly *a)
{
    static const char *const amounts[] = {"magnitude", "perSecond", "stddev"};
    const char *own = anomaly_kinds[a->kind].amount;
    for (unsigned i = 0; i < 3; i++)
        if (json_object_get(p->object, amounts[i]) && (!own || strcmp(own, amounts[i]) != 0))
            return error_set(p->err, ERR_INVALID, "%s: an anomaly of type %s has none", amounts[i],
                             anomaly_kinds[a->kind].name);
    if (a->kind != ANOMALY_SPIKE && json_object_get(p->object, "relative"))
        return error_set(p->err, ERR_INVALID, "relative: only an anomaly of type spike has it");
    return 0;
}

static int parse_anomaly(struct gen_parse *p, struct gen_anomaly *a, bool numeric)
{
    unsigned kind = UINT32_MAX;
    if (!json_is_object(p->object))
        return error_set(p->err, ERR_INVALID,
                         "expected an object such as {\"type\": \"dropout\", \"probability\": 0.01}, "
                         "got %s",
                         gen_kind_of(p->object));
    if (gen_check_keys(p->object, gen_anomaly_keys, NULL, p->err) < 0 ||
        gen_read_word(p, "type", anomaly_names, &kind) < 0)
        return -1;
    if (kind == UINT32_MAX)
        return error_set(p->err, ERR_INVALID, "type: missing; valid: spike, drift, stuck, dropout, noise");
    a->kind = (enum anomaly_kind)kind;
    p->type_name = anomaly_names[kind];
    if (anomaly_kinds[kind].numbers && !numeric)
        return error_set(p->err, ERR_INVALID,
                         "type: %s changes numbers, and this generator makes none; valid here: "
                         "stuck, dropout",
                         anomaly_names[kind]);
    if (check_amounts(p, a) < 0 || gen_read_bool(p, "relative", &a->relative) < 0 || parse_when(p, a) < 0)
        return -1;
    const char *amount = anomaly_kinds[kind].amount;
    if (amount && gen_need_number(p, amount, &a->amount) < 0)
        return -1;
    if (kind == ANOMALY_NOISE && a->amount < 0)
        return error_set(p->err, ERR_INVALID, "stddev: must be at least 0, is %g", a->amount);
    return 0;
}

// A text that is not in a list of values belongs to somebody else, and is gone with the next message.
static bool can_be_held(const struct gen_spec *spec)
{
    bool foreign = spec->expr || spec->uses_hook || spec->uses_scratch || spec->replay || spec->path;
    return !foreign || spec->type == VALUE_NUMBER || spec->type == VALUE_INTEGER || spec->type == VALUE_BOOLEAN;
}

int gen_parse_anomalies(struct gen_parse *p, bool numeric)
{
    struct gen_spec *spec = p->spec;
    const json_t *list = json_object_get(p->object, "anomalies");
    if (!list)
        return 0;
    if (!json_is_array(list))
        return error_set(p->err, ERR_INVALID, "anomalies: expected an array, got %s", gen_kind_of(list));
    if (json_array_size(list) > GEN_MAX_ANOMALIES)
        return error_set(p->err, ERR_LIMIT, "anomalies: at most %u, there are %zu", GEN_MAX_ANOMALIES,
                         json_array_size(list));
    spec->anomalies = calloc(json_array_size(list) + 1, sizeof *spec->anomalies);
    if (!spec->anomalies)
        return error_set(p->err, ERR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < json_array_size(list); i++) {
        struct gen_anomaly *a = &spec->anomalies[i];
        struct gen_parse inner = *p;
        inner.object = json_array_get(list, i);
        if (parse_anomaly(&inner, a, numeric) < 0)
            return error_prefix(p->err, "anomalies[%u]", i);
        if (a->kind == ANOMALY_STUCK && !can_be_held(spec))
            return error_set(p->err, ERR_INVALID,
                             "anomalies[%u]: type: a text that is made anew each time cannot be stuck; put the anomaly "
                             "on a member, or use dropout",
                             i);
        a->state = spec->n_states;
        spec->n_states += a->kind == ANOMALY_STUCK ? 2 : 1;
        spec->n_anomalies++;
    }
    return 0;
}
