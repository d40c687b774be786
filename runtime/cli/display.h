// When and where the view of a run is shown: the live block on a terminal, lines elsewhere, log lines between them.
#pragma once
#include "cli/terminal.h"
#include "cli/view.h"

enum progress_mode { PROGRESS_AUTO, PROGRESS_TTY, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };

struct display_config {
    int fd;     // of progress, and of log lines unless log_fd
    int log_fd; // -1: fd
    struct style style;
    enum progress_mode mode; // not PROGRESS_AUTO
    bool header;
    int64_t interval_us;           // of lines
    const struct options *options; // for the header
};
struct display;
struct display *display_new(const struct display_config *config);
// Waits at most 2 s for a slow reader.
void display_delete(struct display *d);
// Callbacks of run_config and log_config; arg is the display.
void display_header(void *arg, const struct plan *plan, const struct preflight *p, const struct run_result *so_far);
void display_status(void *arg, const struct run_status *status);
void display_check(void *arg, const struct run_check *check);
void display_log(void *arg, enum log_level level, const char *line, size_t n);
// One line between the others: made safe, newline added.
void display_say(struct display *d, enum tint tint, const char *text);
// Removes the block; nothing is drawn any more. Before the summary.
void display_end(struct display *d);
