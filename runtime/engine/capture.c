#include "engine/capture.h"

#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/loop.h"
#include "engine/record_maker.h"
#include "engine/run.h"

struct capture {
    struct adapter_capture hook;
    const struct capture_start *start;
    struct loop *loop;
    struct record_file *files[OUTPUTS_MAX];
    struct record_maker maker;
    bool ended;
    int64_t reached_us;
    struct error failure; // the first
    int exit_code;
    void (*on_end)(void *arg);
    void *on_end_arg;
};

void capture_fail(struct capture *c, int exit_code, const struct error *why)
{
    if (c->failure.code)
        return;
    c->failure = *why;
    c->exit_code = exit_code;
    if (!c->ended)
        loop_virtual_end(c->loop, loop_now_us(c->loop), c->on_end, c->on_end_arg);
}

// A reader that has gone (`| head`) ends the run, but is no error, as anywhere on this command line.
static void output_failed(struct capture *c, const struct error *why)
{
    capture_fail(c, why->code == ERR_CLOSED ? 0 : EXIT_OUTPUT, why);
}

static int add(struct capture *c, const struct device *d, const struct adapter_message *m, struct error *err)
{
    struct record r;
    if (record_make(&c->maker, d, m, loop_wall_us(c->loop), &r, err))
        return -1;
    for (unsigned i = 0; i < c->start->n; i++)
        if (record_file_add(c->files[i], &r, err))
            return -1;
    return 0;
}

static int on_publish(void *arg, void *owner, const struct adapter_message *m, struct error *err)
{
    struct capture *c = arg;
    if (c->ended || c->failure.code)
        return error_set(err, ERR_CANCELLED, "the run is over");
    if (add(c, owner, m, err) == 0)
        return 0;
    output_failed(c, err);
    err->code = ERR_CANCELLED; // the device can do nothing about it
    return -1;
}

struct capture *capture_new(const struct capture_start *start, struct loop *loop, struct error *err)
{
    struct capture *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NO_MEMORY, "no memory for the outputs");
        return NULL;
    }
    c->start = start;
    c->loop = loop;
    c->hook = (struct adapter_capture){.publish = on_publish, .arg = c};
    record_maker_create(&c->maker);
    for (unsigned i = 0; i < start->n; i++) {
        struct record_file_config config = {.fd = start->fds[i],
                                            .path = output_is_stdout(&start->outputs[i]) ? "stdout"
                                                                                         : start->outputs[i].path,
                                            .format = start->outputs[i].format,
                                            .framed = start->framed};
        if (!(c->files[i] = record_file_new(&config, err))) {
            capture_delete(c);
            return NULL;
        }
    }
    return c;
}

void capture_delete(struct capture *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->start->n; i++)
        record_file_delete(c->files[i]);
    record_maker_destroy(&c->maker);
    free(c);
}

const struct adapter_capture *capture_hook(const struct capture *c)
{
    return &c->hook;
}

void capture_begin(struct capture *c, void (*fn)(void *arg), void *arg)
{
    c->on_end = fn;
    c->on_end_arg = arg;
    loop_virtual_end(c->loop, c->start->for_us, fn, arg);
}

void capture_end(struct capture *c)
{
    struct error err;
    if (c->ended)
        return;
    c->ended = true;
    c->reached_us = loop_now_us(c->loop);
    loop_virtual_end(c->loop, 0, NULL, NULL);
    for (unsigned i = 0; i < c->start->n && !c->failure.code; i++)
        if (record_file_flush(c->files[i], loop_wall_us(c->loop), &err))
            output_failed(c, &err);
}

json_t *capture_report(const struct capture *c)
{
    json_t *outputs = json_array();
    for (unsigned i = 0; i < c->start->n; i++) {
        struct record_file_stats s;
        record_file_stats(c->files[i], &s);
        json_array_append_new(
            outputs, json_pack("[I, I, I]", (json_int_t)s.records, (json_int_t)s.skipped, (json_int_t)s.bytes));
    }
    return json_pack("{s:I, s:o, s:i, s:o}", "reached_us", (json_int_t)c->reached_us, "outputs", outputs, "code",
                     c->exit_code, "error", c->exit_code ? json_text_of(c->failure.text) : json_null());
}
