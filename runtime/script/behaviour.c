// Behaviours: what the device room asks of Lua (struct device_ops), and the waits of tasks that are blocked on a
// device.
//
// An event of a device does two things: it wakes the tasks that wait for it, and it spawns a task for every handler
// that is registered for it. Nothing of Lua runs inside an adapter's callback: values are made, tasks are queued.
#include "script/internal.h"
#include <stdio.h>
#include <string.h>

static struct behaviour *behaviour_of(struct device *d)
{
    return d->behaviour;
}

static int owner_name(const struct task_owner *owner, struct buf *out)
{
    const struct behaviour *b = container_of(owner, struct behaviour, owner);
    return b->device ? device_name(b->device, out) : buf_append_str(out, "(stopped device)");
}

struct behaviour *scenario_behaviour(struct scenario *s)
{
    struct task *t = s->tasks ? task_running(s->tasks) : NULL;
    if (!t)
        return s->in_hook;
    return task_owner(t) != &s->run_owner ? container_of(task_owner(t), struct behaviour, owner) : NULL;
}

struct device *scenario_device(struct scenario *s)
{
    struct behaviour *b = scenario_behaviour(s);
    return b ? b->device : NULL;
}

void scenario_log(struct scenario *s, struct behaviour *b, enum log_level level, const char *fmt, ...)
{
    struct log *log = s->config.log;
    struct log_allowance *a = b ? &b->log : &s->log;
    if (!log_enabled(log, level))
        return;
    uint32_t second = (uint32_t)(loop_now_us(s->config.loop) / 1000000);
    if (a->second != second)
        *a = (struct log_allowance){.second = second};
    if (a->lines > LOG_LINES_MAX)
        return;
    a->lines++;
    struct buf name;
    buf_create(&name, 512);
    const char *who = b && b->device && device_name(b->device, &name) == 0 ? buf_cstr(&name) : NULL;
    va_list args;
    va_start(args, fmt);
    if (a->lines > LOG_LINES_MAX)
        log_write(log, LOG_WARN, who, "more than %d lines in a second: the rest of this second is dropped",
                  LOG_LINES_MAX);
    else
        log_vwrite(log, level, who, fmt, args);
    va_end(args);
    buf_destroy(&name);
}

struct rng *scenario_rng(struct scenario *s)
{
    struct device *d = scenario_device(s);
    return d ? &d->rng : &s->run_rng;
}

// --- starting and stopping ------------------------------------------------------------------------------------------

void handler_free(lua_State *L, struct handler *h)
{
    luaL_unref(L, LUA_REGISTRYINDEX, h->function);
    free(h);
}

static void behaviour_free(struct scenario *s, struct behaviour *b)
{
    lua_State *L = s->L;
    while (b->waits)
        wait_free(b->waits);
    while (b->handlers) {
        struct handler *h = b->handlers;
        b->handlers = h->next;
        handler_free(L, h);
    }
    hook_slots_free(s, b);
    luaL_unref(L, LUA_REGISTRYINDEX, b->handle);
    if (b->data)
        luaL_unref(L, LUA_REGISTRYINDEX, b->data);
    b->device->behaviour = NULL;
    b->device = NULL;
    if (b->owner.n_tasks)
        return; // stopped from inside its own task: freed when that has ended
    hook_tasks_free(b);
    guard_account_free(s->guard, b->owner.account);
    free(b);
}

struct behaviour *behaviour_new(struct scenario *s, struct device *d, struct error *err)
{
    struct scenario_group *g = &s->groups[d->group->config.number];
    struct behaviour *b = calloc(1, sizeof *b);
    if (!b) {
        error_set(err, ERR_NO_MEMORY, "no memory for a behaviour");
        return NULL;
    }
    b->device = d;
    b->scenario = s;
    b->handle = LUA_NOREF;
    b->owner.name = owner_name;
    b->owner.device = d->index;
    b->owner.group = d->group->config.number;
    b->owner.warm[0] = d;
    b->owner.account = guard_account_new(s->guard, g->memory);
    if (!b->owner.account) {
        error_set(err, ERR_LIMIT, "no memory account left for a device");
        free(b);
        return NULL;
    }
    return b;
}

static int ops_start(void *arg, struct device *d, struct error *err)
{
    struct scenario *s = arg;
    lua_State *L = s->L;
    struct behaviour *b = behaviour_new(s, d, err);
    if (!b)
        return -1;
    d->behaviour = b;
    uint32_t former = guard_charge(s->guard, b->owner.account);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->groups[d->group->config.number].behaviour);
    device_handle_push(L, s, d);
    lua_pushvalue(L, -1);
    b->handle = guard_ref(L);
    struct task *t = task_spawn(s->tasks, L, 1, &b->owner, err);
    guard_charge(s->guard, former);
    if (t)
        return 0;
    behaviour_free(s, b);
    return -1;
}

static void ops_stop(void *arg, struct device *d)
{
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    b->stopping = true;
    task_cancel_all(s->tasks, &b->owner);
    behaviour_free(s, b);
}

// --- waits ----------------------------------------------------------------------------------------------------------

void wait_free(struct wait *w)
{
    struct wait **at = &w->behaviour->waits;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    luaL_unref(w->scenario->L, LUA_REGISTRYINDEX, w->message);
    free(w);
}

static int push_message(lua_State *L, void *arg)
{
    int ref = (int)(intptr_t)arg;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

static int push_granted(lua_State *L, void *arg)
{
    lua_pushboolean(L, 1);
    lua_pushinteger(L, (int)(intptr_t)arg);
    return 2;
}

static void wait_end(struct wait *w)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    if (t)
        loop_timer_stop(w->scenario->config.loop, task_timer(t));
    wait_free(w);
}

static void wait_answer_ok(struct wait *w)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    wait_end(w);
    if (t)
        task_wake_true(t);
}

static void wait_answer_error(struct wait *w, const struct error *why)
{
    struct task *t = task_find(w->scenario->tasks, w->task);
    wait_end(w);
    if (t)
        task_wake_error(t, why);
}

// ref: registry reference of a message, owned by the wake.
static void wait_answer_message(struct wait *w, int ref)
{
    struct scenario *s = w->scenario;
    struct task *t = task_find(s->tasks, w->task);
    wait_end(w);
    if (!t || !task_wake(t, push_message, (void *)(intptr_t)ref))
        luaL_unref(s->L, LUA_REGISTRYINDEX, ref);
}

// --- messages and handlers ------------------------------------------------------------------------------------------

// {topic=, payload=, qos=, retain=} with a lazy `json`
void behaviour_message_push(lua_State *L, struct scenario *s, const char *topic, size_t topic_len, const void *payload,
                            size_t n, int qos, bool retain)
{
    lua_createtable(L, 0, 4);
    lua_pushlstring(L, topic, topic_len);
    lua_setfield(L, -2, "topic");
    lua_pushlstring(L, payload ? payload : "", n);
    lua_setfield(L, -2, "payload");
    lua_pushinteger(L, qos);
    lua_setfield(L, -2, "qos");
    lua_pushboolean(L, retain);
    lua_setfield(L, -2, "retain");
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->message_meta);
    lua_setmetatable(L, -2);
}

// Spawns fn(message) or, for commands, runner(device, fn, message). The message is at the top of the stack and stays.
static void handler_spawn(struct scenario *s, struct behaviour *b, const struct handler *h, bool has_message)
{
    lua_State *L = s->L;
    int message = lua_gettop(L), nargs = 0;
    struct error err = {0};
    if (h->command) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->command_runner);
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->handle);
        lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
        nargs = 2;
    } else {
        lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
    }
    if (has_message) {
        lua_pushvalue(L, message);
        nargs++;
    }
    struct scenario_group *g = &s->groups[b->device->group->config.number];
    if (h->command)
        counter_add(g->commands, 1);
    if (!task_spawn(s->tasks, L, nargs, &b->owner, &err)) {
        if (h->command)
            counter_add(g->command_errors, 1);
        counter_add(g->errors, 1);
        scenario_log(s, b, LOG_WARN, "a handler of \"%s\" was not run: %s", h->name, err.text);
    }
}

static void fire_event(struct scenario *s, struct behaviour *b, const char *event)
{
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->kind == WAIT_EVENT && strcmp(w->event, event) == 0)
            wait_answer_ok(w);
    }
    for (const struct handler *h = b->handlers; h; h = h->next)
        if (!h->subscription && strcmp(h->name, event) == 0)
            handler_spawn(s, b, h, false);
}

// Handlers that were registered before there was a connection, or on one that has ended. Until it ends the adapter
// renews them.
static void subscribe_later(struct scenario *s, struct behaviour *b)
{
    for (struct handler *h = b->handlers; h; h = h->next) {
        struct error err = {0};
        if (!h->later)
            continue;
        h->later = false;
        h->token = device_token(b->device);
        if (device_subscribe(b->device, h->name, h->qos, h->token, &err))
            scenario_log(s, b, LOG_ERROR, "%s was not subscribed: %s", h->name, err.text);
    }
}

static void ops_online(void *arg, struct device *d, bool session_present)
{
    (void)session_present;
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    b->owner.warm[1] = d->conn;
    subscribe_later(s, b);
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->kind == WAIT_ONLINE)
            wait_answer_ok(w);
    }
    fire_event(s, b, "connect");
}

static void ops_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    bool give_up = false;
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->kind != WAIT_ONLINE || (will_retry && w->retry) || device_opening(d))
            continue;
        give_up = will_retry;
        struct error text = *why;
        if (text.code == ERR_NONE)
            error_set(&text, ERR_CANCELLED, "disconnected while connecting");
        wait_answer_error(w, &text);
    }
    for (struct handler *h = b->handlers; h && !will_retry; h = h->next)
        h->later = h->subscription; // the adapter keeps subscriptions through a reconnect, but not past the end of a
                                    // connection
    if (give_up)
        device_disconnect(d, ADAPTER_ABRUPT);
    fire_event(s, b, "disconnect");
}

static void ops_message(void *arg, struct device *d, const struct adapter_message *m)
{
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    lua_State *L = s->L;
    buf_clear(&s->topic); // topic_matches wants it with a NUL
    if (buf_append(&s->topic, m->topic, m->topic_len))
        return; // longer than MQTT can say
    const char *topic = buf_cstr(&s->topic);
    uint32_t former = guard_charge(s->guard, b->owner.account);
    behaviour_message_push(L, s, m->topic, m->topic_len, m->payload, m->payload_len, m->qos, m->retain);
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->kind == WAIT_MESSAGE) {
            lua_pushvalue(L, -1);
            wait_answer_message(w, guard_ref(L));
        }
    }
    bool commands = hook_takes_commands(d); // then the device room hands them over
    for (const struct handler *h = b->handlers; h; h = h->next)
        if (h->command && commands)
            continue;
        else if (h->subscription ? topic_matches(h->name, topic) : strcmp(h->name, "message") == 0)
            handler_spawn(s, b, h, true);
    lua_pop(L, 1);
    guard_charge(s->guard, former);
}

// The answer to the subscription of a handler. What could not be subscribed is not registered either, but for a
// command: the connection may just have been lost, and dev:on("command") holds from then on.
static void handler_answered(struct scenario *s, struct behaviour *b, uint32_t token, const struct error *why)
{
    for (struct handler **at = &b->handlers; *at; at = &(*at)->next) {
        struct handler *h = *at;
        if (h->token != token)
            continue;
        h->token = 0;
        if (!why)
            return;
        if (h->command && why->code != ERR_REFUSED) {
            h->later = true;
            return;
        }
        if (h->command)
            scenario_log(s, b, LOG_ERROR, "%s was not subscribed: %s", h->name, why->text);
        *at = h->next;
        handler_free(s->L, h);
        return;
    }
}

static void ops_done(void *arg, struct device *d, uint32_t token, int granted_qos, const struct error *why)
{
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    handler_answered(s, b, token, why);
    for (struct wait *w = b->waits; w; w = w->next) {
        if (w->kind != WAIT_DONE || w->token != token)
            continue;
        if (why) {
            wait_answer_error(w, why);
        } else if (w->granted) {
            struct task *t = task_find(s->tasks, w->task);
            wait_end(w);
            if (t)
                task_wake(t, push_granted, (void *)(intptr_t)granted_qos);
        } else {
            wait_answer_ok(w);
        }
        return;
    }
}

const struct device_ops script_device_ops = {
    .start = ops_start,
    .stop = ops_stop,
    .online = ops_online,
    .offline = ops_offline,
    .message = ops_message,
    .done = ops_done,
    .hook_generate = script_hook_generate,
    .hook_encode = script_hook_encode,
    .hook_command = script_hook_command,
    .hook_custom = script_hook_custom,
    .release = ops_stop,
    .hook_cancel = script_hook_cancel,
    .hook_resolve = script_hook_resolve,
};
