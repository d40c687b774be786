// SIGINT and SIGTERM have handlers of their own, not libev's: the second one must end everything within 100 ms even
// while the loop is blocked (a terminal that is stopped, a full pipe), and that only a handler can do. A handler has no
// argument, hence the one pointer of file scope in the engine. What it does is async-signal-safe: kill, _exit. There is
// nothing else to clean up: no temporary file exists (see broker.h).
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/supervisor.h"

#define PIDS_MAX 4200

struct signals {
    struct run *run;
    ev_async wake;
    ev_signal usr1, quit, hup;
    bool had_terminal;
    struct ev_loop *ev;
    volatile sig_atomic_t count, told;
    struct sigaction old_int, old_term, old_usr1, old_quit, old_hup, old_pipe, old_xfsz;
    _Atomic pid_t pids[PIDS_MAX];
};

static struct signals *_Atomic current;

static void on_interrupt(int signal)
{
    (void)signal;
    struct signals *s = current;
    if (!s)
        return;
    if (s->count++) {
        for (int i = 0; i < PIDS_MAX; i++) {
            pid_t pid = s->pids[i];
            if (pid > 0)
                kill(pid, SIGKILL);
        }
        _exit(EXIT_INTERRUPTED);
    }
    ev_async_send(s->ev, &s->wake);
}

static void on_wake(struct ev_loop *ev, ev_async *w, int events)
{
    (void)ev, (void)events;
    struct signals *s = container_of(w, struct signals, wake);
    if (s->count && !s->told) {
        s->told = 1;
        run_interrupt(s->run);
    }
}

static void on_usr1(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)events;
    struct signals *s = container_of(w, struct signals, usr1);
    tally_view(s->run);
}

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

// Asks for a reload, as daemons have it; but where the terminal has just gone, it means what it always meant.
static void on_hup(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)events;
    struct signals *s = container_of(w, struct signals, hup);
    if (s->had_terminal && !has_terminal())
        run_interrupt(s->run);
    else
        run_reload(s->run);
}

static void on_quit(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)events;
    struct run *run = container_of(w, struct signals, quit)->run;
    log_write(run->log, LOG_WARN, NULL, "state: phase %s, elapsed %.1f s, %llu sent, %llu received, %llu errors",
              run_phase_name(run->phase), (double)run_elapsed(run) * 1e-6, (unsigned long long)run->view.totals.sent,
              (unsigned long long)run->view.totals.received, (unsigned long long)run->view.totals.errors);
    struct slot *slot;
    for (unsigned i = 0; (slot = run_slot(run, i)); i++) {
        char name[32];
        const struct heartbeat *h = slot->heartbeat;
        if (!h)
            continue;
        log_write(run->log, LOG_WARN, NULL,
                  "state: %s pid %d state %d turn %llu slice %llu group %u device %llu cpu %.1f s, %.*s",
                  slot_name(slot, name, sizeof(name)), (int)slot->process.pid, (int)slot->state,
                  (unsigned long long)h->turn, (unsigned long long)h->slice, h->group, (unsigned long long)h->device,
                  (double)process_cpu_us(&slot->process) * 1e-6, (int)sizeof(h->where) - 1, h->where);
    }
}

static void take(int signal, void (*handler)(int), struct sigaction *old)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(signal, &action, old);
}

struct signals *signals_new(struct run *run)
{
    struct signals *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->run = run;
    s->ev = loop_ev(run->loop);
    ev_async_init(&s->wake, on_wake);
    ev_async_start(s->ev, &s->wake);
    sigaction(SIGUSR1, NULL, &s->old_usr1);
    sigaction(SIGQUIT, NULL, &s->old_quit);
    sigaction(SIGHUP, NULL, &s->old_hup);
    s->had_terminal = has_terminal();
    ev_signal_init(&s->usr1, on_usr1, SIGUSR1);
    ev_signal_init(&s->quit, on_quit, SIGQUIT);
    ev_signal_start(s->ev, &s->usr1);
    ev_signal_start(s->ev, &s->quit);
    ev_signal_init(&s->hup, on_hup, SIGHUP);
    if (s->old_hup.sa_handler != SIG_IGN) // nohup
        ev_signal_start(s->ev, &s->hup);
    current = s;
    take(SIGINT, on_interrupt, &s->old_int);
    take(SIGTERM, on_interrupt, &s->old_term);
    take(SIGPIPE, SIG_IGN, &s->old_pipe);
    take(SIGXFSZ, SIG_IGN, &s->old_xfsz);
    return s;
}

void signals_delete(struct signals *s)
{
    if (!s)
        return;
    sigaction(SIGINT, &s->old_int, NULL);
    sigaction(SIGTERM, &s->old_term, NULL);
    sigaction(SIGPIPE, &s->old_pipe, NULL);
    sigaction(SIGXFSZ, &s->old_xfsz, NULL);
    current = NULL;
    ev_async_stop(s->ev, &s->wake);
    ev_signal_stop(s->ev, &s->usr1);
    ev_signal_stop(s->ev, &s->quit);
    ev_signal_stop(s->ev, &s->hup);
    sigaction(SIGHUP, &s->old_hup, NULL);
    sigaction(SIGUSR1, &s->old_usr1, NULL);
    sigaction(SIGQUIT, &s->old_quit, NULL);
    free(s);
}

void signals_pid(struct signals *s, pid_t old, pid_t new)
{
    for (int i = 0; s && i < PIDS_MAX; i++)
        if (s->pids[i] == old) {
            s->pids[i] = new;
            return;
        }
}
