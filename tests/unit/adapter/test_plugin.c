// Plugins: what a good one gives, and what every broken one is told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "adapter/backoff.h"
#include "adapter/plugin.h"
#include "core/jsonx.h"

static int probe(const char *variant, int64_t deadline_us, struct plugin_info *info, struct error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s.so", PLUGINS, variant);
    const char *paths[] = {path};
    return plugin_probe(paths, 1, deadline_us, info, err);
}

static void no_child_is_left(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_good_one_is_found_and_loaded(void **state)
{
    struct plugin_info info;
    struct error err;
    (void)state;
    if (probe("GOOD", 0, &info, &err))
        fail_msg("%s", err.text);
    assert_string_equal(info.name, "goodname");
    assert_string_equal(info.schemes, "good");
    assert_int_equal(info.path[0], '/');
    no_child_is_left();
    struct adapter_registry *r = adapter_registry_new(NULL);
    assert_null(adapter_registry_find(r, "good"));
    assert_int_equal(plugin_load(info.path, r, &err), 0);
    const struct adapter_ops *ops = adapter_registry_find(r, "good");
    assert_non_null(ops);
    assert_ptr_equal(adapter_registry_find(r, "goodname"), ops);
    assert_non_null(adapter_registry_find(r, "mqtt")); // the built-in ones are still there
    assert_null(adapter_registry_find(NULL, "good"));
    const char *const *names = adapter_registry_names(r);
    unsigned n = 0;
    while (names[n])
        n++;
    assert_string_equal(names[n - 1], "goodname");
    assert_int_equal(plugin_load(info.path, r, &err), -1); // twice
    assert_non_null(strstr(err.text, "an adapter named \"goodname\" is there already"));
    adapter_registry_delete(r);
}

static void a_broken_one_is_told_what_is_wrong(void **state)
{
    static const struct {
        const char *variant;
        enum error_code code;
        const char *text;
    } broken[] = {
        {"ABI", ERR_UNSUPPORTED, "it was built for version 999 of the plugin ABI"},
        {"SMALL", ERR_UNSUPPORTED, "says it has 24 bytes, expected"},
        {"NOSYMBOL", ERR_INVALID, "it has no symbol iotix_adapter"},
        {"NONAME", ERR_INVALID, "it has no name"},
        {"TAKEN", ERR_INVALID, "its URL scheme \"mqtt\" is taken already: iotix itself"},
        {"BADSCHEME", ERR_INVALID, "its URL scheme \"My Scheme\" is none"},
        {"REFUSES", ERR_UNSUPPORTED, "iotix_adapter returned NULL"},
        {"HOLES", ERR_INVALID, "its function publish is missing"},
        {"SEGV", ERR_INTERNAL, "crashed with SIGSEGV in init"},
        {"CTOR", ERR_INTERNAL, "crashed with SIGABRT while it was loaded"},
        {"LEAVES", ERR_INTERNAL, "ended its process with status 7 in init"},
        {"UNDEFINED", ERR_INVALID, "undefined symbol: buf_create (functions of iotix are reached through struct"},
    };
    struct plugin_info info;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int rc = probe(broken[i].variant, 0, &info, &err);
        if (rc == 0 || err.code != broken[i].code || !strstr(err.text, broken[i].text))
            fail_msg("%s: %d, %s: %s", broken[i].variant, rc, error_code_name(err.code), rc ? err.text : "");
        assert_non_null(strstr(err.text, PLUGINS)); // it says which
        assert_int_equal(err.text[0], 'p');         // "plugin PATH: …"
    }
    no_child_is_left();
}

static void one_that_hangs_is_given_up(void **state)
{
    struct plugin_info info;
    struct error err;
    (void)state;
    assert_int_equal(probe("HANG", 300000, &info, &err), -1);
    assert_int_equal(err.code, ERR_TIMEOUT);
    no_child_is_left();
}

static void what_is_no_plugin_is_told_so(void **state)
{
    struct plugin_info info;
    struct error err;
    char text[] = "/tmp/iotix-plugin-XXXXXX";
    int fd = mkstemp(text);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "#!/bin/sh\necho this is a long enough text file\n", 46), 46);
    close(fd);
    const char *missing[] = {"/nowhere/lib.so"}, *dir[] = {"/tmp"}, *script[] = {text}, *device[] = {"/dev/null"};
    (void)state;
    assert_int_equal(plugin_probe(missing, 1, 0, &info, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(plugin_probe(dir, 1, 0, &info, &err), -1);
    assert_non_null(strstr(err.text, "this is a directory"));
    assert_int_equal(plugin_probe(script, 1, 0, &info, &err), -1);
    assert_non_null(strstr(err.text, "expected an ELF file"));
    assert_int_equal(plugin_probe(device, 1, 0, &info, &err), -1);
    assert_non_null(strstr(err.text, "no regular file"));
    assert_int_equal(truncate(text, 0), 0);
    assert_int_equal(plugin_probe(script, 1, 0, &info, &err), -1);
    assert_non_null(strstr(err.text, "no shared object"));
    FILE *f = fopen(text, "w"); // an ELF head and nothing behind it
    fwrite("\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\0\0", 1, 18, f);
    fclose(f);
    assert_int_equal(plugin_probe(script, 1, 0, &info, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    unlink(text);
}

static void two_of_one_scheme_are_told_apart(void **state)
{
    struct plugin_info info;
    struct error err;
    const char *paths[] = {PLUGINS "GOOD.so", PLUGINS "TWIN.so"};
    (void)state;
    assert_int_equal(plugin_probe(paths, 2, 0, &info, &err), -1);
    assert_non_null(strstr(err.text, "its URL scheme \"good\" is taken already"));
    assert_non_null(strstr(err.text, "GOOD.so"));
}

static int parse(const char *text, struct iotix_backoff *b, struct error *err)
{
    json_t *json = json_parse(text, strlen(text), "test", NULL);
    assert_non_null(json);
    int rc = backoff_parse(json, b, err);
    json_decref(json);
    return rc;
}

static void backoff_doubles_to_its_cap(void **state)
{
    struct iotix_backoff b;
    struct error err;
    uint64_t random = 1;
    (void)state;
    assert_int_equal(
        parse("{\"reconnect\":{\"initial\":\"100ms\",\"max\":0.5,\"jitter\":false,\"attempts\":6}}", &b, &err), 0);
    const int64_t want[] = {100000, 200000, 400000, 500000, 500000, -1, -1};
    for (unsigned i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(backoff_us(&b, i + 1, &random), want[i]);
    b.jitter = true;
    for (unsigned i = 0; i < 100; i++) {
        int64_t us = backoff_us(&b, 2, &random);
        assert_true(us >= 0 && us <= 200000);
    }
    assert_int_equal(parse("{\"reconnect\":false}", &b, &err), 0);
    assert_int_equal(backoff_us(&b, 1, &random), -1);
    assert_int_equal(parse("{}", &b, &err), 0);
    assert_true(b.enabled && b.initial_us == 1000000 && b.max_us == 60000000);
    assert_int_equal(parse("{\"reconnect\":{\"inital\":1}}", &b, &err), -1);
    assert_non_null(strstr(err.text, "did you mean \"initial\""));
    assert_int_equal(parse("{\"reconnect\":{\"factor\":0.5}}", &b, &err), -1);
    assert_int_equal(parse("{\"reconnect\":{\"initial\":\"0s\"}}", &b, &err), -1);
    assert_int_equal(parse("{\"reconnect\":{\"attempts\":-1}}", &b, &err), -1);
    assert_int_equal(parse("{\"reconnect\":7}", &b, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one_is_found_and_loaded),   cmocka_unit_test(a_broken_one_is_told_what_is_wrong),
        cmocka_unit_test(one_that_hangs_is_given_up),       cmocka_unit_test(what_is_no_plugin_is_told_so),
        cmocka_unit_test(two_of_one_scheme_are_told_apart), cmocka_unit_test(backoff_doubles_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
