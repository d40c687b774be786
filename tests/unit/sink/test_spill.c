// The disk queue: order, what is done, the cap, a full disk, a torn tail, damage, and files that others left.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/crc32c.h"
#include "core/file.h"
#include "core/rng.h"
#include "sink/spill.h"

struct world {
    struct loop *loop;
    char dir[64], queue[80];
};

static int begin(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct clock clock;
    struct error err;
    clock_create_real(&clock);
    w->loop = loop_new(&clock, &err);
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_spill_XXXXXX");
    *state = w;
    if (!w->loop || !mkdtemp(w->dir))
        return -1;
    snprintf(w->queue, sizeof(w->queue), "%s/q", w->dir);
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    char command[200];
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    int rc = system(command);
    loop_delete(w->loop);
    free(w);
    return rc;
}

static struct spill *make(struct world *w, bool adopt, uint64_t max, uint32_t segment)
{
    struct error err;
    struct spill_config c = {.loop = w->loop,
                             .dir = w->queue,
                             .name = "influx",
                             .run_id = "RUN",
                             .shard = 3,
                             .adopt = adopt,
                             .max_bytes = max,
                             .segment_bytes = segment};
    struct spill *s = spill_new(&c, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void put(struct spill *s, unsigned n)
{
    char text[64];
    struct error err;
    int len = snprintf(text, sizeof(text), "entry %u %.*s", n, (int)(n % 20), "....................");
    if (spill_append(s, text, (size_t)len, 1 + n % 3, &err))
        fail_msg("%s", err.text);
}

static int get(struct spill *s, unsigned n, struct spill_at *at)
{
    struct buf b;
    uint32_t count;
    char text[64];
    buf_create(&b, SPILL_ENTRY_MAX);
    int rc = spill_read(s, &b, &count, at);
    if (rc) {
        snprintf(text, sizeof(text), "entry %u %.*s", n, (int)(n % 20), "....................");
        assert_string_equal(buf_cstr(&b), text);
        assert_int_equal(count, 1 + n % 3);
    }
    buf_destroy(&b);
    return rc;
}

static unsigned files(const char *dir)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static uint64_t records(unsigned from, unsigned to)
{
    uint64_t n = 0;
    for (; from < to; from++)
        n += 1 + from % 3;
    return n;
}

static void it_comes_back_in_order(void **state)
{
    struct world *w = *state;
    struct spill *s = make(w, false, 0, 1000); // some 25 entries a segment
    struct spill_at at[300];
    assert_int_equal(files(w->queue), 0);
    assert_string_equal(spill_path(s), "");
    unsigned written = 0, read = 0, done = 0;
    struct rng rng;
    rng_seed(&rng, 7);
    while (done < 300) {
        unsigned what = (unsigned)rng_below(&rng, 3);
        if (what == 0 && written < 300)
            put(s, written++);
        else if (what == 1 && read < written)
            assert_int_equal(get(s, read, &at[read]), 1), read++;
        else if (done < read)
            spill_done(s, at[done]), done++;
        assert_int_equal(spill_records(s), records(done, written));
        assert_int_equal(spill_unread(s), read < written);
    }
    assert_int_equal(get(s, 0, &at[0]), 0);
    assert_int_equal(spill_bytes(s), 0);
    assert_int_equal(files(w->queue), 0);
    spill_delete(s);
    assert_int_equal(access(w->queue, F_OK), -1); // the directory was its own
}

static void what_is_not_done_stays(void **state)
{
    struct world *w = *state;
    struct spill *s = make(w, false, 0, 500);
    struct spill_at at[40];
    for (unsigned i = 0; i < 40; i++)
        put(s, i);
    for (unsigned i = 0; i < 20; i++)
        get(s, i, &at[i]);
    for (unsigned i = 0; i < 20; i += 2) // half of what was read
        spill_done(s, at[i]);
    spill_rewind(s);
    for (unsigned i = 1; i < 20; i += 2)
        assert_int_equal(get(s, i, &at[i]), 1);
    uint64_t left = spill_records(s);
    assert_non_null(strstr(spill_path(s), "/q/influx-RUN-3-*.spill"));
    spill_delete(s);
    s = make(w, true, 0, 500); // a shard in the lost one's place
    assert_int_equal(spill_records(s), left);
    for (unsigned i = 1; i < 20; i += 2)
        assert_int_equal(get(s, i, &at[i]), 1);
    for (unsigned i = 20; i < 40; i++)
        assert_int_equal(get(s, i, &at[i]), 1);
    assert_int_equal(get(s, 0, &at[0]), 0);
    for (unsigned i = 1; i < 40; i += i < 20 ? 2 : 1)
        spill_done(s, at[i]);
    spill_delete(s);
}

static void at_the_cap_it_says_so(void **state)
{
    struct world *w = *state;
    struct spill *s = make(w, false, 2000, 500);
    struct spill_at at;
    struct error err;
    unsigned n = 0;
    char bytes[100] = {0};
    while (spill_append(s, bytes, sizeof(bytes), 1, &err) == 0)
        n++;
    assert_int_equal(err.code, ERR_LIMIT);
    assert_in_range(n, 12, 17);
    assert_true(spill_full(s) && !spill_disk_full(s));
    struct buf b;
    uint32_t count;
    buf_create(&b, 1000);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(spill_read(s, &b, &count, &at), 1);
        spill_done(s, at);
    }
    assert_int_equal(spill_append(s, bytes, sizeof(bytes), 1, &err), 0); // room again
    assert_int_equal(spill_append(s, bytes, SPILL_ENTRY_MAX + 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    buf_destroy(&b);
    spill_delete(s);
}

// A limit of file size is a disk that is full in the middle of an entry.
static void a_full_disk_leaves_no_half_entry(void **state)
{
    struct world *w = *state;
    struct spill *s = make(w, false, 0, 100000);
    struct rlimit before, small;
    struct error err;
    struct spill_at at[64];
    char bytes[200];
    unsigned n = 0;
    memset(bytes, 'x', sizeof(bytes));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 2000;
    setrlimit(RLIMIT_FSIZE, &small);
    while (n < 64 && spill_append(s, bytes, sizeof(bytes), 1, &err) == 0)
        n++;
    assert_int_equal(n, (2000 - 8) / 216);
    assert_true(spill_disk_full(s));
    assert_int_equal(spill_append(s, bytes, sizeof(bytes), 1, &err), -1);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(spill_append(s, bytes, sizeof(bytes), 1, &err), 0); // there is space again
    assert_false(spill_disk_full(s));
    struct buf b;
    uint32_t count;
    buf_create(&b, 1000);
    for (unsigned i = 0; i <= n; i++) {
        assert_int_equal(spill_read(s, &b, &count, &at[i]), 1);
        assert_memory_equal(b.data, bytes, sizeof(bytes));
    }
    assert_int_equal(spill_read(s, &b, &count, &at[0]), 0);
    assert_int_equal(spill_take_damaged(s), 0);
    assert_int_equal(spill_sync(s, &err), 0);
    buf_destroy(&b);
    spill_delete(s);
}

static void a_torn_tail_is_cut_off(void **state)
{
    struct world *w = *state;
    char path[200];
    struct spill_at at;
    for (unsigned cut = 1; cut < 40; cut += 3) {
        struct spill *s = make(w, false, 0, 0);
        for (unsigned i = 0; i < 10; i++)
            put(s, i);
        spill_delete(s);
        snprintf(path, sizeof(path), "%s/influx-RUN-3-000001.spill", w->queue);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size - cut), 0);
        s = make(w, true, 0, 0);
        uint64_t lost = records(0, 10) - spill_records(s);
        assert_in_range(lost, 1, 6);
        unsigned n = 0;
        while (get(s, n, &at)) {
            spill_done(s, at);
            n++;
        }
        assert_int_equal(records(0, n) + lost, records(0, 10));
        put(s, 10); // goes on
        assert_int_equal(get(s, 10, &at), 1);
        spill_done(s, at);
        assert_int_equal(spill_records(s), 0);
        spill_delete(s);
    }
}

static void damage_is_counted_and_passed_by(void **state)
{
    struct world *w = *state;
    char path[200];
    struct spill *s = make(w, false, 0, 300);
    struct spill_at at;
    struct buf b;
    uint32_t count;
    uint64_t read = 0;
    for (unsigned i = 0; i < 30; i++)
        put(s, i);
    snprintf(path, sizeof(path), "%s/influx-RUN-3-000002.spill", w->queue);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\xff", 1, 8 + 16 + 3), 1);
    close(fd);
    buf_create(&b, SPILL_ENTRY_MAX);
    while (spill_read(s, &b, &count, &at)) {
        read += count;
        spill_done(s, at);
    }
    uint64_t damaged = spill_take_damaged(s);
    assert_true(damaged > 0);
    assert_int_equal(read + damaged, records(0, 30));
    assert_int_equal(spill_records(s), 0);
    assert_int_equal(spill_take_damaged(s), 0);
    buf_destroy(&b);
    spill_delete(s);
}

static void a_place_that_cannot_be_is_refused(void **state)
{
    struct world *w = *state;
    struct error err;
    struct spill_leftovers left;
    char file[100];
    snprintf(file, sizeof(file), "%s/file", w->dir);
    fclose(fopen(file, "w"));
    struct spill_config c = {.loop = w->loop, .dir = file, .name = "n", .run_id = "r"};
    assert_null(spill_new(&c, &err));
    assert_non_null(strstr(err.text, "is no directory"));
    c.dir = "/proc/nowhere";
    assert_null(spill_new(&c, &err));
    assert_non_null(strstr(err.text, "cannot make the directory"));
    c.dir = "/nonexistent/deep/down";
    assert_null(spill_new(&c, &err));
    struct spill *s = make(w, false, 0, 0);
    put(s, 1);
    spill_delete(s);
    spill_look(w->queue, "influx", "OTHER", &left);
    assert_int_equal(left.files, 1);
    assert_non_null(strstr(left.example, "influx-RUN-3-000001.spill"));
    spill_look(w->queue, "influx", "RUN", &left);
    assert_int_equal(left.files, 0);
}

static void the_checksum_is_the_one_of_the_standard(void **state)
{
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes)); // RFC 3720, B.4
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(crc32c(0, bytes, 11), bytes + 11, 21), 0x46dd794e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_comes_back_in_order, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_done_stays, begin, end),
        cmocka_unit_test_setup_teardown(at_the_cap_it_says_so, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_no_half_entry, begin, end),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_cut_off, begin, end),
        cmocka_unit_test_setup_teardown(damage_is_counted_and_passed_by, begin, end),
        cmocka_unit_test_setup_teardown(a_place_that_cannot_be_is_refused, begin, end),
        cmocka_unit_test(the_checksum_is_the_one_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
