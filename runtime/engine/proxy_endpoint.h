// Physical devices at no broker: a CoAP resource that is observed, a webhook that is called. Implements
// proxy_ops.attach with the adapters.
//
// A connection of the coap adapter for each device observes its resource; what ends the observation (the server is
// gone, 4.04, an answer that is none of an observation) counts in proxy_source_errors{broker}, is logged once, and
// tried again, 0.5 s to 5 s apart. A resource that cannot be observed is thereby polled.
//
// Webhooks of one listening address share a server; the http adapter serves each device's at http://LISTEN/NAME/PATH.
// POST only: 204 when it was passed on, 503 when the proxy is offline, 400 for a path that no topic can have.
#pragma once
#include "core/log.h"
#include "device/proxy.h"
#include "link/link.h"
#include "link/resolve.h"
#include "metrics/metrics.h"

struct proxy_endpoints;
struct proxy_endpoint;

struct proxy_endpoints_config {
    struct loop *loop;
    struct link_env *links;
    struct resolver *resolver;
    struct metrics *metrics; // of proxy_source_errors; the adapters' own are of devices and not counted
    struct log *log;
};
struct proxy_endpoints *proxy_endpoints_new(const struct proxy_endpoints_config *config, struct error *err);
void proxy_endpoints_delete(struct proxy_endpoints *all); // with all that is in it; NULL is fine
// NULL: a bad URL, an address that cannot be listened at, or more than 4,096 CoAP servers or 16 addresses of webhooks.
// fn as of proxy_ops.
struct proxy_endpoint *proxy_endpoint_new(struct proxy_endpoints *all, const struct proxy_place *place,
                                          proxy_message_fn *fn, void *ctx, struct error *err);
void proxy_endpoint_delete(struct proxy_endpoint *e); // also from inside fn
