// The schema and the parser speak of the same generators and encodings, and the schema's own examples are taken.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "device/model.h"

static json_t *schema;

static json_t *definition(const char *name)
{
    json_t *d = json_object_get(json_object_get(schema, "definitions"), name);
    if (!d)
        fail_msg("the schema has no definition %s", name);
    return d;
}

static json_t *type_names(const char *name)
{
    return json_object_get(json_object_get(json_object_get(definition(name), "properties"), "type"), "enum");
}

static bool holds(const json_t *list, const char *word)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) if (strcmp(json_string_value(item), word) == 0) return true;
    return false;
}

static int setup(void **state)
{
    (void)state;
    schema = json_load_file(IOTIX_SOURCE_DIR "/models/schema/device-model.schema.json", 0, NULL);
    return schema ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(schema);
    return 0;
}

static void test_generator_types(void **state)
{
    (void)state;
    const json_t *names = type_names("generator");
    size_t n = 0;
    for (const char *const *name = gen_type_names(); *name; name++, n++)
        if (!holds(names, *name))
            fail_msg("the schema has no generator %s", *name);
    assert_int_equal(json_array_size(names), n);
}

static void test_encodings(void **state)
{
    (void)state;
    const json_t *names = type_names("encodingObject");
    for (int e = ENCODING_JSON; e <= ENCODING_SPARKPLUG; e++)
        if (!holds(names, encoding_name((enum encoding)e)))
            fail_msg("the schema has no encoding %s", encoding_name((enum encoding)e));
    assert_int_equal(json_array_size(names), ENCODING_SPARKPLUG + 2); // and lua
}

// A model around one generator. Texts for what yields texts, objects for what yields objects.
static void try_generator(const json_t *generator)
{
    const char *type = json_string_value(json_object_get(generator, "type"));
    const json_t *first = json_array_get(json_object_get(generator, "values"), 0);
    first = first ? first : json_array_get(json_object_get(generator, "states"), 0);
    const char *value = json_is_string(first)                             ? "string"
                        : !strcmp(type, "gps") || !strcmp(type, "object") ? "object"
                        : !strcmp(type, "array")                          ? "array"
                                                                          : "number";
    json_t *model =
        json_pack("{ss ss ss ss s[{ss ss s{ss sf}} {ss ss s{ss sf}} {ss ss sO}]}", "id", "m", "name", "M", "type",
                  "sensor", "protocol", "mqtt", "telemetry", "name", "voltage", "type", "number", "generator", "type",
                  "constant", "value", 230.0, "name", "current", "type", "number", "generator", "type", "constant",
                  "value", 2.0, "name", "a", "type", value, "generator", generator);
    char *text = json_dumps(model, 0);
    struct error err = {0};
    struct model *m = model_parse(text, strlen(text), "example.json", NULL, &err);
    if (!m)
        fail_msg("%s\n%s", err.text, text);
    model_delete(m);
    free(text);
    json_decref(model);
}

static void test_examples(void **state)
{
    (void)state;
    size_t i, k, n = 0;
    const json_t *branch, *example;
    json_array_foreach(json_object_get(definition("generator"), "allOf"), i, branch)
    {
        const char *ref = json_string_value(json_object_get(json_object_get(branch, "then"), "$ref"));
        json_array_foreach(json_object_get(definition(strrchr(ref, '/') + 1), "examples"), k, example)
        {
            if (!strcmp(strrchr(ref, '/') + 1, "replay")) // needs its file
                continue;
            try_generator(example);
            n++;
        }
    }
    assert_true(n >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator_types),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_examples),
    };
    return cmocka_run_group_tests_name("device/model_schema", tests, setup, teardown);
}
