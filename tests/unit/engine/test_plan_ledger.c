// What the ledger of a plan subscribes to, and what it refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "core/jsonx.h"
#include "engine/plan.h"

#define GROUP(name, topics, more)                                                                                      \
    "{\"name\":\"" name "\",\"count\":1,\"behaviour\":true,\"topics\":\"" topics "\"" more "}"
#define STAMP ",\"stamp\":\"topic\""

static struct plan *parse(const char *groups, const char *ledger, struct error *err)
{
    struct buf text;
    buf_create(&text, 10000);
    assert_int_equal(
        buf_printf(&text, "{\"name\":\"n\",\"file\":\"f.lua\",\"duration\":1000000,\"groups\":[%s],\"ledger\":%s}",
                   groups, ledger),
        0);
    json_t *json = json_parse(buf_cstr(&text), text.len, "test", err);
    assert_non_null(json);
    buf_destroy(&text);
    return plan_parse(json, err);
}

static void expect(const char *groups, const char *ledger, const char *const *filters)
{
    struct error err = {0};
    struct plan *p = parse(groups, ledger, &err);
    unsigned n = 0;
    if (!p)
        fail_msg("%s", err.text);
    assert_true(p->ledger.on);
    for (; filters[n]; n++) {
        assert_true(n < p->ledger.n_filters);
        assert_string_equal(p->ledger.filters[n], filters[n]);
    }
    assert_int_equal(p->ledger.n_filters, n);
    plan_delete(p);
}

static void filters_are_made_of_the_groups_topics(void **state)
{
    (void)state;
    expect(GROUP("a", "${groupId}/${deviceId}", STAMP), "{}", (const char *const[]){"a/+/#", NULL});
    expect(GROUP("a", "${groupId}/${deviceId}", STAMP) "," GROUP("b", "${groupId}/x-${index}", STAMP), "{}",
           (const char *const[]){"a/+/#", "b/+/#", NULL});
    // Every second group has no part in it.
    expect(GROUP("a", "p/${deviceId}", STAMP) "," GROUP("b", "q/${deviceId}", ""), "{\"groups\":[\"a\"]}",
           (const char *const[]){"p/+/#", NULL});
    // None may overlap: what they have in common.
    expect(GROUP("a", "p/${deviceId}", STAMP) "," GROUP("b", "p/${deviceId}", STAMP), "{}",
           (const char *const[]){"p/+/#", NULL});
    expect(GROUP("a", "p/${deviceId}/x", STAMP) "," GROUP("b", "p/fixed", STAMP), "{}",
           (const char *const[]){"p/#", NULL});
    expect(GROUP("a", "p/one", STAMP) "," GROUP("b", "${data.x}", STAMP) "," GROUP("c", "z", STAMP), "{}",
           (const char *const[]){"#", NULL});
    expect(GROUP("a", "p/${data.a/b}/c", STAMP), "{}", (const char *const[]){"p/+/c/#", NULL});
    expect(GROUP("a", "p", STAMP), "{\"topics\":[\"x/+\",\"y/#\"]}", (const char *const[]){"x/+", "y/#", NULL});
}

static void refused(const char *groups, const char *ledger, const char *why)
{
    struct error err = {0};
    struct plan *p = parse(groups, ledger, &err);
    assert_null(p);
    if (!strstr(err.text, why) || !strstr(err.text, "f.lua"))
        fail_msg("%s", err.text);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    refused(GROUP("a", "t", ""), "{}", "group \"a\" carry no number");
    refused(GROUP("a", "t", STAMP ",\"broker\":\"coap://h\""), "{}", "group \"a\" speaks coap");
    refused(GROUP("a", "t", STAMP), "{\"topics\":[\"a/#\",\"a/b\"]}", "overlap");
    refused(GROUP("a", "t", STAMP), "{\"topics\":[\"a/#/b\"]}", "topics");
    refused(GROUP("a", "t", STAMP), "{\"topics\":[1]}", "topics");
    refused(GROUP("a", "t", STAMP), "{\"late\":-1}", "late");
    refused(GROUP("a", "t", STAMP), "[]", "expected an object");
}

static void without_a_group_there_is_none(void **state)
{
    (void)state;
    struct error err = {0};
    struct plan *p = parse(GROUP("a", "t", STAMP), "{\"groups\":[\"gone\"]}", &err); // --only left it out
    assert_non_null(p);
    assert_false(p->ledger.on || p->groups[0].config.in_ledger);
    plan_delete(p);
    p = parse(GROUP("a", "t", STAMP), "null", &err);
    assert_non_null(p);
    assert_false(p->ledger.on);
    plan_delete(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_made_of_the_groups_topics),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(without_a_group_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
