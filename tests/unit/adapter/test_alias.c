// Topic aliases without sockets: numbers for the topics used last, and what numbers stand for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/alias.h"
#include "core/rng.h"

static void the_least_recently_used_gives_way(void **state)
{
    (void)state;
    struct mqtt_aliases_out *a = mqtt_aliases_out_new(2);
    assert_int_equal(mqtt_alias_out_find(a, "a", 1), 0);
    assert_int_equal(mqtt_alias_out_assign(a, "a", 1), 1);
    assert_int_equal(mqtt_alias_out_assign(a, "b", 1), 2);
    assert_int_equal(mqtt_alias_out_find(a, "a", 1), 1); // b is the oldest now
    assert_int_equal(mqtt_alias_out_assign(a, "c", 1), 2);
    assert_int_equal(mqtt_alias_out_find(a, "b", 1), 0);
    assert_int_equal(mqtt_alias_out_find(a, "a", 1), 1);
    mqtt_alias_out_forget(a, 1); // was never sent: the number is free again
    assert_int_equal(mqtt_alias_out_find(a, "a", 1), 0);
    assert_int_equal(mqtt_alias_out_find(a, "c", 1), 2);
    assert_int_equal(mqtt_alias_out_assign(a, "d", 1), 1);
    assert_true(mqtt_aliases_out_footprint(a) > 0);
    mqtt_aliases_out_delete(a);
    mqtt_aliases_out_delete(NULL);
}

// Against a list in order of use.
static void a_random_walk(void **state)
{
    (void)state;
    enum { MAX = 37, TOPICS = 90 };
    struct mqtt_aliases_out *a = mqtt_aliases_out_new(MAX);
    int order[MAX + 1], n = 0; // newest first
    struct rng rng;
    rng_seed(&rng, 7);
    for (int step = 0; step < 50000; step++) {
        char topic[16];
        int t = (int)rng_below(&rng, TOPICS), at = 0;
        int len = snprintf(topic, sizeof topic, "t/%d", t);
        while (at < n && order[at] != t)
            at++;
        uint16_t alias = mqtt_alias_out_find(a, topic, (size_t)len);
        assert_int_equal(alias != 0, at < n);
        if (!alias) {
            alias = mqtt_alias_out_assign(a, topic, (size_t)len);
            assert_in_range(alias, 1, MAX);
            at = n < MAX ? n++ : n - 1; // takes the oldest one's place
        }
        memmove(order + 1, order, (size_t)at * sizeof *order);
        order[0] = t;
        assert_int_equal(mqtt_alias_out_find(a, topic, (size_t)len), alias);
    }
    assert_true(mqtt_aliases_out_footprint(a) < 8192);
    mqtt_aliases_out_delete(a);
}

static void more_than_the_cap_is_not_used(void **state)
{
    (void)state;
    struct mqtt_aliases_out *a = mqtt_aliases_out_new(65535);
    uint16_t highest = 0;
    for (int i = 0; i < 5000; i++) {
        char topic[16];
        int len = snprintf(topic, sizeof topic, "%d", i);
        uint16_t alias = mqtt_alias_out_assign(a, topic, (size_t)len);
        highest = alias > highest ? alias : highest;
    }
    assert_int_equal(highest, MQTT_ALIAS_OUT_MAX);
    mqtt_aliases_out_delete(a);
}

static void incoming_numbers(void **state)
{
    (void)state;
    struct mqtt_aliases_in *a = mqtt_aliases_in_new();
    size_t len = 0;
    assert_null(mqtt_alias_in_get(a, 1, &len));
    assert_int_equal(mqtt_alias_in_set(a, 1, "one", 3), 0);
    assert_int_equal(mqtt_alias_in_set(a, 65535, "last", 4), 0);
    assert_null(mqtt_alias_in_get(a, 2, &len));
    assert_memory_equal(mqtt_alias_in_get(a, 65535, &len), "last", 4);
    assert_int_equal(len, 4);
    assert_int_equal(mqtt_alias_in_set(a, 1, "other", 5), 0);
    assert_memory_equal(mqtt_alias_in_get(a, 1, &len), "other", 5);
    char *big = calloc(1, 65535);
    int rc = 0;
    unsigned n = 2;
    while (rc == 0 && n < 100)
        rc = mqtt_alias_in_set(a, (uint16_t)n++, big, 65535);
    assert_int_equal(rc, -1);
    assert_int_equal(n, 19);                                  // 16 of them are 1 MB
    assert_int_equal(mqtt_alias_in_set(a, 2, "small", 5), 0); // makes room
    assert_int_equal(mqtt_alias_in_set(a, 50, big, 65535), 0);
    free(big);
    mqtt_aliases_in_delete(a);
    mqtt_aliases_in_delete(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_gives_way),
        cmocka_unit_test(a_random_walk),
        cmocka_unit_test(more_than_the_cap_is_not_used),
        cmocka_unit_test(incoming_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
