// One device: its states, its connection and its behaviour.
//
// Everything here may be called at any moment: from the adapter's events, from ops callbacks, from a timer. So nothing
// is freed on the spot, and a connection is neither opened nor deleted inside its own event: what has to wait is noted
// in flags, the device joins the fleet's end-of-turn list, and device_settle does the rest.
#include <assert.h>
#include <stdlib.h>
#include "device/command.h"
#include "device/gateway.h"
#include "device/impair.h"
#include "device/internal.h"
#include "device/proxy.h"
#include "device/rule.h"

#define RETRY_FIRST_US 1000000
#define RETRY_MAX_US 30000000

struct device_retry {
    struct timer timer;
    struct device *device;
};

static bool has(const struct device *d, enum device_flag flag)
{
    return (d->flags & flag) != 0;
}

static void raise_flag(struct device *d, unsigned flag)
{
    d->flags |= flag;
}

static void drop_flag(struct device *d, unsigned flag)
{
    d->flags &= ~flag;
}

static bool active(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

static void set_state(struct device *d, enum device_state to)
{
    assert(device_may(d->state, to));
    d->group->by_state[d->state]--;
    d->state = (uint8_t)to;
    d->group->by_state[to]++;
}

void device_set_conn(struct device *d, enum conn_state to)
{
    d->group->by_conn[d->conn_state]--;
    d->conn_state = (uint8_t)to;
    d->group->by_conn[to]++;
}

static const struct device_ops *ops(const struct device *d)
{
    return d->group->fleet->config.ops;
}

static void *ops_arg(const struct device *d)
{
    return d->group->fleet->config.ops_arg;
}

int64_t device_wall_us(const struct device *d)
{
    struct loop *loop = d->group->fleet->config.env.loop;
    int64_t off_us = d->failures ? failure_clock_us(d, loop_now_us(loop)) : 0;
    return loop_wall_us(loop) + off_us + (d->impairment ? impairment_clock_us(d, loop_now_us(loop)) : 0);
}

// --- connection ---------------------------------------------------------------------------------------------------

int device_make_conn(struct device *d, struct error *err)
{
    struct group *g = d->group;
    struct rng seed; // of the adapter's backoff
    if (d->conn)
        return 0;
    rng_seed_device(&seed, g->fleet->config.seed, g->config.name, d->index, 3 + ((uint32_t)(d->starts - 1) << 16));
    d->conn = g->adapter->conn_new(g->target, &device_events, &device_identity, d, rng_u64(&seed), err);
    if (d->impairment)
        impairment_attach(d);
    return d->conn ? 0 : -1;
}

// 32 bits of a device's few hundred bytes are enough for how long it takes to connect.
static uint32_t connecting_now(const struct device *d)
{
    return (uint32_t)(loop_fresh_us(d->group->fleet->config.env.loop) >> 4);
}

static int open_conn(struct device *d, struct error *err)
{
    if (device_make_conn(d, err)) {
        device_set_conn(d, CONN_DISCONNECTED);
        return -1;
    }
    device_set_conn(d, CONN_CONNECTING);
    d->connecting = connecting_now(d);
    if (!d->group->adapter->conn_open(d->conn, err))
        return 0;
    device_set_conn(d, CONN_DISCONNECTED);
    return -1;
}

static int may_connect(const struct device *d, struct error *err)
{
    if (d->group->fleet->stopping)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    if (!active(d))
        return error_set(err, ERR_STATE, "the device is %s", device_state_name(d->state));
    if (d->failures && failure_forbids(d, err))
        return -1;
    if (has(d, FLAG_OPEN))
        return error_set(err, ERR_STATE, "already connecting");
    if (d->conn_state != CONN_DISCONNECTED && !has(d, FLAG_CLOSING | FLAG_OPEN_GIVEN_UP))
        return error_set(err, ERR_STATE, "already %s", conn_state_name(d->conn_state));
    return 0;
}

int device_connect(struct device *d, struct error *err)
{
    if (may_connect(d, err))
        return -1;
    if (has(d, FLAG_CLOSING | FLAG_OPEN_GIVEN_UP)) { // opens when on_offline has come, or has been told
        raise_flag(d, FLAG_OPEN);
        return 0;
    }
    if (has(d, FLAG_IN_EVENT)) {
        raise_flag(d, FLAG_OPEN);
        device_set_conn(d, CONN_CONNECTING);
        fleet_defer(d->group->fleet, d);
        return 0;
    }
    return open_conn(d, err);
}

bool device_online(const struct device *d)
{
    return d->conn_state == CONN_CONNECTED && !has(d, FLAG_CLOSING);
}

bool device_idle(const struct device *d)
{
    return !has(d, FLAG_OPEN) && (has(d, FLAG_CLOSING | FLAG_OPEN_GIVEN_UP) || d->conn_state == CONN_DISCONNECTED);
}

bool device_opening(const struct device *d)
{
    return has(d, FLAG_OPEN);
}

static void close_conn(struct device *d, enum adapter_close mode)
{
    drop_flag(d, FLAG_CLOSE_DUE);
    if (mode == ADAPTER_GRACEFUL)
        sparkplug_leave(d);
    d->group->adapter->conn_close(d->conn, mode);
}

void device_disconnect(struct device *d, enum adapter_close mode)
{
    if (has(d, FLAG_OPEN)) {
        // Not even asked for yet. While a close is under way its on_offline answers; otherwise the end of the turn
        // does.
        drop_flag(d, FLAG_OPEN);
        if (!has(d, FLAG_CLOSING)) {
            raise_flag(d, FLAG_OPEN_GIVEN_UP);
            fleet_defer(d->group->fleet, d);
        }
        return;
    }
    if (d->conn_state == CONN_DISCONNECTED || has(d, FLAG_CLOSING | FLAG_OPEN_GIVEN_UP))
        return;
    raise_flag(d, FLAG_CLOSING);
    streams_stop(d);
    if (!has(d, FLAG_IN_EVENT)) {
        close_conn(d, mode);
        return;
    }
    // What answers the event goes out first, such as the acknowledgement of a command.
    d->close_mode = (uint8_t)mode;
    raise_flag(d, FLAG_CLOSE_DUE);
    fleet_defer(d->group->fleet, d);
}

int device_usable(const struct device *d, struct error *err)
{
    // DISCONNECTED, or CONNECTING only in our own books: the adapter decides what it takes while it reconnects.
    if (!d->conn || has(d, FLAG_OPEN | FLAG_CLOSING | FLAG_OPEN_GIVEN_UP) || d->conn_state == CONN_DISCONNECTED)
        return error_set(err, ERR_STATE, "not connected");
    return 0;
}

int device_transmit(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err)
{
    return device_usable(d, err) ? -1 : tap_publish(d, m, token, err);
}

int device_publish(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err)
{
    if (!d->failures)
        return device_transmit(d, m, token, err);
    struct adapter_message out = *m;
    int taken = device_usable(d, err) ? -1 : failure_publish(d, &out, token, false, err);
    return taken > 0 ? 0 : taken ? -1 : device_transmit(d, &out, token, err);
}

int device_subscribe(struct device *d, const char *filter, int qos, uint32_t token, struct error *err)
{
    return device_usable(d, err) ? -1 : d->group->adapter->subscribe(d->conn, filter, qos, token, err);
}

int device_unsubscribe(struct device *d, const char *filter, uint32_t token, struct error *err)
{
    return device_usable(d, err) ? -1 : d->group->adapter->unsubscribe(d->conn, filter, token, err);
}

uint32_t device_token(struct device *d)
{
    if (++d->next_token == 0)
        d->next_token = 1;
    return d->next_token;
}

// --- start --------------------------------------------------------------------------------------------------------

static void running(struct device *d)
{
    set_state(d, DEVICE_RUNNING);
    tap_event(d, "started", "", -1);
}

static void start_behaviour(struct device *d)
{
    struct error err = {0};
    raise_flag(d, FLAG_BEHAVIOUR | FLAG_IN_START);
    int failed = ops(d)->start(ops_arg(d), d, &err);
    drop_flag(d, FLAG_IN_START);
    if (failed) {
        drop_flag(d, FLAG_BEHAVIOUR | FLAG_STOP_BEHAVIOUR);
        device_fail(d, err.code ? err.text : "the behaviour could not be started");
        return;
    }
    if (has(d, FLAG_STOP_BEHAVIOUR)) {
        drop_flag(d, FLAG_BEHAVIOUR | FLAG_STOP_BEHAVIOUR);
        ops(d)->stop(ops_arg(d), d);
        return;
    }
    if (d->state == DEVICE_STARTING)
        running(d);
}

static void start_model(struct device *d)
{
    struct error err = {0};
    if ((d->group->config.model->n_streams && device_telemetry(d, true, &err)) || device_connect(d, &err))
        device_fail(d, err.text);
}

static void start_proxy(struct device *d)
{
    struct error err = {0};
    if (proxy_launch(d, &err) || device_connect(d, &err))
        device_fail(d, err.text);
}

static bool may_start(struct device *d)
{
    const struct fleet_config *config = &d->group->fleet->config;
    struct error err = {0};
    if (!config->may_start || !config->may_start(config->on_device_error_arg, d, &err))
        return true;
    device_fail(d, err.text);
    return false;
}

void device_launch(struct device *d)
{
    struct group *g = d->group;
    set_state(d, DEVICE_STARTING);
    if (!has(d, FLAG_COUNTED))
        g->started++;
    if (has(d, FLAG_FAILED))
        g->failed--;
    raise_flag(d, FLAG_COUNTED);
    drop_flag(d, FLAG_FAILED | FLAG_RESTART | FLAG_TELEMETRY | FLAG_PLAN_DOWN | FLAG_RENEW);
    device_undrop(d);
    if (++d->starts == 0)
        d->starts = 1;
    if (!may_start(d))
        return;
    if (device_is_proxy(d)) {
        start_proxy(d);
        return;
    }
    struct error err = {0};
    if (rules_started(d, &err) || gateway_launch(d, &err)) {
        device_fail(d, err.text);
        return;
    }
    if (g->config.behaviour)
        start_behaviour(d);
    else
        start_model(d);
}

// --- stop ---------------------------------------------------------------------------------------------------------

static void release_hooks(struct device *d)
{
    if (d->behaviour && ops(d) && ops(d)->release)
        ops(d)->release(ops_arg(d), d);
}

void device_silence(struct device *d)
{
    drop_flag(d, FLAG_TELEMETRY);
    streams_stop(d);
    commands_drop(d);
    if (!active(d)) { // else only its behaviour begins anew
        rules_stopped(d);
        failures_drop(d);
        gateway_stop(d);
        proxy_stop(d);
    }
    if (has(d, FLAG_IN_START)) {
        raise_flag(d, FLAG_STOP_BEHAVIOUR);
        return;
    }
    if (!has(d, FLAG_BEHAVIOUR)) {
        release_hooks(d);
        return;
    }
    drop_flag(d, FLAG_BEHAVIOUR);
    ops(d)->stop(ops_arg(d), d);
}

static void stopped(struct device *d)
{
    drop_flag(d, FLAG_CLOSING | FLAG_CLOSE_DUE | FLAG_OPEN | FLAG_OPEN_GIVEN_UP);
    if (d->conn_state != CONN_DISCONNECTED)
        device_set_conn(d, CONN_DISCONNECTED);
    set_state(d, DEVICE_STOPPED);
    tap_event(d, "stopped", "", -1);
    fleet_defer(d->group->fleet, d);
}

void device_cut(struct device *d)
{
    stopped(d);
}

// The adapter was never asked to open, or it is offline for good: no on_offline will come.
static bool offline_already(const struct device *d)
{
    if (has(d, FLAG_CLOSING))
        return false;
    return d->conn_state == CONN_DISCONNECTED || has(d, FLAG_OPEN | FLAG_OPEN_GIVEN_UP);
}

void device_cancel_retry(struct device *d)
{
    struct fleet *fleet = d->group->fleet;
    if (!d->retry)
        return;
    loop_timer_stop(fleet->config.env.loop, &d->retry->timer);
    free(d->retry);
    d->retry = NULL;
    fleet->retries--;
}

static void count_failed(struct device *d)
{
    if (!has(d, FLAG_FAILED))
        d->group->failed++;
    raise_flag(d, FLAG_FAILED);
}

// Stops what is active. The caller's intention to restart is kept.
static void stop_active(struct device *d, enum adapter_close mode)
{
    set_state(d, DEVICE_STOPPING);
    device_silence(d);
    if (d->state != DEVICE_STOPPING) // ops.stop went further
        return;
    if (offline_already(d))
        stopped(d);
    else
        device_disconnect(d, mode);
}

void device_stop(struct device *d, enum adapter_close mode)
{
    drop_flag(d, FLAG_RESTART | FLAG_PLAN_DOWN);
    if (active(d)) {
        stop_active(d, mode);
    } else if (d->state == DEVICE_CREATED) {
        set_state(d, DEVICE_STOPPED);
    } else if (d->state == DEVICE_STOPPING) {
        // A drain was waiting; whoever stops it now does not.
        device_disconnect(d, mode);
    } else if (d->retry) {
        device_cancel_retry(d);
        count_failed(d);
    }
}

int device_restart(struct device *d, struct error *err)
{
    if (d->group->fleet->stopping)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    if (has(d, FLAG_DESTROY))
        return error_set(err, ERR_STATE, "the device is being removed");
    const struct device *gateway = gateway_of(d);
    if (gateway && !active(gateway))
        return error_set(err, ERR_STATE, "its gateway is %s", device_state_name((enum device_state)gateway->state));
    device_cancel_retry(d);
    raise_flag(d, FLAG_RESTART);
    if (active(d))
        stop_active(d, ADAPTER_GRACEFUL);
    else
        fleet_defer(d->group->fleet, d);
    return 0;
}

void device_destroy(struct device *d)
{
    if (has(d, FLAG_DESTROY))
        return;
    raise_flag(d, FLAG_DESTROY);
    device_stop(d, ADAPTER_GRACEFUL);
    fleet_defer(d->group->fleet, d); // also what was stopped before, or is in error
}

void device_renew(struct device *d)
{
    if (!has(d, FLAG_BEHAVIOUR) || !active(d))
        return;
    raise_flag(d, FLAG_RENEW);
    fleet_defer(d->group->fleet, d);
}

void device_begin_drain(struct device *d)
{
    drop_flag(d, FLAG_RESTART);
    if (d->retry) {
        device_cancel_retry(d);
        count_failed(d);
    }
    if (!active(d))
        return;
    set_state(d, DEVICE_STOPPING);
    device_silence(d);
    if (d->state == DEVICE_STOPPING && offline_already(d))
        stopped(d);
}

// --- errors -------------------------------------------------------------------------------------------------------

static void retry_due(struct timer *t, void *arg)
{
    struct device_retry *retry = container_of(t, struct device_retry, timer);
    struct device *d = retry->device;
    (void)arg;
    device_cancel_retry(d);
    d->restarts++;
    raise_flag(d, FLAG_RESTART);
    fleet_defer(d->group->fleet, d);
}

static bool retry_later(struct device *d)
{
    struct group *g = d->group;
    if (g->config.on_error != ON_ERROR_RESTART || d->restarts >= g->config.max_restarts || g->fleet->stopping)
        return false;
    d->retry = calloc(1, sizeof(*d->retry));
    if (!d->retry)
        return false;
    int64_t delay_us = d->restarts < 5 ? (int64_t)RETRY_FIRST_US << d->restarts : RETRY_MAX_US;
    d->retry->device = d;
    g->fleet->retries++;
    loop_timer_start(g->fleet->config.env.loop, &d->retry->timer, delay_us, retry_due);
    return true;
}

// Its connection is cut when the turn ends: a device that crashed does not say goodbye, and its will is published.
void device_fail(struct device *d, const char *text)
{
    const struct fleet_config *config = &d->group->fleet->config;
    if (!active(d))
        return;
    set_state(d, DEVICE_ERROR);
    tap_event(d, "error", text, -1);
    device_silence(d);
    fleet_defer(d->group->fleet, d);
    // ops.stop may have asked for a restart or stopped it: that decides then.
    if (d->state == DEVICE_ERROR && !has(d, FLAG_RESTART) && !d->retry && !retry_later(d))
        count_failed(d);
    if (config->on_device_error)
        config->on_device_error(config->on_device_error_arg, d, text, d->group->config.on_error == ON_ERROR_FAIL);
}

void device_finished(struct device *d, const char *error_text)
{
    if (!active(d))
        return;
    if (error_text)
        device_fail(d, error_text);
    else
        device_stop(d, ADAPTER_GRACEFUL);
}

// --- end of turn --------------------------------------------------------------------------------------------------

void device_free_parts(struct device *d)
{
    failures_drop(d);
    failures_reap(d->group->fleet);
    rules_free(d);
    renewal_end(d);
    if (d->conn)
        d->group->adapter->conn_delete(d->conn);
    d->conn = NULL;
    drop_flag(d, FLAG_CLOSING | FLAG_CLOSE_DUE | FLAG_OPEN | FLAG_OPEN_GIVEN_UP | FLAG_SUBSCRIBED);
    if (d->conn_state != CONN_DISCONNECTED)
        device_set_conn(d, CONN_DISCONNECTED);
    streams_free(d);
    release_hooks(d);
}

// The device asked for a connection that cannot be, or no longer wants one.
static void tell_offline(struct device *d, const struct error *why)
{
    if (has(d, FLAG_BEHAVIOUR))
        ops(d)->offline(ops_arg(d), d, why, false);
    else if (why->code)
        device_fail(d, why->text);
}

static void renew(struct device *d)
{
    drop_flag(d, FLAG_RENEW);
    if (!has(d, FLAG_BEHAVIOUR) || !active(d))
        return;
    device_silence(d);
    if (active(d) && !has(d, FLAG_RESTART | FLAG_BEHAVIOUR)) // ops.stop may have done more
        start_behaviour(d);
}

void device_settle(struct device *d)
{
    struct error err = {0};
    if (d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR || d->state == DEVICE_CREATED) {
        device_free_parts(d);
        if (has(d, FLAG_DESTROY)) {
            group_forget(d->group, d);
            return;
        }
        if (has(d, FLAG_RESTART) && !d->group->fleet->stopping)
            device_launch(d);
        return;
    }
    if (d->failures)
        failure_settle(d);
    if (has(d, FLAG_CLOSE_DUE))
        close_conn(d, (enum adapter_close)d->close_mode);
    if (has(d, FLAG_RENEW))
        renew(d);
    if (has(d, FLAG_OPEN_GIVEN_UP)) {
        drop_flag(d, FLAG_OPEN_GIVEN_UP);
        device_set_conn(d, CONN_DISCONNECTED);
        tell_offline(d, &err);
    }
    if (has(d, FLAG_OPEN) && !has(d, FLAG_CLOSING) && active(d)) {
        drop_flag(d, FLAG_OPEN);
        if (open_conn(d, &err))
            tell_offline(d, &err);
    }
}

// --- events of the adapter ----------------------------------------------------------------------------------------

// Whoever acts for the device: its behaviour, or what a hook of its model has made.
static bool has_ear(const struct device *d)
{
    return has(d, FLAG_BEHAVIOUR) || d->behaviour;
}

static void online(struct device *d, bool session_present)
{
    device_set_conn(d, CONN_CONNECTED);
    tap_event(d, "online", "", (int64_t)(uint32_t)(connecting_now(d) - d->connecting) << 4);
    device_undrop(d);
    if (!d->ever_online)
        d->group->ever_online++;
    d->ever_online = 1;
    if (!active(d) || has(d, FLAG_CLOSING))
        return;
    sparkplug_online(d);
    renewal_begin(d);
    if (d->failures)
        failure_online(d);
    if (has(d, FLAG_TELEMETRY) && active(d) && device_online(d)) // what was told may have disconnected it
        streams_start(d);
    if (!has(d, FLAG_BEHAVIOUR) && d->state == DEVICE_STARTING)
        running(d);
    if (d->proxy)
        proxy_online(d);
    else
        commands_subscribe(d);
    gateway_online(d);
    if (d->rules)
        rules_online(d);
    if (active(d) && has_ear(d))
        ops(d)->online(ops_arg(d), d, session_present);
}

static void offline(struct device *d, const struct error *why, bool will_retry)
{
    static const struct error asked = {0};
    if (!why || has(d, FLAG_CLOSING)) // whatever else happened to it meanwhile
        why = &asked;
    bool was_online = d->conn_state == CONN_CONNECTED;
    device_set_conn(d, will_retry ? CONN_RECONNECTING : CONN_DISCONNECTED);
    d->connecting = connecting_now(d);
    tap_event(d, "offline", why->text, -1);
    streams_stop(d);
    if (!will_retry) {
        drop_flag(d, FLAG_CLOSING | FLAG_CLOSE_DUE | FLAG_SUBSCRIBED); // subscriptions end with their connection
        if (has(d, FLAG_OPEN))
            fleet_defer(d->group->fleet, d);
    }
    gateway_offline(d, will_retry);
    proxy_offline(d, will_retry);
    if (d->state == DEVICE_STOPPING) {
        if (!will_retry)
            stopped(d);
        return;
    }
    if (has_ear(d))
        ops(d)->offline(ops_arg(d), d, why, will_retry);
    if (was_online && d->rules)
        rules_offline(d);
    if (!has(d, FLAG_BEHAVIOUR) && active(d) && !will_retry && why->code && !failure_expected(d))
        device_fail(d, why->text);
}

// Marks the device as inside an event of its connection. Events do not nest, but a mark costs nothing to keep right.
static bool enter(struct device *d)
{
    bool inside = has(d, FLAG_IN_EVENT);
    raise_flag(d, FLAG_IN_EVENT);
    return inside;
}

static void leave(struct device *d, bool inside)
{
    if (!inside)
        drop_flag(d, FLAG_IN_EVENT);
}

static void on_online(void *owner, bool session_present)
{
    struct device *d = owner;
    bool inside = enter(d);
    online(d, session_present);
    leave(d, inside);
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct device *d = owner;
    const struct fleet_config *config = &d->group->fleet->config;
    bool inside = enter(d);
    if (config->on_conn_error && why->code != ERR_NONE)
        config->on_conn_error(config->on_device_error_arg, d, why, d->conn_state == CONN_CONNECTED);
    offline(d, why, will_retry);
    leave(d, inside);
}

static void on_message(void *owner, const struct adapter_message *message)
{
    struct device *d = owner;
    bool inside = enter(d);
    if (d->group->fleet->stamps)
        stamp_received(d, message);
    tap_received(d, message);
    if (!proxy_command(d, message) && !gateway_message(d, message) && !sparkplug_message(d, message))
        commands_message(d, message);
    if (has_ear(d))
        ops(d)->message(ops_arg(d), d, message);
    leave(d, inside);
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct device *d = owner;
    bool inside = enter(d);
    if (has_ear(d))
        ops(d)->done(ops_arg(d), d, token, granted_qos, err);
    leave(d, inside);
}

const struct adapter_events device_events = {
    .on_online = on_online,
    .on_offline = on_offline,
    .on_message = on_message,
    .on_done = on_done,
    .on_response = exchange_response,
    .on_request = exchange_request,
    .on_auth = exchange_auth,
};

size_t device_footprint(const struct device *d)
{
    size_t size = sizeof(*d) + sizeof(d) + 16; // itself, its place in the group, its slot
    size += streams_footprint(d) + commands_footprint(d) + (d->retry ? sizeof(*d->retry) : 0);
    size += renewal_footprint(d) + rules_footprint(d) + failures_footprint(d) + gateway_footprint(d) +
            proxy_footprint(d) + impairment_footprint(d);
    return d->conn ? size + d->group->adapter->footprint(d->conn) : size;
}
