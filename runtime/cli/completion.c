// Completion scripts for shells, made from the table of options.
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static bool shown(const struct option_spec *spec, int command)
{
    return spec->commands & 1u << command && !(spec->flags & OPTION_HIDDEN);
}

static int words(struct buf *out, const char *choices)
{
    int rc = 0;
    for (; *choices && !rc; choices++)
        rc = buf_append_char(out, *choices == '|' ? ' ' : *choices);
    return rc;
}

static int bash(struct buf *out)
{
    int rc = buf_append_str(
        out, "# bash completion of iotix-run; made by `iotix-run completion bash`\n_iotix_run()\n{\n"
             "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=run word\n"
             "    COMPREPLY=()\n    case $prev in\n");
    for (int id = 0; id < OPT_MAX; id++) {
        const struct option_spec *spec = &option_specs[id];
        if (!spec->metavar || spec->flags & OPTION_HIDDEN)
            continue;
        rc |= buf_printf(out, "    --%s", spec->name);
        rc |= spec->letter ? buf_printf(out, "|-%c", spec->letter) : 0;
        rc |= buf_append_str(out, ")\n        ");
        if (spec->choices) {
            rc |= buf_append_str(out, "COMPREPLY=($(compgen -W '");
            rc |= words(out, spec->choices);
            rc |= buf_append_str(out, "' -- \"$cur\"))");
        } else if (strcmp(spec->metavar, "FILE") == 0 || strcmp(spec->metavar, "DIR") == 0) {
            rc |= buf_printf(out, "COMPREPLY=($(compgen -%c -- \"$cur\"))", *spec->metavar == 'F' ? 'f' : 'd');
        } else {
            rc |= buf_append_str(out, ":");
        }
        rc |= buf_append_str(out, "\n        return ;;\n");
    }
    rc |= buf_append_str(
        out, "    esac\n    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n        case $word in\n        ");
    for (int c = 0; c < CMD_MAX; c++)
        rc |= buf_printf(out, "%s%s", c ? "|" : "", command_specs[c].name);
    rc |= buf_append_str(out, ") command=$word; break ;;\n        -*) ;;\n        *) break ;;\n        esac\n    done\n"
                              "    if [[ $cur == -* ]]; then\n        case $command in\n");
    for (int c = 0; c < CMD_MAX; c++) {
        rc |= buf_printf(out, "        %s) COMPREPLY=($(compgen -W '", command_specs[c].name);
        for (int id = 0; id < OPT_MAX; id++)
            if (shown(&option_specs[id], c))
                rc |= buf_printf(out, "--%s ", option_specs[id].name);
        rc |= buf_append_str(out, "' -- \"$cur\")) ;;\n");
    }
    rc |= buf_append_str(out, "        esac\n        return\n    fi\n    case $command in\n"
                              "    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\")) ;;\n"
                              "    chaos)\n        COMPREPLY=($(compgen -W 'export profiles check' -- \"$cur\") "
                              "$(compgen -f -X '!*.lua' -- \"$cur\") $(compgen -f -X '!*.json' -- \"$cur\") $(compgen "
                              "-d -S / -- \"$cur\")) ;;\n"
                              "    model)\n        COMPREPLY=($(compgen -W 'check show list' -- \"$cur\") "
                              "$(compgen -f -X '!*.json' -- \"$cur\") $(compgen -d -S / -- \"$cur\")) ;;\n"
                              "    run|check|inspect)\n        COMPREPLY=($(compgen -f -X '!*.lua' -- \"$cur\") "
                              "$(compgen -d -S / -- \"$cur\"))\n"
                              "        ((COMP_CWORD == 1)) && COMPREPLY+=($(compgen -W '");
    for (int c = 0; c < CMD_MAX; c++)
        rc |= buf_printf(out, "%s%s", c ? " " : "", command_specs[c].name);
    return rc |
           buf_append_str(
               out, "' -- \"$cur\")) ;;\n    esac\n    return 0\n}\ncomplete -o filenames -F _iotix_run iotix-run\n");
}

// Text inside of '…' in zsh and fish, where brackets and colons also end a field in zsh.
static int quoted(struct buf *out, const char *s, bool zsh)
{
    int rc = 0;
    for (; *s && !rc; s++) {
        if (*s == '\'')
            rc = buf_append_str(out, zsh ? "'\\''" : "\\'");
        else if (*s == '\\' || (zsh && strchr("[]:", *s)))
            rc = buf_printf(out, "\\%c", *s);
        else
            rc = buf_append_char(out, *s);
    }
    return rc;
}

static int zsh_option(struct buf *out, const struct option_spec *spec)
{
    int rc = buf_append_str(out, "        '");
    if (spec->flags & OPTION_REPEAT)
        rc |= buf_append_char(out, '*');
    rc |= buf_printf(out, "--%s[", spec->name);
    rc |= quoted(out, spec->help, true);
    rc |= buf_append_char(out, ']');
    if (spec->metavar) {
        rc |= buf_append_char(out, ':');
        rc |= buf_printf(out, "%s:", strcmp(spec->metavar, "'METRIC: EXPR'") == 0 ? "THRESHOLD" : spec->metavar);
        if (spec->choices) {
            rc |= buf_append_char(out, '(');
            rc |= words(out, spec->choices);
            rc |= buf_append_char(out, ')');
        } else if (strcmp(spec->metavar, "FILE") == 0) {
            rc |= buf_append_str(out, "_files");
        } else if (strcmp(spec->metavar, "DIR") == 0) {
            rc |= buf_append_str(out, "_files -/");
        }
    }
    return rc | buf_append_str(out, "' \\\n");
}

static int zsh(struct buf *out)
{
    int rc = buf_append_str(
        out, "#compdef iotix-run\n# zsh completion of iotix-run; made by `iotix-run completion zsh`\n_iotix_run()\n{\n"
             "    local command=run word\n    for word in ${words[2,CURRENT-1]}; do\n        case $word in\n        ");
    for (int c = 0; c < CMD_MAX; c++)
        rc |= buf_printf(out, "%s%s", c ? "|" : "", command_specs[c].name);
    rc |= buf_append_str(out, ") command=$word; break ;;\n        -*) ;;\n        *) break ;;\n        esac\n    "
                              "done\n    case $command in\n");
    for (int c = 0; c < CMD_MAX; c++) {
        rc |= buf_printf(out, "    %s) _arguments \\\n", command_specs[c].name);
        for (int id = 0; id < OPT_MAX; id++)
            if (shown(&option_specs[id], c))
                rc |= zsh_option(out, &option_specs[id]);
        if (c == CMD_COMPLETION)
            rc |= buf_append_str(out, "        '*:shell:(completion bash zsh fish)' ;;\n");
        else if (c == CMD_MODEL)
            rc |= buf_append_str(out, "        '1:what:(check show list)' '*:model:_files -g \"*.json\"' ;;\n");
        else if (c == CMD_CHAOS)
            rc |= buf_append_str(out,
                                 "        '1:what:(export profiles check)' '*:file:_files -g \"*.(lua|json)\"' ;;\n");
        else if (c == CMD_RUN)
            rc |= buf_append_str(
                out, "        '1:command or scenario:_iotix_run_first' '*:scenario:_files -g \"*.lua\"' ;;\n");
        else
            rc |= buf_append_str(out, "        '*:scenario:_files -g \"*.lua\"' ;;\n");
    }
    rc |= buf_append_str(out, "    esac\n}\n_iotix_run_first()\n{\n    local -a commands=(\n");
    for (int c = 0; c < CMD_MAX; c++) {
        rc |= buf_printf(out, "        '%s:", command_specs[c].name);
        rc |= quoted(out, command_specs[c].help, true);
        rc |= buf_append_str(out, "'\n");
    }
    return rc |
           buf_append_str(out, "    )\n    _describe command commands\n    _files -g '*.lua'\n}\n_iotix_run \"$@\"\n");
}

static int fish_option(struct buf *out, const struct option_spec *spec)
{
    int rc = buf_append_str(out, "complete -c iotix-run -n '__iotix_run_is");
    for (int c = 0; c < CMD_MAX; c++)
        if (spec->commands & 1u << c)
            rc |= buf_printf(out, " %s", command_specs[c].name);
    rc |= buf_printf(out, "' -l %s", spec->name);
    rc |= spec->letter ? buf_printf(out, " -s %c", spec->letter) : 0;
    if (spec->metavar && (strcmp(spec->metavar, "FILE") == 0 || strcmp(spec->metavar, "DIR") == 0))
        rc |= buf_append_str(out, " -rF");
    else if (spec->metavar)
        rc |= buf_append_str(out, " -x");
    if (spec->choices) {
        rc |= buf_append_str(out, " -a '");
        rc |= words(out, spec->choices);
        rc |= buf_append_char(out, '\'');
    }
    rc |= buf_append_str(out, " -d '");
    rc |= quoted(out, spec->help, false);
    return rc | buf_append_str(out, "'\n");
}

static int fish(struct buf *out)
{
    int rc = buf_append_str(
        out, "# fish completion of iotix-run; made by `iotix-run completion fish`\n"
             "function __iotix_run_is\n    set -l command run\n    for word in (commandline -opc)[2..-1]\n"
             "        switch $word\n            case");
    for (int c = 0; c < CMD_MAX; c++)
        rc |= buf_printf(out, " %s", command_specs[c].name);
    rc |= buf_append_str(
        out, "\n                set command $word\n                break\n            case '-*'\n            case '*'\n"
             "                break\n        end\n    end\n    contains -- $command $argv\nend\n");
    for (int c = 0; c < CMD_MAX; c++) {
        rc |= buf_printf(out, "complete -c iotix-run -n __fish_use_subcommand -a %s -d '", command_specs[c].name);
        rc |= quoted(out, command_specs[c].help, false);
        rc |= buf_append_str(out, "'\n");
    }
    rc |= buf_append_str(out, "complete -c iotix-run -n '__iotix_run_is completion' -f -a 'bash zsh fish'\n");
    for (int id = 0; id < OPT_MAX; id++)
        if (!(option_specs[id].flags & OPTION_HIDDEN))
            rc |= fish_option(out, &option_specs[id]);
    return rc;
}

int completion_render(struct buf *out, const char *shell, struct error *err)
{
    int rc;
    if (!shell)
        return error_set(err, ERR_INVALID, "for which shell? Usage: iotix-run %s",
                         command_specs[CMD_COMPLETION].synopsis);
    if (strcmp(shell, "bash") == 0)
        rc = bash(out);
    else if (strcmp(shell, "zsh") == 0)
        rc = zsh(out);
    else if (strcmp(shell, "fish") == 0)
        rc = fish(out);
    else
        return error_set(err, ERR_INVALID, "no completion for \"%s\": expected bash, zsh or fish", shell);
    return rc ? error_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

int command_completion(struct session *s)
{
    struct buf b;
    struct error err;
    buf_create(&b, 1u << 20);
    int rc = EXIT_USAGE;
    if (completion_render(&b, s->args.word, &err))
        complain(s, "%s", err.text);
    else
        rc = print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}
