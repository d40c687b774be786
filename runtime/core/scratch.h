// Memory for the texts of one message: pieces stay where they are until the whole is cleared, so that values may point
// into it while more is made. After the first messages nothing is allocated any more.
#pragma once
#include <stddef.h>
#include "core/error.h"

struct scratch_block;
struct scratch {
    struct scratch_block *first, *current;
    size_t used;  // of the current block
    size_t total; // bytes handed out since the last clear
    size_t cap;   // of total
};

void scratch_create(struct scratch *s, size_t cap);
void scratch_destroy(struct scratch *s);
// n bytes aligned to 8, or NULL: no memory, or more than cap in all (each piece counts as a multiple of 8).
void *scratch_alloc(struct scratch *s, size_t n) WARN_UNUSED_RESULT;
// A copy of n bytes with a NUL behind them, or NULL.
char *scratch_copy(struct scratch *s, const void *bytes, size_t n) WARN_UNUSED_RESULT;
// Everything handed out becomes invalid; blocks are kept.
void scratch_clear(struct scratch *s);
