// Dropouts: the formulas, the choice of devices, and whole groups that lose some.
#include "fake.h"
#include "core/jsonx.h"
#include "device/choice.h"
#include "device/dropout.h"

#define SECOND 1000000

static struct dropout parse(const char *text)
{
    struct error err = {0};
    struct dropout d = {0};
    json_t *spec = json_parse(text, strlen(text), "test", &err);
    if (!spec || dropout_parse(spec, &d, &err))
        fail_msg("%s: %s", text, err.text);
    json_decref(spec);
    return d;
}

static void refuse(const char *text, const char *part)
{
    struct error err = {0};
    struct dropout d;
    json_t *spec = json_parse(text, strlen(text), "test", &err);
    assert_non_null(spec);
    assert_int_equal(dropout_parse(spec, &d, &err), -1);
    if (!strstr(err.text, part))
        fail_msg("%s: \"%s\" does not contain \"%s\"", text, err.text, part);
    json_decref(spec);
}

static void test_parse(void **state)
{
    (void)state;
    struct dropout d = parse("{\"strategy\":\"linear\",\"percentage\":10,\"delayMs\":20,\"reconnect\":true,"
                             "\"reconnectDelayMs\":500}"); // as published
    assert_int_equal(d.delay_us, 20000);
    assert_int_equal(d.reconnect_delay_us, 500000);
    assert_true(d.reconnect);
    assert_false(d.graceful || d.timed);
    assert_int_equal(dropout_count(&d, 1000), 100);
    d = parse("{\"count\":7,\"at\":30000000,\"mode\":\"graceful\"}");
    assert_true(d.timed && d.graceful);
    assert_int_equal(dropout_count(&d, 1000), 7);
    assert_int_equal(dropout_count(&d, 5), 5);
    refuse("[]", "expected an object");
    refuse("{}", "either \"count\"");
    refuse("{\"count\":1,\"percentage\":1}", "either \"count\"");
    refuse("{\"count\":0}", "whole number");
    refuse("{\"count\":1.5}", "whole number");
    refuse("{\"percentage\":101}", "at most 100");
    refuse("{\"percentage\":0}", "above 0");
    refuse("{\"count\":1,\"strategy\":\"lineer\"}", "did you mean \"linear\"");
    refuse("{\"count\":1,\"mode\":\"hard\"}", "valid: abrupt, graceful");
    refuse("{\"count\":1,\"reconect\":true}", "did you mean \"reconnect\"");
    refuse("{\"count\":1,\"delay\":1,\"delayMs\":1}", "say the same");
    refuse("{\"count\":1,\"delay\":-1}", "0 or more");
    refuse("{\"count\":1,\"base\":0}", "base must be");
}

static void test_times(void **state)
{
    (void)state;
    struct dropout d = parse("{\"count\":10}");
    assert_int_equal(dropout_delay_us(&d, 10, 9, 0.5), 0);
    d = parse("{\"strategy\":\"linear\",\"count\":10,\"delay\":1000}");
    assert_int_equal(dropout_delay_us(&d, 10, 9, 0.5), 9000);
    d = parse("{\"strategy\":\"linear\",\"count\":10,\"duration\":1000}");
    assert_int_equal(dropout_delay_us(&d, 10, 5, 0.9), 500);
    d = parse("{\"strategy\":\"exponential\",\"count\":10,\"delay\":1000,\"base\":2}");
    assert_int_equal(dropout_delay_us(&d, 10, 3, 0.9), 7000);
    d = parse("{\"strategy\":\"random\",\"count\":10,\"duration\":1000}");
    assert_int_equal(dropout_delay_us(&d, 10, 3, 0.25), 250);
}

// A permutation for every count, another one for another seed, group or salt, and no visible order in it.
static void test_choice(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 5, 64, 65, 1000, 4097, 100000};
    for (unsigned k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
        struct choice a, b;
        uint64_t n = counts[k], same = 0, low = 0;
        choice_create(&a, 1, "g", 0, n);
        choice_create(&b, 1, "g", 1, n);
        bool *seen = calloc(n, sizeof(*seen));
        for (uint64_t i = 0; i < n; i++) {
            uint64_t rank = choice_rank(&a, i);
            assert_true(rank < n);
            assert_false(seen[rank]);
            seen[rank] = true;
            same += rank == choice_rank(&b, i);
            low += i < n / 2 && rank < n / 2;
        }
        free(seen);
        if (n >= 1000) {
            assert_true(same < 20);
            assert_in_range(low, n / 4 - n / 20, n / 4 + n / 20);
        }
    }
}

// --- whole groups -------------------------------------------------------------------------------------------------

enum { COUNT = 200 };

struct world {
    struct fleet *fleets[4];
    unsigned shards;
    struct model *model;
    struct dropout spec;
};

// The same group on 1 … 4 "shards", all on one clock.
static void world_new(struct world *w, unsigned shards, const char *dropout, bool resumed, int64_t start_us)
{
    fake_setup();
    fake.auto_online = true;
    w->shards = shards;
    w->model = model_of(SENSOR);
    w->spec = parse(dropout);
    for (unsigned i = 0; i < shards; i++) {
        struct fleet_config config = fake_fleet_config();
        config.owner = (struct ownership){0, 1, i, shards};
        config.resumed = resumed;
        w->fleets[i] = fleet_new(&config, NULL);
        struct group_config gc = fake_group_config("g", COUNT, w->model);
        gc.dropouts = &w->spec;
        gc.n_dropouts = 1;
        assert_non_null(fleet_add_group(w->fleets[i], &gc, NULL));
        fleet_start(w->fleets[i], start_us);
    }
}

static void world_delete(struct world *w)
{
    for (unsigned i = 0; i < w->shards; i++)
        fleet_delete(w->fleets[i]);
    model_delete(w->model);
    fake_teardown();
}

static unsigned offline(const struct world *w, bool *down)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->shards; i++) {
        const struct group *g = fleet_group(w->fleets[i], 0);
        unsigned here = 0;
        for (uint64_t k = 0; k < g->owned; k++) {
            bool off = g->devices[k]->conn_state == CONN_DISCONNECTED;
            if (down)
                down[g->devices[k]->index] = off;
            here += off;
        }
        assert_int_equal(g->dropped, here);
        n += here;
    }
    return n;
}

static void test_same_devices_on_any_shards(void **state)
{
    (void)state;
    bool first[COUNT + 1] = {0};
    for (unsigned shards = 1; shards <= 4; shards++) {
        struct world w;
        bool down[COUNT + 1] = {0};
        world_new(&w, shards, "{\"strategy\":\"random\",\"percentage\":15,\"at\":10000000,\"duration\":5000000}", false,
                  0);
        run_until(fake.loop, 9 * SECOND);
        assert_int_equal(offline(&w, NULL), 0);
        run_until(fake.loop, 12 * SECOND);
        unsigned part = offline(&w, NULL);
        assert_in_range(part, 1, 29);
        run_until(fake.loop, 16 * SECOND);
        assert_int_equal(offline(&w, down), 30);
        if (shards == 1)
            memcpy(first, down, sizeof(down));
        assert_memory_equal(first, down, sizeof(down));
        for (unsigned i = 0; i < shards; i++)
            assert_null(fleet_group(w.fleets[i], 0)->dropouts); // nothing is left of it
        world_delete(&w);
    }
}

static void test_come_back(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 2,
              "{\"strategy\":\"linear\",\"count\":20,\"at\":10000000,\"delay\":100000,\"reconnect\":true,"
              "\"reconnect_delay\":1000000,\"jitter\":500000}",
              false, 0);
    unsigned opens = 0;
    run_until(fake.loop, 10 * SECOND - 1000);
    opens = fake.opens;
    assert_int_equal(opens, COUNT);
    run_until(fake.loop, 11 * SECOND - 1000);
    assert_int_equal(offline(&w, NULL), 10);
    run_until(fake.loop, 20 * SECOND);
    assert_int_equal(offline(&w, NULL), 0);
    assert_int_equal(fake.opens, COUNT + 20);
    uint64_t before = fake.published;
    run_until(fake.loop, 22 * SECOND);
    assert_int_equal(fake.published - before, 2 * COUNT); // telemetry went on with all of them
    world_delete(&w);
}

// Who is stopped while it is away is not brought back; who came back by itself is left alone.
static void test_stopped_meanwhile(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 1,
              "{\"count\":200,\"at\":5000000,\"reconnect\":true,\"reconnect_delay\":5000000,\"mode\":\"graceful\"}",
              false, 0);
    run_until(fake.loop, 6 * SECOND);
    struct group *g = fleet_group(w.fleets[0], 0);
    assert_int_equal(offline(&w, NULL), COUNT);
    assert_int_equal(fake.conns->how, ADAPTER_GRACEFUL);
    assert_int_equal(device_connect(g->devices[1], NULL), 0);
    device_stop(g->devices[0], ADAPTER_GRACEFUL);
    device_destroy(g->devices[2]);
    run_until(fake.loop, 7 * SECOND);
    assert_null(g->devices[2]);
    assert_int_equal(g->dropped, COUNT - 2); // the stopped one still counts as dropped
    run_until(fake.loop, 12 * SECOND);
    assert_int_equal(g->dropped, 0);
    assert_int_equal(g->by_conn[CONN_CONNECTED], COUNT - 1);
    world_delete(&w);
}

// In place of a lost process: who was down stays down until its time.
static void test_resumed(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 2, "{\"count\":20,\"at\":10000000,\"reconnect\":true,\"reconnect_delay\":10000000}", true,
              -15 * SECOND);
    run_until(fake.loop, 2 * SECOND);
    assert_int_equal(offline(&w, NULL), 20);
    run_until(fake.loop, 6 * SECOND); // 21 s of the run
    assert_int_equal(offline(&w, NULL), 0);
    world_delete(&w);
    world_new(&w, 2, "{\"count\":20,\"at\":10000000,\"reconnect\":true,\"reconnect_delay\":1000000}", true,
              -15 * SECOND);
    run_until(fake.loop, 1 * SECOND);
    assert_int_equal(offline(&w, NULL), 0); // over and done with
    assert_int_equal(fake.opens, COUNT);
    world_delete(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),     cmocka_unit_test(test_times),
        cmocka_unit_test(test_choice),    cmocka_unit_test(test_same_devices_on_any_shards),
        cmocka_unit_test(test_come_back), cmocka_unit_test(test_stopped_meanwhile),
        cmocka_unit_test(test_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
