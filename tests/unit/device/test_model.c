// Models: how attributes become streams, what is refused and where, and the files that the product brings.
#include <dirent.h>
#include "core/file.h"
#include "fake.h"
#include "telemetry/dataset.h"

static void refuse(const char *text, enum error_code code, const char *part)
{
    struct error err = {0};
    struct model *m = model_parse(text, strlen(text), "test.json", NULL, &err);
    if (m)
        fail_msg("accepted: %s", text);
    if (err.code != code || !strstr(err.text, part) || strncmp(err.text, "test.json", 9))
        fail_msg("%s\n  says \"%s\" (%s), not \"%s\"", text, err.text, error_code_name(err.code), part);
}

static void render(const struct payload *p, const struct value *values, const char *expected)
{
    struct buf out;
    struct payload_scope scope = {
        .device_id = "g-1", .group_id = "g", .index = 1, .wall_us = 1700000000123000, .values = values};
    buf_create(&out, 4096);
    assert_int_equal(payload_render(p, &scope, &out), 0);
    assert_string_equal(buf_cstr(&out), expected);
    buf_destroy(&out);
}

// The message of a stream, however it is made.
static void message(const struct model_stream *stream, const struct value *values, const void *expected, size_t n)
{
    struct buf out;
    struct payload_scope scope = {
        .device_id = "g-1", .group_id = "g", .index = 1, .wall_us = 1700000000123000, .values = values};
    buf_create(&out, 4096);
    assert_int_equal(stream->payload ? payload_render(stream->payload, &scope, &out)
                                     : encoder_write(stream->encoder, &scope, 0, &out),
                     0);
    if (out.len != n || memcmp(out.data, expected, n))
        fail_msg("made \"%s\", not \"%.*s\"", buf_cstr(&out), (int)n, (const char *)expected);
    buf_destroy(&out);
}

static void message_text(const struct model_stream *stream, const struct value *values, const char *expected)
{
    message(stream, values, expected, strlen(expected));
}

#define ATTR(name, more) "{\"name\":\"" name "\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\"}" more "}"
#define MODEL(more) "{" SENSOR_HEAD "," more "}"

static void test_streams(void **state)
{
    (void)state;
    struct model *m = model_of(MODEL("\"telemetry\":[" ATTR("a", "") "," ATTR("b", ",\"intervalMs\":5000") "," ATTR(
        "c",
        ",\"intervalMs\":"
        "1000") "," ATTR("d", ",\"topic\":\"alarm/${deviceId}/{attribute}\"") "," ATTR("e",
                                                                                       ",\"topic\":\"alarm/${deviceId}/"
                                                                                       "{attribute}\"") "]"));
    assert_int_equal(m->n_streams, 4);
    assert_int_equal(m->streams[0].n_attributes, 2);
    assert_string_equal(m->streams[0].attributes[0].name, "a");
    assert_string_equal(m->streams[0].attributes[1].name, "c");
    assert_int_equal(m->streams[0].interval_us, 1000000);
    assert_string_equal(m->streams[1].attributes[0].name, "b");
    assert_int_equal(m->streams[1].interval_us, 5000000);
    assert_string_equal(m->streams[2].attributes[0].name, "d");
    assert_string_equal(m->streams[3].attributes[0].name, "e");
    struct value v[2] = {{.type = VALUE_INTEGER, .integer = 1}, {.type = VALUE_INTEGER, .integer = 2}};
    message_text(&m->streams[0], v, "{\"a\":1,\"c\":2,\"timestamp\":1700000000123}");
    render(m->streams[0].topic_template, v, "g/g-1/telemetry");
    render(m->streams[2].topic_template, v, "alarm/g-1/d");
    render(m->streams[3].topic_template, v, "alarm/g-1/e");
    message_text(&m->streams[3], v, "{\"e\":1,\"timestamp\":1700000000123}");
    model_delete(m);
}

static void test_defaults_and_connection(void **state)
{
    (void)state;
    struct model *m = model_of("{" SENSOR_HEAD "}");
    assert_string_equal(m->version, "1.0.0");
    assert_int_equal(m->qos, 1);
    assert_int_equal(m->keep_alive_s, 60);
    assert_true(m->clean_session);
    assert_string_equal(m->client_id_pattern, "iotix-${deviceId}");
    assert_string_equal(m->topic_pattern, "${groupId}/${deviceId}/telemetry");
    assert_int_equal(m->n_streams, 0);
    assert_null(m->broker);
    model_delete(m);
    m = model_of(
        MODEL("\"version\":\"2.0.1\",\"connection\":{\"broker\":\"b\",\"port\":1884,\"tls\":true,\"clientIdPattern\":"
              "\"c-{index}\","
              "\"topicPattern\":\"sensors/{deviceId}/{attribute}\",\"qos\":0,\"keepAlive\":7,\"cleanSession\":false,"
              "\"username\":\"u\"},\"telemetry\":[" ATTR("a", "") "," ATTR("b", "") "]"));
    assert_string_equal(m->broker, "b");
    assert_int_equal(m->port, 1884);
    assert_true(m->tls);
    assert_int_equal(m->qos, 0);
    assert_int_equal(m->keep_alive_s, 7);
    assert_false(m->clean_session);
    assert_string_equal(m->username, "u");
    assert_int_equal(m->n_streams, 2); // {attribute} in the topic: each alone
    struct value v = {.type = VALUE_INTEGER, .integer = 1};
    render(m->streams[1].topic_template, &v, "sensors/g-1/b");
    model_delete(m);
}

static void test_payload_template(void **state)
{
    (void)state;
    struct value v[2] = {{.type = VALUE_INTEGER, .integer = 1}, {.type = VALUE_INTEGER, .integer = 2}};
    struct model *m =
        model_of(MODEL("\"payload\":\"{\\\"id\\\":${deviceId},\\\"v\\\":[${a},${b}]}\",\"telemetry\":[" ATTR(
            "a", "") "," ATTR("b", "") "," ATTR("c", ",\"topic\":\"c\"") "]"));
    message_text(&m->streams[0], v, "{\"id\":\"g-1\",\"v\":[1,2]}");
    message_text(&m->streams[1], v, "{\"c\":1,\"timestamp\":1700000000123}");
    model_delete(m);
    m = model_of(MODEL("\"payload\":\"${deviceId};${a}\",\"telemetry\":[" ATTR("a", "") "]"));
    message_text(&m->streams[0], v, "g-1;1");
    model_delete(m);
    refuse(MODEL("\"payload\":\"${a} ${b}\",\"telemetry\":[" ATTR("a", "") "," ATTR("b", ",\"intervalMs\":300") "]"),
           ERR_INVALID, "/payload");
}

// Draws one value of a stream's first attribute, as a device would.
static struct value draw(const struct model *m)
{
    struct rng rng;
    struct gen_state s = {0};
    struct value v;
    rng_seed(&rng, 1);
    gen_init(m->streams[0].attributes[0].gen, &s, &rng, &(struct gen_context){.index = 1});
    gen_next(m->streams[0].attributes[0].gen, &s, &rng, &(struct gen_context){.index = 1}, &v);
    return v;
}

static void test_constants(void **state)
{
    (void)state;
    struct model *m = model_of(MODEL("\"telemetry\":[{\"name\":\"o\",\"type\":\"object\",\"generator\":{\"type\":"
                                     "\"constant\",\"value\":{\"x\":[1,null]}}}]"));
    struct value v = draw(m);
    message_text(&m->streams[0], &v, "{\"o\":{\"x\":[1,null]},\"timestamp\":1700000000123}");
    model_delete(m);
    m = model_of(MODEL("\"telemetry\":[{\"name\":\"s\",\"type\":\"string\",\"generator\":{\"type\":\"constant\","
                       "\"value\":\"a\\\"b\"}}]"));
    v = draw(m);
    message_text(&m->streams[0], &v, "{\"s\":\"a\\\"b\",\"timestamp\":1700000000123}");
    model_delete(m);
}

static void test_commands(void **state)
{
    (void)state;
    struct model *m = model_of(MODEL(
        "\"commands\":[{\"name\":\"open\",\"topic\":\"v/${deviceId}/open\",\"parameters\":[]},{\"name\":\"shut\"}],"
        "\"behaviors\":[{\"name\":\"x\",\"enabled\":false}]"));
    assert_int_equal(m->n_commands, 2);
    assert_string_equal(m->commands[0].name, "open");
    render(m->commands[0].topic_template, NULL, "v/g-1/open");
    assert_null(m->commands[1].topic);
    model_delete(m);
}

#define GEN(type, gen)                                                                                                 \
    MODEL("\"telemetry\":[" ATTR("z", "") ",{\"name\":\"a\",\"type\":\"" type "\",\"generator\":" gen "}]")

static void test_unsupported(void **state)
{
    (void)state;
    refuse(GEN("number", "{\"type\":\"replay\",\"dataFile\":\"x.csv\"}"), ERR_UNSUPPORTED, ": /telemetry/1/generator");
    refuse(MODEL("\"encoding\":{\"type\":\"lua\"},"
                 "\"telemetry\":[" ATTR("z", "") "]"),
           ERR_INVALID, ": /encoding: \"handler\" is missing");
}

#define ENCODED(encoding, attributes) MODEL("\"encoding\":" encoding ",\"telemetry\":[" attributes "]")
#define BYTES                                                                                                          \
    ",{\"name\":\"w\",\"type\":\"binary\",\"samples\":2,\"generator\":{\"type\":\"constant\",\"value\":\"xy\"}}"

// The encoding decides how a message is made, and whether binary attributes go alone.
static void test_encodings(void **state)
{
    (void)state;
    struct value v[2] = {{.type = VALUE_INTEGER, .integer = 1}, {.type = VALUE_INTEGER, .integer = 2}};
    struct model *m = model_of(ENCODED("\"csv\"", ATTR("a", "") "," ATTR("b", "") BYTES));
    assert_int_equal(m->n_streams, 2);
    message_text(&m->streams[0], v, "1700000000123,1,2");
    struct value bytes = {.type = VALUE_BINARY, .str = {"xy", 2}};
    message_text(&m->streams[1], &bytes, "xy");
    model_delete(m);
    m = model_of(ENCODED("{\"type\":\"cbor\",\"timestamp\":false}", ATTR("a", "") BYTES));
    assert_int_equal(m->n_streams, 1);
    v[1] = bytes;
    message(&m->streams[0], v,
            "\xa2"
            "aa\x01"
            "aw"
            "Bxy",
            9);
    model_delete(m);
    m = model_of(ENCODED("{\"type\":\"lua\",\"handler\":\"enc.run\"}", ATTR("a", "")));
    assert_int_equal(m->n_hooks, 1);
    assert_string_equal(m->hooks[m->streams[0].encode_hook], "enc.run");
    model_delete(m);
    refuse(ENCODED("\"morse\"", ATTR("a", "")), ERR_INVALID, ": /encoding: ");
    refuse(ENCODED("7", ATTR("a", "")), ERR_INVALID, ": /encoding: ");
    refuse(ENCODED("{\"type\":\"lua\",\"handler\":\"pkg.mod:Class\"}", ATTR("a", "")), ERR_INVALID,
           "looks like Python");
}

static void test_sparkplug(void **state)
{
    (void)state;
    struct model *m = model_of(ENCODED("{\"type\":\"sparkplug\",\"nodeId\":\"n-${index}\"}",
                                       ATTR("a", "") BYTES "," ATTR("b", ",\"intervalMs\":300")));
    assert_non_null(m->sparkplug);
    assert_true(m->keeps_values);
    assert_int_equal(m->n_streams, 2);
    render(m->streams[0].topic_template, NULL, "spBv1.0/g/NDATA/n-1");
    render(m->sparkplug->birth_topic, NULL, "spBv1.0/g/NBIRTH/n-1");
    render(m->sparkplug->death_topic, NULL, "spBv1.0/g/NDEATH/n-1");
    render(m->sparkplug->command_topic, NULL, "spBv1.0/g/NCMD/n-1");
    assert_int_equal(m->qos, 0);
    assert_string_equal(m->sparkplug->fields[2].name, "b");
    assert_int_equal(m->sparkplug->fields[2].alias, 3);
    model_delete(m);
    refuse(ENCODED("\"sparkplug\"", ATTR("a", ",\"topic\":\"x\"")), ERR_INVALID, ": /telemetry/0/topic: ");
    refuse(ENCODED("\"sparkplug\",\"connection\":{\"qos\":1}", ATTR("a", "")), ERR_INVALID, ": /connection/qos: ");
    refuse(ENCODED("{\"type\":\"sparkplug\",\"groupId\":\"a/b\"}", ATTR("a", "")), ERR_INVALID, ": /encoding: ");
}

static void test_bad(void **state)
{
    (void)state;
    refuse("", ERR_INVALID, "test.json");
    refuse("{\"id\":", ERR_INVALID, "test.json");
    refuse("[]", ERR_INVALID, "must be an object");
    refuse("{}", ERR_INVALID, "\"id\" is missing");
    refuse("{\"id\":1}", ERR_INVALID, "id: expected a string");
    refuse("{\"id\":\"s\",\"name\":\"S\",\"type\":\"toaster\",\"protocol\":\"mqtt\"}", ERR_INVALID,
           "/type: unknown value \"toaster\"; valid: sensor, actuator, gateway, custom, proxy");
    refuse(MODEL("\"telemetry\":{}"), ERR_INVALID, "/telemetry: expected an array");
    refuse(MODEL("\"telemetry\":[1]"), ERR_INVALID, "/telemetry/0: expected an object");
    refuse(MODEL("\"telemetry\":[{\"name\":\"a\"}]"), ERR_INVALID, "\"type\" is missing");
    refuse(MODEL("\"telemetry\":[{\"name\":\"a\",\"type\":\"float\"}]"), ERR_INVALID,
           "/telemetry/0/type: unknown value");
    refuse(MODEL("\"telemetry\":[{\"name\":\"a\",\"type\":\"number\"}]"), ERR_INVALID, "\"generator\" is missing");
    refuse(GEN("number", "{\"type\":\"uniform\",\"min\":5,\"max\":1}"), ERR_INVALID, "/telemetry/1/generator: ");
    refuse(GEN("number", "{\"type\":\"unifrom\"}"), ERR_INVALID, "/telemetry/1/generator: ");
    refuse(MODEL("\"telemetry\":[" ATTR("a", ",\"intervalMs\":99") "]"), ERR_INVALID,
           "/telemetry/0/intervalMs: must be 100..");
    refuse(MODEL("\"telemetry\":[" ATTR("a", ",\"precision\":10") "]"), ERR_INVALID,
           "/telemetry/0/precision: must be 0..9");
    refuse(MODEL("\"telemetry\":[" ATTR("a", "") "," ATTR("a", "") "]"), ERR_INVALID,
           "/telemetry/1/name: there are two");
    refuse(MODEL("\"telemetry\":[" ATTR("a", ",\"topic\":\"x/#\"") "]"), ERR_INVALID, "/telemetry/0/topic: ");
    refuse(MODEL("\"telemetry\":[" ATTR("a", ",\"topic\":\"x/${nope}\"") "]"), ERR_INVALID,
           "/telemetry/0/topic: unknown placeholder ${nope}");
    refuse(MODEL("\"connection\":{\"topicPattern\":\"+/x\"},\"telemetry\":[" ATTR("a", "") "]"), ERR_INVALID,
           "/connection/topicPattern: ");
    refuse(MODEL("\"connection\":{\"qos\":3}"), ERR_INVALID, "/connection/qos: must be 0, 1 or 2");
    refuse(MODEL("\"connection\":{\"port\":0}"), ERR_INVALID, "/connection/port: ");
    refuse(MODEL("\"connection\":{\"keepAlive\":70000}"), ERR_INVALID, "/connection/keepAlive: ");
    refuse(MODEL("\"connection\":{\"tls\":1}"), ERR_INVALID, "tls: expected a boolean");
    refuse(MODEL("\"commands\":[{}]"), ERR_INVALID, "/commands/0: \"name\" is missing");
    refuse(MODEL("\"payload\":\"${nope}\",\"telemetry\":[" ATTR("a", "") "]"), ERR_INVALID, "/payload");
}

static void test_too_many_attributes(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 1 << 20);
    assert_int_equal(buf_append_str(&b, "{" SENSOR_HEAD ",\"telemetry\":["), 0);
    for (int i = 0; i < 257; i++)
        assert_int_equal(buf_printf(&b,
                                    "%s{\"name\":\"a%d\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\"}}",
                                    i ? "," : "", i),
                         0);
    assert_int_equal(buf_append_str(&b, "]}"), 0);
    refuse(buf_cstr(&b), ERR_LIMIT, "/telemetry: at most 256 entries, there are 257");
    buf_destroy(&b);
}

// Everything under models/ must load.
static void test_product_models(void **state)
{
    (void)state;
    DIR *dir = opendir(IOTIX_SOURCE_DIR "/models");
    assert_non_null(dir);
    struct dirent *e;
    while ((e = readdir(dir))) {
        size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 5, ".json"))
            continue;
        char path[512];
        struct buf text;
        struct error err = {0};
        snprintf(path, sizeof(path), "%s/models/%s", IOTIX_SOURCE_DIR, e->d_name);
        buf_create(&text, 1 << 20);
        assert_int_equal(file_read(path, 1 << 20, &text, &err), 0);
        if (memmem(text.data, text.len, "\"extends\"", 9) || memmem(text.data, text.len, "\"gateway\"", 9)) {
            buf_destroy(&text); // what it builds on is merged by the loader: tests/spec
            continue;
        }
        struct datasets *datasets = datasets_new();
        struct model_env env = {.datasets = datasets};
        struct model *m = model_parse((const char *)text.data, text.len, path, &env, &err);
        if (!m)
            fail_msg("%s", err.text);
        if (!strcmp(e->d_name, "temperature-sensor.json"))
            assert_true(m->n_streams >= 2);
        model_delete(m);
        datasets_delete(datasets);
        buf_destroy(&text);
    }
    closedir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_defaults_and_connection),
        cmocka_unit_test(test_payload_template),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_sparkplug),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_too_many_attributes),
        cmocka_unit_test(test_product_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
