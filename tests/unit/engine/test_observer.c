// The observer against a real mosquitto (and against servers that misbehave), started here on a free loopback port.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/rng.h"
#include "engine/observer.h"

#define SECOND INT64_C(1000000)

// --- a broker of the test's own

struct server {
    pid_t pid;
    int port;
    char dir[64], conf[96], url[64];
};

static const char *find_mosquitto(void)
{
    static const char *const paths[] = {"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto", NULL};
    for (int i = 0; paths[i]; i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return NULL;
}

// A bound, listening loopback socket; *port is its number.
static int listen_any(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static bool port_answers(int port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return ok;
}

static int64_t now_us(void)
{
    struct clock c;
    clock_create_real(&c);
    return clock_now_us(&c);
}

static void server_launch(struct server *s)
{
    pid_t parent = getpid();
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        execl(find_mosquitto(), "mosquitto", "-c", s->conf, (char *)NULL);
        _exit(127);
    }
    for (int64_t deadline = now_us() + 10 * SECOND; !port_answers(s->port);) {
        assert_true(now_us() < deadline);
        poll(NULL, 0, 5);
    }
}

static void server_kill(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static bool server_start(struct server *s, const char *more)
{
    if (!find_mosquitto()) {
        if (getenv("CI") && strcmp(getenv("CI"), "true") == 0)
            fail_msg("mosquitto is missing: apt-get install mosquitto");
        print_message("mosquitto is missing, skipped\n");
        return false;
    }
    memset(s, 0, sizeof(*s));
    strncpy(s->dir, "/tmp/iotix-observer-XXXXXX", sizeof(s->dir) - 1);
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->conf, sizeof(s->conf), "%s/conf", s->dir);
    close(listen_any(&s->port));
    snprintf(s->url, sizeof(s->url), "mqtt://127.0.0.1:%d", s->port);
    FILE *f = fopen(s->conf, "w");
    assert_non_null(f);
    fprintf(
        f,
        "listener %d 127.0.0.1\npersistence false\nlog_dest none\nset_tcp_nodelay true\nmax_queued_messages 0\n%s%s\n",
        s->port, geteuid() == 0 ? "user root\n" : "", more);
    fclose(f);
    server_launch(s);
    return true;
}

static void server_stop(struct server *s)
{
    if (s->pid)
        server_kill(s);
    unlink(s->conf);
    rmdir(s->dir);
}

#define ANONYMOUS "allow_anonymous true"

// --- waiting on the loop

struct outcome {
    int calls;
    struct error err;
};

static void on_done(void *arg, const struct error *err)
{
    struct outcome *o = arg;
    o->calls++;
    if (err)
        o->err = *err;
}

static struct loop *new_loop(void)
{
    struct clock clock;
    struct error err = {0};
    clock_create_real(&clock);
    struct loop *loop = loop_new(&clock, &err);
    assert_non_null(loop);
    return loop;
}

#define WAIT_FOR(loop, seconds, condition)                                                                             \
    do {                                                                                                               \
        int64_t wait_deadline = now_us() + (seconds)*SECOND;                                                           \
        while (!(condition)) {                                                                                         \
            if (now_us() > wait_deadline)                                                                              \
                fail_msg("not within %d s: %s", (int)(seconds), #condition);                                           \
            loop_turn(loop, 10000);                                                                                    \
        }                                                                                                              \
    } while (0)

static struct observer *connected(struct loop *loop, const char *url)
{
    struct error err = {0};
    struct outcome done = {0};
    struct observer *o = observer_new(loop, url, &err);
    if (!o)
        fail_msg("%s", err.text);
    assert_int_equal(observer_connect(o, 10 * SECOND, on_done, &done, &err), 0);
    assert_int_equal(done.calls, 0); // never inside the call
    WAIT_FOR(loop, 15, done.calls);
    if (done.err.code != ERR_NONE)
        fail_msg("%s", done.err.text);
    assert_true(observer_connected(o));
    return o;
}

struct inbox {
    unsigned n, retained, disorder;
    long last;
    size_t payload_len;
    char topic[64];
    uint8_t payload[64];
    int qos;
    int64_t received_us;
};

static void on_message(void *arg, const struct observer_message *m)
{
    struct inbox *in = arg;
    in->n++;
    in->retained += m->retained;
    in->payload_len = m->payload_len;
    in->qos = m->qos;
    in->received_us = m->received_us;
    snprintf(in->topic, sizeof(in->topic), "%s", m->topic);
    memcpy(in->payload, m->payload, m->payload_len < sizeof(in->payload) ? m->payload_len : sizeof(in->payload));
    if (m->payload_len == sizeof(long)) {
        long number;
        memcpy(&number, m->payload, sizeof(number));
        in->disorder += number != in->last + 1;
        in->last = number;
    }
}

static unsigned subscribed(struct loop *loop, struct observer *o, const char *filter, int qos, struct inbox *in)
{
    struct error err = {0};
    struct outcome done = {0};
    unsigned ticket = observer_subscribe(o, filter, qos, on_message, in, on_done, &done, &err);
    if (ticket == 0)
        fail_msg("%s", err.text);
    assert_int_equal(done.calls, 0);
    WAIT_FOR(loop, 15, done.calls);
    if (done.err.code != ERR_NONE)
        fail_msg("%s", done.err.text);
    return ticket;
}

static void publish(struct loop *loop, struct observer *o, const char *topic, const void *payload, size_t n, int qos,
                    bool retain)
{
    struct error err = {0};
    struct outcome done = {0};
    if (observer_publish(o, topic, payload, n, qos, retain, on_done, &done, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(done.calls, 0);
    WAIT_FOR(loop, 15, done.calls);
    if (done.err.code != ERR_NONE)
        fail_msg("%s", done.err.text);
    assert_int_equal(done.calls, 1);
}

// --- tests

static void test_bad_input(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    struct error err = {0};
    assert_null(observer_new(loop, "", &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(observer_new(loop, "mqtt://h:0", &err));
    assert_null(observer_new(loop, "http://h", &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    struct observer *o = observer_new(loop, "mqtt://127.0.0.1:1", &err);
    assert_non_null(o);
    assert_int_equal(observer_connect(o, 0, on_done, NULL, &err), -1);
    assert_int_equal(observer_subscribe(o, "a/#/b", 0, on_message, NULL, NULL, NULL, &err), 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(observer_subscribe(o, "", 0, on_message, NULL, NULL, NULL, &err), 0);
    assert_int_equal(observer_subscribe(o, "a", 3, on_message, NULL, NULL, NULL, &err), 0);
    assert_int_equal(observer_publish(o, "a/+", "", 0, 0, false, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(observer_publish(o, "a", "", 0, -1, false, NULL, NULL, &err), -1);
    assert_int_equal(observer_publish(o, "a", "", 0, 0, false, NULL, NULL, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    observer_unsubscribe(o, 99);
    observer_delete(o);
    observer_delete(NULL);
    loop_delete(loop);
}

static void expect_connect_error(const char *url, int64_t timeout_us, enum error_code code, const char *text)
{
    struct loop *loop = new_loop();
    struct error err = {0};
    struct outcome done = {0};
    struct observer *o = observer_new(loop, url, &err);
    assert_non_null(o);
    assert_int_equal(observer_connect(o, timeout_us, on_done, &done, &err), 0);
    assert_int_equal(observer_connect(o, timeout_us, on_done, &done, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    WAIT_FOR(loop, 15, done.calls);
    if (done.err.code != code || !strstr(done.err.text, text))
        fail_msg("%s: %s", error_code_name(done.err.code), done.err.text);
    assert_int_equal(done.calls, 1);
    assert_false(observer_connected(o));
    observer_delete(o);
    loop_delete(loop);
}

static void test_refused_port(void **state)
{
    (void)state;
    int port;
    char url[64], text[64];
    close(listen_any(&port));
    snprintf(url, sizeof(url), "mqtt://user:secret@127.0.0.1:%d", port);
    snprintf(text, sizeof(text), "cannot connect to mqtt://127.0.0.1:%d", port); // no password in it
    expect_connect_error(url, 10 * SECOND, ERR_REFUSED, text);
}

static void test_silent_server(void **state)
{
    (void)state;
    int port, fd = listen_any(&port);
    char url[64];
    snprintf(url, sizeof(url), "mqtt://127.0.0.1:%d", port);
    int64_t start = now_us();
    expect_connect_error(url, SECOND / 5, ERR_TIMEOUT, "did not answer in time");
    assert_true(now_us() - start < 5 * SECOND); // deadline 0.2 s, delete at most 2 s
    close(fd);
}

static void test_unknown_host(void **state)
{
    (void)state;
    expect_connect_error("mqtt://no-such-host.invalid", 10 * SECOND, ERR_RESOLVE, "no-such-host.invalid");
}

static void test_connack_refusal(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, "allow_anonymous false"))
        skip();
    expect_connect_error(s.url, 10 * SECOND, ERR_REFUSED, "not authorized (CONNACK 5)");
    server_stop(&s);
}

// Credentials come from the URL, percent-decoded; the file holds the hash of "p@ss" for "user".
static void test_credentials(void **state)
{
    (void)state;
    if (access("/usr/bin/mosquitto_passwd", X_OK) != 0) {
        print_message("mosquitto_passwd is missing, skipped\n");
        skip();
    }
    char dir[] = "/tmp/iotix-observer-XXXXXX", file[64], more[160], url[96];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/passwd", dir);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/usr/bin/mosquitto_passwd", "mosquitto_passwd", "-b", "-c", file, "user", "p@ss", (char *)NULL);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    struct server s;
    snprintf(more, sizeof(more), "allow_anonymous false\npassword_file %s", file);
    if (!server_start(&s, more))
        skip();
    snprintf(url, sizeof(url), "mqtt://user:p%%40ss@127.0.0.1:%d", s.port);
    struct loop *loop = new_loop();
    observer_delete(connected(loop, url));
    loop_delete(loop);
    server_stop(&s);
    unlink(file);
    rmdir(dir);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    struct inbox in = {0};
    unsigned ticket = subscribed(loop, o, "devices/+/state", 2, &in);
    static const uint8_t bytes[] = {0, 1, 0xff, 0};
    for (int qos = 0; qos <= 2; qos++) {
        int64_t before = now_us();
        publish(loop, o, "devices/17/state", bytes, sizeof(bytes), qos, false);
        WAIT_FOR(loop, 10, in.n == (unsigned)qos + 1);
        assert_string_equal(in.topic, "devices/17/state");
        assert_int_equal(in.payload_len, sizeof(bytes));
        assert_memory_equal(in.payload, bytes, sizeof(bytes));
        assert_int_equal(in.qos, qos);
        assert_true(in.received_us >= before && in.received_us <= now_us());
    }
    publish(loop, o, "devices/17/state", NULL, 0, 1, false);
    WAIT_FOR(loop, 10, in.n == 4);
    assert_int_equal(in.payload_len, 0);
    publish(loop, o, "devices/17/other", "x", 1, 1, false);
    observer_unsubscribe(o, ticket);
    publish(loop, o, "devices/17/state", "x", 1, 1, false);
    struct inbox fence = {0};
    subscribed(loop, o, "fence", 1, &fence);
    publish(loop, o, "fence", "x", 1, 1, false);
    WAIT_FOR(loop, 10, fence.n == 1);
    assert_int_equal(in.n, 4);
    assert_int_equal(observer_dropped(o), 0);

    struct error err = {0}; // connecting what is connected is done at once, but not inside the call
    struct outcome done = {0};
    assert_int_equal(observer_connect(o, SECOND, on_done, &done, &err), 0);
    assert_int_equal(done.calls, 0);
    WAIT_FOR(loop, 5, done.calls);
    assert_int_equal(done.err.code, ERR_NONE);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void on_acked(void *arg, const struct error *err)
{
    assert_null(err);
    ++*(unsigned *)arg;
}

static void test_overlapping_subscriptions_get_each_message_once(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    static const char *const filters[] = {"a/#", "a/+/c", "a/b/+", "a/b/c", "a/b/c", "#", "+/b/c", "a/b/#"};
    enum { N = sizeof(filters) / sizeof(filters[0]) };
    struct inbox in[N] = {0}, twin = {0}, late = {0};
    publish(loop, o, "a/b/c", "kept", 4, 1, true);
    for (int i = 0; i < N; i++)
        subscribed(loop, o, filters[i], 1, &in[i]);
    for (int i = 0; i < N; i++) { // the retained message reaches every one, twins included
        WAIT_FOR(loop, 10, in[i].n == 1);
        assert_int_equal(in[i].retained, 1);
    }
    struct error err = {0};
    assert_int_equal(observer_subscribe(o, "+/+/+", 1, on_message, &late, NULL, NULL, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT); // all eight overlap with it in part
    assert_true(observer_subscribe(o, "x/y", 1, on_message, &late, NULL, NULL, &err) > 0);
    subscribed(loop, o, "a/b/c", 1, &twin);
    unsigned acked = 0;
    for (long i = 1; i <= 100; i++)
        assert_int_equal(observer_publish(o, "a/b/c", &i, sizeof(i), 1, false, on_acked, &acked, &err), 0);
    WAIT_FOR(loop, 15, acked == 100);
    for (int i = 0; i < N; i++)
        WAIT_FOR(loop, 10, in[i].last == 100);
    WAIT_FOR(loop, 10, twin.last == 100);
    for (int i = 0; i < N; i++) {
        assert_int_equal(in[i].n - in[i].retained, 100);
        assert_int_equal(in[i].disorder, 0);
    }
    assert_int_equal(twin.n - twin.retained, 100);
    assert_int_equal(late.n, 0);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_subscribe_before_connect(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct error err = {0};
    struct outcome sub = {0}, con = {0}, cancelled = {0};
    struct inbox in = {0};
    struct observer *o = observer_new(loop, s.url, &err);
    assert_true(observer_subscribe(o, "early/#", 1, on_message, &in, on_done, &sub, &err) > 0);
    unsigned ticket = observer_subscribe(o, "never", 1, on_message, &in, on_done, &cancelled, &err);
    observer_unsubscribe(o, ticket);
    assert_int_equal(cancelled.calls, 0);
    WAIT_FOR(loop, 5, cancelled.calls);
    assert_int_equal(cancelled.err.code, ERR_CANCELLED);
    assert_int_equal(sub.calls, 0);
    assert_int_equal(observer_connect(o, 10 * SECOND, on_done, &con, &err), 0);
    WAIT_FOR(loop, 10, sub.calls && con.calls);
    assert_int_equal(sub.err.code, ERR_NONE);
    publish(loop, o, "early/x", "x", 1, 1, false);
    WAIT_FOR(loop, 10, in.n == 1);
    assert_int_equal(cancelled.calls, 1);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_many_messages_arrive_in_order(void **state)
{
    (void)state;
    enum { N = 20000, WINDOW = 500 };
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *in_side = connected(loop, s.url), *out_side = connected(loop, s.url);
    struct inbox in = {0};
    subscribed(loop, in_side, "many/#", 1, &in);
    unsigned acked = 0;
    long sent = 0;
    struct error err = {0};
    int64_t start = now_us();
    while (sent < N) {
        WAIT_FOR(loop, 20, (unsigned)sent - acked < WINDOW);
        sent++;
        if (observer_publish(out_side, "many/x", &sent, sizeof(sent), 1, false, on_acked, &acked, &err) != 0)
            fail_msg("%ld: %s", sent, err.text);
    }
    WAIT_FOR(loop, 60, acked == N && in.n == N);
    print_message("%d messages there and back in %.2f s\n", N, (double)(now_us() - start) / 1e6);
    assert_int_equal(in.disorder, 0);
    assert_int_equal(observer_dropped(in_side), 0);
    observer_delete(out_side);
    observer_delete(in_side);
    loop_delete(loop);
    server_stop(&s);
}

// Waits without running the loop, so that the queue between the threads fills.
#define WAIT_OUTSIDE(condition)                                                                                        \
    for (int64_t wait_deadline = now_us() + 20 * SECOND; !(condition);) {                                              \
        assert_true(now_us() < wait_deadline);                                                                         \
        poll(NULL, 0, 1);                                                                                              \
    }

static void test_full_queue_drops_and_counts(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    struct inbox in = {0};
    struct error err = {0};
    subscribed(loop, o, "flood", 0, &in);
    observer_limit(o, 2500, 1 << 20); // more than the loop takes in a turn
    for (int i = 0; i < 3000; i++)
        assert_int_equal(observer_publish(o, "flood", "x", 1, 0, false, NULL, NULL, &err), 0);
    WAIT_OUTSIDE(observer_dropped(o) == 500);
    WAIT_FOR(loop, 10, in.n == 2500);

    static char big[100000];
    for (int i = 0; i < 20; i++)
        assert_int_equal(observer_publish(o, "flood", big, sizeof(big), 0, false, NULL, NULL, &err), 0);
    WAIT_OUTSIDE(observer_dropped(o) == 510); // ten of them fit into 1 MiB
    WAIT_FOR(loop, 10, in.n == 2510);
    observer_limit(o, 1000, 1 << 20); // and it goes on afterwards
    publish(loop, o, "flood", "x", 1, 1, false);
    WAIT_FOR(loop, 10, in.n == 2511);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_a_subscription_gets_nothing_older_than_itself(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    struct inbox before = {0}, after = {0};
    struct error err = {0};
    unsigned ticket = subscribed(loop, o, "seq", 0, &before);
    observer_limit(o, 10, 1 << 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(observer_publish(o, "seq", "x", 1, 0, false, NULL, NULL, &err), 0);
    WAIT_OUTSIDE(observer_dropped(o) == 10); // ten wait for the loop now
    observer_unsubscribe(o, ticket);
    subscribed(loop, o, "seq", 0, &after); // on the same connection
    publish(loop, o, "seq", "x", 1, 1, false);
    WAIT_FOR(loop, 10, after.n == 1);
    assert_int_equal(before.n, 0);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_broker_restart(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    struct inbox one = {0}, two = {0}, during = {0};
    struct error err = {0};
    struct outcome sub = {0}, lost = {0};
    subscribed(loop, o, "r/#", 1, &one);
    subscribed(loop, o, "r/+", 1, &two); // a lane of its own
    for (int round = 1; round <= 2; round++) {
        kill(s.pid, SIGSTOP); // so that this publish can never be acknowledged
        assert_int_equal(observer_publish(o, "r/lost", "x", 1, 1, false, on_done, &lost, &err), 0);
        server_kill(&s);
        WAIT_FOR(loop, 15, !observer_connected(o));
        assert_int_equal(observer_publish(o, "r/x", "x", 1, 1, false, NULL, NULL, &err), -1);
        assert_int_equal(err.code, ERR_STATE);
        WAIT_FOR(loop, 15, lost.calls == round);
        assert_int_equal(lost.err.code, ERR_CLOSED);
        if (round == 1) // asked for while it is down: answered after the restart
            assert_true(observer_subscribe(o, "down", 1, on_message, &during, on_done, &sub, &err) > 0);
        server_launch(&s);
        WAIT_FOR(loop, 20, observer_connected(o) && sub.calls);
        assert_int_equal(sub.err.code, ERR_NONE);
        for (unsigned was_one = one.n, was_two = two.n; one.n == was_one || two.n == was_two;) {
            int64_t deadline = now_us() + SECOND / 5; // the lanes come back on their own time
            publish(loop, o, "r/back", "x", 1, 1, false);
            while (now_us() < deadline && (one.n == was_one || two.n == was_two))
                loop_turn(loop, 10000);
        }
        unsigned was = during.n;
        publish(loop, o, "down", "x", 1, 1, false);
        WAIT_FOR(loop, 15, during.n == was + 1);
    }
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_requests_under_way_survive_a_restart(void **state)
{
    (void)state;
    enum { N = 20 };
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    for (int round = 0; round < 3; round++) {
        struct error err = {0};
        struct outcome sub = {0}, pub = {0};
        struct inbox in = {0};
        unsigned tickets[N];
        char filter[32];
        kill(s.pid, SIGSTOP);
        for (int i = 0; i < N; i++) {
            snprintf(filter, sizeof(filter), "way/%d", i);
            tickets[i] = observer_subscribe(o, filter, 1, on_message, &in, on_done, &sub, &err);
            assert_true(tickets[i] > 0);
            if (observer_publish(o, "way/x", "x", 1, 1, false, on_done, &pub, &err) != 0)
                pub.calls += err.code == ERR_STATE; // paho has seen the loss before the loop
            if (i == N / 2)
                server_kill(&s); // the rest meets a connection that is just going
        }
        WAIT_FOR(loop, 5, pub.calls == N); // told at the loss, not at the deadline
        assert_int_equal(pub.err.code, ERR_CLOSED);
        WAIT_FOR(loop, 5, !observer_connected(o));
        server_launch(&s);
        WAIT_FOR(loop, 9, sub.calls == N);
        assert_int_equal(sub.err.code, ERR_NONE);
        for (int i = 0; i < N; i++) {
            snprintf(filter, sizeof(filter), "way/%d", i);
            publish(loop, o, filter, "x", 1, 1, false);
        }
        WAIT_FOR(loop, 10, in.n == N);
        for (int i = 0; i < N; i++)
            observer_unsubscribe(o, tickets[i]);
    }
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_deadline_of_an_acknowledgement(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    struct error err = {0};
    struct outcome pub = {0}, sub = {0};
    kill(s.pid, SIGSTOP);
    assert_int_equal(observer_publish(o, "x", "x", 1, 1, false, on_done, &pub, &err), 0);
    assert_true(observer_subscribe(o, "y", 1, on_message, NULL, on_done, &sub, &err) > 0);
    WAIT_FOR(loop, 20, pub.calls && sub.calls);
    assert_int_equal(pub.err.code, ERR_TIMEOUT);
    assert_int_equal(sub.err.code, ERR_TIMEOUT);
    kill(s.pid, SIGCONT); // the late acknowledgements must not call done again
    publish(loop, o, "x", "x", 1, 1, false);
    assert_int_equal(pub.calls + sub.calls, 2);
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

static void test_paho_threads_take_no_signals(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *o = connected(loop, s.url);
    DIR *tasks = opendir("/proc/self/task");
    int others = 0;
    for (struct dirent *e; (e = readdir(tasks));) {
        char path[64], line[128];
        if (e->d_name[0] == '.' || strtol(e->d_name, NULL, 10) == getpid())
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", e->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f)) {
            unsigned long long blocked;
            if (sscanf(line, "SigBlk: %llx", &blocked) != 1)
                continue;
            unsigned long long wanted = 1ull << (SIGINT - 1) | 1ull << (SIGTERM - 1) | 1ull << (SIGPIPE - 1);
            others += (blocked & wanted) == wanted;
        }
        if (f)
            fclose(f);
    }
    closedir(tasks);
    assert_true(others >= 2); // sender and receiver
    observer_delete(o);
    loop_delete(loop);
    server_stop(&s);
}

struct deleter {
    struct observer *o;
    unsigned calls;
};

static void delete_in_message(void *arg, const struct observer_message *m)
{
    struct deleter *d = arg;
    (void)m;
    d->calls++;
    observer_delete(d->o);
    d->o = NULL;
}

static void delete_in_done(void *arg, const struct error *err)
{
    struct deleter *d = arg;
    (void)err;
    d->calls++;
    observer_delete(d->o);
    d->o = NULL;
}

static void test_delete_inside_callbacks(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct error err = {0};
    struct deleter d = {.o = connected(loop, s.url)};
    assert_true(observer_subscribe(d.o, "x", 0, delete_in_message, &d, NULL, NULL, &err) > 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(observer_publish(d.o, "x", "x", 1, 0, false, NULL, NULL, &err), 0);
    WAIT_FOR(loop, 10, !d.o);
    loop_turn(loop, 10000);
    assert_int_equal(d.calls, 1);
    d = (struct deleter){.o = connected(loop, s.url)};
    for (int i = 0; i < 50; i++)
        assert_int_equal(observer_publish(d.o, "x", "x", 1, 1, false, delete_in_done, &d, &err), 0);
    WAIT_FOR(loop, 10, !d.o);
    loop_turn(loop, 10000);
    assert_int_equal(d.calls, 1);
    d = (struct deleter){.o = observer_new(loop, s.url, &err)};
    assert_int_equal(observer_connect(d.o, 10 * SECOND, delete_in_done, &d, &err), 0);
    WAIT_FOR(loop, 10, !d.o);
    loop_delete(loop);
    server_stop(&s);
}

static void ignore_done(void *arg, const struct error *err)
{
    (void)err;
    ++*(unsigned *)arg;
}

static void test_delete_at_random_moments(void **state)
{
    (void)state;
    struct server s;
    if (!server_start(&s, ANONYMOUS))
        skip();
    struct loop *loop = new_loop();
    struct observer *keeper = connected(loop, s.url); // keeps paho's threads alive, so that each round is short
    struct rng rng;
    struct error err = {0};
    unsigned dones = 0;
    rng_seed(&rng, 20261123);
    for (int round = 0; round < 60; round++) {
        struct inbox in = {0};
        struct observer *o = observer_new(loop, s.url, &err);
        assert_non_null(o);
        assert_int_equal(observer_connect(o, 5 * SECOND, ignore_done, &dones, &err), 0);
        assert_true(observer_subscribe(o, "d/#", 1, on_message, &in, ignore_done, &dones, &err) > 0);
        if (round % 3 == 0)
            assert_true(observer_subscribe(o, "d/+", 1, on_message, &in, ignore_done, &dones, &err) > 0);
        int64_t until = now_us() + (int64_t)rng_below(&rng, 30000);
        while (now_us() < until) {
            for (int i = 0; i < 5; i++)
                (void)!observer_publish(keeper, "d/x", "x", 1, (int)rng_below(&rng, 3), false, ignore_done, &dones,
                                        &err);
            if (observer_connected(o))
                (void)!observer_publish(o, "d/y", "y", 1, 1, false, ignore_done, &dones, &err);
            loop_turn(loop, 1000);
        }
        int64_t before = now_us();
        observer_delete(o);
        assert_true(now_us() - before < 2 * SECOND);
        unsigned seen = in.n;
        loop_turn(loop, 0);
        assert_int_equal(in.n, seen); // nothing comes afterwards
    }
    int64_t before = now_us();
    observer_delete(keeper); // the last one ends paho's threads
    int64_t took = now_us() - before;
    print_message("deleting the last observer took %.2f s\n", (double)took / 1e6);
    assert_true(took < 2 * SECOND);
    loop_delete(loop);
    server_stop(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]); // one test by hand
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_refused_port),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_unknown_host),
        cmocka_unit_test(test_connack_refusal),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_overlapping_subscriptions_get_each_message_once),
        cmocka_unit_test(test_subscribe_before_connect),
        cmocka_unit_test(test_many_messages_arrive_in_order),
        cmocka_unit_test(test_full_queue_drops_and_counts),
        cmocka_unit_test(test_a_subscription_gets_nothing_older_than_itself),
        cmocka_unit_test(test_broker_restart),
        cmocka_unit_test(test_requests_under_way_survive_a_restart),
        cmocka_unit_test(test_deadline_of_an_acknowledgement),
        cmocka_unit_test(test_paho_threads_take_no_signals),
        cmocka_unit_test(test_delete_inside_callbacks),
        cmocka_unit_test(test_delete_at_random_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
