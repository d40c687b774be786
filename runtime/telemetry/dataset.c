// Opening files of rows, the list of those that are open, and the index of rows. What a row is, dataset_csv.c and
// dataset_json.c know.
#include "telemetry/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "core/buf.h"
#include "core/file.h"
#include "core/units.h"
#include "telemetry/dataset_impl.h"

struct datasets {
    struct dataset *first;
};

static const char *const format_names[] = {"csv", "ndjson", "json", "binary", NULL}; // from DATASET_CSV on

int dataset_format_parse(const char *name, enum dataset_format *out, struct error *err)
{
    *out = DATASET_AUTO;
    if (!name)
        return 0;
    for (int i = 0; format_names[i]; i++) {
        if (!strcmp(format_names[i], name)) {
            *out = (enum dataset_format)(i + 1);
            return 0;
        }
    }
    const char *near = suggest(name, format_names);
    return error_set(err, ERR_INVALID, "format: \"%.64s\" is none of csv, ndjson, json, binary%s%s%s", name,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

// --- for the formats

uint64_t dataset_line_of(const struct dataset *ds, size_t at)
{
    uint64_t line = 1;
    const char *p = ds->bytes, *end = ds->bytes + at;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        line++;
        p++;
    }
    return line;
}

int dataset_bad(const struct dataset *ds, size_t at, struct error *err, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return error_set(err, ERR_INVALID, "%s:%llu: %s", ds->path, (unsigned long long)dataset_line_of(ds, at), text);
}

int dataset_mark(struct dataset *ds, size_t at, struct error *err)
{
    if (ds->rows == UINT32_MAX)
        return error_set(err, ERR_LIMIT, "%s: more than %u rows", ds->path, UINT32_MAX);
    if (ds->rows++ % DATASET_STRIDE)
        return 0;
    if (ds->n_marks == ds->size_marks) {
        size_t size = ds->size_marks ? 2 * ds->size_marks : 8;
        uint64_t *more = realloc(ds->marks, size * sizeof *more);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "%s: no memory for the index of rows", ds->path);
        ds->marks = more;
        ds->size_marks = size;
    }
    ds->marks[ds->n_marks++] = at;
    return 0;
}

int dataset_add_column(struct dataset *ds, const char *name, size_t n, struct error *err)
{
    if (ds->columns == DATASET_MAX_COLUMNS)
        return error_set(err, ERR_LIMIT, "more than %u columns", DATASET_MAX_COLUMNS);
    for (unsigned i = 0; i < ds->columns; i++) {
        if (strlen(ds->names[i]) == n && !memcmp(ds->names[i], name, n))
            return error_set(err, ERR_INVALID, "columns %u and %u are both named \"%.100s\"", i + 1, ds->columns + 1,
                             ds->names[i]);
    }
    if (!(ds->columns & (ds->columns - 1))) { // room for the next power of two
        char **more = realloc(ds->names, (ds->columns ? 2 * ds->columns : 1) * sizeof *more);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "no memory for the names of columns");
        ds->names = more;
    }
    char *copy = strndup(name, n);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, "no memory for the names of columns");
    ds->names[ds->columns++] = copy;
    return 0;
}

// --- numbers

// What the fast path cannot tell exactly: strtod of a copy, as the field has no NUL behind it.
static double slow_number(const char *s, size_t n)
{
    char text[400];
    if (n >= sizeof text)
        return NAN; // no number that anything measured
    memcpy(text, s, n);
    text[n] = '\0';
    return strtod(text, NULL);
}

bool dataset_number(const char *s, size_t n, struct value *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *end = s + n;
    while (s < end && (*s == ' ' || *s == '\t'))
        s++;
    while (s < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    const char *p = s;
    bool negative = p < end && *p == '-', real = false;
    p += p < end && (*p == '-' || *p == '+');
    uint64_t mantissa = 0;
    int digits = 0, significant = 0, scale = 0, exponent = 0;
    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !real)); p++) {
        if (*p == '.') {
            real = true;
            continue;
        }
        digits++;
        significant += significant || *p != '0';
        scale -= real;
        if (significant <= 18)
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    }
    if (!digits)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool down = p + 1 < end && p[1] == '-';
        p += 1 + (p + 1 < end && (p[1] == '-' || p[1] == '+'));
        if (p == end || *p < '0' || *p > '9')
            return false;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            exponent = exponent < 100000 ? exponent * 10 + (*p - '0') : exponent;
        scale += down ? -exponent : exponent;
        real = true;
    }
    if (p != end)
        return false;
    if (!real && significant <= 18) {
        *out = (struct value){.type = VALUE_INTEGER, .integer = negative ? -(int64_t)mantissa : (int64_t)mantissa};
        return true;
    }
    double v; // both exact in a double: so is one rounding of their product (Clinger 1990)
    if (mantissa <= (1ull << 53) && significant <= 18 && scale >= -22 && scale <= 22)
        v = scale < 0 ? (double)mantissa / powers[-scale] : (double)mantissa * powers[scale];
    else
        v = fabs(slow_number(s, (size_t)(end - s)));
    if (!isfinite(v))
        return false;
    *out = (struct value){.type = VALUE_NUMBER, .number = negative ? -v : v};
    return true;
}

// --- opening

static enum dataset_format format_of(const char *path)
{
    static const struct {
        const char *suffix;
        enum dataset_format format;
    } known[] = {{".csv", DATASET_CSV},
                 {".tsv", DATASET_CSV},
                 {".ndjson", DATASET_NDJSON},
                 {".jsonl", DATASET_NDJSON},
                 {".json", DATASET_JSON}};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t len = strlen(known[i].suffix);
        if (n > len && !strcasecmp(path + n - len, known[i].suffix))
            return known[i].format;
    }
    return DATASET_BINARY;
}

// O_NONBLOCK: opening a FIFO without a writer must not hang.
static int try_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static const char *place(const char *const *dirs, unsigned n_dirs, unsigned i)
{
    return i < n_dirs && strcmp(dirs[i], ".") != 0 ? dirs[i] : ""; // path_join() knows "" as here
}

// Opens the first place that there is; its path into `found`. Only "there is none" goes on to the next place.
static int find_file(const char *path, const char *const *dirs, unsigned n_dirs, char *found, struct error *err)
{
    struct buf tried;
    unsigned places = path[0] == '/' ? 0 : n_dirs;
    int fd = -1, failed = 0;
    buf_create(&tried, 300);
    for (unsigned i = 0; i <= places && fd < 0 && !failed; i++) {
        unsigned first = 0; // beside the model and beside the scenario may be the same
        while (strcmp(place(dirs, places, first), place(dirs, places, i)) != 0)
            first++;
        if (first < i)
            continue;
        if (path_join(place(dirs, places, i), path, found, PATH_MAX))
            failed = error_set(err, ERR_INVALID, "the path of a data file is longer than %d bytes", PATH_MAX - 1);
        else if ((fd = try_open(found)) < 0 && errno != ENOENT && errno != ENOTDIR)
            failed = error_set_errno(err, "%s: cannot be opened", found);
        else if (fd < 0 && buf_printf(&tried, "%s%s", tried.len ? ", " : "", found))
            continue; // what does not fit is left out
    }
    if (fd < 0 && !failed)
        error_set(err, ERR_NOT_FOUND, "%.100s: there is no such file; looked for %s", path, buf_cstr(&tried));
    buf_destroy(&tried);
    return fd;
}

static bool same_file(const struct dataset *ds, const struct stat *st, const struct dataset_options *o)
{
    return ds->stat.st_dev == st->st_dev && ds->stat.st_ino == st->st_ino && ds->stat.st_size == st->st_size &&
           ds->stat.st_mtim.tv_sec == st->st_mtim.tv_sec && ds->stat.st_mtim.tv_nsec == st->st_mtim.tv_nsec &&
           ds->asked.format == o->format && ds->asked.chunk == o->chunk && ds->asked.delimiter == o->delimiter &&
           ds->asked.header == o->header && !ds->map.lost;
}

// NUL bytes and what is no UTF-8 would come out again in topics and payloads.
static int check_text(struct dataset *ds, struct error *err)
{
    const char *p = ds->bytes, *end = p + ds->size;
    if (ds->size >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2)))
        return error_set(err, ERR_INVALID, "%s: it is UTF-16; save it as UTF-8", ds->path);
    if (ds->size >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        ds->first = 3;
    while (p < end) {
        uint64_t word;
        if (end - p >= 8) { // eight bytes, all ASCII and none of them 0
            memcpy(&word, p, 8);
            if (!(word & 0x8080808080808080ull) && !((word - 0x0101010101010101ull) & 0x8080808080808080ull)) {
                p += 8;
                continue;
            }
        }
        size_t n = utf8_length(p, (size_t)(end - p));
        if (!n)
            return dataset_bad(ds, (size_t)(p - ds->bytes), err, "byte 0x%02x is no UTF-8; save the file as UTF-8",
                               (unsigned char)*p);
        if (!*p)
            return dataset_bad(ds, (size_t)(p - ds->bytes), err, "a NUL byte; is it a text file?");
        p += n;
    }
    return 0;
}

static int index_chunks(struct dataset *ds, struct error *err)
{
    ds->chunk = ds->asked.chunk;
    if (!ds->chunk)
        return error_set(err, ERR_INVALID,
                         "%s: its name does not tell its format; give format (csv, ndjson, json), or for binary data "
                         "the chunk in bytes",
                         ds->path);
    if (ds->size % ds->chunk)
        return error_set(err, ERR_INVALID, "%s: %zu bytes are %zu chunks of %u bytes and %zu bytes more", ds->path,
                         ds->size, ds->size / ds->chunk, ds->chunk, ds->size % ds->chunk);
    ds->rows = ds->size / ds->chunk;
    if (ds->rows > UINT32_MAX)
        return error_set(err, ERR_LIMIT, "%s: more than %u chunks", ds->path, UINT32_MAX);
    return dataset_add_column(ds, "1", 1, err);
}

static int index_file(struct dataset *ds, struct error *err)
{
    if (ds->format == DATASET_BINARY)
        return index_chunks(ds, err);
    if (check_text(ds, err))
        return -1;
    return ds->format == DATASET_CSV ? dataset_csv_index(ds, err) : dataset_json_index(ds, err);
}

static void delete_dataset(struct dataset *ds)
{
    mapping_close(&ds->map);
    while (ds->clocks) {
        struct dataset_clock *next = ds->clocks->next;
        free(ds->clocks->marks);
        free(ds->clocks);
        ds->clocks = next;
    }
    for (unsigned i = 0; i < ds->columns; i++)
        free(ds->names[i]);
    free(ds->names);
    free(ds->marks);
    free(ds->path);
    free(ds);
}

static struct dataset *load(int fd, const char *path, const struct stat *st, const struct dataset_options *options,
                            struct error *err)
{
    struct dataset *ds = calloc(1, sizeof *ds);
    if (ds)
        ds->path = strdup(path);
    if (!ds || !ds->path) {
        free(ds);
        error_set(err, ERR_NO_MEMORY, "%s: no memory", path);
        return NULL;
    }
    ds->refs = 1;
    ds->stat = *st;
    ds->asked = *options;
    ds->format = options->format != DATASET_AUTO ? options->format : format_of(path);
    if (mapping_open(&ds->map, fd, (size_t)st->st_size, err)) {
        error_prefix(err, "%s", path);
        delete_dataset(ds);
        return NULL;
    }
    ds->bytes = ds->map.bytes;
    ds->size = ds->map.size;
    int rc = index_file(ds, err);
    if (!rc && ds->map.lost)
        rc = error_set(err, ERR_IO, "%s: it became shorter while it was read", path);
    if (rc) {
        delete_dataset(ds);
        return NULL;
    }
    uint64_t *less = ds->marks ? realloc(ds->marks, ds->n_marks * sizeof *less) : NULL;
    if (less) {
        ds->marks = less;
        ds->size_marks = ds->n_marks;
    }
    return ds;
}

static struct dataset *open_found(struct datasets *all, int fd, const char *path, const struct dataset_options *options,
                                  struct error *err)
{
    struct stat st;
    if (fstat(fd, &st)) {
        error_set_errno(err, "%s", path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, ERR_INVALID, "%s: expected a file, it is %s", path,
                  S_ISDIR(st.st_mode)    ? "a directory"
                  : S_ISFIFO(st.st_mode) ? "a FIFO"
                                         : "a device");
        return NULL;
    }
    if (st.st_size == 0) {
        error_set(err, ERR_INVALID, "%s: the file is empty", path);
        return NULL;
    }
    for (struct dataset *ds = all->first; ds; ds = ds->next) {
        if (same_file(ds, &st, options)) {
            ds->refs++;
            return ds;
        }
    }
    struct dataset *ds = load(fd, path, &st, options, err);
    if (ds) {
        ds->next = all->first;
        all->first = ds;
    }
    return ds;
}

struct datasets *datasets_new(void)
{
    return calloc(1, sizeof(struct datasets));
}

void datasets_delete(struct datasets *all)
{
    free(all);
}

struct dataset *dataset_open(struct datasets *all, const char *path, const char *const *dirs, unsigned n_dirs,
                             const struct dataset_options *options, struct error *err)
{
    static const struct dataset_options none;
    char found[PATH_MAX];
    if (!path[0]) {
        error_set(err, ERR_INVALID, "the path of a data file is empty");
        return NULL;
    }
    int fd = find_file(path, dirs, n_dirs, found, err);
    if (fd < 0)
        return NULL;
    struct dataset *ds = open_found(all, fd, found, options ? options : &none, err);
    close(fd);
    return ds;
}

void dataset_release(struct datasets *all, struct dataset *ds)
{
    if (!ds || --ds->refs)
        return;
    struct dataset **at = &all->first;
    while (*at != ds)
        at = &(*at)->next;
    *at = ds->next;
    delete_dataset(ds);
}

const char *datasets_lost(struct datasets *all)
{
    for (struct dataset *ds = all->first; ds; ds = ds->next) {
        if (ds->map.lost && !ds->told) {
            ds->told = true;
            return ds->path;
        }
    }
    return NULL;
}

// --- what it is

const char *dataset_path(const struct dataset *ds)
{
    return ds->path;
}

enum dataset_format dataset_format(const struct dataset *ds)
{
    return ds->format;
}

uint64_t dataset_rows(const struct dataset *ds)
{
    return ds->rows;
}

unsigned dataset_columns(const struct dataset *ds)
{
    return ds->columns;
}

const char *dataset_column_name(const struct dataset *ds, unsigned column)
{
    return ds->names[column];
}

static int no_column(const struct dataset *ds, const char *name, struct error *err)
{
    struct buf list;
    const char **names = calloc(ds->columns + 1u, sizeof *names);
    if (!names)
        return error_set(err, ERR_NO_MEMORY, "no memory for an error");
    buf_create(&list, 240); // what does not fit is left out
    for (unsigned i = 0; i < ds->columns; i++) {
        names[i] = ds->names[i];
        if (buf_printf(&list, "%s%s", i ? ", " : "", names[i]))
            break;
    }
    const char *near = suggest(name, names);
    error_set(err, ERR_NOT_FOUND, "%s: no column \"%.64s\"; there is %s%s%s%s", ds->path, name, buf_cstr(&list),
              near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    buf_destroy(&list);
    free(names);
    return -1;
}

int dataset_column(const struct dataset *ds, const char *name, struct error *err)
{
    for (unsigned i = 0; i < ds->columns; i++) {
        if (!strcmp(ds->names[i], name))
            return (int)i;
    }
    return err ? no_column(ds, name, err) : -1;
}

bool dataset_has_objects(const struct dataset *ds)
{
    return ds->objects;
}

bool dataset_lost(const struct dataset *ds)
{
    return ds->map.lost;
}

uint64_t dataset_line(const struct dataset *ds, uint64_t row)
{
    return ds->format == DATASET_BINARY || row >= ds->rows ? 0 : dataset_line_of(ds, dataset_seek(ds, row));
}

size_t dataset_footprint(const struct dataset *ds)
{
    size_t n = sizeof *ds + ds->size_marks * sizeof *ds->marks + ds->columns * sizeof *ds->names;
    for (unsigned i = 0; i < ds->columns; i++)
        n += strlen(ds->names[i]) + 1;
    for (const struct dataset_clock *c = ds->clocks; c; c = c->next)
        n += sizeof *c + ds->n_marks * sizeof *c->marks;
    return n;
}

// --- reading

uint64_t dataset_next(const struct dataset *ds, uint64_t at)
{
    if (at >= ds->size || ds->map.lost)
        return ds->size;
    switch (ds->format) {
    case DATASET_CSV:
        return dataset_csv_next(ds, at);
    case DATASET_NDJSON:
    case DATASET_JSON:
        return dataset_json_next(ds, at);
    default:
        return at + ds->chunk;
    }
}

uint64_t dataset_seek(const struct dataset *ds, uint64_t row)
{
    if (row >= ds->rows)
        return ds->size;
    if (ds->format == DATASET_BINARY)
        return row * ds->chunk;
    uint64_t at = ds->marks[row / DATASET_STRIDE];
    for (uint64_t i = row % DATASET_STRIDE; i > 0; i--)
        at = dataset_next(ds, at);
    return at;
}

static void read_at(const struct dataset *ds, uint64_t at, unsigned column, bool text, struct scratch *scratch,
                    struct value *out)
{
    *out = (struct value){.type = VALUE_NULL};
    if (at >= ds->size || column >= ds->columns || ds->map.lost)
        return;
    if (ds->format == DATASET_CSV)
        dataset_csv_field(ds, at, column, text, scratch, out);
    else if (ds->format != DATASET_BINARY)
        dataset_json_field(ds, at, column, text, scratch, out);
    else
        *out = (struct value){.type = VALUE_BINARY, .str = {ds->bytes + at, ds->chunk}};
    if (ds->map.lost) // found out just now
        *out = (struct value){.type = VALUE_NULL};
}

void dataset_field_at(const struct dataset *ds, uint64_t at, unsigned column, struct scratch *scratch,
                      struct value *out)
{
    read_at(ds, at, column, false, scratch, out);
}

void dataset_text_at(const struct dataset *ds, uint64_t at, unsigned column, struct scratch *scratch, struct value *out)
{
    read_at(ds, at, column, true, scratch, out);
}

void dataset_field(const struct dataset *ds, uint64_t row, unsigned column, struct scratch *scratch, struct value *out)
{
    read_at(ds, dataset_seek(ds, row), column, false, scratch, out);
}

void dataset_text(const struct dataset *ds, uint64_t row, unsigned column, struct scratch *scratch, struct value *out)
{
    read_at(ds, dataset_seek(ds, row), column, true, scratch, out);
}

void dataset_row_at(const struct dataset *ds, uint64_t at, struct value *out)
{
    *out = (struct value){.type = VALUE_NULL};
    if ((ds->format == DATASET_NDJSON || ds->format == DATASET_JSON) && at < ds->size && !ds->map.lost)
        dataset_json_row(ds, at, out);
}
