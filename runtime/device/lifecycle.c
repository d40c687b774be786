// The lifecycle as a table, and which devices belong to this process.
#include "device/device.h"

#define BIT(s) (1u << DEVICE_##s)

static const unsigned may[DEVICE_STATE_MAX] = {
    [DEVICE_CREATED] = BIT(STARTING) | BIT(STOPPED) | BIT(ERROR),
    [DEVICE_STARTING] = BIT(RUNNING) | BIT(STOPPING) | BIT(ERROR),
    [DEVICE_RUNNING] = BIT(STOPPING) | BIT(ERROR),
    [DEVICE_STOPPING] = BIT(STOPPED) | BIT(ERROR),
    [DEVICE_STOPPED] = BIT(STARTING) | BIT(ERROR),
    [DEVICE_ERROR] = BIT(STARTING),
};

bool device_may(enum device_state from, enum device_state to)
{
    return (unsigned)from < DEVICE_STATE_MAX && (unsigned)to < DEVICE_STATE_MAX && (may[from] >> to & 1);
}

const char *device_state_name(enum device_state s)
{
    static const char *const names[] = {"created", "starting", "running", "stopping", "stopped", "error"};
    return (unsigned)s < DEVICE_STATE_MAX ? names[s] : "unknown";
}

const char *conn_state_name(enum conn_state s)
{
    static const char *const names[] = {"disconnected", "connecting", "connected", "reconnecting"};
    return (unsigned)s < CONN_STATE_MAX ? names[s] : "unknown";
}

// Places are dealt first to partitions, then within one to its shards: place = (local × shards + shard) × partitions +
// partition.
uint64_t ownership_place(const struct ownership *o, uint64_t local)
{
    return (local * o->shards + o->shard) * o->partitions + o->partition;
}

uint64_t ownership_count(const struct ownership *o, uint64_t count)
{
    uint64_t first = ownership_place(o, 0);
    return first < count ? (count - 1 - first) / ((uint64_t)o->shards * o->partitions) + 1 : 0;
}
