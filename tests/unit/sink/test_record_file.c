// Files in order: one writer, and the merge of several, compared with a plain sort.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "core/rng.h"
#include "sink/merge.h"

enum { DEVICES = 12, INSTANTS = 400 };

static int memory_file(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static char *contents(int fd, size_t *n)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    text[size] = 0;
    *n = (size_t)size;
    return text;
}

static struct record_file *open_writer(int fd, bool framed)
{
    struct error err;
    struct record_file_config config = {.fd = fd, .path = "test", .format = RECORD_CSV, .framed = framed};
    struct record_file *w = record_file_new(&config, &err);
    assert_non_null(w);
    return w;
}

static void add(struct record_file *w, int64_t t, unsigned group, uint64_t index, unsigned seq)
{
    char payload[64], device[16];
    struct error err;
    snprintf(payload, sizeof(payload), "%lld/%u/%llu/%u", (long long)t, group, (unsigned long long)index, seq);
    snprintf(device, sizeof(device), "d%llu", (unsigned long long)index);
    struct record r = {.wall_us = t,
                       .group = group,
                       .index = index,
                       .group_name = "g",
                       .group_len = 1,
                       .device = device,
                       .device_len = strlen(device),
                       .topic = "t",
                       .topic_len = 1,
                       .payload = (const uint8_t *)payload,
                       .payload_len = strlen(payload)};
    assert_int_equal(record_file_add(w, &r, &err), 0);
}

// The same random life of all devices, whoever they belong to: each device publishes 0 to 3 records an instant; the
// order in which devices come is drawn from `order`, as in a process with other neighbours.
static void play(struct record_file **writers, unsigned n, uint64_t order)
{
    struct rng shuffle;
    rng_seed(&shuffle, order);
    for (int64_t i = 1; i <= INSTANTS; i++) {
        unsigned devices[DEVICES];
        for (unsigned d = 0; d < DEVICES; d++) {
            unsigned k = (unsigned)rng_below(&shuffle, d + 1);
            devices[d] = devices[k];
            devices[k] = d;
        }
        for (unsigned k = 0; k < DEVICES; k++) {
            unsigned d = devices[k];
            struct rng own;
            rng_seed(&own, (uint64_t)i * 1000 + d);
            uint64_t records = rng_below(&own, 4);
            for (unsigned seq = 0; seq < records; seq++)
                add(writers[d % n], i * 1000, d / 6, d % 6 + 1, seq);
        }
    }
}

static char *play_alone(uint64_t order, size_t *n)
{
    int fd = memory_file();
    struct record_file *w = open_writer(fd, false);
    struct error err;
    struct record_file_stats stats;
    play(&w, 1, order);
    assert_int_equal(record_file_flush(w, INT64_MAX, &err), 0);
    record_file_stats(w, &stats);
    record_file_delete(w);
    char *text = contents(fd, n);
    assert_int_equal(stats.bytes, *n);
    close(fd);
    return text;
}

static char *play_in_shards(unsigned shards, uint64_t order, int64_t until_us, size_t step, size_t *n)
{
    int fds[5], to = memory_file();
    struct record_file *writers[5];
    struct error err;
    for (unsigned i = 0; i < shards; i++)
        writers[i] = open_writer(fds[i] = memory_file(), true);
    play(writers, shards, order);
    for (unsigned i = 0; i < shards; i++) {
        assert_int_equal(record_file_flush(writers[i], INT64_MAX, &err), 0);
        record_file_delete(writers[i]);
    }
    struct merge_config config = {.from = fds, .n = shards, .to = to, .path = "test", .until_us = until_us};
    struct merge *m = merge_new(&config, &err);
    assert_non_null(m);
    int rc;
    while ((rc = merge_step(m, step, &err)) > 0)
        ;
    assert_int_equal(rc, 0);
    struct record_file_stats stats;
    merge_stats(m, &stats);
    merge_delete(m);
    for (unsigned i = 0; i < shards; i++)
        close(fds[i]);
    char *text = contents(to, n);
    assert_int_equal(stats.bytes, *n);
    close(to);
    return text;
}

static void records_of_an_instant_are_put_in_order(void **state)
{
    (void)state;
    size_t n;
    char *text = play_alone(1, &n), *line = text;
    unsigned lines = 0;
    long long last[4] = {0};
    while (*line) {
        long long key[4];
        const char *payload = strrchr(strtok(line, "\n"), ',') + 1;
        assert_int_equal(sscanf(payload, "%lld/%lld/%lld/%lld", &key[0], &key[1], &key[2], &key[3]), 4);
        for (int i = 0; i < 4 && lines; i++) {
            if (key[i] != last[i]) {
                assert_true(key[i] > last[i]);
                break;
            }
            assert_true(i < 3);
        }
        memcpy(last, key, sizeof(last));
        line += strlen(line) + 1;
        lines++;
    }
    assert_in_range(lines, 6000, 9000); // 400 instants, 12 devices, 1.5 on average
    free(text);
}

static void any_number_of_shards_gives_the_same_bytes(void **state)
{
    (void)state;
    size_t n, m;
    char *alone = play_alone(7, &n);
    for (unsigned shards = 1; shards <= 5; shards++) {
        char *merged = play_in_shards(shards, 100 + shards, INT64_MAX, shards == 2 ? 100 : 1 << 20, &m);
        assert_int_equal(n, m);
        assert_memory_equal(alone, merged, n);
        free(merged);
    }
    free(alone);
}

static void a_merge_up_to_a_time_is_a_prefix(void **state)
{
    (void)state;
    size_t n, m;
    char *alone = play_alone(7, &n), *part = play_in_shards(3, 5, 200 * 1000, 1 << 20, &m);
    assert_in_range(m, n / 3, 2 * n / 3);
    assert_memory_equal(alone, part, m);
    assert_int_equal(alone[m - 1], '\n');
    assert_non_null(strstr(alone + m, ",200000/"));
    assert_null(strstr(part, ",200000/"));
    free(part);
    free(alone);
}

static void an_instant_that_was_cut_is_dropped(void **state)
{
    (void)state;
    int fd = memory_file();
    struct record_file *w = open_writer(fd, false);
    struct error err;
    struct record_file_stats stats;
    size_t n;
    add(w, 1000, 0, 2, 0);
    add(w, 2000, 0, 2, 0);
    add(w, 2000, 0, 1, 0);
    assert_int_equal(record_file_flush(w, 2000, &err), 0);
    record_file_stats(w, &stats);
    assert_int_equal(stats.records, 1);
    record_file_delete(w);
    char *text = contents(fd, &n);
    assert_non_null(strstr(text, "1000/0/2/0\n"));
    assert_null(strstr(text, "2000/"));
    free(text);
    close(fd);
}

static void a_full_disk_is_an_error_that_stays(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    struct record_file *w = open_writer(fd, false);
    struct error err;
    struct record r = {
        .group_name = "g", .device = "d", .topic = "t", .payload = (const uint8_t *)"x", .payload_len = 1};
    assert_int_equal(record_file_add(w, &r, &err), 0);
    assert_int_equal(record_file_flush(w, INT64_MAX, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "test"));
    assert_non_null(strstr(err.text, "No space"));
    assert_int_equal(record_file_add(w, &r, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    record_file_delete(w);
    close(fd);
}

static void a_line_has_a_cap(void **state)
{
    (void)state;
    int fd = memory_file();
    struct record_file *w = open_writer(fd, false);
    struct error err;
    size_t n = RECORD_LINE_MAX;
    uint8_t *big = malloc(n);
    assert_non_null(big);
    memset(big, '"', n);
    struct record r = {.group_name = "g", .device = "d", .topic = "t", .payload = big, .payload_len = n};
    assert_int_equal(record_file_add(w, &r, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    record_file_delete(w);
    free(big);
    close(fd);
}

static void damaged_shard_files_are_errors(void **state)
{
    (void)state;
    struct record_file_frame backwards[2] = {{.wall_us = 5}, {.wall_us = 4}}, huge = {.len = RECORD_LINE_MAX + 1},
                             torn = {.len = 100};
    const struct {
        const void *bytes;
        size_t n;
    } cases[] = {{backwards, sizeof(backwards)}, {&huge, sizeof(huge)}, {&torn, sizeof(torn)}, {&torn, 7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        int fd = memory_file(), to = memory_file(), rc;
        assert_int_equal(write(fd, cases[i].bytes, cases[i].n), cases[i].n);
        struct merge_config config = {.from = &fd, .n = 1, .to = to, .path = "test", .until_us = INT64_MAX};
        struct merge *m = merge_new(&config, &err);
        while ((rc = merge_step(m, 1 << 20, &err)) > 0)
            ;
        assert_int_equal(rc, -1);
        assert_non_null(strstr(err.text, "what a shard has written"));
        merge_delete(m);
        close(fd);
        close(to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_an_instant_are_put_in_order),
        cmocka_unit_test(any_number_of_shards_gives_the_same_bytes),
        cmocka_unit_test(a_merge_up_to_a_time_is_a_prefix),
        cmocka_unit_test(an_instant_that_was_cut_is_dropped),
        cmocka_unit_test(a_full_disk_is_an_error_that_stays),
        cmocka_unit_test(a_line_has_a_cap),
        cmocka_unit_test(damaged_shard_files_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
