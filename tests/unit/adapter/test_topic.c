#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "adapter/topic.h"

static void test_topic_matches(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool matches;
    } table[] = {
        // MQTT 3.1.1 section 4.7.1.2
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"#", "a/b/c", true},
        {"#", "/", true},
        // 4.7.1.3
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player2", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+/tennis/#", "sport/tennis", true},
        {"+/tennis/#", "sport/tennis/x/y", true},
        {"sport/+/player1", "sport/tennis/player1", true},
        {"sport/+/player1", "sport/tennis/player2", false},
        // 4.7.2
        {"#", "$SYS/uptime", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/+", "a/$x", true},
        // 4.7.3
        {"ACCOUNTS", "Accounts", false},
        {"/finance", "finance", false},
        {"a/b", "a/b", true},
        {"a/b", "a/b/", false},
        {"a/b/", "a/b", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a/b", "a/bc", false},
        {"a/bc", "a/b", false},
        {"a/b/c", "a/b", false},
        // shared subscriptions, MQTT 5 section 4.8.2
        {"$share/g/a/+", "a/b", true},
        {"$share/g/a/+", "b/b", false},
        {"$share/g/#", "$SYS/x", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (topic_matches(table[i].filter, table[i].topic) != table[i].matches)
            fail_msg("%s and %s", table[i].filter, table[i].topic);
}

static void test_filters_overlap(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool overlap;
    } table[] = {
        {"a/b", "a/b", true},   {"a/b", "a/c", false},    {"a/+", "a/b", true},    {"a/+", "+/b", true},
        {"a/+", "b/+", false},  {"a/+/c", "a/b/+", true}, {"#", "x/y", true},      {"a/#", "a", true},
        {"a/#", "a/+/c", true}, {"a/#", "b/#", false},    {"a/b", "a/b/c", false}, {"a/+", "a/b/c", false},
        {"a/b/#", "a/+", true}, {"+/x", "+/y", false},    {"a", "a/", false},      {"$share/g/a", "a", true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (topic_filters_overlap(table[i].a, table[i].b) != table[i].overlap ||
            topic_filters_overlap(table[i].b, table[i].a) != table[i].overlap)
            fail_msg("%s and %s", table[i].a, table[i].b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_matches),
        cmocka_unit_test(test_filters_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
