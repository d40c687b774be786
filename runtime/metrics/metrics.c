// Series are found through a hash table with linear probing (never deleted from, so no tombstones) and kept beside it
// in an array sorted by name and tags, which gives every output its order and finds the other series of a name. A
// series is one allocation that never moves: callers keep its address.
#include "metrics/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "metrics/tags.h"

#define OVERFLOW_TAGS "overflow:true"

struct series {
    struct metric metric; // first: the address of one is that of the other
    uint64_t hash;
    bool valued; // gauge: something has been merged into it
    char text[]; // name, NUL, tags, NUL
};

struct metrics {
    struct series **sorted;
    struct series **table; // size is a power of two, at most half full
    unsigned count, size, table_size;
    unsigned overflowed; // series tagged as overflow, which do not count against the cap
    unsigned max;
    uint64_t overflow_asked; // how often a set of tags found no room for a series of its own
};

struct metrics *metrics_new(unsigned max_series)
{
    struct metrics *m = calloc(1, sizeof(*m));
    if (m)
        m->max = max_series ? max_series : 1;
    return m;
}

void metrics_delete(struct metrics *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->count; i++) {
        hist_delete(m->sorted[i]->metric.hist);
        free(m->sorted[i]);
    }
    free(m->sorted);
    free(m->table);
    free(m);
}

void metrics_clear(struct metrics *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct metric *s = &m->sorted[i]->metric;
        s->count = 0;
        s->hits = 0;
        s->value = 0;
        m->sorted[i]->valued = false;
        if (s->hist)
            hist_clear(s->hist);
    }
}

static uint64_t hash_of(const char *name, const char *tags)
{
    return hash_bytes(tags, strlen(tags), hash_bytes(name, strlen(name), 0));
}

static struct series *find(const struct metrics *m, uint64_t hash, const char *name, const char *tags)
{
    if (!m->table_size)
        return NULL;
    for (unsigned i = (unsigned)hash & (m->table_size - 1); m->table[i]; i = (i + 1) & (m->table_size - 1)) {
        struct series *s = m->table[i];
        if (s->hash == hash && strcmp(s->metric.name, name) == 0 && strcmp(s->metric.tags, tags) == 0)
            return s;
    }
    return NULL;
}

// Where (name, tags) is or belongs in the sorted array.
static unsigned lower_bound(const struct metrics *m, const char *name, const char *tags)
{
    unsigned low = 0, high = m->count;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        const struct metric *s = &m->sorted[mid]->metric;
        int d = strcmp(s->name, name);
        if (d == 0)
            d = strcmp(s->tags, tags);
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void table_put(struct series **table, unsigned size, struct series *s)
{
    unsigned i = (unsigned)s->hash & (size - 1);
    while (table[i])
        i = (i + 1) & (size - 1);
    table[i] = s;
}

static int make_room(struct metrics *m)
{
    if (m->count < m->size)
        return 0;
    unsigned size = m->size ? m->size * 2 : 32;
    struct series **sorted = realloc(m->sorted, size * sizeof(struct series *));
    if (!sorted)
        return -1;
    m->sorted = sorted;
    struct series **table = calloc((size_t)size * 2, sizeof(struct series *));
    if (!table)
        return -1;
    for (unsigned i = 0; i < m->count; i++)
        table_put(table, size * 2, sorted[i]);
    free(m->table);
    m->table = table;
    m->table_size = size * 2;
    m->size = size;
    return 0;
}

static struct series *series_new(const struct metric *like, const char *name, const char *tags)
{
    size_t name_size = strlen(name) + 1, tags_size = strlen(tags) + 1;
    struct series *s = calloc(1, sizeof(*s) + name_size + tags_size);
    if (!s)
        return NULL;
    s->metric = *like;
    s->metric.name = memcpy(s->text, name, name_size);
    s->metric.tags = memcpy(s->text + name_size, tags, tags_size);
    s->hash = hash_of(name, tags);
    if (like->type == METRIC_TREND && !(s->metric.hist = hist_new())) {
        free(s);
        return NULL;
    }
    return s;
}

static struct metric *add(struct metrics *m, const struct metric *like, const char *name, const char *tags,
                          struct error *err)
{
    struct series *s = make_room(m) ? NULL : series_new(like, name, tags);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for the metric %s", name);
        return NULL;
    }
    unsigned at = lower_bound(m, name, tags);
    memmove(&m->sorted[at + 1], &m->sorted[at], (m->count - at) * sizeof(struct series *));
    m->sorted[at] = s;
    m->count++;
    table_put(m->table, m->table_size, s);
    return &s->metric;
}

static const char *type_name(enum metric_type type)
{
    static const char *const names[] = {"counter", "gauge", "rate", "trend"};
    return names[type];
}

static const char *unit_name(enum metric_unit unit)
{
    static const char *const names[] = {"no unit", "microseconds", "bytes"};
    return names[unit];
}

// All series of a name are of one kind: the first decides.
static int check_kind(const struct metrics *m, const struct metric *want, const char *name, struct error *err)
{
    unsigned at = lower_bound(m, name, "");
    if (at == m->count || strcmp(m->sorted[at]->metric.name, name))
        return 0;
    const struct metric *have = &m->sorted[at]->metric;
    if (have->type != want->type || have->unit != want->unit)
        return error_set(err, ERR_INVALID, "the metric %s is a %s (%s), not a %s (%s)", name, type_name(have->type),
                         unit_name(have->unit), type_name(want->type), unit_name(want->unit));
    if (have->merge != want->merge)
        return error_set(err, ERR_INVALID, "the gauge %s is already merged as a %s", name,
                         have->merge == GAUGE_SUM ? "sum" : "maximum");
    return 0;
}

// tags are canonical.
static struct metric *find_or_add(struct metrics *m, const struct metric *like, const char *name, const char *tags,
                                  struct error *err)
{
    if (check_kind(m, like, name, err))
        return NULL;
    struct series *s = find(m, hash_of(name, tags), name, tags);
    if (s)
        return &s->metric;
    bool overflow = strcmp(tags, OVERFLOW_TAGS) == 0;
    if (!overflow && m->count - m->overflowed < m->max)
        return add(m, like, name, tags, err);
    m->overflow_asked += !overflow;
    s = find(m, hash_of(name, OVERFLOW_TAGS), name, OVERFLOW_TAGS);
    if (s)
        return &s->metric;
    if (m->overflowed >= m->max) {
        error_set(err, ERR_LIMIT, "no room for the metric %s: there are %u series", name, m->count);
        return NULL;
    }
    struct metric *added = add(m, like, name, OVERFLOW_TAGS, err);
    m->overflowed += added != NULL;
    return added;
}

static struct metric *series_of(struct metrics *m, const char *name, const struct metric *like, const char *tags,
                                struct error *err)
{
    char canonical[METRIC_TAGS_MAX + 1];
    if (metric_name_check(name, strlen(name), err))
        return NULL;
    if (tags_canonical(tags ? tags : "", tags ? strlen(tags) : 0, canonical, sizeof(canonical), err)) {
        error_prefix(err, "metric %s", name);
        return NULL;
    }
    return find_or_add(m, like, name, canonical, err);
}

struct metric *metrics_series(struct metrics *m, const char *name, enum metric_type type, enum metric_unit unit,
                              const char *tags, struct error *err)
{
    struct metric like = {.type = type, .unit = unit, .merge = GAUGE_SUM};
    unsigned at = lower_bound(m, name, "");
    if (at < m->count && strcmp(m->sorted[at]->metric.name, name) == 0)
        like.merge = m->sorted[at]->metric.merge; // said once, by metrics_gauge
    return series_of(m, name, &like, tags, err);
}

struct metric *metrics_gauge(struct metrics *m, const char *name, enum gauge_merge merge, const char *tags,
                             struct error *err)
{
    struct metric like = {.type = METRIC_GAUGE, .unit = UNIT_NONE, .merge = merge};
    return series_of(m, name, &like, tags, err);
}

// A gauge of a process that never set it must not hide a negative maximum of one that did.
static void merge_gauge(struct metric *into, double value, bool first)
{
    if (into->merge == GAUGE_SUM)
        into->value += value;
    else
        into->value = first ? value : fmax(into->value, value);
}

static void merge_gauge_series(struct metric *into, double value)
{
    struct series *s = (struct series *)(void *)into;
    merge_gauge(into, value, !s->valued && into->value == 0);
    s->valued = true;
}

int metrics_merge_from(struct metrics *m, const struct metrics *from, struct error *err)
{
    for (unsigned i = 0; i < from->count; i++) {
        const struct metric *s = &from->sorted[i]->metric;
        struct metric like = {.type = s->type, .unit = s->unit, .merge = s->merge};
        struct metric *into = find_or_add(m, &like, s->name, s->tags, err);
        if (!into)
            return -1;
        into->count += s->count;
        into->hits += s->hits;
        if (s->type == METRIC_GAUGE)
            merge_gauge_series(into, s->value);
        if (s->hist && hist_merge(into->hist, s->hist))
            return error_set(err, ERR_NO_MEMORY, "no memory to merge the metric %s", s->name);
    }
    return 0;
}

void metrics_subtract(struct metrics *m, const struct metrics *earlier)
{
    for (unsigned i = 0; i < earlier->count; i++) {
        const struct metric *was = &earlier->sorted[i]->metric;
        struct series *s = find(m, hash_of(was->name, was->tags), was->name, was->tags);
        if (!s || s->metric.type != was->type || s->metric.count < was->count || s->metric.hits < was->hits)
            continue;
        if (was->hist && hist_subtract(s->metric.hist, was->hist))
            continue;
        s->metric.count -= was->count;
        s->metric.hits -= was->hits;
    }
}

void metrics_restart(struct metrics *m, bool (*keep)(const char *name))
{
    for (unsigned i = 0; i < m->count; i++) {
        struct metric *s = &m->sorted[i]->metric;
        if (s->type == METRIC_GAUGE || (keep && keep(s->name)))
            continue;
        s->count = s->hits = 0;
        if (s->hist)
            hist_clear(s->hist);
    }
}

int metric_selector_parse(const char *text, struct metric_selector *out, struct error *err)
{
    const char *brace = strchrnul(text, '{');
    size_t name_len = (size_t)(brace - text), n = strlen(text);
    while (name_len && text[name_len - 1] == ' ')
        name_len--;
    if (metric_name_check(text, name_len, err))
        return -1;
    memcpy(out->name, text, name_len);
    out->name[name_len] = '\0';
    out->tags[0] = '\0';
    if (!*brace)
        return 0;
    if (text[n - 1] != '}' || brace + 1 == text + n)
        return error_set(err, ERR_INVALID, "\"%.200s\" does not end with }: expected name{key:value,key:value}", text);
    if (tags_canonical(brace + 1, n - (size_t)(brace + 1 - text) - 1, out->tags, sizeof(out->tags), err))
        return error_prefix(err, "\"%.100s\"", text);
    return 0;
}

int metrics_select(const struct metrics *m, const struct metric_selector *sel, struct metric *out)
{
    struct hist *hist = out->hist;
    *out = (struct metric){.name = sel->name, .tags = sel->tags, .hist = hist};
    if (hist)
        hist_clear(hist);
    int matched = 0;
    for (unsigned i = lower_bound(m, sel->name, ""); i < m->count; i++) {
        const struct metric *s = &m->sorted[i]->metric;
        if (strcmp(s->name, sel->name))
            break;
        if (!tags_include(s->tags, sel->tags))
            continue;
        out->type = s->type;
        out->unit = s->unit;
        out->merge = s->merge;
        out->count += s->hist ? hist_count(s->hist) : s->count;
        out->hits += s->hits;
        if (s->type == METRIC_GAUGE)
            merge_gauge(out, s->value, matched == 0);
        if (s->hist && hist && hist_merge(hist, s->hist))
            return -1;
        matched++;
    }
    return matched;
}

void metrics_each(const struct metrics *m, void (*fn)(void *arg, const struct metric *s), void *arg)
{
    for (unsigned i = 0; i < m->count; i++)
        fn(arg, &m->sorted[i]->metric);
}

// --- what was missed, and what was lost

#define MISSED_STEPS 256u

void trend_add_missed(struct metric *t, int64_t us, const struct lag *lag)
{
    uint32_t step = lag->missed / MISSED_STEPS + (lag->missed % MISSED_STEPS != 0); // turns a sample
    for (uint32_t i = 0; i < lag->missed; i += step) {
        uint32_t n = lag->missed - i < step ? lag->missed - i : step;
        int64_t mean = ((int64_t)i * 2 + n - 1) * lag->interval_us / 2; // behind the first of them
        int64_t late = (int64_t)lag->backlog_us - mean;
        hist_record_n(t->hist, us + (late > 0 ? late : 0), n);
    }
}

void metrics_note_overflow(struct metrics *m)
{
    m->overflow_asked++;
}

void metrics_losses(const struct metrics *m, struct metrics_losses *out)
{
    *out = (struct metrics_losses){.overflowed = m->overflow_asked};
    for (unsigned i = 0; i < m->count; i++) {
        const struct hist *h = m->sorted[i]->metric.hist;
        if (!h)
            continue;
        out->saturated += hist_saturated(h);
        out->unrecorded += hist_unrecorded(h);
    }
}
