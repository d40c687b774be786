// The model tool as C sees it: what the command line and the API call.
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/model_tool.h"

static struct model_tool *open_tool(void)
{
    static const char *const dirs[] = {IOTIX_SOURCE_DIR "/models"};
    struct model_tool_config config = {.dirs = dirs, .n_dirs = 1};
    struct error err = {0};
    struct model_tool *tool = script_model_tool_ops()->open(&config, &err);
    if (!tool)
        fail_msg("%s", err.text);
    return tool;
}

// All problems as "line:column pointer rule"; "" when there are none.
static const char *check(struct model_tool *tool, const char *name, const char *text, json_t **document)
{
    static char out[4096];
    struct error err = {0};
    json_t *problems = script_model_tool_ops()->check(tool, name, text, text ? strlen(text) : 0, document, &err), *p;
    if (!problems)
        fail_msg("%s", err.text);
    size_t i, n = 0;
    out[0] = '\0';
    json_array_foreach(problems, i, p)
    {
        n += (size_t)snprintf(
            out + n, sizeof(out) - n, "%s%d:%d %s %s", i ? "\n" : "",
            (int)json_integer_value(json_object_get(p, "line")), (int)json_integer_value(json_object_get(p, "column")),
            json_string_value(json_object_get(p, "pointer")), json_string_value(json_object_get(p, "rule")));
        assert_non_null(json_string_value(json_object_get(p, "file")));
        assert_true(strlen(json_string_value(json_object_get(p, "message"))) > 0);
    }
    json_decref(problems);
    return out;
}

static void test_check(void **state)
{
    (void)state;
    struct model_tool *tool = open_tool();
    json_t *document;
    assert_string_equal(check(tool, "temperature-sensor@1", NULL, &document), "");
    assert_string_equal(json_string_value(json_object_get(document, "id")), "temperature-sensor");
    json_decref(document);
    // a text that is no file yet; what it extends is found
    assert_string_equal(check(tool, "new.json",
                              "{\"extends\": \"temperature-sensor\", \"id\": \"new\", \"connection\": {\"qos\": 2}}",
                              &document),
                        "");
    const json_t *connection = json_object_get(document, "connection");
    assert_int_equal(json_integer_value(json_object_get(connection, "qos")), 2);
    assert_non_null(json_object_get(connection, "topicPattern"));
    assert_null(json_object_get(document, "extends"));
    json_decref(document);
    assert_string_equal(
        check(tool, "new.json", "{\"extends\": \"temperature-sensor\",\n\"id\": 1,\n\"qos\": 1}", &document),
        "2:7 /id type\n3:1 /qos additionalProperties");
    assert_null(document);
    assert_string_equal(check(tool, "new.json", "{", NULL), "1:2  json");
    assert_string_equal(check(tool, "new.json", "", NULL), "1:1  json");
    script_model_tool_ops()->close(tool);
}

static void test_not_found(void **state)
{
    (void)state;
    struct model_tool *tool = open_tool();
    struct error err = {0};
    assert_null(script_model_tool_ops()->check(tool, "nowhere/x.json", NULL, 0, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "nowhere/x.json"));
    assert_null(script_model_tool_ops()->check(tool, "no-such-model", NULL, 0, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no-such-model"));
    assert_null(script_model_tool_ops()->check(tool, "/", NULL, 0, NULL, &err));
    script_model_tool_ops()->close(tool);
    script_model_tool_ops()->close(NULL);
}

static void test_list(void **state)
{
    (void)state;
    struct model_tool *tool = open_tool();
    struct error err = {0};
    json_t *list = script_model_tool_ops()->list(tool, &err), *entry;
    assert_non_null(list);
    bool found = false;
    size_t i;
    json_array_foreach(list, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "id"));
        if (id && strcmp(id, "environmental-sensor") == 0) {
            found = true;
            assert_string_equal(json_string_value(json_object_get(entry, "extends")), "temperature-sensor");
        }
    }
    assert_true(found);
    json_decref(list);
    script_model_tool_ops()->close(tool);
}

// What takes too much is stopped, and the tool goes on.
static void test_bounds(void **state)
{
    (void)state;
    struct model_tool *tool = open_tool();
    struct error err = {0};
    size_t n = 1u << 20;
    char *text = malloc(n + 2);
    assert_non_null(text);
    memset(text, '[', n + 1);
    text[n + 1] = '\0';
    assert_null(script_model_tool_ops()->check(tool, "large.json", text, n + 1, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    text[n] = '\0';
    assert_string_equal(check(tool, "deep.json", text, NULL), "1:65  json");
    // Half a million values: refused as a list, or stopped over its memory or CPU, but answered.
    for (size_t i = 0; i + 1 < n; i += 2)
        memcpy(text + i, i ? "1," : "[1", 2);
    json_t *problems = script_model_tool_ops()->check(tool, "long.json", text, n, NULL, &err);
    if (!problems)
        assert_int_equal(err.code, ERR_LIMIT);
    json_decref(problems);
    free(text);
    assert_string_equal(check(tool, "temperature-sensor", NULL, NULL), "");
    script_model_tool_ops()->close(tool);
}

static void test_many(void **state)
{
    (void)state;
    struct model_tool *tool = open_tool();
    for (int i = 0; i < 200; i++) {
        char text[200];
        snprintf(text, sizeof(text),
                 "{\"id\": \"m%d\", \"name\": \"M\", \"type\": \"sensor\", \"protocol\": \"mqtt\"%s}", i,
                 i % 2 ? ", \"x\": 1" : "");
        const char *found = check(tool, "m.json", text, NULL);
        assert_int_equal(strstr(found, " /x additionalProperties") != NULL, i % 2);
        assert_int_equal(found[0] == '\0', !(i % 2));
    }
    script_model_tool_ops()->close(tool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),  cmocka_unit_test(test_not_found), cmocka_unit_test(test_list),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("script/model_tool", tests, NULL, NULL);
}
