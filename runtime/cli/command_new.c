// new: a scenario from a template. Templates are scenarios that run as they stand, compiled into the binary.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "core/file.h"
#include "script/embedded.h"

// "dir/fleet" → path "dir/fleet.lua", name "fleet". Names of scenarios are letters, digits, '-', '_' and '.'.
static int resolve_name(const char *word, char *path, size_t path_size, char *name, size_t name_size, struct error *err)
{
    const char *base = strrchr(word, '/') ? strrchr(word, '/') + 1 : word;
    size_t n = strlen(base);
    bool lua = n > 4 && strcmp(base + n - 4, ".lua") == 0;
    size_t stem = lua ? n - 4 : n;
    if (stem == 0 || stem >= name_size ||
        strspn(base, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != n)
        return error_set(err, ERR_INVALID,
                         "\"%s\" is no name for a scenario: expected letters, digits, - _ and . (at most %zu)", base,
                         name_size - 1);
    memcpy(name, base, stem);
    name[stem] = '\0';
    if ((size_t)snprintf(path, path_size, "%s%s", word, lua ? "" : ".lua") >= path_size)
        return error_set(err, ERR_INVALID, "the path is too long");
    return 0;
}

// The template with its own name, `name = "TEMPLATE"`, replaced at the first place that is quoted so.
static int fill_template(struct buf *out, const struct embedded_file *file, const char *template, const char *name)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "name = \"%s\"", template);
    const char *at = strstr(file->bytes, quoted);
    if (!at)
        return buf_append(out, file->bytes, file->size);
    int rc = buf_append(out, file->bytes, (size_t)(at - file->bytes));
    rc |= buf_printf(out, "name = \"%s\"", name);
    at += strlen(quoted);
    return rc | buf_append(out, at, (size_t)(file->bytes + file->size - at));
}

static int write_new(const char *path, const struct buf *text, bool force, struct error *err)
{
    if (force)
        return file_write_atomic(path, text->data, text->len, err);
    // O_EXCL: of two that start at once, one is refused.
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, ERR_INVALID, "%s exists; --force overwrites it", path);
    if (fd < 0)
        return error_set_errno(err, "cannot write %s", path);
    ssize_t n = write(fd, text->data, text->len);
    if (n != (ssize_t)text->len) {
        if (n >= 0)
            errno = ENOSPC;
        error_set_errno(err, "cannot write %s", path);
        unlink(path);
        close(fd);
        return -1;
    }
    return close(fd) ? error_set_errno(err, "cannot write %s", path) : 0;
}

int command_new(struct session *s)
{
    const char *template = option_text(&s->options, OPT_TEMPLATE);
    char source[128], path[4096], name[65], text[8600];
    struct error err;
    struct buf b;
    template = template ? template : "minimal";
    snprintf(source, sizeof(source), "lua/iotix/_core/templates/%s.lua", template);
    const struct embedded_file *file = embedded_find(source);
    buf_create(&b, 1u << 20);
    int rc = EXIT_USAGE;
    if (!file)
        complain(s, "the template %s is not in this binary", source);
    else if (resolve_name(s->args.word ? s->args.word : "scenario", path, sizeof(path), name, sizeof(name), &err))
        complain(s, "%s", err.text);
    else if (fill_template(&b, file, template, name))
        complain(s, "out of memory");
    else if (write_new(path, &b, option_yes(&s->options, OPT_FORCE), &err))
        complain(s, "%s", err.text);
    else
        rc = 0;
    buf_destroy(&b);
    if (rc)
        return rc;
    int n = snprintf(text, sizeof(text), "wrote %s (template %s)\nnext:  iotix-run %s\n", path, template, path);
    return print_result(s, text, n > 0 ? (size_t)n : 0);
}
