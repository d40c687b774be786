// Files of rows: what is read from good ones, what is said about bad ones, and that nothing that happens to a mapped
// file ends the process.
#include <signal.h>
#include "core/buf.h"
#include "telemetry/dataset_helper.h"

static const char *field(struct place *p, const struct dataset *ds, uint64_t row, unsigned column)
{
    struct value v;
    dataset_field(ds, row, column, &p->scratch, &v);
    return show(&v);
}

static const char *text(struct place *p, const struct dataset *ds, uint64_t row, unsigned column)
{
    struct value v;
    dataset_text(ds, row, column, &p->scratch, &v);
    return show(&v);
}

// --- good ones

static void csv_fields(void **state)
{
    struct place *p = *state;
    put(p, "a.csv",
        "serial,temp,\"the name\",on\n007,21.5,\"said \"\"hi\"\", twice\",true\n,-1e3,\"two\nlines\",FALSE\n 5 "
        ",0x10,\"\",\"7\"");
    struct dataset *ds = open_ok(p, "a.csv");
    assert_int_equal(dataset_format(ds), DATASET_CSV);
    assert_int_equal(dataset_rows(ds), 3);
    assert_int_equal(dataset_columns(ds), 4);
    assert_string_equal(dataset_column_name(ds, 2), "the name");
    assert_string_equal(field(p, ds, 0, 0), "i:7");
    assert_string_equal(text(p, ds, 0, 0), "s:007");
    assert_string_equal(field(p, ds, 0, 1), "n:21.5");
    assert_string_equal(field(p, ds, 0, 2), "s:said \"hi\", twice");
    assert_string_equal(field(p, ds, 0, 3), "b:true");
    assert_string_equal(field(p, ds, 1, 0), "null");
    assert_string_equal(field(p, ds, 1, 1), "n:-1000");
    assert_string_equal(field(p, ds, 1, 2), "s:two\nlines");
    assert_string_equal(field(p, ds, 1, 3), "b:false");
    assert_string_equal(field(p, ds, 2, 0), "i:5");
    assert_string_equal(text(p, ds, 2, 0), "s: 5 ");
    assert_string_equal(field(p, ds, 2, 1), "s:0x10");
    assert_string_equal(field(p, ds, 2, 2), "s:");
    assert_string_equal(field(p, ds, 2, 3), "s:7"); // in quotes it is a text
    assert_string_equal(field(p, ds, 3, 0), "null");
    assert_string_equal(field(p, ds, 0, 4), "null");
    assert_int_equal(dataset_line(ds, 2), 5);
    dataset_release(p->all, ds);
}

static void csv_ends_of_lines(void **state)
{
    struct place *p = *state;
    put(p, "dos.csv", "\xef\xbb\xbfid;v\r\n\r\na;1,5\r\nb;\"x\"\r\n\r\n");
    struct dataset *ds = open_ok(p, "dos.csv");
    assert_int_equal(dataset_rows(ds), 2);
    assert_string_equal(dataset_column_name(ds, 0), "id");
    assert_string_equal(field(p, ds, 0, 1), "s:1,5");
    assert_string_equal(field(p, ds, 1, 1), "s:x");
    dataset_release(p->all, ds);
    put(p, "t.tsv", "a,b\tc\n1,2\t3");
    ds = open_ok(p, "t.tsv");
    assert_int_equal(dataset_columns(ds), 2);
    assert_string_equal(field(p, ds, 0, 0), "s:1,2");
    assert_string_equal(field(p, ds, 0, 1), "i:3");
    dataset_release(p->all, ds);
}

static void csv_header_is_found_out(void **state)
{
    struct place *p = *state;
    put(p, "bare.csv", "2024-01-01T00:00:00Z,1.5\n2024-01-01T00:00:01Z,1.6\n");
    struct dataset *ds = open_ok(p, "bare.csv");
    assert_int_equal(dataset_rows(ds), 2);
    assert_string_equal(dataset_column_name(ds, 1), "2");
    dataset_release(p->all, ds);
    struct error err;
    ds = open_with(p, "bare.csv", &(struct dataset_options){.header = DATASET_HEADER_YES}, &err);
    assert_int_equal(dataset_rows(ds), 1);
    assert_string_equal(dataset_column_name(ds, 1), "1.5");
    dataset_release(p->all, ds);
    put(p, "words.csv", "a,b\nc,d\n");
    ds = open_with(p, "words.csv", &(struct dataset_options){.header = DATASET_HEADER_NO}, &err);
    assert_int_equal(dataset_rows(ds), 2);
    assert_string_equal(field(p, ds, 0, 1), "s:b");
    dataset_release(p->all, ds);
}

static void json_rows(void **state)
{
    struct place *p = *state;
    static const char rows[] =
        "{\"t\": 1, \"s\": \"a\\u00e9\\n\\ud83d\\ude00\\ud800\", \"o\": {\"x\": [1, \"}\"]}, \"b\": true}\n"
        "\n{\"s\":\"plain\",\"extra\":null,\"t\":-2.5e1}\r\n{\"\\u0074\":12345678901234567890}";
    put(p, "r.ndjson", rows);
    struct dataset *ds = open_ok(p, "r.ndjson");
    assert_int_equal(dataset_rows(ds), 3);
    assert_int_equal(dataset_columns(ds), 4);
    assert_true(dataset_has_objects(ds));
    assert_string_equal(field(p, ds, 0, 0), "i:1");
    assert_string_equal(text(p, ds, 0, 0), "s:1");
    assert_string_equal(field(p, ds, 0, 1), "s:a\xc3\xa9\n\xf0\x9f\x98\x80\xef\xbf\xbd");
    assert_string_equal(field(p, ds, 0, 2), "j:{\"x\": [1, \"}\"]}");
    assert_string_equal(field(p, ds, 0, 3), "b:true");
    assert_string_equal(field(p, ds, 1, 0), "n:-25");
    assert_string_equal(field(p, ds, 1, 1), "s:plain");
    assert_string_equal(field(p, ds, 1, 2), "null");
    assert_string_equal(field(p, ds, 2, 0), "n:1.23456789012346e+19");
    struct value v;
    dataset_row_at(ds, dataset_seek(ds, 1), &v);
    assert_string_equal(show(&v), "j:{\"s\":\"plain\",\"extra\":null,\"t\":-2.5e1}");
    dataset_release(p->all, ds);

    put(p, "r.json", " [ {\"t\": 1,\n\"s\": \"a\"} ,\n {\"t\": 2} ] \n");
    ds = open_ok(p, "r.json");
    assert_int_equal(dataset_rows(ds), 2);
    assert_string_equal(field(p, ds, 1, 0), "i:2");
    assert_int_equal(dataset_line(ds, 1), 3);
    assert_int_equal(dataset_next(ds, dataset_seek(ds, 1)), dataset_seek(ds, 2));
    dataset_release(p->all, ds);

    put(p, "s.json", "[1, 2.5, null, \"x\", [3]]");
    ds = open_ok(p, "s.json");
    assert_int_equal(dataset_rows(ds), 5);
    assert_string_equal(dataset_column_name(ds, 0), "value");
    assert_string_equal(field(p, ds, 1, 0), "n:2.5");
    assert_string_equal(field(p, ds, 2, 0), "null");
    assert_string_equal(field(p, ds, 4, 0), "j:[3]");
    dataset_release(p->all, ds);

    put(p, "s.jsonl", "1\n2\n3");
    ds = open_ok(p, "s.jsonl");
    assert_int_equal(dataset_rows(ds), 3);
    assert_string_equal(field(p, ds, 2, 0), "i:3");
    dataset_release(p->all, ds);
}

static void binary_chunks(void **state)
{
    struct place *p = *state;
    struct error err;
    put_bytes(p, "e.bin", "ab\0defgh", 8);
    struct dataset *ds = open_with(p, "e.bin", &(struct dataset_options){.chunk = 4}, &err);
    assert_int_equal(dataset_rows(ds), 2);
    struct value v;
    dataset_field(ds, 1, 0, NULL, &v);
    assert_string_equal(show(&v), "x:efgh");
    dataset_field(ds, 0, 0, NULL, &v);
    assert_int_equal(v.str.n, 4);
    assert_memory_equal(v.str.s, "ab\0d", 4);
    dataset_release(p->all, ds);
}

static void many_rows_by_number(void **state)
{
    struct place *p = *state;
    enum { ROWS = 1000 };
    for (int quoted = 0; quoted < 2; quoted++) {
        char *all = malloc(ROWS * 40), *to = all;
        to += snprintf(to, 40, "n,v\n");
        for (int i = 0; i < ROWS; i++)
            to += snprintf(to, 40, quoted ? "%d,\"a\n%d\"\n" : "%d,a%d\r\n", i, i);
        put_bytes(p, quoted ? "q.csv" : "p.csv", all, (size_t)(to - all));
        free(all);
        struct dataset *ds = open_ok(p, quoted ? "q.csv" : "p.csv");
        assert_int_equal(dataset_rows(ds), ROWS);
        uint64_t at = dataset_seek(ds, 0);
        for (int i = 0; i < ROWS; i++, at = dataset_next(ds, at)) {
            char wanted[32];
            struct value v;
            assert_int_equal(at, dataset_seek(ds, (uint64_t)i));
            snprintf(wanted, sizeof wanted, "i:%d", i);
            assert_string_equal(field(p, ds, (uint64_t)i, 0), wanted);
            dataset_text_at(ds, at, 1, NULL, &v);
            snprintf(wanted, sizeof wanted, quoted ? "s:a\n%d" : "s:a%d", i);
            assert_string_equal(show(&v), wanted);
        }
        assert_int_equal(at, dataset_seek(ds, ROWS));
        assert_true(dataset_footprint(ds) < 1024);
        dataset_release(p->all, ds);
    }
}

static void numbers(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"0", "i:0"},
        {"-0", "i:0"},
        {"+5", "i:5"},
        {"0.1", "n:0.1"},
        {".5", "n:0.5"},
        {"5.", "n:5"},
        {"1e400", "s:1e400"},
        {"1e-400", "n:0"},
        {"123456789012345678", "i:123456789012345678"},
        {"1234567890123456789", "n:1.23456789012346e+18"},
        {"0.1234567890123456789", "n:0.123456789012346"},
        {"1e5", "n:100000"},
        {"-1.5E-3", "n:-0.0015"},
        {"-9.007199254740993e15", "n:-9.00719925474099e+15"},
        {"1e", "s:1e"},
        {".", "s:."},
        {"-", "s:-"},
        {"1 2", "s:1 2"},
        {"nan", "s:nan"},
        {"inf", "s:inf"},
        {"1_000", "s:1_000"},
    };
    struct buf file;
    buf_create(&file, 4096);
    assert_int_equal(buf_append_str(&file, "v\n"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(buf_printf(&file, "%s\n", cases[i].text), 0);
    put_bytes(p, "n.csv", file.data, file.len);
    buf_destroy(&file);
    struct dataset *ds = open_ok(p, "n.csv");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(field(p, ds, i, 0), cases[i].shown);
    dataset_release(p->all, ds);
}

// --- sharing

static void a_file_is_mapped_once(void **state)
{
    struct place *p = *state;
    struct error err;
    put(p, "a.csv", "v\n1\n");
    struct dataset *a = open_ok(p, "a.csv"), *b = open_ok(p, "a.csv");
    assert_ptr_equal(a, b);
    struct dataset *other = open_with(p, "a.csv", &(struct dataset_options){.header = DATASET_HEADER_NO}, &err);
    assert_ptr_not_equal(a, other);
    dataset_release(p->all, other);
    dataset_release(p->all, a);
    assert_string_equal(field(p, b, 0, 0), "i:1");
    // A new file of the same name is another one; the old one stays as it is for those who have it.
    put(p, "new", "v\n22\n");
    char from[100], to[100];
    snprintf(from, sizeof from, "%s/new", p->dir);
    snprintf(to, sizeof to, "%s/a.csv", p->dir);
    assert_int_equal(rename(from, to), 0);
    struct dataset *fresh = open_ok(p, "a.csv");
    assert_ptr_not_equal(b, fresh);
    assert_string_equal(field(p, b, 0, 0), "i:1");
    assert_string_equal(field(p, fresh, 0, 0), "i:22");
    dataset_release(p->all, fresh);
    dataset_release(p->all, b);
}

static void a_file_that_shrinks(void **state)
{
    struct place *p = *state;
    struct sigaction before, after;
    char path[100];
    sigaction(SIGBUS, NULL, &before);
    char *bytes = malloc(100000);
    memset(bytes, 'x', 100000);
    for (int i = 9; i < 100000; i += 10)
        bytes[i] = '\n';
    put_bytes(p, "s.csv", bytes, 100000);
    free(bytes);
    put(p, "other.csv", "v\n1\n");
    struct dataset *ds = open_ok(p, "s.csv"), *other = open_ok(p, "other.csv");
    uint64_t last = dataset_rows(ds) - 1;
    assert_string_equal(text(p, ds, last, 0), "s:xxxxxxxxx");
    snprintf(path, sizeof path, "%s/s.csv", p->dir);
    assert_int_equal(truncate(path, 20), 0);
    assert_null(datasets_lost(p->all)); // nobody has looked
    assert_string_equal(text(p, ds, last, 0), "null");
    assert_true(dataset_lost(ds));
    assert_string_equal(text(p, ds, 0, 0), "null");
    assert_string_equal(datasets_lost(p->all), dataset_path(ds));
    assert_null(datasets_lost(p->all)); // told once
    assert_string_equal(field(p, other, 0, 0), "i:1");
    struct dataset *again = open_ok(p, "s.csv"); // the short one is another file
    assert_int_equal(dataset_rows(again), 1);
    dataset_release(p->all, again);
    dataset_release(p->all, other);
    dataset_release(p->all, ds);
    sigaction(SIGBUS, NULL, &after);
    assert_true(before.sa_handler == after.sa_handler);
}

// Within its last page nothing faults: what is gone reads as zeros.
static void a_file_that_shrinks_a_little(void **state)
{
    struct place *p = *state;
    char path[100];
    put(p, "s.csv", "v\nabcdefg\nabcdefg\nabcdefg\n");
    struct dataset *ds = open_ok(p, "s.csv");
    snprintf(path, sizeof path, "%s/s.csv", p->dir);
    assert_int_equal(truncate(path, 13), 0);
    assert_string_equal(text(p, ds, 0, 0), "s:abcdefg");
    assert_string_equal(text(p, ds, 1, 0), "null");
    assert_string_equal(text(p, ds, 2, 0), "null");
    dataset_release(p->all, ds);
}

static void without_scratch(void **state)
{
    struct place *p = *state;
    struct value v;
    put(p, "a.csv", "v,w\n\"a\"\"b\",\"plain\"\n");
    struct dataset *ds = open_ok(p, "a.csv");
    dataset_field(ds, 0, 0, NULL, &v);
    assert_int_equal(v.type, VALUE_NULL);
    dataset_field(ds, 0, 1, NULL, &v);
    assert_string_equal(show(&v), "s:plain");
    struct scratch full;
    scratch_create(&full, 1);
    dataset_field(ds, 0, 0, &full, &v);
    assert_int_equal(v.type, VALUE_NULL);
    scratch_destroy(&full);
    dataset_release(p->all, ds);
}

// --- columns and times

static void unknown_column(void **state)
{
    struct place *p = *state;
    struct error err;
    put(p, "a.csv", "serial,user,secret\n1,2,3\n");
    struct dataset *ds = open_ok(p, "a.csv");
    assert_int_equal(dataset_column(ds, "user", &err), 1);
    assert_int_equal(dataset_column(ds, "seriel", &err), -1);
    assert_non_null(strstr(err.text, "no column \"seriel\"; there is serial, user, secret; did you mean \"serial\"?"));
    dataset_release(p->all, ds);
}

static void recorded_times(void **state)
{
    struct place *p = *state;
    struct error err;
    put(p, "t.csv",
        "time,ms,iso,rel,down\n"
        "1700000000,1700000000000,2023-11-14T22:13:20Z,0,3\n"
        "1700000001.5,1700000001500,2023-11-14 23:13:21.5+01:00,1.5,2\n"
        "1700000003,1700000003000,\"2023-11-14T22:13:23,000Z\",3,1\n");
    struct dataset *ds = open_ok(p, "t.csv");
    for (unsigned c = 0; c < 4; c++) {
        struct dataset_clock *clock = dataset_clock(ds, c, &err);
        if (!clock)
            fail_msg("%s", err.text);
        assert_int_equal(dataset_clock_span_us(clock), 3000000);
        assert_int_equal(dataset_clock_us(clock, dataset_seek(ds, 1)), 1500000);
        assert_ptr_equal(clock, dataset_clock(ds, c, &err));
    }
    assert_null(dataset_clock(ds, 4, &err));
    assert_non_null(strstr(err.text, "t.csv:3: column \"down\" goes back in time"));
    dataset_release(p->all, ds);
    put(p, "bad.csv", "ts,v\n1,1\nsoon,2\n3,3\n");
    ds = open_ok(p, "bad.csv");
    assert_null(dataset_clock(ds, 0, &err));
    assert_non_null(strstr(err.text, "bad.csv:3: column \"ts\": expected a time"));
    assert_non_null(strstr(err.text, "got \"soon\""));
    dataset_release(p->all, ds);
}

static void rows_by_time(void **state)
{
    struct place *p = *state;
    struct error err;
    enum { ROWS = 500 };
    struct buf file;
    buf_create(&file, 65536);
    assert_int_equal(buf_append_str(&file, "ts,v\n"), 0);
    int64_t times[ROWS], t = 0;
    for (int i = 0; i < ROWS; i++) {
        t += i % 7 == 3 ? 0 : i % 50 == 9 ? 40000 : 1; // equal ones and gaps
        times[i] = t;
        assert_int_equal(buf_printf(&file, "%lld,%d\n", (long long)t, i), 0);
    }
    put_bytes(p, "t.csv", file.data, file.len);
    buf_destroy(&file);
    struct dataset *ds = open_ok(p, "t.csv");
    struct dataset_clock *clock = dataset_clock(ds, 0, &err);
    assert_non_null(clock);
    uint64_t state_row = 0, state_at = dataset_seek(ds, 0), x = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        int64_t us = (int64_t)(x % ((uint64_t)(t + 10) * 1000000)) - 2000000;
        if (i % 3) // mostly a little further on
            us = dataset_clock_us(clock, state_at) + (int64_t)(x % 20000000);
        uint64_t wanted = 0;
        while (wanted + 1 < ROWS && (times[wanted + 1] - times[0]) * 1000000 <= us)
            wanted++;
        dataset_clock_find(clock, us, &state_row, &state_at);
        assert_int_equal(state_row, wanted);
        assert_int_equal(state_at, dataset_seek(ds, wanted));
    }
    dataset_release(p->all, ds);
}

static void iso_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; // -1: none
    } cases[] = {{"1970-01-01", 0},
                 {"1970-01-01T00:00:01Z", 1},
                 {"2024-02-29T12:00Z", 1709208000},
                 {"2000-03-01 00:00:00", 951868800},
                 {"2024-01-01T00:00:00+0130", 1704061800},
                 {"2024-01-01T00:00:00-01", 1704070800},
                 {"2023-02-29", -1},
                 {"2024-13-01", -1},
                 {"2024-01-01T25:00", -1},
                 {"2024-01-01T10:00:00.", -1},
                 {"2024-01-01T10:00:00+1", -1},
                 {"2024-01-01T", -1},
                 {"2024-01-01T10:00:00Zx", -1},
                 {"", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = -1;
        bool ok = dataset_time_parse(cases[i].text, strlen(cases[i].text), &us);
        if (ok != (cases[i].seconds >= 0) || (ok && us != cases[i].seconds * 1000000))
            fail_msg("%s: %d, %lld", cases[i].text, ok, (long long)us);
    }
}

// --- bad ones

static void bad_files(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *name, *bytes, *said;
        size_t n; // 0: strlen
    } cases[] = {
        {"empty.csv", "", "empty.csv: the file is empty", 0},
        {"blank.csv", "\r\n\n", "blank.csv: there are no rows in it", 0},
        {"header.csv", "a,b\n", "header.csv: a header and no rows", 0},
        {"quote.csv", "a,b\n1,2\n3,\"open\n4,5\n", "quote.csv:3: the quote of field 2 is not closed", 0},
        {"behind.csv", "a,b\n\"1\"x,2\n", "behind.csv:2: field 1 goes on behind its closing quote", 0},
        {"ragged.csv", "a,b\n1,2\n\"3\n3\",4\n5\n", "ragged.csv:5: expected 2 fields as in the first row, got 1", 0},
        {"long.csv", "a,b\n1,2,3\n", "long.csv:2: expected 2 fields as in the first row, got 3", 0},
        {"twice.csv", "a,b,a\n1,2,3\n", "twice.csv:1: columns 1 and 3 are both named \"a\"", 0},
        {"nul.csv", "a\n1\n\0\n", "nul.csv:3: a NUL byte", 6},
        {"latin.csv", "a\n1\nk\xe4lte\n", "latin.csv:3: byte 0xe4 is no UTF-8", 0},
        {"utf16.csv", "\xff\xfe\x61\0", "utf16.csv: it is UTF-16", 4},
        {"cut.ndjson", "{\"a\":1}\n{\"a\":", "cut.ndjson:2:6: expected a value, the text ends", 0},
        {"text.ndjson", "{\"a\":1}\nhello\n", "text.ndjson:2:1: expected a value", 0},
        {"two.ndjson", "{\"a\":1} {\"a\":2}\n", "two.ndjson:1:9: expected one value a line", 0},
        {"mixed.ndjson", "{\"a\":1}\n5\n", "mixed.ndjson:2:1: expected an object as in the first row", 0},
        {"mixed2.ndjson", "5\n{\"a\":1}\n", "mixed2.ndjson:2:1: an object, but the first row is none", 0},
        {"string.ndjson", "\"abc\n", "string.ndjson:1:5: a string is not closed", 0},
        {"escape.ndjson", "\"a\\x\"\n", "escape.ndjson:1:4: an unknown escape", 0},
        {"nul.ndjson", "\"\\u0000\"\n", "\\u0000 is not possible here", 0},
        {"comma.ndjson", "{\"a\":1,}\n", "comma.ndjson:1:8: expected a key in quotes", 0},
        {"number.ndjson", "01\n", "number.ndjson:1:2: expected one value a line", 0},
        {"keys.ndjson", "{\"a\":1,\"a\":2}\n", "columns 1 and 2 are both named \"a\"", 0},
        {"none.ndjson", "{}\n", "the first row is an empty object", 0},
        {"blank.ndjson", " \n \n", "blank.ndjson: there are no rows in it", 0},
        {"object.json", "{\"a\": [1]}", "object.json:1:1: expected an array of rows", 0},
        {"none.json", " [ ] ", "none.json: the array has no rows", 0},
        {"cut.json", "[1,\n2", "cut.json:2:2: expected , or ] behind a row", 0},
        {"tail.json", "[1] 2", "tail.json:1:5: expected nothing behind the array", 0},
        {"comma.json", "[1,]", "comma.json:1:4: expected a value", 0},
        {"what.txt", "abc", "what.txt: its name does not tell its format; give format (csv, ndjson, json)", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        put_bytes(p, cases[i].name, cases[i].bytes, cases[i].n ? cases[i].n : strlen(cases[i].bytes));
        struct dataset *ds = open_with(p, cases[i].name, NULL, &err);
        if (ds || !strstr(err.text, cases[i].said))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].name, cases[i].said, ds ? "a dataset" : err.text);
    }
}

static void what_is_no_file(void **state)
{
    struct place *p = *state;
    struct error err;
    char path[100];
    assert_null(open_with(p, "missing.csv", NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/missing.csv, /tmp/iotix-test-data-"));
    snprintf(path, sizeof path, "%s/dir.csv", p->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(open_with(p, "dir.csv", NULL, &err));
    assert_non_null(strstr(err.text, "expected a file, it is a directory"));
    snprintf(path, sizeof path, "%s/fifo.csv", p->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(open_with(p, "fifo.csv", NULL, &err));
    assert_non_null(strstr(err.text, "expected a file, it is a FIFO"));
    if (geteuid() != 0) {
        put(p, "secret.csv", "a\n1\n");
        snprintf(path, sizeof path, "%s/secret.csv", p->dir);
        assert_int_equal(chmod(path, 0), 0);
        assert_null(open_with(p, "secret.csv", NULL, &err));
        assert_non_null(strstr(err.text, "cannot be opened"));
    }
    char *endless = malloc(6000);
    memset(endless, 'a', 5999);
    endless[5999] = '\0';
    assert_null(open_with(p, endless, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    free(endless);
    assert_null(open_with(p, "", NULL, &err));
}

static void caps(void **state)
{
    struct place *p = *state;
    struct error err;
    static const char *const names[] = {"row.csv", "row.ndjson", "row.json"};
    for (int over = 0; over < 2; over++) {
        for (int kind = 0; kind < 3; kind++) {
            size_t n = DATASET_MAX_ROW + (size_t)over;
            char *bytes = malloc(n + 8), *to = bytes;
            if (kind == 0)
                *to++ = 'v', *to++ = '\n';
            if (kind == 2)
                *to++ = '[';
            memset(to, 'a', n);
            if (kind)
                to[0] = to[n - 1] = '"';
            to[n] = kind == 2 ? ']' : '\n';
            put_bytes(p, names[kind], bytes, (size_t)(to - bytes) + n + 1);
            free(bytes);
            struct dataset *ds = open_with(p, names[kind], NULL, &err);
            if (!over == !ds)
                fail_msg("%s: %s", names[kind], ds ? "a row above the cap" : err.text);
            if (over)
                assert_non_null(strstr(err.text, "a row of more than 1048576 bytes"));
            dataset_release(p->all, ds);
        }
    }
    struct buf wide;
    buf_create(&wide, 1 << 20);
    for (unsigned i = 0; i <= DATASET_MAX_COLUMNS; i++)
        assert_int_equal(buf_printf(&wide, "%sc%u", i ? "," : "", i), 0);
    put_bytes(p, "wide.csv", wide.data, wide.len);
    buf_destroy(&wide);
    assert_null(open_with(p, "wide.csv", NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    char deep[200];
    memset(deep, '[', 100), memset(deep + 100, ']', 100);
    put_bytes(p, "deep.json", deep, 200);
    assert_null(open_with(p, "deep.json", NULL, &err));
    assert_non_null(strstr(err.text, "more than 64 levels"));
    put(p, "odd.bin", "abcdefg");
    assert_null(open_with(p, "odd.bin", &(struct dataset_options){.chunk = 4}, &err));
    assert_non_null(strstr(err.text, "7 bytes are 1 chunks of 4 bytes and 3 bytes more"));
}

static void names_of_formats(void **state)
{
    (void)state;
    enum dataset_format f;
    struct error err;
    assert_int_equal(dataset_format_parse("ndjson", &f, &err), 0);
    assert_int_equal(f, DATASET_NDJSON);
    assert_int_equal(dataset_format_parse(NULL, &f, &err), 0);
    assert_int_equal(f, DATASET_AUTO);
    assert_int_equal(dataset_format_parse("cvs", &f, &err), -1);
    assert_non_null(strstr(err.text, "csv, ndjson, json, binary; did you mean \"csv\"?"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(csv_fields),
        TEST(csv_ends_of_lines),
        TEST(csv_header_is_found_out),
        TEST(json_rows),
        TEST(binary_chunks),
        TEST(many_rows_by_number),
        TEST(numbers),
        TEST(a_file_is_mapped_once),
        TEST(a_file_that_shrinks),
        TEST(a_file_that_shrinks_a_little),
        TEST(without_scratch),
        TEST(unknown_column),
        TEST(recorded_times),
        TEST(rows_by_time),
        TEST(iso_times),
        TEST(bad_files),
        TEST(what_is_no_file),
        TEST(caps),
        TEST(names_of_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
