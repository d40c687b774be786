// Names to addresses. getaddrinfo blocks, so each lookup runs in a detached thread (at most MAX_THREADS; more wait).
//
// What a thread may touch is one `struct job` and the reference-counted `struct shared`, never the resolver: when the
// resolver is deleted while a lookup runs, `shared` says so and the thread frees its own answer. ev_async_send happens
// under the mutex and only while the resolver lives, so the loop is there. The async watcher is active only while
// threads run and so never keeps an idle loop waiting.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "link/resolve.h"
#include "metrics/metrics.h"

#define MAX_THREADS 8u
#define MAX_ADDRS 16u
#define MAX_NAMES 4096u // names of one resolver; beyond: ERR_LIMIT
#define STACK_BYTES (512u << 10)

struct job {
    struct job *next;
    struct shared *shared;
    struct lookup *lookup; // the resolver's, used by the loop's thread only
    int gai;               // result of getaddrinfo
    int sys_errno;         // for EAI_SYSTEM
    unsigned n;
    struct link_addr addrs[MAX_ADDRS];
    char host[]; // the thread's own copy
};

struct shared {
    pthread_mutex_t mutex;
    unsigned refs;      // the resolver and every running job
    bool alive;         // the resolver exists
    struct job *done;   // answered, not yet fetched
    struct ev_loop *ev; // valid while alive
    ev_async *async;    // valid while alive
};

struct waiter {
    struct waiter *next;
    uint64_t ticket;
    resolve_fn *fn; // NULL: cancelled
    void *arg;
    uint16_t port;
};

enum lookup_state { LOOKUP_IDLE, LOOKUP_QUEUED, LOOKUP_RUNNING, LOOKUP_DONE };

struct lookup {
    struct lookup *next;       // all lookups of the resolver
    struct lookup *queue_next; // those that wait for a thread
    struct waiter *waiters, **waiters_end;
    struct link_addr *addrs; // DONE
    unsigned n;
    int64_t asked_us; // when it was first waited for
    enum lookup_state state;
    char host[];
};

struct resolver {
    struct loop *loop;
    struct ev_loop *ev;
    ev_async async;
    struct shared *shared;
    struct lookup *lookups;
    struct lookup *queue, **queue_end;
    unsigned n_lookups, running;
    uint64_t last_ticket;
    struct metric *latency; // NULL: not measured
};

void resolver_measure(struct resolver *r, struct metric *latency)
{
    r->latency = latency;
}

static void shared_unref(struct shared *s) // with the mutex held; releases it
{
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->mutex);
    if (last) {
        pthread_mutex_destroy(&s->mutex);
        free(s);
    }
}

static unsigned take_addrs(const struct addrinfo *list, struct link_addr *out, unsigned max)
{
    unsigned n = 0;
    for (const struct addrinfo *a = list; a && n < max; a = a->ai_next) {
        if (a->ai_addrlen > sizeof out[n].addr)
            continue;
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n].addr, a->ai_addr, a->ai_addrlen);
        out[n++].len = a->ai_addrlen;
    }
    return n;
}

static void *run(void *arg)
{
    struct job *job = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    job->gai = getaddrinfo(job->host, NULL, &hints, &list);
    job->sys_errno = errno;
    if (job->gai == 0) {
        job->n = take_addrs(list, job->addrs, MAX_ADDRS);
        freeaddrinfo(list);
    }
    struct shared *s = job->shared;
    pthread_mutex_lock(&s->mutex);
    if (s->alive) {
        job->next = s->done;
        s->done = job;
        ev_async_send(s->ev, s->async);
    } else {
        free(job);
    }
    shared_unref(s);
    return NULL;
}

static void set_port(struct link_addr *a, uint16_t port)
{
    if (a->addr.ss_family == AF_INET)
        ((struct sockaddr_in *)&a->addr)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&a->addr)->sin6_port = htons(port);
}

static void answer(const struct link_addr *addrs, unsigned n, uint16_t port, resolve_fn *fn, void *arg,
                   const struct error *err)
{
    struct link_addr copy[MAX_ADDRS];
    for (unsigned i = 0; i < n; i++) {
        copy[i] = addrs[i];
        set_port(&copy[i], port);
    }
    fn(arg, copy, n, n ? NULL : err);
}

// Gives the answer to everybody who waits now; a callback may look up (and so wait for a new lookup) and cancel.
static void finish(struct lookup *lookup, const struct error *err)
{
    unsigned left = 0;
    for (const struct waiter *w = lookup->waiters; w; w = w->next)
        left++;
    while (left--) {
        struct waiter *w = lookup->waiters;
        struct waiter one = *w;
        lookup->waiters = w->next;
        if (!lookup->waiters)
            lookup->waiters_end = &lookup->waiters;
        free(w);
        if (one.fn)
            answer(lookup->addrs, lookup->n, one.port, one.fn, one.arg, err);
    }
}

static int thread_start(struct job *job)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_t thread;
    if (pthread_attr_init(&attr))
        return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all); // signals belong to the loop's thread
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread, &attr, run, job);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return rc ? -1 : 0;
}

static int lookup_start(struct resolver *r, struct lookup *lookup)
{
    size_t len = strlen(lookup->host) + 1;
    struct job *job = calloc(1, sizeof *job + len);
    if (!job)
        return -1;
    memcpy(job->host, lookup->host, len);
    job->lookup = lookup;
    job->shared = r->shared;
    pthread_mutex_lock(&r->shared->mutex);
    r->shared->refs++;
    pthread_mutex_unlock(&r->shared->mutex);
    if (r->running == 0)
        ev_async_start(r->ev, &r->async);
    if (thread_start(job) < 0) {
        if (r->running == 0)
            ev_async_stop(r->ev, &r->async);
        pthread_mutex_lock(&r->shared->mutex);
        shared_unref(r->shared);
        free(job);
        return -1;
    }
    r->running++;
    lookup->state = LOOKUP_RUNNING;
    return 0;
}

static void queue_drain(struct resolver *r)
{
    while (r->queue && r->running < MAX_THREADS) {
        struct lookup *lookup = r->queue;
        r->queue = lookup->queue_next;
        if (!r->queue)
            r->queue_end = &r->queue;
        lookup->queue_next = NULL;
        if (lookup_start(r, lookup) < 0) {
            struct error err;
            error_set(&err, ERR_LIMIT, "cannot start a thread to resolve %s", lookup->host);
            lookup->state = LOOKUP_IDLE;
            finish(lookup, &err);
        }
    }
}

static void job_done(struct resolver *r, struct job *job)
{
    struct lookup *lookup = job->lookup;
    struct error err;
    error_clear(&err);
    lookup->state = LOOKUP_IDLE; // failures are not cached
    if (r->latency)
        trend_add(r->latency, loop_fresh_us(r->loop) - lookup->asked_us);
    if (job->gai == EAI_SYSTEM)
        error_set(&err, ERR_RESOLVE, "cannot resolve %s: %s", lookup->host, strerror(job->sys_errno));
    else if (job->gai)
        error_set(&err, ERR_RESOLVE, "cannot resolve %s: %s", lookup->host, gai_strerror(job->gai));
    else if (!job->n)
        error_set(&err, ERR_RESOLVE, "%s has no address", lookup->host);
    else if (!(lookup->addrs = malloc(job->n * sizeof *lookup->addrs)))
        error_set(&err, ERR_NO_MEMORY, "no memory for the addresses of %s", lookup->host);
    else {
        memcpy(lookup->addrs, job->addrs, job->n * sizeof *lookup->addrs);
        lookup->n = job->n;
        lookup->state = LOOKUP_DONE;
    }
    free(job);
    if (--r->running == 0)
        ev_async_stop(r->ev, &r->async);
    finish(lookup, &err);
}

static void on_async(struct ev_loop *ev, ev_async *async, int revents)
{
    struct resolver *r = container_of(async, struct resolver, async);
    (void)ev;
    (void)revents;
    pthread_mutex_lock(&r->shared->mutex);
    struct job *job = r->shared->done;
    r->shared->done = NULL;
    pthread_mutex_unlock(&r->shared->mutex);
    while (job) {
        struct job *next = job->next;
        job_done(r, job);
        job = next;
    }
    queue_drain(r);
}

struct resolver *resolver_new(struct loop *loop, struct error *err)
{
    struct resolver *r = calloc(1, sizeof *r);
    struct shared *s = calloc(1, sizeof *s);
    if (!r || !s || pthread_mutex_init(&s->mutex, NULL)) {
        free(r);
        free(s);
        error_set(err, ERR_NO_MEMORY, "no memory for a resolver");
        return NULL;
    }
    r->loop = loop;
    r->ev = loop_ev(loop);
    r->queue_end = &r->queue;
    r->shared = s;
    ev_async_init(&r->async, on_async);
    s->refs = 1;
    s->alive = true;
    s->ev = r->ev;
    s->async = &r->async;
    return r;
}

void resolver_delete(struct resolver *r)
{
    if (!r)
        return;
    struct shared *s = r->shared;
    pthread_mutex_lock(&s->mutex);
    s->alive = false;
    struct job *job = s->done;
    s->done = NULL;
    shared_unref(s);
    while (job) {
        struct job *next = job->next;
        free(job);
        job = next;
    }
    if (r->running)
        ev_async_stop(r->ev, &r->async);
    for (struct lookup *l = r->lookups, *next; l; l = next) {
        next = l->next;
        for (struct waiter *w = l->waiters, *wnext; w; w = wnext) {
            wnext = w->next;
            free(w);
        }
        free(l->addrs);
        free(l);
    }
    free(r);
}

static bool numeric(const char *host, uint16_t port, resolve_fn *fn, void *arg)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list = NULL;
    struct link_addr addrs[MAX_ADDRS];
    if (getaddrinfo(host, NULL, &hints, &list))
        return false;
    unsigned n = take_addrs(list, addrs, MAX_ADDRS);
    freeaddrinfo(list);
    answer(addrs, n, port, fn, arg, NULL);
    return true;
}

static struct lookup *lookup_get(struct resolver *r, const char *host)
{
    struct lookup *l;
    for (l = r->lookups; l; l = l->next)
        if (strcmp(l->host, host) == 0)
            return l;
    size_t len = strlen(host) + 1;
    if (r->n_lookups == MAX_NAMES || !(l = calloc(1, sizeof *l + len)))
        return NULL;
    memcpy(l->host, host, len);
    l->waiters_end = &l->waiters;
    l->next = r->lookups;
    r->lookups = l;
    r->n_lookups++;
    return l;
}

uint64_t resolver_lookup(struct resolver *r, const char *host, uint16_t port, resolve_fn *fn, void *arg)
{
    if (numeric(host, port, fn, arg))
        return 0;
    struct error err;
    struct lookup *l = lookup_get(r, host);
    if (l && l->state == LOOKUP_DONE) {
        answer(l->addrs, l->n, port, fn, arg, NULL);
        return 0;
    }
    struct waiter *w = l ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        error_set(&err, ERR_LIMIT, "cannot resolve %s: %u names at most, or no memory", host, MAX_NAMES);
        fn(arg, NULL, 0, &err);
        return 0;
    }
    if (l->state == LOOKUP_IDLE) {
        l->asked_us = loop_fresh_us(r->loop);
        if (r->running >= MAX_THREADS) {
            l->state = LOOKUP_QUEUED;
            *r->queue_end = l;
            r->queue_end = &l->queue_next;
        } else if (lookup_start(r, l) < 0) {
            free(w);
            error_set(&err, ERR_LIMIT, "cannot start a thread to resolve %s", host);
            fn(arg, NULL, 0, &err);
            return 0;
        }
    }
    *w = (struct waiter){.ticket = ++r->last_ticket, .fn = fn, .arg = arg, .port = port};
    *l->waiters_end = w;
    l->waiters_end = &w->next;
    return w->ticket;
}

void resolver_cancel(struct resolver *r, uint64_t ticket)
{
    if (!ticket)
        return;
    for (struct lookup *l = r->lookups; l; l = l->next)
        for (struct waiter *w = l->waiters; w; w = w->next)
            if (w->ticket == ticket) {
                w->fn = NULL; // freed with the answer
                return;
            }
}
