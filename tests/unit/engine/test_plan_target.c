// Which server a group speaks to, and what the run starts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonx.h"
#include "engine/plan.h"
#include "engine/plan_target.h"

#define MODEL(protocol, commands)                                                                                      \
    "{\"text\":\"{\\\"id\\\":\\\"m\\\",\\\"name\\\":\\\"M\\\",\\\"type\\\":\\\"sensor\\\",\\\"protocol\\\":"           \
    "\\\"" protocol "\\\",\\\"telemetry\\\":[],\\\"commands\\\":[" commands "]}\"}"
#define MODELS                                                                                                         \
    "\"models\":{\"m\":" MODEL("mqtt", "") ",\"h\":" MODEL("http", "") ",\"c\":" MODEL("coap",                         \
                                                                                       "{\\\"name\\\":\\\"x\\\"}") "}"
#define PLAN(head, groups)                                                                                             \
    "{\"name\":\"x\",\"file\":\"x.lua\",\"duration\":1," head "\"groups\":[" groups "]," MODELS "}"
#define GROUP(name, rest) "{\"name\":\"" name "\",\"line\":3,\"count\":10," rest "}"

static struct plan *parse(const char *text)
{
    struct error err = {0};
    json_t *json = json_parse(text, strlen(text), "test", &err);
    if (!json)
        fail_msg("%s: %s", err.text, text);
    struct plan *p = plan_parse(json, &err);
    if (!p)
        fail_msg("%s", err.text);
    return p;
}

static void fails(const char *text, const char *part)
{
    struct error err = {0};
    json_t *json = json_parse(text, strlen(text), "test", &err);
    assert_non_null(json);
    assert_null(plan_parse(json, &err));
    if (!strstr(err.text, part))
        fail_msg("\"%s\" lacks \"%s\"", err.text, part);
}

static void the_protocol_of_a_model_chooses(void **state)
{
    (void)state;
    struct plan *p = parse(PLAN("", GROUP("a", "\"model\":\"m\"") "," GROUP("b", "\"model\":\"h\"") "," GROUP(
                                        "c", "\"model\":\"c\"") "," GROUP("d", "\"behaviour\":true")));
    assert_string_equal(p->groups[0].config.url, "mqtt://embedded");
    assert_string_equal(p->groups[1].config.url, "http://embedded");
    assert_string_equal(p->groups[2].config.url, "coap://embedded");
    assert_string_equal(p->groups[3].config.url, "mqtt://embedded");
    assert_int_equal(plan_embedded(p), TARGET_MQTT | TARGET_HTTP | TARGET_COAP);
    assert_string_equal(plan_target(p), "embedded");
    assert_false(plan_group_serves(p, &p->groups[0]));
    assert_true(plan_group_serves(p, &p->groups[2]));
    plan_delete(p);
}

static void a_url_of_its_own_comes_first_then_the_scenarios_then_the_models(void **state)
{
    (void)state;
    struct plan *p = parse(PLAN(
        "\"http\":\"https://api.example/v1\",\"coap\":\"coaps://embedded\",",
        GROUP("a", "\"model\":\"h\"") "," GROUP("b", "\"model\":\"h\",\"broker\":\"http://10.0.0.1\"") "," GROUP(
            "c",
            "\"model\":\"c\",\"model_broker\":\"coap://10.0.0.2\"") "," GROUP("d",
                                                                              "\"model\":\"m\",\"model_broker\":"
                                                                              "\"mqtt://10.0.0.3\"") "," GROUP("e",
                                                                                                               "\"model"
                                                                                                               "\":"
                                                                                                               "\"h\","
                                                                                                               "\"broke"
                                                                                                               "r\":"
                                                                                                               "\"embed"
                                                                                                               "ded"
                                                                                                               "\"")));
    assert_string_equal(p->groups[0].config.url, "https://api.example/v1");
    assert_string_equal(p->groups[1].config.url, "http://10.0.0.1");
    assert_string_equal(p->groups[2].config.url, "coaps://embedded");
    assert_string_equal(p->groups[3].config.url, "mqtt://10.0.0.3");
    assert_string_equal(p->groups[4].config.url, "http://embedded");
    assert_true(p->groups[3].model_url && p->groups[1].own_url && p->groups[4].own_url);
    assert_int_equal(plan_embedded(p), TARGET_COAPS | TARGET_HTTP); // nobody speaks to the broker
    assert_string_equal(plan_target(p), "https://api.example/v1");
    plan_delete(p);
}

static void side_connections_and_tests_are_counted(void **state)
{
    (void)state;
    struct plan *p =
        parse(PLAN("\"embedded\":[\"wss\",\"coap+tcp\"],\"has_test\":true,", GROUP("a", "\"model\":\"h\"")));
    assert_int_equal(plan_embedded(p), TARGET_WSS | TARGET_COAP_TCP | TARGET_HTTP); // no broker for a test without MQTT
    assert_string_equal(plan_target(p), "embedded");                                // where the side connections go
    plan_delete(p);
    fails(PLAN("\"embedded\":[\"amqp\"],", GROUP("a", "\"model\":\"h\"")), "nothing embedded speaks \"amqp\"");
    fails(PLAN("\"http\":\"coap://x\",", GROUP("a", "\"model\":\"h\"")), "http: expected a URL such as http://host");
    fails(PLAN("\"coap\":7,", GROUP("a", "\"model\":\"h\"")), "coap");
    fails(PLAN("\"http\":\"http://:0\",", GROUP("a", "\"model\":\"h\"")), "http: ");
}

#define OWN(name, url) GROUP(name, "\"behaviour\":true,\"broker\":\"" url "\"")

// A test that names no broker looks at the one that groups speak to, and does not choose between two.
static void a_test_looks_where_the_groups_are(void **state)
{
    (void)state;
    static const struct {
        const char *plan, *target;
        unsigned embedded;
        bool clear;
    } cases[] = {
        {PLAN("\"has_test\":true,", OWN("a", "mqtt://10.0.0.1")), "mqtt://10.0.0.1", 0, true},
        {PLAN("\"has_test\":true,", GROUP("a", "\"model\":\"h\"") "," OWN("b", "wss://10.0.0.1")), "wss://10.0.0.1",
         TARGET_HTTP, true},
        {PLAN("\"has_test\":true,", OWN("a", "mqtt://10.0.0.1") "," OWN("b", "mqtt://10.0.0.1")), "mqtt://10.0.0.1", 0,
         true},
        {PLAN("\"has_test\":true,", OWN("a", "mqtt://10.0.0.1") "," OWN("b", "mqtt://10.0.0.2")), "mqtt://10.0.0.1", 0,
         false},
        {PLAN("\"has_test\":true,", OWN("a", "wss://embedded") "," OWN("b", "mqtts://embedded")), "wss://embedded",
         TARGET_WSS | TARGET_MQTTS, true},
        {PLAN("\"has_test\":true,\"broker\":\"mqtt://h\",", OWN("a", "mqtt://10.0.0.1")), "mqtt://h", 0, true},
        {PLAN("\"has_test\":true,\"broker\":\"embedded\",", OWN("a", "mqtt://10.0.0.1")), "embedded", TARGET_MQTT,
         true},
        {PLAN("\"has_test\":true,", OWN("a", "mqtt://10.0.0.1") "," GROUP("b", "\"behaviour\":true")), "embedded",
         TARGET_MQTT, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plan *p = parse(cases[i].plan);
        struct error err;
        assert_string_equal(plan_target(p), cases[i].target);
        assert_int_equal(plan_embedded(p), cases[i].embedded);
        assert_int_equal(plan_target_clear(p, &err), cases[i].clear ? 0 : -1);
        if (!cases[i].clear)
            assert_non_null(strstr(err.text, "several brokers (mqtt://10.0.0.1, mqtt://10.0.0.2 "));
        plan_delete(p);
    }
}

static void a_shard_gets_addresses_and_the_runs_ca(void **state)
{
    struct error err = {0};
    (void)state;
    struct plan *p = parse(PLAN(
        "\"broker\":\"mqtts://embedded\",\"adapter\":{\"tls\":{\"resume\":false}},",
        GROUP("a", "\"model\":\"m\"") "," GROUP(
            "b",
            "\"model\":\"h\",\"broker\":\"https://me:pw@embedded/"
            "base?q\"") "," GROUP("c",
                                  "\"behaviour\":true,\"broker\":"
                                  "\"wss://"
                                  "embedded\",\"adapter\":{\"tls\":{"
                                  "\"ca\":\"mine.pem\"}}") "," GROUP("d",
                                                                     "\"model\":\"h\"") "," GROUP("e",
                                                                                                  "\"behaviour\":true,"
                                                                                                  "\"broker\":\"mqtt://"
                                                                                                  "embedded."
                                                                                                  "example\"")));
    assert_int_equal(plan_embedded(p), TARGET_MQTTS | TARGET_HTTPS | TARGET_WSS | TARGET_HTTP);
    json_t *urls = json_pack("{s:s, s:s, s:s, s:s}", "mqtts", "mqtts://127.0.0.1:1", "https", "https://127.0.0.1:2",
                             "wss", "wss://127.0.0.1:3/mqtt", "http", "http://127.0.0.1:4");
    assert_int_equal(plan_resolve(p, urls, "PEM", &err), 0);
    assert_string_equal(p->groups[0].config.url, "mqtts://embedded");
    struct plan *s = plan_parse(json_deep_copy(p->json), &err);
    assert_non_null(s);
    const struct plan_group *g = s->groups;
    assert_string_equal(g[0].config.url, "mqtts://127.0.0.1:1");
    assert_string_equal(g[1].config.url, "https://me:pw@127.0.0.1:2/base?q");
    assert_string_equal(g[2].config.url, "wss://127.0.0.1:3/mqtt");
    assert_string_equal(g[3].config.url, "http://127.0.0.1:4");
    assert_string_equal(g[4].config.url, "mqtt://embedded.example"); // somebody's own host
    const json_t *tls = json_object_get(g[0].config.options, "tls");
    assert_string_equal(json_string_value(json_object_get(tls, "ca")), "PEM");
    assert_true(json_is_false(json_object_get(tls, "resume")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(g[1].config.options, "tls"), "ca")), "PEM");
    assert_string_equal(json_string_value(json_object_get(json_object_get(g[2].config.options, "tls"), "ca")),
                        "mine.pem");
    assert_null(json_object_get(g[3].config.options, "tls"));
    plan_delete(s);
    plan_delete(p);
}

static void options_are_those_of_the_protocol(void **state)
{
    (void)state;
    struct plan *p =
        parse(PLAN("\"adapter\":{\"keepAlive\":9},\"http_adapter\":{\"timeout\":\"3s\"},",
                   GROUP("a", "\"model\":\"m\"") "," GROUP("b", "\"model\":\"h\",\"adapter\":{\"x\":1}") "," GROUP(
                       "c", "\"model\":\"c\"") "," GROUP("d", "\"behaviour\":true,\"broker\":\"line://h:7\"")));
    assert_int_equal(json_integer_value(json_object_get(p->groups[0].config.options, "keepAlive")), 9);
    assert_null(json_object_get(p->groups[1].config.options, "keepAlive"));
    assert_string_equal(json_string_value(json_object_get(p->groups[1].config.options, "timeout")), "3s");
    assert_int_equal(json_integer_value(json_object_get(p->groups[1].config.options, "x")), 1);
    assert_null(p->groups[2].config.options);
    assert_null(p->groups[3].config.options); // a plugin's
    plan_delete(p);
    fails(PLAN("\"http_adapter\":3,", GROUP("a", "\"model\":\"h\"")), "http_adapter: expected an object");
}

static void the_command_line_replaces_the_target_of_a_protocol(void **state)
{
    struct error err = {0};
    (void)state;
    static const char text[] = PLAN("", GROUP("a", "\"model\":\"m\"") "," GROUP("b", "\"model\":\"h\""));
    struct plan *p = parse(text);
    assert_int_equal(plan_override(p, &(struct plan_overrides){.broker = "https://h/x"}, &err), 0);
    assert_string_equal(p->groups[0].config.url, "mqtt://embedded");
    assert_string_equal(p->groups[1].config.url, "https://h/x");
    assert_int_equal(plan_override(p, &(struct plan_overrides){.broker = "wss://h/y"}, &err), 0);
    assert_string_equal(p->groups[0].config.url, "wss://h/y");
    assert_string_equal(p->groups[1].config.url, "https://h/x");
    assert_int_equal(plan_override(p, &(struct plan_overrides){.broker = "coap://h"}, &err), -1);
    assert_non_null(strstr(err.text, "has no effect: no group of x.lua speaks coap"));
    plan_delete(p);
}

static void protocols_of_urls(void **state)
{
    char other[16];
    bool unknown;
    (void)state;
    assert_string_equal(url_protocol("wss://x", other, sizeof(other)), "mqtt");
    assert_string_equal(url_protocol("host:1883", other, sizeof(other)), "mqtt");
    assert_string_equal(url_protocol("HTTPS://x", other, sizeof(other)), "http");
    assert_string_equal(url_protocol("coaps+tcp://x", other, sizeof(other)), "coap");
    assert_string_equal(url_protocol("line://x", other, sizeof(other)), "line");
    assert_string_equal(url_protocol("a-scheme-that-is-far-too-long://x", other, sizeof(other)), "a-scheme-that-i");
    assert_int_equal(url_embedded("embedded", NULL), TARGET_MQTT);
    assert_int_equal(url_embedded("WS://Embedded/mqtt", NULL), TARGET_WS);
    assert_int_equal(url_embedded("ws://u@embedded", NULL), TARGET_WS);
    assert_int_equal(url_embedded("ws://embedded@host", NULL), 0);
    assert_int_equal(url_embedded("ws://embedded.org", NULL), 0);
    assert_int_equal(url_embedded("x://embedded", &unknown), 0);
    assert_true(unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_protocol_of_a_model_chooses),
        cmocka_unit_test(a_url_of_its_own_comes_first_then_the_scenarios_then_the_models),
        cmocka_unit_test(side_connections_and_tests_are_counted),
        cmocka_unit_test(a_test_looks_where_the_groups_are),
        cmocka_unit_test(a_shard_gets_addresses_and_the_runs_ca),
        cmocka_unit_test(options_are_those_of_the_protocol),
        cmocka_unit_test(the_command_line_replaces_the_target_of_a_protocol),
        cmocka_unit_test(protocols_of_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
