// Setup and teardown: functions of the scenario that the director runs, the one before GO, the other when all shards
// are gone. Both are bounded (exit codes 100 and 101). What setup returns goes to every process with GO. Teardown runs
// however the run went, a failed, aborted or interrupted one too, unless the setup did not come to its end. Not for
// other rooms.
#pragma once
#include <jansson.h>
#include <stdbool.h>

struct run;
struct acts;
struct acts *acts_new(void);
void acts_delete(struct acts *a);
void acts_setup(struct run *run);                 // all are ready; run_go when it is done
void acts_done(struct run *run, const json_t *m); // MSG_ACT_DONE
void acts_look(struct run *run);                  // 20 times a second: deadlines
void acts_stop(struct run *run);                  // the run begins to stop
bool acts_keep_director(const struct run *run);   // there is a teardown to come
bool acts_busy(const struct run *run);            // it is to come, or runs
bool acts_teardown(struct run *run);              // while it stops: begins it in time; true: it is not over
bool acts_lost(struct run *run, const char *name, const char *why); // the director is; true: all is said about that
json_t *acts_data(const struct run *run); // what setup returned, a new reference; NULL: nothing
