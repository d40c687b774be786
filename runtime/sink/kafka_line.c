// Records that librdkafka does not have: in memory (the line), on their way to the disk (packing). What each costs is
// counted here.
#include <stdlib.h>
#include <string.h>

#include "sink/kafka.h"

#define PACKING_BYTES (64u << 10)

// --- memory -------------------------------------------------------------------------------------------------------

uint64_t kafka_cost(size_t key_len, size_t payload_len)
{
    return key_len + payload_len + KAFKA_OVERHEAD;
}

void kafka_take_memory(struct kafka *s, uint64_t bytes)
{
    s->memory += bytes;
    gauge_set(s->ledger.memory_bytes, (double)s->memory);
}

void kafka_give_memory(struct kafka *s, uint64_t bytes)
{
    s->memory -= bytes;
    gauge_set(s->ledger.memory_bytes, (double)s->memory);
}

bool kafka_has_line(const struct kafka *s)
{
    return s->head < s->n_line;
}

bool kafka_on_disk(const struct kafka *s)
{
    return s->packing_n || (s->spill && spill_unread(s->spill));
}

// --- the line -----------------------------------------------------------------------------------------------------

int kafka_put_in_line(struct kafka *s, const struct kafka_message *m, uint64_t sequence, struct kafka_entry *entry)
{
    if (s->n_line == s->line_size) {
        if (s->head) { // from the front, where there is room
            memmove(s->line, s->line + s->head, (s->n_line - s->head) * sizeof(struct kafka_kept *));
            s->n_line -= s->head;
            s->head = 0;
        }
        size_t size = s->n_line * 2 < 64 ? 64 : s->n_line * 2;
        struct kafka_kept **line = realloc(s->line, size * sizeof(*line));
        if (!line)
            return -1;
        s->line = line;
        s->line_size = size;
    }
    struct buf packed;
    buf_create(&packed, SPILL_ENTRY_MAX);
    struct kafka_kept *k = kafka_pack(m, &packed) ? NULL : malloc(sizeof(*k) + packed.len);
    if (k) {
        *k = (struct kafka_kept){.sequence = sequence, .entry = entry, .len = packed.len};
        memcpy(k->bytes, packed.data, packed.len);
        s->unsorted |= kafka_has_line(s) && s->line[s->n_line - 1]->sequence > sequence;
        s->line[s->n_line++] = k;
        kafka_take_memory(s, kafka_cost(m->key_len, m->payload_len));
    }
    buf_destroy(&packed);
    return k ? 0 : -1;
}

static int by_sequence(const void *a, const void *b)
{
    const struct kafka_kept *x = *(struct kafka_kept *const *)a, *y = *(struct kafka_kept *const *)b;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

struct kafka_kept *kafka_first_in_line(struct kafka *s, struct kafka_message *m)
{
    if (s->unsorted)
        qsort(s->line + s->head, s->n_line - s->head, sizeof(*s->line), by_sequence);
    s->unsorted = false;
    struct kafka_kept *k = s->line[s->head];
    kafka_unpack(k->bytes, k->len, m); // our own bytes
    return k;
}

void kafka_leave_line(struct kafka *s, const struct kafka_message *m)
{
    kafka_give_memory(s, kafka_cost(m->key_len, m->payload_len));
    free(s->line[s->head++]);
    if (s->head == s->n_line)
        s->head = s->n_line = 0;
}

// --- to the disk --------------------------------------------------------------------------------------------------

int kafka_flush_packing(struct kafka *s)
{
    struct error err;
    if (!s->packing_n)
        return 0;
    s->packing_stuck = spill_append(s->spill, s->packing.data, s->packing.len, s->packing_n, &err) != 0;
    if (s->packing_stuck) {
        kafka_trouble(s, "records cannot be kept on disk: %s", err.text);
        return -1;
    }
    ledger_spill(&s->ledger, s->packing_n);
    kafka_give_memory(s, s->packing.len);
    buf_clear(&s->packing);
    s->packing_n = 0;
    return 0;
}

// From memory, where it is counted, towards the disk. -1: there is no room.
int kafka_put_on_disk(struct kafka *s, const struct kafka_message *m)
{
    if (!s->spill || (s->packing.len >= PACKING_BYTES && kafka_flush_packing(s)))
        return -1;
    uint32_t before = s->packing.len;
    if (kafka_pack(m, &s->packing) && (kafka_flush_packing(s) || kafka_pack(m, &s->packing)))
        return -1;
    if (s->packing_n++ == 0)
        before = 0;
    kafka_take_memory(s, s->packing.len - before);
    if (!ev_is_active(&s->flush))
        ev_timer_start(loop_ev(s->loop), &s->flush);
    return 0;
}

const char *kafka_no_room(const struct kafka *s)
{
    return s->spill && spill_disk_full(s->spill) ? "disk_full" : "full";
}

// What has not come to the disk yet need not go there.
void kafka_packing_to_line(struct kafka *s)
{
    struct kafka_message m;
    for (size_t used = 0; used < s->packing.len;) {
        used += kafka_unpack(s->packing.data + used, s->packing.len - used, &m); // our own bytes
        if (kafka_put_in_line(s, &m, s->next_sequence++, NULL))
            ledger_drop(&s->ledger, "no_memory", 1);
    }
    kafka_give_memory(s, s->packing.len);
    buf_clear(&s->packing);
    s->packing_n = 0;
    s->packing_stuck = false;
}
