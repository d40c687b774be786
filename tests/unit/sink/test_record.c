// Lines of the three formats, byte by byte; the JSON scanner against jansson.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "core/rng.h"
#include "core/zone.h"
#include "sink/json_scan.h"
#include "sink/output.h"
#include "sink/record.h"
#include "sink/sink.h"

#define WALL 1767225600123456 // 2026-01-01T00:00:00.123456Z

static struct record record_of(const void *payload, size_t n)
{
    return (struct record){.wall_us = WALL,
                           .group = 1,
                           .index = 7,
                           .group_name = "sensors",
                           .group_len = 7,
                           .device = "sensors-7",
                           .device_len = 9,
                           .topic = "a/b",
                           .topic_len = 3,
                           .payload = payload,
                           .payload_len = n};
}

static void check_line(enum record_format f, const struct record *r, const char *expected)
{
    struct buf out;
    buf_create(&out, 1 << 20);
    assert_int_equal(record_write(f, r, &out), expected ? 1 : 0);
    assert_string_equal(buf_cstr(&out), expected ? expected : "");
    buf_destroy(&out);
}

static void check(enum record_format f, const char *payload, const char *expected)
{
    struct record r = record_of(payload, strlen(payload));
    check_line(f, &r, expected);
}

#define HEAD "{\"time\":\"2026-01-01T00:00:00.123Z\",\"group\":\"sensors\",\"device\":\"sensors-7\",\"topic\":\"a/b\","

static void ndjson_keeps_json_and_quotes_the_rest(void **state)
{
    (void)state;
    check(RECORD_NDJSON, "{\"t\":21.5}", HEAD "\"payload\":{\"t\":21.5}}\n");
    check(RECORD_NDJSON, "{\n \"t\" :\r\n1\n}", HEAD "\"payload\":{  \"t\" :  1 }}\n");
    check(RECORD_NDJSON, "12", HEAD "\"payload\":12}\n");
    check(RECORD_NDJSON, "on", HEAD "\"payload\":\"on\"}\n");
    check(RECORD_NDJSON, "", HEAD "\"payload\":\"\"}\n");
    check(RECORD_NDJSON, "{\"t\":", HEAD "\"payload\":\"{\\\"t\\\":\"}\n");
    check(RECORD_NDJSON, "a\nb\"", HEAD "\"payload\":\"a\\nb\\\"\"}\n");
    check(RECORD_NDJSON, "\xff\xfe\x01", HEAD "\"payloadBase64\":\"//4B\"}\n");
}

static void a_binary_encoding_is_never_taken_for_text(void **state)
{
    (void)state;
    struct record r = record_of("12", 2);
    r.binary = true;
    check_line(RECORD_NDJSON, &r, HEAD "\"payloadBase64\":\"MTI=\"}\n");
    check_line(RECORD_CSV, &r, "2026-01-01T00:00:00.123Z,sensors,sensors-7,a/b,MTI=\n");
    r = record_of("{\"ok\":true}", 11); // the answer to a command
    r.binary = true;
    check_line(RECORD_NDJSON, &r, HEAD "\"payload\":{\"ok\":true}}\n");
}

static void names_are_escaped(void **state)
{
    (void)state;
    struct record r = record_of("1", 1);
    r.device = "a\"\xc3\xa4";
    r.device_len = 4;
    check_line(
        RECORD_NDJSON, &r,
        "{\"time\":\"2026-01-01T00:00:00.123Z\",\"group\":\"sensors\",\"device\":\"a\\\"\xc3\xa4\",\"topic\":\"a/"
        "b\",\"payload\":1}\n");
    r.device = "a, \"=b\\";
    r.device_len = 7;
    check_line(RECORD_CSV, &r, "2026-01-01T00:00:00.123Z,sensors,\"a, \"\"=b\\\",a/b,1\n");
    r.payload = (const uint8_t *)"{\"v w\":1}";
    r.payload_len = 9;
    check_line(RECORD_INFLUX, &r, "sensors,device=a\\,\\ \"\\=b_ v\\ w=1 1767225600123456000\n");
}

static void csv_follows_rfc_4180(void **state)
{
    (void)state;
#define CSV "2026-01-01T00:00:00.123Z,sensors,sensors-7,a/b,"
    check(RECORD_CSV, "21.5", CSV "21.5\n");
    check(RECORD_CSV, "{\"t\":1}", CSV "\"{\"\"t\"\":1}\"\n");
    check(RECORD_CSV, "a\nb", CSV "\"a\nb\"\n");
    check(RECORD_CSV, "", CSV "\n");
    check(RECORD_CSV, "\xff", CSV "/w==\n");
    assert_string_equal(record_header(RECORD_CSV), "time,group,device,topic,payload\n");
    assert_string_equal(record_header(RECORD_NDJSON), "");
}

static void influx_takes_the_scalars_of_an_object(void **state)
{
    (void)state;
#define LINE "sensors,device=sensors-7 "
    check(RECORD_INFLUX,
          "{\"t\":21.5,\"on\":true,\"n\":null,\"s\":\"a\\\"b\\\\c\\u00e4\\ud83d\\ude00\",\"o\":{\"x\":1}}",
          LINE "t=21.5,on=true,s=\"a\\\"b\\\\c\xc3\xa4\xf0\x9f\x98\x80\" 1767225600123456000\n");
    check(RECORD_INFLUX, "{\"t\":1,\"timestamp\":1767225600123}", LINE "t=1 1767225600123456000\n");
    check(RECORD_INFLUX, "{\"timestamp\":5}", LINE "timestamp=5 1767225600123456000\n");
    check(RECORD_INFLUX, "{\"o\":[1]}", NULL);
    check(RECORD_INFLUX, "{}", NULL);
    check(RECORD_INFLUX, "[1]", NULL);
    check(RECORD_INFLUX, "12", NULL);
    check(RECORD_INFLUX, "no json", NULL);
    struct record r = record_of("m,a=b v=1 5", 11);
    r.influx = true;
    check_line(RECORD_INFLUX, &r, "m,a=b v=1 5\n");
}

static void at_the_cap_nothing_is_appended(void **state)
{
    (void)state;
    static const char *const payloads[] = {"{\"t\":21.5,\"s\":\"x\"}", "text", "\xff\xff"};
    for (unsigned p = 0; p < 3; p++)
        for (int f = 0; f < RECORD_FORMAT_MAX; f++) {
            struct record r = record_of(payloads[p], strlen(payloads[p]));
            for (uint32_t cap = 1; cap < 120; cap++) {
                struct buf out;
                buf_create(&out, cap);
                int rc = record_write((enum record_format)f, &r, &out);
                assert_true(rc == 1 ? out.len && out.data[out.len - 1] == '\n' : out.len == 0);
                buf_destroy(&out);
            }
        }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000Z"},
                 {951782400000000, "2000-02-29T00:00:00.000Z"},
                 {4107542399999999, "2100-02-28T23:59:59.999Z"},
                 {-5, "1970-01-01T00:00:00.000Z"},
                 {INT64_MAX, "9999-12-31T23:59:59.999Z"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[TIME_TEXT_LEN];
        time_text(cases[i].us, text);
        assert_memory_equal(text, cases[i].text, TIME_TEXT_LEN);
    }
}

// --- the scanner

static bool scans(const char *text)
{
    bool newline;
    return json_scan(text, strlen(text), &newline);
}

static void the_scanner_knows_json(void **state)
{
    (void)state;
    static const char *const good[] = {"{}",
                                       "[]",
                                       " [ ] ",
                                       "0",
                                       "-0.5e+3",
                                       "\"\\u00e4\"",
                                       "[[],{},[{\"a\":[]}]]",
                                       "{\"a\":1,\"b\":[true,false,null]}",
                                       "\"\xc3\xa4\"",
                                       "1E5"};
    static const char *const bad[] = {
        "",      "{",       "[",           "]",      "{]",       "[}",  "[,]",     "[1,]",     "{,}",
        "{1:2}", "01",      "1.",          ".5",     "+1",       "1e",  "-",       "tru",      "nul",
        "\"a",   "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "\"\xff\"", "1 2", "{\"a\"}", "{\"a\":}", "{\"a\":1 \"b\":2}",
        "[1 2]", "NaN",     "\"\\",        "[1]]"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!scans(good[i]))
            fail_msg("not taken: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (scans(bad[i]))
            fail_msg("taken: %s", bad[i]);
}

static void deep_nesting_is_no_json(void **state)
{
    (void)state;
    char text[300];
    memset(text, '[', 100);
    for (unsigned depth = 60; depth <= 70; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        assert_int_equal(scans(text), depth <= JSON_SCAN_DEPTH);
    }
}

// Random damage to valid texts: the scanner and jansson agree. (jansson refuses some that RFC 8259 allows: NUL in
// strings, lone surrogates, huge numbers; the texts hold none of these.)
static void the_scanner_agrees_with_jansson(void **state)
{
    (void)state;
    static const char *const seeds[] = {"{\"a\":[1,2.5,-3],\"b\":{\"c\":\"x\\ny\"},\"d\":null}",
                                        "[true,false,{\"k\":\"\"}]",
                                        "{\"t\":21.53,\"h\":45,\"timestamp\":1767225600123}"};
    static const char alphabet[] = "{}[],:\"\\0123456789.eE+-truefalsn \n";
    struct rng rng;
    rng_seed(&rng, 11);
    unsigned taken = 0;
    for (unsigned i = 0; i < 200000; i++) {
        char text[128];
        size_t n = (size_t)snprintf(text, sizeof(text), "%s", seeds[rng_below(&rng, 3)]);
        for (uint64_t k = rng_below(&rng, 4); k > 0; k--)
            text[rng_below(&rng, n)] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
        bool newline, mine = json_scan(text, n, &newline);
        json_error_t e;
        json_t *v = json_loadb(text, n, JSON_DECODE_ANY, &e);
        bool theirs = v != NULL;
        json_decref(v);
        if (mine != theirs && !strstr(e.text, "real number overflow") && !strstr(e.text, "too big"))
            fail_msg("jansson %d, scanner %d: %s", theirs, mine, text);
        taken += mine;
    }
    assert_in_range(taken, 40000, 199999);
}

static void sinks_of_a_command_line(void **state)
{
    (void)state;
    enum record_format format;
    struct error err;
    json_t *entry = sink_entry("csv=a=b.csv", &err), *parsed = entry ? sink_parse(entry, &err) : NULL;
    assert_non_null(parsed);
    assert_string_equal(sink_file_path(parsed, &format), "a=b.csv");
    assert_int_equal(format, RECORD_CSV);
    json_decref(entry);
    json_decref(parsed);
    entry = sink_entry("influx=-", &err);
    assert_string_equal(json_string_value(json_object_get(entry, "type")), "line-protocol");
    json_decref(entry);
    entry = sink_entry("influx=http://127.0.0.1:8086/db", &err);
    assert_string_equal(json_string_value(json_object_get(entry, "type")), "influx");
    json_decref(entry);
    assert_null(sink_entry("file.ndjson", &err));
    assert_non_null(strstr(err.text, "TYPE=TARGET"));
    assert_null(sink_entry("ndjson=", &err));
    assert_null(sink_entry("njson=x", &err));
    assert_non_null(strstr(err.text, "did you mean \"ndjson\""));
    for (const char *const *type = sink_types(); *type; type++)
        assert_string_equal(sink_find(*type)->name, *type);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ndjson_keeps_json_and_quotes_the_rest),
        cmocka_unit_test(a_binary_encoding_is_never_taken_for_text),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(csv_follows_rfc_4180),
        cmocka_unit_test(influx_takes_the_scalars_of_an_object),
        cmocka_unit_test(at_the_cap_nothing_is_appended),
        cmocka_unit_test(times),
        cmocka_unit_test(the_scanner_knows_json),
        cmocka_unit_test(deep_nesting_is_no_json),
        cmocka_unit_test(the_scanner_agrees_with_jansson),
        cmocka_unit_test(sinks_of_a_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
