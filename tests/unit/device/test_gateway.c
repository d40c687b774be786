// Gateways on the fake adapter: what their children say and hear, what waits and what goes, and calls from everywhere.
#include "core/jsonx.h"
#include "device/change.h"
#include "device/gateway.h"
#include "device/internal.h"
#include "fake.h"

#define SECOND INT64_C(1000000)
#define MAX_SAID 20000

#define VALVE                                                                                                          \
    "{\"id\":\"valve\",\"name\":\"V\",\"type\":\"actuator\",\"protocol\":\"mqtt\",\"connection\":{\"qos\":0},"         \
    "\"telemetry\":[{\"name\":\"position\",\"type\":\"integer\",\"intervalMs\":1000,"                                  \
    "\"generator\":{\"type\":\"constant\",\"value\":0}}],"                                                             \
    "\"commands\":[{\"name\":\"set\",\"parameters\":[{\"name\":\"position\",\"type\":\"integer\",\"required\":true,"   \
    "\"min\":0,\"max\":100}]},{\"name\":\"far\",\"topic\":\"plant/${deviceId}/far\"}],"                                \
    "\"behaviors\":[{\"name\":\"move\",\"trigger\":{\"type\":\"event\",\"event\":\"command:set\"},"                    \
    "\"action\":{\"type\":\"setState\",\"state\":{\"position\":\"${position}\"}}}]}"
#define PROBE                                                                                                          \
    "{\"id\":\"probe\",\"name\":\"P\",\"type\":\"sensor\",\"protocol\":\"coap\",\"telemetry\":["                       \
    "{\"name\":\"t\",\"type\":\"number\",\"generator\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}]}"
#define HEAD "\"id\":\"gw\",\"name\":\"G\",\"type\":\"gateway\",\"protocol\":\"mqtt\""
#define UPTIME                                                                                                         \
    "\"telemetry\":[{\"name\":\"up\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\"},"                      \
    "\"intervalMs\":10000}],"
#define CHILDREN                                                                                                       \
    "\"children\":[{\"model\":" PROBE ",\"count\":2},{\"model\":" VALVE ",\"idPattern\":\"v-${index}-${childIndex}\"," \
    "\"topicPattern\":\"plant/${groupId}/${deviceId}/${childId}/${childIndex}\"}]"
#define FORWARD "{" HEAD "," UPTIME CHILDREN "}"
#define BATCH(more) "{" HEAD "," CHILDREN ",\"aggregation\":{\"mode\":\"batch\"" more "}}"

struct said {
    uint64_t device; // index of the one whose connection it is
    char *topic, *payload;
    size_t n;
    uint8_t qos;
};

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct group *group;
    struct device *d;
    struct model *model;
    struct metrics *metrics;
    struct said *said;
    unsigned n_said;
    unsigned errors;
    char error[500];
    void (*on_said)(struct world *w, const struct said *s);
};

static void keep(void *arg, struct device *d, const struct adapter_message *m)
{
    struct world *w = arg;
    assert_true(w->n_said < MAX_SAID);
    struct said *s = &w->said[w->n_said++];
    assert_null(d->group->behind); // only gateways have a connection
    *s = (struct said){.device = d->index,
                       .topic = strndup(m->topic, m->topic_len),
                       .payload = malloc(m->payload_len + 1),
                       .n = m->payload_len,
                       .qos = m->qos};
    if (m->payload_len)
        memcpy(s->payload, m->payload, m->payload_len);
    s->payload[s->n] = '\0';
    if (w->on_said)
        w->on_said(w, s);
}

static void on_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    struct world *w = arg;
    (void)d, (void)fail_run;
    w->errors++;
    snprintf(w->error, sizeof(w->error), "%s", text);
}

struct plan {
    const char *model;
    uint64_t count;
    struct ownership owner;
};

static void open_world(struct world *w, const struct plan *plan)
{
    struct error err = {0};
    memset(w, 0, sizeof(*w));
    w->said = calloc(MAX_SAID, sizeof(*w->said));
    w->loop = fake_setup();
    fake.auto_online = true;
    fake.on_publish = keep;
    fake.on_publish_arg = w;
    w->metrics = metrics_new(1000);
    struct fleet_config fc = fake_fleet_config();
    fc.env.metrics = w->metrics;
    fc.on_device_error = on_error;
    fc.on_device_error_arg = w;
    if (plan->owner.shards)
        fc.owner = plan->owner;
    w->fleet = fleet_new(&fc, &err);
    w->model = model_of(plan->model);
    struct group_config gc = fake_group_config("g", plan->count ? plan->count : 1, w->model);
    w->group = fleet_add_group(w->fleet, &gc, &err);
    if (!w->group)
        fail_msg("%s", err.text);
    w->d = w->group->devices[0];
    fleet_start(w->fleet, 0);
    for (unsigned i = 0; i < 4; i++)
        loop_turn(w->loop, 0);
}

static void open_model(struct world *w, const char *model)
{
    struct plan plan = {.model = model};
    open_world(w, &plan);
}

static void close_world(struct world *w)
{
    fleet_delete(w->fleet);
    model_delete(w->model);
    metrics_delete(w->metrics);
    for (unsigned i = 0; i < w->n_said; i++) {
        free(w->said[i].topic);
        free(w->said[i].payload);
    }
    free(w->said);
    fake_teardown();
}

static void wait_us(struct world *w, int64_t us)
{
    run_until(w->loop, loop_now_us(w->loop) + us);
}

static void turns(struct world *w)
{
    for (unsigned i = 0; i < 4; i++)
        loop_turn(w->loop, 0);
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

static unsigned count(const struct world *w, const char *topic)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->n_said; i++)
        n += !strcmp(w->said[i].topic, topic);
    return n;
}

static const char *last(const struct world *w, const char *topic)
{
    for (unsigned i = w->n_said; i-- > 0;) {
        if (!strcmp(w->said[i].topic, topic))
            return w->said[i].payload;
    }
    fail_msg("nothing on %s", topic);
    return NULL;
}

static void hear(struct world *w, const char *topic, const char *payload)
{
    struct adapter_conn *c = w->d->conn;
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload)};
    c->in_event = true;
    c->events->on_message(c->owner, &m);
    c->in_event = false;
    turns(w);
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in: %s", part, text);
}

// --- what a model says --------------------------------------------------------------------------------------------

static void bad_model(const char *text, const char *part)
{
    struct error err = {0};
    struct model *m = model_parse(text, strlen(text), "dir/test.json", NULL, &err);
    if (m) {
        model_delete(m);
        fail_msg("taken: %s", text);
    }
    expect_text(err.text, part);
}

#define BAD(children) "{" HEAD ",\"children\":" children "}"

static void test_bad_models(void **state)
{
    (void)state;
    bad_model(BAD("[{\"model\":\"probe\"}]"), "/children/0/model: \"probe\" was not resolved");
    bad_model(BAD("[{}]"), "/children/0/model: \"model\" is missing");
    bad_model(BAD("[3]"), "/children/0: expected an object");
    bad_model(BAD("{}"), "/children: expected an array");
    bad_model(BAD("[{\"model\":" PROBE ",\"count\":0}]"), "/children/0/count: must be 1..65536, is 0");
    bad_model(BAD("[{\"model\":" PROBE ",\"count\":65537}]"), "/children/0/count: must be 1..65536");
    bad_model(BAD("[{\"model\":" PROBE ",\"count\":65536},{\"model\":" PROBE "}]"), "more than 65536 children");
    bad_model(BAD("[{\"model\":" PROBE ",\"count\":2,\"idPattern\":\"${deviceId}-x\"}]"),
              "/children/0/idPattern: \"${deviceId}-x\" must contain ${childIndex}");
    bad_model(BAD("[{\"model\":" PROBE ",\"idPattern\":\"x\"},{\"model\":" PROBE ",\"idPattern\":\"x\"}]"),
              "two children have the id \"x\"");
    bad_model(BAD("[{\"model\":" PROBE ",\"idPattern\":\"a/b\"}]"), "one level of a topic");
    bad_model(BAD("[{\"model\":" PROBE ",\"idPattern\":\"\"}]"), "one level of a topic");
    bad_model(BAD("[{\"model\":" PROBE ",\"idPattern\":\"{childId}\"}]"), "cannot contain ${childId}");
    bad_model(BAD("[{\"model\":" PROBE ",\"idPattern\":\"${childIndx}\"}]"), "did you mean ${childIndex}?");
    bad_model(BAD("[{\"model\":" PROBE ",\"topicPattern\":\"a/#\"}]"), "/children/0/topicPattern: \"a/#\" is no topic");
    bad_model(BAD("[{\"model\":" PROBE ",\"topicPattern\":\"${childid}\"}]"), "did you mean ${childId}?");
    bad_model(BAD("[{\"model\":{" HEAD "}}]"), "/children/0/model: /type: gw is a gateway; a child is");
    bad_model(BAD("[{\"model\":{\"id\":\"x\"}}]"), "dir/test.json: /children/0/model: /: \"name\" is missing");
    bad_model("{" HEAD ",\"aggregation\":{\"mode\":\"bath\"}}", "/aggregation/mode: unknown value \"bath\"; valid");
    bad_model("{" HEAD ",\"aggregation\":{\"intervalMs\":99}}", "/aggregation/intervalMs: must be 100..");
    bad_model("{" HEAD ",\"aggregation\":{\"maxMessages\":0}}", "/aggregation/maxMessages: must be 1..65536");
    bad_model("{" HEAD ",\"aggregation\":{\"topic\":\"a/+\"}}", "/aggregation/topic");
    bad_model("{" HEAD ",\"aggregation\":{\"topic\":\"${childId}\"}}", "unknown placeholder ${childId}");
    bad_model("{" SENSOR_HEAD ",\"children\":[]}", "/children: only a gateway has this");
    bad_model("{" SENSOR_HEAD ",\"aggregation\":{}}", "/aggregation: only a gateway has this");
}

// A gateway without children is a device like any other.
static void test_no_children(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, "{" HEAD "," UPTIME "\"children\":[]}");
    wait_us(&w, 20 * SECOND);
    assert_int_equal(count(&w, "g/g-1/telemetry"), 2);
    assert_int_equal(gateway_children(w.d), 0);
    assert_null(gateway_child(w.d, 1));
    close_world(&w);
}

// --- forward ------------------------------------------------------------------------------------------------------

static void test_forward(void **state)
{
    struct world w;
    struct buf name;
    (void)state;
    open_model(&w, FORWARD);
    assert_int_equal(w.group->by_state[DEVICE_RUNNING], 1); // children are no devices of the group
    assert_int_equal(gateway_children(w.d), 3);
    assert_int_equal(metric(&w, "children{group:g}"), 3);
    buf_create(&name, 100);
    assert_int_equal(device_name(gateway_child(w.d, 2), &name), 0);
    assert_string_equal(buf_cstr(&name), "g-1-2");
    buf_destroy(&name);
    assert_ptr_equal(gateway_find(w.d, "v-1-3", 5), gateway_child(w.d, 3));
    assert_null(gateway_find(w.d, "v-1-4", 5));
    wait_us(&w, 10 * SECOND);
    assert_int_equal(count(&w, "g/g-1/telemetry"), 1); // its own goes on beside
    assert_int_equal(count(&w, "g/g-1/g-1-1/telemetry"), 10);
    assert_int_equal(count(&w, "g/g-1/g-1-2/telemetry"), 10);
    assert_int_equal(count(&w, "plant/g/g-1/v-1-3/3"), 10);
    assert_string_not_equal(last(&w, "g/g-1/g-1-1/telemetry"), last(&w, "g/g-1/g-1-2/telemetry"));
    assert_int_equal(metric(&w, "children_messages{group:g}"), 30);
    assert_int_equal(metric(&w, "samples_generated{group:g}"), 31);
    assert_int_equal(fake.n_conns, 1);
    close_world(&w);
}

// Each message goes with the QoS of the child's model.
static void test_qos(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, FORWARD);
    wait_us(&w, 2 * SECOND);
    for (unsigned i = 0; i < w.n_said; i++)
        assert_int_equal(w.said[i].qos, strstr(w.said[i].topic, "/v-") ? 0 : 1);
    close_world(&w);
}

static void test_offline(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, FORWARD);
    wait_us(&w, 2 * SECOND);
    unsigned before = w.n_said;
    fake_offline(w.d->conn, ERR_CLOSED, true);
    turns(&w);
    assert_int_equal(gateway_child(w.d, 1)->conn_state, CONN_RECONNECTING);
    assert_int_equal(gateway_child(w.d, 1)->state, DEVICE_RUNNING);
    wait_us(&w, 5 * SECOND);
    assert_int_equal(w.n_said, before);
    fake_online(w.d->conn, false);
    turns(&w);
    assert_int_equal(gateway_child(w.d, 1)->conn_state, CONN_CONNECTED);
    wait_us(&w, 3 * SECOND);
    assert_true(w.n_said >= before + 9);
    // Lost and back within one turn: children are told both, or nothing.
    fake_offline(w.d->conn, ERR_CLOSED, true);
    fake_online(w.d->conn, false);
    turns(&w);
    assert_int_equal(gateway_child(w.d, 3)->conn_state, CONN_CONNECTED);
    assert_int_equal(w.errors, 0);
    close_world(&w);
}

// The same gateway says the same, whatever else lives in its process.
static char *everything(const struct plan *plan, uint64_t index)
{
    struct world w;
    struct buf all;
    open_world(&w, plan);
    wait_us(&w, 5 * SECOND);
    buf_create(&all, 1 << 20);
    for (unsigned i = 0; i < w.n_said; i++) {
        char *stamp = strstr(w.said[i].payload, ",\"timestamp\"");
        if (stamp)
            *stamp = '\0';
        if (w.said[i].device == index)
            assert_int_equal(buf_printf(&all, "%s %s\n", w.said[i].topic, w.said[i].payload), 0);
    }
    char *text = strdup(buf_cstr(&all));
    buf_destroy(&all);
    close_world(&w);
    return text;
}

static void test_shards(void **state)
{
    struct plan one = {FORWARD, 4, {0, 1, 0, 1}}, two = {FORWARD, 4, {0, 1, 1, 2}};
    (void)state;
    char *a = everything(&one, 4), *b = everything(&two, 4);
    assert_string_equal(a, b);
    assert_non_null(strstr(a, "g/g-4/g-4-1/telemetry"));
    free(a);
    free(b);
}

// --- batches ------------------------------------------------------------------------------------------------------

static json_t *batch_of(const struct said *s)
{
    struct error err = {0};
    json_t *list = json_parse(s->payload, s->n, "batch", &err);
    if (!json_is_array(list))
        fail_msg("%s: %s", err.text, s->payload);
    return list;
}

static unsigned batched(const struct world *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->n_said; i++) {
        if (strcmp(w->said[i].topic, "g/g-1/batch") != 0)
            continue;
        json_t *list = batch_of(&w->said[i]);
        n += (unsigned)json_array_size(list);
        json_decref(list);
    }
    return n;
}

static void test_batch(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, BATCH(",\"intervalMs\":2000"));
    wait_us(&w, 20 * SECOND);
    assert_int_equal(count(&w, "g/g-1/batch"), w.n_said); // and nothing else
    assert_in_range(w.n_said, 8, 10);
    assert_in_range(batched(&w), 53, 60);
    json_t *list = batch_of(&w.said[1]);
    bool valve = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(e, "device"));
        assert_non_null(id);
        assert_true(json_is_object(json_object_get(e, "payload")));
        assert_in_range(json_integer_value(json_object_get(e, "at")), 1700000000000, 1700000020000);
        assert_null(json_object_get(e, "encoding"));
        if (strcmp(id, "v-1-3") != 0)
            continue;
        valve = true;
        assert_string_equal(json_string_value(json_object_get(e, "topic")), "plant/g/g-1/v-1-3/3");
    }
    assert_true(valve);
    json_decref(list);
    assert_int_equal(metric(&w, "gateway_batches{group:g}"), w.n_said);
    assert_int_equal(metric(&w, "gateway_dropped{group:g}"), 0);
    close_world(&w);
}

static void test_full_batch(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, BATCH(",\"intervalMs\":60000,\"maxMessages\":4"));
    wait_us(&w, 10 * SECOND);
    assert_int_equal(w.n_said, 7); // of 30
    for (unsigned i = 0; i < w.n_said; i++) {
        json_t *list = batch_of(&w.said[i]);
        assert_int_equal(json_array_size(list), 4);
        json_decref(list);
    }
    // What waits goes out when the gateway stops.
    device_stop(w.d, ADAPTER_GRACEFUL);
    turns(&w);
    assert_int_equal(batched(&w), 30);
    assert_int_equal(metric(&w, "gateway_dropped{group:g}"), 0);
    close_world(&w);
}

static void test_store_and_forward(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, BATCH(",\"intervalMs\":2000"));
    wait_us(&w, 4 * SECOND);
    fake_offline(w.d->conn, ERR_CLOSED, true);
    unsigned before = w.n_said;
    assert_int_equal(gateway_child(w.d, 1)->conn_state, CONN_CONNECTED); // to its gateway
    wait_us(&w, 100 * SECOND);
    assert_int_equal(w.n_said, before);
    fake_online(w.d->conn, false);
    turns(&w);
    assert_true(w.n_said >= before + 3); // of 100 messages each
    wait_us(&w, 2 * SECOND);
    assert_in_range(batched(&w), 306, 318); // none was lost
    assert_int_equal(metric(&w, "gateway_dropped{group:g}"), 0);
    close_world(&w);
}

// Beyond the cap the oldest goes, the newest stays, and the buffer does not grow for ever.
static void test_overflow(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, BATCH(",\"intervalMs\":2000,\"maxMessages\":65536"));
    wait_us(&w, 2 * SECOND);
    fake_offline(w.d->conn, ERR_CLOSED, true);
    wait_us(&w, 5000 * SECOND);
    size_t memory = device_footprint(w.d);
    assert_true(memory < 3 * GATEWAY_MAX_PENDING);
    wait_us(&w, 5000 * SECOND);
    assert_true(device_footprint(w.d) <= 2 * GATEWAY_MAX_PENDING + 4096);
    unsigned made = (unsigned)metric(&w, "children_messages{group:g}");
    unsigned dropped = (unsigned)metric(&w, "gateway_dropped{group:g}");
    assert_true(dropped > 1000);
    fake_online(w.d->conn, false);
    turns(&w);
    struct said *s = &w.said[w.n_said - 1];
    assert_true(s->n <= GATEWAY_MAX_PENDING);
    assert_true(s->n > GATEWAY_MAX_PENDING * 9 / 10);
    json_t *list = batch_of(s);
    const json_t *oldest = json_array_get(list, 0), *newest = json_array_get(list, json_array_size(list) - 1);
    assert_true(json_integer_value(json_object_get(oldest, "at")) > 1700008000000);
    assert_in_range(json_integer_value(json_object_get(newest, "at")), 1700010000000, 1700010003000);
    json_decref(list);
    assert_int_equal(made, batched(&w) + dropped);
    close_world(&w);
}

// What is no JSON, and what is no text.
static void test_payloads(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, "{" HEAD ",\"children\":[{\"model\":{" SENSOR_HEAD
                   ",\"payload\":\"say \\\"${a}\\\"\",\"telemetry\":[{\"name\":\"a\",\"type\":\"string\",\"generator\":"
                   "{\"type\":\"constant\",\"value\":\"x\"}}]},\"idPattern\":\"text\"},{\"model\":{" SENSOR_HEAD
                   ",\"telemetry\":[{\"name\":\"b\",\"type\":\"binary\",\"samples\":3,\"generator\":"
                   "{\"type\":\"constant\",\"value\":255}}]},\"idPattern\":\"bytes\"}],"
                   "\"aggregation\":{\"mode\":\"batch\",\"intervalMs\":1000,\"topic\":\"up/${deviceId}\"}}");
    wait_us(&w, 10 * SECOND);
    unsigned texts = 0, bytes = 0;
    for (unsigned i = 0; i < w.n_said; i++) {
        assert_string_equal(w.said[i].topic, "up/g-1");
        texts += strstr(w.said[i].payload, "\"device\":\"text\"") &&
                 strstr(w.said[i].payload, "\"payload\":\"say \\\"x\\\"\"}");
        bytes += strstr(w.said[i].payload, "\"encoding\":\"base64\",\"payload\":\"////\"}") != NULL;
    }
    assert_true(texts > 3);
    assert_true(bytes > 3);
    close_world(&w);
}

// --- commands -----------------------------------------------------------------------------------------------------

static void test_commands(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, FORWARD);
    assert_int_equal(fake.subscribes, 4); // three for all of them, and the topic of the valve's own
    hear(&w, "g/g-1/v-1-3/commands/set", "{\"position\": 40, \"id\": 1}");
    assert_string_equal(last(&w, "g/g-1/v-1-3/response"), "{\"ok\":true,\"command\":\"set\",\"id\":1}");
    wait_us(&w, SECOND);
    expect_text(last(&w, "plant/g/g-1/v-1-3/3"), "{\"position\":40,"); // its behavior has set it
    hear(&w, "g/g-1/v-1-3/command", "{\"command\":\"set\",\"params\":{\"position\":41}}");
    hear(&w, "g/g-1/command", "{\"target\":\"v-1-3\",\"command\":\"set\",\"position\":42,\"id\":\"x\"}");
    assert_string_equal(last(&w, "g/g-1/v-1-3/response"), "{\"ok\":true,\"command\":\"set\",\"id\":\"x\"}");
    wait_us(&w, SECOND);
    expect_text(last(&w, "plant/g/g-1/v-1-3/3"), "{\"position\":42,");
    hear(&w, "plant/v-1-3/far", "{\"id\": 7}"); // a topic of its own
    assert_string_equal(last(&w, "g/g-1/v-1-3/response"), "{\"ok\":true,\"command\":\"far\",\"id\":7}");
    assert_int_equal(count(&w, "g/g-1/v-1-3/response"), 4);
    assert_int_equal(metric(&w, "commands_received{group:g}"), 4);
    close_world(&w);
}

static void test_bad_commands(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, FORWARD);
    hear(&w, "g/g-1/v-1-3/commands/set", "{\"position\": 400}");
    expect_text(last(&w, "g/g-1/v-1-3/response"), "\"code\":\"range\",\"parameter\":\"position\"");
    hear(&w, "g/g-1/v-1-3/commands/set", "{\"position\": 1, \"target\": 2}");
    expect_text(last(&w, "g/g-1/v-1-3/response"), "\"code\":\"unknown\",\"parameter\":\"target\"");
    hear(&w, "g/g-1/command", "{\"target\":\"v-1-3\",\"command\":\"sett\"}");
    expect_text(last(&w, "g/g-1/v-1-3/response"), "did you mean \\\"set\\\"?");
    hear(&w, "g/g-1/command", "{\"target\":\"v-9\",\"command\":\"set\",\"id\":4}");
    assert_string_equal(last(&w, "g/g-1/response"),
                        "{\"ok\":false,\"command\":\"set\",\"id\":4,\"error\":\"there is no child \\\"v-9\\\"; this "
                        "gateway has 3, g-1-1 to v-1-3\",\"code\":\"unknown\",\"parameter\":\"target\"}");
    hear(&w, "g/g-1/v-9/commands/set", "{}");
    expect_text(last(&w, "g/g-1/response"), "there is no child \\\"v-9\\\"");
    hear(&w, "g/g-1/command", "{\"command\":\"set\"}");
    expect_text(last(&w, "g/g-1/response"), "expected {\\\"target\\\": CHILD");
    hear(&w, "g/g-1/command", "{\"target\":3}");
    expect_text(last(&w, "g/g-1/response"), "\"code\":\"malformed\"");
    unsigned before = count(&w, "g/g-1/response");
    hear(&w, "g/g-1/command", "nonsense");
    hear(&w, "g/g-1/command", "");
    hear(&w, "g/g-1/command", "[1]");
    assert_int_equal(count(&w, "g/g-1/response"), before + 3);
    // Nobody's business.
    hear(&w, "g/g-1/v-1-3/commands", "{}");
    hear(&w, "g/g-1/v-1-3/commands/a/b", "{}");
    hear(&w, "g/g-1/", "{}");
    hear(&w, "g/g-1/x/y", "{}");
    hear(&w, "g/g-2/v-1-3/commands/set", "{}");
    assert_int_equal(count(&w, "g/g-1/response"), before + 3);
    assert_int_equal(metric(&w, "command_errors{group:g,reason:unknown}"), 4);
    close_world(&w);
}

// Commands of the gateway's own stay its own.
static void test_own_commands(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, "{" HEAD ",\"commands\":[{\"name\":\"reset\"}]," CHILDREN "}");
    hear(&w, "g/g-1/commands/reset", "{}");
    hear(&w, "g/g-1/command", "{\"command\":\"reset\"}");
    assert_int_equal(count(&w, "g/g-1/response"), 2);
    hear(&w, "g/g-1/command", "{\"target\":\"v-1-3\",\"command\":\"far\"}");
    assert_int_equal(count(&w, "g/g-1/response"), 2);
    assert_int_equal(count(&w, "g/g-1/v-1-3/response"), 1);
    hear(&w, "g/g-1/command", "nonsense");
    expect_text(last(&w, "g/g-1/response"), "\"code\":\"malformed\"");
    close_world(&w);
}

// --- failures, life -----------------------------------------------------------------------------------------------

static void test_child_failures(void **state)
{
    struct world w;
    struct error err = {0};
    (void)state;
    open_model(&w, FORWARD);
    struct device *v = gateway_child(w.d, 3), *p = gateway_child(w.d, 1);
    assert_int_equal(device_fail_inject(v, "disconnect", NULL, 3 * SECOND, &err), 0);
    turns(&w);
    assert_int_equal(v->conn_state, CONN_DISCONNECTED);
    hear(&w, "g/g-1/v-1-3/commands/set", "{\"position\":1}");
    expect_text(last(&w, "g/g-1/response"), "the child is offline");
    assert_int_equal(p->conn_state, CONN_CONNECTED); // the others go on
    wait_us(&w, 4 * SECOND);
    assert_int_equal(v->conn_state, CONN_CONNECTED);
    json_t *half_open = json_pack("{s:s}", "mode", "halfOpen");
    assert_int_equal(device_fail_inject(v, "disconnect", half_open, 2 * SECOND, &err), 0);
    json_decref(half_open);
    unsigned before = count(&w, "plant/g/g-1/v-1-3/3"), replies = count(&w, "g/g-1/v-1-3/response");
    hear(&w, "g/g-1/v-1-3/commands/set", "{\"position\":1}"); // heard by nobody
    wait_us(&w, SECOND * 3 / 2);
    assert_int_equal(count(&w, "plant/g/g-1/v-1-3/3"), before);
    assert_int_equal(count(&w, "g/g-1/v-1-3/response"), replies);
    assert_int_equal(device_fail_inject(v, "duplicateId", NULL, SECOND, &err), -1);
    expect_text(err.text, "no connection of its own");
    close_world(&w);
}

static void test_restart(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, FORWARD);
    wait_us(&w, 2 * SECOND);
    struct device *child = gateway_child(w.d, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(device_restart(w.d, NULL), 0);
        turns(&w);
        turns(&w);
        assert_int_equal(w.d->state, DEVICE_RUNNING);
        assert_int_equal(child->state, DEVICE_RUNNING);
        assert_int_equal(child->conn_state, CONN_CONNECTED);
        assert_int_equal(child->starts, i + 2);
    }
    device_stop(w.d, ADAPTER_GRACEFUL);
    turns(&w);
    assert_int_equal(child->state, DEVICE_STOPPED);
    assert_int_equal(metric(&w, "children{group:g}"), 0);
    assert_int_equal(device_restart(w.d, NULL), 0);
    wait_us(&w, 2 * SECOND);
    assert_int_equal(metric(&w, "children{group:g}"), 3);
    // Stopped and started again in one turn.
    device_stop(w.d, ADAPTER_ABRUPT);
    assert_int_equal(device_restart(w.d, NULL), 0);
    wait_us(&w, SECOND);
    assert_int_equal(child->state, DEVICE_RUNNING);
    device_destroy(w.d);
    turns(&w);
    turns(&w);
    assert_null(w.group->devices[0]);
    close_world(&w);
}

static void stop_gateway(struct world *w, const struct said *s)
{
    (void)s;
    if (w->n_said == 5)
        device_stop(w->d, ADAPTER_ABRUPT);
    if (w->n_said == 9)
        device_destroy(w->d);
}

// Whoever hears a message may act at once, in the middle of what the gateway does.
static void test_stop_inside(void **state)
{
    (void)state;
    const char *models[] = {FORWARD, BATCH(",\"intervalMs\":300"), BATCH(",\"maxMessages\":1")};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        open_model(&w, models[i]);
        w.on_said = stop_gateway;
        wait_us(&w, 10 * SECOND);
        assert_int_equal(w.d->state, DEVICE_STOPPED);
        assert_int_equal(device_restart(w.d, NULL), 0);
        wait_us(&w, 10 * SECOND);
        assert_null(w.group->devices[0]);
        close_world(&w);
    }
}

static void test_drain(void **state)
{
    struct world w;
    (void)state;
    struct plan plan = {.model = BATCH(",\"intervalMs\":60000"), .count = 3};
    open_world(&w, &plan);
    wait_us(&w, 3 * SECOND);
    assert_int_equal(w.n_said, 0);
    fleet_stop(w.fleet, loop_now_us(w.loop) + SECOND);
    wait_us(&w, SECOND);
    assert_true(fleet_idle(w.fleet));
    assert_int_equal(w.n_said, 3); // what had waited
    close_world(&w);
}

static void answered(void *arg, const json_t *answer, const struct error *err)
{
    (void)answer;
    if (err)
        snprintf(arg, 500, "%s", err->text);
}

static void change(struct world *w, const char *text, char *error)
{
    struct error err = {0};
    json_t *c = json_parse(text, strlen(text), "change", &err);
    assert_non_null(c);
    error[0] = '\0';
    if (fleet_change(w->fleet, c, answered, error, &err))
        snprintf(error, 500, "%s", err.text);
    json_decref(c);
    wait_us(w, SECOND / 10);
}

static void test_changes(void **state)
{
    struct world w;
    char error[500];
    (void)state;
    struct plan plan = {.model = FORWARD, .count = 3};
    open_world(&w, &plan);
    wait_us(&w, SECOND);
    // The gateway's own telemetry may change, and its children stay what they are.
    struct device *child = gateway_child(w.d, 1);
    for (unsigned i = 0; i < 3; i++) {
        change(&w, "{\"op\":\"interval\",\"group\":\"g\",\"attribute\":\"up\",\"interval_ms\":500}", error);
        assert_string_equal(error, "");
    }
    assert_ptr_equal(gateway_child(w.d, 1), child);
    unsigned before = count(&w, "g/g-1/g-1-1/telemetry"), own = count(&w, "g/g-1/telemetry");
    wait_us(&w, 5 * SECOND);
    assert_int_equal(count(&w, "g/g-1/g-1-1/telemetry"), before + 5);
    assert_int_equal(count(&w, "g/g-1/telemetry"), own + 10);
    change(&w, "{\"op\":\"scale\",\"group\":\"g\",\"count\":1}", error);
    assert_int_equal(metric(&w, "children{group:g}"), 3);
    change(&w, "{\"op\":\"scale\",\"group\":\"g\",\"count\":5}", error);
    wait_us(&w, SECOND);
    assert_int_equal(metric(&w, "children{group:g}"), 15);
    json_t *other = json_pack("{s:s, s:s, s:s, s:s}", "op", "model", "group", "g", "path", "test.json", "text",
                              "{" HEAD ",\"children\":[{\"model\":" PROBE "}]}");
    char *text = json_dumps(other, 0);
    change(&w, text, error);
    expect_text(error, "its children cannot change while the group runs");
    free(text);
    json_decref(other);
    close_world(&w);
}

static void test_memory(void **state)
{
    struct world w;
    (void)state;
    open_model(&w, "{" HEAD ",\"children\":[{\"model\":" PROBE ",\"count\":1000}]}");
    wait_us(&w, 5 * SECOND);
    size_t all = device_footprint(w.d);
    printf("a child with one attribute: %zu bytes, of which its device and link %zu\n", all / 1000,
           sizeof(struct device) + 64);
    assert_true(all / 1000 < 500);
    assert_int_equal(gateway_children(w.d), 1000);
    assert_int_equal(metric(&w, "children_messages{group:g}"), 5000);
    close_world(&w);
}

// Anything at any moment: nothing is freed twice, left behind or stuck, and it all runs again in the end.
static void act(struct world *w, struct rng *rng, bool inside)
{
    struct device *d = w->group->devices[rng_below(rng, w->group->owned)];
    static const char *const kinds[] = {"disconnect", "reboot", "slow", "clockDrift", "duplicateId", "errorPayload"};
    struct error err;
    unsigned n = d ? gateway_children(d) : 0;
    struct device *child = n ? gateway_child(d, 1 + (unsigned)rng_below(rng, n)) : NULL;
    if (!d)
        return;
    struct device *who = child && rng_below(rng, 2) ? child : d;
    switch (rng_below(rng, 9)) {
    case 0:
        device_stop(who, rng_below(rng, 2) ? ADAPTER_ABRUPT : ADAPTER_GRACEFUL);
        break;
    case 1:
    case 2:
        (void)!device_restart(who, NULL);
        break;
    case 3:
        (void)!device_fail_inject(who, kinds[rng_below(rng, 6)], NULL, (int64_t)rng_below(rng, SECOND), &err);
        break;
    case 4:
        if (d->conn && d->conn->state == FAKE_ON && !d->conn->closing)
            fake_offline(d->conn, ERR_CLOSED, rng_below(rng, 2));
        break;
    case 5:
        if (d->conn && (d->conn->state == FAKE_RETRYING || d->conn->state == FAKE_CONNECTING) && !d->conn->closing)
            fake_online(d->conn, rng_below(rng, 2));
        break;
    case 6:
        device_disconnect(who, ADAPTER_GRACEFUL);
        break;
    case 7:
        device_finished(who, rng_below(rng, 2) ? NULL : "boom");
        break;
    default:
        if (!inside && d->conn && d->conn->state == FAKE_ON && d->index == w->d->index) // it turns the loop
            hear(w, "g/g-1/command", "{\"target\":\"v-1-3\",\"command\":\"set\",\"position\":1}");
        break;
    }
}

static void act_inside(struct world *w, const struct said *s)
{
    static struct rng rng = {7};
    static bool inside;
    (void)s;
    if (inside || rng_below(&rng, 20))
        return;
    inside = true;
    act(w, &rng, true);
    inside = false;
}

static void test_random(void **state)
{
    (void)state;
    const char *models[] = {FORWARD, BATCH(",\"intervalMs\":300"), BATCH(",\"maxMessages\":2")};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        struct rng rng = {i};
        struct plan plan = {.model = models[i], .count = 3};
        open_world(&w, &plan);
        w.on_said = act_inside;
        for (unsigned n = 0; n < 1000; n++) {
            act(&w, &rng, false);
            if (rng_below(&rng, 2))
                wait_us(&w, (int64_t)rng_below(&rng, SECOND / 2));
        }
        w.on_said = NULL;
        for (unsigned k = 0; k < 3; k++)
            (void)!device_restart(w.group->devices[k], NULL);
        wait_us(&w, 3 * SECOND);
        assert_int_equal(w.group->by_state[DEVICE_RUNNING], 3);
        assert_int_equal(metric(&w, "children{group:g}"), 9);
        fleet_stop(w.fleet, loop_now_us(w.loop) + SECOND);
        wait_us(&w, 3 * SECOND);
        assert_true(fleet_idle(w.fleet));
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_no_children),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_qos),
        cmocka_unit_test(test_offline),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_full_batch),
        cmocka_unit_test(test_store_and_forward),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_own_commands),
        cmocka_unit_test(test_child_failures),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_stop_inside),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
