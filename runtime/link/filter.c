// The stack of filters between adapter and socket.
//
// A filter may run code of the adapter (up → on_data), and the adapter may close the link there; so a closed link's
// filters lose their link at once, what they still pass on goes nowhere, and they are destroyed at the end of the turn.
#include <stdlib.h>
#include <string.h>
#include "link/link_impl.h"

static struct link_filter *lowest(const struct link *link)
{
    struct link_filter *f = link->top;
    while (f && f->below)
        f = f->below;
    return f;
}

void link_filter_push(struct link *link, struct link_filter *f)
{
    f->link = link;
    f->above = NULL;
    f->below = link->top;
    if (link->top)
        link->top->above = f;
    link->top = f;
}

void link_filter_push_below(struct link *link, struct link_filter *f)
{
    struct link_filter *above = lowest(link);
    if (!above) {
        link_filter_push(link, f);
        return;
    }
    f->link = link;
    f->above = above;
    f->below = NULL;
    above->below = f;
}

void link_filter_remove(struct link_filter *f)
{
    if (!f->link)
        return;
    if (f->above)
        f->above->below = f->below;
    else
        f->link->top = f->below;
    if (f->below)
        f->below->above = f->above;
    f->link = NULL;
    f->above = f->below = NULL;
}

int link_filter_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    if (!f->link)
        return error_set(err, ERR_CLOSED, "the link under filter %s is closed", f->type->name);
    if (f->below)
        return f->below->type->down(f->below, bytes, n, err);
    uint8_t *p = link_socket_reserve(f->link, n, err);
    if (!p)
        return -1;
    memcpy(p, bytes, n);
    link_socket_commit(f->link, n);
    return 0;
}

static void deliver(struct link *link, struct link_filter *to, const uint8_t *bytes, size_t n)
{
    if (to)
        to->type->up(to, bytes, n);
    else if (link->state == LINK_OPEN || link->state == LINK_CLOSING)
        link->events->on_data(link, bytes, n);
}

void link_filter_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    if (f->link)
        deliver(f->link, f->above, bytes, n);
}

void filter_stack_up(struct link *link, const uint8_t *bytes, size_t n)
{
    deliver(link, lowest(link), bytes, n);
}

static void tell_opened(struct link *link, struct link_filter *to)
{
    while (to && !to->type->opened)
        to = to->above;
    if (to)
        to->type->opened(to);
    else
        link_up(link);
}

void link_filter_opened(struct link_filter *f)
{
    if (f->link)
        tell_opened(f->link, f->above);
}

void filter_stack_opened(struct link *link)
{
    tell_opened(link, lowest(link));
}

static void tell_closed(struct link *link, struct link_filter *to, const struct error *why)
{
    while (to && !to->type->closed)
        to = to->above;
    if (to)
        to->type->closed(to, why);
    else
        link_ended(link, why);
}

void link_filter_closed(struct link_filter *f, const struct error *why)
{
    if (f->link)
        tell_closed(f->link, f->above, why);
}

void filter_stack_closed(struct link *link, const struct error *why)
{
    tell_closed(link, lowest(link), why);
}

size_t filter_stack_held(const struct link *link)
{
    size_t n = 0;
    for (const struct link_filter *f = link->top; f; f = f->below)
        n += f->type->held ? f->type->held(f) : 0;
    return n;
}

size_t link_filters_footprint(const struct link *link)
{
    size_t n = 0;
    for (const struct link_filter *f = link->top; f; f = f->below) {
        if (f->type->footprint)
            n += f->type->footprint(f);
        else if (f->type->held)
            n += f->type->held(f);
    }
    return n;
}

void filter_stack_finish(struct link *link)
{
    for (struct link_filter *f = link->top; f; f = f->below)
        if (f->type->finish)
            f->type->finish(f);
}

bool filter_stack_opening(struct link *link, const struct link_addr *to, const struct link_addr *source)
{
    struct link_filter *f = lowest(link);
    return f && f->type->opening && f->type->opening(f, to, source);
}

bool filter_stack_leave(struct link *link, bool flush)
{
    struct link_filter *f = lowest(link);
    return f && f->type->leave && f->type->leave(f, flush);
}

void filter_stack_resumed(struct link *link)
{
    for (struct link_filter *f = link->top; f; f = f->below)
        if (f->type->resumed)
            f->type->resumed(f);
}

struct link_filter *filter_stack_lift(struct link *link)
{
    struct link_filter *top = link->top;
    link->top = NULL;
    return top;
}

void filter_stack_lower(struct link *link, struct link_filter *lifted)
{
    struct link_filter *bottom = lifted;
    if (!lifted)
        return;
    while (bottom->below)
        bottom = bottom->below;
    bottom->below = link->top;
    if (link->top)
        link->top->above = bottom;
    link->top = lifted;
}

void filter_stack_unhook(struct link *link, struct link_filter **dead)
{
    for (struct link_filter *f = link->top, *below; f; f = below) {
        below = f->below;
        f->link = NULL;
        f->below = NULL;
        f->above = *dead;
        *dead = f;
    }
    link->top = NULL;
}

void filter_bury(struct link_filter **dead)
{
    while (*dead) {
        struct link_filter *f = *dead;
        *dead = f->above;
        f->above = NULL;
        f->type->destroy(f);
    }
}

static int pass_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    return link_filter_down(f, bytes, n, err);
}

static void pass_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    link_filter_up(f, bytes, n);
}

static void pass_opened(struct link_filter *f)
{
    link_filter_opened(f);
}

static void pass_closed(struct link_filter *f, const struct error *why)
{
    link_filter_closed(f, why);
}

static void pass_destroy(struct link_filter *f)
{
    free(f);
}

static const struct link_filter_type pass_type = {
    .name = "pass",
    .down = pass_down,
    .up = pass_up,
    .opened = pass_opened,
    .closed = pass_closed,
    .destroy = pass_destroy,
};

struct link_filter *link_filter_pass_new(void)
{
    struct link_filter *f = calloc(1, sizeof *f);
    if (f)
        f->type = &pass_type;
    return f;
}
