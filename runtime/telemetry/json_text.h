// Whether bytes are JSON text: one pass, nothing allocated.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// RFC 8259: one value of at most 64 levels, white space around it, well-formed UTF-8.
bool json_text_valid(const void *text, size_t n);
