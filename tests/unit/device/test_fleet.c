// Many devices: launching, draining, the same values on any number of shards, configuration errors, gauges.
#include "fake.h"

#define SECOND 1000000

static struct fleet *new_fleet(struct fleet_config *config)
{
    struct error err = {0};
    struct fleet *fleet = fleet_new(config, &err);
    if (!fleet)
        fail_msg("%s", err.text);
    return fleet;
}

static struct group *add(struct fleet *fleet, const struct group_config *gc)
{
    struct error err = {0};
    struct group *g = fleet_add_group(fleet, gc, &err);
    if (!g)
        fail_msg("%s", err.text);
    return g;
}

// --- launch -------------------------------------------------------------------------------------------------------

static void test_two_hundred_a_turn(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct model *m = model_of(SENSOR);
    struct fleet_config config = fake_fleet_config();
    struct fleet *fleet = new_fleet(&config);
    struct group_config a = fake_group_config("a", 500, m), b = fake_group_config("b", 550, m);
    struct group *ga = add(fleet, &a), *gb = add(fleet, &b);
    run_until(loop, 10 * SECOND);
    fleet_start(fleet, 0); // overdue since ten seconds
    uint64_t before = 0;
    unsigned turns = 0;
    while (before < 1050) {
        loop_turn(loop, 1000);
        uint64_t now = ga->started + gb->started;
        assert_true(now - before <= 200);
        before = now;
        assert_true(++turns < 40);
    }
    assert_int_equal(fake.opens, 1050);
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

static void test_rate(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct model *m = model_of(SENSOR);
    struct fleet_config config = fake_fleet_config();
    config.owner = (struct ownership){0, 1, 1, 2};
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("a", 100, m);
    gc.launch = (struct launch){.strategy = LAUNCH_LINEAR, .rate = 10};
    struct group *g = add(fleet, &gc);
    assert_int_equal(g->owned, 50);
    fleet_start(fleet, 0);
    run_until(loop, 99000);
    assert_int_equal(g->started, 0); // the first of this shard is the second of the group
    run_until(loop, 101000);
    assert_int_equal(g->started, 1);
    assert_false(fleet_idle(fleet));
    run_until(loop, 5 * SECOND);
    assert_int_equal(g->started, 25);
    run_until(loop, 9901000);
    assert_int_equal(g->started, 50);
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

// --- the same values anywhere -------------------------------------------------------------------------------------

enum { DEVICES = 20 };
struct capture {
    struct buf of[DEVICES + 1]; // by index: topics and payloads in order
    uint64_t messages;
};

static void capture(void *arg, struct device *d, const struct adapter_message *m)
{
    struct capture *c = arg;
    struct buf *b = &c->of[d->index];
    assert_true(d->index >= 1 && d->index <= DEVICES);
    assert_int_equal(buf_append(b, m->topic, m->topic_len), 0);
    assert_int_equal(buf_append_char(b, ' '), 0);
    assert_int_equal(buf_append(b, m->payload, m->payload_len), 0);
    assert_int_equal(buf_append_char(b, '\n'), 0);
    c->messages++;
}

#define TWO_STREAMS                                                                                                    \
    "{" SENSOR_HEAD                                                                                                    \
    ",\"telemetry\":[{\"name\":\"w\",\"type\":\"number\",\"generator\":{\"type\":\"walk\",\"min\":0,\"max\":10,"       \
    "\"step\":1}},{\"name\":\"n\",\"type\":\"number\",\"generator\":{\"type\":\"normal\",\"mean\":5,\"stddev\":1}},"   \
    "{\"name\":\"u\",\"type\":\"integer\",\"intervalMs\":700,\"generator\":{\"type\":\"uniform\",\"min\":0,"           \
    "\"max\":1000000}}]}"

// Runs `shards` fleets one after the other and captures what they publish in 20 s with a lost connection in the middle.
static void run_shards(uint32_t partitions, uint32_t shards, uint64_t seed, struct capture *c)
{
    struct model *m = model_of(TWO_STREAMS);
    memset(c, 0, sizeof(*c));
    for (unsigned i = 1; i <= DEVICES; i++)
        buf_create(&c->of[i], 1 << 20);
    for (uint32_t part = 0; part < partitions * shards; part++) {
        struct loop *loop = fake_setup();
        fake.auto_online = true;
        fake.on_publish = capture;
        fake.on_publish_arg = c;
        struct fleet_config config = fake_fleet_config();
        config.seed = seed;
        config.owner = (struct ownership){part / shards, partitions, part % shards, shards};
        struct fleet *fleet = new_fleet(&config);
        struct group_config gc = fake_group_config("sensors", DEVICES, m);
        struct group *g = add(fleet, &gc);
        fleet_start(fleet, 0);
        run_until(loop, 10 * SECOND);
        for (uint64_t i = 0; i < g->owned; i++)
            fake_offline(g->devices[i]->conn, ERR_CLOSED, true);
        run_until(loop, 11 * SECOND);
        for (uint64_t i = 0; i < g->owned; i++)
            fake_online(g->devices[i]->conn, false);
        run_until(loop, 20 * SECOND);
        fleet_delete(fleet);
        fake_teardown();
    }
    model_delete(m);
}

static void end_capture(struct capture *c)
{
    for (unsigned i = 1; i <= DEVICES; i++)
        buf_destroy(&c->of[i]);
}

static void test_same_seed_same_values(void **state)
{
    (void)state;
    static const struct {
        uint32_t partitions, shards;
    } layouts[] = {{1, 3}, {2, 1}, {2, 3}, {1, 1}};
    struct capture one, other;
    run_shards(1, 1, 7, &one);
    assert_true(one.messages > DEVICES * 40);
    for (unsigned k = 0; k < 4; k++) {
        run_shards(layouts[k].partitions, layouts[k].shards, 7, &other);
        assert_int_equal(one.messages, other.messages);
        for (unsigned i = 1; i <= DEVICES; i++)
            assert_string_equal(buf_cstr(&one.of[i]), buf_cstr(&other.of[i]));
        end_capture(&other);
    }
    assert_string_not_equal(buf_cstr(&one.of[1]), buf_cstr(&one.of[2]));
    run_shards(1, 1, 8, &other);
    assert_string_not_equal(buf_cstr(&one.of[1]), buf_cstr(&other.of[1]));
    end_capture(&other);
    end_capture(&one);
}

// The values alone, without the times: what a reconnect must not change.
static void value_only(void *arg, struct device *d, const struct adapter_message *m)
{
    struct buf *b = arg;
    (void)d;
    assert_int_equal(buf_append(b, m->payload, m->payload_len), 0);
    assert_int_equal(buf_append_char(b, '\n'), 0);
}

static void test_reconnects_do_not_change_values(void **state)
{
    (void)state;
    struct model *m =
        model_of("{" SENSOR_HEAD ",\"payload\":\"${t}\",\"telemetry\":[{\"name\":\"t\",\"type\":\"integer\","
                 "\"generator\":{\"type\":\"uniform\",\"min\":0,\"max\":1000000}}]}");
    struct buf got[3];
    for (int run = 0; run < 3; run++) {
        struct loop *loop = fake_setup();
        buf_create(&got[run], 1 << 20);
        fake.auto_online = true;
        fake.on_publish = value_only;
        fake.on_publish_arg = &got[run];
        struct fleet_config config = fake_fleet_config();
        struct fleet *fleet = new_fleet(&config);
        struct group_config gc = fake_group_config("s", 1, m);
        struct device *d = add(fleet, &gc)->devices[0];
        fleet_start(fleet, 0);
        int64_t t = 0;
        while (fake.published < 50) {
            run_until(loop, t += 3 * SECOND);
            if (run == 1) {
                fake_offline(d->conn, ERR_CLOSED, true);
                fake_online(d->conn, false);
            }
            if (run == 2 && fake.published < 5)
                assert_int_equal(device_restart(d, NULL), 0); // other values from here on
        }
        fleet_delete(fleet);
        fake_teardown();
    }
    uint32_t n = got[0].len < got[1].len ? got[0].len : got[1].len;
    assert_true(n > 200);
    assert_memory_equal(got[0].data, got[1].data, n);
    assert_memory_not_equal(got[0].data, got[2].data, n);
    for (int run = 0; run < 3; run++)
        buf_destroy(&got[run]);
    model_delete(m);
}

// Two streams of one device, and the same stream after a restart, do not repeat each other.
static void test_streams_and_restarts_differ(void **state)
{
    (void)state;
#define ALIKE(name)                                                                                                    \
    "{\"name\":\"" name "\",\"type\":\"integer\",\"topic\":\"" name                                                    \
    "\",\"generator\":{\"type\":\"uniform\",\"min\":0,\"max\":1000000000}}"
    struct loop *loop = fake_setup();
    struct model *m = model_of("{" SENSOR_HEAD ",\"telemetry\":[" ALIKE("a") "," ALIKE("b") "]}");
    struct fleet_config config = fake_fleet_config();
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("s", 1, m);
    struct device *d = add(fleet, &gc)->devices[0];
    fake.auto_online = true;
    fleet_start(fleet, 0);
    run_until(loop, SECOND / 100);
    uint64_t first = d->streams[0]->rng.state;
    assert_int_not_equal(first, d->streams[1]->rng.state);
    assert_int_equal(device_restart(d, NULL), 0);
    run_until(loop, SECOND / 50);
    assert_int_equal(d->starts, 2);
    assert_int_not_equal(first, d->streams[0]->rng.state);
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

// --- timers that do not drift -------------------------------------------------------------------------------------

static void test_late_ticks(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct metrics *metrics = metrics_new(1000);
    struct model *m = model_of(SENSOR);
    struct fleet_config config = fake_fleet_config();
    config.env.metrics = metrics;
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("s", 1, m);
    fake.auto_online = true;
    struct group *g = add(fleet, &gc);
    fleet_start(fleet, 0);
    run_until(loop, 100 * SECOND);
    assert_true(fake.published == 99 || fake.published == 100);
    assert_int_equal(g->generated->count, 3 * fake.published);
    assert_int_equal(g->late_ticks->count, fake.published);
    assert_int_equal(g->late_ticks->hits, 0);
    int64_t next_us = g->devices[0]->streams[0]->next_us;
    uint64_t before = fake.published;
    // The loop stood still for 5.25 intervals: one message, five left out, and the grid of old.
    clock_advance((struct clock *)loop_clock(loop), next_us + 5250000);
    loop_turn(loop, 0);
    assert_int_equal(fake.published, before + 1);
    assert_int_equal(g->late_ticks->hits, 6);
    assert_int_equal(g->late_ticks->count, before + 6);
    assert_int_equal(g->devices[0]->streams[0]->next_us, next_us + 6 * SECOND);
    // 50 ms late of a second: not late. 150 ms: late.
    clock_advance((struct clock *)loop_clock(loop), next_us + 6050000);
    loop_turn(loop, 0);
    assert_int_equal(g->late_ticks->hits, 6);
    clock_advance((struct clock *)loop_clock(loop), next_us + 7150000);
    loop_turn(loop, 0);
    assert_int_equal(g->late_ticks->hits, 7);
    assert_int_equal(g->devices[0]->streams[0]->next_us, next_us + 8 * SECOND);
    fleet_delete(fleet);
    metrics_delete(metrics);
    model_delete(m);
    fake_teardown();
}

// --- drain --------------------------------------------------------------------------------------------------------

struct drained {
    struct loop *loop;
    struct fleet *fleet;
    struct group *g;
    struct model *m;
};

static struct drained start_many(uint64_t n)
{
    struct drained w = {.loop = fake_setup(), .m = model_of(SENSOR)};
    struct fleet_config config = fake_fleet_config();
    fake.auto_online = true;
    fake.new_pending = 1;
    w.fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("s", n, w.m);
    w.g = add(w.fleet, &gc);
    fleet_start(w.fleet, 0);
    run_until(w.loop, 5 * SECOND);
    assert_int_equal(w.g->by_state[DEVICE_RUNNING], n);
    return w;
}

static void end_drained(struct drained *w)
{
    fleet_delete(w->fleet);
    model_delete(w->m);
    fake_teardown();
}

static void test_drain_waits_for_acks(void **state)
{
    (void)state;
    struct drained w = start_many(1000);
    fleet_stop(w.fleet, 60 * SECOND);
    uint64_t published = fake.published;
    run_until(w.loop, 20 * SECOND);
    assert_int_equal(fake.published, published); // no new work
    assert_int_equal(w.g->by_state[DEVICE_STOPPING], 1000);
    assert_int_equal(w.g->by_conn[CONN_CONNECTED], 1000);
    assert_int_equal(fake.closes, 0);
    struct error err = {0};
    assert_int_equal(device_restart(w.g->devices[0], &err), -1);
    assert_int_equal(err.code, ERR_CANCELLED);
    error_clear(&err);
    assert_int_equal(device_connect(w.g->devices[0], &err), -1);
    assert_int_equal(err.code, ERR_CANCELLED);
    for (uint64_t i = 0; i < 999; i++)
        w.g->devices[i]->conn->pending = 0;
    run_until(w.loop, 20 * SECOND + 100000);
    assert_int_equal(w.g->by_state[DEVICE_STOPPED], 999);
    assert_int_equal(fake.closes, 999);
    assert_int_equal(fake.n_conns, 1);
    assert_false(fleet_idle(w.fleet));
    fake_offline(w.g->devices[999]->conn, ERR_CLOSED, true); // it may still come back
    run_until(w.loop, 30 * SECOND);
    assert_int_equal(w.g->by_state[DEVICE_STOPPING], 1);
    fake_online(w.g->devices[999]->conn, true);
    w.g->devices[999]->conn->pending = 0;
    run_until(w.loop, 30 * SECOND + 50000);
    assert_true(fleet_idle(w.fleet));
    assert_int_equal(fake.n_conns, 0);
    assert_int_equal(fake.abrupt_deletes, 0);
    end_drained(&w);
}

static void test_drain_deadline(void **state)
{
    (void)state;
    struct drained w = start_many(1000);
    fleet_stop(w.fleet, 60 * SECOND);
    run_until(w.loop, 8 * SECOND);
    fleet_stop(w.fleet, 10 * SECOND); // sooner than said before
    run_until(w.loop, 9900000);
    assert_int_equal(w.g->by_state[DEVICE_STOPPING], 1000);
    // At most 256 a turn.
    unsigned closes = 0;
    while (!fleet_idle(w.fleet)) {
        loop_turn(w.loop, SECOND);
        assert_true(fake.closes - closes <= 256);
        closes = fake.closes;
        assert_true(loop_now_us(w.loop) < 10 * SECOND + 200000);
    }
    assert_int_equal(fake.closes, 1000);
    assert_int_equal(fake.n_conns, 0);
    end_drained(&w);
}

// An adapter that never answers a close does not hang the end of the run.
static void test_drain_cuts(void **state)
{
    (void)state;
    struct drained w = start_many(10);
    loop_hook_remove(w.loop, &fake.hook);
    fleet_stop(w.fleet, 6 * SECOND);
    run_until(w.loop, 6900000);
    assert_int_equal(fake.closes, 10);
    assert_false(fleet_idle(w.fleet));
    run_until(w.loop, 7100000);
    assert_true(fleet_idle(w.fleet));
    assert_int_equal(fake.n_conns, 0);
    end_drained(&w);
}

static void test_stop_during_launch(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct model *m = model_of(SENSOR);
    struct fleet_config config = fake_fleet_config();
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("s", 1000, m);
    gc.launch = (struct launch){.strategy = LAUNCH_LINEAR, .rate = 100};
    struct group *g = add(fleet, &gc);
    fleet_start(fleet, 0);
    run_until(loop, 2 * SECOND); // nobody answers: all are connecting
    assert_true(g->by_state[DEVICE_STARTING] >= 200);
    fleet_stop(fleet, 30 * SECOND);
    run_until(loop, 2 * SECOND + 100000);
    assert_true(fleet_idle(fleet));
    uint64_t started = g->started;
    run_until(loop, 20 * SECOND);
    assert_int_equal(g->started, started);
    assert_int_equal(g->by_state[DEVICE_CREATED] + g->by_state[DEVICE_STOPPED], 1000);
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

// --- configuration ------------------------------------------------------------------------------------------------

static void refuse(const struct group_config *gc, enum error_code code, const char *part)
{
    struct fleet_config config = fake_fleet_config();
    struct fleet *fleet = new_fleet(&config);
    struct error err = {0};
    assert_null(fleet_add_group(fleet, gc, &err));
    if (err.code != code || !strstr(err.text, part))
        fail_msg("\"%s\" (%s), not \"%s\"", err.text, error_code_name(err.code), part);
    assert_int_equal(fleet_group_count(fleet), 0);
    fleet_delete(fleet);
}

static void test_bad_groups(void **state)
{
    (void)state;
    fake_setup();
    struct model *m = model_of(SENSOR),
                 *coap = model_of("{\"id\":\"c\",\"name\":\"C\",\"type\":\"sensor\",\"protocol\":\"coap\"}");
    struct group_config good = fake_group_config("g", 2, m), c;
#define REFUSE(code, part, ...) (c = good, __VA_ARGS__, refuse(&c, code, part))
    REFUSE(ERR_INVALID, "a group needs a name", c.name = "");
    REFUSE(ERR_INVALID, "group g: it needs a model or a behaviour", c.model = NULL);
    REFUSE(ERR_INTERNAL, "nobody runs behaviours", c.behaviour = true);
    REFUSE(ERR_INVALID, "it has no target", c.url = NULL);
    REFUSE(ERR_INVALID, "group g: no adapter for \"fale\"; valid: fake, mqtt; did you mean \"fake\"?",
           c.url = "fale://x");
    REFUSE(ERR_INVALID, "no adapter for \"\"", c.url = "://");
    REFUSE(ERR_UNSUPPORTED, "built for ABI", c.url = "old://x");
    REFUSE(ERR_INVALID, "its model c speaks coap", c.model = coap);
    REFUSE(ERR_INVALID, "must contain ${index}", c.id_pattern = "same");
    REFUSE(ERR_INVALID, "cannot contain ${deviceId}", c.id_pattern = "{deviceId}${index}");
    REFUSE(ERR_INVALID, "id \"${indx}${index}\": unknown placeholder", c.id_pattern = "${indx}${index}");
    REFUSE(ERR_INVALID, "client id \"${x}\": unknown placeholder", c.client_id_pattern = "${x}");
    REFUSE(ERR_INVALID, "topic base \"${x}\"", c.topic_base = "${x}");
    REFUSE(ERR_INVALID, "the topic base is empty", c.topic_base = "");
    REFUSE(ERR_INVALID, "the will has a payload but no topic", c.will_payload = "x");
    REFUSE(ERR_INVALID, "qos must be 0, 1 or 2", c.qos = 3);
    json_t *options = json_pack("{s:i}", "bad", 1), *list = json_array();
    REFUSE(ERR_INVALID, "group g: unknown option \"bad\"", c.options = options);
    REFUSE(ERR_INVALID, "must be an object", c.options = list);
    json_decref(options);
    json_decref(list);
    model_delete(m);
    model_delete(coap);
    fake_teardown();
}

static void test_bad_fleets(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct model *m = model_of(SENSOR);
    struct error err = {0};
    static const struct ownership bad[] = {{0, 0, 0, 1}, {0, 1, 0, 0}, {2, 2, 0, 1}, {0, 1, 3, 3}};
    for (unsigned i = 0; i < 4; i++) {
        struct fleet_config config = fake_fleet_config();
        config.owner = bad[i];
        error_clear(&err);
        assert_null(fleet_new(&config, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    struct fleet_config config = fake_fleet_config();
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("g", 1, m);
    add(fleet, &gc);
    error_clear(&err);
    assert_null(fleet_add_group(fleet, &gc, &err));
    assert_string_equal(err.text, "group g: there are two groups named g");
    fleet_start(fleet, 0);
    gc.name = "late";
    error_clear(&err);
    assert_null(fleet_add_group(fleet, &gc, &err));
    assert_int_equal(err.code, ERR_STATE);
    fleet_delete(fleet);
    fleet_delete(NULL);
    // A part that owns no device of a small group.
    config.owner = (struct ownership){0, 1, 5, 6};
    fleet = new_fleet(&config);
    gc.count = 3;
    assert_int_equal(add(fleet, &gc)->owned, 0);
    fleet_start(fleet, 0);
    loop_turn(loop, 0);
    assert_true(fleet_idle(fleet));
    assert_null(fleet_group(fleet, 1));
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

// What the model says about its connection reaches the adapter, below what the group says.
static json_t *seen_options;
static struct adapter_target *spy_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                             const char *group, struct error *err)
{
    seen_options = json_deep_copy(options);
    return fake_target_new(env, url, options, group, err);
}
static struct adapter_ops spy_ops;
static const struct adapter_ops *spy_find(const char *name)
{
    (void)name;
    return &spy_ops;
}

static void test_options_of_the_model(void **state)
{
    (void)state;
    fake_setup();
    spy_ops = fake_ops;
    spy_ops.target_new = spy_target_new;
    struct model *m = model_of("{" SENSOR_HEAD ",\"connection\":{\"keepAlive\":7,\"cleanSession\":false}}");
    struct fleet_config config = fake_fleet_config();
    config.find_adapter = spy_find;
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("a", 1, m);
    add(fleet, &gc);
    assert_int_equal(json_integer_value(json_object_get(seen_options, "keepAlive")), 7);
    assert_true(json_is_false(json_object_get(seen_options, "cleanSession")));
    json_decref(seen_options);
    json_t *options = json_pack("{s:i}", "keepAlive", 9);
    gc.name = "b";
    gc.options = options;
    add(fleet, &gc);
    assert_int_equal(json_integer_value(json_object_get(seen_options, "keepAlive")), 9);
    assert_int_equal(json_object_size(options), 1); // the caller's is untouched
    json_decref(seen_options);
    json_decref(options);
    fleet_delete(fleet);
    model_delete(m);
    fake_teardown();
}

static void test_gauges(void **state)
{
    (void)state;
    struct loop *loop = fake_setup();
    struct metrics *metrics = metrics_new(1000);
    struct model *m = model_of(SENSOR);
    struct fleet_config config = fake_fleet_config();
    config.env.metrics = metrics;
    struct fleet *fleet = new_fleet(&config);
    struct group_config gc = fake_group_config("s", 5, m);
    struct group *g = add(fleet, &gc);
    fleet_start(fleet, 0);
    loop_turn(loop, 2000);
    loop_turn(loop, 2000);
    fake_online(g->devices[0]->conn, false);
    device_finished(g->devices[1], "broken");
    fleet_report(fleet);
    static const struct {
        const char *selector;
        double value;
    } expected[] = {{"devices{state:running}", 1},          {"devices{state:error}", 1},
                    {"devices{group:s,state:starting}", 3}, {"devices", 5},
                    {"connections{state:connected}", 1},    {"connections", 5}};
    for (unsigned i = 0; i < 6; i++) {
        struct metric_selector sel;
        struct metric out = {0};
        assert_int_equal(metric_selector_parse(expected[i].selector, &sel, NULL), 0);
        assert_true(metrics_select(metrics, &sel, &out) >= 1);
        assert_true(out.value == expected[i].value);
    }
    gc.name = "a,b"; // no tag value
    struct error err = {0};
    fleet_delete(fleet);
    fleet = new_fleet(&config);
    assert_null(fleet_add_group(fleet, &gc, &err));
    assert_int_equal(err.code, ERR_INVALID);
    fleet_delete(fleet);
    metrics_delete(metrics);
    model_delete(m);
    fake_teardown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_hundred_a_turn),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_same_seed_same_values),
        cmocka_unit_test(test_reconnects_do_not_change_values),
        cmocka_unit_test(test_streams_and_restarts_differ),
        cmocka_unit_test(test_late_ticks),
        cmocka_unit_test(test_drain_waits_for_acks),
        cmocka_unit_test(test_drain_deadline),
        cmocka_unit_test(test_drain_cuts),
        cmocka_unit_test(test_stop_during_launch),
        cmocka_unit_test(test_bad_groups),
        cmocka_unit_test(test_bad_fleets),
        cmocka_unit_test(test_options_of_the_model),
        cmocka_unit_test(test_gauges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
