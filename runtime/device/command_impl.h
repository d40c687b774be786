// What the files of commands share. Not for other files.
#pragma once
#include "device/command.h"
#include "device/internal.h"

enum command_reason {
    COMMAND_MALFORMED,
    COMMAND_UNKNOWN,
    COMMAND_MISSING,
    COMMAND_TYPE,
    COMMAND_RANGE,
    COMMAND_BUSY,
    COMMAND_HANDLER,
    COMMAND_TIMEOUT,
    COMMAND_UNSENT, // counted only
    COMMAND_REASON_MAX
};
const char *command_reason_name(enum command_reason r);

// Why a command was not carried out. The names point into the model, the message's document or constants.
struct command_fault {
    enum command_reason reason;
    const char *parameter; // NULL: none
    struct error err;
};
// Returns -1.
int command_fault(struct command_fault *f, enum command_reason reason, const char *parameter, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

// A message taken apart. Everything but `model` is owned, and there as far as it was understood.
struct command_message {
    const struct model_command *model; // given for a command's own topic, found for BASE/command
    json_t *document;
    json_t *params; // whole numbers are integers, nulls are left out
    json_t *id;     // NULL: none
};
// Parses and checks. model NULL in `m`: it came on BASE/command and names its command. -1: f says why.
int command_read(const struct model *model, const void *payload, size_t n, struct command_message *m,
                 struct command_fault *f);
void command_message_free(struct command_message *m);

// Where an answer goes that its sender said himself; empty: where the model says.
struct command_return {
    bool asked; // a request: answered with its ticket
    uint64_t ticket;
    const char *topic; // of a message's response topic; topic_len 0: none
    size_t topic_len;
    const uint8_t *correlation;
    size_t correlation_len;
};
struct command_return command_return_of(const struct adapter_message *m);     // points into it
struct command_return *command_return_new(const struct command_return *from); // a copy, free() it
int command_return_send(struct device *d, const struct command_return *to, const struct command_fault *f,
                        const uint8_t *payload, size_t n, struct error *err);

// command_request.c
bool commands_are_served(const struct device *d);
void commands_serve(struct device *d);
// command.c: a command has come, by its own topic or path, or (c NULL) names itself.
void command_arrived(struct device *d, const struct model_command *c, const struct adapter_message *from,
                     const struct command_return *to);

// What an answer is about.
struct command_subject {
    const struct model_command *model; // NULL: unknown
    const char *name;                  // NULL: unknown
    const json_t *params;              // NULL: none
    const json_t *id;                  // NULL: none
    const struct command_return *to;   // NULL or empty: where the model says
};
// Publishes the answer: done (f NULL) or not. -1: it could not be sent (COMMAND_UNSENT) or made (COMMAND_HANDLER): what
// to count; an answer that could not be made is replaced by one that says so.
// One that did not get as far as a model: counted as received and refused, and answered (if there is a model to say
// how).
void command_refuse(struct device *d, const struct command_subject *about, const struct command_fault *f);
int command_reply(struct device *d, const struct command_subject *about, const json_t *result,
                  const struct command_fault *f, enum command_reason *why);
