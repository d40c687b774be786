// Groups whose devices have a row of a data file each.
#include "device/fake.h"
#include "telemetry/dataset_helper.h"

struct world {
    struct place *place;
    struct fleet *fleet;
    struct dataset *data;
};

static struct world begin(void **state, const char *csv)
{
    struct world w = {.place = *state};
    struct error err = {0};
    fake_setup();
    put(w.place, "devices.csv", csv);
    w.data = open_ok(w.place, "devices.csv");
    struct fleet_config config = fake_fleet_config();
    w.fleet = fleet_new(&config, &err);
    assert_non_null(w.fleet);
    return w;
}

static void end(struct world *w)
{
    fleet_delete(w->fleet);
    dataset_release(w->place->all, w->data);
    fake_teardown();
}

static struct group_config config_of(const struct world *w, const struct model *m, uint64_t count)
{
    struct group_config c = fake_group_config("g", count, m);
    c.data = w->data;
    return c;
}

static const char *field(const struct adapter_conn *c, enum adapter_field f)
{
    static char shown[256];
    struct buf text;
    struct error err = {0};
    buf_create(&text, 4096);
    assert_int_equal(c->identity->field(c->owner, f, &text, &err), 0);
    snprintf(shown, sizeof shown, "%s", buf_cstr(&text));
    buf_destroy(&text);
    return shown;
}

static void fields_come_from_the_row(void **state)
{
    struct world w = begin(state, "serial,user,pass word,\"odd \"\" name\"\nA,ann,007,\"x\"\"y\"\nB,,s,z\n");
    struct model *m = model_of(SENSOR);
    struct group_config c = config_of(&w, m, 2);
    struct error err = {0};
    c.id_pattern = "${data.serial}";
    c.client_id_pattern = "c-{data.serial}-${index}"; // the older form too
    c.username = "${data.user}";
    c.password = "${data.pass word}$${data.x}{data.nothing}";
    c.topic_base = "t/${data.serial}/${deviceId}";
    c.will_topic = "w/${data.serial}";
    c.will_payload = "{\"s\":\"${data.serial}\"}";
    if (!fleet_add_group(w.fleet, &c, &err))
        fail_msg("%s", err.text);
    fleet_start(w.fleet, 0);
    run_until(fake.loop, 1000);
    assert_int_equal(fake.n_conns, 2);
    for (struct adapter_conn *conn = fake.conns; conn; conn = conn->next) {
        const struct device *d = conn->owner;
        bool first = d->index == 1;
        assert_string_equal(field(conn, FIELD_CLIENT_ID), first ? "c-A-1" : "c-B-2");
        assert_string_equal(field(conn, FIELD_USERNAME), first ? "ann" : ""); // an empty field is nothing
        assert_string_equal(field(conn, FIELD_PASSWORD),
                            first ? "007${data.x}{data.nothing}" : "s${data.x}{data.nothing}");
        assert_string_equal(field(conn, FIELD_WILL_TOPIC), first ? "w/A" : "w/B");
        assert_string_equal(field(conn, FIELD_WILL_PAYLOAD), first ? "{\"s\":\"A\"}" : "{\"s\":\"B\"}");
        struct buf topic;
        buf_create(&topic, 256);
        assert_int_equal(device_topic(d, "x", 1, &topic), 0);
        assert_string_equal(buf_cstr(&topic), first ? "t/A/A/x" : "t/B/B/x");
        buf_destroy(&topic);
    }
    end(&w);
    model_delete(m);
}

static void refused(void **state, const char *csv, uint64_t count, const char *id, const char *said)
{
    struct world w = begin(state, csv);
    struct model *m = model_of(SENSOR);
    struct group_config c = config_of(&w, m, count);
    struct error err = {0};
    c.id_pattern = id;
    struct group *g = fleet_add_group(w.fleet, &c, &err);
    if (g || !strstr(err.text, said))
        fail_msg("expected \"%s\", got \"%s\"", said, g ? "a group" : err.text);
    end(&w);
    model_delete(m);
}

static void bad_data(void **state)
{
    refused(state, "a\n1\n2\n", 3, NULL, "devices.csv has 2 rows, too few for 3 devices");
    refused(state, "a\n1\n2\n1\n", 3, "x${data.a}", "lines 2 and 4 of");
    refused(state, "a,b\n1,x\n,y\n", 2, "${data.a}", "the id of device 2 is empty: line 3 of");
    refused(state, "a\n1\n", 1, "${data.b}", "no column \"b\"; there is a");
    refused(state, "a\n1\n2\n", 2, "same", "must contain ${index}");
    struct world w = begin(state, "a\n1\n");
    struct group_config c = config_of(&w, NULL, 1);
    struct error err = {0};
    c.data = NULL;
    c.behaviour = false;
    struct model *m = model_of(SENSOR);
    c.model = m;
    c.username = "${data.a}";
    assert_null(fleet_add_group(w.fleet, &c, &err));
    assert_non_null(strstr(err.text, "there is no data here; a group with data = iotix.data{ \"file.csv\" }"));
    end(&w);
    model_delete(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(fields_come_from_the_row), TEST(bad_data)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
