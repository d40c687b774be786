// What a fault_spec is made of. Private to the fault files of the room.
#pragma once
#include "link/fault_match.h"
#include "link/fault_spec.h"
#include "link/fault_trace.h"
#include "link/vary.h"

#define FAULT_BURST_DEFAULT 1600u  // a packet of Ethernet
#define FAULT_QUEUE_DEFAULT 65536u // bytes

enum fault_distribution { FAULT_NORMAL, FAULT_UNIFORM, FAULT_PARETO };
enum fault_full { FAULT_FULL_BY_KIND, FAULT_FULL_DROP, FAULT_FULL_DELAY };

struct fault_latency {
    bool set;
    uint8_t distribution; // enum fault_distribution
    struct vary value, jitter;
    double correlation;
    double rho; // of the row of standard normals that gives this correlation, see fault.c
};

struct fault_event { // something that happens to a share of the packets
    bool set;
    uint16_t gap; // reorder
    struct vary rate;
    double correlation;
};

struct fault_burst { // Gilbert–Elliott
    bool set;
    double p, r, good, bad;
};

struct fault_rate {
    bool set;
    uint8_t full; // enum fault_full
    struct vary rate;
    uint32_t burst_bytes;
    uint32_t queue_bytes; // 0: queue_us
    int64_t queue_us;
};

struct fault_spec_side { // one direction; what stands outside of `up` and `down` is in both
    struct fault_latency latency;
    struct fault_event loss, duplicate, reorder, corrupt;
    struct fault_burst burst; // in place of loss
    struct fault_rate bandwidth;
    uint32_t mtu; // 0: none
    struct trace *trace;
};

struct fault_partition {
    bool set;
    bool cuts[2];             // by direction
    struct fault_match *only; // NULL: every peer
    struct fault_match **allow;
    unsigned n_allow;
};

struct fault_during {
    bool set, spread;
    int64_t on_us, every_us, offset_us;
};

struct fault_spec {
    unsigned refs;
    struct fault_spec_side side[2]; // PATH_UP, PATH_DOWN
    struct fault_partition partition;
    struct fault_during during;
    bool half_open;
    bool reset;
    int64_t reset_every_us; // 0: once
    int64_t reset_jitter_us;
    int64_t slow_close_us; // 0: none
    struct {
        bool set;
        double fail;
        struct vary delay;
    } dns;
    struct {
        bool set;
        double refuse, timeout;
        struct vary delay;
    } connect;
    bool tls;
    double tls_fail;
};
