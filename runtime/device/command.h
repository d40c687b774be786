// Commands that a model declares: subscribed at connect, parsed and checked here, carried out by whoever is there.
//
// A command arrives on its own topic (its `topic`, or BASE/commands/NAME) as a JSON object of parameters (or
// {"params": {…}, "id": any}; nothing at all is no parameters), or on BASE/command as {"command": NAME, "params": {…},
// "id": any}. It is refused, with an answer and the metric command_errors{group,reason}, when it is malformed, unknown,
// misses a parameter, or has one of the wrong type or outside its range; a parameter the command does not have is
// refused too. Otherwise the model's behaviors hear "command:NAME" (so that an answer shows what they set), and it goes
// to the first of: the model's handler (a Lua hook), the behaviour's dev:on("command"), nobody: then it is
// acknowledged.
//
// The answer goes to the command's response topic (default BASE/response), by its template or as
// {"ok": true, "command": NAME, "id": …, "result": …}; what went wrong is told there too, always as
// {"ok": false, "command": NAME, "id": …, "error": text, "code": reason, "parameter": name}. A handler that does not
// answer in time is answered for: "timeout". One whose answer comes later than that is not heard, and counted in
// commands_late. A reconnect changes nothing for what is under way; an answer while the device is disconnected for good
// is lost, reason "unsent".
#pragma once
#include "device/device.h"

#define COMMANDS_MAX 64 // under way at once of one device; beyond: refused, reason "busy"

struct device_command {
    uint32_t number;                   // of the device, never 0; what device_answer wants
    const struct model_command *model; // which one it is
    const char *name;
    const json_t *params; // object; valid during hook_command only, as all of this
    const json_t *id;     // or NULL
    const char *topic;    // not NUL-terminated
    size_t topic_len;
    const uint8_t *payload; // as it came
    size_t payload_len;
};

// Whether the message was a command of the model, in which case it has been dealt with.
bool commands_message(struct device *d, const struct adapter_message *m);
// Whether the request was for a command of the model that is served, in which case it is or will be answered.
bool commands_request(struct device *d, uint64_t ticket, const struct adapter_request *request);
// Whether the model's commands are served at this path (n bytes, without a query).
bool commands_serve_at(const struct device *d, const char *path, size_t n);
// Subscribes what the model's commands need, on this connection. A topic that can never be subscribed ends the device.
void commands_subscribe(struct device *d);
// Ends a command: result NULL and error NULL: done without a result. error: what its handler says went wrong. A number
// that is not (any more) under way is fine, and counted. May be called inside hook_command.
void device_answer(struct device *d, uint32_t number, const json_t *result, const char *error);
// How many are under way.
unsigned commands_under_way(const struct device *d);
// Drops what is under way, without an answer (the device stops). Tasks are the implementer's to cancel.
void commands_drop(struct device *d);
