// Which devices of a group something is about: "devices": [1-based indices], "count": n, "percentage": p; none: all.
// Count and percentage go along the group's seeded order (choice.h), so that every process answers for its own devices
// and all of them mean the same ones.
#pragma once
#include "device/choice.h"
#include "device/device.h"

struct selection {
    uint64_t count;    // places of the group, when it was made
    uint64_t reach;    // how far along the order; count: all of them
    uint64_t wanted;   // "count" as given, 0: not given
    double percentage; // as given, 0: not given
    uint64_t *indices; // of "devices", ascending; NULL: by reach
    size_t n_indices;
    struct choice choice;
};

// Whether these members of an object are a selection in a group of so many devices.
int selection_check(const json_t *object, uint64_t count, struct error *err) WARN_UNUSED_RESULT;
// Of the group as it is now; checked before. -1: no memory.
int selection_create(struct selection *s, const struct group *g, const json_t *object,
                     struct error *err) WARN_UNUSED_RESULT;
void selection_destroy(struct selection *s);
// Whether the device of that index is meant, of those that could be there when it was made.
bool selection_has(const struct selection *s, uint64_t index);
// Of "devices": how many of the list come before that index; UINT64_MAX: it is not listed.
uint64_t selection_place(const struct selection *s, uint64_t index);
// The same as selection_has for a device that has come since, with the group grown to `count`: always when all are
// meant; a percentage takes the same share of the new ones; a count takes none beyond its number.
bool selection_takes(const struct selection *s, const struct group *g, uint64_t index, uint64_t count);
