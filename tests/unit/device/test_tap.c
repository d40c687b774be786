// A tap hears what devices say and what happens to them, and may refuse.
#include "fake_serve.h"
#include "device/tap.h"

struct heard {
    unsigned sent, received, events, online, started, stopped;
    char last[64];
    int64_t latency_us;
    bool refuses;
};

static int refuse(void *arg, const struct device *d, struct error *err)
{
    struct heard *h = arg;
    (void)d;
    return h->refuses ? error_set(err, ERR_LIMIT, "full") : 0;
}

static void sent(void *arg, const struct device *d, const struct adapter_message *m, bool forwarded)
{
    struct heard *h = arg;
    assert_int_equal(d->index, 1);
    assert_false(forwarded);
    h->sent++;
    snprintf(h->last, sizeof(h->last), "%.*s %.*s", (int)m->topic_len, m->topic, (int)m->payload_len,
             (const char *)m->payload);
}

static void received(void *arg, const struct device *d, const struct adapter_message *m)
{
    (void)d, (void)m;
    ((struct heard *)arg)->received++;
}

static void event(void *arg, const struct device *d, const char *kind, const char *detail, int64_t latency_us)
{
    struct heard *h = arg;
    (void)d;
    assert_non_null(detail);
    h->events++;
    h->started += !strcmp(kind, "started");
    h->stopped += !strcmp(kind, "stopped");
    if (strcmp(kind, "online") == 0) {
        h->online++;
        h->latency_us = latency_us;
    } else {
        assert_int_equal(latency_us, -1);
    }
}

static int start(void *arg, struct device *d, struct error *err)
{
    (void)arg;
    return device_connect(d, err);
}

static void nothing(void *arg, struct device *d)
{
    (void)arg, (void)d;
}

static void online(void *arg, struct device *d, bool session)
{
    (void)arg, (void)d, (void)session;
}

static void offline(void *arg, struct device *d, const struct error *why, bool retry)
{
    (void)arg, (void)d, (void)why, (void)retry;
}

static void message(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)arg, (void)d, (void)m;
}

static void it_hears_everything(void **state)
{
    static const struct device_ops ops = {
        .start = start, .stop = nothing, .online = online, .offline = offline, .message = message};
    struct heard h = {0};
    const struct device_tap tap = {.arg = &h, .refuse = refuse, .sent = sent, .received = received, .event = event};
    struct error err;
    (void)state;
    struct loop *loop = fake_setup();
    fake.auto_online = true;
    struct fleet_config config = fs_fleet_config();
    config.ops = &ops;
    config.tap = &tap;
    struct fleet *fleet = fleet_new(&config, &err);
    assert_non_null(fleet);
    struct group_config g = fake_group_config("g", 1, NULL);
    g.behaviour = true;
    struct group *group = fleet_add_group(fleet, &g, &err);
    if (!group)
        fail_msg("%s", err.text);
    fleet_start(fleet, loop_now_us(loop));
    run_until(loop, loop_now_us(loop) + 10000);
    struct device *d = group->devices[0];
    assert_true(device_online(d));
    assert_int_equal(h.online, 1);
    assert_int_equal(h.started, 1);
    assert_true(h.latency_us >= 0);
    struct adapter_message m = {.topic = "a/b", .topic_len = 3, .payload = (const uint8_t *)"x", .payload_len = 1};
    assert_int_equal(device_publish(d, &m, 0, &err), 0);
    assert_int_equal(h.sent, 1);
    assert_string_equal(h.last, "a/b x");
    h.refuses = true;
    assert_int_equal(device_publish(d, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(h.sent, 1);
    assert_int_equal(fake.published, 1);
    h.refuses = false;
    fake_message(d->conn, "a/c");
    assert_int_equal(h.received, 1);
    device_stop(d, ADAPTER_GRACEFUL);
    run_until(loop, loop_now_us(loop) + 10000);
    assert_int_equal(h.stopped, 1);
    fleet_delete(fleet);
    fake_teardown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_hears_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
