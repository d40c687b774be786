// Between fork and the child's own code every signal is blocked, so that no handler of the supervisor ever runs in a
// child (the emergency handler would kill the siblings). PR_SET_PDEATHSIG does not fire for a parent that died before
// the prctl: getppid tells. Children leave with _exit: buffered output and atexit handlers belong to the supervisor.
#include "engine/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

#define CHANNEL_FD 3
#define EXIT_LEAK 23
#define EXIT_LOST_PARENT 125
#define EXIT_NO_EXEC 127

// Present in sanitised and in instrumented builds only: neither would report after _exit.
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
extern void __gcov_dump(void) __attribute__((weak));

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            sigaction(s, &action, NULL); // EINVAL for what libc keeps for itself
}

static void ignore_signals(void)
{
    // The last two are errors of a write.
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ};
    struct sigaction action = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        sigaction(ignored[i], &action, NULL);
}

static bool is_kept(int fd, const int *keep, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (keep[i] == fd)
            return true;
    return false;
}

// Closes all from `first` on but those of `keep`.
static void close_others(int first, const int *keep, unsigned n)
{
    int last = first - 1; // the highest that is kept
    for (unsigned i = 0; i < n; i++)
        last = keep[i] > last ? keep[i] : last;
    for (int fd = first; fd <= last; fd++)
        if (!is_kept(fd, keep, n))
            close(fd);
    close_range((unsigned)last + 1, ~0u, 0);
}

// Puts the descriptors in their places (-1: /dev/null) and closes everything else.
static void own_descriptors(int third, int output, const int *keep, unsigned n)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int high_third = third < 0 ? -1 : fcntl(third, F_DUPFD, 16);
    int high_output = fcntl(output < 0 ? null : output, F_DUPFD, 16);
    dup2(null, 0);
    dup2(high_output, 1);
    dup2(high_output, 2);
    if (third >= 0)
        dup2(high_third, CHANNEL_FD);
    close_others(third >= 0 ? CHANNEL_FD + 1 : CHANNEL_FD, keep, n);
}

static void become_child(pid_t parent, int third, int output, const int *keep, unsigned n, bool deaf,
                         const sigset_t *mask)
{
    setpgid(0, 0);
    reset_signals();
    if (deaf)
        ignore_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_LOST_PARENT);
    own_descriptors(third, output, keep, n);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

// fork with all signals blocked; *mask is the former mask, which both sides restore.
static pid_t fork_blocked(sigset_t *mask)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, mask);
    pid_t pid = fork();
    if (pid != 0) {
        int saved = errno;
        if (pid > 0)
            setpgid(pid, pid); // in both: whoever comes first
        pthread_sigmask(SIG_SETMASK, mask, NULL);
        errno = saved;
    }
    return pid;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void started(struct process *p, pid_t pid)
{
    p->pid = pid;
    if (clock_getcpuclockid(pid, &p->clock))
        p->clock = (clockid_t)-1;
}

int process_fork(struct process *p, process_main_fn *fn, void *arg, const int *keep, unsigned n, struct error *err)
{
    *p = (struct process){.channel = -1, .output = -1};
    int pair[2] = {-1, -1}, pipes[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) || pipe2(pipes, O_CLOEXEC | O_NONBLOCK)) {
        error_set_errno(err, "cannot make the channel of a child process");
        close_fd(&pair[0]);
        close_fd(&pair[1]);
        return -1;
    }
    sigset_t mask;
    pid_t parent = getpid(), pid = fork_blocked(&mask);
    if (pid == 0) {
        become_child(parent, pair[1], pipes[1], keep, n, true, &mask);
        int status = fn(arg, CHANNEL_FD);
        if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() && status == 0)
            status = EXIT_LEAK;
        if (__gcov_dump)
            __gcov_dump();
        _exit(status);
    }
    close(pair[1]);
    close(pipes[1]);
    p->channel = pair[0];
    p->output = pipes[0];
    if (pid < 0) {
        error_set_errno(err, "cannot start a child process");
        close_fd(&p->channel);
        close_fd(&p->output);
        return -1;
    }
    started(p, pid);
    return 0;
}

int process_exec(struct process *p, const char *path, char *const argv[], int input, int output,
                 uint64_t max_file_bytes, struct error *err)
{
    *p = (struct process){.channel = -1, .output = -1};
    sigset_t mask;
    pid_t parent = getpid(), pid = fork_blocked(&mask);
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        become_child(parent, input, output, NULL, 0, false, &none);
        // A file that is full is an error of its write, not the end of the process; ignored signals survive exec.
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {max_file_bytes, max_file_bytes};
        setrlimit(RLIMIT_FSIZE, &limit);
        execv(path, argv);
        _exit(EXIT_NO_EXEC);
    }
    if (pid < 0)
        return error_set_errno(err, "cannot start %s", path);
    started(p, pid);
    return 0;
}

bool process_gone(struct process *p)
{
    if (p->pid <= 0)
        return true;
    pid_t rc;
    do {
        rc = waitpid(p->pid, &p->status, WNOHANG);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0)
        return false;
    p->pid = 0; // reaped, or (ECHILD) somebody else's by now
    return true;
}

void process_kill(struct process *p, int signal)
{
    if (p->pid > 0)
        kill(p->pid, signal);
}

void process_end(struct process *p, int64_t max_wait_us)
{
    if (!p)
        return;
    process_kill(p, SIGKILL);
    struct clock clock;
    clock_create_real(&clock);
    int64_t until = clock_now_us(&clock) + max_wait_us;
    while (!process_gone(p) && clock_now_us(&clock) < until)
        poll(NULL, 0, 1);
    close_fd(&p->channel);
    close_fd(&p->output);
}

int64_t process_cpu_us(const struct process *p)
{
    struct timespec t;
    if (p->pid <= 0 || p->clock == (clockid_t)-1 || clock_gettime(p->clock, &t))
        return -1;
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t process_rss(pid_t pid)
{
    char path[64], text[128];
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    unsigned long long total = 0, resident = 0;
    if (sscanf(text, "%llu %llu", &total, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *process_end_text(const struct process *p, char *dst, size_t size)
{
    if (WIFSIGNALED(p->status)) {
        int s = WTERMSIG(p->status);
        const char *name = strsignal(s);
        snprintf(dst, size, "was killed by signal %d (%s)", s, name ? name : "unknown");
        return dst;
    }
    int status = WIFEXITED(p->status) ? WEXITSTATUS(p->status) : 0;
    const char *why = status == 70 ? " (out of memory)" : status == EXIT_LEAK ? " (memory leaks)" : "";
    snprintf(dst, size, "exited with status %d%s", status, why);
    return dst;
}
