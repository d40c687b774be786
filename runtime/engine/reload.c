#include "engine/reload.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"

#define QUIET_US 200000
#define LATEST_US 2000000
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF)

struct reload {
    struct loop *loop;
    struct log *log;
    reload_fn *fn;
    void *arg;
    ev_io io;
    int fd;
    struct timer timer;
    int64_t first_us; // of what has not been told; 0: nothing
};

static void due(struct timer *t, void *loop)
{
    struct reload *r = container_of(t, struct reload, timer);
    (void)loop;
    r->first_us = 0;
    r->fn(r->arg);
}

// Models, Lua, and the link by which Kubernetes swaps the files of a ConfigMap.
static bool is_ours(const char *name)
{
    size_t n = strlen(name);
    return (n > 5 && strcmp(name + n - 5, ".json") == 0) || (n > 4 && strcmp(name + n - 4, ".lua") == 0) ||
           strcmp(name, "..data") == 0;
}

static void happened(struct reload *r)
{
    int64_t now = loop_now_us(r->loop);
    if (!r->first_us)
        r->first_us = now;
    int64_t at = now + QUIET_US, latest = r->first_us + LATEST_US;
    loop_timer_at(r->loop, &r->timer, at < latest ? at : latest, due);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    struct reload *r = container_of(w, struct reload, io);
    char bytes[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    (void)ev, (void)events;
    ssize_t n = read(r->fd, bytes, sizeof(bytes));
    for (char *p = bytes; n > 0 && p < bytes + n;) {
        const struct inotify_event *e = (const struct inotify_event *)(void *)p;
        if (e->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF) || (e->len && is_ours(e->name)))
            happened(r);
        p += sizeof(*e) + e->len;
    }
}

static int add(struct reload *r, const char *path, struct error *err)
{
    char dir[PATH_MAX];
    if (path_dirname(path, dir, sizeof(dir)))
        return error_set(err, ERR_INVALID, "--watch: the path of %.200s is too long", path);
    // The same directory again is the same watch.
    return inotify_add_watch(r->fd, dir, EVENTS) < 0 ? error_set_errno(err, "--watch: cannot look at %s", dir) : 0;
}

static int add_all(struct reload *r, const json_t *plan, struct error *err)
{
    const char *path;
    json_t *model, *group, *file;
    size_t i, k;
    json_object_foreach(json_object_get(plan, "models"), path, model)
    {
        if (add(r, path, err))
            return -1;
        json_array_foreach(json_object_get(model, "files"), k, file)
        {
            if (json_is_string(file) && add(r, json_string_value(file), err))
                return -1;
        }
    }
    json_array_foreach(json_object_get(plan, "groups"), i, group)
    {
        const char *behaviour = json_string_value(json_object_get(group, "behaviour_path"));
        if (behaviour && add(r, behaviour, err))
            return -1;
    }
    return 0;
}

struct reload *reload_watch(struct loop *loop, const json_t *plan, struct log *log, reload_fn *fn, void *arg,
                            struct error *err)
{
    struct reload *r = calloc(1, sizeof(*r));
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "--watch: no memory");
        return NULL;
    }
    *r = (struct reload){.loop = loop, .log = log, .fn = fn, .arg = arg};
    r->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (r->fd < 0) {
        error_set_errno(err, "--watch");
        free(r);
        return NULL;
    }
    ev_io_init(&r->io, on_readable, r->fd, EV_READ);
    ev_io_start(loop_ev(loop), &r->io);
    if (!add_all(r, plan, err))
        return r;
    reload_delete(r);
    return NULL;
}

void reload_delete(struct reload *r)
{
    if (!r)
        return;
    loop_timer_stop(r->loop, &r->timer);
    ev_io_stop(loop_ev(r->loop), &r->io);
    close(r->fd);
    free(r);
}
