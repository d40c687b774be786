#include "device/stamp.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/topic.h"
#include "core/log.h"
#include "device/internal.h"

#define PROPERTY "iotix-stamp"
#define MESSAGE_CAP (1u << 20)
#define STALE_US 10000000 // sent so long before this process began: of an earlier run with the same seed

struct sent { // of a group's devices, by local number: messages that went out with a stamp
    uint32_t *of;
    uint64_t n;
};

struct stamps {
    uint32_t run;
    int64_t since_us;         // wall time
    struct stamp_rule *rules; // the different ones there are
    unsigned n_rules;
    struct metric **latency, *early, *skew, **failed; // latency, failed: by group, made when first needed
    struct sent *sent;                                // by group
    unsigned n_groups;
    struct buf scratch;
};

uint32_t stamp_run(uint64_t seed)
{
    return (uint32_t)hash_bytes(&seed, sizeof seed, 0);
}

// --- text

unsigned stamp_write(const struct stamp *s, char out[STAMP_TEXT_MAX])
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t fields[] = {s->run, s->group, s->device, s->sequence, (uint64_t)s->time_us};
    char *p = out;
    for (unsigned i = 0; i < 5; i++) {
        if (i)
            *p++ = '.';
        unsigned shift = 60;
        while (shift && !(fields[i] >> shift))
            shift -= 4;
        for (;; shift -= 4) {
            *p++ = digits[fields[i] >> shift & 15];
            if (!shift)
                break;
        }
    }
    *p = '\0';
    return (unsigned)(p - out);
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool stamp_read(const char *text, size_t n, struct stamp *out)
{
    uint64_t fields[5] = {0};
    unsigned at = 0, digits = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '.' && digits && at < 4) {
            at++;
            digits = 0;
            continue;
        }
        int d = digit_of(text[i]);
        if (d < 0 || ++digits > 16)
            return false;
        fields[at] = fields[at] << 4 | (uint64_t)d;
    }
    if (at != 4 || !digits || fields[0] > UINT32_MAX || fields[1] > UINT32_MAX || fields[4] > INT64_MAX)
        return false;
    *out = (struct stamp){(uint32_t)fields[0], (uint32_t)fields[1], fields[2], fields[3], (int64_t)fields[4]};
    return true;
}

int stamp_rule_parse(const json_t *json, struct stamp_rule *out, struct error *err)
{
    static const char expected[] =
        "stamp: expected \"property\", \"topic\" or { payload = \"NAME\" }, a name of letters, digits, _ and -";
    *out = (struct stamp_rule){0};
    if (!json || json_is_null(json))
        return 0;
    const char *word = json_string_value(json), *key = json_string_value(json_object_get(json, "payload"));
    if (word && strcmp(word, "property") == 0) {
        out->place = STAMP_PROPERTY;
        return 0;
    }
    if (word && strcmp(word, "topic") == 0) {
        out->place = STAMP_TOPIC;
        return 0;
    }
    size_t n = key ? strlen(key) : 0;
    if (!n || n > STAMP_KEY_MAX || json_object_size(json) != 1 ||
        strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != n)
        return error_set(err, ERR_INVALID, "%s", expected);
    out->place = STAMP_PAYLOAD;
    memcpy(out->key, key, n + 1);
    return 0;
}

// --- finding

static bool in_payload(const struct stamp_rule *rule, const struct adapter_message *m, struct stamp *out)
{
    char head[STAMP_KEY_MAX + 8]; // "KEY":"
    size_t key = strlen(rule->key), n = key + 4;
    head[0] = '"';
    memcpy(head + 1, rule->key, key);
    memcpy(head + 1 + key, "\":\"", 3);
    // The sender's is the last member: what the payload says before it may look the same.
    size_t tail =
        m->payload_len < STAMP_TEXT_MAX + sizeof head + 16 ? m->payload_len : STAMP_TEXT_MAX + sizeof head + 16;
    const char *from = (const char *)m->payload + (m->payload_len - tail),
               *end = (const char *)m->payload + m->payload_len;
    const char *at = m->payload_len ? memmem(from, tail, head, n) : NULL;
    if (!at)
        return false;
    at += n;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    return quote && stamp_read(at, (size_t)(quote - at), out);
}

bool stamp_find(const struct stamp_rule *rule, const struct adapter_message *m, struct stamp *out)
{
    const char *level;
    switch (rule->place) {
    case STAMP_PROPERTY:
        for (unsigned i = m->meta ? m->meta->n_user : 0; i > 0; i--) {
            const struct adapter_property *p = &m->meta->user[i - 1];
            if (p->name_len == sizeof PROPERTY - 1 && memcmp(p->name, PROPERTY, p->name_len) == 0)
                return stamp_read(p->value, p->value_len, out);
        }
        return false;
    case STAMP_PAYLOAD:
        return in_payload(rule, m, out);
    case STAMP_TOPIC:
        level = m->topic_len ? memrchr(m->topic, '/', m->topic_len) : NULL;
        return level && stamp_read(level + 1, (size_t)(m->topic + m->topic_len - level - 1), out);
    case STAMP_NONE:
        break;
    }
    return false;
}

// --- of a fleet

static bool known_rule(const struct stamps *all, const struct stamp_rule *rule)
{
    for (unsigned i = 0; i < all->n_rules; i++)
        if (all->rules[i].place == rule->place && strcmp(all->rules[i].key, rule->key) == 0)
            return true;
    return false;
}

static int fill(struct stamps *all, const struct fleet *fleet, struct error *err)
{
    struct metrics *m = fleet->config.env.metrics;
    buf_create(&all->scratch, MESSAGE_CAP);
    all->rules = calloc(fleet->n_groups, sizeof *all->rules);
    all->latency = calloc(fleet->n_groups, sizeof(struct metric *));
    all->failed = calloc(fleet->n_groups, sizeof(struct metric *));
    all->sent = calloc(fleet->n_groups, sizeof *all->sent);
    all->n_groups = fleet->n_groups;
    if (!all->rules || !all->latency || !all->failed || !all->sent)
        return error_set(err, ERR_NO_MEMORY, "no memory for stamps");
    all->early = metrics_series(m, "e2e_early", METRIC_COUNTER, UNIT_NONE, NULL, err);
    all->skew = all->early ? metrics_gauge(m, "e2e_skew", GAUGE_MAX, NULL, err) : NULL;
    return all->skew ? 0 : -1;
}

int stamps_begin(struct fleet *fleet, struct error *err)
{
    bool any = false;
    for (unsigned i = 0; i < fleet->n_groups; i++)
        any |= fleet->groups[i]->config.stamp.place != STAMP_NONE;
    if (!any || !fleet->config.env.metrics || fleet->stamps)
        return 0;
    struct stamps *all = calloc(1, sizeof *all);
    if (!all)
        return error_set(err, ERR_NO_MEMORY, "no memory for stamps");
    if (fill(all, fleet, err)) {
        stamps_delete(all);
        return -1;
    }
    fleet->stamps = all;
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        const struct stamp_rule *rule = &fleet->groups[i]->config.stamp;
        fleet->groups[i]->place = i;
        if (rule->place != STAMP_NONE && !known_rule(all, rule))
            all->rules[all->n_rules++] = *rule;
    }
    all->run = stamp_run(fleet->config.seed);
    all->since_us = loop_wall_us(fleet->config.env.loop);
    return 0;
}

void stamps_delete(struct stamps *all)
{
    if (!all)
        return;
    buf_destroy(&all->scratch);
    for (unsigned i = 0; all->sent && i < all->n_groups; i++)
        free(all->sent[i].of);
    free(all->sent);
    free(all->rules);
    free(all->latency);
    free(all->failed);
    free(all);
}

static struct metric *of_group(struct fleet *fleet, struct metric **at, unsigned group, const char *name,
                               enum metric_type type, enum metric_unit unit)
{
    char tags[160];
    if (!*at && snprintf(tags, sizeof tags, "group:%s", fleet->groups[group]->config.name) < (int)sizeof tags)
        *at = metrics_series(fleet->config.env.metrics, name, type, unit, tags, NULL);
    return *at;
}

// --- sending

// 1: nothing to put it into.
static int put_payload(struct stamps *all, const struct stamp_rule *rule, const char *text, struct adapter_message *m)
{
    const char *p = (const char *)m->payload;
    size_t n = m->payload_len, first = 0;
    while (n && strchr(" \t\r\n", p[n - 1]))
        n--;
    while (first < n && strchr(" \t\r\n", p[first]))
        first++;
    if (n < first + 2 || p[first] != '{' || p[n - 1] != '}')
        return 1;
    size_t last = n - 1; // the brace; what is before it says whether there are members
    while (last > first + 1 && strchr(" \t\r\n", p[last - 1]))
        last--;
    bool empty = last == first + 1;
    if (buf_append(&all->scratch, p, last) || buf_append_str(&all->scratch, empty ? "\"" : ",\"") ||
        buf_append_str(&all->scratch, rule->key) || buf_append_str(&all->scratch, "\":\"") ||
        buf_append_str(&all->scratch, text) || buf_append_str(&all->scratch, "\"}"))
        return 1;
    m->payload = all->scratch.data;
    m->payload_len = all->scratch.len;
    return 0;
}

static int put_topic(struct stamps *all, const char *text, struct adapter_message *m)
{
    if (buf_append(&all->scratch, m->topic, m->topic_len) || buf_append_str(&all->scratch, "/") ||
        buf_append_str(&all->scratch, text))
        return 1;
    m->topic = (const char *)all->scratch.data;
    m->topic_len = all->scratch.len;
    return 0;
}

static int put_property(struct stamps *all, const char *text, unsigned n, struct adapter_message *m,
                        struct adapter_meta *meta)
{
    *meta = m->meta ? *m->meta : (struct adapter_meta){0};
    if (meta->n_user && buf_append(&all->scratch, meta->user, meta->n_user * sizeof *meta->user))
        return 1;
    const struct adapter_property own = {PROPERTY, sizeof PROPERTY - 1, text, n};
    if (buf_append(&all->scratch, &own, sizeof own))
        return 1;
    meta->user = (const struct adapter_property *)(const void *)all->scratch.data;
    meta->n_user++;
    m->meta = meta;
    return 0;
}

// The counter of a device; 4 bytes for each, once its group sends. NULL: no memory.
static uint32_t *sent_by(struct stamps *all, const struct device *d)
{
    const struct ownership *o = &d->group->fleet->config.owner;
    struct sent *s = &all->sent[d->group->place];
    uint64_t local = (d->index - 1) / o->partitions / o->shards;
    if (local >= s->n) {
        uint64_t n = local + 1 > d->group->owned ? local + 1 : d->group->owned;
        uint32_t *of = realloc(s->of, n * sizeof *of);
        if (!of)
            return NULL;
        memset(of + s->n, 0, (n - s->n) * sizeof *of);
        s->of = of;
        s->n = n;
    }
    return &s->of[local];
}

// Nobody accounts for what is published to another topic: numbered, it would be taken for lost.
static bool unheard(const struct group_config *g, const struct adapter_message *m)
{
    for (unsigned i = 0; i < g->n_ledger_filters; i++)
        if (topic_matches_n(g->ledger_filters[i], m->topic, m->topic_len))
            return false;
    return true;
}

// Of a message that goes out without a stamp.
static void complain(const struct device *d, const struct adapter_message *m)
{
    const struct group *g = d->group;
    struct stamps *all = g->fleet->stamps;
    bool first = !all->failed[g->place];
    struct metric *count =
        of_group(g->fleet, &all->failed[g->place], g->place, "stamps_failed", METRIC_COUNTER, UNIT_NONE);
    if (count)
        counter_add(count, 1);
    if (!first || !g->config.in_ledger)
        return;
    if (unheard(&g->config, m))
        log_write(g->fleet->config.env.log, LOG_ERROR, NULL,
                  "group \"%s\" publishes to \"%.*s\", which the ledger does not hear: name it in "
                  "ledger = { topics = { … } }; such messages are not accounted for (stamps_failed)",
                  g->config.name, (int)(m->topic_len < 200 ? m->topic_len : 200), m->topic);
    else
        log_write(g->fleet->config.env.log, LOG_ERROR, NULL,
                  "group \"%s\" publishes a payload that is no JSON object to \"%.*s\": it cannot carry a number, give "
                  "stamp = \"topic\" or \"property\"; such messages are not accounted for (stamps_failed)",
                  g->config.name, (int)(m->topic_len < 200 ? m->topic_len : 200), m->topic);
}

int stamp_publish(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct group *g = d->group;
    struct stamps *all = g->fleet->stamps;
    const struct stamp_rule *rule = &g->config.stamp;
    if (!all || rule->place == STAMP_NONE)
        return g->adapter->publish(d->conn, m, token, err);
    struct adapter_message out = *m;
    struct adapter_meta meta;
    char text[STAMP_TEXT_MAX];
    unsigned number = g->place;
    uint32_t *sent = sent_by(all, d);
    int64_t now_us = loop_fresh_us(g->fleet->config.env.loop);
    struct lag lag;
    loop_lag(g->fleet->config.env.loop, now_us, &lag);
    const struct stamp s = {.run = all->run,
                            .group = number,
                            .device = d->index,
                            .sequence = sent ? (uint64_t)g->fleet->config.epoch << 32 | (*sent + 1) : 0,
                            .time_us = loop_wall_us(g->fleet->config.env.loop) - lag.late_us};
    unsigned n = stamp_write(&s, text);
    buf_clear(&all->scratch);
    int failed = !sent                           ? 1
                 : rule->place == STAMP_PROPERTY ? put_property(all, text, n, &out, &meta)
                 : rule->place == STAMP_PAYLOAD  ? put_payload(all, rule, text, &out)
                                                 : put_topic(all, text, &out);
    if (!failed && g->config.in_ledger)
        failed = unheard(&g->config, &out);
    if (failed)
        complain(d, m);
    int rc = g->adapter->publish(d->conn, failed ? m : &out, token, err);
    if (rc == 0 && !failed)
        ++*sent; // one that was refused leaves no gap
    return rc;
}

uint64_t stamps_sent(const struct stamps *all, unsigned group, const uint32_t **counts)
{
    bool any = all && group < all->n_groups;
    *counts = any ? all->sent[group].of : NULL;
    return any ? all->sent[group].n : 0;
}

// --- receiving

void stamp_received(struct device *d, const struct adapter_message *m)
{
    struct fleet *fleet = d->group->fleet;
    struct stamps *all = fleet->stamps;
    struct stamp s;
    bool found = false;
    for (unsigned i = 0; all && i < all->n_rules && !found; i++)
        found = stamp_find(&all->rules[i], m, &s);
    if (!found || s.run != all->run || s.group >= fleet->n_groups || s.time_us < all->since_us - STALE_US)
        return;
    int64_t us = loop_wall_us(fleet->config.env.loop) - s.time_us;
    if (us < 0) {
        counter_add(all->early, 1);
        if ((double)-us > all->skew->value)
            gauge_set(all->skew, (double)-us);
        us = 0;
    }
    struct metric *t = of_group(fleet, &all->latency[s.group], s.group, "e2e_latency", METRIC_TREND, UNIT_TIME_US);
    if (t)
        trend_add(t, us);
}
