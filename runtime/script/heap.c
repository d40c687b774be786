// Slab layout, aligned to its 64 KB: struct heap_slab | owner[capacity] (4 bytes each) | blocks. A block's number is
// its offset times the reciprocal of its size; a free block's first word links to the next free one.
//
// The string table is one block for all devices and can be larger than a device's whole allowance. LuaJIT replaces it
// by "allocate the new one, fill, free the old one" with sizes that are powers of two. So: when the known table is
// freed, the latest large block of twice or half its size is its successor, and goes to the host.
#include "script/heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_SIZE 65536u
#define SLABS_A_REGION 32u
#define KEEP_EMPTY 8u      // empty slabs kept resident
#define STRTAB_FIRST 2048u // 256 chains: what lua_newstate starts with

#define LINK_LIVE UINT32_MAX
#define LINK_ZOMBIE (UINT32_MAX - 1)

struct heap_slab {
    struct heap_slab *next, *prev; // in partial[] or empty
    void *free;                    // freed blocks
    uint32_t cls;
    uint32_t size; // of a block
    uint32_t capacity;
    uint32_t used;
    uint32_t fresh;  // blocks that were never handed out start here
    uint32_t blocks; // offset of block 0
    uint32_t owner[];
};

struct heap_region {
    struct heap_region *next;
    void *map;
    size_t size;
    unsigned taken; // slabs handed out
    char *slabs;
};

struct large {
    uint32_t account;
    uint32_t magic;
};
#define LARGE_MAGIC 0x6c617267u

void heap_die(const char *why)
{
    static const char prefix[] = "iotix: the Lua state cannot go on: ";
    ssize_t ignored = write(2, prefix, sizeof(prefix) - 1);
    ignored += write(2, why, strlen(why));
    ignored += write(2, "\n", 1);
    (void)ignored;
    _exit(70);
}

int heap_create(struct heap *h, uint32_t max_accounts)
{
    memset(h, 0, sizeof(*h));
    h->room = 64;
    h->accounts = calloc(h->room, sizeof(*h->accounts));
    if (!h->accounts)
        return -1;
    h->max_accounts = max_accounts;
    h->n_accounts = HEAP_HOST + 1;
    h->accounts[HEAP_HOST] = (struct heap_account){.cap_kb = UINT32_MAX, .link = LINK_LIVE};
    h->live = 1;
    h->current = HEAP_HOST;
    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        uint32_t size = (c + 1) * 8;
        h->reciprocal[c] = (uint32_t)(((UINT64_C(1) << 32) + size - 1) / size);
    }
    return 0;
}

void heap_destroy(struct heap *h)
{
    while (h->regions) {
        struct heap_region *r = h->regions;
        h->regions = r->next;
        munmap(r->map, r->size);
        free(r);
    }
    free(h->accounts);
    memset(h, 0, sizeof(*h));
}

// --- accounts
// ---------------------------------------------------------------------------------------------------------

uint32_t heap_account_new(struct heap *h, uint64_t cap_bytes)
{
    uint32_t id = h->free_account;
    if (id) {
        h->free_account = h->accounts[id].link;
    } else {
        if (h->n_accounts > h->max_accounts)
            return 0;
        if (h->n_accounts == h->room) {
            struct heap_account *grown = realloc(h->accounts, sizeof(*grown) * h->room * 2);
            if (!grown)
                return 0;
            h->accounts = grown;
            h->room *= 2;
        }
        id = h->n_accounts++;
    }
    uint64_t kb = (cap_bytes + 1023) >> 10;
    h->accounts[id] = (struct heap_account){.cap_kb = kb < UINT32_MAX ? (uint32_t)kb : UINT32_MAX, .link = LINK_LIVE};
    h->live++;
    return id;
}

static void recycle(struct heap *h, uint32_t account)
{
    h->accounts[account].link = h->free_account;
    h->free_account = account;
}

void heap_account_free(struct heap *h, uint32_t account)
{
    if (account <= HEAP_HOST || !heap_account_live(h, account))
        return;
    if (h->current == account)
        h->current = HEAP_HOST;
    h->live--;
    // Blocks may outlive their owner (garbage not yet swept, a string somebody else holds): the number is reused later.
    h->accounts[account].link = LINK_ZOMBIE;
    if (h->accounts[account].bytes == 0)
        recycle(h, account);
}

bool heap_account_live(const struct heap *h, uint32_t account)
{
    return account < h->n_accounts && h->accounts[account].link == LINK_LIVE;
}

static inline void charge(struct heap *h, uint32_t account, size_t n)
{
    h->accounts[account].bytes += (int64_t)n;
    h->bytes += n;
}

static inline void release(struct heap *h, uint32_t account, size_t n)
{
    struct heap_account *a = &h->accounts[account];
    a->bytes -= (int64_t)n;
    h->bytes -= n;
    if (a->bytes == 0 && a->link == LINK_ZOMBIE)
        recycle(h, account);
}

// --- slabs
// ------------------------------------------------------------------------------------------------------------

static char *region_slab(struct heap *h)
{
    struct heap_region *r = h->regions;
    if (r && r->taken < SLABS_A_REGION)
        return r->slabs + (size_t)r->taken++ * SLAB_SIZE;
    r = calloc(1, sizeof(*r));
    if (!r)
        heap_die("out of memory");
    r->size = (size_t)(SLABS_A_REGION + 1) * SLAB_SIZE; // one more, to align
    r->map = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->map == MAP_FAILED)
        heap_die("out of memory");
    r->slabs = (char *)(((uintptr_t)r->map + SLAB_SIZE - 1) & ~(uintptr_t)(SLAB_SIZE - 1));
    r->taken = 1;
    r->next = h->regions;
    h->regions = r;
    return r->slabs;
}

static void slab_push(struct heap_slab **list, struct heap_slab *s)
{
    s->prev = NULL;
    s->next = *list;
    if (s->next)
        s->next->prev = s;
    *list = s;
}

static void slab_unlink(struct heap_slab **list, struct heap_slab *s)
{
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        *list = s->next;
}

static __attribute__((noinline)) struct heap_slab *slab_new(struct heap *h, uint32_t cls)
{
    struct heap_slab *s = h->empty;
    if (s) {
        slab_unlink(&h->empty, s);
        h->n_empty--;
    } else {
        s = (struct heap_slab *)region_slab(h);
    }
    s->cls = cls;
    s->size = (cls + 1) * 8;
    s->capacity = (uint32_t)((SLAB_SIZE - sizeof(*s) - 8) / (s->size + sizeof(s->owner[0])));
    s->blocks = (uint32_t)((sizeof(*s) + s->capacity * sizeof(s->owner[0]) + 7) & ~(size_t)7);
    s->used = s->fresh = 0;
    s->free = NULL;
    slab_push(&h->partial[cls], s);
    return s;
}

static __attribute__((noinline)) void slab_emptied(struct heap *h, struct heap_slab *s)
{
    slab_unlink(&h->partial[s->cls], s);
    // What is beyond a few goes back to the kernel; its first page stays, for the links.
    if (h->n_empty >= KEEP_EMPTY)
        madvise((char *)s + 4096, SLAB_SIZE - 4096, MADV_DONTNEED);
    slab_push(&h->empty, s);
    h->n_empty++;
}

static void *small_alloc(struct heap *h, size_t n)
{
    uint32_t cls = (uint32_t)(n + 7) / 8 - 1;
    struct heap_slab *s = h->partial[cls];
    if (__builtin_expect(!s, 0))
        s = slab_new(h, cls);
    char *p = s->free;
    uint32_t number;
    if (p) {
        s->free = *(void **)(void *)p;
        number = (uint32_t)(((uint64_t)((uint32_t)(p - (char *)s) - s->blocks) * h->reciprocal[cls]) >> 32);
    } else {
        number = s->fresh++;
        p = (char *)s + s->blocks + number * s->size;
    }
    s->owner[number] = h->current;
    if (++s->used == s->capacity)
        slab_unlink(&h->partial[cls], s);
    charge(h, h->current, s->size);
    return p;
}

static inline struct heap_slab *slab_of(void *p)
{
    return (struct heap_slab *)((uintptr_t)p & ~(uintptr_t)(SLAB_SIZE - 1));
}

static inline uint32_t number_of(const struct heap *h, const struct heap_slab *s, const void *p)
{
    uint32_t offset = (uint32_t)((uintptr_t)p & (SLAB_SIZE - 1)) - s->blocks;
    return (uint32_t)(((uint64_t)offset * h->reciprocal[s->cls]) >> 32);
}

static void small_free(struct heap *h, void *p)
{
    struct heap_slab *s = slab_of(p);
    release(h, s->owner[number_of(h, s, p)], s->size);
    *(void **)p = s->free;
    s->free = p;
    if (s->used-- == s->capacity)
        slab_push(&h->partial[s->cls], s);
    if (s->used == 0)
        slab_emptied(h, s);
}

// --- large blocks
// -----------------------------------------------------------------------------------------------------

static void *large_alloc(struct heap *h, size_t n)
{
    struct large *b = malloc(sizeof(*b) + n);
    if (!b)
        heap_die("out of memory");
    b->account = h->current;
    b->magic = LARGE_MAGIC;
    charge(h, h->current, n);
    if (!h->shared && n == STRTAB_FIRST)
        h->shared = b + 1;
    h->latest = b + 1;
    h->latest_size = n;
    return b + 1;
}

static void large_free(struct heap *h, void *p, size_t n)
{
    struct large *b = (struct large *)p - 1;
    if (b->magic != LARGE_MAGIC)
        heap_die("a block of memory was overwritten");
    release(h, b->account, n);
    if (p == h->shared) {
        h->shared = NULL;
        if (h->latest && (h->latest_size == n * 2 || h->latest_size == n / 2)) {
            struct large *next = (struct large *)h->latest - 1;
            release(h, next->account, h->latest_size);
            charge(h, HEAP_HOST, h->latest_size);
            next->account = HEAP_HOST;
            h->shared = h->latest;
        }
    }
    if (p == h->latest)
        h->latest = NULL;
    b->magic = 0;
    free(b);
}

static void *large_resize(struct heap *h, void *p, size_t old_size, size_t new_size)
{
    struct large *b = (struct large *)p - 1;
    if (b->magic != LARGE_MAGIC)
        heap_die("a block of memory was overwritten");
    uint32_t payer = new_size > old_size ? h->current : b->account; // who grows it owns it
    if (p == h->latest)
        h->latest = NULL;
    uint32_t former = b->account;
    b = realloc(b, sizeof(*b) + new_size);
    if (!b)
        heap_die("out of memory");
    b->account = payer;
    charge(h, payer, new_size);
    release(h, former, old_size);
    return b + 1;
}

void *heap_realloc(struct heap *h, void *ptr, size_t old_size, size_t new_size)
{
    if (!ptr) {
        if (!new_size)
            return NULL;
        return new_size <= HEAP_SMALL ? small_alloc(h, new_size) : large_alloc(h, new_size);
    }
    if (!new_size) {
        if (old_size <= HEAP_SMALL)
            small_free(h, ptr);
        else
            large_free(h, ptr, old_size);
        return NULL;
    }
    if (old_size > HEAP_SMALL && new_size > HEAP_SMALL)
        return large_resize(h, ptr, old_size, new_size);
    // Across a class or a kind. What shrinks stays with its owner, as the collector shrinks in anybody's name.
    uint32_t former = h->current;
    if (new_size <= old_size) {
        struct heap_slab *s = old_size <= HEAP_SMALL ? slab_of(ptr) : NULL;
        if (s && (new_size + 7) / 8 == (old_size + 7) / 8)
            return ptr;
        h->current = s ? s->owner[number_of(h, s, ptr)] : ((struct large *)ptr - 1)->account;
    }
    void *moved = new_size <= HEAP_SMALL ? small_alloc(h, new_size) : large_alloc(h, new_size);
    h->current = former;
    memcpy(moved, ptr, old_size < new_size ? old_size : new_size);
    if (old_size <= HEAP_SMALL)
        small_free(h, ptr);
    else
        large_free(h, ptr, old_size);
    return moved;
}
