// Framing over a socket. Input is gathered in one buffer and frames are handed up in place; output goes to the kernel
// at once when nothing waits, so that a heartbeat costs one write. What ends a channel is always told from the read
// side, after every frame that the peer wrote before it went: a DONE is never lost behind an EPIPE.
#include "engine/message.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/jsonx.h"

#define HEADER 5u // u32 length, u8 type
#define OUT_MAX (128u << 20)
#define READ_STEP (64u << 10)
#define READ_TURN (1u << 20) // bytes a turn: one talkative peer does not starve the others
#define KEEP_MAX (1u << 20)  // an idle buffer larger than this is given back

struct channel {
    ev_io reader, writer;
    struct loop *loop;
    const struct channel_events *events;
    void *arg;
    int fd;
    bool deaf;    // the peer takes nothing any more: output is dropped, the reader will tell
    bool closed;  // on_closed was called
    bool inside;  // in a callback: delete waits
    bool deleted; // delete was asked for in a callback
    bool failed;  // `error` is to be told
    struct error error;
    struct buf in, out;
    struct buf json; // scratch of channel_send_json
};

static void free_channel(struct channel *ch)
{
    ev_io_stop(loop_ev(ch->loop), &ch->reader);
    ev_io_stop(loop_ev(ch->loop), &ch->writer);
    close(ch->fd);
    buf_destroy(&ch->in);
    buf_destroy(&ch->out);
    buf_destroy(&ch->json);
    free(ch);
}

void channel_delete(struct channel *ch)
{
    if (!ch)
        return;
    if (ch->inside)
        ch->deleted = true;
    else
        free_channel(ch);
}

static void tell_closed(struct channel *ch)
{
    struct ev_loop *ev = loop_ev(ch->loop);
    ev_io_stop(ev, &ch->reader);
    ev_io_stop(ev, &ch->writer);
    if (ch->closed)
        return;
    ch->closed = true;
    ch->deaf = true;
    ch->events->on_closed(ch->arg, &ch->error);
}

static uint32_t frame_length(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// Hands up every whole frame. Returns -1 when the bytes are no frames or the owner has deleted the channel.
static int hand_up(struct channel *ch)
{
    uint32_t at = 0;
    while (ch->in.len - at >= HEADER) {
        uint32_t length = frame_length(ch->in.data + at);
        if (length == 0 || length > MESSAGE_MAX + 1)
            return error_set(&ch->error, ERR_PROTOCOL, "a frame of %u bytes: expected 1 to %u", length,
                             MESSAGE_MAX + 1);
        if (ch->in.len - at - 4 < length)
            break;
        const uint8_t *frame = ch->in.data + at + 4;
        ch->events->on_message(ch->arg, (enum message_type)frame[0], frame + 1, length - 1);
        if (ch->deleted || ch->closed)
            return -1;
        at += 4 + length;
    }
    buf_consume(&ch->in, at);
    if (ch->in.len == 0 && ch->in.size > KEEP_MAX)
        buf_destroy(&ch->in);
    return 0;
}

static int no_more(struct channel *ch, ssize_t n)
{
    if (n < 0)
        return error_set_errno(&ch->error, "reading from the peer");
    if (ch->in.len)
        return error_set(&ch->error, ERR_PROTOCOL, "the peer closed in the middle of a frame");
    return error_set(&ch->error, ERR_CLOSED, "the peer closed the channel");
}

// -1: the channel has ended, ch->error says why (or it is deleted).
static int read_some(struct channel *ch)
{
    uint32_t total = 0;
    while (total < READ_TURN) {
        uint8_t *room = buf_reserve(&ch->in, READ_STEP);
        if (!room)
            return error_set(&ch->error, ERR_NO_MEMORY, "no memory for a message");
        ssize_t n = read(ch->fd, room, READ_STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n <= 0)
            return no_more(ch, n);
        ch->in.len += (uint32_t)n;
        total += (uint32_t)n;
        if (hand_up(ch))
            return -1;
        if ((size_t)n < READ_STEP)
            return 0;
    }
    return 0;
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev, (void)events;
    struct channel *ch = container_of(w, struct channel, reader);
    ch->inside = true;
    if ((ch->failed || read_some(ch)) && !ch->deleted)
        tell_closed(ch);
    ch->inside = false;
    if (ch->deleted)
        free_channel(ch);
}

// Gives the kernel what it takes. -1: the peer takes nothing any more.
static int flush(struct channel *ch)
{
    uint32_t done = 0;
    int rc = 0;
    while (done < ch->out.len) {
        ssize_t n = send(ch->fd, ch->out.data + done, ch->out.len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
            break;
        }
        done += (uint32_t)n;
    }
    if (rc) {
        ch->deaf = true;
        done = ch->out.len;
    }
    buf_consume(&ch->out, done);
    if (ch->out.len == 0 && ch->out.size > KEEP_MAX)
        buf_destroy(&ch->out);
    return rc;
}

static void on_writable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)events;
    struct channel *ch = container_of(w, struct channel, writer);
    flush(ch);
    if (ch->out.len == 0)
        ev_io_stop(ev, w);
}

struct channel *channel_new(struct loop *loop, int fd, const struct channel_events *events, void *arg,
                            struct error *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
        error_set_errno(err, "cannot make a channel of descriptor %d", fd);
        return NULL;
    }
    struct channel *ch = calloc(1, sizeof(*ch));
    if (!ch) {
        error_set(err, ERR_NO_MEMORY, "no memory for a channel");
        return NULL;
    }
    *ch = (struct channel){.loop = loop, .events = events, .arg = arg, .fd = fd};
    buf_create(&ch->in, MESSAGE_MAX + HEADER + READ_STEP);
    buf_create(&ch->out, OUT_MAX);
    buf_create(&ch->json, MESSAGE_MAX);
    ev_io_init(&ch->reader, on_readable, fd, EV_READ);
    ev_io_init(&ch->writer, on_writable, fd, EV_WRITE);
    ev_io_start(loop_ev(loop), &ch->reader);
    return ch;
}

size_t channel_waiting(const struct channel *ch)
{
    return ch->out.len;
}

int channel_send(struct channel *ch, enum message_type type, const void *payload, size_t n, struct error *err)
{
    if (ch->deaf || ch->closed || ch->deleted)
        return error_set(err, ERR_CLOSED, "the peer has closed the channel");
    if (n > MESSAGE_MAX)
        return error_set(err, ERR_LIMIT, "a message of %zu bytes: at most %u", n, MESSAGE_MAX);
    uint32_t length = (uint32_t)n + 1;
    uint8_t *p = buf_reserve(&ch->out, length + 4);
    if (!p) {
        if (!ch->failed) {
            ch->failed = true;
            error_set(&ch->error, ERR_LIMIT, "the peer does not read: more than %u MB wait for it", OUT_MAX >> 20);
            ev_feed_event(loop_ev(ch->loop), &ch->reader, EV_READ); // told from the loop, never inside a send
        }
        return error_set(err, ERR_LIMIT, "the peer does not read: more than %u MB wait for it", OUT_MAX >> 20);
    }
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(length >> (8 * i));
    p[4] = (uint8_t)type;
    if (n)
        memcpy(p + HEADER, payload, n);
    bool waits = ch->out.len > 0;
    ch->out.len += length + 4;
    if (!waits && flush(ch))
        return error_set(err, ERR_CLOSED, "the peer has closed the channel");
    if (ch->out.len)
        ev_io_start(loop_ev(ch->loop), &ch->writer);
    return 0;
}

int channel_send_json(struct channel *ch, enum message_type type, json_t *stolen, struct error *err)
{
    if (!stolen)
        return error_set(err, ERR_NO_MEMORY, "no memory for a message");
    buf_clear(&ch->json);
    int rc = json_write(stolen, &ch->json, err);
    json_decref(stolen);
    if (rc == 0)
        rc = channel_send(ch, type, ch->json.data, ch->json.len, err);
    if (ch->json.size > KEEP_MAX)
        buf_destroy(&ch->json);
    return rc;
}

int channel_drain(struct channel *ch, int64_t max_wait_us)
{
    int64_t until = loop_fresh_us(ch->loop) + max_wait_us;
    while (ch->out.len && !ch->deaf) {
        if (flush(ch) || ch->out.len == 0)
            break;
        int64_t left = until - loop_fresh_us(ch->loop);
        if (left <= 0)
            break;
        struct pollfd p = {.fd = ch->fd, .events = POLLOUT};
        poll(&p, 1, (int)(left / 1000) + 1);
    }
    if (ch->out.len == 0)
        ev_io_stop(loop_ev(ch->loop), &ch->writer);
    return ch->out.len || ch->deaf ? -1 : 0;
}
