// Replays: which column, which row at which time, for which type; and what is said about the rest.
#include "core/buf.h"
#include "telemetry/dataset_helper.h"
#include "telemetry/replay.h"

struct player {
    struct replay *r;
    struct gen_state state;
    struct rng rng;
    uint64_t index;
};

static struct replay *try_new(struct place *p, const char *text, enum value_type type,
                              const struct gen_samples *samples, const char *attribute, struct error *err)
{
    const char *dirs[] = {p->dir};
    const struct gen_env env = {.dirs = dirs, .n_dirs = 1, .datasets = p->all};
    json_error_t problem;
    json_t *g = json_loads(text, 0, &problem);
    assert_non_null(g);
    error_clear(err);
    struct replay *r = replay_new(g, type, samples, attribute, &env, err);
    json_decref(g);
    return r;
}

static struct player player_of(struct place *p, const char *text, enum value_type type, uint64_t index)
{
    struct error err;
    struct player x = {.index = index, .r = try_new(p, text, type, NULL, "load", &err)};
    if (!x.r)
        fail_msg("%s: %s", text, err.text);
    rng_seed(&x.rng, index);
    replay_init(x.r, &x.state, &x.rng, &(struct gen_context){.index = index});
    return x;
}

static const char *play(struct place *p, struct player *x, double seconds)
{
    struct value v;
    scratch_clear(&p->scratch);
    const struct gen_context context = {.time_us = (int64_t)(seconds * 1e6), .index = x->index, .scratch = &p->scratch};
    replay_next(x->r, &x->state, &context, &v);
    return show(&v);
}

static void expect_played(struct place *p, const char *generator, enum value_type type, unsigned n,
                          const char *const *shown)
{
    struct player x = player_of(p, generator, type, 1);
    for (unsigned i = 0; i < n; i++)
        assert_string_equal(play(p, &x, i), shown[i]);
    replay_delete(x.r);
}
#define EXPECT_PLAYED(p, g, type, ...)                                                                                 \
    expect_played(p, g, type, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void one_row_a_sample(void **state)
{
    struct place *p = *state;
    put(p, "a.csv", "load\n1\n2.5\n3\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"a.csv\"}", VALUE_NUMBER, "n:1", "n:2.5", "n:3", "n:1", "n:2.5");
    EXPECT_PLAYED(p, "{\"dataFile\":\"a.csv\",\"loopReplay\":false}", VALUE_NUMBER, "n:1", "n:2.5", "n:3", "n:3",
                  "n:3");
    put(p, "bare.csv", "5\n6\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"bare.csv\"}", VALUE_NUMBER, "n:5", "n:6", "n:5");
    put(p, "one.csv", "load\n9\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"one.csv\"}", VALUE_NUMBER, "n:9", "n:9");
}

static void which_column(void **state)
{
    struct place *p = *state;
    put(p, "c.csv", "name,volt,load,amp\nx,230,7,1\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"c.csv\"}", VALUE_INTEGER, "i:7");
    EXPECT_PLAYED(p, "{\"dataFile\":\"c.csv\",\"column\":\"amp\"}", VALUE_INTEGER, "i:1");
    EXPECT_PLAYED(p, "{\"dataFile\":\"c.csv\",\"column\":2}", VALUE_INTEGER, "i:230");
    put(p, "d.csv", "day,watts\nmonday,5\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"d.csv\"}", VALUE_INTEGER, "i:5"); // the second one
    put(p, "e.csv", "watts,time\n5,0\n6,1\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"e.csv\"}", VALUE_INTEGER, "i:5", "i:6"); // the one that is no time
    put(p, "t.csv", "time\n5\n6\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"t.csv\"}", VALUE_INTEGER, "i:5", "i:6"); // a value, as there is no other
}

static void as_recorded(void **state)
{
    struct place *p = *state;
    put(p, "t.csv", "timestamp,load\n2024-01-01T00:00:00Z,0\n2024-01-01T00:00:02Z,2\n2024-01-01T00:00:10Z,10\n");
    struct player x = player_of(p, "{\"dataFile\":\"t.csv\"}", VALUE_INTEGER, 1);
    assert_string_equal(play(p, &x, 0), "i:0");
    assert_string_equal(play(p, &x, 1.999), "i:0");
    assert_string_equal(play(p, &x, 2), "i:2");
    assert_string_equal(play(p, &x, 2), "i:2"); // a function of the time, not of how often it was asked
    assert_string_equal(play(p, &x, 9), "i:2");
    assert_string_equal(play(p, &x, 14.9), "i:10"); // one mean distance (5 s) behind the last
    assert_string_equal(play(p, &x, 15), "i:0");
    assert_string_equal(play(p, &x, 15 * 1000000.0 + 3), "i:2");
    replay_delete(x.r);
    x = player_of(p, "{\"dataFile\":\"t.csv\",\"loopReplay\":false,\"speed\":10}", VALUE_INTEGER, 1);
    assert_string_equal(play(p, &x, 0.21), "i:2");
    assert_string_equal(play(p, &x, 1), "i:10");
    assert_string_equal(play(p, &x, 1e9), "i:10");
    replay_delete(x.r);
    EXPECT_PLAYED(p, "{\"dataFile\":\"t.csv\",\"timing\":\"interval\"}", VALUE_INTEGER, "i:0", "i:2", "i:10", "i:0");
    put(p, "u.csv", "when,load\n0,0\n5,1\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"u.csv\"}", VALUE_INTEGER, "i:0", "i:1");
    EXPECT_PLAYED(p, "{\"dataFile\":\"u.csv\",\"timeColumn\":\"when\"}", VALUE_INTEGER, "i:0", "i:0", "i:0", "i:0",
                  "i:0", "i:1");
    put(p, "same.csv", "ts,load\n7,1\n7,2\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"same.csv\"}", VALUE_INTEGER, "i:2", "i:2");
}

static int number_shown(const char *shown)
{
    assert_memory_equal(shown, "i:", 2);
    return (int)strtol(shown + 2, NULL, 10);
}

static void offsets(void **state)
{
    struct place *p = *state;
    struct buf file;
    buf_create(&file, 1 << 20);
    assert_int_equal(buf_append_str(&file, "time,load\n"), 0);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(buf_printf(&file, "%d,%d\n", 1700000000 + i * 60 + i % 13, i), 0);
    put_bytes(p, "t.csv", file.data, file.len);
    buf_destroy(&file);
    static const char *const by_index[] = {"{\"dataFile\":\"t.csv\",\"offset\":\"index\"}",
                                           "{\"dataFile\":\"t.csv\",\"offset\":\"index\",\"timing\":\"interval\"}"};
    for (unsigned k = 0; k < 2; k++) {
        for (uint64_t index = 1; index < 6002; index += 37) {
            char wanted[32];
            struct player x = player_of(p, by_index[k], VALUE_INTEGER, index);
            snprintf(wanted, sizeof wanted, "i:%llu", (unsigned long long)((index - 1) % 3000));
            assert_string_equal(play(p, &x, 0), wanted);
            replay_delete(x.r);
        }
    }
    static const char *const random[] = {"{\"dataFile\":\"t.csv\",\"offset\":\"random\"}",
                                         "{\"dataFile\":\"t.csv\",\"offset\":\"random\",\"timing\":\"interval\"}"};
    for (unsigned k = 0; k < 2; k++) {
        double sum = 0;
        for (uint64_t index = 1; index <= 400; index++) {
            struct player x = player_of(p, random[k], VALUE_INTEGER, index);
            int first = number_shown(play(p, &x, 0)), again;
            rng_seed(&x.rng, index);
            replay_init(x.r, &x.state, &x.rng, &(struct gen_context){.index = index});
            again = number_shown(play(p, &x, 0));
            assert_int_equal(first, again);
            sum += first;
            replay_delete(x.r);
        }
        assert_true(fabs(sum / 400 - 1500) < 4 * 866 / 20.0);
    }
}

static void types(void **state)
{
    struct place *p = *state;
    put(p, "t.csv", "load\n2.5\ntrue\n\"x \"\"y\"\"\"\n007\n\n-1e30\n");
    const char *g = "{\"dataFile\":\"t.csv\"}";
    EXPECT_PLAYED(p, g, VALUE_NUMBER, "n:2.5", "n:1", "null", "n:7", "n:-1e+30");
    EXPECT_PLAYED(p, g, VALUE_INTEGER, "i:2", "i:1", "null", "i:7", "i:-9223372036854775808");
    EXPECT_PLAYED(p, g, VALUE_BOOLEAN, "b:true", "b:true", "null", "b:true", "b:false");
    EXPECT_PLAYED(p, g, VALUE_STRING, "s:2.5", "s:true", "s:x \"y\"", "s:007", "s:-1e30");
    EXPECT_PLAYED(p, g, VALUE_BINARY, "x:2.5", "x:true", "x:x \"y\"", "x:007", "x:-1e30");
    EXPECT_PLAYED(p, g, VALUE_NULL, "n:2.5", "b:true", "s:x \"y\"", "i:7", "n:-1e+30");
    put(p, "o.csv", "id,load\n1,\"{\"\"a\"\":[1]}\"\n2,{broken\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"o.csv\"}", VALUE_JSON, "j:{\"a\":[1]}", "null");
    put(p, "o.ndjson", "{\"load\":{\"a\":1},\"s\":\"4.5\"}\n{\"load\":7}\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"o.ndjson\"}", VALUE_JSON, "j:{\"a\":1}", "null");
    EXPECT_PLAYED(p, "{\"dataFile\":\"o.ndjson\",\"column\":\"s\"}", VALUE_NUMBER, "n:4.5", "null");
    put(p, "w.ndjson", "{\"lat\":1,\"ts\":0}\n{\"lat\":2,\"ts\":1}\n");
    EXPECT_PLAYED(p, "{\"dataFile\":\"w.ndjson\"}", VALUE_JSON, "j:{\"lat\":1,\"ts\":0}", "j:{\"lat\":2,\"ts\":1}");
}

static void binary(void **state)
{
    struct place *p = *state;
    struct error err;
    struct value v;
    put(p, "e.bin", "abcdefgh");
    const struct gen_samples samples = {.count = 2, .bits = 16};
    struct replay *r = try_new(p, "{\"dataFile\":\"e.bin\"}", VALUE_BINARY, &samples, NULL, &err);
    assert_non_null(r);
    struct gen_state s;
    replay_init(r, &s, NULL, &(struct gen_context){.index = 1});
    for (int i = 0; i < 3; i++) {
        replay_next(r, &s, &(struct gen_context){.index = 1}, &v);
        assert_string_equal(show(&v), i % 2 ? "x:efgh" : "x:abcd");
    }
    replay_delete(r);
    assert_null(try_new(p, "{\"dataFile\":\"e.bin\",\"chunk\":3}", VALUE_BINARY, &samples, NULL, &err));
    assert_non_null(strstr(err.text, "8 bytes are 2 chunks of 3 bytes and 2 bytes more"));
    assert_null(try_new(p, "{\"dataFile\":\"e.bin\",\"chunk\":4}", VALUE_NUMBER, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "for attributes of type binary"));
}

// Samples from rows of text: packed, clamped, in either order of bytes.
static void packed_samples(void **state)
{
    struct place *p = *state;
    struct error err;
    struct value v;
    struct gen_state s;
    put(p, "ecg.csv", "mv\n1\n-2\n\n70000\n\"\"\n3.5\n");
    const struct gen_samples wide = {.count = 3, .bits = 16, .big_endian = true, .signed_samples = true};
    const struct gen_samples narrow = {.count = 2, .bits = 8};
    struct replay *r = try_new(p, "{\"dataFile\":\"ecg.csv\"}", VALUE_BINARY, &wide, "ecg", &err);
    assert_non_null(r);
    const struct gen_context context = {.index = 1, .scratch = &p->scratch};
    replay_init(r, &s, NULL, &context);
    replay_next(r, &s, &context, &v);
    assert_int_equal(v.type, VALUE_BINARY);
    assert_int_equal(v.str.n, 6);
    assert_memory_equal(v.str.s, "\x00\x01\xff\xfe\x7f\xff", 6);
    replay_next(r, &s, &context, &v);
    assert_memory_equal(v.str.s, "\x00\x00\x00\x04\x00\x01", 6); // a gap, 3.5, from the start
    replay_next(r, &s, &(struct gen_context){.index = 1}, &v);
    assert_int_equal(v.type, VALUE_NULL); // nowhere to put them
    replay_delete(r);
    r = try_new(p, "{\"dataFile\":\"ecg.csv\"}", VALUE_BINARY, &narrow, "ecg", &err);
    replay_init(r, &s, NULL, &context);
    replay_next(r, &s, &context, &v);
    assert_memory_equal(v.str.s, "\x01\x00", 2);
    replay_next(r, &s, &context, &v);
    assert_memory_equal(v.str.s, "\xff\xff", 2); // the gap repeats
    replay_delete(r);
}

static void the_file_goes_away(void **state)
{
    struct place *p = *state;
    char path[100];
    struct buf file;
    buf_create(&file, 1 << 20);
    assert_int_equal(buf_append_str(&file, "time,load\n"), 0);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buf_printf(&file, "%d,%d\n", i, i), 0);
    put_bytes(p, "t.csv", file.data, file.len);
    buf_destroy(&file);
    struct player x = player_of(p, "{\"dataFile\":\"t.csv\"}", VALUE_INTEGER, 1);
    struct player y = player_of(p, "{\"dataFile\":\"t.csv\",\"timing\":\"interval\"}", VALUE_INTEGER, 1);
    assert_string_equal(play(p, &x, 4000), "i:4000");
    snprintf(path, sizeof path, "%s/t.csv", p->dir);
    assert_int_equal(truncate(path, 0), 0);
    for (int i = 0; i < 10000; i += 77) {
        assert_string_equal(play(p, &x, i), "null");
        assert_string_equal(play(p, &y, i), "null");
    }
    replay_delete(x.r);
    replay_delete(y.r);
}

static void errors(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *generator, *said;
        enum value_type type;
    } cases[] = {
        {"{}", "dataFile: missing", VALUE_NUMBER},
        {"{\"dataFile\":7}", "dataFile: expected a string, got a number", VALUE_NUMBER},
        {"{\"dataFile\":\"none.csv\"}", "dataFile: none.csv: there is no such file", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"format\":\"cvs\"}", "did you mean \"csv\"?", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"loopReplay\":1}", "loopReplay: expected true or false", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":\"lod\"}", "column: ", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":\"lod\"}", "did you mean \"load\"?", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":3}", "has the columns 1 to 2", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":0}", "has the columns 1 to 2", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":1.5}", "column: expected the name of a column", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"timing\":\"original\"}", "needs a column of times", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"timing\":\"orginal\"}", "did you mean \"original\"?", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"speed\":2}", "speed: only timing \"original\" has one", VALUE_NUMBER},
        {"{\"dataFile\":\"t.csv\",\"speed\":0}", "speed: must lie between", VALUE_NUMBER},
        {"{\"dataFile\":\"t.csv\",\"timeColumn\":\"time\",\"timing\":\"interval\"}", "timeColumn: timing \"interval\"",
         VALUE_NUMBER},
        {"{\"dataFile\":\"t.csv\",\"offset\":\"indx\"}", "offset: unknown", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"column\":\"word\"}", "a.csv:2: column \"word\" holds \"hello\"", VALUE_NUMBER},
        {"{\"dataFile\":\"a.csv\",\"timeColumn\":\"word\"}", "a.csv:3: column \"word\": expected a time", VALUE_NUMBER},
        {"{\"dataFile\":\"a.txt\"}", "a.txt: its name does not tell its format", VALUE_NUMBER},
        {"{\"dataFile\":\"t.csv\",\"chunk\":0}", "chunk: expected a whole number", VALUE_NUMBER},
    };
    put(p, "a.csv", "word,load\nhello,1\nyou,2\n");
    put(p, "t.csv", "time,load\n0,1\n1,2\n");
    put(p, "a.txt", "1\n2\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        struct replay *r = try_new(p, cases[i].generator, cases[i].type, NULL, "load", &err);
        if (r || !strstr(err.text, cases[i].said))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].generator, cases[i].said, r ? "a replay" : err.text);
    }
    struct error err;
    json_t *g = json_pack("{s:s}", "dataFile", "a.csv");
    assert_null(replay_new(g, VALUE_NUMBER, NULL, NULL, &(struct gen_env){0}, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    json_decref(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_row_a_sample), TEST(which_column),   TEST(as_recorded),        TEST(offsets), TEST(types),
        TEST(binary),           TEST(packed_samples), TEST(the_file_goes_away), TEST(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
