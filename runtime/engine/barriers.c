#include "engine/barriers.h"

#include <stdlib.h>
#include <string.h>

#include "engine/supervisor.h"

struct barrier {
    struct barrier *next;
    uint64_t round;
    uint64_t *waiting; // by shard
    char name[];
};

struct barriers {
    struct barrier *list;
    unsigned n;
};

struct barriers *barriers_new(void)
{
    return calloc(1, sizeof(struct barriers));
}

void barriers_delete(struct barriers *b)
{
    for (struct barrier *next, *one = b ? b->list : NULL; one; one = next) {
        next = one->next;
        free(one->waiting);
        free(one);
    }
    free(b);
}

static struct barrier *find(struct run *run, const char *name)
{
    struct barriers *b = run->barriers;
    for (struct barrier *one = b->list; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return one;
    struct barrier *fresh = b->n < BARRIERS_MAX ? calloc(1, sizeof(*fresh) + strlen(name) + 1) : NULL;
    if (!fresh || !(fresh->waiting = calloc(run->n_shards, sizeof(*fresh->waiting)))) {
        free(fresh);
        return NULL;
    }
    memcpy(fresh->name, name, strlen(name));
    fresh->next = b->list;
    b->list = fresh;
    b->n++;
    return fresh;
}

static uint64_t wanted(const struct run *run, const json_t *m)
{
    json_int_t n = json_integer_value(json_object_get(m, "n"));
    const char *group = message_text(m, "group");
    for (unsigned i = 0; n <= 0 && i < run->plan->n_groups; i++)
        if (strcmp(run->groups[i].name, group) == 0)
            n = (json_int_t)run->groups[i].count;
    return n > 0 ? (uint64_t)n : 1;
}

static void tell(struct slot *slot, const struct barrier *b, bool open, uint64_t waiting, uint64_t of)
{
    if (slot->state == SLOT_GOING)
        slot_send(slot, MSG_OPEN,
                  json_pack("{s:s, s:I, s:b, s:I, s:I}", "name", b->name, "round", (json_int_t)b->round, "open", open,
                            "waiting", (json_int_t)waiting, "of", (json_int_t)of));
}

void barriers_told(struct run *run, struct slot *slot, const json_t *m)
{
    struct barrier *b = find(run, message_text(m, "name"));
    uint64_t of = wanted(run, m), sum = 0;
    if (!b) {
        run_reason(run, EXIT_LUA_ERROR,
                   "devices wait at more than %d barriers: a barrier's name is not to be made per device",
                   BARRIERS_MAX);
        run_stop(run);
        return;
    }
    if ((uint64_t)json_integer_value(json_object_get(m, "round")) != b->round) {
        tell(slot, b, false, 0, of); // it did not know yet that it has opened
        return;
    }
    json_int_t here = json_integer_value(json_object_get(m, "waiting"));
    b->waiting[slot->number] = here > 0 ? (uint64_t)here : 0;
    for (unsigned i = 0; i < run->n_shards; i++)
        sum += b->waiting[i];
    bool open = sum >= of;
    if (open) {
        b->round++;
        memset(b->waiting, 0, run->n_shards * sizeof(*b->waiting));
    }
    for (unsigned i = 0; i < run->n_shards; i++)
        tell(&run->shards[i], b, open, sum, of);
}

void barriers_lost(struct run *run, const struct slot *slot)
{
    for (struct barrier *b = slot_is_shard(slot) ? run->barriers->list : NULL; b; b = b->next)
        b->waiting[slot->number] = 0;
}
