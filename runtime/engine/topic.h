// Relations between topic filters; topic_matches is in observer.h.
#pragma once
#include <stdbool.h>

// True when some topic name matches both filters (it may say true for one that only $-topics decide).
bool topic_filters_overlap(const char *a, const char *b);
