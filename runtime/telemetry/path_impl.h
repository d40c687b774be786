// What the path files share. Not for others.
#pragma once
#include "telemetry/gen_parse.h"
#include "telemetry/path.h"

struct path_point {
    double lat, lon, alt; // degrees, metres; alt NAN: none
    double at;            // metres from the first point along the route
    double x, y, z;       // unit vector
};

struct path {
    struct path_point *points;
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
int path_add(struct path *p, double lat, double lon, double alt, const char **what);
// The points of a file: through the datasets, or GPX.
int path_read_file(struct path *p, const char *file, const struct gen_env *env, struct error *err);
