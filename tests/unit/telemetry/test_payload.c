// Templates and default objects, what they render to, and their caps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "telemetry/payload.h"

static const char *const names[] = {"temperature", "count", "on", "text", "bytes", "nothing", "object", "numeral"};
static const int precision[] = {2, -1, -1, -1, -1, -1, -1, 1};
enum { N = sizeof names / sizeof names[0] };

static struct value values[N];
static struct payload_scope scope;

static int setup(void **s)
{
    (void)s;
    values[0] = (struct value){.type = VALUE_NUMBER, .number = 21.456};
    values[1] = (struct value){.type = VALUE_INTEGER, .integer = -42};
    values[2] = (struct value){.type = VALUE_BOOLEAN, .boolean = true};
    values[3] = (struct value){.type = VALUE_STRING, .str = {"a\"b\n\xc3\xa9", 6}};
    values[4] = (struct value){.type = VALUE_BINARY, .str = {"\x00\xff\x10z", 4}};
    values[5] = (struct value){.type = VALUE_NULL};
    values[6] = (struct value){.type = VALUE_JSON, .str = {"{\"a\":1}", 7}};
    values[7] = (struct value){.type = VALUE_NUMERAL, .number = 3.14159};
    scope = (struct payload_scope){.device_id = "dev-1",
                                   .group_id = "gr\"p",
                                   .index = 7,
                                   .wall_us = 1706745599123456,
                                   .attribute = "temperature",
                                   .values = values};
    return 0;
}

static void expect_bytes(struct payload *p, const char *wanted, size_t n)
{
    struct buf out;
    assert_non_null(p);
    buf_create(&out, 4096);
    assert_int_equal(payload_render(p, &scope, &out), 0);
    if (out.len != n || memcmp(out.data ? out.data : (uint8_t *)"", wanted, n) != 0)
        fail_msg("rendered %s\nexpected %s", buf_cstr(&out), wanted);
    buf_destroy(&out);
    payload_delete(p);
}

static void expect(const char *template, bool json, const char *wanted)
{
    struct error err = {0};
    struct payload *p = payload_compile(template, names, precision, N, json, &err);
    if (!p)
        fail_msg("%s: %s", template, err.text);
    expect_bytes(p, wanted, strlen(wanted));
}

static void test_text(void **s)
{
    (void)s;
    expect("", false, "");
    expect("plain", false, "plain");
    expect("t=${temperature} n=${count} ${on}", false, "t=21.46 n=-42 true");
    expect("${text}${nothing}${object}${numeral}", false, "a\"b\n\xc3\xa9null{\"a\":1}3.1");
    expect("${groupId}/${deviceId}/${attribute}/${index}", false, "gr\"p/dev-1/temperature/7");
    expect("${timestamp} ${timestampIso}", false, "1706745599123 2024-01-31T23:59:59.123Z");
    expect("sensors/{deviceId}/telemetry", false, "sensors/dev-1/telemetry");
    struct payload *p = payload_compile("${bytes}", names, precision, N, false, NULL);
    expect_bytes(p, "\x00\xff\x10z", 4);
    scope.attribute = NULL;
    expect("<${attribute}>", false, "<>");
}

static void test_what_is_no_placeholder_is_literal(void **s)
{
    (void)s;
    expect("$${deviceId}", false, "${deviceId}");
    expect("$$${deviceId}", false, "$${deviceId}");
    expect("$$ $ $x ${", false, "$$ $ $x ${");
    expect("{unknown} {1x} {} {deviceId", false, "{unknown} {1x} {} {deviceId");
    expect("${1x} ${} ${a-b} ${ deviceId} ${deviceId", false, "${1x} ${} ${a-b} ${ deviceId} ${deviceId");
    expect("{{deviceId}}", false, "{dev-1}");
    expect("{\"a\":{}}", true, "{\"a\":{}}");
}

static void test_json(void **s)
{
    (void)s;
    expect("{\"t\":${temperature},\"n\":${count},\"o\":${on}}", true, "{\"t\":21.46,\"n\":-42,\"o\":true}");
    expect("[${text},${nothing},${object},${numeral},${bytes}]", true,
           "[\"a\\\"b\\n\xc3\xa9\",null,{\"a\":1},\"3.1\",\"AP8Qeg==\"]");
    expect("[${deviceId},${groupId},${index},${timestamp},${timestampIso},${attribute}]", true,
           "[\"dev-1\",\"gr\\\"p\",7,1706745599123,\"2024-01-31T23:59:59.123Z\",\"temperature\"]");
}

static void test_json_within_quotes_of_the_template(void **s)
{
    (void)s;
    expect("{\"id\":\"x-${deviceId}\",\"g\":\"${groupId}\"}", true, "{\"id\":\"x-dev-1\",\"g\":\"gr\\\"p\"}");
    expect("\"${temperature} ${numeral} ${text} ${object} ${bytes} ${timestampIso}\"", true,
           "\"21.46 3.1 a\\\"b\\n\xc3\xa9 {\\\"a\\\":1} AP8Qeg== 2024-01-31T23:59:59.123Z\"");
    expect("[\"\\\"\",${deviceId},\"\\\\\",${deviceId}]", true,
           "[\"\\\"\",\"dev-1\",\"\\\\\",\"dev-1\"]"); // escaped quotes
}

static void test_unknown_placeholder(void **s)
{
    (void)s;
    struct error err = {0};
    assert_null(payload_compile("a ${temprature}", names, precision, N, false, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.text, "unknown placeholder ${temprature}"));
    assert_non_null(strstr(err.text, "temperature, count, on"));
    assert_non_null(strstr(err.text, "deviceId, groupId, index, timestamp, timestampIso, attribute"));
    assert_non_null(strstr(err.text, "did you mean ${temperature}?"));
    error_clear(&err);
    assert_null(payload_compile("${deviceID}", NULL, NULL, 0, true, &err));
    assert_non_null(strstr(err.text, "did you mean ${deviceId}?"));
}

static void test_a_value_hides_what_is_built_in(void **s)
{
    (void)s;
    static const char *const own[] = {"timestamp"};
    expect_bytes(payload_compile("${timestamp}", own, NULL, 1, false, NULL), "21.456", 6);
    const char *wanted = "{\"timestamp\":21.456}";
    expect_bytes(payload_compile_object(own, NULL, 1, true, NULL), wanted, strlen(wanted));
}

static void test_object(void **s)
{
    (void)s;
    const char *wanted = "{\"temperature\":21.46,\"count\":-42,\"on\":true,\"timestamp\":1706745599123}";
    expect_bytes(payload_compile_object(names, precision, 3, true, NULL), wanted, strlen(wanted));
    wanted = "{\"temperature\":21.46}";
    expect_bytes(payload_compile_object(names, precision, 1, false, NULL), wanted, strlen(wanted));
    expect_bytes(payload_compile_object(names, precision, 0, false, NULL), "{}", 2);
    wanted = "{\"timestamp\":1706745599123}";
    expect_bytes(payload_compile_object(names, precision, 0, true, NULL), wanted, strlen(wanted));
    static const char *const odd[] = {"a\"b"};
    wanted = "{\"a\\\"b\":21.456}";
    expect_bytes(payload_compile_object(odd, NULL, 1, false, NULL), wanted, strlen(wanted));
}

static void test_object_is_json_whatever_the_values(void **s)
{
    (void)s;
    static const double numbers[] = {0,        -0.0,      1e-300, 1e300, -1.5, 0.005, 123456789.987654321,
                                     INFINITY, -INFINITY, NAN};
    struct payload *p = payload_compile_object(names, precision, N, true, NULL);
    struct buf out;
    buf_create(&out, 4096);
    values[3] = (struct value){.type = VALUE_STRING, .str = {"\xff\x01\\\"\x7f", 5}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        values[0].number = values[7].number = numbers[i];
        buf_clear(&out);
        assert_int_equal(payload_render(p, &scope, &out), 0);
        json_t *v = json_loadb((const char *)out.data, out.len, 0, NULL);
        if (!v)
            fail_msg("not JSON: %s", buf_cstr(&out));
        json_decref(v);
    }
    buf_destroy(&out);
    payload_delete(p);
}

static void test_timestamps(void **s)
{
    (void)s;
    static const struct {
        int64_t us;
        const char *text;
    } at[] = {{0, "1970-01-01T00:00:00.000Z"},
              {951782400000000, "2000-02-29T00:00:00.000Z"},
              {4107542399999999, "2100-02-28T23:59:59.999Z"},
              {4107542400000000, "2100-03-01T00:00:00.000Z"},
              {1735689599999000, "2024-12-31T23:59:59.999Z"},
              {-5, "1970-01-01T00:00:00.000Z"},
              {INT64_MAX, "9999-12-31T23:59:59.999Z"}};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        scope.wall_us = at[i].us;
        expect("${timestampIso}", false, at[i].text);
    }
}

static void test_cap_leaves_the_buffer_as_it_was(void **s)
{
    (void)s;
    struct payload *p = payload_compile_object(names, precision, N, true, NULL);
    struct buf whole;
    buf_create(&whole, 4096);
    assert_int_equal(payload_render(p, &scope, &whole), 0);
    for (uint32_t cap = 3; cap < whole.len + 6; cap++) {
        struct buf out;
        buf_create(&out, cap);
        assert_int_equal(buf_append(&out, "abc", 3), 0);
        int rc = payload_render(p, &scope, &out);
        if (cap < whole.len + 3) {
            assert_int_equal(rc, -1);
            assert_int_equal(out.len, 3);
        } else {
            assert_int_equal(rc, 0);
            assert_memory_equal(out.data + 3, whole.data, whole.len);
        }
        assert_memory_equal(out.data, "abc", 3);
        buf_destroy(&out);
    }
    buf_destroy(&whole);
    payload_delete(p);
}

static void test_limits(void **s)
{
    (void)s;
    struct error err = {0};
    assert_null(payload_compile("x", names, (const int[]){10}, 1, false, &err));
    assert_non_null(strstr(err.text, "precision: must be 0..9, is 10"));
    error_clear(&err);
    assert_null(payload_compile_object(names, (const int[]){-2}, 1, false, &err));
    assert_non_null(strstr(err.text, "precision"));
    char *text = malloc(PAYLOAD_MAX_TEXT + 2);
    memset(text, 'x', PAYLOAD_MAX_TEXT + 1);
    text[PAYLOAD_MAX_TEXT + 1] = '\0';
    error_clear(&err);
    assert_null(payload_compile(text, NULL, NULL, 0, false, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    text[PAYLOAD_MAX_TEXT] = '\0';
    struct payload *p = payload_compile(text, NULL, NULL, 0, false, &err);
    assert_non_null(p);
    payload_delete(p);
    error_clear(&err);
    const char *const one[] = {text};
    const char *const three[] = {text, text, text};
    assert_null(payload_compile_object(three, NULL, 3, false, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    p = payload_compile_object(one, NULL, 1, false, &err);
    assert_non_null(p);
    payload_delete(p);
    error_clear(&err);
    assert_null(payload_compile("x", NULL, NULL, PAYLOAD_MAX_VALUES + 1, false, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    free(text);
    payload_delete(NULL);
}

// Rendering takes no memory of its own once the buffer has grown.
static void test_buffer_grows_once(void **s)
{
    (void)s;
    struct payload *p = payload_compile_object(names, precision, N, true, NULL);
    struct buf out;
    buf_create(&out, 4096);
    assert_int_equal(payload_render(p, &scope, &out), 0);
    uint8_t *data = out.data;
    uint32_t size = out.size;
    for (int i = 0; i < 1000; i++) {
        buf_clear(&out);
        assert_int_equal(payload_render(p, &scope, &out), 0);
    }
    assert_ptr_equal(out.data, data);
    assert_int_equal(out.size, size);
    buf_destroy(&out);
    payload_delete(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_text, setup),
        cmocka_unit_test_setup(test_what_is_no_placeholder_is_literal, setup),
        cmocka_unit_test_setup(test_json, setup),
        cmocka_unit_test_setup(test_json_within_quotes_of_the_template, setup),
        cmocka_unit_test_setup(test_unknown_placeholder, setup),
        cmocka_unit_test_setup(test_a_value_hides_what_is_built_in, setup),
        cmocka_unit_test_setup(test_object, setup),
        cmocka_unit_test_setup(test_object_is_json_whatever_the_values, setup),
        cmocka_unit_test_setup(test_timestamps, setup),
        cmocka_unit_test_setup(test_cap_leaves_the_buffer_as_it_was, setup),
        cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_buffer_grows_once, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
