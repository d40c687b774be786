// Faults on the devices of processes: whose they are on any number of shards, devices that come and go meanwhile,
// connections that are made meanwhile, clocks, what is refused, and timelines in virtual time.
#include "device/fake.h"

#include "chaos/chaos.h"
#include "chaos/timeline.h"
#include "core/jsonx.h"
#include "device/change.h"
#include "device/impair.h"
#include "link/path_impl.h"

#define SECOND 1000000
enum { COUNT = 100 };

struct shard {
    struct path_env *paths;
    struct chaos *chaos;
    struct fleet *fleet;
    struct metrics *metrics;
};

struct world {
    struct shard shards[3];
    unsigned n;
    struct model *model;
    unsigned answers;
    uint64_t affected;
    struct error error;
};

static int op_start(void *arg, struct device *d, struct error *err)
{
    (void)arg, (void)d, (void)err;
    return 0;
}

static void op_stop(void *arg, struct device *d)
{
    (void)arg, (void)d;
}

static const struct device_ops ops = {.start = op_start, .stop = op_stop};

// An adapter that can be impaired: it notes whether a connection has a path.
static void with_path(struct adapter_conn *c, struct path *path)
{
    c->notified = path != NULL;
}

static const struct adapter_ops *find(const char *name)
{
    static struct adapter_ops impaired; // what it holds never changes
    impaired = fake_ops;
    impaired.conn_path = with_path;
    return strcmp(name, "plain") != 0 ? &impaired : &fake_ops;
}

static void add_group(struct world *w, unsigned i, const char *name, const char *url)
{
    struct error err = {0};
    bool plain = strcmp(name, "plain") == 0; // its behaviour does nothing: a model would have to speak its protocol
    struct group_config gc = fake_group_config(name, COUNT, plain ? NULL : w->model);
    gc.url = url;
    if (!fleet_add_group(w->shards[i].fleet, &gc, &err))
        fail_msg("%s", err.text);
}

static void setup(struct world *w, unsigned n, bool network)
{
    struct error err;
    memset(w, 0, sizeof(*w));
    fake_setup();
    fake.auto_online = true;
    w->n = n;
    w->model = model_of(SENSOR);
    for (unsigned i = 0; i < n; i++) {
        struct shard *s = &w->shards[i];
        s->metrics = metrics_new(1000);
        s->paths = network ? path_env_new(fake.loop, &err) : NULL;
        s->chaos = chaos_new(&(struct chaos_config){fake.loop, s->paths, s->metrics}, &err);
        struct fleet_config fc = fake_fleet_config();
        fc.owner = (struct ownership){0, 1, i, n};
        fc.find_adapter = find;
        fc.ops = &ops;
        fc.paths = s->paths;
        fc.on_made = chaos_device_made;
        fc.on_gone = chaos_device_gone;
        fc.on_made_arg = s->chaos;
        s->fleet = fleet_new(&fc, NULL);
        add_group(w, i, "a", "fake://nowhere");
        add_group(w, i, "b", "fake://nowhere");
        add_group(w, i, "plain", "plain://nowhere"); // its adapter knows nothing of paths
        chaos_attach(s->chaos, s->fleet);
        fleet_start(s->fleet, 0);
    }
}

static void teardown(struct world *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        chaos_delete(w->shards[i].chaos);
        fleet_delete(w->shards[i].fleet);
        path_env_delete(w->shards[i].paths);
        metrics_delete(w->shards[i].metrics);
    }
    model_delete(w->model);
    fake_teardown();
}

static void answered(void *arg, const json_t *answer, const struct error *err)
{
    struct world *w = arg;
    w->answers++;
    w->affected += (uint64_t)json_integer_value(json_object_get(answer, "affected"));
    if (err)
        w->error = *err;
}

static int try(struct world *w, const char *text, struct error *err)
{
    int rc = 0;
    w->answers = 0;
    w->affected = 0;
    w->error = (struct error){0};
    json_t *change = json_parse(text, strlen(text), "change", err);
    assert_non_null(change);
    for (unsigned i = 0; i < w->n && !rc; i++)
        rc = chaos_change(w->shards[i].chaos, change, answered, w, err);
    json_decref(change);
    return rc;
}

// To every shard; until all have answered. How many devices.
static uint64_t tell(struct world *w, const char *text)
{
    struct error err = {0};
    if (try(w, text, &err))
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(w->answers, 0); // never inside the call
    for (int i = 0; i < 100 && w->answers < w->n; i++)
        loop_turn(fake.loop, 0);
    assert_int_equal(w->answers, w->n);
    return w->affected;
}

static void change(struct world *w, const char *text)
{
    struct error err = {0};
    json_t *json = json_parse(text, strlen(text), "change", &err);
    for (unsigned i = 0; i < w->n; i++)
        if (fleet_change(w->shards[i].fleet, json, NULL, NULL, &err))
            fail_msg("%s: %s", text, err.text);
    json_decref(json);
    for (int i = 0; i < 50; i++)
        loop_turn(fake.loop, 10000);
}

static struct device *device(struct world *w, unsigned group, uint64_t index)
{
    for (unsigned i = 0; i < w->n; i++) {
        struct group *g = fleet_group(w->shards[i].fleet, group);
        for (uint64_t k = 0; k < g->owned; k++)
            if (g->devices[k] && g->devices[k]->index == index)
                return g->devices[k];
    }
    return NULL;
}

static bool impaired(struct world *w, unsigned group, uint64_t index)
{
    const struct device *d = device(w, group, index);
    return d && device_path(d);
}

static unsigned count_impaired(struct world *w, unsigned group, uint64_t from, uint64_t to)
{
    unsigned n = 0;
    for (uint64_t i = from; i <= to; i++)
        n += impaired(w, group, i);
    return n;
}

static double gauge(struct world *w, const char *text)
{
    double sum = 0;
    for (unsigned i = 0; i < w->n; i++) {
        struct metric_selector sel;
        struct metric m = {0};
        assert_int_equal(metric_selector_parse(text, &sel, NULL), 0);
        if (metrics_select(w->shards[i].metrics, &sel, &m) > 0)
            sum += m.value;
    }
    return sum;
}

// ------------------------------------------------------------------------------------------------------------------

static void the_same_devices_on_any_number_of_shards(void **state)
{
    (void)state;
    bool on_one[COUNT + 1];
    for (unsigned n = 1; n <= 3; n += 2) {
        struct world w;
        setup(&w, n, true);
        assert_int_equal(tell(&w, "{\"op\":\"fault\",\"fault\":1,\"experiment\":\"slow\",\"group\":\"a\","
                                  "\"percentage\":30,\"spec\":{\"latency\":\"200ms\"}}"),
                         30);
        assert_int_equal(count_impaired(&w, 0, 1, COUNT), 30);
        assert_int_equal(count_impaired(&w, 1, 1, COUNT), 0);
        for (uint64_t i = 1; i <= COUNT; i++) {
            if (n == 1)
                on_one[i] = impaired(&w, 0, i);
            else
                assert_int_equal(impaired(&w, 0, i), on_one[i]);
        }
        assert_true(gauge(&w, "faults_active{experiment:slow,group:a}") == 30);
        // Another one of the same share means the same devices; both act.
        assert_int_equal(tell(&w, "{\"op\":\"fault\",\"fault\":2,\"groups\":[\"a\",\"b\"],\"percentage\":30,"
                                  "\"spec\":{\"loss\":\"5%\"}}"),
                         60);
        assert_int_equal(count_impaired(&w, 0, 1, COUNT), 30);
        for (uint64_t i = 1; i <= COUNT; i++)
            if (impaired(&w, 0, i))
                assert_int_equal(path_faults(device_path(device(&w, 0, i))), 2);
        assert_int_equal(tell(&w, "{\"op\":\"heal\",\"fault\":1}"), 30);
        assert_int_equal(count_impaired(&w, 0, 1, COUNT), 30);
        assert_int_equal(tell(&w, "{\"op\":\"heal\",\"fault\":2}"), 60);
        assert_int_equal(count_impaired(&w, 0, 1, COUNT), 0);
        assert_int_equal(tell(&w, "{\"op\":\"heal\",\"fault\":2}"), 0); // it is over already
        assert_true(gauge(&w, "faults_active") == 0);
        teardown(&w);
    }
}

static void connections_hear_of_it(void **state)
{
    (void)state;
    struct world w;
    setup(&w, 1, true);
    run_until(fake.loop, SECOND);
    tell(&w, "{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"devices\":[3,5,5],\"spec\":{\"latency\":1}}");
    assert_int_equal(w.affected, 2);
    assert_int_equal(device(&w, 0, 3)->conn->notified, 1);
    assert_int_equal(device(&w, 0, 4)->conn->notified, 0);
    struct error err;
    assert_int_equal(device_restart(device(&w, 0, 3), &err), 0); // a new connection
    run_until(fake.loop, 2 * SECOND);
    assert_true(device_online(device(&w, 0, 3)));
    assert_int_equal(device(&w, 0, 3)->conn->notified, 1);
    struct path *path = device_path(device(&w, 0, 3));
    assert_int_equal(tell(&w, "{\"op\":\"retune\",\"fault\":1,\"spec\":{\"latency\":2}}"), 2);
    assert_ptr_equal(device_path(device(&w, 0, 3)), path);
    tell(&w, "{\"op\":\"heal\",\"fault\":1}");
    assert_int_equal(device(&w, 0, 3)->conn->notified, 0);
    assert_null(device(&w, 0, 3)->impairment);
    tell(&w, "{\"op\":\"retune\",\"fault\":1,\"spec\":{\"latency\":2}}");
    assert_int_equal(w.error.code, ERR_NOT_FOUND);
    teardown(&w);
}

static void devices_that_come_and_go(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n += 2) {
        struct world w;
        setup(&w, n, true);
        tell(&w, "{\"op\":\"fault\",\"fault\":1,\"experiment\":\"all\",\"group\":\"a\",\"spec\":{\"latency\":1}}");
        change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":150}");
        assert_int_equal(count_impaired(&w, 0, 1, 150), 150);
        assert_true(gauge(&w, "faults_active{experiment:all}") == 150);
        change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":20}");
        assert_int_equal(count_impaired(&w, 0, 1, 20), 20);
        assert_true(gauge(&w, "faults_active{experiment:all}") == 20);
        change(&w, "{\"op\":\"remove\",\"group\":\"a\",\"devices\":[7]}");
        assert_true(gauge(&w, "faults_active{experiment:all}") == 19);
        assert_int_equal(tell(&w, "{\"op\":\"heal\",\"fault\":1}"), 19);

        // A share takes the same share of the new ones, a count none beyond its number, a list those listed.
        tell(&w, "{\"op\":\"fault\",\"fault\":2,\"group\":\"b\",\"percentage\":20,\"spec\":{\"latency\":1}}");
        change(&w, "{\"op\":\"scale\",\"group\":\"b\",\"count\":1100}");
        assert_int_equal(count_impaired(&w, 1, 1, 100), 20);
        assert_in_range(count_impaired(&w, 1, 101, 1100), 170, 230);
        tell(&w, "{\"op\":\"heal\",\"fault\":2}");
        assert_int_equal(count_impaired(&w, 1, 1, 1100), 0);
        tell(&w, "{\"op\":\"fault\",\"fault\":3,\"group\":\"b\",\"count\":1105,\"spec\":{\"latency\":1}}");
        assert_int_equal(w.affected, 1100);
        change(&w, "{\"op\":\"scale\",\"group\":\"b\",\"count\":1200}");
        assert_int_equal(count_impaired(&w, 1, 1, 1200), 1105);
        tell(&w, "{\"op\":\"heal\",\"fault\":3}");
        teardown(&w);
    }
}

static void a_heal_waits_for_what_began(void **state)
{
    (void)state;
    struct world w;
    struct error err = {0};
    setup(&w, 1, true);
    change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":3000}");
    assert_int_equal(try(&w, "{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"spec\":{\"latency\":1}}", &err), 0);
    for (int i = 0; i < 20 && !count_impaired(&w, 0, 1, 3000); i++)
        loop_turn(fake.loop, 1000);
    assert_in_range(count_impaired(&w, 0, 1, 3000), 1, 2999); // spread over turns
    tell(&w, "{\"op\":\"heal\",\"fault\":1}");                // answers of both are counted: the heal comes second
    for (int i = 0; i < 100 && (count_impaired(&w, 0, 1, 3000) || chaos_acting(w.shards[0].chaos)); i++)
        loop_turn(fake.loop, 1000);
    assert_int_equal(count_impaired(&w, 0, 1, 3000), 0);
    assert_int_equal(chaos_acting(w.shards[0].chaos), 0);
    // The end of the run: at once, whatever is under way.
    assert_int_equal(try(&w, "{\"op\":\"fault\",\"fault\":2,\"group\":\"a\",\"spec\":{\"latency\":1}}", &err), 0);
    loop_turn(fake.loop, 1000);
    loop_turn(fake.loop, 1000);
    chaos_end(w.shards[0].chaos);
    assert_int_equal(w.error.code, ERR_CANCELLED);
    assert_int_equal(count_impaired(&w, 0, 1, 3000), 0);
    assert_int_equal(try(&w, "{\"op\":\"fault\",\"fault\":3,\"group\":\"a\",\"spec\":{\"latency\":1}}", &err), -1);
    assert_int_equal(err.code, ERR_CANCELLED);
    teardown(&w);
}

// A heal that is past their group has them on no list of its own: they must not get what is ending.
static void devices_made_while_it_heals(void **state)
{
    (void)state;
    struct world w;
    struct error err = {0};
    setup(&w, 1, true);
    change(&w, "{\"op\":\"scale\",\"group\":\"b\",\"count\":3000}");
    tell(&w, "{\"op\":\"fault\",\"fault\":1,\"experiment\":\"all\",\"spec\":{\"latency\":1}}");
    assert_int_equal(w.affected, COUNT + 3000);
    assert_int_equal(try(&w, "{\"op\":\"heal\",\"fault\":1}", &err), 0);
    for (int i = 0; i < 20 && count_impaired(&w, 0, 1, COUNT); i++)
        loop_turn(fake.loop, 1000);
    assert_int_equal(w.answers, 0); // it is at group b
    change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":120}");
    assert_int_equal(w.answers, 1);
    assert_non_null(device(&w, 0, 120));
    assert_int_equal(count_impaired(&w, 0, 1, 120), 0);
    assert_int_equal(count_impaired(&w, 1, 1, 3000), 0);
    assert_true(gauge(&w, "faults_active{experiment:all}") == 0);
    teardown(&w);
}

static bool offline(struct world *w, uint64_t index)
{
    return device(w, 0, index)->conn_state == CONN_DISCONNECTED;
}

static void dropouts_of_devices_by_index(void **state)
{
    (void)state;
    struct world w;
    struct error err = {0};
    setup(&w, 3, true);
    for (int i = 0; i < 20; i++)
        loop_turn(fake.loop, 10000);
    change(&w,
           "{\"op\":\"dropout\",\"group\":\"a\",\"key\":9,\"devices\":[50,3,3,7],\"dropout\":{\"percentage\":100}}");
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_int_equal(offline(&w, i), i == 3 || i == 7 || i == 50);
    change(&w, "{\"op\":\"return\",\"group\":\"a\",\"key\":9}");
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_false(offline(&w, i));
    json_t *beyond = json_pack("{s:s, s:s, s:[i], s:{s:i}}", "op", "dropout", "group", "a", "devices", COUNT + 1,
                               "dropout", "percentage", 100);
    assert_int_equal(fleet_change_check(w.shards[0].fleet, beyond, &err), -1);
    assert_non_null(strstr(err.text, "devices: expected indices from 1 to 100"));
    json_decref(beyond);
    teardown(&w);
}

static int64_t latency_now(struct world *w, uint64_t index)
{
    return path_mean_delay(device_path(device(w, 0, index)), PATH_UP, loop_now_us(fake.loop));
}

// A device that comes later, and a process in place of a lost one, are told when it began.
static void ramps_stand_where_they_began(void **state)
{
    (void)state;
    struct world w;
    setup(&w, 2, true);
    int64_t start_us = loop_now_us(fake.loop);
    while (loop_now_us(fake.loop) < start_us + 4 * SECOND)
        loop_turn(fake.loop, 100000);
    static const char ramp[] = "{\"op\":\"%s\",\"fault\":1,\"group\":\"a\",\"at_us\":%d,\"spec\":{\"latency\":{"
                               "\"ramp\":{\"from\":\"0s\",\"to\":\"10s\",\"over\":\"10s\"}}}}";
    char text[300];
    int64_t elapsed_us = fleet_elapsed_us(w.shards[0].fleet);
    snprintf(text, sizeof text, ramp, "fault", (int)(elapsed_us - 3 * SECOND));
    tell(&w, text);
    int64_t had_us = latency_now(&w, 1);
    assert_in_range(had_us, 3 * SECOND, 3 * SECOND + SECOND / 10);
    change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":101}");
    assert_true(latency_now(&w, 1) > had_us);
    assert_int_equal(latency_now(&w, 101), latency_now(&w, 1));
    snprintf(text, sizeof text,
             "{\"op\":\"retune\",\"fault\":1,\"spec\":{\"latency\":{\"ramp\":{\"from\":\"0s\",\"to\":\"1s\","
             "\"over\":\"10s\"}}}}");
    tell(&w, text);
    assert_in_range(latency_now(&w, 1), 0, SECOND / 20);
    change(&w, "{\"op\":\"scale\",\"group\":\"a\",\"count\":102}");
    assert_in_range(latency_now(&w, 102), latency_now(&w, 1) - 5000, latency_now(&w, 1) + 5000);
    teardown(&w);
}

static void clocks(void **state)
{
    (void)state;
    struct world w;
    setup(&w, 1, false); // there is no network in virtual time, but there are clocks
    run_until(fake.loop, 10 * SECOND);
    const struct device *d = device(&w, 0, 1), *other = device(&w, 1, 1);
    assert_int_equal(tell(&w, "{\"op\":\"clock\",\"fault\":1,\"group\":\"a\",\"offset_us\":-5000000,\"drift\":0.5,"
                              "\"at_us\":10000000}"),
                     COUNT);
    run_until(fake.loop, 14 * SECOND);
    int64_t true_us = loop_wall_us(fake.loop), gone_us = loop_now_us(fake.loop) - 10 * SECOND;
    assert_int_equal(device_wall_us(d) - true_us, -5 * SECOND + gone_us / 2);
    assert_int_equal(device_wall_us(other) - true_us, 0);
    tell(&w, "{\"op\":\"clock\",\"fault\":2,\"offset_us\":60000000,\"at_us\":14000000}"); // everywhere
    true_us = loop_wall_us(fake.loop);
    assert_int_equal(device_wall_us(other) - true_us, 60 * SECOND);
    assert_int_equal(tell(&w, "{\"op\":\"heal\",\"fault\":1}"), COUNT);
    assert_int_equal(device_wall_us(d) - loop_wall_us(fake.loop), 60 * SECOND);
    tell(&w, "{\"op\":\"heal\",\"fault\":2}");
    assert_int_equal(device_wall_us(d) - loop_wall_us(fake.loop), 0);
    assert_null(d->impairment);
    teardown(&w);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
        enum error_code code;
    } cases[] = {
        {"{\"op\":\"fualt\",\"fault\":1}", "did you mean \"fault\"", ERR_INVALID},
        {"{\"op\":\"fault\",\"spec\":{\"latency\":1}}", "expected its number", ERR_INVALID},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"c\",\"spec\":{\"latency\":1}}", "no group \"c\"", ERR_NOT_FOUND},
        {"{\"op\":\"fault\",\"fault\":1,\"groups\":[7],\"spec\":{\"latency\":1}}", "no group", ERR_NOT_FOUND},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"spec\":{\"latency\":-1}}", "latency", ERR_INVALID},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"a\"}", "", ERR_INVALID},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"devices\":[101],\"spec\":{\"latency\":1}}",
         "group a: devices: expected indices from 1 to 100", ERR_INVALID},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"count\":1.5,\"spec\":{\"latency\":1}}", "count", ERR_INVALID},
        {"{\"op\":\"fault\",\"fault\":1,\"group\":\"plain\",\"spec\":{\"latency\":1}}", "lacks conn_path",
         ERR_UNSUPPORTED},
        {"{\"op\":\"retune\",\"fault\":1,\"spec\":{}}", "", ERR_INVALID},
    };
    struct world w;
    struct error err;
    setup(&w, 1, true);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(try(&w, cases[i].json, &err), -1);
        if (!strstr(err.text, cases[i].text) || err.code != cases[i].code)
            fail_msg("%s: %s (%s)", cases[i].json, err.text, error_code_name(err.code));
    }
    // Where all are meant, those that cannot are left out.
    assert_int_equal(tell(&w, "{\"op\":\"fault\",\"fault\":9,\"spec\":{\"latency\":1}}"), 2 * COUNT);
    tell(&w, "{\"op\":\"heal\",\"fault\":9}");
    tell(&w, "{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"spec\":{\"latency\":1}}");
    tell(&w, "{\"op\":\"fault\",\"fault\":1,\"group\":\"b\",\"spec\":{\"latency\":1}}");
    assert_int_equal(w.error.code, ERR_STATE);
    assert_int_equal(count_impaired(&w, 1, 1, COUNT), 0);
    assert_int_equal(count_impaired(&w, 0, 1, COUNT), COUNT);
    teardown(&w);

    setup(&w, 1, false);
    assert_int_equal(try(&w, "{\"op\":\"fault\",\"fault\":1,\"spec\":{\"latency\":1}}", &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    teardown(&w);
}

static void figures(void **state)
{
    (void)state;
    struct world w;
    setup(&w, 1, true);
    chaos_report(w.shards[0].chaos);
    assert_true(gauge(&w, "link_impaired") == 0);
    tell(&w, "{\"op\":\"fault\",\"fault\":1,\"group\":\"a\",\"count\":7,\"spec\":{\"latency\":1}}");
    chaos_report(w.shards[0].chaos);
    assert_true(gauge(&w, "link_impaired") == 7);
    tell(&w, "{\"op\":\"heal\",\"fault\":1}");
    chaos_report(w.shards[0].chaos);
    assert_true(gauge(&w, "link_impaired") == 0);
    teardown(&w);
}

// --- timelines ----------------------------------------------------------------------------------------------------

static void a_timeline_in_virtual_time(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", NULL};
    static const char *const texts[] = {
        ("{\"kind\":\"clock\",\"offset_us\":1000000,\"group\":\"b\",\"from_us\":2000000,\"to_us\":3000000,"
         "\"every_us\":5000000}"),
        "{\"kind\":\"storm\",\"group\":\"a\",\"percentage\":40,\"from_us\":4000000,\"reconnect_delay_us\":1000000}",
        "{\"kind\":\"disconnect\",\"group\":\"b\",\"dropout\":{\"count\":25},\"from_us\":10000000,\"to_us\":12000000}",
        "{\"kind\":\"custom\",\"custom\":0}"};
    enum { N = sizeof(texts) / sizeof(texts[0]) };
    struct experiment list[N];
    struct world w;
    struct error err = {0};
    setup(&w, 1, false);
    for (unsigned i = 0; i < N; i++) {
        json_t *json = json_parse(texts[i], strlen(texts[i]), "experiment", &err);
        if (experiment_parse(&list[i], json, names, &err))
            fail_msg("%s", err.text);
        json_decref(json);
    }
    struct timeline *t = timeline_new(w.shards[0].chaos, w.shards[0].fleet, list, N, NULL, &err);
    timeline_start(t);
    const struct device *d = device(&w, 1, 1);
    struct group *a = fleet_group(w.shards[0].fleet, 0), *b = fleet_group(w.shards[0].fleet, 1);
    static const struct {
        int at_ms, off_s;
        unsigned a_down, b_down;
    } looks[] = {{1900, 0, 0, 0}, {2100, 1, 0, 0}, {3100, 0, 0, 0},   {4500, 0, 40, 0}, {5500, 0, 0, 0},
                 {7100, 1, 0, 0}, {8100, 0, 0, 0}, {10500, 0, 0, 25}, {12500, 1, 0, 0}, {13500, 0, 0, 0}};
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        run_until(fake.loop, looks[i].at_ms * 1000ll);
        unsigned a_down = (unsigned)(COUNT - a->by_conn[CONN_CONNECTED]),
                 b_down = (unsigned)(COUNT - b->by_conn[CONN_CONNECTED]);
        int64_t off = device_wall_us(d) - loop_wall_us(fake.loop);
        if (a_down != looks[i].a_down || b_down != looks[i].b_down || off != looks[i].off_s * SECOND)
            fail_msg("at %d ms: a %u down, b %u down, clock %lld", looks[i].at_ms, a_down, b_down, (long long)off);
    }
    json_t *affected = timeline_affected(t);
    char *text = json_dumps(affected, JSON_COMPACT);
    assert_string_equal(text, "[[100,100,100],[40],[25],[]]");
    free(text);
    json_decref(affected);
    timeline_delete(t);
    for (unsigned i = 0; i < N; i++)
        experiment_destroy(&list[i]);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_devices_on_any_number_of_shards),
        cmocka_unit_test(connections_hear_of_it),
        cmocka_unit_test(devices_that_come_and_go),
        cmocka_unit_test(a_heal_waits_for_what_began),
        cmocka_unit_test(devices_made_while_it_heals),
        cmocka_unit_test(dropouts_of_devices_by_index),
        cmocka_unit_test(ramps_stand_where_they_began),
        cmocka_unit_test(clocks),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(figures),
        cmocka_unit_test(a_timeline_in_virtual_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
