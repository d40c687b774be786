// What a device costs: CPU per publish and per connect, memory per device, beside the floor, in one run.
//
// The program forks a discard sink (one thread, epoll, answers CONNACK, SUBACK, PUBACK, PUBREC/PUBCOMP and PINGRESP)
// whose counters lie in shared memory, then measures one mode:
//   floor        a tight loop of write() of a prepared PUBLISH over as many sockets, in a process of its own
//   iotix-lua    iotix-run, every device a coroutine that publishes a table it generates
//   iotix-model  iotix-run, devices driven by a model without Lua
// Delivered is what the sink has parsed, after a closing PINGREQ (floor) or DISCONNECT (iotix) came through on every
// connection. CPU is the time on a processor (/proc/PID/schedstat) of the process that holds the connections, between
// two moments while messages flow. Prints one JSON row.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTENERS = 2, PUBLISH_BYTES = 200 };

struct counters { // written by the sink only
    volatile uint64_t accepted, connected, publishes, publish_bytes, pings, disconnects, closed, malformed;
};

struct options {
    const char *mode, *program, *scenario;
    unsigned connections, qos, seconds, version; // version: 4 is 3.1.1, 5
    double rate;                                 // messages a second in all
};

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_mqtt: %s: %s\n", what, strerror(errno));
    exit(1);
}

// --- the sink -------------------------------------------------------------------------------------------------------

struct peer {
    uint32_t have; // bytes of an unfinished packet's head kept
    uint32_t skip; // bytes of a publish payload still to be thrown away
    uint8_t head[64];
};

static int listen_on(const char *address, uint16_t port, uint16_t *bound)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof sa;
    inet_pton(AF_INET, address, &sa.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&sa, &len))
        die("listen");
    *bound = ntohs(sa.sin_port);
    return fd;
}

static void answer(int fd, const uint8_t *bytes, size_t n)
{
    if (write(fd, bytes, n) < 0 && errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
        die("sink write");
}

// One packet whose first `n` bytes (whole, or the head of a PUBLISH) are at p. Answers it.
static void handle_packet(struct counters *c, int fd, const uint8_t *p, size_t header, size_t total)
{
    uint8_t reply[4] = {0};
    switch (p[0] >> 4) {
    case 1:
        c->connected++;
        if (p[header + 6] == 5) // CONNACK with a length of its properties
            answer(fd, (uint8_t[]){0x20, 3, 0, 0, 0}, 5);
        else
            answer(fd, (uint8_t[]){0x20, 2, 0, 0}, 4);
        break;
    case 3: {
        size_t topic = (size_t)p[header] << 8 | p[header + 1];
        unsigned qos = p[0] >> 1 & 3;
        c->publishes++;
        c->publish_bytes += total;
        if (!qos)
            break;
        memcpy(reply, (uint8_t[]){qos == 1 ? 0x40 : 0x50, 2, p[header + 2 + topic], p[header + 3 + topic]}, 4);
        answer(fd, reply, 4);
        break;
    }
    case 6:
        memcpy(reply, (uint8_t[]){0x70, 2, p[header], p[header + 1]}, 4);
        answer(fd, reply, 4);
        break;
    case 8:
        answer(fd, (uint8_t[]){0x90, 3, p[header], p[header + 1], 0}, 5);
        break;
    case 12:
        c->pings++;
        answer(fd, (uint8_t[]){0xd0, 0}, 2);
        break;
    case 14:
        c->disconnects++;
        break;
    case 4:
    case 5:
    case 7:
        break;
    default:
        c->malformed++;
        break;
    }
}

// Length of the packet at p, 0 when more bytes are needed.
static size_t packet_length(const uint8_t *p, size_t n, size_t *header)
{
    size_t len = 0;
    for (size_t i = 1; i < n && i < 5; i++) {
        len |= (size_t)(p[i] & 0x7f) << 7 * (i - 1);
        if (!(p[i] & 0x80)) {
            *header = i + 1;
            return i + 1 + len;
        }
    }
    return 0;
}

static void feed(struct counters *c, int fd, struct peer *peer, const uint8_t *p, size_t n)
{
    while (n) {
        if (peer->skip) {
            size_t drop = n < peer->skip ? n : peer->skip;
            peer->skip -= (uint32_t)drop;
            p += drop;
            n -= drop;
            continue;
        }
        const uint8_t *at = p;
        size_t avail = n, header = 0, taken = 0;
        if (peer->have) { // continue a packet whose head was cut
            taken = sizeof peer->head - peer->have < n ? sizeof peer->head - peer->have : n;
            memcpy(peer->head + peer->have, p, taken);
            at = peer->head;
            avail = peer->have + taken;
        }
        size_t total = packet_length(at, avail, &header);
        size_t topic = total && at[0] >> 4 == 3 && avail >= header + 2 ? (size_t)at[header] << 8 | at[header + 1] : 0;
        size_t need = !total ? 5 : at[0] >> 4 == 3 ? (avail >= header + 2 ? header + topic + 4 : header + 2) : total;
        if (at[0] >> 4 == 3 && total && need > total)
            need = total;
        if (at[0] >> 4 == 1 && total) // CONNECT: only its head and the protocol's level matter
            need = header + 7;
        if (!total || avail < need) {
            if (peer->have + n > sizeof peer->head && peer->have + taken == sizeof peer->head)
                c->malformed++;
            if (!peer->have)
                memcpy(peer->head, p, n < sizeof peer->head ? n : sizeof peer->head), taken = n;
            peer->have += (uint32_t)taken;
            return;
        }
        handle_packet(c, fd, at, header, total);
        size_t consumed = total < avail ? total : avail;
        peer->skip = (uint32_t)(total - consumed);
        size_t from_input = consumed - peer->have;
        if (peer->have && consumed < peer->have)
            from_input = 0;
        p += from_input;
        n -= from_input;
        peer->have = 0;
    }
}

static void sink_run(struct counters *c, const int *listeners)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    static struct peer peers[70000];
    static uint8_t input[256 * 1024];
    struct epoll_event events[512];
    for (int i = 0; i < LISTENERS; i++)
        epoll_ctl(ep, EPOLL_CTL_ADD, listeners[i], &(struct epoll_event){.events = EPOLLIN, .data.fd = listeners[i]});
    for (;;) {
        int n = epoll_wait(ep, events, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listeners[0] || fd == listeners[1]) {
                for (int peer; (peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
                    int on = 1;
                    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    memset(&peers[peer], 0, sizeof peers[peer]);
                    epoll_ctl(ep, EPOLL_CTL_ADD, peer, &(struct epoll_event){.events = EPOLLIN, .data.fd = peer});
                    c->accepted++;
                }
                continue;
            }
            ssize_t got = read(fd, input, sizeof input);
            if (got > 0)
                feed(c, fd, &peers[fd], input, (size_t)got);
            else if (got == 0 || errno != EAGAIN) {
                close(fd);
                c->closed++;
            }
        }
    }
}

// --- measuring a process
// ----------------------------------------------------------------------------------------------

static double process_cpu_us(pid_t pid)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(line, sizeof line, f))
        die(path);
    fclose(f);
    return strtod(line, NULL) / 1000;
}

// Private memory, bytes: what would come back if the process ended.
static double process_private_bytes(pid_t pid)
{
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "Private_", 8) == 0)
            kb += strtod(strchr(line, ':') + 1, NULL);
    fclose(f);
    return kb * 1024;
}

// The child of `parent` with the most CPU time: the shard (the director and the supervisor idle).
static pid_t busiest_child(pid_t parent)
{
    char path[64], line[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    pid_t best = 0;
    double most = -1;
    if (fgets(line, sizeof line, f))
        for (char *p = strtok(line, " "); p; p = strtok(NULL, " ")) {
            pid_t pid = (pid_t)strtol(p, NULL, 10);
            double cpu = process_cpu_us(pid);
            if (cpu > most)
                most = cpu, best = pid;
        }
    fclose(f);
    return best;
}

static bool wait_for(volatile uint64_t *counter, uint64_t value, double seconds)
{
    double end = now_s() + seconds;
    while (*counter < value && now_s() < end)
        poll(NULL, 0, 2);
    return *counter >= value;
}

struct row {
    double cpu_us_per_msg, bytes_per_device, cpu_us_per_connect, delivered, longest_stall_ms, rate;
    bool complete;
};

static void print_row(const struct options *o, const struct row *r)
{
    printf("{\"mode\":\"%s\",\"version\":%u,\"qos\":%u,\"connections\":%u,\"cpu_us_per_msg\":%.3f,\"bytes_per_device\":"
           "%.0f,"
           "\"cpu_us_per_connect\":%.2f,\"delivered\":%.0f,\"rate\":%.0f,\"longest_stall_ms\":%.2f,\"complete\":%s}\n",
           o->mode, o->version, o->qos, o->connections, r->cpu_us_per_msg, r->bytes_per_device, r->cpu_us_per_connect,
           r->delivered, r->rate, r->longest_stall_ms, r->complete ? "true" : "false");
}

// --- the floor
// --------------------------------------------------------------------------------------------------------

static int floor_connect(uint16_t port, unsigned i)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001u + i % LISTENERS)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa))
        die("floor connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0};
    int id = snprintf((char *)packet + 14, 32, "floor-%u", i);
    packet[1] = (uint8_t)(12 + id);
    packet[13] = (uint8_t)id;
    uint8_t connack[4];
    if (write(fd, packet, (size_t)(14 + id)) < 0 || read(fd, connack, 4) != 4)
        die("floor CONNECT");
    return fd;
}

static size_t floor_packet(uint8_t *packet, unsigned qos)
{
    memset(packet, 'x', PUBLISH_BYTES);
    packet[0] = (uint8_t)(0x30 | qos << 1);
    packet[1] = (uint8_t)((PUBLISH_BYTES - 3) & 0x7f) | 0x80;
    packet[2] = (PUBLISH_BYTES - 3) >> 7;
    memcpy(packet + 3, (uint8_t[]){0, 24}, 2);
    memcpy(packet + 5, "lua/lua-00001/telemetry/", 24);
    if (qos)
        memcpy(packet + 29, (uint8_t[]){0, 1}, 2);
    return PUBLISH_BYTES;
}

static void floor_publish(const int *fds, const struct options *o, const uint8_t *packet, size_t n)
{
    uint8_t puback[4];
    for (unsigned i = 0; i < o->connections; i++) {
        if (write(fds[i], packet, n) != (ssize_t)n)
            die("floor write");
        if (o->qos && read(fds[i], puback, 4) != 4)
            die("floor PUBACK");
    }
}

static void floor_run(const struct options *o, struct counters *c, uint16_t port)
{
    int *fds = calloc(o->connections, sizeof *fds);
    struct row r = {0};
    if (!fds)
        die("memory");
    double cpu = process_cpu_us(getpid());
    for (unsigned i = 0; i < o->connections; i++)
        fds[i] = floor_connect(port, i);
    r.cpu_us_per_connect = (process_cpu_us(getpid()) - cpu) / o->connections;
    uint8_t packet[PUBLISH_BYTES];
    size_t n = floor_packet(packet, o->qos);
    floor_publish(fds, o, packet, n); // warm
    uint64_t messages = 0;
    double start = now_s();
    cpu = process_cpu_us(getpid());
    while (now_s() < start + o->seconds) {
        floor_publish(fds, o, packet, n);
        messages += o->connections;
    }
    r.cpu_us_per_msg = (process_cpu_us(getpid()) - cpu) / (double)messages;
    r.rate = (double)messages / (now_s() - start);
    uint8_t pong[2];
    r.complete = true;
    for (unsigned i = 0; i < o->connections; i++)
        if (write(fds[i], (uint8_t[]){0xc0, 0}, 2) != 2 || read(fds[i], pong, 2) != 2 || pong[0] != 0xd0)
            r.complete = false;
    r.delivered = (double)c->publishes;
    r.complete = r.complete && c->publishes == messages + o->connections && c->malformed == 0;
    print_row(o, &r);
    free(fds);
}

static char model_dir[64]; // of the run under way

static void remove_model(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/bench-sensor.json", model_dir);
    unlink(path);
    rmdir(model_dir);
}

// --- iotix
// ------------------------------------------------------------------------------------------------------------

// A model whose interval gives the wanted rate, in a directory of its own.
static void write_model(const struct options *o, const char *dir, unsigned connections)
{
    char path[128];
    snprintf(path, sizeof path, "%s/bench-sensor.json", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    double interval = (double)connections / o->rate * 1000;
    fprintf(f,
            "{\"id\":\"bench-sensor\",\"name\":\"Bench "
            "sensor\",\"type\":\"sensor\",\"protocol\":\"mqtt\",\"connection\":{\"qos\":%u},\"telemetry\":[",
            o->qos);
    static const char *const names[] = {"temperature", "humidity", "pressure"};
    for (int i = 0; i < 3; i++)
        fprintf(f,
                "{\"name\":\"%s\",\"type\":\"number\",\"precision\":3,\"intervalMs\":%.0f,\"generator\":{\"type\":"
                "\"walk\",\"start\":21,\"step\":0.2,\"min\":15,\"max\":30}},",
                names[i], interval < 100 ? 100 : interval);
    fprintf(f,
            "{\"name\":\"note\",\"type\":\"string\",\"intervalMs\":%.0f,\"generator\":{\"type\":\"constant\",\"value\":"
            "\"operational, north wing, floor 3\"}}]}",
            interval < 100 ? 100 : interval);
    fclose(f);
}

static pid_t iotix_start(const struct options *o, uint16_t port, unsigned connections, unsigned run_seconds,
                         const char *summary)
{
    char p[10][96], version[32];
    snprintf(p[0], 96, "port=%u", port);
    snprintf(p[1], 96, "devices=%u", connections);
    snprintf(p[2], 96, "interval=%.0fus", (double)connections / o->rate * 1e6);
    snprintf(p[3], 96, "qos=%u", o->qos);
    snprintf(p[4], 96, "mode=%s", strcmp(o->mode, "iotix-lua") == 0 ? "lua" : "model");
    snprintf(p[5], 96, "duration=%us", run_seconds);
    snprintf(version, sizeof version, "version=%u", o->version);
    char dir[] = "/tmp/bench-model-XXXXXX";
    if (!mkdtemp(dir))
        die("mkdtemp");
    write_model(o, dir, connections);
    snprintf(model_dir, sizeof model_dir, "%s", dir);
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl(o->program, o->program, "run", o->scenario, "--shards", "1", "--seed", "1", "--summary", "none", "-q",
          "--no-thresholds", "--model-dir", dir, "--summary-json", summary, "-p", p[0], "-p", p[1], "-p", p[2], "-p",
          p[3], "-p", p[4], "-p", p[5], "-p", version, (char *)NULL);
    die(o->program);
    return -1;
}

static double json_number(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    static char text[4 << 20];
    if (!f)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    char *at = strstr(text, key);
    return at ? strtod(at + strlen(key), NULL) : -1;
}

// Private memory of a shard with next to no devices: what is not per device.
static double baseline_bytes(const struct options *o, struct counters *c, uint16_t port)
{
    uint64_t before = c->connected, closed = c->closed;
    const unsigned few = 10;
    pid_t pid = iotix_start(o, port, few, 4, "/dev/null");
    if (!wait_for(&c->connected, before + few, 20))
        die("the baseline run did not connect");
    poll(NULL, 0, 1500);
    double bytes = process_private_bytes(busiest_child(pid));
    waitpid(pid, NULL, 0);
    remove_model();
    wait_for(&c->closed, closed + few, 10);
    return bytes;
}

static void iotix_measure(const struct options *o, struct counters *c, uint16_t port)
{
    struct row r = {0};
    char summary[] = "/tmp/bench-summary-XXXXXX";
    int fd = mkstemp(summary);
    if (fd < 0)
        die("mkstemp");
    close(fd);
    double base = baseline_bytes(o, c, port);
    uint64_t connected = c->connected, disconnects = c->disconnects, before = c->publishes;
    // Devices connect first and publish from the 10th second on (scenario), so that connecting and publishing are
    // measured apart.
    pid_t pid = iotix_start(o, port, o->connections, 10 + o->seconds + 4, summary);
    if (!wait_for(&c->connected, connected + o->connections, 60))
        fprintf(stderr, "bench_mqtt: only %llu connected\n", (unsigned long long)(c->connected - connected));
    pid_t shard = busiest_child(pid);
    r.cpu_us_per_connect = process_cpu_us(shard) / o->connections; // all of the process's life so far, loading included
    wait_for(&c->publishes, before + o->connections, 60);
    poll(NULL, 0, 1000);
    uint64_t m0 = c->publishes;
    double cpu = process_cpu_us(shard), t0 = now_s();
    poll(NULL, 0, (int)o->seconds * 1000);
    uint64_t m1 = c->publishes;
    r.cpu_us_per_msg = (process_cpu_us(shard) - cpu) / (double)(m1 - m0);
    r.rate = (double)(m1 - m0) / (now_s() - t0);
    r.bytes_per_device = (process_private_bytes(shard) - base) / o->connections;
    int status = 0;
    waitpid(pid, &status, 0);
    remove_model();
    wait_for(&c->disconnects, disconnects + o->connections, 10);
    r.delivered = (double)(c->publishes - before);
    double sent = json_number(summary, "\"sent\":");
    r.longest_stall_ms = json_number(summary, "\"longestTurnMs\":");
    r.complete =
        WIFEXITED(status) && c->disconnects - disconnects == o->connections && sent == r.delivered && c->malformed == 0;
    if (!r.complete)
        fprintf(stderr, "bench_mqtt: exit %d, %llu of %u said goodbye, sent %.0f, delivered %.0f, malformed %llu\n",
                WEXITSTATUS(status), (unsigned long long)(c->disconnects - disconnects), o->connections, sent,
                r.delivered, (unsigned long long)c->malformed);
    unlink(summary);
    print_row(o, &r);
}

static void raise_descriptors(void)
{
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

int main(int argc, char **argv)
{
    struct options o = {.mode = "floor",
                        .connections = 1000,
                        .seconds = 5,
                        .version = 4,
                        .rate = 60000,
                        .program = "iotix-run",
                        .scenario = "tests/bench/mqtt.lua"};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--mode"))
            o.mode = argv[i + 1];
        else if (!strcmp(argv[i], "--connections"))
            o.connections = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--qos"))
            o.qos = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--version"))
            o.version = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--seconds"))
            o.seconds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--rate"))
            o.rate = strtod(argv[i + 1], NULL);
        else if (!strcmp(argv[i], "--program"))
            o.program = argv[i + 1];
        else if (!strcmp(argv[i], "--scenario"))
            o.scenario = argv[i + 1];
        else {
            fprintf(stderr, "bench_mqtt: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    raise_descriptors();
    struct counters *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint16_t port = 0;
    int listeners[LISTENERS] = {listen_on("127.0.0.1", 0, &port)};
    listeners[1] = listen_on("127.0.0.2", port, &port);
    pid_t sink = fork();
    if (sink == 0)
        sink_run(c, listeners);
    for (int i = 0; i < LISTENERS; i++)
        close(listeners[i]);
    if (strcmp(o.mode, "floor") == 0)
        floor_run(&o, c, port);
    else
        iotix_measure(&o, c, port);
    kill(sink, SIGKILL);
    waitpid(sink, NULL, 0);
    return 0;
}
