// A device from start to end against a fake adapter: states, behaviours, errors, and calls from inside every callback.
#include "fake.h"

// What the behaviour was told, as one letter each; and what it does in a callback.
struct script {
    char log[4096];
    bool fail_start;
    void (*in_start)(struct device *d);
    void (*in_stop)(struct device *d);
    void (*in_online)(struct device *d);
    void (*in_offline)(struct device *d);
    void (*in_message)(struct device *d);
    void (*in_done)(struct device *d);
    unsigned errors, fail_runs;
    char error[512];
};

static void note(struct script *s, char c)
{
    size_t n = strlen(s->log);
    if (n + 1 < sizeof(s->log)) {
        s->log[n] = c;
        s->log[n + 1] = 0;
    }
}

static int op_start(void *arg, struct device *d, struct error *err)
{
    struct script *s = arg;
    note(s, 's');
    if (s->in_start)
        s->in_start(d);
    return s->fail_start ? error_set(err, ERR_INVALID, "no such function") : 0;
}

static void op_stop(void *arg, struct device *d)
{
    struct script *s = arg;
    note(s, 'x');
    if (s->in_stop)
        s->in_stop(d);
}

static void op_online(void *arg, struct device *d, bool session_present)
{
    struct script *s = arg;
    note(s, session_present ? 'N' : 'n');
    if (s->in_online)
        s->in_online(d);
}

static void op_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    struct script *s = arg;
    note(s, will_retry ? 'r' : why->code ? 'F' : 'f');
    if (s->in_offline)
        s->in_offline(d);
}

static void op_message(void *arg, struct device *d, const struct adapter_message *m)
{
    struct script *s = arg;
    (void)m;
    note(s, 'm');
    if (s->in_message)
        s->in_message(d);
}

static void op_done(void *arg, struct device *d, uint32_t token, int granted_qos, const struct error *err)
{
    struct script *s = arg;
    (void)token, (void)granted_qos, (void)err;
    note(s, 'd');
    if (s->in_done)
        s->in_done(d);
}

static const struct device_ops script_ops = {.start = op_start,
                                             .stop = op_stop,
                                             .online = op_online,
                                             .offline = op_offline,
                                             .message = op_message,
                                             .done = op_done};

static void on_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    struct script *s = arg;
    (void)d;
    s->errors++;
    s->fail_runs += fail_run;
    snprintf(s->error, sizeof(s->error), "%s", text);
}

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct group *group;
    struct device *d; // the first
    struct model *model;
    struct script script;
};

static void open_world(struct world *w, struct group_config *gc, const struct model *model)
{
    struct error err = {0};
    memset(w, 0, sizeof(*w));
    w->loop = fake_setup();
    struct fleet_config config = fake_fleet_config();
    config.ops = &script_ops;
    config.ops_arg = &w->script;
    config.on_device_error = on_error;
    config.on_device_error_arg = &w->script;
    w->fleet = fleet_new(&config, &err);
    assert_non_null(w->fleet);
    struct group_config dflt = fake_group_config("g", 1, model);
    w->group = fleet_add_group(w->fleet, gc ? gc : &dflt, &err);
    if (!w->group)
        fail_msg("%s", err.text);
    w->d = w->group->devices[0];
}

static void close_world(struct world *w)
{
    fleet_delete(w->fleet);
    model_delete(w->model);
    fake_teardown();
}

static void start_world(struct world *w)
{
    fleet_start(w->fleet, loop_now_us(w->loop));
    run_until(w->loop, loop_now_us(w->loop) + 2000);
}

static void turn(struct world *w)
{
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
}

static void expect(struct world *w, enum device_state state, enum conn_state conn, const char *log)
{
    if (w->d->state != state || w->d->conn_state != conn || strcmp(w->script.log, log))
        fail_msg("is %s, %s, told \"%s\"; expected %s, %s, \"%s\"", device_state_name(w->d->state),
                 conn_state_name(w->d->conn_state), w->script.log, device_state_name(state), conn_state_name(conn),
                 log);
    assert_int_equal(w->group->by_state[state] >= 1, 1);
    assert_int_equal(w->group->by_conn[conn] >= 1, 1);
}

static void connect_it(struct device *d)
{
    struct error err = {0};
    if (device_connect(d, &err))
        fail_msg("%s", err.text);
}
static void stop_it(struct device *d)
{
    device_stop(d, ADAPTER_GRACEFUL);
}
static void cut_it(struct device *d)
{
    device_stop(d, ADAPTER_ABRUPT);
}
static void restart_it(struct device *d)
{
    assert_int_equal(device_restart(d, NULL), 0);
}
static void disconnect_it(struct device *d)
{
    device_disconnect(d, ADAPTER_GRACEFUL);
}
static void finish_it(struct device *d)
{
    device_finished(d, NULL);
}
static void crash_it(struct device *d)
{
    device_finished(d, "g.lua:3: boom");
}
static void ignore_connect(struct device *d)
{
    assert_int_equal(device_connect(d, NULL), -1);
}
static void bounce(struct device *d)
{
    device_disconnect(d, ADAPTER_GRACEFUL);
    connect_it(d);
}
static void connect_and_give_up(struct device *d)
{
    connect_it(d);
    device_disconnect(d, ADAPTER_GRACEFUL);
}

static void test_model_device(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(SENSOR);
    open_world(&w, NULL, m);
    w.model = m;
    expect(&w, DEVICE_CREATED, CONN_DISCONNECTED, "");
    start_world(&w);
    expect(&w, DEVICE_STARTING, CONN_CONNECTING, "");
    fake_online(w.d->conn, false);
    expect(&w, DEVICE_RUNNING, CONN_CONNECTED, "");
    int64_t t0 = loop_now_us(w.loop);
    run_until(w.loop, t0 + 10000000);
    assert_int_equal(fake.published, 10);
    fake_offline(w.d->conn, ERR_CLOSED, true);
    expect(&w, DEVICE_RUNNING, CONN_RECONNECTING, "");
    run_until(w.loop, t0 + 20000000);
    assert_int_equal(fake.published, 10); // nothing while offline
    fake_online(w.d->conn, true);
    run_until(w.loop, loop_now_us(w.loop) + 5000000);
    assert_int_equal(fake.published, 15);
    device_stop(w.d, ADAPTER_GRACEFUL);
    assert_int_equal(w.d->state, DEVICE_STOPPING);
    turn(&w);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "");
    assert_null(w.d->conn);
    assert_null(w.d->streams);
    assert_true(fleet_idle(w.fleet));
    assert_int_equal(w.group->started, 1);
    assert_int_equal(w.group->ever_online, 1);
    close_world(&w);
}

static void test_behaviour(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL, NULL);
    w.script.in_start = connect_it;
    start_world(&w);
    expect(&w, DEVICE_RUNNING, CONN_CONNECTING, "s");
    fake_online(w.d->conn, true);
    fake_message(w.d->conn, "a/b");
    fake_done(w.d->conn, device_token(w.d));
    fake_offline(w.d->conn, ERR_CLOSED, true);
    fake_online(w.d->conn, false);
    expect(&w, DEVICE_RUNNING, CONN_CONNECTED, "sNmdrn");
    device_finished(w.d, NULL);
    expect(&w, DEVICE_STOPPING, CONN_CONNECTED, "sNmdrnx");
    device_finished(w.d, "late"); // no-op
    turn(&w);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "sNmdrnx");
    assert_int_equal(w.script.errors, 0);
    close_world(&w);
}

// The same act from inside every callback: no use after free, no open or delete inside an event, and the state it
// should end in.
static void act_in(void (*act)(struct device *d), int place, enum device_state end, const char *log)
{
    struct world w;
    open_world(&w, NULL, NULL);
    w.script.in_start = connect_it;
    start_world(&w);
    if (place == 'n')
        w.script.in_online = act;
    fake_online(w.d->conn, false);
    if (place != 'n') {
        w.script.in_message = place == 'm' ? act : NULL;
        w.script.in_done = place == 'd' ? act : NULL;
        w.script.in_offline = place == 'r' || place == 'F' ? act : NULL;
        if (place == 'm')
            fake_message(w.d->conn, "x");
        else if (place == 'd')
            fake_done(w.d->conn, 1);
        else
            fake_offline(w.d->conn, ERR_CLOSED, place == 'r');
    }
    w.script.in_offline = NULL; // once
    turn(&w);
    turn(&w);
    assert_int_equal(w.d->state, end);
    assert_string_equal(w.script.log, log);
    close_world(&w);
}

static void test_acts_inside_callbacks(void **state)
{
    (void)state;
    act_in(stop_it, 'n', DEVICE_STOPPED, "snx");
    act_in(stop_it, 'm', DEVICE_STOPPED, "snmx");
    act_in(cut_it, 'd', DEVICE_STOPPED, "sndx");
    act_in(stop_it, 'r', DEVICE_STOPPED, "snrx");
    act_in(stop_it, 'F', DEVICE_STOPPED, "snFx");
    act_in(restart_it, 'm', DEVICE_RUNNING, "snmxs");
    act_in(restart_it, 'r', DEVICE_RUNNING, "snrxs");
    act_in(restart_it, 'F', DEVICE_RUNNING, "snFxs");
    act_in(finish_it, 'm', DEVICE_STOPPED, "snmx");
    act_in(crash_it, 'm', DEVICE_ERROR, "snmx");
    act_in(crash_it, 'F', DEVICE_ERROR, "snFx");
    act_in(disconnect_it, 'm', DEVICE_RUNNING, "snmf");
    act_in(disconnect_it, 'r', DEVICE_RUNNING, "snrf");
    act_in(connect_it, 'F', DEVICE_RUNNING, "snF");
    act_in(ignore_connect, 'r', DEVICE_RUNNING, "snr");
    act_in(bounce, 'm', DEVICE_RUNNING, "snmf");
    act_in(connect_and_give_up, 'F', DEVICE_RUNNING, "snFf");
}

static void stop_in_start(struct device *d)
{
    connect_it(d);
    stop_it(d);
}

static void test_stop_inside_start_and_stop(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL, NULL);
    w.script.in_start = stop_in_start;
    w.script.in_stop = stop_it; // again, from inside
    start_world(&w);
    turn(&w);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "sx");
    w.script.in_start = NULL;
    w.script.in_stop = NULL;
    restart_it(w.d);
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "sxs");
    w.script.in_stop = restart_it; // whoever stops it, it comes back
    stop_it(w.d);
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "sxsxs");
    w.script.in_stop = NULL;
    restart_it(w.d);
    stop_it(w.d); // the later word counts
    turn(&w);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "sxsxsx");
    close_world(&w);
}

static void test_connect_errors(void **state)
{
    (void)state;
    struct world w;
    struct error err = {0};
    open_world(&w, NULL, NULL);
    assert_int_equal(device_connect(w.d, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    start_world(&w);
    struct adapter_message msg = {.topic = "t", .topic_len = 1};
    error_clear(&err);
    assert_int_equal(device_publish(w.d, &msg, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(device_subscribe(w.d, "t", 0, 0, NULL), -1);
    assert_int_equal(device_unsubscribe(w.d, "t", 0, NULL), -1);
    fake.refuse_new = true;
    assert_int_equal(device_connect(w.d, NULL), -1);
    fake.refuse_new = false;
    fake.refuse_open = true;
    error_clear(&err);
    assert_int_equal(device_connect(w.d, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "s");
    fake.refuse_open = false;
    connect_it(w.d);
    error_clear(&err);
    assert_int_equal(device_connect(w.d, &err), -1);
    assert_string_equal(err.text, "already connecting");
    fake_online(w.d->conn, false);
    assert_int_equal(device_publish(w.d, &msg, 0, NULL), 0);
    bounce(w.d); // the connection is still closing
    error_clear(&err);
    assert_int_equal(device_connect(w.d, &err), -1);
    assert_int_equal(device_publish(w.d, &msg, 0, NULL), -1);
    fake.refuse_open = true; // fails when it is opened at the end of the turn
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "snfF");
    error_clear(&err);
    assert_int_equal(device_telemetry(w.d, true, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    close_world(&w);
}

static void test_stop_before_launch(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL, NULL);
    stop_it(w.d);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "");
    start_world(&w);
    expect(&w, DEVICE_STOPPED, CONN_DISCONNECTED, "");
    assert_int_equal(w.group->started, 0);
    restart_it(w.d);
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "s");
    close_world(&w);
}

static void test_restart_before_launch(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL, NULL);
    restart_it(w.d);
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "s");
    start_world(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "s");
    close_world(&w);
}

static void test_policy_stop_and_fail(void **state)
{
    (void)state;
    for (int policy = 0; policy < 2; policy++) {
        struct world w;
        struct group_config gc = fake_group_config("g", 1, NULL);
        gc.on_error = policy ? ON_ERROR_FAIL : ON_ERROR_STOP;
        open_world(&w, &gc, NULL);
        w.script.in_start = connect_it;
        start_world(&w);
        fake_online(w.d->conn, false);
        crash_it(w.d);
        turn(&w);
        expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "snx");
        assert_int_equal(w.script.errors, 1);
        assert_int_equal(w.script.fail_runs, policy);
        assert_string_equal(w.script.error, "g.lua:3: boom");
        assert_int_equal(w.group->failed, 1);
        assert_int_equal(fake.n_conns, 0);
        assert_int_equal(fake.abrupt_deletes, 1); // no DISCONNECT
        assert_true(fleet_idle(w.fleet));
        restart_it(w.d); // by hand
        turn(&w);
        expect(&w, DEVICE_RUNNING, CONN_CONNECTING, "snxs");
        assert_int_equal(w.group->failed, 0);
        close_world(&w);
    }
}

static void test_policy_restart(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 1, NULL);
    gc.on_error = ON_ERROR_RESTART;
    gc.max_restarts = 7;
    open_world(&w, &gc, NULL);
    w.script.fail_start = true;
    fleet_start(w.fleet, 0);
    static const int64_t delays[] = {1, 2, 4, 8, 16, 30, 30};
    run_until(w.loop, 2000);
    int64_t failed_us = 0;
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(w.script.errors, i + 1);
        assert_int_equal(w.group->failed, 0);
        assert_false(fleet_idle(w.fleet));
        while (w.script.errors == i + 1 && loop_now_us(w.loop) < 200000000)
            loop_turn(w.loop, 100000000);
        int64_t waited_us = loop_now_us(w.loop) - failed_us;
        if (waited_us < delays[i] * 1000000 || waited_us > delays[i] * 1000000 + 5000)
            fail_msg("restart %u after %lld us", i + 1, (long long)waited_us);
        failed_us = loop_now_us(w.loop);
    }
    assert_int_equal(w.script.errors, 8);
    assert_int_equal(w.script.fail_runs, 0);
    assert_string_equal(w.script.error, "no such function");
    assert_int_equal(w.group->failed, 1);
    assert_true(fleet_idle(w.fleet));
    run_until(w.loop, failed_us + 100000000);
    expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "ssssssss");
    close_world(&w);
}

static void test_stop_while_waiting_for_restart(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 1, NULL);
    gc.on_error = ON_ERROR_RESTART;
    gc.max_restarts = 7;
    open_world(&w, &gc, NULL);
    start_world(&w);
    crash_it(w.d);
    assert_non_null(w.d->retry);
    stop_it(w.d);
    run_until(w.loop, 10000000);
    expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "sx");
    assert_int_equal(w.group->failed, 1);
    close_world(&w);
    // The same by the end of the run, and by deleting the fleet.
    for (int i = 0; i < 2; i++) {
        open_world(&w, &gc, NULL);
        start_world(&w);
        crash_it(w.d);
        if (i)
            fleet_stop(w.fleet, loop_now_us(w.loop) + 1000000);
        if (i)
            run_until(w.loop, 10000000);
        assert_int_equal(fleet_idle(w.fleet), i);
        close_world(&w);
    }
}

// A model-driven device has nobody to ask: an adapter that gives up is an error.
static void test_model_errors(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(SENSOR);
    open_world(&w, NULL, m);
    w.model = m;
    fake.refuse_open = true;
    start_world(&w);
    expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "");
    assert_string_equal(w.script.error, "no descriptor left");
    fake.refuse_open = false;
    restart_it(w.d);
    turn(&w);
    fake_offline(w.d->conn, ERR_REFUSED, true);
    expect(&w, DEVICE_STARTING, CONN_RECONNECTING, "");
    fake_offline(w.d->conn, ERR_REFUSED, false);
    turn(&w);
    expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "");
    assert_string_equal(w.script.error, "the peer went away");
    restart_it(w.d);
    turn(&w);
    fake_online(w.d->conn, false);
    fake.bad_topic = true;
    run_until(w.loop, loop_now_us(w.loop) + 1000000);
    expect(&w, DEVICE_ERROR, CONN_DISCONNECTED, "");
    assert_string_equal(w.script.error, "bad topic");
    fake.bad_topic = false;
    restart_it(w.d);
    turn(&w);
    fake_online(w.d->conn, false);
    disconnect_it(w.d); // asked for: not an error, even when the peer is faster
    fake_offline(w.d->conn, ERR_CLOSED, false);
    w.d->conn->closing = false;
    turn(&w);
    expect(&w, DEVICE_RUNNING, CONN_DISCONNECTED, "");
    assert_int_equal(w.script.errors, 3);
    close_world(&w);
}

static void test_telemetry_of_a_behaviour(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(
        "{" SENSOR_HEAD ",\"telemetry\":[{\"name\":\"t\",\"type\":\"number\",\"generator\":{\"type\":"
        "\"sequence\"}}],\"commands\":[{\"name\":\"open\"},{\"name\":\"shut\",\"topic\":\"v/${deviceId}/shut\"}]}");
    struct group_config gc = fake_group_config("g", 1, m);
    gc.behaviour = true;
    open_world(&w, &gc, m);
    w.model = m;
    w.script.in_start = connect_it;
    start_world(&w);
    fake_online(w.d->conn, false);
    assert_int_equal(fake.subscribes, 3); // its two commands, and BASE/command
    assert_string_equal(fake.last_filter, "v/g-1/shut");
    run_until(w.loop, loop_now_us(w.loop) + 5000000);
    assert_int_equal(fake.published, 0);
    assert_int_equal(device_telemetry(w.d, true, NULL), 0);
    assert_int_equal(device_telemetry(w.d, true, NULL), 0);
    run_until(w.loop, loop_now_us(w.loop) + 5000000);
    assert_int_equal(fake.published, 5);
    assert_int_equal(device_telemetry(w.d, false, NULL), 0);
    run_until(w.loop, loop_now_us(w.loop) + 5000000);
    assert_int_equal(fake.published, 5);
    fake_offline(w.d->conn, ERR_CLOSED, true);
    fake_online(w.d->conn, false);
    assert_int_equal(fake.subscribes, 3); // once a connection
    assert_int_equal(device_restart(w.d, NULL), 0);
    turn(&w);
    fake_online(w.d->conn, false);
    assert_int_equal(fake.subscribes, 6);
    close_world(&w);
}

static void test_identity_and_topics(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 3, NULL);
    gc.id_pattern = "dev-{index}";
    gc.client_id_pattern = "c/${deviceId}/${groupId}";
    gc.topic_base = "plant/${deviceId}";
    gc.username = "u${index}";
    gc.will_topic = "gone";
    gc.will_payload = "{\"id\":\"${deviceId}\"}";
    open_world(&w, &gc, NULL);
    struct device *d = w.group->devices[1];
    struct buf b;
    buf_create(&b, 256);
    assert_int_equal(device_name(d, &b), 0);
    assert_string_equal(buf_cstr(&b), "dev-2");
    static const struct {
        const char *topic, *full;
    } topics[] = {
        {"telemetry", "plant/dev-2/telemetry"}, {"a/b", "a/b"}, {"/a", "a"}, {"a/", "a/"}, {"", "plant/dev-2"}};
    for (unsigned i = 0; i < 5; i++) {
        buf_clear(&b);
        assert_int_equal(device_topic(d, topics[i].topic, strlen(topics[i].topic), &b), 0);
        assert_string_equal(buf_cstr(&b), topics[i].full);
    }
    struct buf small; // at the cap: an error, and nothing appended
    buf_create(&small, 16);
    assert_int_equal(device_topic(d, "telemetry", 9, &small), -1);
    assert_int_equal(small.len, 0);
    buf_destroy(&small);
    start_world(&w);
    connect_it(d);
    static const char *const fields[] = {"c/dev-2/g", "u2", "", "plant/dev-2/gone", "{\"id\":\"dev-2\"}"};
    for (int f = FIELD_CLIENT_ID; f <= FIELD_WILL_PAYLOAD; f++) {
        buf_clear(&b);
        assert_int_equal(d->conn->identity->field(d, (enum adapter_field)f, &b, NULL), 0);
        assert_string_equal(buf_cstr(&b), fields[f]);
    }
    assert_ptr_equal(fleet_find(w.fleet, d->id), d);
    assert_null(fleet_find(w.fleet, d->id + (1ull << 32)));
    assert_null(fleet_find(w.fleet, 0));
    buf_destroy(&b);
    close_world(&w);
}

static void test_tokens(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL, NULL);
    assert_int_equal(device_token(w.d), 1);
    w.d->next_token = UINT32_MAX;
    assert_int_equal(device_token(w.d), 1);
    close_world(&w);
}

static void test_footprint(void **state)
{
    (void)state;
    struct world w;
    struct model *m = model_of(SENSOR);
    open_world(&w, NULL, m);
    w.model = m;
    start_world(&w);
    assert_int_equal(m->n_streams, 1);
    assert_int_equal(m->streams[0].n_attributes, 3);
    size_t total = device_footprint(w.d), own = total - fake_footprint(w.d->conn);
    print_message("sizeof device %zu, stream %zu + 3 x %zu; a sensor of 3 attributes in one stream: %zu bytes\n",
                  sizeof(struct device), sizeof(struct device_stream), sizeof(struct gen_state), own);
    assert_true(own <= 320);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_device),
        cmocka_unit_test(test_behaviour),
        cmocka_unit_test(test_acts_inside_callbacks),
        cmocka_unit_test(test_stop_inside_start_and_stop),
        cmocka_unit_test(test_connect_errors),
        cmocka_unit_test(test_stop_before_launch),
        cmocka_unit_test(test_restart_before_launch),
        cmocka_unit_test(test_policy_stop_and_fail),
        cmocka_unit_test(test_policy_restart),
        cmocka_unit_test(test_stop_while_waiting_for_restart),
        cmocka_unit_test(test_model_errors),
        cmocka_unit_test(test_telemetry_of_a_behaviour),
        cmocka_unit_test(test_identity_and_topics),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_footprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
