// A scenario in C for the tests of the engine: the "file" is the JSON of a plan with one more member "x" that says how
// it behaves. Everything that must be remembered across incarnations of a shard lies in one shared page.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/jsonx.h"
#include "engine/heartbeat.h"
#include "engine/scenario.h"

struct fake_shared {
    atomic_int misbehaved; // how often
    atomic_int director_stops, shard_stops;
};
static struct fake_shared *fake_shared;

struct scenario {
    struct scenario_config config;
    json_t *x;
    int64_t interval_us;
    int64_t messages; // of a device
    struct fleet *fleet;
    const struct test_env *env;
    struct test_env env_storage;
    struct timer test_timer;
    unsigned asked, told; // of x.asks
    struct timer custom_timer;
    uint64_t custom; // the experiment whose function runs, 0: none
};

struct fake_ask { // one request of the test
    struct scenario *s;
    unsigned number;
};

struct fake_behaviour {
    struct scenario *s;
    struct device *device;
    struct timer timer;
    int64_t sent;
};

static const char *fake_str(const struct scenario *s, const char *key)
{
    const char *v = json_string_value(json_object_get(s->x, key));
    return v ? v : "";
}

static int64_t fake_int(const struct scenario *s, const char *key, int64_t dflt)
{
    const json_t *v = json_object_get(s->x, key);
    return json_is_integer(v) ? json_integer_value(v) : dflt;
}

static void fake_spin(void)
{
    for (volatile uint64_t i = 0;; i++)
        ;
}

// The ways a process can go wrong.
static void fake_misbehave(struct scenario *s, const char *how, uint64_t device, unsigned group)
{
    struct heartbeat *h = s->config.heartbeat;
    fake_shared->misbehaved++;
    if (strcmp(how, "stuck") == 0) {
        h->device = device;
        h->group = group;
        snprintf(h->where, sizeof(h->where), "fleet.lua:42");
        h->slice_start_us = clock_process_cpu_us();
        h->slice = h->slice + 1;
        fake_spin();
    } else if (strcmp(how, "mute") == 0) {
        fake_spin();
    } else if (strcmp(how, "asleep") == 0) {
        for (;;)
            pause();
    } else if (strcmp(how, "crash") == 0) {
        signal(SIGSEGV, SIG_DFL); // the sanitiser's handler is gone anyway
        raise(SIGSEGV);
    } else if (strcmp(how, "exit") == 0) {
        _exit(70);
    } else if (strcmp(how, "garbage") == 0) {
        if (write(3, "\xff\xff\xff\xff garbage", 12) < 0)
            _exit(9);
    } else if (strcmp(how, "badjson") == 0) {
        if (write(3, "\4\0\0\0\45{\"a", 8) < 0) // MSG_STATUS
            _exit(9);
    } else if (strcmp(how, "badsnapshot") == 0) {
        if (write(3, "\4\0\0\0\44???", 8) < 0) // MSG_SNAPSHOT
            _exit(9);
    } else if (strcmp(how, "badstatus") == 0) {
        if (write(3, "\3\0\0\0\45{}", 7) < 0)
            _exit(9);
    } else if (strcmp(how, "print") == 0) {
        printf("a line on stdout\n");
        fflush(stdout);
    } else if (strcmp(how, "leak") == 0) {
        char *volatile lost = malloc(4321);
        lost = NULL;
        (void)lost;
    }
}

// --- behaviours

static void fake_publish(struct timer *t, void *loop)
{
    (void)loop;
    struct fake_behaviour *b = container_of(t, struct fake_behaviour, timer);
    struct scenario *s = b->s;
    struct error err;
    char payload[64];
    struct device *d = b->device;
    const char *how = fake_str(s, "how");
    if (*how && (uint64_t)fake_int(s, "device", 0) == d->index && b->sent == fake_int(s, "after", 2) &&
        fake_shared->misbehaved < fake_int(s, "times", 1)) {
        if (strcmp(how, "fail") == 0) {
            fake_shared->misbehaved++;
            device_finished(d, "fleet.lua:7: boom\nstack traceback: ...");
            return;
        }
        fake_misbehave(s, how, d->index, d->group->config.number);
    }
    int n =
        snprintf(payload, sizeof(payload), "%lld %016llx", (long long)b->sent, (unsigned long long)rng_u64(&d->rng));
    const struct adapter_message m = {.topic = "data",
                                      .topic_len = 4,
                                      .payload = (const uint8_t *)payload,
                                      .payload_len = (size_t)n,
                                      .qos = (uint8_t)fake_int(s, "qos", 0)};
    if (device_publish(d, &m, 0, &err) == 0)
        b->sent++;
    if (b->sent < s->messages)
        loop_timer_start(s->config.loop, t, s->interval_us, fake_publish);
}

static int fake_start(void *arg, struct device *device, struct error *err)
{
    struct scenario *s = arg;
    struct fake_behaviour *b = calloc(1, sizeof(*b));
    if (!b)
        return error_set(err, ERR_NO_MEMORY, "no memory");
    b->s = s;
    b->device = device;
    device->behaviour = b;
    return device_connect(device, err);
}

static void fake_stop_device(void *arg, struct device *device)
{
    struct scenario *s = arg;
    struct fake_behaviour *b = device->behaviour;
    if (b)
        loop_timer_stop(s->config.loop, &b->timer);
    free(b);
    device->behaviour = NULL;
}

static void fake_online(void *arg, struct device *device, bool session_present)
{
    struct scenario *s = arg;
    struct fake_behaviour *b = device->behaviour;
    (void)session_present;
    if (s->messages > b->sent)
        loop_timer_start(s->config.loop, &b->timer, s->interval_us, fake_publish);
}

static void fake_offline(void *arg, struct device *device, const struct error *why, bool will_retry)
{
    struct scenario *s = arg;
    struct fake_behaviour *b = device->behaviour;
    (void)why, (void)will_retry;
    loop_timer_stop(s->config.loop, &b->timer);
}

static void fake_message(void *arg, struct device *device, const struct adapter_message *message)
{
    (void)arg, (void)device, (void)message;
}

static void fake_done(void *arg, struct device *device, uint32_t token, int granted_qos, const struct error *err)
{
    (void)arg, (void)device, (void)token, (void)granted_qos, (void)err;
}

static const struct device_ops fake_device_ops = {.start = fake_start,
                                                  .stop = fake_stop_device,
                                                  .online = fake_online,
                                                  .offline = fake_offline,
                                                  .message = fake_message,
                                                  .done = fake_done};

// --- the scenario

static void fake_close(struct scenario *s)
{
    loop_timer_stop(s->config.loop, &s->test_timer);
    loop_timer_stop(s->config.loop, &s->custom_timer);
    json_decref(s->x);
    free(s);
}

static struct scenario *fake_open(const struct scenario_config *config, struct error *err)
{
    struct scenario *s = calloc(1, sizeof(*s));
    if (!s)
        error_set(err, ERR_NO_MEMORY, "no memory");
    else
        s->config = *config;
    return s;
}

static json_t *fake_load(struct scenario *s)
{
    struct error err;
    json_t *plan = json_parse(s->config.text, s->config.text_len, "fleet.json", &err);
    if (!plan) {
        struct diagnostic d = {.code = "IOTX001", .file = "fleet.json", .line = 1, .col = 2, .exit_code = 104};
        snprintf(d.message, sizeof(d.message), "%s", err.text);
        s->config.diagnostic(s->config.diagnostic_arg, &d);
        return NULL;
    }
    s->x = json_incref(json_object_get(plan, "x"));
    json_object_set_new(plan, "sha256", json_string(s->config.sha256));
    s->interval_us = fake_int(s, "interval_us", 20000);
    s->messages = fake_int(s, "messages", 1000000);
    const char *how = fake_str(s, s->config.director ? "load" : "shard_load");
    if (strcmp(how, "silent") == 0) {
        json_decref(plan);
        return NULL;
    }
    if (*how)
        fake_misbehave(s, how, 0, 0);
    return plan;
}

static const struct device_ops *fake_ops_of(struct scenario *s)
{
    (void)s;
    return &fake_device_ops;
}

static int fake_attach(struct scenario *s, struct fleet *fleet, const json_t *plan, struct error *err)
{
    (void)plan;
    s->fleet = fleet;
    if (strcmp(fake_str(s, "attach"), "error") == 0)
        return error_set(err, ERR_INVALID, "attach says no");
    return 0;
}

static void fake_answered(void *arg, const json_t *answer, const struct error *err)
{
    struct fake_ask *ask = arg;
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (err)
        log_write(ask->s->config.log, LOG_INFO, NULL, "answer %u: error %s: %s", ask->number,
                  error_code_name(err->code), err->text);
    else
        log_write(ask->s->config.log, LOG_INFO, NULL, "answer %u: %s", ask->number, text ? text : "?");
    ask->s->told++;
    free(text);
    free(ask);
}

// x.asks: [{"at_us", "change"}, …]: each is asked at its time; whether all have been answered.
static bool fake_asks(struct scenario *s)
{
    const json_t *asks = json_object_get(s->x, "asks");
    for (; s->asked < json_array_size(asks); s->asked++) {
        const json_t *one = json_array_get(asks, s->asked);
        if (s->env->elapsed_us(s->env->arg) < json_integer_value(json_object_get(one, "at_us")))
            break;
        struct fake_ask *ask = malloc(sizeof(*ask));
        *ask = (struct fake_ask){s, s->asked};
        s->env->change(s->env->arg, json_deep_copy(json_object_get(one, "change")), 5000000, fake_answered, ask);
    }
    return s->told == json_array_size(asks);
}

static void fake_test(struct timer *t, void *loop)
{
    (void)loop;
    struct scenario *s = container_of(t, struct scenario, test_timer);
    const char *test = fake_str(s, "test");
    const json_t *groups = json_object_get(s->env->status(s->env->arg), "groups");
    json_int_t online = json_integer_value(json_object_get(json_object_get(groups, "g"), "online"));
    if (strcmp(test, "online") == 0 && online < fake_int(s, "expect_online", 1)) {
        loop_timer_start(s->config.loop, t, 10000, fake_test);
    } else if (strcmp(test, "ask") == 0 && !fake_asks(s)) {
        loop_timer_start(s->config.loop, t, 10000, fake_test);
    } else if (strcmp(test, "ask") == 0) {
        s->env->done(s->env->arg, 0, NULL);
    } else if (strcmp(test, "never") == 0) {
        loop_timer_start(s->config.loop, t, 10000, fake_test);
    } else if (strcmp(test, "bad") == 0) {
        s->env->check(s->env->arg, "all is well", false, "it is not");
        s->env->done(s->env->arg, 110, "1 expectation failed");
    } else if (strcmp(test, "raise") == 0) {
        s->env->done(s->env->arg, 107, "fleet.lua:9: oops\ntraceback");
    } else if (strcmp(test, "abort") == 0) {
        s->env->done(s->env->arg, 108, "enough");
    } else if (strcmp(test, "online") != 0) {
        fake_misbehave(s, test, 0, 0);
    } else {
        s->env->check(s->env->arg, "devices online", true, "");
        s->env->done(s->env->arg, 0, NULL);
    }
}

static int fake_test_start(struct scenario *s, const struct test_env *env, struct error *err)
{
    (void)err;
    s->env_storage = *env;
    s->env = &s->env_storage;
    loop_timer_start(s->config.loop, &s->test_timer, 10000, fake_test);
    return 0;
}

// --- functions of the timeline: x.custom_us, how long one takes; x.custom_error: it raises

static int fake_direct(struct scenario *s, const struct test_env *env, struct error *err)
{
    (void)err;
    s->env_storage = *env;
    s->env = &s->env_storage;
    return 0;
}

static void fake_custom_over(struct timer *t, void *loop)
{
    (void)loop;
    struct scenario *s = container_of(t, struct scenario, custom_timer);
    uint64_t number = s->custom;
    s->custom = 0;
    s->env->custom_done(s->env->arg, number, *fake_str(s, "custom_error") ? fake_str(s, "custom_error") : NULL);
}

static int fake_custom_start(struct scenario *s, unsigned function, uint64_t number, struct error *err)
{
    if (function > 1)
        return error_set(err, ERR_NOT_FOUND, "there is no function %u", function);
    if (strcmp(fake_str(s, "custom_how"), "") != 0)
        fake_misbehave(s, fake_str(s, "custom_how"), 0, 0);
    log_write(s->config.log, LOG_INFO, NULL, "function %u begins for %llu", function, (unsigned long long)number);
    s->custom = number;
    loop_timer_start(s->config.loop, &s->custom_timer, fake_int(s, "custom_us", 100000), fake_custom_over);
    return 0;
}

static void fake_custom_stop(struct scenario *s, uint64_t number)
{
    if (s->custom != number)
        return;
    log_write(s->config.log, LOG_INFO, NULL, "function is cut off for %llu", (unsigned long long)number);
    s->custom = 0;
    loop_timer_stop(s->config.loop, &s->custom_timer);
}

static void fake_stop(struct scenario *s)
{
    (*(s->config.director ? &fake_shared->director_stops : &fake_shared->shard_stops))++;
    loop_timer_stop(s->config.loop, &s->test_timer);
    loop_timer_stop(s->config.loop, &s->custom_timer);
    const char *how = fake_str(s, s->config.director ? "test_stop" : "stop");
    if (*how)
        fake_misbehave(s, how, 0, 0);
}

static const struct scenario_ops fake_ops = {
    .open = fake_open,
    .load = fake_load,
    .device_ops = fake_ops_of,
    .attach = fake_attach,
    .test_start = fake_test_start,
    .direct = fake_direct,
    .custom_start = fake_custom_start,
    .custom_stop = fake_custom_stop,
    .stop = fake_stop,
    .close = fake_close,
};
