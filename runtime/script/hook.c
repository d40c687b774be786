// Hooks: what a model leaves to Lua. Here those that answer at once, inside a tick of telemetry: generators and
// encoders; and where their functions are found. Commands and actions, which are tasks, are in hook_task.c.
//
// A function belongs to a group and is found before the group's first device starts. What it works with belongs to a
// device: one ctx table for each function and `params` it is called with, made at the first call and used again for
// all that follow, so that a tick makes no table. The call runs under the guard on the main state, where nothing can
// yield: after 50 ms it is raised out of. A function that did that HOOK_KILLS_MAX times in this process is not called
// any more, or every device would spend its 50 ms on it.
#include "script/internal.h"
#include <math.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "device/gateway.h"

enum {
    HOOK_KILLS_MAX = 10,
    HOOK_FAILURES_MAX = 10, // in a row, of one device: then the group's on_error applies
    HOOK_TEXT_MAX = 1 << 20,
    HOOK_SETS_MAX = 16 + MODEL_MAX_CHILD_KINDS, // models of a group and of its gateways' children, old ones too
    HOOK_SLOTS_MAX = 1024,
};

struct hook_function {
    char *name;
    int function; // registry reference
    unsigned kills;
};

// Which functions the hooks of a model are.
struct hook_set {
    struct hook_set *next;
    const struct model *model; // only compared
    unsigned n;
    unsigned functions[];
};

struct hook_slot {
    struct hook_slot *next;
    unsigned function;  // of the group
    unsigned failures;  // in a row
    json_t *params;     // owned; NULL: none. What is owned keeps its address to itself
    const void *stream; // of an encoder, else NULL
    int64_t first_us;   // loop time of its first call
    int ctx;            // registry references
    int values;         // of an encoder
};

struct handle_values {
    uint32_t tag;
    slot_id id;
};

// --- functions ----------------------------------------------------------------------------------------------------

static struct scenario_group *group_of(struct scenario *s, const struct group *g)
{
    return &s->groups[g->config.number];
}

static int resolve_body(lua_State *L)
{
    lua_call(L, 2, 2);
    return 2;
}

// The resolver of product Lua: (group, handler) → function | nil, message. Loads modules, so bounded as loading is.
static int find_function(struct scenario *s, const char *group, const char *handler, struct error *err)
{
    lua_State *L = s->L;
    int top = lua_gettop(L), found = LUA_NOREF;
    lua_pushcfunction(L, resolve_body);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->hook_resolver);
    lua_pushstring(L, group);
    lua_pushstring(L, handler);
    guard_enter_load(s->guard, L);
    int rc = lua_pcall(L, 3, 2, 0);
    guard_leave(s->guard, NULL);
    const char *text = lua_tostring(L, -1);
    if (!rc && lua_isfunction(L, -2)) {
        lua_pop(L, 1);
        found = guard_ref(L);
    } else {
        error_set(err, rc ? ERR_INVALID : ERR_NOT_FOUND, "%s", text ? text : "its module raised something");
    }
    lua_settop(L, top);
    return found;
}

static int function_number(struct scenario *s, struct group *g, const char *handler, struct error *err)
{
    struct scenario_group *sg = group_of(s, g);
    for (unsigned i = 0; i < sg->n_hook_functions; i++) {
        if (!strcmp(sg->hook_functions[i].name, handler))
            return (int)i;
    }
    struct hook_function *more = realloc(sg->hook_functions, (sg->n_hook_functions + 1) * sizeof *more);
    char *name = more ? strdup(handler) : NULL;
    if (more)
        sg->hook_functions = more;
    if (!name)
        return error_set(err, ERR_NO_MEMORY, "no memory for a handler");
    int function = find_function(s, g->config.name, handler, err);
    if (function == LUA_NOREF) {
        free(name);
        return -1;
    }
    more[sg->n_hook_functions] = (struct hook_function){.name = name, .function = function};
    return (int)sg->n_hook_functions++;
}

static void keep_set(struct scenario_group *sg, struct hook_set *set)
{
    unsigned n = 0;
    set->next = sg->hook_sets;
    sg->hook_sets = set;
    for (struct hook_set **at = &sg->hook_sets; *at; n++) {
        struct hook_set *old = *at;
        if (old == set || (old->model != set->model && n < HOOK_SETS_MAX)) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        free(old);
    }
}

int script_hook_resolve(void *arg, struct group *g, const struct model *model, struct error *err)
{
    struct scenario *s = arg;
    struct scenario_group *sg = group_of(s, g);
    struct hook_set *set = calloc(1, sizeof *set + model->n_hooks * sizeof set->functions[0]);
    if (!set)
        return error_set(err, ERR_NO_MEMORY, "no memory for handlers");
    set->model = model;
    set->n = model->n_hooks;
    for (unsigned i = 0; i < model->n_hooks; i++) {
        int number = function_number(s, g, model->hooks[i], err);
        if (number < 0) {
            free(set);
            return error_prefix(err, "group %s: model %s", g->config.name, model->path);
        }
        set->functions[i] = (unsigned)number;
    }
    sg->hook_epoch++;
    keep_set(sg, set);
    return 0;
}

void hook_group_free(struct scenario_group *sg)
{
    while (sg->hook_sets) {
        struct hook_set *set = sg->hook_sets;
        sg->hook_sets = set->next;
        free(set);
    }
    for (unsigned i = 0; i < sg->n_hook_functions; i++)
        free(sg->hook_functions[i].name);
    free(sg->hook_functions);
}

// Number of the function in its group, or -1.
static int function_of(struct scenario *s, const struct device *d, int hook, struct error *err)
{
    const struct hook_set *set = group_of(s, d->group)->hook_sets;
    while (set && set->model != d->group->config.model)
        set = set->next;
    if (set && hook >= 0 && (unsigned)hook < set->n)
        return (int)set->functions[hook];
    return error_set(err, ERR_INTERNAL, "handler %d of the model was never looked for", hook);
}

int hook_push_function(struct scenario *s, const struct device *d, int hook, struct error *err)
{
    int number = function_of(s, d, hook, err);
    if (number < 0)
        return -1;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, group_of(s, d->group)->hook_functions[number].function);
    return 0;
}

// --- the record of a device -----------------------------------------------------------------------------------------

struct behaviour *hook_record(struct scenario *s, struct device *d, struct error *err)
{
    if (d->state != DEVICE_STARTING && d->state != DEVICE_RUNNING) {
        error_set(err, ERR_STATE, "the device is %s", device_state_name(d->state));
        return NULL;
    }
    struct behaviour *b = d->behaviour;
    if (b)
        return b;
    b = behaviour_new(s, d, err);
    if (!b)
        return NULL;
    b->hooks_only = true;
    b->owner.warm[1] = d->conn;
    d->behaviour = b;
    return b;
}

static void slot_free(struct scenario *s, struct hook_slot *slot)
{
    luaL_unref(s->L, LUA_REGISTRYINDEX, slot->ctx);
    luaL_unref(s->L, LUA_REGISTRYINDEX, slot->values);
    json_decref(slot->params);
    free(slot);
}

void hook_slots_free(struct scenario *s, struct behaviour *b)
{
    while (b->hook_slots) {
        struct hook_slot *slot = b->hook_slots;
        b->hook_slots = slot->next;
        slot_free(s, slot);
    }
}

// ctx of a device and a function: what never changes is set here.
static int make_ctx(struct scenario *s, struct device *d, const json_t *params, bool has_values)
{
    lua_State *L = s->L;
    lua_createtable(L, 0, 8);
    buf_clear(&s->topic);
    if (device_name(d, &s->topic) == 0) {
        lua_pushlstring(L, (const char *)s->topic.data, s->topic.len);
        lua_setfield(L, -2, "id");
    }
    lua_pushstring(L, d->group->config.name);
    lua_setfield(L, -2, "group");
    lua_pushnumber(L, (double)d->index);
    lua_setfield(L, -2, "index");
    lua_newtable(L);
    lua_setfield(L, -2, "state");
    if (params)
        json_to_lua(L, params);
    else
        lua_newtable(L);
    lua_setfield(L, -2, "params");
    if (has_values) {
        struct handle_values *h = lua_newuserdata(L, sizeof *h);
        *h = (struct handle_values){HANDLE_VALUES, d->id};
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->values_meta);
        lua_setmetatable(L, -2);
        lua_setfield(L, -2, "values");
    }
    return guard_ref(L);
}

// After a change of the model a stream's address may mean another one; params are held, theirs cannot.
static void drop_stale(struct scenario *s, struct behaviour *b, const struct scenario_group *sg)
{
    if (b->hook_epoch == sg->hook_epoch)
        return;
    b->hook_epoch = sg->hook_epoch;
    for (struct hook_slot **at = &b->hook_slots; *at;) {
        struct hook_slot *slot = *at;
        if (!slot->stream) {
            at = &slot->next;
            continue;
        }
        *at = slot->next;
        slot_free(s, slot);
    }
}

static struct hook_slot *find_slot(struct behaviour *b, unsigned function, const json_t *params, const void *stream)
{
    struct hook_slot *like = NULL;
    for (struct hook_slot *slot = b->hook_slots; slot; slot = slot->next) {
        if (slot->function != function || slot->stream != stream)
            continue;
        if (slot->params == params)
            return slot;
        if (params && slot->params && !like && json_equal(slot->params, params))
            like = slot;
    }
    return like;
}

// Only many changes of the model make so many: the oldest are those of former ones.
static void drop_oldest(struct scenario *s, struct behaviour *b)
{
    struct hook_slot **at = &b->hook_slots;
    for (unsigned n = 1; *at && n < HOOK_SLOTS_MAX; n++)
        at = &(*at)->next;
    struct hook_slot *oldest = *at;
    if (!oldest)
        return;
    *at = oldest->next;
    slot_free(s, oldest);
}

static struct hook_slot *slot_of(struct scenario *s, struct behaviour *b, unsigned function, const json_t *params,
                                 const void *stream, bool has_values, struct error *err)
{
    drop_stale(s, b, group_of(s, b->device->group));
    struct hook_slot *slot = find_slot(b, function, params, stream);
    if (slot)
        return slot;
    drop_oldest(s, b);
    slot = calloc(1, sizeof *slot);
    if (!slot) {
        error_set(err, ERR_NO_MEMORY, "no memory for a handler's context");
        return NULL;
    }
    slot->function = function;
    slot->params = json_incref((json_t *)(uintptr_t)params);
    slot->stream = stream;
    slot->first_us = loop_now_us(s->config.loop);
    uint32_t former = guard_charge(s->guard, b->owner.account);
    slot->ctx = make_ctx(s, b->device, params, has_values);
    lua_newtable(s->L);
    slot->values = stream ? guard_ref(s->L) : (lua_pop(s->L, 1), LUA_NOREF);
    guard_charge(s->guard, former);
    slot->next = b->hook_slots;
    b->hook_slots = slot;
    return slot;
}

// --- values -------------------------------------------------------------------------------------------------------

// ctx.values.NAME: the device's latest value, looked up when it is asked for.
static int values_index(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct handle_values *h = lua_touserdata(L, 1);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
    const struct device *d = h && h->tag == HANDLE_VALUES ? fleet_find(s->fleet, h->id) : NULL;
    const struct model *m = d ? d->group->config.model : NULL;
    int slot = m ? model_slot(m, name) : -1;
    struct value v;
    if (slot < 0) {
        char names[300] = "";
        size_t used = 0;
        for (unsigned i = 0; m && i < m->n_attributes && used < sizeof names; i++)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", m->names[i]);
        return luaL_error(L, "the model has no attribute \"%s\"; it has: %s", name, names);
    }
    device_value(d, (unsigned)slot, &v);
    value_to_lua(L, &v);
    return 1;
}

static int values_newindex(lua_State *L)
{
    return luaL_error(L, "ctx.values cannot be changed; keep your own in ctx.state");
}

static int traceback(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

void hook_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg meta[] = {{"__index", values_index}, {"__newindex", values_newindex}, {NULL, NULL}};
    bind_metatable(L, s, meta, NULL);
    s->values_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, traceback);
    s->traceback = luaL_ref(L, LUA_REGISTRYINDEX);
}

// --- a call ---------------------------------------------------------------------------------------------------------

struct call {
    struct scenario *s;
    struct device *device;
    struct behaviour *b;
    struct hook_slot *slot;
    struct hook_function *function;
    int top;
};

static void log_failure(const struct call *c, const char *text)
{
    uint32_t second = (uint32_t)(loop_now_us(c->s->config.loop) / 1000000) + 1;
    if (c->b->hook_log_second == second)
        return;
    c->b->hook_log_second = second;
    scenario_log(c->s, c->b, LOG_ERROR, "handler %s: %s", c->function->name, text);
}

// May end the device, and with it c->b and c->slot. Returns -1.
static int failed(struct call *c, bool hopeless, const char *text, struct error *err)
{
    struct device *d = c->device;
    char why[sizeof err->text];
    counter_add(group_of(c->s, d->group)->errors, 1);
    log_failure(c, text);
    snprintf(why, sizeof why, "handler %s: %.*s", c->function->name, (int)strcspn(text, "\n"), text);
    error_set(err, ERR_INVALID, "%s", why);
    lua_settop(c->s->L, c->top);
    if (++c->slot->failures >= HOOK_FAILURES_MAX || hopeless)
        device_finished(d, why);
    return -1;
}

static int begin(struct call *c, struct scenario *s, struct device *d, int hook, const json_t *params,
                 const struct model_stream *stream, bool has_values, struct error *err)
{
    *c = (struct call){.s = s, .device = d, .top = lua_gettop(s->L)};
    int number = function_of(s, d, hook, err);
    if (number < 0 || !(c->b = hook_record(s, d, err)))
        return -1;
    c->function = &group_of(s, d->group)->hook_functions[number];
    if (s->in_hook || task_running(s->tasks))
        return error_set(err, ERR_STATE, "handler %s: called while other Lua of this shard runs", c->function->name);
    c->slot = slot_of(s, c->b, (unsigned)number, params, stream, has_values, err);
    if (!c->slot)
        return -1;
    if (c->function->kills >= HOOK_KILLS_MAX)
        return failed(c, true, "is not called any more: it ran too long too often", err);
    return 0;
}

static void set_number(lua_State *L, const char *key, double v)
{
    lua_pushstring(L, key);
    lua_pushnumber(L, v);
    lua_rawset(L, -3);
}

// Calls function(arguments on the stack above c->top). Its one result is at the top of the stack.
static int run(struct call *c, int nargs, struct error *err)
{
    struct scenario *s = c->s;
    lua_State *L = s->L;
    const struct task_owner *owner = &c->b->owner;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->traceback);
    lua_insert(L, c->top + 1);
    s->in_hook = c->b;
    tasks_forbid(s->tasks, "the handler of a generator or an encoder answers at once");
    guard_enter_call(s->guard, L, owner->account, owner->device, owner->group);
    int rc = lua_pcall(L, nargs, 1, c->top + 1);
    enum guard_verdict verdict = guard_leave(s->guard, NULL);
    s->in_hook = NULL;
    tasks_forbid(s->tasks, NULL);
    if (c->device->behaviour != c->b) { // what it called has ended the device
        lua_settop(L, c->top);
        return error_set(err, ERR_STATE, "the device was stopped");
    }
    if (verdict >= GUARD_KILL_CPU) {
        char text[2400];
        snprintf(text, sizeof text, "%s\n%s", guard_reason(s->guard), guard_trace(s->guard));
        c->function->kills += verdict == GUARD_KILL_CPU;
        counter_add(s->kills, 1);
        return failed(c, true, text, err);
    }
    if (!rc)
        return 0;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    return failed(c, false, text ? text : "raised something that is not text", err);
}

static int wrong_result(struct call *c, const char *expected, struct error *err)
{
    char text[200];
    snprintf(text, sizeof text, "returned %s%s; expected %s", lua_isnil(c->s->L, -1) ? "" : "a ",
             lua_isnil(c->s->L, -1) ? "nothing" : luaL_typename(c->s->L, -1), expected);
    return failed(c, false, text, err);
}

// --- generators -----------------------------------------------------------------------------------------------------

static int take_text(struct call *c, const char *s, size_t n, enum value_type type, struct scratch *scratch,
                     struct value *out, struct error *err)
{
    if (n > HOOK_TEXT_MAX)
        return failed(c, false, "returned more than 1 MB", err);
    const char *copy = scratch ? scratch_copy(scratch, s, n) : NULL;
    if (!copy)
        return failed(c, false, "what it returned does not fit into the message", err);
    *out = (struct value){.type = type, .str = {copy, n}};
    return 0;
}

static int take_table(struct call *c, struct scratch *scratch, struct value *out, struct error *err)
{
    struct scenario *s = c->s;
    struct error why = {0};
    buf_clear(&s->scratch);
    int rc = json_encode_value(s->L, -1, &s->scratch, &why);
    if (rc)
        failed(c, false, why.text, err);
    else
        rc = take_text(c, (const char *)s->scratch.data, s->scratch.len, VALUE_JSON, scratch, out, err);
    buf_clear(&s->scratch);
    return rc;
}

static int take_value(struct call *c, struct scratch *scratch, struct value *out, struct error *err)
{
    lua_State *L = c->s->L;
    size_t n;
    const char *s;
    out->type = VALUE_NULL;
    switch (lua_type(L, -1)) {
    case LUA_TNIL:
        return 0;
    case LUA_TNUMBER:
        if (isfinite(lua_tonumber(L, -1)))
            *out = (struct value){.type = VALUE_NUMBER, .number = lua_tonumber(L, -1)};
        return 0;
    case LUA_TBOOLEAN:
        *out = (struct value){.type = VALUE_BOOLEAN, .boolean = lua_toboolean(L, -1)};
        return 0;
    case LUA_TSTRING:
        s = lua_tolstring(L, -1, &n);
        return take_text(c, s, n, VALUE_STRING, scratch, out, err);
    case LUA_TTABLE:
        return take_table(c, scratch, out, err);
    default:
        return wrong_result(c, "a number, a text, true, false, a table or nil", err);
    }
}

int script_hook_generate(void *arg, struct device *d, int hook, const json_t *params, const struct gen_context *context,
                         struct value *out, struct error *err)
{
    struct scenario *s = arg;
    lua_State *L = s->L;
    struct call c;
    if (begin(&c, s, d, hook, params, NULL, context->values != NULL, err))
        return -1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c.function->function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c.slot->ctx);
    set_number(L, "time", (double)context->time_us / 1e6);
    set_number(L, "wall", (double)context->wall_us / 1e6);
    if (run(&c, 1, err) || take_value(&c, context->scratch, out, err))
        return -1;
    c.slot->failures = 0;
    lua_settop(L, c.top);
    return 0;
}

// --- encoders -------------------------------------------------------------------------------------------------------

static void fill_values(lua_State *L, const struct model_stream *stream, const struct value *values)
{
    for (unsigned i = 0; i < stream->n_attributes; i++) {
        lua_pushstring(L, stream->attributes[i].name);
        value_to_lua(L, &values[i]);
        lua_rawset(L, -3);
    }
}

int script_hook_encode(void *arg, struct device *d, int hook, const struct model_stream *stream,
                       const struct payload_scope *scope, struct buf *out, struct error *err)
{
    struct scenario *s = arg;
    lua_State *L = s->L;
    struct call c;
    if (begin(&c, s, d, hook, NULL, stream, false, err))
        return -1;
    uint32_t former = guard_charge(s->guard, c.b->owner.account);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c.function->function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c.slot->values);
    fill_values(L, stream, scope->values);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c.slot->ctx);
    set_number(L, "time", (double)(loop_now_us(s->config.loop) - c.slot->first_us) / 1e6);
    set_number(L, "wall", (double)scope->wall_us / 1e6);
    guard_charge(s->guard, former);
    if (run(&c, 2, err))
        return -1;
    if (lua_type(L, -1) != LUA_TSTRING)
        return wrong_result(&c, "a text (\"\" sends nothing)", err);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    if (buf_append(out, text, n))
        return failed(&c, false, "returned more than 1 MB", err);
    c.slot->failures = 0;
    lua_settop(L, c.top);
    return 0;
}
