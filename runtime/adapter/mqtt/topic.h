// Topic names and filters: MQTT 3.1.1 sections 1.5.3 and 4.7.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "core/error.h"

// UTF-8 as MQTT wants it: well-formed, no surrogates, no U+0000 [MQTT-1.5.3-1, -2].
bool mqtt_utf8_valid(const char *s, size_t n);
// A topic name to publish to: 1..65535 bytes of UTF-8 without wildcards. -1: ERR_INVALID with the reason.
int mqtt_topic_check(const char *topic, size_t n, struct error *err) WARN_UNUSED_RESULT;
// A topic filter: as above, + alone in its level, # alone in the last level.
int mqtt_filter_check(const char *filter, size_t n, struct error *err) WARN_UNUSED_RESULT;
