#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/rng.h"
#include "core/slots.h"

static void stale_ids_find_nothing(void **state)
{
    (void)state;
    struct slots *s = slots_new(100);
    int a, b;
    slot_id first = slots_add(s, &a);
    assert_int_not_equal(first, 0);
    assert_ptr_equal(slots_get(s, first), &a);
    assert_ptr_equal(slots_remove(s, first), &a);
    assert_null(slots_get(s, first));
    assert_null(slots_remove(s, first));
    slot_id second = slots_add(s, &b);
    assert_int_equal(slot_index(second), slot_index(first)); // the place is used again
    assert_int_not_equal(second, first);
    assert_null(slots_get(s, first));
    assert_null(slots_remove(s, first));
    assert_ptr_equal(slots_get(s, second), &b);
    assert_null(slots_get(s, 0));
    assert_null(slots_get(s, UINT64_MAX));
    assert_null(slots_get(s, second + 1));
    assert_int_equal(slots_count(s), 1);
    slots_delete(s);
    slots_delete(NULL);
}

static void full_is_zero(void **state)
{
    (void)state;
    struct slots *s = slots_new(70);
    int x;
    slot_id ids[70];
    for (int i = 0; i < 70; i++)
        assert_int_not_equal(ids[i] = slots_add(s, &x), 0);
    assert_int_equal(slots_add(s, &x), 0);
    assert_int_equal(slots_count(s), 70);
    assert_ptr_equal(slots_remove(s, ids[33]), &x);
    assert_int_not_equal(slots_add(s, &x), 0);
    assert_int_equal(slots_add(s, &x), 0);
    slots_delete(s);
    s = slots_new(0);
    assert_int_equal(slots_add(s, &x), 0);
    slots_delete(s);
}

static void random_life(void **state)
{
    (void)state;
    enum { N = 5000 };
    static slot_id ids[N];
    static int tenants[N];
    struct slots *s = slots_new(N);
    struct rng rng;
    uint32_t live = 0;
    rng_seed(&rng, 1);
    for (int i = 0; i < 200000; i++) {
        size_t k = rng_below(&rng, N);
        if (slots_get(s, ids[k])) {
            assert_ptr_equal(slots_remove(s, ids[k]), &tenants[k]);
            live--;
        } else {
            ids[k] = slots_add(s, &tenants[k]);
            assert_int_not_equal(ids[k], 0);
            live++;
        }
        assert_int_equal(slots_count(s), live);
    }
    slots_delete(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stale_ids_find_nothing),
        cmocka_unit_test(full_is_zero),
        cmocka_unit_test(random_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
