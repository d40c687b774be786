// The relay: what a child's device sees as its adapter. What an adapter tells in events comes at the end of the turn.
#include <stdlib.h>
#include <string.h>
#include "device/gateway_impl.h"

enum { EVENTS_A_TURN = 1024 };

struct receipt { // a publish or subscribe that somebody waits for
    struct receipt *next;
    uint32_t token;
    int granted_qos;
};

static void enqueue(struct adapter_conn *c)
{
    struct relay *r = c->gateway->relay;
    loop_again(r->group->fleet->config.env.loop);
    if (c->queued)
        return;
    c->queued = true;
    c->next = NULL;
    if (r->last)
        r->last->next = c;
    else
        r->first = c;
    r->last = c;
}

void relay_due(struct adapter_conn *c, unsigned due)
{
    c->due |= (uint8_t)due;
    if (due & DUE_OFFLINE) // before it was told of being online, perhaps
        c->due &= (uint8_t)~DUE_ONLINE;
    enqueue(c);
}

static void dequeue(struct adapter_conn *c)
{
    struct relay *r = c->gateway->relay;
    struct adapter_conn *before = NULL, *at = r->first;
    if (!c->queued)
        return;
    while (at != c) {
        before = at;
        at = at->next;
    }
    *(before ? &before->next : &r->first) = c->next;
    if (r->last == c)
        r->last = before;
    c->queued = false;
}

static void free_receipts(struct adapter_conn *c)
{
    while (c->receipts) {
        struct receipt *receipt = c->receipts;
        c->receipts = receipt->next;
        free(receipt);
    }
}

// What the gateway has taken it answers for.
static int owe(struct adapter_conn *c, uint32_t token, int granted_qos, struct error *err)
{
    struct receipt **at = &c->receipts, *receipt;
    if (!token)
        return 0;
    receipt = calloc(1, sizeof(*receipt));
    if (!receipt)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    receipt->token = token;
    receipt->granted_qos = granted_qos;
    while (*at)
        at = &(*at)->next;
    *at = receipt;
    enqueue(c);
    return 0;
}

static struct adapter_conn *relay_conn_new(struct adapter_target *target, const struct adapter_events *events,
                                           const struct adapter_identity *identity, void *owner, uint64_t seed,
                                           struct error *err)
{
    (void)target, (void)identity, (void)seed;
    if (events != &device_events) { // another client with the same id
        error_set(err, ERR_UNSUPPORTED, "a child of a gateway has no connection of its own");
        return NULL;
    }
    struct adapter_conn *c = &child_of(owner)->link;
    c->events = events;
    c->owner = owner;
    return c;
}

static void relay_conn_delete(struct adapter_conn *c)
{
    dequeue(c);
    free_receipts(c);
    c->events = NULL;
    c->state = CHILD_OFF;
    c->due = 0;
    c->frozen = c->listens = false;
}

static int relay_conn_open(struct adapter_conn *c, struct error *err)
{
    if (c->state != CHILD_OFF)
        return error_set(err, ERR_STATE, "already open");
    c->state = CHILD_WAITING;
    if (!c->gateway->up)
        return 0;
    c->due |= DUE_ONLINE;
    enqueue(c);
    return 0;
}

static void relay_conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    (void)mode;
    c->due = DUE_CLOSED;
    enqueue(c);
}

static int relay_conn_usable(const struct adapter_conn *c, struct error *err)
{
    return c->state == CHILD_ON && !(c->due & DUE_CLOSED) ? 0 : error_set(err, ERR_STATE, "not connected");
}

static int relay_conn_publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token,
                              struct error *err)
{
    struct gateway *gw = c->gateway;
    struct relay *r = gw->relay;
    if (relay_conn_usable(c, err))
        return -1;
    if (owe(c, token, -1, err))
        return -1;
    counter_add(r->messages, 1);
    if (children_of(r)->mode == AGGREGATION_BATCH)
        return batch_add(&gw->batch, c->owner, m, err);
    int rc = tap_forward(gw->device, m, err);
    if (rc)
        counter_add(r->writer.dropped, 1);
    return rc;
}

static int relay_conn_unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    (void)filter; // another child may want it
    return relay_conn_usable(c, err) ? -1 : owe(c, token, -1, err);
}

// Whether the gateway hears it anyway: BASE/CHILD/command, BASE/CHILD/commands/NAME.
static bool routed(const struct adapter_conn *c, const char *filter)
{
    struct buf *text = &c->gateway->relay->text;
    buf_clear(text);
    if (device_base(c->owner, text, NULL) || strncmp(filter, buf_cstr(text), text->len) != 0)
        return false;
    filter += text->len;
    if (strncmp(filter, "/command", 8) != 0)
        return false;
    filter += 8;
    return !*filter || (!strncmp(filter, "s/", 2) && filter[2] && !strpbrk(filter + 2, "/+#"));
}

static int relay_conn_subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    struct gateway *gw = c->gateway;
    struct filter **at = &gw->filters;
    size_t n = strlen(filter) + 1;
    if (relay_conn_usable(c, err) || owe(c, token, qos, err))
        return -1;
    if (routed(c, filter))
        return 0;
    c->listens = true;
    while (*at && strcmp((*at)->text, filter) != 0)
        at = &(*at)->next;
    if (!*at) {
        struct filter *f = calloc(1, sizeof(*f) + n);
        if (!f)
            return error_set(err, ERR_NO_MEMORY, "out of memory");
        f->qos = qos;
        memcpy(f->text, filter, n);
        *at = f;
    } else if ((*at)->qos >= qos) {
        return 0;
    }
    (*at)->qos = qos;
    if (!gw->subscribed)
        return 0;           // with the gateway's next connection
    struct error why = {0}; // err may be NULL
    if (!device_subscribe(gw->device, filter, qos, 0, &why) || why.code != ERR_INVALID)
        return 0;
    return error_set(err, why.code, "%s", why.text);
}

static unsigned relay_conn_pending(const struct adapter_conn *c)
{
    (void)c;
    return 0;
}

static size_t relay_conn_footprint(const struct adapter_conn *c)
{
    return sizeof(*c);
}

static void relay_conn_freeze(struct adapter_conn *c, bool frozen)
{
    c->frozen = frozen;
}

const struct adapter_ops relay_ops = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "gateway",
    .conn_new = relay_conn_new,
    .conn_delete = relay_conn_delete,
    .conn_open = relay_conn_open,
    .conn_close = relay_conn_close,
    .publish = relay_conn_publish,
    .subscribe = relay_conn_subscribe,
    .unsubscribe = relay_conn_unsubscribe,
    .pending = relay_conn_pending,
    .footprint = relay_conn_footprint,
    .conn_freeze = relay_conn_freeze,
};

static void tell(struct adapter_conn *c)
{
    struct error why = {0};
    uint8_t due = c->due;
    c->due = 0;
    if (due & DUE_CLOSED) {
        c->state = CHILD_OFF;
        c->frozen = c->listens = false;
        free_receipts(c);
        c->events->on_offline(c->owner, &why, false);
        return;
    }
    if (due & DUE_OFFLINE && c->state == CHILD_ON) {
        c->state = CHILD_WAITING;
        error_set(&why, ERR_CANCELLED, "its gateway is offline");
        c->events->on_offline(c->owner, &why, true);
    }
    if (due & DUE_ONLINE && c->state == CHILD_WAITING) {
        c->state = CHILD_ON;
        c->events->on_online(c->owner, false);
    }
    while (c->receipts && c->state == CHILD_ON) {
        struct receipt receipt = *c->receipts;
        free(c->receipts);
        c->receipts = receipt.next;
        c->events->on_done(c->owner, receipt.token, receipt.granted_qos, NULL);
    }
}

void relay_hook(struct loop_hook *hook, struct loop *loop)
{
    struct relay *r = container_of(hook, struct relay, hook);
    unsigned most = loop_simulating(loop) ? UINT32_MAX : EVENTS_A_TURN;
    for (unsigned n = 0; r->first && n < most; n++) {
        struct adapter_conn *c = r->first;
        dequeue(c);
        tell(c);
    }
    if (r->first)
        loop_again(loop);
}
