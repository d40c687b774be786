// The sink: from what a shard says to what Kafka has. Where a record is: in librdkafka's queue or under way
// (in_flight), waiting in memory (line), on its way to the disk (packing), or there (spill). Each of these holds older
// records than the next, so that what a device says stays in order: while there is something in one of them, what is
// new goes behind it.
//
// librdkafka retries for ever by itself; it comes back to us only with what it gives up: a message that is refused for
// good (dropped), and everything when the producer has had a fatal error. Then it is made anew and what it had is
// produced again, in order; what may have been stored already is counted (sink_maybe).
#include "sink/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "sink/types.h"

#define SAY_AGAIN_US 60000000 // the same trouble in the log
#define FLUSH_S 0.5
#define PACKING_MAX SPILL_ENTRY_MAX
#define TEXT_MAX KAFKA_MESSAGE_MAX
#define EVENTS_A_TURN 32
#define MESSAGES_A_TURN 2000
#define BACKOFF_US 500000
#define PURGE_MS 2000 // for what a purge gives back, at the end

static void pump(struct kafka *s);

static struct kafka *of(struct sink *s)
{
    return (struct kafka *)(void *)s;
}

static const struct kafka *look(const struct sink *s)
{
    return (const struct kafka *)(const void *)s;
}

static int64_t wall_us(void)
{
    struct clock real;
    clock_create_real(&real);
    return clock_wall_us(&real);
}

// --- trouble ------------------------------------------------------------------------------------------------------

void kafka_trouble(struct kafka *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->trouble, sizeof(s->trouble), fmt, args);
    va_end(args);
    if (strcmp(s->trouble, s->said) == 0 && wall_us() - s->said_us < SAY_AGAIN_US)
        return;
    s->said_us = wall_us();
    memcpy(s->said, s->trouble, sizeof(s->said));
    log_write(s->log, LOG_WARN, NULL, "sink %s: %s", s->name, s->trouble);
}

static void on_pause_over(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    struct kafka *s = container_of(w, struct kafka, pause);
    s->paused = false;
    pump(s);
}

// Full jitter over a span that doubles.
static void back_off(struct kafka *s)
{
    struct ev_loop *ev = loop_ev(s->loop);
    int64_t most = s->failures < 8 ? (int64_t)BACKOFF_US << s->failures : s->o.retry_max_us;
    most = most > s->o.retry_max_us ? s->o.retry_max_us : most;
    if (s->draining && most > BACKOFF_US)
        most = BACKOFF_US;
    s->failures++;
    s->paused = true;
    ev_timer_stop(ev, &s->pause);
    ev_timer_set(&s->pause, rng_unit(&s->rng) * (double)most / 1e6, 0);
    ev_timer_start(ev, &s->pause);
}

// --- entries of the disk ------------------------------------------------------------------------------------------

// A record of an entry is delivered or dropped: from the disk into memory, in the books, whatever becomes of it.
static void lift(struct kafka *s, struct kafka_entry *e)
{
    ledger_unspill(&s->ledger, 1);
    if (--e->left)
        return;
    spill_done(s->spill, e->at);
    free(e);
}

// --- to the disk --------------------------------------------------------------------------------------------------

static void on_flush(struct ev_loop *ev, ev_timer *w, int events)
{
    struct kafka *s = container_of(w, struct kafka, flush);
    (void)events;
    kafka_flush_packing(s);
    if (!s->packing_n)
        ev_timer_stop(ev, w);
    pump(s);
}

// --- what librdkafka gives back -----------------------------------------------------------------------------------

// It would be refused again.
static const char *refused_for_good(const struct kafka *s, enum kafka_topic topic, rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return "too_large";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return "refused";
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return s->o.create && !(s->unmakeable & 1u << topic) ? NULL : "refused"; // it is made again
    default:
        return NULL;
    }
}

static void refuse(struct kafka *s, enum kafka_topic topic, struct kafka_entry *entry, const char *reason,
                   rd_kafka_resp_err_t code)
{
    kafka_trouble(s, "topic %s: %s", s->o.topics[topic], rd_kafka_err2str(code));
    if (entry)
        lift(s, entry);
    ledger_drop(&s->ledger, reason, 1);
}

static void given_back(struct kafka *s, const rd_kafka_message_t *report, uint64_t sequence, struct kafka_entry *entry)
{
    struct kafka_message m;
    kafka_of_report(s, report, &m);
    const char *reason = refused_for_good(s, m.topic, report->err);
    if (reason) {
        refuse(s, m.topic, entry, reason, report->err);
        return;
    }
    if (rd_kafka_message_status(report) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED)
        counter_add(s->maybe, 1);
    if (report->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || report->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        kafka_trouble(s, "topic %s is not there any more", s->o.topics[m.topic]);
        if (s->state == KAFKA_READY)
            s->state = KAFKA_WAITING;
    }
    if (kafka_put_in_line(s, &m, sequence, entry)) {
        if (entry)
            lift(s, entry);
        ledger_drop(&s->ledger, "no_memory", 1);
    }
}

static void reported(struct kafka *s, const rd_kafka_message_t *report)
{
    uintptr_t token = (uintptr_t)report->_private;
    struct kafka_ticket *ticket = token & 1 ? (void *)(token & ~(uintptr_t)1) : NULL;
    struct kafka_entry *entry = ticket ? ticket->entry : NULL;
    uint64_t sequence = ticket ? ticket->sequence : token >> 1;
    free(ticket);
    s->in_flight--;
    s->in_flight_memory -= !entry;
    kafka_give_memory(s, kafka_cost(report->key_len, report->len));
    if (report->err) {
        given_back(s, report, sequence, entry);
        return;
    }
    s->failures = 0;
    if (entry)
        lift(s, entry);
    ledger_deliver(&s->ledger, 1);
}

// --- producing ----------------------------------------------------------------------------------------------------

static void rebuild(struct kafka *s)
{
    char why[300];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(s->client, why, sizeof(why));
    if (s->state == KAFKA_DYING || s->state == KAFKA_ENDED)
        return;
    kafka_trouble(s, "the producer is made anew: %s", code ? why : "fatal error");
    s->state = KAFKA_DYING;
    rd_kafka_purge(s->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    kafka_notify_again(s->fd);
}

enum produced { PRODUCED, PRODUCE_LATER, PRODUCE_NEVER };

// Whatever becomes of it is counted, but for PRODUCE_LATER.
static enum produced produce(struct kafka *s, const struct kafka_message *m, uint64_t sequence,
                             struct kafka_entry *entry)
{
    uintptr_t token = (uintptr_t)(sequence << 1);
    struct kafka_ticket *ticket = NULL;
    if (entry) {
        ticket = malloc(sizeof(*ticket));
        if (!ticket)
            return PRODUCE_LATER;
        *ticket = (struct kafka_ticket){sequence, entry};
        token = (uintptr_t)ticket | 1;
    }
    rd_kafka_resp_err_t code = kafka_produce(s, m, (void *)token);
    if (!code) {
        s->in_flight++;
        s->in_flight_memory += !entry;
        kafka_take_memory(s, kafka_cost(m->key_len, m->payload_len));
        return PRODUCED;
    }
    free(ticket);
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        rebuild(s);
    const char *reason = refused_for_good(s, m->topic, code);
    if (!reason)
        return PRODUCE_LATER;
    refuse(s, m->topic, entry, reason, code);
    return PRODUCE_NEVER;
}

// All that was read of one entry: into the line, which is empty.
static void unpack_entry(struct kafka *s, uint32_t count, struct spill_at at)
{
    struct kafka_entry *e = malloc(sizeof(*e));
    struct kafka_message m;
    size_t used = 0, n;
    if (!e)
        return; // it is read again by the next process that takes it up
    *e = (struct kafka_entry){at, count};
    for (uint32_t i = 0; i < count; i++, used += n) {
        n = kafka_unpack(s->entry.data + used, s->entry.len - used, &m);
        if (n && kafka_put_in_line(s, &m, s->next_sequence++, e) == 0)
            continue;
        const char *reason = n ? "no_memory" : "damaged";
        for (uint32_t left = count - i; left; left--) {
            lift(s, e);
            ledger_drop(&s->ledger, reason, 1);
        }
        return;
    }
}

// Into the line, which is empty.
static bool read_disk(struct kafka *s)
{
    uint32_t count;
    struct spill_at at;
    if (!s->spill || s->memory > s->o.memory / 2)
        return false;
    if (!spill_unread(s->spill)) {
        bool any = s->packing_n != 0;
        kafka_packing_to_line(s);
        return any;
    }
    int rc = spill_read(s->spill, &s->entry, &count, &at);
    uint64_t damaged = spill_take_damaged(s->spill);
    ledger_unspill(&s->ledger, damaged);
    ledger_drop(&s->ledger, "damaged", damaged);
    if (rc > 0)
        unpack_entry(s, count, at);
    return rc > 0;
}

static void make_ready(struct kafka *s);

static void pump(struct kafka *s)
{
    struct kafka_message m;
    unsigned n = 0;
    if (s->state == KAFKA_WAITING && !s->paused)
        make_ready(s);
    while (s->state == KAFKA_READY && n < MESSAGES_A_TURN && (kafka_has_line(s) || read_disk(s))) {
        if (!kafka_has_line(s))
            continue;
        struct kafka_kept *k = kafka_first_in_line(s, &m);
        if (produce(s, &m, k->sequence, k->entry) == PRODUCE_LATER)
            return; // when something has been delivered
        kafka_leave_line(s, &m);
        n++;
    }
    if (n == MESSAGES_A_TURN)
        kafka_notify_again(s->fd); // others have their turn first
}

static void accept_message(struct kafka *s, const struct kafka_message *m)
{
    ledger_accept(&s->ledger, 1);
    if (m->payload_len > KAFKA_MESSAGE_MAX || m->key_len > UINT16_MAX || m->mqtt_len > UINT16_MAX) {
        ledger_drop(&s->ledger, "too_large", 1);
        return;
    }
    bool room = s->memory + kafka_cost(m->key_len, m->payload_len) <= s->o.memory, disk = kafka_on_disk(s);
    uint64_t sequence = s->next_sequence;
    if (s->state == KAFKA_READY && room && !disk && !kafka_has_line(s) &&
        produce(s, m, sequence, NULL) != PRODUCE_LATER) {
        s->next_sequence++;
        return;
    }
    if (room && !disk && kafka_put_in_line(s, m, sequence, NULL) == 0)
        s->next_sequence++;
    else if (kafka_put_on_disk(s, m))
        ledger_drop(&s->ledger, kafka_no_room(s), 1);
}

// --- the client's life --------------------------------------------------------------------------------------------

static int open_client(struct kafka *s, struct error *err)
{
    s->client = kafka_client_new(RD_KAFKA_PRODUCER, &s->o, &s->secrets, s->client_id, err);
    if (!s->client)
        return -1;
    s->queue = rd_kafka_queue_get_main(s->client);
    s->fd = kafka_notify(s->queue, err);
    if (s->fd < 0)
        return -1;
    ev_io_set(&s->readable, s->fd, EV_READ);
    ev_io_start(loop_ev(s->loop), &s->readable);
    return 0;
}

// Without its client, which is to be ended.
static rd_kafka_t *let_client_go(struct kafka *s)
{
    rd_kafka_t *client = s->client;
    ev_io_stop(loop_ev(s->loop), &s->readable);
    for (int i = 0; i < KAFKA_TOPICS; i++) {
        if (s->topics[i])
            rd_kafka_topic_destroy(s->topics[i]);
        s->topics[i] = NULL;
    }
    if (s->queue) {
        rd_kafka_queue_io_event_enable(s->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(s->queue);
    }
    if (s->fd >= 0)
        close(s->fd);
    s->queue = NULL;
    s->client = NULL;
    s->fd = -1;
    return client;
}

// All that it had has come back.
static void replace(struct kafka *s)
{
    struct error err;
    kafka_reap(&s->reaper, let_client_go(s));
    s->state = KAFKA_WAITING;
    if (open_client(s, &err))
        kafka_trouble(s, "%s", err.text); // tried again
    back_off(s);
}

static void make_ready(struct kafka *s)
{
    struct error err;
    if (!s->client && open_client(s, &err)) {
        kafka_trouble(s, "%s", err.text);
        back_off(s);
        return;
    }
    for (int i = 0; i < KAFKA_TOPICS && !s->o.create; i++)
        if (s->o.topics[i] && !s->topics[i])
            s->topics[i] = rd_kafka_topic_new(s->client, s->o.topics[i], NULL);
    s->state = s->o.create ? KAFKA_ASKING : KAFKA_READY;
    if (s->o.create)
        kafka_ask_topics(s);
}

static void topics_answered(struct kafka *s, rd_kafka_event_t *ev)
{
    if (s->state != KAFKA_ASKING)
        return;
    if (!kafka_topics_made(s, ev)) {
        s->state = KAFKA_WAITING;
        back_off(s);
        return;
    }
    for (int i = 0; i < KAFKA_TOPICS; i++)
        if (s->o.topics[i] && !s->topics[i])
            s->topics[i] = rd_kafka_topic_new(s->client, s->o.topics[i], NULL);
    s->failures = 0;
    s->state = KAFKA_READY;
}

static void handle(struct kafka *s, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m;
    const char *text, *facility;
    int level;
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev)))
            reported(s, m);
        break;
    case RD_KAFKA_EVENT_ERROR:
        if (rd_kafka_event_error_is_fatal(ev) || rd_kafka_event_error(ev) == RD_KAFKA_RESP_ERR__FATAL)
            rebuild(s);
        else
            kafka_trouble(s, "%s", rd_kafka_event_error_string(ev));
        break;
    case RD_KAFKA_EVENT_LOG:
        if (rd_kafka_event_log(ev, &facility, &text, &level) == 0)
            log_write(s->log, LOG_DEBUG, NULL, "sink %s: %s: %s", s->name, facility, text);
        break;
    case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
        topics_answered(s, ev);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(ev);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    struct kafka *s = container_of(w, struct kafka, readable);
    rd_kafka_event_t *one;
    (void)ev, (void)events;
    kafka_notified(s->fd);
    for (int i = 0; i < EVENTS_A_TURN && (one = rd_kafka_queue_poll(s->queue, 0)); i++) {
        handle(s, one);
        if (i == EVENTS_A_TURN - 1)
            kafka_notify_again(s->fd);
    }
    if (s->state == KAFKA_DYING && !s->in_flight)
        replace(s);
    pump(s);
}

// --- what comes ---------------------------------------------------------------------------------------------------

static void telemetry(struct sink *sink, const struct record *r)
{
    struct kafka *s = of(sink);
    struct kafka_message m;
    if (!s->o.topics[KAFKA_TELEMETRY]) {
        counter_add(s->ledger.skipped, 1);
        return;
    }
    kafka_of_record(r, &m);
    accept_message(s, &m);
}

static void event(struct sink *sink, const struct sink_event *e)
{
    struct kafka *s = of(sink);
    struct kafka_message m;
    if (!s->o.topics[KAFKA_EVENTS])
        return;
    if (kafka_of_event(e, s->run_id, &s->text, &m)) {
        ledger_accept(&s->ledger, 1);
        ledger_drop(&s->ledger, "no_memory", 1);
        return;
    }
    accept_message(s, &m);
}

static void figures(struct sink *sink, const struct metrics *metrics, int64_t at_us, bool final)
{
    struct kafka *s = of(sink);
    struct kafka_message m;
    struct error err;
    if (!s->o.topics[KAFKA_METRICS])
        return;
    const struct kafka_figures f = {.run_id = s->run_id,
                                    .shard = s->shard,
                                    .shards = s->shards,
                                    .run = s->run,
                                    .incarnation = s->incarnation,
                                    .sequence = ++s->figures_sent,
                                    .final = final,
                                    .wall_us = at_us};
    if (kafka_of_figures(&f, metrics, &s->text, &s->key, &m, &err)) {
        kafka_trouble(s, "figures: %s", err.text);
        ledger_accept(&s->ledger, 1);
        ledger_drop(&s->ledger, "too_large", 1);
        return;
    }
    accept_message(s, &m);
}

// --- questions ----------------------------------------------------------------------------------------------------

static unsigned load(const struct sink *sink)
{
    return (unsigned)(look(sink)->memory * 100 / look(sink)->o.memory);
}

static bool full(const struct sink *sink)
{
    const struct kafka *s = look(sink);
    return s->o.block && (s->spill ? s->packing_stuck : s->memory + 4 * KAFKA_OVERHEAD >= s->o.memory);
}

static const char *last_trouble(const struct sink *sink)
{
    return look(sink)->trouble;
}

static const char *left(const struct sink *sink)
{
    return look(sink)->spill ? spill_path(look(sink)->spill) : "";
}

// --- the end ------------------------------------------------------------------------------------------------------

// What is in memory alone goes to the disk, or is given up. Nothing moves any more then.
static void put_away(struct kafka *s, const char *reason, bool to_disk)
{
    rd_kafka_event_t *ev;
    struct kafka_message m;
    int64_t until = wall_us() + PURGE_MS * 1000;
    s->state = KAFKA_ENDED;
    ev_timer_stop(loop_ev(s->loop), &s->pause);
    ev_timer_stop(loop_ev(s->loop), &s->flush);
    if (s->client)
        rd_kafka_purge(s->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (s->in_flight && wall_us() < until)
        if ((ev = rd_kafka_queue_poll(s->queue, 50)))
            handle(s, ev);
    while (kafka_has_line(s)) {
        struct kafka_kept *k = kafka_first_in_line(s, &m);
        if (k->entry && --k->entry->left == 0)
            free(k->entry); // it lies where it lay
        else if (!k->entry && (!to_disk || kafka_put_on_disk(s, &m)))
            ledger_drop(&s->ledger, to_disk && s->spill ? kafka_no_room(s) : reason, 1);
        kafka_leave_line(s, &m);
    }
    if (s->packing_n && (!to_disk || kafka_flush_packing(s))) {
        ledger_drop(&s->ledger, to_disk ? kafka_no_room(s) : reason, s->packing_n);
        kafka_give_memory(s, s->packing.len);
        s->packing_n = 0;
        buf_clear(&s->packing);
    }
    ev_timer_stop(loop_ev(s->loop), &s->flush);
    ledger_drop(&s->ledger, reason, s->in_flight_memory); // nothing: librdkafka gives back all that is purged
    s->in_flight_memory = s->in_flight = 0;
    if (s->spill && to_disk)
        (void)!spill_sync(s->spill, NULL);
}

static bool drain(struct sink *sink, bool late)
{
    struct kafka *s = of(sink);
    if (!s->draining && s->paused) { // there is no time for long pauses any more
        s->failures = 0;
        back_off(s);
    }
    s->draining = true;
    if (late) {
        put_away(s, "deadline", true);
        return true;
    }
    pump(s);
    return !s->in_flight && !kafka_has_line(s) && !s->packing_n && !(s->spill && spill_records(s->spill));
}

static void close_sink(struct sink *sink)
{
    struct kafka *s = of(sink);
    if (s->ledger.memory_bytes) // it was open
        put_away(s, "closed", false);
    rd_kafka_t *client = let_client_go(s);
    if (client)
        kafka_reap(&s->reaper, client);
    kafka_reaper_join(&s->reaper);
    spill_delete(s->spill);
    buf_destroy(&s->packing);
    buf_destroy(&s->text);
    buf_destroy(&s->key);
    buf_destroy(&s->entry);
    free(s->line);
    json_decref(s->json);
    free(s);
}

// --- the beginning ------------------------------------------------------------------------------------------------

static int open_spill(struct kafka *s, const struct sink_env *env, struct error *err)
{
    struct spill_leftovers others;
    if (!s->o.spill)
        return 0;
    const struct spill_config config = {.loop = env->loop,
                                        .dir = s->o.spill,
                                        .name = s->name,
                                        .run_id = s->part_id,
                                        .shard = env->shard,
                                        .adopt = env->resumed,
                                        .max_bytes = s->o.spill_max};
    s->spill = spill_new(&config, err);
    if (!s->spill)
        return error_prefix(err, "spill (where records wait on disk; false: nowhere)");
    if (env->shard != 0 || env->resumed)
        return 0;
    spill_look(s->o.spill, s->name, s->part_id, &others);
    if (others.files)
        log_write(s->log, LOG_WARN, NULL,
                  "sink %s: %u files with records that other runs could not deliver, or not yet, lie in %s, such as %s",
                  s->name, others.files, s->o.spill, others.example);
    return 0;
}

// Runners of one run each have a shard 0.
static void name_parts(struct kafka *s)
{
    unsigned partition = s->run && s->run->partitions > 1 ? s->run->partition : 0;
    if (partition)
        snprintf(s->part_id, sizeof(s->part_id), "%s.%u", s->run_id, partition);
    else
        snprintf(s->part_id, sizeof(s->part_id), "%s", s->run_id);
    snprintf(s->client_id, sizeof(s->client_id), "%.200s-%s-%u", s->o.client_id, s->part_id, s->shard);
}

static int begin(struct kafka *s, const struct sink_env *env, struct error *err)
{
    char tags[80];
    snprintf(tags, sizeof(tags), "sink:%s", s->name);
    if (ledger_create(&s->ledger, env->metrics, s->name, err) ||
        !(s->maybe = metrics_series(env->metrics, "sink_maybe", METRIC_COUNTER, UNIT_NONE, tags, err)) ||
        kafka_find_secrets(&s->o, env->secret, env->secret_arg, &s->secrets, err) || open_spill(s, env, err) ||
        open_client(s, err))
        return -1;
    return 0;
}

static struct sink *open_sink(const struct sink_env *env, const char *name, const json_t *options, struct error *err)
{
    struct kafka *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a sink");
        return NULL;
    }
    s->loop = env->loop;
    s->log = env->log;
    s->fd = -1;
    s->shard = env->shard;
    s->shards = env->shards;
    s->run = env->run;
    s->incarnation = (uint64_t)wall_us();
    s->next_sequence = 1;
    s->json = json_deep_copy(options);
    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->run_id, sizeof(s->run_id), "%s", env->run_id);
    buf_create(&s->packing, PACKING_MAX);
    buf_create(&s->text, TEXT_MAX);
    buf_create(&s->key, 256);
    buf_create(&s->entry, SPILL_ENTRY_MAX);
    kafka_read_options(s->json, &s->o);
    name_parts(s);
    rng_seed(&s->rng, s->incarnation ^ (uint64_t)getpid() << 32);
    ev_timer_init(&s->pause, on_pause_over, 0, 0);
    ev_timer_init(&s->flush, on_flush, FLUSH_S, FLUSH_S);
    ev_init(&s->readable, on_readable);
    if (begin(s, env, err) == 0) {
        pump(s); // asks for its topics
        return (struct sink *)(void *)s;
    }
    error_prefix(err, "sink %s", name);
    close_sink((struct sink *)(void *)s);
    return NULL;
}

const struct sink_ops kafka_sink = {
    .name = "kafka",
    .parse = kafka_parse,
    .open = open_sink,
    .telemetry = telemetry,
    .event = event,
    .figures = figures,
    .load = load,
    .full = full,
    .drain = drain,
    .trouble = last_trouble,
    .left = left,
    .close = close_sink,
};
