#include "device/delivery.h"

#include <stdlib.h>
#include <string.h>

struct entry {           // of a device
    uint64_t window;     // bit i: number `high - i` came
    uint32_t high;       // the highest number that is known, 0: none
    uint32_t lost;       // missing
    uint32_t unknown;    // missing, of a time at which nobody listened
    uint16_t epoch, ear; // ear: the interruption (modulo 2^16) up to which it was heard
};
_Static_assert(sizeof(struct entry) == 24, "what a device takes is promised in the header");

struct delivery {
    struct entry *entries;
    uint64_t n;
    uint16_t ear; // interruptions so far
    struct delivery_counts counts;
};

struct delivery *delivery_new(struct error *err)
{
    struct delivery *d = calloc(1, sizeof(*d));
    if (!d)
        error_set(err, ERR_NO_MEMORY, "no memory for the accounts of a group");
    return d;
}

void delivery_delete(struct delivery *d)
{
    if (d)
        free(d->entries);
    free(d);
}

static struct entry *entry_of(struct delivery *d, uint64_t device, struct error *err)
{
    if (device < d->n)
        return &d->entries[device];
    if (device >= DELIVERY_DEVICES_MAX) {
        error_set(err, ERR_LIMIT, "device %llu: a group's accounts hold at most %u devices",
                  (unsigned long long)device + 1, DELIVERY_DEVICES_MAX);
        return NULL;
    }
    uint64_t n = d->n < 64 ? 64 : d->n;
    while (n <= device)
        n *= 2;
    struct entry *more = realloc(d->entries, n * sizeof(*more));
    if (!more) {
        error_set(err, ERR_NO_MEMORY, "no memory for the accounts of %llu devices", (unsigned long long)n);
        return NULL;
    }
    memset(more + d->n, 0, (n - d->n) * sizeof(*more));
    d->entries = more;
    d->n = n;
    return &more[device];
}

// Numbers that were passed over.
static void miss(struct delivery *d, struct entry *e, uint32_t n)
{
    bool heard = e->ear == d->ear;
    *(heard ? &e->lost : &e->unknown) += n;
    *(heard ? &d->counts.lost : &d->counts.unknown) += n;
}

// One that was missing came after all. false: none is.
static bool find(struct delivery *d, struct entry *e)
{
    if (e->unknown) {
        e->unknown--;
        d->counts.unknown--;
    } else if (e->lost) {
        e->lost--;
        d->counts.lost--;
    } else {
        return false;
    }
    return true;
}

static void raise(struct delivery *d, struct entry *e, uint32_t number)
{
    uint32_t step = number - e->high;
    e->window = step < DELIVERY_WINDOW ? e->window << step : 0;
    e->high = number;
    d->counts.sent += step;
}

static void came(struct delivery *d, bool reordered, bool late)
{
    d->counts.received++;
    d->counts.reordered += reordered;
    d->counts.late += late;
}

static void begin_epoch(struct entry *e, uint32_t epoch)
{
    e->epoch = (uint16_t)epoch;
    e->high = 0;
    e->window = 0;
}

int delivery_received(struct delivery *d, uint64_t device, uint32_t epoch, uint32_t number, bool late,
                      struct error *err)
{
    if (!number || epoch > UINT16_MAX)
        return error_set(err, ERR_INVALID, "no message has the number %u in epoch %u", number, epoch);
    struct entry *e = entry_of(d, device, err);
    if (!e)
        return -1;
    if (epoch > e->epoch)
        begin_epoch(e, epoch);
    if (epoch < e->epoch) { // of a former life: which of them is no longer known
        if (!find(d, e))
            d->counts.sent++;
        came(d, true, late);
        return 0;
    }
    if (number > e->high) {
        uint32_t over = number - e->high - 1;
        raise(d, e, number);
        e->window |= 1;
        if (over)
            miss(d, e, over);
        e->ear = d->ear;
        came(d, false, late);
        return 0;
    }
    uint32_t back = e->high - number;
    uint64_t bit = back < DELIVERY_WINDOW ? (uint64_t)1 << back : 0;
    if ((e->window & bit) || !find(d, e)) {
        d->counts.duplicated++;
        return 0;
    }
    e->window |= bit;
    came(d, true, late);
    return 0;
}

void delivery_interrupted(struct delivery *d)
{
    d->ear++;
}

int delivery_sent(struct delivery *d, uint64_t device, uint32_t epoch, uint32_t numbers, struct error *err)
{
    if (!numbers)
        return 0;
    if (epoch > UINT16_MAX)
        return error_set(err, ERR_INVALID, "there is no epoch %u", epoch);
    struct entry *e = entry_of(d, device, err);
    if (!e)
        return -1;
    if (epoch > e->epoch)
        begin_epoch(e, epoch);
    if (epoch == e->epoch && numbers > e->high) {
        uint32_t over = numbers - e->high;
        raise(d, e, numbers);
        miss(d, e, over);
    }
    return 0;
}

const struct delivery_counts *delivery_counts(const struct delivery *d)
{
    return &d->counts;
}

unsigned delivery_examples(const struct delivery *d, struct delivery_example *out, unsigned n)
{
    unsigned found = 0;
    for (uint64_t i = 0; i < d->n && n; i++) {
        struct delivery_example x = {i, d->entries[i].lost};
        if (!x.lost || (found == n && out[n - 1].lost >= x.lost))
            continue;
        unsigned at = found < n ? found++ : n - 1;
        for (; at && out[at - 1].lost < x.lost; at--)
            out[at] = out[at - 1];
        out[at] = x;
    }
    return found;
}
