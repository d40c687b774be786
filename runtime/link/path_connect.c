// How a connection comes about over a path: a lookup when the server has a name, then SYN and its answer, resent as
// Linux does: after 1, 3, 7, 15, 31 and 63 s (tcp_syn_retries = 6), given up after 127 s. A resolver asks twice, 5 s
// apart. The real connect follows when the model's is through.
#include <arpa/inet.h>
#include <string.h>
#include "link/path_stream.h"

#define SECOND 1000000
#define LOOKUPS 2
#define LOOKUP_US (5 * SECOND)
#define SYN_RETRIES 6
#define SYN_GIVE_UP_US INT64_C(127000000)

static bool is_name(const char *host)
{
    uint8_t addr[sizeof(struct in6_addr)];
    return host && *host && host[0] != '[' && inet_pton(AF_INET, host, addr) != 1 &&
           inet_pton(AF_INET6, host, addr) != 1;
}

void path_dial_create(struct path_dial *d, const struct path_flow *flow, int64_t now_us)
{
    memset(d, 0, sizeof *d);
    d->step = is_name(flow->peer.host) ? PATH_LOOKUP : PATH_SYN;
    d->at_us = now_us;
}

static void fail(struct path_dial *d, int64_t at_us)
{
    d->step = PATH_FAILED;
    d->at_us = at_us;
}

// Both ways; -1: lost.
static int64_t round_trip(struct path_flow *flow, const char *protocol, int64_t now_us)
{
    int64_t up_us = path_probe(flow, PATH_UP, protocol, now_us);
    int64_t down_us = up_us < 0 ? -1 : path_probe(flow, PATH_DOWN, protocol, now_us);
    return down_us < 0 ? -1 : up_us + down_us;
}

static void look_up(struct path_dial *d, struct path_flow *flow)
{
    struct path_totals *totals = &flow->path->env->totals;
    int64_t now_us = d->at_us, rtt_us = round_trip(flow, "dns", now_us), more_us = 0;
    bool fails = false;
    if (rtt_us < 0) {
        d->at_us += LOOKUP_US;
        if (++d->lookups < LOOKUPS)
            return;
        totals->dns_failed++;
        error_set(&d->err, ERR_RESOLVE, "cannot resolve %s: no answer (a fault of the network)", flow->peer.host);
        fail(d, d->at_us);
        return;
    }
    for (struct path_fault *f = flow->path->faults; f; f = f->next) {
        int64_t us = 0;
        fails |= fault_lookup(&f->fault, now_us, &us);
        more_us += us;
    }
    d->at_us += rtt_us + more_us;
    d->step = PATH_SYN;
    if (!fails)
        return;
    totals->dns_failed++;
    error_set(&d->err, ERR_RESOLVE, "cannot resolve %s (a fault of the network: dns)", flow->peer.host);
    fail(d, d->at_us);
}

static void draw(struct path_dial *d, struct path_flow *flow)
{
    d->drawn = true;
    for (struct path_fault *f = flow->path->faults; f; f = f->next) {
        int64_t us = 0;
        enum fault_answer answer = fault_connect(&f->fault, d->at_us, &us);
        d->more_us += us;
        d->refused |= answer == FAULT_ANSWER_REFUSED;
        d->silent |= answer == FAULT_ANSWER_NONE;
    }
}

static void send_syn(struct path_dial *d, struct path_flow *flow)
{
    struct path_totals *totals = &flow->path->env->totals;
    if (!d->drawn)
        draw(d, flow);
    // Datagrams have no handshake to be late or lost: they are refused, or nobody answers them.
    int64_t rtt_us = d->silent ? -1 : flow->stream ? round_trip(flow, flow->peer.protocol, d->at_us) : 0;
    if (rtt_us < 0) {
        d->at_us += (int64_t)SECOND << d->syns;
        if (d->syns++ < SYN_RETRIES)
            return;
        totals->connects_timed_out++;
        error_set(&d->err, ERR_TIMEOUT, "connect: no answer in %d s (a fault of the network)",
                  (int)(SYN_GIVE_UP_US / SECOND));
        fail(d, d->at_us);
        return;
    }
    d->rtt_us = rtt_us;
    d->at_us += rtt_us + d->more_us;
    d->step = PATH_DONE;
    if (!d->refused)
        return;
    totals->connects_refused++;
    error_set(&d->err, ERR_REFUSED, "connect: connection refused (a fault of the network: connect)");
    fail(d, d->at_us);
}

void path_dial_run(struct path_dial *d, struct path_flow *flow)
{
    if (d->step == PATH_LOOKUP)
        look_up(d, flow);
    else if (d->step == PATH_SYN)
        send_syn(d, flow);
}

bool path_tls_fails(struct path_flow *flow, int64_t now_us)
{
    bool fails = false;
    for (struct path_fault *f = flow->peer.tls ? flow->path->faults : NULL; f; f = f->next)
        fails |= fault_tls_fails(&f->fault, now_us);
    return fails;
}
