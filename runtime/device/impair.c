#include "device/impair.h"

#include <math.h>
#include <stdlib.h>

#include "device/internal.h"
#include "device/rule.h"

struct skew {
    struct skew *next;
    uint64_t number;
    int64_t offset_us, since_us;
    double drift;
};

struct impairment {
    struct path *path;  // NULL: nothing acts on the network
    struct skew *skews; // of the clock
};

static struct impairment *impairment_of(struct device *d, struct error *err)
{
    if (!d->impairment && !(d->impairment = calloc(1, sizeof(*d->impairment))))
        error_set(err, ERR_NO_MEMORY, "no memory for a fault");
    return d->impairment;
}

static void drop_if_empty(struct device *d)
{
    if (d->impairment->path || d->impairment->skews)
        return;
    free(d->impairment);
    d->impairment = NULL;
}

// --- the network --------------------------------------------------------------------------------------------------

int group_check_network(const struct group *g, struct error *err)
{
    if (g->behind)
        return error_set(err, ERR_UNSUPPORTED,
                         "devices of group %s reach the network through their gateways: impair group %s",
                         g->config.name, g->behind->config.name);
    if (!g->fleet->config.paths)
        return error_set(err, ERR_UNSUPPORTED, "there is no network to impair");
    if (!ADAPTER_HAS(g->adapter, conn_path))
        return error_set(err, ERR_UNSUPPORTED, "the adapter %s of group %s cannot be impaired: it lacks conn_path",
                         g->adapter->name, g->config.name);
    return 0;
}

void impairment_attach(const struct device *d)
{
    if (d->impairment && d->impairment->path && d->conn && ADAPTER_HAS(d->group->adapter, conn_path))
        d->group->adapter->conn_path(d->conn, d->impairment->path);
}

// Its connection, and those that its behaviour has made.
static void hand_on(struct device *d, struct path *path)
{
    const struct fleet_config *config = &d->group->fleet->config;
    if (d->conn)
        d->group->adapter->conn_path(d->conn, path);
    if (config->ops && config->ops->path && d->behaviour)
        config->ops->path(config->ops_arg, d, path);
}

static void let_go(struct device *d)
{
    struct path *path = d->impairment->path;
    d->impairment->path = NULL;
    hand_on(d, NULL);
    path_release(path);
}

int device_fault(struct device *d, uint64_t number, struct fault_spec *spec, int64_t since_us, struct error *err)
{
    struct rng rng;
    if (group_check_network(d->group, err) || !impairment_of(d, err))
        return -1;
    struct path *path = d->impairment->path;
    if (path)
        return path_apply_since(path, number, spec, since_us, err);
    device_seed(d, 7, &rng);
    path = path_new(d->group->fleet->config.paths, rng_u64(&rng), err);
    if (!path || path_apply_since(path, number, spec, since_us, err)) {
        path_release(path);
        drop_if_empty(d);
        return -1;
    }
    d->impairment->path = path;
    hand_on(d, path);
    return 0;
}

int device_fault_change(struct device *d, uint64_t number, struct fault_spec *spec, struct error *err)
{
    struct path *path = device_path(d);
    return path ? path_change(path, number, spec, err)
                : error_set(err, ERR_NOT_FOUND, "nothing acts on the network of this device");
}

bool device_fault_end(struct device *d, uint64_t number)
{
    struct path *path = device_path(d);
    if (!path || !path_remove(path, number))
        return false;
    if (!path_faults(path)) {
        let_go(d);
        drop_if_empty(d);
    }
    return true;
}

struct path *device_path(const struct device *d)
{
    return d->impairment ? d->impairment->path : NULL;
}

// --- the clock ----------------------------------------------------------------------------------------------------

static struct skew **find_skew(struct impairment *i, uint64_t number)
{
    struct skew **at = &i->skews;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

int device_skew(struct device *d, uint64_t number, int64_t offset_us, double drift, int64_t since_us, struct error *err)
{
    if (!impairment_of(d, err))
        return -1;
    struct skew **at = find_skew(d->impairment, number);
    if (*at)
        return error_set(err, ERR_STATE, "the clock is off by number %llu already", (unsigned long long)number);
    *at = malloc(sizeof(**at));
    if (!*at) {
        drop_if_empty(d);
        return error_set(err, ERR_NO_MEMORY, "no memory for a fault");
    }
    **at = (struct skew){NULL, number, offset_us, since_us, drift};
    rules_clock_changed(d);
    return 0;
}

bool device_skew_end(struct device *d, uint64_t number)
{
    struct skew **at = d->impairment ? find_skew(d->impairment, number) : NULL;
    if (!at || !*at)
        return false;
    struct skew *skew = *at;
    *at = skew->next;
    free(skew);
    drop_if_empty(d);
    rules_clock_changed(d);
    return true;
}

int64_t impairment_clock_us(const struct device *d, int64_t now_us)
{
    int64_t off_us = 0;
    for (const struct skew *s = d->impairment->skews; s; s = s->next)
        off_us += s->offset_us + (now_us > s->since_us ? llrint((double)(now_us - s->since_us) * s->drift) : 0);
    return off_us;
}

// ------------------------------------------------------------------------------------------------------------------

void impairment_delete(struct device *d)
{
    struct impairment *i = d->impairment;
    if (!i)
        return;
    while (i->skews) {
        struct skew *next = i->skews->next;
        free(i->skews);
        i->skews = next;
    }
    path_release(i->path);
    free(i);
    d->impairment = NULL;
}

size_t impairment_footprint(const struct device *d)
{
    size_t size = d->impairment ? sizeof(*d->impairment) : 0;
    for (const struct skew *s = d->impairment ? d->impairment->skews : NULL; s; s = s->next)
        size += sizeof(*s);
    return size + (d->impairment && d->impairment->path ? path_footprint(d->impairment->path) : 0);
}
