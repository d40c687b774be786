// The device handle of a behaviour: dev:connect, publish, subscribe, on, every, sleep, wait, log …, dev.id, index,
// group, state.
//
// A handle holds the device's id with its generation. Methods come from one table that authors never see; what is not a
// method is a property.
#include "script/internal.h"
#include "core/units.h"
#include "device/gateway.h"
#include <string.h>

#define TOPIC_MAX 65535 // MQTT's, section 1.5.3

// An upvalue of its iterator: a blocked call keeps its function alive, and nothing else of what it was called with.
struct every {
    uint32_t ticks;
    int64_t interval_us, jitter_us;
    int64_t next_us; // without jitter
    int64_t due_us;  // with jitter, and not before it was asked for: what lateness is measured from
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

// The device itself, or a child of its own: a gateway speaks for its children.
static struct device *check_speaker(lua_State *L, struct scenario *s)
{
    struct device *d = find_device(L, s, 1);
    const struct device *gateway = d ? gateway_of(d) : NULL;
    return gateway && gateway->behaviour && gateway->behaviour == scenario_behaviour(s) ? d : check_device(L, s);
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

// --- blocking -------------------------------------------------------------------------------------------------------

static void wait_cancel(struct task *task, void *arg)
{
    struct wait *w = arg;
    loop_timer_stop(w->scenario->config.loop, task_timer(task));
    wait_free(w);
}

static void wait_timeout(struct timer *timer, void *arg)
{
    (void)arg;
    struct task *t = task_of_timer(timer);
    struct wait *w = *task_local(t);
    struct device *connecting = w->kind == WAIT_ONLINE ? w->behaviour->device : NULL;
    struct error err = {0};
    error_set(&err, ERR_TIMEOUT, connecting ? "not connected in time" : "nothing came in time");
    wait_free(w);
    task_wake_error(t, &err);
    if (connecting)
        device_disconnect(connecting, ADAPTER_ABRUPT);
}

// Arms a wait for the running task; timeout_us < 0: none.
static int block_on(lua_State *L, struct scenario *s, struct device *d, const struct wait *like, int64_t timeout_us,
                    struct task *task)
{
    if (!d->behaviour) // what it waits for has stopped the device
        return luaL_error(L, "the device is gone: it was stopped");
    struct wait *w = malloc(sizeof *w);
    if (!w)
        return luaL_error(L, "no memory to wait");
    *w = *like;
    w->behaviour = d->behaviour;
    w->scenario = s;
    w->task = task_id(task);
    w->message = LUA_NOREF;
    w->next = w->behaviour->waits;
    w->behaviour->waits = w;
    *task_local(task) = w;
    if (timeout_us >= 0)
        loop_timer_start(s->config.loop, task_timer(task), timeout_us, wait_timeout);
    task_block(task, wait_cancel, w);
    return task_yield(L);
}

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
    return block_on(L, s, d, &like, timeout, t);
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

// Renders the topic into s->topic.
static int topic_of(struct scenario *s, struct device *d, const char *topic, size_t n, struct error *err)
{
    buf_clear(&s->topic);
    if (n == 0 || memchr(topic, '\0', n))
        return error_set(err, ERR_INVALID, n ? "a topic holds no NUL" : "the topic is empty");
    if (device_topic(d, topic, n, &s->topic) == 0 && s->topic.len <= TOPIC_MAX)
        return 0;
    return error_set(err, ERR_LIMIT, "the topic is longer than %d bytes", TOPIC_MAX);
}

// What a refused call returns: a mistake of the author raises, the rest are values.
static int refused(lua_State *L, const char *function, const struct error *err)
{
    return err->code == ERR_INVALID ? luaL_error(L, "%s: %s", function, err->text) : bind_fail(L, err);
}

// Renders the payload: strings as they are, tables as JSON, numbers and booleans as text, nil as nothing.
static int payload_of(lua_State *L, struct scenario *s, int arg, const uint8_t **bytes, size_t *n, struct error *err)
{
    if (lua_type(L, arg) == LUA_TSTRING) {
        *bytes = (const uint8_t *)lua_tolstring(L, arg, n);
        return 0;
    }
    buf_clear(&s->scratch);
    int rc = lua_isnoneornil(L, arg) ? 0 : json_encode_value(L, arg, &s->scratch, err);
    *bytes = s->scratch.data;
    *n = s->scratch.len;
    return rc;
}

// dev:publish(topic, payload, { qos=, retain=, wait= }) → true | nil, message, code
static int dev_publish(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_speaker(L, s);
    size_t topic_len;
    const char *topic = luaL_checklstring(L, 2, &topic_len);
    struct adapter_message m = {.qos = (uint8_t)d->group->config.qos};
    struct task *wait_for = NULL;
    struct error err = {0};
    if (!lua_isnoneornil(L, 4)) {
        static const char *const keys[] = {"qos", "retain", "wait", NULL};
        luaL_checktype(L, 4, LUA_TTABLE);
        bind_check_keys(L, 4, "dev:publish", keys);
        m.qos = (uint8_t)bind_opt_int(L, 4, "qos", 0, 2, m.qos);
        m.retain = bind_opt_bool(L, 4, "retain", false);
        if (bind_opt_bool(L, 4, "wait", false) && m.qos > 0)
            wait_for = task_current(s->tasks, L, "dev:publish with wait = true");
        if (wait_for && d->behaviour != scenario_behaviour(s))
            return luaL_error(L,
                              "dev:publish: a child hands its messages to its gateway: there is nothing to wait for");
    }
    if (payload_of(L, s, 3, &m.payload, &m.payload_len, &err) || topic_of(s, d, topic, topic_len, &err))
        return refused(L, "dev:publish", &err);
    m.topic = (const char *)s->topic.data;
    m.topic_len = s->topic.len;
    uint32_t token = wait_for ? device_token(d) : 0;
    if (device_publish(d, &m, token, &err))
        return refused(L, "dev:publish", &err);
    if (wait_for) {
        struct wait like = {.kind = WAIT_DONE, .token = token};
        return block_on(L, s, d, &like, -1, wait_for);
    }
    lua_pushboolean(L, 1);
    return 1;
}

// --- subscriptions and handlers -------------------------------------------------------------------------------------

// Registers the function at `fn` for `name`; raises without changing anything at the cap.
static struct handler *handler_add(lua_State *L, struct behaviour *b, int fn, const char *name, size_t n)
{
    struct handler **at = &b->handlers; // in order of registration
    unsigned others = 0;
    for (; *at; at = &(*at)->next)
        others++;
    if (others >= HANDLERS_MAX)
        luaL_error(L, "a device has at most %d handlers; register them once, outside of loops", HANDLERS_MAX);
    struct handler *h = calloc(1, sizeof *h + n + 1);
    if (!h) {
        luaL_error(L, "no memory for a handler");
        return NULL;
    }
    memcpy(h->name, name, n);
    lua_pushvalue(L, fn);
    h->function = guard_ref(L);
    *at = h;
    return h;
}

static void handlers_remove(lua_State *L, struct behaviour *b, const struct handler *which, const char *filter)
{
    for (struct handler **at = &b->handlers; *at;) {
        struct handler *h = *at;
        if (h != which && !(filter && h->subscription && strcmp(h->name, filter) == 0)) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        handler_free(L, h);
    }
}

// Subscribes the filter in s->topic for h (NULL: for whoever waits). Online: blocks until the answer.
static int subscribe_topic(lua_State *L, struct scenario *s, struct device *d, struct handler *h, int qos,
                           struct task *t)
{
    struct error err = {0};
    uint32_t token = device_token(d);
    if (h) {
        h->subscription = true;
        h->qos = (uint8_t)qos;
        h->token = token;
    }
    if (device_subscribe(d, buf_cstr(&s->topic), qos, token, &err)) {
        if (h && h->command && err.code == ERR_STATE) { // ops_online makes up for it
            h->token = 0;
            h->later = true;
            lua_pushboolean(L, 1);
            return 1;
        }
        if (h)
            handlers_remove(L, d->behaviour, h, NULL);
        return refused(L, "dev:subscribe", &err);
    }
    if (d->conn_state == CONN_CONNECTED) {
        struct wait like = {.kind = WAIT_DONE, .token = token, .granted = true};
        return block_on(L, s, d, &like, -1, t);
    }
    lua_pushboolean(L, 1);
    return 1;
}

// dev:subscribe(filter, { qos= }, fn?) → true, granted qos | nil, message, code
static int dev_subscribe(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    size_t n;
    const char *filter = luaL_checklstring(L, 2, &n);
    int fn = lua_isfunction(L, 3) ? 3 : 4, qos = d->group->config.qos;
    if (lua_istable(L, 3)) {
        static const char *const keys[] = {"qos", NULL};
        bind_check_keys(L, 3, "dev:subscribe", keys);
        qos = bind_opt_int(L, 3, "qos", 0, 2, qos);
    } else if (!lua_isnoneornil(L, 3) && fn != 3) {
        return luaL_error(L, "dev:subscribe: expected a table of options or a function, got %s", luaL_typename(L, 3));
    }
    if (!lua_isnoneornil(L, fn) && !lua_isfunction(L, fn))
        return luaL_error(L, "dev:subscribe: expected a function, got %s", luaL_typename(L, fn));
    struct task *t = task_current(s->tasks, L, "dev:subscribe");
    struct error err = {0};
    if (topic_of(s, d, filter, n, &err))
        return refused(L, "dev:subscribe", &err);
    struct handler *h = NULL;
    if (lua_isfunction(L, fn))
        h = handler_add(L, d->behaviour, fn, buf_cstr(&s->topic), s->topic.len);
    return subscribe_topic(L, s, d, h, qos, t);
}

// dev:unsubscribe(filter) → true | nil, message, code
static int dev_unsubscribe(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    size_t n;
    const char *filter = luaL_checklstring(L, 2, &n);
    struct task *t = task_current(s->tasks, L, "dev:unsubscribe");
    struct error err = {0};
    if (topic_of(s, d, filter, n, &err))
        return refused(L, "dev:unsubscribe", &err);
    const char *name = buf_cstr(&s->topic);
    handlers_remove(L, d->behaviour, NULL, name);
    uint32_t token = device_token(d);
    if (device_unsubscribe(d, name, token, &err))
        return refused(L, "dev:unsubscribe", &err);
    if (d->conn_state != CONN_CONNECTED) {
        lua_pushboolean(L, 1);
        return 1;
    }
    struct wait like = {.kind = WAIT_DONE, .token = token};
    return block_on(L, s, d, &like, -1, t);
}

// dev:on(event, fn): "command" subscribes the device's command topic as well, now or when the device comes online
static int dev_on(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    static const char *const events[] = {"command", "message", "connect", "disconnect", NULL};
    int event = bind_option(L, 2, "dev:on", events, -1);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (event != 0) {
        handler_add(L, d->behaviour, 3, events[event], strlen(events[event]));
        lua_pushboolean(L, 1);
        return 1;
    }
    struct task *t = task_current(s->tasks, L, "dev:on(\"command\")");
    struct error err = {0};
    if (hook_takes_commands(d)) { // subscribed with the model's commands, at each connect
        handler_add(L, d->behaviour, 3, "command", 7)->command = true;
        lua_pushboolean(L, 1);
        return 1;
    }
    if (topic_of(s, d, "command", 7, &err))
        return refused(L, "dev:on", &err);
    struct handler *h = handler_add(L, d->behaviour, 3, buf_cstr(&s->topic), s->topic.len);
    h->command = true;
    return subscribe_topic(L, s, d, h, d->group->config.qos ? d->group->config.qos : 1, t);
}

// dev:wait(event, timeout?) → true or the message | nil, message, code
static int dev_wait(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = check_device(L, s);
    static const char *const events[] = {"message", "connect", "disconnect", NULL};
    int event = bind_option(L, 2, "dev:wait", events, -1);
    int64_t timeout = lua_isnoneornil(L, 3) ? -1 : bind_duration(L, 3, "dev:wait: timeout");
    struct task *t = task_current(s->tasks, L, "dev:wait");
    struct wait like = {.kind = event == 0 ? WAIT_MESSAGE : WAIT_EVENT};
    memcpy(like.event, events[event], strlen(events[event]) + 1);
    return block_on(L, s, d, &like, timeout, t);
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

static int every_next(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct every *e = lua_touserdata(L, lua_upvalueindex(2));
    struct task *t = task_current(s->tasks, L, "dev:every");
    struct loop *loop = s->config.loop;
    int64_t now = loop_now_us(loop);
    e->next_us += e->interval_us;
    if (now > e->next_us) // skip what was missed, keep the phase
        e->next_us += (now - e->next_us) / e->interval_us * e->interval_us;
    e->ticks++;
    int64_t at = e->next_us;
    if (e->jitter_us)
        at += (int64_t)((rng_unit(scenario_rng(s)) * 2 - 1) * (double)e->jitter_us);
    // A body that took longer than the interval is the author's (a slow broker, say); only what comes late from here on
    // is ours.
    e->due_us = at > now ? at : now;
    *task_local(t) = e;
    loop_timer_at(loop, task_timer(t), at, every_fire);
    task_block(t, every_cancel, s);
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
    if (topic_of(s, d, topic, n, &err))
        return refused(L, "dev:topic", &err);
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
        static const char *const names[] = {"connect",  "disconnect", "publish",    "subscribe", "unsubscribe", "on",
                                            "every",    "sleep",      "wait",       "log",       "telemetry",   "topic",
                                            "children", "child",      "fail",       "heal",      "id",          "index",
                                            "group",    "state",      "connection", "data",      NULL};
        const char *near = suggest(key, names);
        return luaL_error(
            L,
            "a device has no \"%s\"; it has: connect, disconnect, publish, subscribe, unsubscribe, on, every, sleep, "
            "wait, log, telemetry, topic, children, child, fail, heal, id, index, group, state, connection, data%s%s%s",
            key, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
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
                                       {"publish", dev_publish},
                                       {"subscribe", dev_subscribe},
                                       {"unsubscribe", dev_unsubscribe},
                                       {"on", dev_on},
                                       {"every", dev_every},
                                       {"sleep", dev_sleep},
                                       {"wait", dev_wait},
                                       {"log", dev_log},
                                       {"telemetry", dev_telemetry},
                                       {"topic", dev_topic},
                                       {"children", dev_children},
                                       {"child", dev_child},
                                       {"fail", dev_fail_bind},
                                       {"heal", dev_heal_bind},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__newindex", dev_newindex}, {"__tostring", dev_tostring}, {NULL, NULL}};
    lua_newtable(L); // metatable
    bind_functions(L, s, meta);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, s);
    lua_newtable(L);
    bind_functions(L, s, methods);
    lua_pushcclosure(L, dev_index, 2);
    lua_setfield(L, -2, "__index");
    s->device_meta = guard_ref(L);
}
