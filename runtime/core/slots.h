// Ids with a generation: what Lua and timers hold instead of pointers. A stale id finds NULL.
#pragma once
#include <stdint.h>

typedef uint64_t slot_id; // generation in the upper 32 bits (never 0), slot in the lower; 0 is "none"

struct slots;
struct slots *slots_new(uint32_t max); // max live entries
void slots_delete(struct slots *s);
// 0 when full or without memory.
slot_id slots_add(struct slots *s, void *ptr);
void *slots_get(const struct slots *s, slot_id id);
// The pointer that was there, or NULL for a stale id.
void *slots_remove(struct slots *s, slot_id id);
uint32_t slots_count(const struct slots *s);
static inline uint32_t slot_index(slot_id id)
{
    return (uint32_t)id;
}
