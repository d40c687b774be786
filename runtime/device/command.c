// Commands on their way: where they come from, what is under way, when it ends.
//
// A command that somebody carries out is a record with a timer, made when it arrives and freed when it is answered;
// a device to which nobody speaks has none. It keeps its command's name, not a pointer into the model, which may be
// another one by the time the answer comes.
#include "device/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/topic.h"
#include "device/command_impl.h"
#include "device/rule.h"

struct command_run {
    struct timer timer;
    struct device *device;
    struct command_run *next;
    uint32_t number;
    int64_t arrived_us;
    json_t *params, *id;
    struct command_return *to; // NULL: where the model says
    char name[];
};

static const struct device_ops *ops(const struct device *d)
{
    return d->group->fleet->config.ops;
}

static void *ops_arg(const struct device *d)
{
    return d->group->fleet->config.ops_arg;
}

static struct loop *loop_of(const struct device *d)
{
    return d->group->fleet->config.env.loop;
}

static const struct model *model_of(const struct device *d)
{
    return d->group->config.model;
}

static const struct model_command *command_named(const struct model *m, const char *name)
{
    for (unsigned i = 0; m && i < m->n_commands; i++) {
        if (!strcmp(m->commands[i].name, name))
            return &m->commands[i];
    }
    return NULL;
}

// --- metrics ------------------------------------------------------------------------------------------------------

struct command_metrics {
    struct metric *received, *late, *latency;
    struct metric *errors[COMMAND_REASON_MAX];
};

static struct metric *series(struct group *g, const char *name, enum metric_type type, const char *reason)
{
    struct fleet *fleet = g->fleet;
    struct error err;
    struct buf tags;
    if (!fleet->config.env.metrics)
        return type == METRIC_TREND ? NULL : &fleet->nowhere;
    buf_create(&tags, 1024);
    struct metric *m = NULL;
    if (!buf_printf(&tags, "group:%s%s%s", g->config.name, reason ? ",reason:" : "", reason ? reason : ""))
        m = metrics_series(fleet->config.env.metrics, name, type, type == METRIC_TREND ? UNIT_TIME_US : UNIT_NONE,
                           buf_cstr(&tags), &err);
    buf_destroy(&tags);
    return m || type == METRIC_TREND ? m : &fleet->nowhere;
}

// Made at the first command of a group: most groups take none. NULL: no memory, nothing is counted.
static struct command_metrics *metrics_of(struct group *g)
{
    if (g->command_metrics)
        return g->command_metrics;
    struct command_metrics *m = g->command_metrics = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->received = series(g, "commands_received", METRIC_COUNTER, NULL);
    m->late = series(g, "commands_late", METRIC_COUNTER, NULL);
    m->latency = series(g, "command_latency", METRIC_TREND, NULL);
    return m;
}

static void count_error(struct group *g, enum command_reason reason)
{
    struct command_metrics *m = metrics_of(g);
    if (!m)
        return;
    if (!m->errors[reason])
        m->errors[reason] = series(g, "command_errors", METRIC_COUNTER, command_reason_name(reason));
    counter_add(m->errors[reason], 1);
}

// --- ends ---------------------------------------------------------------------------------------------------------

static void reply(struct device *d, const struct command_subject *about, const json_t *result,
                  const struct command_fault *f)
{
    enum command_reason why;
    if (f)
        count_error(d->group, f->reason);
    if (command_reply(d, about, result, f, &why))
        count_error(d->group, why);
}

void command_refuse(struct device *d, const struct command_subject *about, const struct command_fault *f)
{
    struct command_metrics *m = metrics_of(d->group);
    if (m)
        counter_add(m->received, 1);
    if (model_of(d))
        reply(d, about, NULL, f);
    else
        count_error(d->group, f->reason);
}

static struct command_run **find_run(struct device *d, uint32_t number)
{
    struct command_run **at = &d->commands;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

static struct command_run *unlink_run(struct command_run **at)
{
    struct command_run *run = *at;
    *at = run->next;
    loop_timer_stop(loop_of(run->device), &run->timer);
    return run;
}

static void free_run(struct command_run *run)
{
    json_decref(run->params);
    json_decref(run->id);
    free(run->to);
    free(run);
}

// Out of the list first: the answer may make the adapter, and so anybody, act.
static void end_run(struct command_run **at, const json_t *result, const struct command_fault *f)
{
    struct command_run *run = unlink_run(at);
    struct device *d = run->device;
    struct command_metrics *m = metrics_of(d->group);
    struct command_subject about = {.model = command_named(model_of(d), run->name),
                                    .name = run->name,
                                    .params = run->params,
                                    .id = run->id,
                                    .to = run->to};
    if (m && m->latency)
        trend_add(m->latency, loop_fresh_us(loop_of(d)) - run->arrived_us);
    reply(d, &about, result, f);
    free_run(run);
}

void device_answer(struct device *d, uint32_t number, const json_t *result, const char *error)
{
    struct command_run **at = find_run(d, number);
    struct command_fault f = {0};
    if (!*at) {
        struct command_metrics *m = metrics_of(d->group);
        if (m)
            counter_add(m->late, 1);
        return;
    }
    if (error)
        command_fault(&f, COMMAND_HANDLER, NULL, "%s", error[0] ? error : "the handler gave no reason");
    end_run(at, error ? NULL : result, error ? &f : NULL);
}

static void timed_out(struct timer *t, void *arg)
{
    struct command_run *run = container_of(t, struct command_run, timer);
    struct device *d = run->device;
    uint32_t number = run->number;
    struct command_fault f = {0};
    const struct model_command *c = command_named(model_of(d), run->name);
    (void)arg;
    command_fault(&f, COMMAND_TIMEOUT, NULL, "not done in %.14g s", c ? (double)c->timeout_us / 1e6 : 0);
    end_run(find_run(d, number), NULL, &f);
    if (ops(d) && ops(d)->hook_cancel)
        ops(d)->hook_cancel(ops_arg(d), d, number);
}

unsigned commands_under_way(const struct device *d)
{
    unsigned n = 0;
    for (const struct command_run *run = d->commands; run; run = run->next)
        n++;
    return n;
}

void commands_drop(struct device *d)
{
    while (d->commands)
        free_run(unlink_run(&d->commands));
}

void commands_group_free(struct group *g)
{
    free(g->command_metrics);
    g->command_metrics = NULL;
}

size_t commands_footprint(const struct device *d)
{
    size_t size = 0;
    for (const struct command_run *run = d->commands; run; run = run->next)
        size += sizeof(*run) + strlen(run->name) + 1;
    return size;
}

// --- arrival ------------------------------------------------------------------------------------------------------

static struct command_run *new_run(struct device *d, const struct command_message *m, const struct command_return *to,
                                   int64_t arrived_us)
{
    size_t n = strlen(m->model->name) + 1;
    struct command_run *run = calloc(1, sizeof(*run) + n);
    bool own = to->asked || to->topic_len;
    if (!run || (own && !(run->to = command_return_new(to)))) {
        free(run);
        return NULL;
    }
    memcpy(run->name, m->model->name, n);
    run->device = d;
    run->number = device_token(d);
    run->arrived_us = arrived_us;
    run->params = json_incref(m->params);
    run->id = json_incref(m->id);
    run->next = d->commands;
    d->commands = run;
    loop_timer_start(loop_of(d), &run->timer, m->model->timeout_us, timed_out);
    return run;
}

static bool carried_out_by_lua(const struct device *d, const struct model_command *c)
{
    return ops(d) && ops(d)->hook_command && (c->hook >= 0 || d->flags & FLAG_BEHAVIOUR);
}

// Hands the command over. Whoever takes it may have answered already when this returns.
static void hand_over(struct device *d, const struct command_message *m, const struct adapter_message *from,
                      const struct command_return *to, struct command_fault *f, int64_t arrived_us)
{
    struct command_subject about = {
        .model = m->model, .name = m->model->name, .params = m->params, .id = m->id, .to = to};
    struct error err = {0};
    if (!carried_out_by_lua(d, m->model)) {
        if (m->model->hook < 0) {
            reply(d, &about, NULL, NULL);
            return;
        }
        command_fault(f, COMMAND_HANDLER, NULL, "nobody runs handlers here");
        reply(d, &about, NULL, f);
        return;
    }
    struct command_run *run = commands_under_way(d) < COMMANDS_MAX ? new_run(d, m, to, arrived_us) : NULL;
    if (!run) {
        command_fault(f, COMMAND_BUSY, NULL, "%d commands are under way already", COMMANDS_MAX);
        reply(d, &about, NULL, f);
        return;
    }
    struct device_command command = {.number = run->number,
                                     .model = m->model,
                                     .name = m->model->name,
                                     .params = m->params,
                                     .id = m->id,
                                     .topic = from->topic,
                                     .topic_len = from->topic_len,
                                     .payload = from->payload,
                                     .payload_len = from->payload_len};
    if (!ops(d)->hook_command(ops_arg(d), d, m->model->hook, &command, &err))
        return;
    struct command_run **at = find_run(d, command.number);
    if (!*at)
        return;
    if (err.code == ERR_NOT_FOUND && m->model->hook < 0) { // a behaviour without dev:on("command"): acknowledged
        end_run(at, NULL, NULL);
        return;
    }
    command_fault(f, err.code == ERR_LIMIT ? COMMAND_BUSY : COMMAND_HANDLER, NULL, "%s",
                  err.code ? err.text : "the handler could not be started");
    end_run(at, NULL, f);
}

// Where the behaviors of the model hear of it.
static void tell_behaviors(struct device *d, const struct model_command *c, const json_t *params)
{
    char event[sizeof("command:") + 256];
    if (!d->rules || (size_t)snprintf(event, sizeof(event), "command:%s", c->name) >= sizeof(event))
        return;
    rules_event(d, event, params);
}

static bool active(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

void command_arrived(struct device *d, const struct model_command *c, const struct adapter_message *from,
                     const struct command_return *to)
{
    int64_t arrived_us = loop_fresh_us(loop_of(d));
    struct command_message m = {.model = c};
    struct command_fault f = {0};
    struct command_metrics *metrics = metrics_of(d->group);
    if (metrics)
        counter_add(metrics->received, 1);
    if (command_read(model_of(d), from->payload, from->payload_len, &m, &f)) {
        struct command_subject about = {.model = m.model, .name = m.model ? m.model->name : NULL, .id = m.id, .to = to};
        const json_t *name = json_object_get(m.document, "command");
        if (!about.name && json_is_string(name))
            about.name = json_string_value(name);
        reply(d, &about, NULL, &f);
    } else {
        tap_event(d, "command", m.model->name, -1);
        tell_behaviors(d, m.model, m.params);
        if (active(d))
            hand_over(d, &m, from, to, &f, arrived_us);
    }
    command_message_free(&m);
}

static void arrived(struct device *d, const struct model_command *c, const struct adapter_message *m)
{
    struct command_return to = command_return_of(m);
    command_arrived(d, c, m, &to);
}

static bool is_topic(const struct buf *topic, const struct adapter_message *m)
{
    return topic->len == m->topic_len && !memcmp(topic->data, m->topic, m->topic_len);
}

// What stands behind BASE/ in the topic, NULL: something else stands there. The base is left in fleet->topic.
static const char *below_base(struct device *d, const struct adapter_message *m, size_t *n)
{
    struct buf *base = &d->group->fleet->topic;
    buf_clear(base);
    if (device_base(d, base, NULL) || m->topic_len <= base->len || memcmp(m->topic, base->data, base->len) ||
        m->topic[base->len] != '/')
        return NULL;
    *n = m->topic_len - base->len - 1;
    return m->topic + base->len + 1;
}

static bool matches(struct device *d, const struct model_command *c, const struct adapter_message *m)
{
    struct fleet *fleet = d->group->fleet;
    buf_clear(&fleet->topic);
    if (device_render(d, c->topic_template, NULL, &fleet->topic, NULL))
        return false;
    if (is_topic(&fleet->topic, m))
        return true;
    if (!memchr(fleet->topic.data, '+', fleet->topic.len) && !memchr(fleet->topic.data, '#', fleet->topic.len))
        return false;
    buf_clear(&fleet->payload); // topic_matches wants both with a NUL
    return !buf_append(&fleet->payload, m->topic, m->topic_len) &&
           topic_matches(buf_cstr(&fleet->topic), buf_cstr(&fleet->payload));
}

bool commands_message(struct device *d, const struct adapter_message *m)
{
    const struct model *model = model_of(d);
    static const char prefix[] = "commands/";
    size_t n, k = sizeof(prefix) - 1;
    if (!model || !model->n_commands || !active(d) || d->proxy) // a proxy's are its physical device's business
        return false;
    const char *below = below_base(d, m, &n);
    if (below && n == 7 && !memcmp(below, "command", 7)) {
        arrived(d, NULL, m);
        return true;
    }
    bool named = below && n > k && !memcmp(below, prefix, k);
    for (unsigned i = 0; i < model->n_commands; i++) {
        const struct model_command *c = &model->commands[i];
        bool hit = c->topic_template ? matches(d, c, m)
                                     : named && strlen(c->name) == n - k && !memcmp(c->name, below + k, n - k);
        if (!hit)
            continue;
        arrived(d, c, m);
        return true;
    }
    return false;
}

// --- subscriptions ------------------------------------------------------------------------------------------------

// BASE/ + tail, or the topic of a command.
static void subscribe(struct device *d, const struct payload *template, const char *prefix, const char *name)
{
    struct fleet *fleet = d->group->fleet;
    struct error err = {0};
    buf_clear(&fleet->topic);
    if ((template ? device_render(d, template, NULL, &fleet->topic, &err) : device_base(d, &fleet->topic, &err)) ||
        buf_append_str(&fleet->topic, prefix) || buf_append_str(&fleet->topic, name))
        device_fail(d, err.code ? err.text : "the topic of a command is too long");
    else if (device_subscribe(d, buf_cstr(&fleet->topic), model_of(d)->qos, 0, &err) && err.code == ERR_INVALID)
        device_fail(d, err.text);
}

void commands_subscribe(struct device *d)
{
    const struct model *m = model_of(d);
    if (!m || !m->n_commands || d->flags & FLAG_SUBSCRIBED) // adapters renew subscriptions of a connection themselves
        return;
    d->flags |= FLAG_SUBSCRIBED;
    if (commands_are_served(d)) {
        commands_serve(d);
        return;
    }
    subscribe(d, NULL, "/command", "");
    if (d->group->polls_commands) // one long poll a device: its messages name their commands
        return;
    for (unsigned i = 0; i < m->n_commands && active(d); i++) {
        const struct model_command *c = &m->commands[i];
        if (c->topic_template)
            subscribe(d, c->topic_template, "", "");
        else
            subscribe(d, NULL, "/commands/", c->name);
    }
}
