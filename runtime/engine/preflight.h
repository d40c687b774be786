// Does the plan fit this machine? Descriptors, ephemeral ports, memory: checked before the first connect, said with
// numbers and the remedy.
#pragma once
#include <jansson.h>
#include "engine/plan.h"

struct preflight {
    uint64_t devices;                       // of this process's partition
    uint64_t sockets;                       // of these: a CoAP device that serves has two
    unsigned shards;                        // chosen
    uint64_t fds_needed, fds_limit;         // of the largest shard; hard limit (the soft one is raised)
    uint64_t fds_further;                   // of these: for connections that behaviours may open beside their devices'
    uint64_t ports_needed, ports_available; // per source and destination address
    uint64_t memory_needed, memory_available;
    unsigned cores;
};
// shards_wanted 0: choose (devices / 12,000 and the descriptor limit, at least 1, at most cores unless descriptors ask
// for more). What behaviours may open counts for the number of shards, but nobody knows which of them do: it is no
// reason to refuse (preflight_warning). -1: it does not fit; err has numbers and remedy ("raise ulimit -n to …", "use
// source = …", "--shards N",
// "--scale x").
int preflight_check(const struct plan *plan, unsigned shards_wanted, unsigned partition, unsigned partitions,
                    bool embedded_broker, struct preflight *out, struct error *err) WARN_UNUSED_RESULT;
// A run in virtual time: no connections, so memory and cores decide. streaming: an output is stdout or no regular file,
// which one shard writes as it goes.
int preflight_virtual(const struct plan *plan, unsigned shards_wanted, unsigned partition, unsigned partitions,
                      bool streaming, struct preflight *out, struct error *err) WARN_UNUSED_RESULT;
// What may go wrong though the plan fits, one line; NULL: nothing.
const char *preflight_warning(const struct preflight *p, char *text, size_t size);
json_t *preflight_json(const struct preflight *p);
