// A route: a generator of positions that move along it, {lat, lon, alt?, speed, heading} as a JSON object.
//
// {route [[lat, lon, alt?] …] | routeFile, speedKmh, loop true | false | "pingpong", noiseMeters 0, offset "none"|
// "random"|"index"}. Between two points it follows the great circle; where it is follows from the elapsed time alone.
//   routeFile    .csv .ndjson .json with lat and lon (latitude, longitude, lng) and maybe alt (altitude, ele), or .gpx
//   loop         true: from the last point straight back to the first; false: stays at the last point, at speed 0
//   noiseMeters  standard deviation of the receiver's error, north and east each; the route is kept
//   offset       where a device begins: anywhere on the round, by its generator, or at the point number index - 1
// lat and lon in degrees with 7 digits, alt in metres, speed in km/h, heading in degrees from north, clockwise.
#pragma once
#include "telemetry/gen.h"

#define PATH_MAX_POINTS 1000000u // of a file; a route in a model has GEN_MAX_VALUES at most

struct route;

// type: VALUE_JSON or VALUE_NULL. attribute is not used. routeFile needs env->datasets (ERR_UNSUPPORTED without); the
// file is read and closed. NULL: err names the key, and file and line.
struct route *route_new(const json_t *generator, enum value_type type, const struct gen_samples *samples,
                        const char *attribute, const struct gen_env *env, struct error *err);
void route_delete(struct route *p);
void route_init(const struct route *p, struct gen_state *state, struct rng *rng, const struct gen_context *context);
// The text lies in the context's scratch.
void route_next(const struct route *p, struct gen_state *state, struct rng *rng, const struct gen_context *context,
                struct value *out);
