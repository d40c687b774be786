// Messages in every encoding: bytes, options, nulls, odd values, caps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "telemetry/encode.h"
#include "telemetry/encoder.h"

enum { TEMPERATURE, COUNT, ON, TEXT, BYTES, LIST, NUMERAL, N };

static const struct encoder_field fields[N] = {
    {"temperature", VALUE_NUMBER, 2, NULL, 1}, {"count", VALUE_INTEGER, -1, NULL, 2},
    {"on", VALUE_BOOLEAN, -1, NULL, 3},        {"text", VALUE_STRING, -1, NULL, 4},
    {"bytes", VALUE_BINARY, -1, NULL, 5},      {"list", VALUE_JSON, -1, NULL, 6},
    {"numeral", VALUE_STRING, 1, NULL, 7}};
static struct value values[N];
static struct payload_scope scope;

static int setup(void **state)
{
    (void)state;
    values[TEMPERATURE] = (struct value){.type = VALUE_NUMBER, .number = 21.456};
    values[COUNT] = (struct value){.type = VALUE_INTEGER, .integer = -42};
    values[ON] = (struct value){.type = VALUE_BOOLEAN, .boolean = true};
    values[TEXT] = (struct value){.type = VALUE_STRING, .str = {"a\"b, c\\", 7}};
    values[BYTES] = (struct value){.type = VALUE_BINARY, .str = {"\x00\xff\x10", 3}};
    values[LIST] = (struct value){.type = VALUE_JSON, .str = {"{\"a\":[1]}", 9}};
    values[NUMERAL] = (struct value){.type = VALUE_NUMERAL, .number = 3.14159};
    scope = (struct payload_scope){
        .device_id = "dev 1", .group_id = "gr=p", .index = 7, .wall_us = 1706745599123456, .values = values};
    return 0;
}

static struct encoder *make_of(const char *spec, const struct encoder_field *list, unsigned n, struct error *err)
{
    json_t *json = spec ? json_parse(spec, strlen(spec), "spec", err) : NULL;
    if (spec && !json)
        fail_msg("%s: %s", spec, err->text);
    struct encoder *e = encoder_new(json, list, n, "my sensor", err);
    json_decref(json);
    return e;
}

static struct encoder *make(const char *spec, const struct encoder_field *list, unsigned n)
{
    struct error err = {0};
    struct encoder *e = make_of(spec, list, n, &err);
    if (!e)
        fail_msg("%s: %s", spec, err.text);
    return e;
}

// The message is these bytes; with less room it is refused and leaves nothing behind.
static void expect_bytes(const char *spec, const struct encoder_field *list, unsigned n, const void *wanted, size_t len)
{
    struct encoder *e = make(spec, list, n);
    struct buf out;
    buf_create(&out, 4096);
    assert_int_equal(buf_append_str(&out, "before"), 0);
    assert_int_equal(encoder_write(e, &scope, 9, &out), 0);
    buf_consume(&out, 6);
    if (out.len != len || memcmp(out.data, wanted, len) != 0) {
        struct buf hex;
        buf_create(&hex, 8192);
        for (uint32_t i = 0; i < out.len; i++)
            assert_int_equal(buf_printf(&hex, "%02x", out.data[i]), 0);
        fail_msg("%s: got %u bytes %s\n%s", spec, out.len, buf_cstr(&hex), buf_cstr(&out));
    }
    for (uint32_t cap = 1; cap < len; cap++) {
        struct buf tight;
        buf_create(&tight, cap);
        assert_int_equal(encoder_write(e, &scope, 9, &tight), -1);
        assert_int_equal(tight.len, 0);
        buf_destroy(&tight);
    }
    buf_destroy(&out);
    encoder_delete(e);
}

static void expect_text(const char *spec, const struct encoder_field *list, unsigned n, const char *wanted)
{
    expect_bytes(spec, list, n, wanted, strlen(wanted));
}

static void expect_error(const char *spec, const struct encoder_field *list, unsigned n, const char *wanted)
{
    struct error err = {0};
    struct encoder *e = make_of(spec, list, n, &err);
    if (e)
        fail_msg("%s was accepted", spec);
    if (!strstr(err.text, wanted))
        fail_msg("%s:\ngot      %s\nexpected %s", spec, err.text, wanted);
}

// --- JSON, CSV ----------------------------------------------------------------------------------------------------

static void test_json(void **state)
{
    (void)state;
    static const char with[] = "{\"temperature\":21.46,\"count\":-42,\"timestamp\":1706745599123}";
    expect_text(NULL, fields, 2, with);
    expect_text("\"json\"", fields, 2, with);
    expect_text("{\"type\":\"json\"}", fields, 2, with);
    expect_text("{\"type\":\"json\",\"timestamp\":false}", fields, 2, "{\"temperature\":21.46,\"count\":-42}");
    expect_text("{\"type\":\"json\",\"timestamp\":false}", NULL, 0, "{}");
}

static void test_csv(void **state)
{
    (void)state;
    expect_text("\"csv\"", fields, N, "1706745599123,21.46,-42,true,\"a\"\"b, c\\\",AP8Q,\"{\"\"a\"\":[1]}\",3.1");
    expect_text("{\"type\":\"csv\",\"delimiter\":\";\",\"timestamp\":false}", fields, 4,
                "21.46;-42;true;\"a\"\"b, c\\\"");
    expect_text("{\"type\":\"csv\",\"header\":true}", fields, 2,
                "timestamp,temperature,count\n1706745599123,21.46,-42");
    expect_text("{\"type\":\"csv\",\"delimiter\":\"\\t\",\"header\":true,\"timestamp\":false}", fields, 2,
                "temperature\tcount\n21.46\t-42");
    values[TEXT] = (struct value){.type = VALUE_STRING, .str = {"", 0}};
    values[COUNT].type = VALUE_NULL;
    expect_text("{\"type\":\"csv\",\"timestamp\":false}", fields, 4, "21.46,,true,\"\"");
    values[TEXT] = (struct value){.type = VALUE_STRING, .str = {"a\r\nb", 4}};
    expect_text("{\"type\":\"csv\",\"timestamp\":false}", &fields[3], 0, "");
    values[0] = values[TEXT];
    expect_text("{\"type\":\"csv\",\"timestamp\":false}", &fields[TEXT], 1, "\"a\r\nb\"");
    values[0] = (struct value){.type = VALUE_STRING, .str = {"\"", 1}};
    expect_text("{\"type\":\"csv\",\"timestamp\":false}", &fields[TEXT], 1, "\"\"\"\"");
    values[0] = (struct value){.type = VALUE_NUMBER, .number = NAN};
    expect_text("{\"type\":\"csv\",\"timestamp\":false}", fields, 1, "");
}

static void test_an_attribute_named_timestamp(void **state)
{
    (void)state;
    static const struct encoder_field own[] = {{"timestamp", VALUE_INTEGER, -1, NULL, 1}};
    values[0] = (struct value){.type = VALUE_INTEGER, .integer = 5};
    expect_text("\"json\"", own, 1, "{\"timestamp\":5}");
    expect_text("{\"type\":\"csv\",\"header\":true}", own, 1, "timestamp\n5");
    expect_bytes("\"cbor\"", own, 1, "\xa1\x69timestamp\x05", 12);
    expect_bytes("{\"type\":\"binary\",\"timestamp\":true}", own, 1, "\x93\x14\xf7\x61\x8d\x01\0\0\x05\0\0\0", 12);
}

// --- CBOR ---------------------------------------------------------------------------------------------------------

static void test_cbor(void **state)
{
    (void)state;
    static const char all[] = "\xa8"
                              "\x6btemperature\xfb\x40\x35\x75\xc2\x8f\x5c\x28\xf6" // 21.46
                              "\x65"
                              "count\x38\x29"
                              "\x62on\xf5"
                              "\x64text\x67"
                              "a\"b, c\\"
                              "\x65"
                              "bytes\x43\x00\xff\x10"
                              "\x64list\xa1\x61"
                              "a\x81\x01"
                              "\x67numeral\x63"
                              "3.1"
                              "\x69timestamp\x1b\x00\x00\x01\x8d\x61\xf7\x14\x93";
    expect_bytes("\"cbor\"", fields, N, all, sizeof(all) - 1);
    values[0] = (struct value){.type = VALUE_NUMBER, .number = 21.5};
    expect_bytes("{\"type\":\"cbor\",\"timestamp\":false}", fields, 1, "\xa1\x6btemperature\xf9\x4d\x60", 16);
    values[0].type = VALUE_NULL;
    expect_bytes("{\"type\":\"cbor\",\"timestamp\":false}", fields, 1, "\xa1\x6btemperature\xf6", 14);
    values[0] = (struct value){.type = VALUE_NUMBER, .number = -0.001}; // no -0
    expect_bytes("{\"type\":\"cbor\",\"timestamp\":false}", fields, 1, "\xa1\x6btemperature\xf9\x00\x00", 16);
    values[0] = (struct value){.type = VALUE_INTEGER, .integer = 2}; // a hook's, of a number
    expect_bytes("{\"type\":\"cbor\",\"timestamp\":false}", fields, 1, "\xa1\x6btemperature\xf9\x40\x00", 16);
}

static void test_rounding_is_what_json_prints(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 100000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double v = ((double)(x >> 11) / 0x1p53 - 0.5) * pow(10, (double)(x % 9)), read;
        int precision = (int)(x % 10);
        struct buf out;
        buf_create(&out, 64);
        assert_int_equal(buf_append_number(&out, v, precision), 0);
        assert_true(encode_text_number((char *)out.data, out.len, &read));
        double rounded = encode_round(v, precision);
        if (read != rounded)
            fail_msg("%.17g to %d digits: JSON %s, rounded %.17g", v, precision, buf_cstr(&out), rounded);
        buf_destroy(&out);
    }
    assert_true(encode_round(1e300, 2) == 1e300);
    assert_true(isnan(encode_round(NAN, 2)));
}

// --- binary -------------------------------------------------------------------------------------------------------

static void test_binary(void **state)
{
    (void)state;
    static const char little[] = "\xe3\xa5\xab\x41" // 21.456
                                 "\xd6\xff\xff\xff"
                                 "\x01"
                                 "\x07\x00"
                                 "a\"b, c\\"
                                 "\x00\xff\x10"
                                 "\x09\x00{\"a\":[1]}"
                                 "\x07\x00"
                                 "3.14159";
    static const char big[] = "\x00\x00\x01\x8d\x61\xf7\x14\x93"
                              "\x41\xab\xa5\xe3"
                              "\xff\xff\xff\xd6"
                              "\x01";
    expect_bytes("\"binary\"", fields, N, little, sizeof(little) - 1);
    expect_bytes("{\"type\":\"binary\",\"endian\":\"big\",\"timestamp\":true}", fields, 3, big, sizeof(big) - 1);
    for (unsigned i = 0; i < N; i++)
        values[i].type = VALUE_NULL;
    expect_bytes("\"binary\"", fields, N, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
}

static void expect_number(const char *format, struct value v, uint64_t wanted, unsigned size)
{
    struct encoder_field f = {"x", VALUE_NUMBER, -1, format, 1};
    uint8_t bytes[8];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(wanted >> 8 * (size - 1 - i));
    values[0] = v;
    expect_bytes("{\"type\":\"binary\",\"endian\":\"big\"}", &f, 1, bytes, size);
}

#define NUM(x) ((struct value){.type = VALUE_NUMBER, .number = (x)})
#define INT(x) ((struct value){.type = VALUE_INTEGER, .integer = (x)})

static void test_binary_clamps_and_rounds(void **state)
{
    (void)state;
    expect_number("u8", NUM(2.5), 2, 1);
    expect_number("u8", NUM(3.5), 4, 1);
    expect_number("u8", NUM(255.4), 255, 1);
    expect_number("u8", NUM(256), 255, 1);
    expect_number("u8", NUM(-1), 0, 1);
    expect_number("u8", INT(300), 255, 1);
    expect_number("u8", NUM(NAN), 0, 1);
    expect_number("i8", NUM(-128.4), 0x80, 1);
    expect_number("i8", NUM(-1000), 0x80, 1);
    expect_number("i8", INT(128), 0x7f, 1);
    expect_number("i8", NUM(-1), 0xff, 1);
    expect_number("u16", NUM(65535), 0xffff, 2);
    expect_number("u16", NUM(1e9), 0xffff, 2);
    expect_number("i16", NUM(-32769), 0x8000, 2);
    expect_number("i16", NUM(-2), 0xfffe, 2);
    expect_number("u32", NUM(4294967295.0), 0xffffffff, 4);
    expect_number("u32", NUM(INFINITY), 0xffffffff, 4);
    expect_number("i32", INT(INT64_MIN), 0x80000000, 4);
    expect_number("i32", NUM(1e10), 0x7fffffff, 4);
    expect_number("u64", NUM(0x1p63), 0x8000000000000000, 8);
    expect_number("u64", NUM(1e30), UINT64_MAX, 8);
    expect_number("u64", INT(-5), 0, 8);
    expect_number("i64", INT(INT64_MAX), 0x7fffffffffffffff, 8);
    expect_number("i64", NUM(-1e30), 0x8000000000000000, 8);
    expect_number("f32", NUM(1.5), 0x3fc00000, 4);
    expect_number("f32", NUM(1e300), 0x7f7fffff, 4);
    expect_number("f32", NUM(-INFINITY), 0xff800000, 4);
    expect_number("f64", NUM(-2), 0xc000000000000000, 8);
    expect_number("f64", INT(1), 0x3ff0000000000000, 8);
    expect_number("bool", NUM(0.1), 1, 1);
    expect_number("bool", NUM(0), 0, 1);
    expect_number("i16", ((struct value){.type = VALUE_BOOLEAN, .boolean = true}), 1, 2);
}

static void test_binary_cuts_long_texts(void **state)
{
    (void)state;
    static char text[70000];
    struct encoder *e = make("\"binary\"", &fields[TEXT], 1);
    struct buf out;
    buf_create(&out, 100000);
    memset(text, 'a', sizeof(text));
    memcpy(text + 65533, "\xf0\x9f\x98\x80", 4); // would be cut in two
    values[0] = (struct value){.type = VALUE_STRING, .str = {text, sizeof(text)}};
    assert_int_equal(encoder_write(e, &scope, 0, &out), 0);
    assert_int_equal(out.len, 2 + 65533);
    assert_int_equal(out.data[0] | out.data[1] << 8, 65533);
    buf_clear(&out);
    values[0].str.n = 65535;
    text[65533] = 'b', text[65534] = 'c';
    assert_int_equal(encoder_write(e, &scope, 0, &out), 0);
    assert_int_equal(out.len, 2 + 65535);
    buf_clear(&out);
    values[0] = (struct value){.type = VALUE_JSON, .str = {text, sizeof(text)}};
    assert_int_equal(encoder_write(e, &scope, 0, &out), 0);
    assert_memory_equal(out.data, "\0\0", 2);
    assert_int_equal(out.len, 2);
    buf_destroy(&out);
    encoder_delete(e);
}

// --- influx -------------------------------------------------------------------------------------------------------

static void test_influx(void **state)
{
    (void)state;
    expect_text("\"influx\"", fields, N,
                "my\\ sensor,device=dev\\ 1,group=gr\\=p temperature=21.46,count=-42i,on=true,text=\"a\\\"b, c\\\\\","
                "bytes=\"AP8Q\",list=\"{\\\"a\\\":[1]}\",numeral=\"3.1\" 1706745599123456000");
    expect_text("{\"type\":\"influx\",\"precision\":\"us\",\"tags\":{}}", fields, 1,
                "my\\ sensor temperature=21.46 1706745599123456");
    expect_text("{\"type\":\"influx\",\"precision\":\"ms\",\"tags\":{}}", fields, 1,
                "my\\ sensor temperature=21.46 1706745599123");
    expect_text("{\"type\":\"influx\",\"precision\":\"s\",\"tags\":{},\"measurement\":\"m=${deviceId},x\"}", fields, 1,
                "m=dev\\ 1\\,x temperature=21.46 1706745599");
    // tags are sorted, hold values, and are left out when they are empty
    scope.group_id = "";
    expect_text("{\"type\":\"influx\",\"tags\":{\"z\":\"${index}\",\"a b\":\"n${count}\",\"g\":\"${groupId}\"}}",
                fields, 2, "my\\ sensor,a\\ b=n-42,z=7 temperature=21.46,count=-42i 1706745599123456000");
    scope.device_id = "a\\,b\nc\\\\";
    expect_text("{\"type\":\"influx\",\"measurement\":\"${deviceId}\",\"tags\":{\"t\":\"${deviceId}\"}}", fields, 1,
                "a\\\\,b\\nc,t=a\\\\,b\\nc temperature=21.46 1706745599123456000");
    scope.device_id = "";
    expect_text("{\"type\":\"influx\",\"measurement\":\"${deviceId}\",\"tags\":{}}", fields, 1,
                "my\\ sensor temperature=21.46 1706745599123456000");
    scope.device_id = "#1";
    expect_text("{\"type\":\"influx\",\"measurement\":\"${deviceId}\",\"tags\":{}}", fields, 1,
                "\\#1 temperature=21.46 1706745599123456000");
    values[TEXT] = (struct value){.type = VALUE_STRING, .str = {"a\nb\r", 4}};
    values[0] = values[TEXT];
    expect_text("{\"type\":\"influx\",\"tags\":{}}", &fields[TEXT], 1,
                "my\\ sensor text=\"a\\nb\\r\" 1706745599123456000");
}

static void test_influx_without_values(void **state)
{
    (void)state;
    values[TEMPERATURE].type = VALUE_NULL;
    expect_text("{\"type\":\"influx\",\"tags\":{}}", fields, 2, "my\\ sensor count=-42i 1706745599123456000");
    values[COUNT].type = VALUE_NULL;
    expect_text("\"influx\"", fields, 2, "");
    values[TEMPERATURE] = NUM(NAN);
    expect_text("\"influx\"", fields, 2, "");
    values[TEMPERATURE] = NUM(1);
    scope.wall_us = INT64_MAX;
    expect_text("{\"type\":\"influx\",\"tags\":{}}", fields, 1, "my\\ sensor temperature=1 9223372036854775807");
}

// --- Sparkplug ----------------------------------------------------------------------------------------------------

#define TIME "\x93\xa9\xdc\x8f\xd6\x31" // 1706745599123 as a varint

static void test_sparkplug(void **state)
{
    (void)state;
    static const char data[] = "\x08" TIME                                                        // timestamp
                               "\x12\x12\x10\x01\x18" TIME "\x69\xf6\x28\x5c\x8f\xc2\x75\x35\x40" // 21.46
                               "\x12\x14\x10\x02\x18" TIME "\x58\xd6\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                               "\x12\x0b\x10\x03\x18" TIME "\x70\x01"
                               "\x12\x12\x10\x04\x18" TIME "\x7a\x07"
                               "a\"b, c\\"
                               "\x12\x0f\x10\x05\x18" TIME "\x82\x01\x03\x00\xff\x10"
                               "\x12\x14\x10\x06\x18" TIME "\x7a\x09{\"a\":[1]}"
                               "\x12\x0e\x10\x07\x18" TIME "\x7a\x03"
                               "3.1"
                               "\x18\x09"; // seq
    expect_bytes("\"sparkplug\"", fields, N, data, sizeof(data) - 1);
    for (unsigned i = 0; i < N; i++)
        values[i].type = VALUE_NULL;
    static const char nulls[] = "\x08" TIME "\x12\x0b\x10\x01\x18" TIME "\x38\x01"
                                "\x12\x0b\x10\x02\x18" TIME "\x38\x01\x18\x09";
    expect_bytes("{\"type\":\"sparkplug\",\"groupId\":\"plant\"}", fields, 2, nulls, sizeof(nulls) - 1);
    values[0] = NUM(NAN);
    expect_bytes("\"sparkplug\"", fields, 2, nulls, sizeof(nulls) - 1);
    values[1] = (struct value){.type = VALUE_STRING, .str = {"no number", 9}};
    expect_bytes("\"sparkplug\"", fields, 2, nulls, sizeof(nulls) - 1);
}

static void test_sparkplug_certificates(void **state)
{
    (void)state;
    static const char birth[] =
        "\x08" TIME "\x12\x12\x0a\x05"
        "bdSeq\x18" TIME "\x20\x04\x58\x03"
        "\x12\x21\x0a\x14Node Control/Rebirth\x18" TIME "\x20\x0b\x70\x00"
        "\x12\x21\x0a\x0btemperature\x10\x01\x18" TIME "\x20\x0a\x69\xf6\x28\x5c\x8f\xc2\x75\x35\x40"
        "\x12\x14\x0a\x05"
        "count\x10\x02\x18" TIME "\x20\x04\x38\x01"
        "\x18\x00";
    static const char death[] = "\x08" TIME "\x12\x12\x0a\x05"
                                "bdSeq\x18" TIME "\x20\x04\x58\x03";
    struct buf out;
    buf_create(&out, 4096);
    values[COUNT].type = VALUE_NULL;
    assert_int_equal(sparkplug_birth(fields, 2, values, scope.wall_us, 3, &out), 0);
    assert_int_equal(out.len, sizeof(birth) - 1);
    assert_memory_equal(out.data, birth, sizeof(birth) - 1);
    buf_clear(&out);
    assert_int_equal(sparkplug_death(3, scope.wall_us, &out), 0);
    assert_int_equal(out.len, sizeof(death) - 1);
    assert_memory_equal(out.data, death, sizeof(death) - 1);
    buf_destroy(&out);
    for (uint32_t cap = 1; cap < sizeof(birth) - 1; cap++) {
        buf_create(&out, cap);
        assert_int_equal(sparkplug_birth(fields, 2, values, scope.wall_us, 3, &out), -1);
        assert_int_equal(out.len, 0);
        if (cap < sizeof(death) - 1)
            assert_int_equal(sparkplug_death(3, scope.wall_us, &out), -1);
        assert_int_equal(out.len, 0);
        buf_destroy(&out);
    }
}

static void test_sparkplug_types(void **state)
{
    (void)state;
    static const struct {
        enum sparkplug_type type;
        struct value v;
        const char *bytes; // of the value with its key
        size_t n;
    } cases[] = {
        {SPARKPLUG_INT8, NUM(-1), "\x50\xff\xff\xff\xff\x0f", 6}, // an int_value is 32 bits without a sign
        {SPARKPLUG_INT8, NUM(127), "\x50\x7f", 2},
        {SPARKPLUG_INT8, NUM(128), "\x38\x01", 2},
        {SPARKPLUG_UINT8, NUM(255), "\x50\xff\x01", 3},
        {SPARKPLUG_UINT8, NUM(-1), "\x38\x01", 2},
        {SPARKPLUG_UINT32, NUM(4294967295.0), "\x50\xff\xff\xff\xff\x0f", 6},
        {SPARKPLUG_UINT32, NUM(4294967296.0), "\x38\x01", 2},
        {SPARKPLUG_INT64, INT(INT64_MIN), "\x58\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
        {SPARKPLUG_INT64, NUM(0x1p63), "\x38\x01", 2},
        {SPARKPLUG_UINT64, NUM(0x1p63), "\x58\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
        {SPARKPLUG_UINT64, INT(-1), "\x38\x01", 2},
        {SPARKPLUG_DATETIME, INT(1), "\x58\x01", 2},
        {SPARKPLUG_FLOAT, NUM(1.5), "\x65\x00\x00\xc0\x3f", 5},
        {SPARKPLUG_FLOAT, NUM(1e300), "\x38\x01", 2},
        {SPARKPLUG_BOOLEAN, NUM(2), "\x70\x01", 2},
        {SPARKPLUG_STRING, INT(-5), "\x7a\x02-5", 4},
        {SPARKPLUG_STRING,
         {.type = VALUE_STRING, .str = {"a\xff", 2}},
         "\x7a\x04"
         "a\xef\xbf\xbd",
         6},
        {SPARKPLUG_STRING, {.type = VALUE_STRING, .str = {NULL, 0}}, "\x7a\x00", 2},
        {SPARKPLUG_STRING, NUM(NAN), "\x38\x01", 2},
        {SPARKPLUG_BYTES, {.type = VALUE_BINARY, .str = {"\xff", 1}}, "\x82\x01\x01\xff", 4},
        {SPARKPLUG_BYTES, NUM(1), "\x38\x01", 2},
        {SPARKPLUG_DOUBLE, {.type = VALUE_BINARY, .str = {"\xff", 1}}, "\x38\x01", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sparkplug_metric m = {.type = cases[i].type, .precision = -1, .value = cases[i].v};
        struct buf out;
        buf_create(&out, 64);
        assert_int_equal(sparkplug_put_metric(&out, &m), 0);
        if (out.len != cases[i].n + 2 || out.data[1] != cases[i].n || memcmp(out.data + 2, cases[i].bytes, cases[i].n))
            fail_msg("case %zu: %u bytes", i, out.len);
        buf_destroy(&out);
    }
    // lengths of two bytes
    static char text[300];
    memset(text, 'x', sizeof(text));
    struct sparkplug_metric m = {.type = SPARKPLUG_STRING, .value = {.type = VALUE_STRING, .str = {text, 300}}};
    struct buf out;
    buf_create(&out, 512);
    assert_int_equal(sparkplug_put_metric(&out, &m), 0);
    assert_memory_equal(out.data, "\x12\xaf\x02\x7a\xac\x02x", 7);
    assert_int_equal(out.len, 306);
    buf_destroy(&out);
}

// --- the documentation --------------------------------------------------------------------------------------------

// Digits of a ```hex block up to its comments: pairs that stand apart by blanks.
static void read_hex(const char *line, struct buf *out)
{
    unsigned n = 0;
    char pair[3] = "";
    for (; *line && strncmp(line, "    ", 4) != 0; line++) {
        if (*line == ' ')
            continue;
        assert_non_null(strchr("0123456789abcdef", *line));
        pair[n++] = *line;
        if (n == 2) {
            assert_int_equal(buf_append_char(out, (char)strtoul(pair, NULL, 16)), 0);
            n = 0;
        }
    }
    assert_int_equal(n, 0);
}

// "<!-- example SPEC -->" and the fenced block behind it.
static void check_example(FILE *page, const char *spec)
{
    static const struct encoder_field own[] = {{"temperature", VALUE_NUMBER, 2, NULL, 1},
                                               {"count", VALUE_INTEGER, -1, NULL, 2},
                                               {"on", VALUE_BOOLEAN, -1, NULL, 3}};
    char line[512];
    struct buf wanted, out;
    struct error err = {0};
    buf_create(&wanted, 4096);
    buf_create(&out, 4096);
    assert_non_null(fgets(line, sizeof(line), page));
    bool hex = !strcmp(line, "```hex\n");
    assert_true(hex || !strcmp(line, "```text\n"));
    while (fgets(line, sizeof(line), page) && strcmp(line, "```\n") != 0) {
        if (!hex)
            assert_int_equal(buf_append_str(&wanted, line), 0);
        line[strcspn(line, "\n")] = '\0';
        if (hex)
            read_hex(line + strspn(line, " "), &wanted);
    }
    wanted.len -= !hex; // the last line's end
    json_t *json = json_loads(spec, JSON_DECODE_ANY, NULL);
    struct encoder *e = encoder_new(json, own, 3, "climate", &err);
    if (!e)
        fail_msg("%s: %s", spec, err.text);
    scope.device_id = "sensors-17";
    scope.group_id = "sensors";
    assert_int_equal(encoder_write(e, &scope, 1, &out), 0);
    if (out.len != wanted.len || memcmp(out.data, wanted.data, out.len) != 0)
        fail_msg("docs/reference/payloads.md: the example of %s is not what is written", spec);
    encoder_delete(e);
    json_decref(json);
    buf_destroy(&wanted);
    buf_destroy(&out);
}

static void test_examples_of_the_documentation(void **state)
{
    (void)state;
    FILE *page = fopen(IOTIX_SOURCE_DIR "/docs/reference/payloads.md", "r");
    char line[512];
    unsigned n = 0;
    assert_non_null(page);
    while (fgets(line, sizeof(line), page)) {
        char *spec = line + 13, *end = strstr(line, " -->");
        if (strncmp(line, "<!-- example ", 13) != 0 || !end)
            continue;
        *end = '\0';
        check_example(page, spec);
        n++;
    }
    fclose(page);
    assert_int_equal(n, 6);
}

// --- bad input ----------------------------------------------------------------------------------------------------

static void test_bad_specs(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *error;
    } cases[] = {
        {"\"cbro\"",
         "unknown encoding \"cbro\"; valid: json, cbor, binary, csv, influx, sparkplug; did you mean \"cbor\"?"},
        {"{}", "needs a \"type\""},
        {"{\"type\":5}", "type: expected"},
        {"5", "expected a name such as \"cbor\""},
        {"{\"type\":\"json\",\"endian\":\"big\"}", "encoding json: unknown option \"endian\"; valid: type, timestamp"},
        {"{\"type\":\"cbor\",\"timestmp\":true}", "did you mean \"timestamp\"?"},
        {"{\"type\":\"cbor\",\"timestamp\":1}", "timestamp: expected"},
        {"{\"type\":\"binary\",\"endian\":\"middle\"}", "endian \"middle\"; valid: little, big"},
        {"{\"type\":\"csv\",\"delimiter\":\"\"}", "delimiter: expected one character"},
        {"{\"type\":\"csv\",\"delimiter\":\"ab\"}", "delimiter: expected one character"},
        {"{\"type\":\"csv\",\"delimiter\":\"\\\"\"}", "delimiter: expected one character"},
        {"{\"type\":\"csv\",\"delimiter\":\".\"}", "delimiter: expected one character"},
        {"{\"type\":\"csv\",\"delimiter\":\"\\n\"}", "delimiter: expected one character"},
        {"{\"type\":\"csv\",\"header\":\"yes\"}", "header: expected"},
        {"{\"type\":\"influx\",\"precision\":\"m\"}", "precision \"m\"; valid: ns, us, ms, s"},
        {"{\"type\":\"influx\",\"measurement\":\"\"}", "measurement: must not be empty"},
        {"{\"type\":\"influx\",\"measurement\":\"_x\"}", "measurement: InfluxDB keeps names that begin with _"},
        {"{\"type\":\"influx\",\"measurement\":\"${devceId}\"}", "measurement: unknown placeholder ${devceId}"},
        {"{\"type\":\"influx\",\"tags\":[]}", "tags: expected an object"},
        {"{\"type\":\"influx\",\"tags\":{\"a\":1}}", "tags: a: expected a pattern"},
        {"{\"type\":\"influx\",\"tags\":{\"time\":\"x\"}}", "tags: \"time\": InfluxDB keeps the name"},
        {"{\"type\":\"influx\",\"tags\":{\"_f\":\"x\"}}", "InfluxDB keeps names that begin with _"},
        {"{\"type\":\"influx\",\"tags\":{\"\":\"x\"}}", "InfluxDB takes no empty name"},
        {"{\"type\":\"influx\",\"tags\":{\"a\":\"${x}\"}}", "tags: a: unknown placeholder ${x}; valid: temperature"},
        {"{\"type\":\"sparkplug\",\"groupId\":\"a/b\"}", "groupId: expected one level of a topic"},
        {"{\"type\":\"sparkplug\",\"nodeId\":\"\"}", "nodeId: expected one level of a topic"},
        {"{\"type\":\"sparkplug\",\"node\":\"x\"}", "did you mean \"nodeId\"?"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(cases[i].spec, fields, N, cases[i].error);
}

static void test_bad_fields(void **state)
{
    (void)state;
    struct encoder_field f = {"x", VALUE_NUMBER, -1, "u9", 1};
    expect_error("\"binary\"", &f, 1, "x: unknown format \"u9\"; valid: u8, i8, u16");
    f = (struct encoder_field){"x", VALUE_STRING, -1, "u8", 1};
    expect_error("\"binary\"", &f, 1, "x: format: an attribute of type string has none");
    f = (struct encoder_field){"x", VALUE_NUMBER, 10, NULL, 1};
    expect_error("\"cbor\"", &f, 1, "x: precision: must be 0..9, is 10");
    f = (struct encoder_field){"time", VALUE_NUMBER, -1, NULL, 1};
    expect_error("\"influx\"", &f, 1, "attribute \"time\": InfluxDB keeps the name");
    expect_error("\"cbor\"", fields, PAYLOAD_MAX_VALUES + 1, "at most 4096 values");
    json_t *tags = json_object(), *spec = json_pack("{s:s,s:o}", "type", "influx", "tags", tags);
    struct error err = {0};
    for (int i = 0; i < 65; i++) {
        char key[8];
        snprintf(key, sizeof(key), "t%d", i);
        json_object_set_new(tags, key, json_string("x"));
    }
    assert_null(encoder_new(spec, fields, 1, "m", &err));
    assert_non_null(strstr(err.text, "tags: at most 64"));
    json_decref(spec);
    encoder_delete(NULL);
    for (int e = ENCODING_JSON; e <= ENCODING_SPARKPLUG; e++) {
        json_t *name = json_string(encoding_name((enum encoding)e));
        struct encoder *encoder = encoder_new(name, fields, N, NULL, &err);
        assert_non_null(encoder);
        assert_int_equal(encoder_encoding(encoder), e);
        encoder_delete(encoder);
        json_decref(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_json, setup),
        cmocka_unit_test_setup(test_csv, setup),
        cmocka_unit_test_setup(test_an_attribute_named_timestamp, setup),
        cmocka_unit_test_setup(test_cbor, setup),
        cmocka_unit_test_setup(test_rounding_is_what_json_prints, setup),
        cmocka_unit_test_setup(test_binary, setup),
        cmocka_unit_test_setup(test_binary_clamps_and_rounds, setup),
        cmocka_unit_test_setup(test_binary_cuts_long_texts, setup),
        cmocka_unit_test_setup(test_influx, setup),
        cmocka_unit_test_setup(test_influx_without_values, setup),
        cmocka_unit_test_setup(test_sparkplug, setup),
        cmocka_unit_test_setup(test_sparkplug_certificates, setup),
        cmocka_unit_test_setup(test_sparkplug_types, setup),
        cmocka_unit_test_setup(test_examples_of_the_documentation, setup),
        cmocka_unit_test_setup(test_bad_specs, setup),
        cmocka_unit_test_setup(test_bad_fields, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
