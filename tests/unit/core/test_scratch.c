#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/rng.h"
#include "core/scratch.h"

static void pieces_stay_where_they_are(void **state)
{
    (void)state;
    enum { N = 500 };
    struct scratch s;
    struct rng rng;
    unsigned char *at[N];
    size_t n[N];
    scratch_create(&s, 4 << 20);
    rng_seed(&rng, 1);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            n[i] = rng_below(&rng, i % 50 ? 200 : 20000);
            at[i] = scratch_alloc(&s, n[i]);
            assert_non_null(at[i]);
            assert_int_equal((uintptr_t)at[i] % 8, 0);
            memset(at[i], i % 251, n[i]);
        }
        for (int i = 0; i < N; i++) // nobody wrote into another's
            for (size_t k = 0; k < n[i]; k++)
                assert_int_equal(at[i][k], i % 251);
        scratch_clear(&s);
    }
    scratch_destroy(&s);
}

static void copies(void **state)
{
    (void)state;
    struct scratch s;
    scratch_create(&s, 1000);
    char *a = scratch_copy(&s, "a\0b", 3), *empty = scratch_copy(&s, NULL, 0);
    assert_memory_equal(a, "a\0b", 4);
    assert_string_equal(empty, "");
    assert_null(scratch_copy(&s, "x", SIZE_MAX));
    scratch_destroy(&s);
}

// The cap is of all that is handed out, each piece counted as what it takes; a refusal changes nothing.
static void at_the_cap(void **state)
{
    (void)state;
    struct scratch s;
    scratch_create(&s, 64);
    assert_null(scratch_alloc(&s, 65));
    assert_null(scratch_alloc(&s, SIZE_MAX));
    assert_null(scratch_alloc(&s, SIZE_MAX - 7));
    assert_int_equal(s.total, 0);
    for (int i = 0; i < 8; i++)
        assert_non_null(scratch_alloc(&s, 1)); // 8 bytes each
    assert_null(scratch_alloc(&s, 1));
    assert_null(scratch_copy(&s, "", 0));
    scratch_clear(&s);
    assert_non_null(scratch_alloc(&s, 64));
    assert_null(scratch_alloc(&s, 1));
    scratch_destroy(&s);
    scratch_create(&s, SIZE_MAX);
    assert_null(scratch_alloc(&s, SIZE_MAX)); // rounding up must not wrap round
    scratch_create(&s, 0);
    assert_null(scratch_alloc(&s, 1));
    scratch_destroy(&s);
    scratch_create(&s, 61); // a cap that no piece of 8 meets
    for (int i = 0; i < 7; i++)
        assert_non_null(scratch_alloc(&s, 8));
    assert_null(scratch_alloc(&s, 5));
    scratch_destroy(&s);
}

// After the first rounds the blocks are there: the same pieces come to lie at the same places.
static void cleared_memory_is_used_again(void **state)
{
    (void)state;
    struct scratch s;
    void *first[40] = {NULL};
    scratch_create(&s, 1 << 20);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            void *p = scratch_alloc(&s, (size_t)(i % 7) * 900 + 1);
            assert_non_null(p);
            if (round == 0)
                first[i] = p;
            else
                assert_ptr_equal(p, first[i]);
        }
        scratch_clear(&s);
        assert_int_equal(s.total, 0);
    }
    scratch_destroy(&s);
    assert_null(s.first);
    assert_non_null(scratch_alloc(&s, 10)); // usable again, with its cap
    scratch_destroy(&s);
}

// A large piece finds its block although smaller ones lie before it, and small ones go on behind it.
static void large_behind_small(void **state)
{
    (void)state;
    struct scratch s;
    scratch_create(&s, 1 << 20);
    assert_non_null(scratch_alloc(&s, 100));
    void *large = scratch_alloc(&s, 100000), *behind = scratch_alloc(&s, 4000);
    assert_non_null(large);
    assert_non_null(behind);
    for (int round = 0; round < 10; round++) {
        scratch_clear(&s);
        assert_ptr_equal(scratch_alloc(&s, 100000), large);
    }
    scratch_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_stay_where_they_are),
        cmocka_unit_test(copies),
        cmocka_unit_test(at_the_cap),
        cmocka_unit_test(cleared_memory_is_used_again),
        cmocka_unit_test(large_behind_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
