// Outgoing: entries by number, found through hash chains, linked in order of use. All links are numbers of entries, 0
// is none; entry i has alias i. Incoming: an array that grows to the highest number the server uses.
#include "adapter/mqtt/alias.h"
#include <stdlib.h>
#include <string.h>

struct entry {
    char *topic; // NULL: free
    uint32_t hash;
    uint16_t len;
    uint16_t chain;        // next of the same bucket
    uint16_t newer, older; // by use
};

struct mqtt_aliases_out {
    uint16_t max, used;      // entries there may be; numbers given out so far
    uint16_t newest, oldest; // of those in use
    uint16_t n_buckets;      // a power of two
    uint16_t *buckets;
    struct entry *entries; // from 1; room for size
    uint16_t size;
    size_t bytes;
};

static uint32_t hash_of(const char *s, size_t n)
{
    uint32_t h = 2166136261u; // FNV-1a
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h ^ h >> 15;
}

struct mqtt_aliases_out *mqtt_aliases_out_new(unsigned max)
{
    struct mqtt_aliases_out *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->max = (uint16_t)(max < MQTT_ALIAS_OUT_MAX ? max : MQTT_ALIAS_OUT_MAX);
    for (a->n_buckets = 4; a->n_buckets < a->max && a->n_buckets < 64;)
        a->n_buckets = (uint16_t)(a->n_buckets * 2);
    a->buckets = calloc(a->n_buckets, sizeof *a->buckets);
    a->bytes = sizeof *a + a->n_buckets * sizeof *a->buckets;
    if (!a->buckets) {
        free(a);
        return NULL;
    }
    return a;
}

void mqtt_aliases_out_delete(struct mqtt_aliases_out *a)
{
    if (!a)
        return;
    for (unsigned i = 1; i <= a->used; i++)
        free(a->entries[i].topic);
    free(a->entries);
    free(a->buckets);
    free(a);
}

static void unlink_use(struct mqtt_aliases_out *a, uint16_t i)
{
    struct entry *e = &a->entries[i];
    if (e->newer)
        a->entries[e->newer].older = e->older;
    else
        a->newest = e->older;
    if (e->older)
        a->entries[e->older].newer = e->newer;
    else
        a->oldest = e->newer;
    e->newer = e->older = 0;
}

static void link_newest(struct mqtt_aliases_out *a, uint16_t i)
{
    a->entries[i].older = a->newest;
    if (a->newest)
        a->entries[a->newest].newer = i;
    else
        a->oldest = i;
    a->newest = i;
}

static void link_oldest(struct mqtt_aliases_out *a, uint16_t i)
{
    a->entries[i].newer = a->oldest;
    if (a->oldest)
        a->entries[a->oldest].older = i;
    else
        a->newest = i;
    a->oldest = i;
}

uint16_t mqtt_alias_out_find(struct mqtt_aliases_out *a, const char *topic, size_t len)
{
    uint32_t hash = hash_of(topic, len);
    for (uint16_t i = a->buckets[hash & (a->n_buckets - 1u)]; i; i = a->entries[i].chain) {
        struct entry *e = &a->entries[i];
        if (e->hash != hash || e->len != len || memcmp(e->topic, topic, len) != 0)
            continue;
        if (a->newest != i) {
            unlink_use(a, i);
            link_newest(a, i);
        }
        return i;
    }
    return 0;
}

// Empties an entry; it stays in the order of use.
static void clear_entry(struct mqtt_aliases_out *a, uint16_t i)
{
    struct entry *e = &a->entries[i];
    if (!e->topic)
        return;
    uint16_t *at = &a->buckets[e->hash & (a->n_buckets - 1u)];
    while (*at != i)
        at = &a->entries[*at].chain;
    *at = e->chain;
    a->bytes -= e->len;
    free(e->topic);
    e->topic = NULL;
}

// A number that is free, or the one used least recently; 0: no memory.
static uint16_t pick(struct mqtt_aliases_out *a)
{
    if (a->used == a->max || (a->oldest && !a->entries[a->oldest].topic))
        return a->oldest;
    if (a->used + 1u >= a->size) {
        unsigned size = a->size ? a->size * 2u : 5u;
        if (size > a->max + 1u)
            size = a->max + 1u;
        struct entry *grown = realloc(a->entries, size * sizeof *grown);
        if (!grown)
            return 0;
        a->bytes += (size - a->size) * sizeof *grown;
        a->entries = grown;
        a->size = (uint16_t)size;
    }
    uint16_t i = ++a->used;
    a->entries[i] = (struct entry){0};
    link_oldest(a, i);
    return i;
}

uint16_t mqtt_alias_out_assign(struct mqtt_aliases_out *a, const char *topic, size_t len)
{
    char *copy = malloc(len);
    uint16_t i = copy ? pick(a) : 0;
    if (!i) {
        free(copy);
        return 0;
    }
    clear_entry(a, i);
    memcpy(copy, topic, len);
    struct entry *e = &a->entries[i];
    e->topic = copy;
    e->len = (uint16_t)len;
    e->hash = hash_of(topic, len);
    uint16_t *bucket = &a->buckets[e->hash & (a->n_buckets - 1u)];
    e->chain = *bucket;
    *bucket = i;
    a->bytes += len;
    unlink_use(a, i);
    link_newest(a, i);
    return i;
}

void mqtt_alias_out_forget(struct mqtt_aliases_out *a, uint16_t alias)
{
    clear_entry(a, alias);
    unlink_use(a, alias);
    link_oldest(a, alias);
}

size_t mqtt_aliases_out_footprint(const struct mqtt_aliases_out *a)
{
    return a ? a->bytes : 0;
}

struct known {
    char *topic;
    size_t len;
};

struct mqtt_aliases_in {
    struct known *known; // by number
    uint32_t size;
    size_t bytes; // of topics
};

struct mqtt_aliases_in *mqtt_aliases_in_new(void)
{
    return calloc(1, sizeof(struct mqtt_aliases_in));
}

void mqtt_aliases_in_delete(struct mqtt_aliases_in *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->size; i++)
        free(a->known[i].topic);
    free(a->known);
    free(a);
}

static bool grow(struct mqtt_aliases_in *a, uint16_t alias)
{
    uint32_t size = a->size ? a->size : 8;
    while (size <= alias)
        size *= 2;
    if (size == a->size)
        return true;
    struct known *grown = realloc(a->known, size * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + a->size, 0, (size - a->size) * sizeof *grown);
    a->known = grown;
    a->size = size;
    return true;
}

int mqtt_alias_in_set(struct mqtt_aliases_in *a, uint16_t alias, const char *topic, size_t len)
{
    if (!grow(a, alias))
        return -2;
    struct known *k = &a->known[alias];
    if (k->topic && k->len == len && memcmp(k->topic, topic, len) == 0)
        return 0;
    if (a->bytes - k->len + len > MQTT_ALIAS_IN_BYTES)
        return -1;
    char *copy = malloc(len);
    if (!copy)
        return -2;
    memcpy(copy, topic, len);
    free(k->topic);
    a->bytes += len - k->len;
    *k = (struct known){copy, len};
    return 0;
}

const char *mqtt_alias_in_get(const struct mqtt_aliases_in *a, uint16_t alias, size_t *len)
{
    if (alias >= a->size || !a->known[alias].topic)
        return NULL;
    *len = a->known[alias].len;
    return a->known[alias].topic;
}

size_t mqtt_aliases_in_footprint(const struct mqtt_aliases_in *a)
{
    return a ? sizeof *a + a->size * sizeof *a->known + a->bytes : 0;
}
