// What sinks cost, in CPU of the process that has them. A publish without any: what is left of it is a look at a
// pointer. One record into each kind of file, and into InfluxDB: made a line, compressed, posted to a server on
// loopback that answers 204 to everything. The best of five rounds. Prints a table; no test asserts a time.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device/internal.h"
#include "sink/sink.h"

enum { ROUNDS = 5, PUBLISHES = 1 << 24, RECORDS = 500000 };

static double now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// --- a publish without a sink

static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    (void)c, (void)m, (void)token, (void)err;
    return 0;
}

static double publishes(bool tapped)
{
    static const struct adapter_ops ops = {.publish = publish};
    struct fleet *fleet = calloc(1, sizeof *fleet);
    struct group *group = calloc(1, sizeof *group);
    struct device *d = calloc(1, sizeof *d);
    struct adapter_message m = {.topic = "t", .topic_len = 1};
    double least = 1e18;
    group->fleet = fleet;
    group->adapter = &ops;
    d->group = group;
    for (int r = 0; r < ROUNDS; r++) {
        double from = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < PUBLISHES; i++)
            if (tapped ? tap_publish(d, &m, 0, NULL) : stamp_publish(d, &m, 0, NULL))
                abort();
        double ns = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - from) / PUBLISHES;
        least = ns < least ? ns : least;
    }
    free(d);
    free(group);
    free(fleet);
    return least;
}

// --- a server that answers 204

static void serve_one(int fd)
{
    static char bytes[1 << 20];
    size_t have = 0;
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    for (;;) {
        char *end = have ? memmem(bytes, have, "\r\n\r\n", 4) : NULL;
        if (end) {
            const char *length = strcasestr(bytes, "content-length:");
            size_t body = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
            size_t whole = (size_t)(end - bytes) + 4 + body;
            while (have < whole) {
                size_t room = sizeof(bytes) - have > whole - have ? whole - have : sizeof(bytes) - have;
                ssize_t n = read(fd, bytes + have, room);
                if (n <= 0)
                    return;
                have += (size_t)n;
            }
            if (write(fd, answer, sizeof(answer) - 1) < 0)
                return;
            memmove(bytes, bytes + whole, have - whole);
            have -= whole;
            continue;
        }
        ssize_t n = read(fd, bytes + have, sizeof(bytes) - 1 - have);
        if (n <= 0)
            return;
        have += (size_t)n;
        bytes[have] = 0;
    }
}

static pid_t server(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 8) ||
        getsockname(fd, (struct sockaddr *)&a, &len))
        exit(1);
    *port = ntohs(a.sin_port);
    pid_t pid = fork();
    if (pid) {
        close(fd);
        return pid;
    }
    for (int c; (c = accept(fd, NULL, NULL)) >= 0;) {
        if (fork() == 0) {
            serve_one(c);
            _exit(0);
        }
        close(c);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    _exit(0);
}

// --- records

static void feed(const char *entry_text, const char *name)
{
    struct clock clock;
    struct error err;
    double least = 1e18, wall = 0;
    for (int r = 0; r < ROUNDS; r++) {
        clock_create_real(&clock);
        struct loop *loop = loop_new(&clock, &err);
        struct metrics *m = metrics_new(1000);
        json_t *entry = sink_entry(entry_text, &err), *parsed = entry ? sink_parse(entry, &err) : NULL;
        const struct sink_ops *ops = parsed ? sink_find(json_string_value(json_object_get(parsed, "type"))) : NULL;
        const struct sink_env env = {.loop = loop, .metrics = m, .run_id = "bench", .shards = 1};
        struct sink *s = ops ? ops->open(&env, "bench", json_object_get(parsed, "options"), &err) : NULL;
        if (!s) {
            fprintf(stderr, "%s: %s\n", entry_text, err.text);
            exit(1);
        }
        char payload[120], device[24];
        double from = now_ns(CLOCK_PROCESS_CPUTIME_ID), begun = now_ns(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < RECORDS; i++) {
            int n = snprintf(payload, sizeof payload,
                             "{\"temperature\":%u.%u,\"humidity\":%u,\"status\":\"ok\",\"sequence\":%u}", 20 + i % 9,
                             i % 10, 40 + i % 31, i);
            int k = snprintf(device, sizeof device, "sensors-%u", i % 10000);
            struct record record = {.wall_us = 1767225600000000 + i,
                                    .group_name = "sensors",
                                    .group_len = 7,
                                    .device = device,
                                    .device_len = (size_t)k,
                                    .topic = "sensors/telemetry",
                                    .topic_len = 17,
                                    .payload = (const uint8_t *)payload,
                                    .payload_len = (size_t)n,
                                    .model = "temperature-sensor",
                                    .model_len = 18};
            ops->telemetry(s, &record);
            while (i % 64 == 0 && ops->load(s) > 40)
                loop_turn(loop, 1000);
            if (i % 512 == 0)
                loop_turn(loop, 0);
        }
        while (!ops->drain(s, false))
            loop_turn(loop, 1000);
        double ns = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - from) / RECORDS;
        if (ns < least) {
            least = ns;
            wall = (now_ns(CLOCK_MONOTONIC) - begun) / 1e9;
        }
        struct metric_selector sel = {.name = "sink_delivered"};
        struct metric sum = {0};
        metrics_select(m, &sel, &sum);
        if (sum.count < RECORDS)
            printf("%s delivered %llu of %d\n", name, (unsigned long long)sum.count, RECORDS);
        ops->close(s);
        json_decref(parsed);
        json_decref(entry);
        metrics_delete(m);
        loop_delete(loop);
    }
    printf("| %-22s | %11.2f | %13.0f |\n", name, least / 1000, RECORDS / wall);
}

int main(void)
{
    char target[200];
    uint16_t port;
    signal(SIGPIPE, SIG_IGN);
    pid_t pid = server(&port);
    double plain = publishes(false), tapped = publishes(true);
    printf("a publish of the device room, without the adapter: %.2f ns; with a tap that is not there: %.2f ns\n\n",
           plain, tapped);
    printf("| %-22s | us a record | records/s     |\n|---|---|---|\n", "sink");
    feed("ndjson=/dev/null", "ndjson");
    feed("csv=/dev/null", "csv");
    feed("influx=/dev/null", "line-protocol");
    snprintf(target, sizeof target, "influx=http://127.0.0.1:%u/b?spill=false&gzip=false", port);
    feed(target, "influx");
    snprintf(target, sizeof target, "influx=http://127.0.0.1:%u/b?spill=false", port);
    feed(target, "influx, gzip");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}
