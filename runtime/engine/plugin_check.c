#include "engine/plugin_check.h"

#include <stdio.h>

#include "adapter/plugin.h"

bool plugins_work(const struct run_config *config, void (*bad)(void *arg, const struct diagnostic *d), void *arg)
{
    bool good = true;
    for (unsigned i = 0; i < config->n_plugins; i++) {
        struct plugin_info info;
        struct error err;
        if (plugin_probe(config->plugins, i + 1, 0, &info, &err) == 0) {
            log_write(config->log, LOG_DEBUG, NULL, "plugin %s: adapter %s for %s", info.path, info.name, info.schemes);
            continue;
        }
        struct diagnostic d = {.code = "IOTX050", .exit_code = EXIT_SCENARIO};
        snprintf(d.file, sizeof(d.file), "%s", config->plugins[i]);
        snprintf(d.message, sizeof(d.message), "%s", err.text);
        bad(arg, &d);
        good = false;
    }
    return good;
}
