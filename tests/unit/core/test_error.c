#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/error.h"

static void set_keeps_code_text_and_origin(void **state)
{
    (void)state;
    struct error err;
    int line = __LINE__ + 1;
    assert_int_equal(error_set(&err, ERR_LIMIT, "queue of %d is full", 8), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(err.line, line);
    assert_non_null(strstr(err.file, "test_error.c"));
    assert_string_equal(err.text, "queue of 8 is full");
    error_clear(&err);
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(err.text, "");
}

static void null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERR_IO, "x"), -1);
    assert_int_equal(error_set_errno(NULL, "x"), -1);
    assert_int_equal(error_prefix(NULL, "x"), -1);
    error_clear(NULL);
}

static void errno_gives_the_code_and_survives(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum error_code code;
    } cases[] = {{ECONNREFUSED, ERR_REFUSED}, {ETIMEDOUT, ERR_TIMEOUT}, {ENOENT, ERR_NOT_FOUND},
                 {EMFILE, ERR_LIMIT},         {ENFILE, ERR_LIMIT},      {ENOSPC, ERR_IO},
                 {ENOMEM, ERR_NO_MEMORY},     {ECONNRESET, ERR_CLOSED}, {EPIPE, ERR_CLOSED}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        errno = cases[i].number;
        assert_int_equal(error_set_errno(&err, "cannot open %s", "a"), -1);
        assert_int_equal(errno, cases[i].number);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(strncmp(err.text, "cannot open a: ", 15), 0);
        if (cases[i].number == EMFILE)
            assert_non_null(
                strstr(err.text + 15, "Too many open files (the descriptor limit of one process: raise ulimit -n"));
        else
            assert_string_equal(err.text + 15, strerror(cases[i].number));
    }
}

static void prefix_goes_in_front_and_keeps_the_origin(void **state)
{
    (void)state;
    struct error err;
    error_set(&err, ERR_TIMEOUT, "no answer");
    int line = err.line;
    assert_int_equal(error_prefix(&err, "device %s", "d-1"), -1);
    assert_string_equal(err.text, "device d-1: no answer");
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_int_equal(err.line, line);
    // An argument may be the text itself.
    error_set(&err, ERR_IO, "again: %s", err.text);
    assert_string_equal(err.text, "again: device d-1: no answer");
}

static void long_text_is_cut_at_a_character_and_stays_one_line(void **state)
{
    (void)state;
    struct error err;
    char text[1024];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof(text));
        for (size_t i = shift; i + 2 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[sizeof(text) - 1] = '\0';
        error_set(&err, ERR_IO, "%s", text);
        size_t n = strlen(err.text);
        assert_in_range(n, sizeof(err.text) - 3, sizeof(err.text) - 1);
        for (size_t i = 0; i < n;) {
            size_t len = utf8_length(err.text + i, n - i);
            assert_int_not_equal(len, 0);
            i += len;
        }
        error_prefix(&err, "%s", text);
        assert_true(strlen(err.text) < sizeof(err.text));
    }
    error_set(&err, ERR_IO, "two\nlines\x1b[31m");
    assert_string_equal(err.text, "two lines [31m");
}

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_CODE_MAX; i++) {
        assert_non_null(error_code_name((enum error_code)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(error_code_name((enum error_code)i), error_code_name((enum error_code)j));
    }
    assert_string_equal(error_code_name(ERR_TIMEOUT), "timeout");
    assert_string_equal(error_code_name(ERR_REFUSED), "refused");
    assert_string_equal(error_code_name((enum error_code)999), "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_code_text_and_origin),
        cmocka_unit_test(null_is_allowed),
        cmocka_unit_test(errno_gives_the_code_and_survives),
        cmocka_unit_test(prefix_goes_in_front_and_keeps_the_origin),
        cmocka_unit_test(long_text_is_cut_at_a_character_and_stays_one_line),
        cmocka_unit_test(every_code_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
