// Which peers a partition means: addresses, networks and names of hosts, ports, protocols. Private to the room.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "core/error.h"
#include "link/path.h"

#define MATCH_ITEMS_MAX 256u // of each list

struct fault_match; // immutable

// Reads "hosts", "ports", "protocols" of an object; *out NULL: it has none of them (every peer). A text or number may
// stand for a list of one.
int match_parse(const char *label, const json_t *v, struct fault_match **out, struct error *err) WARN_UNUSED_RESULT;
void match_delete(struct fault_match *m); // NULL: nothing
// Adds the lists to an object. -1: no memory.
int match_json(const struct fault_match *m, json_t *out) WARN_UNUSED_RESULT;
// "hosts 10.0.0.0/8 on port 1883": in words, the first entries of each list; cut off at size. Returns dst.
char *match_describe(const struct fault_match *m, char *dst, size_t size);
// Whether a peer is meant: it is in each of the lists that are there. Lookups ("dns") go to port 53 of a host that is
// nobody's, since partitions name peers, not resolvers.
bool match_peer(const struct fault_match *m, const struct path_peer *peer, const char *protocol);
