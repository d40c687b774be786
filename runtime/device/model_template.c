#include "device/model_template.h"

#include <string.h>
#include "core/jsonx.h"

static const char *const built_in[] = {"deviceId", "groupId", "index", "timestamp", "timestampIso", NULL};

static const char *inner(const char *text, size_t *n)
{
    size_t length = strlen(text);
    const char *name = text + (text[0] == '$') + 1;
    if (length < 3 || name[-1] != '{' || text[length - 1] != '}')
        return NULL;
    *n = (size_t)(text + length - 1 - name);
    return name;
}

int template_placeholder(const char *text, const struct template_names *names)
{
    size_t n;
    const char *name = inner(text, &n);
    for (unsigned i = 0; name && i < names->n; i++) {
        if (strlen(names->names[i]) == n && !memcmp(names->names[i], name, n))
            return (int)i;
    }
    return -1;
}

static bool is_placeholder(const char *text, const struct template_names *names)
{
    size_t n;
    const char *name = inner(text, &n);
    for (unsigned i = 0; name && built_in[i]; i++) {
        if (strlen(built_in[i]) == n && !memcmp(built_in[i], name, n))
            return true;
    }
    return template_placeholder(text, names) >= 0;
}

static int write_template(const json_t *v, const struct template_names *names, struct buf *out, struct error *err)
{
    const char *key;
    json_t *item;
    size_t i;
    bool first = true;
    int failed;
    if (json_is_string(v) && is_placeholder(json_string_value(v), names)) {
        failed = buf_append_str(out, json_string_value(v));
    } else if (json_is_object(v)) {
        failed = buf_append_char(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            failed = failed || (!first && buf_append_char(out, ',')) || buf_append_json_string(out, key, strlen(key)) ||
                     buf_append_char(out, ':') || write_template(item, names, out, err);
            first = false;
        }
        failed = failed || buf_append_char(out, '}');
    } else if (json_is_array(v)) {
        failed = buf_append_char(out, '[');
        json_array_foreach(v, i, item)
        {
            failed = failed || (i && buf_append_char(out, ',')) || write_template(item, names, out, err);
        }
        failed = failed || buf_append_char(out, ']');
    } else {
        return json_write(v, out, err);
    }
    return failed ? error_set(err, ERR_LIMIT, "longer than %u bytes", out->cap) : 0;
}

struct payload *model_template(struct model_parse *p, const char *pointer, const json_t *template,
                               const struct template_names *names)
{
    struct buf text;
    struct payload *out = NULL;
    buf_create(&text, PAYLOAD_MAX_TEXT);
    int rc = json_is_string(template) ? buf_append_str(&text, json_string_value(template))
                                      : write_template(template, names, &text, p->err);
    if (rc && json_is_string(template))
        error_set(p->err, ERR_LIMIT, "longer than %u bytes", PAYLOAD_MAX_TEXT);
    const char *s = buf_cstr(&text), *begin = s + strspn(s, " \t\r\n");
    // What looks like JSON is JSON: then texts are quoted and escaped.
    if (!rc)
        out = payload_compile(s, names->names, names->precision, names->n, *begin == '{' || *begin == '[', p->err);
    buf_destroy(&text);
    if (!out)
        model_at(p, pointer);
    return out;
}
