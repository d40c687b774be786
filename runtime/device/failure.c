// Failures: how they begin, what they do to a connection, how they end.
//
// A device that nothing ails has none of this but a NULL pointer. A failure that goes on is a record in the device's
// list with a timer for its next phase or its end. What mends it may call whoever likes to know, who may heal or stop
// the device: a record is taken out of the list first, and freed last.
#include "device/failure_impl.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/rule.h"
#include "device/rule_impl.h"

#define BOOT_TOPIC "boot"
#define FULL_BATTERY 100

static void due(struct timer *t, void *arg);

static bool active(const struct device *d)
{
    return (d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING) && !d->group->fleet->stopping;
}

static const char *name_of(const struct failure *f)
{
    return failure_names()[f->spec.kind];
}

struct failure *failure_find(const struct device *d, enum failure_kind kind)
{
    struct failure *f = d->failures;
    while (f && f->spec.kind != kind)
        f = f->next;
    return f;
}

bool device_failing(const struct device *d, enum failure_kind kind)
{
    return failure_find(d, kind) != NULL;
}

static bool half_open(const struct failure *f)
{
    return f->spec.kind == FAILURE_DISCONNECT && f->spec.mode == MODE_HALF_OPEN;
}

static void tell(struct device *d, const char *prefix, const struct failure *f)
{
    char event[64];
    if (f->spec.action)
        return;
    snprintf(event, sizeof(event), "%s%s", prefix, name_of(f));
    rules_event(d, event, NULL);
}

// --- records ------------------------------------------------------------------------------------------------------

static void unlink_failure(struct failure *f)
{
    struct failure **at = &f->device->failures;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    loop_timer_stop(failure_loop(f), &f->timer);
}

static void freeze(struct failure *f, bool frozen)
{
    struct device *d = f->device;
    if (d->conn && ADAPTER_HAS(d->group->adapter, conn_freeze))
        d->group->adapter->conn_freeze(d->conn, frozen);
}

void failure_free(struct failure *f)
{
    failure_forget(f);
    if (f->busy) {
        f->over = true;
        return;
    }
    if (f->rival) { // perhaps inside an event of an adapter that goes through its connections
        struct fleet *fleet = f->device->group->fleet;
        f->next = fleet->rivals;
        fleet->rivals = f;
        loop_again(fleet->config.env.loop);
        return;
    }
    buf_destroy(&f->broken);
    json_decref(f->params);
    free(f);
}

void failures_reap(struct fleet *fleet)
{
    while (fleet->rivals) {
        struct failure *f = fleet->rivals;
        fleet->rivals = f->next;
        f->device->group->adapter->conn_delete(f->rival);
        f->rival = NULL;
        failure_free(f);
    }
}

// Takes back what holds while it goes on. late: whether messages that wait are sent or forgotten.
static void release(struct failure *f, bool late)
{
    if (half_open(f))
        freeze(f, false);
    if (late)
        failure_flush(f);
}

void failures_drop(struct device *d)
{
    while (d->failures) {
        struct failure *f = d->failures;
        unlink_failure(f);
        release(f, false);
        failure_free(f);
    }
}

size_t failures_footprint(const struct device *d)
{
    size_t size = 0;
    for (const struct failure *f = d->failures; f; f = f->next) {
        size += sizeof(*f) + failure_message_footprint(f);
        size += f->rival ? d->group->adapter->footprint(f->rival) : 0;
    }
    return size;
}

// --- back to work -------------------------------------------------------------------------------------------------

// A device that was never connected is not connected by being mended.
static void connect_again(struct failure *f)
{
    struct device *d = f->device;
    const struct fleet_config *config = &d->group->fleet->config;
    struct error err = {0};
    if (!f->was_wanted || !active(d) || !device_connect(d, &err) || err.code == ERR_CANCELLED)
        return;
    if (err.code == ERR_STATE) { // another failure keeps it off; or it is connected already
        failures_want(d);
        return;
    }
    if (d->flags & FLAG_BEHAVIOUR)
        config->ops->offline(config->ops_arg, d, &err, false);
    else
        device_fail(d, err.text);
}

static bool keeps_off(const struct failure *f)
{
    return (f->spec.kind == FAILURE_DISCONNECT && !half_open(f) && !f->spec.action) ||
           (f->spec.kind == FAILURE_REBOOT && f->phase == PHASE_ON) || f->phase == PHASE_EMPTY;
}

void failures_want(struct device *d)
{
    for (struct failure *f = d->failures; f; f = f->next)
        f->was_wanted |= keeps_off(f);
}

// As after a start: values begin anew (and differently), what was set by setState is forgotten.
static int restart_values(struct device *d)
{
    struct error err = {0};
    bool had = d->streams != NULL;
    if (++d->starts == 0)
        d->starts = 1;
    streams_free(d);
    if ((d->rules && device_keep_values(d, &err)) || (had && streams_new(d, &err))) {
        device_fail(d, err.text);
        return -1;
    }
    if (had && d->flags & FLAG_TELEMETRY && device_online(d))
        streams_start(d);
    rules_rebooted(d);
    return 0;
}

static void boot(struct failure *f)
{
    struct device *d = f->device;
    f->phase = PHASE_BOOTED;
    if (!restart_values(d))
        connect_again(f);
}

static void mend(struct failure *f)
{
    struct device *d = f->device;
    switch (f->spec.kind) {
    case FAILURE_DISCONNECT:
        if (!half_open(f))
            connect_again(f);
        break;
    case FAILURE_STALE_TOKEN:
    case FAILURE_DUPLICATE_ID:
        if (d->conn_state == CONN_DISCONNECTED) // otherwise the adapter sees to it
            connect_again(f);
        break;
    case FAILURE_CLOCK_DRIFT:
        rules_clock_changed(d);
        break;
    case FAILURE_BATTERY_DRAIN:
        if (f->phase == PHASE_EMPTY && !restart_values(d))
            connect_again(f);
        break;
    case FAILURE_REBOOT:
        if (f->phase == PHASE_ON)
            boot(f);
        break;
    default:
        break;
    }
}

static void end(struct failure *f)
{
    struct device *d = f->device;
    unlink_failure(f);
    release(f, true);
    mend(f);
    tell(d, "recovered:", f);
    failure_free(f);
}

// --- beginning ----------------------------------------------------------------------------------------------------

static int rival_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    const struct failure *f = owner;
    if (field == FIELD_WILL_TOPIC || field == FIELD_WILL_PAYLOAD)
        return 0;
    return device_identity.field(f->device, field, out, err);
}

static void rival_online(void *owner, bool session_present)
{
    (void)owner, (void)session_present;
}

static void rival_offline(void *owner, const struct error *why, bool will_retry)
{
    (void)owner, (void)why, (void)will_retry; // the device took its place back; the adapter tries again
}

static void rival_message(void *owner, const struct adapter_message *m)
{
    (void)owner, (void)m;
}

static void rival_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    (void)owner, (void)token, (void)granted_qos, (void)err;
}

static const struct adapter_identity rival_identity = {rival_field};
static const struct adapter_events rival_events = {
    .on_online = rival_online, .on_offline = rival_offline, .on_message = rival_message, .on_done = rival_done};

static int begin_rival(struct failure *f, struct error *err)
{
    const struct group *g = f->device->group;
    f->rival = g->adapter->conn_new(g->target, &rival_events, &rival_identity, f, rng_u64(&f->rng), err);
    return f->rival && !g->adapter->conn_open(f->rival, err) ? 0 : -1;
}

static int begin_disconnect(struct failure *f, struct error *err)
{
    struct device *d = f->device;
    if (!half_open(f)) {
        device_disconnect(d, f->spec.mode == MODE_CLEAN ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT);
        return 0;
    }
    if (d->conn_state != CONN_CONNECTED)
        return error_set(err, ERR_STATE, "a connection that is not there cannot be half-open");
    if (d->flags & FLAG_IN_EVENT) { // what answers the event still goes out
        f->freeze_due = true;
        fleet_defer(d->group->fleet, d);
    } else {
        freeze(f, true);
    }
    return 0;
}

static int begin_battery(struct failure *f)
{
    struct value v;
    device_value(f->device, f->spec.slot, &v);
    f->level = !isnan(f->spec.from)      ? f->spec.from
               : v.type == VALUE_NUMBER  ? v.number
               : v.type == VALUE_INTEGER ? (double)v.integer
                                         : FULL_BATTERY;
    if (f->level < 0)
        f->level = 0;
    return 0;
}

static int begin_stale(struct failure *f, struct error *err)
{
    struct device *d = f->device;
    f->made_up = rng_u64(&f->rng);
    if (!f->was_wanted)
        return 0; // it is the next connection that will be refused
    device_disconnect(d, ADAPTER_GRACEFUL);
    return device_connect(d, err);
}

static int begin(struct failure *f, struct error *err)
{
    switch (f->spec.kind) {
    case FAILURE_DISCONNECT:
        return begin_disconnect(f, err);
    case FAILURE_BATTERY_DRAIN:
        return begin_battery(f);
    case FAILURE_REBOOT:
        device_disconnect(f->device, ADAPTER_ABRUPT);
        return 0;
    case FAILURE_STALE_TOKEN:
        return begin_stale(f, err);
    case FAILURE_DUPLICATE_ID:
        return begin_rival(f, err);
    case FAILURE_CLOCK_DRIFT:
        rules_clock_changed(f->device);
        return 0;
    default:
        return 0;
    }
}

static int64_t empty_us(const struct failure *f)
{
    double seconds = f->level / f->spec.rate;
    return f->start_us + (seconds < 1e9 ? (int64_t)(seconds * 1e6) : (int64_t)1e15);
}

// When something is next to happen.
static void arm(struct failure *f)
{
    const struct failure_spec *s = &f->spec;
    int64_t at_us = s->duration_us ? f->start_us + s->duration_us : INT64_MAX;
    if (s->kind == FAILURE_REBOOT)
        at_us = f->start_us + s->delay_us;
    if (s->kind == FAILURE_BATTERY_DRAIN) {
        int64_t next_us = f->phase == PHASE_ON ? empty_us(f) : s->delay_us < 0 ? INT64_MAX : empty_us(f) + s->delay_us;
        at_us = next_us < at_us ? next_us : at_us;
    }
    if (at_us != INT64_MAX)
        loop_timer_at(failure_loop(f), &f->timer, at_us, due);
}

static void due(struct timer *t, void *arg)
{
    struct failure *f = container_of(t, struct failure, timer);
    int64_t now_us = loop_now_us(arg);
    if (f->spec.kind == FAILURE_REBOOT) {
        boot(f); // it ends when it is online
    } else if (f->spec.kind == FAILURE_BATTERY_DRAIN && f->phase == PHASE_ON && now_us >= empty_us(f)) {
        f->phase = PHASE_EMPTY;
        f->was_wanted = !device_idle(f->device);
        device_disconnect(f->device, ADAPTER_ABRUPT);
        arm(f);
    } else {
        end(f);
    }
}

static int possible(const struct device *d, const struct failure_spec *spec, struct error *err)
{
    const struct group *g = d->group;
    if (!active(d))
        return error_set(err, ERR_STATE, "the device is %s", device_state_name((enum device_state)d->state));
    if (spec->kind == FAILURE_STALE_TOKEN && !g->password_template && !g->config.secret)
        return error_set(err, ERR_UNSUPPORTED, "staleToken: group %s logs in without a password, so none can go stale",
                         g->config.name);
    return 0;
}

static struct failure *new_failure(struct device *d, const struct failure_spec *spec)
{
    struct failure *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->device = d;
    f->spec = *spec;
    f->params = json_incref((json_t *)(uintptr_t)spec->params);
    f->start_us = loop_now_us(failure_loop(f));
    f->was_wanted = !device_idle(d);
    f->last = &f->first;
    buf_create(&f->broken, FLEET_MAX_PAYLOAD);
    // The same run, the same failures: what is drawn depends on the device and on which failure it is.
    device_seed(d, 5 + ((uint32_t)spec->kind << 8) + ((uint32_t)d->starts << 16), &f->rng);
    f->rng.state ^= hash_bytes(&f->start_us, sizeof(f->start_us), 0);
    return f;
}

int device_fail_spec(struct device *d, const struct failure_spec *spec, struct error *err)
{
    if (possible(d, spec, err))
        return -1;
    struct failure *f = new_failure(d, spec), *old = failure_find(d, spec->kind);
    if (!f)
        return error_set(err, ERR_NO_MEMORY, "no memory for a failure");
    if (old) {
        f->was_wanted |= old->was_wanted;
        unlink_failure(old);
        release(old, true);
        failure_free(old);
    }
    f->next = d->failures;
    d->failures = f;
    if (begin(f, err)) {
        unlink_failure(f);
        release(f, false);
        failure_free(f);
        return -1;
    }
    arm(f);
    if (!spec->action)
        counter_add(rules_failure_series(d->group, spec->kind), 1);
    tap_event(d, "fault", name_of(f), -1);
    tell(d, "failure:", f); // who hears of it may end it
    return 0;
}

int device_fail_inject(struct device *d, const char *kind, const json_t *params, int64_t duration_us, struct error *err)
{
    struct failure_spec spec;
    return device_busy(d, err) || failure_parse(kind, params, duration_us, d->group->config.model, &spec, err) ||
                   device_fail_spec(d, &spec, err)
               ? -1
               : 0;
}

int device_heal(struct device *d, const char *kind, struct error *err)
{
    const char *const *names = failure_names();
    if (device_busy(d, err))
        return -1;
    for (int k = 0; k < FAILURE_KIND_MAX; k++) {
        if (kind && strcmp(kind, names[k]))
            continue;
        struct failure *f = failure_find(d, (enum failure_kind)k);
        if (f)
            end(f);
        if (kind)
            return 0;
    }
    struct failure_spec spec;
    return kind ? failure_parse(kind, NULL, 0, NULL, &spec, err) : 0; // names the valid ones
}

void failure_model_changed(struct device *d)
{
    struct failure *f = failure_find(d, FAILURE_BATTERY_DRAIN);
    if (f)
        end(f);
}

// --- what the rest of the room asks -------------------------------------------------------------------------------

int failure_forbids(const struct device *d, struct error *err)
{
    for (const struct failure *f = d->failures; f; f = f->next) {
        if (keeps_off(f))
            return error_set(err, ERR_STATE, "the device is off: its failure %s goes on", name_of(f));
    }
    return 0;
}

bool failure_expected(const struct device *d)
{
    for (const struct failure *f = d->failures; f; f = f->next) {
        if (f->spec.duration_us && (f->spec.kind == FAILURE_STALE_TOKEN || f->spec.kind == FAILURE_DUPLICATE_ID))
            return true;
    }
    return false;
}

int failure_publish(struct device *d, struct adapter_message *m, uint32_t token, bool made, struct error *err)
{
    struct failure *f = failure_find(d, FAILURE_DISCONNECT);
    if (f && half_open(f) && !f->freeze_due) // as into a socket from which nobody reads
        return token ? error_set(err, ERR_STATE, "the connection is half-open: a failure of the device") : 1;
    f = made ? failure_find(d, FAILURE_ERROR_PAYLOAD) : NULL;
    if (f && failure_break(f, m, err))
        return -1;
    f = failure_find(d, FAILURE_SLOW);
    return !f ? 0 : failure_delay(f, m, token, err) ? -1 : 1;
}

int64_t failure_clock_us(const struct device *d, int64_t now_us)
{
    const struct failure *f = failure_find(d, FAILURE_CLOCK_DRIFT);
    return f ? f->spec.offset_us + (int64_t)((double)(now_us - f->start_us) * f->spec.rate / 1e6) : 0;
}

bool failure_value(struct device *d, unsigned slot, enum value_type type, struct value *v)
{
    const struct failure *f = failure_find(d, FAILURE_BATTERY_DRAIN);
    if (!f || f->spec.slot != slot)
        return false;
    double level = f->level - (double)(loop_now_us(failure_loop(f)) - f->start_us) / 1e6 * f->spec.rate;
    level = level > 0 ? level : 0;
    v->type = type;
    if (type == VALUE_INTEGER)
        v->integer = (int64_t)ceil(level);
    else
        v->number = level;
    return true;
}

int failure_password(const struct device *d, struct buf *out, struct error *err)
{
    const struct failure *f = failure_find(d, FAILURE_STALE_TOKEN);
    if (!f)
        return 1;
    const char *token = json_string_value(json_object_get(f->params, "token"));
    int failed = token ? buf_append_str(out, token) : buf_printf(out, "stale-%016llx", (unsigned long long)f->made_up);
    return failed ? error_set(err, ERR_LIMIT, "the token takes more than %u bytes", out->cap) : 0;
}

static int say(struct device *d, const json_t *payload, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    buf_clear(&fleet->topic);
    buf_clear(&fleet->payload);
    int failed = json_is_string(payload)
                     ? buf_append(&fleet->payload, json_string_value(payload), json_string_length(payload))
                     : json_write(payload, &fleet->payload, err);
    if (failed || device_topic(d, BOOT_TOPIC, strlen(BOOT_TOPIC), &fleet->topic))
        return error_set(err, ERR_LIMIT, "what a boot says takes more than %u bytes", fleet->payload.cap);
    return device_emit(d, (const char *)fleet->topic.data, fleet->topic.len, fleet->payload.data, fleet->payload.len,
                       err);
}

void failure_settle(struct device *d)
{
    struct failure *f = failure_find(d, FAILURE_DISCONNECT);
    if (!f || !f->freeze_due)
        return;
    f->freeze_due = false;
    if (device_online(d))
        freeze(f, true);
}

void failure_online(struct device *d)
{
    struct failure *f = failure_find(d, FAILURE_REBOOT);
    const json_t *sequence;
    json_t *payload;
    size_t i;
    if (!f || f->phase != PHASE_BOOTED)
        return;
    sequence = json_object_get(f->params, "sequence");
    json_array_foreach(sequence, i, payload)
    {
        struct error err = {0};
        if (say(d, payload, &err))
            rules_problem(d, "reboot", &err);
    }
    end(f);
}
