// A first level of 1,024 slots of one tick, three of 256 slots above it, each slot as wide as the whole level below. A
// timer lies in the lowest level whose span covers its distance, and is moved down when the wheel reaches its slot. A
// bitmap of occupied slots lets the wheel jump over empty time, which is what makes a virtual clock fast, and answers
// wheel_next_us without looking at timers.
//
// wheel_run first collects all that is due into the list `batch`, then fires from it. So callbacks never run while a
// slot is being walked, a budget can leave the rest of the batch for the next call, and what callbacks start as already
// due waits in the list `fresh` for the next call.
//
// Slots are stacks (a push touches one timer less than a queue); they are reversed when they are emptied, so timers of
// one tick fire in the order in which they were started.
#include "core/wheel.h"

#include <stddef.h>
#include <stdlib.h>

#define TICK_US 1000
#define LEVELS 4
#define FIRST_BITS 10 // 1,024 slots of one tick: timers of up to a second never move down
#define UPPER_BITS 8  // 256 slots a level above it
#define FIRST_SLOTS (1u << FIRST_BITS)
#define UPPER_SLOTS (1u << UPPER_BITS)
#define ALL_SLOTS (FIRST_SLOTS + (LEVELS - 1) * UPPER_SLOTS)
#define SPAN_MAX ((int64_t)UINT32_MAX) // ticks that the wheel can tell apart

struct queue {
    struct timer *head;
    struct timer **tail; // where the next one is linked
};

struct wheel {
    int64_t tick;   // everything up to this tick has been collected
    int64_t now_us; // of the last wheel_run
    void *arg;
    uint64_t count;
    int64_t late_max_us;
    int64_t due_us;     // of the timer that is being fired
    struct queue batch; // due, being fired
    struct queue fresh; // started when already due
    uint64_t occupied[ALL_SLOTS / 64];
    struct timer *slots[ALL_SLOTS];
};

// Where a level's slots begin, how many it has, and how many bits of the tick lie below it.
static unsigned level_first(unsigned level)
{
    return level ? FIRST_SLOTS + (level - 1) * UPPER_SLOTS : 0;
}
static unsigned level_slots(unsigned level)
{
    return level ? UPPER_SLOTS : FIRST_SLOTS;
}
static unsigned level_shift(unsigned level)
{
    return level ? FIRST_BITS + (level - 1) * UPPER_BITS : 0;
}

// Number among all slots of the one that holds `tick` at a level.
static unsigned slot_of(int64_t tick, unsigned level)
{
    return level_first(level) + ((unsigned)(tick >> level_shift(level)) & (level_slots(level) - 1));
}

static void mark(struct wheel *w, unsigned slot)
{
    w->occupied[slot / 64] |= 1ull << (slot % 64);
}
static void unmark(struct wheel *w, unsigned slot)
{
    w->occupied[slot / 64] &= ~(1ull << (slot % 64));
}

static void queue_create(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_push(struct queue *q, struct timer *t)
{
    t->next = NULL;
    t->prev = q->tail;
    *q->tail = t;
    q->tail = &t->next;
}

// Moves all of `from` behind `to`.
static void queue_splice(struct queue *to, struct queue *from)
{
    if (!from->head)
        return;
    *to->tail = from->head;
    from->head->prev = to->tail;
    to->tail = from->tail;
    queue_create(from);
}

struct wheel *wheel_new(int64_t now_us, void *arg)
{
    struct wheel *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->now_us = now_us;
    w->tick = now_us / TICK_US;
    w->arg = arg;
    queue_create(&w->batch);
    queue_create(&w->fresh);
    return w;
}

void wheel_delete(struct wheel *w)
{
    free(w);
}

// The first tick that is not before at_us (> 0).
static int64_t tick_of(int64_t at_us)
{
    return (at_us - 1) / TICK_US + 1;
}

// Links t into the slot for its tick; `tick` >= w->tick.
static void place(struct wheel *w, struct timer *t, int64_t tick)
{
    int64_t distance = tick - w->tick;
    if (distance > SPAN_MAX) {
        distance = SPAN_MAX; // as far as the wheel reaches; it is placed again from there
        tick = w->tick + SPAN_MAX;
    }
    unsigned bits = 31 - (unsigned)__builtin_clz((unsigned)distance | 1); // the highest that is set
    unsigned level = bits < FIRST_BITS ? 0 : 1 + (bits - FIRST_BITS) / UPPER_BITS;
    unsigned slot = slot_of(tick, level);
    struct timer **head = &w->slots[slot];
    t->next = *head;
    t->prev = head;
    if (t->next)
        t->next->prev = &t->next;
    *head = t;
    mark(w, slot);
}

static void unlink_timer(struct wheel *w, struct timer *t)
{
    *t->prev = t->next;
    if (t->next) {
        t->next->prev = t->prev;
    } else if (t->prev >= w->slots && t->prev < w->slots + ALL_SLOTS) {
        unmark(w, (unsigned)(t->prev - w->slots));
    } else if (w->batch.tail == &t->next) {
        w->batch.tail = t->prev;
    } else if (w->fresh.tail == &t->next) {
        w->fresh.tail = t->prev;
    }
    t->next = NULL;
    t->prev = NULL;
}

static void prepare(struct wheel *w, struct timer *t, int64_t at_us, timer_fn *fn)
{
    if (timer_pending(t))
        unlink_timer(w, t);
    else
        w->count++;
    t->fn = fn;
    t->at_us = at_us > 0 ? at_us : 0; // monotonic time begins at 0
}

void wheel_start_now(struct wheel *w, struct timer *t, int64_t now_us, timer_fn *fn)
{
    prepare(w, t, now_us, fn);
    queue_push(&w->fresh, t);
}

void wheel_start(struct wheel *w, struct timer *t, int64_t at_us, timer_fn *fn)
{
    prepare(w, t, at_us, fn);
    if (at_us <= w->now_us)
        queue_push(&w->fresh, t);
    else
        place(w, t, tick_of(at_us));
}

void wheel_stop(struct wheel *w, struct timer *t)
{
    if (!timer_pending(t))
        return;
    unlink_timer(w, t);
    w->count--;
}

// Slots from `from` (exclusive) to the next occupied one of a level, going round; 1..size, or 0 when there is none.
// The slot of the present itself is empty unless it holds what comes a whole turn later.
static unsigned next_occupied(const struct wheel *w, unsigned level, unsigned from)
{
    const uint64_t *bits = w->occupied + level_first(level) / 64;
    unsigned size = level_slots(level), words = size / 64;
    unsigned start = (from + 1) & (size - 1);
    for (unsigned i = 0; i <= words; i++) {
        unsigned word = (start / 64 + i) % words;
        uint64_t found = bits[word];
        if (i == 0)
            found &= ~0ull << (start % 64);
        else if (i == words)
            found &= (1ull << (start % 64)) - 1; // the part of the first word that was left out
        if (found) {
            unsigned slot = word * 64 + (unsigned)__builtin_ctzll(found);
            return ((slot - start) & (size - 1)) + 1;
        }
    }
    return 0;
}

// The next tick at which a slot has to be emptied: timers due, or timers to move down. INT64_MAX when empty.
static int64_t next_tick(const struct wheel *w)
{
    int64_t best = INT64_MAX;
    for (unsigned level = 0; level < LEVELS; level++) {
        int64_t unit = w->tick >> level_shift(level);
        unsigned distance = next_occupied(w, level, (unsigned)unit & (level_slots(level) - 1));
        int64_t tick = (unit + distance) << level_shift(level);
        if (distance && tick < best)
            best = tick;
    }
    return best;
}

// Empties a slot; returns its timers, oldest first, linked by `next` alone.
static struct timer *take_slot(struct wheel *w, unsigned slot)
{
    struct timer *t = w->slots[slot], *reversed = NULL;
    w->slots[slot] = NULL;
    unmark(w, slot);
    while (t) {
        struct timer *next = t->next;
        // Whose timer this is lies around it, and its callback comes next: cold lines of a turn, fetched side by side.
        __builtin_prefetch((char *)t + 64, 1);
        t->next = reversed;
        reversed = t;
        t = next;
    }
    return reversed;
}

// Moves to `tick`: timers of upper levels come down, what is due goes to the batch.
static void enter_tick(struct wheel *w, int64_t tick)
{
    w->tick = tick;
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        if (tick & (((int64_t)1 << level_shift(level)) - 1))
            continue; // inside a slot of this level
        struct timer *t = take_slot(w, slot_of(tick, level));
        while (t) {
            struct timer *next = t->next;
            place(w, t, tick_of(t->at_us));
            t = next;
        }
    }
    struct timer *t = take_slot(w, slot_of(tick, 0));
    while (t) {
        struct timer *next = t->next;
        queue_push(&w->batch, t);
        t = next;
    }
}

static void collect(struct wheel *w, int64_t now_us)
{
    if (now_us < w->now_us)
        now_us = w->now_us;
    int64_t target = now_us / TICK_US;
    for (int64_t tick = next_tick(w); tick <= target; tick = next_tick(w))
        enter_tick(w, tick);
    w->tick = target;
    w->now_us = now_us;
    queue_splice(&w->batch, &w->fresh);
}

unsigned wheel_run(struct wheel *w, int64_t now_us, unsigned budget)
{
    collect(w, now_us);
    unsigned ran = 0;
    while (w->batch.head && (budget == 0 || ran < budget)) {
        struct timer *t = w->batch.head;
        unlink_timer(w, t);
        w->count--;
        if (w->now_us - t->at_us > w->late_max_us)
            w->late_max_us = w->now_us - t->at_us;
        ran++;
        w->due_us = t->at_us;
        t->fn(t, w->arg);
    }
    w->due_us = 0;
    return ran;
}

int64_t wheel_next_us(const struct wheel *w)
{
    if (w->batch.head || w->fresh.head)
        return w->now_us;
    if (w->count == 0)
        return INT64_MAX;
    int64_t tick = next_tick(w);
    return tick > INT64_MAX / TICK_US ? INT64_MAX : tick * TICK_US;
}

uint64_t wheel_count(const struct wheel *w)
{
    return w->count;
}

int64_t wheel_due_us(const struct wheel *w)
{
    int64_t at_us = w->due_us > 0 ? tick_of(w->due_us) * TICK_US : 0;
    return at_us < w->now_us ? at_us : w->now_us;
}

int64_t wheel_late_max_us(const struct wheel *w)
{
    return w->late_max_us;
}

void wheel_late_reset(struct wheel *w)
{
    w->late_max_us = 0;
}
