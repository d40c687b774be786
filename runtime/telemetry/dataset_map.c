// Reading a page of a mapping that its file no longer has raises SIGBUS, and whoever truncates a recording would kill a
// shard full of devices. So the signal puts zeros in place of what is gone, and the dataset says that it was lost.
// A signal handler reaches nothing but file-scope state; what is here is that list of mappings and nothing else. mmap
// in a handler is a plain system call on Linux.
#include "telemetry/dataset_map.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic(struct mapping *) first_mapping; // file-scope state: for the signal handler
static struct sigaction previous;               // file-scope state: what SIGBUS did before
static _Atomic(uintptr_t) page_size;            // file-scope state: sysconf is not for handlers

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (struct mapping *m = atomic_load(&first_mapping); m; m = m->next) {
        uintptr_t from = (uintptr_t)m->bytes, to = from + m->mapped;
        if (at < from || at >= to)
            continue;
        at &= ~(atomic_load(&page_size) - 1);
        if (mmap((void *)at, to - at, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        m->lost = 1;
        return;
    }
    sigaction(sig, &previous, NULL); // not ours: the access faults again, for whoever was asked before
}

static int catch_sigbus(struct error *err)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    atomic_store(&page_size, (uintptr_t)sysconf(_SC_PAGESIZE));
    return sigaction(SIGBUS, &action, &previous) ? error_set_errno(err, "SIGBUS cannot be caught") : 0;
}

int mapping_open(struct mapping *m, int fd, size_t size, struct error *err)
{
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return error_set_errno(err, "%zu bytes cannot be mapped", size);
    if (!atomic_load(&first_mapping) && catch_sigbus(err)) {
        munmap(bytes, size);
        return -1;
    }
    size_t page = atomic_load(&page_size);
    *m = (struct mapping){
        .bytes = bytes, .size = size, .mapped = (size + page - 1) / page * page, .next = atomic_load(&first_mapping)};
    atomic_store(&first_mapping, m);
    return 0;
}

static void forget(const struct mapping *m)
{
    struct mapping *at = atomic_load(&first_mapping);
    if (at == m) {
        atomic_store(&first_mapping, m->next);
        return;
    }
    for (; at; at = at->next) {
        if (at->next == m)
            at->next = m->next;
    }
}

void mapping_close(struct mapping *m)
{
    if (!m->bytes)
        return;
    forget(m);
    munmap((void *)m->bytes, m->mapped);
    m->bytes = NULL;
    if (!atomic_load(&first_mapping))
        sigaction(SIGBUS, &previous, NULL);
}
