// A Feistel network over the smallest even number of bits that holds all places; what falls outside walks on until it
// is inside (four steps at most on average). After Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002.
#include "device/choice.h"

#include "core/rng.h"

void choice_create(struct choice *c, uint64_t seed, const char *group, uint64_t salt, uint64_t count)
{
    struct rng rng;
    rng_seed_device(&rng, seed, group, salt, 5);
    for (unsigned i = 0; i < 4; i++)
        c->key[i] = rng_u64(&rng);
    c->count = count;
    c->half = 1;
    while (c->half < 31 && (uint64_t)1 << (2 * c->half) < count)
        c->half++;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t choice_rank(const struct choice *c, uint64_t place)
{
    uint64_t mask = ((uint64_t)1 << c->half) - 1;
    do {
        uint64_t left = place >> c->half, right = place & mask;
        for (unsigned i = 0; i < 4; i++) {
            uint64_t next = left ^ (mix(right + c->key[i]) & mask);
            left = right;
            right = next;
        }
        place = left << c->half | right;
    } while (place >= c->count);
    return place;
}
