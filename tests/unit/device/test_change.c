// Changes of running groups: which devices, what becomes of them, models that are replaced, and what is refused.
#include "fake.h"
#include "core/jsonx.h"
#include "device/change.h"

#define SECOND 1000000
enum { COUNT = 100 };

struct world {
    struct fleet *fleets[3];
    unsigned shards;
    struct model *model;
    unsigned answers;
    uint64_t affected;
    json_t *last; // answer
    struct error error;
};

static int op_start(void *arg, struct device *d, struct error *err)
{
    (void)arg;
    d->behaviour = malloc(1);
    return d->conn_state == CONN_DISCONNECTED ? device_connect(d, err) : 0;
}

static unsigned behaviours_ended;

static void op_stop(void *arg, struct device *d)
{
    (void)arg;
    behaviours_ended++;
    free(d->behaviour);
    d->behaviour = NULL;
}

static void op_online(void *arg, struct device *d, bool session_present)
{
    (void)arg, (void)d, (void)session_present;
}

static void op_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    (void)arg, (void)d, (void)why, (void)will_retry;
}

static const struct device_ops behaviour_ops = {
    .start = op_start, .stop = op_stop, .online = op_online, .offline = op_offline};

static void setup(struct world *w, unsigned shards, const struct group_config *config)
{
    memset(w, 0, sizeof(*w));
    fake_setup();
    fake.auto_online = true;
    w->shards = shards;
    w->model = model_of(SENSOR);
    for (unsigned i = 0; i < shards; i++) {
        struct fleet_config fc = fake_fleet_config();
        fc.owner = (struct ownership){0, 1, i, shards};
        fc.ops = &behaviour_ops;
        w->fleets[i] = fleet_new(&fc, NULL);
        struct group_config gc = config ? *config : fake_group_config("g", COUNT, w->model);
        struct error err = {0};
        if (!fleet_add_group(w->fleets[i], &gc, &err))
            fail_msg("%s", err.text);
        fleet_start(w->fleets[i], 0);
    }
}

static void teardown(struct world *w)
{
    for (unsigned i = 0; i < w->shards; i++)
        fleet_delete(w->fleets[i]);
    model_delete(w->model);
    json_decref(w->last);
    fake_teardown();
}

static void answered(void *arg, const json_t *answer, const struct error *err)
{
    struct world *w = arg;
    w->answers++;
    w->affected += (uint64_t)json_integer_value(json_object_get(answer, "affected"));
    json_decref(w->last);
    w->last = answer ? json_deep_copy(answer) : NULL;
    if (err)
        w->error = *err;
}

static json_t *change_of(const char *text)
{
    struct error err = {0};
    json_t *change = json_parse(text, strlen(text), "change", &err);
    if (!change)
        fail_msg("%s", err.text);
    json_object_set_new(change, "group", json_string("g"));
    json_object_set_new(change, "at_us", json_integer(loop_now_us(fake.loop)));
    return change;
}

// To all shards; the sum of what was affected.
static uint64_t change(struct world *w, const char *text)
{
    json_t *c = change_of(text);
    w->answers = 0;
    w->affected = 0;
    error_clear(&w->error);
    for (unsigned i = 0; i < w->shards; i++) {
        struct error err = {0};
        if (fleet_change(w->fleets[i], c, answered, w, &err))
            fail_msg("%s: %s", text, err.text);
    }
    json_decref(c);
    int64_t deadline = loop_now_us(fake.loop) + SECOND / 2;
    while (w->answers < w->shards && loop_now_us(fake.loop) < deadline)
        loop_turn(fake.loop, 1000);
    assert_int_equal(w->answers, w->shards);
    if (w->error.code)
        fail_msg("%s: %s", text, w->error.text);
    for (int i = 0; i < 4; i++)
        loop_turn(fake.loop, 0);
    return w->affected;
}

static void refuse(struct world *w, const char *text, enum error_code code, const char *part)
{
    struct error err = {0};
    json_t *c = change_of(text);
    assert_int_equal(fleet_change(w->fleets[0], c, answered, w, &err), -1);
    if (!strstr(err.text, part) || err.code != code)
        fail_msg("%s: \"%s\" (%s) does not contain \"%s\"", text, err.text, error_code_name(err.code), part);
    json_decref(c);
}

static uint64_t in_state(const struct world *w, enum device_state s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < w->shards; i++)
        n += fleet_group(w->fleets[i], 0)->by_state[s];
    return n;
}

static struct device *device(const struct world *w, uint64_t index)
{
    const struct group *g = fleet_group(w->fleets[(index - 1) % w->shards], 0);
    uint64_t local = (index - 1) / w->shards;
    return local < g->owned ? g->devices[local] : NULL;
}

static void test_stop_and_start(void **state)
{
    (void)state;
    bool first[COUNT + 1] = {0};
    for (unsigned shards = 1; shards <= 3; shards++) {
        struct world w;
        setup(&w, shards, NULL);
        run_until(fake.loop, SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), COUNT);
        assert_int_equal(change(&w, "{\"op\":\"stop\",\"count\":30}"), 30);
        assert_int_equal(in_state(&w, DEVICE_STOPPED), 30);
        for (unsigned i = 1; i <= COUNT; i++) {
            bool stopped = device(&w, i)->state == DEVICE_STOPPED;
            if (shards == 1)
                first[i] = stopped;
            assert_int_equal(first[i], stopped); // the same ones, however many shards
        }
        assert_int_equal(change(&w, "{\"op\":\"stop\",\"percentage\":30}"), 0); // they are those 30
        assert_int_equal(change(&w, "{\"op\":\"stop\",\"percentage\":50}"), 20);
        assert_int_equal(change(&w, "{\"op\":\"start\",\"count\":30}"), 30);
        assert_int_equal(in_state(&w, DEVICE_STOPPED), 20);
        uint64_t running = in_state(&w, DEVICE_RUNNING);
        uint64_t told = change(&w, "{\"op\":\"stop\",\"devices\":[1,2,3,50,100],\"mode\":\"abrupt\"}");
        assert_int_equal(in_state(&w, DEVICE_RUNNING), running - told);
        assert_int_equal(change(&w, "{\"op\":\"start\"}"), 20 + told);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), COUNT);
        assert_int_equal(change(&w, "{\"op\":\"restart\",\"devices\":[7]}"), 1);
        assert_in_range(device(&w, 7)->starts, 2, 3);
        teardown(&w);
    }
}

// A thousand devices are told over several turns, and the answer comes when all have been.
static void test_many(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 1000, NULL);
    setup(&w, 1, &gc);
    run_until(fake.loop, SECOND);
    json_t *c = change_of("{\"op\":\"stop\"}");
    assert_int_equal(fleet_change(w.fleets[0], c, answered, &w, NULL), 0);
    json_decref(c);
    c = change_of("{\"op\":\"status\"}");
    assert_int_equal(fleet_change(w.fleets[0], c, answered, &w, NULL), 0); // behind it
    json_decref(c);
    assert_int_equal(w.answers, 0);
    loop_turn(fake.loop, 0);
    assert_int_equal(w.answers, 0);
    assert_in_range(in_state(&w, DEVICE_RUNNING), 700, 800);
    run_until(fake.loop, loop_now_us(fake.loop) + 1000);
    assert_int_equal(w.answers, 2);
    assert_int_equal(json_integer_value(json_object_get(w.last, "devices")), 1000);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(w.last, "state"), DEVICE_RUNNING)), 0);
    // A stopping fleet answers what waits.
    c = change_of("{\"op\":\"start\"}");
    w.answers = 0;
    assert_int_equal(fleet_change(w.fleets[0], c, answered, &w, NULL), 0);
    fleet_stop(w.fleets[0], loop_now_us(fake.loop));
    assert_int_equal(w.answers, 1);
    assert_int_equal(w.error.code, ERR_CANCELLED);
    struct error err;
    assert_int_equal(fleet_change(w.fleets[0], c, answered, &w, &err), -1);
    json_decref(c);
    teardown(&w);
}

static void test_scale(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 3; shards++) {
        struct world w;
        setup(&w, shards, NULL);
        run_until(fake.loop, SECOND);
        slot_id id = device(&w, 95)->id;
        assert_int_equal(change(&w, "{\"op\":\"scale\",\"count\":40}"), 60);
        run_until(fake.loop, 2 * SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 40);
        assert_int_equal(fake.n_conns, 40);
        assert_null(device(&w, 41));
        assert_non_null(device(&w, 40));
        for (unsigned i = 0; i < shards; i++)
            assert_null(fleet_find(w.fleets[i], id));
        assert_int_equal(change(&w, "{\"op\":\"scale\",\"count\":130}"), 90);
        run_until(fake.loop, 3 * SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 130);
        assert_int_equal(device(&w, 130)->index, 130);
        // Smaller and larger again without a turn in between: new ones all the same.
        uint32_t before = device(&w, 120)->starts;
        assert_int_equal(before, 1);
        id = device(&w, 120)->id;
        json_t *down = change_of("{\"op\":\"scale\",\"count\":100}"),
               *up = change_of("{\"op\":\"scale\",\"count\":130}");
        for (unsigned i = 0; i < shards; i++) {
            assert_int_equal(fleet_change(w.fleets[i], down, NULL, NULL, NULL), 0);
            assert_int_equal(fleet_change(w.fleets[i], up, NULL, NULL, NULL), 0);
        }
        json_decref(down);
        json_decref(up);
        run_until(fake.loop, 4 * SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 130);
        assert_true(device(&w, 120)->id != id);
        uint64_t published = fake.published;
        run_until(fake.loop, 5 * SECOND);
        assert_int_equal(fake.published - published, 130);
        teardown(&w);
    }
}

// New devices come by the launch plan, behind those that are still to be launched.
static void test_scale_by_plan(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(SENSOR);
    struct group_config gc = fake_group_config("g", 20, m);
    gc.launch = (struct launch){.strategy = LAUNCH_LINEAR, .rate = 10};
    setup(&w, 2, &gc);
    run_until(fake.loop, SECOND / 2);
    assert_int_equal(change(&w, "{\"op\":\"scale\",\"count\":40}"), 20);
    run_until(fake.loop, 2 * SECOND - SECOND / 5);
    assert_in_range(in_state(&w, DEVICE_RUNNING), 18, 19);
    assert_true(group_launching(fleet_group(w.fleets[0], 0)));
    run_until(fake.loop, 3 * SECOND);
    assert_in_range(in_state(&w, DEVICE_RUNNING), 29, 33);
    run_until(fake.loop, 5 * SECOND);
    assert_int_equal(in_state(&w, DEVICE_RUNNING), 40);
    assert_false(group_launching(fleet_group(w.fleets[0], 0)));
    teardown(&w);
    model_delete(m);
}

static void test_stages(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 3; shards++) {
        struct world w;
        struct model *m = model_of(SENSOR);
        struct group_config gc = fake_group_config("g", 60, m);
        gc.launch = (struct launch){.strategy = LAUNCH_STAGES,
                                    .n_stages = 3,
                                    .stages = {{10 * SECOND, 60}, {10 * SECOND, 10}, {10 * SECOND, 30}}};
        setup(&w, shards, &gc);
        run_until(fake.loop, 5 * SECOND + 1000);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 30);
        refuse(&w, "{\"op\":\"scale\",\"count\":70}", ERR_STATE, "stages");
        run_until(fake.loop, 10 * SECOND + 1000);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 60);
        run_until(fake.loop, 15 * SECOND + 1000);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 35);
        assert_int_equal(device(&w, 60)->state, DEVICE_STOPPED); // the highest go first
        assert_int_equal(change(&w, "{\"op\":\"stop\",\"devices\":[45,1]}"), 1);
        run_until(fake.loop, 20 * SECOND + 1000);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 9); // 10, less the one that was stopped by hand
        run_until(fake.loop, 31 * SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 29);
        assert_int_equal(device(&w, 20)->starts, 2);
        assert_false(group_launching(fleet_group(w.fleets[0], 0)));
        assert_int_equal(change(&w, "{\"op\":\"scale\",\"count\":65}"), 5); // the plan is over
        run_until(fake.loop, 32 * SECOND);
        assert_int_equal(in_state(&w, DEVICE_RUNNING), 34);
        teardown(&w);
        model_delete(m);
    }
}

static void test_remove(void **state)
{
    (void)state;
    struct world w;
    setup(&w, 2, NULL);
    run_until(fake.loop, SECOND);
    assert_int_equal(change(&w, "{\"op\":\"remove\",\"devices\":[1,50,99]}"), 3);
    run_until(fake.loop, 2 * SECOND);
    assert_null(device(&w, 50));
    assert_int_equal(in_state(&w, DEVICE_RUNNING), 97);
    assert_int_equal(change(&w, "{\"op\":\"restart\"}"), 97); // those that are left
    assert_int_equal(change(&w, "{\"op\":\"remove\"}"), 97);
    run_until(fake.loop, 3 * SECOND);
    assert_int_equal(fake.n_conns, 0);
    assert_int_equal(group_population(fleet_group(w.fleets[0], 0)), 0);
    assert_int_equal(change(&w, "{\"op\":\"start\"}"), 0);
    assert_true(fleet_idle(w.fleets[0]));
    teardown(&w);
}

static void test_renew(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 10, NULL);
    setup(&w, 1, &gc);
    run_until(fake.loop, SECOND);
    unsigned opens = fake.opens;
    behaviours_ended = 0;
    assert_int_equal(change(&w, "{\"op\":\"renew\"}"), 10);
    assert_int_equal(behaviours_ended, 10);
    assert_int_equal(fake.opens, opens); // on the connections they have
    assert_int_equal(fleet_group(w.fleets[0], 0)->by_conn[CONN_CONNECTED], 10);
    assert_int_equal(in_state(&w, DEVICE_RUNNING), 10);
    assert_non_null(device(&w, 3)->behaviour);
    teardown(&w);
}

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(SENSOR);
    struct group_config gc = fake_group_config("g", 1, m);
    gc.id_pattern = "alone";
    setup(&w, 1, &gc);
    refuse(&w, "{\"op\":\"stopp\"}", ERR_INVALID, "did you mean \"stop\"");
    refuse(&w, "{}", ERR_INVALID, "valid: stop, start");
    refuse(&w, "{\"op\":\"stop\",\"cont\":1}", ERR_INVALID, "valid: devices, count, percentage, mode");
    refuse(&w, "{\"op\":\"stop\",\"count\":1,\"percentage\":1}", ERR_INVALID, "give one of");
    refuse(&w, "{\"op\":\"stop\",\"count\":0}", ERR_INVALID, "whole number");
    refuse(&w, "{\"op\":\"stop\",\"percentage\":101}", ERR_INVALID, "at most 100");
    refuse(&w, "{\"op\":\"stop\",\"devices\":[2]}", ERR_INVALID, "from 1 to 1");
    refuse(&w, "{\"op\":\"stop\",\"devices\":\"x\"}", ERR_INVALID, "list of indices");
    refuse(&w, "{\"op\":\"stop\",\"mode\":\"hard\"}", ERR_INVALID, "graceful, abrupt");
    refuse(&w, "{\"op\":\"scale\",\"count\":2}", ERR_INVALID, "${index}");
    refuse(&w, "{\"op\":\"scale\"}", ERR_INVALID, "whole number");
    refuse(&w, "{\"op\":\"dropout\"}", ERR_INVALID, "expected an object");
    refuse(&w, "{\"op\":\"interval\",\"interval_ms\":5,\"attribute\":\"t\"}", ERR_INVALID, "intervalMs");
    refuse(&w, "{\"op\":\"interval\",\"interval_ms\":500,\"attribute\":\"tt\"}", ERR_NOT_FOUND, "it has: t, h, ok");
    refuse(&w, "{\"op\":\"interval\",\"interval_ms\":1.5}", ERR_INVALID, "whole number of milliseconds");
    refuse(&w, "{\"op\":\"generator\",\"attribute\":\"t\",\"generator\":{\"type\":\"unifrm\"}}", ERR_INVALID,
           "uniform");
    refuse(&w, "{\"op\":\"generator\",\"attribute\":\"t\",\"generator\":7}", ERR_INVALID, "expected an object");
    refuse(&w, "{\"op\":\"model\",\"text\":\"{\"}", ERR_INVALID, "");
    refuse(&w, "{\"op\":\"model\"}", ERR_INVALID, "expected the model's text");
    struct error err;
    json_t *c = change_of("{\"op\":\"stop\"}");
    json_object_set_new(c, "group", json_string("nobody"));
    assert_int_equal(fleet_change(w.fleets[0], c, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    json_decref(c);
    teardown(&w);
    gc = fake_group_config("g", 3, NULL);
    setup(&w, 1, &gc);
    refuse(&w, "{\"op\":\"interval\",\"interval_ms\":500}", ERR_UNSUPPORTED, "has no model");
    teardown(&w);
    model_delete(m);
}

// --- the model ----------------------------------------------------------------------------------------------------

#define STEPS                                                                                                          \
    "{" SENSOR_HEAD ",\"telemetry\":["                                                                                 \
    "{\"name\":\"n\",\"type\":\"integer\",\"intervalMs\":1000,\"generator\":{\"type\":\"sequence\",\"start\":1}},"     \
    "{\"name\":\"s\",\"type\":\"string\",\"intervalMs\":1000,\"generator\":{\"type\":\"constant\",\"value\":\"old\"}}" \
    ","                                                                                                                \
    "{\"name\":\"k\",\"type\":\"integer\",\"intervalMs\":5000,\"generator\":{\"type\":\"sequence\",\"start\":100}},"   \
    "{\"name\":\"sum\",\"type\":\"number\",\"intervalMs\":5000,\"generator\":{\"type\":\"correlated\",\"expression\":" \
    "\"n + k\"}}]}"

static char last_message[2][256]; // of device 1: the fast stream, the slow one
static int64_t last_time[2];
static unsigned messages[2];

static void on_publish(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)arg;
    if (d->index != 1)
        return;
    char text[256];
    snprintf(text, sizeof(text), "%.*s", (int)m->payload_len, (const char *)m->payload);
    int which = strstr(text, "\"k\"") != NULL;
    messages[which]++;
    last_time[which] = loop_now_us(fake.loop);
    snprintf(last_message[which], sizeof(last_message[which]), "%s", text);
}

static long long number(int which, const char *key)
{
    struct error err = {0};
    json_t *v = json_parse(last_message[which], strlen(last_message[which]), "message", &err);
    if (!v)
        fail_msg("%s: %s", last_message[which], err.text);
    long long n = (long long)json_number_value(json_object_get(v, key));
    json_decref(v);
    return n;
}

static void model_world(struct world *w, struct model **m)
{
    memset(last_message, 0, sizeof(last_message));
    memset(messages, 0, sizeof(messages));
    *m = model_of(STEPS);
    struct group_config gc = fake_group_config("g", 5, *m);
    setup(w, 1, &gc);
    fake.on_publish = on_publish;
}

static void test_interval(void **state)
{
    (void)state;
    struct world w;
    struct model *m;
    model_world(&w, &m);
    run_until(fake.loop, 10 * SECOND);
    long long n = number(0, "n");
    int64_t phase = last_time[0] % SECOND, at = last_time[0];
    assert_int_equal(n, messages[0]);
    assert_int_equal(change(&w, "{\"op\":\"interval\",\"attribute\":\"n\",\"interval_ms\":250}"), 5);
    // "n" and "s" were one message and are two now; "n" goes on counting, four times as fast, from where its tick was.
    run_until(fake.loop, at + SECOND + 10000);
    assert_int_equal(number(0, "n") > n, 1);
    run_until(fake.loop, 20 * SECOND);
    assert_int_equal(last_time[0] % 250000, phase % 250000);
    assert_in_range(messages[0], (unsigned)n + 45, (unsigned)n + 55); // s each second, n four times
    assert_int_equal(change(&w, "{\"op\":\"interval\",\"attribute\":null,\"interval_ms\":60000}"), 5);
    unsigned before = messages[0] + messages[1];
    run_until(fake.loop, 50 * SECOND);
    assert_in_range(messages[0] + messages[1] - before, 1, 4);
    assert_int_equal(change(&w, "{\"op\":\"interval\",\"interval_ms\":100}"), 5); // a minute is not waited for
    before = messages[0] + messages[1];
    run_until(fake.loop, 51 * SECOND);
    assert_in_range(messages[0] + messages[1] - before, 8, 11);
    assert_int_equal(m->n_streams, 2); // the plan's model is as it was
    assert_true(fleet_group(w.fleets[0], 0)->config.model != m);
    teardown(&w);
    model_delete(m);
}

static void test_generator(void **state)
{
    (void)state;
    struct world w;
    struct model *m;
    model_world(&w, &m);
    run_until(fake.loop, 12 * SECOND);
    long long n = number(0, "n"), k = number(1, "k");
    int64_t at = last_time[0];
    assert_non_null(strstr(last_message[0], "\"old\""));
    change(&w, "{\"op\":\"generator\",\"attribute\":\"s\",\"generator\":{\"type\":\"constant\",\"value\":\"new\"}}");
    // The latest value of s, a text of the model that is gone, is still good.
    struct value v;
    device_value(device(&w, 1), 1, &v);
    assert_int_equal(v.type, VALUE_STRING);
    assert_int_equal(strncmp(v.str.s, "old", v.str.n), 0);
    run_until(fake.loop, at + SECOND + 1000);
    assert_non_null(strstr(last_message[0], "\"new\""));
    assert_int_equal(last_time[0], at + SECOND); // same phase
    assert_int_equal(number(0, "n"), n + 1);     // and others go on
    change(&w, "{\"op\":\"generator\",\"attribute\":\"n\",\"generator\":{\"type\":\"sequence\",\"start\":5000}}");
    run_until(fake.loop, at + 3 * SECOND + 1000);
    assert_int_equal(number(0, "n"), 5001);
    run_until(fake.loop, 30 * SECOND);
    assert_true(number(1, "k") > k && number(1, "k") < k + 6);
    assert_true(number(1, "sum") > 5000);
    change(&w, "{\"op\":\"interval\",\"attribute\":\"s\",\"interval_ms\":1000000}");
    for (unsigned i = 0; i < 50; i++) { // models do not pile up, and a value outlives the one it came from
        char text[128];
        snprintf(text, sizeof(text), "{\"op\":\"interval\",\"attribute\":\"k\",\"interval_ms\":%u}", 1000 + i);
        change(&w, text);
        run_until(fake.loop, loop_now_us(fake.loop) + 3 * SECOND);
    }
    device_value(device(&w, 2), 1, &v);
    assert_int_equal(v.type, VALUE_STRING);
    assert_int_equal(strncmp(v.str.s, "new", v.str.n), 0);
    teardown(&w);
    model_delete(m);
}

static void test_model(void **state)
{
    (void)state;
    struct world w;
    struct model *m;
    model_world(&w, &m);
    run_until(fake.loop, 10 * SECOND);
    long long n = number(0, "n");
    json_t *fixed = json_string("fixed");
    assert_int_equal(device_fix(device(&w, 1), 1, fixed, NULL), 0);
    json_decref(fixed);
    // Attributes come, go and change their order.
    json_t *c = change_of("{\"op\":\"model\"}");
    json_object_set_new(
        c, "text",
        json_string("{" SENSOR_HEAD ",\"telemetry\":["
                    "{\"name\":\"x\",\"type\":\"number\",\"generator\":{\"type\":\"constant\",\"value\":7}},"
                    "{\"name\":\"s\",\"type\":\"string\",\"generator\":{\"type\":\"constant\",\"value\":\"old\"}},"
                    "{\"name\":\"n\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\",\"start\":1}},"
                    "{\"name\":\"y\",\"type\":\"number\",\"generator\":{\"type\":\"correlated\",\"expression\":\"n * "
                    "2\"}}]}"));
    char *text = json_dumps(c, 0);
    json_decref(c);
    change(&w, text);
    free(text);
    run_until(fake.loop, 12 * SECOND);
    assert_in_range(number(0, "n"), n + 1, n + 3);
    assert_int_equal(number(0, "y"), 2 * number(0, "n"));
    assert_int_equal(number(0, "x"), 7);
    assert_non_null(strstr(last_message[0], "\"fixed\""));
    // Without telemetry at all, and back.
    c = change_of(
        "{\"op\":\"model\",\"text\":\"{\\\"id\\\":\\\"s\\\",\\\"name\\\":\\\"S\\\",\\\"type\\\":\\\"sensor\\\","
        "\\\"protocol\\\":\\\"mqtt\\\"}\"}");
    text = json_dumps(c, 0);
    json_decref(c);
    change(&w, text);
    free(text);
    unsigned before = messages[0];
    run_until(fake.loop, 15 * SECOND);
    assert_int_equal(messages[0], before);
    c = change_of("{\"op\":\"model\"}");
    json_object_set_new(c, "text", json_string(STEPS));
    text = json_dumps(c, 0);
    json_decref(c);
    change(&w, text);
    free(text);
    run_until(fake.loop, 20 * SECOND);
    assert_true(messages[0] > before + 3);
    refuse(&w,
           "{\"op\":\"model\",\"text\":\"{\\\"id\\\":\\\"s\\\",\\\"name\\\":\\\"S\\\",\\\"type\\\":\\\"sensr\\\","
           "\\\"protocol\\\":\\\"mqtt\\\"}\"}",
           ERR_INVALID, "sensor");
    teardown(&w);
    model_delete(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_and_start), cmocka_unit_test(test_many),    cmocka_unit_test(test_scale),
        cmocka_unit_test(test_scale_by_plan),  cmocka_unit_test(test_stages),  cmocka_unit_test(test_remove),
        cmocka_unit_test(test_renew),          cmocka_unit_test(test_refused), cmocka_unit_test(test_interval),
        cmocka_unit_test(test_generator),      cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
