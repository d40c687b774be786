#include "core/scratch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK 4096u

struct scratch_block {
    struct scratch_block *next;
    size_t size;
    max_align_t bytes[];
};

void scratch_create(struct scratch *s, size_t cap)
{
    *s = (struct scratch){.cap = cap};
}

void scratch_destroy(struct scratch *s)
{
    while (s->first) {
        struct scratch_block *next = s->first->next;
        free(s->first);
        s->first = next;
    }
    *s = (struct scratch){.cap = s->cap};
}

// The next block that holds n bytes, made when there is none. Too small ones on the way are left out until the clear.
static struct scratch_block *next_block(struct scratch *s, size_t n)
{
    struct scratch_block **at = s->current ? &s->current->next : &s->first;
    while (*at && (*at)->size < n)
        at = &(*at)->next;
    if (*at)
        return *at;
    size_t size = s->current ? 2 * s->current->size : FIRST_BLOCK;
    if (size < n)
        size = n;
    struct scratch_block *b = malloc(sizeof(*b) + size);
    if (!b)
        return NULL;
    b->next = NULL;
    b->size = size;
    *at = b;
    return b;
}

void *scratch_alloc(struct scratch *s, size_t n)
{
    if (n > s->cap || n > SIZE_MAX / 2)
        return NULL;
    n = (n + 7) & ~(size_t)7;
    if (n > s->cap || s->total > s->cap - n)
        return NULL;
    if (!s->current || s->current->size - s->used < n) {
        struct scratch_block *b = next_block(s, n);
        if (!b)
            return NULL;
        s->current = b;
        s->used = 0;
    }
    char *p = (char *)s->current->bytes + s->used;
    s->used += n;
    s->total += n;
    return p;
}

char *scratch_copy(struct scratch *s, const void *bytes, size_t n)
{
    char *p = n < SIZE_MAX ? scratch_alloc(s, n + 1) : NULL;
    if (!p)
        return NULL;
    if (n)
        memcpy(p, bytes, n);
    p[n] = '\0';
    return p;
}

void scratch_clear(struct scratch *s)
{
    s->current = s->first;
    s->used = s->total = 0;
}
