// Events of a connection, the device's own (side NULL) or a side one, turned into wakes and tasks of its behaviour.
// Private to the files that bind connections.
#pragma once
#include "script/port.h"

// behaviour.c
void behaviour_online(struct scenario *s, struct behaviour *b, struct side *side);
// True: a wait that does not want a retry has ended: the connection is to be given up.
bool behaviour_offline(struct scenario *s, struct behaviour *b, struct side *side, const struct error *why,
                       bool will_retry);
void behaviour_message(struct scenario *s, struct behaviour *b, struct side *side, const struct adapter_message *m);
void behaviour_done(struct scenario *s, struct behaviour *b, uint32_t token, int granted_qos, const struct error *why);
// Pushes the device's handle.
void behaviour_handle_push(struct scenario *s, struct behaviour *b);
void port_handle_push(struct scenario *s, struct behaviour *b, struct side *side);

// wait.c. Ends a wait: its timer is stopped and it is freed; the task is not woken.
void wait_end(struct wait *w);
void wait_answer_ok(struct wait *w); // true, or the value that like->message was
void wait_answer_granted(struct wait *w, int granted_qos);
void wait_answer_error(struct wait *w, const struct error *why);
// ref: registry reference of what the blocked call returns, owned by the wake.
void wait_answer_value(struct wait *w, int ref);

// behaviour.c: spawns a handler's task from the function and nargs arguments on top of the stack; they are popped.
void handler_task(struct scenario *s, struct behaviour *b, const struct handler *h, int nargs);

// message_bind.c: a message as handlers see it, with what MQTT 5 adds
void message_push(lua_State *L, struct scenario *s, const struct adapter_message *m);

// request_bind.c
void behaviour_response(struct scenario *s, struct behaviour *b, struct side *side, uint32_t token,
                        const struct adapter_response *response, const struct error *why);
// serve_bind.c
int behaviour_request(struct scenario *s, struct behaviour *b, struct side *side, uint64_t ticket,
                      const struct adapter_request *request, struct error *err);
// auth_bind.c
int behaviour_auth(struct scenario *s, struct behaviour *b, struct side *side, const uint8_t *data, size_t n,
                   struct buf *reply, struct error *err);

// side.c. Closes it for its author: waits end, handlers go; the rest happens at the ends of turns. abrupt: without a
// drain and without a goodbye.
void side_close(struct side *side, bool abrupt);
void sides_end(struct scenario *s, struct behaviour *b); // the behaviour ends
int side_handle_push(lua_State *L, struct scenario *s, const struct side *side);
