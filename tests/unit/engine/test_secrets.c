// Secrets: from files of both forms and the environment; what is refused, and that no message shows one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/secrets.h"

static char path[64];

static const char *file_of(const void *bytes, size_t n, mode_t mode)
{
    FILE *f;
    snprintf(path, sizeof(path), "/tmp/iotix-secrets-%d", (int)getpid());
    unlink(path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static struct secrets *load(const char *text)
{
    struct error err = {0};
    struct secrets *s = secrets_load(file_of(text, strlen(text), 0600), false, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void has(const struct secrets *s, const char *name, const char *value)
{
    struct error err = {0};
    const char *found = secrets_find(s, name, &err);
    if (!found)
        fail_msg("%s", err.text);
    assert_string_equal(found, value);
}

static void test_lines(void **state)
{
    (void)state;
    struct secrets *s = load("\xef\xbb\xbf# broker\r\n\r\n  plain = x y \r\nempty=\nwith=a=b#c\nlast=${deviceId} {\"}");
    has(s, "plain", " x y ");
    has(s, "empty", "");
    has(s, "with", "a=b#c");
    has(s, "last", "${deviceId} {\"}");
    assert_null(secrets_find(s, "Plain", &(struct error){0}));
    secrets_delete(s);
    secrets_delete(load(""));
    secrets_delete(load("\n# nothing\n"));
    secrets_delete(NULL);
}

static void test_json(void **state)
{
    (void)state;
    struct secrets *s = load(" \n{\"a\": \"1\", \"b c\": \"\\u00e4=\\n\"}");
    has(s, "a", "1");
    has(s, "b c", "\xc3\xa4=\n");
    secrets_delete(s);
    secrets_delete(load("{}"));
}

static void test_environment(void **state)
{
    (void)state;
    struct error err = {0};
    struct secrets *s = load("a=file\n");
    setenv("IOTIX_SECRET_A", "environment", 1);
    setenv("IOTIX_SECRET_BROKER_2_PASSWORD", "p", 1);
    setenv("IOTIX_SECRET_NOTHING", "", 1);
    has(s, "a", "file"); // the file comes first
    has(NULL, "a", "environment");
    has(s, "broker-2.password", "p");
    assert_null(secrets_find(s, "nothing", &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "\"nothing\""));
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "IOTIX_SECRET_NOTHING"));
    assert_null(secrets_find(NULL, "nothing", &err));
    assert_non_null(strstr(err.text, "--secrets"));
    char name[1000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_null(secrets_find(s, name, &err));
    secrets_delete(s);
}

static void refused(const void *bytes, size_t n, mode_t mode, enum error_code code, const char *part)
{
    struct error err = {0};
    assert_null(secrets_load(file_of(bytes, n, mode), false, &err));
    if (err.code != code || !strstr(err.text, part))
        fail_msg("expected \"%s\", got %s: %s", part, error_code_name(err.code), err.text);
    assert_null(strstr(err.text, "hunter2"));
    assert_non_null(strstr(err.text, path));
}

#define REFUSED(text, code, part) refused(text, sizeof(text) - 1, 0600, code, part)

static void test_refused(void **state)
{
    (void)state;
    REFUSED("a=1\nhunter2\n", ERR_INVALID, ":2: expected NAME=VALUE");
    REFUSED("=hunter2\n", ERR_INVALID, ":1: a secret needs a name");
    REFUSED("a=1\na=hunter2\n", ERR_INVALID, ":2: there are two secrets named \"a\"");
    REFUSED("a=hunter2\0x\n", ERR_INVALID, "holds a NUL");
    REFUSED("{\"a\": hunter2}", ERR_INVALID, ":1:");
    REFUSED("{\"a\": \"hunter2\"} x", ERR_INVALID, "no valid JSON object");
    REFUSED("{\"a\": \"hunter2\", \"a\": \"1\"}", ERR_INVALID, "no valid JSON object");
    REFUSED("{\"a\": [\"hunter2\"]}", ERR_INVALID, "secret \"a\": expected a string");
    REFUSED("{\"a\": \"hunter2\\u0000\"}", ERR_INVALID, "holds a NUL");
    refused("a=hunter2\n", 10, 0640, ERR_INVALID, "--insecure-secrets");
    refused("a=hunter2\n", 10, 0604, ERR_INVALID, "mode 604");
    refused("a=hunter2\n", 10, 0620, ERR_INVALID, "chmod 600");
}

static void test_caps(void **state)
{
    (void)state;
    char *text = malloc(SECRETS_MAX_BYTES + 1);
    assert_non_null(text);
    memset(text, 'x', SECRETS_MAX_BYTES + 1);
    text[1] = '=';
    refused(text, SECRETS_MAX_BYTES + 1, 0600, ERR_LIMIT, "more than 1048576 bytes");
    refused(text, 2 + SECRET_MAX_BYTES + 1, 0600, ERR_LIMIT, "65536 bytes, at most 65535");
    struct error err = {0};
    struct secrets *s = secrets_load(file_of(text, 2 + SECRET_MAX_BYTES, 0600), false, &err);
    assert_non_null(s);
    secrets_delete(s);
    size_t n = 0;
    for (unsigned i = 0; i <= SECRETS_MAX; i++)
        n += (size_t)snprintf(text + n, SECRETS_MAX_BYTES - n, "s%u=1\n", i);
    refused(text, n, 0600, ERR_LIMIT, "at most 10000 secrets");
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    struct error err = {0};
    assert_null(secrets_load("/nonexistent/secrets", false, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_null(secrets_load("/tmp", true, &err));
    assert_non_null(strstr(err.text, "/tmp"));
    struct secrets *s = secrets_load(file_of("a=1\n", 4, 0644), true, &err);
    assert_non_null(s);
    has(s, "a", "1");
    secrets_delete(s);
    int fds[2]; // as <(vault …) of a shell
    char name[32];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "b=2\n", 4), 4);
    close(fds[1]);
    snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
    s = secrets_load(name, false, &err);
    assert_non_null(s);
    has(s, "b", "2");
    secrets_delete(s);
    close(fds[0]);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_json), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_caps), cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests_name("engine/secrets", tests, NULL, NULL);
}
