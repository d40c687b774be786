// The kafka sink against librdkafka's mock cluster: what arrives, in which order, and that the ledger balances whatever
// happens to the broker.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/jsonx.h"
#include "sink/kafka.h"
#include "sink/kafka_reader.h"
#include "sink/types.h"

#define WAIT_S 20.0
#define DEVICES 7u

// It takes a second to end a cluster: threads do it, beside the next tests.
struct ended {
    pthread_t threads[32];
    unsigned n;
};
struct world {
    struct ended *ended;
    struct loop *loop;
    struct metrics *metrics;
    rd_kafka_t *server;
    rd_kafka_mock_cluster_t *cluster;
    char brokers[200], dir[64];
    struct sink *sink;
    unsigned made;
};

static double now_s(void)
{
    struct clock c;
    clock_create_real(&c);
    return (double)clock_now_us(&c) / 1e6;
}

static int begin(void **state)
{
    *state = calloc(1, sizeof(struct ended));
    return 0;
}

static int end(void **state)
{
    struct ended *e = *state;
    for (unsigned i = 0; i < e->n; i++)
        pthread_join(e->threads[i], NULL);
    free(e);
    return 0;
}

static int setup(void **state)
{
    static const char *const topics[] = {"iotix.telemetry", "iotix.events", "iotix.metrics"};
    struct world *w = calloc(1, sizeof(*w));
    struct clock clock;
    struct error err;
    char why[200];
    clock_create_real(&clock);
    w->ended = *state;
    w->loop = loop_new(&clock, &err);
    w->metrics = metrics_new(1000);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
    w->server = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    w->cluster = rd_kafka_mock_cluster_new(w->server, 1);
    snprintf(w->brokers, sizeof(w->brokers), "%s", rd_kafka_mock_cluster_bootstraps(w->cluster));
    snprintf(w->dir, sizeof(w->dir), "/tmp/iotix-kafka-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    for (int i = 0; i < 3; i++)
        rd_kafka_mock_topic_create(w->cluster, topics[i], i < 2 ? 4 : 1, 1);
    *state = w;
    return 0;
}

static void *end_cluster(void *arg)
{
    struct world *w = arg;
    rd_kafka_mock_cluster_destroy(w->cluster);
    rd_kafka_destroy(w->server);
    free(w);
    return NULL;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct ended *e = w->ended;
    char command[100];
    if (w->sink)
        kafka_sink.close(w->sink);
    metrics_delete(w->metrics);
    loop_delete(w->loop);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    *state = e;
    return pthread_create(&e->threads[e->n++], NULL, end_cluster, w);
}

static struct kafka *inside(struct world *w)
{
    return (struct kafka *)(void *)w->sink;
}

// more: ,"key":value… of further options. The mock cluster has no controller: it cannot be asked to make topics.
static void open_it(struct world *w, const char *more, bool resumed)
{
    struct error err = {0};
    char text[1000];
    snprintf(text, sizeof(text),
             "{\"brokers\":\"%s\",\"spill\":\"%s\",\"linger\":\"1ms\",\"retryMax\":\"300ms\",\"create\":false,"
             "\"telemetryTopic\":\"%s\",\"eventsTopic\":\"%s\",\"metricsTopic\":\"%s\"%s}",
             w->brokers, w->dir, "iotix.telemetry", "iotix.events", "iotix.metrics", more);
    json_t *given = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!given) { // the last one of two counts
        given = json_loads(text, 0, NULL);
    }
    assert_non_null(given);
    json_t *o = kafka_sink.parse(NULL, given, &err);
    if (!o)
        fail_msg("%s", err.text);
    const struct sink_env env = {
        .loop = w->loop, .metrics = w->metrics, .run_id = "RUN1", .shards = 1, .resumed = resumed};
    w->sink = kafka_sink.open(&env, "kafka", o, &err);
    if (!w->sink)
        fail_msg("%s", err.text);
    json_decref(o);
    json_decref(given);
}

static void say(struct world *w, unsigned n, size_t filler)
{
    char device[32], *payload = malloc(filler + 100);
    for (unsigned i = 0; i < n; i++, w->made++) {
        int d = snprintf(device, sizeof(device), "dev-%u", w->made % DEVICES);
        int p = snprintf(payload, 100, "{\"seq\":%u,\"pad\":\"", w->made / DEVICES);
        memset(payload + p, 'x', filler);
        memcpy(payload + p + filler, "\"}", 3);
        const struct record r = {.wall_us = 1700000000000000 + w->made,
                                 .group_name = "sensors",
                                 .group_len = 7,
                                 .device = device,
                                 .device_len = (size_t)d,
                                 .topic = "sensors/t",
                                 .topic_len = 9,
                                 .model = "m1",
                                 .model_len = 2,
                                 .payload = (const uint8_t *)payload,
                                 .payload_len = (size_t)p + filler + 2};
        kafka_sink.telemetry(w->sink, &r);
    }
    free(payload);
}

static uint64_t count(struct world *w, const char *selector)
{
    struct metric_selector sel;
    struct metric m = {0};
    assert_int_equal(metric_selector_parse(selector, &sel, NULL), 0);
    metrics_select(w->metrics, &sel, &m);
    return m.type == METRIC_GAUGE ? (uint64_t)m.value : m.count;
}

static void balances(struct world *w)
{
    uint64_t out = count(w, "sink_delivered") + count(w, "sink_spilled") - count(w, "sink_unspilled") +
                   count(w, "sink_dropped") + count(w, "sink_memory");
    assert_int_equal(count(w, "sink_accepted"), out);
}

// Until all is delivered or given up; the ledger is looked at in each turn.
static void drained(struct world *w)
{
    double until = now_s() + WAIT_S;
    while (!kafka_sink.drain(w->sink, false)) {
        balances(w);
        loop_turn(w->loop, 5000);
        if (now_s() > until)
            fail_msg("not drained: %llu of %llu delivered, %s", (unsigned long long)count(w, "sink_delivered"),
                     (unsigned long long)count(w, "sink_accepted"), kafka_sink.trouble(w->sink));
    }
    balances(w);
    assert_int_equal(count(w, "sink_memory"), 0);
}

static void turns(struct world *w, double seconds)
{
    for (double until = now_s() + seconds; now_s() < until;)
        loop_turn(w->loop, 5000);
    balances(w);
}

static void ready(struct world *w)
{
    double until = now_s() + WAIT_S;
    while (inside(w)->state != KAFKA_READY && now_s() < until)
        loop_turn(w->loop, 5000);
    assert_int_equal(inside(w)->state, KAFKA_READY);
}

// --- what the cluster has: its messages, each device's in order

struct seen {
    unsigned total, doubled, next[DEVICES];
    int partition[DEVICES];
    bool unordered;
};

static void look_at(struct seen *s, const rd_kafka_message_t *m)
{
    unsigned device, seq;
    char key[32];
    const void *value;
    size_t n;
    rd_kafka_headers_t *h = NULL;
    snprintf(key, sizeof(key), "%.*s", (int)m->key_len, (const char *)m->key);
    assert_int_equal(sscanf(key, "dev-%u", &device), 1);
    assert_int_equal(sscanf(m->payload, "{\"seq\":%u", &seq), 1);
    assert_int_equal(((const char *)m->payload)[m->len - 1], '}');
    rd_kafka_message_headers(m, &h);
    static const char *const expected[][2] = {
        {"run", "RUN1"}, {"group", "sensors"}, {"model", "m1"}, {"topic", "sensors/t"}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rd_kafka_header_get_last(h, expected[i][0], &value, &n), 0);
        assert_string_equal(value, expected[i][1]);
    }
    assert_int_equal(rd_kafka_header_get_last(h, "time", &value, &n), 0);
    int64_t at = strtoll(value, NULL, 10);
    assert_int_equal(at, 1700000000000000 + seq * DEVICES + device);
    assert_int_equal(rd_kafka_message_timestamp(m, NULL), at / 1000);
    s->total++;
    if (seq < s->next[device])
        s->doubled++;
    else if (seq > s->next[device])
        s->unordered = true;
    else
        s->next[device]++;
    if (s->partition[device] < 0)
        s->partition[device] = m->partition;
    assert_int_equal(s->partition[device], m->partition);
}

static void consume(struct world *w, struct seen *s, unsigned expect)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", w->brokers, why, sizeof(why));
    rd_kafka_conf_set(conf, "fetch.wait.max.ms", "20", why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, "iotix.telemetry", NULL);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < DEVICES; i++)
        s->partition[i] = -1;
    for (int32_t i = 0; i < 4; i++)
        assert_int_equal(rd_kafka_consume_start_queue(topic, i, RD_KAFKA_OFFSET_BEGINNING, q), 0);
    double until = now_s() + WAIT_S;
    for (double quiet = until; now_s() < quiet;) {
        rd_kafka_message_t *m = rd_kafka_consume_queue(q, 50);
        if (!m)
            continue;
        if (!m->err)
            look_at(s, m);
        rd_kafka_message_destroy(m);
        if (s->total >= expect && quiet == until)
            quiet = now_s() + 0.3; // for what should not come
    }
    for (int32_t i = 0; i < 4; i++)
        rd_kafka_consume_stop(topic, i);
    rd_kafka_queue_destroy(q);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
}

static void has_each_once(struct world *w)
{
    struct seen s;
    consume(w, &s, w->made);
    assert_int_equal(s.total, w->made);
    assert_int_equal(s.doubled, 0);
    assert_false(s.unordered);
}

// --- tests

static void delivers(void **state)
{
    struct world *w = *state;
    open_it(w, "", false);
    ready(w);
    say(w, 5000, 60);
    balances(w);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 5000);
    assert_int_equal(count(w, "sink_memory_bytes"), 0);
    has_each_once(w);
}

static void passing_errors_of_the_broker_are_retried(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_push_request_errors(w->cluster, 0 /* Produce */, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    open_it(w, "", false);
    say(w, 300, 60); // before the topics are known
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 300);
    has_each_once(w);
}

static void a_broker_that_is_down_at_the_start(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    open_it(w, ",\"memory\":\"1MB\"", false);
    say(w, 4000, 500);
    turns(w, 0.7);
    assert_int_equal(count(w, "sink_delivered"), 0);
    assert_int_equal(count(w, "sink_dropped"), 0);
    assert_true(count(w, "sink_spilled") > 1000); // 1 MB holds about 900 of them
    assert_true(count(w, "sink_memory_bytes") < (1u << 20) + (128u << 10));
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    turns(w, 0.3);
    say(w, 500, 500); // behind what waits
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 4500);
    assert_string_equal(kafka_sink.left(w->sink), "");
    has_each_once(w);
}

static void a_broker_that_goes_and_comes_back(void **state)
{
    struct world *w = *state;
    open_it(w, ",\"memory\":\"1MB\"", false);
    ready(w);
    say(w, 500, 500);
    turns(w, 0.1);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    say(w, 3000, 500);
    turns(w, 0.5);
    assert_int_equal(count(w, "sink_dropped"), 0);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 3500);
    has_each_once(w);
}

static void a_broker_that_is_down_at_the_end(void **state)
{
    struct world *w = *state;
    open_it(w, ",\"memory\":\"1MB\"", false);
    ready(w);
    say(w, 200, 500);
    turns(w, 0.3);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    say(w, 2500, 500);
    turns(w, 0.1);
    assert_false(kafka_sink.drain(w->sink, false));
    double began = now_s();
    assert_true(kafka_sink.drain(w->sink, true));
    assert_true(now_s() - began < 2.5);
    balances(w);
    assert_int_equal(count(w, "sink_memory"), 0);
    assert_int_equal(count(w, "sink_dropped"), 0);
    assert_int_equal(count(w, "sink_spilled") - count(w, "sink_unspilled"), 2700 - count(w, "sink_delivered"));
    assert_non_null(strstr(kafka_sink.left(w->sink), "kafka-RUN1-0-"));
    kafka_sink.close(w->sink);
    balances(w);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    open_it(w, "", true); // in place of the lost one
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 2700);
    struct seen s;
    consume(w, &s, 2700); // not in order: what was newest in memory came to the disk behind what was there
    assert_int_equal(s.total, 2700);
}

static void without_a_disk_what_is_too_much_is_dropped(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    open_it(w, ",\"memory\":\"1MB\",\"spill\":false,\"full\":\"drop\"", false);
    say(w, 2000, 500);
    uint64_t dropped = count(w, "sink_dropped{reason:full}");
    assert_true(dropped > 800 && dropped < 1200);
    assert_false(kafka_sink.full(w->sink));
    assert_true(kafka_sink.load(w->sink) >= 95);
    balances(w);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 2000 - dropped);
}

static void with_block_it_says_that_it_is_full(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    open_it(w, ",\"memory\":\"1MB\",\"spill\":false", false);
    assert_false(kafka_sink.full(w->sink));
    unsigned n = 0;
    for (; !kafka_sink.full(w->sink) && n < 5000; n++)
        say(w, 1, 500);
    assert_true(n > 800 && n < 1200);
    assert_int_equal(count(w, "sink_dropped"), 0);
    assert_true(kafka_sink.drain(w->sink, true));
    assert_int_equal(count(w, "sink_dropped{reason:deadline}"), n);
    balances(w);
}

static void a_full_disk_is_survived(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    open_it(w, ",\"memory\":\"1MB\",\"spillMax\":\"16MB\",\"full\":\"drop\"", false);
    for (int i = 0; i < 40; i++) {
        say(w, 1000, 500);
        balances(w);
    }
    assert_true(count(w, "sink_dropped{reason:full}") > 5000);
    uint64_t kept = 40000 - count(w, "sink_dropped");
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), kept);
    assert_int_equal(count(w, "sink_dropped"), 40000 - kept);
}

static void a_topic_that_is_refused(void **state)
{
    struct world *w = *state;
    enum { N = 40 };
    rd_kafka_resp_err_t errors[N]; // a request for each partition, perhaps several
    for (int i = 0; i < N; i++)
        errors[i] = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    rd_kafka_mock_push_request_errors_array(w->cluster, 0, N, errors);
    open_it(w, "", false);
    say(w, 50, 10);
    drained(w);
    assert_int_equal(count(w, "sink_dropped{reason:refused}"), 50);
    assert_non_null(strstr(kafka_sink.trouble(w->sink), "iotix.telemetry"));
    rd_kafka_mock_clear_request_errors(w->cluster, 0);
    const struct sink_event e = {.wall_us = 1,
                                 .kind = "online",
                                 .group = "g",
                                 .device = "d",
                                 .model = "",
                                 .protocol = "mqtt",
                                 .detail = "",
                                 .latency_us = 5};
    kafka_sink.event(w->sink, &e); // another topic takes it
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 1);
}

static void what_is_too_large_is_dropped(void **state)
{
    struct world *w = *state;
    open_it(w, "", false);
    ready(w);
    say(w, 1, KAFKA_MESSAGE_MAX + 1);
    rd_kafka_mock_push_request_errors(w->cluster, 0, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    say(w, 1, 10);
    drained(w);
    assert_int_equal(count(w, "sink_dropped{reason:too_large}"), 2);
}

// Its producer is made anew, and all that it had is produced again, in order.
static void a_fatal_error_loses_nothing(void **state)
{
    struct world *w = *state;
    open_it(w, "", false);
    ready(w);
    say(w, 300, 50);
    turns(w, 0.2);
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    say(w, 1000, 50); // in its queue
    rd_kafka_test_fatal_error(inside(w)->client, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "of the test");
    say(w, 700, 50); // behind those
    turns(w, 0.3);
    say(w, 200, 50);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 2200);
    assert_int_equal(count(w, "sink_maybe"), 0);
    has_each_once(w);
}

static void what_may_be_there_already_is_counted(void **state)
{
    struct world *w = *state;
    struct seen s;
    open_it(w, "", false);
    ready(w);
    say(w, 70, 50);
    drained(w);
    rd_kafka_mock_broker_set_rtt(w->cluster, 1, 1500); // stored at once, acknowledged late
    say(w, 70, 50);
    turns(w, 0.4);
    rd_kafka_test_fatal_error(inside(w)->client, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "of the test");
    turns(w, 0.3);
    rd_kafka_mock_broker_set_rtt(w->cluster, 1, 0);
    drained(w);
    assert_int_equal(count(w, "sink_delivered"), 140);
    uint64_t maybe = count(w, "sink_maybe");
    assert_true(maybe > 0 && maybe <= 70);
    consume(w, &s, 140 + (unsigned)maybe);
    assert_false(s.unordered);
    assert_int_equal(s.total - s.doubled, 140);
    assert_true(s.doubled <= maybe);
}

static void what_is_in_memory_when_it_is_closed_is_counted(void **state)
{
    struct world *w = *state;
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    open_it(w, ",\"memory\":\"1MB\"", false);
    say(w, 3000, 500);
    balances(w);
    kafka_sink.close(w->sink);
    w->sink = NULL;
    balances(w);
    assert_true(count(w, "sink_dropped{reason:closed}") > 500);
    assert_true(count(w, "sink_spilled") > 1500);
    assert_int_equal(count(w, "sink_memory"), 0);
}

struct heard {
    unsigned n;
    json_t *last;
};

static void hear(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
    struct heard *h = arg;
    assert_int_equal(key_len, strlen("RUN1/1/0"));
    assert_memory_equal(key, "RUN1/1/0", key_len);
    json_decref(h->last);
    h->last = json_parse(value, len, "figures", NULL);
    assert_non_null(h->last);
    h->n++;
}

static void figures_can_be_read(void **state)
{
    struct world *w = *state;
    struct error err;
    struct heard heard = {0};
    open_it(w, "", false);
    counter_add(metrics_series(w->metrics, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:a", NULL), 41);
    kafka_sink.figures(w->sink, w->metrics, 1700000000000000, false);
    counter_add(metrics_series(w->metrics, "messages_sent", METRIC_COUNTER, UNIT_NONE, "group:a", NULL), 1);
    kafka_sink.figures(w->sink, w->metrics, 1700000005000000, true);
    drained(w);
    char target[300];
    snprintf(target, sizeof(target), "%s?metricsTopic=%s", w->brokers, "iotix.metrics");
    json_t *o = kafka_parse(target, NULL, &err);
    const struct kafka_reader_config config = {.loop = w->loop, .options = o, .message = hear, .arg = &heard};
    struct kafka_reader *r = kafka_reader_new(&config, &err);
    assert_non_null(r);
    for (double until = now_s() + WAIT_S; heard.n < 2 && now_s() < until;)
        loop_turn(w->loop, 10000);
    assert_true(kafka_reader_reads(r));
    assert_int_equal(heard.n, 2);
    assert_true(json_is_true(json_object_get(heard.last, "final")));
    assert_int_equal(json_integer_value(json_object_get(heard.last, "sequence")), 2);
    assert_string_equal(json_string_value(json_object_get(heard.last, "run")), "RUN1");
    kafka_reader_delete(r);
    json_decref(heard.last);
    json_decref(o);
}

// --- without a cluster

static void messages_survive_packing(void **state)
{
    (void)state;
    struct buf b;
    struct kafka_message m = {.topic = KAFKA_EVENTS,
                              .wall_us = -5,
                              .key = "k",
                              .key_len = 1,
                              .payload = "p\0q",
                              .payload_len = 3,
                              .group = "grp",
                              .group_len = 3,
                              .mqtt = "a/b",
                              .mqtt_len = 3,
                              .physical = true},
                         out;
    buf_create(&b, 4096);
    assert_int_equal(kafka_pack(&m, &b), 0);
    uint32_t one = b.len;
    assert_int_equal(kafka_pack(&m, &b), 0);
    assert_int_equal(kafka_unpack(b.data, b.len, &out), one);
    assert_int_equal(out.topic, KAFKA_EVENTS);
    assert_true(out.wall_us == -5 && out.physical && out.model_len == 0);
    assert_memory_equal(out.payload, "p\0q", 3);
    assert_memory_equal(out.mqtt, "a/b", 3);
    for (uint32_t n = 0; n < one; n++)
        assert_int_equal(kafka_unpack(b.data, n, &out), 0);
    b.data[0] = 9;
    assert_int_equal(kafka_unpack(b.data, b.len, &out), 0);
    m.key_len = 70000;
    assert_int_equal(kafka_pack(&m, &b), -1);
    buf_destroy(&b);
}

static void hostile_texts_stay_json(void **state)
{
    (void)state;
    struct buf b;
    struct kafka_message m;
    const struct sink_event e = {.wall_us = 7,
                                 .kind = "error",
                                 .group = "a\"b",
                                 .device = "d\n\xff",
                                 .model = "=cmd()",
                                 .protocol = "mqtt",
                                 .detail = "<script>\\",
                                 .latency_us = -1,
                                 .physical = true};
    buf_create(&b, 4096);
    assert_int_equal(kafka_of_event(&e, "R", &b, &m), 0);
    json_t *o = json_parse((const char *)b.data, b.len, "event", NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "group")), "a\"b");
    assert_string_equal(json_string_value(json_object_get(o, "device")), "d\n\xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(o, "source")), "physical");
    assert_null(json_object_get(o, "latencyUs"));
    json_decref(o);
    buf_destroy(&b);
}

static void refused(const char *target, const char *options, const char *expected)
{
    struct error err = {0};
    json_t *given = options ? json_loads(options, 0, NULL) : NULL, *o = kafka_parse(target, given, &err);
    if (o || !strstr(err.text, expected))
        fail_msg("%s%s: expected \"%s\", got \"%s\"", target ? target : "", options ? options : "", expected,
                 o ? "options" : err.text);
    json_decref(given);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct error err;
    struct kafka_options k;
    json_t *o = kafka_parse(
        "a:9092,[::1]:9093?partitions=12&tls=true&sasl=PLAIN&username=u&password=p%26q&eventsTopic=false", NULL, &err);
    assert_non_null(o);
    kafka_read_options(o, &k);
    assert_string_equal(k.brokers, "a:9092,[::1]:9093");
    assert_int_equal(k.partitions, 12);
    assert_string_equal(k.password, "p&q");
    assert_string_equal(k.topics[KAFKA_TELEMETRY], "iotix.telemetry");
    assert_null(k.topics[KAFKA_EVENTS]);
    assert_true(k.tls && k.block && k.create);
    assert_int_equal(k.memory, 64u << 20);
    json_decref(o);
    refused(NULL, "{}", "brokers are missing");
    refused("kafka://a:9092", NULL, "not HOST:PORT (no scheme");
    refused("a:0", NULL, "\"a:0\" is not HOST:PORT");
    refused("a:9092,,b", NULL, "\"\" is not HOST:PORT");
    refused("a?compresion=lz4", NULL, "did you mean \"compression\"");
    refused("a?compression=lzma", NULL, "lz4");
    refused("a?partitions=0", NULL, "partitions");
    refused("a?sasl=PLAIN", NULL, "needs username and password");
    refused("a?username=x", NULL, "no effect without sasl");
    refused("a?ca=/x", NULL, "no effect without tls");
    refused("a?telemetryTopic=a%20b", NULL, "no name of a topic");
    refused("a?telemetryTopic=iotix.events", NULL, "topics of their own");
    refused("a?telemetryTopic=false&eventsTopic=false&metricsTopic=false", NULL, "nothing to send");
    refused(NULL, "{\"brokers\":\"a\",\"properties\":{\"acks\":1}}", "acks is not to be changed");
    refused(NULL, "{\"brokers\":\"a\",\"properties\":{\"no.such\":\"x\"}}", "no.such");
    refused(NULL, "{\"brokers\":\"a\",\"properties\":{\"socket.timeout.ms\":{}}}", "expected a text");
    refused(NULL, "{\"brokers\":\"a\",\"password\":\"x\",\"passwordRef\":\"y\"}", "one of them");
}

#define WITH_CLUSTER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLUSTER(delivers),
        WITH_CLUSTER(passing_errors_of_the_broker_are_retried),
        WITH_CLUSTER(a_broker_that_is_down_at_the_start),
        WITH_CLUSTER(a_broker_that_goes_and_comes_back),
        WITH_CLUSTER(a_broker_that_is_down_at_the_end),
        WITH_CLUSTER(without_a_disk_what_is_too_much_is_dropped),
        WITH_CLUSTER(with_block_it_says_that_it_is_full),
        WITH_CLUSTER(a_full_disk_is_survived),
        WITH_CLUSTER(a_topic_that_is_refused),
        WITH_CLUSTER(what_is_too_large_is_dropped),
        WITH_CLUSTER(a_fatal_error_loses_nothing),
        WITH_CLUSTER(what_may_be_there_already_is_counted),
        WITH_CLUSTER(what_is_in_memory_when_it_is_closed_is_counted),
        WITH_CLUSTER(figures_can_be_read),
        cmocka_unit_test(messages_survive_packing),
        cmocka_unit_test(hostile_texts_stay_json),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
