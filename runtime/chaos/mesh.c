// One document for what acts alike on both directions, otherwise one a direction; a bandwidth and a partition are
// documents of their own, because an action is either netem or one of those. Comments of a document are gathered while
// its body is written, and stand in front of it.
#include "chaos/mesh.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/units.h"

#define NAME_ROOM 40 // of an experiment's name within metadata.name, which is at most 63 long
#define PORT_PAIRS_MAX 256u

struct export
{
    const struct mesh_config *c;
    struct buf *out;
    struct buf notes, body;
    json_t *used; // names of documents
    bool failed;
};

struct doc {
    const struct experiment *e;
    const char *part;           // of its name: "up"
    const char *action;         // NULL: netem, or the one member that there is
    const char *direction;      // "to", "from", "both"
    bool target;                // name the servers' pods
    int64_t lasts_us, every_us; // EXPERIMENT_NEVER, 0: until deleted, once
};

// --- text ---------------------------------------------------------------------------------------------------------

// A YAML text in double quotes, whatever it holds.
static void quote(struct export *x, struct buf *b, const char *s)
{
    size_t n = strlen(s);
    int rc = buf_append_char(b, '"');
    while (n) {
        const unsigned char *p = (const unsigned char *)s;
        size_t k = utf8_length(p, n);
        bool c1 = k == 2 && p[0] == 0xc2 && p[1] < 0xa0;
        bool odd = k == 3 &&
                   ((p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) || (p[0] == 0xef && p[1] == 0xbf && p[2] > 0xbd) ||
                    (p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8));
        if (!k || c1 || *p < 0x20 || *p == 0x7f)
            rc |= buf_printf(b, "\\x%02X", c1 ? p[1] : *p);
        else if (odd)
            rc |= buf_printf(b, "\\u%04X", (unsigned)(p[0] & 15) << 12 | (unsigned)(p[1] & 63) << 6 | (p[2] & 63u));
        else
            rc |= (*p == '"' || *p == '\\' ? buf_append_char(b, '\\') : 0) | buf_append(b, p, k);
        k = k ? k : 1;
        s += k;
        n -= k;
    }
    x->failed |= rc || buf_append_char(b, '"');
}

// A line of the document; `depth` counts two blanks each.
static PRINTF_LIKE(3, 4) void line(struct export *x, unsigned depth, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    x->failed |= buf_printf(&x->body, "%*s", (int)(2 * depth), "") || buf_vprintf(&x->body, fmt, args) ||
                 buf_append_char(&x->body, '\n');
    va_end(args);
}

static void text_line(struct export *x, unsigned depth, const char *key, const char *text)
{
    x->failed |= buf_printf(&x->body, "%*s%s: ", (int)(2 * depth), "", key) != 0;
    quote(x, &x->body, text);
    x->failed |= buf_append_char(&x->body, '\n') != 0;
}

static PRINTF_LIKE(2, 3) void note(struct export *x, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    x->failed |=
        buf_append_str(&x->notes, "# ") || buf_vprintf(&x->notes, fmt, args) || buf_append_char(&x->notes, '\n');
    va_end(args);
}

// The same about an experiment, whose name may hold what ends a line.
static PRINTF_LIKE(3, 4) void note_of(struct export *x, const struct experiment *e, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    x->failed |= buf_append_str(&x->notes, "# experiment ") != 0;
    quote(x, &x->notes, e->name);
    x->failed |=
        buf_append_str(&x->notes, ": ") || buf_vprintf(&x->notes, fmt, args) || buf_append_char(&x->notes, '\n');
    va_end(args);
}

// --- values -------------------------------------------------------------------------------------------------------

static char *duration(int64_t us, char *dst, size_t size)
{
    if (us % 1000000 == 0)
        snprintf(dst, size, "%llds", (long long)(us / 1000000));
    else if (us % 1000 == 0)
        snprintf(dst, size, "%lldms", (long long)(us / 1000));
    else
        snprintf(dst, size, "%lldus", (long long)us);
    return dst;
}

static char *percent(double share, char *dst, size_t size)
{
    int n = snprintf(dst, size, "%.9f", share * 100);
    while (n > 1 && dst[n - 1] == '0')
        dst[--n] = '\0';
    if (n > 1 && dst[n - 1] == '.')
        dst[n - 1] = '\0';
    return dst;
}

// What a value is for good; one that changes with time is at its mean.
static double constant(struct export *x, const char *what, const json_t *v)
{
    const json_t *ramp = json_object_get(v, "ramp"), *sine = json_object_get(v, "sine");
    if (!ramp && !sine)
        return json_number_value(v);
    note(x, "%s changes with time (a %s), which cannot be expressed: this is its mean", what, ramp ? "ramp" : "sine");
    return ramp
               ? (json_number_value(json_object_get(ramp, "from")) + json_number_value(json_object_get(ramp, "to"))) / 2
               : json_number_value(json_object_get(sine, "mean"));
}

static void correlation_line(struct export *x, unsigned depth, const json_t *v)
{
    char text[32];
    const json_t *c = json_object_get(v, "correlation");
    if (c)
        text_line(x, depth, "correlation", percent(json_number_value(c), text, sizeof text));
}

// --- netem --------------------------------------------------------------------------------------------------------

static const char *const netem_keys[] = {"latency", "reorder", "loss", "duplicate", "corrupt", NULL};

// What acts in that direction: its own, or that of both.
static const json_t *acting(const json_t *fault, const char *side, const char *key)
{
    const json_t *own = json_object_get(json_object_get(fault, side), key);
    return own ? own : json_object_get(fault, key);
}

static bool any(const json_t *fault, const char *side, const char *const *keys)
{
    for (; *keys; keys++)
        if (acting(fault, side, *keys))
            return true;
    return false;
}

static bool alike(const json_t *fault, const char *const *keys)
{
    for (; *keys; keys++)
        if (json_object_get(json_object_get(fault, "up"), *keys) ||
            json_object_get(json_object_get(fault, "down"), *keys))
            return false;
    return true;
}

static void delay_lines(struct export *x, unsigned depth, const json_t *v, const json_t *reorder)
{
    char text[32];
    const json_t *value = json_object_get(v, "value"), *jitter = json_object_get(v, "jitter");
    const json_t *distribution = json_object_get(v, "distribution");
    line(x, depth, "delay:");
    text_line(x, depth + 1, "latency",
              duration(llrint(constant(x, "latency", value ? value : v) * 1e6), text, sizeof text));
    if (jitter) {
        text_line(x, depth + 1, "jitter", duration(llrint(constant(x, "jitter", jitter) * 1e6), text, sizeof text));
        note(x, "the %s distribution of the latency cannot be expressed", json_string_value(distribution));
    }
    correlation_line(x, depth + 1, v);
    if (!reorder)
        return;
    const json_t *rate = json_object_get(reorder, "rate"), *gap = json_object_get(reorder, "gap");
    line(x, depth + 1, "reorder:");
    text_line(x, depth + 2, "reorder", percent(constant(x, "reorder", rate ? rate : reorder), text, sizeof text));
    line(x, depth + 2, "gap: %lld", gap ? (long long)json_integer_value(gap) : 1);
    correlation_line(x, depth + 2, reorder);
}

static double mean_of_burst(struct export *x, const json_t *burst)
{
    const json_t *good = json_object_get(burst, "good"), *bad = json_object_get(burst, "bad");
    double p = json_number_value(json_object_get(burst, "p")), r = json_number_value(json_object_get(burst, "r"));
    note(x,
         "loss in bursts (Gilbert-Elliott, %.4g packets long on average) cannot be expressed: the same mean loss, one "
         "by one",
         1 / r);
    return (p * (bad ? json_number_value(bad) : 1) + r * json_number_value(good)) / (p + r);
}

static void event_lines(struct export *x, unsigned depth, const char *key, const json_t *v)
{
    char text[32];
    const json_t *rate = json_object_get(v, "rate"), *burst = json_object_get(v, "burst");
    double share = burst ? mean_of_burst(x, burst) : constant(x, key, rate ? rate : v);
    line(x, depth, "%s:", key);
    text_line(x, depth + 1, key, percent(share, text, sizeof text));
    correlation_line(x, depth + 1, v);
}

static void netem_lines(struct export *x, unsigned depth, const json_t *fault, const char *side)
{
    const json_t *latency = acting(fault, side, "latency");
    if (latency)
        delay_lines(x, depth, latency, acting(fault, side, "reorder"));
    for (unsigned i = 2; netem_keys[i]; i++)
        if (acting(fault, side, netem_keys[i]))
            event_lines(x, depth, netem_keys[i], acting(fault, side, netem_keys[i]));
}

static void bandwidth_lines(struct export *x, unsigned depth, const json_t *v)
{
    char text[64];
    const json_t *queue_time = json_object_get(v, "queueTime"), *full = json_object_get(v, "full");
    double rate = fmax(1, round(constant(x, "bandwidth", json_object_get(v, "rate"))));
    double limit =
        queue_time ? json_number_value(queue_time) * rate / 8 : json_number_value(json_object_get(v, "queue"));
    double burst = json_number_value(json_object_get(v, "burst"));
    const char *unit = fmod(rate, 1e6) == 0 ? "mbit" : fmod(rate, 1e3) == 0 ? "kbit" : "bit";
    snprintf(text, sizeof text, "%.0f%s", rate / (*unit == 'm' ? 1e6 : *unit == 'k' ? 1e3 : 1), unit);
    line(x, depth, "bandwidth:");
    text_line(x, depth + 1, "rate", text);
    line(x, depth + 1, "limit: %.0f", fmin(fmax(limit, 1), INT32_MAX));
    line(x, depth + 1, "buffer: %.0f", fmin(fmax(burst, 1), INT32_MAX));
    if (!full || strcmp(json_string_value(full), "delay") == 0)
        note(x, "a full queue drops here: that senders of streams are held back instead cannot be expressed");
}

// --- documents ----------------------------------------------------------------------------------------------------

static void slug(const char *name, char *dst, size_t size)
{
    size_t n = 0;
    for (; *name && n + 1 < size; name++) {
        if (isalnum((unsigned char)*name) && (unsigned char)*name < 0x80)
            dst[n++] = (char)tolower((unsigned char)*name);
        else if (n && dst[n - 1] != '-')
            dst[n++] = '-';
    }
    while (n && dst[n - 1] == '-')
        n--;
    dst[n] = '\0';
    if (!n)
        snprintf(dst, size, "experiment");
}

// A name of a Kubernetes object (RFC 1123) that no other document has.
static void document_name(struct export *x, const struct doc *d, char *dst, size_t size)
{
    char base[NAME_ROOM + 1];
    slug(d->e->name, base, sizeof base);
    snprintf(dst, size, "%s%s%s", base, *d->part ? "-" : "", d->part);
    for (unsigned i = 2; json_object_get(x->used, dst); i++)
        snprintf(dst, size, "%s-%u%s%s", base, i, *d->part ? "-" : "", d->part);
    x->failed |= json_object_set_new(x->used, dst, json_true()) != 0;
}

static void label_lines(struct export *x, unsigned depth, const char *const *labels, unsigned n)
{
    char key[400];
    line(x, depth, "selector:");
    if (x->c->space) {
        line(x, depth + 1, "namespaces:");
        x->failed |= buf_printf(&x->body, "%*s- ", (int)(2 * depth + 4), "") != 0;
        quote(x, &x->body, x->c->space);
        x->failed |= buf_append_char(&x->body, '\n') != 0;
    }
    line(x, depth + 1, "labelSelectors:");
    if (!n)
        line(x, depth + 2, "\"app.kubernetes.io/name\": \"iotix\"");
    for (unsigned i = 0; i < n; i++) {
        snprintf(key, sizeof key, "\"%.*s\"", (int)strcspn(labels[i], "="), labels[i]);
        text_line(x, depth + 2, key, strchr(labels[i], '=') + 1);
    }
}

static void mode_lines(struct export *x, unsigned depth, const struct experiment *e)
{
    char value[16];
    const json_t *percentage = json_object_get(e->json, "percentage");
    if (x->c->mode) {
        line(x, depth, "mode: %s", x->c->mode);
        if (x->c->value)
            text_line(x, depth, "value", x->c->value);
        return;
    }
    double share = json_number_value(percentage);
    if (percentage && share < 100) {
        snprintf(value, sizeof value, "%.0f", ceil(share));
        line(x, depth, "mode: fixed-percent");
        text_line(x, depth, "value", value);
        note(x, "%g %% of the devices: here of the pods", share);
        return;
    }
    line(x, depth, "mode: all");
    if (json_object_get(e->json, "count") || json_object_get(e->json, "devices"))
        note(x, "some devices of a group cannot be selected: all pods");
}

static void place_notes(struct export *x, const struct doc *d)
{
    char text[64];
    for (unsigned i = 0; i < d->e->n_groups; i++)
        note(x, "group %s: pods are selected by labels, not by groups", d->e->groups[i]);
    if (d->e->from_us)
        note(x, "begins %s into the run, which cannot be expressed: apply it then",
             duration(d->e->from_us, text, sizeof text));
    if (!x->c->n_target_labels && d->target)
        note(x, "only what leaves the pods; --target KEY=VALUE (pods of the servers) adds the other direction");
}

static void head_lines(struct export *x, const struct doc *d)
{
    char name[80];
    document_name(x, d, name, sizeof name);
    line(x, 0, "apiVersion: chaos-mesh.org/v1alpha1");
    line(x, 0, "kind: %s", d->every_us ? "Schedule" : "NetworkChaos");
    line(x, 0, "metadata:");
    line(x, 1, "name: \"%s\"", name);
    if (x->c->space)
        text_line(x, 1, "namespace", x->c->space);
    line(x, 1, "annotations:");
    text_line(x, 2, "\"iotix/experiment\"", d->e->name);
    line(x, 0, "spec:");
    if (!d->every_us)
        return;
    int64_t seconds = (d->every_us + 999999) / 1000000;
    if (d->every_us % 1000000)
        note(x, "schedules have whole seconds: every %llds", (long long)seconds);
    line(x, 1, "schedule: \"@every %llds\"", (long long)seconds);
    line(x, 1, "type: NetworkChaos");
    line(x, 1, "concurrencyPolicy: Forbid");
    line(x, 1, "historyLimit: 5");
    line(x, 1, "networkChaos:");
}

typedef void members_fn(struct export *x, unsigned depth, const void *arg, const json_t *v);

static void flush(struct export *x)
{
    x->failed |= buf_append(x->out, x->notes.data, x->notes.len) || buf_append(x->out, x->body.data, x->body.len);
    buf_clear(&x->notes);
    buf_clear(&x->body);
}

static void document(struct export *x, const struct doc *d, members_fn *members, const void *arg, const json_t *v)
{
    char text[64];
    unsigned depth = d->every_us ? 2 : 1;
    bool target = d->target && x->c->n_target_labels;
    x->failed |= buf_append_str(x->out, "---\n") != 0;
    place_notes(x, d);
    head_lines(x, d);
    line(x, depth, "action: %s", d->action);
    mode_lines(x, depth, d->e);
    label_lines(x, depth, x->c->labels, x->c->n_labels);
    line(x, depth, "direction: %s", d->direction);
    if (d->lasts_us != EXPERIMENT_NEVER)
        text_line(x, depth, "duration", duration(d->lasts_us, text, sizeof text));
    members(x, depth, arg, v);
    if (target) {
        line(x, depth, "target:");
        line(x, depth + 1, "mode: all");
        label_lines(x, depth + 1, x->c->target_labels, x->c->n_target_labels);
    }
    flush(x);
}

static void netem_members(struct export *x, unsigned depth, const void *side, const json_t *fault)
{
    netem_lines(x, depth, fault, side);
}

static void bandwidth_members(struct export *x, unsigned depth, const void *side, const json_t *fault)
{
    bandwidth_lines(x, depth, acting(fault, side, "bandwidth"));
}

// One document for both directions, or one for each that there is.
static void directions(struct export *x, const struct doc *like, const json_t *fault, const char *action,
                       const char *prefix, const char *const *keys, members_fn *members)
{
    static const char *const sides[] = {"up", "down"}, *const words[] = {"to", "from"};
    char part[16];
    struct doc d = *like;
    d.action = action;
    d.target = true;
    if (x->c->n_target_labels && alike(fault, keys) && any(fault, "up", keys)) {
        d.part = prefix;
        d.direction = "both";
        document(x, &d, members, "up", fault);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!any(fault, sides[i], keys))
            continue;
        if (i == 1 && !x->c->n_target_labels) {
            x->failed |= buf_append_str(x->out, "---\n") != 0;
            note_of(x, like->e, "what reaches the pods (%s) cannot be impaired without --target", prefix);
            flush(x);
            continue;
        }
        snprintf(part, sizeof part, "%s-%s", prefix, sides[i]);
        d.part = part;
        d.direction = words[i];
        document(x, &d, members, sides[i], fault);
    }
}

// --- partitions ---------------------------------------------------------------------------------------------------

// Why that partition cannot be a document; NULL: it can.
static const char *partition_obstacle(const json_t *p)
{
    const json_t *hosts = json_object_get(p, "hosts"), *ports = json_object_get(p, "ports"), *v;
    size_t i;
    if (json_object_get(p, "allow"))
        return "exceptions (allow) cannot be expressed, and without them it would cut off more";
    if (json_object_get(p, "protocols"))
        return "protocols cannot be expressed";
    if (ports && !hosts)
        return "ports without hosts cannot be expressed";
    if (json_array_size(hosts) * (ports ? json_array_size(ports) : 1) > PORT_PAIRS_MAX)
        return "it has too many hosts and ports";
    json_array_foreach(ports, i, v) if (!json_is_integer(v)) return "ranges of ports cannot be expressed";
    json_array_foreach(hosts, i, v)
    {
        const char *host = json_string_value(v);
        if (ports && strchr(host, '/'))
            return "networks together with ports cannot be expressed";
        if (strchr(host, ':'))
            return "addresses of IPv6 cannot be expressed";
        if (strchr(host, '*'))
            return "patterns of hosts cannot be expressed";
    }
    return NULL;
}

static void partition_members(struct export *x, unsigned depth, const void *arg, const json_t *p)
{
    (void)arg;
    char text[320];
    const json_t *hosts = json_object_get(p, "hosts"), *ports = json_object_get(p, "ports"), *host, *port;
    size_t i, k;
    if (hosts)
        line(x, depth, "externalTargets:");
    json_array_foreach(hosts, i, host)
    {
        if (!ports) {
            x->failed |= buf_printf(&x->body, "%*s- ", (int)(2 * depth + 2), "") != 0;
            quote(x, &x->body, json_string_value(host));
            x->failed |= buf_append_char(&x->body, '\n') != 0;
        }
        json_array_foreach(ports, k, port)
        {
            snprintf(text, sizeof text, "%s:%lld", json_string_value(host), (long long)json_integer_value(port));
            x->failed |= buf_printf(&x->body, "%*s- ", (int)(2 * depth + 2), "") != 0;
            quote(x, &x->body, text);
            x->failed |= buf_append_char(&x->body, '\n') != 0;
        }
    }
}

static void partition(struct export *x, const struct doc *like, const json_t *p)
{
    const char *obstacle = partition_obstacle(p), *way = json_string_value(json_object_get(p, "direction"));
    struct doc d = *like;
    if (obstacle) {
        x->failed |= buf_append_str(x->out, "---\n") != 0;
        note_of(x, d.e, "a partition: %s", obstacle);
        flush(x);
        return;
    }
    d.part = "partition";
    d.action = "partition";
    d.direction = !way ? "both" : strcmp(way, "up") == 0 ? "to" : "from";
    d.target = x->c->n_target_labels && !json_object_get(p, "hosts");
    document(x, &d, partition_members, NULL, p);
}

// --- experiments --------------------------------------------------------------------------------------------------

static void comment(struct export *x, const struct experiment *e, const char *why)
{
    char text[512];
    x->failed |= buf_append_str(x->out, "---\n") != 0;
    note_of(x, e, "%s", experiment_describe(e, text, sizeof text));
    note(x, "  %s", why);
    flush(x);
}

static const char *obstacle_of(enum experiment_kind kind)
{
    switch (kind) {
    case EXPERIMENT_DISCONNECT:
    case EXPERIMENT_STORM:
        return "connections of single devices cannot be cut by a NetworkChaos";
    case EXPERIMENT_BROKER:
        return "no NetworkChaos: a PodChaos of the broker's pods comes near to it";
    case EXPERIMENT_CLOCK:
        return "no NetworkChaos: a TimeChaos shifts the clock of all of a pod";
    default:
        return "a function of the scenario cannot be expressed";
    }
}

// What a fault has besides packets, rates and partitions.
static void leftovers(struct export *x, const struct experiment *e, const json_t *fault)
{
    static const struct {
        const char *key, *why;
    } table[] = {
        {"mtu", "mtu: cannot be expressed"},
        {"trace", "trace: a measured trace cannot be expressed"},
        {"halfOpen", "halfOpen: cannot be expressed"},
        {"reset", "reset: cannot be expressed"},
        {"slowClose", "slowClose: cannot be expressed"},
        {"dns", "dns: no NetworkChaos; a DNSChaos comes near to it"},
        {"connect", "connect: cannot be expressed"},
        {"tls", "tls: cannot be expressed"},
    };
    bool first = true;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!acting(fault, "up", table[i].key) && !acting(fault, "down", table[i].key))
            continue;
        if (first)
            x->failed |= buf_append_str(x->out, "---\n") != 0;
        first = false;
        note_of(x, e, "%s", table[i].why);
    }
    flush(x);
}

static void network(struct export *x, const struct experiment *e, const json_t *fault)
{
    static const char *const bandwidth_keys[] = {"bandwidth", NULL};
    const json_t *during = json_object_get(fault, "during"), *p = json_object_get(fault, "partition");
    struct doc like = {.e = e, .part = "", .lasts_us = EXPERIMENT_NEVER, .every_us = e->every_us};
    if (e->to_us != EXPERIMENT_NEVER)
        like.lasts_us = e->to_us - e->from_us;
    if (during && e->every_us) {
        comment(x, e, "windows (during) within windows (every) cannot be expressed");
        return;
    }
    if (during) {
        like.every_us = llrint(json_number_value(json_object_get(during, "every")) * 1e6);
        like.lasts_us = llrint(json_number_value(json_object_get(during, "on")) * 1e6);
        if (e->to_us != EXPERIMENT_NEVER)
            note(x, "the end of the experiment cannot be expressed: delete the Schedule then");
        if (json_object_get(during, "spread"))
            note(x, "that each device has windows of its own (spread) cannot be expressed: all pods at once");
        if (json_object_get(during, "offset"))
            note(x, "where in its window it begins (offset) cannot be expressed");
    }
    struct buf common = x->notes; // in front of each document of this experiment
    buf_create(&x->notes, 65536);
    x->failed |= common.len && buf_append_str(x->out, "---\n");
    x->failed |= buf_append(x->out, common.data, common.len) != 0;
    buf_destroy(&common);
    if (p)
        partition(x, &like, p);
    if (any(fault, "up", netem_keys) || any(fault, "down", netem_keys))
        directions(x, &like, fault, "netem", "netem", netem_keys, netem_members);
    if (acting(fault, "up", "bandwidth") || acting(fault, "down", "bandwidth"))
        directions(x, &like, fault, "bandwidth", "rate", bandwidth_keys, bandwidth_members);
    leftovers(x, e, fault);
}

static void experiment(struct export *x, const struct experiment *e)
{
    if (!e->fault) {
        comment(x, e, obstacle_of(e->kind));
        return;
    }
    json_t *fault = fault_spec_json(e->fault);
    if (fault)
        network(x, e, fault);
    else
        x->failed = true;
    json_decref(fault);
}

int mesh_export(const struct mesh_config *c, const struct experiment *list, unsigned n, struct buf *out,
                struct error *err)
{
    struct export x = {.c = c, .out = out, .used = json_object()};
    buf_create(&x.notes, 65536);
    buf_create(&x.body, 1u << 20);
    x.failed = !x.used;
    note(&x, "The timeline of %.*s for Chaos Mesh (chaos-mesh.org/v1alpha1).", (int)strcspn(c->scenario, "\r\n"),
         c->scenario);
    if (!n)
        note(&x, "It has no experiments.");
    flush(&x);
    for (unsigned i = 0; i < n && !x.failed; i++)
        experiment(&x, &list[i]);
    buf_destroy(&x.notes);
    buf_destroy(&x.body);
    json_decref(x.used);
    return x.failed
               ? error_set(err, ERR_LIMIT, "no memory for the documents, or they are larger than %u bytes", out->cap)
               : 0;
}

// --- what admission asks ------------------------------------------------------------------------------------------

static bool is_name(const char *s, size_t n, size_t max, const char *more, bool lower)
{
    if (n < 1 || n > max || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0x80 || (lower && isupper((unsigned char)s[i])) ||
            (!isalnum((unsigned char)s[i]) && !strchr(more, s[i])))
            return false;
    return true;
}

static int check_label(const char *label, struct error *err)
{
    const char *equals = strchr(label, '='), *slash = equals ? memchr(label, '/', (size_t)(equals - label)) : NULL;
    const char *name = slash ? slash + 1 : label, *value = equals ? equals + 1 : "";
    if (equals && (!slash || is_name(label, (size_t)(slash - label), 253, "-.", true)) &&
        is_name(name, (size_t)(equals - name), 63, "-_.", false) &&
        (!*value || is_name(value, strlen(value), 63, "-_.", false)))
        return 0;
    return error_set(err, ERR_INVALID,
                     "\"%.100s\" is no label: expected KEY=VALUE as Kubernetes has them, such as "
                     "app.kubernetes.io/name=iotix",
                     label);
}

int mesh_check(const struct mesh_config *c, struct error *err)
{
    static const char *const modes[] = {"one", "all", "fixed", "fixed-percent", "random-max-percent", NULL};
    int64_t value = 0;
    if (c->space && !is_name(c->space, strlen(c->space), 63, "-", true))
        return error_set(err, ERR_INVALID,
                         "\"%.100s\" is no namespace: 1 to 63 lower case letters, digits and -, neither first nor last",
                         c->space);
    for (unsigned i = 0; i < c->n_labels; i++)
        if (check_label(c->labels[i], err))
            return -1;
    for (unsigned i = 0; i < c->n_target_labels; i++)
        if (check_label(c->target_labels[i], err))
            return -1;
    if (!c->mode)
        return c->value ? error_set(err, ERR_INVALID, "a value is for a mode: fixed, fixed-percent, random-max-percent")
                        : 0;
    int mode = name_choose("mode", c->mode, modes, err);
    if (mode < 0)
        return -1;
    if (mode < 2)
        return c->value ? error_set(err, ERR_INVALID, "mode %s has no value", c->mode) : 0;
    if (!c->value)
        return error_set(err, ERR_INVALID, "mode %s needs a value: %s", c->mode,
                         mode == 2 ? "how many pods" : "1 to 100");
    return int_parse(c->value, 1, mode == 2 ? INT32_MAX : 100, &value, err);
}
