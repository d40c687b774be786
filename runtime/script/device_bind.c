// The device handle of a behaviour: dev:connect, on, every, sleep, log …, dev.id, index, group, state. What its
// connection does is in message_bind.c, request_bind.c and serve_bind.c.
//
// A handle holds the device's id with its generation. Methods come from one table that authors never see; what is not a
// method is a property.
#include "script/conn.h"
#include "device/gateway.h"
#include <string.h>

// An upvalue of its iterator: a blocked call keeps its function alive, and nothing else of what it was called with.
struct every {
    uint32_t ticks;
    int64_t interval_us, jitter_us;
    int64_t next_us; // without jitter
    int64_t due_us;  // with jitter, and not before it was asked for: what lateness is measured from
    struct due due;  // of what the turn does
    uint32_t pauses; // task_pauses when the turn began to wait
    struct loop *loop;
    struct metric *late_ticks; // of the device's group; lives as long as the process
};

static struct device *find_device(lua_State *L, struct scenario *s, int arg) // NULL: gone for good
{
    struct handle_device *h = lua_type(L, arg) == LUA_TUSERDATA ? lua_touserdata(L, arg) : NULL;
    if (!h || h->tag != HANDLE_DEVICE)
        luaL_error(L, "expected a device as self: call it as dev:name(...), with a colon");
    struct device *d = scenario_device(s); // nearly always: its memory is at hand, the table of ids is not
    if (d && d->id == h->id)
        return d;
    return s->fleet ? fleet_find(s->fleet, h->id) : NULL;
}

// Methods are for the tasks of the device itself: handles can get around (tasks of a shard share the file's local
// variables), but on another shard the other device would not be there.
static struct device *check_device(lua_State *L, struct scenario *s)
{
    struct device *d = find_device(L, s, 1);
    if (!d || !d->behaviour)
        luaL_error(L, "the device is gone: it was stopped");
    else if (d->behaviour != scenario_behaviour(s))
        luaL_error(
            L, "this is the handle of another device; a device acts for itself only, reach others through the broker");
    return d;
}

struct device *device_check(lua_State *L, struct scenario *s)
{
    return check_device(L, s);
}

int device_handle_push(lua_State *L, struct scenario *s, struct device *d)
{
    struct handle_device *h = lua_newuserdata(L, sizeof *h);
    h->tag = HANDLE_DEVICE;
    h->id = d->id;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->device_meta);
    lua_setmetatable(L, -2);
    return 1;
}

// --- the connection -------------------------------------------------------------------------------------------------

// dev:connect{ timeout=, retry= } → true | nil, message, code
static int dev_connect(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    static const char *const keys[] = {"timeout", "retry", NULL};
    struct wait like = {.kind = WAIT_ONLINE, .retry = true};
    int64_t timeout = -1;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        bind_check_keys(L, 2, "dev:connect", keys);
        timeout = bind_opt_duration(L, 2, "timeout", -1);
        like.retry = bind_opt_bool(L, 2, "retry", true);
    }
    struct task *t = task_current(s->tasks, L, "dev:connect");
    if (device_online(d)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    // What is under way already is only waited for; a connection that is closing is followed by a new one.
    struct error err = {0};
    if (device_idle(d) && device_connect(d, &err))
        return bind_fail(L, &err);
    return wait_block(L, s, d, &like, timeout, t);
}

// dev:disconnect(mode?) → true; mode "abrupt": no DISCONNECT packet, so that the will is sent
static int dev_disconnect(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    static const char *const modes[] = {"graceful", "abrupt", NULL};
    int mode = bind_option(L, 2, "dev:disconnect", modes, 0);
    device_disconnect(d, mode ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
    lua_pushboolean(L, 1);
    return 1;
}

// dev:on(event, fn): "command" subscribes the device's command topic as well, now or when the device comes online
static int dev_on(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    struct port p = {.device = d, .behaviour = d->behaviour, .who = "dev"};
    static const char *const events[] = {"command", "message", "connect", "disconnect", "auth", NULL};
    int event = bind_option(L, 2, "dev:on", events, -1);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (event == 4)
        return auth_register(L, &p, 3);
    if (event != 0) {
        handler_add(L, &p, 3, HANDLER_EVENT, events[event], strlen(events[event]));
        lua_pushboolean(L, 1);
        return 1;
    }
    struct task *t = task_current(s->tasks, L, "dev:on(\"command\")");
    struct error err = {0};
    if (hook_takes_commands(d)) { // subscribed with the model's commands, at each connect
        handler_add(L, &p, 3, HANDLER_EVENT, "command", 7)->command = true;
        lua_pushboolean(L, 1);
        return 1;
    }
    if (port_topic(s, d, "command", 7, &s->topic, &err))
        return port_refused(L, &p, "on", &err);
    struct handler *h = handler_add(L, &p, 3, HANDLER_SUBSCRIPTION, buf_cstr(&s->topic), s->topic.len);
    h->command = true;
    h->qos = (uint8_t)(d->group->config.qos ? d->group->config.qos : 1);
    return handler_subscribe(L, s, &p, h, t);
}

// --- time -----------------------------------------------------------------------------------------------------------

static int dev_sleep(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    check_device(L, s);
    int64_t us = bind_duration(L, 2, "dev:sleep");
    return task_sleep(L, task_current(s->tasks, L, "dev:sleep"), us);
}

static int push_tick(lua_State *L, void *arg)
{
    const struct every *e = arg;
    late_ticks_count(e->late_ticks, e->interval_us, loop_now_us(e->loop) - e->due_us, 0);
    loop_due_set(e->loop, &e->due);
    lua_pushinteger(L, (lua_Integer)e->ticks);
    return 1;
}

static void every_fire(struct timer *timer, void *arg)
{
    (void)arg;
    struct task *t = task_of_timer(timer);
    task_wake(t, push_tick, *task_local(t));
}

static void every_cancel(struct task *task, void *arg)
{
    struct scenario *s = arg;
    loop_timer_stop(s->config.loop, task_timer(task));
}

// What the next turn does was meant to begin with it, and in the turns that were left out, if what held them up were
// answers that did not come or the shard itself. A body that paused (slept, waited for a message, for its connection)
// wanted no turn meanwhile.
static void every_due(struct every *e, const struct task *t, int64_t at_us, int64_t skipped, int64_t backlog_us)
{
    bool paused = e->ticks > 1 && task_pauses(t) != e->pauses;
    // Jitter may ask for a time before this one, though the turn as such is not late.
    e->due = (struct due){.at_us = paused || e->next_us >= e->due_us ? e->due_us : at_us};
    if (!skipped || paused)
        return;
    e->due.missed = lag_us(skipped);
    e->due.interval_us = lag_us(e->interval_us);
    e->due.backlog_us = lag_us(backlog_us);
}

static int every_next(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct every *e = lua_touserdata(L, lua_upvalueindex(2));
    struct task *t = task_current(s->tasks, L, "dev:every");
    struct loop *loop = s->config.loop;
    int64_t now = loop_now_us(loop);
    e->next_us += e->interval_us;
    int64_t first_us = e->next_us, skipped = 0;
    if (now > e->next_us) { // skip what was missed, keep the phase
        skipped = (now - e->next_us) / e->interval_us;
        e->next_us += skipped * e->interval_us;
    }
    e->ticks++;
    int64_t at = e->next_us;
    if (e->jitter_us)
        at += (int64_t)((rng_unit(scenario_rng(s)) * 2 - 1) * (double)e->jitter_us);
    // A body that took longer than the interval is the author's (a slow broker, say); only what comes late from here on
    // is ours.
    e->due_us = at > now ? at : now;
    every_due(e, t, at, skipped, now - first_us);
    *task_local(t) = e;
    loop_timer_at(loop, task_timer(t), at, every_fire);
    task_block(t, every_cancel, s);
    e->pauses = task_pauses(t);
    return task_yield(L);
}

// dev:every(interval, { jitter=, phase= }) → iterator
static int dev_every(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct device *d = check_device(L, s);
    int64_t interval = bind_duration(L, 2, "dev:every"), jitter = 0, phase = -1;
    if (interval < 1000)
        return luaL_error(L, "dev:every: an interval is at least 1ms");
    if (!lua_isnoneornil(L, 3)) {
        static const char *const keys[] = {"jitter", "phase", NULL};
        luaL_checktype(L, 3, LUA_TTABLE);
        bind_check_keys(L, 3, "dev:every", keys);
        jitter = bind_opt_duration(L, 3, "jitter", 0);
        phase = bind_opt_duration(L, 3, "phase", -1);
        if (jitter > interval / 2)
            return luaL_error(L, "dev:every: jitter may be at most half the interval");
    }
    // Real fleets are not synchronised: without a phase the first tick comes at a random (seeded) part of the interval.
    if (phase < 0)
        phase = (int64_t)(rng_unit(scenario_rng(s)) * (double)interval);
    lua_pushlightuserdata(L, s);
    struct every *e = lua_newuserdata(L, sizeof *e);
    *e = (struct every){
        .interval_us = interval, .jitter_us = jitter, .loop = s->config.loop, .late_ticks = d->group->late_ticks};
    e->next_us = loop_now_us(s->config.loop) + phase - interval;
    lua_pushcclosure(L, every_next, 2);
    return 1;
}

// --- the rest -------------------------------------------------------------------------------------------------------

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL}; // as enum log_level

static int dev_log(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    enum log_level level = LOG_INFO;
    int at = 2;
    if (lua_gettop(L) >= 3) {
        level = (enum log_level)bind_option(L, 2, "dev:log", log_levels, -1);
        at = 3;
    }
    scenario_log(s, d->behaviour, level, "%s", luaL_checkstring(L, at));
    return 0;
}

static int dev_telemetry(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    struct error err = {0};
    bool on = lua_isnoneornil(L, 2) ? true : (luaL_checktype(L, 2, LUA_TBOOLEAN), lua_toboolean(L, 2));
    if (device_telemetry(d, on, &err))
        return bind_fail(L, &err);
    ((struct behaviour *)d->behaviour)->telemetry = on;
    lua_pushboolean(L, 1);
    return 1;
}

// dev:topic(name) → the full topic, as publish and subscribe expand it
static int dev_topic(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    size_t n;
    const char *topic = luaL_checklstring(L, 2, &n);
    struct error err = {0};
    struct port p = {.device = d, .who = "dev"};
    if (port_topic(s, d, topic, n, &s->topic, &err))
        return port_refused(L, &p, "topic", &err);
    lua_pushlstring(L, (const char *)s->topic.data, s->topic.len);
    return 1;
}

// dev:children() → { { id =, index =, model = }, … }
static int dev_children(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct device *d = check_device(L, s);
    unsigned n = gateway_children(d);
    lua_createtable(L, (int)n, 0);
    for (unsigned i = 1; i <= n; i++) {
        const struct device *child = gateway_child(d, i);
        buf_clear(&s->topic);
        if (device_name(child, &s->topic))
            return luaL_error(L, "dev:children: the id of child %d is too long", (int)i);
        lua_createtable(L, 0, 3);
        lua_pushlstring(L, (const char *)s->topic.data, s->topic.len);
        lua_setfield(L, -2, "id");
        lua_pushnumber(L, i);
        lua_setfield(L, -2, "index");
        lua_pushstring(L, child->group->config.model->id);
        lua_setfield(L, -2, "model");
        lua_rawseti(L, -2, (int)i);
    }
    return 1;
}

// dev:child(id or number) → handle of a child, for publish | nil, message, code
static int dev_child(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct device *d = check_device(L, s);
    struct device *child;
    size_t n;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Number number = lua_tonumber(L, 2);
        child = number >= 1 && number <= gateway_children(d) ? gateway_child(d, (unsigned)number) : NULL;
    } else {
        const char *id = luaL_checklstring(L, 2, &n);
        child = gateway_find(d, id, n);
    }
    if (child)
        return device_handle_push(L, s, child);
    struct error err = {0};
    error_set(&err, ERR_NOT_FOUND, "there is no child %.60s; there are %u", lua_tostring(L, 2), gateway_children(d));
    return bind_fail(L, &err);
}

static const char *const fields[] = {
    "connect", "disconnect", "publish", "subscribe", "unsubscribe", "on",         "every", "sleep",   "wait",
    "log",     "telemetry",  "topic",   "children",  "child",       "fail",       "heal",  "request", "get",
    "post",    "put",        "patch",   "delete",    "fetch",       "observe",    "serve", "notify",  "served_at",
    "open",    "id",         "index",   "group",     "state",       "connection", "data",  NULL};

// Upvalue 2: the methods.
static int dev_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    if (!lua_isnil(L, -1))
        return 1;
    struct scenario *s = scenario_of(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
    struct device *d = find_device(L, s, 1);
    if (!d) {
        if (strcmp(key, "state") == 0)
            return lua_pushliteral(L, "stopped"), 1;
        return luaL_error(L, "the device is gone: it was stopped");
    }
    if (strcmp(key, "id") == 0) {
        buf_clear(&s->topic);
        if (device_name(d, &s->topic))
            return luaL_error(L, "the device's name is too long");
        lua_pushlstring(L, (const char *)s->topic.data, s->topic.len);
    } else if (strcmp(key, "index") == 0) {
        lua_pushnumber(L, (double)d->index);
    } else if (strcmp(key, "group") == 0) {
        lua_pushstring(L, d->group->config.name);
    } else if (strcmp(key, "state") == 0) {
        lua_pushstring(L, device_state_name(d->state));
    } else if (strcmp(key, "connection") == 0) {
        lua_pushstring(L, conn_state_name(d->conn_state));
    } else if (strcmp(key, "data") == 0) {
        data_row_push(L, s, d);
    } else {
        return bind_no_field(L, "a device", key, fields);
    }
    return 1;
}

static int dev_newindex(lua_State *L)
{
    return luaL_error(L, "a device's fields cannot be set; keep your own state in local variables");
}

static int dev_tostring(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = find_device(L, s, 1);
    buf_clear(&s->topic);
    lua_pushfstring(L, "device %s", d && device_name(d, &s->topic) == 0 ? buf_cstr(&s->topic) : "(gone)");
    return 1;
}

void device_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {{"connect", dev_connect},
                                       {"disconnect", dev_disconnect},
                                       {"on", dev_on},
                                       {"every", dev_every},
                                       {"sleep", dev_sleep},
                                       {"log", dev_log},
                                       {"telemetry", dev_telemetry},
                                       {"topic", dev_topic},
                                       {"children", dev_children},
                                       {"child", dev_child},
                                       {"fail", dev_fail_bind},
                                       {"heal", dev_heal_bind},
                                       {"open", dev_open_bind},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__newindex", dev_newindex}, {"__tostring", dev_tostring}, {NULL, NULL}};
    port_handle_meta(L, s, meta, methods, dev_index);
    s->device_meta = guard_ref(L);
}
