// A run and what a test looks at, shared by test_run.c and test_lost.c. After every run: no child process, no
// descriptor, no changed signal handler is left.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <ev.h>

#include "engine/run.h"
#include "fake_scenario.h"

#define SECOND 1000000

struct world {
    char log[256 << 10];
    size_t log_len;
    struct run *run;
    struct run_result result;
    struct error err;
    int rc;
    int64_t took_us;
    unsigned statuses, phases; // bits of the phases seen
    unsigned checks, headers;
    unsigned undecided; // thresholds without data in the first status that has any
    int64_t first_p99_us;
    char url[600];
    // what to do, and when
    int act_phase; // -1: never
    void (*act)(struct world *w);
    unsigned act_after; // so many statuses in that phase
    unsigned in_phase;
    bool acted;
    bool judged; // a status had thresholds
    struct run_config config;
    // capture
    bool capture;
    int fd;
    ev_io io;
    uint8_t in[1 << 20];
    size_t in_len;
    unsigned captured;
    uint64_t sum; // of hashes of (topic, payload): no order
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

// Children of this process but mosquitto, in the order of /proc.
static inline unsigned children(pid_t parent, pid_t *out, unsigned max, bool brokers)
{
    unsigned n = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; (e = readdir(d));) {
        char path[300], line[512], name[64] = "", state = 0;
        int pid, ppid = 0;
        snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        if (fgets(line, sizeof(line), f) && sscanf(line, "%d (%63[^)]) %c %d", &pid, name, &state, &ppid) == 4 &&
            ppid == parent && state != 'Z' && (strcmp(name, "mosquitto") == 0) == brokers && n < max)
            out[n++] = pid;
        fclose(f);
    }
    closedir(d);
    return n;
}

static void on_log(void *arg, enum log_level level, const char *line, size_t n)
{
    struct world *w = arg;
    (void)level;
    if (getenv("SHOW"))
        fprintf(stderr, "%.*s", (int)n, line);
    if (w->log_len + n < sizeof(w->log) - 1) {
        memcpy(w->log + w->log_len, line, n);
        w->log_len += n;
    }
}

// --- a subscriber written with bare hands, on the run's own loop

static void parse_captured(struct world *w)
{
    size_t at = 0;
    for (;;) {
        size_t n = 0, k = 1;
        unsigned shift = 0;
        for (; at + k < w->in_len && k < 5; k++) {
            n |= (size_t)(w->in[at + k] & 127) << shift;
            shift += 7;
            if (!(w->in[at + k++] & 128))
                goto have;
            k--;
        }
        break;
    have:
        if (at + k + n > w->in_len)
            break;
        if ((w->in[at] & 0xf0) == 0x30) {
            w->captured++;
            w->sum += hash_bytes(w->in + at + k, n, 1); // topic and payload, QoS 0
        }
        at += k + n;
    }
    memmove(w->in, w->in + at, w->in_len - at);
    w->in_len -= at;
}

static void on_captured(struct ev_loop *ev, ev_io *io, int events)
{
    (void)events;
    struct world *w = container_of(io, struct world, io);
    ssize_t n = recv(w->fd, w->in + w->in_len, sizeof(w->in) - w->in_len, MSG_DONTWAIT);
    if (n > 0) {
        w->in_len += (size_t)n;
        parse_captured(w);
    } else if (n == 0) {
        ev_io_stop(ev, io);
        close(w->fd);
        w->fd = -1;
    }
}

static void subscribe_all(struct world *w)
{
    unsigned port = 0;
    assert_int_equal(sscanf(w->url, "mqtt://127.0.0.1:%u", &port), 1);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(w->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    static const char hello[] = "\x10\x10\0\4MQTT\4\2\0\x3c\0\4test"
                                "\x82\6\0\1\0\1#\0";
    assert_int_equal(send(w->fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(hello) - 1);
    char answer[9];
    assert_int_equal(recv(w->fd, answer, sizeof(answer), MSG_WAITALL), sizeof(answer)); // CONNACK, SUBACK
    ev_io_init(&w->io, on_captured, w->fd, EV_READ);
    ev_io_start(loop_ev(run_loop(w->run)), &w->io);
}

// --- view

static void on_header(void *arg, const struct plan *plan, const struct preflight *p, const struct run_result *so_far)
{
    struct world *w = arg;
    w->headers++;
    assert_non_null(plan);
    assert_true(p->shards > 0);
    snprintf(w->url, sizeof(w->url), "%s", so_far->broker_url);
    if (w->capture)
        subscribe_all(w);
}

static void on_status(void *arg, const struct run_status *s)
{
    struct world *w = arg;
    if (!(w->phases & 1u << s->phase))
        w->in_phase = 0;
    w->phases |= 1u << s->phase;
    if (w->statuses++ == 0)
        w->first_p99_us = s->p99_us;
    for (unsigned i = 0; !w->judged && i < s->n_thresholds; i++)
        w->undecided += s->threshold_results[i].state == THRESHOLD_NO_DATA;
    w->judged |= s->n_thresholds > 0;
    if ((int)s->phase == w->act_phase && !w->acted && w->in_phase++ >= w->act_after) {
        w->acted = true;
        w->act(w);
    }
    if (s->phase == RUN_ENDED && w->capture && w->fd >= 0) {
        on_captured(loop_ev(run_loop(w->run)), &w->io, EV_READ);
        ev_io_stop(loop_ev(run_loop(w->run)), &w->io);
        if (w->fd >= 0)
            close(w->fd);
    }
}

static void on_check(void *arg, const struct run_check *check)
{
    (void)check;
    ((struct world *)arg)->checks++;
}

static const struct run_limits short_limits = {
    .load_cpu_us = 300000, .ready_us = 20 * SECOND, .ping_us = 700000, .grace_us = 500000};

static struct world *make(unsigned shards)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    memset(fake_shared, 0, sizeof(*fake_shared));
    w->act_phase = -1;
    w->config = (struct run_config){.scenario_path = "fleet.json",
                                    .shards = shards,
                                    .ops = &fake_ops,
                                    .limits = &short_limits,
                                    .on_header = on_header,
                                    .on_status = on_status,
                                    .on_check = on_check,
                                    .view_arg = w};
    return w;
}

// One group "g"; x: members of "x"; rest: members of the plan, each with a comma in front.
static void run_text(struct world *w, unsigned count, const char *x, const char *rest)
{
    char text[4096];
    snprintf(text, sizeof(text),
             "{\"name\":\"t\",\"file\":\"fleet.json\",\"broker\":\"embedded\",\"stop_timeout\":1000000,"
             "\"groups\":[{\"name\":\"g\",\"count\":%u,\"behaviour\":true,\"line\":3}],\"x\":{%s}%s}",
             count, x, rest);
    struct log_config lc = {.fd = 2, .level = LOG_INFO, .sink = on_log, .sink_arg = w};
    w->config.log = log_new(&lc);
    w->config.scenario_text = text;
    w->config.scenario_text_len = strlen(text);
    unsigned before = open_descriptors();
    struct sigaction term_before, term_after;
    sigaction(SIGTERM, NULL, &term_before);
    int64_t from = now_us();
    w->rc = run_execute(&w->config, &w->run, &w->result, &w->err);
    w->took_us = now_us() - from;
    sigaction(SIGTERM, NULL, &term_after);
    assert_true(term_before.sa_handler == term_after.sa_handler);
    log_delete(w->config.log);
    if (w->rc && w->err.code == ERR_NOT_FOUND && !getenv("CI"))
        skip();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // no child is left, living or dead
    assert_int_equal(errno, ECHILD);
    assert_int_equal(open_descriptors(), before);
}

static void expect_exit(const struct world *w, int code)
{
    if (w->rc != 0)
        fail_msg("run_execute: %s\n%s", w->err.text, w->log);
    if (w->result.exit_code != code)
        fail_msg("exit %d instead of %d: %s\n%s", w->result.exit_code, code,
                 w->result.n_reasons ? w->result.reasons[0].text : "", w->log);
}

static void expect_log(const struct world *w, const char *text)
{
    if (!strstr(w->log, text))
        fail_msg("no \"%s\" in the log:\n%s", text, w->log);
}

static void done(struct world *w)
{
    run_result_destroy(&w->result);
    free(w);
}

#define DURATION(s) ",\"duration\":" #s

static int setup_world(void **state)
{
    (void)state;
    fake_shared = mmap(NULL, sizeof(*fake_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    return fake_shared == MAP_FAILED;
}
