// Commands on their way: subscribed, checked, handed over, answered, timed out, dropped.
#include "fake.h"
#include "device/command.h"
#include "metrics/metrics.h"

#define VALVE                                                                                                          \
    "{\"id\":\"valve\",\"name\":\"V\",\"type\":\"actuator\",\"protocol\":\"mqtt\",\"telemetry\":[{\"name\":"           \
    "\"level\",\"type\":\"integer\",\"generator\":{\"type\":\"constant\",\"value\":7}}],\"commands\":["                \
    "{\"name\":\"set\",\"parameters\":[{\"name\":\"position\",\"type\":\"integer\",\"required\":true,\"min\":0,"       \
    "\"max\":100},{\"name\":\"ratio\",\"type\":\"number\",\"min\":0.5},{\"name\":\"mode\",\"type\":\"string\","        \
    "\"values\""                                                                                                       \
    ":[\"fast\",\"slow\"]},{\"name\":\"dry\",\"type\":\"boolean\"},{\"name\":\"o\",\"type\":\"object\"},"              \
    "{\"name\":\"step\",\"type\":\"integer\",\"values\":[1,5]}]},"                                                     \
    "{\"name\":\"open\",\"topic\":\"v/${deviceId}/open\",\"response\":{\"topic\":\"v/${deviceId}/"                     \
    "opened\",\"template\":"                                                                                           \
    "{\"level\":\"${level}\",\"id\":\"${id}\"}}},"                                                                     \
    "{\"name\":\"all\",\"topic\":\"fleet/+/all\"},"                                                                    \
    "{\"name\":\"own\",\"parameters\":[{\"name\":\"id\",\"type\":\"string\"},{\"name\":\"params\",\"type\":"           \
    "\"object\"}]},"                                                                                                   \
    "{\"name\":\"move\",\"handler\":\"move\",\"timeoutMs\":500,\"response\":{\"template\":{\"r\":\"${result}\"}},"     \
    "\"parameters\":[{\"name\":\"to\"}]}]}"

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct group *group;
    struct device *d;
    struct model *model;
    struct metrics *metrics;
    char answers[65536];
    // hooks
    unsigned commands, cancelled;
    uint32_t numbers[COMMANDS_MAX + 8];
    int hook;
    char name[64], params[256];
    enum error_code refuse;
    bool answer_at_once;
    unsigned messages, stops;
};

static void published(void *arg, struct device *d, const struct adapter_message *m)
{
    struct world *w = arg;
    size_t n = strlen(w->answers);
    (void)d;
    if (memmem(m->topic, m->topic_len, "telemetry", 9))
        return;
    snprintf(w->answers + n, sizeof(w->answers) - n, "%.*s %.*s\n", (int)m->topic_len, m->topic, (int)m->payload_len,
             m->payload ? (const char *)m->payload : "");
}

static int op_start(void *arg, struct device *d, struct error *err)
{
    (void)arg;
    return device_connect(d, err);
}

static void op_stop(void *arg, struct device *d)
{
    (void)d;
    ((struct world *)arg)->stops++;
}

static void op_online(void *arg, struct device *d, bool session_present)
{
    (void)arg, (void)d, (void)session_present;
}

static void op_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    (void)arg, (void)d, (void)why, (void)will_retry;
}

static void op_message(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)d, (void)m;
    ((struct world *)arg)->messages++;
}

static int op_command(void *arg, struct device *d, int hook, const struct device_command *c, struct error *err)
{
    struct world *w = arg;
    w->hook = hook;
    snprintf(w->name, sizeof(w->name), "%s", c->name);
    char *text = json_dumps(c->params, JSON_COMPACT | JSON_SORT_KEYS);
    snprintf(w->params, sizeof(w->params), "%s", text);
    free(text);
    assert_ptr_equal(c->model, &w->model->commands[c->model - w->model->commands]);
    assert_int_not_equal(c->number, 0);
    if (w->refuse)
        return error_set(err, w->refuse, "no, thanks");
    w->numbers[w->commands++] = c->number;
    if (w->answer_at_once)
        device_answer(d, c->number, NULL, NULL);
    return 0;
}

static void op_cancel(void *arg, struct device *d, uint32_t number)
{
    struct world *w = arg;
    (void)d;
    assert_int_equal(number, w->numbers[w->commands - 1]);
    w->cancelled++;
}

static const struct device_ops ops = {.start = op_start,
                                      .stop = op_stop,
                                      .online = op_online,
                                      .offline = op_offline,
                                      .message = op_message,
                                      .hook_command = op_command,
                                      .hook_cancel = op_cancel};

static struct world *world_open(const char *text, bool behaviour, const struct device_ops *with)
{
    struct error err = {0};
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->loop = fake_setup();
    fake.auto_online = true;
    fake.on_publish = published;
    fake.on_publish_arg = w;
    w->metrics = metrics_new(100);
    w->model = model_of(text);
    struct fleet_config config = fake_fleet_config();
    config.env.metrics = w->metrics;
    config.ops = with;
    config.ops_arg = w;
    w->fleet = fleet_new(&config, &err);
    assert_non_null(w->fleet);
    struct group_config gc = fake_group_config("g", 1, w->model);
    gc.behaviour = behaviour;
    gc.qos = w->model->qos;
    w->group = fleet_add_group(w->fleet, &gc, &err);
    if (!w->group)
        fail_msg("%s", err.text);
    w->d = w->group->devices[0];
    fleet_start(w->fleet, loop_now_us(w->loop));
    run_until(w->loop, loop_now_us(w->loop) + 1500000);
    assert_int_equal(w->d->conn_state, CONN_CONNECTED);
    return w;
}

static void world_close(struct world *w)
{
    fleet_delete(w->fleet);
    metrics_delete(w->metrics);
    model_delete(w->model);
    fake_teardown();
    free(w);
}

static void say(struct world *w, const char *topic, const char *payload)
{
    struct adapter_conn *c = w->d->conn;
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = payload[0] ? (const uint8_t *)payload : NULL,
                                .payload_len = strlen(payload)};
    w->answers[0] = '\0';
    c->in_event = true;
    c->events->on_message(c->owner, &m);
    c->in_event = false;
}

static void expect_answer(struct world *w, const char *topic, const char *payload, const char *answer)
{
    say(w, topic, payload);
    if (strcmp(w->answers, answer))
        fail_msg("%s %s\nexpected %s\ngot      %s", topic, payload, answer, w->answers);
}

static uint64_t count_of(struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric out = {0};
    struct error err;
    assert_int_equal(metric_selector_parse(name, &sel, &err), 0);
    assert_true(metrics_select(w->metrics, &sel, &out) >= 0);
    return out.count;
}

#define SET "g/g-1/commands/set"
#define ALL "g/g-1/command"
#define ANSWER(text) "g/g-1/response " text "\n"
#define OK(name, more) ANSWER("{\"ok\":true,\"command\":\"" name "\"" more "}")
#define NO(name, id, text, code, parameter)                                                                            \
    ANSWER("{\"ok\":false" name id ",\"error\":\"" text "\",\"code\":\"" code "\"" parameter "}")
#define NO_SET(text, code, parameter) NO(",\"command\":\"set\"", "", text, code, ",\"parameter\":\"" parameter "\"")

// A model alone: what nobody carries out is acknowledged.
static void test_acknowledged(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, NULL);
    assert_int_equal(fake.subscribes, 6); // BASE/command and one each
    expect_answer(w, SET, "{\"position\":42}", OK("set", ""));
    expect_answer(w, SET, "{\"position\":42,\"id\":\"x\"}", OK("set", ",\"id\":\"x\""));
    expect_answer(w, SET, "{\"params\":{\"position\":42},\"id\":[1],\"sentBy\":\"me\"}", OK("set", ",\"id\":[1]"));
    expect_answer(w, SET, "{\"position\":3.0,\"ratio\":1,\"mode\":\"slow\",\"dry\":false,\"o\":{},\"step\":5}",
                  OK("set", ""));
    expect_answer(w, SET, "{\"position\":0,\"mode\":null}", OK("set", "")); // null: not given
    expect_answer(w, ALL, "{\"command\":\"set\",\"params\":{\"position\":1},\"id\":7}", OK("set", ",\"id\":7"));
    expect_answer(w, ALL, "{\"command\":\"set\",\"position\":1}", OK("set", ""));
    expect_answer(w, "g/g-1/commands/own", "{\"id\":\"x\",\"params\":{}}", OK("own", "")); // parameters of these names
    expect_answer(w, "fleet/north/all", "", OK("all", ""));
    expect_answer(w, "fleet/north/all", " \n", OK("all", ""));
    // template and topic of its own; attributes are the latest values
    expect_answer(w, "v/g-1/open", "{\"id\":3}", "v/g-1/opened {\"level\":7,\"id\":3}\n");
    expect_answer(w, "v/g-1/open", "", "v/g-1/opened {\"level\":7,\"id\":null}\n");
    assert_int_equal(count_of(w, "commands_received{group:g}"), 12);
    assert_int_equal(count_of(w, "command_errors"), 0);
    // no command at all
    expect_answer(w, "g/g-1/commands/open", "{}", ""); // it has a topic of its own
    expect_answer(w, "g/g-1/commands/set/x", "{}", "");
    expect_answer(w, "g/g-1/commands", "{}", "");
    expect_answer(w, "g/g-10/command", "{}", "");
    expect_answer(w, "fleet/a/b/all", "{}", "");
    expect_answer(w, "x", "{}", "");
    assert_int_equal(count_of(w, "commands_received{group:g}"), 12);
    assert_null(w->d->commands);
    world_close(w);
}

static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, NULL);
    static const struct {
        const char *topic, *payload, *answer;
    } cases[] = {
        {SET, "{}", NO_SET("position is missing", "missing", "position")},
        {SET, "", NO_SET("position is missing", "missing", "position")},
        {SET, "{\"position\":null}", NO_SET("position is missing", "missing", "position")},
        {SET, "{\"position\":\"4\"}", NO_SET("position: expected integer, got a text", "type", "position")},
        {SET, "{\"position\":4.5}", NO_SET("position: expected integer, got a fraction", "type", "position")},
        {SET, "{\"position\":1,\"dry\":1}", NO_SET("dry: expected boolean, got a number", "type", "dry")},
        {SET, "{\"position\":1,\"o\":[]}", NO_SET("o: expected object, got an array", "type", "o")},
        {SET, "{\"position\":101}",
         NO_SET("position: must be at least 0 and at most 100, is 101", "range", "position")},
        {SET, "{\"position\":-1}", NO_SET("position: must be at least 0 and at most 100, is -1", "range", "position")},
        {SET, "{\"position\":1,\"ratio\":0.25}", NO_SET("ratio: must be at least 0.5, is 0.25", "range", "ratio")},
        {SET, "{\"position\":1,\"mode\":\"wild\"}",
         NO_SET("mode: must be one of \\\"fast\\\", \\\"slow\\\"", "range", "mode")},
        {SET, "{\"position\":1,\"step\":2}", NO_SET("step: must be one of 1, 5", "range", "step")},
        {SET, "{\"positon\":1}",
         NO_SET("set has no parameter \\\"positon\\\"; valid: position, ratio, mode, dry, o, step; did you mean "
                "\\\"position\\\"?",
                "unknown", "positon")},
        {"v/g-1/open", "{\"x\":1}",
         "v/g-1/opened {\"ok\":false,\"command\":\"open\",\"error\":\"open has no parameter \\\"x\\\"; it takes "
         "none\",\"code\":\"unknown\",\"parameter\":\"x\"}\n"},
        {ALL, "{\"command\":\"sett\",\"id\":5}",
         NO(",\"command\":\"sett\"", ",\"id\":5",
            "there is no command \\\"sett\\\"; valid: set, open, all, own, move; did you mean \\\"set\\\"?", "unknown",
            "")},
        {ALL, "{\"id\":5}",
         NO("", ",\"id\":5",
            "\\\"command\\\" is missing: expected {\\\"command\\\": \\\"set\\\", \\\"params\\\": {…}, \\\"id\\\": …}",
            "malformed", "")},
        {ALL, "{\"command\":5}", NO("", "", "\\\"command\\\" must be a text, is a number", "malformed", "")},
        {ALL, "", NULL},
        {SET, "[1]",
         NO(",\"command\":\"set\"", "", "expected an object such as {\\\"params\\\": {…}}, got an array", "malformed",
            "")},
        {SET, "{\"position\":}",
         NO(",\"command\":\"set\"", "", "command:1:13: unexpected token near '}'", "malformed", "")},
        {SET, "{\"position\":1,\"position\":2}",
         NO(",\"command\":\"set\"", "", "command:1:24: duplicate object key near '\\\"position\\\"'", "malformed", "")},
    };
    unsigned n = sizeof(cases) / sizeof(cases[0]);
    for (unsigned i = 0; i < n; i++) {
        if (!cases[i].answer) { // the parser's words are its own
            say(w, cases[i].topic, cases[i].payload);
            assert_non_null(strstr(w->answers, "\"code\":\"malformed\""));
            continue;
        }
        expect_answer(w, cases[i].topic, cases[i].payload, cases[i].answer);
    }
    assert_int_equal(count_of(w, "commands_received{group:g}"), n);
    assert_int_equal(count_of(w, "command_errors{group:g}"), n);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:missing}"), 3);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:type}"), 4);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:range}"), 5);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:unknown}"), 3);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:malformed}"), 6);
    assert_int_equal(w->d->state, DEVICE_RUNNING);
    world_close(w);
}

// Bytes that no JSON parser should see.
static void test_hostile(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, NULL);
    static const char *const topics[] = {SET, ALL, "v/g-1/open"};
    char deep[4000], bytes[64];
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    say(w, SET, deep);
    assert_non_null(strstr(w->answers, "nested deeper than 64 levels"));
    uint32_t x = 7;
    for (int i = 0; i < 3000; i++) {
        for (unsigned k = 0; k < sizeof(bytes) - 1; k++) {
            x = x * 1664525 + 1013904223;
            bytes[k] = "{}[]\",:0123e-.params idcommandset\\u\xc3\x01"[(x >> 16) % 37];
            if (!bytes[k])
                bytes[k] = ' ';
        }
        bytes[x >> 26] = '\0';
        say(w, topics[i % 3], bytes);
    }
    assert_int_equal(w->d->state, DEVICE_RUNNING);
    world_close(w);
}

// --- handlers -----------------------------------------------------------------------------------------------------

#define MOVE "g/g-1/commands/move"

static void test_handler(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, &ops);
    expect_answer(w, MOVE, "{\"to\":5.0,\"id\":1}", "");
    assert_int_equal(w->commands, 1);
    assert_int_equal(w->hook, 0);
    assert_string_equal(w->name, "move");
    assert_string_equal(w->params, "{\"to\":5.0}");
    assert_int_equal(commands_under_way(w->d), 1);
    assert_true(device_footprint(w->d) > 0);
    json_t *result = json_pack("{s:[i]}", "at", 5);
    run_until(w->loop, loop_now_us(w->loop) + 300000);
    device_answer(w->d, w->numbers[0], result, NULL);
    assert_string_equal(w->answers, ANSWER("{\"r\":{\"at\":[5]}}"));
    assert_int_equal(commands_under_way(w->d), 0);
    struct metric_selector sel;
    struct metric latency = {.hist = hist_new()};
    assert_int_equal(metric_selector_parse("command_latency{group:g}", &sel, NULL), 0);
    assert_int_equal(metrics_select(w->metrics, &sel, &latency), 1);
    assert_int_equal(latency.count, 1);
    assert_in_range(hist_percentile(latency.hist, 50), 299000, 301500);
    hist_delete(latency.hist);
    // it said what went wrong
    w->answers[0] = '\0';
    say(w, MOVE, "{\"id\":\"b\"}");
    device_answer(w->d, w->numbers[1], NULL, "it \"sticks\"");
    assert_string_equal(w->answers, NO(",\"command\":\"move\"", ",\"id\":\"b\"", "it \\\"sticks\\\"", "handler", ""));
    // twice, and one that never was
    w->answers[0] = '\0';
    device_answer(w->d, w->numbers[1], NULL, NULL);
    device_answer(w->d, 12345678, result, NULL);
    assert_string_equal(w->answers, "");
    assert_int_equal(count_of(w, "commands_late{group:g}"), 2);
    json_decref(result);
    // inside the call
    w->answer_at_once = true;
    expect_answer(w, MOVE, "", ANSWER("{\"r\":null}"));
    assert_int_equal(commands_under_way(w->d), 0);
    // a task could not be made
    w->answer_at_once = false;
    w->refuse = ERR_LIMIT;
    expect_answer(w, MOVE, "", NO(",\"command\":\"move\"", "", "no, thanks", "busy", ""));
    w->refuse = ERR_STATE;
    expect_answer(w, MOVE, "", NO(",\"command\":\"move\"", "", "no, thanks", "handler", ""));
    assert_int_equal(commands_under_way(w->d), 0);
    // commands without a handler do not go there
    unsigned before = w->commands;
    expect_answer(w, SET, "{\"position\":1}", OK("set", ""));
    assert_int_equal(w->commands, before);
    world_close(w);
}

static void test_timeout(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, &ops);
    say(w, MOVE, "{\"id\":9}");
    run_until(w->loop, loop_now_us(w->loop) + 499000);
    assert_int_equal(commands_under_way(w->d), 1);
    run_until(w->loop, loop_now_us(w->loop) + 3000);
    assert_string_equal(w->answers, NO(",\"command\":\"move\"", ",\"id\":9", "not done in 0.5 s", "timeout", ""));
    assert_int_equal(w->cancelled, 1);
    assert_null(w->d->commands);
    device_answer(w->d, w->numbers[0], NULL, NULL);
    assert_int_equal(count_of(w, "commands_late{group:g}"), 1);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:timeout}"), 1);
    world_close(w);
}

static void test_busy(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, &ops);
    for (unsigned i = 0; i < COMMANDS_MAX; i++)
        expect_answer(w, MOVE, "", "");
    expect_answer(w, MOVE, "{\"id\":1}",
                  NO(",\"command\":\"move\"", ",\"id\":1", "64 commands are under way already", "busy", ""));
    for (unsigned i = 0; i < COMMANDS_MAX; i++) // each has a number of its own
        device_answer(w->d, w->numbers[i], NULL, NULL);
    assert_int_equal(count_of(w, "commands_late"), 0);
    expect_answer(w, MOVE, "", "");
    world_close(w);
}

// A stop drops them, a reconnect does not, a disconnect loses the answer.
static void test_connections(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, true, &ops);
    say(w, MOVE, "");
    fake_offline(w->d->conn, ERR_CLOSED, true);
    assert_int_equal(commands_under_way(w->d), 1);
    unsigned subscribes = fake.subscribes;
    fake_online(w->d->conn, false);
    assert_int_equal(fake.subscribes, subscribes); // the adapter renews them
    device_answer(w->d, w->numbers[0], NULL, NULL);
    assert_string_equal(w->answers, ANSWER("{\"r\":null}"));
    say(w, MOVE, "");
    device_disconnect(w->d, ADAPTER_GRACEFUL);
    run_until(w->loop, loop_now_us(w->loop) + 10000);
    device_answer(w->d, w->numbers[1], NULL, NULL);
    assert_string_equal(w->answers, "");
    assert_int_equal(count_of(w, "command_errors{group:g,reason:unsent}"), 1);
    assert_int_equal(device_connect(w->d, NULL), 0);
    run_until(w->loop, loop_now_us(w->loop) + 10000);
    assert_int_equal(fake.subscribes, subscribes + 6); // a new connection knows none
    say(w, MOVE, "");
    device_stop(w->d, ADAPTER_GRACEFUL);
    assert_int_equal(commands_under_way(w->d), 0);
    run_until(w->loop, loop_now_us(w->loop) + 1000000);
    assert_string_equal(w->answers, "");
    assert_int_equal(w->cancelled, 0); // ops.stop has done that
    assert_int_equal(w->stops, 1);
    assert_int_equal(count_of(w, "command_errors{group:g,reason:timeout}"), 0);
    world_close(w);
}

// A behaviour gets what the model has no handler for, and hears of every message.
static void test_behaviour(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, true, &ops);
    expect_answer(w, SET, "{\"position\":8,\"ratio\":2}", "");
    assert_int_equal(w->hook, -1);
    assert_string_equal(w->params, "{\"position\":8,\"ratio\":2}");
    device_answer(w->d, w->numbers[0], NULL, NULL);
    assert_string_equal(w->answers, OK("set", ""));
    say(w, MOVE, "");
    assert_int_equal(w->hook, 0);
    w->refuse = ERR_NOT_FOUND; // it takes none
    expect_answer(w, SET, "{\"position\":8}", OK("set", ""));
    assert_int_equal(w->messages, 3);
    world_close(w);
}

// An answer that does not fit is replaced by one that says so.
static void test_large(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, true, &ops);
    char *huge = malloc(1200001);
    memset(huge, 'x', 1200000);
    huge[1200000] = '\0';
    json_t *result = json_string(huge);
    say(w, SET, "{\"position\":1,\"id\":\"q4\"}");
    device_answer(w->d, w->numbers[0], result, NULL);
    assert_string_equal(w->answers,
                        NO(",\"command\":\"set\"", ",\"id\":\"q4\"",
                           "the answer cannot be made: the answer takes more than 1048576 bytes", "handler", ""));
    say(w, MOVE, "");
    device_answer(w->d, w->numbers[1], result, NULL); // by a template
    assert_non_null(strstr(w->answers, "\"ok\":false,\"command\":\"move\",\"error\":\"the answer cannot be made"));
    assert_int_equal(count_of(w, "command_errors{group:g,reason:handler}"), 2);
    json_decref(result);
    free(huge);
    world_close(w);
}

// Where nobody runs Lua.
static void test_no_hooks(void **state)
{
    (void)state;
    struct world *w = world_open(VALVE, false, NULL); // a handler, and nobody to run it
    expect_answer(w, MOVE, "", NO(",\"command\":\"move\"", "", "nobody runs handlers here", "handler", ""));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledged), cmocka_unit_test(test_refused),   cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_handler),      cmocka_unit_test(test_timeout),   cmocka_unit_test(test_busy),
        cmocka_unit_test(test_connections),  cmocka_unit_test(test_behaviour), cmocka_unit_test(test_large),
        cmocka_unit_test(test_no_hooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
