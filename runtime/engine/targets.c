// An echo server runs in a child, which writes one line of ports to its channel when it listens, and ends when it is
// told to or the supervisor is gone.
#include "engine/targets.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "adapter/coap/echo.h"
#include "adapter/http/echo.h"
#include "core/clock.h"
#include "core/log.h"
#include "engine/broker.h"
#include "engine/plan_target.h"
#include "engine/process.h"
#include "engine/run_cert.h"

#define START_US 10000000
#define END_US 1000000

struct echo {
    const char *what;       // "HTTP"
    struct process process; // pid 0: not asked for, or ended
    bool wanted, ready;
    char line[256]; // what it said of its ports
    size_t n;
};

struct targets {
    unsigned mask;
    struct run_cert cert; // empty: nothing speaks TLS
    struct broker *broker;
    bool broker_ready;
    struct echo http, coap;
    int64_t deadline_us;
};

static int64_t now_us(void)
{
    struct clock c;
    clock_create_real(&c);
    return clock_now_us(&c);
}

// --- in the child

// A path under which this process finds the text; it stays for its lifetime.
static const char *file_of(const char *text, char *dst, size_t size)
{
    int fd = memfd_create("pem", MFD_CLOEXEC);
    size_t n = strlen(text);
    if (fd < 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
        return NULL;
    snprintf(dst, size, "/proc/self/fd/%d", fd);
    return dst;
}

static int failed(int channel, const struct error *err)
{
    char line[sizeof(err->text) + 16];
    int n = snprintf(line, sizeof(line), "failed: %s\n", err->text);
    return send(channel, line, (size_t)n, MSG_NOSIGNAL) < 0 ? 2 : 1;
}

static int coap_main(void *arg, int channel)
{
    const struct targets *t = arg;
    char cert[40], key[40];
    struct error err = {0};
    bool secure = (t->mask & (TARGET_COAPS | TARGET_COAPS_TCP)) != 0;
    struct coap_echo_config config = {.secure = secure};
    prctl(PR_SET_NAME, "iotix-coap-echo");
    if (secure) {
        config.cert = file_of(t->cert.cert, cert, sizeof(cert));
        config.key = file_of(t->cert.key, key, sizeof(key));
    }
    return coap_echo_run(&config, channel, channel, &err) ? failed(channel, &err) : 0;
}

static int http_main(void *arg, int channel)
{
    const struct targets *t = arg;
    char cert[40], key[40];
    struct error err = {0};
    struct http_echo_config config = {.listen = "127.0.0.1:0"};
    int kept = dup(channel); // it closes what it is given; what goes wrong is told all the same
    prctl(PR_SET_NAME, "iotix-http-echo");
    if (t->mask & TARGET_HTTPS) {
        config.tls_listen = "127.0.0.1:0";
        config.tls_cert = file_of(t->cert.cert, cert, sizeof(cert));
        config.tls_key = file_of(t->cert.key, key, sizeof(key));
    }
    int rc = http_echo_run(&config, channel, &err) ? failed(kept, &err) : 0;
    close(kept);
    return rc;
}

// --- one echo server

static int echo_begin(struct echo *e, const char *what, process_main_fn *fn, struct targets *t, struct error *err)
{
    e->what = what;
    e->wanted = true;
    if (process_fork(&e->process, fn, t, NULL, 0, err))
        return error_prefix(err, "the embedded %s target", what);
    return 0;
}

static int echo_lost(struct echo *e, struct error *err)
{
    char how[96], said[200] = "";
    ssize_t n = e->process.output >= 0 ? read(e->process.output, said, sizeof(said) - 1) : -1;
    said[n > 0 ? n : 0] = 0;
    e->line[e->n] = 0;
    const char *words = e->n && !e->ready ? e->line : said; // once it is ready the line has its ports
    return error_set(err, ERR_CLOSED, "the embedded %s target %s%s%s", e->what,
                     process_end_text(&e->process, how, sizeof(how)), *words ? ": " : "", words);
}

static int echo_ready(struct echo *e, struct error *err)
{
    if (!e->wanted || e->ready)
        return 1;
    ssize_t n =
        e->process.channel < 0 ? 0 : recv(e->process.channel, e->line + e->n, sizeof(e->line) - 1 - e->n, MSG_DONTWAIT);
    if (n > 0)
        e->n += (size_t)n;
    e->line[e->n] = 0;
    if (strncmp(e->line, "failed: ", 8) == 0 && strchr(e->line, '\n'))
        return error_set(err, ERR_IO, "the embedded %s target: %.*s", e->what, (int)strcspn(e->line + 8, "\n"),
                         e->line + 8);
    if (process_gone(&e->process))
        return echo_lost(e, err);
    e->ready = strchr(e->line, '\n') != NULL;
    return e->ready;
}

// `coap=5683 coaps=0`, `{"http":8080,"https":0}`: the number behind the name.
static unsigned port_of(const struct echo *e, const char *name)
{
    size_t k = strlen(name);
    for (const char *p = strstr(e->line, name); p; p = strstr(p + 1, name)) {
        bool begins = p == e->line || !isalnum((unsigned char)p[-1]);
        const char *digits = p + k + strcspn(p + k, "0123456789");
        if (begins && !isalnum((unsigned char)p[k]) && digits - (p + k) <= 2)
            return (unsigned)strtoul(digits, NULL, 10);
    }
    return 0;
}

static void echo_terminate(struct echo *e)
{
    process_kill(&e->process, SIGTERM);
    if (e->process.channel >= 0)
        close(e->process.channel);
    e->process.channel = -1;
}

// --- all of them

struct targets *targets_begin(unsigned mask, int64_t now_wall_us, struct error *err)
{
    struct targets *t = calloc(1, sizeof(*t));
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for the embedded targets");
        return NULL;
    }
    t->mask = mask;
    t->deadline_us = now_us() + START_US;
    t->http.process = t->coap.process = (struct process){.channel = -1, .output = -1};
    if ((mask & TARGET_TLS && run_cert_make(&t->cert, now_wall_us, err)) ||
        (mask & TARGET_ANY_HTTP && echo_begin(&t->http, "HTTP", http_main, t, err)) ||
        (mask & TARGET_ANY_COAP && echo_begin(&t->coap, "CoAP", coap_main, t, err)))
        goto failed;
    if (mask & TARGET_BROKER) {
        struct broker_config config = {.listeners = mask, .cert = &t->cert};
        t->broker = broker_begin(&config, err);
        if (!t->broker)
            goto failed;
    }
    return t;
failed:
    targets_stop(t);
    return NULL;
}

int targets_ready(struct targets *t, struct error *err)
{
    int http = echo_ready(&t->http, err);
    int coap = http < 0 ? -1 : echo_ready(&t->coap, err);
    if (http < 0 || coap < 0)
        return -1;
    if (t->broker && !t->broker_ready) {
        int rc = broker_ready(t->broker, err);
        if (rc < 0)
            return -1;
        t->broker_ready = rc > 0;
    }
    if (http && coap && (!t->broker || t->broker_ready))
        return 1;
    if (now_us() < t->deadline_us)
        return 0;
    return error_set(err, ERR_TIMEOUT, "the embedded %s target did not listen within %d s", http ? "CoAP" : "HTTP",
                     START_US / 1000000);
}

static const char *add(json_t *urls, unsigned bit, const char *fmt, ...) PRINTF_LIKE(3, 4);
static const char *add(json_t *urls, unsigned bit, const char *fmt, ...)
{
    char text[64];
    unsigned i = 0;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    while (!(bit & 1u << i))
        i++;
    json_object_set_new(urls, target_schemes[i], json_string(text));
    return target_schemes[i];
}

json_t *targets_urls(const struct targets *t)
{
    static const struct {
        unsigned bit;
        const char *scheme, *port;
        bool coap;
    } echoes[] = {{TARGET_HTTP, "http", "http", false},        {TARGET_HTTPS, "https", "https", false},
                  {TARGET_COAP, "coap", "coap", true},         {TARGET_COAPS, "coaps", "coaps", true},
                  {TARGET_COAP_TCP, "coap+tcp", "coap", true}, {TARGET_COAPS_TCP, "coaps+tcp", "coaps", true}};
    json_t *urls = json_object();
    for (unsigned bit = TARGET_MQTT; t->broker && bit <= TARGET_WSS; bit <<= 1)
        if (broker_listener(t->broker, bit))
            add(urls, bit, "%s", broker_listener(t->broker, bit));
    for (unsigned i = 0; i < sizeof(echoes) / sizeof(echoes[0]); i++)
        if (t->mask & echoes[i].bit)
            add(urls, echoes[i].bit, "%s://127.0.0.1:%u", echoes[i].scheme,
                port_of(echoes[i].coap ? &t->coap : &t->http, echoes[i].port));
    return urls;
}

const char *targets_ca(const struct targets *t)
{
    return t->cert.ca;
}

const char *targets_broker(const struct targets *t)
{
    return t->broker ? broker_url(t->broker) : NULL;
}

bool targets_has_broker(const struct targets *t)
{
    return t && t->broker;
}

struct broker *targets_the_broker(const struct targets *t)
{
    return t ? t->broker : NULL;
}

static int echo_check(struct echo *e, struct error *err)
{
    char drained[512]; // what it writes to stdout and stderr is nobody's, and must not fill up
    while (e->process.output >= 0 && read(e->process.output, drained, sizeof(drained)) > 0)
        ;
    return e->wanted && process_gone(&e->process) ? echo_lost(e, err) : 0;
}

int targets_check(struct targets *t, struct error *err)
{
    if (t->broker && broker_check(t->broker, err))
        return -1;
    return echo_check(&t->http, err) || echo_check(&t->coap, err) ? -1 : 0;
}

void targets_terminate(struct targets *t)
{
    echo_terminate(&t->http);
    echo_terminate(&t->coap);
    broker_terminate(t->broker);
}

bool targets_gone(struct targets *t)
{
    bool http = process_gone(&t->http.process), coap = process_gone(&t->coap.process);
    return broker_gone(t->broker) && http && coap;
}

void targets_stop(struct targets *t)
{
    if (!t)
        return;
    targets_terminate(t);
    for (int64_t until = now_us() + END_US; !targets_gone(t) && now_us() < until;)
        poll(NULL, 0, 2);
    process_end(&t->http.process, END_US / 2);
    process_end(&t->coap.process, END_US / 2);
    broker_stop(t->broker);
    run_cert_destroy(&t->cert);
    free(t);
}
