// Loading plugins. The probe writes what it is about to do into a pipe before it does it, and at the end what it found,
// so that the parent knows where a child ended that ended too early.
#include "adapter/plugin.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/plugin_abi.h"

#define PROBE_US ((int64_t)10000000)

typedef const struct adapter_ops *adapter_fn(const struct iotix_host *host);

static int check_file(const char *path, char *absolute, struct error *err)
{
    unsigned char head[EI_NIDENT] = {0};
    struct stat st;
    if (!realpath(path, absolute))
        return error_set_errno(err, "plugin %s", path);
    if (stat(absolute, &st) < 0)
        return error_set_errno(err, "plugin %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_INVALID, "plugin %s: expected a shared object (.so), this is %s", path,
                         S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
    int fd = open(absolute, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head);
    int sys = errno;
    if (fd >= 0)
        close(fd);
    errno = sys;
    if (n < 0)
        return error_set_errno(err, "plugin %s", path);
    if (n < (ssize_t)sizeof head || memcmp(head, ELFMAG, SELFMAG) != 0)
        return error_set(err, ERR_INVALID,
                         "plugin %s: this is no shared object: expected an ELF file made with -shared", path);
    return 0;
}

// phase: told before each step; may be NULL.
static const struct adapter_ops *open_plugin(const char *absolute, void (*phase)(void *arg, char step), void *arg,
                                             struct error *err)
{
    if (phase)
        phase(arg, 'L');
    void *object = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        const char *why = dlerror();
        bool symbol = why && strstr(why, "undefined symbol");
        error_set(err, ERR_INVALID, "plugin %s: %s%s", absolute, why ? why : "it cannot be loaded",
                  symbol ? " (functions of iotix are reached through struct iotix_host only)" : "");
        return NULL;
    }
    adapter_fn *init;
    void *found = dlsym(object, "iotix_adapter");
    memcpy(&init, &found, sizeof init); // ISO C has no cast from an object's pointer to a function's
    if (!init) {
        error_set(err, ERR_INVALID, "plugin %s: it has no symbol iotix_adapter; see docs/how-to/write-a-plugin.md",
                  absolute);
        return NULL;
    }
    if (phase)
        phase(arg, 'I');
    const struct adapter_ops *ops = init(plugin_host());
    if (phase)
        phase(arg, 'C');
    if (!ops) {
        error_set(err, ERR_UNSUPPORTED, "plugin %s: iotix_adapter returned NULL: it refuses to work with this iotix",
                  absolute);
        return NULL;
    }
    if (adapter_check(ops, err)) {
        error_prefix(err, "plugin %s", absolute);
        return NULL;
    }
    return ops;
}

int plugin_load(const char *path, struct adapter_registry *registry, struct error *err)
{
    char absolute[PATH_MAX];
    if (check_file(path, absolute, err))
        return -1;
    const struct adapter_ops *ops = open_plugin(absolute, NULL, NULL, err);
    if (!ops)
        return -1;
    return adapter_registry_add(registry, ops, absolute, err) ? error_prefix(err, "plugin %s", absolute) : 0;
}

// --- the probe

struct answer { // from the child, at its end
    struct error err;
    char name[sizeof((struct plugin_info *)0)->name];
    char schemes[sizeof((struct plugin_info *)0)->schemes];
};

static void write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            _exit(1);
        p += k;
        n -= (size_t)k;
    }
}

static void tell_phase(void *arg, char step)
{
    write_all(*(int *)arg, &step, 1);
}

static _Noreturn void probe_child(const char *absolute, const char *const *before, unsigned n, int fd)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTERM, SIGINT};
    struct rlimit no_core = {0, 0};
    struct answer a = {.err = {.code = ERR_NONE}};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        (void)signal(fatal[i], SIG_DFL); // a sanitizer's handler would turn the signal into an exit code
    struct adapter_registry *registry = adapter_registry_new(&a.err);
    for (unsigned i = 0; registry && i < n; i++)
        if (plugin_load(before[i], registry, NULL))
            continue; // what is wrong with it was told
    const struct adapter_ops *ops = registry ? open_plugin(absolute, tell_phase, &fd, &a.err) : NULL;
    if (ops && adapter_registry_add(registry, ops, absolute, &a.err)) {
        error_prefix(&a.err, "plugin %s", absolute);
    } else if (ops) {
        snprintf(a.name, sizeof a.name, "%s", ops->name);
        size_t used = 0;
        for (const char *const *s = ops->schemes; *s && used < sizeof a.schemes; s++)
            used += (size_t)snprintf(a.schemes + used, sizeof a.schemes - used, "%s%s", used ? ", " : "", *s);
    }
    a.err.file = NULL; // an address of the child's
    tell_phase(&fd, 'A');
    write_all(fd, &a, sizeof a);
    _exit(0);
}

static int64_t now_us(void)
{
    struct clock c;
    clock_create_real(&c);
    return clock_now_us(&c);
}

// Reads until the child's end of the pipe is closed. Bytes, or -1 when the deadline passed.
static ssize_t collect(int fd, uint8_t *to, size_t size, int64_t until_us)
{
    size_t n = 0;
    while (n < size) {
        int64_t left = until_us - now_us();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)(left / 1000) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return -1;
        ssize_t k = read(fd, to + n, size - n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break;
        n += (size_t)k;
    }
    return (ssize_t)n;
}

static const char *place(char step)
{
    return step == 'I'   ? "in init (iotix_adapter)"
           : step == 'C' ? "while its table was checked"
                         : "while it was loaded";
}

static int judge(const char *absolute, const uint8_t *bytes, size_t n, int status, struct plugin_info *out,
                 struct error *err)
{
    size_t steps = 0;
    while (steps < n && bytes[steps] != 'A')
        steps++;
    struct answer a;
    if (n == steps + 1 + sizeof a) {
        memcpy(&a, bytes + steps + 1, sizeof a);
        a.err.text[sizeof a.err.text - 1] = '\0';
        if (a.err.code != ERR_NONE)
            return error_set(err, a.err.code, "%s", a.err.text);
        snprintf(out->path, sizeof out->path, "%s", absolute);
        snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof a.name - 1, a.name);
        snprintf(out->schemes, sizeof out->schemes, "%.*s", (int)sizeof a.schemes - 1, a.schemes);
        return 0;
    }
    const char *where = place(steps ? (char)bytes[steps - 1] : 'L');
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        return error_set(err, ERR_INTERNAL, "plugin %s: crashed with SIG%s %s", absolute, name ? name : "?", where);
    }
    return error_set(err, ERR_INTERNAL, "plugin %s: ended its process with status %d %s", absolute,
                     WIFEXITED(status) ? WEXITSTATUS(status) : -1, where);
}

int plugin_probe(const char *const *paths, unsigned count, int64_t deadline_us, struct plugin_info *out,
                 struct error *err)
{
    const char *path = paths[count - 1];
    char absolute[PATH_MAX];
    int ends[2], status = 0;
    if (check_file(path, absolute, err))
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, "pipe");
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        int sys = errno;
        close(ends[0]);
        close(ends[1]);
        errno = sys;
        return error_set_errno(err, "fork");
    }
    if (pid == 0) {
        close(ends[0]);
        probe_child(absolute, paths, count - 1, ends[1]);
    }
    close(ends[1]);
    uint8_t bytes[8 + sizeof(struct answer)];
    ssize_t n = collect(ends[0], bytes, sizeof bytes, now_us() + (deadline_us ? deadline_us : PROBE_US));
    close(ends[0]);
    if (n < 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (n < 0)
        return error_set(err, ERR_TIMEOUT, "plugin %s: loading it did not end within %.0f s", absolute,
                         (double)(deadline_us ? deadline_us : PROBE_US) / 1e6);
    return judge(absolute, bytes, (size_t)n, status, out, err);
}
