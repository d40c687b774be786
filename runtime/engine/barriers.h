// Barriers across shards: devices wait at a name until so many of them do, wherever they live. A shard tells how many
// of its devices wait, as often as that changes (at most every 20 ms); the supervisor adds up and opens. Not for other
// rooms.
//
// MSG_BARRIER, shard → supervisor: {"name", "n": how many it takes, 0: all of "group", "group", "waiting": here,
//   "round": how often it has opened, as far as the shard knows}
// MSG_OPEN, supervisor → shard: {"name", "round", "open": whoever waits goes on, "waiting": in all shards, "of": n}
//   A shard that is told a later round without "open" (it was restarted) takes it over and tells again.
#pragma once
#include <jansson.h>

#define BARRIERS_MAX 1000

struct run;
struct slot;
struct barriers;
struct barriers *barriers_new(void);
void barriers_delete(struct barriers *b);
void barriers_told(struct run *run, struct slot *slot, const json_t *m);
void barriers_lost(struct run *run, const struct slot *slot); // whoever waited there waits no more
