// A reader of a topic of Kafka, from a time on and all of its partitions: for whoever puts the figures of many runners
// together. Runs on the loop; looking for the topic may block for a second at a time.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "core/error.h"
#include "core/loop.h"

struct log;

struct kafka_reader_config {
    struct loop *loop;
    struct log *log;
    const json_t *options; // as parse of the sink has made them: the topic is its metricsTopic
    const char *(*secret)(void *arg, const char *name, struct error *err);
    void *secret_arg;
    int64_t from_wall_us; // older messages are left out where the broker can tell; 0: none
    // Texts are valid during the call.
    void (*message)(void *arg, const void *key, size_t key_len, const void *value, size_t len);
    void *arg;
};
struct kafka_reader;
// NULL: options that librdkafka does not like, secrets that are not there. A broker that is not reached is no error.
struct kafka_reader *kafka_reader_new(const struct kafka_reader_config *config, struct error *err);
void kafka_reader_delete(struct kafka_reader *r);
// What is wrong now, "" while nothing is.
const char *kafka_reader_trouble(const struct kafka_reader *r);
// Whether the topic was found, and is read.
bool kafka_reader_reads(const struct kafka_reader *r);
