#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/log.h"

struct captured {
    char line[65536];
    size_t n;
    unsigned lines;
    enum log_level level;
};

static void capture(void *arg, enum log_level level, const char *line, size_t n)
{
    struct captured *c = arg;
    assert_true(n < sizeof(c->line));
    memcpy(c->line, line, n);
    c->line[n] = '\0';
    c->n = n;
    c->level = level;
    c->lines++;
    assert_ptr_equal(memchr(line, '\n', n), line + n - 1); // one line, at its end
}

static struct log *open_log(struct captured *c, enum log_format format, enum log_level level, bool color)
{
    memset(c, 0, sizeof(*c));
    struct log_config config = {
        .fd = -1, .level = level, .format = format, .color = color, .sink = capture, .sink_arg = c};
    struct log *log = log_new(&config);
    assert_non_null(log);
    return log;
}

static struct captured c;

static void text_lines(void **state)
{
    (void)state;
    struct log *log = open_log(&c, LOG_TEXT, LOG_INFO, false);
    errno = 77;
    log_write(log, LOG_WARN, "sensors-17", "no answer in %d ms", 20);
    assert_int_equal(errno, 77);
    assert_int_equal(c.level, LOG_WARN);
    int year, month, day, hour, minute, second, ms, end = 0;
    assert_int_equal(
        sscanf(c.line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute, &second, &ms, &end), 7);
    assert_int_equal(end, 25);
    assert_string_equal(c.line + 25, "warn  [sensors-17] no answer in 20 ms\n");
    log_write(log, LOG_ERROR, NULL, "line\none\ttwo\r\x1b[31m\x7f \xc2\x9b \xff gr\xc3\xbc\xc3\x9f \\n");
    assert_string_equal(c.line + 25,
                        "error line\\none\\ttwo\\r\\x1b[31m\\x7f \\xc2\\x9b \\xff gr\xc3\xbc\xc3\x9f \\n\n");
    log_write(log, LOG_DEBUG, NULL, "dropped");
    assert_int_equal(c.lines, 2);
    assert_true(log_enabled(log, LOG_INFO));
    assert_false(log_enabled(log, LOG_DEBUG));
    log_raw(log, LOG_INFO, "ready\n", 6);
    assert_string_equal(c.line, "ready\n");
    log_raw(log, LOG_DEBUG, "dropped\n", 8);
    assert_int_equal(c.lines, 3);
    log_delete(log);
    log = open_log(&c, LOG_TEXT, LOG_INFO, true);
    log_write(log, LOG_ERROR, NULL, "x");
    assert_string_equal(c.line + 25, "\033[31merror\033[0m x\n");
    log_delete(log);
    log_write(NULL, LOG_ERROR, NULL, "nothing happens");
    assert_false(log_enabled(NULL, LOG_ERROR));
    log_delete(NULL);
}

static void json_lines(void **state)
{
    (void)state;
    struct log *log = open_log(&c, LOG_JSON, LOG_DEBUG, true);
    log_write(log, LOG_DEBUG, "d\"1", "a\nb \xff \x01 \"q\"");
    json_t *v = json_loadb(c.line, c.n, 0, NULL);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "level")), "debug");
    assert_string_equal(json_string_value(json_object_get(v, "device")), "d\"1");
    assert_string_equal(json_string_value(json_object_get(v, "msg")), "a\nb \xef\xbf\xbd \x01 \"q\"");
    assert_int_equal(strlen(json_string_value(json_object_get(v, "ts"))), 24);
    json_decref(v);
    log_write(log, LOG_INFO, NULL, "x");
    assert_null(strstr(c.line, "device"));
    log_delete(log);
}

static void long_text_is_cut(void **state)
{
    (void)state;
    static char text[20000];
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        struct log *log = open_log(&c, (enum log_format)format, LOG_INFO, false);
        memset(text, 1, sizeof(text) - 1); // everything escaped: the longest line there is
        log_write(log, LOG_INFO, text, "%s", text);
        assert_int_equal(c.lines, 1);
        assert_non_null(strstr(c.line, "…"));
        for (int shift = 0; shift < 3; shift++) {
            memset(text, 'x', sizeof(text) - 1);
            for (size_t i = (size_t)shift; i + 3 < sizeof(text); i += 3)
                memcpy(text + i, "\xe2\x82\xac", 3);
            log_write(log, LOG_INFO, NULL, "%s", text);
            assert_in_range(c.n, 4090, 4096 + 64);
            assert_null(strstr(c.line, "\xef\xbf\xbd")); // no character was cut in two
            assert_null(strstr(c.line, "\\x"));
            assert_non_null(strstr(c.line, "\xe2\x82\xac…"));
        }
        memset(text, 'x', 4096);
        text[4096] = '\0';
        log_write(log, LOG_INFO, NULL, "%s", text);
        assert_null(strstr(c.line, "…"));
        memset(text, 'x', sizeof(text) - 1);
        log_delete(log);
    }
}

static void full_pipe_drops_lines_but_never_blocks_or_joins_them(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    struct log_config config = {.fd = fds[1], .level = LOG_INFO};
    struct log *log = log_new(&config);
    static char text[3001];
    memset(text, 1, 3000); // 12 KB when escaped, 3 of the 16 pages of a pipe: the sixth line is torn
    for (int i = 0; i < 100; i++)
        log_write(log, LOG_INFO, NULL, "%s", text);
    static char got[1 << 17];
    ssize_t n = read(fds[0], got, sizeof(got));
    assert_true(n > 0);
    log_write(log, LOG_INFO, NULL, "after");
    ssize_t more = read(fds[0], got + n, sizeof(got) - (size_t)n);
    assert_true(more > 0);
    n += more;
    size_t begin = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        if (got[i] != '\n')
            continue;
        assert_memory_equal(got + begin, "20", 2); // every line begins with its time
        const char *level = memmem(got + begin, i - begin, "Z info", 6);
        assert_ptr_equal(level, got + begin + 23);
        assert_null(memmem(level + 1, (size_t)(got + i - level - 1), "Z info", 6)); // and is one line
        begin = i + 1;
    }
    assert_int_equal(begin, n);
    assert_memory_equal(got + n - 6, "after\n", 6);
    close(fds[0]);
    close(fds[1]);
    log_write(log, LOG_INFO, NULL, "a closed descriptor is no harm");
    log_delete(log);
}

static void level_names(void **state)
{
    (void)state;
    enum log_level level;
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("loud", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines),       cmocka_unit_test(json_lines),
        cmocka_unit_test(long_text_is_cut), cmocka_unit_test(full_pipe_drops_lines_but_never_blocks_or_joins_them),
        cmocka_unit_test(level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
