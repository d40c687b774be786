// What is CoAP and what is not (wire.h): datagrams as RFC 7252, 3 to 5.4 have them, streams as RFC 8323, 3 and 5.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "adapter/coap/wire.h"

#define BYTES(...) {__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

// ---- datagrams

struct datagram {
    const char *what;
    uint8_t bytes[24];
    size_t n;
    enum coap_verdict verdict;
    unsigned option;
};

static void datagrams_are_judged(void **state)
{
    // Header: version 1, type, token length; 0x4n CON, 0x5n NON, 0x6n ACK, 0x7n RST. 0x45 is 2.05.
    static const struct datagram all[] = {
        {"an answer", BYTES(0x61, 0x45, 1, 2, 9, 0xff, 'x'), COAP_GOOD, 0},
        {"a ping", BYTES(0x40, 0, 1, 2), COAP_GOOD, 0},
        {"a request", BYTES(0x40, 1, 1, 2, 0xb1, 'a'), COAP_GOOD, 0},
        {"nothing", BYTES(0x40), COAP_IGNORED, 0},
        {"three bytes", BYTES(0x40, 0x45, 1), COAP_IGNORED, 0},
        {"version 2", BYTES(0x80, 0x45, 1, 2), COAP_IGNORED, 0},
        {"version 0", BYTES(0x00, 0x45, 1, 2), COAP_IGNORED, 0},
        {"token of 9, CON", BYTES(0x49, 0x45, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9), COAP_REJECTED, 0},
        {"token of 15, NON", BYTES(0x5f, 0x45, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), COAP_IGNORED,
         0},
        {"token cut off", BYTES(0x44, 0x45, 1, 2, 9), COAP_REJECTED, 0},
        {"ACK with a token cut off", BYTES(0x64, 0x45, 1, 2, 9), COAP_IGNORED, 0},
        {"empty with a payload", BYTES(0x40, 0, 1, 2, 0xff, 1), COAP_REJECTED, 0},
        {"empty NON", BYTES(0x50, 0, 1, 2), COAP_IGNORED, 0},
        {"RST with a code", BYTES(0x70, 0x45, 1, 2), COAP_IGNORED, 0},
        {"ACK that asks", BYTES(0x60, 1, 1, 2), COAP_IGNORED, 0},
        {"class 1", BYTES(0x40, 0x21, 1, 2), COAP_REJECTED, 0},
        {"class 6", BYTES(0x50, 0xc1, 1, 2), COAP_IGNORED, 0},
        {"a Release over UDP", BYTES(0x40, 0xe4, 1, 2), COAP_REJECTED, 0},
        {"delta 15", BYTES(0x40, 0x45, 1, 2, 0xf1, 1), COAP_REJECTED, 0},
        {"length 15", BYTES(0x40, 0x45, 1, 2, 0x1f, 1), COAP_REJECTED, 0},
        {"option cut off", BYTES(0x60, 0x45, 1, 2, 0x48, 1, 2), COAP_IGNORED, 0},
        {"length 13 cut off", BYTES(0x40, 0x45, 1, 2, 0x4d), COAP_REJECTED, 0},
        {"delta 14 cut off", BYTES(0x40, 0x45, 1, 2, 0xe0, 1), COAP_REJECTED, 0},
        {"number beyond 65535", BYTES(0x40, 0x45, 1, 2, 0xe0, 0xff, 0xff, 0xe0, 0xff, 0), COAP_REJECTED, 0},
        {"marker at the end", BYTES(0x40, 0x45, 1, 2, 0xff), COAP_REJECTED, 0},
        {"elective, unknown", BYTES(0x60, 0x45, 1, 2, 0xe1, 0x26, 0x03, 'x'), COAP_GOOD, 0},
        {"critical, unknown, ACK", BYTES(0x60, 0x45, 1, 2, 0xe1, 0x26, 0x02, 'x'), COAP_REFUSED, 9999},
        {"critical, unknown, CON", BYTES(0x40, 0x45, 1, 2, 0xe1, 0x26, 0x02, 'x'), COAP_REJECTED, 9999},
        {"critical, unknown, NON", BYTES(0x50, 0x45, 1, 2, 0xe1, 0x26, 0x02, 'x'), COAP_REJECTED, 9999},
        {"Block2 of 4 bytes", BYTES(0x60, 0x45, 1, 2, 0xd4, 10, 0, 0, 0, 0), COAP_REFUSED, 23},
        {"Block2 twice", BYTES(0x60, 0x45, 1, 2, 0xd1, 10, 0x08, 0x01, 0x18), COAP_REFUSED, 23},
        {"critical in a request", BYTES(0x40, 1, 1, 2, 0xe1, 0x26, 0x02, 'x'), COAP_GOOD, 0},
        {"2.05 with Uri-Path twice", BYTES(0x60, 0x45, 1, 2, 0xb1, 'a', 0x01, 'b'), COAP_GOOD, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct coap_checked checked;
        uint8_t bytes[64];
        size_t n = all[i].n;
        memcpy(bytes, all[i].bytes, n);
        enum coap_verdict verdict = coap_wire_datagram(bytes, &n, &checked);
        if (verdict != all[i].verdict || checked.option != all[i].option)
            print_message("%s: verdict %d, option %u, %s\n", all[i].what, verdict, checked.option,
                          checked.why ? checked.why : "");
        assert_int_equal(verdict, all[i].verdict);
        assert_int_equal(checked.option, all[i].option);
        assert_true((verdict == COAP_GOOD) == (checked.why == NULL));
        if (verdict == COAP_GOOD) {
            assert_int_equal(n, all[i].n);
            assert_memory_equal(bytes, all[i].bytes, n);
        }
    }
}

static void elective_options_of_a_wrong_length_are_taken_out(void **state)
{
    static const struct {
        const char *what;
        uint8_t before[40];
        size_t n;
        uint8_t after[40];
        size_t n_after;
    } all[] = {
        // ETag (4) of 9 bytes, then Content-Format (12)
        {"ETag",
         {0x60, 0x45, 1, 2, 0x49, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x81, 50, 0xff, 'x'},
         18,
         {0x60, 0x45, 1, 2, 0xc1, 50, 0xff, 'x'},
         8},
        // Max-Age (14) of 5 bytes at the end
        {"Max-Age", {0x60, 0x45, 1, 2, 0xc1, 50, 0x25, 1, 2, 3, 4, 5}, 12, {0x60, 0x45, 1, 2, 0xc1, 50}, 6},
        // Content-Format (12) twice, then Size2 (28), whose delta needs a byte more
        {"Content-Format",
         {0x60, 0x45, 1, 2, 0xc1, 50, 0x01, 60, 0xd1, 3, 7},
         11,
         {0x60, 0x45, 1, 2, 0xc1, 50, 0xd1, 3, 7},
         9},
        // Observe (6) of 4 bytes, Content-Format of 3, then Size2: 6 + 6 + 16
        {"two",
         {0x60, 0x45, 1, 2, 0x64, 1, 2, 3, 4, 0x63, 1, 2, 3, 0xd1, 3, 7},
         16,
         {0x60, 0x45, 1, 2, 0xd1, 15, 7},
         7},
        // Location-Path (8) of 256 bytes would not fit here: Hop-Limit (16) of none
        {"Hop-Limit", {0x60, 0x45, 1, 2, 0xd0, 3, 0xff, 'x'}, 8, {0x60, 0x45, 1, 2, 0xff, 'x'}, 6},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct coap_checked checked;
        uint8_t bytes[40];
        size_t n = all[i].n;
        memcpy(bytes, all[i].before, n);
        if (coap_wire_datagram(bytes, &n, &checked) != COAP_GOOD || n != all[i].n_after)
            print_message("%s: %zu bytes, %s\n", all[i].what, n, checked.why ? checked.why : "");
        assert_int_equal(n, all[i].n_after);
        assert_memory_equal(bytes, all[i].after, n);
    }
}

// ---- streams

struct seen {
    unsigned n, codes[16], options[16];
    uint8_t token[8];
    char words[COAP_STREAM_WORDS + 1];
};

static void on_message(void *arg, const struct coap_checked *m, const char *words)
{
    struct seen *s = arg;
    assert_true(s->n < 16);
    s->codes[s->n] = m->code;
    s->options[s->n++] = m->option;
    memcpy(s->token, m->token, sizeof s->token);
    snprintf(s->words, sizeof s->words, "%s", words);
}

// Feeds it in pieces of `step` bytes, as they are read: what is held back stands in front of the next piece.
static int feed(struct coap_stream *stream, struct seen *seen, const uint8_t *bytes, size_t n, size_t step,
                struct error *err)
{
    const struct coap_stream_events events = {on_message, seen};
    uint8_t piece[300];
    size_t passed = 0;
    for (size_t at = 0; at < n; at += step) {
        size_t held = stream->n_held, some = step < n - at ? step : n - at;
        memcpy(piece, stream->held, held);
        memcpy(piece + held, bytes + at, some);
        ptrdiff_t good = coap_stream_next(stream, piece, held + some, &events, err);
        if (good < 0)
            return -1;
        assert_int_equal((size_t)good + stream->n_held, held + some);
        assert_true(good == 0 || memcmp(piece, bytes + passed, (size_t)good) == 0);
        passed += (size_t)good;
    }
    return 0;
}

#define CSM 0x00, 0xe1

static void streams_are_read_in_pieces_of_any_size(void **state)
{
    uint8_t bytes[280] = {CSM, // an answer of 13 + 5 bytes: token, Content-Format, payload
                          0xd1, 5, 0x45, 0x77, 0xc1, 50, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                          // a ping, an answer with an unknown critical option, an Abort with words
                          0x00, 0xe2, 0x41, 0x45, 0x66, 0xe1, 0x26, 0x02, 'x', 0x40, 0xe5, 0xff, 'b', 'y', 'e'};
    size_t n = 39, first = n;
    // and one with a 16 bit length: 269 + 0 is more than fits here, so 13 + 190
    bytes[n++] = 0xd0, bytes[n++] = 190, bytes[n++] = 0x45, bytes[n++] = 0xff;
    n += 202;
    (void)state;
    for (size_t step = 1; step <= n; step++) {
        struct coap_stream stream = {.cap = 1000};
        struct seen seen = {0};
        struct error err;
        int rc = feed(&stream, &seen, bytes, first, step, &err);
        if (rc)
            print_message("%zu: %s\n", step, err.text);
        assert_int_equal(rc, 0);
        assert_int_equal(seen.n, 5);
        static const unsigned codes[] = {0xe1, 0x45, 0xe2, 0x45, 0xe5};
        for (unsigned i = 0; i < 5; i++) {
            assert_int_equal(seen.codes[i], codes[i]);
            assert_int_equal(seen.options[i], i == 3 ? 9999 : 0);
        }
        assert_string_equal(seen.words, "bye");
        assert_int_equal(feed(&stream, &seen, bytes + first, n - first, step, &err), 0);
        assert_int_equal(seen.n, 6);
        assert_false(stream.inside);
    }
}

static void streams_that_are_none_are_ended(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t n;
        const char *word;
    } all[] = {{BYTES(0x00, 0x45), "first message is 2.05"},
               {BYTES('H', 'T', 'T', 'P', '/', '1', '.', '1'), "first message"},
               {BYTES(CSM, 0x09, 0x45), "token of 9"},
               {BYTES(CSM, 0x00, 0x21), "reserved class"},
               {BYTES(CSM, 0xf0, 0x7f, 0xff, 0xff, 0xff, 0x45), "larger than the 1000"},
               {BYTES(CSM, 0xf0, 0xff, 0xff, 0xff, 0xff, 0x45), "message of 4295033100 bytes"},
               {BYTES(CSM, 0x10, 0x00, 0xff), "empty message"},
               {BYTES(CSM, 0x20, 0x45, 0xf1, 0), "option that is none"},
               {BYTES(CSM, 0x20, 0x45, 0x1f, 0), "option that is none"},
               {BYTES(CSM, 0x20, 0x45, 0x45, 0), "longer than the message"},
               {BYTES(CSM, 0x20, 0x45, 0xe0, 0), "within an option"},
               {BYTES(CSM, 0x60, 0x45, 0xe0, 0xff, 0xff, 0xe0, 0xff, 0xff), "beyond 65535"},
               {BYTES(CSM, 0x10, 0x45, 0xff), "marker without"},
               {BYTES(0x10, 0xe1, 0x10), "critical option 1"}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t step = 1; step <= all[i].n; step++) {
            struct coap_stream stream = {.cap = 1000};
            struct seen seen = {0};
            struct error err;
            error_clear(&err);
            int rc = feed(&stream, &seen, all[i].bytes, all[i].n, step, &err);
            if (rc == 0 || !strstr(err.text, all[i].word))
                print_message("%zu by %zu: %s\n", i, step, err.text);
            assert_int_equal(rc, -1);
            assert_int_equal(err.code, ERR_PROTOCOL);
            assert_non_null(strstr(err.text, all[i].word));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagrams_are_judged),
        cmocka_unit_test(elective_options_of_a_wrong_length_are_taken_out),
        cmocka_unit_test(streams_are_read_in_pieces_of_any_size),
        cmocka_unit_test(streams_that_are_none_are_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
