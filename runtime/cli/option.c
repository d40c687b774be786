#include "cli/option.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/units.h"
#include "engine/threshold.h"
#include "link/url.h"

int command_find(const char *name)
{
    for (int i = 0; i < CMD_MAX; i++)
        if (strcmp(command_specs[i].name, name) == 0)
            return i;
    return -1;
}

int option_find(const char *name, size_t n)
{
    for (int id = 0; id < OPT_MAX; id++) {
        const char *want = option_specs[id].name;
        size_t i = 0;
        while (i < n && want[i] && (want[i] == name[i] || (want[i] == '-' && name[i] == '_')))
            i++;
        if (i == n && want[i] == '\0')
            return id;
    }
    return -1;
}

char *option_env_name(const struct option_spec *spec, char *dst, size_t size)
{
    snprintf(dst, size, "IOTIX_%s", spec->name);
    for (char *at = dst; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    return dst;
}

void options_create(struct options *o)
{
    memset(o, 0, sizeof(*o));
}

void options_unset(struct options *o, enum option_id id)
{
    struct option_value *v = &o->of[id];
    for (unsigned i = 0; i < v->n; i++)
        free(v->items[i]);
    free(v->items);
    memset(v, 0, sizeof(*v));
}

void options_destroy(struct options *o)
{
    for (int id = 0; id < OPT_MAX; id++)
        options_unset(o, (enum option_id)id);
}

static int parse_bool(const char *text, bool *out, const char *as, struct error *err)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *out = true;
            return 0;
        }
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return 0;
        }
    }
    return error_set(err, ERR_INVALID, "%s: \"%s\" is neither true nor false", as, text);
}

static int parse_choice(const struct option_spec *spec, const char *text, uint64_t *out, const char *as,
                        struct error *err)
{
    char names[8][16];
    const char *candidates[9] = {0};
    unsigned n = 0;
    for (const char *at = spec->choices; *at && n < 8; n++) {
        size_t len = strcspn(at, "|");
        snprintf(names[n], sizeof(names[n]), "%.*s", (int)len, at);
        candidates[n] = names[n];
        if (strcmp(names[n], text) == 0) {
            *out = n;
            return 0;
        }
        at += len + (at[len] == '|');
    }
    const char *near = suggest(text, candidates);
    return error_set(err, ERR_INVALID, "%s: \"%s\" is not one of %s%s%s%s", as, text, spec->choices,
                     near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

static int parse_partition(const char *text, struct option_value *v, const char *as, struct error *err)
{
    char first[16];
    const char *slash = strchr(text, '/');
    int64_t part, parts;
    if (slash && (size_t)(slash - text) < sizeof(first)) {
        snprintf(first, sizeof(first), "%.*s", (int)(slash - text), text);
        if (!int_parse(first, 1, 1000000, &part, err) && !int_parse(slash + 1, 1, 1000000, &parts, err) &&
            part <= parts) {
            v->part = (uint32_t)part;
            v->parts = (uint32_t)parts;
            return 0;
        }
    }
    return error_set(err, ERR_INVALID, "%s: \"%s\" is not a partition: expected I/N with I from 1 to N, such as 2/4",
                     as, text);
}

int threshold_split(const char *text, char *metric, size_t size, const char **expr)
{
    bool braces = false;
    for (const char *at = text; *at; at++) {
        if (*at == '{')
            braces = true;
        else if (*at == '}')
            braces = false;
        if (*at != ':' || braces)
            continue;
        size_t n = (size_t)(at - text);
        while (n > 0 && text[n - 1] == ' ')
            n--;
        if (n == 0 || n >= size)
            return -1;
        memcpy(metric, text, n);
        metric[n] = '\0';
        *expr = at + 1 + strspn(at + 1, " ");
        return 0;
    }
    return -1;
}

static int check_threshold(const char *text, const char *as, struct error *err)
{
    char metric[256];
    const char *expr;
    struct threshold t;
    if (threshold_split(text, metric, sizeof(metric), &expr))
        return error_set(
            err, ERR_INVALID,
            "%s: \"%s\" is not a threshold: expected 'METRIC: EXPR' such as 'publish_latency: p95 < 200ms'", as, text);
    if (threshold_parse(metric, expr, &t, err) || threshold_check(&t, err))
        return error_prefix(err, "%s", as);
    return 0;
}

static int check_url(const char *text, const char *as, struct error *err)
{
    struct url url;
    struct error why;
    if (strcmp(text, "embedded") == 0 || !url_parse(text, "mqtt", &url, &why))
        return 0;
    return error_set(err, ERR_INVALID, "%s: %s", as, why.text);
}

// "10" or "10%"
static int parse_percent(const char *text, double *out, struct error *err)
{
    char number[64];
    size_t n = strlen(text);
    n -= n > 1 && text[n - 1] == '%';
    snprintf(number, sizeof(number), "%.*s", (int)n, text);
    if (n < sizeof(number) && !double_parse(number, out, err) && *out > 0 && *out <= 1e6)
        return 0;
    return error_set(err, ERR_INVALID, "\"%s\" is not a percentage: expected a number above 0, such as 10", text);
}

static int parse_number(const struct option_spec *spec, const char *text, struct option_value *v, struct error *err)
{
    int64_t i;
    switch (spec->type) {
    case TYPE_COUNT:
        if (count_parse(text, &v->count, err))
            return -1;
        return v->count ? 0 : error_set(err, ERR_INVALID, "0 would run nothing: expected at least 1");
    case TYPE_INT:
        if (int_parse(text, 1, 4096, &i, err))
            return -1;
        v->count = (uint64_t)i;
        return 0;
    case TYPE_SEED:
        if (int_parse(text, 0, INT64_MAX, &i, err))
            return -1;
        v->count = (uint64_t)i;
        return 0;
    case TYPE_FACTOR:
        if (double_parse(text, &v->factor, err))
            return -1;
        return v->factor > 0
                   ? 0
                   : error_set(err, ERR_INVALID, "\"%s\" is not a factor: expected a number above 0 such as 0.5", text);
    case TYPE_PERCENT:
        return parse_percent(text, &v->factor, err);
    default:
        if (duration_parse(text, false, &v->us, err))
            return -1;
        return v->us > 0 ? 0 : error_set(err, ERR_INVALID, "0 has no effect: expected a duration such as 30s or 5m");
    }
}

static int parse(const struct option_spec *spec, const char *text, struct option_value *v, const char *as,
                 struct error *err)
{
    switch (spec->type) {
    case TYPE_BOOL:
        return parse_bool(text, &v->yes, as, err);
    case TYPE_CHOICE:
        return parse_choice(spec, text, &v->count, as, err);
    case TYPE_PARTITION:
        return parse_partition(text, v, as, err);
    case TYPE_URL:
        return check_url(text, as, err);
    case TYPE_THRESHOLD:
        return check_threshold(text, as, err);
    case TYPE_KEY_VALUE:
        if (!strchr(text, '=') || *text == '=')
            return error_set(err, ERR_INVALID, "%s: \"%.*s\" is not KEY=VALUE", as, (int)strcspn(text, "="), text);
        return 0;
    case TYPE_TEXT:
        if (!*text)
            return error_set(err, ERR_INVALID, "%s: empty; expected %s", as, spec->metavar);
        return 0;
    default:
        if (parse_number(spec, text, v, err))
            return error_prefix(err, "%s", as);
        return 0;
    }
}

static int add_item(struct option_value *v, const char *text, const char *as, struct error *err)
{
    if (v->n >= OPTION_ITEMS_MAX)
        return error_set(err, ERR_LIMIT, "%s: more than %d values", as, OPTION_ITEMS_MAX);
    char **items = realloc(v->items, (v->n + 1) * sizeof(*items));
    if (items)
        v->items = items;
    char *copy = items ? strdup(text) : NULL;
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, "%s: out of memory", as);
    v->items[v->n++] = copy;
    return 0;
}

int options_set(struct options *o, enum option_id id, const char *text, int layer, const char *from, const char *as,
                struct error *err)
{
    const struct option_spec *spec = &option_specs[id];
    struct option_value *v = &o->of[id], parsed = {0};
    if (parse(spec, text, &parsed, as, err))
        return -1;
    bool merge = spec->flags & OPTION_MERGE, list = spec->flags & OPTION_REPEAT;
    if (!merge && layer < v->layer)
        return 0;
    if (!merge && (!list || layer > v->layer))
        options_unset(o, id);
    if (add_item(v, text, as, err))
        return -1;
    v->yes = parsed.yes;
    v->count = parsed.count;
    v->factor = parsed.factor;
    v->us = parsed.us;
    v->part = parsed.part;
    v->parts = parsed.parts;
    v->layer = layer;
    snprintf(v->from, sizeof(v->from), "%s", from);
    return 0;
}

static int set_list(struct options *o, enum option_id id, char *values, const char *name, struct error *err)
{
    for (char *at = values; at;) {
        char *next = strchr(at, ';');
        if (next)
            *next++ = '\0';
        if (*at && options_set(o, id, at, LAYER_ENV, name, name, err))
            return -1;
        at = next;
    }
    return 0;
}

static int set_from_environment(struct options *o, enum option_id id, const char *name, const char *value,
                                struct error *err)
{
    if (!(option_specs[id].flags & OPTION_REPEAT))
        return options_set(o, id, value, LAYER_ENV, name, name, err);
    char *copy = strdup(value);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, "%s: out of memory", name);
    int rc = set_list(o, id, copy, name, err);
    free(copy);
    return rc;
}

int options_from_environment(struct options *o, const char *const *environ_, void (*warn)(void *arg, const char *text),
                             void *arg, struct error *err)
{
    char names[OPT_MAX][40];
    const char *candidates[OPT_MAX + 1] = {0};
    unsigned n = 0;
    for (int id = 0; id < OPT_MAX; id++) {
        option_env_name(&option_specs[id], names[id], sizeof(names[id]));
        if (!(option_specs[id].flags & OPTION_ONLY_FLAG))
            candidates[n++] = names[id] + 6; // without the prefix, which would make everything look alike
    }
    for (; *environ_; environ_++) {
        const char *equals = strchr(*environ_, '=');
        size_t len = equals ? (size_t)(equals - *environ_) : 0;
        if (len <= 6 || strncmp(*environ_, "IOTIX_", 6) || !equals[1])
            continue;
        int id = 0;
        while (id < OPT_MAX && (option_specs[id].flags & OPTION_ONLY_FLAG || strlen(names[id]) != len ||
                                strncmp(names[id], *environ_, len)))
            id++;
        if (id < OPT_MAX) {
            if (set_from_environment(o, (enum option_id)id, names[id], equals + 1, err))
                return -1;
            continue;
        }
        if (len > 13 && strncmp(*environ_, "IOTIX_SECRET_", 13) == 0)
            continue; // of secrets_find
        char name[64], text[256];
        snprintf(name, sizeof(name), "%.*s", (int)len, *environ_);
        const char *near = strlen(name) == len ? suggest(name + 6, candidates) : NULL;
        if (!near || !warn)
            continue;
        snprintf(text, sizeof(text), "%s is no option and has no effect (did you mean IOTIX_%s?)", name, near);
        warn(arg, text);
    }
    return 0;
}

// What makes the second of a pair pointless; the text completes "A: has no effect with B: ".
static const struct {
    enum option_id a, b;
    int b_choice; // -1: whenever b is given (and not switched off)
    const char *why;
} conflicts[] = {
    {OPT_THRESHOLD, OPT_NO_THRESHOLDS, -1, "no threshold would be checked"},
    {OPT_BASELINE, OPT_NO_THRESHOLDS, -1, "no threshold would be checked"},
    {OPT_MAX_REGRESSION, OPT_NO_THRESHOLDS, -1, "no threshold would be checked"},
    {OPT_ABORT_ON_FAIL, OPT_NO_THRESHOLDS, -1, "no threshold would be checked"},
    {OPT_DEVICES, OPT_STAGE, -1, "the stages say how many devices there are"},
    {OPT_SCALE, OPT_STAGE, -1, "the stages say how many devices there are"},
    {OPT_RAMP, OPT_STAGE, -1, "both say when devices start"},
    {OPT_VERBOSE, OPT_QUIET, -1, "one asks for more, the other for less"},
    {OPT_VERBOSE, OPT_LOG_LEVEL, -1, "both set the level of the log"},
    {OPT_PROGRESS, OPT_QUIET, -1, "-q shows no progress"},
    {OPT_PROGRESS_INTERVAL, OPT_QUIET, -1, "-q shows no progress"},
    {OPT_PROGRESS_INTERVAL, OPT_PROGRESS, 1, "the live block repaints four times a second"},
    {OPT_PROGRESS_INTERVAL, OPT_PROGRESS, 4, "there is no progress"},
    {OPT_DURATION, OPT_FOR, -1, "both say how long to run"},
    {OPT_DEVICES, OPT_SCALE, -1, "the first sets the number that the second would multiply"},
};

static bool in_effect(const struct options *o, enum option_id id)
{
    return option_given(o, id) && (option_specs[id].type != TYPE_BOOL || o->of[id].yes);
}

int options_settle(struct options *o, struct error *err)
{
    for (size_t i = 0; i < sizeof(conflicts) / sizeof(conflicts[0]); i++) {
        enum option_id a = conflicts[i].a, b = conflicts[i].b;
        if (!in_effect(o, a) || !in_effect(o, b))
            continue;
        if (conflicts[i].b_choice >= 0 && o->of[b].count != (uint64_t)conflicts[i].b_choice)
            continue;
        if (o->of[a].layer == o->of[b].layer)
            return error_set(err, ERR_INVALID, "--%s [%s] has no effect with --%s [%s]: %s", option_specs[a].name,
                             o->of[a].from, option_specs[b].name, o->of[b].from, conflicts[i].why);
        options_unset(o, o->of[a].layer < o->of[b].layer ? a : b);
    }
    return 0;
}
