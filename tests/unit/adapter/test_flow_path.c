// Flows of plugins, adapters in Lua and iotix.link over a bad network: streams and datagrams.
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
#include <sys/socket.h>
#include <unistd.h>
#include "adapter/adapter.h"
#include "adapter/flow.h"
#include "core/loop.h"
#include "net.h"

struct world {
    struct clock clock;
    struct loop *loop;
    struct adapter_env env;
    struct net net;
    bool datagram;
    // An echo server.
    ev_io listening, io;
    int fd, client; // of datagrams: fd
    uint16_t port;
    size_t served; // bytes, datagrams
    bool reset;    // the client's end came by RST
    bool ended;
    // The flow.
    struct endpoint *endpoint;
    struct flow *flow;
    unsigned opened, closed, drained, errors;
    struct error why;
    uint8_t *in;
    size_t n;
    unsigned datagrams;
    bool delete_on_data;
};

#define WAIT(w, cond)                                                                                                  \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + 10000000;                                                          \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            loop_turn((w)->loop, 20000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)

static void on_bytes(struct ev_loop *ev, ev_io *io, int revents)
{
    struct world *w = container_of(io, struct world, io);
    uint8_t bytes[65536];
    (void)ev, (void)revents;
    ssize_t n = recv(w->client, bytes, sizeof bytes, 0);
    if (n > 0) {
        w->served += (size_t)n;
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = send(w->client, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN)
                break;
            at += sent > 0 ? sent : 0;
        }
        return;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    w->reset = n < 0;
    w->ended = true;
    ev_io_stop(loop_ev(w->loop), &w->io);
    close(w->client);
    w->client = -1;
}

static void on_ready(struct ev_loop *ev, ev_io *io, int revents)
{
    struct world *w = container_of(io, struct world, listening);
    (void)revents;
    if (w->datagram) {
        uint8_t bytes[2048];
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(w->fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &len);
        if (n < 0)
            return;
        w->served++;
        (void)!sendto(w->fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, len);
        return;
    }
    w->client = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(w->client >= 0);
    w->ended = w->reset = false;
    ev_io_init(&w->io, on_bytes, w->client, EV_READ);
    ev_io_start(ev, &w->io);
}

static void on_open(void *owner)
{
    struct world *w = owner;
    w->opened++;
}

static void on_data(void *owner, const uint8_t *bytes, size_t n)
{
    struct world *w = owner;
    w->in = realloc(w->in, w->n + n + 1);
    memcpy(w->in + w->n, bytes, n);
    w->n += n;
    w->datagrams++;
    if (w->delete_on_data) {
        flow_delete(w->flow);
        w->flow = NULL;
    }
}

static void on_drain(void *owner)
{
    struct world *w = owner;
    w->drained++;
}

static void on_close(void *owner, const struct error *why)
{
    struct world *w = owner;
    w->closed++;
    w->why = *why;
}

static void on_error(void *owner, const struct error *why)
{
    struct world *w = owner;
    w->errors++;
    w->why = *why;
}

static const struct iotix_flow_events flow_events = {on_open, on_data, on_drain, on_close, on_error};

static void world_create(struct world *w, bool datagram, const char *host, bool tls, const char *options)
{
    struct error err;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    memset(w, 0, sizeof *w);
    clock_create_real(&w->clock);
    assert_non_null(w->loop = loop_new(&w->clock, &err));
    w->env.loop = w->loop;
    assert_non_null(w->env.links = link_env_new(w->loop, NULL, &err));
    assert_non_null(w->env.resolver = resolver_new(w->loop, &err));
    assert_non_null(w->env.metrics = metrics_new(100));
    net_create(&w->net, w->loop);
    w->datagram = datagram;
    w->client = -1;
    w->fd = socket(AF_INET, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(w->fd, (struct sockaddr *)&at, &len), 0);
    w->port = ntohs(at.sin_port);
    if (!datagram)
        assert_int_equal(listen(w->fd, 8), 0);
    ev_io_init(&w->listening, on_ready, w->fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &w->listening);
    json_t *o = options ? json_loads(options, 0, NULL) : NULL;
    struct iotix_endpoint config = {.size = sizeof config,
                                    .host = host,
                                    .port = w->port,
                                    .datagram = datagram,
                                    .tls = tls,
                                    .options = o,
                                    .protocol = "line"};
    assert_non_null(w->endpoint = endpoint_new(&w->env, &config, &err));
    json_decref(o);
    assert_non_null(w->flow = flow_new(w->endpoint, &flow_events, w, NULL, NULL, &err));
    flow_path(w->flow, w->net.path);
}

static void world_destroy(struct world *w)
{
    struct link_totals totals;
    flow_delete(w->flow);
    endpoint_delete(w->endpoint);
    net_destroy(&w->net);
    ev_io_stop(loop_ev(w->loop), &w->listening);
    close(w->fd);
    if (w->client >= 0) {
        ev_io_stop(loop_ev(w->loop), &w->io);
        close(w->client);
    }
    loop_turn(w->loop, 0);
    link_env_totals(w->env.links, &totals);
    assert_int_equal(totals.open, 0);
    resolver_delete(w->env.resolver);
    link_env_delete(w->env.links);
    metrics_delete(w->env.metrics);
    loop_delete(w->loop);
    free(w->in);
}

static void open_flow(struct world *w)
{
    struct error err;
    unsigned before = w->opened;
    assert_int_equal(flow_open(w->flow, &err), 0);
    WAIT(w, w->opened == before + 1 || w->closed);
    if (w->closed)
        fail_msg("%s", w->why.text);
}

static void send_text(struct world *w, const char *text)
{
    struct error err;
    assert_int_equal(flow_send(w->flow, text, strlen(text), &err), 0);
}

static int64_t echo(struct world *w)
{
    size_t before = w->n;
    int64_t begun = net_now(&w->net);
    send_text(w, "ping");
    WAIT(w, w->n == before + 4);
    assert_memory_equal(w->in + before, "ping", 4);
    return net_now(&w->net) - begun;
}

static void between(int64_t us, int64_t least_ms, int64_t most_ms)
{
    if (us < least_ms * NET_MS || us > most_ms * NET_MS)
        fail_msg("it took %.1f ms, expected %d to %d", (double)us / 1e3, (int)least_ms, (int)most_ms);
}

static void every_round_trip_takes_its_time(void **state)
{
    (void)state;
    for (int datagram = 0; datagram < 2; datagram++) {
        struct world w;
        world_create(&w, datagram, "127.0.0.1", false, NULL);
        net_fault(&w.net, 1, "{'rtt':0.06}");
        int64_t begun = net_now(&w.net);
        open_flow(&w);
        between(net_now(&w.net) - begun, datagram ? 0 : 60, datagram ? 30 : 110);
        int64_t us = echo(&w);
        print_message("%s, rtt 60 ms: %.1f ms\n", datagram ? "datagram" : "stream", (double)us / 1e3);
        between(us, 60, 110);
        // It ends in mid-flight: what is under way takes its time, what follows on a stream waits for it.
        send_text(&w, "late");
        loop_turn(w.loop, 0);
        loop_turn(w.loop, 0);
        net_heal(&w.net, 1);
        flow_path(w.flow, NULL);
        begun = net_now(&w.net);
        send_text(&w, "next");
        WAIT(&w, w.n == 12);
        assert_memory_equal(w.in + 4, datagram ? "nextlate" : "latenext", 8);
        between(net_now(&w.net) - begun, 25, 60); // the way back is free
        between(echo(&w), 0, 30);
        assert_int_equal(w.closed, 0);
        world_destroy(&w);
    }
}

static void a_fault_begins_on_an_open_flow(void **state)
{
    (void)state;
    for (int datagram = 0; datagram < 2; datagram++) {
        struct world w;
        world_create(&w, datagram, "127.0.0.1", false, NULL);
        flow_path(w.flow, NULL);
        open_flow(&w);
        between(echo(&w), 0, 30);
        net_fault(&w.net, 1, "{'rtt':0.06}");
        flow_path(w.flow, w.net.path);
        flow_path(w.flow, w.net.path);
        between(echo(&w), 60, 110);
        world_destroy(&w);
    }
}

static void a_partition_loses_nothing_of_a_stream(void **state)
{
    struct world w;
    struct error err;
    uint8_t *body = malloc(400000);
    (void)state;
    for (size_t i = 0; i < 400000; i++)
        body[i] = (uint8_t)(i * 7 + i / 1000);
    world_create(&w, false, "127.0.0.1", false, NULL);
    net_fault(&w.net, 1, "{'rtt':0.01,'loss':0.01}");
    open_flow(&w);
    assert_int_equal(flow_send(w.flow, body, 400000, &err), 0);
    WAIT(&w, w.n > 30000);
    net_fault(&w.net, 2, "{'partition':true}");
    size_t before = 0;
    net_run(&w.net, 100 * NET_MS);
    before = w.n;
    net_run(&w.net, 100 * NET_MS);
    assert_int_equal(w.n, before);
    assert_true(before < 400000);
    net_heal(&w.net, 2);
    net_heal(&w.net, 1);
    flow_path(w.flow, NULL);
    WAIT(&w, w.n == 400000);
    assert_memory_equal(w.in, body, 400000);
    assert_int_equal(w.closed, 0);
    free(body);
    world_destroy(&w);
}

static void datagrams_are_lost_and_cut_off(void **state)
{
    struct world w;
    (void)state;
    world_create(&w, true, "127.0.0.1", false, NULL);
    net_fault(&w.net, 9, "{'latency':0.001}");
    open_flow(&w);
    echo(&w);
    net_fault(&w.net, 1, "{'loss':1}");
    for (int i = 0; i < 10; i++)
        send_text(&w, "x");
    net_run(&w.net, 30 * NET_MS);
    assert_int_equal(w.served, 1);
    net_heal(&w.net, 1);
    net_fault(&w.net, 2, "{'partition':{'direction':'down','protocols':['line']}}");
    send_text(&w, "y");
    WAIT(&w, w.served == 2);
    net_run(&w.net, 30 * NET_MS);
    assert_int_equal(w.datagrams, 1);
    net_heal(&w.net, 2);
    net_fault(&w.net, 3, "{'duplicate':1}");
    send_text(&w, "z");
    WAIT(&w, w.datagrams == 5); // twice there, each twice back
    assert_int_equal(net_totals(&w.net).dropped[PATH_UP], 10);
    assert_int_equal(net_totals(&w.net).dropped[PATH_DOWN], 1);
    world_destroy(&w);
}

static void a_reset_ends_a_stream(void **state)
{
    struct world w;
    (void)state;
    world_create(&w, false, "127.0.0.1", false, NULL);
    net_fault(&w.net, 9, "{'latency':0.001}");
    open_flow(&w);
    echo(&w);
    net_fault(&w.net, 1, "{'reset':true}");
    WAIT(&w, w.closed == 1 && w.ended);
    assert_int_equal(w.why.code, ERR_CLOSED);
    assert_non_null(strstr(w.why.text, "reset"));
    assert_true(w.reset);
    w.closed = 0;
    open_flow(&w);
    echo(&w);
    world_destroy(&w);
}

static void connects_fail_as_they_are_told_to(void **state)
{
    static const struct {
        const char *fault, *host;
        bool datagram, tls;
        enum error_code code;
    } all[] = {{"{'connect':{'refuse':1}}", "127.0.0.1", false, false, ERR_REFUSED},
               {"{'connect':{'refuse':1}}", "127.0.0.1", true, false, ERR_REFUSED},
               {"{'connect':{'timeout':1}}", "127.0.0.1", false, false, ERR_TIMEOUT},
               {"{'connect':{'timeout':1}}", "127.0.0.1", true, false, ERR_TIMEOUT},
               {"{'dns':{'fail':1}}", "localhost", false, false, ERR_RESOLVE},
               {"{'dns':{'fail':1}}", "localhost", true, false, ERR_RESOLVE},
               {"{'partition':true}", "127.0.0.1", false, false, ERR_TIMEOUT},
               {"{'tls':{'fail':1}}", "127.0.0.1", false, true, ERR_TLS}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct world w;
        struct error err;
        world_create(&w, all[i].datagram, all[i].host, all[i].tls, "{\"connectTimeout\":\"120ms\"}");
        net_fault(&w.net, 1, all[i].fault);
        net_fault(&w.net, 2, "{'rtt':0.01}");
        assert_int_equal(flow_open(w.flow, &err), 0);
        assert_int_equal(w.closed, 0);
        WAIT(&w, w.closed == 1);
        if (w.why.code != all[i].code)
            fail_msg("%s (%s): %s", all[i].fault, all[i].datagram ? "datagram" : "stream", w.why.text);
        assert_int_equal(w.opened, 0);
        if (!all[i].tls) {
            net_heal(&w.net, 1);
            w.closed = 0;
            open_flow(&w);
            echo(&w);
        }
        world_destroy(&w);
    }
}

// A lookup takes its round trip, and its delay; datagrams have nothing else to wait for.
static void lookups_take_their_time(void **state)
{
    (void)state;
    struct world w;
    world_create(&w, true, "localhost", false, NULL);
    net_fault(&w.net, 1, "{'rtt':0.03,'dns':{'delay':0.04}}");
    int64_t begun = net_now(&w.net);
    open_flow(&w);
    between(net_now(&w.net) - begun, 70, 120);
    world_destroy(&w);
}

static void flows_may_go_at_any_moment(void **state)
{
    struct error err;
    (void)state;
    for (int datagram = 0; datagram < 2; datagram++)
        for (int when = 0; when < 4; when++) {
            struct world w;
            world_create(&w, datagram, "localhost", false, NULL);
            net_fault(&w.net, 1, "{'rtt':0.02}");
            assert_int_equal(flow_open(w.flow, &err), 0);
            if (when == 0) // while it is looked up
                net_run(&w.net, 5 * NET_MS);
            if (when > 0)
                WAIT(&w, w.opened == 1);
            if (when > 1)
                send_text(&w, "held");
            if (when == 2) // while bytes are held
                net_run(&w.net, 3 * NET_MS);
            w.delete_on_data = when == 3; // from the path itself
            if (when == 3)
                WAIT(&w, !w.flow);
            else
                flow_delete(w.flow);
            w.flow = NULL;
            net_run(&w.net, 5 * NET_MS);
            world_destroy(&w);
        }
}

// A graceful close brings what was sent.
static void the_last_words_are_brought(void **state)
{
    struct world w;
    (void)state;
    world_create(&w, false, "127.0.0.1", false, NULL);
    net_fault(&w.net, 1, "{'latency':0.05}");
    open_flow(&w);
    send_text(&w, "goodbye");
    flow_close(w.flow, true);
    flow_delete(w.flow);
    w.flow = NULL;
    WAIT(&w, w.ended);
    assert_int_equal(w.served, 7);
    assert_false(w.reset);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_round_trip_takes_its_time),
        cmocka_unit_test(a_fault_begins_on_an_open_flow),
        cmocka_unit_test(a_partition_loses_nothing_of_a_stream),
        cmocka_unit_test(datagrams_are_lost_and_cut_off),
        cmocka_unit_test(a_reset_ends_a_stream),
        cmocka_unit_test(connects_fail_as_they_are_told_to),
        cmocka_unit_test(lookups_take_their_time),
        cmocka_unit_test(flows_may_go_at_any_moment),
        cmocka_unit_test(the_last_words_are_brought),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
