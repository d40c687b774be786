// The store of profiles: versions, what is broken in it, who saves at the same time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos/profile.h"
#include "core/file.h"
#include "core/jsonx.h"

static char dir[64];

static json_t *make(const char *name, const char *fault)
{
    struct error err = {0};
    json_t *f = json_parse(fault, strlen(fault), "fault", &err);
    return json_pack("{s:s, s:s, s:s, s:o}", "name", name, "description", "what it is", "source", "a paper", "fault",
                     f);
}

static int save(const char *name, const char *fault, int64_t *version, struct error *err)
{
    json_t *json = make(name, fault);
    int rc = profile_save(dir, json, version, err);
    json_decref(json);
    return rc;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/iotix-profiles-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static void versions(void **state)
{
    (void)state;
    struct error err = {0};
    struct profile p;
    int64_t v;
    json_t *list = profile_list("/tmp/iotix-there-is-none", &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    assert_int_equal(save("depot-wifi", "{\"latency\":\"20ms\"}", &v, &err), 0);
    assert_int_equal(v, 1);
    assert_int_equal(save("depot-wifi", "{\"latency\":\"30ms\"}", &v, &err), 0);
    assert_int_equal(v, 2);
    assert_int_equal(save("attic", "{\"loss\":\"2%\"}", &v, &err), 0);
    assert_int_equal(v, 1);
    assert_int_equal(profile_load(dir, "depot-wifi", 0, &p, &err), 0);
    assert_int_equal(p.version, 2);
    assert_string_equal(p.source, "a paper");
    assert_non_null(p.fault);
    assert_string_equal(json_string_value(json_object_get(json_object_get(p.json, "fault"), "latency")), "30ms");
    profile_destroy(&p);
    assert_int_equal(profile_load(dir, "depot-wifi", 1, &p, &err), 0); // the first is as it was
    assert_string_equal(json_string_value(json_object_get(json_object_get(p.json, "fault"), "latency")), "20ms");
    profile_destroy(&p);
    assert_int_equal(profile_load(dir, "depot-wifi", 7, &p, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "the latest is 2"));
    assert_int_equal(profile_load(dir, "depot-wfi", 0, &p, &err), -1);
    assert_non_null(strstr(err.text, "did you mean \"depot-wifi\""));
    list = profile_list(dir, &err);
    assert_int_equal(json_array_size(list), 2);
    const json_t *second = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(second, "name")), "depot-wifi");
    assert_int_equal(json_integer_value(json_object_get(second, "version")), 2);
    assert_int_equal(json_integer_value(json_object_get(second, "versions")), 2);
    json_decref(list);
}

static void ten_come_behind_nine(void **state)
{
    (void)state;
    struct error err = {0};
    int64_t v = 0;
    for (int i = 1; i <= 12; i++) {
        assert_int_equal(save("x", "{\"latency\":1}", &v, &err), 0);
        assert_int_equal(v, i);
    }
}

static void bad_ones_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",      "../etc/passwd", "a/b",
        "UPPER", ".hidden",       "-x",
        "a b",   "a@2",           "ü",
        "a\nb",  "a.json\"",      "0123456789012345678901234567890123456789012345678901234567890123x"};
    struct error err = {0};
    struct profile p;
    int64_t v;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(save(names[i], "{\"latency\":1}", &v, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(profile_load(dir, names[i], 0, &p, &err), -1);
    }
    assert_int_equal(save("x", "{\"latancy\":1}", &v, &err), -1);
    assert_int_equal(save("x", "{}", &v, &err), -1);
    json_t *json = json_pack("{s:s}", "name", "x");
    assert_int_equal(profile_save(dir, json, &v, &err), -1);
    json_object_set_new(json, "fault", json_pack("{s:i}", "latency", 1));
    json_object_set_new(json, "colour", json_true());
    assert_int_equal(profile_save(dir, json, &v, &err), -1);
    assert_non_null(strstr(err.text, "colour"));
    json_decref(json);
    json_t *list = profile_list(dir, &err);
    assert_int_equal(json_array_size(list), 0); // nothing was written
    json_decref(list);
}

static void what_strangers_wrote(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *says;
    } files[] = {
        {"broken@1.json", "{\"name\":", "broken@1.json"},
        {"liar@1.json", "{\"name\":\"liar\",\"version\":2,\"fault\":{\"latency\":1}}",
         "it says that it is liar version 2"},
        {"other@1.json", "{\"name\":\"liar\",\"version\":1,\"fault\":{\"latency\":1}}", "it says that it is liar"},
        {"absurd@1.json", "{\"name\":\"absurd\",\"version\":1,\"fault\":{\"loss\":7}}", "loss"},
    };
    struct error err = {0};
    struct profile p;
    char path[160];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char name[32];
        snprintf(path, sizeof(path), "%s/%s", dir, files[i].file);
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(files[i].file, "@"), files[i].file);
        assert_int_equal(file_write_atomic(path, files[i].text, strlen(files[i].text), &err), 0);
        assert_int_equal(profile_load(dir, name, 0, &p, &err), -1);
        if (!strstr(err.text, files[i].says))
            fail_msg("%s: %s", files[i].file, err.text);
    }
    static const char *const no_profiles[] = {"README",    "x.json",  "x@.json", "x@0.json",
                                              "x@01.json", "x@1.txt", "@1.json"};
    for (size_t i = 0; i < sizeof(no_profiles) / sizeof(no_profiles[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, no_profiles[i]);
        assert_int_equal(file_write_atomic(path, "{}", 2, &err), 0);
    }
    json_t *list = profile_list(dir, &err);
    assert_int_equal(json_array_size(list), 4);
    for (size_t i = 0; i < 4; i++)
        assert_non_null(json_object_get(json_array_get(list, i), "error"));
    json_decref(list);
}

static void savers_at_once_get_versions_of_their_own(void **state)
{
    (void)state;
    enum { SAVERS = 4, EACH = 8 };
    struct error err = {0};
    for (int i = 0; i < SAVERS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid > 0)
            continue;
        int failed = 0;
        int64_t v;
        for (int k = 0; k < EACH; k++)
            failed |= save("shared", "{\"latency\":1}", &v, &err);
        _exit(failed ? 1 : 0);
    }
    for (int i = 0, status; i < SAVERS; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    json_t *list = profile_list(dir, &err);
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "versions")), SAVERS * EACH);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "version")), SAVERS * EACH);
    json_decref(list);
}

static void a_directory_that_cannot_be_written(void **state)
{
    (void)state;
    struct error err = {0};
    int64_t v;
    json_t *json = make("x", "{\"latency\":1}");
    assert_int_equal(profile_save("/proc/nowhere", json, &v, &err), -1);
    assert_non_null(strstr(err.text, "/proc/nowhere"));
    assert_int_equal(profile_save("/dev/null", json, &v, &err), -1);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions, setup, teardown),
        cmocka_unit_test_setup_teardown(ten_come_behind_nine, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_ones_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_strangers_wrote, setup, teardown),
        cmocka_unit_test_setup_teardown(savers_at_once_get_versions_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_written, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
