// Paths when memory runs out: every allocation fails once, at every place. Nothing crashes or leaks, and bytes of
// streams are never lost: the connection ends instead.
#include "path_world.h"

#include <sys/socket.h>
#include <unistd.h>

// The linker sends the room's calls here (tests/unit/CMakeLists.txt).
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static struct {
    long until; // allocations until one fails; < 0: none
    bool every; // and all after it
    unsigned failed;
} fate = {-1, false, 0};

static bool fails(void)
{
    if (fate.until < 0 || fate.until-- > 0)
        return false;
    fate.failed++;
    if (fate.every)
        fate.until = 0;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

struct end {
    struct link link;
    uint64_t read;
    unsigned closed, opened;
    struct error why;
};

static void on_open(struct link *link)
{
    container_of(link, struct end, link)->opened++;
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct end *e = container_of(link, struct end, link);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], (uint8_t)((e->read + i) * 7));
    e->read += n;
}

static void on_close(struct link *link, const struct error *why)
{
    struct end *e = container_of(link, struct end, link);
    e->closed++;
    e->why = *why;
}

static const struct link_events events = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

struct ports {
    unsigned delivered, cut;
};

static void deliver(void *owner, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    (void)direction, (void)bytes, (void)n;
    ((struct ports *)owner)->delivered++;
}

static void cut(void *owner, const struct error *why)
{
    (void)why;
    ((struct ports *)owner)->cut++;
}

static const struct path_port_events port_events = {.deliver = deliver, .cut = cut};

// A connection both ways under faults, a stream port and a datagram port; with allocation number `at` failing.
// Whether there was one.
static bool story(long at, bool every)
{
    struct world w;
    struct end e = {.read = 0};
    struct ports ports = {0, 0};
    uint8_t bytes[3000], got[3000];
    int fds[2];
    size_t n_got = 0;
    world_create(&w);
    struct link_env *links = link_env_new(w.loop, NULL, NULL);
    struct fault_spec *spec =
        spec_of("{'latency': {'value': '50ms', 'jitter': '20ms'}, 'loss': '10%', 'duplicate': '20%', "
                "'bandwidth': '2mbit'}");
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    link_create(&e.link, links, &events);
    assert_int_equal(link_adopt(&e.link, fds[0], NULL), 0);
    while (!e.opened)
        loop_turn(w.loop, 0);
    fate.failed = 0;
    fate.every = every;
    fate.until = at;
    struct error err;
    err.code = ERR_NONE;
    struct path *p = path_new(w.env, 3, &err);
    struct path_peer peer = {.protocol = "mqtt"};
    struct path_port *stream = NULL, *datagrams = NULL;
    bool sent = false;
    if (p && path_apply(p, 1, spec, &err) == 0 && path_attach_link(p, &e.link, &peer, &err) == 0 &&
        (stream = path_port_new(p, true, &peer, &port_events, &ports, &err)) &&
        (datagrams = path_port_new(p, false, &peer, &port_events, &ports, &err))) {
        sent = link_send(&e.link, bytes, sizeof bytes, &err) == 0;
        assert_int_equal(write(fds[1], bytes, sizeof bytes), sizeof bytes);
        for (int i = 0; i < 10; i++) {
            (void)!path_port_pass(stream, i % 2, bytes, 500);
            (void)!path_port_pass(datagrams, i % 2, bytes, 500);
            loop_turn(w.loop, 10 * MS);
        }
        world_run(&w, 30 * SECOND);
    } else {
        assert_int_equal(err.code, ERR_NO_MEMORY);
    }
    if (sent && !e.closed && !every) { // without any memory all segments are lost
        ssize_t n = read(fds[1], got, sizeof got);
        n_got = n > 0 ? (size_t)n : 0;
        assert_int_equal(n_got, sizeof got);
        assert_memory_equal(got, bytes, sizeof got);
        assert_int_equal(e.read, sizeof bytes);
    }
    // What is under way when the device closes goes on without it, if there is memory for that.
    if (e.link.state == LINK_OPEN)
        (void)!link_send(&e.link, "bye", 3, NULL);
    link_close(&e.link, LINK_FLUSH);
    path_port_delete(stream);
    path_port_delete(datagrams);
    world_run(&w, 30 * SECOND);
    fate.until = -1;
    fate.every = false;
    path_release(p);
    fault_spec_release(spec);
    world_run(&w, SECOND);
    path_env_delete(w.env);
    struct link_totals totals;
    link_env_totals(links, &totals);
    assert_int_equal(totals.open, 0);
    link_env_delete(links);
    loop_delete(w.loop);
    close(fds[1]);
    return fate.failed > 0;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    long at = 0;
    while (story(at, false))
        at++;
    printf("# %ld allocations, each failed once\n", at);
    assert_true(at > 20);
}

static void memory_is_out_from_a_moment_on(void **state)
{
    (void)state;
    long at = 0;
    while (story(at, true) && at < 200)
        at++;
    assert_true(at > 20);
}

static void no_env_without_memory(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w);
    for (long at = 0; at < 2; at++) {
        fate.until = at;
        assert_null(path_env_new(w.loop, &err));
        assert_int_equal(err.code, ERR_NO_MEMORY);
    }
    fate.until = -1;
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(memory_is_out_from_a_moment_on),
        cmocka_unit_test(no_env_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
