// The allocator behind a Lua state: charges every block to an account, and keeps small blocks without a header.
//
// Blocks up to HEAP_SMALL bytes come from 64 KB slabs, one size class every 8 bytes (LuaJIT asks for no more
// alignment), whose owners stand in a side table of 4 bytes a block; larger ones from malloc with an 8-byte header. A
// parked coroutine is half a dozen small blocks: this is smaller than malloc's header and rounding, and faster. It
// never returns NULL: LuaJIT's collector does not survive that (a coroutine that died of LUA_ERRMEM keeps a broken
// frame chain). Not thread-safe.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_SMALL 1024u
#define HEAP_CLASSES (HEAP_SMALL / 8)
#define HEAP_HOST 1u

struct heap_account {
    int64_t bytes;   // charged now
    uint32_t cap_kb; // over it the account is "over" (heap_over)
    uint32_t link;   // live, zombie (freed, but blocks are still charged), or the next free account
};

struct heap_slab;
struct heap_region;

struct heap {
    struct heap_account *accounts;
    uint32_t n_accounts; // handed out so far, account 0 included (never used)
    uint32_t max_accounts;
    uint32_t room;         // allocated
    uint32_t free_account; // 0: none
    uint32_t current;      // who pays now
    uint32_t live;         // accounts in use
    uint64_t bytes;        // all accounts
    void *shared;          // the string table: whoever makes it grow, the host pays (see heap.c)
    void *latest;          // most recent large block, a candidate for its successor
    size_t latest_size;
    struct heap_slab *partial[HEAP_CLASSES]; // slabs with a free block
    struct heap_slab *empty;                 // slabs without a block
    unsigned n_empty;
    struct heap_region *regions;
    uint32_t reciprocal[HEAP_CLASSES]; // ceil(2^32 / size): block numbers without a division
};

// cap of the host's account: none. -1 without memory.
int heap_create(struct heap *h, uint32_t max_accounts);
// After the state was closed (large blocks are its to free).
void heap_destroy(struct heap *h);
// lua_Alloc without its first argument. Without memory the process ends with 70.
void *heap_realloc(struct heap *h, void *ptr, size_t old_size, size_t new_size);
uint32_t heap_account_new(struct heap *h, uint64_t cap_bytes); // 0: none left
void heap_account_free(struct heap *h, uint32_t account);
bool heap_account_live(const struct heap *h, uint32_t account);
static inline bool heap_over(const struct heap *h, uint32_t account)
{
    const struct heap_account *a = &h->accounts[account];
    return a->bytes > (int64_t)a->cap_kb << 10;
}
// Writes why to stderr and ends the process with 70 (EX_SOFTWARE): what cannot go on must not corrupt.
_Noreturn void heap_die(const char *why);
