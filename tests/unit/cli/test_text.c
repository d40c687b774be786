#include "fabric.h"

static void safe(const char *in, const char *want, bool utf8)
{
    struct style style = {.utf8 = utf8};
    struct buf b;
    buf_create(&b, 4096);
    assert_int_equal(text_append(&b, &style, in, strlen(in)), 0);
    assert_string_equal(buf_cstr(&b), want);
    buf_destroy(&b);
}

static void hostile_names_are_shown_not_obeyed(void **state)
{
    (void)state;
    safe("plain", "plain", true);
    safe("\033[2J\033[1;1Hgone", "\\x1b[2J\\x1b[1;1Hgone", true);
    safe("a\nPASS  all\r\t\b\x7f", "a\\nPASS  all\\r\\t\\x08\\x7f", true);
    safe("\xc2\x9b"
         "31m",
         "\\u009b31m", true); // C1: CSI in one character
    safe("abc\xe2\x80\xae"
         "cba",
         "abc\\u202ecba", true); // right-to-left override
    safe("a\xe2\x80\x8b"
         "b",
         "a\\u200bb", true);                       // zero-width space
    safe("\xff\xc3", "\\xff\\xc3", true);          // not UTF-8
    safe("\xed\xa0\x80", "\\xed\\xa0\\x80", true); // a surrogate
    safe("größe 温度", "größe 温度", true);
    safe("größe", "gr??e", false);
    safe("✓ ✗ → · … █░", "+ x -> - ~ #.", false);
}

static void widths(void **state)
{
    (void)state;
    struct style utf8 = {.utf8 = true}, ascii = {.utf8 = false};
    assert_int_equal(text_width(&utf8, "größe"), 5);
    assert_int_equal(text_width(&utf8, "温度"), 4);
    assert_int_equal(text_width(&utf8, "e\xcc\x81"), 1);
    assert_int_equal(text_width(&utf8, "\033"), 4);
    assert_int_equal(text_width(&ascii, "→"), 2);
}

static void a_line_never_exceeds_its_width(void **state)
{
    (void)state;
    for (unsigned width = 1; width < 20; width++) {
        struct style style = {.utf8 = true, .width = width};
        struct buf b;
        struct line l;
        buf_create(&b, 4096);
        line_begin(&l, &b, &style);
        line_put(&l, PLAIN, "温度温度");
        line_cell(&l, RED, "abcdefgh", 5, false);
        line_cell(&l, RED, "温度温", 5, true);
        line_pad(&l, 40);
        assert_true(text_width(&style, buf_cstr(&b)) <= width);
        buf_destroy(&b);
    }
}

static void what_is_cut_stays_cut(void **state)
{
    (void)state;
    struct style style = {.utf8 = true, .width = 5};
    struct buf b;
    struct line l;
    buf_create(&b, 100);
    line_begin(&l, &b, &style);
    line_put(&l, PLAIN, "abcd温"); // two columns do not fit into one
    line_put(&l, PLAIN, "x");      // and this would, but would lie
    assert_string_equal(buf_cstr(&b), "abcd");
    buf_destroy(&b);
}

static void cells(void **state)
{
    (void)state;
    struct style style = {.utf8 = true};
    struct buf b;
    struct line l;
    buf_create(&b, 4096);
    line_begin(&l, &b, &style);
    line_cell(&l, PLAIN, "ab", 4, false);
    line_cell(&l, PLAIN, "ab", 4, true);
    line_cell(&l, PLAIN, "abcdef", 4, true);
    line_put(&l, PLAIN, "|");
    assert_string_equal(buf_cstr(&b), "ab    ababc…|");
    buf_destroy(&b);
}

static void colour_only_when_asked(void **state)
{
    (void)state;
    struct style style = {.utf8 = true, .color = true, .width = 4};
    struct buf b;
    struct line l;
    buf_create(&b, 4096);
    line_begin(&l, &b, &style);
    line_put(&l, RED, "abcdef");
    assert_string_equal(buf_cstr(&b), "\033[31mabcd\033[0m");
    buf_destroy(&b);
}

static void a_full_buffer_is_noticed(void **state)
{
    (void)state;
    struct style style = {.utf8 = true};
    struct buf b;
    struct line l;
    buf_create(&b, 8);
    line_begin(&l, &b, &style);
    line_put(&l, PLAIN, "123456789");
    assert_true(l.failed);
    buf_destroy(&b);
}

static void sparklines(void **state)
{
    (void)state;
    char text[64];
    double samples[] = {0, 1, 2, 4, 7, 8, -1, 100};
    assert_string_equal(sparkline(samples, 8, 8, text, sizeof(text)), "▁▂▃▅▇█ █");
    assert_string_equal(sparkline(samples, 6, 0, text, sizeof(text)), "▁▂▃▅▇█");
    double zeros[] = {0, 0};
    assert_string_equal(sparkline(zeros, 2, 0, text, sizeof(text)), "▁▁");
    assert_string_equal(sparkline(samples, 0, 0, text, sizeof(text)), "");
    char small[8];
    assert_string_equal(sparkline(samples, 8, 8, small, sizeof(small)), "▁▂"); // whole characters only
    double nan_sample[] = {0.0 / 0.0};
    assert_string_equal(sparkline(nan_sample, 1, 5, text, sizeof(text)), " ");
}

static void bars(void **state)
{
    (void)state;
    char text[64];
    assert_string_equal(progress_bar(0.5, 4, text, sizeof(text)), "██░░");
    assert_string_equal(progress_bar(2, 4, text, sizeof(text)), "████");
    assert_string_equal(progress_bar(0.0 / 0.0, 4, text, sizeof(text)), "░░░░");
}

static void times(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *shortly, *span, *clock;
    } rows[] = {
        {-1, "-", "0s", "00:00"},
        {0, "0us", "0s", "00:00"},
        {850, "850us", "0.85ms", "00:00"},
        {3100, "3.1ms", "3.1ms", "00:00"},
        {9949, "9.9ms", "9.949ms", "00:00"},
        {9950, "10ms", "9.95ms", "00:00"},
        {212000, "212ms", "212ms", "00:00"},
        {999500, "1.0s", "999.5ms", "00:00"},
        {1500000, "1.5s", "1.5s", "00:01"},
        {30000000, "30s", "30s", "00:30"},
        {59600000, "1m", "59.6s", "00:59"},
        {90000000, "1m30s", "1m30s", "01:30"},
        {370000000, "6m10s", "6m10s", "06:10"},
        {3600000000, "1h", "1h", "1:00:00"},
        {5400000000, "1h30m", "1h30m", "1:30:00"},
        {3605000000, "1h00m05s", "1h00m05s", "1:00:05"},
    };
    char text[32];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(latency_short(rows[i].us, text, sizeof(text)), rows[i].shortly);
        assert_string_equal(span_format(rows[i].us, text, sizeof(text)), rows[i].span);
        assert_string_equal(clock_format(rows[i].us, text, sizeof(text)), rows[i].clock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_names_are_shown_not_obeyed),
        cmocka_unit_test(widths),
        cmocka_unit_test(a_line_never_exceeds_its_width),
        cmocka_unit_test(what_is_cut_stays_cut),
        cmocka_unit_test(cells),
        cmocka_unit_test(colour_only_when_asked),
        cmocka_unit_test(a_full_buffer_is_noticed),
        cmocka_unit_test(sparklines),
        cmocka_unit_test(bars),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
