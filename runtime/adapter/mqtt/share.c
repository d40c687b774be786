#include "adapter/mqtt/share.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/topic.h"

struct mqtt_share {
    struct mqtt_share *next;
    struct metric *members, *messages, *squared;
    char filter[];
};

struct mqtt_member {
    struct mqtt_member *next;
    struct mqtt_share *share;
    uint64_t n; // messages it got
    bool left;
};

bool mqtt_is_share(const char *filter, size_t len)
{
    return len >= 7 && memcmp(filter, "$share/", 7) == 0;
}

int mqtt_share_check(const char *filter, size_t len, struct error *err)
{
    if (!mqtt_is_share(filter, len))
        return 0;
    const char *group = filter + 7, *end = memchr(group, '/', len - 7);
    if (!end || end == group || end + 1 == filter + len)
        return error_set(err, ERR_INVALID,
                         "the shared subscription \"%.100s\" must be $share/GROUP/FILTER (MQTT 4.8.2-1)", filter);
    if (memchr(group, '+', (size_t)(end - group)) || memchr(group, '#', (size_t)(end - group)))
        return error_set(err, ERR_INVALID, "the group of \"%.100s\" must not hold + or # (MQTT 4.8.2-2)", filter);
    return 0;
}

// A tag may not hold what separates tags.
static void tag_of(const char *filter, size_t len, char *out, size_t size)
{
    size_t n = len < size - 1 ? len : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = strchr(",:{}=", filter[i]) || (unsigned char)filter[i] < 0x20 ? '_' : filter[i];
    while (n && n < len && ((unsigned char)filter[n] & 0xc0) == 0x80) // not in the middle of a character
        n--;
    out[n] = '\0';
}

static struct mqtt_share *share_get(struct mqtt_target *t, const char *filter, size_t len)
{
    char tag[200], tags[400];
    unsigned n = 0;
    for (struct mqtt_share *s = t->shares; s; s = s->next, n++)
        if (strlen(s->filter) == len && memcmp(s->filter, filter, len) == 0)
            return s;
    struct mqtt_share *s = n < MQTT_MAX_SHARES ? calloc(1, sizeof *s + len + 1) : NULL;
    if (!s)
        return NULL;
    memcpy(s->filter, filter, len);
    tag_of(filter, len, tag, sizeof tag);
    snprintf(tags, sizeof tags, "%s,filter:%s", t->tags, tag);
    s->members = metrics_gauge(t->env.metrics, "share_members", GAUGE_SUM, tags, NULL);
    s->messages = metrics_gauge(t->env.metrics, "share_messages", GAUGE_SUM, tags, NULL);
    s->squared = metrics_gauge(t->env.metrics, "share_messages_squared", GAUGE_SUM, tags, NULL);
    if (!s->members || !s->messages || !s->squared) {
        free(s);
        return NULL;
    }
    s->next = t->shares;
    t->shares = s;
    return s;
}

static struct mqtt_member *member_find(const struct mqtt_conn *c, const char *filter, size_t len)
{
    struct mqtt_member *m = c->extra ? c->extra->memberships : NULL;
    while (m && (strlen(m->share->filter) != len || memcmp(m->share->filter, filter, len) != 0))
        m = m->next;
    return m;
}

void mqtt_share_joined(struct mqtt_conn *c, const char *filter, size_t len)
{
    struct mqtt_member *m = member_find(c, filter, len);
    if (m) {
        m->left = false;
        return;
    }
    struct mqtt_share *share = share_get(c->target, filter, len);
    struct mqtt_extra *x = share ? mqtt_extra_get(c, NULL) : NULL;
    m = x ? calloc(1, sizeof *m) : NULL;
    if (!m)
        return;
    m->share = share;
    m->next = x->memberships;
    x->memberships = m;
    c->flags |= MQTT_WATCHED;
    gauge_add(share->members, 1);
}

void mqtt_share_left(struct mqtt_conn *c, const char *filter, size_t len)
{
    struct mqtt_member *m = member_find(c, filter, len);
    if (m)
        m->left = true;
}

void mqtt_share_delivered(struct mqtt_conn *c, const char *topic, size_t len)
{
    for (struct mqtt_member *m = c->extra->memberships; m; m = m->next) {
        if (m->left || !topic_matches_n(m->share->filter, topic, len))
            continue;
        gauge_add(m->share->messages, 1);
        gauge_add(m->share->squared, (double)(2 * m->n + 1)); // (n + 1)² - n²
        m->n++;
        return; // the server sends one copy for one subscription
    }
}

void mqtt_members_delete(struct mqtt_member *members)
{
    for (struct mqtt_member *m = members, *next; m; m = next) {
        next = m->next;
        free(m);
    }
}

void mqtt_shares_destroy(struct mqtt_target *t)
{
    for (struct mqtt_share *s = t->shares, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    t->shares = NULL;
}
