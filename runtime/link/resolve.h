// Host names to addresses, off the loop: getaddrinfo runs in a thread, its answer comes back through the loop.
// Answers are cached for the life of the resolver; numeric addresses are answered in the same turn without a thread.
#pragma once
#include "link/link.h"

struct resolver;
struct resolver *resolver_new(struct loop *loop, struct error *err);
void resolver_delete(struct resolver *r); // waits for a running getaddrinfo only as long as it takes to detach
// From here on lookups that ask the system are measured: us, from the call to the answer, bad ones too. NULL: no more.
struct metric;
void resolver_measure(struct resolver *r, struct metric *latency);
// n = 0 and err set when it failed. addrs are valid during the call only.
typedef void resolve_fn(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err);
// Many callers may ask the same name: one lookup answers all. Returns a ticket to cancel, 0 when the answer was given
// before returning (cached or numeric).
uint64_t resolver_lookup(struct resolver *r, const char *host, uint16_t port, resolve_fn *fn, void *arg);
void resolver_cancel(struct resolver *r, uint64_t ticket);
