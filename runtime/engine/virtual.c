// One shard writes the output itself. Several write framed files without a name beside it: nothing is left behind,
// whatever happens, and what they take is given back while they are merged.
#include "engine/virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "engine/plan_target.h"
#include "link/url.h"
#include "sink/merge.h"
#include "sink/sink.h"

#define FIRST_FD 64            // see process_fork
#define MERGE_BYTES (8u << 20) // a step: some milliseconds

struct virtual_run {
    int64_t from_us, for_us;
    bool test_skipped;
    unsigned n;                         // outputs
    struct output outputs[OUTPUTS_MAX]; // paths point into the plan
    int out[OUTPUTS_MAX];               // -1: not open
    struct capture_start *starts;       // a shard each
    unsigned n_starts, n_done;
    bool finished, failed;
    int64_t reached_us; // of the slowest
    struct merge *merge;
    unsigned merged; // outputs that are complete
    struct record_file_stats stats[OUTPUTS_MAX];
};

// --- does the plan fit

static const char *shown(const char *text, char *dst, size_t size)
{
    struct url url;
    if (url_parse(text, "mqtt", &url, NULL))
        snprintf(dst, size, "its target");
    else
        url_display(&url, dst, size); // never with a password
    return dst;
}

static int check_targets(const struct run *run, struct error *err)
{
    static const char why[] = "--virtual writes files as fast as the CPU allows; a live broker cannot be accelerated";
    const struct plan *p = run->plan;
    const struct plan_overrides *o = &run->config->overrides;
    char url[600];
    if (strcmp(p->broker, "embedded") != 0 && o->broker)
        return error_set(err, ERR_INVALID, "%s: leave out --broker %s [%s], or run without --virtual", why,
                         shown(p->broker, url, sizeof(url)), o->broker_from ? o->broker_from : "flag");
    if (strcmp(p->broker, "embedded") != 0)
        return error_set(err, ERR_INVALID,
                         "%s: %s names %s; add --broker embedded (which is not started then), or run without --virtual",
                         why, p->file, shown(p->broker, url, sizeof(url)));
    for (unsigned i = 0; i < p->n_groups; i++) {
        const struct plan_group *g = &p->groups[i];
        if (!g->model_url && !url_embedded(g->config.url, NULL))
            return error_set(err, ERR_INVALID,
                             "%s: %s:%d: group \"%s\" speaks to %s; take it out (iotix.env can make it a choice), "
                             "leave the group out with --only, or run without --virtual",
                             why, p->file, g->line, g->config.name, shown(g->config.url, url, sizeof(url)));
    }
    return 0;
}

// Sinks that are files are written here, in order; the others are the shards' business.
static int take_outputs(struct run *run, struct error *err)
{
    struct virtual_run *v = run->virtual_run;
    const struct plan *p = run->plan;
    if (!p->n_sinks && !run->config->check_only)
        return error_set(err, ERR_INVALID,
                         "--virtual needs to know where the messages go: --sink ndjson=FILE, csv=FILE, influx=FILE or "
                         "another sink, or `sinks` of the scenario");
    for (unsigned i = 0; i < p->n_sinks; i++) {
        const json_t *options = json_object_get(p->sinks[i].parsed, "options");
        enum record_format format;
        const char *path = sink_file_path(p->sinks[i].parsed, &format);
        if (!path)
            continue;
        if (json_integer_value(json_object_get(options, "rotateSize")) ||
            json_integer_value(json_object_get(options, "rotateAge")) ||
            json_is_true(json_object_get(options, "events")))
            return error_set(err, ERR_UNSUPPORTED,
                             "sink %s: in virtual time a file is one whole, in order, and of messages: leave out "
                             "rotation and events",
                             p->sinks[i].name);
        v->outputs[v->n++] = (struct output){.format = format, .path = path};
    }
    return 0;
}

bool virtual_streams(const struct run *run)
{
    const struct virtual_run *v = run->virtual_run;
    struct stat st;
    for (unsigned i = 0; i < v->n; i++) {
        const struct output *o = &v->outputs[i];
        if (output_is_stdout(o) || (stat(o->path, &st) == 0 && !S_ISREG(st.st_mode)))
            return true;
    }
    return false;
}

int virtual_begin(struct run *run, struct error *err)
{
    const struct run_virtual *c = &run->config->virtual_time;
    struct plan *p = run->plan;
    if (check_targets(run, err))
        return -1;
    if (p->duration_us <= 0)
        return error_set(
            err, ERR_INVALID,
            "--virtual needs to know for how long: give it --for 7d, or %s a duration (its test is not run "
            "in virtual time)",
            p->file);
    struct virtual_run *v = run->virtual_run = calloc(1, sizeof(*v));
    if (!v)
        return error_set(err, ERR_NO_MEMORY, "no memory for a run");
    for (unsigned i = 0; i < OUTPUTS_MAX; i++)
        v->out[i] = -1;
    if (take_outputs(run, err))
        return -1;
    v->for_us = p->duration_us;
    v->from_us = c->has_from ? c->from_us : (loop_wall_us(run->loop) - v->for_us) / 1000000 * 1000000;
    v->test_skipped = p->has_test || p->has_setup || p->has_teardown;
    p->has_test = p->has_setup = p->has_teardown = p->directs = false;
    for (unsigned i = 0; i < p->n_thresholds; i++)
        p->thresholds[i].no_data_passes = true; // there is no latency to have data of
    run->result->virtual_time = true;
    run->result->virtual_from_us = v->from_us;
    run->result->test_skipped = v->test_skipped;
    if (v->from_us < 0)
        return error_set(err, ERR_INVALID, "the run would begin before 1970: give --from a later date");
    return 0;
}

// --- files

// Moves a descriptor out of the way of those that a child arranges.
static int high(int fd)
{
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return moved;
}

static int open_output(const struct output *o, struct error *err)
{
    const char *header = record_header(o->format);
    bool to_stdout = output_is_stdout(o);
    const char *path = to_stdout ? "stdout" : o->path;
    int fd = to_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FIRST_FD)
                       : high(open(o->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd < 0) {
        error_set_errno(err, "cannot open %s", path);
        return -1;
    }
    if (file_write_all(fd, header, strlen(header), path, err) == 0)
        return fd;
    close(fd);
    return -1;
}

// A file without a name in the directory of the output.
static int open_unnamed(const struct output *o, struct error *err)
{
    char dir[4096], path[4200];
    const char *tmp = getenv("TMPDIR");
    if (output_is_stdout(o))
        snprintf(dir, sizeof(dir), "%s", tmp && *tmp ? tmp : "/tmp");
    else if (path_dirname(o->path, dir, sizeof(dir)))
        return error_set(err, ERR_INVALID, "the path %.100s… is too long", o->path);
    int fd = high(open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd < 0) { // a file system without O_TMPFILE
        snprintf(path, sizeof(path), "%s/.iotix-shard-XXXXXX", dir);
        fd = high(mkostemp(path, O_CLOEXEC));
        if (fd >= 0)
            unlink(path);
    }
    return fd >= 0 ? fd : error_set_errno(err, "cannot make a temporary file in %s", dir);
}

static int open_shard(struct run *run, struct capture_start *s, bool framed, struct error *err)
{
    struct virtual_run *v = run->virtual_run;
    const struct output *outputs = v->outputs;
    *s = (struct capture_start){
        .from_us = v->from_us, .for_us = v->for_us, .framed = framed, .n = v->n, .outputs = outputs};
    for (unsigned i = 0; i < v->n; i++)
        s->fds[i] = -1;
    for (unsigned i = 0; i < v->n; i++) {
        s->fds[i] = framed ? open_unnamed(&outputs[i], err) : v->out[i];
        if (s->fds[i] < 0)
            return -1;
    }
    return 0;
}

int virtual_open(struct run *run, unsigned shards, struct error *err)
{
    struct virtual_run *v = run->virtual_run;
    for (unsigned i = 0; i < v->n; i++)
        if ((v->out[i] = open_output(&v->outputs[i], err)) < 0)
            return -1;
    v->starts = calloc(shards, sizeof(*v->starts));
    if (!v->starts)
        return error_set(err, ERR_NO_MEMORY, "no memory for %u shards", shards);
    v->reached_us = v->for_us;
    for (; v->n_starts < shards; v->n_starts++)
        if (open_shard(run, &v->starts[v->n_starts], shards > 1, err)) {
            v->n_starts++; // what it has open is closed with the rest
            return -1;
        }
    return 0;
}

void virtual_delete(struct virtual_run *v)
{
    if (!v)
        return;
    merge_delete(v->merge);
    for (unsigned k = 0; k < v->n_starts; k++)
        for (unsigned i = 0; i < v->n && v->starts[k].framed; i++)
            if (v->starts[k].fds[i] >= 0)
                close(v->starts[k].fds[i]);
    for (unsigned i = 0; i < v->n; i++)
        if (v->out[i] >= 0)
            close(v->out[i]);
    free(v->starts);
    free(v);
}

// --- running

const struct capture_start *virtual_start(const struct run *run, unsigned shard)
{
    const struct virtual_run *v = run->virtual_run;
    return v && shard < v->n_starts ? &v->starts[shard] : NULL;
}

int64_t virtual_elapsed(const struct run *run)
{
    int64_t slowest = run->virtual_run->reached_us;
    for (unsigned i = 0; i < run->n_shards; i++)
        if (run->shards[i].elapsed_us < slowest)
            slowest = run->shards[i].elapsed_us;
    return slowest;
}

static void fail(struct run *run, int code, const char *text)
{
    struct virtual_run *v = run->virtual_run;
    v->failed = true;
    run_reason(run, code, "%.240s", text);
    run_stop(run);
}

void virtual_done(struct run *run, struct slot *slot, const json_t *captured)
{
    struct virtual_run *v = run->virtual_run;
    const char *error = json_string_value(json_object_get(captured, "error"));
    const json_t *outputs = json_object_get(captured, "outputs");
    json_int_t reached = json_integer_value(json_object_get(captured, "reached_us"));
    v->n_done++;
    slot->elapsed_us = reached;
    if (reached < v->reached_us)
        v->reached_us = reached;
    for (unsigned i = 0; i < v->n; i++) {
        const json_t *figures = json_array_get(outputs, i);
        v->stats[i].records += (uint64_t)json_integer_value(json_array_get(figures, 0));
        v->stats[i].skipped += (uint64_t)json_integer_value(json_array_get(figures, 1));
        v->stats[i].bytes += (uint64_t)json_integer_value(json_array_get(figures, 2));
    }
    if (error)
        fail(run, (int)json_integer_value(json_object_get(captured, "code")), error);
    else if (v->n_done == v->n_starts)
        run_stop(run);
}

// --- the merge

static int begin_merge(struct run *run, struct error *err)
{
    struct virtual_run *v = run->virtual_run;
    int *from = calloc(v->n_starts, sizeof(*from));
    if (!from)
        return error_set(err, ERR_NO_MEMORY, "no memory to merge");
    for (unsigned k = 0; k < v->n_starts; k++)
        from[k] = v->starts[k].fds[v->merged];
    const struct output *o = &v->outputs[v->merged];
    struct merge_config config = {.from = from,
                                  .n = v->n_starts,
                                  .to = v->out[v->merged],
                                  .path = output_is_stdout(o) ? "stdout" : o->path,
                                  .until_us = v->from_us + v->reached_us};
    v->merge = merge_new(&config, err);
    free(from); // merge_new has taken the descriptors down
    return v->merge ? 0 : -1;
}

static int merge_some(struct run *run, struct error *err)
{
    struct virtual_run *v = run->virtual_run;
    if (!v->merge && begin_merge(run, err))
        return -1;
    int rc = merge_step(v->merge, MERGE_BYTES, err);
    if (rc)
        return rc;
    uint64_t skipped = v->stats[v->merged].skipped;
    merge_stats(v->merge, &v->stats[v->merged]);
    v->stats[v->merged].skipped = skipped;
    merge_delete(v->merge);
    v->merge = NULL;
    return ++v->merged < v->n;
}

// A device of a shard that was lost would be missing from the middle of the file: then there is nothing to merge.
static bool may_merge(const struct virtual_run *v)
{
    return v && v->n_starts > 1 && v->n_done == v->n_starts && !v->failed;
}

bool virtual_finish(struct run *run)
{
    struct virtual_run *v = run->virtual_run;
    struct error err;
    if (!v || v->finished)
        return false;
    int rc = may_merge(v) && v->merged < v->n ? merge_some(run, &err) : 0;
    v->finished = rc <= 0;
    if (rc < 0)
        fail(run, EXIT_OUTPUT, err.text);
    return !v->finished;
}

// --- the result

static void describe(struct run_output *to, const struct output *o, const struct virtual_run *v, unsigned i)
{
    bool complete = v->finished && !v->failed && v->n_done == v->n_starts;
    *to = (struct run_output){.format = record_format_name(o->format),
                              .path = strdup(o->path),
                              .records = v->stats[i].records,
                              .skipped = v->stats[i].skipped,
                              .bytes = v->stats[i].bytes,
                              .complete = complete && v->reached_us == v->for_us};
}

// Partial files are left, and said.
static void say_partial(struct run *run, const struct run_output *o)
{
    const struct virtual_run *v = run->virtual_run;
    if (o->complete || !v->n || v->out[0] < 0 || !strcmp(o->path, "-"))
        return;
    if (v->n_starts > 1 && v->failed && !v->merged)
        log_write(run->log, LOG_WARN, NULL, "%s is incomplete: what the shards had written was not put together",
                  o->path);
    else
        log_write(run->log, LOG_WARN, NULL, "%s is left with what was written before the end: %.3f s of %.3f s",
                  o->path, (double)run->result->virtual_us * 1e-6, (double)v->for_us * 1e-6);
}

void virtual_result(struct run *run)
{
    struct virtual_run *v = run->virtual_run;
    struct run_result *r = run->result;
    if (!v)
        return;
    r->virtual_us = run->go_us ? virtual_elapsed(run) : 0;
    r->measured_us = r->virtual_us;
    for (unsigned i = 0; i < v->n; i++) {
        describe(&r->outputs[i], &v->outputs[i], v, i);
        if (!r->outputs[i].path)
            return;
        r->n_outputs++;
        say_partial(run, &r->outputs[i]);
    }
}
