// A device with a path: what the tests of HTTP over paths share.
#pragma once
#define world tls_world // of its certificates only
#define world_create tls_world_create
#define world_destroy tls_world_destroy
#include "link/tls_world.h"
#undef world
#undef world_create
#undef world_destroy
#undef WORLD_WAIT
#define world path_world // of its faults only
#define world_create path_world_create
#define world_destroy path_world_destroy
#include "link/path_world.h"
#undef world
#undef world_create
#undef world_destroy
#include <dirent.h>
#include <sys/resource.h>
#include "adapter/http/bridge.h"
#include "adapter/http_harness.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// A world with a device and a path, which the device is not on yet.
struct site {
    struct world w;
    struct device d;
    struct path_env *env;
    struct path *path;
    unsigned fds;
};

static MAYBE unsigned open_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static MAYBE void site_path(struct site *s)
{
    struct error err;
    assert_non_null(s->env = path_env_new(s->w.loop, &err));
    assert_non_null(s->path = path_new(s->env, 7, &err));
    s->d.client_id = "a";
    device_create(&s->w, &s->d);
    s->fds = open_files();
}

static MAYBE void site_raw(struct site *s, const char *options)
{
    memset(s, 0, sizeof *s);
    world_raw(&s->w, options);
    s->w.raw.answer = OK_HI;
    site_path(s);
}

static MAYBE void site_echo(struct site *s, const char *options)
{
    memset(s, 0, sizeof *s);
    world_echo(&s->w, "", options);
    site_path(s);
}

static MAYBE void on_path(struct site *s, const char *fault)
{
    apply(s->path, 1, fault);
    OPS->conn_path(s->d.conn, s->path);
}

static MAYBE struct path_totals totals(const struct site *s)
{
    struct path_totals t;
    path_env_totals(s->env, &t);
    return t;
}

static MAYBE void site_delete(struct site *s)
{
    OPS->conn_delete(s->d.conn);
    if (s->path)
        path_release(s->path);
    // The server hears of it in the path's own time, which is short when nothing acts any more.
    path_env_delete(s->env);
    world_destroy(&s->w);
}

// The last fault goes, and with it the path, as device/impair.c does it.
static MAYBE void heal(struct site *s)
{
    assert_true(path_remove(s->path, 1));
    OPS->conn_path(s->d.conn, NULL);
    path_release(s->path);
    s->path = NULL;
}

static MAYBE int64_t timed_get(struct site *s, const char *path, unsigned status)
{
    int64_t begin = loop_fresh_us(s->w.loop);
    const struct answer *a = get(&s->w, &s->d, "GET", path, NULL, NULL);
    if (a->code)
        fail_msg("%s", a->text);
    assert_int_equal(a->status, status);
    return loop_fresh_us(s->w.loop) - begin;
}

static MAYBE double mean(struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric out = {.hist = hist_new()};
    assert_int_equal(metric_selector_parse(name, &sel, NULL), 0);
    metrics_select(w->env.metrics, &sel, &out);
    double us = hist_mean(out.hist);
    assert_true(hist_count(out.hist));
    hist_delete(out.hist);
    return us;
}
