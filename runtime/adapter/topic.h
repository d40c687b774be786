// Topic filters and what they match: MQTT 3.1.1 section 4.7, $share/GROUP/ in front of a filter left aside.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Whether the topic name matches the filter.
bool topic_matches(const char *filter, const char *topic);
// The same for a topic of n bytes that has no NUL behind it.
bool topic_matches_n(const char *filter, const char *topic, size_t n);
// True when some topic name matches both filters (it may say true for one that only $-topics decide).
bool topic_filters_overlap(const char *a, const char *b);
