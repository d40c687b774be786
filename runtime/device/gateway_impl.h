// What the files of gateways share. Not for other files.
#pragma once
#include "device/gateway.h"
#include "device/gateway_batch.h"
#include "device/internal.h"

enum child_state { CHILD_OFF, CHILD_WAITING, CHILD_ON };
enum relay_due { DUE_CLOSED = 1 << 0, DUE_OFFLINE = 1 << 1, DUE_ONLINE = 1 << 2 };

struct receipt;                // gateway_relay.c
struct adapter_conn {          // a child's, to its gateway
    struct adapter_conn *next; // in the relay's list of those with something due
    struct gateway *gateway;
    const struct adapter_events *events; // NULL: not made
    void *owner;
    struct receipt *receipts;
    uint8_t state; // enum child_state
    uint8_t due;   // enum relay_due
    bool queued;
    bool frozen;  // hears nothing; what it says its failure has taken before
    bool listens; // to topics that are not below the gateway's base
};

struct child {
    struct device device;
    struct adapter_conn link;
};

struct filter { // of children, outside of the gateway's base
    struct filter *next;
    int qos;
    char text[];
};

struct gateway {
    struct device *device;
    struct relay *relay;
    struct batch batch;
    struct filter *filters;
    bool up;         // children may be online
    bool subscribed; // on this connection
    unsigned n;
    struct child children[];
};

struct relay {
    struct group *group;
    struct loop_hook hook;
    struct adapter_conn *first, *last; // links with something due
    struct group *kinds;
    struct batch_writer writer;
    struct buf text; // scratch of a topic or an id
    struct metric *alive, *messages;
};

static inline struct child *child_of(const struct device *d)
{
    return container_of((struct device *)(uintptr_t)d, struct child, device);
}

static inline const struct model_children *children_of(const struct relay *r)
{
    return r->group->config.model->children;
}

// gateway_relay.c
extern const struct adapter_ops relay_ops;
void relay_due(struct adapter_conn *c, unsigned due); // what there is to tell at the end of the turn
void relay_hook(struct loop_hook *hook, struct loop *loop);
