// iotix-run: joins the script room (which knows Lua) with the command line (which does not).
#include "cli/cli.h"
#include "script/chaos_tool.h"
#include "script/model_tool.h"
#include "script/scenario.h"

int main(int argc, char **argv)
{
    struct cli_env env = {.ops = script_scenario_ops(),
                          .models = script_model_tool_ops(),
                          .profiles = script_chaos_profiles,
                          .lua_version = script_lua_version()};
    return cli_main(&env, argc, argv);
}
