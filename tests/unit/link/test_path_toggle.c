// Whatever is toggled, at whatever moment: no byte of a stream is lost or comes out of order, and nothing that ends in
// the middle of something leaves anything behind. IOTIX_TOGGLE_SECONDS: how long the random toggler goes on (default:
// 20,000 changes).
#include "path_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const faults[] = {
    "{'latency': '40ms'}",
    "{'latency': {'value': '60ms', 'jitter': '30ms', 'correlation': 0.3}}",
    "{'latency': {'value': '20ms', 'jitter': '20ms', 'distribution': 'pareto'}, 'loss': '2%'}",
    "{'loss': '5%'}",
    "{'loss': {'burst': {'p': 0.02, 'r': 0.3}}}",
    "{'up': {'loss': '10%'}, 'down': {'latency': '100ms'}}",
    "{'bandwidth': '2mbit'}",
    "{'bandwidth': {'rate': '1mbit', 'full': 'drop', 'queue': 20000}}",
    "{'bandwidth': {'rate': '4mbit', 'queueTime': '50ms', 'burst': 5000}, 'latency': '10ms'}",
    "{'bandwidth': {'sine': {'mean': '3mbit', 'amplitude': '2mbit', 'period': '2s'}}}",
    "{'mtu': 200}",
    "{'mtu': 576, 'corrupt': '1%'}",
    "{'partition': true, 'during': {'on': '100ms', 'every': '700ms'}}",
    "{'partition': {'direction': 'down'}, 'during': {'on': '50ms', 'every': '400ms'}}",
    "{'partition': {'direction': 'up'}, 'during': {'on': '50ms', 'every': '300ms', 'offset': '100ms'}}",
    "{'latency': {'ramp': {'from': 0, 'to': '200ms', 'over': '1s'}}}",
    "{'trace': {'rows': [[0, 0.05, 0.01, 1e6], [0.3, 0.2, 0.05, 3e5], [0.6, 0.02, 0, 1e7]], 'repeat': true}}",
    "{'slowClose': '1s', 'duplicate': '10%'}",
};
#define N_FAULTS (sizeof faults / sizeof *faults)

struct pair;
struct side {
    uint64_t written, read;
};
struct pair {
    struct world w;
    struct link_env *links;
    struct link link;
    struct path *path;
    int peer;
    struct rng rng;
    struct side up, down;
    unsigned opened, closed;
};

static struct pair *pair_of(struct link *link)
{
    return container_of(link, struct pair, link);
}

static uint8_t byte_at(uint64_t at, unsigned salt)
{
    return (uint8_t)(at * 167 + (at >> 7) * 13 + (at >> 15) * 3 + (at >> 24) + salt);
}

static void check(struct side *side, unsigned salt, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != byte_at(side->read + i, salt))
            fail_msg("byte %llu is lost or out of order", (unsigned long long)(side->read + i));
    side->read += n;
}

static void on_open(struct link *link)
{
    pair_of(link)->opened++;
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    check(&pair_of(link)->down, 99, bytes, n);
}

static void on_close(struct link *link, const struct error *why)
{
    (void)why;
    pair_of(link)->closed++;
}

static const struct link_events events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static void pair_connect(struct pair *t)
{
    int fds[2], size = 32768;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    link_create(&t->link, t->links, &events);
    assert_int_equal(link_adopt(&t->link, fds[0], NULL), 0);
    t->peer = fds[1];
    t->up = t->down = (struct side){0, 0};
    for (unsigned before = t->opened; t->opened == before;)
        loop_turn(t->w.loop, 0);
}

static void pair_create(struct pair *t, uint64_t seed)
{
    struct link_env_config config = {.max_out_bytes = 100000};
    memset(t, 0, sizeof *t);
    world_create(&t->w);
    t->links = link_env_new(t->w.loop, &config, NULL);
    rng_seed(&t->rng, seed);
    pair_connect(t);
}

static void pair_destroy(struct pair *t)
{
    link_close(&t->link, LINK_ABORT);
    loop_turn(t->w.loop, 0);
    path_release(t->path);
    path_env_delete(t->w.env);
    link_env_delete(t->links);
    loop_delete(t->w.loop);
    if (t->peer >= 0)
        close(t->peer);
}

static void send_up(struct pair *t)
{
    uint8_t bytes[6000];
    size_t n = 1 + rng_below(&t->rng, rng_below(&t->rng, 4) ? 300 : sizeof bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(t->up.written + i, 5);
    if (link_send(&t->link, bytes, n, NULL) == 0)
        t->up.written += n;
}

static void send_down(struct pair *t)
{
    uint8_t bytes[6000];
    size_t n = 1 + rng_below(&t->rng, rng_below(&t->rng, 4) ? 300 : sizeof bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(t->down.written + i, 99);
    ssize_t k = send(t->peer, bytes, n, MSG_NOSIGNAL);
    if (k > 0)
        t->down.written += (size_t)k;
}

static void peer_read(struct pair *t)
{
    uint8_t bytes[16384];
    for (ssize_t n; t->peer >= 0 && (n = read(t->peer, bytes, sizeof bytes)) > 0;)
        check(&t->up, 5, bytes, (size_t)n);
}

// One change: apply, change or remove; the path comes with its first fault and goes with its last, as devices have it.
static void toggle(struct pair *t)
{
    uint64_t number = 1 + rng_below(&t->rng, 4);
    struct fault_spec *spec = spec_of(faults[rng_below(&t->rng, N_FAULTS)]);
    struct path_peer peer = {.protocol = "mqtt"};
    switch (rng_below(&t->rng, 3)) {
    case 0:
        if (!t->path) {
            t->path = path_new(t->w.env, rng_u64(&t->rng), NULL);
            assert_int_equal(path_attach_link(t->path, &t->link, &peer, NULL), 0);
        }
        (void)!path_apply(t->path, number, spec, NULL);
        break;
    case 1:
        if (t->path)
            (void)!path_change(t->path, number, spec, NULL);
        break;
    default:
        if (t->path && path_remove(t->path, number) && !path_faults(t->path)) {
            path_release(t->path);
            t->path = NULL;
        }
    }
    fault_spec_release(spec);
}

static void heal(struct pair *t)
{
    for (uint64_t number = 1; t->path && number <= 4; number++)
        path_remove(t->path, number);
    path_release(t->path);
    t->path = NULL;
}

static void no_byte_is_lost_or_reordered(void **state)
{
    (void)state;
    struct pair t;
    const char *seconds = getenv("IOTIX_TOGGLE_SECONDS");
    time_t end = seconds ? time(NULL) + strtol(seconds, NULL, 10) : 0;
    unsigned changes = 0;
    uint64_t seed = seconds ? (uint64_t)time(NULL) : 11;
    printf("# seed %llu\n", (unsigned long long)seed);
    pair_create(&t, seed);
    while (seconds ? time(NULL) < end : changes < 20000) {
        switch (rng_below(&t.rng, 8)) {
        case 0:
            toggle(&t);
            changes++;
            break;
        case 1:
        case 2:
            send_up(&t);
            break;
        case 3:
        case 4:
            send_down(&t);
            break;
        case 5:
            if (rng_below(&t.rng, 20) == 0)
                link_pause(&t.link, rng_below(&t.rng, 2));
            if (rng_below(&t.rng, 20) == 0)
                link_hold(&t.link, rng_below(&t.rng, 2));
            break;
        default:
            peer_read(&t);
            loop_turn(t.w.loop, (int64_t)rng_below(&t.rng, 40) * MS);
        }
        assert_int_equal(t.closed, 0);
    }
    link_pause(&t.link, false);
    link_hold(&t.link, false);
    uint64_t during = t.up.read + t.down.read;
    heal(&t);
    int64_t until = world_now(&t.w) + 600 * SECOND;
    while ((t.up.read < t.up.written || t.down.read < t.down.written || t.link.top) && world_now(&t.w) < until) {
        peer_read(&t);
        loop_turn(t.w.loop, 20 * MS);
    }
    struct path_totals totals = world_totals(&t.w);
    printf("# %u changes in %.0f s of the device's time: %llu bytes up, %llu down, all in order (%llu before the end); "
           "%llu segments lost, %llu resent, %llu timeouts\n",
           changes, (double)world_now(&t.w) / 1e6, (unsigned long long)t.up.read, (unsigned long long)t.down.read,
           (unsigned long long)during, (unsigned long long)(totals.dropped[0] + totals.dropped[1]),
           (unsigned long long)(totals.retransmitted[0] + totals.retransmitted[1]),
           (unsigned long long)(totals.timeouts[0] + totals.timeouts[1]));
    assert_int_equal(t.up.read, t.up.written);
    assert_int_equal(t.down.read, t.down.written);
    assert_null(t.link.top);
    assert_int_equal(totals.held_bytes, 0);
    assert_int_equal(totals.paths, 0);
    assert_true(totals.dropped[0] > 100 && totals.dropped[1] > 100 && during > 1000000);
    pair_destroy(&t);
}

// Ends of every kind at random moments, with a new connection after each.
static void ends_in_the_middle_of_everything(void **state)
{
    (void)state;
    struct pair t;
    unsigned ends[6] = {0};
    pair_create(&t, 23);
    for (int i = 0; i < 60000; i++) {
        uint64_t what = rng_below(&t.rng, 40);
        if (what < 4)
            toggle(&t);
        else if (what < 12)
            send_up(&t);
        else if (what < 20)
            send_down(&t);
        else if (what < 36)
            loop_turn(t.w.loop, (int64_t)rng_below(&t.rng, 30) * MS);
        else if (what < 38)
            peer_read(&t);
        else if (rng_below(&t.rng, 3))
            continue;
        else if (what == 38) {
            uint64_t how = rng_below(&t.rng, 4);
            ends[how]++;
            if (how == 0)
                link_close(&t.link, LINK_FLUSH);
            else if (how == 1)
                link_close(&t.link, LINK_ABORT);
            else if (how == 2 && t.path)
                path_reset(t.path);
            else
                shutdown(t.peer, SHUT_RDWR);
        } else if (t.link.state == LINK_CLOSED || rng_below(&t.rng, 2)) {
            ends[4]++;
            link_close(&t.link, rng_below(&t.rng, 2) ? LINK_FLUSH : LINK_ABORT);
            close(t.peer);
            pair_connect(&t);
            struct path_peer peer = {.protocol = "mqtt"};
            if (t.path && rng_below(&t.rng, 2))
                assert_int_equal(path_attach_link(t.path, &t.link, &peer, NULL), 0);
        }
    }
    printf("# %u flushes, %u aborts, %u resets, %u ends of the peer, %u new connections, %u told\n", ends[0], ends[1],
           ends[2], ends[3], ends[4], t.closed);
    heal(&t);
    pair_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_is_lost_or_reordered),
        cmocka_unit_test(ends_in_the_middle_of_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
