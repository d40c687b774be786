#include <MQTTAsync.h>
#include <ev.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/launch.h"

#if defined(IOTIX_ASAN)
#define BUILD_TYPE "sanitizers"
#elif defined(NDEBUG)
#define BUILD_TYPE "release"
#else
#define BUILD_TYPE "debug"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

// paho's own table of facts.
static const char *paho_version(void)
{
    for (const MQTTAsync_nameValue *v = MQTTAsync_getVersionInfo(); v && v->name; v++)
        if (strcmp(v->name, "Version") == 0)
            return v->value;
    return "unknown";
}

int command_version(struct session *s)
{
    char ev[32], text[1024];
    const char *lua = s->env->lua_version ? s->env->lua_version : "unknown";
    snprintf(ev, sizeof(ev), "%d.%d", ev_version_major(), ev_version_minor());
    bool json = option_yes(&s->options, OPT_JSON) ||
                (option_given(&s->options, OPT_FORMAT) && s->options.of[OPT_FORMAT].count == 1);
    if (json)
        return launch_print_json(s, json_pack("{ss ss ss s{ss ss ss ss}}", "version", IOTIX_VERSION, "build",
                                              BUILD_TYPE, "compiler", COMPILER, "libraries", "luajit", lua, "libev", ev,
                                              "paho.mqtt.c", paho_version(), "jansson", jansson_version_str()));
    int n =
        snprintf(text, sizeof(text),
                 "iotix-run %s (%s, %s)\n  LuaJIT       %s\n  libev        %s\n  paho.mqtt.c  %s\n  jansson      %s\n",
                 IOTIX_VERSION, BUILD_TYPE, COMPILER, lua, ev, paho_version(), jansson_version_str());
    return print_result(s, text, n > 0 ? (size_t)n : 0);
}
