#include "chaos/experiment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "device/selection.h"

#define STORM_MIN_US 250000      // its window: time enough to cut all
#define TIME_MAX (INT64_MAX / 4) // far beyond any run, and safe to add to a time
#define NAME_MAX_BYTES 100
#define CUSTOM_MAX 100000

static const char *const kind_names[] = {"link", "partition", "disconnect", "storm", "broker", "clock", "custom", NULL};
static const char *const action_names[] = {"stop", "kill", "pause", NULL};

const char *experiment_kind_name(enum experiment_kind kind)
{
    return (unsigned)kind < EXPERIMENT_KIND_MAX ? kind_names[kind] : "?";
}

bool experiment_on_devices(const struct experiment *e)
{
    return e->kind != EXPERIMENT_BROKER && e->kind != EXPERIMENT_CUSTOM;
}

bool experiment_on_network(const struct experiment *e)
{
    return e->kind == EXPERIMENT_LINK || e->kind == EXPERIMENT_PARTITION;
}

bool experiment_by_group(const struct experiment *e)
{
    return e->kind == EXPERIMENT_DISCONNECT || e->kind == EXPERIMENT_STORM;
}

// --- keys ---------------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    unsigned kinds; // mask
} keys[] = {
    {"name", ~0u},
    {"kind", ~0u},
    {"from_us", ~0u},
    {"to_us", ~0u},
    {"every_us", ~0u},
    {"line", ~0u},
    {"group", ~(1u << EXPERIMENT_BROKER | 1u << EXPERIMENT_CUSTOM)},
    {"groups", ~(1u << EXPERIMENT_BROKER | 1u << EXPERIMENT_CUSTOM)},
    {"count", ~(1u << EXPERIMENT_BROKER | 1u << EXPERIMENT_CUSTOM)},
    {"percentage", ~(1u << EXPERIMENT_BROKER | 1u << EXPERIMENT_CUSTOM)},
    {"devices", ~(1u << EXPERIMENT_BROKER | 1u << EXPERIMENT_CUSTOM)},
    {"fault", 1u << EXPERIMENT_LINK | 1u << EXPERIMENT_PARTITION},
    {"profile", 1u << EXPERIMENT_LINK | 1u << EXPERIMENT_PARTITION},
    {"dropout", 1u << EXPERIMENT_DISCONNECT},
    {"jitter_us", 1u << EXPERIMENT_STORM},
    {"reconnect_delay_us", 1u << EXPERIMENT_STORM},
    {"action", 1u << EXPERIMENT_BROKER},
    {"offset_us", 1u << EXPERIMENT_CLOCK},
    {"drift", 1u << EXPERIMENT_CLOCK},
    {"custom", 1u << EXPERIMENT_CUSTOM},
};
enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

static int check_keys(const struct experiment *e, struct error *err)
{
    const char *valid[N_KEYS + 1], *key;
    unsigned n = 0;
    json_t *value;
    for (unsigned i = 0; i < N_KEYS; i++)
        if (keys[i].kinds & 1u << e->kind)
            valid[n++] = keys[i].name;
    valid[n] = NULL;
    json_object_foreach(e->json, key, value)
    {
        unsigned i = 0;
        while (valid[i] && strcmp(valid[i], key) != 0)
            i++;
        if (!valid[i]) {
            error_unknown(err, "key", key, valid);
            return error_prefix(err, "a %s experiment", kind_names[e->kind]);
        }
    }
    return 0;
}

// --- readers ------------------------------------------------------------------------------------------------------

static int get_time(const json_t *json, const char *key, int64_t dflt, int64_t *out, struct error *err)
{
    const json_t *v = json_object_get(json, key);
    double us = json_number_value(v);
    *out = dflt;
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_number(v) || !isfinite(us) || us < 0 || us > (double)TIME_MAX)
        return error_set(err, ERR_INVALID, "%s: expected microseconds, 0 or more", key);
    *out = json_is_integer(v) ? json_integer_value(v) : llrint(us);
    return 0;
}

static int check_name(const char *name, struct error *err)
{
    size_t n = strlen(name);
    if (n < 1 || n > NAME_MAX_BYTES || name[0] == ' ' || name[n - 1] == ' ')
        return error_set(err, ERR_INVALID,
                         "name: expected 1 to %d characters without blanks at the ends, got \"%.120s\"", NAME_MAX_BYTES,
                         name);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f || strchr(",:{}=", *p))
            return error_set(err, ERR_INVALID,
                             "name \"%s\": control characters and , : { } = are not allowed: it is a tag of metrics",
                             name);
    return 0;
}

static int read_name(struct experiment *e, struct error *err)
{
    const json_t *profile = json_object_get(e->json, "profile");
    const char *dflt = kind_names[e->kind];
    if (profile && !json_is_object(profile))
        return error_set(err, ERR_INVALID, "profile: expected an object with name and version");
    if (json_get_str(profile, "name", dflt, &dflt, err))
        return error_prefix(err, "profile");
    return json_get_str(e->json, "name", dflt, &e->name, err) || check_name(e->name, err) ? -1 : 0;
}

static int add_group(struct experiment *e, const json_t *v, const char *const *groups, struct error *err)
{
    const char *name = json_string_value(v);
    if (!name)
        return error_set(err, ERR_INVALID, "groups: expected names of groups such as [\"sensors\"]");
    for (unsigned i = 0; i < e->n_groups; i++)
        if (strcmp(e->groups[i], name) == 0)
            return error_set(err, ERR_INVALID, "groups: \"%.100s\" is there twice", name);
    if (name_choose("there is no group", name, groups, err) < 0) {
        err->code = err->code == ERR_INVALID ? ERR_NOT_FOUND : err->code;
        return -1;
    }
    e->groups[e->n_groups++] = name;
    return 0;
}

static int read_groups(struct experiment *e, const char *const *groups, struct error *err)
{
    const json_t *one = json_object_get(e->json, "group"), *list = json_object_get(e->json, "groups");
    if (one && list)
        return error_set(err, ERR_INVALID, "give either group or groups");
    if (!one && !list)
        return 0;
    if (list && (!json_is_array(list) || !json_array_size(list)))
        return error_set(err, ERR_INVALID, "groups: expected names of groups such as [\"sensors\"]");
    size_t n = list ? json_array_size(list) : 1;
    e->groups = calloc(n, sizeof(*e->groups));
    if (!e->groups)
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    for (size_t i = 0; i < n; i++)
        if (add_group(e, list ? json_array_get(list, i) : one, groups, err))
            return -1;
    return 0;
}

static int read_window(struct experiment *e, struct error *err)
{
    if (get_time(e->json, "from_us", 0, &e->from_us, err) || get_time(e->json, "to_us", e->to_us, &e->to_us, err) ||
        get_time(e->json, "every_us", 0, &e->every_us, err))
        return -1;
    if (e->kind == EXPERIMENT_STORM && e->to_us == EXPERIMENT_NEVER) { // over when the last one is back
        int64_t back_us = e->dropout.reconnect_delay_us + e->dropout.jitter_us;
        e->to_us = e->from_us + (back_us > STORM_MIN_US ? back_us : STORM_MIN_US);
    }
    char from[32], to[32], every[32];
    duration_format(e->from_us, from, sizeof(from));
    if (e->to_us <= e->from_us)
        return error_set(err, ERR_INVALID, "its window ends before it starts: from %s to %s", from,
                         duration_format(e->to_us, to, sizeof(to)));
    if (!e->every_us && !json_is_number(json_object_get(e->json, "every_us")))
        return 0;
    if (e->to_us == EXPERIMENT_NEVER)
        return error_set(err, ERR_INVALID, "every: a window without an end does not begin again; give it `to` as well");
    if (e->every_us < EXPERIMENT_EVERY_MIN_US)
        return error_set(err, ERR_INVALID,
                         "every: expected at least %d ms; a fault comes and goes faster with `during`",
                         EXPERIMENT_EVERY_MIN_US / 1000);
    if (e->every_us < e->to_us - e->from_us)
        return error_set(err, ERR_INVALID, "every: %s is shorter than the window, which takes %s",
                         duration_format(e->every_us, every, sizeof(every)),
                         duration_format(e->to_us - e->from_us, to, sizeof(to)));
    return 0;
}

// --- by kind ------------------------------------------------------------------------------------------------------

static struct fault_spec *parse_fault(enum experiment_kind kind, const json_t *fault, struct error *err)
{
    if (!json_is_object(fault)) {
        error_set(err, ERR_INVALID, "fault: expected an object such as {\"latency\": \"200ms\"}");
        return NULL;
    }
    if (kind == EXPERIMENT_PARTITION && !json_object_get(fault, "partition")) {
        error_set(err, ERR_INVALID, "fault: expected {\"partition\": …} of a partition");
        return NULL;
    }
    return fault_spec_parse(fault, err);
}

static int read_fault(struct experiment *e, struct error *err)
{
    e->fault = parse_fault(e->kind, json_object_get(e->json, "fault"), err);
    return e->fault ? 0 : -1;
}

// The dropout's JSON with the experiment's selection in it, but for a list of devices, which goes beside it: then it is
// about all of those. NULL: err.
static json_t *dropout_json(const struct experiment *e, struct error *err)
{
    const json_t *own = json_object_get(e->json, "dropout"), *count = json_object_get(e->json, "count"),
                 *percentage = json_object_get(e->json, "percentage"), *devices = json_object_get(e->json, "devices");
    json_t *d = json_is_object(own) ? json_copy((json_t *)(uintptr_t)own) : NULL;
    if (!d) {
        error_set(err, own && json_is_object(own) ? ERR_NO_MEMORY : ERR_INVALID,
                  "dropout: expected an object such as {\"strategy\": \"linear\", \"percentage\": 10}");
        return NULL;
    }
    bool sized = json_object_get(d, "count") || json_object_get(d, "percentage");
    int rc = 0;
    if (json_object_get(d, "at") || json_object_get(d, "atMs"))
        rc = error_set(err, ERR_INVALID, "dropout: at: its window says when");
    else if (sized && (count || percentage || devices))
        rc = error_set(err, ERR_INVALID, "how many drop out is said twice: here and in the dropout");
    else if (count)
        rc = json_object_set(d, "count", (json_t *)(uintptr_t)count);
    else if (percentage || !sized)
        rc = json_object_set_new(d, "percentage",
                                 percentage ? json_incref((json_t *)(uintptr_t)percentage) : json_integer(100));
    if (!rc)
        return d;
    json_decref(d);
    return NULL;
}

static int read_dropout(struct experiment *e, struct error *err)
{
    e->dropout_json = dropout_json(e, err);
    return e->dropout_json ? dropout_parse(e->dropout_json, &e->dropout, err) : -1;
}

static int read_storm(struct experiment *e, struct error *err)
{
    int64_t jitter_us, delay_us;
    const json_t *count = json_object_get(e->json, "count"), *percentage = json_object_get(e->json, "percentage");
    if (get_time(e->json, "jitter_us", 0, &jitter_us, err) ||
        get_time(e->json, "reconnect_delay_us", 0, &delay_us, err))
        return -1;
    json_t *size = count ? json_incref((json_t *)(uintptr_t)count)
                         : (percentage ? json_incref((json_t *)(uintptr_t)percentage) : json_integer(100));
    e->dropout_json = json_pack("{s:b, s:I, s:I, s:o}", "reconnect", 1, "reconnect_delay", (json_int_t)delay_us,
                                "jitter", (json_int_t)jitter_us, count ? "count" : "percentage", size);
    if (!e->dropout_json)
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    return dropout_parse(e->dropout_json, &e->dropout, err);
}

static int read_broker(struct experiment *e, struct error *err)
{
    const char *action;
    if (json_get_str(e->json, "action", "", &action, err))
        return -1;
    int i = name_choose("action", action, action_names, err);
    e->action = (enum broker_action)i;
    return i < 0 ? -1 : 0;
}

static int read_clock(struct experiment *e, struct error *err)
{
    const json_t *offset = json_object_get(e->json, "offset_us");
    double us = json_number_value(offset);
    if (offset && (!json_is_number(offset) || !isfinite(us) || fabs(us) > (double)TIME_MAX))
        return error_set(err, ERR_INVALID, "offset_us: expected microseconds, negative for a clock that is behind");
    if (json_get_num(e->json, "drift", 0, &e->drift, err))
        return -1;
    if (!(e->drift > -1 && e->drift <= 1000))
        return error_set(err, ERR_INVALID,
                         "drift: expected seconds a second, above -1 (then it would run backwards) and at most 1000");
    e->offset_us = llrint(us);
    if (!e->offset_us && e->drift == 0)
        return error_set(err, ERR_INVALID, "a clock experiment needs an offset or a drift");
    return 0;
}

static int read_custom(struct experiment *e, struct error *err)
{
    int64_t n;
    if (json_get_int(e->json, "custom", -1, &n, err))
        return -1;
    if (n < 0 || n > CUSTOM_MAX)
        return error_set(err, ERR_INVALID, "custom: expected the number of a function of the scenario");
    e->custom = (unsigned)n;
    return 0;
}

static int read_kind(struct experiment *e, struct error *err)
{
    static int (*const readers[])(struct experiment * e, struct error * err) = {
        read_fault, read_fault, read_dropout, read_storm, read_broker, read_clock, read_custom};
    return readers[e->kind](e, err);
}

static int read_all(struct experiment *e, const char *const *groups, struct error *err)
{
    int64_t line;
    const char *kind;
    if (!json_is_object(e->json))
        return error_set(err, ERR_INVALID, "expected an object such as {\"kind\": \"link\", \"fault\": {…}}");
    if (json_get_int(e->json, "line", 0, &line, err) || json_get_str(e->json, "kind", "", &kind, err))
        return -1;
    e->line = line > 0 && line < INT32_MAX ? (int)line : 0;
    int i = name_choose("kind", kind, kind_names, err);
    if (i < 0)
        return -1;
    e->kind = (enum experiment_kind)i;
    return check_keys(e, err) || read_name(e, err) || read_groups(e, groups, err) ||
                   selection_check(e->json, UINT64_MAX, err) || read_kind(e, err) || read_window(e, err)
               ? -1
               : 0;
}

int experiment_parse(struct experiment *e, json_t *json, const char *const *groups, struct error *err)
{
    *e = (struct experiment){.json = json_incref(json), .to_us = EXPERIMENT_NEVER};
    if (read_all(e, groups, err) == 0)
        return 0;
    experiment_destroy(e);
    return -1;
}

void experiment_destroy(struct experiment *e)
{
    fault_spec_release(e->fault);
    free(e->groups);
    json_decref(e->dropout_json);
    json_decref(e->json);
    *e = (struct experiment){0};
}

bool experiment_about(const struct experiment *e, const char *group)
{
    for (unsigned i = 0; i < e->n_groups; i++)
        if (strcmp(e->groups[i], group) == 0)
            return true;
    return !e->n_groups && experiment_on_devices(e);
}

// Whoever else holds the JSON keeps what it has: the change is made in a copy, which shares its texts.
static int edit(struct experiment *e, const char *key, json_t *stolen, struct error *err)
{
    json_t *json = stolen ? json_copy(e->json) : NULL;
    if (!json || json_object_set(json, key, stolen)) {
        json_decref(json);
        json_decref(stolen);
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    }
    json_decref(stolen);
    json_decref(e->json);
    e->json = json;
    return 0;
}

int experiment_rename(struct experiment *e, const char *name, struct error *err)
{
    if (edit(e, "name", json_string(name), err))
        return -1;
    e->name = json_string_value(json_object_get(e->json, "name"));
    return 0;
}

int experiment_retune(struct experiment *e, const json_t *fault, struct error *err)
{
    if (!experiment_on_network(e))
        return error_set(err, ERR_STATE, "a %s experiment has no fault that could be changed", kind_names[e->kind]);
    struct fault_spec *spec = parse_fault(e->kind, fault, err);
    if (!spec || edit(e, "fault", json_incref((json_t *)(uintptr_t)fault), err)) {
        fault_spec_release(spec);
        return -1;
    }
    fault_spec_release(e->fault);
    e->fault = spec;
    return 0;
}

// --- time ---------------------------------------------------------------------------------------------------------

bool experiment_window(const struct experiment *e, int64_t now_us, int64_t *begin_us, int64_t *end_us)
{
    int64_t k = e->every_us && now_us > e->from_us ? (now_us - e->from_us) / e->every_us : 0;
    if (e->every_us && e->to_us + k * e->every_us <= now_us)
        k++;
    *begin_us = e->from_us + k * e->every_us;
    *end_us = e->to_us == EXPERIMENT_NEVER ? EXPERIMENT_NEVER : e->to_us + k * e->every_us;
    return *end_us > now_us;
}
