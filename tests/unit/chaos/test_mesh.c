// Documents for Chaos Mesh: what becomes of each kind of experiment, what is said of the rest, caps, and what admission
// would refuse. tests/integration/chaos_mesh_spec.lua holds the documents against the CRDs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "chaos/mesh.h"
#include "core/jsonx.h"

static const char *const groups[] = {"g", NULL};
static const struct mesh_config plain = {.scenario = "s"};

// One experiment as documents; the text is the buffer's.
static const char *export_one(const struct mesh_config *c, const char *text, struct buf *out)
{
    struct error err = {0};
    struct experiment e;
    json_t *json = json_parse(text, strlen(text), "experiment", &err);
    if (!json || experiment_parse(&e, json, groups, &err))
        fail_msg("%s: %s", text, err.text);
    json_decref(json);
    buf_create(out, 1u << 20);
    if (mesh_export(c, &e, 1, out, &err))
        fail_msg("%s: %s", text, err.text);
    experiment_destroy(&e);
    return buf_cstr(out);
}

static void expect_in(const struct mesh_config *c, const char *json, const char *const *parts)
{
    struct buf out;
    const char *yaml = export_one(c, json, &out);
    for (; *parts; parts++)
        if (!strstr(yaml, *parts))
            fail_msg("%s\n%s\nis without: %s", json, yaml, *parts);
    buf_destroy(&out);
}

static unsigned count(const char *yaml, const char *part)
{
    unsigned n = 0;
    for (const char *at = yaml; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

#define PARTS(...)                                                                                                     \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void networks(void **state)
{
    (void)state;
    expect_in(&plain,
              "{\"kind\":\"link\",\"from_us\":10000000,\"to_us\":40000000,\"percentage\":20,\"fault\":{\"latency\":"
              "{\"value\":\"100ms\",\"jitter\":\"10ms\",\"correlation\":0.25},\"loss\":\"5%\",\"duplicate\":\"1%\","
              "\"corrupt\":0.02}}",
              PARTS("kind: NetworkChaos", "action: netem", "mode: fixed-percent", "value: \"20\"", "direction: to",
                    "duration: \"30s\"", "latency: \"100ms\"", "jitter: \"10ms\"", "correlation: \"25\"", "loss: \"5\"",
                    "duplicate: \"1\"", "corrupt: \"2\"", "\"app.kubernetes.io/name\": \"iotix\"",
                    "begins 10s into the run"));
    expect_in(&plain, "{\"kind\":\"link\",\"to_us\":1000000,\"every_us\":30000000,\"fault\":{\"bandwidth\":\"1mbit\"}}",
              PARTS("kind: Schedule", "schedule: \"@every 30s\"", "action: bandwidth", "rate: \"1mbit\""));
    expect_in(&plain, "{\"kind\":\"partition\",\"fault\":{\"partition\":{\"direction\":\"up\"}}}",
              PARTS("action: partition", "direction: to"));
    expect_in(&plain,
              "{\"kind\":\"link\",\"fault\":{\"latency\":{\"ramp\":{\"from\":\"0s\",\"to\":\"200ms\",\"over\":\"10s\"}"
              "}}}",
              PARTS("a ramp", "this is its mean", "latency: \"100ms\""));
}

static void targets_give_the_other_direction(void **state)
{
    (void)state;
    const char *target[] = {"app=mq"}, *labels[] = {"app=gw", "tier=edge"};
    struct mesh_config c = {.scenario = "s",
                            .space = "iot",
                            .labels = labels,
                            .n_labels = 2,
                            .target_labels = target,
                            .n_target_labels = 1};
    static const char json[] = "{\"kind\":\"link\",\"fault\":{\"up\":{\"latency\":\"1s\"},\"down\":{\"loss\":0.5}}}";
    struct buf out;
    const char *yaml = export_one(&c, json, &out);
    assert_int_equal(count(yaml, "kind: NetworkChaos"), 2);
    assert_int_equal(count(yaml, "direction: to\n"), 1);
    assert_int_equal(count(yaml, "direction: from\n"), 1);
    assert_true(count(yaml, "\"app\": \"mq\"") >= 2 && count(yaml, "\"tier\": \"edge\"") == 2);
    assert_true(strstr(yaml, "namespace: \"iot\""));
    buf_destroy(&out);
    yaml = export_one(&plain, json, &out); // without one
    assert_int_equal(count(yaml, "kind: NetworkChaos"), 1);
    assert_true(strstr(yaml, "cannot be impaired without --target"));
    buf_destroy(&out);
}

static void what_has_no_like_is_said(void **state)
{
    (void)state;
    static const char *const nothing[][2] = {
        {"{\"kind\":\"storm\"}", "connections of single devices cannot be cut"},
        {"{\"kind\":\"disconnect\",\"devices\":[1,2],\"dropout\":{}}", "2 devices drop out"},
        {"{\"kind\":\"clock\",\"drift\":1}", "# experiment \"clock\""},
        {"{\"kind\":\"broker\",\"action\":\"kill\"}", "# experiment \"broker\""},
        {"{\"kind\":\"custom\",\"custom\":0}", "# experiment \"custom\""},
        {"{\"kind\":\"link\",\"fault\":{\"halfOpen\":true}}", "halfOpen: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"mtu\":500}}", "mtu: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"slowClose\":1}}", "slowClose: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"reset\":true}}", "reset: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"dns\":{\"fail\":1}}}", "a DNSChaos comes near to it"},
        {"{\"kind\":\"link\",\"fault\":{\"connect\":{\"refuse\":1}}}", "connect: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"tls\":{\"fail\":1}}}", "tls: cannot be expressed"},
        {"{\"kind\":\"link\",\"fault\":{\"trace\":{\"rows\":[[0,0.1,0,1000]]}}}",
         "trace: a measured trace cannot be expressed"},
    };
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        struct buf out;
        const char *yaml = export_one(&plain, nothing[i][0], &out);
        if (!strstr(yaml, nothing[i][1]) || strstr(yaml, "apiVersion"))
            fail_msg("%s\n%s", nothing[i][0], yaml);
        buf_destroy(&out);
    }
}

static void a_name_stays_a_comment(void **state)
{
    (void)state;
    struct buf out;
    struct error err;
    const struct mesh_config c = {.scenario = "evil\nkind: Pod"};
    buf_create(&out, 4096);
    assert_int_equal(mesh_export(&c, NULL, 0, &out, &err), 0);
    const char *yaml = buf_cstr(&out);
    for (const char *line = yaml; *line;) {
        assert_true(*line == '#' || *line == '-');
        const char *end = strchr(line, '\n');
        line = end ? end + 1 : line + strlen(line);
    }
    assert_non_null(strstr(yaml, "It has no experiments."));
    buf_destroy(&out);
}

static void the_cap(void **state)
{
    (void)state;
    struct error err = {0};
    struct experiment e;
    struct buf out;
    json_t *json = json_pack("{s:s, s:{s:f}}", "kind", "link", "fault", "loss", 0.5);
    assert_int_equal(experiment_parse(&e, json, groups, &err), 0);
    json_decref(json);
    buf_create(&out, 200);
    assert_int_equal(mesh_export(&plain, &e, 1, &out, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(out.len <= 200);
    buf_destroy(&out);
    experiment_destroy(&e);
}

static void what_admission_refuses(void **state)
{
    (void)state;
    struct error err;
    const char *good[] = {"app.kubernetes.io/name=iotix", "app=", "a=B-c.d_e"};
    const char *const bad[] = {"app", "=x", "a b=c", "app=-x", "app=x-", "/n=x", "Exa.org/n=x", "a=\xc3\xa4"};
    assert_int_equal(
        mesh_check(&(struct mesh_config){.space = "iot", .labels = good, .n_labels = 3, .mode = "one"}, &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mesh_config c = {.labels = &bad[i], .n_labels = 1};
        struct mesh_config t = {.target_labels = &bad[i], .n_target_labels = 1};
        if (mesh_check(&c, &err) == 0 || mesh_check(&t, &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.text, "is no label"));
    }
    const struct {
        struct mesh_config c;
        const char *text;
    } others[] = {
        {{.space = "Upper"}, "is no namespace"},
        {{.space = "-a"}, "is no namespace"},
        {{.mode = "some"}, "mode"},
        {{.mode = "all", .value = "3"}, "has no value"},
        {{.mode = "fixed"}, "needs a value: how many pods"},
        {{.mode = "fixed-percent", .value = "101"}, "100"},
        {{.value = "3"}, "a value is for a mode"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(mesh_check(&others[i].c, &err), -1);
        if (!strstr(err.text, others[i].text))
            fail_msg("\"%s\" does not say \"%s\"", err.text, others[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
        cmocka_unit_test(targets_give_the_other_direction),
        cmocka_unit_test(what_has_no_like_is_said),
        cmocka_unit_test(a_name_stays_a_comment),
        cmocka_unit_test(the_cap),
        cmocka_unit_test(what_admission_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
