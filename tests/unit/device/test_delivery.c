// Accounts of delivery, against a model that remembers everything.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "core/rng.h"
#include "device/delivery.h"

static void take(struct delivery *d, uint64_t device, uint32_t number)
{
    struct error err = {0};
    assert_int_equal(delivery_received(d, device, 0, number, false, &err), 0);
}

static void assert_counts(const struct delivery *d, uint64_t sent, uint64_t received, uint64_t lost, uint64_t unknown,
                          uint64_t duplicated, uint64_t reordered)
{
    const struct delivery_counts *c = delivery_counts(d);
    assert_int_equal(c->sent, c->received + c->lost + c->unknown);
    assert_int_equal(c->sent, sent);
    assert_int_equal(c->received, received);
    assert_int_equal(c->lost, lost);
    assert_int_equal(c->unknown, unknown);
    assert_int_equal(c->duplicated, duplicated);
    assert_int_equal(c->reordered, reordered);
}

static void what_is_missing_double_or_out_of_order_is_counted(void **state)
{
    (void)state;
    struct error err = {0};
    struct delivery *d = delivery_new(&err);
    take(d, 3, 1);
    take(d, 3, 4); // 2 and 3 are passed over
    assert_counts(d, 4, 2, 2, 0, 0, 0);
    take(d, 3, 3);
    assert_counts(d, 4, 3, 1, 0, 0, 1);
    take(d, 3, 3);
    take(d, 3, 4);
    assert_counts(d, 4, 3, 1, 0, 2, 1);
    assert_int_equal(delivery_sent(d, 3, 0, 6, &err), 0); // 5 and 6 never came
    assert_counts(d, 6, 3, 3, 0, 2, 1);
    take(d, 3, 6); // but for this one
    assert_counts(d, 6, 4, 2, 0, 2, 2);
    assert_int_equal(delivery_sent(d, 3, 0, 6, &err), 0);
    assert_int_equal(delivery_sent(d, 3, 0, 2, &err), 0);
    assert_counts(d, 6, 4, 2, 0, 2, 2);
    assert_int_equal(delivery_received(d, 3, 0, 0, false, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(delivery_received(d, DELIVERY_DEVICES_MAX, 0, 1, false, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(delivery_received(d, 3, 0, 7, true, &err), 0);
    assert_int_equal(delivery_counts(d)->late, 1);
    delivery_delete(d);
}

static void nobody_listening_is_no_loss(void **state)
{
    (void)state;
    struct error err = {0};
    struct delivery *d = delivery_new(&err);
    take(d, 0, 2);
    take(d, 1, 1);
    delivery_interrupted(d);
    take(d, 0, 10); // 3 to 9 were sent meanwhile
    assert_counts(d, 11, 3, 1, 7, 0, 0);
    take(d, 0, 12); // it is heard again
    assert_counts(d, 13, 4, 2, 7, 0, 0);
    take(d, 0, 9);
    assert_counts(d, 13, 5, 2, 6, 0, 1);
    assert_int_equal(delivery_sent(d, 1, 0, 5, &err), 0); // this one was not
    assert_int_equal(delivery_sent(d, 0, 0, 13, &err), 0);
    assert_counts(d, 18, 5, 3, 10, 0, 1);
    delivery_delete(d);
}

static void a_process_that_begins_anew_counts_from_one(void **state)
{
    (void)state;
    struct error err = {0};
    struct delivery *d = delivery_new(&err);
    take(d, 0, 1);
    take(d, 0, 3);
    assert_int_equal(delivery_received(d, 0, 1, 1, false, &err), 0);
    assert_int_equal(delivery_received(d, 0, 1, 2, false, &err), 0);
    assert_counts(d, 5, 4, 1, 0, 0, 0);
    take(d, 0, 2); // of the former life
    assert_counts(d, 5, 5, 0, 0, 0, 1);
    assert_int_equal(delivery_sent(d, 0, 1, 4, &err), 0);
    assert_int_equal(delivery_sent(d, 7, 1, 2, &err), 0); // nothing of it ever came
    assert_counts(d, 9, 5, 4, 0, 0, 1);
    delivery_delete(d);
}

static void the_worst_are_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct delivery *d = delivery_new(&err);
    static const uint32_t lost[] = {0, 3, 9, 1, 9, 4};
    struct delivery_example worst[3];
    assert_int_equal(delivery_examples(d, worst, 3), 0);
    for (uint32_t i = 0; i < 6; i++)
        take(d, i, lost[i] + 1);
    assert_int_equal(delivery_examples(d, worst, 3), 3);
    assert_int_equal(worst[0].device, 2);
    assert_int_equal(worst[1].device, 4);
    assert_int_equal(worst[2].device, 5);
    assert_int_equal(worst[2].lost, 4);
    delivery_delete(d);
}

// --- a million messages that are lost, doubled and out of order, at most 60 numbers apart

#define SENT 1000000u
#define SLOTS 48u
enum { DEVICES = 7 };

struct naive {
    uint8_t came[DEVICES][SENT / DEVICES + 2];
    uint32_t high[DEVICES];
    uint64_t received, duplicated, reordered;
};

static void arrives(struct delivery *d, struct naive *n, uint32_t message)
{
    uint32_t device = message % DEVICES, number = message / DEVICES + 1;
    take(d, device, number);
    if (n->came[device][number]) {
        n->duplicated++;
        return;
    }
    n->came[device][number] = 1;
    n->received++;
    if (number < n->high[device])
        n->reordered++;
    else
        n->high[device] = number;
}

static void a_million_agree_with_a_naive_model(void **state)
{
    (void)state;
    struct error err = {0};
    struct delivery *d = delivery_new(&err);
    struct naive *n = calloc(1, sizeof(*n));
    struct rng rng;
    rng_seed(&rng, 20261124);
    uint32_t waiting[SLOTS], held = 0, sent[DEVICES] = {0};
    for (uint32_t i = 0; i < SENT; i++) {
        sent[i % DEVICES]++;
        uint64_t dice = rng_below(&rng, 1000);
        if (dice < 13)
            continue; // lost
        if (dice < 60 && held < SLOTS) {
            waiting[held++] = i;
        } else {
            arrives(d, n, i);
            if (dice > 990)
                arrives(d, n, i);
        }
        for (uint32_t k = 0; k < held;) // some of those that wait; none behind the window
            if (i - waiting[k] > 400 || rng_below(&rng, 50) == 0) {
                arrives(d, n, waiting[k]);
                if (rng_below(&rng, 4) == 0)
                    arrives(d, n, waiting[k]);
                waiting[k] = waiting[--held];
            } else {
                k++;
            }
    }
    while (held)
        arrives(d, n, waiting[--held]);
    for (uint32_t i = 0; i < DEVICES; i++)
        assert_int_equal(delivery_sent(d, i, 0, sent[i], &err), 0);
    assert_true(n->duplicated > 10000 && n->reordered > 10000 && SENT - n->received > 10000);
    assert_counts(d, SENT, n->received, SENT - n->received, 0, n->duplicated, n->reordered);
    free(n);
    delivery_delete(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_double_or_out_of_order_is_counted),
        cmocka_unit_test(nobody_listening_is_no_loss),
        cmocka_unit_test(a_process_that_begins_anew_counts_from_one),
        cmocka_unit_test(the_worst_are_named),
        cmocka_unit_test(a_million_agree_with_a_naive_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
