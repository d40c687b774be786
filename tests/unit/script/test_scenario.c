// The scenario room's answer to the engine (struct scenario_ops): loading, behaviours, the test function.
#include "stage.h"

// --- loading ------------------------------------------------------------------------------------------------------

static void test_load_good(void **state)
{
    (void)state;
    struct stage *st = stage_new();
    st->params[0] = "RATE=7";
    st->n_params = 1;
    stage_load(st, "local iotix = require 'iotix'\n"
                   "local p = iotix.params { RATE = { type = 'integer', default = 5 }, SIZE = { type = 'integer', "
                   "default = '2k' } }\n"
                   "assert(p.RATE == 7 and p.SIZE == 2000)\n"
                   "local g = iotix.group { name = 'g', count = '2k', behaviour = function() end }\n"
                   "assert(not pcall(function() g.count = -1 end))\n"
                   "return iotix.scenario { name = 's', duration = '90s', seed = 5, groups = { g },\n"
                   "  thresholds = { publish_latency = 'p95 < 200ms' } }\n");
    if (!st->plan)
        fail_msg("%s", st->diagnostics[0].message);
    assert_int_equal(json_integer_value(json_object_get(st->plan, "duration")), 90000000);
    const json_t *g = json_array_get(json_object_get(st->plan, "groups"), 0);
    assert_int_equal(json_integer_value(json_object_get(g, "count")), 2000);
    assert_int_equal(json_integer_value(json_object_get(g, "line")), 4);
    assert_true(json_is_true(json_object_get(g, "behaviour")));
    assert_int_equal(st->n_diagnostics, 0);
    stage_close(st);
}

struct bad {
    const char *text, *code, *message;
    int line, exit_code;
};

#define HEAD "local iotix = require 'iotix'\n"
#define GROUP "iotix.group { name = 'g', behaviour = function() end }"

static void test_load_bad(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"x = = 1", "IOTX001", "unexpected symbol", 1, 104},
        {HEAD "return iotix.scenario { name = 's',, }", "IOTX001", "unexpected symbol", 2, 104},
        {HEAD "local t = nil\nreturn t.x", "IOTX002", "attempt to index local 't'", 3, 107},
        {HEAD "error({})", "IOTX002", "not text", 0, 107},
        {HEAD "return 5", "IOTX010", "must end with: return iotix.scenario", 0, 104},
        {HEAD "return {}", "IOTX010", "must end with: return iotix.scenario", 0, 104},
        {HEAD "return iotix.scenario { name = 's', duration = '1s', groups = { " GROUP ", " GROUP " } }", "IOTX010",
         "two groups are named", 2, 104},
        {HEAD "return iotix.scenario { name = 's', duration = '1s', groups = { " GROUP ", 5 } }", "IOTX010",
         "groups[2]: expected what iotix.group returns", 2, 104},
        {HEAD "return iotix.scenario { name = 's', duration = '1s', groups = { " GROUP ", nil, " GROUP " } }",
         "IOTX010", "groups[2]: expected what iotix.group returns, got a nil", 2, 104},
        {HEAD "return iotix.scenario { name = 's', duration = '1s', groups = { g = " GROUP " } }", "IOTX010",
         "expected a list", 2, 104},
        {HEAD "return iotix.scenario { name = 's', groups = { " GROUP " } }", "IOTX010",
         "a duration, stages, a test, or several", 2, 104},
        {HEAD "return iotix.scenario { name = 's', duration = '1s', groups = { " GROUP " }, seed = 0/0 }", "IOTX010",
         "seed: expected a number", 2, 104},
        {HEAD "\n\nlocal g = iotix.group { name = 'g', cuont = 2 }", "IOTX010", "did you mean \"count\"?", 4, 104},
        {HEAD "local g = iotix.group { name = 'g', behaviour = print, max_restarts = -1 }", "IOTX010",
         "max_restarts: expected a whole number", 2, 104},
        {HEAD "local g = iotix.group { name = 'g', behaviour = print, memory = 1/0 }", "IOTX010",
         "memory: expected a size", 2, 104},
        {HEAD "local g = iotix.group { name = 'g', behaviour = print, launch = { strategy = 'linaer' } }", "IOTX010",
         "launch: strategy: expected one of: immediate, linear", 2, 104},
        {HEAD "local g = iotix.group { name = 'g', behaviour = print, launch = { strategy = 'batch', rate = 2 } }",
         "IOTX010", "has no rate; it has: strategy, batch_size, delay", 2, 104},
        {HEAD "local c = iotix.mqtt { will = { topic = 'a', pyload = 'x' } }", "IOTX010",
         "will: unknown key \"pyload\"; valid: content_type, correlation, delay, expiry, payload, qos, response_topic, "
         "retain, "
         "topic, user; did you mean \"payload\"?",
         2, 104},
        {HEAD "local c = iotix.mqtt { reconnect = 5 }", "IOTX010", "reconnect: expected true, false or a table", 2,
         104},
        {HEAD "local p = iotix.params { A = { type = 'nubmer' } }", "IOTX010", "expected one of: string, number", 2,
         104},
        {HEAD "local p = iotix.params { A = { type = 'number', default = '0/0' } }", "IOTX010",
         "the default 0/0 is not a number", 2, 104},
        {HEAD "local g = iotix.gen.uniform { min = 1, mx = 2 }", "IOTX010", "iotix.gen.uniform", 2, 104},
        {HEAD "local g = iotix.gen.uniform(5)", "IOTX010", "expected a table of options, got number", 2, 104},
        {HEAD "iotix.sleep(1)", "IOTX010", "cannot block here", 2, 104},
        {HEAD "iotix.spawn(print)", "IOTX010", "works while the run is on", 2, 104},
        {HEAD "iotix.expect(1)", "IOTX010", "works in the test function", 2, 104},
        {HEAD "iotix.abort()", "IOTX010", "works in the test function", 2, 104},
        {HEAD "iotix.log('wran', 'x')", "IOTX010", "unknown level \"wran\"; valid: error, warn, info, debug", 2, 104},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct bad *b = &cases[i];
        struct stage *st = stage_new();
        stage_load(st, b->text);
        if (st->plan || st->n_diagnostics != 1)
            fail_msg("%s: %u diagnostics", b->text, st->n_diagnostics);
        const struct diagnostic *d = &st->diagnostics[0];
        if (strcmp(d->code, b->code) || d->line != b->line || d->exit_code != b->exit_code ||
            !strstr(d->message, b->message))
            fail_msg("%s:\nexpected %s line %d exit %d: %s\ngot      %s line %d exit %d: %s", b->text, b->code, b->line,
                     b->exit_code, b->message, d->code, d->line, d->exit_code, d->message);
        stage_close(st);
    }
}

// --- behaviours ---------------------------------------------------------------------------------------------------

static void test_life(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("assert(dev.state == 'starting' or dev.state == 'running')\n"
                                       "assert(dev.id == 'g-1' and dev.index == 1 and dev.group == 'g')\n"
                                       "assert(dev:topic('x') == 'g/g-1/x' and dev:topic('/a/b') == 'a/b')\n"
                                       "local ok, why, code = dev:publish('t', 1)\n"
                                       "assert(ok == nil and why == 'not connected' and code == 'state')\n"
                                       "assert(dev:connect() == true)\n"
                                       "assert(dev.connection == 'connected')\n"
                                       "assert(dev:connect() == true)\n"
                                       "for n in dev:every('1s', { phase = 0 }) do\n"
                                       "  assert(dev:publish('t', { n = n }))\n"
                                       "  if n == 3 then break end\n"
                                       "end\n"
                                       "assert(dev:disconnect())\n",
                                       1, "");
    stage_run(st, 10);
    assert_string_equal(st->lines, "");
    assert_string_equal(st->published, "g/g-1/t {\"n\":1}\ng/g-1/t {\"n\":2}\ng/g-1/t {\"n\":3}\n");
    assert_int_equal(stage_device(st, 1)->state, DEVICE_STOPPED);
    stage_close(st);
}

// connect right behind disconnect waits for the old connection to end and for a new one: it is not online before.
static void test_connect_while_closing(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("local up = 0\n"
                                       "dev:on('connect', function() up = up + 1 end)\n"
                                       "assert(dev:connect())\n"
                                       "dev:disconnect()\n"
                                       "assert(dev:connect())\n"
                                       "dev:sleep(0.1)\n"
                                       "print('connects ' .. up)\n",
                                       1, "");
    stage_run(st, 5);
    stage_says(st, "connects 2");
    stage_close(st);
}

// A command handler may be registered before there is a connection; it is subscribed when there is one.
static void test_command_before_connect(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("assert(dev:on('command', function(c) return { got = c.params.x } end))\n"
                                       "assert(dev:connect())\n",
                                       1, "");
    stage_run(st, 1);
    assert_int_equal(fake.subscribes, 1);
    assert_string_equal(fake.last_filter, "g/g-1/command");
    assert_int_equal(stage_device(st, 1)->state, DEVICE_RUNNING); // the handler keeps it
    struct adapter_message m = {
        .topic = "g/g-1/command", .topic_len = 13, .payload = (const uint8_t *)"{\"x\":5,\"id\":9}", .payload_len = 14};
    fake.conns->events->on_message(fake.conns->owner, &m);
    stage_run(st, 1);
    assert_string_equal(st->published, "g/g-1/response {\"got\":5,\"id\":9}\n");
    stage_close(st);
    // It outlives the connection: a new one subscribes it again.
    st = stage_behaviour("assert(dev:connect()) iotix.spawn(dev.on, dev, 'command', print) dev:sleep(1)\n"
                         "dev:disconnect() dev:sleep(1) assert(dev:connect()) dev:sleep(9)",
                         1, "");
    stage_run(st, 1.5);
    assert_int_equal(fake.subscribes, 1);
    stage_run(st, 2);
    assert_int_equal(fake.subscribes, 2);
    stage_close(st);
}

// What a handler returns or raises never takes the device down.
static void test_command_answers(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("assert(dev:connect())\n"
                                       "iotix.spawn(function() dev:on('command', function(c)\n"
                                       "  if c.name == 'list' then return { 1, 2 } end\n"
                                       "  if c.name == 'function' then return { f = print } end\n"
                                       "  if c.name == 'raise' then error('no way', 0) end\n"
                                       "  if c.name == 'table' then error({}) end\n"
                                       "  return c.name\n"
                                       "end) end)\n"
                                       "dev:sleep('1h')\n",
                                       1, "");
    stage_run(st, 1);
    static const char *const commands[] = {"{\"command\":\"list\",\"id\":1}",
                                           "{\"command\":\"function\",\"id\":2}",
                                           "{\"command\":\"raise\",\"id\":3}",
                                           "{\"command\":\"table\",\"id\":4}",
                                           "{\"command\":\"plain\"}",
                                           "nonsense",
                                           "{\"command\":5}"};
    static const char *const answers[] = {
        "{\"id\":1,\"ok\":true,\"result\":[1,2]}",
        "{\"error\":\"the result of the command handler: a function has no JSON form\",\"id\":2,\"ok\":false}",
        "{\"error\":\"no way\",\"id\":3,\"ok\":false}",
        "\"id\":4,\"ok\":false}",
        "{\"ok\":true,\"result\":\"plain\"}",
        "a command is a JSON object",
        "must be a string"};
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct adapter_message m = {.topic = "g/g-1/command",
                                    .topic_len = 13,
                                    .payload = (const uint8_t *)commands[i],
                                    .payload_len = strlen(commands[i])};
        st->published_len = 0;
        st->published[0] = '\0';
        fake.conns->events->on_message(fake.conns->owner, &m);
        stage_run(st, 1);
        if (!strstr(st->published, answers[i]))
            fail_msg("%s: expected %s, got %s", commands[i], answers[i], st->published);
    }
    assert_int_equal(st->device_errors, 0);
    assert_int_equal(stage_device(st, 1)->state, DEVICE_RUNNING);
    stage_close(st);
}

// A subscription that fails leaves no handler behind; the topic of a message may be as long as MQTT has it.
static void test_handlers(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("local f = function(m) shared[#shared + 1] = m.topic end\n"
                                       "for i = 1, 300 do assert(dev:subscribe('x', f) == nil) end\n"
                                       "assert(dev:connect())\n"
                                       "iotix.spawn(function() dev:subscribe('/#', f) end)\n"
                                       "dev:sleep('5s')\n"
                                       "print('messages ' .. #shared .. ' of ' .. #shared[1])\n"
                                       "local ok, why\n"
                                       "for i = 1, 256 do ok, why = pcall(dev.on, dev, 'disconnect', f) end\n"
                                       "print(ok, why)\n",
                                       1, "");
    stage_run(st, 1);
    static char topic[60001];
    memset(topic, 'a', 60000);
    fake_message(fake.conns, topic);
    stage_run(st, 5);
    stage_says(st, "messages 1 of 60000");
    stage_says(st, "a device has at most 256 handlers");
    stage_close(st);
}

// Blocked in each of the calls that block, and stopped: nothing fires afterwards, nothing leaks, nothing is resumed.
static void test_stop_while_blocked(void **state)
{
    (void)state;
    static const char *const blocked[] = {
        "dev:sleep('1h')",
        "iotix.sleep('1h')",
        "dev:connect()",
        "dev:connect { timeout = '1h' }",
        "dev:wait('message')",
        "dev:wait('disconnect', '1h')",
        "dev:connect() dev:subscribe('x/#')",
        "dev:connect() dev:subscribe('x/#', function() end)",
        "dev:connect() dev:on('command', function() end)",
        "dev:connect() dev:unsubscribe('x/#')",
        "dev:connect() dev:publish('x', 1, { qos = 1, wait = true })",
        "for _ in dev:every('1h') do end",
        "iotix.spawn(function() dev:wait('connect', '1h') end) dev:sleep('1h')",
        "local function tail() return (dev:every('1h'))() end tail()",
    };
    for (unsigned how = 0; how < 3; how++)
        for (unsigned i = 0; i < sizeof(blocked) / sizeof(blocked[0]); i++) {
            char body[512];
            snprintf(body, sizeof(body), "%s\nprint('resumed')", blocked[i]);
            struct stage *st = stage_behaviour(body, 3, "");
            fake.auto_online = !strstr(blocked[i], "{ timeout") && strcmp(blocked[i], "dev:connect()") != 0;
            stage_run(st, 0.5);
            for (unsigned k = 1; k <= 3; k++) {
                assert_true(((struct behaviour *)stage_device(st, k)->behaviour)->owner.n_tasks > 0);
                if (how == 0)
                    device_stop(stage_device(st, k), ADAPTER_ABRUPT);
                else if (how == 1)
                    assert_int_equal(device_restart(stage_device(st, k), &st->err), 0);
            }
            stage_run(st, how == 2 ? 0 : 1);
            stage_silent(st, "resumed");
            stage_close(st);
        }
}

static void test_timeouts(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("local ok, why, code = dev:wait('message', '1s')\n"
                        "assert(ok == nil and why == 'nothing came in time' and code == 'timeout')\n"
                        "ok, why, code = dev:connect { timeout = '1s' }\n"
                        "assert(ok == nil and why == 'not connected in time' and code == 'timeout', why)\n"
                        "assert(dev.connection ~= 'connected')\n"
                        "print('fine')\n",
                        1, "");
    fake.auto_online = false;
    stage_run(st, 5);
    stage_says(st, "fine");
    stage_close(st);
}

static void stop_in_publish(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)arg, (void)m;
    device_stop(d, ADAPTER_ABRUPT);
}

// The device goes away inside a call of its own task.
static void test_stopped_inside(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "dev:publish('x', 1) print('resumed')",
        "pcall(dev.publish, dev, 'x', 1) while true do end",
        "dev:publish('x', 1, { qos = 1, wait = true }) print('resumed')",
        "table.sort({ 3, 2, 1 }, function(a, b) pcall(dev.publish, dev, 'x', 1) pcall(dev.log, dev, 'resumed') return "
        "a < b end)",
        "table.sort({ 2, 1 }, function() pcall(dev.publish, dev, 'x', 1) iotix.spawn(function() dev:sleep(1) "
        "print('resumed') end) end)",
        "table.sort({ 2, 1 }, function() pcall(dev.publish, dev, 'x', 1) while true do end end)",
    };
    for (unsigned i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "assert(dev:connect())\n%s", bodies[i]);
        struct stage *st = stage_behaviour(body, 1, "");
        fake.on_publish = stop_in_publish;
        stage_run(st, 5);
        stage_silent(st, "resumed");
        assert_int_equal(stage_device(st, 1)->state, DEVICE_STOPPED);
        stage_close(st);
    }
}

// Handles get around through the file's local variables: they are good for the tasks of their device only.
static void test_foreign_handles(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "if dev.index == 1 then\n"
        "  shared.dev, shared.gen = dev, iotix.gen.walk { step = 1 }\n"
        "  shared.task = iotix.spawn(function() dev:sleep('2s') print('survived') end)\n"
        "  shared.every = dev:every('1s', { phase = 0 })\n"
        "  dev:sleep('3s')\n"
        "else\n"
        "  dev:sleep('1s')\n"
        "  assert(shared.dev.id == 'g-1')\n" // reading is harmless
        "  for _, call in ipairs { { 'wait', 'message' }, { 'connect' }, { 'publish', 'x' }, { 'on', 'connect', print "
        "}, { 'sleep', 1 },\n"
        "      { 'every', 1 }, { 'log', 'x' }, { 'telemetry' }, { 'subscribe', 'x' }, { 'unsubscribe', 'x' }, { "
        "'disconnect' }, { 'topic', 'x' } } do\n"
        "    local ok, why = pcall(shared.dev[call[1]], shared.dev, unpack(call, 2))\n"
        "    assert(not ok and why:find('handle of another device', 1, true), call[1] .. ': ' .. tostring(why))\n"
        "  end\n"
        "  local ok, why = pcall(shared.task.cancel, shared.task)\n"
        "  assert(not ok and why:find('another device', 1, true), why)\n"
        "  assert(shared.task:alive())\n"
        "  assert(shared.gen())\n"
        "  shared.every()\n"
        "  dev:sleep('5s')\n"
        "  assert(shared.dev.state == 'stopped')\n"
        "  ok, why = pcall(shared.dev.sleep, shared.dev, 1)\n"
        "  assert(not ok and why:find('the device is gone', 1, true), why)\n"
        "  assert(not shared.task:alive() and shared.task:cancel() == false)\n"
        "  print('fine')\n"
        "end\n",
        2, "");
    stage_run(st, 20);
    assert_int_equal(count_of(st->lines, "\n"), 2);
    stage_says(st, "survived");
    stage_says(st, "fine");
    stage_close(st);
}

static void test_errors_name_the_authors_line(void **state)
{
    (void)state;
    static const char *const calls[][2] = {
        {"dev.sleep(1)", "call it as dev:name(...), with a colon"},
        {"dev:connect(5)", "table expected, got number"},
        {"dev:connect { timout = 1 }",
         "dev:connect: unknown key \"timout\"; valid: timeout, retry; did you mean \"timeout\"?"},
        {"dev:connect { retry = 1 }", "retry: expected true or false"},
        {"dev:disconnect('brutal')", "dev:disconnect: expected one of graceful, abrupt, got \"brutal\""},
        {"dev:publish()", "string expected, got no value"},
        {"dev:publish('')", "the topic is empty"},
        {"dev:publish('a\\0b')", "a topic holds no NUL"},
        {"dev:publish('a', print)", "dev:publish: a function has no JSON form"},
        {"dev:publish('a', 1, { qos = 3 })", "qos: expected a whole number from 0 to 2"},
        {"dev:publish('a', 1, { qos = 0/0 })", "qos: expected a whole number from 0 to 2"},
        {"dev:publish('a', 1, { 1 })", "unknown key \"(list item)\""},
        {"dev:subscribe('a', 5)", "expected a table of options or a function, got number"},
        {"dev:subscribe('a', {}, 5)", "expected a function, got number"},
        {"dev:on('comand', print)", "dev:on: expected one of command, message, connect, disconnect, auth, got "
                                    "\"comand\"; did you mean \"command\"?"},
        {"dev:on(nil, print)", "expected one of command, message, connect, disconnect, auth, got nil"},
        {"dev:on('message')", "function expected"},
        {"dev:wait('command')", "dev:wait: expected one of message, connect, disconnect, got \"command\""},
        {"dev:wait('message', -1)", "is negative"},
        {"dev:every(0/0)", "not a number"},
        {"dev:every(0)", "at least 1ms"},
        {"dev:every(1e300)", "more than 100 years"},
        {"dev:every('1s', { jitter = '1s' })", "at most half the interval"},
        {"dev:every('1s', { phse = 1 })", "did you mean \"phase\"?"},
        {"dev:sleep('5 parsecs')", "5 parsecs"},
        {"dev:sleep('5s\\0')", "holds no NUL"},
        {"dev:sleep({})", "expected a duration such as \"500ms\""},
        {"dev:log('wran', 'x')",
         "dev:log: expected one of error, warn, info, debug, got \"wran\"; did you mean \"warn\"?"},
        {"dev:telemetry(1)", "boolean expected"},
        {"dev:pubish('x')", "did you mean \"publish\"?"},
        {"dev.x = 1", "a device's fields cannot be set"},
        {"iotix.log('wran', 'x')", "iotix.log: unknown level \"wran\"; valid: error, warn, info, debug"},
        {"iotix.spawn(5)", "function expected"},
        {"iotix.sleep(-1)", "is negative"},
        {"iotix.group { name = 'x', behaviour = print }", "cannot be called while the run is on"},
        {"iotix.params {}", "cannot be called while the run is on"},
        {"iotix.expect(1)", "iotix.expect works in the test function of a scenario only"},
        {"iotix.abort()", "iotix.abort works in the test function of a scenario only"},
        {"iotix.env(5)", "expected the name of a variable"},
        {"iotix.json.decode(5)", "expected a string"},
        {"coroutine.wrap(function() dev:sleep(1) end)()",
         "cannot block inside a coroutine of your own; use iotix.spawn"},
    };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "\n\n%s\ndo end", calls[i][0]); // line 3 + 2 above + the function's own
        struct stage *st = stage_behaviour(body, 1, "");
        stage_run(st, 1);
        if (!strstr(st->lines, "test.lua:6: ") || !strstr(st->lines, calls[i][1]))
            fail_msg("%s: expected \"test.lua:6: … %s\", got:\n%s", calls[i][0], calls[i][1], st->lines);
        assert_int_equal(st->device_errors, 1);
        stage_close(st);
    }
}

// --- what a device may use up -------------------------------------------------------------------------------------

static void test_log_is_bounded(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("if dev.index == 2 then dev:sleep(1) print('innocent') return end\n"
                        "for i = 1, 10000 do\n"
                        "  local f = i % 3\n"
                        "  if f == 0 then print('x') elseif f == 1 then dev:log('x') else iotix.log('warn', 'x') end\n"
                        "end dev:sleep(2) print('later')",
                        2, "");
    stage_run(st, 0.2);
    assert_in_range(st->n_lines, LOG_LINES_MAX, 2 * LOG_LINES_MAX + 2); // may have crossed into another second
    stage_says(st, "the rest of this second is dropped");
    stage_run(st, 5);
    stage_says(st, "innocent");
    stage_says(st, "later");
    stage_close(st);
}

static void test_tasks_and_generators_are_bounded(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("local many = {} for i = 1, 300 do many[i] = i end\n"
                                       "print(iotix.spawn(print, unpack(many)))\n"
                                       "local n, why, code = 0\n"
                                       "for i = 1, 100 do local t, w, c = iotix.spawn(dev.sleep, dev, '1h') if t then "
                                       "n = n + 1 else why, code = w, c end end\n"
                                       "print(n, why, code)\n"
                                       "local ok\n"
                                       "for i = 1, 101 do ok, why = pcall(iotix.gen.constant, i) end\n"
                                       "print(ok, why)\n"
                                       "assert(iotix.gen.constant(5)() == 5)\n",
                                       1, "");
    stage_run(st, 1);
    stage_says(st, "63\\ttoo many tasks: one device may have 64 at a time\\tlimit");
    stage_says(st, "more than 100 different generators");
    stage_says(st, "too many arguments for a task\\tlimit");
    stage_close(st);
}

static void test_telemetry_keeps_the_device(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "local ok, why, code = dev:telemetry() assert(ok == nil and code == 'unsupported', why)", 1, "");
    stage_run(st, 1);
    assert_string_equal(st->lines, "");
    assert_int_equal(stage_device(st, 1)->state, DEVICE_STOPPED);
    stage_close(st);
}

// A task that cancels itself, the device's last one, ends the device as if it had returned.
static void test_last_task_cancelled(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("local t t = iotix.spawn(function() dev:sleep(1) t:cancel() while true do end end)", 1, "");
    stage_run(st, 5);
    assert_int_equal(stage_device(st, 1)->state, DEVICE_STOPPED);
    assert_int_equal(st->device_errors, 0);
    stage_close(st);
}

static void test_on_error(void **state)
{
    (void)state;
    static const char *const policies[] = {"stop", "restart", "fail"};
    static const unsigned errors[] = {1, 3, 1};
    for (unsigned i = 0; i < 3; i++) {
        char more[100];
        snprintf(more, sizeof(more), "on_error = '%s', max_restarts = 2, ", policies[i]);
        struct stage *st = stage_behaviour("dev:sleep('100ms') error('broken')", 1, more);
        stage_run(st, 100);
        assert_int_equal(st->device_errors, errors[i]);
        assert_int_equal(st->fail_runs, i == 2);
        assert_int_equal(count_of(st->lines, "broken"), errors[i]);
        assert_int_equal(stage_device(st, 1)->state, DEVICE_ERROR);
        stage_close(st);
    }
}

// --- the test function --------------------------------------------------------------------------------------------

static void test_outcomes(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int code;
        const char *error;
    } cases[] = {
        {"assert(run:group('g'):count('online') == 2)", 0, ""},
        {"iotix.expect(3, 'three').at_least(2)", 0, ""},
        {"iotix.expect(3):equals(3)", 0, ""},
        {"iotix.expect(3, 'three').below(2)", 110, "three below 2: is 3"},
        {"iotix.expect('abc').matches('^b')", 110, "value matches \"^b\": is \"abc\""},
        {"run:fail('enough')", 110, "enough"},
        {"iotix.abort('stop it')", 108, "stop it"},
        {"error('oops')", 107, "test.lua:3: oops"},
        {"error({})", 107, "without a message"},
        {"local x = nil + 1", 107, "test.lua:3: attempt to perform arithmetic"},
        {"iotix.spawn(iotix.abort, 'from a task') iotix.sleep('1h')", 108, "from a task"},
        {"iotix.spawn(function() run:fail('from a task') end) iotix.sleep('1h')", 110, "from a task"},
        {"iotix.spawn(function() iotix.expect(1).above(2) end) iotix.sleep('1h')", 110, "value above 2: is 1"},
        {"iotix.spawn(function() error('in a task') end) iotix.sleep('1h')", 107, "test.lua:3: in a task"},
        {"local n, why, code = run:group('g'):wait('online', 3, '1s') assert(n == nil and code == 'timeout') "
         "error(why, 0)",
         107, "only 2 of 3 devices of g are online"},
        {"run:group('x')", 107, "test.lua:3: run:group: no group \"x\"; valid: g"},
        {"run:group('g'):count('onlin')", 107,
         "test.lua:3: group:count: unknown state \"onlin\"; valid: count, started"},
        {"run:group('g'):wait('onlin', 1)", 107, "test.lua:3: group:wait: unknown state"},
        {"run:group('g'):wait('online')", 107, "test.lua:3: group:wait: expected a number of devices, got a nil"},
        {"run:group('g'):wait('online', 1, 'soon')", 107, "test.lua:3: group:wait: within: "},
        {"run:group('g'):topic(0, 'x')", 107, "test.lua:3: group:topic: the device's index"},
        {"run:group('g'):topic(1)", 107, "test.lua:3: group:topic: expected the name of a channel"},
        {"assert(run:group('g'):topic(1, 'state') == 'g/g-1/state' and run:group('g'):topic(1, '/a/b') == 'a/b')", 0,
         ""},
        {"run:group('g'):command(1)", 107, "test.lua:3: group:command: expected the name of a command"},
        {"run:group('g'):command(1, 'x', { f = print })", 107,
         "test.lua:3: group:command: a function has no JSON form"},
        {"run:publish()", 107, "test.lua:3: run:publish: expected a topic"},
        {"run:publish('a', print)", 107, "test.lua:3: run:publish: a function has no JSON form"},
        {"run:publish('a', 1, { qos = 5 })", 107, "test.lua:3: run:publish: qos: expected 0, 1 or 2, got 5"},
        {"local ok, why, code = run:publish('a', 1) assert(ok == nil and code == 'refused', why)", 0, ""},
        {"run:at('soon')", 107, "test.lua:3: run:at: "},
        {"run:log('wran', 'x')", 107, "test.lua:3: run:log: unknown level \"wran\""},
        {"run.x = 1", 107, "test.lua:3: run cannot be changed"},
        {"iotix.expect(1).at_most('x')", 107, "test.lua:3: iotix.expect(…).at_most: expected a number"},
        {"iotix.expect(1).between(1, 'x')", 107, "test.lua:3: iotix.expect(…).between: expected a number"},
        {"iotix.expect(1).matches(nil)", 107, "test.lua:3: iotix.expect(…).matches: expected a Lua pattern"},
        {"local x = iotix.expect(1).at_lest", 107,
         "test.lua:3: iotix.expect: there is no \"at_lest\"; valid: above, at_least"},
        {"iotix.expect(1, 2)", 107, "test.lua:3: iotix.expect: the label is a string"},
        {"iotix.expect.message { topc = 'x' }", 107, "test.lua:3: iotix.expect.message: unknown key \"topc\""},
        {"iotix.expect.message { topic = 'x' }", 110, "the observer could not connect: there is no broker"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage *st = stage_test(cases[i].body, 30);
        if (st->n_done != 1 || st->done_code != cases[i].code || !strstr(st->done_error, cases[i].error) ||
            (!cases[i].error[0] && st->done_error[0]))
            fail_msg("%s:\nexpected %d \"%s\"\ngot      %d \"%s\" (%u outcomes)", cases[i].body, cases[i].code,
                     cases[i].error, st->done_code, st->done_error, st->n_done);
        stage_close(st);
    }
}

static void test_that_does_not_end(void **state)
{
    (void)state;
    struct stage *st = stage_test("iotix.sleep('1h')", 5);
    assert_int_equal(st->n_done, 0);
    stage_close(st); // stops it
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_good),
        cmocka_unit_test(test_load_bad),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_connect_while_closing),
        cmocka_unit_test(test_command_before_connect),
        cmocka_unit_test(test_command_answers),
        cmocka_unit_test(test_handlers),
        cmocka_unit_test(test_stop_while_blocked),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_stopped_inside),
        cmocka_unit_test(test_foreign_handles),
        cmocka_unit_test(test_errors_name_the_authors_line),
        cmocka_unit_test(test_log_is_bounded),
        cmocka_unit_test(test_tasks_and_generators_are_bounded),
        cmocka_unit_test(test_telemetry_keeps_the_device),
        cmocka_unit_test(test_last_task_cancelled),
        cmocka_unit_test(test_on_error),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_that_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
