#include <float.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/rng.h"

static void assert_text(struct buf *b, const char *expected)
{
    assert_string_equal(buf_cstr(b), expected);
    buf_clear(b);
}

static void at_the_cap_every_appender_fails_and_changes_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 10);
    assert_int_equal(buf_append(&b, "01234567", 8), 0);
    assert_int_equal(buf_append(&b, "abc", 3), -1);
    assert_int_equal(buf_append_str(&b, "abc"), -1);
    assert_int_equal(buf_printf(&b, "%d", 123), -1);
    assert_int_equal(buf_append_int(&b, -12), -1);
    assert_int_equal(buf_append_number(&b, 1.5, 2), -1);
    assert_int_equal(buf_append_number(&b, NAN, 2), -1);
    assert_int_equal(buf_append_number(&b, 1e300, 2), -1);
    assert_int_equal(buf_append_json_string(&b, "a", 1), -1);
    assert_int_equal(buf_append_varint(&b, 1 << 14), -1);
    assert_null(buf_reserve(&b, 3));
    assert_null(buf_reserve(&b, UINT32_MAX));
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.data, "01234567", 8);
    assert_int_equal(buf_printf(&b, "%d", 12), 0); // exactly full: no room for printf's NUL
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "0123456712", 10);
    assert_int_equal(buf_append_char(&b, 'x'), -1);
    assert_string_equal(buf_cstr(&b), "");
    assert_int_equal(buf_append(&b, "", 0), 0);
    buf_consume(&b, 8);
    assert_text(&b, "12");
    buf_destroy(&b);
    assert_int_equal(buf_append_char(&b, 'x'), 0); // usable again
    assert_text(&b, "x");
    buf_destroy(&b);
}

static void grows_and_consumes(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 1 << 20);
    assert_null(b.data);
    assert_string_equal(buf_cstr(&b), "");
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf_printf(&b, "%05d", i), 0);
    assert_int_equal(b.len, 500000);
    assert_memory_equal(b.data + 5 * 54321, "54321", 5);
    buf_consume(&b, 5 * 54321);
    assert_memory_equal(b.data, "54321", 5);
    buf_consume(&b, b.len);
    assert_int_equal(b.len, 0);
    buf_destroy(&b);
}

static void integers(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 64);
    static const int64_t values[] = {0, 1, -1, 9, 10, 99, 100, 101, 12345, -12345, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "%lld", (long long)values[i]);
        assert_int_equal(buf_append_int(&b, values[i]), 0);
        assert_text(&b, expected);
    }
    buf_destroy(&b);
}

static void numbers_read_well(void **state)
{
    (void)state;
    static const struct {
        double v;
        int decimals;
        const char *text;
    } cases[] = {{0, 2, "0"},
                 {-0.0, 2, "0"},
                 {21, 2, "21"},
                 {21.5, 0, "22"},
                 {-21.5, 0, "-22"},
                 {20.5, 0, "21"}, // half away from zero, not to even
                 {0.125, 2, "0.13"},
                 {-0.125, 2, "-0.13"},
                 {0.49999999999999994, 0, "0"},
                 {21.50, 2, "21.5"},
                 {21.004, 2, "21"},
                 {21.05, 2, "21.05"},
                 {0.999, 2, "1"},
                 {9.999, 2, "10"},
                 {-0.001, 2, "0"},
                 {0.001, 2, "0"},
                 {1e-9, 9, "0.000000001"},
                 {0.1, 9, "0.1"},
                 {0.1, 42, "0.1"},
                 {0.1 + 0.2, -1, "0.3"},
                 {1.0 / 3, -1, "0.333333"},
                 {1e-7, -1, "1e-07"},
                 {-1e-7, -1, "-1e-07"},
                 {1e-7, 6, "0"},
                 {999999999.999999, 6, "999999999.999999"},
                 {1234567890123456, 3, "1234567890123456"},
                 {9007199254740992, 3, "9007199254740992"},
                 {1e16, 3, "1e+16"},
                 {-1e300, 3, "-1e+300"},
                 {DBL_MIN, 9, "0"},
                 {NAN, 3, "null"},
                 {INFINITY, 3, "null"},
                 {-INFINITY, 3, "null"}};
    struct buf b;
    buf_create(&b, 64);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(buf_append_number(&b, cases[i].v, cases[i].decimals), 0);
        assert_text(&b, cases[i].text);
    }
    buf_destroy(&b);
}

// Against strtod: what is read back differs by no more than rounding, and no shorter text would have done.
static void a_million_random_numbers_round_trip(void **state)
{
    (void)state;
    static const double half[] = {0.5, 0.05, 0.005, 5e-4, 5e-5, 5e-6, 5e-7, 5e-8, 5e-9, 5e-10};
    struct buf b;
    struct rng rng;
    buf_create(&b, 64);
    rng_seed(&rng, 20240607);
    for (int i = 0; i < 1000000; i++) {
        int decimals = (int)rng_below(&rng, 10);
        double magnitude = pow(10, rng_unit(&rng) * 20 - 6);
        double v = (rng_unit(&rng) * 2 - 1) * magnitude;
        if (fabs(v) > 0x1p53)
            v = ldexp(v, -20);
        if (buf_append_number(&b, v, decimals))
            fail_msg("%.17g", v);
        const char *text = buf_cstr(&b);
        char *end;
        double parsed = strtod(text, &end);
        // One rounding of the text and one of strtod's result.
        if (*end || fabs(parsed - v) > half[decimals] * 1.0000001 + fabs(v) * DBL_EPSILON)
            fail_msg("%.17g with %d decimals became %s", v, decimals, text);
        const char *point = strchr(text, '.');
        if (point && (strlen(point + 1) > (size_t)decimals || text[b.len - 1] == '0'))
            fail_msg("%.17g with %d decimals became %s", v, decimals, text);
        buf_clear(&b);
    }
    buf_destroy(&b);
}

static void json_strings(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } cases[] = {{"", 0, "\"\""},
                 {"plain", 5, "\"plain\""},
                 {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
                 {"\b\f\n\r\t\x01\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
                 {"a\0b", 3, "\"a\\u0000b\""},
                 {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 15,
                  "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\""},
                 {"\xff", 1, "\"\xef\xbf\xbd\""},
                 {"\xc3", 1, "\"\xef\xbf\xbd\""},                 // cut
                 {"\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""}, // overlong
                 {"\xe0\x80\xaf", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
                 {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, // surrogate
                 {"\xf4\x90\x80\x80", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
                 {"\xc3(", 2, "\"\xef\xbf\xbd(\""}};
    struct buf b;
    buf_create(&b, 256);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(buf_append_json_string(&b, cases[i].in, cases[i].n), 0);
        assert_text(&b, cases[i].out);
    }
    buf_destroy(&b);
}

static void any_bytes_become_a_valid_json_string(void **state)
{
    (void)state;
    struct rng rng;
    struct buf b;
    rng_seed(&rng, 7);
    buf_create(&b, 1024);
    for (int i = 0; i < 20000; i++) {
        char bytes[64];
        size_t n = rng_below(&rng, sizeof(bytes));
        for (size_t j = 0; j < n; j++)
            bytes[j] = (char)(rng_below(&rng, 3) ? 0x70 + rng_below(&rng, 0x90) : rng_below(&rng, 256));
        assert_int_equal(buf_append_json_string(&b, bytes, n), 0);
        json_error_t why;
        json_t *v = json_loadb((char *)b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (!v)
            fail_msg("%s", why.text);
        json_decref(v);
        buf_clear(&b);
    }
    buf_destroy(&b);
}

static void varints(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 64);
    for (int shift = 0; shift < 64; shift++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t v = (1ull << shift) + (uint64_t)delta, back;
            assert_int_equal(buf_append_varint(&b, v), 0);
            assert_int_equal(varint_read(b.data, b.len, &back), b.len);
            assert_int_equal(back, v);
            if (b.len > 1)
                assert_int_equal(varint_read(b.data, b.len - 1, &back), 0);
            buf_clear(&b);
        }
    }
    uint64_t back;
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    static const uint8_t too_large[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    assert_int_equal(varint_read(endless, sizeof(endless), &back), 0);
    assert_int_equal(varint_read(too_large, sizeof(too_large), &back), 0);
    assert_int_equal(varint_read(endless, 0, &back), 0);
    buf_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_the_cap_every_appender_fails_and_changes_nothing),
        cmocka_unit_test(grows_and_consumes),
        cmocka_unit_test(integers),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(a_million_random_numbers_round_trip),
        cmocka_unit_test(json_strings),
        cmocka_unit_test(any_bytes_become_a_valid_json_string),
        cmocka_unit_test(varints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
