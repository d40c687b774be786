// What the files of behaviors share. Not for other files.
#pragma once
#include "device/internal.h"
#include "device/rule.h"

struct rule_timer { // of a schedule, or of a condition that must hold
    struct timer timer;
    struct rules *rules;
    int64_t wall_us; // schedule: when it is due, by the device's clock
    unsigned rule;
};

struct rules {
    struct device *device;
    const struct model *model; // what the rest was laid out for
    unsigned n_timers;
    uint8_t depth;   // of what triggers what
    bool up;         // startup has fired
    bool stopped;    // nothing fires any more
    bool complained; // the log has heard of a problem
    struct rule_timer *timers;
    int64_t *last_us;  // of the rules with a cooldown: loop time of the last firing + 1, 0: never
    uint8_t *disarmed; // of every rule: a condition that fired and was not reset
};

struct rule_metrics { // of a group
    struct metric *fired, *errors;
    struct metric *failures[FAILURE_KIND_MAX];
};

struct metric *rules_failure_series(struct group *g, enum failure_kind kind);

// Carries the action of a rule out. params: of the event that fired it, or NULL. -1: it could not be done.
int rule_act(struct device *d, const struct model_behavior *b, const json_t *params, struct error *err);
