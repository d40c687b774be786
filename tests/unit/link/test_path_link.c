// Links over a path, against plain sockets in the same process and in virtual time: how connections come about, what
// is held, and every way in which they end.
#include "path_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "link/datagram.h"

struct net {
    struct world w;
    struct link_env *links;
    struct path *path;
    int listener, server; // the other end of the connection
    struct link_addr addr;
    struct link link;
    unsigned opened, closed, drained;
    struct error why;
    int64_t opened_us, closed_us, read_us;
    uint8_t *in; // what the device got
    size_t n;
    uint8_t *got; // what the server got
    size_t n_got;
    int server_end; // 0: open, 1: FIN, else errno
};

static struct net *net_of(struct link *link)
{
    return container_of(link, struct net, link);
}

static void on_open(struct link *link)
{
    struct net *t = net_of(link);
    t->opened++;
    t->opened_us = world_now(&t->w);
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct net *t = net_of(link);
    t->in = realloc(t->in, t->n + n);
    memcpy(t->in + t->n, bytes, n);
    t->n += n;
    t->read_us = world_now(&t->w);
}

static void on_drain(struct link *link)
{
    net_of(link)->drained++;
}

static void on_close(struct link *link, const struct error *why)
{
    struct net *t = net_of(link);
    t->closed++;
    t->why = *why;
    t->closed_us = world_now(&t->w);
    assert_int_equal(link->state, LINK_CLOSED);
}

static const struct link_events events = {on_open, on_data, on_drain, on_close};
static const struct path_peer plain = {.protocol = "mqtt"};

static void net_create(struct net *t, const char *fault)
{
    struct link_env_config config = {.max_out_bytes = 200000};
    memset(t, 0, sizeof *t);
    world_create(&t->w);
    t->links = link_env_new(t->w.loop, &config, NULL);
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in *in = (struct sockaddr_in *)&t->addr.addr;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    t->addr.len = sizeof *in;
    assert_int_equal(bind(t->listener, (struct sockaddr *)in, sizeof *in), 0);
    assert_int_equal(listen(t->listener, 512), 0);
    assert_int_equal(getsockname(t->listener, (struct sockaddr *)in, &t->addr.len), 0);
    link_create(&t->link, t->links, &events);
    t->server = -1;
    t->path = path_new(t->w.env, 77, NULL);
    if (fault)
        apply(t->path, 1, fault);
}

// Accepts and reads at the server's end.
static void serve(struct net *t)
{
    uint8_t bytes[65536];
    if (t->server < 0) {
        t->server = accept4(t->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        t->server_end = 0;
    }
    while (t->server >= 0 && !t->server_end) {
        ssize_t n = read(t->server, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            t->server_end = n == 0 ? 1 : errno;
            return;
        }
        t->got = realloc(t->got, t->n_got + (size_t)n);
        memcpy(t->got + t->n_got, bytes, (size_t)n);
        t->n_got += (size_t)n;
    }
}

static void net_run(struct net *t, int64_t us)
{
    int64_t until = world_now(&t->w) + us;
    do {
        int64_t left = until - world_now(&t->w);
        loop_turn(t->w.loop, left > 10 * MS ? 10 * MS : left);
        serve(t);
    } while (world_now(&t->w) < until);
}

#define NET_WAIT(t, cond, us)                                                                                          \
    do {                                                                                                               \
        int64_t end_ = world_now(&(t)->w) + (us);                                                                      \
        while (!(cond) && world_now(&(t)->w) < end_)                                                                   \
            net_run(t, 10 * MS);                                                                                       \
        assert_true(cond);                                                                                             \
    } while (0)

// Time stands still.
static void net_settle(struct net *t)
{
    for (int i = 0; i < 20; i++) {
        loop_turn(t->w.loop, 0);
        serve(t);
    }
}

static void net_attach(struct net *t, const struct path_peer *peer)
{
    assert_int_equal(path_attach_link(t->path, &t->link, peer, NULL), 0);
}

static void net_open(struct net *t)
{
    assert_int_equal(link_open(&t->link, &t->addr, NULL, NULL), 0);
    NET_WAIT(t, t->opened == 1 && t->server >= 0, 200 * SECOND);
}

static void server_close(struct net *t, bool reset)
{
    struct linger rst = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(t->server, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    close(t->server);
    t->server = -1;
}

static void net_destroy(struct net *t)
{
    link_close(&t->link, LINK_ABORT);
    loop_turn(t->w.loop, 0);
    path_release(t->path);
    if (t->server >= 0)
        close(t->server);
    close(t->listener);
    path_env_delete(t->w.env); // orphans too
    struct link_totals totals;
    link_env_totals(t->links, &totals);
    assert_int_equal(totals.open, 0);
    link_env_delete(t->links);
    loop_delete(t->w.loop);
    free(t->in);
    free(t->got);
}

static bool has_path(const struct net *t)
{
    return t->link.top != NULL;
}

// --- connecting

static void a_connect_takes_a_round_trip(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'rtt': '400ms'}");
    net_attach(&t, &plain);
    net_attach(&t, &plain); // once is enough
    int64_t from_us = world_now(&t.w);
    net_open(&t);
    assert_true(t.opened_us - from_us >= 400 * MS && t.opened_us - from_us <= 415 * MS);
    assert_int_equal(link_send(&t.link, "hello", 5, NULL), 0);
    assert_int_equal(link_unsent(&t.link), 5);
    net_run(&t, 190 * MS);
    assert_int_equal(t.n_got, 0);
    net_run(&t, 30 * MS);
    assert_int_equal(t.n_got, 5);
    assert_int_equal(link_unsent(&t.link), 0);
    from_us = world_now(&t.w);
    assert_int_equal(write(t.server, "there", 5), 5);
    NET_WAIT(&t, t.n == 5, SECOND);
    assert_true(t.read_us - from_us >= 200 * MS && t.read_us - from_us <= 215 * MS);
    net_destroy(&t);
}

static void failed_connects(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *host;
        enum error_code code;
        int64_t us;
    } cases[] = {
        {"{'connect': {'refuse': 1}, 'rtt': '100ms'}", NULL, ERR_REFUSED, 100 * MS},
        {"{'partition': true}", NULL, ERR_TIMEOUT, 127 * SECOND},
        {"{'connect': {'timeout': 1}}", NULL, ERR_TIMEOUT, 127 * SECOND},
        {"{'dns': {'fail': 1, 'delay': '700ms'}}", "broker.example", ERR_RESOLVE, 700 * MS},
        {"{'partition': {'protocols': ['dns']}}", "broker.example", ERR_RESOLVE, 10 * SECOND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net t;
        struct path_peer peer = {.protocol = "mqtt", .host = cases[i].host};
        net_create(&t, cases[i].fault);
        net_attach(&t, &peer);
        int64_t from_us = world_now(&t.w);
        assert_int_equal(link_open(&t.link, &t.addr, NULL, NULL), 0);
        assert_int_equal(t.link.state, LINK_CONNECTING);
        assert_int_equal(link_open(&t.link, &t.addr, NULL, NULL), -1);
        assert_int_equal(link_send(&t.link, "x", 1, NULL), -1);
        assert_int_equal(t.closed, 0);
        NET_WAIT(&t, t.closed == 1, 200 * SECOND);
        assert_int_equal(t.why.code, cases[i].code);
        assert_int_equal(t.opened, 0);
        assert_true(t.closed_us - from_us >= cases[i].us && t.closed_us - from_us <= cases[i].us + 20 * MS);
        assert_int_equal(t.server, -1); // the server never heard of it
        // Without the fault it comes about.
        assert_true(path_remove(t.path, 1));
        net_attach(&t, &peer);
        net_open(&t);
        net_destroy(&t);
    }
    // Closed while it waits; and a real refusal, after the round trip.
    struct net t;
    net_create(&t, "{'rtt': '1s'}");
    net_attach(&t, &plain);
    assert_int_equal(link_open(&t.link, &t.addr, NULL, NULL), 0);
    net_run(&t, 500 * MS);
    link_close(&t.link, LINK_FLUSH);
    net_run(&t, 2 * SECOND);
    assert_int_equal(t.opened + t.closed, 0);
    net_attach(&t, &plain);
    close(t.listener);
    t.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(link_open(&t.link, &t.addr, NULL, NULL), 0);
    NET_WAIT(&t, t.closed == 1, 2 * SECOND);
    assert_int_equal(t.why.code, ERR_REFUSED);
    net_destroy(&t);
}

static void tls_is_refused_by_an_alert(void **state)
{
    (void)state;
    struct net t;
    struct path_peer peer = {.protocol = "mqtt", .tls = true};
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40};
    net_create(&t, "{'tls': {'fail': 1}, 'rtt': '100ms'}");
    net_attach(&t, &peer);
    net_open(&t);
    assert_int_equal(link_send(&t.link, "client hello", 12, NULL), 0);
    assert_int_equal(link_send(&t.link, "more", 4, NULL), 0);
    NET_WAIT(&t, t.n, SECOND);
    assert_int_equal(t.n, sizeof alert);
    assert_memory_equal(t.in, alert, sizeof alert);
    assert_int_equal(t.n_got, 0);
    link_close(&t.link, LINK_FLUSH);
    NET_WAIT(&t, t.server_end == 1, SECOND);
    net_destroy(&t);
}

// --- what is held

static void held_bytes_count_as_unsent(void **state)
{
    (void)state;
    struct net t;
    struct error err;
    static uint8_t bytes[10000];
    net_create(&t, NULL);
    net_open(&t);
    net_attach(&t, &plain); // on an open link
    apply(t.path, 1, "{'partition': true}");
    size_t sent = 0;
    while (link_send(&t.link, bytes, sizeof bytes, &err) == 0) {
        sent += sizeof bytes;
        net_run(&t, MS);
        assert_true(sent < 1000000);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(sent, 200000);
    assert_int_equal(link_unsent(&t.link), 200000);
    assert_true(link_footprint(&t.link) >= 200000);
    assert_int_equal(t.n_got, 0);
    assert_true(path_remove(t.path, 1));
    assert_int_equal(t.drained, 0);
    NET_WAIT(&t, t.n_got == sent, 100 * SECOND);
    assert_true(t.drained >= 1); // the owner hears that there is room
    net_run(&t, 100 * MS);
    assert_false(has_path(&t)); // it has taken itself off
    assert_int_equal(link_footprint(&t.link), 0);
    net_destroy(&t);
}

static void the_server_feels_a_closed_window(void **state)
{
    (void)state;
    struct net t;
    static uint8_t bytes[65536];
    int small = 65536;
    net_create(&t, "{'partition': {'direction': 'down'}, 'during': {'on': '50s', 'every': '1h'}}");
    net_attach(&t, &plain);
    change(t.path, 1, "{'latency': '10ms'}");
    net_open(&t);
    change(t.path, 1, "{'partition': {'direction': 'down'}}");
    setsockopt(t.server, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    size_t written = 0;
    for (int idle = 0; idle < 50; idle++) {
        ssize_t n = write(t.server, bytes, sizeof bytes);
        if (n > 0) {
            written += (size_t)n;
            idle = 0;
        }
        net_run(&t, 10 * MS);
        assert_true(written < 64u << 20);
    }
    struct path_totals totals = world_totals(&t.w);
    printf("# partition down: the server could write %zu bytes, %llu of them held by the path\n", written,
           (unsigned long long)totals.held_bytes);
    assert_true(totals.held_bytes >= 256 * 1024 && totals.held_bytes <= 320 * 1024);
    assert_int_equal(t.n, 0);
    // The device can still send, and it arrives.
    assert_int_equal(link_send(&t.link, "up", 2, NULL), 0);
    net_run(&t, 100 * MS);
    assert_int_equal(t.n_got, 2);
    assert_true(path_remove(t.path, 1));
    NET_WAIT(&t, t.n == written, 200 * SECOND);
    net_destroy(&t);
}

static void a_paused_link_gets_nothing(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '100ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    assert_int_equal(write(t.server, "one", 3), 3);
    net_run(&t, 50 * MS);
    link_pause(&t.link, true);
    net_run(&t, 5 * SECOND);
    assert_int_equal(t.n, 0);
    assert_int_equal(link_send(&t.link, "two", 3, NULL), 0);
    net_run(&t, 5 * SECOND);
    assert_int_equal(t.n_got, 0);
    link_pause(&t.link, false);
    net_run(&t, 500 * MS);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_got, 3);
    // An owner that has enough gets no more, and may send.
    assert_int_equal(write(t.server, "one", 3), 3);
    net_run(&t, 50 * MS);
    link_hold(&t.link, true);
    assert_int_equal(link_send(&t.link, "two", 3, NULL), 0);
    net_run(&t, 5 * SECOND);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_got, 6);
    link_hold(&t.link, false);
    net_run(&t, 500 * MS);
    assert_int_equal(t.n, 6);
    net_destroy(&t);
}

// --- ends

static void fin_comes_behind_the_bytes(void **state)
{
    (void)state;
    struct net t;
    static uint8_t bytes[50000];
    net_create(&t, "{'latency': '500ms', 'down': {'loss': '20%', 'latency': '500ms'}}");
    net_attach(&t, &plain);
    net_open(&t);
    // The server's end.
    int64_t from_us = world_now(&t.w);
    assert_int_equal(write(t.server, bytes, sizeof bytes), sizeof bytes);
    server_close(&t, false);
    net_run(&t, 100 * MS);
    assert_int_equal(t.link.state, LINK_OPEN); // it has not heard of it yet
    NET_WAIT(&t, t.closed == 1, 200 * SECOND);
    assert_int_equal(t.n, sizeof bytes);
    assert_int_equal(t.why.code, ERR_CLOSED);
    assert_true(t.closed_us - from_us >= 500 * MS);
    net_destroy(&t);

    // The device's: what it said last comes, then FIN, though its link is gone at once.
    net_create(&t, "{'latency': '500ms', 'up': {'loss': '20%', 'latency': '500ms'}}");
    net_attach(&t, &plain);
    net_open(&t);
    for (int i = 0; i < 5; i++)
        assert_int_equal(link_send(&t.link, bytes, 10000, NULL), 0);
    link_close(&t.link, LINK_FLUSH);
    assert_int_equal(t.link.state, LINK_CLOSED);
    memset(&t.link, 0xee, sizeof t.link);
    link_create(&t.link, t.links, &events);
    net_run(&t, 400 * MS);
    assert_int_equal(t.n_got, 0);
    assert_int_equal(t.server_end, 0);
    assert_int_equal(write(t.server, "late", 4), 4); // must not turn FIN into RST
    NET_WAIT(&t, t.server_end, 300 * SECOND);
    assert_int_equal(t.server_end, 1);
    assert_int_equal(t.n_got, 50000);
    assert_int_equal(t.closed, 0);
    net_destroy(&t);
}

static void a_slow_close(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'slowClose': '3s'}");
    net_attach(&t, &plain);
    net_open(&t);
    int64_t from_us = world_now(&t.w);
    assert_int_equal(write(t.server, "x", 1), 1);
    server_close(&t, false);
    NET_WAIT(&t, t.closed == 1, 10 * SECOND);
    assert_int_equal(t.n, 1);
    assert_true(t.closed_us - from_us >= 3 * SECOND && t.closed_us - from_us < 3100 * MS);
    net_attach(&t, &plain);
    t.opened = 0;
    net_open(&t);
    from_us = world_now(&t.w);
    assert_int_equal(link_send(&t.link, "bye", 3, NULL), 0);
    link_close(&t.link, LINK_FLUSH);
    net_run(&t, 500 * MS);
    assert_int_equal(t.n_got, 3);
    NET_WAIT(&t, t.server_end == 1, 10 * SECOND);
    assert_true(world_now(&t.w) - from_us >= 3 * SECOND);
    net_destroy(&t);
}

static void an_abort_is_heard_when_it_has_come_through(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '500ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    link_close(&t.link, LINK_ABORT);
    net_run(&t, 400 * MS);
    assert_int_equal(t.server_end, 0);
    NET_WAIT(&t, t.server_end == ECONNRESET, SECOND);
    net_destroy(&t);

    // In a partition it never is, until the server says something afterwards.
    net_create(&t, "{'latency': '10ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    apply(t.path, 2, "{'partition': true}");
    link_close(&t.link, LINK_ABORT);
    net_run(&t, 300 * SECOND);
    assert_int_equal(t.server_end, 0);
    assert_int_equal(write(t.server, "ping", 4), 4);
    net_run(&t, 5 * SECOND);
    assert_int_equal(t.server_end, 0);
    assert_true(path_remove(t.path, 2));
    net_run(&t, 300 * SECOND);
    assert_int_equal(t.server_end, 0); // nobody resends RST
    assert_int_equal(write(t.server, "ping", 4), 4);
    NET_WAIT(&t, t.server_end == ECONNRESET, SECOND);
    net_destroy(&t);
}

static void half_open_connections(void **state)
{
    (void)state;
    struct net t;
    struct error err;
    for (int reset = 0; reset < 2; reset++) {
        net_create(&t, "{'halfOpen': true}");
        net_attach(&t, &plain);
        net_open(&t);
        server_close(&t, reset);
        net_run(&t, 60 * SECOND);
        assert_int_equal(t.link.state, LINK_OPEN);
        assert_int_equal(link_send(&t.link, "anybody?", 8, &err), 0);
        net_run(&t, 60 * SECOND);
        assert_int_equal(t.closed, 0);
        assert_int_equal(link_unsent(&t.link), 8); // no answer
        if (reset) {                               // TCP gives up after a quarter of an hour
            NET_WAIT(&t, t.closed == 1, 1200 * SECOND);
            assert_int_equal(t.why.code, ERR_TIMEOUT);
        } else { // healed, the retransmission meets a server that knows nothing
            assert_true(path_remove(t.path, 1));
            NET_WAIT(&t, t.closed == 1, 300 * SECOND);
            assert_int_equal(t.why.code, ERR_CLOSED);
        }
        net_destroy(&t);
    }
    // The other way: the server does not hear.
    net_create(&t, "{'halfOpen': true}");
    net_attach(&t, &plain);
    net_open(&t);
    assert_int_equal(link_send(&t.link, "x", 1, NULL), 0);
    net_run(&t, SECOND);
    link_close(&t.link, LINK_FLUSH);
    net_run(&t, 60 * SECOND);
    assert_int_equal(t.n_got, 1);
    assert_int_equal(t.server_end, 0);
    net_destroy(&t);
}

static void a_reset_of_the_server_comes_through(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '500ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    int64_t from_us = world_now(&t.w);
    server_close(&t, true);
    net_run(&t, 400 * MS);
    assert_int_equal(t.closed, 0);
    NET_WAIT(&t, t.closed == 1, SECOND);
    assert_true(t.closed_us - from_us >= 500 * MS);
    assert_int_equal(t.why.code, ERR_CLOSED);
    net_destroy(&t);
}

static void a_fault_resets_both_ends(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '500ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    assert_int_equal(link_send(&t.link, "lost", 4, NULL), 0);
    assert_int_equal(path_reset(t.path), 1);
    assert_int_equal(t.closed, 0);
    net_settle(&t);
    assert_int_equal(t.closed, 1);
    assert_int_equal(t.why.code, ERR_CLOSED);
    assert_int_equal(t.server_end, ECONNRESET);
    assert_int_equal(t.n_got, 0);
    assert_int_equal(world_totals(&t.w).held_bytes, 0);
    net_destroy(&t);
}

// link_dead_after asks for an answer in time of what lies on the path, too.
static void a_dead_peer_is_found_in_time(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '50ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    link_dead_after(&t.link, 20 * SECOND);
    apply(t.path, 2, "{'partition': true}");
    int64_t from_us = world_now(&t.w);
    assert_int_equal(link_send(&t.link, "ping", 4, NULL), 0);
    NET_WAIT(&t, t.closed == 1, 60 * SECOND);
    assert_int_equal(t.why.code, ERR_TIMEOUT);
    printf("# peer dead after 20 s: found after %.1f s\n", (double)(t.closed_us - from_us) / 1e6);
    assert_true(t.closed_us - from_us >= 20 * SECOND && t.closed_us - from_us < 21 * SECOND);
    net_destroy(&t);
}

static void orphans_are_bounded_and_go_with_the_env(void **state)
{
    (void)state;
    struct net t;
    net_create(&t, "{'latency': '60s'}");
    static int servers[1100];
    for (int i = 0; i < 1100; i++) {
        change(t.path, 1, "{'latency': 0.001}");
        net_attach(&t, &plain);
        t.opened = 0;
        net_open(&t);
        change(t.path, 1, "{'latency': '60s'}");
        assert_int_equal(link_send(&t.link, "x", 1, NULL), 0);
        link_close(&t.link, LINK_FLUSH);
        net_settle(&t); // it goes onto the path before the latency changes
        servers[i] = t.server;
        t.server = -1;
    }
    loop_turn(t.w.loop, 0);
    struct link_totals totals;
    link_env_totals(t.links, &totals);
    assert_int_equal(totals.open, 1024);
    for (int i = 0; i < 1100; i++)
        close(servers[i]);
    net_destroy(&t);
}

// What the last path had under way goes on in the next: there is never one model above another, and a close of the
// link leaves nothing behind.
static void a_new_path_takes_over(void **state)
{
    (void)state;
    struct net t;
    static uint8_t bytes[30000];
    net_create(&t, "{'latency': '500ms'}");
    net_attach(&t, &plain);
    net_open(&t);
    assert_int_equal(link_send(&t.link, bytes, sizeof bytes, NULL), 0);
    net_run(&t, 10 * MS);
    assert_true(path_remove(t.path, 1));
    path_release(t.path);
    t.path = path_new(t.w.env, 3, NULL);
    apply(t.path, 2, "{'latency': '100ms'}");
    net_attach(&t, &plain);
    assert_null(t.link.top->below);
    assert_int_equal(world_totals(&t.w).paths, 1);
    assert_int_equal(link_send(&t.link, bytes, 100, NULL), 0);
    link_close(&t.link, LINK_FLUSH);
    NET_WAIT(&t, t.server_end, 60 * SECOND);
    assert_int_equal(t.server_end, 1);
    assert_int_equal(t.n_got, 30100);
    net_destroy(&t);
}

// --- datagram sockets

struct udp {
    struct datagram d;
    unsigned n;
    struct world *w;
};

static void on_datagram(struct datagram *d, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    struct udp *u = container_of(d, struct udp, d);
    assert_int_equal(n, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(from->addr.ss_family, AF_INET);
    u->n++;
}

static void on_error(struct datagram *d, const struct error *why)
{
    (void)d, (void)why;
}

static const struct datagram_events udp_events = {on_datagram, on_error};

static void datagram_sockets(void **state)
{
    (void)state;
    struct world w;
    struct udp a = {.w = &w}, b = {.w = &w};
    world_create(&w);
    struct datagram_env *env = datagram_env_new(w.loop, NULL, NULL);
    struct link_addr any = {.len = sizeof(struct sockaddr_in)}, at_a, at_b;
    struct sockaddr_in *in = (struct sockaddr_in *)&any.addr;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    datagram_create(&a.d, env, &udp_events);
    datagram_create(&b.d, env, &udp_events);
    assert_int_equal(datagram_open(&a.d, &any, NULL, NULL), 0); // any receiver
    assert_int_equal(datagram_local(&a.d, &at_a, NULL), 0);
    assert_int_equal(datagram_open(&b.d, &any, &at_a, NULL), 0); // connected
    assert_int_equal(datagram_local(&b.d, &at_b, NULL), 0);
    struct path *p = path_new(w.env, 1, NULL);
    apply(p, 1, "{'latency': '100ms', 'duplicate': 1}");
    struct path_peer peer = {.protocol = "coap", .addr = at_b};
    assert_int_equal(path_attach_datagram(p, &a.d, &peer, NULL), 0);
    assert_int_equal(path_attach_datagram(p, &a.d, &peer, NULL), 0);
    assert_int_equal(datagram_send(&a.d, "hello", 5, &at_b, NULL), 0);
    world_run(&w, 90 * MS);
    assert_int_equal(b.n, 0);
    world_run(&w, 20 * MS);
    assert_int_equal(b.n, 2);
    assert_int_equal(datagram_send(&b.d, "hello", 5, NULL, NULL), 0);
    loop_turn(w.loop, 0);
    world_run(&w, 150 * MS);
    world_run(&w, 150 * MS);
    assert_int_equal(a.n, 2);
    // Removed while datagrams are under way; they come, then the filter goes.
    assert_int_equal(datagram_send(&a.d, "hello", 5, &at_b, NULL), 0);
    assert_true(path_remove(p, 1));
    world_run(&w, 50 * MS);
    assert_non_null(a.d.top);
    world_run(&w, 60 * MS);
    assert_int_equal(b.n, 4);
    assert_null(a.d.top);
    // Closed with datagrams under way.
    apply(p, 2, "{'latency': '100ms'}");
    assert_int_equal(path_attach_datagram(p, &a.d, &peer, NULL), 0);
    assert_int_equal(datagram_send(&a.d, "hello", 5, &at_b, NULL), 0);
    datagram_close(&a.d, true);
    world_run(&w, SECOND);
    assert_int_equal(b.n, 4);
    datagram_close(&b.d, true);
    path_release(p);
    datagram_env_delete(env);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connect_takes_a_round_trip),
        cmocka_unit_test(failed_connects),
        cmocka_unit_test(tls_is_refused_by_an_alert),
        cmocka_unit_test(held_bytes_count_as_unsent),
        cmocka_unit_test(the_server_feels_a_closed_window),
        cmocka_unit_test(a_paused_link_gets_nothing),
        cmocka_unit_test(fin_comes_behind_the_bytes),
        cmocka_unit_test(a_slow_close),
        cmocka_unit_test(an_abort_is_heard_when_it_has_come_through),
        cmocka_unit_test(half_open_connections),
        cmocka_unit_test(a_reset_of_the_server_comes_through),
        cmocka_unit_test(a_fault_resets_both_ends),
        cmocka_unit_test(a_dead_peer_is_found_in_time),
        cmocka_unit_test(orphans_are_bounded_and_go_with_the_env),
        cmocka_unit_test(a_new_path_takes_over),
        cmocka_unit_test(datagram_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
