// Routes from files: rows with lat and lon, or GPX, of which the points are read and nothing else.
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "core/buf.h"
#include "core/file.h"
#include "telemetry/dataset_impl.h"
#include "telemetry/path_impl.h"

enum { GPX_MAX = 64 << 20 };

int route_add(struct route *p, double lat, double lon, double alt, const char **what)
{
    *what = !(lat >= -90 && lat <= 90)     ? "expected a latitude from -90 to 90 degrees"
            : !(lon >= -180 && lon <= 180) ? "expected a longitude from -180 to 180 degrees"
            : isinf(alt)                   ? "expected a finite altitude"
            : p->n >= PATH_MAX_POINTS      ? "more than 1,000,000 points"
                                           : NULL;
    if (*what)
        return -1;
    if (p->n == p->size) {
        unsigned size = p->size ? 2 * p->size : 16;
        struct route_point *more = realloc(p->points, size * sizeof *more);
        if (!more) {
            *what = "no memory for the points";
            return -1;
        }
        p->points = more;
        p->size = size;
    }
    double phi = lat * M_PI / 180, lambda = lon * M_PI / 180;
    p->points[p->n++] = (struct route_point){
        .lat = lat, .lon = lon, .alt = alt, .x = cos(phi) * cos(lambda), .y = cos(phi) * sin(lambda), .z = sin(phi)};
    return 0;
}

// --- rows

static int find_column(const struct dataset *ds, const char *const *names)
{
    for (; *names; names++) {
        for (unsigned i = 0; i < dataset_columns(ds); i++) {
            if (!strcasecmp(dataset_column_name(ds, i), *names))
                return (int)i;
        }
    }
    return -1;
}

static double number_at(const struct dataset *ds, uint64_t at, int column)
{
    struct value v, text;
    if (column < 0)
        return NAN;
    dataset_field_at(ds, at, (unsigned)column, NULL, &v);
    text = v;
    if (v.type == VALUE_STRING && !dataset_number(text.str.s, text.str.n, &v))
        return NAN;
    return v.type == VALUE_NUMBER ? v.number : v.type == VALUE_INTEGER ? (double)v.integer : NAN;
}

static int read_rows(struct route *p, const struct dataset *ds, struct error *err)
{
    static const char *const lat_names[] = {"lat", "latitude", NULL};
    static const char *const lon_names[] = {"lon", "longitude", "lng", "long", NULL};
    static const char *const alt_names[] = {"alt", "altitude", "ele", "elevation", NULL};
    int lat = find_column(ds, lat_names), lon = find_column(ds, lon_names), alt = find_column(ds, alt_names);
    if (lat < 0)
        return dataset_column(ds, "lat", err) < 0 ? -1 : 0;
    if (lon < 0)
        return dataset_column(ds, "lon", err) < 0 ? -1 : 0;
    uint64_t at = dataset_seek(ds, 0);
    for (uint64_t row = 0; row < dataset_rows(ds); row++, at = dataset_next(ds, at)) {
        const char *what;
        if (route_add(p, number_at(ds, at, lat), number_at(ds, at, lon), number_at(ds, at, alt), &what))
            return dataset_bad(ds, at, err, "%s", what);
    }
    return 0;
}

static int read_dataset(struct route *p, const char *file, const struct gen_env *env, struct error *err)
{
    struct dataset *ds = dataset_open(env->datasets, file, env->dirs, env->n_dirs, NULL, err);
    if (!ds)
        return -1;
    int rc = read_rows(p, ds, err);
    dataset_release(env->datasets, ds);
    return rc;
}

// --- GPX

static unsigned line_of(const struct buf *text, const char *at)
{
    unsigned line = 1;
    for (const char *p = (const char *)text->data; p < at; p++)
        line += *p == '\n';
    return line;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// The number of an attribute within the tag [p, end), NAN: there is none.
static double attribute(const char *p, const char *end, const char *name)
{
    size_t n = strlen(name);
    struct value v;
    for (; (p = memmem(p, (size_t)(end - p), name, n)); p += n) {
        const char *q = p + n;
        if (!is_space(p[-1])) // p lies behind the tag's name
            continue;
        while (q < end && is_space(*q))
            q++;
        if (q == end || *q != '=')
            continue;
        for (q++; q < end && is_space(*q);)
            q++;
        const char *close = q < end && (*q == '"' || *q == '\'') ? memchr(q + 1, *q, (size_t)(end - q - 1)) : NULL;
        if (!close || !dataset_number(q + 1, (size_t)(close - q - 1), &v))
            return NAN;
        return v.type == VALUE_INTEGER ? (double)v.integer : v.number;
    }
    return NAN;
}

// The number of the element <ele> before the point's end.
static double elevation(const char *p, const char *end, const char *close_tag)
{
    const char *close = memmem(p, (size_t)(end - p), close_tag, strlen(close_tag));
    const char *ele = close ? memmem(p, (size_t)(close - p), "<ele>", 5) : NULL;
    const char *stop = ele ? memchr(ele + 5, '<', (size_t)(close - ele - 5)) : NULL;
    struct value v;
    if (!stop || !dataset_number(ele + 5, (size_t)(stop - ele - 5), &v))
        return NAN;
    return v.type == VALUE_INTEGER ? (double)v.integer : v.number;
}

static int read_points(struct route *p, const struct buf *text, const char *tag, const char *close_tag,
                       const char *path, struct error *err)
{
    const char *at = (const char *)text->data, *end = at + text->len;
    size_t n = strlen(tag);
    while ((at = memmem(at, (size_t)(end - at), tag, n))) {
        const char *what, *begin = at;
        at += n;
        if (at == end || !is_space(*at))
            continue;
        const char *close = memchr(at, '>', (size_t)(end - at));
        if (!close)
            return error_set(err, ERR_INVALID, "%s:%u: %s is not closed", path, line_of(text, begin), tag);
        double alt = close[-1] == '/' ? NAN : elevation(close + 1, end, close_tag);
        if (route_add(p, attribute(at, close, "lat"), attribute(at, close, "lon"), alt, &what))
            return error_set(err, ERR_INVALID, "%s:%u: %s", path, line_of(text, begin), what);
        at = close;
    }
    return 0;
}

static int read_gpx_text(struct route *p, const struct buf *text, const char *path, struct error *err)
{
    if (!text->len || !memmem(text->data, text->len, "<gpx", 4))
        return error_set(err, ERR_INVALID, "%s: expected GPX, there is no <gpx> in it", path);
    if (read_points(p, text, "<trkpt", "</trkpt>", path, err) ||
        (!p->n && read_points(p, text, "<rtept", "</rtept>", path, err)))
        return -1;
    return p->n ? 0 : error_set(err, ERR_INVALID, "%s: it has neither a track nor a route", path);
}

static int read_gpx(struct route *p, const char *file, const struct gen_env *env, struct error *err)
{
    char path[PATH_MAX];
    struct buf text;
    int rc = -1;
    unsigned places = file[0] == '/' ? 0 : env->n_dirs;
    buf_create(&text, GPX_MAX);
    for (unsigned i = 0; i <= places && rc; i++) {
        if (i < places ? path_join(env->dirs[i], file, path, sizeof path)
                       : snprintf(path, sizeof path, "%s", file) >= (int)sizeof path) {
            error_set(err, ERR_INVALID, "the path is longer than %d bytes", PATH_MAX - 1);
            break;
        }
        if (i < places && access(path, F_OK))
            continue;
        rc = file_read(path, GPX_MAX - 1, &text, err) ? 2 : 0;
    }
    if (rc == 0)
        rc = read_gpx_text(p, &text, path, err);
    buf_destroy(&text);
    return rc ? -1 : 0;
}

int route_read_file(struct route *p, const char *file, const struct gen_env *env, struct error *err)
{
    size_t n = strlen(file);
    if (!env || !env->datasets)
        return error_set(err, ERR_UNSUPPORTED, "routeFile is not possible here: nobody reads files");
    if (n > 4 && !strcasecmp(file + n - 4, ".gpx"))
        return read_gpx(p, file, env, err);
    return read_dataset(p, file, env, err);
}
