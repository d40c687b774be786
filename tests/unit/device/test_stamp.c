// Stamps: their text, what is none, and where they are found.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/stamp.h"

static void text_comes_back(void **state)
{
    static const struct stamp stamps[] = {
        {0, 0, 0, 0, 0},
        {0x5f3a9c1e, 2, 1000000, 77, 1795000000000000},
        {UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, INT64_MAX},
    };
    char text[STAMP_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof stamps / sizeof *stamps; i++) {
        struct stamp s;
        unsigned n = stamp_write(&stamps[i], text);
        assert_int_equal(n, strlen(text));
        assert_true(n < STAMP_TEXT_MAX);
        assert_true(stamp_read(text, n, &s));
        assert_int_equal(s.run, stamps[i].run);
        assert_int_equal(s.group, stamps[i].group);
        assert_true(s.device == stamps[i].device && s.sequence == stamps[i].sequence);
        assert_true(s.time_us == stamps[i].time_us);
        for (unsigned cut = 0; cut < n; cut++) { // a shorter one has fewer fields, or none at the end
            bool whole = stamp_read(text, cut, &s);
            assert_true(!whole || (text[cut - 1] != '.' && strrchr(text, '.') < text + cut));
        }
    }
    stamp_write(&stamps[1], text);
    assert_string_equal(text, "5f3a9c1e.2.f4240.4d.6608b015f3000");
}

static void what_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "1.2.3.4",
        "1.2.3.4.",
        "1.2.3.4.5.6",
        ".1.2.3.4",
        "1..2.3.4",
        "1.2.3.4.G",
        "1.2.3.4.A",
        "1.2.3.4. 5",
        "-1.2.3.4.5",
        "100000000.2.3.4.5", // above 32 bits
        "1.2.3.4.ffffffffffffffff",
        "1.2.3.11111111111111111.5",
    };
    struct stamp s;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (stamp_read(bad[i], strlen(bad[i]), &s))
            fail_msg("\"%s\" was taken for a stamp", bad[i]);
}

static void rules_are_checked(void **state)
{
    static const char *const bad[] = {"\"payloads\"",
                                      "{\"payload\":\"\"}",
                                      "{\"payload\":\"a b\"}",
                                      "{\"payload\":1}",
                                      "{\"topic\":\"x\"}",
                                      "{\"payload\":\"a\",\"b\":1}",
                                      "7",
                                      "{\"payload\":\"abcdefghijabcdefghijabcdefghijabc\"}"};
    struct stamp_rule rule;
    struct error err;
    (void)state;
    assert_int_equal(stamp_rule_parse(NULL, &rule, &err), 0);
    assert_int_equal(rule.place, STAMP_NONE);
    json_t *json = json_loads("{\"payload\":\"seq\"}", 0, NULL);
    assert_int_equal(stamp_rule_parse(json, &rule, &err), 0);
    json_decref(json);
    assert_int_equal(rule.place, STAMP_PAYLOAD);
    assert_string_equal(rule.key, "seq");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        assert_int_equal(stamp_rule_parse(json, &rule, &err), -1);
        assert_non_null(strstr(err.text, "\"property\", \"topic\""));
        json_decref(json);
    }
}

static bool find(enum stamp_place place, const char *key, const char *topic, const char *payload,
                 const struct adapter_meta *meta, struct stamp *out)
{
    struct stamp_rule rule = {.place = place};
    strncpy(rule.key, key, STAMP_KEY_MAX);
    const struct adapter_message m = {.topic = topic,
                                      .topic_len = strlen(topic),
                                      .payload = (const uint8_t *)payload,
                                      .payload_len = strlen(payload),
                                      .meta = meta};
    return stamp_find(&rule, &m, out);
}

static void they_are_found_where_the_rule_says(void **state)
{
    struct stamp s;
    char big[4096];
    (void)state;
    assert_true(find(STAMP_TOPIC, "", "a/b/1.2.3.4.5", "", NULL, &s));
    assert_int_equal(s.sequence, 4);
    assert_false(find(STAMP_TOPIC, "", "a/b", "", NULL, &s));
    assert_false(find(STAMP_TOPIC, "", "1.2.3.4.5", "", NULL, &s));
    assert_false(find(STAMP_TOPIC, "", "", "", NULL, &s));
    assert_true(find(STAMP_PAYLOAD, "k", "t", "{\"a\":1,\"k\":\"1.2.3.9.5\"}", NULL, &s));
    assert_int_equal(s.sequence, 9);
    assert_false(find(STAMP_PAYLOAD, "k", "t", "{\"a\":1}", NULL, &s));
    assert_false(find(STAMP_PAYLOAD, "k", "t", "{\"k\":\"1.2.3.9.5", NULL, &s)); // never ends
    assert_false(find(STAMP_PAYLOAD, "k", "t", "", NULL, &s));
    memset(big, ' ', sizeof big);
    memcpy(big, "{\"k\":\"1.2.3.4.5\"", 16); // what is at the beginning is the author's
    memcpy(big + sizeof big - 30, ",\"k\":\"1.2.3.8.5\"}", sizeof ",\"k\":\"1.2.3.8.5\"}");
    assert_true(find(STAMP_PAYLOAD, "k", "t", big, NULL, &s));
    assert_int_equal(s.sequence, 8);
    const struct adapter_property user[] = {{"x", 1, "1.2.3.4.5", 9}, {"iotix-stamp", 11, "1.2.3.6.5", 9}};
    const struct adapter_meta meta = {.user = user, .n_user = 2}, other = {.user = user, .n_user = 1};
    assert_true(find(STAMP_PROPERTY, "", "t", "", &meta, &s));
    assert_int_equal(s.sequence, 6);
    assert_false(find(STAMP_PROPERTY, "", "t", "", &other, &s));
    assert_false(find(STAMP_PROPERTY, "", "t", "", NULL, &s));
    assert_false(find(STAMP_NONE, "", "a/1.2.3.4.5", "", NULL, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(rules_are_checked),
        cmocka_unit_test(they_are_found_where_the_rule_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
