// check and inspect: load a scenario, run nothing.
#include <stdio.h>
#include <string.h>

#include "cli/launch.h"
#include "cli/view.h"
#include "core/units.h"

// ── check ──

static int check_text(struct session *s, const struct run_result *r)
{
    struct buf b;
    struct line l;
    char devices[32], span[32];
    const struct plan *plan = r->plan;
    buf_create(&b, 65536);
    line_begin(&l, &b, &s->terminal.out);
    line_put(&l, PLAIN, strcmp(s->args.word, "-") == 0 ? "stdin" : s->args.word);
    line_put(&l, GREEN, ": ok");
    line_printf(&l, PLAIN, "   %u %s, %s devices, %s, %u %s", plan->n_groups, plan->n_groups == 1 ? "group" : "groups",
                count_format(plan_devices(plan), devices, sizeof(devices)),
                plan->duration_us ? span_format(plan->duration_us, span, sizeof(span)) : "until the test ends",
                plan->n_thresholds, plan->n_thresholds == 1 ? "threshold" : "thresholds");
    line_end(&l);
    int rc = l.failed ? EXIT_MACHINE : print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}

int command_check(struct session *s)
{
    struct launch_plan l;
    struct run_result r;
    bool json = option_given(&s->options, OPT_FORMAT) && s->options.of[OPT_FORMAT].count == 1;
    int rc = launch_resolve(s, &l, &r, json);
    if (rc == 0)
        rc = json ? launch_print_json(s, json_array()) : check_text(s, &r);
    run_result_destroy(&r);
    launch_destroy(&l);
    return rc;
}

// ── inspect ──

static bool is_secret(const char *key)
{
    static const char *const words[] = {"password", "passwd",  "secret",  "token",
                                        "apikey",   "api_key", "private", "psk_key"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(key, words[i]))
            return true;
    return false;
}

// scheme://user:password@host/path?query → scheme://host/path?***; the scheme may be missing
static void strip_userinfo(const char *url, char *dst, size_t size)
{
    const char *scheme = strstr(url, "://"), *authority = scheme ? scheme + 3 : url;
    size_t n = strcspn(authority, "/?#");
    const char *at = memrchr(authority, '@', n);
    const char *rest = at ? at + 1 : authority;
    size_t path = strcspn(rest, "?");
    snprintf(dst, size, "%.*s%.*s%s", (int)(authority - url), url, (int)path, rest, rest[path] ? "?***" : "");
}

static bool is_url(const char *key, const char *text)
{
    return strstr(text, "://") || strcmp(key, "broker") == 0 || strcmp(key, "url") == 0;
}

// What is shown of a plan: no secrets, and models without their texts.
static void redact(json_t *v)
{
    const char *key;
    json_t *item;
    void *tmp;
    char text[1024];
    if (json_is_array(v))
        for (size_t i = 0; i < json_array_size(v); i++)
            redact(json_array_get(v, i));
    json_object_foreach_safe(v, tmp, key, item)
    {
        if (is_secret(key) && !json_is_null(item) && !json_is_object(item)) {
            json_object_set_new(v, key, json_string("***"));
        } else if (strcmp(key, "jwt") == 0 && json_is_string(json_object_get(item, "key"))) {
            json_object_set_new(item, "key", json_string("***"));
            redact(item);
        } else if (json_is_string(item) && strstr(json_string_value(item), "PRIVATE KEY-----")) {
            json_object_set_new(v, key, json_string("***"));
        } else if (is_secret(key) && json_is_object(item) && json_object_get(item, "type")) { // a parameter
            json_object_set_new(item, "value", json_string("***"));
            json_object_set_new(item, "default", json_string("***"));
        } else if (json_is_string(item) && is_url(key, json_string_value(item))) {
            strip_userinfo(json_string_value(item), text, sizeof(text));
            json_object_set_new(v, key, json_string(text));
        } else {
            redact(item);
        }
    }
}

static json_t *plan_view(const struct plan *plan)
{
    const char *path;
    json_t *copy = json_deep_copy(plan->json), *model;
    json_object_foreach(json_object_get(copy, "models"), path, model) json_object_del(model, "text");
    redact(copy);
    return copy;
}

static json_t *origins(const struct options *o)
{
    json_t *all = json_object();
    char text[1024];
    for (int id = 0; id < OPT_MAX; id++) {
        const struct option_spec *spec = &option_specs[id];
        const struct option_value *v = &o->of[id];
        if (spec->flags & OPTION_ONLY_FLAG)
            continue;
        json_t *values = json_array();
        for (unsigned i = 0; i < v->n; i++) {
            const char *item = v->items[i];
            if (spec->type == TYPE_URL || id == OPT_SINK)
                strip_userinfo(item, text, sizeof(text));
            else if (spec->type == TYPE_KEY_VALUE) // may be a secret: the key only
                snprintf(text, sizeof(text), "%.*s=…", (int)strcspn(item, "="), item);
            else
                snprintf(text, sizeof(text), "%s", item);
            json_array_append_new(values, json_string(text));
        }
        json_t *one = json_object();
        bool list = spec->flags & OPTION_REPEAT;
        json_object_set(one, "value", v->n == 0 ? json_null() : list ? values : json_array_get(values, 0));
        json_object_set_new(one, "from", json_string(v->layer == LAYER_DEFAULT ? "built-in" : v->from));
        json_object_set_new(all, spec->name, one);
        json_decref(values);
    }
    return all;
}

int command_inspect(struct session *s)
{
    struct launch_plan l;
    struct run_result r;
    bool text = option_given(&s->options, OPT_FORMAT) && s->options.of[OPT_FORMAT].count == 0;
    int rc = launch_resolve(s, &l, &r, false);
    if (rc == 0 && text) {
        struct buf b;
        buf_create(&b, 65536);
        struct header_info info = {.plan = r.plan, .preflight = &r.preflight, .so_far = NULL, .options = &s->options};
        rc = header_render(&b, &s->terminal.out, &info) ? EXIT_MACHINE : print_result(s, b.data, b.len);
        buf_destroy(&b);
    } else if (rc == 0) {
        json_t *v = json_object();
        json_object_set_new(v, "schema", json_integer(1));
        json_object_set_new(v, "devices", json_integer((json_int_t)plan_devices(r.plan)));
        json_object_set_new(v, "requirements", preflight_json(&r.preflight));
        json_object_set_new(v, "plan", plan_view(r.plan));
        if (option_yes(&s->options, OPT_ORIGINS))
            json_object_set_new(v, "origins", origins(&s->options));
        rc = launch_print_json(s, v);
    }
    run_result_destroy(&r);
    launch_destroy(&l);
    return rc;
}
