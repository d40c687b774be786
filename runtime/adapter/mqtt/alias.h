// Topic aliases (MQTT 5 section 3.3.2.3.4): numbers in place of topics, for one connection, in each direction apart.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Outgoing: the topics used last have the numbers 1 to `max`, least recently used topics give theirs away.
#define MQTT_ALIAS_OUT_MAX 1024u // however many the server allows
struct mqtt_aliases_out;
// max: 1 to MQTT_ALIAS_OUT_MAX. NULL: no memory.
struct mqtt_aliases_out *mqtt_aliases_out_new(unsigned max);
void mqtt_aliases_out_delete(struct mqtt_aliases_out *a);
// The number of a topic, which becomes the one used last; 0 when it has none.
uint16_t mqtt_alias_out_find(struct mqtt_aliases_out *a, const char *topic, size_t len);
// Gives a topic that has none a number: it must be sent along with its topic this time. 0: no memory.
uint16_t mqtt_alias_out_assign(struct mqtt_aliases_out *a, const char *topic, size_t len);
// The packet that was to tell the server was not sent.
void mqtt_alias_out_forget(struct mqtt_aliases_out *a, uint16_t alias);
size_t mqtt_aliases_out_footprint(const struct mqtt_aliases_out *a);

// Incoming: what the server's numbers stand for.
#define MQTT_ALIAS_IN_BYTES (1u << 20) // of all topics of a connection
struct mqtt_aliases_in;
struct mqtt_aliases_in *mqtt_aliases_in_new(void); // NULL: no memory
void mqtt_aliases_in_delete(struct mqtt_aliases_in *a);
// -1: over MQTT_ALIAS_IN_BYTES; -2: no memory.
int mqtt_alias_in_set(struct mqtt_aliases_in *a, uint16_t alias, const char *topic, size_t len);
// The topic, NULL when the number has none. Valid until it is set anew.
const char *mqtt_alias_in_get(const struct mqtt_aliases_in *a, uint16_t alias, size_t *len);
size_t mqtt_aliases_in_footprint(const struct mqtt_aliases_in *a);
