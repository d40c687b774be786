// What is asked of librdkafka, and what it gives back: a message; topics.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/kafka.h"

#define ASK_MS 10000

static size_t digits(int64_t v, char *dst, size_t size)
{
    char *p = dst + size;
    uint64_t u = v < 0 ? 0 : (uint64_t)v;
    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    size_t n = (size_t)(dst + size - p);
    memmove(dst, p, n);
    return n;
}

static rd_kafka_headers_t *headers_of(const struct kafka *s, const struct kafka_message *m)
{
    char time[24];
    rd_kafka_headers_t *h = rd_kafka_headers_new(6);
    rd_kafka_resp_err_t rc = rd_kafka_header_add(h, "run", 3, s->run_id, -1);
    if (m->topic != KAFKA_METRICS)
        rc |= rd_kafka_header_add(h, "time", 4, time, (ssize_t)digits(m->wall_us, time, sizeof(time)));
    if (m->group_len)
        rc |= rd_kafka_header_add(h, "group", 5, m->group, (ssize_t)m->group_len);
    if (m->model_len)
        rc |= rd_kafka_header_add(h, "model", 5, m->model, (ssize_t)m->model_len);
    if (m->mqtt_len)
        rc |= rd_kafka_header_add(h, "topic", 5, m->mqtt, (ssize_t)m->mqtt_len);
    if (m->physical)
        rc |= rd_kafka_header_add(h, "source", 6, "physical", 8);
    if (!rc)
        return h;
    rd_kafka_headers_destroy(h);
    return NULL;
}

rd_kafka_resp_err_t kafka_produce(struct kafka *s, const struct kafka_message *m, void *opaque)
{
    rd_kafka_headers_t *h = headers_of(s, m);
    if (!h)
        return RD_KAFKA_RESP_ERR__QUEUE_FULL;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        s->client, RD_KAFKA_V_RKT(s->topics[m->topic]), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(m->key, m->key_len), RD_KAFKA_V_VALUE((void *)(uintptr_t)m->payload, m->payload_len),
        RD_KAFKA_V_TIMESTAMP(m->wall_us / 1000), RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    if (code)
        rd_kafka_headers_destroy(h);
    return code;
}

static void header(const rd_kafka_headers_t *h, const char *name, const char **text, size_t *n)
{
    const void *value = NULL;
    if (h && rd_kafka_header_get_last(h, name, &value, n) == RD_KAFKA_RESP_ERR_NO_ERROR)
        *text = value;
    else
        *n = 0;
}

// The message as it was before.
void kafka_of_report(const struct kafka *s, const rd_kafka_message_t *report, struct kafka_message *m)
{
    const char *source = "", *time = NULL;
    size_t n = 0;
    rd_kafka_headers_t *h = NULL;
    *m = (struct kafka_message){
        .key = report->key, .key_len = report->key_len, .payload = report->payload, .payload_len = report->len};
    for (int i = 0; i < KAFKA_TOPICS; i++)
        if (s->topics[i] == report->rkt)
            m->topic = (enum kafka_topic)i;
    rd_kafka_message_headers(report, &h);
    header(h, "group", &m->group, &m->group_len);
    header(h, "model", &m->model, &m->model_len);
    header(h, "topic", &m->mqtt, &m->mqtt_len);
    header(h, "source", &source, &n);
    m->physical = n != 0;
    header(h, "time", &time, &n);
    m->wall_us = n ? strtoll(time, NULL, 10) : rd_kafka_message_timestamp(report, NULL) * 1000; // they end in a NUL
}

// --- topics -------------------------------------------------------------------------------------------------------

void kafka_ask_topics(struct kafka *s)
{
    char why[256];
    rd_kafka_NewTopic_t *topics[KAFKA_TOPICS];
    size_t n = 0;
    for (int i = 0; i < KAFKA_TOPICS; i++) {
        int parts = i == KAFKA_METRICS ? 1 : (int)s->o.partitions;
        if (s->o.topics[i] &&
            (topics[n] = rd_kafka_NewTopic_new(s->o.topics[i], parts, s->o.replication ? (int)s->o.replication : -1,
                                               why, sizeof(why))))
            n++;
    }
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(s->client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_request_timeout(options, ASK_MS, why, sizeof(why));
    rd_kafka_CreateTopics(s->client, topics, n, options, s->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy_array(topics, n);
}

enum verdict { GOOD, AGAIN, NEVER };

static enum verdict judge(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
        return GOOD;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE: // a broker that cannot: topics are made there, or by themselves
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
        return NEVER;
    default:
        return AGAIN;
    }
}

// A topic that we could not make may still be there, or come into being by itself: the first message will tell.
bool kafka_topics_made(struct kafka *s, rd_kafka_event_t *answer)
{
    size_t n = 0;
    enum verdict whole = judge(rd_kafka_event_error(answer));
    if (whole == AGAIN)
        kafka_trouble(s, "the topics cannot be made yet: %s", rd_kafka_event_error_string(answer));
    if (whole != GOOD)
        return whole == NEVER;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &n);
    for (size_t i = 0; i < n; i++) {
        const char *name = rd_kafka_topic_result_name(results[i]),
                   *why = rd_kafka_topic_result_error_string(results[i]);
        enum verdict one = judge(rd_kafka_topic_result_error(results[i]));
        if (one != GOOD)
            kafka_trouble(s, "topic %s was not made: %s", name,
                          why ? why : rd_kafka_err2str(rd_kafka_topic_result_error(results[i])));
        for (unsigned k = 0; k < KAFKA_TOPICS && one == NEVER; k++)
            if (s->o.topics[k] && strcmp(s->o.topics[k], name) == 0)
                s->unmakeable |= 1u << k;
        if (one == AGAIN)
            whole = AGAIN;
    }
    return whole == GOOD;
}
