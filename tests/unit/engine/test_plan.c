#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonx.h"
#include "engine/plan.h"
#include "engine/plan_timeline.h"

static const char fleet[] =
    "{\"name\":\"fleet\",\"file\":\"fleet.lua\",\"sha256\":\"ab\",\"duration\":60000000,\"adapter\":{\"keepAlive\":30,"
    "\"inflight\":5},"
    "\"groups\":["
    "{\"name\":\"sensors\",\"line\":12,\"count\":900,\"behaviour\":true,\"launch\":{\"strategy\":\"linear\",\"rate\":"
    "200},"
    " \"adapter\":{\"keepAlive\":10}},"
    "{\"name\":\"gateways\",\"line\":20,\"count\":99,\"behaviour\":true,\"broker\":\"mqtt://"
    "10.0.0.7\",\"on_error\":\"restart\","
    " \"launch\":{\"strategy\":\"linear\",\"delay\":1000},\"will\":{\"topic\":\"w\",\"payload\":\"p\",\"qos\":1,"
    "\"retain\":true}},"
    "{\"name\":\"probes\",\"line\":30,\"count\":1,\"behaviour\":true,\"qos\":2,\"memory\":4096,\"max_restarts\":9}],"
    "\"thresholds\":[{\"metric\":\"publish_latency\",\"expr\":\"p95 < 200ms\",\"line\":40},"
    "{\"metric\":\"publish_latency{group:gateways}\",\"expr\":\"p99 < 2s\",\"abort\":true,\"delay_abort\":5000000,"
    "\"no_data\":\"pass\",\"line\":41}],"
    "\"timeline\":[{\"kind\":\"storm\",\"group\":\"gateways\",\"line\":50,\"jitter_us\":5},"
    "{\"kind\":\"link\",\"groups\":[\"sensors\",\"gateways\"],\"percentage\":10,\"from_us\":1000000,\"to_us\":2000000,"
    "\"every_us\":3000000,\"fault\":{\"latency\":\"1s\"},\"profile\":{\"name\":\"slow\",\"version\":1}},"
    "{\"kind\":\"storm\",\"count\":3},{\"kind\":\"broker\",\"action\":\"kill\"},"
    "{\"kind\":\"clock\",\"devices\":[1],\"offset_us\":-7,\"drift\":0.5}],"
    "\"from_a_later_version\":{\"x\":1}}";

static struct plan *parse(const char *text, struct error *err)
{
    json_t *json = json_parse(text, strlen(text), "test", err);
    assert_non_null(json);
    return plan_parse(json, err);
}

static struct plan *parse_fleet(void)
{
    struct error err = {0};
    struct plan *p = parse(fleet, &err);
    if (!p)
        fail_msg("%s", err.text);
    return p;
}

static void test_all_members(void **state)
{
    (void)state;
    struct plan *p = parse_fleet();
    assert_string_equal(p->name, "fleet");
    assert_string_equal(p->file, "fleet.lua");
    assert_string_equal(p->broker, "embedded");
    assert_true(p->duration_us == 60000000);
    assert_true(p->stop_timeout_us == 30000000);
    assert_true(p->restart_lost_shard);
    assert_false(p->has_seed);
    assert_int_equal(p->n_groups, 3);
    assert_true(plan_devices(p) == 1000);
    const struct group_config *s = &p->groups[0].config, *g = &p->groups[1].config, *pr = &p->groups[2].config;
    assert_string_equal(s->id_pattern, "${groupId}-${index}");
    assert_string_equal(s->topic_base, "${groupId}/${deviceId}");
    assert_null(s->client_id_pattern);
    assert_string_equal(s->url, "mqtt://embedded"); // where, is not known yet
    assert_int_equal(s->number, 0);
    assert_int_equal(s->on_error, ON_ERROR_STOP);
    // The group's options over the plan's.
    assert_int_equal(json_integer_value(json_object_get(s->options, "keepAlive")), 10);
    assert_int_equal(json_integer_value(json_object_get(s->options, "inflight")), 5);
    assert_int_equal(json_integer_value(json_object_get(g->options, "keepAlive")), 30);
    assert_int_equal(json_integer_value(json_object_get(g->options, "willQos")), 1);
    assert_true(json_is_true(json_object_get(g->options, "willRetain")));
    assert_null(json_object_get(pr->options, "willQos"));
    assert_string_equal(g->url, "mqtt://10.0.0.7");
    assert_true(p->groups[1].own_url);
    assert_false(p->groups[0].own_url);
    assert_string_equal(g->will_topic, "w");
    assert_string_equal(g->will_payload, "p");
    assert_int_equal(g->on_error, ON_ERROR_RESTART);
    assert_int_equal(pr->qos, 2);
    assert_int_equal(pr->max_restarts, 9);
    assert_true(p->groups[2].memory_bytes == 4096);
    assert_int_equal(p->groups[2].line, 30);
    assert_int_equal(p->n_thresholds, 2);
    assert_false(p->thresholds[0].abort);
    assert_true(p->thresholds[1].abort && p->thresholds[1].no_data_passes);
    assert_true(p->thresholds[1].delay_abort_us == 5000000);
    assert_int_equal(p->thresholds[1].line, 41);
    plan_delete(p);
    plan_delete(NULL);
}

static void test_broker_of_the_run(void **state)
{
    (void)state;
    struct error err = {0};
    struct plan *p = parse("{\"name\":\"x\",\"has_test\":true,\"broker\":\"mqtt://"
                           "h\",\"seed\":7,\"on_shard_lost\":\"fail\",\"stop_timeout\":5,"
                           "\"thresholds\":{},\"models\":[],"
                           "\"groups\":[{\"name\":\"a\",\"count\":1,\"behaviour\":true,\"launch\":[],\"adapter\":[]}]}",
                           &err);
    assert_non_null(p);
    assert_string_equal(p->groups[0].config.url, "mqtt://h");
    assert_int_equal(p->n_thresholds, 0);
    assert_null(p->groups[0].config.options);
    assert_int_equal(p->groups[0].config.launch.strategy, LAUNCH_IMMEDIATE);
    assert_true(p->has_seed && p->seed == 7);
    assert_false(p->restart_lost_shard);
    assert_true(p->stop_timeout_us == 5);
    assert_true(p->duration_us == 0);
    plan_delete(p);
}

static void fails(const char *text, const char *expected)
{
    struct error err = {0};
    struct plan *p = parse(text, &err);
    if (p)
        fail_msg("accepted: %s", text);
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.text, expected))
        fail_msg("%s\n -> %s", text, err.text);
}

// A plan with one group, whose members are `group`, behind other members of the plan.
#define WITH(plan_members, group)                                                                                      \
    "{\"name\":\"x\",\"file\":\"x.lua\",\"duration\":1," plan_members "\"groups\":[{" group "}]}"
#define GROUP "\"name\":\"a\",\"count\":2,\"line\":3,\"behaviour\":true"

static void test_bad_plans(void **state)
{
    (void)state;
    fails("[]", "expected a JSON object");
    fails("{}", "expected the scenario's name");
    fails("{\"name\":\"\"}", "expected the scenario's name");
    fails("{\"name\":3}", "name: expected a string, got an integer");
    fails("{\"name\":\"x\",\"file\":\"x.lua\",\"duration\":1}", "x.lua: the scenario has no groups");
    fails("{\"name\":\"x\",\"duration\":1,\"groups\":[]}", "no groups");
    fails("{\"name\":\"x\",\"duration\":1,\"groups\":{\"a\":1}}", "groups: expected an array");
    fails("{\"name\":\"x\",\"duration\":1,\"groups\":{}}", "no groups"); // Lua has one empty table
    fails("{\"name\":\"x\",\"duration\":1,\"groups\":[3]}", "group 1: expected an object");
    fails("{\"name\":\"x\",\"groups\":[{" GROUP "}]}", "neither a duration nor a test");
    fails("{\"name\":\"x\",\"duration\":\"1m\",\"groups\":[{" GROUP "}]}",
          "duration: expected an integer, got a string");
    fails("{\"name\":\"x\",\"duration\":-5,\"groups\":[{" GROUP "}]}", "duration: expected an integer from 0");
    fails("{\"name\":\"x\",\"duration\":1,\"groups\":[{" GROUP
          "},{\"name\":\"a\",\"line\":9,\"count\":1,\"behaviour\":true}]}",
          "two groups are named \"a\" (lines 3 and 9)");
    fails(WITH("", "\"count\":1,\"behaviour\":true"), "group 1: expected a name");
    fails(WITH("", "\"name\":\"a b\",\"count\":1,\"behaviour\":true"), "are not allowed");
    fails(WITH("", "\"name\":\"a,b\",\"count\":1,\"behaviour\":true"), "are not allowed");
    fails(WITH("", "\"name\":\"\",\"count\":1,\"behaviour\":true"), "1 to 100 characters");
    fails(WITH("", "\"name\":\"a\",\"line\":3,\"behaviour\":true"), "x.lua:3: group \"a\": count: expected");
    fails(WITH("", "\"name\":\"a\",\"count\":0,\"behaviour\":true"), "count: expected an integer from 1");
    fails(WITH("", "\"name\":\"a\",\"count\":2000000000,\"behaviour\":true"), "count: expected an integer from 1");
    fails(WITH("", "\"name\":\"a\",\"count\":1.5,\"behaviour\":true"), "count: expected an integer, got a number");
    fails(WITH("", "\"name\":\"a\",\"count\":1"), "neither a model nor a behaviour");
    fails(WITH("", "\"name\":\"a\",\"count\":1,\"model\":\"m.json\""),
          "model \"m.json\" is not among the plan's models");
    fails(WITH("", GROUP ",\"qos\":3"), "x.lua:3: group \"a\": qos: expected an integer from 0 to 2, got 3");
    fails(WITH("", GROUP ",\"on_error\":\"ignore\""),
          "on_error: \"ignore\" is none of \"stop\", \"restart\", \"fail\"");
    fails(WITH("", GROUP ",\"memory\":10"), "memory: expected");
    fails(WITH("", GROUP ",\"adapter\":[1]"), "adapter: expected an object");
    fails(WITH("", GROUP ",\"launch\":5"), "launch: expected an object");
    fails(WITH("", GROUP ",\"will\":{}"), "will: expected a topic");
    fails(WITH("", GROUP ",\"will\":{\"topic\":\"x\",\"qos\":5}"), "will: qos: expected an integer from 0 to 2");
    fails(WITH("", GROUP ",\"launch\":{\"strategy\":\"random\"}"), "random");
    fails(WITH("", GROUP ",\"broker\":\"mqtt://\""), "x.lua:3: group \"a\": broker");
    fails(WITH("", GROUP ",\"broker\":\"ftp://embedded\""), "nothing embedded speaks \"ftp\"; valid: mqtt, mqtts");
    fails(WITH("", GROUP ",\"broker\":\"mqtts://embedded:8883\""), "leave :8883 out");
    fails(WITH("\"broker\":\"\",", GROUP), "expected a URL");
    fails(WITH("\"broker\":\"mqtt://h:99999\",", GROUP), "x.lua: broker");
    fails(WITH("\"on_shard_lost\":\"cry\",", GROUP), "none of \"restart\", \"fail\"");
    fails(WITH("\"thresholds\":[3],", GROUP), "threshold 1: expected an object");
    fails(WITH("\"thresholds\":[{\"metric\":\"publish_latency\",\"line\":8}],", GROUP), "x.lua:8: expected a metric");
    fails(WITH("\"thresholds\":[{\"metric\":\"publish_latency\",\"expr\":\"p95 < x\",\"line\":8}],", GROUP),
          "x.lua:8: publish_latency: ");
    fails(WITH("\"thresholds\":[{\"metric\":\"publish_latncy\",\"expr\":\"p95 < 1s\"}],", GROUP),
          "did you mean \"publish_latency\"?");
    fails(WITH("\"thresholds\":[{\"metric\":\"publish_latency{group:b}\",\"expr\":\"p95 < 1s\"}],", GROUP),
          "there is no group \"b\"");
    fails(WITH("\"thresholds\":[{\"metric\":\"publish_latency\",\"expr\":\"p95 < 1s\",\"no_data\":\"x\"}],", GROUP),
          "none of \"fail\", \"pass\"");
}

static struct plan *overridden(const struct plan_overrides *o)
{
    struct plan *p = parse_fleet();
    struct error err = {0};
    if (plan_override(p, o, &err) != 0)
        fail_msg("%s", err.text);
    return p;
}

static void refuses(const struct plan_overrides *o, const char *expected)
{
    struct plan *p = parse_fleet();
    json_t *before = json_deep_copy(p->json);
    struct error err = {0};
    assert_int_equal(plan_override(p, o, &err), -1);
    if (!strstr(err.text, expected))
        fail_msg("%s", err.text);
    assert_true(json_equal(before, p->json)); // nothing half-done
    assert_true(plan_devices(p) == 1000);
    json_decref(before);
    plan_delete(p);
}

static json_int_t json_count(const struct plan *p, unsigned i)
{
    return json_integer_value(json_object_get(json_array_get(json_object_get(p->json, "groups"), i), "count"));
}

static void test_override_devices(void **state)
{
    (void)state;
    refuses(&(struct plan_overrides){.has_devices = true, .devices = 500, .devices_from = "flag -n"},
            "--devices 500: fleet.lua:12 defines 3 groups; use --scale 0.5 or --only sensors --devices 500");
    refuses(&(struct plan_overrides){.has_devices = true, .devices = 500, .devices_from = "IOTIX_DEVICES"},
            "--devices 500 (from IOTIX_DEVICES): fleet.lua:12 defines");
    static const char *const only[] = {"gateways"};
    refuses(&(struct plan_overrides){.has_devices = true, .devices = 0, .only = only, .n_only = 1}, "expected 1 to");
    refuses(&(struct plan_overrides){.has_devices = true, .devices = 5, .scale = 2, .only = only, .n_only = 1},
            "give one of the two");
    struct plan *p = overridden(&(struct plan_overrides){.has_devices = true, .devices = 7, .only = only, .n_only = 1});
    assert_int_equal(p->n_groups, 1);
    assert_string_equal(p->groups[0].config.name, "gateways");
    assert_true(p->groups[0].config.count == 7);
    assert_true(p->groups[0].declared == 99);
    assert_int_equal(p->groups[0].config.number, 1); // its place in the scenario stays
    assert_int_equal(json_count(p, 0), 7);
    plan_delete(p);
}

static void test_timeline(void **state)
{
    (void)state;
    struct error err;
    struct plan *p = parse_fleet();
    static const char *const names[] = {"storm", "slow", "storm-2", "broker", "clock"};
    assert_int_equal(p->n_experiments, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(p->experiments[i].name, names[i]);
    assert_false(p->directs); // no test, no functions
    assert_int_equal(plan_check_timeline(p, false, &err), 0);
    assert_int_equal(plan_check_timeline(p, true, &err), -1);
    assert_non_null(strstr(err.text, "fleet.lua: experiment \"slow\": a link experiment needs a network"));
    plan_delete(p);
    // What is about groups that are left out goes; names stay as they were.
    static const char *const only[] = {"probes", "sensors"};
    p = overridden(&(struct plan_overrides){.only = only, .n_only = 2});
    assert_int_equal(p->n_experiments, 4);
    assert_string_equal(p->experiments[0].name, "slow");
    assert_int_equal(p->experiments[0].n_groups, 1);
    assert_string_equal(p->experiments[0].groups[0], "sensors");
    assert_string_equal(p->experiments[1].name, "storm-2");
    plan_delete(p);
    // A broker that is somebody else's.
    p = overridden(&(struct plan_overrides){.broker = "mqtt://h", .broker_from = "flag -b"});
    assert_int_equal(plan_check_timeline(p, false, &err), -1);
    assert_non_null(strstr(err.text, "experiment \"broker\": only a broker that the run started itself"));
    plan_delete(p);
}

static void test_override_only(void **state)
{
    (void)state;
    static const char *const wrong[] = {"sensor"};
    refuses(&(struct plan_overrides){.only = wrong, .n_only = 1},
            "--only sensor: fleet.lua has no such group, did you mean \"sensors\"?; its groups are sensors, gateways, "
            "probes");
    static const char *const only[] = {"probes", "sensors"};
    struct plan *p = overridden(&(struct plan_overrides){.only = only, .n_only = 2});
    assert_int_equal(p->n_groups, 2);
    assert_string_equal(p->groups[0].config.name, "sensors");
    assert_int_equal(p->groups[1].config.number, 2);
    assert_int_equal(p->n_thresholds, 1); // the one on gateways could only say "no data"
    plan_delete(p);
}

static void test_override_scale(void **state)
{
    (void)state;
    refuses(&(struct plan_overrides){.scale = -1}, "--scale -1: expected a factor above 0");
    refuses(&(struct plan_overrides){.scale = 1e12}, "would have");
    struct plan *p = overridden(&(struct plan_overrides){.scale = 0.5, .scale_from = "flag --scale"});
    assert_true(p->groups[0].config.count == 450);
    assert_true(p->groups[1].config.count == 50); // 49.5 to the nearest
    assert_true(p->groups[2].config.count == 1);
    assert_true(p->groups[0].declared == 900);
    assert_true(p->groups[0].config.launch.rate == 100);
    assert_true(p->groups[1].config.launch.delay_us == 2000);
    assert_true(p->groups[2].config.launch.strategy == LAUNCH_IMMEDIATE);
    assert_int_equal(json_count(p, 0), 450);
    struct error err = {0};
    struct plan *again = plan_parse(json_deep_copy(p->json), &err); // what a shard gets
    assert_non_null(again);
    assert_true(again->groups[0].declared == 900 && again->groups[0].config.count == 450);
    assert_true(again->groups[0].config.launch.rate == 100);
    plan_delete(again);
    plan_delete(p);
    p = overridden(&(struct plan_overrides){.scale = 0.01});
    assert_true(p->groups[2].config.count == 1); // at least one of each group
    plan_delete(p);
}

static void test_override_the_rest(void **state)
{
    (void)state;
    struct plan *p = overridden(&(struct plan_overrides){.duration_us = 5000000,
                                                         .broker = "mqtt://other:1884",
                                                         .has_seed = true,
                                                         .seed = UINT64_MAX,
                                                         .stop_timeout_us = 1,
                                                         .stop_timeout_from = "flag"});
    assert_true(p->duration_us == 5000000);
    assert_string_equal(p->broker, "mqtt://other:1884");
    assert_string_equal(p->groups[0].config.url, "mqtt://other:1884");
    assert_string_equal(p->groups[1].config.url, "mqtt://10.0.0.7"); // its own stays
    assert_true(p->has_seed && p->seed == UINT64_MAX);
    assert_true(p->stop_timeout_us == 1);
    plan_delete(p);
    static const char *const only[] = {"gateways"};
    refuses(
        &(struct plan_overrides){.broker = "mqtt://user:secret@h", .broker_from = "flag -b", .only = only, .n_only = 1},
        "--broker (flag -b) has no effect: fleet.lua:20: group \"gateways\" names a broker of its own");
    refuses(&(struct plan_overrides){.broker = "mqtt://"}, "--broker: ");
    refuses(&(struct plan_overrides){.broker = ""}, "--broker: expected a URL");
    refuses(&(struct plan_overrides){.duration_us = -1}, "--duration");
    refuses(&(struct plan_overrides){.stop_timeout_us = -1}, "--stop-timeout");
}

static void test_models(void **state)
{
    (void)state;
    static const char model[] =
        "{\"id\":\"t\",\"name\":\"T\",\"version\":\"1.0.0\",\"type\":\"sensor\",\"protocol\":\"mqtt\","
        "\"connection\":{\"qos\":2},"
        "\"telemetry\":[{\"name\":\"v\",\"type\":\"number\",\"interval\":1000,"
        "\"generator\":{\"type\":\"constant\",\"value\":1}}]}";
    json_t *json = json_pack("{s:s, s:i, s:{s:{s:s}, s:{s:s}}, s:[{s:s,s:i,s:s},{s:s,s:i,s:s,s:i},{s:s,s:i,s:b}]}",
                             "name", "x", "duration", 1, "models", "m.json", "text", model, "unused.json", "text", "{",
                             "groups", "name", "a", "count", 1, "model", "m.json", "name", "b", "count", 1, "model",
                             "m.json", "qos", 0, "name", "c", "count", 1, "behaviour", 1);
    assert_non_null(json);
    json_t *broken = json_deep_copy(json);
    struct error err = {0};
    struct plan *p = plan_parse(json, &err);
    assert_non_null(p);
    if (plan_load_models(p, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(p->n_models, 1);
    assert_ptr_equal(p->groups[0].config.model, p->groups[1].config.model);
    assert_null(p->groups[2].config.model);
    assert_int_equal(p->groups[0].config.qos, p->groups[0].config.model->qos);
    assert_int_equal(p->groups[1].config.qos, 0); // given: the model's does not count
    plan_delete(p);

    json_object_set_new(json_object_get(json_object_get(broken, "models"), "m.json"), "text", json_string("{"));
    p = plan_parse(broken, &err);
    assert_non_null(p);
    assert_int_equal(plan_load_models(p, &err), -1);
    assert_non_null(strstr(err.text, "group \"a\""));
    plan_delete(p);
}

// Every prefix-free way to break the types: each member of the fleet replaced by each type of value.
static void replace_everywhere(const json_t *at, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)at, key, value)
    {
        json_t *wrong[] = {json_null(),    json_true(),     json_integer(-1),  json_integer(INT64_MAX),
                           json_real(0.5), json_string(""), json_string("${"), json_array(),
                           json_object()};
        json_t *kept = json_incref(value);
        char name[64];
        strncpy(name, key, sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
            json_object_set_new((json_t *)at, name, wrong[i]);
            struct error err = {0};
            struct plan *p = plan_parse(json_deep_copy(root), &err);
            if (!p)
                assert_true(err.code != ERR_NONE && err.text[0]);
            plan_delete(p);
        }
        json_object_set_new((json_t *)at, name, kept);
        if (json_is_object(kept))
            replace_everywhere(kept, root);
        size_t i;
        json_t *item;
        if (json_is_array(kept))
            json_array_foreach(kept, i, item) replace_everywhere(item, root);
    }
}

static void test_wrong_types_everywhere(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *root = json_parse(fleet, strlen(fleet), "test", &err);
    assert_non_null(root);
    replace_everywhere(root, root);
    struct plan *p = plan_parse(root, &err);
    assert_non_null(p); // all was put back
    plan_delete(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_members),    cmocka_unit_test(test_broker_of_the_run),
        cmocka_unit_test(test_bad_plans),      cmocka_unit_test(test_override_devices),
        cmocka_unit_test(test_timeline),       cmocka_unit_test(test_override_only),
        cmocka_unit_test(test_override_scale), cmocka_unit_test(test_override_the_rest),
        cmocka_unit_test(test_models),         cmocka_unit_test(test_wrong_types_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
