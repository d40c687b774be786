// What the dataset files share. Not for others.
#pragma once
#include <sys/stat.h>
#include "core/error.h"
#include "telemetry/dataset.h"
#include "telemetry/dataset_map.h"

struct dataset_clock {
    struct dataset_clock *next;
    const struct dataset *ds;
    unsigned column;
    double unit_us;    // of a number in that column
    int64_t origin_us; // the first row's time
    int64_t last_us;   // the last row's, since the first
    int64_t *marks;    // of every DATASET_STRIDEth row, since the first
};

struct dataset {
    struct dataset *next;
    unsigned refs;
    bool told; // datasets_lost has
    char *path;
    struct stat stat; // of the file when it was mapped: another one of that name is another dataset
    struct dataset_options asked;
    enum dataset_format format;
    struct mapping map;
    const char *bytes; // map.bytes
    size_t size;
    size_t first; // where row 0 begins
    uint64_t rows;
    uint64_t *marks; // where every DATASET_STRIDEth row begins; NULL: binary
    size_t n_marks, size_marks;
    unsigned chunk; // binary
    char delimiter; // CSV
    bool plain;     // CSV: no quotes in the file
    bool objects;   // JSON rows are objects
    unsigned columns;
    char **names;
    struct dataset_clock *clocks;
};

// A piece of the file.
struct span {
    const char *s;
    size_t n;
    bool quoted;  // s and n lie within quotes
    bool escapes; // and hold "" or a backslash
};

// dataset.c
int dataset_mark(struct dataset *ds, size_t at, struct error *err); // the next row begins here
int dataset_add_column(struct dataset *ds, const char *name, size_t n, struct error *err);
uint64_t dataset_line_of(const struct dataset *ds, size_t at);
// Sets "path:line: " and the text.
int dataset_bad(const struct dataset *ds, size_t at, struct error *err, const char *fmt, ...) PRINTF_LIKE(4, 5);
// A decimal number such as -1.5e3; spaces around it are fine. False: it is none.
bool dataset_number(const char *s, size_t n, struct value *out);

// dataset_csv.c
int dataset_csv_index(struct dataset *ds, struct error *err);
size_t dataset_csv_next(const struct dataset *ds, size_t at);
void dataset_csv_field(const struct dataset *ds, size_t at, unsigned column, bool text, struct scratch *scratch,
                       struct value *out);

// dataset_json.c
int dataset_json_index(struct dataset *ds, struct error *err);
size_t dataset_json_next(const struct dataset *ds, size_t at);
void dataset_json_field(const struct dataset *ds, size_t at, unsigned column, bool text, struct scratch *scratch,
                        struct value *out);
void dataset_json_row(const struct dataset *ds, size_t at, struct value *out);
// End of the JSON value that begins at p, or NULL: *where and *what say where and why. depth: how deep p lies.
const char *dataset_json_skip(const char *p, const char *end, unsigned depth, const char **where, const char **what);
