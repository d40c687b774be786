// Any text as a model: refused with an error, or a model whose generators make values and whose messages can be
// written. A model that was taken is taken again when its own document is written out.
//
// Bytes changed at random hardly ever stay JSON, so half of the mutations work on the tree: something goes, comes
// twice, becomes of another type, very large, very long, or what stands elsewhere in the document.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/scratch.h"
#include "device/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); // libFuzzer's own

// --- mutations ----------------------------------------------------------------------------------------------------

struct spot { // a value and what holds it
    json_t *parent;
    const char *key;
    size_t index;
};

static void count_spots(json_t *v, struct spot *spots, size_t *n, size_t max)
{
    const char *key;
    json_t *item;
    if (json_is_object(v)) {
        json_object_foreach(v, key, item)
        {
            if (*n < max)
                spots[(*n)++] = (struct spot){v, key, 0};
            count_spots(item, spots, n, max);
        }
    } else {
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (*n < max)
                spots[(*n)++] = (struct spot){v, NULL, i};
            count_spots(json_array_get(v, i), spots, n, max);
        }
    }
}

static json_t *at_spot(const struct spot *s)
{
    return s->key ? json_object_get(s->parent, s->key) : json_array_get(s->parent, s->index);
}

static void put(const struct spot *s, json_t *v)
{
    if (s->key)
        json_object_set_new(s->parent, s->key, v);
    else
        json_array_set_new(s->parent, s->index, v);
}

static json_t *strange(struct rng *rng)
{
    static const double numbers[] = {0,   -1,  1,     0.5,   -0.0,  1e308, -1e308, 1e-308,
                                     255, 256, 65535, 65536, 65537, 99,    100};
    static const char *const texts[] = {"",
                                        "${",
                                        "${deviceId}",
                                        "{x}",
                                        "$${a}",
                                        "a > 1",
                                        "((((((((",
                                        "* * * * *",
                                        "u8",
                                        "f64",
                                        "sequence",
                                        "\xf0\x9f\x98\x80",
                                        "\xe2\x80\xae",
                                        "#",
                                        "+/+",
                                        "/",
                                        "json",
                                        "sparkplug",
                                        "Europe/Berlin",
                                        "1 / 0",
                                        "a.b",
                                        "command:x:y=z"};
    switch (rng_below(rng, 9)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(rng_below(rng, 2));
    case 2:
        return json_integer((json_int_t)rng_u64(rng));
    case 3:
        return json_object();
    case 4:
        return json_array();
    case 5:
    case 6:
        return json_real(numbers[rng_below(rng, sizeof(numbers) / sizeof(numbers[0]))]);
    default:
        return json_string(texts[rng_below(rng, sizeof(texts) / sizeof(texts[0]))]);
    }
}

static void change(json_t *root, struct rng *rng)
{
    static struct spot spots[4096]; // the fuzzer has one thread
    size_t n = 0;
    count_spots(root, spots, &n, sizeof(spots) / sizeof(spots[0]));
    if (!n)
        return;
    const struct spot *s = &spots[rng_below(rng, n)], *other = &spots[rng_below(rng, n)];
    json_t *v = at_spot(s);
    switch (rng_below(rng, 6)) {
    case 0:
        if (s->key)
            json_object_del(s->parent, s->key);
        else
            json_array_remove(s->parent, s->index);
        break;
    case 1: // twice
        if (json_is_array(s->parent))
            json_array_append_new(s->parent, json_deep_copy(v));
        break;
    case 2:
        put(s, strange(rng));
        break;
    case 3:
        put(s, json_deep_copy(at_spot(other)));
        break;
    case 4: // one key under another's name
        if (s->key && other->key)
            json_object_set_new(s->parent, other->key, json_deep_copy(v));
        break;
    default:
        if (json_is_integer(v))
            put(s, json_integer(json_integer_value(v) + (json_int_t)rng_below(rng, 5) - 2));
        else if (json_is_real(v))
            put(s, json_real(-json_real_value(v)));
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    json_t *root = seed & 1 ? json_loadb((const char *)data, size, 0, NULL) : NULL;
    if (!root)
        return LLVMFuzzerMutate(data, size, max_size);
    for (uint64_t i = 0, n = 1 + rng_below(&rng, 4); i < n; i++)
        change(root, &rng);
    size_t written = json_dumpb(root, (char *)data, max_size, JSON_COMPACT);
    json_decref(root);
    return written && written <= max_size ? written : LLVMFuzzerMutate(data, size, max_size);
}

// --- the target ---------------------------------------------------------------------------------------------------

static void write_message(const struct model_stream *s, const struct value *values, struct buf *out)
{
    struct payload_scope scope = {.device_id = "d-1", .group_id = "g", .index = 1, .wall_us = 1, .values = values};
    buf_clear(out);
    int rc = s->encoder   ? encoder_write(s->encoder, &scope, 1, out)
             : s->payload ? payload_render(s->payload, &scope, out)
                          : 0;
    if (rc && out->len)
        abort(); // what did not fit left something behind
}

static void run_stream(const struct model *m, const struct model_stream *s, struct scratch *scratch, struct buf *out)
{
    struct gen_state *states = calloc(s->n_states ? s->n_states : 1, sizeof(*states));
    struct value *values = calloc(s->n_attributes ? s->n_attributes : 1, sizeof(*values));
    struct value *latest = calloc(m->n_attributes ? m->n_attributes : 1, sizeof(*latest));
    struct gen_context context = {.wall_us = 1700000000000000, .index = 1, .values = latest, .scratch = scratch};
    struct rng rng;
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < s->n_attributes; i++)
        gen_init(s->attributes[i].gen, &states[s->attributes[i].first_state], &rng, &context);
    for (unsigned n = 0; n < 3; n++) {
        for (unsigned i = 0; i < s->n_attributes; i++) {
            const struct model_attribute *a = &s->attributes[i];
            gen_next(a->gen, &states[a->first_state], &rng, &context, &values[i]);
            if (values[i].type != VALUE_STRING && values[i].type != VALUE_JSON && values[i].type != VALUE_BINARY)
                latest[a->slot] = values[i];
        }
        write_message(s, values, out);
        scratch_clear(scratch);
        context.time_us += s->interval_us;
        context.wall_us += s->interval_us;
    }
    free(states);
    free(values);
    free(latest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct model_env env = {0}; // no files
    struct model *m = model_parse((const char *)data, size, "fuzz.json", &env, &err);
    if (!m) {
        if (err.code == ERR_NONE || !err.text[0])
            abort();
        return 0;
    }
    struct scratch scratch;
    struct buf out, text;
    scratch_create(&scratch, 1 << 20);
    buf_create(&out, 1 << 20);
    buf_create(&text, 1 << 24);
    for (unsigned i = 0; i < m->n_streams; i++)
        run_stream(m, &m->streams[i], &scratch, &out);
    if (json_write(m->source, &text, &err) == 0) {
        struct model *again = model_parse((const char *)text.data, text.len, "again.json", &env, &err);
        if (!again)
            abort();
        model_delete(again);
    }
    scratch_destroy(&scratch);
    buf_destroy(&out);
    buf_destroy(&text);
    model_delete(m);
    return 0;
}
