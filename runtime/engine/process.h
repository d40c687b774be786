// Child processes of a run: forked from the supervisor, each its own process group, killed by the kernel when the
// supervisor dies, holding no descriptor but its own. The supervisor must have no threads, and its forking thread must
// not end before them (PR_SET_PDEATHSIG follows the thread).
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>
#include "core/buf.h"
#include "core/error.h"

struct process {
    pid_t pid;       // 0: none (never started, or reaped)
    int status;      // of waitpid, once reaped
    int channel;     // the supervisor's end of the socketpair, -1: none or handed on
    int output;      // read end of what the child writes to stdout and stderr, non-blocking, -1: none
    clockid_t clock; // CPU clock of the child
};

// In the child. Its return value is the exit status (leaks make it 23 in a sanitised build).
typedef int process_main_fn(void *arg, int channel);
// Forks; SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE and SIGXFSZ are ignored in the child, other handlers are
// default.
// keep: n descriptors, all of 64 or more, that the child keeps at their numbers.
int process_fork(struct process *p, process_main_fn *fn, void *arg, const int *keep, unsigned n,
                 struct error *err) WARN_UNUSED_RESULT;
// Forks and executes path with input as descriptor 3 and output (a memfd, file, …) as stdout and stderr; neither is
// closed here. max_file_bytes caps what it may write to files. No channel.
int process_exec(struct process *p, const char *path, char *const argv[], int input, int output,
                 uint64_t max_file_bytes, struct error *err) WARN_UNUSED_RESULT;
// Reaps it if it has ended: true when there is no process (any more). Never waits.
bool process_gone(struct process *p);
void process_kill(struct process *p, int signal);
// Kills, waits at most max_wait_us for the end, closes descriptors. NULL-safe, idempotent.
void process_end(struct process *p, int64_t max_wait_us);
// CPU time in microseconds, -1 when it is gone. Resident bytes, 0 when gone.
int64_t process_cpu_us(const struct process *p);
uint64_t process_rss(pid_t pid);
// "exited with status 70 (out of memory)", "was killed by signal 11 (Segmentation fault)"
const char *process_end_text(const struct process *p, char *dst, size_t size);
