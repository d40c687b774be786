// 10,000 random acts and events in random order, from outside and from inside every callback. After each the books must
// agree; under AddressSanitizer any use after free ends the test.
#include "device/change.h"
#include "fake.h"

#define SECOND 1000000
enum { GROUPS = 3, DEVICES = 12, STEPS = 10000 };

struct storm {
    struct rng rng;
    struct fleet *fleet;
    unsigned depth; // of acts inside callbacks
    unsigned starts, stops;
    unsigned asked, answers; // changes
};

static void act(struct storm *s, struct device *d);

// A device of a random group, NULL: it was removed.
static struct device *any_device(struct storm *s)
{
    struct group *g = fleet_group(s->fleet, (unsigned)rng_below(&s->rng, GROUPS));
    return g->owned ? g->devices[rng_below(&s->rng, g->owned)] : NULL;
}

static void changed(void *arg, const json_t *answer, const struct error *err)
{
    struct storm *s = arg;
    assert_true((answer != NULL) != (err != NULL));
    s->answers++;
}

// What a running group can be asked for.
static void change(struct storm *s)
{
    static const char *const names[GROUPS] = {"model", "lua", "both"};
    json_t *c = NULL;
    switch (rng_below(&s->rng, 7)) {
    case 0:
    case 1:
        c = json_pack("{s:s, s:i}", "op", "scale", "count", 4 + (int)rng_below(&s->rng, 2 * DEVICES));
        break;
    case 2:
        c = json_pack("{s:s, s:i}", "op", "restart", "count", 1 + (int)rng_below(&s->rng, DEVICES));
        break;
    case 3:
        c = json_pack("{s:s, s:i}", "op", "start", "percentage", 1 + (int)rng_below(&s->rng, 100));
        break;
    case 4:
        c = json_pack("{s:s, s:{s:i, s:b, s:i, s:s, s:i}}", "op", "dropout", "dropout", "percentage",
                      1 + (int)rng_below(&s->rng, 100), "reconnect", (int)rng_below(&s->rng, 2), "reconnect_delay",
                      (int)rng_below(&s->rng, SECOND), "strategy", "random", "duration",
                      (int)rng_below(&s->rng, SECOND));
        break;
    case 5:
        c = json_pack("{s:s, s:i}", "op", "interval", "interval_ms", 100 + (int)rng_below(&s->rng, 1000));
        break;
    case 6:
        c = json_pack("{s:s}", "op", "renew");
        break;
    }
    json_object_set_new(c, "group", json_string(names[rng_below(&s->rng, GROUPS)]));
    json_object_set_new(c, "at_us", json_integer(loop_now_us(fake.loop)));
    json_object_set_new(c, "number", json_integer((json_int_t)s->asked));
    s->asked += fleet_change(s->fleet, c, changed, s, NULL) == 0;
    json_decref(c);
}

static void maybe_act(struct storm *s, struct device *d)
{
    if (s->depth >= 3 || rng_below(&s->rng, 3))
        return;
    s->depth++;
    act(s, d);
    s->depth--;
}

static int op_start(void *arg, struct device *d, struct error *err)
{
    struct storm *s = arg;
    assert_null(d->behaviour);
    d->behaviour = malloc(1); // a leak or a double free if start and stop do not match
    s->starts++;
    // device_finished is not allowed here, everything else is.
    if (rng_below(&s->rng, 2))
        (void)!device_connect(d, NULL);
    if (!rng_below(&s->rng, 10))
        device_stop(d, rng_below(&s->rng, 2) ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT);
    if (!rng_below(&s->rng, 10)) {
        free(d->behaviour);
        d->behaviour = NULL;
        s->starts--;
        return error_set(err, ERR_INVALID, "no");
    }
    return 0;
}

static void op_stop(void *arg, struct device *d)
{
    struct storm *s = arg;
    assert_non_null(d->behaviour);
    free(d->behaviour);
    d->behaviour = NULL;
    s->stops++;
    maybe_act(s, d);
}

static void op_online(void *arg, struct device *d, bool session_present)
{
    (void)session_present;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static void op_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    (void)why, (void)will_retry;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static void op_message(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)m;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static void op_done(void *arg, struct device *d, uint32_t token, int granted_qos, const struct error *err)
{
    (void)token, (void)granted_qos, (void)err;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static const struct device_ops storm_ops = {.start = op_start,
                                            .stop = op_stop,
                                            .online = op_online,
                                            .offline = op_offline,
                                            .message = op_message,
                                            .done = op_done};

static void on_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    (void)text, (void)fail_run;
    maybe_act(arg, d);
}

// One thing that a behaviour or a fault may do, to this device or to another.
static void act(struct storm *s, struct device *d)
{
    if (!rng_below(&s->rng, 4)) {
        d = any_device(s);
        if (!d)
            return;
    }
    enum adapter_close mode = rng_below(&s->rng, 2) ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT;
    struct adapter_message m = {.topic = "t", .topic_len = 1};
    switch (rng_below(&s->rng, 15)) {
    case 0:
        device_stop(d, mode);
        break;
    case 1:
    case 2:
        (void)!device_restart(d, NULL);
        break;
    case 3:
        device_disconnect(d, mode);
        break;
    case 4:
    case 5:
        (void)!device_connect(d, NULL);
        break;
    case 6:
        (void)!device_publish(d, &m, device_token(d), NULL);
        break;
    case 7:
        (void)!device_telemetry(d, rng_below(&s->rng, 2), NULL);
        break;
    case 8:
        (void)!device_subscribe(d, "t", 0, device_token(d), NULL);
        break;
    case 9:
    case 10:
        if (!(s->depth == 0 && d->state == DEVICE_CREATED))
            device_finished(d, rng_below(&s->rng, 2) ? "boom" : NULL);
        break;
    case 11:
        if (!rng_below(&s->rng, 4))
            device_destroy(d);
        break;
    case 12:
        device_renew(d);
        break;
    default:
        if (!rng_below(&s->rng, 3))
            change(s);
        break;
    }
}

// Something the world does to a random connection.
static void event(struct storm *s)
{
    struct adapter_conn *c = fake.conns;
    for (uint64_t n = fake.n_conns ? rng_below(&s->rng, fake.n_conns) : 0; n && c; n--)
        c = c->next;
    if (!c)
        return;
    c->pending = (unsigned)rng_below(&s->rng, 2);
    if (c->closing)
        return; // its on_offline comes with this turn
    if (c->state == FAKE_CONNECTING || c->state == FAKE_RETRYING) {
        if (rng_below(&s->rng, 3))
            fake_online(c, rng_below(&s->rng, 2));
        else
            fake_offline(c, ERR_REFUSED, rng_below(&s->rng, 2));
    } else if (c->state == FAKE_ON) {
        switch (rng_below(&s->rng, 5)) {
        case 0:
            fake_offline(c, ERR_CLOSED, rng_below(&s->rng, 2));
            break;
        case 1:
        case 2:
            fake_message(c, "t");
            break;
        default:
            fake_done(c, (uint32_t)rng_below(&s->rng, 5) + 1);
        }
    }
}

// The books: counts by state, memory by state.
static void check(const struct storm *s, bool settled)
{
    unsigned conns = 0, behaviours = 0;
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *g = fleet_group(s->fleet, i);
        uint64_t by_state[DEVICE_STATE_MAX] = {0}, by_conn[CONN_STATE_MAX] = {0};
        uint64_t dropped = 0;
        for (uint64_t k = 0; k < g->owned; k++) {
            struct device *d = g->devices[k];
            if (!d)
                continue;
            assert_ptr_equal(fleet_find(s->fleet, d->id), d);
            assert_int_equal(d->index, k + 1);
            dropped += d->flags >> 17 & 1; // FLAG_DROPPED
            by_state[d->state]++;
            by_conn[d->conn_state]++;
            conns += d->conn != NULL;
            behaviours += d->behaviour != NULL;
            bool active = d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
            if (g->config.behaviour)
                assert_int_equal(d->behaviour != NULL, active);
            if (settled && (d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR || d->state == DEVICE_CREATED)) {
                assert_null(d->conn);
                assert_null(d->streams);
                assert_int_equal(d->conn_state, CONN_DISCONNECTED);
            }
            if (settled && d->conn_state == CONN_CONNECTED)
                assert_int_equal(d->conn->state, FAKE_ON);
            if (settled && d->conn_state == CONN_DISCONNECTED && d->conn)
                assert_int_equal(d->conn->state, FAKE_OFF);
        }
        assert_int_equal(dropped, g->dropped);
        assert_memory_equal(by_state, g->by_state, sizeof(by_state));
        assert_memory_equal(by_conn, g->by_conn, sizeof(by_conn));
        assert_true(g->failed <= by_state[DEVICE_ERROR] + by_state[DEVICE_STARTING] + by_state[DEVICE_RUNNING]);
    }
    assert_int_equal(conns, fake.n_conns);
    assert_int_equal(behaviours, s->starts - s->stops);
}

static void storm(uint64_t seed)
{
    struct loop *loop = fake_setup();
    struct model *m = model_of(SENSOR);
    struct storm s = {0};
    rng_seed(&s.rng, seed);
    struct fleet_config config = fake_fleet_config();
    config.ops = &storm_ops;
    config.ops_arg = &s;
    config.on_device_error = on_error;
    config.on_device_error_arg = &s;
    s.fleet = fleet_new(&config, NULL);
    assert_non_null(s.fleet);
    struct group_config groups[GROUPS] = {fake_group_config("model", DEVICES, m),
                                          fake_group_config("lua", DEVICES, NULL),
                                          fake_group_config("both", DEVICES, m)};
    groups[2].behaviour = true;
    for (int i = 0; i < GROUPS; i++) {
        groups[i].on_error = (enum on_error)i;
        groups[i].max_restarts = 1000;
        assert_non_null(fleet_add_group(s.fleet, &groups[i], NULL));
    }
    fleet_start(s.fleet, 0);
    for (unsigned step = 0; step < STEPS; step++) {
        fake.refuse_open = !rng_below(&s.rng, 20);
        fake.refuse_new = !rng_below(&s.rng, 20);
        fake.bad_topic = !rng_below(&s.rng, 50);
        struct device *d = any_device(&s);
        if (rng_below(&s.rng, 2) && d)
            act(&s, d);
        else
            event(&s);
        if (!rng_below(&s.rng, 200)) { // so that there is always somebody left
            json_t *c = json_pack("{s:s, s:s, s:i, s:I}", "op", "scale", "group", "both", "count", 3 * DEVICES, "at_us",
                                  (json_int_t)loop_now_us(loop));
            s.asked += fleet_change(s.fleet, c, changed, &s, NULL) == 0;
            json_decref(c);
        }
        check(&s, false);
        if (!rng_below(&s.rng, 3)) {
            loop_turn(loop, (int64_t)rng_below(&s.rng, 2) * (int64_t)rng_below(&s.rng, 2 * SECOND));
            check(&s, true);
        }
    }
    assert_true(s.starts > 100);
    fake.refuse_open = fake.refuse_new = fake.bad_topic = false;
    if (seed % 2) { // half of them drain, half are cut off
        int64_t deadline = loop_now_us(loop) + 5 * SECOND;
        fleet_stop(s.fleet, deadline);
        run_until(loop, deadline + 2 * SECOND);
        assert_true(fleet_idle(s.fleet));
        check(&s, true);
        assert_int_equal(fake.n_conns, 0);
    }
    fleet_delete(s.fleet);
    assert_int_equal(s.starts, s.stops);
    assert_true(s.asked > 100);
    assert_int_equal(s.asked, s.answers);
    model_delete(m);
    fake_teardown();
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        storm(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
