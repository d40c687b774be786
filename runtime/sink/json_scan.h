// Is a payload JSON text? One pass, nothing allocated.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_SCAN_DEPTH 64 // deeper counts as no JSON

// RFC 8259: one value, UTF-8 well-formed, white space around it. *has_newline: it holds a line feed or carriage return
// (between tokens: JSON strings cannot).
bool json_scan(const void *text, size_t n, bool *has_newline);

// A member of an object, as it stands in the text.
struct json_member {
    const uint8_t *key; // without its quotes, escapes as they are
    size_t key_len;
    const uint8_t *value; // strings with their quotes
    size_t value_len;
};
// Walks over the members of the object at text, which json_scan has accepted: *at is 0 before the first. False: no
// (more) member, or no object.
bool json_members(const uint8_t *text, size_t n, size_t *at, struct json_member *out);
