// Routes: where a device is at which time, against distances that are known; and what is said about the rest.
#include "telemetry/dataset_helper.h"
#include "telemetry/path.h"

struct fix {
    double lat, lon, alt, speed, heading;
};

static struct route *try_new(struct place *p, const char *text, struct error *err)
{
    const char *dirs[] = {p->dir};
    const struct gen_env env = {.dirs = dirs, .n_dirs = 1, .datasets = p->all};
    json_error_t problem;
    json_t *g = json_loads(text, 0, &problem);
    assert_non_null(g);
    error_clear(err);
    struct route *path = route_new(g, VALUE_JSON, NULL, NULL, &env, err);
    json_decref(g);
    return path;
}

static struct route *new_ok(struct place *p, const char *text)
{
    struct error err;
    struct route *path = try_new(p, text, &err);
    if (!path)
        fail_msg("%s: %s", text, err.text);
    return path;
}

static double member(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static struct fix next(struct place *p, const struct route *path, struct gen_state *state, struct rng *rng,
                       double seconds)
{
    struct value v;
    scratch_clear(&p->scratch);
    const struct gen_context context = {.time_us = (int64_t)llround(seconds * 1e6), .index = 1, .scratch = &p->scratch};
    route_next(path, state, rng, &context, &v);
    assert_int_equal(v.type, VALUE_JSON);
    json_t *o = json_loadb(v.str.s, v.str.n, 0, NULL);
    assert_non_null(o);
    struct fix f = {member(o, "lat"), member(o, "lon"), member(o, "alt"), member(o, "speed"), member(o, "heading")};
    json_decref(o);
    return f;
}

static struct fix at(struct place *p, const struct route *path, double seconds)
{
    struct gen_state state;
    struct rng rng;
    rng_seed(&rng, 1);
    route_init(path, &state, &rng, &(struct gen_context){.index = 1});
    return next(p, path, &state, &rng, seconds);
}

#define NEAR(a, b, e)                                                                                                  \
    do {                                                                                                               \
        double a_ = (a), b_ = (b);                                                                                     \
        if (!(fabs(a_ - b_) <= (e)))                                                                                   \
            fail_msg("%s = %.9g, expected %.9g", #a, a_, b_);                                                          \
    } while (0)

enum { DEGREE = 111195 }; // metres of a degree on the sphere: 6371008.8 * pi / 180

static void along_a_meridian(void **state)
{
    struct place *p = *state;
    // 1 degree north, then 1 degree back east of it; 111.195 km/h is a degree an hour.
    struct route *path = new_ok(p, "{\"route\":[[50,10,100],[51,10,200]],\"speedKmh\":111.19508,\"loop\":false}");
    struct fix f = at(p, path, 0);
    NEAR(f.lat, 50, 1e-6);
    NEAR(f.lon, 10, 1e-6);
    NEAR(f.alt, 100, 1e-6);
    NEAR(f.heading, 0, 0.01);
    NEAR(f.speed, 111.2, 0.01);
    f = at(p, path, 1800);
    NEAR(f.lat, 50.5, 1e-5);
    NEAR(f.alt, 150, 0.01);
    f = at(p, path, 3601);
    NEAR(f.lat, 51, 1e-6);
    NEAR(f.speed, 0, 0); // it has arrived
    route_delete(path);
}

// Frankfurt to New York: 6,203 km on a sphere of that radius, first heading 294.5 degrees, far north of either on its
// way.
static void along_a_great_circle(void **state)
{
    struct place *p = *state;
    struct route *path =
        new_ok(p, "{\"route\":[[50.0333,8.5706],[40.6398,-73.7789]],\"speedKmh\":1000,\"loop\":false}");
    struct fix f = at(p, path, 0);
    NEAR(f.heading, 294.6, 0.3);
    double hours = 6.0;
    while (at(p, path, hours * 3600).speed > 0)
        hours += 0.001;
    NEAR(hours, 6.19, 0.02);
    f = at(p, path, hours / 2 * 3600);
    assert_true(f.lat > 52 && f.lat < 54.5);
    assert_true(isnan(f.alt));
    route_delete(path);
}

static void round_and_round(void **state)
{
    struct place *p = *state;
    // A square of about 1 degree at the equator, 4 hours round.
    struct route *path = new_ok(p, "{\"route\":[[0,0],[0,1],[1,1],[1,0]],\"speedKmh\":111.19508}");
    struct fix f = at(p, path, 1800);
    NEAR(f.lon, 0.5, 1e-5);
    NEAR(f.heading, 90, 0.01);
    f = at(p, path, 1.5 * 3600);
    NEAR(f.lat, 0.5, 1e-5);
    NEAR(f.heading, 0, 0.01);
    f = at(p, path, 2.5 * 3600);
    NEAR(f.heading, 270, 0.1);
    f = at(p, path, 3.5 * 3600);
    NEAR(f.heading, 180, 0.01);
    // The third side is shorter by cos(1 degree): that is when it begins again.
    double round = 3600 * (3 + cos(M_PI / 180));
    f = at(p, path, round * 1000 + 1800);
    NEAR(f.lat, 0, 1e-3);
    NEAR(f.lon, 0.5, 1e-3);
    route_delete(path);
}

static void to_and_fro(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[0,0],[0,1]],\"speedKmh\":111.19508,\"loop\":\"pingpong\"}");
    struct fix f = at(p, path, 1.25 * 3600);
    NEAR(f.lon, 0.75, 1e-5);
    NEAR(f.heading, 270, 0.01);
    f = at(p, path, 2.25 * 3600);
    NEAR(f.lon, 0.25, 1e-5);
    NEAR(f.heading, 90, 0.01);
    assert_true(f.speed > 0);
    route_delete(path);
}

static void across_the_date_line(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[0,179.5],[0,-179.5]],\"speedKmh\":111.19508,\"loop\":false}");
    struct fix f = at(p, path, 900);
    NEAR(f.lon, 179.75, 1e-5);
    f = at(p, path, 2700);
    NEAR(f.lon, -179.75, 1e-5);
    NEAR(f.heading, 90, 0.01);
    route_delete(path);
    path = new_ok(p, "{\"route\":[[89,0],[89,180]],\"speedKmh\":111.19508,\"loop\":false}"); // over the pole
    f = at(p, path, 1800);
    NEAR(f.lat, 89.5, 1e-5);
    NEAR(f.heading, 0, 0.01);
    f = at(p, path, 5400);
    NEAR(f.lat, 89.5, 1e-5);
    NEAR(fabs(f.lon), 180, 1e-5);
    NEAR(f.heading, 180, 0.01);
    route_delete(path);
}

static void degenerate_routes(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[1,2,3]],\"speedKmh\":50}");
    struct fix f = at(p, path, 1000);
    NEAR(f.lat, 1, 0);
    NEAR(f.alt, 3, 0);
    NEAR(f.speed, 0, 0);
    route_delete(path);
    path = new_ok(p, "{\"route\":[[1,2],[1,2],[1,2]],\"speedKmh\":50}");
    f = at(p, path, 1000);
    NEAR(f.lon, 2, 1e-7);
    NEAR(f.speed, 0, 0);
    route_delete(path);
    path = new_ok(p, "{\"route\":[[0,0],[0,0],[0,1],[0,1]],\"speedKmh\":111.19508,\"loop\":false}");
    f = at(p, path, 1800);
    NEAR(f.lon, 0.5, 1e-5);
    route_delete(path);
    path = new_ok(p, "{\"route\":[[0,0],[0,1]],\"speedKmh\":0}");
    f = at(p, path, 1e9);
    NEAR(f.lon, 0, 1e-7);
    NEAR(f.speed, 0, 0);
    route_delete(path);
}

static void offsets(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[0,0],[0,1],[0,2]],\"speedKmh\":10,\"offset\":\"index\"}");
    for (uint64_t index = 1; index <= 7; index++) {
        struct gen_state s;
        route_init(path, &s, NULL, &(struct gen_context){.index = index});
        NEAR(next(p, path, &s, NULL, 0).lon, (double)((index - 1) % 3), 1e-6);
    }
    route_delete(path);
    path = new_ok(p, "{\"route\":[[0,0],[0,1]],\"speedKmh\":10,\"offset\":\"random\"}");
    double sum = 0;
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 1000; i++) {
        struct gen_state s;
        route_init(path, &s, &rng, &(struct gen_context){.index = 1});
        sum += next(p, path, &s, &rng, 0).lon;
    }
    NEAR(sum / 1000, 0.5, 4 * 0.2887 / sqrt(1000)); // there and back: uniform on the way
    route_delete(path);
}

static void noise(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[60,10]],\"speedKmh\":0,\"noiseMeters\":100}");
    double north = 0, east = 0, mean = 0;
    struct gen_state s;
    struct rng rng;
    enum { N = 20000 };
    rng_seed(&rng, 3);
    route_init(path, &s, &rng, &(struct gen_context){.index = 1});
    for (int i = 0; i < N; i++) {
        struct fix f = next(p, path, &s, &rng, i);
        double y = (f.lat - 60) * DEGREE, x = (f.lon - 10) * DEGREE * 0.5; // cos 60
        north += y * y, east += x * x, mean += x + y;
    }
    NEAR(sqrt(north / N), 100, 3);
    NEAR(sqrt(east / N), 100, 3);
    NEAR(mean / N, 0, 4);
    route_delete(path);
    path = new_ok(p, "{\"route\":[[90,0]],\"speedKmh\":0,\"noiseMeters\":100000}"); // stays on the globe
    for (int i = 0; i < 1000; i++) {
        struct fix f = next(p, path, &s, &rng, i);
        assert_true(f.lat <= 90 && f.lat >= 80 && f.lon >= -180 && f.lon <= 180);
    }
    route_delete(path);
}

static void from_files(void **state)
{
    struct place *p = *state;
    static const char *const names[] = {"r.csv", "r.ndjson", "r.json", "r.gpx"};
    put(p, "r.csv", "Latitude,name,LNG,ele\n1,a,2,3\n4,b,5,6\n");
    put(p, "r.ndjson", "{\"lon\":2,\"lat\":\"1\",\"alt\":3}\n{\"lat\":4,\"lon\":5,\"alt\":6}\n");
    put(p, "r.json", "[{\"lon\":2,\"lat\":1,\"alt\":3},{\"lat\":4,\"lon\":5,\"alt\":6}]");
    put(p, "r.gpx",
        "<?xml version=\"1.0\"?>\n<gpx version=\"1.1\"><wpt lat=\"9\" lon=\"9\"/><trk><trkseg>\n"
        "<trkpt lat=\"1\" lon=\"2\"><ele>3</ele><time>2024-01-01T00:00:00Z</time></trkpt>\n"
        "<trkpt xlat=\"7\" lon = '5'\n lat = '4.0'><ele> 6 </ele></trkpt></trkseg></trk></gpx>\n");
    for (size_t i = 0; i < 4; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"routeFile\":\"%s\",\"speedKmh\":100,\"loop\":false}", names[i]);
        struct route *path = new_ok(p, text);
        struct fix f = at(p, path, 0);
        NEAR(f.lat, 1, 1e-6);
        NEAR(f.lon, 2, 1e-6);
        NEAR(f.alt, 3, 1e-6);
        f = at(p, path, 1e6);
        NEAR(f.lat, 4, 1e-6);
        NEAR(f.lon, 5, 1e-6);
        NEAR(f.alt, 6, 1e-6);
        route_delete(path);
    }
    put(p, "rte.gpx", "<gpx><rte><rtept lat=\"1\" lon=\"2\"/><rtept lat=\"3\" lon=\"4\"/></rte></gpx>");
    struct route *path = new_ok(p, "{\"routeFile\":\"rte.gpx\",\"speedKmh\":100,\"loop\":false}");
    NEAR(at(p, path, 1e6).lat, 3, 1e-6);
    route_delete(path);
}

static void no_room(void **state)
{
    struct place *p = *state;
    struct route *path = new_ok(p, "{\"route\":[[-89.9999999,-179.9999999,-12345678.25]],\"speedKmh\":50}");
    struct value v;
    struct gen_state s = {0};
    route_next(path, &s, NULL, &(struct gen_context){.index = 1}, &v);
    assert_int_equal(v.type, VALUE_NULL);
    NEAR(at(p, path, 0).alt, -12345678.25, 0);
    route_delete(path);
}

static void errors(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *generator, *said;
    } cases[] = {
        {"{\"speedKmh\":1}", "route: expected either route or routeFile"},
        {"{\"speedKmh\":1,\"route\":[[1,2]],\"routeFile\":\"a\"}", "route or routeFile, not both"},
        {"{\"route\":[[1,2]]}", "speedKmh: missing"},
        {"{\"speedKmh\":-1,\"route\":[[1,2]]}", "speedKmh: must lie between 0 and"},
        {"{\"speedKmh\":1,\"route\":[]}", "route: expected a list of points [[lat, lon], …], got an empty one"},
        {"{\"speedKmh\":1,\"route\":\"x\"}", "route: expected a list of points"},
        {"{\"speedKmh\":1,\"route\":[[1,2],[1]]}", "route[1]: expected [lat, lon] or [lat, lon, alt]"},
        {"{\"speedKmh\":1,\"route\":[[1,2],7]}", "route[1]: expected [lat, lon]"},
        {"{\"speedKmh\":1,\"route\":[[1,\"2\"]]}", "route[0]: expected [lat, lon]"},
        {"{\"speedKmh\":1,\"route\":[[91,2]]}", "route[0]: expected a latitude from -90 to 90"},
        {"{\"speedKmh\":1,\"route\":[[1,181]]}", "route[0]: expected a longitude from -180 to 180"},
        {"{\"speedKmh\":1,\"route\":[[0,0],[0,180]]}", "point 2 lies on the other side of the Earth from point 1"},
        {"{\"speedKmh\":1,\"route\":[[1,2]],\"loop\":\"pong\"}", "loop: expected true, false or \"pingpong\""},
        {"{\"speedKmh\":1,\"route\":[[1,2]],\"offset\":\"rand\"}", "offset: unknown"},
        {"{\"speedKmh\":1,\"route\":[[1,2]],\"noiseMeters\":-1}", "noiseMeters: must lie between"},
        {"{\"speedKmh\":1,\"routeFile\":7}", "routeFile: expected the path"},
        {"{\"speedKmh\":1,\"routeFile\":\"none.gpx\"}", "none.gpx"},
        {"{\"speedKmh\":1,\"routeFile\":\"none.csv\"}", "routeFile: none.csv: there is no such file"},
        {"{\"speedKmh\":1,\"routeFile\":\"cols.csv\"}", "no column \"lon\"; there is lat, x"},
        {"{\"speedKmh\":1,\"routeFile\":\"bad.csv\"}", "bad.csv:3: expected a latitude"},
        {"{\"speedKmh\":1,\"routeFile\":\"bad.gpx\"}", "bad.gpx:2: expected a longitude"},
        {"{\"speedKmh\":1,\"routeFile\":\"open.gpx\"}", "open.gpx:1: <trkpt is not closed"},
        {"{\"speedKmh\":1,\"routeFile\":\"none2.gpx\"}", "it has neither a track nor a route"},
        {"{\"speedKmh\":1,\"routeFile\":\"text.gpx\"}", "expected GPX, there is no <gpx>"},
    };
    put(p, "cols.csv", "lat,x\n1,2\n");
    put(p, "bad.csv", "lat,lon\n1,2\nnorth,2\n");
    put(p, "bad.gpx", "<gpx>\n<trkpt lat=\"1\"></trkpt></gpx>");
    put(p, "open.gpx", "<gpx><trkpt lat=\"1\"");
    put(p, "none2.gpx", "<gpx><wpt lat=\"1\" lon=\"1\"/></gpx>");
    put(p, "text.gpx", "hello");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        struct route *path = try_new(p, cases[i].generator, &err);
        if (path || !strstr(err.text, cases[i].said))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].generator, cases[i].said, path ? "a path" : err.text);
    }
    struct error err;
    json_t *g = json_pack("{s:[[i,i]],s:i}", "route", 1, 2, "speedKmh", 1);
    assert_null(route_new(g, VALUE_NUMBER, NULL, NULL, NULL, &err));
    struct route *path = route_new(g, VALUE_NULL, NULL, NULL, NULL, &err); // a route in the model needs nobody
    assert_non_null(path);
    route_delete(path);
    json_decref(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(along_a_meridian),
        TEST(along_a_great_circle),
        TEST(round_and_round),
        TEST(to_and_fro),
        TEST(across_the_date_line),
        TEST(degenerate_routes),
        TEST(offsets),
        TEST(noise),
        TEST(from_files),
        TEST(no_room),
        TEST(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
