// Any bytes as a data file: refused with an error, or read field by field in every way there is, by number and by
// position. The first byte says how the rest is opened.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "telemetry/dataset.h"
#include "telemetry/path.h"
#include "telemetry/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct value *v)
{
    volatile unsigned char sum = 0;
    if (v->type == VALUE_STRING || v->type == VALUE_BINARY || v->type == VALUE_JSON)
        for (size_t i = 0; i < v->str.n; i++)
            sum = (unsigned char)(sum + (unsigned char)v->str.s[i]);
    if (v->type == VALUE_JSON) { // what passes for JSON here is JSON
        json_t *json = json_loadb(v->str.s, v->str.n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
        if (!json && !memchr(v->str.s, '\\', v->str.n) && !memchr(v->str.s, 'e', v->str.n) &&
            !memchr(v->str.s, 'E', v->str.n) && v->str.n < 100) // jansson refuses half surrogate pairs and 1e999
            abort();
        json_decref(json);
    }
}

static void read_rows(struct dataset *ds, struct scratch *scratch)
{
    uint64_t at = dataset_seek(ds, 0), rows = dataset_rows(ds);
    struct error err;
    struct value v;
    for (uint64_t row = 0; row < rows && row < 300; row++, at = dataset_next(ds, at)) {
        if (dataset_seek(ds, row) != at)
            abort();
        for (unsigned c = 0; c <= dataset_columns(ds) && c < 20; c++) {
            scratch_clear(scratch);
            dataset_field_at(ds, at, c, scratch, &v);
            check(&v);
            dataset_text_at(ds, at, c, scratch, &v);
            check(&v);
            dataset_text_at(ds, at, c, NULL, &v);
            check(&v);
        }
        dataset_row_at(ds, at, &v);
        check(&v);
    }
    for (unsigned c = 0; c < dataset_columns(ds) && c < 20; c++) {
        const struct dataset_clock *clock = dataset_clock(ds, c, &err);
        uint64_t row = 0;
        at = dataset_seek(ds, 0);
        for (int64_t us = -5; clock && us < INT64_MAX / 4; us = us * 3 + 7 * (us < 0 ? -us : us) + 3) {
            dataset_clock_find(clock, us, &row, &at);
            if (row >= rows)
                abort();
        }
    }
    if (dataset_column(ds, "nothing", &err) >= (int)dataset_columns(ds))
        abort();
}

// A generator over the file, several values long.
static void play(struct datasets *all, const char *path, unsigned how, struct scratch *scratch)
{
    static const enum value_type types[] = {VALUE_NUMBER, VALUE_INTEGER, VALUE_BOOLEAN, VALUE_STRING,
                                            VALUE_BINARY, VALUE_JSON,    VALUE_NULL};
    static const char *const formats[] = {"csv", "ndjson", "json", "binary"};
    const struct gen_samples samples = {.count = 3, .bits = 16, .big_endian = true};
    const struct gen_env env = {.datasets = all};
    struct error err;
    struct rng rng;
    json_t *g = json_pack("{s:s,s:s,s:b,s:i,s:s}", "dataFile", path, "format", formats[how & 3], "loopReplay",
                          (int)(how >> 2 & 1), "chunk", 3, "offset", how & 8 ? "random" : "index");
    enum value_type type = types[how % 7];
    struct replay *r = replay_new(g, type, type == VALUE_BINARY ? &samples : NULL, "a", &env, &err);
    struct gen_state state;
    struct gen_context context = {.index = how, .scratch = scratch};
    rng_seed(&rng, how);
    if (r)
        replay_init(r, &state, &rng, &context);
    for (int i = 0; r && i < 30; i++) {
        struct value v;
        scratch_clear(scratch);
        context.time_us += i * 700000;
        replay_next(r, &state, &context, &v);
        check(&v);
    }
    replay_delete(r);
    json_decref(g);
}

static void drive(struct datasets *all, const char *path, struct scratch *scratch)
{
    const struct gen_env env = {.datasets = all};
    struct error err;
    json_t *g = json_pack("{s:s,s:i}", "routeFile", path, "speedKmh", 50);
    struct route *p = route_new(g, VALUE_JSON, NULL, NULL, &env, &err);
    struct gen_state state = {0};
    for (int i = 0; p && i < 5; i++) {
        struct value v;
        route_next(p, &state, NULL, &(struct gen_context){.time_us = i * 100000000, .scratch = scratch}, &v);
        check(&v);
    }
    route_delete(p);
    json_decref(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const suffixes[] = {"csv", "ndjson", "json", "gpx"};
    char path[64], file[64];
    if (size < 2)
        return 0;
    unsigned how = data[0];
    int fd = memfd_create("data", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1))
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct datasets *all = datasets_new();
    struct scratch scratch;
    scratch_create(&scratch, 4u << 20);
    const struct dataset_options options = {.format = (enum dataset_format)(1 + (how & 3)),
                                            .chunk = 3,
                                            .delimiter = how & 16 ? ';' : '\0',
                                            .header = (enum dataset_header)(how >> 5 & 3) % 3};
    struct error err = {0};
    struct dataset *ds = dataset_open(all, path, NULL, 0, &options, &err);
    if (!ds && !err.text[0])
        abort();
    if (ds)
        read_rows(ds, &scratch);
    dataset_release(all, ds);
    play(all, path, how, &scratch);
    snprintf(file, sizeof file, "/tmp/iotix-fuzz-%d.%s", (int)getpid(), suffixes[how & 3]);
    if (how & 128 && symlink(path, file) == 0) {
        drive(all, file, &scratch);
        unlink(file);
    }
    scratch_destroy(&scratch);
    datasets_delete(all);
    close(fd);
    return 0;
}
