// Points as unit vectors, so that the great circle between two of them, and the direction along it, are sums of
// vectors: no case of the poles or of the date line. gen_state.number is where the device began, in metres along the
// route.
#include "telemetry/path.h"

#include <math.h>
#include <stdlib.h>
#include "core/buf.h"
#include "telemetry/path_impl.h"

#define EARTH_RADIUS 6371008.8 // metres, mean (IUGG)
enum { TEXT_MAX = 192 };       // five members with their numbers are 130 bytes at most

enum { OFFSET_NONE, OFFSET_RANDOM, OFFSET_INDEX };

// --- making

static int read_route(struct route *path, const struct gen_parse *p, const json_t *route)
{
    size_t i;
    json_t *point;
    if (!json_is_array(route) || !json_array_size(route))
        return error_set(p->err, ERR_INVALID, "route: expected a list of points [[lat, lon], …], got %s",
                         json_is_array(route) ? "an empty one" : gen_kind_of(route));
    if (json_array_size(route) > GEN_MAX_VALUES)
        return error_set(p->err, ERR_LIMIT, "route: at most %u points; use routeFile for more", GEN_MAX_VALUES);
    json_array_foreach(route, i, point)
    {
        const json_t *alt = json_array_get(point, 2);
        size_t n = json_array_size(point);
        const char *what;
        if (n < 2 || n > 3 || !json_is_number(json_array_get(point, 0)) || !json_is_number(json_array_get(point, 1)) ||
            (alt && !json_is_number(alt)))
            return error_set(p->err, ERR_INVALID, "route[%zu]: expected [lat, lon] or [lat, lon, alt] in numbers", i);
        if (route_add(path, json_number_value(json_array_get(point, 0)), json_number_value(json_array_get(point, 1)),
                      alt ? json_number_value(alt) : NAN, &what))
            return error_set(p->err, ERR_INVALID, "route[%zu]: %s", i, what);
    }
    return 0;
}

static int read_points(struct route *path, const struct gen_parse *p)
{
    const json_t *route = json_object_get(p->object, "route"), *file = json_object_get(p->object, "routeFile");
    if (!route == !file)
        return error_set(p->err, ERR_INVALID, "route: expected either route or routeFile%s", route ? ", not both" : "");
    if (route)
        return read_route(path, p, route);
    if (!json_is_string(file) || !*json_string_value(file))
        return error_set(p->err, ERR_INVALID, "routeFile: expected the path of a CSV, NDJSON, JSON or GPX file, got %s",
                         json_is_string(file) ? "an empty string" : gen_kind_of(file));
    return route_read_file(path, json_string_value(file), p->env, p->err) ? error_prefix(p->err, "routeFile") : 0;
}

static int read_loop(struct route *path, const struct gen_parse *p)
{
    const json_t *loop = json_object_get(p->object, "loop");
    path->pingpong = json_is_string(loop) && strcmp(json_string_value(loop), "pingpong") == 0;
    path->loop = !loop || json_is_true(loop) || path->pingpong;
    path->closed = path->loop && !path->pingpong;
    if (!loop || json_is_boolean(loop) || path->pingpong)
        return 0;
    return error_set(p->err, ERR_INVALID, "loop: expected true, false or \"pingpong\", got %s", gen_kind_of(loop));
}

// Angle between two points in radians; exact for small ones, unlike acos.
static double angle(const struct route_point *a, const struct route_point *b)
{
    double x = a->y * b->z - a->z * b->y, y = a->z * b->x - a->x * b->z, z = a->x * b->y - a->y * b->x;
    return atan2(sqrt(x * x + y * y + z * z), a->x * b->x + a->y * b->y + a->z * b->z);
}

static int measure(struct route *path, const struct gen_parse *p)
{
    const char *what;
    struct route_point first = path->points[0];
    if (path->closed && path->n > 1 && route_add(path, first.lat, first.lon, first.alt, &what))
        return error_set(p->err, ERR_LIMIT, "%s", what);
    for (unsigned i = 1; i < path->n; i++) {
        double leg = angle(&path->points[i - 1], &path->points[i]);
        if (leg > M_PI - 1e-6)
            return error_set(p->err, ERR_INVALID,
                             "point %u lies on the other side of the Earth from point %u: give one between them",
                             i % (path->n - path->closed) + 1, i);
        path->points[i].at = path->points[i - 1].at + leg * EARTH_RADIUS;
    }
    return 0;
}

static int fill(struct route *path, const struct gen_parse *p)
{
    static const char *const offsets[] = {"none", "random", "index", NULL};
    double kmh;
    if (gen_need_number(p, "speedKmh", &kmh) < 0 || gen_read_within(p, "speedKmh", 0, 1e6, &kmh) < 0 ||
        gen_read_within(p, "noiseMeters", 0, 1e6, &path->noise) < 0 ||
        gen_read_word(p, "offset", offsets, &path->offset) < 0 || read_loop(path, p) || read_points(path, p))
        return -1;
    path->speed = kmh / 3.6;
    return measure(path, p);
}

struct route *route_new(const json_t *generator, enum value_type type, const struct gen_samples *samples,
                        const char *attribute, const struct gen_env *env, struct error *err)
{
    (void)attribute;
    if ((type != VALUE_JSON && type != VALUE_NULL) || samples) {
        error_set(err, ERR_INVALID, "type: a generator of type gps is for an attribute of type object");
        return NULL;
    }
    struct route *path = calloc(1, sizeof *path);
    if (!path) {
        error_set(err, ERR_NO_MEMORY, "no memory for a route");
        return NULL;
    }
    const struct gen_parse p = {.object = generator, .type_name = "gps", .env = env, .err = err};
    if (!fill(path, &p))
        return path;
    route_delete(path);
    return NULL;
}

void route_delete(struct route *p)
{
    if (!p)
        return;
    free(p->points);
    free(p);
}

// --- running

static double total(const struct route *p)
{
    return p->points[p->n - 1].at;
}

// Metres from one beginning to the next.
static double round_length(const struct route *p)
{
    return p->pingpong ? 2 * total(p) : total(p);
}

void route_init(const struct route *p, struct gen_state *state, struct rng *rng, const struct gen_context *context)
{
    unsigned points = p->n - (p->closed && p->n > 1); // the last one is the first
    *state = (struct gen_state){.number = 0};
    if (p->offset == OFFSET_RANDOM)
        state->number = rng_unit(rng) * round_length(p);
    else if (p->offset == OFFSET_INDEX && context->index)
        state->number = p->points[(context->index - 1) % points].at;
}

// The leg that `at` lies on: its first point; the last leg for the end of the route.
static unsigned find_leg(const struct route *p, double at)
{
    unsigned low = 0, high = p->n - 1;
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        if (p->points[middle].at <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct fix {
    double lat, lon, alt, speed, heading;
};

// The direction (x, y, z) at the point (px, py, pz) as degrees from north.
static double heading_of(double px, double py, double pz, double x, double y, double z)
{
    double flat = hypot(px, py);
    double east = flat > 0 ? (-py * x + px * y) / flat : y; // at a pole: as if it lay on longitude 0
    double north = flat > 0 ? (-px * pz * x - py * pz * y) / flat + flat * z : pz > 0 ? -x : x;
    double degrees = atan2(east, north) * 180 / M_PI;
    degrees = degrees < 0 ? degrees + 360 : degrees;
    return degrees < 359.995 ? degrees : 0; // it is written with two digits
}

static void locate(const struct route *p, double at, bool back, struct fix *fix)
{
    const struct route_point *a = &p->points[find_leg(p, at)], *b = a + 1;
    double leg = b->at - a->at, part = leg > 0 ? (at - a->at) / leg : 0, theta = leg / EARTH_RADIUS;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    double u = 1 - part, w = part; // shares of a and b at the place
    double du = -1, dw = 1;        // and in the direction along the leg
    if (theta > 1e-9) {            // a shorter leg is straight
        double s = sin(theta);
        u = sin((1 - part) * theta) / s;
        w = sin(part * theta) / s;
        du = -cos((1 - part) * theta);
        dw = cos(part * theta);
    }
    double x = u * a->x + w * b->x, y = u * a->y + w * b->y, z = u * a->z + w * b->z;
    double sign = back ? -1 : 1;
    fix->lat = atan2(z, hypot(x, y)) * 180 / M_PI;
    fix->lon = atan2(y, x) * 180 / M_PI;
    fix->alt = a->alt + (b->alt - a->alt) * part; // NAN when either has none
    fix->heading = leg > 0 ? heading_of(x, y, z, sign * (du * a->x + dw * b->x), sign * (du * a->y + dw * b->y),
                                        sign * (du * a->z + dw * b->z))
                           : 0;
}

static void add_noise(const struct route *p, struct rng *rng, struct fix *fix)
{
    double metre = 180 / M_PI / EARTH_RADIUS; // in degrees of latitude
    double narrow = cos(fix->lat * M_PI / 180);
    fix->lat += rng_normal(rng) * p->noise * metre;
    fix->lon += rng_normal(rng) * p->noise * metre / (narrow > 1e-6 ? narrow : 1e-6);
    if (fix->lat > 90)
        fix->lat = 180 - fix->lat, fix->lon += 180;
    if (fix->lat < -90)
        fix->lat = -180 - fix->lat, fix->lon += 180;
    fix->lon = fix->lon - 360 * floor((fix->lon + 180) / 360);
}

static int member(struct buf *out, const char *key, double v, int digits)
{
    return buf_append_str(out, key) || buf_append_number(out, v, digits);
}

static void write_fix(const struct fix *fix, struct scratch *scratch, struct value *out)
{
    uint8_t *room = scratch ? scratch_alloc(scratch, TEXT_MAX) : NULL;
    struct buf text = {.data = room, .size = TEXT_MAX, .cap = TEXT_MAX}; // never grows: it is at its cap
    out->type = VALUE_NULL;
    if (!room || member(&text, "{\"lat\":", fix->lat, 7) || member(&text, ",\"lon\":", fix->lon, 7) ||
        (!isnan(fix->alt) && member(&text, ",\"alt\":", fix->alt, 2)) || member(&text, ",\"speed\":", fix->speed, 2) ||
        member(&text, ",\"heading\":", fix->heading, 2) || buf_append_char(&text, '}'))
        return;
    *out = (struct value){.type = VALUE_JSON, .str = {(char *)text.data, text.len}};
}

void route_next(const struct route *p, struct gen_state *state, struct rng *rng, const struct gen_context *context,
                struct value *out)
{
    double length = total(p), seconds = (double)(context->time_us > 0 ? context->time_us : 0) * 1e-6;
    double at = state->number + p->speed * seconds;
    struct fix fix = {.lat = p->points[0].lat, .lon = p->points[0].lon, .alt = p->points[0].alt};
    bool back = false;
    if (p->n > 1) {
        if (p->loop && length > 0) {
            at = fmod(at, round_length(p));
            back = at > length; // only to and fro
            at = back ? 2 * length - at : at;
        }
        bool moves = p->speed > 0 && length > 0 && (p->loop || at < length);
        locate(p, at < length ? at : length, back, &fix);
        fix.speed = moves ? p->speed * 3.6 : 0;
    }
    if (p->noise > 0)
        add_noise(p, rng, &fix);
    write_fix(&fix, context->scratch, out);
}
