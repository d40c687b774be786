// What a behaviour does beside publishing: requests, observations, serving, MQTT 5 properties, enhanced authentication
// and connections beside the device's own; on the fake adapter, under the names of the real ones.
#include "stage.h"

#define HTTP "connection = iotix.http { url = 'http://h' }, "
#define COAP "connection = iotix.coap { url = 'coap://h' }, "

static struct adapter_conn *own(const struct stage *st, unsigned index)
{
    return stage_device(st, index)->conn;
}

static void expect_request(const char *method, const char *path, const char *payload, const char *headers,
                           const char *options)
{
    const struct fake_request *r = fake.requests;
    assert_non_null(r);
    assert_string_equal(r->method, method);
    assert_string_equal(r->path, path);
    assert_string_equal(r->payload, payload);
    assert_string_equal(r->headers, headers);
    assert_string_equal(r->options, options);
}

// --- requests -----------------------------------------------------------------------------------------------------

static void test_requests(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("assert(dev:connect())\n"
                        "local r = assert(dev:get('a?x=1'))\n"
                        "print(r.status, r.ok, r.body, r.latency, r.attempts, r.headers['x-one'])\n"
                        "print(#r.headers['x-two'], r.headers['x-two'][2], r:json().v)\n"
                        "r = dev:post('/b', { t = 1 }, { headers = { A = { '1', 2 }, B = true } })\n"
                        "print(r.status, r.ok, r:json())\n"
                        "r = dev:request { method = 'PUT', path = '/c', payload = 'raw', timeout = '5s',\n"
                        "  headers = { { 'Z', 'z' }, { 'A', 1 } }, retries = { max = 2, max_delay = '1s' },\n"
                        "  query = { q = 'x' }, redirects = 0, auth = false, content_type = 'text/plain' }\n"
                        "print(r.status)\n"
                        "print(dev:delete('/d'))\n"
                        "dev:patch('/e', 5) dev:fetch('/f', 'x')\n"
                        "dev:request { path = '/form', form = { { name = 'n', value = 'v' },\n"
                        "  { name = 'd', data = 'a\\0b' }, { name = 'f', file = 'x.bin' } } }\n"
                        "dev:sleep('1h')",
                        1, HTTP);
    stage_run(st, 0.1);
    expect_request("GET", "/a?x=1", "", "", "");
    fake_answer(200, "{\"v\":7}", false);
    stage_run(st, 0.1);
    stage_says(st, "200\\ttrue\\t{\"v\":7}\\t0.0125\\t2\\t1");
    stage_says(st, "2\\tb\\t7");
    expect_request("POST", "/b", "{\"t\":1}", "A=1;A=2;B=true;Content-Type=application/json", "");
    fake_answer(404, "<html>", false);
    stage_run(st, 0.1);
    stage_says(st, "404\\tfalse\\tnil\\t");
    expect_request(
        "PUT", "/c", "raw", "Z=z;A=1;Content-Type=text/plain",
        "{\"auth\":false,\"query\":{\"q\":\"x\"},\"redirects\":0,\"retries\":{\"max\":2,\"maxDelay\":\"1s\"}}");
    assert_int_equal(fake.requests->timeout_us, 5000000);
    fake_answer(204, "", false);
    stage_run(st, 0.1);
    expect_request("DELETE", "/d", "", "", "");
    fake_answer(ERR_TIMEOUT, NULL, false);
    stage_run(st, 0.1);
    stage_says(st, "nil\\tno answer\\ttimeout");
    expect_request("PATCH", "/e", "5", "", "");
    fake_answer(200, "", false);
    stage_run(st, 0.1);
    expect_request("FETCH", "/f", "x", "", "");
    fake_answer(200, "", false);
    stage_run(st, 0.1);
    expect_request("GET", "/form", "", "",
                   "{\"form\":[{\"name\":\"n\",\"value\":\"v\"},{\"data\":\"YQBi\",\"name\":\"d\"},{\"file\":\"./"
                   "x.bin\",\"name\":\"f\"}]}");
    stage_close(st);
}

static void test_coap_requests(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("assert(dev:connect())\n"
                        "local r = dev:request { path = '/t', payload = { 1 }, confirmable = false, block_size = 64 }\n"
                        "print(r.status, r.code, r.ok)\n"
                        "dev:sleep('1h')",
                        1, COAP);
    stage_run(st, 0.1);
    expect_request("POST", "/t", "[1]", "Content-Format=application/json", "{\"blockSize\":64,\"confirmable\":false}");
    fake_answer(205, "", false);
    stage_run(st, 0.1);
    stage_says(st, "205\\t2.05\\ttrue");
    stage_close(st);
}

// Mistakes of the author raise at his line; what the world refuses is a value.
static void test_requests_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"dev:get()", "bad argument"},
        {"dev:get('/x', { timeuot = 1 })", "dev:get: unknown key \"timeuot\"; valid: headers, timeout, content_type, "
                                           "query, form, redirects, retries, auth; did you mean \"timeout\"?"},
        {"dev:request { path = '/x', confirmable = true }", "dev:request: unknown key \"confirmable\""},
        {"dev:request {}", "dev:request: path is missing"},
        {"dev:request { path = 5 }", "path: expected a string"},
        {"dev:get('a\\0b')", "a path has at most 8192 bytes and no NUL"},
        {"dev:get(('x'):rep(9000))", "a path has at most 8192 bytes"},
        {"dev:get('/x', { headers = 5 })", "headers: expected a table"},
        {"dev:get('/x', { headers = { a = {} } })", "headers: a: expected a text or a list of texts"},
        {"dev:get('/x', { headers = { a = print } })", "headers: a: expected a text"},
        {"dev:get('/x', { headers = { [2] = 'a' } })", "got a key that is a number"},
        {"dev:get('/x', { headers = { { 'a' } } })", "expected a text or a list of texts, got nil"},
        {"dev:get('/x', { headers = { [''] = 'a' } })", "a name is empty"},
        {"dev:post('/x', print)", "dev:post: "},
        {"dev:post('/x', '', { form = 5 })", "form: expected a list"},
        {"dev:post('/x', '', { form = { 5 } })", "form: expected a list"},
        {"dev:get('/x', { retries = { bad = 1 }, query = print })", "a function has no JSON form"},
        {"dev:observe('/x')", "dev:observe: expected a function, got nil"},
        {"dev:serve('x', print)", "expected a path such as"},
        {"dev:serve('/x?y', print)", "expected a path such as"},
        {"dev:serve('/x')", "expected a function, got nil, and /x is not served"},
        {"dev:serve('/x', { rtt = 1 }, print)", "did you mean \"rt\"?"},
        {"dev:serve('/x', { rt = 'bad' }, print)", "dev:serve: bad attribute"},
        {"dev:notify('/x')", "/x is not served"},
        {"local t = {} for i = 1, 70 do t['h' .. i] = 'v' end dev:get('/x', { headers = t })", "at most 64 of them"},
        {"dev:get('/x', { headers = { a = ('x'):rep(70000) } })", "at most 65535 bytes"},
        {"coroutine.wrap(function() dev:get('/x') end)()", "cannot block inside a coroutine of your own"},
    };
    char body[8192] = "assert(dev:connect())\n";
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        size_t n = strlen(body);
        snprintf(body + n, sizeof(body) - n, "print(%u, pcall(function() %s end))\n", i, wrong[i][0]);
    }
    size_t n = strlen(body);
    snprintf(body + n, sizeof(body) - n,
             "dev:disconnect() dev:sleep(1) print('offline', dev:get('/x')) dev:sleep('1h')");
    struct stage *st = stage_behaviour(body, 1, HTTP);
    stage_run(st, 0.5);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char expected[64];
        snprintf(expected, sizeof(expected), "%u\\tfalse\\ttest.lua:", i);
        const char *line = strstr(st->lines, expected);
        if (!line || !memmem(line, strcspn(line, "\n"), wrong[i][1], strlen(wrong[i][1])))
            fail_msg("%s: expected \"%s\" in\n%.600s", wrong[i][0], wrong[i][1], line ? line : st->lines);
    }
    stage_run(st, 2);
    stage_says(st, "offline\\tnil\\tnot connected\\tstate");
    assert_null(fake.requests);
    stage_close(st);
}

// A task that is cancelled takes its request along; so does a device that stops.
static void test_request_cancelled(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("assert(dev:connect())\n"
                                       "local t = iotix.spawn(dev.get, dev, '/slow')\n"
                                       "dev:sleep(1) t:cancel() dev:get('/stopped')",
                                       1, HTTP);
    stage_run(st, 0.5);
    assert_non_null(fake.requests);
    stage_run(st, 1);
    assert_int_equal(fake.n_cancelled, 1);
    expect_request("GET", "/stopped", "", "", "");
    device_stop(stage_device(st, 1), ADAPTER_GRACEFUL);
    stage_run(st, 0.1);
    assert_int_equal(fake.n_cancelled, 2);
    assert_null(fake.requests);
    stage_close(st);
}

// --- observations -------------------------------------------------------------------------------------------------

static void test_observations(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour("assert(dev:connect())\n"
                                       "local o\n"
                                       "o = dev:observe('/t', { timeout = '2s' }, function(r, why, code)\n"
                                       "  if not r then print('over', why, code, o:active(), o:cancel()) return end\n"
                                       "  print('seen', r.body, o:active())\n"
                                       "  if r.body == '3' then print('cancelled', o:cancel(), o:cancel()) end\n"
                                       "end)\n"
                                       "print(type(o), pcall(function() o.x = 1 end))\n"
                                       "dev:sleep(1)\n"
                                       "o = dev:observe('/u', function(r, why, code) print('u', r, why, code) end)\n"
                                       "dev:sleep('1h')",
                                       1, COAP);
    stage_run(st, 0.1);
    expect_request("OBSERVE", "/t", "", "", "");
    fake_answer(205, "1", true);
    fake_answer(205, "2", true);
    stage_run(st, 0.1);
    stage_says(st, "seen\\t1\\ttrue");
    stage_says(st, "seen\\t2\\ttrue");
    fake_answer(205, "3", true);
    stage_run(st, 0.1);
    stage_says(st, "cancelled\\ttrue\\tfalse");
    assert_int_equal(fake.n_cancelled, 1);
    stage_run(st, 1);
    expect_request("OBSERVE", "/u", "", "", "");
    fake_answer(ERR_CLOSED, NULL, false);
    stage_run(st, 0.1);
    stage_says(st, "u\\tnil\\tno answer\\tclosed");
    stage_close(st);
}

// A behaviour that begins anew on the connection it has leaves nothing of the former one behind.
static void test_renewed(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("dev:connect() dev:observe('/o', print) dev:serve('/s', print) dev:sleep('1h')", 1, COAP);
    stage_run(st, 0.1);
    assert_int_equal(fake.n_requests, 1);
    assert_string_equal(own(st, 1)->served[0], "/s");
    device_renew(stage_device(st, 1));
    stage_run(st, 0.1);
    assert_int_equal(fake.n_requests, 2);
    assert_int_equal(fake.n_cancelled, 1);
    assert_string_equal(own(st, 1)->served[0], "/s");
    assert_string_equal(own(st, 1)->served[1], "");
    stage_close(st);
}

// --- serving ------------------------------------------------------------------------------------------------------

static void expect_answer(struct stage *st, uint64_t ticket, const char *method, const char *path, unsigned status,
                          const char *body)
{
    fake.answered = 0;
    fake_ask(own(st, 1), ticket, method, path, "{\"p\":1}");
    stage_run(st, 0.05);
    if (fake.answered != status || strcmp(fake.answer, body))
        fail_msg("%s %s: expected %u %s, got %u %s", method, path, status, body, fake.answered, fake.answer);
}

static void test_serving(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "assert(dev:connect())\n"
        "assert(dev:serve('/t', { observable = true, rt = 'x', interface = 'y' }, function(q)\n"
        "  print(q.method, q.path, q.query, q.payload, q.json.p, q.headers.accept) return { t = 1 } end))\n"
        "dev:serve('/none', function() end) dev:serve('/text', function() dev:sleep('10ms') return 'plain' end)\n"
        "dev:serve('/made', function() return { status = 201, body = { a = 1 }, headers = { Location = '/x' } } end)\n"
        "dev:serve('/wrong', function() error('broken') end)\n"
        "dev:serve('/no', function() return nil, 'not now' end)\n"
        "dev:serve('/odd', function() return { status = 'x' } end)\n"
        "dev:serve('/extra', function() return { status = 'on', level = 3 } end)\n"
        "dev:serve('/below/it', function() return 'itself' end) dev:serve('/below/*', function(q) return q.path end)\n"
        "print(dev:served_at(), dev:notify('/t'))\n"
        "dev:sleep(1) dev:serve('/t', nil) dev:serve('/none', function() return 'again' end) dev:sleep('1h')",
        1, HTTP);
    stage_run(st, 0.1);
    stage_says(st, "fake://served\\ttrue");
    assert_int_equal(own(st, 1)->notified, 1);
    expect_answer(st, 1, "GET", "/t?q=2", 200, "{\"t\":1}");
    assert_string_equal(fake.answer_headers, "Content-Type=application/json");
    stage_says(st, "GET\\t/t\\tq=2\\t{\"p\":1}\\t1\\tx");
    expect_answer(st, 2, "GET", "/none", 200, "");
    expect_answer(st, 3, "GET", "/text", 200, "plain");
    assert_string_equal(fake.answer_headers, "");
    expect_answer(st, 4, "POST", "/made", 201, "{\"a\":1}");
    assert_string_equal(fake.answer_headers, "Location=/x;Content-Type=application/json");
    expect_answer(st, 5, "GET", "/wrong", 500, "{\"error\":\"test.lua:9: broken\"}");
    stage_says(st, "handler of /wrong");
    expect_answer(st, 6, "GET", "/no", 400, "{\"error\":\"not now\"}");
    expect_answer(st, 7, "GET", "/odd", 500, "the handler's answer is wrong");
    expect_answer(
        st, 7, "GET", "/extra", 500,
        "{\"error\":\"the answer: unknown key \\\"level\\\"; valid: body, headers, status (a table with other keys "
        "that is to be the answer's JSON goes into body: { body = {…} })\"}");
    stage_says(st, "handler of /extra: the answer: unknown key \"level\"");
    expect_answer(st, 8, "GET", "/below/a/b", 200, "/below/a/b");
    expect_answer(st, 8, "GET", "/below/it", 200, "itself");
    expect_answer(st, 8, "GET", "/belowit", 404, "nothing is served at /belowit");
    expect_answer(st, 9, "GET", "/nowhere", 404, "nothing is served at /nowhere");
    expect_answer(st, 404, "GET", "/text", 0, fake.answer); // the client is gone: nobody says anything
    stage_silent(st, "was not sent");
    stage_run(st, 1);
    expect_answer(st, 10, "GET", "/t", 404, "nothing is served at /t");
    expect_answer(st, 11, "GET", "/none", 200, "again");
    device_stop(stage_device(st, 1), ADAPTER_GRACEFUL);
    stage_run(st, 0.1);
    stage_close(st);
}

static void test_serving_over_coap(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour("dev:serve('/t', function() return 'x' end) dev:connect() dev:sleep('1h')", 1, COAP);
    stage_run(st, 0.1);
    expect_answer(st, 1, "GET", "/t", 205, "x");
    expect_answer(st, 1, "PUT", "/t", 204, "x");
    expect_answer(st, 1, "DELETE", "/t", 202, "x");
    stage_close(st);
}

// --- MQTT 5 -------------------------------------------------------------------------------------------------------

static void test_meta(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "assert(dev:connect())\n"
        "dev:subscribe('in/#', { qos = 1, no_local = true, retain_handling = 2, identifier = 7 }, function(m)\n"
        "  print(m.content_type, m.response_topic, #m.correlation, m.user.a, m.user.b[2], m.expiry, "
        "m.subscription_ids[1])\n"
        "  return { got = m.payload } end)\n"
        "dev:sleep('1h')",
        1, "");
    stage_run(st, 0.05);
    assert_string_equal(fake.last_meta, "no_local=1 as_published=0 handling=2 id=7");
    fake_done(own(st, 1), stage_device(st, 1)->next_token);
    static const struct adapter_property user[] = {{"a", 1, "1", 1}, {"b", 1, "2", 1}, {"b", 1, "3", 1}};
    struct adapter_meta meta = {.content_type = "t/x",
                                .content_type_len = 3,
                                .response_topic = "back/to",
                                .response_topic_len = 7,
                                .correlation = (const uint8_t *)"c\0d",
                                .correlation_len = 3,
                                .user = user,
                                .n_user = 3,
                                .has_expiry = true,
                                .expiry_s = 9,
                                .n_subscription_ids = 1,
                                .subscription_ids = {7}};
    struct adapter_message m = {
        .topic = "in/x", .topic_len = 4, .payload = (const uint8_t *)"hi", .payload_len = 2, .qos = 1, .meta = &meta};
    own(st, 1)->events->on_message(own(st, 1)->owner, &m);
    stage_run(st, 0.05);
    stage_says(st, "t/x\\tback/to\\t3\\t1\\t3\\t9\\t7");
    assert_non_null(strstr(st->published, "back/to {\"got\":\"hi\"}"));
    stage_close(st);
}

static void test_publish_options(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "assert(dev:connect())\n"
        "assert(dev:publish('a', 'x', { user = { k = { '1', '2' }, a = 3, z = 1, y = 1, x = 1, w = 1, b = 1, c = 1 }, "
        "content_type = 'c', response_topic = 'r',\n"
        "  correlation = 'q', expiry = '1500ms', alias = true, payload_text = true }))\n"
        "local function wrong(o) print(pcall(dev.publish, dev, 'a', 'x', o)) end\n"
        "wrong { user = 5 } wrong { content_type = 5 } wrong { expiry = -1 } wrong { response_topic = '' } wrong { usr "
        "= {} }\n"
        "dev:sleep('1h')",
        1, "");
    stage_run(st, 0.1);
    assert_string_equal(
        fake.last_meta,
        "type=c reply=g/g-1/r correlation=q expiry=1:2 alias=1 text=1 a=3;b=1;c=1;k=1;k=2;w=1;x=1;y=1;z=1");
    stage_says(st, "user: expected a table { name = text }, got number");
    stage_says(st, "content_type: expected a string, got number");
    stage_says(st, "dev:publish: response_topic: the topic is empty");
    stage_says(st, "did you mean \"user\"?");
    stage_close(st);
}

static int ask_auth(struct stage *st, const char *data, char *reply, size_t size, struct error *err)
{
    struct buf out;
    buf_create(&out, 65536);
    struct adapter_conn *c = own(st, 1);
    int rc = c->events->on_auth(c->owner, (const uint8_t *)data, data ? strlen(data) : 0, &out, err);
    snprintf(reply, size, "%s", buf_cstr(&out));
    buf_destroy(&out);
    return rc;
}

static void test_auth(void **state)
{
    (void)state;
    static const struct {
        const char *data, *reply, *error;
    } cases[] = {{NULL, "first", NULL},      {"challenge", "egnellahc", NULL},   {"nothing", "", NULL},
                 {"no", NULL, "I will not"}, {"block", NULL, "answers at once"}, {"table", NULL, "expected a string"},
                 {"error", NULL, "broken"},  {"spin", NULL, "ran for 50 ms"}};
    struct stage *st = stage_behaviour("dev:on('auth', function() return 'replaced' end)\n"
                                       "dev:on('auth', function(data)\n"
                                       "  if not data then return 'first' end\n"
                                       "  if data == 'nothing' then return end\n"
                                       "  if data == 'no' then return nil, 'I will not' end\n"
                                       "  if data == 'block' then dev:sleep(1) end\n"
                                       "  if data == 'table' then return {} end\n"
                                       "  if data == 'error' then error('broken') end\n"
                                       "  while data == 'spin' do end\n"
                                       "  return data:reverse()\n"
                                       "end)\n"
                                       "dev:connect() dev:sleep('1h')",
                                       1, "");
    stage_run(st, 0.1);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char reply[64];
        struct error err = {0};
        int rc = ask_auth(st, cases[i].data, reply, sizeof(reply), &err);
        if (rc != (cases[i].reply ? 0 : -1) || (cases[i].reply && strcmp(reply, cases[i].reply)) ||
            (cases[i].error && !strstr(err.text, cases[i].error)))
            fail_msg("%s: %d %s %s", cases[i].data, rc, reply, err.text);
    }
    stage_close(st);
}

// --- connections beside the device's own ----------------------------------------------------------------------------

#define OPEN "local side = iotix.connection { url = 'side://a', username = 'u-${index}', password = 'p' }\n"

static const char *field_of(struct adapter_conn *c, enum adapter_field field)
{
    static char text[256];
    struct error err = {0};
    struct buf out;
    buf_create(&out, 4096);
    if (c->identity->field(c->owner, field, &out, &err))
        fail_msg("%s", err.text);
    snprintf(text, sizeof(text), "%s", buf_cstr(&out));
    buf_destroy(&out);
    return text;
}

static void test_open(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        OPEN "local api = iotix.http { url = 'https://api/v1' }\n"
             "assert(dev:connect())\n"
             "local c = assert(dev:open(side))\n"
             "print(c.state, c.protocol, c.url, tostring(c):find('^connection') ~= nil)\n"
             "c:on('disconnect', function() print('lost') end) c:on('connect', function() print('back', c.state) end)\n"
             "c:on('message', function(m) print('got', m.topic, m.json) end)\n"
             "iotix.spawn(function() assert(c:subscribe('x/#', function(m) print('sub', m.topic) end)) end)\n"
             "assert(c:publish('t', 'on side'))\n"
             "local h = assert(dev:open(api))\n"
             "local r = h:get('/me') print('me', r.body)\n"
             "print(h:close(), h:close(), h.state, h:get('/x'))\n"
             "print(pcall(function() return c.nosuch end))\n"
             "print(pcall(function() c.x = 1 end))\n"
             "dev:sleep('1h')",
        1, "");
    stage_run(st, 0.1);
    stage_says(st, "connected\\tmqtt\\tside://a\\ttrue");
    struct adapter_conn *side = fake_to("side://a");
    assert_string_equal(field_of(side, FIELD_USERNAME), "u-1");
    assert_string_equal(field_of(side, FIELD_PASSWORD), "p");
    assert_string_equal(field_of(side, FIELD_TOKEN), "");
    assert_string_equal(field_of(side, FIELD_CLIENT_ID), "g-1");
    assert_string_equal(field_of(side, FIELD_WILL_TOPIC), "");
    assert_string_equal(field_of(fake_to("https://api"), FIELD_CLIENT_ID), "g-1");
    fake_message(side, "x/1");
    stage_run(st, 0.05);
    stage_says(st, "sub\\tx/1");
    stage_says(st, "got\\tx/1");
    fake_offline(side, ERR_CLOSED, true);
    stage_run(st, 0.05);
    stage_says(st, "lost");
    fake_online(side, false);
    stage_run(st, 0.05);
    stage_says(st, "back\\tconnected");
    expect_request("GET", "/me", "", "", "");
    fake_answer(200, "it is me", false);
    stage_run(st, 0.1);
    stage_says(st, "me\\tit is me");
    stage_says(st, "true\\tfalse\\tclosed\\tnil\\tthe connection is closed\\tclosed");
    stage_says(st, "a connection has no \"nosuch\"");
    stage_says(st, "a connection's fields cannot be set");
    assert_null(fake_to("https://api"));
    device_stop(stage_device(st, 1), ADAPTER_GRACEFUL);
    stage_run(st, 0.1);
    assert_null(fake_to("side://a"));
    stage_close(st);
}

// Ways in which a connection may not come about, and its end in all states.
static void test_open_fails(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        OPEN "print('type', pcall(dev.open, dev, 5))\n"
             "print('url', pcall(dev.open, dev, 'http://h'))\n"
             "print('key', pcall(dev.open, dev, side, { retyr = 1 }))\n"
             "print('options', pcall(dev.open, dev, iotix.connection { url = 'side://b', options = { bad = 1 } }))\n"
             "print('scheme', pcall(dev.open, dev, iotix.connection { url = 'nosuch://b' }))\n"
             "print('embedded', dev:open(iotix.http {}))\n"
             "print('pattern', pcall(dev.open, dev, iotix.http { url = 'http://h', username = '${nosuch}' }))\n"
             "print('timeout', dev:open(side, { timeout = '100ms' }))\n"
             "print('failed', dev:open(side, { retry = false }))\n"
             "local t = iotix.spawn(dev.open, dev, side) dev:sleep(1) t:cancel()\n"
             "dev:sleep(1) print('final', dev:open(side)) dev:sleep('1h')",
        1, "");
    fake.auto_online = false;
    stage_run(st, 0.05);
    stage_says(
        st, "type\\tfalse\\tdev:open: expected what iotix.mqtt{…}, iotix.http{…} or iotix.coap{…} returns, got number");
    stage_says(st, "did you mean \"retry\"?");
    stage_says(st, "options\\tfalse");
    stage_says(st, "unknown option \"bad\"");
    stage_says(st, "no adapter for \"nosuch\"");
    stage_says(st, "the run has no embedded http target");
    stage_says(st, "${nosuch}");
    assert_non_null(fake_to("side://a"));
    stage_run(st, 0.2);
    stage_says(st, "timeout\\tnil\\tnot connected in time\\ttimeout");
    assert_int_equal(fake.n_conns, 1); // of the next attempt alone
    fake_offline(fake_to("side://a"), ERR_REFUSED, true);
    stage_run(st, 0.1);
    stage_says(st, "failed\\tnil\\tthe peer went away\\trefused");
    assert_int_equal(fake.n_conns, 1);
    stage_run(st, 1.1); // cancelled
    assert_int_equal(fake.n_conns, 0);
    stage_run(st, 1);
    fake_offline(fake_to("side://a"), ERR_PROTOCOL, false);
    stage_run(st, 0.1);
    stage_says(st, "final\\tnil\\tthe peer went away\\tprotocol");
    assert_int_equal(fake.n_conns, 0);
    stage_close(st);
}

static void test_open_is_bounded(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(OPEN "local list = {}\n"
                                            "for i = 1, 16 do list[i] = assert(dev:open(side)) end\n"
                                            "print('17th', dev:open(side))\n"
                                            "for i = 1, 16 do list[i]:close() end\n"
                                            "print('after', dev:open(side).state)\n"
                                            "list = nil dev:sleep('1h')",
                                       1, "");
    stage_run(st, 0.2);
    stage_says(st, "17th\\tnil\\ta device has at most 16 connections beside its own; close one\\tlimit");
    stage_says(st, "after\\tconnected");
    assert_int_equal(fake.n_conns, 1);
    assert_int_equal(fake.n_targets, 2); // the group's and theirs
    stage_close(st);
}

// What waits on a connection ends with it; closing inside a handler, twice, and while something is on its way.
static void test_close_ends_all(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        OPEN "local api = iotix.coap { url = 'coap://h' }\n"
             "local c, h = assert(dev:open(side)), assert(dev:open(api))\n"
             "iotix.spawn(function() print('request', h:get('/never')) end)\n"
             "iotix.spawn(function() print('wait', c:wait('message')) end)\n"
             "iotix.spawn(function() print('publish', c:publish('x', 'y', { qos = 1, wait = true })) end)\n"
             "local o = h:observe('/o', function() print('observed') end)\n"
             "c:on('message', function() print('closing', c:close('abrupt')) end)\n"
             "assert(h:serve('/s', function() h:close() return 'late' end))\n"
             "dev:sleep(1) print('observation', o:active(), o:cancel()) dev:sleep('1h')",
        1, "");
    stage_run(st, 0.1);
    struct adapter_conn *h = fake_to("coap://h");
    fake_message(fake_to("side://a"), "m");
    fake_ask(h, 1, "GET", "/s", "");
    stage_run(st, 0.1);
    stage_says(st, "closing\\ttrue");
    stage_says(st, "request\\tnil\\tthe connection is closed\\tclosed");
    stage_says(st, "publish\\tnil\\tthe connection is closed\\tclosed");
    stage_says(st, "wait\\t"); // the message came first
    assert_int_equal(fake.n_conns, 0);
    stage_run(st, 1);
    stage_says(st, "observation\\tfalse\\tfalse");
    stage_close(st);
}

// A graceful close waits for what is not acknowledged, but not for ever.
static void test_close_drains(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(OPEN "local c = assert(dev:open(side)) c:publish('x', 'y', { qos = 1 })\n"
                                            "c:close() dev:sleep('1h')",
                                       1, "");
    fake.new_pending = 1;
    stage_run(st, 0.5);
    assert_non_null(fake_to("side://a"));
    fake_to("side://a")->pending = 0;
    stage_run(st, 0.1);
    assert_null(fake_to("side://a"));
    stage_close(st);
    st = stage_behaviour(
        OPEN "local c = assert(dev:open(side)) c:publish('x', 'y', { qos = 1 }) c:close() dev:sleep('1h')", 1, "");
    fake.new_pending = 1;
    stage_run(st, 1.5);
    assert_non_null(fake_to("side://a"));
    stage_run(st, 1);
    assert_null(fake_to("side://a"));
    stage_close(st);
}

// A handle outlives everything: its device's restart, another device's hands, the collector.
static void test_foreign_connections(void **state)
{
    (void)state;
    struct stage *st =
        stage_behaviour(OPEN "if dev.index == 1 then\n"
                             "  if shared.c then print('restarted', shared.c.state, shared.c:publish('x', 'y')) end\n"
                             "  shared.c = assert(dev:open(side)) dev:sleep('1h')\n"
                             "end\n"
                             "dev:sleep(1)\n"
                             "print('foreign', shared.c.state, pcall(shared.c.publish, shared.c, 'x', 'y'))\n"
                             "print('self', pcall(shared.c.publish, dev, 'x', 'y'))\n"
                             "dev:sleep('1h')",
                        2, "");
    stage_run(st, 1.5);
    stage_says(st, "foreign\\tclosed\\tfalse");
    stage_says(st, "this is a connection of another device");
    struct error err = {0};
    assert_int_equal(device_restart(stage_device(st, 1), &err), 0);
    stage_run(st, 0.5);
    stage_says(st, "restarted\\tclosed\\tnil\\tthe connection is closed\\tclosed");
    lua_gc(st->scenario->L, LUA_GCCOLLECT, 0);
    stage_run(st, 0.5);
    stage_close(st);
}

// Two connections of one adapter must not share a client id; the group's own credentials are for servers without any.
static void test_identities(void **state)
{
    (void)state;
    struct stage *st = stage_behaviour(
        "dev:open(iotix.connection { url = 'side://one' }) dev:open(iotix.connection { url = 'side://two' })\n"
        "dev:open(iotix.mqtt { broker = 'mqtt://three', will = { topic = 'w', payload = '${deviceId} gone' },\n"
        "  client_id = 'own-${index}' })\n"
        "dev:sleep('1h')",
        1, "connection = iotix.mqtt { username = 'group', password = 'secret' }, ");
    stage_run(st, 0.2);
    assert_string_equal(field_of(fake_to("side://one"), FIELD_CLIENT_ID), "g-1");
    assert_string_equal(field_of(fake_to("side://one"), FIELD_PASSWORD), "secret");
    assert_string_equal(field_of(fake_to("side://two"), FIELD_CLIENT_ID), "g-1-2");
    struct adapter_conn *three = fake_to("mqtt://three");
    assert_string_equal(field_of(three, FIELD_CLIENT_ID), "own-1");
    assert_string_equal(field_of(three, FIELD_WILL_TOPIC), "g/g-1/w");
    assert_string_equal(field_of(three, FIELD_WILL_PAYLOAD), "g-1 gone");
    assert_string_equal(field_of(three, FIELD_USERNAME), "");
    assert_string_equal(field_of(three, FIELD_PASSWORD), "");
    stage_close(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_coap_requests),
        cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_request_cancelled),
        cmocka_unit_test(test_observations),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_serving),
        cmocka_unit_test(test_serving_over_coap),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_publish_options),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_open_is_bounded),
        cmocka_unit_test(test_close_ends_all),
        cmocka_unit_test(test_close_drains),
        cmocka_unit_test(test_foreign_connections),
        cmocka_unit_test(test_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
