// The built-in adapters. A new one is one line in each table.
#include <string.h>
#include "adapter/adapter.h"
#include "adapter/mqtt/mqtt.h"

static const struct adapter_ops *const adapters[] = {&mqtt_adapter};
static const char *const names[] = {"mqtt", NULL};

const struct adapter_ops *adapter_find(const char *scheme_or_name)
{
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++) {
        if (strcmp(adapters[i]->name, scheme_or_name) == 0)
            return adapters[i];
        for (const char *const *scheme = adapters[i]->schemes; *scheme; scheme++)
            if (strcmp(*scheme, scheme_or_name) == 0)
                return adapters[i];
    }
    return NULL;
}

const char *const *adapter_names(void)
{
    return names;
}
