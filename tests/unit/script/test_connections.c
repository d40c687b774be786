// What becomes of iotix.mqtt{…}, iotix.http{…} and iotix.coap{…}: the adapter's options in its own spelling, the
// credentials, the plan; and what is told of wrong ones.
#include "stage.h"

#define HEAD "local iotix = require 'iotix'\n"

static struct stage *load(const char *groups, const char *more)
{
    char *text = NULL;
    struct stage *st = stage_new();
    assert_true(asprintf(&text,
                         HEAD "local function group(t) t.behaviour = function() end return iotix.group(t) end\n"
                              "return iotix.scenario { name = 's', duration = '1s', %s groups = { %s } }\n",
                         more, groups) > 0);
    stage_load(st, text);
    free(text);
    if (!st->plan)
        fail_msg("%s: %s", groups, st->diagnostics[0].message);
    return st;
}

static void expect_json(const json_t *v, const char *expected)
{
    char *text = json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    if (!text || strcmp(text, expected))
        fail_msg("expected %s\ngot      %s", expected, text ? text : "nothing");
    free(text);
}

static const json_t *group(const struct stage *st, size_t i)
{
    return json_array_get(json_object_get(st->plan, "groups"), i);
}

static void expect_options(const char *connection, const char *expected)
{
    char groups[2048];
    snprintf(groups, sizeof(groups), "group { name = 'g', connection = %s }", connection);
    struct stage *st = load(groups, "");
    expect_json(json_object_get(group(st, 0), "adapter"), expected);
    stage_close(st);
}

static void test_options(void **state)
{
    (void)state;
    expect_options("iotix.mqtt {}", "{\"cleanSession\":true,\"connectTimeout\":10,\"connectWindow\":64,\"inflight\":20,"
                                    "\"keepAlive\":60,\"maxPacket\":1048576,\"version\":\"3.1.1\"}");
    expect_options(
        "iotix.mqtt { version = 5, session_expiry = 'never', receive_maximum = 9, topic_alias_maximum = 3, "
        "topic_aliases = "
        "true,\n"
        "user_properties = { a = '1', b = { 'x', 2 } }, request_response_info = true, request_problem_info = false, "
        "follow_redirect = false,\n"
        "auth_method = 'SCRAM', response_topic = 'r', will = { topic = 't', delay = '1m', expiry = 5, content_type = "
        "'c', "
        "response_topic = 'w',\n"
        "correlation = 'q', user = { k = 'v' } }, websocket = { path = '/x', headers = { H = 'h' }, max_frame = '64KB' "
        "}, "
        "connect_rate = 100,\n"
        "connect_pacing = { target = '100ms', min_rate = 2, max_failures = 0.5 }, source = { '127.0.0.2', '127.0.0.3' "
        "}, "
        "timeout = '3s' }",
        "{\"authMethod\":\"SCRAM\",\"cleanSession\":true,\"connectPacing\":{\"maxFailures\":0.5,\"minRate\":2,"
        "\"target\":0.1},"
        "\"connectRate\":100,\"connectTimeout\":10,\"connectWindow\":64,\"followRedirect\":false,\"inflight\":20,"
        "\"keepAlive\":60,\"maxPacket\":1048576,\"receiveMaximum\":9,\"requestProblemInfo\":false,"
        "\"requestResponseInfo\":true,\"responseTopic\":\"r\",\"sessionExpiry\":\"never\",\"source\":[\"127.0.0.2\","
        "\"127.0.0.3\"],\"timeout\":3,\"topicAliasMaximum\":3,\"topicAliases\":true,\"userProperties\":{\"a\":\"1\","
        "\"b\":"
        "[\"x\",\"2\"]},\"version\":\"5\",\"websocket\":{\"headers\":{\"H\":\"h\"},\"maxFrame\":65536,\"path\":\"/x\"},"
        "\"willContentType\":\"c\",\"willCorrelation\":\"q\",\"willDelay\":60,\"willExpiry\":5,\"willResponseTopic\":"
        "\"w\","
        "\"willUserProperties\":{\"k\":\"v\"}}");
    expect_options(
        "iotix.http { url = 'https://h/v1', version = '2', headers = { A = 'a' }, auth = 'none', "
        "stall_timeout = 1, serve_timeout = 2, keep_alive = 3, retries = { max = 3, initial = '1s', max_delay = "
        "'9s', factor = 3, jitter = false, on = { 503, 'network' } }, redirects = 0, compression = false, "
        "max_connections = 7, max_response = '2KB', max_request = '3KB', queue = 4, allow_absolute = true, "
        "publish = { method = 'PUT', content_type = 'x/y' }, probe = '/health', commands = { mode = 'poll', "
        "path = '/c', interval = 0, wait = '5s' }, tls = { ca = 'ca.pem', verify = false, server_name = 'n', "
        "alpn = { 'h2' }, min_version = '1.3', resume = false } }",
        "{\"allowAbsolute\":true,\"auth\":\"none\",\"commands\":{\"interval\":0,\"mode\":\"poll\",\"path\":\"/"
        "c\",\"wait\":5},\"compression\":false,\"headers\":{\"A\":\"a\"},\"keepAlive\":3,\"maxConnections\":7,"
        "\"maxRequest\":3072,\"maxResponse\":2048,\"probe\":\"/"
        "health\",\"publish\":{\"contentType\":\"x/"
        "y\",\"method\":\"PUT\"},\"queue\":4,\"redirects\":0,\"retries\":{\"factor\":3,\"initial\":1,\"jitter\":"
        "false,\"max\":3,\"maxDelay\":9,\"on\":[503,\"network\"]},\"serveTimeout\":2,\"stallTimeout\":1,\"tls\":"
        "{\"alpn\":[\"h2\"],\"ca\":\"./"
        "ca.pem\",\"minVersion\":\"1.3\",\"resume\":false,\"serverName\":\"n\",\"verify\":false},\"version\":"
        "\"2\"}");
    expect_options(
        "iotix.coap { url = 'coap://h', confirmable = false, ack_timeout = '1s', ack_random_factor = 2, "
        "max_retransmit = 1, nstart = 2, probing_rate = 5, block_size = 64, probe = true, keep_alive = 0, "
        "queue_max = 3, max_response = '1KB', reconnect = false, publish = { method = 'PUT', content_format = 50 "
        "}, observe = { reregister = false }, serve = { listen = '127.0.0.1:0', timeout = 2 }, "
        "resource_directory = { url = '/rd', lifetime = '1h' } }",
        "{\"ackRandomFactor\":2,\"ackTimeout\":1,\"blockSize\":64,\"confirmable\":false,\"keepAlive\":0,"
        "\"maxResponse\":1024,\"maxRetransmit\":1,\"nstart\":2,\"observe\":{\"reregister\":false},\"probe\":true,"
        "\"probingRate\":5,\"publish\":{\"contentFormat\":50,\"method\":\"PUT\"},\"queueMax\":3,\"reconnect\":"
        "false,\"resourceDirectory\":{\"lifetime\":3600,\"url\":\"/rd\"},\"serve\":{\"listen\":\"127.0.0.1:0\","
        "\"timeout\":2}}");
}

static void test_credentials(void **state)
{
    (void)state;
    struct stage *st = load(
        "group { name = 'a', connection = iotix.mqtt { broker = 'mqtts://b', username = 'u-${index}', tls = { ca = "
        "'/ca', cert "
        "= 'c/${deviceId}.pem', key = '-----BEGIN KEY' }, jwt = { algorithm = 'HS256', key = 's', claims = { sub = "
        "'${deviceId}', n = 1 }, ttl = '1m', refresh = 0.5 } } },"
        "group { name = 'b', connection = iotix.coap { url = 'coaps://b', tls = { psk = { identity = '${deviceId}', "
        "key = "
        "'00ff' } } } },"
        "group { name = 'c', connection = iotix.http { url = 'https://b', token = 't', password = 'p', tls = { mint = "
        "{ ca = "
        "'ca', ca_key = 'k', days = 2 } } } },"
        "group { name = 'd', connection = iotix.http { url = 'https://b', jwt = { algorithm = 'ES256', key = 'k.pem', "
        "key_id = 'i' } } },"
        "group { name = 'e' }",
        "");
    expect_json(
        json_object_get(group(st, 0), "credentials"),
        "{\"jwt\":{\"algorithm\":\"HS256\",\"as\":\"password\",\"claims\":{\"n\":1,\"sub\":\"${deviceId}\"},\"key\":"
        "\"s\",\"refresh\":0.5,\"ttl\":60000000},\"tls_cert\":\"./c/${deviceId}.pem\",\"tls_key\":\"-----BEGIN "
        "KEY\"}");
    assert_string_equal(json_string_value(json_object_get(group(st, 0), "username")), "u-${index}");
    expect_json(json_object_get(group(st, 1), "credentials"),
                "{\"psk_identity\":\"${deviceId}\",\"psk_key\":\"00ff\"}");
    expect_json(json_object_get(group(st, 2), "credentials"), "{\"tls_name\":\"${deviceId}\",\"token\":\"t\"}");
    expect_json(json_object_get(json_object_get(json_object_get(group(st, 2), "adapter"), "tls"), "mint"),
                "{\"ca\":\"./ca\",\"caKey\":\"./k\",\"days\":2}");
    expect_json(
        json_object_get(group(st, 3), "credentials"),
        "{\"jwt\":{\"algorithm\":\"ES256\",\"as\":\"token\",\"key\":\"./k.pem\",\"key_id\":\"i\",\"refresh\":0.8,"
        "\"ttl\":3600000000}}");
    assert_null(json_object_get(group(st, 4), "credentials"));
    stage_close(st);
}

static const char *broker_of(const struct stage *st, size_t i)
{
    const char *url = json_string_value(json_object_get(group(st, i), "broker"));
    return url ? url : "none";
}

static void test_targets(void **state)
{
    (void)state;
    struct stage *st = load("group { name = 'a' }, group { name = 'b', connection = iotix.http {} },"
                            "group { name = 'c', connection = iotix.coap {} },"
                            "group { name = 'd', connection = iotix.mqtt { broker = 'embedded' } },"
                            "group { name = 'e', connection = iotix.http { url = 'h:8080/x' } }",
                            "http = 'https://api', connection = iotix.mqtt { broker = 'wss://embedded/mqtt' }, ");
    assert_string_equal(broker_of(st, 0), "none");
    assert_string_equal(broker_of(st, 1), "https://api");
    assert_string_equal(broker_of(st, 2), "coap://embedded");
    assert_string_equal(broker_of(st, 3), "mqtt://embedded");
    assert_string_equal(broker_of(st, 4), "http://h:8080/x");
    assert_string_equal(json_string_value(json_object_get(st->plan, "broker")), "wss://embedded/mqtt");
    assert_string_equal(json_string_value(json_object_get(st->plan, "http")), "https://api");
    expect_json(json_object_get(st->plan, "embedded"), "[\"mqtt\",\"wss\",\"coap\"]");
    stage_close(st);
    st = load("group { name = 'a' }", "http = iotix.http { url = 'http://h', retries = 2 }, coap = 'embedded', ");
    assert_string_equal(json_string_value(json_object_get(st->plan, "http")), "http://h");
    assert_string_equal(json_string_value(json_object_get(st->plan, "coap")), "coap://embedded");
    assert_null(json_object_get(st->plan, "embedded"));
    stage_close(st);
}

static void test_wrong(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"iotix.mqtt { topic_aliases = true }", "topic_aliases: only MQTT 5 has it; add version = \"5\""},
        {"iotix.mqtt { will = { topic = 't', delay = 1 } }", "will: delay: only MQTT 5 has it"},
        {"iotix.mqtt { broker = 'http://h' }",
         "a URL of iotix.mqtt begins with mqtt://, mqtts://, ws://, wss://; other"},
        {"iotix.mqtt { url = 'mqtt://h' }", "unknown key \"url\""},
        {"iotix.mqtt { token = 't' }", "MQTT has a username and a password"},
        {"iotix.mqtt { keep_alive = 0.5 }", "keep_alive: whole seconds"},
        {"iotix.mqtt { receive_maximum = 0, version = 5 }", "receive_maximum: expected a whole number from 1 to 65535"},
        {"iotix.mqtt { session_expiry = 'x', version = 5 }", "or \"never\""},
        {"iotix.mqtt { inflight = 0 }", "inflight: expected a whole number from 1 to 10000"},
        {"iotix.mqtt { connect_pacing = 'slow' }", "\"fixed\", \"adaptive\" or a table"},
        {"iotix.mqtt { connect_pacing = { target = 0 } }",
         "connect_pacing: target: expected a duration of 1ms or more"},
        {"iotix.mqtt { source = {} }", "source: expected an address, a network, a range or a list"},
        {"iotix.mqtt { tls = { cert = 'c' } }", "tls: key is missing: a certificate and its key belong together"},
        {"iotix.mqtt { tls = { psk = { identity = 'i', key = 'xyz' } } }",
         "tls: psk: key: expected hex digits, two a byte, got another text"},
        {"iotix.mqtt { tls = { psk = { identity = 'i' } } }", "tls: psk: key is missing"},
        {"iotix.mqtt { tls = { mint = { ca = 'c', ca_key = 'k', days = 0 } } }",
         "tls: mint: days: expected a whole number"},
        {"iotix.mqtt { tls = { cert = 'c', key = 'k', mint = { ca = 'c', ca_key = 'k' } } }", "cert or mint"},
        {"iotix.mqtt { tls = { verfy = false } }", "tls: unknown key \"verfy\"; valid: alpn, ca, cert"},
        {"iotix.mqtt { tls = { min_version = '1.1' } }", "tls: min_version: expected one of: 1.2, 1.3"},
        {"iotix.mqtt { jwt = { key = 'k' } }", "jwt: algorithm is missing"},
        {"iotix.mqtt { jwt = { algorithm = 'none', key = 'k' } }",
         "jwt: algorithm: expected one of: HS256, RS256, ES256"},
        {"iotix.mqtt { jwt = { algorithm = 'HS256', key = 'k', ttl = 1 } }",
         "jwt: ttl: expected a duration of 5s or more"},
        {"iotix.mqtt { jwt = { algorithm = 'HS256', key = 'k', refresh = 2 } }",
         "refresh: expected a number from 0 to 1"},
        {"iotix.mqtt { jwt = { algorithm = 'HS256', key = 'k', claims = { 1 } } }",
         "claims: expected a table of claims"},
        {"iotix.mqtt { jwt = { algorithm = 'HS256', key = 'k' }, password = 'p' }", "password or jwt"},
        {"iotix.http { jwt = { algorithm = 'HS256', key = 'k' }, token = 'p' }", "token or jwt"},
        {"iotix.http { url = 'ftp://h' }", "a URL of iotix.http begins with http://, https://"},
        {"iotix.http { retries = { max = 21 } }", "retries: max: expected a whole number from 0 to 20"},
        {"iotix.http { retries = true }", "retries: expected a whole number from 0 to 20, or a table"},
        {"iotix.http { commands = { mode = 'push' } }", "commands: mode: expected one of: poll, serve"},
        {"iotix.http { headers = { 'a' } }", "headers: expected { name = text }, got the key 1"},
        {"iotix.http { headers = { a = print } }", "headers: a: expected a text or a list of texts, got a function"},
        {"iotix.http { probe = 'x' }", "probe: expected a path that begins with /"},
        {"iotix.coap { block_size = 100 }", "block_size: expected 16, 32, 64"},
        {"iotix.coap { ack_random_factor = 0.5 }", "expected a number from 1 to 10"},
        {"iotix.coap { url = 'coap+udp://h' }", "begins with coap://, coaps://, coap+tcp://, coaps+tcp://"},
        {"iotix.coap(5)", "expected a table { … }, got 5"},
        {"iotix.scenario { name = 's', duration = 1, groups = {}, http = iotix.coap {} }", "got a connection of coap"},
        {"iotix.scenario { name = 's', duration = 1, groups = {}, coap = 'http://x' }",
         "a URL of iotix.coap begins with"},
        {"iotix.group { name = 'g', behaviour = print, connection = 'mqtt://h' }",
         "connection: expected what iotix.mqtt{…}, iotix.http{…} or iotix.coap{…} returns"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        struct stage *st = stage_new();
        snprintf(text, sizeof(text), HEAD "local c = %s\n", cases[i][0]);
        stage_load(st, text);
        const struct diagnostic *d = &st->diagnostics[0];
        if (st->plan || st->n_diagnostics != 1 || d->line != 2 || d->exit_code != 104 ||
            !strstr(d->message, cases[i][1]))
            fail_msg("%s: expected \"%s\"\ngot line %d: %s", cases[i][0], cases[i][1], d->line, d->message);
        stage_close(st);
    }
}

// Columns that a credential asks for must be in the group's data.
static void test_columns(void **state)
{
    (void)state;
    struct stage *st = stage_new();
    stage_load(st, HEAD "local g = iotix.group { name = 'g', behaviour = print, connection = iotix.http {\n"
                        "  tls = { cert = '${data.cert}', key = '${data.key}' } } }\n"
                        "return iotix.scenario { name = 's', duration = '1s', groups = { g } }");
    assert_null(st->plan);
    assert_non_null(strstr(st->diagnostics[0].message, "tls.cert: ${data.cert} needs data = iotix.data"));
    stage_close(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options), cmocka_unit_test(test_credentials), cmocka_unit_test(test_targets),
        cmocka_unit_test(test_wrong),   cmocka_unit_test(test_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
