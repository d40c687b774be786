// Files of rows: recorded values for the replay generator, and one row a device for iotix.data. A file is mapped
// read-only and shared: its pages are in memory once a host, however many devices and shards read it; only an index of
// rows belongs to the process.
//
// The whole file is checked when it is opened, so reading cannot fail later: what cannot be read is VALUE_NULL. That
// covers a file that somebody changes while it is mapped, too: every read is bounded, and one that shrinks loses its
// values (dataset_lost) and nothing else. Files are to be replaced by renaming a new one over them.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "core/scratch.h"
#include "telemetry/value.h"

#define DATASET_MAX_ROW (1u << 20) // bytes of a row of text
#define DATASET_MAX_COLUMNS 4096u
#define DATASET_STRIDE 64u // rows for each entry of the index

struct dataset;
struct datasets; // those that are open, by file and options: a file is mapped once a process

enum dataset_format { DATASET_AUTO, DATASET_CSV, DATASET_NDJSON, DATASET_JSON, DATASET_BINARY };
// DATASET_AUTO: .csv .tsv, .ndjson .jsonl, .json, else binary.

// CSV: a first row in which every field reads as a number or a time is found out to be no header.
enum dataset_header { DATASET_HEADER_AUTO, DATASET_HEADER_YES, DATASET_HEADER_NO };

struct dataset_options {
    enum dataset_format format;
    unsigned chunk;             // binary: bytes of one row, > 0
    char delimiter;             // CSV: 0 = found out (comma, semicolon, tab)
    enum dataset_header header; // CSV without one: columns are named "1", "2" …
};
// The format of that name ("csv", "ndjson", "json", "binary"; NULL: DATASET_AUTO). -1: err names the valid ones.
int dataset_format_parse(const char *name, enum dataset_format *out, struct error *err);

struct datasets *datasets_new(void);        // NULL without memory
void datasets_delete(struct datasets *all); // all files must have been closed by dataset_release; NULL is fine
// Path of an open file that shrank while it was mapped, NULL when there is none. Tells each file once, for the log.
const char *datasets_lost(struct datasets *all);

// path: absolute, or looked for in dirs in order, then as it is. NULL: not found (says where it looked), no regular
// file, empty, no permission, not UTF-8 or a NUL byte (file:line), an unclosed quote, rows of different length
// (file:line), a row above DATASET_MAX_ROW, a column named twice, JSON that does not parse (file:line:column), a binary
// file that is no multiple of its chunk, 2^32 rows. A UTF-8 BOM and CRLF are fine; a last line without newline and
// empty lines are fine.
struct dataset *dataset_open(struct datasets *all, const char *path, const char *const *dirs, unsigned n_dirs,
                             const struct dataset_options *options, struct error *err);
void dataset_release(struct datasets *all, struct dataset *ds); // NULL is fine
const char *dataset_path(const struct dataset *ds);
enum dataset_format dataset_format(const struct dataset *ds); // never DATASET_AUTO
uint64_t dataset_rows(const struct dataset *ds);              // header not counted; 1 .. 2^32 - 1
unsigned dataset_columns(const struct dataset *ds);
const char *dataset_column_name(const struct dataset *ds, unsigned column);
// -1: no such column; err lists those there are, with a suggestion. NDJSON, JSON: keys of the first row; rows that are
// no objects have one column, "value".
int dataset_column(const struct dataset *ds, const char *name, struct error *err);
// Whether rows are JSON objects.
bool dataset_has_objects(const struct dataset *ds);
// Whether the file shrank while it was mapped: all its fields are VALUE_NULL from then on.
bool dataset_lost(const struct dataset *ds);

// Where a row lies. By number it takes up to DATASET_STRIDE rows of reading, the row behind takes its own length: who
// reads in order keeps the position. row < dataset_rows.
uint64_t dataset_seek(const struct dataset *ds, uint64_t row);
uint64_t dataset_next(const struct dataset *ds, uint64_t at);
// A field of the row at `at`. CSV: a number when it reads as one, true/false, else text (quotes removed, into the
// scratch where need be); an empty field is VALUE_NULL, "" is an empty text. JSON rows: the value as it stands (objects
// and arrays as VALUE_JSON). Binary: column 0 is the chunk as VALUE_BINARY. A missing key is VALUE_NULL. Without
// scratch memory: VALUE_NULL. Texts live as long as the dataset and the scratch.
void dataset_field_at(const struct dataset *ds, uint64_t at, unsigned column, struct scratch *scratch,
                      struct value *out);
void dataset_field(const struct dataset *ds, uint64_t row, unsigned column, struct scratch *scratch, struct value *out);
// The same field, always as text as it is written: for credentials such as 007. Never a number.
void dataset_text_at(const struct dataset *ds, uint64_t at, unsigned column, struct scratch *scratch,
                     struct value *out);
void dataset_text(const struct dataset *ds, uint64_t row, unsigned column, struct scratch *scratch, struct value *out);
// The whole row at `at` as VALUE_JSON, of JSON and NDJSON; VALUE_NULL otherwise.
void dataset_row_at(const struct dataset *ds, uint64_t at, struct value *out);
// The line of the file (from 1) that a row begins on; slow, for error texts. 0: binary.
uint64_t dataset_line(const struct dataset *ds, uint64_t row);
// Bytes of the index in this process: 8 for every 64 rows, and the names of the columns.
size_t dataset_footprint(const struct dataset *ds);

// --- recorded times

struct dataset_clock; // a column read as times; owned by its dataset

// The column as times: seconds since 1970 or since anything (milliseconds, microseconds and nanoseconds are known by
// their size), or ISO 8601 (without a zone: UTC). Checked once a column, 8 bytes for every 64 rows. NULL: a field that
// is no time, or one that is before the row above it (file:line).
struct dataset_clock *dataset_clock(struct dataset *ds, unsigned column, struct error *err);
int64_t dataset_clock_span_us(const struct dataset_clock *c);         // from the first row to the last
int64_t dataset_clock_us(const struct dataset_clock *c, uint64_t at); // of the row at `at`, since the first row
// The last row that is not after us (since the first row; below 0: the first row). *row and *at: where to look first,
// and what was found. A few rows further on costs their length, any other place a binary search.
void dataset_clock_find(const struct dataset_clock *c, int64_t us, uint64_t *row, uint64_t *at);
// Microseconds since 1970 of an ISO 8601 date or date and time. False: it is none.
bool dataset_time_parse(const char *s, size_t n, int64_t *out_us);
