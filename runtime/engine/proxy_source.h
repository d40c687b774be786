// Physical devices of a shard's proxies: implements proxy_ops (device/proxy.h) with observers, one for each broker,
// made and connected when it is first needed. Equal filters share a subscription. What is at no broker:
// proxy_endpoint.h.
//
// A broker that cannot be reached is tried again (0.5 s to 5 s apart) for as long as somebody listens; every attempt
// that failed, every lost connection, every refused subscription and every message that the observer had to drop counts
// in proxy_source_errors{broker}, and the first of a row is logged.
#pragma once
#include "core/log.h"
#include "core/loop.h"
#include "device/proxy.h"
#include "engine/plan.h"
#include "link/link.h"
#include "link/resolve.h"
#include "metrics/metrics.h"

struct proxy_source;

struct proxy_source_config {
    struct loop *loop;
    struct metrics *metrics;
    struct log *log;
    const char *url;         // of the run's broker; copied
    const struct plan *plan; // TLS settings of mqtts:// brokers (observer_tls.h); outlives it; NULL: none
    struct link_env *links;  // these two: for what is at no broker
    struct resolver *resolver;
};
struct proxy_source *proxy_source_new(const struct proxy_source_config *config, struct error *err);
void proxy_source_delete(struct proxy_source *s); // nobody is called afterwards; disconnects (at most 2 s)
const struct proxy_ops *proxy_source_ops(void);   // their arg: the proxy_source
