// How evenly the members of a shared subscription are served (MQTT 5 section 4.8.2; many 3.1.1 servers have it too).
//
// Gauges share_members, share_messages and share_messages_squared with the tag filter, beside the target's tags: they
// are sums over connections, so those of several shards add up, and Jain's index is messages² / (members ·
// messages_squared): 1 when all got the same, 1/members when one got all. A member is a connection that the server
// granted the subscription once; it stays one until the run ends, else what it got would count for nobody.
#pragma once
#include "adapter/mqtt/extra.h"

struct mqtt_share;  // a filter of a target
struct mqtt_member; // a connection's part in it

#define MQTT_MAX_SHARES 64u // filters of a target that are counted; others are not

// "$share/GROUP/FILTER" is well formed (4.8.2), or no shared subscription at all; else ERR_INVALID.
int mqtt_share_check(const char *filter, size_t len, struct error *err) WARN_UNUSED_RESULT;
bool mqtt_is_share(const char *filter, size_t len);
// The server granted a shared subscription.
void mqtt_share_joined(struct mqtt_conn *c, const char *filter, size_t len);
void mqtt_share_left(struct mqtt_conn *c, const char *filter, size_t len);
// A message was delivered to a connection that has memberships.
void mqtt_share_delivered(struct mqtt_conn *c, const char *topic, size_t len);
void mqtt_members_delete(struct mqtt_member *members);
void mqtt_shares_destroy(struct mqtt_target *t);
