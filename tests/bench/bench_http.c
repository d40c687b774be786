// What a keep-alive request of a device costs beside a bare libcurl multi loop, and what an idle device holds.
//
// The program forks a server (epoll, a fixed answer to every request) and then alternates: the floor (libcurl's multi
// interface on epoll, one easy handle a connection, the same URL again and again) and the adapter (a device a
// connection). CPU is the time of this thread on a processor. Prints one JSON row for each pair of rounds and the
// median of the ratios.
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "adapter/http/http.h"
#include "core/loop.h"
#include "core/units.h"

static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
static const char body[] = "{\"temperature\":21.5,\"humidity\":40,\"battery\":3.71,\"id\":\"sensor-000017\"}";

static void die(const char *what)
{
    fprintf(stderr, "bench_http: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1)
        die("/proc/self/statm");
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// --- the server
// -------------------------------------------------------------------------------------------------------

static void serve(int listener)
{
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.fd = listener};
    int ep = epoll_create1(0);
    char bytes[16384];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "server");
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                e.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                continue;
            }
            ssize_t got = read(fd, bytes, sizeof bytes); // a request is one small write
            if (got <= 0)
                close(fd);
            else if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0)
                close(fd);
        }
    }
}

// --- the floor
// --------------------------------------------------------------------------------------------------------

struct floor {
    CURLM *multi;
    int ep;
    long timeout_ms;
};

static int floor_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct floor *f = arg;
    struct epoll_event e = {.data.fd = fd,
                            .events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u)};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(f->ep, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    epoll_ctl(f->ep, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    curl_multi_assign(f->multi, fd, f);
    return 0;
}

static int floor_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    ((struct floor *)arg)->timeout_ms = ms;
    return 0;
}

static size_t ignore(char *bytes, size_t size, size_t n, void *arg)
{
    (void)bytes, (void)arg;
    return size * n;
}

// Runs `total` requests over `width` connections; returns the CPU time of a request after the first `width`.
static double run_floor(unsigned port, unsigned width, unsigned total)
{
    struct floor f = {.multi = curl_multi_init(), .ep = epoll_create1(0), .timeout_ms = -1};
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL **easies = calloc(width, sizeof *easies);
    unsigned started = 0, done = 0;
    double begun = 0;
    int running, left;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/in/telemetry", port);
    curl_multi_setopt(f.multi, CURLMOPT_SOCKETFUNCTION, floor_socket);
    curl_multi_setopt(f.multi, CURLMOPT_SOCKETDATA, &f);
    curl_multi_setopt(f.multi, CURLMOPT_TIMERFUNCTION, floor_timer);
    curl_multi_setopt(f.multi, CURLMOPT_TIMERDATA, &f);
    curl_multi_setopt(f.multi, CURLMOPT_MAXCONNECTS, (long)width);
    for (unsigned i = 0; i < width; i++, started++) {
        easies[i] = curl_easy_init();
        curl_easy_setopt(easies[i], CURLOPT_URL, url);
        curl_easy_setopt(easies[i], CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easies[i], CURLOPT_POSTFIELDSIZE, (long)sizeof body - 1);
        curl_easy_setopt(easies[i], CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(easies[i], CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easies[i], CURLOPT_USERAGENT, "iotix/" IOTIX_VERSION); // the bytes that a device sends
        curl_easy_setopt(easies[i], CURLOPT_ACCEPT_ENCODING, "");
        curl_easy_setopt(easies[i], CURLOPT_WRITEFUNCTION, ignore);
        curl_multi_add_handle(f.multi, easies[i]);
    }
    while (done < total) {
        struct epoll_event events[256];
        int n = epoll_wait(f.ep, events, 256, f.timeout_ms < 0 ? 1000 : (int)f.timeout_ms);
        if (n <= 0)
            curl_multi_socket_action(f.multi, CURL_SOCKET_TIMEOUT, 0, &running);
        for (int i = 0; i < n; i++)
            curl_multi_socket_action(f.multi, events[i].data.fd,
                                     (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                                         (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0),
                                     &running);
        CURLMsg *message;
        while ((message = curl_multi_info_read(f.multi, &left))) {
            CURL *easy = message->easy_handle;
            if (message->data.result != CURLE_OK)
                die(curl_easy_strerror(message->data.result));
            if (++done == width)
                begun = cpu_us();
            curl_multi_remove_handle(f.multi, easy);
            if (started < total && ++started)
                curl_multi_add_handle(f.multi, easy);
        }
    }
    double us = (cpu_us() - begun) / (total - width);
    for (unsigned i = 0; i < width; i++)
        curl_easy_cleanup(easies[i]);
    curl_multi_cleanup(f.multi);
    curl_slist_free_all(headers);
    free(easies);
    close(f.ep);
    return us;
}

// --- the adapter
// --------------------------------------------------------------------------------------------------------

struct device {
    struct adapter_conn *conn;
    struct bench *bench;
};

struct bench {
    struct adapter_env env;
    struct adapter_target *target;
    struct device *devices;
    unsigned started, done, total, width;
    double begun;
};

static void publish(struct device *d)
{
    struct adapter_message m = {.topic = "telemetry",
                                .topic_len = 9,
                                .payload = (const uint8_t *)body,
                                .payload_len = sizeof body - 1,
                                .qos = 1};
    struct error err;
    if (http_adapter.publish(d->conn, &m, 1, &err) < 0)
        die(err.text);
}

static void on_online(void *owner, bool session)
{
    (void)session;
    publish(owner);
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    (void)owner, (void)why, (void)will_retry;
}

static void on_done(void *owner, uint32_t token, int qos, const struct error *err)
{
    struct device *d = owner;
    struct bench *b = d->bench;
    (void)token, (void)qos;
    if (err)
        die(err->text);
    if (++b->done == b->width)
        b->begun = cpu_us();
    if (b->started < b->total && ++b->started)
        publish(d);
}

static const struct adapter_events events = {.on_online = on_online, .on_offline = on_offline, .on_done = on_done};
static const struct adapter_identity identity = {NULL};

static double run_adapter(unsigned port, unsigned width, unsigned total, double *idle_bytes)
{
    struct bench b = {.width = width, .total = total, .started = width};
    struct clock clock;
    struct error err;
    char url[64];
    clock_create_real(&clock);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/in", port);
    b.env.loop = loop_new(&clock, &err);
    b.env.links = link_env_new(b.env.loop, NULL, &err);
    b.env.resolver = resolver_new(b.env.loop, &err);
    b.env.metrics = metrics_new(1000);
    if (!(b.target = http_adapter.target_new(&b.env, url, NULL, "g", &err)))
        die(err.text);
    size_t before = resident_bytes();
    b.devices = calloc(width, sizeof *b.devices);
    for (unsigned i = 0; i < width; i++) {
        b.devices[i].bench = &b;
        b.devices[i].conn = http_adapter.conn_new(b.target, &events, &identity, &b.devices[i], i, &err);
        if (!b.devices[i].conn || http_adapter.conn_open(b.devices[i].conn, &err) < 0)
            die(err.text);
    }
    while (b.done < total)
        loop_turn(b.env.loop, 1000000);
    double us = (cpu_us() - b.begun) / (total - width);
    *idle_bytes = ((double)resident_bytes() - (double)before) / width;
    for (unsigned i = 0; i < width; i++)
        http_adapter.conn_delete(b.devices[i].conn);
    http_adapter.target_delete(b.target);
    resolver_delete(b.env.resolver);
    link_env_delete(b.env.links);
    metrics_delete(b.env.metrics);
    loop_delete(b.env.loop);
    free(b.devices);
    return us;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    const char *mode = "both"; // "floor" or "iotix" alone: for a profiler
    int64_t width = 200, total = 40000, rounds = 5, on = 1;
    struct error err;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--mode") == 0) {
            mode = argv[i + 1];
            continue;
        }
        int64_t *at = strcmp(argv[i], "--connections") == 0 ? &width
                      : strcmp(argv[i], "--requests") == 0  ? &total
                      : strcmp(argv[i], "--rounds") == 0    ? &rounds
                                                            : NULL;
        if (!at || int_parse(argv[i + 1], 1, 100000000, at, &err) < 0) {
            fprintf(stderr, "usage: bench_http [--connections N] [--requests N] [--rounds N (at most 99)] [--mode "
                            "both|floor|iotix]\n");
            return 2;
        }
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        die("listen");
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(int)); // accepted sockets inherit it
    pid_t server = fork();
    if (!server)
        serve(listener);
    close(listener);
    double ratios[99];
    rounds = rounds < 99 ? rounds : 99;
    if (total <= width)
        total = 2 * width;
    for (int i = 0; i < rounds; i++) {
        double idle = 0;
        double floor_us =
            strcmp(mode, "iotix") == 0 ? 1 : run_floor(ntohs(at.sin_port), (unsigned)width, (unsigned)total);
        double us =
            strcmp(mode, "floor") == 0 ? 1 : run_adapter(ntohs(at.sin_port), (unsigned)width, (unsigned)total, &idle);
        ratios[i] = us / floor_us;
        printf("{\"connections\":%d,\"requests\":%d,\"floor_us\":%.2f,\"iotix_us\":%.2f,\"ratio\":%.3f,"
               "\"bytes_per_device\":%.0f}\n",
               (int)width, (int)total, floor_us, us, ratios[i], idle);
        fflush(stdout);
    }
    qsort(ratios, (size_t)rounds, sizeof *ratios, by_value);
    printf("{\"median_ratio\":%.3f,\"complete\":true}\n", ratios[rounds / 2]);
    kill(server, SIGKILL);
    return 0;
}
