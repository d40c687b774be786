// Hooks that are tasks of their device: commands and actions of models. See hook.c.
//
// A task is in the device's list while it runs, so that a timeout finds it, and so that its end, if the guard brought
// it about, is the command's answer and not the device's.
#include "script/behaviour.h"
#include <string.h>
#include "device/command.h"

struct hook_task {
    struct hook_task *next;
    slot_id task;
    uint32_t command; // 0: an action, or a handler that does not answer
    bool behaviours;  // the behaviour's own handler: its errors are the device's, and no timeout ends it
};

bool hook_takes_commands(const struct device *d)
{
    return d->group->config.model && d->group->config.model->n_commands;
}

// Spawns what was pushed: function and nargs arguments. They are popped in any case.
static int spawn(struct scenario *s, struct behaviour *b, int nargs, uint32_t command, bool behaviours,
                 struct error *err)
{
    struct hook_task *h = calloc(1, sizeof *h);
    if (!h) {
        lua_pop(s->L, nargs + 1);
        return error_set(err, ERR_NO_MEMORY, "no memory for a handler's task");
    }
    struct task *t = task_spawn(s->tasks, s->L, nargs, &b->owner, err);
    if (!t) {
        free(h);
        return -1;
    }
    *h = (struct hook_task){.next = b->hook_tasks, .task = task_id(t), .command = command, .behaviours = behaviours};
    b->hook_tasks = h;
    return 0;
}

bool hook_task_ended(struct behaviour *b, struct task *task, enum task_result result, const char *text)
{
    struct hook_task **at = &b->hook_tasks;
    while (*at && (*at)->task != task_id(task))
        at = &(*at)->next;
    struct hook_task *h = *at;
    if (!h)
        return false;
    struct hook_task was = *h;
    *at = h->next;
    free(h);
    if (result == TASK_ERROR && was.command && b->device) {
        char first[400];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(text, "\n"), text);
        device_answer(b->device, was.command, NULL, first);
    }
    return !was.behaviours;
}

void hook_tasks_free(struct behaviour *b)
{
    while (b->hook_tasks) {
        struct hook_task *h = b->hook_tasks;
        b->hook_tasks = h->next;
        free(h);
    }
}

// --- commands -------------------------------------------------------------------------------------------------------

// { name, params, id, topic, payload }, with `json` when it is asked for
static void push_command(struct scenario *s, const struct device_command *c)
{
    lua_State *L = s->L;
    behaviour_message_push(L, s, c->topic, c->topic_len, c->payload, c->payload_len, 0, false);
    lua_pushnil(L);
    lua_setfield(L, -2, "qos");
    lua_pushnil(L);
    lua_setfield(L, -2, "retain");
    lua_pushstring(L, c->name);
    lua_setfield(L, -2, "name");
    json_to_lua(L, c->params);
    lua_setfield(L, -2, "params");
    if (c->id) {
        json_to_lua(L, c->id);
        lua_setfield(L, -2, "id");
    }
}

// carry_out(dev, function at the top of the stack, command, number)
static int spawn_command(struct scenario *s, struct behaviour *b, const struct device_command *c, uint32_t number,
                         bool behaviours, struct error *err)
{
    lua_State *L = s->L;
    int function = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->command_task);
    behaviour_handle_push(s, b);
    lua_pushvalue(L, function);
    push_command(s, c);
    lua_pushnumber(L, number);
    int rc = spawn(s, b, 4, number, behaviours, err);
    lua_settop(L, function - 1);
    return rc;
}

// The handlers of dev:on("command"): the first one that was registered answers.
static int behaviours_handlers(struct scenario *s, struct behaviour *b, const struct device_command *c,
                               struct error *err)
{
    uint32_t number = c->number;
    error_set(err, ERR_NOT_FOUND, "the behaviour takes no commands");
    for (const struct handler *h = b->handlers; h; h = h->next) {
        struct error why = {0};
        if (!h->command)
            continue;
        lua_rawgeti(s->L, LUA_REGISTRYINDEX, h->function);
        if (spawn_command(s, b, c, number, true, &why)) {
            if (number) {
                *err = why;
                return -1;
            }
            scenario_log(s, b, LOG_WARN, "a handler of a command was not run: %s", why.text);
        }
        number = 0;
    }
    return number ? -1 : 0;
}

int script_hook_command(void *arg, struct device *d, int hook, const struct device_command *command, struct error *err)
{
    struct scenario *s = arg;
    struct behaviour *b = hook_record(s, d, err);
    if (!b)
        return -1;
    uint32_t former = guard_charge(s->guard, b->owner.account);
    int rc = hook < 0                              ? behaviours_handlers(s, b, command, err)
             : hook_push_function(s, d, hook, err) ? -1
                                                   : spawn_command(s, b, command, command->number, false, err);
    guard_charge(s->guard, former);
    return rc;
}

void script_hook_cancel(void *arg, struct device *d, uint32_t command)
{
    struct scenario *s = arg;
    const struct behaviour *b = d->behaviour;
    for (const struct hook_task *h = b ? b->hook_tasks : NULL; h; h = h->next) {
        if (h->command != command || h->behaviours)
            continue;
        struct task *t = task_find(s->tasks, h->task);
        if (t)
            task_cancel(t);
        return;
    }
}

// native.command_answer(number, error) or (number, nil, result): ends a command. → nil | what is wrong with the result
int hook_answer_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct device *d = scenario_device(s);
    uint32_t number = (uint32_t)luaL_checknumber(L, 1);
    struct error err = {0};
    json_t *result = NULL;
    lua_settop(L, 3);
    if (!d)
        return 0;
    if (!lua_isnil(L, 2)) {
        device_answer(d, number, NULL, luaL_checkstring(L, 2));
        return 0;
    }
    if (!lua_isnil(L, 3) && !(result = json_from_lua(L, 3, &err))) {
        error_prefix(&err, "the result of the handler");
        device_answer(d, number, NULL, err.text);
        lua_pushstring(L, err.text);
        return 1;
    }
    device_answer(d, number, result, NULL);
    json_decref(result);
    return 0;
}

// --- actions --------------------------------------------------------------------------------------------------------

int script_hook_custom(void *arg, struct device *d, int hook, const json_t *params, const json_t *what,
                       struct error *err)
{
    struct scenario *s = arg;
    lua_State *L = s->L;
    struct behaviour *b = hook_record(s, d, err);
    if (!b)
        return -1;
    uint32_t former = guard_charge(s->guard, b->owner.account);
    int rc = hook_push_function(s, d, hook, err);
    if (!rc) {
        int function = lua_gettop(L);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->custom_task);
        behaviour_handle_push(s, b);
        lua_pushvalue(L, function);
        if (params)
            json_to_lua(L, params);
        else
            lua_newtable(L);
        if (what)
            json_to_lua(L, what);
        else
            lua_newtable(L);
        rc = spawn(s, b, 4, 0, false, err);
        lua_settop(L, function - 1);
    }
    guard_charge(s->guard, former);
    return rc;
}

// native.hook_error(): counts an action that raised
int hook_error_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const struct device *d = scenario_device(s);
    if (d)
        counter_add(s->groups[d->group->config.number].errors, 1);
    return 0;
}
