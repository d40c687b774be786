// Filters must not overlap: a broker may hand a message over once for each that matches, and it would count as doubled.
#include "engine/plan_ledger.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/mqtt/topic.h"
#include "adapter/topic.h"
#include "core/buf.h"
#include "core/jsonx.h"
#include "engine/plan.h"
#include "engine/plan_target.h"
#include "link/url.h"

#define FILTER_CAP 1024u

static int add_filter(struct plan_ledger *l, const char *text, struct error *err)
{
    for (unsigned i = 0; i < l->n_filters; i++)
        if (strcmp(l->filters[i], text) == 0)
            return 0;
    if (l->n_filters == LEDGER_FILTERS_MAX)
        return error_set(err, ERR_LIMIT,
                         "its groups publish below more than %u different topics: give topics = { \"FILTER\" }",
                         LEDGER_FILTERS_MAX);
    if (mqtt_filter_check(text, strlen(text), err))
        return -1;
    l->filters[l->n_filters] = strdup(text);
    return l->filters[l->n_filters] ? (l->n_filters++, 0) : error_set(err, ERR_NO_MEMORY, "no memory for a filter");
}

// "plant/${groupId}/${deviceId}" → "plant/pumps/+/#".
static int filter_of(const struct group_config *g, struct buf *out, struct error *err)
{
    for (const char *p = g->topic_base; p;) {
        size_t n = 0;
        unsigned depth = 0;
        for (; p[n] && (depth || p[n] != '/'); n++)
            depth = p[n] == '{' && n && p[n - 1] == '$' ? 1 : p[n] == '}' ? 0 : depth;
        bool pattern = memmem(p, n, "${", 2) != NULL;
        bool name = n == strlen("${groupId}") && memcmp(p, "${groupId}", n) == 0;
        if (name ? buf_append_str(out, g->name) : pattern ? buf_append_str(out, "+") : buf_append(out, p, n))
            return error_set(err, ERR_LIMIT, "the topics of group \"%s\" are too long", g->name);
        if (buf_append_str(out, "/"))
            return error_set(err, ERR_LIMIT, "the topics of group \"%s\" are too long", g->name);
        p = p[n] ? p + n + 1 : NULL;
    }
    return buf_append_str(out, "#") ? error_set(err, ERR_LIMIT, "the topics of group \"%s\" are too long", g->name) : 0;
}

// Two that overlap become what they have in common: "a/+/#" and "a/b/#" are "a/#".
static void join_filters(struct plan_ledger *l, unsigned a, unsigned b)
{
    char *x = l->filters[a], *y = l->filters[b];
    size_t common = 0;
    for (size_t i = 0; x[i] && x[i] == y[i]; i++)
        if (x[i] == '/')
            common = i + 1;
    memcpy(x + common, "#", 2); // both have a last level at least
    free(y);
    l->filters[b] = l->filters[--l->n_filters];
}

static bool join_one(struct plan_ledger *l)
{
    for (unsigned a = 0; a < l->n_filters; a++)
        for (unsigned b = a + 1; b < l->n_filters; b++)
            if (topic_filters_overlap(l->filters[a], l->filters[b])) {
                join_filters(l, a, b);
                return true;
            }
    return false;
}

static int derive_filters(struct plan *p, struct error *err)
{
    for (unsigned i = 0; i < p->n_groups; i++) {
        struct buf text;
        if (!p->groups[i].config.in_ledger)
            continue;
        buf_create(&text, FILTER_CAP);
        int rc = filter_of(&p->groups[i].config, &text, err) || add_filter(&p->ledger, buf_cstr(&text), err);
        buf_destroy(&text);
        if (rc)
            return -1;
    }
    while (join_one(&p->ledger))
        ;
    return 0;
}

static int take_filters(struct plan_ledger *l, const json_t *topics, struct error *err)
{
    const json_t *one;
    size_t i;
    json_array_foreach(topics, i, one)
    {
        const char *text = json_string_value(one);
        if (!text)
            return error_set(err, ERR_INVALID, "topics: expected a list of topic filters");
        if (add_filter(l, text, err))
            return error_prefix(err, "topics");
    }
    for (unsigned a = 0; a < l->n_filters; a++)
        for (unsigned b = a + 1; b < l->n_filters; b++)
            if (topic_filters_overlap(l->filters[a], l->filters[b]))
                return error_set(err, ERR_INVALID,
                                 "topics: \"%.200s\" and \"%.200s\" overlap: what matches both would come twice",
                                 l->filters[a], l->filters[b]);
    return 0;
}

static bool names(const json_t *groups, const char *name)
{
    const json_t *one;
    size_t i;
    json_array_foreach(groups, i,
                       one) if (json_is_string(one) && strcmp(json_string_value(one), name) == 0) return true;
    return !json_is_array(groups);
}

static int choose_groups(struct plan *p, const json_t *groups, struct error *err)
{
    for (unsigned i = 0; i < p->n_groups; i++) {
        struct group_config *g = &p->groups[i].config;
        char other[16];
        if (!names(groups, g->name))
            continue;
        const char *protocol = url_protocol(g->url, other, sizeof(other));
        if (strcmp(protocol, "mqtt") != 0)
            return error_set(err, ERR_UNSUPPORTED,
                             "group \"%s\" speaks %s: what arrives is accounted for with MQTT alone; name the groups "
                             "that speak it: groups = { … }",
                             g->name, protocol);
        if (g->stamp.place == STAMP_NONE)
            return error_set(err, ERR_INVALID,
                             "the messages of group \"%s\" carry no number: give stamp = \"topic\" or "
                             "{ payload = \"NAME\" }, or connect with iotix.mqtt { version = \"5\" }",
                             g->name);
        g->in_ledger = p->ledger.on = true;
    }
    return 0;
}

static int parse(struct plan *p, const json_t *json, struct error *err)
{
    struct plan_ledger *l = &p->ledger;
    const json_t *topics = json_object_get(json, "topics");
    l->filters = calloc(LEDGER_FILTERS_MAX, sizeof(*l->filters));
    if (!l->filters)
        return error_set(err, ERR_NO_MEMORY, "no memory");
    if (choose_groups(p, json_object_get(json, "groups"), err) ||
        json_get_int(json, "late", LEDGER_LATE_US, &l->late_us, err) ||
        json_get_str(json, "username", NULL, &l->username, err) ||
        json_get_str(json, "password", NULL, &l->password, err))
        return -1;
    if (l->late_us < 0)
        return error_set(err, ERR_INVALID, "late: expected a duration of 0 or more");
    if (!l->on)
        return 0;
    if (json_array_size(topics) ? take_filters(l, topics, err) : derive_filters(p, err))
        return -1;
    for (unsigned i = 0; i < p->n_groups; i++)
        if (p->groups[i].config.in_ledger) {
            p->groups[i].config.ledger_filters = (const char *const *)l->filters;
            p->groups[i].config.n_ledger_filters = l->n_filters;
        }
    return 0;
}

int plan_parse_ledger(struct plan *p, struct error *err)
{
    const json_t *json = json_object_get(p->json, "ledger");
    if (!json || json_is_null(json))
        return 0;
    if (!json_is_object(json))
        return error_set(err, ERR_INVALID, "%s: ledger: expected an object", p->file);
    return parse(p, json, err) ? error_prefix(err, "%s: ledger", p->file) : 0;
}

void plan_release_ledger(struct plan *p)
{
    for (unsigned i = 0; i < p->ledger.n_filters; i++)
        free(p->ledger.filters[i]);
    free(p->ledger.filters);
}
