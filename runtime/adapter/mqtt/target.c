#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/share.h"
#include "adapter/mqtt/target.h"

#define SCRATCH_MAX (8u * 65536u)

static void report_dropped(struct mqtt_target *t)
{
    while (t->dropped) {
        struct mqtt_out *o = t->dropped;
        t->dropped = o->next;
        if (!t->dropped)
            t->dropped_end = &t->dropped;
        mqtt_conn_dropped(o->conn, o);
    }
}

static void ask_again(struct timer *timer, void *loop)
{
    (void)timer;
    loop_again(loop);
}

// How many may start now; when that is 0 and time alone changes it, the timer is set.
static unsigned allowed(struct mqtt_target *t)
{
    int64_t retry_us = -1;
    unsigned n = pacer_allows(&t->pacer, loop_now_us(t->env.loop), &retry_us);
    if (!n && retry_us >= 0 && !timer_pending(&t->pace))
        loop_timer_start(t->env.loop, &t->pace, retry_us, ask_again);
    return n;
}

static bool has_work(const struct mqtt_target *t)
{
    if (mqtt_site_has_work(&t->origin))
        return true;
    for (const struct mqtt_site *site = t->redirections; site; site = site->next)
        if (mqtt_site_has_work(site))
            return true;
    return false;
}

// Starts those that may, at most as many as waited at the begin: an owner may open again from on_offline for ever.
// false: the pacer wants no more.
static bool start_waiting(struct mqtt_target *t, struct mqtt_site *site)
{
    if (site->waiting.n && site->resolve == MQTT_UNRESOLVED)
        mqtt_site_resolve(site);
    for (unsigned n = site->waiting.n; n && site->waiting.head && site->resolve == MQTT_RESOLVED; n--) {
        if (!allowed(t))
            return false;
        mqtt_conn_attempt(site->waiting.head);
    }
    return true;
}

// End of the turn.
static void work(struct loop_hook *hook, struct loop *loop)
{
    struct mqtt_target *t = container_of(hook, struct mqtt_target, hook);
    (void)loop;
    if (!t->closing.n && !t->dropped && !has_work(t))
        return;
    report_dropped(t);
    for (unsigned n = t->closing.n; n && t->closing.head; n--)
        mqtt_conn_closed(t->closing.head);
    bool more = true; // redirected ones have waited once already
    for (struct mqtt_site *site = t->redirections; more && site; site = site->next)
        more = start_waiting(t, site);
    if (more)
        start_waiting(t, &t->origin);
    mqtt_target_wake(t);
}

void mqtt_target_wake(struct mqtt_target *t)
{
    if (t->closing.n || t->dropped || (has_work(t) && allowed(t)))
        loop_again(t->env.loop);
}

static int check_url(struct mqtt_target *t, const char *url, struct error *err)
{
    static const struct {
        const char *name;
        bool tls, websocket;
    } schemes[] = {{"mqtt", false, false}, {"mqtts", true, false}, {"ws", false, true}, {"wss", true, true}};
    size_t i = 0;
    if (url_parse(url, "mqtt", &t->url, err) < 0)
        return -1;
    while (i < 4 && strcmp(schemes[i].name, t->url.scheme) != 0)
        i++;
    if (i == 4)
        return error_set(err, ERR_UNSUPPORTED, "scheme %s is not MQTT's; expected mqtt, mqtts, ws or wss",
                         t->url.scheme);
    t->tls = schemes[i].tls;
    t->websocket = schemes[i].websocket;
    if (!t->websocket && t->url.path[0] && strcmp(t->url.path, "/") != 0)
        return error_set(err, ERR_INVALID,
                         "an MQTT URL has no path: expected %s://host:port, got path \"%s\"; ws:// and wss:// have one",
                         t->url.scheme, t->url.path);
    const char *lost = !t->tls && json_object_get(t->options.json, "tls")               ? "tls"
                       : !t->websocket && json_object_get(t->options.json, "websocket") ? "websocket"
                                                                                        : NULL;
    if (lost)
        return error_set(err, ERR_INVALID, "mqtt option %s: a %s:// broker has none; use %s:// or %s://", lost,
                         t->url.scheme, *lost == 't' ? "mqtts" : "ws", "wss");
    return 0;
}

static int prepare(struct mqtt_target *t, const char *url, const char *group, struct error *err)
{
    if (check_url(t, url, err) < 0)
        return -1;
    url_display(&t->url, t->shown, sizeof t->shown);
    if (series_tags(t->tags, "mqtt", group, err) < 0 || mqtt_series_create(t, err) < 0)
        return -1;
    t->sources = sources_new(json_object_get(t->options.json, "source"), (uint64_t)getpid(), err);
    if (!t->sources)
        return -1;
    return mqtt_site_create(&t->origin, t, t->url.host, t->url.port, err);
}

static void target_free(struct mqtt_target *t)
{
    sources_delete(t->sources);
    mqtt_series_destroy(t);
    mqtt_options_destroy(&t->options);
    free(t);
}

struct adapter_target *mqtt_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err)
{
    struct mqtt_target *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for an MQTT target");
        return NULL;
    }
    t->env = *env;
    if (mqtt_options_parse(options, &t->options, err) < 0 || prepare(t, url, group, err) < 0) {
        target_free(t);
        return NULL;
    }
    pacer_create(&t->pacer, &t->options.pacer, t->series.connect_rate_limit);
    buf_create(&t->scratch, SCRATCH_MAX);
    t->dropped_end = &t->dropped;
    t->hook.priority = 15; // after the Lua tasks (10), before the links write (20)
    t->hook.fn = work;
    loop_hook_add(env->loop, &t->hook);
    return (struct adapter_target *)(void *)t;
}

void mqtt_target_delete(struct adapter_target *target)
{
    struct mqtt_target *t = (void *)target;
    if (!t)
        return;
    loop_timer_stop(t->env.loop, &t->pace);
    loop_hook_remove(t->env.loop, &t->hook);
    for (struct mqtt_site *site = t->redirections, *next; site; site = next) {
        next = site->next;
        mqtt_site_destroy(site);
        free(site);
    }
    mqtt_site_destroy(&t->origin);
    mqtt_shares_destroy(t);
    buf_destroy(&t->scratch);
    target_free(t);
}
