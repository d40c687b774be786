// A stream as the lowest filter of a link.
//
// Three ends need care. The server's: the link's socket is gone, but the device hears of it when the news has come
// through, and till then believes itself connected (`severed`; what it sends meanwhile meets a server that is not
// there). The device's: its link is freed at once, so the socket moves to an orphan, a link of the path's own, which
// brings what is under way, then FIN or RST. And the end that gets lost: the orphan keeps the socket, silent, until the
// server says something and hears that nobody is there (`zombie`).
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include "link/link_impl.h"
#include "link/path_stream.h"

struct path_orphan {
    struct link link;
    struct path_orphan *next, **prev;
    struct path_env *env;
};

static const struct link_filter_type path_type;

static struct path_stream *stream_of(const struct link_filter *f)
{
    return container_of(f, struct path_stream, filter);
}

static struct path *path_of(const struct path_stream *s)
{
    return s->flow.path;
}

static int64_t now_of(const struct path_stream *s)
{
    return loop_now_us(path_of(s)->env->loop);
}

// --- what comes from above and below

static const uint8_t handshake_failure[] = {21, 3, 3, 0, 2, 2, 40}; // RFC 5246, 7.2: a fatal alert

// The server's answer to the first record is an alert; it never saw the record.
static int refuse_tls(struct path_stream *s, struct error *err)
{
    if (s->tls_failed)
        return 0;
    s->tls_failed = true;
    path_of(s)->env->totals.tls_failed++;
    return path_stream_push(s, PATH_DOWN, handshake_failure, sizeof handshake_failure, err);
}

static int path_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    struct path_stream *s = stream_of(f);
    if (s->tls_fails)
        return refuse_tls(s, err);
    if (!s->severed && path_stream_clear(s, PATH_UP))
        return link_filter_down(f, bytes, n, err);
    return path_stream_push(s, PATH_UP, bytes, n, err);
}

static void answer_with_reset(struct path_stream *s, enum path_direction direction, int64_t now_us);

static void path_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    struct path_stream *s = stream_of(f);
    struct error why;
    if (s->orphan) { // nobody is there to read it
        if (s->zombie && path_probe(&s->flow, PATH_DOWN, s->flow.peer.protocol, now_of(s)) >= 0)
            answer_with_reset(s, PATH_UP, now_of(s));
        return;
    }
    if (s->tls_failed)
        return;
    if (path_stream_clear(s, PATH_DOWN))
        link_filter_up(f, bytes, n);
    else if (path_stream_push(s, PATH_DOWN, bytes, n, &why) < 0)
        link_filter_closed(f, &why);
}

static void deliver(struct path_stream *s, enum path_direction direction, const uint8_t *bytes, size_t n)
{
    struct error why;
    if (direction == PATH_DOWN) {
        if (!s->orphan)
            link_filter_up(&s->filter, bytes, n);
        return;
    }
    if (s->severed) // a server that has gone answers with RST
        answer_with_reset(s, PATH_DOWN, path_of(s)->now_us);
    else if (link_filter_down(&s->filter, bytes, n, &why) < 0)
        s->ops->cut(s, &why);
    else if (!path_tcp_held(&s->tcp[PATH_UP]))
        link_drained(s->filter.link);
}

static void throttle(struct path_stream *s, enum path_direction direction, bool stop)
{
    // Upwards nothing is to be done: what is held counts as unsent.
    if (direction == PATH_DOWN && s->filter.link)
        link_hold_input(s->filter.link, stop);
}

static size_t path_held(const struct link_filter *f)
{
    return path_tcp_held(&stream_of(f)->tcp[PATH_UP]);
}

static size_t path_footprint_of(const struct link_filter *f)
{
    return path_stream_footprint(&stream_of(f)->flow);
}

// Paused, neither; of an owner that has enough, what comes down waits as behind a closed window.
static bool frozen(const struct path_stream *s, enum path_direction direction)
{
    const struct link *link = s->filter.link;
    return link && (link->flags & LINK_PAUSED || (direction == PATH_DOWN && link->satiated));
}

static void path_resumed(struct link_filter *f)
{
    path_kick(path_of(stream_of(f)));
}

// --- the beginning

// The real network's round trip is a part of what the sender sees; loopback's is not worth it.
static void measure(struct path_stream *s)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (getsockopt(s->filter.link->io.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_rtt < 1000)
        return;
    for (int d = 0; d < 2; d++)
        s->tcp[d].base_rtt_us = info.tcpi_rtt;
}

static bool path_opening(struct link_filter *f, const struct link_addr *to, const struct link_addr *source)
{
    struct path_stream *s = stream_of(f);
    if (path_is_quiet(path_of(s)))
        return false;
    struct path_connect *c = calloc(1, sizeof *c);
    if (!c)
        return false; // it connects without faults, which is better than not at all
    if (!s->flow.peer.addr.len)
        s->flow.peer.addr = *to;
    c->to = *to;
    if (source) {
        c->source = *source;
        c->has_source = true;
    }
    path_dial_create(&c->dial, &s->flow, now_of(s));
    s->connect = c;
    s->other_us = c->dial.at_us;
    path_kick(path_of(s));
    return true;
}

static void path_opened(struct link_filter *f)
{
    struct path_stream *s = stream_of(f);
    s->opened = true;
    measure(s);
    s->tls_fails = path_tls_fails(&s->flow, now_of(s));
    link_filter_opened(f);
}

static void dial(struct path_stream *s)
{
    struct path_connect *c = s->connect;
    struct error why;
    bool failed = false;
    if (c->dial.step == PATH_LOOKUP || c->dial.step == PATH_SYN) {
        path_dial_run(&c->dial, &s->flow);
        s->other_us = c->dial.at_us;
        return;
    }
    s->connect = NULL;
    s->other_us = INT64_MAX;
    if (c->dial.step == PATH_FAILED) {
        why = c->dial.err;
        failed = true;
    } else {
        for (int d = 0; d < 2; d++)
            path_tcp_sample(&s->tcp[d], c->dial.rtt_us);
        failed = link_connect(s->filter.link, &c->to, c->has_source ? &c->source : NULL, &why) < 0;
    }
    free(c);
    if (failed)
        link_filter_closed(&s->filter, &why);
}

// --- the end

static void keep_why(struct path_stream *s, const struct error *why)
{
    free(s->why);
    s->why = malloc(sizeof *s->why);
    if (s->why)
        *s->why = *why;
}

static void tell_end(struct path_stream *s)
{
    struct error why;
    if (s->why)
        why = *s->why;
    else
        error_set(&why, ERR_CLOSED, "closed by the peer");
    link_filter_closed(&s->filter, &why);
}

// The socket has ended.
static void path_closed(struct link_filter *f, const struct error *why)
{
    struct path_stream *s = stream_of(f);
    int64_t now_us = now_of(s);
    if (!s->opened || s->severed || s->orphan || path_stream_clear(s, PATH_DOWN)) {
        link_filter_closed(f, why);
        return;
    }
    keep_why(s, why);
    s->severed = true;
    link_severed(f->link);
    if (path_half_open(path_of(s), now_us))
        return;
    if (why->code == ERR_CLOSED && !link_was_reset(f->link)) {
        path_stream_push_end(s, PATH_DOWN);
        return;
    }
    // RST is sent once; what it overtakes is of no use to anybody.
    int64_t takes_us = path_probe(&s->flow, PATH_DOWN, s->flow.peer.protocol, now_us);
    if (takes_us >= 0)
        s->other_us = now_us + takes_us;
    path_kick(path_of(s));
}

// Something has come to an end that is not there any more. direction: of the RST.
static void answer_with_reset(struct path_stream *s, enum path_direction direction, int64_t now_us)
{
    struct error why;
    if (s->other_us != INT64_MAX || path_half_open(path_of(s), now_us))
        return;
    int64_t takes_us = path_probe(&s->flow, direction, s->flow.peer.protocol, now_us);
    if (takes_us < 0)
        return;
    if (direction == PATH_DOWN && s->fin_at_us[PATH_DOWN] == INT64_MAX && !path_tcp_busy(&s->tcp[PATH_DOWN])) {
        error_set(&why, ERR_CLOSED, "reset by the peer");
        keep_why(s, &why);
        s->filter.link->flags |= LINK_RESET;
    }
    s->other_us = now_us + takes_us;
    path_kick(path_of(s));
}

static void end(struct path_stream *s, enum path_direction direction)
{
    if (direction == PATH_DOWN)
        tell_end(s);
    else if (s->orphan)
        link_close(s->filter.link, LINK_FLUSH);
}

static void cut(struct path_stream *s, const struct error *why)
{
    struct error copy = *why;
    link_reset(s->filter.link);
    link_filter_closed(&s->filter, &copy);
}

static void bury_alive(struct path_stream *s)
{
    path_tcp_drop(&s->tcp[PATH_UP], &s->flow);
    s->fin_at_us[PATH_UP] = INT64_MAX;
    s->zombie = true;
}

static void gave_up(struct path_stream *s, enum path_direction direction)
{
    struct error why;
    if (direction == PATH_UP && s->orphan) {
        bury_alive(s);
    } else if (direction == PATH_UP) {
        error_set(&why, ERR_TIMEOUT, "the network brought no answer to what was sent for so long that TCP gave up");
        cut(s, &why);
    } else { // the server has; its RST gets lost like all the rest
        path_tcp_drop(&s->tcp[PATH_DOWN], &s->flow);
        s->fin_at_us[PATH_DOWN] = INT64_MAX;
        if (!s->severed) {
            link_reset(s->filter.link);
            s->severed = true;
        }
    }
}

// RST arrives: at the device, or of an orphan at the server. Or the next step of a connect.
static void other(struct path_stream *s, int64_t now_us)
{
    (void)now_us;
    if (s->connect) {
        dial(s);
        return;
    }
    s->other_us = INT64_MAX;
    if (s->orphan)
        link_close(s->filter.link, LINK_ABORT);
    else
        tell_end(s);
}

static int64_t patience_us(const struct path_stream *s)
{
    unsigned ms = 0;
    socklen_t len = sizeof ms;
    int fd = s->filter.link ? s->filter.link->io.fd : -1;
    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &len) < 0 || !ms)
        return INT64_MAX;
    return (int64_t)ms * 1000;
}

static const struct path_stream_ops link_ops = {
    .deliver = deliver,
    .end = end,
    .cut = cut,
    .gave_up = gave_up,
    .throttle = throttle,
    .other = other,
    .patience_us = patience_us,
    .frozen = frozen,
};

// --- orphans

static void orphan_data(struct link *link, const uint8_t *bytes, size_t n)
{
    (void)link, (void)bytes, (void)n; // path_up has it
}

static void orphan_open(struct link *link)
{
    (void)link;
}

static void orphan_closed(struct link *link, const struct error *why)
{
    (void)link, (void)why; // its filter frees it at the end of the turn
}

static const struct link_events orphan_events = {
    .on_open = orphan_open, .on_data = orphan_data, .on_close = orphan_closed};

static void orphan_free(struct path_orphan *o)
{
    *o->prev = o->next;
    if (o->next)
        o->next->prev = o->prev;
    o->env->n_orphans--;
    free(o);
}

static struct path_orphan *orphan_new(struct path_env *env)
{
    struct path_orphan *o = env->n_orphans < PATH_ORPHANS_MAX ? calloc(1, sizeof *o) : NULL;
    if (!o)
        return NULL;
    o->env = env;
    o->prev = &env->orphans;
    o->next = env->orphans;
    if (o->next)
        o->next->prev = &o->next;
    env->orphans = o;
    env->n_orphans++;
    return o;
}

void path_orphans_clear(struct path_env *env)
{
    while (env->orphans) {
        struct path_orphan *o = env->orphans;
        struct link_filter *f = o->link.top;
        if (f) {
            link_filter_remove(f);
            link_close(&o->link, LINK_ABORT);
            path_type.destroy(f);
        } else {
            orphan_free(o);
        }
    }
}

// The device lets go of the link.
static bool path_leave(struct link_filter *f, bool flush)
{
    struct path_stream *s = stream_of(f);
    struct path *p = path_of(s);
    int64_t now_us = now_of(s);
    if (s->orphan || !s->opened || s->severed || s->tls_failed)
        return false;
    bool half_open = path_half_open(p, now_us);
    if (path_stream_clear(s, PATH_UP) && !half_open)
        return false;
    struct path_orphan *o = orphan_new(p->env);
    if (!o)
        return false;
    struct link *link = f->link;
    link_filter_remove(f);
    link_inherit(&o->link, link, &orphan_events);
    link_filter_push(&o->link, f);
    s->orphan = o;
    path_tcp_drop(&s->tcp[PATH_DOWN], &s->flow);
    s->fin_at_us[PATH_DOWN] = s->other_us = INT64_MAX;
    if (flush && !half_open) {
        path_stream_push_end(s, PATH_UP);
        return true;
    }
    int64_t takes_us = half_open ? -1 : path_probe(&s->flow, PATH_UP, s->flow.peer.protocol, now_us);
    if (!flush || half_open)
        bury_alive(s);
    if (takes_us >= 0) {
        s->other_us = now_us + takes_us;
        path_kick(p);
    }
    return true;
}

// --- coming and going

static void path_destroy(struct link_filter *f)
{
    struct path_stream *s = stream_of(f);
    struct path_orphan *o = s->orphan;
    path_stream_destroy(s);
    free(s);
    if (o)
        orphan_free(o);
}

static const struct link_filter_type path_type = {
    .name = "path",
    .down = path_down,
    .up = path_up,
    .opened = path_opened,
    .closed = path_closed,
    .held = path_held,
    .footprint = path_footprint_of,
    .opening = path_opening,
    .leave = path_leave,
    .resumed = path_resumed,
    .destroy = path_destroy,
};

bool path_stream_retire(struct path_flow *flow)
{
    struct path_stream *s = path_stream_of(flow);
    if (!s->filter.link || s->connect || s->severed || s->orphan || s->tls_fails || s->other_us != INT64_MAX)
        return false;
    for (int d = 0; d < 2; d++)
        if (path_tcp_busy(&s->tcp[d]) || s->fin_at_us[d] != INT64_MAX)
            return false;
    link_filter_remove(&s->filter);
    path_destroy(&s->filter);
    return true;
}

int path_attach_link(struct path *p, struct link *link, const struct path_peer *peer, struct error *err)
{
    for (struct link_filter *f = link->top; f; f = f->below) {
        if (f->type != &path_type)
            continue;
        struct path_stream *old = stream_of(f);
        if (path_of(old) == p)
            return 0;
        if (path_of(old)->n_faults)
            continue;
        // It only brings what was under way when the last fault of an earlier path went: it goes on here.
        path_flow_leave(&old->flow);
        path_flow_join(p, &old->flow);
        return 0;
    }
    struct path_stream *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, ERR_NO_MEMORY, "no memory for a connection's path");
    if (path_stream_create(s, &link_ops, peer, err) < 0) {
        free(s);
        return -1;
    }
    s->filter.type = &path_type;
    s->flow.link = true;
    link_filter_push_below(link, &s->filter);
    path_flow_join(p, &s->flow);
    if (link->flags & LINK_SOCKET) {
        s->opened = true;
        measure(s);
    }
    return 0;
}
