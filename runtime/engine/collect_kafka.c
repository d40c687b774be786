// The loop around a collect: figures come from Kafka until all runners are through, or the time is.
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "engine/collect.h"
#include "engine/secrets.h"
#include "sink/kafka_reader.h"
#include "sink/sink.h"

struct waiting {
    const struct collect_config *config;
    struct loop *loop;
    struct collect *collect;
    struct kafka_reader *reader;
    int64_t began_us;
    ev_timer second;
    ev_signal term, interrupt;
    bool interrupted;
    unsigned malformed;
};

static void tell(struct waiting *w)
{
    struct collect_progress p;
    if (!w->config->on_progress)
        return;
    collect_look(w->collect, &p);
    p.waited_s = (double)(loop_now_us(w->loop) - w->began_us) / 1e6;
    p.trouble = kafka_reader_trouble(w->reader);
    w->config->on_progress(w->config->arg, &p);
}

static void on_message(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
    struct waiting *w = arg;
    struct error err;
    size_t n = strlen(w->config->run_id);
    if (key_len <= n || memcmp(key, w->config->run_id, n) != 0 || ((const char *)key)[n] != '/')
        return; // another run: not worth parsing
    if (collect_take(w->collect, value, len, &err) < 0 && w->malformed++ < 10)
        log_write(w->config->log, LOG_WARN, NULL, "figures of %.*s are left out: %s",
                  (int)(key_len > 80 ? 80 : key_len), (const char *)key, err.text);
    if (collect_complete(w->collect))
        loop_stop(w->loop);
}

static void on_second(struct ev_loop *ev, ev_timer *t, int events)
{
    struct waiting *w = t->data;
    (void)ev, (void)events;
    tell(w);
    if (loop_fresh_us(w->loop) - w->began_us >= w->config->timeout_us)
        loop_stop(w->loop);
}

static void on_signal(struct ev_loop *ev, ev_signal *s, int events)
{
    struct waiting *w = s->data;
    (void)ev, (void)events;
    w->interrupted = true;
    loop_stop(w->loop);
}

static const char *find_secret(void *arg, const char *name, struct error *err)
{
    return secrets_find(arg, name, err);
}

static int read_topic(struct waiting *w, const json_t *options, struct error *err)
{
    const struct kafka_reader_config config = {.loop = w->loop,
                                               .log = w->config->log,
                                               .options = options,
                                               .secret = find_secret,
                                               .secret_arg = (void *)(uintptr_t)w->config->secrets,
                                               .from_wall_us = loop_wall_us(w->loop) - w->config->since_us,
                                               .message = on_message,
                                               .arg = w};
    w->reader = kafka_reader_new(&config, err);
    if (!w->reader)
        return -1;
    struct ev_loop *ev = loop_ev(w->loop);
    w->began_us = loop_now_us(w->loop);
    w->second.data = w->term.data = w->interrupt.data = w;
    ev_timer_init(&w->second, on_second, 1, 1);
    ev_signal_init(&w->term, on_signal, SIGTERM);
    ev_signal_init(&w->interrupt, on_signal, SIGINT);
    ev_timer_start(ev, &w->second);
    ev_signal_start(ev, &w->term);
    ev_signal_start(ev, &w->interrupt);
    int rc = loop_run(w->loop, err);
    ev_timer_stop(ev, &w->second);
    ev_signal_stop(ev, &w->term);
    ev_signal_stop(ev, &w->interrupt);
    return rc;
}

static int judge(struct waiting *w, struct run_result *out, struct error *err)
{
    char trouble[300];
    tell(w);
    if (collect_finish(w->collect, w->interrupted, out, err) == 0)
        return 0;
    if (w->interrupted)
        return error_set(err, ERR_CANCELLED, "stopped by a signal before any runner of run %s had sent figures",
                         w->config->run_id);
    snprintf(trouble, sizeof(trouble), "%s", kafka_reader_trouble(w->reader));
    if (!*trouble)
        return -1;
    if (!kafka_reader_reads(w->reader))
        return error_set(err, ERR_REFUSED, "no figures could be read: %s", trouble);
    return error_set(err, err->code, "no runner of run %s has sent figures; Kafka says: %s", w->config->run_id,
                     trouble);
}

int collect_execute(const struct collect_config *config, struct run_result *out, struct error *err)
{
    struct waiting w = {.config = config};
    struct clock clock;
    memset(out, 0, sizeof(*out));
    clock_create_real(&clock);
    json_t *options = sink_find("kafka")->parse(config->kafka, NULL, err);
    int rc = -1;
    if (options && (w.loop = loop_new(&clock, err)) && (w.collect = collect_new(config, err)))
        rc = read_topic(&w, options, err);
    if (rc == 0)
        rc = judge(&w, out, err);
    kafka_reader_delete(w.reader);
    collect_delete(w.collect);
    loop_delete(w.loop);
    json_decref(options);
    return rc;
}
