// Links against plain sockets in the same process: open, send, partial writes, caps, filters, every way to end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "core/rng.h"
#include "link/link.h"
#include "link/submit.h"

struct end { // what the adapter would embed
    struct link link;
    unsigned opened, drained, closed;
    struct error why;
    uint8_t *in;
    size_t n;
    void (*hook)(struct end *end);
};

static struct end *end_of(struct link *link)
{
    return container_of(link, struct end, link);
}

static void on_open(struct link *link)
{
    end_of(link)->opened++;
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct end *e = end_of(link);
    e->in = realloc(e->in, e->n + n);
    memcpy(e->in + e->n, bytes, n);
    e->n += n;
    if (e->hook)
        e->hook(e);
}

static void on_drain(struct link *link)
{
    end_of(link)->drained++;
}

static void on_close(struct link *link, const struct error *why)
{
    struct end *e = end_of(link);
    e->closed++;
    e->why = *why;
    assert_int_equal(link->state, LINK_CLOSED);
}

static const struct link_events events = {on_open, on_data, on_drain, on_close};

struct fixture {
    struct clock clock;
    struct loop *loop;
    struct link_env *env;
    int listener;
    struct link_addr addr;
    struct end end;
    int peer; // the other side of end
};

#define WAIT(f, cond)                                                                                                  \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((f)->loop) + 10000000;                                                          \
        while (!(cond) && loop_fresh_us((f)->loop) < until_)                                                           \
            loop_turn((f)->loop, 20000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)

static enum link_io io; // all tests run with each

static void fixture_create(struct fixture *f, const struct link_env_config *config)
{
    struct link_env_config with = config ? *config : (struct link_env_config){0};
    with.io = io;
    memset(f, 0, sizeof *f);
    clock_create_real(&f->clock);
    f->loop = loop_new(&f->clock, NULL);
    f->env = link_env_new(f->loop, &with, NULL);
    assert_non_null(f->env);
    assert_int_equal(link_env_io(f->env), io);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in *in = (struct sockaddr_in *)&f->addr.addr;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->addr.len = sizeof *in;
    assert_int_equal(bind(f->listener, (struct sockaddr *)in, sizeof *in), 0);
    assert_int_equal(listen(f->listener, 512), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)in, &f->addr.len), 0);
    link_create(&f->end.link, f->env, &events);
    f->peer = -1;
}

static void fixture_open(struct fixture *f)
{
    unsigned before = f->end.opened;
    assert_int_equal(link_open(&f->end.link, &f->addr, NULL, NULL), 0);
    assert_int_equal(f->end.opened, before); // never inside the call
    f->peer = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(f->peer >= 0);
    WAIT(f, f->end.opened == before + 1);
}

static void fixture_destroy(struct fixture *f)
{
    struct link_totals totals;
    link_close(&f->end.link, LINK_ABORT);
    link_env_totals(f->env, &totals);
    assert_int_equal(totals.open, 0);
    link_env_delete(f->env);
    loop_delete(f->loop);
    close(f->listener);
    if (f->peer >= 0)
        close(f->peer);
    free(f->end.in);
}

// Reads at the peer until n bytes or the end; returns how many.
static size_t peer_read(struct fixture *f, uint8_t *to, size_t n)
{
    int64_t until = loop_fresh_us(f->loop) + 10000000;
    size_t got = 0;
    while (got < n && loop_fresh_us(f->loop) < until) {
        ssize_t k = read(f->peer, to + got, n - got);
        if (k == 0 || (k < 0 && errno != EAGAIN))
            break;
        if (k > 0)
            got += (size_t)k;
        else
            loop_turn(f->loop, 1000);
    }
    return got;
}

static void sends_once_a_turn(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t got[64];
    struct link_totals totals;
    fixture_create(&f, NULL);
    assert_int_equal(link_send(&f.end.link, "x", 1, NULL), -1); // not open
    fixture_open(&f);
    for (int i = 0; i < 10; i++)
        assert_int_equal(link_send(&f.end.link, "abc", 3, NULL), 0);
    uint8_t *p = link_reserve(&f.end.link, 2, NULL);
    memcpy(p, "de", 2);
    link_commit(&f.end.link, 2);
    assert_int_equal(link_unsent(&f.end.link), 32);
    assert_true(read(f.peer, got, sizeof got) < 0); // nothing before the end of the turn
    loop_turn(f.loop, 0);
    assert_int_equal(link_unsent(&f.end.link), 0);
    assert_null(f.end.link.out); // no buffer at rest
    assert_int_equal(peer_read(&f, got, 32), 32);
    assert_memory_equal(got + 27, "abcde", 5);
    link_env_totals(f.env, &totals);
    assert_int_equal(totals.writes, 1);
    assert_int_equal(totals.bytes_out, 32);
    assert_int_equal(f.end.drained, 0); // no partial write, no drain
    assert_int_equal(write(f.peer, "hello", 5), 5);
    WAIT(&f, f.end.n == 5);
    assert_memory_equal(f.end.in, "hello", 5);
    assert_int_equal(link_open(&f.end.link, &f.addr, NULL, NULL), -1); // already open
    assert_true(sizeof(struct link) <= 120);
    fixture_destroy(&f);
}

static void partial_writes_and_the_cap(void **state)
{
    (void)state;
    struct fixture f;
    struct link_env_config config = {.max_out_bytes = 300000};
    fixture_create(&f, &config);
    int small = 4096;
    setsockopt(f.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    fixture_open(&f);
    setsockopt(f.end.link.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    assert_int_equal(link_env_max_out(f.env), 300000);
    static uint8_t sent[4000000], got[4000000];
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)rng_u64(&rng);
    // Fill up: at the cap it is refused and nothing of it is queued.
    size_t n = 0;
    struct error err;
    while (link_send(&f.end.link, sent + n, 7777, &err) == 0) {
        n += 7777;
        loop_turn(f.loop, 0);
        assert_true(n < 3000000);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(link_unsent(&f.end.link) > 290000 && link_unsent(&f.end.link) <= 300000);
    assert_null(link_reserve(&f.end.link, 7777, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(link_footprint(&f.end.link) >= 290000);
    // The peer reads slowly while more is sent: every byte arrives in order.
    size_t r = 0;
    while (r < sizeof got) {
        size_t k = 1 + (size_t)rng_below(&rng, 5000);
        if (n + k > sizeof sent)
            k = sizeof sent - n;
        if (k && link_send(&f.end.link, sent + n, k, NULL) == 0)
            n += k;
        loop_turn(f.loop, 0);
        ssize_t in = read(f.peer, got + r, 1 + (size_t)rng_below(&rng, 9000));
        if (in > 0)
            r += (size_t)in;
        else
            loop_turn(f.loop, 1000);
    }
    assert_memory_equal(sent, got, sizeof got);
    WAIT(&f, f.end.drained >= 1);
    assert_null(f.end.link.out);
    assert_int_equal(link_footprint(&f.end.link), 0);
    fixture_destroy(&f);
}

static void the_cap_counts_only_what_the_kernel_refuses(void **state)
{
    (void)state;
    struct fixture f;
    struct link_env_config config = {.max_out_bytes = 1000};
    static char bytes[600];
    static uint8_t got[6000];
    fixture_create(&f, &config);
    fixture_open(&f);
    for (int i = 0; i < 10; i++) // more than the cap in one turn: written early
        assert_int_equal(link_send(&f.end.link, bytes, sizeof bytes, NULL), 0);
    assert_int_equal(link_send(&f.end.link, bytes, sizeof bytes * 2, NULL), -1); // can never be sent
    assert_int_equal(peer_read(&f, got, 6000), 6000);
    fixture_destroy(&f);
}

// More links with output in one turn than the list holds.
static void many_links(void **state)
{
    (void)state;
    enum { N = 600 };
    struct fixture f;
    static struct end *ends[N]; // each on the heap: a use after its end shows
    int peers[N];
    struct link_totals totals;
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    fixture_create(&f, NULL);
    for (int i = 0; i < N; i++) {
        ends[i] = calloc(1, sizeof *ends[i]);
        link_create(&ends[i]->link, f.env, &events);
        assert_int_equal(link_open(&ends[i]->link, &f.addr, NULL, NULL), 0);
        peers[i] = accept4(f.listener, NULL, NULL, SOCK_NONBLOCK);
        assert_true(peers[i] >= 0);
    }
    for (int i = 0; i < N; i++)
        WAIT(&f, ends[i]->opened);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++)
            assert_int_equal(link_send(&ends[i]->link, &i, sizeof i, NULL), 0);
        for (int i = 0; i < N; i += 3) // some close with output still in the list
            if (round) {
                link_close(&ends[i]->link, LINK_ABORT);
                free(ends[i]);
                ends[i] = NULL;
            }
        loop_turn(f.loop, 0);
        for (int i = 0; i < N; i++) {
            int got = -1;
            if (i % 3 || !round) {
                assert_int_equal(read(peers[i], &got, sizeof got), sizeof got);
                assert_int_equal(got, i);
            }
        }
    }
    for (int i = 0; i < N; i++) {
        if (ends[i])
            link_close(&ends[i]->link, LINK_FLUSH);
        free(ends[i]);
        close(peers[i]);
    }
    link_env_totals(f.env, &totals);
    assert_int_equal(totals.open, 0);
    fixture_destroy(&f);
}

static void ends(void **state)
{
    (void)state;
    uint8_t got[16];
    struct linger rst = {1, 0};
    for (int kind = 0; kind < 6; kind++) {
        struct fixture f;
        fixture_create(&f, NULL);
        if (kind < 5)
            fixture_open(&f);
        switch (kind) {
        case 0: // the peer closes, after some bytes
            assert_int_equal(write(f.peer, "bye", 3), 3);
            close(f.peer);
            f.peer = -1;
            WAIT(&f, f.end.closed == 1);
            assert_int_equal(f.end.why.code, ERR_CLOSED);
            assert_int_equal(f.end.n, 3);
            break;
        case 1: // RST
            setsockopt(f.peer, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
            close(f.peer);
            f.peer = -1;
            WAIT(&f, f.end.closed == 1);
            assert_int_equal(f.end.why.code, ERR_CLOSED);
            break;
        case 2: // a write after RST, before the loop knows of it: no callback inside link_send
            setsockopt(f.peer, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
            close(f.peer);
            f.peer = -1;
            assert_int_equal(link_send(&f.end.link, "x", 1, NULL), 0);
            link_env_flush(f.env);
            assert_int_equal(f.end.closed, 0);
            assert_int_equal(link_send(&f.end.link, "x", 1, NULL), -1);
            WAIT(&f, f.end.closed == 1);
            assert_int_equal(f.end.why.code, ERR_CLOSED);
            break;
        case 3: // flush: what was queued arrives, then FIN, though we left bytes unread
            assert_int_equal(write(f.peer, "unread", 6), 6);
            assert_int_equal(link_send(&f.end.link, "last", 4, NULL), 0);
            link_close(&f.end.link, LINK_FLUSH);
            assert_int_equal(peer_read(&f, got, 16), 4);
            assert_int_equal(read(f.peer, got, 1), 0); // FIN, not RST
            break;
        case 4: // abort: RST, nothing is written
            assert_int_equal(link_send(&f.end.link, "last", 4, NULL), 0);
            link_close(&f.end.link, LINK_ABORT);
            link_close(&f.end.link, LINK_ABORT);
            assert_int_equal(read(f.peer, got, 16), -1);
            assert_int_equal(errno, ECONNRESET);
            break;
        case 5: // nobody listens
            close(f.listener);
            f.listener = -1;
            assert_int_equal(link_open(&f.end.link, &f.addr, NULL, NULL), 0);
            WAIT(&f, f.end.closed == 1);
            assert_int_equal(f.end.why.code, ERR_REFUSED);
            break;
        }
        for (int i = 0; i < 3; i++)
            loop_turn(f.loop, 1000);
        assert_int_equal(f.end.closed, kind != 3 && kind != 4); // once; never for our own close
        assert_int_equal(f.end.link.state, LINK_CLOSED);
        fixture_destroy(&f);
    }
}

// What the peer still sends after our end does not become an RST, in which our last packet might get lost: the socket
// is read until the peer ends, or a second has passed.
static void last_words_are_heard(void **state)
{
    (void)state;
    char got[16];
    for (int patient = 0; patient < 2; patient++) {
        struct fixture f;
        fixture_create(&f, NULL);
        fixture_open(&f);
        assert_int_equal(link_send(&f.end.link, "last", 4, NULL), 0);
        link_close(&f.end.link, LINK_FLUSH);
        int fd = f.peer, sent = 0;
        int64_t from_us = loop_fresh_us(f.loop);
        // For some turns it goes on talking.
        for (; sent < 5; sent++) {
            assert_int_equal(send(fd, "more", 4, MSG_NOSIGNAL), 4);
            loop_turn(f.loop, 20000);
        }
        assert_int_equal(read(fd, got, sizeof got), 4);
        assert_memory_equal(got, "last", 4);
        assert_int_equal(read(fd, got, sizeof got), 0);
        if (patient) { // and never ends
            int error = 0;
            socklen_t len = sizeof error;
            while (!error && loop_fresh_us(f.loop) - from_us < 10000000) {
                loop_turn(f.loop, 100000);
                if (send(fd, "more", 4, MSG_NOSIGNAL) < 0)
                    error = errno;
                else
                    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
            }
            assert_true(error == ECONNRESET || error == EPIPE);
            assert_true(loop_fresh_us(f.loop) - from_us >= 900000);
        }
        fixture_destroy(&f);
    }
}

static void fails_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    struct link_addr v6 = {.len = sizeof(struct sockaddr_in6)};
    fixture_create(&f, NULL);
    v6.addr.ss_family = AF_INET6;
    assert_int_equal(link_open(&f.end.link, &f.addr, &v6, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    struct link_addr elsewhere = f.addr; // not an address of this machine (TEST-NET-1)
    ((struct sockaddr_in *)&elsewhere.addr)->sin_addr.s_addr = htonl(0xc0000201);
    assert_int_equal(link_open(&f.end.link, &f.addr, &elsewhere, &err), -1);
    assert_non_null(strstr(err.text, "source"));
    struct rlimit files, none;
    getrlimit(RLIMIT_NOFILE, &files);
    none = files;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    assert_int_equal(link_open(&f.end.link, &f.addr, NULL, &err), -1);
    setrlimit(RLIMIT_NOFILE, &files);
    assert_int_equal(err.code, ERR_LIMIT);
    loop_turn(f.loop, 0);
    assert_int_equal(f.end.closed, 0); // no callback for what failed at once
    fixture_open(&f);                  // and the link is still good
    fixture_destroy(&f);
}

static void close_in_data(struct end *e)
{
    link_close(&e->link, LINK_FLUSH);
}

// ---- filters ----

struct delay { // holds what comes up until released; the end of the connection too
    struct link_filter f;
    struct buf held;
    bool ended;
    struct error why;
    unsigned *destroyed;
    bool fails;
};

static struct delay *delay_of(struct link_filter *f)
{
    return container_of(f, struct delay, f);
}

static int delay_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    if (delay_of(f)->fails)
        return error_set(err, ERR_IO, "the filter breaks");
    return link_filter_down(f, bytes, n, err);
}

static void delay_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    assert_int_equal(buf_append(&delay_of(f)->held, bytes, n), 0);
}

static void delay_closed(struct link_filter *f, const struct error *why)
{
    delay_of(f)->ended = true;
    delay_of(f)->why = *why;
}

static void delay_destroy(struct link_filter *f)
{
    ++*delay_of(f)->destroyed;
    buf_destroy(&delay_of(f)->held);
    free(f);
}

static const struct link_filter_type delay_type = {
    .name = "delay", .down = delay_down, .up = delay_up, .closed = delay_closed, .destroy = delay_destroy};

static struct delay *delay_push(struct link *link, unsigned *destroyed)
{
    struct delay *d = calloc(1, sizeof *d);
    d->f.type = &delay_type;
    d->destroyed = destroyed;
    buf_create(&d->held, 1 << 20);
    link_filter_push(link, &d->f);
    return d;
}

static void filters_look_like_the_socket(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t got[16];
    unsigned destroyed = 0;
    fixture_create(&f, NULL);
    link_filter_push(&f.end.link, link_filter_pass_new());
    struct delay *d = delay_push(&f.end.link, &destroyed);
    link_filter_push(&f.end.link, link_filter_pass_new());
    fixture_open(&f);
    assert_int_equal(link_send(&f.end.link, "down", 4, NULL), 0);
    memcpy(link_reserve(&f.end.link, 5, NULL), "wards", 5); // scratch, handed to the filter
    link_commit(&f.end.link, 5);
    assert_int_equal(peer_read(&f, got, 9), 9);
    assert_memory_equal(got, "downwards", 9);
    assert_int_equal(write(f.peer, "late", 4), 4);
    WAIT(&f, d->held.len == 4);
    assert_int_equal(f.end.n, 0);
    // The socket ends, but what the filter holds still comes first.
    close(f.peer);
    f.peer = -1;
    WAIT(&f, d->ended);
    assert_int_equal(f.end.link.state, LINK_CLOSING);
    assert_int_equal(f.end.closed, 0);
    assert_int_equal(link_send(&f.end.link, "x", 1, NULL), -1);
    link_filter_up(&d->f, d->held.data, d->held.len);
    assert_int_equal(f.end.n, 4);
    link_filter_closed(&d->f, &d->why);
    assert_int_equal(f.end.closed, 1);
    assert_int_equal(f.end.why.code, ERR_CLOSED);
    assert_int_equal(destroyed, 0); // it may still be on the stack
    loop_turn(f.loop, 0);
    assert_int_equal(destroyed, 1);
    fixture_destroy(&f);
}

static void the_adapter_closes_inside_a_filter(void **state)
{
    (void)state;
    struct fixture f;
    unsigned destroyed = 0;
    fixture_create(&f, NULL);
    struct delay *d = delay_push(&f.end.link, &destroyed);
    fixture_open(&f);
    f.end.hook = close_in_data;
    link_filter_up(&d->f, (const uint8_t *)"a", 1); // closes
    assert_int_equal(f.end.link.state, LINK_CLOSED);
    link_filter_up(&d->f, (const uint8_t *)"b", 1); // goes nowhere
    struct error err;
    assert_int_equal(link_filter_down(&d->f, (const uint8_t *)"b", 1, &err), -1);
    assert_int_equal(err.code, ERR_CLOSED);
    link_filter_closed(&d->f, &err);
    assert_int_equal(f.end.n, 1);
    assert_int_equal(f.end.closed, 0);
    assert_int_equal(destroyed, 0);
    loop_turn(f.loop, 0);
    assert_int_equal(destroyed, 1);
    fixture_destroy(&f);
}

static void a_filter_that_fails_ends_the_link(void **state)
{
    (void)state;
    for (int reserved = 0; reserved < 2; reserved++) {
        struct fixture f;
        struct error err;
        unsigned destroyed = 0;
        fixture_create(&f, NULL);
        struct delay *d = delay_push(&f.end.link, &destroyed);
        fixture_open(&f);
        d->fails = true;
        if (reserved) {
            assert_non_null(link_reserve(&f.end.link, 1, &err));
            link_commit(&f.end.link, 1);
        } else {
            assert_int_equal(link_send(&f.end.link, "x", 1, &err), -1);
        }
        assert_int_equal(f.end.closed, 0); // not inside the call
        WAIT(&f, d->ended);
        link_filter_closed(&d->f, &d->why);
        assert_int_equal(f.end.closed, 1);
        fixture_destroy(&f);
        assert_int_equal(destroyed, 1);
    }
}

static void filters_come_and_go_while_open(void **state)
{
    (void)state;
    struct fixture f;
    unsigned destroyed = 0;
    uint8_t got[8];
    fixture_create(&f, NULL);
    fixture_open(&f);
    struct delay *d = delay_push(&f.end.link, &destroyed);
    struct link_filter *pass = link_filter_pass_new();
    link_filter_push(&f.end.link, pass);
    link_filter_remove(&d->f); // from the middle
    assert_ptr_equal(f.end.link.top, pass);
    assert_null(pass->below);
    assert_int_equal(write(f.peer, "x", 1), 1);
    WAIT(&f, f.end.n == 1);
    link_filter_remove(pass);
    link_filter_remove(pass);
    assert_null(f.end.link.top);
    assert_int_equal(link_send(&f.end.link, "y", 1, NULL), 0);
    assert_int_equal(peer_read(&f, got, 1), 1);
    pass->type->destroy(pass);
    delay_destroy(&d->f);
    fixture_destroy(&f);
}

static void adopted_descriptors(void **state)
{
    (void)state;
    struct fixture f;
    int pair[2];
    uint8_t got[4];
    fixture_create(&f, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(link_adopt(&f.end.link, pair[0], NULL), 0);
    assert_int_equal(link_adopt(&f.end.link, pair[0], NULL), -1);
    f.peer = pair[1];
    WAIT(&f, f.end.opened);
    link_dead_after(&f.end.link, 1000000); // no TCP: nothing happens
    assert_int_equal(link_send(&f.end.link, "hi", 2, NULL), 0);
    assert_int_equal(peer_read(&f, got, 2), 2);
    fixture_destroy(&f);
}

static void a_paused_link_stands_still(void **state)
{
    (void)state;
    struct fixture f;
    struct link_env_config config = {.max_out_bytes = 1000};
    uint8_t bytes[600] = {0}, got[1200];
    fixture_create(&f, &config);
    link_pause(&f.end.link, true); // not open: nothing
    fixture_open(&f);
    link_pause(&f.end.link, true);
    link_pause(&f.end.link, true);
    assert_int_equal(write(f.peer, "hello", 5), 5);
    assert_int_equal(link_send(&f.end.link, bytes, sizeof bytes, NULL), 0);
    for (int i = 0; i < 5; i++)
        loop_turn(f.loop, 2000);
    assert_int_equal(f.end.n, 0);
    assert_true(read(f.peer, got, sizeof got) < 0 && errno == EAGAIN);
    struct error err;
    assert_int_equal(link_send(&f.end.link, bytes, sizeof bytes, &err), -1); // the cap holds
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(link_unsent(&f.end.link), sizeof bytes);
    link_pause(&f.end.link, false);
    assert_int_equal(peer_read(&f, got, sizeof bytes), sizeof bytes);
    WAIT(&f, f.end.n == 5);
    // The peer leaves meanwhile: noticed when it goes on, what it sent before included.
    link_pause(&f.end.link, true);
    assert_int_equal(link_send(&f.end.link, "x", 1, NULL), 0);
    assert_int_equal(write(f.peer, "bye", 3), 3);
    close(f.peer);
    f.peer = -1;
    for (int i = 0; i < 5; i++)
        loop_turn(f.loop, 2000);
    assert_int_equal(f.end.closed, 0);
    link_pause(&f.end.link, false);
    WAIT(&f, f.end.closed);
    assert_int_equal(f.end.n, 8);
    fixture_open(&f); // a new connection is not paused
    assert_int_equal(link_send(&f.end.link, "y", 1, NULL), 0);
    assert_int_equal(peer_read(&f, got, 1), 1);
    link_pause(&f.end.link, true);
    link_close(&f.end.link, LINK_FLUSH);
    fixture_destroy(&f);
}

// --- filters of one connection

struct marked { // remembers what it was told, in order, in a shared text
    struct link_filter f;
    char *log;
    char mark;
};

static void mark(struct link_filter *f, char what)
{
    struct marked *m = (struct marked *)f;
    size_t n = strlen(m->log);
    m->log[n] = what;
    m->log[n + 1] = m->mark;
    m->log[n + 2] = '\0';
}

static int marked_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    mark(f, 'd');
    return link_filter_down(f, bytes, n, err);
}

static void marked_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    if (n == 1 && *bytes == '!') { // gives up
        struct error why;
        error_set(&why, ERR_PROTOCOL, "no !");
        (void)!link_filter_down(f, (const uint8_t *)"alert", 5, NULL);
        link_filter_closed(f, &why);
        return;
    }
    link_filter_up(f, bytes, n);
}

static void marked_finish(struct link_filter *f)
{
    mark(f, 'f');
    (void)!link_filter_down(f, (const uint8_t *)"bye", 3, NULL);
}

static size_t marked_footprint(const struct link_filter *f)
{
    (void)f;
    return 1000;
}

static void marked_destroy(struct link_filter *f)
{
    mark(f, 'x');
    free(f);
}

static const struct link_filter_type marked_type = {.name = "marked",
                                                    .down = marked_down,
                                                    .up = marked_up,
                                                    .finish = marked_finish,
                                                    .footprint = marked_footprint,
                                                    .destroy = marked_destroy};

static struct link_filter *marked_new(char *log, char name)
{
    struct marked *m = calloc(1, sizeof *m);
    m->f.type = &marked_type;
    m->log = log;
    m->mark = name;
    return &m->f;
}

static void push_fault(void *arg, struct link *link)
{
    link_filter_push(link, marked_new(arg, '1'));
}

static void filters_of_a_connection(void **state)
{
    (void)state;
    struct fixture f;
    char log[200] = "";
    uint8_t got[64];
    struct link_env_config config = {.on_create = push_fault, .on_create_arg = log};
    fixture_create(&f, &config);
    // What was pushed for the connection lies above what on_create pushes.
    link_filter_push(&f.end.link, marked_new(log, '2'));
    link_filter_push(&f.end.link, marked_new(log, '3'));
    fixture_open(&f);
    assert_int_equal(link_footprint(&f.end.link), 3000);
    assert_int_equal(link_send(&f.end.link, "x", 1, NULL), 0);
    assert_string_equal(log, "d3d2d1");
    // In order: each says its last word, from the top down, behind what was sent.
    log[0] = '\0';
    link_close(&f.end.link, LINK_FLUSH);
    assert_string_equal(log, "f3d2d1f2d1f1");
    assert_int_equal(peer_read(&f, got, 10), 10);
    assert_memory_equal(got, "xbyebyebye", 10);
    loop_turn(f.loop, 0);
    close(f.peer);
    // A filter that gives up: its last words are sent before the end.
    log[0] = '\0';
    fixture_open(&f);
    assert_int_equal(write(f.peer, "!", 1), 1);
    WAIT(&f, f.end.closed);
    assert_int_equal(f.end.why.code, ERR_PROTOCOL);
    assert_int_equal(peer_read(&f, got, sizeof got), 8);
    assert_memory_equal(got, "alertbye", 8);
    assert_string_equal(log, "f1x1");
    // A connection that cannot be opened takes its filters with it, and so does closing one that never was.
    log[0] = '\0';
    struct link_addr nowhere = f.addr;
    ((struct sockaddr_in *)&nowhere.addr)->sin_addr.s_addr = htonl(0xc0000201); // 192.0.2.1 cannot be bound
    link_filter_push(&f.end.link, marked_new(log, '2'));
    assert_int_equal(link_open(&f.end.link, &f.addr, &nowhere, NULL), -1);
    assert_null(f.end.link.top);
    link_filter_push(&f.end.link, marked_new(log, '3'));
    link_close(&f.end.link, LINK_ABORT);
    assert_null(f.end.link.top);
    loop_turn(f.loop, 0);
    assert_string_equal(log, "x3x2");
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_once_a_turn),
        cmocka_unit_test(partial_writes_and_the_cap),
        cmocka_unit_test(the_cap_counts_only_what_the_kernel_refuses),
        cmocka_unit_test(many_links),
        cmocka_unit_test(ends),
        cmocka_unit_test(last_words_are_heard),
        cmocka_unit_test(fails_at_once),
        cmocka_unit_test(filters_look_like_the_socket),
        cmocka_unit_test(the_adapter_closes_inside_a_filter),
        cmocka_unit_test(a_filter_that_fails_ends_the_link),
        cmocka_unit_test(filters_come_and_go_while_open),
        cmocka_unit_test(adopted_descriptors),
        cmocka_unit_test(a_paused_link_stands_still),
        cmocka_unit_test(filters_of_a_connection),
    };
    int failed = 0;
    for (io = LINK_IO_EPOLL; io <= LINK_IO_URING; io++) {
        struct error why;
        struct submit *ring = io == LINK_IO_URING ? submit_new(&why) : NULL;
        if (io == LINK_IO_URING && !ring) {
            printf("not run with io_uring: %s\n", why.text);
            break;
        }
        submit_delete(ring);
        printf("%s:\n", link_io_names[io]);
        failed += cmocka_run_group_tests_name(link_io_names[io], tests, NULL, NULL);
    }
    return failed;
}
