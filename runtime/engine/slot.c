// A child's life as the supervisor sees it. A child has ended when its process is gone AND everything it wrote has been
// read: a DONE that still lies in the socket is not overlooked. A child that closed its channel but lives is killed.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/jsonx.h"
#include "engine/ledger.h"
#include "engine/supervisor.h"
#include "engine/virtual.h"

#define LAST_WORDS_US 500000 // a process that is gone and a channel that does not end: a grandchild holds it
#define LINGER_US 5000000    // a closed channel and a process that does not end (leak checks take their time)

const char *slot_name(const struct slot *slot, char *dst, size_t size)
{
    if (slot->ledger)
        snprintf(dst, size, "the ledger");
    else if (slot->director)
        snprintf(dst, size, "%s", slot->state >= SLOT_LOADED ? "the test process" : "the loading process");
    else
        snprintf(dst, size, "shard %u", slot->number);
    return dst;
}

static void put_line(struct slot *slot)
{
    char name[32];
    if (slot->line_len)
        log_write(slot->run->log, LOG_WARN, NULL, "%s: %.*s", slot_name(slot, name, sizeof(name)), (int)slot->line_len,
                  slot->line);
    slot->line_len = 0;
}

// What a child writes to stdout or stderr (a crash report, a chatty plugin) becomes log lines.
static void read_output(struct slot *slot)
{
    char bytes[4096];
    ssize_t n;
    for (int i = 0; i < 16 && (n = read(slot->process.output, bytes, sizeof(bytes))) > 0; i++)
        for (ssize_t k = 0; k < n; k++) {
            if (bytes[k] == '\n' || slot->line_len == sizeof(slot->line))
                put_line(slot);
            if (bytes[k] != '\n')
                slot->line[slot->line_len++] = bytes[k];
        }
    if (n == 0)
        ev_io_stop(loop_ev(slot->run->loop), &slot->output);
}

static void on_output(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev, (void)events;
    read_output(container_of(w, struct slot, output));
}

static void on_message(void *arg, enum message_type type, const uint8_t *payload, size_t n)
{
    struct slot *slot = arg;
    struct error err;
    if (type == MSG_SNAPSHOT) {
        tally_snapshot(slot, payload, n);
        return;
    }
    if (type == MSG_SENT) {
        ledger_sent(slot, payload, n);
        return;
    }
    json_t *message = n ? json_parse((const char *)payload, n, "message", &err) : json_object();
    if (!json_is_object(message))
        slot_kill(slot, "sent a message that cannot be read: %s", message ? "not an object" : err.text);
    else
        run_message(slot->run, slot, type, message);
    json_decref(message);
}

static void on_closed(void *arg, const struct error *why)
{
    struct slot *slot = arg;
    channel_delete(slot->channel);
    slot->channel = NULL;
    slot->closed_us = loop_now_us(slot->run->loop);
    if (why->code == ERR_PROTOCOL || why->code == ERR_LIMIT)
        slot_kill(slot, "broke the protocol: %s", why->text);
    slot_reap(slot);
}

static struct heartbeat *map_heartbeat(struct error *err)
{
    void *p = mmap(NULL, sizeof(struct heartbeat), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED)
        return p;
    error_set_errno(err, "no memory for a heartbeat page");
    return NULL;
}

int slot_start(struct slot *slot, struct error *err)
{
    static const struct channel_events events = {on_message, on_closed};
    struct run *run = slot->run;
    if (!slot->heartbeat && !(slot->heartbeat = map_heartbeat(err)))
        return -1;
    memset(slot->heartbeat, 0, sizeof(*slot->heartbeat));
    slot->start = (struct child_start){
        .run = run->config, .sha256 = run->sha256, .heartbeat = slot->heartbeat, .name = "iotix-director"};
    if (slot->ledger)
        snprintf(slot->start.name, sizeof(slot->start.name), "iotix-ledger");
    else if (!slot->director)
        snprintf(slot->start.name, sizeof(slot->start.name), "iotix-shard-%u", slot->number);
    const struct capture_start *capture = slot->start.capture =
        slot_is_shard(slot) ? virtual_start(run, slot->number) : NULL;
    if (process_fork(&slot->process,
                     slot->director ? director_main
                     : slot->ledger ? ledger_main
                                    : shard_main,
                     &slot->start, capture ? capture->fds : NULL, capture ? capture->n : 0, err))
        return -1;
    signals_pid(run->signals, 0, slot->process.pid);
    slot->state = SLOT_STARTING;
    slot->started_us = loop_now_us(run->loop);
    slot->load_cpu_us = -1;
    slot->closed_us = 0;
    slot->slice = slot->strikes = 0;
    slot->killed = slot->has_status = false;
    slot->launching = true;
    slot->why[0] = 0;
    slot->cpu_us = 0;
    ev_io_init(&slot->output, on_output, slot->process.output, EV_READ);
    ev_io_start(loop_ev(run->loop), &slot->output);
    slot->channel = channel_new(run->loop, slot->process.channel, &events, slot, err);
    if (!slot->channel)
        return -1;
    slot->process.channel = -1; // the channel's now
    return 0;
}

void slot_send(struct slot *slot, enum message_type type, json_t *stolen)
{
    struct error err;
    if (!slot->channel)
        json_decref(stolen);
    else if (channel_send_json(slot->channel, type, stolen, &err) && err.code != ERR_CLOSED)
        slot_kill(slot, "could not be told what to do: %s", err.text);
}

void slot_kill(struct slot *slot, const char *fmt, ...)
{
    if (slot->killed || slot->process.pid <= 0)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(slot->why, sizeof(slot->why), fmt, args);
    va_end(args);
    slot->killed = true;
    process_kill(&slot->process, SIGKILL);
}

static void ended(struct slot *slot)
{
    read_output(slot);
    put_line(slot);
    ev_io_stop(loop_ev(slot->run->loop), &slot->output);
    channel_delete(slot->channel);
    slot->channel = NULL;
    process_end(&slot->process, 0);
    enum slot_state was = slot->state;
    char name[32], how[96];
    if (!slot->why[0])
        snprintf(slot->why, sizeof(slot->why), "%s", process_end_text(&slot->process, how, sizeof(how)));
    slot_name(slot, name, sizeof(name));
    if (was == SLOT_DONE) {
        if (slot->process.status && !slot->killed)
            log_write(slot->run->log, LOG_WARN, NULL, "%s %s after it was done", name, slot->why);
        slot->state = SLOT_NONE;
        return;
    }
    run_slot_lost(slot->run, slot);
}

void slot_reap(struct slot *slot)
{
    if (slot->state == SLOT_NONE)
        return;
    pid_t pid = slot->process.pid;
    int64_t now = loop_now_us(slot->run->loop);
    if (pid > 0) {
        if (!process_gone(&slot->process)) {
            if (slot->closed_us && now - slot->closed_us > LINGER_US)
                slot_kill(slot, "closed its channel and did not end");
            return;
        }
        signals_pid(slot->run->signals, pid, 0);
    }
    if (slot->channel && !slot->closed_us)
        slot->closed_us = now; // since when only its last words are awaited
    if (!slot->channel || now - slot->closed_us > LAST_WORDS_US)
        ended(slot);
}

void slot_free(struct slot *slot)
{
    if (!slot->run)
        return;
    if (ev_is_active(&slot->output))
        ev_io_stop(loop_ev(slot->run->loop), &slot->output);
    channel_delete(slot->channel);
    pid_t pid = slot->process.pid;
    if (slot->heartbeat) {
        process_end(&slot->process, 500000);
        signals_pid(slot->run->signals, pid > 0 ? pid : -1, 0);
        munmap(slot->heartbeat, sizeof(*slot->heartbeat));
    }
    free(slot->groups);
    buf_destroy(&slot->snapshot);
}
