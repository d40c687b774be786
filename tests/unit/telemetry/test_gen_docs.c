// docs/reference/generators.md: a section for every type with every key of it, and examples that parse.
#include "gen_helper.h"
#include <stdio.h>
#include <unistd.h>
#include "core/file.h"
#include "telemetry/dataset.h"

static char *page;

static int read_page(void **s)
{
    (void)s;
    struct buf text;
    struct error err;
    buf_create(&text, 1 << 20);
    if (file_read(IOTIX_SOURCE_DIR "/docs/reference/generators.md", 1 << 20, &text, &err) < 0)
        fail_msg("%s", err.text);
    page = strdup(buf_cstr(&text));
    buf_destroy(&text);
    return 0;
}

static int free_page(void **s)
{
    (void)s;
    free(page);
    return 0;
}

// The text below a heading, up to the next of the same or a higher level; NULL when there is none.
static char *section(const char *heading)
{
    const char *at = strstr(page, heading);
    if (!at)
        return NULL;
    const char *end = strstr(at + 1, "\n##");
    return strndup(at, end ? (size_t)(end - at) : strlen(at));
}

static bool has_key(const char *text, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "`%s`", key);
    return strstr(text, quoted) != NULL;
}

static void test_every_type_and_key_is_there(void **s)
{
    (void)s;
    for (const char *const *name = gen_type_names(); *name; name++) {
        char heading[64];
        snprintf(heading, sizeof heading, "\n### `%s`\n", *name);
        char *text = section(heading);
        if (!text)
            fail_msg("there is no section \"### `%s`\"", *name);
        for (const char *const *key = gen_type_keys(*name) + 1; *key; key++)
            if (!has_key(text, *key))
                fail_msg("the section of %s says nothing of `%s`", *name, *key);
        if (!strstr(text, "```json\n"))
            fail_msg("the section of %s has no example", *name);
        free(text);
    }
    char *anomalies = section("\n## Anomalies\n"), *seasonal = section("\n### `seasonal`\n");
    for (const char *const *key = gen_type_keys("anomaly"); *key; key++)
        if (!has_key(anomalies, *key))
            fail_msg("the section of anomalies says nothing of `%s`", *key);
    for (const char *const *key = gen_type_keys("daily"); *key; key++)
        if (!strstr(seasonal, *key))
            fail_msg("the section of seasonal says nothing of %s", *key);
    free(anomalies);
    free(seasonal);
}

// And the other way round: no section of a type that is not there.
static void test_no_other_type_is_there(void **s)
{
    (void)s;
    for (const char *at = strstr(page, "\n### `"); at; at = strstr(at + 1, "\n### `")) {
        char name[64] = "";
        assert_int_equal(sscanf(at, "\n### `%63[a-z]`", name), 1);
        if (!gen_type_keys(name))
            fail_msg("there is no generator %s", name);
    }
}

static int find_hook(void *arg, const char *handler, struct error *err)
{
    (void)arg;
    (void)handler;
    (void)err;
    return 0;
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_every_example_parses(void **s)
{
    (void)s;
    static const char *const names[] = {"temperature", "humidity"};
    char dir[] = "/tmp/iotix-docs-XXXXXX", path[200];
    assert_non_null(mkdtemp(dir));
    put_file(dir, "load.csv", "timestamp,watts\n1700000000,40\n1700000900,55.5\n");
    const char *dirs[] = {dir};
    struct datasets *datasets = datasets_new();
    struct gen_env env = {
        .names = names, .n_names = 2, .dirs = dirs, .n_dirs = 1, .datasets = datasets, .find_hook = find_hook};
    unsigned n = 0;
    for (const char *at = strstr(page, "```json\n"); at; at = strstr(at, "```json\n"), n++) {
        at += strlen("```json\n");
        char *text = strndup(at, (size_t)(strstr(at, "```") - at));
        struct error err;
        struct gen_spec *spec = try_parse_env(text, VALUE_NULL, &env, &err);
        if (!spec)
            fail_msg("%s: %s", text, err.text);
        struct run r = run_of(spec, 1);
        for (int i = 0; i < 10; i++) {
            r.context.time_us = i * 1000000;
            run_next(&r);
        }
        run_end(&r);
        free(text);
    }
    assert_true(n >= 26);
    datasets_delete(datasets);
    snprintf(path, sizeof path, "%s/load.csv", dir);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_and_key_is_there),
        cmocka_unit_test(test_no_other_type_is_there),
        cmocka_unit_test(test_every_example_parses),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
