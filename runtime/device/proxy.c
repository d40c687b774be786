// A proxy: bound to its physical device from its first time online until it stops.
#include "device/proxy.h"

#include <stdlib.h>
#include <string.h>
#include "adapter/topic.h"
#include "device/command_impl.h"
#include "device/internal.h"
#include "device/proxy_impl.h"

struct proxy {
    struct device *device;
    struct proxy *next, **prev; // of the group's
    uint64_t ticket;            // 0: not bound
    int64_t heard_us;           // loop time of the last message, or of the binding
    bool subscribed;            // to its commands, on this connection
    char *filter, *commands;    // rendered
};

static struct fleet *fleet_of(const struct device *d)
{
    return d->group->fleet;
}

static bool runs(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

// --- binding ------------------------------------------------------------------------------------------------------

static char *render(const struct device *d, const struct payload *p, const struct binding *b, struct error *err)
{
    struct buf *text = &fleet_of(d)->topic;
    struct value number = proxy_number(d, b);
    buf_clear(text);
    if (device_render(d, p, &number, text, err))
        return NULL;
    char *copy = strdup(buf_cstr(text));
    if (!copy)
        error_set(err, ERR_NO_MEMORY, "out of memory");
    return copy;
}

int proxy_launch(struct device *d, struct error *err)
{
    struct proxies *all = d->group->proxies;
    const struct binding *b = binding_of(d);
    if (!b)
        return error_set(err, ERR_INVALID,
                         "nothing says which physical device it stands for: proxy in its model, or proxies of its "
                         "group");
    struct proxy *p = d->proxy ? d->proxy : calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, ERR_NO_MEMORY, "no memory for a proxy");
    if (!d->proxy) {
        p->device = d;
        p->next = all->first;
        p->prev = &all->first;
        if (p->next)
            p->next->prev = &p->next;
        all->first = d->proxy = p;
    }
    free(p->filter);
    free(p->commands);
    p->commands = NULL;
    p->filter = render(d, b->filter, b, err);
    if (!p->filter || (b->commands && !(p->commands = render(d, b->commands, b, err))))
        return -1;
    return 0;
}

// The topic that the proxy publishes to, but for what the filter's wildcards matched.
static int own_topic(struct device *d, struct buf *out, struct error *err)
{
    const struct payload *topic = d->group->proxies->topic;
    buf_clear(out);
    if (topic)
        return device_render(d, topic, NULL, out, err);
    return device_base(d, out, err) || buf_append_str(out, "/telemetry")
               ? error_set(err, ERR_LIMIT, "the topic of its telemetry is too long")
               : 0;
}

// A proxy that hears itself would never fall silent again.
static int check_circle(struct device *d, const struct binding *b, struct error *err)
{
    const struct proxy *p = d->proxy;
    struct buf *text = &fleet_of(d)->topic;
    if (b->via != PROXY_MQTT || !proxy_same_broker(d->group, b))
        return 0;
    if (own_topic(d, text, err))
        return -1;
    if (strpbrk(p->filter, "+#") && buf_append_str(text, "/#"))
        return error_set(err, ERR_LIMIT, "the topic of its telemetry is too long");
    if (topic_filters_overlap(p->filter, buf_cstr(text)))
        return error_set(err, ERR_INVALID,
                         "its topic \"%.100s\" takes in what the proxy publishes itself (%.150s): it would hear itself",
                         p->filter, buf_cstr(text));
    buf_clear(text);
    if (!p->commands)
        return 0;
    if (device_base(d, text, err) || buf_append_str(text, "/command"))
        return error_set(err, ERR_LIMIT, "the topic of its commands is too long");
    uint32_t n = text->len;
    if (!strncmp(p->commands, buf_cstr(text), n) && (!p->commands[n] || !strncmp(p->commands + n, "s/", 2)))
        return error_set(err, ERR_INVALID, "its commands would be passed on to itself (%.150s)", p->commands);
    return 0;
}

static bool heard(void *ctx, const char *topic, const void *payload, size_t n, int64_t received_us);

// At no broker.
static uint64_t attach(struct device *d, const struct binding *b, struct error *err)
{
    const struct fleet_config *c = &fleet_of(d)->config;
    struct buf *name = &fleet_of(d)->topic;
    const struct proxy *p = d->proxy;
    buf_clear(name);
    if (device_identity.field(d, FIELD_CLIENT_ID, name, err))
        return 0;
    const struct proxy_place place = {.via = b->via,
                                      .name = buf_cstr(name),
                                      .url = b->via == PROXY_COAP ? p->filter : NULL,
                                      .listen = b->url,
                                      .path = b->via == PROXY_HTTP ? p->filter : NULL};
    if (c->proxy->attach)
        return c->proxy->attach(c->proxy_arg, &place, heard, d, err);
    error_set(err, ERR_UNSUPPORTED, "physical devices over %s cannot be reached from here",
              b->via == PROXY_COAP ? "CoAP" : "HTTP");
    return 0;
}

static void bind_source(struct device *d)
{
    const struct fleet_config *c = &fleet_of(d)->config;
    const struct binding *b = binding_of(d);
    struct proxy *p = d->proxy;
    struct error err = {0};
    if (check_circle(d, b, &err)) {
        device_fail(d, err.text);
        return;
    }
    p->heard_us = loop_now_us(c->env.loop);
    p->ticket = b->via != PROXY_MQTT ? attach(d, b, &err)
                                     : c->proxy->subscribe(c->proxy_arg, b->url, p->filter, b->qos, heard, d, &err);
    if (!p->ticket)
        device_fail(d, err.text);
}

static void subscribe(struct device *d)
{
    static const char *const tails[] = {"/command", "/commands/+"};
    struct buf *text = &fleet_of(d)->topic;
    struct error err = {0};
    d->proxy->subscribed = true;
    for (unsigned i = 0; i < 2 && runs(d); i++) {
        buf_clear(text);
        if (device_base(d, text, &err) || buf_append_str(text, tails[i]) ||
            (device_subscribe(d, buf_cstr(text), proxy_qos(d->group), 0, &err) && err.code == ERR_INVALID))
            device_fail(d, err.code ? err.text : "the topic of its commands is too long");
    }
}

void proxy_online(struct device *d)
{
    struct proxy *p = d->proxy;
    if (!p || !runs(d))
        return;
    if (p->commands && !p->subscribed)
        subscribe(d);
    if (runs(d) && !p->ticket) // else it failed, and p is gone
        bind_source(d);
}

void proxy_offline(struct device *d, bool will_retry)
{
    if (d->proxy && !will_retry)
        d->proxy->subscribed = false;
}

void proxy_stop(struct device *d)
{
    const struct fleet_config *c = &fleet_of(d)->config;
    struct proxy *p = d->proxy;
    if (!p)
        return;
    d->proxy = NULL;
    if (p->ticket)
        c->proxy->unsubscribe(c->proxy_arg, p->ticket);
    *p->prev = p->next;
    if (p->next)
        p->next->prev = p->prev;
    free(p->filter);
    free(p->commands);
    free(p);
}

size_t proxy_footprint(const struct device *d)
{
    const struct proxy *p = d->proxy;
    if (!p)
        return 0;
    return sizeof(*p) + (p->filter ? strlen(p->filter) + 1 : 0) + (p->commands ? strlen(p->commands) + 1 : 0);
}

// --- what the physical device says --------------------------------------------------------------------------------

// Appends "/" and the levels that stand where the filter has wildcards.
static int append_matched(struct buf *out, const char *filter, const char *topic)
{
    while (*filter && *topic) {
        size_t fn = strcspn(filter, "/"), tn = strcspn(topic, "/");
        bool rest = fn == 1 && *filter == '#';
        if (rest)
            tn = strlen(topic);
        if (rest || (fn == 1 && *filter == '+')) {
            if (buf_append_char(out, '/') || buf_append(out, topic, tn))
                return -1;
        }
        filter += fn + (filter[fn] == '/');
        topic += tn + (topic[tn] == '/');
    }
    return 0;
}

// What came in on the topic that its commands go out to is this side's own.
static bool echo(const struct proxy *p, const char *topic)
{
    size_t n = p->commands ? strlen(p->commands) : 0;
    return n && !strncmp(topic, p->commands, n) && (!topic[n] || topic[n] == '/');
}

static bool heard(void *ctx, const char *topic, const void *payload, size_t n, int64_t received_us)
{
    struct device *d = ctx;
    struct proxy *p = d->proxy;
    struct proxies *all = d->group->proxies;
    struct loop *loop = fleet_of(d)->config.env.loop;
    struct buf *text = &fleet_of(d)->topic;
    struct error err = {0};
    if (!p || !runs(d) || echo(p, topic))
        return false;
    bool at_broker = binding_of(d)->via == PROXY_MQTT;
    p->heard_us = loop_now_us(loop);
    struct adapter_message m = {.payload = payload, .payload_len = n, .qos = (uint8_t)proxy_qos(d->group)};
    int failed =
        own_topic(d, text, &err) || (at_broker ? append_matched(text, p->filter, topic) : buf_append_str(text, topic))
            ? error_set(&err, ERR_LIMIT, "the topic of its telemetry is too long")
            : 0;
    m.topic = (const char *)text->data;
    m.topic_len = text->len;
    if (failed || device_publish(d, &m, 0, &err)) {
        counter_add(all->dropped, 1);
        return false;
    }
    counter_add(all->proxied, 1);
    int64_t us = loop_fresh_us(loop) - received_us;
    if (all->latency)
        trend_add(all->latency, us > 0 ? us : 0);
    return true;
}

// --- what is said to it -------------------------------------------------------------------------------------------

static void refuse(struct device *d, const char *name, const struct error *why)
{
    struct command_subject about = {.name = name};
    struct command_fault fault = {0};
    command_fault(&fault, COMMAND_HANDLER, NULL, "it could not be passed on to the physical device: %s", why->text);
    command_refuse(d, &about, &fault);
}

bool proxy_command(struct device *d, const struct adapter_message *m)
{
    const struct fleet_config *c = &fleet_of(d)->config;
    const struct binding *b = binding_of(d);
    const struct proxy *p = d->proxy;
    struct buf *text = &fleet_of(d)->topic;
    struct error err = {0};
    buf_clear(text);
    if (!p || !p->commands || !runs(d) || device_base(d, text, NULL) || m->topic_len <= text->len + 7 ||
        memcmp(m->topic, text->data, text->len) != 0 || memcmp(m->topic + text->len, "/command", 8) != 0)
        return false;
    const char *name = m->topic + text->len + 8; // "" or "s/NAME"
    size_t n = m->topic_len - text->len - 8;
    if (n && (n < 3 || memcmp(name, "s/", 2) != 0 || memchr(name + 2, '/', n - 2)))
        return false;
    buf_clear(text);
    if (buf_append_str(text, p->commands) || (n && buf_append(text, name + 1, n - 1)))
        error_set(&err, ERR_LIMIT, "the topic is too long");
    else if (!c->proxy->publish(c->proxy_arg, b->url, buf_cstr(text), m->payload, m->payload_len, b->qos, &err)) {
        counter_add(d->group->proxies->commands, 1);
        return true;
    }
    char word[64] = "";
    for (size_t i = 2; i < n && i - 2 < sizeof(word) - 1; i++)
        word[i - 2] = name[i];
    refuse(d, n ? word : NULL, &err);
    return true;
}

// ------------------------------------------------------------------------------------------------------------------

void proxies_report(struct group *g)
{
    struct proxies *all = g->proxies;
    if (!all)
        return;
    int64_t now_us = loop_now_us(g->fleet->config.env.loop);
    uint64_t silent = 0, physical = 0;
    for (const struct proxy *p = all->first; p; p = p->next)
        silent += p->ticket && now_us - p->heard_us >= binding_of(p->device)->silent_us;
    for (uint64_t i = 0; i < g->owned; i++)
        physical += g->devices[i] && device_is_proxy(g->devices[i]);
    gauge_set(all->silent, (double)silent);
    gauge_set(all->physical, (double)physical);
    gauge_set(all->simulated, (double)(group_population(g) - physical));
}
