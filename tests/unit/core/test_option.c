#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonx.h"
#include "core/option.h"
#include "core/units.h"

static void rates_have_units_of_bits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double rate;
    } good[] = {{"500kbit", 5e5}, {"1.5mbit", 1.5e6}, {"2Gbit/s", 2e9}, {"9600bit", 9600}, {"64 kbit/s", 64000},
                {"9600", 9600},   {"0", 0},           {"0.5kbit", 500}, {"10MBIT", 1e7},   {"1.25", 1.25}};
    static const struct {
        const char *text, *why;
    } bad[] = {{"500kbps", "bits or bytes"},  {"1MB/s", "bits or bytes"}, {"5k", "bits or bytes"},
               {"5/s", "bits or bytes"},      {"kbit", "is not a rate"},  {"", "is not a rate"},
               {"-5kbit", "is negative"},     {"1e6", "bits or bytes"},   {"5kbit fast", "bits or bytes"},
               {"5kbit/s/s", "bits or bytes"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double rate = -1;
        struct error err = {0};
        if (rate_parse(good[i].text, &rate, &err) || rate != good[i].rate)
            fail_msg("%s: %g %s", good[i].text, rate, err.text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double rate;
        struct error err = {0};
        assert_int_equal(rate_parse(bad[i].text, &rate, &err), -1);
        if (!strstr(err.text, bad[i].why))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
    char large[400];
    double rate;
    memset(large, '9', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_int_equal(rate_parse(large, &rate, NULL), -1);
    memcpy(large + sizeof large - 5, "gbit", 5);
    assert_int_equal(rate_parse(large, &rate, NULL), -1);
}

static void rates_are_written_for_people(void **state)
{
    (void)state;
    static const struct {
        double rate;
        const char *text;
    } cases[] = {{1, "1 bit/s"},         {999, "999 bit/s"},   {999.9, "999.9 bit/s"}, {999.96, "1 kbit/s"},
                 {500000, "500 kbit/s"}, {999999, "1 Mbit/s"}, {1.5e6, "1.5 Mbit/s"},  {2.5e9, "2.5 Gbit/s"},
                 {1e12, "1000 Gbit/s"},  {0, "0 bit/s"},       {12345, "12.35 kbit/s"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        assert_string_equal(rate_format(cases[i].rate, text, sizeof text), cases[i].text);
    }
}

static void shares_are_of_the_whole(void **state)
{
    (void)state;
    static const char *const bad[] = {"5", "101%", "1.01", "-1%", "%", "", "five", "5 % of", "5%%", "1e-3", "nan"};
    double share;
    assert_true(share_parse("5%", &share, NULL) == 0 && share == 0.05);
    assert_true(share_parse("0.1 %", &share, NULL) == 0 && share == 0.001);
    assert_true(share_parse("0.05", &share, NULL) == 0 && share == 0.05);
    assert_true(share_parse("100%", &share, NULL) == 0 && share == 1);
    assert_true(share_parse("1", &share, NULL) == 0 && share == 1);
    assert_true(share_parse("0", &share, NULL) == 0 && share == 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        if (share_parse(bad[i], &share, &err) == 0)
            fail_msg("\"%s\" was taken as %g", bad[i], share);
        assert_non_null(strstr(err.text, "share such as 5%"));
    }
}

static json_t *json_of(const char *text)
{
    json_t *list = json_parse(text, strlen(text), "test", NULL);
    assert_non_null(list);
    return list;
}

static void values_are_read_as_text_or_number(void **state)
{
    (void)state;
    double d;
    struct error err = {0};
    static const char *const names[] = {"red", "green", NULL};
    json_t *v = json_of("[\"5%\", 0.05, 7, \"1kbit\", 1000, null, {\"red\":1}, {\"gren\":1}, \"green\", \"grean\"]");
#define AT(i) json_array_get(v, (i))
    assert_true(option_share("x", AT(0), 0, 1, &d, &err) == 0 && d == 0.05);
    assert_true(option_share("x", AT(1), 0, 1, &d, &err) == 0 && d == 0.05);
    assert_int_equal(option_share("x", AT(2), 0, 1, &d, &err), -1);
    assert_string_equal(err.text, "x: expected a share like \"5%\" or 0.05 from 0 % to 100 %, got 7");
    assert_int_equal(option_share("x", NULL, 0, 1, &d, &err), -1);
    assert_non_null(strstr(err.text, "got nothing"));
    assert_true(option_rate("x", AT(3), 1, 1e6, &d, &err) == 0 && d == 1000);
    assert_true(option_rate("x", AT(4), 1, 1e6, &d, &err) == 0 && d == 1000);
    assert_int_equal(option_rate("x", AT(5), 1, 1e6, &d, &err), -1);
    assert_non_null(strstr(err.text, "from 1 bit/s to 1 Mbit/s, got null"));
    assert_int_equal(option_rate("x", AT(3), 2000, 1e6, &d, &err), -1);
    assert_int_equal(option_rate("x", AT(0), 1, 1e6, &d, &err), -1);
    assert_non_null(strstr(err.text, "x: \"5%\""));
    assert_int_equal(option_object("x", AT(6), "{red}", names, &err), 0);
    assert_int_equal(option_object("x", AT(7), "{red}", names, &err), -1);
    assert_string_equal(err.text, "x: unknown key \"gren\"; valid: red, green; did you mean \"green\"?");
    assert_int_equal(option_object("x", AT(2), "{red}", names, &err), -1);
    assert_string_equal(err.text, "x: expected {red}, got 7");
    assert_int_equal(option_choice("x", AT(8), names, &err), 1);
    assert_int_equal(option_choice("x", AT(9), names, &err), -1);
    assert_non_null(strstr(err.text, "did you mean \"green\"?"));
    assert_int_equal(option_choice("x", AT(1), names, &err), -1);
    assert_string_equal(err.text, "x: expected red, green, got 0.05");
    json_decref(v);
}

static void whole_numbers_are_written_without_a_point(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{5, "5"}, {-3, "-3"}, {0, "0"}, {0.25, "0.25"}, {1e15, "1000000000000000"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *v = json_num(cases[i].v);
        char *text = json_dumps(v, JSON_ENCODE_ANY);
        assert_string_equal(text, cases[i].text);
        free(text);
        json_decref(v);
    }
    json_t *v = json_num(NAN);
    assert_true(json_is_null(v));
    v = json_num(1e300);
    assert_true(json_is_real(v) && json_real_value(v) == 1e300);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_have_units_of_bits),
        cmocka_unit_test(rates_are_written_for_people),
        cmocka_unit_test(shares_are_of_the_whole),
        cmocka_unit_test(values_are_read_as_text_or_number),
        cmocka_unit_test(whole_numbers_are_written_without_a_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
