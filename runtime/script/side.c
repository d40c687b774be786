// Side connections of devices: events of their adapters, closing, and what their adapters ask. See port.h.
#include "script/side.h"
#include "device/impair.h"
#include <stdlib.h>
#include <string.h>

#define RENEW_SPREAD 0.05

static struct loop *loop_of(const struct side *side)
{
    return side->scenario->config.loop;
}

// Nothing of it is told any more: it is closed for its author.
static bool deaf(const struct side *side)
{
    return side->closing || !side->behaviour || !side->behaviour->device;
}

// --- what its adapter asks ------------------------------------------------------------------------------------------

// The first connection of an adapter has the device's client id, so that a device that was provisioned over HTTP has
// its own over MQTT; the others must differ, or they would throw each other out.
static int client_id(const struct side *side, struct buf *out, struct error *err)
{
    if (device_field(side->behaviour->device, FIELD_CLIENT_ID, out, err))
        return -1;
    if (side->client == 1 || buf_printf(out, "-%u", side->client) == 0)
        return 0;
    return error_set(err, ERR_LIMIT, "the client id takes more than %u bytes", out->cap);
}

static int will_topic(const struct side *side, struct buf *out, struct error *err)
{
    struct device *d = side->behaviour->device;
    struct buf topic;
    buf_create(&topic, 65535);
    int rc = credentials_field(side->identity->will, d, FIELD_USERNAME, &topic, err);
    if (!rc && device_topic(d, (const char *)topic.data, topic.len, out))
        rc = error_set(err, ERR_LIMIT, "the will's topic takes more than %u bytes", out->cap);
    buf_destroy(&topic);
    return rc;
}

static int side_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    const struct side *side = owner;
    const struct side_identity *i = side->identity;
    if (!side->behaviour || !side->behaviour->device)
        return error_set(err, ERR_CANCELLED, "the device was stopped");
    if (field == FIELD_WILL_TOPIC || field == FIELD_WILL_PAYLOAD) {
        if (!i->will)
            return 0;
        return field == FIELD_WILL_TOPIC
                   ? will_topic(side, out, err)
                   : credentials_field(i->will, side->behaviour->device, FIELD_PASSWORD, out, err);
    }
    if (i->own && credentials_have(i->own, field))
        return credentials_field(i->own, side->behaviour->device, field, out, err);
    if (field == FIELD_CLIENT_ID)
        return client_id(side, out, err);
    // One with credentials of its own shows nobody else's to its server.
    return i->own ? 0 : device_field(side->behaviour->device, field, out, err);
}

static const struct adapter_identity side_identity_ops = {side_field};

// --- renewal --------------------------------------------------------------------------------------------------------

static void renewal_due(struct timer *t, void *arg)
{
    struct side *side = container_of(t, struct side, renewal);
    struct error err = {0};
    (void)arg;
    if (deaf(side) || side->state != CONN_CONNECTED || side->adapter->conn_renew(side->conn, &err))
        return;
    if (side->target->refreshes)
        counter_add(side->target->refreshes, 1);
}

static void renewal_begin(struct side *side)
{
    int64_t after_us = side->identity->own ? credentials_renew_us(side->identity->own) : 0;
    struct rng rng;
    if (!after_us || !ADAPTER_HAS(side->adapter, conn_renew))
        return;
    rng_seed(&rng, hash_bytes(&side->number, sizeof side->number, (uint64_t)loop_now_us(loop_of(side))));
    double spread = 1 + RENEW_SPREAD * (2 * rng_unit(&rng) - 1);
    loop_timer_start(loop_of(side), &side->renewal, (int64_t)((double)after_us * spread), renewal_due);
}

static void find_refreshes(struct side_target *t, const struct group *g)
{
    struct metrics *m = g->fleet ? fleet_env(g->fleet)->metrics : NULL;
    struct error err;
    struct buf tags;
    buf_create(&tags, 1024);
    if (m && !t->refreshes && !buf_printf(&tags, "group:%s,protocol:%s", g->config.name, t->adapter->name))
        t->refreshes = metrics_series(m, "credential_refreshes", METRIC_COUNTER, UNIT_NONE, buf_cstr(&tags), &err);
    buf_destroy(&tags);
}

// --- events ---------------------------------------------------------------------------------------------------------

static void on_online(void *owner, bool session_present)
{
    struct side *side = owner;
    (void)session_present;
    side->state = CONN_CONNECTED;
    if (deaf(side))
        return;
    renewal_begin(side);
    behaviour_online(side->scenario, side->behaviour, side);
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct side *side = owner;
    side->state = will_retry ? CONN_RECONNECTING : CONN_DISCONNECTED;
    loop_timer_stop(loop_of(side), &side->renewal);
    loop_again(loop_of(side));
    if (deaf(side))
        return;
    bool give_up = behaviour_offline(side->scenario, side->behaviour, side, why, will_retry);
    if (give_up || !will_retry)
        side_close(side, true);
}

static void on_message(void *owner, const struct adapter_message *message)
{
    struct side *side = owner;
    if (!deaf(side))
        behaviour_message(side->scenario, side->behaviour, side, message);
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct side *side = owner;
    if (!deaf(side))
        behaviour_done(side->scenario, side->behaviour, token, granted_qos, err);
}

static void on_response(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err)
{
    struct side *side = owner;
    if (!deaf(side))
        behaviour_response(side->scenario, side->behaviour, side, token, response, err);
}

static void on_request(void *owner, uint64_t ticket, const struct adapter_request *request)
{
    struct side *side = owner;
    struct error err = {0};
    if (!deaf(side) && !behaviour_request(side->scenario, side->behaviour, side, ticket, request, &err))
        return;
    if (!err.code)
        error_set(&err, ERR_STATE, "the connection is closed");
    struct adapter_response r = {.status = err.code == ERR_NOT_FOUND ? 404 : 503,
                                 .payload = (const uint8_t *)err.text,
                                 .payload_len = strlen(err.text)};
    (void)side->adapter->respond(side->conn, ticket, &r, NULL); // the client is gone: nobody misses it
}

static int on_auth(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct side *side = owner;
    if (deaf(side))
        return error_set(err, ERR_CANCELLED, "the connection is closed");
    return behaviour_auth(side->scenario, side->behaviour, side, data, n, reply, err);
}

static const struct adapter_events side_events = {.on_online = on_online,
                                                  .on_offline = on_offline,
                                                  .on_message = on_message,
                                                  .on_done = on_done,
                                                  .on_response = on_response,
                                                  .on_request = on_request,
                                                  .on_auth = on_auth};

// --- life -----------------------------------------------------------------------------------------------------------

static void side_free(struct side *side)
{
    loop_timer_stop(loop_of(side), &side->renewal);
    if (side->conn)
        side->adapter->conn_delete(side->conn);
    side_target_release(side->scenario, side->target);
    side_identity_release(side->scenario, side->identity);
    free(side);
}

// How many of its device are closing.
static unsigned count_closing(const struct scenario *s, const struct behaviour *b)
{
    unsigned n = 0;
    for (const struct side *c = s->closing; c; c = c->next)
        n += c->behaviour == b;
    return n;
}

// The lowest number that no other connection of the device with this adapter has.
static unsigned client_number(const struct behaviour *b, const struct adapter_ops *adapter)
{
    uint64_t taken = b->device->group->adapter == adapter ? 2 : 0; // bit n: number n
    for (const struct side *c = b->sides; c; c = c->next)
        if (c->adapter == adapter && c->client < 64)
            taken |= UINT64_C(1) << c->client;
    unsigned n = 1;
    while (taken >> n & 1)
        n++;
    return n;
}

static int may_open(const struct scenario *s, const struct behaviour *b, struct error *err)
{
    unsigned n = 0;
    for (const struct side *c = b->sides; c; c = c->next)
        n++;
    if (s->detached)
        return error_set(err, ERR_CANCELLED, "the run is stopping");
    if (n >= SIDES_MAX)
        return error_set(err, ERR_LIMIT, "a device has at most %d connections beside its own; close one", SIDES_MAX);
    if (n + count_closing(s, b) >= SIDES_ALL_MAX)
        return error_set(err, ERR_LIMIT, "%u connections of this device are still being closed", n);
    return 0;
}

struct side *side_open(struct scenario *s, struct behaviour *b, struct side_target *target,
                       struct side_identity *identity, struct error *err)
{
    struct side *side = may_open(s, b, err) ? NULL : calloc(1, sizeof *side);
    if (!side) {
        if (!err->code)
            error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        side_target_release(s, target);
        side_identity_release(s, identity);
        return NULL;
    }
    *side = (struct side){.behaviour = b,
                          .scenario = s,
                          .number = ++s->sides_made,
                          .adapter = target->adapter,
                          .target = target,
                          .identity = identity,
                          .client = client_number(b, target->adapter),
                          .state = CONN_CONNECTING};
    find_refreshes(target, b->device->group);
    uint64_t seed = hash_bytes(&b->device->index, sizeof b->device->index, s->seed + side->client); // of its backoff
    side->conn = side->adapter->conn_new(target->target, &side_events, &side_identity_ops, side, seed, err);
    if (side->conn && device_path(b->device) && ADAPTER_HAS(side->adapter, conn_path))
        side->adapter->conn_path(side->conn, device_path(b->device));
    if (!side->conn || side->adapter->conn_open(side->conn, err)) {
        side_free(side);
        return NULL;
    }
    side->next = b->sides;
    b->sides = side;
    side->open_next = s->open_sides;
    if (side->open_next)
        side->open_next->open_prev = &side->open_next;
    side->open_prev = &s->open_sides;
    s->open_sides = side;
    return side;
}

void sides_path(struct behaviour *b, struct path *path)
{
    for (struct side *side = b->sides; side; side = side->next)
        if (ADAPTER_HAS(side->adapter, conn_path))
            side->adapter->conn_path(side->conn, path);
}

struct side *side_find(const struct behaviour *b, uint64_t number)
{
    for (struct side *side = b->sides; side; side = side->next)
        if (side->number == number)
            return side;
    return NULL;
}

static void end_waits(struct behaviour *b, const struct side *side)
{
    struct error err = {0};
    error_set(&err, ERR_CLOSED, "the connection is closed");
    for (struct wait *w = b->waits, *next; w; w = next) {
        next = w->next;
        if (w->side == side)
            wait_answer_error(w, &err);
    }
}

static void end_handlers(struct scenario *s, struct behaviour *b, const struct side *side)
{
    for (struct handler **at = &b->handlers; *at;) {
        struct handler *h = *at;
        if (h->side != side) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        handler_free(s->L, h);
    }
}

void side_close(struct side *side, bool abrupt)
{
    struct behaviour *b = side->behaviour;
    struct scenario *s = side->scenario;
    if (side->closing)
        return;
    struct side **at = &b->sides;
    while (*at != side)
        at = &(*at)->next;
    *at = side->next;
    *side->open_prev = side->open_next;
    if (side->open_next)
        side->open_next->open_prev = side->open_prev;
    side->closing = true;
    side->abrupt = abrupt;
    side->deadline_us = loop_now_us(loop_of(side)) + SIDE_DRAIN_US;
    side->next = s->closing;
    s->closing = side;
    loop_timer_stop(loop_of(side), &side->renewal);
    end_waits(b, side);
    end_handlers(s, b, side);
    loop_again(loop_of(side));
}

void sides_end(struct scenario *s, struct behaviour *b)
{
    while (b->sides)
        side_close(b->sides, false);
    for (struct side *side = s->closing; side; side = side->next)
        if (side->behaviour == b)
            side->behaviour = NULL;
}

// --- the end, at the ends of turns ----------------------------------------------------------------------------------

// Whether it may be freed now.
static bool advance(struct side *side, int64_t now_us)
{
    if (side->state == CONN_DISCONNECTED)
        return true;
    if (side->asked)
        return now_us >= side->deadline_us;
    bool drains = !side->abrupt && side->state == CONN_CONNECTED && side->adapter->pending(side->conn) > 0;
    if (drains && now_us < side->deadline_us)
        return false;
    side->asked = true;
    side->deadline_us = now_us + SIDE_END_US;
    side->scenario->sides_lost += side->adapter->pending(side->conn);
    side->adapter->conn_close(side->conn, side->abrupt ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
    return false;
}

static void look_at_behaviour(struct scenario *s, struct behaviour *b)
{
    if (b)
        behaviour_look(s, b);
}

// While some are closing the loop goes on turning: a timer of a closing side looks after it every 10 ms.
static void look_again(struct timer *t, void *arg)
{
    (void)t, (void)arg;
}

static void on_turn(struct loop_hook *hook, struct loop *loop)
{
    struct scenario *s = container_of(hook, struct scenario, side_hook);
    int64_t now = loop_now_us(loop);
    if (!s->closing) {
        side_cache_trim(s);
        return;
    }
    for (struct side **at = &s->closing; *at;) {
        struct side *side = *at;
        if (!advance(side, now)) {
            if (!timer_pending(&side->renewal))
                loop_timer_start(loop, &side->renewal, 10000, look_again);
            at = &side->next;
            continue;
        }
        struct behaviour *b = side->behaviour;
        *at = side->next;
        side_free(side);
        look_at_behaviour(s, b); // may end the device, which closes others: to the front of the list
    }
}

bool sides_idle(const struct scenario *s)
{
    return !s->closing;
}

uint64_t sides_pending(const struct scenario *s, uint64_t *lost)
{
    uint64_t n = 0;
    for (const struct side *side = s->open_sides; side; side = side->open_next)
        n += side->adapter->pending(side->conn);
    for (const struct side *side = s->closing; side; side = side->next)
        n += side->asked ? 0 : side->adapter->pending(side->conn);
    *lost = s->sides_lost;
    return n;
}

int sides_start(struct scenario *s, struct error *err)
{
    if (!side_cache_new(s))
        return error_set(err, ERR_NO_MEMORY, "no memory for connections");
    s->side_hook = (struct loop_hook){.priority = 24, .fn = on_turn}; // behind the adapters, before the fleet settles
    loop_hook_add(s->config.loop, &s->side_hook);
    return 0;
}

void sides_stop(struct scenario *s)
{
    s->detached = true;
    if (!s->side_cache)
        return;
    while (s->open_sides)
        side_close(s->open_sides, true);
    while (s->closing) {
        struct side *side = s->closing;
        s->closing = side->next;
        side_free(side);
    }
    loop_hook_remove(s->config.loop, &s->side_hook);
    side_cache_delete(s);
}
