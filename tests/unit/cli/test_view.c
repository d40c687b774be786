// What a run looks like, against golden files: IOTIX_UPDATE_GOLDEN=1 writes them anew, then read them with your own
// eyes.
#include "fabric.h"

static void header(void **state)
{
    (void)state;
    struct plan *plan = fabric_plan(fabric_plan_text);
    struct preflight preflight;
    struct run_result so_far;
    struct options o;
    struct error err;
    struct buf b;
    fabric_preflight(&preflight);
    memset(&so_far, 0, sizeof(so_far));
    snprintf(so_far.run_id, sizeof(so_far.run_id), "01J9ZQ3K");
    so_far.seed = 42;
    options_create(&o);
    assert_int_equal(
        options_set(&o, OPT_BROKER, "mqtts://alice:s3cret@broker.test:8883", LAYER_FLAG, "flag -b", "-b", &err), 0);
    assert_int_equal(options_set(&o, OPT_SCALE, "0.5", LAYER_ENV, "IOTIX_SCALE", "IOTIX_SCALE", &err), 0);
    assert_int_equal(options_set(&o, OPT_SUMMARY_JSON, "summary.json", LAYER_FLAG, "flag --summary-json", "x", &err),
                     0);
    assert_int_equal(options_set(&o, OPT_PARAM, "key=s3cret", LAYER_FLAG, "flag -p", "-p", &err), 0);
    assert_int_equal(options_set(&o, OPT_NO_THRESHOLDS, "true", LAYER_FILE, "./iotix.toml:3", "x", &err), 0);
    assert_int_equal(options_set(&o, OPT_PARTITION, "2/4", LAYER_FLAG, "flag --partition", "x", &err), 0);
    buf_create(&b, 65536);
    struct header_info info = {.plan = plan, .preflight = &preflight, .so_far = &so_far, .options = &o};
    assert_int_equal(header_render(&b, &fabric_wide, &info), 0);
    assert_null(strstr(buf_cstr(&b), "s3cret"));
    golden("header.txt", &b);
    options_destroy(&o);
    buf_destroy(&b);
    plan_delete(plan);
}

static void block(void **state)
{
    (void)state;
    static const unsigned widths[] = {120, 80, 60, 40, 20, 10, 1};
    struct fabric_status f;
    struct history h = {0};
    struct buf b;
    unsigned cols[BLOCK_LINES];
    fabric_status_create(&f);
    buf_create(&b, 65536);
    int64_t end = f.status.elapsed_us;
    for (int i = 0; i < 30; i++) {
        f.status.elapsed_us = end - (30 - i) * 1000000;
        f.status.totals.online = (uint64_t)(i < 20 ? i * 500 : 9987);
        f.status.sent_per_s = i < 20 ? i * 2400 : 48912;
        f.status.p99_us = i % 7 == 3 ? 90000 : i < 4 ? -1 : 21000;
        history_add(&h, &f.status);
    }
    f.status.elapsed_us = end;
    f.status.p99_us = 21000;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        struct style style = {.utf8 = true, .width = widths[i]};
        char name[32];
        buf_clear(&b);
        assert_int_equal(block_render(&b, &style, &f.status, &h, cols), 0);
        unsigned lines = 0;
        for (const char *at = buf_cstr(&b); (at = strchr(at, '\n')); at++)
            lines++;
        assert_int_equal(lines, BLOCK_LINES);
        assert_tame(&b, widths[i] > 1 ? widths[i] - 1 : 80);
        for (unsigned k = 0; k < BLOCK_LINES; k++)
            assert_true(cols[k] <= (widths[i] > 1 ? widths[i] - 1 : 80));
        if (widths[i] < 40)
            continue;
        snprintf(name, sizeof(name), "block-%u.txt", widths[i]);
        golden(name, &b);
    }
    f.status.acting = "satellite-link, rain, a-very-long-name-of-an-experiment-that-does-not-fit";
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        struct style style = {.utf8 = true, .width = widths[i]};
        buf_clear(&b);
        assert_int_equal(block_render(&b, &style, &f.status, &h, cols), 0);
        assert_tame(&b, widths[i] > 1 ? widths[i] - 1 : 80);
        if (widths[i] == 80)
            golden("block-chaos.txt", &b);
    }
    f.status.acting = "";
    struct style ascii = {.utf8 = false, .width = 80};
    buf_clear(&b);
    assert_int_equal(block_render(&b, &ascii, &f.status, &h, cols), 0);
    for (uint32_t i = 0; i < b.len; i++)
        assert_true(b.data[i] < 0x80);
    golden("block-ascii.txt", &b);
    buf_destroy(&b);
    fabric_status_destroy(&f);
}

static void a_sample_a_second(void **state)
{
    (void)state;
    struct fabric_status f;
    struct history h = {0};
    fabric_status_create(&f);
    for (int i = 0; i < 8; i++) {
        f.status.elapsed_us = i * 250000;
        history_add(&h, &f.status);
    }
    assert_int_equal(h.n, 2);
    for (int i = 0; i < 100; i++) {
        f.status.elapsed_us = 2000000 + i * 1000000;
        f.status.sent_per_s = i;
        history_add(&h, &f.status);
    }
    assert_int_equal(h.n, HISTORY);
    assert_true(h.publish[HISTORY - 1] == 99);
    assert_true(h.publish[0] == 99 - HISTORY + 1);
    fabric_status_destroy(&f);
}

static void lines(void **state)
{
    (void)state;
    struct fabric_status f;
    struct buf b;
    struct error err;
    fabric_status_create(&f);
    buf_create(&b, 65536);
    assert_int_equal(plain_render(&b, &f.status), 0);
    assert_string_equal(
        buf_cstr(&b),
        "t=134s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=1/3\n");
    f.status.p99_us = -1;
    f.status.n_thresholds = 0;
    buf_clear(&b);
    assert_int_equal(plain_render(&b, &f.status), 0);
    assert_string_equal(
        buf_cstr(&b),
        "t=134s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=- err_total=37 cpu=61% thresholds=0/0\n");
    buf_clear(&b);
    assert_int_equal(json_render(&b, &f.status), 0);
    json_t *v = json_parse(buf_cstr(&b), b.len, "line", &err);
    assert_non_null(v);
    assert_true(json_is_null(json_object_get(v, "p99_10s")));
    assert_true(json_is_null(json_object_get(v, "stage")));
    json_decref(v);
    f.status.stage = "peak";
    buf_clear(&b);
    assert_int_equal(plain_render(&b, &f.status), 0);
    assert_non_null(strstr(buf_cstr(&b), "phase=hold stage=peak devices="));
    buf_clear(&b);
    assert_int_equal(json_render(&b, &f.status), 0);
    assert_non_null(strstr(buf_cstr(&b), "\"stage\":\"peak\","));
    f.status.stage = NULL;
    f.status.p99_us = 21400;
    f.status.n_thresholds = 3;
    buf_clear(&b);
    assert_int_equal(json_render(&b, &f.status), 0);
    assert_string_equal(buf_cstr(&b),
                        "{\"event\":\"progress\",\"t\":134.000,\"phase\":\"hold\",\"stage\":null,\"devices\":9987,"
                        "\"devices_total\":10000,\"pub\":48912,"
                        "\"p99_10s\":21.4,\"err_total\":37,\"cpu\":61,\"thresholds\":1,\"thresholds_total\":3}\n");
    buf_clear(&b);
    assert_int_equal(flip_render(&b, &fabric_wide, &f.status, 1, false), 0);
    assert_string_equal(buf_cstr(&b),
                        "t=134s threshold=\"connect_errors: rate < 0.1%\" state=fail actual=\"0.31 %\"\n");
    buf_clear(&b);
    assert_int_equal(flip_render(&b, &fabric_wide, &f.status, 1, true), 0);
    v = json_parse(buf_cstr(&b), b.len, "line", &err);
    assert_non_null(v);
    json_decref(v);
    buf_destroy(&b);
    fabric_status_destroy(&f);
}

static void summaries(void **state)
{
    (void)state;
    struct run_result r;
    struct buf b;
    const char *wrote[] = {"summary.json", NULL};
    fabric_result(&r);
    buf_create(&b, 1u << 20);
    struct summary_info info = {.result = &r, .exit_code = EXIT_THRESHOLDS, .wrote = wrote};
    assert_int_equal(summary_render(&b, &fabric_wide, &info), 0);
    golden("summary-fail.txt", &b);
    buf_clear(&b);
    assert_int_equal(summary_render(&b, &fabric_80, &info), 0);
    assert_tame(&b, 0);
    golden("summary-80.txt", &b);
    buf_clear(&b);
    info.full = true;
    assert_int_equal(summary_render(&b, &fabric_wide, &info), 0);
    golden("summary-full.txt", &b);
    buf_clear(&b);
    struct metrics *measured = r.metrics;
    r.metrics = metrics_new(1); // a run that never connected: no table of latencies, not even its head
    assert_int_equal(summary_render(&b, &fabric_wide, &info), 0);
    assert_null(strstr(buf_cstr(&b), "p99.9"));
    metrics_delete(r.metrics);
    r.metrics = measured;
    info.full = false;
    fabric_pass(&r);
    info.exit_code = 0;
    info.wrote = NULL;
    buf_clear(&b);
    assert_int_equal(summary_render(&b, &fabric_wide, &info), 0);
    golden("summary-pass.txt", &b);
    // At any width the verdict is the last line and keeps its exit code.
    for (unsigned width = 30; width < 130; width += 7) {
        struct style style = {.utf8 = true, .width = width};
        buf_clear(&b);
        assert_int_equal(summary_render(&b, &style, &info), 0);
        assert_tame(&b, 0);
        buf_cstr(&b);
        b.data[b.len - 1] = '\0';
        const char *last = strrchr((char *)b.data, '\n');
        assert_non_null(last);
        assert_non_null(strstr(last, "PASS"));
        assert_non_null(strstr(last, "(exit 0)"));
    }
    buf_destroy(&b);
    run_result_destroy(&r);
}

static void verdict(const struct run_result *r, int exit_code, const char *want)
{
    struct buf b;
    buf_create(&b, 4096);
    assert_int_equal(verdict_render(&b, &fabric_wide, r, exit_code), 0);
    assert_string_equal(buf_cstr(&b), want);
    buf_destroy(&b);
}

static void verdicts(void **state)
{
    (void)state;
    struct run_result r;
    fabric_result(&r);
    verdict(&r, 99, "  FAIL  2 of 3 thresholds failed   (exit 99)\n");
    verdict(&r, 0, "  FAIL  2 of 3 thresholds failed   (exit 0 by --exit-zero, verdict 99)\n");
    r.checks[1].ok = false;
    r.exit_code = EXIT_MARKED_FAILED;
    verdict(&r, 110, "  FAIL  2 of 3 thresholds failed, 1 of 2 expectations failed   (exit 110)\n");
    r.exit_code = EXIT_UNREACHABLE;
    r.n_reasons = 3;
    snprintf(r.reasons[0].text, sizeof(r.reasons[0].text), "not one device ever connected");
    verdict(&r, 111, "  FAIL  not one device ever connected (and 2 more reasons)   (exit 111)\n");
    r.exit_code = EXIT_INTERRUPTED;
    r.n_reasons = 1;
    snprintf(r.reasons[0].text, sizeof(r.reasons[0].text), "stopped by a signal\033[2J\nPASS");
    verdict(&r, 105, "  STOPPED  stopped by a signal\\x1b[2J\\nPASS   (exit 105)\n");
    r.checks[1].ok = true;
    fabric_pass(&r);
    verdict(&r, 0, "  PASS  3 of 3 thresholds, 2 of 2 expectations   (exit 0)\n");
    verdict(&r, 109,
            "  PASS  3 of 3 thresholds, 2 of 2 expectations   but an output could not be written   (exit 109)\n");
    r.n_thresholds = 0;
    verdict(&r, 0, "  PASS  2 of 2 expectations   (exit 0)\n");
    r.n_checks = 0;
    verdict(&r, 0, "  PASS  no thresholds, no expectations   (exit 0)\n");
    r.n_thresholds = 3; // so that all of it is freed
    r.n_checks = 2;
    run_result_destroy(&r);
}

// Names that would clear the screen, forge a verdict, or set the window's title.
static void hostile_results(void **state)
{
    (void)state;
    static const char evil[] = "x\033]0;title\007\033[2J\n  PASS  all good   (exit 0)\r\xc2\x9b"
                               "1m\xff";
    struct run_result r;
    struct buf b;
    fabric_result(&r);
    snprintf(r.errors[0].reason, sizeof(r.errors[0].reason), "%s", evil);
    snprintf(r.errors[0].text, sizeof(r.errors[0].text), "%s", evil);
    snprintf(r.errors[0].device, sizeof(r.errors[0].device), "%s", evil);
    snprintf(r.checks[0].name, sizeof(r.checks[0].name), "%s", evil);
    snprintf(r.checks[0].detail, sizeof(r.checks[0].detail), "%s", evil);
    r.checks[0].ok = false;
    snprintf(r.untrustworthy_why, sizeof(r.untrustworthy_why), "%s", evil);
    r.trustworthy = false;
    r.groups[0].name = evil;
    snprintf(r.thresholds[0].actual_text, sizeof(r.thresholds[0].actual_text), "%.40s", evil);
    snprintf(r.plan->thresholds[0].selector.tags, sizeof(r.plan->thresholds[0].selector.tags), "%s", evil);
    buf_create(&b, 1u << 20);
    const char *wrote[] = {evil, NULL};
    struct summary_info info = {.result = &r, .full = true, .exit_code = 99, .wrote = wrote};
    assert_int_equal(summary_render(&b, &fabric_80, &info), 0);
    assert_tame(&b, 0);
    for (const char *at = buf_cstr(&b); (at = strstr(at, "PASS")); at++) {
        const char *start = at;
        while (start > (char *)b.data && start[-1] != '\n')
            start--;
        assert_int_not_equal(strspn(start, " "), (size_t)(at - start)); // never at the head of a line
    }
    buf_clear(&b);
    assert_int_equal(github_annotations(&b, &r), 0);
    for (char *save = NULL, *line = strtok_r((char *)(uintptr_t)buf_cstr(&b), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        assert_memory_equal(line, "::error ", 8);
    buf_clear(&b);
    assert_int_equal(github_summary(&b, &r, 99), 0);
    assert_null(strchr(buf_cstr(&b), '\033'));
    buf_destroy(&b);
    run_result_destroy(&r);
}

static void diagnostics(void **state)
{
    (void)state;
    static const char source[] = "local iotix = require \"iotix\"\n\treturn iotix.scenario { nmae = 'x' }\n";
    struct diagnostic d = {.code = "IOTX012",
                           .file = "fleet.lua",
                           .line = 2,
                           .col = 26,
                           .message = "unknown key \"nmae\"; valid: name, groups",
                           .hint = "did you mean name?",
                           .exit_code = 104};
    struct buf b;
    struct error err;
    buf_create(&b, 65536);
    assert_int_equal(diagnostic_render(&b, &fabric_80, &d, source, strlen(source)), 0);
    assert_string_equal(buf_cstr(&b), "fleet.lua:2:26: error IOTX012: unknown key \"nmae\"; valid: name, groups\n"
                                      "     2 |  return iotix.scenario { nmae = 'x' }\n"
                                      "       |                          ^\n"
                                      "  hint: did you mean name?\n");
    // Lines that are not there, columns past the end, no text, a traceback.
    static const struct {
        int line, col;
    } places[] = {{0, 0}, {1, 0}, {2, 500}, {3, 1}, {99, 1}, {2, -5}, {-1, 3}};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        d.line = places[i].line;
        d.col = places[i].col;
        buf_clear(&b);
        assert_int_equal(diagnostic_render(&b, &fabric_80, &d, source, strlen(source)), 0);
        assert_tame(&b, 0);
    }
    snprintf(d.message, sizeof(d.message), "boom\nstack traceback:\n\tfleet.lua:3: in f\x1b[2J");
    d.line = 0;
    buf_clear(&b);
    assert_int_equal(diagnostic_render(&b, &fabric_80, &d, NULL, 0), 0);
    assert_string_equal(buf_cstr(&b), "fleet.lua: error IOTX012: boom\n         stack traceback:\n         "
                                      "fleet.lua:3: in f\\x1b[2J\n  hint: did you mean name?\n");
    // A line of 10,000 bytes of binary.
    char *long_line = malloc(10000);
    for (int i = 0; i < 10000; i++)
        long_line[i] = (char)(i * 7 + 128);
    for (int i = 0; i < 10000; i++)
        long_line[i] = long_line[i] == '\n' ? 'x' : long_line[i];
    d.line = 1;
    for (d.col = 1; d.col < 10010; d.col += 613) {
        buf_clear(&b);
        assert_int_equal(diagnostic_render(&b, &fabric_80, &d, long_line, 10000), 0);
        assert_tame(&b, 0);
    }
    free(long_line);
    snprintf(d.message, sizeof(d.message), "not UTF-8: \xff");
    json_t *v = diagnostics_json(&d, 1);
    assert_int_equal(json_array_size(v), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(v, 0), "message")), "not UTF-8: \\xff");
    json_decref(v);
    buf_clear(&b);
    struct run_result r = {.exit_code = 104, .n_diagnostics = 1, .diagnostics = &d};
    d.line = 2;
    d.col = 3;
    snprintf(d.message, sizeof(d.message), "a%%b\nc");
    snprintf(d.file, sizeof(d.file), "a,b:c.lua");
    assert_int_equal(github_annotations(&b, &r), 0);
    assert_string_equal(buf_cstr(&b), "::error file=a%2Cb%3Ac.lua,line=2,col=3,title=IOTX012::a%25b%0Ac\n");
    (void)err;
    buf_destroy(&b);
}

static void help_pages(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    buf_create(&b, 1u << 20);
    for (int c = 0; c < CMD_MAX; c++) {
        json_t *params = c == CMD_RUN ? json_pack("{s{ss si ss}}", "rate", "type", "integer", "default", 5, "help",
                                                  "Messages\033 a second")
                                      : NULL;
        buf_clear(&b);
        assert_int_equal(help_render(&b, (enum command)c, params), 0);
        assert_tame(&b, 80);
        if (params)
            assert_non_null(strstr(buf_cstr(&b), "rate <integer>"));
        json_decref(params);
    }
    buf_clear(&b);
    assert_int_equal(help_overview(&b), 0);
    assert_tame(&b, 80);
    // The reference page is the table.
    struct buf page;
    buf_create(&page, 1u << 20);
    buf_clear(&b);
    assert_int_equal(help_markdown(&b), 0);
    if (getenv("IOTIX_UPDATE_GOLDEN"))
        assert_int_equal(file_write_atomic(IOTIX_SOURCE_DIR "/docs/reference/cli.md", b.data, b.len, &err), 0);
    assert_int_equal(file_read(IOTIX_SOURCE_DIR "/docs/reference/cli.md", 1u << 19, &page, &err), 0);
    if (strcmp(buf_cstr(&b), buf_cstr(&page)))
        fail_msg("docs/reference/cli.md is not up to date: iotix-run help --markdown > docs/reference/cli.md");
    buf_destroy(&page);
    buf_destroy(&b);
}

static void completions(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    struct buf b;
    struct error err;
    buf_create(&b, 1u << 20);
    for (int i = 0; i < 3; i++) {
        char path[64] = "/tmp/iotix-completion-XXXXXX", command[128];
        buf_clear(&b);
        assert_int_equal(completion_render(&b, shells[i], &err), 0);
        for (int id = 0; id < OPT_MAX; id++)
            if (!(option_specs[id].flags & OPTION_HIDDEN) && !strstr(buf_cstr(&b), option_specs[id].name))
                fail_msg("%s does not complete --%s", shells[i], option_specs[id].name);
        // The shell itself says whether it can read it, where there is one.
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, b.data, b.len), (ssize_t)b.len);
        close(fd);
        snprintf(command, sizeof(command), "! command -v %s >/dev/null || %s -n %s", shells[i], shells[i], path);
        assert_int_equal(system(command), 0);
        unlink(path);
    }
    assert_int_equal(completion_render(&b, "tcsh", &err), -1);
    assert_int_equal(completion_render(&b, NULL, &err), -1);
    buf_destroy(&b);
}

static void doctor(void **state)
{
    (void)state;
    char root[] = "/tmp/iotix-doctor-XXXXXX", command[1024];
    struct finding f[FINDINGS_MAX];
    struct buf b;
    assert_non_null(mkdtemp(root));
    snprintf(command, sizeof(command),
             "cd %s && mkdir -p proc/sys/net/ipv4 proc/sys/net/core proc/sys/net/netfilter "
             "sys/devices/system/clocksource/clocksource0 && "
             "echo '32768 60999' > proc/sys/net/ipv4/ip_local_port_range && echo 128 > proc/sys/net/core/somaxconn && "
             "echo 65536 > proc/sys/net/netfilter/nf_conntrack_max && echo 60000 > "
             "proc/sys/net/netfilter/nf_conntrack_count && "
             "echo garbage > proc/sys/net/ipv4/tcp_mem && echo hpet > "
             "sys/devices/system/clocksource/clocksource0/current_clocksource && "
             "printf 'MemTotal: 9 kB\\nMemAvailable: 1024 kB\\n' > proc/meminfo",
             root);
    assert_int_equal(system(command), 0);
    unsigned n = doctor_examine(root, f);
    buf_create(&b, 65536);
    assert_int_equal(doctor_render(&b, &fabric_wide, f, n), 0);
    const char *text = buf_cstr(&b);
    assert_non_null(strstr(text, "· source ports        32768 to 60999: 28,232 connections"));
    assert_non_null(strstr(text, "sysctl -w net.ipv4.ip_local_port_range='1024 65535'"));
    assert_non_null(strstr(text, "✗ conntrack           60,000 of 65,536 in use"));
    assert_non_null(strstr(text, "· clock source        hpet"));
    assert_non_null(strstr(text, "✗ memory              1.0 MB available"));
    assert_non_null(strstr(text, "somaxconn=4096"));
    assert_null(strstr(text, "tcp memory")); // not readable: not guessed
    snprintf(command, sizeof(command), "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    buf_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header),          cmocka_unit_test(block),       cmocka_unit_test(a_sample_a_second),
        cmocka_unit_test(lines),           cmocka_unit_test(summaries),   cmocka_unit_test(verdicts),
        cmocka_unit_test(hostile_results), cmocka_unit_test(diagnostics), cmocka_unit_test(help_pages),
        cmocka_unit_test(completions),     cmocka_unit_test(doctor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
