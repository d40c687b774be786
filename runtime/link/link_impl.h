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
    LINK_HELD = 32,   // does not read: a path holds enough already
    LINK_WAS_UP = 64, // the socket ended while the link was open
    LINK_RESET = 128, // it ended by RST
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

// For a path: it has passed on all that it held of what was sent. Unless the kernel is now the one to wait for, the
// owner hears that there is room.
void link_drained(struct link *link);
// Does not read until told to go on.
void link_hold_input(struct link *link, bool hold);
// Opens the socket of a link whose lowest filter has put that off. As link_open.
int link_connect(struct link *link, const struct link_addr *to, const struct link_addr *source,
                 struct error *err) WARN_UNUSED_RESULT;
// In `closed`: the link is to live on without a socket, as if nothing had happened.
void link_severed(struct link *link);
// RST; the link lives on without a socket.
void link_reset(struct link *link);
// heir (storage of the caller's) takes over the open socket and what waits to be written; the link is left without.
void link_inherit(struct link *heir, struct link *link, const struct link_events *events);

// filter.c: the news of the socket for the lowest filter, which must exist.
void filter_stack_opened(struct link *link);
void filter_stack_closed(struct link *link, const struct error *why);
void filter_stack_up(struct link *link, const uint8_t *bytes, size_t n);
size_t filter_stack_held(const struct link *link);
void filter_stack_finish(struct link *link);
bool filter_stack_opening(struct link *link, const struct link_addr *to, const struct link_addr *source);
bool filter_stack_leave(struct link *link, bool flush);
void filter_stack_resumed(struct link *link);
// Takes all filters off, and puts them back above those that are there by then.
struct link_filter *filter_stack_lift(struct link *link);
void filter_stack_lower(struct link *link, struct link_filter *lifted);
// Unhooks all filters of a link and puts them in front of *dead, linked by `above`; filter_bury destroys them.
void filter_stack_unhook(struct link *link, struct link_filter **dead);
void filter_bury(struct link_filter **dead);
