// Rules: when they fire. What they then do is in rule_action.c.
//
// A device's part of its rules is one block of memory: a timer for each rule that needs one, the time of the last
// firing for each with a cooldown, a byte for each. Conditions are looked at when values are new, schedules by a timer
// on the device's own clock.
#include "device/rule.h"

#include <stdlib.h>
#include <string.h>
#include "core/log.h"
#include "core/units.h"
#include "device/rule_impl.h"

#define LONGEST_WAIT_US 600000000 // then the clock is looked at again: it may have been set

// --- memory and metrics -------------------------------------------------------------------------------------------

static struct loop *loop_of(const struct rules *r)
{
    return r->device->group->fleet->config.env.loop;
}

static size_t rules_size(const struct model *m, unsigned *n_timers, unsigned *n_cooldowns)
{
    *n_timers = *n_cooldowns = 0;
    for (unsigned i = 0; i < m->n_behaviors; i++) {
        *n_timers += m->behaviors[i].timer >= 0;
        *n_cooldowns += m->behaviors[i].cooldown >= 0;
    }
    return sizeof(struct rules) + *n_timers * sizeof(struct rule_timer) + *n_cooldowns * sizeof(int64_t) +
           m->n_behaviors;
}

size_t rules_footprint(const struct device *d)
{
    unsigned n_timers, n_cooldowns;
    return d->rules ? rules_size(d->rules->model, &n_timers, &n_cooldowns) : 0;
}

static struct metric *series(struct group *g, const char *name, const char *kind)
{
    struct fleet *fleet = g->fleet;
    struct buf tags;
    struct metric *m = NULL;
    if (!fleet->config.env.metrics)
        return &fleet->nowhere;
    buf_create(&tags, 1024);
    if (!buf_printf(&tags, "group:%s%s%s", g->config.name, kind ? ",kind:" : "", kind ? kind : ""))
        m = metrics_series(fleet->config.env.metrics, name, METRIC_COUNTER, UNIT_NONE, buf_cstr(&tags), NULL);
    buf_destroy(&tags);
    return m ? m : &fleet->nowhere; // no room for another series: not counted
}

static struct rule_metrics *metrics_of(struct group *g)
{
    if (!g->rule_metrics && (g->rule_metrics = calloc(1, sizeof(*g->rule_metrics)))) {
        g->rule_metrics->fired = series(g, "behaviors_fired", NULL);
        g->rule_metrics->errors = series(g, "behavior_errors", NULL);
    }
    return g->rule_metrics;
}

struct metric *rules_failure_series(struct group *g, enum failure_kind kind)
{
    struct rule_metrics *m = metrics_of(g);
    if (!m)
        return &g->fleet->nowhere;
    if (!m->failures[kind])
        m->failures[kind] = series(g, "failures", failure_names()[kind]);
    return m->failures[kind];
}

int rules_series(struct group *g, struct error *err)
{
    const struct model *m = g->config.model;
    if (!m || !m->n_behaviors)
        return 0;
    if (!metrics_of(g))
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < m->n_behaviors; i++) {
        if (m->behaviors[i].action == ACTION_FAIL)
            rules_failure_series(g, m->behaviors[i].failure.kind);
    }
    return 0;
}

void rules_group_free(struct group *g)
{
    free(g->rule_metrics);
    g->rule_metrics = NULL;
}

void rules_problem(struct device *d, const char *behavior, const struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    struct rule_metrics *m = metrics_of(d->group);
    if (m)
        counter_add(m->errors, 1);
    if (!d->rules || d->rules->complained)
        return;
    d->rules->complained = true;
    buf_clear(&fleet->id);
    const char *id = device_name(d, &fleet->id) ? "?" : buf_cstr(&fleet->id);
    log_write(fleet->config.env.log, LOG_WARN, id,
              "behavior %s: %s (counted in behavior_errors; what follows of this device is not logged)", behavior,
              err->text);
}

static bool active(const struct device *d)
{
    return (d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING) && !d->group->fleet->stopping;
}

// --- firing -------------------------------------------------------------------------------------------------------

static bool resting(struct rules *r, const struct model_behavior *b)
{
    if (b->cooldown < 0)
        return false;
    int64_t now_us = loop_now_us(loop_of(r)) + 1; // 0: it never fired
    int64_t *last = &r->last_us[b->cooldown];
    if (*last && now_us - *last < b->cooldown_us)
        return true;
    *last = now_us;
    return false;
}

static bool same_text(const struct rule_text *text, const char *prefix, const char *name)
{
    size_t n = strlen(prefix);
    return text->n >= n && memcmp(text->s, prefix, n) == 0 && strlen(name) == text->n - n &&
           memcmp(text->s + n, name, text->n - n) == 0;
}

// PARAM=VALUE: a number equals a number, true and false are words, a text is itself.
static bool parameter_matches(const struct rule_event *e, const json_t *params)
{
    char name[256], value[256];
    double number;
    if (e->parameter.n >= sizeof(name) || e->value.n >= sizeof(value))
        return false;
    memcpy(name, e->parameter.s, e->parameter.n);
    memcpy(value, e->value.s, e->value.n);
    name[e->parameter.n] = value[e->value.n] = '\0';
    const json_t *v = json_object_get(params, name);
    if (json_is_string(v))
        return strcmp(json_string_value(v), value) == 0;
    if (json_is_boolean(v))
        return strcmp(json_is_true(v) ? "true" : "false", value) == 0;
    return json_is_number(v) && double_parse(value, &number, NULL) == 0 && json_number_value(v) == number;
}

static void fire(struct rules *r, unsigned i, const json_t *params);

// prefix and name: of the event, one behind the other.
static void raise_event(struct device *d, const char *prefix, const char *name, const json_t *params)
{
    struct rules *r = d->rules;
    for (unsigned i = 0; r && !r->stopped && i < r->model->n_behaviors; i++) {
        const struct model_behavior *b = &r->model->behaviors[i];
        if (b->trigger == TRIGGER_EVENT && same_text(&b->event.name, prefix, name) &&
            (!b->event.parameter.n || parameter_matches(&b->event, params)))
            fire(r, i, params);
    }
}

static void fire(struct rules *r, unsigned i, const json_t *params)
{
    const struct model_behavior *b = &r->model->behaviors[i];
    struct device *d = r->device;
    struct error err = {0};
    if (r->stopped || !active(d) || resting(r, b))
        return;
    if (r->depth == RULE_CASCADE) {
        error_set(&err, ERR_LIMIT, "behaviors trigger each other more than %d deep", RULE_CASCADE);
        rules_problem(d, b->name, &err);
        return;
    }
    r->depth++;
    struct rule_metrics *m = metrics_of(d->group);
    if (m)
        counter_add(m->fired, 1);
    if (rule_act(d, b, params, &err))
        rules_problem(d, b->name, &err);
    raise_event(d, "behavior:", b->name, params);
    r->depth--;
}

void rules_event(struct device *d, const char *name, const json_t *params)
{
    raise_event(d, name, "", params);
}

// --- schedules ----------------------------------------------------------------------------------------------------

static void schedule_due(struct timer *t, void *arg);

static void wait_for(struct rule_timer *t)
{
    int64_t wait_us = t->wall_us - device_wall_us(t->rules->device);
    if (wait_us > LONGEST_WAIT_US)
        wait_us = LONGEST_WAIT_US;
    loop_timer_start(loop_of(t->rules), &t->timer, wait_us, schedule_due);
}

static void arm_schedule(struct rules *r, unsigned i, int64_t after_us)
{
    const struct model_behavior *b = &r->model->behaviors[i];
    struct rule_timer *t = &r->timers[b->timer];
    t->wall_us = cron_next(&b->cron, b->zone, after_us);
    if (t->wall_us >= 0)
        wait_for(t);
}

static void schedule_due(struct timer *timer, void *arg)
{
    struct rule_timer *t = container_of(timer, struct rule_timer, timer);
    struct rules *r = t->rules;
    int64_t wall_us = device_wall_us(r->device);
    unsigned i = t->rule;
    (void)arg;
    if (wall_us < t->wall_us) { // a long wait is made of several; and a clock may run slow
        wait_for(t);
        return;
    }
    fire(r, i, NULL);
    if (!r->stopped)
        arm_schedule(r, i, wall_us);
}

static void arm_schedules(struct rules *r)
{
    int64_t wall_us = device_wall_us(r->device);
    for (unsigned i = 0; i < r->model->n_behaviors; i++) {
        if (r->model->behaviors[i].trigger == TRIGGER_SCHEDULE)
            arm_schedule(r, i, wall_us);
    }
}

void rules_clock_changed(struct device *d)
{
    if (d->rules && !d->rules->stopped)
        arm_schedules(d->rules);
}

// --- conditions ---------------------------------------------------------------------------------------------------

static const struct value *latest_values(struct device *d)
{
    struct fleet *fleet = d->group->fleet;
    for (unsigned i = 0; i < d->group->config.model->n_attributes; i++)
        device_value(d, i, &fleet->latest[i]);
    return fleet->latest;
}

static void condition_came_true(struct rules *r, unsigned i)
{
    r->disarmed[i] = 1;
    fire(r, i, NULL);
}

// It has held for as long as it must, if it still does.
static void condition_held(struct timer *timer, void *arg)
{
    struct rule_timer *t = container_of(timer, struct rule_timer, timer);
    struct rules *r = t->rules;
    (void)arg;
    if (expr_true(r->model->behaviors[t->rule].condition, latest_values(r->device)))
        condition_came_true(r, t->rule);
}

static void look_at(struct rules *r, unsigned i)
{
    const struct model_behavior *b = &r->model->behaviors[i];
    const struct value *values = r->device->group->fleet->latest;
    bool holds = expr_true(b->condition, values);
    if (r->disarmed[i]) {
        if (b->reset ? expr_true(b->reset, values) : !holds)
            r->disarmed[i] = 0;
        return;
    }
    if (b->timer < 0) {
        if (holds)
            condition_came_true(r, i);
        return;
    }
    struct rule_timer *t = &r->timers[b->timer];
    if (!holds)
        loop_timer_stop(loop_of(r), &t->timer);
    else if (!timer_pending(&t->timer))
        loop_timer_start(loop_of(r), &t->timer, b->for_us, condition_held);
}

void rules_values(struct device *d)
{
    struct rules *r = d->rules;
    if (!r || r->stopped || !r->model->has_conditions || !active(d))
        return;
    for (unsigned i = 0; i < r->model->n_behaviors && !r->stopped; i++) {
        if (r->model->behaviors[i].trigger != TRIGGER_CONDITION)
            continue;
        latest_values(d); // an action before may have changed them
        look_at(r, i);
    }
}

// --- life ---------------------------------------------------------------------------------------------------------

static struct rules *rules_new(struct device *d, struct error *err)
{
    const struct model *m = d->group->config.model;
    unsigned n_timers, n_cooldowns;
    char *block = calloc(1, rules_size(m, &n_timers, &n_cooldowns));
    struct rules *r = (struct rules *)(void *)block;
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "no memory for the behaviors of a device");
        return NULL;
    }
    r->device = d;
    r->model = m;
    r->n_timers = n_timers;
    r->timers = (struct rule_timer *)(void *)(block + sizeof(*r));
    r->last_us = (int64_t *)(void *)(r->timers + n_timers);
    r->disarmed = (uint8_t *)(r->last_us + n_cooldowns);
    for (unsigned i = 0; i < m->n_behaviors; i++) {
        if (m->behaviors[i].timer >= 0)
            r->timers[m->behaviors[i].timer] = (struct rule_timer){.rules = r, .rule = i};
    }
    return r;
}

int rules_started(struct device *d, struct error *err)
{
    const struct model *m = d->group->config.model;
    if (!m || !m->n_behaviors)
        return 0;
    rules_free(d);
    if (device_keep_values(d, err) || !(d->rules = rules_new(d, err)))
        return -1;
    arm_schedules(d->rules);
    return 0;
}

void rules_stopped(struct device *d)
{
    struct rules *r = d->rules;
    if (!r)
        return;
    r->stopped = true;
    for (unsigned i = 0; i < r->n_timers; i++)
        loop_timer_stop(loop_of(r), &r->timers[i].timer);
}

void rules_free(struct device *d)
{
    rules_stopped(d);
    free(d->rules);
    d->rules = NULL;
}

void rules_online(struct device *d)
{
    struct rules *r = d->rules;
    if (!r)
        return;
    bool first = !r->up;
    r->up = true;
    for (unsigned i = 0; first && i < r->model->n_behaviors; i++) {
        if (r->model->behaviors[i].trigger == TRIGGER_STARTUP)
            fire(r, i, NULL);
    }
    rules_event(d, "connect", NULL);
    rules_event(d, "online", NULL);
}

void rules_offline(struct device *d)
{
    rules_event(d, "disconnect", NULL);
}

void rules_rebooted(struct device *d)
{
    struct rules *r = d->rules;
    if (!r || r->stopped)
        return;
    r->up = false;
    memset(r->disarmed, 0, r->model->n_behaviors);
    for (unsigned i = 0; i < r->n_timers; i++)
        loop_timer_stop(loop_of(r), &r->timers[i].timer);
    arm_schedules(r);
}

void rules_model_changed(struct device *d)
{
    struct error err = {0};
    bool up = d->rules && d->rules->up, running = active(d) && !(d->rules && d->rules->stopped);
    rules_free(d);
    if (!running)
        return;
    if (rules_started(d, &err))
        device_fail(d, err.text);
    else if (d->rules)
        d->rules->up = up || d->conn_state == CONN_CONNECTED;
}
