// What a device costs, as measured (docs/internals/engine.md): one descriptor, about 2 KB of user-space memory with a
// behaviour and 4.8 KB of kernel memory a socket end; an embedded broker holds the other ends and about 3 KB a client.
#include "engine/preflight.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/units.h"
#include "engine/plan_target.h"
#include "link/source.h"
#include "link/url.h"

#define SHARD_DEVICES 12000 // the longest collector pause grows with the coroutines of one Lua state
#define SPARE_FDS 64        // epoll, channel, log, resolver, plugins …
#define SPARE_PORTS 64
#define FURTHER_MAX 16u
#define DEVICE_USER_BYTES 2048u
#define DEVICE_BYTES (DEVICE_USER_BYTES + 4800u)
#define VIRTUAL_BYTES 700u   // a device of a model alone, in virtual time
#define VIRTUAL_DEVICES 100u // more shards than one are worth the merge
#define TLS_BYTES 40000u     // beside that, of a connection
#define HTTP_BYTES 16000u    // curl's handle
#define SPREAD_ABOVE 4096u
#define SPREAD_LOOPBACK 30u // 127.0.0.2 to .31
#define BROKER_BYTES (3072u + 4800u)
#define SHARD_BYTES (24u << 20)
#define SHARDS_MAX 4096

static uint64_t available_memory(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return UINT64_MAX;
    bool found = false;
    while (!found && fgets(line, sizeof(line), f))
        found = sscanf(line, "MemAvailable: %llu kB", &kb) == 1;
    fclose(f);
    return found ? (uint64_t)kb << 10 : UINT64_MAX;
}

static uint64_t ephemeral_ports(void)
{
    unsigned low = 32768, high = 60999;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (!f)
        return high - low + 1;
    if (fscanf(f, "%u %u", &low, &high) != 2 || high < low)
        low = 32768, high = 60999;
    fclose(f);
    return high - low + 1;
}

// The soft limit becomes the hard one. Returns it.
static uint64_t raise_descriptors(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l))
        return 1024;
    if (l.rlim_cur < l.rlim_max) {
        struct rlimit raised = {l.rlim_max, l.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            l = raised;
    }
    return l.rlim_cur == RLIM_INFINITY ? 1u << 30 : l.rlim_cur;
}

static bool to_loopback(const char *text)
{
    struct url url;
    if (!text || url_embedded(text, NULL))
        return true;
    return url_parse(text, "mqtt", &url, NULL) == 0 &&
           (strncmp(url.host, "127.", 4) == 0 || !strcmp(url.host, "localhost"));
}

// Source addresses over which the connections of a group spread: those of its option `source`; 0: it has none.
static uint64_t sources_of(const struct group_config *g)
{
    const json_t *option = json_object_get(g->options, "source");
    if (!option || json_is_null(option))
        return 0;
    struct sources *s = sources_new(option, 0, NULL); // what is wrong with it is said by whoever makes the target
    uint64_t n = s ? sources_count(s) : 1;
    sources_delete(s);
    return n ? n : 1;
}

// Ports of the busiest of them. Without the option link/source.h spreads connections on loopback by itself, above
// SPREAD_ABOVE of them.
static uint64_t ports_of(const struct group_config *g, uint64_t count)
{
    uint64_t n = sources_of(g);
    if (n)
        return (count + n - 1) / n;
    if (count <= SPREAD_ABOVE || !to_loopback(g->url))
        return count;
    n = (count + SPREAD_LOOPBACK - 1) / SPREAD_LOOPBACK;
    return n > SPREAD_ABOVE ? n : SPREAD_ABOVE;
}

static uint64_t bytes_of(const struct group_config *g)
{
    char other[16];
    const char *scheme = g->url ? g->url : "mqtt://";
    bool tls = !strncmp(scheme, "mqtts:", 6) || !strncmp(scheme, "wss:", 4) || !strncmp(scheme, "https:", 6) ||
               !strncmp(scheme, "coaps", 5);
    bool http = strcmp(url_protocol(scheme, other, sizeof(other)), "http") == 0;
    return DEVICE_BYTES + (tls ? TLS_BYTES : 0) + (http ? HTTP_BYTES : 0);
}

static bool same_path(const struct group_config *a, const struct group_config *b)
{
    const json_t *from = json_object_get(a->options, "source"), *other = json_object_get(b->options, "source");
    if (strcmp(a->url ? a->url : "", b->url ? b->url : "") != 0)
        return false;
    return from && other ? json_equal(from, other) : from == other;
}

// Ports are needed per pair of source and destination address: the busiest pair counts.
static uint64_t busiest_path(const struct plan *plan, const struct ownership *o)
{
    uint64_t worst = 0;
    for (unsigned i = 0; i < plan->n_groups; i++) {
        uint64_t n = 0;
        for (unsigned j = 0; j < plan->n_groups; j++) {
            const struct group_config *g = &plan->groups[j].config;
            uint64_t count = ownership_count(o, g->count);
            if (same_path(g, &plan->groups[i].config))
                n += ports_of(g, count);
        }
        if (n > worst)
            worst = n;
    }
    return worst ? worst + SPARE_PORTS : 0;
}

static unsigned sockets_of(const struct plan *plan, const struct plan_group *g)
{
    return plan_group_serves(plan, g) ? 2 : 1;
}

// What a device's behaviour may open beside its own connection: SIDES_MAX of the script room at most.
static unsigned further_of(const struct plan *plan, const struct plan_group *g)
{
    return !g->config.behaviour ? 0 : plan->connections < FURTHER_MAX ? plan->connections : FURTHER_MAX;
}

// *further: those of them that are not the devices' own.
static uint64_t largest_shard(const struct plan *plan, unsigned partition, unsigned partitions, unsigned shards,
                              uint64_t *further)
{
    uint64_t worst = 0;
    *further = 0;
    for (unsigned s = 0; s < shards; s++) {
        uint64_t n = 0, more = 0;
        struct ownership o = {partition, partitions, s, shards};
        for (unsigned i = 0; i < plan->n_groups; i++) {
            uint64_t count = ownership_count(&o, plan->groups[i].config.count);
            n += count * sockets_of(plan, &plan->groups[i]);
            more += count * further_of(plan, &plan->groups[i]);
        }
        if (n + more > worst) {
            worst = n + more;
            *further = more;
        }
    }
    return worst;
}

static unsigned choose_shards(const struct preflight *p)
{
    uint64_t room = p->fds_limit > 2 * SPARE_FDS ? p->fds_limit - 2 * SPARE_FDS : 1;
    uint64_t by_load = (p->devices + SHARD_DEVICES - 1) / SHARD_DEVICES;
    uint64_t by_fds = (p->sockets + room - 1) / room;
    if (by_load > p->cores)
        by_load = p->cores;
    uint64_t n = by_fds > by_load ? by_fds : by_load;
    return (unsigned)(n < 1 ? 1 : n > SHARDS_MAX ? SHARDS_MAX : n);
}

static int check_descriptors(const struct preflight *p, bool embedded, struct error *err)
{
    char need[32], limit[32], devices[32];
    count_format(p->fds_limit, limit, sizeof(limit));
    count_format(p->devices, devices, sizeof(devices));
    if (p->fds_needed - p->fds_further > p->fds_limit) {
        count_format(p->fds_needed, need, sizeof(need));
        unsigned fit = choose_shards(p);
        return error_set(
            err, ERR_LIMIT,
            "%s devices on %u shard%s need %s descriptors in one process, the limit is %s: use --shards %u, raise it "
            "with ulimit -n %llu, or use a smaller --scale",
            devices, p->shards, p->shards == 1 ? "" : "s", need, limit, fit, (unsigned long long)p->fds_needed);
    }
    if (embedded && p->devices + SPARE_FDS > p->fds_limit) {
        count_format(p->devices + SPARE_FDS, need, sizeof(need));
        return error_set(
            err, ERR_LIMIT,
            "the embedded broker needs %s descriptors for %s devices, the limit is %s: raise it with ulimit -n %llu, "
            "name a broker with --broker mqtt://host, or use --scale %.2g",
            need, devices, limit, (unsigned long long)p->devices + SPARE_FDS,
            (double)(p->fds_limit > SPARE_FDS ? p->fds_limit - SPARE_FDS : 1) / (double)p->devices);
    }
    return 0;
}

static int check_rest(const struct preflight *p, struct error *err)
{
    char need[32], have[32];
    if (p->ports_needed > p->ports_available) {
        count_format(p->ports_needed, need, sizeof(need));
        count_format(p->ports_available, have, sizeof(have));
        return error_set(
            err, ERR_LIMIT,
            "the connections to one broker need %s source ports, %s are there "
            "(/proc/sys/net/ipv4/ip_local_port_range): widen it with sysctl net.ipv4.ip_local_port_range=\"1024 "
            "65535\", "
            "give mqtt a source address for each 14,000 devices, use --partition I/N on several machines, or a smaller "
            "--scale",
            need, have);
    }
    if (p->memory_needed > p->memory_available) {
        size_format((double)p->memory_needed, need, sizeof(need));
        size_format((double)p->memory_available, have, sizeof(have));
        return error_set(err, ERR_LIMIT,
                         "the run needs about %s of memory, %s are available: use --scale %.2g or --partition I/N",
                         need, have, (double)p->memory_available / (double)p->memory_needed);
    }
    return 0;
}

static int begin(const struct plan *plan, unsigned shards_wanted, unsigned partition, unsigned partitions,
                 struct ownership *all, struct preflight *out, struct error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *all = (struct ownership){partition ? partition - 1 : 0, partitions ? partitions : 1, 0, 1};
    *out = (struct preflight){.cores = cores > 0 ? (unsigned)cores : 1, .fds_limit = raise_descriptors()};
    if (all->partition >= all->partitions)
        return error_set(err, ERR_INVALID, "--partition %u/%u: expected I/N with I from 1 to N", partition, partitions);
    if (shards_wanted > SHARDS_MAX)
        return error_set(err, ERR_INVALID, "--shards %u: at most %d", shards_wanted, SHARDS_MAX);
    for (unsigned i = 0; i < plan->n_groups; i++) {
        uint64_t n = ownership_count(all, plan->groups[i].config.count);
        out->devices += n;
        out->sockets += n * (sockets_of(plan, &plan->groups[i]) + further_of(plan, &plan->groups[i]));
    }
    return 0;
}

int preflight_virtual(const struct plan *plan, unsigned shards_wanted, unsigned partition, unsigned partitions,
                      bool streaming, struct preflight *out, struct error *err)
{
    struct ownership all;
    if (begin(plan, shards_wanted, partition, partitions, &all, out, err))
        return -1;
    uint64_t useful = (out->devices + VIRTUAL_DEVICES - 1) / VIRTUAL_DEVICES;
    if (useful > out->cores)
        useful = out->cores;
    out->shards = shards_wanted ? shards_wanted : streaming || useful < 1 ? 1 : (unsigned)useful;
    out->fds_needed = SPARE_FDS;
    for (unsigned i = 0; i < plan->n_groups; i++) {
        const struct group_config *g = &plan->groups[i].config;
        out->memory_needed += ownership_count(&all, g->count) * (g->behaviour ? DEVICE_USER_BYTES : VIRTUAL_BYTES);
    }
    out->memory_needed += (uint64_t)out->shards * SHARD_BYTES;
    out->memory_available = available_memory();
    return check_rest(out, err);
}

int preflight_check(const struct plan *plan, unsigned shards_wanted, unsigned partition, unsigned partitions,
                    bool embedded_broker, struct preflight *out, struct error *err)
{
    struct ownership all;
    if (begin(plan, shards_wanted, partition, partitions, &all, out, err))
        return -1;
    out->shards = shards_wanted ? shards_wanted : choose_shards(out);
    out->fds_needed = largest_shard(plan, all.partition, all.partitions, out->shards, &out->fds_further) + SPARE_FDS;
    out->ports_needed = busiest_path(plan, &all);
    out->ports_available = ephemeral_ports();
    for (unsigned i = 0; i < plan->n_groups; i++)
        out->memory_needed += ownership_count(&all, plan->groups[i].config.count) * bytes_of(&plan->groups[i].config);
    out->memory_needed += out->devices * (embedded_broker ? BROKER_BYTES : 0) + (uint64_t)out->shards * SHARD_BYTES;
    out->memory_available = available_memory();
    return check_descriptors(out, embedded_broker, err) || check_rest(out, err) ? -1 : 0;
}

const char *preflight_warning(const struct preflight *p, char *text, size_t size)
{
    char need[32], limit[32];
    if (p->fds_needed <= p->fds_limit)
        return NULL;
    snprintf(text, size,
             "behaviours that open all their connections need %s descriptors in one process, the limit is %s: connects "
             "will fail; use --shards %u or raise it with ulimit -n %llu",
             count_format(p->fds_needed, need, sizeof(need)), count_format(p->fds_limit, limit, sizeof(limit)),
             choose_shards(p), (unsigned long long)p->fds_needed);
    return text;
}

json_t *preflight_json(const struct preflight *p)
{
    return json_pack("{s:I, s:i, s:i, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}}", "devices", (json_int_t)p->devices,
                     "shards", (int)p->shards, "cores", (int)p->cores, "descriptors", "needed",
                     (json_int_t)p->fds_needed, "limit", (json_int_t)p->fds_limit, "ports", "needed",
                     (json_int_t)p->ports_needed, "available", (json_int_t)p->ports_available, "memory", "needed",
                     (json_int_t)p->memory_needed, "available",
                     (json_int_t)(p->memory_available > INT64_MAX ? INT64_MAX : p->memory_available));
}
