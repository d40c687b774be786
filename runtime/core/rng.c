#include "core/rng.h"

#include <math.h>
#include <string.h>

// The finaliser of SplitMix64: every input bit reaches every output bit.
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const uint8_t *bytes = p;
    uint64_t h = 0xcbf29ce484222325ull ^ mix(seed);
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 0x100000001b3ull;
    return mix(h ^ (uint64_t)n);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    // Neighbouring seeds must not give neighbouring states: SplitMix streams differ only by their offset.
    r->state = mix(seed + 0x9e3779b97f4a7c15ull);
}

void rng_seed_device(struct rng *r, uint64_t run_seed, const char *group, uint64_t index, uint32_t salt)
{
    uint64_t h = hash_bytes(group, strlen(group), run_seed);
    h = mix(h + 0x9e3779b97f4a7c15ull * (index + 1));
    r->state = mix(h ^ mix((uint64_t)salt + 0x632be59bd9b4e019ull));
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    // Lemire: multiply and shift; a second look only when the low half falls into the biased part.
    unsigned __int128 m = (unsigned __int128)rng_u64(r) * n;
    if ((uint64_t)m < n) {
        uint64_t threshold = (0 - n) % n;
        while ((uint64_t)m < threshold)
            m = (unsigned __int128)rng_u64(r) * n;
    }
    return (uint64_t)(m >> 64);
}

double rng_normal(struct rng *r)
{
    for (;;) {
        double u = 2.0 * rng_unit(r) - 1.0;
        double v = 2.0 * rng_unit(r) - 1.0;
        double s = u * u + v * v;
        if (s > 0.0 && s < 1.0)
            return u * sqrt(-2.0 * log(s) / s);
    }
}

double rng_exponential(struct rng *r)
{
    return -log(1.0 - rng_unit(r)); // unit is < 1, so never log(0)
}
