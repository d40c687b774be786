// An array of (pointer, generation) with a free list threaded through the free entries. The array doubles as needed up
// to `max`. A generation grows when its slot is vacated, so an id that was handed out never matches a later tenant
// until 2^32 - 1 tenants later.
#include "core/slots.h"

#include <stdlib.h>

struct slot {
    void *ptr;     // tenant; meaningless while free
    uint32_t gen;  // generation of the present or next tenant, never 0
    uint32_t next; // free: next free slot + 1, 0 ends; LIVE while occupied
};

#define LIVE UINT32_MAX

struct slots {
    struct slot *at;
    uint32_t used; // slots that have ever been handed out
    uint32_t size; // allocated
    uint32_t max;
    uint32_t live;
    uint32_t free; // first free slot + 1, or 0
};

struct slots *slots_new(uint32_t max)
{
    struct slots *s = calloc(1, sizeof(*s));
    if (s)
        s->max = max < LIVE - 1 ? max : LIVE - 1;
    return s;
}

void slots_delete(struct slots *s)
{
    if (!s)
        return;
    free(s->at);
    free(s);
}

static int grow(struct slots *s)
{
    uint64_t size = s->size ? (uint64_t)s->size * 2 : 64;
    if (size > s->max)
        size = s->max;
    if (size <= s->size)
        return -1;
    struct slot *at = realloc(s->at, (size_t)size * sizeof(*at));
    if (!at)
        return -1;
    s->at = at;
    s->size = (uint32_t)size;
    return 0;
}

slot_id slots_add(struct slots *s, void *ptr)
{
    uint32_t index;
    if (s->free) {
        index = s->free - 1;
        s->free = s->at[index].next;
    } else {
        if (s->used == s->size && grow(s))
            return 0;
        index = s->used++;
        s->at[index].gen = 1;
    }
    struct slot *slot = &s->at[index];
    slot->ptr = ptr;
    slot->next = LIVE;
    s->live++;
    return (uint64_t)slot->gen << 32 | index;
}

static struct slot *find(const struct slots *s, slot_id id)
{
    uint32_t index = slot_index(id);
    if (index >= s->used)
        return NULL;
    struct slot *slot = &s->at[index];
    return slot->next == LIVE && slot->gen == (uint32_t)(id >> 32) ? slot : NULL;
}

void *slots_get(const struct slots *s, slot_id id)
{
    const struct slot *slot = find(s, id);
    return slot ? slot->ptr : NULL;
}

void *slots_remove(struct slots *s, slot_id id)
{
    struct slot *slot = find(s, id);
    if (!slot)
        return NULL;
    if (++slot->gen == 0)
        slot->gen = 1; // 0 is "none"
    slot->next = s->free;
    s->free = slot_index(id) + 1;
    s->live--;
    return slot->ptr;
}

uint32_t slots_count(const struct slots *s)
{
    return s->live;
}
