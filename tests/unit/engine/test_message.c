// Frames over a socketpair: any split, malformed input, peers that vanish or do not read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/rng.h"
#include "engine/message.h"

struct seen {
    unsigned messages;
    uint64_t bytes, hash;
    int last_type;
    size_t last_n;
    char last[64];
    unsigned closed;
    struct error why;
    struct channel *delete_me; // inside the next callback
};

static void on_message(void *arg, enum message_type type, const uint8_t *payload, size_t n)
{
    struct seen *s = arg;
    s->messages++;
    s->bytes += n;
    s->hash = hash_bytes(payload, n, s->hash + (uint64_t)type);
    s->last_type = (int)type;
    s->last_n = n;
    snprintf(s->last, sizeof(s->last), "%.*s", (int)(n < 60 ? n : 60), (const char *)payload);
    channel_delete(s->delete_me);
}

static void on_closed(void *arg, const struct error *why)
{
    struct seen *s = arg;
    s->closed++;
    s->why = *why;
    channel_delete(s->delete_me);
}

static const struct channel_events events = {on_message, on_closed};

struct pair {
    struct loop *loop;
    struct channel *ch;
    int fd; // the raw other end
    struct seen seen;
};

static void open_pair(struct pair *p)
{
    struct error err;
    struct clock clock;
    int fds[2];
    memset(p, 0, sizeof(*p));
    clock_create_real(&clock);
    p->loop = loop_new(&clock, &err);
    assert_non_null(p->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p->fd = fds[1];
    p->ch = channel_new(p->loop, fds[0], &events, &p->seen, &err);
    assert_non_null(p->ch);
}

static void close_pair(struct pair *p)
{
    channel_delete(p->ch);
    loop_delete(p->loop);
    if (p->fd >= 0)
        close(p->fd);
}

#define UNTIL(p, condition)                                                                                            \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((p)->loop) + 5000000;                                                           \
        while (!(condition) && loop_fresh_us((p)->loop) < until_)                                                      \
            loop_turn((p)->loop, 10000);                                                                               \
        assert_true(condition);                                                                                        \
    } while (0)

static size_t frame(uint8_t *out, uint8_t type, const void *payload, size_t n)
{
    uint32_t length = (uint32_t)n + 1;
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(length >> (8 * i));
    out[4] = type;
    memcpy(out + 5, payload, n);
    return n + 5;
}

static void put(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void frames_survive_every_split(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t n = frame(bytes, MSG_PING, "{\"n\":1}", 7);
    n += frame(bytes + n, MSG_STOP, "", 0);
    n += frame(bytes + n, MSG_GO, "abcdefghij", 10);
    for (size_t a = 0; a <= n; a++) {
        struct pair p;
        open_pair(&p);
        if (a)
            put(p.fd, bytes, a);
        loop_turn(p.loop, 0);
        for (size_t i = a; i < n; i++) { // the rest byte by byte
            put(p.fd, bytes + i, 1);
            loop_turn(p.loop, 0);
        }
        UNTIL(&p, p.seen.messages == 3);
        assert_int_equal(p.seen.last_type, MSG_GO);
        assert_string_equal(p.seen.last, "abcdefghij");
        assert_int_equal(p.seen.bytes, 17);
        close_pair(&p);
    }
}

static void two_channels_exchange_large_messages(void **state)
{
    (void)state;
    struct error err;
    struct pair p;
    open_pair(&p);
    struct seen other = {0};
    struct channel *peer = channel_new(p.loop, p.fd, &events, &other, &err);
    assert_non_null(peer);
    p.fd = -1;
    size_t n = 5u << 20;
    uint8_t *big = malloc(n);
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < n; i++)
        big[i] = (uint8_t)rng_u64(&rng);
    uint64_t hash = 0;
    for (int i = 0; i < 4; i++) {
        hash = hash_bytes(big, n - (size_t)i, hash + MSG_SNAPSHOT);
        assert_int_equal(channel_send(p.ch, MSG_SNAPSHOT, big, n - (size_t)i, &err), 0);
    }
    assert_true(channel_waiting(p.ch) > 0);
    UNTIL(&p, other.messages == 4);
    assert_true(other.hash == hash);
    assert_int_equal(channel_waiting(p.ch), 0);
    assert_int_equal(channel_send_json(peer, MSG_STATUS, json_pack("{s:i}", "n", 3), &err), 0);
    UNTIL(&p, p.seen.messages == 1);
    assert_string_equal(p.seen.last, "{\"n\":3}");
    free(big);
    channel_delete(peer);
    close_pair(&p);
}

static void malformed_frames_close_once(void **state)
{
    (void)state;
    static const uint8_t zero[] = {0, 0, 0, 0, 1}, huge[] = {0xff, 0xff, 0xff, 0xff, 1}, over[] = {2, 0, 0, 4, 1};
    const uint8_t *bad[] = {zero, huge, over};
    for (int i = 0; i < 3; i++) {
        struct pair p;
        open_pair(&p);
        uint8_t good[16];
        put(p.fd, good, frame(good, MSG_PING, "x", 1));
        put(p.fd, bad[i], 5);
        put(p.fd, bad[i], 5);
        UNTIL(&p, p.seen.closed);
        loop_turn(p.loop, 0);
        assert_int_equal(p.seen.closed, 1);
        assert_int_equal(p.seen.messages, 1); // what came before it was heard
        assert_int_equal(p.seen.why.code, ERR_PROTOCOL);
        assert_non_null(strstr(p.seen.why.text, "expected 1 to"));
        close_pair(&p);
    }
}

static void a_peer_that_goes_is_told_after_its_last_message(void **state)
{
    (void)state;
    struct error err;
    struct pair p;
    open_pair(&p);
    uint8_t bytes[32];
    put(p.fd, bytes, frame(bytes, MSG_DONE, "{}", 2));
    close(p.fd);
    p.fd = -1;
    // The send meets EPIPE; the message that came before must still be heard.
    assert_int_equal(channel_send(p.ch, MSG_PING, "{}", 2, &err), -1);
    assert_int_equal(err.code, ERR_CLOSED);
    UNTIL(&p, p.seen.closed);
    assert_int_equal(p.seen.messages, 1);
    assert_int_equal(p.seen.last_type, MSG_DONE);
    close_pair(&p);

    open_pair(&p);
    put(p.fd, bytes, frame(bytes, MSG_DONE, "{}", 2) - 1);
    close(p.fd);
    p.fd = -1;
    UNTIL(&p, p.seen.closed);
    assert_int_equal(p.seen.why.code, ERR_PROTOCOL);
    assert_int_equal(p.seen.messages, 0);
    close_pair(&p);
}

static void a_peer_that_does_not_read_meets_the_cap(void **state)
{
    (void)state;
    struct error err;
    struct pair p;
    open_pair(&p);
    size_t n = 16u << 20;
    uint8_t *big = calloc(1, n);
    int sent = 0;
    while (sent < 20 && channel_send(p.ch, MSG_SNAPSHOT, big, n, &err) == 0)
        sent++;
    assert_in_range(sent, 7, 8);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(p.seen.closed, 0); // never inside the send
    assert_int_equal(channel_drain(p.ch, 20000), -1);
    UNTIL(&p, p.seen.closed);
    assert_int_equal(p.seen.why.code, ERR_LIMIT);
    assert_int_equal(channel_send(p.ch, MSG_PING, "", 0, &err), -1);
    free(big);
    close_pair(&p);
}

static void too_long_a_message_is_refused(void **state)
{
    (void)state;
    struct error err;
    struct pair p;
    open_pair(&p);
    assert_int_equal(channel_send(p.ch, MSG_SNAPSHOT, "", (size_t)MESSAGE_MAX + 1, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(channel_send(p.ch, MSG_PING, "ok", 2, &err), 0);
    assert_int_equal(channel_drain(p.ch, 1000000), 0);
    assert_int_equal(channel_send_json(p.ch, MSG_PING, NULL, &err), -1);
    close_pair(&p);
}

static void the_owner_may_delete_inside_callbacks(void **state)
{
    (void)state;
    for (int in_closed = 0; in_closed < 2; in_closed++) {
        struct pair p;
        open_pair(&p);
        p.seen.delete_me = p.ch;
        p.ch = NULL;
        uint8_t bytes[64];
        size_t n = 0;
        if (!in_closed) {
            n = frame(bytes, MSG_PING, "a", 1);
            n += frame(bytes + n, MSG_PING, "b", 1);
            put(p.fd, bytes, n);
        } else {
            close(p.fd);
            p.fd = -1;
        }
        UNTIL(&p, p.seen.messages + p.seen.closed > 0);
        loop_turn(p.loop, 0);
        assert_int_equal(p.seen.messages, in_closed ? 0 : 1); // nothing after the delete
        assert_int_equal(p.seen.closed, in_closed);
        p.seen.delete_me = NULL;
        close_pair(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_every_split),
        cmocka_unit_test(two_channels_exchange_large_messages),
        cmocka_unit_test(malformed_frames_close_once),
        cmocka_unit_test(a_peer_that_goes_is_told_after_its_last_message),
        cmocka_unit_test(a_peer_that_does_not_read_meets_the_cap),
        cmocka_unit_test(too_long_a_message_is_refused),
        cmocka_unit_test(the_owner_may_delete_inside_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
