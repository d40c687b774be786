#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/file.h"

static char dir[] = "/tmp/iotix-test-file-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[16][256];
    static unsigned turn;
    char *p = path[turn++ % 16];
    assert_int_equal(path_join(dir, name, p, sizeof(path[0])), 0);
    return p;
}

static int entries(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void assert_content(const char *path, const char *expected)
{
    struct buf b;
    struct error err;
    buf_create(&b, 1 << 20);
    if (file_read(path, 1 << 19, &b, &err))
        fail_msg("%s", err.text);
    assert_string_equal(buf_cstr(&b), expected);
    buf_destroy(&b);
}

static void writes_and_reads(void **state)
{
    (void)state;
    struct error err;
    const char *path = in_dir("a");
    assert_int_equal(file_write_atomic(path, "one", 3, &err), 0);
    assert_content(path, "one");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(file_write_atomic(path, "two!", 4, &err), 0);
    assert_content(path, "two!");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(symlink("a", in_dir("link")), 0);
    assert_int_equal(file_write_atomic(in_dir("link"), "three", 5, &err), 0);
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_content(path, "three");
    assert_int_equal(file_write_atomic(path, "", 0, &err), 0);
    assert_content(path, "");
    assert_int_equal(entries(), 2); // no temporary is left
    unlink(in_dir("link"));
    unlink(path);
}

static void refuses_what_is_no_file_or_too_large(void **state)
{
    (void)state;
    struct error err;
    struct buf b;
    buf_create(&b, 100);
    assert_int_equal(buf_append_str(&b, "kept"), 0);
    const char *path = in_dir("big");
    assert_int_equal(file_write_atomic(path, "0123456789", 10, &err), 0);
    assert_int_equal(file_read(path, 9, &b, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(file_read(path, 10, &b, &err), 0);
    assert_string_equal(buf_cstr(&b), "kept0123456789");
    struct buf small;
    buf_create(&small, 5);
    assert_int_equal(file_read(path, 10, &small, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(small.len, 0);
    buf_destroy(&small);
    unlink(path);
    assert_int_equal(file_read(dir, 100, &b, &err), -1);
    assert_non_null(strstr(err.text, "directory"));
    assert_int_equal(file_read(in_dir("none"), 100, &b, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(file_read(in_dir("fifo"), 100, &b, &err), -1); // and does not hang
    unlink(in_dir("fifo"));
    assert_int_equal(b.len, 14);
    assert_int_equal(file_write_atomic(dir, "x", 1, &err), -1);
    assert_non_null(strstr(err.text, "directory"));
    assert_int_equal(file_write_atomic(in_dir("none/x"), "x", 1, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    buf_destroy(&b);
}

// A file size limit fails a write in the middle as a full disk does.
static void a_failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    struct error err;
    const char *path = in_dir("kept");
    assert_int_equal(file_write_atomic(path, "old", 3, &err), 0);
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    static char big[20000];
    int rc = file_write_atomic(path, big, sizeof(big), &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, strerror(EFBIG)));
    assert_content(path, "old");
    assert_int_equal(entries(), 1);
    unlink(path);
}

static void a_device_is_written_in_place(void **state)
{
    (void)state;
    struct error err;
    struct stat st;
    assert_int_equal(file_write_atomic("/dev/full", "x", 1, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, strerror(ENOSPC)));
    assert_int_equal(file_write_atomic("/dev/null", "x", 1, &err), 0);
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *dirname;
    } cases[] = {{"a", "."},    {"a/b", "a"},  {"/a", "/"},    {"/", "/"}, {"//", "/"},
                 {"a/b/", "a"}, {"a//b", "a"}, {"/a/b", "/a"}, {"", "."}};
    char out[16];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(path_dirname(cases[i].path, out, sizeof(out)), 0);
        assert_string_equal(out, cases[i].dirname);
    }
    assert_int_equal(path_dirname("0123456789abcdef/x", out, sizeof(out)), -1);
    assert_int_equal(path_join("a", "b", out, sizeof(out)), 0);
    assert_string_equal(out, "a/b");
    assert_int_equal(path_join("a/", "b", out, sizeof(out)), 0);
    assert_string_equal(out, "a/b");
    assert_int_equal(path_join("a", "/b", out, sizeof(out)), 0);
    assert_string_equal(out, "/b");
    assert_int_equal(path_join("", "b", out, sizeof(out)), 0);
    assert_string_equal(out, "b");
    assert_int_equal(path_join("01234567", "8901234", out, sizeof(out)), -1);
    assert_int_equal(path_join("01234567", "890123", out, sizeof(out)), 0);
}

static int create_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir); // fails when a test leaves something behind
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads),
        cmocka_unit_test(refuses_what_is_no_file_or_too_large),
        cmocka_unit_test(a_failed_write_keeps_the_old_file),
        cmocka_unit_test(a_device_is_written_in_place),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, create_dir, remove_dir);
}
