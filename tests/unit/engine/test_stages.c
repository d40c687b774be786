// Stages: read, made launch plans of, and the figures of one of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonx.h"
#include "engine/plan.h"
#include "engine/stages.h"

#define SECOND 1000000
#define GROUP(name, count, more) "{\"name\":\"" name "\",\"count\":" #count ",\"behaviour\":true" more "}"
#define STAGES                                                                                                         \
    "[{\"name\":\"ramp\",\"duration\":2000000,\"devices\":10},{\"name\":\"peak\",\"duration\":3000000,"                \
    "\"devices\":40},{\"name\":\"down\",\"duration\":1000000,\"devices\":0}]"

static json_t *plan_json(const char *head, const char *groups)
{
    char text[4096];
    struct error err = {0};
    snprintf(text, sizeof(text), "{\"name\":\"x\",\"file\":\"x.lua\",%s,\"groups\":[%s]}", head, groups);
    json_t *json = json_parse(text, strlen(text), "test", &err);
    if (!json)
        fail_msg("%s", err.text);
    return json;
}

static struct plan *plan_of(const char *head)
{
    struct error err = {0};
    struct plan *p = plan_parse(plan_json(head, GROUP("a", 5, "")), &err);
    if (!p)
        fail_msg("%s", err.text);
    return p;
}

static void refuses(const char *head, const char *expected)
{
    struct error err = {0};
    struct plan *p = plan_parse(plan_json(head, GROUP("a", 5, "")), &err);
    plan_delete(p);
    assert_null(p);
    if (!strstr(err.text, expected))
        fail_msg("%s -> %s", head, err.text);
}

static void they_lie_one_behind_the_other(void **state)
{
    (void)state;
    struct plan *p = plan_of("\"stages\":" STAGES);
    assert_int_equal(p->n_stages, 3);
    assert_int_equal(p->duration_us, 6 * SECOND); // theirs, where the plan has none
    assert_int_equal(p->stages[1].begin_us, 2 * SECOND);
    assert_int_equal(p->stages[1].end_us, 5 * SECOND);
    assert_int_equal(plan_stage_at(p, 0), 0);
    assert_int_equal(plan_stage_at(p, 2 * SECOND - 1), 0);
    assert_int_equal(plan_stage_at(p, 2 * SECOND), 1);
    assert_int_equal(plan_stage_at(p, 6 * SECOND), -1);
    plan_delete(p);
    p = plan_of("\"duration\":9000000,\"stages\":" STAGES);
    assert_int_equal(p->duration_us, 9 * SECOND);
    plan_delete(p);
}

static void what_is_wrong_with_them_is_said(void **state)
{
    (void)state;
    refuses("\"stages\":[5]", "stage 1: expected an object");
    refuses("\"stages\":{\"a\":1}", "expected a list");
    refuses("\"stages\":[{\"name\":\"a,b\",\"duration\":1,\"devices\":1}]", "expected a name of letters");
    refuses("\"stages\":[{\"duration\":1,\"devices\":1}]", "expected a name of letters");
    refuses("\"stages\":[{\"name\":\"a\",\"duration\":0,\"devices\":1}]", "expected a duration above 0");
    refuses("\"stages\":[{\"name\":\"a\",\"duration\":1,\"devices\":-1}]", "from 0 to 10000000");
    refuses("\"stages\":[{\"name\":\"a\",\"duration\":1,\"devices\":1},{\"name\":\"a\",\"duration\":1,\"devices\":1}]",
            "stage 2: a stage before it is named \"a\" too");
    char many[4096] = "\"stages\":[";
    for (int i = 0; i < 33; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s{\"name\":\"s%d\",\"duration\":1,\"devices\":1}",
                 i ? "," : "", i);
    snprintf(many + strlen(many), sizeof(many) - strlen(many), "]");
    refuses(many, "at most 32, there are 33");
    refuses("\"stages\":" STAGES ",\"thresholds\":[{\"metric\":\"messages_sent{stage:peek}\",\"expr\":\"count > 1\"}]",
            "peak");
    refuses("\"duration\":5000000,\"warmup\":5000000", "nothing would be measured");
}

static json_t *launch(const json_t *plan, size_t group)
{
    return json_object_get(json_array_get(json_object_get(plan, "groups"), group), "launch");
}

static json_int_t target(const json_t *plan, size_t group, size_t stage)
{
    return json_integer_value(
        json_object_get(json_array_get(json_object_get(launch(plan, group), "stages"), stage), "target"));
}

static json_int_t count(const json_t *plan, size_t group)
{
    return json_integer_value(json_object_get(json_array_get(json_object_get(plan, "groups"), group), "count"));
}

static void groups_share_them_by_their_counts(void **state)
{
    (void)state;
    struct error err = {0};
    json_t *plan =
        plan_json("\"stages\":" STAGES,
                  GROUP("a", 3, "") "," GROUP("own", 50, ",\"launch\":{\"strategy\":\"linear\",\"rate\":5}") "," GROUP(
                      "b", 1, ",\"launch\":{\"strategy\":\"immediate\"}"));
    if (plan_spread_stages(plan, false, &err))
        fail_msg("%s", err.text);
    static const int a[] = {8, 30, 0}, b[] = {2, 10, 0}; // 10, 40, 0 as 3 to 1
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(target(plan, 0, i) + target(plan, 2, i), a[i] + b[i]);
        assert_int_equal(target(plan, 0, i), a[i]);
    }
    assert_int_equal(count(plan, 0), 30);
    assert_int_equal(count(plan, 1), 50); // has a launch plan of its own
    assert_int_equal(count(plan, 2), 10);
    struct plan *p = plan_parse(json_incref(plan), &err);
    if (!p)
        fail_msg("%s", err.text);
    assert_int_equal(p->groups[0].config.launch.strategy, LAUNCH_STAGES);
    plan_delete(p);
    json_decref(plan);
    plan = plan_json("\"stages\":" STAGES, GROUP("own", 50, ",\"launch\":{\"strategy\":\"linear\",\"rate\":5}"));
    assert_int_equal(plan_spread_stages(plan, false, &err), -1);
    assert_non_null(strstr(err.text, "every group has a launch plan of its own"));
    assert_int_equal(plan_spread_stages(plan, true, &err), 0);
    assert_int_equal(count(plan, 0), 40);
    json_decref(plan);
    plan = plan_json("\"stages\":[{\"name\":\"a\",\"duration\":1,\"devices\":0}]", GROUP("a", 1, ""));
    assert_int_equal(plan_spread_stages(plan, false, &err), -1);
    assert_non_null(strstr(err.text, "no stage has devices"));
    json_decref(plan);
}

static void override_refused(const struct plan_overrides *o, const char *expected)
{
    struct error err = {0};
    struct plan *p = plan_of("\"duration\":9000000");
    assert_int_equal(plan_override(p, o, &err), -1);
    if (!strstr(err.text, expected))
        fail_msg("%s", err.text);
    plan_delete(p);
}

static void the_command_line_has_them_too(void **state)
{
    (void)state;
    static const char *const good[] = {"1s:4", "peak=2s:1k", "1s:0"};
    static const char *const bad[][2] = {{"1s", "expected DURATION:DEVICES"},
                                         {"1:5", "\"1\""},
                                         {"=1s:5", "expected DURATION"},
                                         {"1s:x", "\"x\""},
                                         {"0s:5", "a duration above 0"},
                                         {"a b=1s:5", "a name of letters"},
                                         {"1s:-5", "--stage"}};
    struct error err = {0};
    struct plan *p = plan_of("\"duration\":9000000");
    if (plan_override(p, &(struct plan_overrides){.stages = good, .n_stages = 3, .warmup_us = SECOND}, &err))
        fail_msg("%s", err.text);
    assert_int_equal(p->n_stages, 3);
    assert_string_equal(p->stages[0].name, "stage-1");
    assert_string_equal(p->stages[1].name, "peak");
    assert_int_equal(p->stages[1].devices, 1000);
    assert_int_equal(p->duration_us, 4 * SECOND); // they are as long as the run
    assert_int_equal(p->groups[0].config.count, 1000);
    assert_int_equal(p->warmup_us, SECOND);
    plan_delete(p);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        override_refused(&(struct plan_overrides){.stages = &bad[i][0], .n_stages = 1}, bad[i][1]);
    override_refused(&(struct plan_overrides){.warmup_us = 9 * SECOND}, "nothing would be measured");
    p = plan_of("\"duration\":9000000");
    if (plan_override(p, &(struct plan_overrides){.ramp_us = 2 * SECOND}, &err))
        fail_msg("%s", err.text);
    assert_int_equal(p->groups[0].config.launch.strategy, LAUNCH_LINEAR);
    assert_in_range(launch_total_us(&p->groups[0].config.launch, 5), SECOND, 2 * SECOND);
    plan_delete(p);
}

// --- figures

static double value(const struct stages *s, const struct threshold *t, int64_t *measured)
{
    struct threshold_result r;
    struct error err = {0};
    const struct metrics *m = stages_of(s, t, measured);
    if (!m)
        return -1;
    assert_int_equal(threshold_evaluate(t, m, *measured, &r, &err), 0);
    return r.actual;
}

#define JUDGED                                                                                                         \
    ",\"thresholds\":[{\"metric\":\"messages_sent{stage:ramp}\",\"expr\":\"count > 1\"},"                              \
    "{\"metric\":\"messages_sent{group:a,stage:peak}\",\"expr\":\"count > 1\"},"                                       \
    "{\"metric\":\"messages_sent\",\"expr\":\"count > 1\"}]"

static void a_stage_has_what_was_measured_in_it(void **state)
{
    (void)state;
    struct error err = {0};
    int64_t us = 0;
    struct plan *p = plan_of("\"stages\":" STAGES JUDGED);
    struct stages *s = stages_new(p, &err);
    struct metrics *m = metrics_new(10);
    struct metric *c = metrics_series(m, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:a", &err);
    const struct threshold *ramp = &p->thresholds[0], *peak = &p->thresholds[1];
    assert_non_null(s);
    assert_string_equal(peak->stage, "peak");
    assert_string_equal(p->thresholds[2].stage, "");
    stages_look(s, m, 0);
    assert_true(value(s, peak, &us) == -1); // has not begun
    counter_add(c, 5);
    stages_look(s, m, SECOND);
    assert_true(value(s, ramp, &us) == 5 && us == SECOND);
    counter_add(c, 5);
    stages_look(s, m, 2 * SECOND); // the end of the one is the begin of the other
    counter_add(c, 7);
    stages_look(s, m, 3 * SECOND);
    assert_true(value(s, ramp, &us) == 10 && us == 2 * SECOND);
    assert_true(value(s, peak, &us) == 7 && us == SECOND);
    counter_add(c, 100);
    stages_look(s, m, 5 * SECOND);
    counter_add(c, 1000);
    stages_look(s, m, 6 * SECOND);
    assert_true(value(s, peak, &us) == 107 && us == 3 * SECOND);
    stages_delete(s);
    metrics_delete(m);
    plan_delete(p);
}

static void nothing_of_the_warmup_is_in_a_stage(void **state)
{
    (void)state;
    struct error err = {0};
    int64_t us = 0;
    struct plan *p = plan_of("\"stages\":" STAGES JUDGED);
    struct stages *s = stages_new(p, &err);
    struct metrics *m = metrics_new(10);
    struct metric *c = metrics_series(m, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:a", &err);
    counter_add(c, 50);
    stages_look(s, m, SECOND);
    metrics_restart(m, NULL);
    stages_restart(s, 3 * SECOND);
    counter_add(c, 6);
    stages_look(s, m, 4 * SECOND);
    assert_true(value(s, &p->thresholds[0], &us) == -1); // all of it was warmup
    assert_true(value(s, &p->thresholds[1], &us) == 6 && us == SECOND);
    stages_delete(s);
    metrics_delete(m);
    plan_delete(p);
    p = plan_of("\"stages\":" STAGES);
    assert_null(stages_new(p, &err)); // nobody asks
    plan_delete(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_lie_one_behind_the_other),       cmocka_unit_test(what_is_wrong_with_them_is_said),
        cmocka_unit_test(groups_share_them_by_their_counts),   cmocka_unit_test(the_command_line_has_them_too),
        cmocka_unit_test(a_stage_has_what_was_measured_in_it), cmocka_unit_test(nothing_of_the_warmup_is_in_a_stage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
