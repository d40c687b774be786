// The influx sink without a server: answers, lines, batches, options.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "core/jsonx.h"
#include "sink/influx.h"

static struct influx_answer judge(unsigned status, const char *retry_after, const char *body)
{
    struct influx_answer a;
    influx_judge(status, retry_after, (const uint8_t *)body, strlen(body), 100, 1767225600, &a);
    return a;
}

static void answers_are_understood(void **state)
{
    static const struct {
        unsigned status;
        const char *body;
        enum influx_verdict verdict;
        uint32_t refused;
    } cases[] = {
        {204, "", INFLUX_STORED, 0},
        {200, "", INFLUX_STORED, 0},
        {400, "{\"error\":\"unable to parse 'bad line': invalid field format\"}", INFLUX_BAD, 0},
        {400, "{\"error\":\"partial write: points beyond retention policy dropped=17\"}", INFLUX_PARTIAL, 17},
        {400, "{\"error\":\"partial write: points beyond retention policy dropped=99999999999999999999\"}",
         INFLUX_PARTIAL, 100},
        {400, "{\"error\":\"partial write: unable to parse 'x': missing fields\\nunable to parse 'y': bad dropped=0\"}",
         INFLUX_PARTIAL, 2},
        {400, "{\"error\":\"partial write: field type conflict: input field \\\"t\\\" dropped=1\"}", INFLUX_PARTIAL, 1},
        {400,
         "{\"error\":\"partial write of line protocol occurred\",\"data\":[{\"line_number\":2},{\"line_number\":9}]}",
         INFLUX_PARTIAL, 2},
        {422,
         "{\"code\":\"unprocessable entity\",\"message\":\"failure writing points to database: partial write: points "
         "beyond retention policy dropped=3\"}",
         INFLUX_PARTIAL, 3},
        {422, "{\"code\":\"unprocessable entity\",\"message\":\"no\"}", INFLUX_BAD, 0},
        {400, "not json at all", INFLUX_BAD, 0},
        {400, "", INFLUX_BAD, 0},
        {413, "", INFLUX_LARGE, 0},
        {401, "{\"code\":\"unauthorized\",\"message\":\"unauthorized access\"}", INFLUX_DENIED, 0},
        {403, "", INFLUX_DENIED, 0},
        {404, "{\"error\":\"database not found: \\\"nope\\\"\"}", INFLUX_MISSING, 0},
        {429, "", INFLUX_LATER, 0},
        {500, "", INFLUX_LATER, 0},
        {503, "", INFLUX_LATER, 0},
        {302, "", INFLUX_LATER, 0},
        {0, "", INFLUX_LATER, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct influx_answer a = judge(cases[i].status, "", cases[i].body);
        if (a.verdict != cases[i].verdict || a.refused != cases[i].refused)
            fail_msg("%u %s: verdict %d, %u refused", cases[i].status, cases[i].body, a.verdict, a.refused);
        assert_int_equal(a.wait_us, -1);
    }
    assert_string_equal(judge(404, "", "{\"error\":\"a\\nb\"}").text, "HTTP 404: a b");
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    assert_int_equal(judge(503, "7", "").wait_us, 7000000);
    assert_int_equal(judge(429, "0", "").wait_us, 0);
    assert_int_equal(judge(429, "Thu, 01 Jan 2026 00:00:09 GMT", "").wait_us, 9000000);
    assert_int_equal(judge(429, "Wed, 31 Dec 2025 00:00:00 GMT", "").wait_us, 0);
    assert_int_equal(judge(503, "999999", "").wait_us, 600000000);
    assert_int_equal(judge(503, "soon", "").wait_us, -1);
    assert_int_equal(judge(503, "-5", "").wait_us, -1);
    assert_int_equal(judge(500, "7", "").wait_us, -1);
}

static struct record record_of(const char *payload)
{
    return (struct record){.wall_us = 1767225600123456,
                           .group_name = "g",
                           .group_len = 1,
                           .device = "d,1",
                           .device_len = 3,
                           .topic = "t",
                           .topic_len = 1,
                           .payload = (const uint8_t *)payload,
                           .payload_len = strlen(payload),
                           .model = "m o",
                           .model_len = 3};
}

static void check(struct influx_lines *l, const struct record *r, int expected, uint32_t n, const char *text)
{
    struct buf out;
    uint32_t lines;
    buf_create(&out, 1 << 20);
    assert_int_equal(influx_write_telemetry(l, r, &out, &lines), expected);
    assert_string_equal(buf_cstr(&out), text);
    if (expected > 0)
        assert_int_equal(lines, n);
    buf_destroy(&out);
}

#define HEAD "telemetry,device_id=d\\,1,group_id=g,model_id=m\\ o,site=x"

static void lines_say_who_and_when(void **state)
{
    (void)state;
    struct influx_lines l;
    struct error err;
    json_t *tags = json_pack("{s:s, s:s}", "site", "x", "empty", "");
    assert_int_equal(influx_lines_create(&l, "telemetry", tags, "RUN", 2, &err), 0);
    struct record r =
        record_of("{\"t\":21.5,\"ok\":true,\"s\":\"a\\\"b\\nc\",\"o\":{},\"n\":null,\"timestamp\":1767225600000}");
    check(&l, &r, 1, 1, HEAD ",source=simulated t=21.5,ok=true,s=\"a\\\"b c\" 1767225600123456000\n");
    r = record_of(" 7 "); // the same microsecond: another nanosecond
    r.physical = true;
    check(&l, &r, 1, 1, HEAD ",source=physical value=7 1767225600123456001\n");
    r = record_of("{\"time\":1,\"timestamp\":1000}");
    check(&l, &r, 1, 1, HEAD ",source=simulated time_=1,timestamp=1000 1767225600123456002\n");
    static const char *const none[] = {"", "text", "\"text\"", "[1]", "null", "{}", "{\"a\":{}}", "{\"a\":", "\xff"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        r = record_of(none[i]);
        check(&l, &r, 0, 0, "");
    }
    r = record_of("a,b=c d=1 1\n# no\n\nb d=2");
    r.influx = true;
    check(&l, &r, 1, 2, "a,b=c d=1 1\nb d=2\n");
    struct sink_event e = {.wall_us = 5,
                           .kind = "online",
                           .group = "g",
                           .device = "d",
                           .model = "",
                           .protocol = "mqtt",
                           .detail = "a\n\"b",
                           .latency_us = 1500};
    struct buf out;
    buf_create(&out, 1 << 20);
    assert_int_equal(influx_write_event(&l, &e, &out), 1);
    assert_int_equal(influx_write_connection(&l, &e, &out), 1);
    e.kind = "error";
    assert_int_equal(influx_write_connection(&l, &e, &out), 0);
    assert_string_equal(buf_cstr(&out), "device_events,device_id=d,event_type=online,group_id=g,site=x "
                                        "count=1i,detail=\"a \\\"b\" 5000\n"
                                        "connections,device_id=d,group_id=g,protocol=mqtt,site=x "
                                        "connected=true,latency_ms=1.5 5001\n");
    buf_destroy(&out);
    influx_lines_destroy(&l);
    json_decref(tags);
}

static void batches_come_apart_as_they_were_made(void **state)
{
    (void)state;
    for (int gzip = 0; gzip < 2; gzip++) {
        struct influx_packer *p = influx_packer_new(gzip, NULL);
        struct buf whole, out;
        char line[200];
        buf_create(&whole, 1 << 24);
        buf_create(&out, 1 << 24);
        for (unsigned round = 0; round < 3; round++) {
            buf_clear(&whole);
            assert_null(influx_pack_end(p));
            for (unsigned i = 0; i < 5000; i++) {
                int n = snprintf(line, sizeof(line), "telemetry,device_id=sensors-%u v=%u %u\n", i % 97, i * 7919u, i);
                assert_int_equal(influx_pack(p, line, (size_t)n, 1), 0);
                assert_int_equal(buf_append(&whole, line, (size_t)n), 0);
            }
            assert_int_equal(influx_packed_lines(p), 5000);
            assert_int_equal(influx_packed_bytes(p), whole.len);
            struct influx_batch *b = influx_pack_end(p);
            assert_non_null(b);
            assert_int_equal(b->lines, 5000);
            assert_true(!gzip || b->body.len < whole.len / 3);
            assert_int_equal(influx_unpack(b, &out), 0);
            assert_int_equal(out.len, whole.len);
            assert_memory_equal(out.data, whole.data, whole.len);
            assert_int_equal(influx_batch_store(b, &out), 0);
            struct influx_batch *again = influx_batch_load(out.data, out.len, 5000);
            assert_int_equal(influx_unpack(again, &out), 0);
            assert_memory_equal(out.data, whole.data, whole.len);
            if (gzip) { // damaged
                again->body.len /= 2;
                assert_int_equal(influx_unpack(again, &out), -1);
            }
            influx_batch_delete(b);
            influx_batch_delete(again);
        }
        assert_null(influx_batch_load((const uint8_t *)"q", 1, 1));
        buf_destroy(&whole);
        buf_destroy(&out);
        influx_packer_delete(p);
    }
}

static void options_are_checked(void **state)
{
    static const char *const bad[][2] = {
        {"{}", "url is missing"},
        {"{\"url\":\"http://h\"}", "database is missing"},
        {"{\"url\":\"http://u:p@h/\",\"database\":\"d\"}", "apart from it"},
        {"{\"url\":\"http://h\",\"bucket\":\"b\",\"username\":\"u\"}", "take a token"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"api\":3}", "api"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"memory\":\"1KB\"}", "memory"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"tags\":{\"a\":1}}", "tags"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"cert\":\"a\"}", "cert and key"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"token\":\"a\",\"tokenRef\":\"b\"}", "one of them"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"flush\":\"1h\"}", "flush"},
        {"{\"url\":\"http://h\",\"database\":\"d\",\"bach\":1}", "did you mean \"batch\""},
        {"[]", "table of options"},
    };
    struct error err;
    struct influx_options o;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *v = json_parse(bad[i][0], strlen(bad[i][0]), "test", &err), *parsed = influx_parse(NULL, v, &err);
        if (parsed || !strstr(err.text, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], parsed ? "was taken" : err.text);
        json_decref(v);
    }
    json_t *parsed = influx_parse("http://me:pa%40ss@127.0.0.1:8086/d?flush=2s&memory=8MB&spill=false&batch=7&"
                                  "retentionPolicy=a%20b",
                                  NULL, &err);
    if (!parsed)
        fail_msg("%s", err.text);
    influx_read_options(parsed, &o);
    assert_int_equal(o.api, 1);
    assert_string_equal(o.url, "http://127.0.0.1:8086");
    assert_string_equal(o.database, "d");
    assert_string_equal(o.username, "me");
    assert_string_equal(o.password, "pa@ss");
    assert_string_equal(o.policy, "a b");
    assert_int_equal(o.flush_us, 2000000);
    assert_int_equal(o.memory, 8 << 20);
    assert_int_equal(o.batch, 7);
    assert_null(o.spill);
    assert_true(o.gzip && o.create && o.block);
    json_decref(parsed);
    parsed = influx_parse("http://[::1]:8086/?org=o&bucket=b&token=t", NULL, &err);
    assert_non_null(parsed);
    influx_read_options(parsed, &o);
    assert_int_equal(o.api, 2);
    assert_string_equal(o.url, "http://[::1]:8086");
    assert_string_equal(o.token, "t");
    json_decref(parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_understood), cmocka_unit_test(retry_after_is_seconds_or_a_date),
        cmocka_unit_test(lines_say_who_and_when), cmocka_unit_test(batches_come_apart_as_they_were_made),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
