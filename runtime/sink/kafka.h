// Apache Kafka, by librdkafka (docs/reference/sinks.md). What its files share; not for other rooms.
//
// A message of Kafka is made of each record, event and snapshot; its payload is copied once, into librdkafka's queue.
// Everything that is not there has one form (kafka_message.c), in memory and on disk.
#pragma once
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdbool.h>
#include "core/loop.h"
#include "core/rng.h"
#include "sink/ledger.h"
#include "sink/sink.h"
#include "sink/spill.h"

enum kafka_topic { KAFKA_TELEMETRY, KAFKA_EVENTS, KAFKA_METRICS, KAFKA_TOPICS };

// --- kafka_options.c: checked options as they are used; texts point into the JSON
struct kafka_options {
    const char *brokers, *client_id;
    const char *topics[KAFKA_TOPICS]; // NULL: nothing of that kind is sent
    uint32_t partitions, replication; // of topics that are made; replication 0: as the cluster says
    bool create;
    const char *compression;
    int64_t linger_us, retry_max_us;
    uint32_t memory;
    const char *spill; // directory, NULL: none
    uint64_t spill_max;
    bool block; // full: "block"
    bool tls, verify;
    const char *ca, *cert, *key, *key_password, *key_password_ref;
    const char *sasl, *username, *password, *password_ref;
    const json_t *properties; // librdkafka's own; NULL: none
};
json_t *kafka_parse(const char *target, const json_t *options, struct error *err);
// What kafka_parse has made.
void kafka_read_options(const json_t *options, struct kafka_options *out);

// --- kafka_message.c
struct kafka_message {
    enum kafka_topic topic;
    int64_t wall_us;
    const void *key, *payload;
    size_t key_len, payload_len;
    // Headers; those of length 0 are left out.
    const char *group, *model, *mqtt; // mqtt: the topic that the device published to
    size_t group_len, model_len, mqtt_len;
    bool physical;
};
#define KAFKA_MESSAGE_MAX (8u << 20) // bytes of a payload; more has no form
// Appends one. -1: out is full, or there is no memory.
int kafka_pack(const struct kafka_message *m, struct buf *out) WARN_UNUSED_RESULT;
// The one at the beginning of bytes: how long it is; 0: malformed.
size_t kafka_unpack(const uint8_t *bytes, size_t n, struct kafka_message *m);
void kafka_of_record(const struct record *r, struct kafka_message *m);
// The payload goes into text (cleared first), which must live as long as m. -1: no memory.
int kafka_of_event(const struct sink_event *e, const char *run_id, struct buf *text,
                   struct kafka_message *m) WARN_UNUSED_RESULT;
struct kafka_figures {
    const char *run_id;
    unsigned shard, shards;
    const struct sink_run *run; // NULL: not told
    uint64_t incarnation, sequence;
    bool final;
    int64_t wall_us;
};
int kafka_of_figures(const struct kafka_figures *f, const struct metrics *m, struct buf *text, struct buf *key,
                     struct kafka_message *out, struct error *err) WARN_UNUSED_RESULT;

// --- kafka_client.c
struct kafka_secrets { // borrowed; NULL: none
    const char *password, *key_password;
};
int kafka_find_secrets(const struct kafka_options *o, const char *(*find)(void *arg, const char *name, struct error *),
                       void *arg, struct kafka_secrets *out, struct error *err) WARN_UNUSED_RESULT;
// A producer or a consumer whose events come to its main queue. NULL: librdkafka does not like its properties, or has
// no memory. No network.
rd_kafka_t *kafka_client_new(rd_kafka_type_t type, const struct kafka_options *o, const struct kafka_secrets *secrets,
                             const char *client_id, struct error *err);
// Ends it, which may take a second, in a thread of its own.
struct kafka_reaper {
    pthread_t threads[4];
    unsigned n;
};
void kafka_reap(struct kafka_reaper *r, rd_kafka_t *rk);
void kafka_reaper_join(struct kafka_reaper *r);
// A descriptor that becomes readable when events have come to the queue. -1: err.
int kafka_notify(rd_kafka_queue_t *queue, struct error *err) WARN_UNUSED_RESULT;
void kafka_notified(int fd); // reads it empty
void kafka_notify_again(int fd);

// --- kafka.c

// An entry of the spill whose records are under way.
struct kafka_entry {
    struct spill_at at;
    uint32_t left;
};
// One that was not produced yet, or has to be again.
struct kafka_kept {
    uint64_t sequence;
    struct kafka_entry *entry; // NULL: it is in memory alone
    uint32_t len;
    uint8_t bytes[];
};
// Of a message from the disk, as its opaque.
struct kafka_ticket {
    uint64_t sequence;
    struct kafka_entry *entry;
};

// WAITING: to ask for its topics (or for a pause to end); ASKING: for the answer; DYING: for what a broken producer
// gives back.
enum kafka_state { KAFKA_WAITING, KAFKA_ASKING, KAFKA_READY, KAFKA_DYING, KAFKA_ENDED };
struct kafka {
    struct loop *loop;
    struct log *log;
    char name[64], run_id[40], part_id[52], client_id[300]; // part_id: of this runner of the run
    unsigned shard, shards;
    const struct sink_run *run;
    json_t *json;
    struct kafka_options o;
    struct kafka_secrets secrets;
    struct ledger ledger;
    struct metric *maybe; // sink_maybe: resent although they may have been stored
    struct spill *spill;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_t *topics[KAFKA_TOPICS];
    struct kafka_reaper reaper;
    int fd;
    ev_io readable;
    ev_timer pause, flush;
    enum kafka_state state;
    unsigned unmakeable; // topics that we may not make, a bit each
    bool paused, draining, unsorted;
    unsigned failures;
    uint64_t in_flight, in_flight_memory, next_sequence, figures_sent, incarnation;
    uint64_t memory;          // bytes, with what each message costs beside them
    struct kafka_kept **line; // waiting, in order from head on, unless unsorted
    size_t head, n_line, line_size;
    struct buf packing; // on its way to the disk
    uint32_t packing_n;
    bool packing_stuck;
    struct buf text, key, entry;
    struct rng rng;
    char trouble[400], said[400];
    int64_t said_us;
};
// The memory that a message is counted with, beside its key and payload.
#define KAFKA_OVERHEAD 512u
void kafka_trouble(struct kafka *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

// --- kafka_line.c: records that librdkafka does not have
uint64_t kafka_cost(size_t key_len, size_t payload_len);
void kafka_take_memory(struct kafka *s, uint64_t bytes);
void kafka_give_memory(struct kafka *s, uint64_t bytes);
bool kafka_has_line(const struct kafka *s);
bool kafka_on_disk(const struct kafka *s); // something is there that was not read, or on its way there
// entry: where it lies on disk, NULL: nowhere. -1: no memory.
int kafka_put_in_line(struct kafka *s, const struct kafka_message *m, uint64_t sequence,
                      struct kafka_entry *entry) WARN_UNUSED_RESULT;
// The oldest; there must be one. It stays until it leaves.
struct kafka_kept *kafka_first_in_line(struct kafka *s, struct kafka_message *m);
void kafka_leave_line(struct kafka *s, const struct kafka_message *m);
// From memory, where it is counted, towards the disk. -1: there is no room; kafka_no_room says why.
int kafka_put_on_disk(struct kafka *s, const struct kafka_message *m) WARN_UNUSED_RESULT;
const char *kafka_no_room(const struct kafka *s);
int kafka_flush_packing(struct kafka *s);
void kafka_packing_to_line(struct kafka *s); // what has not come to the disk yet need not go there

// --- kafka_produce.c
// Into librdkafka's queue. opaque comes back with its report.
rd_kafka_resp_err_t kafka_produce(struct kafka *s, const struct kafka_message *m, void *opaque);
// The message as it was before it was produced; texts live as long as the report.
void kafka_of_report(const struct kafka *s, const rd_kafka_message_t *report, struct kafka_message *m);
// Makes the topics that are not there; the answer is an event.
void kafka_ask_topics(struct kafka *s);
// That answer. False: there is none yet, it is to be asked again.
bool kafka_topics_made(struct kafka *s, rd_kafka_event_t *answer);
