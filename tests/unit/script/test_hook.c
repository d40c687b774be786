// What models leave to Lua: handlers of generators, encoders, commands and actions, with a behaviour and without.
#include "stage.h"
#include <sys/stat.h>
#include "device/command.h"

static char dir[64], path[128];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/iotix-hook-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/models", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/test.lua", dir);
    return 0;
}

static int remove_dir(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static void write_file(const char *name, const char *text)
{
    char file[256];
    snprintf(file, sizeof(file), "%s/%s", dir, name);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#define MODEL_HEAD "{\"id\":\"m\",\"name\":\"M\",\"type\":\"custom\",\"protocol\":\"mqtt\","
#define ATTRIBUTE(type, rest)                                                                                          \
    "{\"name\":\"v\",\"type\":\"" type "\",\"generator\":{\"type\":\"custom\",\"handler\":\"make\"" rest "}}"
#define ONE(type) MODEL_HEAD "\"telemetry\":[" ATTRIBUTE(type, "") "]}"

static struct stage *load(const char *model, const char *group)
{
    char *text = NULL;
    struct stage *st = stage_new();
    write_file("models/m.json", model);
    st->path = path;
    assert_true(asprintf(&text,
                         "local iotix = require 'iotix'\nlocal shared = {}\n"
                         "return iotix.scenario { name = 't', duration = '1h', groups = { iotix.group { name = 'g', "
                         "model = 'm', %s } } }\n",
                         group) > 0);
    stage_load(st, text);
    // stage_start wants the text once more
    struct stage *again = NULL;
    if (st->plan) {
        stage_close(st);
        again = stage_new();
        again->path = path;
        stage_start(again, text);
    }
    free(text);
    return again ? again : st;
}

static struct stage *open_stage(const char *model, const char *group)
{
    struct stage *st = load(model, group);
    if (!st->fleet)
        fail_msg("line %d: %s", st->diagnostics[0].line, st->diagnostics[0].message);
    return st;
}

static void expect_published(struct stage *st, const char *text)
{
    if (!strstr(st->published, text))
        fail_msg("expected \"%s\" in\n%s\nlog:\n%s", text, st->published, st->lines);
}

static uint64_t count(struct stage *st, const char *name)
{
    struct metric_selector sel;
    struct metric out = {0};
    assert_int_equal(metric_selector_parse(name, &sel, NULL), 0);
    metrics_select(st->metrics, &sel, &out);
    return out.count;
}

// --- generators -----------------------------------------------------------------------------------------------------

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body, *published;
    } cases[] = {
        {"number", "return 1.5", "{\"v\":1.5,"},
        {"integer", "return 2.0", "{\"v\":2,"},
        {"boolean", "return true", "{\"v\":true,"},
        {"string", "return 'a\"b'", "{\"v\":\"a\\\"b\","},
        {"string", "return 5", "{\"v\":\"5\","},
        {"number", "return nil", "{\"v\":null,"},
        {"number", "return 0/0", "{\"v\":null,"},
        {"object", "return { a = { 1, 2 }, id = ctx.id }", "{\"v\":{\"a\":[1,2],\"id\":\"g-1\"},"},
        {"array", "return { 1, 'x' }", "{\"v\":[1,\"x\"],"},
        {"binary", "return 'ab\\1'", "telemetry ab\1\n"},
        {"string", "return ctx.group .. ctx.index .. type(ctx.params) .. tostring(ctx.values)",
         "{\"v\":\"g1tablenil\","},
        {"integer", "ctx.state.n = (ctx.state.n or 0) + 1 return ctx.state.n", "{\"v\":3,"},
        {"number", "shared.ctx = shared.ctx or ctx assert(shared.ctx == ctx) return ctx.time", "{\"v\":2,"},
        {"integer", "return math.floor(ctx.wall / 1e6)", "{\"v\":1700,"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char model[600], group[400];
        snprintf(model, sizeof(model), MODEL_HEAD "\"telemetry\":[" ATTRIBUTE("%s", "") "]}", cases[i].type);
        snprintf(group, sizeof(group), "handlers = { make = function(ctx) %s end }", cases[i].body);
        struct stage *st = open_stage(model, group);
        stage_run(st, 3.1);
        expect_published(st, cases[i].published);
        stage_silent(st, "handler");
        assert_int_equal(count(st, "script_errors"), 0);
        stage_close(st);
    }
}

// Two attributes of one handler: a context for each set of params.
static void test_params(void **state)
{
    (void)state;
    struct stage *st = open_stage(
        MODEL_HEAD "\"telemetry\":["
                   "{\"name\":\"a\",\"type\":\"number\",\"generator\":{\"type\":\"custom\",\"handler\":"
                   "\"make\",\"params\":{\"by\":10}}},"
                   "{\"name\":\"b\",\"type\":\"number\",\"generator\":{\"type\":\"custom\",\"handler\":"
                   "\"make\",\"params\":{\"by\":100}}},"
                   "{\"name\":\"c\",\"type\":\"number\",\"generator\":{\"type\":\"correlated\",\"expression\":"
                   "\"a + 1\"}},"
                   "{\"name\":\"d\",\"type\":\"number\",\"generator\":{\"type\":\"custom\",\"handler\":"
                   "\"other\"}}]}",
        "handlers = { make = function(ctx) local s = ctx.state s.n = (s.n or 0) + ctx.params.by return s.n "
        "end, other = function(ctx) return ctx.values.a * 2 end }");
    stage_run(st, 2.1);
    expect_published(st, "{\"a\":20,\"b\":200,\"c\":21,\"d\":40,");
    stage_close(st);
}

// What is drawn in a handler comes from the device: its values are the same whoever else is there.
static void test_seeded(void **state)
{
    (void)state;
    char first[2][4096] = {"", ""};
    for (int i = 0; i < 2; i++) {
        struct stage *st =
            open_stage(ONE("number"), i ? "count = 9, handlers = { make = function(ctx) return math.random(1e6) end }"
                                        : "count = 1, handlers = { make = function(ctx) return math.random(1e6) end }");
        stage_run(st, 4);
        for (char *line = strtok(st->published, "\n"); line; line = strtok(NULL, "\n")) {
            size_t n = strlen(first[i]);
            if (strstr(line, "g/g-1/"))
                snprintf(first[i] + n, sizeof(first[i]) - n, "%s\n", line);
        }
        stage_close(st);
    }
    assert_string_equal(first[0], first[1]);
    assert_int_equal(count_of(first[0], "telemetry"), 4);
}

static void test_failures(void **state)
{
    (void)state;
    static const struct {
        const char *body, *says;
        unsigned after_s; // when the device has ended, 0: never
    } cases[] = {
        {"error('no way')", "test.lua:3: no way", 11},
        {"error({})", "raised something that is not text", 11},
        {"return function() end", "handler make: returned a function; expected a number", 11},
        {"return string.rep('x', 1000000) .. string.rep('x', 100000)", "returned more than 1 MB", 11},
        {"local t = {} t.t = t return t", "nested deeper than", 11},
        {"iotix.sleep(1)", "iotix.sleep cannot block here: the handler of a generator or an encoder answers at once",
         11},
        {"iotix.spawn(print)", "iotix.spawn does not work in the handler of a generator", 11},
        {"while true do end", "ran for 50 ms where it cannot be paused", 2},
        {"while true do pcall(function() while true do end end) end", "ran for 50 ms", 2},
        {"local t = {} for i = 1, 1e7 do t[i] = {} end", "holds more than 1024 KB of memory", 2},
        {"ctx.state.n = (ctx.state.n or 0) + 1 if ctx.state.n % 10 > 0 then error('x') end return 1", "test.lua:3: x",
         0},
        {"return coroutine.yield(1)", "yield", 11},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char group[400];
        snprintf(group, sizeof(group), "%s handlers = { make = function(ctx) %s end }",
                 strstr(cases[i].body, "1000000") ? "memory = '8MB'," : "", cases[i].body);
        struct stage *st = open_stage(ONE("string"), group);
        stage_run(st, 1.2);
        if (!strstr(st->lines, cases[i].says))
            fail_msg("%s: expected \"%s\" in\n%s", cases[i].body, cases[i].says, st->lines);
        if (cases[i].after_s != 2)
            expect_published(st, "{\"v\":null,"); // the message goes out all the same
        stage_run(st, 30);
        assert_int_equal(stage_device(st, 1)->state, cases[i].after_s ? DEVICE_ERROR : DEVICE_RUNNING);
        if (cases[i].after_s)
            assert_int_equal(count(st, "script_errors{group:g}"), cases[i].after_s == 2 ? 1 : 10);
        stage_close(st);
    }
}

// Who runs too long in every device is soon not called any more.
static void test_breaker(void **state)
{
    (void)state;
    struct stage *st = open_stage(ONE("number"), "count = 100, handlers = { make = function() while true do end end }");
    stage_run(st, 3);
    assert_int_equal(count(st, "tasks_killed"), 10);
    assert_int_equal(count(st, "script_errors{group:g}"), 100);
    stage_says(st, "is not called any more");
    for (unsigned i = 1; i <= 100; i++)
        assert_int_equal(stage_device(st, i)->state, DEVICE_ERROR);
    stage_close(st);
}

static void test_log_once_a_second(void **state)
{
    (void)state;
    struct stage *st = open_stage(
        MODEL_HEAD "\"telemetry\":[{\"name\":\"v\",\"type\":\"number\",\"intervalMs\":100,\"generator\":{\"type\":"
                   "\"custom\",\"handler\":\"make\"}}]}",
        "handlers = { make = function(ctx) local s = ctx.state s.n = (s.n or 0) + 1 if s.n % 9 > 0 then error('x') end "
        "return 1 end }");
    stage_run(st, 10);
    assert_in_range(st->n_lines, 8, 11);
    assert_in_range(count(st, "script_errors{group:g}"), 80, 92);
    stage_close(st);
}

// --- encoders -------------------------------------------------------------------------------------------------------

#define ENCODED                                                                                                        \
    MODEL_HEAD "\"encoding\":{\"type\":\"lua\",\"handler\":\"pack\"},\"telemetry\":["                                  \
               "{\"name\":\"a\",\"type\":\"integer\",\"generator\":{\"type\":\"sequence\"}},"                          \
               "{\"name\":\"s\",\"type\":\"string\",\"generator\":{\"type\":\"constant\",\"value\":\"x\"}},"           \
               "{\"name\":\"o\",\"type\":\"object\",\"generator\":{\"type\":\"constant\",\"value\":{\"k\":[1]}}},"     \
               "{\"name\":\"z\",\"type\":\"number\",\"generator\":{\"type\":\"constant\",\"value\":null}}]}"

static void test_encoder(void **state)
{
    (void)state;
    struct stage *st =
        open_stage(ENCODED, "handlers = { pack = function(values, ctx) ctx.state.n = (ctx.state.n or 0) + 1 "
                            "if ctx.state.n == 2 then return '' end "
                            "return ctx.id .. '|' .. values.a .. '|' .. values.s .. '|' .. values.o.k[1] .. '|' .. "
                            "tostring(values.z) .. '|' .. ctx.state.n end }");
    stage_run(st, 3.1);
    assert_string_equal(st->published, "g/g-1/telemetry g-1|0|x|1|nil|1\ng/g-1/telemetry g-1|2|x|1|nil|3\n");
    stage_close(st);
    st = open_stage(ENCODED, "handlers = { pack = function(values) return values end }");
    stage_run(st, 30);
    stage_says(st, "handler pack: returned a table; expected a text (\"\" sends nothing)");
    assert_string_equal(st->published, "");
    assert_int_equal(stage_device(st, 1)->state, DEVICE_ERROR);
    stage_close(st);
    st = open_stage(ENCODED, "handlers = { pack = function(values) end }");
    stage_run(st, 3);
    stage_says(st, "handler pack: returned nothing; expected a text");
    stage_close(st);
    st = open_stage(ENCODED, "handlers = { pack = function(values) while true do end end }, on_error = 'restart', "
                             "max_restarts = 2");
    stage_run(st, 30);
    assert_int_equal(stage_device(st, 1)->state, DEVICE_ERROR);
    assert_int_equal(stage_device(st, 1)->restarts, 2);
    stage_close(st);
}

// --- commands -------------------------------------------------------------------------------------------------------

#define COMMANDED                                                                                                      \
    MODEL_HEAD "\"commands\":[{\"name\":\"move\",\"handler\":\"move\",\"timeoutMs\":2000,\"parameters\":[{\"name\":"   \
               "\"to\",\"type\":\"number\"}]},{\"name\":\"plain\"}]}"

static void say(struct stage *st, const char *topic, const char *payload)
{
    struct adapter_conn *c = stage_device(st, 1)->conn;
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload)};
    st->published_len = 0;
    st->published[0] = '\0';
    c->events->on_message(c->owner, &m);
}

#define MOVE "g/g-1/commands/move"

static void test_command(void **state)
{
    (void)state;
    static const struct {
        const char *body, *answer;
    } cases[] = {
        {"return { at = cmd.params.to }", "{\"ok\":true,\"command\":\"move\",\"id\":1,\"result\":{\"at\":5}}"},
        {"return cmd.name .. cmd.id .. cmd.topic .. cmd.json.to .. #cmd.payload",
         "\"result\":\"move1g/g-1/commands/move515\"}"},
        {"", "{\"ok\":true,\"command\":\"move\",\"id\":1}"},
        {"return nil, 'it sticks'",
         "{\"ok\":false,\"command\":\"move\",\"id\":1,\"error\":\"it sticks\",\"code\":\"handler\"}"},
        {"return false", "\"ok\":true,\"command\":\"move\",\"id\":1,\"result\":false}"},
        {"error('no way', 0)", "\"error\":\"no way\",\"code\":\"handler\"}"},
        {"error({})", "\"ok\":false"},
        {"return print", "\"error\":\"the result of the handler: a function has no JSON form\",\"code\":\"handler\"}"},
        {"local t = {} t.t = t return t", "the result of the handler: tables are nested deeper than"},
        {"dev:sleep('500ms') assert(dev:publish('state', cmd.params.to)) return dev.id",
         "g/g-1/state 5\ng/g-1/response {\"ok\":true,\"command\":\"move\",\"id\":1,\"result\":\"g-1\"}\n"},
        {"local r = {} for i = 1, 2 do iotix.spawn(function() dev:sleep('1s') r[#r + 1] = i end) end dev:sleep('1.5s') "
         "return r",
         "\"result\":[1,2]}"},
        {"assert(dev:connect()) assert(dev.connection == 'connected') return dev.index", "\"result\":1}"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char group[400];
        snprintf(group, sizeof(group), "handlers = { move = function(cmd, dev) %s end }", cases[i].body);
        struct stage *st = open_stage(COMMANDED, group);
        stage_run(st, 1);
        say(st, MOVE, "{\"to\":5,\"id\":1}");
        stage_run(st, 3);
        expect_published(st, cases[i].answer);
        assert_int_equal(count(st, "commands_received{group:g}"), 1);
        assert_int_equal(stage_device(st, 1)->state, DEVICE_RUNNING);
        assert_null(stage_device(st, 1)->commands);
        say(st, "g/g-1/commands/plain", ""); // and the device is well
        expect_published(st, "{\"ok\":true,\"command\":\"plain\"}");
        stage_close(st);
    }
}

static void test_command_that_never_returns(void **state)
{
    (void)state;
    static const struct {
        const char *body, *code;
    } cases[] = {
        {"dev:sleep('1h')", "\"error\":\"not done in 2 s\",\"code\":\"timeout\""},
        {"dev:wait('message')", "\"code\":\"timeout\""},
        {"while true do end", "ran for more than 5 ms without a pause, 10 times in a row\",\"code\":\"handler\""},
        {"while true do pcall(error) end", "\"code\":\"handler\""},
        {"local t = {} for i = 1, 1e7 do t[i] = {} end", "holds more than 1024 KB of memory\",\"code\":\"handler\""},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char group[300];
        snprintf(group, sizeof(group), "handlers = { move = function(cmd, dev) %s end }", cases[i].body);
        struct stage *st = open_stage(COMMANDED, group);
        stage_run(st, 1);
        say(st, MOVE, "{\"id\":1}");
        stage_run(st, 3);
        expect_published(st, cases[i].code);
        struct tasks_stats stats;
        tasks_stats(st->scenario->tasks, &stats);
        assert_int_equal(stats.live, 0);
        assert_int_equal(stage_device(st, 1)->state, DEVICE_RUNNING);
        assert_int_equal(st->device_errors, 0);
        stage_close(st);
    }
}

// A device that stops, is restarted or is taken down with the fleet while its handlers run.
static void test_command_and_stop(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct stage *st =
            open_stage(COMMANDED, "handlers = { move = function(cmd, dev) dev:subscribe('x', print) iotix.spawn("
                                  "dev.sleep, dev, 9) dev:sleep('1h') end }");
        stage_run(st, 1);
        for (int k = 0; k < 5; k++)
            say(st, MOVE, "{}");
        if (i != 3) // else they have not begun
            stage_run(st, 0.5);
        struct device *d = stage_device(st, 1);
        if (i == 0)
            device_stop(d, ADAPTER_GRACEFUL);
        else if (i == 1)
            assert_int_equal(device_restart(d, NULL), 0);
        if (i < 2) {
            stage_run(st, 1);
            struct tasks_stats stats;
            tasks_stats(st->scenario->tasks, &stats);
            assert_int_equal(stats.live, 0);
            assert_int_equal(d->state, i ? DEVICE_RUNNING : DEVICE_STOPPED);
        }
        stage_run(st, 3);
        if (i < 2)
            assert_string_equal(st->published, "");
        stage_close(st);
    }
}

// dev:publish with wait, dev:on and dev:wait work without a behaviour too: the device has an ear once a hook has run.
static void test_ear(void **state)
{
    (void)state;
    struct stage *st =
        open_stage(COMMANDED, "handlers = { move = function(cmd, dev) local m = dev:wait('message', '1s') return m and "
                              "m.payload or 'nothing' end }");
    stage_run(st, 1);
    say(st, MOVE, "{}");
    stage_run(st, 0.1);
    say(st, "g/g-1/other", "hello");
    stage_run(st, 0.1);
    expect_published(st, "\"result\":\"hello\"");
    stage_close(st);
}

static void test_behaviour(void **state)
{
    (void)state;
    struct stage *st = open_stage(
        COMMANDED,
        "handlers = { move = function(cmd, dev) shared.moved = cmd.params.to return 'handler' end }, "
        "behaviour = function(dev) assert(dev:connect()) dev:on('command', function(cmd, same) assert(dev == "
        "same or dev.id == same.id) return cmd.name .. tostring(shared.moved) end) dev:on('command', "
        "function() return 'second' end) dev:on('message', function(m) shared.last = m.topic end) end");
    stage_run(st, 1);
    say(st, MOVE, "{\"to\":4}");
    stage_run(st, 0.1);
    assert_string_equal(st->published, "g/g-1/response {\"ok\":true,\"command\":\"move\",\"result\":\"handler\"}\n");
    say(st, "g/g-1/commands/plain", "{\"id\":2}");
    stage_run(st, 0.1);
    assert_string_equal(st->published,
                        "g/g-1/response {\"ok\":true,\"command\":\"plain\",\"id\":2,\"result\":\"plain4\"}\n");
    say(st, "g/g-1/command", "{\"command\":\"plain\"}");
    stage_run(st, 0.1);
    assert_string_equal(st->published, "g/g-1/response {\"ok\":true,\"command\":\"plain\",\"result\":\"plain4\"}\n");
    say(st, "g/g-1/command", "{\"command\":\"nope\"}");
    stage_run(st, 0.1);
    expect_published(st, "\"code\":\"unknown\"");
    assert_int_equal(count(st, "commands_late"), 0);
    assert_int_equal(count(st, "commands_received{group:g}"), 4);
    stage_close(st);
    // its own handler may take longer than the model allows: answered for, not cancelled, and counted when it is late
    st = open_stage(MODEL_HEAD "\"commands\":[{\"name\":\"move\",\"timeoutMs\":1000}]}",
                    "behaviour = function(dev) assert(dev:connect()) dev:on('command', function() dev:sleep('3s') "
                    "dev:publish('moved') end) end");
    stage_run(st, 1);
    say(st, MOVE, "{}");
    stage_run(st, 1.5);
    expect_published(st, "\"code\":\"timeout\"");
    stage_run(st, 2);
    expect_published(st, "g/g-1/moved");
    assert_int_equal(count(st, "commands_late{group:g}"), 1);
    stage_close(st);
}

// Another model numbers its hooks anew; one with a handler that is not there is refused.
static void test_model_change(void **state)
{
    (void)state;
    struct stage *st =
        open_stage(COMMANDED, "handlers = { move = function() return 'move' end, other = function() return "
                              "'other' end }");
    static const char *const texts[] = {MODEL_HEAD "\"commands\":[{\"name\":\"first\",\"handler\":\"other\"},{\"name\":"
                                                   "\"move\",\"handler\":\"move\"}]}",
                                        MODEL_HEAD "\"commands\":[{\"name\":\"move\",\"handler\":\"nope\"}]}"};
    const struct device_ops *ops = st->ops->device_ops(st->scenario);
    struct group *g = fleet_group(st->fleet, 0);
    stage_run(st, 1);
    for (int i = 0; i < 2; i++) {
        st->models[1 + i] = model_parse(texts[i], strlen(texts[i]), "models/m.json", NULL, &st->err);
        assert_non_null(st->models[1 + i]);
        if (i == 0) {
            assert_int_equal(ops->hook_resolve(st->scenario, g, st->models[1], &st->err), 0);
            g->config.model = st->models[1];
        } else {
            assert_int_equal(ops->hook_resolve(st->scenario, g, st->models[2], &st->err), -1);
            assert_non_null(
                strstr(st->err.text, "handler \"nope\" was not found: the handlers of group g are move, other"));
        }
        say(st, MOVE, "");
        stage_run(st, 0.1);
        expect_published(st, "\"result\":\"move\"");
        say(st, "g/g-1/commands/first", "");
        stage_run(st, 0.1);
        expect_published(st, "\"result\":\"other\"");
    }
    stage_close(st);
}

// --- actions --------------------------------------------------------------------------------------------------------

static void test_custom(void **state)
{
    (void)state;
    struct stage *st = open_stage(
        MODEL_HEAD "\"behaviors\":[{\"name\":\"hi\",\"trigger\":{\"type\":\"startup\"},\"action\":{\"type\":\"custom\","
                   "\"handler\":\"hello\",\"params\":{\"n\":3}}}]}",
        "handlers = { hello = function(dev, params, what) dev:sleep('1s') dev:publish('hello', { n = params.n, what = "
        "type(what) }) end }");
    stage_run(st, 3);
    expect_published(st, "g/g-1/hello {\"n\":3,\"what\":\"table\"}\n");
    stage_close(st);
    st =
        open_stage(MODEL_HEAD "\"behaviors\":[{\"name\":\"hi\",\"trigger\":{\"type\":\"startup\"},\"action\":{\"type\":"
                              "\"custom\",\"handler\":\"hello\"}}]}",
                   "handlers = { hello = function(dev, params) error('no way') end }");
    stage_run(st, 3);
    stage_says(st, "no way");
    assert_int_equal(count(st, "script_errors{group:g}"), 1);
    assert_int_equal(stage_device(st, 1)->state, DEVICE_RUNNING);
    stage_close(st);
}

// --- where handlers are found ---------------------------------------------------------------------------------------

static void expect_no_load(const char *model, const char *group, const char *file, const char *message)
{
    struct stage *st = load(model, group);
    if (st->fleet || !st->n_diagnostics)
        fail_msg("%s: loaded", group);
    const struct diagnostic *d = &st->diagnostics[0];
    if (!strstr(d->message, message) || !strstr(d->file, file))
        fail_msg("expected %s: %s\ngot %s:%d: %s %s", file, message, d->file, d->line, d->code, d->message);
    stage_close(st);
}

#define NAMED(handler) MODEL_HEAD "\"commands\":[\n{\"name\":\"move\",\"handler\":\"" handler "\"}]}"

static void test_lookup(void **state)
{
    (void)state;
    write_file("models/near.lua", "return { go = function() return 'near' end, stop = 5 }");
    write_file("far.lua",
               "local far = {} function far.go() return 'far ' .. require('far').mark end far.mark = 'x' return far");
    write_file("broken.lua", "return {\n,}");
    write_file("raises.lua", "error('at load')");
    write_file("text.lua", "return 'text'");
    static const char *const good[][3] = {
        {"near.go", "", "\"near\""},
        {"far.go", "", "\"far x\""},
        {"far.go", "handlers = { ['far.go'] = function() return 'own' end }", "\"own\""},
        {"go", "handlers = { go = function() return 'go' end }", "\"go\""}};
    for (unsigned i = 0; i < 4; i++) {
        char model[300];
        snprintf(model, sizeof(model), NAMED("%s"), good[i][0]);
        struct stage *st = open_stage(model, good[i][1]);
        stage_run(st, 1);
        say(st, MOVE, "");
        stage_run(st, 0.1);
        expect_published(st, good[i][2]);
        stage_close(st);
    }
    expect_no_load(NAMED("go"), "", "m.json",
                   "/commands/0/handler: handler \"go\" was not found: group g has no handlers");
    expect_no_load(NAMED("goo"), "handlers = { go = print }", "m.json",
                   "the handlers of group g are go; did you mean \"go\"?");
    expect_no_load(NAMED("near.stop"), "", "m.json", "near.lua has no function stop; it has: go");
    expect_no_load(NAMED("far.goo"), "", "m.json", "far.lua has no function goo; it has: go; did you mean \"go\"?");
    expect_no_load(NAMED("nowhere.go"), "", "m.json", "/models/nowhere.lua, ");
    expect_no_load(NAMED("text.go"), "", "m.json", "text.lua returns no table of functions");
    expect_no_load(NAMED("broken.go"), "", "broken.lua", "unexpected symbol");
    expect_no_load(NAMED("raises.go"), "", "raises.lua", "at load");
    expect_no_load(NAMED("pkg.handlers:Go"), "", "m.json", "looks like Python");
    expect_no_load(NAMED("a"), "handlers = 5", "test.lua", "handlers: expected a table");
    expect_no_load(NAMED("a"), "handlers = { a = 5 }", "test.lua", "handlers: a: expected a function, got a number");
    expect_no_load(NAMED("a"), "handlers = { print }", "test.lua", "handlers: a name of a handler");
    // generators in objects and arrays
    expect_no_load(MODEL_HEAD "\"telemetry\":[{\"name\":\"o\",\"type\":\"object\",\"generator\":{\"type\":\"object\","
                              "\"properties\":{\"l\":{\"type\":\"array\",\"length\":2,\"items\":{\"type\":\"custom\","
                              "\"handler\":\"deep\"}}}}}]}",
                   "", "m.json", "/telemetry/0/generator/properties/l/items/handler: handler \"deep\" was not found");
}

static void test_line(void **state)
{
    (void)state;
    struct stage *st = load(NAMED("nope"), "");
    assert_int_equal(st->n_diagnostics, 1);
    assert_string_equal(st->diagnostics[0].code, "IOTX024");
    assert_int_equal(st->diagnostics[0].line, 2);
    assert_int_equal(st->diagnostics[0].exit_code, 104);
    stage_close(st);
}

// What a model-only device costs once a hook has run, and what a call does.
static void test_memory(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct stage *st =
        open_stage(ONE("number"), "count = 1000, handlers = { make = function(ctx) return ctx.time end }");
    int64_t lua = -1;
    stage_run(st, 0.01);
    lua_gc(st->scenario->L, LUA_GCCOLLECT, 0);
    uint64_t before = guard_state_bytes(st->scenario->guard);
    stage_run(st, 2);
    lua_gc(st->scenario->L, LUA_GCCOLLECT, 0);
    lua = (int64_t)(guard_state_bytes(st->scenario->guard) - before);
    print_message("a device with a generator's hook: %lld bytes of Lua, %zu of its record\n", (long long)lua / N,
                  sizeof(struct behaviour));
    assert_true(lua / N < 700);
    const struct device_ops *ops = st->ops->device_ops(st->scenario);
    struct gen_context context = {.time_us = 1, .wall_us = 1};
    struct value v;
    int64_t start = clock_thread_cpu_us();
    enum { CALLS = 200000 };
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(ops->hook_generate(st->scenario, stage_device(st, 1 + i % N), 0, NULL, &context, &v, &st->err),
                         0);
    print_message("a call of a generator's hook: %.0f ns\n", (double)(clock_thread_cpu_us() - start) * 1e3 / CALLS);
    stage_close(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_seeded),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_log_once_a_second),
        cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_that_never_returns),
        cmocka_unit_test(test_command_and_stop),
        cmocka_unit_test(test_ear),
        cmocka_unit_test(test_behaviour),
        cmocka_unit_test(test_model_change),
        cmocka_unit_test(test_custom),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
