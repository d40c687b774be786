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
    const char *settings; // more of its configuration, of the listener first
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
    dprintf(fd, "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n%s%s", r->w.broker.port,
            r->settings ? r->settings : "", geteuid() == 0 ? "user root\n" : "");
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

static bool installed(void)
{
    const char *ci = getenv("CI");
    if (access(MOSQUITTO, X_OK) == 0)
        return true;
    if (ci && strcmp(ci, "true") == 0)
        fail_msg("%s is missing: apt-get install mosquitto", MOSQUITTO);
    print_message("skipped: mosquitto is not installed (apt-get install mosquitto)\n");
    return false;
}

static void real_create(struct real *r, const char *settings)
{
    memset(r, 0, sizeof *r);
    r->settings = settings;
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

// Tests whose *state is such a broker, and a target with these options.
struct broker_case {
    const char *settings, *options;
};

static int broker_up(void **state)
{
    const struct broker_case *k = *state;
    struct real *r = *state = installed() ? malloc(sizeof *r) : NULL;
    if (r) {
        real_create(r, k->settings);
        r->w.target = make_target(&r->w, k->options);
    }
    return 0;
}

static int broker_down(void **state)
{
    if (*state)
        real_destroy(*state);
    free(*state);
    return 0;
}

static struct real *broker(void **state)
{
    if (!*state)
        skip(); // which a setup must not
    return *state;
}

#define cmocka_unit_test_broker(f, settings, options)                                                                  \
    cmocka_unit_test_prestate_setup_teardown(f, broker_up, broker_down, (&(struct broker_case){settings, options}))

static void open_client(struct real *r, struct client *cl)
{
    struct error err;
    unsigned before = cl->online;
    assert_int_equal(OPS->conn_open(cl->conn, &err), 0);
    WAIT(&r->w, cl->online == before + 1);
}

static void client_open(struct real *r, struct client *cl, const char *id)
{
    client_create(&r->w, cl, id);
    open_client(r, cl);
}

static void every_qos_round_trip(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client sub;
    client_open(r, &r->w.client, "pub");
    client_open(r, &sub, "sub");
    for (int qos = 0; qos < 3; qos++) {
        char filter[16];
        snprintf(filter, sizeof filter, "rt/%d/+", qos);
        assert_int_equal(OPS->subscribe(sub.conn, filter, qos, (uint32_t)qos + 1, &err), 0);
    }
    WAIT(&r->w, sub.n_done == 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sub.done[i].qos, i);
    for (unsigned i = 0; i < 150; i++) {
        char topic[32], text[32];
        snprintf(topic, sizeof topic, "rt/%u/x", i % 3);
        snprintf(text, sizeof text, "%u", i);
        assert_int_equal(client_publish(&r->w.client, topic, text, (uint8_t)(i % 3), i + 1, &err), 0);
    }
    WAIT(&r->w, r->w.client.n_done == 100 && sub.n_messages == 150);
    WAIT(&r->w, OPS->pending(sub.conn) == 0);
    unsigned next[3] = {0, 1, 2};
    for (unsigned i = 0; i < 150; i++) { // in order within each QoS
        char text[32];
        int qos = sub.messages[i].qos;
        snprintf(text, sizeof text, "%u", next[qos]);
        assert_string_equal(sub.messages[i].payload, text);
        next[qos] += 3;
    }
    assert_int_equal(OPS->unsubscribe(sub.conn, "rt/0/+", 9, &err), 0);
    WAIT(&r->w, sub.n_done == 4);
    assert_int_equal(client_publish(&r->w.client, "rt/0/x", "unheard", 0, 0, &err), 0);
    assert_int_equal(client_publish(&r->w.client, "rt/1/x", "heard", 1, 0, &err), 0);
    WAIT(&r->w, sub.n_messages == 151);
    assert_string_equal(sub.messages[150].payload, "heard");
    OPS->conn_delete(sub.conn);
}

// One client subscribes and goes; the other may publish to it.
static void leave_a_session(struct real *r, struct client *pub)
{
    struct error err;
    client_open(r, &r->w.client, "keeper");
    client_open(r, pub, "pub");
    assert_false(r->w.client.session_present);
    assert_int_equal(OPS->subscribe(r->w.client.conn, "p/#", 2, 1, &err), 0);
    WAIT(&r->w, r->w.client.n_done == 1);
    OPS->conn_close(r->w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&r->w, r->w.client.offline == 1);
}

static void a_persistent_session_keeps_messages(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client pub;
    leave_a_session(r, &pub);
    assert_int_equal(client_publish(&pub, "p/1", "one", 1, 1, &err), 0);
    assert_int_equal(client_publish(&pub, "p/2", "two", 2, 2, &err), 0);
    WAIT(&r->w, pub.n_done == 2);
    open_client(r, &r->w.client);
    assert_true(r->w.client.session_present);
    WAIT(&r->w, r->w.client.n_messages == 2);
    assert_string_equal(r->w.client.messages[1].payload, "two");
    assert_int_equal(r->w.client.messages[1].qos, 2);
    OPS->conn_delete(pub.conn);
}

static void retained_and_will(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client watcher;
    client_create(&r->w, &r->w.client, "mortal");
    client_create(&r->w, &watcher, "watcher");
    r->w.client.will_topic = "state/mortal";
    r->w.client.will_payload = "gone";
    open_client(r, &r->w.client);
    struct adapter_message m = {.topic = "state/mortal",
                                .topic_len = 12,
                                .payload = (const uint8_t *)"here",
                                .payload_len = 4,
                                .qos = 1,
                                .retain = true};
    assert_int_equal(OPS->publish(r->w.client.conn, &m, 1, &err), 0);
    WAIT(&r->w, r->w.client.n_done == 1);
    open_client(r, &watcher);
    assert_int_equal(OPS->subscribe(watcher.conn, "state/+", 1, 1, &err), 0);
    WAIT(&r->w, watcher.n_messages == 1);
    assert_string_equal(watcher.messages[0].payload, "here");
    assert_true(watcher.messages[0].retain);
    OPS->conn_close(r->w.client.conn, ADAPTER_GRACEFUL); // DISCONNECT: no will
    WAIT(&r->w, r->w.client.offline == 1);
    open_client(r, &r->w.client);
    assert_int_equal(watcher.n_messages, 1);
    OPS->conn_close(r->w.client.conn, ADAPTER_ABRUPT);
    WAIT(&r->w, watcher.n_messages == 2);
    assert_string_equal(watcher.messages[1].payload, "gone");
    OPS->conn_delete(watcher.conn);
}

static void reconnects_to_a_broker_that_restarts(void **state)
{
    struct real *r = broker(state);
    struct error err;
    client_open(r, &r->w.client, "phoenix");
    assert_int_equal(OPS->subscribe(r->w.client.conn, "me", 1, 1, &err), 0);
    WAIT(&r->w, r->w.client.n_done == 1);
    kill(r->pid, SIGKILL);
    assert_int_equal(waitpid(r->pid, NULL, 0), r->pid);
    WAIT(&r->w, r->w.client.offline >= 1);
    assert_int_equal(client_publish(&r->w.client, "me", "to myself", 2, 2, &err), 0); // waits
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid == 0)
        exec_broker(r, parent);
    // Subscribed anew before the queue is sent, so the message comes back.
    WAIT(&r->w, r->w.client.n_done == 2 && r->w.client.n_messages == 1);
    assert_string_equal(r->w.client.messages[0].payload, "to myself");
}

// --- version 5

static const struct adapter_property user[] = {{"k", 1, "v", 1}};
static const struct adapter_meta meta = {.content_type = "text/plain",
                                         .content_type_len = 10,
                                         .response_topic = "answer/here",
                                         .response_topic_len = 11,
                                         .correlation = (const uint8_t *)"\0id",
                                         .correlation_len = 3,
                                         .user = user,
                                         .n_user = 1,
                                         .has_expiry = true,
                                         .expiry_s = 300,
                                         .payload_text = true};

static int publish_with(struct client *cl, const char *topic, const char *payload, uint8_t qos, bool retain,
                        const struct adapter_meta *with, uint32_t token)
{
    struct error err;
    const struct adapter_message m = {.topic = topic,
                                      .topic_len = strlen(topic),
                                      .payload = (const uint8_t *)payload,
                                      .payload_len = strlen(payload),
                                      .qos = qos,
                                      .retain = retain,
                                      .meta = with};
    return OPS->publish(cl->conn, &m, token, &err);
}

static void version_5_round_trip(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client sub;
    client_open(r, &r->w.client, "pub");
    client_open(r, &sub, "sub");
    for (uint32_t i = 0; i < 5; i++) { // more topics than aliases; identifiers tell which subscription it was
        char filter[16];
        snprintf(filter, sizeof filter, "five/%u", i);
        const struct adapter_subscription s = {.filter = filter, .qos = 2, .identifier = 1000 + i};
        assert_int_equal(OPS->subscribe_with(sub.conn, &s, i + 1, &err), 0);
    }
    WAIT(&r->w, sub.n_done == 5);
    for (unsigned i = 0; i < 150; i++) {
        char topic[32], text[32];
        snprintf(topic, sizeof topic, "five/%u", i % 7 % 5);
        snprintf(text, sizeof text, "%u", i);
        assert_int_equal(publish_with(&r->w.client, topic, text, (uint8_t)(i % 3), false, &meta, i + 1), 0);
    }
    WAIT(&r->w, r->w.client.n_done == 100 && sub.n_messages == 150);
    for (unsigned i = 0; i < 150; i++) {
        char topic[32];
        const struct record *m = &sub.messages[i];
        snprintf(topic, sizeof topic, "five/%u", (unsigned)strtoul(m->payload, NULL, 10) % 7 % 5);
        assert_string_equal(m->topic, topic);
    }
    for (unsigned i = 134; i < 150; i++) {
        const struct heard *h = &sub.heard[i % 16];
        assert_string_equal(h->content_type, "text/plain");
        assert_string_equal(h->response_topic, "answer/here");
        assert_int_equal(h->correlation_len, 3);
        assert_memory_equal(h->correlation, "\0id", 3);
        assert_string_equal(h->user, "k=v;");
        assert_in_range(h->expiry, 295, 300);
        assert_true(h->payload_text);
        assert_int_equal(h->n_ids, 1);
        assert_int_equal(h->ids[0], 1000 + (uint32_t)(sub.messages[i].topic[5] - '0'));
    }
    assert_int_equal(metric(&r->w, "publish_errors", NULL).hits, 0);
    assert_int_equal(metric(&r->w, "disconnects", NULL).count, 0);
    OPS->conn_delete(sub.conn);
}

static void a_session_lasts_as_long_as_it_should(void **state)
{
    struct real *r = broker(state);
    struct client pub;
    leave_a_session(r, &pub);
    assert_int_equal(publish_with(&pub, "p/1", "one", 1, false, &meta, 1), 0);
    WAIT(&r->w, pub.n_done == 1);
    open_client(r, &r->w.client);
    assert_true(r->w.client.session_present);
    WAIT(&r->w, r->w.client.n_messages == 1);
    assert_string_equal(r->w.client.heard[0].user, "k=v;");
    // Without an expiry the same client id finds nothing.
    OPS->conn_delete(r->w.client.conn);
    OPS->conn_delete(pub.conn);
    OPS->target_delete(r->w.target);
    r->w.target = make_target(&r->w, "{\"version\":5,\"cleanSession\":false,\"sessionExpiry\":0}");
    client_create(&r->w, &r->w.client, "keeper");
    for (unsigned i = 0; i < 2; i++) {
        open_client(r, &r->w.client);
        assert_int_equal(r->w.client.session_present, i == 0);
        OPS->conn_close(r->w.client.conn, ADAPTER_GRACEFUL);
        WAIT(&r->w, r->w.client.offline == i + 1);
    }
}

static void a_will_waits_and_is_withdrawn(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client watcher;
    client_create(&r->w, &r->w.client, "mortal");
    client_create(&r->w, &watcher, "watcher");
    r->w.client.will_topic = "state/mortal";
    r->w.client.will_payload = "gone";
    open_client(r, &r->w.client);
    open_client(r, &watcher);
    assert_int_equal(OPS->subscribe(watcher.conn, "state/+", 1, 1, &err), 0);
    WAIT(&r->w, watcher.n_done == 1);
    OPS->conn_close(r->w.client.conn, ADAPTER_ABRUPT);
    WAIT(&r->w, r->w.client.offline == 1);
    open_client(r, &r->w.client); // back before the delay has passed: no will
    int64_t began = loop_fresh_us(r->w.loop);
    OPS->conn_close(r->w.client.conn, ADAPTER_ABRUPT);
    WAIT(&r->w, watcher.n_messages == 1);
    assert_true(loop_fresh_us(r->w.loop) - began > 500000);
    assert_string_equal(watcher.messages[0].payload, "gone");
    assert_string_equal(watcher.heard[0].content_type, "obituary");
    assert_string_equal(watcher.heard[0].user, "k=v;");
    SETTLE(&r->w);
    assert_int_equal(watcher.n_messages, 1);
    OPS->conn_delete(watcher.conn);
}

static void retained_messages_and_own_ones(void **state)
{
    struct real *r = broker(state);
    struct error err;
    client_open(r, &r->w.client, "one");
    assert_int_equal(publish_with(&r->w.client, "keep", "kept", 1, true, &meta, 1), 0);
    WAIT(&r->w, r->w.client.n_done == 1);
    const struct adapter_subscription never = {.filter = "keep", .qos = 1, .retain_handling = 2, .no_local = true};
    const struct adapter_subscription fresh = {// another filter: 2.0.11 keeps no_local of the first
                                               .filter = "keep/#",
                                               .qos = 1,
                                               .retain_handling = 0,
                                               .retain_as_published = true};
    assert_int_equal(OPS->subscribe_with(r->w.client.conn, &never, 2, &err), 0);
    assert_int_equal(publish_with(&r->w.client, "keep", "mine", 1, false, NULL, 3), 0);
    WAIT(&r->w, r->w.client.n_done == 3);
    SETTLE(&r->w);
    assert_int_equal(r->w.client.n_messages, 0); // neither the kept one nor its own
    assert_int_equal(OPS->subscribe_with(r->w.client.conn, &fresh, 4, &err), 0);
    WAIT(&r->w, r->w.client.n_messages == 1);
    assert_string_equal(r->w.client.messages[0].payload, "kept");
    assert_true(r->w.client.messages[0].retain);
    assert_string_equal(r->w.client.heard[0].user, "k=v;");
    assert_int_equal(publish_with(&r->w.client, "keep", "again", 1, true, NULL, 5), 0);
    WAIT(&r->w, r->w.client.n_messages == 2);
    assert_true(r->w.client.messages[1].retain); // as published
}

static void requests_between_two_devices(void **state)
{
    struct real *r = broker(state);
    struct error err;
    struct client server;
    client_open(r, &r->w.client, "asks");
    client_open(r, &server, "answers");
    assert_int_equal(OPS->subscribe(server.conn, "service", 1, 1, &err), 0);
    WAIT(&r->w, server.n_done == 1);
    const struct adapter_request q = {.method = "PUBLISH",
                                      .path = "service",
                                      .path_len = 7,
                                      .payload = (const uint8_t *)"2+2",
                                      .payload_len = 3,
                                      .headers = user,
                                      .n_headers = 1};
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(OPS->request(r->w.client.conn, &q, i, &err), 0);
    WAIT(&r->w, server.n_messages == 3);
    for (unsigned i = 3; i-- > 0;) {
        const struct heard *h = &server.heard[i];
        assert_string_equal(h->response_topic, "iotix/responses/asks");
        const struct adapter_meta back = {.correlation = h->correlation, .correlation_len = h->correlation_len};
        assert_int_equal(publish_with(&server, h->response_topic, "4", 1, false, &back, 0), 0);
    }
    WAIT(&r->w, r->w.client.n_answers == 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(r->w.client.answers[i].token, 3 - i);
        assert_string_equal(r->w.client.answers[i].payload, "4");
    }
    const struct adapter_request nobody = {.method = "PUBLISH", .path = "void", .path_len = 4};
    assert_int_equal(OPS->request(r->w.client.conn, &nobody, 9, &err), 0);
    WAIT(&r->w, r->w.client.n_answers == 4); // the broker says that nobody listens
    assert_int_equal(r->w.client.answers[3].why.code, ERR_NOT_FOUND);
    OPS->conn_delete(server.conn);
}

static void a_group_shares_the_messages(void **state)
{
    struct real *r = broker(state);
    struct error err;
    static struct client members[4];
    client_open(r, &r->w.client, "pub");
    for (unsigned i = 0; i < 4; i++) {
        static const char *const names[] = {"m0", "m1", "m2", "m3"};
        client_create(&r->w, &members[i], names[i]);
        open_client(r, &members[i]);
        assert_int_equal(OPS->subscribe(members[i].conn, "$share/g/jobs/+", 1, 1, &err), 0);
        WAIT(&r->w, members[i].n_done == 1);
    }
    for (uint32_t i = 1; i <= 100; i++)
        assert_int_equal(publish_with(&r->w.client, "jobs/x", "x", 1, false, NULL, i), 0);
    WAIT(&r->w, members[0].n_messages + members[1].n_messages + members[2].n_messages + members[3].n_messages == 100);
    double sum = metric(&r->w, "share_messages", NULL).value,
           squared = metric(&r->w, "share_messages_squared", NULL).value;
    double expected = 0;
    for (unsigned i = 0; i < 4; i++)
        expected += (double)members[i].n_messages * members[i].n_messages;
    assert_int_equal((int)metric(&r->w, "share_members", NULL).value, 4);
    assert_true(sum == 100 && squared == expected);
    assert_true(sum * sum / (4 * squared) > 0.9); // mosquitto goes round
    for (unsigned i = 0; i < 4; i++)
        OPS->conn_delete(members[i].conn);
}

static void limits_of_a_real_broker(void **state)
{
    struct real *r = broker(state);
    struct error err;
    client_open(r, &r->w.client, "same");
    char big[300];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(client_publish(&r->w.client, "t", big, 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(client_publish(&r->w.client, "t", "x", 2, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_int_equal(publish_with(&r->w.client, "t", "x", 1, true, NULL, 1), -1);
    assert_int_equal(OPS->publish(r->w.client.conn, &(struct adapter_message){.topic = "t", .topic_len = 1}, 0, &err),
                     0);
    SETTLE(&r->w);
    assert_int_equal(r->w.client.offline, 0);
}

static void hears_itself(struct real *r)
{
    struct client *cl = &r->w.client;
    struct error err;
    assert_int_equal(OPS->subscribe(cl->conn, "w", 2, 1, &err), 0);
    for (uint32_t i = 2; i < 20; i++)
        assert_int_equal(client_publish(cl, "w", "x", 2, i, &err), 0);
    WAIT(&r->w, cl->n_done == 19 && cl->n_messages == 18);
}

static void over_websocket(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    char settings[80];
    uint16_t port = free_port();
    snprintf(settings, sizeof settings, "listener %u 127.0.0.1\nprotocol websockets\n", port);
    if (!installed())
        skip();
    real_create(&r, settings); // a second listener: with nothing else 2.0.11 says that it has none
    for (int version = 4; version <= 5; version++) {
        char url[64];
        json_t *options = json_pack("{s:i}", "version", version);
        snprintf(url, sizeof url, "ws://127.0.0.1:%u/mqtt", port);
        r.w.target = OPS->target_new(&r.w.env, url, options, "g", &err);
        json_decref(options);
        assert_non_null(r.w.target);
        client_open(&r, &r.w.client, "web");
        hears_itself(&r);
        if (version == 4) {
            OPS->conn_close(r.w.client.conn, ADAPTER_GRACEFUL);
            WAIT(&r.w, r.w.client.offline == 1);
            OPS->conn_delete(r.w.client.conn);
            OPS->target_delete(r.w.target);
        }
    }
    real_destroy(&r);
}

// A CA and a certificate of 127.0.0.1, made by openssl's own program. false: it is not there.
static bool make_certificates(char *dir)
{
    char line[1024];
    assert_non_null(mkdtemp(dir));
    int n =
        snprintf(line, sizeof line,
                 "cd %s && exec 2>/dev/null && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                 "-keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca && openssl req -newkey ec -pkeyopt "
                 "ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=broker && printf "
                 "'subjectAltName=IP:127.0.0.1' >ext && openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key "
                 "-CAcreateserial -days 2 -extfile ext -out cert.pem",
                 dir);
    assert_true(n > 0 && (size_t)n < sizeof line);
    return system(line) == 0;
}

static void over_tls(void **state)
{
    (void)state;
    struct real r;
    struct error err;
    char dir[] = "/tmp/iotix-tls-XXXXXX", settings[400], url[64], remove[64], ca[64];
    uint16_t port = free_port();
    assert_true(make_certificates(dir));
    snprintf(settings, sizeof settings, "listener %u 127.0.0.1\ncertfile %s/cert.pem\nkeyfile %s/key.pem\n", port, dir,
             dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(url, sizeof url, "mqtts://127.0.0.1:%u", port);
    if (!installed())
        skip();
    real_create(&r, settings);
    json_t *options =
        json_pack("{s:i, s:{s:s}, s:{s:s}}", "version", 5, "tls", "ca", ca, "reconnect", "initial", "1ms");
    r.w.target = OPS->target_new(&r.w.env, url, options, "g", &err);
    json_decref(options);
    if (!r.w.target)
        fail_msg("%s", err.text);
    client_open(&r, &r.w.client, "secret");
    assert_int_equal(metric(&r.w, "tls_full", NULL).count, 1);
    assert_int_equal(metric(&r.w, "tls_latency", NULL).count, 1);
    assert_int_equal(metric(&r.w, "tcp_latency", NULL).count, 1);
    assert_int_equal(metric(&r.w, "connack_latency", NULL).count, 1);
    hears_itself(&r);
    OPS->conn_close(r.w.client.conn, ADAPTER_GRACEFUL);
    WAIT(&r.w, r.w.client.offline == 1);
    open_client(&r, &r.w.client); // the same device: its session is resumed
    assert_int_equal(metric(&r.w, "tls_resumed", NULL).count, 1);
    OPS->conn_delete(r.w.client.conn);
    OPS->target_delete(r.w.target);
    // Without the CA the broker is a stranger.
    options = json_pack("{s:b}", "reconnect", 0);
    r.w.target = OPS->target_new(&r.w.env, url, options, "g", &err);
    json_decref(options);
    client_create(&r.w, &r.w.client, "secret");
    assert_int_equal(OPS->conn_open(r.w.client.conn, &err), 0);
    WAIT(&r.w, r.w.client.offline == 1);
    assert_int_equal(r.w.client.why.code, ERR_TLS);
    assert_int_equal(metric(&r.w, "connect_failures", "reason:tls").count, 1);
    real_destroy(&r);
    snprintf(remove, sizeof remove, "rm -rf %s", dir);
    assert_int_equal(system(remove), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_broker(every_qos_round_trip, NULL, "{\"inflight\":10,\"queue\":{\"max\":1000}}"),
        cmocka_unit_test_broker(a_persistent_session_keeps_messages, NULL, "{\"cleanSession\":false}"),
        cmocka_unit_test_broker(retained_and_will, NULL, "{\"willQos\":1,\"willRetain\":true}"),
        cmocka_unit_test_broker(reconnects_to_a_broker_that_restarts, NULL,
                                "{\"reconnect\":{\"initial\":\"5ms\",\"max\":\"50ms\"}}"),
        cmocka_unit_test_broker(version_5_round_trip, "max_topic_alias 3\n",
                                "{\"version\":5,\"topicAliases\":true,\"topicAliasMaximum\":10}"),
        cmocka_unit_test_broker(a_session_lasts_as_long_as_it_should, NULL,
                                "{\"version\":5,\"cleanSession\":false,\"sessionExpiry\":\"1h\"}"),
        cmocka_unit_test_broker(a_will_waits_and_is_withdrawn, NULL,
                                "{\"version\":5,\"sessionExpiry\":60,\"willDelay\":1,\"willContentType\":\"obituary\","
                                "\"willUserProperties\":{\"k\":\"v\"},\"willQos\":1}"),
        cmocka_unit_test_broker(retained_messages_and_own_ones, NULL, "{\"version\":5}"),
        cmocka_unit_test_broker(requests_between_two_devices, NULL, "{\"version\":5}"),
        cmocka_unit_test_broker(a_group_shares_the_messages, NULL, "{\"version\":5,\"inflight\":100}"),
        cmocka_unit_test_broker(limits_of_a_real_broker, "max_packet_size 200\nmax_qos 1\nretain_available false\n",
                                "{\"version\":5,\"reconnect\":false}"),
        cmocka_unit_test(over_websocket),
        cmocka_unit_test(over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
