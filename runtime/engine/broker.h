// The embedded default target: a private mosquitto on a free loopback port. It leaves nothing behind, whatever happens:
// its configuration and its log are anonymous memory (memfd), it writes no other file, and it dies with the supervisor,
// whatever kills that (PR_SET_PDEATHSIG; it does not drop privileges, which would clear it).
#pragma once
#include <stdbool.h>
#include "chaos/experiment.h"
#include "core/error.h"

struct broker;
struct run_cert;
struct broker_config {
    const char *program;         // NULL: mosquitto in PATH, /usr/sbin, /usr/local/sbin
    unsigned listeners;          // beside the plain one: mask of TARGET_MQTTS, TARGET_WS, TARGET_WSS (plan_target.h)
    const struct run_cert *cert; // for the TLS ones; borrowed until broker_stop
};
// Starts it without waiting. ERR_NOT_FOUND says which Debian package brings mosquitto.
struct broker *broker_begin(const struct broker_config *config, struct error *err);
// 1: it answered a CONNECT. 0: not yet (ask again in some milliseconds). -1: it never will: the program cannot be run,
// five ports were taken, or 10 s have passed; err has the last lines of its log.
int broker_ready(struct broker *b, struct error *err) WARN_UNUSED_RESULT;
// Both of the above, blocking.
struct broker *broker_start(struct error *err);
// Asks it to end; broker_stop later does not have to wait.
void broker_terminate(struct broker *b);
bool broker_gone(struct broker *b);
void broker_stop(struct broker *b);             // TERM, KILL after 1 s; NULL is fine
const char *broker_url(const struct broker *b); // "mqtt://127.0.0.1:41234"
// Of one of its listeners, by bit; NULL: it has none such.
const char *broker_listener(const struct broker *b, unsigned bit);
int broker_pid(const struct broker *b); // 0: ended
// What an experiment does to it: it is asked to end, killed, or stopped where it is. It remembers nothing: sessions and
// retained messages are gone with it, but not when it is paused. ERR_STATE: something is done to it already.
int broker_break(struct broker *b, enum broker_action how, struct error *err) WARN_UNUSED_RESULT;
// Undoes that: it goes on, or is started again on the ports it had. Ask broker_ready when it answers; -1 there: it
// never will. ERR_STATE: nothing was done to it.
int broker_mend(struct broker *b, struct error *err) WARN_UNUSED_RESULT;
bool broker_broken(const struct broker *b); // down or paused on purpose, or not yet back

// -1 and err when it has died, not by broker_break, with the last lines of its log.
int broker_check(struct broker *b, struct error *err) WARN_UNUSED_RESULT;
