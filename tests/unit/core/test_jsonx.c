#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonx.h"

static void refuses(const char *text, size_t n, const char *where)
{
    struct error err;
    json_t *v = json_parse(text, n, "conf.json", &err);
    if (v)
        fail_msg("%s was taken", text);
    assert_int_equal(err.code, ERR_INVALID);
    if (strncmp(err.text, where, strlen(where)))
        fail_msg("%s", err.text);
}

static void bad_text_is_refused_with_its_place(void **state)
{
    (void)state;
    refuses("", 0, "conf.json:1:");
    refuses("{\n\"a\":1,\n\"b\":}", 14, "conf.json:3:");
    refuses("{\"a\":1,\"a\":2}", 13, "conf.json:1:");
    refuses("{} x", 4, "conf.json:1:");
    refuses("{}{}", 4, "conf.json:1:");
    refuses("\"a\\u0000b\"", 10, "conf.json:1:");
    refuses("\"a\0b\"", 5, "conf.json:1:");
    refuses("\"\xff\"", 3, "conf.json:1:");
    refuses("{\"a\":NaN}", 9, "conf.json:1:");
    refuses("1e999", 5, "conf.json:1:");
}

static void depth_is_limited(void **state)
{
    (void)state;
    char text[200];
    struct error err;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    json_t *v = json_parse(text, 128, "x", &err);
    assert_non_null(v);
    json_decref(v);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    refuses(text, 130, "conf.json:1:65: nested");
    static char deep[1000000];
    memset(deep, '[', sizeof(deep));
    refuses(deep, sizeof(deep), "conf.json:1:65: nested");
    // Brackets in strings do not count, escaped quotes do not end one.
    v = json_parse("\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\\\"", 78, "x",
                   &err);
    assert_non_null(v);
    json_decref(v);
}

static void writes_in_order_and_compact(void **state)
{
    (void)state;
    struct error err;
    struct buf b;
    static const char text[] = "{ \"z\" : 1, \"a\" : [ true, null, \"x\" ] }";
    buf_create(&b, 64);
    json_t *v = json_parse(text, strlen(text), "x", &err);
    assert_non_null(v);
    assert_int_equal(json_write(v, &b, &err), 0);
    assert_string_equal(buf_cstr(&b), "{\"z\":1,\"a\":[true,null,\"x\"]}");
    assert_int_equal(b.len, 27);
    assert_int_equal(json_write(v, &b, &err), 0);
    assert_int_equal(json_write(v, &b, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(b.len, 54);
    json_decref(v);
    buf_destroy(&b);
}

static void typed_readers(void **state)
{
    (void)state;
    struct error err;
    static const char text[] = "{\"s\":\"x\",\"i\":3,\"r\":2.0,\"f\":2.5,\"b\":true,\"n\":null}";
    json_t *v = json_parse(text, strlen(text), "x", &err);
    const char *s;
    int64_t i;
    double d;
    bool b;
    assert_int_equal(json_get_str(v, "s", "d", &s, &err), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_get_str(v, "none", "d", &s, &err), 0);
    assert_string_equal(s, "d");
    assert_int_equal(json_get_str(v, "i", "d", &s, &err), -1);
    assert_string_equal(err.text, "i: expected a string, got an integer");
    assert_int_equal(json_get_int(v, "i", 9, &i, &err), 0);
    assert_int_equal(i, 3);
    assert_int_equal(json_get_int(v, "r", 9, &i, &err), 0);
    assert_int_equal(i, 2);
    assert_int_equal(json_get_int(v, "none", 9, &i, &err), 0);
    assert_int_equal(i, 9);
    assert_int_equal(json_get_int(v, "f", 9, &i, &err), -1);
    assert_string_equal(err.text, "f: expected an integer, got a number");
    assert_int_equal(json_get_num(v, "i", 9, &d, &err), 0);
    assert_true(d == 3);
    assert_int_equal(json_get_num(v, "n", 9, &d, &err), -1);
    assert_string_equal(err.text, "n: expected a number, got null");
    assert_int_equal(json_get_bool(v, "b", false, &b, &err), 0);
    assert_true(b);
    assert_int_equal(json_get_bool(v, "s", false, &b, &err), -1);
    assert_string_equal(err.text, "s: expected a boolean, got a string");
    json_decref(v);
}

static void any_bytes_become_a_text(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {
        {"", 0, ""},
        {"caf\xc3\xa9", 5, "caf\xc3\xa9"},
        {"x \xff\n", 4, "x \xef\xbf\xbd\n"},
        {"cut \xe2\x82", 6, "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, // a surrogate
        {"a\0b", 3,
         "a\xef\xbf\xbd"
         "b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b;
        struct error err;
        json_t *v = json_text(cases[i].bytes, cases[i].n), *again;
        assert_non_null(v);
        assert_string_equal(json_string_value(v), cases[i].text);
        buf_create(&b, 100);
        assert_int_equal(json_write(v, &b, &err), 0);
        again = json_parse((const char *)b.data, b.len, "x", &err); // what is written can be read
        assert_true(json_equal(v, again));
        json_decref(v);
        json_decref(again);
        buf_destroy(&b);
    }
    json_t *none = json_text_of(NULL);
    assert_string_equal(json_string_value(none), "");
    json_decref(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_text_is_refused_with_its_place),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(writes_in_order_and_compact),
        cmocka_unit_test(typed_readers),
        cmocka_unit_test(any_bytes_become_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
