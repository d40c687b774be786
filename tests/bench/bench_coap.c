// CPU of a CoAP NON request and its answer, in the client's process: bare sendto/recv, a bare libcoap client, and the
// adapter with 1 to 10,000 devices in one process.
//
//   bench_coap [--mode floor|libcoap|adapter|all] [--devices N] [--messages N] [--batch N]
//
// Without --devices: 1, 1,000 and 10,000. The server is the echo server's process. Devices take turns, `--batch` (50)
// messages are under way at once, in all three. libcoap's client has all sessions in one context, as it comes, and
// looks at all of them at each call.
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/coap/coap.h"
#include "adapter/coap/echo.h"
#include "core/clock.h"
#include "core/loop.h"
#include "core/units.h"

static const uint8_t payload[200] = {'x'};

struct run {
    uint16_t port;
    unsigned devices, messages, batch;
    unsigned answered;
    double connect_us; // CPU of a connect
    size_t footprint;
};

// ---- bare datagrams

static double bare(struct run *r)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(r->port)};
    struct timeval patience = {.tv_sec = 1};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int *fds = calloc(r->devices, sizeof *fds);
    for (unsigned i = 0; i < r->devices; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&to, sizeof to) < 0 ||
            setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
            return -1;
    }
    int64_t began = clock_process_cpu_us();
    for (unsigned i = 0; i < r->messages; i += r->batch) {
        for (unsigned k = i; k < i + r->batch; k++) {
            uint8_t b[300] = {0x52, 2, (uint8_t)(k >> 8), (uint8_t)k, 1, 2, 0xb4, 'e', 'c', 'h', 'o', 0xff};
            memcpy(b + 12, payload, sizeof payload);
            (void)!send(fds[k % r->devices], b, 12 + sizeof payload, 0);
        }
        for (unsigned k = i; k < i + r->batch; k++) {
            uint8_t b[300];
            r->answered += recv(fds[k % r->devices], b, sizeof b, 0) > 0;
        }
    }
    double cpu = (double)(clock_process_cpu_us() - began) / r->messages;
    for (unsigned i = 0; i < r->devices; i++)
        close(fds[i]);
    free(fds);
    return cpu;
}

// ---- libcoap as it comes

static coap_response_t on_answer(coap_session_t *session, const coap_pdu_t *sent, const coap_pdu_t *received,
                                 const coap_mid_t mid)
{
    unsigned *answered = coap_session_get_app_data(session);
    (void)sent, (void)received, (void)mid;
    ++*answered;
    return COAP_RESPONSE_OK;
}

static double libcoap(struct run *r)
{
    coap_context_t *ctx = coap_new_context(NULL);
    coap_session_t **sessions = calloc(r->devices, sizeof(coap_session_t *));
    coap_address_t to;
    coap_address_init(&to);
    to.size = sizeof to.addr.sin;
    to.addr.sin.sin_family = AF_INET;
    to.addr.sin.sin_port = htons(r->port);
    to.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    coap_register_response_handler(ctx, on_answer);
    for (unsigned i = 0; i < r->devices; i++) {
        if (!(sessions[i] = coap_new_client_session(ctx, NULL, &to, COAP_PROTO_UDP)))
            return -1;
        coap_session_set_app_data(sessions[i], &r->answered);
    }
    int64_t began = clock_process_cpu_us();
    for (unsigned i = 0; i < r->messages; i++) {
        coap_session_t *s = sessions[i % r->devices];
        uint16_t token = (uint16_t)i;
        coap_pdu_t *pdu = coap_new_pdu(COAP_MESSAGE_NON, COAP_REQUEST_CODE_POST, s);
        coap_add_token(pdu, sizeof token, (uint8_t *)&token);
        coap_add_option(pdu, COAP_OPTION_URI_PATH, 4, (const uint8_t *)"echo");
        coap_add_data(pdu, sizeof payload, payload);
        coap_send(s, pdu);
        if ((i + 1) % r->batch == 0)
            for (int turns = 0; r->answered <= i && turns < 10000 && coap_io_process(ctx, 1000) >= 0; turns++)
                ;
    }
    double cpu = (double)(clock_process_cpu_us() - began) / r->messages;
    coap_free_context(ctx);
    free(sessions);
    return cpu;
}

// ---- the adapter

struct device {
    struct adapter_conn *conn;
    struct run *run;
};

static void on_online(void *owner, bool present)
{
    (void)present;
    ((struct device *)owner)->run->answered++;
}

static void on_offline(void *owner, const struct error *why, bool retry)
{
    (void)owner, (void)retry;
    fprintf(stderr, "offline: %s\n", why->text);
}

static int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    (void)owner, (void)what, (void)out, (void)err;
    return 0;
}

static uint64_t answers(struct metrics *m)
{
    struct metric_selector sel;
    struct metric out = {0};
    if (metric_selector_parse("responses", &sel, NULL) < 0)
        return 0;
    metrics_select(m, &sel, &out);
    return out.count;
}

static bool until(struct loop *loop, struct metrics *m, const unsigned *online, uint64_t n)
{
    int64_t deadline = loop_fresh_us(loop) + 10 * 1000000;
    while ((online ? *online : answers(m)) < n && loop_fresh_us(loop) < deadline)
        loop_turn(loop, 100000);
    return (online ? *online : answers(m)) >= n;
}

static double adapter(struct run *r)
{
    static const struct adapter_events events = {.on_online = on_online, .on_offline = on_offline};
    static const struct adapter_identity identity = {.field = field};
    struct clock clock;
    struct error err;
    char url[64];
    clock_create_real(&clock);
    struct adapter_env env = {.loop = loop_new(&clock, &err), .metrics = metrics_new(1000)};
    env.links = link_env_new(env.loop, &(struct link_env_config){0}, &err);
    env.resolver = resolver_new(env.loop, &err);
    snprintf(url, sizeof url, "coap://127.0.0.1:%u", r->port);
    struct adapter_target *t = coap_adapter.target_new(&env, url, NULL, "bench", &err);
    struct device *all = calloc(r->devices, sizeof *all);
    int64_t began = clock_process_cpu_us();
    for (unsigned i = 0; i < r->devices; i++) {
        all[i].run = r;
        all[i].conn = coap_adapter.conn_new(t, &events, &identity, &all[i], i, &err);
        if (coap_adapter.conn_open(all[i].conn, &err) < 0)
            return -1;
    }
    if (!until(env.loop, env.metrics, &r->answered, r->devices))
        return -1;
    r->connect_us = (double)(clock_process_cpu_us() - began) / r->devices;
    r->footprint = coap_adapter.footprint(all[0].conn);
    r->answered = 0;
    began = clock_process_cpu_us();
    for (unsigned i = 0; i < r->messages; i += r->batch) {
        struct adapter_message m = {.topic = "echo", .topic_len = 4, .payload = payload, .payload_len = sizeof payload};
        for (unsigned k = 0; k < r->batch; k++)
            if (coap_adapter.publish(all[(i + k) % r->devices].conn, &m, 0, &err) < 0)
                fprintf(stderr, "publish: %s\n", err.text);
        if (!until(env.loop, env.metrics, NULL, i + r->batch))
            break;
    }
    double cpu = (double)(clock_process_cpu_us() - began) / r->messages;
    r->answered = (unsigned)answers(env.metrics);
    for (unsigned i = 0; i < r->devices; i++)
        coap_adapter.conn_delete(all[i].conn);
    coap_adapter.target_delete(t);
    resolver_delete(env.resolver);
    link_env_delete(env.links);
    metrics_delete(env.metrics);
    loop_delete(env.loop);
    free(all);
    return cpu;
}

static pid_t start_server(uint16_t *port, int *stop)
{
    int ready[2], ends[2];
    unsigned p = 0;
    char text[64] = "";
    if (pipe(ready) < 0 || pipe(ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        _exit(coap_echo_run(&(struct coap_echo_config){0}, ready[1], ends[0], NULL) ? 1 : 0);
    }
    close(ready[1]);
    if (read(ready[0], text, sizeof text - 1) <= 0 || sscanf(text, "coap=%u", &p) != 1)
        return -1;
    *port = (uint16_t)p;
    *stop = ends[1];
    return pid;
}

static void ratio(const char *to, double cpu, double of)
{
    if (of > 0 && cpu > 0)
        printf(",\"to_%s\":%.2f", to, cpu / of);
}

static int row(const char *mode, unsigned devices, unsigned messages, unsigned batch)
{
    static const struct {
        const char *name;
        double (*fn)(struct run *r);
    } modes[] = {{"floor", bare}, {"libcoap", libcoap}, {"adapter", adapter}};
    double cpus[3] = {0};
    int rc = 0;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct run r = {.devices = devices, .messages = messages, .batch = batch};
        int stop = -1, status;
        if (strcmp(mode, "all") != 0 && strcmp(mode, modes[i].name) != 0)
            continue;
        pid_t pid = start_server(&r.port, &stop);
        double cpu = pid > 0 ? modes[i].fn(&r) : -1;
        bool complete = cpu >= 0 && r.answered == messages;
        cpus[i] = cpu;
        printf("{\"mode\":\"%s\",\"devices\":%u,\"messages\":%u,\"cpu_us_per_exchange\":%.2f", modes[i].name, devices,
               messages, cpu);
        if (i == 2)
            printf(",\"cpu_us_per_connect\":%.1f,\"bytes_per_device\":%zu", r.connect_us, r.footprint);
        if (i > 0)
            ratio("floor", cpu, cpus[0]);
        if (i > 1)
            ratio("libcoap", cpu, cpus[1]);
        printf(",\"complete\":%s}\n", complete ? "true" : "false");
        fflush(stdout);
        rc |= !complete;
        close(stop);
        waitpid(pid, &status, 0);
    }
    return rc;
}

int main(int argc, char **argv)
{
    const char *mode = "all";
    int64_t devices = 0, messages = 20000, batch = 50;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--mode") == 0)
            mode = argv[i + 1];
        else if (int_parse(argv[i + 1], 1, 1000000,
                           strcmp(argv[i], "--devices") == 0 ? &devices
                           : strcmp(argv[i], "--batch") == 0 ? &batch
                                                             : &messages,
                           NULL))
            return 2;
    }
    static const unsigned counts[] = {1, 1000, 10000};
    int rc = 0;
    messages = messages < batch ? batch : messages / batch * batch;
    for (unsigned i = 0; i < 3; i++)
        if (!devices || i == 0)
            rc |= row(mode, devices ? (unsigned)devices : counts[i], (unsigned)messages, (unsigned)batch);
    return rc;
}
