// Topic filters and what they match: MQTT 3.1.1 section 4.7, $share/GROUP/ in front of a filter left aside.
#pragma once
#include <stdbool.h>

// Whether the topic name matches the filter.
bool topic_matches(const char *filter, const char *topic);
// True when some topic name matches both filters (it may say true for one that only $-topics decide).
bool topic_filters_overlap(const char *a, const char *b);
