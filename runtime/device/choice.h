// Which devices of a group an operation takes: a seeded order of all places, computed place by place. Every process
// computes the same, so "30 of 1,000" are the same 30 on any number of shards, without a word between them.
#pragma once
#include <stdint.h>

struct choice {
    uint64_t count; // of places
    uint64_t key[4];
    unsigned half; // bits of one half of a place
};
// salt: which order; operations that name no other use 0, so that "start 10" takes back what "stop 10" took.
void choice_create(struct choice *c, uint64_t seed, const char *group, uint64_t salt, uint64_t count);
// Position of a 0-based place (< count) in the order: a permutation of 0 … count - 1.
uint64_t choice_rank(const struct choice *c, uint64_t place);
