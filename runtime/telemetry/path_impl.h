// What the path files share. Not for others.
#pragma once
#include "telemetry/gen_parse.h"
#include "telemetry/path.h"

struct route_point {
    double lat, lon, alt; // degrees, metres; alt NAN: none
    double at;            // metres from the first point along the route
    double x, y, z;       // unit vector
};

struct route {
    struct route_point *points;
    unsigned n, size;
    bool closed;   // the last point is the first again
    bool pingpong; // to and fro
    bool loop;     // closed or pingpong
    unsigned offset;
    double speed; // metres a second
    double noise; // metres
};

// path_read.c
// Adds a point; *what says what is wrong with it.
int route_add(struct route *p, double lat, double lon, double alt, const char **what);
// The points of a file: through the datasets, or GPX.
int route_read_file(struct route *p, const char *file, const struct gen_env *env, struct error *err);
