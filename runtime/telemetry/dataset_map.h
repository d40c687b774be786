// A file in memory that may shrink while it is there. Private to the room.
#pragma once
#include <signal.h>
#include <stddef.h>
#include "core/error.h"

struct mapping {
    const char *bytes;
    size_t size;                // of the file when it was mapped
    size_t mapped;              // size in whole pages
    volatile sig_atomic_t lost; // it shrank, and somebody read what was gone: zeros are there now
    struct mapping *next;
};

// Maps the descriptor's first `size` bytes (> 0), read-only and shared. The descriptor may be closed afterwards. `m`
// must stay where it is until mapping_close.
int mapping_open(struct mapping *m, int fd, size_t size, struct error *err) WARN_UNUSED_RESULT;
void mapping_close(struct mapping *m);
