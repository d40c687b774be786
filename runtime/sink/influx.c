// Where a batch is: open (packer) → waiting in memory (first…) or on disk (spill) → under way (a post) → gone. Memory
// comes before disk: while there is something unread on disk, new batches go there too, so that the oldest are written
// first.
//
// A server that fails is left alone for 0.5 s, doubled up to 60 s, of which a random part is waited (full jitter), or
// for as long as it says; then one request, not all of them, finds out whether it is back.
#include "sink/influx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/jsonx.h"
#include "core/log.h"
#include "sink/types.h"

#define BACKOFF_US 500000
#define BACKOFF_MAX_US 60000000
#define BACKOFF_DRAIN_US 500000 // at the end of a run there is no time for more
#define SAY_AGAIN_US 60000000   // the same trouble in the log
#define LINE_BYTES_MAX (9u << 20)
#define DEAD_MAX (64u << 20)

static void pump(struct influx *s);

static struct influx *of(struct sink *s)
{
    return (struct influx *)(void *)s;
}

static const struct influx *look(const struct sink *s)
{
    return (const struct influx *)(const void *)s;
}

// Real time, whatever the loop's clock is.
static int64_t now_us(void)
{
    struct clock real;
    clock_create_real(&real);
    return clock_wall_us(&real);
}

// --- trouble ------------------------------------------------------------------------------------------------------

__attribute__((format(printf, 2, 3))) static void trouble(struct influx *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->trouble, sizeof(s->trouble), fmt, args);
    va_end(args);
    bool again = strcmp(s->trouble, s->said) != 0 || now_us() - s->said_us > SAY_AGAIN_US;
    if (!again)
        return;
    s->said_us = now_us();
    memcpy(s->said, s->trouble, sizeof(s->said));
    log_write(s->log, LOG_WARN, NULL, "sink %s: %s", s->name, s->trouble);
}

static void on_pause_over(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    struct influx *s = container_of(w, struct influx, pause);
    s->paused = false;
    pump(s);
}

static void back_off(struct influx *s, int64_t wait_us)
{
    struct ev_loop *ev = loop_ev(s->loop);
    int64_t most = s->failures < 8 ? (int64_t)BACKOFF_US << s->failures : BACKOFF_MAX_US;
    most = most > BACKOFF_MAX_US ? BACKOFF_MAX_US : most;
    if (s->draining && most > BACKOFF_DRAIN_US)
        most = BACKOFF_DRAIN_US;
    int64_t us = (int64_t)(rng_unit(&s->rng) * (double)most);
    if (wait_us > us)
        us = wait_us;
    s->failures++;
    s->paused = true;
    ev_timer_stop(ev, &s->pause);
    ev_timer_set(&s->pause, (double)us / 1e6, 0);
    ev_timer_start(ev, &s->pause);
}

// --- refused lines ------------------------------------------------------------------------------------------------

static void bury(struct influx *s, const char *why, const uint8_t *lines, size_t n)
{
    if (!s->o.spill || s->dead_bytes > DEAD_MAX)
        return;
    if (!s->dead) {
        (void)!mkdir(s->o.spill, 0700);
        s->dead = fopen(s->dead_path, "ae");
        if (!s->dead) {
            trouble(s, "refused lines cannot be kept: %s: %s", s->dead_path, strerror(errno));
            s->dead_bytes = DEAD_MAX + 1;
            return;
        }
    }
    fprintf(s->dead, "# %s\n", why);
    if (n)
        fwrite(lines, 1, n, s->dead);
    if (n && lines[n - 1] != '\n')
        fputc('\n', s->dead);
    fflush(s->dead);
    s->dead_bytes += n;
}

// --- the ledger of a batch ----------------------------------------------------------------------------------------

// From disk to memory, in the books: whatever becomes of it.
static void lift(struct influx *s, struct influx_batch *b)
{
    if (!b->on_disk)
        return;
    spill_done(s->spill, b->at);
    ledger_unspill(&s->ledger, b->lines);
    b->on_disk = false;
}

static void say_memory(struct influx *s)
{
    gauge_set(s->ledger.memory_bytes, (double)(s->memory + influx_packed_memory(s->packer)));
}

// No longer ours.
static void let_go(struct influx *s, struct influx_batch *b)
{
    s->memory -= influx_batch_memory(b);
    influx_batch_delete(b);
    say_memory(s);
}

static void delivered(struct influx *s, struct influx_batch *b, uint32_t refused)
{
    lift(s, b);
    ledger_drop(&s->ledger, "refused", refused);
    ledger_deliver(&s->ledger, b->lines - refused);
    let_go(s, b);
}

static void dropped(struct influx *s, struct influx_batch *b, const char *reason)
{
    lift(s, b);
    ledger_drop(&s->ledger, reason, b->lines);
    let_go(s, b);
}

// --- waiting ------------------------------------------------------------------------------------------------------

static void wait_in_front(struct influx *s, struct influx_batch *b)
{
    b->next = s->first;
    s->first = b;
    if (!b->next)
        s->last = &b->next;
}

static void wait_behind(struct influx *s, struct influx_batch *b)
{
    b->next = NULL;
    *s->last = b;
    s->last = &b->next;
}

static bool put_on_disk(struct influx *s, const struct influx_batch *b)
{
    struct error err;
    if (!s->spill || influx_batch_store(b, &s->entry) ||
        spill_append(s->spill, s->entry.data, s->entry.len, b->lines, &err)) {
        if (s->spill && spill_disk_full(s->spill))
            trouble(s, "its disk queue: %s", err.text);
        return false;
    }
    ledger_spill(&s->ledger, b->lines);
    return true;
}

static bool memory_scarce(const struct influx *s)
{
    return s->memory > s->o.memory / 2;
}

static void seal(struct influx *s)
{
    uint32_t lines = influx_packed_lines(s->packer);
    struct influx_batch *b = influx_pack_end(s->packer);
    ev_timer_stop(loop_ev(s->loop), &s->flush);
    if (!b) {
        ledger_drop(&s->ledger, "no_memory", lines);
        return;
    }
    s->memory += influx_batch_memory(b);
    bool waits = s->spill && (memory_scarce(s) || spill_unread(s->spill));
    if (waits && put_on_disk(s, b))
        let_go(s, b);
    else
        wait_behind(s, b);
    say_memory(s);
}

static struct influx_batch *take(struct influx *s)
{
    struct influx_batch *b = s->first;
    struct spill_at at;
    uint32_t count;
    if (b) {
        s->first = b->next;
        if (!s->first)
            s->last = &s->first;
        return b;
    }
    if (!s->spill || !spill_read(s->spill, &s->entry, &count, &at)) {
        uint64_t lost = s->spill ? spill_take_damaged(s->spill) : 0;
        if (lost) { // on disk until now, in the books
            ledger_unspill(&s->ledger, lost);
            ledger_drop(&s->ledger, "damaged", lost);
            trouble(s, "%llu records of its disk queue could not be read", (unsigned long long)lost);
        }
        return NULL;
    }
    b = influx_batch_load(s->entry.data, s->entry.len, count);
    if (!b) {
        spill_done(s->spill, at);
        ledger_unspill(&s->ledger, count);
        ledger_drop(&s->ledger, "damaged", count);
        return NULL;
    }
    b->on_disk = true;
    b->at = at;
    s->memory += influx_batch_memory(b);
    return b;
}

// --- sending ------------------------------------------------------------------------------------------------------

static unsigned under_way(const struct influx *s)
{
    unsigned n = s->errand.busy;
    for (unsigned i = 0; i < s->o.connections; i++)
        n += s->posts[i].busy;
    return n;
}

static bool anything(const struct influx *s)
{
    return s->first || (s->spill && spill_unread(s->spill));
}

static void run_errand(struct influx *s, enum influx_errand errand)
{
    s->doing = errand;
    if (influx_post_errand(&s->errand, errand))
        back_off(s, 0);
}

static void send_batches(struct influx *s)
{
    for (unsigned i = 0; i < s->o.connections && anything(s); i++) {
        struct influx_post *p = &s->posts[i];
        if (p->busy)
            continue;
        if (s->failures && under_way(s))
            return; // one finds out whether it is back
        struct influx_batch *b = take(s);
        if (!b)
            return;
        if (influx_post_write(p, b)) {
            p->batch = NULL;
            wait_in_front(s, b);
            back_off(s, 0);
            return;
        }
    }
}

static void pump(struct influx *s)
{
    if (s->paused)
        return;
    if (s->state == INFLUX_READY)
        send_batches(s);
    else if (!under_way(s))
        run_errand(s, s->state == INFLUX_ASKING ? ERRAND_HEALTH : s->o.api == 1 ? ERRAND_DATABASE : ERRAND_ORG);
}

// Two batches in place of one, in front of all others. false: it is a single line.
static bool halve(struct influx *s, struct influx_batch *b)
{
    struct buf text;
    struct influx_batch *halves[2] = {NULL, NULL};
    if (b->lines < 2)
        return false;
    buf_create(&text, 2 * INFLUX_BODY_MAX);
    struct influx_packer *p = influx_packer_new(s->o.gzip, NULL);
    bool good = p && influx_unpack(b, &text) == 0;
    uint32_t at = 0, half = b->lines / 2;
    for (int k = 0; k < 2 && good; k++) {
        uint32_t from = at, n = k ? b->lines - half : half;
        for (uint32_t i = 0; i < n && at < text.len; i++) {
            const uint8_t *stop = memchr(text.data + at, '\n', text.len - at);
            at = stop ? (uint32_t)(stop - text.data) + 1 : text.len;
        }
        good = influx_pack(p, text.data + from, at - from, n) == 0 && (halves[k] = influx_pack_end(p));
    }
    influx_packer_delete(p);
    buf_destroy(&text);
    if (!good) {
        influx_batch_delete(halves[0]);
        dropped(s, b, "no_memory");
        return true;
    }
    lift(s, b);
    let_go(s, b);
    for (int k = 1; k >= 0; k--) {
        s->memory += influx_batch_memory(halves[k]);
        wait_in_front(s, halves[k]);
    }
    return true;
}

static void refuse_line(struct influx *s, struct influx_batch *b, const char *reason, const char *why)
{
    struct buf text;
    buf_create(&text, INFLUX_BODY_MAX);
    if (influx_unpack(b, &text) == 0)
        bury(s, why, text.data, text.len);
    buf_destroy(&text);
    trouble(s, "a record was refused: %s", why);
    dropped(s, b, reason);
}

static void bury_partial(struct influx *s, struct influx_batch *b, const struct influx_answer *a)
{
    struct buf text;
    buf_create(&text, INFLUX_BODY_MAX);
    bool all = a->refused == b->lines && influx_unpack(b, &text) == 0;
    bury(s, a->text, text.data, all ? text.len : 0); // otherwise nobody says which ones
    buf_destroy(&text);
    trouble(s, "%u of %u records of a batch were refused: %s", a->refused, b->lines, a->text);
}

static void well(struct influx *s)
{
    s->failures = 0;
}

static void answered(struct influx *s, struct influx_batch *b, const struct influx_answer *a)
{
    switch (a->verdict) {
    case INFLUX_STORED:
        well(s);
        delivered(s, b, 0);
        return;
    case INFLUX_PARTIAL:
        well(s);
        bury_partial(s, b, a);
        delivered(s, b, a->refused);
        return;
    case INFLUX_BAD:
        well(s);
        if (!halve(s, b))
            refuse_line(s, b, "refused", a->text);
        return;
    case INFLUX_LARGE:
        well(s);
        if (b->lines > 1 && b->lines / 2 < s->max_lines)
            s->max_lines = b->lines / 2;
        if (!halve(s, b))
            refuse_line(s, b, "too_large", a->text);
        return;
    case INFLUX_DENIED:
        trouble(s, "not allowed to write: %s; check %s", a->text,
                s->o.api == 1 ? "username and password" : "the token");
        break;
    case INFLUX_MISSING:
        trouble(s, "nowhere to write to: %s", a->text);
        if (s->o.create)
            s->state = INFLUX_MAKING;
        break;
    case INFLUX_LATER:
        trouble(s, "%s; trying again", a->text);
        break;
    }
    wait_in_front(s, b);
    back_off(s, a->wait_us);
}

// --- errands ------------------------------------------------------------------------------------------------------

static void become(struct influx *s, bool up)
{
    s->state = up && s->o.create ? INFLUX_MAKING : up ? INFLUX_READY : INFLUX_ASKING;
}

static void asked(struct influx *s, unsigned status)
{
    // Versions before 1.8 have no /health; a server that is up but not well says so with a 503.
    if (status == 503)
        back_off(s, 0);
    else if (s->doing == ERRAND_HEALTH && (status < 200 || status > 299))
        run_errand(s, ERRAND_PING);
    else if (status == 204 || (status >= 200 && status < 300) || status == 401 || status == 403)
        become(s, true); // who may not ask may yet be allowed to write
    else {
        trouble(s, "%s is no InfluxDB: /ping answers HTTP %u", s->o.url, status);
        back_off(s, 0);
    }
}

static void made_database(struct influx *s, unsigned status, const json_t *reply, const char *text)
{
    const char *why = json_string_value(json_object_get(json_array_get(json_object_get(reply, "results"), 0), "error"));
    if (status >= 500) {
        trouble(s, "the database %s cannot be made: %s", s->o.database, text);
        back_off(s, 0);
        return;
    }
    if (status != 200 || why) // it may be there, made by others
        trouble(s, "the database %s was not made: %s", s->o.database, why ? why : text);
    s->state = INFLUX_READY;
}

static void found_org(struct influx *s, unsigned status, const json_t *reply)
{
    const char *id = json_string_value(json_object_get(json_array_get(json_object_get(reply, "orgs"), 0), "id"));
    if (status >= 500 || status == 429) {
        back_off(s, 0);
    } else if (status == 200 && id && s->o.org) {
        snprintf(s->org_id, sizeof(s->org_id), "%s", id);
        run_errand(s, ERRAND_BUCKET);
    } else { // version 3 has none, and makes databases by itself; a token may be for writing alone
        s->state = INFLUX_READY;
    }
}

static void errand_ended(struct influx *s, unsigned status, const char *text)
{
    const struct buf *body = &s->errand.reply;
    json_t *reply = body->len ? json_parse((const char *)body->data, body->len, "answer", NULL) : NULL;
    if (s->doing == ERRAND_HEALTH || s->doing == ERRAND_PING)
        asked(s, status);
    else if (s->doing == ERRAND_DATABASE)
        made_database(s, status, reply, text);
    else if (s->doing == ERRAND_ORG)
        found_org(s, status, reply);
    else if (status >= 500)
        back_off(s, 0);
    else
        s->state = INFLUX_READY; // made, there already (422), or not ours to make: the first write will tell
    json_decref(reply);
}

void influx_ended(struct influx *s, struct influx_post *p, CURLcode rc)
{
    long status = 0;
    struct influx_answer a;
    struct influx_batch *b = p->batch;
    influx_post_cancel(p);
    p->batch = NULL;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
    if (rc != CURLE_OK) {
        trouble(s, "%s: %s", s->o.url, curl_easy_strerror(rc));
        if (b)
            wait_in_front(s, b);
        back_off(s, 0);
    } else {
        influx_judge((unsigned)status, p->retry_after, p->reply.data, p->reply.len, b ? b->lines : 0,
                     now_us() / 1000000, &a);
        if (b)
            answered(s, b, &a);
        else
            errand_ended(s, (unsigned)status, a.text);
    }
    pump(s);
}

static void on_done(void *arg, CURL *easy, CURLcode rc)
{
    char *post = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &post);
    influx_ended(arg, (struct influx_post *)(void *)post, rc);
}

// --- what comes ---------------------------------------------------------------------------------------------------

static bool full(const struct influx *s)
{
    return s->memory + influx_packed_memory(s->packer) >= s->o.memory;
}

static void on_flush(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    struct influx *s = container_of(w, struct influx, flush);
    if (influx_packed_lines(s->packer))
        seal(s);
    pump(s);
}

// The line that was made.
static void keep_line(struct influx *s, uint32_t n)
{
    ledger_accept(&s->ledger, n);
    if (full(s)) {
        ledger_drop(&s->ledger, s->spill && spill_disk_full(s->spill) ? "disk_full" : "full", n);
        return;
    }
    bool first = !influx_packed_lines(s->packer);
    if (influx_pack(s->packer, s->line.data, s->line.len, n)) {
        ledger_drop(&s->ledger, "no_memory", n);
        return;
    }
    if (influx_packed_lines(s->packer) >= s->max_lines || influx_packed_bytes(s->packer) >= INFLUX_LINES_BYTES) {
        seal(s);
        pump(s);
    } else if (first) {
        ev_timer_set(&s->flush, (double)s->o.flush_us / 1e6, 0);
        ev_timer_start(loop_ev(s->loop), &s->flush);
    }
}

static void made(struct influx *s, int rc, uint32_t n)
{
    if (rc > 0) {
        keep_line(s, n);
    } else if (rc == 0) {
        counter_add(s->ledger.skipped, 1);
    } else {
        ledger_accept(&s->ledger, 1);
        ledger_drop(&s->ledger, "too_large", 1);
    }
}

static void telemetry(struct sink *sink, const struct record *r)
{
    struct influx *s = of(sink);
    uint32_t n;
    buf_clear(&s->line);
    int rc = influx_write_telemetry(&s->lines, r, &s->line, &n);
    made(s, rc, n);
}

static void event(struct sink *sink, const struct sink_event *e)
{
    struct influx *s = of(sink);
    if (!s->o.events)
        return;
    buf_clear(&s->line);
    int rc = influx_write_event(&s->lines, e, &s->line);
    made(s, rc, 1);
    buf_clear(&s->line);
    if (rc > 0 && (rc = influx_write_connection(&s->lines, e, &s->line)) > 0)
        made(s, rc, 1);
}

static void figures(struct sink *sink, const struct metrics *m, int64_t wall_us, bool final)
{
    struct influx *s = of(sink);
    (void) final;
    buf_clear(&s->line);
    made(s, influx_write_figures(&s->lines, m, wall_us, &s->line), 1);
}

// --- questions ----------------------------------------------------------------------------------------------------

static unsigned load(const struct sink *sink)
{
    const struct influx *s = look(sink);
    return (unsigned)((s->memory + influx_packed_memory(s->packer)) * 100 / s->o.memory);
}

static bool is_full(const struct sink *sink)
{
    const struct influx *s = look(sink);
    return s->o.block && full(s);
}

static const char *last_trouble(const struct sink *sink)
{
    return look(sink)->trouble;
}

static const char *left(const struct sink *sink)
{
    const struct influx *s = look(sink);
    return s->spill ? spill_path(s->spill) : "";
}

// --- the end ------------------------------------------------------------------------------------------------------

// What is left goes to disk, or is given up.
static void put_away(struct influx *s, const char *reason)
{
    for (unsigned i = 0; i < s->o.connections; i++) {
        struct influx_post *p = &s->posts[i];
        influx_post_cancel(p);
        if (p->batch)
            wait_in_front(s, p->batch);
        p->batch = NULL;
    }
    influx_post_cancel(&s->errand);
    while (s->first) {
        struct influx_batch *b = s->first;
        s->first = b->next;
        if (!s->first)
            s->last = &s->first;
        if (b->on_disk || put_on_disk(s, b))
            let_go(s, b);
        else
            dropped(s, b, reason);
    }
    if (s->spill)
        (void)spill_sync(s->spill, NULL);
}

static bool drain(struct sink *sink, bool late)
{
    struct influx *s = of(sink);
    if (!s->draining) {
        s->draining = true;
        if (s->paused && ev_timer_remaining(loop_ev(s->loop), &s->pause) > BACKOFF_DRAIN_US / 1e6) {
            ev_timer_stop(loop_ev(s->loop), &s->pause);
            s->paused = false;
        }
    }
    if (influx_packed_lines(s->packer))
        seal(s);
    if (late) {
        s->paused = true;
        ev_timer_stop(loop_ev(s->loop), &s->pause);
        put_away(s, "deadline");
        return true;
    }
    pump(s);
    return !anything(s) && !under_way(s);
}

static void close_sink(struct sink *sink)
{
    struct influx *s = of(sink);
    struct ev_loop *ev = loop_ev(s->loop);
    ev_timer_stop(ev, &s->pause);
    if (s->packer) {
        ledger_drop(&s->ledger, "closed", influx_packed_lines(s->packer));
        ev_timer_stop(ev, &s->flush);
    }
    for (unsigned i = 0; i < INFLUX_POSTS_MAX; i++) {
        if (s->posts[i].batch) {
            influx_post_cancel(&s->posts[i]);
            wait_in_front(s, s->posts[i].batch);
        }
        influx_post_destroy(&s->posts[i]);
    }
    influx_post_destroy(&s->errand);
    while (s->first) {
        struct influx_batch *b = s->first;
        s->first = b->next;
        if (!b->on_disk)
            ledger_drop(&s->ledger, "closed", b->lines);
        influx_batch_delete(b);
    }
    curl_loop_destroy(&s->curl);
    influx_packer_delete(s->packer);
    influx_lines_destroy(&s->lines);
    spill_delete(s->spill);
    buf_destroy(&s->line);
    buf_destroy(&s->entry);
    if (s->dead)
        fclose(s->dead);
    json_decref(s->json);
    free(s);
}

// --- the beginning ------------------------------------------------------------------------------------------------

static int find_secrets(struct influx *s, const struct sink_env *env, struct error *err)
{
    s->token = s->o.token;
    s->password = s->o.password;
    if (s->o.token_ref && !(s->token = env->secret(env->secret_arg, s->o.token_ref, err)))
        return error_prefix(err, "tokenRef");
    if (s->o.password_ref && !(s->password = env->secret(env->secret_arg, s->o.password_ref, err)))
        return error_prefix(err, "passwordRef");
    return 0;
}

static int open_spill(struct influx *s, const struct sink_env *env, struct error *err)
{
    struct spill_leftovers left_by_others;
    if (!s->o.spill)
        return 0;
    struct spill_config config = {.loop = env->loop,
                                  .dir = s->o.spill,
                                  .name = s->name,
                                  .run_id = env->run_id,
                                  .shard = env->shard,
                                  .adopt = env->resumed,
                                  .max_bytes = s->o.spill_max};
    snprintf(s->dead_path, sizeof(s->dead_path), "%.4000s/%s-%s-%u.refused.lp", s->o.spill, s->name, env->run_id,
             env->shard);
    s->spill = spill_new(&config, err);
    if (!s->spill)
        return error_prefix(err, "spill (where records wait on disk; false: nowhere)");
    if (env->shard == 0 && !env->resumed) {
        spill_look(s->o.spill, s->name, env->run_id, &left_by_others);
        if (left_by_others.files)
            log_write(s->log, LOG_WARN, NULL,
                      "sink %s: %u files with records that earlier runs could not deliver lie in %s, such as %s",
                      s->name, left_by_others.files, s->o.spill, left_by_others.example);
    }
    return 0;
}

static int begin(struct influx *s, const struct sink_env *env, struct error *err)
{
    if (ledger_create(&s->ledger, env->metrics, s->name, err) || find_secrets(s, env, err) ||
        influx_lines_create(&s->lines, s->o.measurement, s->o.tags, env->run_id, env->shard, err) ||
        !(s->packer = influx_packer_new(s->o.gzip, err)) || open_spill(s, env, err) ||
        curl_loop_create(&s->curl, s->loop, on_done, s, err) || influx_post_create(s, &s->errand, err))
        return -1;
    for (unsigned i = 0; i < s->o.connections; i++)
        if (influx_post_create(s, &s->posts[i], err))
            return -1;
    return 0;
}

static struct sink *open_sink(const struct sink_env *env, const char *name, const json_t *options, struct error *err)
{
    struct influx *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a sink");
        return NULL;
    }
    s->loop = env->loop;
    s->log = env->log;
    s->json = json_deep_copy(options);
    s->last = &s->first;
    snprintf(s->name, sizeof(s->name), "%s", name);
    buf_create(&s->line, LINE_BYTES_MAX);
    buf_create(&s->entry, SPILL_ENTRY_MAX);
    influx_read_options(s->json, &s->o);
    s->max_lines = s->o.batch;
    rng_seed(&s->rng, (uint64_t)now_us() ^ (uint64_t)getpid() << 32);
    ev_timer_init(&s->pause, on_pause_over, 0, 0);
    ev_timer_init(&s->flush, on_flush, 0, 0);
    if (begin(s, env, err) == 0) {
        pump(s); // asks whether it is there
        return (struct sink *)(void *)s;
    }
    error_prefix(err, "sink %s", name);
    close_sink((struct sink *)(void *)s);
    return NULL;
}

const struct sink_ops influx_sink = {
    .name = "influx",
    .parse = influx_parse,
    .open = open_sink,
    .telemetry = telemetry,
    .event = event,
    .figures = figures,
    .load = load,
    .full = is_full,
    .drain = drain,
    .trouble = last_trouble,
    .left = left,
    .close = close_sink,
};
