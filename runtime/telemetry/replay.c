// gen_state of a replay: integer is where the current row lies, step its number, flags the offset of the device as a
// fraction (of 2^32) of one round, original timing only.
#include "telemetry/replay.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>
#include "telemetry/dataset_impl.h"
#include "telemetry/gen_parse.h"

enum { ROWS_LOOKED_AT = 1000 };

enum offset { OFFSET_NONE, OFFSET_RANDOM, OFFSET_INDEX };

struct replay {
    struct datasets *all;
    struct dataset *ds;
    struct dataset_clock *clock; // NULL: one row a sample
    enum value_type type;
    struct gen_samples samples; // count 0: none to pack
    unsigned column;
    bool whole_row; // JSON objects
    bool loop;
    enum offset offset;
    double speed;
    int64_t round_us; // original timing: from one beginning to the next
};

// --- making

static int read_text(const struct gen_parse *p, const char *key, const char **out)
{
    const json_t *v = json_object_get(p->object, key);
    *out = json_string_value(v);
    return !v || *out ? 0 : error_set(p->err, ERR_INVALID, "%s: expected a string, got %s", key, gen_kind_of(v));
}

static int open_data(struct replay *r, const struct gen_parse *p, const struct gen_samples *samples)
{
    const char *file, *format;
    struct dataset_options options = {.chunk = samples ? samples->count * samples->bits / 8 : 0};
    if (read_text(p, "dataFile", &file) || read_text(p, "format", &format) ||
        gen_read_count(p, "chunk", 1, DATASET_MAX_ROW, &options.chunk) < 0)
        return -1;
    if (!file || !*file)
        return error_set(p->err, ERR_INVALID,
                         "dataFile: missing; expected the path of a CSV, NDJSON, JSON or binary file");
    if (dataset_format_parse(format, &options.format, p->err))
        return -1;
    if (!p->env || !p->env->datasets)
        return error_set(p->err, ERR_UNSUPPORTED, "replay is not possible here: nobody keeps its file");
    r->all = p->env->datasets;
    r->ds = dataset_open(r->all, file, p->env->dirs, p->env->n_dirs, &options, p->err);
    return r->ds ? 0 : error_prefix(p->err, "dataFile");
}

// A column by name, or by number from 1. 1 when the key is there, 0 when not.
static int named_column(const struct replay *r, const json_t *g, const char *key, int *column, struct error *err)
{
    const json_t *v = json_object_get(g, key);
    if (!v)
        return 0;
    if (json_is_string(v)) {
        *column = dataset_column(r->ds, json_string_value(v), err);
        return *column < 0 ? error_prefix(err, "%s", key) : 1;
    }
    if (!json_is_integer(v))
        return error_set(err, ERR_INVALID, "%s: expected the name of a column, or its number from 1", key);
    if (json_integer_value(v) < 1 || json_integer_value(v) > dataset_columns(r->ds))
        return error_set(err, ERR_INVALID, "%s: %s has the columns 1 to %u", key, dataset_path(r->ds),
                         dataset_columns(r->ds));
    *column = (int)json_integer_value(v) - 1;
    return 1;
}

// The column of times that goes by its name, -1: there is none.
static int usual_time_column(const struct dataset *ds)
{
    static const char *const usual[] = {"timestamp", "time", "ts"};
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        for (unsigned c = 0; c < dataset_columns(ds); c++) {
            if (!strcasecmp(dataset_column_name(ds, c), usual[i]))
                return (int)c;
        }
    }
    return -1;
}

static int choose_column(struct replay *r, const json_t *g, const char *attribute, int time, struct error *err)
{
    int column = -1, named = named_column(r, g, "column", &column, err);
    if (named < 0)
        return -1;
    if (!named && attribute)
        column = dataset_column(r->ds, attribute, NULL);
    if (column < 0 && r->type == VALUE_JSON && dataset_has_objects(r->ds)) {
        r->whole_row = true;
        return 0;
    }
    if (column < 0 && dataset_columns(r->ds) > 1)
        column = time == 1 ? 0 : 1;
    r->column = column < 0 ? 0 : (unsigned)column;
    return 0;
}

// 1: as recorded; 0: one row a sample.
static int choose_timing(const struct replay *r, const struct gen_parse *p, int named, int time)
{
    static const char *const timings[] = {"interval", "original", NULL};
    unsigned timing = named || (time >= 0 && (r->whole_row || (unsigned)time != r->column));
    if (gen_read_word(p, "timing", timings, &timing) < 0)
        return -1;
    if (timing && time < 0)
        return error_set(p->err, ERR_INVALID,
                         "timing: \"original\" needs a column of times; name it with timeColumn (%s has none named "
                         "timestamp, time or ts)",
                         dataset_path(r->ds));
    if (!timing && named)
        return error_set(p->err, ERR_INVALID, "timeColumn: timing \"interval\" does not use it");
    if (!timing && json_object_get(p->object, "speed"))
        return error_set(p->err, ERR_INVALID,
                         "speed: only timing \"original\" has one, which needs a column of times; change intervalMs "
                         "instead");
    return (int)timing;
}

static int set_times(struct replay *r, unsigned column, struct error *err)
{
    r->clock = dataset_clock(r->ds, column, err);
    if (!r->clock)
        return error_prefix(err, "dataFile");
    int64_t span = dataset_clock_span_us(r->clock), gaps = (int64_t)dataset_rows(r->ds) - 1;
    r->round_us = gaps > 0 ? span + span / gaps : 0;
    return 0;
}

static int check_binary(const struct replay *r, struct error *err)
{
    if (dataset_format(r->ds) != DATASET_BINARY || r->type == VALUE_BINARY || r->type == VALUE_NULL)
        return 0;
    return error_set(err, ERR_INVALID,
                     "dataFile: %s is read as binary, which is for attributes of type binary; give format for a text "
                     "file of another name",
                     dataset_path(r->ds));
}

static bool read_value(const struct replay *r, uint64_t at, struct scratch *scratch, struct value *out);

// A wrong column shows at once; single gaps in a recording are not worth an error.
static int check_values(const struct replay *r, struct error *err)
{
    struct scratch scratch;
    struct value v, text;
    uint64_t at = dataset_seek(r->ds, 0), bad = 0, end = dataset_seek(r->ds, dataset_rows(r->ds));
    bool found = false, any = false;
    scratch_create(&scratch, 4 * DATASET_MAX_ROW);
    for (unsigned i = 0; i < ROWS_LOOKED_AT && at < end && !found; i++, at = dataset_next(r->ds, at)) {
        scratch_clear(&scratch);
        found = read_value(r, at, &scratch, &v);
        dataset_text_at(r->ds, at, r->column, &scratch, &text);
        if (!found && !any && text.type != VALUE_NULL) {
            any = true;
            bad = i;
        }
    }
    if (!found && any) {
        dataset_text(r->ds, bad, r->column, &scratch, &text);
        int n = text.type == VALUE_STRING ? (int)(text.str.n < 40 ? text.str.n : 40) : 0;
        error_set(err, ERR_INVALID,
                  "dataFile: %s:%llu: column \"%.64s\" holds \"%.*s\", which this attribute cannot be",
                  dataset_path(r->ds), (unsigned long long)dataset_line(r->ds, bad),
                  dataset_column_name(r->ds, r->column), n, n ? text.str.s : "");
    }
    scratch_destroy(&scratch);
    return !found && any ? -1 : 0;
}

static int fill(struct replay *r, const struct gen_parse *p, const struct gen_samples *samples, const char *attribute)
{
    static const char *const offsets[] = {"none", "random", "index", NULL};
    unsigned offset = OFFSET_NONE;
    int time = -1;
    r->loop = true;
    r->speed = 1;
    if (gen_read_bool(p, "loopReplay", &r->loop) < 0 || gen_read_word(p, "offset", offsets, &offset) < 0 ||
        gen_read_within(p, "speed", 1e-6, 1e6, &r->speed) < 0 || open_data(r, p, samples) || check_binary(r, p->err))
        return -1;
    r->offset = (enum offset)offset;
    int named = named_column(r, p->object, "timeColumn", &time, p->err);
    if (named < 0)
        return -1;
    if (!named)
        time = usual_time_column(r->ds);
    if (choose_column(r, p->object, attribute, time, p->err))
        return -1;
    int timing = choose_timing(r, p, named, time);
    if (timing < 0 || (timing && set_times(r, (unsigned)time, p->err)))
        return -1;
    if (samples && dataset_format(r->ds) != DATASET_BINARY)
        r->samples = *samples;
    return check_values(r, p->err);
}

struct replay *replay_new(const json_t *generator, enum value_type type, const struct gen_samples *samples,
                          const char *attribute, const struct gen_env *env, struct error *err)
{
    struct replay *r = calloc(1, sizeof *r);
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "no memory for a replay");
        return NULL;
    }
    r->type = type;
    const struct gen_parse p = {.object = generator, .type_name = "replay", .env = env, .err = err};
    if (!fill(r, &p, samples, attribute))
        return r;
    replay_delete(r);
    return NULL;
}

void replay_delete(struct replay *r)
{
    if (!r)
        return;
    dataset_release(r->all, r->ds);
    free(r);
}

// --- converting

// "21.5" in JSON, a quoted number or word in CSV.
static void read_text_value(struct value *v)
{
    const char *s = v->str.s;
    size_t n = v->str.n;
    if (dataset_number(s, n, v))
        return;
    if ((n == 4 && !strncasecmp(s, "true", 4)) || (n == 5 && !strncasecmp(s, "false", 5)))
        *v = (struct value){.type = VALUE_BOOLEAN, .boolean = n == 4};
}

// JSON in a field of CSV, or in a string of JSON.
static void read_json_value(struct value *v)
{
    const char *where, *what, *end = v->str.s + v->str.n;
    if (v->str.n && (*v->str.s == '{' || *v->str.s == '[') && dataset_json_skip(v->str.s, end, 1, &where, &what) == end)
        v->type = VALUE_JSON;
}

// False: there is nothing in it that the attribute can be.
static bool read_value(const struct replay *r, uint64_t at, struct scratch *scratch, struct value *out)
{
    if (r->whole_row) {
        dataset_row_at(r->ds, at, out);
        return out->type != VALUE_NULL;
    }
    if (r->type == VALUE_STRING || (r->type == VALUE_BINARY && !r->samples.count))
        dataset_text_at(r->ds, at, r->column, scratch, out);
    else
        dataset_field_at(r->ds, at, r->column, scratch, out);
    if (out->type == VALUE_NULL)
        return false;
    enum value_type type = r->samples.count ? VALUE_NUMBER : r->type;
    if (out->type == VALUE_STRING && type == VALUE_JSON)
        read_json_value(out);
    else if (out->type == VALUE_STRING && type != VALUE_STRING && type != VALUE_BINARY && type != VALUE_NULL)
        read_text_value(out);
    gen_coerce(type, out);
    return out->type != VALUE_NULL;
}

// --- running

static void step(const struct replay *r, uint64_t *row, uint64_t *at)
{
    if (*row + 1 < dataset_rows(r->ds)) {
        ++*row;
        *at = dataset_next(r->ds, *at);
    } else if (r->loop) {
        *row = 0;
        *at = dataset_seek(r->ds, 0);
    }
}

static void put_sample(uint8_t *to, const struct gen_samples *s, double x)
{
    double low = s->signed_samples ? -ldexp(1, (int)s->bits - 1) : 0;
    double high = ldexp(1, (int)s->bits - s->signed_samples) - 1;
    x = rint(x);
    uint32_t bits = (uint32_t)(int64_t)(x < low ? low : x > high ? high : x);
    unsigned n = s->bits / 8;
    for (unsigned i = 0; i < n; i++)
        to[s->big_endian ? n - 1 - i : i] = (uint8_t)(bits >> 8 * i);
}

// Packs samples from the row on and leaves it behind the last one. A gap in the recording repeats the sample before it.
static void pack(const struct replay *r, uint64_t *row, uint64_t *at, struct scratch *scratch, struct value *out)
{
    unsigned bytes = r->samples.bits / 8;
    uint8_t *to = scratch ? scratch_alloc(scratch, (size_t)r->samples.count * bytes) : NULL;
    double x = 0;
    out->type = VALUE_NULL;
    if (!to)
        return;
    for (unsigned i = 0; i < r->samples.count; i++) {
        struct value v;
        if (read_value(r, *at, scratch, &v))
            x = v.number;
        put_sample(to + (size_t)i * bytes, &r->samples, x);
        step(r, row, at);
    }
    if (!dataset_lost(r->ds))
        *out = (struct value){.type = VALUE_BINARY, .str = {(char *)to, (size_t)r->samples.count * bytes}};
}

static uint64_t first_row(const struct replay *r, struct rng *rng, const struct gen_context *context)
{
    uint64_t rows = dataset_rows(r->ds);
    switch (r->offset) {
    case OFFSET_RANDOM:
        return rng_below(rng, rows);
    case OFFSET_INDEX:
        return context->index ? (context->index - 1) % rows : 0;
    case OFFSET_NONE:
        break;
    }
    return 0;
}

void replay_init(const struct replay *r, struct gen_state *state, struct rng *rng, const struct gen_context *context)
{
    uint64_t row = first_row(r, rng, context), at = dataset_seek(r->ds, row);
    *state = (struct gen_state){.integer = (int64_t)at, .step = (uint32_t)row};
    if (!r->clock || !row || !r->round_us)
        return;
    // Rounded up: the offset must not lie before the row. One part of 2^32 is less than the mean distance of two rows.
    double part = ceil((double)dataset_clock_us(r->clock, at) / (double)r->round_us * 0x1p32);
    state->flags = part >= 0x1p32 ? UINT32_MAX : (uint32_t)part;
}

// Where in the recording the device is.
static int64_t position_us(const struct replay *r, const struct gen_state *state, const struct gen_context *context)
{
    double us = (double)(context->time_us > 0 ? context->time_us : 0) * r->speed;
    us += (double)state->flags * 0x1p-32 * (double)r->round_us;
    if (r->loop && r->round_us)
        us = fmod(us, (double)r->round_us);
    return us < 4e18 ? (int64_t)us : (int64_t)4e18;
}

void replay_next(const struct replay *r, struct gen_state *state, const struct gen_context *context, struct value *out)
{
    uint64_t row = state->step, at = (uint64_t)state->integer;
    if (r->clock) {
        dataset_clock_find(r->clock, position_us(r, state, context), &row, &at);
        state->step = (uint32_t)row;
        state->integer = (int64_t)at;
    }
    if (r->samples.count)
        pack(r, &row, &at, context->scratch, out);
    else if (!read_value(r, at, context->scratch, out))
        out->type = VALUE_NULL;
    if (r->clock)
        return;
    if (!r->samples.count)
        step(r, &row, &at);
    state->step = (uint32_t)row;
    state->integer = (int64_t)at;
}
