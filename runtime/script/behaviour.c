// Behaviours: what the device room asks of Lua (struct device_ops), and the waits of tasks that are blocked on a
// device.
//
// An event of a device does two things: it wakes the tasks that wait for it, and it spawns a task for every handler
// that is registered for it. Nothing of Lua runs inside an adapter's callback: values are made, tasks are queued.
#include "script/behaviour.h"
#include "script/adapter_lua.h"
#include "script/link_bind.h"
#include "script/side.h"
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
    struct task_owner *owner = task_owner(t);
    bool device = owner != &s->run_owner && owner->kind == OWNER_DEVICE;
    return device ? container_of(owner, struct behaviour, owner) : NULL;
}

int64_t scenario_wall_us(struct scenario *s)
{
    const struct device *d = scenario_device(s);
    return d ? device_wall_us(d) : loop_wall_us(s->config.loop);
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
    struct task *t = s->tasks ? task_running(s->tasks) : NULL;
    if (t && task_owner(t)->kind == OWNER_ADAPTER)
        return adapter_lua_rng(task_owner(t));
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
    sides_end(s, b);
    links_owner_ended(&b->owner, true);
    while (b->waits)
        wait_free(b->waits);
    while (b->handlers) {
        struct handler *h = b->handlers;
        b->handlers = h->next;
        if (h->kind == HANDLER_OBSERVATION) // the connection may go on without this behaviour
            port_request_cancel(b, NULL, h->token);
        else if (h->kind == HANDLER_SERVED)
            port_unserve(b, NULL, h->name);
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

void behaviour_handle_push(struct scenario *s, struct behaviour *b)
{
    lua_State *L = s->L;
    if (b->handle == LUA_NOREF) { // of hooks only
        device_handle_push(L, s, b->device);
        b->handle = guard_ref(L);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->handle);
}

void behaviour_look(struct scenario *s, struct behaviour *b)
{
    (void)s;
    if (b->device && !b->stopping && !b->hooks_only && b->owner.n_tasks == 0 && !b->handlers && !b->telemetry)
        device_finished(b->device, NULL);
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

// Spawns fn(arguments); the function and its arguments are on top of the stack, h says whose they are. They are popped.
void handler_task(struct scenario *s, struct behaviour *b, const struct handler *h, int nargs)
{
    struct scenario_group *g = &s->groups[b->device->group->config.number];
    struct error err = {0};
    if (h->command)
        counter_add(g->commands, 1);
    if (task_spawn(s->tasks, s->L, nargs, &b->owner, &err))
        return;
    if (h->command)
        counter_add(g->command_errors, 1);
    counter_add(g->errors, 1);
    scenario_log(s, b, LOG_WARN, "a handler of \"%s\" was not run: %s", h->name, err.text);
}

// The handle of the connection that an event came from.
void port_handle_push(struct scenario *s, struct behaviour *b, struct side *side)
{
    if (side)
        side_handle_push(s->L, s, side);
    else
        behaviour_handle_push(s, b);
}

// fn(message); runner(device, fn, message) for commands, and where the result answers the message. The message is at
// the top of the stack and stays.
static void handler_spawn(struct scenario *s, struct behaviour *b, const struct handler *h, bool has_message,
                          bool answers)
{
    lua_State *L = s->L;
    int message = lua_gettop(L), nargs = 0;
    if (h->command || answers) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, h->command ? s->command_runner : s->message_runner);
        port_handle_push(s, b, h->side);
        nargs = 2;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
    if (has_message) {
        lua_pushvalue(L, message);
        nargs++;
    }
    handler_task(s, b, h, nargs);
}

static void fire_event(struct scenario *s, struct behaviour *b, const struct side *side, const char *event)
{
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->side == side && w->kind == WAIT_EVENT && strcmp(w->event, event) == 0)
            wait_answer_ok(w);
    }
    for (const struct handler *h = b->handlers; h; h = h->next)
        if (h->side == side && h->kind == HANDLER_EVENT && strcmp(h->name, event) == 0)
            handler_spawn(s, b, h, false, false);
}

// Handlers that were registered before there was a connection, or on one that has ended. Until it ends the adapter
// renews them.
static void subscribe_later(struct scenario *s, struct behaviour *b)
{
    for (struct handler *h = b->handlers; h; h = h->next) {
        struct error err = {0};
        if (!h->later || h->side)
            continue;
        struct adapter_subscription sub = {.filter = h->name,
                                           .qos = h->qos,
                                           .no_local = h->no_local,
                                           .retain_as_published = h->retain_as_published,
                                           .retain_handling = h->retain_handling,
                                           .identifier = h->identifier};
        struct port own = {.device = b->device, .behaviour = b};
        h->later = false;
        h->token = device_token(b->device);
        if (port_subscribe(&own, &sub, h->token, &err))
            scenario_log(s, b, LOG_ERROR, "%s was not subscribed: %s", h->name, err.text);
    }
}

void behaviour_online(struct scenario *s, struct behaviour *b, struct side *side)
{
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->side == side && w->kind == WAIT_ONLINE)
            wait_answer_ok(w);
    }
    fire_event(s, b, side, "connect");
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
    behaviour_online(s, b, NULL);
}

bool behaviour_offline(struct scenario *s, struct behaviour *b, struct side *side, const struct error *why,
                       bool will_retry)
{
    bool give_up = false;
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->side != side || w->kind != WAIT_ONLINE)
            continue;
        if ((will_retry && w->retry) || (!side && device_opening(b->device))) {
            wait_note(w, why);
            continue;
        }
        give_up = will_retry;
        struct error text = *why;
        if (text.code == ERR_NONE)
            error_set(&text, ERR_CANCELLED, "disconnected while connecting");
        wait_answer_error(w, &text);
    }
    fire_event(s, b, side, "disconnect");
    return give_up;
}

static void ops_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    struct scenario *s = arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    for (struct handler *h = b->handlers; h && !will_retry; h = h->next)
        if (!h->side)
            h->later = h->kind == HANDLER_SUBSCRIPTION; // the adapter keeps subscriptions through a reconnect, but not
                                                        // past the end of a connection
    if (behaviour_offline(s, b, NULL, why, will_retry))
        device_disconnect(d, ADAPTER_ABRUPT);
}

void behaviour_message(struct scenario *s, struct behaviour *b, struct side *side, const struct adapter_message *m)
{
    lua_State *L = s->L;
    buf_clear(&s->topic); // topic_matches wants it with a NUL
    if (buf_append(&s->topic, m->topic, m->topic_len))
        return; // longer than MQTT can say
    const char *topic = buf_cstr(&s->topic);
    uint32_t former = guard_charge(s->guard, b->owner.account);
    message_push(L, s, m);
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->side == side && w->kind == WAIT_MESSAGE) {
            lua_pushvalue(L, -1);
            wait_answer_value(w, guard_ref(L));
        }
    }
    bool commands = !side && hook_takes_commands(b->device); // then the device room hands them over
    bool answers = m->meta && m->meta->response_topic_len;
    for (const struct handler *h = b->handlers; h; h = h->next)
        if (h->side != side || (h->command && commands))
            continue;
        else if (h->kind == HANDLER_SUBSCRIPTION ? topic_matches(h->name + h->plain, topic)
                                                 : h->kind == HANDLER_EVENT && strcmp(h->name, "message") == 0)
            handler_spawn(s, b, h, true, answers && h->kind == HANDLER_SUBSCRIPTION);
    lua_pop(L, 1);
    guard_charge(s->guard, former);
}

static void ops_message(void *arg, struct device *d, const struct adapter_message *m)
{
    struct behaviour *b = behaviour_of(d);
    if (b)
        behaviour_message(arg, b, NULL, m);
}

// The answer to the subscription of a handler. What could not be subscribed is not registered either, but for a
// command: the connection may just have been lost, and dev:on("command") holds from then on.
static void handler_answered(struct scenario *s, struct behaviour *b, uint32_t token, const struct error *why)
{
    for (struct handler **at = &b->handlers; *at; at = &(*at)->next) {
        struct handler *h = *at;
        if (h->token != token || h->kind != HANDLER_SUBSCRIPTION)
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

void behaviour_done(struct scenario *s, struct behaviour *b, uint32_t token, int granted_qos, const struct error *why)
{
    handler_answered(s, b, token, why);
    for (struct wait *w = b->waits; w; w = w->next) {
        if (w->kind != WAIT_DONE || w->token != token)
            continue;
        if (why) {
            wait_answer_error(w, why);
        } else if (w->granted) {
            wait_answer_granted(w, granted_qos);
        } else {
            wait_answer_ok(w);
        }
        return;
    }
}

static void ops_done(void *arg, struct device *d, uint32_t token, int granted_qos, const struct error *why)
{
    struct behaviour *b = behaviour_of(d);
    if (b)
        behaviour_done(arg, b, token, granted_qos, why);
}

static void ops_response(void *arg, struct device *d, uint32_t token, const struct adapter_response *r,
                         const struct error *err)
{
    struct behaviour *b = behaviour_of(d);
    if (b)
        behaviour_response(arg, b, NULL, token, r, err);
}

static int ops_request(void *arg, struct device *d, uint64_t ticket, const struct adapter_request *request,
                       struct error *err)
{
    struct behaviour *b = behaviour_of(d);
    return b ? behaviour_request(arg, b, NULL, ticket, request, err)
             : error_set(err, ERR_NOT_FOUND, "the device has no behaviour");
}

static int ops_auth(void *arg, struct device *d, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct behaviour *b = behaviour_of(d);
    return b ? behaviour_auth(arg, b, NULL, data, n, reply, err)
             : error_set(err, ERR_NOT_FOUND, "the device has no behaviour");
}

static void ops_path(void *arg, struct device *d, struct path *path)
{
    (void)arg;
    struct behaviour *b = behaviour_of(d);
    if (!b)
        return;
    sides_path(b, path);
    links_owner_path(&b->owner, path);
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
    .response = ops_response,
    .request = ops_request,
    .auth = ops_auth,
    .path = ops_path,
};
