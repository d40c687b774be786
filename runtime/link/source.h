// Source addresses: which local address the next connection binds, so that ports never run out. 28,000 ports of one
// address to one destination is the kernel's default; connects become five times as dear from half of that on.
#pragma once
#include <jansson.h>
#include "link/link.h"

#define SOURCES_RANGES_MAX 256u // entries of a list

struct sources;
// option: "10.0.0.7", "127.0.0.0/8", "10.0.0.5-10.0.0.25", "fd00::/64", or a list of those; NULL or JSON null:
// automatic (the kernel's choice; for a loopback destination, above `spread_above` open sockets of the process,
// 127.0.0.2 … .31). Network and broadcast address of an IPv4 network are left out (prefixes up to /30), and so is the
// all-zero (router anycast) address of an IPv6 one. seed: where in the ranges to begin (shards differ). NULL:
// ERR_INVALID says what is expected; ERR_NOT_FOUND an address that cannot be bound on this machine, with those it has
// (checked by binding the first and last of each range, without IPV6_FREEBIND).
struct sources *sources_new(const json_t *option, uint64_t seed, struct error *err);
void sources_delete(struct sources *s);
// The address to bind for a connection to `to`: in turn over all of its family, so that each has as few connections as
// possible. NULL: the kernel's choice; or (no address of that family) *err is set to ERR_INVALID, otherwise cleared.
// Valid until the next call.
const struct link_addr *sources_next(struct sources *s, const struct link_addr *to, uint64_t open_sockets,
                                     struct error *err);
// Whether there is an address to bind for a destination of this family (AF_INET, AF_INET6); automatic: always.
bool sources_have(const struct sources *s, int family);
// Whether the addresses given are the automatic spread's, so that a failed bind may be tried without.
bool sources_automatic(const struct sources *s);
uint64_t sources_count(const struct sources *s);                     // addresses, 0: automatic
void sources_spread_above(struct sources *s, uint64_t open_sockets); // default 4096
