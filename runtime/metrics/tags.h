// Tag lists "key:value,key:value": the canonical form (keys sorted, blanks cut) and questions about it.
// Private to the room.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "core/error.h"

#define METRIC_NAME_MAX 63
#define METRIC_TAGS_MAX 512 // bytes of the canonical form
#define METRIC_TAG_COUNT_MAX 16

// Checks a name of n bytes: [a-z][a-z0-9_]*, at most METRIC_NAME_MAX.
int metric_name_check(const char *name, size_t n, struct error *err) WARN_UNUSED_RESULT;
// The canonical form of the n bytes at text into dst, NUL-terminated; -1 when malformed or it does not fit.
int tags_canonical(const char *text, size_t n, char *dst, size_t size, struct error *err) WARN_UNUSED_RESULT;
// Whether canonical `tags` has every key:value of canonical `wanted`.
bool tags_include(const char *tags, const char *wanted);
// Splits the first pair off canonical tags: sets its four bounds and returns what follows, NULL when there is none.
const char *tags_next(const char *tags, const char **key, size_t *key_len, const char **value, size_t *value_len);
