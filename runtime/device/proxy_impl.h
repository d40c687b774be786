// What the files of proxies share. Not for other files.
#pragma once
#include "device/proxy.h"

struct proxy;

struct binding { // templates know ${proxyIndex}
    enum proxy_via via;
    struct payload *filter;        // MQTT: topic filter; CoAP: URL; HTTP: path
    struct payload *commands, *id; // may be NULL
    char *url;                     // MQTT: of the broker, NULL: the run's; HTTP: where it listens
    int qos;
    int64_t silent_us;
};

struct proxies {          // of a group
    struct binding model; // of its model; filter NULL: it has none
    struct binding *list; // of the group
    unsigned n_list;
    uint64_t from, n;      // 0-based places that the list is for
    bool shared;           // its one binding is for all of them
    bool all;              // every device of the group is a proxy
    struct payload *topic; // of telemetry, NULL: BASE/telemetry
    struct proxy *first;   // of those that are started
    struct metric *proxied, *dropped, *commands, *latency;
    struct metric *silent, *physical, *simulated;
};

// proxy_group.c
// The binding of a device, NULL: there is none.
const struct binding *binding_of(const struct device *d);
// ${proxyIndex} of a device.
struct value proxy_number(const struct device *d, const struct binding *b);
int proxy_qos(const struct group *g);
// Whether the physical device publishes to the broker that the proxy publishes to.
bool proxy_same_broker(const struct group *g, const struct binding *b);
