// TLS against a server of others: `openssl s_server -rev`, over TCP, which sends each line back reversed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "tls_world.h"

struct other {
    pid_t pid;
    int out;
    char dir[64], file[3][96];
};

static void write_file(char *path, size_t size, const char *dir, const char *name, const char *text)
{
    snprintf(path, size, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

// Starts it with further arguments; its port, or 0 when there is no openssl.
static uint16_t other_start(struct other *o, struct world *w, const char *const *more)
{
    int ends[2];
    const char *argv[32] = {"openssl", "s_server", "-rev", "-accept", "127.0.0.1:0"};
    unsigned n = 5;
    memcpy(o->dir, "/tmp/iotix-s_server-XXXXXX", 27);
    assert_non_null(mkdtemp(o->dir));
    write_file(o->file[0], sizeof o->file[0], o->dir, "cert.pem", w->leaf.pem);
    write_file(o->file[1], sizeof o->file[1], o->dir, "key.pem", w->leaf.key_pem);
    write_file(o->file[2], sizeof o->file[2], o->dir, "ca.pem", w->ca.pem);
    argv[n++] = "-cert", argv[n++] = o->file[0];
    argv[n++] = "-key", argv[n++] = o->file[1];
    argv[n++] = "-CAfile", argv[n++] = o->file[2];
    while (*more)
        argv[n++] = *more++;
    argv[n] = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    o->pid = fork();
    if (o->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(ends[1]);
    o->out = ends[0];
    // "ACCEPT 127.0.0.1:40123"; the end comes first when it cannot start.
    FILE *f = fdopen(o->out, "r");
    char line[256];
    while (fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "ACCEPT 127.0.0.1:");
        if (at)
            return (uint16_t)strtoul(at + 17, NULL, 10);
    }
    return 0;
}

static void other_stop(struct other *o)
{
    kill(o->pid, SIGKILL);
    waitpid(o->pid, NULL, 0);
    for (int i = 0; i < 3; i++)
        unlink(o->file[i]);
    rmdir(o->dir);
}

static void reversed(struct world *w, uint16_t port)
{
    struct link_addr to = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&to.addr;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct error err;
    w->end.n = 0;
    w->end.opened = w->end.closed = 0;
    assert_int_equal(transport_push(w->transport, &w->end.link, &w->end.memory, w, &err), 0);
    assert_int_equal(link_open(&w->end.link, &to, NULL, &err), 0);
    WORLD_WAIT(w, w->end.opened || w->end.closed);
    if (w->end.closed)
        print_message("%s\n", w->end.why.text);
    assert_int_equal(w->end.opened, 1);
    assert_int_equal(link_send(&w->end.link, "abcdef\n", 7, NULL), 0);
    WORLD_WAIT(w, w->end.n == 7);
    assert_memory_equal(w->end.in, "fedcba\n", 7);
    link_close(&w->end.link, LINK_FLUSH);
    loop_turn(w->loop, 0);
}

static void carries_data(void **state)
{
    (void)state;
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};
    struct world w;
    struct cert device;
    world_create(&w);
    device = cert_make((struct cert_spec){.cn = "device-1", .issuer = &w.ca});
    for (int i = 0; i < 4; i++) {
        struct other o;
        const char *more[] = {versions[i % 2], i < 2 ? "-Verify" : "-psk",
                              i < 2 ? "2" : "00112233445566778899aabbccddeeff",
                              i < 2 ? "-verify_return_error" : "-nocert", NULL};
        uint16_t port = other_start(&o, &w, more);
        if (!port) {
            other_stop(&o);
            if (getenv("CI"))
                fail_msg("openssl s_server does not start");
            print_message("skipped: openssl s_server does not start\n");
            break;
        }
        w.cert = i < 2 ? device.pem : NULL;
        w.key = i < 2 ? device.key_pem : NULL;
        w.psk_identity = i < 2 ? NULL : "Client_identity";
        w.psk_key = i < 2 ? NULL : "00112233445566778899aabbccddeeff";
        world_transport(&w, NULL, "localhost");
        w.resumed->count = w.full->count = 0;
        reversed(&w, port);
        reversed(&w, port);
        assert_int_equal(w.full->count + w.resumed->count, 2);
        assert_int_equal(w.resumed->count, 1);
        transport_forget(&w.end.memory);
        other_stop(&o);
    }
    cert_free(&device);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(carries_data)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
