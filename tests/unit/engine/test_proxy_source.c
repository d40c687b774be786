// Where proxies hear physical devices from: shared filters, listeners that come and go inside a message, a broker that
// is not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/broker.h"
#include "engine/observer.h"
#include "engine/proxy_source.h"

#define SECOND INT64_C(1000000)

struct world {
    struct loop *loop;
    struct metrics *metrics;
    struct log *log;
    struct broker *broker;
    struct link_env *links;
    struct resolver *resolver;
    struct proxy_source *source;
    const struct proxy_ops *ops;
    char logged[2000];
};

struct ear {
    struct world *w;
    uint64_t ticket;
    unsigned heard;
    char topic[100], payload[100];
    void (*in_message)(struct ear *e);
    struct ear *other;
};

static bool heard(void *ctx, const char *topic, const void *payload, size_t n, int64_t received_us)
{
    struct ear *e = ctx;
    assert_true(received_us > 0 && received_us <= loop_fresh_us(e->w->loop));
    e->heard++;
    snprintf(e->topic, sizeof(e->topic), "%s", topic);
    snprintf(e->payload, sizeof(e->payload), "%.*s", (int)n, (const char *)payload);
    if (e->in_message)
        e->in_message(e);
    return true;
}

static void keep_log(void *arg, enum log_level level, const char *line, size_t n)
{
    struct world *w = arg;
    size_t used = strlen(w->logged);
    (void)level;
    snprintf(w->logged + used, sizeof(w->logged) - used, "%.*s", (int)n, line);
}

// url: NULL: a broker is started.
static void open_world(struct world *w, const char *url)
{
    struct error err = {0};
    struct clock clock;
    memset(w, 0, sizeof(*w));
    w->broker = url ? NULL : broker_start(&err);
    if (!url && !w->broker && err.code == ERR_NOT_FOUND && !getenv("CI"))
        skip();
    if (!url && !w->broker)
        fail_msg("%s", err.text);
    clock_create_real(&clock);
    w->loop = loop_new(&clock, &err);
    w->metrics = metrics_new(100);
    struct log_config log = {.fd = -1, .level = LOG_INFO, .sink = keep_log, .sink_arg = w};
    w->log = log_new(&log);
    w->links = link_env_new(w->loop, &(struct link_env_config){0}, &err);
    w->resolver = resolver_new(w->loop, &err);
    assert_true(w->links && w->resolver);
    struct proxy_source_config config = {.loop = w->loop,
                                         .metrics = w->metrics,
                                         .log = w->log,
                                         .url = url ? url : broker_url(w->broker),
                                         .links = w->links,
                                         .resolver = w->resolver};
    w->source = proxy_source_new(&config, &err);
    assert_non_null(w->source);
    w->ops = proxy_source_ops();
}

static void close_world(struct world *w)
{
    proxy_source_delete(w->source);
    broker_stop(w->broker);
    resolver_delete(w->resolver);
    link_env_delete(w->links);
    loop_delete(w->loop);
    metrics_delete(w->metrics);
    log_delete(w->log);
}

static void listen_to(struct world *w, struct ear *e, const char *filter)
{
    struct error err = {0};
    e->w = w;
    e->ticket = w->ops->subscribe(w->source, NULL, filter, 0, heard, e, &err);
    if (!e->ticket)
        fail_msg("%s", err.text);
}

static void leave(struct ear *e)
{
    e->w->ops->unsubscribe(e->w->source, e->ticket);
}

// Turns until the condition holds; publishes every 50 ms so long, if there is a topic.
static void until(struct world *w, bool (*done)(void *arg), void *arg, const char *topic)
{
    int64_t deadline = loop_fresh_us(w->loop) + 10 * SECOND, next = 0;
    while (!done(arg)) {
        if (loop_fresh_us(w->loop) > deadline)
            fail_msg("it never came; logged: %s", w->logged);
        if (topic && loop_fresh_us(w->loop) > next) {
            (void)!w->ops->publish(w->source, NULL, topic, "hello", 5, 0, NULL);
            next = loop_fresh_us(w->loop) + 50000;
        }
        loop_turn(w->loop, 10000);
    }
}

static bool has_heard(void *arg)
{
    return ((struct ear *)arg)->heard > 0;
}

static bool two_more(void *arg)
{
    return ((struct ear *)arg)->heard >= 2;
}

static void equal_filters_are_shared(void **state)
{
    struct world w;
    struct ear a = {0}, b = {0}, other = {0};
    (void)state;
    open_world(&w, NULL);
    listen_to(&w, &a, "plant/+");
    listen_to(&w, &b, "plant/+");
    listen_to(&w, &other, "else/#");
    until(&w, has_heard, &a, "plant/x");
    assert_int_equal(b.heard, a.heard);
    assert_string_equal(b.topic, "plant/x");
    assert_string_equal(b.payload, "hello");
    assert_int_equal(other.heard, 0);
    leave(&a);
    unsigned before = a.heard;
    b.heard = 0;
    until(&w, two_more, &b, "plant/y");
    assert_int_equal(a.heard, before);
    leave(&b);
    leave(&b); // a ticket that is gone is fine
    until(&w, has_heard, &other, "else/x");
    close_world(&w);
}

static void leave_all(struct ear *e)
{
    leave(e);
    if (e->other)
        leave(e->other);
}

static void come_back(struct ear *e)
{
    leave(e);
    listen_to(e->w, e, "plant/+");
}

static void listeners_come_and_go_inside_a_message(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, NULL);
    for (unsigned first = 0; first < 2; first++) {
        struct ear ears[2] = {{0}, {0}};
        listen_to(&w, &ears[0], "plant/+");
        listen_to(&w, &ears[1], "plant/+");
        ears[first].in_message = leave_all;
        ears[first].other = &ears[1 - first];
        until(&w, has_heard, &ears[first], "plant/x");
        assert_int_equal(ears[first].heard, 1);
        assert_int_equal(ears[1 - first].heard, first ? 1 : 0); // whoever left before was not told
    }
    struct ear again = {.in_message = come_back};
    listen_to(&w, &again, "plant/+");
    until(&w, two_more, &again, "plant/x");
    close_world(&w);
}

static uint64_t errors_of(struct world *w)
{
    struct metric_selector sel;
    struct metric m = {0};
    struct error err;
    assert_int_equal(metric_selector_parse("proxy_source_errors", &sel, &err), 0);
    return metrics_select(w->metrics, &sel, &m) ? m.count : 0;
}

static bool three_errors(void *arg)
{
    return errors_of(arg) >= 3;
}

static void a_broker_that_is_not_there_is_tried_again(void **state)
{
    struct world w;
    struct ear e = {0};
    struct error err = {0};
    (void)state;
    open_world(&w, "mqtt://127.0.0.1:1"); // nobody listens there
    listen_to(&w, &e, "plant/#");
    assert_int_equal(w.ops->publish(w.source, NULL, "a", "b", 1, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    until(&w, three_errors, &w, NULL);
    const char *first = strstr(w.logged, "physical devices at 127.0.0.1:1: ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "physical devices at")); // once
    close_world(&w);
}

static void what_can_never_work_is_refused(void **state)
{
    struct world w;
    struct ear e = {.w = &w};
    struct error err = {0};
    (void)state;
    open_world(&w, "mqtt://127.0.0.1:1");
    assert_int_equal(w.ops->subscribe(w.source, "coap://x", "a", 0, heard, &e, &err), 0);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_int_equal(w.ops->subscribe(w.source, "mqtt://", "a", 0, heard, &e, &err), 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(w.ops->subscribe(w.source, NULL, "a/#/b", 0, heard, &e, &err), 0);
    assert_int_equal(err.code, ERR_INVALID);
    close_world(&w);
}

static uint64_t attach(struct world *w, enum proxy_via via, const char *at, struct ear *e, struct error *err)
{
    const struct proxy_place place = {.via = via,
                                      .name = "press",
                                      .url = via == PROXY_COAP ? at : NULL,
                                      .listen = via == PROXY_HTTP ? at : NULL,
                                      .path = via == PROXY_HTTP ? "/in" : NULL};
    return w->ops->attach(w->source, &place, heard, e, err);
}

static void devices_at_no_broker(void **state)
{
    struct world w;
    struct error err = {0};
    (void)state;
    open_world(&w, "mqtt://127.0.0.1:1");
    struct ear e = {.w = &w};
    assert_int_equal(attach(&w, PROXY_COAP, "coap://", &e, &err), 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(attach(&w, PROXY_HTTP, "256.0.0.1:80", &e, &err), 0);
    uint64_t hook = attach(&w, PROXY_HTTP, "127.0.0.1:0", &e, &err);
    if (!hook)
        fail_msg("%s", err.text);
    const char *url = strstr(w.logged, "its webhook is http://127.0.0.1:");
    assert_non_null(url);
    assert_non_null(strstr(url, "/press/in"));
    assert_int_equal(attach(&w, PROXY_HTTP, "127.0.0.1:0", &e, &err), 0); // one of this name is there
    w.ops->unsubscribe(w.source, hook);
    w.ops->unsubscribe(w.source, hook);
    hook = attach(&w, PROXY_HTTP, "127.0.0.1:0", &e, &err);
    assert_true(hook != 0);
    assert_true(attach(&w, PROXY_COAP, "coap://127.0.0.1:1/t", &e, &err) != 0); // nobody is there: it is tried again
    until(&w, three_errors, &w, NULL);
    const char *first = strstr(w.logged, "physical device press at coap://127.0.0.1:1/t: ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "physical device press")); // once
    close_world(&w);                                         // with both still bound
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_filters_are_shared),
        cmocka_unit_test(listeners_come_and_go_inside_a_message),
        cmocka_unit_test(a_broker_that_is_not_there_is_tried_again),
        cmocka_unit_test(what_can_never_work_is_refused),
        cmocka_unit_test(devices_at_no_broker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
