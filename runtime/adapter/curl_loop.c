#include "adapter/curl_loop.h"

#include <stdlib.h>

struct watched { // a socket of libcurl's
    ev_io io;
    struct curl_loop *curl;
};

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct watched *w = container_of(io, struct watched, io);
    (void)ev;
    curl_loop_run(w->curl, io->fd,
                  (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static int watch(CURL *easy, curl_socket_t fd, int what, void *userp, void *socketp)
{
    struct curl_loop *c = userp;
    struct watched *w = socketp;
    struct ev_loop *ev = loop_ev(c->loop);
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            ev_io_stop(ev, &w->io);
        free(w);
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof(*w));
        if (!w)
            return -1;
        w->curl = c;
        ev_io_init(&w->io, on_io, fd, 0);
        curl_multi_assign(c->multi, fd, w);
    }
    ev_io_stop(ev, &w->io);
    ev_io_set(&w->io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    ev_io_start(ev, &w->io);
    return 0;
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int revents)
{
    (void)ev, (void)revents;
    curl_loop_run(container_of(timer, struct curl_loop, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *userp)
{
    struct curl_loop *c = userp;
    struct ev_loop *ev = loop_ev(c->loop);
    (void)multi;
    ev_timer_stop(ev, &c->timer);
    if (ms < 0)
        return 0;
    ev_timer_set(&c->timer, (double)ms / 1000, 0);
    ev_timer_start(ev, &c->timer);
    return 0;
}

int curl_loop_create(struct curl_loop *c, struct loop *loop, void (*done)(void *arg, CURL *easy, CURLcode rc),
                     void *arg, struct error *err)
{
    *c = (struct curl_loop){.loop = loop, .done = done, .arg = arg, .multi = curl_multi_init()};
    if (!c->multi)
        return error_set(err, ERR_NO_MEMORY, "no memory for libcurl");
    ev_timer_init(&c->timer, on_timer, 0, 0);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return 0;
}

void curl_loop_destroy(struct curl_loop *c)
{
    if (!c->multi)
        return;
    curl_multi_cleanup(c->multi);
    ev_timer_stop(loop_ev(c->loop), &c->timer);
    c->multi = NULL;
}

void curl_loop_run(struct curl_loop *c, curl_socket_t fd, int events)
{
    int running, left;
    CURLMsg *message;
    curl_multi_socket_action(c->multi, fd, events, &running);
    while (c->multi && (message = curl_multi_info_read(c->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            c->done(c->arg, message->easy_handle, message->data.result);
}
