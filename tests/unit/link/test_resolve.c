// The resolver: numeric, by thread, shared, cached, cancelled, and deleted while a lookup runs. getaddrinfo is replaced
// by one that waits until the test lets it go, so nothing depends on a network.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/loop.h"
#include "link/resolve.h"

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool hold; // lookups wait
    unsigned started, ended, at_once, most;
    bool fail;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    typedef int real_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real_fn *real = (real_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (hints->ai_flags & AI_NUMERICHOST)
        return real(host, service, hints, out);
    pthread_mutex_lock(&gate.mutex);
    gate.started++;
    if (++gate.at_once > gate.most)
        gate.most = gate.at_once;
    while (gate.hold)
        pthread_cond_wait(&gate.cond, &gate.mutex);
    bool fail = gate.fail;
    gate.at_once--;
    pthread_mutex_unlock(&gate.mutex);
    struct addrinfo numeric = *hints;
    numeric.ai_flags = AI_NUMERICHOST;
    int rc = fail ? EAI_NONAME : real("127.1.2.3", service, &numeric, out);
    pthread_mutex_lock(&gate.mutex);
    gate.ended++;
    pthread_cond_broadcast(&gate.cond);
    pthread_mutex_unlock(&gate.mutex);
    return rc;
}

static void gate_set(bool hold)
{
    pthread_mutex_lock(&gate.mutex);
    gate.hold = hold;
    pthread_cond_broadcast(&gate.cond);
    pthread_mutex_unlock(&gate.mutex);
}

static void gate_reset(bool hold, bool fail)
{
    gate.started = gate.ended = gate.at_once = gate.most = 0;
    gate.fail = fail;
    gate_set(hold);
}

static void gate_wait_ended(unsigned n)
{
    pthread_mutex_lock(&gate.mutex);
    while (gate.ended < n)
        pthread_cond_wait(&gate.cond, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
}

struct answers {
    unsigned n, failed;
    uint16_t port;
    char first[64];
    enum error_code code;
    struct resolver *again; // looks up anew from inside the answer
};

static void answered(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct answers *a = arg;
    a->n++;
    a->failed += n == 0;
    a->code = err ? err->code : ERR_NONE;
    if (n) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&addrs[0].addr;
        a->port = ntohs(in->sin_port);
        inet_ntop(AF_INET, &in->sin_addr, a->first, sizeof a->first);
    }
    if (a->again) {
        struct resolver *r = a->again;
        a->again = NULL;
        assert_int_not_equal(resolver_lookup(r, "name", 9, answered, a), 0);
    }
}

static struct loop *make_loop(void)
{
    static struct clock clock;
    clock_create_real(&clock);
    struct loop *loop = loop_new(&clock, NULL);
    assert_non_null(loop);
    return loop;
}

#define WAIT(loop, cond)                                                                                               \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us(loop) + 10000000;                                                               \
        while (!(cond) && loop_fresh_us(loop) < until_)                                                                \
            loop_turn(loop, 20000);                                                                                    \
        assert_true(cond);                                                                                             \
    } while (0)

static void numeric_at_once(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {0};
    gate_reset(false, false);
    assert_int_equal(resolver_lookup(r, "10.1.2.3", 1883, answered, &a), 0);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.first, "10.1.2.3");
    assert_int_equal(a.port, 1883);
    assert_int_equal(resolver_lookup(r, "::1", 1, answered, &a), 0);
    assert_int_equal(a.n, 2);
    assert_int_equal(gate.started, 0);
    resolver_delete(r);
    loop_delete(loop);
}

static void one_lookup_for_many_and_cached(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {0}, b = {0}, cancelled = {0};
    gate_reset(true, false);
    assert_int_not_equal(resolver_lookup(r, "name", 1, answered, &a), 0);
    uint64_t ticket = resolver_lookup(r, "name", 2, answered, &cancelled);
    assert_int_not_equal(resolver_lookup(r, "name", 3, answered, &b), 0);
    resolver_cancel(r, ticket);
    resolver_cancel(r, 0);
    resolver_cancel(r, 12345);
    loop_turn(loop, 0);
    assert_int_equal(a.n, 0);
    gate_set(false);
    WAIT(loop, a.n == 1 && b.n == 1);
    assert_int_equal(cancelled.n, 0);
    assert_int_equal(gate.started, 1);
    assert_string_equal(a.first, "127.1.2.3");
    assert_int_equal(a.port, 1);
    assert_int_equal(b.port, 3);
    assert_int_equal(resolver_lookup(r, "name", 4, answered, &a), 0);
    assert_int_equal(a.port, 4);
    assert_int_equal(gate.started, 1);
    resolver_delete(r);
    loop_delete(loop);
}

static void failures_are_told_and_not_cached(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {.again = r}, b = {0};
    gate_reset(false, true);
    assert_int_not_equal(resolver_lookup(r, "name", 1, answered, &a), 0);
    assert_int_not_equal(resolver_lookup(r, "name", 1, answered, &b), 0);
    WAIT(loop, a.n == 2 && b.n == 1); // the second one was asked for inside the first answer
    assert_int_equal(a.code, ERR_RESOLVE);
    assert_int_equal(b.code, ERR_RESOLVE);
    assert_int_equal(gate.started, 2);
    gate.fail = false;
    resolver_lookup(r, "name", 1, answered, &a);
    WAIT(loop, a.n == 3);
    assert_int_equal(a.code, ERR_NONE);
    resolver_delete(r);
    loop_delete(loop);
}

static void threads_are_few(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {0};
    gate_reset(true, false);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "name-%d", i);
        assert_int_not_equal(resolver_lookup(r, name, 1, answered, &a), 0);
    }
    gate_set(false);
    WAIT(loop, a.n == 40);
    assert_true(gate.most <= 8);
    assert_int_equal(gate.started, 40);
    resolver_delete(r);
    loop_delete(loop);
}

static void deleted_while_a_lookup_runs(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {0};
    gate_reset(true, false);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "name-%d", i);
        resolver_lookup(r, name, 1, answered, &a);
    }
    loop_turn(loop, 0);
    pthread_mutex_lock(&gate.mutex);
    unsigned running = gate.started;
    pthread_mutex_unlock(&gate.mutex);
    resolver_delete(r);
    loop_delete(loop); // the threads must not touch it either
    gate_set(false);
    gate_wait_ended(running);
    assert_int_equal(a.n, 0);
    resolver_delete(NULL);
}

static void deleted_with_answers_waiting(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct resolver *r = resolver_new(loop, NULL);
    struct answers a = {0};
    gate_reset(false, false);
    resolver_lookup(r, "name", 1, answered, &a);
    gate_wait_ended(1);
    resolver_delete(r);
    loop_turn(loop, 0);
    assert_int_equal(a.n, 0);
    loop_delete(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_at_once),
        cmocka_unit_test(one_lookup_for_many_and_cached),
        cmocka_unit_test(failures_are_told_and_not_cached),
        cmocka_unit_test(threads_are_few),
        cmocka_unit_test(deleted_while_a_lookup_runs),
        cmocka_unit_test(deleted_with_answers_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
