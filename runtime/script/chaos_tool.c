// They are data in a Lua module (lua/iotix/chaos/profiles.lua): a state is opened to read it, and closed again.
#include "script/chaos_tool.h"
#include <string.h>
#include "core/rng.h"
#include "script/internal.h"

static struct rng *tool_rng(void *arg)
{
    return arg;
}

static void tool_print(void *arg, const char *line, size_t n)
{
    (void)arg, (void)line, (void)n;
}

static int64_t tool_wall(void *arg)
{
    (void)arg;
    return 0;
}

// {name: {…}} → [{"name": name, …}]; keys of what comes from Lua are sorted when they are read in order of the names.
static json_t *listed(const json_t *profiles, struct error *err)
{
    json_t *list = json_array(), *value;
    const char *key;
    int rc = list ? 0 : -1;
    json_t *rest = json_copy((json_t *)(uintptr_t)profiles);
    while (rc == 0 && json_object_size(rest)) {
        const char *least = NULL;
        json_object_foreach(rest, key, value) if (!least || strcmp(key, least) < 0) least = key;
        json_t *one = json_pack("{s:s}", "name", least);
        rc = !one || json_object_update(one, json_object_get(rest, least)) || json_array_append_new(list, one) ||
                     json_object_del(rest, least)
                 ? -1
                 : 0;
    }
    json_decref(rest);
    if (rc == 0)
        return list;
    json_decref(list);
    error_set(err, ERR_NO_MEMORY, "no memory for profiles");
    return NULL;
}

json_t *script_chaos_profiles(struct error *err)
{
    struct rng rng;
    struct guard_config config = {0};
    struct guard *guard = guard_new(&config, false, err);
    if (!guard)
        return NULL;
    lua_State *L = guard_state(guard);
    struct sandbox_config sandbox = {.rng = tool_rng, .print = tool_print, .wall_us = tool_wall, .arg = &rng};
    json_t *profiles = NULL, *list = NULL;
    rng_seed(&rng, 1);
    if (sandbox_open(L, &sandbox, err) == 0 && sandbox_require(L, "iotix.chaos.profiles", err) == 0)
        profiles = json_from_lua(L, -1, err);
    if (profiles)
        list = listed(profiles, err);
    json_decref(profiles);
    guard_delete(guard);
    return list;
}
