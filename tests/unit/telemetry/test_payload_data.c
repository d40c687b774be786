// ${data.COLUMN} in templates: which names it takes, and how fields are written.
#include "core/buf.h"
#include "telemetry/dataset_helper.h"
#include "telemetry/payload.h"

static const char *render(const struct dataset *ds, uint64_t index, const char *text, bool json)
{
    static char shown[512];
    struct error err = {0};
    struct payload *p = payload_compile_data(text, NULL, NULL, 0, json, ds, &err);
    if (!p) {
        snprintf(shown, sizeof shown, "%s", err.text);
        return shown;
    }
    struct buf out;
    buf_create(&out, 200);
    const struct payload_scope scope = {.device_id = "d", .index = index, .data = ds};
    if (payload_render(p, &scope, &out))
        snprintf(shown, sizeof shown, "(full)");
    else
        snprintf(shown, sizeof shown, "%s", buf_cstr(&out));
    buf_destroy(&out);
    payload_delete(p);
    return shown;
}

static void fields(void **state)
{
    struct place *p = *state;
    put(p, "a.csv", "id,long name,q,x.y-z\n007,\"a \"\"b\"\"\",,1e5\n008,c,\"\",2\n");
    struct dataset *ds = open_ok(p, "a.csv");
    assert_string_equal(render(ds, 1, "${data.id}/{data.id}/${deviceId}", false), "007/007/d");
    assert_string_equal(render(ds, 2, "${data.id}", false), "008");
    assert_string_equal(render(ds, 1, "${data.long name}|${data.q}|${data.x.y-z}", false), "a \"b\"||1e5");
    assert_string_equal(render(ds, 1, "{\"a\":${data.id},\"b\":\"x ${data.long name}\",\"c\":${data.q}}", true),
                        "{\"a\":\"007\",\"b\":\"x a \\\"b\\\"\",\"c\":\"\"}");
    assert_string_equal(render(ds, 3, "[${data.id}]", false), "[]"); // no such row
    assert_string_equal(render(ds, 1, "$${data.id} {data.} {data.nope} {data.a\"b}", false),
                        "${data.id} {data.} {data.nope} {data.a\"b}");
    assert_non_null(strstr(render(ds, 1, "${data.ids}", false), "${data.ids}: "));
    assert_non_null(strstr(render(ds, 1, "${data.ids}", false), "did you mean \"id\"?"));
    assert_non_null(strstr(render(NULL, 1, "${data.id}", false), "${data.id}: there is no data here"));
    assert_string_equal(render(NULL, 1, "{data.id}", false), "{data.id}");
    dataset_release(p->all, ds);
}

static void a_field_that_does_not_fit(void **state)
{
    struct place *p = *state;
    char text[400] = "v\n";
    memset(text + 2, 'x', 300);
    put(p, "a.csv", text);
    struct dataset *ds = open_ok(p, "a.csv");
    assert_string_equal(render(ds, 1, "a${data.v}", false), "(full)");
    assert_string_equal(render(ds, 1, "a${data.v}", true), "(full)");
    dataset_release(p->all, ds);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(fields), TEST(a_field_that_does_not_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
