// What link.c and filter.c of this room share. Nobody else includes it.
#pragma once
#include "link/link.h"

// struct link.flags
enum {
    LINK_SOCKET = 1,  // the socket is established
    LINK_DIRTY = 2,   // in the env's list of links with output
    LINK_BLOCKED = 4, // the kernel took only a part: waiting for EV_WRITE
    LINK_FAILED = 8,  // a write or a filter failed; on_close comes from the loop
    LINK_PAUSED = 16, // neither reads nor writes
};

// The bottom of the stack: room in, and end of, the socket's output.
uint8_t *link_socket_reserve(struct link *link, size_t n, struct error *err);
void link_socket_commit(struct link *link, size_t n);
// Closes the socket; the news goes up the stack.
void link_end(struct link *link, const struct error *why);
// The news has reached the top: filters go, on_close is called.
void link_ended(struct link *link, const struct error *why);
// All layers are up: on_open is called.
void link_up(struct link *link);
// Marks the link as failed without a callback; on_close comes from the loop.
void link_fail_later(struct link *link, int sys_errno);

// filter.c: the news of the socket for the lowest filter, which must exist.
void filter_stack_opened(struct link *link);
void filter_stack_closed(struct link *link, const struct error *why);
void filter_stack_up(struct link *link, const uint8_t *bytes, size_t n);
size_t filter_stack_held(const struct link *link);
void filter_stack_finish(struct link *link);
// Takes all filters off, and puts them back above those that are there by then.
struct link_filter *filter_stack_lift(struct link *link);
void filter_stack_lower(struct link *link, struct link_filter *lifted);
// Unhooks all filters of a link and puts them in front of *dead, linked by `above`; filter_bury destroys them.
void filter_stack_unhook(struct link *link, struct link_filter **dead);
void filter_bury(struct link_filter **dead);
