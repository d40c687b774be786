// Seeded random numbers: 8 bytes of state a generator (SplitMix64), so that every device can own one.
// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#pragma once
#include <stdint.h>
#include <stddef.h>

struct rng {
    uint64_t state;
};

// hash(run seed, group name, device index): the same on 1 shard or 100. `salt` separates streams of one device
// (0 values, 1 jitter, 2 launch, 3 backoff, 4 Lua math.random).
void rng_seed_device(struct rng *r, uint64_t run_seed, const char *group, uint64_t index, uint32_t salt);
void rng_seed(struct rng *r, uint64_t seed);
static inline uint64_t rng_u64(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
// [0,1) with 53 bits.
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}
// [0,n) without bias, n > 0.
uint64_t rng_below(struct rng *r, uint64_t n);
// Standard normal (polar method without a spare, so that the state stays 8 bytes).
double rng_normal(struct rng *r);
// Exponential with mean 1.
double rng_exponential(struct rng *r);
// Stable 64-bit hash of bytes (FNV-1a followed by a SplitMix finaliser); also used for ids.
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
