#include "engine/acts.h"

#include <stdlib.h>
#include <string.h>

#include "core/units.h"
#include "engine/supervisor.h"

enum act_state { ACT_NONE, ACT_SETTING_UP, ACT_SET_UP, ACT_FAILED, ACT_TO_TEAR_DOWN, ACT_TEARING_DOWN, ACT_OVER };

struct acts {
    enum act_state state;
    int64_t deadline_us;
    json_t *data;
};

struct acts *acts_new(void)
{
    return calloc(1, sizeof(struct acts));
}

void acts_delete(struct acts *a)
{
    if (a)
        json_decref(a->data);
    free(a);
}

json_t *acts_data(const struct run *run)
{
    return json_incref(run->acts->data);
}

static void begin(struct run *run, const char *act, enum act_state state, int64_t timeout_us)
{
    run->acts->state = state;
    run->acts->deadline_us = loop_now_us(run->loop) + timeout_us;
    slot_send(&run->director, MSG_ACT, json_pack("{s:s}", "act", act));
}

void acts_setup(struct run *run)
{
    run_enter(run, RUN_SETUP);
    begin(run, "setup", ACT_SETTING_UP, run->plan->setup_timeout_us);
}

static void say(struct run *run, int code, const char *act, const char *text)
{
    run_reason(run, code, "%s the %s%s%.*s", code == EXIT_LUA_ERROR ? "error in" : "stopped by", act, *text ? ": " : "",
               (int)strcspn(text, "\n"), text);
    if (code == EXIT_LUA_ERROR)
        log_write(run->log, LOG_ERROR, act, "%s", text);
}

static void let_director_go(struct run *run)
{
    run->acts->state = ACT_OVER;
    run->kill_us = loop_now_us(run->loop) + run->limits.grace_us;
    if (run->director.state < SLOT_DONE)
        slot_send(&run->director, MSG_STOP, json_pack("{s:i}", "deadline_us", 0));
}

void acts_done(struct run *run, const json_t *m)
{
    struct acts *a = run->acts;
    int code = (int)json_integer_value(json_object_get(m, "code"));
    if (a->state == ACT_SETTING_UP) {
        a->state = code ? ACT_FAILED : ACT_SET_UP;
        if (code) {
            say(run, code, "setup", message_text(m, "error"));
            run_stop(run);
            return;
        }
        a->data = json_incref(json_object_get(m, "data"));
        run_go(run);
    } else if (a->state == ACT_TEARING_DOWN) {
        if (code)
            say(run, code, "teardown", message_text(m, "error"));
        let_director_go(run);
    }
}

void acts_look(struct run *run)
{
    struct acts *a = run->acts;
    char text[40];
    if ((a->state != ACT_SETTING_UP && a->state != ACT_TEARING_DOWN) || loop_now_us(run->loop) < a->deadline_us)
        return;
    bool setup = a->state == ACT_SETTING_UP;
    duration_format(setup ? run->plan->setup_timeout_us : run->plan->teardown_timeout_us, text, sizeof(text));
    run_reason(run, setup ? EXIT_SETUP_TIMEOUT : EXIT_TEARDOWN_TIMEOUT, "the %s did not finish within %s",
               setup ? "setup" : "teardown", text);
    a->state = setup ? ACT_FAILED : ACT_OVER;
    slot_kill(&run->director, "did not finish its %s in time and was killed", setup ? "setup" : "teardown");
    if (setup)
        run_stop(run);
    else
        run->kill_us = loop_now_us(run->loop);
}

void acts_stop(struct run *run)
{
    struct acts *a = run->acts;
    bool due = run->plan && run->plan->has_teardown && run->go_us && run->director.state != SLOT_NONE &&
               run->director.state < SLOT_DONE;
    a->state = due ? ACT_TO_TEAR_DOWN : a->state == ACT_FAILED ? ACT_FAILED : ACT_OVER;
    if (due)
        slot_send(&run->director, MSG_REST, json_object());
}

bool acts_keep_director(const struct run *run)
{
    return run->acts->state == ACT_TO_TEAR_DOWN;
}

bool acts_busy(const struct run *run)
{
    return run->acts->state == ACT_TO_TEAR_DOWN || run->acts->state == ACT_TEARING_DOWN;
}

bool acts_teardown(struct run *run)
{
    struct acts *a = run->acts;
    if (a->state != ACT_TO_TEAR_DOWN)
        return a->state == ACT_TEARING_DOWN;
    for (unsigned i = 0; i < run->n_shards; i++)
        if (run->shards[i].state != SLOT_NONE)
            return false; // drains, or is killed when its time is over
    begin(run, "teardown", ACT_TEARING_DOWN, run->plan->teardown_timeout_us);
    run_enter(run, RUN_TEARDOWN);
    return true;
}

bool acts_lost(struct run *run, const char *name, const char *why)
{
    struct acts *a = run->acts;
    enum act_state was = a->state;
    bool setup = was == ACT_SETTING_UP;
    if ((was == ACT_NONE || was == ACT_SET_UP) && run->go_us && run->plan->has_teardown)
        run_reason(run, EXIT_LUA_ERROR, "%s %s: the teardown cannot run", name, why);
    if (!setup && was != ACT_TO_TEAR_DOWN && was != ACT_TEARING_DOWN)
        return was == ACT_FAILED; // it was killed for that
    a->state = setup ? ACT_FAILED : ACT_OVER;
    run_reason(run, EXIT_LUA_ERROR, "%s %s %.200s", name, setup ? "in the setup" : "before the teardown was over", why);
    if (setup)
        run_stop(run);
    return true;
}
