// Shared by the files of this room that bind Lua to the engine: the scenario, a device's behaviour, waits, handles.
//
// Every userdata an author can hold begins with a tag: authors cannot make userdata (no newproxy, no io), so the tag is
// proof enough of what it is. Handles hold ids with a generation, never pointers.
#pragma once
#include <lua.h>
#include <lauxlib.h>
#include "core/buf.h"
#include "engine/heartbeat.h"
#include "engine/scenario.h"
#include "script/guard.h"
#include "script/model_files.h"
#include "script/sandbox.h"
#include "script/task.h"

enum handle_tag {
    HANDLE_DEVICE = 0x4445u,
    HANDLE_GEN,
    HANDLE_TASK,
    HANDLE_SUBSCRIPTION,
    HANDLE_VALUES,
    HANDLE_BYTES,
    HANDLE_INTEGER,
    HANDLE_PARKER,
    HANDLE_CONN,
    HANDLE_OBSERVATION,
    HANDLE_LINK,
    HANDLE_ADAPTER,
    HANDLE_METRIC
};

struct handle_device {
    uint32_t tag;
    slot_id id;
};

struct side; // port.h

// A registered handler of a device: dev:on(event, fn), dev:subscribe(filter, fn), dev:observe(path, fn),
// dev:serve(path, fn), on its own connection or another one. At most HANDLERS_MAX a device, of all its connections.
enum { HANDLERS_MAX = 256 };
enum handler_kind { HANDLER_EVENT, HANDLER_SUBSCRIPTION, HANDLER_OBSERVATION, HANDLER_SERVED };
struct handler {
    struct handler *next;
    struct side *side; // NULL: the device's own connection
    int function;      // registry reference
    uint32_t token;    // of the subscribe request that has not been answered, of the observation; 0: none
    uint8_t kind;      // enum handler_kind: name is an event, a topic filter, a path
    bool command;      // name is the filter of a command topic
    bool later;        // to be subscribed when the device comes online
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling;
    uint16_t plain; // where the filter begins that messages are compared with: behind "$share/GROUP/"
    uint32_t identifier;
    char name[];
};

// How much an author may log: LOG_LINES_MAX lines a second and device (and as many for the test and for loading).
enum { LOG_LINES_MAX = 100 };
struct log_allowance {
    uint32_t second; // loop time
    uint32_t lines;  // in that second
};

enum wait_kind { WAIT_ONLINE, WAIT_DONE, WAIT_EVENT, WAIT_MESSAGE, WAIT_RESPONSE };

// A blocked task that waits for something of its device. Lives only while it waits.
struct wait {
    struct wait *next;
    struct behaviour *behaviour;
    struct scenario *scenario;
    struct side *side; // NULL: of the device's own connection
    slot_id task;
    enum wait_kind kind;
    uint32_t token;  // WAIT_DONE, WAIT_RESPONSE
    bool retry;      // WAIT_ONLINE: an attempt that failed but will be retried is not an answer
    bool granted;    // WAIT_DONE: the answer carries the granted QoS
    bool is_message; // WAIT_RESPONSE: the answer is a message (MQTT)
    int message;     // registry reference of what to return, LUA_NOREF
    char event[24];  // WAIT_EVENT
    char *failure;   // WAIT_ONLINE: what went wrong in the attempt before; NULL: nothing yet
};

struct behaviour {
    struct task_owner owner;
    struct device *device;
    struct scenario *scenario;
    struct wait *waits;
    struct handler *handlers;
    struct side *sides; // its open side connections
    struct log_allowance log;
    uint32_t gens;  // specifications of generators it was the first to use
    int handle;     // registry reference of the device's handle
    int data;       // of its row, 0 until asked for
    bool stopping;  // its tasks are being cancelled
    bool telemetry; // the model's telemetry was turned on: it goes on when all tasks have ended
    // hooks of its model
    bool hooks_only; // there is no behaviour, only they
    uint32_t hook_epoch;
    uint32_t hook_log_second; // + 1, of the latest line about one that failed
    struct hook_slot *hook_slots;
    struct hook_task *hook_tasks;
};

struct scenario_group {
    int behaviour;     // registry reference of the author's function, LUA_NOREF
    uint64_t memory;   // cap of a device's account, bytes
    int data_meta;     // metatable of its devices' rows, 0 until one is asked for
    bool data_numbers; // fields of CSV that read as numbers are numbers
    struct metric *commands, *command_errors, *errors;
    struct hook_function *hook_functions; // what its models' handlers are
    unsigned n_hook_functions;
    struct hook_set *hook_sets;
    uint32_t hook_epoch; // how often a model was made known
};

struct subscription;
struct custom;       // chaos_bind.c
struct side_cache;   // side.c
struct lua_barriers; // barrier_bind.c
struct user_metrics; // metrics_bind.c

struct scenario {
    struct scenario_config config;
    char script_dir[1024];
    struct model_files models;
    struct guard *guard;
    lua_State *L;
    struct tasks *tasks;
    struct task_owner run_owner; // tasks that belong to no device
    struct rng run_rng;
    uint64_t seed;
    struct fleet *fleet;
    unsigned n_groups;
    struct scenario_group *groups;
    int test;         // registry reference, LUA_NOREF
    int loaded;       // registry reference of the normalised scenario, LUA_NOREF
    int message_meta; // metatable of message tables
    int device_meta, gen_meta, task_meta, subscription_meta;
    int conn_meta, observation_meta, response_meta, request_meta;
    int message_runner;    // product function(port, fn, message): a handler whose result answers the message
    int serve_runner;      // product function(port, fn, request, ticket)
    int connection_reader; // product function(connection) → target as JSON, credentials as JSON | nil, message
    struct side *open_sides;
    struct side *closing; // side connections whose handles are closed already
    uint64_t sides_made;  // numbers given out
    uint64_t sides_lost;  // messages that were not delivered when their connection had to close
    struct side_cache *side_cache;
    struct loop_hook side_hook;
    bool detached; // no side connections any more
    json_t *plan;  // what a side connection needs of it: broker, http, coap, embedded_urls …
    int values_meta, traceback;
    int command_runner;        // product function(dev, fn, message, decode)
    int command_task;          // product function(dev, fn, command, number)
    int custom_task;           // product function(dev, fn, params, what)
    int hook_resolver;         // product function(group, handler) → function | nil, message
    struct behaviour *in_hook; // whose generator or encoder runs now, outside of any task
    int test_runner;
    int gen_cache; // JSON text → generator specification
    unsigned n_gens;
    struct gen_spec **gens;
    struct buf scratch;   // payloads and topics under construction; empty between calls
    struct scratch texts; // of the value of one call of a generator
    struct buf topic, reply;
    unsigned n_diagnostics;
    bool diagnosed;          // a load error was told with a diagnostic
    struct error file_error; // of the behaviour file that was compiled last
    const struct test_env *env;
    struct test_env env_storage;
    struct task *test_task;
    bool test_over;
    bool check_failed;             // an expectation of the test, of setup or teardown
    struct task *act_task;         // setup or teardown
    bool acting, act_over;         // its tasks run; it has said how it ended
    json_t *given;                 // what setup returned; NULL: nothing
    struct lua_barriers *barriers; // barrier_bind.c, NULL until one is used
    struct log_allowance log;      // of what runs for no device
    struct subscription *subscriptions;
    struct custom *customs; // functions of the timeline that run now
    struct metric *script_errors, *overruns, *kills,
        *checks; // script_errors: of the test; those of devices carry their group
    struct loop_hook overrun_hook;
    struct lua_links *links;           // link_bind.c, NULL until one is opened
    struct lua_adapters *adapters;     // adapter_lua.h, NULL: none
    struct user_metrics *user_metrics; // NULL: none are declared
    int metric_meta;
};

// scenario.c
struct scenario *scenario_of(lua_State *L); // upvalue 1 of every binding

// bind.c: registers functions as closures over the scenario into the table at the top of the stack.
void bind_functions(lua_State *L, struct scenario *s, const luaL_Reg *functions);
// Pushes a metatable that authors can neither see nor change: with these functions, and with an __index of these
// methods; NULL: none.
void bind_metatable(lua_State *L, struct scenario *s, const luaL_Reg *meta, const luaL_Reg *methods);
// Raises for a field that a handle does not have. whose: "a device"; fields: all that there are, NULL-terminated.
int bind_no_field(lua_State *L, const char *whose, const char *key, const char *const *fields);
// Argument helpers; all raise at the author's line.
int64_t bind_duration(lua_State *L, int arg, const char *what); // string with unit, or number of seconds
int64_t bind_opt_duration(lua_State *L, int table, const char *key, int64_t dflt);
// Raises when the table at `arg` has a key that is not in `valid` (NULL-terminated).
void bind_check_keys(lua_State *L, int arg, const char *function, const char *const *valid);
// The number of the word at `arg` in `valid` (NULL-terminated); dflt for nil, < 0: there is none. `what`: "dev:on:
// event".
int bind_option(lua_State *L, int arg, const char *what, const char *const *valid, int dflt);
int bind_fail(lua_State *L, const struct error *err); // pushes nil, text, code name; returns 3
bool bind_opt_bool(lua_State *L, int table, const char *key, bool dflt);
int bind_opt_int(lua_State *L, int table, const char *key, int min, int max, int dflt);

// json.c: Lua values to JSON text and jansson values.
// Appends the value at idx as JSON: tables with 1..n are arrays, with string keys objects (keys sorted, so that the
// text does not depend on the table's inner order), depth <= 32. Raw access only, no metamethods. -1: err (cycle by
// depth, function, mixed keys, NaN becomes null). Never throws but for memory.
int json_encode_value(lua_State *L, int idx, struct buf *out, struct error *err) WARN_UNUSED_RESULT;
json_t *json_from_lua(lua_State *L, int idx, struct error *err);
void json_to_lua(lua_State *L, const json_t *v);
// A telemetry value: numbers, booleans and texts as they are, a number of a string attribute as text, JSON decoded; nil
// when there is none.
void value_to_lua(lua_State *L, const struct value *v);

// device handles and behaviours
void device_bindings_open(lua_State *L, struct scenario *s); // fills metatables
int device_handle_push(lua_State *L, struct scenario *s, struct device *d);
// The device of the handle at argument 1 when its own task runs; raises otherwise.
struct device *device_check(lua_State *L, struct scenario *s);
extern const struct device_ops script_device_ops;
void wait_free(struct wait *w);
// An attempt to connect failed, and others follow: what a timeout will speak of.
void wait_note(struct wait *w, const struct error *why); // unlinks and frees
// Arms a wait of the running task; timeout_us < 0: none. Last statement of a binding. like->message is taken over.
int wait_block(lua_State *L, struct scenario *s, struct device *d, const struct wait *like, int64_t timeout_us,
               struct task *task);
// Ends the device when nothing of its behaviour is left: no task, no handler, no telemetry.
void behaviour_look(struct scenario *s, struct behaviour *b);
void behaviour_message_push(lua_State *L, struct scenario *s, const char *topic, size_t topic_len, const void *payload,
                            size_t n, int qos, bool retain);

// A record for the device; d->behaviour is the caller's to set. NULL: err.
struct behaviour *behaviour_new(struct scenario *s, struct device *d, struct error *err);

// hook.c, hook_task.c: what models leave to Lua
void hook_bindings_open(lua_State *L, struct scenario *s);
int script_hook_resolve(void *arg, struct group *g, const struct model *model, struct error *err);
int script_hook_generate(void *arg, struct device *d, int hook, const json_t *params, const struct gen_context *context,
                         struct value *out, struct error *err);
int script_hook_encode(void *arg, struct device *d, int hook, const struct model_stream *stream,
                       const struct payload_scope *scope, struct buf *out, struct error *err);
int script_hook_command(void *arg, struct device *d, int hook, const struct device_command *command, struct error *err);
int script_hook_custom(void *arg, struct device *d, int hook, const json_t *params, const json_t *what,
                       struct error *err);
void script_hook_cancel(void *arg, struct device *d, uint32_t command);
// The device's record, made at its first hook. NULL: it is not active, or there is no memory.
struct behaviour *hook_record(struct scenario *s, struct device *d, struct error *err);
int hook_push_function(struct scenario *s, const struct device *d, int hook, struct error *err);
void hook_group_free(struct scenario_group *g);
void hook_slots_free(struct scenario *s, struct behaviour *b);
void hook_tasks_free(struct behaviour *b);
// Whether the task was a hook's: then its error is not the device's.
bool hook_task_ended(struct behaviour *b, struct task *task, enum task_result result, const char *text);
// Whether the device's model has commands: then those are what dev:on("command") gets.
bool hook_takes_commands(const struct device *d);
int hook_answer_bind(lua_State *L);
int hook_error_bind(lua_State *L);

// behaviour_file.c: behaviours in files of their own, and reloading
int behaviour_read_bind(lua_State *L);
int behaviour_compile_bind(lua_State *L);
int behaviour_set(struct scenario *s, unsigned group, const char *path, const char *text, struct error *err);
int scenario_behaviour_load(struct scenario *s, const char *group, const char *path, const char *text,
                            struct error *err);
json_t *scenario_reload(struct scenario *s, const char *group, struct error *err);
// metrics_bind.c
void metrics_bindings_open(lua_State *L, struct scenario *s);
void user_metrics_free(struct scenario *s);
int metric_bind(lua_State *L);
int metrics_bind(lua_State *L);
// group_bind.c
int change_bind(lua_State *L);
// chaos_bind.c
int chaos_fault_bind(lua_State *L);
int chaos_profile_bind(lua_State *L);
int chaos_file_bind(lua_State *L);
int chaos_profile_file_bind(lua_State *L);
int scenario_direct(struct scenario *s, const struct test_env *env, struct error *err);
int scenario_custom_start(struct scenario *s, unsigned function, uint64_t number, struct error *err);
void scenario_custom_stop(struct scenario *s, uint64_t number);
void customs_close(struct scenario *s);
void custom_task_ended(struct scenario *s, struct task_owner *owner, struct task *task, enum task_result result,
                       const char *text);
// Of what a function of the timeline asks: its experiment's number when it begins another one, which then ends with it;
// 0 otherwise. And the answer to that.
uint64_t custom_asking(struct scenario *s, struct task *t, const json_t *change);
void custom_began(struct scenario *s, uint64_t custom, const json_t *result);
// failure_bind.c: methods of a device
int dev_fail_bind(lua_State *L);
int dev_heal_bind(lua_State *L);
// park_bind.c
int parker_bind(lua_State *L);
int park_bind(lua_State *L);
int unpark_bind(lua_State *L);
int task_number_bind(lua_State *L);
int acting_bind(lua_State *L);

// native module for product Lua: iotix._core.native
int native_open(lua_State *L);
void gen_bindings_open(lua_State *L, struct scenario *s);
int gen_bind_new(lua_State *L);
int gen_bind_copy(lua_State *L);
// payload_bind.c: the field `payload` of the table at the top of the stack
void payload_bindings_open(lua_State *L, struct scenario *s);
// data_bind.c
int data_bind_open(lua_State *L);
// The device's row as a table, nil when its group has no data.
void data_row_push(lua_State *L, struct scenario *s, const struct device *d);
int gen_bind_keys(lua_State *L);
// act_bind.c: setup and teardown, and what the one gives to others
int scenario_act_start(struct scenario *s, const struct test_env *env, bool teardown, struct error *err);
// Whether the task, of the run's own, was one of setup's or teardown's.
bool scenario_act_ended(struct scenario *s, struct task *task, enum task_result result, const char *text);
void scenario_given(struct scenario *s, const json_t *data);
void act_bindings(lua_State *L, struct scenario *s);
// barrier_bind.c
int barrier_bind(lua_State *L);
void scenario_opened(struct scenario *s, const json_t *message);
void barriers_close(struct scenario *s);
// test bindings (director)
void test_bindings(lua_State *L, struct scenario *s);
void test_close(struct scenario *s);
struct rng *scenario_rng(struct scenario *s);             // of what runs now
struct device *scenario_device(struct scenario *s);       // of what runs now, or NULL
int64_t scenario_wall_us(struct scenario *s);             // as its clock shows it, which may be off; else the loop's
struct behaviour *scenario_behaviour(struct scenario *s); // of what runs now, or NULL; its device may be gone
// A line into the log with the device's name, within its allowance; past that one line says so and the rest of the
// second is dropped. b NULL: the test's, or loading's.
void scenario_log(struct scenario *s, struct behaviour *b, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void handler_free(lua_State *L, struct handler *h);
