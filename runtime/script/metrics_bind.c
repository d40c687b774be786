// iotix.metrics: a scenario's own metrics. They are declared while the scenario is loaded, by every process that loads
// it, so that a threshold on one can be checked before the run; a handle is that declaration, shared by all devices.
// What a device records carries its group, what it says beside that makes a series of its own, up to a cap for each
// metric and shard.
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "script/internal.h"

enum { METRICS_MAX = 200, SERIES_OF_ONE = 1000, TAGS_SIZE = 513 };

struct user_metric {
    char name[64];
    enum metric_type type;
    enum metric_unit unit;
    enum gauge_merge merge;
    char tags[TAGS_SIZE];      // its own, "" for none
    struct metric **by_group;  // of devices that say no tags; NULL until first needed
    struct metric *of_the_run; // of the test
    json_t *tagged;            // tags → address of the series, as an integer
};

struct user_metrics {
    struct user_metric *list[METRICS_MAX];
    unsigned n;
};

struct handle_metric {
    uint32_t tag;
    struct user_metric *metric; // lives as long as the scenario
};

static const char *const type_names[] = {"counter", "gauge", "rate", "trend", NULL}; // as enum metric_type
static const char *const unit_names[] = {"", "time", "bytes", NULL};                 // as enum metric_unit

void user_metrics_free(struct scenario *s)
{
    struct user_metrics *all = s->user_metrics;
    for (unsigned i = 0; all && i < all->n; i++) {
        free(all->list[i]->by_group);
        json_decref(all->list[i]->tagged);
        free(all->list[i]);
    }
    free(all);
    s->user_metrics = NULL;
}

static struct user_metric *find(const struct scenario *s, const char *name)
{
    for (unsigned i = 0; s->user_metrics && i < s->user_metrics->n; i++)
        if (strcmp(s->user_metrics->list[i]->name, name) == 0)
            return s->user_metrics->list[i];
    return NULL;
}

static struct metric *series_of(struct scenario *s, const struct user_metric *u, const char *tags, struct error *err)
{
    struct metrics *m = s->config.metrics;
    return u->type == METRIC_GAUGE ? metrics_gauge(m, u->name, u->merge, tags, err)
                                   : metrics_series(m, u->name, u->type, u->unit, tags, err);
}

static struct user_metric *declare(struct scenario *s, const struct user_metric *like, struct error *err)
{
    if (!s->user_metrics)
        s->user_metrics = calloc(1, sizeof *s->user_metrics);
    struct user_metrics *all = s->user_metrics;
    if (all && all->n == METRICS_MAX) {
        error_set(err, ERR_LIMIT, "more than %d metrics of one's own", METRICS_MAX);
        return NULL;
    }
    // One series without tags at once: its name and tags are checked while the scenario is loaded, and a metric that
    // nobody records is there all the same.
    struct user_metric *u = all ? malloc(sizeof *u) : NULL;
    if (!u) {
        error_set(err, ERR_NO_MEMORY, "no memory for a metric");
        return NULL;
    }
    *u = *like;
    u->of_the_run = series_of(s, u, u->tags, err);
    u->tagged = u->of_the_run ? json_object() : NULL;
    if (!u->tagged) {
        if (u->of_the_run)
            error_set(err, ERR_NO_MEMORY, "no memory for a metric");
        free(u);
        return NULL;
    }
    return all->list[all->n++] = u;
}

// native.metric(type, name, unit, merge, tags) → handle | nil, message. The arguments are checked by iotix.metrics.
int metric_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct error err = {0};
    struct user_metric like = {.type = (enum metric_type)bind_option(L, 1, "type", type_names, -1),
                               .unit = (enum metric_unit)bind_option(L, 3, "unit", unit_names, 0),
                               .merge = strcmp(luaL_optstring(L, 4, "sum"), "max") == 0 ? GAUGE_MAX : GAUGE_SUM};
    snprintf(like.name, sizeof like.name, "%s", luaL_checkstring(L, 2));
    snprintf(like.tags, sizeof like.tags, "%s", luaL_optstring(L, 5, ""));
    if (s->in_hook || task_running(s->tasks))
        return luaL_error(L, "declare metrics while the scenario is loaded, outside of behaviours and of the test");
    struct user_metric *u = find(s, like.name);
    if (u && (u->type != like.type || u->unit != like.unit || u->merge != like.merge || strcmp(u->tags, like.tags))) {
        error_set(&err, ERR_INVALID, "%s is declared already, as a %s with another unit, merge or tags", like.name,
                  type_names[u->type]);
        return bind_fail(L, &err);
    }
    if (!u && !(u = declare(s, &like, &err)))
        return bind_fail(L, &err);
    struct handle_metric *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_metric){HANDLE_METRIC, u};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->metric_meta);
    lua_setmetatable(L, -2);
    return 1;
}

// native.metrics() → { { name =, type =, unit = }, … } of those that are declared
int metrics_bind(lua_State *L)
{
    const struct user_metrics *all = scenario_of(L)->user_metrics;
    lua_newtable(L);
    for (unsigned i = 0; all && i < all->n; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, all->list[i]->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, type_names[all->list[i]->type]);
        lua_setfield(L, -2, "type");
        lua_pushstring(L, unit_names[all->list[i]->unit]);
        lua_setfield(L, -2, "unit");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

// --- recording ------------------------------------------------------------------------------------------------------

static struct user_metric *check(lua_State *L, const char *method, unsigned types)
{
    const struct handle_metric *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!h || h->tag != HANDLE_METRIC)
        luaL_error(L, "expected a metric as self: call it as metric:%s(...), with a colon", method);
    else if (!(types & 1u << h->metric->type))
        luaL_error(L, "%s is a %s; valid for it: %s", h->metric->name, type_names[h->metric->type],
                   h->metric->type == METRIC_GAUGE ? "set, add" : "add");
    return h ? h->metric : NULL;
}

// "group:NAME,TAGS OF THE METRIC,TAGS OF THE CALL" into s->scratch.
static int put_tags(lua_State *L, struct scenario *s, const struct user_metric *u, const struct device *d, int table)
{
    struct buf *b = &s->scratch;
    buf_clear(b);
    int rc = d ? buf_printf(b, "group:%s,", d->group->config.name) : 0;
    if (*u->tags)
        rc |= buf_printf(b, "%s,", u->tags);
    if (table) {
        lua_pushnil(L);
        while (rc == 0 && lua_next(L, table)) {
            bool text = lua_type(L, -2) == LUA_TSTRING && (lua_type(L, -1) == LUA_TSTRING || lua_isnumber(L, -1));
            if (!text)
                return luaL_error(L, "%s: tags are texts by name, such as { kind = \"order\" }", u->name);
            lua_pushvalue(L, -1); // tostring of a number must not change what lua_next looks at
            const char *key = lua_tostring(L, -3), *value = lua_tostring(L, -1);
            if (strpbrk(key, ",:{}") || strpbrk(value, ",:{}"))
                return luaL_error(L, "%s: no , : { or } in tags", u->name);
            rc = buf_printf(b, "%s:%s,", key, value);
            lua_pop(L, 2);
        }
    }
    if (rc)
        return luaL_error(L, "%s: too many tags", u->name);
    if (b->len)
        b->len--; // the last comma
    return 0;
}

// The series of a call with tags: a lookup by their text, made when they are first seen. Past the cap they share one.
static struct metric *tagged(lua_State *L, struct scenario *s, struct user_metric *u, const struct device *d)
{
    struct error err = {0};
    put_tags(L, s, u, d, 3);
    const json_t *known = json_object_get(u->tagged, buf_cstr(&s->scratch));
    struct metric *at = known ? (struct metric *)(uintptr_t)json_integer_value(known) : NULL;
    bool full = !at && json_object_size(u->tagged) >= SERIES_OF_ONE;
    if (!at) {
        at = series_of(s, u, full ? "overflow:true" : buf_cstr(&s->scratch), &err);
        if (full)
            metrics_note_overflow(s->config.metrics);
        else if (at)
            (void)!json_object_set_new(u->tagged, buf_cstr(&s->scratch), json_integer((json_int_t)(uintptr_t)at));
    }
    buf_clear(&s->scratch);
    if (!at)
        luaL_error(L, "%s: %s", u->name, err.text);
    return at;
}

static struct metric *of_group(lua_State *L, struct scenario *s, struct user_metric *u, const struct device *d)
{
    unsigned number = d->group->config.number;
    struct error err = {0};
    if (!u->by_group && !(u->by_group = calloc(s->n_groups ? s->n_groups : 1, sizeof(struct metric *))))
        luaL_error(L, "%s: no memory", u->name);
    struct metric **at = &u->by_group[number];
    if (*at)
        return *at;
    put_tags(L, s, u, d, 0);
    *at = series_of(s, u, buf_cstr(&s->scratch), &err);
    buf_clear(&s->scratch);
    if (!*at)
        luaL_error(L, "%s: %s", u->name, err.text);
    return *at;
}

static struct metric *series_now(lua_State *L, struct user_metric *u)
{
    struct scenario *s = scenario_of(L);
    const struct device *d = scenario_device(s);
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        return tagged(L, s, u, d);
    }
    return d && d->group->config.number < s->n_groups ? of_group(L, s, u, d) : u->of_the_run;
}

// Times are seconds or "20ms"; the rest plain numbers.
static double check_value(lua_State *L, const struct user_metric *u)
{
    if (u->unit == UNIT_TIME_US)
        return (double)bind_duration(L, 2, u->name);
    double v = luaL_checknumber(L, 2);
    if (v != v)
        luaL_error(L, "%s: not a number", u->name);
    return v;
}

static int add_bind(lua_State *L)
{
    struct user_metric *u = check(L, "add", 15);
    if (u->type == METRIC_RATE) {
        luaL_checktype(L, 2, LUA_TBOOLEAN);
        rate_add(series_now(L, u), lua_toboolean(L, 2));
        return 0;
    }
    if (u->type == METRIC_COUNTER && lua_isnoneornil(L, 2)) {
        counter_add(series_now(L, u), 1);
        return 0;
    }
    double v = check_value(L, u);
    if (u->type == METRIC_GAUGE) {
        gauge_add(series_now(L, u), v);
        return 0;
    }
    if (u->type == METRIC_COUNTER && (v < 0 || v > 0x1p53 || v != (double)(uint64_t)v))
        return luaL_error(L, "%s is a counter: expected a whole number of 0 or more, got %f", u->name, v);
    if (u->type == METRIC_TREND && v < 0)
        return luaL_error(L, "%s is a trend: its values are 0 or more, got %f", u->name, v);
    if (u->type == METRIC_COUNTER)
        counter_add(series_now(L, u), (uint64_t)v);
    else
        trend_add(series_now(L, u), v < 9e15 ? (int64_t)(v + 0.5) : (int64_t)9e15);
    return 0;
}

static int set_bind(lua_State *L)
{
    struct user_metric *u = check(L, "set", 1u << METRIC_GAUGE);
    double v = check_value(L, u);
    gauge_set(series_now(L, u), v);
    return 0;
}

void metrics_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {{"add", add_bind}, {"set", set_bind}, {NULL, NULL}};
    bind_metatable(L, s, NULL, methods);
    s->metric_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
