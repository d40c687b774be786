// The port is found by binding 0 and closing again; somebody else may take it in between, so mosquitto's exit means
// "try another". Ready means: mosquitto says so in its log (the port is ours, not a stranger's) and a CONNECT was
// answered.
//
// Limits chosen for a target of tests: in-flight window 1,000 a client and 100,000 messages queued behind it, so that a
// burst is not silently cut at mosquitto's 20/1,000, and a subscriber that never reads still cannot eat the machine.
#include "engine/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "engine/plan_target.h"
#include "engine/process.h"
#include "engine/run_cert.h"

#define START_US 10000000
#define PORTS_TRIED 5
#define END_US 1000000  // from SIGTERM to SIGKILL
#define AGAIN_US 100000 // until a port is tried again that somebody holds
#define LOG_MAX (16u << 20)

// Of its listeners, the first of which is always there: it is probed, and observed.
static const struct {
    unsigned bit;
    bool tls, websocket;
    const char *scheme;
} kinds[] = {{TARGET_MQTT, false, false, "mqtt"},
             {TARGET_MQTTS, true, false, "mqtts"},
             {TARGET_WS, false, true, "ws"},
             {TARGET_WSS, true, true, "wss"}};
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct broker {
    struct process process;
    char program[512];
    char urls[N_KINDS][64];
    int config, log; // memfds
    int cert, key;   // the same, -1: none
    int probe;       // socket of the CONNECT, -1: none
    unsigned listeners, ports_tried;
    uint16_t ports[N_KINDS];
    int64_t deadline_us;
    bool sent, ready;
    enum { BROKEN_NOT, BROKEN_DOWN, BROKEN_PAUSED, BROKEN_RISING } broken; // by an experiment
    bool waits;                // BROKEN_RISING: to be started, at again_us at the earliest,
    int64_t again_us, kill_us; // once the old one is gone, which from kill_us on is not asked any more
};

static int64_t now_us(void)
{
    struct clock c;
    clock_create_real(&c);
    return clock_now_us(&c);
}

static int find_program(const char *wanted, char *dst, size_t size, struct error *err)
{
    const char *path = getenv("PATH");
    char all[4096];
    snprintf(all, sizeof(all), "%s:/usr/sbin:/usr/local/sbin", path ? path : "/usr/bin");
    if (wanted) {
        snprintf(dst, size, "%s", wanted);
        if (access(dst, X_OK) == 0)
            return 0;
        return error_set_errno(err, "cannot run the broker %s", dst);
    }
    char *save = NULL;
    for (char *dir = strtok_r(all, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        int n = snprintf(dst, size, "%s/mosquitto", dir);
        if (n > 0 && (size_t)n < size && access(dst, X_OK) == 0)
            return 0;
    }
    return error_set(
        err, ERR_NOT_FOUND,
        "broker = \"embedded\" needs mosquitto, which is not installed: apt-get install mosquitto, or name a "
        "broker with --broker mqtt://host");
}

static int free_port(uint16_t *port, struct error *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, "cannot open a socket for the embedded broker");
    int rc = bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &n) ? -1 : 0;
    if (rc)
        error_set_errno(err, "no free loopback port for the embedded broker");
    close(fd);
    *port = ntohs(a.sin_port);
    return rc;
}

// Its certificate stays in this process, where mosquitto, of the same user, opens it.
static int write_listener(const struct broker *b, unsigned i, struct buf *text)
{
    int pid = (int)getpid();
    if (buf_printf(text, "listener %u 127.0.0.1\nsocket_domain ipv4\n", b->ports[i]) ||
        (kinds[i].websocket && buf_append_str(text, "protocol websockets\n")))
        return -1;
    return kinds[i].tls
               ? buf_printf(text, "certfile /proc/%d/fd/%d\nkeyfile /proc/%d/fd/%d\n", pid, b->cert, pid, b->key)
               : 0;
}

static int write_config(struct broker *b, struct error *err)
{
    struct buf text;
    struct passwd *pw = getpwuid(geteuid());
    buf_create(&text, 4096);
    int rc = buf_printf(&text,
                        "allow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
                        "max_inflight_messages 1000\nmax_queued_messages 100000\nsys_interval 0\n"
                        "log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
                        "connection_messages false\n%s%s\n",
                        pw ? "user " : "", pw ? pw->pw_name : "");
    for (unsigned i = 0; i < N_KINDS && !rc; i++)
        if (b->listeners & kinds[i].bit)
            rc = write_listener(b, i, &text);
    if (rc)
        rc = error_set(err, ERR_INTERNAL, "the embedded broker's configuration is too long");
    else if (ftruncate(b->config, 0) || pwrite(b->config, text.data, text.len, 0) != (ssize_t)text.len)
        rc = error_set_errno(err, "cannot write the embedded broker's configuration");
    else if (ftruncate(b->log, 0))
        rc = error_set_errno(err, "cannot empty the embedded broker's log");
    buf_destroy(&text);
    return rc;
}

static void close_probe(struct broker *b)
{
    if (b->probe >= 0)
        close(b->probe);
    b->probe = -1;
    b->sent = false;
}

// The log's text; the last `max` bytes of it.
static size_t read_log(const struct broker *b, char *dst, size_t max)
{
    struct stat st;
    off_t end = fstat(b->log, &st) == 0 ? st.st_size : 0;
    off_t from = end > (off_t)max - 1 ? end - ((off_t)max - 1) : 0;
    ssize_t n = pread(b->log, dst, max - 1, from);
    dst[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static void last_lines(const struct broker *b, char *dst, size_t size)
{
    size_t n = read_log(b, dst, size);
    while (n && dst[n - 1] == '\n')
        dst[--n] = 0;
    for (char *p = dst; *p; p++)
        if (*p == '\n')
            *p = '|';
}

static int execute(struct broker *b, struct error *err)
{
    if (write_config(b, err))
        return -1;
    char name[] = "mosquitto", flag[] = "-c", file[] = "/proc/self/fd/3";
    char *argv[] = {name, flag, file, NULL};
    return process_exec(&b->process, b->program, argv, b->config, b->log, LOG_MAX, err);
}

static int launch(struct broker *b, struct error *err)
{
    b->ports_tried++;
    for (unsigned i = 0; i < N_KINDS; i++) {
        if (!(b->listeners & kinds[i].bit))
            continue;
        if (free_port(&b->ports[i], err))
            return -1;
        snprintf(b->urls[i], sizeof(b->urls[i]), "%s://127.0.0.1:%u%s", kinds[i].scheme, b->ports[i],
                 kinds[i].websocket ? "/mqtt" : "");
    }
    return execute(b, err);
}

static int memfile(const char *name, const char *text, struct error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    size_t n = strlen(text);
    if (fd >= 0 && pwrite(fd, text, n, 0) == (ssize_t)n)
        return fd;
    error_set_errno(err, "cannot keep the certificate of the embedded broker");
    if (fd >= 0)
        close(fd);
    return -1;
}

static int keep_cert(struct broker *b, const struct run_cert *cert, struct error *err)
{
    b->cert = memfile("cert.pem", cert->cert, err);
    b->key = b->cert < 0 ? -1 : memfile("key.pem", cert->key, err);
    return b->key < 0 ? -1 : 0;
}

struct broker *broker_begin(const struct broker_config *config, struct error *err)
{
    struct broker *b = calloc(1, sizeof(*b));
    if (!b) {
        error_set(err, ERR_NO_MEMORY, "no memory for the embedded broker");
        return NULL;
    }
    *b = (struct broker){.config = -1,
                         .log = -1,
                         .cert = -1,
                         .key = -1,
                         .probe = -1,
                         .listeners = TARGET_MQTT | (config ? config->listeners & TARGET_BROKER : 0),
                         .process = {.channel = -1, .output = -1}};
    b->deadline_us = now_us() + START_US;
    if (find_program(config ? config->program : NULL, b->program, sizeof(b->program), err))
        goto failed;
    b->config = memfd_create("mosquitto.conf", MFD_CLOEXEC);
    b->log = memfd_create("mosquitto.log", MFD_CLOEXEC);
    if (b->config < 0 || b->log < 0 || fcntl(b->log, F_SETFL, O_APPEND)) {
        error_set_errno(err, "cannot make the embedded broker's configuration");
        goto failed;
    }
    if (b->listeners & TARGET_TLS && keep_cert(b, config->cert, err))
        goto failed;
    if (launch(b, err) == 0)
        return b;
failed:
    broker_stop(b);
    return NULL;
}

// One step of the CONNECT: 1 when CONNACK 0 came.
static int probe(struct broker *b)
{
    static const char connect_packet[] =
        "\x10\x13\0\4MQTT\4\2\0\x0a\0\7iotix-0"; // 3.1.1, clean session, keep-alive 10 s
    if (b->probe < 0) {
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons(b->ports[0]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        b->probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (b->probe < 0 || (connect(b->probe, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)) {
            close_probe(b);
            return 0;
        }
    }
    if (!b->sent) {
        ssize_t n = send(b->probe, connect_packet, sizeof(connect_packet) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        b->sent = n == (ssize_t)sizeof(connect_packet) - 1;
        if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
            close_probe(b); // refused: not listening yet
        return 0;
    }
    unsigned char ack[4];
    ssize_t n = recv(b->probe, ack, sizeof(ack), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return 0;
    bool good = n == 4 && ack[0] == 0x20 && ack[1] == 2 && ack[3] == 0;
    if (good)
        send(b->probe, "\xe0\0", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    close_probe(b);
    return good;
}

// The old one must be gone before the ports are free. 1: it has been started, 0: not yet.
static int start_again(struct broker *b, struct error *err)
{
    int64_t now = now_us();
    if (!process_gone(&b->process)) {
        if (now >= b->kill_us)
            process_kill(&b->process, SIGKILL);
        return 0;
    }
    if (now < b->again_us)
        return 0;
    b->waits = false;
    return execute(b, err) ? -1 : 1;
}

// Its process ended before it answered: another port, or, where that is known to devices, the same one a little later.
static int retry(struct broker *b, struct error *err)
{
    char log[400], how[96];
    close_probe(b);
    last_lines(b, log, sizeof(log));
    bool in_use = strstr(log, "Address already in use"), rising = b->broken == BROKEN_RISING;
    if (rising && in_use && now_us() < b->deadline_us) {
        b->waits = true;
        b->again_us = now_us() + AGAIN_US;
        return 0;
    }
    if (rising || !in_use || b->ports_tried >= PORTS_TRIED)
        return error_set(err, ERR_IO, "the embedded broker (%s) %s: %s", b->program,
                         process_end_text(&b->process, how, sizeof(how)), *log ? log : "no output");
    return launch(b, err);
}

int broker_ready(struct broker *b, struct error *err)
{
    char log[2048];
    if (b->ready)
        return 1;
    if (b->broken == BROKEN_DOWN)
        return 0;
    if (b->waits) {
        int rc = start_again(b, err);
        return rc < 0 ? -1 : 0;
    }
    if (process_gone(&b->process))
        return retry(b, err);
    if (now_us() >= b->deadline_us) {
        last_lines(b, log, 400);
        return error_set(err, ERR_TIMEOUT, "the embedded broker (%s) did not answer within %d s: %s", b->program,
                         START_US / 1000000, *log ? log : "no output");
    }
    read_log(b, log, sizeof(log));
    b->ready = strstr(log, " running") && probe(b);
    if (b->ready)
        b->broken = BROKEN_NOT;
    return b->ready;
}

int broker_break(struct broker *b, enum broker_action how, struct error *err)
{
    static const int signals[] = {[BROKER_STOP] = SIGTERM, [BROKER_KILL] = SIGKILL, [BROKER_PAUSE] = SIGSTOP};
    if (b->broken || process_gone(&b->process))
        return error_set(err, ERR_STATE, "the embedded broker is down or paused already");
    process_kill(&b->process, signals[how]);
    b->broken = how == BROKER_PAUSE ? BROKEN_PAUSED : BROKEN_DOWN;
    b->ready = how == BROKER_PAUSE;
    b->kill_us = now_us() + END_US;
    return 0;
}

int broker_mend(struct broker *b, struct error *err)
{
    if (b->broken == BROKEN_PAUSED) {
        process_kill(&b->process, SIGCONT);
        b->broken = BROKEN_NOT;
        return 0;
    }
    if (b->broken != BROKEN_DOWN)
        return error_set(err, ERR_STATE, "the embedded broker is neither down nor paused");
    b->broken = BROKEN_RISING;
    b->waits = true;
    b->again_us = 0;
    b->deadline_us = now_us() + START_US;
    return 0;
}

bool broker_broken(const struct broker *b)
{
    return b->broken != BROKEN_NOT;
}

struct broker *broker_start(struct error *err)
{
    struct broker *b = broker_begin(NULL, err);
    int rc = 0;
    while (b && (rc = broker_ready(b, err)) == 0)
        poll(NULL, 0, 5);
    if (rc >= 0)
        return b;
    broker_stop(b);
    return NULL;
}

void broker_terminate(struct broker *b)
{
    if (!b)
        return;
    process_kill(&b->process, SIGTERM);
    process_kill(&b->process, SIGCONT); // a paused one would not hear it
}

bool broker_gone(struct broker *b)
{
    if (b)
        b->waits = false; // it is not wanted any more
    return !b || process_gone(&b->process);
}

void broker_stop(struct broker *b)
{
    if (!b)
        return;
    broker_terminate(b);
    for (int64_t until = now_us() + END_US; !broker_gone(b) && now_us() < until;)
        poll(NULL, 0, 2);
    process_end(&b->process, 500000);
    close_probe(b);
    if (b->config >= 0)
        close(b->config);
    if (b->log >= 0)
        close(b->log);
    if (b->cert >= 0)
        close(b->cert);
    if (b->key >= 0)
        close(b->key);
    free(b);
}

const char *broker_url(const struct broker *b)
{
    return b->urls[0];
}

const char *broker_listener(const struct broker *b, unsigned bit)
{
    for (unsigned i = 0; i < N_KINDS; i++)
        if (kinds[i].bit == bit && b->listeners & bit)
            return b->urls[i];
    return NULL;
}

int broker_pid(const struct broker *b)
{
    return (int)b->process.pid;
}

int broker_check(struct broker *b, struct error *err)
{
    if (!process_gone(&b->process) || b->broken == BROKEN_DOWN || b->broken == BROKEN_RISING)
        return 0;
    char log[400], how[96];
    last_lines(b, log, sizeof(log));
    const char *last = strrchr(log, '|'); // what is before it is how it came up
    return error_set(err, ERR_CLOSED, "the embedded broker %s; the last line of its log: %s",
                     process_end_text(&b->process, how, sizeof(how)),
                     last   ? last + 1
                     : *log ? log
                            : "(none)");
}
