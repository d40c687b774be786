// The subscriber is the mqtt adapter's own client, not the observer's: that hands each message over between threads and
// would not follow 100,000 a second.
#include "engine/ledger.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "core/jsonx.h"
#include "device/delivery.h"
#include "engine/child.h"
#include "engine/plan.h"
#include "link/url.h"

#define SNAPSHOT_US 1000000
#define READY_US 10000000
#define LOOK_US 20000
#define STALE_US 10000000 // sent so long before this process began: of an earlier run with the same seed
#define SERIES_MAX 20000
#define WORST 5u
#define HEAD 16u

struct book { // of a group
    struct delivery *delivery;
    struct listener *listener;
    struct metric *sent, *received, *lost, *unknown, *duplicated, *reordered, *late, *loss, *latency;
};

struct listener { // at one broker
    struct listener *next;
    struct ledger *ledger;
    struct adapter_target *target;
    struct adapter_conn *conn;
    const struct group_config *group; // the first one there: how it connects
    unsigned number, unanswered;
    bool subscribed, online;
    struct error trouble; // the last
};

struct ledger {
    struct child c;
    struct plan *plan;
    struct link_env *links;
    struct resolver *resolver;
    struct metrics *unused; // what the adapter counts
    struct metric *early, *skew;
    const struct adapter_ops *mqtt;
    struct listener *listeners;
    struct book *books; // by group of the plan
    struct stamp_rule *rules;
    unsigned n_rules;
    uint32_t run, partition, partitions;
    char run_id[32];
    int64_t since_us; // wall
    struct timer tick, ready, drain;
    struct buf *finals; // of MSG_SENT, kept until the end: what is on its way is not missing yet
    unsigned n_finals;
    uint64_t finals_sent, lost_shards, interruptions, unaccounted;
    int64_t until_us;
    bool told, going;
};

static uint32_t word_at(const uint8_t *bytes, size_t at)
{
    uint32_t v;
    memcpy(&v, bytes + at, sizeof(v));
    return le32toh(v);
}

static int put_word(struct buf *out, uint32_t v)
{
    v = htole32(v);
    return buf_append(out, &v, sizeof(v));
}

static int encode(unsigned group, uint32_t epoch, const struct ownership *o, const uint32_t *counts, uint64_t n,
                  struct buf *out)
{
    int rc = put_word(out, group) | put_word(out, epoch) | put_word(out, o->shard) | put_word(out, o->shards);
    for (uint64_t i = 0; i < n && rc == 0; i++)
        rc = put_word(out, counts[i]);
    return rc;
}

void ledger_tell(struct child *shard, const struct plan *plan, const struct fleet *fleet, const struct ownership *owner,
                 uint32_t epoch)
{
    struct error err;
    for (unsigned i = 0; plan->ledger.on && i < plan->n_groups; i++) {
        const uint32_t *counts;
        struct buf bytes;
        uint64_t n = plan->groups[i].config.in_ledger ? fleet_sent(fleet, i, &counts) : 0;
        buf_create(&bytes, MESSAGE_MAX);
        if (n && (encode(i, epoch, owner, counts, n, &bytes) ||
                  channel_send(shard->channel, MSG_SENT, bytes.data, bytes.len, &err)))
            log_write(shard->log, LOG_ERROR, NULL, "what group \"%s\" sent could not be told to the ledger",
                      plan->groups[i].config.name);
        buf_destroy(&bytes);
    }
}

static void fail(struct ledger *l, int code, const char *text)
{
    child_diagnose(&l->c, "IOTX093", code, text);
    l->c.status = 1;
    loop_stop(l->c.loop);
}

// --- figures

static int make_book(struct ledger *l, struct book *b, const char *group, struct error *err)
{
    struct {
        struct metric **at;
        const char *name;
        enum metric_type type;
        enum metric_unit unit;
    } series[] = {{&b->sent, "ledger_sent", METRIC_COUNTER, UNIT_NONE},
                  {&b->received, "ledger_received", METRIC_COUNTER, UNIT_NONE},
                  {&b->lost, "ledger_lost", METRIC_COUNTER, UNIT_NONE},
                  {&b->unknown, "ledger_unknown", METRIC_COUNTER, UNIT_NONE},
                  {&b->duplicated, "ledger_duplicated", METRIC_COUNTER, UNIT_NONE},
                  {&b->reordered, "ledger_reordered", METRIC_COUNTER, UNIT_NONE},
                  {&b->late, "ledger_late", METRIC_COUNTER, UNIT_NONE},
                  {&b->loss, "ledger_loss", METRIC_RATE, UNIT_NONE},
                  {&b->latency, "e2e_latency", METRIC_TREND, UNIT_TIME_US}};
    char tags[160];
    snprintf(tags, sizeof(tags), "group:%s", group);
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++)
        if (!(*series[i].at = metrics_series(l->c.metrics, series[i].name, series[i].type, series[i].unit, tags, err)))
            return -1;
    b->delivery = delivery_new(err);
    return b->delivery ? 0 : -1;
}

static void show(struct ledger *l)
{
    for (unsigned i = 0; i < l->plan->n_groups; i++) {
        struct book *b = &l->books[i];
        if (!b->delivery)
            continue;
        const struct delivery_counts *c = delivery_counts(b->delivery);
        counter_set(b->sent, c->sent);
        counter_set(b->received, c->received);
        counter_set(b->lost, c->lost);
        counter_set(b->unknown, c->unknown);
        counter_set(b->duplicated, c->duplicated);
        counter_set(b->reordered, c->reordered);
        counter_set(b->late, c->late);
        rate_set(b->loss, c->lost, c->sent);
    }
}

static void on_tick(struct timer *t, void *loop)
{
    (void)loop;
    struct ledger *l = container_of(t, struct ledger, tick);
    show(l);
    child_send_snapshot(&l->c);
    loop_timer_start(l->c.loop, t, SNAPSHOT_US, on_tick);
}

// --- listening

static void on_message(void *owner, const struct adapter_message *m)
{
    struct ledger *l = ((struct listener *)owner)->ledger;
    struct error err;
    struct stamp s;
    bool found = false;
    for (unsigned i = 0; i < l->n_rules && !found; i++)
        found = stamp_find(&l->rules[i], m, &s);
    if (!found || m->retain || s.run != l->run || s.group >= l->plan->n_groups || !l->books[s.group].delivery ||
        !s.device || (s.device - 1) % l->partitions != l->partition || s.time_us < l->since_us - STALE_US)
        return;
    struct book *b = &l->books[s.group];
    int64_t us = loop_wall_us(l->c.loop) - s.time_us;
    if (us < 0) { // clocks of two hosts
        counter_add(l->early, 1);
        if ((double)-us > l->skew->value)
            gauge_set(l->skew, (double)-us);
    }
    if (delivery_received(b->delivery, (s.device - 1) / l->partitions, stamp_epoch(&s), stamp_number(&s),
                          us > l->plan->ledger.late_us, &err))
        l->unaccounted++;
    else
        trend_add(b->latency, us > 0 ? us : 0);
}

static void look_ready(struct ledger *l)
{
    for (const struct listener *x = l->listeners; x; x = x->next)
        if (!x->subscribed)
            return;
    if (l->told)
        return;
    l->told = true;
    loop_timer_stop(l->c.loop, &l->ready);
    child_send(&l->c, MSG_READY, json_object());
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct listener *x = owner;
    (void)token;
    if (err && err->code == ERR_REFUSED) {
        char text[700], shown[300];
        snprintf(text, sizeof(text), "ledger: %s refuses a subscription (\"%.200s\"%s): %.200s",
                 url_redact(x->group->url, shown, sizeof(shown)), x->ledger->plan->ledger.filters[0],
                 x->ledger->plan->ledger.n_filters > 1 ? ", …" : "", err->text);
        fail(x->ledger, EXIT_UNREACHABLE, text);
    } else if (!err && granted_qos >= 0 && x->unanswered && --x->unanswered == 0) {
        x->subscribed = true;
        look_ready(x->ledger);
    }
}

static void on_online(void *owner, bool session_present)
{
    struct listener *x = owner;
    struct error err;
    (void)session_present;
    x->online = true;
    if (x->subscribed)
        return; // the adapter subscribes again by itself
    const struct plan_ledger *p = &x->ledger->plan->ledger;
    x->unanswered = p->n_filters;
    // As far as QoS 1: what was published with less comes with less, and QoS 2 adds a round trip for nothing here.
    for (unsigned i = 0; i < p->n_filters; i++)
        if (x->ledger->mqtt->subscribe(x->conn, p->filters[i], 1, i + 1, &err)) {
            fail(x->ledger, EXIT_UNREACHABLE, err.text);
            return;
        }
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct listener *x = owner;
    struct ledger *l = x->ledger;
    (void)will_retry;
    x->trouble = *why;
    if (!x->online)
        return;
    x->online = false;
    if (!l->going)
        return;
    l->interruptions++;
    for (unsigned i = 0; i < l->plan->n_groups; i++)
        if (l->books[i].listener == x)
            delivery_interrupted(l->books[i].delivery);
    log_write(l->c.log, LOG_WARN, "ledger",
              "lost its connection: %s; what is sent until it is back is unknown, not lost", why->text);
}

static const char *plain(const char *pattern)
{
    return pattern && !strstr(pattern, "${") ? pattern : NULL;
}

static int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    const struct listener *x = owner;
    const struct plan_ledger *p = &x->ledger->plan->ledger;
    const char *text = NULL;
    int rc = 0;
    if (what == FIELD_CLIENT_ID)
        rc = buf_printf(out, "iotix-ledger-%s-%u", x->ledger->run_id, x->number);
    else if (what == FIELD_USERNAME)
        text = p->username ? p->username : plain(x->group->username);
    else if (what == FIELD_PASSWORD)
        text = p->password ? p->password : plain(x->group->password);
    if (text)
        rc = buf_append_str(out, text);
    return rc ? error_set(err, ERR_LIMIT, "a text of the ledger's client is too long") : 0;
}

// How a group connects, less what is of its devices alone.
static json_t *options_of(const struct group_config *g)
{
    static const char *const own[] = {"cleanSession",      "sessionExpiry",   "receiveMaximum",      "topicAliases",
                                      "userProperties",    "responseTopic",   "requestResponseInfo", "willQos",
                                      "willRetain",        "willDelay",       "willExpiry",          "willContentType",
                                      "willResponseTopic", "willCorrelation", "willUserProperties",  "maxPacket",
                                      "reconnect"};
    json_t *o = g->options && json_is_object(g->options) ? json_deep_copy(g->options) : json_object();
    for (size_t i = 0; o && i < sizeof(own) / sizeof(own[0]); i++)
        json_object_del(o, own[i]);
    if (!o || json_object_set_new(o, "maxPacket", json_integer(4 << 20)) ||
        json_object_set_new(o, "reconnect", json_pack("{s:f, s:f}", "initial", 0.1, "max", 2.0))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static struct listener *listener_of(struct ledger *l, const struct group_config *g, struct error *err)
{
    static const struct adapter_events events = {
        .on_online = on_online, .on_offline = on_offline, .on_message = on_message, .on_done = on_done};
    static const struct adapter_identity identity = {.field = field};
    unsigned n = 0;
    for (struct listener *x = l->listeners; x; x = x->next, n++)
        if (strcmp(x->group->url, g->url) == 0)
            return x;
    struct listener *x = calloc(1, sizeof(*x));
    json_t *options = x ? options_of(g) : NULL;
    if (!options) {
        free(x);
        error_set(err, ERR_NO_MEMORY, "no memory for a ledger");
        return NULL;
    }
    *x = (struct listener){.next = l->listeners, .ledger = l, .group = g, .number = n};
    l->listeners = x;
    const struct adapter_env env = {
        .loop = l->c.loop, .links = l->links, .resolver = l->resolver, .metrics = l->unused, .log = l->c.log};
    x->target = l->mqtt->target_new(&env, g->url, options, "ledger", err);
    json_decref(options);
    x->conn = x->target ? l->mqtt->conn_new(x->target, &events, &identity, x, n, err) : NULL;
    return x->conn && l->mqtt->conn_open(x->conn, err) == 0 ? x : NULL;
}

static void on_ready_late(struct timer *t, void *loop)
{
    (void)loop;
    struct ledger *l = container_of(t, struct ledger, ready);
    const struct listener *x = l->listeners;
    char text[700], shown[300];
    while (x->next && x->subscribed)
        x = x->next;
    snprintf(text, sizeof(text), "ledger: no subscription at %s within %d s%s%.300s",
             url_redact(x->group->url, shown, sizeof(shown)), READY_US / 1000000,
             x->online         ? ": it does not answer the SUBSCRIBE"
             : x->trouble.code ? ": "
                               : "",
             x->online         ? ""
             : x->trouble.code ? x->trouble.text
                               : "");
    fail(l, EXIT_UNREACHABLE, text);
}

// --- what the supervisor says

static int know_rules(struct ledger *l, struct error *err)
{
    l->rules = calloc(l->plan->n_groups, sizeof(*l->rules));
    l->books = calloc(l->plan->n_groups, sizeof(*l->books));
    if (!l->rules || !l->books)
        return error_set(err, ERR_NO_MEMORY, "no memory for a ledger");
    l->early = metrics_series(l->c.metrics, "e2e_early", METRIC_COUNTER, UNIT_NONE, NULL, err);
    l->skew = l->early ? metrics_gauge(l->c.metrics, "e2e_skew", GAUGE_MAX, NULL, err) : NULL;
    if (!l->skew)
        return -1;
    for (unsigned i = 0; i < l->plan->n_groups; i++) {
        const struct stamp_rule *rule = &l->plan->groups[i].config.stamp;
        unsigned k = 0;
        if (!l->plan->groups[i].config.in_ledger)
            continue;
        if (make_book(l, &l->books[i], l->plan->groups[i].config.name, err))
            return -1;
        while (k < l->n_rules && (l->rules[k].place != rule->place || strcmp(l->rules[k].key, rule->key) != 0))
            k++;
        if (k == l->n_rules)
            l->rules[l->n_rules++] = *rule;
    }
    return 0;
}

static int assigned(struct ledger *l, const json_t *message, struct error *err)
{
    int64_t seed, partition, partitions;
    const char *run;
    if (json_get_int(message, "seed", 0, &seed, err) || json_get_int(message, "partition", 0, &partition, err) ||
        json_get_int(message, "partitions", 1, &partitions, err) || json_get_str(message, "run", "", &run, err))
        return -1;
    l->plan = plan_parse(json_incref(json_object_get(message, "plan")), err);
    if (!l->plan)
        return -1;
    l->run = stamp_run((uint64_t)seed);
    l->partition = (uint32_t)partition;
    l->partitions = (uint32_t)partitions;
    snprintf(l->run_id, sizeof(l->run_id), "%s", run);
    l->since_us = loop_wall_us(l->c.loop);
    l->mqtt = adapter_find("mqtt");
    l->links = link_env_new(l->c.loop, &(struct link_env_config){0}, err);
    l->resolver = l->links ? resolver_new(l->c.loop, err) : NULL;
    l->unused = metrics_new(SERIES_MAX);
    if (!l->resolver || !l->unused || know_rules(l, err))
        return -1;
    loop_timer_start(l->c.loop, &l->ready, READY_US, on_ready_late);
    for (unsigned i = 0; i < l->plan->n_groups; i++)
        if (l->books[i].delivery && !(l->books[i].listener = listener_of(l, &l->plan->groups[i].config, err)))
            return -1;
    return 0;
}

static void take_final(struct child *c, const uint8_t *bytes, size_t n)
{
    struct ledger *l = container_of(c, struct ledger, c);
    struct buf *more = n >= HEAD && n % 4 == 0 ? realloc(l->finals, (l->n_finals + 1) * sizeof(*more)) : NULL;
    if (!more)
        return;
    l->finals = more;
    buf_create(&more[l->n_finals], MESSAGE_MAX);
    if (buf_append(&more[l->n_finals], bytes, n)) {
        buf_destroy(&more[l->n_finals]);
        return;
    }
    l->n_finals++;
    for (size_t at = HEAD; at < n; at += 4)
        l->finals_sent += word_at(bytes, at);
}

static void apply_final(struct ledger *l, const struct buf *f)
{
    uint32_t group = word_at(f->data, 0), epoch = word_at(f->data, 4), shard = word_at(f->data, 8),
             shards = word_at(f->data, 12);
    struct error err;
    if (group >= l->plan->n_groups || !l->books[group].delivery)
        return;
    for (size_t i = 0; HEAD + 4 * i < f->len; i++)
        if (delivery_sent(l->books[group].delivery, i * shards + shard, epoch, word_at(f->data, HEAD + 4 * i), &err))
            l->unaccounted++;
}

// --- the end

static json_t *counts_json(const struct delivery_counts *c)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sent", (json_int_t)c->sent, "received",
                     (json_int_t)c->received, "lost", (json_int_t)c->lost, "unknown", (json_int_t)c->unknown,
                     "duplicated", (json_int_t)c->duplicated, "reordered", (json_int_t)c->reordered, "late",
                     (json_int_t)c->late);
}

static void add(struct delivery_counts *to, const struct delivery_counts *c)
{
    to->sent += c->sent;
    to->received += c->received;
    to->lost += c->lost;
    to->unknown += c->unknown;
    to->duplicated += c->duplicated;
    to->reordered += c->reordered;
    to->late += c->late;
}

static json_t *account(const struct ledger *l)
{
    struct delivery_counts sum = {0};
    json_t *groups = json_array(), *worst = json_array();
    for (unsigned i = 0; i < l->plan->n_groups; i++) {
        struct delivery_example examples[WORST];
        const char *name = l->plan->groups[i].config.name;
        if (!l->books[i].delivery)
            continue;
        const struct delivery_counts *c = delivery_counts(l->books[i].delivery);
        json_t *one = counts_json(c);
        add(&sum, c);
        json_object_set_new(one, "name", json_text_of(name));
        json_array_append_new(groups, one);
        unsigned n = delivery_examples(l->books[i].delivery, examples, WORST);
        for (unsigned k = 0; k < n && json_array_size(worst) < WORST; k++)
            json_array_append_new(worst, json_pack("{s:o, s:I, s:I}", "group", json_text_of(name), "device",
                                                   (json_int_t)(examples[k].device * l->partitions + l->partition + 1),
                                                   "lost", (json_int_t)examples[k].lost));
    }
    json_t *o = counts_json(&sum);
    json_object_set_new(o, "interruptions", json_integer((json_int_t)l->interruptions));
    json_object_set_new(o, "lostShards", json_integer((json_int_t)l->lost_shards));
    json_object_set_new(o, "complete",
                        json_boolean(!l->interruptions && !l->lost_shards && !l->unaccounted && !sum.unknown));
    json_object_set_new(o, "groups", groups);
    json_object_set_new(o, "worst", worst);
    return o;
}

static bool all_there(const struct ledger *l)
{
    uint64_t sent = 0, missing = 0;
    for (unsigned i = 0; i < l->plan->n_groups; i++)
        if (l->books[i].delivery) {
            const struct delivery_counts *c = delivery_counts(l->books[i].delivery);
            sent += c->sent;
            missing += c->lost + c->unknown;
        }
    return sent == l->finals_sent && !missing;
}

static void on_drain(struct timer *t, void *loop)
{
    (void)loop;
    struct ledger *l = container_of(t, struct ledger, drain);
    if (loop_now_us(l->c.loop) < l->until_us && !all_there(l)) {
        loop_timer_start(l->c.loop, t, LOOK_US, on_drain);
        return;
    }
    for (unsigned i = 0; i < l->n_finals; i++)
        apply_final(l, &l->finals[i]);
    show(l);
    child_send(&l->c, MSG_LEDGER, account(l));
    child_done(&l->c, 0, NULL, NULL);
}

static void on_told(struct child *c, enum message_type type, const json_t *message)
{
    struct ledger *l = container_of(c, struct ledger, c);
    struct error err = {0};
    if (type == MSG_ASSIGN && !l->plan) {
        if (assigned(l, message, &err))
            fail(l, EXIT_SCENARIO, err.text);
    } else if (type == MSG_GO && !l->going) {
        l->going = true;
        c->start->heartbeat->phase = PHASE_RUN;
        on_tick(&l->tick, c->loop);
    } else if (type == MSG_STOP && l->plan) {
        c->start->heartbeat->phase = PHASE_DRAIN;
        l->lost_shards = (uint64_t)json_integer_value(json_object_get(message, "lost"));
        l->until_us = loop_now_us(c->loop) + json_integer_value(json_object_get(message, "deadline_us"));
        loop_timer_start(c->loop, &l->drain, 0, on_drain);
    }
}

static void ledger_free(struct ledger *l)
{
    loop_timer_stop(l->c.loop, &l->tick);
    loop_timer_stop(l->c.loop, &l->ready);
    loop_timer_stop(l->c.loop, &l->drain);
    while (l->listeners) {
        struct listener *x = l->listeners;
        l->listeners = x->next;
        if (x->conn)
            l->mqtt->conn_delete(x->conn);
        if (x->target)
            l->mqtt->target_delete(x->target);
        free(x);
    }
    for (unsigned i = 0; l->books && i < l->plan->n_groups; i++)
        delivery_delete(l->books[i].delivery);
    for (unsigned i = 0; i < l->n_finals; i++)
        buf_destroy(&l->finals[i]);
    free(l->finals);
    free(l->books);
    free(l->rules);
    resolver_delete(l->resolver);
    link_env_delete(l->links);
    metrics_delete(l->unused);
    plan_delete(l->plan);
}

int ledger_main(void *child_start, int channel)
{
    struct error err = {0};
    struct ledger *l = calloc(1, sizeof(*l));
    if (!l)
        return 70;
    l->c.on_message = on_told;
    l->c.on_bytes = take_final;
    if (child_create(&l->c, child_start, channel, &err) || loop_run(l->c.loop, &err))
        l->c.status = 1;
    int status = l->c.status;
    if (l->c.loop)
        ledger_free(l);
    child_destroy(&l->c);
    free(l);
    return status;
}
