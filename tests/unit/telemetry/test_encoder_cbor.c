// CBOR: the vectors of RFC 8949, appendix A, written and read; JSON texts; what is malformed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "telemetry/cbor.h"

static size_t from_hex(const char *hex, uint8_t *to)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        to[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static void expect_hex(const struct buf *out, const char *hex, const char *what)
{
    static const char digits[] = "0123456789abcdef";
    char got[512];
    assert_true(out->len * 2 < sizeof(got));
    for (uint32_t i = 0; i < out->len; i++) {
        got[2 * i] = digits[out->data[i] >> 4];
        got[2 * i + 1] = digits[out->data[i] & 15];
    }
    got[2 * out->len] = '\0';
    if (strcmp(got, hex) != 0)
        fail_msg("%s: got %s, expected %s", what, got, hex);
}

// --- writing ------------------------------------------------------------------------------------------------------

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        const char *hex;
    } cases[] = {{0, "00"},
                 {1, "01"},
                 {10, "0a"},
                 {23, "17"},
                 {24, "1818"},
                 {25, "1819"},
                 {100, "1864"},
                 {1000, "1903e8"},
                 {1000000, "1a000f4240"},
                 {1000000000000, "1b000000e8d4a51000"},
                 {-1, "20"},
                 {-10, "29"},
                 {-100, "3863"},
                 {-1000, "3903e7"},
                 {INT64_MAX, "1b7fffffffffffffff"},
                 {INT64_MIN, "3b7fffffffffffffff"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_create(&out, 16);
        assert_int_equal(cbor_put_int(&out, cases[i].v), 0);
        expect_hex(&out, cases[i].hex, "integer");
        buf_destroy(&out);
    }
    struct buf out;
    buf_create(&out, 16);
    assert_int_equal(cbor_put_head(&out, CBOR_UINT, UINT64_MAX), 0);
    expect_hex(&out, "1bffffffffffffffff", "2^64-1");
    buf_clear(&out);
    assert_int_equal(cbor_put_head(&out, CBOR_NINT, UINT64_MAX), 0);
    expect_hex(&out, "3bffffffffffffffff", "-2^64");
    buf_destroy(&out);
}

static const struct {
    double v;
    const char *hex;
} reals[] = {{0.0, "f90000"},
             {-0.0, "f98000"},
             {1.0, "f93c00"},
             {1.1, "fb3ff199999999999a"},
             {1.5, "f93e00"},
             {65504.0, "f97bff"},
             {100000.0, "fa47c35000"},
             {3.4028234663852886e+38, "fa7f7fffff"},
             {1.0e+300, "fb7e37e43c8800759c"},
             {5.960464477539063e-8, "f90001"},
             {0.00006103515625, "f90400"},
             {-4.0, "f9c400"},
             {-4.1, "fbc010666666666666"},
             {INFINITY, "f97c00"},
             {-INFINITY, "f9fc00"},
             {NAN, "f97e00"},
             // and the edges between the three widths
             {65505.0, "fa477fe100"},
             {65520.0, "fa477ff000"},
             {65536.0, "fa47800000"},
             {0x1.000002p-15, "fa38000001"},
             {0x1p-25, "fa33000000"},
             {0x1.8p-24, "fa33c00000"},
             {0x1.8p-23, "f90003"},
             {0x1.ff8p-15, "f903ff"},
             {0x1p-149, "fa00000001"},
             {0x1p-150, "fb3690000000000000"},
             {0x1.000001p0, "fb3ff0000010000000"},
             {0x1.fffffefp127, "fb47efffffef000000"}};

static void test_floats_are_the_shortest_that_is_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
        struct buf out;
        struct cbor_item item;
        buf_create(&out, 16);
        assert_int_equal(cbor_put_double(&out, reals[i].v), 0);
        expect_hex(&out, reals[i].hex, "float");
        assert_int_equal(cbor_read(out.data, out.len, &item), out.len);
        assert_true(item.real);
        if (isnan(reals[i].v))
            assert_true(isnan(item.number));
        else
            assert_memory_equal(&item.number, &reals[i].v, sizeof(double));
        buf_destroy(&out);
    }
    // every half there is comes back as itself
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint8_t bytes[3] = {0xf9, (uint8_t)(h >> 8), (uint8_t)h}, again[CBOR_HEAD_MAX];
        struct cbor_item item;
        assert_int_equal(cbor_read(bytes, 3, &item), 3);
        if (isnan(item.number))
            continue;
        assert_int_equal(cbor_double(again, item.number), 3);
        assert_memory_equal(bytes, again, 3);
    }
}

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        const char *s, *hex;
    } cases[] = {{"", "60"},
                 {"a", "6161"},
                 {"IETF", "6449455446"},
                 {"\"\\", "62225c"},
                 {"\xc3\xbc", "62c3bc"},
                 {"\xe6\xb0\xb4", "63e6b0b4"},
                 {"\xf0\x90\x85\x91", "64f0908591"},
                 {"a\xff\x62", "6561efbfbd62"},
                 {"\xed\xa0\x80", "69efbfbdefbfbdefbfbd"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_create(&out, 64);
        assert_int_equal(cbor_put_text(&out, cases[i].s, strlen(cases[i].s)), 0);
        expect_hex(&out, cases[i].hex, cases[i].s);
        buf_destroy(&out);
    }
    struct buf out;
    buf_create(&out, 5);
    assert_int_equal(cbor_put_bytes(&out, "\x01\x02\x03\x04", 4), 0);
    expect_hex(&out, "4401020304", "bytes");
    assert_int_equal(cbor_put_bytes(&out, "", 0), -1);
    assert_int_equal(cbor_put_text(&out, "x", 1), -1);
    assert_int_equal(out.len, 5);
    buf_destroy(&out);
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        const char *json, *hex;
    } cases[] = {
        {"[]", "80"},
        {"[1,2,3]", "83010203"},
        {"[1, [2, 3], [4, 5]]", "8301820203820405"},
        {"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]",
         "98190102030405060708090a0b0c0d0e0f101112131415161718181819"},
        {"{}", "a0"},
        {"{\"a\": 1, \"b\": [2, 3]}", "a26161016162820203"},
        {" [\"a\" , {\"b\":\"c\"} ] ", "826161a161626163"},
        {"{\"a\":\"A\",\"b\":\"B\",\"c\":\"C\",\"d\":\"D\",\"e\":\"E\"}", "a56161614161626142616361436164614461656145"},
        {"[true,false,null]", "83f5f4f6"},
        {"18446744073709551615", "1bffffffffffffffff"},
        {"-18446744073709551615", "3bfffffffffffffffe"},
        {"-18446744073709551616", "fadf800000"},
        {"18446744073709551616", "fa5f800000"},
        {"-1000", "3903e7"},
        {"-0", "f98000"},
        {"1.0", "f93c00"},
        {"1e3", "f963d0"},
        {"1.1", "fb3ff199999999999a"},
        {"\"\\u00fc\"", "62c3bc"},
        {"\"\\u6c34\\n\"", "64e6b0b40a"},
        {"\"\\ud800\\udd51\"", "64f0908591"},
        {"\"\\ud800x\\udc00\"", "67efbfbd78efbfbd"},
        {"\"\\ud800\\u0041\"", "64efbfbd41"},
        {"\"\\\"\\\\\\/\\b\\f\\r\\t\"", "67225c2f080c0d09"},
        {"\"abcdefghijklmnopqrstuvw\\u0041\"", "78186162636465666768696a6b6c6d6e6f707172737475767741"},
        // no JSON: null
        {"", "f6"},
        {"[1,", "f6"},
        {"[1 2]", "f6"},
        {"[1],", "f6"},
        {"{\"a\"}", "f6"},
        {"{1:2}", "f6"},
        {"\"abc", "f6"},
        {"\"\\x\"", "f6"},
        {"\"\\u12\"", "f6"},
        {"\"\\", "f6"},
        {"nul", "f6"},
        {"-", "f6"},
        {"1-2", "f6"},
        {"1e999", "f6"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        size_t n = strlen(cases[i].json);
        char *exact = malloc(n + 1); // a copy without NUL behind it: reading on shows in a sanitizer
        assert_non_null(exact);
        memcpy(exact, cases[i].json, n);
        exact = realloc(exact, n ? n : 1);
        buf_create(&out, 256);
        assert_int_equal(cbor_put_json(&out, exact, n), 0);
        expect_hex(&out, cases[i].hex, cases[i].json);
        // no room at any length: refused, and nothing is left behind
        for (uint32_t cap = 1; cap < out.len; cap++) {
            struct buf tight;
            buf_create(&tight, cap);
            assert_int_equal(cbor_put_json(&tight, exact, n), -1);
            assert_int_equal(tight.len, 0);
            buf_destroy(&tight);
        }
        buf_destroy(&out);
        free(exact);
    }
    char deep[200];
    struct buf out;
    buf_create(&out, 256);
    memset(deep, '[', 66);
    memset(deep + 66, ']', 66);
    assert_int_equal(cbor_put_json(&out, deep, 132), 0);
    expect_hex(&out, "f6", "66 levels");
    buf_destroy(&out);
}

// --- reading ------------------------------------------------------------------------------------------------------

static void test_well_formed(void **state)
{
    (void)state;
    static const char *const cases[] = {"00",
                                        "1818",
                                        "3bffffffffffffffff",
                                        "f7",
                                        "f0",
                                        "f8ff",
                                        "c074323031332d30332d32315432303a30343a30305a",
                                        "c11a514b67b0",
                                        "d74401020304",
                                        "d818456449455446",
                                        "c249010000000000000000",
                                        "40",
                                        "4401020304",
                                        "64f0908591",
                                        "8301820203820405",
                                        "a201020304",
                                        "826161a161626163",
                                        "5f42010243030405ff",
                                        "7f657374726561646d696e67ff",
                                        "9fff",
                                        "9f018202039f0405ffff",
                                        "83018202039f0405ff",
                                        "bf61610161629f0203ffff",
                                        "bf6346756ef563416d7421ff",
                                        "5fff",
                                        "a0",
                                        "80",
                                        "c080",
                                        "d9d9f780",
                                        "fa7fc00000",
                                        "fb7ff0000000000000"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[64];
        struct error err = {0};
        size_t n = from_hex(cases[i], bytes);
        if (cbor_check(bytes, n, 1000, &err))
            fail_msg("%s: %s", cases[i], err.text);
        // cut off anywhere, it is no item; with a byte more there is something behind it
        for (size_t k = 0; k < n; k++) {
            uint8_t *cut = malloc(k + 1);
            memcpy(cut, bytes, k);
            cut = realloc(cut, k ? k : 1);
            assert_int_equal(cbor_check(cut, k, 1000, NULL), -1);
            free(cut);
        }
        bytes[n] = 0;
        assert_int_equal(cbor_check(bytes, n + 1, 1000, NULL), -1);
    }
}

static void test_malformed(void **state)
{
    (void)state;
    // RFC 8949, appendix F, and UTF-8
    static const char *const cases[] = {"1c",
                                        "1d",
                                        "1e",
                                        "3c",
                                        "5d",
                                        "7e",
                                        "9c",
                                        "bd",
                                        "de",
                                        "fc",
                                        "fe",
                                        "1f",
                                        "3f",
                                        "df",
                                        "f800",
                                        "f818",
                                        "f81f",
                                        "5f00ff",
                                        "5f21ff",
                                        "5f6100ff",
                                        "5f80ff",
                                        "5fa0ff",
                                        "5fc000ff",
                                        "5fe0ff",
                                        "7f4100ff",
                                        "5f5f4100ffff",
                                        "7f7f6100ffff",
                                        "ff",
                                        "81ff",
                                        "8200ff",
                                        "a1ff",
                                        "a1ff00",
                                        "a100ff",
                                        "a20000ff",
                                        "9f81ff",
                                        "9f829f819f9fffffffff",
                                        "bf00ff",
                                        "bf000000ff",
                                        "c0ff",
                                        "61ff",
                                        "62c328",
                                        "63eda080",
                                        "7f61c361bcff",
                                        "5bffffffffffffffff00",
                                        "9bffffffffffffffff00",
                                        "bbffffffffffffffff0000",
                                        "bb80000000000000000000",
                                        "9a7fffffff"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[64];
        struct error err = {0};
        size_t n = from_hex(cases[i], bytes);
        if (cbor_check(bytes, n, 1000, &err) == 0)
            fail_msg("%s was accepted", cases[i]);
        assert_int_equal(err.code, ERR_INVALID);
        assert_non_null(strstr(err.text, "CBOR: "));
    }
}

static void test_limits(void **state)
{
    (void)state;
    uint8_t deep[80], many[8] = {0x84, 1, 2, 3, 4};
    struct error err = {0};
    memset(deep, 0x81, sizeof(deep));
    deep[64] = 0;
    assert_int_equal(cbor_check(deep, 65, 1000, &err), 0);
    deep[64] = 0x81;
    deep[65] = 0;
    assert_int_equal(cbor_check(deep, 66, 1000, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(cbor_check(many, 5, 5, &err), 0);
    assert_int_equal(cbor_check(many, 5, 4, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(cbor_check(many, 0, 4, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),    cmocka_unit_test(test_floats_are_the_shortest_that_is_exact),
        cmocka_unit_test(test_strings),     cmocka_unit_test(test_json),
        cmocka_unit_test(test_well_formed), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
