// Against a real broker: mosquitto on a free loopback port. Absent: skipped by name, but a failure where CI=true.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "harness.h"

#define OPS (&mqtt_adapter)
#define MOSQUITTO "/usr/sbin/mosquitto"

struct real {
    struct world w;
    pid_t pid;
    char conf[64];
};

// A port nobody listens on now. Another process may take it before mosquitto does: then start_broker tries again.
static uint16_t free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static bool reachable(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
    close(fd);
    return ok;
}

static void exec_broker(const struct real *r, pid_t parent)
{
    int null = open("/dev/null", O_WRONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // no broker outlives a test that crashes
    if (getppid() != parent)
        _exit(1);
    dup2(null, 1);
    dup2(null, 2);
    execl(MOSQUITTO, MOSQUITTO, "-c", r->conf, (char *)NULL);
    _exit(127);
}

static bool start_broker(struct real *r)
{
    r->w.broker.port = free_port();
    snprintf(r->conf, sizeof r->conf, "/tmp/iotix-test-XXXXXX");
    int fd = mkstemp(r->conf);
    assert_true(fd >= 0);
    // Of root's mosquitto: changing the user would take the death signal away.
    dprintf(fd, "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n%s", r->w.broker.port,
            geteuid() == 0 ? "user root\n" : "");
    close(fd);
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid == 0)
        exec_broker(r, parent);
    int64_t until = loop_fresh_us(r->w.loop) + DEADLINE_US;
    while (loop_fresh_us(r->w.loop) < until) {
        int status;
        if (waitpid(r->pid, &status, WNOHANG) == r->pid)
            break;
        if (reachable(r->w.broker.port))
            return true;
        loop_turn(r->w.loop, 10000);
    }
    unlink(r->conf);
    return false;
}

static void real_create(struct real *r)
{
    memset(r, 0, sizeof *r);
    if (access(MOSQUITTO, X_OK) != 0) {
        const char *ci = getenv("CI");
        if (ci && strcmp(ci, "true") == 0)
            fail_msg("%s is missing: apt-get install mosquitto", MOSQUITTO);
        print_message("skipped: mosquitto is not installed (apt-get install mosquitto)\n");
        skip();
    }
    world_loop(&r->w, NULL);
    for (int i = 0; i < 5; i++)
        if (start_broker(r))
            return;
    fail_msg("mosquitto does not start");
}

static void real_destroy(struct real *r)
{
    world_destroy(&r->w);
    kill(r->pid, SIGTERM);
    assert_int_equal(waitpid(r->pid, NULL, 0), r->pid);
    unlink(r->conf);
}

static void open_client(struct real *r, struct client *cl)
{
    struct error err;
    unsigned before = cl->online;
    assert_int_equal(OPS->conn_open(cl->conn, &err), 0);
    WAIT(&r->w, cl->online == before + 1);
}

static void every_qos_round_trip(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    struct client sub;
    real_create(&r);
    r.w.target = make_target(&r.w, "{\"inflight\":10,\"queue\":{\"max\":1000}}");
    client_create(&r.w, &r.w.client, "pub");
    client_create(&r.w, &sub, "sub");
    open_client(&r, &r.w.client);
    open_client(&r, &sub);
    for (int qos = 0; qos < 3; qos++) {
        char filter[16];
        snprintf(filter, sizeof filter, "rt/%d/+", qos);
        assert_int_equal(OPS->subscribe(sub.conn, filter, qos, (uint32_t)qos + 1, &err), 0);
    }
    WAIT(&r.w, sub.n_done == 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sub.done[i].qos, i);
    for (unsigned i = 0; i < 150; i++) {
        char topic[32], text[32];
        snprintf(topic, sizeof topic, "rt/%u/x", i % 3);
        snprintf(text, sizeof text, "%u", i);
        assert_int_equal(client_publish(&r.w.client, topic, text, (uint8_t)(i % 3), i + 1, &err), 0);
    }
    WAIT(&r.w, r.w.client.n_done == 100 && sub.n_messages == 150);
    WAIT(&r.w, OPS->pending(sub.conn) == 0);
    unsigned next[3] = {0, 1, 2};
    for (unsigned i = 0; i < 150; i++) { // in order within each QoS
        char text[32];
        int qos = sub.messages[i].qos;
        snprintf(text, sizeof text, "%u", next[qos]);
        assert_string_equal(sub.messages[i].payload, text);
        next[qos] += 3;
    }
    assert_int_equal(OPS->unsubscribe(sub.conn, "rt/0/+", 9, &err), 0);
    WAIT(&r.w, sub.n_done == 4);
    assert_int_equal(client_publish(&r.w.client, "rt/0/x", "unheard", 0, 0, &err), 0);
    assert_int_equal(client_publish(&r.w.client, "rt/1/x", "heard", 1, 0, &err), 0);
    WAIT(&r.w, sub.n_messages == 151);
    assert_string_equal(sub.messages[150].payload, "heard");
    OPS->conn_delete(sub.conn);
    real_destroy(&r);
}

static void a_persistent_session_keeps_messages(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    struct client pub;
    real_create(&r);
    r.w.target = make_target(&r.w, "{\"cleanSession\":false}");
    client_create(&r.w, &r.w.client, "keeper");
    client_create(&r.w, &pub, "pub");
    open_client(&r, &r.w.client);
    open_client(&r, &pub);
    assert_false(r.w.client.session_present);
    assert_int_equal(OPS->subscribe(r.w.client.conn, "p/#", 2, 1, &err), 0);
    WAIT(&r.w, r.w.client.n_done == 1);
    OPS->conn_close(r.w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&r.w, r.w.client.offline == 1);
    assert_int_equal(client_publish(&pub, "p/1", "one", 1, 1, &err), 0);
    assert_int_equal(client_publish(&pub, "p/2", "two", 2, 2, &err), 0);
    WAIT(&r.w, pub.n_done == 2);
    open_client(&r, &r.w.client);
    assert_true(r.w.client.session_present);
    WAIT(&r.w, r.w.client.n_messages == 2);
    assert_string_equal(r.w.client.messages[1].payload, "two");
    assert_int_equal(r.w.client.messages[1].qos, 2);
    OPS->conn_delete(pub.conn);
    real_destroy(&r);
}

static void retained_and_will(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    struct client watcher;
    real_create(&r);
    r.w.target = make_target(&r.w, "{\"willQos\":1,\"willRetain\":true}");
    client_create(&r.w, &r.w.client, "mortal");
    client_create(&r.w, &watcher, "watcher");
    r.w.client.will_topic = "state/mortal";
    r.w.client.will_payload = "gone";
    open_client(&r, &r.w.client);
    struct adapter_message m = {.topic = "state/mortal",
                                .topic_len = 12,
                                .payload = (const uint8_t *)"here",
                                .payload_len = 4,
                                .qos = 1,
                                .retain = true};
    assert_int_equal(OPS->publish(r.w.client.conn, &m, 1, &err), 0);
    WAIT(&r.w, r.w.client.n_done == 1);
    open_client(&r, &watcher);
    assert_int_equal(OPS->subscribe(watcher.conn, "state/+", 1, 1, &err), 0);
    WAIT(&r.w, watcher.n_messages == 1);
    assert_string_equal(watcher.messages[0].payload, "here");
    assert_true(watcher.messages[0].retain);
    OPS->conn_close(r.w.client.conn, ADAPTER_GRACEFUL); // DISCONNECT: no will
    WAIT(&r.w, r.w.client.offline == 1);
    open_client(&r, &r.w.client);
    assert_int_equal(watcher.n_messages, 1);
    OPS->conn_close(r.w.client.conn, ADAPTER_ABRUPT);
    WAIT(&r.w, watcher.n_messages == 2);
    assert_string_equal(watcher.messages[1].payload, "gone");
    OPS->conn_delete(watcher.conn);
    real_destroy(&r);
}

static void reconnects_to_a_broker_that_restarts(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    real_create(&r);
    r.w.target = make_target(&r.w, "{\"reconnect\":{\"initial\":\"5ms\",\"max\":\"50ms\"}}");
    client_create(&r.w, &r.w.client, "phoenix");
    open_client(&r, &r.w.client);
    assert_int_equal(OPS->subscribe(r.w.client.conn, "me", 1, 1, &err), 0);
    WAIT(&r.w, r.w.client.n_done == 1);
    kill(r.pid, SIGKILL);
    assert_int_equal(waitpid(r.pid, NULL, 0), r.pid);
    WAIT(&r.w, r.w.client.offline >= 1);
    assert_int_equal(client_publish(&r.w.client, "me", "to myself", 2, 2, &err), 0); // waits
    pid_t parent = getpid();
    r.pid = fork();
    if (r.pid == 0)
        exec_broker(&r, parent);
    // Subscribed anew before the queue is sent, so the message comes back.
    WAIT(&r.w, r.w.client.n_done == 2 && r.w.client.n_messages == 1);
    assert_string_equal(r.w.client.messages[0].payload, "to myself");
    real_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_qos_round_trip),
        cmocka_unit_test(a_persistent_session_keeps_messages),
        cmocka_unit_test(retained_and_will),
        cmocka_unit_test(reconnects_to_a_broker_that_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
