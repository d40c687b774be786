// The targets that a run brings itself: a private mosquitto (broker.h), an HTTP and a CoAP echo server (the adapters'
// own), each in a process of its own on free loopback ports, with the lifetime of broker.h: they end with the run,
// whatever ends it, and leave nothing behind. What they remember is memory.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

struct targets;
// mask: of plan_target.h, not 0. Starts them without waiting.
struct targets *targets_begin(unsigned mask, int64_t now_wall_us, struct error *err);
// 1: all of them answer. 0: not yet (ask again in some milliseconds). -1: one never will; err says which and why.
int targets_ready(struct targets *t, struct error *err) WARN_UNUSED_RESULT;
// { "mqtt": "mqtt://127.0.0.1:41234", … } of those that were asked for (and mqtt with any broker); once they are ready.
json_t *targets_urls(const struct targets *t);
const char *targets_ca(const struct targets *t);     // PEM of the run's CA; NULL: nothing speaks TLS
const char *targets_broker(const struct targets *t); // plain MQTT, for an observer; NULL: there is no broker
bool targets_has_broker(const struct targets *t);
struct broker *targets_the_broker(const struct targets *t); // for experiments on it; NULL: there is none
// -1 and err when one has died.
int targets_check(struct targets *t, struct error *err) WARN_UNUSED_RESULT;
// Asks them to end; targets_stop later does not have to wait.
void targets_terminate(struct targets *t);
bool targets_gone(struct targets *t);
void targets_stop(struct targets *t); // kills what is left after a second; NULL is fine
