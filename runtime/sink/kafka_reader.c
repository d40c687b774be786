#include "sink/kafka_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "sink/kafka.h"

#define LOOK_S 0.5   // for the topic
#define LOOK_MS 1000 // how long that may block
#define MESSAGES_A_TURN 200
#define PARTITIONS_MAX 10000

struct kafka_reader {
    struct kafka_reader_config config;
    struct kafka_options o;
    json_t *json;
    rd_kafka_t *client;
    rd_kafka_queue_t *main, *messages;
    rd_kafka_topic_t *topic;
    struct kafka_reaper reaper;
    int fd;
    ev_io readable;
    ev_timer look;
    int partitions; // 0: the topic was not found yet
    char trouble[400];
};

// The first offset to be read of a partition. What came before that time is of other runs.
static int64_t begin_of(struct kafka_reader *r, int32_t partition)
{
    int64_t low, high, at = RD_KAFKA_OFFSET_BEGINNING;
    if (r->config.from_wall_us <= 0 ||
        rd_kafka_query_watermark_offsets(r->client, r->o.topics[KAFKA_METRICS], partition, &low, &high, LOOK_MS))
        return RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, r->o.topics[KAFKA_METRICS], partition)->offset =
        r->config.from_wall_us / 1000;
    if (rd_kafka_offsets_for_times(r->client, list, LOOK_MS) == 0 && list->elems[0].err == 0)
        at = list->elems[0].offset < 0 ? high : list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return at;
}

static int begin_partition(struct kafka_reader *r, int32_t partition)
{
    if (rd_kafka_consume_start_queue(r->topic, partition, begin_of(r, partition), r->messages) == 0)
        return 0;
    snprintf(r->trouble, sizeof(r->trouble), "partition %d of %s: %s", (int)partition, r->o.topics[KAFKA_METRICS],
             rd_kafka_err2str(rd_kafka_last_error()));
    return -1;
}

static void on_look(struct ev_loop *ev, ev_timer *w, int events)
{
    struct kafka_reader *r = container_of(w, struct kafka_reader, look);
    const struct rd_kafka_metadata *found;
    (void)events;
    rd_kafka_resp_err_t rc = rd_kafka_metadata(r->client, 0, r->topic, &found, LOOK_MS);
    if (rc) {
        snprintf(r->trouble, sizeof(r->trouble), "%s: %s", r->o.brokers, rd_kafka_err2str(rc));
        return;
    }
    const struct rd_kafka_metadata_topic *t = found->topic_cnt == 1 ? &found->topics[0] : NULL;
    if (!t || t->err || t->partition_cnt < 1 || t->partition_cnt > PARTITIONS_MAX) {
        snprintf(r->trouble, sizeof(r->trouble), "topic %s: %s", r->o.topics[KAFKA_METRICS],
                 t && t->err ? rd_kafka_err2str(t->err) : "it is not there");
    } else {
        r->trouble[0] = 0;
        for (; r->partitions < t->partition_cnt && begin_partition(r, r->partitions) == 0; r->partitions++)
            ;
        if (r->partitions == t->partition_cnt)
            ev_timer_stop(ev, w);
    }
    rd_kafka_metadata_destroy(found);
}

static void take_messages(struct kafka_reader *r, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m;
    while ((m = rd_kafka_event_message_next(ev))) {
        if (m->err)
            snprintf(r->trouble, sizeof(r->trouble), "%s", rd_kafka_message_errstr(m));
        else
            r->config.message(r->config.arg, m->key, m->key_len, m->payload, m->len);
    }
}

static void handle(struct kafka_reader *r, rd_kafka_event_t *ev)
{
    const char *text, *facility;
    int level;
    if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_FETCH)
        take_messages(r, ev);
    else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
        snprintf(r->trouble, sizeof(r->trouble), "%s", rd_kafka_event_error_string(ev));
    else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_LOG && rd_kafka_event_log(ev, &facility, &text, &level) == 0)
        log_write(r->config.log, LOG_DEBUG, NULL, "kafka: %s: %s", facility, text);
    rd_kafka_event_destroy(ev);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    struct kafka_reader *r = container_of(w, struct kafka_reader, readable);
    rd_kafka_event_t *one;
    (void)ev, (void)events;
    kafka_notified(r->fd);
    for (int i = 0; i < MESSAGES_A_TURN && (one = rd_kafka_queue_poll(r->messages, 0)); i++) {
        handle(r, one);
        if (i == MESSAGES_A_TURN - 1)
            kafka_notify_again(r->fd);
    }
}

static int begin(struct kafka_reader *r, struct error *err)
{
    struct kafka_secrets secrets;
    if (!r->o.topics[KAFKA_METRICS])
        return error_set(err, ERR_INVALID, "metricsTopic is false: that is the one to be read");
    if (kafka_find_secrets(&r->o, r->config.secret, r->config.secret_arg, &secrets, err))
        return -1;
    r->client = kafka_client_new(RD_KAFKA_CONSUMER, &r->o, &secrets, r->o.client_id, err);
    if (!r->client)
        return -1;
    r->topic = rd_kafka_topic_new(r->client, r->o.topics[KAFKA_METRICS], NULL);
    r->messages = rd_kafka_queue_new(r->client);
    r->main = rd_kafka_queue_get_main(r->client);
    rd_kafka_queue_forward(r->main, r->messages);
    r->fd = kafka_notify(r->messages, err);
    if (r->fd < 0)
        return -1;
    ev_io_set(&r->readable, r->fd, EV_READ);
    ev_io_start(loop_ev(r->config.loop), &r->readable);
    ev_timer_start(loop_ev(r->config.loop), &r->look);
    return 0;
}

struct kafka_reader *kafka_reader_new(const struct kafka_reader_config *config, struct error *err)
{
    struct kafka_reader *r = calloc(1, sizeof(*r));
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "no memory for a reader of Kafka");
        return NULL;
    }
    r->config = *config;
    r->fd = -1;
    r->json = json_deep_copy(config->options);
    kafka_read_options(r->json, &r->o);
    ev_init(&r->readable, on_readable);
    ev_timer_init(&r->look, on_look, 0, LOOK_S);
    if (begin(r, err) == 0)
        return r;
    kafka_reader_delete(r);
    return NULL;
}

void kafka_reader_delete(struct kafka_reader *r)
{
    if (!r)
        return;
    ev_io_stop(loop_ev(r->config.loop), &r->readable);
    ev_timer_stop(loop_ev(r->config.loop), &r->look);
    for (int32_t i = 0; i < r->partitions; i++)
        rd_kafka_consume_stop(r->topic, i);
    if (r->messages) {
        rd_kafka_queue_io_event_enable(r->messages, -1, NULL, 0);
        rd_kafka_queue_forward(r->main, NULL);
        rd_kafka_queue_destroy(r->messages);
        rd_kafka_queue_destroy(r->main);
    }
    if (r->topic)
        rd_kafka_topic_destroy(r->topic);
    if (r->fd >= 0)
        close(r->fd);
    if (r->client)
        kafka_reap(&r->reaper, r->client);
    kafka_reaper_join(&r->reaper);
    json_decref(r->json);
    free(r);
}

const char *kafka_reader_trouble(const struct kafka_reader *r)
{
    return r->trouble;
}

bool kafka_reader_reads(const struct kafka_reader *r)
{
    return r->partitions > 0;
}
