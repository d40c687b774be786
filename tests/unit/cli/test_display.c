// The display on a pseudo-terminal: a small screen of the test's own plays back what was written and is compared.
#include "fabric.h"

#include <pty.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "cli/display.h"

#define ROWS 60
#define COLS 200

struct screen { // knows \r \n, cursor up, and "erase from here"; anything else that controls fails the test
    unsigned row, col, rows, cols;
    char cell[ROWS][COLS * 4];
    unsigned len[ROWS]; // bytes
};

static int master, slave;

static void window(unsigned cols, unsigned rows)
{
    struct winsize ws = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};
    assert_int_equal(ioctl(master, TIOCSWINSZ, &ws), 0);
}

static void open_pty(void)
{
    struct termios t;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &t), 0);
    cfmakeraw(&t);
    assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
    window(80, 24);
}

// What was written until now.
static void drain(struct buf *out)
{
    struct pollfd p = {.fd = master, .events = POLLIN};
    while (poll(&p, 1, 50) > 0 && p.revents & POLLIN) {
        uint8_t *at = buf_reserve(out, 4096);
        assert_non_null(at);
        ssize_t n = read(master, at, 4096);
        assert_true(n > 0);
        out->len += (uint32_t)n;
    }
}

static void play(struct screen *s, struct buf *b)
{
    const char *at = buf_cstr(b);
    while (*at) {
        unsigned up;
        int n = 0;
        if (sscanf(at, "\033[%uA%n", &up, &n) == 1 && n > 0) {
            assert_true(up <= s->row); // never above what was drawn
            s->row -= up;
            at += n;
        } else if (strncmp(at, "\033[J", 3) == 0) {
            for (unsigned r = s->row; r < ROWS; r++)
                s->len[r] = r == s->row ? s->col : 0;
            at += 3;
        } else if (*at == '\r') {
            s->col = 0;
            at++;
        } else if (*at == '\n') {
            s->row++;
            s->col = 0;
            assert_true(s->row < ROWS);
            at++;
        } else {
            assert_true((unsigned char)*at >= 0x20);
            assert_true(s->col + 1 < COLS * 4);
            s->cell[s->row][s->col++] = *at++;
            s->len[s->row] = s->col;
        }
    }
}

static const char *row(struct screen *s, unsigned r)
{
    s->cell[r][s->len[r]] = '\0';
    return s->cell[r];
}

static struct display *make(enum progress_mode mode, const struct options *o)
{
    struct display_config c = {.fd = slave,
                               .log_fd = -1,
                               .style = {.utf8 = true, .width = 80},
                               .mode = mode,
                               .header = true,
                               .interval_us = 10000000,
                               .options = o};
    struct display *d = display_new(&c);
    assert_non_null(d);
    return d;
}

static void log_lines_scroll_above_the_block(void **state)
{
    (void)state;
    struct fabric_status f;
    struct screen s = {0};
    struct buf b;
    open_pty();
    fabric_status_create(&f);
    buf_create(&b, 1u << 20);
    struct display *d = make(PROGRESS_TTY, NULL);
    display_status(d, &f.status);
    display_log(d, LOG_INFO, "first line\n", 11);
    f.status.totals.online = 5;
    display_status(d, &f.status);
    display_log(d, LOG_INFO, "second line\n", 12);
    display_say(d, PLAIN, "evil\033[2J");
    display_status(d, &f.status);
    drain(&b);
    play(&s, &b);
    assert_string_equal(row(&s, 0), "first line");
    assert_string_equal(row(&s, 1), "second line");
    assert_string_equal(row(&s, 2), "evil\\x1b[2J");
    assert_non_null(strstr(row(&s, 3), "HOLD 02:14"));
    assert_non_null(strstr(row(&s, 4), "5 up"));
    assert_int_equal(s.row, 3 + BLOCK_LINES); // one block, not several
    display_end(d);
    display_status(d, &f.status); // draws nothing any more
    buf_clear(&b);
    drain(&b);
    play(&s, &b);
    assert_int_equal(s.row, 3);
    assert_int_equal(s.len[3], 0);
    display_delete(d);
    buf_destroy(&b);
    fabric_status_destroy(&f);
    close(master);
    close(slave);
}

static void the_window_may_shrink(void **state)
{
    (void)state;
    struct fabric_status f;
    struct buf b;
    open_pty();
    fabric_status_create(&f);
    buf_create(&b, 1u << 20);
    struct display *d = make(PROGRESS_TTY, NULL);
    display_status(d, &f.status);
    drain(&b);
    window(40, 24);
    buf_clear(&b);
    display_status(d, &f.status);
    drain(&b);
    // The lines of 79 columns have become two rows each in a terminal that wraps again.
    unsigned up = 0;
    assert_int_equal(sscanf(buf_cstr(&b), "\r\033[%uA", &up), 1);
    assert_true(up > BLOCK_LINES && up <= 2 * BLOCK_LINES);
    char *text = strdup(strstr(buf_cstr(&b), "\033[J") + 3);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        assert_true(text_width(&fabric_wide, line) < 40);
    free(text);
    window(40, 4); // lower than the block: only what fits, so that going up never leaves the window
    buf_clear(&b);
    display_status(d, &f.status);
    display_status(d, &f.status);
    drain(&b);
    const char *last = strstr(buf_cstr(&b), "\033[J");
    assert_non_null(last);
    last = strstr(last + 1, "\033[J");
    assert_non_null(last);
    unsigned lines = 0;
    for (const char *at = last; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3);
    display_delete(d);
    buf_destroy(&b);
    fabric_status_destroy(&f);
    close(master);
    close(slave);
}

// Ctrl-S: the run must go on. Nothing reads the master, so the terminal takes only what its buffer holds.
static void a_stopped_terminal_blocks_nobody(void **state)
{
    (void)state;
    struct fabric_status f;
    open_pty();
    fabric_status_create(&f);
    struct display *d = make(PROGRESS_TTY, NULL);
    char line[256];
    memset(line, 'x', sizeof(line));
    line[255] = '\n';
    alarm(20); // the deadline of this test
    for (int i = 0; i < 5000; i++) {
        display_status(d, &f.status);
        display_log(d, LOG_INFO, line, sizeof(line));
    }
    alarm(0);
    struct buf b;
    buf_create(&b, 4u << 20);
    pid_t pid = fork(); // a reader, while the display flushes
    if (pid == 0) {
        char chunk[65536];
        while (read(master, chunk, sizeof(chunk)) > 0)
            ;
        _exit(0);
    }
    display_delete(d);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    buf_destroy(&b);
    fabric_status_destroy(&f);
    close(master);
    close(slave);
}

static void dropped_lines_are_counted(void **state)
{
    (void)state;
    int fds[2];
    struct buf b;
    assert_int_equal(pipe(fds), 0);
    struct writer *w = writer_new(fds[1]);
    assert_non_null(w);
    char line[1000];
    memset(line, 'x', sizeof(line));
    line[999] = '\n';
    unsigned taken = 0, put = 0;
    for (; put < 1000; put++)
        taken += writer_put(w, line, sizeof(line));
    assert_true(taken < put);                       // the cap was reached
    assert_true(taken * 1000 >= WRITER_MAX - 1000); // but not before
    buf_create(&b, 4u << 20);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    char text[64];
    snprintf(text, sizeof(text), "[%u lines were dropped here", put - taken);
    for (int i = 0; i < 1000 && !strstr(buf_cstr(&b), text); i++) {
        uint8_t *at = buf_reserve(&b, 65536);
        ssize_t n = read(fds[0], at, 65536);
        if (n > 0)
            b.len += (uint32_t)n;
        writer_flush(w, 10);
    }
    assert_non_null(strstr(buf_cstr(&b), text));
    buf_destroy(&b);
    close(fds[0]);
    // Nobody reads any more: no signal, no error, no waiting.
    signal(SIGPIPE, SIG_IGN);
    assert_false(writer_put(w, line, sizeof(line)) && writer_put(w, line, sizeof(line)));
    writer_flush(w, 1000);
    writer_delete(w);
    close(fds[1]);
}

static void plain_lines_keep_to_their_interval(void **state)
{
    (void)state;
    struct fabric_status f;
    struct buf b;
    int fds[2];
    fabric_status_create(&f);
    assert_int_equal(pipe(fds), 0);
    slave = fds[1];
    master = fds[0];
    struct display *d = make(PROGRESS_PLAIN, NULL);
    f.results[1].state = THRESHOLD_NO_DATA;
    f.results[1].failed = false;
    for (int64_t us = 0; us <= 35000000; us += 250000) {
        f.status.elapsed_us = us;
        f.status.phase = us < 7000000 ? RUN_RAMP : RUN_HOLD;
        f.results[1].state = us < 22000000 ? THRESHOLD_PASS : THRESHOLD_FAIL;
        display_status(d, &f.status);
    }
    struct run_check check = {.ok = false, .t_us = 1, .name = "state message", .detail = "none came\033"};
    display_check(d, &check);
    check.ok = true;
    display_check(d, &check);
    display_delete(d);
    close(fds[1]);
    buf_create(&b, 1u << 20);
    ssize_t n = read(fds[0], buf_reserve(&b, 65536), 65536);
    assert_true(n > 0);
    b.len = (uint32_t)n;
    assert_string_equal(
        buf_cstr(&b),
        "t=0s phase=ramp devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=2/3\n"
        "t=7s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=2/3\n"
        "t=10s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=2/3\n"
        "t=20s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=2/3\n"
        "t=22s threshold=\"connect_errors: rate < 0.1%\" state=fail actual=\"0.31 %\"\n"
        "t=30s phase=hold devices=9987/10000 pub=48912msg/s p99_10s=21ms err_total=37 cpu=61% thresholds=1/3\n"
        "✗ expectation failed: state message: none came\\x1b\n");
    buf_destroy(&b);
    close(fds[0]);
    fabric_status_destroy(&f);
}

// In virtual time an hour may pass between two looks: lines keep to the time of who reads them.
static void virtual_lines_keep_to_real_time(void **state)
{
    (void)state;
    struct fabric_status f;
    char text[16384];
    int fds[2];
    fabric_status_create(&f);
    assert_int_equal(pipe(fds), 0);
    slave = fds[1];
    master = fds[0];
    struct display *d = make(PROGRESS_PLAIN, NULL);
    f.status.phase = RUN_HOLD;
    f.status.virtual_time = true;
    f.results[1].state = THRESHOLD_NO_DATA; // no line of its own
    for (int64_t us = 0; us <= 25000000; us += 250000) {
        f.status.real_us = us;
        f.status.elapsed_us = us * 14400;
        display_status(d, &f.status);
    }
    display_delete(d);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof(text));
    unsigned lines = 0;
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 3);
    close(fds[0]);
    fabric_status_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_lines_scroll_above_the_block),   cmocka_unit_test(the_window_may_shrink),
        cmocka_unit_test(a_stopped_terminal_blocks_nobody),   cmocka_unit_test(dropped_lines_are_counted),
        cmocka_unit_test(plain_lines_keep_to_their_interval), cmocka_unit_test(virtual_lines_keep_to_real_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
