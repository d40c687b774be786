// Behaviors of a model: rules of a trigger and an action, compiled with the model and carried out here without Lua.
//
// A device of a model with behaviors has a few bytes a rule, 8 more where it has a cooldown, and a timer where it has a
// schedule or a time that a condition must hold. Everything happens at once, inside the call that tells; what an action
// causes may trigger others, up to RULE_CASCADE deep, beyond which nothing more fires and behavior_errors counts.
#pragma once
#include "core/cron.h"
#include "device/device.h"
#include "device/failure.h"
#include "telemetry/expr.h"

enum { RULE_CASCADE = 16, RULE_MAX_STATES = MODEL_MAX_ATTRIBUTES };

enum rule_trigger { TRIGGER_EVENT, TRIGGER_SCHEDULE, TRIGGER_CONDITION, TRIGGER_STARTUP };
enum rule_action {
    ACTION_PUBLISH,
    ACTION_DISCONNECT,
    ACTION_RECONNECT,
    ACTION_SET_STATE,
    ACTION_LOG,
    ACTION_CUSTOM,
    ACTION_FAIL
};

struct rule_text { // of the document, not NUL-terminated
    const char *s;
    size_t n;
};

// "command:NAME", "command:NAME:PARAM=VALUE", or any other name: then only `name`.
struct rule_event {
    struct rule_text all;
    struct rule_text name;      // "command:NAME"
    struct rule_text parameter; // n 0: whatever the parameters are
    struct rule_text value;
};

struct rule_state { // what setState sets
    unsigned slot;
    const json_t *value;   // as written; NULL: text or parameter
    struct payload *text;  // a text with placeholders
    const char *parameter; // the text is one placeholder: the parameter (or attribute) itself
};

struct model_behavior {
    const char *name;
    enum rule_trigger trigger;
    enum rule_action action;
    struct rule_event event;
    struct cron cron;
    struct zone *zone; // NULL: UTC
    struct expr *condition, *reset;
    int64_t for_us, cooldown_us;
    int timer, cooldown; // which of the device's, -1: none
    // What the templates below may name, in the order of their values.
    const struct model_command *command; // its parameters come first; NULL: none
    unsigned n_names;
    struct payload *topic, *payload; // publish; topic NULL: that of the model's telemetry
    struct payload *message;         // log
    unsigned n_states;
    struct rule_state *states;
    int hook; // custom
    const json_t *params;
    struct failure_spec failure; // fail, disconnect
};

// The device was started: schedules run. Makes what the device needs. 0 when the model has no behaviors.
int rules_started(struct device *d, struct error *err) WARN_UNUSED_RESULT;
// It is stopping: nothing fires any more.
void rules_stopped(struct device *d);
void rules_free(struct device *d);
// The connection is up, or gone. Startup fires the first time after a start.
void rules_online(struct device *d);
void rules_offline(struct device *d);
// It has booted: startup is due again, conditions are armed, schedules begin anew.
void rules_rebooted(struct device *d);
// Its clock was set.
void rules_clock_changed(struct device *d);
// The group has another model (and the device's rules are of the old one).
void rules_model_changed(struct device *d);
// Something happened: "command:NAME", "connect", "disconnect", "online", "stateChanged", "behavior:NAME",
// "failure:KIND", "recovered:KIND", or a name of an author's own. params: object or NULL.
void rules_event(struct device *d, const char *name, const json_t *params);
// Values are new: conditions are looked at.
void rules_values(struct device *d);
size_t rules_footprint(const struct device *d);
// Counts what could not be done, and says it in the log the first time for a device.
void rules_problem(struct device *d, const char *behavior, const struct error *err);
// Makes the series of a group whose model has behaviors, so that thresholds find them.
int rules_series(struct group *g, struct error *err);
