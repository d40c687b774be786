// link_hold: an owner that has enough. Nothing is read, TCP stalls the peer, writing goes on; the rest comes, whole and
// in order, when there is room again, and so does the end. With link_pause, with the hold of a filter, and inside
// on_data.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "link/link.h"
#include "link/link_impl.h"

struct world {
    struct clock clock;
    struct loop *loop;
    struct link_env *env;
    struct link link;
    int peer;
    size_t n;      // bytes that came
    bool wrong;    // not those that were sent
    size_t enough; // held at so many; 0: never
    unsigned closed;
};

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

static void on_open(struct link *link)
{
    (void)link;
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct world *w = container_of(link, struct world, link);
    for (size_t i = 0; i < n; i++)
        w->wrong |= bytes[i] != byte_at(w->n + i);
    w->n += n;
    if (w->enough && w->n >= w->enough) {
        w->enough = 0;
        link_hold(link, true);
    }
}

static void on_close(struct link *link, const struct error *why)
{
    (void)why;
    container_of(link, struct world, link)->closed++;
}

static const struct link_events events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int fds[2], size = 65536;
    assert_non_null(w);
    clock_create_real(&w->clock);
    w->loop = loop_new(&w->clock, NULL);
    w->env = link_env_new(w->loop, NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    w->peer = fds[1];
    link_create(&w->link, w->env, &events);
    assert_int_equal(link_adopt(&w->link, fds[0], NULL), 0);
    loop_turn(w->loop, 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    link_close(&w->link, LINK_ABORT);
    if (w->peer >= 0)
        close(w->peer);
    loop_turn(w->loop, 0);
    link_env_delete(w->env);
    loop_delete(w->loop);
    free(w);
    return 0;
}

static void turns(struct world *w, int n)
{
    while (n--)
        loop_turn(w->loop, 0);
}

// As much as the peer can get rid of without anybody turning the loop; where it goes on.
static size_t fill(struct world *w, size_t from)
{
    uint8_t bytes[4096];
    for (ssize_t n;; from += (size_t)n) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = byte_at(from + i);
        n = send(w->peer, bytes, sizeof bytes, MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return from;
        }
    }
}

static void wait_for_bytes(struct world *w, size_t n)
{
    int64_t until = loop_fresh_us(w->loop) + 10000000;
    while (w->n < n && loop_fresh_us(w->loop) < until)
        loop_turn(w->loop, 10000);
    assert_int_equal(w->n, n);
    assert_false(w->wrong);
}

static void nothing_is_read_and_the_peer_stalls(void **state)
{
    struct world *w = *state;
    link_hold(&w->link, true);
    size_t sent = fill(w, 0);
    turns(w, 20);
    assert_int_equal(w->n, 0);
    assert_int_equal(fill(w, sent), sent); // stalled
    link_hold(&w->link, true);             // twice is once
    link_hold(&w->link, false);
    wait_for_bytes(w, sent);
    size_t more = fill(w, sent);
    assert_true(more > sent); // and goes on
    wait_for_bytes(w, more);
}

static void writing_goes_on(void **state)
{
    struct world *w = *state;
    char got[16];
    link_hold(&w->link, true);
    assert_int_equal(link_send(&w->link, "hello", 5, NULL), 0);
    turns(w, 2);
    assert_int_equal(recv(w->peer, got, sizeof got, 0), 5);
    // Also when it has to wait for room: on_drain comes, and reading does not begin with it.
    uint8_t *big = calloc(1, 600000);
    fill(w, 0);
    assert_int_equal(link_send(&w->link, big, 600000, NULL), 0);
    free(big);
    size_t n = 0;
    for (int i = 0; i < 2000 && n < 600000; i++) {
        uint8_t bytes[65536];
        ssize_t k = recv(w->peer, bytes, sizeof bytes, 0);
        n += k > 0 ? (size_t)k : 0;
        loop_turn(w->loop, 0);
    }
    assert_int_equal(n, 600000);
    assert_int_equal(w->n, 0);
}

static void inside_on_data(void **state)
{
    struct world *w = *state;
    w->enough = 1;
    size_t sent = fill(w, 0);
    turns(w, 20);
    size_t first = w->n;
    assert_true(first > 0 && first <= 65536); // one read
    if (first < sent) {
        turns(w, 20);
        assert_int_equal(w->n, first);
    }
    link_hold(&w->link, false);
    wait_for_bytes(w, sent);
}

static void the_end_waits_behind_the_bytes(void **state)
{
    struct world *w = *state;
    link_hold(&w->link, true);
    size_t sent = fill(w, 0);
    close(w->peer);
    w->peer = -1;
    turns(w, 20);
    assert_int_equal(w->closed, 0);
    link_hold(&w->link, false);
    wait_for_bytes(w, sent);
    turns(w, 5);
    assert_int_equal(w->closed, 1);
    link_hold(&w->link, true); // of one that is closed: nothing
    assert_false(w->link.satiated);
}

// Three that may say no: reading begins when the last has let go, in whatever order.
static void with_pause_and_a_filters_hold(void **state)
{
    struct world *w = *state;
    size_t sent = 0;
    for (unsigned order = 0; order < 6; order++) {
        static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        link_hold(&w->link, true);
        link_pause(&w->link, true);
        link_hold_input(&w->link, true);
        size_t before = w->n;
        sent = fill(w, sent);
        for (unsigned i = 0; i < 3; i++) {
            turns(w, 5);
            assert_int_equal(w->n, before);
            if (orders[order][i] == 0)
                link_hold(&w->link, false);
            else if (orders[order][i] == 1)
                link_pause(&w->link, false);
            else
                link_hold_input(&w->link, false);
        }
        wait_for_bytes(w, sent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_read_and_the_peer_stalls, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(inside_on_data, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_waits_behind_the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(with_pause_and_a_filters_hold, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
