// The embedded broker: answers, stops, dies with its parent, and leaves nothing behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/broker.h"

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct broker *start(void)
{
    struct error err;
    struct broker *b = broker_start(&err);
    if (!b && err.code == ERR_NOT_FOUND && !getenv("CI"))
        skip();
    if (!b)
        fail_msg("%s", err.text);
    return b;
}

static int connect_to(const char *url)
{
    unsigned port = 0;
    assert_int_equal(sscanf(url, "mqtt://127.0.0.1:%u", &port), 1);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
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

static void it_answers_and_stops(void **state)
{
    (void)state;
    struct error err;
    unsigned before = open_descriptors();
    struct broker *b = start();
    int pid = broker_pid(b);
    assert_true(pid > 0);
    assert_int_equal(broker_check(b, &err), 0);
    char url[64];
    snprintf(url, sizeof(url), "%s", broker_url(b));
    int fd = connect_to(url);
    assert_true(fd >= 0);
    // A client with an in-flight window of its own: CONNECT, SUBSCRIBE, and its own message back.
    static const char talk[] = "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a"
                               "\x82\6\0\1\0\1t\0"
                               "\x30\5\0\1thi";
    assert_int_equal(send(fd, talk, sizeof(talk) - 1, 0), (int)sizeof(talk) - 1);
    char got[64];
    size_t n = 0;
    while (n < 4 + 5 + 7) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        ssize_t r = recv(fd, got + n, sizeof(got) - n, 0);
        assert_true(r > 0);
        n += (size_t)r;
    }
    close(fd);
    broker_stop(b);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(connect_to(url), -1);
    assert_int_equal(open_descriptors(), before);
}

static void several_live_side_by_side(void **state)
{
    (void)state;
    struct broker *b[4];
    for (int i = 0; i < 4; i++)
        b[i] = start();
    for (int i = 1; i < 4; i++)
        assert_string_not_equal(broker_url(b[0]), broker_url(b[i]));
    for (int i = 0; i < 4; i++)
        broker_stop(b[i]);
}

static void a_dead_broker_is_noticed(void **state)
{
    (void)state;
    struct error err;
    struct broker *b = start();
    kill(broker_pid(b), SIGKILL);
    double until = now_s() + 5;
    while (broker_check(b, &err) == 0 && now_s() < until)
        poll(NULL, 0, 1);
    assert_int_equal(broker_check(b, &err), -1);
    assert_non_null(strstr(err.text, "signal 9"));
    assert_non_null(strstr(err.text, "running")); // the last lines of its log
    broker_stop(b);
    broker_stop(NULL);
}

static void it_dies_with_its_parent(void **state)
{
    (void)state;
    broker_stop(start()); // skips without mosquitto
    int fds[2], pid = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct error err;
        struct broker *b = broker_start(&err);
        int n = b ? broker_pid(b) : 0;
        if (write(fds[1], &n, sizeof(n)) != sizeof(n))
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
    assert_true(pid > 0);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    double until = now_s() + 5;
    char path[64], text[256];
    for (;;) { // gone, or a zombie that init has not reaped yet
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        FILE *f = fopen(path, "r");
        if (!f)
            break;
        char *line = fgets(text, sizeof(text), f);
        fclose(f);
        if (!line || strstr(text, ") Z"))
            break;
        assert_true(now_s() < until);
        poll(NULL, 0, 2);
    }
    close(fds[0]);
    close(fds[1]);
}

static void what_cannot_start_says_why(void **state)
{
    (void)state;
    struct error err;
    struct broker_config config = {.program = "/nonexistent/mosquitto"};
    assert_null(broker_begin(&config, &err));
    assert_non_null(strstr(err.text, "/nonexistent/mosquitto"));
    const char *programs[] = {"/bin/false", "/bin/echo"};
    for (int i = 0; i < 2; i++) {
        config.program = programs[i];
        struct broker *b = broker_begin(&config, &err);
        assert_non_null(b);
        int rc = 0;
        double until = now_s() + 5;
        while ((rc = broker_ready(b, &err)) == 0 && now_s() < until)
            poll(NULL, 0, 1);
        assert_int_equal(rc, -1);
        assert_non_null(strstr(err.text, programs[i]));
        assert_non_null(strstr(err.text, i ? "-c /proc/self/fd/3" : "status 1"));
        broker_stop(b);
    }
    char *path = getenv("PATH") ? strdup(getenv("PATH")) : NULL;
    setenv("PATH", "/nonexistent", 1);
    struct broker *b = broker_begin(NULL, &err);
    if (!b)
        assert_non_null(strstr(err.text, "apt-get install mosquitto"));
    broker_stop(b); // /usr/sbin is searched as well
    if (path)
        setenv("PATH", path, 1);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_and_stops),       cmocka_unit_test(several_live_side_by_side),
        cmocka_unit_test(a_dead_broker_is_noticed),   cmocka_unit_test(it_dies_with_its_parent),
        cmocka_unit_test(what_cannot_start_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
