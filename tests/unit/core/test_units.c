#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/rng.h"
#include "core/units.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {{"250us", 250},
                {"250\xc2\xb5s", 250},
                {"10ms", 10000},
                {"1.5s", 1500000},
                {"2m", 120000000},
                {"1h", 3600000000},
                {"7d", 604800000000},
                {"1m30s", 90000000},
                {"1h0m0.5s", 3600500000},
                {"0.1s", 100000},
                {"0.0000001s", 0},
                {"0", 0},
                {"0s", 0},
                {"36500d", 3153600000000000}};
    struct error err;
    int64_t us;
    for (size_t i = 0; i < COUNT(good); i++) {
        if (duration_parse(good[i].text, false, &us, &err))
            fail_msg("%s: %s", good[i].text, err.text);
        assert_int_equal(us, good[i].us);
    }
    assert_int_equal(duration_parse("1.5", true, &us, &err), 0);
    assert_int_equal(us, 1500000);
    static const char *const bad[] = {"",
                                      "5",
                                      "-1s",
                                      "s",
                                      "1.s",
                                      ".5s",
                                      "1e3s",
                                      "1 s",
                                      "1s ",
                                      "5sec",
                                      "1s1m",
                                      "1s1s",
                                      "1m30",
                                      "nan",
                                      "inf",
                                      "0x10s",
                                      "40000d",
                                      "1..5s",
                                      "999999999999999999999999999999999999999d",
                                      "10mss"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        us = -7;
        error_clear(&err);
        if (duration_parse(bad[i], false, &us, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(us, -7);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(duration_parse("5", false, &us, &err), -1);
    assert_non_null(strstr(err.text, "no unit"));
    assert_int_equal(duration_parse("1m30", true, &us, &err), -1);
}

static void durations_from_seconds(void **state)
{
    (void)state;
    struct error err;
    int64_t us;
    assert_int_equal(duration_from_seconds(0.1, &us, &err), 0);
    assert_int_equal(us, 100000);
    assert_int_equal(duration_from_seconds(0, &us, &err), 0);
    assert_int_equal(duration_from_seconds(-0.001, &us, &err), -1);
    assert_int_equal(duration_from_seconds(NAN, &us, &err), -1);
    assert_int_equal(duration_from_seconds(INFINITY, &us, &err), -1);
    assert_int_equal(duration_from_seconds(4e9, &us, &err), -1);
}

static void durations_are_short(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {{0, "0 us"},
                 {850, "850 us"},
                 {999, "999 us"},
                 {1000, "1.0 ms"},
                 {3100, "3.1 ms"},
                 {21400, "21.4 ms"},
                 {99949, "99.9 ms"},
                 {99950, "100 ms"},
                 {212000, "212 ms"},
                 {999499, "999 ms"},
                 {999500, "1.00 s"},
                 {1200000, "1.20 s"},
                 {9994999, "9.99 s"},
                 {9995000, "10.0 s"},
                 {59949999, "59.9 s"},
                 {59950000, "1m00s"},
                 {125000000, "2m05s"},
                 {3599499999, "59m59s"},
                 {3599500000, "1h00m"},
                 {4200000000, "1h10m"},
                 {86369499999, "23h59m"},
                 {86369500000, "1d00h"},
                 {273600000000, "3d04h"},
                 {-3100, "-3.1 ms"}};
    char text[32];
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(duration_format(cases[i].us, text, sizeof(text)), cases[i].text);
    assert_string_equal(duration_format(125000000, text, 4), "2m0"); // cut, not overrun
}

static void counts_and_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t n;
    } counts[] = {{"0", 0},        {"250", 250},    {"10k", 10000},      {"10K", 10000},
                  {"1m", 1000000}, {"1_000", 1000}, {"1_000k", 1000000}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad_counts[] = {"",
                                             "-1",
                                             "1.5",
                                             "1.5k",
                                             "k",
                                             "1kk",
                                             "1__0",
                                             "_1",
                                             "1_",
                                             " 1",
                                             "1 ",
                                             "0x10",
                                             "18446744073709551616",
                                             "18446744073709552k",
                                             "1g"};
    static const struct {
        const char *text;
        uint64_t n;
    } sizes[] = {{"4096", 4096},
                 {"64KB", 65536},
                 {"64k", 65536},
                 {"1MB", 1048576},
                 {"1.5MiB", 1572864},
                 {"2GB", 2147483648},
                 {"0", 0},
                 {"12B", 12},
                 {"16777215TB", 16777215ull << 40},
                 {"18446744073709551615", UINT64_MAX}};
    static const char *const bad_sizes[] = {"",    "-1",  "KB",         "1 KB", "1XB",
                                            "nan", "1e3", "16777216TB", "1.",   "99999999999999999999"};
    struct error err;
    uint64_t n;
    for (size_t i = 0; i < COUNT(counts); i++) {
        if (count_parse(counts[i].text, &n, &err))
            fail_msg("%s", err.text);
        assert_true(n == counts[i].n);
    }
    for (size_t i = 0; i < COUNT(bad_counts); i++)
        if (count_parse(bad_counts[i], &n, &err) == 0)
            fail_msg("\"%s\" was taken", bad_counts[i]);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        if (size_parse(sizes[i].text, &n, &err))
            fail_msg("%s", err.text);
        assert_true(n == sizes[i].n);
    }
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        if (size_parse(bad_sizes[i], &n, &err) == 0)
            fail_msg("\"%s\" was taken", bad_sizes[i]);
    char text[32];
    assert_string_equal(count_format(0, text, sizeof(text)), "0");
    assert_string_equal(count_format(999, text, sizeof(text)), "999");
    assert_string_equal(count_format(1000, text, sizeof(text)), "1,000");
    assert_string_equal(count_format(12345678, text, sizeof(text)), "12,345,678");
    assert_string_equal(count_format(UINT64_MAX, text, sizeof(text)), "18,446,744,073,709,551,615");
    assert_string_equal(size_format(812, text, sizeof(text)), "812 B");
    assert_string_equal(size_format(1023.99, text, sizeof(text)), "1.0 KB");
    assert_string_equal(size_format(12.1 * 1048576, text, sizeof(text)), "12.1 MB");
    assert_string_equal(size_format(4.4 * 1073741824, text, sizeof(text)), "4.4 GB");
}

static void numbers(void **state)
{
    (void)state;
    struct error err;
    int64_t n;
    double d;
    assert_int_equal(int_parse("-42", -100, 100, &n, &err), 0);
    assert_int_equal(n, -42);
    assert_int_equal(int_parse("9223372036854775807", INT64_MIN, INT64_MAX, &n, &err), 0);
    static const char *const bad[] = {"", " 1", "1 ", "1x", "0x1", "101", "-101", "--1", "1.0", "99999999999999999999"};
    for (size_t i = 0; i < COUNT(bad); i++)
        if (int_parse(bad[i], -100, 100, &n, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_int_equal(int_parse("101", -100, 100, &n, &err), -1);
    assert_non_null(strstr(err.text, "-100 to 100"));
    assert_int_equal(double_parse("-1.5e3", &d, &err), 0);
    assert_true(d == -1500);
    static const char *const bad_d[] = {"", " 1", "1 ", "nan", "inf", "0x10", "1e", "1e999", "1,5", "."};
    for (size_t i = 0; i < COUNT(bad_d); i++)
        if (double_parse(bad_d[i], &d, &err) == 0)
            fail_msg("\"%s\" was taken", bad_d[i]);
}

static void suggestions(void **state)
{
    (void)state;
    static const char *const keys[] = {"name", "count", "model", "behaviour", "launch", NULL};
    assert_string_equal(suggest("cuont", keys), "count");
    assert_string_equal(suggest("behavior", keys), "behaviour");
    assert_string_equal(suggest("Count", keys), "count");
    assert_string_equal(suggest("nmae", keys), "name");
    assert_string_equal(suggest("lanch", keys), "launch");
    assert_null(suggest("zzz", keys));
    assert_null(suggest("", keys));
    assert_null(suggest("x", keys));
    char longest[200];
    memset(longest, 'a', sizeof(longest));
    longest[199] = '\0';
    assert_null(suggest(longest, keys));
    const char *const odd[] = {longest, "aaaa", NULL};
    assert_string_equal(suggest("aaab", odd), "aaaa");
}

// No text crashes a parser, and what is taken keeps the promises.
static void any_text(void **state)
{
    (void)state;
    static const char letters[] = "0123456789..__-+eEkKmMgGbBuschd\xc2\xb5 \xff";
    static const char *const keys[] = {"name", "count", NULL};
    struct rng rng;
    rng_seed(&rng, 11);
    for (int i = 0; i < 300000; i++) {
        char text[24];
        size_t n = rng_below(&rng, sizeof(text));
        for (size_t j = 0; j < n; j++)
            text[j] = letters[rng_below(&rng, sizeof(letters) - 1)];
        text[n] = '\0';
        int64_t us;
        uint64_t count;
        double d;
        if (duration_parse(text, true, &us, NULL) == 0)
            assert_true(us >= 0 && us <= 3162240000000000);
        if (int_parse(text, -5, 5, &us, NULL) == 0)
            assert_true(us >= -5 && us <= 5);
        if (double_parse(text, &d, NULL) == 0)
            assert_true(isfinite(d));
        (void)(count_parse(text, &count, NULL) + size_parse(text, &count, NULL));
        suggest(text, keys);
    }
}

static void unknown_words_name_the_valid_ones(void **state)
{
    (void)state;
    static const char *const words[] = {"little", "big", NULL}, *const none[] = {NULL};
    struct error err = {0};
    char list[12];
    assert_int_equal(name_choose("endian", "big", words, &err), 1);
    assert_int_equal(name_choose("endian", "bih", words, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.text, "endian \"bih\"; valid: little, big; did you mean \"big\"?");
    assert_int_equal(error_unknown(&err, "endian", "sideways", words), -1);
    assert_string_equal(err.text, "endian \"sideways\"; valid: little, big");
    assert_int_equal(error_unknown(&err, "unknown parameter", "x", none), -1);
    assert_string_equal(err.text, "unknown parameter \"x\"; valid: none");
    assert_string_equal(names_join(words, list, sizeof(list)), "little, big");
    assert_string_equal(names_join(words, list, 11), "little"); // what does not fit is left out whole
    assert_string_equal(names_join(none, list, sizeof(list)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(durations_from_seconds),
        cmocka_unit_test(durations_are_short),
        cmocka_unit_test(counts_and_sizes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(suggestions),
        cmocka_unit_test(any_text),
        cmocka_unit_test(unknown_words_name_the_valid_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
