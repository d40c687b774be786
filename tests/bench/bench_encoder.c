// What a message costs to encode: a sensor of three attributes in every encoding, beside a plain snprintf loop that
// writes the same JSON. Without network, devices or generators.
//
//   bench_encoder [MESSAGES]   ns a message of each, as a table
//   bench_encoder --dump       one message of each as "NAME HEX", and the Sparkplug certificates: for decoders that
//                              others wrote (tests/integration/payload_decode_spec.lua)
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "telemetry/encoder.h"

static const struct encoder_field fields[] = {
    {"temperature", VALUE_NUMBER, 2, NULL, 1}, {"count", VALUE_INTEGER, -1, NULL, 2},
    {"on", VALUE_BOOLEAN, -1, NULL, 3},        {"text", VALUE_STRING, -1, NULL, 4},
    {"bytes", VALUE_BINARY, -1, NULL, 5},      {"list", VALUE_JSON, -1, NULL, 6},
    {"nothing", VALUE_NUMBER, -1, NULL, 7}};
enum { N = sizeof(fields) / sizeof(fields[0]), N_BENCH = 3 };

static const struct value example[N] = {{.type = VALUE_NUMBER, .number = 21.456},
                                        {.type = VALUE_INTEGER, .integer = -42},
                                        {.type = VALUE_BOOLEAN, .boolean = true},
                                        {.type = VALUE_STRING, .str = {"a\"b, c=\\d \xc3\xa9", 12}},
                                        {.type = VALUE_BINARY, .str = {"\x00\xff\x10", 3}},
                                        {.type = VALUE_JSON, .str = {"{\"a\":[1,2.5,\"x\"]}", 17}},
                                        {.type = VALUE_NULL}};

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct encoder *encoder_of(const json_t *spec, unsigned n)
{
    struct error err = {0};
    struct encoder *e = encoder_new(spec, fields, n, "sensor", &err);
    if (!e) {
        fprintf(stderr, "bench_encoder: %s\n", err.text);
        exit(1);
    }
    return e;
}

static void full(void)
{
    fprintf(stderr, "bench_encoder: the buffer is full\n");
    exit(1);
}

// The values of message i, so that no two in a row are the same.
static void make_values(struct value *values, uint64_t i)
{
    memcpy(values, example, N_BENCH * sizeof(*values));
    values[0].number = 20 + (double)(i % 997) / 97;
    values[1].integer = (int64_t)(i % 100000);
    values[2].boolean = i & 1;
}

static double bench_encoding(enum encoding encoding, uint64_t messages, uint64_t *bytes)
{
    json_t *spec = json_string(encoding_name(encoding));
    struct encoder *e = encoder_of(spec, N_BENCH);
    struct value values[N_BENCH];
    struct payload_scope scope = {
        .device_id = "sensors-17", .group_id = "sensors", .index = 17, .wall_us = 1706745599123456, .values = values};
    struct buf out;
    buf_create(&out, 4096);
    *bytes = 0;
    double start = now_ns();
    for (uint64_t i = 0; i < messages; i++) {
        make_values(values, i);
        scope.wall_us += 1000000;
        buf_clear(&out);
        if (encoder_write(e, &scope, (unsigned)i & 255, &out))
            full();
        *bytes += out.len;
    }
    double took = now_ns() - start;
    buf_destroy(&out);
    encoder_delete(e);
    json_decref(spec);
    return took / (double)messages;
}

static double bench_snprintf(uint64_t messages, uint64_t *bytes)
{
    struct value values[N_BENCH];
    int64_t wall_us = 1706745599123456;
    char text[256];
    *bytes = 0;
    double start = now_ns();
    for (uint64_t i = 0; i < messages; i++) {
        make_values(values, i);
        wall_us += 1000000;
        int n = snprintf(text, sizeof(text),
                         "{\"temperature\":%.2f,\"count\":%" PRId64 ",\"on\":%s,\"timestamp\":%" PRId64 "}",
                         values[0].number, values[1].integer, values[2].boolean ? "true" : "false", wall_us / 1000);
        *bytes += (uint64_t)n;
    }
    return (now_ns() - start) / (double)messages;
}

static void dump_one(const char *name, const struct buf *out)
{
    printf("%s ", name);
    for (uint32_t i = 0; i < out->len; i++)
        printf("%02x", out->data[i]);
    printf("\n");
}

static void dump(void)
{
    struct payload_scope scope = {
        .device_id = "dev 1", .group_id = "gr=p", .index = 7, .wall_us = 1706745599123456, .values = example};
    struct buf out;
    buf_create(&out, 4096);
    for (int k = ENCODING_JSON; k <= ENCODING_SPARKPLUG; k++) {
        json_t *spec = json_string(encoding_name((enum encoding)k));
        struct encoder *e = encoder_of(spec, N);
        buf_clear(&out);
        if (encoder_write(e, &scope, 200, &out))
            full();
        dump_one(encoding_name((enum encoding)k), &out);
        encoder_delete(e);
        json_decref(spec);
    }
    buf_clear(&out);
    if (sparkplug_birth(fields, N, example, scope.wall_us, 3, &out))
        full();
    dump_one("birth", &out);
    buf_clear(&out);
    if (sparkplug_death(3, scope.wall_us, &out))
        full();
    dump_one("death", &out);
    buf_destroy(&out);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--dump")) {
        dump();
        return 0;
    }
    uint64_t messages = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000, bytes;
    if (!messages || messages > 1000000000)
        messages = 2000000;
    double floor_ns = bench_snprintf(messages, &bytes);
    printf("| encoding | ns/message | to snprintf | bytes/message |\n|---|---|---|---|\n");
    printf("| snprintf (JSON) | %.0f | 1.00 | %.0f |\n", floor_ns, (double)bytes / (double)messages);
    for (int k = ENCODING_JSON; k <= ENCODING_SPARKPLUG; k++) {
        double ns = bench_encoding((enum encoding)k, messages, &bytes);
        printf("| %s | %.0f | %.2f | %.0f |\n", encoding_name((enum encoding)k), ns, ns / floor_ns,
               (double)bytes / (double)messages);
    }
    return 0;
}
