// Adapters written in Lua: iotix.adapter{…}. Each is a struct adapter_ops like those of C; its connections run one Lua
// task each, which connects and then works off what the device asks for, and as many more as the author spawns. They
// are an owner of their own (account, errors): what goes wrong in them ends the connection, not the device.
#pragma once
#include <lua.h>
#include "adapter/adapter.h"
#include "script/task.h"

struct scenario;
struct lua_adapters; // of a scenario
struct iotix_series;
struct endpoint;

#define LUA_ADAPTERS_MAX 16u
#define LUA_ADAPTER_QUEUE_MAX 100u              // requests of a device that wait for its connection
#define LUA_ADAPTER_QUEUE_BYTES (256u << 10)    // their bytes
#define LUA_ADAPTER_MESSAGES_MAX 1000u          // messages to a device in one turn
#define LUA_ADAPTER_CLOSE_US ((int64_t)1000000) // how long `disconnect` may take
#define LUA_ADAPTER_EXCHANGES_MAX 64u           // requests of a connection, both ways, that are not answered yet
#define LUA_ADAPTER_SERVED_MAX 64u              // paths that a device serves
#define LUA_ADAPTER_REQUEST_US ((int64_t)30000000)

// native.adapter_* into the table at the top of the stack.
void adapter_bindings_open(lua_State *L, struct scenario *s);
// Those that the scenario registered, NULL-terminated; NULL: none.
const struct adapter_ops *const *scenario_adapters(struct scenario *s);
void adapter_lua_delete(struct lua_adapters *adapters); // after the last target

// A task of a connection has ended (owner->kind OWNER_ADAPTER).
void adapter_lua_task_ended(struct scenario *s, struct task_owner *owner, struct task *task, enum task_result result,
                            const char *text);
struct rng *adapter_lua_rng(struct task_owner *owner);
// What the device's connection says of a field.
int adapter_lua_field(const struct task_owner *owner, enum adapter_field field, struct buf *out, struct error *err);
// The series of its target.
const struct iotix_series *adapter_lua_series(const struct task_owner *owner);
// The path that its links pass through; NULL: none.
struct path *adapter_lua_path(const struct task_owner *owner);
// Where the connection at argument 1 connects to. NULL: err; raises for what is no connection.
struct endpoint *adapter_lua_endpoint(lua_State *L, struct scenario *s, bool datagram, struct error *err);
