#include "cli/display.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/units.h"

#define FRAME_MAX 65536

struct display {
    struct display_config config;
    struct writer *out, *log; // log may be the same as out
    struct buf frame;
    struct history history;
    unsigned drawn;               // lines of the block on the screen
    unsigned widths[BLOCK_LINES]; // their columns
    struct buf block;             // the last block, for redrawing under a log line
    bool ended;
    // lines
    int64_t next_line_us;
    enum run_phase phase;
    const char *stage; // of the plan; NULL: none
    bool any_status;
    bool has_header; // what comes before it (loading, starting) has no numbers to show yet
    unsigned n_thresholds;
    enum threshold_state *states;
};

struct display *display_new(const struct display_config *config)
{
    struct display *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->config = *config;
    buf_create(&d->frame, FRAME_MAX);
    buf_create(&d->block, FRAME_MAX);
    d->out = writer_new(config->fd);
    d->log = config->log_fd >= 0 ? writer_new(config->log_fd) : d->out;
    if (!d->out || !d->log) {
        display_delete(d);
        return NULL;
    }
    return d;
}

void display_delete(struct display *d)
{
    if (!d)
        return;
    if (d->out) {
        display_end(d);
        writer_flush(d->out, 2000);
    }
    if (d->log && d->log != d->out) {
        writer_flush(d->log, 2000);
        writer_delete(d->log);
    }
    writer_delete(d->out);
    buf_destroy(&d->frame);
    buf_destroy(&d->block);
    free(d->states);
    free(d);
}

// The width may change at any time; asking costs one ioctl four times a second, a SIGWINCH handler would cost a global.
static void update_width(struct display *d)
{
    unsigned columns, rows;
    terminal_size(d->config.fd, &columns, &rows);
    if (columns)
        d->config.style.width = columns;
}

// Goes to where the block begins and clears from there. A window that became narrower has wrapped its lines.
static int erase_block(struct display *d)
{
    unsigned rows = 0, width = d->config.style.width ? d->config.style.width : 80;
    for (unsigned i = 0; i < d->drawn; i++)
        rows += d->widths[i] > width ? (d->widths[i] + width - 1) / width : 1;
    d->drawn = 0;
    return rows ? buf_printf(&d->frame, "\r\033[%uA\033[J", rows) : 0;
}

static void draw_last_block(struct display *d, unsigned lines)
{
    if (!buf_append(&d->frame, d->block.data, d->block.len))
        d->drawn = lines;
}

// Text above the block: erase, text, block again, as one write, so that nothing flickers or tears.
static void above(struct display *d, struct writer *w, const char *text, size_t n)
{
    unsigned lines = d->drawn;
    if (w != d->out || lines == 0) {
        writer_put(w, text, n);
        return;
    }
    update_width(d);
    buf_clear(&d->frame);
    if (erase_block(d) || buf_append(&d->frame, text, n)) {
        writer_put(w, text, n);
        return;
    }
    draw_last_block(d, lines);
    if (!writer_put(w, d->frame.data, d->frame.len))
        d->drawn = 0;
}

void display_say(struct display *d, enum tint tint, const char *text)
{
    struct buf b;
    struct line l;
    struct style style = d->config.style;
    style.width = 0; // a message is wrapped, not cut
    buf_create(&b, 16384);
    line_begin(&l, &b, &style);
    line_put(&l, tint, text);
    line_end(&l);
    above(d, d->out, (const char *)b.data, b.len);
    buf_destroy(&b);
}

void display_log(void *arg, enum log_level level, const char *line, size_t n)
{
    struct display *d = arg;
    (void)level;
    above(d, d->log, line, n);
}

static void json_header(struct display *d, const struct plan *plan, const struct run_result *so_far)
{
    buf_clear(&d->frame);
    int rc = buf_append_str(&d->frame, "{\"event\":\"start\",\"version\":\"" IOTIX_VERSION "\",\"scenario\":");
    rc |= buf_append_json_string(&d->frame, plan->name ? plan->name : "", plan->name ? strlen(plan->name) : 0);
    rc |= buf_append_str(&d->frame, ",\"run\":");
    rc |= buf_append_json_string(&d->frame, so_far->run_id, strlen(so_far->run_id));
    rc |= buf_printf(&d->frame, ",\"devices_total\":%llu,\"duration\":%.3f,\"seed\":%llu}\n",
                     (unsigned long long)plan_devices(plan), (double)plan->duration_us / 1e6,
                     (unsigned long long)so_far->seed);
    if (!rc)
        writer_put(d->out, d->frame.data, d->frame.len);
}

void display_header(void *arg, const struct plan *plan, const struct preflight *p, const struct run_result *so_far)
{
    struct display *d = arg;
    d->has_header = true;
    if (d->config.mode == PROGRESS_JSON && so_far)
        json_header(d, plan, so_far);
    if (!d->config.header || d->config.mode == PROGRESS_JSON)
        return;
    struct header_info info = {.plan = plan, .preflight = p, .so_far = so_far, .options = d->config.options};
    struct style style = d->config.style;
    style.width = 0; // the header scrolls away: its lines may wrap
    struct buf b;
    buf_create(&b, FRAME_MAX);
    if (!header_render(&b, &style, &info))
        above(d, d->out, (const char *)b.data, b.len);
    buf_destroy(&b);
}

// A window lower than the block shows its first lines: the cursor cannot go up past the top to erase the others.
static unsigned cut_to_window(struct display *d)
{
    unsigned columns, rows, lines = 0;
    terminal_size(d->config.fd, &columns, &rows);
    unsigned most = rows > 1 && rows <= BLOCK_LINES ? rows - 1 : BLOCK_LINES;
    uint32_t at = 0;
    while (at < d->block.len && lines < most)
        lines += d->block.data[at++] == '\n';
    d->block.len = at;
    return lines;
}

static void draw(struct display *d, const struct run_status *s)
{
    unsigned widths[BLOCK_LINES];
    history_add(&d->history, s);
    writer_pump(d->out);
    if (!writer_idle(d->out))
        return; // the terminal is behind: the next frame will do
    update_width(d);
    buf_clear(&d->frame);
    buf_clear(&d->block);
    if (erase_block(d) || block_render(&d->block, &d->config.style, s, &d->history, widths))
        return;
    draw_last_block(d, cut_to_window(d));
    memcpy(d->widths, widths, sizeof(widths));
    if (!writer_put(d->out, d->frame.data, d->frame.len))
        d->drawn = 0;
}

static bool remember_states(struct display *d, const struct run_status *s)
{
    if (d->n_thresholds == s->n_thresholds)
        return true;
    enum threshold_state *states = realloc(d->states, s->n_thresholds * sizeof(*states));
    if (!states)
        return false;
    d->states = states;
    d->n_thresholds = s->n_thresholds;
    for (unsigned i = 0; i < s->n_thresholds; i++)
        states[i] = THRESHOLD_NO_DATA; // the first data is no flip; failing at once is
    return true;
}

static void flips(struct display *d, const struct run_status *s)
{
    if (s->n_thresholds == 0 || !remember_states(d, s))
        return;
    for (unsigned i = 0; i < s->n_thresholds; i++) {
        enum threshold_state now = s->threshold_results[i].state, before = d->states[i];
        d->states[i] = now;
        if (now == before || now == THRESHOLD_NO_DATA || (before == THRESHOLD_NO_DATA && now == THRESHOLD_PASS))
            continue;
        struct style style = d->config.style;
        style.width = 0;
        buf_clear(&d->frame);
        if (!flip_render(&d->frame, &style, s, i, d->config.mode == PROGRESS_JSON))
            writer_put(d->out, d->frame.data, d->frame.len);
    }
}

static void put_line(struct display *d, const struct run_status *s)
{
    bool phase_changed = !d->any_status || s->phase != d->phase || s->stage != d->stage;
    int64_t now_us = s->virtual_time ? s->real_us : s->elapsed_us;
    if (phase_changed || now_us >= d->next_line_us) {
        buf_clear(&d->frame);
        if (!(d->config.mode == PROGRESS_JSON ? json_render(&d->frame, s) : plain_render(&d->frame, s)))
            writer_put(d->out, d->frame.data, d->frame.len);
        // On the grid of the interval, whatever moment the change of a phase fell on.
        d->next_line_us = (now_us / d->config.interval_us + 1) * d->config.interval_us;
    }
    flips(d, s);
}

void display_status(void *arg, const struct run_status *s)
{
    struct display *d = arg;
    if (d->ended)
        return;
    writer_pump(d->out);
    if (d->log != d->out)
        writer_pump(d->log);
    if (!d->has_header && s->phase < RUN_RAMP)
        return;
    if (d->config.mode == PROGRESS_TTY && s->phase != RUN_ENDED)
        draw(d, s);
    else if (d->config.mode == PROGRESS_PLAIN || d->config.mode == PROGRESS_JSON)
        put_line(d, s);
    d->phase = s->phase;
    d->stage = s->stage;
    d->any_status = true;
}

void display_check(void *arg, const struct run_check *check)
{
    struct display *d = arg;
    char text[900];
    if (check->ok || d->ended || d->config.mode == PROGRESS_NONE)
        return;
    if (d->config.mode == PROGRESS_JSON) {
        buf_clear(&d->frame);
        int rc = buf_printf(&d->frame,
                            "{\"event\":\"expectation\",\"t\":%.3f,\"ok\":false,\"name\":", (double)check->t_us / 1e6);
        rc |= buf_append_json_string(&d->frame, check->name, strlen(check->name));
        rc |= buf_append_str(&d->frame, ",\"detail\":");
        rc |= buf_append_json_string(&d->frame, check->detail, strlen(check->detail));
        rc |= buf_append_str(&d->frame, "}\n");
        if (!rc)
            writer_put(d->out, d->frame.data, d->frame.len);
        return;
    }
    snprintf(text, sizeof(text), "✗ expectation failed: %s%s%s", check->name, check->detail[0] ? ": " : "",
             check->detail);
    display_say(d, RED, text);
}

void display_end(struct display *d)
{
    if (d->ended)
        return;
    d->ended = true;
    update_width(d);
    buf_clear(&d->frame);
    if (d->drawn && !erase_block(d))
        writer_put(d->out, d->frame.data, d->frame.len);
    writer_flush(d->out, 2000);
}
