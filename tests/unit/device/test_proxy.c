// Proxies on the fake adapter, with physical devices that the test plays.
#include "core/jsonx.h"
#include "device/change.h"
#include "device/internal.h"
#include "device/proxy.h"
#include "fake.h"

#define SECOND INT64_C(1000000)

#define HEAD "\"id\":\"probe\",\"name\":\"P\",\"type\":\"proxy\",\"protocol\":\"mqtt\""
#define PROBE "{" HEAD ",\"proxy\":{\"topic\":\"plant/probe-${index}/#\",\"commands\":\"plant/probe-${index}/cmd\"}}"

struct tap { // a subscription at a physical broker
    bool live;
    char url[80], filter[120];
    int qos;
    proxy_message_fn *fn;
    void *ctx;
};

struct said {
    char topic[200];
    uint8_t payload[300];
    size_t n;
    uint8_t qos;
    bool retain;
};

struct world {
    struct loop *loop;
    struct proxy_place place; // of the last one that was attached
    char place_name[100];
    struct fleet *fleet;
    struct group *group;
    struct device *d;
    struct model *model;
    struct metrics *metrics;
    struct tap taps[64];
    unsigned n_taps, live, published;
    char to[200], passed[200], to_url[80]; // the last one passed on
    bool refuse, down;
    struct said said[200];
    unsigned n_said;
    unsigned errors;
    char error[500];
    void (*on_said)(struct world *w);
};

static uint64_t subscribe(void *arg, const char *url, const char *filter, int qos, proxy_message_fn *fn, void *ctx,
                          struct error *err)
{
    struct world *w = arg;
    if (w->refuse) {
        error_set(err, ERR_UNSUPPORTED, "the scheme cannot be observed");
        return 0;
    }
    assert_true(w->n_taps < 64);
    struct tap *t = &w->taps[w->n_taps++];
    *t = (struct tap){.live = true, .qos = qos, .fn = fn, .ctx = ctx};
    snprintf(t->url, sizeof(t->url), "%s", url ? url : "run");
    snprintf(t->filter, sizeof(t->filter), "%s", filter);
    w->live++;
    return w->n_taps;
}

static void unsubscribe(void *arg, uint64_t ticket)
{
    struct world *w = arg;
    assert_in_range(ticket, 1, w->n_taps);
    assert_true(w->taps[ticket - 1].live);
    w->taps[ticket - 1].live = false;
    w->live--;
}

static int publish(void *arg, const char *url, const char *topic, const void *payload, size_t n, int qos,
                   struct error *err)
{
    struct world *w = arg;
    (void)qos;
    if (w->down)
        return error_set(err, ERR_STATE, "not connected to it");
    w->published++;
    snprintf(w->to_url, sizeof(w->to_url), "%s", url ? url : "run");
    snprintf(w->to, sizeof(w->to), "%s", topic);
    snprintf(w->passed, sizeof(w->passed), "%.*s", (int)n, (const char *)payload);
    return 0;
}

static uint64_t attach(void *arg, const struct proxy_place *place, proxy_message_fn *fn, void *ctx, struct error *err)
{
    struct world *w = arg;
    bool coap = place->via == PROXY_COAP;
    uint64_t ticket = subscribe(arg, coap ? "" : place->listen, coap ? place->url : place->path, 0, fn, ctx, err);
    w->place = *place;
    snprintf(w->place_name, sizeof(w->place_name), "%s", place->name);
    return ticket;
}

static const struct proxy_ops ops = {subscribe, unsubscribe, publish, attach};

static void keep(void *arg, struct device *d, const struct adapter_message *m)
{
    struct world *w = arg;
    (void)d;
    assert_true(w->n_said < 200 && m->payload_len <= 300);
    struct said *s = &w->said[w->n_said++];
    *s = (struct said){.n = m->payload_len, .qos = m->qos, .retain = m->retain};
    snprintf(s->topic, sizeof(s->topic), "%.*s", (int)m->topic_len, m->topic);
    if (m->payload_len)
        memcpy(s->payload, m->payload, m->payload_len);
    if (w->on_said)
        w->on_said(w);
}

static void on_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    struct world *w = arg;
    (void)d, (void)fail_run;
    w->errors++;
    snprintf(w->error, sizeof(w->error), "%s", text);
}

// proxies: JSON or NULL. -1: the group was refused, with w->error.
static int try_world(struct world *w, const char *model, uint64_t count, const char *proxies)
{
    struct error err = {0};
    memset(w, 0, sizeof(*w));
    w->loop = fake_setup();
    fake.auto_online = true;
    fake.on_publish = keep;
    fake.on_publish_arg = w;
    w->metrics = metrics_new(1000);
    struct fleet_config fc = fake_fleet_config();
    fc.env.metrics = w->metrics;
    fc.on_device_error = on_error;
    fc.on_device_error_arg = w;
    fc.proxy = &ops;
    fc.proxy_arg = w;
    fc.proxy_url = "mqtt://nowhere";
    w->fleet = fleet_new(&fc, &err);
    w->model = model ? model_of(model) : NULL;
    struct group_config gc = fake_group_config("g", count, w->model);
    gc.url = "mqtt://nowhere";
    gc.behaviour = false;
    json_t *list = proxies ? json_parse(proxies, strlen(proxies), "proxies", &err) : NULL;
    if (proxies && !list)
        fail_msg("%s", err.text);
    gc.proxies = list;
    w->group = fleet_add_group(w->fleet, &gc, &err);
    json_decref(list);
    if (!w->group) {
        snprintf(w->error, sizeof(w->error), "%s", err.text);
        return -1;
    }
    w->d = w->group->devices[0];
    fleet_start(w->fleet, 0);
    for (unsigned i = 0; i < 4; i++)
        loop_turn(w->loop, 0);
    return 0;
}

static void close_world(struct world *w)
{
    fleet_delete(w->fleet);
    assert_int_equal(w->live, 0); // whatever happened, nobody hears anything any more
    model_delete(w->model);
    metrics_delete(w->metrics);
    fake_teardown();
}

static void open_world(struct world *w, const char *model, uint64_t count, const char *proxies)
{
    if (try_world(w, model, count, proxies))
        fail_msg("%s", w->error);
}

static void turns(struct world *w)
{
    for (unsigned i = 0; i < 4; i++)
        loop_turn(w->loop, 0);
}

static void wait_us(struct world *w, int64_t us)
{
    run_until(w->loop, loop_now_us(w->loop) + us);
}

static double metric(struct world *w, const char *selector)
{
    struct metric_selector sel;
    struct metric m = {0};
    struct error err;
    fleet_report(w->fleet);
    assert_int_equal(metric_selector_parse(selector, &sel, &err), 0);
    if (metrics_select(w->metrics, &sel, &m) < 1)
        fail_msg("no metric %s", selector);
    return m.type == METRIC_GAUGE ? m.value : (double)m.count;
}

// The latest subscription to a filter.
static unsigned tap_of(const struct world *w, const char *filter)
{
    for (unsigned i = w->n_taps; i-- > 0;) {
        if (!strcmp(w->taps[i].filter, filter))
            return i;
    }
    fail_msg("nobody listens to %s", filter);
    return 0;
}

// The physical device behind a tap says something.
static void speak(struct world *w, unsigned tap, const char *topic, const void *payload, size_t n)
{
    struct tap *t = &w->taps[tap];
    assert_true(t->live);
    t->fn(t->ctx, topic, payload, n, loop_now_us(w->loop));
    turns(w);
}

static void hear(struct world *w, struct device *d, const char *topic, const char *payload)
{
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload)};
    d->conn->in_event = true;
    d->conn->events->on_message(d->conn->owner, &m);
    d->conn->in_event = false;
    turns(w);
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in: %s", part, text);
}

// --- what comes through -------------------------------------------------------------------------------------------

static void test_unchanged(void **state)
{
    struct world w;
    uint8_t bytes[256];
    (void)state;
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    open_world(&w, PROBE, 2, NULL);
    assert_int_equal(w.live, 2);
    unsigned one = tap_of(&w, "plant/probe-1/#"), two = tap_of(&w, "plant/probe-2/#");
    assert_string_equal(w.taps[0].url, "run");
    speak(&w, one, "plant/probe-1/raw/a", bytes, sizeof(bytes));
    assert_int_equal(w.n_said, 1);
    assert_string_equal(w.said[0].topic, "g/g-1/telemetry/raw/a");
    assert_int_equal(w.said[0].n, sizeof(bytes));
    assert_memory_equal(w.said[0].payload, bytes, sizeof(bytes));
    assert_int_equal(w.said[0].qos, 1);
    assert_false(w.said[0].retain);
    speak(&w, two, "plant/probe-2", "", 0); // # matches its parent too
    assert_string_equal(w.said[1].topic, "g/g-2/telemetry");
    assert_int_equal(w.said[1].n, 0);
    assert_int_equal(metric(&w, "messages_proxied{group:g,source:physical}"), 2);
    assert_int_equal(metric(&w, "devices_by_source{group:g,source:physical}"), 2);
    assert_int_equal(metric(&w, "devices_by_source{group:g,source:simulated}"), 0);
    close_world(&w);
}

static void test_matched(void **state)
{
    static const struct {
        const char *filter, *topic, *tail;
    } cases[] = {
        {"a/b", "a/b", ""}, {"a/+", "a/x", "/x"},   {"a/+/b/+", "a/x/b/y", "/x/y"}, {"+/b/#", "a/b/c/d", "/a/c/d"},
        {"a/#", "a", ""},   {"a/+/c", "a//c", "/"}, {"+/+", "/x", "//x"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        char list[200], expected[200];
        snprintf(list, sizeof(list), "[{\"topic\":\"%s\",\"broker\":\"mqtt://plant\"}]", cases[i].filter);
        open_world(&w, NULL, 1, list);
        speak(&w, 0, cases[i].topic, "x", 1);
        snprintf(expected, sizeof(expected), "g/g-1/telemetry%s", cases[i].tail);
        assert_string_equal(w.said[0].topic, expected);
        close_world(&w);
    }
}

static void test_topic_pattern(void **state)
{
    struct world w;
    (void)state;
    open_world(&w,
               "{" HEAD ",\"connection\":{\"topicPattern\":\"real/${deviceId}\",\"qos\":2},\"proxy\":{\"topic\":"
               "\"p/${index}\",\"qos\":1,\"broker\":\"mqtt://other:1884\"}}",
               1, NULL);
    assert_string_equal(w.taps[0].url, "mqtt://other:1884");
    assert_int_equal(w.taps[0].qos, 1);
    speak(&w, 0, "p/1", "x", 1);
    assert_string_equal(w.said[0].topic, "real/g-1");
    assert_int_equal(w.said[0].qos, 2);
    close_world(&w);
    open_world(&w, "{" HEAD ",\"connection\":{\"topicPattern\":\"x/${attribute}\"},\"proxy\":{\"topic\":\"p\"}}", 1,
               NULL);
    speak(&w, 0, "p", "x", 1);
    assert_string_equal(w.said[0].topic, "g/g-1/telemetry");
    close_world(&w);
}

// Those at no broker are bound by their place; what they say has the tail of a webhook's path, or none.
static void test_no_broker(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, NULL, 2, "{\"count\":2,\"source\":\"coap\",\"url\":\"coap://plant-${proxyIndex}/t?x=+\"}");
    assert_int_equal(w.live, 2);
    assert_int_equal(w.place.via, PROXY_COAP);
    assert_memory_equal(w.place_name, "g-", 2);
    unsigned one = tap_of(&w, "coap://plant-1/t?x=+");
    speak(&w, one, "", "a\0b", 3);
    assert_string_equal(w.said[0].topic, "g/g-1/telemetry");
    assert_memory_equal(w.said[0].payload, "a\0b", 3);
    device_stop(w.d, ADAPTER_GRACEFUL);
    turns(&w);
    assert_int_equal(w.live, 1);
    close_world(&w);
    open_world(&w, "{" HEAD ",\"proxy\":{\"source\":\"http\",\"path\":\"/in/${index}\",\"listen\":\"[::1]:81\"}}", 1,
               NULL);
    assert_int_equal(w.place.via, PROXY_HTTP);
    assert_string_equal(w.taps[0].url, "[::1]:81");
    speak(&w, tap_of(&w, "/in/1"), "/a/b", "x", 1);
    assert_string_equal(w.said[0].topic, "g/g-1/telemetry/a/b");
    fake_offline(w.d->conn, ERR_CLOSED, true);
    turns(&w);
    assert_false(w.taps[0].fn(w.taps[0].ctx, "", "x", 1, 0)); // its client is told so
    assert_int_equal(metric(&w, "proxy_dropped{group:g}"), 1);
    assert_int_equal(metric(&w, "messages_proxied{group:g,source:physical}"), 1);
    close_world(&w);
}

// --- groups -------------------------------------------------------------------------------------------------------

static void test_mixed(void **state)
{
    struct world w;
    (void)state;
    open_world(
        &w, SENSOR, 5,
        "[{\"topic\":\"plant/a\",\"id\":\"press-a\"},{\"topic\":\"plant/b\",\"broker\":\"mqtt://b\",\"qos\":2}]");
    assert_int_equal(w.live, 2);
    assert_string_equal(w.taps[tap_of(&w, "plant/b")].url, "mqtt://b");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(device_is_proxy(w.group->devices[i]), i >= 3);
    speak(&w, tap_of(&w, "plant/a"), "plant/a", "real", 4);
    assert_string_equal(w.said[w.n_said - 1].topic, "g/press-a/telemetry");
    speak(&w, tap_of(&w, "plant/b"), "plant/b", "real", 4);
    assert_string_equal(w.said[w.n_said - 1].topic, "g/g-5/telemetry");
    wait_us(&w, 3 * SECOND);
    unsigned simulated = 0;
    for (unsigned i = 0; i < w.n_said; i++)
        simulated += w.said[i].payload[0] == '{';
    assert_int_equal(simulated, 9); // three sensors, three seconds
    assert_int_equal(metric(&w, "devices_by_source{group:g,source:physical}"), 2);
    assert_int_equal(metric(&w, "devices_by_source{group:g,source:simulated}"), 3);
    assert_int_equal(metric(&w, "samples_generated{group:g}"), 27);
    close_world(&w);
}

static void test_counted(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, SENSOR, 4,
               "{\"count\":2,\"topic\":\"plant/${proxyIndex}/of/${index}/+\",\"id\":\"p${proxyIndex}\"}");
    assert_int_equal(w.live, 2);
    tap_of(&w, "plant/1/of/3/+");
    speak(&w, tap_of(&w, "plant/2/of/4/+"), "plant/2/of/4/t", "x", 1);
    assert_string_equal(w.said[w.n_said - 1].topic, "g/p2/telemetry/t");
    close_world(&w);
}

static void refused(const char *model, uint64_t count, const char *proxies, const char *part)
{
    struct world w;
    if (try_world(&w, model, count, proxies) == 0) {
        close_world(&w);
        fail_msg("taken: %s", proxies ? proxies : model);
    }
    expect_text(w.error, part);
    close_world(&w);
}

static void test_bad_groups(void **state)
{
    (void)state;
    refused("{" HEAD "}", 1, NULL, "nothing says which physical devices its model probe stands for");
    refused("{" HEAD "}", 3, "[{\"topic\":\"a\"}]", "proxies must be for all of its 3 devices");
    refused(SENSOR, 1, "[{\"topic\":\"a\"},{\"topic\":\"b\"}]", "proxies: 2 of them, and the group has only 1 devices");
    refused(SENSOR, 1, "[]", "expected 1 to 100000 bindings, got 0");
    refused(SENSOR, 1, "7", "proxies: expected a list of bindings");
    refused(SENSOR, 1, "[7]", "proxies[1]: expected an object such as");
    refused(SENSOR, 1, "[{}]", "proxies[1]: topic is missing");
    refused(SENSOR, 2, "[{\"topic\":\"a\"},{\"topik\":\"b\"}]",
            "proxies[2]: unknown key \"topik\"; valid: topic, broker");
    refused(SENSOR, 1, "[{\"topik\":\"b\"}]", "did you mean \"topic\"?");
    refused(SENSOR, 1, "[{\"topic\":\"a/#/b\"}]", "proxies[1]: topic: ");
    refused(SENSOR, 1, "[{\"topic\":\"$share/g/a\"}]", "a shared subscription would hear only some");
    refused(SENSOR, 1, "[{\"topic\":\"a/${indx}\"}]", "did you mean ${index}?");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"commands\":\"b/+\"}]", "proxies[1]: commands: ");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"qos\":3}]", "qos: must be 0, 1 or 2, is 3");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"broker\":\"coap://x\"}]",
            "the scheme \"coap\" cannot be observed; valid: mqtt, mqtts");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"source\":\"amqp\"}]", "source \"amqp\"; valid: mqtt, coap, http");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"source\":\"coap\"}]", "proxies[1]: topic: only with source \"mqtt\"");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"url\":\"coap://x\"}]", "url: only with source \"coap\"");
    refused(SENSOR, 1, "[{\"source\":\"coap\"}]", "proxies[1]: url is missing");
    refused(SENSOR, 1, "[{\"source\":\"coap\",\"url\":\"http://x\"}]", "url: expected a URL of scheme coap");
    refused(SENSOR, 1, "[{\"source\":\"coap\",\"url\":\"coap://x/${indx}\"}]", "did you mean ${index}?");
    refused(SENSOR, 1, "[{\"source\":\"http\",\"path\":\"a\"}]", "path: expected one that begins with /");
    refused(SENSOR, 1, "[{\"source\":\"http\",\"listen\":\"8080\"}]", "listen: expected an address and a port");
    refused(SENSOR, 1, "[{\"source\":\"webhook\",\"commands\":\"a\"}]", "commands: only with source \"mqtt\"");
    refused(SENSOR, 1, "[{\"topic\":\"a\",\"silent_after\":0}]", "silentAfterMs: must be at least 1");
    refused(SENSOR, 2, "[{\"topic\":\"a\",\"id\":\"x\"},{\"topic\":\"a\",\"id\":\"x\"}]",
            "is that of proxies[1] already");
    refused(SENSOR, 2, "{\"count\":2,\"topic\":\"a\",\"id\":\"x\"}", "must contain ${proxyIndex}");
    refused(SENSOR, 2, "{\"topic\":\"a\"}", "count: expected how many devices");
    refused("{\"id\":\"g\",\"name\":\"G\",\"type\":\"gateway\",\"protocol\":\"mqtt\"}", 1, "[{\"topic\":\"a\"}]",
            "is a gateway; give proxies a group of their own");
}

static void bad_model(const char *proxy, const char *part)
{
    char text[600];
    struct error err = {0};
    snprintf(text, sizeof(text), "{" HEAD ",\"proxy\":%s}", proxy);
    struct model *m = model_parse(text, strlen(text), "test.json", NULL, &err);
    model_delete(m);
    assert_null(m);
    expect_text(err.text, "test.json: /proxy: ");
    expect_text(err.text, part);
}

static void test_bad_models(void **state)
{
    struct error err = {0};
    (void)state;
    bad_model("3", "expected an object");
    bad_model("{}", "topic is missing");
    bad_model("{\"topic\":\"a\",\"id\":\"x\"}", "unknown key \"id\"");
    bad_model("{\"topic\":\"a\",\"broker\":\"\"}", "expected a URL");
    bad_model("{\"topic\":7}", "topic: expected a string");
    bad_model("{\"topic\":\"a\",\"source\":\"http\"}", "topic: only with source \"mqtt\"");
    const char *sensor = "{" SENSOR_HEAD ",\"proxy\":{\"topic\":\"a\"}}";
    assert_null(model_parse(sensor, strlen(sensor), "test.json", NULL, &err));
    expect_text(err.text, "/proxy: only a proxy has this");
}

// A proxy that heard itself would never stop.
static void test_circles(void **state)
{
    static const char *const circles[] = {
        "[{\"topic\":\"#\"}]",
        "[{\"topic\":\"g/+/telemetry\"}]",
        "[{\"topic\":\"g/g-1/#\"}]",
        "[{\"topic\":\"+/+/+/+\"}]",
        "[{\"topic\":\"g/g-1/telemetry\",\"broker\":\"mqtt://nowhere\"}]",
        "[{\"topic\":\"a\",\"commands\":\"g/g-1/command\"}]",
        "[{\"topic\":\"a\",\"commands\":\"g/g-1/commands/x\"}]",
    };
    struct world w;
    (void)state;
    for (unsigned i = 0; i < sizeof(circles) / sizeof(circles[0]); i++) {
        open_world(&w, NULL, 1, circles[i]);
        assert_int_equal(w.d->state, DEVICE_ERROR);
        expect_text(w.error, i < 5 ? "it would hear itself" : "would be passed on to itself");
        close_world(&w);
    }
    open_world(&w, NULL, 1, "[{\"topic\":\"#\",\"broker\":\"mqtt://elsewhere\"}]"); // another broker: no circle
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    close_world(&w);
}

// --- commands -----------------------------------------------------------------------------------------------------

static void test_commands(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, PROBE, 1, NULL);
    assert_int_equal(fake.subscribes, 2);
    hear(&w, w.d, "g/g-1/command", "{\"any\":\x01 thing");
    assert_string_equal(w.to, "plant/probe-1/cmd");
    assert_string_equal(w.passed, "{\"any\":\x01 thing");
    assert_string_equal(w.to_url, "run");
    hear(&w, w.d, "g/g-1/commands/open", "now");
    assert_string_equal(w.to, "plant/probe-1/cmd/open");
    assert_int_equal(w.published, 2);
    hear(&w, w.d, "g/g-1/commands/open/x", "now");
    hear(&w, w.d, "g/g-1/commandsx", "now");
    hear(&w, w.d, "g/g-2/command", "now");
    assert_int_equal(w.published, 2);
    // The filter takes the command in: it is no telemetry.
    speak(&w, 0, "plant/probe-1/cmd", "x", 1);
    speak(&w, 0, "plant/probe-1/cmd/open", "x", 1);
    assert_int_equal(w.n_said, 0);
    speak(&w, 0, "plant/probe-1/cmdx", "x", 1);
    assert_int_equal(w.n_said, 1);
    w.down = true;
    hear(&w, w.d, "g/g-1/commands/open", "now");
    assert_string_equal(w.said[1].topic, "g/g-1/response");
    expect_text((char *)w.said[1].payload, "\"command\":\"open\",\"error\":\"it could not be passed on to the physical "
                                           "device: not connected to it\",\"code\":\"handler\"");
    assert_int_equal(metric(&w, "proxy_commands{group:g}"), 2);
    close_world(&w);
}

// Commands that the model declares are the physical device's business too.
static void test_declared_commands(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "{" HEAD ",\"commands\":[{\"name\":\"open\"}],\"proxy\":{\"topic\":\"p\"}}", 1, NULL);
    hear(&w, w.d, "g/g-1/commands/open", "{}");
    assert_int_equal(w.n_said, 0); // nobody acknowledges what nobody did
    close_world(&w);
}

// --- life ---------------------------------------------------------------------------------------------------------

static void test_life(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, PROBE, 1, NULL);
    device_stop(w.d, ADAPTER_GRACEFUL);
    turns(&w);
    assert_int_equal(w.live, 0);
    assert_int_equal(device_restart(w.d, NULL), 0);
    turns(&w);
    turns(&w);
    assert_int_equal(w.live, 1); // bound anew
    assert_int_equal(w.n_taps, 2);
    // A lost connection leaves it bound; what is said meanwhile is lost, and counted.
    fake_offline(w.d->conn, ERR_CLOSED, true);
    turns(&w);
    assert_int_equal(w.live, 1);
    speak(&w, 1, "plant/probe-1/t", "x", 1);
    assert_int_equal(w.n_said, 0);
    assert_int_equal(metric(&w, "proxy_dropped{group:g}"), 1);
    fake_online(w.d->conn, false);
    turns(&w);
    assert_int_equal(w.n_taps, 2);
    speak(&w, 1, "plant/probe-1/t", "x", 1);
    assert_int_equal(w.n_said, 1);
    assert_true(device_footprint(w.d) < 700);
    device_destroy(w.d);
    turns(&w);
    assert_int_equal(w.live, 0);
    close_world(&w);
}

static void stop_inside(struct world *w)
{
    device_stop(w->d, ADAPTER_ABRUPT);
}

static void test_stop_inside(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, PROBE, 1, NULL);
    w.on_said = stop_inside;
    speak(&w, 0, "plant/probe-1/t", "x", 1);
    assert_int_equal(w.d->state, DEVICE_STOPPED);
    assert_int_equal(w.live, 0);
    close_world(&w);
}

static void test_refused_source(void **state)
{
    struct world w;
    (void)state;
    if (try_world(&w, PROBE, 1, NULL))
        fail_msg("%s", w.error);
    w.refuse = true;
    assert_int_equal(device_restart(w.d, NULL), 0);
    turns(&w);
    turns(&w);
    assert_int_equal(w.d->state, DEVICE_ERROR);
    expect_text(w.error, "cannot be observed");
    close_world(&w);
}

static void test_silent(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, NULL, 2, "{\"count\":2,\"topic\":\"p/${index}\",\"silent_after\":10000000}");
    assert_int_equal(metric(&w, "proxies_silent{group:g}"), 0);
    wait_us(&w, 9 * SECOND);
    speak(&w, tap_of(&w, "p/1"), "p/1", "x", 1);
    wait_us(&w, 2 * SECOND);
    assert_int_equal(metric(&w, "proxies_silent{group:g}"), 1);
    speak(&w, tap_of(&w, "p/2"), "p/2", "x", 1);
    assert_int_equal(metric(&w, "proxies_silent{group:g}"), 0);
    wait_us(&w, 20 * SECOND);
    assert_int_equal(metric(&w, "proxies_silent{group:g}"), 2);
    close_world(&w);
}

static void answered(void *arg, const json_t *answer, const struct error *err)
{
    (void)answer;
    if (err)
        snprintf(arg, 500, "%s", err->text);
}

static void change(struct world *w, const char *text)
{
    struct error err = {0};
    json_t *c = json_parse(text, strlen(text), "change", &err);
    w->error[0] = '\0';
    if (fleet_change(w->fleet, c, answered, w->error, &err))
        snprintf(w->error, sizeof(w->error), "%s", err.text);
    json_decref(c);
    wait_us(w, SECOND / 10);
}

// Simulated devices change; the real ones are what they are.
static void test_changes(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, SENSOR, 2, "[{\"topic\":\"p\"}]");
    change(&w, "{\"op\":\"interval\",\"group\":\"g\",\"attribute\":null,\"interval_ms\":500}");
    assert_string_equal(w.error, "");
    wait_us(&w, 3 * SECOND);
    for (unsigned i = 0; i < w.n_said; i++)
        assert_string_equal(w.said[i].topic, "g/g-1/telemetry");
    change(&w, "{\"op\":\"scale\",\"group\":\"g\",\"count\":4}"); // those that come are simulated
    turns(&w);
    assert_int_equal(w.live, 1);
    change(&w, "{\"op\":\"scale\",\"group\":\"g\",\"count\":1}");
    assert_int_equal(w.live, 0);
    close_world(&w);
    open_world(&w, PROBE, 1, NULL);
    change(&w, "{\"op\":\"model\",\"group\":\"g\",\"path\":\"test.json\",\"text\":\"{\\\"id\\\":\\\"p\\\",\\\"name\\\":"
               "\\\"P\\\",\\\"type\\\":\\\"proxy\\\",\\\"protocol\\\":\\\"mqtt\\\",\\\"proxy\\\":{\\\"topic\\\":"
               "\\\"q\\\"}}\"}");
    expect_text(w.error, "its proxy cannot change while the group runs");
    change(&w, "{\"op\":\"scale\",\"group\":\"g\",\"count\":3}");
    turns(&w);
    assert_int_equal(w.live, 3);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unchanged),      cmocka_unit_test(test_matched),
        cmocka_unit_test(test_topic_pattern),  cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_counted),        cmocka_unit_test(test_bad_groups),
        cmocka_unit_test(test_bad_models),     cmocka_unit_test(test_circles),
        cmocka_unit_test(test_commands),       cmocka_unit_test(test_declared_commands),
        cmocka_unit_test(test_life),           cmocka_unit_test(test_stop_inside),
        cmocka_unit_test(test_refused_source), cmocka_unit_test(test_silent),
        cmocka_unit_test(test_changes),        cmocka_unit_test(test_no_broker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
