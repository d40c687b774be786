// iotix.chaos: faults and profiles are checked while a scenario is loaded; functions of the timeline run in the
// director, each in a task with an owner of its own. What such a function has begun ends with it, however it ends.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "chaos/profile.h"
#include "core/jsonx.h"
#include "script/internal.h"
#include "script/link_bind.h"
#include "script/modules.h"

#define STOP_TIMEOUT_US 30000000
#define CUSTOM_MEMORY (64u << 20)

struct custom {
    struct task_owner owner; // kind OWNER_CUSTOM
    struct custom *next;
    struct scenario *scenario;
    uint64_t number; // of its experiment
    struct task *main;
    bool over;       // its tasks are being cancelled
    uint64_t *begun; // experiments
    unsigned n_begun;
};

// --- checks -------------------------------------------------------------------------------------------------------

static int answer(lua_State *L, bool ok, const struct error *err)
{
    if (!ok)
        return bind_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

// native.chaos_fault(fault) → true | nil, message
int chaos_fault_bind(lua_State *L)
{
    struct error err = {0};
    json_t *json = json_from_lua(L, 1, &err);
    struct fault_spec *spec = json ? fault_spec_parse(json, &err) : NULL;
    json_decref(json);
    bool ok = spec;
    fault_spec_release(spec);
    return answer(L, ok, &err);
}

// native.chaos_profile(profile) → true | nil, message
int chaos_profile_bind(lua_State *L)
{
    struct error err = {0};
    struct profile p;
    json_t *json = json_from_lua(L, 1, &err);
    bool ok = json && profile_parse(&p, json, &err) == 0;
    if (ok)
        profile_destroy(&p);
    json_decref(json);
    return answer(L, ok, &err);
}

// native.chaos_file(name) → text of a file beside the scenario | nil, message
int chaos_file_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    size_t n = 0;
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &n) : NULL;
    if (n < 1 || n > 255 || strlen(name) != n || name[0] == '/' || strstr(name, "..")) {
        lua_pushnil(L);
        lua_pushliteral(L, "expected the name of a file beside the scenario, such as \"depot.json\"");
        return 2;
    }
    if (modules_read(L, s->script_dir, name) == 0)
        return 1;
    int why = errno;
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", name,
                    why == EXDEV || why == ELOOP ? "it leads out of the scenario's directory" : strerror(why));
    return 2;
}

// Lua has no null that could stand in a list. Depth is bounded by what was parsed.
static bool has_null(const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    json_array_foreach(v, i, item) if (has_null(item)) return true;
    json_object_foreach((json_t *)(uintptr_t)v, key, item) if (has_null(item)) return true;
    return json_is_null(v);
}

// native.chaos_profile_file(name) → profile | nil, message
int chaos_profile_file_bind(lua_State *L)
{
    struct error err = {0};
    struct profile p;
    if (chaos_file_bind(L) != 1)
        return 2;
    size_t n;
    const char *text = lua_tolstring(L, -1, &n), *name = lua_tostring(L, 1);
    json_t *json = json_parse(text, n, name, &err);
    bool ok = json && profile_parse(&p, json, &err) == 0;
    if (ok)
        profile_destroy(&p);
    else if (json)
        error_prefix(&err, "%s", name);
    if (ok && has_null(json)) {
        ok = false;
        error_set(&err, ERR_INVALID, "%s: null is not possible here; a trace with empty cells is written as \"csv\"",
                  name);
    }
    if (ok)
        json_to_lua(L, json);
    json_decref(json);
    return ok ? 1 : bind_fail(L, &err);
}

// --- functions of the timeline ------------------------------------------------------------------------------------

static int custom_name(const struct task_owner *owner, struct buf *out)
{
    const struct custom *c = container_of(owner, struct custom, owner);
    return buf_printf(out, "experiment %llu", (unsigned long long)c->number);
}

static struct custom *custom_find(const struct scenario *s, uint64_t number)
{
    struct custom *c = s->customs;
    while (c && c->number != number)
        c = c->next;
    return c;
}

static void ignore(void *arg, const json_t *result, const struct error *err)
{
    (void)arg;
    (void)result;
    (void)err; // over by itself, or the run is ending: then everything heals
}

static void heal(struct scenario *s, uint64_t number)
{
    json_t *change = json_pack("{s:s, s:I}", "op", "experiment_stop", "number", (json_int_t)number);
    if (change)
        s->env->change(s->env->arg, change, STOP_TIMEOUT_US, ignore, NULL);
}

static void custom_free(struct custom *c)
{
    struct scenario *s = c->scenario;
    for (struct custom **at = &s->customs; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    links_owner_ended(&c->owner, false);
    guard_account_free(s->guard, c->owner.account);
    free(c->begun);
    free(c);
}

// Its tasks go, and what it began heals, the latest first. Not from inside one of its tasks.
static void custom_end(struct custom *c)
{
    c->over = true;
    task_cancel_all(c->scenario->tasks, &c->owner);
    while (c->n_begun)
        heal(c->scenario, c->begun[--c->n_begun]);
    custom_free(c);
}

void custom_task_ended(struct scenario *s, struct task_owner *owner, struct task *task, enum task_result result,
                       const char *text)
{
    struct custom *c = container_of(owner, struct custom, owner);
    bool main = task == c->main;
    if (main)
        c->main = NULL;
    if (c->over || (!main && result != TASK_ERROR))
        return;
    uint64_t number = c->number;
    char *why = result == TASK_ERROR ? strdup(text ? text : "it raised something that is not text") : NULL;
    custom_end(c);
    s->env->custom_done(s->env->arg, number, result == TASK_ERROR && !why ? "no memory" : why);
    free(why);
}

int scenario_direct(struct scenario *s, const struct test_env *env, struct error *err)
{
    (void)err;
    s->env_storage = *env;
    s->env = &s->env_storage;
    s->seed = env->seed;
    rng_seed(&s->run_rng, s->seed);
    return 0;
}

int scenario_custom_start(struct scenario *s, unsigned function, uint64_t number, struct error *err)
{
    lua_State *L = s->L;
    struct custom *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ERR_NO_MEMORY, "no memory for an experiment");
    c->scenario = s;
    c->number = number;
    c->owner.kind = OWNER_CUSTOM;
    c->owner.name = custom_name;
    c->owner.account = guard_account_new(s->guard, CUSTOM_MEMORY);
    c->next = s->customs;
    s->customs = c;
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->loaded);
    lua_getfield(L, top + 1, "custom_runner");
    lua_pushinteger(L, (lua_Integer)function);
    c->main = task_spawn(s->tasks, L, 1, &c->owner, err);
    lua_settop(L, top);
    if (c->main)
        return 0;
    custom_free(c);
    return -1;
}

void scenario_custom_stop(struct scenario *s, uint64_t number)
{
    struct custom *c = custom_find(s, number);
    if (c)
        custom_end(c);
}

void customs_close(struct scenario *s)
{
    while (s->customs) {
        s->customs->n_begun = 0; // the run ends: everything heals
        custom_end(s->customs);
    }
}

uint64_t custom_asking(struct scenario *s, struct task *t, const json_t *change)
{
    (void)s;
    const char *op = json_string_value(json_object_get(change, "op"));
    if (task_owner(t)->kind != OWNER_CUSTOM || !op || strcmp(op, "experiment") != 0)
        return 0;
    return container_of(task_owner(t), struct custom, owner)->number;
}

void custom_began(struct scenario *s, uint64_t custom, const json_t *result)
{
    uint64_t number = (uint64_t)json_integer_value(json_object_get(result, "number"));
    struct custom *c = custom_find(s, custom);
    uint64_t *grown = c ? realloc(c->begun, (c->n_begun + 1) * sizeof *grown) : NULL;
    if (!grown) {
        heal(s, number); // its window has ended meanwhile
        return;
    }
    c->begun = grown;
    c->begun[c->n_begun++] = number;
}
