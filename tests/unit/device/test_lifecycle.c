// The table of transitions entry by entry, and the arithmetic of ownership.
#include "fake.h"

static void test_transitions(void **state)
{
    (void)state;
    // Rows: from; columns: created starting running stopping stopped error (out of range).
    static const char *const expected[7] = {
        ".x..xx.", // created
        "..xx.x.", // starting
        "...x.x.", // running
        "....xx.", // stopping
        ".x...x.", // stopped
        ".x.....", // error
        ".......", // no state
    };
    for (int from = 0; from < 7; from++) {
        for (int to = 0; to < 7; to++) {
            bool may = device_may((enum device_state)from, (enum device_state)to);
            if (may != (expected[from][to] == 'x'))
                fail_msg("%s -> %s: %d", device_state_name((enum device_state)from),
                         device_state_name((enum device_state)to), may);
        }
    }
    assert_false(device_may((enum device_state) - 1, DEVICE_STARTING));
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(device_state_name(DEVICE_CREATED), "created");
    assert_string_equal(device_state_name(DEVICE_ERROR), "error");
    assert_string_equal(device_state_name(DEVICE_STATE_MAX), "unknown");
    assert_string_equal(conn_state_name(CONN_DISCONNECTED), "disconnected");
    assert_string_equal(conn_state_name(CONN_RECONNECTING), "reconnecting");
    assert_string_equal(conn_state_name(CONN_STATE_MAX), "unknown");
}

// Every place belongs to exactly one part, whatever the numbers.
static void check_partition(uint32_t partitions, uint32_t shards, uint64_t count)
{
    unsigned char *seen = calloc(count + 1, 1);
    assert_non_null(seen);
    uint64_t total = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        for (uint32_t s = 0; s < shards; s++) {
            struct ownership o = {p, partitions, s, shards};
            uint64_t n = ownership_count(&o, count);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t place = ownership_place(&o, i);
                assert_true(place < count);
                assert_int_equal(place % partitions, p);
                assert_int_equal(place / partitions % shards, s);
                assert_int_equal(seen[place]++, 0);
            }
            assert_true(ownership_place(&o, n) >= count);
            total += n;
        }
    }
    assert_int_equal(total, count);
    free(seen);
}

static void test_ownership(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 2, 3, 5, 7, 16, 99, 100, 1000};
    for (uint32_t partitions = 1; partitions <= 9; partitions++) {
        for (uint32_t shards = 1; shards <= 9; shards++) {
            for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
                check_partition(partitions, shards, counts[i]);
        }
    }
    struct ownership o = {3, 4, 99, 100};
    assert_int_equal(ownership_count(&o, 1000000000), 2500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ownership),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
