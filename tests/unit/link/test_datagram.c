// Datagram sockets against plain ones in the same process: send, batches, caps, ICMP errors, filters, closing inside
// events.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "link/datagram.h"

struct end {
    struct datagram d;
    unsigned received, errors;
    size_t bytes;
    uint8_t last[128];
    size_t last_n;
    struct link_addr from;
    struct error why;
    bool close_in_event;
};

static void on_datagram(struct datagram *d, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    struct end *e = container_of(d, struct end, d);
    e->received++;
    e->bytes += n;
    e->last_n = n < sizeof e->last ? n : sizeof e->last;
    memcpy(e->last, bytes, e->last_n);
    e->from = *from;
    if (e->close_in_event)
        datagram_close(d, false);
}

static void on_error(struct datagram *d, const struct error *why)
{
    struct end *e = container_of(d, struct end, d);
    e->errors++;
    e->why = *why;
    if (e->close_in_event)
        datagram_close(d, false);
}

static const struct datagram_events events = {on_datagram, on_error};

struct fixture {
    struct clock clock;
    struct loop *loop;
    struct link_env *links;
    struct datagram_env *env;
    int peer;
    struct link_addr addr; // of peer
    struct end end;
};

#define WAIT(f, cond)                                                                                                  \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((f)->loop) + 10000000;                                                          \
        while (!(cond) && loop_fresh_us((f)->loop) < until_)                                                           \
            loop_turn((f)->loop, 20000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)

static void fixture_create(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    clock_create_real(&f->clock);
    f->loop = loop_new(&f->clock, NULL);
    f->links = link_env_new(f->loop, NULL, NULL);
    f->env = link_env_datagrams(f->links, NULL);
    assert_ptr_equal(f->env, link_env_datagrams(f->links, NULL));
    f->peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in *in = (struct sockaddr_in *)&f->addr.addr;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->addr.len = sizeof *in;
    assert_int_equal(bind(f->peer, (struct sockaddr *)in, sizeof *in), 0);
    assert_int_equal(getsockname(f->peer, (struct sockaddr *)in, &f->addr.len), 0);
    datagram_create(&f->end.d, f->env, &events);
}

static void fixture_destroy(struct fixture *f)
{
    struct datagram_totals totals;
    datagram_close(&f->end.d, false);
    datagram_env_totals(f->env, &totals);
    assert_int_equal(totals.open, 0);
    link_env_delete(f->links);
    loop_delete(f->loop);
    if (f->peer >= 0)
        close(f->peer);
}

static ssize_t peer_read(struct fixture *f, char *to, size_t n)
{
    int64_t until = loop_fresh_us(f->loop) + 5000000;
    ssize_t got;
    while ((got = recv(f->peer, to, n, 0)) < 0 && loop_fresh_us(f->loop) < until)
        loop_turn(f->loop, 1000);
    return got;
}

static void datagrams_go_out_in_one_call_a_turn(void **state)
{
    struct fixture f;
    struct datagram_totals totals;
    char got[64];
    (void)state;
    fixture_create(&f);
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, NULL), 0);
    for (int i = 0; i < 50; i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "%d", i);
        assert_int_equal(datagram_send(&f.end.d, text, (size_t)n, NULL, NULL), 0);
    }
    assert_int_equal(datagram_unsent(&f.end.d), 10 + 40 * 2);
    assert_true(recv(f.peer, got, sizeof got, 0) < 0); // nothing before the end of the turn
    loop_turn(f.loop, 0);
    datagram_env_totals(f.env, &totals);
    assert_int_equal(totals.sent, 50);
    assert_int_equal(totals.send_calls, 2); // 32 and 18
    assert_int_equal(totals.bytes_out, 90);
    assert_int_equal(datagram_unsent(&f.end.d), 0);
    assert_null(f.end.d.out); // at rest it holds nothing
    for (int i = 0; i < 50; i++) {
        ssize_t n = peer_read(&f, got, sizeof got - 1);
        assert_true(n > 0);
        got[n] = '\0';
        assert_int_equal(strtol(got, NULL, 10), i);
    }
    assert_int_equal(datagram_send(&f.end.d, "", 0, NULL, NULL), 0); // an empty one is one
    assert_int_equal(peer_read(&f, got, sizeof got), 0);
    fixture_destroy(&f);
}

static void an_unconnected_socket_names_who_it_talks_to(void **state)
{
    struct fixture f;
    struct error err;
    struct link_addr own;
    struct datagram_totals totals;
    (void)state;
    fixture_create(&f);
    struct link_addr any = f.addr;
    ((struct sockaddr_in *)&any.addr)->sin_port = 0;
    assert_int_equal(datagram_send(&f.end.d, "x", 1, &f.addr, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(datagram_open(&f.end.d, &any, NULL, NULL), 0);
    assert_int_equal(datagram_open(&f.end.d, &any, NULL, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(datagram_send(&f.end.d, "x", 1, NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(datagram_local(&f.end.d, &own, NULL), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(sendto(f.peer, "hello", 5, 0, (struct sockaddr *)&own.addr, own.len), 5);
    WAIT(&f, f.end.received == 40);
    datagram_env_totals(f.env, &totals);
    assert_true(totals.receive_calls <= 5); // 16 a call
    assert_memory_equal(f.end.last, "hello", 5);
    assert_int_equal(((struct sockaddr_in *)&f.end.from.addr)->sin_port,
                     ((struct sockaddr_in *)&f.addr.addr)->sin_port);
    assert_int_equal(datagram_send(&f.end.d, "back", 4, &f.end.from, NULL), 0);
    char got[8];
    assert_int_equal(peer_read(&f, got, sizeof got), 4);
    fixture_destroy(&f);
}

static void caps_hold(void **state)
{
    struct fixture f;
    struct error err;
    static char big[DATAGRAM_MAX + 1];
    (void)state;
    fixture_create(&f);
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, NULL), 0);
    assert_int_equal(datagram_send(&f.end.d, big, sizeof big, NULL, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(datagram_unsent(&f.end.d), 0);
    datagram_pause(&f.end.d, true); // nothing goes out: the cap is what there is
    unsigned n = 0;
    while (datagram_send(&f.end.d, big, 60000, NULL, &err) == 0)
        n++;
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(n, 4); // of 256 KB
    assert_int_equal(datagram_unsent(&f.end.d), 240000);
    datagram_pause(&f.end.d, false);
    WAIT(&f, datagram_unsent(&f.end.d) == 0);
    fixture_destroy(&f);
}

static void nobody_there_is_told_and_the_socket_stays(void **state)
{
    struct fixture f;
    struct error err;
    (void)state;
    fixture_create(&f);
    close(f.peer);
    f.peer = -1;
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, &err), 0);
    for (int i = 0; i < 3; i++) {
        unsigned before = f.end.errors;
        assert_int_equal(datagram_send(&f.end.d, "x", 1, NULL, NULL), 0);
        WAIT(&f, f.end.errors > before);
        assert_int_equal(f.end.why.code, ERR_REFUSED);
        assert_true(datagram_is_open(&f.end.d));
    }
    f.end.close_in_event = true;
    assert_int_equal(datagram_send(&f.end.d, "x", 1, NULL, NULL), 0);
    WAIT(&f, !datagram_is_open(&f.end.d));
    fixture_destroy(&f);
}

static void it_may_be_closed_inside_an_event(void **state)
{
    struct fixture f;
    struct link_addr own;
    (void)state;
    fixture_create(&f);
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, NULL), 0);
    assert_int_equal(datagram_local(&f.end.d, &own, NULL), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(sendto(f.peer, "a", 1, 0, (struct sockaddr *)&own.addr, own.len), 1);
    f.end.close_in_event = true;
    WAIT(&f, f.end.received == 1);
    for (int i = 0; i < 5; i++)
        loop_turn(f.loop, 0);
    assert_int_equal(f.end.received, 1); // what was read with it goes nowhere
    f.end.close_in_event = false;
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, NULL), 0); // and opened again
    assert_int_equal(datagram_send(&f.end.d, "b", 1, NULL, NULL), 0);
    datagram_close(&f.end.d, true); // written before it closes
    char got[8];
    assert_int_equal(peer_read(&f, got, sizeof got), 1);
    fixture_destroy(&f);
}

// Drops every second datagram on the way down, doubles what comes up.
struct lossy {
    struct datagram_filter f;
    unsigned n, *destroyed;
};

static int lossy_down(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *to,
                      struct error *err)
{
    struct lossy *l = (struct lossy *)f;
    return l->n++ % 2 ? 0 : datagram_filter_down(f, bytes, n, to, err);
}

static void lossy_up(struct datagram_filter *f, const uint8_t *bytes, size_t n, const struct link_addr *from)
{
    datagram_filter_up(f, bytes, n, from);
    datagram_filter_up(f, bytes, n, from);
}

static void lossy_destroy(struct datagram_filter *f)
{
    struct lossy *l = (struct lossy *)f;
    ++*l->destroyed;
    assert_null(f->datagram);
    assert_int_equal(datagram_filter_down(f, NULL, 0, NULL, NULL), -1);
    free(l);
}

static const struct datagram_filter_type lossy_type = {"lossy", lossy_down, lossy_up, lossy_destroy};

static void push_lossy(struct fixture *f, unsigned *destroyed)
{
    struct lossy *l = calloc(1, sizeof *l);
    l->f.type = &lossy_type;
    l->destroyed = destroyed;
    datagram_filter_push(&f->end.d, &l->f);
}

static void filters_see_every_datagram(void **state)
{
    struct fixture f;
    struct link_addr own;
    struct datagram_totals totals;
    unsigned destroyed = 0;
    (void)state;
    fixture_create(&f);
    assert_int_equal(datagram_open(&f.end.d, NULL, &f.addr, NULL), 0);
    push_lossy(&f, &destroyed);
    push_lossy(&f, &destroyed);
    for (int i = 0; i < 8; i++)
        assert_int_equal(datagram_send(&f.end.d, "x", 1, NULL, NULL), 0);
    loop_turn(f.loop, 0);
    datagram_env_totals(f.env, &totals);
    assert_int_equal(totals.sent, 2); // a quarter
    assert_int_equal(datagram_local(&f.end.d, &own, NULL), 0);
    assert_int_equal(sendto(f.peer, "y", 1, 0, (struct sockaddr *)&own.addr, own.len), 1);
    WAIT(&f, f.end.received == 4);
    datagram_close(&f.end.d, false);
    assert_int_equal(destroyed, 0); // at the end of the turn
    loop_turn(f.loop, 0);
    assert_int_equal(destroyed, 2);
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagrams_go_out_in_one_call_a_turn),
        cmocka_unit_test(an_unconnected_socket_names_who_it_talks_to),
        cmocka_unit_test(caps_hold),
        cmocka_unit_test(nobody_there_is_told_and_the_socket_stays),
        cmocka_unit_test(it_may_be_closed_inside_an_event),
        cmocka_unit_test(filters_see_every_datagram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
