// The adapter of virtual time against the contract of adapter.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "adapter/virtual/virtual.h"
#include "core/loop.h"

struct world {
    struct loop *loop;
    struct metrics *metrics;
    struct adapter_target *target;
    struct adapter_conn *conn;
    char trace[256];
    int inside; // of a call to the adapter
    int published;
    int refuse;
    void (*in_online)(void);
};

static struct world w;

static void trace(const char *what)
{
    size_t n = strlen(w.trace);
    assert_int_equal(w.inside, 0); // never inside a call
    snprintf(w.trace + n, sizeof(w.trace) - n, "%s@%lld ", what, (long long)loop_now_us(w.loop) / 1000);
}

static void on_online(void *owner, bool session_present)
{
    assert_ptr_equal(owner, &w);
    assert_false(session_present);
    trace("online");
    if (w.in_online)
        w.in_online();
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    (void)owner;
    assert_int_equal(why->code, ERR_NONE);
    assert_false(will_retry);
    trace("offline");
}

static void on_message(void *owner, const struct adapter_message *m)
{
    (void)owner, (void)m;
    fail();
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    (void)owner;
    char text[32];
    assert_null(err);
    snprintf(text, sizeof(text), "done%u/%d", token, granted_qos);
    trace(text);
}

static const struct adapter_events events = {
    .on_online = on_online, .on_offline = on_offline, .on_message = on_message, .on_done = on_done};

static int on_publish(void *arg, void *owner, const struct adapter_message *m, struct error *err)
{
    assert_ptr_equal(arg, &w);
    assert_ptr_equal(owner, &w);
    assert_memory_equal(m->topic, "a/b", 3);
    if (w.refuse)
        return error_set(err, ERR_CANCELLED, "the run is over");
    w.published++;
    return 0;
}

static const struct adapter_capture capture = {.publish = on_publish, .arg = &w};

static int setup(void **state)
{
    (void)state;
    struct clock clock;
    struct error err;
    memset(&w, 0, sizeof(w));
    clock_create_virtual(&clock, 0);
    w.loop = loop_new(&clock, &err);
    w.metrics = metrics_new(100);
    struct adapter_env env = {.loop = w.loop, .metrics = w.metrics, .capture = &capture};
    w.target = virtual_adapter.target_new(&env, "virtual://", NULL, "g", &err);
    assert_non_null(w.target);
    w.conn = virtual_adapter.conn_new(w.target, &events, NULL, &w, 1, &err);
    assert_non_null(w.conn);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    virtual_adapter.conn_delete(w.conn);
    virtual_adapter.target_delete(w.target);
    metrics_delete(w.metrics);
    loop_delete(w.loop);
    return 0;
}

static int publish(int qos, uint32_t token, enum error_code *code)
{
    struct error err = {0};
    struct adapter_message m = {.topic = "a/b", .topic_len = 3, .qos = (uint8_t)qos};
    w.inside++;
    int rc = virtual_adapter.publish(w.conn, &m, token, &err);
    w.inside--;
    *code = err.code;
    return rc;
}

static void open_conn(void)
{
    struct error err;
    w.inside++;
    assert_int_equal(virtual_adapter.conn_open(w.conn, &err), 0);
    w.inside--;
}

static void close_conn(void)
{
    w.inside++;
    virtual_adapter.conn_close(w.conn, ADAPTER_GRACEFUL);
    w.inside--;
}

static uint64_t counted(const char *name)
{
    struct metric_selector sel;
    struct metric out = {0};
    struct error err;
    assert_int_equal(metric_selector_parse(name, &sel, &err), 0);
    metrics_select(w.metrics, &sel, &out);
    return out.type == METRIC_RATE ? out.hits : out.count;
}

static void a_life(void **state)
{
    (void)state;
    struct error err;
    enum error_code code;
    assert_int_equal(publish(1, 0, &code), -1);
    assert_int_equal(code, ERR_STATE);
    open_conn();
    assert_int_equal(virtual_adapter.conn_open(w.conn, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(publish(0, 0, &code), -1); // as on a network: only what is acknowledged waits
    assert_int_equal(code, ERR_STATE);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "online@1 ");
    assert_int_equal(publish(0, 3, &code), 0); // QoS 0: never told
    assert_int_equal(publish(1, 4, &code), 0);
    assert_int_equal(publish(2, 0, &code), 0);
    w.inside++;
    assert_int_equal(virtual_adapter.subscribe(w.conn, "a/#", 1, 5, &err), 0);
    assert_int_equal(virtual_adapter.unsubscribe(w.conn, "a/#", 6, &err), 0);
    assert_int_equal(virtual_adapter.subscribe(w.conn, "a/#/b", 1, 7, &err), -1);
    w.inside--;
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(loop_run(w.loop, &err), 0);
    close_conn();
    close_conn();
    assert_int_equal(publish(1, 0, &code), -1);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "online@1 done4/-1@2 done5/1@2 done6/-1@2 offline@3 ");
    open_conn(); // and again
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_non_null(strstr(w.trace, "online@4"));
    assert_int_equal(w.published, 3);
    assert_int_equal(counted("messages_sent{group:g}"), 3);
    assert_int_equal(counted("messages_acked{group:g}"), 2);
    assert_int_equal(counted("publish_errors{group:g}"), 3);
    assert_int_equal(counted("connects{group:g}"), 2);
}

static void closed_while_opening_it_was_never_online(void **state)
{
    (void)state;
    struct error err;
    open_conn();
    close_conn();
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "offline@1 ");
    close_conn(); // nothing to close
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "offline@1 ");
}

static void topics_are_checked(void **state)
{
    (void)state;
    struct error err;
    struct adapter_message m = {.topic = "a/+", .topic_len = 3};
    open_conn();
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_int_equal(virtual_adapter.publish(w.conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(w.published, 0);
}

static void what_is_not_taken_is_refused(void **state)
{
    (void)state;
    struct error err;
    enum error_code code;
    open_conn();
    assert_int_equal(loop_run(w.loop, &err), 0);
    w.refuse = 1;
    assert_int_equal(publish(1, 9, &code), -1);
    assert_int_equal(code, ERR_CANCELLED);
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "online@1 ");
    assert_int_equal(counted("messages_sent{group:g}"), 0);
}

static void answers_have_a_cap(void **state)
{
    (void)state;
    struct error err;
    enum error_code code;
    open_conn();
    assert_int_equal(loop_run(w.loop, &err), 0);
    for (unsigned i = 0; i < VIRTUAL_WAITING_MAX; i++)
        assert_int_equal(publish(1, i + 1, &code), 0);
    assert_int_equal(publish(1, 5000, &code), -1);
    assert_int_equal(code, ERR_LIMIT);
    assert_int_equal(w.published, VIRTUAL_WAITING_MAX); // refused is not taken
    assert_int_equal(virtual_adapter.subscribe(w.conn, "a", 0, 5001, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    close_conn(); // is always possible
    w.trace[0] = 0;
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_int_equal(publish(1, 1, &code), -1);
}

static void delete_here(void)
{
    virtual_adapter.conn_delete(w.conn);
    w.conn = NULL;
}

static void deleted_inside_its_event_nothing_more_is_told(void **state)
{
    (void)state;
    struct error err;
    enum error_code code;
    open_conn();
    assert_int_equal(publish(1, 4, &code), 0);
    w.in_online = delete_here;
    assert_int_equal(loop_run(w.loop, &err), 0);
    assert_string_equal(w.trace, "online@1 ");
}

static void without_a_taker_there_is_no_target(void **state)
{
    (void)state;
    struct error err;
    struct adapter_env env = {.loop = w.loop};
    assert_null(virtual_adapter.target_new(&env, "virtual://", NULL, "g", &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static void a_connection_is_small(void **state)
{
    (void)state;
    assert_in_range(virtual_adapter.footprint(w.conn), 1, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_life, setup, teardown),
        cmocka_unit_test_setup_teardown(closed_while_opening_it_was_never_online, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_taken_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_have_a_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(deleted_inside_its_event_nothing_more_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_taker_there_is_no_target, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_is_small, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
