#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/clock.h"

static void virtual_clock_moves_only_forward_and_when_told(void **state)
{
    (void)state;
    struct clock c;
    clock_create_virtual(&c, 1700000000000000);
    assert_int_equal(clock_now_us(&c), 0);
    assert_int_equal(clock_wall_us(&c), 1700000000000000);
    clock_advance(&c, 5000);
    clock_advance(&c, 4000);
    assert_int_equal(clock_now_us(&c), 5000);
    assert_int_equal(clock_wall_us(&c), 1700000000005000);
    clock_create_real(&c);
    int64_t before = clock_now_us(&c);
    clock_advance(&c, before + 1000000000);
    assert_in_range(clock_now_us(&c) - before, 0, 999999999);
    assert_true(clock_wall_us(&c) > 1600000000000000);
    assert_true(clock_process_cpu_us() >= 0 && clock_thread_cpu_us() >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(virtual_clock_moves_only_forward_and_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
