// Progress for logs and machines: the same facts, one line each. Numbers carry their unit and window in the line, so
// that nobody has to guess what they are.
#include <stdio.h>
#include <string.h>

#include "cli/view.h"

static unsigned passing(const struct run_status *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->n_thresholds; i++)
        n += s->threshold_results[i].state == THRESHOLD_PASS;
    return n;
}

int plain_render(struct buf *out, const struct run_status *s)
{
    char p99[32];
    return buf_printf(
        out,
        "t=%llds phase=%s%s%s devices=%llu/%llu pub=%.0fmsg/s p99_10s=%s err_total=%llu cpu=%.0f%% thresholds=%u/%u\n",
        (long long)(s->elapsed_us / 1000000), run_phase_name(s->phase), s->stage ? " stage=" : "",
        s->stage ? s->stage : "", (unsigned long long)s->totals.online, (unsigned long long)s->totals.devices,
        s->sent_per_s, latency_short(no_latency(s) ? -1 : s->p99_us, p99, sizeof(p99)),
        (unsigned long long)s->totals.errors, s->cpu * 100, passing(s), s->n_thresholds);
}

int json_render(struct buf *out, const struct run_status *s)
{
    int rc = buf_printf(out,
                        "{\"event\":\"progress\",\"t\":%.3f,\"phase\":\"%s\","
                        "\"stage\":%s%s%s,\"devices\":%llu,\"devices_total\":%llu,"
                        "\"pub\":%.0f,\"p99_10s\":",
                        (double)s->elapsed_us / 1e6, run_phase_name(s->phase), s->stage ? "\"" : "",
                        s->stage ? s->stage : "null", s->stage ? "\"" : "", (unsigned long long)s->totals.online,
                        (unsigned long long)s->totals.devices, s->sent_per_s);
    rc |= no_latency(s) ? buf_append_str(out, "null") : buf_append_number(out, (double)s->p99_us / 1e3, 3);
    rc |= buf_printf(out, ",\"err_total\":%llu,\"cpu\":%.0f,\"thresholds\":%u,\"thresholds_total\":%u}\n",
                     (unsigned long long)s->totals.errors, s->cpu * 100, passing(s), s->n_thresholds);
    return rc ? -1 : 0;
}

static const char *state_name(enum threshold_state state)
{
    return state == THRESHOLD_PASS ? "pass" : state == THRESHOLD_FAIL ? "fail" : "no_data";
}

int flip_render(struct buf *out, const struct style *style, const struct run_status *s, unsigned threshold, bool json)
{
    const struct threshold *t = &s->thresholds[threshold];
    const struct threshold_result *r = &s->threshold_results[threshold];
    char name[400];
    snprintf(name, sizeof(name), "%s%s%s%s: %s", t->selector.name, *t->selector.tags ? "{" : "", t->selector.tags,
             *t->selector.tags ? "}" : "", t->text);
    if (json) {
        int rc = buf_printf(out, "{\"event\":\"threshold\",\"t\":%.3f,\"threshold\":", (double)s->elapsed_us / 1e6);
        rc |= buf_append_json_string(out, name, strlen(name));
        rc |= buf_printf(out, ",\"state\":\"%s\",\"actual\":", state_name(r->state));
        rc |= buf_append_json_string(out, r->actual_text, strlen(r->actual_text));
        rc |= buf_append_str(out, "}\n");
        return rc ? -1 : 0;
    }
    struct line l;
    line_begin(&l, out, style);
    line_printf(&l, PLAIN, "t=%llds threshold=\"%s\" state=%s actual=\"%s\"", (long long)(s->elapsed_us / 1000000),
                name, state_name(r->state), r->actual_text);
    line_end(&l);
    return l.failed ? -1 : 0;
}
