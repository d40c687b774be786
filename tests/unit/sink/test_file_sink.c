// Files in real time: rotation, a full disk, what a crash tore, and the ledger in each case.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "core/file.h"
#include "core/loop.h"
#include "sink/sink.h"

struct world {
    struct loop *loop;
    struct metrics *metrics;
    char dir[64];
};

static int begin(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct clock clock;
    struct error err;
    clock_create_real(&clock);
    w->loop = loop_new(&clock, &err);
    w->metrics = metrics_new(100);
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_file_sink_XXXXXX");
    *state = w;
    signal(SIGXFSZ, SIG_IGN);
    return w->loop && w->metrics && mkdtemp(w->dir) ? 0 : -1;
}

static int end(void **state)
{
    struct world *w = *state;
    char command[200];
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    int rc = system(command);
    metrics_delete(w->metrics);
    loop_delete(w->loop);
    free(w);
    return rc;
}

static struct sink *open_it(struct world *w, const char *type, json_t *options, unsigned shards, bool resumed,
                            struct error *err)
{
    const struct sink_ops *ops = sink_find(type);
    json_t *parsed = ops->parse(NULL, options, err);
    const struct sink_env env = {.loop = w->loop,
                                 .metrics = w->metrics,
                                 .run_id = "RUN",
                                 .shard = shards - 1,
                                 .shards = shards,
                                 .resumed = resumed};
    struct sink *s = parsed ? ops->open(&env, "it", parsed, err) : NULL;
    json_decref(parsed);
    json_decref(options);
    return s;
}

static json_t *at(struct world *w, const char *name)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    return json_pack("{s:s}", "path", path);
}

static void say(const struct sink_ops *ops, struct sink *s, unsigned n)
{
    char payload[200];
    int len = snprintf(payload, sizeof(payload), "{\"n\":%u,\"x\":\"<script>=cmd(),\\\"\"}", n);
    const struct record r = {.wall_us = 1767225600000000,
                             .group_name = "g",
                             .group_len = 1,
                             .device = "d\n1",
                             .device_len = 3,
                             .topic = "t",
                             .topic_len = 1,
                             .payload = (const uint8_t *)payload,
                             .payload_len = (size_t)len};
    ops->telemetry(s, &r);
}

static uint64_t figure(struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric m = {0};
    assert_int_equal(metric_selector_parse(name, &sel, NULL), 0);
    metrics_select(w->metrics, &sel, &m);
    return m.type == METRIC_GAUGE ? (uint64_t)m.value : m.count;
}

static void balances(struct world *w)
{
    assert_int_equal(figure(w, "sink_accepted"), figure(w, "sink_delivered") + figure(w, "sink_spilled") +
                                                     figure(w, "sink_dropped") + figure(w, "sink_memory"));
}

static unsigned lines_of(struct world *w, const char *name)
{
    char path[200];
    struct buf b;
    unsigned n = 0;
    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    buf_create(&b, 1 << 24);
    if (file_read(path, 1 << 24, &b, NULL) == 0)
        for (uint32_t i = 0; i < b.len; i++)
            n += b.data[i] == '\n';
    assert_true(!b.len || b.data[b.len - 1] == '\n');
    buf_destroy(&b);
    return n;
}

static void every_record_is_a_line(void **state)
{
    struct world *w = *state;
    struct error err;
    const struct sink_ops *ops = sink_find("ndjson");
    struct sink *s = open_it(w, "ndjson", at(w, "a.ndjson"), 1, false, &err);
    assert_non_null(s);
    for (unsigned i = 0; i < 5000; i++)
        say(ops, s, i);
    balances(w);
    assert_true(figure(w, "sink_memory") > 0);
    assert_true(ops->drain(s, false));
    assert_int_equal(figure(w, "sink_delivered"), 5000);
    ops->close(s);
    balances(w);
    assert_int_equal(lines_of(w, "a.ndjson"), 5000);
    s = open_it(w, "ndjson", at(w, "a.ndjson"), 3, false, &err); // the third of three
    say(ops, s, 1);
    ops->drain(s, false);
    ops->close(s);
    assert_int_equal(lines_of(w, "a-2.ndjson"), 1);
}

static void it_rotates(void **state)
{
    struct world *w = *state;
    struct error err;
    const struct sink_ops *ops = sink_find("csv");
    json_t *o = at(w, "a.csv");
    json_object_set_new(o, "rotateSize", json_integer(2000));
    json_object_set_new(o, "keep", json_integer(2));
    struct sink *s = open_it(w, "csv", o, 1, false, &err);
    assert_non_null(s);
    for (unsigned i = 0; i < 100; i++) {
        say(ops, s, i);
        ops->drain(s, false);
    }
    ops->close(s);
    assert_int_equal(figure(w, "sink_delivered"), 100);
    assert_int_equal(lines_of(w, "a.csv.1"), 0); // gone: two are kept
    unsigned found = 0;
    for (unsigned i = 2; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "a.csv.%u", i);
        found += lines_of(w, name) > 0;
    }
    assert_int_equal(found, 2);
    assert_true(lines_of(w, "a.csv") > 1); // a head, and lines
}

static void a_full_disk_is_outlived(void **state)
{
    struct world *w = *state;
    struct error err;
    struct rlimit before, small;
    const struct sink_ops *ops = sink_find("ndjson");
    json_t *o = at(w, "a.ndjson");
    json_object_set_new(o, "memory", json_integer(1 << 20));
    json_object_set_new(o, "full", json_string("drop"));
    struct sink *s = open_it(w, "ndjson", o, 1, false, &err);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    for (unsigned i = 0; i < 30000; i++)
        say(ops, s, i);
    assert_false(ops->drain(s, false));
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(ops->trouble(s), "trying again"));
    uint64_t lost = figure(w, "sink_dropped{reason:disk_full}");
    assert_true(lost > 0);
    assert_int_equal(lost, figure(w, "sink_dropped"));
    balances(w);
    assert_true(ops->drain(s, false)); // there is space again
    say(ops, s, 1);
    assert_true(ops->drain(s, false));
    ops->close(s);
    balances(w);
    assert_int_equal(figure(w, "sink_delivered"), 30001 - lost);
    assert_int_equal(lines_of(w, "a.ndjson"), 30001 - lost); // whole lines only
}

static void with_block_it_is_full_instead(void **state)
{
    struct world *w = *state;
    struct error err;
    const struct sink_ops *ops = sink_find("ndjson");
    json_t *o = json_pack("{s:s, s:i}", "path", "/dev/full", "memory", 1 << 20);
    struct sink *s = open_it(w, "ndjson", o, 1, false, &err);
    assert_non_null(s);
    while (!ops->full(s))
        say(ops, s, 1);
    assert_in_range(ops->load(s), 100, 101);
    assert_int_equal(figure(w, "sink_dropped"), 0);
    assert_true(ops->drain(s, true)); // late
    assert_int_equal(figure(w, "sink_dropped{reason:disk_full}"), figure(w, "sink_accepted"));
    balances(w);
    ops->close(s);
}

static void what_a_crash_tore_is_cut_off(void **state)
{
    struct world *w = *state;
    struct error err;
    const struct sink_ops *ops = sink_find("ndjson");
    char path[200];
    snprintf(path, sizeof(path), "%s/a", w->dir);
    FILE *f = fopen(path, "w");
    fputs("{\"n\":1}\n{\"n\":2}\n{\"n\":", f);
    fclose(f);
    struct sink *s = open_it(w, "ndjson", at(w, "a"), 1, true, &err);
    assert_non_null(s);
    say(ops, s, 3);
    ops->drain(s, false);
    ops->close(s);
    assert_int_equal(lines_of(w, "a"), 3);
}

static void bad_places_are_refused(void **state)
{
    struct world *w = *state;
    struct error err;
    assert_null(open_it(w, "csv", json_pack("{s:s}", "path", "/nonexistent/a"), 1, false, &err));
    assert_non_null(strstr(err.text, "cannot write /nonexistent/a"));
    assert_null(open_it(w, "csv", json_pack("{s:s}", "path", w->dir), 1, false, &err));
    assert_null(open_it(w, "csv", json_pack("{s:s}", "path", "-"), 1, false, &err));
    assert_null(open_it(w, "csv", json_pack("{}"), 1, false, &err));
    assert_null(open_it(w, "csv", json_pack("{s:s, s:b}", "path", "a", "events", 1), 1, false, &err));
    assert_null(open_it(w, "csv", json_pack("{s:s, s:s}", "path", "a", "rotatesize", "1"), 1, false, &err));
    assert_non_null(strstr(err.text, "did you mean \"rotateSize\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_record_is_a_line, begin, end),
        cmocka_unit_test_setup_teardown(it_rotates, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_is_outlived, begin, end),
        cmocka_unit_test_setup_teardown(with_block_it_is_full_instead, begin, end),
        cmocka_unit_test_setup_teardown(what_a_crash_tore_is_cut_off, begin, end),
        cmocka_unit_test_setup_teardown(bad_places_are_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
